# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Set-up of the whole suite: quiet MindSpore, one device, graph mode, nothing left in the working folder."""

import os
import shutil
import sys

os.environ.setdefault("GLOG_v", "3")  # errors only; MindSpore reads it when it is imported
REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REPO)

import device  # noqa: E402
import mindspore  # noqa: E402
import pytest  # noqa: E402
from mindspore import context  # noqa: E402

from src.model_utils.util import set_device  # noqa: E402

LITTER = ("rank_0", "kernel_meta", "somas_meta")  # folders that MindSpore makes in the working folder when it compiles


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """Everything runs on the CPU, or on the device that SRFLOW_TEST_DEVICE names."""
    set_device(device.TARGET, device.NUMBER)


@pytest.fixture(scope="session", autouse=True)
def no_litter():
    """Remove the folders that MindSpore makes in the working folder, unless they were there before."""
    folder = os.getcwd()
    made = [path for path in (os.path.join(folder, name) for name in LITTER) if not os.path.exists(path)]
    yield
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def graph_mode():
    """A test may switch to PyNative mode; the next one starts in graph mode again."""
    yield
    if context.get_context("mode") != mindspore.context.GRAPH_MODE:
        context.set_context(mode=mindspore.context.GRAPH_MODE)


@pytest.fixture(scope="session")
def repo():
    """Absolute path of the repository."""
    return REPO
