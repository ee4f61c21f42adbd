# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindRecord files that lie: one line each, before MindSpore sees them, with little memory and time."""

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from unittest import mock

import cv2
import numpy as np
import pytest
from mindspore.mindrecord import FileWriter
from skimage.data import astronaut

from src.dataloader import dataset
from src.dataloader.dataset import DataError, EvalData, TrainData, open_mindrecord
from src.dataloader.mindrecord_file import LARGEST_IMAGE
from src.dataloader.prepare import prepare_images

RECORDS, HEADER_SIZE, PAGE_SIZE = 6, 1 << 18, 1 << 20


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    """bytes.mindrecord and array.mindrecord, the same 6 pairs of 32x32 and 8x8."""
    folder = tmp_path_factory.mktemp("good")
    images = [(f"patch {i}", np.array(astronaut()[40 * i : 40 * i + 32, 200:232])) for i in range(RECORDS)]
    for form in ("bytes", "array"):
        prepare_images(images, folder / (form + ".mindrecord"), 4, patch=32, per_image=1, form=form, progress=False)
    return folder


@pytest.fixture(name="copies")
def fixture_copies(folder, tmp_path):
    """form -> path of a copy that a test may damage."""
    for name in os.listdir(str(folder)):
        shutil.copy(str(folder / name), str(tmp_path))
    return {form: tmp_path / (form + ".mindrecord") for form in ("bytes", "array")}


@pytest.fixture(name="copy")
def fixture_copy(copies):
    return copies["bytes"]


def train_data(path):
    return TrainData(path, 4, 2, 32, 7)


def refused(path, *words, named=None):
    """Both kinds of data refuse a file in one short line that names it (or ``named``) and says the words.

    MindSpore, which such a file could make crash, is not even asked.
    """
    for make in (train_data, EvalData):
        with mock.patch.object(
            dataset.ds, "MindDataset", side_effect=AssertionError("MindSpore was asked")
        ), pytest.raises(DataError) as caught:
            make(path)
        message = str(caught.value)
        assert message.isprintable() and len(message) < 700
        assert message.startswith(str(named or path))
        for word in words:
            assert word in message


