# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of images: the pictures, and the figures that the paper and the earlier port report."""

import math

import numpy as np

from src.evaluation.metrics import MIN_SIDE, diversity, lr_psnr, psnr, ssim, ssim_gaussian
from src.images import as_floats, even, fill, from_uint8, pad_hr_to, pad_to, to_uint8
from src.imresize import imresize
from src.sampling import count_cooled
from src.tiling import tiles

COUNTS = ("not_finite", "cooled", "exploded")  # of a row: they are no figures, and whole numbers
# Pixels: NTIRE 2021 cut the sides to multiples of it. At scales of 4 and 8 an image that is not too small for LPIPS is
# still not too small when it is cut.
_DIVERSITY_UNIT = 8


def evaluate_image(
    model, lr, hr, heat, n_samples, seed, tile=None, size=None, lpips=None, cool=False, consistent=False, progress=None
):
    """Super-resolve a low-resolution image and measure the result.

    The figures that concern samples are averaged over them:

    - `lr_psnr`, in dB.
    - With `hr`: `psnr` in dB, `ssim`, `ssim_gaussian` on the pixels divided by 255, and if the model encodes `nll` in
      bits per pixel with dequantisation noise.
    - With `hr`, of the bicubic image: `psnr_bicubic` and `ssim_bicubic`.
    - With `hr` and `lpips`: `lpips`, None where `hr` is too small for it.
    - With several samples: `lr_psnr_worst`, that of the worst sample, and `pixel_std`, the standard deviation of the
      samples, of 255, averaged over pixels and colours. With `hr` also `psnr_best`, that of the best sample. With `hr`
      and `lpips` also `diversity`, NTIRE 2021's score (see `metrics.diversity`), of the images cut at the bottom and
      right to multiples of 8 pixels; None where `hr` is too small for LPIPS.
    - `not_finite`: how many pixels of all samples have a colour that is not finite. If there are any, the figures of
      the samples are NaN.
    - `cooled` and `exploded`, where `cool` is asked for: how many parts of the samples were decoded again at a lower
      heat, and how many exploded at all of them and stayed as they were.

    Args:
        model: Sampling.
        lr: uint8 (h, w, 3).
        hr: uint8 (s·h, s·w, 3), s being the model's scale, or None.
        heat: standard deviation of the latents.
        n_samples: number of samples.
        seed: seed of the samples and of the dequantisation noise.
        tile, size: as `SRFlow.sample` takes them.
        lpips: LPIPS or None.
        cool, consistent, progress: as `SRFlow.sample` takes them; `model.cooled` lists what was decoded again.

    Returns:
        (samples, figures): uint8 (n_samples, s·h, s·w, 3), black or white where not finite, and a dict by name.
    """
    images = model.sample(
        from_uint8(lr), heat, n_samples, seed, tile=tile, size=size, cool=cool, consistent=consistent, progress=progress
    )
    samples, figures = sample_figures(images[:, 0], lr, hr, model.scale, lpips)
    not_finite = figures.pop("not_finite")
    if hr is not None:
        bicubic = imresize(lr, model.scale)
        figures.update(
            **({"nll": float(likelihood(model, lr, hr, seed, tile, size))} if model.encodes else {}),
            psnr_bicubic=psnr(bicubic, hr),
            ssim_bicubic=ssim(bicubic, hr),
        )
    figures["not_finite"] = not_finite
    if cool:
        figures["cooled"], figures["exploded"] = count_cooled(model.cooled)
    return samples, figures


def sample_figures(images, lr, hr, scale, lpips=None):
    """Measure samples of one image.

    Args:
        images: float32 (n, 3, s·h, s·w), not clipped.
        lr: uint8 (h, w, 3).
        hr: uint8 (s·h, s·w, 3), or None.
        scale: s.
        lpips: LPIPS or None.

    Returns:
        (samples, figures): uint8 (n, s·h, s·w, 3), and a dict of those of `evaluate_image`'s figures that concern
        samples, `not_finite` among them.
    """
    samples, not_finite = _as_pictures(images)
    lr_psnrs = [lr_psnr(sample, lr, scale) for sample in samples]
    figures = {"lr_psnr": np.mean(lr_psnrs)}
    if len(samples) > 1:
        figures["lr_psnr_worst"] = min(lr_psnrs)
        figures["pixel_std"] = samples.std(axis=0, dtype=np.float32).mean()
    if hr is not None:
        psnrs = [psnr(sample, hr) for sample in samples]
        figures["psnr"] = np.mean(psnrs)
        figures["ssim"] = np.mean([ssim(sample, hr) for sample in samples])
        figures["ssim_gaussian"] = np.mean([ssim_gaussian(sample / 255, hr / 255) for sample in samples])
        if len(samples) > 1:
            figures["psnr_best"] = max(psnrs)
        if lpips is not None and not is_too_small_for_lpips(hr.shape[:2]):
            figures.update(perceptual_figures(lpips, samples, hr))
    figures = {name: math.nan if not_finite else float(value) for name, value in figures.items()}
    if hr is not None and lpips is not None:
        for name in _perceptual_names(len(samples)):
            figures.setdefault(name, None)
    return samples, {**figures, "not_finite": not_finite}


