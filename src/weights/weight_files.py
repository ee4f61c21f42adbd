# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Weight files of other programs than ours, under the names of our parameters.

The official `.pth`, its content as `.safetensors`, both checkpoints of the earlier MindSpore port, and ncnn's files of
an encoder are read. `.pth` and `.safetensors` are written too. The content shows what a file is: its name does not
matter.

A `.safetensors` file that train2test.py wrote describes itself in safetensors' `__metadata__`, a dict of strings:

    format    "srflow"
    options   JSON of the options of its network, see `network_settings`
    step      number of steps for which it was trained
    about     a text of whoever converted it; may be absent
    source    the kind of another program's file that it was converted from; absent otherwise
"""

import json
import mmap
import re
from typing import Dict, List, NamedTuple

import numpy as np
import safetensors
from safetensors.numpy import save_file

from src.model_utils.options import network_settings, options_from_dict
from src.model_utils.util import atomic_write
from src.network_names import (
    ANCHOR,
    IMAGE_ONLY,
    LARGE_CONDITION,
    PUBLISHED_BLOCKS,
    UNREAD,
    describe_network,
    is_level,
    levels_of,
    to_official,
)
from src.texts import first_few, printable
from src.weights.checkpoint import (
    DESCRIPTION,
    TRAINING,
    Checkpoint,
    CheckpointError,
    parse_description,
    read_checkpoint,
    read_mindspore,
)
from src.weights.mindspore_file import MAGIC as MINDSPORE_MAGIC
from src.weights.ncnn_file import is_ncnn_file, read_ncnn
from src.weights.torch_file import FREE_BYTES, MAX_SHARING, is_torch_file, read_pth, reading, widen_bfloat16, write_pth

OFFICIAL, OFFICIAL_RRDB = "official SRFlow", "official RRDB"
PORT_TRAINING, PORT_TEST = "earlier port, training", "earlier port, test"
NCNN_RRDB = "ESRGAN's RRDBNet in ncnn's format"
ESRGAN_NOTE = (
    "an ESRGAN's encoder: its blocks condition a flow as they are, but its own image is right only with ESRGAN's sum, "
    "which adds conv_first's output after trunk_conv, where SRFlow adds the last block's"
)

TORCH = (".pth", ".pt")
SAFETENSORS = ".safetensors"
EXPORTED = TORCH + (SAFETENSORS,)  # suffixes that `write_any` knows
OWN_FORMAT = "srflow"  # of metadata that describe the network
MAX_OPTIONS, MAX_ABOUT = 2**16, 10000  # of metadata: bytes of the options, characters of another text
MAX_CHANNELS = 1024  # of a 1×1 weight; no network has more, and inverting larger ones would take minutes

PORT_LAYER = re.compile(r"flowUpsamplerNet\.layers_(\d{1,5})\.(\d{1,5})\.(.+)")


class Weights(NamedTuple):
    """The contents of another program's weight file.

    Attributes:
        kind: OFFICIAL, OFFICIAL_RRDB, PORT_TRAINING, PORT_TEST or NCNN_RRDB.
        arrays: float32 arrays by official name, without UNREAD. The prefix `RRDB.` is there even where the file is of
            the encoder alone.
        notes: what the user should know, a line each.
    """

    kind: str
    arrays: Dict[str, np.ndarray]
    notes: List[str]


def read_any(path, opt=None):
    """Read the Checkpoint in a file, whoever wrote it: train.py, train2test.py or another program.

    A checkpoint of another program has two more keys in its state: `notes`, what the user should know of the file, and
    `source`, the kind of the file. A `.safetensors` file of train2test.py has `notes` too, and the `source` that it
    was converted from.

    Args:
        path: the file.
        opt: Options that say which network a file of another program holds, as such a file does not; None: those of the
            published configuration, with what names and shapes tell. A file that describes itself keeps its own.

    Raises:
        CheckpointError: with one line that says what is wrong with the file.
        OptionsError: no usable options are in the file, or follow from its names and shapes.
    """
    if is_own_checkpoint(path):
        return read_checkpoint(path)
    described, weights = _read_own_metadata(path), read_weights(path)
    if described is None:
        described = opt or _published_options(weights.arrays, path), {"step": 0, "source": weights.kind}
    options, state = described
    state = dict(state, actnorm_initialised=True, notes=weights.notes)
    return Checkpoint(TRAINING, options, weights.arrays, state)


def describes_itself(path):
    """Tell by its content whether a file says which network it holds, so that no configuration has to.

    Raises:
        CheckpointError: the file cannot be read, or what it says of itself cannot.
        OptionsError: it says so by options that cannot be used.
    """
    return is_own_checkpoint(path) or _read_own_metadata(path) is not None


def write_any(path, arrays, metadata=None, float16=False):
    """Write parameters for PyTorch and the official code, in the format that the path's suffix names.

    The suffix is `.pth`, `.pt` or `.safetensors`. The file appears whole or not at all.

    Args:
        path: the file to write.
        arrays: by official name.
        metadata: texts by name for `.safetensors`, as `metadata_of` returns them; None: none.
        float16: whether `.safetensors` holds the convolutions' weights in float16; all else stays in float32.

    Raises:
        CheckpointError: a weight is too large for float16.
        OSError: the disk does not take it.
    """
    arrays = to_official(arrays)
    if str(path).endswith(TORCH):
        write_pth(path, arrays)
        return
    if float16:
        arrays = {
            name: _as_float16(name, value) if _is_kernel(name, value) else value for name, value in arrays.items()
        }
    with atomic_write(path) as temporary:
        try:
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, temporary, metadata)
        except safetensors.SafetensorError as error:
            raise OSError(f"{path}: could not be written: {error}") from None


def metadata_of(checkpoint, heat=None):
    """Return the metadata by which a file with a Checkpoint's parameters describes itself: a dict of str.

    Args:
        checkpoint: the Checkpoint.
        heat: at which to sample; None: that of its options, which is not always the best one after the training.
    """
    state, settings = checkpoint.state, network_settings(checkpoint.options)
    if heat is not None:
        settings["heat"] = heat
    return {
        "format": OWN_FORMAT,
        "options": json.dumps(settings, sort_keys=True),
        "step": str(state["step"]),
        **{key: printable(state[key])[:MAX_ABOUT] for key in ("about", "source") if state.get(key)},
    }


def _is_kernel(name, value):
    """Tell whether an array is a convolution's weights; those of a 1×1 mixing of channels are a matrix."""
    return value.ndim == 4 and name.endswith(".weight")


