# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding by compiled parts, level by level, with conditions that are computed once per image."""

import numpy as np
from mindspore import context, nn, ops

from src.model_utils.util import compile_cell


class Part(nn.Cell):
    """A cell that is called from Python: the compiler's memory is given back before a call needs memory of its own.

    Its arguments are flat tensors, never tuples, and what it returns is float32 (docs/mindspore-1.7.md, 2 and 3). It
    should hold methods of the network in tuples, not the network: MindSpore 2 visits every cell within a cell at each
    call, which takes 4 µs for each.
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
    """What SRFlow needs of a network; an implementation says how a level is computed.

    conditions: whatever `condition` returns, one item for each level, level 1 first.
    """

    def __init__(self, n_levels):
        self.n_levels = n_levels

    def condition(self, lr):
        """The conditions of images lr float32 (N, 3, h, w)."""
        raise NotImplementedError

    def encode_level(self, level, x, condition):
        """(What goes on, the latent split off or None, the log-det's terms (N,) in a list)."""
        raise NotImplementedError

    def decode_level(self, level, x, latents, condition):
        """The level's x. latents: a list, from which a level with a split takes the last one."""
        raise NotImplementedError

    def refresh(self):
        """Take the network's parameters anew."""

    def release(self):
        """Give up the network's parameters, where they are not needed any more; returns whether it did."""
        return False

    def encode(self, hr, conditions):
        """hr float32 (N, 3, H, W) -> (latents, logdet): a tuple of tensors, and float64 NumPy (N,), nats."""
        x, latents, logdet = hr, (), 0.0
        for level, condition in enumerate(conditions):
            x, latent, terms = self.encode_level(level, x, condition)
            logdet = logdet + sum(term.asnumpy().astype(np.float64) for term in terms)
            latents += () if latent is None else (latent,)
        return latents + (x,), logdet

    def decode(self, latents, conditions):
        """Latents, tensors as `encode` returns them -> the image."""
        x = None
        for x in self._outputs(latents, conditions):  # noqa: B007  # the last one is the image
            pass
        return x

    def first_not_finite(self, latents, conditions):
        """The number, from 1, of the first level that leaves values that are not finite; None: none does."""
        for below, x in enumerate(self._outputs(latents, conditions)):
            if not np.isfinite(x.asnumpy()).all():
                return self.n_levels - below
        return None

    def _outputs(self, latents, conditions):
        # What each level leaves, from the last to the first.
        *latents, x = latents
        for level in range(self.n_levels)[::-1]:
            x = self.decode_level(level, x, latents, conditions[level])
            yield x


class PlainSampler(Sampler):
    """Of an SRFlowNet as it is defined: each level's construct and inverse are a part, and so are the conditions."""

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
    """lr -> the conditions of the layers of each level: a tuple of tuples of tuples."""

    def __init__(self, net):
        super().__init__()
        self.methods = (net.condition,)

    def construct(self, lr):
        return self.methods[0](lr)


class _Encode(Part):
    """(x, condition...) -> what goes on, the latent split off (without a split: the same), logdet."""

    def __init__(self, level, sizes, splits):
        super().__init__()
        self.methods, self.sizes, self.kept, self.splits = (level.construct,), sizes, level.kept, splits

    def construct(self, *tensors):
        z, logdet = self.methods[0](tensors[0], _nest(tensors, 1, self.sizes))
        if self.splits:
            return z[:, : self.kept], z[:, self.kept :], logdet
        return z, z, logdet


class _Decode(Part):
    """The inverse of `_Encode`: (what went on, the latent if the level splits, condition...) -> x."""

    def __init__(self, level, sizes, splits):
        super().__init__()
        self.methods, self.sizes, self.splits = (level.inverse,), sizes, splits

    def construct(self, *tensors):
        z = ops.Concat(1)((tensors[0], tensors[1])) if self.splits else tensors[0]
        x, _ = self.methods[0](z, _nest(tensors, 2 if self.splits else 1, self.sizes))
        return x


def _flat(condition):
    return [tensor for of_layer in condition for tensor in of_layer]


def _sizes(condition):
    return tuple(len(of_layer) for of_layer in condition)


def _nest(tensors, at, sizes):
    """A tuple for each size, of the flat tensors from `at` on; for graph mode."""
    nested = ()
    for size in sizes:
        nested = nested + (tensors[at : at + size],)
        at += size
    return nested
