# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Small helpers of the programs: errors in one line, the device, seeds, files that appear whole or not at all.

MindSpore takes seconds to import. So only the functions that use it import it, and a program that only reads options is
spared it.
"""

import contextlib
import ctypes
import glob
import itertools
import os
import random
import re
import signal
import sys
import traceback
import uuid

import numpy as np
from tqdm import tqdm

from src.texts import printable


class DeviceError(ValueError):
    """The device that was asked for cannot be used here."""


def run_main(main):
    """Run a program's `main()` and end the process.

    Errors that a user can mend (ValueError, OSError and their subclasses) become one line `error: ...` on stderr and
    exit status 2. SRFLOW_TRACEBACK=1 in the environment shows where they came from too. Ctrl-C is status 130. Any other
    exception is a bug and keeps its traceback.

    Args:
        main: function without arguments; what it returns is the exit status, None being 0.
    """
    try:
        status = main()
    except (ValueError, OSError) as error:
        if os.environ.get("SRFLOW_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exc()
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def end_by_signals(status_of):
    """Let SIGTERM, and SIGHUP of a terminal that is closed, end the process by SystemExit, so that it can tidy up.

    A signal that is ignored, as under nohup, stays so. While the process tidies up, others are ignored: the shell of a
    closed terminal may send one more.

    Args:
        status_of: function from the signal's number to the exit status.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def end(received, _):
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(status_of(received))

    for number in numbers:
        signal.signal(number, end)


def warn(message):
    """Print a warning on stderr, above a progress bar if there is one."""
    tqdm.write(printable(f"warning: {message}"), file=sys.stderr)


def bar_interval():
    """Return the seconds between updates of a progress bar: more in a log file, where each update is another line."""
    return 0.1 if sys.stderr.isatty() else 10


@contextlib.contextmanager
def pynative_mode():
    """Run the block operator by operator, not compiled."""
    from mindspore import context  # here, as it takes seconds

    mode = context.get_context("mode")
    context.set_context(mode=context.PYNATIVE_MODE)
    try:
        yield
    finally:
        context.set_context(mode=mode)


def compile_cell(cell, *inputs):
    """Compile a cell for inputs of these shapes and types, and give the memory that this took back to the system.

    This is for graph mode. A call with such inputs then has nothing left to compile. The compiler of a training step
    leaves more than a gigabyte that the C library's allocator would keep.
    """
    cell.compile(*inputs)
    give_back_memory()


def give_back_memory():
    """Return to the system what has been freed, but the C library's allocator keeps."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def atomic_write(path):
    """Let a file appear whole or not at all.

        with atomic_write("weights.ckpt") as temporary:
            save(temporary)

    The temporary file is flushed to disk and renamed to `path` at the end, or removed if an exception leaves the block.
    The folder is made if missing.

    Yields:
        the path of a temporary file, not there yet, in the same folder and with the same suffix.

    Raises:
        FileNotFoundError: the block wrote nothing to the temporary path.
    """
    path = os.path.abspath(str(path))
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    os.makedirs(folder, exist_ok=True)
    # Not the whole stem: the name may be as long as the file system allows.
    temporary = os.path.join(folder, f".{stem[:16]}.{uuid.uuid4().hex[:12]}{suffix}")
    try:
        yield temporary
        if not os.path.exists(temporary):
            raise FileNotFoundError(f"{path}: nothing was written")
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C leaves no litter either
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    _flush(folder)


def free_name(path):
    """Return the path itself if it is free, or else with the first number from 2 on that makes it free."""
    names = itertools.chain([path], (f"{path}{number}" for number in itertools.count(2)))
    return next(name for name in names if not os.path.exists(name))


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}(\.[^.]+)?", re.DOTALL)


def name_behind(temporary):
    """Return the name of the file that a temporary one of `atomic_write` would have become.

    Args:
        temporary: path of any file.

    Returns:
        the name, of whose stem 16 characters at most are known; None if `atomic_write` gives no such name.
    """
    match = _TEMPORARY.fullmatch(os.path.basename(temporary))
    return match and match.group(1) + (match.group(2) or "")


@contextlib.contextmanager
def not_fatal(what):
    """Outlive a file that cannot be written, such as on a full disk: an OSError in the block is told on stderr.

        with not_fatal("step 100"):
            save(path)

    Args:
        what: the beginning of the line.
    """
    try:
        yield
    except OSError as error:
        message = " ".join(str(error).split()) or type(error).__name__
        warn(f"{what}: {message}; the run goes on")


def _flush(path):
    """Have the system write a file, or a folder's entries, to disk."""
    if os.name != "posix" and os.path.isdir(path):
        return  # only POSIX opens folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_seed(seed):
    """Seed Python's, NumPy's and MindSpore's global generators.

    Args:
        seed: integer from 0 to 2 ** 31 - 1.
    """
    import mindspore  # here, as it takes seconds

    random.seed(seed)
    np.random.seed(seed)
    mindspore.set_seed(seed)


