"""Attributes as directions: the three-models report, section 5.1.

"We computed the difference between the mean latent vectors of images with and without certain
attributes (such as smiling expressions)". Added to a latent once, the direction goes as far as the
one mean is from the other; its strength is a factor of that.

Attributes that go together in the data have directions that share a part, so that glasses bring a
beard along where those who wear them often have one. Against others, a direction is made orthogonal
to theirs. That takes away what the means share, not all that the decoder does with the rest.

A conditional model is told attributes as its conditions, and its latents need not hold them. The
same section goes on: "By combining conditional variables with latent vector operations, we can
generate images under specific conditions while precisely adjusting particular attributes." So what
changes an attribute of its faces is the condition, a direction within its latents while conditions
stay as they are, or both.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.errors import UserError, unknown_name
from keras_faces.latent.encoding import EncodedFaces

BY = ("latent", "condition", "both")

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
    width: int | None = None,
) -> np.ndarray:
    """Return the directions of attributes by name, of shape `(attributes, code_dim)`.

    Args:
        encoded: What `encode_faces` returned.
        names: The attributes.
        against: Attributes to whose directions each is made orthogonal.
        chosen: Rows of the faces to take the means of; all by default.
        width: Of a conditional model its `latent_dim`: beyond that lie its conditions, along which
            directions do not go. None lets them go along all that the model decodes.

    Raises:
        UserError: If an attribute is unknown, is in all faces or in none, or would be made
            orthogonal to itself.
    """
    both = sorted(set(names) & set(against))
    if both:
        raise UserError(f"{both[0]!r} cannot be changed and held at the same time.")
    directions = [_direction(encoded, name, chosen, width) for name in names]
    if against:
        others = [_direction(encoded, name, chosen, width) for name in against]
        directions = [orthogonalise(direction, others) for direction in directions]
    return np.stack(directions)


def _direction(encoded, name, chosen, width):
    labels = encoded.labels_of(name)[chosen]
    try:
        direction = attribute_direction(encoded.latents[chosen], labels)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if width is not None:
        direction[width:] = 0
    return direction


# Conditions, and both together.


def under_conditions(model, codes, conditions: Mapping[str, float]) -> np.ndarray:
    """Return the same latents under other conditions.

    Args:
        model: A conditional model.
        codes: What `model.decode` takes, latents followed by conditions: one of shape
            `(code_dim,)`, or several of shape `(count, code_dim)`.
        conditions: How far those that change hold: 0 not at all, 1 wholly, 0.5 by half. All others
            stay as they are.

    Returns:
        Float32 codes of the shape of `codes`.

    Raises:
        UserError: If the model takes no conditions, or not these.
    """
    columns = {column_of(model, name): value for name, value in conditions.items()}
    return Change(np.zeros(model.code_dim, np.float32), columns).applied(codes)


def column_of(model, name: str) -> int:
    """Return the column of a condition in the codes of a conditional model.

    Raises:
        UserError: If the model takes no conditions, or not this one.
    """
    if not model.conditional:
        raise UserError(f"A {type(model).__name__} takes no conditions.")
    if name not in model.condition_names:
        raise unknown_name("condition", name, model.condition_names)
    return model.latent_dim + model.condition_names.index(name)


class Change(NamedTuple):
    """What changes attributes in codes, the input of `decode`.

    Attributes:
        direction: What is added to a code, of shape `(code_dim,)`.
        conditions: Columns of a code that are conditions, and what they are set to.
    """

    direction: np.ndarray
    conditions: Mapping[int, float]

    def applied(self, codes, factor: float = 1.0) -> np.ndarray:
        """Return changed codes: moved `factor` times as far, conditions set to as many times."""
        changed = apply(codes, self.direction, factor)
        for column, value in self.conditions.items():
            changed[..., column] = factor * value
        return changed


def ways_by(model, names: Sequence[str], by: str | None = None) -> tuple[list[str], list[str]]:
    """Return which attributes are changed by a direction, and which by a condition.

    Args:
        model: The model.
        names: The attributes.
        by: `"latent"`, `"condition"` or `"both"`; None takes the condition of what is one and the
            latent for all else.

    Raises:
        UserError: If what is to be changed by its condition is not one of the model's.
    """
    if by not in (None, *BY):
        raise unknown_name("way to change an attribute", str(by), BY)
    if by in ("condition", "both"):
        for name in names:
            column_of(model, name)
        return list(names) if by == "both" else [], list(names)
    known = set(model.condition_names) if model.conditional and by is None else set()
    return [n for n in names if n not in known], [n for n in names if n in known]


def attribute_change(
    model,
    encoded: EncodedFaces | None,
    names: Sequence[str],
    strengths=1.0,
    against: Sequence[str] = (),
    by: str | None = None,
    chosen=slice(None),
) -> Change:
    """Return what changes attributes of a model's faces, all at once.

    Args:
        model: The model.
        encoded: What `encode_faces` returned, of faces with attributes; None where `ways_by` names
            no direction.
        names: The attributes.
        strengths: One for all, or one for each: how many times the direction, and how far the
            condition holds.
        against: Attributes to whose directions each is made orthogonal.
        by: See `ways_by`.
        chosen: Rows of the faces to take directions from; all by default.

    Raises:
        UserError: If an attribute is unknown, or strengths do not fit.
    """
    moved, told = ways_by(model, names, by)
    # Checked for both ways, although the sum itself is of directions alone.
    combined(np.zeros((len(names), 1)), strengths)
    strength = dict(zip(names, np.broadcast_to(strengths, len(names)), strict=True))
    if against and not moved:
        raise UserError(
            f"A condition changes nothing but itself, so {', '.join(names)} cannot be changed "
            f"against {', '.join(against)}. Leave that out, or change it by 'latent' or 'both'."
        )
    if moved:
        width = model.latent_dim if model.conditional else None
        directions = attribute_directions(encoded, moved, against, chosen, width)
        direction = combined(directions, [strength[name] for name in moved])
    else:
        direction = np.zeros(model.code_dim, np.float32)
    return Change(direction, {column_of(model, name): float(strength[name]) for name in told})
