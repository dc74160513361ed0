"""Face detection rate: the share of pictures in which a face detector finds a face.

The detector is dlib's HOG frontal face detector, looking at the picture doubled in size once, as
the Face_recognition project does and so as Zhang et al. measured (their table 1). A rate means
something only beside the rate on real faces of the same size: small faces are often missed.
"""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_faces.data.stream import to_uint8
from keras_faces.errors import UserError
from keras_faces.metrics.sharpness import check


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
    images = to_uint8(check(faces))
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    _import_dlib()
    if processes is not None and processes < 1:
        raise UserError(f"processes must be 1 or more, or None. Received: {processes}.")
    if processes is None:
        processes = os.cpu_count() if len(images) > 100 else 1
    if processes == 1:
        return _detect(images)
    parts = [images[start::processes] for start in range(processes)]
    found = np.empty(len(images), bool)
    with ThreadPoolExecutor(processes) as pool:
        for start, part in enumerate(pool.map(_detect_in_process, parts)):
            found[start::processes] = part
    return found


def _detect_in_process(images: np.ndarray) -> np.ndarray:
    # A process of our own rather than one of multiprocessing's: those import the user's script
    # again, or are forked from TensorFlow's threads and hang.
    data = io.BytesIO()
    np.save(data, images)
    # It finds this very package, wherever the user's script found it.
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=data.getvalue(),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise RuntimeError(f"The face detector's process failed:\n{done.stderr.decode()}")
    return np.load(io.BytesIO(done.stdout))


def _detect(images: np.ndarray) -> np.ndarray:
    detector = _import_dlib().get_frontal_face_detector()
    return np.array([len(detector(np.ascontiguousarray(image), 1)) > 0 for image in images])


def _import_dlib():
    try:
        import dlib
    except ImportError as error:
        raise UserError(
            "The face detector is not installed. Install it with: pip install dlib-bin"
        ) from error
    return dlib


# As `_detect_in_process` calls it: images come in, whether each holds a face goes out.
if __name__ == "__main__":
    np.save(sys.stdout.buffer, _detect(np.load(io.BytesIO(sys.stdin.buffer.read()))))
