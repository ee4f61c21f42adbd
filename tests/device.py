# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The device that the tests compute on: the CPU, unless the environment names another.

SRFLOW_TEST_DEVICE is GPU, CPU or Ascend, and DEVICE_ID, as for the programs, its number. scripts/check_device.sh sets
both for the tests that make sense on any device; some others say what is so on a CPU only.
"""

import os

TARGET = os.environ.get("SRFLOW_TEST_DEVICE", "CPU")
NUMBER = int(os.environ.get("DEVICE_ID", "0"))
