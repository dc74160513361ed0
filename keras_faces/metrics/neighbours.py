"""Whose neighbours generated faces are: precision and recall, density and coverage."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from keras_faces.errors import UserError, require_whole
from keras_faces.metrics.features import feature_pair, row_squares

ENTRIES = 2**22  # of a matrix of distances in memory at a time, 32 MB


class PrecisionRecall(NamedTuple):
    """How many generated images lie among the real ones, and how many real among the generated.

    Attributes:
        precision: In [0, 1], higher where samples are realistic.
        recall: In [0, 1], higher where samples are diverse.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How many real neighbourhoods generated images lie in, and how many hold one.

    Attributes:
        density: 0 or more, 1 on average for samples of the real distribution.
        coverage: In [0, 1], the share of real images with a generated one in their neighbourhood.
    """

    density: float
    coverage: float


def precision_recall(
    real_features: np.ndarray, generated_features: np.ndarray, k: int = 3
) -> PrecisionRecall:
    """Return improved precision and recall.

    Precision is the share of generated images no further from some real one than its `k`-th nearest
    other real one; recall is the same with the roles exchanged. Kynkaanniemi et al., 2019, (1) and
    (2), https://arxiv.org/abs/1904.06991. Both depend on the numbers of images, so only those of
    equally many can be compared.

    Args:
        real_features: Features of shape `(count, features)`.
        generated_features: Features of shape `(count, features)`; the counts may differ.
        k: Which nearest neighbour bounds a neighbourhood.

    Raises:
        UserError: If either are not rows of finite numbers, their numbers of features differ, or
            there are not more than `k` images on each side.
    """
    real, generated, distances = _neighbours(real_features, generated_features, k)
    reach_of_real, reach_of_generated = distances.reach(real, k), distances.reach(generated, k)
    precise, recalled = 0, np.zeros(len(real), bool)
    for block, squares in distances.blocks(generated, real):
        reach = reach_of_generated[block, None]
        distances.settle(squares, reach_of_real, generated[block], real)
        distances.settle(squares, reach, generated[block], real)
        precise += (squares <= reach_of_real).any(axis=1).sum()
        recalled |= (squares <= reach).any(axis=0)
    return PrecisionRecall(float(precise / len(generated)), float(recalled.mean()))


def density_coverage(
    real_features: np.ndarray, generated_features: np.ndarray, k: int = 5
) -> DensityCoverage:
    """Return density and coverage, which outliers among the images disturb less.

    Density counts the real neighbourhoods that a generated image lies in, over `k`; coverage is the
    share of real neighbourhoods with a generated image in them. A neighbourhood is nearer than the
    `k`-th nearest other real image, without its rim as in the published code. Naeem et al., 2020,
    section 3, https://arxiv.org/abs/2002.09797. Both depend on the numbers of images.

    Args:
        real_features: Features of shape `(count, features)`.
        generated_features: Features of shape `(count, features)`; the counts may differ.
        k: Which nearest neighbour bounds a neighbourhood.

    Raises:
        UserError: If either are not rows of finite numbers, their numbers of features differ, there
            are not more than `k` images on each side, or every real neighbourhood is empty because
            the real images are copies.
    """
    real, generated, distances = _neighbours(real_features, generated_features, k)
    reach = distances.reach(real, k)
    if not reach.any():
        raise UserError(
            f"Every real image has {k} exact copies among the others, so there are no "
            "neighbourhoods to measure density and coverage in. Give different real images."
        )
    within, covered = 0, np.zeros(len(real), bool)
    for block, squares in distances.blocks(generated, real):
        distances.settle(squares, reach, generated[block], real)
        inside = squares < reach
        within += inside.sum()
        covered |= inside.any(axis=0)
    return DensityCoverage(float(within / (k * len(generated))), float(covered.mean()))


def _neighbours(real, generated, k: int) -> tuple[np.ndarray, np.ndarray, "_Distances"]:
    real, generated = feature_pair(real, generated, "real_features", "generated_features")
    require_whole(k=k)
    few = min(len(real), len(generated))
    if few <= k:
        raise UserError(
            f"A neighbour number {k} needs {k + 1} images or more on each side. "
            f"Received: {len(real)} real and {len(generated)} generated."
        )
    return real, generated, _Distances(real, generated)


class _Distances:
    """Squared distances between rows of features: fast, and exact where they decide.

    Products of matrices are ten times faster than differences, but round otherwise in each block,
    so that distances that are equal, as on the rim of a neighbourhood, come out unequal. Those so
    near to a limit that rounding could put them across it are computed anew from differences.
    """

    def __init__(self, real: np.ndarray, generated: np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):
            self.centre = real.mean(axis=0)  # products round less about it
            largest = max(row_squares(rows - self.centre).max() for rows in (real, generated))
        if not np.isfinite(16 * largest):
            raise UserError("The features are too large for distances in float64.")
        self.tie = 8 * (real.shape[1] + 2) * np.finfo(np.float64).eps * largest

    def blocks(self, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield slices of `a` with the distances of its rows to those of `b`, rounded."""
        b = b - self.centre
        rows = max(1, ENTRIES // len(b))
        for start in range(0, len(a), rows):
            block = slice(start, min(start + rows, len(a)))
            centred = a[block] - self.centre
            squares = centred @ b.T
            squares *= -2
            squares += row_squares(centred)[:, None]
            squares += row_squares(b)
            yield block, squares

    def settle(self, squares: np.ndarray, limit: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        """Compute anew, in place, the distances that lie about a limit."""
        near = np.abs(squares - limit) <= self.tie
        for i in np.flatnonzero(near.any(axis=1)):
            others = np.flatnonzero(near[i])
            if len(others) * 8 < len(b):
                squares[i, others] = cdist(a[i : i + 1], b[others], "sqeuclidean")[0]
            else:  # where samples have collapsed: copying the others takes longer than all of them
                squares[i, others] = cdist(a[i : i + 1], b, "sqeuclidean")[0, others]

    def reach(self, rows: np.ndarray, k: int) -> np.ndarray:
        """Return the distance of each row to its k-th nearest other, of shape `(count,)`."""
        reach = np.empty(len(rows))
        for block, squares in self.blocks(rows, rows):
            # The first in order is the row itself.
            near = np.partition(squares, k, axis=1)[:, k, None]
            self.settle(squares, near, rows[block], rows)
            reach[block] = np.partition(squares, k, axis=1)[:, k]
        return reach
