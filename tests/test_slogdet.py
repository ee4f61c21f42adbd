# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""slogdet, both ways of computing it, against NumPy in float64."""

import numpy as np
import pytest
from helpers import MODES, InputGradients
from mindspore import Tensor, context, nn

from src.model.slogdet import DETERMINANT, LU_FACTORS, SLogDet, default_method, matrix_inverse

METHODS = (DETERMINANT, LU_FACTORS)
SIZES = (12, 24, 96, 192)
BATCH = 4


class LogDet(nn.Cell):
    """w -> log|det w|."""

    def __init__(self, method):
        super().__init__()
        self.slogdet = SLogDet(method)

    def construct(self, w):
        return self.slogdet(w)[1]


class Sign(LogDet):
    """w -> the sign of det w."""

    def construct(self, w):
        return self.slogdet(w)[0]


def log_det_gradient(method, w, sens):
    """Gradient of Σ sens·log|det w|."""
    return InputGradients(LogDet(method))(Tensor(sens), Tensor(w)).asnumpy()


@pytest.fixture(name="method", params=METHODS)
def fixture_method(request):
    return request.param


@pytest.fixture(name="mode", params=sorted(MODES))
def fixture_mode(request):
    context.set_context(mode=MODES[request.param])
    return request.param


def rotations(size, random):
    return np.stack([np.linalg.qr(random.standard_normal((size, size)))[0] for _ in range(BATCH)])


def with_determinant_sign(matrices, sign):
    """The matrices, their first row negated where that gives the sign."""
    matrices = matrices.copy()
    matrices[np.linalg.slogdet(matrices)[0] != sign, 0] *= -1
    return matrices


def well_conditioned(size, random):
    """Rotations times singular values from 0.5 to 2: random matrices such as a training meets."""
    values = np.exp(random.uniform(np.log(0.5), np.log(2), (BATCH, 1, size)))
    return rotations(size, random) * values @ rotations(size, random)


