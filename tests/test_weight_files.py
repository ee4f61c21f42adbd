# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Other programs' weights: recognised by their content, brought under our names exactly, refused in one line."""

import functools
import json
import os
import struct

import helpers
import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.train.checkpoint_pb2 import Checkpoint as MindSporeCheckpoint
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from src.model.SRFlow import SRFlow
from src.model.SRFlowNet import SRFlowNet
from src.model_utils.options import OptionsError, network_settings, options_from_dict
from src.network_names import describe_network, explain_mismatch, to_official
from src.weights.checkpoint import TRAINING, Checkpoint, CheckpointError, load_parameters, write_checkpoint
from src.weights.torch_file import read_pth, write_pth
from src.weights.weight_files import (
    OFFICIAL,
    OFFICIAL_RRDB,
    PORT_TEST,
    PORT_TRAINING,
    describes_itself,
    is_own_checkpoint,
    metadata_of,
    read_any,
    read_weights,
    write_any,
)

IMAGE_ONLY = ("RRDB.HRconv.", "RRDB.conv_last.")
LEVELS = {4: 3, 8: 4, 16: 5}


def network(scale=4, K=2, n_transitions=2, split_levels=None, nf=4, nb=2, gc=2, blocks=(0, 1), hidden=6):
    """A small network, with strong random weights, well invertible."""
    split_levels = LEVELS[scale] - 2 if split_levels is None else split_levels
    net = SRFlowNet(scale, nf, nb, gc, list(blocks), K, n_transitions, split_levels, hidden, 1e-4)
    return helpers.randomise(net)


@functools.lru_cache(maxsize=None)
def network_arrays(**options):
    """The parameters of `network(**options)`, which tests share and leave as they are."""
    return helpers.arrays(network(**options))


def shapes(arrays):
    return {name: value.shape for name, value in arrays.items()}


def port_names(arrays, lengths, test):
    """The arrays as the earlier port names them: layers counted within their level, in the test kind backwards.

    lengths: how many layers each level has, squeeze and split included.
    """
    places = [(level, j) for level, length in enumerate(lengths, 1) for j in range(length)]
    renamed = {}
    for name, value in arrays.items():
        if name.startswith(IMAGE_ONLY):
            continue
        if name.startswith("flowUpsamplerNet."):
            _, _, number, rest = name.split(".", 3)
            level, j = places[int(number)]
            j = lengths[level - 1] - 1 - j if test else j
            name = f"flowUpsamplerNet.layers_{level}.{j}.{rest}"
            if test and rest == "invconv.weight":
                value = np.linalg.inv(value.astype(np.float64)).astype(np.float32)
        renamed["SRFlow." + name] = value
    return renamed


def save_mindspore(path, arrays):
    """A checkpoint as MindSpore writes it, whatever the name."""
    temporary = str(path) + ".ckpt"
    mindspore.save_checkpoint([{"name": name, "data": Tensor(value)} for name, value in arrays.items()], temporary)
    os.replace(temporary, str(path))
    return str(path)


def save_safetensors(path, arrays):
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, str(path))
    return str(path)


def save_torch(path, arrays):
    write_pth(path, arrays)
    return str(path)


SAVERS = {"torch": save_torch, "safetensors": save_safetensors, "mindspore": save_mindspore}


def raw_safetensors(entries):
    """A file's content from (name, type, shape, bytes) of each entry."""
    header, start = {}, 0
    for name, kind, shape, data in entries:
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, _, data in entries)


def assert_same(arrays, expected):
    """The same names, whatever their order, and the same float32 bits."""
    assert sorted(arrays) == sorted(expected)
    for name, value in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (np.float32, value.shape), name
        assert arrays[name].tobytes() == value.astype(np.float32).tobytes(), name


