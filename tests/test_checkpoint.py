# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: what is written is what is read, and every way of being no such file has its one line."""

import os
import re
import stat
import tracemalloc

import mindspore
import numpy as np
import pytest
from helpers import arrays
from mindspore import Tensor, nn
from mindspore.train.checkpoint_pb2 import Checkpoint as MindSporeCheckpoint

from src.model.SRFlow import SRFlow, build_network, load_network, require_usable
from src.model.cpu.network import Network
from src.model.cpu.packed import leaves, make_weights
from src.model_utils.options import OptionsError, options_from_dict
from src.network_names import IMAGE_ONLY, shapes_of
from src.weights.checkpoint import (
    INFERENCE,
    TRAINING,
    Checkpoint,
    CheckpointError,
    load_parameters,
    parameter_arrays,
    read_checkpoint,
    write_checkpoint,
)

SMALL = {
    "scale": 4,
    "network_G": {
        "nf": 4,
        "nb": 1,
        "gc": 2,
        "flow": {
            "K": 1,
            "additionalFlowNoAffine": 1,
            "stackRRDB": {"blocks": [0]},
            "CondAffineSeparatedAndCond": {"hidden_channels": 4},
        },
    },
}


def small_options(**network):
    return options_from_dict(dict(SMALL, network_G=dict(SMALL["network_G"], **network)))


@pytest.fixture(name="net", scope="module")
def fixture_net():
    np.random.seed(1)
    return build_network(small_options())


@pytest.fixture(name="checkpoint")
def fixture_checkpoint():
    """A training checkpoint with some parameters and optimizer state, down to a scalar and awkward numbers."""
    random = np.random.RandomState(0)
    values = {
        "RRDB.conv_first.weight": random.standard_normal((4, 3, 3, 3)),
        "flowUpsamplerNet.layers.1.actnorm.logs": np.array([np.pi, -0.0, 1e-42, 3e38]).reshape(1, 4, 1, 1),
        "optimizer.flow.m.flowUpsamplerNet.layers.1.actnorm.logs": random.standard_normal((1, 4, 1, 1)),
        "optimizer.flow.steps": np.array(7.0),
    }
    state = {"step": 7, "actnorm_initialised": True, "bad_steps": 0, "best": None}
    return Checkpoint(
        TRAINING, small_options(), {name: value.astype(np.float32) for name, value in values.items()}, state
    )


@pytest.fixture(name="path")
def fixture_path(tmp_path, checkpoint):
    """The file of `checkpoint`."""
    path = str(tmp_path / "a.ckpt")
    write_checkpoint(path, checkpoint)
    return path


