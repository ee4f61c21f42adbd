# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation from its first image to its last file, whatever computes the network; it needs no MindSpore.

`args` and `opt` are as the programs have them: `args.lr_dir`, `hr_dir` (None where there is none), `n_samples`, `seed`,
`tile`, `cool` and `consistent`, and `opt.heat`, `opt.scale` and `opt.output_dir`.
"""

import csv
import itertools
import json
import math
import os
from typing import Any, List, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from src.dataloader.image_file import UnusableImage, read_image
from src.evaluation.figures import describe_cooled, evaluate_image, is_too_small_for_lpips, mean_figures, problems
from src.evaluation.finished_images import FinishedImages, number_images
from src.evaluation.metrics import MIN_SIDE
from src.evaluation.picture import SHEET_ROWS, deviation_map, sheet, write_png
from src.image_sizes import MAX_SIZES, few_sizes
from src.images import even
from src.imresize import imresize
from src.model_utils.util import atomic_write, bar_interval, warn
from src.sampling import n_decodings
from src.texts import first_few, printable
from src.tiling import middle

PROGRESS = "metrics.progress.jsonl"
# One for all programs, which write the same files; not training's: a run may be evaluated in its own folder meanwhile.
LOCK = ".eval.lock"
SHEET_HEATS = (0.0, 0.5, 0.9)  # of a MindRecord, besides the one that is evaluated
SHOWN_PICTURES = 12  # whose paths are printed at the end
SHEET_SAMPLES = 3  # the largest number of an image's samples in the sheet of a folder
DEVIATION_SAMPLES = 8  # whose standard deviation the sheet of a MindRecord shows
SHEET_SIDE = 96  # LR pixels of an image's side in the sheet where no tile bounds it


class Data(NamedTuple):
    """The images of an evaluation.

    Attributes:
        images: iterable of (name, hr or None, lr), with the method `sizes`, as ImageFolder and EvalData are.
        names: of the images, in their order.
        files: for each image the files that it comes from, some of which may be None.
        skipped: a line for each image that cannot be used.
    """

    images: Any
    names: Sequence
    files: Sequence
    skipped: List[str]


def evaluate_all(data, model, lpips, settings, facts, args, opt):
    """Evaluate every image in turn, then write metrics.csv, metrics.json and pictures.

    Args:
        data: Data.
        model: Sampling.
        lpips: LPIPS or None.
        settings: dict of all that an image's figures depend on, besides the image.
        facts: dict of what else metrics.json says of the evaluation.
        args, opt: as said above.

    Returns:
        the exit status: 0, or 1 if some images are not whole.
    """
    sizes, without_lpips = survey(data.images, args.tile, lpips is not None)
    warn_of_memory(sizes, model, args)
    pictures = name_pictures(data, sizes, args, opt)
    first = []  # pairs for the sheet of a folder
    decodings = [n_decodings(size, args.n_samples, tile=args.tile) for size in sizes]
    with FinishedImages(os.path.join(opt.output_dir, PROGRESS), settings, pictures) as finished, tqdm(
        total=sum(decodings), unit="tile", mininterval=bar_interval()
    ) as bar:
        for note in finished.notes:
            tqdm.write(printable(note))
        for number, ((_, hr, lr), image) in enumerate(zip(data.images, pictures), start=1):
            bar.set_description(f"image {number} of {len(pictures)}")
            if number <= SHEET_ROWS:
                first.append((hr, lr))
            if image in finished:
                bar.update(decodings[number - 1])
                continue
            samples, figures = evaluate_image(
                model,
                lr,
                hr,
                opt.heat,
                args.n_samples,
                args.seed + number,
                tile=args.tile,
                size=sizes[number - 1],
                lpips=lpips,
                cool=args.cool,
                consistent=args.consistent,
                progress=lambda done, total: bar.update(),
            )
            if hr is not None:
                tqdm.write(
                    f"Get the number {number} data psnrloss: {_as_array(figures['psnr'])}, "
                    f"ssim_loss: {_as_array(figures['ssim_gaussian'])}"
                )
            row = {"name": printable(data.names[number - 1]), **figures}
            for problem in [describe_cooled(part, model.scale) for part in model.cooled] + problems(row):
                warn(f"{row['name']}: {problem}")
            for path, picture in zip(pictures[image], samples if args.lr_dir else [lr, *samples]):
                write_png(path, picture)
            finished.add(image, row)
        rows = finished.rows()
        report(rows, len(data.skipped), facts, args, opt)
        if args.lr_dir:
            write_sheet_of_pictures(first, list(pictures.values()), args, opt)
        else:
            write_sheet(model, data.images, sizes, args, opt)
    return 1 if tell_what_is_missing(rows, data.skipped, without_lpips) else 0


def refuse_to_overwrite(args, opt):
    """Refuse to write the pictures into the folder of the images that they come from: their names are the same."""
    for flag, path in (("--lr_dir", args.lr_dir), ("--hr_dir", args.hr_dir)):
        folder = os.path.dirname(os.path.abspath(path)) if path and os.path.isfile(path) else path
        if folder and os.path.realpath(folder) == os.path.realpath(opt.output_dir):
            raise ValueError(
                f"output_dir: {opt.output_dir} is the folder of {flag}, whose images would be "
                "overwritten; give another folder"
            )


def survey(images, tile, with_lpips):
    """Choose the size at which each image is computed, and warn of those that are too small for LPIPS.

    Returns:
        (sizes, names): the LR size at which each image is computed, and the names of those that are too small.
    """
    sizes, too_small = [], []
    for name, hr_size, lr_size in images.sizes():
        sizes.append(lr_size)
        if with_lpips and hr_size is not None and is_too_small_for_lpips(hr_size):
            too_small.append(printable(name))
            warn(f"{too_small[-1]}: LPIPS needs HR images of at least {MIN_SIDE}x{MIN_SIDE}; its lpips stays empty")
    computed = few_sizes(sizes, tile)
    padded = sum(computed[size] != even(size) for size in sizes)
    if padded:
        tqdm.write(
            f"{padded} of {len(sizes)} images are padded by reflection and cut back, so that no more than "
            f"{MAX_SIZES} sizes have to be compiled"
        )
    return [computed[size] for size in sizes], too_small


def warn_of_memory(sizes, model, args):
    """Say it beforehand where the samples of the largest image may need more memory than there is."""
    largest = max(sizes, key=lambda size: size[0] * size[1])
    problem = model.memory.problem(largest, images=1, n=args.n_samples, batch=1, tile=args.tile, value_bytes=4)
    if problem:
        warn(problem)


def name_pictures(data, sizes, args, opt):
    """Return the paths of each image's pictures, in order, by the image as `FinishedImages` knows it."""
    files = [[path for path in paths if path] for paths in data.files]
    paths = [picture_paths(number, name, args, opt) for number, name in enumerate(data.names, start=1)]
    refuse_long_names(paths, args, opt)
    return dict(zip(number_images(data.names, files, sizes), paths))