def assert_refused(path, *words, read=read_weights):
    """Reading raises a CheckpointError of one line that begins with the file and has the words."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture(name="arrays", scope="module")
def fixture_arrays():
    return network_arrays()


@pytest.fixture(name="encoder", scope="module")
def fixture_encoder(arrays):
    """Arrays of the encoder alone, as the official pre-training names them."""
    return {name[len("RRDB.") :]: value for name, value in arrays.items() if name.startswith("RRDB.")}


# ---------------------------------------------------------------------------------------------------------------------
# Official weights, in any container and under any file name


@pytest.mark.parametrize("name", ["weights.pth", "weights.ckpt", "weights.safetensors", "weights"])
@pytest.mark.parametrize("container", sorted(SAVERS))
def test_official_weights(container, name, arrays, tmp_path):
    weights = read_weights(SAVERS[container](tmp_path / name, arrays))
    assert (weights.kind, weights.notes) == (OFFICIAL, [])
    assert_same(weights.arrays, arrays)


@pytest.mark.parametrize("container", sorted(SAVERS))
def test_encoder_alone(container, arrays, encoder, tmp_path):
    weights = read_weights(SAVERS[container](tmp_path / "RRDB.pth", encoder))
    assert (weights.kind, weights.notes) == (OFFICIAL_RRDB, [])
    assert_same(weights.arrays, {name: value for name, value in arrays.items() if name.startswith("RRDB.")})


def test_encoder_alone_under_its_full_names(encoder, tmp_path):
    expected = {"RRDB." + name: value for name, value in encoder.items()}
    weights = read_weights(save_torch(tmp_path / "RRDB.pth", expected))
    assert weights.kind == OFFICIAL_RRDB
    assert_same(weights.arrays, expected)


@pytest.mark.parametrize("wrapper", ["module.", "netG.", "netG.module.", "SRFlow."])
@pytest.mark.parametrize("part", ["whole", "encoder"])
def test_wrapped_names(wrapper, part, arrays, encoder, tmp_path):
    wrapped = {wrapper + name: value for name, value in (arrays if part == "whole" else encoder).items()}
    weights = read_weights(save_torch(tmp_path / "a.pth", wrapped))
    assert weights.kind == (OFFICIAL if part == "whole" else OFFICIAL_RRDB)
    assert_same(weights.arrays, arrays if part == "whole" else {"RRDB." + name: v for name, v in encoder.items()})


@pytest.mark.parametrize("name, scale", [("tiny_trained.pth", 4), ("tiny_8x.pth", 8)])
def test_recorded_official_weights_fit_the_network(name, scale):
    weights = read_weights(helpers.golden_path(name))
    assert (weights.kind, weights.notes) == (OFFICIAL, [])
    assert_same(weights.arrays, helpers.golden_state(name))
    assert explain_mismatch(weights.arrays, helpers.shapes(helpers.tiny_network(scale))) == []


def test_loading_into_the_network(arrays, tmp_path):
    net = network(K=2)
    for parameter in net.get_parameters():
        parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))
    path = save_torch(tmp_path / "a.pth", to_official(arrays))
    assert load_parameters(net, read_weights(path).arrays, path) == []
    assert_same(helpers.arrays(net), arrays)


def test_other_types_become_float32(arrays, tmp_path):
    entries, expected = [], {}
    for i, (name, value) in enumerate(arrays.items()):
        bits = value.view(np.uint32) >> 16
        kind, data, expected[name] = (
            ("F16", value.astype("<f2"), value.astype(np.float16)),
            ("F64", value.astype("<f8"), value),
            ("BF16", bits.astype("<u2"), (bits << 16).view(np.float32)),
            ("F32", value, value),
        )[i % 4]
        entries.append((name, kind, value.shape, data.tobytes()))
    (tmp_path / "a.safetensors").write_bytes(raw_safetensors(entries))
    assert_same(read_weights(tmp_path / "a.safetensors").arrays, expected)


def test_bytes_are_no_weights(encoder, tmp_path):
    """As float32 they would take four times the memory of the file."""
    big = dict(encoder, more=np.zeros(8 * 10**7, np.int8))
    assert_refused(save_safetensors(tmp_path / "a.safetensors", big), "holds integers where weights were expected")


def test_numbers_beyond_float32(encoder, tmp_path, recwarn):
    name = "conv_first.bias"
    weights = read_weights(save_safetensors(tmp_path / "a", dict(encoder, **{name: np.array([1e300, -1e300, 1, 2])})))
    assert weights.arrays["RRDB." + name].tolist() == [np.inf, -np.inf, 1, 2] and not recwarn.list


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("read", [read_weights, is_own_checkpoint])
def test_a_pipe_and_a_device(read, tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert_refused(path, "no regular file", read=read)


# ---------------------------------------------------------------------------------------------------------------------
# The earlier port

# Network, and the layers of its levels as the specification counts them: squeeze, plain, coupling, split.
PORTED = [
    (dict(scale=4, K=16), [20, 19, 19]),
    (dict(scale=4, K=2), [6, 5, 5]),
    (dict(scale=8, K=1), [5, 5, 4, 4]),
    (dict(scale=8, K=3, split_levels=3), [7, 7, 7, 6]),
    (dict(scale=4, K=1, n_transitions=0), [3, 2, 2]),
    (dict(scale=4, K=1, split_levels=0), [4, 4, 4]),
    (dict(scale=16, K=1, n_transitions=1), [4, 4, 4, 3, 3]),
]


@pytest.mark.parametrize("options, lengths", PORTED)
@pytest.mark.parametrize("test", [False, True])
def test_the_earlier_port(options, lengths, test, tmp_path):
    arrays = network_arrays(**options)
    path = save_mindspore(tmp_path / "a.ckpt", port_names(arrays, lengths, test))
    weights = read_weights(path)
    assert weights.kind == (PORT_TEST if test else PORT_TRAINING)
    expected = {name: value for name, value in arrays.items() if not name.startswith(IMAGE_ONLY)}
    assert sorted(weights.arrays) == sorted(expected)
    for name, value in expected.items():
        if test and name.endswith("invconv.weight"):
            np.testing.assert_allclose(weights.arrays[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(weights.arrays[name], value, err_msg=name)
    assert any("HRconv and conv_last are absent" in note for note in weights.notes)
    assert any("largest condition number" in note for note in weights.notes) == test
    described = describe_network(weights.arrays)
    assert (described["scale"], described["K"]) == (options["scale"], options["K"])
    assert explain_mismatch(weights.arrays, shapes(arrays)) == [
        "4 missing: RRDB.HRconv.weight, RRDB.HRconv.bias, RRDB.conv_last.weight, …",
        "the file is without the layers that only make the encoder's own image; the flow does not need them",
    ]


@pytest.mark.parametrize(
    "test, name, number",
    [
        (False, "layers_1.1", 1),
        (False, "layers_1.19", 19),
        (False, "layers_2.1", 21),
        (False, "layers_2.18", 38),
        (False, "layers_3.1", 40),
        (False, "layers_3.18", 57),
        (True, "layers_1.18", 1),
        (True, "layers_1.0", 19),
        (True, "layers_2.17", 21),
        (True, "layers_2.0", 38),
        (True, "layers_3.17", 40),
        (True, "layers_3.0", 57),
    ],
)
def test_layer_numbers_of_the_published_checkpoints(test, name, number, tmp_path):
    """Scale 4, K = 16: the specification's formulas, at both ends of each level."""
    arrays = port_names(network_arrays(scale=4, K=16), [20, 19, 19], test)
    part = "conv.bias" if number == 19 else "actnorm.bias"
    marked = f"SRFlow.flowUpsamplerNet.{name}.{part}"
    arrays[marked] = np.full_like(arrays[marked], 42)
    read = read_weights(save_mindspore(tmp_path / "a.ckpt", arrays)).arrays
    found = [key for key, value in read.items() if (value == 42).all()]
    assert found == [f"flowUpsamplerNet.layers.{number}.{part}"]


