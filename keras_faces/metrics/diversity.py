"""Whether samples differ: from each other, and in which real face they resemble."""

import numpy as np

from keras_faces.errors import UserError, require_whole
from keras_faces.pixels import check


def mean_pair_difference(faces: np.ndarray, pairs: int = 4000, seed: int = 0) -> float:
    """Return the mean absolute pixel difference between pairs of faces, on the scale 0 to 255.

    Args:
        faces: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.
        pairs: Pairs to look at, drawn at random; all of them where there are fewer.
        seed: Seed of the pairs.

    Raises:
        UserError: If faces are not such an array or fewer than two, or there are no pairs.
    """
    require_whole(pairs=pairs)
    require_whole(minimum=0, seed=seed)
    faces = check(faces)
    if len(faces) < 2:
        raise UserError(f"Two faces or more are needed to compare them. Received: {len(faces)}.")
    flat = np.asarray(faces, np.float32).reshape(len(faces), -1)
    count = len(flat)
    if count * (count - 1) // 2 <= pairs:
        first, second = np.triu_indices(count, 1)
    else:
        rng = np.random.default_rng(seed)
        first = rng.integers(count, size=pairs)
        second = (first + rng.integers(1, count, size=pairs)) % count
    means = [np.abs(flat[i] - flat[j]).mean(dtype=np.float64) for i, j in zip(first, second)]
    return float(np.mean(means) * 127.5)


def nearest(faces: np.ndarray, others: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Return, for each face, the position of the nearest of `others` by squared pixel distance.

    Args:
        faces: Faces of shape `(count, height, width, channels)`.
        others: Faces of the same size, for example those of the training set.
        chunk: Faces compared at a time, which bounds memory.

    Raises:
        UserError: If either are not faces in [-1, 1], or their sizes differ.
    """
    require_whole(chunk=chunk)
    faces, others = check(faces), check(others)
    if faces.shape[1:] != others.shape[1:]:
        raise UserError(
            "Only faces of one size can be compared. "
            f"Received: {faces.shape[1:]} and {others.shape[1:]}."
        )
    # float64: in float32 the difference of large squares hides distances of a few grey levels.
    faces = faces.reshape(len(faces), -1)
    others = others.astype(np.float64).reshape(len(others), -1)
    squares = np.einsum("ij,ij->i", others, others)
    found = [
        (squares - 2 * faces[start : start + chunk].astype(np.float64) @ others.T).argmin(axis=1)
        for start in range(0, len(faces), chunk)
    ]
    return np.concatenate(found)


def distinct_nearest(faces: np.ndarray, others: np.ndarray) -> int:
    """Count the different faces of `others` that are some face's nearest."""
    return len(np.unique(nearest(faces, others)))


def effective_nearest(faces: np.ndarray, others: np.ndarray) -> float:
    """Return the effective number of faces of `others` that are some face's nearest.

    It is the exponential of the entropy of how often each is the nearest (Hill, 1973, of order 1):
    as many equally frequent ones would have this entropy. So it tells a few favourites beside many
    rare ones from many, which the number of distinct ones does not.
    """
    return effective_number(nearest(faces, others))


def effective_number(values: np.ndarray) -> float:
    """Return the exponential of the entropy of how often each value occurs."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(np.exp(-(shares * np.log(shares)).sum()))
