# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Adam against PyTorch's formula in float64, and the training step on a loss that can be done by hand."""

import numpy as np
import pytest
from helpers import MODES, arrays
from mindspore import Parameter, Tensor, context, nn, ops

from src.model.slogdet import SLogDet
from src.training.train_step import AccumulatedTrainStep, Adam, TrainStep

BETA1, BETA2 = 0.9, 0.999


class AdamReference:
    """torch.optim.Adam's update in float64 (its documentation's algorithm, without amsgrad)."""

    def __init__(self, values, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=1e-8):
        self.values = [np.asarray(value, np.float64) for value in values]
        self.m, self.v = ([np.zeros_like(value) for value in self.values] for _ in range(2))
        self.beta1, self.beta2, self.weight_decay, self.eps, self.steps = beta1, beta2, weight_decay, eps, 0

    def step(self, grads, rate):
        self.steps += 1
        for i, grad in enumerate(grads):
            grad = np.asarray(grad, np.float64) + self.weight_decay * self.values[i]
            self.m[i] = self.beta1 * self.m[i] + (1 - self.beta1) * grad
            self.v[i] = self.beta2 * self.v[i] + (1 - self.beta2) * grad**2
            corrected_m = self.m[i] / (1 - self.beta1**self.steps)
            corrected_v = self.v[i] / (1 - self.beta2**self.steps)
            self.values[i] = self.values[i] - rate * corrected_m / (np.sqrt(corrected_v) + self.eps)


class Affine(nn.Cell):
    """(hr, lr) -> mean (gain·lr + offset − hr)² of each image; gain and offset (1, 3, 1, 1)."""

    def __init__(self):
        super().__init__()
        self.gain = parameter("gain", [1.0, -0.5, 2.0])
        self.offset = parameter("offset", [0.1, 0.2, -0.3])

    def construct(self, hr, lr):
        error = self.gain * lr + self.offset - hr
        return ops.ReduceMean()(error * error, (1, 2, 3))

    @staticmethod
    def reference(gain, offset, hr, lr):
        """The mean loss, and its gradients with respect to gain and offset, in float64."""
        hr, lr = hr.astype(np.float64), lr.astype(np.float64)
        error = gain * lr + offset - hr
        axes = (0, 2, 3)
        grads = [
            2 * (error * lr).sum(axes, keepdims=True) / error.size,
            2 * error.sum(axes, keepdims=True) / error.size,
        ]
        return (error**2).mean(), grads


class Singular(nn.Cell):
    """(hr, lr) -> −log|det w| for each image, w singular."""

    def __init__(self):
        super().__init__()
        self.w = Parameter(Tensor(np.diag([1.0, 0.0, 2.0]).astype(np.float32)), name="w")
        self.slogdet = SLogDet()

    def construct(self, hr, lr):
        _, log_abs_det = self.slogdet(ops.Reshape()(self.w, (1, 3, 3)))
        return ops.ReduceMean()(hr * lr, (1, 2, 3)) - log_abs_det


class GlobalNorm(nn.Cell):
    """(gradients...) -> their 2-norm, as a TrainStep computes it."""

    def __init__(self, step):
        super().__init__()
        self.norm = step.global_norm

    def construct(self, *grads):
        return self.norm(grads)


def parameter(name, values):
    return Parameter(Tensor(np.array(values, np.float32).reshape(1, 3, 1, 1)), name=name)


def batch(seed=0, images=2):
    random = np.random.RandomState(seed)
    return [random.standard_normal((images, 3, 4, 5)).astype(np.float32) for _ in range(2)]


def call(step, hr, lr, rate):
    loss, norm, finite = step(Tensor(hr), Tensor(lr), Tensor(np.float32(rate)))
    return float(loss.asnumpy()), float(norm.asnumpy()), bool(finite.asnumpy())


def everything(loss, optimizers):
    """Copies of all parameters and of the optimizers' state."""
    values = arrays(loss)
    for optimizer in optimizers:
        values.update({name: value.copy() for name, value in optimizer.state_arrays().items()})
    return values


@pytest.fixture(name="mode", params=sorted(MODES))
def fixture_mode(request):
    context.set_context(mode=MODES[request.param])
    return request.param