def test_the_recorded_network_through_the_earlier_ports_test_checkpoint(tmp_path):
    arrays = helpers.golden_state("tiny_trained.pth")
    path = save_mindspore(tmp_path / "DF2K_4X_test.ckpt", port_names(arrays, [6, 5, 5], True))
    weights = read_weights(path)
    assert weights.kind == PORT_TEST
    for name, value in weights.arrays.items():
        np.testing.assert_allclose(value, arrays[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_earlier_ports_optimizer_is_left_out(arrays, tmp_path):
    ported = port_names(arrays, [6, 5, 5], False)
    saved = dict(ported, global_step=np.array([7], np.float32), learning_rate=np.array(1e-4, np.float32))
    for moment in ("moment1.", "moment2."):
        saved.update({moment + name: value * 0 for name, value in ported.items()})
    weights = read_weights(save_mindspore(tmp_path / "a.ckpt", saved))
    assert sorted(weights.arrays) == sorted(name for name in arrays if not name.startswith(IMAGE_ONLY))
    left = 2 + 2 * len(ported)
    assert weights.notes[0].startswith(f"left out {left} entries that are no weights of the network")


def test_a_badly_conditioned_weight_is_named(arrays, tmp_path):
    name = "flowUpsamplerNet.layers.2.invconv.weight"
    weight = np.diag(np.geomspace(1, 1e-7, len(arrays[name]))).astype(np.float32)
    ported = port_names(dict(arrays, **{name: weight}), [6, 5, 5], True)
    weights = read_weights(save_mindspore(tmp_path / "a.ckpt", ported))
    (note,) = [note for note in weights.notes if "condition number" in note]
    assert "1e+07" in note and name in note
    np.testing.assert_allclose(np.diag(weights.arrays[name]), np.diag(weight), rtol=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        np.ones((12, 12)),
        np.full((12, 12), np.nan),
        np.zeros((12, 12)),
        np.ones((12, 3)),
        np.ones((12, 12, 1, 1)),
        np.ones(12),
        np.eye(12) * 1e-40,
    ],
)
def test_a_weight_that_cannot_be_inverted_is_named(value, arrays, tmp_path):
    ported = port_names(arrays, [6, 5, 5], True)
    ported["SRFlow.flowUpsamplerNet.layers_1.3.invconv.weight"] = value.astype(np.float32)
    assert_refused(
        save_mindspore(tmp_path / "a.ckpt", ported),
        "flowUpsamplerNet.layers.2.invconv.weight: a matrix that cannot be inverted",
    )


def test_a_weight_that_would_take_minutes_to_invert(arrays, tmp_path):
    ported = port_names(arrays, [6, 5, 5], True)
    ported["SRFlow.flowUpsamplerNet.layers_1.3.invconv.weight"] = np.eye(1500, dtype=np.float32)
    assert_refused(save_mindspore(tmp_path / "a.ckpt", ported), "a matrix that cannot be inverted")


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    "lost, words",
    [
        ("layers_1.2.", "layers of level 1 are missing"),
        ("layers_3.2.", "layers of level 3 are missing"),
        ("layers_2.", "layers in an order that no SRFlow network has"),
        ("layers_1.", "layers in an order"),
    ],
)
def test_missing_layers_of_the_earlier_port(lost, words, test, arrays, tmp_path):
    ported = {name: value for name, value in port_names(arrays, [6, 5, 5], test).items() if lost not in name}
    assert_refused(save_mindspore(tmp_path / "a.ckpt", ported), words)


