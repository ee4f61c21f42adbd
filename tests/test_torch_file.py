# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's files without PyTorch: both formats are read exactly, and no file does anything but be read.

The files in golden/weight_files were written by PyTorch 2.13, by this script:

    import torch
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"matrix": base, "transposed": base.t(), "part": base[1:3, ::2], "half": base.half(),
             "double": base.double() / 3, "bfloat16": base.bfloat16() / 3, "long": base.long() - 5, "bool": base > 7,
             "scalar": torch.tensor(1.5), "empty": torch.empty(0, 3), "expanded": torch.tensor([2.0]).expand(3),
             "parameter": torch.nn.Parameter(base + 1)}
    module = torch.nn.BatchNorm2d(2).state_dict()
    for name, zipped in (("zip.pt", True), ("legacy.pt", False)):
        torch.save({"epoch": 3, "state_dict": state, "optimizer": [{"lr": 1e-4, "m": base + 9}]}, name,
                   _use_new_zipfile_serialization=zipped)
        torch.save(module, "batch_norm_" + name, _use_new_zipfile_serialization=zipped)
"""

import collections
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import types
import zipfile
from unittest import mock

import helpers
import numpy as np
import pytest

from src.weights.checkpoint import CheckpointError
from src.weights.torch_file import read_pth, write_pth

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "weight_files")
ZIP, LEGACY = os.path.join(FOLDER, "zip.pt"), os.path.join(FOLDER, "legacy.pt")
RECORDED = ("tiny_init.pth", "tiny_trained.pth", "tiny_8x.pth")


def content_of(path):
    with open(path, "rb") as file:
        return file.read()


def assert_same(arrays, expected):
    """The same names in the same order, types, shapes and bits; types are plain ones, without a mark of byte order."""
    assert list(arrays) == list(expected)
    for name, value in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape), name
        assert memoryview(arrays[name]).format in "?bBhilqefd", name
        assert arrays[name].tobytes() == value.tobytes(), name


def assert_refused(path, *words):
    """Reading raises a CheckpointError of one line that begins with the file and has the words."""
    with pytest.raises(CheckpointError) as caught:
        read_pth(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message and len(message) < len(str(path)) + 300
    for word in words:
        assert word in message


# ---------------------------------------------------------------------------------------------------------------------
# Files made here, by Python's own pickle, which finds torch's names in empty stand-ins of its modules


class Call:
    """Is pickled as the call of a function, and that is what unpickling would do."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Stored:
    """Is pickled as the persistent id of a storage."""

    def __init__(self, count, key="0", kind="FloatStorage", tag="storage", more=()):
        self.identity = (tag, TORCH[kind], key, "cpu", count) + tuple(more)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, Stored) else None


def stand_in(module, name):
    """A class that pickle takes for torch's."""
    return type(name, (), {"__module__": module})


TORCH = {
    name: stand_in("torch", name)
    for name in (
        "FloatStorage",
        "DoubleStorage",
        "HalfStorage",
        "BFloat16Storage",
        "LongStorage",
        "IntStorage",
        "ShortStorage",
        "CharStorage",
        "ByteStorage",
        "BoolStorage",
        "ComplexFloatStorage",
    )
}
UTILS = {
    name: stand_in("torch._utils", name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_qtensor")
}


def pickled(value, protocol=2):
    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    modules["torch"].__dict__.update(TORCH, _utils=modules["torch._utils"])
    modules["torch._utils"].__dict__.update(UTILS)
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, modules):
        Pickler(file, protocol).dump(value)
    return file.getvalue()


def tensor(storage, offset=0, shape=(3,), strides=(1,), function="_rebuild_tensor_v2"):
    hooks = (False, collections.OrderedDict()) if function == "_rebuild_tensor_v2" else ()
    return Call(UTILS[function], storage, offset, shape, strides, *hooks)


def write_zip(path, program, storages=(), byteorder=b"little", compression=zipfile.ZIP_STORED):
    """A file of the zip format; storages: (key, array) in the order of the file."""
    with zipfile.ZipFile(str(path), "w", compression) as archive:
        archive.writestr("name/data.pkl", program)
        if byteorder:
            archive.writestr("name/byteorder", byteorder)
        for key, data in storages:
            archive.writestr("name/data/" + key, data.tobytes())
        archive.writestr("name/version", "3\n")
    return str(path)


