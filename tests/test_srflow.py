# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The SRFlow class: shapes, seeds, identities, arguments, checkpoints."""

import numpy as np
import pytest
from helpers import randomise
from mindspore import Tensor, context

from src.images import dequantise, pad_to, pad_to_even, to_uint8
from src.model.SRFlow import SRFlow, build_network, normalise_latents
from src.model_utils.options import OptionsError, options_from_dict
from src.network_names import IMAGE_ONLY
from src.sampling import Cooled, n_decodings
from src.tiling import Tile
from src.weights.checkpoint import INFERENCE, TRAINING, Checkpoint, CheckpointError, parameter_arrays, write_checkpoint

SCALE = 4
NETWORK = {
    "nf": 6,
    "nb": 2,
    "gc": 4,
    "flow": {
        "K": 1,
        "additionalFlowNoAffine": 1,
        "stackRRDB": {"blocks": [0, 1]},
        "CondAffineSeparatedAndCond": {"hidden_channels": 6},
    },
}
OPTIONS = options_from_dict({"scale": SCALE, "network_G": NETWORK, "datasets": {"train": {"quant": 16}}})


def images(seed, *shape):
    return np.random.RandomState(seed).uniform(0, 1, shape).astype(np.float32)


@pytest.fixture(name="model", scope="module")
def fixture_model():
    context.set_context(mode=context.GRAPH_MODE)
    np.random.seed(0)
    return SRFlow(randomise(build_network(OPTIONS), seed=1), quant=16)


@pytest.fixture(name="pair", scope="module")
def fixture_pair():
    """hr (2, 3, 24, 32), lr (2, 3, 6, 8)."""
    return images(1, 2, 3, 24, 32), images(2, 2, 3, 6, 8)


@pytest.fixture(name="encoded", scope="module")
def fixture_encoded(model, pair):
    return model.encode(*pair)


# ---------------------------------------------------------------------------------------------------------------------
# Sampling; every LR size here becomes 6×8 by padding, so that little is compiled


@pytest.mark.parametrize("height, width", [(6, 8), (5, 7), (6, 7), (5, 8)])
def test_samples_of_a_picture(height, width, model):
    lr = (255 * images(3, height, width, 3)).astype(np.uint8)
    came = model.sample(lr, heat=0.8, n=2, seed=1)
    assert (came.shape, came.dtype) == ((2, SCALE * height, SCALE * width, 3), np.uint8)
    assert came.std() > 0


@pytest.mark.parametrize("height, width", [(6, 8), (5, 7)])
def test_samples_of_float_images(height, width, model):
    lr = images(4, 2, 3, height, width)
    came = model.sample(lr, n=3, seed=1)
    assert (came.shape, came.dtype) == ((3, 2, 3, SCALE * height, SCALE * width), np.float32)
    assert np.isfinite(came).all()
    assert came.min() < 0 or came.max() > 1  # not clipped
    assert np.abs(came[0] - came[1]).max() > 1e-3


def test_a_picture_and_its_float_image_have_the_same_samples(model):
    lr = (255 * images(5, 6, 8, 3)).astype(np.uint8)
    as_float = np.moveaxis(lr, 2, 0)[None].astype(np.float32) / 255
    expected = to_uint8(model.sample(as_float, n=2, seed=3)[:, 0])
    np.testing.assert_array_equal(model.sample(lr, n=2, seed=3), expected)


def test_the_picture_given_is_not_changed(model):
    lr = (255 * images(6, 5, 7, 3)).astype(np.uint8)
    before = lr.copy()
    model.sample(lr, seed=0)
    np.testing.assert_array_equal(lr, before)


def test_an_odd_size_is_reflected_and_cropped(model):
    lr = images(7, 2, 3, 5, 7)
    padded = np.concatenate([lr, lr[:, :, 3:4]], 2)
    padded = np.concatenate([padded, padded[:, :, :, 5:6]], 3)
    np.testing.assert_array_equal(pad_to_even(lr), padded)
    expected = model.sample(padded, n=1, seed=2)[..., : SCALE * 5, : SCALE * 7]
    np.testing.assert_array_equal(model.sample(lr, n=1, seed=2), expected)


