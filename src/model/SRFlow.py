# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SRFlow as people use it: NumPy in, NumPy out."""

import math
import numbers
import os
import warnings
from typing import NamedTuple, Optional

import numpy as np
from mindspore import Tensor

from src.images import as_floats, dequantise, even, fill, pad_to, to_uint8
from src.model.Flow import LOG_2PI
from src.model.SRFlowNet import LOG_2, SRFlowNet
from src.model.implementation import AUTO, choose
from src.model_utils.options import OptionsError, load_options, network_differences
from src.model_utils.util import give_back_memory, set_device
from src.network_names import IMAGE_ONLY, shapes_of, split_levels
from src.tiling import Tile, assemble, crop_latents, tiles
from src.weights.checkpoint import INFERENCE, CheckpointError, load_parameters, require_parameters
from src.weights.weight_files import read_any

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
COOLER = (0.75, 0.5, 0.25, 0.0)  # of the heat asked for, where that gives what is not finite


class Cooled(NamedTuple):
    """A part of a sample that was decoded at a lower heat, as the one asked for gave values that are not finite.

    Attributes:
        image: number of the image, from 0.
        sample: number of the sample, from 0.
        tile: the Tile, or the whole image as one, in pixels of lr.
        heat: the one asked for.
        used: the one that gave a finite image; None if none did, and the part stays as it was.
    """

    image: int
    sample: int
    tile: Tile
    heat: float
    used: Optional[float]


