# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""3×3 convolutions by fewer multiplications: F(2×2, 3×3) of Lavin and Gray, "Fast algorithms for convolutional neural
networks" (2016), section 4.1, after Winograd.

A tile of 2×2 outputs depends on 4×4 inputs. Of each tile 16 linear combinations, times 16 of each kernel, summed over
the input channels, are 16 products, of which the outputs are sums: 16 multiplications per tile where the definition has
36. With all tiles side by side they are 16 matrix products, which also spare unfolding the map.

In one dimension, with inputs d0 … d3, kernel g0, g1, g2 and outputs y0, y1:

    m0 = (d0 − d2)·g0    m1 = (d1 + d2)/2·(g0 + g1 + g2)    m2 = (d1 − d3)·g2    m3 = (d2 − d1)/2·(g0 − g1 + g2)
    y0 = m0 + m1 + m3    y1 = m1 − m2 − m3

and in two dimensions the same along rows and columns. In an image enlarged ×2 by repetition, d1 = d2, so that m3 = 0:
9 products are left, here the `even` ones, which come before the other 7, the `odd` ones. All convolutions keep the size
of the map and pad with zeros. Tensors of p products have p as first dimension; T is the number of
tiles, N·⌈H/2⌉·⌈W/2⌉.
"""
import numpy as np
from mindspore import Tensor, nn, ops

# The halves are with the inputs, not the kernels as in the paper: the gradient of a kernel, summed over all tiles, is what
# comes closest to the end of float16's range.
_INPUT = np.array([[1, 0, -1, 0], [0, .5, .5, 0], [0, 1, 0, -1], [0, -.5, .5, 0]], np.float32)
_KERNEL = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1], [1, -1, 1]], np.float32)
_OUTPUT = np.array([[1, 1, 0, 1], [0, 1, -1, -1]], np.float32)
_REPEATED = _INPUT @ np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32)  # of d0, d1 = d2, d3

_CENTRE = Tensor(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32).reshape(1, 1, 3, 3))

_EVEN = [4 * i + j for i in range(3) for j in range(3)]
_ODD = [product for product in range(16) if product not in _EVEN]
_ALL = _EVEN + _ODD


def _in_two_dimensions(matrix, products):
    """The matrix along rows and columns: a row for each of the products."""
    return np.kron(matrix, matrix)[products]


# Of each product: the coefficients of its inputs (p, 1, 4, 4) or (9, 1, 3, 3), its kernel (p, 9), its outputs
# (p, 1, 2, 2).
_INPUTS, _EVEN_INPUTS, _ODD_INPUTS = (Tensor(_in_two_dimensions(_INPUT, part).reshape(-1, 1, 4, 4))
                                      for part in (_ALL, _EVEN, _ODD))
_REPEATED_INPUTS = Tensor(_in_two_dimensions(_REPEATED, _EVEN).reshape(-1, 1, 3, 3))
_KERNELS, _EVEN_KERNELS, _ODD_KERNELS = (Tensor(_in_two_dimensions(_KERNEL, part)) for part in (_ALL, _EVEN, _ODD))
_OUTPUTS, _EVEN_OUTPUTS = (Tensor(_in_two_dimensions(_OUTPUT.T, part).reshape(-1, 1, 2, 2)) for part in (_ALL, _EVEN))


def with_biases(kernels, biases):
    """Kernels (O, I, 3, 3) and biases (O,) -> kernels (O, I + 1, 3, 3) for `with_one`, which is cheaper than BiasAdd."""
    return ops.Concat(1)((kernels, ops.Reshape()(biases, (-1, 1, 1, 1)) * _CENTRE))


def with_one(x):
    """Maps (N, I, H, W) and one more, of ones: (N, I + 1, H, W)."""
    return ops.Concat(1)((x, ops.Ones()((x.shape[0], 1) + x.shape[2:], x.dtype)))


def weights(kernels):
    """3×3 kernels (O, I, 3, 3) for all products: (16, O, I)."""
    return _transformed(kernels, _KERNELS)


def even_weights(kernels):
    """3×3 kernels (O, I, 3, 3) for the even products: (9, O, I)."""
    return _transformed(kernels, _EVEN_KERNELS)


def odd_weights(kernels):
    """3×3 kernels (O, I, 3, 3) for the odd products: (7, O, I)."""
    return _transformed(kernels, _ODD_KERNELS)


def tiles(x):
    """Maps (N, I, H, W) for all products: (16, I, T)."""
    return _tiles(x, _INPUTS, 2)


def even_tiles(x):
    """Maps (N, I, H, W) for the even products: (9, I, T)."""
    return _tiles(x, _EVEN_INPUTS, 2)


def odd_tiles(x):
    """Maps (N, I, H, W) for the odd products: (7, I, T)."""
    return _tiles(x, _ODD_INPUTS, 2)


def enlarged_tiles(x):
    """What `even_tiles` makes of `nearest_up2(x)`, whose odd products are zero: (N, I, h, w) -> (9, I, T), T = N·h·w."""
    return _tiles(x, _REPEATED_INPUTS, 1)


def products(tiles_of_input, weights_of_kernels):
    """Summed over the input channels: (p, I, T), (p, O, I) -> (p, O, T)."""
    return ops.BatchMatMul()(weights_of_kernels, tiles_of_input)


def as_maps(all_products, n, height, width):
    """The outputs of n maps: all products (16, O, T), or the even ones alone (9, O, T), -> (N, O, H, W)."""
    count, c_out = all_products.shape[:2]
    # All maps below one another: a transposed convolution without overlap does not mind.
    size = (1, count, c_out * n * ((height + 1) // 2), (width + 1) // 2)
    return _as_maps(ops.Reshape()(all_products, size), n, height, width)


def joined_as_maps(even_products, odd_products, n, height, width):
    """The outputs of n maps: (9, O, T), (7, O, T) -> (N, O, H, W)."""
    size = (-1, even_products.shape[1] * n, (height + 1) // 2, (width + 1) // 2)
    by_product = ops.Unstack(0)(ops.Reshape()(even_products, size)) + ops.Unstack(0)(ops.Reshape()(odd_products, size))
    # The maps as a batch: worth the copy, as it is for products so many that they need joining anyway.
    return _as_maps(ops.Stack(1)(by_product), n, height, width)


def conv2d(x, weights_of_kernels):
    """The convolution of x (N, I, H, W) by `weights` of its kernels, (16, O, I): (N, O, H, W)."""
    n, _, height, width = x.shape
    return as_maps(products(tiles(x), weights_of_kernels), n, height, width)


def enlarged_conv2d(x, weights_of_kernels):
    """The convolution of `nearest_up2(x)`, x (N, I, h, w), by `even_weights` of its kernels, (9, O, I): (N, O, 2h, 2w)."""
    n, _, height, width = x.shape
    return as_maps(products(enlarged_tiles(x), weights_of_kernels), n, 2 * height, 2 * width)


def _transformed(kernels, coefficients):
    c_out, c_in = kernels.shape[:2]
    transformed = ops.MatMul(False, True)(coefficients, ops.Reshape()(kernels, (c_out * c_in, 9)))
    return ops.Reshape()(transformed, (-1, c_out, c_in))


def _tiles(x, coefficients, stride):
    # Each channel convolved with the coefficients.
    n, channels, height, width = x.shape
    count, _, side, _ = coefficients.shape
    pad = (1, 1, 1, 1) if stride == 1 else (1, 1 + height % 2, 1, 1 + width % 2)
    y = ops.Conv2D(count, side, pad_mode="pad", pad=pad, stride=stride)(
        ops.Reshape()(x, (n * channels, 1, height, width)), ops.Cast()(coefficients, x.dtype))
    y = _BY_PRODUCT(ops.Reshape()(y, (n, channels, count, -1)))
    return ops.Reshape()(y, (count, channels, -1))


class _ByProduct(nn.Cell):
    """(N, C, p, t) -> (p, C, N, t).

    By Transpose, though on the CPU that keeps 8 bytes for each element as long as its graph lives: Unstack and Stack
    make sampling 8 % slower. They are the gradient, as of all the memory that is, training has the least to spare.
    """

    def construct(self, x):
        return ops.Transpose()(x, (2, 1, 0, 3))

    def bprop(self, x, out, dout):
        """The inverse permutation."""
        n, channels, count, _ = x.shape
        if n == 1:
            dx = ops.Stack(1)(ops.Unstack(0)(ops.Reshape()(dout, (count, channels, -1))))
            return (ops.Reshape()(dx, x.shape),)
        return (ops.Stack(0)(ops.Unstack(2)(ops.Stack(1)(ops.Unstack(0)(dout)))),)


_BY_PRODUCT = _ByProduct()


def _as_maps(x, n, height, width):
    # Of each tile the products x (·, p, ·, ·) times their coefficients, side by side.
    batch, count, rows, columns = x.shape
    y = ops.Conv2DTranspose(count, 2, pad_mode="pad", pad=0, stride=2)(
        x, ops.Cast()(_OUTPUTS if count == 16 else _EVEN_OUTPUTS, x.dtype), (batch, 1, 2 * rows, 2 * columns))
    y = ops.Reshape()(y, (-1, n, height + height % 2, width + width % 2))
    # Not by Transpose: on the CPU it keeps 8 bytes for each element as long as its graph lives.
    y = ops.Stack(0)(ops.Unstack(1)(y)) if n > 1 else ops.Reshape()(y, (1, -1) + y.shape[2:])
    return y if height % 2 == 0 and width % 2 == 0 else y[:, :, :height, :width]
