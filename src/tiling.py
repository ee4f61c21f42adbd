# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Large images in parts: where overlapping tiles lie, their share of the latents, one image from their images.

    def image_of(tile):                          # lr (1, 3, height, width), latents as the whole image has them
        return model.decode(tile.cut(lr), crop_latents(latents, tile, scale))[0]

    for row, strip in assemble(tiles(height, width, tile=96, overlap=24), image_of, scale, margin=8):
        image[:, row:row + strip.shape[1]] = strip

Lengths are in pixels of the low-resolution image unless said otherwise, and even, because the flow's deepest level
works at half of that resolution. What a network makes of a pixel near a tile's edge differs from what it makes of it
in the whole image, as convolutions see zeros beyond the edge; hence overlaps, and margins that are thrown away.
"""

import numbers
from typing import NamedTuple

import numpy as np


class Tile(NamedTuple):
    """A rectangle of the LR image: the first row and column, the number of rows and columns; LR pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, images, scale=1):
        """The tile's part, a view, of arrays (..., scale·h, scale·w) -> (..., scale·height, scale·width)."""
        return images[(Ellipsis,) + self.slices(scale)]

    def slices(self, numerator=1, denominator=1):
        """(rows, columns) in an image numerator/denominator times as large as the LR image."""
        return tuple(
            slice(start * numerator // denominator, (start + length) * numerator // denominator)
            for start, length in ((self.top, self.height), (self.left, self.width))
        )


def tiles(height, width, tile, overlap):
    """Tiles that cover a (height, width) LR image, row by row: a list of Tile.

    All have one size, so that the network is compiled once: `tile` on a side, or the whole side where that is shorter.
    Neighbours overlap by `overlap`, the last ones, which are shifted inwards to end with the image, by more.

    height, width, tile: even, at least 2; overlap: even, from 0 to less than tile. Raises ValueError.
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


def crop_latents(latents, tile, scale):
    """The part of a whole image's latents that belongs to a tile: a list of views, in order.

    All tiles must see one field of latents, or overlaps would be averages of unrelated textures.

    latents: float32 (..., C, scale·h/2^k, scale·w/2^k) each, in the order of `FlowUpsamplerNet.latent_shapes`, the last
    one of half the sides of the (h, w) LR image; tile: within that image, even; scale: HR over LR sides, a power of
    two. Raises ValueError.
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
    """Puts the SR images of tiles together, weighted so that no seam is left: yields (row, strip), from top to bottom.

    Across the overlap of two tiles the weights ramp linearly from one to the other. A pixel on which all of its tiles
    agree keeps its value to the bit.

    parts: what `tiles` returned; image_of: gives the SR image of a tile, float (..., 3, scale·height, scale·width), of
    several images at once where there are leading dimensions; scale: SR over LR sides; margin: LR pixels that are not
    used at every edge of a tile inside the image, at most half of the overlap. Where the margin is the radius within
    which the network sees, the result is that of the whole image.

    A strip is float32 (..., 3, rows, scale·w), of the SR image's rows from `row` on, which no tile to come touches. It
    is a view of memory that is used again for the next one. Memory: a row of tiles. Raises ValueError.
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
    """Takes an image into the mean of those before, whose weights are in `total`."""
    total += weight
    # A running mean: it needs no division in the end, and equal values leave it exactly as it is.
    mean += (image - mean) * np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def _move_up(strip, rows):
    kept = strip.shape[-2] - rows
    strip[..., :kept, :] = strip[..., rows:, :]
    strip[..., kept:, :] = 0


def _starts(length, tile, overlap):
    """Where tiles start along a side of an image."""
    if length <= tile:
        return [0]
    return list(range(0, length - tile, tile - overlap)) + [length - tile]


def _weights(intervals, scale, margin):
    """Weights of tiles along one axis: {(start, length): float32 (scale·length,)}, of the same keys in `intervals`."""
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
    """0 in the margin, then rising until as much of the overlap is left, then 1; float32 (size,). All in SR pixels."""
    rise = max(overlap - 2 * margin, 1)
    return np.clip((np.arange(size) + 0.5 - margin) / rise, 0, 1).astype(np.float32)


def _halves(shape, height, width, scale):
    """How many times half of the LR image's sides a latent's sides are; raises ValueError where they are none."""
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
