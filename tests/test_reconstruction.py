"""How close reconstructions are: against hand-worked values, naive loops, scikit-image."""

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import keras_faces as kf
from keras_faces.metrics.identity import face_descriptors
from keras_faces.metrics.reconstruction import (
    descriptor_distance,
    mean_squared_error,
    psnr,
    ssim,
)

SCORES = {
    "mean_squared_error": mean_squared_error,
    "psnr": psnr,
    "ssim": ssim,
    "descriptor_distance": descriptor_distance,
}
needs_models = pytest.mark.skipif(
    not importlib.util.find_spec("face_recognition_models"), reason="needs the extra identity"
)


@pytest.fixture(scope="session")
def faces(orl_path) -> np.ndarray:
    """Eight people as uint8 of shape (8, 64, 64, 1), read without our own pipeline."""
    found = []
    for person in range(1, 9):
        with Image.open(orl_path / f"s{person}" / "1.pgm") as image:
            box = (0, 10, 92, 102)
            found.append(np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS, box=box)))
    return np.stack(found)[..., None]


def floats(images: np.ndarray) -> np.ndarray:
    return (images / 127.5 - 1).astype(np.float64)


def noisy(images: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------
# Squared error and peak signal-to-noise ratio


@pytest.mark.parametrize("convert", [np.asarray, floats])
def test_squared_error_and_psnr_by_hand(convert):
    # One of 16 pixels differs by 40 levels, then all by 255.
    one = np.zeros((2, 4, 4, 1), np.uint8)
    other = one.copy()
    other[0, 1, 2], other[1] = 40, 255
    errors = mean_squared_error(convert(one), convert(other))
    np.testing.assert_allclose(errors, [40**2 / 16, 255**2], rtol=1e-12)
    expected = [10 * math.log10(255**2 / 100), 0]
    np.testing.assert_allclose(psnr(convert(one), convert(other)), expected, atol=1e-12)


def test_psnr_is_the_same_on_unit_range_with_a_peak_of_two(faces):
    one, other = floats(faces), floats(noisy(faces, 9))
    expected = [10 * math.log10(2.0**2 / np.mean((a - b) ** 2)) for a, b in zip(one, other)]
    np.testing.assert_allclose(psnr(one, other), expected, rtol=1e-12)


def test_levels_between_the_whole_ones_count(faces):
    moved = floats(faces) * 0.99
    expected = np.square((floats(faces) - moved) * 127.5).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mean_squared_error(floats(faces), moved), expected, rtol=1e-12)


def test_identical_pictures_have_no_error_infinite_psnr_and_ssim_one(faces):
    assert mean_squared_error(faces, faces).tolist() == [0] * 8
    assert psnr(faces, faces).tolist() == [np.inf] * 8
    np.testing.assert_allclose(ssim(faces, faces), 1, rtol=1e-12)


def test_squared_error_and_psnr_are_scikit_images(faces):
    other = noisy(faces, 12)
    skimage = pytest.importorskip("skimage.metrics")
    expected = [skimage.mean_squared_error(a, b) for a, b in zip(faces, other)]
    np.testing.assert_allclose(mean_squared_error(faces, other), expected, rtol=1e-12)
    expected = [skimage.peak_signal_noise_ratio(a, b) for a, b in zip(faces, other)]
    np.testing.assert_allclose(psnr(faces, other), expected, rtol=1e-12)


# ---------------------------------------------------------------------------------------------
# Structural similarity


