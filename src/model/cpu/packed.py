# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as sampling uses them: made once from the parameters, and given to the compiled cells.

ActNorms are folded into their neighbours, 1×1 weights inverted, convolutions grouped. Training computes this in every
step, sampling once. The result is nested tuples: groups of members of tensors.
"""

from typing import List, NamedTuple, Tuple

import numpy as np
from mindspore import Tensor

from src.model_utils.util import pynative_mode

STEPS_TOGETHER = 8  # of the flow, at most, in one compiled part


class LevelWeights(NamedTuple):
    """Weights of one level.

    Attributes:
        split: the folded weight and bias of the split's convolution, () without a split.
        transitions: the stacked mixings of the transition steps, () without such steps.
        parts: for each part, a few of the conditional steps, a pair: their stacked mixings and their stacked couplings.
    """

    split: Tuple
    transitions: Tuple
    parts: List[Tuple]


class NetworkWeights(NamedTuple):
    """Weights of the whole network.

    Attributes:
        encoder: what `Encoder.weights` makes.
        of_conditions: what `Network.conditions` needs, for each level.
        levels: LevelWeights of each level.
    """

    encoder: Tuple
    of_conditions: Tuple
    levels: List[LevelWeights]


def make_weights(network):
    """Make the NetworkWeights of a Network."""
    with pynative_mode():  # to compile this would take far longer than to do it
        of_conditions, of_levels = network.flow_weights()
        levels = [_by_few_steps(level, weights) for level, weights in zip(network.levels, of_levels)]
        return NetworkWeights(network.encoder.weights(), of_conditions, levels)


def _by_few_steps(level, weights):
    mixings, of_couplings, split = weights
    together = max(n for n in range(1, STEPS_TOGETHER + 1) if level.K % n == 0)
    transitions = level.n_transitions
    parts = [
        (_layers(mixings, transitions + start, together), _layers(of_couplings, start, together))
        for start in range(0, level.K, together)
    ]
    return LevelWeights(split, _layers(mixings, 0, transitions) if transitions else (), parts)


def _layers(stacks, start, count):
    # By NumPy, not by a slice (docs/mindspore-1.7.md, 3).
    return tuple(Tensor(stack.asnumpy()[start : start + count]) for stack in stacks)


def release_parameters(net):
    """Give up the values of a network's parameters, and their memory. Its structure is left."""
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(np.zeros((1,) * len(parameter.shape), np.float32)), slice_shape=True)


def leaves(nested):
    """List the tensors of nested tuples and lists, in order, on the host."""
    return [leaf for child in nested for leaf in leaves(child)] if isinstance(nested, (tuple, list)) else [nested]


def sizes_of(groups):
    """Count the tensors of each member of each group, as `nest` needs it."""
    return tuple(tuple(len(member) for member in group) for group in groups)
