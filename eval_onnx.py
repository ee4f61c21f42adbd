# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Super-resolve a folder of images, or one image, by onnxruntime, as eval.py does by MindSpore, which is not needed.

    python eval_onnx.py --onnx SRFlow_4X --lr_dir photo.jpg --output_dir results
    python eval_onnx.py --onnx SRFlow_4X --lr_dir LR --hr_dir HR --n_samples 3 --output_dir results

SRFlow_4X.encoder.onnx and SRFlow_4X.decoder.onnx are files of export.py. The same seed and heat give the same pictures
as eval.py's. Figures are the same too, but the likelihood and LPIPS, which are not computed. The exit status is that of
eval.py.
"""

import argparse
import math
import os
from types import SimpleNamespace

from src.dataloader.image_folder import ImageFolder
from src.evaluation.finished_images import placed_identity
from src.evaluation.run import LOCK, Data, evaluate_all, refuse_to_overwrite
from src.export.onnx_model import PROVIDERS, OnnxSRFlow, file_names
from src.locked_folder import locked_folder
from src.model_utils.config import positive, seed, tile
from src.model_utils.util import run_main, warn
from src.texts import printable
from src.tiling import TILE


def main(argv=None):
    """Run the command line and return the exit status."""
    args = parse(argv)
    model = OnnxSRFlow(args.onnx, args.provider, args.threads)
    heat = float(model.metadata["heat"]) if args.heat is None else args.heat
    opt = SimpleNamespace(heat=heat, scale=model.scale, output_dir=args.output_dir)
    refuse_to_overwrite(args, opt)
    with locked_folder(opt.output_dir, LOCK):
        images = ImageFolder(args.lr_dir, args.hr_dir, opt.scale)
        for line in images.skipped:
            warn(f"skipped {line}")
        data = Data(images, list(images.files), list(images.files.values()), images.skipped)
        return evaluate_all(data, model, None, settings_of(args, opt), described(args, opt), args, opt)


def parse(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Super-resolve images by onnxruntime.", allow_abbrev=False)
    parser.add_argument(
        "--onnx", required=True, metavar="NAME", help="of the files NAME.encoder.onnx and NAME.decoder.onnx"
    )
    parser.add_argument("--lr_dir", required=True, help="folder of LR images to super-resolve, or one image")
    parser.add_argument("--hr_dir", help="folder of the HR images to measure against, or that of the one image")
    parser.add_argument("--output_dir", default="output", help="folder for everything that is written")
    parser.add_argument("--heat", type=_heat, help="sampling temperature (default: that of the exported network)")
    parser.add_argument("--n_samples", type=positive, default=1, help="samples per image (default 1)")
    parser.add_argument("--seed", type=seed, default=10, help="seed of the samples (default 10)")
    parser.add_argument(
        "--tile",
        type=tile,
        default=TILE,
        metavar="N",
        help=f"side of tiles in LR pixels (default {TILE}); 0: always whole",
    )
    parser.add_argument(
        "--cool", action="store_true", help="decode what explodes again at lower heats, until it does not"
    )
    parser.add_argument(
        "--consistent", action="store_true", help="project the samples onto the images whose reduction is the LR image"
    )
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="CPU", help="what computes (default CPU)")
    parser.add_argument("--threads", type=positive, default=0, help="CPU threads (default: as many as cores)")
    return parser.parse_args(argv)


def settings_of(args, opt):
    """Return all that an image's figures depend on, besides the image."""
    files = [placed_identity(path) for path in file_names(args.onnx)]
    folders = [os.path.realpath(folder) for folder in (args.lr_dir, args.hr_dir) if folder]
    return {**how(args, opt), "data": folders, "onnx": files}


def described(args, opt):
    """Return what was evaluated, and how, for metrics.json."""
    data = {"lr_dir": args.lr_dir, "hr_dir": args.hr_dir}
    return {
        **how(args, opt),
        "heat_from": "exported network" if args.heat is None else "command line",
        "onnx": printable(os.path.abspath(args.onnx)),
        "data": {name: path and printable(os.path.abspath(path)) for name, path in data.items()},
    }


def how(args, opt):
    """Return the settings of the samples."""
    chosen = {name: getattr(args, name) for name in ("n_samples", "seed", "tile", "cool", "consistent", "provider")}
    return {"heat": opt.heat, **chosen}


def _heat(text):
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number >= 0, got {text}")
    return value


if __name__ == "__main__":
    run_main(main)
