# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore's checkpoint files, read entry by entry.

They are not read by `mindspore.load_checkpoint`. That insists on a suffix, needs two to three times the memory of what
it reads, and in 2.8.0 does not compare a shape with its data. They are not read by the library of protocol buffers
either. That takes many times a file's size if the file is made for it.

A file is a protocol buffer, `Checkpoint` of `checkpoint.proto`:

    Checkpoint: repeated Value value = 1        Value: string tag = 1, Tensor tensor = 2
    Tensor: repeated int64 dims = 1, string tensor_type = 2, bytes tensor_content = 3

So it is a sequence of fields. Each field begins with a key, which is 8·number + how it is stored. Then comes a number,
or a length and as many bytes. Other fields of a Value are passed over. MindSpore 2 can add a checksum, which is not
read.
"""

import os
from typing import NamedTuple, Tuple

NUMBER, BYTES = 0, 2  # how a field is stored
TAG, TENSOR = 8 * 1 + BYTES, 8 * 2 + BYTES
DIMENSION, TYPE, CONTENT = 8 * 1 + NUMBER, 8 * 2 + BYTES, 8 * 3 + BYTES
MAGIC = b"\n"  # the key of the field `value`, with which every entry begins
CHECKSUM, CHECKSUM_LENGTH = b"crc_num", 17  # after the last entry in a file saved with crc_check
# Each is more than any network has. So reading takes little more memory than the file has bytes.
MAX_ENTRIES, MAX_FIELDS, MAX_TEXT = 50000, 40, 4096
CHUNK = 2**20


class Entry(NamedTuple):
    """A tensor of a file.

    Attributes:
        kind: MindSpore's name of its type, such as Float32.
        shape: tuple of int.
        data: bytes of its numbers, little endian.
    """

    kind: str
    shape: Tuple[int, ...]
    data: bytearray


class _Undecodable(ValueError):
    """An entry that is not what the module's description says."""


def read_entries(path):
    """Read the entries of a file.

    Returns:
        dict from name to Entry, in the file's order.

    Raises:
        ValueError: the file is no MindSpore checkpoint, or a damaged one; the message says what is wrong.
        OSError: the file cannot be read.
    """
    entries, count = {}, 0
    with open(path, "rb") as file:
        end = _end_of_entries(file)
        while file.tell() < end:
            count += 1
            if count > MAX_ENTRIES:
                raise ValueError(f"the file has more than {MAX_ENTRIES} entries")
            start = file.tell()
            if file.read(1) != MAGIC:
                raise ValueError(f"at byte {start} no entry of a MindSpore checkpoint begins")
            length = _read_number(file)
            if length > end - file.tell():
                raise ValueError("the file ends within an entry")
            try:
                _read_value(file, file.tell() + length, entries)
            except (_Undecodable, UnicodeDecodeError):
                raise ValueError(f"the entry that begins at byte {start} cannot be decoded") from None
    if not entries:
        raise ValueError("the file is empty")
    return entries


def _read_value(file, end, entries):
    """Add the Value up to `end` to the entries: a new one, or the next piece of a large tensor."""
    name, tensor_end = None, None
    for key, length in _fields(file, end):
        if key == TAG:
            name = _read_text(file, length)
        elif key == TENSOR:
            tensor, tensor_end = file.tell(), file.tell() + length
    if name is None or tensor_end is None:
        raise _Undecodable
    file.seek(tensor)
    kind, shape, content, length = _read_header(file, tensor_end)
    entry = entries.setdefault(name, Entry(kind, shape, bytearray()))
    if (kind, shape) != entry[:2] or min(shape, default=0) < 0:
        raise ValueError(f"{name[:80]}: type and shape {(kind[:20], shape)} contradict themselves or an earlier entry")
    file.seek(content)
    while length:
        piece = file.read(min(length, CHUNK))
        entry.data.extend(piece)
        length -= len(piece) or length  # a file that is cut meanwhile: data and shape will not agree
    file.seek(end)


def _read_header(file, end):
    """Return (type, shape, position of the content, length of the content) of the Tensor up to `end`."""
    dims, kind, content = [], None, None
    for key, value in _fields(file, end):
        if key == DIMENSION:
            dims.append(value - 2**64 if value >= 2**63 else value)
        elif key == TYPE:
            kind = _read_text(file, value)
        elif key == CONTENT:
            content = file.tell(), value
        else:
            raise _Undecodable
    if kind is None or content is None:
        raise _Undecodable
    return (kind, () if dims == [0] else tuple(dims)) + content  # a scalar's dims are [0]


def _fields(file, end):
    """Yield (key, value) of the fields up to `end`.

    The value of a field with bytes is their length. The file then stands at the first of them.
    """
    for _ in range(MAX_FIELDS):
        if file.tell() == end:
            return
        key, value = _read_number(file), _read_number(file)
        after = file.tell() + (value if key & 7 == BYTES else 0)
        if key & 7 not in (NUMBER, BYTES) or after > end:
            raise _Undecodable
        yield key, value
        file.seek(after)
    raise _Undecodable


def _read_text(file, length):
    if length > MAX_TEXT:
        raise _Undecodable
    return file.read(length).decode()


def _end_of_entries(file):
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - CHECKSUM_LENGTH, 0))
    has_checksum = file.read(len(CHECKSUM)) == CHECKSUM
    file.seek(0)
    return size - CHECKSUM_LENGTH if has_checksum else size


def _read_number(file):
    """Read a number as protocol buffers store it.

    Each byte holds seven bits, the lowest first. Its eighth bit is set if more bytes follow.
    """
    number = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends within an entry")
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
    raise ValueError(f"before byte {file.tell()} no length of an entry ends")