# ---------------------------------------------------------------------------------------------------------------------
# Adam


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-9, 1e4])
def test_adam_is_pytorchs(size, weight_decay, mode):
    """Tiny gradients tell ε on √v̂ from ε on √v: at 1e-9 the latter makes the first steps about 30 times too small."""
    random = np.random.RandomState(1)
    start = [random.standard_normal(shape) * 0.1 for shape in ((3, 4), (5,))]
    params = [Parameter(Tensor(value.astype(np.float32)), name=f"p{i}") for i, value in enumerate(start)]
    optimizer = Adam(params, "test", BETA1, BETA2, weight_decay)
    reference = AdamReference([p.asnumpy() for p in params], weight_decay=weight_decay)
    for step in range(6):
        rate = 0.01 / (step + 1)
        grads = [(size * random.standard_normal(value.shape)).astype(np.float32) for value in start]
        optimizer(tuple(Tensor(grad) for grad in grads), Tensor(np.float32(rate)))
        reference.step(grads, rate)
        for param, first, expected in zip(params, start, reference.values):
            moved, expected_move = param.asnumpy() - first, expected - first
            np.testing.assert_allclose(moved, expected_move, rtol=1e-3, atol=2e-7)
    assert float(optimizer.steps.asnumpy()) == 6
    for came, expected in zip(list(optimizer.m) + list(optimizer.v), reference.m + reference.v):
        np.testing.assert_allclose(came.asnumpy(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_other_betas_reach_the_update():
    param = Parameter(Tensor(np.ones(3, np.float32)), name="p")
    optimizer, reference = Adam([param], "test", 0.5, 0.9), AdamReference([np.ones(3)], 0.5, 0.9)
    for grad in ([1.0, -2.0, 0.1], [-3.0, 0.5, 0.0], [0.1, 0.1, 0.1]):
        optimizer((Tensor(np.array(grad, np.float32)),), Tensor(np.float32(0.1)))
        reference.step([grad], 0.1)
    np.testing.assert_allclose(param.asnumpy(), reference.values[0], rtol=1e-5)


def test_bias_correction_late_in_a_run():
    """β2^t in float32 stays exact enough after many steps: the state is restored as from a checkpoint."""
    param = Parameter(Tensor(np.zeros(2, np.float32)), name="p")
    optimizer, reference = Adam([param], "test", BETA1, BETA2), AdamReference([np.zeros(2)])
    optimizer.steps.set_data(Tensor(np.float32(150000)))
    optimizer.v[0].set_data(Tensor(np.array([1e-4, 1e-12], np.float32)))
    reference.steps, reference.v = 150000, [np.array([1e-4, 1e-12])]
    optimizer((Tensor(np.array([1e-2, 1e-6], np.float32)),), Tensor(np.float32(1e-3)))
    reference.step([[1e-2, 1e-6]], 1e-3)
    np.testing.assert_allclose(param.asnumpy(), reference.values[0], rtol=1e-4)


def test_names_of_the_state():
    optimizer = Adam([parameter("a.gain", [1, 2, 3])], "flow", BETA1, BETA2)
    assert [state.name for state in optimizer.state()] == [
        "optimizer.flow.m.a.gain",
        "optimizer.flow.v.a.gain",
        "optimizer.flow.steps",
    ]
    assert not any(state.requires_grad for state in optimizer.state())


# ---------------------------------------------------------------------------------------------------------------------
# The training step


def test_steps_follow_the_reference(mode):
    loss_cell = Affine()
    step = TrainStep(loss_cell, [Adam([loss_cell.gain, loss_cell.offset], "all", BETA1, BETA2)])
    reference = AdamReference([loss_cell.gain.asnumpy(), loss_cell.offset.asnumpy()])
    for i in range(5):
        hr, lr = batch(i)
        expected_loss, grads = Affine.reference(*reference.values, hr, lr)
        loss, norm, finite = call(step, hr, lr, 0.05)
        assert finite is True
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert norm == pytest.approx(np.sqrt(sum((grad**2).sum() for grad in grads)), rel=1e-5)
        reference.step(grads, 0.05)
        np.testing.assert_allclose(loss_cell.gain.asnumpy(), reference.values[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(loss_cell.offset.asnumpy(), reference.values[1], rtol=1e-5, atol=1e-6)


def test_norm_of_many_numbers(mode):
    """Of as many as a stack of the full network has; float32 summed one after the other would be off by a percent."""
    grads = [
        np.random.RandomState(i).standard_normal(shape).astype(np.float32)
        for i, shape in enumerate([(60, 100, 800), (5,), (1, 3, 1, 1)])
    ]
    loss_cell = Affine()
    norm = GlobalNorm(TrainStep(loss_cell, [Adam([loss_cell.gain], "all", BETA1, BETA2)]))
    expected = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads))
    assert float(norm(*[Tensor(grad) for grad in grads]).asnumpy()) == pytest.approx(expected, rel=1e-5)


def test_running_a_step_from_arrays():
    context.set_context(mode=context.GRAPH_MODE)
    results = []
    for run in (True, False):
        loss_cell = Affine()
        step = TrainStep(loss_cell, [Adam([loss_cell.gain, loss_cell.offset], "all", BETA1, BETA2)])
        outputs = [step.run(*batch(i), 0.05) if run else call(step, *batch(i), 0.05) for i in range(2)]
        assert all([type(value) for value in output] == [float, float, bool] for output in outputs)
        results.append((outputs, everything(loss_cell, step.optimizers)))
    (outputs, values), (expected, expected_values) = results
    assert outputs == expected
    assert set(values) == set(expected_values) and len(values) == 7
    for name, value in expected_values.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e17, 1e30])
