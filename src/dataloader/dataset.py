# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Reading HR/LR pairs from MindRecord files with MindSpore's data pipeline.

A file has the columns `HR` and `LR`. Each holds either encoded images (`bytes`: PNG or JPEG) or arrays (H, W, 3) of any
numeric type with values 0-255. `src.dataloader.prepare` writes such files.

OpenCV decodes the images. MindSpore's own decoder stops at a damaged one without saying which, and in 2.8 a damaged
JPEG crashes the process.
"""

import collections
import os

import cv2
import mindspore.dataset as ds
import numpy as np

from src.dataloader.mindrecord_file import COLUMNS, PREPARE, DataError, open_mindrecord

_EpochPlan = collections.namedtuple("_EpochPlan", "order flips crops")


class TrainData:
    """Random HR/LR patches for training, the same for the same seed wherever they are read.

    An epoch visits the records in a new random order. Order, crops, flips and noise depend on the seed, the epoch and
    the position in the epoch alone. They do not depend on the number of workers or ranks, nor on the batch at which
    reading starts. Batch b of R ranks with B records each is batch b of one rank with R·B records, dealt out in order;
    so it is where the B are the records of several slices.

    Args:
        path: MindRecord file.
        scale: HR size / LR size.
        batch_size: records per batch and rank, or per slice of it where there are several; the records left over at the
            end of an epoch are dropped.
        hr_size: side of the HR patches, a multiple of `scale`. If it is smaller than the stored images, a random crop
            is taken, aligned in HR and LR. None: the size of the first stored image, which must be square.
        seed: 0 to 2³² - 1.
        use_flip: flip pairs, HR and LR together, from left to right, each with probability ½.
        noise: also give uniform noise for dequantisation.
        rank_id, rank_size: this process among those that train together; each gets other records.
        workers: threads for reading, decoding and cropping.
        skip_damaged: leave out the records that cannot be read or do not fit. They are found at once, by reading the
            whole file. Otherwise they are errors when they are read.
        accumulate: slices of `batch_size` records in a batch.

    Attributes:
        len_batches: batches per epoch and rank.
        hr_size: as above, never None.
        records: number of records in use, those of the file without the damaged ones.
        damaged: record -> what is wrong with it; empty without `skip_damaged`.

    Raises:
        DataError: a file that `open_mindrecord` refuses, too few records for a batch, images smaller than `hr_size`, or
            HR that is not `scale` times LR. The images of the first and the last record are checked at once, others
            when they are read.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        path,
        scale,
        batch_size,
        hr_size,
        seed,
        use_flip=True,
        noise=False,
        rank_id=0,
        rank_size=1,
        workers=2,
        skip_damaged=False,
        accumulate=1,
    ):
        _require_positive(
            scale=scale, batch_size=batch_size, rank_size=rank_size, workers=workers, accumulate=accumulate
        )
        if not 0 <= rank_id < rank_size:
            raise ValueError(f"rank_id: expected 0 to {rank_size - 1}, got {rank_id!r}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed: expected 0 to {2**32 - 1}, got {seed!r}")
        if hr_size is not None and (hr_size < scale or hr_size % scale):
            raise ValueError(f"hr_size: expected a multiple of the scale, {scale}, got {hr_size!r}")
        self._file = open_mindrecord(path, skip_damaged)
        self._scale, self._batch_size, self._seed = scale, batch_size * accumulate, seed
        self._use_flip, self._noise = use_flip, noise
        self._rank_id, self._rank_size = rank_id, rank_size
        self._workers = workers
        self.hr_size = hr_size
        self.damaged = dict(self._file.damaged)
        if skip_damaged:
            readable = [record for record in range(self._file.records) if record not in self.damaged]
            self.damaged.update(_find_damaged(self._file, readable, workers, self._checked))
        self._usable = np.array([record for record in range(self._file.records) if record not in self.damaged], int)
        self.records = len(self._usable)
        self.len_batches = self.records // (self._batch_size * rank_size)
        if self.len_batches == 0:
            raise DataError(
                f"{self._file.path}: has {self.records} records, fewer than one batch (batch_size "
                f"{batch_size}, accumulate {accumulate}, ranks {rank_size}); prepare more, or lower batch_size or "
                "accumulate"
            )
        self._probe()

    def batches(self, epoch, start=0):
        """Iterate over the batches of one epoch.

        Args:
            epoch: 0, 1, ...
            start: the batch to begin with; continuing at `start` gives exactly the tail of the whole epoch.

        Returns:
            iterator over tuples (hr, lr, noise): float32 (B, 3, H, W) in [0, 1], float32 (B, 3, h, w) in [0, 1], and
            float32 uniform in [0, 1) of hr's shape, or None if the data have no noise.

        Raises:
            DataError: while iterating, a record that cannot be read or does not fit.
            ValueError: `epoch` or `start` out of range.
        """
        if epoch < 0:
            raise ValueError(f"epoch: expected 0 or more, got {epoch!r}")
        if not 0 <= start <= self.len_batches:
            raise ValueError(f"start: expected 0 to {self.len_batches}, got {start!r}")
        return self._batches(epoch, start)

    def _batches(self, epoch, start):
        if start == self.len_batches:
            return
        failures, plan = [], self._plan(epoch)
        shape = (self.len_batches, self._rank_size, self._batch_size)
        positions = np.arange(np.prod(shape)).reshape(shape)[start:, self._rank_id].ravel()
        records = [int(record) for record in plan.order[positions]]
        pipeline = self._pipeline(epoch, plan, positions, records, failures)
        for batch in _iterate(pipeline, self._file):
            if failures:
                raise failures[0]
            yield batch["HR"], batch["LR"], batch["noise"] if self._noise else None

    def _pipeline(self, epoch, plan, positions, records, failures):
        """Return the MindSpore dataset of the batches of these records, with columns HR, LR and noise."""

        def augment(hr, lr, position):
            # An exception in here would make MindSpore print its whole stack, so failures travel beside the data.
            try:
                return self._augment(hr, lr, epoch, plan, int(position))
            except DataError as error:
                failures.append(error)
                return self._blank()

        rows = _read(self._file, records, self._workers)
        rows = ds.zip((rows, ds.NumpySlicesDataset({"position": positions}, shuffle=False)))
        # There are as many columns out as in. Otherwise MindSpore 1.7 demands an argument that 2.x does without
        # (docs/mindspore-1.7.md, 17).
        rows = rows.map(
            augment,
            input_columns=["HR", "LR", "position"],
            output_columns=["HR", "LR", "noise"],
            num_parallel_workers=_threads(self._workers),
            python_multiprocessing=False,
        )
        return rows.batch(self._batch_size, drop_remainder=True)

    def _plan(self, epoch):
        """Make the random choices of an epoch, by position: record, flip or not, where to crop (fractions)."""
        random = np.random.RandomState([self._seed, epoch])
        order, flips = self._usable[random.permutation(self.records)], random.randint(0, 2, self.records).astype(bool)
        return _EpochPlan(order, flips, random.random_sample((self.records, 2)))

    def _augment(self, hr, lr, epoch, plan, position):
        """Turn a stored pair into a cropped, flipped float32 CHW pair in [0, 1], and its noise."""
        hr, lr = self._checked(hr, lr, plan.order[position])
        size, scale = self.hr_size // self._scale, self._scale
        top, left = (int(fraction * (side - size + 1)) for fraction, side in zip(plan.crops[position], lr.shape))
        lr = lr[top : top + size, left : left + size]
        hr = hr[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
        if self._use_flip and plan.flips[position]:
            hr, lr = hr[:, ::-1], lr[:, ::-1]
        hr, lr = _to_chw(hr), _to_chw(lr)
        return hr, lr, self._noise_like(hr, epoch, position)

    def _noise_like(self, hr, epoch, position):
        if not self._noise:
            return np.zeros(1, np.float32)  # fills a column that nobody reads
        random = np.random.RandomState([self._seed, epoch, position])
        # Multiples of 2^-24 are exact in float32; rounding a float64 below 1 could give 1.
        return random.randint(0, 1 << 24, hr.shape, dtype=np.uint32).astype(np.float32) * np.float32(2**-24)

    def _blank(self):
        hr, lr = (np.zeros((3, size, size), np.float32) for size in (self.hr_size, self.hr_size // self._scale))
        return hr, lr, hr if self._noise else np.zeros(1, np.float32)

    def _probe(self):
        """Read the first and the last record: this settles `hr_size` and finds unusable data before training starts."""
        ends = sorted({int(self._usable[0]), int(self._usable[-1])})
        for record, row in zip(ends, _iterate(_read(self._file, ends, 1), self._file)):
            hr, _ = self._checked(row["HR"], row["LR"], record)
            if self.hr_size is None:
                if hr.shape[0] != hr.shape[1]:
                    raise DataError(
                        f"{self._file.path}: record {record} is {_size(hr)}, not square; set the size of "
                        "the HR patches to crop"
                    )
                self.hr_size = hr.shape[0]

    def _checked(self, hr, lr, record):
        """Return a stored pair as pixels, if it can give a patch."""
        hr, lr = _decoded_pair(self._file, hr, lr, record)
        _require_scale(hr, lr, self._file.path, record, self._scale)
        if self.hr_size is not None and min(hr.shape[:2]) < self.hr_size:
            raise DataError(
                f"{self._file.path}: HR of record {record} is {_size(hr)}, smaller than the HR patches "
                f"of {self.hr_size}; lower their size or {PREPARE}"
            )
        return hr, lr


class EvalData:
    """HR/LR pairs in the order of the file, for validation; images may differ in size.

    Iterating, as often as wanted, gives tuples (index, hr, lr): int, uint8 (H, W, 3), uint8 (h, w, 3).

    Args:
        path: MindRecord file.
        scale: HR size / LR size; None: whatever whole number the first record has.
        limit: stop after so many records; None: all.
        workers: threads for reading.

    Raises:
        DataError: a file that `open_mindrecord` refuses; while iterating, a record that cannot be read or whose HR is
            not `scale` times its LR.
        ValueError: an argument out of range.
    """

    def __init__(self, path, scale=None, limit=None, workers=2):
        _require_positive(workers=workers)
        if scale is not None:
            _require_positive(scale=scale)
        if limit is not None:
            _require_positive(limit=limit)
        self._file = open_mindrecord(path)
        self._scale, self._workers = scale, workers
        self._length = self._file.records if limit is None else min(limit, self._file.records)

    def __len__(self):
        return self._length

    def __iter__(self):
        scale = self._scale
        records = list(range(self._length))
        for index, row in enumerate(_iterate(_read(self._file, records, self._workers), self._file)):
            hr, lr = _decoded_pair(self._file, row["HR"], row["LR"], index)
            if scale is None:
                scale = hr.shape[0] // lr.shape[0]
            _require_scale(hr, lr, self._file.path, index, scale)
            yield index, np.rint(hr).astype(np.uint8), np.rint(lr).astype(np.uint8)

    def sizes(self):
        """Yield (index, HR size, LR size) of every record, each as (height, width). They are read for it."""
        return ((index, hr.shape[:2], lr.shape[:2]) for index, hr, lr in self)


def _read(file, records, workers):
    """Return the MindSpore dataset of the given records in the given order, columns HR and LR as stored."""
    return ds.MindDataset(
        file.path, columns_list=list(COLUMNS), sampler=ds.SubsetSampler(records), num_parallel_workers=_threads(workers)
    )


def _iterate(pipeline, file):
    """Yield the rows of a MindSpore dataset as dicts of NumPy arrays.

    The dataset's threads end with the iteration, finished or not.
    """
    try:
        yield from _rows(pipeline)
    except RuntimeError as error:  # no single record's fault, as far as we can tell
        raise DataError(
            f"{file.path}: MindSpore cannot read it ({_summary(error)}); copy it again or {PREPARE}"
        ) from None


def _rows(pipeline):
    iterator = pipeline.create_dict_iterator(num_epochs=1, output_numpy=True)
    try:
        yield from iterator
    finally:
        iterator.stop()


def _find_damaged(file, records, workers, check):
    """Find the records that `check` objects to.

    Args:
        file: MindRecordFile.
        records: list of record numbers.
        workers: threads for reading.
        check: function of (hr, lr, record) that raises DataError for a damaged pair.

    Returns:
        dict from record to what is wrong with it.
    """
    damaged = {}
    if not records:
        return damaged
    for record, row in zip(records, _iterate(_read(file, records, workers), file)):
        try:
            check(row["HR"], row["LR"], record)
        except DataError as error:
            damaged[record] = str(error)
    return damaged


def _decoded_pair(file, hr, lr, record):
    """Return a stored pair as uint8 or float32 pixels (H, W, 3) with values 0-255."""
    return [
        _pixels(_decoded(file, stored, name, record), name, file.path, record)
        for name, stored in zip(COLUMNS, (hr, lr))
    ]


def _decoded(file, stored, name, record):
    """Return an image as the file stores it as an array (H, W, 3).

    Raises:
        DataError: the image cannot be decoded; the message names the record.
    """
    if not file.encoded[name]:
        return stored
    content = np.frombuffer(stored.tobytes(), np.uint8)  # bytes or an array (docs/mindspore-1.7.md, 18)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if content.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            f"{file.path}: {name} of record {record} cannot be read as an image; {PREPARE}, or set "
            "datasets.train.skip_damaged"
        )
    return image[:, :, ::-1]


def _summary(error):
    """Return the one telling line of a MindSpore exception, which is a page long in 2.x."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line[len("[ERROR]") :].strip() for line in lines if line.startswith("[ERROR]")]
    return (marked or lines or [type(error).__name__])[0].rstrip(".")


def _threads(workers):
    """Return `workers`, but no more than the machine has cores: MindSpore refuses more threads."""
    return min(workers, os.cpu_count() or 1)


def _require_scale(hr, lr, path, record, scale):
    if scale < 1 or hr.shape[0] != lr.shape[0] * scale or hr.shape[1] != lr.shape[1] * scale:
        raise DataError(
            f"{path}: in record {record} HR ({_size(hr)}) is not {scale or 'any whole number of'} times LR "
            f"({_size(lr)}); check the scale or {PREPARE}"
        )


def _pixels(image, name, path, record):
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype.kind not in "uif":
        raise DataError(
            f"{path}: {name} of record {record} is an array {image.shape} of {image.dtype}, expected "
            f"numbers (height, width, 3); {PREPARE}"
        )
    if image.dtype == np.uint8:
        return image
    if not (image.min() >= 0 and image.max() <= 255):  # also catches NaN
        raise DataError(
            f"{path}: {name} of record {record} has values from {image.min():g} to {image.max():g}, "
            f"expected 0 to 255; {PREPARE}"
        )
    return image.astype(np.float32)


def _to_chw(image):
    """Return pixels (H, W, 3) of 0-255 as float32 (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def _size(image):
    return "x".join(str(side) for side in image.shape[:2])


def _require_positive(**arguments):
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name}: expected a positive whole number, got {value!r}")
