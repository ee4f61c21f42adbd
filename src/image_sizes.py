# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes at which images are computed: even ones, and only a few for a folder of many sizes.

    sizes = few_sizes([lr.shape[:2] for lr in pictures], tile=96)
    samples = [model.sample(lr, tile=96, size=sizes[lr.shape[:2]]) for lr in pictures]

A size is (height, width), in pixels of the low-resolution image.
"""

import collections
import functools

import numpy as np

from src.images import even

MAX_SIZES = 6  # each takes 5 to 10 s to compile (full network), and 0.1 to 0.6 GB as long as the program runs
_MAX_GROUPS = 128  # merged one by one; where there are more, sizes are first rounded up


def few_sizes(sizes, tile=None, limit=MAX_SIZES):
    """Choose the size at which each image is computed, so that at most `limit` sizes are compiled.

    A side of at least a tile's length counts as the tile, which is what is compiled there. Such a side is only made
    even. Where `limit` is enough for the even sizes, nothing else is done. Otherwise sizes are merged two by two. Each
    time it is the pair whose merging adds the fewest pixels over all images. Very many sizes are first made fewer by
    rounding up. The result does not depend on the order of the sizes.

    Args:
        sizes: list of (height, width), one per image, repeated where several images have the same.
        tile: side of the tiles in LR pixels, as `SRFlow.sample` takes it; None: images are computed whole.
        limit: the largest number of sizes to compile.

    Returns:
        dict from each size to the even size, at least as large, at which its images are computed.
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
    """Return lists of the sizes that are compiled as one when sides are rounded up to a multiple of `unit`."""
    groups = collections.defaultdict(list)
    for size in sorted(counts):
        groups[tuple(-(-side // unit) for side in _compiled(size, tile))].append(size)
    return [groups[rounded] for rounded in sorted(groups)]


def _compiled(size, tile):
    return tuple(tile if _reaches(side, tile) else side for side in even(size))


def _reaches(side, tile):
    return tile is not None and side >= tile


def _row(size, count, tile):
    """Return what `_pixels` needs to know of `count` images of one size.

    Returns:
        int array (6,). The first two are the compiled height and width. Exactly one of the other four is not 0. It is
        the number of images if no side reaches the tile, the sum of their heights if only the height does, the sum of
        their widths if only the width does, and the sum of their pixels if both do.
    """
    height, width = even(size)
    place = 2 + _reaches(height, tile) + 2 * _reaches(width, tile)
    row = np.array(_compiled(size, tile) + (0, 0, 0, 0))
    row[place] = count * (1, height, width, height * width)[place - 2]
    return row


def _pixels(rows):
    """Count the pixels that are computed over all images of a group; rows: int (..., 6), as `_row` gives them."""
    height, width, free, heights, widths, both = np.moveaxis(rows, -1, 0)
    return free * height * width + heights * width + widths * height + both


def _merged(first, second):
    first, second = np.broadcast_arrays(first, second)
    return np.concatenate([np.maximum(first[..., :2], second[..., :2]), first[..., 2:] + second[..., 2:]], axis=-1)
