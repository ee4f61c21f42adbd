# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Images of many sizes and very large ones: what is compiled for them, what is padded, the memory that they take.

The networks here are stand-ins that compute next to nothing, with the sampler around them as it is.
"""

import time
import tracemalloc

import numpy as np
import pytest
from mindspore import context

from src.evaluation.figures import likelihood
from src.image_sizes import few_sizes
from src.images import even, pad_hr_to, pad_to, pad_to_even, to_uint8
from src.imresize import imresize
from src.model.SRFlow import SRFlow, build_network
from src.model_utils.options import options_from_dict
from src.sampling import TILE_MARGIN
from src.tiling import assemble, crop_latents, tiles

SCALE = 4
OPTIONS = options_from_dict(
    {
        "scale": SCALE,
        "network_G": {
            "nf": 2,
            "nb": 1,
            "gc": 2,
            "flow": {
                "K": 1,
                "additionalFlowNoAffine": 0,
                "stackRRDB": {"blocks": [0]},
                "CondAffineSeparatedAndCond": {"hidden_channels": 2},
            },
        },
    }
)


def random_sizes(count, largest, seed=0):
    return [tuple(size) for size in np.random.RandomState(seed).randint(2, largest, (count, 2)).tolist()]


def compiled(sizes, tile):
    return {tuple(side if tile is None else min(side, tile) for side in size) for size in sizes}


# ---------------------------------------------------------------------------------------------------------------------
# Few sizes


@pytest.mark.parametrize("tile", [None, 96, 32])
@pytest.mark.parametrize("count, largest", [(1, 50), (7, 50), (40, 200), (3000, 600)])
def test_few_sizes_are_compiled_and_hold_their_images(count, largest, tile):
    sizes = random_sizes(count, largest)
    mapping = few_sizes(sizes, tile)
    assert set(mapping) == set(sizes)
    assert len(compiled(mapping.values(), tile)) <= 6
    for size, target in mapping.items():
        for side, computed in zip(size, target):
            assert isinstance(computed, int) and computed % 2 == 0 and computed >= side
            if tile is not None and side >= tile:
                assert computed == side + side % 2
            elif tile is not None:
                assert computed <= tile
    assert few_sizes(sizes[::-1], tile) == mapping


@pytest.mark.parametrize("tile", [None, 96])
def test_where_there_are_few_sizes_each_is_computed_at_its_own(tile):
    sizes = [(40, 40), (39, 40), (41, 40), (7, 96), (8, 94), (200, 95), (30, 20), (30, 20)]
    if tile:  # those with a side beyond the tile are compiled as tiles
        sizes += [(300, 95), (301, 120), (1000, 96), (97, 2000)]
    assert few_sizes(sizes, tile, limit=7) == {size: even(size) for size in sizes}
    assert few_sizes(sizes, tile, limit=5) != {size: even(size) for size in sizes}


def test_those_that_add_least_are_merged():
    sizes = [(10, 10), (10, 12), (50, 50), (50, 60), (90, 20)]
    expected = {size: size for size in sizes}
    expected[10, 10] = (10, 12)
    assert few_sizes(sizes, limit=4) == expected
    # A hundred pixels more for each of many small images are more than five hundred for one.
    assert few_sizes(sizes + [(10, 10)] * 99, limit=4) == {**{size: size for size in sizes}, (50, 50): (50, 60)}


def test_the_pixels_of_an_image_beyond_the_tile_are_all_counted():
    """To enlarge one small image adds 300 pixels; to widen the tall one, with the other small one: 140, or 2060."""
    small = {(20, 30): (20, 30), (30, 30): (32, 30)}
    assert few_sizes([(40, 28), *small], tile=32, limit=2) == {(40, 28): (40, 30), **small}
    small = {(20, 30): (30, 30), (30, 30): (30, 30)}
    assert few_sizes([(1000, 28), *small], tile=32, limit=2) == {(1000, 28): (1000, 28), **small}


def test_thousands_of_sizes_take_no_time():
    start = time.perf_counter()
    few_sizes(random_sizes(20000, 3000))
    assert time.perf_counter() - start < 5


# ---------------------------------------------------------------------------------------------------------------------
# Padding


def test_padding_reflects_again_and_again():
    row = np.arange(3)[None, None]
    assert pad_to(row.repeat(2, 1), (2, 8))[0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    column = np.arange(2)[:, None].repeat(2, 1)
    assert pad_to(column, (7, 2))[:, 0].tolist() == [0, 1, 0, 1, 0, 1, 0]
    image = np.random.RandomState(0).random_sample((3, 4, 6))
    assert pad_to(image, (4, 6)) is image and pad_to_even(image) is image


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("size", [(24, 30), (22, 22), (70, 40)])
def test_padded_pairs_belong_together(size, scale):
    """The padded HR image, scaled down, is the padded LR image, but for the places where something ends."""
    rough = np.random.RandomState(0).randint(0, 256, (11, 11, 3)).astype(np.uint8)
    hr = imresize(rough, 2 * scale)
    lr = imresize(hr, 1 / scale)
    assert lr.shape == (22, 22, 3)
    padded = pad_hr_to(hr.transpose(2, 0, 1), lr.shape[:2], size, scale)
    np.testing.assert_array_equal(padded[:, : 22 * scale, : 22 * scale], hr.transpose(2, 0, 1))
    scaled = imresize(padded.transpose(1, 2, 0), 1 / scale).astype(int)
    expected = pad_to(lr.transpose(2, 0, 1), size).transpose(1, 2, 0)
    near = [np.abs(np.arange(side)[:, None] - [[21.5, side - 0.5]]).min(1) < 2 for side in size]
    # A repetition's own ends are where the image began and ended.
    for axis in (0, 1):
        for end in range(21, size[axis], 21):
            near[axis] |= np.abs(np.arange(size[axis]) - end) < 3
    inside = scaled[~near[0]][:, ~near[1]] - expected[~near[0]][:, ~near[1]]
    assert inside.size > 0 and np.abs(inside).max() <= 1


# ---------------------------------------------------------------------------------------------------------------------
# The sampler around a stand-in


class Array:
    """What stands for a tensor."""

    def __init__(self, value):
        self.value = value

    def asnumpy(self):
        return self.value


@pytest.fixture(name="model")
def fixture_model(monkeypatch):
    """SRFlow whose images are the enlarged LR image with noise, brighter at the upper edge of each tile.

    sizes: of all images whose conditions were computed.
    """
    context.set_context(mode=context.GRAPH_MODE)
    model = SRFlow(build_network(OPTIONS))
    model.sizes = []

    def condition(lr):
        model.sizes.append(lr.shape[2:])
        return lr.asnumpy()

    def decode(latents, lr):
        fine, coarse = (latent.asnumpy()[:, :3] for latent in latents)
        images = np.repeat(enlarged(lr, 4), len(fine) // len(lr), axis=0)
        images += np.float32(0.1) * enlarged(fine, 2) + np.float32(0.1) * enlarged(coarse, 8)
        images[:, :, :8] += np.float32(0.05)
        return Array(images)

    monkeypatch.setattr(model._sampler, "condition", condition)
    monkeypatch.setattr(model._sampler, "decode", decode)
    return model


def enlarged(images, times):
    return images.repeat(times, axis=-1).repeat(times, axis=-2)


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def plain_samples(model, lr, heats, n, seed, tile, overlap, margin):
    """What `SRFlow.sample` computes, one image after the other and each whole."""
    images = pad_to_even(lr.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)
    height, width = images.shape[2:]
    shapes = [(1,) + shape for shape in model.net.flowUpsamplerNet.latent_shapes(SCALE * height, SCALE * width)]
    samples = []
    for heat in heats:
        for sample_seed in np.random.RandomState(seed).randint(0, 2**31 - 1, n):
            generator = np.random.RandomState(sample_seed)
            latents = [np.float32(heat) * generator.standard_normal(shape).astype(np.float32) for shape in shapes]
            strips = assemble(
                tiles(height, width, tile, overlap),
                lambda part, latents=latents: model.decode(part.cut(images), crop_latents(latents, part, SCALE))[0],
                SCALE,
                margin,
            )
            whole = np.concatenate([strip.copy() for _, strip in strips], axis=1)
            samples.append(to_uint8(whole[:, : SCALE * lr.shape[0], : SCALE * lr.shape[1]]))
    return np.reshape(samples, (len(heats), n) + samples[0].shape)


def test_tiled_samples_are_those_of_the_plain_computation(model):
    lr = picture(61, 90)
    expected = plain_samples(model, lr, [0.0, 0.5, 0.9], 2, 7, 48, 24, TILE_MARGIN)
    model.sizes.clear()
    came, latents = model.sample(lr, heat=[0.0, 0.5, 0.9], n=2, seed=7, tile=48, with_latents=True)
    np.testing.assert_array_equal(came, expected)
    assert came.flags.c_contiguous
    assert len(model.sizes) == len(tiles(62, 90, 48, 24))  # a tile's conditions serve all samples
    assert [latent.shape for latent in latents] == [(3, 2, 1, 6, 124, 180), (3, 2, 1, 96, 31, 45)]
    np.testing.assert_array_equal(model.sample(lr, heat=0.5, n=2, seed=7, tile=48), expected[1])


@pytest.mark.parametrize("heats, n, limit", [(0.9, 1, 250), ([0.5, 0.9], 2, 620)])
def test_memory_of_tiling(heats, n, limit, model, monkeypatch):
    """In bytes per LR pixel: each sample's latents, 192, and each picture's own 48."""
    monkeypatch.setattr("src.sampling.TILE_OVERLAP", 0)
    monkeypatch.setattr("src.sampling.TILE_MARGIN", 0)
    lr = picture(1600, 159)
    tracemalloc.start()
    try:
        model.sample(lr, heat=heats, n=n, seed=0, tile=16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 100 * n < peak / (1600 * 160) <= limit


@pytest.mark.parametrize("tile", [None, 32])
def test_a_folder_of_many_sizes_compiles_a_handful(tile, model):
    pictures = [picture(*size) for size in random_sizes(30, 60)]
    sizes = few_sizes([lr.shape[:2] for lr in pictures], tile)
    for lr in pictures:
        size = sizes[lr.shape[:2]]
        samples = model.sample(lr, seed=1, tile=tile, size=size)
        assert samples.shape == (1, SCALE * lr.shape[0], SCALE * lr.shape[1], 3)
        if tile is None:  # the stand-in sees no neighbours
            np.testing.assert_array_equal(samples, model.sample(lr, seed=1))
            model.sizes.pop()
    assert len(set(model.sizes)) <= 6


def test_likelihood_at_a_size_is_that_of_the_padded_pair(model, monkeypatch):
    pairs = []

    def encode(hr, lr, noise):
        pairs.append((hr, lr, noise))
        return (), np.array([hr.mean() + noise.mean()], np.float32), None

    monkeypatch.setattr(model, "encode", encode)
    hr, lr = picture(28, 40), picture(7, 10)
    first = likelihood(model, lr, hr, seed=1)
    assert likelihood(model, lr, hr, seed=1, size=(8, 10)) == first
    likelihood(model, lr, hr, seed=1, size=(14, 24))
    (exact, *_), _, (padded_hr, padded_lr, noise) = pairs
    assert padded_hr.shape == noise.shape == (1, 3, 56, 96)
    assert {array.dtype for array in pairs[2]} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(padded_hr[:, :, :32, :40], exact)
    model.sample(lr, size=(14, 24))
    assert model.sizes == [(14, 24)]
    np.testing.assert_array_equal(padded_lr, model._last_lr)  # so its conditions are there already
    likelihood(model, lr, hr, seed=1, tile=8, size=(14, 24))
    assert [pair[1].shape[2:] for pair in pairs[3:]] == [(8, 8)] * 6
