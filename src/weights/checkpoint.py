# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Our checkpoint files: named arrays and a description, in MindSpore's own format, never pickled.

A file is a MindSpore checkpoint with one more entry, `__srflow__`. That is a JSON text that says what the file is, for
which options and at which step, and gives a hash of everything else. The file appears whole or not at all. A damaged
one is recognised when it is read.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import re
from typing import Any, Dict, NamedTuple

import numpy as np

from src.model_utils.options import options_from_dict
from src.model_utils.util import atomic_write
from src.network_names import explain_mismatch
from src.weights.mindspore_file import read_entries

# The format that this code writes, and the formats of each kind that it reads. Inference checkpoints of earlier formats
# held what the sampler of their time made of the parameters.
FORMAT_VERSION = 7
DESCRIPTION = "__srflow__"
TRAINING, INFERENCE = "training", "inference"
READABLE = {TRAINING: (1, 2, 3, 4, 5, 6, 7), INFERENCE: (7,)}
# Bounds of a description: its bytes, most of which are the losses since the log's last row; its sections and lists; the
# digits of an integer.
MAX_DESCRIPTION, MAX_SECTIONS, MAX_DIGITS = 2**24, 10000, 20


class CheckpointError(ValueError):
    """A file that is no checkpoint, a damaged one, or one of another network."""


class DamagedCheckpoint(CheckpointError):
    """A file that is torn, or whose contents are not those that were written."""


class Checkpoint(NamedTuple):
    """The contents of a checkpoint file.

    Attributes:
        kind: TRAINING, from which a run can go on, or INFERENCE, which holds only what a sampler needs.
        options: Options of the run.
        arrays: float32 NumPy arrays by name, which may be read-only. They are the network's parameters, in an inference
            checkpoint without those that only make the encoder's own image. A training checkpoint also holds the
            optimizers' states, whose names begin with `optimizer.`.
        state: small JSON values, among them `step` (updates done) and `actnorm_initialised`. `source` is the kind of
            the other program's file that the parameters come from, and `about` is a text of whoever converted them.
    """

    kind: str
    options: Any
    arrays: Dict[str, np.ndarray]
    state: Dict[str, Any]

    def parameters(self):
        """Return the network's parameters alone."""
        return {name: value for name, value in self.arrays.items() if not name.startswith("optimizer.")}


def write_checkpoint(path, checkpoint):
    """Write a Checkpoint to `path`, whole or not at all.

    Raises:
        OSError: the disk does not take it.
    """
    import mindspore  # here, so that files are read where there is none

    description = {
        "format_version": FORMAT_VERSION,
        "kind": checkpoint.kind,
        "state": checkpoint.state,
        "options": checkpoint.options.to_dict(),
    }
    description["sha256"] = _hash(checkpoint.arrays, json.dumps(description, sort_keys=True))
    entries = [{"name": name, "data": mindspore.Tensor(value)} for name, value in checkpoint.arrays.items()]
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    entries.append({"name": DESCRIPTION, "data": mindspore.Tensor(text)})
    with atomic_write(path) as temporary:
        # MindSpore would add the suffix to a name that lacks it.
        written = temporary if temporary.endswith(".ckpt") else temporary + ".ckpt"
        try:
            with _quiet():
                mindspore.save_checkpoint(entries, written)
            os.chmod(written, 0o644)  # MindSpore leaves it read-only
            os.replace(written, temporary)
        except (RuntimeError, OSError) as error:
            raise OSError(f"{path}: could not be written: {' '.join(str(error).split())[:200]}") from None
        finally:
            for leftover in {written, os.path.splitext(written)[0] + ".tmp"} - {temporary}:  # 2.x writes .tmp first
                with contextlib.suppress(FileNotFoundError):
                    os.remove(leftover)


