"""Linear separability: how well a straight cut through the latent space tells faces apart.

The three-models report, 5.1, takes attribute arithmetic to validate "the linear separability
hypothesis of latent space". Here it is measured: a linear classifier learns an attribute from
latents, and is asked about faces of people that it has not seen. What guessing gives is measured
too, by the same classifier on labels that were dealt out anew among the people: with few people it
strays far from one half.
"""

import numpy as np

from keras_faces.errors import UserError, require_whole
from keras_faces.latent.encoding import EncodedFaces
from keras_faces.metrics.classifier import balanced_accuracy, cross_seen
from keras_faces.metrics.conditions import unmeasurable

SHUFFLES = 20


def separability(encoded: EncodedFaces, shuffles: int = SHUFFLES, seed: int = 0) -> dict:
    """Return how well a linear classifier of latents sees each attribute.

    Args:
        encoded: What `encode_faces` returned, of faces with attributes.
        shuffles: How often labels are dealt out anew, to see what guessing gives; 1 or more.
        seed: Seed of that.

    Returns:
        Dict of plain values: `"attributes"`, which maps each name to `"accuracy"`, balanced, on
        faces held out; `"guessing"`, the mean of the same on labels dealt out anew, and
        `"guessing_high"`, the highest but one in twenty of those; and `"share"`, of faces that
        have it. `"left_out"`, why others could not be measured; and `"protocol"`.

    Raises:
        UserError: If the faces have no attributes, or none can be measured.
    """
    require_whole(shuffles=shuffles)
    if encoded.labels is None:
        raise UserError(
            "Separability is of attributes, and these faces come without. Load them with "
            "labels='attributes'."
        )
    labels, held_out, names = encoded.labels, encoded.held_out, encoded.names
    left_out = unmeasurable(names, labels, held_out.parts, labels)
    measured = [number for number, name in enumerate(names) if name not in left_out]
    if not measured:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"No attribute can be measured on these faces. {why[:300]}.")
    labels = labels[:, measured]
    accuracy = _accuracy(encoded.latents, labels, held_out.parts)
    rng = np.random.default_rng(seed)
    guesses = np.array(
        [
            _accuracy(encoded.latents, dealt_anew(labels, held_out.units, rng), held_out.parts)
            for _ in range(shuffles)
        ]
    )
    return {
        "protocol": {
            "classifier": "ridge regression on principal components of latents",
            "score": "balanced accuracy",
            **encoded.stream.protocol,
            "labels_digest": encoded.stream.labels_digest,
            "faces": len(labels),
            "parts": len(np.unique(held_out.parts)),
            "held_out": held_out.what,
            "shuffles": shuffles,
            "seed": seed,
        },
        "attributes": {
            names[number]: {
                "accuracy": float(accuracy[column]),
                "guessing": float(np.nanmean(guesses[:, column])),
                "guessing_high": float(np.nanquantile(guesses[:, column], 0.95)),
                "share": float(labels[:, column].mean()),
            }
            for column, number in enumerate(measured)
        },
        "left_out": left_out,
    }


def _accuracy(latents, labels, parts) -> np.ndarray:
    seen, _ = cross_seen(latents, labels, parts)
    return balanced_accuracy(labels, seen)


def dealt_anew(labels: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels after each person has got those of another, so that what is within stays.

    Dealt out face by face, they would lose that all pictures of a person are mostly alike, and
    guessing would look surer of itself than it is.

    Args:
        labels: Array of shape `(count, attributes)`.
        units: The person of each, of shape `(count,)`.
        rng: What chooses.
    """
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    rows = np.split(order, starts[1:])  # of each person
    dealt = np.empty_like(labels)
    for own, place in zip(rows, rng.permutation(len(rows)), strict=True):
        # Again from the beginning where the other has fewer.
        dealt[own] = labels[np.resize(rows[place], len(own))]
    return dealt


def separability_table(result: dict) -> str:
    """Return what `separability` found as lines of text."""
    attributes = result["attributes"]
    width = max(len("attribute"), *map(len, attributes))
    lines = [f"{'attribute':{width}}  faces with it  told apart  guessing, and its upper twentieth"]
    for name, row in sorted(attributes.items(), key=lambda item: -item[1]["accuracy"]):
        lines.append(
            f"{name:{width}}  {row['share']:13.1%}  {row['accuracy']:10.1%}  "
            f"{row['guessing']:8.1%}, {row['guessing_high']:.1%}"
        )
    protocol = result["protocol"]
    lines.append(
        f"Balanced accuracy of a linear classifier of latents, {protocol['faces']} faces of "
        f"{protocol['source']!r}, split {protocol['split']}; held out: {protocol['held_out']}."
    )
    lines += [f"{name}: not measured, {reason}." for name, reason in result["left_out"].items()]
    return "\n".join(lines)
