# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Measures a checkpoint's images over heats, or those of a training run's checkpoints over its hours.

    python benchmarks/quality.py --ckpt FILE [--opt CFG] --hr_dir FOLDER [--heats 0 0.5 0.7 0.8 0.9] [--n_samples 10]
                                 [--consistent] [--lpips FILE] [--tile 96] [--limit N] [--out RESULT.json]
    python benchmarks/quality.py --curve RUN_FOLDER --hr_dir FOLDER [--heat 0.8] [--consistent] [--lpips FILE]
                                 [--limit N] --out CURVE.json

Each image of --hr_dir is cut to a multiple of 2 × scale, and its low-resolution image is made of it. The protocol is
that of eval.py: RGB, no border cut, pictures of 8 bits, and the noise of `eval.py --seed 0`. The figures are means over
the images.

The first form prints a table in Markdown: a row for the bicubic image, one for the encoder's own image and one for each
heat. `worst` is the LR-PSNR of an image's worst sample. The encoder's row is made with ESRGAN's sum, as fetched
encoders need it (of one that was trained by L1 it says nothing), and only where the checkpoint has HRconv and
conv_last. At heat 0 all samples are alike, and one is decoded.

The second form measures every step_*.ckpt of a run's folder: the NLL, the PSNR at heat 0, and one sample at --heat. It
prints a table and draws NLL and LPIPS over the hours of training into CURVE.png. The hours are those of train.csv,
without pauses, validations and compilation: steps that took half as long again as those around them count as these.

