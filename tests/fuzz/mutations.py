# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What can happen to a file, and what somebody who means harm does to one. All take a random.Random first."""

import copy
import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
import zlib

EXTREMES = (
    0,
    1,
    127,
    128,
    255,
    256,
    2**15 - 1,
    2**16 - 1,
    2**20,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
WORDS = (
    b"0",
    b"-1",
    b"1",
    b"1000000",
    b"99999999999",
    b"9" * 30,
    b"9" * 5000,
    b"1e999",
    b"-0.0",
    b"NaN",
    b"Infinity",
    b"",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"\xff\xfe"',
    b"\0",
    b"\n",
    "é\u2028".encode(),
)
JSON_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    10**6,
    10**7,
    20000,
    2**31,
    2**63,
    10**30,
    10**400,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "0",
    "\0",
    "a\nb",
    "\ud800",
    "x" * 5000,
    "../../etc/passwd",
    [],
    {},
    [[]],
    [0] * 1000,
    {"": None},
    [1, 2, 3],
)


# ---------------------------------------------------------------------------------------------------------------------
# Bytes


def mutate_bytes(random, content, others=()):
    """One to four of the mutations below, one after the other; others: contents to take parts of."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(BYTE_MUTATIONS)(random, content, others)
    return content


def flip_bits(random, content, _):
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random, content, _):
    return content[: random.choice((random.randrange(len(content) + 1), random.randrange(min(len(content), 64) + 1)))]


def remove_span(random, content, _):
    start, end = _span(random, content)
    return content[:start] + content[end:]


def repeat_span(random, content, _):
    start, end = _span(random, content)
    times = random.choice((1, 1, 2, 10, max(1, min(1000, 2**20 // max(1, end - start)))))
    return content[:end] + content[start:end] * times + content[end:]


def insert_noise(random, content, _):
    place, length = random.randrange(len(content) + 1), random.choice((1, 2, 4, 8, 100, 5000))
    noise = bytes(length) if random.random() < 0.3 else bytes(random.getrandbits(8) for _ in range(length))
    return content[:place] + noise + content[place:]


def splice(random, content, others):
    other = random.choice(list(others) or [content])
    return content[: _span(random, content)[0]] + other[_span(random, other)[0] :]


def extreme_number(random, content, _):
    """A binary number at any place becomes an extreme one."""
    size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    if len(content) < size:
        return content
    place = random.randrange(min(len(content) - size + 1, random.choice((64, 512, len(content)))))
    number = random.choice(EXTREMES) % 2 ** (8 * size)
    return content[:place] + number.to_bytes(size, order) + content[place + size :]


def extreme_text(random, content, _):
    """A number or word written out becomes an extreme one."""
    found = list(re.finditer(rb"[-+.\w]+", content[: 2**16]))
    if not found:
        return content
    match = random.choice(found)
    return content[: match.start()] + random.choice(WORDS) + content[match.end() :]


BYTE_MUTATIONS = (
    flip_bits,
    flip_bits,
    truncate,
    remove_span,
    repeat_span,
    insert_noise,
    splice,
    extreme_number,
    extreme_number,
    extreme_text,
)


def _span(random, content):
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 2, 4, 8, 16, 100, 1000, len(content))))


# ---------------------------------------------------------------------------------------------------------------------
# JSON, and what holds it


def mutate_json(random, value):
    """A copy with one to three nodes changed, removed, renamed, repeated or nested."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return random.choice(JSON_VALUES)
        parent, key = random.choice(places)
        change = random.randrange(6)
        if change == 0:
            del parent[key]
        elif change == 1 and isinstance(parent, dict):
            parent[random.choice(("", "__srflow__", key + "x", "x" * 300, "0"))] = parent.pop(key)
        elif change == 2 and isinstance(parent, list):
            parent.extend([parent[key]] * random.choice((1, 100, 10000)))
        elif change == 3:
            parent[key] = nested(random, parent[key])
        elif change == 4:
            parent[key] = copy.deepcopy(random.choice(places)[0])
        else:
            parent[key] = random.choice(JSON_VALUES)
    return value


