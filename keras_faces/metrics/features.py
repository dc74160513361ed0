"""What features of pictures may be: real numbers, one row a picture.

Scores of them are pure functions on arrays, whatever network those come from. All arithmetic is
float64, and memory does not grow with the product of the numbers of images.
"""

import numpy as np

from keras_faces.errors import UserError
from keras_faces.pixels import as_array


def row_squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def feature_matrix(values: np.ndarray, name: str, columns: str = "features") -> np.ndarray:
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


def feature_pair(a, b, name_a: str, name_b: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = feature_matrix(a, name_a), feature_matrix(b, name_b)
    if a.shape[1] != b.shape[1]:
        raise different_features(a.shape[1], b.shape[1])
    return a, b


def different_features(a: int, b: int) -> UserError:
    return UserError(
        f"Only features of one network can be compared. Received: {a} and {b} features."
    )
