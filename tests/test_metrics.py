"""How good faces are: sharpness, detection, diversity, against other implementations."""

import hashlib
import json
import sys
import tempfile
from collections import Counter

import cv2
import dlib
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import keras_faces as kf
from keras_faces import metrics
from keras_faces.metrics import identity, scores, tables
from keras_faces.metrics.faces import Faces, look

METRICS = {
    "laplacian_variance": metrics.laplacian_variance,
    "face_detection_rate": metrics.face_detection_rate,
    "detected": metrics.detected,
    "mean_pair_difference": metrics.mean_pair_difference,
    "nearest": lambda faces: metrics.nearest(faces, np.zeros((3, 8, 8, 1), np.float32)),
    "nearest, others": lambda faces: metrics.nearest(np.zeros((3, 8, 8, 1), np.float32), faces),
    "distinct_nearest": lambda faces: metrics.distinct_nearest(faces, faces),
    "effective_nearest": lambda faces: metrics.effective_nearest(faces, faces),
}


@pytest.fixture(scope="session")
def real_faces(orl_path) -> np.ndarray:
    """Twenty real faces of 64x64 pixels as uint8, read without our own pipeline."""
    faces = []
    for person in range(1, 41, 2):
        with Image.open(orl_path / f"s{person}" / "1.pgm") as image:
            box = (0, 10, 92, 102)
            faces.append(np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS, box=box)))
    return np.stack(faces)[..., None]


@pytest.fixture(scope="session")
def colour_faces(real_faces) -> np.ndarray:
    """The same faces with three different channels."""
    tint = np.array([1.0, 0.8, 0.65])
    return (real_faces * tint).astype(np.uint8)


def floats(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float64) / 127.5 - 1).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# Sharpness


def opencv(images: np.ndarray) -> list[float]:
    grey = [i[..., 0] if i.shape[-1] == 1 else cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in images]
    return [cv2.Laplacian(np.ascontiguousarray(image), cv2.CV_64F).var() for image in grey]


def test_laplacian_variance_of_grey_faces_is_opencvs(real_faces):
    scores = metrics.laplacian_variance(floats(real_faces))
    assert scores.shape == (20,)
    np.testing.assert_allclose(scores, opencv(real_faces), rtol=1e-6)


def test_laplacian_variance_of_colour_faces_is_opencvs(colour_faces):
    scores = metrics.laplacian_variance(floats(colour_faces))
    np.testing.assert_allclose(scores, opencv(colour_faces), rtol=1e-6)


def test_laplacian_variance_of_every_colour_at_once_is_opencvs():
    # 17 levels of each channel in random places: the grey levels have to agree to the last bit.
    levels = np.linspace(0, 255, 17).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, 17, 289, 3)
    images = np.random.default_rng(0).permuted(colours, axis=2)
    np.testing.assert_allclose(
        metrics.laplacian_variance(floats(images)), opencv(images), rtol=1e-6
    )


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, SHAPES))
def test_laplacian_variance_of_any_picture_is_opencvs(images):
    scores = metrics.laplacian_variance(floats(images))
    np.testing.assert_allclose(scores, opencv(images), rtol=1e-6, atol=1e-9)


def test_laplacian_variance_of_a_white_dot_worked_by_hand():
    # 3x3, black but for the middle; the border is mirrored about its own pixels. The Laplacian is
    # 0 in the corners, 2 * 255 = 510 beside the middle and -4 * 255 = -1020 in the middle:
    # mean (4 * 510 - 1020) / 9, mean square (4 * 510**2 + 1020**2) / 9.
    dot = np.full((1, 3, 3, 1), -1, np.float32)
    dot[0, 1, 1, 0] = 1
    (score,) = metrics.laplacian_variance(dot)
    assert score == pytest.approx(231_200 - (1020 / 9) ** 2, rel=1e-12)


def test_laplacian_variance_of_an_even_picture_is_zero():
    assert metrics.laplacian_variance(np.full((2, 8, 8, 3), 0.25, np.float32)).tolist() == [0, 0]


def test_blurring_lowers_laplacian_variance(real_faces):
    blurred = np.stack([cv2.GaussianBlur(face[..., 0], (5, 5), 0) for face in real_faces])
    sharp = metrics.laplacian_variance(floats(real_faces))
    assert (metrics.laplacian_variance(floats(blurred[..., None])) < sharp).all()


# ---------------------------------------------------------------------------------------------
# Detection


@pytest.fixture(scope="session")
def found_by_dlib(real_faces) -> list[bool]:
    detector = dlib.get_frontal_face_detector()
    colour = [cv2.cvtColor(face[..., 0], cv2.COLOR_GRAY2RGB) for face in real_faces]
    return [len(detector(face, 1)) > 0 for face in colour]


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_detection_of_real_faces_is_dlibs(real_faces, found_by_dlib, processes):
    assert sum(found_by_dlib) >= 18  # of 20
    # Pictures without a face among them, so that an order mixed up would show.
    images = real_faces.copy()
    images[::3] = 0
    expected = [found and index % 3 != 0 for index, found in enumerate(found_by_dlib)]
    found = metrics.detected(floats(images), processes)
    assert (found.dtype, found.tolist()) == (bool, expected)


