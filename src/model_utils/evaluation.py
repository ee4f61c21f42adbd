# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of images: the pictures, the figures that the paper and the earlier port report, what is finished."""
import contextlib
import json
import math
import os

import numpy as np

from src.dataloader.imresize import imresize
from src.model.LPIPS import MIN_SIDE
from src.model.SRFlow import as_floats, fill, from_uint8, to_uint8
from src.model_utils.image_sizes import even, pad_hr_to, pad_to
from src.model_utils.metrics import lr_psnr, psnr, ssim, ssim_gaussian
from src.model_utils.tiling import tiles
from src.model_utils.util import atomic_write

_NOT_OF_SAMPLES = ("nll", "psnr_bicubic", "ssim_bicubic")


def evaluate_image(model, lr, hr, heat, n_samples, seed, tile=None, size=None, lpips=None):
    """(samples, figures) of one low-resolution image.

    model: SRFlow; lr uint8 (h, w, 3); hr uint8 (s·h, s·w, 3) or None; tile, size: as `SRFlow.sample` takes them; lpips:
    LPIPS or None. samples: uint8 (n, s·h, s·w, 3), black or white where not finite. figures: by name, those of samples
    averaged over them: `lr_psnr` (dB); with hr also `psnr` (dB), `ssim`, `ssim_gaussian` (on the pixels divided by
    255), `lpips` (None where hr is too small for it), `nll` (bits per pixel, with dequantisation noise), and
    `psnr_bicubic`, `ssim_bicubic`; with several samples `pixel_std`, the mean over pixels and colours of the samples'
    standard deviation (of 255), and with hr `psnr_best`, the best sample's. `not_finite`: how many pixels of all
    samples have a colour that is not finite; if there are any, the figures of the samples are NaN.
    """
    samples, not_finite = _as_pictures(model.sample(from_uint8(lr), heat, n_samples, seed, tile=tile, size=size)[:, 0])
    figures = {"lr_psnr": np.mean([lr_psnr(sample, lr, model.scale) for sample in samples])}
    if n_samples > 1:
        figures["pixel_std"] = samples.astype(np.float32).std(axis=0).mean()
    if hr is not None:
        bicubic, psnrs = imresize(lr, model.scale), [psnr(sample, hr) for sample in samples]
        figures.update(psnr=np.mean(psnrs), ssim=np.mean([ssim(sample, hr) for sample in samples]),
                       ssim_gaussian=np.mean([ssim_gaussian(sample / 255, hr / 255) for sample in samples]),
                       nll=likelihood(model, lr, hr, seed, tile, size),
                       psnr_bicubic=psnr(bicubic, hr), ssim_bicubic=ssim(bicubic, hr))
        if n_samples > 1:
            figures["psnr_best"] = max(psnrs)
        if lpips is not None and not is_too_small_for_lpips(hr):
            figures["lpips"] = np.mean([lpips.distance(sample, hr) for sample in samples])
    if not_finite:
        figures.update({name: math.nan for name in figures if name not in _NOT_OF_SAMPLES})
    figures = {name: float(value) for name, value in figures.items()}
    if hr is not None and lpips is not None:
        figures.setdefault("lpips", None)
    return samples, {**figures, "not_finite": not_finite}


def _as_pictures(images):
    """float32 (n, 3, H, W) -> (uint8 (n, H, W, 3), how many pixels have a colour that is not finite)."""
    return to_uint8(images), sum(int(np.count_nonzero(~np.isfinite(image).all(axis=0))) for image in images)


def is_too_small_for_lpips(hr):
    return min(hr.shape[:2]) < MIN_SIDE


def likelihood(model, lr, hr, seed, tile=None, size=None):
    """NLL in bits per pixel of hr given lr, its dequantisation noise drawn from the seed.

    Both are padded by reflection to `size`, as `SRFlow.sample` pads; None: to even sides. What is returned is the NLL
    of the padded image. An image larger than a tile is taken apart, each tile an image of its own: the mean over them.
    """
    size = even(lr.shape[:2]) if size is None else size
    lr, hr = lr.transpose(2, 0, 1), pad_hr_to(hr.transpose(2, 0, 1), lr.shape[:2], size, model.scale)
    lr = pad_to(lr, size)
    noise = np.empty(hr.shape, np.float32)
    fill(noise, np.random.RandomState(seed).random_sample)
    side = tile if tile is not None and max(size) > tile else max(size)
    return np.mean([model.encode(as_floats(part.cut(hr, model.scale)[None]), as_floats(part.cut(lr)[None]),
                                 part.cut(noise, model.scale)[None])[1][0]
                    for part in tiles(*size, side, overlap=0)])


def problems(row):
    """What is wrong with the figures of an image as `evaluate_image` gives them: a list of words."""
    found = []
    if row["not_finite"]:
        found.append(f"{row['not_finite']} pixels of its samples are not finite, black or white in the pictures; a "
                     "lower heat or another checkpoint may help")
    if not math.isfinite(row.get("nll", 0)):
        found.append(f"its nll is {row['nll']}")
    return found


