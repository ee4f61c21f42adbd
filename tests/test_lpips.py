# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS with random weights against numbers that PyTorch gave for the same weights and images."""

import numpy as np
import pytest
from helpers import MODES
from mindspore import Tensor, context

from src.evaluation.LPIPS import ALEXNET_URL, LINEAR_URL, LPIPS, MIN_SIDE
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
