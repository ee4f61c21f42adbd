# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore's checkpoint files, read entry by entry.

Not by `mindspore.load_checkpoint`: it insists on a suffix, needs three times the memory of what it reads, and in 2.8.0
does not compare a shape with its data. A file is a protocol buffer, `Checkpoint` of `checkpoint.proto`, which has one
field, number 1: the entries. So it is a sequence of the field's key, a length, and an entry of that many bytes.
"""
import os
from typing import NamedTuple, Tuple

from google.protobuf.message import DecodeError
from mindspore.train.checkpoint_pb2 import Checkpoint

KEY = b"\n"  # field 1, of bytes: what every such file begins with


class Entry(NamedTuple):
    """A tensor of a file. kind: MindSpore's name of its type, such as Float32; data: its numbers, little endian."""

    kind: str
    shape: Tuple[int, ...]
    data: bytes


def read_entries(path):
    """Name -> Entry, in the file's order. Raises ValueError, with what is wrong with the file, and OSError."""
    kinds, shapes, pieces = {}, {}, {}
    with open(path, "rb") as file:
        for entry in _messages(file):
            name, tensor = entry.tag, entry.tensor
            kinds[name] = tensor.tensor_type
            shapes[name] = () if list(tensor.dims) == [0] else tuple(tensor.dims)  # a scalar has the dimension 0
            pieces.setdefault(name, []).append(tensor.tensor_content)  # a large tensor comes in several
    if not pieces:
        raise ValueError("the file is empty")
    return {name: Entry(kinds[name], shapes[name], b"".join(parts)) for name, parts in pieces.items()}


def _messages(file):
    size = os.fstat(file.fileno()).st_size
    while file.tell() < size:
        if file.read(1) != KEY:
            raise ValueError(f"at byte {file.tell() - 1} no entry of a MindSpore checkpoint begins")
        length = _read_length(file)
        if file.tell() + length > size:
            raise ValueError("the file ends within an entry")
        try:
            yield Checkpoint.Value.FromString(file.read(length))
        except DecodeError:
            raise ValueError(f"before byte {file.tell()} no entry of a MindSpore checkpoint ends") from None


def _read_length(file):
    """A number as protocol buffers have it: seven bits in each byte, the lowest first, the eighth if there are more."""
    length = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends within an entry")
        length |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return length
    raise ValueError(f"before byte {file.tell()} there is no length of an entry")