With --out all that is finished is kept after each image or checkpoint. The same command again goes on from there.
"""

import argparse
import csv
import glob
import json
import math
import os
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.dirname(os.path.abspath(__file__))]

from tile_margin import esrgan_image  # noqa: E402

from src.dataloader.image_file import UnusableImage, read_image  # noqa: E402
from src.dataloader.image_folder import list_images  # noqa: E402
from src.evaluation.LPIPS import LPIPS, MIN_SIDE  # noqa: E402
from src.evaluation.figures import likelihood, mean_figures, sample_figures  # noqa: E402
from src.evaluation.finished_images import file_identity, placed_identity  # noqa: E402
from src.evaluation.picture import write_png  # noqa: E402
from src.image_sizes import few_sizes  # noqa: E402
from src.images import from_uint8  # noqa: E402
from src.imresize import imresize  # noqa: E402
from src.model.SRFlow import SRFlow, load_network, require_usable  # noqa: E402
from src.model_utils.config import positive, tile  # noqa: E402
from src.model_utils.options import load_options, network_differences  # noqa: E402
from src.model_utils.util import atomic_write, bar_interval, run_main, set_device, warn  # noqa: E402
from src.network_names import IMAGE_ONLY  # noqa: E402
from src.sampling import TILE_MARGIN, parts_of  # noqa: E402
from src.texts import printable  # noqa: E402
from src.tiling import TILE, assemble  # noqa: E402
from src.training.loss_curve import BOTTOM, COLOURS, HEIGHT, LEFT, TOP, WIDTH  # noqa: E402
from src.weights.checkpoint import CheckpointError, load_parameters, read_checkpoint  # noqa: E402
from src.weights.weight_files import read_any  # noqa: E402

BICUBIC, ENCODER, NLL = "bicubic", "encoder (ESRGAN's sum)", "nll"
COLUMNS = {  # figure: (its title, its digits)
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS", 3),
    "lr_psnr": ("LR-PSNR", 2),
    "lr_psnr_worst": ("worst", 2),
    "diversity": ("diversity", 2),
    "pixel_std": ("pixel std", 2),
}
# Flags of one form of the command line: (name, default, the form's own flag).
_ONE_FORM = (
    ("heats", [0, 0.5, 0.7, 0.8, 0.9], "ckpt"),
    ("n_samples", 10, "ckpt"),
    ("opt", None, "ckpt"),
    ("heat", 0.8, "curve"),
)
SLOW, AROUND = 1.5, 10  # times the median pace of so many rows of train.csv before and behind


class Pair(NamedTuple):
    """An image to measure.

    Attributes:
        name: its file's name.
        hr, lr: uint8 (s·h, s·w, 3) and (h, w, 3).
        size: (height, width) at which it is computed, in LR pixels.
        seed: of its samples and of the dequantisation noise.
    """

    name: str
    hr: Any
    lr: Any
    size: Any
    seed: int


class Results:
    """What is finished, in a JSON file that is written anew after each part.

    Args:
        path: the file, or None to keep nothing. One that is there must have the same settings, and is gone on with.
        settings: dict of all that the results depend on.

    Attributes:
        finished: {key: value} of JSON values, in the order in which they came.

    Raises:
        ValueError: the file holds something else. One line says what.
    """

    def __init__(self, path, settings):
        self.path, self.settings, self.finished = path, json.loads(json.dumps(settings)), {}
        if path and os.path.lexists(path):
            self._go_on()

    def _go_on(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                content = json.load(file)
            settings, self.finished = dict(content["settings"]), dict(content["finished"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"out: {self.path} is there and holds no results of this program; name another") from None
        changed = [name for name in {**settings, **self.settings} if settings.get(name) != self.settings.get(name)]
        if changed:
            raise ValueError(f"out: {self.path} holds results with another {' and '.join(changed)}; name another")
        print(printable(f"{self.path}: goes on after {len(self.finished)} finished"))

    def add(self, key, value):
        """Note what is finished, and write the file."""
        self.finished[key] = _plain(value)
        self.write()

    def write(self, **more):
        """Write the file, with more values beside what is finished."""
        if self.path:
            with atomic_write(self.path) as temporary, open(temporary, "w", encoding="utf-8") as file:
                content = {"settings": self.settings, "finished": self.finished, **_plain(more)}
                json.dump(content, file, indent=1, allow_nan=False)


def main(arguments=None):
    """Run the command line and return the exit status."""
    args = parse(arguments)
    set_device(args.device_target)
    lpips = LPIPS.from_jax_file(args.lpips) if args.lpips else None
    return measure_run(args, lpips) if args.curve else measure_checkpoint(args, lpips)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ckpt", metavar="FILE", help="a checkpoint, of any kind that eval.py reads")
    what.add_argument("--curve", metavar="RUN_FOLDER", help="measure each step_*.ckpt of a run's folder instead")
    parser.add_argument("--opt", metavar="CFG", help="of --ckpt: the network of a file that does not tell it")
    parser.add_argument("--hr_dir", required=True, metavar="FOLDER", help="high-resolution images")
    parser.add_argument("--heats", type=_heat, nargs="+", metavar="HEAT", help="of --ckpt (default 0 0.5 0.7 0.8 0.9)")
    parser.add_argument("--heat", type=_heat, help="of --curve (default 0.8)")
    parser.add_argument("--n_samples", type=positive, help="of --ckpt: samples of an image at each heat (default 10)")
    parser.add_argument("--consistent", action="store_true", help="project the samples, as eval.py --consistent does")
    parser.add_argument("--lpips", metavar="FILE", help="LPIPS's weights (scripts/get_lpips.sh fetches them)")
    parser.add_argument(
        "--tile", type=tile, default=TILE, help=f"side of the tiles in LR pixels (default {TILE}); 0: whole"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N images only")
    parser.add_argument("--seed", type=int, default=0, help="of the first image, less one (default 0)")
    parser.add_argument("--device_target", default="CPU", choices=["CPU", "GPU", "Ascend"])
    parser.add_argument("--out", metavar="FILE.json", help="where the results are kept; --curve needs it")
    args = parser.parse_args(arguments)
    if args.curve and not (args.out or "").endswith(".json"):
        raise ValueError(f"out: expected a name that ends in .json, got {args.out}; --curve keeps its results there")
    for flag, default, form in _ONE_FORM:
        if getattr(args, form) is None and getattr(args, flag) is not None:
            raise ValueError(f"{flag}: expected with --{form} only, got {_text_of(getattr(args, flag))}")
        setattr(args, flag, default if getattr(args, flag) is None else getattr(args, flag))
    return args


# ---------------------------------------------------------------------------------------------------------------------
# A checkpoint over heats


def measure_checkpoint(args, lpips):
    """Print the table of --ckpt."""
    if not os.path.isfile(args.ckpt):
        raise CheckpointError(f"ckpt: {args.ckpt}: no such file; give a checkpoint")
    checkpoint = read_any(args.ckpt, load_options(args.opt) if args.opt else None)
    # Not SRFlow.from_checkpoint, which may give the parameters up: the encoder's row is made of them.
    model = SRFlow(load_network(checkpoint, args.ckpt), checkpoint.options.datasets.train.quant)
    with_encoder = all(any(name.startswith(layer) for name in checkpoint.arrays) for layer in IMAGE_ONLY)
    checkpoint.arrays.clear()
    if not with_encoder:
        print(f"{printable(args.ckpt)}: without HRconv and conv_last, so there is no row of the encoder's own image")
    pairs = read_pairs(args, model.scale)
    results = Results(args.out, {"checkpoint": placed_identity(args.ckpt), **settings_of(args)})
    rows = [BICUBIC] + [ENCODER] * with_encoder + [f"heat {heat:g}" for heat in args.heats]
    with tqdm(total=len(pairs) * (len(rows) + 1), unit="row", mininterval=bar_interval()) as bar:
        for pair in pairs:
            if pair.name in results.finished:
                bar.update(len(rows) + 1)
                continue
            figures = {}
            for name, values in measure(model, pair, args.heats, args.n_samples, args, lpips, with_encoder):
                figures[name] = values
                bar.update()
            results.add(pair.name, figures)
    found = [_numbers(results.finished[pair.name]) for pair in pairs]
    means = {name: mean_row([figures[name] for figures in found]) for name in rows}
    nll = float(np.mean([figures[NLL]["nll"] for figures in found]))
    results.write(means=means, nll=nll)
    print(table(means, f"{len(pairs)} images, {model.scale}X"))
    print(f"\nNLL {nll:.3f} bits per pixel; {args.n_samples} samples of each image at each heat above 0.")


def measure(model, pair, heats, n_samples, args, lpips=None, with_encoder=False):
    """Measure an image: yield (row's name, figures by name).

    Args:
        model: SRFlow.
        pair: Pair.
        heats: list of numbers.
        n_samples: number of samples at each heat above 0.
        args: namespace with `tile` and `consistent`, as `SRFlow.sample` takes them.
        lpips: LPIPS or None.
        with_encoder: whether the encoder's own image is measured too.
    """
    yield BICUBIC, picture_figures(imresize(pair.lr, model.scale), pair, model.scale, lpips)
    if with_encoder:
        image = encoder_image(model.net.RRDB, from_uint8(pair.lr), model.scale, args.tile)
        yield ENCODER, sample_figures(image, pair.lr, pair.hr, model.scale, lpips)[1]
    yield NLL, {"nll": float(likelihood(model, pair.lr, pair.hr, pair.seed, args.tile, pair.size))}
    how = {"tile": args.tile, "size": pair.size, "consistent": args.consistent}
    for some, count in (([heat for heat in heats if heat == 0], 1), ([heat for heat in heats if heat > 0], n_samples)):
        if some:
            samples = model.sample(from_uint8(pair.lr), some, count, pair.seed, **how)[:, :, 0]
            for heat, images in zip(some, samples):
                yield f"heat {heat:g}", figures_at_heat(images, n_samples, pair, model.scale, lpips)


def figures_at_heat(images, n_samples, pair, scale, lpips):
    """Measure the samples of a heat: a dict by name.

    Args:
        images: float32 (n, 3, H, W); a single one stands for `n_samples` that are alike.
        n_samples: number of samples.
        pair: Pair.
        scale: HR over LR sides.
        lpips: LPIPS or None.
    """
    _, figures = sample_figures(images, pair.lr, pair.hr, scale, lpips)
    if len(images) < n_samples:
        figures.update(lr_psnr_worst=figures["lr_psnr"], pixel_std=0.0, psnr_best=figures["psnr"])
        if lpips is not None:
            figures["diversity"] = 0.0
    return figures


def picture_figures(picture, pair, scale, lpips):
    """Measure a picture, uint8 (H, W, 3), that is no sample: a dict by name."""
    images = from_uint8(picture) + np.float32(0.25 / 255)  # so that it is the same picture again after truncation
    _, figures = sample_figures(images, pair.lr, pair.hr, scale, lpips)
    return figures


def encoder_image(rrdb, lr, scale, tile):
    """Compute the encoder's own image with ESRGAN's sum, in tiles as samples are computed.

    Args:
        rrdb: RRDBNet.
        lr: float32 (1, 3, h, w), h and w even.
        scale: HR over LR sides.
        tile: side of the tiles in LR pixels; None: the image is computed whole.

    Returns:
        float32 (1, 3, s·h, s·w), not clipped.
    """
    parts = parts_of(lr.shape[2:], tile)
    if len(parts) == 1:
        return esrgan_image(rrdb, lr)
    strips = assemble(parts, lambda part: esrgan_image(rrdb, part.cut(lr)), scale, TILE_MARGIN)
    return np.concatenate([strip.copy() for _, strip in strips], axis=2)


def mean_row(rows):
    """Average the figures of one row over the images; what is not finite is counted and left out of the means."""
    means, _ = mean_figures(rows)
    counts = [row.get("not_finite", 0) for row in rows]
    return {**means, "not_finite": sum(counts), "not_finite_images": sum(count > 0 for count in counts)}


def table(means, corner):
    """Return the table in Markdown.

    Args:
        means: {row's name: what `mean_row` returned}.
        corner: its first cell.
    """
    columns = [name for name in COLUMNS if any(name in row for row in means.values())]
    lines = [[corner] + [COLUMNS[name][0] for name in columns] + ["not finite"], ["---"] * (len(columns) + 2)]
    for title, row in means.items():
        cells = [f"{row[name]:.{COLUMNS[name][1]}f}" if name in row else "" for name in columns]
        lines.append([title] + cells + [_count(row)])
    return _markdown(lines)


def _count(row):
    images = row["not_finite_images"]
    return f"{row['not_finite']} (in {images} images, which the means leave out)" if images else "0"


# ---------------------------------------------------------------------------------------------------------------------
# The checkpoints of a run over hours


def measure_run(args, lpips):
    """Print the table of --curve, and draw the curve."""
    paths = sorted(glob.glob(os.path.join(glob.escape(args.curve), "step_*.ckpt")))
    if not paths:
        raise ValueError(f"curve: {args.curve}: has no step_*.ckpt; give the output_dir of train.py")
    times = training_times(os.path.join(args.curve, "train.csv"))
    results = Results(args.out, {"run": os.path.realpath(args.curve), **settings_of(args)})
    model, options, pairs = None, None, None
    for path in tqdm(paths, unit="checkpoint", mininterval=bar_interval()):
        name, identity = os.path.basename(path), placed_identity(path)
        if results.finished.get(name, {}).get("identity") == identity:
            continue
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:  # damaged, or removed by the run meanwhile
            warn(f"left out: {error}")
            continue
        options = options or checkpoint.options
        model = next_model(model, options, checkpoint, path)
        pairs = pairs or read_pairs(args, model.scale)
        step = checkpoint.state["step"]
        figures = {"step": step, **time_at(times, step), **step_figures(model, pairs, args, lpips)}
        results.add(name, {"identity": identity, **figures})
    rows = sorted((_numbers(value) for value in results.finished.values()), key=lambda row: row["step"])
    if not rows:
        raise ValueError(f"curve: {args.curve}: none of its {len(paths)} checkpoints can be used")
    print(curve_table(rows, args.heat))
    picture = os.path.splitext(args.out)[0] + ".png"
    write_png(picture, quality_curve(rows, args.heat))
    print(printable(f"\n{picture}: NLL and LPIPS over the hours"))


def next_model(model, options, checkpoint, path):
    """Give the model, which is compiled, the weights of another checkpoint; the first one makes it.

    Args:
        model: SRFlow, or None at first.
        options: Options of the first checkpoint.
        checkpoint: Checkpoint.
        path: of its file.

    Returns:
        SRFlow.

    Raises:
        CheckpointError: a checkpoint of another network.
    """
    if model is None:
        return SRFlow(load_network(checkpoint, path), options.datasets.train.quant)
    changed = network_differences(checkpoint.options, options)
    if changed:
        raise CheckpointError(f"{path}: of another network than the checkpoints before it: {', '.join(changed)}")
    load_parameters(model.net, checkpoint.parameters(), path, optional=IMAGE_ONLY)
    require_usable(model.net, path)
    model.refresh()
    return model


def step_figures(model, pairs, args, lpips):
    """Measure a checkpoint: means over the pairs of the NLL, the PSNR at heat 0, and the figures at --heat."""
    rows = []
    for pair in pairs:
        found = dict(measure(model, pair, [0, args.heat], 1, args, lpips))
        rows.append({**found[NLL], "psnr_heat_0": found["heat 0"]["psnr"], **found[f"heat {args.heat:g}"]})
    return mean_row(rows)


def training_times(path):
    """Read how long a run has taken.

    Args:
        path: its train.csv.

    Returns:
        float64 (3, rows): steps, seconds as they are logged, and hours. In these, steps that were slower than `SLOW`
        times the median pace of the rows around count at this pace.

    Raises:
        ValueError: the file is not there or has no row.
    """
    rows = []
    if os.path.isfile(path):
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            whole = file.read().split("\n")[:-1]  # the run may be writing the last line
        rows = [(row.get("step"), row.get("seconds")) for row in csv.DictReader(whole)]
    rows = [(0.0, 0.0)] + [(float(step), float(seconds)) for step, seconds in rows if step and seconds]
    if len(rows) == 1:
        raise ValueError(f"curve: {path}: not there, or without steps and seconds; give the output_dir of train.py")
    steps, seconds = np.array(rows).T
    count, taken = np.diff(steps), np.diff(seconds)
    pace = taken / count
    usual = np.array([np.median(pace[max(0, i - AROUND) : i + AROUND + 1]) for i in range(len(pace))])
    taken = np.where(pace > SLOW * usual, usual * count, taken)
    return np.stack([steps[1:], seconds[1:], np.cumsum(taken) / 3600])


def time_at(times, step):
    """Return `seconds` and `hours` of a step; times: what `training_times` returned."""
    steps, seconds, hours = times
    return {"seconds": float(np.interp(step, steps, seconds)), "hours": float(np.interp(step, steps, hours))}


def curve_table(rows, heat):
    """Return the table of a run's checkpoints in Markdown."""
    columns = {
        "hours": ("hours", 2),
        NLL: ("NLL", 3),
        "psnr_heat_0": ("PSNR, heat 0", 2),
        **{name: (f"{COLUMNS[name][0]}, heat {heat:g}", COLUMNS[name][1]) for name in ("psnr", "lpips", "lr_psnr")},
    }
    columns = {name: column for name, column in columns.items() if name in rows[0]}
    lines = [["step"] + [title for title, _ in columns.values()] + ["not finite"], ["---"] * (len(columns) + 2)]
    for row in rows:
        cells = [f"{row[name]:.{digits}f}" for name, (_, digits) in columns.items()]
        lines.append([f"{row['step']:.0f}"] + cells + [f"{row['not_finite']:.0f}"])
    return _markdown(lines)


def quality_curve(rows, heat):
    """Draw NLL, at the left axis, and LPIPS, at the right one, over hours of training.

    Args:
        rows: list of dicts with `hours`, `nll` and perhaps `lpips`.
        heat: of LPIPS, for its title.

    Returns:
        uint8 RGB (480, 800, 3).
    """
    image, right = np.full((HEIGHT, WIDTH, 3), 255, np.uint8), WIDTH - LEFT
    last = max(row["hours"] for row in rows) or 1.0
    for share in np.linspace(0, 1, 6):
        across, down = (
            int(round(end + share * (other - end))) for end, other in ((LEFT, right), (HEIGHT - BOTTOM, TOP))
        )
        cv2.line(image, (LEFT, down), (right, down), (225, 225, 225), 1)
        _text(image, f"{share * last:.3g}", (across - 8, HEIGHT - BOTTOM + 16))
    _text(image, "hours of training", (WIDTH // 2 - 55, HEIGHT - 6))
    axes = ((NLL, "NLL, bits per pixel", LEFT, 6), ("lpips", f"LPIPS, heat {heat:g}", right - 120, right + 10))
    for (name, title, title_at, labels_at), colour in zip(axes, COLOURS):
        points = [(row["hours"] / last, row[name]) for row in rows if _is_number(row.get(name))]
        if not points:
            continue
        shares, values = np.array(points).T
        margin = 0.05 * np.ptp(values) or 0.05 * abs(values[0]) or 1.0
        low, high = values.min() - margin, values.max() + margin
        heights = HEIGHT - BOTTOM - (values - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        path = np.rint(np.stack([LEFT + shares * (right - LEFT), heights], 1)).astype(np.int32)
        cv2.polylines(image, [path.reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA)
        for across, down in path.tolist():
            cv2.circle(image, (across, down), 3, colour, -1, cv2.LINE_AA)
        for share in np.linspace(0, 1, 6):
            down = int(round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)))
            _text(image, f"{low + share * (high - low):.4g}", (labels_at, down + 4), colour)
        _text(image, title, (title_at, 18), colour)
    return image


def _text(image, text, place, colour=(0, 0, 0)):
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


# ---------------------------------------------------------------------------------------------------------------------
# What both share


def read_pairs(args, scale):
    """Read the images and make their low-resolution ones: list of Pair. What cannot be used is told and left out."""
    images = {}
    for path in list_images(args.hr_dir)[: args.limit]:
        try:
            hr = read_image(path)
        except UnusableImage as error:
            warn(f"skipped {path}: {error}")
            continue
        height, width = (side - side % (2 * scale) for side in hr.shape[:2])
        if min(height, width) < MIN_SIDE:
            warn(f"skipped {path}: is {hr.shape[0]}x{hr.shape[1]}, too small")
            continue
        hr = np.ascontiguousarray(hr[:height, :width])
        images[os.path.basename(path)] = hr, imresize(hr, 1 / scale)
    if not images:
        raise ValueError(f"hr_dir: {args.hr_dir}: none of its images can be used")
    sizes = few_sizes([lr.shape[:2] for _, lr in images.values()], args.tile)
    return [
        Pair(name, hr, lr, sizes[lr.shape[:2]], args.seed + number)
        for number, (name, (hr, lr)) in enumerate(images.items(), start=1)
    ]


def settings_of(args):
    """Return all that the figures depend on besides the checkpoint."""
    own = {"heat": args.heat} if args.curve else {"heats": args.heats, "n_samples": args.n_samples}
    return {
        **own,
        "hr_dir": os.path.realpath(args.hr_dir),
        "images": [file_identity(path) for path in list_images(args.hr_dir)[: args.limit]],
        "seed": args.seed,
        "tile": args.tile,
        "consistent": args.consistent,
        "lpips": args.lpips and placed_identity(args.lpips),
        "opt": args.opt and placed_identity(args.opt),
        "device": args.device_target,
    }


def _markdown(lines):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _text_of(value):
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_number(value):
    return value is not None and math.isfinite(value)


def _plain(value):
    """Return a value with its numbers that are not finite, which JSON does not have, as texts."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value):
    """Undo `_plain`, and keep the numbers only."""
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items() if not isinstance(item, list)}
    return float(value)


def _heat(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


if __name__ == "__main__":
    run_main(main)
