# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Things that happen to a run in the middle of a step: wrappers of train.py's `pairs`."""

import os
import signal


def at_step(step, action):
    """`pairs` that does something once, when the batch of a step (from 1) is fetched."""

    def wrap(pairs):
        def sabotaged(opt, data, start):
            for number, batch in enumerate(pairs(opt, data, start), start=start + 1):
                if number == step:
                    action()
                yield batch

        return sabotaged

    return wrap


def kill_at(step):
    """`pairs` that ends the process at once, with no chance to do anything."""
    return at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