def test_detection_of_colour_faces_is_dlibs(colour_faces):
    detector = dlib.get_frontal_face_detector()
    expected = [len(detector(np.ascontiguousarray(face), 1)) > 0 for face in colour_faces[:5]]
    assert metrics.detected(floats(colour_faces[:5])).tolist() == expected


def test_the_detection_rate_is_the_share_of_faces_found(real_faces, found_by_dlib):
    rate = metrics.face_detection_rate(floats(real_faces))
    assert isinstance(rate, float)
    assert rate == pytest.approx(sum(found_by_dlib) / 20)


def test_more_processes_than_faces_do_no_harm(real_faces, found_by_dlib):
    assert metrics.detected(floats(real_faces[:1]), 2).tolist() == found_by_dlib[:1]


def test_there_is_no_face_in_noise():
    noise = np.random.default_rng(0).uniform(-1, 1, (8, 64, 64, 3)).astype(np.float32)
    assert metrics.face_detection_rate(noise) == 0


@pytest.mark.parametrize("processes", [0, -1])
def test_a_number_of_processes_below_one_is_refused(real_faces, processes):
    with pytest.raises(kf.UserError, match=f"processes.*{processes}"):
        metrics.detected(floats(real_faces[:1]), processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_without_dlib_detection_says_what_to_install(real_faces, monkeypatch, processes):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(kf.UserError, match="pip install dlib-bin"):
        metrics.face_detection_rate(floats(real_faces[:2]), processes)


# ---------------------------------------------------------------------------------------------
# Diversity


def shades(*levels: float) -> np.ndarray:
    """Even pictures of the given levels between -1 and 1."""
    return np.stack([np.full((4, 4, 1), level, np.float32) for level in levels])


@pytest.mark.parametrize(
    ("levels", "difference"),
    [
        ((0.5, 0.5), 0),
        ((-1, 1), 255),
        ((0, 0.2), 25.5),
        ((-1, 0, 1), 170),  # (127.5 + 127.5 + 255) / 3
        ((-1, -1, -1, 1), 127.5),  # 3 of 6 pairs differ by 255
    ],
)
def test_mean_pair_difference_of_even_pictures(levels, difference):
    assert metrics.mean_pair_difference(shades(*levels)) == pytest.approx(difference, abs=1e-4)


def test_mean_pair_difference_is_a_mean_over_pixels():
    faces = np.zeros((2, 2, 2, 1), np.float32)
    faces[1, 0] = [[1.0], [-0.6]]
    assert metrics.mean_pair_difference(faces) == pytest.approx(127.5 * 1.6 / 4, rel=1e-6)


def test_mean_pair_difference_of_all_pairs_is_opencvs_norm(real_faces):
    norms = [
        cv2.norm(first[..., 0], second[..., 0], cv2.NORM_L1) / 64**2
        for number, first in enumerate(real_faces)
        for second in real_faces[:number]
    ]
    found = metrics.mean_pair_difference(floats(real_faces))
    assert found == pytest.approx(sum(norms) / len(norms), rel=1e-5)


def test_mean_pair_difference_of_some_pairs_depends_on_the_seed_alone(real_faces):
    faces = floats(real_faces)
    every = metrics.mean_pair_difference(faces)
    some = [metrics.mean_pair_difference(faces, 20, seed) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]
    assert some == pytest.approx([every] * 3, rel=0.3)


def brute_nearest(faces: np.ndarray, others: np.ndarray) -> list[int]:
    distances = [[((a - b) ** 2).sum() for b in others] for a in faces.astype(np.float64)]
    return [row.index(min(row)) for row in distances]


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_nearest_is_what_comparing_all_finds(real_faces, chunk):
    others = floats(real_faces)
    noise = np.random.default_rng(0).normal(0, 0.5, (9, *others.shape[1:]))
    faces = np.clip(others[::-2][:9] + noise, -1, 1).astype(np.float32)
    assert metrics.nearest(faces, others, chunk).tolist() == brute_nearest(faces, others)


UNIT = st.integers(0, 255).map(lambda level: level / 127.5 - 1)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float64, (4, 2, 2, 1), elements=UNIT),
    arrays.arrays(np.float64, (5, 2, 2, 1), elements=UNIT),
)
def test_nothing_is_nearer_than_nearest(faces, others):
    found = metrics.nearest(faces, others)
    squares = ((faces[:, None] - others[None]) ** 2).sum(axis=(2, 3, 4))
    # Two may be equally near; a distance of one grey level in one pixel is 6e-5.
    np.testing.assert_allclose(squares[np.arange(4), found], squares.min(axis=1), atol=1e-5)


