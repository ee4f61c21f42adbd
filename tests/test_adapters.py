# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The ModelArts convention, against a stand-in moxing that copies folders."""

import os
import subprocess
import sys
import tempfile

import pytest

from src.model_utils import local_adapter, moxing_adapter
from src.model_utils.device_adapter import get_adapter
from src.model_utils.options import OptionsError, options_from_dict

STAND_INS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_ins")
VARIABLES = ("DEVICE_ID", "RANK_SIZE", "RANK_ID", "JOB_ID")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No launcher's variables; the stand-in moxing; a temporary folder of its own for the processes' reports."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.setenv("MOXING_LOG", str(tmp_path / "moxing.log"))
    reports = tmp_path / "reports"
    reports.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(reports))
    monkeypatch.setenv("TMPDIR", str(reports))


@pytest.fixture
def remote(tmp_path):
    """Options of a ModelArts run whose URLs are folders: data and checkpoints are there, the results' one is not."""
    for name in ("data", "checkpoints"):
        (tmp_path / "remote" / name / "below").mkdir(parents=True)
        (tmp_path / "remote" / name / "below" / "file").write_text(name)
    return options_from_dict(
        {
            "scale": 4,
            "enable_modelarts": True,
            "output_dir": "run1",
            "data_url": str(tmp_path / "remote" / "data"),
            "data_path": str(tmp_path / "cache" / "data"),
            "checkpoint_url": str(tmp_path / "remote" / "checkpoints"),
            "load_path": str(tmp_path / "cache" / "load"),
            "train_url": str(tmp_path / "remote" / "results"),
            "output_path": str(tmp_path / "cache" / "train"),
        }
    )


def copies(tmp_path):
    log = tmp_path / "moxing.log"
    return log.read_text().splitlines() if log.exists() else []


def test_adapter_is_chosen_by_the_option(remote):
    assert get_adapter(remote) is moxing_adapter
    assert get_adapter(options_from_dict({"scale": 4})) is local_adapter


@pytest.mark.parametrize("adapter", [local_adapter, moxing_adapter])
def test_environment(adapter, monkeypatch):
    assert (adapter.get_device_id(), adapter.get_device_num(), adapter.get_rank_id(), adapter.get_job_id()) == (
        0,
        1,
        0,
        "Local",
    )
    assert adapter.get_device_id(5) == 5
    for name, value in zip(VARIABLES, ("2", "8", "3", "job7")):
        monkeypatch.setenv(name, value)
    assert (adapter.get_device_id(5), adapter.get_device_num(), adapter.get_rank_id(), adapter.get_job_id()) == (
        2,
        8,
        3,
        "job7",
    )


def test_environment_of_mpirun(monkeypatch):
    """OpenMPI's variables serve where there are none of MindSpore's."""
    for name, value in (("LOCAL_RANK", "1"), ("SIZE", "8"), ("RANK", "5")):
        monkeypatch.setenv("OMPI_COMM_WORLD_" + name, value)
    places = local_adapter.get_device_id, local_adapter.get_device_num, local_adapter.get_rank_id
    assert [place() for place in places] == [1, 8, 5]
    for name, value in zip(VARIABLES, ("2", "4", "3")):
        monkeypatch.setenv(name, value)
    assert [place() for place in places] == [2, 4, 3]


def test_the_scheduler_knows_itself(monkeypatch):
    for role, expected in (("MS_SCHED", True), ("MS_WORKER", False), ("", False)):
        monkeypatch.setenv("MS_ROLE", role)
        assert local_adapter.is_scheduler() is expected


@pytest.mark.parametrize(
    "name, value, function",
    [("DEVICE_ID", "-1", "get_device_id"), ("RANK_SIZE", "0", "get_device_num"), ("RANK_ID", "one", "get_rank_id")],
)
def test_impossible_environment(monkeypatch, name, value, function):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"environment variable {name}: expected an integer"):
        getattr(local_adapter, function)()


def test_local_wrapper(tmp_path):
    calls = []
    wrapper = local_adapter.moxing_wrapper(None, lambda: calls.append("pre"), lambda: calls.append("post"))
    local_adapter.sync_data("a", "b")

    @wrapper
    def run(value, twice=False):
        """Doc."""
        calls.append("run")
        return value * (2 if twice else 1)

    assert run(3, twice=True) == 6
    assert calls == ["pre", "run", "post"]
    assert run.__doc__ == "Doc."
    assert copies(tmp_path) == []


def test_wrapper_copies_in_and_out(remote, tmp_path):
    calls = []

    def pre_process():
        calls.append("pre")
        assert (tmp_path / "cache" / "data" / "below" / "file").read_text() == "data"
        assert (tmp_path / "cache" / "load" / "below" / "file").read_text() == "checkpoints"

    @moxing_adapter.moxing_wrapper(remote, pre_process, lambda: calls.append("post"))
    def run(text):
        calls.append("run")
        (tmp_path / "cache" / "train" / "result").write_text(text)
        return text

    assert run("weights") == "weights"
    assert calls == ["pre", "run", "post"]
    assert (tmp_path / "remote" / "results" / "result").read_text() == "weights"
    assert len(copies(tmp_path)) == 3  # the results' folder was not there to copy in

    (tmp_path / "cache" / "train" / "result").unlink()
    assert run("") == ""  # and comes back for a run that resumes
    assert len(copies(tmp_path)) == 3 + 4


