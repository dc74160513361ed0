"""The Inception Score, and the standard error of any score."""

from collections.abc import Callable

import numpy as np
from scipy import special

from keras_faces.errors import UserError, require_whole
from keras_faces.metrics.features import feature_matrix


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Return the Inception Score: high where pictures are of sure and of many different classes.

    The exponential of the mean Kullback-Leibler divergence between the class probabilities of each
    image and those of all, for each of `splits` consecutive parts; from 1 to the number of classes.
    Salimans et al., 2016, section 4, https://arxiv.org/abs/1606.03498.

    Args:
        probabilities: Class probabilities of shape `(count, classes)`, each row summing to 1.
        splits: Parts to take the mean and standard deviation over.

    Returns:
        Mean and population standard deviation over the parts, as the published code.

    Raises:
        UserError: If rows are no probabilities, or there are fewer than two images for each part.
    """
    rows = feature_matrix(probabilities, "probabilities", "classes")
    require_whole(splits=splits)
    if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > 1e-3:
        sums = rows.sum(axis=1)
        raise UserError(
            "Expected probabilities, 0 or more and each row summing to 1, so the softmax of the "
            f"logits. Received values from {rows.min():.4g} to {rows.max():.4g} and sums from "
            f"{sums.min():.4g} to {sums.max():.4g}."
        )
    count = len(rows)
    # The score of a part of one image is 1 whatever the image.
    if count < 2 * splits:
        raise UserError(
            f"The Inception Score over {splits} splits needs {2 * splits} images or more. "
            f"Received: {count}. Generate more"
            + (f", or pass splits={count // 2} or fewer." if count > 1 else ".")
        )
    scores = []
    for split in range(splits):
        part = rows[split * count // splits : (split + 1) * count // splits]
        divergence = special.rel_entr(part, part.mean(axis=0)).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))


def bootstrap(
    function: Callable,
    *arrays: np.ndarray,
    resamples: int = 100,
    seed: int = 0,
    replace: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a score and its standard error, by drawing the images again.

    With replacement it is the bootstrap of Efron (1979). That puts copies of images into a set,
    which scores of neighbours or of pairs within a set mistake for collapse; for them, and for the
    Frechet distance, take `replace=False`: halves of each set without replacement, whose deviation
    is the standard error too where images are many (Shao and Wu, 1989, https://doi.org/10.1214/aos/1176347263).

    Args:
        function: Takes as many arrays and returns a number, or several.
        arrays: Arrays whose first axis is images; each is drawn from on its own.
        resamples: How often to draw.
        seed: Seed of the draws.
        replace: Whether to draw as many with replacement, or half of them without.

    Returns:
        `function(*arrays)` and the standard deviation of the resamples, both float64 of the shape
        that the function returns.

    Raises:
        UserError: If there are no arrays, one has fewer than two images, or resamples are too few.
    """
    require_whole(minimum=2, resamples=resamples)
    require_whole(minimum=0, seed=seed)
    arrays = [np.asarray(array) for array in arrays]
    if not arrays or min(len(array) if array.ndim else 0 for array in arrays) < 2:
        raise UserError("A standard error needs arrays of two images or more.")
    rng = np.random.default_rng(seed)

    def draw(array):
        count = len(array)
        if replace:
            return array[rng.integers(count, size=count)]
        return array[np.sort(rng.choice(count, count // 2, replace=False))]

    value = np.asarray(function(*arrays), np.float64)
    drawn = [np.asarray(function(*map(draw, arrays)), np.float64) for _ in range(resamples)]
    return value, np.std(drawn, axis=0, ddof=1)
