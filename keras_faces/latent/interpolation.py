"""Interpolation: latents on the way from one to another, straight or on a sphere, and their faces.

The straight way passes nearer to the middle of the latent space than the latents that a model has
learnt from: those of N(0, I) in many dimensions all have about the same length, and points halfway
between two of them are shorter by the square root of two. The spherical way (Shoemake, 1985,
https://doi.org/10.1145/325165.325242; for generators: White, 2016,
https://arxiv.org/abs/1609.04468) keeps to that length.

Latents that are uniform in a cube, those of `gan` and `began`, have no such sphere: there the
straight way stays in the cube, and the spherical one goes along the normal noise that the latents
are the distribution function of, so that each latent on it is as likely as any other.
"""

import contextlib
import math
import os
from pathlib import Path

import numpy as np
from keras import ops

from keras_faces.errors import UserError, require_above, require_whole, unknown_name
from keras_faces.files import write_whole
from keras_faces.optional import import_av
from keras_faces.pictures import (
    enlarged,
    gif,
    grid,
    picture_suffix,
    save_picture,
    scaled,
    video,
)

PATHS = ("linear", "spherical")

PARALLEL = 1e-6  # radians from the same or the opposite direction, where an arc is a straight line
MORPH_SIZE = 128  # pixels at least, as 64 are hardly seen on a screen


def interpolate(a, b, frames: int = 10, path: str = "linear") -> np.ndarray:
    """Return latents on the way from `a` to `b`, both included.

    Args:
        a: A latent of shape `(latent_dim,)`, or several of shape `(count, latent_dim)`.
        b: As many.
        frames: How many on the way, 2 or more.
        path: `"linear"`, or `"spherical"`: along the great circle through both directions, with a
            length that goes from the one's to the other's. Where these are parallel or opposite,
            or one is 0, there is no one arc, and the way is straight.

    Returns:
        A float32 array of shape `(frames, latent_dim)` or `(frames, count, latent_dim)`.

    Raises:
        UserError: If the latents do not match, or an argument is unknown.
    """
    require_whole(2, frames=frames)
    if path not in PATHS:
        raise unknown_name("path", str(path), PATHS)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim not in (1, 2) or not a.size:
        raise UserError(
            "Expected latents of one shape, (latent_dim,) or (count, latent_dim), on both ends. "
            f"Received: {a.shape} and {b.shape}."
        )
    share = np.linspace(0.0, 1.0, frames).reshape(-1, *(1,) * a.ndim)
    of_a, of_b = 1 - share, share
    if path == "spherical":
        of_a, of_b = _on_the_arc(share, angle_between(a, b)[..., None])
    return (of_a * a + of_b * b).astype(np.float32)


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angles between vectors along the last axis, 0 to pi; 0 where one is 0.

    By Kahan's formula, which keeps small angles where the arc cosine rounds them away.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        a = a / np.linalg.norm(a, axis=-1, keepdims=True)
        b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    apart, together = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.nan_to_num(2 * np.arctan2(apart, together))


def _on_the_arc(share, angle):
    bent = (angle > PARALLEL) & (angle < math.pi - PARALLEL)
    safe = np.where(bent, angle, 1.0)
    of_a = np.where(bent, np.sin((1 - share) * safe) / np.sin(safe), 1 - share)
    of_b = np.where(bent, np.sin(share * safe) / np.sin(safe), share)
    return of_a, of_b


def between(model, a, b, frames: int = 10, path: str = "linear") -> np.ndarray:
    """Return what a model decodes to faces on the way from `a` to `b`; see `interpolate`.

    Args:
        model: A model with latents. The spherical way goes along its prior's normal noise, and
            conditions of a conditional model go straight.
        a: What `model.decode` takes: shape `(code_dim,)` or `(count, code_dim)`.
        b: As many.
        frames: How many on the way, 2 or more.
        path: `"linear"` or `"spherical"`.

    Returns:
        A float32 array of shape `(frames, code_dim)` or `(frames, count, code_dim)`.
    """
    straight = interpolate(a, b, frames)
    if path == "linear":
        return straight
    width = model.latent_dim
    noise = [
        ops.convert_to_numpy(model.noise_from_latents(np.asarray(end, np.float32)[..., :width]))
        for end in (a, b)
    ]
    arcs = interpolate(*noise, frames, path)
    rows = model.latents_from_noise(arcs.reshape(-1, width), model.samplers[0])
    latents = ops.convert_to_numpy(rows)[:, :width].reshape(arcs.shape)
    return np.concatenate([latents, straight[..., width:]], axis=-1)


def corner_grid(model, corners, columns: int = 8, path: str = "linear") -> np.ndarray:
    """Return what a model decodes to a square of faces between four.

    Args:
        model: A model with latents.
        corners: Four latents of shape `(code_dim,)`: upper left and right, lower left and right.
        columns: Faces in a row, and rows; 2 or more.
        path: `"linear"` or `"spherical"`: down both sides first, then across.

    Returns:
        A float32 array of shape `(columns * columns, code_dim)`, row by row.
    """
    corners = np.asarray(corners, np.float32)
    if corners.ndim != 2 or len(corners) != 4:
        raise UserError(
            f"Expected four latents, of shape (4, code_dim). Received: {corners.shape}."
        )
    sides = between(model, corners[:2], corners[2:], columns, path)  # (rows, 2, code_dim)
    rows = between(model, sides[:, 0], sides[:, 1], columns, path)  # (columns, rows, code_dim)
    return rows.swapaxes(0, 1).reshape(columns * columns, -1)


def frames_suffix(path: str | os.PathLike) -> str:
    """Return the suffix of a strip's or animation's path.

    Raises:
        UserError: If it is of neither, or of a video and PyAV is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".mp4":
        import_av()  # missing, it is told now and not after the work
    if suffix in (".gif", ".mp4"):
        return suffix
    with contextlib.suppress(UserError):
        if picture_suffix(path):
            return suffix
    raise UserError(
        "Expected a picture such as strip.png, or morph.gif, or morph.mp4. "
        f"Received: {os.fspath(path)!r}."
    )


def save_frames(
    faces: np.ndarray,
    path: str | os.PathLike,
    seconds: float = 0.1,
    columns: int | None = None,
    scale: int = 1,
) -> Path:
    """Write faces beside each other, or after each other as an animation.

    Args:
        faces: Float faces of shape `(frames, size, size, channels)` in [-1, 1].
        path: A picture, in which they stand in one row; a .gif, which goes there and back again so
            that it can be repeated for ever; or a .mp4, which goes there once (needs PyAV).
        seconds: How long an animation shows each.
        columns: Faces in a row of a picture; None puts all in one.
        scale: How many times as wide and high it is.

    Raises:
        UserError: If the suffix is none of these, or PyAV is not installed.
    """
    require_above(0, seconds=seconds)
    suffix = frames_suffix(path)
    if suffix not in (".gif", ".mp4"):
        return save_picture(grid(faces, columns or len(faces)), path, scale)
    return write_whole(Path(path), animation(faces, suffix, seconds, scale))


def animation(faces: np.ndarray, suffix: str, seconds: float = 0.1, scale: int = 1) -> bytes:
    """Return the bytes of the `".gif"` or `".mp4"` that `save_frames` writes."""
    pictures = [scaled(enlarged(grid(face[None], gap=0), MORPH_SIZE), scale) for face in faces]
    if suffix == ".mp4":
        return video(pictures, seconds)
    return gif([*pictures, *pictures[-2:0:-1]], seconds, hold=1)