def test_the_same_seed_gives_the_same_samples(model, pair):
    first, second, other = (model.sample(pair[1], n=2, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_without_a_seed_every_draw_is_another(model, pair):
    np.random.seed(0)
    first = model.sample(pair[1])
    np.random.seed(0)
    assert np.abs(first - model.sample(pair[1])).max() > 1e-3


def test_sampling_leaves_the_global_generator_alone(model, pair):
    np.random.seed(9)
    expected = np.random.rand()
    np.random.seed(9)
    model.sample(pair[1], seed=1)
    assert np.random.rand() == expected


def test_a_sample_does_not_depend_on_how_many_there_are(model, pair):
    many = model.sample(pair[1], n=4, seed=7)
    for n in (1, 2, 3):
        np.testing.assert_array_equal(model.sample(pair[1], n=n, seed=7), many[:n])


def test_temperature_zero_is_one_image(model, pair, encoded):
    first, second = model.sample(pair[1], heat=0, n=2, seed=1)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, model.sample(pair[1], heat=0.0, seed=2)[0])
    zeros = [np.zeros_like(latent) for latent in encoded[0]]
    np.testing.assert_array_equal(first, model.decode(pair[1], zeros))


def test_the_temperature_is_the_latents_deviation(model, pair):
    """Encoding a sample gives back its latents."""
    for heat in (0.4, 0.8):
        latents, _, _ = model.encode(model.sample(pair[1], heat=heat, seed=11)[0], pair[1])
        values = np.concatenate([latent.ravel() for latent in latents])
        assert values.size == 2 * 3 * 24 * 32
        assert abs(values.std() / heat - 1) < 0.03
        assert abs(values.mean()) < 0.03 * heat


# ---------------------------------------------------------------------------------------------------------------------
# Encoding and decoding


def test_encode_returns_what_it_says(encoded):
    latents, nll, logdet = encoded
    assert isinstance(latents, tuple)
    assert [latent.shape for latent in latents] == [(2, 6, 12, 16), (2, 96, 3, 4)]
    assert nll.shape == logdet.shape == (2,)
    assert all(array.dtype == np.float32 for array in latents + (nll, logdet))


def test_nll_and_logdet_are_consistent(model, pair, encoded):
    noise = images(8, *pair[0].shape)
    for latents, nll, logdet in (encoded, model.encode(*pair, noise=noise)):
        z = latents[-1].astype(np.float64)
        log_density = (-0.5 * (z**2 + np.log(2 * np.pi))).sum((1, 2, 3))
        np.testing.assert_allclose(nll, -(logdet + log_density) / (np.log(2) * 24 * 32), rtol=1e-5)


def test_noise_is_added_and_counted(model, pair):
    hr, lr = pair
    noise = images(8, *hr.shape)
    noisy = hr + (noise - np.float32(0.5)) / np.float32(16)
    np.testing.assert_allclose(dequantise(hr, noise, 16), noisy, atol=1e-7)
    latents, nll, logdet = model.encode(hr, lr, noise)
    expected_latents, expected_nll, expected_logdet = model.encode(noisy, lr)
    for came, expected in zip(latents, expected_latents):
        np.testing.assert_allclose(came, expected, atol=1e-4)
    np.testing.assert_allclose(nll, expected_nll + 4, rtol=1e-5)  # log2(16)
    np.testing.assert_allclose(logdet, expected_logdet - np.log(16) * 24 * 32, rtol=1e-5)


def test_half_noise_changes_the_constant_only(model, pair, encoded):
    latents, nll, _ = model.encode(*pair, noise=np.full(pair[0].shape, 0.5))
    np.testing.assert_array_equal(latents[-1], encoded[0][-1])
    np.testing.assert_allclose(nll, encoded[1] + 4, rtol=1e-5)


def test_decoding_gives_back_the_image(model, pair, encoded):
    came = model.decode(pair[1], encoded[0])
    assert (came.shape, came.dtype) == (pair[0].shape, np.float32)
    np.testing.assert_allclose(came, pair[0], atol=2e-4)


def test_decode_takes_lists_and_other_floats(model, pair, encoded):
    latents = [np.asfortranarray(latent.astype(np.float64)) for latent in encoded[0]]
    expected = model.decode(pair[1], encoded[0])
    np.testing.assert_array_equal(model.decode(pair[1].astype(np.float64), latents), expected)


def test_images_of_a_batch_are_independent(model, pair, encoded):
    latents, nll, _ = model.encode(pair[0][::-1], pair[1][::-1])
    np.testing.assert_allclose(nll[::-1], encoded[1], rtol=1e-5)
    for came, expected in zip(latents, encoded[0]):
        np.testing.assert_allclose(came[::-1], expected, atol=1e-4)


def test_refresh_takes_changed_weights(pair):
    context.set_context(mode=context.PYNATIVE_MODE)
    np.random.seed(0)
    model = SRFlow(randomise(build_network(OPTIONS), seed=1))
    randomise(model.net, seed=2)
    model.refresh()
    latents, _, _ = model.encode(*pair)
    np.testing.assert_allclose(model.decode(pair[1], latents), pair[0], atol=2e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"additionalFlowNoAffine": 0}, {"split": {"enable": False}}],
    ids=["usual", "without transition steps", "without splits"],
)
def test_parts_of_the_flow_are_computed_in_their_order(changes, monkeypatch):
    """Both directions give the same whether the steps of a level are computed together or two at a time."""
    context.set_context(mode=context.GRAPH_MODE)
    options = options_from_dict({"scale": 4, "network_G": {**NETWORK, "flow": {**NETWORK["flow"], "K": 4, **changes}}})
    np.random.seed(0)
    net = randomise(build_network(options), seed=1)
    together = SRFlow(net)
    monkeypatch.setattr("src.model.cpu.packed.STEPS_TOGETHER", 2)
    apart = SRFlow(net)
    hr, lr = images(1, 1, 3, 16, 16), images(2, 1, 3, 4, 4)
    latents, nll, _ = together.encode(hr, lr)
    for came, expected in zip(apart.encode(hr, lr)[0], latents):
        np.testing.assert_allclose(came, expected, atol=1e-5)
    np.testing.assert_allclose(apart.encode(hr, lr)[1], nll, rtol=1e-6)
    np.testing.assert_allclose(apart.decode(lr, latents), hr, atol=2e-4)


