# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes at which images are computed: even ones, and of a folder of many sizes only a few.

    sizes = few_sizes([lr.shape[:2] for lr in pictures], tile=96)
    samples = [model.sample(lr, tile=96, size=sizes[lr.shape[:2]]) for lr in pictures]

Sizes are (height, width) in pixels of the low-resolution image unless said otherwise. Padding is at the bottom and
right, by reflection, as in the official evaluation.
"""
import collections
import functools

import numpy as np

MAX_SIZES = 6  # of the full network each takes 5 to 10 s to compile, and 0.1 to 0.6 GB as long as the program runs
_MAX_GROUPS = 128  # that are merged one by one; more are made fewer by rounding up first


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


def few_sizes(sizes, tile=None, limit=MAX_SIZES):
    """At which size to compute each image, so that no more than `limit` are compiled: {size: even size that holds it}.

    sizes: of all images, repeated where several have one. tile: as `SRFlow.sample` takes it. A side longer than the
    tile counts as the tile, which is what is compiled, and is only made even. Where `limit` suffices, that is all that
    is done to any. Otherwise sizes are merged two by two, always those whose merging adds the fewest pixels over all
    images. The result does not depend on the sizes' order.
    """
    counts = collections.Counter(sizes)
    groups, unit = _groups(counts, tile, 2), 4
    while len(groups) > max(limit, _MAX_GROUPS):
        groups, unit = _groups(counts, tile, unit), 2 * unit
    table = np.array([functools.reduce(_merged, [_row(size, counts[size], tile) for size in group])
                      for group in groups])
    while len(groups) > limit:
        added = _pixels(_merged(table[:, None], table)) - _pixels(table)[:, None] - _pixels(table)
        added[np.tril_indices(len(groups))] = np.iinfo(added.dtype).max  # each pair once, none with itself
        i, j = np.unravel_index(added.argmin(), added.shape)
        table[i] = _merged(table[i], table[j])
        table = np.delete(table, j, axis=0)
        groups[i] += groups.pop(j)
    return {size: tuple(side if _reaches(side, tile) else int(target) for side, target in zip(even(size), row))
            for group, row in zip(groups, table) for size in group}


def _groups(counts, tile, unit):
    """Lists of the sizes for which one size is compiled, if that is rounded up to a multiple of `unit`."""
    groups = collections.defaultdict(list)
    for size in sorted(counts):
        groups[tuple(-(-side // unit) for side in _compiled(size, tile))].append(size)
    return [groups[rounded] for rounded in sorted(groups)]


def _compiled(size, tile):
    return tuple(tile if _reaches(side, tile) else side for side in even(size))


def _reaches(side, tile):
    return tile is not None and side >= tile


def _row(size, count, tile):
    """What `_pixels` needs of `count` images of a size.

    The compiled height and width; the number of images with neither side beyond the tile; the sum of the heights of
    those higher only, of the widths of those wider only, and of the pixels of those that are both.
    """
    height, width = even(size)
    place = 2 + _reaches(height, tile) + 2 * _reaches(width, tile)
    row = np.array(_compiled(size, tile) + (0, 0, 0, 0))
    row[place] = count * (1, height, width, height * width)[place - 2]
    return row


def _pixels(rows):
    """Over all images of a group."""
    height, width, free, heights, widths, both = np.moveaxis(rows, -1, 0)
    return free * height * width + heights * width + widths * height + both


def _merged(first, second):
    first, second = np.broadcast_arrays(first, second)
    return np.concatenate([np.maximum(first[..., :2], second[..., :2]), first[..., 2:] + second[..., 2:]], axis=-1)


def _reflected(before, after, scale):
    """Of which of its s·before rows each of the s·after rows of a padded high-resolution image is a copy."""
    first, period = (scale - 1) / 2, 2 * scale * (before - 1)  # the middle of the first pixel; there and back
    rows = np.arange(scale * after)
    distance = (rows - first) % period
    mirrored = first + np.minimum(distance, period - distance)
    return np.where(rows < scale * before, rows, mirrored.astype(int))
