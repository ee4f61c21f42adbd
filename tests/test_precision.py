# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The options that trade precision or time for memory: float16 networks with a loss scale, and recomputation."""

import functools

import numpy as np
import pytest
from helpers import ParameterGradients, normal, randomise
from mindspore import Tensor, context

from src.model.RRDBNet import RRDBNet
from src.model.SRFlow import SRFlow
from src.model.SRFlowNet import L1Loss, NegativeLogLikelihood, SRFlowNet
from src.model.cpu.encoder import Encoder
from src.model.cpu.network import Network
from src.model.cpu.packed import leaves, make_weights
from src.training.train_step import LossScale

HR, LR = 0.3 * normal(1, 2, 3, 16, 8), 0.3 * normal(2, 2, 3, 4, 2)


@pytest.fixture(autouse=True)
def graph_mode():
    context.set_context(mode=context.GRAPH_MODE)


def small_net(seed=3):
    np.random.seed(0)
    return randomise(
        SRFlowNet(4, nf=4, nb=1, gc=2, blocks=[0], K=1, n_transitions=1, split_levels=1, hidden=8, eps=1e-4), seed
    )


@functools.lru_cache(maxsize=None)
def exact_gradients():
    """Those of the NLL of `small_net`, in float32 and without recomputation."""
    return gradients_of(small_net(), "plain")


@functools.lru_cache(maxsize=None)
def exact_sample():
    """(lr, latents, image): the image of latents that `small_net` decodes in float32."""
    exact = SRFlow(small_net())
    lr = 0.5 + 0.1 * normal(6, 1, 3, 4, 4)
    latents = exact.encode(0.5 + 0.1 * normal(7, 1, 3, 16, 16), lr)[0]
    return lr, latents, exact.decode(lr, latents)


def likelihood(net, implementation):
    return NegativeLogLikelihood(net if implementation == "plain" else Network(net))


def gradients_of(net, implementation):
    return ParameterGradients(likelihood(net, implementation), list(net.get_parameters())).by_name(HR, LR)


def half_net():
    net = small_net()
    net.compute_in_half()
    return net


def types(nested):
    return {str(tensor.dtype) for tensor in leaves(nested)}


def weight_types(weights):
    """(of the encoder, of the conditions, of the couplings, of everything that has a log-det of its own)."""
    couplings = [coupling for level in weights.levels for _, coupling in level.parts]
    rest = [[level.split, level.transitions] + [mixings for mixings, _ in level.parts] for level in weights.levels]
    return types(weights.encoder), types(weights.of_conditions), types(couplings), types(rest)


def test_networks_are_float16_and_what_enters_log_dets_directly_float32():
    half, single = {"Float16"}, {"Float32"}
    assert weight_types(make_weights(Network(small_net()))) == (single, single, single, single)
    assert weight_types(make_weights(Network(half_net()))) == (half, half, half, single)


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_likelihood_and_gradients_in_half(implementation):
    """Near those of float32, but not the same; in float32 all."""
    if implementation == "plain":  # which has much to compile; its samples are compiled below
        context.set_context(mode=context.PYNATIVE_MODE)
    exact, half = likelihood(small_net(), implementation), likelihood(half_net(), implementation)
    nll, nll_half = exact(Tensor(HR), Tensor(LR)).asnumpy(), half(Tensor(HR), Tensor(LR)).asnumpy()
    assert nll_half.dtype == np.float32
    assert 0 < np.abs(nll_half - nll).max() < 5e-3 * np.abs(nll).max()
    gradients_half = gradients_of(half_net(), implementation)
    compared = 0
    for name, expected in exact_gradients().items():
        assert gradients_half[name].dtype == np.float32
        size = np.linalg.norm(expected)
        assert np.linalg.norm(gradients_half[name] - expected) <= 0.05 * size + 1e-3, name
        compared += size > 0.1
    assert compared > 50


@pytest.mark.parametrize("computed", [lambda encoder: encoder, Encoder], ids=["plain", "cpu"])
def test_encoder_alone_in_half(computed):
    lr, hr = 0.5 + normal(4, 1, 3, 4, 6), 0.5 + normal(5, 1, 3, 16, 24)
    np.random.seed(0)
    encoder = RRDBNet(4, nf=4, nb=1, gc=2, blocks=())
    expected = L1Loss(encoder)(Tensor(hr), Tensor(lr)).asnumpy()
    encoder.compute_in_half()
    loss = L1Loss(computed(encoder))
    came = loss(Tensor(hr), Tensor(lr)).asnumpy()
    assert came.dtype == np.float32
    assert 0 < np.abs(came - expected).max() < 1e-2 * np.abs(expected).max()
    assert all(
        np.abs(gradient).max() > 0
        for gradient in ParameterGradients(loss, list(encoder.get_parameters())).by_name(hr, lr).values()
    )


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_samples_in_half(implementation):
    lr, latents, image = exact_sample()
    image_half = SRFlow(half_net(), implementation=implementation).decode(lr, latents)
    assert image_half.dtype == np.float32
    assert 0 < np.abs(image_half - image).max() < 0.05 * np.abs(image).max()


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_recomputation_gives_the_same_gradients(implementation):
    again, expected = small_net(), exact_gradients()
    again.flowUpsamplerNet.recompute_steps()
    for name, gradient in gradients_of(again, implementation).items():
        np.testing.assert_allclose(
            gradient, expected[name], rtol=1e-4, atol=1e-5 * np.abs(expected[name]).max() + 1e-7, err_msg=name
        )


def test_loss_scale_halves_and_doubles():
    scale = LossScale(True, value=8.0, patience=3)
    course = []
    for finite in (False, True, True, True, True, True, False, False, False, False, False):
        scale.update(finite)
        course.append(scale.value)
    assert course == [4, 4, 4, 8, 8, 8, 4, 2, 1, 1, 1]
    for _ in range(2):
        scale.update(True)
    again = LossScale(True, patience=3, **scale.state())
    again.update(True)
    assert (again.value, again.finite_steps) == (2, 0)


def test_no_loss_scale_in_float32():
    scale = LossScale(False)
    for finite in (True, False):
        scale.update(finite)
        assert (scale.value, scale.state()) == (1, {})