def picture_paths(number, name, args, opt):
    """Return the files of an image's pictures.

    For an image of a folder it is one for each sample: NAME.png, or NAME_0.png, NAME_1.png and so on. For a
    MindRecord's first images it is pictures/NAME_lr.png and the same with NAME_sr.
    """
    if not args.lr_dir and number > SHEET_ROWS:
        return []
    stem = str(name) if args.lr_dir else f"{name}_sr"
    files = [f"{stem}.png"] if args.n_samples == 1 else [f"{stem}_{k}.png" for k in range(args.n_samples)]
    if args.lr_dir:
        return [os.path.join(opt.output_dir, file) for file in files]
    return [os.path.join(opt.output_dir, "pictures", file) for file in [f"{name}_lr.png"] + files]


def refuse_long_names(paths, args, opt):
    """Refuse pictures' names that the file system does not take, before hours of work and not in the midst of them."""
    longest = os.pathconf(opt.output_dir, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for path in itertools.chain.from_iterable(paths):
        length = len(os.fsencode(os.path.basename(path)))
        if length > longest:
            raise ValueError(
                f"{os.path.basename(path)}: the picture's name would have {length} bytes, more than the "
                f"{longest} that {opt.output_dir} allows; shorten the name of the image in {args.lr_dir}"
            )


def write_sheet(model, images, sizes, args, opt):
    """Write one picture of the first images, or of the middle of large ones.

    Its columns are LR, bicubic, samples at several heats, the standard deviation of samples at the configured heat, and
    HR.
    """
    rows, side, heats = [], args.tile or SHEET_SIDE, sorted({*SHEET_HEATS, opt.heat})
    for (_, hr, lr), size in zip(itertools.islice(images, SHEET_ROWS), sizes):
        hr, lr = centre(hr, lr, side, model.scale)
        size = tuple(min(side, length) for length in size)
        how = {"seed": args.seed, "size": size, "cool": args.cool, "consistent": args.consistent}
        samples = model.sample(lr, heats, **how)[:, 0]
        several = model.sample(lr, opt.heat, DEVIATION_SAMPLES, **how)
        rows.append([lr, imresize(lr, model.scale), *samples, deviation_map(several), hr])
    titles = ["LR", "bicubic", *[f"heat {heat:g}" for heat in heats], f"deviation, heat {opt.heat:g}", "HR"]
    path = os.path.join(opt.output_dir, "sheet.png")
    write_png(path, sheet(rows, titles))
    print(printable(f"picture sheet: {path}"))


def write_sheet_of_pictures(pairs, pictures, args, opt):
    """Write one picture of a folder's first images, or of the middle of large ones, and list the pictures.

    Its columns are bicubic, the samples as they were written, their standard deviation where there are several, and HR
    where that is given.

    Args:
        pairs: (hr or None, lr) of the first images.
        pictures: for every image the list of its samples' files.
    """
    rows, shown = [], min(args.n_samples, SHEET_SAMPLES)
    for (hr, lr), files in zip(pairs, pictures):
        part = middle(lr.shape[:2], SHEET_SIDE)
        try:
            samples = np.stack([part.cut_picture(read_image(file), opt.scale) for file in files])
        except UnusableImage as error:  # there is a largest picture that is read
            warn(f"{printable(files[0])}: {error}; it is not in the sheet")
            continue
        row = [imresize(part.cut_picture(lr), opt.scale)] + list(samples[:shown])
        if args.n_samples > 1:
            row.append(deviation_map(samples))
        if hr is not None:
            row.append(part.cut_picture(hr, opt.scale))
        rows.append(row)
    titles = ["bicubic"] + [f"sample {k}, heat {opt.heat:g}" for k in range(shown)]
    titles += ["standard deviation"] * (args.n_samples > 1) + ["HR"] * bool(args.hr_dir)
    written, name = list(itertools.chain.from_iterable(pictures)), "sheet.png"
    print(printable(f"pictures: {first_few(written, SHOWN_PICTURES)}"))
    if not rows:
        return
    while os.path.join(opt.output_dir, name) in written:  # an image may be called so
        name = f"_{name}"
    path = os.path.join(opt.output_dir, name)
    write_png(path, sheet(rows, titles))
    print(printable(f"picture sheet: {path}"))


def centre(hr, lr, side, scale):
    """Return the middle of a pair, at most `side` LR pixels high and wide."""
    part = middle(lr.shape[:2], side)
    return part.cut_picture(hr, scale), part.cut_picture(lr)


def report(rows, skipped, facts, args, opt):
    """Print the means and write the files."""
    means, averaged = mean_figures([{name: value for name, value in row.items() if name != "name"} for row in rows])
    if "psnr" in means:
        print(f"The mean of psnr is: {_as_array(means['psnr'])}")
        print(f"The mean of ssim is: {_as_array(means['ssim_gaussian'])}")
    listed = ", ".join(
        f"{name} {value:.4f}" + f" (of {averaged[name]})" * (averaged[name] < len(rows))
        for name, value in means.items()
    )
    print(f"{len(rows)} images, heat {opt.heat:g}: {listed}")
    summary = {
        "n": len(rows),
        **{name: _as_json(value) for name, value in means.items()},
        "averaged": averaged,
        "skipped": skipped,
        "not_finite": sum(row["not_finite"] for row in rows),
        "not_finite_images": sum(row["not_finite"] > 0 for row in rows),
        **({name: sum(row[name] for row in rows) for name in ("cooled", "exploded")} if args.cool else {}),
        **facts,
    }
    with atomic_write(os.path.join(opt.output_dir, "metrics.json")) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2, allow_nan=False)
    with atomic_write(os.path.join(opt.output_dir, "metrics.csv")) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)


def tell_what_is_missing(rows, skipped, without_lpips):
    """Say once more at the end which images are not whole; return whether there are any."""
    faulty = [row["name"] for row in rows if problems(row)]
    cooled = [row["name"] for row in rows if row.get("cooled")]
    if cooled:
        warn(
            f"{len(cooled)} of {len(rows)} images have parts that exploded and were decoded again at lower "
            f"heats: {first_few(cooled)}"
        )
    for names, what in (
        (faulty, "have pixels or an nll that are not finite, or exploded"),
        (without_lpips, "have no LPIPS"),
    ):
        if names:
            warn(f"{len(names)} of {len(rows)} images {what}: {first_few(names)}")
    if skipped:
        warn(f"{len(skipped)} of {len(rows) + len(skipped)} images were skipped: {first_few(skipped)}")
    return bool(faulty or skipped or without_lpips)


def _as_json(value):
    """Return a number, or "NaN", "Infinity" or "-Infinity", which JSON does not have as numbers."""
    return value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")


def _as_array(value):
    """Return a number in the form in which the earlier port printed it: [34.00094]."""
    return np.array([value], np.float32)
