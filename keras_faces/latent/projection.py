"""Latent spaces on paper: latents in two dimensions, and the faces of a plane through the space.

The three-models report draws the first two of its VAE's latent dimensions (figure 5.1). Of 128
dimensions two arbitrary ones tell little, so there are also the two along which latents vary most
(PCA), and t-SNE (van der Maaten and Hinton, 2008, https://www.jmlr.org/papers/v9/vandermaaten08a.html),
which keeps neighbours together and says nothing of distances between groups.
"""

import numpy as np
from keras import ops
from scipy.special import ndtri

from keras_faces.errors import UserError, require_whole, unknown_name
from keras_faces.metrics.classifier import principal_components
from keras_faces.optional import load

PROJECTIONS = ("pca", "tsne", "first")


def project(latents, by: str = "pca", seed: int = 0) -> tuple[np.ndarray, tuple[str, str]]:
    """Bring latents to two dimensions.

    Args:
        latents: Array of shape `(count, latent_dim)`.
        by: `"pca"`, the two axes along which they vary most; `"tsne"`, which needs scikit-learn;
            or `"first"`, the first two dimensions as they are.
        seed: Seed of t-SNE.

    Returns:
        A float array of shape `(count, 2)`, and what its two axes are called.

    Raises:
        UserError: If there are too few latents or dimensions, or scikit-learn is not installed.
    """
    if by not in PROJECTIONS:
        raise unknown_name("projection", str(by), PROJECTIONS)
    latents = _checked(latents)
    if by == "first":
        return latents[:, :2], ("latent dimension 1", "latent dimension 2")
    if by == "tsne":
        return _tsne(latents, seed), ("t-SNE 1", "t-SNE 2")
    mean, axes, deviations = plane(latents)
    shares = deviations**2 / latents.var(axis=0).sum()
    names = tuple(f"axis {n} ({share:.0%} of the variance)" for n, share in enumerate(shares, 1))
    return (latents - mean) @ axes.T, names


def plane(latents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the plane along which latents vary most.

    Args:
        latents: Array of shape `(count, latent_dim)`.

    Returns:
        Their mean, of shape `(latent_dim,)`; two axes of length 1, of shape `(2, latent_dim)`; and
        the standard deviations along these, of shape `(2,)`.

    Raises:
        UserError: If latents do not vary along two axes.
    """
    latents = _checked(latents)
    mean = latents.mean(axis=0)
    axes, variances = principal_components(latents - mean)
    if len(variances) < 2:
        raise UserError(f"These {len(latents)} latents vary along fewer than two axes.")
    axes = axes[:, :2].T
    # An axis has no sign of its own: its greatest part is positive.
    greatest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, axes * np.sign(greatest), np.sqrt(variances[:2])


def _checked(latents) -> np.ndarray:
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2 or len(latents) < 3 or latents.shape[1] < 2:
        raise UserError(
            "Two dimensions need latents of two or more, and three latents or more: an array of "
            f"shape (count, latent_dim). Received: {latents.shape}."
        )
    return latents


def _tsne(latents, seed):
    manifold = load("sklearn.manifold", "t-SNE", "choose pca")
    # Its perplexity, about the number of neighbours that count, must be below the number of all.
    perplexity = min(30.0, (len(latents) - 1) / 3)
    return manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        latents
    )


def manifold(model, latents=None, columns: int = 15) -> np.ndarray:
    """Return the faces of a plane through the latent space, as Kingma and Welling's figure 4 does.

    Columns and rows are as far apart as equally likely values of N(0, 1) are, by the inverse of
    its distribution function: in the middle closer than at the edges.

    Args:
        model: A model with latents.
        latents: None for a model with two latents, whose prior the plane is. Or latents of shape
            `(count, latent_dim)`, such as those of encoded faces: the plane through their mean
            along the two axes on which they vary most, as wide as they are.
        columns: Faces in a row, and rows; 2 or more.

    Returns:
        Float32 faces of shape `(columns * columns, image_size, image_size, channels)` in [-1, 1],
        row by row: the first dimension grows to the right, the second upwards.

    Raises:
        UserError: If the model has more than two latents and no latents are given.
    """
    require_whole(2, columns=columns)
    steps = ndtri((np.arange(columns) + 0.5) / columns)
    across, up = np.meshgrid(steps, steps[::-1])
    places = np.stack([across.ravel(), up.ravel()], axis=1)
    if latents is not None:
        mean, axes, deviations = plane(latents)
        return model.decode(mean + (places * deviations) @ axes)
    if model.latent_dim != 2 or model.code_dim != 2:
        raise UserError(
            f"The map of a prior has two dimensions, and this {type(model).__name__} has "
            f"{model.code_dim or 'no'} latents. Give latents of encoded faces, for the plane along "
            "which they vary most."
        )
    noise = places.astype(np.float32)
    return model.decode(ops.convert_to_numpy(model.latents_from_noise(noise, model.samplers[0])))