LEGACY_PICKLES = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
LEGACY_HEAD = tuple(map(pickled, LEGACY_PICKLES))


def write_legacy(path, program, storages=(), head=LEGACY_HEAD, count_format="<q", keys=None):
    """A file of the older format."""
    keys = pickled([key for key, _ in storages]) if keys is None else keys
    with open(str(path), "wb") as file:
        file.write(b"".join(head) + program + keys)
        for _, data in storages:
            file.write(struct.pack(count_format, data.size) + data.tobytes())
    return str(path)


def save_legacy(path, arrays):
    """A state dict of float32 arrays in the older format."""
    state, storages = collections.OrderedDict(), []
    for key, (name, value) in enumerate(arrays.items()):
        strides = tuple(int(np.prod(value.shape[axis + 1 :])) for axis in range(value.ndim))
        state[name] = tensor(Stored(value.size, str(key)), shape=value.shape, strides=strides)
        storages.append((str(key), np.ascontiguousarray(value, "<f4")))
    return write_legacy(path, pickled(state), storages)


WRITERS = {"zip": write_zip, "legacy": write_legacy}
NUMBERS = np.arange(6, dtype="<f4")


@pytest.fixture(name="write", params=sorted(WRITERS))
def fixture_write(request, tmp_path):
    """write(value, storages, protocol=2) -> path of a file of either format, of that pickled value."""

    def write(value, storages=(("0", NUMBERS),), protocol=2):
        program = value if isinstance(value, bytes) else pickled(value, protocol)
        return WRITERS[request.param](tmp_path / "made.pth", program, storages)

    return write


# ---------------------------------------------------------------------------------------------------------------------
# Files of PyTorch