def test_a_step_that_is_not_finite_changes_nothing(bad, mode):
    """NaN, infinity, an overflow of the gradient's norm alone (1e17), and one of the loss (1e30)."""
    loss_cell = Affine()
    optimizers = [Adam([loss_cell.gain], "gain", BETA1, BETA2), Adam([loss_cell.offset], "offset", BETA1, BETA2)]
    step = TrainStep(loss_cell, optimizers, clip_norm=1.0)
    hr, lr = batch()
    assert call(step, hr, lr, 0.05)[2] is True
    before = everything(loss_cell, optimizers)
    bad_hr, bad_lr = hr.copy(), lr.copy()
    bad_hr[1, 2, 3, 4] = bad
    bad_lr[1, 2, 3, 4] = 1e5 if bad == 1e17 else bad
    loss, norm, finite = call(step, bad_hr, bad_lr, 0.05)
    assert finite is False
    assert not np.isfinite(loss + norm)
    assert np.isfinite(loss) == (bad == 1e17)
    after = everything(loss_cell, optimizers)
    assert sorted(after) == sorted(before)
    for name, value in before.items():
        assert after[name].tobytes() == value.tobytes(), name
    assert call(step, hr, lr, 0.05)[2] is True  # and training goes on
    assert float(optimizers[0].steps.asnumpy()) == 2


def test_a_singular_matrix_is_a_step_that_is_not_finite(mode):
    loss_cell = Singular()
    optimizer = Adam([loss_cell.w], "all", BETA1, BETA2)
    before = everything(loss_cell, [optimizer])
    loss, _, finite = call(TrainStep(loss_cell, [optimizer]), *batch(), 0.05)
    assert (loss, finite) == (np.inf, False)
    for name, value in everything(loss_cell, [optimizer]).items():
        assert value.tobytes() == before[name].tobytes(), name


@pytest.mark.parametrize("clip_norm", [0.01, 1e6])
def test_clipping(clip_norm, mode):
    """Adam's first step does not show the gradient's size; its first moment does."""
    loss_cell, (hr, lr) = Affine(), batch()
    optimizer = Adam([loss_cell.gain, loss_cell.offset], "all", BETA1, BETA2)
    _, grads = Affine.reference(loss_cell.gain.asnumpy(), loss_cell.offset.asnumpy(), hr, lr)
    expected_norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    _, norm, finite = call(TrainStep(loss_cell, [optimizer], clip_norm), hr, lr, 0.05)
    assert finite is True
    assert norm == pytest.approx(expected_norm, rel=1e-5)  # that before clipping
    scale = min(1.0, clip_norm / expected_norm)
    assert (scale < 1) == (clip_norm == 0.01)
    for moment, grad in zip(optimizer.m, grads):
        np.testing.assert_allclose(moment.asnumpy(), 0.1 * scale * grad, rtol=1e-3)


