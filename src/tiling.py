# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Large images in parts: where tiles lie, their share of the latents, and how their images become one.

    def image_of(tile):                          # lr (1, 3, height, width), latents as the whole image has them
        return model.decode(tile.cut(lr), crop_latents(latents, tile, scale))[0]

    for row, strip in assemble(tiles(height, width, tile=96, overlap=32), image_of, scale, margin=8):
        image[:, row:row + strip.shape[1]] = strip

Lengths are in pixels of the low-resolution image unless said otherwise. They are even, because the flow's deepest level
works at half of that resolution.

Convolutions see zeros beyond an image's edge. So near a tile's edge the network gives other values than in the whole
image. For that reason tiles overlap, and their margins are thrown away.
"""

import numbers
from typing import NamedTuple

import numpy as np

TILE = 96  # the side of tiles where no other is asked for


class Tile(NamedTuple):
    """A rectangle of the LR image: its first row and column, its number of rows and columns, in LR pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, images, scale=1):
        """Return the tile's part of images, as a view.

        Args:
            images: array (..., scale·h, scale·w), h and w being the sides of the LR image.
            scale: how many times the LR image's sides the images' sides are.

        Returns:
            view (..., scale·height, scale·width).
        """
        return images[(Ellipsis,) + self.slices(scale)]

    def cut_picture(self, picture, scale=1):
        """Return the tile's part of a picture, array (scale·h, scale·w, 3), as a view."""
        return picture[self.slices(scale)]

    def slices(self, numerator=1, denominator=1):
        """Return the tile's (rows, columns) in an image numerator/denominator times as large as the LR image."""
        return tuple(
            slice(start * numerator // denominator, (start + length) * numerator // denominator)
            for start, length in ((self.top, self.height), (self.left, self.width))
        )


def tiles(height, width, tile, overlap):
    """Cover an LR image with tiles, row by row.

    All tiles have one size, so that the network is compiled once: `tile` on a side, or the whole side where that is
    shorter. Neighbours overlap by `overlap`. The last tiles are shifted inwards to end with the image, so they overlap
    by more.

    Args:
        height, width: sides of the image, even, at least 2.
        tile: side of a tile, even, at least 2.
        overlap: even, from 0 to less than `tile`.

    Returns:
        list of Tile.

    Raises:
        ValueError: a number that is odd or out of range.
    """
    for name, value in (("height", height), ("width", width), ("tile", tile)):
        _require_even(name, value, at_least=2)
    _require_even("overlap", overlap, at_least=0)
    if overlap >= tile:
        raise ValueError(f"overlap: expected less than the tile's {tile} pixels, got {overlap}")
    return [
        Tile(top, left, min(tile, height), min(tile, width))
        for top in _starts(height, tile, overlap)
        for left in _starts(width, tile, overlap)
    ]


def middle(size, side):
    """Return the Tile in the middle of an LR image of this (height, width), at most `side` high and wide."""
    lengths = [min(side, length) for length in size]
    return Tile(*[(whole - length) // 2 for whole, length in zip(size, lengths)], *lengths)


def crop_latents(latents, tile, scale):
    """Return the part of a whole image's latents that belongs to a tile.

    All tiles must see one field of latents. Otherwise overlaps would be averages of unrelated textures.

    Args:
        latents: float32 (..., C, scale·h/2^k, scale·w/2^k) each, in the order of `FlowUpsamplerNet.latent_shapes`; the
            last one has half the sides of the (h, w) LR image.
        tile: Tile within that image, its numbers even.
        scale: HR over LR sides, a power of two.

    Returns:
        list of views, in the order of the latents.

    Raises:
        ValueError: latents, a tile or a scale that do not fit this.
    """
    if not isinstance(scale, numbers.Integral) or scale < 1 or scale & (scale - 1):
        raise ValueError(f"scale: expected a power of two, got {scale!r}")
    if len(latents) == 0 or np.ndim(latents[-1]) < 3:
        raise ValueError(
            f"latents: expected arrays (..., C, H, W), got shapes {[np.shape(value) for value in latents]}"
        )
    height, width = (2 * side for side in np.shape(latents[-1])[-2:])
    if any(value % 2 for value in tile) or not (
        0 <= tile.top < tile.top + tile.height <= height and 0 <= tile.left < tile.left + tile.width <= width
    ):
        raise ValueError(f"tile: expected even numbers within the LR image of {height} x {width}, got {tile}")
    return [latent[(Ellipsis,) + tile.slices(_halves(np.shape(latent), height, width, scale), 2)] for latent in latents]


def assemble(parts, image_of, scale, margin=0):
    """Put the SR images of tiles together, weighted so that no seam is left.

    Across the overlap of two tiles the weights ramp linearly from one to the other. A pixel on which all of its tiles
    agree keeps its value to the bit. Where the margin is the radius within which the network sees, the result is that
    of the whole image. Memory is needed for one row of tiles.

    Args:
        parts: list of Tile, as `tiles` returns it.
        image_of: function from a Tile to its SR image, float (..., 3, scale·height, scale·width); leading dimensions
            hold several images at once.
        scale: SR over LR sides.
        margin: LR pixels that are not used at every edge of a tile inside the image, at most half of the overlap.

    Yields:
        (row, strip), from top to bottom. A strip is float32 (..., 3, rows, scale·w): the SR image's rows from `row` on,
        which no later tile touches. It is a view of memory that is used again for the next strip.

    Raises:
        ValueError: parts that are not the tiles of one image, an image of a wrong shape, or a number out of range.
    """
    for name, value, least in (("scale", scale, 1), ("margin", margin, 0)):
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")
    rows = _weights({(tile.top, tile.height) for tile in parts}, scale, margin)
    columns = _weights({(tile.left, tile.width) for tile in parts}, scale, margin)
    if not parts or list(parts) != sorted(set(parts)) or len(parts) != len(rows) * len(columns):
        raise ValueError(f"parts: expected all tiles of one image, each once and row by row, got {len(parts)}")
    width = max(tile.left + tile.width for tile in parts)
    mean, total = None, np.zeros((scale * parts[0].height, scale * width), np.float32)
    for tile, following in zip(parts, parts[1:] + [None]):
        image = _checked_image(image_of(tile), tile, scale)
        if mean is None:
            mean = np.zeros(image.shape[:-2] + total.shape, np.float32)
        _add(
            image,
            np.outer(rows[tile.top, tile.height], columns[tile.left, tile.width]),
            *[Tile(0, tile.left, tile.height, tile.width).cut(strip, scale) for strip in (mean, total)],
        )
        if following is None or following.top > tile.top:
            final = scale * (following.top - tile.top) if following else mean.shape[-2]
            yield scale * tile.top, mean[..., :final, :]
            _move_up(mean, final)
            _move_up(total, final)


def _checked_image(image, tile, scale):
    height, width = scale * tile.height, scale * tile.width
    if np.shape(image)[-3:] != (3, height, width):
        raise ValueError(f"image: expected shape (..., 3, {height}, {width}) for {tile}, got {np.shape(image)}")
    return image


def _add(image, weight, mean, total):
    """Take an image into the weighted mean of those before it, in place.

    Args:
        image: float (..., 3, H, W), the new values.
        weight: float32 (H, W), their weights.
        mean: float32 (..., 3, H, W), the mean so far.
        total: float32 (H, W), the sum of the weights so far.
    """
    total += weight
    # A running mean needs no division in the end. Equal values leave it exactly as it is.
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    with np.errstate(invalid="ignore"):  # infinity less infinity, where a tile has it in its share
        # Without a share nothing may come in: of an image that is not finite there 0 times it is NaN.
        mean += np.subtract(image, mean, out=np.zeros_like(mean), where=share > 0) * share


def _move_up(strip, rows):
    kept = strip.shape[-2] - rows
    strip[..., :kept, :] = strip[..., rows:, :]
    strip[..., kept:, :] = 0


def _starts(length, tile, overlap):
    """Return where tiles start along a side of an image."""
    if length <= tile:
        return [0]
    return list(range(0, length - tile, tile - overlap)) + [length - tile]


def _weights(intervals, scale, margin):
    """Return the weights of tiles along one axis.

    Args:
        intervals: set of (start, length), in LR pixels.
        scale: SR over LR sides.
        margin: LR pixels without weight at every edge inside the image.

    Returns:
        dict from each interval to float32 (scale·length,).

    Raises:
        ValueError: a margin of more than half of an overlap.
    """
    ordered = sorted(intervals)
    weights = {interval: np.ones(scale * interval[1], np.float32) for interval in ordered}
    for before, after in zip(ordered, ordered[1:]):
        overlap = sum(before) - after[0]
        if overlap < 2 * margin:
            raise ValueError(
                f"margin: expected at most half of the overlap, which is {overlap} pixels between tiles "
                f"at {before[0]} and {after[0]}, got {margin}"
            )
        for weight in (weights[before][::-1], weights[after]):
            np.minimum(weight, _ramp(weight.size, scale * margin, scale * overlap), out=weight)
    return weights


def _ramp(size, margin, overlap):
    """Return weights that are 0 in the margin, rise until a margin is left of the overlap, and then are 1.

    Args:
        size: number of weights, in SR pixels.
        margin, overlap: in SR pixels.

    Returns:
        float32 (size,).
    """
    rise = max(overlap - 2 * margin, 1)
    return np.clip((np.arange(size) + 0.5 - margin) / rise, 0, 1).astype(np.float32)


def _halves(shape, height, width, scale):
    """Return how many times half of the LR image's sides a latent's sides are.

    Raises:
        ValueError: the latent's sides are no such number of halves.
    """
    for k in range(scale.bit_length()):
        halves = scale >> k
        if tuple(shape[-2:]) == (height * halves // 2, width * halves // 2):
            return halves
    raise ValueError(
        f"latents: expected sides of {scale} x {height} x {width} over a power of two from 2 to "
        f"{2 * scale}, got shape {shape}"
    )


def _require_even(name, value, at_least):
    if not isinstance(value, numbers.Integral) or value < at_least or value % 2:
        raise ValueError(f"{name}: expected an even integer >= {at_least}, got {value!r}")