class SRFlow:
    """Model that samples super-resolved images, encodes images to latents and decodes latents.

        model = SRFlow.from_checkpoint("SRFlow.ckpt", device_target="CPU")
        images = model.sample(lr, heat=0.9, n=4, seed=0)

    Every new size of image is compiled once. The weights are read when the object is made, and again by `refresh`.

    Attributes:
        net: the SRFlowNet.
        scale: of super-resolution, s.
        quant: levels of the noise that `encode` adds.
        notes: what there is to know of the checkpoint's file, a line each.
        cooled: list of Cooled, the parts of the last `sample` that `cool` decoded again.
    """

    def __init__(self, net, quant=32, implementation=AUTO):
        """Take the network.

        Args:
            net: SRFlowNet.
            quant: levels of the noise that `encode` adds.
            implementation: which code computes the network: "plain", "cpu" or "auto".
        """
        self.net, self.scale, self.quant, self.notes = net, net.scale, quant, []
        self.cooled = []
        self._is_released, self._sampler = False, choose(implementation).sampler(net)
        self._last_lr, self._conditions = None, None

    @classmethod
    def from_checkpoint(
        cls,
        path,
        opt=None,
        device_target="CPU",
        device_id=0,
        precision="float32",
        implementation=AUTO,
        allow_tf32=False,
    ):
        """Make the model with the weights of a checkpoint.

        Args:
            path: a file of train.py or train2test.py, an official `.pth`, the same as `.safetensors`, or a checkpoint
                of the earlier MindSpore port. The content tells which.
            opt: Options, or the path of a YAML, whose network the checkpoint must have. None takes the network that the
                checkpoint has. Files of train.py and train2test.py say which it is, but for `.pth`. Of another
                program's file it is what names and shapes tell of the published networks.
            device_target: "CPU", "GPU" or "Ascend".
            device_id: number of the device, from 0.
            precision: "float32", or "float16", which computes encoder and coupling networks in half precision and is
                for GPUs.
            implementation: which code computes the network: "plain", "cpu", or "auto", which is `cpu` on a CPU.
            allow_tf32: whether a GPU may compute float32 in TF32, which has ten bits of mantissa.

        Returns:
            SRFlow. If another program wrote the file, `notes` say what there is to know of it.

        Raises:
            CheckpointError: the file cannot be used. It is a ValueError.
            DeviceError: the device cannot be used. It is a ValueError.
            ValueError: another argument is not one of the above.
        """
        if precision not in ("float32", "float16"):
            raise ValueError(f"precision: expected 'float32' or 'float16', got {precision!r}")
        set_device(device_target, device_id, allow_tf32)
        choose(implementation)  # an error of it comes before the file is read
        if isinstance(opt, (str, os.PathLike)):
            opt = load_options(opt)
        checkpoint = read_any(path, opt)
        if checkpoint.options.model != "SRFlow":
            raise CheckpointError(f"{path}: an {checkpoint.options.model} checkpoint, expected one of SRFlow")
        if opt is not None:
            _require_network(checkpoint, opt, path)
        net = load_network(checkpoint, path)
        checkpoint.arrays.clear()
        give_back_memory()  # before the weights take more
        if precision == "float16":
            net.compute_in_half()
        model = cls(net, (opt or checkpoint.options).datasets.train.quant, implementation)
        model.notes = checkpoint.state.get("notes", [])
        if checkpoint.kind == INFERENCE and model._sampler.release():
            give_back_memory()
            model._is_released = True
        return model

    def refresh(self):
        """Take the network's weights anew, which is needed after they have changed.

        Raises:
            ValueError: the parameters are given up for their memory. They are when an inference checkpoint is read for
                implementation `cpu`.
        """
        if self._is_released:
            raise ValueError(
                "refresh: this model is made of an inference checkpoint, and its parameters are given up "
                "for their memory; expected a model made of a training checkpoint"
            )
        self._sampler.refresh()
        self._last_lr, self._conditions = None, None

    def sample(
        self, lr, heat=0.9, n=1, seed=None, batch=1, tile=None, with_latents=False, size=None, cool=False, progress=None
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
            cool: whether what is not finite is decoded again, from the same noise at 3/4, 1/2, 1/4 of the heat and at
                0, until it is finite: a tile, or the image where it is computed whole. `cooled` lists them. The latents
                that `with_latents` returns do not show it.
            progress: function called with the number of finished decodings and that of all, `n_decodings`.

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
        noise = self._draw(n, len(images), least, size, seed)
        self.cooled = []
        after_each = _Counter(progress, n_decodings(size, n * len(heats), batch if len(images) == 1 else 1, tile))
        shape = (height, width, 3) if is_picture else (3, height, width)
        samples = np.empty((len(heats) * n, len(images)) + shape, np.uint8 if is_picture else np.float32)
        for row, strip in self._decode_samples(pad_to(images, size), noise, heats, batch, tile, cool, after_each):
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

    def _decode_samples(self, lr, noise, heats, batch, tile, cool, after_each):
        """Decode noise at every heat, whole or by tiles, and yield the images in strips from top to bottom.

        Args:
            lr: uint8 or float32 (N, 3, h, w), h and w even.
            noise: what `_draw` returned.
            heats: list of numbers.
            batch, tile, cool: as in `sample`.
            after_each: function without arguments, called after every decoding.

        Yields:
            The strip's first row, and the strip, float32 (len(heats)·n, N, 3, rows, s·w), of all samples.
        """

        def image_of(part):
            images = lr if part == whole else part.cut(lr)
            latents = noise if part == whole else crop_latents(noise, part, self.scale)
            return self._decode_part(images, latents, heats, batch, part if cool else None, after_each)

        whole = Tile(0, 0, *lr.shape[2:])
        parts = _parts(lr.shape[2:], tile)
        if parts == [whole]:
            yield 0, image_of(whole)
        else:
            yield from assemble(parts, image_of, self.scale, TILE_MARGIN)

    def _decode_part(self, lr, noise, heats, batch, tile_to_cool, after_each):
        """Decode noise of one part at every heat: float32 (len(heats)·n, N, 3, s·h, s·w).

        Args:
            tile_to_cool: the Tile, where what is not finite is to be decoded again; otherwise None.

        The other arguments are those of `_decode_samples`.
        """
        chosen = [(float(value), k) for value in heats for k in range(len(noise[0]))]
        # Several images have conditions of their own, which samples of one cannot share in a batch.
        together = batch if len(lr) == 1 else 1
        conditions = self._condition(as_floats(lr))
        images = np.empty((len(chosen), len(lr), 3) + tuple(side * self.scale for side in lr.shape[2:]), np.float32)
        for start in range(0, len(chosen), together):
            some = chosen[start : start + together]
            latents = [np.concatenate([np.float32(value) * latent[k] for value, k in some]) for latent in noise]
            decoded = self._decode(conditions, latents, may_fail=tile_to_cool is not None)
            images[start : start + together] = decoded.reshape((len(some),) + images.shape[1:])
            after_each()
        if tile_to_cool is not None:
            for (value, k), image in zip(chosen, images):
                self._cool(conditions, [latent[k] for latent in noise], image, value, k, tile_to_cool)
        return images

    def _cool(self, conditions, noise, images, heat, sample, tile):
        """Decode again, in place and at lower heats, what is not finite of one sample's images.

        Args:
            conditions: of the images, as `_condition` returns them.
            noise: list of float32 (N, C, H', W').
            images: float32 (N, 3, s·h, s·w), as decoded at `heat`.
            heat, sample, tile: as Cooled has them.
        """
        missing = [i for i in range(len(images)) if not np.isfinite(images[i]).all()]
        for lower in [fraction * heat for fraction in COOLER if heat > 0]:
            if not missing:
                break
            again = self._decode(conditions, [np.float32(lower) * latent for latent in noise], may_fail=True)
            for i in [i for i in missing if np.isfinite(again[i]).all()]:
                images[i] = again[i]
                missing.remove(i)
                self.cooled.append(Cooled(i, sample, tile, heat, lower))
        self.cooled.extend(Cooled(i, sample, tile, heat, None) for i in missing)
        if missing:
            warnings.warn(
                f"decoding is not finite at heat {heat:g}, nor at any lower one; nothing is clamped. Another "
                "checkpoint may help",
                RuntimeWarning,
                stacklevel=5,
            )

    def encode(self, hr, lr, noise=None):
        """Compute latents, likelihood and log-det of high-resolution images.

        nll = −(logdet + log N(z; 0, 1))/(ln 2·s·h·s·w), where z is the last latent.

        Args:
            hr: float32 (N, 3, s·h, s·w) in [0, 1].
            lr: float32 (N, 3, h, w) in [0, 1], h and w even.
            noise: uniform in [0, 1), of hr's shape: hr becomes hr + (noise − ½)/quant. None adds none.

        Returns:
            Three things: latents, nll, logdet.

            latents: tuple of float32 (N, C, H', W'), those of the splits first, z last.
            nll: float32 (N,), bits per pixel of hr, three channels summed.
            logdet: float32 (N,), nats, as the official code counts it: log|det| with the splits' log-likelihood, and if
            there is noise −log(quant) for each pixel.

        Raises:
            ValueError: shapes do not fit, or lr has an odd side.
        """
        lr, hr = _checked(lr, "lr"), _checked(hr, "hr")
        expected = (lr.shape[0], 3, lr.shape[2] * self.scale, lr.shape[3] * self.scale)
        if hr.shape != expected:
            raise ValueError(f"hr: expected shape {expected} for lr {lr.shape} at scale {self.scale}, got {hr.shape}")
        _require_even(lr)
        pixels = hr.shape[2] * hr.shape[3]
        constant = 0.0
        if noise is not None:
            if np.shape(noise) != hr.shape:
                raise ValueError(f"noise: expected hr's shape {hr.shape}, got {np.shape(noise)}")
            hr = dequantise(hr, np.asarray(noise, np.float32), self.quant)
            constant = -math.log(self.quant) * pixels
        latents, logdet = self._sampler.encode(Tensor(hr), self._condition(lr))
        latents, logdet = tuple(latent.asnumpy() for latent in latents), logdet + constant
        for latent in latents[:-1]:
            logdet = logdet + _log_normal(latent)
        nll = -(logdet + _log_normal(latents[-1])) / (LOG_2 * pixels)
        return latents, nll.astype(np.float32), logdet.astype(np.float32)

    def decode(self, lr, latents):
        """Compute the images of given latents.

        The latents may be those of other images (SRFlow, section 4). If the result is not finite, a RuntimeWarning
        names the level where this begins.

        Args:
            lr: float32 (N, 3, h, w) in [0, 1], h and w even.
            latents: float32 (N, C, H', W') each, as `encode` returns them.

        Returns:
            float32 (N, 3, s·h, s·w), not clipped.

        Raises:
            ValueError: shapes do not fit, lr has an odd side, or latents are not finite.
        """
        lr = _checked(lr, "lr")
        _require_even(lr)
        expected, came = self._latent_shapes(len(lr), lr.shape[2:]), [np.shape(latent) for latent in latents]
        if came != expected:
            raise ValueError(f"latents: expected shapes {expected}, got {came}")
        if not all(np.isfinite(latent).all() for latent in latents):
            raise ValueError("latents: expected finite values, got some that are not")
        return self._decode(self._condition(lr), latents)

    def _latent_shapes(self, count, size):
        height, width = (side * self.scale for side in size)
        return [(count,) + shape for shape in self.net.flowUpsamplerNet.latent_shapes(height, width)]

    def _condition(self, lr):
        """Compute what the flow needs of the images lr, float32 (N, 3, h, w).

        It is kept for the last images. All calls with the same images, one after the other, compute it once.
        """
        if self._last_lr is None or not np.array_equal(self._last_lr, lr):
            self._last_lr, self._conditions = None, None  # their memory first
            self._conditions = self._sampler.condition(Tensor(lr))
            self._last_lr = lr.copy()
        return self._conditions

    def _decode(self, conditions, latents, may_fail=False):
        """Decode latents with given conditions, and warn where the images are not finite unless they `may_fail`."""
        latents = [Tensor(np.ascontiguousarray(latent, np.float32)) for latent in latents]
        images = self._sampler.decode(latents, conditions).asnumpy()
        if not may_fail and not np.isfinite(images).all():
            level = self._sampler.first_not_finite(latents, conditions)
            share = 100 * np.mean(~np.isfinite(images).all(axis=1))
            warnings.warn(
                f"decoding is not finite from level {level} of {self.net.flowUpsamplerNet.n_levels} on, in "
                f"{share:.3g} % of the pixels; nothing is clamped. A lower heat or another checkpoint may "
                "help",
                RuntimeWarning,
                stacklevel=4,
            )
        return images


def n_decodings(size, n, batch=1, tile=None):
    """Count how often `SRFlow.sample` decodes for one image.

    Args:
        size: even (height, width) at which it is computed, in pixels of lr.
        n: number of samples, of all heats together.
        batch, tile: as `SRFlow.sample` takes them.
    """
    return len(_parts(size, tile)) * math.ceil(n / batch)


def _parts(size, tile):
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


def build_network(opt):
    """Make the SRFlowNet that the options describe, freshly initialised from NumPy's global generator.

    Raises:
        OptionsError: they describe an encoder alone.
    """
    _require_flow(opt)
    network, flow = opt.network_G, opt.network_G.flow
    coupling = flow.CondAffineSeparatedAndCond
    return SRFlowNet(
        opt.scale,
        network.nf,
        network.nb,
        network.gc,
        flow.stackRRDB.blocks,
        flow.K,
        flow.additionalFlowNoAffine,
        split_levels(opt),
        coupling.hidden_channels,
        coupling.eps,
    )


def load_network(checkpoint, path, opt=None):
    """Make the SRFlowNet with a checkpoint's parameters.

    The network is not built for a file that has fewer values than the published layers would: it would take memory for
    nothing. A file that has as many is compared with the network itself, whose layers may have been changed.

    Args:
        checkpoint: Checkpoint.
        path: of its file, for messages.
        opt: Options of the network, or None for the checkpoint's.

    Returns:
        SRFlowNet.

    Raises:
        CheckpointError: parameters are missing or cannot be used. Its one line says what is wrong.
        OptionsError: the options describe an encoder alone.
    """
    opt = opt or checkpoint.options
    _require_flow(opt)
    shapes, arrays = shapes_of(opt), checkpoint.parameters()
    needed = sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.startswith(IMAGE_ONLY))
    if sum(value.size for value in arrays.values()) < needed:
        require_parameters(shapes, arrays, path, IMAGE_ONLY)
    net = build_network(opt)
    load_parameters(net, arrays, path, optional=IMAGE_ONLY)
    require_usable(net, path)
    return net


