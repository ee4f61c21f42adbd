# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX files of export.py, computed by onnxruntime, against recorded outputs of the official code and our network.

Where onnx and onnxruntime are not installed, all is skipped: both are for Python 3.9 and later.
"""

import collections
import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import MODES, golden, golden_images, golden_state, normal, set_parameters, tiny_network
from mindspore import context
from programs import read_csv, read_image, write_image
from seeded_weights import seeded_state
from skimage.data import astronaut

WHY = "onnx and onnxruntime are not installed here (requirements_onnx.txt)"
onnx = pytest.importorskip("onnx", reason=WHY)
onnxruntime = pytest.importorskip("onnxruntime", reason=WHY)

import eval_onnx as eval_program  # noqa: E402
import export as export_program  # noqa: E402
from src.export.onnx_file import build_graphs  # noqa: E402
from src.export.onnx_model import PROVIDERS, OnnxSRFlow, file_names  # noqa: E402
from src.images import from_uint8  # noqa: E402
from src.imresize import imresize  # noqa: E402
from src.memory import network_of  # noqa: E402
from src.model.SRFlow import SRFlow  # noqa: E402
from src.model_utils.options import options_from_dict  # noqa: E402
from src.model_utils.util import run_main  # noqa: E402
from src.network_names import IMAGE_ONLY, shapes_of  # noqa: E402
from src.weights.checkpoint import TRAINING, Checkpoint  # noqa: E402
from src.weights.weight_files import metadata_of, write_any  # noqa: E402

SEEDS = {"seeded_4x": 11, "seeded_8x": 12}
SCALES = {"seeded_4x": 4, "seeded_8x": 8, "tiny": 4, "tiny_8x": 8}
LATENTS = {4: ("latent1", "latent3"), 8: ("latent1", "latent2", "latent4")}
# What onnxruntime, TensorRT and others have had for years; nothing random, nothing that depends on values.
OPERATORS = {
    *("Add", "AveragePool", "Cast", "Concat", "Conv", "DepthToSpace", "Div", "Exp", "Identity", "LeakyRelu", "Mul"),
    *("Relu", "Resize", "Sigmoid", "Slice", "Split", "Sub"),
}


@functools.lru_cache(maxsize=None)
def options(scale):
    """The network of the recordings, as helpers.tiny_network makes it."""
    flow = {
        "K": {4: 2, 8: 1}[scale],
        "L": {4: 3, 8: 4}[scale],
        "stackRRDB": {"blocks": [0, 1, 2, 3]},
        "CondAffineSeparatedAndCond": {"hidden_channels": 64, "eps": 1e-4},
    }
    return options_from_dict(
        {"model": "SRFlow", "scale": scale, "network_G": {"nf": 64, "nb": 4, "gc": 32, "flow": flow}}
    )


@functools.lru_cache(maxsize=None)
def parameters(name):
    if name in SEEDS:
        return seeded_state(shapes_of(options(SCALES[name])), SEEDS[name])
    return golden_state({"tiny": "tiny_trained.pth", "tiny_8x": "tiny_8x.pth"}[name])


@pytest.fixture(name="export", scope="module")
def fixture_export(tmp_path_factory):
    """Function (recording, flags...) -> the name of the files that export.py writes of its network."""
    folder = str(tmp_path_factory.mktemp("onnx"))

    @functools.lru_cache(maxsize=None)
    def export(name, *flags):
        checkpoint = os.path.join(folder, name + ".safetensors")
        if not os.path.exists(checkpoint):
            content = Checkpoint(TRAINING, options(SCALES[name]), parameters(name), {"step": 7})
            write_any(checkpoint, content.arrays, metadata_of(content))
        out = os.path.join(folder, f"{name}-{export.cache_info().currsize}")
        assert run(export_program, "--ckpt", checkpoint, "--file_name", out, *flags) == 0
        return out

    return export


@pytest.fixture(name="model", scope="module")
def fixture_model(export):
    """The exported network with seeded weights, in float32."""
    return OnnxSRFlow(export("seeded_4x"))


@pytest.fixture(name="ours", scope="module")
def fixture_ours():
    """The same network, by its definition and operator by operator, as there is nothing to compile then."""
    net = tiny_network()
    set_parameters(net, parameters("seeded_4x"))
    return SRFlow(net, implementation="plain")


@pytest.fixture(name="pynative")
def fixture_pynative():
    context.set_context(mode=MODES["pynative"])


def run(program, *arguments):
    """Run a program in this process; returns the exit status."""
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: program.main([str(argument) for argument in arguments]))
    return caught.value.code or 0


def images(seed, *shape):
    return (normal(seed, *shape) * 0.2 + 0.5).clip(0, 1)


def picture(height, width):
    return imresize(astronaut()[40 : 40 + 4 * height, 160 : 160 + 4 * width], 1 / 4)


def assert_nearly_all(differences, bound):
    """99.9 % of the values are within the bound."""
    assert np.quantile(np.abs(differences), 0.999) <= bound


# ---------------------------------------------------------------------------------------------------------------------
# Against the official code


@pytest.mark.parametrize("name", sorted(SCALES))
def test_recorded_images(name, export):
    """Of recorded latents, and through them of recorded photographs, in batches and alone."""
    data = golden(name + ("" if name in SEEDS else "_eval") + ".npz")
    model, half = OnnxSRFlow(export(name)), OnnxSRFlow(export(name, "--float16"))
    hr, lr = golden_images(data)
    keys = {"tiny": ("eps_split", "z"), "tiny_8x": ("eps_0", "eps_1", "eps_2")}.get(name)
    keys = keys or sorted(key for key in data if key.startswith("latent_"))
    sample = [data["sample_" + key.replace("eps_split", "eps")] for key in keys]
    for latents, expected in ((sample, data["sample_sr"]), ([data[key] for key in keys], hr)):
        came = model.decode(lr, latents)
        np.testing.assert_allclose(came, expected, rtol=0, atol=1e-4)
        alone = model.decode(lr[:1], [latent[:1] for latent in latents])
        np.testing.assert_allclose(alone, came[:1], rtol=0, atol=1e-5)
        assert_nearly_all(half.decode(lr, latents) - expected, 2 / 255)


# ---------------------------------------------------------------------------------------------------------------------
# Against our network


def test_pictures_of_several_sizes_in_one_session(model, ours, pynative):
    for height, width in ((9, 14), (16, 16), (12, 7)):
        lr = picture(height, width)
        expected = ours.sample(lr, heat=0.9, n=2, seed=5)
        came = model.sample(lr, heat=0.9, n=2, seed=5)
        assert came.shape == (2, 4 * height, 4 * width, 3) and came.dtype == np.uint8
        assert np.abs(came.astype(int) - expected).max() <= 1
        assert came[0].tobytes() != came[1].tobytes()


def test_batches(model, ours, pynative):
    lr = images(1, 4, 3, 6, 8)
    expected, latents = ours.sample(lr, heat=0.8, n=1, seed=3, with_latents=True)
    came = model.sample(lr, heat=0.8, n=1, seed=3)
    np.testing.assert_allclose(came, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.decode(lr, [latent[0] for latent in latents]), expected[0], rtol=0, atol=1e-5)
    one_by_one = model.sample(lr[:1], heat=[0.0, 0.8], n=3, seed=3)
    together = model.sample(lr[:1], heat=[0.0, 0.8], n=3, seed=3, batch=4)  # with the conditions of one image
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-6)


def test_tiles(model, ours, pynative):
    lr = picture(34, 40)
    expected, came = (which.sample(lr, heat=0.9, seed=5, tile=32) for which in (ours, model))
    assert np.abs(came.astype(int) - expected).max() <= 1


def test_conditions_are_computed_once(model, monkeypatch):
    calls, encoder = [], model._encoder
    counted = collections.namedtuple("Session", "run")(lambda *given: calls.append(given) or encoder.run(*given))
    monkeypatch.setattr(model, "_encoder", counted)
    lr = images(2, 1, 3, 6, 8)
    for heat in (0.1, 0.5, 0.9):
        model.sample(lr, heat=heat, n=2, seed=1)
    assert len(calls) == 1


def test_float16(export, model):
    half = OnnxSRFlow(export("seeded_4x", "--float16"))
    lr = images(3, 2, 3, 10, 12)
    came, expected = (which.sample(lr, heat=0.9, seed=1) for which in (half, model))
    assert came.tobytes() != expected.tobytes()
    assert_nearly_all(came - expected, 2 / 255)
    sizes = [
        [os.path.getsize(path) for path in file_names(export("seeded_4x", *flags))] for flags in ([], ["--float16"])
    ]
    assert all(small < 0.65 * large for large, small in zip(*sizes))


# ---------------------------------------------------------------------------------------------------------------------
# The files


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_files_hold_plain_operators_and_say_what_they_are(name, export):
    scale = SCALES[name]
    for path, kind in zip(file_names(export(name)), ("encoder", "decoder")):
        loaded = onnx.load(path)
        onnx.checker.check_model(loaded, full_check=True)
        assert {node.op_type for node in loaded.graph.node} <= OPERATORS
        said = {entry.key: entry.value for entry in loaded.metadata_props}
        assert (said["format"], said["graph"], said["scale"], said["step"]) == ("srflow", kind, str(scale), "7")
        assert (said["heat"], said["weights"]) == ("0.9", "float32")
    encoder, decoder = (onnx.load(path).graph for path in file_names(export(name)))
    assert [value.name for value in encoder.input] == ["lr"]
    assert [value.name for value in decoder.output] == ["hr"]
    assert [value.name for value in decoder.input] == [*LATENTS[scale], *[value.name for value in encoder.output]]


def test_a_fixed_size(export, model):
    lr = images(4, 2, 3, 6, 8)
    fixed = OnnxSRFlow(export("seeded_4x", "--height", "6", "--width", "8"))
    np.testing.assert_allclose(fixed.sample(lr, seed=1), model.sample(lr, seed=1), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="^lr: these files compute images of 6x8 pixels only, got 8x8"):
        fixed.sample(images(4, 2, 3, 8, 8))


def test_weights_that_cannot_be_exported():
    arrays = {name: value for name, value in parameters("seeded_4x").items() if not name.startswith(IMAGE_ONLY)}
    singular = "flowUpsamplerNet.layers.1.invconv.weight"
    with pytest.raises(ValueError, match=f"^{singular}: a singular matrix"):
        build_graphs(dict(arrays, **{singular: np.zeros_like(arrays[singular])}), options(4))
    large = "RRDB.conv_first.weight"
    with pytest.raises(ValueError, match="^float16: a weight of size 1e\\+06 is beyond it"):
        build_graphs(dict(arrays, **{large: np.full_like(arrays[large], 1e6)}), options(4), float16=True)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--file_format", "MINDIR"], "MINDIR needs --height and --width"),
        (["--height", "8"], "--height and --width need each other"),
        (["--height", "7", "--width", "8"], "expected an even integer >= 2, got 7"),
        (["--opt", "configs/SRFlow_DF2K_8X.yml"], "is of scale 4, the configuration says 8"),
        (["--ckpt", "nothing.pth"], "nothing.pth"),
    ],
)
def test_what_export_refuses(flags, words, export, tmp_path, repo, capfd, monkeypatch):
    export("seeded_4x")
    monkeypatch.chdir(repo)
    checkpoint = os.path.join(os.path.dirname(export("seeded_4x")), "seeded_4x.safetensors")
    assert run(export_program, "--ckpt", checkpoint, "--file_name", tmp_path / "net", *flags) == 2
    assert words in capfd.readouterr().err.splitlines()[-1]
    assert os.listdir(str(tmp_path)) == []


# ---------------------------------------------------------------------------------------------------------------------
# eval_onnx.py


@pytest.fixture(name="folders")
def fixture_folders(tmp_path):
    """lr and hr, with two photographs of different sizes, one of them odd."""
    for name, (height, width) in {"a": (12, 9), "b": (10, 16)}.items():
        hr = astronaut()[40 : 40 + 4 * height, 160 : 160 + 4 * width]
        for folder, image in (("lr", imresize(hr, 1 / 4)), ("hr", hr)):
            os.makedirs(str(tmp_path / folder), exist_ok=True)
            write_image(tmp_path / folder / f"{name}.png", image)
    return tmp_path


def test_a_folder_is_super_resolved_as_by_eval(export, ours, folders, pynative):
    out = folders / "out"
    arguments = ("--lr_dir", folders / "lr", "--hr_dir", folders / "hr", "--n_samples", 2, "--output_dir", out)
    (folders / "heat.yml").write_text("{scale: 4, heat: 0.7}")
    assert run(eval_program, "--onnx", export("seeded_4x", "--opt", str(folders / "heat.yml")), *arguments) == 0
    rows = read_csv(out / "metrics.csv")
    assert [row["name"] for row in rows] == ["a", "b"] and "nll" not in rows[0]
    assert {"psnr", "ssim", "ssim_gaussian", "lr_psnr", "psnr_best", "pixel_std"} <= set(rows[0])
    for number, name in enumerate("ab", start=1):
        lr = read_image(folders / "lr" / f"{name}.png")
        expected = ours.sample(from_uint8(lr), heat=0.7, n=2, seed=10 + number)[:, 0]
        for k in range(2):
            came = read_image(out / f"{name}_{k}.png").transpose(2, 0, 1) / 255
            assert np.abs(came - expected[k].clip(0, 1)).max() <= 1 / 255 + 1e-5
    assert read_image(out / "sheet.png").std() > 0


def test_no_mindspore_is_needed(export, folders, repo):
    """Neither to write the files nor to compute: whatever imports it fails."""
    checkpoint = os.path.join(os.path.dirname(export("seeded_4x")), "seeded_4x.safetensors")
    code = f"""
