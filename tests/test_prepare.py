# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Making MindRecord files from photographs."""

import glob
import os
import signal
import stat
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea

from src.dataloader import prepare as prepare_module
from src.dataloader.dataset import DataError, EvalData
from src.dataloader.prepare import prepare, prepare_images
from src.imresize import imresize
from src.model_utils.util import run_main


def write_image(path, rgb):
    """An image file with the pixels of an RGB, RGBA or grey array."""
    image = np.asarray(rgb)
    if image.ndim == 3:
        image = np.concatenate([image[:, :, 2::-1], image[:, :, 3:]], axis=2)
    assert cv2.imwrite(str(path), image)


@pytest.fixture(name="photographs")
def fixture_photographs(tmp_path):
    """A folder with two photographs, 100x120 and 93x85."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    write_image(folder / "a.png", astronaut()[50:150, 150:270])
    write_image(folder / "b.png", chelsea()[100:193, 100:185])
    return folder


def records_of(path):
    return [(hr, lr) for _, hr, lr in EvalData(path)]


def is_crop_of(crop, image):
    found = cv2.matchTemplate(image, crop, cv2.TM_SQDIFF)
    y, x = np.unravel_index(found.argmin(), found.shape)
    return np.array_equal(image[y : y + crop.shape[0], x : x + crop.shape[1]], crop)


@pytest.mark.parametrize("form", ["bytes", "array"])
def test_crops_come_from_the_images_and_lr_from_the_crops(photographs, tmp_path, form):
    out = tmp_path / "train.mindrecord"
    result = prepare(str(photographs), out, scale=4, patch=32, per_image=3, form=form, progress=False)
    assert result == (6, 2, 0)
    records = records_of(out)
    assert len(records) == 6
    sources = [astronaut()[50:150, 150:270]] * 3 + [chelsea()[100:193, 100:185]] * 3
    for (hr, lr), source in zip(records, sources):
        assert hr.shape == (32, 32, 3) and hr.dtype == np.uint8
        assert is_crop_of(hr, np.ascontiguousarray(source))
        np.testing.assert_array_equal(lr, imresize(hr, 1 / 4))
    assert len({hr.tobytes() for hr, _ in records}) == 6
    assert sorted(os.listdir(str(tmp_path))) == ["photographs", "train.mindrecord", "train.mindrecord.db"]


def test_the_seed_alone_decides_the_crops(photographs, tmp_path):
    crops = {}
    for name, seed, form in (("x", 1, "bytes"), ("y", 1, "array"), ("z", 2, "bytes")):
        out = tmp_path / (name + ".mindrecord")
        prepare(str(photographs), out, patch=32, per_image=2, seed=seed, form=form, progress=False)
        crops[name] = np.stack([hr for hr, _ in records_of(out)])
    np.testing.assert_array_equal(crops["x"], crops["y"])
    assert not np.array_equal(crops["x"], crops["z"])


def test_the_places_of_the_crops_stay_what_they_were(tmp_path):
    """A file can be made again, whatever else this program learns."""
    image = astronaut()[:90, :110]
    prepare_images([("a", image), ("b", image)], tmp_path / "o.mindrecord", patch=32, per_image=3, progress=False)
    places = []
    for index in range(2):
        random = np.random.RandomState([10, index])
        places += list(zip(random.randint(0, 90 - 32 + 1, 3), random.randint(0, 110 - 32 + 1, 3)))
    for (hr, _), (top, left) in zip(records_of(tmp_path / "o.mindrecord"), places):
        np.testing.assert_array_equal(hr, image[top : top + 32, left : left + 32])


def test_whole_images_are_cut_to_even_lr_sides(photographs, tmp_path):
    out = tmp_path / "valid.mindrecord"
    assert prepare(str(photographs), out, scale=4, whole=True, progress=False) == (2, 2, 0)
    (first_hr, first_lr), (second_hr, second_lr) = records_of(out)
    np.testing.assert_array_equal(first_hr, astronaut()[50:146, 150:270])
    np.testing.assert_array_equal(second_hr, chelsea()[100:188, 100:180])
    assert first_lr.shape == (24, 30, 3) and second_lr.shape == (22, 20, 3)
    np.testing.assert_array_equal(second_lr, imresize(second_hr, 1 / 4))


def test_other_kinds_of_image_become_8_bit_rgb(tmp_path):
    folder = tmp_path / "kinds"
    folder.mkdir()
    rgb = np.ascontiguousarray(astronaut()[:32, 200:232])
    write_image(folder / "1_grey.png", rgb[:, :, 0])
    write_image(folder / "2_alpha.png", np.dstack([rgb, np.full((32, 32), 100, np.uint8)]))
    write_image(folder / "3_sixteen.png", rgb.astype(np.uint16) * 257)
    write_image(folder / "4_grey16.tif", rgb[:, :, 1].astype(np.uint16) * 257)
    write_image(folder / "5_BIG.PPM", rgb)
    prepare(str(folder), tmp_path / "o.mindrecord", whole=True, progress=False)
    grey, alpha, sixteen, grey16, ppm = (hr for hr, _ in records_of(tmp_path / "o.mindrecord"))
    np.testing.assert_array_equal(grey, np.repeat(rgb[:, :, :1], 3, axis=2))
    np.testing.assert_array_equal(grey16, np.repeat(rgb[:, :, 1:2], 3, axis=2))
    for image in (alpha, sixteen, ppm):
        np.testing.assert_array_equal(image, rgb)


def test_images_are_turned_upright(tmp_path):
    folder, upright = tmp_path / "photographs", astronaut()[:32, 200:248]
    folder.mkdir()
    tags = Image.Exif()
    tags[274] = 6  # the stored image's first row is at the right
    Image.fromarray(np.rot90(upright)).save(str(folder / "a.png"), exif=tags)
    prepare(str(folder), tmp_path / "o.mindrecord", whole=True, progress=False)
    ((hr, lr),) = records_of(tmp_path / "o.mindrecord")
    np.testing.assert_array_equal(hr, upright)
    np.testing.assert_array_equal(lr, imresize(upright, 1 / 4))


def test_sixteen_bits_round_to_the_nearest(tmp_path):
    image = np.zeros((8, 8, 3), np.uint16)
    image[0, :4, 0] = [128, 129, 65535, 65406]
    prepare_images([("ramp", image)], tmp_path / "o.mindrecord", whole=True, progress=False)
    hr = records_of(tmp_path / "o.mindrecord")[0][0]
    assert hr[0, :4, 0].tolist() == [0, 1, 255, 254]


def test_arrays_can_be_given_instead_of_files(tmp_path):
    result = prepare_images(
        [("astronaut", astronaut()[:64, :64]), ("chelsea", chelsea()[:64, :64])],
        tmp_path / "o.mindrecord",
        patch=64,
        per_image=1,
        progress=False,
    )
    assert result == (2, 2, 0)
    np.testing.assert_array_equal(records_of(tmp_path / "o.mindrecord")[1][0], chelsea()[:64, :64])


def test_unusable_images_are_named_and_skipped(photographs, tmp_path, capsys):
    (photographs / "broken.png").write_bytes((photographs / "a.png").read_bytes()[:40])
    (photographs / "empty.jpg").write_bytes(b"")
    write_image(photographs / "small.png", np.zeros((31, 200, 3), np.uint8))
    cv2.imwrite(str(photographs / "real.tif"), np.zeros((40, 40), np.float32))
    (photographs / "notes.txt").write_text("not an image")
    result = prepare(str(photographs), tmp_path / "o.mindrecord", patch=32, per_image=1, progress=False)
    assert result == (2, 2, 4)
    skipped = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert [os.path.basename(line.split(": ")[0]) for line in skipped] == [
        "broken.png",
        "empty.jpg",
        "real.tif",
        "small.png",
    ]
    assert "cannot be read" in skipped[0] and "floating-point" in skipped[2] and "31x200" in skipped[3]


def test_an_existing_file_is_kept_unless_overwriting(photographs, tmp_path):
    out = tmp_path / "o.mindrecord"
    prepare(str(photographs), out, patch=32, per_image=1, progress=False)
    before = out.read_bytes()
    with pytest.raises(DataError, match="exists already"):
        prepare(str(photographs), out, patch=32, per_image=2, progress=False)
    assert out.read_bytes() == before
    prepare(str(photographs), out, patch=32, per_image=2, overwrite=True, progress=False)
    assert len(records_of(out)) == 4


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_nothing(photographs, tmp_path, monkeypatch, interruption):
    calls = []

    def interrupted(image, scale):
        calls.append(image)
        if len(calls) == 3:
            raise interruption
        return imresize(image, scale)

    monkeypatch.setattr(prepare_module, "imresize", interrupted)
    with pytest.raises(interruption):
        prepare(str(photographs), tmp_path / "o.mindrecord", patch=32, per_image=2, progress=False)
    assert os.listdir(str(tmp_path)) == ["photographs"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_files_have_the_permissions_that_the_umask_says(photographs, tmp_path, umask, mode):
    out = tmp_path / "o.mindrecord"
    before = os.umask(umask)
    try:
        prepare(str(photographs), out, patch=32, per_image=1, progress=False)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (str(out), str(out) + ".db")] == [mode, mode]


@pytest.mark.parametrize(
    "name, reason",
    [
        ("a:b.mindrecord", "MindRecord does not take this name: "),
        ("a?", "MindRecord does not take this name: "),
        (" a", "MindRecord does not take this name: "),
        (os.fsdecode(b"caf\xe9"), "is not UTF-8"),
        (os.fsdecode(b"caf\xe9/a"), "is not UTF-8"),
        ("a" * 245, "the name is too long"),
        ("/".join(["a" * 150] * 3), "the path is too long"),
    ],
)
def test_names_that_mindrecord_does_not_take(photographs, tmp_path, monkeypatch, name, reason):
    monkeypatch.setattr(prepare_module, "read_image", lambda path: pytest.fail("an image was read"))
    with pytest.raises(DataError) as caught:
        prepare(str(photographs), os.path.join(str(tmp_path), name), progress=False)
    assert str(caught.value).startswith(f"{os.path.join(str(tmp_path), name)}: {reason}")
    assert "\n" not in str(caught.value)
    assert os.listdir(str(tmp_path)) == ["photographs"]


def test_the_longest_names_that_mindrecord_takes(photographs, tmp_path):
    folder = os.path.join(str(tmp_path), "b" * 100)
    for out in (
        os.path.join(str(tmp_path), "a" * 244),
        os.path.join(folder, "c" * (470 - len(folder) - 2 - 100), "a" * 100),
    ):
        assert prepare(str(photographs), out, patch=32, per_image=1, progress=False).records == 2
        assert len(records_of(out)) == 2
    assert len(out) == 470


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"scale": 1}, "scale"),
        ({"patch": 36}, "patch"),
        ({"per_image": 0}, "per_image"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"form": "jpeg"}, "form"),
        ({"form": "array", "whole": True}, "form"),
        ({"patch": 8000}, "patch"),
    ],
)
def test_bad_arguments_are_named(photographs, tmp_path, arguments, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        prepare(str(photographs), tmp_path / "o.mindrecord", progress=False, **arguments)
    assert not (tmp_path / "o.mindrecord").exists()


def test_a_record_larger_than_a_page_is_an_error_that_names_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_WHOLE_PAGE", 1 << 15)
    noise = np.random.RandomState(0).randint(0, 256, (160, 160, 3)).astype(np.uint8)
    with pytest.raises(DataError, match="^noise: its record of .* exceeds"):
        prepare_images([("noise", noise)], tmp_path / "o.mindrecord", whole=True, progress=False)
    assert os.listdir(str(tmp_path)) == []


def run_cli(repo, *arguments):
    """The command line in a process of its own, without the test suite's quietening of MindSpore."""
    environment = {name: value for name, value in os.environ.items() if name != "GLOG_v"}
    return subprocess.run(
        [sys.executable, "-m", "src.dataloader.prepare"] + [str(argument) for argument in arguments],
        cwd=repo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_command_line(repo, photographs, tmp_path):
    out = tmp_path / "o.mindrecord"
    write_image(photographs / "small.png", np.zeros((8, 8, 3), np.uint8))
    done = run_cli(repo, "--hr_dir", photographs, "--out", out, "--patch", 32, "--per_image", 2, "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote 4 records from 2 images (1 skipped) to {out}"
    assert "skipped %s" % (photographs / "small.png") in done.stderr
    assert len(records_of(out)) == 4


def test_command_line_errors_are_one_line(repo, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    done = run_cli(repo, "--hr_dir", folder, "--out", tmp_path / "o.mindrecord")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path / 'o.mindrecord'}: not written, no usable image"
    assert "Traceback" not in done.stderr
    assert os.listdir(str(tmp_path)) == ["broken"]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_images_is_an_error(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=folder):
        prepare(str(tmp_path / folder), tmp_path / "o.mindrecord", progress=False)
    assert os.listdir(str(tmp_path)) == ["empty"]


# ---------------------------------------------------------------------------------------------------------------------
# LR of its own


def own_pair(height, width, number=0):
    """(hr, lr) of which each pixel tells its LR row and column; no resizing of HR gives LR, as blue differs."""
    lr = np.zeros((height, width, 3), np.uint8)
    lr[:, :, 0], lr[:, :, 1], lr[:, :, 2] = np.arange(height)[:, None], np.arange(width), number
    return hr_of(lr), lr


def hr_of(lr):
    return lr.repeat(4, 0).repeat(4, 1) + np.array([0, 0, 100], np.uint8)


@pytest.fixture(name="own")
def fixture_own(tmp_path):
    """Folders hr and lr with the pairs a, 12x15 in LR, and b, 11x9."""
    for name, pair in (("a", own_pair(12, 15)), ("b", own_pair(11, 9, 1))):
        for folder, image in zip(("hr", "lr"), pair):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / (name + ".png"), image)
    return tmp_path / "hr", tmp_path / "lr"


def prepare_own(own, out, **options):
    return prepare(str(own[0]), out, lr_dir=str(own[1]), progress=False, **options)


@pytest.mark.parametrize("form", ["bytes", "array"])
def test_own_lr_is_cut_at_the_place_of_hr(own, tmp_path, form):
    out = tmp_path / "o.mindrecord"
    assert prepare_own(own, out, patch=32, per_image=8, form=form) == (16, 2, 0)
    records = records_of(out)
    assert [lr[0, 0, 2] for _, lr in records] == [0] * 8 + [1] * 8
    for hr, lr in records:
        assert hr.shape == (32, 32, 3) and lr.shape == (8, 8, 3)
        np.testing.assert_array_equal(hr, hr_of(lr))
    assert len({lr[0, 0].tobytes() for _, lr in records}) > 8  # places
    prepare_own(own, out, patch=32, per_image=8, form=form, overwrite=True)
    for (hr, lr), (hr_again, lr_again) in zip(records, records_of(out)):
        np.testing.assert_array_equal(hr, hr_again)
        np.testing.assert_array_equal(lr, lr_again)


def test_own_lr_of_whole_images_is_cut_to_even_sides(own, tmp_path):
    assert prepare_own(own, tmp_path / "o.mindrecord", whole=True) == (2, 2, 0)
    for (hr, lr), (height, width, number) in zip(records_of(tmp_path / "o.mindrecord"), ((12, 14, 0), (10, 8, 1))):
        expected_hr, expected_lr = own_pair(height, width, number)
        np.testing.assert_array_equal(hr, expected_hr)
        np.testing.assert_array_equal(lr, expected_lr)


def test_own_lr_may_be_named_as_div2k_names_it(own, tmp_path):
    os.rename(str(own[1] / "b.png"), str(own[1] / "bx4.png"))
    write_image(own[1] / "a.bmp", own_pair(12, 15, 7)[1])
    os.remove(str(own[1] / "a.png"))
    assert prepare_own(own, tmp_path / "o.mindrecord", whole=True) == (2, 2, 0)
    assert [lr[0, 0, 2] for _, lr in records_of(tmp_path / "o.mindrecord")] == [7, 1]


@pytest.mark.parametrize("turned", ["hr", "lr"])
def test_own_lr_and_its_hr_are_turned_upright(own, tmp_path, turned):
    tags = Image.Exif()
    tags[274] = 6  # the stored image's first row is at the right
    upright = own_pair(12, 15)[turned == "lr"]
    Image.fromarray(np.rot90(upright)).save(str(tmp_path / turned / "a.png"), exif=tags)
    assert prepare_own(own, tmp_path / "o.mindrecord", whole=True) == (2, 2, 0)
    for hr, lr in records_of(tmp_path / "o.mindrecord"):
        np.testing.assert_array_equal(hr, hr_of(lr))


def test_pairs_that_do_not_fit_are_named_and_skipped(own, tmp_path, capsys):
    hr_dir, lr_dir = own
    for name, (hr, lr) in (
        ("c", (own_pair(10, 8)[0], own_pair(10, 9)[1])),
        ("d", own_pair(7, 20)),
        ("e", own_pair(9, 9)),
        ("f", own_pair(9, 9)),
    ):
        write_image(hr_dir / (name + ".png"), hr)
        write_image(lr_dir / (name + ".png"), lr)
    (hr_dir / "e.png").write_bytes(b"no image")
    (lr_dir / "f.png").write_bytes(b"")
    write_image(hr_dir / "g.png", own_pair(9, 9)[0])
    write_image(lr_dir / "hx4.png", own_pair(9, 9)[1])
    assert prepare_own(own, tmp_path / "o.mindrecord", patch=32, per_image=1) == (2, 2, 6)
    expected = [
        f"skipped {hr_dir / 'c.png'}: is 40x32, expected 4 times its LR image: 40x36",
        f"skipped {hr_dir / 'd.png'}: is 28x80, smaller than the patch size 32",
        f"skipped {hr_dir / 'e.png'}: cannot be read as an image",
        f"skipped {hr_dir / 'f.png'}: its LR image {lr_dir / 'f.png'} cannot be read as an image: it is empty",
        f"skipped {lr_dir / 'hx4.png'}: has no HR image hx4 or h in {hr_dir}",
        f"skipped {hr_dir / 'g.png'}: has no LR image g or gx4 in {lr_dir}",
    ]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected):
        assert line.startswith(words)


