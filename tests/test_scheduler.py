# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules against closed forms."""

import math

import pytest

from src.model_utils.options import options_from_dict
from src.scheduler.scheduler import CosineAnnealingLRRestart, MultiStepLR, WarmUp, make_schedule


def train_options(**train):
    return options_from_dict({"scale": 4, "train": train}).train


@pytest.mark.parametrize(
    "step, halvings",
    [(0, 0), (99999, 0), (100000, 1), (149999, 1), (150000, 2), (179999, 2), (180000, 3), (190000, 4), (199999, 4)],
)
def test_the_published_schedule(step, halvings):
    """Halved at 50, 75, 90 and 95 % of 200,000 steps."""
    assert make_schedule(train_options())(step) == pytest.approx(2.5e-4 / 2**halvings, rel=1e-12)


def test_milestones_follow_niter():
    schedule = make_schedule(train_options(niter=11, lr_steps_rel=[0.5], lr_gamma=0.1, lr_G=1.0))
    assert [schedule(step) for step in range(11)] == pytest.approx([1.0] * 6 + [0.1] * 5)  # 5.5 is rounded to even


def test_milestones_in_any_order():
    schedule = MultiStepLR(1.0, [4, 2, 2], 0.5)
    assert [schedule(step) for step in range(6)] == [1, 1, 0.25, 0.25, 0.125, 0.125]


def test_cosine_with_restarts():
    schedule = CosineAnnealingLRRestart(2e-4, 50000, 1e-7)
    middle = (2e-4 + 1e-7) / 2
    for restart in (0, 50000, 150000):
        assert schedule(restart) == pytest.approx(2e-4)
        assert schedule(restart + 25000) == pytest.approx(middle)
        assert schedule(restart + 49999) == pytest.approx(1e-7, rel=1e-3)
        quarter = 1e-7 + (2e-4 - 1e-7) * (1 + math.sqrt(0.5)) / 2
        assert schedule(restart + 12500) == pytest.approx(quarter)


def test_cosine_from_options():
    schedule = make_schedule(
        train_options(lr_scheme="CosineAnnealingLR_Restart", lr_G=1.0, restart_period=4, eta_min=0.0, niter=8)
    )
    one_period = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    assert [schedule(step) for step in range(8)] == pytest.approx(one_period * 2)


def test_warm_up_rises_linearly_and_then_leaves_the_schedule_alone():
    schedule = WarmUp(MultiStepLR(1.0, [6], 0.5), 4)
    assert [schedule(step) for step in range(8)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5])
    assert WarmUp(MultiStepLR(1.0, [], 0.5), 0)(0) == 1


def test_warm_up_from_options():
    schedule = make_schedule(train_options(warmup_iter=10, niter=100))
    assert schedule(0) == pytest.approx(2.5e-5)
    assert schedule(9) == schedule(10) == pytest.approx(2.5e-4)


def test_the_rate_depends_on_the_step_alone():
    """A resumed run asks for late steps first."""
    schedule = make_schedule(train_options(niter=100, warmup_iter=5))
    late = schedule(80)
    for step in range(80):
        schedule(step)
    assert schedule(80) == late
