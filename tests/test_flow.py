# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Every layer of the flow, and the whole of it: inverse, log-det against the Jacobian, gradients, formulas.

The layers have strong random weights (`helpers.randomise`): at their own initialisation much of them is zero.
"""

import numpy as np
import pytest
from helpers import MODES, InputGradients, ParameterGradients, arrays, conv_reference, jacobian, normal, randomise
from mindspore import Tensor, context, nn, ops

from src.model.Flow import Conv2dZeros, Squeeze, even_odd, gaussian_logp
from src.model.FlowActNorms import ActNorm
from src.model.FlowAffineCouplingsAblation import CondAffineSeparatedAndCond
from src.model.FlowStep import FlowStep
from src.model.FlowUpsamplerNet import FlowLevel, FlowUpsamplerNet
from src.model.InvertibleConv1x1 import InvertibleConv1x1
from src.model.SRFlowNet import NegativeLogLikelihood, SRFlowNet, initialise_actnorms
from src.model.Split import Split2d
from src.model.convolutions import conv2d

FEATURES, HIDDEN, EPS = 5, 7, 1e-4


# ---------------------------------------------------------------------------------------------------------------------
# The layers as functions of their input alone


class Conditioned(nn.Cell):
    """A layer, conditioned on fixed features ft (n, FEATURES, H, W), n 1 or the batch; None: it needs none."""

    def __init__(self, layer, ft=None):
        super().__init__()
        self.layer, self.ft = layer, None if ft is None else Tensor(ft)

    def construct(self, x):
        return self.layer(x, self.layer.condition(self.ft))

    def inverse(self, z):
        return self.layer.inverse(z, self.layer.condition(self.ft))


class ConditionedLevel(Conditioned):
    """The same of a FlowLevel, which leaves to others to own its layers."""

    def __init__(self, level, ft):
        super().__init__(level, ft)
        self.layers = nn.CellList(list(level.layers))


class WholeFlow(nn.Cell):
    """SRFlowNet for given low-resolution images, all latents of an image in one row: (N, 3, H, W) <-> (N, 3·H·W)."""

    def __init__(self, net, lr):
        super().__init__()
        self.net, self.lr = net, Tensor(lr)
        self.latent_shapes = net.flowUpsamplerNet.latent_shapes(lr.shape[2] * net.scale, lr.shape[3] * net.scale)

    def construct(self, x):
        latents, logdet = self.net(x, self.lr)
        rows = ()
        for latent in latents:
            rows = rows + (ops.Reshape()(latent, (x.shape[0], -1)),)
        return ops.Concat(1)(rows), logdet

    def inverse(self, z):
        latents, start = (), 0
        for channels, height, width in self.latent_shapes:
            end = start + channels * height * width
            latents = latents + (ops.Reshape()(z[:, start:end], (z.shape[0], channels, height, width)),)
            start = end
        return self.net.inverse(latents, self.lr)


class Inverse(nn.Cell):
    """The inverse of one of the above as a cell."""

    def __init__(self, function):
        super().__init__(auto_prefix=False)
        self.function = function

    def construct(self, z):
        return self.function.inverse(z)


class Output(nn.Cell):
    """What a cell returns first."""

    def __init__(self, cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x):
        return self.cell(x)[0]


class Objective(nn.Cell):
    """A scalar that depends on every output and every log-det: Σ weights·z + Σ (i + 1)·logdet_i."""

    def __init__(self, cell, output_shape):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.weights = Tensor(normal(99, *output_shape))
        self.image_weights = Tensor(np.arange(1, output_shape[0] + 1, dtype=np.float32))

    def construct(self, x):
        z, logdet = self.cell(x)
        return ops.ReduceSum()(z * self.weights) + ops.ReduceSum()(logdet * self.image_weights)


def small_net(scale, split_levels):
    return SRFlowNet(
        scale, nf=4, nb=2, gc=2, blocks=[0, 1], K=1, n_transitions=1, split_levels=split_levels, hidden=HIDDEN, eps=EPS
    )


def coupling(channels, hidden=HIDDEN):
    return CondAffineSeparatedAndCond(channels, FEATURES, hidden, EPS)


def features(seed, *size):
    return normal(seed, 1, FEATURES, *size)


def level(channels, split=(), hidden=HIDDEN):
    """Squeeze, a transition step, two conditional ones, and a split if there is one."""
    steps = [FlowStep(channels)] + [FlowStep(channels, coupling(channels, hidden)) for _ in range(2)]
    return FlowLevel([Squeeze()] + steps + list(split), channels // 2 if split else channels)


# name -> (the function, the shape of one input); odd channel counts and odd sizes where the layer admits them
CASES = {
    "squeeze": lambda: (Conditioned(Squeeze()), (3, 4, 6)),
    "actnorm": lambda: (Conditioned(ActNorm(5)), (5, 4, 3)),
    "mixing": lambda: (Conditioned(InvertibleConv1x1(6)), (6, 2, 3)),
    "coupling": lambda: (Conditioned(coupling(6), features(1, 3, 4)), (6, 3, 4)),
    "coupling_odd_channels": lambda: (Conditioned(coupling(5), features(1, 3, 2)), (5, 3, 2)),
    "step": lambda: (Conditioned(FlowStep(6, coupling(6)), features(2, 3, 4)), (6, 3, 4)),
    "transition_step": lambda: (Conditioned(FlowStep(6)), (6, 2, 3)),
    "split": lambda: (Conditioned(Split2d(6)), (6, 3, 2)),
    "level": lambda: (ConditionedLevel(level(8, hidden=9), features(1, 1, 2)), (2, 2, 4)),
    "level_split": lambda: (ConditionedLevel(level(4, [Split2d(4)]), features(1, 2, 4)), (1, 4, 8)),
    "network_4x": lambda: (WholeFlow(small_net(4, 1), 0.5 * normal(3, 1, 3, 4, 2)), (3, 16, 8)),
    "network_8x": lambda: (WholeFlow(small_net(8, 2), 0.5 * normal(3, 1, 3, 2, 2)), (3, 16, 16)),
}


class Case:
    """One of CASES with random weights: forward and inverse as cells, a batch x of three and its image z."""

    def __init__(self, name):
        self.name = name
        np.random.seed(5)
        self.forward, shape = CASES[name]()
        randomise(self.forward, seed=7)
        self.inverse = Inverse(self.forward)
        self.x = normal(11, 3, *shape)
        self.z, self.logdet = (output.asnumpy() for output in self.forward(Tensor(self.x)))
        self._jacobian = None

    def jacobian(self):
        """That of `forward` at the first image; it is computed once."""
        if self._jacobian is None:
            self._jacobian = jacobian(Output(self.forward), self.x[:1])
        return self._jacobian


@pytest.fixture(name="case", scope="module", params=sorted(CASES))
def fixture_case(request):
    context.set_context(mode=context.PYNATIVE_MODE)
    return Case(request.param)


@pytest.fixture(autouse=True)
def pynative_mode():
    """PyNative mode, unless a test says otherwise: nothing to compile."""
    context.set_context(mode=context.PYNATIVE_MODE)


# ---------------------------------------------------------------------------------------------------------------------
# What every layer must do


def test_round_trip(case):
    x, logdet = (output.asnumpy() for output in case.inverse(Tensor(case.z)))
    np.testing.assert_allclose(x, case.x, atol=2e-4)
    assert logdet.shape == case.logdet.shape == (3,)
    np.testing.assert_allclose(logdet, -case.logdet, rtol=1e-5, atol=1e-4)


def test_round_trip_from_the_latent_side(case):
    z = case.z + 0.1 * normal(13, *case.z.shape)  # not far from an image's: with these weights others explode
    x, logdet = case.inverse(Tensor(z))
    again, opposite = case.forward(x)
    np.testing.assert_allclose(again.asnumpy(), z, atol=5e-4)
    np.testing.assert_allclose(opposite.asnumpy(), -logdet.asnumpy(), rtol=1e-4, atol=1e-3)


def test_logdet_is_that_of_the_jacobian(case):
    sign, expected = np.linalg.slogdet(case.jacobian())
    assert sign in (-1, 1)
    assert case.name == "squeeze" or abs(expected) > 0.05  # a layer that does nothing would pass unseen
    np.testing.assert_allclose(case.logdet[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", sorted(set(CASES) - {"network_8x"}), indirect=True)  # slow, no other code
def test_logdet_of_the_inverse_is_that_of_its_jacobian(case):
    _, expected = np.linalg.slogdet(jacobian(Output(case.inverse), case.z[:1]))
    logdet = case.inverse(Tensor(case.z[:1]))[1].asnumpy()
    np.testing.assert_allclose(logdet[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", sorted(set(CASES) - {"network_8x"}), indirect=True)  # slow, no other code
def test_the_jacobian_is_that_of_finite_differences(case):
    """One random direction: what the two tests above take from automatic differentiation is true."""
    direction = normal(17, *case.x[:1].shape)
    step = 3e-4  # at 1e-3 some ReLU changes sides between the ends
    ends = np.concatenate([case.x[:1] + step * direction, case.x[:1] - step * direction])
    plus, minus = case.forward(Tensor(ends))[0].asnumpy().astype(np.float64)
    expected = (plus - minus).ravel() / (2 * step)
    product = case.jacobian() @ direction.ravel()
    assert np.linalg.norm(product - expected) < 5e-3 * np.linalg.norm(expected)


def test_images_of_a_batch_are_independent(case):
    for i in range(3):
        z, logdet = case.forward(Tensor(case.x[i : i + 1]))
        np.testing.assert_allclose(z.asnumpy(), case.z[i : i + 1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(logdet.asnumpy(), case.logdet[i : i + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(name for name in CASES if name != "squeeze" and "network" not in name))
def test_gradients_of_parameters_are_those_of_finite_differences(name):
    """Each parameter's gradient along a random direction; the network's meet recorded ones in test_golden.py."""
    case = Case(name)
    objective = Objective(case.forward, case.z.shape)
    for seed, (parameter, gradient) in enumerate(ParameterGradients(objective).values(case.x)):
        direction = normal(seed, *parameter.shape)
        direction /= np.linalg.norm(direction)
        typical = np.linalg.norm(gradient) / np.sqrt(gradient.size)  # of the derivative along a random direction
        assert typical > 0, parameter.name
        expected = finite_difference(case, objective, parameter, direction)
        assert abs((gradient * direction).sum() - expected) < 0.05 * typical + 0.01, parameter.name


def finite_difference(case, objective, parameter, direction, step=1e-3):
    """The derivative of `objective` along a direction of one parameter, its sums taken in float64."""
    value = parameter.asnumpy().copy()
    weights = objective.weights.asnumpy().astype(np.float64)
    ends = []
    for sign in (1, -1):
        parameter.set_data(Tensor((value + sign * step * direction).astype(np.float32)))
        z, logdet = (output.asnumpy().astype(np.float64) for output in case.forward(Tensor(case.x)))
        ends.append((z * weights).sum() + (logdet * [1, 2, 3]).sum())
    parameter.set_data(Tensor(value))
    return (ends[0] - ends[1]) / (2 * step)


# ---------------------------------------------------------------------------------------------------------------------
# The two modes, and conditions of several images


@pytest.mark.parametrize("name", ["level_split"])
def test_graph_mode_gives_what_pynative_mode_gives(name):
    case = Case(name)
    sens = normal(19, *case.z.shape)
    results = {}
    for mode in MODES.values():
        context.set_context(mode=mode)
        forward, inverse = case.forward(Tensor(case.x)), case.inverse(Tensor(case.z))
        to_input = InputGradients(Output(case.forward))(Tensor(sens), Tensor(case.x))
        to_parameters = ParameterGradients(Objective(case.forward, case.z.shape)).by_name(case.x)
        results[mode] = [output.asnumpy() for output in forward + inverse + (to_input,)]
        results[mode] += [to_parameters[key] for key in sorted(to_parameters)]
    for graph, pynative in zip(*results.values()):
        np.testing.assert_allclose(graph, pynative, rtol=1e-4, atol=1e-4 * max(1, np.abs(pynative).max()))


def test_nll_and_its_gradient_are_the_same_in_both_modes():
    net = randomise(small_net(4, 1), seed=3)
    nll = NegativeLogLikelihood(net, quant=32)
    hr, lr = 0.3 * normal(21, 2, 3, 16, 8), 0.3 * normal(22, 2, 3, 4, 2)
    values, gradients = [], []
    for mode in MODES.values():
        context.set_context(mode=mode)
        values.append(nll(Tensor(hr), Tensor(lr)).asnumpy())
        gradients.append(ParameterGradients(nll).by_name(hr, lr))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
    unused = {parameter.name for parameter in net.RRDB.image_only_parameters()}
    for name, pynative in gradients[1].items():
        difference = np.linalg.norm(gradients[0][name] - pynative)
        assert difference <= 1e-3 * np.linalg.norm(pynative) + 1e-6, name
        assert (np.linalg.norm(pynative) == 0) == (name in unused), name


def test_one_condition_serves_a_batch_and_several_serve_one_each():
    x, ft = normal(23, 3, 6, 4, 4), normal(24, 3, FEATURES, 4, 4)
    step = randomise(FlowStep(6, coupling(6)), seed=1)
    z, logdet = step(Tensor(x), step.condition(Tensor(ft)))
    assert logdet.shape == (3,)
    for i in range(3):
        shared, shared_logdet = step(Tensor(x), step.condition(Tensor(ft[i : i + 1])))
        np.testing.assert_allclose(shared.asnumpy()[i], z.asnumpy()[i], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(shared_logdet.asnumpy()[i], logdet.asnumpy()[i], rtol=1e-5)
        assert shared_logdet.shape == (3,)
    assert np.abs(shared.asnumpy()[0] - z.asnumpy()[0]).max() > 0.1  # the features do matter


# ---------------------------------------------------------------------------------------------------------------------
# Formulas, in float64 NumPy


def coupling_net_reference(p, prefix, x):
    """conv, ActNorm, ReLU, 1×1 conv, ActNorm, ReLU, zero-initialised conv -> (shift, scale)."""
    for layer in ("0", "2"):
        x = conv_reference(x, p[f"{prefix}.{layer}.weight"])
        x = (x + p[f"{prefix}.{layer}.actnorm.bias"]) * np.exp(p[f"{prefix}.{layer}.actnorm.logs"])
        x = np.maximum(x, 0)
    h = conv_zeros_reference({name: p[f"{prefix}.4.{name}"] for name in ("weight", "bias", "logs")}, x)
    return h[:, 0::2], 1 / (1 + np.exp(-(h[:, 1::2] + 2))) + EPS


def conv_zeros_reference(p, x):
    return (conv_reference(x, p["weight"]) + p["bias"].reshape(1, -1, 1, 1)) * np.exp(3 * p["logs"])


def float64_arrays(cell):
    return {name: value.astype(np.float64) for name, value in arrays(cell).items()}


def test_squeeze_order():
    x = normal(31, 2, 3, 4, 6)
    z, logdet = Squeeze()(Tensor(x))
    expected = np.zeros((2, 12, 2, 3), np.float32)
    for c, dy, dx in np.ndindex(3, 2, 2):
        expected[:, c * 4 + dy * 2 + dx] = x[:, c, dy::2, dx::2]
    np.testing.assert_array_equal(z.asnumpy(), expected)
    np.testing.assert_array_equal(logdet.asnumpy(), [0, 0])


def test_even_odd_channels():
    h = normal(32, 2, 6, 3, 4)
    even, odd = even_odd(Tensor(h))
    np.testing.assert_array_equal(even.asnumpy(), h[:, 0::2])
    np.testing.assert_array_equal(odd.asnumpy(), h[:, 1::2])


def test_gaussian_log_density():
    x = normal(33, 2, 3, 4, 5)
    expected = (-0.5 * x.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi)).reshape(2, -1).sum(1)
    np.testing.assert_allclose(gaussian_logp(Tensor(x)).asnumpy(), expected, rtol=1e-6)


def test_zero_initialised_convolution():
    conv, x = Conv2dZeros(3, 4), normal(36, 2, 3, 5, 4)
    np.testing.assert_array_equal(conv(Tensor(x)).asnumpy(), np.zeros((2, 4, 5, 4)))
    randomise(conv, seed=1)
    np.testing.assert_allclose(conv(Tensor(x)).asnumpy(), conv_zeros_reference(float64_arrays(conv), x), atol=1e-5)


def test_actnorm_formula():
    actnorm, x = randomise(ActNorm(3), seed=2), normal(37, 2, 3, 4, 5)
    p = float64_arrays(actnorm)
    z, logdet = actnorm(Tensor(x))
    np.testing.assert_allclose(z.asnumpy(), (x + p["bias"]) * np.exp(p["logs"]), atol=1e-6)
    np.testing.assert_allclose(logdet.asnumpy(), [4 * 5 * p["logs"].sum()] * 2, rtol=1e-5)


def test_actnorm_initialisation_normalises_the_batch():
    actnorm = ActNorm(4)
    x = normal(38, 5, 4, 6, 7) * np.array([1, 10, 1e-3, 0], np.float32).reshape(1, 4, 1, 1) + 5
    z = actnorm.initialise(Tensor(x)).asnumpy().astype(np.float64)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(actnorm.bias.asnumpy().ravel(), -wide.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(actnorm.logs.asnumpy().ravel(), -np.log(wide.std((0, 2, 3)) + 1e-6), rtol=1e-5)
    np.testing.assert_allclose(z.mean((0, 2, 3)), 0, atol=5e-4)
    np.testing.assert_allclose(z.std((0, 2, 3)), [1, 1, 1, 0], atol=2e-3)  # a constant channel stays finite
    np.testing.assert_allclose(z, actnorm(Tensor(x))[0].asnumpy(), atol=1e-6)


def test_mixing_formula():
    case = Case("mixing")
    weight = float64_arrays(case.forward)["layer.weight"]
    np.testing.assert_allclose(case.z, np.einsum("oc,nchw->nohw", weight, case.x), atol=1e-5)
    np.testing.assert_allclose(case.logdet, [2 * 3 * np.log(abs(np.linalg.det(weight)))] * 3, rtol=1e-5)


def test_invertible_convolution_starts_as_a_rotation_of_its_own():
    first, second = (InvertibleConv1x1(12).weight.asnumpy().astype(np.float64) for _ in range(2))
    np.testing.assert_allclose(first @ first.T, np.eye(12), atol=1e-6)
    assert np.abs(first - second).max() > 0.1


def test_coupling_formula():
    """The specification's form: fAffine sees the concatenation of z1 and the features."""
    ft, x = normal(39, 2, FEATURES, 3, 4), normal(40, 2, 6, 3, 4)
    function = randomise(Conditioned(coupling(6), ft), seed=4)
    p = float64_arrays(function.layer)
    shift_ft, scale_ft = coupling_net_reference(p, "layer.fFeatures", ft)
    expected = (x + shift_ft) * scale_ft
    shift, scale = coupling_net_reference(p, "layer.fAffine", np.concatenate([expected[:, :3], ft], 1))
    expected[:, 3:] = (expected[:, 3:] + shift) * scale
    z, logdet = function(Tensor(x))
    np.testing.assert_allclose(z.asnumpy(), expected, atol=2e-5)
    # MindSpore 1.7's logarithm is exact to 2e-6 only (docs/mindspore-1.7.md, 13).
    np.testing.assert_allclose(
        logdet.asnumpy(), np.log(scale_ft).sum((1, 2, 3)) + np.log(scale).sum((1, 2, 3)), rtol=5e-5
    )