def test_levels_of_both_kinds(arrays, tmp_path):
    """One level counted forwards and another backwards is no network of the port."""
    training, test = (port_names(arrays, [6, 5, 5], kind) for kind in (False, True))
    mixed = {name: value for name, value in training.items() if "layers_2" not in name}
    mixed.update({name: value for name, value in test.items() if "layers_2" in name})
    assert_refused(save_mindspore(tmp_path / "a.ckpt", mixed), "layers of level 2 are missing")


def test_layers_in_a_wrong_order(arrays, tmp_path):
    """Backwards, but counted as if forwards: the plain steps come last."""
    shifted = {}
    for name, value in port_names(arrays, [6, 5, 5], True).items():
        parts = name.split(".")
        if parts[1] == "flowUpsamplerNet":
            parts[3] = str(int(parts[3]) + 1)
        shifted[".".join(parts)] = value
    assert_refused(save_mindspore(tmp_path / "a.ckpt", shifted), "layers in an order that no SRFlow network has")


# ---------------------------------------------------------------------------------------------------------------------
# Our own checkpoints, and files of something else


@pytest.mark.parametrize("name", ["a.ckpt", "a.pth"])
def test_our_own_checkpoint_is_told_apart(name, arrays, tmp_path):
    write_checkpoint(tmp_path / "own.ckpt", Checkpoint(TRAINING, options_from_dict({"scale": 4}), arrays, {"step": 1}))
    os.replace(str(tmp_path / "own.ckpt"), str(tmp_path / name))
    assert is_own_checkpoint(tmp_path / name)
    assert_refused(tmp_path / name, "a checkpoint of train.py or train2test.py")


@pytest.mark.parametrize("container", sorted(SAVERS))
def test_others_are_not_our_own(container, arrays, tmp_path):
    assert not is_own_checkpoint(SAVERS[container](tmp_path / "a.ckpt", port_names(arrays, [6, 5, 5], False)))