def test_nearest_tells_pictures_apart_that_differ_in_one_level_of_one_pixel(colour_faces):
    twins = np.repeat(colour_faces, 2, axis=0)
    twins[1::2, 30, 30, 0] ^= 1
    assert metrics.nearest(floats(twins), floats(twins)).tolist() == list(range(40))


def test_distinct_nearest_counts_the_real_faces_that_are_hit(real_faces):
    others = floats(real_faces)
    assert metrics.distinct_nearest(others, others) == 20
    assert metrics.distinct_nearest(others[[3, 3, 3, 7]], others) == 2
    assert metrics.distinct_nearest(others[:1], others) == 1


def test_faces_of_another_size_cannot_be_compared(real_faces):
    faces = floats(real_faces)
    for compare in (metrics.nearest, metrics.distinct_nearest, metrics.effective_nearest):
        with pytest.raises(kf.UserError, match=r"64.*32|32.*64"):
            compare(faces[:, :32, :32], faces)


# ---------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (np.full((2, 8, 8, 1), np.nan, np.float32), "2 of 2 faces .*not finite"),
        (np.full((2, 8, 8, 1), np.inf, np.float32), "2 of 2 faces .*not finite"),
        (np.full((2, 8, 8, 1), 100, np.int64), r"uint8 faces.*int64"),
        (np.zeros((2, 8, 8), np.float32), r"shape .*Received: \(2, 8, 8\)"),
        (np.zeros((2, 8, 8, 4), np.float32), r"shape .*Received: \(2, 8, 8, 4\)"),
        (np.full((2, 8, 8, 1), 255, np.float32), r"\[-1, 1\].*255"),
        (np.zeros((0, 8, 8, 1), np.float32), r"shape .*Received: \(0, 8, 8, 1\)"),
        (np.zeros((2, 0, 0, 1), np.float32), r"shape .*Received: \(2, 0, 0, 1\)"),
        ([np.zeros((8, 8, 1)), np.zeros((9, 8, 1))], r"one size.*\(8, 8, 1\) and \(9, 8, 1\)"),
    ],
    ids=["nan", "inf", "int64", "rank", "channels", "range", "empty", "no pixels", "sizes"],
)
def test_what_are_no_faces_is_refused_with_the_reason(name, faces, message):
    with pytest.raises(kf.UserError, match=message):
        METRICS[name](faces)


def test_one_bad_face_among_good_ones_is_counted(real_faces):
    faces = floats(real_faces)
    faces[4, 5, 6] = np.nan
    with pytest.raises(kf.UserError, match="1 of 20 faces"):
        metrics.laplacian_variance(faces)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("mean_pair_difference", {"pairs": 0}, "pairs must be .* 1 or more.*0"),
        ("mean_pair_difference", {"seed": -1}, "seed must be .* 0 or more.*-1"),
        ("nearest", {"others": np.zeros((1, 8, 8, 1)), "chunk": 0}, "chunk must be"),
        ("face_detection_rate", {"processes": 1.5}, r"processes must be .*1\.5"),
    ],
)
def test_numbers_that_make_no_score_are_refused(function, arguments, message):
    with pytest.raises(kf.UserError, match=message):
        getattr(metrics, function)(np.zeros((200, 8, 8, 1), np.float32), **arguments)


def test_one_face_has_no_pair():
    with pytest.raises(kf.UserError, match=r"Two faces or more.*1"):
        metrics.mean_pair_difference(np.zeros((1, 8, 8, 1), np.float32))


# ---------------------------------------------------------------------------------------------
# All scores of a model


class Copier:
    """Stands in for a model: its samples are given faces, repeated."""

    usable_samplers = ("prior",)
    makes = "photo"

    def __init__(self, faces):
        self.faces = faces

    def originals(self, count, seed, stream):
        return stream.sample(count, seed)

    def samples(self, count, seed, sampler, stream):
        return self.faces[np.arange(count) % len(self.faces)]


