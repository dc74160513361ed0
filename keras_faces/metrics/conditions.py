"""Condition accuracy: how often a classifier of real faces sees the condition that was asked for.

The classifier learns from real faces and their labels alone. It is asked about real faces that it
has not seen, which is the row to compare with, and about faces that a model generates under given
conditions. What it cannot tell on real faces, it cannot tell on generated ones either.

It is closed: ridge regression on principal components of histograms of gradients (Dalal and Triggs,
2005, https://doi.org/10.1109/CVPR.2005.177) and of mean colours. Gradients rather than pixels,
because on new people pixels tell little but the light.

Every real face is held out once, in one of five parts. With attributes a part holds whole people
where they are known, because a classifier that recognises somebody knows their beard without
looking. With people it holds other pictures of them.
"""

from typing import NamedTuple

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError
from keras_faces.pixels import check

REAL_FACES = 4096  # at most, which bounds memory and time
PARTS = 5
COMPONENTS = 256
RIDGE = 0.3  # of the mean variance of the components
CELLS = 8  # in a row of the grid of histograms
BINS = 8
COLOURS = 0.3  # weight of the mean colours beside the histograms, about a fifth of the variance


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
    if seed < 0:
        raise UserError(f"seed must be 0 or more. Received: {seed}.")
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
    conditions = asked if attributes else _one_hot(asked, len(stream.label_names))
    generated = face_features(model.generate(count, seed, sampler, conditions=conditions))
    seen_real, seen_generated = cross_seen(real, labels, parts, generated)
    # Of people who are to be recognised other pictures are held out, which are drawn one by one.
    units = held_out.units if attributes else None
    real_mean, real_std, real_rows = _accuracies(labels, [seen_real], measured, units)
    mean, std, rows = _accuracies(asked, seen_generated, measured)
    return {
        "protocol": {
            "classifier": "ridge regression on principal components of gradient histograms and "
            "mean colours",
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


def measured_or_why_not(
    model, stream: FaceStream, count: int = 1000, seed: int = 0, sampler: str | None = None
) -> tuple[dict | None, str]:
    """Return `condition_accuracy` and what it found in words, or None and why it was not measured.

    Where a run ends or other scores stand beside it, faces that are too few are no reason to stop.
    """
    try:
        result = condition_accuracy(model, stream, count, seed, sampler)
    except UserError as error:
        return None, f"Conditions: not measured. {error}"
    return result, obeyed_line(result)


def obeyed_line(result: dict) -> str:
    """Return what `condition_accuracy` returned in words."""
    line = (
        f"Conditions: a classifier of real faces sees what was asked for in "
        f"{result['generated']:.1%} ± {result['generated_std']:.1%} of generated faces (real "
        f"faces it had not seen: {result['real']:.1%} ± {result['real_std']:.1%}, chance "
        f"{result['chance']:.1%})."
    )
    if result["left_out"]:
        line += f"\nConditions that could not be measured: {', '.join(result['left_out'])}."
    return line


class Probe(NamedTuple):
    """A linear classifier of features.

    Attributes:
        mean: Mean of the features it learnt from, of shape `(features,)`.
        weights: Of shape `(features, conditions)`.
        offsets: What is added to the scores, of shape `(conditions,)`.
        people: Numbers of the people, in the order of the scores; None with attributes.
    """

    mean: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    people: np.ndarray | None

    def sees(self, features: np.ndarray) -> np.ndarray:
        """Return the labels that it sees.

        Args:
            features: Array of shape `(count, features)`.

        Returns:
            Float32 attributes of 0 and 1 of shape `(count, attributes)`, or the numbers of people
            of shape `(count,)`.
        """
        scores = (features - self.mean) @ self.weights + self.offsets
        if self.people is None:
            return (scores > 0).astype(np.float32)
        return self.people[scores.argmax(axis=1)]


def fit_probe(features: np.ndarray, labels: np.ndarray) -> Probe:
    """Fit ridge regression on principal components of features to labels.

    Each attribute has a regression of its own, with its threshold halfway between the mean scores
    of the faces with and without it, so that a rare one is not overlooked. Each person has a
    regression against all others, and the highest score wins.

    Args:
        features: Array of shape `(count, features)`, two or more.
        labels: Attributes of 0 and 1 of shape `(count, attributes)`, or whole numbers of people of
            shape `(count,)`. An attribute that does not vary is seen in all faces or in none.

    Raises:
        UserError: If there are fewer than two faces, or not as many labels.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if len(features) < 2 or len(features) != len(labels):
        raise UserError(
            "A classifier needs two faces or more, and as many labels. "
            f"Received: {len(features)} faces, {len(labels)} labels."
        )
    people = None
    targets = labels
    if labels.ndim == 1:
        people, numbers = np.unique(labels, return_inverse=True)
        targets = _one_hot(numbers, len(people))
    share = targets.mean(axis=0, dtype=np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    axes, variances = principal_components(centred)
    coordinates = centred @ axes
    slopes = coordinates.T @ (targets - share) / len(features)
    slopes /= (variances + RIDGE * variances.mean() if len(variances) else variances)[:, None]
    weights = axes @ slopes
    if people is not None:
        return Probe(mean, weights, share, people)
    scores = centred @ weights
    with_it, without = targets.sum(axis=0), (1 - targets).sum(axis=0)
    middle = 0.5 * (
        (scores * targets).sum(axis=0) / np.maximum(with_it, 1)
        + (scores * (1 - targets)).sum(axis=0) / np.maximum(without, 1)
    )
    offsets = np.where(with_it == 0, -np.inf, np.where(without == 0, np.inf, -middle))
    return Probe(mean, weights, offsets, None)


def cross_seen(
    features: np.ndarray, labels: np.ndarray, parts: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what classifiers see that each learnt from all parts but one.

    Args:
        features: Features of the real faces, of shape `(count, features)`.
        labels: Their labels, as in `fit_probe`.
        parts: The part that each belongs to, of shape `(count,)`.
        others: Features of other faces.

    Returns:
        What each real face's classifier, which has not seen its part, sees in it; and what every
        classifier sees in the other faces.
    """
    seen, seen_in_others = np.zeros_like(labels), []
    for part in np.unique(parts):
        held_out = parts == part
        probe = fit_probe(features[~held_out], labels[~held_out])
        seen[held_out] = probe.sees(features[held_out])
        seen_in_others.append(probe.sees(others))
    return seen, seen_in_others


def balanced_accuracy(asked: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return for each attribute the mean of how often it is seen right with it and without.

    Args:
        asked: Attributes of 0 and 1, of shape `(count, attributes)`.
        seen: What was seen, of the same shape.

    Returns:
        Values in [0, 1] of shape `(attributes,)`, 0.5 for guessing; NaN where it never varies.
    """
    asked, seen = np.asarray(asked) > 0.5, np.asarray(seen) > 0.5
    with np.errstate(invalid="ignore"):
        right_with = (asked & seen).sum(axis=0) / asked.sum(axis=0)
        right_without = (~asked & ~seen).sum(axis=0) / (~asked).sum(axis=0)
    return 0.5 * (right_with + right_without)


def accuracy_error(asked: np.ndarray, seen: list[np.ndarray], units=None) -> float:
    """Return the standard error of a mean accuracy over independent faces.

    It is that of a linear statistic: of accuracy the deviation over the root of the number, which
    is the binomial error where there is one classifier; of balanced accuracy the same of what each
    face adds to the rate of those with an attribute or of those without it, all attributes
    together.

    Args:
        asked: Attributes of 0 and 1 of shape `(count, attributes)`, each of which varies, or the
            numbers of people of shape `(count,)`.
        seen: What each of one or more classifiers saw in the same faces.
        units: What each face belongs to that is drawn as a whole, such as its person, as whole
            numbers from 0 of shape `(count,)`; None where faces are drawn one by one.
    """
    right = np.mean([row == asked for row in seen], axis=0)
    if asked.ndim == 1:
        added = right - right.mean()
    else:
        has = asked > 0.5
        with_it, without = has.sum(axis=0), (~has).sum(axis=0)
        rate_with = (right * has).sum(axis=0) / with_it
        rate_without = (right * ~has).sum(axis=0) / without
        added = np.where(has, (right - rate_with) / with_it, (right - rate_without) / without)
        added = 0.5 * len(asked) * added.mean(axis=1)
    if units is not None:
        added = np.bincount(units, weights=added)
    return float(np.sqrt(np.square(added).sum()) / len(asked))


def face_features(faces: np.ndarray) -> np.ndarray:
    """Return histograms of gradients and mean colours of faces, on a grid of 8x8 cells.

    Args:
        faces: Faces of shape `(count, size, size, channels)`, float in [-1, 1] or uint8, with a
            size of 4 or more.

    Returns:
        A float32 array of shape `(count, features)`.

    Raises:
        UserError: If they are no faces.
    """
    faces = check(faces)
    return np.concatenate([_features(faces[start : start + 64]) for start in _starts(faces)])


def features_at(stream: FaceStream, positions: np.ndarray) -> np.ndarray:
    """Return the features of a stream's faces, given their positions in its cache."""
    # Read in parts: features take a twentieth of the faces' memory.
    reading = (stream.cache.read(positions[start : start + 64]) for start in _starts(positions))
    return np.concatenate([face_features(faces) for faces in reading])


def _features(faces: np.ndarray) -> np.ndarray:
    faces = faces.astype(np.float32)
    count, size, _, channels = faces.shape
    cells = max(2, min(CELLS, size // 2))
    edges = np.arange(cells) * size // cells
    area = np.diff([*edges, size])
    area = np.outer(area, area)[..., None]

    def cell_means(images):
        sums = np.add.reduceat(np.add.reduceat(images, edges, axis=1), edges, axis=2)
        return sums / area

    down, across = np.gradient(faces.mean(axis=-1), axis=(1, 2))
    strength = np.hypot(down, across)
    direction = np.arctan2(down, across) / np.pi % 1.0 * BINS  # dark to light as light to dark
    histograms = []
    for number in range(BINS):
        distance = np.abs(direction - number)
        nearness = np.maximum(0.0, 1.0 - np.minimum(distance, BINS - distance))
        histograms.append(cell_means((strength * nearness)[..., None])[..., 0])
    histograms = np.stack(histograms, axis=-1)
    squares = np.square(histograms).sum(axis=-1)
    # Each cell relative to every block of 2x2 cells that it is in. 0.01 is a gradient of about one
    # grey level a pixel: what is fainter than that counts for little.
    corners = [(slice(0, cells - 1), slice(1, cells))[offset] for offset in (0, 1)]
    blocks = [(slice(None), rows, columns) for rows in corners for columns in corners]
    norm = np.sqrt(sum(squares[block] for block in blocks)) + 0.01
    parts = [np.minimum(histograms[block] / norm[..., None], 0.2) for block in blocks]
    parts.append(COLOURS / np.sqrt(channels) * cell_means(faces))
    return np.concatenate([part.reshape(count, -1) for part in parts], axis=1, dtype=np.float32)


def principal_components(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return axes of shape `(features, components)` and the variances along them."""
    count, width = centred.shape
    wide = width > count
    product = centred @ centred.T if wide else centred.T @ centred
    squares, vectors = np.linalg.eigh(product)
    order = np.argsort(squares)[::-1][: min(COMPONENTS, count - 1)]
    order = order[squares[order] > 1e-9 * max(squares[-1], 1e-30)]
    axes = vectors[:, order]
    if wide:
        axes = centred.T @ axes / np.sqrt(squares[order])
    return axes, squares[order] / count


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


class HeldOut(NamedTuple):
    """Real faces in parts, of which each is held out once.

    Attributes:
        positions: Where the faces are in their cache, of shape `(count,)`, in random order.
        parts: The part that each belongs to, of shape `(count,)`.
        units: A number for each person, of shape `(count,)`; for each face where people are not
            known.
        what: What a part holds, in words.
    """

    positions: np.ndarray
    parts: np.ndarray
    units: np.ndarray
    what: str


def held_out_parts(stream: FaceStream, seed: int, count: int = REAL_FACES) -> HeldOut:
    """Choose up to `count` real faces by seed, in parts for classifiers to be held out from.

    Raises:
        UserError: If there are too few faces or people.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(stream.indices)
    identities = stream.cache.identities
    people: dict = {}  # their pictures, all in random order
    if stream.labels == "identity" or all(identities[index] is not None for index in order):
        for index in order:
            people.setdefault(identities[index], []).append(index)
    if stream.labels == "identity":
        chosen, parts, units, named = [], [], [], 0
        for pictures in people.values():
            if len(pictures) < 2 or len(chosen) + len(pictures) > count:
                continue  # whom nothing is left to learn from, or no room for
            chosen += pictures
            parts += [(number + named) % PARTS for number in range(len(pictures))]
            units += [named] * len(pictures)
            named += 1
        if named < 2:
            raise UserError(
                "Whether people are recognised needs two pictures or more of two people or more. "
                f"Received: {len(order)} pictures of {len(people)} people."
            )
        what = "other pictures of the same people"
        return HeldOut(np.array(chosen), np.array(parts), np.array(units), what)
    chosen = order[:count]
    units, what = [str(index) for index in chosen], "pictures"
    if len({identities[index] for index in chosen} - {None}) > 1 and people:
        units, what = [identities[index] for index in chosen], "whole people"
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    if len(numbers) < 2:
        raise UserError(f"Some faces must be held out, but there is only {len(numbers)}.")
    units = np.array([numbers[unit] for unit in units])
    return HeldOut(chosen, units % PARTS, units, what)


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


def _starts(rows) -> range:
    return range(0, len(rows), 64)


def unmeasurable(names, labels, parts, asked) -> dict[str, str]:
    """Return why attributes cannot be measured, those that can be left out."""
    learnable = np.ones(len(names), bool)
    for part in np.unique(parts):
        learnable &= _varies(labels[parts != part])
    reasons = {}
    for number, name in enumerate(names):
        if not _varies(labels)[number]:
            reasons[name] = "the same in all real faces"
        elif not learnable[number]:
            reasons[name] = "too few real faces to hold some out and learn from others"
        elif not _varies(asked)[number]:
            reasons[name] = "the same in all conditions asked for; generate more"
    return reasons


def _varies(labels: np.ndarray) -> np.ndarray:
    return (labels != labels[:1]).any(axis=0)


def _one_hot(numbers: np.ndarray, count: int) -> np.ndarray:
    return np.eye(count, dtype=np.float32)[numbers]


def _some(names) -> str:
    return ", ".join(list(names)[:5]) + (" ..." if len(names) > 5 else "")
