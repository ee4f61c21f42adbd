# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The data pipeline: order, determinism, continuation, ranks, both forms of file, and unusable files."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mindspore.mindrecord import FileWriter
from skimage.data import astronaut

from src.dataloader import mindrecord_file
from src.dataloader.dataset import DataError, EvalData, TrainData, open_mindrecord
from src.dataloader.prepare import prepare, prepare_images
from src.imresize import imresize

SCALE = 4
RECORDS = 12


def patches(count=RECORDS, side=32):
    """HR patches whose first pixel is their number."""
    image = astronaut()
    crops = [np.array(image[20 * i : 20 * i + side, 200 : 200 + side]) for i in range(count)]
    for number, crop in enumerate(crops):
        crop[0, 0] = number
    return crops


def write(path, pairs, schema=None, columns=("HR", "LR"), shards=1):
    """A MindRecord of raw pairs: bytes, or arrays with the schema given for both columns."""
    writer = FileWriter(str(path), shard_num=shards)
    writer.set_header_size(1 << 16)
    writer.set_page_size(1 << 20)
    writer.add_schema(dict(zip(columns, schema or ({"type": "bytes"},) * 2)), "test")
    writer.write_raw_data([dict(zip(columns, pair)) for pair in pairs])
    writer.commit()
    return str(path)


def png(image):
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def array_schema(dtype="int32", hr=32, lr=8):
    return [{"type": dtype, "shape": [side, side, 3]} for side in (hr, lr)]


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    """A folder with bytes.mindrecord and array.mindrecord, the same 12 pairs of 32x32 and 8x8."""
    folder = tmp_path_factory.mktemp("mindrecords")
    images = [(f"patch {number}", patch) for number, patch in enumerate(patches())]
    for form in ("bytes", "array"):
        prepare_images(images, folder / (form + ".mindrecord"), SCALE, patch=32, per_image=1, form=form, progress=False)
    return folder


@pytest.fixture(name="path")
def fixture_path(folder):
    return str(folder / "bytes.mindrecord")


@pytest.fixture(name="copy")
def fixture_copy(folder, tmp_path):
    """A copy that a test may damage."""
    for suffix in ("", ".db"):
        shutil.copy(str(folder / ("bytes.mindrecord" + suffix)), str(tmp_path))
    return tmp_path / "bytes.mindrecord"


def train_data(path, batch_size=3, hr_size=32, seed=7, **options):
    return TrainData(path, SCALE, batch_size, hr_size, seed, **options)


def assert_same_batches(actual, expected):
    actual, expected = list(actual), list(expected)
    assert len(actual) == len(expected) > 0
    for one, other in zip(actual, expected):
        for left, right in zip(one, other):
            np.testing.assert_array_equal(left, right)


def numbers(batches):
    """The records of batches without flips, told by their first pixel, in order."""
    return [int(round(float(hr[0, 0, 0]) * 255)) for batch in batches for hr in batch[0]]


