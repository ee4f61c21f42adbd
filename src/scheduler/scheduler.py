# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules: functions from the step, from 0 on, to the rate; a resumed run needs no state."""

import bisect
import math


def make_schedule(train):
    """Return the schedule that the `train` section of the options describes: a function from step to learning rate."""
    if train.lr_scheme == "MultiStepLR":
        milestones = [int(round(fraction * train.niter)) for fraction in train.lr_steps_rel]
        schedule = MultiStepLR(train.lr_G, milestones, train.lr_gamma)
    else:
        schedule = CosineAnnealingLRRestart(train.lr_G, train.restart_period, train.eta_min)
    return WarmUp(schedule, train.warmup_iter)


class MultiStepLR:
    """rate = base·gamma^m, m being the number of milestones (steps) reached."""

    def __init__(self, base, milestones, gamma):
        self.base, self.milestones, self.gamma = base, sorted(milestones), gamma

    def __call__(self, step):
        return self.base * self.gamma ** bisect.bisect_right(self.milestones, step)


class CosineAnnealingLRRestart:
    """rate = eta_min + (base − eta_min)·(1 + cos(π·t/period))/2, t = step mod period (SGDR, eq. 5)."""

    def __init__(self, base, period, eta_min):
        self.base, self.period, self.eta_min = base, period, eta_min

    def __call__(self, step):
        turn = math.pi * (step % self.period) / self.period
        return self.eta_min + (self.base - self.eta_min) * (1 + math.cos(turn)) / 2


class WarmUp:
    """Another schedule whose rate rises linearly over the first `steps` steps; none of them has rate 0."""

    def __init__(self, schedule, steps):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        return self.schedule(step) * min(1.0, (step + 1) / max(1, self.steps))
