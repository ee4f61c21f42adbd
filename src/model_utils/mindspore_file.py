# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore's checkpoint files, read entry by entry.

Not by `mindspore.load_checkpoint`: it insists on a suffix, needs two to three times the memory of what it reads, and in
2.8.0 does not compare a shape with its data. A file is a protocol buffer, `Checkpoint` of `checkpoint.proto`, which has
one field, number 1: the entries. So it is a sequence of the field's key, a length, and an entry of that many bytes.
MindSpore 2 can add a checksum, which is not read.
"""
import os
from typing import NamedTuple, Tuple

from google.protobuf.message import DecodeError
from mindspore.train.checkpoint_pb2 import Checkpoint

MAGIC = b"\n"  # the key of field 1, with a length: what every entry begins with
CHECKSUM, CHECKSUM_LENGTH = b"crc_num", 17  # after the last entry, of a file saved with crc_check


class Entry(NamedTuple):
    """A tensor of a file. kind: MindSpore's name of its type, such as Float32; data: its numbers, little endian."""

    kind: str
    shape: Tuple[int, ...]
    data: bytes


def read_entries(path):
    """Name -> Entry, in the file's order. Raises ValueError, with what is wrong with the file, and OSError."""
    headers, pieces = {}, {}
    with open(path, "rb") as file:
        for entry in _messages(file):
            name, tensor = entry.tag, entry.tensor
            header = tensor.tensor_type, () if list(tensor.dims) == [0] else tuple(tensor.dims)  # a scalar has [0]
            if header != headers.setdefault(name, header) or min(header[1], default=1) < 0:
                raise ValueError(f"{name[:80]}: type and shape {header} contradict themselves or an earlier entry")
            pieces.setdefault(name, []).append(tensor.tensor_content)  # a large tensor comes in several
    if not pieces:
        raise ValueError("the file is empty")
    return {name: Entry(*headers[name], b"".join(parts)) for name, parts in pieces.items()}


def _messages(file):
    end = _end_of_entries(file)
    while file.tell() < end:
        start = file.tell()
        if file.read(1) != MAGIC:
            raise ValueError(f"at byte {start} no entry of a MindSpore checkpoint begins")
        length = _read_length(file)
        if length > end - file.tell():
            raise ValueError("the file ends within an entry")
        try:
            yield Checkpoint.Value.FromString(file.read(length))
        except (DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError(f"the entry that begins at byte {start} cannot be decoded") from None


def _end_of_entries(file):
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - CHECKSUM_LENGTH, 0))
    has_checksum = file.read(len(CHECKSUM)) == CHECKSUM
    file.seek(0)
    return size - CHECKSUM_LENGTH if has_checksum else size


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
    raise ValueError(f"before byte {file.tell()} no length of an entry ends")
