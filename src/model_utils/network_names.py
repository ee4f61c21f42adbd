# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What the official names and shapes of parameters tell: which network they are of, and why one fits no other."""
import re

import numpy as np

# Every encoder has this name.
ANCHOR = "RRDB_trunk.0.RDB1.conv1.weight"
# They make the encoder's own image, for its pre-training; the flow does not read it.
IMAGE_ONLY = ("RRDB.HRconv.", "RRDB.conv_last.")
UNREAD = "flowUpsamplerNet.f."  # a convolution of the official code that nothing reads
UNREAD_CHANNELS = 96  # that it makes, at scale 4 and 8

LAYER = re.compile(r"flowUpsamplerNet\.layers\.(\d{1,5})\.(.+)")

PLAIN, COUPLING, SPLIT = "plain", "coupling", "split"
# The encoder blocks that condition the flow in the published networks, by the number of blocks.
PUBLISHED_BLOCKS = {23: [1, 8, 15, 22], 8: [1, 3, 5, 7]}


def levels_of(names):
    """The kinds of every level's layers in order; a squeeze, which has no names, begins each level."""
    kinds = {}
    for match in filter(None, map(LAYER.match, names)):
        number, rest = int(match.group(1)), match.group(2)
        kind = {"affine": COUPLING, "conv": SPLIT}.get(rest.split(".")[0], PLAIN)
        if kinds.get(number, PLAIN) == PLAIN:
            kinds[number] = kind
    levels = []
    for number in sorted(kinds):
        if number - 1 not in kinds:
            levels.append([])
        levels[-1].append(kinds[number])
    return levels


def is_level(kinds):
    """Whether a level is plain steps, then coupling steps, then at most one split."""
    return kinds == sorted(kinds, key=(PLAIN, COUPLING, SPLIT).index) and kinds.count(SPLIT) <= 1


def describe_network(arrays):
    """What names and shapes tell of the network, as a dictionary of what could be found.

    arrays: by official name. Keys: scale, nf, nb, gc, of the encoder; L, K, n_transitions (additionalFlowNoAffine),
    split_levels (numbers of the levels with a split, from 1), hidden (channels in a coupling's nets), blocks (how many
    encoder blocks condition the flow; which ones, only the configuration tells). K and n_transitions are lists where
    levels differ.
    """
    return _describe({name: value.shape for name, value in arrays.items()})


def _describe(shapes):
    levels = levels_of(shapes)
    first = next((name[:name.index(".affine.") + len(".affine.")] for name in shapes if ".affine." in name), "")
    nf = _size(shapes, "RRDB.conv_first.weight", 0)
    condition = _size(shapes, first + "fFeatures.0.weight", 1)
    blocks = {name.split(".")[2] for name in shapes if name.startswith("RRDB.RRDB_trunk.")}
    found = {"scale": _scale(shapes, len(levels)), "nf": nf, "nb": len(blocks) or None,
             "gc": _size(shapes, "RRDB." + ANCHOR, 0)}
    if levels:
        found.update(L=len(levels), K=_common([level.count(COUPLING) for level in levels]),
                     n_transitions=_common([level.count(PLAIN) for level in levels]),
                     split_levels=[number for number, level in enumerate(levels, 1) if SPLIT in level],
                     hidden=_size(shapes, first + "fAffine.0.weight", 0),
                     blocks=condition // nf - 1 if condition and nf else None)
    return {key: value for key, value in found.items() if value is not None}


def _scale(shapes, level_count):
    """By the encoder's ×2 steps; without its image, it need not have them all, and the levels tell."""
    upconvs = sum(bool(re.match(r"RRDB\.upconv\d+\.weight$", name)) for name in shapes)
    if level_count and not any(name.startswith(IMAGE_ONLY) for name in shapes):
        return 2 ** (level_count - 1)
    return 2 ** upconvs if upconvs else None


def _size(shapes, name, axis):
    shape = shapes.get(name, ())
    return int(shape[axis]) if len(shape) > axis else None


def _common(numbers):
    return numbers[0] if len(set(numbers)) == 1 else numbers


def explain_mismatch(arrays, expected_shapes):
    """What keeps arrays from being a network's parameters: a line each, the last a guess at the cause; [] if nothing.

    arrays: by official name; expected_shapes: name -> shape of the network's parameters.
    """
    missing = [name for name in expected_shapes if name not in arrays]
    unexpected = [name for name in arrays if name not in expected_shapes]
    reshaped = [f"{name} {arrays[name].shape} instead of {tuple(shape)}" for name, shape in expected_shapes.items()
                if name in arrays and arrays[name].shape != tuple(shape)]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    lines = [f"{len(found)} {what}: {first_three(found)}" for what, found in problems.items() if found]
    return lines + [_guess(describe_network(arrays), _describe(expected_shapes), missing)] if lines else []


def _guess(file, network, missing):
    """The likely cause of a mismatch, from two descriptions."""
    if "L" in network and "L" not in file:
        return "the file is of the RRDB encoder alone, the network has a flow too"
    if "L" in file and "L" not in network:
        return "the file has a flow too, the network is the RRDB encoder alone"
    changed = [key for key in {**file, **network} if file.get(key) != network.get(key)]
    if changed:
        return "; ".join(f"{whose}: " + ", ".join(f"{key} {description.get(key, 'unknown')}" for key in changed)
                         for whose, description in (("file", file), ("network", network)))
    if missing and all(name.startswith(IMAGE_ONLY) for name in missing):
        return "the file is without the layers that only make the encoder's own image; the flow does not need them"
    return "the networks are of the same kind and size; the file is incomplete or has been changed"


# ---------------------------------------------------------------------------------------------------------------------
# Back to official files

# Parts of names in the order of the official state dict.
ORDER = ("RRDB", "flowUpsamplerNet", "conv_first", "RRDB_trunk", "trunk_conv", "upconv1", "upconv2", "upconv3",
         "upconv4", "HRconv", "conv_last", "layers", "f",
         "weight", "bias", "logs", "actnorm", "invconv", "affine", "conv")


def to_official(arrays):
    """The arrays as the official state dict has them: in its order and with UNREAD, as zeros.

    arrays: by official name. Those of an encoder alone lose `RRDB.`, as in the official pre-training. Image-only layers
    that are absent stay so: the official code then needs `strict=False`.
    """
    ordered = {name: arrays[name] for name in sorted(arrays, key=_place)}
    features = next((value for name, value in ordered.items() if name.endswith(".affine.fFeatures.0.weight")), None)
    if features is not None:
        channels = features.shape[1]
        ordered[UNREAD + "0.weight"] = np.zeros((UNREAD_CHANNELS, channels, 3, 3), np.float32)
        ordered[UNREAD + "0.bias"] = np.zeros(UNREAD_CHANNELS, np.float32)
    if all(name.startswith("RRDB.") for name in ordered):
        return {name[len("RRDB."):]: value for name, value in ordered.items()}
    return ordered


def _place(name):
    """A key that sorts names as the official code does."""
    return [(ORDER.index(part) if part in ORDER else len(ORDER), int(part) if part.isdecimal() else -1, part)
            for part in name.split(".")]


def first_three(texts):
    """The first three of a file's texts in one line of bounded length."""
    shown = [" ".join(text.split())[:120] for text in list(texts)[:3]]
    return ", ".join(shown + (["…"] if len(texts) > 3 else []))