def assert_refused(path, *words):
    """Reading raises a CheckpointError of one line that names the file and has the words."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(path + ": ")
    assert "\n" not in message and len(message) < 300
    for word in words:
        assert word in message


# ---------------------------------------------------------------------------------------------------------------------
# Writing and reading


def test_what_is_written_is_read(path, checkpoint):
    read = read_checkpoint(path)
    assert (read.kind, read.options, read.state) == (TRAINING, checkpoint.options, checkpoint.state)
    assert sorted(read.arrays) == sorted(checkpoint.arrays)
    for name, value in checkpoint.arrays.items():
        assert read.arrays[name].dtype == np.float32
        assert read.arrays[name].shape == value.shape, name
        assert read.arrays[name].tobytes() == value.tobytes(), name


def test_parameters_are_without_the_optimizer(checkpoint):
    assert sorted(checkpoint.parameters()) == ["RRDB.conv_first.weight", "flowUpsamplerNet.layers.1.actnorm.logs"]


def test_a_whole_network(tmp_path, net):
    path = str(tmp_path / "folder" / "net.ckpt")  # the folder is made
    write_checkpoint(path, Checkpoint(INFERENCE, small_options(), parameter_arrays(net), {}))
    read = read_checkpoint(path)
    assert read.kind == INFERENCE
    np.random.seed(2)
    other = build_network(read.options)
    assert load_parameters(other, read.parameters(), path) == []
    for name, value in arrays(net).items():
        assert arrays(other)[name].tobytes() == value.tobytes(), name


def test_permissions_are_ordinary(path):
    """MindSpore itself leaves its checkpoints read-only."""
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o600 == 0o600


def test_writing_leaves_nothing_else(path, tmp_path, checkpoint):
    write_checkpoint(path, checkpoint._replace(state={"step": 8}))
    assert read_checkpoint(path).state == {"step": 8}
    assert os.listdir(str(tmp_path)) == ["a.ckpt"]


NAMES = ["model", "model.pt", "model.v1.2", "model.ckpt.old", "a.ckpt", ".hidden", "model.", "a model"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(name, tmp_path, checkpoint):
    """MindSpore adds its suffix to names that lack it; the file has the name that was asked for."""
    write_checkpoint(str(tmp_path / name), checkpoint)
    assert os.listdir(str(tmp_path)) == [name]
    assert read_checkpoint(tmp_path / name).state == checkpoint.state


def fail_before_writing(_, path, **__):
    raise RuntimeError("Failed to save\nthe checkpoint")


def fail_half_way(_, path, **__):
    with open(path, "wb") as file:
        file.write(b"half")
    raise RuntimeError("No space left on device")


def interrupt(_, path, **__):
    with open(path, "wb") as file:
        file.write(b"half")
    raise KeyboardInterrupt


def fail_in_a_file_of_its_own(_, path, **__):
    """2.x writes first to a file with another suffix."""
    fail_half_way(_, os.path.splitext(path)[0] + ".tmp")


def write_nothing(*_, **__):
    pass


FAILURES = [
    (fail_before_writing, OSError),
    (fail_half_way, OSError),
    (fail_in_a_file_of_its_own, OSError),
    (write_nothing, OSError),
    (interrupt, KeyboardInterrupt),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("failure, expected", FAILURES)
def test_a_failed_write_leaves_nothing(failure, expected, name, tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(mindspore, "save_checkpoint", failure)
    with pytest.raises(expected):
        write_checkpoint(str(tmp_path / name), checkpoint)
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("failure, expected", FAILURES)
def test_a_failed_write_leaves_the_old_file(failure, expected, path, tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(mindspore, "save_checkpoint", failure)
    with pytest.raises(expected) as caught:
        write_checkpoint(path, checkpoint._replace(state={"step": 8}))
    if expected is OSError:
        assert str(caught.value).startswith(path + ": could not be written: ")
        assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert read_checkpoint(path).state["step"] == 7
    assert os.listdir(str(tmp_path)) == ["a.ckpt"]


def test_nothing_of_ours_is_pickled(repo):
    """Unpickling runs what a file says. Two formats of others are pickled, and read with allow-lists."""
    unsafe = ("pickle", "marshal", "shelve", "joblib", "dill", "allow_pickle", "eval(", "exec(", "yaml.unsafe_load")
    for folder, _, files in os.walk(os.path.join(repo, "src")):
        for name in files:
            if name.endswith(".py") and name not in ("torch_file.py", "jax_file.py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    code = [line for line in file if not line.lstrip().startswith(("#", '"', "'"))]
                found = [line for line in code for word in unsafe if re.search(r"(?<![\w.])" + re.escape(word), line)]
                assert not found, name


# ---------------------------------------------------------------------------------------------------------------------
# Files that are none of ours


def test_missing_file(tmp_path):
    assert_refused(str(tmp_path / "none.ckpt"), "no such checkpoint file")


def test_a_folder(tmp_path):
    assert_refused(str(tmp_path), "no such checkpoint file")


@pytest.mark.parametrize("content", [b"", b"# SRFlow\nthis is a text file\n", b"\x00" * 1000, bytes(range(256)) * 20])
def test_a_file_of_something_else(content, tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    assert_refused(str(path), "not a MindSpore checkpoint")


@pytest.mark.parametrize("name", ["a.txt", "a.pth", "a"])
def test_another_file_name(name, path, tmp_path, checkpoint):
    """What a file is, its content says."""
    other = str(tmp_path / name)
    os.rename(path, other)
    assert read_checkpoint(other).state == checkpoint.state


@pytest.mark.parametrize("left", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, -100, -10, -1])
def test_a_truncated_file(left, path):
    """Cut at several places: a share of the file, or so many bytes from its end."""
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: left if left < 0 else int(left * len(content))])
    assert_refused(path)


@pytest.mark.parametrize("place", np.linspace(0, 0.999, 25))
def test_a_flipped_bit(place, path, checkpoint):
    """Wherever it is: in a name, a shape, a value or the description."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[int(place * len(content))] ^= 4
    with open(path, "wb") as file:
        file.write(content)
    assert_refused(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: setattr(tensor, "tensor_type", "Float16"),
        lambda tensor: setattr(tensor, "tensor_type", "Unknown"),
        lambda tensor: tensor.dims.append(5),
        lambda tensor: setattr(tensor, "tensor_content", b"\0\0\0"),
    ],
)
def test_an_array_that_contradicts_itself(change, path):
    proto = MindSporeCheckpoint()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    change(proto.value[0].tensor)
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())
    assert_refused(path, "damaged, an array is not what was written")


