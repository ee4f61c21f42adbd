# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder: shapes, initialisation, and its formula in NumPy."""

import numpy as np
import pytest
from helpers import (
    MODES,
    InputGradients,
    ParameterGradients,
    Weighted,
    arrays,
    conv_reference,
    golden_state,
    normal,
    randomise,
    shapes,
    tiny_network,
)
from mindspore import Tensor, context, nn

from src.model.RRDBNet import Conv2d, RRDBNet, ResidualDenseBlock, SmallConv2d
from src.model.convolutions import mean_down2


@pytest.fixture(autouse=True)
def pynative_mode():
    """PyNative mode: nothing to compile."""
    context.set_context(mode=context.PYNATIVE_MODE)


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def repeat2(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


class Reference:
    """The encoder in float64 NumPy, from the specification; p: parameters by name."""

    def __init__(self, p, nb, blocks):
        self.p, self.nb, self.blocks = {name: value.astype(np.float64) for name, value in p.items()}, nb, blocks

    def conv(self, x, name):
        return conv_reference(x, self.p[name + ".weight"]) + self.p[name + ".bias"].reshape(1, -1, 1, 1)

    def dense_block(self, x, name):
        outputs = [x]
        for k in range(1, 5):
            outputs.append(lrelu(self.conv(np.concatenate(outputs, 1), f"{name}.conv{k}")))
        return self.conv(np.concatenate(outputs, 1), name + ".conv5") * 0.2 + x

    def trunk(self, lr):
        fea, stack = self.conv(lr.astype(np.float64), "conv_first"), []
        for b in range(self.nb):
            out = fea
            for k in (1, 2, 3):
                out = self.dense_block(out, f"RRDB_trunk.{b}.RDB{k}")
            fea = out * 0.2 + fea
            if b in self.blocks:
                stack.append(fea)
        return fea + self.conv(fea, "trunk_conv"), np.concatenate(stack, 1)

    def upsampled(self, last, doublings):
        """fea_up1, fea_up2, fea_up4, ..."""
        feas = [last]
        for k in range(1, doublings + 1):
            feas.append(lrelu(self.conv(repeat2(feas[-1]), f"upconv{k}")))
        return feas

    def image(self, lr, doublings):
        fea = self.upsampled(self.trunk(lr)[0], doublings)[-1]
        return self.conv(lrelu(self.conv(fea, "HRconv")), "conv_last")


# ---------------------------------------------------------------------------------------------------------------------
# The network


def test_bilinear_halving_is_the_mean():
    x = normal(2, 2, 3, 4, 6)
    expected = x.reshape(2, 3, 2, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(mean_down2(Tensor(x)).asnumpy(), expected, atol=1e-6)


class DenseBlocks(nn.Cell):
    """Two dense blocks in a row."""

    def __init__(self, nf, gc):
        super().__init__()
        self.first, self.second = ResidualDenseBlock(nf, gc), ResidualDenseBlock(nf, gc)

    def construct(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize("nf, gc", [(3, 2), (6, 4), (2, 4), (4, 4)])
def test_dense_blocks_formula(nf, gc):
    blocks, x = randomise(DenseBlocks(nf, gc), seed=1), normal(5, 2, nf, 4, 5)
    reference = Reference(arrays(blocks), 0, ())
    expected = reference.dense_block(reference.dense_block(x, "first"), "second")
    np.testing.assert_allclose(blocks(Tensor(x)).asnumpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nf, gc, mode", [(3, 2, "pynative"), (6, 4, "pynative"), (6, 4, "graph")])
def test_gradients_of_dense_blocks_are_those_of_finite_differences(nf, gc, mode):
    """Of every parameter and of the input, in float64 along random directions."""
    context.set_context(mode=MODES[mode])
    blocks, x = randomise(DenseBlocks(nf, gc), seed=1), normal(8, 2, nf, 4, 5)
    weights = normal(9, *x.shape)
    values = arrays(blocks)

    def objective(changed):
        reference = Reference(dict(values, **changed), 0, ())
        first = reference.dense_block(changed.get("x", x).astype(np.float64), "first")
        return (reference.dense_block(first, "second") * weights).sum()

    gradients = ParameterGradients(Weighted(blocks, weights)).by_name(x)
    gradients["x"] = InputGradients(blocks)(Tensor(weights), Tensor(x)).asnumpy()
    assert len(gradients) == 2 * 5 * 2 + 1
    step = 1e-6
    for seed, (name, gradient) in enumerate(gradients.items()):
        direction = np.random.RandomState(seed).standard_normal(gradient.shape)
        value = dict(values, x=x)[name].astype(np.float64)
        ends = [objective({name: value + sign * step * direction}) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * step)
        assert abs((gradient * direction).sum() - expected) < 1e-4 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("scale, doublings", [(4, 2), (8, 3)])
def test_features_and_image(scale, doublings):
    """Each level's own features after their LeakyReLU and the stack of the chosen blocks, resized; the image."""
    net, blocks = randomise(RRDBNet(scale, 4, 3, 2, [0, 2]), seed=2), (0, 2)
    lr = normal(6, 2, 3, 4, 6)
    reference = Reference(arrays(net), 3, blocks)
    last, stack = reference.trunk(lr)
    own = reference.upsampled(last, doublings - 1)[::-1] + [last.reshape(2, 4, 2, 2, 3, 2).mean((3, 5))]
    stacks = [stack, stack[:, :, ::2, ::2]]
    while len(stacks) < len(own):
        stacks.insert(0, repeat2(stacks[0]))
    features = net(Tensor(lr))
    sizes = [(2 * scale >> k, 3 * scale >> k) for k in range(doublings + 1)]
    assert [ft.shape for ft in features] == [(2, 4 + 8) + size for size in sizes]
    for came, *expected in zip(features, own, stacks):
        np.testing.assert_allclose(came.asnumpy(), np.concatenate(expected, 1), rtol=1e-3, atol=1e-4)
    image = net.image(Tensor(lr)).asnumpy()
    assert image.shape == (2, 3, 4 * scale, 6 * scale)
    np.testing.assert_allclose(image, reference.image(lr, doublings), rtol=1e-3, atol=1e-4)


def test_parameters_that_only_the_image_needs():
    names = {4: ["upconv2"], 8: ["upconv3"]}
    for scale, upconvs in names.items():
        net = RRDBNet(scale, 4, 1, 2, [0])
        expected = {f"{cell}.{kind}" for cell in upconvs + ["HRconv", "conv_last"] for kind in ("weight", "bias")}
        assert {parameter.name for parameter in net.image_only_parameters()} == expected


@pytest.mark.parametrize("scale, file", [(4, "tiny_init.pth"), (8, "tiny_8x.pth")])
def test_names_and_shapes_are_the_official_ones(scale, file):
    official = {name: value.shape for name, value in golden_state(file).items()}
    assert shapes(tiny_network(scale)) == official


# ---------------------------------------------------------------------------------------------------------------------
# Initialisation


def test_dense_blocks_start_small():
    """Kaiming normal (fan-in), a tenth of it, and no bias."""
    np.random.seed(0)
    block = ResidualDenseBlock(64, 32)
    for name, fan_in in (("conv1", 9 * 64), ("conv3", 9 * 128), ("conv5", 9 * 192)):
        conv = getattr(block, name)
        weight = conv.weight.asnumpy()
        assert isinstance(conv, SmallConv2d)
        np.testing.assert_allclose(weight.std(), 0.1 * np.sqrt(2 / fan_in), rtol=0.03)
        assert abs(weight.mean()) < 0.03 * weight.std()
        assert np.abs(weight).max() > 3 * weight.std()  # normal, not uniform
        np.testing.assert_array_equal(conv.bias.asnumpy(), 0)


def test_other_convolutions_start_uniform():
    np.random.seed(0)
    reach = 1 / np.sqrt(9 * 64)
    conv = Conv2d(64, 64)
    for value, tolerance in ((conv.weight.asnumpy(), 0.02), (conv.bias.asnumpy(), 0.3)):
        assert np.abs(value).max() <= reach
        np.testing.assert_allclose(value.std(), reach / np.sqrt(3), rtol=tolerance)


def test_initialisation_follows_numpys_seed():
    draws = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        draws.append(arrays(RRDBNet(4, 4, 1, 2, [0])))
    first, same, other = draws
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["conv_first.weight"], other["conv_first.weight"])
