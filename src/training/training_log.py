# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves to read: CSV files, a loss curve, pictures, TensorBoard's files, run.json.

train.csv, validation.csv    a row per `train.print_freq` steps, per validation
loss.png                     both as curves, drawn anew at each validation
pictures/step_0001000.png    the validation's pictures
tensorboard/                 the same for TensorBoard, if the package tensorboardX is installed
run.json                     when, on what and with which versions the run was started, and its options
"""

import errno
import json
import os
import platform
import re
import socket
import subprocess
import time

import cv2
import mindspore
import numpy as np

from src.evaluation.picture import write_png
from src.model_utils.util import atomic_write, free_name, not_fatal
from src.training.loss_curve import loss_curve

try:
    from tensorboardX import SummaryWriter
except ImportError:
    SummaryWriter = None

_STEP = re.compile("[0-9]{1,18}")

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class TrainingLog:
    """The files of a run that begins, or goes on, at a step.

    What an earlier part of the run wrote of later steps is cut off. A file that cannot be written, as on a full disk,
    is told on stderr and stops nothing.

    Args:
        opt: Options of the run.
        step: updates done.
        figure: name of the validation's figure by which it is judged, the lower the better, such as "nll".
    """

    def __init__(self, opt, step, figure):
        self.folder, self.figure = opt.output_dir, figure
        self.training = CsvLog(os.path.join(self.folder, "train.csv"), step)
        self.validations = CsvLog(os.path.join(self.folder, "validation.csv"), step)
        self._figures = {int(row["step"]): row.get(figure) or "nan" for row in self.validations.rows()}
        self.tensorboard = None
        if SummaryWriter:
            with not_fatal("tensorboard"):
                self.tensorboard = SummaryWriter(os.path.join(self.folder, "tensorboard"), purge_step=step + 1)
        with not_fatal("run.json"):
            write_run_json(os.path.join(self.folder, "run.json"), opt, step)

    def train(self, step, **values):
        """Write a row of train.csv."""
        self.training.row(step=step, **values)
        self._scalars("train", step, values)

    def has_validation(self, step):
        return step in self._figures

    def figure_at(self, step):
        """Return the figure of the validation at a step; None if there was no validation, or none with this figure."""
        value = _number(self._figures.get(step, "nan"))
        return value if np.isfinite(value) else None

    def validation(self, step, figures, picture):
        """Write a validation's row and pictures, and the loss curve up to here.

        Args:
            step: updates done.
            figures: name -> float.
            picture: uint8 RGB (H, W, 3).
        """
        self.validations.row(step=step, **figures)
        self._figures[step] = figures[self.figure]
        with not_fatal("pictures"):
            write_png(os.path.join(self.folder, "pictures", f"step_{step:07d}.png"), picture)
        with not_fatal("loss.png"):
            write_png(
                os.path.join(self.folder, "loss.png"),
                loss_curve(
                    {
                        "training": _curve(self.training.rows(), "loss"),
                        "validation": _curve(self.validations.rows(), self.figure),
                    }
                ),
            )
        self._scalars("validation", step, figures)
        if self.tensorboard:
            with not_fatal("tensorboard"):
                self.tensorboard.add_image("validation", picture, step, dataformats="HWC")

    def close(self):
        if self.tensorboard:
            with not_fatal("tensorboard"):
                self.tensorboard.close()

    def _scalars(self, group, step, values):
        if self.tensorboard:
            with not_fatal("tensorboard"):
                for name, value in values.items():
                    self.tensorboard.add_scalar(f"{group}/{name}", value, step)


class CsvLog:
    """A CSV file with a header, whose first column is `step`, that goes on after an interruption.

    On opening, the rows of steps after `step` are cut off, and so is a last line that was not written whole. At step 0
    the file of an earlier attempt is set aside as `*.old`, or `*.old2` and so on.

    A row that cannot be written now, as on a full disk, is told, kept, and written with the next one. Columns may come
    or go in the middle, as when a run is resumed with other options. They are empty where there is nothing.
    """

    def __init__(self, path, step):
        self.path, self._waiting = path, []
        if os.path.exists(path) and step == 0:
            os.replace(path, free_name(path + ".old"))
        elif os.path.exists(path):
            self._rewrite([row for row in self.rows() if int(row["step"]) <= step])

    def rows(self):
        """Return the whole rows of the file, as dicts of text."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, newline="", errors="replace") as file:
            lines = file.read().split("\n")[:-1]  # what follows the last line's end is torn
        # By hand: no cell that is written here needs quotes. The csv module stops at some of what a disk may leave.
        names, *cells = [line.split(",") for line in lines] or [[]]
        rows = [dict(zip(names, row)) for row in cells if len(row) == len(names)]
        return [row for row in rows if _STEP.fullmatch(row.get("step", ""))]

    def row(self, **values):
        """Append a row, which is on the disk when this returns, or else in memory."""
        self._waiting.append(
            {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
        )
        with not_fatal(self.path):
            columns = self._columns()
            if all(list(row) == columns for row in self._waiting):
                self._append(self._waiting)
            else:
                self._rewrite(self.rows() + self._waiting)
            self._waiting = []

    def _columns(self):
        """Return the header's names; None if a row cannot follow, as there is no file or its end is torn.

        Only the file's two ends are looked at. So a change by others since the last row is noticed, and a row costs the
        same after a million.
        """
        if not os.path.exists(self.path) or os.path.getsize(self.path) == 0:
            return None
        with open(self.path, "rb") as file:
            header = file.readline()
            file.seek(-1, os.SEEK_END)
            return header.decode(errors="replace").rstrip("\n").split(",") if file.read(1) == b"\n" else None

    def _append(self, rows):
        text = "".join(",".join(row.values()) + "\n" for row in rows).encode()
        with open(self.path, "ab", buffering=0) as file:  # a buffer would be written again when the file is closed
            size = os.path.getsize(self.path)
            try:
                if file.write(text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise

    def _rewrite(self, rows):
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
        with atomic_write(self.path) as temporary:
            with open(temporary, "w", newline="") as file:
                file.write(",".join(names) + "\n")
                file.writelines(",".join(row.get(name, "") for name in names) + "\n" for row in rows)


def _curve(rows, column):
    """Return [(step, value)] of the rows that have a finite value in the column."""
    pairs = [(int(row["step"]), _number(row[column])) for row in rows if row.get(column)]
    return [(step, value) for step, value in pairs if np.isfinite(value)]


def _number(text):
    """Return the number that a cell says, NaN if it says none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def write_run_json(path, opt, step):
    """Add this start to run.json.

    The file holds {"starts": [{time, step, versions, device, revision}, ...], "options": those of the last start}. A
    file of something else is replaced.

    Args:
        path: the file.
        opt: Options of the run.
        step: updates done.
    """
    try:
        with open(path) as file:
            starts = list(json.load(file)["starts"])
    except (OSError, ValueError, KeyError, TypeError):
        starts = []
    starts.append(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": step,
            "versions": {
                "python": platform.python_version(),
                "mindspore": mindspore.__version__,
                "numpy": np.__version__,
                "opencv": cv2.__version__,
            },
            "device": {
                "target": opt.device_target,
                "id": opt.device_id,
                "name": _device_name(opt),
                "host": socket.gethostname(),
                "cores": os.cpu_count(),
            },
            "revision": _output_of("git", "-C", REPO, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
        }
    )
    with atomic_write(path) as temporary:
        with open(temporary, "w") as file:
            json.dump({"starts": starts, "options": opt.to_dict()}, file, indent=1)


def _device_name(opt):
    if opt.device_target == "GPU":
        return _output_of("nvidia-smi", f"--id={opt.device_id}", "--query-gpu=name", "--format=csv,noheader")
    return platform.processor() or platform.machine()


def _output_of(*command):
    """Return what a command prints, or None where there is no such command or it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() or None