def test_a_new_coupling_only_scales():
    """Its last convolutions are zero: shift 0, scale sigmoid(2) + eps, for all channels once, for z2 twice."""
    np.random.seed(0)
    x = normal(41, 1, 6, 3, 4)
    scale = 1 / (1 + np.exp(-2)) + EPS
    z, logdet = Conditioned(coupling(6), features(42, 3, 4))(Tensor(x))
    np.testing.assert_allclose(z.asnumpy()[:, :3], x[:, :3] * scale, rtol=1e-5)
    np.testing.assert_allclose(z.asnumpy()[:, 3:], x[:, 3:] * scale**2, rtol=1e-5)
    np.testing.assert_allclose(logdet.asnumpy(), [(6 + 3) * 12 * np.log(scale)], rtol=1e-5)
    weights = arrays(CondAffineSeparatedAndCond(12, 320, 64, EPS))
    for name in ("fFeatures.0.weight", "fFeatures.2.weight", "fAffine.0.weight", "fAffine.2.weight"):
        np.testing.assert_allclose(weights[name].std(), 0.05, rtol=0.04)


def test_split_is_a_conditional_gaussian():
    function, x = randomise(Conditioned(Split2d(6)), seed=6), normal(43, 2, 6, 3, 4)
    h = conv_zeros_reference({name.split(".")[-1]: value for name, value in float64_arrays(function).items()}, x[:, :3])
    mean, logs = h[:, 0::2], h[:, 1::2]
    z, logdet = (output.asnumpy() for output in function(Tensor(x)))
    np.testing.assert_array_equal(z[:, :3], x[:, :3])
    np.testing.assert_allclose(z[:, 3:], (x[:, 3:] - mean) / np.exp(logs), rtol=1e-4, atol=1e-5)
    log_density = (-0.5 * ((x[:, 3:] - mean) / np.exp(logs)) ** 2 - logs - 0.5 * np.log(2 * np.pi)).sum((1, 2, 3))
    of_latent = gaussian_logp(Tensor(z[:, 3:])).asnumpy()
    np.testing.assert_allclose(of_latent + logdet, log_density, rtol=1e-5)