def test_another_programs_checkpoint(tmp_path):
    path = str(tmp_path / "dense.ckpt")
    mindspore.save_checkpoint(nn.Dense(3, 2), path)
    assert_refused(path, "not one that train.py or train2test.py wrote")


@pytest.mark.parametrize(
    "description",
    [
        b"no JSON",
        b"[1, 2]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100000,
        b'{"format_version": 6, "sha256": "", "kind": [], "state": {}, "options": {}}',
        b'{"format_version": 6, "sha256": "", "kind": "4raining", "state": {}, "options": {}}',
        b'{"format_version": [6], "sha256": "", "kind": "training", "state": {}, "options": {}}',
        b'{"format_version": 6, "sha256": ' + b"9" * 10**6 + b', "kind": "training", "state": {}, "options": {}}',
        b'{"format_version": 6, "sha256": "", "kind": "training", "state": {"window": [' + b"[]," * 10**6 + b"0]}}",
        b'{"format_version": 6, "sha256": "' + b"x" * 2**24 + b'", "kind": "training", "state": {}, "options": {}}',
        b'{"format_version": 6, "sha256": "", "kind": "training", "options": {}, "state": '
        + b"[" * 900
        + b"]" * 900
        + b"}",
    ],
    ids=range(12),
)
def test_a_description_that_cannot_be_read(description, tmp_path):
    path = str(tmp_path / "a.ckpt")
    text = Tensor(np.frombuffer(description, np.uint8))
    mindspore.save_checkpoint([{"name": "__srflow__", "data": text}], path)
    tracemalloc.start()
    assert_refused(path, "damaged")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**8


@pytest.mark.parametrize(
    "change",
    [
        {"step": "7"},
        {"step": -1},
        {"step": 1.5},
        {"step": True},
        {"step": None},
        {"step": 2**63},
        {"ranks": 0},
        {"ranks": "2"},
        {"skipped": "0"},
        {"actnorm_initialised": 1},
        {"window": {}},
        {"window": ["a"]},
        {"window": [[1.0]]},
        {"window": 3},
        {"seconds": float("nan")},
        {"seconds": "0"},
        {"loss_alarm": []},
        {"loss_alarm": {"multiple": 3}},
        {"loss_alarm": {"seen": -1}},
        {"loss_alarm": {"mean": float("inf")}},
        {"loss_alarm": {"best": "0"}},
        {"loss_scale": {"value": 0}},
        {"loss_scale": {"value": "1"}},
        {"loss_scale": {"dynamic": True}},
        {"source": 1},
        {"notes": ["anything"]},
    ],
)
def test_a_state_that_no_run_has(change, path, checkpoint):
    """It would fail somewhere later, or print what it likes."""
    write_checkpoint(path, checkpoint._replace(state={**checkpoint.state, **change}))
    assert_refused(path, "its state has", next(iter(change)))