def nested(random, value):
    for _ in range(random.choice((1, 2, 50, 400))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _places(value):
    """(container, key) of every node below `value`."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(entries):
        yield value, key
        yield from _places(child)


def mutate_json_lines(random, content, _=()):
    """In one or more lines; or lines exchanged, repeated, deeply nested."""
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 2))):
        number = random.randrange(len(lines))
        change = random.randrange(5)
        if change == 0:
            lines[number] = random.choice(("", "[]", "null", "{", "[" * 100000, "1" * 10000, "NaN", '"\\ud800"', "\0"))
        elif change == 1:
            lines.insert(number, random.choice(lines))
        else:
            try:
                lines[number] = json.dumps(mutate_json(random, json.loads(lines[number])))
            except (ValueError, RecursionError):  # what an earlier round has made of it
                lines[number] = ""
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n" * random.randrange(2)


def mutate_safetensors(random, content, _=()):
    """The JSON header; or entries with what belongs to them; or metadata. Lengths and places are right again."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length].decode()), content[8 + length :]
    metadata = header.pop("__metadata__", None)
    if metadata and random.random() < 0.7:
        metadata = _mutate_metadata(random, metadata)
    elif random.random() < 0.4:
        header = mutate_json(random, header)
    else:
        entries = [
            [name, entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]]
            for name, entry in header.items()
        ]
        for _ in range(random.choice((1, 1, 3))):
            _mutate_tensor(random, entries)
        header, data = {}, b""
        for name, kind, shape, part in entries:
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
            data += part
    if metadata and isinstance(header, dict):
        header["__metadata__"] = metadata
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def _mutate_metadata(random, metadata):
    """Of a file that describes itself: texts removed or made extreme, and the JSON among them changed."""
    metadata, change = dict(metadata), random.randrange(4)
    key = random.choice(sorted(metadata))
    if change == 0:
        del metadata[key]
    elif change == 1:
        metadata[key] = random.choice(
            (
                "",
                "0",
                "-1",
                "9" * 30,
                "NaN",
                "{}",
                "[" * 10**5,
                '{"a":' * 9000,
                "x" * 10**6,
                "\n\x1b[2J",
                "\ud800",
                1,
                None,
            )
        )
    else:
        options = json.loads(metadata["options"])
        if change == 2:
            options = mutate_json(random, options)
        else:
            network = options["network_G"]
            target = random.choice((options, network, network["flow"], options["datasets"]["train"]))
            target[random.choice(sorted(target))] = random.choice((0, 128, 256, 10**4, 10**6, 2**62, 1e-40, "x"))
        metadata["options"] = json.dumps(options)
    return metadata


def _mutate_tensor(random, entries):
    """entries: [name, dtype, shape, data] each."""
    if not entries:
        return
    entry, change = random.choice(entries), random.randrange(6)
    if change == 0:
        entries.remove(entry)
    elif change == 1:
        entry[0] = random.choice(
            (
                entry[0].replace("0", "99999"),
                entry[0].replace("1", "0"),
                "module." + entry[0],
                "flowUpsamplerNet.layers.3.x",
                "RRDB.upconv9.weight",
                "",
                "a\nb",
                "é" * 3000,
            )
        )
    elif change == 2:
        entry[1] = random.choice(("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X"))
    elif change == 3:  # no numbers, whatever the other sides
        entry[2], entry[3] = [random.choice((0, 1, 10**6, 2**31, 2**62)) for _ in range(4)], b""
        entry[2][random.randrange(4)] = 0
    elif change == 4:
        entry[2] = random.choice((entry[2][::-1], [1] * 33, [1] * 10000, entry[2] + [1], [], [2**63], [2**32] * 2))
    else:
        entry[3] = random.choice((entry[3][:-4], entry[3] * 2, b"\xff" * len(entry[3]), b""))


# ---------------------------------------------------------------------------------------------------------------------
# Pickled programs and their archives


def mutate_pickle(random, program):
    """Operations removed, repeated, exchanged, inserted; numbers and texts made extreme."""
    places = [place for _, _, place in pickletools.genops(program)] + [len(program)]
    pieces = [program[start:end] for start, end in zip(places, places[1:])]
    for _ in range(random.choice((1, 1, 2, 5))):
        number = random.randrange(len(pieces))
        change = random.randrange(7)
        if change == 0:
            del pieces[number : number + random.choice((1, 1, 2, 10))]
        elif change == 1:
            pieces[number:number] = pieces[number : number + random.choice((1, 2, 10))] * random.choice((1, 2, 1000))
        elif change == 2:
            other = random.randrange(len(pieces))
            pieces[number], pieces[other] = pieces[other], pieces[number]
        elif change == 3:
            pieces.insert(number, random.choice(OPERATIONS))
        elif change == 4:
            pieces[number:number] = memo_bomb(random)
        else:
            numbers = [place for place, piece in enumerate(pieces) if piece[:1] in b"KMJ\x8aX"]
            if numbers:
                pieces[random.choice(numbers)] = random.choice(PICKLED_VALUES)
        if not pieces:
            return b"."
    return b"".join(pieces)


