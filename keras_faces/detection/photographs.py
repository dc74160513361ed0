"""Faces of whole photographs: found, measured, and cut out as a model is to see them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.detection.detector import import_dlib
from keras_faces.detection.framing import (
    EYES_APART,
    FIVE_POINTS,
    ORL_FRAME,
    align,
    boxes_in,
    cut,
    eye_finder,
    model_file,
)

# Part of every remembered search: raise it when the same photographs would give other faces.
VERSION = 1

FACES = ("as-is", "found", "aligned")
PER_PHOTO = ("all", "largest")

MIN_FACE = 60  # pixels of the face's width: below it a face of 64x64 pixels is made up in part
MAX_TURN = 45.0  # degrees to either side, up to which eyes are found reliably
MIN_SHARPNESS = 0.02  # see `sharpness`

SHARP_SIDE = 64  # pixels to which a face is brought before it is looked at for blur


class FoundFace(NamedTuple):
    """A face of a photograph.

    Attributes:
        box: Left, top, right and bottom edges, in pixels of the upright photograph.
        eyes: x and y of the eye left in the photograph, then of the other.
        sharpness: See `sharpness`.
    """

    box: tuple[float, float, float, float]
    eyes: tuple[float, float, float, float]
    sharpness: float

    def scaled(self, scale: float) -> "FoundFace":
        """Return where it lies in a larger or smaller version of the photograph."""
        box, eyes = (tuple(scale * edge for edge in part) for part in (self.box, self.eyes))
        return self._replace(box=box, eyes=eyes)

    @property
    def width(self) -> float:
        """Its width in pixels."""
        return self.box[2] - self.box[0]

    @property
    def turn(self) -> float:
        """Degrees by which the line of the eyes is turned; 0 is level, clockwise is positive."""
        left, top, right, bottom = self.eyes
        return math.degrees(math.atan2(bottom - top, right - left))


def find_faces(pixels: np.ndarray) -> list[FoundFace]:
    """Return the faces of a photograph, the largest first.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`, upright.
    """
    find = eye_finder()
    return [
        FoundFace(tuple(box), tuple(find(pixels, box)), sharpness(pixels, box))
        for box in boxes_in(pixels)
    ]


def sharpness(pixels: np.ndarray, box: Sequence[float]) -> float:
    """Return how sharp a face is at 64x64 pixels: about 0 of a blurred one, 0.1 of a sharp one.

    It is the variance of the Laplacian by the variance of the grey levels, so that neither light
    nor contrast matter.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(edge) for edge in box)
    face = pixels[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    if not face.size:
        return 0.0
    image = Image.fromarray(face.squeeze(-1) if face.shape[-1] == 1 else face).convert("L")
    grey = np.asarray(image.resize((SHARP_SIDE, SHARP_SIDE), Image.Resampling.BOX), np.float64)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.var(around - 4 * inner) / (np.var(inner) + 1))


def cut_out(pixels: np.ndarray, face: FoundFace, faces: str) -> np.ndarray:
    """Return the square around a face.

    Args:
        pixels: The photograph, uint8 of shape `(height, width, 1 or 3)`, upright.
        face: One of its faces.
        faces: `"aligned"` turns, scales and places it by its eyes as CelebA's aligned faces are;
            `"found"` leaves it upright, and frames it as the ORL faces are.

    Returns:
        uint8 of shape `(side, side, 1 or 3)`.
    """
    if faces == "aligned":
        return align(pixels, face.eyes)
    return cut(pixels, face.box, ORL_FRAME._replace(eyes=None))


def side_of(face: FoundFace, faces: str) -> float:
    """Return the side of the square that `cut_out` returns, in pixels of the photograph."""
    if faces == "aligned":
        left, top, right, bottom = face.eyes
        return math.hypot(right - left, bottom - top) / EYES_APART
    return face.width / ORL_FRAME.width


def require_finder() -> None:
    """Refuse to begin where what finds faces is missing.

    Raises:
        UserError: If it is.
    """
    import_dlib()
    model_file(FIVE_POINTS)
