# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Make a MindRecord file of HR/LR pairs from a folder of photographs.

    python -m src.dataloader.prepare --hr_dir DIV2K_train_HR --out DIV2K_X4_train.mindrecord
    python -m src.dataloader.prepare --hr_dir DIV2K_valid_HR --out DIV2K_X4_valid.mindrecord --whole
    python -m src.dataloader.prepare --hr_dir sharp --lr_dir camera --out camera_X4_train.mindrecord

Each record holds an HR crop and its LR image, made from that very crop by MATLAB-like bicubic downscaling. With --whole
it holds an HR image instead of a crop, cut at the right and bottom to a multiple of 2 x scale so that the LR sides are
even.

With --lr_dir the LR images are files too, and nothing is resized: an LR patch is cut at the place of its HR patch,
which begins at a multiple of the scale. A pair has one name, or the LR image has x4 (the scale) behind it; the suffixes
may differ. HR must be exactly `scale` times LR. Pairs that do not fit and images without a partner are named and
skipped. The order is that of the LR images' names.

Images are turned upright by their orientation tags (EXIF), grey ones become RGB, 16-bit images are scaled to 8 bits,
and an alpha channel is dropped, which leaves the colours as stored. Images that cannot be read, are damaged or
truncated, or are too small are named and skipped. Only the folder's own image files are read, in order of their names.
The crops of an image depend on the seed and its place in that order alone.