def test_batches_hold_the_stored_pixels(path):
    data = train_data(path, use_flip=False)
    assert (data.len_batches, data.hr_size, data.records) == (4, 32, 12)
    batches = list(data.batches(0))
    order = numbers(batches)
    assert sorted(order) == list(range(RECORDS))
    stored = patches()
    for hr, lr, noise in batches:
        assert hr.dtype == lr.dtype == np.float32 and noise is None
        assert hr.shape == (3, 3, 32, 32) and lr.shape == (3, 3, 8, 8)
    for hr, lr, number in zip(np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]), order):
        expected = stored[number]
        np.testing.assert_array_equal(hr, expected.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
        expected = imresize(expected, 1 / SCALE)
        np.testing.assert_array_equal(lr, expected.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def test_epochs_and_seeds_differ_and_repeat(path):
    data = train_data(path, use_flip=False)
    first, second = numbers(data.batches(0)), numbers(data.batches(1))
    assert first != second and sorted(first) == sorted(second)
    assert numbers(train_data(path, use_flip=False).batches(1)) == second
    assert numbers(train_data(path, use_flip=False, seed=8).batches(0)) != first


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_seed_gives_the_same_batches(path, workers):
    assert_same_batches(
        train_data(path, noise=True, workers=workers).batches(5), train_data(path, noise=True).batches(5)
    )


@pytest.mark.parametrize("start", [1, 3])
def test_continuing_gives_the_tail_of_the_epoch(path, start):
    data = train_data(path, hr_size=16, noise=True)
    whole = list(data.batches(2))
    assert_same_batches(data.batches(2, start=start), whole[start:])
    assert list(data.batches(2, start=data.len_batches)) == []


def test_ranks_share_out_every_batch(path):
    alone = list(train_data(path, batch_size=4, hr_size=16, noise=True).batches(1))
    ranks = [
        list(train_data(path, batch_size=2, hr_size=16, noise=True, rank_id=rank, rank_size=2).batches(1))
        for rank in range(2)
    ]
    assert len(ranks[0]) == len(ranks[1]) == len(alone) == 3
    together = [[np.concatenate(parts) for parts in zip(*batches)] for batches in zip(*ranks)]
    assert_same_batches(together, alone)


def test_a_batch_of_slices_is_one_batch(path):
    """Also of each rank: its slices follow one another in the batch of a single rank."""
    whole = list(train_data(path, batch_size=6, hr_size=16, noise=True, rank_id=1, rank_size=2).batches(1))
    sliced = train_data(path, batch_size=2, hr_size=16, noise=True, rank_id=1, rank_size=2, accumulate=3)
    assert sliced.len_batches == len(whole) == 1
    assert_same_batches(sliced.batches(1), whole)


def test_ranks_are_disjoint_and_drop_the_remainder(path):
    ranks = [
        numbers(train_data(path, batch_size=2, use_flip=False, rank_id=rank, rank_size=5).batches(0))
        for rank in range(5)
    ]
    assert [len(rank) for rank in ranks] == [2] * 5
    assert len({record for rank in ranks for record in rank}) == 10


def test_both_forms_give_identical_batches(folder):
    options = {"hr_size": 24, "noise": True}
    assert_same_batches(
        train_data(str(folder / "array.mindrecord"), **options).batches(3),
        train_data(str(folder / "bytes.mindrecord"), **options).batches(3),
    )


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_arrays_of_other_types(path, tmp_path, dtype):
    pairs = [(hr.astype(dtype), imresize(hr, 1 / SCALE).astype(dtype)) for hr in patches()]
    other = write(tmp_path / "o.mindrecord", pairs, array_schema(dtype))
    assert_same_batches(train_data(other).batches(0), train_data(path).batches(0))
    for (_, *one), (_, *two) in zip(EvalData(other), EvalData(path)):
        for left, right in zip(one, two):
            np.testing.assert_array_equal(left, right)


def test_flips_turn_hr_and_lr_together(path):
    plain = np.concatenate([batch[0] for batch in train_data(path, use_flip=False).batches(0)])
    flips = 0
    data = list(train_data(path).batches(0))
    plain_lr = np.concatenate([batch[1] for batch in train_data(path, use_flip=False).batches(0)])
    flipped = [np.concatenate([batch[i] for batch in data]) for i in range(2)]
    for hr, lr, plain_one, plain_lr_one in zip(flipped[0], flipped[1], plain, plain_lr):
        if not np.array_equal(hr, plain_one):
            np.testing.assert_array_equal(hr, plain_one[:, :, ::-1])
            np.testing.assert_array_equal(lr, plain_lr_one[:, :, ::-1])
            flips += 1
        else:
            np.testing.assert_array_equal(lr, plain_lr_one)
    assert 0 < flips < RECORDS


def test_crops_are_aligned_in_hr_and_lr(tmp_path):
    # LR pixel = the value that its 4x4 HR pixels share, so alignment shows in every crop.
    random = np.random.RandomState(0)
    pairs = []
    for height, width in ((12, 10), (9, 16), (11, 11), (8, 8)):  # stored images may differ in size
        lr = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
        pairs.append((png(lr.repeat(SCALE, 0).repeat(SCALE, 1)), png(lr)))
    data = train_data(write(tmp_path / "o.mindrecord", pairs), batch_size=4, hr_size=24)
    seen = set()
    for epoch in range(5):
        ((hr, lr, _),) = data.batches(epoch)
        assert hr.shape == (4, 3, 24, 24) and lr.shape == (4, 3, 6, 6)
        np.testing.assert_array_equal(hr, lr.repeat(SCALE, 2).repeat(SCALE, 3))
        seen.update(image.tobytes() for image in lr)
    assert len(seen) > 10


def test_lr_of_its_own_is_the_stored_one_also_in_smaller_patches(tmp_path):
    """It is not made from the HR patch: here it is HR's negative. Crops and flips are those of HR."""
    random = np.random.RandomState(0)
    for name in "abcd":
        lr = random.randint(0, 256, (13, 12, 3)).astype(np.uint8)
        for folder, image in (("lr", lr), ("hr", 255 - lr.repeat(SCALE, 0).repeat(SCALE, 1))):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / (name + ".png")).write_bytes(png(image))
    path = str(tmp_path / "o.mindrecord")
    prepare(str(tmp_path / "hr"), path, patch=40, per_image=1, lr_dir=str(tmp_path / "lr"), progress=False)
    flipped = train_data(path, batch_size=4, hr_size=24)
    plain = train_data(path, batch_size=4, hr_size=24, use_flip=False)
    flips = 0
    for epoch in range(4):
        ((hr, lr, _),), ((_, plain_lr, _),) = flipped.batches(epoch), plain.batches(epoch)
        assert lr.shape == (4, 3, 6, 6)
        np.testing.assert_allclose(hr, 1 - lr.repeat(SCALE, 2).repeat(SCALE, 3), atol=1e-6)
        flips += sum(not np.array_equal(one, other) for one, other in zip(lr, plain_lr))
    assert 0 < flips < 16


def test_noise_is_uniform_and_belongs_to_its_place(path):
    first = np.stack([noise for _, _, noise in train_data(path, noise=True).batches(0)])
    assert first.dtype == np.float32 and first.shape == (4, 3, 3, 32, 32)
    assert first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 1 / 2) < 0.01 and abs(first.var() - 1 / 12) < 0.005
    assert len({noise.tobytes() for noise in first.reshape(12, -1)}) == 12
    second = np.stack([noise for _, _, noise in train_data(path, noise=True).batches(1)])
    assert not np.array_equal(first, second)