def run_python(repo, code, path, limit):
    """The lines that code prints about a file, in a process of its own, which must end well within the seconds."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=repo, timeout=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# ---------------------------------------------------------------------------------------------------------------------
# The header


def header_of(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length].decode())


def set_header_text(path, text, length=None):
    """Put bytes in the place of a header, with their length before them, or another one."""
    with open(str(path), "r+b") as file:
        file.write(struct.pack("<Q", len(text) if length is None else length) + text)


def set_header(path, header):
    set_header_text(path, json.dumps(header, sort_keys=True, separators=(",", ":")).encode())


def change_header(path, place, value):
    """Set what is at ``place``, a sequence of keys, or remove it if the value is DELETE."""
    header = header_of(path)
    owner = header
    for key in place[:-1]:
        owner = owner[key]
    if value is DELETE:
        del owner[place[-1]]
    else:
        owner[place[-1]] = value
    set_header(path, header)


DELETE = object()
ODD = [None, True, "1", 1.5, -1, 1 << 63, 1 << 64, [], {}, [[1]]]
COLUMN = ("schema", 0, "schema", "HR")


def test_a_header_that_was_written_anew_is_good(copies):
    for path in copies.values():
        set_header_text(path, json.dumps(header_of(path), indent=1).encode())
        assert open_mindrecord(path).records == RECORDS


@pytest.mark.parametrize(
    "value",
    [
        "bytes.mindrecord",
        3,
        None,
        {},
        [],
        [None],
        [7],
        [["bytes.mindrecord"]],
        ["bytes.mindrecord", None],
        ["bytes.mindrecord"] * 2,
        ["bytes.mindrecord", ""],
        ["bytes.mindrecord", ".."],
        ["bytes.mindrecord", "x\0y"],
        ["bytes.mindrecord", "x\ny"],
        ["bytes.mindrecord", "\ud800"],
        ["bytes.mindrecord", "a" * 100000],
        ["bytes.mindrecord"] + [f"x{i}" for i in range(5000)],
    ],
)
def test_lists_of_shards(copy, value):
    change_header(copy, ("shard_addresses",), value)
    refused(copy, "not a MindRecord file", "shard_addresses")


@pytest.mark.parametrize("form", ["../outside/{}", "{folder}/outside/{}", "sub/{}", "sub\\{}", "./{}"])
def test_shards_are_beside_the_file(copy, tmp_path, form):
    """A second shard elsewhere is not even opened, though it is there."""
    for folder in (tmp_path / "outside", tmp_path / "sub", tmp_path / "in"):
        folder.mkdir()
        for suffix in ("", ".db"):
            shutil.copy(str(copy) + suffix, str(folder))
    inside = tmp_path / "in" / copy.name
    change_header(inside, ("shard_addresses",), [copy.name, form.format(copy.name, folder=tmp_path)])
    refused(inside, "shard_addresses")


def test_thousands_of_missing_shards(copy):
    change_header(copy, ("shard_addresses",), [copy.name] + [f"x{i}" for i in range(4000)])
    refused(copy, "x0: no such file", named=copy.parent)


def test_a_renamed_file_of_thousands_of_shards(copy):
    change_header(copy, ("shard_addresses",), [f"x{i}" for i in range(4000)])
    refused(copy, "was renamed", "x0 or x1 or x2 or x3 or ...")


@pytest.mark.parametrize("value", ODD + [0, 100, 1 << 40, DELETE])
@pytest.mark.parametrize("key", ["header_size", "page_size"])
def test_sizes(copy, key, value):
    change_header(copy, (key,), value)
    refused(copy, "not a MindRecord file", key)


@pytest.mark.parametrize("key", ["page_size", "page_id", "shard_id", "page_type_id", "start_row_id", "end_row_id"])
@pytest.mark.parametrize("page", [0, 1])
def test_pages(copy, key, page):
    original = copy.read_bytes()
    for value in ODD + [DELETE]:
        copy.write_bytes(original)
        change_header(copy, ("page", page, key), value)
        refused(copy, "not a MindRecord file", "number '1.5'" if value == 1.5 else f"page {page}")


@pytest.mark.parametrize(
    "place, value, words",
    [
        (("page",), None, "its page is None"),
        (("page",), {}, "its page is {}"),
        (("page",), [None], "page 0"),
        (("page",), ["a"], "page 0"),
        (("page", 0, "page_type"), "OTHER", "page 0"),
        (("page", 0, "page_type"), ["BLOB_DATA"], "page 0"),
        (("page", 0, "page_type"), DELETE, "page 0"),
        (("page", 0, "page_id"), 1, "page 0"),
        (("page", 0, "shard_id"), 1, "page 0"),
        (("page", 0, "page_type_id"), 1, "page 0"),
        (("page", 0, "start_row_id"), 1, "page 0"),
        (("page", 0, "page_size"), PAGE_SIZE + 1, "page 0"),
        (("page", 0, "row_group_ids"), None, "page 0"),
        (("page", 0, "row_group_ids"), [{"id": 0}], "page 0"),
        (("page", 0, "row_group_ids"), [[]], "page 0"),
        (("version",), None, "version"),
        (("version",), "9.0", "version"),
        (("version",), [], "version"),
        (("statistics",), [{}], "statistics"),
        (("compression_size",), -1, "compression_size"),
        (("index_fields",), DELETE, "MindSpore asks for"),
        (("statistics",), DELETE, "MindSpore asks for"),
        (("index_fields",), {}, "index_fields"),
        (("index_fields",), [None], "index_fields"),
        (("index_fields",), [{"schema_id": 0, "index_field": "HR"}], "index_fields"),
        (("index_fields",), [{"schema_id": 0, "index_field": ["HR"]}], "index_fields"),
    ],
)
def test_other_parts_of_the_header(copy, place, value, words):
    change_header(copy, place, value)
    refused(copy, "not a MindRecord file", words)


def test_no_pages(copy):
    change_header(copy, ("page",), [])
    refused(copy, "0 records", named=str(copy) + ".db")


def test_many_pages_that_are_not_there(copy):
    header = header_of(copy)
    header["page"] += [dict(header["page"][1], page_id=number) for number in range(2, 1000)]
    set_header(copy, header)
    refused(copy, "truncated")


@pytest.mark.parametrize(
    "place, value, words",
    [
        (("schema",), None, "schema"),
        (("schema",), {}, "schema"),
        (("schema",), [], "schema"),
        (("schema",), [None], "schema"),
        (("schema",), [{}, {}], "schema"),
        (("schema", 0, "schema"), [], "schema"),
        (("schema", 0, "schema"), {}, "schema"),
        (("schema", 0, "desc"), 3, "desc"),
        (("schema", 0, "blob_fields"), None, "blob_fields"),
        (("schema", 0, "blob_fields"), "HR", "blob_fields"),
        (("schema", 0, "blob_fields"), 7, "blob_fields"),
        (("schema", 0, "blob_fields"), ["HR"], "blob_fields"),
        (("schema", 0, "blob_fields"), ["HR", "LR", "absent"], "blob_fields"),
        (("schema", 0, "blob_fields"), ["LR", "HR"], "blob_fields"),
        (COLUMN, None, "column HR"),
        (COLUMN, [], "column HR"),
        (COLUMN, {"type": None}, "column HR"),
        (COLUMN, {"type": ["bytes"]}, "column HR"),
        (COLUMN, {"type": "uint8"}, "column HR"),
        (COLUMN, {"type": "bytes", "shape": [1]}, "column HR"),
        (COLUMN, {"type": "bytes", "more": 1}, "column HR"),
        (("schema", 0, "schema", "a b"), {"type": "int32"}, "'a b'"),
    ],
)
def test_schemas(copy, place, value, words):
    change_header(copy, place, value)
    refused(copy, "not a MindRecord file", words)


@pytest.mark.parametrize(
    "shape",
    [
        None,
        3,
        "32",
        [],
        ["32", 32, 3],
        [True, 32, 3],
        [-2, 32, 3],
        [0, 32, 3],
        [-1, -1, 3],
        [10**9] * 3,
        [1 << 63, 1, 1],
        [[32], 32, 3],
        [1] * 100,
    ],
)
def test_shapes(copies, shape):
    change_header(copies["array"], COLUMN + ("shape",), shape)
    refused(copies["array"], "not a MindRecord file", "column HR")


@pytest.mark.parametrize("shape", [[10**9, 1, 1], [32, 32, 4], [31, 32, 3], [-1, 31, 3], [1], [-1, 1 << 20, 3]])
@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_shapes_that_the_records_do_not_have(copies, shape, kind):
    change_header(copies["array"], COLUMN, {"type": kind, "shape": shape})
    refused(copies["array"], f"HR of record 0 is damaged: no array of {kind}", "skip_damaged")


def test_a_side_may_be_open(copies):
    change_header(copies["array"], COLUMN + ("shape",), [-1, 32, 3])
    assert open_mindrecord(copies["array"]).records == RECORDS
    assert [hr.shape for _, hr, _ in EvalData(copies["array"])] == [(32, 32, 3)] * RECORDS


def test_a_column_of_numbers(copy):
    header = header_of(copy)
    header["schema"][0].update(schema={"HR": {"type": "bytes"}, "LR": {"type": "int32"}}, blob_fields=["HR"])
    set_header(copy, header)
    refused(copy, "its column LR holds no images, but one int32 a record")


@pytest.mark.parametrize(
    "text, words",
    [
        (b"[" * 100000, "recursion"),
        (b'{"a":' * 100000, "recursion"),
        (b'{"version":"3.0","version":"3.0"}', "twice"),
        (b'{"version":NaN}', "NaN"),
        (b'{"version":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "1e999"),
        (b'{"a":32.0}', "32.0"),
        (b'{"a":' + b"9" * 1000000 + b"}", "number '99"),
        (b'{"version":"\xff\xfe"}', "decode"),
        (b"", "Expecting"),
        (b"[]", "header is []"),
        (b"3", "header is 3"),
        (b'"x"', "header is 'x'"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{}", "version"),
        (b"[" + b"[]," * (1 << 20) + b"[]]", "too long"),
    ],
)
def test_json(copy, text, words):
    with open(str(copy), "ab") as file:
        file.write(bytes(1 << 22))
    set_header_text(copy, text)
    refused(copy, "not a MindRecord file", words)


@pytest.mark.parametrize("length", [(1 << 64) - 1, 1 << 63, 1 << 40, 1 << 24, HEADER_SIZE + PAGE_SIZE + 1000, 0, 8])
def test_lengths_of_the_header(copy, length):
    text = json.dumps(header_of(copy)).encode()
    set_header_text(copy, text, length)
    refused(copy, "not a MindRecord file")


def test_a_header_just_longer_than_the_file(copy):
    set_header_text(copy, b"", copy.stat().st_size - 7)
    refused(copy, "ends within the header")


# ---------------------------------------------------------------------------------------------------------------------
# The index


def change_index(path, *statements):
    with contextlib.closing(sqlite3.connect(str(path) + ".db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def index_of(path):
    return str(path) + ".db"


PLACES = [
    "PAGE_ID_RAW",
    "PAGE_OFFSET_RAW",
    "PAGE_OFFSET_RAW_END",
    "ROW_GROUP_ID",
    "PAGE_ID_BLOB",
    "PAGE_OFFSET_BLOB",
    "PAGE_OFFSET_BLOB_END",
]


@pytest.mark.parametrize(
    "value",
    ["9223372036854775807", "-1", "-9223372036854775808", "'text'", "x'00'", "1.5", "zeroblob(100000)", "1000000"],
)
@pytest.mark.parametrize("column", PLACES + ["ROW_ID"])
def test_places_in_the_index(copy, column, value):
    change_index(copy, f"UPDATE INDEXES SET {column} = {value} WHERE ROW_ID = 3")
    refused(copy, "damaged index, row ", named=index_of(copy))


@pytest.mark.parametrize(
    "change",
    [
        "PAGE_OFFSET_BLOB = PAGE_OFFSET_BLOB_END + 1",
        "PAGE_OFFSET_RAW = 0",
        "PAGE_OFFSET_BLOB_END = PAGE_OFFSET_BLOB",
        "PAGE_ID_BLOB = 1",
        "PAGE_ID_RAW = 0",
    ],
)
def test_places_that_contradict_each_other(copy, change):
    change_index(copy, f"UPDATE INDEXES SET {change} WHERE ROW_ID = 3")
    refused(copy, "damaged index, row 3", named=index_of(copy))


def test_null_in_the_index(copy):
    change_index(
        copy,
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'INDEXES'",
    )
    change_index(copy, "UPDATE INDEXES SET PAGE_OFFSET_BLOB = NULL WHERE ROW_ID = 3")
    refused(copy, "damaged index, row 3", named=index_of(copy))


def test_a_page_of_which_no_record_is(copy):
    header = header_of(copy)
    header["page"].append(dict(header["page"][1], page_id=2, page_size=100))
    set_header(copy, header)
    with open(str(copy), "ab") as file:
        file.write(bytes(2 * PAGE_SIZE))
    refused(copy, "it leaves out a part of", named=index_of(copy))


VIEW = (
    "CREATE VIEW INDEXES AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i AS ROW_ID, "
    "0 AS ROW_GROUP_ID, 1 AS PAGE_ID_RAW, 0 AS PAGE_OFFSET_RAW, 13 AS PAGE_OFFSET_RAW_END, 0 AS PAGE_ID_BLOB, "
    "0 AS PAGE_OFFSET_BLOB, 9 AS PAGE_OFFSET_BLOB_END FROM n"
)


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE INDEXES"],
        ["DROP TABLE SHARD_NAME"],
        ["DROP TABLE INDEXES", VIEW],
        ["DROP TABLE SHARD_NAME", "CREATE VIEW SHARD_NAME AS SELECT 'bytes.mindrecord' AS NAME"],
        ["CREATE TABLE more(a)"],
        ["CREATE INDEX more ON INDEXES(ROW_GROUP_ID)"],
        ["CREATE TRIGGER t AFTER INSERT ON INDEXES BEGIN SELECT 1; END"],
        ["ALTER TABLE INDEXES RENAME ROW_ID TO OTHER"],
        ["DROP TABLE INDEXES", "CREATE TABLE INDEXES(ROW_ID INT NOT NULL, PRIMARY KEY(ROW_ID))"]
        + [f"INSERT INTO INDEXES VALUES({row})" for row in range(RECORDS)],
        ["DROP TABLE INDEXES", "CREATE TABLE INDEXES(ROW_ID INT AS (X * 2), X INT PRIMARY KEY)"],
    ],
)
def test_other_tables(copy, statements):
    change_index(copy, *statements)
    refused(copy, "damaged index", named=index_of(copy))


@pytest.mark.parametrize(
    "statements, words",
    [
        (["UPDATE SHARD_NAME SET NAME = 'other'"], "(other, 6 records)"),
        (["UPDATE SHARD_NAME SET NAME = 7"], "(7, 6 records)"),
        (["UPDATE SHARD_NAME SET NAME = x'00ff'"], "6 records)"),
        (["UPDATE SHARD_NAME SET NAME = char(10, 27, 0)"], r"(\n\x1b\x00, 6 records)"),
        (["INSERT INTO SHARD_NAME VALUES('more')"], "(bytes.mindrecord, more, 6 records)"),
        (["DELETE FROM SHARD_NAME"], "(, 6 records)"),
        (["DELETE FROM INDEXES"], "0 records"),
        (["INSERT INTO INDEXES VALUES(6, 1, 0, 13, 0, 0, 0, 99)"], "7 records"),
    ],
)
def test_indexes_of_other_files(copy, statements, words):
    change_index(copy, *statements)
    refused(copy, "index of another file", words, named=index_of(copy))


def test_an_index_that_is_too_large(copy):
    change_index(copy, "UPDATE SHARD_NAME SET NAME = CAST(zeroblob(3000000) AS TEXT)")
    refused(copy, "damaged index, too large for 6 records", named=index_of(copy))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"SQLite format 3\0", b"SQLite format 3\0" + b"\xff" * 8000, b"\x89PNG" * 1000]
)
def test_no_databases(copy, content):
    with open(index_of(copy), "wb") as file:
        file.write(content)
    refused(copy, "damaged index", named=index_of(copy))


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_an_index_that_was_not_finished(copy, suffix):
    with open(index_of(copy) + suffix, "wb") as file:
        file.write(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(1000))
    refused(copy, "is being written or was not finished", suffix, named=index_of(copy))
    assert os.path.isfile(index_of(copy) + suffix)


def test_an_index_with_a_log(copy):
    change_index(copy, "PRAGMA journal_mode=WAL")
    before = sorted(os.listdir(str(copy.parent)))
    refused(copy, "damaged index", named=index_of(copy))
    assert sorted(os.listdir(str(copy.parent))) == before


def test_an_index_that_another_program_has_locked(copy):
    with contextlib.closing(sqlite3.connect(index_of(copy))) as database:
        database.execute("BEGIN EXCLUSIVE")
        refused(copy, "in use by another program", "locked", named=index_of(copy))
    assert open_mindrecord(copy).records == RECORDS


@pytest.mark.parametrize("suffix", ["", ".db"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "dangling"])
def test_what_is_no_file(copy, kind, suffix):
    place = str(copy) + suffix
    os.remove(place)
    if kind == "folder":
        os.mkdir(place)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        os.symlink("/dev/zero" if kind == "device" else "nowhere", place)
    if kind in ("device", "dangling") and suffix == "":  # a link is followed to what has another name
        place = os.path.realpath(place)
    refused(copy, "no such file", named=place)


def test_an_index_may_be_a_link(copy):
    os.rename(index_of(copy), str(copy.parent / "elsewhere"))
    os.symlink(str(copy.parent / "elsewhere"), index_of(copy))
    assert open_mindrecord(copy).records == RECORDS
    assert len(list(EvalData(copy))) == RECORDS


# ---------------------------------------------------------------------------------------------------------------------
# The records


def place_of(path, record, kind="BLOB"):
    """Where a record's chunk begins in the file."""
    with contextlib.closing(sqlite3.connect(index_of(path))) as database:
        page, begin = database.execute(
            f"SELECT PAGE_ID_{kind}, PAGE_OFFSET_{kind} FROM INDEXES WHERE ROW_ID = {record}"
        ).fetchone()
    return HEADER_SIZE + page * PAGE_SIZE + begin