def _as_float16(name, value):
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    if not np.isfinite(half).all():
        raise CheckpointError(
            f"{name}: has a value of size {np.abs(value).max():.3g}, beyond float16's {np.finfo(np.float16).max:.0f}; "
            "convert without --float16"
        )
    return half


def _published_options(arrays, path):
    """Return the Options of the network in another program's file.

    What names and shapes do not tell is taken to be as published.
    """
    found = describe_network(arrays)
    network = {key: found[key] for key in ("nf", "nb", "gc") if key in found}
    coupling = {"hidden_channels": found["hidden"]} if "hidden" in found else {}  # if missing, told later
    settings = {"model": "SRFlow" if "L" in found else "RRDB", "scale": found.get("scale"), "network_G": network}
    if "L" in found:
        network["flow"] = {
            "K": found["K"],
            "L": found["L"],
            "additionalFlowNoAffine": found["n_transitions"],
            "split": {
                "enable": bool(found["levels_with_split"]),
                "correct_splits": len(found["levels_with_split"]) == found["L"] - 1,
            },
            "stackRRDB": {"blocks": _published_blocks(found, path)},
            "CondAffineSeparatedAndCond": coupling,
        }
    return options_from_dict(settings, source=f"{path}: its names and shapes")


def _published_blocks(found, path):
    """Return which encoder blocks condition the flow: the file only tells how many do."""
    count, nb = found.get("blocks"), found.get("nb", 0)
    blocks = list(range(nb)) if count == nb else PUBLISHED_BLOCKS.get(nb, [])
    if len(blocks) != count:
        raise CheckpointError(
            f"{path}: {count} of {nb} RRDB blocks condition the flow, but the file does not tell "
            "which; give the network's configuration"
        )
    return blocks


