# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network as a sampler computes it: in parts, each compiled once.

What differs by its weights only, a block of the trunk or a few steps of a level, is called for each of them. In one graph
with the rest, these would take most of the compiler's time and memory, and all of their intermediate results would be
kept at once, where now those of one part are. Where it can be avoided, a part has more than 100 operators: a smaller graph
MindSpore may run on the caller's thread, beside its own threads, which on few cores takes half as long again.

`weights` is nested as `make_weights` gives it, of which constructors keep the structure only.
"""
import mindspore.common.dtype as mstype
import numpy as np
from mindspore import context, nn, ops

from src.model.packed import leaves, nest, parts_of, sizes_of, split_of, transitions_of
from src.model.stacks import unstack
from src.model_utils.util import compile_cell


class Conditioner:
    """(lr, weights) -> all that encoding and decoding need of the low-resolution images: the conditions.

    They are a tuple for each level: one after the other, the `features` of its couplings.
    """

    def __init__(self, net, weights):
        self.blocks, self.per_level = net.RRDB.blocks, 3 * net.flowUpsamplerNet.K
        self._head, self._block, self._tail = _Head(net.RRDB), _Block(net.RRDB), _Tail(net, weights)

    def __call__(self, lr, weights):
        ((first, trunk), upconvs, dense_blocks), features, _ = weights
        fea, block_outputs = self._head(lr, *first), []
        for i in range(len(dense_blocks) // 3):
            fea = self._block(fea, *leaves(dense_blocks[3 * i:3 * i + 3]))
            if i in self.blocks:
                block_outputs.append(fea)
        conditions = self._tail(fea, *block_outputs, *trunk, *leaves(upconvs), *leaves(features))
        return tuple(conditions[i:i + self.per_level] for i in range(0, len(conditions), self.per_level))


class Encoder:
    """(hr, weights, conditions) -> (latents, logdet): a tuple of tensors, and float64 NumPy (N,), nats."""

    def __init__(self, net, weights):
        self._levels = [(_Transition(level.enter, True), _Steps(level.couple, level_weights, True),
                         _Split(level.layers[-1]) if level.splits else None)
                        for level, level_weights in zip(net.flowUpsamplerNet.levels, weights[2])]

    def __call__(self, hr, weights, conditions):
        x, latents, logdet = hr, (), 0.0
        for (enter, couple, split), level_weights, level_conditions in zip(self._levels, weights[2], conditions):
            x, *terms = enter(x, *transitions_of(level_weights))
            for tensors in _by_part(level_weights, level_conditions):
                x, term = couple(x, *tensors)
                terms.append(term)
            if split is not None:
                x, latent, term = split(x, *split_of(level_weights))
                terms.append(term)
                latents += (latent,)
            logdet = logdet + sum(term.asnumpy().astype(np.float64) for term in terms)
        return latents + (x,), logdet


class Decoder:
    """(latents, weights, conditions) -> hr."""

    def __init__(self, net, weights):
        self._levels = [(_Join(level.layers[-1]) if level.splits else None, _Steps(level.uncouple, level_weights, False),
                         _Transition(level.leave, False))
                        for level, level_weights in zip(net.flowUpsamplerNet.levels, weights[2])]

    def __call__(self, latents, weights, conditions):
        for x in self._outputs(latents, weights, conditions):
            pass  # the last one is the image
        return x

    def first_not_finite(self, latents, weights, conditions):
        """The number, from 1, of the first level that leaves values that are not finite; None: none does."""
        for below, x in enumerate(self._outputs(latents, weights, conditions)):
            if not np.isfinite(x.asnumpy()).all():
                return len(self._levels) - below
        return None

    def _outputs(self, latents, weights, conditions):
        # What each level leaves, from the last to the first.
        *latents, x = latents
        for (join, uncouple, leave), level_weights, level_conditions in zip(self._levels[::-1], weights[2][::-1],
                                                                            conditions[::-1]):
            if join is not None:
                x = join(x, latents.pop(), *split_of(level_weights))
            for tensors in _by_part(level_weights, level_conditions)[::-1]:
                x = uncouple(x, *tensors)
            x = leave(x, *transitions_of(level_weights))
            yield x


def _by_part(level_weights, level_conditions):
    """For each part of a level's steps the arguments of `_Steps` after x: mixings, couplings, conditions."""
    parts = parts_of(level_weights)
    count = len(level_conditions) // len(parts)
    return [mixings + couplings + level_conditions[i * count:(i + 1) * count]
            for i, (mixings, couplings) in enumerate(parts)]


# Of the cells below the arguments are flat, because MindSpore 1.7 takes a tuple for a constant and would compile anew for
# each. What they return is float32, because 1.7 takes a float16 output for something else when another cell reads it.
# They hold methods of the network in tuples, not the network: MindSpore 2 visits every cell within a cell at each call,
# which takes 4 µs for each.


