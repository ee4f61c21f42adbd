# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""log|det| of a batch of square matrices, with its gradient, on every device and MindSpore from 1.7.0 on.

MindSpore 1.7.0 has no GPU kernel for LogMatrixDeterminant (docs/mindspore-1.7.md, 12). It has one for LU, and the
determinant can be read from the factors. Both ways are here, and both run on the CPU. The gradient is our own in either
case: ∂ log|det W| / ∂W = W⁻ᵀ.
"""

import mindspore
import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Tensor, context, nn, ops
from mindspore.scipy.ops import LU

DETERMINANT, LU_FACTORS = "determinant", "lu"


def default_method():
    """Name the way that this MindSpore has a kernel for on the current device."""
    old = int(mindspore.__version__.split(".")[0]) < 2
    return LU_FACTORS if old and context.get_context("device_target") == "GPU" else DETERMINANT


def matrix_inverse(w):
    """Compute W⁻¹ of float32 (B, C, C) in float64, and return it as float32.

    A singular matrix gives numbers without meaning, and no error.
    """
    return ops.Cast()(ops.MatrixInverse()(ops.Cast()(w, mstype.float64)), mstype.float32)


class SLogDet(nn.Cell):
    """Sign and log|det W| of float32 (..., C, C): a pair of float32 (...).

    A singular matrix has sign 0 and log-det −inf. The gradient of its log-det is NaN throughout, so that a training
    step which meets one is recognised as not finite.
    """

    def __init__(self, method=None):
        """Choose the way.

        Args:
            method: `DETERMINANT`, `LU_FACTORS`, or None for `default_method()`.

        Raises:
            ValueError: method is none of these.
        """
        super().__init__()
        self.method = method or default_method()
        if self.method not in (DETERMINANT, LU_FACTORS):
            raise ValueError(f"method: expected '{DETERMINANT}' or '{LU_FACTORS}', got {method!r}")
        self.determinant = ops.LogMatrixDeterminant()
        self.factors = LU()

    def construct(self, w):
        flat = ops.Reshape()(w, (-1,) + w.shape[-2:])
        if self.method == DETERMINANT:
            sign, log_abs_det = self.determinant(flat)
            sign = ops.Sign()(sign)  # the kernel's is off by rounding
        else:
            sign, log_abs_det = self._from_factors(flat)
        return ops.Reshape()(sign, w.shape[:-2]), ops.Reshape()(log_abs_det, w.shape[:-2])

    def bprop(self, w, out, dout):
        """Compute the gradient dout·W⁻ᵀ. That of the sign is zero, as the sign is piecewise constant."""
        size = w.shape[-1]
        flat = ops.Reshape()(w, (-1, size, size))
        grad = ops.Transpose()(matrix_inverse(flat), (0, 2, 1))
        grad = grad * ops.Reshape()(dout[1], (-1, 1, 1))
        finite = ops.Reshape()(ops.Cast()(ops.IsFinite()(out[1]), mstype.float32), (-1, 1, 1))
        return (ops.Reshape()(grad * (finite / finite), w.shape),)  # 0/0 = NaN where W is singular

    def _from_factors(self, w):
        """Read sign and log|det| from P·W = L·U, where L has unit diagonal.

        log|det W| = Σ log|diag U|, sign = det P · Π sign(diag U).
        """
        size = w.shape[-1]
        factors, _, permutation = self.factors(w)
        identity = Tensor(np.eye(size, dtype=np.float32))
        diagonal = ops.ReduceSum()(factors * identity, -1)
        # The kernel divides by a zero pivot and leaves NaN behind it: such a matrix is singular.
        regular = ops.Cast()(diagonal == diagonal, mstype.float32)
        diagonal = ops.Select()(diagonal == diagonal, diagonal, ops.ZerosLike()(diagonal))
        sign = _permutation_sign(permutation) * ops.ReduceProd()(ops.Sign()(diagonal) * regular, -1)
        return sign, ops.ReduceSum()(ops.Log()(ops.Abs()(diagonal)), -1)


def _permutation_sign(permutation):
    """Compute +1 or −1 of permutation matrices (B, C, C), the parity of the number of inversions, as float32 (B,)."""
    size = permutation.shape[-1]
    column = Tensor(np.arange(size, dtype=np.float32))
    order = ops.ReduceSum()(ops.Cast()(permutation, mstype.float32) * column, -1)
    larger = ops.Cast()(ops.ExpandDims()(order, 2) > ops.ExpandDims()(order, 1), mstype.float32)
    above = Tensor(np.triu(np.ones((size, size), np.float32), 1))
    inversions = ops.ReduceSum()(larger * above, (1, 2))
    return 1.0 - 2.0 * ops.FloorMod()(inversions, 2.0)