@pytest.mark.parametrize("content", [b"", b"\n", b"text", bytes(100)])
def test_something_else_is_not_our_own(content, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(content)
    assert not is_own_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("read", [read_weights, is_own_checkpoint])
def test_no_file(read, tmp_path):
    assert_refused(tmp_path / "none.pth", "no such file", read=read)
    assert_refused(tmp_path, "a folder", read=read)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "an empty file"),
        (b"a text file, of some length\n", "no weight file"),
        (b"\n\n\n\nmore text", "MindSpore"),
        (np.random.RandomState(1).bytes(5000), "no weight file"),
        (b"\x00" * 1000, "no weight file"),
        (b"\x10" + bytes(7) + b'{"a": 1, "b": 2}', "damaged"),
        (b"PK\x03\x04", "damaged"),
        (b"\x80\x02.", "damaged"),
        (b"\xff" * 7 + b"\x7f{", "no weight file"),
        (b"\x08\x01", "no weight file"),
    ],
)
def test_a_file_of_something_else(content, words, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    assert_refused(tmp_path / "a.pth", words)


@pytest.mark.parametrize("container", sorted(SAVERS))
def test_weights_of_another_kind_of_network(container, tmp_path):
    path = SAVERS[container](tmp_path / "a.pth", {name: np.ones(3, np.float32) for name in ("conv1.weight", "fc.bias")})
    assert_refused(path, "weights of no SRFlow or RRDB network", "conv1.weight")


def test_weights_of_two_networks(encoder, tmp_path):
    both = {prefix + name: value for prefix in ("netG.", "netD.") for name, value in encoder.items()}
    assert_refused(save_torch(tmp_path / "a.pth", both), "several networks", "netG.")


@pytest.mark.parametrize("container", sorted(SAVERS))
@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_a_truncated_file(container, percent, arrays, tmp_path):
    path = SAVERS[container](tmp_path / "a.pth", port_names(arrays, [6, 5, 5], True))
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: len(content) * percent // 100])
    assert_refused(path, "truncated", "copy it again")


@pytest.mark.parametrize("container", sorted(SAVERS))
def test_a_flipped_bit(container, encoder, tmp_path):
    """Wrong weights or one line; only the zip format of torch has checksums."""
    few = {name: value for name, value in encoder.items() if name.startswith(("RRDB_trunk.0.RDB1.conv1", "conv_"))}
    SAVERS[container](tmp_path / "good.pth", few)
    content, path, refused = (tmp_path / "good.pth").read_bytes(), tmp_path / "a.pth", 0
    for position in np.unique(np.linspace(0, len(content) - 1, 250).astype(int)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert all(value.dtype == np.float32 for value in read_weights(path).arrays.values())
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_a_header_length_that_looks_like_another_container(arrays, tmp_path):
    """A safetensors file may begin with any byte, also with that of a pickled file or of MindSpore's."""
    content = raw_safetensors([(name, "F32", value.shape, value.tobytes()) for name, value in arrays.items()])
    length = struct.unpack("<Q", content[:8])[0]
    for low_byte in (0x80, 0x0A):
        padding = (low_byte - length) % 256
        padded = struct.pack("<Q", length + padding) + content[8 : 8 + length] + b" " * padding + content[8 + length :]
        assert padded[0] == low_byte
        (tmp_path / "a.safetensors").write_bytes(padded)
        assert_same(read_weights(tmp_path / "a.safetensors").arrays, arrays)


def test_a_type_that_weights_do_not_have(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(raw_safetensors([("a", "U64", (1,), bytes(8))]))
    assert_refused(tmp_path / "a.safetensors", "a has numbers of type U64")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda tensor: tensor.dims.extend([7]), "damaged"),
        (lambda tensor: tensor.dims.extend([2**40]), "damaged"),
        (lambda tensor: setattr(tensor, "tensor_content", b"12345"), "damaged"),
        (lambda tensor: setattr(tensor, "tensor_type", "String"), "has numbers of type String"),
    ],
)
def test_a_mindspore_checkpoint_that_contradicts_itself(change, words, encoder, tmp_path):
    path = save_mindspore(tmp_path / "a.ckpt", encoder)
    proto = MindSporeCheckpoint()
    proto.ParseFromString((tmp_path / "a.ckpt").read_bytes())
    change(proto.value[3].tensor)
    (tmp_path / "a.ckpt").write_bytes(proto.SerializeToString())
    assert_refused(path, words)


def test_a_large_tensor_in_several_pieces(encoder, tmp_path):
    """So MindSpore writes tensors beyond its limit of bytes: the same name and shape, the next bytes."""
    path = save_mindspore(tmp_path / "a.ckpt", encoder)
    proto = MindSporeCheckpoint()
    for name, value in encoder.items():
        data = value.tobytes()
        for piece in (data[:8], data[8:]):
            entry = proto.value.add(tag=name)
            entry.tensor.dims.extend(value.shape)
            entry.tensor.tensor_type, entry.tensor.tensor_content = "Float32", piece
    whole = read_weights(path).arrays
    (tmp_path / "a.ckpt").write_bytes(proto.SerializeToString())
    assert_same(read_weights(path).arrays, whole)


# ---------------------------------------------------------------------------------------------------------------------
# Files that describe themselves

SETTINGS = {
    "scale": 4,
    "network_G": {
        "nf": 4,
        "nb": 2,
        "gc": 2,
        "train_RRDB": False,
        "flow": {
            "K": 2,
            "stackRRDB": {"blocks": [0, 1]},
            "CondAffineSeparatedAndCond": {"hidden_channels": 6, "eps": 0.05},
        },
    },
    "datasets": {"train": {"quant": 16, "dataroot": "somewhere"}},
    "output_dir": "somewhere",
}


def described(arrays, **state):
    """The Checkpoint of a run with the network of `network()`, but for its eps."""
    return Checkpoint(TRAINING, options_from_dict(SETTINGS), arrays, {"step": 7, **state})


def save_described(path, checkpoint, float16=False):
    write_any(path, checkpoint.arrays, metadata_of(checkpoint), float16)
    return str(path)


def halved(arrays):
    """The arrays in float32 as they are after the convolutions' weights were in float16."""
    return {
        name: value.astype(np.float16).astype(np.float32) if value.ndim == 4 and name.endswith(".weight") else value
        for name, value in arrays.items()
    }


def metadata_in(path):
    with safe_open(str(path), framework="np") as file:
        return file.metadata()


