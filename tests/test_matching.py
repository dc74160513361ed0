"""Matching translated pictures to people: ranks against brute force, whom is looked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.metrics.matching import normalised_pixels, probes_of, rank_k, ranks_of
from keras_faces.metrics.tables import format_matches
from keras_faces.pencil import sketches_of


@pytest.fixture(scope="module")
def faces():
    return kf.data.open_faces("orl", 32, 8, "test", test_fraction=0.2, progress=False)


class Translator:
    """Turns photos into sketches by the filter itself, or as it is told."""

    translates_to = ("sketch",)

    def __init__(self, translate=sketches_of):
        self._translate = translate

    def translate(self, pictures, to):
        assert to == "sketch"
        return self._translate(pictures)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_a_rank_is_how_many_are_as_near_as_the_right_person(people, count, seed):
    rng = np.random.default_rng(seed)
    gallery = rng.integers(0, 3, (people, 2)).astype(float)  # so that ties are frequent
    probes = rng.integers(0, 3, (count, 2)).astype(float)
    right = rng.integers(0, people, count)
    missing = rng.random(count) < 0.2
    probes[missing] = np.nan
    found = ranks_of(probes, gallery, right)
    for probe, person, rank in zip(probes, right, found, strict=True):
        if np.isnan(probe).any():
            assert rank == np.inf
            continue
        distances = [np.hypot(*(probe - one)) for one in gallery]
        assert rank == sum(distance <= distances[person] for distance in distances)


def test_a_person_without_a_face_in_the_gallery_is_not_matched():
    gallery = np.array([[0.0, 0.0], [np.nan, np.nan]])
    assert ranks_of(np.zeros((2, 2)), gallery, np.array([0, 1])).tolist() == [1, np.inf]


def test_who_guesses_is_right_as_often_as_chance_says():
    rng = np.random.default_rng(0)
    probes, gallery = rng.normal(size=(4000, 8)), rng.normal(size=(20, 8))
    people = rng.integers(0, 20, 4000)
    ranks = ranks_of(probes, gallery, people)
    for k in (1, 5):
        value, std = rank_k(ranks, people, k)
        assert value == pytest.approx(k / 20, abs=4 * std)


def test_the_error_is_over_people_whose_pictures_are_not_independent():
    ranks, people = np.array([1.0, 1, 1, 9, 9, 9]), np.array([0, 0, 0, 1, 1, 1])
    assert rank_k(ranks, people, 1) == (0.5, pytest.approx(np.sqrt(2 * 1.5**2) / 6))


def test_the_gallery_has_one_picture_of_each_person_and_probes_are_others(faces):
    chosen = probes_of(faces, 1000, 0)
    identities = np.array(faces.cache.identities)
    assert len(chosen.gallery) == len(set(identities[chosen.gallery])) == 8
    assert not set(chosen.gallery) & set(chosen.pictures)
    assert len(chosen.pictures) == 72
    assert (identities[chosen.pictures] == identities[chosen.gallery[chosen.people]]).all()
    assert chosen.known == "identities"
    few = probes_of(faces, 5, 0)
    assert len(few.gallery) == len(few.pictures) == 5


def test_where_people_are_not_known_each_photo_is_one(faces, picture_folder):
    rng = np.random.default_rng(0)
    path = picture_folder({f"{n}.png": rng.integers(0, 256, (32, 32), "uint8") for n in range(6)})
    stream = kf.data.open_faces(path, 32, 2, "all", progress=False)
    result = kf.metrics.score_matches(Translator(), stream, quick=True)
    assert result["protocol"]["people"] == result["protocol"]["probes"] == 6
    assert result["protocol"]["of"] == "the same pictures"
    assert "each taken for a person" in result["protocol"]["known by"]
    assert "same" not in result["rows"]  # which would be found always
    assert result["rows"]["sketch"]["rank_1_pixels"]["value"] == 1.0


def test_a_perfect_bridge_finds_more_than_one_that_makes_noise(faces):
    rng = np.random.default_rng(0)
    noise = Translator(lambda pictures: rng.uniform(-1, 1, pictures.shape).astype("float32"))
    rows = {}
    for name, model in (("filter", Translator()), ("noise", noise)):
        result = kf.metrics.score_matches(model, faces, quick=True)
        rows[name] = result["rows"]["sketch"]
        assert result["chance"] == {"rank_1_pixels": 1 / 8, "rank_5_pixels": 5 / 8}
    for score in ("rank_1_pixels", "rank_5_pixels"):
        better, worse = rows["filter"][score], rows["noise"][score]
        assert better["value"] > worse["value"] + 2 * np.hypot(better["std"], worse["std"])
    assert "8 people" in format_matches(result)


def test_pixels_are_compared_without_their_light_and_contrast():
    picture = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3))
    first, second = normalised_pixels(picture), normalised_pixels(0.3 * picture - 0.4)
    assert first.shape == (2, 32 * 32)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.isfinite(normalised_pixels(np.zeros((1, 32, 32, 1)))).all()


def test_what_cannot_be_matched_is_refused_or_left_out(faces):
    class Other:
        translates_to = ()

    assert kf.metrics.score_matches(Other(), faces) is None
    with pytest.raises(kf.UserError, match="two people or more"):
        one = kf.data.open_faces("orl", 32, 8, "test", test_fraction=0.01, progress=False)
        kf.metrics.score_matches(Translator(), one, quick=True)
    with pytest.raises(kf.UserError, match="count"):
        kf.metrics.score_matches(Translator(), faces, count=1)


def test_an_evaluation_tells_of_matches_and_under_which_protocol(faces):
    model = kf.create_model(
        "vaegan",
        image_size=32,
        channels=1,
        filters=2,
        hidden_units=4,
        latent_dim=2,
        target="sketch",
    )
    found = kf.metrics.evaluate(model, faces, 20, scores=["laplacian_variance"])
    assert found.result["matches"]["rows"].keys() == {"none", "sketch", "same"}
    assert "photos turned into sketches: rank-1 (pixels)" in found.table()
    assert "Protocol of matching: source orl" in found.protocol()
    assert "Sketches made of 20 photos" in found.table()
