# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The output folder: its lock, which checkpoints stay, and which one a run goes on from."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from src.model_utils.options import options_from_dict
from src.model_utils.util import atomic_write, name_behind
from src.training.run_folder import RunFolder
from src.weights.checkpoint import (
    TRAINING,
    Checkpoint,
    CheckpointError,
    DamagedCheckpoint,
    read_checkpoint,
    write_checkpoint,
)
from src.weights.mindspore_file import read_entries


def checkpoint(step, size=4):
    return Checkpoint(TRAINING, options_from_dict({"scale": 4}), {"a": np.full(size, step, np.float32)}, {"step": step})


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return RunFolder(str(tmp_path / "out"), keep=2)


def names(folder, *below):
    return sorted(os.listdir(os.path.join(folder.path, *below)))


def step_of(path):
    return read_checkpoint(path).state["step"]


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
        "latest.ckpt",
        "step_0001000.ckpt",
        "step_0000030.ckpt",
    ]


def test_the_best_stays(folder):
    folder.save(checkpoint(10))
    folder.mark_best(10, 3.0)
    for step in (20, 30, 40):
        folder.save(checkpoint(step))
    assert names(folder) == ["best.ckpt", "latest.ckpt", "step_0000030.ckpt", "step_0000040.ckpt"]
    assert read_checkpoint(folder.best).arrays["a"][0] == 10
    for figure in (3.0, 4.0, np.nan):
        folder.mark_best(40, figure)
        assert read_checkpoint(folder.best).arrays["a"][0] == 10
    folder.mark_best(40, 2.0)
    assert read_checkpoint(folder.best).arrays["a"][0] == 40
    with pytest.raises(OSError):
        folder.mark_best(50, 1.0)
    assert read_checkpoint(folder.best).arrays["a"][0] == 40
    assert names(folder) == ["best.ckpt", "latest.ckpt", "step_0000030.ckpt", "step_0000040.ckpt"]


def test_saving_a_step_again(folder):
    """As when the newest file was damaged and the run was resumed from the one before."""
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    tear(folder.latest)
    folder.save(checkpoint(20))
    assert step_of(folder.latest) == step_of(folder.step_path(20)) == 20
    assert names(folder) == ["latest.ckpt", "step_0000010.ckpt", "step_0000020.ckpt"]


def test_a_file_system_without_hard_links(folder, monkeypatch):
    monkeypatch.setattr(os, "link", refuse_to_link)
    folder.save(checkpoint(10))
    folder.save(checkpoint(20))
    folder.mark_best(20, 3.0)
    assert not os.path.samefile(folder.latest, folder.step_path(20))
    assert step_of(folder.latest) == step_of(folder.best) == 20


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
    assert first.startswith(f"warning: {folder.latest}: ")
    assert second.startswith(f"warning: {folder.step_path(20)}: ")


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

    monkeypatch.setattr("src.weights.checkpoint.read_entries", failing)
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
    monkeypatch.setattr("src.weights.checkpoint.FORMAT_VERSION", 99)
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


def test_leftovers_of_a_run_and_temporary_files_of_others(folder):
    """What `eval.py --output_dir` writes to the same folder just now is not the run's."""
    os.mkdir(folder.path)
    own = ["step_0000010.ckpt", "step_12345678.tmp", "latest.ckpt", "best.ckpt"]
    own += ["train.csv", "validation.csv", "run.json", "loss.png"]
    others = ["metrics.csv", "metrics.json", "step_0000010.png", "step_1.ckpt", "train.png", "trained.csv", "baby.png"]
    for name in own + others:
        with open(os.path.join(folder.path, ".{}.0123456789ab{}".format(*os.path.splitext(name))), "w"):
            pass
    folder.remove_leftovers()
    assert sorted(map(name_behind, names(folder))) == sorted(others)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is lost


@pytest.fixture(name="earlier")
def fixture_earlier(folder):
    """A run to step 40 with step 30 as its best, and its logs."""
    folder.keep = 4
    for step in (10, 20, 30, 40):
        folder.save(checkpoint(step))
    folder.mark_best(30, 1.0)
    os.mkdir(os.path.join(folder.path, "pictures"))
    for name in ("train.csv", "validation.csv", "run.json", "pictures/step_0000020.png", "pictures/step_0000040.png"):
        with open(os.path.join(folder.path, name), "w") as file:
            file.write("the first " + name)
    return folder


def resume(folder, path, keep=4):
    """The folder of another process that resumes a checkpoint; None: the newest."""
    again = RunFolder(folder.path, keep)
    found = again.read_newest() if path is None else (path, read_checkpoint(path))
    again.go_on_from(found[0], found[1].state)
    again.set_later_aside()
    return again


def everything(folder):
    """The different contents of all files that are there, wherever."""
    found = set()
    for path, _, files in os.walk(folder.path):
        for name in files:
            with open(os.path.join(path, name), "rb") as file:
                found.add(file.read())
    return found


