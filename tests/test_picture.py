# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Picture sheets and PNG files."""

import os

import cv2
import numpy as np
import pytest
from programs import read_image

from src.evaluation.picture import CAPTION, MARGIN, deviation_map, sheet, write_png


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_png_keeps_every_pixel(tmp_path):
    image = picture(7, 5)
    image[0, 0] = (255, 0, 10)  # red stays red
    write_png(str(tmp_path / "new" / "a.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), image)
    write_png(str(tmp_path / "new" / "a.png"), image[:, ::-1])  # a view, over an existing file
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), image[:, ::-1])
    assert os.listdir(str(tmp_path / "new")) == ["a.png"]


def test_png_that_cannot_be_written(tmp_path, monkeypatch):
    write_png(str(tmp_path / "a.png"), picture(4, 4))
    before = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr("src.evaluation.picture.cv2.imencode", lambda *_: (False, None))
    with pytest.raises(OSError, match="a.png: the picture could not be written"):
        write_png(str(tmp_path / "a.png"), picture(4, 4, 1))
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(str(tmp_path)) == ["a.png"]


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"n" * 251 + b".png", "\u756b.png".encode()], ids=["not UTF-8", "longest", "Chinese"]
)
def test_png_of_any_name(tmp_path, name):
    """A name that is not UTF-8, and the longest that the file system takes."""
    path = os.path.join(os.fsencode(str(tmp_path)), name)
    write_png(os.fsdecode(path), picture(4, 6))
    assert os.listdir(os.fsencode(str(tmp_path))) == [name]
    with open(path, "rb") as file:
        image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image[:, :, ::-1], picture(4, 6))


def test_sheet():
    """Rows below one another under the captions, each picture at its column, small ones with their pixels repeated."""
    rows = [[picture(8, 6, 1), picture(32, 24, 2)], [picture(5, 10, 3), picture(20, 40, 4)]]
    result = sheet(rows, ["LR", "HR"])
    assert result.dtype == np.uint8
    assert result.shape == (CAPTION + 32 + MARGIN + 20 + MARGIN, 40 + MARGIN + 40 + MARGIN, 3)
    top = CAPTION
    for small, large in rows:
        height, width = large.shape[:2]
        np.testing.assert_array_equal(result[top : top + height : 4, 0:width:4], small)
        np.testing.assert_array_equal(result[top + 3 : top + height : 4, 3:width:4], small)
        np.testing.assert_array_equal(result[top : top + height, 44 : 44 + width], large)
        assert (result[top + height : top + height + MARGIN] == 255).all()
        assert (result[top : top + height, width:44] == 255).all()
        top += height + MARGIN


def test_captions_stand_above_their_columns():
    blank = np.full((8, 60, 3), 255, np.uint8)
    first = sheet([[blank, blank]], ["LR", ""])[:CAPTION]
    second = sheet([[blank, blank]], ["", "LR"])[:CAPTION]
    assert (first[:, :60] < 128).any() and (first[:, 60:] == 255).all()
    np.testing.assert_array_equal(first[:, :60], second[:, 60 + MARGIN : 120 + MARGIN])
    # A long caption is written smaller.
    long = sheet([[blank, blank]], ["bicubic, MATLAB", ""])[:CAPTION]
    assert (long[:, 60 + MARGIN :] == 255).all()


def test_a_picture_that_is_no_whole_fraction_is_not_stretched():
    result = sheet([[picture(9, 9, 1), picture(32, 32, 2)]], ["a", "b"])
    np.testing.assert_array_equal(result[CAPTION : CAPTION + 27 : 3, 0:27:3], picture(9, 9, 1))
    assert (result[CAPTION + 27 : CAPTION + 32, :27] == 255).all()


def test_deviation_map():
    """Black where samples are alike, the brighter the more they differ, the largest difference brightest."""
    samples = np.full((3, 2, 4, 3), 100, np.uint8)
    for column, difference in enumerate((0, 10, 20, 40)):
        samples[1, :, column] += difference
    brightness = deviation_map(samples).astype(int).sum(axis=2)
    assert (np.diff(brightness, axis=1) > 0).all() and brightness[0, 0] < 10
    np.testing.assert_array_equal(brightness[0], brightness[1])
    assert deviation_map(samples[:1]).max() < 10  # a single sample
