# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network against recorded outputs of the official PyTorch code (float32, CPU).

golden/seeded_*.npz are in the repository; the bigger recordings stand beside it in ../shared/golden, and their tests
are skipped, with a line that says so, where they are not. Some run in graph mode, as the programs do, and some in
PyNative mode, which has nothing to compile.
"""
import functools

import numpy as np
import pytest
from helpers import (MODES, ParameterGradients, arrays, golden, golden_images, golden_state, set_parameters, shapes,
                     tiny_network)
from mindspore import Tensor, context, nn, ops
from seeded_weights import seeded_state

from src.model.convolutions import nearest_down2, nearest_up2
from src.model.SRFlow import SRFlow
from src.model.SRFlowNet import NegativeLogLikelihood, initialise_actnorms
from src.model.packed import make_weights, parts_of, transitions_of
from src.model.stacks import unstack
from src.model_utils.train_step import Adam, TrainStep

SEEDS = {"seeded_4x": 11, "seeded_8x": 12}
SCALES = {"seeded_4x": 4, "seeded_8x": 8, "tiny": 4, "tiny_8x": 8}


class MeanNLL(nn.Cell):
    """The loss of training: the mean over the batch."""

    def __init__(self, net):
        super().__init__(auto_prefix=False)
        self.nll = NegativeLogLikelihood(net, quant=32)

    def construct(self, hr, lr):
        return ops.ReduceMean()(self.nll(hr, lr))


class Recording:
    """A recorded network with its weights in ours, and the recorded data under names that all recordings share."""

    def __init__(self, name):
        net = tiny_network(SCALES[name])
        if name in SEEDS:
            self.mode = context.GRAPH_MODE
            self.data = golden(name + ".npz")
            set_parameters(net, seeded_state(shapes(net), SEEDS[name]))
            keys = sorted(key for key in self.data if key.startswith("latent_"))
        else:
            self.mode = context.PYNATIVE_MODE
            self.data = golden(name + "_eval.npz")
            set_parameters(net, golden_state({"tiny": "tiny_trained.pth", "tiny_8x": "tiny_8x.pth"}[name]))
            keys = {"tiny": ("eps_split", "z"), "tiny_8x": ("eps_0", "eps_1", "eps_2")}[name]
        self.latents = [self.data[key] for key in keys]
        self.sample_latents = [self.data["sample_" + key.replace("eps_split", "eps")] for key in keys]
        self.model = SRFlow(net, quant=32)
        self.hr, self.lr = golden_images(self.data, noisy=False)

    @functools.lru_cache(maxsize=None)
    def encoded(self):
        """(latents, nll, logdet) of the recorded images with their noise."""
        return self.model.encode(self.hr, self.lr, self.data["noise"])


@functools.lru_cache(maxsize=None)
def recording_of(name):
    return Recording(name)


@pytest.fixture(name="recording", params=sorted(SCALES))
def fixture_recording(request):
    recording = recording_of(request.param)
    context.set_context(mode=recording.mode)
    return recording


@pytest.fixture(name="tiny")
def fixture_tiny():
    """In PyNative mode."""
    recording = recording_of("tiny")
    context.set_context(mode=recording.mode)
    return recording


# ---------------------------------------------------------------------------------------------------------------------
# Encoding and decoding


def test_nll_and_logdet(recording):
    _, nll, logdet = recording.encoded()
    np.testing.assert_allclose(nll, recording.data["nll"], rtol=1e-4)
    np.testing.assert_allclose(logdet, recording.data["logdet"], rtol=1e-4)


def test_latents(recording):
    latents = recording.encoded()[0]
    assert [latent.shape for latent in latents] == [latent.shape for latent in recording.latents]
    for came, expected in zip(latents, recording.latents):
        np.testing.assert_allclose(came, expected, rtol=0, atol=1e-3)


def test_decoded_images(recording):
    sr = recording.model.decode(recording.lr, recording.sample_latents)
    np.testing.assert_allclose(sr, recording.data["sample_sr"], rtol=0, atol=1e-3)


def test_decoding_gives_back_what_was_encoded(recording):
    hr, _ = golden_images(recording.data)
    np.testing.assert_allclose(recording.model.decode(recording.lr, recording.encoded()[0]), hr, rtol=0, atol=1e-4)


def test_nll_without_noise(tiny):
    _, nll, _ = tiny.model.encode(tiny.hr, tiny.lr)
    np.testing.assert_allclose(nll, tiny.data["nll_no_noise"], rtol=1e-4)


def test_temperature_zero_is_the_image_of_zeros(tiny):
    images = tiny.model.sample(tiny.lr, heat=0, n=1)[0]
    np.testing.assert_allclose(images, tiny.data["sample_sr_t0"], rtol=0, atol=1e-3)


def test_logdet_of_decoding(tiny):
    """The official code counts the split's log-likelihood in it."""
    latents = [Tensor(latent) for latent in tiny.sample_latents]
    _, logdet = tiny.model.net.inverse(tuple(latents), Tensor(tiny.lr))
    split = tiny.sample_latents[0].astype(np.float64)
    log_density = (-0.5 * (split ** 2 + np.log(2 * np.pi))).sum((1, 2, 3))
    came = logdet.asnumpy() - log_density
    np.testing.assert_allclose(came, tiny.data["sample_logdet"], rtol=1e-4)