@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_a_scaled_loss_gives_the_same_step(clip_norm, mode):
    """Powers of two change no digit; what is returned is unscaled."""
    results = []
    for scale in (1.0, 1024.0):
        loss_cell = Affine()
        optimizer = Adam([loss_cell.gain, loss_cell.offset], "all", BETA1, BETA2)
        step = TrainStep(loss_cell, [optimizer], clip_norm, scaled=True)
        step.set_loss_scale(scale)
        results.append(call(step, *batch(), 0.05) + tuple(moment.asnumpy() for moment in optimizer.m))
        assert np.abs(results[-1][-1]).max() > 0
    for plain, scaled in zip(*results):
        np.testing.assert_allclose(scaled, plain, rtol=1e-6)


def test_a_loss_scale_that_overflows_is_a_step_that_is_not_finite(mode):
    loss_cell = Affine()
    step = TrainStep(loss_cell, [Adam([loss_cell.gain], "all", BETA1, BETA2)], scaled=True)
    step.set_loss_scale(2.0**127)
    assert call(step, *batch(), 0.05)[2] is False
    if mode == "pynative":
        # That of 1.7 takes a loss scale for a constant (docs/mindspore-1.7.md, 9).
        step = TrainStep(loss_cell, list(step.optimizers), scaled=True)
    step.set_loss_scale(2.0**10)
    assert call(step, *batch(), 0.05)[2] is True