def test_hr_size_none_means_the_stored_size(path, tmp_path):
    data = train_data(path, hr_size=None)
    assert data.hr_size == 32
    assert next(data.batches(0))[0].shape == (3, 3, 32, 32)
    pair = png(np.zeros((16, 32, 3), np.uint8)), png(np.zeros((4, 8, 3), np.uint8))
    oblong = write(tmp_path / "o.mindrecord", [pair])
    with pytest.raises(DataError, match="16x32, not square"):
        train_data(oblong, batch_size=1, hr_size=None)


def count_threads():
    """Threads of this process, MindSpore's C++ threads included."""
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counting C++ threads needs Linux's /proc")
def test_abandoned_iterations_leave_no_threads(tmp_path):
    pair = np.zeros((8, 8, 3), np.int32), np.zeros((2, 2, 3), np.int32)
    path = write(tmp_path / "o.mindrecord", [pair] * 1000, array_schema(hr=8, lr=2))  # more than the queues hold
    data = train_data(path, batch_size=1, hr_size=8)
    before = count_threads()
    held = data.batches(0)
    next(held)
    assert count_threads() > before
    held.close()
    for epoch in range(5):
        next(data.batches(epoch))
    assert count_threads() <= before


def test_eval_data_is_in_order_and_repeatable(folder):
    for form in ("bytes", "array"):
        data = EvalData(str(folder / (form + ".mindrecord")), scale=SCALE)
        assert len(data) == RECORDS
        for _ in range(2):
            rows = list(data)
            assert [index for index, _, _ in rows] == list(range(RECORDS))
            for (_, hr, lr), expected in zip(rows, patches()):
                assert hr.dtype == lr.dtype == np.uint8
                np.testing.assert_array_equal(hr, expected)
                np.testing.assert_array_equal(lr, imresize(expected, 1 / SCALE))


def test_eval_data_limit(path):
    assert len(EvalData(path, limit=5)) == len(list(EvalData(path, limit=5))) == 5
    assert len(EvalData(path, limit=500)) == RECORDS