def test_a_pair_that_is_skipped_moves_no_other_pairs_crops(own, tmp_path):
    prepare_own(own, tmp_path / "o.mindrecord", patch=32, per_image=2)
    write_image(own[1] / "a.png", own_pair(12, 14)[1])
    assert prepare_own(own, tmp_path / "p.mindrecord", patch=32, per_image=2) == (2, 1, 1)
    for (_, lr), (_, expected) in zip(records_of(tmp_path / "p.mindrecord"), records_of(tmp_path / "o.mindrecord")[2:]):
        np.testing.assert_array_equal(lr, expected)


def run_here(capsys, *arguments):
    """(exit status, stdout, lines of stderr) of the command line in this process."""
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: prepare_module.main([str(argument) for argument in arguments]))
    out, err = capsys.readouterr()
    return caught.value.code or 0, out, err.splitlines()


def test_command_line_with_own_lr(own, tmp_path, capsys):
    out = tmp_path / "o.mindrecord"
    arguments = ["--hr_dir", own[0], "--lr_dir", own[1], "--out", out]
    (tmp_path / "empty").mkdir()
    for lr_dir, words in (
        (own[0], "is the folder of the HR images too; give that of the LR images as --lr_dir"),
        (own[0] / ".." / "hr", "is the folder of the HR images too; give that of the LR images as --lr_dir"),
        (tmp_path / "none", "no such folder of images"),
        (tmp_path / "empty", "has no image files ("),
    ):
        status, _, (line,) = run_here(capsys, "--hr_dir", own[0], "--lr_dir", lr_dir, "--out", out)
        assert status == 2 and line.startswith(f"error: {lr_dir}: {words}")
    status, _, lines = run_here(capsys, *arguments)  # the patches are too large
    assert status == 2 and lines[-1] == f"error: {out}: not written, no usable image"
    assert [line.split(": ")[0] for line in lines if line.startswith("skipped")] == [
        f"skipped {own[0] / name}" for name in ("a.png", "b.png")
    ]
    assert sorted(os.listdir(str(tmp_path))) == ["empty", "hr", "lr"]
    os.remove(str(own[1] / "b.png"))
    status, told, _ = run_here(capsys, *arguments, "--whole")
    assert (status, told) == (0, f"wrote 1 records from 1 images (1 skipped) to {out}\n")
    np.testing.assert_array_equal(records_of(out)[0][1], own_pair(12, 14)[1])


