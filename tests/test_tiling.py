# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Tiles, what they see of the latents, and the image that their images make."""

import numpy as np
import pytest
from helpers import tiny_network

from src.tiling import Tile, assemble, crop_latents, tiles

# height, width, tile, overlap: a grid that fits, last tiles shifted, one side or both shorter than a tile, no overlap,
# more than two tiles over each other.
LAYOUTS = [(20, 32, 8, 2), (22, 30, 8, 4), (6, 30, 8, 4), (22, 8, 8, 2), (4, 6, 8, 2), (16, 24, 8, 0), (14, 20, 8, 6)]
SCALE = 4


def random_image(height, width, seed=0):
    return np.random.RandomState(seed).random_sample((3, height, width)).astype(np.float32)


def enlarge(image, scale=SCALE):
    """Nearest neighbour."""
    return image.repeat(scale, axis=-2).repeat(scale, axis=-1)


def blurred(image, radius):
    """Mean of a square window over zeros beyond the edges, as convolutions see an image."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)))
    height, width = image.shape[1:]
    return (
        sum(padded[:, i : i + height, j : j + width] for i in range(2 * radius + 1) for j in range(2 * radius + 1))
        / (2 * radius + 1) ** 2
    )


def whole_of(strips):
    """The image that strips make; checks that they are all of its rows, one after the other."""
    strips = [(row, strip.copy()) for row, strip in strips]
    heights = [strip.shape[-2] for _, strip in strips]
    assert [row for row, _ in strips] == [sum(heights[:k]) for k in range(len(heights))]
    return np.concatenate([strip for _, strip in strips], axis=-2)


def assembled(network, image, parts, scale=SCALE, margin=0):
    return whole_of(assemble(parts, lambda tile: network(tile.cut(image)), scale, margin))


def share_of(tile, parts, margin=0):
    """The weight of one tile in each pixel of the result."""

    def image_of(part):
        return np.full((3, SCALE * part.height, SCALE * part.width), 1 if part == tile else 0, np.float32)

    return whole_of(assemble(parts, image_of, SCALE, margin))[0]


# ---------------------------------------------------------------------------------------------------------------------
# Where tiles lie


def test_layout_of_tiles():
    assert tiles(8, 18, 8, 2) == [Tile(0, 0, 8, 8), Tile(0, 6, 8, 8), Tile(0, 10, 8, 8)]
    assert tiles(14, 4, 8, 2) == [Tile(0, 0, 8, 4), Tile(6, 0, 8, 4)]


@pytest.mark.parametrize("height, width, tile, overlap", LAYOUTS)
def test_tiles_are_even_equal_and_cover_the_image(height, width, tile, overlap):
    parts = tiles(height, width, tile, overlap)
    assert len(set(parts)) == len(parts)
    assert {part[2:] for part in parts} == {(min(tile, height), min(tile, width))}
    assert all(value % 2 == 0 for part in parts for value in part)
    count = np.zeros((height, width), int)
    for part in parts:
        view = part.cut(count)
        assert view.shape == part[2:]
        view += 1
    assert count.min() >= 1
    for axis in (0, 1):  # every tile shares at least the overlap with the next
        starts = sorted({part[axis] for part in parts})
        assert all(after - before <= tile - overlap for before, after in zip(starts, starts[1:]))


@pytest.mark.parametrize(
    "arguments, named",
    [
        ((7, 8, 4, 2), "height: expected an even"),
        ((8, 0, 4, 2), "width: expected an even integer >= 2, got 0"),
        ((8, 8, 5, 2), "tile: expected an even"),
        ((8, 8, 4.0, 2), "tile: expected an even"),
        ((8, 8, 4, 1), "overlap: expected an even"),
        ((8, 8, 4, -2), "overlap: expected an even integer >= 0, got -2"),
        ((8, 8, 4, 4), "overlap: expected less than the tile's 4"),
    ],
)
def test_bad_layouts(arguments, named):
    with pytest.raises(ValueError, match="^" + named):
        tiles(*arguments)


# ---------------------------------------------------------------------------------------------------------------------
# One image from many


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiles_that_agree_are_reproduced_to_the_bit(layout):
    image = random_image(*layout[:2])
    whole = assembled(enlarge, image, tiles(*layout))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, enlarge(image))


@pytest.mark.parametrize(
    "layout, margin", [(layout, 0) for layout in LAYOUTS] + [((22, 30, 8, 4), 1), ((14, 20, 8, 6), 3)]
)
def test_weights_are_a_partition_of_unity(layout, margin):
    parts = tiles(*layout)
    shares = [share_of(tile, parts, margin) for tile in parts]
    np.testing.assert_allclose(sum(shares), 1, atol=1e-6)
    for tile, share in zip(parts, shares):
        assert share.min() >= 0
        outside = share.copy()
        tile.cut(outside, SCALE)[...] = 0
        assert not outside.any()


@pytest.mark.parametrize("overlap, margin", [(2, 0), (4, 0), (4, 1), (4, 2), (0, 0)])
def test_weights_ramp_linearly_between_the_margins(overlap, margin):
    parts = tiles(8, 16 - overlap, 8, overlap)
    length = SCALE * (overlap - 2 * margin)
    ramp = (np.arange(length) + 0.5) / max(length, 1)
    rest = SCALE * (8 - overlap + margin)
    expected = np.concatenate([np.zeros(rest), ramp, np.ones(rest)])
    np.testing.assert_allclose(share_of(parts[1], parts, margin), np.tile(expected, (8 * SCALE, 1)), atol=1e-6)
    np.testing.assert_allclose(share_of(parts[0], parts, margin), np.tile(1 - expected, (8 * SCALE, 1)), atol=1e-6)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout[3]])
def test_no_seam(layout):
    """From pixel to pixel no weight changes by more than twice what a ramp over the overlap does.

    Twice, as it gets steeper where three tiles meet along an axis: the last one, shifted inwards, and two before it.
    """
    parts = tiles(*layout)
    for tile in parts:
        share = share_of(tile, parts)
        for axis in (0, 1):
            assert np.abs(np.diff(share, axis=axis)).max() <= 2 / (SCALE * layout[3])


def test_a_local_network_is_exact_away_from_the_edges_of_tiles():
    radius, layout = 1, (22, 30, 8, 4)
    image, parts = random_image(*layout[:2]), tiles(*layout)
    difference = np.abs(assembled(lambda part: blurred(part, radius), image, parts, 1) - blurred(image, radius)).max(0)
    near = np.zeros(layout[:2], bool)
    for part in parts:
        if part.top > 0:
            near[part.top : part.top + radius, part.left : part.left + part.width] = True
        if part.top + part.height < layout[0]:
            near[part.top + part.height - radius : part.top + part.height, part.left : part.left + part.width] = True
        if part.left > 0:
            near[part.top : part.top + part.height, part.left : part.left + radius] = True
        if part.left + part.width < layout[1]:
            near[part.top : part.top + part.height, part.left + part.width - radius : part.left + part.width] = True
    assert 0 < near.sum() < near.size
    assert difference[~near].max() < 1e-6 < difference[near].max()


@pytest.mark.parametrize(
    "layout, radius", [((22, 30, 8, 4), 1), ((22, 30, 8, 4), 2), ((14, 20, 8, 6), 3), ((6, 30, 8, 4), 2)]
)
def test_with_a_margin_a_local_network_is_exact_everywhere(layout, radius):
    image = random_image(*layout[:2])
    whole = assembled(lambda part: enlarge(blurred(part, radius), 2), image, tiles(*layout), 2, margin=radius)
    np.testing.assert_allclose(whole, enlarge(blurred(image, radius), 2), atol=1e-6)


@pytest.mark.parametrize("layout, margin", [(layout, 0) for layout in LAYOUTS] + [((22, 30, 8, 4), 1)])
def test_strips_are_the_mean_over_the_whole_image_to_the_bit(layout, margin):
    """In which tiles are taken one after the other, each with its weight; several images at once, as one by one."""
    parts = tiles(*layout)
    images = {
        tile: np.random.RandomState(seed)
        .standard_normal((2, 3, SCALE * tile.height, SCALE * tile.width))
        .astype(np.float32)
        for seed, tile in enumerate(parts)
    }
    mean = np.zeros((2, 3, SCALE * layout[0], SCALE * layout[1]), np.float32)
    total = np.zeros(mean.shape[2:], np.float32)
    for tile in parts:
        weight = np.outer(
            ramps(tile.top, tile.height, {part.top for part in parts}, margin),
            ramps(tile.left, tile.width, {part.left for part in parts}, margin),
        )
        part, so_far = tile.cut(mean, SCALE), tile.cut(total, SCALE)
        so_far += weight
        part += (images[tile] - part) * np.divide(weight, so_far, out=np.zeros_like(weight), where=so_far > 0)
    np.testing.assert_array_equal(whole_of(assemble(parts, images.get, SCALE, margin)), mean)
    for k in range(2):
        came = whole_of(assemble(parts, lambda tile, k=k: images[tile][k], SCALE, margin))
        np.testing.assert_array_equal(came, mean[k])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_an_unused_margin_spoils_nothing(value):
    """Of a tile's own share it stays, without a word of numpy's; who decodes tells of it."""
    parts, margin = tiles(8, 12, 8, 4), 1
    images = {tile: np.ones((2, 3, SCALE * tile.height, SCALE * tile.width), np.float32) for tile in parts}
    left, right = (images[tile] for tile in parts)
    left[..., -SCALE * margin :] = right[..., : SCALE * margin] = value
    np.testing.assert_array_equal(whole_of(assemble(parts, images.get, SCALE, margin)), 1)
    left[..., 20], right[..., 4] = value, value  # one place of the image, where both have a share
    came = whole_of(assemble(parts, images.get, SCALE, margin))
    assert not np.isfinite(came[..., 20]).any()
    np.testing.assert_array_equal(np.delete(came, 20, axis=-1), 1)


def ramps(start, length, starts, margin):
    """Weights of a tile along an axis: they rise between the margins of an overlap with the one before and after it."""
    weight = np.ones(SCALE * length, np.float32)
    before = max((other for other in starts if other < start), default=None)
    after = min((other for other in starts if other > start), default=None)
    for other, view in ((before, weight), (after, weight[::-1])):
        if other is not None:
            overlap = SCALE * (length - abs(start - other))
            rising = (np.arange(SCALE * length) + 0.5 - SCALE * margin) / max(overlap - 2 * SCALE * margin, 1)
            np.minimum(view, np.clip(rising, 0, 1).astype(np.float32), out=view)
    return weight


def test_strips_are_taken_before_tiles_below_them_are_computed():
    parts, computed = tiles(22, 8, 8, 2), []

    def image_of(tile):
        computed.append(tile)
        return np.zeros((3, 8, 8), np.float32)

    assert [(row, strip.shape[1], len(computed)) for row, strip in assemble(parts, image_of, 1)] == [
        (0, 6, 1),
        (6, 6, 2),
        (12, 2, 3),
        (14, 8, 4),
    ]


def test_bad_arguments_of_assemble():
    parts = tiles(8, 14, 8, 2)
    square = tiles(14, 14, 8, 2)
    for arguments, named in [
        ((parts, 0), "scale: "),
        ((parts, 4, -1), "margin: expected an integer >= 0, got -1"),
        ((parts, 4, 2), "margin: expected at most half of the overlap, which is 2 pixels"),
        (([], 4), "parts: "),
        ((parts + parts[:1], 4), "parts: expected all tiles of one image"),
        ((square[:3], 4), "parts: expected all tiles of one image"),
        ((square[::-1], 4), "parts: expected all tiles of one image, each once and row by row"),
    ]:
        with pytest.raises(ValueError, match="^" + named):
            next(assemble(arguments[0], None, *arguments[1:]))
    with pytest.raises(ValueError, match=r"^image: expected shape \(\.\.\., 3, 16, 16\) for .*, got \(3, 8, 8\)"):
        next(assemble(parts, lambda tile: np.zeros((3, 8, 8), np.float32), 2))


# ---------------------------------------------------------------------------------------------------------------------
# Latents


@pytest.mark.parametrize("scale", [4, 8])
def test_crops_are_the_latents_that_a_tile_has_and_come_from_its_place(scale):
    height, width = 12, 16
    shapes = tiny_network(scale).flowUpsamplerNet.latent_shapes
    # Each latent holds where it is, in rows and columns of the HR image.
    latents = []
    for channels, rows, columns in shapes(scale * height, scale * width):
        y, x = np.mgrid[:rows, :columns] * (scale * height // rows)
        latents.append(np.tile(np.float32(1000 * y + x), (2, channels, 1, 1)))
    for tile in tiles(height, width, 8, 2):
        crops = crop_latents(latents, tile, scale)
        assert [crop.shape[1:] for crop in crops] == list(shapes(scale * tile.height, scale * tile.width))
        for crop in crops:
            step = scale * tile.height // crop.shape[2]
            assert crop[0, 0, 0, 0] == 1000 * scale * tile.top + scale * tile.left
            assert crop[1, -1, -1, -1] == (
                1000 * (scale * (tile.top + tile.height) - step) + scale * (tile.left + tile.width) - step
            )


def test_crops_share_one_field():
    latents = [
        np.random.RandomState(k).standard_normal(shape) for k, shape in enumerate([(1, 6, 24, 32), (1, 96, 6, 8)])
    ]
    left, right = tiles(12, 16, 12, 8)
    for a, b in zip(crop_latents(latents, left, 4), crop_latents(latents, right, 4)):
        common = a.shape[3] * 8 // 12
        np.testing.assert_array_equal(a[..., -common:], b[..., :common])


@pytest.mark.parametrize(
    "change, named",
    [
        (dict(scale=3), "scale: expected a power of two, got 3"),
        (dict(latents=[]), "latents: expected arrays"),
        (dict(latents=[np.zeros((6, 8))]), "latents: expected arrays"),
        (
            dict(latents=[np.zeros((1, 6, 24, 30)), np.zeros((1, 96, 6, 8))]),
            r"latents: expected sides .*\(1, 6, 24, 30\)",
        ),
        (dict(latents=[np.zeros((1, 96, 6, 8)), np.zeros((1, 6, 24, 32))]), "latents: expected sides"),
        (dict(tile=Tile(0, 1, 8, 8)), "tile: expected even numbers"),
        (dict(tile=Tile(6, 0, 8, 8)), "tile: expected even numbers within the LR image of 12 x 16"),
        (dict(tile=Tile(-2, 0, 8, 8)), "tile: expected even numbers"),
        (dict(tile=Tile(0, 0, 8, 0)), "tile: expected even"),
    ],
)
def test_bad_crops(change, named):
    arguments = dict(latents=[np.zeros((1, 6, 24, 32)), np.zeros((1, 96, 6, 8))], tile=Tile(0, 0, 8, 8), scale=4)
    arguments.update(change)
    with pytest.raises(ValueError, match="^" + named):
        crop_latents(**arguments)
