# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Folders to which one process at a time writes."""

import contextlib
import errno
import os
import sys

try:
    import fcntl
except ImportError:  # Windows, where nothing guards the folder
    fcntl = None


@contextlib.contextmanager
def locked_folder(path, lock):
    """Hold a folder for the block.

    The lock is the operating system's and ends with the process, however the process ends. The file `lock` in the
    folder only carries it. A folder that the block leaves empty is removed if it was not there before.

    Args:
        path: the folder, made if missing.
        lock: name of the lock's file in the folder.

    Raises:
        ValueError: another process holds the folder.
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
    """Open and lock a file, which holds the lock until it is closed.

    Returns:
        the open file; None where the system or the file system knows no such locks. A warning on stderr tells of such a
        file system.

    Raises:
        ValueError: another process holds the lock.
    """
    if fcntl is None:
        return None
    while True:
        file = open(path, "a+")  # noqa: SIM115  # it stays open: closing it ends the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "a process that does not say"
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ValueError(
                    f"output_dir: another run ({holder}) is writing to {os.path.dirname(path)}; wait for it, or give "
                    "another output_dir"
                ) from None
            print(
                f"warning: {os.path.dirname(path)} cannot be locked ({error.strerror}); see to it yourself that no "
                "other run writes there",
                file=sys.stderr,
                flush=True,
            )
            return None
        # The last holder may have removed the file after we opened it and before we locked it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
    file.flush()
    return file
