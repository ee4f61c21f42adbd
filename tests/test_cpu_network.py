# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The arrangement for the CPU against the definition: the same values and gradients; and what it does not know.

The recorded outputs of the official code are compared with both in test_golden.py, in graph mode too.
"""

import numpy as np
import pytest
from helpers import ParameterGradients, arrays, conv_reference, normal, randomise
from mindspore import Tensor, context, nn, ops

from src.model.FlowAffineCouplingsAblation import CouplingNet, NormalisedConv2d
from src.model.RRDBNet import RRDBNet
from src.model.SRFlow import SRFlow
from src.model.SRFlowNet import NegativeLogLikelihood, SRFlowNet
from src.model.cpu.mixing import mixing_weights
from src.model.cpu.network import Network
from src.model.cpu.packed import make_weights
from src.model.cpu.stacks import unstack
from src.model.implementation import AUTO, CPU, PLAIN, choose
from src.model.slogdet import SLogDet

# name -> arguments of SRFlowNet that differ from `BASE`, and the low resolution's size
BASE = {
    "scale": 4,
    "nf": 4,
    "nb": 2,
    "gc": 2,
    "blocks": [0, 1],
    "K": 2,
    "n_transitions": 1,
    "split_levels": 1,
    "hidden": 7,
    "eps": 1e-4,
}
CASES = {
    "usual": ({}, (4, 2)),
    "8x": ({"scale": 8, "split_levels": 2, "K": 1}, (2, 4)),
    "three steps, wide couplings": ({"K": 3, "hidden": 30, "nf": 3, "gc": 3}, (2, 2)),
    "no transitions, one block": ({"n_transitions": 0, "nb": 1, "blocks": [0]}, (2, 4)),
    "no split": ({"split_levels": 0, "K": 1}, (4, 6)),
    "two splits": ({"split_levels": 2, "K": 1, "n_transitions": 2}, (4, 4)),
}


@pytest.fixture(autouse=True)
def pynative_mode():
    """PyNative mode, unless a test says otherwise: nothing to compile."""
    context.set_context(mode=context.PYNATIVE_MODE)


def network(**changes):
    np.random.seed(0)
    return randomise(SRFlowNet(**{**BASE, **changes}), seed=3)


def images(net, size, n=2):
    height, width = size
    return 0.3 * normal(1, n, 3, net.scale * height, net.scale * width), 0.3 * normal(2, n, 3, height, width)


class Loss(nn.Cell):
    """A scalar of which every parameter that the flow uses has a gradient."""

    def __init__(self, net):
        super().__init__(auto_prefix=False)
        self.nll = NegativeLogLikelihood(net)

    def construct(self, hr, lr):
        return ops.ReduceSum()(self.nll(hr, lr))


class EncoderLoss(nn.Cell):
    """The same of the encoder's own image."""

    def __init__(self, encoder, shape):
        super().__init__(auto_prefix=False)
        self.encoder, self.factors = encoder, Tensor(normal(5, *shape))

    def construct(self, lr):
        return ops.ReduceSum()(self.encoder.image(lr) * self.factors)


def assert_near(came, expected, share=2e-5, message=""):
    """In the 2-norm of the whole array."""
    assert came.shape == expected.shape
    difference = np.linalg.norm(came.astype(np.float64) - expected)
    assert difference <= share * np.linalg.norm(expected) + 1e-6, (message, difference)


def assert_same_gradients(plain, cpu, parameters, *inputs):
    expected = ParameterGradients(plain, parameters).by_name(*inputs)
    came = ParameterGradients(cpu, parameters).by_name(*inputs)
    for name, gradient in expected.items():
        assert_near(came[name], gradient, 1e-3, name)
    return expected


