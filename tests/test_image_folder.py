# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images as eval.py reads them."""

import os

import numpy as np
import pytest
from programs import write_image

from src.dataloader.dataset import DataError
from src.dataloader.image_folder import ImageFolder


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture(name="folders")
def fixture_folders(tmp_path):
    """(lr folder, hr folder) with the images b and A: 8x6 and 5x7, four times as large in HR."""
    for name, height, width in (("b", 8, 6), ("A", 5, 7)):
        for folder, scale in (("lr", 1), ("hr", 4)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / (name + ".png"), picture(scale * height, scale * width, scale))
    return str(tmp_path / "lr"), str(tmp_path / "hr")


def refused(lr_dir, hr_dir=None):
    """The message with which the folders are refused, before any image is handed out."""
    with pytest.raises(DataError) as caught:
        ImageFolder(lr_dir, hr_dir, 4)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_low_resolution_alone(folders):
    images = ImageFolder(folders[0], None, 4)
    assert len(images) == 2
    for _ in range(2):  # again and again
        (first, none, first_lr), (second, _, second_lr) = list(images)
        assert (first, none, second) == ("A", None, "b")
        np.testing.assert_array_equal(first_lr, picture(5, 7, 1))
        np.testing.assert_array_equal(second_lr, picture(8, 6, 1))
        assert first_lr.dtype == np.uint8


def test_one_image(folders, tmp_path):
    lr_path, hr_path = os.path.join(folders[0], sorted(os.listdir(folders[0]))[0]), tmp_path / "another.name"
    ((name, _, lr),) = ImageFolder(lr_path, None, 4)
    assert name == os.path.splitext(os.path.basename(lr_path))[0]
    os.rename(os.path.join(folders[1], os.path.basename(lr_path)), str(hr_path))
    ((name, hr, again),) = ImageFolder(lr_path, str(hr_path), 4)
    np.testing.assert_array_equal(again, lr)
    assert hr.shape == (4 * lr.shape[0], 4 * lr.shape[1], 3)
    assert "no such folder of images" in refused(folders[0] + "/none.png")


def test_pairs(folders):
    write_image(os.path.join(folders[1], "other.png"), picture(9, 9))  # a partner of none is nobody's concern
    os.rename(os.path.join(folders[1], "A.png"), os.path.join(folders[1], "A.BMP"))
    write_image(os.path.join(folders[1], "A.bmp"), picture(20, 28, 4))
    os.remove(os.path.join(folders[1], "A.BMP"))
    for (name, hr, lr), (expected, height, width) in zip(
        ImageFolder(folders[0], folders[1], 4), (("A", 5, 7), ("b", 8, 6))
    ):
        assert name == expected
        np.testing.assert_array_equal(hr, picture(4 * height, 4 * width, 4))
        np.testing.assert_array_equal(lr, picture(height, width, 1))


def test_grey_images_and_other_files(folders):
    write_image(os.path.join(folders[0], "grey.PNG"), np.repeat(picture(6, 6)[:, :, :1], 3, axis=2))
    with open(os.path.join(folders[0], "notes.txt"), "w") as file:
        file.write("not an image")
    assert [(name, lr.shape) for name, _, lr in ImageFolder(folders[0], None, 4)] == [
        ("A", (5, 7, 3)),
        ("b", (8, 6, 3)),
        ("grey", (6, 6, 3)),
    ]


def test_unusable_folders(folders, tmp_path):
    lr_dir, hr_dir = folders
    assert refused(str(tmp_path / "none")) == f"{tmp_path / 'none'}: no such folder of images, and no such image"
    (tmp_path / "empty").mkdir()
    assert refused(str(tmp_path / "empty")).startswith(f"{tmp_path / 'empty'}: has no image files (.png, ")
    assert refused(lr_dir, str(tmp_path / "empty")).startswith(f"{tmp_path / 'empty'}: has no image files")
    os.remove(os.path.join(hr_dir, "b.png"))
    assert refused(lr_dir, hr_dir) == f"{hr_dir}: has no image b for {os.path.join(lr_dir, 'b.png')}"


def test_two_images_of_one_name(folders):
    write_image(os.path.join(folders[0], "b.bmp"), picture(4, 4))
    assert refused(folders[0]) == f"{folders[0]}: has two images of one name, b.bmp and b.png; rename one of them"


def skipped(lr_dir, hr_dir=None, left=("A",)):
    """The line about the one image that is skipped, the others being handed out."""
    images = ImageFolder(lr_dir, hr_dir, 4)
    (line,) = images.skipped
    assert tuple(name for name, _, _ in images) == tuple(images.files) == left and len(images) == len(left)
    return line