def test_after_a_failure_an_earlier_image_is_decoded_again(model, pair, encoded, monkeypatch):
    expected = model.decode(pair[1], encoded[0])

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(model._sampler, "condition", fail)
    with pytest.raises(MemoryError):
        model.decode(pair[1] + np.float32(0.01), encoded[0])
    monkeypatch.undo()
    np.testing.assert_array_equal(model.decode(pair[1], encoded[0]), expected)


def test_conversion_to_bytes_clips_and_truncates():
    values = np.array([-1.0, 0.0, 0.9999 / 255, 1 / 255 + 1e-6, 254.99 / 255, 1.0, 7.0], np.float32)
    came = to_uint8(np.broadcast_to(values, (2, 3, 1, 7)))
    assert (came.shape, came.dtype) == ((2, 1, 7, 3), np.uint8)
    assert came[0, 0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]


# ---------------------------------------------------------------------------------------------------------------------
# Bad arguments


LR = images(0, 1, 3, 6, 8)


@pytest.mark.parametrize(
    "lr, arguments, words",
    [
        (LR, {"heat": -0.1}, "heat: expected a number >= 0"),
        (LR, {"heat": float("nan")}, "heat: expected a number >= 0"),
        (LR, {"heat": float("inf")}, "heat: expected a number >= 0"),
        (LR, {"heat": "hot"}, "heat: expected a number >= 0"),
        (LR, {"heat": None}, "heat: expected a number >= 0"),
        (LR, {"n": 0}, "n: expected"),
        (LR, {"n": -1}, "n: expected"),
        (LR, {"n": 1.5}, "n: expected"),
        (LR, {"n": "2"}, "n: expected"),
        (LR, {"seed": -1}, "seed: expected"),
        (LR, {"seed": 2**32}, "seed: expected"),
        (LR, {"seed": "x"}, "seed: expected"),
        (LR[0], {}, "lr: expected"),
        (LR[:, :2], {}, "lr: expected"),
        (LR[:0], {}, "lr: expected"),
        (LR[:, :, :0], {}, "lr: expected"),
        (LR[:, :, :1], {}, "lr: expected sides of at least 2"),
        (np.zeros((1, 8, 3), np.uint8), {}, "lr: expected sides of at least 2"),
        (np.zeros((6, 8), np.uint8), {}, "lr: expected"),
        (np.zeros((6, 8, 4), np.uint8), {}, "lr: expected"),
        (np.zeros((1, 3, 6, 8), np.uint8), {}, "lr: expected"),
        (np.zeros((1, 3, 6, 8), np.int64), {}, "lr: expected"),
        ("image.png", {}, "lr: expected"),
        (None, {}, "lr: expected"),
    ],
)
def test_bad_arguments_of_sample(lr, arguments, words, model):
    with pytest.raises(ValueError, match="^" + words):
        model.sample(lr, **arguments)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda hr, lr: (hr[:, :, 1:], lr, None), "hr: expected shape"),
        (lambda hr, lr: (hr[:1], lr, None), "hr: expected shape"),
        (lambda hr, lr: (lr, hr, None), "hr: expected shape"),
        (lambda hr, lr: (hr[0], lr, None), "hr: expected"),
        (lambda hr, lr: ((255 * hr).astype(np.uint8), lr, None), "hr: expected float32"),
        (lambda hr, lr: (hr, (255 * lr).astype(np.uint8), None), "lr: expected float32"),
        (lambda hr, lr: (hr[:, :, :20], lr[:, :, :5], None), "lr: expected even"),
        (lambda hr, lr: (hr[:, :, :, :28], lr[:, :, :, :7], None), "lr: expected even"),
        (lambda hr, lr: (hr, lr, hr[:1]), "noise: expected hr's shape"),
        (lambda hr, lr: (hr, lr, 0.5), "noise: expected hr's shape"),
    ],
)
def test_bad_arguments_of_encode(change, words, model, pair):
    with pytest.raises(ValueError, match="^" + words):
        model.encode(*change(*pair))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda lr, latents: (lr[:1], latents), "latents: expected shapes"),
        (lambda lr, latents: (lr, latents[:1]), "latents: expected shapes"),
        (lambda lr, latents: (lr, latents[::-1]), "latents: expected shapes"),
        (lambda lr, latents: (lr, ()), "latents: expected shapes"),
        (lambda lr, latents: (lr, [latent[:, :-1] for latent in latents]), "latents: expected shapes"),
        (lambda lr, latents: (lr[:, :, :5], latents), "lr: expected even"),
        (lambda lr, latents: (lr[0], latents), "lr: expected"),
    ],
)
def test_bad_arguments_of_decode(change, words, model, pair, encoded):
    with pytest.raises(ValueError, match="^" + words):
        model.decode(*change(pair[1], encoded[0]))


