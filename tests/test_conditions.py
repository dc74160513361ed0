"""Whether conditions are obeyed: the classifier on data whose answer is known, and the figure."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import keras_faces as kf
from keras_faces.metrics import condition_accuracy
from keras_faces.metrics.classifier import (
    accuracy_error,
    balanced_accuracy,
    cross_seen,
    face_features,
    fit_probe,
)
from keras_faces.metrics.tables import format_condition_accuracy
from keras_faces.pictures import plot_condition_accuracy

SIZE = 16


def clusters(people=5, each=30, width=40, spread=0.05, seed=0):
    """Features around one point for each person, and who it is."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, width))
    numbers = np.repeat(np.arange(people), each)
    return centres[numbers] + spread * rng.normal(size=(len(numbers), width)), numbers


def parts_of(count, parts=5):
    return np.arange(count) % parts


# ---------------------------------------------------------------------------------------------
# The classifier


def test_people_that_lie_apart_are_all_recognised():
    features, numbers = clusters()
    probe = fit_probe(features[::2], numbers[::2])
    seen = probe.sees(features[1::2])
    assert seen.dtype == numbers.dtype
    assert seen.tolist() == numbers[1::2].tolist()


def test_people_keep_their_own_numbers():
    features, numbers = clusters()
    numbers = np.array([7, 300, 2, 41, 9], np.int32)[numbers]
    assert fit_probe(features[::2], numbers[::2]).sees(features).tolist() == numbers.tolist()


@pytest.mark.parametrize("rare", [3, 15, 75])
def test_attributes_that_lie_apart_are_all_seen_however_rare(rare):
    rng = np.random.default_rng(0)
    labels = np.zeros((150, 2), np.float32)
    labels[:rare, 0] = 1
    labels[::2, 1] = 1
    features = 0.1 * rng.normal(size=(150, 30))
    features[:, 3] += 2 * labels[:, 0]
    features[:, 8] -= 2 * labels[:, 1]
    seen = fit_probe(features[::3], labels[::3]).sees(features)
    assert (seen.shape, seen.dtype) == ((150, 2), np.float32)
    assert balanced_accuracy(labels, seen).tolist() == [1.0, 1.0]


def test_random_labels_are_seen_about_as_often_as_by_chance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 30))
    attributes = (rng.random((2000, 3)) < [0.5, 0.2, 0.05]).astype(np.float32)
    seen, _ = cross_seen(features, attributes, parts_of(2000))
    assert balanced_accuracy(attributes, seen) == pytest.approx([0.5] * 3, abs=0.07)
    people = rng.integers(0, 10, 2000)
    seen, _ = cross_seen(features, people, parts_of(2000))
    assert (seen == people).mean() == pytest.approx(0.1, abs=0.03)


def test_what_is_seen_is_not_changed_by_moving_or_scaling_all_features():
    features, numbers = clusters(spread=1.5)
    attributes = np.stack([numbers < 2, numbers % 2 == 0], axis=1).astype(np.float32)
    for labels in (numbers, attributes):
        seen = fit_probe(features, labels).sees(features)
        moved = fit_probe(7 * features + 30, labels).sees(7 * features + 30)
        assert np.array_equal(seen, moved)


def test_more_features_than_faces_are_classified_alike_to_the_same_features_padded():
    # With 40 features and 150 faces one way of computing is taken, with 400 features the other.
    features, numbers = clusters(spread=1.5)
    padded = np.concatenate([features, np.zeros((len(features), 360))], axis=1)
    assert np.array_equal(
        fit_probe(features, numbers).sees(features), fit_probe(padded, numbers).sees(padded)
    )


def test_the_classifier_is_ridge_regression_worked_another_way():
    # Few features: all are components, and the regression is that of the textbook.
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4)) * [1, 2, 3, 4]
    labels = (features @ [1.0, -1.0, 0.5, 0.2] + rng.normal(size=60) > 0.7).astype(float)
    centred = features - features.mean(axis=0)
    covariance = centred.T @ centred / 60
    ridge = 0.3 * np.trace(covariance) / 4 * np.eye(4)
    weights = np.linalg.solve(covariance + ridge, centred.T @ (labels - labels.mean()) / 60)
    scores = centred @ weights
    middle = (scores[labels == 1].mean() + scores[labels == 0].mean()) / 2
    probe = fit_probe(features, labels[:, None])
    np.testing.assert_allclose(probe.weights[:, 0], weights, rtol=1e-9)
    np.testing.assert_allclose(probe.offsets, [-middle], rtol=1e-9)


