# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling of super-resolved images, whatever computes the network: latents, tiles, lower heats, padding.

It needs no MindSpore. `src.model.SRFlow` samples by MindSpore, and `src.export.onnx_model` by onnxruntime.
"""

import math
import numbers
import warnings
from typing import NamedTuple, Optional

import numpy as np

from src.consistency import make_consistent
from src.images import as_floats, even, fill, pad_to, to_uint8
from src.tiling import Tile, assemble, crop_latents, tiles

TRAINED_HEAT = 1.0  # training maximises the likelihood of latents of this standard deviation
# In pixels of the low-resolution image. The margin at a tile's edge is not used. The rest of the overlap is blended.
# Measured by benchmarks/tile_margin.py with 23 blocks and K 16, at heat 0.9: the distance from a tile's edge from which
# on its image, of values from 0 to 1, differs from the whole one by no more than 1e-2, 4e-3, 1e-3, 1e-4 and 1e-5:
#     seeded weights, in which blocks do little        6, 6, 6, 8, 10
#     a trained encoder (RealSR's) with a seeded flow  3, 6, 15, 31, 40
#     a trained encoder's own image                    17, 24, 32, 40, 43
# A trained encoder sees too far for a margin to hide all of it. Blending hides more. Its own image in tiles of 64 with
# this overlap differs by up to 1.6e-2, and by more than 1/255 in 0.4 % of the values. With an overlap of 24 it differs
# by up to 3.2e-2, and by more than 1/255 in 1.2 %. An overlap of 40 takes a third more computation with tiles of 96.
TILE_OVERLAP, TILE_MARGIN = 32, 8
COOLER = (0.75, 0.5, 0.25, 0.0)  # of the heat asked for, where decoding explodes
# Of an image's values, which are from 0 to 1 but for some overshooting. Where decoding explodes they grow from step to
# step, to thousands and more, and in the end they are not finite.
EXPLODED = 10.0


class Cooled(NamedTuple):
    """A part of a sample that was decoded at a lower heat, as decoding exploded at the one asked for.

    Attributes:
        image: number of the image, from 0.
        sample: number of the sample, from 0.
        tile: the Tile, or the whole image as one, in pixels of lr.
        heat: the one asked for.
        used: the one at which decoding did not explode; None if there was none, and the part stays as it was.
    """

    image: int
    sample: int
    tile: Tile
    heat: float
    used: Optional[float]


class Sampling:
    """Sampling from N(0, heat²), by the methods of a subclass.

    A subclass has

    - scale: of super-resolution, s;
    - encodes: whether it has the method `encode` of SRFlow too;
    - cooled: a list;
    - memory: a SamplingMemory;
    - _condition(lr): what the decoder needs of images, float32 (N, 3, h, w), computed once for all their samples;
    - _decode(conditions, latents, may_fail): float32 (N, 3, s·h, s·w), and a warning where it is not finite unless it
      `may_fail`. Conditions of one image serve latents of any number of samples;
    - _latent_shapes(count, size): the shapes of the latents of `count` images of this (height, width).
    """

    def sample(
        self,
        lr,
        heat=0.9,
        n=1,
        seed=None,
        batch=1,
        tile=None,
        with_latents=False,
        size=None,
        cool=False,
        consistent=False,
        progress=None,
        noise=None,
    ):
        """Draw super-resolved images of low-resolution images.

        Each latent is drawn from N(0, heat²) and decoded. Images of odd size are padded by reflection, and the result
        is cropped back.

        Args:
            lr: a picture, uint8 (h, w, 3), or images, float32 (N, 3, h, w) in [0, 1].
            heat: the latents' standard deviation, at least 0, or a list of such. All of a list have the same noise.
            n: number of samples of each image.
            seed: an integer from 0 to 2³² − 1, or None. The same seed gives the same images, and sample i does not
                depend on n. None draws anew in each call.
            batch: how many samples of an image are computed together. Each batch size is compiled once.
            tile: side, in pixels of lr, of the tiles in which larger images are computed: even and at least 32. Tiles
                bound the memory. They have their parts of the same latents. None computes each image whole.
            with_latents: whether the latents are returned too.
            size: the height and width to which lr is padded by reflection, both even and at least lr's. None takes the
                next even ones. The noise of the image itself is the same for every size. Images differ only near the
                padded edges, where the network sees what is beyond them.
            cool: whether a tile, or the image where it is computed whole, of which decoding explodes (values that are
                not finite or beyond ±10, other than in padding) is decoded again from the same noise at 3/4, 1/2, 1/4
                of the heat and at 0, until it does not. `cooled` lists them. The latents that `with_latents` returns do
                not show it.
            consistent: whether samples are projected onto the images that `imresize` reduces to lr, which brings them
                nearer to lr and to the image that was reduced to it (see src/consistency.py). Tiles are projected one
                by one. What has exploded stays as it is: the projection would spread it.
            progress: function called with the number of finished decodings and that of all, `n_decodings`.
            noise: list of float32 (n, N, C, H', W'), standard normal, instead of what would be drawn from the seed: as
                `draw` returns it for `size`.

        Returns:
            The samples. Of a picture they are uint8 (n, s·h, s·w, 3), clipped and truncated as the official evaluation
            does. Of images they are float32 (n, N, 3, s·h, s·w), not clipped. For a list of heats the result has one
            more dimension, its first.

            With `with_latents` a pair: the samples, and a tuple of float32 arrays (n, N, C, H', W'), those of the
            splits first. They have the heats' dimension too. For a single heat `[latent[i] for latent in latents]` is
            sample i, as `decode` takes it together with the padded image, `pad_to(lr, size)`.

        Raises:
            ValueError: an argument is not as said here.
        """
        several = isinstance(heat, (list, tuple, np.ndarray))
        heats = list(heat) if several else [heat]
        _require_sampling(heats, n, batch, seed)
        images, is_picture = _as_batch(lr)
        height, width = (side * self.scale for side in images.shape[2:])
        least = even(images.shape[2:])
        size = least if size is None else _checked_size(size, images)
        problem = self.memory.problem(size, len(images), n * len(heats), batch, tile, 1 if is_picture else 4)
        if problem:
            warnings.warn(problem, RuntimeWarning, stacklevel=2)
        if noise is None:
            noise = self._draw(n, len(images), least, size, seed)
        _require_shapes("noise", noise, [(n,) + shape for shape in self._latent_shapes(len(images), size)])
        self.cooled = []
        after_each = _Counter(progress, n_decodings(size, n * len(heats), batch if len(images) == 1 else 1, tile))
        shape = (height, width, 3) if is_picture else (3, height, width)
        samples = np.empty((len(heats) * n, len(images)) + shape, np.uint8 if is_picture else np.float32)
        padded, shown = pad_to(images, size), images.shape[2:]
        for row, strip in self._decode_samples(padded, noise, heats, batch, tile, cool, consistent, shown, after_each):
            strip = strip[..., : max(height - row, 0), :width]
            if is_picture:
                to_uint8(strip, samples[..., row : row + strip.shape[-2], :, :])
            else:
                samples[..., row : row + strip.shape[-2], :] = strip
        samples = samples[:, 0] if is_picture else samples
        samples = samples.reshape((len(heats), n) + samples.shape[1:]) if several else samples
        if not with_latents:
            return samples
        latents = [np.stack([np.float32(value) * latent for value in heats]) for latent in noise]
        return samples, tuple(latents if several else [latent[0] for latent in latents])

    def draw(self, size, n=1, seed=None):
        """Draw the noise that `sample` draws for a picture of this size, to change it before it is decoded.

        Args:
            size: even (height, width).
            n, seed: as in `sample`.

        Returns:
            list of float32 (n, 1, C, H', W'), standard normal, those of the splits first.
        """
        return self._draw(n, 1, tuple(size), tuple(size), seed)

    def _draw(self, n, count, least, size, seed):
        """Draw the noise of n samples of `count` images: standard normal, a list of float32 (n, N, C, H', W').

        Args:
            n: number of samples.
            count: number of images, N.
            least: the (height, width) of the images themselves, made even.
            size: the (height, width) to which they are padded. The noise of the top left part of the size `least` is
                drawn first, so that it does not depend on the rest.
            seed: as in `sample`.

        Returns:
            One array for each latent.
        """
        noise = [np.empty((n,) + shape, np.float32) for shape in self._latent_shapes(count, size)]
        inner = [shape[2:] for shape in self._latent_shapes(count, least)]
        for k, sample_seed in enumerate(np.random.RandomState(seed).randint(0, 2**31 - 1, n)):
            draw = np.random.RandomState(sample_seed).standard_normal
            for latent, (height, width) in zip(noise, inner):
                fill(latent[k, ..., :height, :width], draw)
            for latent, (height, width) in zip(noise, inner):
                fill(latent[k, ..., :height, width:], draw)
                fill(latent[k, ..., height:, :], draw)
        return noise

    def _decode_samples(self, lr, noise, heats, batch, tile, cool, consistent, shown, after_each):
        """Decode noise at every heat, whole or by tiles, and yield the images in strips from top to bottom.

        Args:
            lr: uint8 or float32 (N, 3, h, w), h and w even.
            noise: what `_draw` returned.
            heats: list of numbers.
            batch, tile, cool, consistent: as in `sample`.
            shown: the (height, width), in pixels of lr, of its top left part. The rest is padding.
            after_each: function without arguments, called after every decoding.

        Yields:
            The strip's first row, and the strip, float32 (len(heats)·n, N, 3, rows, s·w), of all samples.
        """

        def image_of(part):
            images = as_floats(lr if part == whole else part.cut(lr))
            latents = noise if part == whole else crop_latents(noise, part, self.scale)
            seen = Tile(0, 0, *[max(side - start, 0) for side, start in zip(shown, part)])  # of the part, or more
            samples = self._decode_part(images, latents, heats, batch, part if cool else None, seen, after_each)
            if consistent and seen.height and seen.width:  # no tile that is nothing but padding
                self._project(seen.cut(samples, self.scale), seen.cut(images))
            return samples

        whole = Tile(0, 0, *lr.shape[2:])
        parts = parts_of(lr.shape[2:], tile)
        if parts == [whole]:
            yield 0, image_of(whole)
        else:
            yield from assemble(parts, image_of, self.scale, TILE_MARGIN)

    def _decode_part(self, lr, noise, heats, batch, tile_to_cool, seen, after_each):
        """Decode noise of one part at every heat: float32 (len(heats)·n, N, 3, s·h, s·w).

        Args:
            lr: float32 (N, 3, h, w), the part.
            tile_to_cool: the Tile, where what explodes is to be decoded again; otherwise None.
            seen: the Tile within the part that is not padding.

        The other arguments are those of `_decode_samples`.
        """
        chosen = [(float(value), k) for value in heats for k in range(len(noise[0]))]
        # Several images have conditions of their own, which samples of one cannot share in a batch.
        together = batch if len(lr) == 1 else 1
        conditions = self._condition(lr)
        images = np.empty((len(chosen), len(lr), 3) + tuple(side * self.scale for side in lr.shape[2:]), np.float32)
        for start in range(0, len(chosen), together):
            some = chosen[start : start + together]
            latents = [np.concatenate([np.float32(value) * latent[k] for value, k in some]) for latent in noise]
            decoded = self._decode(conditions, latents, may_fail=tile_to_cool is not None)
            images[start : start + together] = decoded.reshape((len(some),) + images.shape[1:])
            after_each()
        if tile_to_cool is not None:
            for (value, k), image in zip(chosen, images):
                self._cool(conditions, [latent[k] for latent in noise], image, value, k, tile_to_cool, seen)
        return images

    def _cool(self, conditions, noise, images, heat, sample, tile, seen):
        """Decode again, in place and at lower heats, those of one sample's images that exploded where they are seen.

        Args:
            conditions: of the images, as `_condition` returns them.
            noise: list of float32 (N, C, H', W').
            images: float32 (N, 3, s·h, s·w), as decoded at `heat`.
            heat, sample, tile: as Cooled has them.
            seen: as in `_decode_part`.
        """
        missing = [i for i, image in enumerate(seen.cut(images, self.scale)) if has_exploded(image)]
        for lower in [fraction * heat for fraction in COOLER if heat > 0]:
            if not missing:
                break
            again = self._decode(conditions, [np.float32(lower) * latent for latent in noise], may_fail=True)
            for i in [i for i in missing if not has_exploded(seen.cut(again[i], self.scale))]:
                images[i] = again[i]
                missing.remove(i)
                self.cooled.append(Cooled(i, sample, tile, heat, lower))
        self.cooled.extend(Cooled(i, sample, tile, heat, None) for i in missing)
        if missing:
            warnings.warn(
                f"decoding explodes at heat {heat:g}, and at all lower ones; nothing is clamped. Another checkpoint "
                "may help",
                RuntimeWarning,
                stacklevel=5,
            )

    def _project(self, samples, lr):
        """Project, in place, the images of samples that have not exploded onto those that are reduced to lr.

        Args:
            samples: float32 (n, N, 3, s·h, s·w), without padding.
            lr: float32 (N, 3, h, w), too.
        """
        for sample in samples:
            for image, own in zip(sample, lr):
                if not has_exploded(image):
                    image[...] = make_consistent(image, own, self.scale)

    def decode(self, lr, latents):
        """Compute the images of given latents.

        The latents may be those of other images (SRFlow, section 4). If the result is not finite, there is a
        RuntimeWarning. That of the class SRFlow names the level where this begins.

        Args:
            lr: float32 (N, 3, h, w) in [0, 1], h and w even.
            latents: float32 (N, C, H', W') each, as `encode` returns them.

        Returns:
            float32 (N, 3, s·h, s·w), not clipped.

        Raises:
            ValueError: shapes do not fit, lr has an odd side, or latents are not finite.
        """
        lr = checked_images(lr, "lr")
        require_even(lr)
        _require_shapes("latents", latents, self._latent_shapes(len(lr), lr.shape[2:]))
        if not all(np.isfinite(latent).all() for latent in latents):
            raise ValueError("latents: expected finite values, got some that are not")
        return self._decode(self._condition(lr), latents)


def count_cooled(parts):
    """Count parts, Cooled: (those decoded at a lower heat, those that exploded at all and stayed as they were)."""
    stayed = sum(part.used is None for part in parts)
    return len(parts) - stayed, stayed


def has_exploded(image):
    """Tell whether an image as decoded has values that are not finite, or far from those of images.

    An image without pixels has none.
    """
    return not np.abs(image).max(initial=0) <= EXPLODED  # of NaN this is true


def n_decodings(size, n, batch=1, tile=None):
    """Count how often `SRFlow.sample` decodes for one image.

    Args:
        size: even (height, width) at which it is computed, in pixels of lr.
        n: number of samples, of all heats together.
        batch, tile: as `SRFlow.sample` takes them.
    """
    return len(parts_of(size, tile)) * math.ceil(n / batch)


def parts_of(size, tile):
    """Return the tiles in which an image of this even size is computed: one where it is computed whole."""
    if tile is not None and (tile < 4 * TILE_MARGIN or tile % 2):
        raise ValueError(f"tile: expected None or an even integer of at least {4 * TILE_MARGIN}, got {tile}")
    if tile is None or max(size) <= tile:
        return [Tile(0, 0, *size)]
    # With the same overlap more pixels of small tiles would be computed several times than once.
    return tiles(*size, tile, min(TILE_OVERLAP, tile // 4 * 2))


class _Counter:
    """Calls `progress` with the number of finished decodings and that of all, whenever it is called itself."""

    def __init__(self, progress, total):
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self):
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


def _require_sampling(heats, n, batch, seed):
    for heat in heats:
        if not isinstance(heat, numbers.Real) or not 0 <= heat < math.inf:
            raise ValueError(f"heat: expected a number >= 0 or a list of them, got {heat!r}")
        if heat > TRAINED_HEAT:
            warnings.warn(
                f"heat {heat:g}: above {TRAINED_HEAT:g}, that of the latents in training; decoding may become "
                "not finite",
                RuntimeWarning,
                stacklevel=3,
            )
    if not heats:
        raise ValueError("heat: expected a number >= 0 or a list of them, got an empty list")
    for name, value in (("n", n), ("batch", batch)):
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    if seed is not None and (not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**32):
        raise ValueError(f"seed: expected None or an integer from 0 to 2**32 - 1, got {seed!r}")


def _require_shapes(name, latents, expected):
    came = [np.shape(latent) for latent in latents]
    if came != expected:
        raise ValueError(f"{name}: expected shapes {expected}, got {came}")


def _as_batch(lr):
    """Bring lr into the form (N, 3, h, w), uint8 or float32, and tell whether it was a picture, uint8 (h, w, 3)."""
    lr = np.asarray(lr)
    if lr.dtype == np.uint8 and lr.ndim == 3 and lr.shape[2] == 3 and lr.size:
        _require_sides(lr.shape[:2], "lr")
        return lr.transpose(2, 0, 1)[None], True
    return checked_images(lr, "lr"), False


def _checked_size(size, images):
    least = even(images.shape[2:])
    size = tuple(size) if isinstance(size, (tuple, list, np.ndarray)) else (size,)
    if (
        len(size) != 2
        or not all(isinstance(side, numbers.Integral) and side % 2 == 0 for side in size)
        or any(side < smallest for side, smallest in zip(size, least))
    ):
        raise ValueError(f"size: expected an even height and width, at least {least} for this lr, got {size}")
    return size


def checked_images(images, name):
    """Return images as float32 (N, 3, h, w), or raise a ValueError that names the argument."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype.kind != "f" or 0 in images.shape:
        raise ValueError(f"{name}: expected float32 (N, 3, h, w), got {images.dtype} {images.shape}")
    _require_sides(images.shape[2:], name)
    return np.ascontiguousarray(images, np.float32)


def _require_sides(size, name):
    if min(size) < 2:
        raise ValueError(f"{name}: expected sides of at least 2 pixels, got {size[0]} x {size[1]}")


def require_even(lr):
    """Raise a ValueError if images, (N, 3, h, w), have an odd side."""
    if lr.shape[2] % 2 or lr.shape[3] % 2:
        raise ValueError(f"lr: expected even height and width, got {lr.shape[2:]}; see pad_to_even")