# ---------------------------------------------------------------------------------------------------------------------
# Controls of sampling


def test_several_heats_share_their_noise(model, pair):
    lr = pair[1][:1]
    samples, latents = model.sample(lr, heat=[0.0, 0.4, 0.8], n=2, seed=3, with_latents=True)
    assert samples.shape == (3, 2, 1, 3, 24, 32)
    for i, heat in enumerate((0.0, 0.4, 0.8)):
        np.testing.assert_allclose(samples[i], model.sample(lr, heat=heat, n=2, seed=3), atol=1e-6)
    for latent in latents:
        assert latent.shape[:3] == (3, 2, 1)
        np.testing.assert_allclose(latent[2], 2 * latent[1], rtol=1e-6)
        assert not latent[0].any()
    picture = (255 * images(3, 6, 8, 3)).astype(np.uint8)
    assert model.sample(picture, heat=(0.3,), n=2, seed=3).shape == (1, 2, 24, 32, 3)


def test_latents_come_with_the_samples(model, pair):
    samples, latents = model.sample(pair[1], heat=0.5, n=2, seed=3, with_latents=True)
    np.testing.assert_array_equal(samples, model.sample(pair[1], heat=0.5, n=2, seed=3))
    for i in range(2):
        np.testing.assert_allclose(model.decode(pair[1], [latent[i] for latent in latents]), samples[i], atol=1e-6)


def test_samples_in_batches(model, pair):
    lr = pair[1][:1]
    expected = model.sample(lr, n=5, seed=2)
    np.testing.assert_allclose(model.sample(lr, n=5, seed=2, batch=3), expected, rtol=1e-4, atol=1e-4)


def test_conditions_are_computed_once_for_an_image(model, pair, monkeypatch):
    calls, itself = [], model._sampler.condition
    monkeypatch.setattr(model._sampler, "condition", lambda *inputs: calls.append(1) or itself(*inputs))
    lr = pair[1] + np.float32(0.01)
    model.sample(lr, heat=[0.1, 0.5], n=2)
    latents, _, _ = model.encode(pair[0], lr)
    model.decode(lr, latents)
    assert len(calls) == 1
    other = lr.copy()
    other[1, 2, 3, 4] += 0.01
    model.decode(other, latents)
    model.refresh()
    model.decode(other, latents)
    assert len(calls) == 3


