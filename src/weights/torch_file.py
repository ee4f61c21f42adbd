# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's weight files (`.pth`), read and written without PyTorch; nothing in a file is ever executed.

Such a file holds storages, which are the tensors' bytes, and a pickled program that builds a dictionary of tensors.
Since torch 1.6 these lie in a zip archive, before that one after the other in a plain file.

Python's `pickle` would run whatever the program names. Here a small machine follows the program instead. It knows the
few operations that weights need, and refuses all others by name. It makes descriptions of tensors. Those that fit their
storages become arrays.
"""

import contextlib
import functools
import io
import operator
import os
import pickle
import pickletools
import stat
import struct
import sys
import zipfile
import zlib
from typing import NamedTuple, Tuple

import numpy as np

from src.model_utils.util import atomic_write
from src.weights.checkpoint import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = pickle.PROTO  # the older format begins with it; its first pickle must be this number:
LEGACY_NUMBER, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

BFLOAT16 = "torch.BFloat16Storage"
STORAGES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    BFLOAT16: "u2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}

# The keys under which programs put a state dict that is not the whole file.
WRAPPERS = ("state_dict", "params_ema", "params", "model")

MAX_DIMENSIONS = 32  # NumPy's limit
# A small file may be made to become gigabytes when it is read, or to take for ever. So what no weights need is refused.
# The program of the published network has 0.3 MB and fifty thousand operations.
MAX_PROGRAM, MAX_OPERATIONS, MAX_TEXT, MAX_ARGUMENTS = 2**24, 10**6, 1000, 10
MAX_DIRECTORY = 2**22  # bytes of a zip archive's directory, which says which entries it has
# Weights hardly shrink when they are deflated. Tensors may share numbers of a storage, and may be widened to float32.
MAX_GROWTH, MAX_SHARING, FREE_BYTES = 4, 2, 2**27
WIDENED = 4  # bytes of a float32
CHUNK = 2**20


def read_pth(path):
    """Read the state dict of a file that `torch.save` wrote, in either of its formats.

    A state dict inside a dictionary, under one of the keys WRAPPERS, is found. The arrays have their tensor's type, but
    bfloat16 becomes float32. Arrays of tensors that share a storage share memory.

    Args:
        path: the file.

    Returns:
        dict from name to array, in the file's order.

    Raises:
        CheckpointError: with one line that says what is wrong with the file and what to do.
    """
    path = str(path)
    with reading(path), open(path, "rb") as file:
        magic = file.read(len(ZIP_MAGIC))
        file.seek(0)
        if magic == ZIP_MAGIC:
            return _read_zip(file)
        if magic.startswith(PICKLE_MAGIC):
            return _read_legacy(file)
        raise Problem(
            "no weight file of PyTorch; expected one that torch.save wrote"
            if magic
            else "an empty file; copy it again or use another"
        )


def is_torch_file(head):
    """Tell whether a file that begins with the bytes `head`, at least four, may be one of PyTorch's."""
    return head.startswith((ZIP_MAGIC, PICKLE_MAGIC))


# ---------------------------------------------------------------------------------------------------------------------
# Errors


class Problem(ValueError):
    """What is wrong with the file and what to do, without the file's name."""


# What zipfile, pickletools, NumPy and the machine below raise at a file that makes no sense.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)


