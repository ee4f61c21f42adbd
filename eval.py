# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint on the MindRecord of datasets.val, or super-resolve a folder of images, or one image.

    python eval.py --opt SRFlow_DF2K_4X.yml --ckpt SRFlow_4X.ckpt
    python eval.py --opt SRFlow_DF2K_4X.yml --ckpt SRFlow_4X.ckpt --lr_dir my_images --output_dir results
    python eval.py --opt SRFlow_DF2K_4X.yml --ckpt SRFlow_4X.ckpt --lr_dir image.jpg --output_dir results

The exit status is one of these:

- 0: all went well;
- 1: everything is written, but some images were skipped, are not finite, exploded at all heats or have no LPIPS; each
  of them is named;
- 2: it could not be done.
"""

import glob
import os

from tqdm import tqdm

from src.dataloader.dataset import EvalData
from src.dataloader.image_folder import ImageFolder
from src.evaluation.LPIPS import LPIPS
from src.evaluation.finished_images import placed_identity
from src.evaluation.run import LOCK, Data, evaluate_all, refuse_to_overwrite
from src.locked_folder import locked_folder
from src.model.SRFlow import SRFlow
from src.model_utils.config import get_config
from src.model_utils.device_adapter import get_adapter
from src.model_utils.options import network_settings
from src.model_utils.util import run_main, warn
from src.texts import printable
from src.weights.checkpoint import CheckpointError
from src.weights.weight_files import describes_itself


def main(argv=None):
    """Run the command line and return the exit status."""
    args, opt = get_config("eval", argv)
    return get_adapter(opt).moxing_wrapper(opt)(evaluate)(args, opt)


def evaluate(args, opt):
    """Evaluate every image in turn, then write metrics.csv, metrics.json and pictures to `output_dir`.

    Args:
        args: namespace of the command line.
        opt: Options.

    Returns:
        the exit status.
    """
    refuse_to_overwrite(args, opt)
    with locked_folder(opt.output_dir, LOCK):
        return run(args, opt)


def run(args, opt):
    """Do what `evaluate` does, in a folder to which no other evaluation writes."""
    images = open_images(args, opt)
    if args.lr_dir:
        names, files, skipped = list(images.files), list(images.files.values()), images.skipped
    else:
        names, files, skipped = range(len(images)), [mindrecord_files(opt.datasets.val.dataroot)] * len(images), []
    for line in skipped:
        warn(f"skipped {line}")
    lpips = load_lpips(args)
    model = load_model(args, opt)
    data = Data(images, names, files, skipped)
    return evaluate_all(data, model, lpips, settings_of(args, opt), described(args, opt), args, opt)


def load_lpips(args):
    """Load LPIPS from its one file or from its two; return None where none is given."""
    if args.lpips_alexnet or args.lpips_linear:
        if args.lpips:
            raise ValueError(
                f"lpips: {args.lpips} has all weights of LPIPS; leave --lpips_alexnet and --lpips_linear out, or this"
            )
        return LPIPS.from_files(args.lpips_alexnet, args.lpips_linear)
    return LPIPS.from_jax_file(args.lpips) if args.lpips else None


def load_model(args, opt):
    """Load the checkpoint's own network.

    In files that describe their network, as our own do, the configuration only has to agree on the scale.
    """
    if not os.path.lexists(args.ckpt):
        raise CheckpointError(
            f"test_pretrained_model_path or --ckpt: {args.ckpt}: no such file; put a checkpoint there, or give "
            "--ckpt FILE (weights/SRFlow_free_4X.safetensors, one of train.py or train2test.py, the earlier port's, or "
            "SRFlow_DF2K_4X.pth)"
        )
    network = None if describes_itself(args.ckpt) else opt
    model = SRFlow.from_checkpoint(
        args.ckpt, network, opt.device_target, opt.device_id, opt.precision, opt.implementation, opt.allow_tf32
    )
    if model.scale != opt.scale:
        raise ValueError(
            f"scale: the configuration says {opt.scale}, {args.ckpt} is one of {model.scale}; use the "
            "configuration or the checkpoint of the other scale"
        )
    for note in model.notes:
        tqdm.write(printable(f"{args.ckpt}: {note}"))
    return model


def settings_of(args, opt):
    """Return all that an image's figures depend on, besides the image."""
    return {
        **how(args, opt),
        "device": opt.device_target,
        "network": network_of(args, opt),
        "data": [os.path.realpath(folder) for folder in _folders(args, opt)],
        **{
            name: path and placed_identity(path)
            for name, path in (
                ("checkpoint", args.ckpt),
                ("lpips", args.lpips),
                ("lpips_alexnet", args.lpips_alexnet),
                ("lpips_linear", args.lpips_linear),
            )
        },
    }


def network_of(args, opt):
    """Return the options that say which network the checkpoint holds; None where it says so itself."""
    if describes_itself(args.ckpt):
        return None
    return {name: value for name, value in network_settings(opt).items() if name != "heat"}  # which `how` has


def open_images(args, opt):
    """Open the images to evaluate: an iterable of (name, hr or None, lr)."""
    if args.lr_dir:
        return ImageFolder(args.lr_dir, args.hr_dir, opt.scale)
    return EvalData(opt.datasets.val.dataroot, opt.scale, opt.datasets.val.limit)


def mindrecord_files(path):
    """Return a MindRecord file, its other shards, which differ from it in the digits at the end, and their indexes."""
    path = os.path.realpath(path)
    return sorted({path, path + ".db", *glob.glob(glob.escape(path.rstrip("0123456789")) + "[0-9]*")})


def described(args, opt):
    """Return what was evaluated, and how, for metrics.json."""
    data = {"lr_dir": args.lr_dir, "hr_dir": args.hr_dir} if args.lr_dir else {"mindrecord": opt.datasets.val.dataroot}
    return {
        **how(args, opt),
        "heat_from": args.heat_from,
        "checkpoint": _absolute(args.ckpt),
        "data": {name: path and _absolute(path) for name, path in data.items()},
        "device": opt.device_target if opt.device_target == "CPU" else f"{opt.device_target} {opt.device_id}",
    }


def how(args, opt):
    """Return the settings of the samples."""
    from_options = {name: getattr(opt, name) for name in ("heat", "precision", "implementation", "allow_tf32")}
    from_arguments = {name: getattr(args, name) for name in ("n_samples", "seed", "tile", "cool", "consistent")}
    return {**from_options, **from_arguments}


def _folders(args, opt):
    return [folder for folder in (args.lr_dir, args.hr_dir) if folder] or [opt.datasets.val.dataroot]


def _absolute(path):
    return printable(os.path.abspath(path))


if __name__ == "__main__":
    run_main(main)
