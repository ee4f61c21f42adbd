# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever checkpoint people have, `SRFlow.from_checkpoint` and train2test.py take it."""

import os

import numpy as np
import pytest
from helpers import arrays, golden, golden_images, golden_path, golden_state
from mindspore import context
from programs import REPO, run
from seeded_weights import seeded_state
from test_torch_file import save_legacy
from test_weight_files import described, halved, metadata_in, network_arrays, port_names, save_described, save_mindspore

import eval as eval_program
from src.model.SRFlow import SRFlow, build_network
from src.model_utils.config import get_config
from src.model_utils.options import load_options
from src.weights.checkpoint import CheckpointError, parameter_arrays, read_checkpoint
from src.weights.torch_file import read_pth
from src.weights.weight_files import read_any, write_any

FULL = os.path.join(REPO, "SRFlow_DF2K_4X.yml")
LEVELS = (20, 19, 19)  # layers of the levels of the published 4X network, squeezes and split included


@pytest.fixture(autouse=True)
def pynative_mode():
    context.set_context(mode=context.PYNATIVE_MODE)  # nothing to compile


def test_the_official_checkpoint_decodes_the_recorded_sample():
    data = golden("tiny_eval.npz")
    model = SRFlow.from_checkpoint(golden_path("tiny_trained.pth"))
    context.set_context(mode=context.PYNATIVE_MODE)
    _, lr = golden_images(data)
    sr = model.decode(lr, [data["sample_eps"], data["sample_z"]])
    np.testing.assert_allclose(sr, data["sample_sr"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("form", ["legacy", "safetensors", "pth"])
def test_other_forms_give_the_same_network(form, tmp_path):
    expected = golden_state("tiny_trained.pth")
    path = str(tmp_path / ("weights." + form))
    if form == "legacy":
        save_legacy(path, read_pth(golden_path("tiny_trained.pth")))
    else:
        write_any(path, expected)
    model = SRFlow.from_checkpoint(path)
    for name, value in arrays(model.net).items():
        assert value.tobytes() == expected[name].tobytes(), name


@pytest.fixture(name="full", scope="module")
def fixture_full():
    """Seeded weights of the published 4X network."""
    net = build_network(load_options(FULL))
    return seeded_state({parameter.name: tuple(parameter.shape) for parameter in net.get_parameters()}, 3)


@pytest.mark.parametrize("is_test", [False, True])
def test_the_earlier_ports_checkpoints(is_test, full, tmp_path):
    """Train and test kind, of the published size; re-inverted, the 1×1 weights are what they were."""
    path = save_mindspore(tmp_path / "DF2K_4X.ckpt", port_names(full, LEVELS, is_test))
    checkpoint = read_any(path, load_options(FULL))
    assert checkpoint.state["source"] == "earlier port, " + ("test" if is_test else "training")
    assert any("condition number" in note for note in checkpoint.state["notes"]) == is_test
    assert checkpoint.options == load_options(FULL)
    assert read_any(path).options.network_G == load_options(FULL).network_G  # what names and shapes tell
    for name, value in checkpoint.arrays.items():
        np.testing.assert_allclose(value, full[name], rtol=1e-4, atol=1e-5 * np.abs(full[name]).max(), err_msg=name)
    assert set(full) - set(checkpoint.arrays) == {
        f"RRDB.{layer}.{kind}" for layer in ("HRconv", "conv_last") for kind in ("weight", "bias")
    }


def test_a_whole_network_of_the_earlier_port(full, tmp_path):
    path = save_mindspore(tmp_path / "DF2K_4X_train.ckpt", port_names(full, LEVELS, False))
    model = SRFlow.from_checkpoint(path, FULL)
    assert any("HRconv" in note for note in model.notes)
    for name, value in arrays(model.net).items():
        if not name.startswith(("RRDB.HRconv", "RRDB.conv_last")):
            assert value.tobytes() == full[name].tobytes(), name


@pytest.fixture(name="tiny_yml")
def fixture_tiny_yml(tmp_path):
    path = tmp_path / "tiny.yml"
    path.write_text("scale: 4\nnetwork_G: {nb: 4, flow: {K: 2, stackRRDB: {blocks: [0, 1, 2, 3]}}}\n")
    return path


def test_conversion_both_ways(tiny_yml, tmp_path, capfd):
    """.pth to an inference checkpoint, and to .safetensors and .pth again, bit for bit."""
    source, expected = golden_path("tiny_trained.pth"), golden_state("tiny_trained.pth")
    for name in ("test.ckpt", "again.pth", "again.safetensors"):
        assert run("train2test", "--opt", tiny_yml, "--train_path", source, "--test_path", tmp_path / name) == 0
        assert "from: official SRFlow" in capfd.readouterr().out
    assert read_checkpoint(tmp_path / "test.ckpt").kind == "inference"
    official = read_pth(golden_path("tiny_trained.pth"))
    again = read_pth(tmp_path / "again.pth")
    assert list(again) == list(official) and {name: value.shape for name, value in again.items()} == {
        name: value.shape for name, value in official.items()
    }  # what strict loading compares
    for name in ("again.pth", "again.safetensors"):
        for key, value in read_any(tmp_path / name).arrays.items():
            assert value.tobytes() == expected[key].tobytes(), key


@pytest.fixture(name="own")
def fixture_own(tmp_path):
    """A file that describes itself, of a network with K 2 and eps 0.05, its convolutions in float16."""
    return save_described(tmp_path / "own.safetensors", described(network_arrays()), float16=True)


def eps_of(net):
    return {step.affine.eps for step in net.flowUpsamplerNet.steps if hasattr(step, "affine") and step.affine}


def assert_own_network(model):
    assert eps_of(model.net) == {0.05} and model.quant == 16 and model.notes == []
    for name, value in halved(network_arrays()).items():
        assert arrays(model.net)[name].tobytes() == value.tobytes(), name


def test_a_file_that_describes_itself_needs_no_configuration(own):
    assert_own_network(SRFlow.from_checkpoint(own))


def test_a_configuration_of_another_network(own, tiny_yml):
    """eval.py takes the file's own network, as of our checkpoints; only the scale must agree. Python is told."""
    argv = ["--opt", str(tiny_yml), "--ckpt", own, "--device_target", "CPU", "--lr_dir", "any", "--set"]
    args, opt = get_config("eval", argv + ["network_G.flow.K=5", "datasets.train.quant=32"])
    context.set_context(mode=context.PYNATIVE_MODE)
    model = eval_program.load_model(args, opt)
    assert_own_network(model)
    args, opt = get_config("eval", argv + ["scale=8", "network_G.flow.L=4"])
    with pytest.raises(ValueError, match="scale: the configuration says 8, .* is one of 4"):
        eval_program.load_model(args, opt)
    with pytest.raises(CheckpointError, match="than the configuration's; they differ in .*eps.*network_G.nf"):
        SRFlow.from_checkpoint(own, opt=str(tiny_yml))


def test_where_weights_of_another_program_come_from(tiny_yml, tmp_path, capfd):
    """The file says it again when it is converted on."""
    source = golden_path("tiny_trained.pth")
    for name in ("a.safetensors", "b.safetensors", "c.ckpt"):
        assert run("train2test", "--opt", tiny_yml, "--train_path", source, "--test_path", tmp_path / name) == 0
        assert capfd.readouterr().out.endswith(" MB, from: official SRFlow\n")
        source = tmp_path / name
    assert metadata_in(tmp_path / "b.safetensors")["source"] == "official SRFlow"
    assert read_checkpoint(tmp_path / "c.ckpt").state["source"] == "official SRFlow"


def test_another_network_is_explained(tiny_yml, tmp_path, capfd):
    source = golden_path("tiny_8x.pth")
    assert run("train2test", "--opt", tiny_yml, "--train_path", source, "--test_path", tmp_path / "a.ckpt") == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "file: scale 8" in line and "network: scale 4" in line
    with pytest.raises(CheckpointError, match="file: scale 8.*; network: scale 4"):
        SRFlow.from_checkpoint(source, opt=str(tiny_yml))


def test_an_encoder_alone_is_no_network(tmp_path):
    weights = {name: value for name, value in golden_state("tiny_trained.pth").items() if name.startswith("RRDB.")}
    write_any(tmp_path / "RRDB.pth", weights)
    assert "conv_first.weight" in read_pth(tmp_path / "RRDB.pth")
    with pytest.raises(CheckpointError, match="RRDB.pth: an RRDB checkpoint, expected one of SRFlow"):
        SRFlow.from_checkpoint(tmp_path / "RRDB.pth")


def test_blocks_that_only_a_configuration_can_tell(tiny_yml, tmp_path):
    """Three of five blocks condition this flow; the file does not say which."""
    options = load_options(
        str(tiny_yml),
        ["network_G.nb=5", "network_G.nf=4", "network_G.gc=2", "network_G.flow.stackRRDB.blocks=[0, 2, 4]"],
    )
    write_any(tmp_path / "a.pth", parameter_arrays(build_network(options)))
    with pytest.raises(CheckpointError, match="3 of 5 RRDB blocks condition the flow, but the file does not tell"):
        read_any(tmp_path / "a.pth")
    assert read_any(tmp_path / "a.pth", options).options == options
