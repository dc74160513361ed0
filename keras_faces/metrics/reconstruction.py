"""How close reconstructions come to their originals: in pixels, in structure, in identity.

Pixels are compared on the scale of 8-bit pictures, 0 to 255, without rounding to whole levels:
float faces in [-1, 1] are `(x + 1) * 127.5`. PSNR would be the same on [-1, 1] with a peak of 2.
SSIM would not, since it compares mean luminances, which have to be positive.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from keras_faces.errors import UserError
from keras_faces.metrics.identity import Descriptors, face_descriptors
from keras_faces.pixels import check

PEAK = 255.0
WINDOW, SIGMA = 11, 1.5  # of SSIM's Gaussian window
K1, K2 = 0.01, 0.03


class DescriptorDistances(NamedTuple):
    """Distances of face descriptors.

    Attributes:
        found: Whether a face was found in both, the face and its reconstruction, of shape
            `(count,)`.
        values: The distances of those, in their order: float64 of shape `(found,)`.
    """

    found: np.ndarray
    values: np.ndarray


def mean_squared_error(faces: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of each face and its reconstruction.

    Args:
        faces: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.
        reconstructions: As many, of the same size, in the same order.

    Returns:
        A float64 array of shape `(count,)`, 0 or more, on the scale of squared grey levels: of two
        pictures in [-1, 1] it is 127.5 ** 2 times the mean squared difference.

    Raises:
        UserError: If either are not such arrays, hold values that are not finite, or differ in
            number or size.
    """
    return _of_pairs(_squared_error, *_checked(faces, reconstructions))


def psnr(faces: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each reconstruction, in decibels.

    It is `10 * log10(255 ** 2 / mean_squared_error)`, over all pixels and channels of a picture.

    Args:
        faces: As in `mean_squared_error`.
        reconstructions: As many, of the same size, in the same order.

    Returns:
        A float64 array of shape `(count,)`; infinite where the two are identical, so
        that a mean over pictures is infinite too.

    Raises:
        UserError: As `mean_squared_error`.
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(PEAK**2 / mean_squared_error(faces, reconstructions))


def ssim(faces: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each face and its reconstruction.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", 2004, https://doi.org/10.1109/TIP.2003.819861, as its section III.C sets
    it: a Gaussian window of 11x11 pixels with a deviation of 1.5, weights that sum to 1, K1 = 0.01,
    K2 = 0.03, L = 255; the mean over all places where the window lies within the picture. The paper
    treats grey pictures; of colours it is the mean over the channels, as in scikit-image.

    Args:
        faces: As in `mean_squared_error`, of 11x11 pixels or more.
        reconstructions: As many, of the same size, in the same order.

    Returns:
        A float64 array of shape `(count,)` in [-1, 1]; 1 where the two are identical.

    Raises:
        UserError: As `mean_squared_error`, and if pictures are smaller than the window.
    """
    faces, reconstructions = _checked(faces, reconstructions)
    if min(faces.shape[1:3]) < WINDOW:
        raise UserError(
            f"SSIM looks at windows of {WINDOW}x{WINDOW} pixels, so pictures must not be smaller. "
            f"Received: {faces.shape[1]}x{faces.shape[2]}."
        )
    return _of_pairs(_ssim, faces, reconstructions)


def descriptor_distance(
    faces: np.ndarray, reconstructions: np.ndarray, processes: int | None = None
) -> DescriptorDistances:
    """Return how far each reconstruction's face descriptor is from its original's.

    Up to 0.6, the Face_recognition project takes two faces for one person's; `identity.py` says how
    descriptors are computed.

    Args:
        faces: As in `mean_squared_error`.
        reconstructions: As many, of the same size, in the same order.
        processes: Processes to work in; None takes one for each core where it pays.

    Returns:
        `DescriptorDistances`, Euclidean, of the pairs where a face is found in both. How many these
        are belongs beside them: what is not found is no less a failure.

    Raises:
        UserError: As `mean_squared_error`; if dlib or its models are not installed; or if there is
            no pair with a face found in both.
    """
    both = _checked(faces, reconstructions)
    return distances_of(*(face_descriptors(faces, processes) for faces in both))


def distances_of(one: Descriptors, other: Descriptors) -> DescriptorDistances:
    """Return `descriptor_distance` of descriptors that were computed before; errors as there."""
    both = one.found & other.found
    if not both.any():
        raise UserError(
            f"In none of {len(both)} pairs a face was found in both the face and its "
            f"reconstruction, so no distance can be told. Found: {one.found.sum()} faces, "
            f"{other.found.sum()} reconstructions."
        )
    difference = one.values[both[one.found]] - other.values[both[other.found]]
    return DescriptorDistances(both, np.linalg.norm(difference, axis=1))


def _ssim(one: np.ndarray, other: np.ndarray) -> float:
    radius = WINDOW // 2
    inside = (slice(radius, -radius), slice(radius, -radius))
    weights = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / SIGMA))
    weights /= weights.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        rows = ndimage.correlate1d(image, weights, axis=0)
        return ndimage.correlate1d(rows, weights, axis=1)[inside]

    mean_one, mean_other = mean(one), mean(other)
    variances = mean(one * one) - mean_one**2 + mean(other * other) - mean_other**2
    covariance = mean(one * other) - mean_one * mean_other
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    luminance = (2 * mean_one * mean_other + c1) / (mean_one**2 + mean_other**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def _checked(faces: np.ndarray, reconstructions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays, or say what is wrong with them."""
    check(faces), check(reconstructions)
    faces, reconstructions = np.asarray(faces), np.asarray(reconstructions)
    if faces.shape != reconstructions.shape:
        raise UserError(
            "Expected a reconstruction of the same size for each face. Received: faces of shape "
            f"{faces.shape}, reconstructions of shape {reconstructions.shape}."
        )
    return faces, reconstructions


def _of_pairs(
    measure: Callable[[np.ndarray, np.ndarray], float],
    faces: np.ndarray,
    reconstructions: np.ndarray,
) -> np.ndarray:
    pairs = zip(faces, reconstructions)  # one by one: in float64 all together would be large
    return np.array([measure(_levels(one), _levels(other)) for one, other in pairs])


def _levels(image: np.ndarray) -> np.ndarray:
    """Return a picture as float64 from 0 to 255."""
    levels = image.astype(np.float64)
    return levels if image.dtype == np.uint8 else (levels + 1) * 127.5


def _squared_error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(one - other).mean())
