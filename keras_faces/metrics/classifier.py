"""A closed-form classifier of faces: ridge regression on histograms of gradients and mean colours.

Gradients (Dalal and Triggs, 2005, https://doi.org/10.1109/CVPR.2005.177) rather than pixels:
on new people pixels tell little but the light.
"""

from typing import NamedTuple

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError
from keras_faces.pixels import check

COMPONENTS = 256
RIDGE = 0.3  # of the mean variance of the components
CELLS = 8  # in a row of the grid of histograms
BINS = 8
COLOURS = 0.3  # weight of the mean colours beside the histograms, about a fifth of the variance

# What protocols call it.
FACE_CLASSIFIER = "ridge regression on principal components of gradient histograms and mean colours"


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
        targets = one_hot(numbers, len(people))
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
    features: np.ndarray, labels: np.ndarray, parts: np.ndarray, others: np.ndarray | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what classifiers see that each learnt from all parts but one.

    Args:
        features: Features of the real faces, of shape `(count, features)`.
        labels: Their labels, as in `fit_probe`.
        parts: The part that each belongs to, of shape `(count,)`.
        others: Features of other faces, or None.

    Returns:
        What each real face's classifier, which has not seen its part, sees in it; and what every
        classifier sees in the other faces.
    """
    seen, seen_in_others = np.zeros_like(labels), []
    for part in np.unique(parts):
        held_out = parts == part
        probe = fit_probe(features[~held_out], labels[~held_out])
        seen[held_out] = probe.sees(features[held_out])
        if others is not None:
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
    return linear_error(shares_of_accuracy(asked, right), units)


def shares_of_accuracy(asked: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return what each face adds to the mean accuracy, less the mean, of shape `(count,)`.

    Args:
        asked: As in `accuracy_error`.
        right: How often each of them was seen rightly, from 0 to 1.
    """
    if asked.ndim == 1:
        return right - right.mean()
    has = asked > 0.5
    with_it, without = has.sum(axis=0), (~has).sum(axis=0)
    rate_with = (right * has).sum(axis=0) / with_it
    rate_without = (right * ~has).sum(axis=0) / without
    added = np.where(has, (right - rate_with) / with_it, (right - rate_without) / without)
    return 0.5 * len(asked) * added.mean(axis=1)


def linear_error(added: np.ndarray, units=None) -> float:
    """Return the standard error of a linear statistic.

    Args:
        added: What each face adds to it, of shape `(count,)`.
        units: As in `accuracy_error`.
    """
    count = len(added)
    if units is not None:
        added = np.bincount(units, weights=added)
    return float(np.sqrt(np.square(added).sum()) / count)


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


def _starts(rows) -> range:
    return range(0, len(rows), 64)


def varies(labels: np.ndarray) -> np.ndarray:
    return (labels != labels[:1]).any(axis=0)


def one_hot(numbers: np.ndarray, count: int) -> np.ndarray:
    return np.eye(count, dtype=np.float32)[numbers]