def test_scores_are_those_of_the_samples_beside_those_of_real_faces(real_faces, found_by_dlib):
    stream = kf.data.open_faces("orl", split="test", progress=False)
    faces = floats(real_faces)
    result = metrics.score(Copier(faces[:4]), stream, count=20, seed=0, scores=scores.CHEAP_SCORES)
    real = stream.sample(20, 0)
    assert list(result["rows"]) == ["real", "prior"]
    samples = np.concatenate([faces[:4]] * 5)
    sharpness, real_sharpness = opencv(real_faces[:4]), opencv(kf.data.to_uint8(real))
    values = {
        row: {name: record["value"] for name, record in records.items()}
        for row, records in result["rows"].items()
    }
    assert values["prior"] == pytest.approx(
        {
            "face_detection_rate": sum(found_by_dlib[:4]) / 4,
            "laplacian_variance": np.mean(sharpness),
            "laplacian_variance_ratio": np.mean(sharpness) / np.mean(real_sharpness),
            "mean_pair_difference": metrics.mean_pair_difference(samples),
            "distinct_nearest": len(set(brute_nearest(faces[:4], real))),
            "effective_nearest": np.exp(entropy(Counter(brute_nearest(samples, real)))),
        }
    )
    assert values["real"]["distinct_nearest"] == 20
    assert values["real"]["laplacian_variance"] == pytest.approx(np.mean(real_sharpness))
    assert values["real"]["laplacian_variance_ratio"] == 1
    errors = {name: record["std"] for name, record in result["rows"]["prior"].items()}
    rate = sum(found_by_dlib[:4]) / 4
    assert errors["face_detection_rate"] == pytest.approx((rate * (1 - rate) / 20) ** 0.5)
    assert errors["laplacian_variance"] == pytest.approx(np.std(sharpness) / 20**0.5)
    # Ten groups of two samples: 0 and 2, or 1 and 3, of the four that are repeated.
    groups = [metrics.mean_pair_difference(samples[start::10]) for start in range(10)]
    assert errors["mean_pair_difference"] == pytest.approx(np.std(groups) / 10**0.5)
    assert errors["distinct_nearest"] is None


def entropy(counts) -> float:
    return scipy.stats.entropy(list(counts.values()))


@given(times=st.lists(st.integers(0, 9), min_size=2, max_size=12).filter(any))
def test_the_effective_number_of_nearest_is_between_one_and_the_number_of_distinct_ones(times):
    others = np.linspace(-1, 1, len(times), dtype=np.float32)[:, None, None, None]
    others = np.broadcast_to(others, (len(times), 8, 8, 1))
    faces = np.repeat(others, times, axis=0)
    effective = metrics.effective_nearest(faces, others)
    assert effective == pytest.approx(np.exp(scipy.stats.entropy(times)))
    assert 1 - 1e-9 <= effective <= metrics.distinct_nearest(faces, others) + 1e-9


def test_one_score_and_one_sampler_need_no_list(real_faces):
    faces = floats(real_faces)[:, ::4, ::4]
    result = result_of(faces, scores="laplacian_variance", samplers="prior")
    assert list(result["rows"]) == ["real", "prior"]
    assert list(result["rows"]["prior"]) == ["laplacian_variance"]
    expected = result_of(faces)["rows"]["prior"]["laplacian_variance"]
    assert result["rows"]["prior"]["laplacian_variance"] == expected
    with pytest.raises(kf.UserError, match="no score named 'laplacian_varianc'"):
        result_of(faces, scores="laplacian_varianc")


@pytest.mark.parametrize(
    ("name", "value", "other", "real", "expected"),
    [
        ("face_detection_rate", 0.9, 0.8, 0.5, True),
        ("face_detection_rate", 0.8, 0.8, 0.5, False),
        ("laplacian_variance", 900, 2000, 1000, True),
        ("laplacian_variance", 2000, 900, 1000, False),
    ],
)
def test_better_is_higher_or_nearer_to_real(name, value, other, real, expected):
    assert scores.better(name, value, other, real) is expected


def result_of(faces, **arguments) -> dict:
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)
    names = ["laplacian_variance", "distinct_nearest"]
    return metrics.score(Copier(faces), stream, **{"count": 5, "scores": names, **arguments})


def test_results_of_one_protocol_stand_in_one_table(real_faces):
    faces = floats(real_faces)[:, ::4, ::4]
    results = {"a": result_of(faces[:5]), "b": result_of(faces[5:])}
    assert tables.comparable(results) == ["laplacian_variance", "distinct_nearest"]
    lines = tables.compare(results).splitlines()
    titles = ["faces", "real", "a (prior)", "b (prior)"]
    assert [line.split("  ")[0] for line in lines[:4]] == titles
    for title, line in zip(("a", "b"), lines[2:]):
        record = results[title]["rows"]["prior"]["laplacian_variance"]
        assert f"{record['value']:.1f} ± {record['std']:.1f}" in line


def test_results_of_different_protocols_are_not_compared_and_the_fields_are_named(real_faces):
    faces = floats(real_faces)[:, ::4, ::4]
    one = result_of(faces)
    for other, message in (
        (result_of(faces, seed=1), "seed 0 and 1"),
        (result_of(faces, count=6), "generated 5 and 6; real 5 and 6"),
    ):
        with pytest.raises(kf.UserError, match=f"one column: {message}"):
            tables.compare({"a": one, "b": other})
    with pytest.raises(kf.UserError, match="No score is there of all: a, b"):
        tables.compare({"a": one, "b": result_of(faces, scores=["mean_pair_difference"])})
    with pytest.raises(kf.UserError, match="b holds no scores of format 2"):
        tables.compare({"a": one, "b": {"rows": {}, "protocol": {}}})
    assert "face_detection_rate" not in one["rows"]["real"]
    more = result_of(faces, scores=["laplacian_variance", "mean_pair_difference"])
    left_out = "Left out, since not all have them: mean pair difference, distinct nearest."
    assert left_out in tables.compare({"a": one, "b": more}).splitlines()


