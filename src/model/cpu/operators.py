# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Operators in the forms that MindSpore's CPU kernels, and their gradients, compute fastest."""

import mindspore.common.dtype as mstype
from mindspore import nn, ops


class Cut(nn.Cell):
    """x (N, C, ...) -> its first `at` channels and the rest: (N, at, ...), (N, C − at, ...).

    Its gradient is one concatenation; that of two slices is two copies padded with zeros, and their sum. Both parts
    must be used (docs/mindspore-1.7.md, 4).
    """

    def __init__(self, at):
        super().__init__()
        self.at = at

    def construct(self, x):
        return x[:, : self.at], x[:, self.at :]

    def bprop(self, x, out, dout):
        """The gradients of both, one after the other."""
        return (ops.Concat(1)((dout[0], dout[1])),)


class Reciprocal(nn.Cell):
    """1/x. It and a product take a quarter of a division's time (its gradient: docs/mindspore-1.7.md, 11)."""

    def construct(self, x):
        return ops.Reciprocal()(x)

    def bprop(self, x, out, dout):
        """−dout/x²."""
        return (-dout * out * out,)


def sum_per_image(x):
    """Sum over everything but the batch: (N, ...) -> (N,).

    As a product with ones, ten times as fast as ReduceSum, forward and backward.
    """
    rows = ops.Reshape()(x, (x.shape[0], -1))
    return ops.Reshape()(ops.MatMul()(rows, ops.Ones()((rows.shape[1], 1), x.dtype)), (-1,))


def as_tensor(parameter):
    """The parameter's value as an operator's output, which a tuple may hold (docs/mindspore-1.7.md, 6)."""
    return ops.Reshape()(parameter, parameter.shape)


def cast(tensors, dtype):
    """A tuple of tensors in another type."""
    result = ()
    for tensor in tensors:
        result = result + (ops.Cast()(tensor, dtype),)
    return result


def in_float32(tensors):
    """A tuple of tensors as float32."""
    return cast(tensors, mstype.float32)


def in_type(groups, dtype):
    """Groups of members of tensors, nested tuples, in another type."""
    result = ()
    for group in groups:
        members = ()
        for member in group:
            members = members + (cast(member, dtype),)
        result = result + (members,)
    return result


def after(earlier, tensors):
    """The tensors, not to be used before `earlier` is computed: what is made of them needs its memory later."""
    delayed = ()
    for tensor in tensors:
        delayed = delayed + (ops.Depend()(tensor, earlier),)
    return delayed
