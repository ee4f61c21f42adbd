# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as inference uses them: made once from the parameters, given to the compiled cells, stored in a file.

ActNorms folded into their neighbours, 1×1 weights inverted, convolutions grouped: in training the modules' methods
`weights` compute this in every step, for inference `make_weights` does it once. The result is
nested tuples: groups of members of tensors.
"""
import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Tensor

from src.model.Flow import in_type
from src.model_utils.util import pynative_mode


def make_weights(net):
    """(weights of the encoder, weights of the conditions, weights of the flow) of an SRFlowNet."""
    with pynative_mode():  # to compile this would take far longer than to do it
        return (net.RRDB.weights(),) + net.flowUpsamplerNet.weights()


def halved(weights):
    """What `make_weights` gave of a float32 network as it gives it after `compute_in_half`."""
    encoder, features, flow = weights
    with pynative_mode():
        return in_type(encoder, mstype.float16), in_type(features, mstype.float16), \
            tuple((mixings, in_type(((couplings,),), mstype.float16)[0][0], split) for mixings, couplings, split in flow)


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


def to_arrays(weights):
    """What `make_weights` gave as float32 arrays by name: for example `flow.0.1.2`, group, member, tensor."""
    arrays = {}
    for section, groups in zip(("encoder", "features", "flow"), weights):
        for g, group in enumerate(groups):
            for m, member in enumerate(group):
                arrays.update({f"{section}.{g}.{m}.{i}": tensor.asnumpy() for i, tensor in enumerate(member)})
    return arrays


def from_arrays(arrays):
    """The nested tuples of which `to_arrays` made these arrays."""
    tree = {}
    for name, value in arrays.items():
        *path, last = name.split(".")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[last] = Tensor(np.ascontiguousarray(value))
    flow = tuple(level + ((),) * (3 - len(level)) for level in _as_tuples(tree["flow"]))  # one without split
    return _as_tuples(tree["encoder"]), _as_tuples(tree["features"]), flow


def _as_tuples(node):
    if not isinstance(node, dict):
        return node
    return tuple(_as_tuples(node[str(i)]) for i in range(len(node)))