@pytest.mark.parametrize("state", [{}, {"about": 'photographs, ä "×" \n'}, {"source": OFFICIAL, "about": ""}])
def test_a_file_describes_itself(state, arrays, tmp_path):
    """It keeps its network, whatever configuration somebody gives, and nothing of places and training."""
    checkpoint = described(arrays, seconds=3.0, **state)
    path = save_described(tmp_path / "a", checkpoint)
    os.replace(path, str(tmp_path / "weights.pth"))
    path = tmp_path / "weights.pth"
    assert describes_itself(path) and not is_own_checkpoint(path)
    expected = options_from_dict(network_settings(checkpoint.options))
    for opt in (None, options_from_dict({"scale": 8, "network_G": {"flow": {"L": 4}}})):
        read = read_any(path, opt)
        assert (read.kind, read.options) == (TRAINING, expected)
        stored = {key: text for key, text in state.items() if text}
        assert read.state == {"step": 7, "actnorm_initialised": True, "notes": [], **stored}
        assert_same(read.arrays, arrays)
    assert expected.output_dir == "output" and expected.datasets.train.quant == 16
    assert expected.network_G.flow.CondAffineSeparatedAndCond.eps == 0.05


def test_the_metadata_is_small_and_does_not_change(arrays, tmp_path):
    first = save_described(tmp_path / "a.safetensors", described(arrays, about="a text"))
    metadata = metadata_in(first)
    again = save_described(tmp_path / "b.safetensors", read_any(first))
    assert metadata_in(again) == metadata
    options = json.loads(metadata.pop("options"))
    assert metadata == {"format": "srflow", "step": "7", "about": "a text"}
    assert set(options) == {"model", "scale", "heat", "network_G", "datasets"}
    assert options["datasets"] == {"train": {"quant": 16}}
    assert not any(key.startswith("train_") for key in options["network_G"])


def test_an_encoder_alone_describes_itself(encoder, arrays, tmp_path):
    options = options_from_dict({"model": "RRDB", "scale": 4, "network_G": {"nf": 4, "nb": 2, "gc": 2}})
    path = save_described(tmp_path / "a.safetensors", Checkpoint(TRAINING, options, encoder, {"step": 2}))
    read = read_any(path)
    assert read.options == options and read.options.network_G.flow is None
    assert_same(read.arrays, {name: value for name, value in arrays.items() if name.startswith("RRDB.")})


def test_convolutions_in_float16(arrays, tmp_path):
    """And only they: 1×1 weights, biases, ActNorms and logs keep their bits. The package reads the file too."""
    checkpoint = described(arrays)
    half, full = (
        save_described(tmp_path / f"{name}.safetensors", checkpoint, name == "half") for name in ("half", "full")
    )
    stored, expected = load_file(half), to_official(arrays)
    assert sorted(stored) == sorted(expected)
    for name, value in expected.items():
        assert stored[name].dtype == (np.float16 if value.ndim == 4 and ".weight" in name else np.float32), name
        assert stored[name].tobytes() == value.astype(stored[name].dtype).tobytes(), name
    kernels = sum(value.size for value in stored.values() if value.dtype == np.float16)
    assert kernels > 0.5 * sum(value.size for value in stored.values())
    assert {name.split(".")[-2] for name, value in stored.items() if value.dtype == np.float32} >= {
        "actnorm",
        "invconv",
    }
    assert os.path.getsize(full) - os.path.getsize(half) == pytest.approx(2 * kernels, abs=2000)
    assert_same(read_any(half).arrays, halved(arrays))


def test_a_weight_beyond_float16(arrays, tmp_path):
    name = "RRDB.HRconv.weight"
    large = arrays[name].copy()
    large.flat[3] = 65520  # rounds to infinity
    checkpoint = described(dict(arrays, **{name: large, "RRDB.HRconv.bias": np.full(4, 1e5, np.float32)}))
    with pytest.raises(CheckpointError, match=f"^{name}: has a value of size 6.55e\\+04, beyond float16's 65504"):
        save_described(tmp_path / "a.safetensors", checkpoint, float16=True)
    assert not os.listdir(str(tmp_path))


