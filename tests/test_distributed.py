# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train together: two real ones on the CPU, and the launcher with stand-ins for train.py.

The two real ones are told by tests/one_of_several.py what happens to them at which step, so that nothing here depends
on time.
"""

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from unittest import mock

import mindspore
import numpy as np
import pytest
from helpers import together_in_one
from modules import load
from programs import REPO, fixture_base, read_csv, run, tiny_options, train, write_config  # noqa: F401

from src.model_utils.options import options_from_dict
from src.training.ranks import Ranks
from src.training.signals import StopSignals
from src.weights.checkpoint import read_checkpoint

two_processes = pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.path.dirname(mindspore.__file__), "parallel", "cluster")),
    reason="this MindSpore has no scheduler for processes on the CPU; on GPUs it needs OpenMPI's mpirun",
)
PATIENCE = 600  # seconds after which a run is taken to hang
STEPS = 20
SLICES = ("datasets.train.batch_size=1", "train.accumulate=2")  # of the batches of 2 that the base has
EVERY = ("datasets.val.dataroot=null", f"train.niter={STEPS}", "train.save_checkpoint_freq=5")


# ---------------------------------------------------------------------------------------------------------------------
# Two processes that train


class Together:
    """A run of two processes by the script, as it ended."""

    def __init__(self, base, name, model, sabotage, *settings):
        self.folder, logs = os.path.join(base, name), os.path.join(base, name + "_logs")
        shutil.rmtree(logs, ignore_errors=True)
        python = os.path.join(base, "python")
        with open(python, "w") as file:
            file.write(
                '#!/bin/sh\ncase "$1" in */train.py) shift; '
                f'set -- "{REPO}/tests/one_of_several.py" "$@";; esac\nexec "{sys.executable}" "$@"\n'
            )
        os.chmod(python, 0o755)
        script = os.path.join(REPO, "scripts", "run_distribute_train_gpu.sh")
        arguments = [os.path.join(base, model + ".yml"), "2", "0,1", "--device_target", "CPU", "--output_dir"]
        done = subprocess.run(
            ["bash", script] + arguments + [self.folder, "--set"] + list(settings),
            cwd=base,
            env=dict(os.environ, PYTHON=python, LOG_DIR=logs, SRFLOW_TEST_SABOTAGE=sabotage),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        (self.logs,) = (os.path.join(logs, name) for name in os.listdir(logs))

    def log(self, rank):
        with open(os.path.join(self.logs, f"rank_{rank}.log")) as file:
            return file.read()

    def digests(self):
        """Of all parameters and optimizer states, of each rank."""
        return [re.search(r"^digest (\w+)$", self.log(rank), re.MULTILINE).group(1) for rank in range(2)]

    def checkpoint(self, step):
        return read_checkpoint(os.path.join(self.folder, f"step_{step:07d}.ckpt"))


@functools.lru_cache(maxsize=None)
def undisturbed(base):
    """20 steps of pre-training, of which the third is not finite on rank 1."""
    return Together(base, "undisturbed", "RRDB", "1 3 nan", *EVERY)


@functools.lru_cache(maxsize=None)
def stopped(base):
    """The same, but when rank 1 has fetched the batch of step 7 it has the launcher stop the run."""
    return Together(base, "stopped", "RRDB", "1 3 nan,1 7 term", *EVERY)


@functools.lru_cache(maxsize=None)
def killed(base):
    """20 steps of a flow and a checkpoint, after which rank 1 is killed."""
    return Together(base, "killed", "SRFlow", f"1 {STEPS + 2} kill", *EVERY, "train.niter=1000")


def assert_close(values, wanted, limit=1e-5):
    """Every array, by its 2-norm."""
    assert set(values) == set(wanted)
    for name, value in wanted.items():
        assert np.linalg.norm(values[name] - value) <= limit * np.linalg.norm(value), name


def assert_same(values, wanted):
    assert set(values) == set(wanted)
    assert [name for name in wanted if values[name].tobytes() != wanted[name].tobytes()] == []


@two_processes
def test_two_train_a_flow_as_one_with_twice_the_batch(base):
    """Its ActNorms are set by the batches of all ranks.

    A bias whose gradient is 0 but for rounding moves by whole steps of Adam all the same: there the two may part. So
    the parameters are compared all together.
    """
    together = killed(base)
    alone = train(base, "alone", "--set", "datasets.train.batch_size=4", *EVERY)
    rows, wanted = (read_csv(os.path.join(base, name, "train.csv")) for name in ("killed", "alone"))
    assert len(wanted) == STEPS <= len(rows)
    for row, other in zip(rows, wanted):
        for column, limit in (("loss", 1e-5), ("lr", 0), ("grad_norm", 1e-3)):
            assert float(row[column]) == pytest.approx(float(other[column]), rel=limit)
    values, expected = together.checkpoint(STEPS).parameters(), read_checkpoint(alone.paths[STEPS]).parameters()
    assert set(values) == set(expected)
    values, expected = together_in_one(values), together_in_one(expected)
    assert np.linalg.norm(values - expected) <= 2e-5 * np.linalg.norm(expected)


@two_processes
def test_a_rank_that_is_killed_ends_the_run(base):
    """In a line that names it, and with a whole checkpoint."""
    together = killed(base)
    assert together.status == 128 + signal.SIGKILL
    last = together.err.splitlines()[-1]
    assert last.startswith("error: rank 1 was killed by SIGKILL; the run has ended. ")
    newest = read_checkpoint(os.path.join(together.folder, "latest.ckpt"))
    assert newest.state["step"] == STEPS and newest.state["ranks"] == 2


@two_processes
def test_ranks_have_the_same_to_the_last_bit(base):
    """Parameters and optimizer states."""
    together = undisturbed(base)
    assert together.status == 0, together.err
    first, second = together.digests()
    assert first == second


@two_processes
def test_a_step_that_is_not_finite_on_one_rank_is_skipped_on_all(base):
    rows = read_csv(os.path.join(undisturbed(base).folder, "train.csv"))
    assert [row["skipped"] for row in rows] == ["0"] * 2 + ["1"] * (STEPS - 2)
    assert [row["loss"] for row in rows].index("nan") == 2


@two_processes
def test_slices_of_two_processes(base):
    """They train as whole batches do, with the step that is skipped among them."""
    together, whole = Together(base, "sliced", "RRDB", "1 3 nan", *EVERY, *SLICES), undisturbed(base)
    assert together.status == 0, together.err
    first, second = together.digests()
    assert first == second
    rows, wanted = (read_csv(os.path.join(each.folder, "train.csv")) for each in (together, whole))
    assert [row["skipped"] for row in rows] == [row["skipped"] for row in wanted]
    losses, expected = (np.array([float(row["loss"]) for row in table]) for table in (rows, wanted))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert_close(together.checkpoint(STEPS).parameters(), whole.checkpoint(STEPS).parameters())


@two_processes
def test_only_rank_0_is_shown(base):
    together = undisturbed(base)
    assert "digest" in together.log(1) and f"{STEPS}/{STEPS}" not in together.log(1)
    assert f"{STEPS}/{STEPS}" in together.out and together.out.count("\ndigest ") == 1
    assert "DISTRIBUTED" not in together.out and together.err == ""
    with open(os.path.join(together.logs, "scheduler.log")) as file:
        assert file.read() == ""


@two_processes
def test_a_signal_stops_all_after_the_same_step(base):
    together = stopped(base)
    assert together.status == 0, together.err
    for rank in range(2):
        assert f"stopped by SIGTERM after step 6 of {STEPS}" in together.log(rank)
    assert together.digests()[0] == together.digests()[1]
    assert sorted(name for name in os.listdir(together.folder) if "step_" in name) == [
        "step_0000005.ckpt",
        "step_0000006.ckpt",
    ]


@two_processes
def test_two_go_on_as_if_nothing_had_happened(base):
    shutil.copytree(stopped(base).folder, os.path.join(base, "resumed"))
    resumed = Together(base, "resumed", "RRDB", "", *EVERY)
    assert resumed.status == 0, resumed.err
    assert f"resumed from {resumed.folder}" in resumed.out and "processes:" not in resumed.out
    assert resumed.digests() == undisturbed(base).digests()
    assert_same(resumed.checkpoint(STEPS).arrays, undisturbed(base).checkpoint(STEPS).arrays)


@two_processes
def test_one_goes_on_with_twice_the_batch(base, capfd):
    shutil.copytree(stopped(base).folder, os.path.join(base, "alone_from_6"))
    train(base, "alone_from_6", "--set", "datasets.train.batch_size=4", *EVERY, model="RRDB")
    assert "changed since then: processes: 2 -> 1; a step takes 4 pairs in all, as before\n" in capfd.readouterr().out
    alone = read_checkpoint(os.path.join(base, "alone_from_6", "latest.ckpt"))
    assert alone.state["ranks"] == 1
    assert_close(alone.parameters(), undisturbed(base).checkpoint(STEPS).parameters())


# ---------------------------------------------------------------------------------------------------------------------
# What the ranks agree on, with another rank that is not there


def second_of(tables):
    """Ranks of two, of which this one is the first; the other one answers with the given rows, one after the other."""
    ranks, rows = Ranks(0, 1), iter(tables)
    ranks.size = 2
    ranks._sum = lambda table: mindspore.Tensor(
        table.asnumpy() + np.concatenate([np.zeros((1, table.shape[1])), [next(rows)]]).astype(np.float32)
    )
    return ranks


def recorded(action, rank_id=0):
    """What a rank contributes to the first thing that is gathered."""
    rows, ranks = [], Ranks(0, 1)
    ranks._sum = lambda table: rows.append(table.asnumpy()[rank_id]) or table
    action(ranks)
    return rows[0]


def test_alone_there_is_nothing_to_communicate(monkeypatch):
    ranks = Ranks()
    assert ranks.gather([3, 0, 255]).tolist() == [[3, 0, 255]]
    with StopSignals() as stop:
        assert not ranks.share_stop(stop)
        stop.adopt(signal.SIGTERM)
        assert ranks.share_stop(stop)


def test_a_signal_of_another_rank(capfd):
    with StopSignals() as stop:
        ranks = second_of([[0], [signal.SIGINT]])
        assert not ranks.share_stop(stop)
        assert ranks.share_stop(stop) and (stop.name, stop.status) == ("SIGINT", 130)
        os.kill(os.getpid(), signal.SIGINT)  # its own one comes later, and is not the second
        assert stop.name == "SIGINT"
    assert "SIGINT: this step is finished" in capfd.readouterr().err


def test_options_of_another_rank(base):
    ours, same, other = (tiny_options(base) for _ in range(3))
    same["device_id"], other["train"]["lr_G"] = 1, 0.125
    ours, same, other = (options_from_dict(values) for values in (ours, same, other))
    second_of([recorded(lambda ranks: ranks.require_same_options(same))]).require_same_options(ours)
    with pytest.raises(
        ValueError, match=r"^train\.lr_G: rank 1 has another one than rank 0; start all of them with the"
    ):
        second_of([recorded(lambda ranks: ranks.require_same_options(other))]).require_same_options(ours)


def test_parameters_of_another_rank():
    arrays = {name: np.arange(3, dtype=np.float32) for name in "ab"}
    row = recorded(lambda ranks: ranks.require_same_arrays(arrays))
    second_of([row]).require_same_arrays(dict(reversed(list(arrays.items()))))
    arrays["b"] = np.array([0, 1, -2], np.float32)
    with pytest.raises(ValueError, match="parameters together: rank 1 has another one than rank 0; output_dir"):
        second_of([row]).require_same_arrays(arrays)


def test_a_rank_without_a_number(base, tmp_path, monkeypatch, capfd):
    config = write_config(tmp_path / "c.yml", tiny_options(base, "RRDB"))
    monkeypatch.setenv("RANK_SIZE", "2")
    monkeypatch.setenv("RANK_ID", "2")
    assert run("train", "--opt", config, "--output_dir", tmp_path / "out") == 2
    assert "error: environment variable RANK_ID: expected less than RANK_SIZE, 2, got 2\n" in capfd.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# The launcher, with programs that compute nothing

PROGRAM = """
import os, signal, sys, time
role, rank, size = os.environ.get("MS_ROLE"), os.environ["RANK_ID"], os.environ["RANK_SIZE"]
if role == "MS_SCHED":
    print("scheduling at", os.environ["MS_SCHED_PORT"], flush=True)
    time.sleep(300)
