# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The processes that train together, and what they must agree on beside the gradients."""

import hashlib
import json

import numpy as np
from mindspore import Tensor, nn, ops

from src.model_utils.options import all_keys, flattened

OWN = ("device_id",)  # options that each process has for itself
DIGEST = 8  # bytes by which two values are told apart


class Ranks:
    """This process among those that train together.

    Args:
        rank_id: its number, from 0.
        size: number of processes. A single one agrees with itself, without communication.
    """

    def __init__(self, rank_id=0, size=1):
        self.rank_id, self.size = rank_id, size
        self._sum = _Sum() if size > 1 else None

    def gather(self, values):
        """Collect the values of all ranks. It returns when every rank has called it.

        Args:
            values: list of integers from 0 to 255, equally many on each rank.

        Returns:
            integers (size, number of values), the same on each rank.
        """
        table = np.zeros((self.size, len(values)), np.float32)  # the type that every device sums; bytes are exact in it
        table[self.rank_id] = values
        return (self._sum(Tensor(table)).asnumpy() if self._sum else table).astype(int)

    def share_stop(self, stop):
        """Let a signal that one rank has got stop all of them, after the same step.

        Args:
            stop: StopSignals of this process.

        Returns:
            whether to stop.
        """
        numbers = self.gather([stop.number or 0])[:, 0]
        if numbers.any():
            stop.adopt(int(numbers[numbers > 0][0]))
        return stop.requested

    def require_same(self, values, advice):
        """Refuse to go on where ranks differ.

        Args:
            values: list of (what it is, bytes), equally many on each rank.
            advice: the end of the error's line.

        Raises:
            ValueError: on every rank, naming the first of the values that differs and the rank that has another one
                than rank 0.
        """
        digests = b"".join(hashlib.sha256(value).digest()[:DIGEST] for _, value in values)
        table = self.gather(list(digests)).reshape(self.size, len(values), DIGEST)
        differs = (table != table[0]).any(axis=2)
        if differs.any():
            value = int(np.flatnonzero(differs.any(axis=0))[0])
            rank = int(np.flatnonzero(differs[:, value])[0])
            raise ValueError(f"{values[value][0]}: rank {rank} has another one than rank 0; {advice}")

    def require_same_options(self, opt):
        """Refuse to train where a rank was started with other options; only `device_id` is each rank's own."""
        values = flattened(opt)
        self.require_same(
            [(key, json.dumps(values.get(key)).encode()) for key in all_keys() if key not in OWN],
            "start all of them with the same options",
        )

    def require_same_arrays(self, arrays):
        """Refuse to train where a rank begins with other parameters or optimizer states.

        Args:
            arrays: name -> array.
        """
        self.require_same(
            [("all parameters together", b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))],
            "output_dir and the files of the configuration must be the same for all of them",
        )


class _Sum(nn.Cell):
    """The sum over the ranks."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.sum = ops.AllReduce()

    def construct(self, x):
        return self.sum(x)
