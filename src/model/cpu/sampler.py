# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The arranged network as a sampler computes it: in parts, each compiled once, of weights made once.

A block of the trunk differs from the others by its weights only, and so do a few steps of a level. Such a part is
compiled once and called for each of them. One graph of the whole would take most of the compiler's time and memory for
these. It would also keep all of their intermediate results at once, where parts keep those of one.

Where it can be avoided, a part has more than 100 operators. MindSpore may run a smaller graph on the caller's
thread, beside its own threads, which on few cores takes half as long again.
"""

import mindspore.common.dtype as mstype
from mindspore import ops

from src.model.cpu.operators import cast, in_float32
from src.model.cpu.packed import leaves, make_weights, release_parameters, sizes_of
from src.model.cpu.stacks import unstack
from src.model.sampler import Part, Sampler, nest


class CPUSampler(Sampler):
    """Sampler of an SRFlowNet, arranged.

    conditions: for each level the tensors of its couplings' conditions, one after the other, float32.
    """

    def __init__(self, net, network):
        """Make the weights and the parts.

        Args:
            net: the SRFlowNet.
            network: the Network of it.
        """
        super().__init__(network.n_levels)
        self._net, self._network, self._weights = net, network, make_weights(network)
        self._blocks = network.encoder.blocks
        self._head, self._block = _Head(network.encoder), _Block(network.encoder)
        self._tail = _Tail(network, self._weights)
        self._levels = [_LevelParts(level, weights) for level, weights in zip(network.levels, self._weights.levels)]

    def refresh(self):
        self._weights = make_weights(self._network)

    def release(self):
        release_parameters(self._net)
        return True

    def condition(self, lr):
        (first, trunk), upconvs, dense_blocks = self._weights.encoder
        fea, block_outputs = self._head(lr, *first), []
        for i in range(len(dense_blocks) // 3):
            fea = self._block(fea, *leaves(dense_blocks[3 * i : 3 * i + 3]))
            if i in self._blocks:
                block_outputs.append(fea)
        flat = self._tail(fea, *block_outputs, *trunk, *leaves(upconvs), *leaves(self._weights.of_conditions))
        per_level = len(flat) // self.n_levels
        return tuple(flat[i : i + per_level] for i in range(0, len(flat), per_level))

    def encode_level(self, level, x, condition):
        parts, weights = self._levels[level], self._weights.levels[level]
        x, *terms = parts.enter(x, *leaves(weights.transitions))
        for tensors in _by_part(weights, condition):
            x, term = parts.couple(x, *tensors)
            terms.append(term)
        if not weights.split:
            return x, None, terms
        x, latent, term = parts.split(x, *weights.split)
        return x, latent, terms + [term]

    def decode_level(self, level, x, latents, condition):
        parts, weights = self._levels[level], self._weights.levels[level]
        if weights.split:
            x = parts.join(x, latents.pop(), *weights.split)
        for tensors in _by_part(weights, condition)[::-1]:
            x = parts.uncouple(x, *tensors)
        return parts.leave(x, *leaves(weights.transitions))


class _LevelParts:
    """Compiled parts of a Level, in both directions."""

    def __init__(self, level, weights):
        self.enter, self.leave = _Transition(level.enter, True), _Transition(level.leave, False)
        self.couple, self.uncouple = _Steps(level.couple, weights, True), _Steps(level.uncouple, weights, False)
        if level.splits:
            self.split, self.join = _Split(level.split), _Join(level.split)


def _by_part(weights, conditions):
    """List for each part of a level's steps the arguments of `_Steps` after x: mixings, couplings, conditions."""
    count = len(conditions) // len(weights.parts)
    return [
        mixings + couplings + tuple(conditions[i * count : (i + 1) * count])
        for i, (mixings, couplings) in enumerate(weights.parts)
    ]


class _Head(Part):
    """First convolution: (lr, weights...) -> what the first block of the trunk is fed."""

    def __init__(self, encoder):
        super().__init__()
        self.methods = (encoder.head,)

    def construct(self, *tensors):
        return ops.Cast()(self.methods[0](tensors[0], tensors[1:]), mstype.float32)


