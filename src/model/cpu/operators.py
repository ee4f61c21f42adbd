# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Operators in the forms that MindSpore's CPU kernels, and their gradients, compute fastest."""

import mindspore.common.dtype as mstype
from mindspore import nn, ops


class Cut(nn.Cell):
    """Cut of the channels in two: x (N, C, ...) -> (N, at, ...), (N, C − at, ...).

    Its gradient is one concatenation. That of two slices would be two copies padded with zeros, and their sum. Both
    parts must be used (docs/mindspore-1.7.md, 4).
    """

    def __init__(self, at):
        super().__init__()
        self.at = at

    def construct(self, x):
        return x[:, : self.at], x[:, self.at :]

    def bprop(self, x, out, dout):
        """Join the gradients of both parts, one after the other."""
        return (ops.Concat(1)((dout[0], dout[1])),)


class Reciprocal(nn.Cell):
    """1/x, which with a product takes a quarter of a division's time.

    It has a gradient of its own (docs/mindspore-1.7.md, 11).
    """

    def construct(self, x):
        return ops.Reciprocal()(x)

    def bprop(self, x, out, dout):
        """Compute −dout/x²."""
        return (-dout * out * out,)


def sum_per_image(x):
    """Sum over everything but the batch: (N, ...) -> (N,).

    It is a product with ones, ten times as fast as ReduceSum, forward and backward.
    """
    rows = ops.Reshape()(x, (x.shape[0], -1))
    return ops.Reshape()(ops.MatMul()(rows, ops.Ones()((rows.shape[1], 1), x.dtype)), (-1,))


def as_tensor(parameter):
    """Return the parameter's value as an operator's output, which a tuple may hold (docs/mindspore-1.7.md, 6)."""
    return ops.Reshape()(parameter, parameter.shape)


def cast(tensors, dtype):
    """Cast each tensor of a tuple.

    Args:
        tensors: a tuple of tensors.
        dtype: the type that they get.

    Returns:
        A tuple.
    """
    result = ()
    for tensor in tensors:
        result = result + (ops.Cast()(tensor, dtype),)
    return result


def in_float32(tensors):
    """Cast each tensor of a tuple to float32."""
    return cast(tensors, mstype.float32)


def in_type(groups, dtype):
    """Cast the tensors of nested tuples.

    Args:
        groups: a tuple of tuples of tuples of tensors: groups of members of tensors.
        dtype: the type that they get.

    Returns:
        The same, cast.
    """
    result = ()
    for group in groups:
        members = ()
        for member in group:
            members = members + (cast(member, dtype),)
        result = result + (members,)
    return result


def after(earlier, tensors):
    """Delay tensors until `earlier` is computed, so that what is made of them needs its memory later.

    Args:
        earlier: a tensor or a tuple of them.
        tensors: a tuple of tensors.

    Returns:
        The same tensors, as a tuple.
    """
    delayed = ()
    for tensor in tensors:
        delayed = delayed + (ops.Depend()(tensor, earlier),)
    return delayed