def test_eval_images_may_differ_in_size(tmp_path):
    images = [("a", astronaut()[:64, :96]), ("b", astronaut()[:128, :40]), ("c", astronaut()[:200, :304])]
    prepare_images(images, tmp_path / "o.mindrecord", whole=True, progress=False)
    rows = list(EvalData(tmp_path / "o.mindrecord"))
    assert [hr.shape for _, hr, _ in rows] == [image.shape for _, image in images]
    assert [lr.shape for _, _, lr in rows] == [(16, 24, 3), (32, 10, 3), (50, 76, 3)]


def test_a_file_of_several_shards(tmp_path):
    pairs = [(png(hr), png(imresize(hr, 1 / SCALE))) for hr in patches()]
    write(tmp_path / "o.mindrecord", pairs, shards=3)
    data = train_data(tmp_path / "o.mindrecord0", use_flip=False)
    assert sorted(numbers(data.batches(0))) == list(range(RECORDS))
    os.remove(str(tmp_path / "o.mindrecord2"))
    assert_one_line(train_data, tmp_path / "o.mindrecord0", "o.mindrecord2: no such file")


def test_a_link_may_have_another_name(path, tmp_path):
    link = tmp_path / "link.mindrecord"
    link.symlink_to(path)
    assert len(list(EvalData(link))) == RECORDS


