# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what the quick start has achieved.

    python scripts/quickstart_report.py shipped EVALUATION_FOLDER [LPIPS_FILE]
    python scripts/quickstart_report.py all SHIPPED_FOLDER TRAINING_FOLDER EVALUATION_FOLDER

The first form measures the bicubic images beside those of an evaluation, prints the table of both and keeps it as
table.md in EVALUATION_FOLDER. The second one prints that table and what became of the training.
"""

import csv
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from src.model_utils.util import run_main

TABLE = "table.md"
COLUMNS = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "lr_psnr": ("LR-PSNR, dB", 2), "lpips": ("LPIPS", 3)}


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    form = arguments[0] if arguments else None
    if form == "shipped" and len(arguments) in (2, 3):
        report_shipped(*arguments[1:])
    elif form == "all" and len(arguments) == 4:
        report_all(*arguments[1:])
    else:
        forms = [" ".join(line.split()) for line in __doc__.split("\n\n")[1].splitlines()]
        raise ValueError(f"usage: {' or '.join(forms)}")


def report_shipped(folder, lpips=None):
    """Print the table of an evaluation beside bicubic, and keep it."""
    metrics = read_metrics(folder)
    rows = {"bicubic": bicubic_means(metrics, lpips), f"SRFlow, heat {metrics['heat']:g}": metrics}
    columns = [name for name in COLUMNS if all(name in row for row in rows.values())]
    lines = [[f"{metrics['n']} patches"] + [COLUMNS[name][0] for name in columns], ["---"] * (len(columns) + 1)]
    for title, row in rows.items():
        lines.append([title] + [f"{float(row[name]):.{COLUMNS[name][1]}f}" for name in columns])
    with open(os.path.join(folder, TABLE), "w", encoding="utf-8") as file:
        file.writelines("| " + " | ".join(cells) + " |\n" for cells in lines)
    print_shipped(folder)


def bicubic_means(metrics, lpips=None):
    """Measure the bicubic images of an evaluation's pairs: means by name.

    Args:
        metrics: what metrics.json of the evaluation says.
        lpips: the file of LPIPS's weights, or None.
    """
    # Here, as they import MindSpore, which takes seconds.
    from src.dataloader.dataset import EvalData
    from src.evaluation.LPIPS import LPIPS
    from src.evaluation.metrics import lr_psnr
    from src.imresize import imresize
    from src.model_utils.util import set_device

    set_device("CPU")
    pairs = list(EvalData(metrics["data"]["mindrecord"], limit=metrics["n"]))
    scale = pairs[0][1].shape[0] // pairs[0][2].shape[0]
    images = [imresize(lr, scale) for _, _, lr in pairs]
    means = {
        "psnr": metrics["psnr_bicubic"],
        "ssim": metrics["ssim_bicubic"],
        "lr_psnr": np.mean([lr_psnr(image, lr, scale) for image, (_, _, lr) in zip(images, pairs)]),
    }
    if lpips:
        distance = LPIPS.from_jax_file(lpips).distance
        means["lpips"] = np.mean([distance(image, hr) for image, (_, hr, _) in zip(images, pairs)])
    return means


def report_all(shipped, training, evaluation):
    """Print what both parts of the quick start came to, clearly told apart."""
    with open(os.path.join(training, "validation.csv"), newline="") as file:
        validations = list(csv.DictReader(file))
    metrics, first, last = read_metrics(evaluation), validations[0], validations[-1]
    print_shipped(shipped)
    print(f"\nA network of its own, after {last['step']} steps: shows that training works, not quality")
    print(
        f"NLL on held-out photographs: {float(first['nll']):.2f} bits per pixel before, "
        f"{float(last['nll']):.2f} after {last['step']} steps"
    )
    print(
        f"PSNR {float(metrics['psnr']):.2f} dB, SSIM {float(metrics['ssim']):.3f}, "
        f"LR-PSNR {float(metrics['lr_psnr']):.2f} dB (heat {metrics['heat']:g}, {metrics['n']} patches)"
    )
    print_pictures(evaluation)


def print_shipped(folder):
    print("\nThe shipped weights, on photographs that come with scikit-image")
    with open(os.path.join(folder, TABLE), encoding="utf-8") as file:
        print(file.read(), end="")
    print_pictures(folder)


def print_pictures(folder):
    print(f"pictures: {os.path.abspath(os.path.join(folder, 'sheet.png'))}")


def read_metrics(folder):
    with open(os.path.join(folder, "metrics.json")) as file:
        return json.load(file)


if __name__ == "__main__":
    run_main(main)
