"""The kernel distance between two sets of features: KID on Inception's."""

import warnings

import numpy as np

from keras_faces.errors import UserError, require_whole
from keras_faces.metrics.features import feature_pair, row_squares

BLOCK = 512  # rows of a matrix of kernels in memory at a time


def kernel_distance(
    features_a: np.ndarray,
    features_b: np.ndarray,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the kernel distance between two sets of features: KID on Inception's.

    The squared maximum mean discrepancy under the kernel `(x . y / features + 1) ** 3`, by the
    unbiased estimator, so it may be negative where the sets are alike. Binkowski et al., 2018,
    section 4 and (4), https://arxiv.org/abs/1801.01401.

    Args:
        features_a: Features of shape `(count, features)`.
        features_b: Features of shape `(count, features)`; the counts may differ.
        subsets: Pairs of random subsets to take the mean and standard deviation over.
        subset_size: Images in each, drawn without replacement. With as many as there are images
            all subsets are the same, and a warning says that their deviation means nothing.
        seed: Seed of the subsets.

    Returns:
        Mean and population standard deviation over the subsets, as the published code.

    Raises:
        UserError: If either are not rows of finite numbers, their numbers of features differ, or
            there are fewer images than a subset takes.
    """
    a, b = feature_pair(features_a, features_b, "features_a", "features_b")
    require_whole(subsets=subsets)
    require_whole(minimum=2, subset_size=subset_size)
    require_whole(minimum=0, seed=seed)
    if seed >= 2**32:
        raise UserError(f"seed must be below 2 ** 32. Received: {seed}.")
    few = min(len(a), len(b))
    if few < subset_size:
        fit = f"Pass subset_size={max(2, few // 2)}, or add images." if few > 1 else "Add images."
        raise UserError(
            f"The kernel distance over subsets of {subset_size} needs as many images on each "
            f"side. Received: {len(a)} and {len(b)}. {fit}"
        )
    if subset_size == max(len(a), len(b)):
        warnings.warn(
            f"Each subset of {subset_size} is the whole set, so the kernel distance has no "
            f"standard deviation: pass subset_size={max(2, subset_size // 2)} or add images.",
            UserWarning,
            stacklevel=2,
        )
        subsets = 1
    # The generator of the published code and of torch-fidelity, whose stream is frozen: the same
    # seed gives the same subsets here and there.
    rng = np.random.RandomState(seed)
    drawn = [
        [rng.choice(len(rows), subset_size, replace=False) for rows in (a, b)]
        for _ in range(subsets)
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        if max(len(a), len(b)) ** 2 <= subsets * subset_size**2:
            # The kernel of all images once is less work than that of each subset.
            values = _discrepancies(a, b, *(_members(drawn, i, (a, b)[i]) for i in (0, 1)))
        else:
            every = np.ones((1, subset_size))
            values = [_discrepancies(a[i], b[j], every, every)[0] for i, j in drawn]
        mean, deviation = float(np.mean(values)), float(np.std(values))
    if not np.isfinite([mean, deviation]).all():
        raise UserError("The features are too large for a cubic kernel in float64.")
    return mean, deviation


def _members(drawn: list, side: int, rows: np.ndarray) -> np.ndarray:
    """Return 1 where an image is in a subset, else 0, of shape `(subsets, count)`."""
    members = np.zeros((len(drawn), len(rows)))
    for number, pair in enumerate(drawn):
        members[number, pair[side]] = 1
    return members


def _discrepancies(a, b, in_a, in_b) -> np.ndarray:
    """Return the unbiased squared discrepancy of each subset, of shape `(subsets,)`."""
    size = in_a[0].sum()
    within = [
        (_kernel_sums(rows, rows, members, members) - members @ _kernel_of_itself(rows))
        / (size * (size - 1))
        for rows, members in ((a, in_a), (b, in_b))
    ]
    return within[0] + within[1] - 2 * _kernel_sums(a, b, in_a, in_b) / size**2


def _kernel_sums(a, b, in_a, in_b) -> np.ndarray:
    sums = np.zeros(len(in_a))
    for start in range(0, len(a), BLOCK):
        block = slice(start, start + BLOCK)
        kernel = _cube(a[block] @ b.T, a.shape[1])
        sums += np.einsum("sj,sj->s", in_a[:, block] @ kernel, in_b)
    return sums


def _kernel_of_itself(rows: np.ndarray) -> np.ndarray:
    return _cube(row_squares(rows), rows.shape[1])


def _cube(products: np.ndarray, features: int) -> np.ndarray:
    products /= features
    products += 1
    return products * products * products  # numpy's power is ten times slower