A run that is ended by Ctrl-C or SIGTERM leaves nothing. What a killed run left is removed by the next one.
"""

import argparse
import collections
import contextlib
import functools
import glob
import os
import re
import shutil
import signal
import stat
import sys
import threading
import uuid
import zlib

import cv2
import numpy as np
from mindspore.mindrecord import FileWriter
from mindspore.mindrecord.common.exceptions import MindRecordException
from tqdm import tqdm

from src.dataloader.dataset import DataError
from src.dataloader.image_file import UnusableImage, read_image, to_rgb8
from src.dataloader.image_folder import hr_names, images_of, list_images, require_fit
from src.imresize import imresize
from src.model_utils.util import run_main

try:
    import fcntl
except ImportError:  # Windows, where nobody can tell what a killed run left
    fcntl = None

FORMS = ("bytes", "array")

# In bytes. MindRecord's own sizes make every file at least 48 MiB long, so header and pages are sized to the data.
_SMALLEST_HEADER, _LARGEST_HEADER = 1 << 18, 1 << 24
_SMALLEST_PAGE, _LARGEST_PAGE = 1 << 20, 1 << 28
_WHOLE_PAGE = 1 << 26
_PATCHES_PER_PAGE = 8  # at least
_HEADER_ENTRY = 256  # a page or a group of records takes less in the header's JSON
_ROW_OVERHEAD = 1 << 10  # MindRecord's own bytes in a record are fewer

# In bytes. SQLite writes the index. It adds `.db-journal` to the name and takes paths of up to 504 bytes, those in the
# temporary folder too.
_LONGEST_NAME, _LONGEST_PATH = 255 - len(".db-journal"), 470

PrepareResult = collections.namedtuple("PrepareResult", "records images skipped")
PrepareResult.__doc__ = """Counts of what `prepare` wrote: records, images that they are of, and images it skipped."""


def prepare(
    hr_dir,
    out,
    scale=4,
    patch=160,
    per_image=47,
    seed=10,
    whole=False,
    form="bytes",
    overwrite=False,
    progress=True,
    lr_dir=None,
):
    """Write the image files of a folder as HR/LR pairs, as the module's docstring says.

    Args:
        hr_dir: folder of HR images.
        out, scale, patch, per_image, seed, whole, form, overwrite, progress: see `prepare_images`.
        lr_dir: folder of their LR images; None: LR is made by bicubic downscaling.

    Returns:
        PrepareResult. With `lr_dir` its images are the pairs, and images without a partner count as skipped.

    Raises:
        DataError: there is no such folder or no image in it, or both folders are one; also as `prepare_images`.
        ValueError: as `prepare_images`.
    """
    if not os.path.isdir(hr_dir):
        raise DataError(f"{hr_dir}: no such folder; give the folder of HR images")
    sources = _sources(list_images(hr_dir)) if lr_dir is None else _paired_sources(hr_dir, lr_dir, scale)
    return _prepare(sources, out, scale, patch, per_image, seed, whole, form, overwrite, progress)


def prepare_images(
    images, out, scale=4, patch=160, per_image=47, seed=10, whole=False, form="bytes", overwrite=False, progress=True
):
    """Write images as HR/LR pairs into a MindRecord file, which appears with its `.db` whole or not at all.

    Args:
        images: sequence of file paths or of pairs (name, uint8 or uint16 array (H, W), (H, W, 3) or (H, W, 4), RGB).
        out: the MindRecord file to write.
        scale: HR size / LR size, at least 2.
        patch: side of the HR crops, a multiple of 2 * scale.
        per_image: random crops of each image.
        seed: of the crops, 0 to 2**32 - 1.
        whole: one record per image instead of crops, for validation.
        form: "bytes" for PNG images, "array" for int32 arrays (H, W, 3); whole images differ in size and must be bytes.
        overwrite: replace an existing file.
        progress: show a progress bar on stderr.

    Returns:
        PrepareResult.

    Raises:
        DataError: `out` exists, cannot be written or has a name that MindRecord does not take, no image is usable, or
            an image is too large for a record.
        ValueError: an argument out of range.
    """
    return _prepare(_sources(images), out, scale, patch, per_image, seed, whole, form, overwrite, progress)


def _prepare(sources, out, scale, patch, per_image, seed, whole, form, overwrite, progress):
    """Write sources, pairs (name, function) such as `_sources` gives them; see `prepare_images`."""
    _check_arguments(scale, patch, per_image, seed, whole, form)
    out = os.path.abspath(str(out))
    _check_name(out)
    existing = [path for path in (out, out + ".db") if os.path.lexists(path)]
    if existing and not overwrite:
        raise DataError(f"{existing[0]}: exists already; give another name or --overwrite")
    if any(os.path.isdir(path) for path in existing):
        raise DataError(f"{existing[0]}: is a folder; give the name of a file")
    encode = _encode_png if form == "bytes" else _encode_array
    used = []

    def rows():
        for index, (name, read) in enumerate(tqdm(sources, unit="image", disable=not progress)):
            try:
                hr, lr = read()
                if whole:
                    places = [_whole_place(hr, 2 * scale)]
                else:
                    step = 1 if lr is None else scale
                    places = _random_places(hr, patch, per_image, np.random.RandomState([seed, index]), step)
            except UnusableImage as error:
                tqdm.write(f"skipped {name}: {error}", file=sys.stderr)
                continue
            used.append(name)
            pairs = [_pair_at(place, hr, lr, scale) for place in places]
            yield name, [{"HR": encode(hr_crop), "LR": encode(lr_crop)} for hr_crop, lr_crop in pairs]

    header_size = _header_size(len(sources), len(sources) * (1 if whole else per_image))
    page_size = _WHOLE_PAGE if whole else _page_size(patch)
    records = _write(out, rows(), _schema(form, patch, scale), header_size, page_size)
    return PrepareResult(records, len(used), len(sources) - len(used))


def _sources(images):
    """Return pairs (name, function) of images whose LR is to be made.

    The function gives (hr, lr), uint8 (H, W, 3) and uint8 (h, w, 3) or, as here, None. It raises UnusableImage.
    """
    return [
        (image, functools.partial(_read_alone, image))
        if isinstance(image, str)
        else (image[0], functools.partial(_converted, image[1]))
        for image in images
    ]


def _read_alone(path):
    return read_image(path), None


def _converted(pixels):
    return to_rgb8(np.asarray(pixels)), None


def _paired_sources(hr_dir, lr_dir, scale):
    """Return sources with LR images of their own, then what has no partner, which is skipped when it is read."""
    hr_files, lr_files = images_of(hr_dir), images_of(lr_dir)
    if os.path.samefile(hr_dir, lr_dir):
        raise DataError(f"{lr_dir}: is the folder of the HR images too; give that of the LR images as --lr_dir")
    pairs, alone, paired = [], [], set()
    for name, lr_path in lr_files.items():
        names = hr_names(name, scale)
        partner = next((candidate for candidate in names if candidate in hr_files), None)
        if partner is None:
            alone.append((lr_path, f"has no HR image {' or '.join(names)} in {hr_dir}"))
            continue
        paired.add(partner)
        pairs.append((hr_files[partner], functools.partial(_read_pair, hr_files[partner], lr_path, scale)))
    alone += [
        (path, f"has no LR image {name} or {name}x{scale} in {lr_dir}")
        for name, path in hr_files.items()
        if name not in paired
    ]
    return pairs + [(path, functools.partial(_refuse, reason)) for path, reason in alone]


def _read_pair(hr_path, lr_path, scale):
    hr = read_image(hr_path)
    try:
        lr = read_image(lr_path)
    except UnusableImage as error:
        raise UnusableImage(f"its LR image {lr_path} {error}") from None
    require_fit(hr, lr, scale)
    return hr, lr


def _refuse(reason):
    raise UnusableImage(reason)


def _check_arguments(scale, patch, per_image, seed, whole, form):
    for name, value, least in (
        ("scale", scale, 2),
        ("patch", patch, 1),
        ("per_image", per_image, 1),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    if seed >= 2**32:
        raise ValueError(f"seed: expected at most {2**32 - 1}, got {seed}")
    if form not in FORMS:
        raise ValueError("form: expected {}, got {!r}".format(" or ".join(FORMS), form))
    if whole and form == "array":
        raise ValueError("form: whole images differ in size, which an array column cannot hold; use bytes")
    if not whole and patch % (2 * scale):
        raise ValueError(
            f"patch: expected a multiple of 2 x scale = {2 * scale}, so that LR sides are even, got {patch}"
        )
    if not whole and _page_size(patch) > _LARGEST_PAGE:
        raise ValueError(f"patch: {patch} is too large for a MindRecord page; use --whole")


def _check_name(out):
    """Check the file's name here: MindRecord refuses a name only when it writes, and not always in words."""
    folder, name = os.path.split(out)
    try:
        out.encode("utf-8")
        FileWriter(out)  # opens nothing yet
    except UnicodeEncodeError:
        raise DataError(f"{out}: is not UTF-8, which MindRecord needs; give another name") from None
    except MindRecordException as error:
        reason = str(error).split("Invalid parameter value. ")[-1]
        raise DataError(f"{out}: MindRecord does not take this name: {reason}; give another") from None
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise DataError(f"{out}: the name is too long for MindRecord; give one of at most {_LONGEST_NAME} bytes")
    if len(os.fsencode(os.path.join(os.path.realpath(folder), name))) > _LONGEST_PATH:
        raise DataError(f"{out}: the path is too long for MindRecord; give one of at most {_LONGEST_PATH} bytes")


