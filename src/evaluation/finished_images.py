# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Which images of an evaluation are finished, so that an interrupted one goes on."""

import contextlib
import json
import os

from src.evaluation.figures import COUNTS
from src.model_utils.util import atomic_write, free_name
from src.texts import first_few


class FinishedImages:
    """The finished images of an evaluation, so that an interrupted one goes on with the others.

        with FinishedImages(path, settings, pictures) as finished:
            for image in pictures:
                if image not in finished:
                    finished.add(image, row)
            finished.rows()

    An image is a text that is different for a different image, such as `number_images` makes. A row stays if its image
    is among `pictures` and all pictures of it are as they were written.

    Args:
        path: a file of JSON lines, removed when the block ends well. The first line holds the settings, each other one
            an image, its row and what its pictures are known by.
        settings: dict of all that the rows depend on besides the images. With others everything begins anew, and a file
            with finished images is set aside as `*.old`, or `*.old2` and so on.
        pictures: {image: paths of its pictures}, in the order of the rows.

    Attributes:
        notes: lines that say what became of an earlier evaluation.
    """

    def __init__(self, path, settings, pictures):
        self.path, self.settings, self.pictures = path, json.loads(json.dumps(settings)), pictures
        self.notes, self._rows, self._file = [], {}, None

    def __enter__(self):
        settings, entries = self._read()
        self._keep(settings, entries)
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
        """Note the figures of an image, all of whose pictures are written."""
        self._rows[image] = row
        self._file.write(self._line(image))
        self._file.flush()

    def rows(self):
        """Return the rows of the finished images, in the order of `pictures`."""
        return [self._rows[image] for image in self.pictures if image in self._rows]

    def _line(self, image):
        entry = {"image": image, "row": self._rows[image], "pictures": self._identities(image)}
        return json.dumps(entry) + "\n"

    def _identities(self, image):
        """What its pictures are known by: another evaluation may have written others of the same names."""
        return [file_identity(path) for path in self.pictures[image]]

    def _keep(self, settings, entries):
        if settings is None:
            return
        if settings != self.settings:
            changed = [name for name in {**self.settings, **settings} if settings.get(name) != self.settings.get(name)]
            self.notes.append(
                f"{self.path}: is of an evaluation with another {' and '.join(changed)}; begins anew"
                + (f"; its {len(entries)} finished images are kept in {self._set_aside()}" if entries else "")
            )
            return
        self._rows = {
            image: entry["row"]
            for image, entry in entries.items()
            if image in self.pictures and entry.get("pictures") == self._identities(image)
        }
        if self._rows:
            self.notes.append(f"{self.path}: goes on after {len(self._rows)} finished images")
        lost = sorted({str(entry["row"]["name"]) for image, entry in entries.items() if image not in self._rows})
        if lost:
            self.notes.append(
                f"{self.path}: {len(lost)} finished images were changed, moved or removed, or their "
                f"pictures were; what is still there is done again: {first_few(lost)}"
            )

    def _set_aside(self):
        """Rename the file, and return its new name."""
        aside = free_name(self.path + ".old")
        os.replace(self.path, aside)
        return aside

    def _read(self):
        """Read (settings or None, {image: its line's dict}) from the file, as far as it is whole."""
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
        return entries[0], {
            entry["image"]: entry
            for entry in entries[1:]
            if isinstance(entry.get("image"), str) and _is_row(entry.get("row"))
        }


def _is_row(row):
    """Tell whether a value can be what `FinishedImages.add` was given: a name, counts, and figures."""
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or "not_finite" not in row:
        return False
    if not all(type(row.get(name, 0)) is int and row.get(name, 0) >= 0 for name in COUNTS):
        return False
    figures = {name: value for name, value in row.items() if name not in ("name",) + COUNTS}
    for name in ("lpips", "diversity"):
        if figures.get(name, 0.0) is None:
            del figures[name]
    return all(type(value) is float for value in figures.values())


def number_images(names, files, sizes):
    """Describe the images of an evaluation as texts for `FinishedImages`: number from 1, name, size and files.

    The number is part of an image because the seed of its samples depends on it. The size is part of it because it
    depends on the other images of the folder.

    Args:
        names: one per image.
        files: a list of paths per image.
        sizes: (height, width) at which each image is computed.

    Returns:
        list of text.
    """
    return [
        json.dumps([number, str(name), list(size)] + [file_identity(path) for path in paths])
        for number, (name, size, paths) in enumerate(zip(names, sizes, files), start=1)
    ]


def file_identity(path):
    """Return [name, bytes, modification time in ns] of a file, which change with its content.

    Of a file that is not there it is the name alone.
    """
    name = os.path.basename(path)
    if not os.path.exists(path):
        return [name]
    status = os.stat(path)
    return [name, status.st_size, status.st_mtime_ns]


def placed_identity(path):
    """Return a file's whole path, without links, and its `file_identity`: for files that matter by their place too."""
    return [os.path.realpath(path)] + file_identity(path)