def test_a_state_that_a_run_has(path, checkpoint):
    state = {
        "step": 7,
        "ranks": 2,
        "actnorm_initialised": True,
        "skipped": 1,
        "window": [1.5, -3, 2],
        "seconds": 3,
        "loss_alarm": {"seen": 3, "mean": 1.0, "best": None, "high": 0},
        "loss_scale": {"value": 32768.0, "finite_steps": 3},
    }
    write_checkpoint(path, checkpoint._replace(state=state))
    assert read_checkpoint(path).state == state
    write_checkpoint(path, checkpoint._replace(state={**state, "window": [float("nan")]}))  # of a step that was skipped
    assert str(read_checkpoint(path).state["window"]) == "[nan]"


def test_a_training_checkpoint_without_its_step(path, checkpoint):
    write_checkpoint(path, checkpoint._replace(state={}))
    assert_refused(path, "its state lacks the step")
    write_checkpoint(path, checkpoint._replace(state=[7]))
    assert_refused(path, "its state is no section")


def test_an_optimizers_array_of_another_shape(path, checkpoint):
    name = "optimizer.flow.m.flowUpsamplerNet.layers.1.actnorm.logs"
    write_checkpoint(path, checkpoint._replace(arrays={**checkpoint.arrays, name: np.zeros(3, np.float32)}))
    assert_refused(path, name + " has another shape than its parameter")


def test_a_later_format(path, checkpoint, monkeypatch):
    monkeypatch.setattr("src.weights.checkpoint.FORMAT_VERSION", 99)
    write_checkpoint(path, checkpoint)
    monkeypatch.undo()
    assert_refused(path, "format 99", "reads 1, 2, 3")


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_an_inference_checkpoint_of_an_earlier_format(path, checkpoint, monkeypatch, version):
    monkeypatch.setattr("src.weights.checkpoint.FORMAT_VERSION", version)
    write_checkpoint(path, checkpoint)
    assert read_checkpoint(path).kind == TRAINING  # the format of training checkpoints has not changed
    write_checkpoint(path, checkpoint._replace(kind=INFERENCE))
    assert_refused(path, f"inference checkpoint of format {version}", "train2test.py")


def test_options_of_a_later_version(path, checkpoint, monkeypatch):
    """An option that this code does not know is named."""

    class Later:
        @staticmethod
        def to_dict():
            return dict(SMALL, resolution=3)

    write_checkpoint(path, checkpoint._replace(options=Later()))
    with pytest.raises(ValueError, match="resolution: unknown key") as caught:
        read_checkpoint(path)
    assert path in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Weights of another network


WRONG = {
    "missing": lambda values: values.pop("RRDB.conv_last.bias") is not None,
    "unexpected": lambda values: values.update({"RRDB.extra.weight": np.zeros(3, np.float32)}),
    "shape": lambda values: values.update({"RRDB.conv_last.bias": np.zeros(5, np.float32)}),
}


@pytest.mark.parametrize(
    "wrong, words",
    [
        ("missing", "1 missing: RRDB.conv_last.bias"),
        ("unexpected", "1 unexpected: RRDB.extra.weight"),
        ("shape", "1 of another shape: RRDB.conv_last.bias (5,) instead of (3,)"),
    ],
)
def test_wrong_weights_are_named_and_nothing_is_loaded(wrong, words, net):
    values = {name: value + 1 for name, value in parameter_arrays(net).items()}
    WRONG[wrong](values)
    before = arrays(net)
    with pytest.raises(CheckpointError) as caught:
        load_parameters(net, values, "some/file.ckpt")
    assert str(caught.value).startswith("some/file.ckpt: weights of another network: ")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    for name, value in arrays(net).items():
        assert value.tobytes() == before[name].tobytes(), name


