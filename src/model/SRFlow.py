# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SRFlow as people use it: NumPy in, NumPy out."""

import math
import numbers
import os
import warnings

import numpy as np
from mindspore import Tensor

from src.images import as_floats, dequantise, even, fill, pad_to, to_uint8
from src.model.SRFlowNet import SRFlowNet
from src.model.implementation import AUTO, choose
from src.model_utils.options import OptionsError, load_options, network_differences
from src.model_utils.util import give_back_memory, set_device
from src.network_names import IMAGE_ONLY, shapes_of, split_levels
from src.tiling import assemble, crop_latents, tiles
from src.weights.checkpoint import INFERENCE, CheckpointError, load_parameters, require_parameters
from src.weights.weight_files import read_any

TRAINED_HEAT = 1.0  # training maximises the likelihood of latents of this standard deviation
# In pixels of the low-resolution image: the margin at a tile's edge is not used, the rest of the overlap is blended.
# Measured by benchmarks/tile_margin.py with 23 blocks and K 16: from which distance of a tile's edge its image, of
# values from 0 to 1, differs by no more than 1e-2, 4e-3, 1e-3, 1e-4 and 1e-5 from that of the whole one, at heat 0.9:
#     seeded weights, in which blocks do little        6, 6, 6, 8, 10
#     a trained encoder (RealSR's) with a seeded flow  3, 6, 15, 31, 40
#     a trained encoder's own image                    17, 24, 32, 40, 43
# A trained encoder sees too far for a margin to hide all of it; blending hides more. Its own image in tiles of 64 with
# this overlap differs by up to 1.6e-2, by more than 1/255 in 0.4 % of the values; with one of 24, by up to 3.2e-2, in
# 1.2 %. One of 40 takes a third more computation with tiles of 96.
TILE_OVERLAP, TILE_MARGIN = 32, 8


