# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SRFlow as people use it: NumPy in, NumPy out."""
import math
import numbers
import os

import numpy as np
from mindspore import Tensor

from src.model.SRFlowNet import Conditioner, Decoder, Encoder, SRFlowNet
from src.model.packed import flatten, from_arrays, halved, make_weights
from src.model_utils.checkpoint import INFERENCE, CheckpointError, load_parameters, read_checkpoint
from src.model_utils.options import OptionsError, differences, load_options
from src.model_utils.util import set_device


class SRFlow:
    """Samples super-resolved images, encodes images to latents, decodes latents.

        model = SRFlow.from_checkpoint("SRFlow.ckpt", device_target="CPU")
        images = model.sample(lr, heat=0.9, n=4, seed=0)

    Every new size of image is compiled once. The weights are read when the object is made and again by `refresh`.
    """

    def __init__(self, net, quant=32, packed=None):
        """net: SRFlowNet; quant: levels of the dequantisation noise that `encode` adds.

        packed: the weights to use, as `make_weights` gives them; None: those that the parameters of net make.
        """
        self.net = net
        self.scale = net.scale
        self.quant = quant
        weights = packed or make_weights(net)
        self._conditioner, self._encoder, self._decoder = (cell(net, weights)
                                                           for cell in (Conditioner, Encoder, Decoder))
        self._use(weights)

    @classmethod
    def from_checkpoint(cls, path, opt=None, device_target="CPU", device_id=0, precision="float32"):
        """The network with the weights of a checkpoint that train.py or train2test.py wrote.

        opt: Options or the path of a YAML whose network the checkpoint must have; None: whatever it has. precision:
        float16 computes RRDB and coupling networks in half precision, which is for GPUs.
        Raises CheckpointError (a ValueError) for a file that cannot be used and DeviceError for the device.
        """
        if precision not in ("float32", "float16"):
            raise ValueError(f"precision: expected 'float32' or 'float16', got {precision!r}")
        set_device(device_target, device_id)
        checkpoint = read_checkpoint(path)
        if checkpoint.options.model != "SRFlow":
            raise CheckpointError(f"{path}: an {checkpoint.options.model} checkpoint, expected one of SRFlow")
        if isinstance(opt, (str, os.PathLike)):
            opt = load_options(opt)
        if opt is not None:
            _require_network(checkpoint, opt, path)
        net, quant = build_network(checkpoint.options), (opt or checkpoint.options).datasets.train.quant
        if precision == "float16":
            net.compute_in_half()
        if checkpoint.kind == INFERENCE:
            weights = from_arrays(checkpoint.arrays)
            return cls(net, quant, halved(weights) if precision == "float16" else weights)
        load_parameters(net, checkpoint.parameters(), path)
        require_invertible(net, path)
        return cls(net, quant)

    def refresh(self):
        """Takes the network's weights anew; needed after they have changed."""
        self._use(make_weights(self.net))

    def _use(self, weights):
        self._feature_weights, self._flow_weights = flatten(weights)
        self._last_lr, self._conditions = None, None

    def sample(self, lr, heat=0.9, n=1, seed=None, batch=1):
        """n super-resolved images of each low-resolution image.

        lr uint8 (h, w, 3) -> uint8 (n, s·h, s·w, 3), clipped and truncated as the official evaluation does; or
        lr float32 (N, 3, h, w) in [0, 1] -> float32 (n, N, 3, s·h, s·w), not clipped. Odd sizes are padded by
        reflection and cropped back. heat: the latents' standard deviation. seed: the same seed gives the same images;
        sample i does not depend on n. None: another draw each time. batch: how many samples of an image are computed
        together; each batch size is compiled once.
        """
        if not isinstance(heat, numbers.Real) or not 0 <= heat < math.inf:
            raise ValueError(f"heat: expected a number >= 0, got {heat!r}")
        for name, value in (("n", n), ("batch", batch)):
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        if seed is not None and (not isinstance(seed, numbers.Integral) or not 0 <= seed < 2 ** 32):
            raise ValueError(f"seed: expected None or an integer from 0 to 2**32 - 1, got {seed!r}")
        images, is_picture = _as_batch(lr)
        seeds = np.random.RandomState(seed).randint(0, 2 ** 31 - 1, n)
        # Several images have conditions of their own, which samples of one cannot share in a batch.
        size = batch if len(images) == 1 else 1
        samples = np.concatenate([self._samples(images, heat, seeds[start:start + size])
                                  for start in range(0, n, size)])
        return to_uint8(samples[:, 0]) if is_picture else samples

    def _samples(self, lr, heat, seeds):
        """One sample of each image for each of the seeds, decoded together: float32 (len(seeds), N, 3, H, W)."""
        height, width = (side * self.scale for side in lr.shape[2:])
        conditions, shapes = self._condition(pad_to_even(lr))
        latents = []
        for noise in [np.random.RandomState(seed) for seed in seeds]:
            latents.append([(heat * noise.standard_normal(shape)).astype(np.float32) for shape in shapes])
        images = self._decode(conditions, [np.concatenate(same) for same in zip(*latents)])[:, :, :height, :width]
        return images.reshape((len(seeds), len(lr)) + images.shape[1:])

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
        conditions, _ = self._condition(lr)
        outputs = [output.asnumpy() for output in self._encoder(Tensor(hr), *self._flow_weights, *conditions)]
        latents, logdet = tuple(outputs[:-1]), outputs[-1].astype(np.float64) + constant
        for latent in latents[:-1]:
            logdet = logdet + _log_normal(latent)
        nll = -(logdet + _log_normal(latents[-1])) / (math.log(2) * pixels)
        return latents, nll.astype(np.float32), logdet.astype(np.float32)

    def decode(self, lr, latents):
        """The images of given latents.

        lr float32 (N, 3, h, w), h and w even -> float32 (N, 3, s·h, s·w), not clipped.
        """
        lr = _checked(lr, "lr")
        _require_even(lr)
        conditions, shapes = self._condition(lr)
        came = [np.shape(latent) for latent in latents]
        if came != shapes:
            raise ValueError(f"latents: expected shapes {shapes}, got {came}")
        return self._decode(conditions, latents)

    def _condition(self, lr):
        """What decoding needs of the images, and the shapes of their latents. The last images' is kept, so that all
        that is done with them, one call after the other, computes it once."""
        if self._last_lr is None or not np.array_equal(self._last_lr, lr):
            self._conditions = self._conditioner(Tensor(lr), *self._feature_weights)
            self._last_lr = lr.copy()
        height, width = lr.shape[2] * self.scale, lr.shape[3] * self.scale
        shapes = [(lr.shape[0],) + shape for shape in self.net.flowUpsamplerNet.latent_shapes(height, width)]
        return self._conditions, shapes

    def _decode(self, conditions, latents):
        latents = [Tensor(np.ascontiguousarray(latent, np.float32)) for latent in latents]
        return self._decoder(*latents, *self._flow_weights, *conditions).asnumpy()


