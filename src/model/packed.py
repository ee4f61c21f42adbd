# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as inference uses them: made once from the parameters, given to the compiled cells.

ActNorms folded into their neighbours, 1×1 weights inverted, convolutions grouped: in training the modules' methods
`weights` compute this in every step, for inference `make_weights` does it once. The result is
nested tuples: groups of members of tensors.
"""
import numpy as np
from mindspore import Tensor

from src.model_utils.util import pynative_mode

STEPS_TOGETHER = 8  # of the flow, at most, in one compiled part


def make_weights(net):
    """(weights of the encoder, weights of the conditions, weights of the flow) of an SRFlowNet.

    Those of the flow are a group for each level: of the split or (), of the transition steps or (), and in turn of the
    mixings and of the couplings of each few steps, stacked.
    """
    with pynative_mode():  # to compile this would take far longer than to do it
        features, flow = net.flowUpsamplerNet.weights()
        flow = tuple(_by_few_steps(level, weights) for level, weights in zip(net.flowUpsamplerNet.levels, flow))
        return net.RRDB.weights(), features, flow


def split_of(level_weights):
    """Of a level's group of flow weights the tensors of its split; (): it has none."""
    return level_weights[0]


def transitions_of(level_weights):
    """The stacked mixings of its transition steps; (): it has none."""
    return level_weights[1]


def parts_of(level_weights):
    """The (mixings, couplings) of each few of its other steps, stacked: a list."""
    return list(zip(level_weights[2::2], level_weights[3::2]))


def _by_few_steps(level, weights):
    mixings, couplings, split = weights
    together = max(n for n in range(1, STEPS_TOGETHER + 1) if level.K % n == 0)
    transitions = level.n_transitions
    group = (split, _layers(mixings, 0, transitions) if transitions else ())
    for start in range(0, level.K, together):
        group += (_layers(mixings, transitions + start, together), _layers(couplings, start, together))
    return group


def _layers(stacks, start, count):
    # By NumPy: 1.7 takes a slice in float16 for something else when a compiled cell reads it.
    return tuple(Tensor(stack.asnumpy()[start:start + count]) for stack in stacks)


def release_parameters(net):
    """Gives up the values of a network's parameters, and their memory: what is left is its structure."""
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(np.zeros((1,) * len(parameter.shape), np.float32)), slice_shape=True)


def leaves(nested):
    """Host side: the tensors of nested tuples, in order, as a list."""
    return [leaf for child in nested for leaf in leaves(child)] if isinstance(nested, tuple) else [nested]


def sizes_of(groups):
    """How many tensors each member of each group has: what `nest` needs."""
    return tuple(tuple(len(member) for member in group) for group in groups)


def nest(tensors, at, sizes):
    """The groups of `sizes`, taken from a flat tuple of tensors from `at` on; for graph mode."""
    groups = ()
    for group_sizes in sizes:
        group = ()
        for size in group_sizes:
            group = group + (tensors[at:at + size],)
            at += size
        groups = groups + (group,)
    return groups
