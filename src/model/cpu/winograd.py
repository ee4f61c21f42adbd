# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""3×3 convolutions by fewer multiplications: Winograd's F(4×4, 3×3).

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4.2.

A patch of 4×4 outputs depends on 6×6 inputs. Of the inputs 36 linear combinations are taken, and 36 of each kernel.
Multiplied one by one, and summed over the input channels, they are 36 products. The outputs are sums of the products.
That makes 36 multiplications per patch, where the definition has 144. With all patches side by side they are 36 matrix
products, which also spare unfolding the map.

In one dimension, with inputs d0 … d5 and kernel g0, g1, g2, there are six products m, one for each of six points:

    point    of the inputs, times 8          of the kernel
    0        d0 − 5·d2 + 4·d4                8·g0
    1        4·(d4 + d3) − (d2 + d1)         4/3·(g0 + g1 + g2)
    ½        4·(d4 − d2) + 2·(d3 − d1)      −4/3·(4·g0 + 2·g1 + g2)
    −½       4·(d4 − d2) − 2·(d3 − d1)      −4/3·(4·g0 − 2·g1 + g2)
    ∞        d1 − 5·d3 + 4·d5                2·g2
    −1       4·(d4 − d3) − (d2 − d1)         4/3·(g0 − g1 + g2)

and the outputs are y_k = Σ point^k·m, k = 0 … 3, where ∞ counts once, in y3, and 0⁰ is 1.

In two dimensions it is the same along rows and columns. In an image enlarged ×2 by repetition, d1 = d2 and d3 = d4, so
that the product of −1 is zero, and 25 products are left. They are called even, and come first. The other 11 are called
odd.

All convolutions keep the size of the map and pad with zeros. Tensors of p products have p as their first dimension. Q
is the number of patches, N·⌈H/4⌉·⌈W/4⌉.

