"""IS, FID, KID, precision, recall, density and coverage against closed forms and definitions."""

import importlib.util
import json
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, special

from keras_faces.errors import UserError
from keras_faces.metrics import kernel, neighbours
from keras_faces.metrics.distribution import bootstrap, inception_score
from keras_faces.metrics.frechet import GaussianStatistics, frechet_distance, frechet_distance_of
from keras_faces.metrics.kernel import kernel_distance
from keras_faces.metrics.neighbours import density_coverage, precision_recall

few_images = pytest.mark.filterwarnings("ignore:A Frechet distance of")
whole_sets = pytest.mark.filterwarnings("ignore:Each subset of")
seeds = st.integers(0, 2**32 - 1)


def features(seed, count=60, size=8):
    """Features that lean on each other, of different scales, away from zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(size, size)) * rng.uniform(0.1, 3, size)
    return rng.normal(size=(count, size)) @ mixing + rng.normal(size=size)


def probabilities(seed, count=60, classes=7):
    logits = np.random.default_rng(seed).normal(scale=3, size=(count, classes))
    return special.softmax(logits, axis=1)


# ---------------------------------------------------------------------------------------------
# Inception Score


def test_inception_score_of_pictures_of_which_nothing_is_known_is_one():
    assert inception_score(np.full((50, 8), 1 / 8)) == pytest.approx((1, 0), abs=1e-12)


def test_inception_score_of_sure_and_even_classes_is_their_number():
    assert inception_score(np.tile(np.eye(7), (20, 1))) == pytest.approx((7, 0), rel=1e-12)


def test_inception_score_of_one_class_is_one():
    assert inception_score(np.tile(np.eye(7)[:1], (20, 1))) == (1, 0)


def test_inception_score_worked_by_hand():
    # Two images: p = (3/4, 1/4) and (1/4, 3/4), so the mean is even and the divergence of each is
    # 3/4 log(3/2) + 1/4 log(1/2).
    rows = [[0.75, 0.25], [0.25, 0.75]]
    expected = 1.5**0.75 * 0.5**0.25
    assert inception_score(rows, splits=1) == pytest.approx((expected, 0), rel=1e-12)


@pytest.mark.parametrize("count, splits", [(60, 10), (61, 10), (67, 3)])
def test_inception_score_is_the_published_one(count, splits):
    rows = probabilities(0, count)
    # Salimans et al., `get_inception_score`: KL divergences in each of consecutive parts.
    scores = []
    for i in range(splits):
        part = rows[(i * count // splits) : ((i + 1) * count // splits), :]
        kl = part * (np.log(part) - np.log(np.expand_dims(np.mean(part, 0), 0)))
        scores.append(np.exp(np.mean(np.sum(kl, 1))))
    expected = (np.mean(scores), np.std(scores))
    assert inception_score(rows, splits) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_inception_score_lies_between_one_and_the_number_of_classes(seed):
    mean, deviation = inception_score(probabilities(seed), splits=3)
    assert 1 <= mean <= 7 and deviation >= 0


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_inception_score_does_not_depend_on_the_order_of_images_or_classes(seed):
    rows, rng = probabilities(seed), np.random.default_rng(seed)
    shuffled = rng.permutation(rng.permutation(rows, axis=1))
    expected, _ = inception_score(rows, splits=1)
    assert inception_score(shuffled, splits=1)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "rows, splits, message",
    [
        (np.full((19, 4), 0.25), 10, "needs 20 images or more. Received: 19. .*splits=9"),
        (np.full((1, 4), 0.25), 1, "needs 2 images"),
        (np.full((30, 4), 0.3), 10, "softmax.*sums from 1.2"),
        (np.tile([1.5, -0.5], (30, 1)), 10, "values from -0.5"),
        (np.full((30, 4), np.nan), 10, "30 of 30 rows of probabilities hold values"),
        (np.full(30, 0.25), 10, r"shape \(count, classes\). Received: \(30,\)"),
        (np.zeros((0, 4)), 10, "Received: \\(0, 4\\)"),
        (np.full((30, 4), 0.25), 0, "splits must be a whole number"),
        (np.full((30, 4), 0.25), 2.5, "splits must be a whole number"),
        (np.array([["cat"]]), 1, "real numbers"),
    ],
)
def test_inception_score_of_anything_else_is_refused(rows, splits, message):
    with pytest.raises(UserError, match=message):
        inception_score(rows, splits)


# ---------------------------------------------------------------------------------------------
# Frechet distance


def gaussian(seed, mean, covariance, count=50):
    """Features whose sample mean and covariance are exactly those."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    rows = np.random.default_rng(seed).normal(size=(count, len(mean)))
    rows -= rows.mean(axis=0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


@few_images
def test_frechet_distance_of_independent_features_is_that_of_their_deviations():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.1, 0.5])
    distance = frechet_distance(
        gaussian(0, [0, 1, 2], np.diag(a**2)), gaussian(1, [2, 1, -1], np.diag(b**2))
    )
    assert distance == pytest.approx(4 + 9 + np.square(a - b).sum(), rel=1e-10)


