# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The weights that come with the repository: that they are the network of their configuration, and what the card says.

The official code loads strictly what has the names and shapes of `shapes_of` (tests/test_train2test.py compares these
with its own for a small network).
"""

import os
import re
from hashlib import sha256

import numpy as np
import pytest
from safetensors.numpy import load_file

from src.model_utils.options import load_options, network_settings
from src.network_names import shapes_of
from src.weights.weight_files import read_any


@pytest.fixture(name="path", scope="module")
def fixture_path(repo):
    return os.path.join(repo, "weights", "SRFlow_free_4X.safetensors")


@pytest.fixture(name="opt", scope="module")
def fixture_opt(repo):
    return load_options(os.path.join(repo, "configs", "SRFlow_free_4X.yml"))


def test_it_is_the_network_of_its_configuration(path, opt):
    checkpoint = read_any(path)
    assert network_settings(checkpoint.options) == network_settings(opt)
    arrays = checkpoint.parameters()
    assert {name: value.shape for name, value in arrays.items()} == shapes_of(opt)
    assert all(np.isfinite(value).all() for value in arrays.values())


def test_only_convolutions_are_halved(path):
    arrays = load_file(path)
    assert {value.dtype for value in arrays.values()} == {np.dtype("float16"), np.dtype("float32")}
    for name, value in arrays.items():
        assert (value.dtype == np.float16) == (value.ndim == 4 and name.endswith(".weight")), name


def test_the_card_names_this_file(repo, path):
    with open(path, "rb") as file:
        content = file.read()
    with open(os.path.join(repo, "weights", "README.md"), encoding="utf-8") as file:
        (row,) = re.findall(r"^\| `SRFlow_free_4X.safetensors` \| ([\d,]+) \| `(\w+)` \|$", file.read(), re.MULTILINE)
    assert row == (f"{len(content):,}", sha256(content).hexdigest())
