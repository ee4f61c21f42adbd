# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Image files: upright, right to the bit, or refused with a reason."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from src.dataloader.image_file import UnusableImage, read_image

HEIGHT, WIDTH = 24, 40


def smooth(channels, seed=0):
    """uint8 (24, 40, channels) without symmetry, smooth enough for JPEG."""
    coarse = np.random.RandomState(seed).randint(0, 256, (3, 5, channels)).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR).reshape(HEIGHT, WIDTH, channels)


RGB = smooth(3)
ALPHA = smooth(1, seed=1)
RGBA, GREY = np.concatenate([RGB, ALPHA], axis=2), RGB[:, :, 0]
RGB_OF_GREY = np.repeat(RGB[:, :, :1], 3, axis=2)
FINE = RGB.astype(np.uint16) * 257 + np.uint16(100)  # 16 bits that round to RGB
FINE[RGB == 255] = 65535
FINE_ALPHA = ALPHA.astype(np.uint16) * 257


def upright(image, orientation):
    """EXIF's definition: where the 0th row and the 0th column of the stored image belong."""
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    if row in ("left", "right"):
        image = np.transpose(image, (1, 0, 2))
    if "right" in (row, column):
        image = np.flip(image, 1)
    return np.flip(image, 0) if "bottom" in (row, column) else image


def save(path, image, **options):
    """An image file by Pillow, of an array or of a picture of its own; returns the path as text."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(str(path), **options)
    return str(path)


def save_by_opencv(path, image):
    """The same by OpenCV, which writes 16 bits; the array is RGB or RGBA."""
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[:, :, [2, 1, 0, 3][: image.shape[2]]])
    return str(path)


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


def chunk(kind, content):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def insert_chunk(path, kind, content):
    """Put a chunk behind a PNG file's header."""
    with open(path, "rb") as file:
        png = file.read()
    with open(path, "wb") as file:
        file.write(png[:33] + chunk(kind, content) + png[33:])


def set_tag(path, tag, value):
    """Change a 16-bit tag of a little-endian TIFF file."""
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        (directory,) = struct.unpack_from("<I", content, 4)
        (count,) = struct.unpack_from("<H", content, directory)
        (place,) = [
            place
            for place in range(directory + 2, directory + 2 + 12 * count, 12)
            if struct.unpack_from("<H", content, place) == (tag,)
        ]
        struct.pack_into("<H", content, place + 8, value)
        file.seek(0)
        file.write(content)


def refused(path):
    """Why the image is unusable: one line."""
    with pytest.raises(UnusableImage) as caught:
        read_image(str(path))
    reason = str(caught.value)
    assert reason and "\n" not in reason
    return reason


# ---------------------------------------------------------------------------------------------------------------------
# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "grey.jpg", "png", "16.png", "webp", "tif", "lzw.tif", "16.tif", "alpha.tif"])
def test_orientation(tmp_path, kind, orientation):
    path, expected = tmp_path / ("a." + kind), RGB
    if kind.endswith("jpg"):
        save(path, GREY if kind == "grey.jpg" else RGB, quality=95, exif=exif(orientation))
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1]
    elif kind == "16.png":
        insert_chunk(save_by_opencv(path, FINE), b"eXIf", exif(orientation)[6:])
    elif kind == "png":
        save(path, RGB, exif=exif(orientation))
    elif kind == "webp":
        save(path, RGB, exif=exif(orientation), lossless=True)
    elif kind == "16.tif":
        save(path, FINE[:, :, 0], tiffinfo={274: orientation})
        expected = RGB_OF_GREY
    else:
        save(
            path,
            RGBA if kind == "alpha.tif" else RGB,
            tiffinfo={274: orientation},
            compression="tiff_lzw" if kind == "lzw.tif" else None,
        )
    image = read_image(str(path))
    np.testing.assert_array_equal(image, upright(expected, orientation))
    assert image.flags.c_contiguous


@pytest.mark.parametrize("tags", [b"Exif\0\0", b"Exif\0\0no TIFF", exif(0), exif(9), exif(65535)])
def test_a_tag_that_says_nothing_leaves_the_image_as_it_is(tmp_path, tags):
    plain = read_image(save(tmp_path / "plain.jpg", RGB))
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.jpg", RGB, exif=tags)), plain)


# ---------------------------------------------------------------------------------------------------------------------
# Kinds of pixel


def test_jpeg_is_opencvs(tmp_path):
    for name, options in (("a", {}), ("progressive", {"progressive": True}), ("fine", {"subsampling": 0})):
        path = save(tmp_path / (name + ".jpg"), RGB, **options)
        np.testing.assert_array_equal(read_image(path), cv2.imread(path)[:, :, ::-1])
    grey = save(tmp_path / "grey.jpg", GREY)
    np.testing.assert_array_equal(read_image(grey), np.repeat(cv2.imread(grey, 0)[:, :, None], 3, axis=2))


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(RGB).convert("CMYK"), quality=100, subsampling=0)
    assert np.abs(read_image(path).astype(int) - RGB).max() <= 3


