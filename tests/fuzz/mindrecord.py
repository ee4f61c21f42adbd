# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindRecord files with their indexes, changed where MindSpore's reader would believe them."""

import contextlib
import functools
import json
import os
import sqlite3
import struct
import tempfile

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    8,
    9,
    13,
    255,
    256,
    32767,
    32768,
    65536,
    2**20,
    2**28,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    10**30,
)
VALUES = NUMBERS + (
    None,
    True,
    False,
    0.0,
    1.5,
    float("nan"),
    "",
    "0",
    "-1",
    "RAW_DATA",
    "BLOB_DATA",
    "bytes",
    "int32",
    "float64",
    "string",
    "HR",
    "LR",
    "3.0",
    "2.0",
    "\0",
    "a\nb",
    "\ud800",
    "../a",
    "/etc/passwd",
    "x" * 5000,
    [],
    {},
    [[]],
    [{}],
    [None],
    [0] * 1000,
    [-1, -1],
    [10**9] * 3,
    {"type": "bytes"},
    {"type": "int32", "shape": [-1, 8, 3]},
    {"": None},
)
SQL_VALUES = tuple(str(number) for number in NUMBERS) + (
    "NULL",
    "'text'",
    "'12'",
    "x'00'",
    "1.5",
    "9e999",
    "zeroblob(70000)",
    "-9223372036854775808",
    "ROW_ID",
    "ROW_ID * 13",
    "PAGE_OFFSET_BLOB",
    "PAGE_OFFSET_BLOB_END",
    "PAGE_OFFSET_BLOB - 1",
    "PAGE_OFFSET_RAW + 1",
    "1 - PAGE_ID_BLOB",
)
SQL_COLUMNS = (
    "ROW_ID",
    "ROW_GROUP_ID",
    "PAGE_ID_RAW",
    "PAGE_OFFSET_RAW",
    "PAGE_OFFSET_RAW_END",
    "PAGE_ID_BLOB",
    "PAGE_OFFSET_BLOB",
    "PAGE_OFFSET_BLOB_END",
)
SQL_STATEMENTS = (
    "DELETE FROM SHARD_NAME",
    "INSERT INTO SHARD_NAME VALUES('more')",
    "UPDATE SHARD_NAME SET NAME = x'ff'",
    "UPDATE SHARD_NAME SET NAME = 7",
    "DROP TABLE SHARD_NAME",
    "DROP TABLE INDEXES",
    "DELETE FROM INDEXES",
    "DELETE FROM INDEXES WHERE ROW_ID = 2",
    "UPDATE INDEXES SET ROW_ID = ROW_ID + 1 WHERE ROW_ID > 2",
    "UPDATE INDEXES SET ROW_ID = 5 - ROW_ID + 100",
    "PRAGMA journal_mode=WAL",
    "PRAGMA user_version=7",
    "CREATE TABLE more(a)",
    "CREATE VIEW more AS SELECT 1",
    "ALTER TABLE INDEXES RENAME TO OTHER",
    "ALTER TABLE INDEXES ADD COLUMN more INT",
    "CREATE INDEX more ON INDEXES(PAGE_ID_RAW)",
    "ANALYZE",
    "CREATE TRIGGER t AFTER INSERT ON INDEXES BEGIN SELECT 1; END",
    "DELETE FROM sqlite_master",
    "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')",
    "UPDATE sqlite_master SET rootpage = 2",
    "UPDATE sqlite_master SET sql = replace(sql, 'INT ', 'TEXT ')",
    "UPDATE sqlite_master SET name = 'x' LIMIT 1",
)


def cases(random, folder):
    """Endless: writes a changed copy of a small good file and its index into the folder, and yields its path."""
    sets = _good()
    while True:
        files = dict(random.choice(sets))
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            name = random.choice(sorted(files))
            change = random.choice(_CHANGES_OF_INDEXES if name.endswith(".db") else _CHANGES_OF_FILES)
            files[name] = change(random, files[name])
        for name, content in files.items():
            with open(os.path.join(str(folder), name), "wb") as file:
                file.write(content)
        yield os.path.join(str(folder), sorted(files)[0])


def read(path):
    """Read all of a file as validation and as training do, with and without damaged records; raises the first error."""
    from src.dataloader.dataset import DataError

    try:
        _read(path)
    except DataError as error:
        if not str(error).startswith(os.path.dirname(path)):
            raise AssertionError(f"a message that does not name the file: {error}") from error
        raise ValueError(f"{path}: {error}") from error  # it may name another shard


def _read(path):
    from src.dataloader.dataset import DataError, EvalData, TrainData, open_mindrecord

    open_mindrecord(path)
    errors = []
    for make in (
        lambda: EvalData(path),
        lambda: TrainData(path, 4, 2, 8, 0).batches(0),
        lambda: TrainData(path, 4, 1, None, 0, noise=True, skip_damaged=True).batches(0),
    ):
        try:
            for _ in make():
                pass
        except DataError as error:
            errors.append(error)
    if errors:
        raise errors[0]


# ---------------------------------------------------------------------------------------------------------------------
# Good files


@functools.lru_cache(maxsize=None)
def _good():
    """Sets of files, each a dictionary name -> content: PNG, JPEG, arrays, and two shards with more columns."""
    import numpy as np

    random = np.random.RandomState(0)
    pairs = [(np.kron(lr, np.ones((4, 4, 1), np.uint8)), lr) for lr in random.randint(0, 256, (6, 4, 4, 3), np.uint8)]
    images = {"type": "bytes"}
    integers, floats = ([{"type": kind, "shape": [side, side, 3]} for side in (16, 4)] for kind in ("int32", "float32"))
    return [
        _made("png.mindrecord", pairs, (images, images), _encoded(".png")),
        _made("jpeg.mindrecord", pairs, (images, images), _encoded(".jpg")),
        _made("integers.mindrecord", pairs, integers, lambda image: image.astype(np.int32)),
        _made("floats.mindrecord", pairs, floats, lambda image: image.astype(np.float32)),
        _made("shards.mindrecord", pairs, (images, images), _encoded(".png"), shards=2),
    ]