others = dict(part.split(":") for part in sys.argv[1].split(",") if part)
print(f"rank {rank} of {size}, device {os.environ['DEVICE_ID']}, {os.environ.get('CUDA_VISIBLE_DEVICES')}", flush=True)
action = others.get(rank, "end")
if action == "hang":
    time.sleep(300)
elif action.startswith("SIG"):
    signal.signal(signal.SIGINT, lambda *_: (print("got SIGINT", flush=True), sys.exit(130)))
    signal.signal(signal.SIGTERM, lambda *_: (print("got SIGTERM", flush=True), sys.exit(0)))
    open(f"ready_{rank}", "w").close()
    if rank == "0":
        while not all(os.path.exists(f"ready_{other}") for other in others):
            time.sleep(0.05)
        os.kill(os.getppid(), getattr(signal, action))
    time.sleep(300)
elif action == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif action.isdecimal():
    print("error: rank", rank, "cannot", flush=True)
    sys.exit(int(action))
"""


def launch(tmp_path, actions, ranks=2, output=None, **environment):
    """Launch ranks, each of which does what `actions` says of it, with patience of a second if one hangs.

    What the launcher writes is in the process that is returned, or goes to the file `output`.
    """
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "logs").mkdir(exist_ok=True)
    code = (
        "import signal, sys, launch_ranks\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # under nohup it is ignored
        f"launch_ranks.PATIENCE = {1.0 if 'hang' in actions else 60.0}\n"
        "launch_ranks.has_msrun = lambda: 'WITHOUT_MSRUN' not in launch_ranks.os.environ\nsys.exit(launch_ranks.main())"
    )
    command = [sys.executable, "-c", code, "logs", str(ranks), sys.executable, "program.py", actions]
    path = os.path.join(REPO, "scripts")
    variables = {name: value for name, value in os.environ.items() if name != "MS_SCHED_PORT"}
    return subprocess.run(
        command,
        cwd=str(tmp_path),
        env=dict(variables, PYTHONPATH=path, **environment),
        stdout=output or subprocess.PIPE,
        stderr=output or subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_rank_has_its_place_and_its_log(tmp_path):
    done = launch(tmp_path, "", 3, CUDA_VISIBLE_DEVICES="4,6,7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "rank 0 of 3, device 0, 4,6,7\n", "")
    for rank in range(3):
        log = (tmp_path / "logs" / f"rank_{rank}.log").read_text()
        assert log == f"rank {rank} of 3, device {rank}, 4,6,7\n"


def test_a_single_rank_needs_no_scheduler(tmp_path):
    done = launch(tmp_path, "", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(str(tmp_path / "logs")) == ["rank_0.log"]


@pytest.mark.parametrize(
    "actions, status, line",
    [
        ("0:hang,1:kill", 137, "rank 1 was killed by SIGKILL"),
        ("0:kill,1:hang", 137, "rank 0 was killed by SIGKILL"),
        ("0:hang,1:2", 2, "rank 1 ended with status 2 (rank 1 cannot)"),
        ("0:1,1:hang", 1, "rank 0 ended with status 1 (rank 0 cannot)"),
        ("0:2,1:hang", 2, None),
        ("0:2,1:2", 2, None),
    ],
)
def test_a_rank_that_fails_ends_all(actions, status, line, tmp_path):
    """The others are hanging. Where rank 0 has said in a line what is wrong, that is the line."""
    done = launch(tmp_path, actions)
    assert done.returncode == status
    if line is None:
        assert done.stdout.endswith("error: rank 0 cannot\n") and done.stderr == ""
    else:
        assert done.stderr.startswith(f"error: {line}; the run has ended. The logs are in logs; ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "number, handed_on, status", [("SIGTERM", "SIGTERM", 0), ("SIGINT", "SIGINT", 130), ("SIGHUP", "SIGTERM", 0)]
)
def test_signals_reach_every_rank(number, handed_on, status, tmp_path):
    done = launch(tmp_path, f"0:{number},1:{number}")
    assert (done.returncode, done.stderr) == (status, "")
    for rank in range(2):
        assert (tmp_path / "logs" / f"rank_{rank}.log").read_text().endswith(f"got {handed_on}\n")


def test_a_hang_up_of_a_rank_is_no_failure(tmp_path):
    """All ranks have ended with its status, as they have agreed to."""
    done = launch(tmp_path, "0:129,1:129")
    assert (done.returncode, done.stderr) == (129, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("actions, status", [("0:SIGINT,1:SIGINT", 130), ("0:hang,1:3", 3)])
def test_nobody_reads_what_the_launcher_writes(actions, status, unbuffered, tmp_path):
    """As by `2>&1 | tee log`, and then Ctrl-C. The ranks have the time to save that they have otherwise."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = launch(tmp_path, actions, output=write, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(write)
    assert done.returncode == status
    for rank in range(2) if "SIGINT" in actions else ():
        assert (tmp_path / "logs" / f"rank_{rank}.log").read_text().endswith("got SIGINT\n")


