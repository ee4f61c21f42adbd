# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The output folder: its lock, which checkpoints stay, and which one a run goes on from."""
import errno
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from src.model_utils.checkpoint import TRAINING, Checkpoint, CheckpointError, DamagedCheckpoint, read_checkpoint
from src.model_utils.mindspore_file import read_entries
from src.model_utils.options import options_from_dict
from src.model_utils.run_folder import RunFolder
from src.model_utils.util import atomic_write


def checkpoint(step, size=4):
    return Checkpoint(TRAINING, options_from_dict({"scale": 4}), {"a": np.full(size, step, np.float32)}, {"step": step})


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return RunFolder(str(tmp_path / "out"), keep=2)


def names(folder):
    return sorted(os.listdir(folder.path))


def tear(path, share=0.5):
    os.truncate(path, int(share * os.path.getsize(path)))


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints


def test_the_newest_few_stay(folder):
    for step in (10, 20, 30, 1000):
        folder.save(checkpoint(step))
    assert names(folder) == ["latest.ckpt", "step_0000030.ckpt", "step_0001000.ckpt"]
    assert read_checkpoint(folder.latest).state["step"] == 1000
    assert os.path.samefile(folder.latest, folder.step_path(1000))  # no second copy on the disk
    assert [os.path.basename(path) for path in folder.checkpoints()] == [
        "latest.ckpt", "step_0001000.ckpt", "step_0000030.ckpt"]


def test_the_best_stays(folder):
    folder.save(checkpoint(10))
    folder.mark_best(10)
    for step in (20, 30, 40):
        folder.save(checkpoint(step))
    assert names(folder) == ["best.ckpt", "latest.ckpt", "step_0000030.ckpt", "step_0000040.ckpt"]
    assert read_checkpoint(folder.best).arrays["a"][0] == 10
    folder.mark_best(40)
    assert read_checkpoint(folder.best).arrays["a"][0] == 40
    with pytest.raises(OSError):
        folder.mark_best(50)
    assert read_checkpoint(folder.best).arrays["a"][0] == 40
    assert names(folder) == ["best.ckpt", "latest.ckpt", "step_0000030.ckpt", "step_0000040.ckpt"]


def test_saving_a_step_again(folder):
    """As when the newest file was damaged and the run was resumed from the one before."""
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    tear(folder.latest)
    folder.save(checkpoint(20))
    assert read_checkpoint(folder.latest).state == read_checkpoint(folder.step_path(20)).state == {"step": 20}
    assert names(folder) == ["latest.ckpt", "step_0000010.ckpt", "step_0000020.ckpt"]


def test_another_course_from_an_earlier_step(folder):
    for step in (10, 20, 30):
        folder.save(checkpoint(step))
    folder.save(checkpoint(15))
    assert names(folder) == ["latest.ckpt", "step_0000015.ckpt"]


