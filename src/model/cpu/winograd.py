# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""3×3 convolutions by fewer multiplications: F(4×4, 3×3), after Winograd.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4.2.

A tile of 4×4 outputs depends on 6×6 inputs. Of each tile 36 linear combinations, times 36 of each kernel, summed over
the input channels, are 36 products, of which the outputs are sums: 36 multiplications per tile where the definition has
144. With all tiles side by side they are 36 matrix products, which also spare unfolding the map.

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
that the product of −1 is zero: 25 products are left, here the `even` ones, which come before the other 11, the `odd`
ones. All convolutions keep the size of the map and pad with zeros. Tensors of p products have p as first dimension; T
is the number of tiles, N·⌈H/4⌉·⌈W/4⌉.

The paper has 2 and −2 where the halves are here, with which no product is multiplied by more than 1 on its way to an
output: float16 needs that. Rounding in float32 makes an error of 3·10⁻⁶ of the outputs' standard deviation, ten times
that of the definition.
"""

import numpy as np
from mindspore import Tensor, nn, ops

TILE = 4

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
    """The matrix along rows and columns: a row for each of the products."""
    return np.kron(matrix, matrix)[products]


# Of each product: the coefficients of its inputs (p, 1, 6, 6) or (25, 1, 4, 4), its kernel (p, 9), its outputs
# (p, 1, 4, 4).
_EVEN_INPUTS, _ODD_INPUTS = (Tensor(_in_two_dimensions(_INPUT, part).reshape(-1, 1, 6, 6)) for part in (_EVEN, _ODD))
_REPEATED_INPUTS = Tensor(_in_two_dimensions(_REPEATED, _EVEN).reshape(-1, 1, 4, 4))
_KERNELS, _EVEN_KERNELS, _ODD_KERNELS = (Tensor(_in_two_dimensions(_KERNEL, part)) for part in (_ALL, _EVEN, _ODD))
# Those that come multiplied by a factor, which costs nothing: operators on the maps would.
_TO_MULTIPLY = {
    "inputs": _in_two_dimensions(_INPUT, _ALL).reshape(-1, 1, 6, 6),
    "outputs": _in_two_dimensions(_OUTPUT.T, _ALL).reshape(-1, 1, 4, 4),
    "even outputs": _in_two_dimensions(_OUTPUT.T, _EVEN).reshape(-1, 1, 4, 4),
}


def weights(kernels):
    """3×3 kernels (O, I, 3, 3) for all products: (36, O, I)."""
    return _transformed(kernels, _KERNELS)


def even_weights(kernels):
    """3×3 kernels (O, I, 3, 3) for the even products: (25, O, I)."""
    return _transformed(kernels, _EVEN_KERNELS)


def odd_weights(kernels):
    """3×3 kernels (O, I, 3, 3) for the odd products: (11, O, I)."""
    return _transformed(kernels, _ODD_KERNELS)


def tiles(x, factor=1.0):
    """Maps (N, I, H, W), times a constant factor, for all products: (36, I, T)."""
    return _tiles(x, _times(factor, "inputs"), TILE)


def even_tiles(x):
    """Maps (N, I, H, W) for the even products: (25, I, T)."""
    return _tiles(x, _EVEN_INPUTS, TILE)


def odd_tiles(x):
    """Maps (N, I, H, W) for the odd products: (11, I, T)."""
    return _tiles(x, _ODD_INPUTS, TILE)


def enlarged_tiles(x):
    """What `even_tiles` makes of `nearest_up2(x)`, whose odd products are zero: (N, I, h, w) -> (25, I, T)."""
    return _tiles(x, _REPEATED_INPUTS, TILE // 2)


def products(tiles_of_input, weights_of_kernels):
    """Summed over the input channels: (p, I, T), (p, O, I) -> (p, O, T)."""
    return ops.BatchMatMul()(weights_of_kernels, tiles_of_input)


def as_maps(all_products, n, height, width, factor=1.0):
    """The outputs of n maps, times a constant factor.

    All products (36, O, T), or the even ones alone (25, O, T), -> (N, O, H, W).
    """
    count, c_out = all_products.shape[:2]
    rows, columns = _steps(height, TILE), _steps(width, TILE)
    # Of each tile the products times their coefficients, side by side; all maps below one another, as a transposed
    # convolution without overlap does not mind.
    outputs = _times(factor, "even outputs" if count == len(_EVEN) else "outputs")
    coefficients = ops.Cast()(outputs, all_products.dtype)
    y = ops.Conv2DTranspose(count, TILE, pad_mode="pad", pad=0, stride=TILE)(
        ops.Reshape()(all_products, (1, count, c_out * n * rows, columns)),
        coefficients,
        (1, 1, TILE * c_out * n * rows, TILE * columns),
    )
    y = ops.Reshape()(y, (c_out, n, TILE * rows, TILE * columns))
    # Not by Transpose, see `_ByProduct`.
    y = ops.Stack(0)(ops.Unstack(1)(y)) if n > 1 else ops.Reshape()(y, (1, -1) + y.shape[2:])
    return y if height % TILE == 0 and width % TILE == 0 else y[:, :, :height, :width]


def enlarged_conv2d(x, weights_of_kernels):
    """The convolution of `nearest_up2(x)`, x (N, I, h, w), by `even_weights` of its kernels: (N, O, 2h, 2w)."""
    n, _, height, width = x.shape
    return as_maps(products(enlarged_tiles(x), weights_of_kernels), n, 2 * height, 2 * width)


def _steps(side, step):
    return (side + step - 1) // step


def _transformed(kernels, coefficients):
    c_out, c_in = kernels.shape[:2]
    transformed = ops.MatMul(False, True)(coefficients, ops.Reshape()(kernels, (c_out * c_in, 9)))
    return ops.Reshape()(transformed, (-1, c_out, c_in))


def _tiles(x, coefficients, stride):
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
    """(N, C, p, t) -> (p, C, N, t).

    Not by Transpose, which on the CPU is slower and keeps 8 bytes for each element as long as its graph lives.
    """

    def construct(self, x):
        n, channels, count, tiles_of_map = x.shape
        rows = ops.Reshape()(x, (n * channels * count, tiles_of_map))
        rows = ops.Gather()(rows, _reversed_order(n, channels, count), 0)
        return ops.Reshape()(rows, (count, channels, n, tiles_of_map))

    def bprop(self, x, out, dout):
        """The inverse permutation, which is of the same kind."""
        return (self.construct(dout),)


_BY_PRODUCT = _ByProduct()