def expected_state():
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    bfloat16 = [
        [0.0, 0.333984375, 0.66796875, 1.0, 1.3359375, 1.6640625],
        [2.0, 2.328125, 2.671875, 3.0, 3.328125, 3.671875],
        [4.0, 4.34375, 4.65625, 5.0, 5.34375, 5.65625],
        [6.0, 6.34375, 6.65625, 7.0, 7.34375, 7.65625],
    ]  # eight significant bits
    return {
        "matrix": base,
        "transposed": base.T,
        "part": base[1:3, ::2],
        "half": base.astype(np.float16),
        "double": base.astype(np.float64) / 3,
        "bfloat16": np.array(bfloat16, np.float32),
        "long": base.astype(np.int64) - 5,
        "bool": base > 7,
        "scalar": np.array(1.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "expanded": np.full(3, 2, np.float32),
        "parameter": base + 1,
    }


@pytest.mark.parametrize("path", [ZIP, LEGACY])
def test_a_file_of_torch(path):
    """Views, offsets, shared storages and every type; the optimizer beside the state dict is left alone."""
    assert_same(read_pth(path), expected_state())


@pytest.mark.parametrize("name", ["batch_norm_zip.pt", "batch_norm_legacy.pt"])
def test_a_module_of_torch(name):
    """A state dict as modules make it, with `_metadata`."""
    arrays = read_pth(os.path.join(FOLDER, name))
    assert {key: value.tolist() for key, value in arrays.items()} == {
        "weight": [1, 1],
        "bias": [0, 0],
        "running_mean": [0, 0],
        "running_var": [1, 1],
        "num_batches_tracked": 0,
    }


@pytest.mark.parametrize("name", RECORDED)
def test_a_state_dict_of_the_official_code(name):
    """As Python's own unpickler reads it."""
    path = helpers.golden_path(name)
    assert_same(read_pth(path), helpers.read_pth(path))


@pytest.mark.parametrize("path", [ZIP, LEGACY])
def test_the_files_name_says_nothing(path, tmp_path):
    (tmp_path / "weights.ckpt").write_bytes(content_of(path))
    assert_same(read_pth(tmp_path / "weights.ckpt"), expected_state())


# ---------------------------------------------------------------------------------------------------------------------
# What such files may hold


@pytest.mark.parametrize("protocol", [2, 3, 4, 5 if sys.version_info >= (3, 8) else 4])
def test_protocols_of_pickle(protocol, write):
    state = {"a": tensor(Stored(6)), "b": tensor(Stored(6), 4, (2,), (1,)), "again": tensor(Stored(6))}
    assert_same(read_pth(write(state, protocol=protocol)), {"a": NUMBERS[:3], "b": NUMBERS[4:], "again": NUMBERS[:3]})


def test_tensors_of_older_torch(write):
    old = tensor(Stored(6), 1, (2, 2), (1, 2), "_rebuild_tensor")
    state = {"old": old, "parameter": Call(UTILS["_rebuild_parameter"], old, True, collections.OrderedDict())}
    expected = np.array([[1, 3], [2, 4]], np.float32)
    assert_same(read_pth(write(collections.OrderedDict(state))), {"old": expected, "parameter": expected})


def test_an_ordered_dict_of_python_2(write):
    """It is pickled as a call with a list of pairs, and its names as bytes."""
    pair = b"](U\x01a" + pickled(tensor(Stored(6)))[2:-1] + b"e"
    program = b"\x80\x02ccollections\nOrderedDict\n]" + pair + b"a\x85R."
    assert_same(read_pth(write(program)), {"a": NUMBERS[:3]})


TYPES = {
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
    "FloatStorage": "<f4",
}


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_types(kind, write):
    data = np.array([0, 1, 100], TYPES[kind])
    assert_same(read_pth(write({"a": tensor(Stored(3, kind=kind))}, [("0", data)])), {"a": data})


def test_a_type_that_weights_do_not_have(write):
    assert_refused(write({"a": tensor(Stored(3, kind="ComplexFloatStorage"))}), "refused torch.ComplexFloatStorage")


def test_bfloat16_is_widened_exactly(write):
    bits = np.array([0x3F80, 0xBF80, 0x0001, 0x7F80, 0x8000], "<u2")
    state = {"a": tensor(Stored(5, kind="BFloat16Storage"), shape=(5,))}
    expected = np.array([1, -1, 2.0**-133, np.inf, -0.0], np.float32)
    assert_same(read_pth(write(state, [("0", bits)])), {"a": expected})


def test_views_of_old_torch(tmp_path):
    """A storage may be a part of another one: (key, offset, size)."""
    state = {"a": tensor(Stored(6, more=[("view", 2, 3)]), 1, (2,), (1,)), "whole": tensor(Stored(6, more=[None]))}
    path = write_legacy(tmp_path / "a.pth", pickled(state), [("0", NUMBERS)])
    assert_same(read_pth(path), {"a": NUMBERS[3:5], "whole": NUMBERS[:3]})


def test_big_endian_zip(tmp_path):
    state = pickled({"a": tensor(Stored(6)), "b": tensor(Stored(2, "1", "BFloat16Storage"), 0, (2,))})
    storages = [("0", NUMBERS.astype(">f4")), ("1", np.array([0x3F80, 0x4000], ">u2"))]
    path = write_zip(tmp_path / "a.pth", state, storages, b"big")
    assert_same(read_pth(path), {"a": NUMBERS[:3], "b": np.array([1, 2], np.float32)})
    assert_refused(write_zip(tmp_path / "a.pth", state, storages, b"middle"), "byte order")


def test_zip_without_byte_order(tmp_path):
    path = write_zip(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS)], byteorder=None)
    assert_same(read_pth(path), {"a": NUMBERS[:3]})


@pytest.mark.parametrize("count_format", ["<q", ">q"])
def test_legacy_of_a_big_endian_machine(count_format, tmp_path):
    """torch writes the numbers in little-endian order there too; only the count was once in the machine's own."""
    head = [pickled(value) for value in LEGACY_PICKLES[:2]] + [pickled({"little_endian": False})]
    path = write_legacy(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS)], head, count_format)
    assert_same(read_pth(path), {"a": NUMBERS[:3]})


def test_a_big_endian_count_of_a_little_endian_machine_is_damage(tmp_path):
    path = write_legacy(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS)], count_format=">q")
    assert_refused(path, "another size")


