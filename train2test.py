# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Convert a checkpoint, of this code or of another program, for inference or for PyTorch.

python train2test.py --opt SRFlow_DF2K_4X.yml --train_path output/latest.ckpt --test_path SRFlow_4X.ckpt
python train2test.py --opt SRFlow_DF2K_4X.yml --train_path SRFlow_DF2K_4X.pth --test_path SRFlow_4X.ckpt
python train2test.py --opt SRFlow_DF2K_4X.yml --train_path output/latest.ckpt --test_path SRFlow_4X.pth
python train2test.py --opt SRFlow_DF2K_4X.yml --train_path output/latest.ckpt --test_path SRFlow_4X.safetensors \
    --float16 --about "trained on photographs of birds"
python train2test.py --opt configs/RRDB_DF2K_4X.yml --train_path RRDB_RealSR_4X.bin --test_path RRDB_RealSR_4X.pth
"""

import os

import numpy as np

from src.model.SRFlow import load_network
from src.model_utils.config import get_config
from src.model_utils.util import run_main, set_device
from src.network_names import IMAGE_ONLY, shapes_of, with_prefix
from src.texts import printable
from src.weights.checkpoint import (
    INFERENCE,
    TRAINING,
    Checkpoint,
    CheckpointError,
    require_parameters,
    write_checkpoint,
)
from src.weights.weight_files import EXPORTED, MAX_ABOUT, SAFETENSORS, TORCH, metadata_of, read_any, write_any

MAX_SHOWN = 200  # characters of --about in the last line


def main(argv=None):
    """Run the command line."""
    args, opt = get_config("train2test", argv)
    if os.path.realpath(args.test_path) == os.path.realpath(args.train_path):
        raise CheckpointError(
            f"{args.test_path}: --test_path names the training checkpoint itself, which it would "
            "replace; give another name"
        )
    refuse_what_cannot_be_stored(args)
    set_device("CPU")
    is_export = args.test_path.endswith(EXPORTED)
    trained = (load_encoder if is_export and opt.model == "RRDB" else load)(args.train_path, opt)
    for note in trained.state.get("notes", ()):
        print(f"{args.train_path}: {note}")
    if args.about is not None:
        trained.state["about"] = args.about
    arrays = trained.parameters()
    if is_export:
        write_any(args.test_path, arrays, metadata_of(trained, opt.heat), args.float16)
    else:
        arrays = {name: value for name, value in arrays.items() if not name.startswith(IMAGE_ONLY)}
        state = {key: value for key, value in trained.state.items() if key != "notes"}
        write_checkpoint(args.test_path, Checkpoint(INFERENCE, trained.options, arrays, state))
    megabytes = os.path.getsize(args.test_path) / 1e6
    print(f"wrote {args.test_path}: {len(arrays)} arrays, {megabytes:.1f} MB, {origin(trained.state)}")


def refuse_what_cannot_be_stored(args):
    """Refuse --float16 and --about where the file to write has no place for them, or not for such a text."""
    if args.float16 and not args.test_path.endswith(SAFETENSORS):
        raise ValueError(f"--float16: only a file NAME{SAFETENSORS} has weights in float16, got {args.test_path}")
    if args.about and args.test_path.endswith(TORCH):
        raise ValueError(
            f"--about: a file of PyTorch has no place for it, got {args.test_path}; give NAME{SAFETENSORS} or leave "
            "--about out"
        )
    if args.about and (len(args.about) > MAX_ABOUT or args.about != printable(args.about)):
        raise ValueError(f"--about: expected at most {MAX_ABOUT} characters in UTF-8, got {printable(args.about)[:80]}")


def origin(state):
    """Say where weights come from, in one line, as far as a checkpoint's state tells."""
    source, about = state.get("source"), state.get("about")
    text = f"from: {source}" if source else f"trained for {state['step']} steps"
    return _in_one_line(f"{text}; about: {about}" if about else text)


def _in_one_line(text):
    """Return a text, which may come from somebody's file, in a form that a terminal can show."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " …"


def load(path, opt):
    """Read the Checkpoint with training weights, which must be good ones of the options' network.

    Raises:
        CheckpointError: it is no training checkpoint of model SRFlow, or one of another network.
    """
    trained = read_any(path, opt)
    if trained.kind != TRAINING or trained.options.model != "SRFlow":
        raise CheckpointError(
            f"{path}: expected a training checkpoint of model SRFlow, got {trained.kind} checkpoint "
            f"of model {trained.options.model}; an encoder alone becomes .pth or .safetensors, with a configuration of "
            "model RRDB"
        )
    load_network(trained, path, opt)
    return trained


def load_encoder(path, opt):
    """The Checkpoint with an encoder alone, which must be the options' network with good weights."""
    trained = read_any(path, opt)
    if trained.kind != TRAINING or trained.options.model != "RRDB":
        raise CheckpointError(
            f"{path}: expected a training checkpoint of model RRDB, as the configuration says, got {trained.kind} "
            f"checkpoint of model {trained.options.model}; give that model's configuration"
        )
    arrays = with_prefix(trained.parameters())
    require_parameters(shapes_of(opt), arrays, path, IMAGE_ONLY)
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {name}: has values that are not finite; use another checkpoint")
    return trained


if __name__ == "__main__":
    run_main(main)
