"""Condition accuracy: how often a classifier of real faces sees the condition that was asked for.

The classifier learns from real faces and their labels alone. It is asked about real faces that it
has not seen, which is the row to compare with, and about faces that a model generates under given
conditions. What it cannot tell on real faces, it cannot tell on generated ones either.
"""

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, require_whole
from keras_faces.metrics.classifier import (
    FACE_CLASSIFIER,
    accuracy_error,
    balanced_accuracy,
    cross_seen,
    face_features,
    features_at,
    one_hot,
    varies,
)
from keras_faces.metrics.held_out import held_out_parts


def condition_accuracy(
    model,
    stream: FaceStream,
    count: int = 1000,
    seed: int = 0,
    sampler: str | None = None,
) -> dict:
    """Return how often a classifier of real faces sees the conditions that were asked for.

    Attributes are unbalanced, so each counts by its balanced accuracy: the mean of how often it is
    seen where it holds and not seen where it does not. People count by plain accuracy.

    Args:
        model: A conditional model.
        stream: Real faces with the labels that are the model's conditions.
        count: Faces to generate, under conditions as they go together in real faces.
        seed: Seed of the conditions, of the latents, and of what is held out.
        sampler: One of the model's samplers; None takes its default.

    Returns:
        Dict of plain values: `"real"` and `"generated"`, the mean accuracies in [0, 1], with
        `"real_std"` and `"generated_std"`, their standard errors over faces (over people, of real
        faces of whom whole people are held out), and `"chance"`, what guessing gives;
        `"conditions"`, a dict of `"real"` and `"generated"` for each condition, None where it was
        never asked for; `"left_out"`, why the others could not be measured; and `"protocol"`, all
        that makes two figures comparable.

    Raises:
        UserError: If the model takes no conditions, the faces have no labels or others than the
            model's, or there are too few faces.
    """
    _require_conditions(model, stream)
    if count < 2:
        raise UserError(f"Condition accuracy needs 2 faces or more. Received: count={count}.")
    require_whole(0, seed=seed)
    held_out = held_out_parts(stream, seed)
    labels, parts = stream.labels_at(held_out.positions), held_out.parts
    # Another stream of random numbers than that of the latents.
    asked = labels[np.random.default_rng([seed, 1]).integers(len(labels), size=count)]
    attributes = stream.labels == "attributes"
    left_out = unmeasurable(stream.label_names, labels, parts, asked) if attributes else {}
    measured = range(len(stream.label_names)) if attributes else np.unique(labels)
    measured = [number for number in measured if stream.label_names[number] not in left_out]
    if not measured:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"No condition can be measured on these faces. {why[:300]}.")
    real = features_at(stream, held_out.positions)
    sampler = sampler or model.default_sampler
    conditions = asked if attributes else one_hot(asked, len(stream.label_names))
    generated = face_features(model.generate(count, seed, sampler, conditions=conditions))
    seen_real, seen_generated = cross_seen(real, labels, parts, generated)
    # Of people who are to be recognised other pictures are held out, which are drawn one by one.
    units = held_out.units if attributes else None
    real_mean, real_std, real_rows = _accuracies(labels, [seen_real], measured, units)
    mean, std, rows = _accuracies(asked, seen_generated, measured)
    return {
        "protocol": {
            "classifier": FACE_CLASSIFIER,
            "score": "balanced accuracy" if attributes else "accuracy",
            "labels": stream.labels,
            "labels_digest": stream.labels_digest,
            **stream.protocol,
            "real": len(labels),
            "parts": len(np.unique(parts)),
            "training": int(len(labels) - np.bincount(parts).max()),
            "held_out": held_out.what,
            "generated": count,
            "seed": seed,
            "sampler": sampler,
        },
        "real": real_mean,
        "real_std": real_std,
        "generated": mean,
        "generated_std": std,
        "chance": 0.5 if attributes else 1 / len(measured),
        "conditions": {
            stream.label_names[number]: {"real": real, "generated": generated}
            for number, real, generated in zip(measured, real_rows, rows, strict=True)
        },
        "left_out": left_out,
    }


def _require_conditions(model, stream: FaceStream) -> None:
    """Check that the labels of faces are a model's conditions."""
    if not getattr(model, "conditional", False):
        raise UserError(f"{type(model).__name__} takes no conditions, so it cannot obey them.")
    if not stream.labels:
        raise UserError(
            "Whether conditions are obeyed shows on faces with labels. Load them with "
            "labels='attributes' or labels='identity'."
        )
    if list(stream.label_names) != list(model.condition_names):
        raise UserError(
            f"The labels of the faces ({_some(stream.label_names)}) are not the model's conditions "
            f"({_some(model.condition_names)})."
        )


def _accuracies(given, seen, measured, units=None) -> tuple[float, float, list[float | None]]:
    """Return the mean accuracy, its error, and each condition's accuracy, None where never given.

    Faces may be shown to several classifiers: `seen` holds what each of them saw.
    """
    if given.ndim == 2:
        given, seen = given[:, measured], [found[:, measured] for found in seen]
    error = accuracy_error(given, seen, units)
    given, seen = np.concatenate([given] * len(seen)), np.concatenate(seen)
    if given.ndim == 2:
        row = balanced_accuracy(given, seen).tolist()
        return float(np.mean(row)), error, row
    found = [seen[given == person] == person for person in measured]
    row = [float(right.mean()) if len(right) else None for right in found]
    return float((given == seen).mean()), error, row


def unmeasurable(names, labels, parts, asked) -> dict[str, str]:
    """Return why attributes cannot be measured, those that can be left out."""
    learnable = np.ones(len(names), bool)
    for part in np.unique(parts):
        learnable &= varies(labels[parts != part])
    reasons = {}
    for number, name in enumerate(names):
        if not varies(labels)[number]:
            reasons[name] = "the same in all real faces"
        elif not learnable[number]:
            reasons[name] = "too few real faces to hold some out and learn from others"
        elif not varies(asked)[number]:
            reasons[name] = "the same in all conditions asked for; generate more"
    return reasons


def _some(names) -> str:
    return ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