@pytest.mark.parametrize(
    "compression, readable",
    [(zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_BZIP2, False), (zipfile.ZIP_LZMA, False)],
)
def test_compression(compression, readable, tmp_path):
    path = tmp_path / "again.pth"
    with zipfile.ZipFile(ZIP) as source, zipfile.ZipFile(str(path), "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    if readable:
        assert_same(read_pth(path), expected_state())
    else:
        assert_refused(path, "compressed in a way that torch does not use")


@pytest.mark.parametrize("wrapper", ["state_dict", "params", "params_ema", "model"])
def test_a_wrapped_state_dict(wrapper, write):
    assert list(read_pth(write({"epoch": 1, wrapper: {"a": tensor(Stored(6))}}))) == ["a"]


def test_of_two_wrapped_state_dicts_the_averaged_one_is_taken(write):
    path = write({"params": {"a": tensor(Stored(6))}, "params_ema": {"a": tensor(Stored(6), 3)}})
    assert_same(read_pth(path), {"a": NUMBERS[3:]})


def test_a_weight_may_be_named_like_a_wrapper(write):
    assert list(read_pth(write({"model": tensor(Stored(6)), "b": tensor(Stored(6))}))) == ["model", "b"]


def test_harmless_values(write):
    state = {"a": tensor(Stored(6)), "norm.num_batches_tracked": 7, "_metadata": {"": {"version": 1}}}
    assert list(read_pth(write(state))) == ["a"]


@pytest.mark.parametrize(
    "value, words",
    [
        ({"a": tensor(Stored(6)), "b": 7}, "holds a plain value as 'b'"),
        ({"a": tensor(Stored(6)), "b": [tensor(Stored(6))]}, "holds a list as 'b'"),
        ({"a": tensor(Stored(6)), 3: tensor(Stored(6))}, "holds a tensor as '3'"),
        ({"a": Stored(6)}, "holds a storage as 'a'"),
        ({"epoch": 3, "optimizers": []}, "where a tensor was expected"),
        ({"_metadata": 1}, "holds no weights"),
        ({}, "holds no weights"),
        ([tensor(Stored(6))], "holds a list; expected a state dict"),
        (tensor(Stored(6)), "holds a tensor; expected"),
        ("text", "holds a text; expected"),
        (1.5, "holds a plain value; expected"),
    ],
)
def test_what_is_no_state_dict(value, words, write):
    assert_refused(write(value), words)


# ---------------------------------------------------------------------------------------------------------------------
# Malicious files


def touch(path):
    """Unpickled, makes the file at `path`: with Python's unpickler it would be there, as the last test shows."""
    return Call(os.system, f"touch '{path}'")


PLACES = {
    "whole": lambda evil: evil,
    "value": lambda evil: {"a": tensor(Stored(6)), "b": evil},
    "wrapped": lambda evil: {"state_dict": {"a": evil}},
    "beside": lambda evil: {"state_dict": {}, "hooks": evil},
    "argument": lambda evil: {"a": tensor(Stored(6), evil)},
    "key": lambda evil: {evil: 1},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", sorted(PLACES))
def test_nothing_is_run(place, protocol, write, tmp_path):
    path = write(PLACES[place](touch(tmp_path / "ran")), protocol=protocol)
    assert_refused(path, f"refused {os.name}.system: ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", range(5))
def test_nothing_is_run_in_any_part_of_the_older_format(place, tmp_path):
    """Number, version, system, state dict, keys."""
    parts = [pickled(value) for value in LEGACY_PICKLES + ({"a": tensor(Stored(6))}, ["0"])]
    parts[place] = pickled(touch(tmp_path / "ran"))
    path = write_legacy(tmp_path / "a.pth", parts[3], [("0", NUMBERS)], parts[:3], keys=parts[4])
    assert_refused(path, f"refused {os.name}.system: ")
    assert not (tmp_path / "ran").exists()


def test_the_malicious_pickle_is_one(tmp_path):
    pickle.loads(pickled(touch(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "program, words",
    [
        (b"cos\nsystem\n(S'touch {}'\ntR.", "refused os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "refused os.system"),
        (b"(S'touch {}'\nios\nsystem\n.", "refused"),  # INST
        (b"(cos\nsystem\nS'touch {}'\no.", "refused os.system"),  # OBJ
        (b"\x80\x02c__builtin__\neval\n.", "refused __builtin__.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "refused builtins.getattr"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "refused torch.storage._load_from_bytes"),
        (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.", "refused torch._utils._rebuild_qtensor"),
        (b"\x80\x02ccollections\nOrderedDict.fromkeys\n.", "refused collections.OrderedDict.fromkeys"),
        (b"\x80\x04\x8c\x02o\n\x8c\x04\n\ns\n\x93.", "refused o . s : "),
        (b"\x80\x04]]\x93.", "refused a list and a list as a name"),
        (b"\x80\x02c" + b"long" * 1000 + b"\nx\n.", "refused longlong"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "refused the operation NEWOBJ"),
        (b"\x80\x02\x82\x01.", "refused the operation EXT1"),
        (b"\x80\x02ccollections\nOrderedDict\n}U\x04nameK\x01sb.", "sets attributes"),  # of the function itself
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls what is no function"),
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "calls what is no function"),
        (b"\x80\x02}(U\x01aK\x01U\x01aK\x02u.", "has 'a' twice"),
        (b"\x80\x02}()K\x01u.", "neither a text nor an integer"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "holds no weights"),  # a memo of 2³¹ entries
        (b"\x80\x02X\xff\xff\xff\x7fa.", "damaged"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fa.", "refused"),
        (b"\x80\x02", ""),
        (b"", ""),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02t.", "damaged"),
        (b"\xff", "damaged"),
    ],
)
def test_crafted_programs(program, words, write, tmp_path):
    assert_refused(write(program.replace(b"{}", str(tmp_path / "ran").encode())), words)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        tensor(Stored(6), 4),
        tensor(Stored(6), 6, (), ()),
        tensor(Stored(6), 0, (7,)),
        tensor(Stored(6), 0, (2, 3), (4, 1)),
        tensor(Stored(6), -1),
        tensor(Stored(6), 5, (3,), (-1,)),
        tensor(Stored(6), 0, (-3,)),
        tensor(Stored(6), 0, (2**62,)),
        tensor(Stored(6), 0, (2,), (2**62,)),
        tensor(Stored(6), 2**70),
        tensor(Stored(6), 7, (0,)),
        tensor(Stored(6), 0, (2**40,), (0,)),
        tensor(Stored(6), 0, (2**20,) * 5, (0,) * 5),
        tensor(Stored(6), 0, (3,), ()),
        tensor(Stored(6), 0, (1,) * 33, (1,) * 33),
        tensor(Stored(6), True),
        tensor(Stored(6), 0, (3.0,)),
        tensor(Stored(6), None),
        tensor(Stored(6), 0, 3, 1),
        tensor("0"),
        tensor(None),
        tensor(Stored(7)),
        tensor(Stored(2**60)),
        tensor(Stored(2**60), 2**50),
        tensor(Stored(-1)),
        tensor(Stored(2**64)),
        tensor(Stored(6, "1")),
        tensor(Stored(6, "../data.pkl")),
        tensor(Stored(6, 0)),
        tensor(Stored(6, tag="module")),
        tensor(Stored(6, more=[("v", 4, 3)])),
        tensor(Stored(6, more=[("v", -1, 3)])),
        tensor(Stored(6, more=[("v", 1, 2)]), 0, (3,)),
        tensor(Stored(6, more=[1])),
        tensor(Stored(6, more=[None, 1])),
        Call(UTILS["_rebuild_parameter"], 3),
        Call(UTILS["_rebuild_tensor"]),
        [[tensor(Stored(6)), tensor(Stored(3))]],
    ],
)
def test_what_reaches_outside_its_storage_is_refused(wrong, write):
    """Nothing is read from outside, and nothing of the size that it claims is allocated."""
    path = write({"a": wrong})
    tracemalloc.start()
    assert_refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


def test_a_storage_described_in_two_ways(write):
    assert_refused(write({"a": tensor(Stored(6)), "b": tensor(Stored(3, kind="DoubleStorage"))}), "two ways")


def test_many_names_of_one_storage(write):
    """A small file cannot name terabytes; sharing weights is fine."""
    big = np.zeros(2**18, np.float32)

    def shared(count):
        return {str(i): tensor(Stored(big.size), 0, (big.size,)) for i in range(count)}

    assert len(read_pth(write(shared(100), [("0", big)]))) == 100
    assert_refused(write(shared(150), [("0", big)]), "malicious")


def test_many_numbers_that_would_be_widened(write):
    """To float32, as whoever reads weights will do: a byte takes four."""
    big = np.zeros(2**24, np.int8)
    state = {str(i): tensor(Stored(big.size, kind="CharStorage"), 0, (big.size,)) for i in range(3)}
    assert_refused(write(state, [("0", big)]), "malicious")


# Programs that multiply: of each, what it does, and what is said of it.
OD = b"ccollections\nOrderedDict\n"
MULTIPLYING = {
    "a dictionary of a list, again and again": (
        b"\x80\x02"
        + OD
        + b"q\x01]("
        + b"".join(b"](J" + struct.pack("<i", i) + b"Ne" for i in range(30000))
        + b"e\x85q\x02"
        + b"h\x01h\x02R" * 30000
        + b".",
        "more than 1000000 operations",
    ),
    "many arguments, again and again": (
        b"\x80\x02ctorch._utils\n_rebuild_parameter\nq\x01("
        + b"N" * 300000
        + b"tq\x02"
        + b"h\x01h\x02R" * 200000
        + b".",
        "too many arguments",
    ),
    "tuples of tuples as a storage's key": (
        b"\x80\x02(]" + b"".join(b"\x86q\x01h\x01" for _ in range(3000)) + b"\x87Q.",
        "",
    ),
    "tuples of tuples as names": (
        b"\x80\x04)" + b"".join(b"q\x01h\x01\x86" for _ in range(3000)) + b"q\x01h\x01\x93.",
        "refused a tuple",
    ),
    "tuples of tuples as a dictionary's key": (
        b"\x80\x04)" + b"".join(b"q\x01h\x01\x86" for _ in range(3000)) + b"q\x01}h\x01h\x01s.",
        "neither a text",
    ),
    "a list that holds itself": (b"\x80\x02}X\x01\x00\x00\x00a]q\x01h\x01as.", "where a tensor was expected"),
    "a dictionary of a list that holds itself": (b"\x80\x02" + OD + b"]q\x01h\x01a\x85R.", "damaged"),
    "lists": (b"\x80\x02" + b"]" * 2**21 + b".", "more than 1000000 operations"),
    "integers that Python counts as one": (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(100000))
        + b"u.",
        "neither a text nor an integer",
    ),
    "a number of a million digits": (b"\x80\x02L" + b"9" * 10**6 + b"L\n.", "refused the operation LONG"),
}


def assert_refused_cheaply(path, *words):
    """The same as `assert_refused`, with less than 100 MB, and with 5 s of an ordinary machine, here traced."""
    began = time.process_time()
    tracemalloc.start()
    try:
        assert_refused(path, *words)
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 30


@pytest.mark.parametrize("name", sorted(MULTIPLYING))
def test_programs_that_multiply(name, write):
    program, words = MULTIPLYING[name]
    assert_refused_cheaply(write(program), words)


def test_nested_keys_of_the_older_format(tmp_path):
    keys = b"\x80\x02]" + b")" + b"".join(b"q\x01h\x01\x86" for _ in range(3000)) + b"a."
    path = write_legacy(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS)], keys=keys)
    assert_refused_cheaply(path, "no list of texts")


def test_a_deflated_program_of_zeros(tmp_path):
    path = write_zip(tmp_path / "a.pth", bytes(2**27), compression=zipfile.ZIP_DEFLATED)
    assert os.path.getsize(path) < 2**20
    assert_refused_cheaply(path, "name/data.pkl has 134217728 bytes")


def test_deflated_weights_of_zeros(tmp_path):
    """Some; but no file is gigabytes."""
    zeros = np.zeros(2**22, np.float32)
    for count, readable in ((2, True), (9, False)):
        storages = [(str(i), zeros) for i in range(count)]
        program = pickled({key: tensor(Stored(zeros.size, key), 0, zeros.shape) for key, _ in storages})
        path = write_zip(tmp_path / "a.pth", program, storages, compression=zipfile.ZIP_DEFLATED)
        if readable:
            assert_same(read_pth(path), dict(storages))
        else:
            assert_refused_cheaply(path, "far larger than the file")


def test_an_archive_of_very_many_entries(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "a.pth"), "w") as archive:
        archive.writestr("name/data.pkl", pickled({}))
        for i in range(70000):
            archive.writestr(f"name/data/{i:040}", b"")
    assert_refused_cheaply(tmp_path / "a.pth", "its directory has more than")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_and_a_device(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert_refused(path, "no regular file")


def test_a_deflated_entry_that_claims_more_than_deflate_can(tmp_path):
    path = write_zip(
        tmp_path / "a.pth",
        pickled({"a": tensor(Stored(2**38), 0, (3,))}),
        [("0", np.zeros(1000, np.uint8))],
        compression=zipfile.ZIP_DEFLATED,
    )
    content = bytearray(content_of(path))
    start = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1) + 1)
    content[start + 24 : start + 28] = struct.pack("<I", 2**31)
    (tmp_path / "a.pth").write_bytes(content)
    assert_refused(path, "bytes")


