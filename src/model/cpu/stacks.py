# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What many layers of one kind have in common: their parameters, stacked over the layers."""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from src.model.cpu.operators import as_tensor

MAX_KINDS = 10


class ParameterStacks(nn.Cell):
    """() -> for each parameter of a kind of layer, its values in `layers` layers stacked: a tuple of (layers, ...).

    layers: for each of them its parameters, at most ten, in order; other cells own and name them already. At first
    each call stacks them. After `join` the stacks are parameters themselves, and the layers' are stale until
    `write_back`: a network has thousands of parameters but fewer than a hundred stacks, and the compiler and every
    step of training take that much longer to handle each by itself.
    """

    def __init__(self, layers):
        super().__init__(auto_prefix=False)
        self.kinds = len(layers[0])
        for k in range(MAX_KINDS):
            # Each kind an attribute of its own, as reading one tuple of all would load them all each time; and set
            # past nn.Cell, which would register and rename the parameters.
            same = [parameters[k] for parameters in layers] if k < self.kinds else []
            object.__setattr__(self, f"kind{k}", ParameterTuple(same))
        self.is_joined = False

    def construct(self):
        if self.is_joined:
            return self.joined
        stacks = ()
        kinds = (
            self.kind0,
            self.kind1,
            self.kind2,
            self.kind3,
            self.kind4,
            self.kind5,
            self.kind6,
            self.kind7,
            self.kind8,
            self.kind9,
        )
        for same in kinds[: self.kinds]:
            stacks = stacks + (_stacked(same),)
        return stacks

    def members(self):
        """Host side: for each stack the layers' parameters, a tuple of tuples."""
        return tuple(getattr(self, f"kind{k}") for k in range(self.kinds))

    def join(self):
        """Host side: make parameters of the stacks, of the values the layers' have now; before a user is compiled."""
        object.__setattr__(
            self,
            "joined",
            ParameterTuple(
                [
                    Parameter(
                        Tensor(np.stack([parameter.asnumpy() for parameter in same])), name=f"{same[0].name}.stack"
                    )
                    for same in self.members()
                ]
            ),
        )
        self.is_joined = True

    def stands_for(self):
        """Host side: which parameters each joined stack stands for: {its name: their tuple}."""
        return {stack.name: same for stack, same in zip(self.joined, self.members())}

    def write_back(self):
        """Host side: gives the layers' parameters the values of the joined ones."""
        for stack, same in zip(self.joined, self.members()):
            for parameter, value in zip(same, stack.asnumpy()):
                parameter.set_data(Tensor(value))


def taken_apart(arrays, members):
    """Arrays by name, those of stacks replaced by their layers'; members: {name of a stack: its layers' names}."""
    apart = {}
    for name, value in arrays.items():
        apart.update(zip(members[name], value) if name in members else {name: value})
    return apart


def put_together(arrays, members):
    """The inverse of `taken_apart`. Layers' arrays that are not all there make no stack."""
    together = {
        stack: np.stack([arrays[name] for name in names])
        for stack, names in members.items()
        if all(name in arrays for name in names)
    }
    within = {name for names in members.values() for name in names}
    together.update({name: value for name, value in arrays.items() if name not in within})
    return together


def _stacked(parameters):
    """Parameters of one shape as one tensor.

    A function, so that the nesting of its loop ends with it: the compiler's is limited.
    """
    values = ()
    for parameter in parameters:
        values = values + (as_tensor(parameter),)
    return ops.Stack(0)(values)


def slices(x, axis):
    """x cut into its slices along an axis, which goes: a tuple of x.shape[axis] tensors."""
    if x.shape[axis] == 1:
        # Not Unstack with one output (docs/mindspore-1.7.md, 7).
        return (ops.Squeeze(axis)(x),)
    return ops.Unstack(axis)(x)


def unstack(stacks):
    """Several stacks over layers -> for each layer its tuple of tensors."""
    columns, rows = (), ()
    for stack in stacks:
        columns = columns + (slices(stack, 0),)
    for row in zip(*columns):
        rows = rows + (row,)
    return rows