@pytest.mark.parametrize("kind", ["png", "tif", "lzw.tif", "webp", "bmp"])
def test_unassociated_alpha_is_dropped_and_colours_stay_as_stored(tmp_path, kind):
    options = {"webp": {"lossless": True, "exact": True}, "lzw.tif": {"compression": "tiff_lzw"}}.get(kind, {})
    path = str(tmp_path / ("a." + kind))
    if kind == "bmp":
        save_by_opencv(path, RGBA)
    else:
        save(path, RGBA, **options)
    np.testing.assert_array_equal(read_image(path), RGB)


def test_associated_alpha_leaves_colours_as_stored(tmp_path):
    path = save(tmp_path / "a.tif", RGBA)
    set_tag(path, 338, 1)
    np.testing.assert_array_equal(read_image(path), RGB)
    path = save_by_opencv(tmp_path / "16.tif", np.concatenate([FINE, FINE_ALPHA], axis=2))
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, suffix):
    with_alpha = np.concatenate([FINE, FINE_ALPHA], axis=2)
    for name, image, expected in (("rgb", FINE, RGB), ("rgba", with_alpha, RGB), ("grey", FINE[:, :, 0], RGB_OF_GREY)):
        path = save_by_opencv(tmp_path / f"{name}.{suffix}", image)
        np.testing.assert_array_equal(read_image(path), expected)


def test_sixteen_bit_grey_with_alpha(tmp_path):
    pixels = np.concatenate([FINE[:, :, :1], FINE_ALPHA], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 4, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), RGB_OF_GREY)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palettes_bits_and_grey(tmp_path, suffix):
    palette, bits = Image.fromarray(RGB).quantize(16), Image.fromarray(GREY).convert("1")
    of_palette, of_bits = np.asarray(palette.convert("RGB")), np.asarray(bits.convert("RGB"))
    np.testing.assert_array_equal(read_image(save(tmp_path / ("palette." + suffix), palette)), of_palette)
    np.testing.assert_array_equal(read_image(save(tmp_path / ("bits." + suffix), bits)), of_bits)
    np.testing.assert_array_equal(read_image(save(tmp_path / ("grey." + suffix), GREY)), RGB_OF_GREY)
    if suffix == "png":
        transparent = save(tmp_path / "transparent.png", palette, transparency=bytes(range(0, 160, 10)))
        np.testing.assert_array_equal(read_image(transparent), of_palette)
    if suffix != "bmp":
        with_alpha = save(tmp_path / ("alpha." + suffix), np.concatenate([RGB[:, :, :1], ALPHA], axis=2))
        np.testing.assert_array_equal(read_image(with_alpha), RGB_OF_GREY)


def test_white_is_zero(tmp_path):
    path = save(tmp_path / "a.tif", 255 - GREY)
    set_tag(path, 262, 0)
    np.testing.assert_array_equal(read_image(path), RGB_OF_GREY)


