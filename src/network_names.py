# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Official names and shapes of parameters: those that a network has, and the network that they tell of."""

import math
import re

import numpy as np

from src.texts import first_few

# A parameter that every encoder has, without the prefix `RRDB.`.
ANCHOR = "RRDB_trunk.0.RDB1.conv1.weight"
# Layers that make the encoder's own image for its pre-training. The flow does not read it.
IMAGE_ONLY = ("RRDB.HRconv.", "RRDB.conv_last.")
UNREAD = "flowUpsamplerNet.f."  # a convolution of the official code that nothing reads
UNREAD_CHANNELS = 96  # its output channels, at scale 4 and 8

LAYER = re.compile(r"flowUpsamplerNet\.layers\.(\d{1,5})\.(.+)")

# A condition number of a 1×1 weight. Above it float32, of 2⁻²⁴ = 6e-8 precision, keeps but one digit of the inverse.
LARGE_CONDITION = 1e6

# Kinds of layers: a step without a coupling, a step with one, a split.
TRANSITION, COUPLING, SPLIT = "transition", "coupling", "split"
# The encoder blocks that condition the flow in the published networks, by the number of blocks.
PUBLISHED_BLOCKS = {23: [1, 8, 15, 22], 8: [1, 3, 5, 7]}


def split_levels(opt):
    """Count the levels of the flow that end in a split, which are the first ones; opt: Options with a flow."""
    flow = opt.network_G.flow
    if not flow.split.enable:
        return 0
    return flow.L - 1 if flow.split.correct_splits else flow.L - 2


def shapes_of(opt):
    """Return the name and shape of every parameter of the network that Options describe.

    A weight file must have these. They also tell how large the network would be before it is built.

    Args:
        opt: Options, with or without a flow.

    Returns:
        dict from name to shape, a tuple of int.
    """
    network, shapes = opt.network_G, {}
    for name, inputs, outputs in encoder_convolutions(opt.scale, network.nf, network.nb, network.gc):
        shapes[f"RRDB.{name}.weight"], shapes[f"RRDB.{name}.bias"] = (outputs, inputs, 3, 3), (outputs,)
    if network.flow is not None:
        shapes.update(_flow_shapes(opt))
    return shapes


def encoder_convolutions(scale, nf, nb, gc):
    """Yield (name, input channels, output channels) of each of the encoder's convolutions, in the network's order."""
    yield "conv_first", 3, nf
    for block in range(nb):
        for dense_block in ("RDB1", "RDB2", "RDB3"):
            for k in range(5):
                yield f"RRDB_trunk.{block}.{dense_block}.conv{k + 1}", nf + k * gc, gc if k < 4 else nf
    for name in ["trunk_conv"] + [f"upconv{k + 1}" for k in range(int(math.log2(scale)))] + ["HRconv"]:
        yield name, nf, nf
    yield "conv_last", nf, 3