class _Part(nn.Cell):
    """What the cells below have in common: the compiler's memory is given back before a call needs memory of its own."""

    def __init__(self):
        super().__init__()
        self._sizes_compiled = set()

    def __call__(self, *tensors):
        sizes = tensors[0].shape, tensors[-1].shape
        if sizes not in self._sizes_compiled and context.get_context("mode") == context.GRAPH_MODE:
            compile_cell(self, *tensors)
            self._sizes_compiled.add(sizes)
        return super().__call__(*tensors)


class _Head(_Part):
    """(lr, weights...) -> what the first block of the trunk is fed."""

    def __init__(self, rrdb):
        super().__init__()
        self.methods = (rrdb.head,)

    def construct(self, *tensors):
        return ops.Cast()(self.methods[0](tensors[0], tensors[1:]), mstype.float32)


class _Block(_Part):
    """(fea, weights...) -> fea after one block of the trunk."""

    def __init__(self, rrdb):
        super().__init__()
        self.methods = (rrdb.block,)

    def construct(self, *tensors):
        fea = ops.Cast()(tensors[0], tensors[1].dtype)
        return ops.Cast()(self.methods[0](fea, nest(tensors, 1, ((5, 5, 5),))[0]), mstype.float32)


class _Tail(_Part):
    """(fea after the last block, after each of `blocks`..., weights...) -> the conditions of all levels, flat."""

    def __init__(self, net, weights):
        super().__init__()
        self.methods = (net.RRDB.tail, net.flowUpsamplerNet.conditions)
        (_, upconvs, _), features, _ = weights
        self.upconv_sizes, self.feature_sizes = sizes_of((upconvs,)), sizes_of(features)
        self.trunk_at = 1 + len(net.RRDB.blocks)
        self.features_at = self.trunk_at + 2 + len(leaves(upconvs))

    def construct(self, *tensors):
        trunk = tensors[self.trunk_at:self.trunk_at + 2]
        outputs = _cast(tensors[:self.trunk_at], trunk[0].dtype)
        upconvs = nest(tensors, self.trunk_at + 2, self.upconv_sizes)[0]
        own_and_stacked = self.methods[0](outputs[0], outputs[1:], trunk, upconvs)
        flat = ()
        for level in self.methods[1](own_and_stacked, nest(tensors, self.features_at, self.feature_sizes)):
            for features in level:
                flat = flat + _cast(features, mstype.float32)
        return flat


class _Transition(_Part):
    """(x, mixings of the transition steps...) -> x after a level's squeeze and those steps, or their inverse's x.

    method: `enter` or `leave` of the level; with_logdet: whether its log-det is returned too.
    """

    def __init__(self, method, with_logdet):
        super().__init__()
        self.methods, self.with_logdet = (method,), with_logdet

    def construct(self, *tensors):
        mixings = ()
        if len(tensors) > 1:
            mixings = unstack(tensors[1:])
        x, logdet = self.methods[0](tensors[0], mixings)
        return (x, logdet) if self.with_logdet else x


class _Steps(_Part):
    """(x, mixings..., couplings..., conditions...) -> x after a few steps; tensors as `_by_part` gives them.

    method: `couple` or `uncouple` of the level; with_logdet: whether its log-det is returned too.
    """

    def __init__(self, method, level_weights, with_logdet):
        super().__init__()
        self.methods, self.with_logdet = (method,), with_logdet
        mixings, couplings = parts_of(level_weights)[0]  # all are alike
        self.couplings_at = 1 + len(mixings)
        self.conditions_at = self.couplings_at + len(couplings)
        self.condition_sizes = ((3,) * mixings[0].shape[0],)

    def construct(self, *tensors):
        mixings = unstack(tensors[1:self.couplings_at])
        couplings = unstack(tensors[self.couplings_at:self.conditions_at])
        conditions = nest(tensors, self.conditions_at, self.condition_sizes)[0]
        x, logdet = self.methods[0](tensors[0], mixings, couplings, conditions)
        return (x, logdet) if self.with_logdet else x


class _Split(_Part):
    """(x, weights...) -> what goes on, the latent, logdet."""

    def __init__(self, split):
        super().__init__()
        self.methods, self.kept = (split.construct,), split.kept

    def construct(self, *tensors):
        z, logdet = self.methods[0](tensors[0], tensors[1:])
        return z[:, :self.kept], z[:, self.kept:], logdet


class _Join(_Part):
    """The inverse of `_Split`: (what went on, the latent, weights...) -> x."""

    def __init__(self, split):
        super().__init__()
        self.methods = (split.inverse,)

    def construct(self, *tensors):
        x, _ = self.methods[0](ops.Concat(1)((tensors[0], tensors[1])), tensors[2:])
        return x


def _cast(tensors, dtype):
    cast = ()
    for tensor in tensors:
        cast = cast + (ops.Cast()(tensor, dtype),)
    return cast