def require_usable(net, source):
    """Refuse values that are not finite, and 1×1 weights without inverse.

    Args:
        net: SRFlowNet.
        source: where its values are from, for the message.

    Raises:
        CheckpointError: there are such. It names the parameter.
    """
    for parameter in net.get_parameters():
        value = parameter.asnumpy()
        if not np.isfinite(value).all():
            raise CheckpointError(f"{source}: {parameter.name}: has values that are not finite; use another checkpoint")
        if parameter.name.endswith(".invconv.weight"):
            sign, log_abs_det = np.linalg.slogdet(value.astype(np.float64))
            if sign == 0 or not np.isfinite(log_abs_det):
                raise CheckpointError(
                    f"{source}: {parameter.name}: a singular matrix, it cannot be inverted; use another checkpoint"
                )


def _require_flow(opt):
    if opt.network_G.flow is None:
        raise OptionsError(
            "network_G.flow: missing, as the configuration is one of the encoder alone (model: RRDB); "
            "expected one of model SRFlow"
        )


def _require_network(checkpoint, opt, path):
    changed = network_differences(checkpoint.options, opt)
    if changed:
        raise CheckpointError(
            f"{path}: weights of another network than the configuration's; they differ in {', '.join(changed)}"
        )


def normalise_latents(latents, heat=1.0):
    """Give latents the prior's statistics: mean 0 and standard deviation `heat` in each channel of each image.

    z ← heat·(z − mean)/(std + 1e-6), with mean and std over H' and W'. It serves restoration: what a degraded image has
    and natural ones have not, shows in its latents' statistics (SRFlow, section 4).

    Args:
        latents: tuple of float32 (N, C, H', W'), as `encode` returns them.
        heat: a number.

    Returns:
        A tuple of the same shapes and type.
    """
    return tuple(
        (
            heat * (latent - latent.mean(axis=(2, 3), keepdims=True)) / (latent.std(axis=(2, 3), keepdims=True) + 1e-6)
        ).astype(np.float32)
        for latent in latents
    )


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


