# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Pickled NumPy arrays are read without unpickling, whoever wrote them; what is no array is refused."""

import os
import pickle
import struct

import numpy as np
import pytest

from src.weights.checkpoint import CheckpointError
from src.weights.jax_file import MAX_FILE, read_jax

RANDOM = np.random.RandomState(0)
TREE = {
    "a": {"kernel": RANDOM.randn(3, 2, 4).astype(np.float32), "bias": RANDOM.randn(4).astype(np.float32)},
    "b": {"c": {"kernel": RANDOM.randn(1, 1, 5, 1).astype(np.float32)}},
}
NAMES = ("a/kernel", "a/bias", "b/c/kernel")
ARRAYS = dict(zip(NAMES, (TREE["a"]["kernel"], TREE["a"]["bias"], TREE["b"]["c"]["kernel"])))
# NumPy 1 and NumPy 2 call the module of `_reconstruct` so; in protocol 3 a name ends with its line.
NUMPY_NAMES = (b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")


class Runs:
    """Pickled, it is a command that the shell gets when somebody unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture(name="write")
def fixture_write(tmp_path):
    def write(value, protocol=3):
        path = tmp_path / "weights.ckpt"
        path.write_bytes(value if type(value) is bytes else pickle.dumps(value, protocol))
        return path

    return write


def renamed(program, name):
    for other in NUMPY_NAMES:
        program = program.replace(other, name)
    return program


def assert_refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        read_jax(path, NAMES)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 400
    assert all(word in line for word in words), line


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_pickle_writes(write, protocol):
    found = read_jax(write(TREE, protocol), NAMES)
    assert list(found) == list(NAMES)
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_names_of_both_numpys(write, name):
    program = renamed(pickle.dumps(TREE, 3), name)
    assert name in program
    np.testing.assert_array_equal(read_jax(write(program), NAMES)["a/kernel"], ARRAYS["a/kernel"])


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", ">f2"])
def test_types_and_byte_orders(write, kind):
    array = RANDOM.randn(3, 4).astype(kind)
    (found,) = read_jax(write({"a": array}), ["a"]).values()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_orders_of_axes_and_empty_arrays(write):
    arrays = {"columns": np.asfortranarray(RANDOM.randn(3, 4)), "scalar": np.array(2.5), "none": np.zeros((0, 3))}
    found = read_jax(write(arrays), arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_names_that_are_not_there_are_left_out(write):
    assert list(read_jax(write(TREE), ["a", "a/kernel", "a/kernel/x", "b/kernel", "", "c"])) == ["a/kernel"]
    assert read_jax(write(17), NAMES) == {}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_nothing_is_executed(write, tmp_path, protocol):
    path = write({"a": {"kernel": Runs(tmp_path / "ran")}}, protocol)
    assert_refused(path)
    assert not (tmp_path / "ran").exists()
    if protocol >= 3:
        assert_refused(path, f"refused {os.name}.system: weights do not need it, and it could run any code")
    pickle.loads(path.read_bytes())  # what it would have done
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "program, words",
    [
        (b"\x80\x03cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "refused builtins.eval"),
        (b"\x80\x03cnumpy\nload\n.", "refused numpy.load"),
        (b"\x80\x03cnumpy\nndarray\n)R.", "calls what is no function"),
        (b"\x80\x03cnumpy\nndarray\n)\x81.", "refused the operation NEWOBJ"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\n.", "refused numpy.core.multiarray.scalar"),
        (b"\x80\x03c_codecs\nencode\n.", "refused _codecs.encode"),
        (b"\x80\x03ctorch\nFloatStorage\n.", "refused torch.FloatStorage"),
        (b"\x80\x03ccollections\nOrderedDict\n)R.", "refused collections.OrderedDict"),
        (b"\x80\x03X\x01\x00\x00\x00aQ.", "refused the operation BINPERSID"),
        (b"\x80\x03cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "numbers are none of f2, f4, f8"),
        (b"\x80\x03cnumpy\ndtype\nX\x03\x00\x00\x00f,f\x85R.", "numbers are none of f2, f4, f8"),
        (b"\x80\x03cnumpy\ndtype\ncnumpy\nndarray\n\x85R.", "numbers are none of f2, f4, f8"),
        (b"\x80\x03}}b.", "sets attributes"),
        (b"\x80\x05\x97.", "refused the operation NEXT_BUFFER"),
        (b"\x80\x03B\xff\xff\xff\xff1.", "damaged or truncated"),
        (b"\x80\x03\x8e" + b"\xff" * 8 + b"1.", "damaged or truncated"),
        (b"\x80\x03" + b"N0" * 100, "refused the operation POP"),
        (b"\x80\x03" + b"]" * (10**6 + 1), "more than 1000000 operations"),
        (b"\x80\x03", "damaged or truncated"),
        (b"PK\x03\x04 and so on", "no pickled weights"),
        (b"<html>not found</html>", "no pickled weights"),
        (b"", "an empty file"),
    ],
)
def test_programs_that_are_no_weights(write, program, words):
    assert_refused(write(program), words)


def with_state(*state):
    """An array whose state is this."""

    class Array:
        def __reduce__(self):
            return np.zeros(0).__reduce__()[:2] + (state,)

    return {"a": {"kernel": Array()}}


FLOAT = np.dtype(np.float32)


@pytest.mark.parametrize(
    "state",
    [
        (1, (3, 4), FLOAT, False, bytes(47)),
        (1, (3, 4), FLOAT, False, bytes(52)),
        (1, (2**40, 2**40), FLOAT, False, b""),
        (1, (2**31 - 1,) * 33, FLOAT, False, b""),
        (1, (-1, -12), FLOAT, False, bytes(48)),
        (1, (True, 12), FLOAT, False, bytes(48)),
        (1, [3, 4], FLOAT, False, bytes(48)),
        (1, (3.0, 4), FLOAT, False, bytes(48)),
        (1, (3, 4), "f4", False, bytes(48)),
        (1, (3, 4), FLOAT, False, "x" * 48),
        (1, (6,), FLOAT, False, [1.0] * 6),
        (1, (3, 4), FLOAT, 1, bytes(48)),
        (1, (3, 4), FLOAT, False),
        (1, (3, 4), FLOAT, False, bytes(48), 7),
        tuple(range(20)),
        (),
    ],
)
def test_arrays_that_are_not_as_they_say(write, state):
    assert_refused(write(with_state(*state)), "damaged or truncated")


@pytest.mark.parametrize(
    "kind",
    [np.dtype("i4"), np.dtype("c8"), np.dtype("V4"), np.dtype("O"), np.dtype([("x", "f4")]), np.dtype(("f4", (2,)))],
)
def test_arrays_of_other_types(write, kind):
    if kind.subdtype is None:
        assert_refused(write({"a": np.zeros(3, kind)}))
    assert_refused(write({"a": kind}))


def test_cut_files(write):
    program = pickle.dumps(TREE, 3)
    for length in range(len(program)):
        assert_refused(write(program[:length]))


def test_files_that_are_too_large(write):
    path = write(b"\x80\x03")
    with open(path, "r+b") as file:
        file.truncate(MAX_FILE + 1)
    assert_refused(path, f"has more than {MAX_FILE} bytes")


def test_values_that_hold_one_another_take_no_time(write):
    """A dictionary that holds itself, and 2^60 ways to one array."""
    itself = {}
    itself["a"] = itself
    assert read_jax(write(itself), ["a/" * 50 + "a"]) == {}
    tower = {"x": np.ones(1, np.float32)}
    for _ in range(60):
        tower = {"x": tower, "y": tower}
    assert list(read_jax(write(tower), ["x/" * 60 + "x", "y/" * 59 + "x/x"])) == ["x/" * 60 + "x", "y/" * 59 + "x/x"]


def test_one_array_in_many_places_is_one(write):
    big = np.zeros(2**18, np.float32)
    path = write({f"{number}": big for number in range(1000)})
    found = read_jax(path, [f"{number}" for number in range(1000)])
    assert len({array.ctypes.data for array in found.values()}) == 1


def test_what_is_no_file(tmp_path):
    assert_refused(tmp_path / "none", "no such file")
    assert_refused(tmp_path, "a folder")
    os.mkfifo(str(tmp_path / "pipe"))
    assert_refused(tmp_path / "pipe", "no regular file")


def test_large_places_in_the_memo_take_no_memory(write):
    assert read_jax(write(b"\x80\x03Nr\xff\xff\xff\xff."), NAMES) == {}  # `pickle` would make room for 2^32 values


def test_a_program_may_not_claim_more_bytes_than_there_are(write):
    for code, length in ((b"B", struct.pack("<I", 2**31)), (b"\x8e", struct.pack("<Q", 2**62))):
        assert_refused(write(b"\x80\x03" + code + length + b"abc"), "damaged or truncated")
