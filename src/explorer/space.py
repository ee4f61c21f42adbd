# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The space of pictures that belong to a low-resolution one, and a walk in it. It knows nothing of pages.

    space = Space(OnnxSRFlow("SRFlow_4X", keep=KEPT_PIXELS))
    walk = Exploration(space, read_small("photo.png"), heat=0.8, seed=1)
    walk.show(heat=0.5)                          # the same noise, smoother
    walk.another(seed=2)                         # other noise
    walk.redraw(walk.region(4, 4, 20, 16), seed=3)    # other noise in a rectangle

A size is (height, width), in pixels of the low-resolution (LR) image unless said otherwise.
"""

import os
import threading

import numpy as np
from skimage.data import astronaut, chelsea, coffee

from src.dataloader.image_file import UnusableImage, read_image
from src.images import even
from src.imresize import imresize
from src.sampling import count_cooled, parts_of
from src.texts import printable
from src.tiling import TILE, Tile, crop_latents

KEPT_PIXELS = 3 * TILE**2  # whose conditions are kept for all pictures together: 0.5 GB with K 8, 1 GB with K 16
LARGEST_FILE = 30 * 10**6  # bytes
LARGEST_PICTURE = 200_000  # LR pixels, an eighth of 12 megapixels' sides: minutes on two CPU cores
REDUCTIONS = (1, 2, 4, 8, 16)
DEVIATION_SAMPLES = 8


class Space:
    """A network that many explorations share; one of them computes at a time.

    Attributes:
        model: as OnnxSRFlow or SRFlow are; its conditions of an image are kept by itself.
        scale: of super-resolution, s.
    """

    def __init__(self, model):
        self.model, self.scale = model, model.scale
        self._lock = threading.Lock()

    def sample(self, lr, **how):
        """Return what the model's `sample` returns, and the list of Cooled, the parts of it that exploded."""
        with self._lock:
            images = self.model.sample(lr, tile=TILE, cool=True, consistent=True, **how)
            return images, list(self.model.cooled)