class SRFlow:
    """Samples super-resolved images, encodes images to latents, decodes latents.

        model = SRFlow.from_checkpoint("SRFlow.ckpt", device_target="CPU")
        images = model.sample(lr, heat=0.9, n=4, seed=0)

    Every new size of image is compiled once. The weights are read when the object is made and again by `refresh`.
    """

    def __init__(self, net, quant=32, implementation=AUTO):
        """net: SRFlowNet; quant: levels of the noise that `encode` adds; implementation: auto, plain or cpu."""
        self.net, self.scale, self.quant, self.notes = net, net.scale, quant, []
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
        """The network with the weights of a checkpoint.

        path: a file of train.py or train2test.py, an official `.pth`, the same as `.safetensors`, or one of the earlier
        MindSpore port; the content tells which.
        opt: Options or the path of a YAML whose network the checkpoint must have; None: whatever it has, and for other
        programs' files, what their names and shapes tell of the published networks. `notes` of the result: what there
        is to know of such a file, a line each. precision:
        float16 computes RRDB and coupling networks in half precision, which is for GPUs. implementation: which code
        computes the network, `plain`, `cpu` or `auto`, which is `cpu` on a CPU. allow_tf32: whether a GPU may compute
        float32 in TF32, with ten bits of mantissa.
        Raises CheckpointError (a ValueError) for a file that cannot be used and DeviceError for the device.
        """
        if precision not in ("float32", "float16"):
            raise ValueError(f"precision: expected 'float32' or 'float16', got {precision!r}")
        set_device(device_target, device_id, allow_tf32)
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
        """Takes the network's weights anew; needed after they have changed.

        Raises ValueError where the parameters are given up for their memory, as they are when an inference checkpoint
        is read for implementation `cpu`.
        """
        if self._is_released:
            raise ValueError(
                "refresh: this model is made of an inference checkpoint, and its parameters are given up "
                "for their memory; expected a model made of a training checkpoint"
            )
        self._sampler.refresh()
        self._last_lr, self._conditions = None, None

    def sample(self, lr, heat=0.9, n=1, seed=None, batch=1, tile=None, with_latents=False, size=None):
        """n super-resolved images of each low-resolution image.

        lr uint8 (h, w, 3) -> uint8 (n, s·h, s·w, 3), clipped and truncated as the official evaluation does; or
        lr float32 (N, 3, h, w) in [0, 1] -> float32 (n, N, 3, s·h, s·w), not clipped. Odd sizes are padded by
        reflection and cropped back.

        heat: the latents' standard deviation, or a list of them, for which the result has one more dimension, its
        first; all heats have the same noise. seed: the same seed gives the same images; sample i does not depend on n.
        None: another draw each time. batch: how many samples of an image are computed together; each batch size is
        compiled once. tile: side, in pixels of lr, even and at least 32, of the tiles in which larger images are
        computed, with the same latents but within bounded memory; None: whole. with_latents: returns (images, latents),
        latents a tuple of float32 arrays, [..., i] of which `decode` takes: (n, N, C, H', W') each, after the heats'
        dimension if there is one. size: the even (height, width), at least lr's, to which lr is padded by reflection;
        None: the next even one. The noise of the image itself is the same for every size; images differ only near the
        edges that are padded, where the network sees what is beyond. The latents are those of the padded image,
        `pad_to(lr, size)`.
        """
        several = isinstance(heat, (list, tuple, np.ndarray))
        heats = list(heat) if several else [heat]
        _require_sampling(heats, n, batch, seed)
        images, is_picture = _as_batch(lr)
        height, width = (side * self.scale for side in images.shape[2:])
        least = even(images.shape[2:])
        size = least if size is None else _checked_size(size, images)
        noise = self._draw(n, len(images), least, size, seed)
        shape = (height, width, 3) if is_picture else (3, height, width)
        samples = np.empty((len(heats) * n, len(images)) + shape, np.uint8 if is_picture else np.float32)
        for row, strip in self._decode_samples(pad_to(images, size), noise, heats, batch, tile):
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
        """The noise of n samples of `count` images of a size: standard normal, float32 (n, N, C, H', W') each.

        That of their top left parts of the size `least` is drawn first: it does not depend on the rest.
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

    def _decode_samples(self, lr, noise, heats, batch, tile):
        """Yields (row, strip) from top to bottom: float32 (heats·n, N, 3, rows, s·w), of all samples the next rows."""
        if tile is None or max(lr.shape[2:]) <= tile:
            yield 0, self._decode_whole(lr, noise, heats, batch)
            return

        if tile < 4 * TILE_MARGIN:
            raise ValueError(f"tile: expected None or an even integer of at least {4 * TILE_MARGIN}, got {tile}")
        overlap = min(TILE_OVERLAP, tile // 4 * 2)  # of small tiles more would be computed several times than once

        def image_of(part):
            return self._decode_whole(part.cut(lr), crop_latents(noise, part, self.scale), heats, batch)

        yield from assemble(tiles(*lr.shape[2:], tile, overlap), image_of, self.scale, TILE_MARGIN)

    def _decode_whole(self, lr, noise, heats, batch):
        """float32 (heats·n, N, 3, s·h, s·w): every noise, (n, N, C, H', W') each, at every heat."""
        chosen = [(np.float32(value), k) for value in heats for k in range(len(noise[0]))]
        # Several images have conditions of their own, which samples of one cannot share in a batch.
        together = batch if len(lr) == 1 else 1
        conditions = self._condition(as_floats(lr))
        images = np.empty((len(chosen), len(lr), 3) + tuple(side * self.scale for side in lr.shape[2:]), np.float32)
        for start in range(0, len(chosen), together):
            some = chosen[start : start + together]
            decoded = self._decode(
                conditions, [np.concatenate([value * latent[k] for value, k in some]) for latent in noise]
            )
            images[start : start + together] = decoded.reshape((len(some),) + images.shape[1:])
        return images

    def encode(self, hr, lr, noise=None):
        """(latents, nll, logdet) of high-resolution images.

        hr float32 (N, 3, s·h, s·w), lr float32 (N, 3, h, w), h and w even, in [0, 1]; noise: uniform [0, 1) of hr's
        shape or None. latents: tuple of float32 (N, C, H, W), those of the splits first, z last.
        nll: float32 (N,), bits per pixel. logdet: float32 (N,), nats, as the official code counts it: log|det| with
        the splits' log-likelihood, and −log(quant) per pixel if there is noise; so
        nll = −(logdet + log N(z; 0, 1))/(ln 2·s·h·s·w).
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
        nll = -(logdet + _log_normal(latents[-1])) / (math.log(2) * pixels)
        return latents, nll.astype(np.float32), logdet.astype(np.float32)

    def decode(self, lr, latents):
        """The images of given latents.

        lr float32 (N, 3, h, w), h and w even -> float32 (N, 3, s·h, s·w), not clipped. latents: as `encode` returns
        them, those of other images among them (the paper's section 3.5). Warns, and says from where on, if the result
        is not finite.
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
        """What the flow needs of the images.

        That of the last images is kept: all that is done with them, one call after the other, computes it once.
        """
        if self._last_lr is None or not np.array_equal(self._last_lr, lr):
            self._last_lr, self._conditions = None, None  # their memory first
            self._conditions = self._sampler.condition(Tensor(lr))
            self._last_lr = lr.copy()
        return self._conditions

    def _decode(self, conditions, latents):
        latents = [Tensor(np.ascontiguousarray(latent, np.float32)) for latent in latents]
        images = self._sampler.decode(latents, conditions).asnumpy()
        if not np.isfinite(images).all():
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


def build_network(opt):
    """The SRFlowNet that the options describe, freshly initialised from NumPy's global generator."""
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
    """The SRFlowNet with a checkpoint's parameters. Raises CheckpointError, with one line that says what is wrong.

    opt: Options of the network; None: the checkpoint's. It is not built before the checkpoint is known to have its
    parameters, and so takes little more memory than the file has.
    """
    opt = opt or checkpoint.options
    _require_flow(opt)
    require_parameters(shapes_of(opt), checkpoint.parameters(), path, IMAGE_ONLY)
    net = build_network(opt)
    load_parameters(net, checkpoint.parameters(), path, optional=IMAGE_ONLY)
    require_usable(net, path)
    return net


def require_usable(net, source):
    """Raises CheckpointError, naming the parameter, for values that are not finite and 1×1 weights without inverse."""
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
    """Latents with the prior's statistics: in each channel of each image mean 0 and standard deviation `heat`.

    latents: tuple of float32 (N, C, H, W), as `encode` returns them; the result is of the same kind. For restoration:
    what a degraded image has that natural ones have not shows in its latents' statistics (SRFlow, section 3.5).
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
    """lr as uint8 or float32 (N, 3, h, w), and whether it came as a picture, uint8 (h, w, 3)."""
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
    """log N(latent; 0, 1) of each image, float64 (N,), nats."""
    latent = latent.astype(np.float64)
    return -0.5 * (latent**2 + math.log(2 * math.pi)).sum(axis=(1, 2, 3))