def memo_bomb(random):
    """One list, remembered, becomes many dictionaries or tuples by few bytes each."""
    pairs = b"".join(b"(X\x05\x00\x00\x00%05dK\x00t" % number for number in range(random.choice((10, 1000))))
    made = random.choice((b"ccollections\nOrderedDict\nh\xf0\x85R", b"h\xf0h\xf0\x86q\xf0", b"h\xf0"))
    return [b"](" + pairs + b"eq\xf0"] + [made] * random.choice((10, 5000, 40000))


OPERATIONS = (
    b"(",
    b"t",
    b"]",
    b"}",
    b")",
    b"a",
    b"e",
    b"s",
    b"u",
    b"R",
    b"b",
    b"Q",
    b".",
    b"0",
    b"2",
    b"N",
    b"\x88",
    b"\x85",
    b"\x86",
    b"\x87",
    b"q\x00",
    b"h\x00",
    b"h\xff",
    b"r\xff\xff\xff\xff",
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"\x93",
    b"\x94",
    b"\x8f",
    b"\x81",
    b"o",
    b"P1\n",
    b"I99\n",
    b"L" + b"9" * 9999 + b"L\n",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"B\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"V" + b"\\u0000" * 9 + b"\n",
)
PICKLED_VALUES = (
    b"K\x00",
    b"K\x01",
    b"K\xff",
    b"M\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8a\x0a" + b"\xff" * 9 + b"\x7f",
    b"\x8a\xff" + b"\x7f" * 255,
    b"G\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"N",
    b"\x88",
    b"]",
    b"}",
    b")",
    b"X\x00\x00\x00\x00",
    b"X\x03\x00\x00\x00a\nb",
    b"X\x02\x00\x00\x00\xff\xfe",
    b"X\x88\x13\x00\x00" + b"y" * 5000,
)


def mutate_torch_zip(random, content, _=()):
    """The program, or the archive around it; checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    compression, number = zipfile.ZIP_STORED, random.randrange(len(entries))
    change = random.randrange(8)
    name, data = entries[number]
    if change == 0:
        del entries[number]
    elif change == 1:
        name = random.choice(("../" + name, name + "\0x", name.upper(), "", "a/b/data.pkl", name * 50))
        entries[number] = (name, data)
    elif change == 2:
        entries[number] = (name, mutate_bytes(random, data))
    elif change == 3:
        entries.append(random.choice(entries))
    else:
        at = next(place for place, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
        program = mutate_pickle(random, entries[at][1])
        if random.random() < 0.1:  # well compressible: little in the file, much in memory
            many = random.choice((b"\0", b"(", b"]", b"N", b"}", b"K\0")) * 10 ** random.choice((5, 6, 7))
            program = random.choice((program + many, program[:2] + many + program[2:]))
            compression = zipfile.ZIP_DEFLATED
        entries[at] = (entries[at][0], program)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", random.choice((compression, compression, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in entries:
            with warnings.catch_warnings():  # of names that are there twice
                warnings.simplefilter("ignore")
                archive.writestr(zipfile.ZipInfo(name), data, archive.compression)
    return made.getvalue()


def mutate_torch_legacy(random, content, _=()):
    """One of the programs that the older format begins with."""
    start = 0
    programs = []
    file = io.BytesIO(content)
    for _ in range(5):
        for _ in pickletools.genops(file):
            pass
        programs.append(content[start : file.tell()])
        start = file.tell()
    number = random.choice((0, 1, 2, 3, 3, 3, 3, 4))
    programs[number] = mutate_pickle(random, programs[number])
    return b"".join(programs) + content[start:]


# ---------------------------------------------------------------------------------------------------------------------
# YAML


def mutate_yaml(random, content, _=()):
    """Text that YAML has a meaning for, put at a line's end or in place of a line."""
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 2))):
        number = random.randrange(len(lines))
        indent = re.match(r" *", lines[number]).group()
        change = random.randrange(4)
        if change == 0:
            lines[number] = indent + random.choice(YAML_LINES)
        elif change == 1:
            lines[number] = f"{lines[number].split(':')[0]}: {random.choice(YAML_VALUES)}"
        elif change == 2:
            lines[:0] = multiplying_aliases(random)
        else:
            lines[number] = lines[number].split(":")[0] + ": "
            lines[number] += random.choice(("[", "{a: ")) * random.choice((10, 300, 5000))
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"