@few_images
def test_frechet_distance_of_two_dependent_features_is_the_closed_form():
    # For 2x2: the trace of the root of M is (tr M + 2 (det M)^(1/2))^(1/2).
    a, b = np.array([[2, 0.8], [0.8, 1]]), np.array([[1, -0.3], [-0.3, 3]])
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = 1 + np.trace(a) + np.trace(b) - 2 * root
    distance = frechet_distance(gaussian(0, [0, 0], a), gaussian(1, [1, 0], b))
    assert distance == pytest.approx(expected, rel=1e-10)


def published(a, b):
    """Heusel et al., (6), as their code computes it."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    apart = a.mean(axis=0) - b.mean(axis=0)
    return apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * root)


@few_images
@pytest.mark.parametrize("counts", [(60, 60), (40, 200)])
def test_frechet_distance_is_the_published_one(counts):
    a, b = features(0, counts[0]), features(1, counts[1])
    assert frechet_distance(a, b) == pytest.approx(published(a, b), rel=1e-9)


@few_images
def test_fewer_images_than_features_are_no_different_by_images_or_by_statistics():
    a, b = features(0, 10, 30), features(1, 20, 30)
    statistics = [GaussianStatistics().update(rows) for rows in (a, b)]
    expected = frechet_distance_of(*statistics)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@few_images
@settings(max_examples=25, deadline=None)
@given(seeds)
def test_frechet_distance_is_symmetric_and_not_moved_by_turning_shifting_or_order(seed):
    a, b = features(seed), features(seed + 1, 70)
    rng = np.random.default_rng(seed)
    turn, shift = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.normal(size=8)
    expected = pytest.approx(frechet_distance(a, b), rel=1e-9, abs=1e-9)
    assert frechet_distance(b, a) == expected
    assert frechet_distance(a @ turn + shift, b @ turn + shift) == expected
    assert frechet_distance(rng.permutation(a), b) == expected
    assert frechet_distance(2 * a, 2 * b) / 4 == expected


@few_images
@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(2, 40))
def test_frechet_distance_of_a_set_to_itself_is_zero(seed, count):
    # Also where most directions are empty, in which roots of rounding errors would add up.
    a = features(seed, count, 20)
    assert 0 <= frechet_distance(a, a) <= 1e-10 * np.square(a).sum()


@few_images
def test_frechet_distance_of_constant_features_is_that_of_their_means():
    assert frechet_distance(np.zeros((9, 4)), np.full((9, 4), 3.0)) == 36
    assert frechet_distance(np.full((9, 4), 0.1), np.full((5, 4), 0.1)) == pytest.approx(0)
    # Against features that vary it is their variance besides.
    b = features(0, 50, 4)
    expected = np.square(b.mean(axis=0)).sum() + np.trace(np.cov(b, rowvar=False))
    assert frechet_distance(np.zeros((9, 4)), b) == pytest.approx(expected, rel=1e-12)


def test_few_images_are_warned_of_where_the_distance_is_asked_for():
    rows = features(0, 2048, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(rows, rows)
    with pytest.warns(UserWarning, match="of 2047 images") as caught:
        frechet_distance(rows[1:], rows)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "a, b, message",
    [
        (features(0, 9, 4), features(0, 9, 5), "one network.*4 and 5"),
        (features(0, 1, 4), features(0, 9, 4), "2 images or more"),
        (features(0, 9, 4) * np.inf, features(0, 9, 4), "9 of 9 rows of features"),
        (np.zeros((2, 3, 4)), features(0, 9, 4), r"Received: \(2, 3, 4\)"),
        (features(0, 9, 4) * 1e200, features(0, 9, 4), "too large"),
        (features(0, 2, 4) > 0, features(0, 9, 4), "real numbers. Received: bool"),
    ],
)
@few_images
def test_frechet_distance_of_anything_else_is_refused(a, b, message):
    for pair in ((a, b), (b, a)):
        with pytest.raises(UserError):
            frechet_distance(*pair)
    with pytest.raises(UserError, match=message):
        frechet_distance(a, b)


# ---------------------------------------------------------------------------------------------
# Statistics, batch by batch


@settings(max_examples=25, deadline=None)
@given(seeds, st.lists(st.integers(0, 40), max_size=4))
def test_statistics_do_not_depend_on_how_images_come(seed, cuts):
    # Far from zero, where sums of squares would cancel.
    rows = features(seed, 41) + 1e4
    statistics = GaussianStatistics()
    for part in np.split(rows, sorted(cuts)):
        if len(part):
            assert statistics.update(part) is statistics
    assert statistics.count == 41
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), rtol=1e-13)
    expected = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-7, atol=1e-9)


def test_statistics_are_float64_whatever_comes():
    rows = (features(0, 50) + 1000).astype(np.float32)
    statistics = GaussianStatistics().update(rows)
    np.testing.assert_array_equal(statistics.mean, rows.astype(np.float64).mean(axis=0))
    assert statistics.covariance.dtype == np.float64


def test_statistics_merge_and_leave_the_other_as_it_was():
    a, b = features(0), features(1, 30)
    other = GaussianStatistics().update(b)
    merged = GaussianStatistics().merge(GaussianStatistics()).update(a).merge(other)
    both = np.concatenate([a, b])
    np.testing.assert_allclose(merged.covariance, np.cov(both, rowvar=False), rtol=1e-12)
    empty = GaussianStatistics().merge(other)
    empty.update(a)
    np.testing.assert_array_equal(other.mean, b.mean(axis=0))
    assert (other.count, empty.count) == (30, 90)
    with pytest.raises(UserError, match="one network"):
        other.merge(GaussianStatistics().update(np.ones((3, 2))))


@few_images
def test_statistics_that_go_on_are_measured_anew():
    a, b = features(0), features(1)
    statistics = GaussianStatistics().update(a)
    frechet_distance_of(statistics, statistics)
    statistics.update(b)
    expected = frechet_distance(np.concatenate([a, b]), a)
    found = frechet_distance_of(statistics, GaussianStatistics().update(a))
    assert found == pytest.approx(expected, rel=1e-9)


def test_statistics_are_saved_to_the_last_bit_and_go_on(tmp_path):
    path = tmp_path / "real.npz"
    first = GaussianStatistics().update(features(0))
    first.save(path)
    loaded = GaussianStatistics.load(path)
    for statistics in (first, loaded):
        statistics.update(features(1))
    assert (loaded.count, loaded.mean.tolist()) == (first.count, first.mean.tolist())
    np.testing.assert_array_equal(loaded.scatter, first.scatter)


def test_files_that_hold_no_statistics_are_refused(tmp_path):
    with pytest.raises(UserError, match="no statistics at"):
        GaussianStatistics.load(tmp_path / "none.npz")
    with pytest.raises(UserError, match="no statistics to save"):
        GaussianStatistics().save(tmp_path / "empty.npz")
    bad = tmp_path / "bad.npz"
    GaussianStatistics().update(features(0)).save(bad)
    whole = bad.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"<html>"):
        bad.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            GaussianStatistics.load(bad)
    np.savez(bad, mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(UserError, match="not a file of GaussianStatistics"):
        GaussianStatistics.load(bad)
    np.savez(bad, count=3, mean=np.zeros(3), scatter=np.eye(4))
    with pytest.raises(UserError, match="of one size"):
        GaussianStatistics.load(bad)


# ---------------------------------------------------------------------------------------------
# Kernel distance


def naive_discrepancy(a, b):
    """Binkowski et al., (4): the unbiased estimator, pair by pair."""

    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y)) / len(x) + 1) ** 3

    within = 0
    for rows in (a, b):
        total = 0
        for i in range(len(rows)):
            for j in range(len(rows)):
                if i != j:
                    total += kernel(rows[i], rows[j])
        within += total / (len(rows) * (len(rows) - 1))
    across = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    return within - 2 * across


@whole_sets
def test_kernel_distance_of_whole_sets_is_its_definition():
    a, b = features(0, 12, 3), features(1, 12, 3)
    mean, deviation = kernel_distance(a, b, subsets=5, subset_size=12)
    assert mean == pytest.approx(naive_discrepancy(a, b), rel=1e-12)
    assert deviation == 0


@whole_sets
def test_kernel_distance_worked_by_hand():
    # One feature; a = (0, 1): the kernel of its pair is 1. b = (1, 1): it is 2^3 = 8. Across:
    # 1, 1, 8, 8, of which the mean is 4.5. 1 + 8 - 2 * 4.5 = 0.
    assert kernel_distance([[0], [1]], [[1], [1]], subset_size=2)[0] == pytest.approx(0, abs=1e-12)
    # b = (2, 2): 5^3 = 125; across 1, 1, 27, 27. 1 + 125 - 28 = 98.
    assert kernel_distance([[0], [1]], [[2], [2]], subset_size=2)[0] == pytest.approx(98)


@pytest.mark.parametrize("counts, subsets", [((15, 11), 20), ((60, 60), 3)])
def test_kernel_distance_is_that_of_its_subsets(counts, subsets, monkeypatch):
    # The first is computed from the kernel of all images, the second subset by subset.
    monkeypatch.setattr(kernel, "BLOCK", 4)
    a, b = features(0, counts[0], 3), features(1, counts[1], 3)
    rng = np.random.RandomState(7)
    values = []
    for _ in range(subsets):
        i = rng.choice(len(a), 10, replace=False)
        j = rng.choice(len(b), 10, replace=False)
        values.append(naive_discrepancy(a[i], b[j]))
    expected = (np.mean(values), np.std(values))
    result = kernel_distance(a, b, subsets, subset_size=10, seed=7)
    assert result == pytest.approx(expected, rel=1e-11)
    assert kernel_distance(a, b, subsets, subset_size=10, seed=7) == result
    assert kernel_distance(a, b, subsets, subset_size=10, seed=8) != result


@whole_sets
@settings(max_examples=25, deadline=None)
@given(seeds)
def test_kernel_distance_is_symmetric_and_not_moved_by_turning_or_order(seed):
    a, b, rng = features(seed, 20), features(seed + 1, 20), np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    value, _ = kernel_distance(a, b, subset_size=20)
    expected = pytest.approx(value, rel=1e-9, abs=1e-7)
    assert kernel_distance(b, a, subset_size=20)[0] == expected
    assert kernel_distance(a @ turn, b @ turn, subset_size=20)[0] == expected
    assert kernel_distance(rng.permutation(a), b, subset_size=20)[0] == expected


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_kernel_distance_of_one_distribution_is_zero_within_its_error(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 400, 8))
    mean, deviation = kernel_distance(a, b, subsets=30, subset_size=100)
    assert abs(mean) < 5 * deviation
    assert kernel_distance(a, b + 1, subsets=30, subset_size=100)[0] > 20 * deviation


@whole_sets
def test_kernel_distance_of_constant_features_is_a_number():
    same = kernel_distance(np.ones((6, 4)), np.ones((6, 4)), subset_size=6)
    assert same == pytest.approx((0, 0), abs=1e-12)
    # 1 + 125 - 2 * 1: the kernel of zero with anything is 1, of twos 5^3.
    assert kernel_distance(np.zeros((6, 4)), np.full((6, 4), 2.0), subset_size=6)[0] == 124


def test_subsets_of_the_whole_set_have_no_deviation_and_that_is_said():
    with pytest.warns(UserWarning, match="no standard deviation: pass subset_size=10"):
        kernel_distance(features(0, 20), features(1, 20), subset_size=20)


@pytest.mark.parametrize(
    "a, b, arguments, message",
    [
        (features(0, 40), features(1, 400), {}, "Received: 40 and 400. Pass subset_size=20"),
        (features(0, 1), features(1, 1), {}, "Received: 1 and 1. Add images"),
        (features(0, 9, 4), features(0, 9, 5), {}, "one network"),
        (features(0, 9), features(0, 9) * np.nan, {}, "9 of 9 rows of features_b"),
        (features(0, 9) * 1e150, features(1, 9), {"subset_size": 5}, "too large"),
        (features(0, 9), features(1, 9), {"subset_size": 1}, "subset_size must be"),
        (features(0, 9), features(1, 9), {"subsets": 0}, "subsets must be"),
        (features(0, 9), features(1, 9), {"seed": -1}, "seed must be"),
        (features(0, 9), features(1, 9), {"subset_size": 4, "seed": 2**32}, "seed must be below"),
        ([[1.0], [1.0, 2.0]], features(1, 9), {}, r"one size.*\(1,\) and \(2,\)"),
    ],
)
def test_kernel_distance_of_anything_else_is_refused(a, b, arguments, message):
    with pytest.raises(UserError, match=message):
        kernel_distance(a, b, **arguments)


# ---------------------------------------------------------------------------------------------
# Precision and recall, density and coverage


def naive_scores(real, generated, k):
    """All four from their definitions, pair by pair."""

    def apart(x, y):
        return sum((p - q) ** 2 for p, q in zip(x, y))

    def reaches(rows):
        return [
            sorted(apart(x, y) for j, y in enumerate(rows) if j != i)[k - 1]
            for i, x in enumerate(rows)
        ]

    of_real, of_generated = reaches(real), reaches(generated)
    precision = np.mean([any(apart(g, r) <= d for r, d in zip(real, of_real)) for g in generated])
    recall = np.mean([any(apart(r, g) <= d for g, d in zip(generated, of_generated)) for r in real])
    density = sum(apart(g, r) < d for g in generated for r, d in zip(real, of_real))
    coverage = np.mean([any(apart(g, r) < d for g in generated) for r, d in zip(real, of_real)])
    return precision, recall, density / (k * len(generated)), coverage


def scores(real, generated, k):
    return (*precision_recall(real, generated, k), *density_coverage(real, generated, k))


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(6, 14), st.integers(6, 14), st.booleans())
def test_prdc_is_its_definition(seed, k, many, count, whole):
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(many, 2)), rng.normal(0.5, size=(count, 2))
    if whole:  # on a grid, where many distances are equal
        real, generated = np.round(real * 1.5), np.round(generated * 1.5)
    try:
        found = scores(real, generated, k)
    except UserError as error:  # pictures that are all copies
        assert whole and "exact copies" in str(error)
    else:
        assert found == pytest.approx(naive_scores(real, generated, k), rel=1e-12)


def test_prdc_worked_by_hand():
    # On a line, k = 1. Real: 0, 1, 3 reach 1, 1, 2. Generated: 0.5, 4, 9 reach 3.5, 3.5, 5.
    # 0.5 lies within the first two, 4 within the third, 9 in none.
    real, generated = [[0.0], [1], [3]], [[0.5], [4], [9]]
    precision, recall = precision_recall(real, generated, k=1)
    assert (precision, recall) == pytest.approx((2 / 3, 1))
    density, coverage = density_coverage(real, generated, k=1)
    assert (density, coverage) == pytest.approx((3 / 3, 1))


def test_the_rim_of_a_neighbourhood_counts_for_precision_and_not_for_density():
    # Real 0 and 1 reach 1; -1 and 2 lie exactly that far.
    real, generated = [[0.0], [1]], [[-1.0], [2]]
    assert precision_recall(real, generated, k=1).precision == 1
    assert density_coverage(real, generated, k=1) == (0, 0)


def test_equal_distances_stay_equal_in_many_dimensions_far_from_zero():
    # Real images that are the generated ones: each neighbourhood holds k less one of the others,
    # and its own image; the k-th lies exactly on the rim.
    rows = features(0, 150, 64) + 1e3
    generated = rows.copy()[::-1]
    for k in (1, 5):
        assert density_coverage(rows, generated, k) == (1, 1)
        assert precision_recall(rows, generated, k) == (1, 1)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_prdc_does_not_depend_on_order_place_turning_or_blocks(seed):
    rng = np.random.default_rng(seed)
    real, generated = features(seed, 40), features(seed, 30) + 0.5
    expected = scores(real, generated, 3)
    turn, shift = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.normal(size=8)
    assert scores(real @ turn + shift, generated @ turn + shift, 3) == expected
    assert scores(rng.permutation(real), rng.permutation(generated), 3) == expected
    # The roles exchanged.
    assert precision_recall(generated, real, 3) == expected[1::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "ENTRIES", 100)
        assert scores(real, generated, 3) == expected


def test_sets_far_apart_have_nothing_in_common():
    real, generated = features(0), features(0) + 1e3
    assert scores(real, generated, 3) == (0, 0, 0, 0)


def test_collapse_costs_recall_and_coverage_and_not_precision():
    real = np.random.default_rng(0).normal(size=(200, 4))
    generated = np.repeat(real[:1], 200, axis=0)
    precision, recall = precision_recall(real, generated)
    _, coverage = density_coverage(real, generated)
    assert precision == 1
    assert recall == 1 / 200
    assert 0 < coverage < 0.1


def test_constant_features_give_a_number_or_are_refused():
    same = np.full((8, 4), 0.1)
    assert precision_recall(same, same) == (1, 1)
    assert precision_recall(same, same + 1) == (0, 0)
    with pytest.raises(UserError, match="exact copies"):
        density_coverage(same, same)
    assert density_coverage(features(0, 9, 4), same + 1e3) == (0, 0)


@pytest.mark.parametrize("function", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    "real, generated, k, message",
    [
        (features(0, 3), features(1, 9), 3, "4 images or more.*3 real and 9 generated"),
        (features(0, 9), features(1, 3), 3, "4 images or more.*9 real and 3 generated"),
        (features(0, 9), features(1, 9), 0, "k must be"),
        (features(0, 9, 4), features(1, 9, 5), 3, "one network"),
        (features(0, 9), np.full((9, 8), -np.inf), 3, "rows of generated_features"),
        (features(0, 9)[0], features(1, 9), 3, "real_features of shape"),
        (features(0, 9) * 1e200, features(1, 9), 3, "too large"),
    ],
)
def test_prdc_of_anything_else_is_refused(function, real, generated, k, message):
    with pytest.raises(UserError, match=message):
        function(real, generated, k)


def test_memory_does_not_grow_with_the_product_of_the_numbers_of_images(monkeypatch):
    monkeypatch.setattr(neighbours, "ENTRIES", 2**14)
    rows = np.random.default_rng(0).normal(size=(3000, 4))
    tracemalloc.start()
    try:
        scores(rows, rows + 0.1, 3)
        kernel_distance(rows, rows + 0.1, subsets=2, subset_size=50)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6 < 3000 * 3000 * 8 / 3


# ---------------------------------------------------------------------------------------------
# Uncertainty


@pytest.mark.parametrize("replace", [True, False])
def test_the_standard_error_of_a_mean_is_found(replace):
    rows = np.random.default_rng(0).normal(3, 2, size=400)
    value, error = bootstrap(np.mean, rows, resamples=2000, replace=replace)
    assert value == rows.mean()
    assert error == pytest.approx(rows.std(ddof=1) / 20, rel=0.06)
    assert bootstrap(np.mean, rows, resamples=2000, replace=replace)[1] == error
    assert bootstrap(np.mean, rows, resamples=2000, seed=1, replace=replace)[1] != error


def test_scores_of_several_numbers_and_arrays_have_an_error_each():
    real, generated = features(0), features(0) + 0.5
    value, error = bootstrap(precision_recall, real, generated, resamples=20, replace=False)
    assert value.tolist() == list(precision_recall(real, generated))
    assert error.shape == (2,) and (error > 0).all()


def test_what_cannot_be_drawn_from_is_refused():
    for arrays in ([], [np.zeros(1)], [np.float64(3)]):
        with pytest.raises(UserError, match="two images or more"):
            bootstrap(np.mean, *arrays)
    with pytest.raises(UserError, match="resamples must be"):
        bootstrap(np.mean, np.zeros(3), resamples=1)


# ---------------------------------------------------------------------------------------------
# torch-fidelity, where it is installed

# In a process of its own: torch and TensorFlow in one crash where torch brings Triton.
TORCH_FIDELITY = """
import json, sys
import numpy as np
import torch
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

