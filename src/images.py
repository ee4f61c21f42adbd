# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Images as arrays: pictures as the network takes them and back, noise, padding to even sizes.

Sizes are (height, width) in pixels of the low-resolution image unless said otherwise. Padding is at the bottom and
right, by reflection, as in the official evaluation.
"""

import numpy as np

_ROWS = 16  # of an image at a time, where all would need temporary memory many times their own


def as_floats(images):
    """uint8 (N, 3, h, w) as the network takes it: float32 in [0, 1]; what is float32 stays."""
    floats = np.ascontiguousarray(images, np.float32)
    return floats / np.float32(255) if images.dtype == np.uint8 else floats


def from_uint8(image):
    """A picture, uint8 (H, W, 3), as the network takes it: float32 (1, 3, H, W) in [0, 1]."""
    return as_floats(image.transpose(2, 0, 1)[None])


def to_uint8(images, out=None):
    """float32 (..., 3, H, W) in [0, 1] -> uint8 (..., H, W, 3): clipped, times 255, truncated; NaN is black.

    out: the array to write to; None: a new one.
    """
    if out is None:
        out = np.empty(images.shape[:-3] + images.shape[-2:] + (3,), np.uint8)
    for top in range(0, images.shape[-2], _ROWS):
        rows = np.clip(np.nan_to_num(images[..., top : top + _ROWS, :], nan=0), 0, 1) * 255
        out[..., top : top + _ROWS, :, :] = np.moveaxis(rows, -3, -1)
    return out


def fill(array, draw):
    """Fills a float32 array (..., H, W) with float64 numbers, in order; draw: gives the next ones of a shape."""
    for index in np.ndindex(array.shape[:-2]):
        for top in range(0, array.shape[-2], _ROWS):
            rows = array[index][top : top + _ROWS]
            rows[...] = draw(rows.shape)


def dequantise(hr, noise, quant):
    """hr + (u − ½)/quant: uniform noise that fills the gaps between quantised values (SRFlow, section 3.5)."""
    return hr + (noise - np.float32(0.5)) / np.float32(quant)


def even(size):
    """The smallest even size that holds this one."""
    return tuple(side + side % 2 for side in size)


def pad_to_even(lr):
    """Pads (..., h, w) by reflection at the bottom and right until h and w are even."""
    return pad_to(lr, even(lr.shape[-2:]))


def pad_to(images, size):
    """Pads (..., h, w) by reflection at the bottom and right to `size`, again and again where that is far more.

    The array itself where there is nothing to pad.
    """
    missing = [after - before for after, before in zip(size, images.shape[-2:])]
    if not any(missing):
        return images
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(0, side) for side in missing], mode="reflect")


def pad_hr_to(hr, lr_size, size, scale):
    """What `pad_to` makes of the high-resolution images (..., s·h, s·w) of low-resolution ones, lr_size -> size.

    They are reflected about the middle of the last low-resolution pixel, not of their own: so the padded ones still are
    the high-resolution images of the padded low-resolution ones.
    """
    for axis, before, after in zip((-2, -1), lr_size, size):
        if after > before:
            hr = hr.take(_reflected(before, after, scale), axis)
    return hr


def _reflected(before, after, scale):
    """Of which of its s·before rows each of the s·after rows of a padded high-resolution image is a copy."""
    first, period = (scale - 1) / 2, 2 * scale * (before - 1)  # the middle of the first pixel; there and back
    rows = np.arange(scale * after)
    distance = (rows - first) % period
    mirrored = first + np.minimum(distance, period - distance)
    return np.where(rows < scale * before, rows, mirrored.astype(int))
