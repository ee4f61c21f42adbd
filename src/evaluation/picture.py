# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures to look at: sheets of images side by side, and PNG files."""

import cv2
import numpy as np

from src.model_utils.util import atomic_write

MARGIN, CAPTION = 4, 18
SHEET_ROWS = 4  # the largest number of images that a sheet shows


def png(image):
    """Return a picture, uint8 RGB (H, W, 3), as the bytes of a PNG file.

    Raises:
        ValueError: OpenCV cannot encode it.
    """
    encoded, content = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not encoded:
        raise ValueError(f"image: a picture of shape {image.shape} cannot be written as PNG")
    return content.tobytes()


def write_png(path, image):
    """Write a picture, uint8 RGB (H, W, 3), as a PNG file, which appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    try:
        content = png(image)
    except ValueError:
        raise OSError(f"{path}: the picture could not be written") from None
    with atomic_write(path) as temporary, open(temporary, "wb") as file:  # OpenCV takes no name that is not UTF-8
        file.write(content)


def deviation_of(samples):
    """Return the standard deviation of samples of one image, averaged over the colours.

    Args:
        samples: uint8 (n, H, W, 3).

    Returns:
        float32 (H, W), of 255.
    """
    return samples.std(axis=0, dtype=np.float32).mean(axis=2)


def deviation_map(samples):
    """Show where samples of one image differ: `deviation_of` them as a heat map.

    Args:
        samples: uint8 (n, H, W, 3).

    Returns:
        uint8 RGB (H, W, 3): black where all are alike, brightest where they differ most.
    """
    return map_of(deviation_of(samples))


def map_of(deviation):
    """Show a deviation, float32 (H, W), as `deviation_map` does."""
    scaled = np.uint8(255 * deviation / max(deviation.max(), 1e-6))
    return cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[:, :, ::-1]


def sheet(rows, titles):
    """Make a sheet of pictures with a caption above each column.

    Pictures smaller than the largest of their row are enlarged by a whole factor. Their pixels are repeated, which
    shows a low-resolution image as it is.

    Args:
        rows: list of lists of uint8 RGB (h, w, 3), one per title.
        titles: captions of the columns.

    Returns:
        uint8 RGB (H, W, 3).
    """
    rows = [_same_size(row) for row in rows]
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    parts = [_captions(titles, widths)]
    for row in rows:
        height = max(picture.shape[0] for picture in row)
        line = np.full((height + MARGIN, sum(widths) + MARGIN * len(widths), 3), 255, np.uint8)
        left = 0
        for picture, width in zip(row, widths):
            line[: picture.shape[0], left : left + picture.shape[1]] = picture
            left += width + MARGIN
        parts.append(line)
    return np.concatenate(parts)


def _same_size(row):
    height = max(picture.shape[0] for picture in row)
    return [picture.repeat(height // picture.shape[0], 0).repeat(height // picture.shape[0], 1) for picture in row]


def _captions(titles, widths):
    line = np.full((CAPTION, sum(widths) + MARGIN * len(widths), 3), 255, np.uint8)
    left = 0
    for title, width in zip(titles, widths):
        size = 0.4
        while cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] > width and size > 0.2:
            size -= 0.02
        cv2.putText(line, title, (left, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
        left += width + MARGIN
    return line
