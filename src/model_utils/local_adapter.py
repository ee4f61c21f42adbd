# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Adapter of a run on this machine: the launcher's environment variables, and nothing to copy.

The variables are those that MindSpore's msrun sets, or else those of OpenMPI's mpirun.
"""

import functools
import os


def get_device_id(default=0):
    """Return the number of this process's device: DEVICE_ID, or `default` where no launcher sets it."""
    return _from_environment(("DEVICE_ID", "OMPI_COMM_WORLD_LOCAL_RANK"), default, minimum=0)


def get_device_num():
    """Return the number of processes of the run: RANK_SIZE, or 1."""
    return _from_environment(("RANK_SIZE", "OMPI_COMM_WORLD_SIZE"), 1, minimum=1)


def get_rank_id():
    """Return the number of this process in the run: RANK_ID, or 0."""
    return _from_environment(("RANK_ID", "OMPI_COMM_WORLD_RANK"), 0, minimum=0)


def is_scheduler():
    """Tell whether this is the process beside those that train by which MindSpore 2.x brings them together."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def get_job_id():
    """Return the name of the job: JOB_ID, or "Local"."""
    return os.environ.get("JOB_ID") or "Local"


def sync_data(from_path, to_path, missing_ok=False, timeout=3600):
    """Do nothing: on this machine the data are where they are.

    The function is here so that both adapters have the same functions.
    """


def moxing_wrapper(opt, pre_process=None, post_process=None):
    """Make a decorator that calls `pre_process()`, the function, and `post_process()` if the function succeeded.

    It copies nothing, unlike that of moxing_adapter.
    """
    del opt

    def decorate(run):
        @functools.wraps(run)
        def wrapped(*args, **kwargs):
            if pre_process:
                pre_process()
            result = run(*args, **kwargs)
            if post_process:
                post_process()
            return result

        return wrapped

    return decorate


def localise_paths(opt):
    """Return the options as they are: on this machine every path means what it says."""
    return opt


def _from_environment(names, default, minimum):
    """Return the first of the variables that is set, or `default`."""
    for name in names:
        text = os.environ.get(name, "").strip()
        if text:
            if not text.isdecimal() or int(text) < minimum:
                raise ValueError(f"environment variable {name}: expected an integer >= {minimum}, got {text!r}")
            return int(text)
    return default
