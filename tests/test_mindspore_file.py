# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindSpore's checkpoint files: read as MindSpore reads them, and what is none is refused with its place."""

import tracemalloc

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from mindspore.train.checkpoint_pb2 import Checkpoint

from src.weights.mindspore_file import read_entries


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """A file that MindSpore wrote, of several types, with a scalar; under a name that MindSpore would not read."""
    cell = nn.Dense(300, 2)
    cell.insert_param_to_cell("steps", Parameter(Tensor(np.array(7, np.int32)), name="steps"))
    cell.insert_param_to_cell("half", Parameter(Tensor(np.arange(6, dtype=np.float16).reshape(1, 6)), name="half"))
    mindspore.save_checkpoint(cell, str(tmp_path / "a.ckpt"))
    (tmp_path / "a.ckpt").rename(tmp_path / "weights")
    return tmp_path / "weights"


TYPES = {"Float32": "<f4", "Float16": "<f2", "Int32": "<i4"}


def test_as_mindspore_reads_it(path, tmp_path):
    (tmp_path / "copy.ckpt").write_bytes(path.read_bytes())
    loaded, entries = mindspore.load_checkpoint(str(tmp_path / "copy.ckpt")), read_entries(path)
    assert list(entries) == list(loaded) and len(entries) == 4
    for name, entry in entries.items():
        value = loaded[name].asnumpy()
        assert entry.shape == value.shape, name
        np.testing.assert_array_equal(np.frombuffer(entry.data, TYPES[entry.kind]).reshape(entry.shape), value, name)


def test_an_empty_file(path):
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty"):
        read_entries(path)


@pytest.mark.parametrize("left", [1, 2, 10, -1])
def test_a_truncated_file(left, path):
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="the file ends within an entry"):
        read_entries(path)


@pytest.mark.parametrize(
    "tail, words",
    [
        (b"x", "at byte {size} no entry of a MindSpore checkpoint begins"),
        (b"\n" + b"\xff" * 10, "before byte {length_end} no length of an entry ends"),
        (b"\n" + b"\xff" * 8 + b"\x01", "the file ends within an entry"),  # 2^57 bytes, for which no memory is taken
        (b"\n\x02\x0a\x05", "the entry that begins at byte {size} cannot be decoded"),
        (b"\n\x04\x0a\x02\xff\xfe", "the entry that begins at byte {size} cannot be decoded"),  # a name that is no text
        (b"\n\xa0\x9c\x01" + b"\x63" * 20000, "the entry that begins at byte {size} cannot be decoded"),
    ],
)
def test_what_is_no_entry(tail, words, path):
    content = path.read_bytes()
    path.write_bytes(content + tail)
    with pytest.raises(ValueError) as caught:
        read_entries(path)
    size = len(content)
    assert str(caught.value) == words.format(size=size, length_end=size + 11)


def test_a_checksum_is_passed_over(path):
    """So MindSpore 2 ends a file with crc_check=True."""
    entries = read_entries(path)
    path.write_bytes(path.read_bytes() + b"crc_num" + bytes(range(10)))
    assert read_entries(path) == entries


def piece(kind, *dims):
    """An entry `weight` of eight bytes."""
    proto = Checkpoint()
    entry = proto.value.add(tag="weight")
    entry.tensor.dims.extend(dims)
    entry.tensor.tensor_type, entry.tensor.tensor_content = kind, bytes(range(8))
    return proto.SerializeToString()


def test_a_tensor_in_several_pieces(path):
    path.write_bytes(piece("Float32", 2, 2) + piece("Float32", 2, 2))
    assert read_entries(path) == {"weight": ("Float32", (2, 2), bytes(range(8)) * 2)}


def test_data_that_contradict_their_key(path):
    """Packed dimensions, a name that is a number, a tensor twice as long as its entry."""
    for entry in (b"\x0a\x01a\x12\x0a\x0a\x02\x02\x02\x12\x01F\x1a\x01x", b"\x08\x01", b"\x0a\x01a\x12\x7f"):
        path.write_bytes(b"\n" + bytes([len(entry)]) + entry)
        with pytest.raises(ValueError, match="the entry that begins at byte 0 cannot be decoded"):
            read_entries(path)


def big_entry(*fields):
    """An entry of (key, bytes) fields, of any length."""

    def number(value):
        digits = [value >> shift & 127 for shift in range(0, 35, 7)]
        return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])

    body = b"".join(key + number(len(data)) + data for key, data in fields)
    return b"\n" + number(len(body)) + body


@pytest.mark.parametrize(
    "content, words",
    [
        (big_entry((b"\x0a", b"a"), (b"\x12", b"\x08\x01" * 5000000)), "cannot be decoded"),  # ten million dimensions
        (big_entry((b"\x0a", b"a" * 10000000)), "cannot be decoded"),  # a name
        (
            big_entry((b"\x0a", b"a"), (b"\x12", b"\x12\x80\xad\xe2\x04" + b"F" * 10000000)),
            "cannot be decoded",
        ),  # a type
        (b"\x0a\x02\x18\x00" * 2500000, "cannot be decoded"),
        (b"\n\x80\x00" * 3000000, "cannot be decoded"),
        (b"".join(b"\n\x0f\x0a\x06%06d\x12\x05\x12\x01F\x1a\x00" % i for i in range(60000)), "more than 50000 entries"),
        (b"\n\x0a\x0a\x01a\x12\x05\x12\x01F\x1a\x00" * 60000, "more than 50000 entries"),
    ],
    ids=range(7),
)
def test_what_is_made_to_take_memory(content, words, path):
    """No more than a few times what the file has, and little time."""
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=words):
        read_entries(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e8


def test_memory(path):
    """A large tensor takes little more than itself."""
    path.write_bytes(
        big_entry(
            (b"\x0a", b"a"), (b"\x12", b"\x08\x01" + big_entry((b"\x12", b"Float32"), (b"\x1a", bytes(5 * 10**7)))[6:])
        )
    )
    tracemalloc.start()
    entry = read_entries(path)["a"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (entry.kind, entry.shape, len(entry.data)) == ("Float32", (1,), 5 * 10**7)
    assert peak < 1.2 * 5 * 10**7


@pytest.mark.parametrize(
    "content",
    [piece("Float32", 2) + piece("Float16", 2), piece("Float32", 4) + piece("Float32", 2), piece("Float32", -1)],
)
def test_a_contradiction(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="weight: type and shape .* contradict"):
        read_entries(path)
