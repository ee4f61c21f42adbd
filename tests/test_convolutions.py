# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The fast forms of convolution: values and both gradients against the plain definition, in float64 NumPy."""

import numpy as np
import pytest
from helpers import MODES, InputGradients, ParameterGradients, Weighted, conv_reference, normal
from mindspore import Parameter, Tensor, context, nn, ops

from src.model.convolutions import nearest_down2, nearest_up2
from src.model.cpu import winograd
from src.model.cpu.convolutions import conv2d, transposed_conv2d, transposed_weights, with_biases, with_one
from src.model.cpu.operators import Cut


@pytest.fixture(autouse=True, params=sorted(MODES))
def mode(request):
    context.set_context(mode=MODES[request.param])


def repeat2(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


# ---------------------------------------------------------------------------------------------------------------------
# The definition and its gradients


def grouped_reference(x, weights):
    """x (N, K·I, H, W), weights (K, O, I, k, k) -> (N, K·O, H, W)."""
    parts = np.split(x, len(weights), 1)
    return np.concatenate([conv_reference(part, weight) for part, weight in zip(parts, weights)], 1)


def input_gradient(sens, weights):
    """Gradient of Σ sens·convolution with respect to x: the convolution by the kernels turned around."""
    return grouped_reference(sens, weights[..., ::-1, ::-1].swapaxes(1, 2))


def weight_gradient(sens, x, weights):
    """Gradient of Σ sens·convolution with respect to the weights, which it is linear in: one by one."""
    gradient = np.zeros(weights.shape)
    count, _, c_in, kernel, _ = weights.shape
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (kernel // 2, kernel // 2), (kernel // 2, kernel // 2)))
    for k, part in enumerate(np.split(sens.astype(np.float64), count, 1)):
        seen = padded[:, k * c_in : (k + 1) * c_in]
        for i, j in np.ndindex(kernel, kernel):
            gradient[k, :, :, i, j] = np.einsum("nohw,nchw->oc", part, seen[:, :, i : i + height, j : j + width])
    return gradient


# ---------------------------------------------------------------------------------------------------------------------
# The convolutions as cells with weights (K, O, I, k, k)


class Plain(nn.Cell):
    """conv2d in K groups."""

    def __init__(self, weights):
        super().__init__()
        self.weights = Parameter(Tensor(weights), name="weights")

    def construct(self, x):
        count, c_out, c_in, kernel, _ = self.weights.shape
        return conv2d(x, ops.Reshape()(self.weights, (count * c_out, c_in, kernel, kernel)), count)


class Transposed(Plain):
    """transposed_conv2d in K groups."""

    def construct(self, x):
        count, c_out, c_in = self.weights.shape[:3]
        return transposed_conv2d(x, ops.Reshape()(transposed_weights(self.weights), (count * c_in, c_out, 3, 3)), count)


class TransposedOneByOne(Plain):
    """transposed_conv2d of each of the K parts of x by its own weights, K > 1."""

    def construct(self, x):
        outputs = ()
        weights = ops.Unstack(0)(transposed_weights(self.weights))
        for part, weight in zip(ops.Split(1, self.weights.shape[0])(x), weights):
            outputs = outputs + (transposed_conv2d(part, weight),)
        return ops.Concat(1)(outputs)


class Winograd(Plain):
    """By all products, K = 1."""

    def construct(self, x):
        kernels = ops.Reshape()(self.weights, self.weights.shape[1:])
        n, _, height, width = x.shape
        return winograd.as_maps(
            winograd.products(winograd.patches(x), winograd.kernels_for_all(kernels)), n, height, width
        )


class WinogradInTwoParts(Plain):
    """The same, by even and odd products."""

    def construct(self, x):
        kernels = ops.Reshape()(self.weights, self.weights.shape[1:])
        n, _, height, width = x.shape
        even = winograd.products(winograd.even_patches(x), winograd.kernels_for_even(kernels))
        odd = winograd.products(winograd.odd_patches(x), winograd.kernels_for_odd(kernels))
        return winograd.as_maps(ops.Concat(0)((even, odd)), n, height, width)


class Enlarged(Plain):
    """winograd.enlarged_conv2d, K = 1."""

    def construct(self, x):
        kernels = ops.Reshape()(self.weights, self.weights.shape[1:])
        return winograd.enlarged_conv2d(x, winograd.kernels_for_even(kernels))


def outputs_and_gradients(cell, x, sens):
    """(cell(x), gradient of Σ sens·cell(x) with respect to x, the same with respect to the weights)."""
    ((_, of_weights),) = ParameterGradients(Weighted(cell, sens)).values(x)
    return cell(Tensor(x)).asnumpy(), InputGradients(cell)(Tensor(sens), Tensor(x)).asnumpy(), of_weights


# O < I, where the transposed form is used, O > I and O = I = 1.
@pytest.mark.parametrize(
    "form, shape",
    [
        (Plain, (1, 4, 3, 1, 1)),
        (Plain, (3, 2, 5, 3, 3)),
        (Transposed, (1, 4, 3, 3, 3)),
        (Transposed, (3, 2, 5, 3, 3)),
        (Transposed, (2, 1, 1, 3, 3)),
        (TransposedOneByOne, (2, 3, 4, 3, 3)),
    ],
)
def test_forms_of_a_convolution(form, shape):
    check_form(form, shape, (5, 4))


# Patches are of 4×4 outputs: sides that they fill, and sides that they do not.
@pytest.mark.parametrize("form", [Winograd, WinogradInTwoParts])
@pytest.mark.parametrize(
    "size, c_out, c_in", [((4, 8), 4, 3), ((4, 6), 4, 3), ((5, 4), 2, 5), ((3, 7), 2, 2), ((1, 1), 1, 1)]
)
def test_winograds_form(form, size, c_out, c_in):
    check_form(form, (1, c_out, c_in, 3, 3), size)


def check_form(form, shape, size):
    x, weights = normal(1, 2, shape[0] * shape[2], *size), normal(2, *shape)
    sens = normal(3, 2, shape[0] * shape[1], *size)
    y, of_x, of_weights = outputs_and_gradients(form(weights), x, sens)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, grouped_reference(x, weights), atol=1e-4)
    np.testing.assert_allclose(of_x, input_gradient(sens, weights), atol=1e-4)
    np.testing.assert_allclose(of_weights, weight_gradient(sens, x, weights), atol=1e-4)


@pytest.mark.parametrize("size, c_out, c_in", [((3, 5), 4, 3), ((4, 6), 2, 5), ((3, 2), 2, 5), ((1, 1), 1, 1)])
def test_convolution_of_an_enlarged_image(size, c_out, c_in):
    x, weights = normal(4, 2, c_in, *size), normal(5, 1, c_out, c_in, 3, 3)
    sens = normal(6, 2, c_out, 2 * size[0], 2 * size[1])
    y, of_x, of_weights = outputs_and_gradients(Enlarged(weights), x, sens)
    np.testing.assert_allclose(y, grouped_reference(repeat2(x), weights), atol=1e-4)
    of_enlarged = input_gradient(sens, weights).reshape(2, c_in, size[0], 2, size[1], 2)
    np.testing.assert_allclose(of_x, of_enlarged.sum((3, 5)), atol=1e-4)
    np.testing.assert_allclose(of_weights, weight_gradient(sens, repeat2(x), weights), atol=1e-4)


def test_rounding_of_winograds_form():
    """As many channels as the widest convolution of a dense block has."""
    x, weights = normal(11, 1, 192, 8, 8), normal(12, 4, 192, 3, 3)
    expected = conv_reference(x, weights)
    came = Winograd(weights[None])(Tensor(x)).asnumpy()
    assert np.std(came - expected) < 5e-6 * np.std(expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_biases_as_weights_of_a_constant_one(kernel):
    x, weights, biases = normal(13, 2, 3, 4, 5), normal(14, 2, 4, 3, kernel, kernel), normal(15, 2, 4)
    both = with_biases(Tensor(weights), Tensor(biases)).asnumpy()
    for k in range(2):
        came = conv2d(with_one(Tensor(x)), Tensor(both[k])).asnumpy()
        np.testing.assert_allclose(came, conv_reference(x, weights[k]) + biases[k, :, None, None], atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Resizing


class Resized(nn.Cell):
    """A resizing function as a cell."""

    def __init__(self, enlarge):
        super().__init__()
        self.enlarge = enlarge

    def construct(self, x):
        return nearest_up2(x) if self.enlarge else nearest_down2(x)


def test_nearest_doubling_repeats():
    size = 3, 4
    x, sens = normal(7, 2, 3, *size), normal(8, 2, 3, 2 * size[0], 2 * size[1])
    cell = Resized(True)
    np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), repeat2(x))
    expected = sens.reshape(2, 3, size[0], 2, size[1], 2).sum((3, 5))
    np.testing.assert_allclose(InputGradients(cell)(Tensor(sens), Tensor(x)).asnumpy(), expected, atol=1e-5)


def test_nearest_halving_takes_even_rows_and_columns():
    x, sens = normal(9, 2, 3, 4, 6), normal(10, 2, 3, 2, 3)
    cell = Resized(False)
    np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), x[:, :, 0::2, 0::2])
    expected = np.zeros_like(x)
    expected[:, :, 0::2, 0::2] = sens
    np.testing.assert_array_equal(InputGradients(cell)(Tensor(sens), Tensor(x)).asnumpy(), expected)


class CutAndWeighted(nn.Cell):
    """x² with its first `at` channels times 2 and the others times 3."""

    def __init__(self, at):
        super().__init__()
        self.cut = Cut(at)

    def construct(self, x):
        first, rest = self.cut(x * x)
        return ops.Concat(1)((2.0 * first, 3.0 * rest))


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (6, 5, 2)])
def test_cut_and_its_gradient(shape):
    x, at = normal(33, *shape), 2
    parts = [value.asnumpy() for value in Cut(at)(Tensor(x))]
    np.testing.assert_array_equal(parts[0], x[:, :at])
    np.testing.assert_array_equal(parts[1], x[:, at:])
    gradient = InputGradients(CutAndWeighted(at))(Tensor(np.ones_like(x)), Tensor(x)).asnumpy()
    factors = np.array([2, 2, 3, 3, 3]).reshape((-1,) + (1,) * (len(shape) - 2))
    np.testing.assert_allclose(gradient, 2 * x * factors, rtol=1e-6)
