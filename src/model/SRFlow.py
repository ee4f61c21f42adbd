# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SRFlow as people use it: NumPy in, NumPy out."""

import math
import os
import warnings

import numpy as np
from mindspore import Tensor, context

from src.images import dequantise
from src.memory import SamplingMemory, network_of
from src.model.Flow import LOG_2PI
from src.model.SRFlowNet import LOG_2, SRFlowNet
from src.model.implementation import AUTO, CPU, choose
from src.model_utils.options import OptionsError, load_options, network_differences
from src.model_utils.util import give_back_memory, set_device
from src.network_names import IMAGE_ONLY, shapes_of, split_levels
from src.sampling import Sampling, checked_images, require_even
from src.weights.checkpoint import INFERENCE, CheckpointError, load_parameters, require_parameters
from src.weights.weight_files import read_any


class SRFlow(Sampling):
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
        encodes: True, as images can be encoded, too.
        memory: SamplingMemory, which estimates what a sample needs.
    """

    encodes = True

    def __init__(self, net, quant=32, implementation=AUTO):
        """Take the network.

        Args:
            net: SRFlowNet.
            quant: levels of the noise that `encode` adds.
            implementation: which code computes the network: "plain", "cpu" or "auto".
        """
        self.net, self.scale, self.quant, self.notes = net, net.scale, quant, []
        self.cooled = []
        self.memory = SamplingMemory(
            network_of({param.name: param.shape for param in net.get_parameters()}),
            self.scale,
            choose(implementation).name == CPU,
            context.get_context("device_target"),
            context.get_context("device_id"),
        )
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
        lr, hr = checked_images(lr, "lr"), checked_images(hr, "hr")
        expected = (lr.shape[0], 3, lr.shape[2] * self.scale, lr.shape[3] * self.scale)
        if hr.shape != expected:
            raise ValueError(f"hr: expected shape {expected} for lr {lr.shape} at scale {self.scale}, got {hr.shape}")
        require_even(lr)
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
        nf=network.nf,
        nb=network.nb,
        gc=network.gc,
        blocks=flow.stackRRDB.blocks,
        K=flow.K,
        n_transitions=flow.additionalFlowNoAffine,
        split_levels=split_levels(opt),
        hidden=coupling.hidden_channels,
        eps=coupling.eps,
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


def _log_normal(latent):
    """Compute log N(latent; 0, 1) of each image, float64 (N,), nats."""
    latent = latent.astype(np.float64)
    return -0.5 * (latent**2 + LOG_2PI).sum(axis=(1, 2, 3))
