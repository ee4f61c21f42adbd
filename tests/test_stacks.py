# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters stacked over layers: the same values and gradients whether joined or not, and the same training."""

import numpy as np
import pytest
from helpers import MODES, ParameterGradients, arrays, normal
from mindspore import Parameter, Tensor, context, nn, ops

from src.model.cpu.stacks import ParameterStacks, put_together, slices, taken_apart, unstack
from src.training.train_step import Adam, TrainStep

LAYERS = 3


@pytest.fixture(name="mode", autouse=True, params=sorted(MODES))
def fixture_mode(request):
    context.set_context(mode=MODES[request.param])
    return request.param


class Layer(nn.Cell):
    def __init__(self, seed):
        super().__init__()
        self.weight = Parameter(Tensor(normal(seed, 2, 3)), name="weight")
        self.bias = Parameter(Tensor(normal(seed + LAYERS, 2)), name="bias")


class Layers(nn.Cell):
    """(hr, lr) -> a loss of each image, which weighs every layer's parameters differently, and one more parameter."""

    def __init__(self):
        super().__init__()
        self.layers = nn.CellList([Layer(i) for i in range(LAYERS)])
        self.gain = Parameter(Tensor(normal(7, 1)), name="gain")
        self.stacks = (ParameterStacks([(layer.weight, layer.bias) for layer in self.layers]),)  # not registered again
        self.of_weights, self.of_biases = (Tensor(normal(8, LAYERS, *shape)) for shape in ((2, 3), (2,)))

    def construct(self, hr, lr):
        weights, biases = self.stacks[0]()
        error = ops.ReduceSum()(ops.Tanh()(weights) * self.of_weights)
        error = error + ops.ReduceSum()(biases * biases * self.of_biases)
        return ops.ReduceMean()((self.gain * error + lr - hr) * lr, (1, 2, 3))


def batch(seed):
    return [Tensor(normal(seed + i, 2, 3, 4, 4)) for i in range(2)]


def test_values_before_and_after_joining():
    cell, joined = Layers(), Layers()
    joined.stacks[0].join()
    for layer in joined.layers:
        layer.bias.set_data(Tensor(np.zeros(2, np.float32)))  # nobody reads it any more
    expected = [np.stack([getattr(layer, kind).asnumpy() for layer in cell.layers]) for kind in ("weight", "bias")]
    for stacks in (cell.stacks[0](), joined.stacks[0]()):
        assert len(stacks) == 2
        for stack, values in zip(stacks, expected):
            np.testing.assert_array_equal(stack.asnumpy(), values)


def test_members_of_joined_stacks():
    cell = Layers()
    cell.stacks[0].join()
    members = cell.stacks[0].stands_for()
    assert {stack: [parameter.name for parameter in same] for stack, same in members.items()} == {
        f"layers.0.{kind}.stack": [f"layers.{i}.{kind}" for i in range(LAYERS)] for kind in ("weight", "bias")
    }
    assert not any(name.endswith("stack") for name in arrays(cell))


def test_gradients_are_the_same():
    apart, joined = Layers(), Layers()
    joined.stacks[0].join()
    members = joined.stacks[0].stands_for()
    inputs = [tensor.asnumpy() for tensor in batch(0)]
    expected = ParameterGradients(apart).by_name(*inputs)
    stacked = ParameterGradients(joined, [joined.gain] + list(joined.stacks[0].joined)).by_name(*inputs)
    names = {stack: [parameter.name for parameter in same] for stack, same in members.items()}
    gradients = taken_apart(stacked, names)
    assert set(gradients) == set(expected)
    for name, gradient in expected.items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-5, atol=1e-6, err_msg=name)


def test_writing_back():
    cell = Layers()
    stacks, before = cell.stacks[0], arrays(cell)
    stacks.join()
    for stack in stacks.joined:
        stack.set_data(Tensor(2 * stack.asnumpy()))
    assert all((arrays(cell)[name] == value).all() for name, value in before.items())
    stacks.write_back()
    for name, value in arrays(cell).items():
        np.testing.assert_array_equal(value, before[name] * (1 if name == "gain" else 2))


@pytest.mark.parametrize("weight_decay, clip_norm", [(0.0, None), (0.1, 0.5)])
def test_training_is_the_same(weight_decay, clip_norm):
    """Parameters and optimizer states after some steps, one of which is not finite, bear the same names and values."""
    results = []
    for join in (False, True):
        cell = Layers()
        stacks = list(cell.stacks) if join else []
        for stack in stacks:
            stack.join()
        optimizer = Adam(list(cell.get_parameters()), "all", 0.9, 0.99, weight_decay, stacks)
        assert len(optimizer.params) == (3 if join else 7)
        step = TrainStep(cell, [optimizer], clip_norm)
        for number in range(4):
            hr, lr = batch(number)
            poisoned = Tensor(np.full_like(hr.asnumpy(), np.nan)) if number == 2 else hr
            finite = step(poisoned, lr, Tensor(np.float32(0.05)))[2]
            assert bool(finite.asnumpy()) == (number != 2)
        optimizer.write_back()
        results.append(dict(arrays(cell), **optimizer.state_arrays()))
    apart, joined = results
    assert len(apart) == 7 * 3 + 1 and set(apart) == set(joined)
    for name, value in apart.items():
        assert np.abs(value).max() > 0
        np.testing.assert_allclose(joined[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_restoring_the_state():
    cell, again = Layers(), Layers()
    for stack in cell.stacks + again.stacks:
        stack.join()
    optimizer = Adam(list(cell.get_parameters()), "all", 0.9, 0.99, stacks=list(cell.stacks))
    for state in optimizer.state():
        state.set_data(Tensor(normal(len(state.name), *state.shape) if state.shape else np.float32(3)))
    kept = optimizer.state_arrays()
    optimizer = Adam(list(again.get_parameters()), "all", 0.9, 0.99, stacks=list(again.stacks))
    optimizer.load_state(kept)
    restored = optimizer.state_arrays()
    assert set(restored) == set(kept)
    for name, value in kept.items():
        np.testing.assert_array_equal(restored[name], value, err_msg=name)
    optimizer.load_state({"optimizer.all.m.layers.0.bias": np.ones(2, np.float32)})  # without its fellows
    np.testing.assert_array_equal(
        optimizer.state_arrays()["optimizer.all.m.layers.0.bias"], kept["optimizer.all.m.layers.0.bias"]
    )


def test_putting_together_what_was_taken_apart():
    members = {"s": ["a", "b"]}
    whole = {"s": normal(0, 2, 3), "t": normal(1, 4)}
    apart = taken_apart(whole, members)
    assert {name: value.shape for name, value in apart.items()} == {"a": (3,), "b": (3,), "t": (4,)}
    together = put_together(apart, members)
    assert set(together) == {"s", "t"} and all((together[name] == value).all() for name, value in whole.items())
    del apart["b"]
    assert set(put_together(apart, members)) == {"t"}


@pytest.mark.parametrize("count", [1, 3])
def test_unstacking(count):
    stacks = [normal(0, count, 2), normal(1, count, 3, 4)]
    rows = unstack(tuple(Tensor(stack) for stack in stacks))
    assert len(rows) == count
    for i, row in enumerate(rows):
        for value, stack in zip(row, stacks):
            np.testing.assert_array_equal(value.asnumpy(), stack[i])
    columns = slices(Tensor(stacks[1]), 1)
    np.testing.assert_array_equal(np.stack([column.asnumpy() for column in columns], 1), stacks[1])