def assert_one_line(make, path, *words):
    """``make(path)`` raises a DataError of one line with all the words."""
    with pytest.raises(DataError) as caught:
        make(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    for word in words:
        assert word in message


@pytest.mark.parametrize("make", [train_data, EvalData, open_mindrecord])
def test_missing_files(copy, make):
    assert_one_line(make, copy.parent / "none.mindrecord", "none.mindrecord: no such file", "prepare")
    os.remove(str(copy) + ".db")
    assert_one_line(make, copy, "bytes.mindrecord.db: no such file", "copy both")


@pytest.mark.parametrize("length", [0, 5, 100, 5000, 1 << 18, 1 << 20, -1])
def test_truncated_files(copy, length):
    content = copy.read_bytes()
    copy.write_bytes(content[:length])
    assert_one_line(train_data, copy, str(copy), "copy it again")


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
@pytest.mark.parametrize("begin, end", [(1 << 18, None), ((1 << 18) + (1 << 20), None), (1 << 18, (1 << 18) + 10000)])
def test_files_with_holes(copy, begin, end, filler):
    # All data, the page of scalars, the first images: as an interrupted copy leaves them. The header takes 256 KiB.
    content = copy.read_bytes()
    end = end or len(content)
    copy.write_bytes(content[:begin] + filler * (end - begin) + content[end:])
    place = (1 << 18) + (1 << 20) if end == len(content) else begin
    assert_one_line(train_data, copy, str(copy), f"damaged at byte {place}", "copy it again")


def test_files_of_another_kind(copy):
    copy.write_bytes(png(patches()[0]))
    assert_one_line(open_mindrecord, copy, "not a MindRecord file")


def test_damaged_index(copy):
    index = copy.parent / (copy.name + ".db")
    index.write_bytes(index.read_bytes()[:5000])
    assert_one_line(open_mindrecord, copy, str(index), "damaged index")
    index.write_bytes(b"")
    assert_one_line(open_mindrecord, copy, str(index), "damaged index")


def test_index_of_another_file(copy, folder):
    shutil.copy(str(folder / "array.mindrecord.db"), str(copy) + ".db")
    assert_one_line(open_mindrecord, copy, "index of another file (array.mindrecord")


def test_index_with_fewer_records(copy):
    with sqlite3.connect(str(copy) + ".db") as database:
        database.execute("DELETE FROM INDEXES WHERE ROW_ID = 11")
    database.close()
    assert_one_line(open_mindrecord, copy, "11 records", "12 records")


def test_renamed_file(copy):
    renamed = copy.parent / "renamed.mindrecord"
    for suffix in ("", ".db"):
        os.rename(str(copy) + suffix, str(renamed) + suffix)
    assert_one_line(open_mindrecord, renamed, "was renamed", "bytes.mindrecord")


def test_missing_columns(tmp_path):
    pairs = [(b"x", b"y")]
    one = write(tmp_path / "one.mindrecord", pairs, columns=("HR", "image"))
    assert_one_line(open_mindrecord, one, "no column LR", "HR, image")
    none = write(tmp_path / "none.mindrecord", pairs, columns=("a", "b"))
    assert_one_line(open_mindrecord, none, "no column HR and no column LR", "a, b")


@pytest.mark.parametrize("bad", [0, 5, 11])
def test_inconsistent_sizes_name_the_record(tmp_path, bad):
    pairs = [(png(hr), png(imresize(hr, 1 / 2 if number == bad else 1 / SCALE))) for number, hr in enumerate(patches())]
    path = write(tmp_path / "o.mindrecord", pairs)
    assert_one_line(lambda p: list(train_data(p).batches(0)), path, path, f"record {bad}", "32x32", "16x16")
    assert_one_line(lambda p: list(EvalData(p, scale=SCALE)), path, path, f"record {bad}", "32x32", "16x16")


def test_another_scale_than_the_files(path):
    assert_one_line(lambda p: TrainData(p, 8, 3, 32, 0), path, path, "record 0", "not 8 times")
    assert_one_line(lambda p: list(EvalData(p, scale=2)), path, path, "record 0", "not 2 times")


@pytest.mark.parametrize("column, bad", [("HR", 5), ("LR", 0), ("LR", 11)])
def test_undecodable_images(tmp_path, column, bad):
    pairs = [[png(hr), png(imresize(hr, 1 / SCALE))] for hr in patches()]
    pairs[bad][["HR", "LR"].index(column)] = b"no image at all"
    path = write(tmp_path / "o.mindrecord", pairs)
    words = path, f"{column} of record {bad} cannot be read as an image", "skip_damaged"
    assert_one_line(lambda p: list(train_data(p).batches(0)), path, *words)
    assert_one_line(lambda p: list(EvalData(p)), path, *words)


def place_of(path, record, offset):
    """Where a byte of a record's chunk is in a file of one shard."""
    header = mindrecord_file._read_header(str(path))
    with contextlib.closing(sqlite3.connect(str(path) + ".db")) as database:
        page, begin = database.execute(
            "SELECT PAGE_ID_BLOB, PAGE_OFFSET_BLOB FROM INDEXES WHERE ROW_ID = ?", (record,)
        ).fetchone()
    return header["header_size"] + page * header["page_size"] + begin + offset


def change_byte(path, place):
    with open(str(path), "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0x55]))


@pytest.mark.parametrize("offset", [0, 3, 9, 15])
def test_a_damaged_record_in_the_middle(copy, offset):
    """In one of the lengths that MindSpore trusts: it would crash or hang on them."""
    place = place_of(copy, 7, offset)
    change_byte(copy, place)
    for make in (train_data, EvalData):
        assert_one_line(make, copy, f"{copy}: damaged at byte ", "in record 7", "copy it again")
    with open(str(copy) + ".db", "rb") as file:  # nothing was mended behind our back
        assert file.read(6) == b"SQLite"


def test_a_damaged_image_in_the_middle(copy):
    change_byte(copy, place_of(copy, 7, 16 + 700))  # in the compressed pixels of HR
    assert_one_line(lambda path: list(train_data(path).batches(0)), copy, str(copy), "HR of record 7 cannot be read")


def test_damaged_records_are_skipped_if_wanted(tmp_path):
    """Of every kind, named; the others come in an order of their own that is the same every time."""
    pairs = [[png(hr), png(imresize(hr, 1 / SCALE))] for hr in patches()]
    pairs[2][0] = b"no image at all"
    pairs[5][1] = png(imresize(patches()[5], 1 / 2))
    pairs[11][0], pairs[11][1] = png(patches()[11][:16, :16]), png(imresize(patches()[11][:16, :16], 1 / SCALE))
    path = write(tmp_path / "o.mindrecord", pairs)
    change_byte(path, place_of(path, 0, 1))
    data = train_data(path, skip_damaged=True, use_flip=False)
    assert sorted(data.damaged) == [0, 2, 5, 11] and (data.records, data.len_batches) == (8, 2)
    for record, words in (
        (0, "damaged at byte"),
        (2, "HR of record 2 cannot be read"),
        (5, "not 4 times"),
        (11, "smaller than the HR patches"),
    ):
        assert words in data.damaged[record]
    good = [1, 3, 4, 6, 7, 8, 9, 10]
    order = numbers(list(data.batches(0)))
    assert len(order) == 6 and set(order) < set(good)
    assert_same_batches(train_data(path, skip_damaged=True).batches(3), train_data(path, skip_damaged=True).batches(3))
    assert_same_batches(
        train_data(path, skip_damaged=True).batches(3, start=1),
        list(train_data(path, skip_damaged=True).batches(3))[1:],
    )


def test_skipping_changes_nothing_where_nothing_is_damaged(folder):
    for form in ("bytes", "array"):
        path = str(folder / (form + ".mindrecord"))
        data = train_data(path, skip_damaged=True)
        assert data.damaged == {}
        assert_same_batches(data.batches(1), train_data(path).batches(1))


def test_skipping_in_a_file_of_arrays_and_shards(tmp_path):
    pairs = [(hr.astype(np.int32), imresize(hr, 1 / SCALE).astype(np.int32)) for hr in patches()]
    pairs[9][0][0, 0, 0] = 999
    path = write(tmp_path / "o.mindrecord", pairs, array_schema(), shards=3)
    change_byte(path + "1", place_of(path + "1", 2, 2))  # four records a shard: record 6
    data = train_data(path + "0", skip_damaged=True, use_flip=False, batch_size=2)
    assert sorted(data.damaged) == [6, 9]
    assert sorted(numbers(data.batches(0))) == [0, 1, 2, 3, 4, 5, 7, 8, 10, 11]


def test_too_few_are_left(tmp_path):
    path = write(tmp_path / "o.mindrecord", [(b"x", b"y")] * 4)
    assert_one_line(lambda p: train_data(p, skip_damaged=True), path, "has 0 records, fewer than one batch")


@pytest.mark.parametrize("value", [-1, 256, float("nan")])
def test_values_out_of_range(tmp_path, value):
    pairs = [(hr.astype(np.float32), imresize(hr, 1 / SCALE).astype(np.float32)) for hr in patches()]
    pairs[4][0][3, 3, 1] = value
    path = write(tmp_path / "o.mindrecord", pairs, array_schema("float32"))
    assert_one_line(lambda p: list(train_data(p).batches(0)), path, path, "HR of record 4", "expected 0 to 255")


def test_arrays_of_another_layout(tmp_path):
    pairs = [(hr.transpose(2, 0, 1).astype(np.int32), imresize(hr, 1 / SCALE).astype(np.int32)) for hr in patches()]
    path = write(tmp_path / "o.mindrecord", pairs, [{"type": "int32", "shape": [3, 32, 32]}, array_schema()[1]])
    assert_one_line(train_data, path, path, "(3, 32, 32)", "(height, width, 3)")


def test_patches_larger_than_the_images(path):
    assert_one_line(lambda p: train_data(p, hr_size=48), path, path, "32x32", "smaller than the HR patches of 48")


def test_fewer_records_than_a_batch(path):
    assert_one_line(lambda p: train_data(p, batch_size=13), path, path, "12 records", "batch_size 13")
    assert_one_line(lambda p: train_data(p, batch_size=7, rank_size=2), path, path, "12 records", "ranks 2")


@pytest.mark.parametrize(
    "options, named",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"accumulate": 0}, "accumulate"),
        ({"hr_size": 30}, "hr_size"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"rank_id": 1}, "rank_id"),
        ({"rank_size": 0}, "rank_size"),
    ],
)
def test_bad_arguments_are_named(path, options, named):
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        train_data(path, **options)


def test_bad_places_are_named(path):
    data = train_data(path)
    with pytest.raises(ValueError, match="^start: expected 0 to 4, got 5"):
        data.batches(0, start=5)
    with pytest.raises(ValueError, match="^epoch: expected"):
        data.batches(-1)
    with pytest.raises(ValueError, match="^limit: expected"):
        EvalData(path, limit=0)


def test_a_process_that_stops_in_mid_epoch_ends(repo, path):
    code = (
        "import sys; from src.dataloader.dataset import TrainData\n"
        f"batches = TrainData({path!r}, 4, 1, 32, 0, noise=True).batches(0)\n"
        "next(batches)\n"
        "sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, timeout=300, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3, done.stderr
