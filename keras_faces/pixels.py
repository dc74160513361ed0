"""What an array of faces is: floats in [-1, 1], or bytes; and how one becomes the other."""

import numpy as np

from keras_faces.errors import UserError


def to_float(images: np.ndarray) -> np.ndarray:
    """Return uint8 images as float32 in [-1, 1]."""
    faces = np.divide(images, np.float32(127.5), dtype=np.float32)
    faces -= 1
    return faces


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Return float images in [-1, 1] as uint8 in [0, 255], values outside clipped."""
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def to_grey(faces: np.ndarray) -> np.ndarray:
    """Return float faces in [-1, 1] as uint8 grey of shape `(count, height, width)`."""
    faces = check(faces)
    images = to_uint8(faces)
    if images.shape[-1] == 1:
        return images[..., 0]
    # The fixed-point luma that OpenCV uses, so that grey levels are the same to the last bit.
    red, green, blue = (images[..., channel].astype(np.int64) for channel in range(3))
    return ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15).astype(np.uint8)


def as_array(values) -> np.ndarray:
    """Return what numpy makes of them.

    Raises:
        UserError: If they are a list of arrays whose sizes differ, of which it makes none.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        shapes = list(dict.fromkeys(np.shape(value) for value in values))
        raise UserError(
            "Expected one size for all. Received a list in which sizes differ: "
            f"{' and '.join(map(str, shapes[:2]))}."
        ) from error


def check(faces: np.ndarray) -> np.ndarray:
    """Return faces as floats in [-1, 1], or say what is wrong with them.

    Args:
        faces: Float faces in [-1, 1] or uint8 faces in [0, 255], of shape
            `(count, height, width, 1 or 3)`.
    """
    faces = as_array(faces)
    if faces.ndim != 4 or faces.shape[-1] not in (1, 3) or not faces.size:
        raise UserError(
            f"Expected faces of shape (count, height, width, 1 or 3). Received: {faces.shape}."
        )
    if faces.dtype == np.uint8:
        return to_float(faces)
    if not np.issubdtype(faces.dtype, np.floating):
        raise UserError(f"Expected float faces in [-1, 1] or uint8 faces. Received: {faces.dtype}.")
    if not np.isfinite(faces).all():
        bad = int((~np.isfinite(faces).all(axis=(1, 2, 3))).sum())
        raise UserError(f"{bad} of {len(faces)} faces hold values that are not finite.")
    if np.abs(faces).max() > 1.01:
        raise UserError(
            "Expected faces with values in [-1, 1]. "
            f"Received values from {faces.min():.4g} to {faces.max():.4g}."
        )
    return faces
