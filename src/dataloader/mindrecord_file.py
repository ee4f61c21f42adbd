# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindRecord files, checked before MindSpore reads them.

MindSpore believes what a file says of itself. On a wrong length, offset or type its reader crashes the process, hangs,
or takes all memory. So everything that it will look at is compared here with what MindRecord writes. MindSpore has no
part in this.

A file consists of:

- the header of each shard: an 8-byte little-endian length, then JSON with the schema, the shards and a table of pages;
- the index of each shard, an SQLite database `.db` beside it: where each record's two chunks are. Those of one kind of
  page lie one after the other, page by page, from the beginning of a page to its end;
- the chunks: a length (8 bytes, little-endian), then in a RAW page the record's scalars as MessagePack, in a BLOB page
  its images and arrays, each after its own length (8 bytes, big-endian).

The content of images is only looked at when they are decoded. Here only the size that they state is checked.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import reprlib
import sqlite3
import struct
from typing import NamedTuple

import numpy as np

COLUMNS = ("HR", "LR")
PREPARE = "make it anew with `python -m src.dataloader.prepare`"
LARGEST_IMAGE = 1 << 27  # pixels; as 8-bit RGB 400 MB, more than the largest MindRecord page holds uncompressed

_VERSIONS = ("2.0", "3.0")
_MOST_SHARDS = 4096
_HEADER_SIZES, _PAGE_SIZES = (1 << 14, 1 << 27), (1 << 15, 1 << 28)  # MindRecord's own limits
_LARGEST_HEADER = 1 << 24  # bytes of JSON; with 23,000 pages and 600,000 groups of records it takes less
_LARGEST_DESCRIPTION = 3 << 20  # bytes of JSON without the groups; parsing takes up to 30 times as much
_LARGEST_SCALARS = 1 << 20  # bytes of all scalars of a record
_MOST_SEGMENTS = 1 << 12  # that a JPEG file has before the one with its size
_INT64 = (0, (1 << 63) - 1)
_ITEM_SIZES = {"int32": 4, "int64": 8, "float32": 4, "float64": 8}
_TYPES = ("bytes", "string") + tuple(_ITEM_SIZES)
_RAW, _BLOB = "RAW_DATA", "BLOB_DATA"

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80

_GROUP = rb'\{"id":\d{1,10},"offset":\d{1,19}\}'
_GROUPS = re.compile(rb'"row_group_ids":\[(?:' + _GROUP + rb",)*" + _GROUP + rb"\]")

_TABLES = {
    "INDEXES": re.compile(
        r"CREATE TABLE INDEXES\((\s*\w+\s+\w+(\s+NOT NULL)?\s*,)+\s*PRIMARY KEY\(ROW_ID(,\w+)*\)\)", re.ASCII
    ),
    "SHARD_NAME": re.compile(r"CREATE TABLE SHARD_NAME\(NAME\s+TEXT\s+NOT NULL\)"),
}
_ROW = (
    "ROW_ID",
    "ROW_GROUP_ID",
    "PAGE_ID_RAW",
    "PAGE_OFFSET_RAW",
    "PAGE_OFFSET_RAW_END",
    "PAGE_ID_BLOB",
    "PAGE_OFFSET_BLOB",
    "PAGE_OFFSET_BLOB_END",
)
# A value that is no integer comes as NULL, so that a value of a gigabyte is never fetched.
_INTEGERS = ", ".join(f"CASE typeof({name}) WHEN 'integer' THEN {name} END" for name in _ROW)
_ROWS = f"SELECT {_INTEGERS} FROM INDEXES ORDER BY ROW_ID"

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments that hold the size

_MSGPACK_NUMBERS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_MSGPACK_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}

# For each byte of a packed array's map: the bytes that its four numbers take together, 1, 2, 4 or 8 each.
_WIDTHS = bytes(sum(1 << (byte >> shift & 3) for shift in (0, 2, 4, 6)) for byte in range(256))

MindRecordFile = collections.namedtuple("MindRecordFile", "path records encoded damaged")
MindRecordFile.__doc__ = """A MindRecord file that has passed the checks of `open_mindrecord`.

Attributes:
    path: absolute path.
    records: number of records.
    encoded: column name -> True for encoded images, False for arrays.
    damaged: record -> what is wrong with it; empty unless damaged records were to be skipped.
"""


class DataError(ValueError):
    """Data that cannot be used; the message is one line that names the file and what to do."""