def changed_options(*keys, value):
    """The options of `described` as JSON, with one of them changed."""
    options = network_settings(options_from_dict(SETTINGS))
    section = options
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return json.dumps(options)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"options": None}, "damaged metadata, options"),
        ({"options": ""}, "damaged metadata, options"),
        ({"options": "scale: 4"}, "damaged metadata, options"),
        ({"options": "[" * 9000}, "damaged metadata, options"),
        ({"options": '{"a":' * 10001 + "1" + "}" * 10001}, "damaged metadata, options"),
        ({"options": '{"scale": ' + "4" * 100 + "}"}, "damaged metadata, options"),
        ({"options": '{"scale": 4' + " " * 2**16 + "}"}, "damaged metadata, options"),
        ({"step": None}, "damaged metadata, step"),
        ({"step": "-1"}, "damaged metadata, step"),
        ({"step": "9" * 19}, "damaged metadata, step"),
        ({"step": "٣"}, "damaged metadata, step"),
        ({"about": "x" * 10001}, "damaged metadata, about"),
        ({"source": "x" * 10**6}, "damaged metadata, source"),
        ({"options": "[4]"}, "options in its metadata: expected a mapping of options"),
        ({"options": "{}"}, "options in its metadata: scale: missing"),
        ({"options": changed_options("network_G", "k", value=8)}, "network_G.k: unknown key"),
        ({"options": changed_options("network_G", "flow", value=[[[]]])}, "network_G.flow: expected a section"),
        ({"options": changed_options("network_G", "flow", "K", value=10**6)}, "network_G.flow.K: expected an integer"),
        (
            {"options": changed_options("network_G", "nf", value=10**5)},
            "expected a network of at most 1e+09 parameters",
        ),
        ({"options": changed_options("x\n\u001b\ud800" * 1000, value=1)}, "unknown key"),
        (
            {"options": changed_options("network_G", "flow", "CondAffineSeparatedAndCond", "eps", value=float("inf"))},
            "eps: expected a number > 0",
        ),
    ],
)
def test_metadata_that_cannot_be_used(change, words, tmp_path):
    """One line, from every function that looks at them."""
    metadata = {"format": "srflow", "options": json.dumps(network_settings(options_from_dict(SETTINGS))), "step": "1"}
    metadata = {key: text for key, text in {**metadata, **change}.items() if text is not None}
    path = str(tmp_path / "a.safetensors")
    save_file({"a": np.zeros(1, np.float32)}, path, metadata=metadata)
    for read in (read_any, describes_itself):
        with pytest.raises((CheckpointError, OptionsError)) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and words in message
        assert message.isprintable() and len(message) < 500 + len(path)


