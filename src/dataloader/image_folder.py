# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images, or single images, alone or in pairs of low and high resolution."""

import os

from src.dataloader.image_file import IMAGE_SUFFIXES, UnusableImage, read_image
from src.dataloader.mindrecord_file import DataError

SMALLEST_LR, SMALLEST_HR = 2, 11  # sides: what can be padded to even ones; the Gaussian SSIM's window


class ImageFolder:
    """The images of a folder, with their high-resolution partners in another one if that is given, for evaluation.

    Iterating gives (name, hr, lr): the LR file's name without suffix, uint8 (s·h, s·w, 3) or None, and uint8 (h, w, 3).
    Hidden files, such as macOS's `._a.png`, are not looked at.

    All images are read once to begin with, so that the last one cannot fail after hours of work. Their sizes are known
    from then on.

    Args:
        lr_dir: folder of low-resolution images, read in order of their names; or one image, whatever its suffix.
        hr_dir: folder of the high-resolution images, or None. They have the same names, or those without the `x4` (the
            scale) that DIV2K's LR images have at the end. The suffix may differ. Beside one image it may be its
            high-resolution image itself, whatever its name.
        scale: s, HR over LR sides.

    Attributes:
        files: name -> (LR path, HR path or None) of the images, in their order.
        skipped: a line for every image that cannot be read or is too small, which names the file.

    Raises:
        DataError: there is no folder, no image in it, or none that can be used; two images have one name; an image has
            no partner, or one of another size. One line names the folder or file.
    """

    def __init__(self, lr_dir, hr_dir, scale):
        self.scale = scale
        self.files = _paired(_one_or_all(lr_dir), hr_dir, scale)
        self.skipped, self._sizes = [], {}
        for name in list(self.files):
            try:
                self._sizes[name] = self._read(name)[1].shape[:2]
            except UnusableImage as error:
                self.skipped.append(str(error))
                del self.files[name]
        if not self.files:
            raise DataError(f"{lr_dir}: none of its {len(self.skipped)} images can be used; {self.skipped[0]}")

    def __len__(self):
        return len(self.files)

    def __iter__(self):
        for name in self.files:
            try:
                hr, lr = self._read(name)
                self._require_size(name, lr)
            except UnusableImage as error:
                raise DataError(f"{error}; it has changed since the evaluation began") from None
            yield name, hr, lr

    def sizes(self):
        """Yield (name, HR size or None, LR size) of every image, in their order, without reading it again."""
        for name, (_, hr_path) in self.files.items():
            height, width = self._sizes[name]
            yield name, (height * self.scale, width * self.scale) if hr_path else None, (height, width)

    def _require_size(self, name, lr):
        if lr.shape[:2] != self._sizes[name]:
            height, width = self._sizes[name]
            raise UnusableImage(f"{self.files[name][0]}: is {lr.shape[0]}x{lr.shape[1]}, was {height}x{width}")

    def _read(self, name):
        lr_path, hr_path = self.files[name]
        lr = _read(lr_path, SMALLEST_LR)
        if hr_path is None:
            return None, lr
        hr = _read(hr_path, SMALLEST_HR)
        try:
            require_fit(hr, lr, self.scale)
        except UnusableImage as error:
            raise DataError(f"{hr_path}: {error}") from None
        return hr, lr


def list_images(folder):
    """List the paths of the image files of a folder, in order of their names; hidden ones are not looked at.

    Raises:
        DataError: there is no folder or no image in it.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder of images")
    files = [
        os.path.join(folder, file)
        for file in sorted(os.listdir(folder))
        if not file.startswith(".") and file.lower().endswith(IMAGE_SUFFIXES)
    ]
    if not files:
        raise DataError(f"{folder}: has no image files ({', '.join(IMAGE_SUFFIXES)})")
    return files


def images_of(folder):
    """Find the image files of a folder by their names, which must differ.

    Args:
        folder: its path.

    Returns:
        dict from name without suffix to path, in order of the names.

    Raises:
        DataError: there is no folder or no image in it, or two images have one name.
    """
    files = {}
    for path in list_images(folder):
        file = os.path.basename(path)
        name = os.path.splitext(file)[0]
        if name in files:
            raise DataError(
                f"{folder}: has two images of one name, {os.path.basename(files[name])} and {file}; rename one of them"
            )
        files[name] = path
    return files


def hr_names(name, scale):
    """Return the names that an LR image's HR partner may have, the preferred one first.

    They are its own and, if it ends in `x4` (the scale), that without it.
    """
    ending = f"x{scale}"
    return [name] + [name[: -len(ending)]] * name.endswith(ending)


def require_fit(hr, lr, scale):
    """Raise UnusableImage if an HR image is not exactly `scale` times its LR image; arrays (H, W, 3)."""
    expected = lr.shape[0] * scale, lr.shape[1] * scale
    if hr.shape[:2] != expected:
        raise UnusableImage(
            f"is {hr.shape[0]}x{hr.shape[1]}, expected {scale} times its LR image: {expected[0]}x{expected[1]}"
        )


def _read(path, smallest):
    try:
        image = read_image(path)
    except UnusableImage as error:
        raise UnusableImage(f"{path}: {error}") from None
    if min(image.shape[:2]) < smallest:
        raise UnusableImage(f"{path}: is {image.shape[0]}x{image.shape[1]}, expected at least {smallest}x{smallest}")
    return image


def _paired(lr_files, hr_dir, scale):
    """Return name -> (LR path, HR path or None)."""
    if not hr_dir:
        return {name: (path, None) for name, path in lr_files.items()}
    if len(lr_files) == 1 and os.path.isfile(hr_dir):
        return {name: (path, hr_dir) for name, path in lr_files.items()}
    hr_files, files = _one_or_all(hr_dir), {}
    for name, path in lr_files.items():
        names = hr_names(name, scale)
        partners = [hr_files[partner] for partner in names if partner in hr_files]
        if not partners:
            raise DataError(f"{hr_dir}: has no image {' or '.join(names)} for {path}")
        files[name] = (path, partners[0])
    return files


def _one_or_all(path):
    """Find the images of a folder as `images_of` does; where the path is an image's, this one."""
    if os.path.isfile(path):
        return {os.path.splitext(os.path.basename(path))[0]: path}
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such folder of images, and no such image")
    return images_of(path)