The paper has the points 2 and −2 where the halves are here. With the halves no product is multiplied by more than 1 on
its way to an output, which float16 needs. Rounding in float32 makes an error of 3·10⁻⁶ of the outputs' standard
deviation, ten times that of the definition.
"""

import numpy as np
from mindspore import Tensor, nn, ops

PATCH = 4

# Rows: the points 0, 1, ½, −½, ∞, −1.
_INPUT = (
    np.array(
        [
            [1, 0, -5, 0, 4, 0],
            [0, -1, -1, 4, 4, 0],
            [0, -2, -4, 2, 4, 0],
            [0, 2, -4, -2, 4, 0],
            [0, 1, 0, -5, 0, 4],
            [0, 1, -1, -4, 4, 0],
        ],
        np.float32,
    )
    / 8
)
_KERNEL = np.array(
    [
        [8, 0, 0],
        [4 / 3, 4 / 3, 4 / 3],
        [-16 / 3, -8 / 3, -4 / 3],
        [-16 / 3, 8 / 3, -4 / 3],
        [0, 0, 2],
        [4 / 3, -4 / 3, 4 / 3],
    ],
    np.float32,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 0, 1], [0, 1, 1 / 2, -1 / 2, 0, -1], [0, 1, 1 / 4, 1 / 4, 0, 1], [0, 1, 1 / 8, -1 / 8, 1, -1]],
    np.float32,
)
_REPEATED = _INPUT @ np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 2, 3]]  # of d0, d1 = d2, d3 = d4, d5

_EVEN = [6 * i + j for i in range(5) for j in range(5)]
_ODD = [product for product in range(36) if product not in _EVEN]
_ALL = _EVEN + _ODD


def _in_two_dimensions(matrix, products):
    """Apply a matrix along rows and columns: a row of the result for each of the products."""
    return np.kron(matrix, matrix)[products]


# The coefficients of each product: of its inputs (p, 1, 6, 6), or (25, 1, 4, 4) where they are repeated, of its kernel
# (p, 9), and of its outputs (p, 1, 4, 4).
_EVEN_INPUTS, _ODD_INPUTS = (Tensor(_in_two_dimensions(_INPUT, part).reshape(-1, 1, 6, 6)) for part in (_EVEN, _ODD))
_REPEATED_INPUTS = Tensor(_in_two_dimensions(_REPEATED, _EVEN).reshape(-1, 1, 4, 4))
_KERNELS, _EVEN_KERNELS, _ODD_KERNELS = (Tensor(_in_two_dimensions(_KERNEL, part)) for part in (_ALL, _EVEN, _ODD))
# These may be multiplied by a factor beforehand. That costs nothing, while an operator on the maps would.
_TO_MULTIPLY = {
    "inputs": _in_two_dimensions(_INPUT, _ALL).reshape(-1, 1, 6, 6),
    "outputs": _in_two_dimensions(_OUTPUT.T, _ALL).reshape(-1, 1, 4, 4),
    "even outputs": _in_two_dimensions(_OUTPUT.T, _EVEN).reshape(-1, 1, 4, 4),
}


def kernels_for_all(kernels):
    """Transform 3×3 kernels for all products: (O, I, 3, 3) -> (36, O, I)."""
    return _transformed(kernels, _KERNELS)


def kernels_for_even(kernels):
    """Transform 3×3 kernels for the even products: (O, I, 3, 3) -> (25, O, I)."""
    return _transformed(kernels, _EVEN_KERNELS)


def kernels_for_odd(kernels):
    """Transform 3×3 kernels for the odd products: (O, I, 3, 3) -> (11, O, I)."""
    return _transformed(kernels, _ODD_KERNELS)


def patches(x, factor=1.0):
    """Transform maps, times a constant factor, for all products.

    Args:
        x: (N, I, H, W).
        factor: number.

    Returns:
        (36, I, Q).
    """
    return _patches(x, _times(factor, "inputs"), PATCH)


def even_patches(x):
    """Transform maps for the even products: (N, I, H, W) -> (25, I, Q)."""
    return _patches(x, _EVEN_INPUTS, PATCH)


def odd_patches(x):
    """Transform maps for the odd products: (N, I, H, W) -> (11, I, Q)."""
    return _patches(x, _ODD_INPUTS, PATCH)


def enlarged_patches(x):
    """Compute what `even_patches` makes of `nearest_up2(x)`: (N, I, h, w) -> (25, I, Q).

    The odd products of an enlarged map are zero.
    """
    return _patches(x, _REPEATED_INPUTS, PATCH // 2)


def products(patches_of_input, transformed_kernels):
    """Multiply patches by kernels and sum over the input channels.

    Args:
        patches_of_input: (p, I, Q), made by one of the functions of patches.
        transformed_kernels: (p, O, I), made by that function of kernels which has the same products.

    Returns:
        (p, O, Q).
    """
    return ops.BatchMatMul()(transformed_kernels, patches_of_input)


def as_maps(all_products, n, height, width, factor=1.0):
    """Compute the outputs of products, times a constant factor.

    Args:
        all_products: (36, O, Q), or (25, O, Q) where the odd ones are zero.
        n: number of maps, N.
        height: H, in pixels.
        width: W, in pixels.
        factor: number.

    Returns:
        (N, O, H, W).
    """
    count, c_out = all_products.shape[:2]
    rows, columns = _steps(height, PATCH), _steps(width, PATCH)
    # A patch is the sum of its products times their coefficients. Patches lie side by side, and all maps below one
    # another, which makes no difference to a transposed convolution without overlap.
    outputs = _times(factor, "even outputs" if count == len(_EVEN) else "outputs")
    coefficients = ops.Cast()(outputs, all_products.dtype)
    y = ops.Conv2DTranspose(count, PATCH, pad_mode="pad", pad=0, stride=PATCH)(
        ops.Reshape()(all_products, (1, count, c_out * n * rows, columns)),
        coefficients,
        (1, 1, PATCH * c_out * n * rows, PATCH * columns),
    )
    y = ops.Reshape()(y, (c_out, n, PATCH * rows, PATCH * columns))
    # Not by Transpose, see `_ByProduct`.
    y = ops.Stack(0)(ops.Unstack(1)(y)) if n > 1 else ops.Reshape()(y, (1, -1) + y.shape[2:])
    return y if height % PATCH == 0 and width % PATCH == 0 else y[:, :, :height, :width]


def enlarged_conv2d(x, transformed_kernels):
    """Convolve maps after `nearest_up2`.

    Args:
        x: (N, I, h, w).
        transformed_kernels: (25, O, I), made by `kernels_for_even`.

    Returns:
        (N, O, 2h, 2w).
    """
    n, _, height, width = x.shape
    return as_maps(products(enlarged_patches(x), transformed_kernels), n, 2 * height, 2 * width)


def _steps(side, step):
    return (side + step - 1) // step


def _transformed(kernels, coefficients):
    c_out, c_in = kernels.shape[:2]
    transformed = ops.MatMul(False, True)(coefficients, ops.Reshape()(kernels, (c_out * c_in, 9)))
    return ops.Reshape()(transformed, (-1, c_out, c_in))


def _patches(x, coefficients, stride):
    # Each channel convolved with the coefficients.
    n, channels, height, width = x.shape
    count, _, side, _ = coefficients.shape
    pad = (1, 1 + _steps(height, stride) * stride - height, 1, 1 + _steps(width, stride) * stride - width)
    y = ops.Conv2D(count, side, pad_mode="pad", pad=pad, stride=stride)(
        ops.Reshape()(x, (n * channels, 1, height, width)), ops.Cast()(coefficients, x.dtype)
    )
    y = _BY_PRODUCT(ops.Reshape()(y, (n, channels, count, -1)))
    return ops.Reshape()(y, (count, channels, -1))


@ops.constexpr
def _times(factor, coefficients):
    return Tensor((factor * _TO_MULTIPLY[coefficients]).astype(np.float32))


@ops.constexpr
def _reversed_order(*shape):
    # Of rows numbered in order of three dimensions, the numbers in the opposite order of dimensions.
    numbers = np.arange(shape[0] * shape[1] * shape[2], dtype=np.int32)
    return Tensor(numbers.reshape(shape).transpose().reshape(-1).copy())


class _ByProduct(nn.Cell):
    """Permutation of the dimensions: (N, C, p, q) -> (p, C, N, q).

    It is not a Transpose, which on the CPU is slower and keeps 8 bytes for each element as long as its graph lives.
    """

    def construct(self, x):
        n, channels, count, patches_of_map = x.shape
        rows = ops.Reshape()(x, (n * channels * count, patches_of_map))
        rows = ops.Gather()(rows, _reversed_order(n, channels, count), 0)
        return ops.Reshape()(rows, (count, channels, n, patches_of_map))

    def bprop(self, x, out, dout):
        """Apply the inverse permutation, which is of the same kind."""
        return (self.construct(dout),)


_BY_PRODUCT = _ByProduct()