class Exploration:
    """A walk in the space of one picture.

    Attributes:
        lr: the picture, uint8 (h, w, 3).
        bicubic: its bicubic enlargement, uint8 (s·h, s·w, 3).
        heat: of the image that is shown, and of the next one.
        seed: of its noise; None once a region has noise of its own.
        image: the image that is shown, uint8 (s·h, s·w, 3).
        before: the one that was shown before the last `another` or `redraw`; None at first.
        cooled: how many parts of the image are decoded at a lower heat, as they exploded at this one.
        exploded: how many exploded at all lower heats too, and stayed as they were.
    """

    def __init__(self, space, lr, heat, seed=None, progress=None):
        """Draw the first sample.

        Args:
            space: the Space.
            lr: uint8 (h, w, 3).
            heat: from 0 on.
            seed: as `another` has it.
            progress: as `show` has it.
        """
        self.lr, self._space, self.before = lr, space, None
        self.bicubic = imresize(lr, space.scale)
        self._draw(seed)
        self.show(heat, progress)

    @property
    def is_large(self):
        """Whether the picture is computed by tiles, and its conditions anew each time."""
        return len(parts_of(self._size, TILE)) > 1

    def show(self, heat, progress=None):
        """Compute the image of the present noise at a heat.

        Args:
            heat: from 0 on.
            progress: function called with the number of finished tiles and that of all, or None.

        Returns:
            `image`.
        """
        self.heat = heat
        images, parts = self._space.sample(self.lr, heat=heat, noise=self._noise, progress=progress)
        self.image = images[0]
        self.cooled, self.exploded = count_cooled(parts)
        return self.image

    def another(self, seed=None, progress=None):
        """Draw all noise anew and show the image at the present heat.

        Args:
            seed: an integer from 0 to 2³² − 1, whose image is that of the model's `sample`; None takes any.
            progress: as `show` has it.
        """
        self.before = self.image
        self._draw(seed)
        return self.show(self.heat, progress)

    def region(self, left, top, right, bottom):
        """Return the Tile of a rectangle's corners, in any order, in LR pixels.

        It is widened to even numbers, as the deepest latents have half of the LR image's sides, and cut to the image.

        Raises:
            ValueError: nothing of it is in the image, or a number is none.
        """
        edges = []
        for name, pair, side, whole in (
            ("left and right", (left, right), self.lr.shape[1], self._size[1]),
            ("top and bottom", (top, bottom), self.lr.shape[0], self._size[0]),
        ):
            if not all(isinstance(value, (int, float)) and np.isfinite(value) for value in pair):
                raise ValueError(f"region: expected {name} to be numbers, got {pair[0]!r} and {pair[1]!r}")
            first, last = sorted(min(max(int(value), 0), side) for value in pair)
            if first == last:
                raise ValueError(
                    f"region: expected {name} to differ by a pixel or more, within 0 and {side}, got {pair[0]:g} and "
                    f"{pair[1]:g}"
                )
            edges.append((first // 2 * 2, min(last + last % 2, whole)))
        (left, right), (top, bottom) = edges
        return Tile(top, left, bottom - top, right - left)

    def redraw(self, region, seed=None, progress=None):
        """Draw the noise of a region anew, leave all other, and show the image at the present heat.

        The image changes within the region, and around it as far as the network sees.

        Args:
            region: Tile with even numbers.
            seed, progress: as `another` has them.
        """
        self.before, self.seed = self.image, None
        fresh = self._space.model.draw(self._size, seed=seed)
        for latent, other in zip(*[crop_latents(noise, region, self._space.scale) for noise in (self._noise, fresh)]):
            latent[...] = other
        return self.show(self.heat, progress)

    def samples(self, heat, seed=None, progress=None):
        """Draw DEVIATION_SAMPLES samples, uint8 (n, s·h, s·w, 3); the walk stays where it is."""
        return self._space.sample(self.lr, heat=heat, n=DEVIATION_SAMPLES, seed=seed, progress=progress)[0]

    @property
    def _size(self):
        return even(self.lr.shape[:2])

    def _draw(self, seed):
        self.seed = any_seed() if seed is None else seed
        self._noise = self._space.model.draw(self._size, seed=self.seed)


def any_seed():
    """Return a seed that nobody chose, an integer."""
    return int(np.random.RandomState().randint(2**31))


def read_small(path, reduction=1, name=None):
    """Read the picture to explore from a file.

    Args:
        path: an image file as `read_image` takes it, of at most LARGEST_FILE bytes.
        reduction: the picture is reduced so many times, by bicubic.
        name: what the file is called in errors; None takes the path's last part.

    Returns:
        uint8 RGB (h, w, 3), of at most LARGEST_PICTURE pixels.

    Raises:
        UnusableImage: the file is none; the message, one sentence, begins with its name.
    """
    name = printable(name or os.path.basename(path))
    try:
        if os.path.getsize(path) > LARGEST_FILE:
            raise UnusableImage(f"has {os.path.getsize(path)} bytes, expected at most {LARGEST_FILE}")
        picture = read_image(path)
        _require_size(picture.shape[:2], reduction)
    except OSError as error:
        raise UnusableImage(f"{name} cannot be read: {error.strerror or error}") from None
    except UnusableImage as error:
        raise UnusableImage(f"{name} {error}") from None
    return imresize(picture, 1 / reduction) if reduction > 1 else picture


def _require_size(size, reduction):
    height, width = size

    def reduced_by(times):
        return -(-height // times) * -(-width // times)

    if reduced_by(reduction) > LARGEST_PICTURE:
        enough = next((f"{times} times" for times in REDUCTIONS if reduced_by(times) <= LARGEST_PICTURE), "elsewhere")
        raise UnusableImage(
            f"has {width}x{height} pixels, of which at most {LARGEST_PICTURE} are enlarged; reduce it {enough}, or cut "
            "out a part"
        )
    if min(size) < 2 * reduction:
        raise UnusableImage(f"has {width}x{height} pixels, expected sides of at least {2 * reduction}")


def photographs():
    """Return sample photographs of scikit-image, reduced four times: a dict from title to uint8 (h, w, 3)."""
    return {
        "Face": imresize(astronaut()[24:184, 144:304], 1 / 4),
        "Cat": imresize(chelsea()[60:220, 120:280], 1 / 4),
        "Cup": imresize(coffee()[60:220, 270:430], 1 / 4),
        "Table, by tiles": imresize(coffee(), 1 / 4),
    }