def multiplying_aliases(random):
    """Each line names the one before it several times: by lists, by mappings or by merged mappings."""
    depth, width, kind = random.choice((3, 6, 9, 20)), random.choice((2, 9)), random.randrange(3)
    lines = ["x0: &x0 " + ("[lol, lol]" if kind == 0 else "{k0: v, k1: v}")]
    for level in range(1, depth):
        named = [f"*x{level - 1}"] * width
        if kind == 0:
            value = f"[{', '.join(named)}]"
        elif kind == 1:
            value = f"{{{', '.join(f'a{number}: {name}' for number, name in enumerate(named))}}}"
        else:
            value = f"{{<<: [{', '.join(named)}]}}"
        lines.append(f"x{level}: &x{level} {value}")
    target = random.choice(("scale", "heat", "train", "network_G", "datasets", "train", "zzz"))
    return lines + [f"{target}: *x{depth - 1}"]


YAML_LINES = (
    "? [a, b]\n: c",
    "<<: *none",
    "&a a: *a",
    "!!python/object/apply:os.system [true]",
    "--- ",
    "...",
    "%YAML 9.9",
    "{a: b, a: c}",
    "\t- x",
    "'",
    '"',
    "|",
    ">",
    "- " * 500,
    "? ",
    ": ",
    "null: null",
    "1: 1",
    "\ufeffscale: 4",
    "\0",
    "scale: 4\nscale: 4",
    "&x [*x]",
    "a: &x {b: *x}",
    "<<: {a: 1}",
    "<<: [1, 2]",
    "<<: 1",
)
YAML_VALUES = (
    "1e999",
    ".inf",
    ".nan",
    "0x" + "f" * 5000,
    "9" * 5000,
    "0o7",
    "1:2:3:4:5" + ":59" * 2000,
    "2001-01-01",
    "2001-99-99 99:99:99",
    "!!binary '#'",
    "!!int x",
    "!!float x",
    "!!timestamp x",
    "!!set {a, b}",
    "!!omap [a]",
    "!!null x",
    "!!bool x",
    "!x y",
    "[&a [*a]]",
    "'a\n\n\nb'",
    "x" * 100000,
    "-1",
    "[]",
    "{}",
    "~",
    "''",
    "[1, 2, 2]",
    "0.0",
    "1e-400",
    "[1e400]",
    "é\u2028",
    '"\\ud800"',
    '"\\0"',
    "?",
    "*none",
    "&a",
)


# ---------------------------------------------------------------------------------------------------------------------
# Comma-separated values, PNG


CELLS = (b'"', b'"a""', b"\r", b"\xb2", "٣".encode(), b"x" * 200000, b"nan", b"-inf")


def mutate_csv(random, content, _=()):
    rows = [line.split(b",") for line in content.split(b"\n")]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows)
        cell, change = random.randrange(len(row)), random.randrange(5)
        if change == 0:
            rows.remove(row) if len(rows) > 1 else None
        elif change == 1:
            rows.insert(random.randrange(len(rows)), list(random.choice(rows)))
        elif change == 2:
            row[cell:cell] = [random.choice(WORDS)] * random.choice((1, 1, 5000))
        else:
            row[cell] = random.choice(WORDS + CELLS)
    return b"\n".join(b",".join(row) for row in rows)


def mutate_png(random, content, _=()):
    """A chunk, its checksum set right again; other images as `mutate_bytes` does."""
    if not content.startswith(b"\x89PNG"):
        return mutate_bytes(random, content)
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append([content[place + 4 : place + 8], content[place + 8 : place + 8 + length]])
        place += length + 12
    chunk = random.choice(chunks[:1] * 3 + chunks)
    change = random.randrange(5)
    if change == 0:
        chunk[1] = mutate_bytes(random, chunk[1])
    elif change == 1:
        chunks.insert(random.randrange(len(chunks)), list(random.choice(chunks)))
    elif change == 2 and chunk[0] == b"IHDR":
        sides = [random.choice((1, 2, 10000, 30000, 65535, 10**6, 2**31 - 1)) for _ in range(2)]
        chunk[1] = struct.pack(">II", *sides) + chunk[1][8:]
    elif change == 3:
        kind = random.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"PLTE", b"tRNS", b"gAMA", b"acTL", b"fcTL"))
        data = random.choice((b"", b"a\0\0" + zlib.compress(bytes(10**7)), bytes(10000), b"II*\0" + b"\xff" * 40))
        chunks.insert(1, [kind, data])
    else:
        chunk[1] = extreme_number(random, chunk[1], ())
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return content[:8] + b"".join(packed)