class _Block(Part):
    """Block of the trunk, three dense blocks of five convolutions: (fea, weights...) -> fea after it."""

    def __init__(self, encoder):
        super().__init__()
        self.methods = (encoder.block,)

    def construct(self, *tensors):
        fea = ops.Cast()(tensors[0], tensors[1].dtype)
        return ops.Cast()(self.methods[0](fea, nest(tensors, 1, ((5, 5, 5),))[0]), mstype.float32)


class _Tail(Part):
    """Rest of the encoder after the trunk's blocks, and the conditions.

    (fea after the last block, after each of `blocks`..., weights...) -> the conditions of all levels, flat
    """

    def __init__(self, network, weights):
        super().__init__()
        self.methods = (network.encoder.tail, network.conditions)
        _, upconvs, _ = weights.encoder
        self.upconv_sizes, self.condition_sizes = sizes_of((upconvs,)), sizes_of(weights.of_conditions)
        self.trunk_at = 1 + len(network.encoder.blocks)
        self.conditions_at = self.trunk_at + 2 + len(leaves(upconvs))  # the trunk has weight and bias

    def construct(self, *tensors):
        trunk = tensors[self.trunk_at : self.trunk_at + 2]
        outputs = cast(tensors[: self.trunk_at], trunk[0].dtype)
        upconvs = nest(tensors, self.trunk_at + 2, self.upconv_sizes)[0]
        features = self.methods[0](outputs[0], outputs[1:], trunk, upconvs)
        flat = ()
        for level in self.methods[1](features, nest(tensors, self.conditions_at, self.condition_sizes)):
            for condition in level:
                flat = flat + in_float32(condition)
        return flat


class _Transition(Part):
    """Squeeze and transition steps of a level, or their inverse: (x, mixings of the steps...) -> x after them."""

    def __init__(self, method, with_logdet):
        """Take the method.

        Args:
            method: `enter` or `leave` of the level.
            with_logdet: whether its log-det is returned too.
        """
        super().__init__()
        self.methods, self.with_logdet = (method,), with_logdet

    def construct(self, *tensors):
        mixings = ()
        if len(tensors) > 1:
            mixings = unstack(tensors[1:])
        x, logdet = self.methods[0](tensors[0], mixings)
        return (x, logdet) if self.with_logdet else x


class _Steps(Part):
    """A few of the conditional steps of a level, or their inverse.

    (x, mixings..., couplings..., conditions...) -> x after them, of tensors as `_by_part` lists them
    """

    def __init__(self, method, weights, with_logdet):
        """Take the method.

        Args:
            method: `couple` or `uncouple` of the level.
            weights: LevelWeights.
            with_logdet: whether its log-det is returned too.
        """
        super().__init__()
        self.methods, self.with_logdet = (method,), with_logdet
        mixings, couplings = weights.parts[0]  # all parts are alike
        self.couplings_at = 1 + len(mixings)
        self.conditions_at = self.couplings_at + len(couplings)
        self.condition_sizes = ((3,) * mixings[0].shape[0],)  # of each step shift, scale and hidden

    def construct(self, *tensors):
        mixings = unstack(tensors[1 : self.couplings_at])
        couplings = unstack(tensors[self.couplings_at : self.conditions_at])
        conditions = nest(tensors, self.conditions_at, self.condition_sizes)[0]
        x, logdet = self.methods[0](tensors[0], mixings, couplings, conditions)
        return (x, logdet) if self.with_logdet else x


class _Split(Part):
    """Split of a level: (x, weights...) -> what goes on, the latent, logdet."""

    def __init__(self, split):
        super().__init__()
        self.methods, self.kept = (split.construct,), split.kept

    def construct(self, *tensors):
        z, logdet = self.methods[0](tensors[0], tensors[1:])
        return z[:, : self.kept], z[:, self.kept :], logdet


class _Join(Part):
    """Inverse of `_Split`: (what went on, the latent, weights...) -> x."""

    def __init__(self, split):
        super().__init__()
        self.methods = (split.inverse,)

    def construct(self, *tensors):
        x, _ = self.methods[0](ops.Concat(1)((tensors[0], tensors[1])), tensors[2:])
        return x