def test_an_entry_twice(tmp_path):
    path = write_zip(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS)])
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("name/data/0", (NUMBERS + 1).tobytes())
    assert_refused(path, "twice")


def test_a_storage_twice(tmp_path):
    path = write_legacy(tmp_path / "a.pth", pickled({"a": tensor(Stored(6))}), [("0", NUMBERS), ("0", NUMBERS + 1)])
    assert_refused(path, "twice")


# ---------------------------------------------------------------------------------------------------------------------
# Damaged files, and files of something else


@pytest.mark.parametrize("path", [ZIP, LEGACY])
@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_a_truncated_file(path, percent, tmp_path):
    content = content_of(path)
    (tmp_path / "cut.pth").write_bytes(content[: len(content) * percent // 100])
    assert_refused(tmp_path / "cut.pth", "damaged or truncated")


@pytest.mark.parametrize("path", [ZIP, LEGACY])
@pytest.mark.parametrize("missing", [1, 2, 30])
def test_a_file_without_its_last_bytes(path, missing, tmp_path):
    (tmp_path / "cut.pth").write_bytes(content_of(path)[:-missing])
    assert_refused(tmp_path / "cut.pth", "damaged or truncated")


def test_half_of_a_large_file(tmp_path):
    content = content_of(helpers.golden_path("tiny_trained.pth"))
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    assert_refused(tmp_path / "cut.pth", "damaged or truncated", "copy it again")


def read_or_none(path):
    """The arrays, or None where the file is refused in one line."""
    try:
        return read_pth(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return None


def flipped_bits(source, path):
    """What `read_or_none` makes of the file with one bit flipped, for a bit of every third byte; path: to write it."""
    content = content_of(source)
    for position in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        yield read_or_none(path)


def test_a_flipped_bit_of_the_zip_format(tmp_path):
    """Every entry has a checksum: what is read is right."""
    refused = 0
    for arrays in flipped_bits(ZIP, tmp_path / "flipped.pth"):
        if arrays is None:
            refused += 1
        else:
            assert_same(arrays, expected_state())
    assert refused > 300


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # of a text that becomes one of an old protocol
def test_a_flipped_bit_of_the_older_format(tmp_path):
    """It has no checksums, so that a number or a name may come out wrong; nothing worse happens."""
    refused = sum(arrays is None for arrays in flipped_bits(LEGACY, tmp_path / "flipped.pth"))
    assert refused > 100


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_random_changes_of_the_program(tmp_path):
    """With a right checksum, so that the machine meets them."""
    with zipfile.ZipFile(ZIP) as archive:
        program = archive.read("zip/data.pkl")
    random, refused = np.random.RandomState(0), 0
    for _ in range(800):
        changed = bytearray(program)
        for _ in range(random.randint(1, 4)):
            changed[random.randint(len(program))] = random.randint(256)
        refused += read_or_none(write_zip(tmp_path / "a.pth", bytes(changed), [("0", NUMBERS)])) is None
    assert refused == 800  # at the latest, storage 0 has another size


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "an empty file"),
        (b"P", "no weight file of PyTorch"),
        (b"SRFlow, weights\n", "no weight file of PyTorch"),
        (np.random.RandomState(0).bytes(5000), "no weight file of PyTorch"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"\x80" + np.random.RandomState(0).bytes(5000), ""),
        (pickle.dumps({"a": 1}, 2), ""),
        (pickle.dumps(5, 2) * 3, "none that torch.save wrote"),
        (pickle.dumps(np.arange(3)), "refused numpy"),
    ],
)
def test_a_file_of_something_else(content, words, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    assert_refused(tmp_path / "a.pth", words)


def test_another_zip_archive(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "a.pth"), "w") as archive:
        archive.writestr("data.pkl", b"}.")
    assert_refused(tmp_path / "a.pth", "not one that torch.save wrote")