class _Page(NamedTuple):
    """A page of one kind: its place in the file, and for BLOB pages its number among them and its records."""

    number: int
    size: int
    group: int
    first: int
    end: int


def open_mindrecord(path, skip_damaged=False):
    """Check a MindRecord file with HR/LR pairs, without MindSpore.

    Time and memory are bounded by what the file could honestly need: nothing in it decides how much is read or kept.

    Args:
        path: the `.mindrecord` file (of several shards, any one), its `.db` index beside it.
        skip_damaged: list records that are damaged instead of raising an error.

    Returns:
        MindRecordFile.

    Raises:
        DataError: the file or its index is missing, renamed, truncated or damaged, or has no columns HR and LR.
    """
    path = os.path.realpath(str(path))
    header = _read_header(path)
    names = header["shard_addresses"]
    if os.path.basename(path) not in names:
        raise DataError(
            f"{path}: was renamed, which MindRecord does not allow; give it and its .db the name "
            f"{_listed(names, ' or ')} back"
        )
    columns = header["schema"][0]["schema"]
    _check_columns(path, columns)
    records, damaged = 0, {}
    for number, name in enumerate(names):
        shard = os.path.join(os.path.dirname(path), name)
        pages = _read_pages(shard, header, number)
        for record, problem in _broken_records(shard, header, pages, records):
            if not skip_damaged:
                raise DataError(f"{shard}: {problem}; copy it again, {PREPARE}, or set datasets.train.skip_damaged")
            damaged[record] = problem
        records += _stored(pages)
    if records == 0:
        raise DataError(f"{path}: has no records; {PREPARE}")
    return MindRecordFile(path, records, {name: columns[name]["type"] == "bytes" for name in COLUMNS}, damaged)


def _check_columns(path, columns):
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path}: has no column {' and no column '.join(missing)} "
            f"(it has {_listed(sorted(columns), ', ')}); {PREPARE}"
        )
    for name in COLUMNS:
        if columns[name]["type"] != "bytes" and "shape" not in columns[name]:
            raise DataError(
                f"{path}: its column {name} holds no images, but one {columns[name]['type']} a record; {PREPARE}"
            )


# ---------------------------------------------------------------------------------------------------------------------
# The header


def _read_header(path):
    """Read the header of one shard, with everything in it of the types and sizes that MindRecord writes."""
    _require_file(path, f"give the path of a MindRecord file or {PREPARE}")
    try:
        with open(path, "rb") as file:
            header = _parse(_header_text(file))
        _check_header(header)
        return header
    except (ValueError, RecursionError) as error:
        raise _not_a_mindrecord(path, error) from None


def _require_file(path, advice):
    if not os.path.isfile(path):
        what = ", only a folder or a device of that name" if os.path.lexists(path) else ""
        raise DataError(f"{path}: no such file{what}; {advice}")


def _not_a_mindrecord(path, reason):
    return DataError(
        f"{path}: not a MindRecord file, or its beginning is damaged ({str(reason)[:200]}); copy it again or {PREPARE}"
    )


def _header_text(file):
    length = _number_at(file, 0, "<Q")
    if length is None or length > _LARGEST_HEADER:
        raise ValueError("no length of a header at its beginning")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it ends within the header")
    # A file made of many images has as many groups of records. Only writers need them.
    text = _GROUPS.sub(b'"row_group_ids":[]', text)
    if len(text) > _LARGEST_DESCRIPTION:
        raise ValueError(f"its header of {length} bytes is too long")
    return text.decode("utf-8")


def _parse(text):
    """Parse JSON as MindRecord writes it: every key once, whole numbers of 64 bits.

    Other JSON is read in different ways by different programs.
    """
    return json.loads(
        text, object_pairs_hook=_unique, parse_int=_parse_int, parse_float=_refuse_number, parse_constant=_refuse_number
    )