def build_network(opt):
    """The SRFlowNet that the options describe, freshly initialised from NumPy's global generator."""
    network, flow = opt.network_G, opt.network_G.flow
    if flow is None:
        raise OptionsError("network_G.flow: missing, as the configuration is one of the encoder alone (model: RRDB); "
                           "expected one of model SRFlow")
    split_levels = 0
    if flow.split.enable:
        split_levels = flow.L - 1 if flow.split.correct_splits else flow.L - 2
    coupling = flow.CondAffineSeparatedAndCond
    return SRFlowNet(opt.scale, network.nf, network.nb, network.gc, flow.stackRRDB.blocks, flow.K,
                     flow.additionalFlowNoAffine, split_levels, coupling.hidden_channels, coupling.eps)


def require_invertible(net, source):
    """Raises CheckpointError, naming the layer, where a 1×1 weight of the network cannot be inverted."""
    for parameter in net.get_parameters():
        if parameter.name.endswith(".invconv.weight"):
            sign, log_abs_det = np.linalg.slogdet(parameter.asnumpy().astype(np.float64))
            if sign == 0 or not np.isfinite(log_abs_det):
                raise CheckpointError(f"{source}: {parameter.name}: a singular matrix, it cannot be inverted; use "
                                      "another checkpoint")


def _require_network(checkpoint, opt, path):
    changed = [key for key in differences(checkpoint.options, opt)
               if key == "scale" or key.startswith("network_G") and not key.startswith("network_G.train_RRDB")]
    if changed:
        raise CheckpointError(f"{path}: weights of another network than the configuration's; they differ in "
                              f"{', '.join(changed)}")


def dequantise(hr, noise, quant):
    """hr + (u − ½)/quant: uniform noise that fills the gaps between quantised values (SRFlow, section 3.5)."""
    return hr + (noise - np.float32(0.5)) / np.float32(quant)


def from_uint8(image):
    """A picture, uint8 (H, W, 3), as the network takes it: float32 (1, 3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def to_uint8(images):
    """float32 (..., 3, H, W) in [0, 1] -> uint8 (..., H, W, 3): clipped, times 255, truncated."""
    return np.moveaxis((np.clip(images, 0, 1) * 255).astype(np.uint8), -3, -1)


def pad_to_even(lr):
    """Pads (N, 3, h, w) by reflection at the bottom and right until h and w are even."""
    height, width = lr.shape[2:]
    return np.pad(lr, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), mode="reflect")


def _as_batch(lr):
    """lr as float32 (N, 3, h, w), and whether it came as a picture, uint8 (h, w, 3)."""
    lr = np.asarray(lr)
    if lr.dtype == np.uint8 and lr.ndim == 3 and lr.shape[2] == 3:
        return _checked(from_uint8(lr), "lr"), True
    return _checked(lr, "lr"), False


def _checked(images, name):
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype.kind != "f" or 0 in images.shape:
        raise ValueError(f"{name}: expected float32 (N, 3, h, w), got {images.dtype} {images.shape}")
    if min(images.shape[2:]) < 2:
        raise ValueError(f"{name}: expected sides of at least 2 pixels, got {images.shape}")
    return np.ascontiguousarray(images, np.float32)


def _require_even(lr):
    if lr.shape[2] % 2 or lr.shape[3] % 2:
        raise ValueError(f"lr: expected even height and width, got {lr.shape[2:]}; see pad_to_even")


def _log_normal(latent):
    """log N(latent; 0, 1) of each image, float64 (N,), nats."""
    latent = latent.astype(np.float64)
    return -0.5 * (latent ** 2 + math.log(2 * math.pi)).sum(axis=(1, 2, 3))