@pytest.mark.parametrize("content", [b"", b"hello", None])
@pytest.mark.parametrize("index", [0, 1])
def test_unreadable_image(folders, content, index):
    """The last image too is found before the first one is handed out."""
    path = os.path.join(folders[index], "b.png")
    if content is None:  # a photograph cut off
        with open(path, "rb") as file:
            content = file.read()[:40]
    with open(path, "wb") as file:
        file.write(content)
    line = skipped(*folders)
    assert line.startswith(f"{path}: cannot be read as an image: ")
    os.remove(os.path.join(folders[0], "A.png"))
    assert refused(*folders) == f"{folders[0]}: none of its 1 images can be used; {line}"


def test_an_image_that_is_spoilt_later_is_named(folders):
    images = ImageFolder(folders[0], None, 4)
    path = os.path.join(folders[0], "b.png")
    with open(path, "wb") as file:
        file.write(b"hello")
    with pytest.raises(DataError, match="b.png: cannot be read as an image: .*; it has changed since the evaluation"):
        list(images)


def test_an_image_of_another_size_than_at_the_check_is_named(folders):
    images = ImageFolder(folders[0], None, 4)
    write_image(os.path.join(folders[0], "b.png"), picture(6, 8))
    with pytest.raises(DataError, match="b.png: is 6x8, was 8x6; it has changed since the evaluation began$"):
        list(images)


def test_sizes_are_known_without_reading_again(folders, monkeypatch):
    pairs, alone = ImageFolder(folders[0], folders[1], 4), ImageFolder(folders[0], None, 4)
    monkeypatch.setattr("src.dataloader.image_folder.read_image", None)
    assert list(pairs.sizes()) == [("A", (20, 28), (5, 7)), ("b", (32, 24), (8, 6))]
    assert list(alone.sizes()) == [("A", None, (5, 7)), ("b", None, (8, 6))]


def test_hidden_files_are_no_images(folders):
    for folder in folders:
        for name in ("._A.png", ".b.png", "._other.jpg"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"Mac OS X")
    images = ImageFolder(folders[0], folders[1], 4)
    assert list(images.files) == ["A", "b"] and images.skipped == []


def test_names_as_div2k_has_them(folders):
    lr_dir, hr_dir = folders
    os.rename(os.path.join(lr_dir, "b.png"), os.path.join(lr_dir, "bx4.png"))
    (_, _, _), (name, hr, lr) = ImageFolder(lr_dir, hr_dir, 4)
    assert name == "bx4"
    np.testing.assert_array_equal(hr, picture(32, 24, 4))
    np.testing.assert_array_equal(lr, picture(8, 6, 1))
    write_image(os.path.join(hr_dir, "bx4.png"), picture(32, 24, 7))  # the same name goes before
    np.testing.assert_array_equal(list(ImageFolder(lr_dir, hr_dir, 4))[1][1], picture(32, 24, 7))
    for name in ("b.png", "bx4.png"):
        os.remove(os.path.join(hr_dir, name))
    assert refused(lr_dir, hr_dir) == f"{hr_dir}: has no image bx4 or b for {os.path.join(lr_dir, 'bx4.png')}"
    os.rename(os.path.join(lr_dir, "bx4.png"), os.path.join(lr_dir, "bx2.png"))  # of another scale
    assert "has no image bx2 for" in refused(lr_dir, hr_dir)


def test_a_name_that_is_not_utf8(tmp_path):
    path = os.path.join(os.fsencode(str(tmp_path)), b"caf\xe9.png")
    write_image(tmp_path / "a.png", picture(4, 6))
    os.rename(os.path.join(os.fsencode(str(tmp_path)), b"a.png"), path)
    ((name, _, lr),) = ImageFolder(str(tmp_path), None, 4)
    assert os.fsencode(name) == b"caf\xe9"
    np.testing.assert_array_equal(lr, picture(4, 6))


def test_partner_of_another_size(folders):
    path = os.path.join(folders[1], "b.png")
    write_image(path, picture(32, 28))
    assert refused(*folders) == f"{path}: is 32x28, expected 4 times its LR image: 32x24"


def test_too_small(folders):
    path = os.path.join(folders[0], "b.png")
    write_image(path, picture(1, 9))
    assert skipped(folders[0]) == f"{path}: is 1x9, expected at least 2x2"
    write_image(path, picture(2, 9))
    assert len(ImageFolder(folders[0], None, 4)) == 2
    write_image(os.path.join(folders[1], "b.png"), picture(8, 36))
    assert skipped(*folders) == f"{os.path.join(folders[1], 'b.png')}: is 8x36, expected at least 11x11"
