"""Generated faces as training data: against models that make real faces, noise, or lies."""

import numpy as np
import pytest

import keras_faces as kf
from keras_faces.metrics.classifier import accuracy_error, balanced_accuracy, features_at, fit_probe
from keras_faces.metrics.training_data import TRAINING_DATA, training_data, verdict

CONDITIONS = ["glasses", "smiling", "beard", "woman"]


@pytest.fixture(scope="module")
def halves():
    return [
        kf.data.open_faces("orl", 32, 8, split, labels="attributes", test_fraction=0.5)
        for split in ("train", "test")
    ]


class Model:
    """Makes faces of a stream that have what is asked for."""

    conditional = True
    condition_names = CONDITIONS
    default_sampler = "prior"

    def __init__(self, stream, lies=False):
        self.stream, self.lies = stream, lies

    def generate(self, count, seed, sampler, conditions):
        labels = self.stream.labels_at(self.stream.indices)
        wished = 1 - conditions if self.lies else conditions
        distances = np.abs(wished[:, None] - labels[None]).sum(axis=2)
        # Any of those that are as near.
        nearest = (distances + np.random.default_rng(seed).random(distances.shape)).argmin(axis=1)
        return self.stream.cache.read(self.stream.indices[nearest]) / 127.5 - 1


def values(result):
    return {name: record["value"] for name, record in result["scores"].items()}


def test_what_classifiers_learn_from_real_faces_is_what_a_probe_says(halves):
    result = training_data(Model(halves[0]), *halves, count=50)
    [learnt, asked] = halves
    probe = fit_probe(features_at(learnt, learnt.indices), learnt.labels_at(learnt.indices))
    truth = asked.labels_at(asked.indices)[:, :3]  # of the women asked about there is one
    seen = probe.sees(features_at(asked, asked.indices))[:, :3]
    assert values(result)["real"] == pytest.approx(balanced_accuracy(truth, seen).mean())
    people = np.unique([asked.cache.identities[i] for i in asked.indices], return_inverse=True)[1]
    error = accuracy_error(truth, [seen], people)
    assert result["scores"]["real"]["std"] == pytest.approx(error)
    assert result["left_out"] == {"woman": "fewer than two people asked about have it, or lack it"}
    assert set(result["scores"]) == set(TRAINING_DATA)
    assert result["protocol"]["held_out"] == "whole people, 20"
    found = values(result)
    assert found["gain"] == pytest.approx(found["both"] - found["real"])


def test_faces_of_those_asked_about_help_and_false_ones_harm(halves):
    helped = training_data(Model(halves[1]), *halves, count=600)
    harmed = training_data(Model(halves[0], lies=True), *halves, count=600)
    assert values(helped)["gain"] > 0.05
    assert values(harmed)["gain"] < -0.05
    assert verdict([helped]).startswith("Generated faces help")
    assert verdict([harmed]).startswith("Generated faces harm")


@pytest.mark.parametrize(
    ("gains", "std", "word"),
    [
        ([0.04, 0.05], 0.01, "help"),
        ([-0.04, -0.05], 0.01, "harm"),
        ([0.04, 0.05], 0.03, "No effect"),  # the people asked about may be others
        ([0.30, -0.20], 0.001, "No effect"),  # or the trainings
        ([0.0], 0.0, "No effect"),
    ],
)
def test_the_verdict_follows_from_the_numbers(gains, std, word):
    told = verdict([{"scores": {"gain": {"value": gain, "std": std}}} for gain in gains])
    assert word in told
    assert f"{np.mean(gains):+.1%}" in told


def test_what_does_not_serve_is_refused(halves):
    learnt = halves[0]
    plain = kf.create_model("vae", image_size=32, channels=1, filters=2)
    people = kf.data.open_faces("orl", 32, 8, "test", labels="identity", test_fraction=0.5)
    for model, streams, message in (
        (plain, halves, "takes no conditions"),
        (Model(learnt), (learnt, people), "Received: labels 'identity'"),
        (Model(learnt), (learnt, learnt), "split='test'"),
    ):
        with pytest.raises(kf.UserError, match=message):
            training_data(model, *streams)
    with pytest.raises(kf.UserError, match="count"):
        training_data(Model(learnt), *halves, count=1)
