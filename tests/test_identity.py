"""Face descriptors and what they tell: against dlib, the face_recognition project, known people."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import dlib
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import keras_faces as kf
from keras_faces.metrics import identity
from keras_faces.metrics.detection import detected
from keras_faces.metrics.identity import (
    Descriptors,
    NearestTraining,
    face_descriptors,
    identification,
    near_duplicates,
    nearest_training,
    pairs_picture,
)

PACKAGE = importlib.util.find_spec("face_recognition_models")
MODELS = Path(PACKAGE.submodule_search_locations[0], "models") if PACKAGE else None
needs_models = pytest.mark.skipif(not PACKAGE, reason="needs the extra identity")

PEOPLE, PHOTOGRAPHS = 10, 4


# Of descriptors as Keras computes them and as dlib does, whose entries are below 1.
ROUNDING = 2e-6


def assert_dlibs(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=ROUNDING)


def read(path: Path, size: int) -> np.ndarray:
    """A face as uint8 of shape (size, size, 1), read without our own pipeline."""
    with Image.open(path) as image:
        square = image.resize((size, size), Image.Resampling.LANCZOS, box=(0, 10, 92, 102))
        return np.asarray(square)[..., None]


@pytest.fixture(scope="session")
def faces(orl_path) -> np.ndarray:
    """Four photographs each of ten people, person by person, 64x64."""
    names = [f"s{p}/{n}.pgm" for p in range(1, PEOPLE + 1) for n in range(1, PHOTOGRAPHS + 1)]
    return np.stack([read(orl_path / name, 64) for name in names])


@pytest.fixture(scope="session")
def large_faces(orl_path) -> np.ndarray:
    """One photograph each of forty people, 128x128."""
    return np.stack([read(orl_path / f"s{person}" / "1.pgm", 128) for person in range(1, 41)])


@pytest.fixture(scope="session")
def described(faces) -> Descriptors:
    """What the tests below ask about, computed once in one process."""
    return face_descriptors(faces, processes=1)


def colour(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([image] * 3, axis=-1))


def made(*rows: float | None) -> Descriptors:
    """Descriptors that lie on a line at the given places; None where no face is found."""
    places = [row for row in rows if row is not None]
    values = np.zeros((len(places), 128))
    values[:, 7] = places
    return Descriptors(np.array([row is not None for row in rows], bool), values)


# ---------------------------------------------------------------------------------------------
# Descriptors


class ByDlib:
    """The steps one after the other, with dlib alone."""

    def __init__(self):
        self.detect = dlib.get_frontal_face_detector()
        self.predict = dlib.shape_predictor(str(MODELS / "shape_predictor_5_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(
            str(MODELS / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        boxes = list(self.detect(image, 1))
        if not boxes:
            return None
        # The face is cut out first, which is the other way to the network.
        chip = dlib.get_face_chip(image, self.predict(image, boxes[0]), size=150, padding=0.25)
        return np.array(self.network.compute_face_descriptor(chip))


@needs_models
def test_descriptors_are_dlibs(faces, described):
    by_dlib = ByDlib()
    expected = [by_dlib(colour(face)) for face in faces[::4]]
    assert described.found[::4].tolist() == [row is not None for row in expected]
    rows = np.full((len(faces), 128), np.nan)
    rows[described.found] = described.values
    assert described.values.dtype == np.float64
    for row, other in zip(rows[::4], expected, strict=True):
        if other is not None:
            assert_dlibs(row, other)


@needs_models
def test_a_descriptor_does_not_depend_on_which_faces_are_described_with_it(faces, described):
    chosen = np.flatnonzero(described.found)[:18]  # more than are computed at a time
    again = face_descriptors(faces[chosen[::-1]])
    np.testing.assert_array_equal(again.values[::-1], described.values[:18])
    np.testing.assert_array_equal(
        face_descriptors(faces[chosen[17:]]).values, described.values[17:18]
    )


@needs_models
def test_descriptors_do_not_depend_on_what_a_training_has_set(faces, described):
    face, expected = faces[np.flatnonzero(described.found)[:1]], described.values[:1]
    before = keras.config.image_data_format()
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_image_data_format("channels_first")
    try:
        np.testing.assert_array_equal(face_descriptors(face).values, expected)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format(before)


@needs_models
def test_where_jax_may_not_use_the_cpu_it_says_how_to_let_it(monkeypatch, faces):
    def device(_):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(keras, "device", device)
    with pytest.raises(kf.UserError, match="JAX_PLATFORMS=cuda,cpu"):
        face_descriptors(faces[:2])


@needs_models
def test_of_several_faces_the_one_counts_of_which_the_detector_is_most_certain(faces):
    by_dlib = ByDlib()
    one, other = faces[8], faces[12]
    for pair in ((one, other), (other, one)):
        image = np.concatenate(pair, axis=1)
        boxes, certain, _ = by_dlib.detect.run(colour(image), 1, 0)
        assert len(boxes) == 2
        box = boxes[int(np.argmax(certain))]
        assert (box.center().x < 64) == (pair[0] is other)  # the same person on either side
        landmarks = by_dlib.predict(colour(image), box)
        expected = by_dlib.network.compute_face_descriptor(colour(image), landmarks)
        assert_dlibs(face_descriptors(image[None]).values, [expected])


@needs_models
def test_found_is_what_the_detector_finds(faces, described):
    assert described.found.tolist() == detected(faces).tolist()
    assert described.values.shape == (described.found.sum(), 128)
    assert 30 <= described.found.sum() < 40  # so that both cases are there


@needs_models
def test_descriptors_of_colour_faces_and_of_several_processes_keep_their_order(faces, described):
    tint = (faces[:5] * np.array([1.0, 0.8, 0.65])).astype(np.uint8)
    tint[1] = 0
    by_dlib = ByDlib()
    expected = [by_dlib(np.ascontiguousarray(face)) for face in tint]
    found = [row is not None for row in expected]
    assert not found[1] and sum(found) >= 3
    several = face_descriptors(tint.astype(np.float32) / 127.5 - 1, processes=2)
    assert several.found.tolist() == found
    assert_dlibs(several.values, [row for row in expected if row is not None])


@needs_models
def test_pictures_without_a_face_give_no_descriptors():
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    descriptors = face_descriptors(noise)
    assert descriptors.found.tolist() == [False] * 3
    assert descriptors.values.shape == (0, 128)


@pytest.fixture
def face_recognition(monkeypatch):
    """The project itself, with its models found as we find them, since it imports a package that
    needs pkg_resources."""
    if not PACKAGE:
        pytest.skip("needs the extra identity")
    models = ModuleType("face_recognition_models")
    for function, name in {
        "pose_predictor_model_location": "shape_predictor_68_face_landmarks.dat",
        "pose_predictor_five_point_model_location": "shape_predictor_5_face_landmarks.dat",
        "cnn_face_detector_model_location": "mmod_human_face_detector.dat",
        "face_recognition_model_location": "dlib_face_recognition_resnet_model_v1.dat",
    }.items():
        setattr(models, function, lambda name=name: str(MODELS / name))
    models.__spec__ = PACKAGE
    monkeypatch.setitem(sys.modules, "face_recognition_models", models)
    return pytest.importorskip("face_recognition")


@pytest.mark.parametrize("size", [64, 128])
def test_detection_is_the_face_recognition_projects(face_recognition, faces, large_faces, size):
    images = faces if size == 64 else large_faces
    counts = [len(face_recognition.face_locations(colour(image), 1, "hog")) for image in images]
    assert len(counts) == 40
    assert detected(images).tolist() == [count > 0 for count in counts]


def test_descriptors_are_the_face_recognition_projects(
    face_recognition, faces, described, large_faces
):
    encodings = [face_recognition.face_encodings(colour(image)) for image in faces[:12]]
    assert described.found[:12].tolist() == [len(rows) > 0 for rows in encodings]
    expected = [rows[0] for rows in encodings if rows]
    assert_dlibs(described.values[: len(expected)], expected)
    large = face_descriptors(large_faces[:3])
    expected = [face_recognition.face_encodings(colour(image))[0] for image in large_faces[:3]]
    assert_dlibs(large.values, expected)


def test_identified_is_what_compare_faces_decides(face_recognition, described):
    training, samples = described.values[::2], described.values[1::2]
    for tolerance in (0.2, 0.3, 0.6):
        counts = identification(
            Descriptors(np.ones(len(samples), bool), samples),
            Descriptors(np.ones(len(training), bool), training),
            tolerance,
        )
        matches = [any(face_recognition.compare_faces(training, s, tolerance)) for s in samples]
        assert counts == (0, len(samples) - sum(matches), sum(matches))


# ---------------------------------------------------------------------------------------------
# People


@pytest.fixture(scope="session")
def people(described) -> np.ndarray:
    """Who is on each picture in which a face was found."""
    return np.repeat(np.arange(PEOPLE), PHOTOGRAPHS)[described.found]


@needs_models
def test_photographs_of_one_person_are_nearer_than_of_two(described, people):
    distances = np.linalg.norm(described.values[:, None] - described.values, axis=-1)
    same = people[:, None] == people
    others = ~np.eye(len(people), dtype=bool)
    assert (distances[same] <= 0.6).mean() > 0.95
    assert (distances[~same] > 0.6).mean() > 0.95
    assert np.median(distances[same & others]) < np.quantile(distances[~same], 0.001)


@needs_models
def test_every_person_is_recognised_by_another_photograph(faces, described, people):
    first = np.zeros(len(faces), bool)
    first[::PHOTOGRAPHS] = True
    place = np.cumsum(described.found) - 1

    def part(chosen):
        found = described.found & chosen
        return Descriptors(described.found[chosen], described.values[place[found]])

    training, samples = part(first), part(~first)
    counts = identification(samples, training)
    assert sum(counts) == 30
    assert counts.undetected == 30 - samples.found.sum()
    nearest = nearest_training(samples, training)
    who = nearest.samples // (PHOTOGRAPHS - 1)  # three samples a person
    known = training.found[who]  # the detector may have missed the one to know them by
    assert known.sum() > 15
    assert (nearest.training == who)[known].mean() > 0.9
    assert (nearest.distances[known] <= 0.6).mean() > 0.9
    assert counts.identified >= 0.9 * known.sum()


@needs_models
def test_a_picture_repeated_with_a_little_noise_is_a_near_duplicate(faces, described):
    # Of different photographs few are, of repeated ones most.
    assert near_duplicates(described) < 0.2
    noise = np.random.default_rng(0).normal(0, 1, (6, 64, 64, 1))
    chosen = np.flatnonzero(described.found)[::5][:6]
    repeated = np.clip(np.round(faces[chosen] + noise), 0, 255).astype(np.uint8)
    more = face_descriptors(repeated)
    both = Descriptors(
        np.concatenate([described.found[chosen], more.found]),
        np.concatenate([described.values[::5][:6], more.values]),
    )
    assert more.found.all()
    assert near_duplicates(both) > 0.8
    assert near_duplicates(more) == 0  # six different people


# ---------------------------------------------------------------------------------------------
# Table 1, duplicates, nearest: worked by hand on made-up descriptors


def test_identification_counts_each_case():
    samples = made(None, 0.0, 0.59, 0.61, None, 5.0, 9.5)
    training = made(None, 0.0, 10.0)
    assert identification(samples, training) == (2, 2, 3)
    assert identification(samples, training, tolerance=0) == (2, 4, 1)
    assert identification(samples, training)._asdict().keys() == identity.COLUMNS.keys()


def test_table_1_calls_its_columns_as_zhang_et_al_do():
    assert list(identity.COLUMNS.values())[:2] == [
        "Can't detect face",
        "Can detect faces but can't identify who",
    ]


def test_samples_without_any_face_are_all_undetected():
    assert identification(made(None, None), made(0.0)) == (2, 0, 0)


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ((0.0, 0.0, 5.0, 7.0), 0.5),
        ((0.0, 0.1, 0.2, 7.0), 0.75),
        ((0.0, 0.13, 0.26), 0),
        ((0.0, None, 0.0, None), 1),  # of those with a face
        ((3.0, 3.0, 3.0), 1),
    ],
)
def test_near_duplicates_by_hand(rows, share):
    assert near_duplicates(made(*rows)) == share


def test_nearest_training_gives_positions_among_all_pictures():
    nearest = nearest_training(made(None, 4.0, 0.5, None), made(0.0, None, 5.0, None))
    assert nearest.samples.tolist() == [1, 2]
    assert nearest.training.tolist() == [2, 0]
    np.testing.assert_allclose(nearest.distances, [1.0, 0.5])


VALUES = arrays.arrays(np.float64, (6, 128), elements=st.floats(-0.25, 0.25, width=16))


@settings(max_examples=40, deadline=None)
@given(VALUES, VALUES, st.lists(st.booleans(), min_size=6, max_size=6), st.floats(0, 4))
def test_counts_add_up_and_nothing_is_nearer_than_nearest(values, others, found, tolerance):
    found = np.array(found)
    samples = Descriptors(found, values[: found.sum()])
    training = Descriptors(np.ones(6, bool), others)
    counts = identification(samples, training, tolerance)
    assert sum(counts) == 6
    distances = [[float(np.sqrt(((v - o) ** 2).sum())) for o in others] for v in samples.values]
    near = [min(row) for row in distances]
    # As near to the tolerance as rounding reaches, either is right.
    low, high = (sum(d <= tolerance + shift for d in near) for shift in (-1e-12, 1e-12))
    assert low <= counts.identified <= high
    if found.any():
        nearest = nearest_training(samples, training)
        np.testing.assert_allclose(nearest.distances, near, atol=1e-12)
        assert nearest.samples.tolist() == np.flatnonzero(found).tolist()
    assert identification(samples, training, tolerance + 1).identified >= counts.identified


def test_nearest_is_the_same_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    values, others = rng.normal(size=(23, 128)), rng.normal(size=(11, 128))
    whole = identity._nearest(values, others)
    itself = identity._nearest(values, values, but_itself=True)
    distances = np.linalg.norm(values[:, None] - values, axis=-1) + np.diag([np.inf] * 23)
    assert itself[0].tolist() == distances.argmin(axis=1).tolist()
    monkeypatch.setattr(identity, "CHUNK", 40)
    for parts, expected in (
        (identity._nearest(values, others), whole),
        (identity._nearest(values, values, but_itself=True), itself),
    ):
        np.testing.assert_array_equal(parts[0], expected[0])
        np.testing.assert_array_equal(parts[1], expected[1])


# ---------------------------------------------------------------------------------------------
# The picture


def shades(*levels: float) -> np.ndarray:
    return np.stack([np.full((4, 4, 1), level, np.uint8) for level in levels])


def test_the_picture_shows_samples_over_their_nearest_closest_first():
    nearest = NearestTraining(np.array([0, 2]), np.array([1, 0]), np.array([0.5, 0.2]))
    picture = np.asarray(pairs_picture(shades(10, 20, 30), shades(110, 120), nearest=nearest))
    assert picture.shape == (2 * 6 + 2, 2 * 6 + 2)  # two pixels between faces
    assert [[picture[row, column] for column in (4, 10)] for row in (4, 10)] == [
        [30, 10],
        [110, 120],
    ]
    one = pairs_picture(shades(10, 20, 30), shades(110, 120), count=1, nearest=nearest)
    assert one.size == (8, 14)


@needs_models
def test_the_picture_of_faces_pairs_each_with_itself(faces, described):
    chosen = faces[described.found][:3]
    picture = np.asarray(pairs_picture(chosen, chosen))
    np.testing.assert_array_equal(picture[2:66], picture[68:132])
    assert picture.shape == (134, 200)


# ---------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: identification(made(0.0), made(None, None)), "No face .*2 training faces"),
        (lambda: nearest_training(made(None), made(0.0)), "No face .*1 samples"),
        (lambda: nearest_training(made(0.0), made(None)), "No face .*1 training faces"),
        (lambda: near_duplicates(made(0.0, None)), "two samples or more.*Found: 1 of 2"),
        (lambda: near_duplicates(made(0.0, 1.0), -0.1), r"tolerance.*-0\.1"),
        (lambda: identification(made(0.0), made(0.0), np.nan), "tolerance.*nan"),
        (lambda: identification(made(0.0).values, made(0.0)), "face_descriptors.*ndarray"),
        (
            lambda: near_duplicates(Descriptors(np.ones(3, bool), np.zeros((2, 128)))),
            r"3 found, descriptors of \(2, 128\)",
        ),
        (
            lambda: near_duplicates(Descriptors(np.ones(2, bool), np.full((2, 128), np.nan))),
            "not finite",
        ),
        (
            lambda: pairs_picture(np.zeros((2, 8, 8, 1)), np.zeros((2, 16, 16, 1))),
            r"\(8, 8, 1\).*\(16, 16, 1\)",
        ),
        (
            lambda: pairs_picture(
                shades(1, 2),
                shades(1),
                nearest=NearestTraining(np.array([1]), np.array([3]), np.zeros(1)),
            ),
            "2 samples and 1 training",
        ),
        (lambda: pairs_picture(shades(1), shades(1), count=0), "count.*0"),
        (lambda: face_descriptors(np.full((1, 8, 8, 1), np.nan)), "not finite"),
        (lambda: face_descriptors(np.zeros((8, 8, 1))), r"shape .*\(8, 8, 1\)"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(call, message):
    with pytest.raises(kf.UserError, match=message):
        call()


@needs_models
def test_a_picture_of_pairs_without_any_face_is_refused():
    with pytest.raises(kf.UserError, match="No face"):
        pairs_picture(shades(1, 2), shades(1, 2))


@pytest.mark.parametrize("processes", [1, 2])
def test_without_dlib_or_its_models_it_says_what_to_install(monkeypatch, processes):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(kf.UserError, match="pip install dlib-bin"):
            face_descriptors(shades(1, 2), processes)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "face_recognition_models" else real(name, *more),
    )
    with pytest.raises(kf.UserError, match=r"pip install 'keras-faces\[identity\]'"):
        face_descriptors(shades(1, 2), processes)


@needs_models
@pytest.mark.parametrize("content", ["nothing", "half", "another model", "another network", "NaN"])
def test_a_damaged_model_is_named(monkeypatch, tmp_path, content):
    source = MODELS / identity.DESCRIPTOR_NET
    data = {
        "nothing": lambda: b"",
        "half": lambda: source.read_bytes()[: source.stat().st_size // 2],
        "another model": lambda: (MODELS / identity.FIVE_POINTS).read_bytes(),
        "another network": lambda: (MODELS / "mmod_human_face_detector.dat").read_bytes(),
        "NaN": lambda: source.read_bytes()[:4096] + b"\xff" * 4096 + source.read_bytes()[8192:],
    }[content]()
    damaged = tmp_path / source.name
    damaged.write_bytes(data)
    real = identity.model_file
    monkeypatch.setattr(
        identity, "model_file", lambda name: damaged if name == source.name else real(name)
    )
    with pytest.raises(kf.UserError, match=f"{source.name} is damaged.*--force-reinstall"):
        face_descriptors(shades(1, 2), 2)


@pytest.mark.parametrize("processes", [0, -1])
@needs_models
def test_a_number_of_processes_below_one_is_refused(processes):
    with pytest.raises(kf.UserError, match=f"processes.*{processes}"):
        face_descriptors(shades(1, 2), processes)