def test_a_file_system_without_hard_links(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    folder.mark_best(20)
    assert not os.path.samefile(folder.latest, folder.step_path(20))
    assert read_checkpoint(folder.latest).state == read_checkpoint(folder.best).state == {"step": 20}


def test_a_full_disk_leaves_what_was_there(folder):
    folder.save(checkpoint(10))
    before = names(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50000, hard))
    try:
        with pytest.raises(OSError):
            folder.save(checkpoint(20, size=100000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == before
    assert read_checkpoint(folder.latest).state["step"] == 10
    folder.save(checkpoint(20, size=100000))
    assert read_checkpoint(folder.latest).state["step"] == 20


# ---------------------------------------------------------------------------------------------------------------------
# Resuming


def newest(folder):
    found = folder.read_newest()
    return found and (os.path.basename(found[0]), found[1].state["step"])


def test_nothing_there(folder):
    assert folder.checkpoints() == [] and newest(folder) is None


def test_the_newest_whole_checkpoint(folder, capfd):
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    assert newest(folder) == ("latest.ckpt", 20)
    assert capfd.readouterr().err == ""
    tear(folder.latest)  # and its other name
    assert newest(folder) == ("step_0000010.ckpt", 10)
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("warning: {}: ".format(folder.latest))
    assert second.startswith("warning: {}: ".format(folder.step_path(20)))


def test_a_flipped_bit_in_the_newest(folder, capfd):
    folder.save(checkpoint(10))
    folder.save(checkpoint(20, size=10000))
    with open(folder.latest, "r+b") as file:
        file.seek(os.path.getsize(folder.latest) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    assert newest(folder) == ("step_0000010.ckpt", 10)
    assert "latest.ckpt: damaged, its contents do not match their hash" in capfd.readouterr().err


def test_the_disk_cannot_read_the_newest(folder, capfd, monkeypatch):
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))

    def failing(path):
        if path in (folder.latest, folder.step_path(20)):
            raise OSError(errno.EIO, "Input/output error")
        return read_entries(path)
    monkeypatch.setattr("src.model_utils.checkpoint.read_entries", failing)
    assert newest(folder) == ("step_0000010.ckpt", 10)
    assert "latest.ckpt: cannot be read (Input/output error); check the file" in capfd.readouterr().err


def test_latest_was_removed(folder):
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    os.remove(folder.latest)
    assert newest(folder) == ("step_0000020.ckpt", 20)


def test_all_are_damaged(folder):
    """Nothing starts anew by itself where there was a run."""
    folder.save(checkpoint(10))
    tear(folder.latest)
    with pytest.raises(DamagedCheckpoint, match=r"out: all of its checkpoints are damaged \(latest.ckpt, step_0000010"):
        folder.read_newest()


def test_a_later_format_is_no_damage(folder, monkeypatch):
    folder.save(checkpoint(10))
    monkeypatch.setattr("src.model_utils.checkpoint.FORMAT_VERSION", 99)
    folder.save(checkpoint(20))
    with pytest.raises(CheckpointError, match="format 99"):
        folder.read_newest()


def test_leftovers_of_killed_writers(folder):
    folder.save(checkpoint(10))
    with pytest.raises(KeyError):
        with atomic_write(folder.latest) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            os.link(temporary, temporary + "x")
            raise KeyError
    os.rename(temporary + "x", temporary)  # what SIGKILL would have left
    for name in (".mine", ".config.yml", "a.b"):
        with open(os.path.join(folder.path, name), "w"):
            pass
    folder.remove_leftovers()
    assert names(folder) == [".config.yml", ".mine", "a.b", "latest.ckpt", "step_0000010.ckpt"]


# ---------------------------------------------------------------------------------------------------------------------
# The lock


def test_one_run_at_a_time(folder):
    with folder.locked():
        words = "output_dir: another run .process {} on .* is writing to".format(os.getpid())
        with pytest.raises(ValueError, match=words):
            with RunFolder(folder.path, keep=1).locked():
                pass
        folder.save(checkpoint(10))
    assert names(folder) == ["latest.ckpt", "step_0000010.ckpt"]
    with folder.locked():
        pass


def test_a_folder_that_stays_empty_goes(folder):
    with folder.locked():
        assert os.path.isdir(folder.path)
    assert not os.path.exists(folder.path)
    os.makedirs(folder.path)
    with folder.locked():
        pass
    assert os.listdir(folder.path) == []


def test_the_lock_ends_with_its_process(folder, repo):
    code = ("import sys\nfrom src.model_utils.run_folder import RunFolder\n"
            "with RunFolder(sys.argv[1], 1).locked():\n    print('locked', flush=True)\n    sys.stdin.read()\n")
    process = subprocess.Popen([sys.executable, "-c", code, folder.path], cwd=repo, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match="another run .process {} on".format(process.pid)):
            with folder.locked():
                pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert names(folder) == [".lock"]
    with folder.locked():
        pass
    assert names(folder) == []