import sys
sys.modules["mindspore"] = None
import eval_onnx, export
export.main(["--ckpt", {checkpoint!r}, "--file_name", "net"])
status = eval_onnx.main(["--onnx", "net", "--lr_dir", "lr/a.png", "--hr_dir", "hr/a.png", "--output_dir", "out"])
sys.exit(status)
"""
    environment = dict(os.environ, PYTHONPATH=repo)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(folders), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(str(folders / "out"))) == ["a.png", "metrics.csv", "metrics.json", "sheet.png"]


def test_what_eval_onnx_refuses(export, folders, capfd):
    net, half, mixed = export("seeded_4x"), export("seeded_4x", "--float16"), str(folders / "mixed")
    for name, other in ((mixed, half), (str(folders / "swapped"), None)):
        for path, source in zip(file_names(name), (file_names(net)[0], file_names(other)[1] if other else None)):
            source = source or file_names(net)[0]
            os.link(source, path)
    (folders / "text.encoder.onnx").write_text("no graph")
    lr = folders / "lr"
    for arguments, words in (
        (("--onnx", folders / "none", "--lr_dir", lr), "none.encoder.onnx: no such file"),
        (("--onnx", folders / "text", "--lr_dir", lr), "text.encoder.onnx: onnxruntime cannot use it"),
        (("--onnx", mixed, "--lr_dir", lr), "not of one export"),
        (("--onnx", folders / "swapped", "--lr_dir", lr), "swapped.decoder.onnx: not the decoder"),
        (("--onnx", net, "--lr_dir", folders / "nothing"), "nothing: no such folder of images"),
        (("--onnx", net, "--lr_dir", lr, "--output_dir", lr), "is the folder of --lr_dir"),
        (("--onnx", net, "--lr_dir", lr, "--heat", "hot"), "invalid"),
        (("--onnx", net, "--lr_dir", lr, "--tile", "31"), "expected 0 or an even integer >= 32, got 31"),
    ):
        assert run(eval_program, "--output_dir", folders / "out", *arguments) == 2
        assert words in capfd.readouterr().err.splitlines()[-1]


class Session:
    """onnxruntime's session as on a machine with a GPU: computes on the CPU, and says that `started` do.

    `made` holds, for each session, the providers that it was given, and NVIDIA_TF32_OVERRIDE of the environment.
    """

    def __init__(self, monkeypatch, started):
        self.started, self.made, self._itself = started, [], onnxruntime.InferenceSession
        monkeypatch.setattr(onnxruntime, "InferenceSession", self)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: PROVIDERS["TensorRT"])
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "to be restored")
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")

    def __call__(self, path, options, providers):
        self.made.append((providers, os.environ.get("NVIDIA_TF32_OVERRIDE")))
        session = self._itself(path, options, providers=PROVIDERS["CPU"])
        session.get_providers = lambda: self.started
        return session


@pytest.mark.parametrize(
    "provider, started", [("CUDA", PROVIDERS["CPU"]), ("TensorRT", PROVIDERS["CPU"]), ("TensorRT", PROVIDERS["CUDA"])]
)
def test_a_provider_that_does_not_start_is_told(export, folders, capfd, monkeypatch, provider, started):
    """Where onnxruntime goes on with another one, which may be many times slower."""
    Session(monkeypatch, started)
    arguments = ("--lr_dir", folders / "lr", "--output_dir", folders / "out", "--provider", provider)
    assert run(eval_program, "--onnx", export("seeded_4x"), *arguments) == 2
    assert capfd.readouterr().err == (
        f"error: provider {provider}: onnxruntime could not start it; see the CUDA and cuDNN versions that it needs\n"
    )
    assert not os.path.exists(str(folders / "out"))


def test_gpus_compute_in_float32(export, monkeypatch):
    """Not in TF32: CUDA by its option, also where TensorRT leaves something to it, and TensorRT by the environment."""
    sessions, net = Session(monkeypatch, PROVIDERS["TensorRT"]), export("seeded_4x")
    cpu, cuda = ("CPUExecutionProvider", {}), ("CUDAExecutionProvider", {"use_tf32": "0"})
    tensorrt = ("TensorrtExecutionProvider", {})
    for provider, expected in (
        ("CPU", ([cpu], None)),
        ("CUDA", ([cuda, cpu], None)),
        ("TensorRT", ([tensorrt, cuda, cpu], "0")),
    ):
        sessions.made.clear()
        OnnxSRFlow(net, provider)
        assert sessions.made == [expected, expected]  # of the encoder and the decoder
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")  # the user's own choice
    OnnxSRFlow(net, "TensorRT")
    assert sessions.made[-1][1] == "1"


def test_the_documented_example_runs(export, tmp_path, repo, monkeypatch):
    with open(os.path.join(repo, "docs", "elsewhere.md"), encoding="utf-8") as file:
        text = file.read()
    listed = re.search(r"All operators[^:]*: ([^.]*)\.", text).group(1)
    assert set(re.findall(r"\w+", re.sub(r"\(\w+\)", "", listed))) == OPERATORS
    code = re.search(r"## By hand\n\n```python\n(.*?)```", text, re.DOTALL).group(1)
    for source, target in zip(file_names(export("seeded_4x")), file_names(str(tmp_path / "SRFlow_4X"))):
        os.link(source, target)
    write_image(tmp_path / "photo.png", picture(8, 10))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    pictures = [read_image(tmp_path / f"photo_{number}.png") for number in range(3)]
    assert pictures[0].shape == (32, 40, 3) and pictures[0].tobytes() != pictures[1].tobytes()


def test_what_is_not_finite_is_told(export, model):
    latents = [np.full(shape, 3e38, np.float32) for shape in model._latent_shapes(1, (6, 8))]
    with pytest.warns(RuntimeWarning, match="decoding is not finite in"):
        model.decode(images(5, 1, 3, 6, 8), latents)


def test_memory_is_estimated_for_the_network_of_the_files(model):
    """Which is told before a large image is computed whole."""
    assert model.memory.network == network_of(shapes_of(options(4)))