def test_an_attribute_that_never_varies_is_seen_as_it_always_was():
    features, _ = clusters()
    labels = np.zeros((len(features), 3), np.float32)
    labels[:, 1] = 1
    labels[::2, 2] = 1
    seen = fit_probe(features, labels).sees(features)
    assert seen[:, 0].tolist() == [0] * len(features)
    assert seen[:, 1].tolist() == [1] * len(features)


def test_faces_that_are_all_alike_are_classified_without_an_error():
    features = np.ones((6, 5))
    assert fit_probe(features, np.arange(6) % 2).sees(features).shape == (6,)
    assert fit_probe(features, np.eye(6, dtype=np.float32)).sees(features).shape == (6, 6)


@pytest.mark.parametrize(("faces", "labels"), [(1, 1), (0, 0), (4, 3)])
def test_too_few_faces_or_labels_for_a_classifier_are_refused(faces, labels):
    with pytest.raises(kf.UserError, match=f"two faces or more.*{faces} faces, {labels} labels"):
        fit_probe(np.zeros((faces, 3)), np.zeros(labels, np.int32))


def test_no_face_is_judged_by_a_classifier_that_has_seen_its_part():
    # Each part has a feature of its own, which tells the label only to those who have seen it.
    rng = np.random.default_rng(0)
    parts = parts_of(200)
    labels = rng.integers(0, 2, (200, 1)).astype(np.float32)
    features = 0.01 * rng.normal(size=(200, 5))
    features[np.arange(200), parts] = 2 * labels[:, 0] - 1
    seen, in_others = cross_seen(features, labels, parts, features)
    assert balanced_accuracy(labels, seen)[0] == pytest.approx(0.5, abs=0.15)
    assert len(in_others) == 5
    for part, others in enumerate(in_others):
        known = parts != part
        assert balanced_accuracy(labels[known], others[known])[0] == 1


def test_balanced_accuracy_worked_by_hand():
    # Of two with it one is seen, of four without it three are: (1/2 + 3/4) / 2.
    asked = np.array([[1], [1], [0], [0], [0], [0]])
    seen = np.array([[1], [0], [0], [0], [0], [1]])
    assert balanced_accuracy(asked, seen).tolist() == [0.625]
    assert np.isnan(balanced_accuracy(asked[:2], seen[:2])).all()


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.int8, (12, 3), elements=st.integers(0, 1)), st.integers(0, 2**32))
def test_right_wrong_and_guessing_have_their_balanced_accuracy_whatever_was_asked(asked, seed):
    asked[:2] = [[0] * 3, [1] * 3]  # both are asked for
    assert balanced_accuracy(asked, asked).tolist() == [1.0] * 3
    assert balanced_accuracy(asked, 1 - asked).tolist() == [0.0] * 3
    assert balanced_accuracy(asked, np.ones_like(asked)).tolist() == [0.5] * 3
    any_seen = np.random.default_rng(seed).integers(0, 2, asked.shape)
    once = balanced_accuracy(asked, any_seen)
    twice = balanced_accuracy(np.concatenate([asked] * 2), np.concatenate([any_seen] * 2))
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_the_error_of_an_accuracy_is_binomial():
    people, seen = np.zeros(40, int), (np.arange(40) < 30).astype(int)
    expected = (0.75 * 0.25 / 40) ** 0.5
    assert accuracy_error(people, [1 - seen]) == pytest.approx(expected, rel=1e-12)
    # Classifiers that agree are no more faces, and faces drawn by fours are fewer.
    assert accuracy_error(people, [1 - seen] * 5) == pytest.approx(expected, rel=1e-12)
    four_times = (np.repeat(array, 4) for array in (people, 1 - seen, np.arange(40)))
    given, right, units = four_times
    assert accuracy_error(given, [right], units) == pytest.approx(expected, rel=1e-12)
    assert accuracy_error(given, [right]) == pytest.approx(expected / 2, rel=1e-12)