def test_going_back_sets_later_things_aside(earlier, capfd):
    before, inode = everything(earlier), os.stat(earlier.step_path(40)).st_ino
    capfd.readouterr()
    again = resume(earlier, earlier.step_path(20))
    aside = os.path.join(earlier.path, "before_resume_at_0000020")
    assert capfd.readouterr().out == (
        f"set aside in {aside}: latest.ckpt, step_0000030.ckpt, step_0000040.ckpt, best.ckpt, train.csv, "
        "validation.csv, run.json\n"
    )
    assert names(earlier) == [
        "before_resume_at_0000020",
        "latest.ckpt",
        "pictures",
        "run.json",
        "step_0000010.ckpt",
        "step_0000020.ckpt",
        "train.csv",
        "validation.csv",
    ]
    assert names(earlier, "pictures") == ["step_0000020.png"] and os.listdir(os.path.join(aside, "pictures")) == [
        "step_0000040.png"
    ]
    assert everything(earlier) == before
    assert newest(again) == ("latest.ckpt", 20)
    set_aside = RunFolder(aside, 4)
    assert newest(set_aside) == ("latest.ckpt", 40) and step_of(set_aside.best) == 30
    assert os.stat(set_aside.latest).st_ino == os.stat(set_aside.step_path(40)).st_ino == inode  # no copy on the disk
    again.save(checkpoint(30, size=8))
    assert before < everything(earlier) and step_of(again.latest) == 30


def test_going_back_again_and_again(earlier):
    before = everything(earlier)
    for _ in range(3):
        resume(earlier, earlier.step_path(20)).save(checkpoint(40))
    assert [name for name in names(earlier) if name.startswith("before")] == [
        "before_resume_at_0000020",
        "before_resume_at_0000020_2",
        "before_resume_at_0000020_3",
    ]
    assert before < everything(earlier)


def test_going_on_from_the_newest_sets_nothing_aside(earlier, capfd):
    before = names(earlier)
    for path in (None, earlier.step_path(40), os.path.relpath(earlier.latest)):
        resume(earlier, path)
    assert names(earlier) == before and capfd.readouterr().out == ""


def test_going_on_from_the_best(earlier):
    """Its step file is long gone, and the run is stopped before its first save."""
    earlier.keep = 1
    earlier.save(checkpoint(50))
    resume(earlier, earlier.best)
    assert names(earlier, "before_resume_at_0000030") == [
        "latest.ckpt",
        "pictures",
        "run.json",
        "step_0000050.ckpt",
        "train.csv",
        "validation.csv",
    ]
    assert newest(earlier) == ("latest.ckpt", 30) and step_of(earlier.best) == 30


def test_only_the_best_is_left(folder):
    """Neither `auto` nor a new run may begin at step 0 and replace it."""
    folder.save(checkpoint(10))
    folder.mark_best(10, 1.0)
    os.remove(folder.latest)
    os.remove(folder.step_path(10))
    assert newest(folder) == ("best.ckpt", 10) and folder.checkpoints() == [folder.best]