def _flow_shapes(opt):
    flow = opt.network_G.flow
    features = opt.network_G.nf * (1 + len(flow.stackRRDB.blocks))
    shapes, channels, number = {}, 3, 0

    def add(values):
        shapes.update({f"flowUpsamplerNet.layers.{number}.{name}": shape for name, shape in values.items()})

    for level in range(flow.L):
        channels *= 4
        number += 1  # the squeeze
        for step in range(flow.additionalFlowNoAffine + flow.K):
            add(
                {
                    "actnorm.bias": (1, channels, 1, 1),
                    "actnorm.logs": (1, channels, 1, 1),
                    "invconv.weight": (channels, channels),
                }
            )
            if step >= flow.additionalFlowNoAffine:
                hidden, kept = flow.CondAffineSeparatedAndCond.hidden_channels, channels // 2
                add(_coupling_net("fAffine", kept + features, hidden, 2 * (channels - kept)))
                add(_coupling_net("fFeatures", features, hidden, 2 * channels))
            number += 1
        if level < split_levels(opt):
            add(_zeros_convolution("conv", channels // 2, channels))
            channels //= 2
            number += 1
    return shapes


def _coupling_net(name, inputs, hidden, outputs):
    shapes = {f"affine.{name}.0.weight": (hidden, inputs, 3, 3), f"affine.{name}.2.weight": (hidden, hidden, 1, 1)}
    for layer in (0, 2):
        for kind in ("bias", "logs"):
            shapes[f"affine.{name}.{layer}.actnorm.{kind}"] = (1, hidden, 1, 1)
    shapes.update(_zeros_convolution(f"affine.{name}.4", hidden, outputs))
    return shapes


def _zeros_convolution(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,), f"{name}.logs": (outputs, 1, 1)}


def levels_of(names):
    """Return the kinds of every level's layers, in order.

    A squeeze begins each level. It has no parameters, so a number that is missing marks it.

    Args:
        names: parameters' official names.

    Returns:
        list of levels, each a list of TRANSITION, COUPLING or SPLIT.
    """
    kinds = {}
    for match in filter(None, map(LAYER.match, names)):
        number, rest = int(match.group(1)), match.group(2)
        kind = {"affine": COUPLING, "conv": SPLIT}.get(rest.split(".")[0], TRANSITION)
        if kinds.get(number, TRANSITION) == TRANSITION:
            kinds[number] = kind
    levels = []
    for number in sorted(kinds):
        if number - 1 not in kinds:
            levels.append([])
        levels[-1].append(kinds[number])
    return levels


def is_level(kinds):
    """Tell whether a level is plain steps, then coupling steps, then at most one split."""
    return kinds == sorted(kinds, key=(TRANSITION, COUPLING, SPLIT).index) and kinds.count(SPLIT) <= 1


def describe_network(arrays):
    """Find out what parameters' names and shapes tell of their network.

    Args:
        arrays: by official name; only their shapes count.

    Returns:
        dict of what could be found. Of the encoder: `scale`, `nf`, `nb` and `gc`. Of the flow: `L`, `K`,
        `n_transitions` (the option additionalFlowNoAffine), `levels_with_split` (their numbers, from 1), `hidden`
        (channels inside a coupling's nets) and `blocks` (how many encoder blocks condition the flow; only the
        configuration tells which). `K` and `n_transitions` are lists where the levels differ.
    """
    return describe_shapes({name: value.shape for name, value in arrays.items()})


def describe_shapes(shapes):
    """Tell what `describe_network` does, of names and shapes alone."""
    levels = levels_of(shapes)
    first = next((name[: name.index(".affine.") + len(".affine.")] for name in shapes if ".affine." in name), "")
    nf = _size(shapes, "RRDB.conv_first.weight", 0)
    condition = _size(shapes, first + "fFeatures.0.weight", 1)
    blocks = {name.split(".")[2] for name in shapes if name.startswith("RRDB.RRDB_trunk.")}
    found = {
        "scale": _scale(shapes, len(levels)),
        "nf": nf,
        "nb": len(blocks) or None,
        "gc": _size(shapes, "RRDB." + ANCHOR, 0),
    }
    if levels:
        found.update(
            L=len(levels),
            K=_common([level.count(COUPLING) for level in levels]),
            n_transitions=_common([level.count(TRANSITION) for level in levels]),
            levels_with_split=[number for number, level in enumerate(levels, 1) if SPLIT in level],
            hidden=_size(shapes, first + "fAffine.0.weight", 0),
            blocks=condition // nf - 1 if condition and nf else None,
        )
    return {key: value for key, value in found.items() if value is not None}


def _scale(shapes, level_count):
    """Return the scale that the encoder's ×2 steps tell; None if it is unknown.

    A file without the layers of the encoder's image may lack some of these steps. There the number of levels tells.
    """
    upconvs = sum(bool(re.match(r"RRDB\.upconv\d+\.weight$", name)) for name in shapes)
    if level_count and not any(name.startswith(IMAGE_ONLY) for name in shapes):
        return 2 ** (level_count - 1)
    return 2**upconvs if upconvs else None


def _size(shapes, name, axis):
    shape = shapes.get(name, ())
    return int(shape[axis]) if len(shape) > axis else None


def _common(numbers):
    return numbers[0] if len(set(numbers)) == 1 else numbers


def explain_mismatch(arrays, expected_shapes):
    """Say what keeps arrays from being a network's parameters.

    Args:
        arrays: by official name.
        expected_shapes: name -> shape of the network's parameters.

    Returns:
        list of lines, the last one a guess at the cause; empty if nothing is wrong.
    """
    missing = [name for name in expected_shapes if name not in arrays]
    unexpected = [name for name in arrays if name not in expected_shapes]
    reshaped = [
        f"{name} {arrays[name].shape} instead of {tuple(shape)}"
        for name, shape in expected_shapes.items()
        if name in arrays and arrays[name].shape != tuple(shape)
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    lines = [f"{len(found)} {what}: {first_few(found)}" for what, found in problems.items() if found]
    return lines + [_guess(describe_network(arrays), describe_shapes(expected_shapes), missing)] if lines else []


def _guess(file, network, missing):
    """Return the likely cause of a mismatch.

    Args:
        file, network: what is known of each, as `describe_network` gives it.
        missing: names that the file lacks.
    """
    if "L" in network and "L" not in file:
        return "the file is of the RRDB encoder alone, the network has a flow too"
    if "L" in file and "L" not in network:
        return "the file has a flow too, the network is the RRDB encoder alone"
    changed = [key for key in {**file, **network} if file.get(key) != network.get(key)]
    if changed:
        return "; ".join(
            f"{whose}: " + ", ".join(f"{key} {description.get(key, 'unknown')}" for key in changed)
            for whose, description in (("file", file), ("network", network))
        )
    if missing and all(name.startswith(IMAGE_ONLY) for name in missing):
        return "the file is without the layers that only make the encoder's own image; the flow does not need them"
    return "the networks are of the same kind and size; the file is incomplete or has been changed"


# ---------------------------------------------------------------------------------------------------------------------
# Back to official files

# Parts of names in the order of the official state dict.
ORDER = (
    "RRDB",
    "flowUpsamplerNet",
    "conv_first",
    "RRDB_trunk",
    "trunk_conv",
    "upconv1",
    "upconv2",
    "upconv3",
    "upconv4",
    "HRconv",
    "conv_last",
    "layers",
    "f",
    "weight",
    "bias",
    "logs",
    "actnorm",
    "invconv",
    "affine",
    "conv",
)


def with_prefix(arrays):
    """Return parameters with `RRDB.` before the names of an encoder alone, which have no prefix."""
    whole = any(name.startswith("RRDB.") for name in arrays)
    return arrays if whole else {f"RRDB.{name}": value for name, value in arrays.items()}


def to_official(arrays):
    """Return arrays as the official state dict has them: in its order and with UNREAD, as zeros.

    The arrays of an encoder alone lose the prefix `RRDB.`, as in the official pre-training. Layers that only make the
    encoder's image stay absent where they are; the official code then needs `strict=False`.

    Args:
        arrays: by official name.
    """
    ordered = {name: arrays[name] for name in sorted(arrays, key=_place)}
    features = next((value for name, value in ordered.items() if name.endswith(".affine.fFeatures.0.weight")), None)
    if features is not None:
        channels = features.shape[1]
        ordered[UNREAD + "0.weight"] = np.zeros((UNREAD_CHANNELS, channels, 3, 3), np.float32)
        ordered[UNREAD + "0.bias"] = np.zeros(UNREAD_CHANNELS, np.float32)
    if all(name.startswith("RRDB.") for name in ordered):
        return {name[len("RRDB.") :]: value for name, value in ordered.items()}
    return ordered


def _place(name):
    """Return a key that sorts names as the official code does."""
    return [
        (ORDER.index(part) if part in ORDER else len(ORDER), int(part) if part.isdecimal() else -1, part)
        for part in name.split(".")
    ]
