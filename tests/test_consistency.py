# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The projection onto images that are reduced to a given one: against its definition, alone, and in sampling."""

import numpy as np
import pytest

from src.consistency import make_consistent
from src.images import from_uint8, to_uint8
from src.imresize import imresize, reduction
from src.memory import SamplingMemory
from src.sampling import Sampling

SCALE = 4


def noise(seed, *shape):
    return np.random.RandomState(seed).random_sample(shape).astype(np.float32)


def reduced(images, scale=SCALE):
    """imresize by 1/scale, before clipping and rounding."""
    rows, columns = (reduction(side, 1 / scale) for side in images.shape[-2:])
    return rows @ images @ columns.T


class Stretched(Sampling):
    """A network that enlarges each pixel and adds the first latent, unfolded, and breaks where `breaks` says."""

    encodes = False

    scale = SCALE

    def __init__(self, breaks=lambda images, heat: images):
        self.cooled, self.memory, self.breaks = [], SamplingMemory(None, SCALE), breaks

    def _condition(self, lr):
        return lr.repeat(self.scale, axis=-2).repeat(self.scale, axis=-1)

    def _decode(self, conditions, latents, may_fail=False):
        n, _, height, width = latents[0].shape
        unfolded = latents[0].reshape(n, 3, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
        images = conditions + 0.1 * unfolded.reshape(n, 3, 2 * height, 2 * width)
        return self.breaks(images, float(latents[0].std()))

    def _latent_shapes(self, count, size):
        return [(count, 12) + tuple(2 * side for side in size), (count, 1) + tuple(side // 2 for side in size)]


@pytest.mark.parametrize("length, scale", [(16, 1 / 4), (24, 1 / 8), (20, 1 / 4), (7, 1 / 2), (6, 2)])
def test_the_matrix_is_that_of_imresize(length, scale):
    """But for rounding, once for each axis."""
    image = np.random.RandomState(0).randint(60, 190, (length, length + 4, 3)).astype(np.uint8)
    rows, columns = (reduction(side, scale) for side in image.shape[:2])
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
    expected = np.einsum("ij,jkc,lk->ilc", rows, image.astype(np.float64), columns)
    assert np.abs(imresize(image, scale) - np.clip(expected, 0, 255)).max() < 1.3


@pytest.mark.parametrize("height, width, scale", [(4, 4, 4), (40, 24, 4), (20, 36, 4), (16, 48, 8), (33 * 4, 4, 4)])
def test_what_is_made_consistent_is_reduced_to_lr(height, width, scale):
    images, lr = noise(1, 2, 3, height, width), noise(2, 2, 3, height // scale, width // scale)
    assert np.abs(reduced(images, scale) - lr).max() > 0.1
    came = make_consistent(images, lr, scale)
    assert came.dtype == np.float32 and came.shape == images.shape
    np.testing.assert_allclose(reduced(came, scale), lr, atol=1e-5)
    np.testing.assert_allclose(make_consistent(came, lr, scale), came, atol=1e-5)


def test_it_is_the_nearest_of_these_images():
    """What it changes is orthogonal to all that reduces to nothing; so it is nearer to every image with this lr."""
    images, photograph = noise(3, 3, 32, 24), noise(4, 3, 32, 24)
    lr = reduced(photograph).astype(np.float32)
    came = make_consistent(images, lr, SCALE)
    invisible = make_consistent(photograph, np.zeros_like(lr), SCALE)  # reduces to nothing
    assert np.abs(reduced(invisible)).max() < 1e-5 and np.abs(invisible).max() > 0.1
    assert abs(np.vdot(came - images, invisible)) < 1e-3 * np.linalg.norm(came - images) * np.linalg.norm(invisible)
    assert np.linalg.norm(came - photograph) < np.linalg.norm(images - photograph)


def test_other_sizes_are_refused():
    with pytest.raises(
        ValueError, match=r"images: expected \(height, width\) \(8, 12\), 4 times that of lr, got \(8, 8\)"
    ):
        make_consistent(noise(5, 3, 8, 8), noise(5, 3, 2, 3), SCALE)


@pytest.mark.parametrize("size, tile", [((20, 26), None), ((19, 25), None), ((44, 70), 32), ((43, 71), 32)])
def test_samples_are_reduced_to_lr(size, tile):
    """Of odd sizes the padding does not count, and tiles are consistent where they were blended too."""
    lr = np.random.RandomState(6).randint(40, 215, size + (3,)).astype(np.uint8)
    lr = imresize(imresize(lr, 1 / 8), 8)[: size[0], : size[1]]  # smooth, as photographs are
    images = [Stretched().sample(from_uint8(lr), 0.5, 2, 0, tile=tile, consistent=how)[:, 0] for how in (False, True)]
    far, near = (np.abs(reduced(some) - from_uint8(lr)).max() for some in images)
    assert far > 0.02 and near < (1e-5 if tile is None else 2e-3)
    picture = Stretched().sample(lr, 0.5, 2, 0, tile=tile, consistent=True)
    np.testing.assert_array_equal(picture, to_uint8(images[1]))


def test_padding_to_another_size_changes_nothing():
    lr = noise(7, 1, 3, 10, 12)
    images = [Stretched().sample(lr, 0.5, 1, 0, size=size, consistent=True) for size in (None, (20, 16))]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("value", [np.nan, 1e5])
def test_samples_that_exploded_stay_as_they_are(value):
    def breaks(images, heat):
        images[0, 0, 0, 0] = value if heat > 0.7 else 0
        return images

    lr = noise(8, 1, 3, 8, 8)
    came, plain = (Stretched(breaks=breaks).sample(lr, [0.5, 0.9], 1, 0, consistent=how) for how in (True, False))
    np.testing.assert_array_equal(came[1], plain[1])
    assert not np.abs(came[1]).max() < 1e4 and np.abs(reduced(came[0]) - lr).max() < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5, -11])
def test_tiles_that_explode_are_cooled(value):
    def breaks(images, heat):
        if heat > 0.5:
            images[..., 1, 2] = value
        return images

    model = Stretched(breaks=breaks)
    came = model.sample(noise(9, 1, 3, 8, 8), 0.8, 1, 0, cool=True)
    (part,) = model.cooled
    assert np.abs(came).max() < 2 and part.used == pytest.approx(0.4)


def test_overshooting_is_not_cooled():
    model = Stretched(breaks=lambda images, heat: images - 3)
    model.sample(noise(10, 1, 3, 8, 8), 0.8, 1, 0, cool=True)
    assert model.cooled == []


def explode_from(column):
    """What `breaks` may be: at heats above 0.7 all is lost from this column of an image on."""

    def breaks(images, heat):
        images[..., column if heat > 0.7 else images.shape[-1] :] = np.nan
        return images

    return breaks


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("column, cooled", [(-17, True), (-16, False)])
def test_padding_that_explodes_is_not_cooled(column, cooled, consistent):
    model, lr = Stretched(breaks=explode_from(column)), noise(11, 1, 3, 10, 16)
    came = model.sample(lr, 0.8, 1, 0, size=(10, 20), cool=True, consistent=consistent)
    assert [part.used for part in model.cooled] == [pytest.approx(0.6)] * cooled and np.abs(came).max() < 2


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("column, cooled", [(0, [0, 16, 32]), (-16, [0])])
def test_tiles_that_explode_in_padding_are_not_cooled(column, cooled, consistent):
    """Of the tiles from columns 0, 16, 32, 48 and 58 on, the last two are nothing but padding."""
    model, lr = Stretched(breaks=explode_from(column)), noise(12, 1, 3, 12, 40)
    came = model.sample(lr, 0.8, 1, 0, size=(12, 90), tile=32, cool=True, consistent=consistent)
    assert [part.tile.left for part in model.cooled] == cooled and np.abs(came).max() < 2