def _encoded(suffix):
    import cv2

    return lambda image: cv2.imencode(suffix, image)[1].tobytes()


def _made(name, pairs, schema, encode, shards=1):
    from mindspore.mindrecord import FileWriter

    with tempfile.TemporaryDirectory() as folder:
        writer = FileWriter(os.path.join(folder, name), shard_num=shards)
        writer.set_header_size(1 << 14)
        writer.set_page_size(1 << 15)
        rows = [dict(HR=encode(hr), LR=encode(lr)) for hr, lr in pairs]
        columns = dict(zip(("HR", "LR"), schema))
        if shards > 1:
            columns.update(text={"type": "string"}, number={"type": "int64"})
            rows = [dict(row, text="x" * 40 * i, number=-i << 40) for i, row in enumerate(rows)]
        writer.add_schema(columns, "pairs")
        if shards > 1:
            writer.add_index(["number"])
        writer.write_raw_data(rows)
        writer.commit()
        return {name: _content(os.path.join(folder, name)) for name in os.listdir(folder)}


def _content(path):
    with open(path, "rb") as file:
        return file.read()


# ---------------------------------------------------------------------------------------------------------------------
# Changes: (random, content) -> content


def _flip(random, content):
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 20))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _flip_in_use(random, content):
    """As above, but none of the zeros of which most of these files consists."""
    changed = bytearray(content)
    used = [place for place, byte in enumerate(content) if byte]
    for _ in range(random.choice((1, 1, 3))):
        if used:
            changed[random.choice(used)] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
    return bytes(changed)


def _cut(random, content):
    return content[: random.randrange(len(content) + 1)] + bytes(random.choice((0, 0, 100)))


def _hole(random, content):
    begin = random.randrange(len(content) + 1)
    end = min(len(content), begin + random.choice((8, 100, 4096, 1 << 15)))
    return content[:begin] + random.choice((b"\0", b"\xff")) * (end - begin) + content[end:]


def _change_length(random, content):
    """One of the numbers of eight bytes of which the records have many."""
    places = [
        place
        for place in range(1 << 14, len(content) - 8)
        if content[place : place + 6] == bytes(6) or content[place + 2 : place + 8] == bytes(6)
    ]
    if not places:
        return content
    place = random.choice(places)
    number = struct.pack(random.choice("<>") + "Q", random.choice(NUMBERS) % 2**64)
    return content[:place] + number + content[place + 8 :]


def _change_image(random, content):
    """The beginning of an image, or of what stands in the place of one, where it says how large it is."""
    places = [
        place
        for mark in (b"IHDR", b"\xff\xd8", b"\xff\xc0", b"\0\0\3\0", b"\0\0\0\x30")
        for place in _places(content, mark)
    ]
    if not places:
        return content
    place = random.choice(places) + random.randrange(14)
    number = random.choice(NUMBERS) % 2**32
    return content[:place] + struct.pack(">I", number)[-random.choice((1, 2, 4)) :] + content[place + 4 :]


def _places(content, mark):
    place = content.find(mark)
    while place >= 0:
        yield place
        place = content.find(mark, place + 1)


def _change_header(random, content):
    """The header's JSON, with the length before it that it has."""
    with contextlib.suppress(ValueError, struct.error, OverflowError):
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length].decode())
        for _ in range(random.choice((1, 1, 2))):
            _change_json(random, header)
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        if random.random() < 0.2:
            text = _flip(random, text)
        return struct.pack("<Q", len(text)) + text + content[8 + len(text) :]
    return content


def _change_json(random, node):
    """In place, somewhere in it."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and random.random() < 0.8:
            node = node[key]
            continue
        change = random.randrange(5)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node[key], int):
            node[key] += random.choice((-1, 1, 8, -8, 1 << 15))
        elif change == 2:
            node[key] = node[random.choice(keys)]
        elif change == 3 and isinstance(node, list):
            node.append(node[key])
        else:
            node[key] = random.choice(VALUES)
        return


def _change_length_of_header(random, content):
    return struct.pack("<Q", random.choice(NUMBERS) % 2**64) + content[8:]


def _change_index(random, content):
    """By SQL, which leaves a database that is whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.db")
        with open(path, "wb") as file:
            file.write(content)
        # What was changed before may leave nothing that SQL could change.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA writable_schema=ON")
            for _ in range(random.choice((1, 1, 2))):
                database.execute(_statement(random))
            database.commit()
        return _content(path)


def _statement(random):
    if random.random() < 0.3:
        return random.choice(SQL_STATEMENTS)
    where = random.choice(("", f" WHERE ROW_ID = {random.randrange(6)}", f" WHERE ROW_ID = {random.randrange(6)}"))
    return f"UPDATE INDEXES SET {random.choice(SQL_COLUMNS)} = {random.choice(SQL_VALUES)}{where}"


_CHANGES_OF_FILES = (
    _flip,
    _flip_in_use,
    _flip_in_use,
    _cut,
    _hole,
    _change_length,
    _change_length,
    _change_image,
    _change_image,
    _change_header,
    _change_header,
    _change_header,
    _change_length_of_header,
)
_CHANGES_OF_INDEXES = (_flip, _flip_in_use, _flip_in_use, _cut, _hole, _change_index, _change_index, _change_index)