@pytest.mark.parametrize("metadata", ['{"format": 1}', '["srflow"]', '{"format": {"srflow": "srflow"}}', '"srflow"'])
def test_metadata_that_are_no_texts(metadata, tmp_path):
    entry = '{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'
    header = f'{{"__metadata__": {metadata}, "a": {entry}}}'.encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"1")
    for read in (read_any, describes_itself):
        assert_refused(tmp_path / "a.safetensors", "damaged", read=read)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": "pt", "options": "{", "step": "x"}, {"step": "1"}]
)
def test_metadata_of_others(metadata, arrays, tmp_path):
    """They change nothing: the configuration says which network it is, or else names and shapes do."""
    path = str(tmp_path / "a.safetensors")
    save_file(dict(arrays), path, metadata=metadata)
    assert not describes_itself(path)
    options = options_from_dict(SETTINGS)
    read = read_any(path, options)
    assert read.options is options
    assert read.state == {"step": 0, "actnorm_initialised": True, "source": OFFICIAL, "notes": []}
    assert_same(read.arrays, arrays)
    assert read_any(path).options.network_G.flow.CondAffineSeparatedAndCond.eps == 1e-4


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_a_truncated_file_that_describes_itself(percent, arrays, tmp_path):
    path = save_described(tmp_path / "a.safetensors", described(arrays))
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[: len(content) * percent // 100])
    for read in (read_any, describes_itself):
        assert_refused(path, "truncated", "copy it again", read=read)


# ---------------------------------------------------------------------------------------------------------------------
# Descriptions and mismatches


def test_description():
    assert describe_network(
        network_arrays(scale=8, K=3, n_transitions=1, nf=5, nb=3, gc=2, blocks=(0, 2), hidden=7)
    ) == {
        "scale": 8,
        "nf": 5,
        "nb": 3,
        "gc": 2,
        "L": 4,
        "K": 3,
        "n_transitions": 1,
        "levels_with_split": [1, 2],
        "hidden": 7,
        "blocks": 2,
    }


@pytest.mark.parametrize(
    "options, expected",
    [
        (dict(scale=16, K=1), dict(scale=16, L=5, levels_with_split=[1, 2, 3])),
        (dict(split_levels=0), dict(levels_with_split=[])),
        (dict(n_transitions=0), dict(n_transitions=0, K=2)),
        (dict(blocks=(1,)), dict(blocks=1)),
    ],
)
def test_descriptions_of_other_networks(options, expected):
    described = describe_network(network_arrays(**options))
    assert {key: described[key] for key in expected} == expected


def test_description_of_an_encoder(arrays):
    encoder = {name: value for name, value in arrays.items() if name.startswith("RRDB.")}
    assert describe_network(encoder) == {"scale": 4, "nf": 4, "nb": 2, "gc": 2}


def test_description_of_what_is_no_network():
    assert describe_network({}) == {}
    odd = {"RRDB.conv_first.weight": np.zeros(()), "flowUpsamplerNet.layers.1.affine.x": np.zeros(0)}
    assert describe_network(odd) == {"scale": 1, "L": 1, "K": 1, "n_transitions": 0, "levels_with_split": []}


def test_no_mismatch(arrays):
    assert explain_mismatch(arrays, shapes(arrays)) == []


def test_mismatches_are_counted_and_the_first_are_named(arrays):
    expected = shapes(arrays)
    changed = dict(arrays)
    del changed["RRDB.conv_first.bias"]
    changed["extra\nname"] = np.zeros(1)
    changed["RRDB.trunk_conv.bias"] = np.zeros(5)
    assert explain_mismatch(changed, expected) == [
        "1 missing: RRDB.conv_first.bias",
        "1 unexpected: extra name",
        "1 of another shape: RRDB.trunk_conv.bias (5,) instead of (4,)",
        "the networks are of the same kind and size; the file is incomplete or has been changed",
    ]


@pytest.mark.parametrize(
    "options, guess",
    [
        (dict(K=4), "file: K 4; network: K 2"),
        (dict(nb=3), "file: nb 3; network: nb 2"),
        (dict(nf=5), "file: nf 5; network: nf 4"),
        (dict(blocks=(1,)), "file: blocks 1; network: blocks 2"),
        (dict(n_transitions=1), "file: n_transitions 1; network: n_transitions 2"),
        (dict(split_levels=2), "file: levels_with_split [1, 2]; network: levels_with_split [1]"),
        (dict(scale=8), "file: scale 8, L 4, levels_with_split [1, 2]; network: scale 4, L 3, levels_with_split [1]"),
        (dict(hidden=8), "file: hidden 8; network: hidden 6"),
    ],
)
def test_guesses_at_the_cause(options, guess, arrays):
    lines = explain_mismatch(network_arrays(**options), shapes(arrays))
    assert lines[-1] == guess
    assert all("\n" not in line and len(line) < 400 for line in lines)


def test_guess_at_a_file_of_the_encoder_alone(arrays):
    encoder = {name: value for name, value in arrays.items() if name.startswith("RRDB.")}
    assert (
        explain_mismatch(encoder, shapes(arrays))[-1]
        == "the file is of the RRDB encoder alone, the network has a flow too"
    )
    assert (
        explain_mismatch(arrays, shapes(encoder))[-1]
        == "the file has a flow too, the network is the RRDB encoder alone"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Back to official files


@pytest.mark.parametrize("name", ["tiny_trained.pth", "tiny_8x.pth"])
def test_official_files_are_made_as_the_official_code_makes_them(name):
    """Names, order, shapes; `f`, which nothing reads, is zero."""
    recorded = read_pth(helpers.golden_path(name))
    arrays = read_weights(helpers.golden_path(name)).arrays
    official = to_official({key: arrays[key] for key in sorted(arrays)})
    assert list(official) == list(recorded)
    for key, value in official.items():
        assert (value.shape, value.dtype) == (recorded[key].shape, np.float32)
        if key.startswith("flowUpsamplerNet.f."):
            assert not value.any()
        else:
            np.testing.assert_array_equal(value, recorded[key])


@pytest.mark.parametrize("options", [dict(K=16), dict(scale=16, K=1), dict(n_transitions=0)])
def test_official_and_back(options, tmp_path):
    arrays = network_arrays(**options)
    official = to_official(arrays)
    assert official["flowUpsamplerNet.f.0.weight"].shape == (96, 12, 3, 3)  # 3 · nf conditional channels
    path = save_torch(tmp_path / "a.pth", official)
    assert list(read_pth(path)) == list(official)
    assert_same(read_weights(path).arrays, arrays)


def test_an_encoder_alone_and_back(arrays, encoder, tmp_path):
    official = to_official({name: value for name, value in arrays.items() if name.startswith("RRDB.")})
    assert sorted(official) == sorted(encoder)
    assert list(official)[:2] == ["conv_first.weight", "conv_first.bias"]
    weights = read_weights(save_torch(tmp_path / "a.pth", official))
    assert weights.kind == OFFICIAL_RRDB
    assert_same(weights.arrays, {"RRDB." + name: value for name, value in encoder.items()})


def test_a_file_without_the_couplings_first_weights(arrays, tmp_path):
    """They tell how many channels are hidden: without a configuration that is guessed, and what is missing named."""
    left = {name: value for name, value in arrays.items() if not name.endswith(".affine.fAffine.0.weight")}
    with pytest.raises(CheckpointError, match="missing: flowUpsamplerNet.*fAffine.0.weight"):
        SRFlow.from_checkpoint(save_safetensors(tmp_path / "a.safetensors", left))