def test_another_networks_weights_make_a_short_message(net):
    other = build_network(small_options(nb=3, nf=6))
    with pytest.raises(CheckpointError, match="file: nf 6, nb 3.*; network: nf 4, nb") as caught:
        load_parameters(net, parameter_arrays(other), "some/file.ckpt")
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


def test_what_may_be_missing(net):
    values = arrays(net)
    del values["RRDB.conv_last.bias"]
    assert load_parameters(net, values, "some/file.ckpt", optional=("RRDB.HRconv.", "RRDB.conv_last.")) == []
    with pytest.raises(CheckpointError, match="1 missing: RRDB.conv_last.bias"):
        load_parameters(net, values, "some/file.ckpt", optional=("RRDB.HRconv.",))


def test_not_strict_loads_what_fits_and_says_what_does_not():
    net = build_network(small_options())
    values = {name: value + 1 for name, value in arrays(net).items()}
    before = arrays(net)
    for change in WRONG.values():
        change(values)
    values["RRDB.HRconv.bias"] = np.zeros((2, 2), np.float32)
    del values["RRDB.conv_last.bias"]
    problems = load_parameters(net, values, "some/file.ckpt", strict=False)
    assert problems[:3] == [
        "1 missing: RRDB.conv_last.bias",
        "1 unexpected: RRDB.extra.weight",
        "1 of another shape: RRDB.HRconv.bias (2, 2) instead of (4,)",
    ]
    after = arrays(net)
    for name, value in before.items():
        expected = value if name in ("RRDB.HRconv.bias", "RRDB.conv_last.bias") else values[name]
        np.testing.assert_array_equal(after[name], expected, err_msg=name)


def test_loading_copies(net):
    """The network does not change with the arrays that it was loaded from."""
    values = {name: value.copy() for name, value in parameter_arrays(net).items()}
    load_parameters(net, values, "x")
    before = arrays(net)
    for value in values.values():
        value += 1
    for name, value in arrays(net).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_singular_mixing_weight_is_named():
    net = build_network(small_options())
    (weight,) = [p for p in net.get_parameters() if p.name == "flowUpsamplerNet.layers.1.invconv.weight"]
    require_usable(net, "some/file.ckpt")
    weight.set_data(Tensor(np.ones(weight.shape, np.float32)))
    with pytest.raises(CheckpointError, match="file.ckpt: flowUpsamplerNet.layers.1.invconv.weight: a singular matrix"):
        require_usable(net, "some/file.ckpt")


# ---------------------------------------------------------------------------------------------------------------------
# Networks that are not built


@pytest.mark.parametrize("scale, split", [(4, {}), (4, {"correct_splits": True}), (4, {"enable": False}), (8, {})])
def test_shapes_of_a_network_that_is_not_built(scale, split):
    flow = dict(SMALL["network_G"]["flow"], K=2, L={4: 3, 8: 4}[scale], split=split)
    options = options_from_dict({"scale": scale, "network_G": dict(SMALL["network_G"], flow=flow)})
    built = {parameter.name: tuple(parameter.shape) for parameter in build_network(options).get_parameters()}
    assert shapes_of(options) == built


def write_with_options(path, arrays, kind=INFERENCE, **changes):
    """A checkpoint whose stored options are the small ones with changes in network_G, checked or not."""
    network = dict(SMALL["network_G"], **changes)

    class Unchecked:
        @staticmethod
        def to_dict():
            return dict(SMALL, network_G=network)

    write_checkpoint(path, Checkpoint(kind, Unchecked(), arrays, {"step": 0}))