@contextlib.contextmanager
def reading(path):
    """Turn what reading a weight file can raise into a CheckpointError of one line that names the file.

    A pipe or a device is refused before the block opens it, as it may have no end.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise Problem("no regular file, but a pipe or a device; give the path of a weight file")
        yield
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: a folder; give the path of a weight file") from None
    except Problem as problem:
        raise CheckpointError(f"{path}: {_in_one_line(problem, 250)}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    except DAMAGE as error:
        reason = _in_one_line(error, 100) or type(error).__name__
        raise CheckpointError(f"{path}: damaged or truncated ({reason}); copy it again or use another") from None


def _in_one_line(text, length):
    return " ".join(str(text).split())[:length]


# ---------------------------------------------------------------------------------------------------------------------
# Tensors, before they have numbers


class _Storage(NamedTuple):
    """A storage of the file: its key, which of STORAGES it is, and how many numbers it holds."""

    key: str
    kind: str
    count: int

    @property
    def itemsize(self):
        return np.dtype(STORAGES[self.kind]).itemsize

    @property
    def nbytes(self):
        return self.count * self.itemsize


class _View(NamedTuple):
    """A part of a storage, which is the whole of it except in some old files."""

    storage: _Storage
    start: int
    count: int


class _Tensor(NamedTuple):
    """A tensor as the program describes it, known to lie inside its storage; all numbers count elements."""

    storage: _Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]

    @property
    def count(self):
        return functools.reduce(operator.mul, self.shape, 1)


def _is_name(value):
    """Tell whether a value is a short text: long ones would take long to compare."""
    return type(value) is str and len(value) <= MAX_TEXT


def _require_counts(*numbers):
    """Check that all numbers are integers from 0; True is none.

    Raises:
        ValueError: one of them is not.
    """
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError("a size or offset is no integer from 0")


def _make_storage(tag, kind, key, _device, count, view=None):
    """Return the storage, or its part, that a persistent id of the program names, as a _View."""
    if tag != "storage" or not isinstance(kind, _Global) or kind.name not in STORAGES or not _is_name(key):
        raise ValueError("a storage is not described as torch does")
    _require_counts(count)
    storage = _Storage(key, kind.name, count)
    if view is None:
        return _View(storage, 0, count)
    _, start, part = view
    _require_counts(start, part)
    if start + part > count:
        raise Problem("damaged or malicious: a view reaches outside its storage; use another file")
    return _View(storage, start, part)


def _make_tensor(view, offset, shape, strides, *_):
    """Return the tensor of `torch._utils._rebuild_tensor_v2`, if it lies inside its view.

    Gradients and hooks are ignored.
    """
    if not isinstance(view, _View) or len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("a tensor is not described as torch does")
    _require_counts(offset, *shape, *strides)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 in shape:
        last = offset - 1
    if last >= view.count:
        raise Problem("damaged or malicious: a tensor reaches outside its storage; use another file")
    return _Tensor(view.storage, view.start + offset, tuple(shape), tuple(strides))


def _make_parameter(tensor, *_):
    """Return the tensor of `torch._utils._rebuild_parameter`."""
    if not isinstance(tensor, _Tensor):
        raise ValueError("a parameter is not made of a tensor")
    return tensor


def _make_dict(pairs=()):
    """Return the dictionary that a call of `collections.OrderedDict` makes.

    The call has no argument or, in files of Python 2, a list of pairs [key, value].
    """
    result = {}
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise ValueError("a dictionary is not made of pairs")
        _add(result, *pair)
    return result


def _add(target, key, value):
    # Python gives integers that differ by 2^61 - 1 one hash: many of them would make a dictionary slow.
    if type(target) is not dict or not (_is_name(key) or (type(key) is int and abs(key) < 2**60)):
        raise ValueError("a dictionary's key is neither a text nor an integer, or too long")
    if key in target:
        raise ValueError(f"has {key!r} twice")
    target[key] = value


# ---------------------------------------------------------------------------------------------------------------------
# The machine that follows the pickled program


class _Global(NamedTuple):
    """A name that the program looks up, with its module."""

    name: str


CALLS = {
    "collections.OrderedDict": _make_dict,
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": _make_parameter,
}


class Machine:
    """Stack and memo of a pickled program, which can build what this file defines, and containers, and nothing else.

    Each operation takes bounded memory and time, and their number is bounded. A value on the stack may still be huge,
    if it holds itself or others many times. So no such value is ever printed, hashed or compared.

    A subclass reads pickled weights of another kind by its own `names`, which a program may look up, `calls`, functions
    of the names that it may call, `table` of operations, and `advice` at what is refused.
    """

    names = frozenset([*CALLS, *STORAGES])
    calls = CALLS
    advice = "use a file of torch.save(net.state_dict(), path)"

    @staticmethod
    def table():
        """Return {name of an operation: function of the machine and the operation's argument}."""
        return OPERATIONS

    def __init__(self):
        self.stack, self.marks, self.memo = [], [], {}
        self.storages = {}  # the storages that the program named, by key
        self.operations = 0

    def run(self, program):
        """Follow a program and return its value.

        Args:
            program: binary file at the program's start; afterwards it is at the program's end.
        """
        table = self.table()
        while True:
            code = program.read(1).decode("latin-1")
            operation = pickletools.code2op.get(code)
            if operation is None:
                raise ValueError(f"no operation is {code!r}" if code else "the pickled program has no end")
            if operation.name == "STOP":
                return self.stack.pop()
            if operation.name not in table:  # its argument is not even read: it may be huge
                raise Problem(f"refused the operation {operation.name}, which weights do not need; {self.advice}")
            self.spend(1)
            argument = operation.arg.reader(program) if operation.arg else None
            table[operation.name](self, argument)

    def spend(self, operations):
        self.operations += operations
        if self.operations > MAX_OPERATIONS:
            raise Problem(
                f"its program has more than {MAX_OPERATIONS} operations, which no weights need; {self.advice}"
            )

    def push(self, value):
        self.stack.append(value)

    def mark(self, _):
        self.marks.append(len(self.stack))

    def since_mark(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def remember(self, index):
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def recall(self, index):
        self.push(self.memo[index])

    def look_up(self, name):
        """Push the global of a name.

        Args:
            name: module and name with a space between; None: both are taken from the stack.
        """
        last, first = name.split(" ", 1)[::-1] if name is not None else (self.stack.pop(), self.stack.pop())
        if type(first) is not str or type(last) is not str:
            raise Problem(f"refused {_kind(first)} and {_kind(last)} as a name; {self.advice}")
        name = f"{first}.{last}"
        if name not in self.names:
            raise Problem(f"refused {name[:80]}: weights do not need it, and it could run any code; {self.advice}")
        self.push(_Global(name))

    def call(self, _):
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or function.name not in self.calls or type(arguments) is not tuple:
            raise ValueError("calls what is no function")
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError("calls a function with too many arguments")
        if self.calls[function.name] is _make_dict and arguments:
            if type(arguments[0]) is not list:
                raise ValueError("a dictionary is made of what is no list")
            self.spend(len(arguments[0]))  # the list may stand in the memo, and make many dictionaries
        self.push(self.calls[function.name](*arguments))

    def load_storage(self, _):
        identity = self.stack.pop()
        if type(identity) is not tuple or len(identity) > MAX_ARGUMENTS:
            raise ValueError("a storage is not described as torch does")
        view = _make_storage(*identity)
        if self.storages.setdefault(view.storage.key, view.storage) != view.storage:
            raise ValueError(f"storage {view.storage.key[:20]} is described in two ways")
        self.push(view)

    def set_state(self, _):
        """Drop the attributes of an OrderedDict, such as torch's `_metadata`: they are not needed."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise ValueError("sets attributes of what is no dictionary")

    def pack(self, count):
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    def extend(self, items):
        if type(self.stack[-1]) is not list:
            raise ValueError("appends to what is no list")
        self.stack[-1].extend(items)

    def update(self, items):
        for key, value in zip(items[::2], items[1::2]):
            _add(self.stack[-1], key, value)


OPERATIONS = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "MARK": Machine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.update([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "GLOBAL": Machine.look_up,
    "STACK_GLOBAL": Machine.look_up,
    "REDUCE": Machine.call,
    "BUILD": Machine.set_state,
    "BINPERSID": Machine.load_storage,
}
OPERATIONS.update(dict.fromkeys(["BINPUT", "LONG_BINPUT", "MEMOIZE"], Machine.remember))
OPERATIONS.update(dict.fromkeys(["BINGET", "LONG_BINGET"], Machine.recall))
OPERATIONS.update(
    dict.fromkeys(
        [
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "BINFLOAT",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINSTRING",
            "SHORT_BINSTRING",
        ],
        Machine.push,
    )
)


def _state_dict(value):
    """Return name -> _Tensor of what the program made."""
    if type(value) is dict and not any(isinstance(entry, _Tensor) for entry in value.values()):
        value = next((value[key] for key in WRAPPERS if type(value.get(key)) is dict), value)
    if type(value) is not dict:
        raise Problem(f"holds {_kind(value)}; expected a state dict, as torch.save(net.state_dict(), path) writes it")
    tensors = {}
    for name, entry in value.items():
        if isinstance(entry, _Tensor) and isinstance(name, str):
            tensors[name] = entry
        elif str(name) != "_metadata" and not str(name).endswith("num_batches_tracked"):
            raise Problem(
                f"holds {_kind(entry)} as {str(name)[:80]!r} where a tensor was expected; use a file of "
                "torch.save(net.state_dict(), path)"
            )
    if not tensors:
        raise Problem("holds no weights; expected a state dict, as torch.save(net.state_dict(), path) writes it")
    return tensors


def _kind(value):
    if isinstance(value, (_Tensor, _View)):
        return "a tensor" if isinstance(value, _Tensor) else "a storage"
    return {dict: "a dictionary", list: "a list", tuple: "a tuple", str: "a text"}.get(type(value), "a plain value")


# ---------------------------------------------------------------------------------------------------------------------
# Storages and arrays


def _require_modest(tensors):
    """Check that the tensors together, as float32, are not far more bytes than their storages have.

    Raises:
        Problem: they are.
    """
    stored = sum(storage.nbytes for storage in {tensor.storage for tensor in tensors.values()})
    named = WIDENED * sum(tensor.count for tensor in tensors.values())
    if named > MAX_SHARING * stored + FREE_BYTES:
        raise Problem(f"malicious: its tensors name {named:.3g} bytes of storages of {stored:.3g}; use another file")


def _read_bytes(file, count):
    """Read bytes as uint8 (count,); the caller knows that the file may well have so many."""
    data = np.empty(count, np.uint8)
    view, position = memoryview(data), 0
    while position < count:
        read = file.readinto(view[position : position + CHUNK])
        if not read:
            raise EOFError(f"{count - position} bytes of a storage are missing")
        position += read
    return data


def _numbers(data, kind, big_endian=False):
    """Return the numbers of a storage in this machine's byte order; data: uint8."""
    values = data.view(STORAGES[kind])
    if big_endian != (sys.byteorder == "big"):
        values = values.byteswap()
    return widen_bfloat16(values) if kind == BFLOAT16 else values


def widen_bfloat16(values):
    """Return bfloat16 numbers as float32; they come as uint16, which are the upper halves."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _make_arrays(tensors, numbers):
    """Return name -> array of the tensors; numbers: _Storage -> 1-d array."""
    return {name: _make_array(tensor, numbers[tensor.storage]) for name, tensor in tensors.items()}


def _make_array(tensor, numbers):
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    size = numbers.itemsize
    return np.ndarray(
        tensor.shape, numbers.dtype, numbers, tensor.offset * size, [stride * size for stride in tensor.strides]
    )


# ---------------------------------------------------------------------------------------------------------------------
# The zip format


def _read_zip(file):
    length = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(_SmallReads(file)) as archive:
        folder = _archive_folder(archive)
        program = io.BytesIO(_read_entry(archive, folder + "data.pkl", most=MAX_PROGRAM))
        tensors = _state_dict(Machine().run(program))
        _require_modest(tensors)
        big_endian = _is_big_endian(archive, folder + "byteorder")
        storages = list({tensor.storage: None for tensor in tensors.values()})
        if sum(storage.nbytes for storage in storages) > MAX_GROWTH * length + FREE_BYTES:
            raise Problem(f"its weights would be far larger than the file, of {length} bytes; use another file")
        numbers = {}
        for storage in storages:
            data = _read_entry(archive, folder + "data/" + storage.key, storage.nbytes)
            numbers[storage] = _numbers(data, storage.kind, big_endian)
        return _make_arrays(tensors, numbers)


class _SmallReads:
    """A file for zipfile that bounds each read, as zipfile takes ten times the memory of a directory of any size."""

    def __init__(self, file):
        self._file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, count=-1):
        data = self._file.read(MAX_DIRECTORY + 1 if count < 0 else min(count, MAX_DIRECTORY + 1))
        if len(data) > MAX_DIRECTORY:
            raise Problem(f"its directory has more than {MAX_DIRECTORY} bytes, which no weights need; use another file")
        return data


def _archive_folder(archive):
    """Return the folder, of any name, that holds all entries."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("an entry of the archive is there twice")
    programs = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise Problem("a zip archive, but not one that torch.save wrote; give the weight file itself")
    return programs[0][: -len("data.pkl")]


def _is_big_endian(archive, name):
    """Tell the byte order that the entry names; files of torch before 2.1 lack it and are little endian."""
    if name not in archive.namelist():
        return False
    order = _read_entry(archive, name, most=len("little")).tobytes()
    if order not in (b"little", b"big"):
        raise ValueError("its byte order is neither little nor big")
    return order == b"big"


def _read_entry(archive, name, expected=None, most=None):
    """Read an entry's bytes as uint8 and check them against their checksum.

    Args:
        archive: ZipFile.
        name: the entry.
        expected: the number of bytes that it must have, or None.
        most: the largest number of bytes that it may have, in place of `expected`.
    """
    info = archive.getinfo(name)
    if info.file_size != expected if most is None else info.file_size > most:
        raise ValueError(f"{name} has {info.file_size} bytes, expected {expected or f'at most {most}'}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that torch does not use")
    with archive.open(info) as entry:
        data = _read_bytes(entry, info.file_size)
        if entry.read(1):  # zipfile compares the checksum when it meets the end
            raise ValueError(f"{name} is longer than it says")
    return data


# ---------------------------------------------------------------------------------------------------------------------
# The older format


def _read_legacy(file):
    program = io.BytesIO(file.read(min(MAX_PROGRAM, os.fstat(file.fileno()).st_size)))
    number, version, system = (Machine().run(program) for _ in range(3))
    if type(number) is not int or number != LEGACY_NUMBER:
        raise Problem("a pickled file, but none that torch.save wrote; it stays closed, as it could run any code")
    if type(version) is not int or version != LEGACY_VERSION:
        raise ValueError("a version that torch never wrote")
    machine = Machine()
    tensors = _state_dict(machine.run(program))
    keys = Machine().run(program)
    file.seek(program.tell())  # the storages follow, in the order of the keys
    program.close()  # frees its memory
    _require_modest(tensors)
    needed = {tensor.storage for tensor in tensors.values()}
    numbers = {}
    if type(keys) is not list or not all(map(_is_name, keys)):
        raise ValueError("the storages' keys are no list of texts")
    if len(set(keys)) != len(keys):
        raise ValueError("a storage is there twice")
    for key in keys:
        storage = machine.storages[key]
        _read_legacy_count(file, storage, system["little_endian"])
        if storage in needed:
            numbers[storage] = _numbers(_read_bytes(file, storage.nbytes), storage.kind)
        else:
            file.seek(storage.nbytes, os.SEEK_CUR)
    return _make_arrays(tensors, numbers)


def _read_legacy_count(file, storage, little_endian):
    """Read how many numbers follow, and check that this is right and that the file is long enough.

    On a big-endian machine torch wrote numbers in little-endian order all the same. The count was at times in its own
    order.
    """
    count = file.read(8)
    orders = ("little",) if little_endian else ("little", "big")
    if len(count) < 8 or storage.count not in [int.from_bytes(count, order) for order in orders]:
        raise ValueError(f"storage {storage.key[:20]} has another size than expected")
    if storage.nbytes > os.fstat(file.fileno()).st_size - file.tell():
        raise EOFError(f"storage {storage.key[:20]} is not all there")


# ---------------------------------------------------------------------------------------------------------------------
# Writing

FOLDER = "archive/"  # of every entry; torch's name for it when it does not know the file's name
ALIGNMENT = 64  # bytes, of every entry's data, as torch has it, for those who map the file into memory
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_pth(path, arrays):
    """Write a state dict that `torch.load(path, weights_only=True)` of torch 1.6 or later reads.

    Each array becomes a contiguous float32 tensor on the CPU, in the order given. The file appears whole or not at all.
    The same arrays make the same bytes.

    Args:
        path: the file to write.
        arrays: name -> array.

    Raises:
        OSError: the disk does not take it.
    """
    arrays = {name: np.asarray(value, "<f4", order="C") for name, value in arrays.items()}
    with atomic_write(path) as temporary, open(temporary, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        _write_entry(file, archive, "data.pkl", _program(arrays))
        _write_entry(file, archive, "byteorder", b"little")
        for key, value in enumerate(arrays.values()):
            _write_entry(file, archive, f"data/{key}", value.tobytes())
        _write_entry(file, archive, "version", b"3\n")


def _write_entry(file, archive, name, data):
    """Add an uncompressed entry whose data begins at a multiple of ALIGNMENT in the file."""
    info = zipfile.ZipInfo(FOLDER + name, ZIP_DATE)
    header = file.tell() + zipfile.sizeFileHeader + len(info.filename) + 4  # four bytes: the header of the padding
    padding = -header % ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
    archive.writestr(info, data)


def _program(arrays):
    """Return the pickled program that makes an OrderedDict of the arrays; storage i is the i-th array's."""
    items = b"".join(_text(name) + _tensor(key, value) for key, (name, value) in enumerate(arrays.items()))
    return pickle.PROTO + b"\x02" + _empty_dict() + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(key, array):
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    storage = (
        _tuple(_text("storage"), _global("torch", "FloatStorage"), _text(str(key)), _text("cpu"), _integer(array.size))
        + pickle.BINPERSID
    )
    return (
        _global("torch._utils", "_rebuild_tensor_v2")
        + _tuple(
            storage,
            _integer(0),
            _tuple(*map(_integer, array.shape)),
            _tuple(*map(_integer, strides)),
            pickle.NEWFALSE,
            _empty_dict(),
        )
        + pickle.REDUCE
    )  # no gradient, no hooks


def _empty_dict():
    return _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def _global(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text):
    data = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _integer(number):
    data = pickle.encode_long(number)
    return pickle.LONG1 + struct.pack("<B", len(data)) + data


def _tuple(*items):
    return pickle.MARK + b"".join(items) + pickle.TUPLE
