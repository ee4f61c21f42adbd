# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding by compiled parts, level by level, with conditions that are computed once per image."""

import numpy as np
from mindspore import context, nn, ops

from src.model_utils.util import compile_cell


class Part(nn.Cell):
    """Cell that is called from Python, and compiled for each size of its arguments.

    Before a call needs memory of its own, the memory that the compiler took is given back. Arguments are flat tensors,
    never tuples, and what it returns is float32 (docs/mindspore-1.7.md, 2 and 3).

    A part should hold methods of the network in tuples, not the network. MindSpore 2 visits every cell within a cell at
    each call, and takes 4 µs for each of them.
    """

    def __init__(self):
        super().__init__()
        self._sizes_compiled = set()

    def __call__(self, *tensors):
        sizes = tensors[0].shape, tensors[-1].shape
        if sizes not in self._sizes_compiled and context.get_context("mode") == context.GRAPH_MODE:
            compile_cell(self, *tensors)
            self._sizes_compiled.add(sizes)
        return super().__call__(*tensors)


class Sampler:
    """Encoder and decoder of images, level by level. Subclasses say how a level is computed.

    In all methods `conditions` is what `condition` returned: one item for each level, level 1 first. What an item is,
    the subclass decides. Levels are numbered from 0 here.
    """

    def __init__(self, n_levels):
        self.n_levels = n_levels

    def condition(self, lr):
        """Compute what the flow needs of low-resolution images.

        Args:
            lr: float32 Tensor (N, 3, h, w) in [0, 1], h and w even.

        Returns:
            The conditions, a sequence of one item for each level.
        """
        raise NotImplementedError

    def encode_level(self, level, x, condition):
        """Compute one level from image to latent.

        Args:
            level: its number, from 0.
            x: float32 Tensor (N, ·, 2H, 2W), what the level before it left, or the image.
            condition: the level's item of the conditions.

        Returns:
            Three things: the Tensor (N, ·, H, W) that goes on to the next level, the latent that is split off or None,
            and the terms of the log-det, a list of Tensors float32 (N,), in nats.
        """
        raise NotImplementedError

    def decode_level(self, level, x, latents, condition):
        """Compute one level from latent to image.

        Args:
            level: its number, from 0.
            x: float32 Tensor (N, ·, H, W), what the next level left, or the last latent.
            latents: list of the latents that are left. A level with a split takes the last of them away.
            condition: the level's item of the conditions.

        Returns:
            The level's x, float32 Tensor (N, ·, 2H, 2W).
        """
        raise NotImplementedError

    def refresh(self):
        """Take the network's parameters anew."""

    def release(self):
        """Give up the network's parameters where they are not needed any more, and return whether it did."""
        return False

    def encode(self, hr, conditions):
        """Compute the latents of images.

        Args:
            hr: float32 Tensor (N, 3, s·h, s·w).
            conditions: of their low-resolution images.

        Returns:
            The latents, a tuple of Tensors, those of the splits first, and the log-det, float64 NumPy (N,), in nats.
        """
        x, latents, logdet = hr, (), 0.0
        for level, condition in enumerate(conditions):
            x, latent, terms = self.encode_level(level, x, condition)
            logdet = logdet + sum(term.asnumpy().astype(np.float64) for term in terms)
            latents += () if latent is None else (latent,)
        return latents + (x,), logdet

    def decode(self, latents, conditions):
        """Compute the images of latents.

        Args:
            latents: Tensors as `encode` returns them.
            conditions: of the low-resolution images.

        Returns:
            float32 Tensor (N, 3, s·h, s·w), not clipped.
        """
        x = None
        for x in self._outputs(latents, conditions):  # noqa: B007  # the last one is the image
            pass
        return x

    def first_not_finite(self, latents, conditions):
        """Find the first level, in the order of decoding, that leaves values which are not finite.

        Args:
            latents: Tensors as `encode` returns them.
            conditions: of the low-resolution images.

        Returns:
            The level's number, from 1, or None if all values are finite.
        """
        for below, x in enumerate(self._outputs(latents, conditions)):
            if not np.isfinite(x.asnumpy()).all():
                return self.n_levels - below
        return None

    def _outputs(self, latents, conditions):
        # What each level leaves, from the last level to the first.
        *latents, x = latents
        for level in range(self.n_levels)[::-1]:
            x = self.decode_level(level, x, latents, conditions[level])
            yield x


class PlainSampler(Sampler):
    """Sampler of an SRFlowNet as it is defined.

    The construct and the inverse of each level are a part each. Another one computes the conditions.
    """

    def __init__(self, net):
        flow = net.flowUpsamplerNet
        super().__init__(flow.n_levels)
        self._splits = [level < flow.split_levels for level in range(flow.n_levels)]
        self._conditions, self._levels = _Conditions(net), flow.levels
        self._encoders, self._decoders = {}, {}

    def condition(self, lr):
        return self._conditions(lr)

    def encode_level(self, level, x, condition):
        if level not in self._encoders:
            self._encoders[level] = _Encode(self._levels[level], _sizes(condition), self._splits[level])
        z, latent, logdet = self._encoders[level](x, *_flat(condition))
        return z, latent if self._splits[level] else None, [logdet]

    def decode_level(self, level, x, latents, condition):
        if level not in self._decoders:
            self._decoders[level] = _Decode(self._levels[level], _sizes(condition), self._splits[level])
        split_off = (latents.pop(),) if self._splits[level] else ()
        return self._decoders[level](x, *split_off, *_flat(condition))


class _Conditions(Part):
    """Conditions of all levels: lr -> for each level a tuple of its layers' conditions."""

    def __init__(self, net):
        super().__init__()
        self.methods = (net.condition,)

    def construct(self, lr):
        return self.methods[0](lr)


class _Encode(Part):
    """Level from image to latent: (x, condition...) -> what goes on, the latent that is split off, logdet.

    Without a split, what goes on takes the latent's place.
    """

    def __init__(self, level, sizes, splits):
        super().__init__()
        self.methods, self.sizes, self.kept, self.splits = (level.construct,), sizes, level.kept, splits

    def construct(self, *tensors):
        z, logdet = self.methods[0](tensors[0], nest(tensors, 1, (self.sizes,))[0])
        if self.splits:
            return z[:, : self.kept], z[:, self.kept :], logdet
        return z, z, logdet


class _Decode(Part):
    """Inverse of `_Encode`: (what went on, the latent if the level splits, condition...) -> x."""

    def __init__(self, level, sizes, splits):
        super().__init__()
        self.methods, self.sizes, self.splits = (level.inverse,), sizes, splits

    def construct(self, *tensors):
        z = ops.Concat(1)((tensors[0], tensors[1])) if self.splits else tensors[0]
        x, _ = self.methods[0](z, nest(tensors, 2 if self.splits else 1, (self.sizes,))[0])
        return x


def _flat(condition):
    return [tensor for of_layer in condition for tensor in of_layer]


def _sizes(condition):
    return tuple(len(of_layer) for of_layer in condition)


def nest(tensors, at, sizes):
    """Gather flat tensors in groups of members again. Graph mode compiles it.

    Args:
        tensors: a tuple of tensors, of which those from `at` on are gathered.
        at: number of the first.
        sizes: of each group a tuple, how many tensors each of its members has.

    Returns:
        The groups, nested tuples.
    """
    groups = ()
    for group_sizes in sizes:
        group = ()
        for size in group_sizes:
            group = group + (tensors[at : at + size],)
            at += size
        groups = groups + (group,)
    return groups