def read_weights(path):
    """Read the Weights in a file of another program.

    Raises:
        CheckpointError: with one line that says what is wrong with the file.
    """
    path = str(path)
    notes, head = [], _read_head(path)
    if is_ncnn_file(head):
        return Weights(NCNN_RRDB, {f"RRDB.{name}": value for name, value in read_ncnn(path).items()}, [ESRGAN_NOTE])
    arrays = _unwrap(_read_arrays(path, head), path, notes)
    kind = OFFICIAL if any(name.startswith("flowUpsamplerNet.") for name in arrays) else OFFICIAL_RRDB
    if any(PORT_LAYER.match(name) for name in arrays):
        kind, arrays = _from_port(arrays, path, notes)
    if kind != OFFICIAL_RRDB and not any(name.startswith(IMAGE_ONLY) for name in arrays):
        notes.append(
            "HRconv and conv_last are absent; they only make the encoder's own image, which the flow does not need"
        )
    arrays = {name: value for name, value in arrays.items() if not name.startswith(UNREAD)}
    return Weights(kind, _as_float32(arrays, path), notes)


def _as_float32(arrays, path):
    """Return the arrays as float32; a number that is too large for it becomes infinite.

    Raises:
        CheckpointError: the arrays would be far larger than they are in the file.
    """
    size, widened = sum(value.nbytes for value in arrays.values()), 4 * sum(value.size for value in arrays.values())
    if widened > MAX_SHARING * size + FREE_BYTES:
        raise CheckpointError(f"{path}: holds integers where weights were expected; use another file")
    with np.errstate(over="ignore"):
        return {name: value.astype(np.float32, copy=False) for name, value in arrays.items()}


def is_own_checkpoint(path):
    """Tell by its content whether train.py or train2test.py wrote a file, which is then for `read_checkpoint`."""
    path = str(path)
    with reading(path), open(path, "rb") as file:
        if file.read(1) != MINDSPORE_MAGIC:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(DESCRIPTION.encode()) >= 0


# ---------------------------------------------------------------------------------------------------------------------
# Containers

MINDSPORE_TYPES = {
    "Float32": "<f4",
    "Float16": "<f2",
    "Float64": "<f8",
    "BFloat16": "<u2",
    "Int32": "<i4",
    "Int64": "<i8",
    "Int16": "<i2",
    "Int8": "<i1",
    "UInt8": "<u1",
    "Bool": "?",
}
MAX_SAFETENSORS_HEADER = 10**7  # bytes; weights need a fiftieth, and the format allows 10 ** 8
SAFETENSORS_TYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "BF16": "<u2",
    "I32": "<i4",
    "I64": "<i8",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


def _read_head(path):
    """Read the first bytes, which tell what a file is."""
    with reading(path), open(path, "rb") as file:
        return file.read(9)


def _read_arrays(path, head):
    """Read name -> array from any kind of file that is known here."""
    if _is_safetensors(head):
        return _read_safetensors(path)
    if is_torch_file(head):
        return read_pth(path)
    if head.startswith(MINDSPORE_MAGIC):
        return _read_mindspore(path)
    if not head:
        raise CheckpointError(f"{path}: an empty file; copy it again or use another")
    raise CheckpointError(
        f"{path}: no weight file: neither of PyTorch (.pth) nor safetensors nor of MindSpore "
        "(.ckpt) nor of ncnn (.bin); copy it again or use another"
    )


