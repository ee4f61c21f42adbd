# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Our checkpoint files: named arrays and a description, in MindSpore's own format, never pickled.

A file is a MindSpore checkpoint with one more entry, `__srflow__`: a JSON text that says what the file is, for which
options, at which step, and the hash of everything else. The file appears whole or not at all, and a damaged one is
recognised when it is read.
"""
import contextlib
import hashlib
import json
import logging
import os
from typing import Any, Dict, NamedTuple

import mindspore
import numpy as np
from mindspore import Tensor

from src.model_utils.mindspore_file import read_entries
from src.model_utils.network_names import explain_mismatch
from src.model_utils.options import options_from_dict
from src.model_utils.util import atomic_write

# What this code writes, and of each kind what it reads: inference checkpoints of format 1 held plain parameters, those
# of formats 2 to 5 weights in other forms.
FORMAT_VERSION = 6
DESCRIPTION = "__srflow__"
TRAINING, INFERENCE = "training", "inference"
READABLE = {TRAINING: (1, 2, 3, 4, 5, 6), INFERENCE: (6,)}


class CheckpointError(ValueError):
    """A file that is no checkpoint, a damaged one, or one of another network."""


class DamagedCheckpoint(CheckpointError):
    """A file that is torn, or whose contents are not those that were written."""


class Checkpoint(NamedTuple):
    """kind: TRAINING (weights as trained) or INFERENCE (as `packed.to_arrays` makes them); options: of the run.

    arrays: float32 NumPy arrays by name: the parameters, and in a training checkpoint what `optimizer.` begins. They may
    be read-only.
    state: small JSON values: `step` (updates done) and `actnorm_initialised`, among others.
    """

    kind: str
    options: Any
    arrays: Dict[str, np.ndarray]
    state: Dict[str, Any]

    def parameters(self):
        """The network's parameters alone."""
        return {name: value for name, value in self.arrays.items() if not name.startswith("optimizer.")}


def write_checkpoint(path, checkpoint):
    """Writes a Checkpoint to `path`, whole or not at all. Raises OSError where the disk does not take it."""
    description = {"format_version": FORMAT_VERSION, "kind": checkpoint.kind, "state": checkpoint.state,
                   "options": checkpoint.options.to_dict()}
    description["sha256"] = _hash(checkpoint.arrays, description)
    entries = [{"name": name, "data": Tensor(value)} for name, value in checkpoint.arrays.items()]
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    entries.append({"name": DESCRIPTION, "data": Tensor(text)})
    with atomic_write(path) as temporary:
        try:
            with _quiet():
                mindspore.save_checkpoint(entries, temporary)
        except (RuntimeError, OSError) as error:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.splitext(temporary)[0] + ".tmp")  # where 2.x writes first
            raise OSError(f"{path}: could not be written: {' '.join(str(error).split())[:200]}") from None
        os.chmod(temporary, 0o644)  # MindSpore leaves it read-only


def read_checkpoint(path):
    """Reads a file of `write_checkpoint`. Raises CheckpointError, with one line that says what is wrong with it."""
    path = str(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such checkpoint file")
    entries = read_mindspore(path)
    if DESCRIPTION not in entries:
        raise DamagedCheckpoint(f"{path}: a MindSpore checkpoint, but not one that train.py or train2test.py wrote whole")
    try:
        description = json.loads(entries.pop(DESCRIPTION).data.decode())
        version, digest = description["format_version"], description.pop("sha256")
        kind, state, options = description["kind"], description["state"], description["options"]
        readable = READABLE[kind]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedCheckpoint(f"{path}: damaged, its description cannot be read; use another checkpoint") from None
    if version not in readable:
        raise CheckpointError(f"{path}: {kind} checkpoint of format {version}, this code reads "
                              f"{', '.join(map(str, readable))}; train2test.py makes an inference checkpoint again from "
                              "a training checkpoint")
    try:
        arrays = {name: _as_array(entry) for name, entry in entries.items()}
    except ValueError:
        raise DamagedCheckpoint(f"{path}: damaged, an array is not what was written; use another checkpoint") from None
    if digest != _hash(arrays, description):
        raise DamagedCheckpoint(f"{path}: damaged, its contents do not match their hash; use another checkpoint")
    return Checkpoint(kind, options_from_dict(options, source=f"{path}: stored options"), arrays, state)


def read_mindspore(path):
    """Name -> Entry of a MindSpore checkpoint, whoever wrote it. Raises DamagedCheckpoint if the file is none."""
    try:
        return read_entries(path)
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    except ValueError as error:
        raise DamagedCheckpoint(f"{path}: not a MindSpore checkpoint, or a truncated one ({error}); copy it again or "
                                "use another") from None


def load_parameters(cell, arrays, source, strict=True, optional=()):
    """Gives a cell's parameters the values in `arrays`, comparing names and shapes both ways.

    cell: its parameters bear official names; source: for the error message; optional: beginnings of names that may be
    missing. Not strict: loads what fits and returns what did not, a line each; strict: raises CheckpointError instead,
    with the same lines and a guess at the cause.
    """
    parameters = {parameter.name: parameter for parameter in cell.get_parameters()}
    problems = explain_mismatch(arrays, {name: tuple(parameter.shape) for name, parameter in parameters.items()
                                         if name in arrays or not name.startswith(tuple(optional))})
    if problems and strict:
        raise CheckpointError(f"{source}: weights of another network: {'; '.join(problems)}")
    for name, parameter in parameters.items():
        if name in arrays and tuple(parameter.shape) == arrays[name].shape:
            parameter.set_data(Tensor(np.ascontiguousarray(arrays[name], np.float32)))
    return problems


def parameter_arrays(cell):
    """The values of a cell's parameters by name."""
    return {parameter.name: parameter.asnumpy() for parameter in cell.get_parameters()}


def _as_array(entry):
    """The float32 array of an entry, whose memory it shares; ValueError if that is no such array."""
    if entry.kind != "Float32":
        raise ValueError(entry.kind)
    return np.frombuffer(entry.data, "<f4").reshape(entry.shape)


@contextlib.contextmanager
def _quiet():
    """Keeps MindSpore from logging a page about a failure that we describe in one line."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


def _hash(arrays, description):
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape};".encode())
        digest.update(value)
    return digest.hexdigest()