def test_results_of_an_earlier_run_are_copied_in(remote, tmp_path):
    (tmp_path / "remote" / "results").mkdir()
    (tmp_path / "remote" / "results" / "latest").write_text("step 7")
    moxing_adapter.moxing_wrapper(remote)(lambda: None)()
    assert (tmp_path / "cache" / "train" / "latest").read_text() == "step 7"


def test_a_failed_run_is_copied_out_too(remote, tmp_path):
    posted = []

    @moxing_adapter.moxing_wrapper(remote, post_process=lambda: posted.append(True))
    def run():
        (tmp_path / "cache" / "train" / "log").write_text("nan")
        raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        run()
    assert (tmp_path / "remote" / "results" / "log").read_text() == "nan"
    assert not posted


def test_a_failed_run_keeps_its_error_when_the_copy_fails(remote, tmp_path, capsys):
    @moxing_adapter.moxing_wrapper(remote)
    def run():
        (tmp_path / "cache" / "train").rmdir()
        raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        run()
    assert "warning: the results of the failed run were not copied" in capsys.readouterr().err


def test_empty_urls_are_passed_over(tmp_path):
    opt = options_from_dict({"scale": 4, "enable_modelarts": True, "output_path": str(tmp_path / "out")})
    assert moxing_adapter.moxing_wrapper(opt)(lambda: "done")() == "done"
    assert copies(tmp_path) == []


def test_without_moxing(monkeypatch):
    monkeypatch.setitem(sys.modules, "moxing", None)
    with pytest.raises(ValueError, match="enable_modelarts: the moxing package"):
        moxing_adapter.sync_data("a", "b")


def test_missing_source(tmp_path):
    with pytest.raises(OSError, match="copying .*nowhere to .* failed: no such folder"):
        moxing_adapter.sync_data(str(tmp_path / "nowhere"), str(tmp_path / "target"))
    moxing_adapter.sync_data(str(tmp_path / "nowhere"), str(tmp_path / "target"), missing_ok=True)
    assert not (tmp_path / "target").exists()


def test_waiting_ends(monkeypatch, tmp_path):
    monkeypatch.setenv("DEVICE_ID", "1")
    monkeypatch.setenv("RANK_SIZE", "2")
    with pytest.raises(OSError, match="waited 0.2 seconds"):
        moxing_adapter.sync_data("a", "b", timeout=0.2)
    assert copies(tmp_path) == []


PROCESS = """
import os, sys
from src.model_utils.moxing_adapter import sync_data
from src.model_utils.util import run_main
source, target = sys.argv[1:]

def main():
    for name in ("one", "two"):
        sync_data(os.path.join(source, name), os.path.join(target, name), timeout=300)
        with open(os.path.join(target, name, "file")) as file:
            assert file.read() == name

run_main(main)
"""


def start_processes(repo, count, tmp_path):
    """One process per device, the copying one last; returns [(exit status, stderr)]."""
    started = []
    for device in reversed(range(count)):
        environment = dict(
            os.environ,
            DEVICE_ID=str(device),
            RANK_SIZE=str(count),
            JOB_ID="test",
            MOXING_DELAY="0.3",
            PYTHONPATH=os.pathsep.join([repo, STAND_INS]),
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, str(tmp_path / "source"), str(tmp_path / "target")],
                env=environment,
                cwd=str(tmp_path),
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                universal_newlines=True,
            )
        )
    results = []
    for process in started:
        errors = process.communicate(timeout=300)[1]
        results.append((process.returncode, errors))
    return results


def test_one_process_of_the_node_copies_and_the_others_wait(repo, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / "file").write_text(name)
    assert start_processes(repo, 3, tmp_path) == [(0, "")] * 3
    assert len(copies(tmp_path)) == 2
    assert len({line.split()[0] for line in copies(tmp_path)}) == 1


def test_all_processes_of_the_node_learn_of_a_failed_copy(repo, tmp_path):
    results = start_processes(repo, 2, tmp_path)
    assert [status for status, _ in results] == [2, 2]
    assert "failed in the process of this node's first device" in results[0][1]
    assert "no such folder" in results[0][1] and "no such folder" in results[1][1]


def test_paths_on_modelarts(remote):
    values = remote.to_dict()
    values["datasets"]["train"]["dataroot"] = "src/dataset/DF2K_4X/train.mindrecord"
    values["datasets"]["val"]["dataroot"] = "/elsewhere/valid.mindrecord"
    values["path"].update(train_pretrain_model_G="weights/RRDB.ckpt", resume_state="auto")
    opt = moxing_adapter.localise_paths(options_from_dict(values))
    assert opt.datasets.train.dataroot == os.path.join(remote.data_path, "train.mindrecord")
    assert opt.datasets.val.dataroot == "/elsewhere/valid.mindrecord"
    assert opt.path.train_pretrain_model_G == os.path.join(remote.load_path, "RRDB.ckpt")
    assert opt.path.resume_state == "auto"
    assert opt.test_pretrained_model_path is None
    assert opt.output_dir == os.path.join(remote.output_path, "run1")
    assert moxing_adapter.localise_paths(opt) == opt
    assert local_adapter.localise_paths(opt) is opt


@pytest.mark.parametrize("output_dir", ["/elsewhere", "../elsewhere"])
def test_results_outside_the_copied_folder(remote, output_dir):
    values = dict(remote.to_dict(), output_dir=output_dir)
    with pytest.raises(OptionsError, match="output_dir: expected a folder below output_path"):
        moxing_adapter.localise_paths(options_from_dict(values))
