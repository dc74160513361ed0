"""Faces turned, scaled and placed by their eyes, as those of CelebA are.

CelebA's pictures were aligned by a similarity transform of the two eyes alone (its README), which
left them at about (69, 111) and (108, 111) of 178x218 pixels (ALAE's align_faces.py). In the
central square of 178 pixels, which the crop `center` keeps, that is at 39% and 61% of the width and
51% of the height. Faces are brought to that place here, so that they can be learned beside those.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_faces.optional import data_file

EYES_APART = (108 - 69) / 178  # as shares of the square's side
EYES_DOWN = (111 + 0.5 - 20) / 178  # from the edge, half a pixel before the first one's middle

FIVE_POINTS = "shape_predictor_5_face_landmarks.dat"
CORNERS = ((2, 3), (0, 1))  # numbers of the points of the eye left in the picture, of the other

# Pixels to which a detected face is brought first: the predictor answers in whole pixels, half of
# which would turn a small face by a degree or more.
FACE_SIDE = 300


def model_file(name: str) -> Path:
    """Return where a model of dlib's lies that comes with the package `face_recognition_models`.

    The package is found without being imported, since it needs `pkg_resources`, which setuptools
    no longer has.

    Raises:
        UserError: If the package is not installed.
    """
    return data_file(
        "face_recognition_models", "models", name, purpose=f"{name}, a model of dlib's,"
    )


def eye_finder() -> Callable[[np.ndarray, Sequence[float]], list[float]]:
    """Return a function that finds the eyes of a face, by dlib's predictor of five landmarks.

    It takes pixels, uint8 of shape `(h, w, 1 or 3)`, and the left, top, right and bottom edges of
    the face as dlib's detector found it. It returns x and y of the eye left in the picture, then
    of the right one, in pixels from the picture's upper left corner; they may lie outside.

    Raises:
        UserError: If dlib or its landmarks are not installed.
    """
    from keras_faces.metrics.detection import import_dlib

    dlib = import_dlib()
    predict = dlib.shape_predictor(str(model_file(FIVE_POINTS)))

    def find(pixels: np.ndarray, face: Sequence[float]) -> list[float]:
        height, width = pixels.shape[:2]
        left, top, right, bottom = face
        margin = (right - left) / 2  # the predictor looks a little beyond the face
        x, y = max(0, round(left - margin)), max(0, round(top - margin))
        near = pixels[
            y : min(height, round(bottom + margin)), x : min(width, round(right + margin))
        ]
        scale = FACE_SIDE / (right - left)
        size = [max(1, round(side * scale)) for side in near.shape[1::-1]]
        image = _image(near).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        left, top, right, bottom = (
            round(edge * scale) for edge in (left - x, top - y, right - x, bottom - y)
        )
        box = dlib.rectangle(left, top, right - 1, bottom - 1)
        points = [(point.x, point.y) for point in predict(np.asarray(image), box).parts()]
        eyes = [np.mean([points[corner] for corner in pair], 0) for pair in CORNERS]
        return [float(place) for eye in eyes for place in (eye + 0.5) / scale + (x, y)]

    return find


def align(
    pixels: np.ndarray,
    eyes: Sequence[float],
    across: float = 0.5,
    down: float = EYES_DOWN,
    apart: float = EYES_APART,
) -> np.ndarray:
    """Return the square around a face in which its eyes are level and at a given place.

    The face keeps its size in pixels, so nothing is lost before a crop shrinks it, antialiased.
    Where the square leaves the picture, the pixels at the picture's edge are repeated: black
    corners would be learned as part of a face, and a mirror shows a second pair of eyes where a
    face is close to the edge.

    Args:
        pixels: uint8 of shape `(h, w, 1 or 3)`.
        eyes: What `eye_finder` found.
        across: Where the point between them is to lie, as a share of the square's side from its
            left edge; by default this place and the two below are those of CelebA's faces.
        down: The same from its upper edge.
        apart: How far they are to be apart, as a share of the side.

    Returns:
        uint8 of shape `(side, side, 1 or 3)`.
    """
    one, two = np.reshape(eyes, (2, 2))
    middle, distance = (one + two) / 2, float(np.hypot(*(two - one)))
    side = max(1, round(distance / apart))
    cos, sin = (two - one) / (side * apart)
    turn = np.array([[cos, -sin], [sin, cos]])
    origin = middle - turn @ (side * across, side * down)
    corners = origin + np.array([(0, 0), (side, 0), (0, side), (side, side)]) @ turn.T
    # Bicubic interpolation looks two pixels beyond.
    first, last = np.floor(corners.min(0)).astype(int) - 2, np.ceil(corners.max(0)).astype(int) + 2
    rows = np.clip(np.arange(first[1], last[1]), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(first[0], last[0]), 0, pixels.shape[1] - 1)
    x, y = origin - first
    image = _image(pixels[np.ix_(rows, columns)]).transform(
        (side, side),
        Image.Transform.AFFINE,
        (cos, -sin, x, sin, cos, y),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(image).reshape(side, side, -1)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )
