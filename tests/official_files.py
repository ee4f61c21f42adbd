# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in for the recordings that are too big for the repository, so that a clone alone tests nearly as much.

golden/seeded_*.npz hold outputs of the official code for weights that a seed draws. With these weights, and the names,
shapes and order of the official state dicts in golden/official_shapes.json, a `.pth` file as torch writes it takes the
place of each that is not here, and the seeded recording that of its outputs.
"""

import atexit
import collections
import functools
import json
import os
import shutil
import tempfile

import numpy as np
from seeded_weights import seeded_state

UNREAD = "flowUpsamplerNet.f."
SCALES = {"tiny_init.pth": 4, "tiny_trained.pth": 4, "tiny_8x.pth": 8}
SEEDS = {"tiny_init.pth": 13, "tiny_trained.pth": 11, "tiny_8x.pth": 12}  # of the last two, those of the outputs below
OUTPUTS = {
    "tiny_eval.npz": ("seeded_4x.npz", ("eps_split", "z"), ("sample_eps", "sample_z")),
    "tiny_8x_eval.npz": (
        "seeded_8x.npz",
        ("eps_0", "eps_1", "eps_2"),
        ("sample_eps_0", "sample_eps_1", "sample_eps_2"),
    ),
}


def official_shapes(golden, scale):
    """Name -> shape of the official state dict of `tiny` or `tiny_8x`, in its order; golden: the folder."""
    with open(os.path.join(golden, "official_shapes.json")) as file:
        named = json.load(file, object_pairs_hook=collections.OrderedDict)[str(scale)]
    return collections.OrderedDict((name, tuple(shape)) for name, shape in named.items())


@functools.lru_cache(maxsize=None)
def stand_in_pth(golden, name):
    """Path of the file that takes the place of the recorded `.pth` file `name`."""
    from test_torch_file import Stored, pickled, tensor, write_zip

    expected = official_shapes(golden, SCALES[name])
    drawn = seeded_state({key: shape for key, shape in expected.items() if not key.startswith(UNREAD)}, SEEDS[name])
    state, storages = collections.OrderedDict(), []
    for number, (key, shape) in enumerate(expected.items()):
        value = drawn[key] if key in drawn else np.full(shape, 0.5, np.float32)
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        state[key] = tensor(Stored(value.size, str(number)), shape=shape, strides=strides)
        storages.append((str(number), np.ascontiguousarray(value, "<f4")))
    return write_zip(os.path.join(_folder(), name), pickled(state), storages)


def stand_in_outputs(recorded, name):
    """The arrays of a seeded recording under the keys of `name`; recorded: function, file -> its arrays."""
    source, latents, sample_latents = OUTPUTS[name]
    arrays = recorded(source)
    for prefix, keys in (("latent_", latents), ("sample_latent_", sample_latents)):
        for number, key in enumerate(keys):
            arrays[key] = arrays.pop(prefix + str(number))
    return arrays


@functools.lru_cache(maxsize=None)
def _folder():
    folder = tempfile.mkdtemp(prefix="srflow-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
