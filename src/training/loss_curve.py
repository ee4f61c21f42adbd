# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""A plot of losses over steps, drawn with OpenCV."""

import cv2
import numpy as np

WIDTH, HEIGHT = 800, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 30, 40  # margins
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44))


def loss_curve(curves):
    """Draw curves of losses over steps.

    The vertical axis spans the values except the highest 2 %, which are drawn at its top. A single wild step would
    otherwise flatten everything else.

    Args:
        curves: name -> [(step, finite value), ...], at most three.

    Returns:
        uint8 RGB (480, 800, 3).
    """
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return image
    steps, values = (np.array(column, np.float64) for column in zip(*points))
    low, high = values.min(), np.percentile(values, 98)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high, last = low - margin, high + margin, max(steps.max(), 1)

    def place(step, value):
        height = (min(value, high) - low) / (high - low)
        return (
            int(round(LEFT + step / last * (WIDTH - LEFT - RIGHT))),
            int(round(HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM))),
        )

    for share in np.linspace(0, 1, 6):
        value, step = low + share * (high - low), share * last
        cv2.line(image, place(0, value), place(last, value), (225, 225, 225), 1)
        _text(image, f"{value:.4g}", (6, place(0, value)[1] + 4))
        _text(image, f"{step:.0f}", (place(step, low)[0] - 12, HEIGHT - 14))
    for index, (name, curve) in enumerate(curves.items()):
        path = np.array([place(*point) for point in curve], np.int32).reshape(-1, 1, 2)
        cv2.polylines(image, [path], False, COLOURS[index], 1, cv2.LINE_AA)
        if len(curve) <= 100:
            for point in curve:
                cv2.circle(image, place(*point), 2, COLOURS[index], -1, cv2.LINE_AA)
        _text(image, name, (LEFT + 120 * index, 18), COLOURS[index])
    return image


def _text(image, text, place, colour=(0, 0, 0)):
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
