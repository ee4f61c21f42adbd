# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, survives JSON; losses and matrices that go wrong are told."""

import json
import time

import numpy as np
import pytest

from src.model_utils.options import options_from_dict
from src.training.progress import LossAlarm, Progress, TimedBatches, near_singular


def options(**values):
    return options_from_dict(dict({"scale": 4}, **values))


def test_progress_survives_its_checkpoint():
    opt = options(precision="float16", train={"loss_alarm_steps": 3})
    progress = Progress(opt)
    assert (progress.step, progress.actnorm_initialised, progress.skipped) == (0, False, 0)
    for number in range(150):
        progress.count(1.0 + number % 7, number % 40 != 5)
        if number % 40 != 5:
            progress.alarm.update(1.0 + number % 7)
        if number % 10 == 0:
            progress.take_mean_loss()
    again = Progress(opt, json.loads(json.dumps(progress.state())))
    for one in (progress, again):
        one.count(2.0, True)
        one.alarm.update(2.0)
    assert again.step == 151 and again.actnorm_initialised and again.skipped == 4
    assert again.loss_scale.state() == progress.loss_scale.state() == {"value": 2.0**11, "finite_steps": 25}
    assert again.alarm.state() == progress.alarm.state()
    assert again.take_mean_loss() == progress.take_mean_loss()
    assert again.take_mean_loss() != again.take_mean_loss()  # none since: NaN
    assert again.seconds() == pytest.approx(progress.seconds(), abs=1)


def test_steps_that_are_not_finite():
    progress = Progress(options())
    for finite in (True, False, False):
        progress.count(3.0 if finite else np.nan, finite)
    assert (progress.step, progress.skipped, progress.bad_in_row) == (3, 2, 2)
    state = json.loads(json.dumps(progress.state()))
    assert "loss_scale" not in state
    assert Progress(options(), state).bad_in_row == 0  # a resumed run is given its chance
    progress.count(5.0, True)
    assert progress.bad_in_row == 0 and progress.take_mean_loss() == 4.0


def test_a_checkpoint_of_an_earlier_version():
    progress = Progress(options(), {"step": 7, "actnorm_initialised": True})
    assert (progress.step, progress.skipped, progress.window) == (7, 0, [])


def warnings(losses, **settings):
    """[(index, message)] of an alarm that takes these losses."""
    alarm = LossAlarm(**dict({"multiple": 1.5, "steps": 5, "floor": 1.0, "smoothing": 1}, **settings))
    return [(index, message) for index, message in enumerate(map(alarm.update, losses)) if message]


@pytest.mark.parametrize("best, limit", [(10, 15), (1, 1.5), (0.1, 0.6), (0, 0.5), (-4, -2), (-0.5, 0)])
def test_how_high_is_too_high(best, limit):
    assert warnings([best + 1, best] + [limit - 0.01] * 50) == []
    ((index, message),) = warnings([best + 1, best] + [limit + 0.01] * 50)
    assert index == 6  # the fifth that is too high, and not again
    assert f"has been above {limit:.4g} for 5 steps; its best was {best:.4g}" in message


def test_a_loss_without_floor():
    assert warnings([0.02] + [0.029] * 9, floor=0.0) == []
    assert len(warnings([0.02] + [0.031] * 9, floor=0.0)) == 1


def test_for_long_means_in_a_row():
    assert warnings([1] + [9, 9, 9, 9, 1] * 5) == []
    assert [index for index, _ in warnings([1] + [9] * 7 + [1] + [9] * 7)] == [5, 13]


def test_wild_steps_are_smoothed():
    losses = [3.0 + 40 * (step % 50 == 0) for step in range(2000)]
    assert len(warnings(losses, steps=1)) > 5 and warnings(losses, steps=1, smoothing=100) == []
    assert len(warnings([3.0] * 500 + [6.0] * 500, steps=300, smoothing=100)) == 1


def test_no_alarm():
    assert warnings([1] + [99] * 20, multiple=None) == []


def test_matrices_that_are_near_singular():
    random = np.random.RandomState(0)
    rotation = np.linalg.qr(random.randn(6, 6))[0]
    parameters = {
        "layers.1.invconv.weight": rotation * [1, 1, 1, 1, 1, 0.9e-6],
        "layers.2.invconv.weight": rotation * [1, 1, 1, 1, 1, 1.1e-6],
        "layers.3.invconv.weight": rotation,
        "layers.4.invconv.weight": np.zeros((6, 6)),
        "layers.5.conv.weight": np.zeros((6, 6)),
    }
    found = near_singular({name: value.astype(np.float32) for name, value in parameters.items()})
    assert [name for name, _ in found] == ["layers.1.invconv.weight", "layers.4.invconv.weight"]
    assert found[0][1] == pytest.approx(1 / 0.9e-6, rel=0.2) and not found[1][1] < 1e6


def test_time_spent_waiting():
    def slow():
        for number in range(4):
            time.sleep(0.05)
            yield number

    batches = TimedBatches(slow())
    assert next(batches) == 0
    assert batches.share() > 0.9
    time.sleep(0.05)
    assert 0.3 < batches.share(restart=True) < 0.7
    time.sleep(0.02)
    assert batches.share() == 0
    assert list(batches) == [1, 2, 3]
    assert batches.share() > 0.5
