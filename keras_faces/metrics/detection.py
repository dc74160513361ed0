"""Face detection rate: the share of pictures in which a face detector finds a face.

The detector is dlib's HOG frontal face detector, looking at the picture doubled in size once, as
the Face_recognition project does and so as Zhang et al. measured (their table 1). A rate means
something only beside the rate on real faces of the same size: small faces are often missed.
"""

import numpy as np

from keras_faces.detection.detector import UPSAMPLED, frontal_detector, import_dlib, to_rgb
from keras_faces.parallel import over_pictures

FEW_PIXELS = 10_000_000  # of all pictures together, which take one core two seconds


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
    return detected_in(to_rgb(faces), processes)


def detected_in(images: np.ndarray, processes: int | None = None) -> np.ndarray:
    """Return the same of uint8 pictures of three channels."""
    import_dlib()
    return over_pictures(_detect, images, processes, FEW_PIXELS // images[0, ..., 0].size)


def _detect(images: np.ndarray) -> np.ndarray:
    detector = frontal_detector()
    return np.array([len(detector(np.ascontiguousarray(image), UPSAMPLED)) > 0 for image in images])
