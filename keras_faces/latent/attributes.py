"""Attributes as directions: the three-models report, section 5.1.

"We computed the difference between the mean latent vectors of images with and without certain
attributes (such as smiling expressions)". Added to a latent once, the direction goes as far as the
one mean is from the other; its strength is a factor of that.

Attributes that go together in the data have directions that share a part, so that glasses bring a
beard along where those who wear them often have one. Against others, a direction is made orthogonal
to theirs. That takes away what the means share, not all that the decoder does with the rest.
"""

from collections.abc import Sequence

import numpy as np

from keras_faces.errors import UserError
from keras_faces.latent.encoding import EncodedFaces

NOTHING = 1e-6  # of a direction's length, below which nothing but rounding is left of it


def attribute_direction(latents, labels) -> np.ndarray:
    """Return the mean latent of faces with an attribute minus that of faces without it.

    Args:
        latents: Array of shape `(count, latent_dim)`.
        labels: Whether each face has the attribute: 0 and 1, or false and true, of shape
            `(count,)`; of several attributes, of shape `(count, attributes)`.

    Returns:
        A float32 array of shape `(latent_dim,)`, or `(attributes, latent_dim)` of several.

    Raises:
        UserError: If shapes do not fit, or an attribute is in all faces or in none.
    """
    latents, labels = np.asarray(latents, np.float64), np.asarray(labels, np.float64)
    if latents.ndim != 2 or labels.ndim not in (1, 2) or len(labels) != len(latents):
        raise UserError(
            "Expected latents of shape (count, latent_dim) and as many labels, of shape (count,) "
            f"or (count, attributes). Received: {latents.shape} and {labels.shape}."
        )
    if not np.isin(labels, (0, 1)).all():
        raise UserError(
            "Labels must be 0 or 1. Received: "
            f"{', '.join(f'{value:g}' for value in np.unique(labels)[:5])}."
        )
    columns = labels.reshape(len(labels), -1)
    count = columns.sum(axis=0)
    if not len(labels) or (count == 0).any() or (count == len(labels)).any():
        raise UserError(
            "A direction needs faces with the attribute and faces without it. Received: "
            f"{', '.join(f'{number:g}' for number in count)} of {len(labels)} faces with it."
        )
    with_it = columns.T @ latents / count[:, None]
    without = (1 - columns).T @ latents / (len(labels) - count)[:, None]
    directions = (with_it - without).astype(np.float32)
    return directions[0] if labels.ndim == 1 else directions


def orthogonalise(direction, others) -> np.ndarray:
    """Return what is left of a direction once all that it shares with others is taken away.

    Args:
        direction: Array of shape `(latent_dim,)`.
        others: One other direction, or several of shape `(count, latent_dim)`.

    Returns:
        A float32 array of shape `(latent_dim,)`, orthogonal to each of the others, and no longer
        than it was.

    Raises:
        UserError: If shapes do not fit, or nothing is left.
    """
    direction, others = np.asarray(direction, np.float64), np.atleast_2d(np.asarray(others, float))
    if direction.ndim != 1 or others.ndim != 2 or others.shape[1] != len(direction):
        raise UserError(
            "Expected a direction of shape (latent_dim,) and others of shape (count, latent_dim). "
            f"Received: {direction.shape} and {others.shape}."
        )
    # Others may depend on each other: the axes of what they span, not they themselves.
    _, sizes, axes = np.linalg.svd(others, full_matrices=False)
    axes = axes[sizes > NOTHING * max(sizes.max(initial=0.0), 1e-30)]
    left = direction - axes.T @ (axes @ direction)
    if np.linalg.norm(left) <= NOTHING * np.linalg.norm(direction):
        raise UserError(
            f"Nothing is left of this direction: it lies within what the {len(others)} others "
            "span. Leave one of them out."
        )
    return left.astype(np.float32)


def combined(directions, strengths=1.0) -> np.ndarray:
    """Return the sum of directions, each times its strength, of shape `(latent_dim,)`.

    Args:
        directions: One of shape `(latent_dim,)`, or several of shape `(count, latent_dim)`.
        strengths: One for all, or one for each.

    Raises:
        UserError: If there are not as many strengths, or one is not finite.
    """
    directions = np.atleast_2d(np.asarray(directions, np.float64))
    strengths = np.atleast_1d(np.asarray(strengths, np.float64))
    if strengths.shape not in ((1,), (len(directions),)):
        raise UserError(
            f"Expected one strength for all, or one for each of {len(directions)} attributes. "
            f"Received: {len(strengths)}."
        )
    if not np.isfinite(strengths).all():
        raise UserError(f"Strengths must be finite. Received: {strengths.tolist()}.")
    return np.sum(strengths[:, None] * directions, axis=0).astype(np.float32)


def apply(latents, directions, strengths=1.0) -> np.ndarray:
    """Return latents moved along directions.

    Args:
        latents: One of shape `(latent_dim,)`, or several of shape `(count, latent_dim)`.
        directions: One of shape `(latent_dim,)`, or several, which are added up.
        strengths: How far: 1 is the whole direction, a negative one goes the other way. One for
            all directions, or one for each.

    Returns:
        Float32 latents of the shape of `latents`.
    """
    latents, change = np.asarray(latents, np.float32), combined(directions, strengths)
    if latents.shape[-1:] != change.shape:
        raise UserError(
            f"Latents and directions must be equally wide. Received: {latents.shape} and "
            f"{change.shape}."
        )
    return latents + change


def attribute_directions(
    encoded: EncodedFaces,
    names: Sequence[str],
    against: Sequence[str] = (),
    chosen=slice(None),
) -> np.ndarray:
    """Return the directions of attributes by name, of shape `(attributes, latent_dim)`.

    Args:
        encoded: What `encode_faces` returned.
        names: The attributes.
        against: Attributes to whose directions each is made orthogonal.
        chosen: Rows of the faces to take the means of; all by default.

    Raises:
        UserError: If an attribute is unknown, is in all faces or in none, or would be made
            orthogonal to itself.
    """
    both = sorted(set(names) & set(against))
    if both:
        raise UserError(f"{both[0]!r} cannot be changed and held at the same time.")
    directions = [_direction(encoded, name, chosen) for name in names]
    if against:
        others = [_direction(encoded, name, chosen) for name in against]
        directions = [orthogonalise(direction, others) for direction in directions]
    return np.stack(directions)


def _direction(encoded, name, chosen):
    labels = encoded.labels_of(name)[chosen]
    try:
        return attribute_direction(encoded.latents[chosen], labels)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
