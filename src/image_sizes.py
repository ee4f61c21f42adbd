# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes at which images are computed: even ones, and of a folder of many sizes only a few.

    sizes = few_sizes([lr.shape[:2] for lr in pictures], tile=96)
    samples = [model.sample(lr, tile=96, size=sizes[lr.shape[:2]]) for lr in pictures]

Sizes are (height, width) in pixels of the low-resolution image.
"""

import collections
import functools

import numpy as np

from src.images import even

MAX_SIZES = 6  # of the full network each takes 5 to 10 s to compile, and 0.1 to 0.6 GB as long as the program runs
_MAX_GROUPS = 128  # that are merged one by one; more are made fewer by rounding up first


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
    table = np.array(
        [functools.reduce(_merged, [_row(size, counts[size], tile) for size in group]) for group in groups]
    )
    while len(groups) > limit:
        added = _pixels(_merged(table[:, None], table)) - _pixels(table)[:, None] - _pixels(table)
        added[np.tril_indices(len(groups))] = np.iinfo(added.dtype).max  # each pair once, none with itself
        i, j = np.unravel_index(added.argmin(), added.shape)
        table[i] = _merged(table[i], table[j])
        table = np.delete(table, j, axis=0)
        groups[i] += groups.pop(j)
    return {
        size: tuple(side if _reaches(side, tile) else int(target) for side, target in zip(even(size), row))
        for group, row in zip(groups, table)
        for size in group
    }


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
