# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Image files as uint8 RGB arrays.

An image is turned upright by its orientation tag. Grey becomes RGB, and 16 bits are rounded to 8. An alpha channel is
dropped and the colours stay as stored. Where TIFF says that they are multiplied by alpha, this is the image over black.
Colour profiles and gamma are not applied. Of several pages or frames the first counts.

Pillow reads every file whole, so that a damaged or truncated one is found: OpenCV fills up what is missing of a JPEG
file. The pixels are Pillow's too, except where OpenCV's are the better ones, see `_needs_opencv`.
"""

import io
import logging
import os
import re
import stat
import warnings

import cv2
import numpy as np
from PIL import Image

from src.dataloader.mindrecord_file import LARGEST_IMAGE

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_JPEG = ("JPEG", "MPO")  # MPO: Pillow's name for a JPEG file with more pictures behind the first, as of a phone
_LARGEST_FILE = (1 << 31) - 1  # bytes; OpenCV takes no more
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # Pillow's kinds of pixel of up to 8 bits

logging.getLogger("PIL").addHandler(logging.NullHandler())  # our own messages say what Pillow has to say

_ORIENTATION = 274  # these are TIFF's tags; the orientation is EXIF's too
_BITS, _PHOTOMETRIC, _PLANAR, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 284, 338, 339
_BLACK_IS_ZERO, _RGB, _INTERLEAVED, _UNSIGNED, _ASSOCIATED_ALPHA = 1, 2, 1, 1, 1


class UnusableImage(Exception):
    """An image that cannot be used; the message says why."""


def read_image(path):
    """Read an image file.

    Args:
        path: a file whose content is BMP, JPEG, PNG, PPM, TIFF or WebP, whatever its suffix.

    Returns:
        uint8 RGB (H, W, 3), upright.

    Raises:
        UnusableImage: the file cannot be read, is damaged or truncated, or has too many pixels or another kind of them.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise UnusableImage("is no regular file")
        if status.st_size > _LARGEST_FILE:
            raise UnusableImage(f"has {status.st_size} bytes, expected at most {_LARGEST_FILE}")
        with open(path, "rb") as file:
            # Read whole: decoders ask for as much as a damaged file claims to have, and a file allocates as much.
            return _read(io.BytesIO(file.read()))
    except OSError as error:
        raise UnusableImage(f"cannot be read: {error.strerror or error}") from None


def to_rgb8(image):
    """Convert an array of pixels to uint8 RGB; alpha is dropped.

    Args:
        image: grey, RGB or RGBA of 8 or 16 bits, uint8 or uint16 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        UnusableImage: another type or shape.
    """
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise UnusableImage(f"has pixels of type {image.dtype}, expected 8 or 16 bits")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise UnusableImage(f"has shape {image.shape}, expected grey, RGB or RGBA")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


def _read(file):
    if not file.seek(0, os.SEEK_END):
        raise UnusableImage("cannot be read as an image: it is empty")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata, transparent palettes, and sizes that are still allowed
            return _decode(file)
    except UnusableImage:
        raise
    except Image.UnidentifiedImageError:
        raise UnusableImage(
            "cannot be read as an image: it is damaged, or no BMP, JPEG, PNG, PPM, TIFF or WebP of 8 or 16 bits"
        ) from None
    except Exception as error:  # noqa: BLE001  # damaged files make decoders raise anything
        raise UnusableImage(f"cannot be read as an image: {_reason(error)}") from None


def _decode(file):
    picture = Image.open(file, formats=_FORMATS)
    if picture.width * picture.height > LARGEST_IMAGE:
        raise UnusableImage(
            f"has {picture.height}x{picture.width} pixels, more than {LARGEST_IMAGE} are not read; cut it into parts"
        )
    if picture.format == "TIFF":
        _check_tiff(picture.tag_v2)
    picture.draft(None, (1, 1))  # an eighth of a JPEG's size will do here: its pixels will be OpenCV's
    picture.load()
    pixels = _opencv_pixels(picture, file) if _needs_opencv(picture, file) else _pillow_pixels(picture)
    return _upright(to_rgb8(pixels), _orientation(picture))


def _reason(error):
    """Return what an error says in one line; of libtiff's errors Pillow knows nothing but a number."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "its data is damaged" if re.fullmatch(r"(decoder error )?-?\d+", words) else words


def _check_tiff(tags):
    """Refuse a TIFF file that would be decoded wrongly."""
    bits = tags.get(_BITS, (1,))
    if set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
        raise UnusableImage("is a TIFF of signed or floating-point numbers, expected unsigned ones of 8 or 16 bits")
    if len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        raise UnusableImage(f"is a TIFF of {' '.join(str(number) for number in bits[:4])} bits, expected 8 or 16")
    interleaved = len(bits) == 1 or tags.get(_PLANAR, _INTERLEAVED) == _INTERLEAVED
    if bits[0] == 16 and not (interleaved and tags.get(_PHOTOMETRIC) in (_BLACK_IS_ZERO, _RGB)):
        raise UnusableImage(
            "is a TIFF of 16 bits of an uncommon kind, expected black as zero and the colours of a pixel side by side"
        )


def _needs_opencv(picture, file):
    """Tell whether OpenCV decodes the picture.

    - JPEG: so that the pixels do not depend on Pillow's version.
    - PNG and TIFF of 16 bits: Pillow keeps 8 of them. It scales PPM's correctly.
    - TIFF with associated alpha: Pillow divides by alpha.
    """
    if picture.format == "TIFF":
        tags = picture.tag_v2
        return tags.get(_BITS, (1,))[0] == 16 or _ASSOCIATED_ALPHA in tags.get(_EXTRA_SAMPLES, ())
    if picture.format == "PNG":
        file.seek(24)  # the bit depth in the header, which comes first
        return file.read(1) == b"\x10"
    return picture.format in _JPEG


def _opencv_pixels(picture, file):
    file.seek(0)
    content = file.read()
    if picture.format == "PNG":
        content = _without_metadata(content)
    level = cv2.setLogLevel(0)  # nothing is logged; errors come as exceptions too
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    finally:
        cv2.setLogLevel(level)
    if image is None:
        raise UnusableImage(f"cannot be read as an image: OpenCV cannot decode this {picture.format}")
    if image.ndim == 3 and image.shape[2] >= 3:
        image = np.concatenate([image[:, :, 2::-1], image[:, :, 3:]], axis=2)  # OpenCV gives BGR or BGRA
    return image


def _without_metadata(png):
    """Return a PNG file's pixels alone: libpng writes to stderr what it thinks of the rest, such as colour profiles."""
    kept, start = [png[:8]], 8
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], "big")
        if png[start + 4 : start + 8] in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def _pillow_pixels(picture):
    if picture.format == "PPM" and picture.mode == "I":  # grey of more than 8 bits, scaled to 16
        return np.asarray(picture).astype(np.uint16)
    if picture.mode not in _MODES:
        raise UnusableImage(f"has pixels of Pillow's mode {picture.mode}, expected grey, RGB or RGBA of 8 or 16 bits")
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _orientation(picture):
    """Return the orientation, 1 to 8 as in EXIF; 1, upright, where there is no tag that can be read."""
    if picture.format == "TIFF":  # Pillow and OpenCV have turned it already
        return 1
    try:
        return picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # as above; damaged metadata tell no orientation
        return 1


def _upright(image, orientation):
    """Turn an image as the camera was held; unknown orientations leave it as it is."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