@pytest.mark.parametrize(
    "header, pixels, expected",
    [
        (b"P6\n# a comment\n40 24\n255\n", RGB, RGB),
        (b"P5 40 24 255\n", GREY, RGB_OF_GREY),
        (b"P6 40 24 65535\n", FINE.astype(">u2"), RGB),
        (b"P5 40 24 65535\n", FINE[:, :, 0].astype(">u2"), RGB_OF_GREY),
        (b"P6 40 24 51\n", RGB // 5, RGB // 5 * 5),
        (
            b"P5 40 24 4095\n",
            (GREY.astype(np.uint16) * 16).astype(">u2"),
            np.round(RGB_OF_GREY * (16 * 255 / 4095)).astype(np.uint8),
        ),
    ],
)
def test_ppm(tmp_path, header, pixels, expected):
    (tmp_path / "a.ppm").write_bytes(header + pixels.tobytes())
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.ppm")), expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_the_first_of_several_counts(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / ("a." + suffix), RGB, save_all=True, append_images=[Image.fromarray(255 - RGB)], **options)
    np.testing.assert_array_equal(read_image(path), RGB)


def test_jpeg_with_further_pictures(tmp_path):
    plain = read_image(save(tmp_path / "plain.jpg", RGB, exif=exif(6)))
    path = save(tmp_path / "a.mpo", RGB, exif=exif(6), save_all=True, append_images=[Image.fromarray(255 - RGB)])
    assert Image.open(path).format == "MPO"
    os.rename(path, str(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.jpg")), plain)


@pytest.mark.parametrize("bits", [8, 16])
def test_profiles_and_gamma_change_nothing_and_nothing_is_said_of_them(tmp_path, capfd, bits):
    for kind, content in (
        (b"iCCP", b"broken\0\0" + zlib.compress(b"no profile")),
        (b"gAMA", struct.pack(">I", 0)),
        (b"gAMA", struct.pack(">I", 100000)),
    ):
        path = save_by_opencv(tmp_path / "a.png", FINE if bits == 16 else RGB)
        insert_chunk(path, kind, content)
        np.testing.assert_array_equal(read_image(path), RGB)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tag, value", [(262, 0), (284, 2), (258, 12)])
def test_unusual_tiffs_of_16_bits_are_refused(tmp_path, tag, value):
    path = save_by_opencv(tmp_path / "a.tif", FINE if tag == 284 else FINE[:, :, 0])
    assert read_image(path).shape == RGB.shape
    set_tag(path, tag, value)
    reason = "is a TIFF of 12 bits" if tag == 258 else "is a TIFF of 16 bits of an uncommon kind"
    assert refused(path).startswith(reason)


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.int8])
def test_other_types_are_refused(tmp_path, capfd, kind):
    for name, image in (("rgb", RGB), ("grey", GREY)):
        assert "8 or 16 bits" in refused(save_by_opencv(tmp_path / (name + ".tif"), (image // 2).astype(kind)))
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------------------------------
# Files that are no images


def truncatable(folder):
    """Files of every format, without anything behind the pixels that they could do without."""
    yield save(folder / "a.jpg", RGB)
    yield save(folder / "progressive.jpg", RGB, progressive=True)
    yield save(folder / "a.png", RGB)
    yield save_by_opencv(folder / "16.png", FINE)
    yield save(folder / "a.bmp", RGB)
    yield save(folder / "a.ppm", RGB)
    yield save(folder / "a.webp", RGB, lossless=True)
    yield save(folder / "lossy.webp", RGB)
    yield save(folder / "a.tif", RGB)
    yield save_by_opencv(folder / "16.tif", FINE)


def test_truncated_files_are_refused(tmp_path):
    for path in truncatable(tmp_path):
        whole = read_image(path)
        with open(path, "rb") as file:
            content = file.read()
        for length in list(range(1, len(content), 37)) + [len(content) - missing for missing in (40, 2)]:
            with open(path, "wb") as file:
                file.write(content[:length])
            try:
                image = read_image(path)
            except UnusableImage as error:
                assert str(error).startswith("cannot be read as an image: ")
            else:  # what is missing is no pixel, such as the end mark of PNG
                assert path.endswith("a.png") and length > len(content) - 20
                np.testing.assert_array_equal(image, whole)


def test_a_truncated_jpeg_is_told(tmp_path):
    path = save(tmp_path / "a.jpg", RGB)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 100)
    assert "truncated" in refused(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg", "tif"])
def test_too_many_pixels_are_refused_at_once(tmp_path, suffix):
    """A small file that declares 30000x30000 pixels or more."""
    path = save(tmp_path / ("a." + suffix), RGB)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    if suffix == "png":
        content[16:33] = chunk(b"IHDR", struct.pack(">II", 30000, 30000) + bytes(content[24:29]))[8:]
    elif suffix == "bmp":
        content[18:26] = struct.pack("<ii", 30000, 30000)
    elif suffix == "jpg":
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", 30000, 30000)
    with open(path, "wb") as file:
        file.write(content)
    if suffix == "tif":
        for tag in (256, 257):
            set_tag(path, tag, 30000)
    assert "900000000 pixels" in refused(path)


def test_a_size_that_would_take_gigabytes_is_refused_too(tmp_path):
    """Less than what Pillow takes for an attack."""
    path = save(tmp_path / "a.png", RGB)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[16:33] = chunk(b"IHDR", struct.pack(">II", 13000, 13000) + bytes(content[24:29]))[8:]
    with open(path, "wb") as file:
        file.write(content)
    assert refused(path) == "has 13000x13000 pixels, more than 134217728 are not read; cut it into parts"


def test_what_is_no_image(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    assert refused(tmp_path / "empty.png") == "cannot be read as an image: it is empty"
    (tmp_path / "text.png").write_text("not an image")
    assert refused(tmp_path / "text.png").startswith("cannot be read as an image: it is damaged, or no BMP, JPEG, ")
    (tmp_path / "folder.png").mkdir()
    assert refused(tmp_path / "folder.png") == "is no regular file"
    os.mkfifo(str(tmp_path / "pipe.png"))
    assert refused(tmp_path / "pipe.png") == "is no regular file"
    assert refused(tmp_path / "none.png") == "cannot be read: No such file or directory"
    with open(str(tmp_path / "huge.png"), "wb") as file:
        file.truncate(1 << 31)
    assert refused(tmp_path / "huge.png").startswith("has 2147483648 bytes, expected at most ")
    picture = io.BytesIO()
    Image.fromarray(RGB).save(picture, "GIF")
    (tmp_path / "gif.png").write_bytes(picture.getvalue())
    assert refused(tmp_path / "gif.png").startswith("cannot be read as an image: it is damaged, or no BMP, JPEG, ")


def test_names_that_are_not_utf8(tmp_path):
    for suffix in ("png", "jpg", "tif"):
        path = os.path.join(str(tmp_path), os.fsdecode(b"caf\xe9." + suffix.encode()))
        plain = save(tmp_path / ("plain." + suffix), RGB)
        os.rename(plain, path)
        assert read_image(path).shape == RGB.shape
