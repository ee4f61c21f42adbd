# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The output folder of a training run: one run at a time, its last checkpoints, and the best one.

    latest.ckpt          the newest checkpoint: another name of the newest of those below
    step_0001000.ckpt    the newest few
    best.ckpt            the one with the best validation
    before_*/            what was in the way: of steps that the run does anew, or not of this run

All paths come from the options and the step. None is ever read from a checkpoint.
"""

import contextlib
import filecmp
import glob
import itertools
import math
import os
import re
import shutil
import sys
from typing import Any, NamedTuple

from tqdm import tqdm

from src.locked_folder import locked_folder
from src.model_utils.util import atomic_write, name_behind
from src.weights.checkpoint import DamagedCheckpoint, read_checkpoint, write_checkpoint

LATEST, BEST, LOCK, PICTURES = "latest.ckpt", "best.ckpt", ".lock", "pictures"
# The logs are small. A run that goes on writes them anew or cuts them.
LOGS = ("train.csv", "validation.csv", "run.json", "loss.png")
_STEP_FILE = re.compile(r"step_(\d{7,})\.(ckpt|png)")
# What the run writes into the folder itself. MindSpore 2.x writes a checkpoint under the suffix .tmp first.
_WRITTEN = re.compile("|".join([r"step_\d{7,}\.(ckpt|tmp)"] + [re.escape(name) for name in (LATEST, BEST) + LOGS]))


class Resumed(NamedTuple):
    """The checkpoint that a run goes on from."""

    path: str
    step: int


class Best(NamedTuple):
    """The step of best.ckpt, and the options under which it was validated."""

    step: int
    options: Any


class RunFolder:
    """The folder of a run, with its checkpoints.

    Only what the run wrote itself is ever removed or replaced. Each checkpoint's state names the steps `saved` so far.
    Whatever else is in the way is set aside, in a new sub-folder `before_*`.

    Args:
        path: the folder, which need not be there yet.
        keep: how many checkpoints stay, the newest ones.

    Attributes:
        latest, best: paths of latest.ckpt and best.ckpt.
        resumed: Resumed, or None for a new run.
        best_figure: figure of best.ckpt's validation, the lower the better; infinity without such a file, None if it is
            unknown.
    """

    def __init__(self, path, keep):
        self.path, self.keep = path, keep
        self.latest, self.best = os.path.join(path, LATEST), os.path.join(path, BEST)
        self.resumed, self.best_figure, self._saved = None, math.inf, set()

    def step_path(self, step):
        return os.path.join(self.path, f"step_{step:07d}.ckpt")

    def checkpoints(self):
        """Return the paths of the checkpoints in the order in which a resume tries them.

        That is latest.ckpt, then the steps from the newest on, then best.ckpt.
        """
        steps = [self.step_path(step) for step in sorted(self._steps(), reverse=True)]
        return [path for path in [self.latest] + steps + [self.best] if os.path.exists(path)]

    def traces(self):
        """Return the paths of what a run leaves: its checkpoints and its logs."""
        return self.checkpoints() + self._logs()

    def contains(self, path):
        """Tell whether a checkpoint lies in the folder itself, whatever it is called; one in a sub-folder does not."""
        return _is_same(os.path.dirname(os.path.realpath(path)), self.path) or self._is_own(path)

    def read_newest(self):
        """Read the newest whole checkpoint.

        Damaged files are named on stderr and left where they are.

        Returns:
            (path, Checkpoint); None in a folder without any.

        Raises:
            DamagedCheckpoint: all checkpoints are damaged.
            CheckpointError: a file is whole but of no use, such as one of a later format.
            OptionsError: a file is whole, but this code cannot use the options in it.
        """
        damaged = []
        for path in self.checkpoints():
            try:
                checkpoint = read_checkpoint(path)
            except DamagedCheckpoint as error:
                print(f"warning: {error}", file=sys.stderr, flush=True)
                damaged.append(path)
                continue
            return path, checkpoint
        if damaged:
            raise DamagedCheckpoint(
                f"{self.path}: all of its checkpoints are damaged "
                f"({', '.join(os.path.basename(path) for path in damaged)}); name another one by "
                "path.resume_state, or give another output_dir"
            )
        return None

    def go_on_from(self, path, state):
        """Note which checkpoint the run goes on from; on the disk nothing changes before `set_later_aside`.

        Args:
            path: the checkpoint.
            state: the state in it.
        """
        saved = state.get("saved")
        self.resumed = Resumed(path, state["step"])
        if self._is_own(path):  # not a copy, whose `saved` may be those of another folder
            self._saved = {
                step
                for step in self._steps()
                if step <= self.resumed.step and (not isinstance(saved, list) or step in saved)
            }  # earlier versions did not note `saved`

    def set_later_aside(self):
        """Make the checkpoint that the run goes on from the latest, having set aside what the run would replace.

        Checkpoints and pictures of later steps are set aside. So are a best.ckpt that cannot be read and a latest.ckpt
        of other contents. With them go copies of the logs, so that the sub-folder is a run's folder itself.

        Whatever interrupts this, nothing is lost: a file is here or there. Until latest.ckpt is replaced, the folder
        goes on from where it stood. Afterwards it goes on from the checkpoint that was noted.

        Returns:
            the Best that stays, None if none does.
        """
        source, step = self.resumed
        best = self._read_best()
        moved = [self.step_path(number) for number in sorted(self._steps()) if number > step]
        moved += [self.best] * (os.path.exists(self.best) and (best is None or best.step > step))
        moved = [path for path in moved if not _is_same(path, source)]
        latest_is_other = os.path.exists(self.latest) and not _same_contents(self.latest, source)
        if moved or latest_is_other:
            aside = self._new_folder(
                f"before_resume_at_{step:07d}", [self.latest] * latest_is_other + moved + self._logs()
            )
            for path in self._logs():
                with atomic_write(_inside(aside, path)) as temporary:
                    shutil.copyfile(path, temporary)
            if latest_is_other:
                _link_or_move(self.latest, _inside(aside, self.latest))
        if latest_is_other or not os.path.exists(self.latest):
            _same_file(source, self.latest)
        for path in moved:
            os.replace(path, _inside(aside, path))
        if moved or latest_is_other:
            self._move_pictures(os.path.join(aside, PICTURES), step)
        return best if os.path.exists(self.best) else None

    def save(self, checkpoint):
        """Write a training checkpoint as that of its step and as the latest; remove the run's own that are too many.

        Raises:
            OSError: the disk does not take it; the checkpoints that were there stay.
        """
        step = checkpoint.state["step"]
        path, saved = self.step_path(step), self._saved | {step}
        if step not in self._saved and os.path.exists(path):
            self._set_aside(path, f"before_save_at_{step:07d}")
        write_checkpoint(path, checkpoint._replace(state=dict(checkpoint.state, saved=sorted(saved))))
        self._saved = saved
        _same_file(path, self.latest)
        for number in sorted(number for number in saved if number <= step)[: -self.keep]:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.step_path(number))
            self._saved -= {number}

    def mark_best(self, step, figure):
        """Give a step's checkpoint the name best.ckpt too, if the figure of its validation is the lowest.

        A best.ckpt of unknown figure is set aside.

        Args:
            step: step of a checkpoint in the folder.
            figure: the validation's figure, the lower the better.

        Raises:
            OSError: the step has no checkpoint, or the disk does not take it.
        """
        if not figure < (math.inf if self.best_figure is None else self.best_figure):
            return
        path = self.step_path(step)
        os.stat(path)  # raises OSError before anything moves
        if self.best_figure is None and os.path.exists(self.best) and not _same_contents(self.best, path):
            self._set_aside(self.best, f"before_best_at_{step:07d}")
        _same_file(path, self.best)
        self.best_figure = figure

    def remove_leftovers(self):
        """Remove the temporary files of a run that was killed; only the holder of the lock may call this.

        Those of other programs stay: an eval.py may be writing to the same folder just now.
        """
        for path in glob.glob(os.path.join(glob.escape(self.path), ".*")):
            if _WRITTEN.fullmatch(name_behind(path) or ""):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)

    @contextlib.contextmanager
    def locked(self):
        """Hold the folder for the block, as `locked_folder` does."""
        with locked_folder(self.path, LOCK):
            yield self

    def _steps(self):
        return [step for step, name in _step_files(self.path) if name.endswith(".ckpt")]

    def _read_best(self):
        """Return the Best; None if there is no best.ckpt or it cannot be read."""
        try:
            best = read_checkpoint(self.best)
            return Best(best.state["step"], best.options)
        except (ValueError, KeyError, TypeError):
            return None

    def _logs(self):
        return [path for path in (os.path.join(self.path, name) for name in LOGS) if os.path.exists(path)]

    def _is_own(self, path):
        """Tell whether a path, whatever its name, leads to one of the run's checkpoints."""
        return any(_is_same(path, own) for own in self.checkpoints())

    def _set_aside(self, path, name):
        """Keep a file that is about to be replaced in a new sub-folder."""
        _link_or_move(path, _inside(self._new_folder(name, [path]), path))

    def _new_folder(self, name, contents):
        """Make a sub-folder, say what comes there, and return its path.

        Args:
            name: its name; if that is taken, the first free one of name_2, name_3 and so on is used.
            contents: paths of the files that come there.
        """
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        path = next(path for path in (os.path.join(self.path, name) for name in names) if _make_new(path))
        tqdm.write(f"set aside in {path}: {', '.join(map(os.path.basename, contents))}")
        return path

    def _move_pictures(self, target, step):
        """Move the pictures of later steps into the folder `target`."""
        pictures = os.path.join(self.path, PICTURES)
        for number, name in _step_files(pictures):
            if number > step:
                os.makedirs(target, exist_ok=True)
                os.replace(os.path.join(pictures, name), os.path.join(target, name))


def _make_new(path):
    """Make a folder; return False if there is something of that name."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _step_files(folder):
    """Return [(step, name)] of a folder's files that bear the name of a step."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [(int(match.group(1)), name) for name, match in zip(names, map(_STEP_FILE.fullmatch, names)) if match]


def _inside(folder, path):
    """Return the path in a folder of a file that bears the name of `path`."""
    return os.path.join(folder, os.path.basename(path))


def _is_same(first, second):
    """Tell whether two paths lead to one file or folder, through links of either kind.

    A path that leads nowhere is the same as no other.
    """
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _same_contents(first, second):
    """Tell whether two paths lead to one file or to copies of it; a file that cannot be read is no copy."""
    try:
        return _is_same(first, second) or filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _same_file(source, target):
    """Make `target` another name of the file `source`, or a copy on a file system without hard links."""
    with atomic_write(target) as temporary:
        try:
            os.link(os.path.realpath(source), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _link_or_move(source, target):
    """Make `target` another name of the file `source`, or its only name on a file system without hard links."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        os.replace(source, target)