def test_nll_is_bits_per_pixel():
    net, lr = randomise(small_net(4, 1), seed=8), 0.3 * normal(44, 2, 3, 4, 2)
    hr = 0.3 * normal(45, 2, 3, 16, 8)
    latents, logdet = net(Tensor(hr), Tensor(lr))
    log_density = sum(
        (-0.5 * np.square(latent.asnumpy().astype(np.float64)) - 0.5 * np.log(2 * np.pi)).sum((1, 2, 3))
        for latent in latents
    )
    expected = -(logdet.asnumpy() + log_density) / (np.log(2) * 16 * 8)
    plain = NegativeLogLikelihood(net)(Tensor(hr), Tensor(lr)).asnumpy()
    np.testing.assert_allclose(plain, expected, rtol=1e-5)
    with_noise = NegativeLogLikelihood(net, quant=32)(Tensor(hr), Tensor(lr)).asnumpy()
    np.testing.assert_allclose(with_noise - plain, [5, 5], atol=1e-4)  # log2(32)


# ---------------------------------------------------------------------------------------------------------------------
# The network's layout


@pytest.mark.parametrize(
    "levels, split_levels, expected",
    [
        (3, 1, [(6, 80, 80), (96, 20, 20)]),
        (3, 2, [(6, 80, 80), (12, 40, 40), (48, 20, 20)]),
        (3, 0, [(192, 20, 20)]),
        (4, 2, [(6, 80, 80), (12, 40, 40), (192, 10, 10)]),
    ],
)
def test_latent_shapes(levels, split_levels, expected):
    flow = FlowUpsamplerNet(levels, 1, 0, split_levels, feature_channels=2, hidden=2, eps=EPS)
    assert list(flow.latent_shapes(160, 160)) == expected