def _is_safetensors(head):
    """Tell by the first nine bytes: the length of a header, then the header, in JSON."""
    return len(head) == 9 and head.endswith(b"{") and int.from_bytes(head[:8], "little") < MAX_SAFETENSORS_HEADER


def _read_own_metadata(path):
    """Read what a `.safetensors` file of train2test.py says of itself.

    Returns:
        (Options of its network, state with `step`, and `about` and `source` where the file has them); None for any
        other file.

    Raises:
        CheckpointError: the file cannot be read, or its metadata cannot.
        OptionsError: the options in it cannot be used.
    """
    path = str(path)
    if not _is_safetensors(_read_head(path)):
        return None
    with reading(path):
        try:
            with safetensors.safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
        except safetensors.SafetensorError as error:
            raise ValueError(str(error)) from None
    return _parse_own_metadata(metadata, path) if metadata.get("format") == OWN_FORMAT else None


_STEP = re.compile("[0-9]{1,18}")


def _parse_own_metadata(metadata, path):
    """Return what `_read_own_metadata` does, of texts within bounds."""
    try:
        settings = parse_description(metadata.get("options", "").encode(), MAX_OPTIONS)
    except (ValueError, RecursionError):
        raise _unusable("options", path) from None
    if not _STEP.fullmatch(metadata.get("step", "")):
        raise _unusable("step", path)
    state = {key: metadata[key] for key in ("about", "source") if key in metadata}
    for key, text in state.items():
        if len(text) > MAX_ABOUT:
            raise _unusable(key, path)
    options = options_from_dict(settings, source=f"{path}: options in its metadata")
    # Only what describes the network is the file's to say.
    return options_from_dict(network_settings(options)), dict(state, step=int(metadata["step"]))


def _unusable(key, path):
    return CheckpointError(
        f"{path}: damaged metadata, {key} is not what train2test.py writes; copy the file again or use another"
    )


def _read_safetensors(path):
    with reading(path), open(path, "rb") as file:
        try:
            entries = safetensors.deserialize(file.read())
        except safetensors.SafetensorError as error:
            raise ValueError(str(error)) from None
        return {
            name: _to_array(name, entry["data"], entry["dtype"], entry["shape"], SAFETENSORS_TYPES)
            for name, entry in entries
        }


def _read_mindspore(path):
    with reading(path):
        entries = read_mindspore(path)
        if DESCRIPTION in entries:
            raise CheckpointError(
                f"{path}: a checkpoint of train.py or train2test.py; expected weights of another program"
            )
        return {
            name: _to_array(name, entry.data, entry.kind, entry.shape, MINDSPORE_TYPES)
            for name, entry in entries.items()
        }


def _to_array(name, data, kind, shape, types):
    if kind not in types:
        raise ValueError(f"{name[:80]} has numbers of type {kind[:20]}")
    values = np.frombuffer(data, types[kind])
    if kind in ("BFloat16", "BF16"):
        values = widen_bfloat16(values)
    return values.reshape(tuple(shape))


# ---------------------------------------------------------------------------------------------------------------------
# Names


def _unwrap(arrays, path, notes):
    """Return the network's arrays without what wraps their names, such as `module.` or `SRFlow.`.

    Where the file is of the encoder alone, the names get the prefix `RRDB.`. What is left out goes into the notes.

    Args:
        arrays: by the names in the file.
        path: the file, for the error message.
        notes: list to which a line is added.

    Raises:
        CheckpointError: there is no network in the file, or more than one.
    """
    prefixes = sorted((name[: -len(ANCHOR)] for name in arrays if name.endswith(ANCHOR)), key=len)
    if not prefixes:
        raise CheckpointError(
            f"{path}: weights of no SRFlow or RRDB network, as none is named {ANCHOR} but "
            f"{first_few(arrays)}; use another file"
        )
    first, copies = prefixes[0], prefixes[1:]  # an optimizer's moments repeat the names: moment1.SRFlow.RRDB. …
    if not all(prefix.endswith(first) for prefix in copies):
        raise CheckpointError(
            f"{path}: weights of several networks (names begin with {first_few(prefixes)}); save one alone"
        )
    wrapper, encoder_alone = (first[: -len("RRDB.")], False) if first.endswith("RRDB.") else (first, True)
    outside = tuple(prefix[: len(prefix) - len(first) + len(wrapper)] for prefix in copies)
    inside = {
        name: value for name, value in arrays.items() if name.startswith(wrapper) and not name.startswith(outside)
    }
    if len(inside) < len(arrays):
        left = [name for name in arrays if name not in inside]
        notes.append(f"left out {len(left)} entries that are no weights of the network, such as {first_few(left)}")
    return {("RRDB." if encoder_alone else "") + name[len(wrapper) :]: value for name, value in inside.items()}