def read_checkpoint(path):
    """Read a file of `write_checkpoint`.

    Raises:
        CheckpointError: with one line that says what is wrong with the file.
        OptionsError: the file is whole, but this code cannot use the options in it.
    """
    path = str(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such checkpoint file")
    entries = read_mindspore(path)
    if DESCRIPTION not in entries:
        raise DamagedCheckpoint(
            f"{path}: a MindSpore checkpoint, but not one that train.py or train2test.py wrote whole"
        )
    try:
        description = parse_description(entries.pop(DESCRIPTION).data)
        version, digest = description["format_version"], description.pop("sha256")
        kind, state, options = description["kind"], description["state"], description["options"]
        readable, text = READABLE[kind], json.dumps(description, sort_keys=True)
        if type(version) is not int:
            raise ValueError("a version that is no number")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedCheckpoint(f"{path}: damaged, its description cannot be read; use another checkpoint") from None
    if version not in readable:
        raise CheckpointError(
            f"{path}: {kind} checkpoint of format {version}, this code reads "
            f"{', '.join(map(str, readable))}; train2test.py makes an inference checkpoint again from "
            "a training checkpoint"
        )
    try:
        arrays = {name: _as_array(entry) for name, entry in entries.items()}
    except ValueError:
        raise DamagedCheckpoint(f"{path}: damaged, an array is not what was written; use another checkpoint") from None
    if digest != _hash(arrays, text):
        raise DamagedCheckpoint(f"{path}: damaged, its contents do not match their hash; use another checkpoint")
    problem = _state_problem(state, kind) or _optimizer_problem(arrays)
    if problem:
        raise DamagedCheckpoint(f"{path}: no checkpoint that this code wrote: {problem}; use another checkpoint")
    return Checkpoint(kind, options_from_dict(options, source=f"{path}: stored options"), arrays, state)


def parse_description(data, largest=MAX_DESCRIPTION):
    """Parse the JSON of a description, within bounds: a small text could be made to take any memory and time.

    Args:
        data: bytes.
        largest: the most bytes that a description of this kind has.

    Raises:
        ValueError: it is no JSON, or beyond the bounds.
        RecursionError: it is nested too deeply.
    """
    if len(data) > largest or data.count(b"{") + data.count(b"[") > MAX_SECTIONS:
        raise ValueError("larger than any description")
    return json.loads(data.decode(), parse_int=_parse_int)


def _parse_int(digits):
    if len(digits) > MAX_DIGITS:
        raise ValueError("an integer of too many digits")
    return int(digits)


def _is_count(value):
    return type(value) is int and 0 <= value < 2**63


def _is_number(value):
    return type(value) in (int, float)


def _is_finite(value):
    return _is_number(value) and math.isfinite(value)


# What may be in a state, as `Progress.state` makes it: key -> check of its value, or a dict of checks for a section.
_STATE = {
    "step": _is_count,
    "ranks": lambda value: _is_count(value) and value > 0,
    "skipped": _is_count,
    "actnorm_initialised": lambda value: type(value) is bool,
    "window": lambda value: type(value) is list and all(map(_is_number, value)),  # NaN: a step that was skipped
    "seconds": _is_finite,
    "source": lambda value: type(value) is str,
    "about": lambda value: type(value) is str,
    "loss_alarm": {
        "seen": _is_count,
        "high": _is_count,
        "mean": _is_finite,
        "best": lambda value: value is None or _is_finite(value),
    },
    "loss_scale": {"value": lambda value: _is_finite(value) and value > 0, "finite_steps": _is_count},
}


def _state_problem(state, kind):
    """Say what is wrong with a state; None if nothing is.

    An unknown key is no problem: other versions wrote other keys.
    """
    if type(state) is not dict:
        return "its state is no section"
    if kind == TRAINING and "step" not in state:
        return "its state lacks the step"
    if "notes" in state:
        return "its state has notes"  # notes are for other programs' files, and are printed
    for key, check in _STATE.items():
        value = state.get(key)
        if key not in state:
            continue
        if callable(check):
            good = check(value)
        else:
            good = type(value) is dict and set(value) <= set(check) and all(check[name](value[name]) for name in value)
        if not good:
            return f"its state has another {key} than training writes"
    return None


_MOMENT = re.compile(r"optimizer\.\w+\.[mv]\.(.+)")


def _optimizer_problem(arrays):
    """Say what is wrong with the arrays of optimizers; None if nothing is."""
    for name, value in arrays.items():
        match = _MOMENT.fullmatch(name)
        of = arrays.get(match.group(1)) if match else None
        if of is not None and of.shape != value.shape:
            return f"{name[:120]} has another shape than its parameter"
    return None


def read_mindspore(path):
    """Read the entries of a MindSpore checkpoint, whoever wrote it.

    Returns:
        dict from name to Entry.

    Raises:
        DamagedCheckpoint: the file is no MindSpore checkpoint, truncated, or cannot be read.
    """
    try:
        return read_entries(path)
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    except ValueError as error:
        raise DamagedCheckpoint(
            f"{path}: not a MindSpore checkpoint, or a truncated one ({error}); copy it again or use another"
        ) from None


def require_parameters(shapes, arrays, source, optional=()):
    """Check that arrays are the parameters of a network of these shapes.

    Args:
        shapes: name -> shape of the network's parameters.
        arrays: by name.
        source: where the arrays come from, for the error message.
        optional: beginnings of names that may be missing.

    Raises:
        CheckpointError: they are not; the message has a guess at the cause.
    """
    problems = _mismatch(shapes, arrays, optional)
    if problems:
        raise CheckpointError(f"{source}: weights of another network: {'; '.join(problems)}")


def load_parameters(cell, arrays, source, strict=True, optional=()):
    """Give a cell's parameters the values in `arrays`, comparing names and shapes both ways.

    Args:
        cell: its parameters bear official names.
        arrays: by official name.
        source: where the arrays come from, for the error message.
        strict: whether everything must fit; otherwise what fits is loaded.
        optional: beginnings of names that may be missing.

    Returns:
        list of lines that say what did not fit, empty if strict.

    Raises:
        CheckpointError: if strict, with the same lines.
    """
    from mindspore import Tensor  # here, so that files are read where there is none

    parameters = {parameter.name: parameter for parameter in cell.get_parameters()}
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    problems = [] if strict else _mismatch(shapes, arrays, optional)
    if strict:
        require_parameters(shapes, arrays, source, optional)
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape == shape:
            parameters[name].set_data(Tensor(np.ascontiguousarray(arrays[name], np.float32)))
    return problems


def _mismatch(shapes, arrays, optional):
    return explain_mismatch(
        arrays,
        {name: shape for name, shape in shapes.items() if name in arrays or not name.startswith(tuple(optional))},
    )


def parameter_arrays(cell):
    """Return the values of a cell's parameters by name."""
    return {parameter.name: parameter.asnumpy() for parameter in cell.get_parameters()}


def _as_array(entry):
    """Return the float32 array of an entry, whose memory it shares.

    Raises:
        ValueError: the entry is no such array.
    """
    if entry.kind != "Float32":
        raise ValueError(entry.kind[:20])
    return np.frombuffer(entry.data, "<f4").reshape(entry.shape)


@contextlib.contextmanager
def _quiet():
    """Keep MindSpore from logging a page about a failure that we describe in one line."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


def _hash(arrays, description):
    """Return the SHA-256 of arrays and their description; description: its JSON, sorted, without the hash."""
    digest = hashlib.sha256(description.encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape};".encode())
        digest.update(value)
    return digest.hexdigest()
