"""dlib's frontal face detector, for scores and for photographs alike."""

import threading
from types import ModuleType

import numpy as np

from keras_faces.optional import load
from keras_faces.pixels import check, to_uint8

UPSAMPLED = 1  # times that the detector doubles a picture's size

_own = threading.local()


def to_rgb(faces: np.ndarray) -> np.ndarray:
    """Return float faces in [-1, 1] or uint8 faces as uint8 of three channels, as dlib wants."""
    images = to_uint8(check(faces))
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def frontal_detector():
    """Return dlib's detector, this thread's own: made once, which takes longer than 400 faces."""
    if not hasattr(_own, "detector"):
        _own.detector = import_dlib().get_frontal_face_detector()
    return _own.detector


def import_dlib() -> ModuleType:
    """Return dlib.

    Raises:
        UserError: If it is not installed.
    """
    return load("dlib", "The face detector")