def perceptual_figures(lpips, samples, hr):
    """Return `lpips`, the mean over the samples, and of several samples `diversity`.

    Args:
        lpips: LPIPS.
        samples: uint8 (n, H, W, 3).
        hr: uint8 (H, W, 3), not too small for LPIPS.
    """
    figures = {"lpips": np.mean([lpips.distance(sample, hr) for sample in samples])}
    if len(samples) > 1:
        height, width = (side - side % _DIVERSITY_UNIT for side in hr.shape[:2])
        figures["diversity"] = diversity(
            lpips.spatial(sample[:height, :width], hr[:height, :width]) for sample in samples
        )
    return figures


def _perceptual_names(n_samples):
    return ("lpips", "diversity") if n_samples > 1 else ("lpips",)


def _as_pictures(images):
    """Return float32 (n, 3, H, W) as uint8 (n, H, W, 3), and how many pixels have a colour that is not finite."""
    return to_uint8(images), sum(int(np.count_nonzero(~np.isfinite(image).all(axis=0))) for image in images)


def is_too_small_for_lpips(hr_size):
    return min(hr_size) < MIN_SIDE


def likelihood(model, lr, hr, seed, tile=None, size=None):
    """Compute the NLL, in bits per pixel, of a high-resolution image given its low-resolution one.

    The value is that of the padded image. An image larger than a tile is taken apart. Then each tile is an image of its
    own, and the value is the mean over the tiles.

    Args:
        model: SRFlow.
        lr: uint8 (h, w, 3).
        hr: uint8 (s·h, s·w, 3), s being the model's scale.
        seed: seed of the dequantisation noise.
        tile: side of the tiles in LR pixels; None: the image is not taken apart.
        size: even (height, width) to which both are padded by reflection, in LR pixels, as `SRFlow.sample` pads; None:
            the next even one.

    Returns:
        float.
    """
    size = even(lr.shape[:2]) if size is None else size
    lr, hr = lr.transpose(2, 0, 1), pad_hr_to(hr.transpose(2, 0, 1), lr.shape[:2], size, model.scale)
    lr = pad_to(lr, size)
    noise = np.empty(hr.shape, np.float32)
    fill(noise, np.random.RandomState(seed).random_sample)
    side = tile if tile is not None and max(size) > tile else max(size)
    return np.mean(
        [
            model.encode(
                as_floats(part.cut(hr, model.scale)[None]),
                as_floats(part.cut(lr)[None]),
                part.cut(noise, model.scale)[None],
            )[1][0]
            for part in tiles(*size, side, overlap=0)
        ]
    )


def problems(row):
    """Say what is wrong with the figures of an image as `evaluate_image` gives them: a list of texts."""
    found = []
    if row["not_finite"]:
        found.append(
            f"{row['not_finite']} pixels of its samples are not finite, black or white in the pictures; a "
            "lower heat or another checkpoint may help"
        )
    if row.get("exploded"):
        found.append(f"{row['exploded']} parts of its samples exploded at all heats, and stay as they are")
    if not math.isfinite(row.get("nll", 0)):
        found.append(f"its nll is {row['nll']}")
    return found


def describe_cooled(part, scale):
    """Say which part of a sample was decoded at another heat than the one asked for.

    Args:
        part: Cooled.
        scale: of super-resolution; places are told in pixels of the picture.
    """
    tile = part.tile
    where = f"{scale * tile.height}x{scale * tile.width} pixels at row {scale * tile.top}, column {scale * tile.left}"
    text = f"sample {part.sample}: {where}: exploded at heat {part.heat:g}, "
    return text + ("and at all lower ones" if part.used is None else f"decoded at {part.used:g}")


def mean_figures(rows):
    """Average the figures over the images that have them.

    None and NaN are left out, infinity is not. The mean of nothing is NaN. COUNTS are no figures.

    Args:
        rows: list of dicts as `evaluate_image` gives them.

    Returns:
        ({name: mean}, {name: number of images that have the figure}).
    """
    names = {name: None for row in rows for name in row if name not in COUNTS}  # a dict keeps their order
    values = {
        name: [row[name] for row in rows if row.get(name) is not None and not math.isnan(row[name])] for name in names
    }
    return (
        {name: float(np.mean(found)) if found else math.nan for name, found in values.items()},
        {name: len(found) for name, found in values.items()},
    )