# ---------------------------------------------------------------------------------------------------------------------
# Interruptions


@pytest.fixture(name="running")
def fixture_running(repo, photographs, tmp_path):
    """A process that prepares more than it can while the test looks on, and has begun to write o.mindrecord."""
    for number in range(300):
        os.link(str(photographs / "a.png"), str(photographs / f"copy_{number}.png"))
    # As at a terminal: the children of a suite that runs in the background ignore SIGINT.
    code = (
        "import runpy, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('src.dataloader.prepare', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "--hr_dir",
            str(photographs),
            "--out",
            str(tmp_path / "o.mindrecord"),
            "--patch",
            "32",
            "--per_image",
            "500",
        ],
        cwd=repo,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    try:
        for _ in range(600):
            if glob.glob(str(tmp_path / ".prepare-*" / "o.mindrecord")) or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    "number, status, word", [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_run_that_is_ended_leaves_nothing(running, tmp_path, number, status, word):
    running.send_signal(number)
    stderr = running.communicate(timeout=300)[1]
    assert running.returncode == status
    assert word in stderr
    assert "Traceback" not in stderr
    assert os.listdir(str(tmp_path)) == ["photographs"]


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(running, tmp_path, capsys):
    (folder,) = glob.glob(str(tmp_path / ".prepare-*"))
    images = [("astronaut", astronaut()[:64, :64])]
    prepare_images(images, tmp_path / "other.mindrecord", patch=64, per_image=1, progress=False)
    assert capsys.readouterr().err == "" and os.path.isdir(folder) and running.poll() is None
    running.kill()
    running.wait()
    assert os.path.isdir(folder)
    prepare_images(images, tmp_path / "third.mindrecord", patch=64, per_image=1, progress=False)
    assert capsys.readouterr().err == f"removed {folder}, which a killed run left\n"
    assert glob.glob(str(tmp_path / ".*")) == []


@pytest.mark.parametrize("name", [".prepare-k3v9_a2b", ".prepare-00000000-0123abcd"])
def test_folders_that_may_be_anybodys_are_named_and_stay(tmp_path, capsys, name):
    """Of earlier versions or other machines."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "o.mindrecord").write_text("of another run")
    images = [("astronaut", astronaut()[:64, :64])]
    prepare_images(images, tmp_path / "o.mindrecord", patch=64, per_image=1, progress=False)
    line = capsys.readouterr().err
    assert line.startswith(f"warning: {tmp_path / name}: may be what a killed run left; ")
    assert line.count("\n") == 1
    assert (tmp_path / name / "o.mindrecord").read_text() == "of another run"


def test_signals_are_handled_as_before_afterwards(photographs, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    prepare(str(photographs), tmp_path / "o.mindrecord", patch=32, per_image=1, progress=False)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
