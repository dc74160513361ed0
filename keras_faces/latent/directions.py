"""What sliders move along: directions of attributes, and those in which faces change most."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from keras_faces.errors import UserError
from keras_faces.latent.attributes import attribute_direction
from keras_faces.latent.encoding import EncodedFaces

# Faces that are decoded: so many a dimension of the latents, and so many at least.
SAMPLES_EACH = 8
SAMPLES = 256
SIDE = 32  # pixels that faces are averaged to: what is finer than this is no direction to steer by
BATCH = 64


class Directions(NamedTuple):
    """Directions through the latents that a model generates from.

    Attributes:
        mean: The mean latent, of shape `(latent_dim,)`.
        steps: One standard deviation along each direction, of shape `(count, latent_dim)`.
        shares: How much of the pixels' variance goes linearly with each, from 0 to 1.
    """

    mean: np.ndarray
    steps: np.ndarray
    shares: np.ndarray


def main_directions(
    model, count: int, samples: int | None = None, decode: Callable | None = None
) -> Directions:
    """Find the directions along which faces change most, the most important first.

    Latents of the model's default sampler are drawn and decoded, and pixels regressed on them. In
    latents that are scaled to be uncorrelated, the singular vectors of that linear map are the
    directions, and its singular values how much the pixels change within a standard deviation. It
    needs no encoder, and no gradients.

    Args:
        model: A model with latents. Conditions are drawn with the latents.
        count: How many; no more than the latents have dimensions.
        samples: How many faces are decoded; None for as many as the latents' dimensions ask for.
        decode: What turns latents into faces; None takes `model.decode`.
    """
    decode = decode or model.decode
    samples = samples or max(SAMPLES, SAMPLES_EACH * model.latent_dim)
    codes = model.sample_latents(samples)
    with tqdm(total=samples, desc="Directions", unit=" faces", disable=None) as bar:
        pixels = []
        for batch in np.array_split(codes, -(-samples // BATCH)):
            pixels.append(_averaged(decode(batch)))
            bar.update(len(batch))
    pixels = np.concatenate(pixels)
    latents = np.asarray(codes[:, : model.latent_dim], np.float64)
    mean = latents.mean(axis=0)
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(latents, rowvar=False)))
    used = variances > 1e-8 * variances.max()
    deviations, axes = np.sqrt(variances[used]), axes[:, used]
    pixels = pixels - pixels.mean(axis=0)
    scaled = (latents - mean) @ axes / deviations
    effects = scaled.T @ pixels / samples
    vectors, values, rows = np.linalg.svd(effects, full_matrices=False)
    vectors, values, rows = vectors[:, :count], values[:count], rows[:count]
    brighter = np.where(rows.sum(axis=1) < 0, -1.0, 1.0)  # to the right, as a sign must be chosen
    steps = (vectors * brighter).T * deviations @ axes.T
    shares = values**2 / max(pixels.var(axis=0).sum(), 1e-12)
    return Directions(mean.astype(np.float32), steps.astype(np.float32), shares)


def _averaged(faces: np.ndarray) -> np.ndarray:
    """Return faces with at most `SIDE` pixels a side, each as one row."""
    count, size, _, channels = faces.shape
    side = min(SIDE, size)
    blocks = faces.reshape(count, side, size // side, side, size // side, channels)
    return blocks.mean(axis=(2, 4)).reshape(count, -1)


def named_directions(encoded: EncodedFaces) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the directions of all attributes of faces by name, and why others have none.

    Args:
        encoded: What `encode_faces` returned, of faces with attributes.

    Returns:
        Name to direction, of shape `(code_dim,)`; and name to reason, where all or none have it.
    """
    found, left_out = {}, {}
    for name in encoded.names:
        try:
            found[name] = attribute_direction(encoded.latents, encoded.labels_of(name))
        except UserError as error:
            left_out[name] = str(error)
    return found, left_out