def _random_places(image, size, count, random, step):
    """Return the places (top, left, height, width) of random square crops, which begin at multiples of `step`."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise UnusableImage(f"is {height}x{width}, smaller than the patch size {size}")
    tops, lefts = (random.randint(0, (side - size) // step + 1, count) * step for side in (height, width))
    return [(top, left, size, size) for top, left in zip(tops, lefts)]


def _whole_place(image, multiple):
    """Return the place of the image cut at the right and bottom to sides that are multiples of `multiple`."""
    height, width = (side - side % multiple for side in image.shape[:2])
    if min(height, width) == 0:
        raise UnusableImage(f"is {image.shape[0]}x{image.shape[1]}, smaller than 2 x scale = {multiple}")
    return 0, 0, height, width


def _pair_at(place, hr, lr, scale):
    """Return the HR crop at a place and its LR image: of an LR image of its own the same place, else made from it."""
    crop = _cut(hr, *place)
    return crop, imresize(crop, 1 / scale) if lr is None else _cut(lr, *(number // scale for number in place))


def _cut(image, top, left, height, width):
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _encode_png(image):
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def _encode_array(image):
    return image.astype(np.int32)  # MindRecord has no uint8 arrays


def _schema(form, patch, scale):
    if form == "bytes":
        return {"HR": {"type": "bytes"}, "LR": {"type": "bytes"}}
    return {name: {"type": "int32", "shape": [side, side, 3]} for name, side in (("HR", patch), ("LR", patch // scale))}


def _page_size(patch):
    """Return a power of two that holds several pairs even as int32 arrays; a record must fit into a page."""
    largest_pair = 2 * patch * patch * 3 * np.dtype(np.int32).itemsize
    return _power_of_two(_PATCHES_PER_PAGE * largest_pair, _SMALLEST_PAGE)


def _header_size(images, records):
    """Return a power of two that holds the table of pages and of groups of records; one group is written per image."""
    entries = images + max(images, records // _PATCHES_PER_PAGE)
    return min(_LARGEST_HEADER, _power_of_two(_HEADER_ENTRY * entries, _SMALLEST_HEADER))


def _power_of_two(least, smallest):
    size = smallest
    while size < least:
        size *= 2
    return size


def _write(out, rows, schema, header_size, page_size):
    """Write rows, an iterator of (name, records), and return the number of records.

    A MindRecord index knows the file by its name. So the pair is written under its final name in a temporary folder
    beside `out` and then moved.
    """
    folder, name = os.path.split(out)
    os.makedirs(folder, exist_ok=True)
    with _temporary_folder(folder) as (temporary, mode):
        unfinished = os.path.join(temporary, name)
        writer = None
        records = 0
        try:
            for image_name, image_rows in rows:
                if writer is None:
                    writer = FileWriter(unfinished)
                    writer.set_header_size(header_size)
                    writer.set_page_size(page_size)
                    writer.add_schema(schema, "HR/LR pairs")
                _check_fits(image_name, image_rows, page_size)
                writer.write_raw_data(image_rows)
                records += len(image_rows)
            if writer is None:
                raise DataError(f"{out}: not written, no usable image")
            writer.commit()
        except RuntimeError as error:  # MindRecord's, for example when the disk is full
            raise DataError("{}: cannot be written: {}".format(out, " ".join(str(error).split())[:300])) from None
        for suffix in (".db", ""):
            os.chmod(unfinished + suffix, mode)  # MindRecord leaves them to their owner alone
        with _signals_handled(signal.SIG_IGN, signal.SIGTERM, signal.SIGINT):  # both files or none
            os.replace(unfinished + ".db", out + ".db")
            os.replace(unfinished, out)
    return records


@contextlib.contextmanager
def _temporary_folder(parent):
    """Make a folder that is removed at the end of the block, however the block ends.

    SIGTERM too becomes an exception in the block. The folder is locked by the operating system as long as the process
    lives, so that a later run can tell what a killed one left.

    Yields:
        (path, mode): the folder, and the permissions of ordinary files that are made there, as the umask says.
    """
    _remove_leftovers(parent)
    with contextlib.ExitStack() as handlers:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            handlers.enter_context(_signals_handled(_terminate, signal.SIGTERM))
        path = os.path.join(parent, f".{uuid.uuid4().hex}")
        os.mkdir(path)
        lock = None
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode) & 0o666
            os.chmod(path, 0o700)
            lock = _lock(path)
            # Only now: under this name other runs may try the lock.
            path = _renamed(path, "" if lock is None else _lockable_prefix())
            yield path, mode
        finally:
            with _signals_handled(signal.SIG_IGN, signal.SIGTERM, signal.SIGINT):
                shutil.rmtree(path, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _renamed(path, prefix):
    target = os.path.join(os.path.dirname(path), f".prepare-{prefix}{uuid.uuid4().hex[:8]}")
    os.rename(path, target)
    return target


def _lockable_prefix():
    """Return the beginning of the names of folders that were locked on this machine.

    On a network's disk other machines may not see the lock.
    """
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}-"


def _remove_leftovers(parent):
    """Remove the temporary folders of runs that were killed; name those of which that is not certain."""
    for path in sorted(glob.glob(os.path.join(glob.escape(parent), ".prepare-*"))):
        lock = None
        if fcntl is not None and re.fullmatch(rf"\.prepare-{_lockable_prefix()}[0-9a-f]{{8}}", os.path.basename(path)):
            try:
                lock = _lock(path)
            except BlockingIOError:  # its run is alive
                continue
        if lock is None:
            if not os.path.isdir(path):  # another run has just removed it
                continue
            print(
                f"warning: {path}: may be what a killed run left; remove it if no other run is writing here",
                file=sys.stderr,
                flush=True,
            )
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
        print(f"removed {path}, which a killed run left", file=sys.stderr, flush=True)


def _lock(folder):
    """Lock a folder and return the descriptor that holds the lock; None where there are no such locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