@pytest.fixture(name="launcher")
def fixture_launcher():
    """scripts/launch_ranks.py as a module; what the signals that it takes do here is put back."""
    module = load("scripts", "launch_ranks")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield module
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "numbers, handed_on",
    [
        ([signal.SIGHUP, signal.SIGHUP, signal.SIGINT], [signal.SIGTERM, signal.SIGINT]),
        ([signal.SIGINT, signal.SIGHUP, signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]),
    ],
)
def test_a_hang_up_is_never_the_second_signal(launcher, numbers, handed_on):
    """A terminal that is closed may send it twice, or after a Ctrl-C; a second signal would end the ranks at once."""
    run, rank = launcher.Ranks("logs", 1, []), mock.Mock()
    run.ranks = [rank]
    signal.signal(signal.SIGHUP, lambda *_: None)  # under nohup it is ignored
    launcher.hand_on_signals(run)
    for number in numbers:
        os.kill(os.getpid(), number)
    assert [call[0][0] for call in rank.signal.call_args_list] == handed_on


def test_under_nohup_the_launcher_ignores_a_hang_up(launcher):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    launcher.hand_on_signals(launcher.Ranks("logs", 1, []))
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_scheduler_has_the_port_that_is_asked_for_unless_it_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = str(taken.getsockname()[1])
        done = launch(tmp_path, "", MS_SCHED_PORT=port)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: environment variable MS_SCHED_PORT: port {port} cannot be had (")
        assert done.stderr.count("\n") == 1
    assert launch(tmp_path, "1:hang,0:kill", MS_SCHED_PORT=port).returncode == 137
    assert (tmp_path / "logs" / "scheduler.log").read_text() == f"scheduling at {port}\n"
    assert "expected a port" in launch(tmp_path, "", MS_SCHED_PORT="http").stderr


MPIRUN = """#!{python}
import os, subprocess, sys
assert sys.argv[1:3] == ["--allow-run-as-root", "-n"], sys.argv
def start(rank):
    own = {{name: str(rank) for name in ("OMPI_COMM_WORLD_RANK", "RANK_ID", "DEVICE_ID")}}
    return subprocess.Popen(sys.argv[4:], env=dict(os.environ, RANK_SIZE=sys.argv[3], **own))
sys.exit(max([process.wait() for process in [start(rank) for rank in range(int(sys.argv[3]))]]))
"""


def test_mpirun_starts_the_ranks_where_there_is_no_msrun(tmp_path):
    """With a stand-in for mpirun."""
    mpirun = tmp_path / "mpirun"
    mpirun.write_text(MPIRUN.format(python=sys.executable))
    mpirun.chmod(0o755)
    path = str(tmp_path) + os.pathsep + os.environ["PATH"]
    done = launch(tmp_path, "", WITHOUT_MSRUN="1", PATH=path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("rank 0 of 2, device 0")
    assert (tmp_path / "logs" / "rank_1.log").read_text().startswith("rank 1 of 2, device 1")
    done = launch(tmp_path, "1:3", WITHOUT_MSRUN="1", PATH=path)
    assert done.returncode == 3 and "error: mpirun ended with status 3; the run has ended. " in done.stderr


def test_mpirun_is_missing(tmp_path):
    done = launch(tmp_path, "", WITHOUT_MSRUN="1", PATH=str(tmp_path))
    assert done.returncode == 2 and done.stderr.startswith("error: mpirun: not found; this MindSpore has no msrun")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["no.yml", "2", "0,1"], "configuration file no.yml does not exist"),
        (["c.yml", "0", "0"], "DEVICE_NUM: expected an integer >= 1, got '0'"),
        (["c.yml", "2", "0,x"], "VISIBLE_DEVICES: expected numbers such as 0,1, got '0,x'"),
        (["c.yml", "3", "0,1"], "VISIBLE_DEVICES: expected 3 numbers, one for each process of DEVICE_NUM, got '0,1'"),
        (["c.yml", "2", "0,1", "--device_id", "1"], "--device_id: every process has its own; choose the devices by"),
        (["c.yml", "2", "0,1", "--set", "device_id=1"], "device_id=1: every process has its own; choose the devices"),
    ],
)
def test_the_script_refuses(arguments, line, tmp_path):
    (tmp_path / "c.yml").write_text("")
    script = os.path.join(REPO, "scripts", "run_distribute_train_gpu.sh")
    done = subprocess.run(
        ["bash", script] + arguments, cwd=str(tmp_path), capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
    assert os.listdir(str(tmp_path)) == ["c.yml"]
