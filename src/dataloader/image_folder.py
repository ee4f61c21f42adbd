# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images as evaluation reads them."""
import os

from src.dataloader.dataset import DataError
from src.dataloader.prepare import IMAGE_SUFFIXES, UnusableImage, read_image

SMALLEST_LR, SMALLEST_HR = 2, 11  # what the network pads to even sides, and the window of the Gaussian SSIM


class ImageFolder:
    """Iterating gives (name, hr or None, lr): file name without suffix, uint8 (s·h, s·w, 3), uint8 (h, w, 3).

    lr_dir: folder of low-resolution images, read in order of their names; hr_dir: None, or the folder of the
    high-resolution images of the same names (the suffix may differ). Raises DataError, one line that names the
    folder or file: no folder, no image in it, two of one name, no partner, an unreadable or too small image, a partner
    of another size. All images are read once to begin with, so that the last one cannot fail after hours of work.
    """

    def __init__(self, lr_dir, hr_dir, scale):
        self.scale = scale
        self.lr_files = _images(lr_dir)
        self.hr_files = _images(hr_dir) if hr_dir else None
        missing = [name for name in self.lr_files if self.hr_files is not None and name not in self.hr_files]
        if missing:
            raise DataError(f"{hr_dir}: has no image {missing[0]} for {self.lr_files[missing[0]]}")
        for _ in self:
            pass

    def __len__(self):
        return len(self.lr_files)

    def __iter__(self):
        for name, path in self.lr_files.items():
            lr = _read(path, SMALLEST_LR)
            hr = None
            if self.hr_files is not None:
                hr = _read(self.hr_files[name], SMALLEST_HR)
                self._check_sizes(hr, lr, self.hr_files[name])
            yield name, hr, lr

    def _check_sizes(self, hr, lr, path):
        expected = (lr.shape[0] * self.scale, lr.shape[1] * self.scale)
        if hr.shape[:2] != expected:
            raise DataError(f"{path}: is {hr.shape[0]}x{hr.shape[1]}, expected {self.scale} times its LR image: "
                            f"{expected[0]}x{expected[1]}")


def _read(path, smallest):
    try:
        image = read_image(path)
    except UnusableImage as error:
        raise DataError(f"{path}: {error}") from None
    if min(image.shape[:2]) < smallest:
        raise DataError(f"{path}: is {image.shape[0]}x{image.shape[1]}, expected at least {smallest}x{smallest}")
    return image


def _images(folder):
    """Name without suffix -> path, sorted."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder of images")
    files = {}
    for file in sorted(os.listdir(folder)):
        name, suffix = os.path.splitext(file)
        if suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if name in files:
            raise DataError(f"{folder}: has two images of one name, {os.path.basename(files[name])} and {file}; "
                            "rename one of them")
        files[name] = os.path.join(folder, file)
    if not files:
        raise DataError(f"{folder}: has no image files ({', '.join(IMAGE_SUFFIXES)})")
    return files