def test_latents_of_another_image_decode_with_this_low_resolution(model, pair):
    latents, _, _ = model.encode(*pair)
    moved = model.decode(pair[1][::-1].copy(), latents)
    assert np.abs(moved - pair[0]).max() > 1e-3
    again, _, _ = model.encode(moved, pair[1][::-1].copy())
    for came, expected in zip(again, latents):
        np.testing.assert_allclose(came, expected, atol=1e-3)


def test_normalised_latents(encoded):
    for heat in (1.0, 0.6):
        for latent, before in zip(normalise_latents(encoded[0], heat), encoded[0]):
            assert latent.shape == before.shape and latent.dtype == np.float32
            np.testing.assert_allclose(latent.mean(axis=(2, 3)), 0, atol=1e-5)
            np.testing.assert_allclose(latent.std(axis=(2, 3)), heat, rtol=1e-3)


def test_tiles_see_the_latents_of_the_whole_image(model):
    """The network sees farther than a margin, but hardly: with these latents a tiled image is the whole one."""
    lr = images(8, 1, 3, 33, 52)
    whole, tiled = (model.sample(lr, heat=0.3, n=2, seed=5, tile=tile) for tile in (None, 40))
    assert tiled.shape == whole.shape == (2, 1, 3, 33 * SCALE, 52 * SCALE)
    assert np.abs(tiled - whole).max() < 1e-3 < np.abs(whole[0] - whole[1]).max()
    picture = (255 * lr[0]).astype(np.uint8).transpose(1, 2, 0)
    assert model.sample(picture, tile=40, seed=1).shape == (1, 33 * SCALE, 52 * SCALE, 3)


@pytest.mark.parametrize("tile", [None, 40])
def test_an_image_padded_to_another_size_is_the_same_away_from_the_edges_padded(tile, model):
    """Of this network of 2 blocks; benchmarks/tile_margin.py measures the full one."""
    lr, height, width = images(8, 1, 3, 33, 51), 34, 52
    size = (40, 60) if tile is None else (34, 60)
    alone, latents = model.sample(lr, heat=0.3, n=2, seed=5, tile=tile, with_latents=True)
    padded, more_latents = model.sample(lr, heat=0.3, n=2, seed=5, tile=tile, with_latents=True, size=size)
    assert padded.shape == alone.shape == (2, 1, 3, 33 * SCALE, 51 * SCALE)
    for few, many in zip(latents, more_latents):
        assert (many.shape[-2] * height, many.shape[-1] * width) == (few.shape[-2] * size[0], few.shape[-1] * size[1])
        np.testing.assert_array_equal(many[..., : few.shape[-2], : few.shape[-1]], few)
        assert abs(many[..., few.shape[-1] :].std() / 0.3 - 1) < 0.1
    difference = np.abs(padded - alone)
    for distance, tolerance in ((8, 2e-2), (12, 1e-3)):  # in pixels of lr
        assert difference[..., : SCALE * (height - distance), : SCALE * (width - distance)].max() < tolerance
    assert difference.max() > 0.1
    if tile is None:
        decoded = model.decode(pad_to(lr, size), [latent[1] for latent in more_latents])
        np.testing.assert_array_equal(padded[1], decoded[..., : 33 * SCALE, : 51 * SCALE])


def test_the_next_even_size_is_that_of_no_size(model, pair):
    np.testing.assert_array_equal(model.sample(pair[1], seed=3, size=(6, 8)), model.sample(pair[1], seed=3))


@pytest.mark.parametrize("size", [(6, 6), (4, 8), (7, 8), (6, 9), (6,), 8, (6.0, 8), (6, 8, 8), "68"])
def test_impossible_sizes(size, model):
    with pytest.raises(ValueError, match="^size: expected an even height and width, at least .6, 8. for this lr"):
        model.sample(images(8, 1, 3, 6, 7), size=size)


@pytest.mark.parametrize("size, tile, batch, total", [((6, 8), None, 2, 3), ((34, 52), 40, 1, 12)])
def test_progress_counts_decodings(size, tile, batch, total, model):
    seen, lr = [], images(11, 1, 3, *size)
    model.sample(lr, [0.5, 0.9], n=3, batch=batch, tile=tile, progress=lambda *numbers: seen.append(numbers))
    assert n_decodings(size, 6, batch, tile) == total and seen == [(k, total) for k in range(1, total + 1)]


