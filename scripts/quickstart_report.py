# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what the quick start has achieved.

python scripts/quickstart_report.py TRAINING_FOLDER EVALUATION_FOLDER
"""

import csv
import json
import os
import sys


def main():
    training, evaluation = sys.argv[1:]
    with open(os.path.join(training, "validation.csv"), newline="") as file:
        validations = list(csv.DictReader(file))
    with open(os.path.join(evaluation, "metrics.json")) as file:
        metrics = json.load(file)
    first, last = validations[0], validations[-1]
    print()
    print(
        f"NLL on held-out photographs: {float(first['nll']):.2f} bits per pixel before, "
        f"{float(last['nll']):.2f} after {last['step']} steps"
    )
    print(
        f"SRFlow  PSNR {metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.3f}, LR-PSNR {metrics['lr_psnr']:.2f} dB "
        f"(heat {metrics['heat']:g}, {metrics['n']} patches)"
    )
    print(f"bicubic PSNR {metrics['psnr_bicubic']:.2f} dB, SSIM {metrics['ssim_bicubic']:.3f}")
    print(f"pictures: {os.path.abspath(os.path.join(evaluation, 'sheet.png'))}")


if __name__ == "__main__":
    main()
