"""Face detection rate: the share of pictures in which a face detector finds a face.

The detector is dlib's HOG frontal face detector, looking at the picture doubled in size once, as
the Face_recognition project does and so as Zhang et al. measured (their table 1). A rate means
something only beside the rate on real faces of the same size: small faces are often missed.
"""

import threading
from types import ModuleType

import numpy as np

from keras_faces.metrics.processes import in_processes, serve
from keras_faces.optional import load
from keras_faces.pixels import check, to_uint8

UPSAMPLED = 1  # times that the detector doubles a picture's size

_own = threading.local()


def face_detection_rate(faces: np.ndarray, processes: int | None = None) -> float:
    """Return the share of faces that the detector finds, between 0 and 1.

    Args:
        faces: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.
        processes: Processes to work in; None takes one for each core where it pays.

    Raises:
        UserError: If faces are not such an array, or the detector is not installed.
    """
    return float(detected(faces, processes).mean())


def detected(faces: np.ndarray, processes: int | None = None) -> np.ndarray:
    """Return for each face whether the detector finds at least one; arguments as above."""
    images = to_rgb(faces)
    import_dlib()
    return in_processes(_detect, __name__, images, processes)


def to_rgb(faces: np.ndarray) -> np.ndarray:
    """Return float faces in [-1, 1] or uint8 faces as uint8 of three channels, as dlib wants."""
    images = to_uint8(check(faces))
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def _detect(images: np.ndarray) -> np.ndarray:
    detector = frontal_detector()
    return np.array([len(detector(np.ascontiguousarray(image), UPSAMPLED)) > 0 for image in images])


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


# As `in_processes` calls it.
if __name__ == "__main__":
    serve(_detect)
