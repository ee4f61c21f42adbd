# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The output folder of a training run: one run at a time, its last checkpoints, and the best one.

    latest.ckpt          the newest checkpoint: another name of the newest of those below
    step_0001000.ckpt    the newest few
    best.ckpt            the one with the best validation

All paths come from the options and the step; none is ever read from a checkpoint.
"""
import contextlib
import errno
import glob
import os
import re
import shutil
import sys

from src.model_utils.checkpoint import DamagedCheckpoint, read_checkpoint, write_checkpoint
from src.model_utils.util import atomic_write, is_temporary

try:
    import fcntl
except ImportError:  # Windows, where nothing guards the folder
    fcntl = None

LATEST, BEST, LOCK = "latest.ckpt", "best.ckpt", ".lock"
_STEP_FILE = re.compile(r"step_(\d{7,})\.ckpt")


class RunFolder:
    """path: the folder, which need not be there yet; keep: how many checkpoints stay, the newest ones."""

    def __init__(self, path, keep):
        self.path, self.keep = path, keep
        self.latest, self.best = os.path.join(path, LATEST), os.path.join(path, BEST)

    def step_path(self, step):
        return os.path.join(self.path, "step_{:07d}.ckpt".format(step))

    def checkpoints(self):
        """Paths of the checkpoints in the order in which a resume tries them: latest.ckpt, then from the newest."""
        steps = sorted(self._steps(), reverse=True)
        return [self.latest] * os.path.exists(self.latest) + [self.step_path(step) for step in steps]

    def read_newest(self):
        """(path, Checkpoint) of the newest whole checkpoint, or None in a folder without any.

        Damaged files are named on stderr and left where they are. Raises DamagedCheckpoint if there are no others,
        CheckpointError for a file that is whole but of no use, such as one of a later format.
        """
        damaged = []
        for path in self.checkpoints():
            try:
                checkpoint = read_checkpoint(path)
            except DamagedCheckpoint as error:
                print("warning: {}".format(error), file=sys.stderr, flush=True)
                damaged.append(path)
                continue
            return path, checkpoint
        if damaged:
            raise DamagedCheckpoint("{}: all of its checkpoints are damaged ({}); name another one by "
                                    "path.resume_state, or give another output_dir"
                                    .format(self.path, ", ".join(os.path.basename(path) for path in damaged)))
        return None

    def save(self, checkpoint):
        """Writes a training checkpoint as that of its step and as the latest; removes those that are too many.

        Those of later steps go too: the run was resumed from before them and takes another course now. Raises OSError
        where the disk does not take it; the checkpoints that were there stay.
        """
        step = checkpoint.state["step"]
        write_checkpoint(self.step_path(step), checkpoint)
        _same_file(self.step_path(step), self.latest)
        steps = sorted(self._steps(), reverse=True)
        kept = [number for number in steps if number <= step][:self.keep]
        for number in set(steps) - set(kept):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.step_path(number))

    def mark_best(self, step):
        """Gives the checkpoint of a step the name best.ckpt too. Raises OSError as `save`."""
        _same_file(self.step_path(step), self.best)

    def remove_leftovers(self):
        """Removes the temporary files of writers that were killed; only for the one who holds the lock."""
        for path in glob.glob(os.path.join(glob.escape(self.path), ".*")):
            if is_temporary(path):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)

    @contextlib.contextmanager
    def locked(self):
        """Holds the folder for the block, as `locked_folder` does."""
        with locked_folder(self.path, LOCK):
            yield self

    def _steps(self):
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        return [int(match.group(1)) for match in map(_STEP_FILE.fullmatch, names) if match]


@contextlib.contextmanager
def locked_folder(path, lock):
    """Holds a folder for the block; raises ValueError if another process does.

    The lock is the operating system's and ends with the process, however it ends; the file `lock` in the folder only
    carries it. A folder that the block leaves empty is removed if it was not there before.
    """
    existed = os.path.isdir(path)
    os.makedirs(path, exist_ok=True)
    file = _lock(os.path.join(path, lock))
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(file.name)  # while the lock is still held
            file.close()
        if not existed:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _lock(path):
    """Opens and locks a file; None where the system or the file system knows no such locks, which is told."""
    if fcntl is None:
        return None
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "a process that does not say"
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ValueError("output_dir: another run ({}) is writing to {}; wait for it, or give another "
                                 "output_dir".format(holder, os.path.dirname(path))) from None
            print("warning: {} cannot be locked ({}); see to it yourself that no other run writes there"
                  .format(os.path.dirname(path), error.strerror), file=sys.stderr, flush=True)
            return None
        # The last holder may have removed the file between our opening and our locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    file.truncate(0)
    file.write("process {} on {}\n".format(os.getpid(), os.uname().nodename))
    file.flush()
    return file


def _same_file(source, target):
    """Makes `target` another name of the file `source`, or a copy on a file system without hard links."""
    with atomic_write(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