@contextlib.contextmanager
def _signals_handled(handler, *numbers):
    """Have signals handled by `handler` in the block.

    Outside the main thread Python does not allow that, and they are handled as before.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)  # None: not Python's, cannot be put back


def _terminate(number, _):
    os.write(2, b"\nterminated\n")  # not print: the signal may have come in the middle of one
    sys.exit(128 + number)


def _check_fits(name, rows, page_size):
    for row in rows:
        size = sum(len(value) if isinstance(value, bytes) else value.nbytes for value in row.values())
        if size + _ROW_OVERHEAD > page_size:
            raise DataError(
                f"{name}: its record of {size} bytes exceeds a MindRecord page of {page_size}; split the "
                "image or remove it"
            )


def _parse(arguments=None):
    description, notes = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m src.dataloader.prepare",
        description=description,
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hr_dir", required=True, help="folder of HR images")
    parser.add_argument(
        "--lr_dir", help="folder of their LR images, for LR that is not bicubic (default: LR is made from HR)"
    )
    parser.add_argument("--out", required=True, help="MindRecord file to write")
    parser.add_argument("--scale", type=int, default=4, help="HR size / LR size (default %(default)s)")
    parser.add_argument("--patch", type=int, default=160, help="side of the HR crops (default %(default)s)")
    parser.add_argument("--per_image", type=int, default=47, help="random crops per image (default %(default)s)")
    parser.add_argument("--seed", type=int, default=10, help="seed of the crops (default %(default)s)")
    parser.add_argument("--whole", action="store_true", help="whole images instead of crops, for validation")
    parser.add_argument(
        "--format", choices=FORMS, default="bytes", dest="form", help="PNG images or int32 arrays (default %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the command line; `arguments` default to those of the process."""
    options = _parse(arguments)
    result = prepare(**vars(options))
    print(f"wrote {result.records} records from {result.images} images ({result.skipped} skipped) to {options.out}")


if __name__ == "__main__":
    run_main(main)
