# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion for inference."""
import os

import numpy as np
import pytest

from programs import fixture_base, fixture_converted, fixture_pretrained, fixture_trained  # noqa: F401
from programs import run
from src.model_utils.checkpoint import INFERENCE, read_checkpoint, write_checkpoint


def convert(base, source, target, *arguments):
    return run("train2test", "--opt", os.path.join(base, "SRFlow.yml"), "--train_path", source, "--test_path", target,
               *arguments)


def first_level(trained, converted):
    """Of the first level's transition-free network: values of its only step before, its mixing and coupling after."""
    prefix = "flowUpsamplerNet.layers.1."
    before = {name[len(prefix):]: value for name, value in trained.arrays(4).items() if name.startswith(prefix)}
    after = read_checkpoint(converted).arrays
    return before, [after[f"flow.0.2.{i}"][0] for i in range(5)], [after[f"flow.0.3.{i}"][0] for i in range(3)]


def test_actnorm_and_mixing_weight_are_folded_and_inverted(trained, converted):
    before, (matrix, shift, inverse, inverse_shift, log_abs_det), _ = first_level(trained, converted)
    weight, bias, logs = (before[name].astype(np.float64).squeeze() for name in ("invconv.weight", "actnorm.bias",
                                                                                 "actnorm.logs"))
    exact = weight * np.exp(logs)
    np.testing.assert_allclose(matrix[:, :, 0, 0], exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shift, exact @ bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverse[:, :, 0, 0] @ exact, np.eye(len(exact)), atol=1e-5)
    np.testing.assert_array_equal(inverse_shift, -before["actnorm.bias"].reshape(-1))
    np.testing.assert_allclose(log_abs_det, np.linalg.slogdet(exact)[1], rtol=1e-5, atol=1e-5)


def test_scales_and_biases_of_the_coupling_are_folded(trained, converted):
    """The biases are the weights of a first channel, constantly 1, which the second layer passes on."""
    before, _, (first, second, last) = first_level(trained, converted)
    kept = first.shape[1]
    np.testing.assert_array_equal(first[0], 0)
    np.testing.assert_array_equal(first[1:], before["affine.fAffine.0.weight"][:, :kept])
    scale = np.exp(before["affine.fAffine.0.actnorm.logs"].reshape(1, -1, 1, 1))
    np.testing.assert_array_equal(second[0, :, 0, 0], np.eye(len(second))[0])
    np.testing.assert_allclose(second[1:, 1:], before["affine.fAffine.2.weight"] * scale, rtol=1e-5)
    np.testing.assert_array_equal(second[1:, 0, 0, 0], before["affine.fAffine.2.actnorm.bias"].reshape(-1))
    out_scale = np.exp(3 * before["affine.fAffine.4.logs"].reshape(-1, 1, 1, 1))
    scale = np.exp(before["affine.fAffine.2.actnorm.logs"].reshape(1, -1, 1, 1)) * out_scale
    np.testing.assert_allclose(last[:, 1:], before["affine.fAffine.4.weight"] * scale, rtol=1e-5)
    expected = np.zeros_like(last[:, 0])
    expected[:, 1, 1] = before["affine.fAffine.4.bias"] * out_scale[:, 0, 0, 0] + np.tile([0, 2], len(last) // 2)
    np.testing.assert_allclose(last[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_it_knows_where_it_comes_from(trained, converted):
    checkpoint = read_checkpoint(converted)
    assert checkpoint.kind == INFERENCE
    assert checkpoint.state["step"] == 4
    assert checkpoint.options == read_checkpoint(trained.paths[4]).options
    assert not [name for name in checkpoint.arrays if name.startswith("optimizer.")]


def test_what_is_printed_and_written(trained, base, tmp_path, capfd):
    target = tmp_path / "new" / "SRFlow.ckpt"
    assert convert(base, trained.paths[2], target) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    count = len(read_checkpoint(target).arrays)
    assert captured.out.startswith("wrote {}: {} arrays, ".format(target, count))
    assert captured.out.endswith(" MB, trained for 2 steps\n")
    assert os.listdir(str(tmp_path / "new")) == ["SRFlow.ckpt"]


def damaged(trained, tmp_path, value):
    """A training checkpoint one of whose 1x1 weights is all the same value."""
    checkpoint = read_checkpoint(trained.paths[4])
    arrays = dict(checkpoint.arrays)
    name, = [name for name in checkpoint.parameters() if name.endswith("layers.1.invconv.weight")]
    arrays[name] = np.full_like(arrays[name], value)
    path = str(tmp_path / "damaged.ckpt")
    write_checkpoint(path, checkpoint._replace(arrays=arrays))
    return path


@pytest.mark.parametrize("case, words", [
    ("inference", "expected a training checkpoint of model SRFlow, got inference checkpoint of model SRFlow"),
    ("RRDB", "expected a training checkpoint of model SRFlow, got training checkpoint of model RRDB"),
    ("nan", "has values that are not finite"),
    ("singular", "flowUpsamplerNet.layers.1.invconv.weight: a singular matrix"),
    ("network", "missing: flowUpsamplerNet."),
    ("encoder's configuration", "network_G.flow: missing"),
    ("missing", "none.ckpt: no such file"),
    ("same", "names the training checkpoint itself"),
])
def test_refused(trained, pretrained, converted, base, tmp_path, capfd, case, words):
    """One line, status 2, and what is there already stays."""
    source, target, arguments = trained.paths[4], tmp_path / "SRFlow.ckpt", []
    target.write_text("an earlier conversion")
    if case == "inference":
        source = converted
    elif case == "RRDB":
        source = pretrained.paths[4]
    elif case in ("nan", "singular"):
        source = damaged(trained, tmp_path, {"nan": np.nan, "singular": 1}[case])
    elif case == "network":
        arguments = ["--set", "network_G.flow.K=2"]
    elif case == "encoder's configuration":
        arguments = ["--opt", os.path.join(base, "RRDB.yml")]
    elif case == "missing":
        source = tmp_path / "none.ckpt"
    elif case == "same":
        source = target
    capfd.readouterr()
    assert convert(base, source, target, *arguments) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and words in captured.err
    assert captured.out == ""
    assert target.read_text() == "an earlier conversion"
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith(".")]