def mean_figures(rows):
    """({name: mean}, {name: number of images}) of the figures, over the images that have the figure.

    rows: list of dicts as `evaluate_image` gives. None and NaN are left out, infinity is not; the mean of nothing is
    NaN. `not_finite`, a count, is no figure.
    """
    names = {name: None for row in rows for name in row if name != "not_finite"}  # in their order
    values = {name: [row[name] for row in rows if row.get(name) is not None and not math.isnan(row[name])]
              for name in names}
    return ({name: float(np.mean(found)) if found else math.nan for name, found in values.items()},
            {name: len(found) for name, found in values.items()})


def printable(text):
    """Text with names of files, of which bytes that are not UTF-8 become `\\xe9` and the like: any terminal and any
    reader of CSV and JSON takes it."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_identity(path):
    """[name, bytes, modification time in ns] of a file, which change with its content; of none the name alone."""
    name = os.path.basename(path)
    if not os.path.exists(path):
        return [name]
    status = os.stat(path)
    return [name, status.st_size, status.st_mtime_ns]


class FinishedImages:
    """What is finished, so that an interrupted evaluation goes on with the other images.

        with FinishedImages(path, settings, pictures) as finished:
            for image in pictures:
                if image not in finished:
                    finished.add(image, row)
            finished.rows()

    path: a file of JSON lines, the settings first, then an image and its row in each; removed when the block ends well.
    settings: dict of all that the rows depend on besides the images; with others everything begins anew.
    pictures: {image: paths of its pictures}, in the order of the rows; an image is text that is another one if the
    image is: `number_images`' for one. A row stays if its image is among them and all pictures are there.
    notes: lines that say what became of an earlier evaluation.
    """

    def __init__(self, path, settings, pictures):
        self.path, self.settings, self.pictures = path, json.loads(json.dumps(settings)), pictures
        self.notes, self._rows, self._file = [], {}, None

    def __enter__(self):
        settings, rows = self._read()
        self._keep(settings, rows)
        with atomic_write(self.path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(json.dumps(self.settings) + "\n")
            file.writelines(self._line(image) for image in self._rows)
        self._file = open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, kind, *_):
        self._file.close()
        if kind is None:
            os.remove(self.path)

    def __contains__(self, image):
        return image in self._rows

    def add(self, image, row):
        """The figures of an image, all that is written of it being written."""
        self._rows[image] = row
        self._file.write(self._line(image))
        self._file.flush()

    def rows(self):
        """Those of the finished images, in the images' order."""
        return [self._rows[image] for image in self.pictures if image in self._rows]

    def _line(self, image):
        return json.dumps({"image": image, "row": self._rows[image]}) + "\n"

    def _keep(self, settings, rows):
        if settings is None:
            return
        if settings != self.settings:
            changed = [name for name in {**self.settings, **settings} if settings.get(name) != self.settings.get(name)]
            self.notes.append(f"{self.path}: is of an evaluation with another {' and '.join(changed)}; begins anew")
            return
        self._rows = {image: row for image, row in rows.items()
                      if image in self.pictures and all(os.path.exists(path) for path in self.pictures[image])}
        if self._rows:
            self.notes.append(f"{self.path}: goes on after {len(self._rows)} finished images")
        lost = sorted({str(row["name"]) for image, row in rows.items() if image not in self._rows})
        if lost:
            self.notes.append(f"{self.path}: {len(lost)} finished images were changed, moved or removed, or their "
                              f"pictures were; what is still there is done again: {first_few(lost)}")

    def _read(self):
        """(settings or None, {image: row}) of the file, as far as it is whole."""
        if not os.path.exists(self.path):
            return None, {}
        entries = []
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError, RecursionError):  # the last line may have been cut off
                    entries.append(json.loads(line))
        entries = [entry for entry in entries if isinstance(entry, dict)]
        if not entries:
            return None, {}
        return entries[0], {entry["image"]: entry["row"] for entry in entries[1:]
                            if isinstance(entry.get("image"), str) and _is_row(entry.get("row"))}


def _is_row(row):
    """Whether this can be what `FinishedImages.add` was given: a name, a count, and figures."""
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or type(row.get("not_finite")) is not int:
        return False
    figures = {name: value for name, value in row.items() if name not in ("name", "not_finite")}
    if figures.get("lpips", 0.0) is None:
        del figures["lpips"]
    return row["not_finite"] >= 0 and all(type(value) is float for value in figures.values())


def number_images(names, files, sizes):
    """The images of an evaluation as text for `FinishedImages`: of each the number, from 1, name, size and files.

    The number belongs to it because the seed of an image's samples does. files: for each image a list of paths. sizes:
    at which they are computed, which the other images of the folder have a say in.
    """
    return [json.dumps([number, str(name), list(size)] + [file_identity(path) for path in paths])
            for number, (name, size, paths) in enumerate(zip(names, sizes, files), start=1)]


def first_few(words, count=5):
    return ", ".join(words[:count]) + " and others" * (len(words) > count)