def test_layers_are_numbered_as_in_the_official_network():
    flow = FlowUpsamplerNet(3, 16, 2, 1, feature_channels=2, hidden=2, eps=EPS)
    assert len(flow.layers) == 1 + 18 + 1 + 1 + 18 + 1 + 18
    kinds = {i: type(layer) for i, layer in enumerate(flow.layers)}
    assert [i for i, kind in kinds.items() if kind is Squeeze] == [0, 20, 39]
    assert [i for i, kind in kinds.items() if kind is Split2d] == [19]
    without_coupling = [i for i, layer in enumerate(flow.layers) if isinstance(layer, FlowStep) and not layer.affine]
    assert without_coupling == [1, 2, 21, 22, 40, 41]
    names = {parameter.name for parameter in flow.get_parameters()}
    assert {
        "layers.1.actnorm.bias",
        "layers.3.affine.fAffine.0.actnorm.logs",
        "layers.19.conv.logs",
        "layers.57.affine.fFeatures.4.weight",
        "layers.21.invconv.weight",
    } <= names


def test_actnorms_are_initialised_layer_after_layer():
    """After the pass every ActNorm of the flow, fed what the initialised layers before it make, normalises."""
    np.random.seed(1)
    net = small_net(4, 1)
    flow = net.flowUpsamplerNet
    hr, lr = normal(46, 4, 3, 16, 16), normal(47, 4, 3, 4, 4)
    context.set_context(mode=context.GRAPH_MODE)
    initialise_actnorms(net, hr, lr)
    assert context.get_context("mode") == context.GRAPH_MODE  # as it was before
    context.set_context(mode=context.PYNATIVE_MODE)
    x, layers, checked = Tensor(hr), list(flow.layers), 0
    for level_number, ft in enumerate(net.RRDB(Tensor(lr))):
        x, _ = layers.pop(0)(x)
        for _ in range(2):  # a transition step and one with coupling
            step = layers.pop(0)
            normalised = step.actnorm.normalise(x)
            assert_normalised(normalised)
            checked += 1
            condition = step.condition(ft)
            if condition:
                shift, scale, _ = condition
                z1 = ((step.invconv.mix(normalised) + shift) * scale)[:, : step.affine.kept]
                assert_normalises(step.affine.fFeatures, ft)
                assert_normalises(step.affine.fAffine, ops.Concat(1)((z1, ft)))
                checked += 4
            x, _ = step(x, condition)
        if level_number < flow.split_levels:
            x = layers.pop(0)(x)[0][:, : flow.kept[level_number]]
    assert not layers and checked == 3 * (2 + 4)


def assert_normalises(coupling_net, x):
    """Both ActNorms of a coupling's network do, for its input x."""
    first, relu, second, _, _ = coupling_net.cell_list
    h = first.actnorm.normalise(conv2d(x, first.weight))
    assert_normalised(h)
    assert_normalised(second.actnorm.normalise(conv2d(relu(h), second.weight)))


def assert_normalised(x):
    values = x.asnumpy().astype(np.float64)
    np.testing.assert_allclose(values.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(values.std((0, 2, 3)), 1, atol=1e-3)
