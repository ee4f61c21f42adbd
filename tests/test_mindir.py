# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MindIR of export.py, loaded by a process that has nothing of this code."""

import os
import subprocess
import sys

import mindspore
import numpy as np
import pytest
from helpers import arrays, normal, randomise
from mindspore import context

import export as export_program
from src.model.SRFlow import SRFlow, build_network
from src.model_utils.options import options_from_dict
from src.weights.checkpoint import INFERENCE, Checkpoint, write_checkpoint

LOADER = """
import mindspore, numpy as np, sys
from mindspore import Tensor, nn
given = np.load("given.npz")
mindspore.set_context(mode=mindspore.GRAPH_MODE)
graph = nn.GraphCell(mindspore.load("net.mindir"))
np.save("hr.npy", graph(*[Tensor(given[name]) for name in given.files]).asnumpy())
"""


@pytest.mark.skipif(mindspore.__version__.startswith("1."), reason="MindIR is written by MindSpore 2 only")
def test_mindir_gives_the_same_images(tmp_path):
    flow = {
        "K": 1,
        "additionalFlowNoAffine": 1,
        "stackRRDB": {"blocks": [0]},
        "CondAffineSeparatedAndCond": {"hidden_channels": 8},
    }
    opt = options_from_dict({"scale": 4, "network_G": {"nf": 8, "nb": 1, "gc": 4, "flow": flow}})
    net = randomise(build_network(opt))
    write_checkpoint(str(tmp_path / "net.ckpt"), Checkpoint(INFERENCE, opt, arrays(net), {"step": 0}))
    export_program.main(
        ["--ckpt", str(tmp_path / "net.ckpt"), "--file_format", "MINDIR", "--file_name", str(tmp_path / "net")]
        + ["--height", "6", "--width", "8"]
    )
    lr = (0.2 * normal(1, 1, 3, 6, 8) + 0.5).clip(0, 1)
    latents = [0.5 * normal(2, 1, 6, 12, 16), 0.5 * normal(3, 1, 96, 3, 4)]
    np.savez(str(tmp_path / "given.npz"), lr=lr, split=latents[0], z=latents[1])
    done = subprocess.run([sys.executable, "-c", LOADER], cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    context.set_context(mode=context.PYNATIVE_MODE)
    expected = SRFlow(net, implementation="plain").decode(lr, latents)
    np.testing.assert_allclose(np.load(str(tmp_path / "hr.npy")), expected, rtol=0, atol=1e-4)
    assert sorted(os.listdir(str(tmp_path))) == ["given.npz", "hr.npy", "net.ckpt", "net.mindir"]