def test_an_optimizer_that_starts_later_starts_afresh(mode):
    """As the encoder does that is frozen at first: its first update has the bias correction of step 1."""
    loss_cell = Affine()
    early = Adam([loss_cell.gain], "early", BETA1, BETA2)
    frozen = loss_cell.offset.asnumpy().copy()
    gain = AdamReference([loss_cell.gain.asnumpy()])
    step = TrainStep(loss_cell, [early])
    for i in range(3):
        hr, lr = batch(i)
        gain.step(Affine.reference(gain.values[0], frozen, hr, lr)[1][:1], 0.05)
        call(step, hr, lr, 0.05)
    assert loss_cell.offset.asnumpy().tobytes() == frozen.tobytes()
    late = Adam([loss_cell.offset], "late", BETA1, BETA2)
    offset = AdamReference([frozen])
    step = TrainStep(loss_cell, [early, late])
    for i in range(3, 6):
        hr, lr = batch(i)
        grads = Affine.reference(gain.values[0], offset.values[0], hr, lr)[1]
        gain.step(grads[:1], 0.05)
        offset.step(grads[1:], 0.05)
        call(step, hr, lr, 0.05)
        np.testing.assert_allclose(loss_cell.gain.asnumpy(), gain.values[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(loss_cell.offset.asnumpy(), offset.values[0], rtol=1e-5, atol=1e-6)
    assert (float(early.steps.asnumpy()), float(late.steps.asnumpy())) == (6, 3)


class Same(nn.Cell):
    """In the gradients' reducer's place: the other rank has the same."""

    def construct(self, grads):
        return grads


class Plus(nn.Cell):
    """In AllReduce's place: adds the other rank's loss."""

    def __init__(self, other):
        super().__init__()
        # No constant: with x + NaN, MindSpore was seen to leave the NaN out when it optimises the graph.
        self.other = Parameter(Tensor(np.float32(other)), name="other", requires_grad=False)

    def construct(self, loss):
        return loss + self.other


@pytest.mark.parametrize("other", [3.0, np.inf, np.nan])
def test_a_rank_whose_loss_is_not_finite_makes_all_skip_the_step(other):
    """Its gradients may be finite all the same; ranks that disagree on the step would drift apart for good."""
    hr, lr = batch()
    loss = Affine()
    optimizers = [Adam(list(loss.get_parameters()), "test", BETA1, BETA2)]
    step = TrainStep(loss, optimizers)
    own = Affine.reference(*[value.asnumpy() for value in (loss.gain, loss.offset)], hr, lr)[0]
    step.mean_over_ranks, step.sum_over_ranks, step.rank_size = Same(), Plus(other), 2
    before = everything(loss, optimizers)
    mean, _, finite = call(step, hr, lr, 0.1)
    after = everything(loss, optimizers)
    if np.isfinite(other):
        assert finite and mean == pytest.approx((own + other) / 2, rel=1e-6)
        assert (after["gain"] != before["gain"]).all()
    else:
        assert not finite
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)


# ---------------------------------------------------------------------------------------------------------------------
# A batch in slices

SLICES = 3


def make_step(kind, *arguments):
    """A TrainStep, or an AccumulatedTrainStep of SLICES slices."""
    return kind(*arguments) if kind is TrainStep else kind(*arguments, slices=SLICES)


@pytest.mark.parametrize("clip_norm, scaled", [(None, False), (0.5, True)])
def test_slices_train_as_the_whole_batch(clip_norm, scaled):
    """Over 20 steps. In one of them one slice is not finite: that step changes nothing, and leaves nothing behind."""
    results = []
    for kind in (TrainStep, AccumulatedTrainStep):
        loss_cell, outputs = Affine(), []
        optimizers = [Adam([loss_cell.gain], "gain", BETA1, BETA2), Adam([loss_cell.offset], "offset", BETA1, BETA2)]
        step = make_step(kind, loss_cell, optimizers, clip_norm, 1, scaled)
        for i in range(20):
            step.set_loss_scale(2.0 ** (8 + 3 * (i % 3)) if scaled else 1.0)
            hr, lr = batch(i, 2 * SLICES)
            if i == 7:
                hr[0, 1, 2, 3] = np.nan
            before = everything(loss_cell, optimizers)
            outputs.append(step.run(hr, lr, 0.05))
            assert [type(value) for value in outputs[-1]] == [float, float, bool]
            after = everything(loss_cell, optimizers)
            unchanged = {name for name, value in before.items() if value.tobytes() == after[name].tobytes()}
            assert unchanged == (set(before) if i == 7 else set())
        results.append((outputs, everything(loss_cell, optimizers)))
    assert not any(total.asnumpy().any() for total in step.totals)
    (expected, expected_values), (outputs, values) = results
    assert [finite for _, _, finite in outputs] == [i != 7 for i in range(20)]
    assert max(norm for _, norm, finite in outputs if finite) > 0.5
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert set(values) == set(expected_values) and len(values) == 8
    for name, value in expected_values.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_slices_with_an_optimizer_that_starts_later():
    """The step is made anew then, as train.py does, and goes on with the parameters that the first one left."""
    results = []
    for kind in (TrainStep, AccumulatedTrainStep):
        loss_cell, outputs = Affine(), []
        early, late = Adam([loss_cell.gain], "early", BETA1, BETA2), Adam([loss_cell.offset], "late", BETA1, BETA2)
        for optimizers in ([early], [early, late]):
            step = make_step(kind, loss_cell, optimizers)
            outputs += [step.run(*batch(len(outputs) + i, 2 * SLICES), 0.05) for i in range(3)]
        results.append((outputs, everything(loss_cell, [early, late])))
    (expected, expected_values), (outputs, values) = results
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    for name, value in expected_values.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


class PlusOne(nn.Cell):
    """In the gradients' reducer's place: what it adds tells how often it was asked."""

    def construct(self, grads):
        return grads[0] + 1.0, grads[1] + 1.0


@pytest.mark.parametrize("other", [3.0, np.inf])
def test_ranks_take_the_mean_once_for_all_slices(other):
    hr, lr = batch(0, 2 * SLICES)
    loss_cell = Affine()
    optimizer = Adam([loss_cell.gain, loss_cell.offset], "all", BETA1, BETA2)
    own, grads = Affine.reference(loss_cell.gain.asnumpy(), loss_cell.offset.asnumpy(), hr, lr)
    step = AccumulatedTrainStep(loss_cell, [optimizer], slices=SLICES)
    step.mean_over_ranks, step.sum_over_ranks, step.rank_size = PlusOne(), Plus(other), 2
    loss, norm, finite = step.run(hr, lr, 0.05)
    assert finite == np.isfinite(other)
    assert loss == pytest.approx((own + other) / 2, rel=1e-5)
    assert norm == pytest.approx(np.sqrt(sum(((grad + 1) ** 2).sum() for grad in grads)), rel=1e-5)
    for moment, grad in zip(optimizer.m, grads):
        np.testing.assert_allclose(moment.asnumpy(), 0.1 * (grad + 1) if finite else 0 * grad, rtol=1e-5)
