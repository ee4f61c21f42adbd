# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of many layers of one kind as stacks."""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from src.model.cpu.operators import as_tensor

MAX_KINDS = 10


class ParameterStacks(nn.Cell):
    """Stacked parameters of layers of one kind: () -> a tuple of (layers, ...), one for each kind of parameter.

    At first each call stacks the layers' parameters. After `join` the stacks are parameters themselves, and the layers'
    are stale until `write_back`. A network has thousands of parameters but fewer than a hundred stacks. The compiler
    and every step of training take that much longer to handle each by itself.
    """

    def __init__(self, layers):
        """Take the parameters, which other cells own and name already.

        Args:
            layers: for each layer its parameters, at most ten, in one order for all.
        """
        super().__init__(auto_prefix=False)
        self.kinds = len(layers[0])
        for k in range(MAX_KINDS):
            # Each kind is an attribute of its own, as reading one tuple of all would load them all each time. It is set
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
        """List for each stack the layers' parameters, a tuple of tuples, on the host."""
        return tuple(getattr(self, f"kind{k}") for k in range(self.kinds))

    def join(self):
        """Make the stacks parameters, with the values that the layers' have now, on the host.

        It comes before a cell that uses the stacks is compiled.
        """
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
        """Map the name of each joined stack to the tuple of the parameters that it stands for, on the host."""
        return {stack.name: same for stack, same in zip(self.joined, self.members())}

    def write_back(self):
        """Give the layers' parameters the values of the joined stacks, on the host."""
        for stack, same in zip(self.joined, self.members()):
            for parameter, value in zip(same, stack.asnumpy()):
                parameter.set_data(Tensor(value))


def taken_apart(arrays, members):
    """Replace stacks by the arrays of their layers.

    Args:
        arrays: {name: array}, stacks and others.
        members: {name of a stack: its layers' names}.

    Returns:
        {name: array}.
    """
    apart = {}
    for name, value in arrays.items():
        apart.update(zip(members[name], value) if name in members else {name: value})
    return apart


def put_together(arrays, members):
    """Undo `taken_apart`.

    Args:
        arrays: {name: array}, those of layers and others.
        members: {name of a stack: its layers' names}.

    Returns:
        {name: array}. Where not all arrays of a stack's layers are there, the stack is missing, and so are they.
    """
    together = {
        stack: np.stack([arrays[name] for name in names])
        for stack, names in members.items()
        if all(name in arrays for name in names)
    }
    within = {name for names in members.values() for name in names}
    together.update({name: value for name, value in arrays.items() if name not in within})
    return together


def _stacked(parameters):
    """Stack parameters of one shape.

    It is a function, so that the nesting of its loop ends with it: the compiler's is limited.
    """
    values = ()
    for parameter in parameters:
        values = values + (as_tensor(parameter),)
    return ops.Stack(0)(values)


def slices(x, axis):
    """Cut a tensor into its slices along an axis, which is removed.

    Args:
        x: a tensor.
        axis: number of the axis.

    Returns:
        A tuple of x.shape[axis] tensors.
    """
    if x.shape[axis] == 1:
        # Not Unstack with one output (docs/mindspore-1.7.md, 7).
        return (ops.Squeeze(axis)(x),)
    return ops.Unstack(axis)(x)


def unstack(stacks):
    """Separate several stacks over layers: for each layer the tuple of its tensors."""
    columns, rows = (), ()
    for stack in stacks:
        columns = columns + (slices(stack, 0),)
    for row in zip(*columns):
        rows = rows + (row,)
    return rows