def naive_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al.'s formulas, window by window, each in plain sums, on levels from 0 to 255."""
    height, width, channels = one.shape
    window = {
        (y, x): math.exp(-((y - 5) ** 2 + (x - 5) ** 2) / (2 * 1.5**2))
        for y in range(11)
        for x in range(11)
    }
    total = math.fsum(window.values())
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(channels):
        for top in range(height - 10):
            for left in range(width - 10):
                triples = [
                    (w / total, float(one[top + y, left + x, channel]), float(b))
                    for (y, x), w in window.items()
                    for b in [other[top + y, left + x, channel]]
                ]
                mean_a = math.fsum(w * a for w, a, _ in triples)
                mean_b = math.fsum(w * b for w, _, b in triples)
                var_a = math.fsum(w * (a - mean_a) ** 2 for w, a, _ in triples)
                var_b = math.fsum(w * (b - mean_b) ** 2 for w, _, b in triples)
                covariance = math.fsum(w * (a - mean_a) * (b - mean_b) for w, a, b in triples)
                values.append(
                    (2 * mean_a * mean_b + c1)
                    * (2 * covariance + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
                )
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("shape", [(11, 11, 1), (12, 14, 1), (13, 11, 3)])
def test_ssim_is_that_of_a_naive_loop(faces, shape):
    height, width, channels = shape
    one = np.stack([face[20 : 20 + height, 20 : 20 + width] for face in faces[:3]])
    one = np.repeat(one, channels, axis=-1)
    other = np.stack([noisy(one[0], 25), one[2], 255 - one[2]])  # the last is its negative
    expected = [naive_ssim(a, b) for a, b in zip(one, other)]
    assert expected[2] < 0
    np.testing.assert_allclose(ssim(one, other), expected, atol=1e-12)
    np.testing.assert_allclose(ssim(floats(one), floats(other)), expected, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(faces, channels):
    skimage = pytest.importorskip("skimage.metrics")
    one = np.repeat(faces, channels, axis=-1)
    other = np.concatenate([noisy(one[:4], 20), np.roll(one[4:], 3, axis=1)])
    expected = [
        skimage.structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(one, other)
    ]
    np.testing.assert_allclose(ssim(one, other), expected, atol=1e-12)
    as_float32 = ssim(floats(one).astype(np.float32), floats(other).astype(np.float32))
    np.testing.assert_allclose(as_float32, expected, atol=1e-6)


def test_ssim_of_even_pictures_is_the_luminance_term():
    # Without any structure, (2 * a * b + c1) / (a**2 + b**2 + c1) remains.
    one, other = np.full((1, 16, 16, 1), 100, np.uint8), np.full((1, 16, 16, 1), 150, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    np.testing.assert_allclose(ssim(one, other), [expected], rtol=1e-9)


# ---------------------------------------------------------------------------------------------
# Properties

PICTURES = st.tuples(
    st.integers(1, 3), st.integers(11, 16), st.integers(11, 16), st.sampled_from([1, 3])
).flatmap(lambda shape: st.tuples(*[arrays.arrays(np.uint8, shape)] * 2))


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_scores_are_symmetric_and_within_their_ranges(pictures):
    one, other = pictures
    for score in (mean_squared_error, psnr, ssim):
        values = score(one, other)
        assert values.shape == (len(one),)
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, score(other, one), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(values, score(floats(one), floats(other)), atol=1e-6)
    assert (np.abs(ssim(one, other)) <= 1 + 1e-12).all()
    assert (psnr(one, other) >= 0).all()
    np.testing.assert_allclose(ssim(one, one), 1, rtol=1e-12)
    assert np.isinf(psnr(one, one)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_more_noise_is_farther(seed):
    grey = np.linspace(90, 165, 48 * 48).reshape(1, 48, 48, 1)
    steps = [noisy(grey.astype(np.uint8), deviation, seed) for deviation in (2, 6, 18)]
    grey = grey.astype(np.uint8)
    for score in (psnr, ssim):
        values = [float(score(grey, step)[0]) for step in steps]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[1] > values[2]


# ---------------------------------------------------------------------------------------------
# Identity


@needs_models
def test_descriptor_distance_is_that_of_the_descriptors_found_in_both(faces):
    one, other = faces[:4].copy(), noisy(faces[:4], 8)
    one[1], other[2] = 0, 0  # no face
    distances = descriptor_distance(one, other)
    before, after = face_descriptors(faces[:4]), face_descriptors(noisy(faces[:4], 8))
    assert before.found[[0, 3]].all() and after.found[[0, 3]].all()
    assert distances.found.tolist() == [True, False, False, True]
    place = [np.cumsum(part.found) - 1 for part in (before, after)]
    expected = [
        math.dist(before.values[place[0][number]], after.values[place[1][number]])
        for number in (0, 3)
    ]
    np.testing.assert_allclose(distances.values, expected, rtol=1e-12)
    assert (distances.values > 0).all() and (distances.values < 0.6).all()


@needs_models
def test_a_perfect_reconstruction_is_at_no_distance_and_a_stranger_far(faces):
    same = descriptor_distance(faces[:2], faces[:2])
    assert same.values.tolist() == [0] * same.found.sum()
    assert same.found.any()
    strangers = descriptor_distance(faces[[0, 3]], faces[[3, 0]])
    assert (strangers.values > 0.5).all()


@needs_models
def test_without_a_pair_in_which_both_are_found_there_is_no_distance(faces):
    with pytest.raises(kf.UserError, match=r"In none of 2 pairs.*0 reconstructions"):
        descriptor_distance(faces[:2], np.zeros_like(faces[:2]))


# ---------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda faces: faces[:7], r"\(8, 64, 64, 1\).*\(7, 64, 64, 1\)"),
        (lambda faces: faces[:, :32, :32], r"\(8, 64, 64, 1\).*\(8, 32, 32, 1\)"),
        (lambda faces: np.repeat(faces, 3, axis=-1), r"\(8, 64, 64, 1\).*\(8, 64, 64, 3\)"),
        (lambda faces: np.where(faces > 200, np.nan, 0.0), "8 faces hold .*not finite"),
        (lambda faces: faces.astype(np.float32), r"\[-1, 1\]"),
        (lambda faces: faces.astype(np.int64), "int64"),
        (lambda faces: faces[:0], r"\(0, 64, 64, 1\)"),
    ],
    ids=["count", "size", "channels", "nan", "range", "int64", "empty"],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_cannot_be_compared_is_refused_with_the_reason(name, change, message, swapped, faces):
    pair = (faces, change(faces))
    with pytest.raises(kf.UserError) as caught:
        SCORES[name](*(reversed(pair) if swapped else pair))
    if swapped and message.startswith(r"\(8"):
        message = ".*".join(reversed(message.split(".*")))
    assert caught.match(message)


def test_pictures_smaller_than_the_window_have_no_ssim():
    small = np.zeros((1, 10, 64, 1), np.uint8)
    with pytest.raises(kf.UserError, match=r"11x11.*10x64"):
        ssim(small, small)