@pytest.mark.parametrize(
    "damage",
    [
        lambda result: result.pop("rows"),
        lambda result: result["rows"].pop("real"),
        lambda result: result.update(needs={}),
        lambda result: result.update(protocol=None),
        lambda result: result["rows"]["prior"].pop("laplacian_variance"),
        lambda result: result["rows"]["prior"].update(laplacian_variance="7"),
        lambda result: result["rows"]["prior"]["laplacian_variance"].update(value="7"),
    ],
)
def test_damaged_results_are_named_and_not_compared(real_faces, damage):
    whole, damaged = (result_of(floats(real_faces)[:, ::4, ::4]) for _ in range(2))
    damage(damaged)
    with pytest.raises(kf.UserError, match=r"b holds damaged scores \(.*Score it again"):
        tables.compare({"a": whole, "b": damaged})


def test_there_must_be_something_to_compare():
    with pytest.raises(kf.UserError, match="one model or more"):
        tables.compare({})


def test_a_protocol_is_told_with_all_that_its_scores_need(real_faces):
    result = result_of(floats(real_faces)[:, ::4, ::4], scores=scores.CHEAP_SCORES)
    assert "generated 5, seed 0, detector dlib" in tables.protocol_line(result)
    assert "detector" not in tables.protocol_line(result, names=["laplacian_variance"])


def test_the_protocol_records_what_makes_scores_comparable(real_faces):
    stream = kf.data.open_faces("orl", 16, split="test", crop="squash", progress=False)
    faces = np.zeros((1, 16, 16, 1), np.float32)
    result = metrics.score(Copier(faces), stream, 5, seed=7, scores=["mean_pair_difference"])
    protocol = result["protocol"]
    expected = {
        "source": "orl",
        "fingerprint": stream.cache.meta["content"],
        "split": "test",
        "crop": "squash",
        "image_size": 16,
        "channels": 1,
        "real": 5,
        "generated": 5,
        "seed": 7,
    }
    assert {key: protocol[key] for key in expected} == expected
    assert "test_fraction" not in protocol  # it goes without saying
    assert result["rows"]["prior"] == {"mean_pair_difference": {"value": 0, "std": None}}


def test_protocols_of_unlike_parts_of_one_source_differ():
    def protocol(**opened):
        return kf.data.open_faces("orl", 16, 1, progress=False, **opened).protocol

    usual = protocol(split="train")
    for other, field in (
        ({"split": "train", "test_fraction": 0.3}, "test_fraction"),
        ({"split": "all"}, "split"),
        ({"split": "train", "crop": "squash"}, "crop"),
        ({"split": "train", "channels": 3}, "channels"),
    ):
        assert field in tables.differences(usual, protocol(**other))
    assert tables.differences(usual, protocol(split="train", test_fraction=0.1)) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": ["laplacian"]}, "no score named 'laplacian'.*'laplacian_variance'"),
        ({"count": 1}, "2 samples or more.*1"),
    ],
    ids=["unknown score", "one sample"],
)
def test_scores_that_cannot_be_computed_are_refused(arguments, message):
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)
    with pytest.raises(kf.UserError, match=message):
        metrics.score(Copier(np.zeros((2, 16, 16, 1), np.float32)), stream, **arguments)


def test_samples_of_another_size_and_faces_without_a_protocol_are_not_scored(real_faces):
    with pytest.raises(kf.UserError, match=r"\(64, 64, 1\), real faces of \(16, 16, 1\)"):
        result_of(floats(real_faces))
    with pytest.raises(kf.UserError, match=r"kf\.data\.open_faces.*ndarray"):
        metrics.score(Copier(floats(real_faces)), floats(real_faces))


def test_without_the_detector_its_scores_are_not_computed_and_it_is_said_why(
    real_faces, monkeypatch
):
    monkeypatch.setitem(sys.modules, "dlib", None)
    result = result_of(floats(real_faces)[:, ::4, ::4], scores=scores.CHEAP_SCORES)
    assert "face_detection_rate" not in result["rows"]["real"]
    assert set(result["needs"]) == {"pixels"}
    assert "pip install dlib-bin" in result["not_computed"]["face_detection_rate"]


def test_uint8_faces_score_like_the_same_faces_as_floats(real_faces):
    for metric in (
        metrics.laplacian_variance,
        metrics.detected,
        metrics.mean_pair_difference,
        lambda faces: metrics.nearest(faces, real_faces[::2]),
    ):
        np.testing.assert_allclose(metric(real_faces), metric(floats(real_faces)), rtol=1e-6)


# ---------------------------------------------------------------------------------------------
# Scores on a network's features