def test_conditional_features(tiny):
    """320 channels for each level of the first image."""
    encoder = tiny.model.net.RRDB
    own, stacked = encoder(Tensor(tiny.lr[:1]), encoder.weights())
    resized = (nearest_up2(stacked), stacked, nearest_down2(stacked))
    for level, key in enumerate(("cond/fea_up2", "cond/fea_up1", "cond/fea_up0")):
        expected = tiny.data[key]
        came = np.concatenate([own[level].asnumpy(), resized[level].asnumpy()], axis=1)
        assert came.shape == expected.shape
        assert np.linalg.norm(came - expected) < 1e-4 * np.linalg.norm(expected)
        np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_image_of_the_encoder(tiny):
    image = tiny.model.net.RRDB.image(Tensor(tiny.lr)).asnumpy()
    np.testing.assert_allclose(image, tiny.data["rrdb_out"], rtol=0, atol=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Gradients


@pytest.mark.parametrize("name, mode", [("seeded_4x", "graph"), ("seeded_8x", "pynative")])
def test_gradient_norms(name, mode):
    context.set_context(mode=MODES[mode])
    data, net = golden(name + ".npz"), tiny_network(SCALES[name])
    set_parameters(net, seeded_state(shapes(net), SEEDS[name]))
    gradients = ParameterGradients(MeanNLL(net)).by_name(*golden_images(data))
    recorded = {key[len("gradnorm/"):]: value for key, value in data.items() if key.startswith("gradnorm/")}
    assert set(gradients) - set(recorded) == {parameter.name for parameter in net.RRDB.image_only_parameters()}
    for key, expected in recorded.items():
        came = np.linalg.norm(gradients[key].astype(np.float64))
        assert abs(came - expected) < max(1e-3 * expected, 1e-6), key


def test_every_gradient(tiny):
    recorded = golden("tiny_grads.npz")
    hr, lr = golden_images(tiny.data)
    gradients = ParameterGradients(MeanNLL(tiny.model.net)).by_name(hr, lr)
    assert set(gradients) == {key for key in recorded if not key.startswith("flowUpsamplerNet.f.")}
    for key, came in gradients.items():
        difference = came.astype(np.float64) - recorded[key]
        relative = np.linalg.norm(difference) / max(np.linalg.norm(recorded[key]), 1e-30)
        assert relative < 1e-3 or np.abs(difference).max() < 1e-6, (key, relative)


# ---------------------------------------------------------------------------------------------------------------------
# Training


@pytest.fixture(name="training", scope="module")
def fixture_training():
    """(the recorded training, the freshly initialised network, a function that makes the batch of a step)."""
    data, net = golden("tiny_train_20_steps.npz"), tiny_network()
    set_parameters(net, golden_state("tiny_init.pth"))

    def batch(step):
        return golden_images({key: data[key][step] for key in ("hr", "lr", "noise")})

    initialise_actnorms(net, *batch(0))
    return data, net, batch


def test_actnorm_initialisation(training):
    recorded, ours = golden("tiny_actnorm_init.npz"), arrays(training[1])
    assert set(recorded) == {name for name in ours if "actnorm" in name}
    for name, expected in recorded.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_twenty_steps_of_training(training):
    """Adam's first steps amplify rounding: hence the wide tolerances after the first step."""
    data, net, batch = training
    flow = list(net.flowUpsamplerNet.get_parameters())
    unused = {parameter.name for parameter in net.RRDB.image_only_parameters()}
    encoder = [parameter for parameter in net.RRDB.get_parameters() if parameter.name not in unused]
    optimizers = [Adam(flow, "flow", 0.9, 0.99, stacks=net.flowUpsamplerNet.parameter_stacks()),
                  Adam(encoder, "encoder", 0.9, 0.99, stacks=net.RRDB.parameter_stacks())]
    step = TrainStep(NegativeLogLikelihood(net, quant=32), optimizers)
    nlls = []
    for i in range(20):
        hr, lr = batch(i)
        nll, _, finite = step(Tensor(hr), Tensor(lr), Tensor(np.float32(2.5e-4)))
        assert bool(finite.asnumpy())
        nlls.append(float(nll.asnumpy()))
    for optimizer in optimizers:
        optimizer.write_back()
    np.testing.assert_allclose(nlls[0], data["nll"][0], rtol=1e-4)
    np.testing.assert_allclose(nlls, data["nll"], rtol=0, atol=0.05)
    ours, compared = arrays(net), 0
    for key, expected in data.items():
        name = key[len("norm/"):]
        if key.startswith("norm/") and expected > 0.5 and not name.startswith("flowUpsamplerNet.f."):
            np.testing.assert_allclose(np.linalg.norm(ours[name].astype(np.float64)), expected, rtol=5e-3, err_msg=name)
            compared += 1
    assert compared > 100


def test_packed_mixing_weights_are_exact_inverses(tiny):
    flow = make_weights(tiny.model.net)[2]
    stacked = [stacks for level in flow for stacks in [transitions_of(level)] + [part[0] for part in parts_of(level)]]
    mixings = [mixing for stacks in stacked for mixing in unstack(stacks)]
    assert len(mixings) == 12
    for matrix, _, inverse, _, log_abs_det in mixings:
        matrix, inverse = (kernel.asnumpy()[:, :, 0, 0].astype(np.float64) for kernel in (matrix, inverse))
        np.testing.assert_allclose(inverse @ matrix, np.eye(len(matrix)), atol=1e-5)
        np.testing.assert_allclose(log_abs_det.asnumpy(), np.linalg.slogdet(matrix)[1], rtol=1e-4, atol=1e-4)