data = {name: torch.from_numpy(array) for name, array in np.load(sys.argv[1]).items()}
real, generated = data["real"], data["generated"]
statistics = [metric_fid.fid_features_to_statistics(rows) for rows in (real, generated)]
found = {
    "is": list(metric_isc.isc_features_to_metric(data["logits"], shuffle=False).values()),
    "fid": list(metric_fid.fid_statistics_to_metric(*statistics, verbose=False).values()),
}
for subsets, size in ((100, 300), (10, 100)):
    found[f"kid {subsets} {size}"] = list(metric_kid.kid_features_to_metric(
        real, generated, kid_subsets=subsets, kid_subset_size=size, rng_seed=5, verbose=False
    ).values())
for k in (1, 3, 10):
    scores = metric_prc.prc_features_to_metric(
        generated, real, prc_neighborhood=k, verbose=False
    )
    found[f"pr {k}"] = [scores["precision"], scores["recall"]]
print(json.dumps(found))
"""


@few_images
def test_scores_are_torch_fidelitys(tmp_path):
    if not importlib.util.find_spec("torch_fidelity"):
        pytest.skip("torch-fidelity is not installed")
    # Features like Inception's pooled ones: 0 or more, many, small.
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(64, 256)) / 8
    real, generated = (np.abs(rng.normal(mean, size=(600, 64)) @ mixing) for mean in (0, 0.1))
    noise = rng.uniform(0, 0.1, size=(2, 600, 256))
    real, generated = real + noise[0], generated + noise[1]
    logits = rng.normal(scale=3, size=(603, 50))
    np.savez(tmp_path / "data.npz", real=real, generated=generated, logits=logits)
    command = [sys.executable, "-c", TORCH_FIDELITY, str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout.splitlines()[-1])
    found = {
        "is": inception_score(special.softmax(logits, axis=1)),
        "fid": [frechet_distance(real, generated)],
    }
    for subsets, size in ((100, 300), (10, 100)):
        found[f"kid {subsets} {size}"] = kernel_distance(real, generated, subsets, size, seed=5)
    for k in (1, 3, 10):
        found[f"pr {k}"] = precision_recall(real, generated, k)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert list(values) == pytest.approx(expected[name], rel=1e-6), name
    assert 0 < max(expected["pr 3"]) < 1