def _as_batch(lr):
    """Bring lr into the form (N, 3, h, w), uint8 or float32, and tell whether it was a picture, uint8 (h, w, 3)."""
    lr = np.asarray(lr)
    if lr.dtype == np.uint8 and lr.ndim == 3 and lr.shape[2] == 3 and lr.size:
        _require_sides(lr.shape[:2], "lr")
        return lr.transpose(2, 0, 1)[None], True
    return _checked(lr, "lr"), False


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


def _checked(images, name):
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype.kind != "f" or 0 in images.shape:
        raise ValueError(f"{name}: expected float32 (N, 3, h, w), got {images.dtype} {images.shape}")
    _require_sides(images.shape[2:], name)
    return np.ascontiguousarray(images, np.float32)


def _require_sides(size, name):
    if min(size) < 2:
        raise ValueError(f"{name}: expected sides of at least 2 pixels, got {size[0]} x {size[1]}")


def _require_even(lr):
    if lr.shape[2] % 2 or lr.shape[3] % 2:
        raise ValueError(f"lr: expected even height and width, got {lr.shape[2:]}; see pad_to_even")


def _log_normal(latent):
    """Compute log N(latent; 0, 1) of each image, float64 (N,), nats."""
    latent = latent.astype(np.float64)
    return -0.5 * (latent**2 + LOG_2PI).sum(axis=(1, 2, 3))