class Projection:
    """Stands in for Inception: a few fixed directions in pixel space."""

    protocol = {"network": "a projection"}
    calls = 0

    def __call__(self, faces):
        self.calls += 1
        flat = np.asarray(faces, np.float64).reshape(len(faces), -1)
        features = flat @ np.random.default_rng(0).standard_normal((flat.shape[1], 6)) / 20
        exponentials = np.exp(features)
        return features, exponentials / exponentials.sum(axis=1, keepdims=True)


ON_FEATURES = [name for name, score in metrics.SCORES.items() if score.features == "inception"]


def test_scores_on_features_are_those_of_the_pure_functions():
    stream = kf.data.open_faces("orl", 16, split="all", progress=False)
    faces = stream.sample(400, 5)[:60]
    network = Projection()
    with pytest.warns(UserWarning):
        expected_distance = metrics.frechet_distance(
            network(stream.sample(100, 0))[0], network(faces[np.arange(100) % 60])[0]
        )
    network.calls = 0
    result = metrics.score(
        Copier(faces), stream, 100, scores=[*ON_FEATURES, "laplacian_variance"], inception=network
    )
    assert network.calls == 2  # once for the real faces and once for the samples
    real, _ = network(stream.sample(100, 0))
    features, probabilities = network(faces[np.arange(100) % 60])
    prior = result["rows"]["prior"]
    values = {name: record["value"] for name, record in prior.items()}
    assert values["frechet_inception_distance"] == pytest.approx(expected_distance)
    mean, std = metrics.inception_score(probabilities)
    assert prior["inception_score"] == {"value": mean, "std": std}
    mean, std = metrics.kernel_distance(real, features, subset_size=50)
    assert prior["kernel_inception_distance"] == {"value": mean, "std": std}
    expected = {
        **metrics.precision_recall(real, features)._asdict(),
        **metrics.density_coverage(real, features)._asdict(),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    halves = metrics.precision_recall(real[1::2], real[::2])
    assert result["rows"]["real"]["precision"]["value"] == halves.precision
    assert result["rows"]["real"]["recall"]["value"] == halves.recall
    assert all(prior[name]["std"] is not None for name in ON_FEATURES)
    assert result["needs"]["inception"] == network.protocol
    assert tables.protocol_of(result, "precision")["network"] == "a projection"
    assert "network" not in tables.protocol_of(result, "laplacian_variance")
    assert "FID (keras)" in tables.table(result)


def test_without_inceptions_weights_its_scores_are_not_computed_and_it_is_said_why(
    monkeypatch, tmp_path
):
    def no_network(home):
        raise OSError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_FACES_INCEPTION", raising=False)
    monkeypatch.setattr("keras_faces.metrics.inception._download", no_network)
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)
    faces = stream.sample(20, 0)
    assert not set(ON_FEATURES) & set(scores.resolve_scores(None))
    asked = metrics.score(Copier(faces), stream, 20, scores=["inception_score", "distinct_nearest"])
    assert list(asked["rows"]["prior"]) == ["distinct_nearest"]
    assert "no route to host" in asked["not_computed"]["inception_score"]
    assert "Not computed: Inception Score (keras). Inception's weights" in tables.table(asked)


def test_scores_on_features_of_different_weights_are_not_compared():
    class Other(Projection):
        protocol = {"network": "another"}

    one, other = (
        result_of(
            np.random.default_rng(1).uniform(-1, 1, (8, 16, 16, 1)).astype(np.float32),
            count=20,
            scores=["laplacian_variance", "precision"],
            inception=network,
        )
        for network in (Projection(), Other())
    )
    with pytest.raises(kf.UserError, match=r"precision of a and .*network a projection and an"):
        tables.compare({"a": one, "b": other})


@pytest.mark.parametrize(
    "other",
    [
        {"crop": "squash"},
        {"image_size": 8},
        {"channels": 3},
        {"split": "train"},
        {"test_fraction": 0.3},
        {"count": 9},
        {"seed": 1},
        {"weights_sha256": "another"},
        {"resizer": "another"},
    ],
    ids=str,
)
def test_features_of_real_faces_are_shared_by_equal_protocols_alone(other, own_cache):
    def computed(**given) -> int:
        """How many sets were looked at, of which one are the samples."""
        network = Projection()
        fields = ("weights_sha256", "resizer")
        network.protocol = {"network": "one", **{k: given.pop(k) for k in fields if k in given}}
        how = {name: given.pop(name, value) for name, value in (("count", 8), ("seed", 0))}
        opening = {"image_size": 16, "split": "test", "batch_size": 1, **given}
        stream = kf.data.open_faces("orl", progress=False, **opening)
        samples = np.zeros((1, *stream.image_shape), np.float32)
        metrics.score(Copier(samples), stream, scores=["precision"], inception=network, **how)
        return network.calls

    assert computed() == 2
    assert computed() == 1
    assert computed(**other) == 2


