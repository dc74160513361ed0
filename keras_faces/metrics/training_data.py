"""Generated faces as training data: does a classifier that learns from them too see more?

A classifier of attributes learns from real faces alone, from generated ones alone, and from both.
All three are asked about the same real faces, of people of whom neither they nor the model have
seen any. The generated faces are drawn under conditions as they go together in the real ones, and
count as having what was asked for.
"""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, require_whole
from keras_faces.metrics.classifier import (
    FACE_CLASSIFIER,
    balanced_accuracy,
    face_features,
    features_at,
    fit_probe,
    linear_error,
    shares_of_accuracy,
    varies,
)
from keras_faces.metrics.held_out import REAL_FACES


class Learnt(NamedTuple):
    """What is measured of classifiers.

    Attributes:
        title: What tables call it.
        features: What of the faces it is computed from.
        form: Format of the value.
    """

    title: str
    features: str = "pixels"
    form: str = ".1%"


TRAINING_DATA = {
    "real": Learnt("balanced accuracy, learnt from real faces"),
    "generated": Learnt("from generated faces"),
    "both": Learnt("from both"),
    "gain": Learnt("both less real"),
}


def training_data(
    model, learnt: FaceStream, asked: FaceStream, count: int = 1000, seed: int = 0
) -> dict:
    """Return how well classifiers see attributes that learnt with and without a model's faces.

    Args:
        model: A conditional model.
        learnt: The real faces that the model learnt from, with attributes, its conditions.
        asked: Real faces of other people, with the same attributes.
        count: Faces to generate.
        seed: Seed of their conditions and latents, and of the choice of real faces.

    Returns:
        Dict of `"protocol"`; `"scores"`, a dict of `{"value", "std"}` for every key of
        `TRAINING_DATA`, mean balanced accuracies with their standard errors over the people asked
        about; and `"left_out"`, why some attributes could not be measured.

    Raises:
        UserError: If the model or the faces do not serve, or no attribute can be measured.
    """
    require_whole(2, count=count)
    require_whole(0, seed=seed)
    if not getattr(model, "conditional", False):
        raise UserError(
            f"{type(model).__name__} takes no conditions, so nobody knows what its faces have to "
            "teach. Use a conditional model."
        )
    for stream in (learnt, asked):
        if stream.labels != "attributes" or list(stream.label_names) != model.condition_names:
            raise UserError(
                "Expected faces with the attributes that are the model's conditions, "
                f"{', '.join(model.condition_names)}. Received: labels {stream.labels!r}"
                + (f", {', '.join(stream.label_names)}." if stream.labels else ".")
            )
    same = learnt.protocol["fingerprint"] == asked.protocol["fingerprint"]
    if same and set(learnt.indices) & set(asked.indices):
        raise UserError(
            "A classifier knows the faces that it learnt from without looking. Ask about others: "
            "split='test' of a model that learnt from split='train'."
        )
    rng = np.random.default_rng([seed, 2])  # others than of latents
    known, others = (rng.permutation(s.indices)[:REAL_FACES] for s in (learnt, asked))
    labels, truth = learnt.labels_at(known), asked.labels_at(others)
    conditions = labels[rng.integers(len(labels), size=count)]
    names = [asked.cache.identities[index] for index in others]
    people = None not in names
    units = np.unique(names, return_inverse=True)[1] if people else np.arange(len(others))
    left_out = {}
    for number, name in enumerate(learnt.label_names):
        for where, rows in (("generated", conditions), ("that are learnt from", labels)):
            if not varies(rows[:, number]):
                left_out[name] = f"the same in all faces {where}"
        has = truth[:, number] > 0.5
        if min(len(set(units[has])), len(set(units[~has]))) < 2:  # whose features it might be
            left_out[name] = "fewer than two people asked about have it, or lack it"
    measured = [n for n, name in enumerate(learnt.label_names) if name not in left_out]
    if not measured:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"No attribute can be measured on these faces. {why[:300]}.")
    real, told = features_at(learnt, known), labels[:, measured]
    made = model.generate(count, seed, model.default_sampler, conditions=conditions)
    generated, wished = face_features(made), conditions[:, measured]
    taught = {
        "real": (real, told),
        "generated": (generated, wished),
        "both": (np.concatenate([real, generated]), np.concatenate([told, wished])),
    }
    pictures, truth = features_at(asked, others), truth[:, measured]
    seen = {name: fit_probe(*examples).sees(pictures) for name, examples in taught.items()}
    value = {name: float(balanced_accuracy(truth, found).mean()) for name, found in seen.items()}
    share = {name: shares_of_accuracy(truth, found == truth) for name, found in seen.items()}
    value["gain"] = value["both"] - value["real"]
    share["gain"] = share["both"] - share["real"]
    return {
        "protocol": {
            "classifier": FACE_CLASSIFIER,
            "score": "mean balanced accuracy",
            "attributes": ", ".join(learnt.label_names[number] for number in measured),
            "labels_digest": learnt.labels_digest,
            **learnt.protocol,
            "real": len(known),
            "asked": len(others),
            "held_out": f"whole people, {units.max() + 1}" if people else "pictures",
            "generated": count,
            "sampler": model.default_sampler,
            "seed": seed,
        },
        "scores": {
            name: {"value": value[name], "std": linear_error(share[name], units)} for name in value
        },
        "left_out": left_out,
    }


def verdict(results: Sequence[dict]) -> str:
    """Say in words what generated faces were good for, by what several trainings gave.

    The gain's error is that over the trainings and that over the people asked about, who are the
    same for all trainings, together. Two of them are what chance seldom gives.

    Args:
        results: What `training_data` returned, one for each training.
    """
    gains = [result["scores"]["gain"]["value"] for result in results]
    over_people = statistics.mean(result["scores"]["gain"]["std"] for result in results)
    several = len(gains) > 1
    over_trainings = statistics.stdev(gains) / math.sqrt(len(gains)) if several else 0.0
    gain, error = statistics.mean(gains), math.hypot(over_people, over_trainings)
    if abs(gain) <= 2 * error:
        word = "No effect of generated faces is seen"
    else:
        word = f"Generated faces {'help' if gain > 0 else 'harm'}"
    what = f"over {len(gains)} trainings and the people" if several else "over the people"
    return (
        f"{word}: with them the classifier's balanced accuracy changes by {gain:+.1%} ± "
        f"{error:.1%} (standard error {what} asked about)."
    )