def put(path, place, content):
    with open(str(path), "r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize("length", [0, 1, 100, 1 << 20, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("form, offset", [("<Q", 0), (">Q", 8)])
def test_lengths_in_the_records(copies, form, offset, length):
    for path in copies.values():
        put(path, place_of(path, 3) + offset, struct.pack(form, length))
        refused(path, "damaged at byte ", "in record 3", "skip_damaged")


@pytest.mark.parametrize(
    "content",
    [
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5,
        b"\x81\xa2id\xc1",
        b"\x81\x00id\x00",
        b"\x81\xa4id\x00",
        b"\x83\xa2id\x00",
        b"\x81\xdbid\x00",
        b"\xc0" * 5,
        b"\x81\xa2id\xcf",
        b"\x80\xa2id\x00",
    ],
)
def test_scalars(copy, content):
    """MindSpore unpacks them in a thread of its own: what it cannot unpack ends the process."""
    place = place_of(copy, 3, "RAW")
    put(copy, place + 8, content)
    refused(copy, f"damaged at byte {place}")


def test_an_array_of_four_billion_numbers(copies):
    put(copies["array"], place_of(copies["array"], 3) + 16, b"\xff\xff\xff\xff")
    refused(copies["array"], "HR of record 3 is damaged: no array of int32 [32, 32, 3]")


def test_an_array_that_reads_on_after_its_end(copies):
    """The map says that every number takes eight bytes."""
    put(copies["array"], place_of(copies["array"], 3) + 20, b"\xff" * (32 * 32 * 3 // 4))
    refused(copies["array"], "HR of record 3 is damaged: no array of int32 [32, 32, 3]")


def bomb(kind, height, width):
    if kind == "png":
        return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    comment = b"\xff\xfe\x00\x20" + bytes(30)
    return b"\xff\xd8" + comment + b"\xff\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("column, offset", [("HR", 16), ("LR", None)])
def test_images_that_are_bombs(copy, kind, column, offset):
    start = place_of(copy, 3)
    if offset is None:
        offset = copy.read_bytes().index(b"\x89PNG", start + 32) - start
    put(copy, start + offset, bomb(kind, 60000, 50000))
    refused(copy, f"{column} of record 3 has 60000x50000 pixels, more than {LARGEST_IMAGE}", "skip_damaged")
    data = TrainData(copy, 4, 2, 32, 7, skip_damaged=True)
    assert list(data.damaged) == [3] and data.records == RECORDS - 1


@pytest.mark.parametrize(
    "content",
    [
        bomb("png", 0, 8),
        bomb("jpeg", 8, 0),
        b"BM" + b"\xff" * 50,
        b"II*\0" * 20,
        b"GIF89a\xff\xff\xff\xff",
        b"\xff\xd8\xff\xe0\x00\x00" + bytes(100),
        b"\xff\xd8\xff\xda",
        b"\xff\xd8" + b"\xff" * 40,
    ],
)
def test_what_is_no_image(copy, content):
    put(copy, place_of(copy, 3) + 16, content)
    refused(copy, "HR of record 3 cannot be read as an image")


@pytest.mark.parametrize("segment", [b"\xff\xc4", b"\xff\xc0"])
def test_damaged_jpeg_images(repo, tmp_path, segment):
    """In its tables and its size: MindSpore 2.8's own decoder ends the process at some of them."""
    lr = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    hr, lr = (cv2.imencode(".jpg", image)[1].tobytes() for image in (lr.repeat(4, 0).repeat(4, 1), lr))
    path = str(tmp_path / "o.mindrecord")
    writer = FileWriter(path)
    writer.set_header_size(1 << 14)
    writer.set_page_size(1 << 20)
    writer.add_schema({"HR": {"type": "bytes"}, "LR": {"type": "bytes"}}, "test")
    rows = []
    for place in range(hr.index(segment) + 1, hr.index(segment) + 60):
        changed = bytearray(hr)
        changed[place] ^= 0x5A
        rows.append({"HR": bytes(changed), "LR": lr})
    writer.write_raw_data(rows)
    writer.commit()
    code = (
        "import sys\n"
        "from src.dataloader.dataset import DataError, TrainData\n"
        "data = TrainData(sys.argv[1], 4, 1, 32, 0, skip_damaged=True)\n"
        "print(len(data.damaged), sum(len(hr) for hr, _, _ in data.batches(0)))\n"
        "try:\n"
        "    sum(len(hr) for hr, _, _ in TrainData(sys.argv[1], 4, 1, 32, 0).batches(0))\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    counts, message = run_python(repo, code, path, 120)
    damaged, read = (int(count) for count in counts.split())
    assert damaged > 5 and damaged + read == len(rows)
    assert message.startswith(path + ": HR of record ")


# ---------------------------------------------------------------------------------------------------------------------
# Several shards


@pytest.fixture(name="shards")
def fixture_shards(tmp_path):
    """Three shards of two records each; the path of the first without its number."""
    writer = FileWriter(str(tmp_path / "o.mindrecord"), shard_num=3)
    writer.set_header_size(HEADER_SIZE)
    writer.set_page_size(PAGE_SIZE)
    writer.add_schema(
        {
            "HR": {"type": "int32", "shape": [8, 8, 3]},
            "LR": {"type": "int32", "shape": [2, 2, 3]},
            "name": {"type": "string"},
            "number": {"type": "int64"},
        },
        "test",
    )
    writer.add_index(["number"])
    writer.write_raw_data(
        [
            {
                "HR": np.full((8, 8, 3), i, np.int32),
                "LR": np.full((2, 2, 3), i, np.int32),
                "name": "x" * i * 50,
                "number": -i << 40,
            }
            for i in range(RECORDS)
        ]
    )
    writer.commit()
    return str(tmp_path / "o.mindrecord")


def test_shards_with_columns_and_an_index_of_their_own(shards):
    assert open_mindrecord(shards + "2").records == RECORDS
    assert [hr[0, 0, 0] for _, hr, _ in EvalData(shards + "1")] == list(range(RECORDS))


@pytest.mark.parametrize(
    "place, value, words",
    [
        (("schema", 0, "desc"), "other", "'schema'"),
        (("page_size",), PAGE_SIZE * 2, "'page_size'"),
        (("shard_addresses",), ["o.mindrecord0", "o.mindrecord1"], "'shard_addresses'"),
        (("more",), 1, "'more'"),
        (("version",), "2.0", "'version'"),
    ],
)
def test_shards_that_contradict_each_other(shards, tmp_path, place, value, words):
    change_header(tmp_path / "o.mindrecord1", place, value)
    with pytest.raises(DataError, match=f"contradicts the other files of its data set .{words}.") as caught:
        train_data(shards + "0")
    assert str(caught.value).startswith(shards + "1")


def test_every_shard_is_checked(shards):
    change_index(shards + "2", "UPDATE INDEXES SET PAGE_OFFSET_BLOB = 1 WHERE ROW_ID = 1")
    refused(shards + "0", "row 1", named=shards + "2.db")
    os.remove(shards + "1.db")
    refused(shards + "0", "no such file", named=shards + "1.db")


# ---------------------------------------------------------------------------------------------------------------------
# Time and memory


def in_a_process(repo, path, limit):
    """(what reading a file says, the memory that it took beyond what there was before, in MB)."""
    code = (
        "import resource, sys\n"
        "from src.dataloader.dataset import DataError, TrainData\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "try:\n"
        "    print(TrainData(sys.argv[1], 4, 2, 32, 7).records)\n"
        "except DataError as error:\n"
        "    print(error)\n"
        "print(peak() - before)\n"
    )
    message, memory = run_python(repo, code, path, limit)
    return message, int(memory)


@pytest.mark.parametrize("unit", [b"[],", b'{"":{"":0}},', b'{"id":0,"offset":0},', b"300,"])
def test_a_header_of_sixteen_megabytes(repo, copy, unit):
    with open(str(copy), "ab") as file:
        file.write(bytes(1 << 24))
    set_header_text(copy, b'{"page":[' + unit * (((1 << 24) - 100) // len(unit)) + b"0]}")
    message, memory = in_a_process(repo, copy, 60)
    assert "not a MindRecord file" in message and memory < 100


def test_an_index_of_a_million_rows(repo, copy):
    """As the table of pages says, too, so that only the rows themselves are wrong."""
    header = header_of(copy)
    header["page"][0]["end_row_id"] = 1000000
    set_header(copy, header)
    change_index(
        copy,
        "DELETE FROM INDEXES",
        "INSERT INTO INDEXES WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999) "
        "SELECT i, 1, 13 * i, 13 * i + 13, 0, 0, 0, 99 FROM n",
    )
    message, memory = in_a_process(repo, copy, 60)
    assert "damaged" in message and memory < 100


def test_a_view_without_an_end(repo, copy):
    change_index(copy, "DROP TABLE INDEXES", VIEW)
    message, memory = in_a_process(repo, copy, 60)
    assert "damaged index" in message and memory < 100
