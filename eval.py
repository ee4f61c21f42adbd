# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates a checkpoint on the MindRecord of datasets.val, or super-resolves a folder of images.

    python eval.py --opt SRFlow_DF2K_4X.yml --ckpt SRFlow_4X.ckpt
    python eval.py --opt SRFlow_DF2K_4X.yml --ckpt SRFlow_4X.ckpt --lr_dir my_images --output_dir results
"""
import csv
import itertools
import json
import math
import os

import numpy as np
from tqdm import tqdm

from src.dataloader.dataset import EvalData
from src.dataloader.imresize import imresize
from src.dataloader.image_folder import ImageFolder
from src.model.LPIPS import LPIPS
from src.model.SRFlow import SRFlow
from src.model_utils.config import get_config
from src.model_utils.device_adapter import get_adapter
from src.model_utils.evaluation import Progress, evaluate_image, mean_figures
from src.model_utils.picture import sheet, write_png
from src.model_utils.util import atomic_write, bar_interval, run_main
from src.model_utils.weight_files import is_own_checkpoint

PROGRESS = "metrics.progress.jsonl"
SHEET_ROWS = 4
SHEET_HEATS = (0.0, 0.5, 0.9)


def main(argv=None):
    args, opt = get_config("eval", argv)
    get_adapter(opt).moxing_wrapper(opt)(evaluate)(args, opt)


def evaluate(args, opt):
    """Every image in turn; then metrics.csv, metrics.json and pictures in `output_dir`."""
    refuse_to_overwrite(args, opt)
    images = open_images(args, opt)
    lpips = LPIPS.from_files(args.lpips_alexnet, args.lpips_linear) if args.lpips_alexnet or args.lpips_linear else None
    model = load_model(args, opt)
    with Progress(os.path.join(opt.output_dir, PROGRESS), settings_of(args, opt)) as progress, \
            tqdm(images, unit="image", mininterval=bar_interval()) as bar:
        if progress.rows:
            tqdm.write(f"{progress.path}: goes on after {len(progress.rows)} finished images")
        for number, (name, hr, lr) in enumerate(bar, start=1):
            if number <= len(progress.rows):
                continue
            samples, figures = evaluate_image(model, lr, hr, opt.heat, args.n_samples, args.seed + number, args.tile,
                                              lpips)
            if hr is not None:
                tqdm.write(f"Get the number {number} data psnrloss: {_as_array(figures['psnr'])}, "
                           f"ssim_loss: {_as_array(figures['ssim_gaussian'])}")
            if args.lr_dir:
                save_samples(opt.output_dir, name, samples)
            elif number <= SHEET_ROWS:
                write_png(os.path.join(opt.output_dir, "pictures", f"{name}_lr.png"), lr)
                save_samples(os.path.join(opt.output_dir, "pictures"), f"{name}_sr", samples)
            progress.add({"name": name, **figures})
        report(progress.rows, args, opt)
    if not args.lr_dir:
        write_sheet(model, images, args, opt)


def load_model(args, opt):
    """The checkpoint's own network; of our own files the configuration only has to agree on the scale."""
    network = None if is_own_checkpoint(args.ckpt) else opt
    model = SRFlow.from_checkpoint(args.ckpt, network, opt.device_target, opt.device_id, opt.precision)
    if model.scale != opt.scale:
        raise ValueError(f"scale: the configuration says {opt.scale}, {args.ckpt} is one of {model.scale}; use the "
                         "configuration or the checkpoint of the other scale")
    for note in model.notes:
        tqdm.write(f"{args.ckpt}: {note}")
    return model


def settings_of(args, opt):
    """All that an image's figures depend on, besides the image."""
    return {"heat": opt.heat, "n_samples": args.n_samples, "seed": args.seed, "tile": args.tile,
            "precision": opt.precision, "lpips": [args.lpips_alexnet, args.lpips_linear],
            "images": [args.lr_dir, args.hr_dir] if args.lr_dir else [opt.datasets.val.dataroot],
            "limit": None if args.lr_dir else opt.datasets.val.limit,
            "checkpoint": [os.path.realpath(args.ckpt), os.path.exists(args.ckpt) and os.path.getmtime(args.ckpt)]}


def refuse_to_overwrite(args, opt):
    """The pictures are named after the images that they come from: never write them into the same folder."""
    for flag, folder in (("--lr_dir", args.lr_dir), ("--hr_dir", args.hr_dir)):
        if folder and os.path.realpath(folder) == os.path.realpath(opt.output_dir):
            raise ValueError(f"output_dir: {opt.output_dir} is the folder of {flag}, whose images would be "
                             "overwritten; give another folder")


def open_images(args, opt):
    """(name, hr or None, lr) of every image to evaluate."""
    if args.lr_dir:
        return ImageFolder(args.lr_dir, args.hr_dir, opt.scale)
    return EvalData(opt.datasets.val.dataroot, opt.scale, opt.datasets.val.limit)


def write_sheet(model, images, args, opt):
    """One picture of the first images: LR, bicubic, samples at several heats, HR."""
    rows = []
    for _, hr, lr in itertools.islice(images, SHEET_ROWS):
        rows.append([lr, imresize(lr, model.scale)] + list(model.sample(lr, SHEET_HEATS, seed=args.seed)[:, 0]) + [hr])
    path = os.path.join(opt.output_dir, "sheet.png")
    write_png(path, sheet(rows, ["LR", "bicubic"] + [f"heat {heat:g}" for heat in SHEET_HEATS] + ["HR"]))
    print(f"picture sheet: {path}")


def save_samples(folder, name, samples):
    """One PNG per sample: NAME.png, or NAME_0.png, NAME_1.png and so on."""
    for k, sample in enumerate(samples):
        write_png(os.path.join(folder, f"{name}.png" if len(samples) == 1 else f"{name}_{k}.png"), sample)


def report(rows, args, opt):
    """Prints the means and writes the files."""
    means = mean_figures([{name: value for name, value in row.items() if name != "name"} for row in rows])
    if "psnr" in means:
        print(f"The mean of psnr is: {_as_array(means['psnr'])}")
        print(f"The mean of ssim is: {_as_array(means['ssim_gaussian'])}")
    listed = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    print(f"{len(rows)} images, heat {opt.heat:g}: {listed}")
    settings = {"heat": opt.heat, "n_samples": args.n_samples, "seed": args.seed, "tile": args.tile, "checkpoint": args.ckpt}
    with atomic_write(os.path.join(opt.output_dir, "metrics.json")) as temporary:
        with open(temporary, "w") as file:
            # JSON has no infinity, which is the PSNR of two equal images.
            finite = {name: value if math.isfinite(value) else None for name, value in means.items()}
            json.dump({"n": len(rows), **finite, **settings}, file, indent=2)
    with atomic_write(os.path.join(opt.output_dir, "metrics.csv")) as temporary:
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _as_array(value):
    """The way in which the earlier port printed its numbers: [34.00094]."""
    return np.array([value], np.float32)


if __name__ == "__main__":
    run_main(main)