@pytest.mark.parametrize("name", list(CASES))
def test_values_and_gradients(name):
    changes, size = CASES[name]
    net = network(**changes)
    hr, lr = images(net, size)
    cpu = Network(net)
    latents, logdet = net(Tensor(hr), Tensor(lr))
    arranged, arranged_logdet = cpu(Tensor(hr), Tensor(lr))
    for came, expected in zip(arranged, latents):
        assert_near(came.asnumpy(), expected.asnumpy())
    np.testing.assert_allclose(arranged_logdet.asnumpy(), logdet.asnumpy(), rtol=1e-4, atol=1e-3)
    image, back = cpu.inverse(arranged, Tensor(lr))
    np.testing.assert_allclose(image.asnumpy(), hr, atol=5e-4)
    np.testing.assert_allclose(back.asnumpy(), -logdet.asnumpy(), rtol=1e-4, atol=1e-3)
    gradients = assert_same_gradients(Loss(net), Loss(cpu), list(net.get_parameters()), hr, lr)
    unused = {parameter.name for parameter in net.RRDB.image_only_parameters()}
    assert {name for name, gradient in gradients.items() if not gradient.any()} == unused


@pytest.mark.parametrize("scale", [4, 8])
def test_image_of_the_encoder(scale):
    np.random.seed(0)
    net, lr = randomise(RRDBNet(scale, 4, 2, 2, ()), seed=4), 0.3 * normal(2, 2, 3, 4, 6)
    encoder = choose(CPU).encoder(net)
    assert_near(encoder.image(Tensor(lr)).asnumpy(), net.image(Tensor(lr)).asnumpy())
    shape = (2, 3, 4 * scale, 6 * scale)
    gradients = assert_same_gradients(
        EncoderLoss(net, shape), EncoderLoss(encoder, shape), list(net.get_parameters()), lr
    )
    assert all(gradient.any() for gradient in gradients.values())


def test_samplers():
    """Encoding, decoding, and what one condition gives to several samples."""
    net = network()
    plain, cpu = SRFlow(net, implementation=PLAIN), SRFlow(net, implementation=CPU)
    hr, lr = images(net, (4, 2), n=1)
    expected, came = plain.encode(hr, lr), cpu.encode(hr, lr)
    for latent, expected_latent in zip(came[0], expected[0]):
        assert_near(latent, expected_latent)
    np.testing.assert_allclose(came[1], expected[1], rtol=1e-5)
    np.testing.assert_allclose(plain.decode(lr, expected[0]), hr, atol=5e-4)
    samples = [model.sample(lr, heat=0.3, n=3, seed=1, batch=2) for model in (plain, cpu)]
    np.testing.assert_allclose(samples[1], samples[0], rtol=1e-3, atol=1e-3)


def test_refreshing_either():
    net = network()
    hr, lr = images(net, (4, 2), n=1)
    models = [SRFlow(net, implementation=name) for name in (PLAIN, CPU)]
    before = [model.encode(hr, lr)[1] for model in models]
    randomise(net, seed=9)
    for model, nll in zip(models, before):
        model.refresh()
        assert abs(model.encode(hr, lr)[1] - nll) > 0.1
    np.testing.assert_allclose(models[0].encode(hr, lr)[1], models[1].encode(hr, lr)[1], rtol=1e-5)


def test_half_precision_is_near_that_of_the_definition():
    net = network()
    net.compute_in_half()
    hr, lr = images(net, (4, 2))
    expected = NegativeLogLikelihood(net)(Tensor(hr), Tensor(lr)).asnumpy()
    came = NegativeLogLikelihood(Network(net))(Tensor(hr), Tensor(lr)).asnumpy()
    np.testing.assert_allclose(came, expected, rtol=1e-2)


# ---------------------------------------------------------------------------------------------------------------------
# Pieces