def _unique(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key comes twice in its header")
    return result


def _parse_int(digits):
    return int(digits) if len(digits) <= 20 else _refuse_number(digits)


def _refuse_number(text):
    raise ValueError(f"its header has the number {_short(text)}")


def _check_header(header):
    _expect(isinstance(header, dict), "header", header)
    _expect(header.get("version") in _VERSIONS, "version", header.get("version"))
    for key, limits in (("header_size", _HEADER_SIZES), ("page_size", _PAGE_SIZES)):
        _expect(_is_whole(header.get(key), *limits), key, header.get(key))
    _expect(_is_whole(header.get("compression_size", 0), *_INT64), "compression_size", header.get("compression_size"))
    _expect({"index_fields", "statistics"} <= set(header), "header", "without a table that MindSpore asks for")
    _expect(header["statistics"] is None, "statistics", header["statistics"])
    _expect(isinstance(header.get("page"), list), "page", header.get("page"))
    _check_shard_names(header.get("shard_addresses"))
    _check_schema(header.get("schema"))
    _check_index_fields(header["index_fields"], header["schema"][0]["schema"])


def _check_shard_names(names):
    _expect(isinstance(names, list) and 1 <= len(names) <= _MOST_SHARDS, "shard_addresses", names)
    for name in names:
        # Only files beside this one: MindRecord never writes a name that leads elsewhere, or to no file at all.
        _expect(
            isinstance(name, str)
            and 1 <= len(name) <= 255
            and name.isprintable()
            and name not in (".", "..")
            and not set(name) & set("/\\"),
            "shard_addresses",
            name,
        )
    _expect(len(set(names)) == len(names), "shard_addresses", names)


def _check_schema(schemas):
    _expect(isinstance(schemas, list) and len(schemas) == 1 and isinstance(schemas[0], dict), "schema", schemas)
    schema, columns = schemas[0], schemas[0].get("schema")
    _expect(isinstance(schema.get("desc"), str), "desc", schema.get("desc"))
    _expect(isinstance(columns, dict) and columns, "schema", columns)
    for name, column in columns.items():
        _expect(re.match(r"[0-9A-Za-z_-]{1,255}\Z", name), "name of a column", name)
        _expect(_is_column(column), f"column {name}", column)
    blobs = sorted(name for name, column in columns.items() if column["type"] == "bytes" or "shape" in column)
    _expect(schema.get("blob_fields") == blobs, "blob_fields", schema.get("blob_fields"))


def _is_column(column):
    if not isinstance(column, dict) or column.get("type") not in _TYPES:
        return False
    return set(column) == {"type"} or (
        set(column) == {"type", "shape"} and column["type"] in _ITEM_SIZES and _is_shape(column["shape"])
    )


def _is_shape(shape):
    """Tell whether this is a list of sides from 1, one of which may be -1, for any."""
    return (
        isinstance(shape, list)
        and 1 <= len(shape) <= 8
        and all(_is_whole(side, -1, 1 << 31) for side in shape)
        and 0 not in shape
        and shape.count(-1) <= 1
        and abs(_product(shape)) < 1 << 31
    )


def _check_index_fields(fields, columns):
    _expect(fields is None or isinstance(fields, list), "index_fields", fields)
    for field in fields or ():
        _expect(isinstance(field, dict) and _is_whole(field.get("schema_id"), 0, 0), "index_fields", field)
        name = field.get("index_field")
        _expect(
            isinstance(name, str)
            and name in columns
            and columns[name]["type"] != "bytes"
            and "shape" not in columns[name],
            "index_fields",
            field,
        )


def _is_whole(value, smallest, largest):
    return type(value) is int and smallest <= value <= largest  # pylint: disable=unidiomatic-typecheck


def _expect(condition, key, value):
    if not condition:
        raise ValueError(f"its {key} is {_short(value)}")


def _short(value):
    """Return a value of the file for a message: one line, not long, whatever it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _listed(names, link):
    return link.join([name[:80] for name in names[:4]] + ["..."] * (len(names) > 4))


def _product(shape):
    result = 1
    for side in shape:
        result *= side
    return result


# ---------------------------------------------------------------------------------------------------------------------
# The table of pages


def _read_pages(path, header, number):
    """Read the table of pages of a shard, whose header must agree with the header given.

    Args:
        path: the shard.
        header: header of the file that was opened.
        number: number of the shard, from 0.

    Returns:
        {kind: list of _Page}.

    Raises:
        DataError: the table is damaged, the shard is truncated, or it contradicts the header.
    """
    own = _read_header(path)
    for key in set(header) | set(own):
        if key not in ("page", "shard_id") and header.get(key) != own.get(key):
            raise DataError(
                f"{path}: contradicts the other files of its data set ({_short(key)}); copy all of them "
                f"again or {PREPARE}"
            )
    pages = {_RAW: [], _BLOB: []}
    try:
        for place, page in enumerate(own["page"]):
            _expect(_is_page(page, place, number, header["page_size"]), f"page {place}", page)
            before = pages[page["page_type"]]
            if page["page_type"] == _BLOB:
                follows = page["page_type_id"], page["start_row_id"]
                _expect(follows == (len(before), before[-1].end if before else 0), f"page {place}", page)
            before.append(_Page(place, page["page_size"], len(before), page["start_row_id"], page["end_row_id"]))
    except ValueError as error:
        raise _not_a_mindrecord(path, error) from None
    _check_complete(path, own, max(pages[_RAW][-1:] + pages[_BLOB][-1:], default=None))
    return pages


def _is_page(page, place, shard, largest):
    numbers = "page_type_id", "start_row_id", "end_row_id"
    return (
        isinstance(page, dict)
        and page.get("page_type") in (_RAW, _BLOB)
        and _is_whole(page.get("page_id"), place, place)
        and _is_whole(page.get("shard_id"), shard, shard)
        and _is_whole(page.get("page_size"), 0, largest)
        and _are_groups(page.get("row_group_ids"))
        and all(_is_whole(page.get(key), *_INT64) for key in numbers)
        and page["start_row_id"] <= page["end_row_id"]
    )


def _are_groups(groups):
    return isinstance(groups, list) and all(
        isinstance(group, dict) and _is_whole(group.get("id"), *_INT64) and _is_whole(group.get("offset"), *_INT64)
        for group in groups
    )


def _check_complete(path, header, last):
    """Compare the size of a shard with the end of its last page."""
    expected = header["header_size"]
    if last is not None:
        expected += last.number * header["page_size"] + last.size
    actual = os.path.getsize(path)
    if actual < expected:
        raise DataError(f"{path}: truncated, {actual} of {expected} bytes; copy it again or {PREPARE}")


def _stored(pages):
    return pages[_BLOB][-1].end if pages[_BLOB] else 0


class _Walk:
    """A walk along the chunks of one kind, which fill its pages without a gap."""

    def __init__(self, pages):
        self.pages, self.page, self.end = iter(pages), None, 0

    def takes(self, number, begin, end):
        """Tell whether a chunk from `begin` to `end` of a page is the next one."""
        if self.page is None or self.end == self.page.size:
            self.page, self.end = next(self.pages, None), 0
        good = (
            self.page is not None
            and number == self.page.number
            and begin == self.end
            and end is not None
            and begin + 8 <= end <= self.page.size
        )
        self.end = end
        return good

    def is_over(self):
        return (self.page is None or self.end == self.page.size) and next(self.pages, None) is None


# ---------------------------------------------------------------------------------------------------------------------
# The index


def _index_rows(index, path, stored, has_fields):
    """Yield the rows of an index, in order: the values of `_ROW`, with None for whatever is no integer.

    Args:
        index: the index.
        path: its shard.
        stored: number of records in the shard.
        has_fields: whether columns of the data are part of the index.

    Raises:
        DataError: the index is missing, damaged or of another file.
    """
    _check_index_file(index, path, stored, has_fields)
    try:
        with contextlib.closing(
            sqlite3.connect(pathlib.Path(index).as_uri() + "?mode=ro", uri=True, timeout=1)
        ) as database:
            # A damaged database can have loops. A row takes fewer than a hundred steps.
            budget = iter(range(10 + stored // 10000))
            database.set_progress_handler(lambda: next(budget, None) is None, 1000000)
            _check_tables(database)
            names = database.execute("SELECT NAME FROM SHARD_NAME LIMIT 2").fetchall()
            (count,) = database.execute("SELECT COUNT(*) FROM INDEXES").fetchone()
            if names != [(os.path.basename(path),)] or count != stored:
                name = ", ".join(_short(name).strip("'") for (name,) in names)
                raise DataError(
                    f"{index}: index of another file ({name}, {count} records) than {path} ({stored} "
                    f"records); copy both again or {PREPARE}"
                )
            yield from database.execute(_ROWS)
    except (sqlite3.Error, UnicodeError, _IndexProblem) as error:  # UnicodeError: from SQLite's own messages
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{index}: damaged index, or in use by another program ({reason}); copy it again with its "
            f".mindrecord or {PREPARE}"
        ) from None


class _IndexProblem(Exception):
    """What is wrong with an index."""


def _check_index_file(index, path, stored, has_fields):
    _require_file(index, f"it is the index that belongs beside {path}, copy both")
    real = os.path.realpath(index)
    for unfinished in (real + "-journal", real + "-wal"):
        if os.path.lexists(unfinished):
            raise DataError(
                f"{index}: beside it is {os.path.basename(unfinished)}, so it is being written or was "
                f"not finished; copy it again or {PREPARE}"
            )
    with open(index, "rb") as file:
        head = file.read(20)
    if head[:16] != b"SQLite format 3\0" or head[18:] != b"\1\1":  # 2: a log beside it, which reading would make
        raise DataError(
            f"{index}: damaged index, it does not begin as MindRecord's; copy it again with its "
            f".mindrecord or {PREPARE}"
        )
    # A row holds texts where columns are part of the index. Otherwise it takes about 60 bytes.
    largest = (1 << 20) + stored * (4096 if has_fields else 256)
    if os.path.getsize(index) > largest:
        raise DataError(
            f"{index}: damaged index, too large for {stored} records; copy it again with its .mindrecord or {PREPARE}"
        )


def _check_tables(database):
    """Check that a database has MindRecord's own tables only.

    What a view, a computed column or a virtual table gives is not in the file.
    """
    entries = database.execute("SELECT type, name, sql FROM sqlite_master LIMIT 10").fetchall()
    tables = {name: sql for kind, name, sql in entries if kind == "table"}
    if len(entries) != 3 or set(tables) != set(_TABLES) or ("index", "sqlite_autoindex_INDEXES_1", None) not in entries:
        raise _IndexProblem("it has other tables than MindRecord's")
    for name, pattern in _TABLES.items():
        if not isinstance(tables[name], str) or not pattern.fullmatch(tables[name]):
            raise _IndexProblem(f"its table {name} is not MindRecord's")
    (problem,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise _IndexProblem(problem)


# ---------------------------------------------------------------------------------------------------------------------
# The records


def _broken_records(path, header, pages, first):
    """Yield (record, what is wrong with it) for the damaged records of a shard.

    Args:
        path: the shard.
        header: its header.
        pages: {kind: list of _Page}.
        first: number of the shard's first record.

    Raises:
        DataError: something is wrong that concerns more than one record.
    """
    schema, index = header["schema"][0], path + ".db"
    columns = schema["schema"]
    checks = [
        (name, _column_check(columns[name], header["version"]) if name in COLUMNS else None)
        for name in schema["blob_fields"]
    ]
    walks = {kind: _Walk(pages[kind]) for kind in pages}
    rows = _index_rows(index, path, _stored(pages), bool(header.get("index_fields")))
    good_scalars = b""
    with open(path, "rb", buffering=0) as file:
        for expected, row in enumerate(rows):
            if not _is_row(row, expected, walks):
                raise DataError(
                    f"{index}: damaged index, row {expected} is no place of a record; copy it again with "
                    f"its .mindrecord or {PREPARE}"
                )
            raw, blob = (
                header["header_size"] + page * header["page_size"] + begin for page, begin in (row[2:4], row[5:7])
            )
            scalars = _chunk(file, raw, row[4] - row[3])
            if scalars is None or not (scalars == good_scalars or _are_scalars(scalars, len(columns))):
                raise DataError(f"{path}: damaged at byte {raw}; copy it again or {PREPARE}")
            good_scalars = scalars
            problem = _record_problem(file, blob, row[7] - row[6], checks, first + expected)
            if problem is not None:
                yield first + expected, problem
    if not all(walk.is_over() for walk in walks.values()):
        raise DataError(
            f"{index}: damaged index, it leaves out a part of {path}; copy it again with its .mindrecord or {PREPARE}"
        )


def _is_row(row, expected, walks):
    number, group, *places = row
    if number != expected or not walks[_RAW].takes(*places[:3]) or not walks[_BLOB].takes(*places[3:]):
        return False
    page = walks[_BLOB].page
    return group == page.group and page.first <= number < page.end


def _chunk(file, place, length):
    """Return a chunk of scalars without the length that it begins with; None if that length is not the chunk's."""
    if length > _LARGEST_SCALARS:
        return None
    file.seek(place)
    chunk = file.read(length)
    return chunk[8:] if len(chunk) == length and struct.unpack("<Q", chunk[:8])[0] == length - 8 else None


def _are_scalars(content, most):
    """Tell whether MessagePack is what MindRecord writes: a map of at most `most` texts to numbers or texts."""
    try:
        first = content[0]
        if first & 0xF0 == 0x80:
            count, place = first & 0x0F, 1
        else:
            size = {0xDE: 2, 0xDF: 4}[first]
            count, place = int.from_bytes(content[1 : 1 + size], "big"), 1 + size
        if count > most:
            return False
        for _ in range(count):
            place = _after_scalar(content, _after_scalar(content, place, only_text=True))
        return place == len(content)
    except (IndexError, KeyError):
        return False


def _after_scalar(content, place, only_text=False):
    first = content[place]
    if 0xA0 <= first < 0xC0:
        return place + 1 + first - 0xA0
    if first in _MSGPACK_TEXTS:
        size = _MSGPACK_TEXTS[first]
        return place + 1 + size + int.from_bytes(content[place + 1 : place + 1 + size], "big")
    if only_text:
        raise KeyError(first)
    return place + 1 + (0 if first < 0x80 or first >= 0xE0 else _MSGPACK_NUMBERS[first])


def _record_problem(file, start, length, checks, record):
    """Say what is wrong with a chunk of images and arrays; None if nothing is."""
    end, place = start + length, start + 8
    if _number_at(file, start, "<Q") != length - 8:
        return f"damaged at byte {start}, in record {record}"
    values = []
    for _ in checks:
        file.seek(place)
        head = file.read(32)
        size = struct.unpack(">Q", head[:8])[0] if len(head) >= 8 else end
        if place + 8 + size > end:
            return f"damaged at byte {place}, in record {record}"
        values.append((place + 8, size, head[8 : 8 + size]))
        place += 8 + size
    if place != end:
        return f"damaged at byte {place}, in record {record}"
    problems = ((name, check(file, *value)) for (name, check), value in zip(checks, values) if check)
    return next((f"{name} of record {record} {problem}" for name, problem in problems if problem), None)


def _number_at(file, place, form):
    file.seek(place)
    content = file.read(8)
    return struct.unpack(form, content)[0] if len(content) == 8 else None


def _column_check(column, version):
    """Return the check of a column's values.

    Args:
        column: the column's entry in the schema.
        version: the file's version.

    Returns:
        function of (file, place, size, the value's beginning) that says what is wrong with a value; None: nothing is.
    """
    if column["type"] == "bytes":
        return _image_problem
    shape, kind = column["shape"], column["type"]
    packed = version != "2.0" and kind.startswith("int")  # since 3.0 integers take as few bytes as they need
    count_in = _packed_count if packed else lambda file, place, size, head: _plain_count(size, _ITEM_SIZES[kind])

    def check(file, place, size, head):
        count, expected = count_in(file, place, size, head), _product(shape)
        fits = count == expected or (expected < 0 and count is not None and count > 0 and count % -expected == 0)
        if not fits:
            return f"is damaged: no array of {kind} {shape}"
        return _too_large(count // 3, f"{count} numbers")

    return check


def _plain_count(size, item_size):
    return None if size % item_size else size // item_size


def _packed_count(file, place, size, head):
    """Return the number of integers in a packed array, or None if they do not fill it.

    A packed array begins with that number (4 bytes, big-endian). Then comes a map with two bits for each integer, which
    say whether it takes 1, 2, 4 or 8 bytes.
    """
    count = int.from_bytes(head[:4], "big")
    left = (count + 3) // 4
    used = 4 + left - (-count) % 4  # the map's last byte is filled up with absent numbers of one byte
    if len(head) < 4 or 4 + left + count > size:
        return None
    file.seek(place + 4)
    while left > 0:
        part = file.read(min(left, 1 << 16))
        if not part:
            return None
        used += int(np.add.reduce(np.frombuffer(part.translate(_WIDTHS), np.uint8), dtype=np.uint32))
        left -= len(part)
    return count if used == size else None


def _image_problem(file, place, size, head):
    height_width = _image_size(file, place, size, head)
    if height_width is None or min(height_width) == 0:
        return "cannot be read as an image: it is neither PNG nor JPEG"
    height, width = height_width
    return _too_large(height * width, f"{height}x{width} pixels")


def _too_large(pixels, size):
    return f"has {size}, more than {LARGEST_IMAGE} pixels are not read" if pixels > LARGEST_IMAGE else None


def _image_size(file, place, size, head):
    """Return (height, width) as a PNG or JPEG image says, None for anything else."""
    if head[:16] == _PNG and len(head) == 24:
        width, height = struct.unpack(">II", head[16:])
        return height, width
    end, place = place + size, place + 2
    for _ in range(_MOST_SEGMENTS if head[:3] == _JPEG else 0):
        file.seek(place)
        segment = file.read(9)
        if len(segment) < 9 or place + 9 > end or segment[0] != 0xFF or segment[1] in (0xD9, 0xDA):
            break
        if segment[1] in _JPEG_SIZES:
            return struct.unpack(">HH", segment[5:])
        place += 1 if segment[1] == 0xFF else 2 + struct.unpack(">H", segment[2:4])[0]
    return None
