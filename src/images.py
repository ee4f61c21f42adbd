# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Images as arrays: conversion to and from the network's form, noise, and padding to even sizes.

A size is (height, width), in pixels of the low-resolution image unless said otherwise. Padding is by reflection at the
bottom and right, as in the official evaluation.
"""

import numpy as np

_ROWS = 16  # rows of an image at a time: all at once need temporary memory many times their own


def as_floats(images):
    """Return images as the network takes them: uint8 is divided by 255, float32 stays as it is.

    Args:
        images: uint8 or float32 (N, 3, h, w).

    Returns:
        float32 (N, 3, h, w), in [0, 1] where the images were uint8.
    """
    floats = np.ascontiguousarray(images, np.float32)
    return floats / np.float32(255) if images.dtype == np.uint8 else floats


def from_uint8(image):
    """Return a picture, uint8 (H, W, 3), as the network takes it: float32 (1, 3, H, W) in [0, 1]."""
    return as_floats(image.transpose(2, 0, 1)[None])


def to_uint8(images, out=None):
    """Return images as pictures: clipped to [0, 1], times 255, truncated; NaN becomes black.

    Args:
        images: float32 (..., 3, H, W).
        out: uint8 array (..., H, W, 3) to write to; None: a new one.

    Returns:
        uint8 (..., H, W, 3), which is `out` if that was given.
    """
    if out is None:
        out = np.empty(images.shape[:-3] + images.shape[-2:] + (3,), np.uint8)
    for top in range(0, images.shape[-2], _ROWS):
        rows = np.clip(np.nan_to_num(images[..., top : top + _ROWS, :], nan=0), 0, 1) * 255
        out[..., top : top + _ROWS, :, :] = np.moveaxis(rows, -3, -1)
    return out


def fill(array, draw):
    """Fill a float32 array with float64 numbers, in order and a few rows at a time.

    Args:
        array: float32 (..., H, W), filled in place.
        draw: function that takes a shape and gives the next float64 numbers in that shape.
    """
    for index in np.ndindex(array.shape[:-2]):
        for top in range(0, array.shape[-2], _ROWS):
            rows = array[index][top : top + _ROWS]
            rows[...] = draw(rows.shape)


def dequantise(hr, noise, quant):
    """Add uniform noise that fills the gaps between quantised values: hr + (u − ½)/quant (SRFlow, section 3.5).

    Args:
        hr: float32 array of images in [0, 1].
        noise: u, float32 of the same shape, uniform in [0, 1).
        quant: levels of the noise, whose width is 1/quant.
    """
    return hr + (noise - np.float32(0.5)) / np.float32(quant)


def even(size):
    """Return the smallest even size that holds this one."""
    return tuple(side + side % 2 for side in size)


def pad_to_even(lr):
    """Pad (..., h, w) by reflection at the bottom and right until h and w are even."""
    return pad_to(lr, even(lr.shape[-2:]))


def pad_to(images, size):
    """Pad images by reflection at the bottom and right.

    Where more is missing than the image has, it is reflected again and again.

    Args:
        images: array (..., h, w).
        size: (height, width), at least (h, w).

    Returns:
        array (..., height, width); the given array itself where there is nothing to pad.
    """
    missing = [after - before for after, before in zip(size, images.shape[-2:])]
    if not any(missing):
        return images
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(0, side) for side in missing], mode="reflect")


def pad_hr_to(hr, lr_size, size, scale):
    """Pad high-resolution images to match low-resolution ones that `pad_to` has padded.

    The reflection is about the middle of the last low-resolution pixel, not about that of the last high-resolution one.
    So the result is still the high-resolution image of the padded low-resolution image.

    Args:
        hr: array (..., scale·h, scale·w).
        lr_size: (h, w), the low-resolution size before padding.
        size: (height, width), the low-resolution size after padding.
        scale: HR over LR sides.

    Returns:
        array (..., scale·height, scale·width).
    """
    for axis, before, after in zip((-2, -1), lr_size, size):
        if after > before:
            hr = hr.take(_reflected(before, after, scale), axis)
    return hr


def _reflected(before, after, scale):
    """Return, for each of the scale·after rows of a padded high-resolution image, the row that it copies."""
    first, period = (scale - 1) / 2, 2 * scale * (before - 1)  # first pixel's middle; there and back
    rows = np.arange(scale * after)
    distance = (rows - first) % period
    mirrored = first + np.minimum(distance, period - distance)
    return np.where(rows < scale * before, rows, mirrored.astype(int))