# ---------------------------------------------------------------------------------------------
# Scores on face descriptors


ON_DESCRIPTORS = [n for n, score in metrics.SCORES.items() if score.features == "descriptors"]


@pytest.fixture(scope="module")
def described():
    """Two thirds real faces of others, a third noise, beside 40 real faces."""
    stream = kf.data.open_faces("orl", split="test", progress=False)
    others = kf.data.open_faces("orl", split="train", progress=False).sample(20, 0)
    noise = np.random.default_rng(0).uniform(-1, 1, (10, 64, 64, 1)).astype(np.float32)
    samples = np.concatenate([others, noise])
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as cache:
        patch.setenv("KERAS_FACES_CACHE", cache)
        kept = []
        for _ in range(2):
            computed.clear()
            patch.setattr("keras_faces.metrics.identity.describe", counting)
            result = metrics.score(Copier(samples), stream, 30, scores=ON_DESCRIPTORS)
            kept.append((result, list(computed)))
    return stream.sample(30, 0), samples, kept


computed: list[int] = []
_describe = identity.describe


def counting(images):
    computed.append(len(images))
    return _describe(images)


def test_scores_on_descriptors_are_those_of_the_pure_functions(described):
    real_images, samples, kept = described
    real, made = metrics.face_descriptors(real_images), metrics.face_descriptors(samples)
    prior = kept[0][0]["rows"]["prior"]
    values = {name: record["value"] for name, record in prior.items()}
    counts = metrics.identification(made, real)
    assert values["unidentified"] == pytest.approx(counts.unidentified / 30)
    assert values["near_duplicates"] == metrics.near_duplicates(made)
    distances = metrics.nearest_training(made, real).distances
    assert values["nearest_distance"] == pytest.approx(distances.mean())
    with pytest.warns(UserWarning):
        expected = metrics.frechet_distance(real.values, made.values)
    assert values["frechet_descriptor_distance"] == pytest.approx(expected)
    both = metrics.precision_recall(real.values, made.values)
    assert values["descriptor_precision"] == both.precision
    assert values["descriptor_recall"] == both.recall
    halves = [metrics.face_descriptors(real_images[start::2]) for start in (0, 1)]
    nearest = metrics.nearest_training(*halves).distances.mean()
    assert kept[0][0]["rows"]["real"]["nearest_distance"]["value"] == pytest.approx(nearest)


def test_what_was_computed_of_real_faces_is_kept(described):
    (first, described_first), (again, described_again) = described[2]
    assert described_first == [60]  # both at once
    assert described_again == [30]  # the samples, and no longer the real faces
    assert first == again


def test_sets_that_are_looked_at_together_are_described_as_each_alone(own_cache, monkeypatch):
    real = kf.data.open_faces("orl", split="test", progress=False).sample(12, 0)
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 1)).astype(np.float32)
    sets = [Faces(images, kept=images is real) for images in (real, noise, real[:5])]
    expected = [metrics.face_descriptors(faces.images) for faces in sets]
    look(sets, "descriptors")
    monkeypatch.setattr(identity, "describe", lambda images: pytest.fail("looked at again"))
    monkeypatch.setattr(
        "keras_faces.metrics.faces.detected_in", lambda images: pytest.fail("looked for again")
    )
    for faces, alone in zip(sets, expected):
        np.testing.assert_array_equal(faces.descriptors.values, alone.values)
        np.testing.assert_array_equal(faces.found, alone.found)
    assert not sets[1].found.any()
    assert len(sets[2].descriptors.values) == sets[2].found.sum() > 0
    look([Faces(real, kept=True)], "descriptors")  # kept on disk
    with pytest.raises(pytest.fail.Exception):
        look([Faces(real)], "descriptors")


def test_a_damaged_descriptor_network_costs_the_scores_on_descriptors_alone(monkeypatch):
    def damaged(images):
        raise kf.UserError("damaged")

    monkeypatch.setattr(identity, "describe", damaged)
    stream = kf.data.open_faces("orl", 32, split="test", progress=False)
    wanted = ["face_detection_rate", "near_duplicates"]
    found = metrics.score(Copier(stream.sample(4, 1)), stream, 4, scores=wanted)
    assert found["rows"]["prior"]["face_detection_rate"]["value"] is not None
    assert "damaged" in found["not_computed"]["near_duplicates"]
    assert list(found["not_computed"]) == ["near_duplicates"]


