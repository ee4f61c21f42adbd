# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Converts a training checkpoint for inference: ActNorms folded, 1×1 weights inverted, convolutions grouped.

    python train2test.py --opt SRFlow_DF2K_4X.yml --train_path output/latest.ckpt --test_path SRFlow_4X.ckpt
"""
import os

import numpy as np

from src.model.SRFlow import build_network, require_invertible
from src.model.packed import make_weights, to_arrays
from src.model_utils.checkpoint import INFERENCE, TRAINING, Checkpoint, CheckpointError, load_parameters, \
    read_checkpoint, write_checkpoint
from src.model_utils.config import get_config
from src.model_utils.util import run_main, set_device


def main(argv=None):
    args, opt = get_config("train2test", argv)
    if os.path.realpath(args.test_path) == os.path.realpath(args.train_path):
        raise CheckpointError(f"{args.test_path}: --test_path names the training checkpoint itself, which it would "
                              "replace; give another name")
    set_device("CPU")
    checkpoint = convert(args.train_path, opt)
    write_checkpoint(args.test_path, checkpoint)
    megabytes = sum(value.nbytes for value in checkpoint.arrays.values()) / 1e6
    print(f"wrote {args.test_path}: {len(checkpoint.arrays)} arrays, {megabytes:.1f} MB, "
          f"trained for {checkpoint.state['step']} steps")


def convert(path, opt):
    """The inference Checkpoint of the training checkpoint at `path`, whose network must be the options'."""
    trained = read_checkpoint(path)
    if trained.kind != TRAINING or trained.options.model != "SRFlow":
        raise CheckpointError(f"{path}: expected a training checkpoint of model SRFlow, got {trained.kind} checkpoint "
                              f"of model {trained.options.model}")
    arrays = trained.parameters()
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise CheckpointError(f"{path}: has values that are not finite; use an earlier checkpoint")
    net = build_network(opt)
    load_parameters(net, arrays, path)
    require_invertible(net, path)
    return Checkpoint(INFERENCE, trained.options, to_arrays(make_weights(net)), trained.state)


if __name__ == "__main__":
    run_main(main)