def test_tiles_that_are_not_finite_are_cooled(model, monkeypatch):
    """Only these, and to the highest of the lower heats that is finite."""
    lr, itself = images(12, 1, 3, 34, 52), SRFlow._decode
    tiles_of_image = 2

    def decode(self, conditions, latents, may_fail=False):
        decoded = itself(self, conditions, latents, may_fail)
        calls.append(latents)
        if len(calls) == 2:
            decoded[0, 0, 0, 0] = np.inf
        return decoded

    calls = []
    expected = model.sample(lr, 0.3, tile=40, seed=0)
    assert model.cooled == [] and np.isfinite(expected).all()
    monkeypatch.setattr(SRFlow, "_decode", decode)
    came = model.sample(lr, 0.3, tile=40, seed=0, cool=True)
    assert len(calls) == tiles_of_image + 1
    (part,) = model.cooled
    assert part == Cooled(0, 0, Tile(0, 12, 34, 40), 0.3, pytest.approx(0.225))
    for hot, cold in zip(calls[1], calls[2]):
        np.testing.assert_allclose(cold, 0.75 * hot, rtol=1e-5)
    assert np.isfinite(came).all()
    np.testing.assert_array_equal(came[..., :32], expected[..., :32])  # of the other tile alone
    assert np.abs(came - expected).max() > 1e-4


@pytest.mark.parametrize("tile", [33, 30, 24, 0, -2])
@pytest.mark.parametrize("size", [(36, 52), (6, 8)])
def test_impossible_tiles(size, tile, model):
    with pytest.raises(ValueError, match="^tile: expected"):
        model.sample(images(8, 1, 3, *size), tile=tile)


def test_heats_above_that_of_training_warn(model, pair):
    with pytest.warns(RuntimeWarning, match="heat 1.2: above 1, that of the latents in training"):
        model.sample(pair[1], heat=1.2)


def test_decoding_says_where_it_is_not_finite(model, pair, encoded):
    latents = [latent.copy() for latent in encoded[0]]
    latents[0][1, 2, 3, 4] = 3e38  # enters at level 1
    with pytest.warns(RuntimeWarning, match="decoding is not finite from level 1 of 3 on, in .* % of the pixels"):
        decoded = model.decode(pair[1], latents)
    assert np.isfinite(decoded[0]).all() and not np.isfinite(decoded[1]).all()
    latents = [latent.copy() for latent in encoded[0]]
    latents[1][0] = 3e38  # enters at level 3
    with pytest.warns(RuntimeWarning, match="from level 3 of 3 on"):
        model.decode(pair[1], latents)
    latents[1][0, 2, 1, 1] = np.nan
    with pytest.raises(ValueError, match="latents: expected finite values"):
        model.decode(pair[1], latents)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints


@pytest.fixture(name="folder", scope="module")
def fixture_folder(model, tmp_path_factory):
    """A folder with the model's training checkpoint and its inference checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    values = parameter_arrays(model.net)
    training = dict(values, **{"optimizer.flow.steps": np.array(3, np.float32)})
    write_checkpoint(str(folder / "train.ckpt"), Checkpoint(TRAINING, OPTIONS, training, {"step": 3}))
    inference = {name: value for name, value in values.items() if not name.startswith(IMAGE_ONLY)}
    write_checkpoint(str(folder / "test.ckpt"), Checkpoint(INFERENCE, OPTIONS, inference, {}))
    return folder


def test_an_inference_checkpoint_brings_no_other_weights(folder):
    model = SRFlow.from_checkpoint(str(folder / "test.ckpt"))
    assert max(parameter.asnumpy().size for parameter in model.net.get_parameters()) == 1
    with pytest.raises(ValueError, match="refresh: this model is made of an inference checkpoint"):
        model.refresh()


@pytest.mark.parametrize("name", ["train.ckpt", "test.ckpt"])
def test_both_kinds_of_checkpoint_give_the_same_images(name, folder, model, pair):
    loaded = SRFlow.from_checkpoint(str(folder / name), device_target="CPU")
    assert (loaded.scale, loaded.quant) == (SCALE, 16)
    expected = model.sample(pair[1], heat=0.7, n=2, seed=4)
    np.testing.assert_allclose(loaded.sample(pair[1], heat=0.7, n=2, seed=4), expected, rtol=1e-5, atol=1e-5)


def test_the_options_may_come_from_a_file_or_an_object(folder, tmp_path):
    path = tmp_path / "small.yml"
    path.write_text(
        "scale: 4\nnetwork_G: {nf: 6, nb: 2, gc: 4, flow: {K: 1, additionalFlowNoAffine: 1, stackRRDB: "
        "{blocks: [0, 1]}, CondAffineSeparatedAndCond: {hidden_channels: 6}}}\n"
    )
    quants = [SRFlow.from_checkpoint(folder / "test.ckpt", opt=opt).quant for opt in (str(path), path, OPTIONS, None)]
    assert quants == [32, 32, 16, 16]


def test_options_of_another_network(folder):
    other = options_from_dict({"scale": 4, "network_G": dict(NETWORK, nf=8)})
    with pytest.raises(CheckpointError, match="train.ckpt: weights of another network") as caught:
        SRFlow.from_checkpoint(str(folder / "train.ckpt"), opt=other)
    assert "\n" not in str(caught.value)


def test_a_missing_file(folder):
    with pytest.raises(CheckpointError, match="none.ckpt: no such file"):
        SRFlow.from_checkpoint(str(folder / "none.ckpt"))
    with pytest.raises(OptionsError, match="none.yml does not exist"):
        SRFlow.from_checkpoint(str(folder / "train.ckpt"), opt=str(folder / "none.yml"))


def test_a_checkpoint_of_the_encoder_alone(tmp_path):
    path = str(tmp_path / "rrdb.ckpt")
    options = options_from_dict({"scale": 4, "model": "RRDB", "network_G": {"nf": 4, "nb": 1, "gc": 2}})
    write_checkpoint(path, Checkpoint(TRAINING, options, {"conv_first.bias": np.zeros(4, np.float32)}, {"step": 1}))
    with pytest.raises(CheckpointError, match="rrdb.ckpt: an RRDB checkpoint, expected one of SRFlow"):
        SRFlow.from_checkpoint(path)


def test_an_unknown_device(folder):
    with pytest.raises(ValueError, match="device_target TPU"):
        SRFlow.from_checkpoint(str(folder / "train.ckpt"), device_target="TPU")


@pytest.mark.parametrize("settings, allowed", [({}, False), ({"allow_tf32": True}, True)])
def test_tf32_is_for_the_device_to_know(monkeypatch, settings, allowed):
    def set_device(*arguments):
        raise RuntimeError(arguments)

    monkeypatch.setattr("src.model.SRFlow.set_device", set_device)
    with pytest.raises(RuntimeError) as caught:
        SRFlow.from_checkpoint("any.ckpt", device_target="GPU", device_id=1, **settings)
    assert caught.value.args[0] == ("GPU", 1, allowed)


# ---------------------------------------------------------------------------------------------------------------------
# build_network


@pytest.mark.parametrize(
    "scale, split, shapes",
    [
        (4, {}, [(6, 16, 16), (96, 4, 4)]),
        (4, {"correct_splits": True}, [(6, 16, 16), (12, 8, 8), (48, 4, 4)]),
        (4, {"enable": False}, [(192, 4, 4)]),
        (8, {}, [(6, 16, 16), (12, 8, 8), (192, 2, 2)]),
        (8, {"correct_splits": True}, [(6, 16, 16), (12, 8, 8), (24, 4, 4), (96, 2, 2)]),
    ],
)
def test_splits_follow_the_options(scale, split, shapes):
    flow = dict(NETWORK["flow"], split=split, L={4: 3, 8: 4}[scale])
    net = build_network(options_from_dict({"scale": scale, "network_G": dict(NETWORK, flow=flow)}))
    assert list(net.flowUpsamplerNet.latent_shapes(32, 32)) == shapes


def test_the_network_is_that_of_the_options():
    net = build_network(OPTIONS)
    values = parameter_arrays(net)
    assert values["RRDB.RRDB_trunk.1.RDB3.conv5.weight"].shape == (6, 6 + 4 * 4, 3, 3)
    assert values["flowUpsamplerNet.layers.2.affine.fFeatures.0.weight"].shape == (6, 3 * 6, 3, 3)
    assert net(Tensor(images(0, 1, 3, 16, 16)), Tensor(images(1, 1, 3, 4, 4)))[1].shape == (1,)