def test_descriptors_by_another_file_are_of_another_protocol_and_not_those_that_were_kept(
    own_cache, tmp_path, monkeypatch
):
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)

    def result():
        describing.clear()
        samples = Copier(stream.sample(4, 1))
        found = metrics.score(samples, stream, 4, scores=["near_duplicates"])
        return found["needs"]["descriptors"]["descriptors"], sum(describing) // 4

    def describe(faces):
        describing.append(len(faces))
        return identity.Descriptors(np.zeros(len(faces), bool), np.zeros((0, 128)))

    describing: list[int] = []
    monkeypatch.setattr(identity, "describe", describe)
    usual = f"{identity.DESCRIPTOR_NET}, {identity.FIVE_POINTS}, first face, no jitter"
    assert result() == (f"face_recognition_models 0.3: {usual}", 2)
    assert result()[1] == 1  # the samples, and no longer the real faces
    for name in (identity.DESCRIPTOR_NET, identity.FIVE_POINTS):
        (tmp_path / name).write_bytes(b"another")
    monkeypatch.setattr(identity, "model_file", lambda name: tmp_path / name)
    told, computed = result()
    assert computed == 2
    assert told.count(f"(SHA-256 {hashlib.sha256(b'another').hexdigest()})") == 2


def test_scores_of_samples_without_faces_are_none_and_not_a_number():
    stream = kf.data.open_faces("orl", split="test", progress=False)
    noise = np.random.default_rng(0).uniform(-1, 1, (10, 64, 64, 1)).astype(np.float32)
    result = metrics.score(Copier(noise), stream, 10, scores=ON_DESCRIPTORS)
    prior = {name: record["value"] for name, record in result["rows"]["prior"].items()}
    assert prior.pop("unidentified") == 0  # nobody is detected
    assert set(prior.values()) == {None}
    lines = tables.table(result).splitlines()
    assert lines[2].count("none") == len(prior)
    assert any("near duplicates" in line and "prior: Near-dup" in line for line in lines[3:])
    few = metrics.score(Copier(noise), stream, 10, scores=["frechet_descriptor_distance"])
    why = few["not_computed"]["frechet_descriptor_distance"]
    assert why.startswith("real: ") and " prior: " in why  # neither hides the other
    json.dumps(result, allow_nan=False)


def test_without_the_models_scores_on_descriptors_are_not_computed_and_it_is_said_why(monkeypatch):
    def missing():
        raise kf.UserError("install them with: pip install 'keras-faces[identity]'")

    monkeypatch.setattr("keras_faces.metrics.identity.require", missing)
    assert not set(ON_DESCRIPTORS) & set(scores.resolve_scores(None))
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)
    asked = metrics.score(Copier(stream.sample(9, 0)), stream, 9, scores=["near_duplicates"])
    assert "keras-faces[identity]" in asked["not_computed"]["near_duplicates"]


# ---------------------------------------------------------------------------------------------
# Scores of reconstructions


class Blurring(Copier):
    """Stands in for a model that reconstructs: its copies are a little darker."""

    def faces_and_copies(self, count, seed, stream):
        faces = stream.sample(count, seed)
        return faces, np.clip(faces - 0.1, -1, 1)


def test_scores_of_reconstructions_are_those_of_the_pure_functions():
    stream = kf.data.open_faces("orl", split="test", progress=False)
    model = Blurring(None)
    faces, copies = model.faces_and_copies(12, 0, stream)
    result = scores.score_copies(model, stream, 12)
    values = {name: record["value"] for name, record in result["scores"].items()}
    for name in ("mean_squared_error", "psnr", "ssim"):
        assert values[name] == pytest.approx(getattr(metrics, name)(faces, copies).mean())
    assert values["face_detection_rate"] == metrics.face_detection_rate(copies)
    distances = metrics.descriptor_distance(faces, copies).values
    assert values["descriptor_distance"] == pytest.approx(distances.mean())
    assert "SSIM 0." in tables.format_copies(result)
    assert result["protocol"]["real"] == 12
    quick = scores.score_copies(model, stream, 12, quick=True)
    assert "descriptor_distance" not in quick["scores"]


def test_a_perfect_copy_has_no_psnr_and_a_model_without_encoder_no_copies():
    stream = kf.data.open_faces("orl", 16, split="test", progress=False)

    class Perfect(Copier):
        def faces_and_copies(self, count, seed, stream):
            return (stream.sample(count, seed),) * 2

    perfect = scores.score_copies(Perfect(None), stream, 5, quick=True)["scores"]
    assert perfect["psnr"] == {"value": None, "std": None}
    assert perfect["ssim"]["value"] == pytest.approx(1)
    model = kf.create_model("dcgan", image_size=32, channels=1, filters=4)
    assert scores.score_copies(model, stream, 5) is None


def test_the_detector_in_a_protocol_is_the_one_that_is_installed(monkeypatch):
    from importlib import metadata

    stream = kf.data.open_faces("orl", 32, 1, "all", progress=False)

    def detector():
        names = ["face_detection_rate"]
        result = metrics.score(Copier(stream.sample(3, 0)), stream, 3, scores=names)
        return result["needs"]["detector"]["detector"].split()[1]

    assert detector() == metadata.version("dlib-bin")

    def unknown(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", unknown)  # as where a user has built dlib
    assert detector() == dlib.__version__
