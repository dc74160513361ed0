"""The Frechet distance between two sets of features, as Gaussians: FID on Inception's."""

import io
import os
import warnings

import numpy as np

from keras_faces.errors import UserError
from keras_faces.files import write_whole
from keras_faces.metrics.features import different_features, feature_matrix

FEW_IMAGES = 2048  # as many as Inception has features: below, a covariance lacks rank


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
        rows = feature_matrix(features, "features")
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
            raise different_features(len(self.mean), len(other.mean))
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
        raise different_features(len(statistics_a.mean), len(statistics_b.mean))
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