def test_no_file(tmp_path):
    assert_refused(tmp_path / "none.pth", "no such file")
    assert_refused(tmp_path, "a folder")


# ---------------------------------------------------------------------------------------------------------------------
# Memory


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_memory(kind, tmp_path):
    """Little more than the numbers themselves."""
    storages = [(str(i), np.full(2**20, i, np.float32)) for i in range(10)]
    state = {key: tensor(Stored(data.size, key), 0, (data.size,)) for key, data in storages}
    path = WRITERS[kind](tmp_path / "a.pth", pickled(state), storages)
    tracemalloc.start()
    arrays = read_pth(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_same(arrays, dict(storages))
    assert peak < 1.2 * sum(value.nbytes for value in arrays.values())


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def awkward_arrays():
    random = np.random.RandomState(0)
    return {
        "layer.weight": random.standard_normal((4, 3, 2, 2)).astype(np.float32),
        "layer.bias": np.array([np.pi, -0.0, 1e-42, 3e38, np.inf], np.float32),
        "nan": np.array([0x7FC12345], np.uint32).view(np.float32),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((2, 0, 3), np.float32),
        "µ": np.ones((1, 1, 7, 1), np.float32),
    }


@pytest.mark.parametrize("read", [read_pth, helpers.read_pth])
def test_what_is_written_is_read(read, tmp_path):
    """By our reader, and by Python's own unpickler."""
    write_pth(tmp_path / "a.pth", awkward_arrays())
    assert_same(read(str(tmp_path / "a.pth")), awkward_arrays())


def test_any_array_is_written_as_contiguous_float32(tmp_path):
    base = np.arange(12.0).reshape(3, 4)
    write_pth(
        tmp_path / "a.pth",
        {
            "T": base.T,
            "fortran": np.asfortranarray(base),
            "big": base.astype(">f4"),
            "half": base.astype(np.float16)[:, ::2],
            "long": base.astype(np.int64),
        },
    )
    expected = base.astype(np.float32)
    assert_same(
        read_pth(tmp_path / "a.pth"),
        {"T": expected.T, "fortran": expected, "big": expected, "half": expected[:, ::2], "long": expected},
    )


def test_a_recorded_state_dict_survives(tmp_path):
    arrays = read_pth(helpers.golden_path("tiny_8x.pth"))
    write_pth(tmp_path / "a.pth", arrays)
    assert_same(read_pth(tmp_path / "a.pth"), arrays)


def test_the_same_arrays_make_the_same_bytes(tmp_path):
    write_pth(tmp_path / "a.pth", awkward_arrays())
    write_pth(tmp_path / "folder" / "b.pth", {name: value.copy(order="F") for name, value in awkward_arrays().items()})
    assert content_of(str(tmp_path / "a.pth")) == content_of(str(tmp_path / "folder" / "b.pth"))


def test_layout(tmp_path):
    """The entries that torch writes, uncompressed, their data aligned."""
    write_pth(tmp_path / "a.pth", awkward_arrays())
    content = content_of(str(tmp_path / "a.pth"))
    with zipfile.ZipFile(str(tmp_path / "a.pth")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["archive/data.pkl", "archive/byteorder"] + [
            f"archive/data/{i}" for i in range(6)
        ] + ["archive/version"]
        assert archive.read("archive/version") == b"3\n"
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack_from("<HH", content, info.header_offset + 26)
            start = info.header_offset + 30 + name + extra
            assert start % 64 == 0
            assert content[start : start + info.file_size] == archive.read(info)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.pth"
    path.write_bytes(b"before")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space"):
        write_pth(path, awkward_arrays())
    assert path.read_bytes() == b"before"
    assert os.listdir(str(tmp_path)) == ["a.pth"]