def test_damaged_newest_files_are_set_aside(earlier, capfd):
    tear(earlier.latest)
    before = everything(earlier)
    again = resume(earlier, None)
    assert names(earlier, "before_resume_at_0000030") == [
        "latest.ckpt",
        "pictures",
        "run.json",
        "step_0000040.ckpt",
        "train.csv",
        "validation.csv",
    ]
    assert newest(again) == ("latest.ckpt", 30) and step_of(again.best) == 30
    again.save(checkpoint(40))
    assert before < everything(earlier)
    tear(again.best)  # and step 30
    resume(again, None)
    assert names(earlier, "before_resume_at_0000040") == ["best.ckpt", "run.json", "train.csv", "validation.csv"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("damaged", [False, True])
def test_killed_while_setting_aside(earlier, monkeypatch, links, damaged):
    """At every single change of the disk. What comes then, `auto` or the same again, works, and nothing is lost."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # many times over, and no power cut is to come
    if not links:
        monkeypatch.setattr(os, "link", refuse_to_link)
        shutil.copyfile(earlier.step_path(40), earlier.latest + "x")  # as it comes where there are no links
        os.replace(earlier.latest + "x", earlier.latest)
    if damaged:
        tear(earlier.latest)
    before, pristine = everything(earlier), earlier.path + "_pristine"
    shutil.copytree(earlier.path, pristine)
    for change in range(100):
        for path in (None, earlier.step_path(20)):
            shutil.rmtree(earlier.path)
            shutil.copytree(pristine, earlier.path)
            if links:
                os.remove(earlier.step_path(40))
                os.link(earlier.latest, earlier.step_path(40))  # which the copy made two files
            finished = in_a_child(lambda change=change: die_at(change), lambda: resume(earlier, earlier.step_path(20)))
            assert before <= everything(earlier)
            again = resume(earlier, path, keep=9)
            assert step_of(again.latest) == again.resumed.step
            assert again.resumed.step in ((20,) if path or finished else (20, 30, 40))
            assert before <= everything(earlier)
            again.save(checkpoint(again.resumed.step + 5, size=8))
            assert before <= everything(earlier)
        if finished:
            break
    assert finished and change > 8


def refuse_to_link(*_):
    raise PermissionError(1, "Operation not permitted")


def die_at(number):
    """Ends the process at its n-th change of the disk, from 0, before it is made; to be called in a child."""
    made = []

    def counting(function):
        def counted(*arguments, **settings):
            if len(made) == number:
                os._exit(9)
            made.append(function)
            return function(*arguments, **settings)

        return counted

    for name in ("replace", "link", "mkdir", "remove"):
        setattr(os, name, counting(getattr(os, name)))
    shutil.copyfile = counting(shutil.copyfile)


def in_a_child(*actions):
    """Does something in a child process; whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            for action in actions:
                action()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WEXITSTATUS(status) in (0, 9)
    return status == 0


def test_a_later_checkpoint_that_somebody_put_there(earlier, tmp_path):
    """Neither a save nor the rotation nor a resume loses it, nor is it taken for the run's own."""
    foreign, elsewhere = earlier.step_path(9999999), RunFolder(str(tmp_path / "elsewhere"), 1)
    elsewhere.save(checkpoint(9999999, size=9))
    shutil.copy(elsewhere.latest, foreign)
    earlier.save(checkpoint(50))
    assert step_of(foreign) == 9999999
    again = resume(earlier, None)
    assert again.resumed.step == 50
    assert step_of(os.path.join(earlier.path, "before_resume_at_0000050", os.path.basename(foreign))) == 9999999
    shutil.copy(elsewhere.latest, again.step_path(60))
    again.save(checkpoint(60))
    assert step_of(os.path.join(earlier.path, "before_save_at_0000060", "step_0000060.ckpt")) == 9999999
    assert step_of(again.step_path(60)) == 60


def test_an_earlier_checkpoint_that_somebody_put_there(earlier):
    """As one taken back from a backup: the rotation leaves it, also after a resume that keeps fewer."""
    shutil.copy(earlier.step_path(10), earlier.step_path(15))
    again = resume(earlier, None, keep=1)
    again.save(checkpoint(50))
    assert [name for name in names(earlier) if name.startswith("step")] == ["step_0000015.ckpt", "step_0000050.ckpt"]


def test_checkpoints_of_a_version_that_did_not_note_which_are_the_runs_own(folder):
    for step in (10, 20):
        write_checkpoint(folder.step_path(step), checkpoint(step))
    write_checkpoint(folder.latest, checkpoint(20))
    resume(folder, None).save(checkpoint(30))
    assert "step_0000010.ckpt" in names(folder)
    resume(folder, None, keep=2).save(checkpoint(40))
    assert names(folder) == ["latest.ckpt", "step_0000030.ckpt", "step_0000040.ckpt"]


def test_a_best_of_unknown_figure(earlier, capfd):
    again = resume(earlier, None)
    again.best_figure = None
    again.mark_best(30, 7.0)  # the same again, as when the validation was cut short after it
    assert step_of(again.best) == 30 and not [name for name in names(earlier) if name.startswith("before")]
    again.best_figure = None
    again.mark_best(40, np.nan)
    assert step_of(again.best) == 30
    capfd.readouterr()
    again.mark_best(40, 7.0)
    assert step_of(again.best) == 40
    aside = os.path.join(earlier.path, "before_best_at_0000040")
    assert step_of(os.path.join(aside, "best.ckpt")) == 30
    assert capfd.readouterr().out == f"set aside in {aside}: best.ckpt\n"
    again.mark_best(20, 8.0)
    assert step_of(again.best) == 40


def test_which_checkpoints_are_the_folders(earlier, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    other = RunFolder(str(tmp_path / "other"), 1)
    other.save(checkpoint(10))
    os.symlink(earlier.path, str(tmp_path / "linked"))
    os.symlink(earlier.latest, str(tmp_path / "soft.ckpt"))
    os.link(earlier.step_path(10), str(tmp_path / "hard.ckpt"))
    shutil.copy(other.latest, os.path.join(earlier.path, "copied.ckpt"))
    for inside in (
        earlier.latest,
        "out/step_0000010.ckpt",
        "other/../out/best.ckpt",
        "linked/latest.ckpt",
        "soft.ckpt",
        "hard.ckpt",
        "out/copied.ckpt",
    ):
        assert earlier.contains(inside), inside
    os.symlink(other.latest, os.path.join(earlier.path, "foreign.ckpt"))
    os.mkdir(os.path.join(earlier.path, "below"))
    shutil.copy(earlier.latest, os.path.join(earlier.path, "below"))
    for outside in (other.latest, "out/foreign.ckpt", "out/below/latest.ckpt"):
        assert not earlier.contains(outside), outside
    assert not RunFolder(str(tmp_path / "new"), 1).contains(earlier.latest)


# ---------------------------------------------------------------------------------------------------------------------
# The lock


def test_one_run_at_a_time(folder):
    with folder.locked():
        words = f"output_dir: another run .process {os.getpid()} on .* is writing to"
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
    code = (
        "import sys\nfrom src.training.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1], 1).locked():\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder.path], cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match=f"another run .process {process.pid} on"):
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