def badly_scaled(size, random):
    """Columns, then rows, scaled by powers from 1e-3 to 1e3."""
    rows = 10.0 ** random.uniform(-3, 3, (BATCH, size, 1))
    columns = 10.0 ** random.uniform(-3, 3, (BATCH, 1, size))
    matrices = well_conditioned(size, random)
    matrices[: BATCH // 2] *= rows[: BATCH // 2]
    matrices[BATCH // 2 :] *= columns[BATCH // 2 :]
    return matrices


KINDS = {
    "random": lambda size, random: random.standard_normal((BATCH, size, size)),
    "well_conditioned": well_conditioned,
    "orthogonal": lambda size, random: with_determinant_sign(rotations(size, random), 1),
    "badly_scaled": badly_scaled,
    "negative_determinant": lambda size, random: with_determinant_sign(well_conditioned(size, random), -1),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_equals_numpy_in_float64(kind, size, method):
    w = KINDS[kind](size, np.random.RandomState(size)).astype(np.float32)
    context.set_context(mode=context.PYNATIVE_MODE)
    sign, log_abs_det = (output.asnumpy() for output in SLogDet(method)(Tensor(w)))
    expected_sign, expected = np.linalg.slogdet(w.astype(np.float64))
    np.testing.assert_array_equal(sign, expected_sign)
    if kind == "negative_determinant":
        np.testing.assert_array_equal(sign, [-1] * BATCH)
    np.testing.assert_allclose(log_abs_det, expected, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_gradient_is_the_inverse_transposed(kind, size, method):
    w = KINDS[kind](size, np.random.RandomState(size)).astype(np.float32)
    sens = np.array([1, -2, 0.5, 3], np.float32)
    context.set_context(mode=context.PYNATIVE_MODE)
    gradient = log_det_gradient(method, w, sens)
    expected = np.linalg.inv(w.astype(np.float64)).transpose(0, 2, 1) * sens.reshape(-1, 1, 1)
    error = np.linalg.norm(gradient - expected, axis=(1, 2))
    assert np.all(error < 1e-4 * np.linalg.norm(expected, axis=(1, 2)))


def test_gradient_is_that_of_finite_differences(method):
    random = np.random.RandomState(3)
    w, direction = well_conditioned(12, random), random.standard_normal((BATCH, 12, 12))
    step = 1e-4
    expected = (np.linalg.slogdet(w + step * direction)[1] - np.linalg.slogdet(w - step * direction)[1]) / (2 * step)
    context.set_context(mode=context.PYNATIVE_MODE)
    gradient = log_det_gradient(method, w.astype(np.float32), np.ones(BATCH, np.float32))
    np.testing.assert_allclose((gradient * direction).sum((1, 2)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (1, 1, 2)])
def test_batch_shapes(batch, method, mode):
    w = np.random.RandomState(1).standard_normal(batch + (5, 5)).astype(np.float32)
    sign, log_abs_det = SLogDet(method)(Tensor(w))
    expected_sign, expected = np.linalg.slogdet(w.astype(np.float64))
    assert sign.shape == log_abs_det.shape == batch
    np.testing.assert_array_equal(sign.asnumpy(), expected_sign)
    np.testing.assert_allclose(log_abs_det.asnumpy(), expected, atol=5e-5)
    gradient = log_det_gradient(method, w, np.ones(batch, np.float32))
    assert gradient.shape == w.shape
    np.testing.assert_allclose(gradient, np.swapaxes(np.linalg.inv(w.astype(np.float64)), -1, -2), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name, singular",
    [
        ("zero", np.zeros((4, 4))),
        ("zero row", np.diag([1.0, 2.0, 0.0, 3.0])),
        ("equal rows", np.array([[1.0, 2, 3, 4], [5, 6, 8, 7], [1, 2, 3, 4], [0, 1, 0, 2]])),
    ],
)
def test_a_singular_matrix_is_no_crash(name, singular, method, mode):
    """Sign 0, log-det -inf, its whole gradient NaN; the matrix beside it in the batch is not disturbed."""
    regular = np.random.RandomState(2).standard_normal((4, 4)) + 2 * np.eye(4)
    w = np.stack([regular, singular]).astype(np.float32)
    sign, log_abs_det = (output.asnumpy() for output in SLogDet(method)(Tensor(w)))
    expected_sign, expected = np.linalg.slogdet(w[0].astype(np.float64))
    np.testing.assert_array_equal(sign, [expected_sign, 0])
    assert log_abs_det[1] == -np.inf
    np.testing.assert_allclose(log_abs_det[0], expected, atol=1e-4)
    gradient = log_det_gradient(method, w, np.ones(2, np.float32))
    assert np.isnan(gradient[1]).all()
    np.testing.assert_allclose(gradient[0], np.linalg.inv(w[0].astype(np.float64)).T, rtol=1e-4, atol=1e-5)


def test_nan_is_not_taken_for_a_number(method, mode):
    w = np.stack([np.eye(3), np.full((3, 3), np.nan)]).astype(np.float32)
    _, log_abs_det = (output.asnumpy() for output in SLogDet(method)(Tensor(w)))
    assert abs(log_abs_det[0]) < 1e-5
    assert not np.isfinite(log_abs_det[1])


def test_both_methods_agree_in_graph_mode():
    w = np.random.RandomState(4).standard_normal((3, 24, 24)).astype(np.float32)
    (sign, log_abs_det), (other_sign, other) = (SLogDet(method)(Tensor(w)) for method in METHODS)
    np.testing.assert_array_equal(sign.asnumpy(), other_sign.asnumpy())
    np.testing.assert_allclose(log_abs_det.asnumpy(), other.asnumpy(), rtol=0, atol=2.4e-4)


def test_the_sign_has_no_gradient(method):
    w = np.random.RandomState(5).standard_normal((2, 4, 4)).astype(np.float32)
    context.set_context(mode=context.PYNATIVE_MODE)
    gradient = InputGradients(Sign(method))(Tensor(np.ones(2, np.float32)), Tensor(w))
    np.testing.assert_array_equal(gradient.asnumpy(), np.zeros((2, 4, 4)))


def test_the_inverse_is_taken_in_float64():
    """Condition 1e5: float32 arithmetic would lose five of its seven digits."""
    random = np.random.RandomState(6)
    left, right = rotations(24, random), rotations(24, random)
    w = (left * np.logspace(-2.5, 2.5, 24) @ right).astype(np.float32)
    expected = np.linalg.inv(w.astype(np.float64))
    context.set_context(mode=context.PYNATIVE_MODE)
    difference = matrix_inverse(Tensor(w)).asnumpy() - expected
    assert np.all(np.linalg.norm(difference, axis=(1, 2)) < 1e-6 * np.linalg.norm(expected, axis=(1, 2)))


def test_default_method_on_the_cpu():
    assert default_method() == DETERMINANT
    assert SLogDet().method == DETERMINANT


def test_unknown_method():
    with pytest.raises(ValueError, match="^method: expected 'determinant' or 'lu', got 'qr'$"):
        SLogDet("qr")
