# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion for inference."""

import os

import numpy as np
import pytest
from programs import fixture_base, fixture_converted, fixture_pretrained, fixture_trained, run  # noqa: F401
from test_weight_files import halved

from src.model_utils.options import options_from_dict
from src.network_names import IMAGE_ONLY, to_official
from src.weights.checkpoint import INFERENCE, read_checkpoint, write_checkpoint
from src.weights.torch_file import read_pth
from src.weights.weight_files import read_any


def convert(base, source, target, *arguments):
    return run(
        "train2test",
        "--opt",
        os.path.join(base, "SRFlow.yml"),
        "--train_path",
        source,
        "--test_path",
        target,
        *arguments,
    )


def test_it_holds_the_parameters_without_what_makes_the_encoders_image(trained, converted):
    before, after = read_checkpoint(trained.paths[4]).parameters(), read_checkpoint(converted).arrays
    assert set(before) - set(after) == {
        f"RRDB.{layer}.{kind}" for layer in ("HRconv", "conv_last") for kind in ("weight", "bias")
    }
    for name, value in after.items():
        assert value.tobytes() == before[name].tobytes(), name


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
    assert captured.out.startswith(f"wrote {target}: {count} arrays, ")
    assert captured.out.endswith(" MB, trained for 2 steps\n")
    assert os.listdir(str(tmp_path / "new")) == ["SRFlow.ckpt"]


@pytest.mark.parametrize(
    "name, kind",
    [
        ("model", "inference"),
        ("model.v1", "inference"),
        ("model.ckpt.1", "inference"),
        ("model.pt", "PyTorch"),
        ("model.pth", "PyTorch"),
    ],
)
def test_the_name_that_was_typed(trained, base, tmp_path, capfd, name, kind):
    """And nothing else is left in the folder."""
    target = tmp_path / name
    assert convert(base, trained.paths[2], target) == 0
    assert capfd.readouterr().err == ""
    assert os.listdir(str(tmp_path)) == [name]
    if kind == "inference":
        assert read_checkpoint(target).kind == INFERENCE
    else:
        expected = read_checkpoint(trained.paths[2]).parameters()
        assert set(expected) <= set(read_pth(target))


def test_a_pretrained_encoder_for_pytorch(pretrained, trained, base, tmp_path, capfd):
    """Its configuration says that it is an encoder alone; a whole network is refused there."""
    arguments = ["train2test", "--opt", os.path.join(base, "RRDB.yml"), "--test_path", tmp_path / "RRDB.pth"]
    assert run(*arguments, "--train_path", trained.paths[4]) == 2
    assert "expected a training checkpoint of model RRDB, as the configuration says" in capfd.readouterr().err
    assert not os.listdir(str(tmp_path))
    assert run(*arguments, "--train_path", pretrained.paths[4]) == 0
    assert capfd.readouterr().out.endswith(" MB, trained for 4 steps\n")
    expected, written = read_checkpoint(pretrained.paths[4]).parameters(), read_pth(tmp_path / "RRDB.pth")
    assert sorted(written) == sorted(expected)
    for name, value in written.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


ABOUT = "photographs\x1b[2J\nof birds " + "and bees " * 30


def test_a_file_to_hand_on(trained, base, tmp_path, capfd):
    """Half the size, the encoder's image included; what it says of itself goes along into every format."""
    shared = tmp_path / "shared.safetensors"
    assert convert(base, trained.paths[4], shared, "--float16", "--about", ABOUT, "--set", "heat=0.7") == 0
    assert read_any(shared).options.heat == 0.7 != read_checkpoint(trained.paths[4]).options.heat
    line = capfd.readouterr().out
    shown = "trained for 4 steps; about: photographs [2J of birds and bees"
    size = f" arrays, {os.path.getsize(str(shared)) / 1e6:.1f} MB, "
    assert size + shown in line and line.endswith(" …\n") and len(line) < 500 and line[:-1].isprintable()
    trained_arrays = read_checkpoint(trained.paths[4]).parameters()
    expected = halved(trained_arrays)
    for name in ("again.safetensors", "again.pth", "again.ckpt"):
        target = tmp_path / name
        assert convert(base, shared, target) == 0
        captured = capfd.readouterr()
        assert captured.err == "" and shown in captured.out and captured.out.count("\n") == 1
        checkpoint = read_any(target)
        assert (checkpoint.state["step"], checkpoint.state.get("about")) == (
            (0, None) if ".pth" in name else (4, ABOUT)
        )
        left = {key for key in expected if not key.startswith(IMAGE_ONLY)} if ".ckpt" in name else set(expected)
        assert set(checkpoint.arrays) == left
        for key in left:
            assert checkpoint.arrays[key].tobytes() == expected[key].tobytes(), key
    assert list(read_pth(tmp_path / "again.pth")) == list(to_official(trained_arrays))  # as strict loading wants them