def _from_port(arrays, path, notes):
    """Return (kind, arrays under official names) of a checkpoint of the earlier port.

    The port counts layers within a level, and the official code through all levels. In the port's test checkpoint they
    are counted backwards, and the 1×1 weights are inverted. Every level's first layer is a squeeze, which has no
    weights. So position 0 has a name in the test checkpoint alone, where it is the last layer.

    Args:
        arrays: by the port's names.
        path: the file, for the error message.
        notes: list to which a line is added.

    Raises:
        CheckpointError: layers are missing or in an order that no network has, or a weight cannot be inverted.
    """
    positions = {}
    for match in filter(None, map(PORT_LAYER.match, arrays)):
        positions.setdefault(int(match.group(1)), set()).add(int(match.group(2)))
    is_test = 0 in positions[min(positions)]
    start, official = 0, {}  # official: (level, position) -> number
    for level in sorted(positions):
        count = len(positions[level]) + 1  # the squeeze too
        if positions[level] != set(range(count - 1) if is_test else range(1, count)):
            raise CheckpointError(f"{path}: layers of level {level} are missing; copy it again or use another")
        official.update({(level, j): start + (count - 1 - j if is_test else j) for j in positions[level]})
        start += count
    renamed = {_official_name(name, official): value for name, value in arrays.items()}
    levels = levels_of(renamed)
    if sorted(positions) != list(range(1, len(levels) + 1)) or not all(map(is_level, levels)):
        raise CheckpointError(
            f"{path}: layers in an order that no SRFlow network has; it is damaged or incomplete, "
            "copy it again or use another"
        )
    if is_test:
        _invert_mixing_weights(renamed, path, notes)
    return (PORT_TEST if is_test else PORT_TRAINING), renamed


def _official_name(name, official):
    match = PORT_LAYER.match(name)
    if match is None:
        return name
    level, position, rest = match.groups()
    return f"flowUpsamplerNet.layers.{official[int(level), int(position)]}.{rest}"


def _invert_mixing_weights(arrays, path, notes):
    """Replace every 1×1 weight by its inverse, computed in float64."""
    worst, worst_name = 0.0, None
    for name in [name for name in arrays if name.endswith(".invconv.weight")]:
        weight = arrays[name].astype(np.float64)
        if weight.ndim != 2 or max(weight.shape) > MAX_CHANNELS:
            raise CheckpointError(f"{path}: {name}: a matrix that cannot be inverted; use another checkpoint")
        try:
            with np.errstate(over="ignore"):
                inverse = np.linalg.inv(weight).astype(np.float32)
            condition = np.linalg.cond(weight)
        except np.linalg.LinAlgError:
            inverse = condition = np.inf
        if not np.isfinite(inverse).all() or not np.isfinite(condition):
            raise CheckpointError(f"{path}: {name}: a matrix that cannot be inverted; use another checkpoint")
        arrays[name] = inverse
        if condition > worst:
            worst, worst_name = condition, name
    text = f"1×1 weights were stored inverted and are inverted back; largest condition number {worst:.3g}"
    notes.append(text + (f" ({worst_name}): its last digits are lost" if worst > LARGE_CONDITION else ""))
