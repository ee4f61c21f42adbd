# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""train.py as one of several processes, to some of which something happens; its last line is a digest of what it has.

SRFLOW_TEST_SABOTAGE in the environment says what: "RANK STEP ACTION" or several with commas between them. ACTION is
`nan` (the batch of that step is not finite), `kill` (SIGKILL), or `term` (SIGTERM to the launcher, and waiting until it
has come back).
"""

import hashlib
import os
import signal
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from sabotage import at_step

import train
from src.model_utils.local_adapter import get_rank_id, is_scheduler
from src.model_utils.util import run_main

ACTIONS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "term": lambda: os.kill(os.getppid(), signal.SIGTERM)}


def sabotages():
    """(step, action) of each of those that are meant for this rank."""
    found = [text.split() for text in os.environ.get("SRFLOW_TEST_SABOTAGE", "").split(",") if text]
    return [(int(step), action) for rank, step, action in found if int(rank) == get_rank_id()]


def not_finite_at(step):
    """`pairs` whose batch of a step (from 1) is NaN."""

    def wrap(pairs):
        def sabotaged(opt, data, start):
            for number, (hr, lr) in enumerate(pairs(opt, data, start), start=start + 1):
                yield hr, (lr * np.float32("nan") if number == step else lr)

        return sabotaged

    return wrap


def main():
    if is_scheduler():
        return train.main()
    for step, action in sabotages():
        wrap = not_finite_at(step) if action == "nan" else at_step(step, ACTIONS[action])
        train.pairs = wrap(train.pairs)
    begin, seen = train.begin_or_resume, []

    def remember(opt, folder, net, *rest):
        progress, optimizers = begin(opt, folder, net, *rest)
        seen.append((net, optimizers))
        return progress, optimizers

    train.begin_or_resume = remember
    status = train.main()
    net, optimizers = seen[0]
    for optimizer in optimizers.values():
        optimizer.write_back()
    arrays = train.all_arrays(net, optimizers)
    digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
    print(f"\ndigest {digest}", flush=True)
    return status


if __name__ == "__main__":
    run_main(main)
