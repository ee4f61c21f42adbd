# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, and what its numbers say of its health."""

import math
import time

import numpy as np

from src.network_names import LARGE_CONDITION
from src.training.train_step import LossScale


class Progress:
    """What a run knows beside its parameters and optimizers; `state()` goes into its checkpoints.

    No random state is part of it. Order, crops, flips and noise of the data are functions of the seed and the step, and
    nothing else is random.

    Args:
        opt: Options of the run.
        state: the state in a checkpoint that the run goes on from; None: a new run.
        rank_size: number of processes that train together.

    Attributes:
        rank_size: as above.
        step: updates done.
        actnorm_initialised: whether the activation normalisations have their first values.
        skipped: number of steps so far that were not finite.
        bad_in_row: how many steps that were not finite came last, one after the other.
        window: losses since the last row of the log, NaN for a step that was skipped.
        loss_scale: LossScale.
        alarm: LossAlarm.
    """

    def __init__(self, opt, state=None, rank_size=1):
        state = state or {}
        settings = opt.train
        self.rank_size = rank_size
        self.step = state.get("step", 0)
        self.actnorm_initialised = state.get("actnorm_initialised", False)
        self.skipped, self.bad_in_row = state.get("skipped", 0), 0
        self.window = list(state.get("window", []))
        # A run in float32 has no loss scale. Nor have its checkpoints.
        self.loss_scale = LossScale(opt.precision == "float16", **state.get("loss_scale", {}))
        # Bits per pixel may be 0 or less, where a multiple means nothing. So they count as at least one bit.
        self.alarm = LossAlarm(
            settings.loss_alarm_multiple,
            settings.loss_alarm_steps,
            floor=1.0 if opt.model == "SRFlow" else 0.0,
            **state.get("loss_alarm", {}),
        )
        self._began = time.time() - state.get("seconds", 0.0)

    def count(self, loss, finite):
        """Note a step that was done.

        Args:
            loss: the step's loss.
            finite: whether loss and gradient were finite; otherwise the step changed no parameter.
        """
        self.step += 1
        self.actnorm_initialised = True
        self.loss_scale.update(finite)
        self.bad_in_row = 0 if finite else self.bad_in_row + 1
        self.skipped += not finite
        self.window.append(loss if finite else math.nan)

    def take_mean_loss(self):
        """Return the mean of the losses since the last call, NaN if none was finite."""
        losses, self.window = self.window, []
        return float(np.nanmean(losses)) if np.isfinite(losses).any() else math.nan

    def seconds(self):
        """Return the seconds that the run has taken, its earlier parts included."""
        return time.time() - self._began

    def state(self):
        """Return the part of a checkpoint's state from which the constructor continues."""
        state = {
            "step": self.step,
            "ranks": self.rank_size,
            "actnorm_initialised": self.actnorm_initialised,
            "skipped": self.skipped,
            "window": self.window,
            "seconds": self.seconds(),
            "loss_alarm": self.alarm.state(),
        }
        if self.loss_scale.dynamic:
            state["loss_scale"] = self.loss_scale.state()
        return state


class LossAlarm:
    """A warning when the loss has been far above its best for long.

    The loss is smoothed: mean ← mean + (loss − mean)/`smoothing`. The first `smoothing` steps make a plain mean. With b
    the lowest mean so far, the loss is too high above b + (multiple − 1)·max(|b|, floor). For b ≥ floor that is
    multiple·b.

    Args:
        multiple: times its best above which the loss is too high; None: the alarm never speaks.
        steps: how many steps in a row must be too high. Then the alarm speaks once, and again only after the loss has
            been lower.
        floor: the least size of b that counts, in the unit of the loss.
        smoothing: steps over which the loss is smoothed.
        seen, mean, best, high: state of an earlier alarm that this one continues, as `state` gives it.
    """

    def __init__(self, multiple, steps, floor, smoothing=100, seen=0, mean=0.0, best=None, high=0):
        self.multiple, self.steps, self.floor, self.smoothing = multiple, steps, floor, smoothing
        self.seen, self.mean, self.best, self.high = seen, mean, best, high

    def update(self, loss):
        """Take the loss of a finite step; return the warning, or None."""
        self.seen = min(self.seen + 1, self.smoothing)
        self.mean += (loss - self.mean) / self.seen
        if self.multiple is None or self.seen < self.smoothing:
            return None
        self.best = self.mean if self.best is None else min(self.best, self.mean)
        limit = self.best + (self.multiple - 1) * max(abs(self.best), self.floor)
        self.high = self.high + 1 if self.mean > limit else 0
        if self.high != self.steps:
            return None
        return (
            f"the training loss, {self.mean:.4g}, has been above {limit:.4g} for {self.steps} steps; its best was "
            f"{self.best:.4g}. Consider resuming from an earlier checkpoint with a smaller train.lr_G or with "
            "train.grad_clip_norm"
        )

    def state(self):
        """Return what continues the alarm, as arguments of the constructor."""
        return {"seen": self.seen, "mean": self.mean, "best": self.best, "high": self.high}


def near_singular(parameters, limit=LARGE_CONDITION):
    """Find the 1×1 convolutions that are about to lose their inverse.

    The condition number is the ratio of the largest and the smallest singular value, in float64.

    Args:
        parameters: name -> array; the weights are those named `*.invconv.weight`.
        limit: condition number up to which a weight is good.

    Returns:
        list of (name, condition number) of the others.
    """
    found = []
    for name, weight in parameters.items():
        if name.endswith("invconv.weight"):
            condition = float(np.linalg.cond(weight.astype(np.float64)))
            if not condition <= limit:
                found.append((name, condition))
    return found


class TimedBatches:
    """An iterator over batches that measures how long it waits for them."""

    def __init__(self, batches):
        self._batches = iter(batches)
        self._since, self._waited = time.time(), 0.0

    def __iter__(self):
        return self

    def __next__(self):
        began = time.time()
        try:
            return next(self._batches)
        finally:
            self._waited += time.time() - began

    def share(self, restart=False):
        """Return the share of the time that went into waiting, from 0 to 1.

        Args:
            restart: whether the next share is counted from now on; otherwise from the last restart, or the beginning.
        """
        now = time.time()
        share = self._waited / max(now - self._since, 1e-9)
        if restart:
            self._since, self._waited = now, 0.0
        return min(1.0, share)
