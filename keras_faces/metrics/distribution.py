"""How near generated faces are to real ones as distributions of features: IS, FID, KID, PRDC.

Pure functions on arrays of features or class probabilities, whatever network they come from. All
arithmetic is float64, and memory does not grow with the product of the numbers of images.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial.distance import cdist

from keras_faces.errors import UserError, require_whole
from keras_faces.files import write_whole
from keras_faces.pixels import as_array

FEW_IMAGES = 2048  # as many as Inception has features: below, a covariance lacks rank
BLOCK = 512  # rows of a matrix of kernels in memory at a time
ENTRIES = 2**22  # of a matrix of distances in memory at a time, 32 MB

# ---------------------------------------------------------------------------------------------
# Inception Score


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
    rows = _matrix(probabilities, "probabilities", "classes")
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


# ---------------------------------------------------------------------------------------------
# Frechet distance


class GaussianStatistics:
    """Mean and covariance of features, gathered batch by batch in float64.

    Memory is that of one covariance, whatever the number of images. Batches are joined by the
    update of Chan, Golub and LeVeque (1979), which does not subtract large sums of squares.

    ```python
    statistics = GaussianStatistics()
    for batch in batches:
        statistics.update(features_of(batch))
    ```

    Attributes:
        count: Images seen.
        mean: Mean of shape `(features,)`; None before the first batch.
        scatter: Sum of the outer products of the deviations from the mean, of shape
            `(features, features)`; None before the first batch.
    """

    def __init__(self):
        self.count = 0
        self.mean: np.ndarray | None = None
        self.scatter: np.ndarray | None = None
        self._root: np.ndarray | None = None

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance of shape `(features, features)`.

        Raises:
            UserError: Before two images were seen.
        """
        if self.count < 2:
            raise UserError(f"A covariance needs 2 images or more. Received: {self.count}.")
        return self.scatter / (self.count - 1)

    def root(self) -> np.ndarray:
        """Return R of shape `(features, rank)` with `R @ R.T` the covariance, and keep it.

        Raises:
            UserError: Before two images were seen, or if they overflow.
        """
        if self._root is None:
            covariance = self.covariance
            if not np.isfinite(covariance).all():
                raise UserError("The features are too large for a covariance in float64.")
            values, axes = np.linalg.eigh(covariance)
            # Eigenvalues that rounding makes out of zero, negative or not, are none.
            noise = max(values[-1], 0) * len(values) * np.finfo(np.float64).eps
            self._root = (axes * np.sqrt(values.clip(0)))[:, values > noise]
        return self._root

    def update(self, features: np.ndarray) -> "GaussianStatistics":
        """Add a batch of features of shape `(count, features)`, and return itself.

        Raises:
            UserError: If they are no such array of finite numbers, or differ in their number of
                features from what was seen before.
        """
        rows = _matrix(features, "features")
        batch = GaussianStatistics()
        batch.count = len(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # told where they are used
            batch.mean = rows.mean(axis=0)
            centred = rows - batch.mean
            batch.scatter = centred.T @ centred
        return self.merge(batch)

    def merge(self, other: "GaussianStatistics") -> "GaussianStatistics":
        """Add what another has seen, and return itself.

        Raises:
            UserError: If the numbers of features differ.
        """
        if not other.count:
            return self
        self._root = None
        if not self.count:
            self.count = other.count
            self.mean, self.scatter = other.mean.copy(), other.scatter.copy()
            return self
        if len(self.mean) != len(other.mean):
            raise _different(len(self.mean), len(other.mean))
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            self.scatter += other.scatter
            self.scatter += np.outer(step, step * (self.count * other.count / count))
            self.mean = self.mean + step * (other.count / count)
        self.count = count
        return self

    def save(self, path: str | os.PathLike) -> None:
        """Write to an `.npz` file, from which `load` restores it to the last bit.

        Raises:
            UserError: Before the first batch.
        """
        if not self.count:
            raise UserError("There are no statistics to save. Call update(features) first.")
        data = io.BytesIO()
        np.savez(data, count=self.count, mean=self.mean, scatter=self.scatter)
        write_whole(path, data.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "GaussianStatistics":
        """Read what `save` wrote.

        Raises:
            UserError: If there is no such file, or it holds something else.
        """
        statistics = cls()
        try:
            with np.load(path, allow_pickle=False) as data:
                statistics.count = int(data["count"])
                statistics.mean = np.asarray(data["mean"], np.float64)
                statistics.scatter = np.asarray(data["scatter"], np.float64)
        except FileNotFoundError as error:
            raise UserError(f"There are no statistics at {path}.") from error
        except Exception as error:  # numpy and zipfile raise all kinds on damaged files
            raise UserError(
                f"{path} is not a file of GaussianStatistics, or is damaged. "
                "Compute the statistics again and save them."
            ) from error
        size = statistics.mean.size
        if (
            statistics.count < 1
            or (statistics.mean.shape, statistics.scatter.shape) != ((size,), (size, size))
            or not np.isfinite(statistics.mean).all()
            or not np.isfinite(statistics.scatter).all()
        ):
            raise UserError(
                f"{path} holds no mean and covariance of one size, or is damaged. "
                "Compute the statistics again and save them."
            )
        return statistics


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features.

    On Inception's features it is the FID. Heusel et al., 2017, (6),
    https://arxiv.org/abs/1706.08500. It is biased upwards, the more so the fewer images: only
    distances of equally many can be compared, and below 2048 a warning says so.

    Args:
        features_a: Features of shape `(count, features)`.
        features_b: Features of shape `(count, features)`; the counts may differ.

    Returns:
        The squared 2-Wasserstein distance, 0 or more; 0 for equal means and covariances.

    Raises:
        UserError: If either are not two or more rows of finite numbers, or their numbers of
            features differ.
    """
    both = []
    for features in (features_a, features_b):
        statistics = GaussianStatistics().update(features)
        if 2 <= statistics.count <= len(statistics.mean):
            # Few images are a root of their covariance as they are, which saves finding one.
            centred = np.asarray(features, np.float64) - statistics.mean
            statistics._root = centred.T / np.sqrt(statistics.count - 1)
        both.append(statistics)
    return _frechet_distance(*both)


def frechet_distance_of(
    statistics_a: GaussianStatistics, statistics_b: GaussianStatistics
) -> float:
    """Return `frechet_distance` of statistics gathered before; warnings and errors as there."""
    return _frechet_distance(statistics_a, statistics_b)


def _frechet_distance(statistics_a: GaussianStatistics, statistics_b: GaussianStatistics) -> float:
    covariances = [statistics_a.covariance, statistics_b.covariance]
    if len(statistics_a.mean) != len(statistics_b.mean):
        raise _different(len(statistics_a.mean), len(statistics_b.mean))
    few = min(statistics_a.count, statistics_b.count)
    if few < FEW_IMAGES:
        warnings.warn(
            f"A Frechet distance of {few} images is far too large: compare it only with others of "
            f"as many, or use {FEW_IMAGES} or more.",
            UserWarning,
            stacklevel=3,
        )
    # With roots R of the covariances the trace of (R1 S2 R1)^(1/2) is the sum of the singular
    # values of R1 R2. Taking them rather than roots of eigenvalues keeps what rounding adds at
    # 1e-16 of the largest; its root would be 1e-8 for each direction that images do not fill.
    roots = [statistics.root() for statistics in (statistics_a, statistics_b)]
    with np.errstate(over="ignore", invalid="ignore"):
        overlap = roots[0].T @ roots[1]
        shared = np.linalg.svd(overlap, compute_uv=False).sum() if overlap.size else 0.0
        apart = np.square(statistics_a.mean - statistics_b.mean).sum()
        distance = apart + sum(np.trace(covariance) for covariance in covariances) - 2 * shared
    if not np.isfinite(distance):
        raise UserError("The features are too large for a Frechet distance in float64.")
    return max(0.0, float(distance))


# ---------------------------------------------------------------------------------------------
# Kernel distance


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
    a, b = _pair(features_a, features_b, "features_a", "features_b")
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
    return _cube(_squares(rows), rows.shape[1])


def _cube(products: np.ndarray, features: int) -> np.ndarray:
    products /= features
    products += 1
    return products * products * products  # numpy's power is ten times slower


# ---------------------------------------------------------------------------------------------
# Precision and recall, density and coverage


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
    real, generated = _pair(real, generated, "real_features", "generated_features")
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
            largest = max(_squares(rows - self.centre).max() for rows in (real, generated))
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
            squares += _squares(centred)[:, None]
            squares += _squares(b)
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


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


# ---------------------------------------------------------------------------------------------
# Uncertainty


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


# ---------------------------------------------------------------------------------------------
# What is asked of arguments


def _matrix(values: np.ndarray, name: str, columns: str = "features") -> np.ndarray:
    given = as_array(values)
    if given.ndim != 2 or not given.size:
        raise UserError(f"Expected {name} of shape (count, {columns}). Received: {given.shape}.")
    # 'V' is what numpy makes of bfloat16, which converts as a float does.
    if given.dtype.kind not in "fiuV":
        raise UserError(f"Expected {name} to be real numbers. Received: {given.dtype}.")
    rows = given.astype(np.float64)
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows).all(axis=1)).sum())
        raise UserError(
            f"{bad} of {len(rows)} rows of {name} hold values that are not finite. "
            "Look for the pictures that they come from."
        )
    return rows


def _pair(a, b, name_a: str, name_b: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = _matrix(a, name_a), _matrix(b, name_b)
    if a.shape[1] != b.shape[1]:
        raise _different(a.shape[1], b.shape[1])
    return a, b


def _different(a: int, b: int) -> UserError:
    return UserError(
        f"Only features of one network can be compared. Received: {a} and {b} features."
    )