def test_mixing_weights_of_several_steps():
    """Each step has its own, in float64 NumPy; the inverse mixing undoes it."""
    values = normal(51, 3, 4, 4), normal(52, 3, 1, 4, 1, 1), 0.3 * normal(53, 3, 1, 4, 1, 1)
    mixings = unstack(mixing_weights(tuple(Tensor(value) for value in values), SLogDet()))
    assert len(mixings) == 3
    for weight, bias, log, mixing in zip(values[0].astype(np.float64), values[1], values[2], mixings):
        matrix, shift, inverse, negative_bias, log_abs_det = (value.asnumpy() for value in mixing)
        expected = weight * np.exp(log.reshape(1, 4))
        np.testing.assert_allclose(matrix.reshape(4, 4), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(shift, expected @ bias.ravel(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(inverse.reshape(4, 4) @ expected, np.eye(4), atol=1e-4)
        np.testing.assert_array_equal(negative_bias, -bias.ravel())
        np.testing.assert_allclose(log_abs_det, np.linalg.slogdet(expected)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("doublings", [-1, 0, 1, 2])
def test_conditions_of_a_level(doublings):
    """Shift and scale are the definition's.

    What the features give to fAffine has the ActNorm's bias in it, after a constant one.
    """
    scale = 8 if doublings == 2 else 4
    net, cpu = network(scale=scale, hidden=9), None
    cpu, number = Network(net), {4: 1, 8: 2}[scale] - doublings
    level, arranged = net.flowUpsamplerNet.levels[number], cpu.levels[number]
    lr = 0.3 * normal(2, 2, 3, 4, 6)
    ft = net.RRDB(Tensor(lr))[number]
    own, stacked = cpu.encoder(Tensor(lr), cpu.encoder.weights())
    conditions = arranged.conditions(own[number], stacked, arranged.weights()[0])
    couplings = [layer.affine for layer in level.layers[2:4]]
    assert len(conditions) == len(couplings) == 2
    for coupling, condition in zip(couplings, conditions):
        for came, expected in zip(condition[:2], coupling.condition(ft)):
            assert_near(came.asnumpy(), expected.asnumpy())
        p, hidden = arrays(coupling.fAffine), condition[2].asnumpy()
        first = next(iter(coupling.fAffine)).weight.asnumpy()[:, coupling.kept :]
        bias = next(value for name, value in p.items() if name.endswith("0.actnorm.bias"))
        assert_near(hidden[:, 1:], (conv_reference(ft.asnumpy(), first) + bias).astype(np.float32))
        np.testing.assert_allclose(hidden[:, 0], 1, atol=1e-6)


def test_weights_that_are_made_once_have_no_parameters():
    net = network()
    weights = make_weights(Network(net))
    assert len(weights.levels) == 3 and all(len(level.parts) == 1 for level in weights.levels)
    assert [bool(level.split) for level in weights.levels] == [True, False, False]


# ---------------------------------------------------------------------------------------------------------------------
# Choosing, and what the arrangement does not know


def test_choosing():
    assert [choose(name).name for name in (AUTO, PLAIN, CPU)] == [CPU, PLAIN, CPU]
    with pytest.raises(ValueError, match="implementation: expected 'auto', 'plain' or 'cpu', got 'gpu'"):
        choose("gpu")


def deeper(in_channels, hidden, out_channels):
    """A coupling's network with one more hidden layer."""
    net = CouplingNet(in_channels, hidden, out_channels)
    first, relu, second, _, last = net.cell_list
    return nn.SequentialCell(first, relu, second, nn.ReLU(), NormalisedConv2d(hidden, hidden, 1), nn.ReLU(), last)


def test_networks_that_the_arrangement_does_not_know_are_refused():
    net = network()
    coupling = net.flowUpsamplerNet.levels[1].layers[2].affine
    coupling.fFeatures = deeper(12, 7, 48)
    with pytest.raises(ValueError, match="implementation cpu: knows a fFeatures of .* use implementation: plain"):
        choose(CPU).network(net)
    hr, lr = images(net, (4, 2))
    latents, logdet = choose(PLAIN).network(net)(Tensor(hr), Tensor(lr))
    image, back = net.inverse(latents, Tensor(lr))
    np.testing.assert_allclose(image.asnumpy(), hr, atol=5e-4)
    np.testing.assert_allclose(back.asnumpy(), -logdet.asnumpy(), rtol=1e-4, atol=1e-3)


def test_a_coupling_that_the_arrangement_does_not_know_is_refused():
    net = network()
    step = net.flowUpsamplerNet.levels[0].layers[2]

    class Another(type(step.affine)):
        """A coupling that computes something else."""

    step.affine.__class__ = Another
    with pytest.raises(ValueError, match="implementation cpu: knows CondAffineSeparatedAndCond, got .*Another"):
        choose(CPU).network(net)