def test_a_text_is_replaced_or_removed(trained, base, tmp_path):
    source = trained.paths[4]
    for about, expected in (("one", "one"), (None, "one"), ("two", "two"), ("", None)):
        target = tmp_path / f"{about}.safetensors"
        assert convert(base, source, target, *([] if about is None else ["--about", about])) == 0
        assert read_any(target).state.get("about") == expected
        source = target


def test_a_file_keeps_its_own_network(trained, base, tmp_path, capfd):
    """A configuration of other shapes is refused; what shapes do not show is the file's, as in a checkpoint."""
    eps = "network_G.flow.CondAffineSeparatedAndCond.eps"
    checkpoint, source = read_checkpoint(trained.paths[4]), tmp_path / "source.ckpt"
    settings = checkpoint.options.to_dict()
    settings["network_G"]["flow"]["CondAffineSeparatedAndCond"]["eps"] = 0.05
    write_checkpoint(source, checkpoint._replace(options=options_from_dict(settings)))
    for name in ("a.safetensors", "b.safetensors", "c.ckpt"):
        assert convert(base, source, tmp_path / name, "--set", eps + "=0.001") == 0
        source = tmp_path / name
        assert read_any(source).options.network_G.flow.CondAffineSeparatedAndCond.eps == 0.05
    capfd.readouterr()
    assert convert(base, tmp_path / "a.safetensors", tmp_path / "d.pth", "--set", "network_G.flow.K=2") == 2
    assert "file: K 1; network: K 2" in capfd.readouterr().err


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("a.pth", ["--float16"], "--float16: only a file NAME.safetensors has weights in float16, got "),
        ("a.ckpt", ["--float16"], "--float16: only a file NAME.safetensors has weights in float16, got "),
        ("a.pt", ["--about", "text"], "--about: a file of PyTorch has no place for it, got "),
        ("a.ckpt", ["--about", "x" * 10001], "--about: expected at most 10000 characters in UTF-8, got xxx"),
        ("a.safetensors", ["--about", "a\udce4"], "--about: expected at most 10000 characters in UTF-8, got a\\xe4"),
    ],
)
def test_what_a_file_has_no_place_for(trained, base, tmp_path, capfd, name, arguments, words):
    assert convert(base, trained.paths[4], tmp_path / name, *arguments) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert not os.listdir(str(tmp_path))


def damaged(trained, tmp_path, value):
    """A training checkpoint one of whose 1x1 weights is all the same value."""
    checkpoint = read_checkpoint(trained.paths[4])
    arrays = dict(checkpoint.arrays)
    (name,) = [name for name in checkpoint.parameters() if name.endswith("layers.1.invconv.weight")]
    arrays[name] = np.full_like(arrays[name], value)
    path = str(tmp_path / "damaged.ckpt")
    write_checkpoint(path, checkpoint._replace(arrays=arrays))
    return path


@pytest.mark.parametrize(
    "case, words",
    [
        ("inference", "expected a training checkpoint of model SRFlow, got inference checkpoint of model SRFlow"),
        ("RRDB", "expected a training checkpoint of model SRFlow, got training checkpoint of model RRDB"),
        ("nan", "has values that are not finite"),
        ("singular", "flowUpsamplerNet.layers.1.invconv.weight: a singular matrix"),
        ("network", "missing: flowUpsamplerNet."),
        ("encoder's configuration", "network_G.flow: missing"),
        ("missing", "none.ckpt: no such file"),
        ("same", "names the training checkpoint itself"),
    ],
)
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