def set_device(target, device_id=0, allow_tf32=False):
    """Choose graph mode and the device, on MindSpore 1.7 and 2.x.

    This is the first thing that a program does with MindSpore.

    Args:
        target: "GPU", "CPU" or "Ascend".
        device_id: number of the device, from 0; CPU has only one and takes any.
        allow_tf32: whether a GPU may compute float32 convolutions and matrix products in TF32, which keeps ten bits of
            the mantissa; other devices do not have it.

    Raises:
        DeviceError: the device is not here, or this MindSpore cannot use it.
        ValueError: `allow_tf32` is neither True nor False.
    """
    if not isinstance(allow_tf32, bool):
        raise ValueError(f"allow_tf32: expected True or False, got {allow_tf32!r}")
    problem = _device_problem(target, device_id)  # first: without a device MindSpore may abort the process later
    import mindspore  # here, as it takes seconds

    if problem is None:
        problem = _choose_device(mindspore, target, 0 if target == "CPU" else device_id, allow_tf32)
    if problem is not None:
        advice = "" if target == "CPU" else f"; use --device_target CPU, or see {target} in docs/installation.md"
        raise DeviceError(
            f"device_target {target}: this MindSpore ({mindspore.__version__}) finds no usable device "
            f"{device_id} here ({problem}){advice}"
        )


def init_distributed(rank_id, rank_size):
    """Join the other processes of a data-parallel run, after `set_device`; a single one has nothing to join.

    Args:
        rank_id: number of this process, from 0.
        rank_size: number of processes.

    Raises:
        DeviceError: the processes do not find each other.
        ValueError: this process has no number, or another one than it was given.
    """
    if rank_id >= rank_size:
        raise ValueError(f"environment variable RANK_ID: expected less than RANK_SIZE, {rank_size}, got {rank_id}")
    if rank_size == 1:
        return
    # On the CPU a process waits for the others for half a minute and then fails, unless this variable says otherwise.
    # Rank 0 validates and saves while the others wait.
    os.environ.setdefault("MS_NODE_TIMEOUT", str(7 * 24 * 3600))
    from mindspore import communication, context  # here, as it takes seconds

    _join(communication)
    if (communication.get_rank(), communication.get_group_size()) != (rank_id, rank_size):
        raise ValueError(
            f"environment variables RANK_ID and RANK_SIZE: rank {rank_id} of {rank_size} is to MindSpore rank "
            f"{communication.get_rank()} of {communication.get_group_size()}; start the processes by "
            "scripts/run_distribute_train_gpu.sh, or give msrun --node_rank"
        )
    context.set_auto_parallel_context(parallel_mode=context.ParallelMode.DATA_PARALLEL, gradients_mean=True)


def serve_ranks():
    """Do what MindSpore 2.x wants of its scheduler, and nothing else: bring the processes together until they end.

    Signals are for the processes that train.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    set_device("CPU")
    from mindspore import communication  # here, as it takes seconds

    _join(communication)


def _join(communication):
    try:
        communication.init()
    except RuntimeError as error:
        raise DeviceError(
            f"several processes: MindSpore does not bring them together ({' '.join(str(error).split())[:300]})"
        ) from None


def _device_problem(target, device_id):
    """Say why the machine itself lacks the device; None if it has it. The driver is asked, not MindSpore."""
    if target == "GPU":
        count, problem = _count_gpus()
        if problem is None and device_id >= count:
            problem = f"the machine has {count} GPU{'' if count == 1 else 's'}, numbered from 0"
        return problem
    if target == "Ascend" and not glob.glob("/dev/davinci[0-9]*"):
        return "the machine has no Ascend device: no /dev/davinci*"
    return None


def _count_gpus():
    """Return (number of GPUs, None), or (0, why there is none), from NVIDIA's driver library."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        initialise, get_count = driver.cuInit, driver.cuDeviceGetCount
    except OSError:
        return 0, "no NVIDIA driver: libcuda.so.1 not found"
    except AttributeError:
        return 0, "libcuda.so.1 is a stand-in without a driver behind it"
    count = ctypes.c_int(0)
    status = initialise(0) or get_count(ctypes.byref(count))
    if status != 0:
        return 0, f"the NVIDIA driver answers with CUDA error {status}"
    return (count.value, None) if count.value else (0, "the NVIDIA driver sees no GPU")


def _choose_device(mindspore, target, device_id, allow_tf32):
    """Tell MindSpore the device; return what it objects to, or None."""
    try:
        if hasattr(mindspore, "set_device"):  # 2.x deprecates set_context(device_target=...)
            mindspore.set_context(mode=mindspore.GRAPH_MODE)
            mindspore.set_device(target, device_id)
        else:
            context = mindspore.context
            context.set_context(mode=context.GRAPH_MODE, device_target=target)
            if context.get_context("device_id") != device_id:  # 1.7 lets it be set only once
                context.set_context(device_id=device_id)
        if target == "GPU":
            _choose_tf32(mindspore, allow_tf32)
    except (RuntimeError, ValueError, TypeError) as error:
        return " ".join(str(error).split())[:300]
    return None


def _choose_tf32(mindspore, allowed):
    """Say whether TF32 may take float32's place; left alone, MindSpore computes convolutions in it from Ampere on.

    An inverse computed with ten bits of mantissa is no inverse of what was computed with them.
    """
    if hasattr(mindspore, "device_context"):  # 2.5 and later
        mindspore.device_context.gpu.op_precision.conv_allow_tf32(allowed)
        mindspore.device_context.gpu.op_precision.matmul_allow_tf32(allowed)
        return
    try:
        mindspore.context.set_context(gpu_config={"conv_allow_tf32": allowed, "matmul_allow_tf32": allowed})
    except (ValueError, TypeError):  # 1.7 and the first 2.x do not know it; CUDA's libraries read this when they start
        if not allowed:
            os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
