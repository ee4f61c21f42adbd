# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Adapter of a run on ModelArts: data are copied in and results out through the platform's `moxing` package.

The processes of one node share its disk. So one of them copies, that of the node's first device, and the others wait.
They meet at a small file per copy in the temporary folder, which says how the copy went.
"""

import functools
import hashlib
import itertools
import os
import sys
import tempfile
import time

from src.model_utils.local_adapter import get_device_id, get_device_num, get_job_id, get_rank_id  # as on ModelArts
from src.model_utils.options import OptionsError, options_from_dict
from src.model_utils.util import atomic_write

__all__ = [
    "get_device_id",
    "get_device_num",
    "get_job_id",
    "get_rank_id",
    "localise_paths",
    "moxing_wrapper",
    "sync_data",
]

DEVICES_PER_NODE = 8
_copy_numbers = itertools.count(1)  # all processes copy the same things in the same order


def sync_data(from_path, to_path, missing_ok=False, timeout=3600):
    """Copy a folder between the object store and this node, once per node.

    Every process of the node must make the same calls in the same order. The function returns when the copy is
    complete.

    Args:
        from_path, to_path: folder or URL; at least one is usually `obs://` or `s3://`.
        missing_ok: copy nothing, instead of failing, where there is no `from_path`.
        timeout: seconds that the other processes wait for the one that copies.

    Raises:
        OSError: the copy failed, in this process or in the one that made it, or was not made in time.
        ValueError: there is no `moxing` here.
    """
    report = _report_path(from_path, to_path, next(_copy_numbers))
    if _is_copier():
        _copy_and_report(from_path, to_path, missing_ok, report)
    else:
        _await_report(from_path, to_path, report, timeout)


def moxing_wrapper(opt, pre_process=None, post_process=None):
    """Make a decorator that copies data in, runs the function, and copies the results out.

    Before the run `data_url` is copied to `data_path`, `checkpoint_url` to `load_path`, and `train_url` to
    `output_path`; `train_url` may hold an earlier run's results to resume. An empty URL is passed over. At the end
    `output_path` is copied back to `train_url`, also when the run fails.

    `pre_process()` is called after the copying in. `post_process()` is called before the copying out, if the run
    succeeded.

    Args:
        opt: Options.
        pre_process, post_process: functions without arguments, or None.
    """

    def decorate(run):
        @functools.wraps(run)
        def wrapped(*args, **kwargs):
            _copy_in(opt)
            try:
                if pre_process:
                    pre_process()
                result = run(*args, **kwargs)
                if post_process:
                    post_process()
            except BaseException:
                _rescue_results(opt)
                raise
            if opt.train_url:
                sync_data(opt.output_path, opt.train_url)
            return result

        return wrapped

    return decorate


def _copy_in(opt):
    if opt.data_url:
        sync_data(opt.data_url, opt.data_path)
    if opt.checkpoint_url:
        sync_data(opt.checkpoint_url, opt.load_path)
    if opt.train_url:
        sync_data(opt.train_url, opt.output_path, missing_ok=True)  # not there before the first run
    os.makedirs(opt.output_path, exist_ok=True)


def _rescue_results(opt):
    """Copy a failed run's results out.

    The run's own error matters more than a second one here, which is printed.
    """
    if not opt.train_url or not _is_copier():  # the others need not wait: they may have failed because it hangs
        return
    try:
        sync_data(opt.output_path, opt.train_url)
    except (OSError, ValueError) as error:
        print(f"warning: the results of the failed run were not copied: {error}", file=sys.stderr, flush=True)


def localise_paths(opt):
    """Return the options with the paths that are those on the ModelArts machine.

    Relative paths move below the local copies. Dataroots move to `data_path`, and `output_dir` to `output_path`.
    Checkpoints move to `load_path`. Of dataroots and checkpoints only the file name stays, as the URL names the folder
    that holds them. Absolute paths stay.

    Raises:
        OptionsError: an absolute output_dir outside `output_path`, from where nothing would be copied back.
    """
    values = opt.to_dict()
    for section in values["datasets"].values():
        section["dataroot"] = _below(opt.data_path, section["dataroot"])
    values["test_pretrained_model_path"] = _below(opt.load_path, values["test_pretrained_model_path"])
    values["path"]["train_pretrain_model_G"] = _below(opt.load_path, values["path"]["train_pretrain_model_G"])
    if values["path"]["resume_state"] != "auto":
        values["path"]["resume_state"] = _below(opt.load_path, values["path"]["resume_state"])

    root = os.path.abspath(opt.output_path)
    output_dir = os.path.abspath(os.path.join(root, opt.output_dir))
    if os.path.commonpath([output_dir, root]) != root:
        raise OptionsError(
            f"output_dir: expected a folder below output_path = {opt.output_path}, which ModelArts "
            f"copies to train_url, got {opt.output_dir}"
        )
    values["output_dir"] = output_dir
    return options_from_dict(values)


def _below(folder, path):
    if path is None or os.path.isabs(path):
        return path
    return os.path.join(folder, os.path.basename(path))


def _is_copier():
    """Tell whether this process copies for its node, being that of the node's first device."""
    return get_device_id() % min(get_device_num(), DEVICES_PER_NODE) == 0


def _report_path(from_path, to_path, count):
    """Return the file by which the processes of a node agree on one copy, the count-th of each process."""
    name = hashlib.sha256("\n".join([get_job_id(), str(count), from_path, to_path]).encode()).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), f"srflow_copy_{count}_{name}")


def _copy_and_report(from_path, to_path, missing_ok, report):
    if os.path.exists(report):
        os.remove(report)  # of an earlier job that had no JOB_ID
    try:
        moxing = _import_moxing()
        if not missing_ok or moxing.file.exists(from_path):
            print(f"copying {from_path} to {to_path}", flush=True)
            moxing.file.copy_parallel(from_path, to_path)
    except Exception as error:
        _write_report(report, f"{type(error).__name__}: {error}")
        if isinstance(error, (OSError, ValueError)):
            raise
        raise OSError(f"copying {from_path} to {to_path} failed: {error}") from error
    _write_report(report, "")


def _write_report(report, problem):
    with atomic_write(report) as temporary:
        with open(temporary, "w") as file:
            file.write(problem)


def _await_report(from_path, to_path, report, timeout):
    deadline = time.monotonic() + timeout
    while not os.path.exists(report):
        if time.monotonic() > deadline:
            raise OSError(
                f"waited {timeout} seconds for the process of this node's first device to copy {from_path} to {to_path}"
            )
        time.sleep(0.1)
    with open(report) as file:
        problem = file.read()
    if problem:
        raise OSError(f"copying {from_path} to {to_path} failed in the process of this node's first device: {problem}")


def _import_moxing():
    try:
        import moxing  # pylint: disable=import-outside-toplevel  # exists on ModelArts only
    except ImportError as error:
        raise ValueError(
            f"enable_modelarts: the moxing package, which ModelArts provides, is not here ({error}); set "
            "enable_modelarts to false to run on this machine"
        ) from None
    return moxing