def test_the_error_of_a_balanced_accuracy_worked_by_hand():
    # The balanced accuracy of the test above: half of each rate, and each has its binomial error.
    asked = np.array([[1], [1], [0], [0], [0], [0]], np.float32)
    seen = np.array([[1], [0], [0], [0], [0], [1]], np.float32)
    expected = 0.5 * (0.5 * 0.5 / 2 + 0.75 * 0.25 / 4) ** 0.5
    assert accuracy_error(asked, [seen]) == pytest.approx(expected, rel=1e-12)
    # Twice the same attribute tells no more than once.
    assert accuracy_error(*(np.tile(a, 2) for a in (asked, [seen]))) == pytest.approx(expected)


@pytest.mark.parametrize("together", [1, 8], ids=["faces one by one", "people with eight faces"])
def test_the_error_of_a_balanced_accuracy_is_that_of_the_bootstrap(together):
    rng = np.random.default_rng(0)
    people = 480 // together
    asked = (rng.random((480, 3)) < [0.5, 0.2, 0.4]).astype(np.float32)
    easy = np.repeat(rng.random((people, 1)), together, axis=0)
    seen = [np.where(rng.random((480, 3)) < easy, asked, 1 - asked) for _ in range(3)]

    def drawn() -> float:
        units = rng.integers(people, size=people)
        faces = (units[:, None] * together + np.arange(together)).ravel()
        return np.mean([balanced_accuracy(asked[faces], row[faces]).mean() for row in seen])

    found = accuracy_error(asked, seen, np.arange(480) // together)
    assert found == pytest.approx(np.std([drawn() for _ in range(1000)]), rel=0.1)


# ---------------------------------------------------------------------------------------------
# What it looks at


def stripes(angle: float, size: int = 32) -> np.ndarray:
    down, across = np.indices((size, size))
    phase = 0.6 * (np.cos(angle) * across + np.sin(angle) * down)
    return np.sin(phase).astype(np.float32)[None, ..., None]


@pytest.mark.parametrize("size", [4, 7, 16, 32, 50, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_finite_for_every_size_even_of_a_blank_picture(size, channels):
    faces = np.zeros((3, size, size, channels), np.float32)
    faces[1] = np.random.default_rng(0).uniform(-1, 1, faces.shape[1:])
    features = face_features(faces)
    assert len(features) == 3
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert not features[0].any()


def test_features_tell_directions_apart_and_not_dark_from_light():
    level, upright, slanted = (face_features(stripes(a)) for a in (np.pi / 2, 0, np.pi / 4))
    negative = face_features(-stripes(0))
    gradients = slice(0, -64)  # then come the mean colours of 64 cells
    distance = np.abs(upright[:, gradients] - negative[:, gradients]).max()
    assert distance < 1e-5
    for other in (level, slanted):
        assert np.abs(upright[:, gradients] - other[:, gradients]).max() > 0.1


def test_features_of_gradients_hardly_depend_on_contrast():
    face = stripes(0.3)
    strong, weak = face_features(face), face_features(0.3 * face + 0.2)
    assert np.abs(strong[:, :-64] - weak[:, :-64]).max() < 0.02
    assert np.abs(strong[:, -64:] - weak[:, -64:]).max() > 0.05


def test_features_of_many_faces_are_those_of_each():
    faces = np.random.default_rng(0).uniform(-1, 1, (130, 16, 16, 3)).astype(np.float32)
    all_at_once = face_features(faces)
    for number in (0, 63, 64, 129):
        one = face_features(faces[number : number + 1])
        np.testing.assert_allclose(all_at_once[number], one[0], rtol=1e-6)


def test_features_of_what_are_no_faces_are_refused():
    with pytest.raises(kf.UserError, match="not finite"):
        face_features(np.full((2, 8, 8, 1), np.nan))


# ---------------------------------------------------------------------------------------------
# The figure, on faces made by hand


def drawn_face(values, person: int, rng) -> np.ndarray:
    """A picture with a bright bar for each attribute that holds, on somebody's own pattern."""
    own = np.random.default_rng(person).integers(90, 130, (SIZE, SIZE))
    face = own + rng.integers(-5, 6, (SIZE, SIZE))
    for number, value in enumerate(values):
        if value:
            face[4 * number + 1 : 4 * number + 3, 3:-3] = 220
    return face.astype(np.uint8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twelve people with ten pictures each, and attributes that anybody could see."""
    folder = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(5)
    lines = ["file,bar,second,never"]
    for person in range(12):
        (folder / f"p{person}").mkdir()
        for number in range(10):
            values = (*rng.integers(0, 2, 2), 0)
            name = f"p{person}/{number}.png"
            Image.fromarray(drawn_face(values, person, rng)).save(folder / name)
            lines.append(",".join(map(str, (name, *values))))
    (folder / "attributes.csv").write_text("\n".join(lines))
    return folder


def open_labelled(source, labels, image_size=SIZE, **given):
    return kf.data.open_faces(
        source, image_size, batch_size=4, labels=labels, progress=False, **given
    )


class Stand:
    """Stands in for a conditional model: its faces are real ones that it chooses by conditions."""

    conditional = True
    default_sampler = "prior"

    def __init__(self, stream, choose):
        self.stream, self.choose = stream, choose
        self.condition_names = list(stream.label_names)
        self.asked = None

    def generate(self, count, seed, sampler, conditions):
        assert len(conditions) == count
        self.asked = np.array(conditions)
        known = self.stream.labels_at(self.stream.indices)
        if known.ndim == 1:
            known = np.eye(len(self.condition_names))[known]
        rng = np.random.default_rng(seed)
        wanted = self.choose(self.asked, known, rng)
        distance = np.abs(wanted[:, None] - known[None]).sum(axis=2)
        distance += 0.1 * rng.random(distance.shape)  # any of those that fit
        nearest = self.stream.indices[distance.argmin(axis=1)]
        return kf.data.to_float(self.stream.cache.read(nearest))


def obeying(stream):
    return Stand(stream, lambda asked, known, rng: asked)


def ignoring(stream):
    return Stand(stream, lambda asked, known, rng: known[rng.integers(len(known), size=len(asked))])


def inverting(stream):
    return Stand(stream, lambda asked, known, rng: 1 - asked)


def somebody_else(stream):
    return Stand(stream, lambda asked, known, rng: np.roll(asked, 1, axis=1))


def test_attributes_obeyed_ignored_and_inverted_are_told_apart(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    found = {
        make.__name__: condition_accuracy(make(stream), stream, 300)
        for make in (obeying, ignoring, inverting)
    }
    for result in found.values():
        assert result["chance"] == 0.5
        assert result["real"] == pytest.approx(1, abs=0.02)
        assert list(result["conditions"]) == ["bar", "second"]
    assert found["obeying"]["generated"] == pytest.approx(1, abs=0.02)
    assert found["ignoring"]["generated"] == pytest.approx(0.5, abs=0.1)
    assert found["inverting"]["generated"] == pytest.approx(0, abs=0.02)


def test_people_obeyed_ignored_and_confused_are_told_apart(drawn):
    stream = open_labelled(drawn, "identity", split="all")
    found = {
        make.__name__: condition_accuracy(make(stream), stream, 300)
        for make in (obeying, ignoring, somebody_else)
    }
    for result in found.values():
        assert result["chance"] == pytest.approx(1 / 12)
        assert result["real"] == pytest.approx(1, abs=0.03)
        assert list(result["conditions"]) == stream.label_names
    assert found["obeying"]["generated"] == pytest.approx(1, abs=0.03)
    assert found["ignoring"]["generated"] == pytest.approx(1 / 12, abs=0.06)
    assert found["somebody_else"]["generated"] == pytest.approx(0, abs=0.03)


def test_one_condition_that_is_obeyed_and_one_that_is_not_each_have_their_own_value(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    model = Stand(
        stream,
        lambda asked, known, rng: np.stack(
            [asked[:, 0], rng.integers(0, 2, len(asked)), asked[:, 2]], axis=1
        ),
    )
    result = condition_accuracy(model, stream, 300)
    values = {name: row["generated"] for name, row in result["conditions"].items()}
    assert values["bar"] == pytest.approx(1, abs=0.02)
    assert values["second"] == pytest.approx(0.5, abs=0.1)
    assert result["generated"] == pytest.approx(sum(values.values()) / 2)


@pytest.mark.parametrize("labels", ["attributes", "identity"])
def test_the_same_call_gives_the_same_figure_and_another_seed_another_draw(drawn, labels):
    stream = open_labelled(drawn, labels)
    models = [ignoring(stream) for _ in range(3)]
    results = [
        condition_accuracy(model, stream, 50, seed=seed)
        for model, seed in zip(models, (3, 3, 4), strict=True)
    ]
    assert results[0] == results[1]
    assert np.array_equal(models[0].asked, models[1].asked)
    assert not np.array_equal(models[0].asked, models[2].asked)


@pytest.mark.parametrize("labels", ["attributes", "identity"])
def test_only_conditions_of_faces_in_use_are_asked_for(drawn, labels):
    stream = open_labelled(drawn, labels, split="train", test_fraction=0.5)
    model = obeying(stream)
    condition_accuracy(model, stream, 200)
    known = stream.labels_at(stream.indices)
    if labels == "identity":
        known = np.eye(12)[known]
    assert {tuple(row) for row in model.asked} <= {tuple(row) for row in known}


def test_only_faces_in_use_are_looked_at(drawn, monkeypatch):
    for labels in ("attributes", "identity"):
        stream = open_labelled(drawn, labels, split="train", test_fraction=0.5)
        read = []
        reading = stream.cache.read

        def recorded(indices, reading=reading, read=read):
            read.extend(map(int, indices))
            return reading(indices)

        model = obeying(stream)
        with monkeypatch.context() as patch:
            patch.setattr(stream.cache, "read", recorded)
            condition_accuracy(model, stream, 20)
        assert set(read) == set(stream.indices.tolist())


def test_the_protocol_says_what_was_measured_and_all_of_it_can_be_written_as_json(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    result = condition_accuracy(obeying(stream), stream, 40, seed=2)
    assert json.loads(json.dumps(result)) == result
    assert all(0 <= result[f"{row}_std"] < 0.05 for row in ("real", "generated"))
    protocol = result["protocol"]
    expected = {
        "score": "balanced accuracy",
        "labels": "attributes",
        "labels_digest": stream.labels_digest,
        "fingerprint": stream.facts["fingerprint"],
        "split": "all",
        "image_size": SIZE,
        "channels": 1,
        "real": 120,
        "held_out": "whole people",
        "generated": 40,
        "seed": 2,
        "sampler": "prior",
    }
    assert {key: protocol[key] for key in expected} == expected
    assert 0 < protocol["training"] < 120
    stream = open_labelled(drawn, "identity", split="all")
    protocol = condition_accuracy(obeying(stream), stream, 40)["protocol"]
    assert protocol["score"] == "accuracy"
    assert protocol["held_out"] == "other pictures of the same people"


def test_whole_people_are_held_out_so_that_recognising_them_does_not_help(tmp_path):
    # Each person has the attribute in all pictures or none, and nothing but the face shows it.
    rng = np.random.default_rng(0)
    lines = ["file,clever"]
    for person in range(20):
        for number in range(8):
            name = f"p{person}-{number}.png"
            (tmp_path / f"p{person}").mkdir(exist_ok=True)
            path = tmp_path / f"p{person}" / name
            Image.fromarray(drawn_face((), person, rng)).save(path)
            lines.append(f"p{person}/{name},{person % 2}")
    (tmp_path / "attributes.csv").write_text("\n".join(lines))
    stream = open_labelled(tmp_path, "attributes", split="all")
    known = condition_accuracy(obeying(stream), stream, 100)
    assert known["real"] < 0.75
    # The same pictures where nobody knows who they are: all in one folder.
    flat = tmp_path.with_name("flat")
    flat.mkdir()
    for path in tmp_path.glob("*/*.png"):
        shutil.copy(path, flat)
    rows = [line.split("/")[-1] for line in lines]
    (flat / "attributes.csv").write_text("\n".join(rows))
    stream = open_labelled(flat, "attributes", split="all")
    unknown = condition_accuracy(obeying(stream), stream, 100)
    assert unknown["protocol"]["held_out"] == "pictures"
    assert unknown["real"] > 0.95


def test_people_with_one_picture_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    for person, pictures in enumerate((5, 5, 1, 2)):
        (tmp_path / f"p{person}").mkdir()
        for number in range(pictures):
            face = drawn_face((), person, rng)
            Image.fromarray(face).save(tmp_path / f"p{person}" / f"{number}.png")
    stream = open_labelled(tmp_path, "identity", split="all")
    model = obeying(stream)
    result = condition_accuracy(model, stream, 60)
    assert list(result["conditions"]) == ["p0", "p1", "p3"]
    assert result["chance"] == pytest.approx(1 / 3)
    assert result["protocol"]["real"] == 12
    assert not model.asked[:, 2].any()


def test_an_attribute_that_never_varies_is_left_out_and_named(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    result = condition_accuracy(obeying(stream), stream, 40)
    line = format_condition_accuracy(result)
    assert result["left_out"] == {"never": "the same in all real faces"}
    assert "never" not in result["conditions"]
    assert line.splitlines()[1].endswith("not be measured: never.")


def test_an_attribute_of_one_person_alone_cannot_be_learnt_from_others(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["file,bar,alone"]
    for person in range(6):
        (tmp_path / f"p{person}").mkdir()
        for number in range(4):
            name, bar = f"p{person}/{number}.png", number % 2
            Image.fromarray(drawn_face((bar,), person, rng)).save(tmp_path / name)
            lines.append(f"{name},{bar},{int(person == 3)}")
    (tmp_path / "attributes.csv").write_text("\n".join(lines))
    stream = open_labelled(tmp_path, "attributes", split="all", people="folders")
    result = condition_accuracy(obeying(stream), stream, 40)
    assert list(result["left_out"]) == ["alone"]
    assert "too few" in result["left_out"]["alone"]


def test_the_line_says_generated_real_and_chance(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    result = condition_accuracy(obeying(stream), stream, 40)
    line = format_condition_accuracy(result)
    assert line.startswith("Conditions: ")
    for value in (result["generated"], result["real"], 0.5):
        assert f"{value:.1%}" in line


# ---------------------------------------------------------------------------------------------
# What cannot be measured


def test_a_model_without_conditions_is_refused(drawn):
    stream = open_labelled(drawn, "attributes", split="all")
    model = kf.create_model("vae", image_size=32, channels=1, filters=2)
    with pytest.raises(kf.UserError, match="VAE takes no conditions"):
        condition_accuracy(model, stream)


def test_faces_without_labels_are_refused_with_what_to_do(drawn):
    model = obeying(open_labelled(drawn, "attributes", split="all"))
    with pytest.raises(kf.UserError, match="labels='attributes' or labels='identity'"):
        condition_accuracy(model, open_labelled(drawn, None, split="all"))


def test_labels_that_are_not_the_models_conditions_are_refused(drawn):
    model = obeying(open_labelled(drawn, "attributes", split="all"))
    with pytest.raises(kf.UserError, match=r"p0, p1, .*bar, second, never"):
        condition_accuracy(model, open_labelled(drawn, "identity", split="all"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"count": 1}, "2 faces or more.*1"), ({"count": 0}, "0"), ({"seed": -1}, "seed.*-1")],
)
def test_arguments_out_of_range_are_refused(drawn, arguments, message):
    stream = open_labelled(drawn, "attributes", split="all")
    with pytest.raises(kf.UserError, match=message):
        condition_accuracy(obeying(stream), stream, **arguments)


def test_conditions_that_cannot_be_measured_are_named_with_the_reason(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(drawn_face((1,), number, rng)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,1" for number in range(6)]
    (tmp_path / "attributes.csv").write_text("\n".join(["file,bar", *rows]))
    stream = open_labelled(tmp_path, "attributes", split="all")
    with pytest.raises(kf.UserError, match="bar: the same in all real faces"):
        condition_accuracy(obeying(stream), stream, 10)


def test_too_few_people_to_hold_pictures_out_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for person in range(4):
        (tmp_path / f"p{person}").mkdir()
        Image.fromarray(drawn_face((), person, rng)).save(tmp_path / f"p{person}" / "0.png")
    stream = open_labelled(tmp_path, "identity", split="all")
    with pytest.raises(kf.UserError, match="two pictures or more of two people or more"):
        condition_accuracy(obeying(stream), stream, 10)


# ---------------------------------------------------------------------------------------------
# Real faces


@pytest.mark.parametrize(
    ("labels", "floor"), [("attributes", {"glasses": 0.75, "smiling": 0.65}), ("identity", {})]
)
def test_on_real_faces_the_classifier_is_clearly_above_chance(labels, floor):
    stream = open_labelled("orl", labels, image_size=64, split="train")
    results = {
        make.__name__: condition_accuracy(make(stream), stream, 200) for make in (obeying, ignoring)
    }
    real = results["obeying"]
    assert real["real"] > {"attributes": 0.65, "identity": 0.9}[labels]
    for name, value in floor.items():
        assert real["conditions"][name]["real"] > value
    # Real faces handed out by their labels, as if a perfect model had made them.
    assert real["generated"] > 0.9
    assert results["ignoring"]["generated"] == pytest.approx(real["chance"], abs=0.08)


# ---------------------------------------------------------------------------------------------
# The picture


def result_of(count: int, missing=()) -> dict:
    names = [f"a_condition_with_a_long_name_{number}" for number in range(count)]
    rows = {name: {"real": 0.9, "generated": 0.4} for name in names}
    for number in missing:
        rows[names[number]]["generated"] = None
    return {
        "protocol": {"score": "accuracy"},
        "real": 0.9,
        "generated": 0.4,
        "chance": 0.25,
        "conditions": rows,
        "left_out": {},
    }


@pytest.mark.parametrize("count", [1, 4, 40, 100])
def test_the_picture_is_drawn_for_any_number_of_conditions(tmp_path, count):
    path = plot_condition_accuracy(result_of(count, missing=[0]), tmp_path / "conditions.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 300 < image.width < 2000
    again = plot_condition_accuracy(result_of(count, missing=[0]), tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


def test_the_picture_shows_another_accuracy_differently_and_takes_any_name(tmp_path):
    result = result_of(3)
    result["conditions"]["costs $1 and _$2"] = {"real": 0.5, "generated": 0.5}
    first = plot_condition_accuracy(result, tmp_path / "first.png").read_bytes()
    result["conditions"]["costs $1 and _$2"]["generated"] = 0.9
    assert plot_condition_accuracy(result, tmp_path / "second.png").read_bytes() != first


# ---------------------------------------------------------------------------------------------
# Where it stands at the end of a run


@pytest.fixture(scope="module", params=["attributes", "identity"])
def cvae_run(request, tmp_path_factory):
    """A small trained run, what it said, and its labels."""
    folder = tmp_path_factory.mktemp("runs") / "cvae"
    said = []
    kf.train(
        "cvae",
        run=folder,
        labels=request.param,
        image_size=32,
        filters=4,
        latent_dim=8,
        hidden_units=32,
        batch_size=40,
        steps=6,
        count=40,
        print_fn=said.append,
    )
    return folder, "\n".join(said), request.param


def test_a_run_of_a_conditional_model_ends_with_the_figure_its_picture_and_a_line(cvae_run):
    folder, said, labels = cvae_run
    result = json.loads((folder / "scores.json").read_text())["conditions"]
    assert result["protocol"]["labels"] == labels
    assert result["protocol"]["generated"] == 40
    assert result["protocol"]["sampler"] == "fitted"
    assert set(result["conditions"]) | set(result["left_out"]) <= set(
        kf.load_model(folder).condition_names
    )
    with Image.open(folder / "conditions.png") as image:
        assert image.format == "PNG"
    value, error = result["generated"], result["generated_std"]
    assert error > 0
    assert f"sees what was asked for in {value:.1%} ± {error:.1%} of generated faces" in said
    assert "conditions.png" in said
    assert "how often a classifier sees the condition that was asked for" in said


@pytest.fixture
def without_descriptors(monkeypatch):
    """As where the extra `identity` is not installed, which takes a tenth of a second a face."""
    monkeypatch.setattr("keras_faces.metrics.identity.is_installed", lambda: False)


def test_evaluate_measures_the_same_as_the_run_did_and_other_samplers(
    cvae_run, tmp_path, capsys, without_descriptors
):
    from keras_faces.cli import main

    folder, _, _ = cvae_run
    at_the_end = json.loads((folder / "scores.json").read_text())["conditions"]
    out = tmp_path / "scores.json"
    words = ["evaluate", str(folder), "--count", "40", "--out", str(out)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "Conditions: a classifier of real faces sees" in told
    assert "Protocol of conditions: classifier ridge regression on " in told.splitlines()[-1]
    assert told.endswith("generated 40, seed 0, sampler fitted\n")
    assert json.loads(out.read_text())["conditions"] == at_the_end
    assert main(["compare", str(out)]) == 0
    compared = capsys.readouterr().out
    assert f"{out}: Conditions: a classifier of real faces sees" in compared
    assert compared.endswith("generated 40, seed 0, sampler fitted\n")
    assert main([*words, "--sampler", "prior"]) == 0
    assert json.loads(out.read_text())["conditions"]["protocol"]["sampler"] == "prior"


def test_evaluate_of_chosen_scores_leaves_conditions_out(cvae_run, tmp_path, capsys):
    from keras_faces.cli import main

    out = tmp_path / "scores.json"
    words = ["evaluate", cvae_run[0], "--count", 10, "--scores", "laplacian_variance"]
    assert main([*map(str, words), "--out", str(out)]) == 0
    assert "Conditions" not in capsys.readouterr().out
    assert "conditions" not in json.loads(out.read_text())


def test_evaluate_against_faces_without_such_labels_still_scores(
    cvae_run, tmp_path, capsys, without_descriptors
):
    from keras_faces.cli import main

    for number in range(4):
        Image.fromarray(np.full((40, 40), 50 * number, np.uint8)).save(tmp_path / f"{number}.png")
    words = ["evaluate", cvae_run[0], "--data", tmp_path, "--split", "all", "--count", 4]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    assert "generated (fitted)" in out
    assert "Conditions: not measured." in out


def test_evaluate_of_a_keras_file_finds_the_labels_that_are_its_conditions(
    cvae_run, capsys, without_descriptors
):
    from keras_faces.cli import main

    words = ["evaluate", cvae_run[0] / "model.keras", "--data", "orl", "--count", 40]
    assert main([str(word) for word in words]) == 0
    assert "Conditions: a classifier of real faces sees" in capsys.readouterr().out


def test_a_run_whose_conditions_cannot_be_measured_ends_well_and_says_why(tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(drawn_face((1,), number, rng)).save(faces / f"{number}.png")
    rows = [f"{number}.png,1" for number in range(8)]
    (faces / "attributes.csv").write_text("\n".join(["file,bar", *rows]))
    said = []
    run = kf.train(
        "cvae",
        data=faces,
        split="all",
        run=tmp_path / "run",
        image_size=32,
        filters=2,
        latent_dim=4,
        hidden_units=8,
        batch_size=4,
        steps=2,
        count=4,
        print_fn=said.append,
    )
    assert run.model_path.is_file()
    scores = json.loads(run.scores_path.read_text())
    assert set(scores["rows"]) == {"real", "prior", "fitted"}
    assert "conditions" not in scores
    assert not (run.folder / "conditions.png").exists()
    assert "Conditions: not measured. " in "\n".join(said)
    assert "bar: the same in all real faces" in "\n".join(said)
