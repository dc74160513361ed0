"""Laplacian variance: how much fine detail pictures hold."""

import numpy as np
from scipy import ndimage

from keras_faces.pixels import to_grey

KERNEL = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)


def laplacian_variance(faces: np.ndarray) -> np.ndarray:
    """Return the variance of the Laplacian of each face: higher is sharper, or noisier.

    Each picture is brought to 8-bit grey (0 to 255, ITU-R 601 luma) and filtered with the 3x3
    Laplacian, its border mirrored, as OpenCV's `Laplacian(grey, CV_64F).var()` does; the
    three-models report, (4.2).

    Args:
        faces: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.

    Returns:
        A float64 array of shape `(count,)`, on the scale of squared grey levels.

    Raises:
        UserError: If faces have another shape or hold values that are not finite.
    """
    grey = to_grey(faces).astype(np.float64)
    return np.array([ndimage.convolve(image, KERNEL, mode="mirror").var() for image in grey])