@pytest.mark.parametrize("kind", [TRAINING, INFERENCE])
@pytest.mark.parametrize(
    "changes, words",
    [
        ({"nf": 20000}, "expected a network of at most 1e+09 parameters"),
        ({"nb": 10**7}, "network_G.nb: expected an"),
        ({"flow": {"K": 10**6}}, "network_G.flow.K: expected an integer >= 1 and <= 128"),
        ({"flow": {"K": 128}}, "weights of another network"),
        ({"nf": 500, "nb": 20}, "weights of another network"),
        ({"gc": 3}, "weights of another network"),
    ],
)
def test_stored_options_of_a_network_that_the_file_is_not_of(changes, words, kind, net, tmp_path, monkeypatch):
    """Nothing is built, which could take any memory and time."""
    path = str(tmp_path / "a.ckpt")
    if "flow" in changes:
        changes = {"flow": dict(SMALL["network_G"]["flow"], **changes["flow"])}
    write_with_options(path, parameter_arrays(net), kind, **changes)
    monkeypatch.setattr("src.model.SRFlow.build_network", lambda *_: pytest.fail("a network was built"))
    with pytest.raises((CheckpointError, OptionsError)) as caught:
        SRFlow.from_checkpoint(path)
    assert str(caught.value).startswith(path) and words in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Inference checkpoints are checked as all others


def damaged_arrays(net, change):
    arrays = {name: value.copy() for name, value in parameter_arrays(net).items() if not name.startswith(IMAGE_ONLY)}
    change(arrays)
    return arrays


def put(name, value):
    """Sets the first number of an array, or all."""

    def change(arrays):
        arrays[name].flat[0 if np.isnan(value) else slice(None)] = value

    return change


ENCODER, MIXING = "RRDB.RRDB_trunk.0.RDB1.conv1.weight", "flowUpsamplerNet.layers.1.invconv.weight"
INFERENCE_DAMAGE = [
    (put(ENCODER, np.nan), f"{ENCODER}: has values that are not finite"),
    (put("flowUpsamplerNet.layers.2.affine.fAffine.0.weight", np.nan), "fAffine.0.weight: has values that are not"),
    (put(MIXING, 1.0), f"{MIXING}: a singular matrix"),
    (lambda arrays: arrays.update({ENCODER: arrays[ENCODER][:1]}), f"1 of another shape: {ENCODER}"),
    (lambda arrays: arrays.pop(MIXING), f"1 missing: {MIXING}"),
    (lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("RRDB.")], "missing: RRDB."),
    (lambda arrays: arrays.update({"flow.0.0.99999999999": np.zeros(1, np.float32)}), "1 unexpected: flow.0.0.999"),
    (lambda arrays: arrays.update({"RRDB": np.zeros(1, np.float32)}), "1 unexpected: RRDB"),
]


@pytest.mark.parametrize("change, words", INFERENCE_DAMAGE, ids=range(len(INFERENCE_DAMAGE)))
def test_an_inference_checkpoint_is_checked(change, words, net, tmp_path):
    path = str(tmp_path / "a.ckpt")
    write_checkpoint(path, Checkpoint(INFERENCE, small_options(), damaged_arrays(net, change), {}))
    with pytest.raises(CheckpointError) as caught:
        SRFlow.from_checkpoint(path)
    assert str(caught.value).startswith(path + ": ") and words in str(caught.value) and "\n" not in str(caught.value)


def test_an_inference_checkpoint_has_what_any_implementation_starts_from(net, tmp_path):
    path, arrays = str(tmp_path / "a.ckpt"), damaged_arrays(net, lambda arrays: None)
    write_checkpoint(path, Checkpoint(INFERENCE, small_options(), arrays, {}))
    for name, value in parameter_arrays(load_network(read_checkpoint(path), path)).items():
        if not name.startswith(IMAGE_ONLY):
            np.testing.assert_array_equal(value, arrays[name], err_msg=name)


@pytest.mark.skipif(not hasattr(Tensor, "is_contiguous"), reason="no views in 1.7 (docs/mindspore-1.7.md, 16)")
def test_packed_weights_are_no_views_with_gaps(net):
    """A compiled cell would copy those at every call."""
    assert all(tensor.is_contiguous() for tensor in leaves(make_weights(Network(net))))
