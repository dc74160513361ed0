"""Faces of any picture, framed as those of a training set are.

A model knows faces of one size at one place: those that its training's crop left. A face found in
a picture of another kind is cut out so that the detector's box lies where, and is as wide as, it is
in the training faces, by their median. So it works for every source and every crop, without a word
of how either frames a face. dlib's boxes come in sizes a fifth apart, so the framing is right to
about a tenth of the face.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

DETECTED_SIDE = (
    960  # pixels; larger pictures are shrunk for the detector, those below half enlarged
)
LOOKED_AT = 128  # pixels to which training faces are brought: twice 64, as scores look at them
ENOUGH = 8  # faces found, below which a median says little


class Frame(NamedTuple):
    """Where the detector's box lies in a square face, as shares of the square's side.

    Attributes:
        across: The box's middle, from the left edge.
        down: The box's middle, from the upper edge.
        width: The box's width.
    """

    across: float
    down: float
    width: float


# Of the ORL faces under the crop `center`, as `measured_frame` finds it.
ORL_FRAME = Frame(0.48, 0.65, 0.82)


def faces_in(pixels: np.ndarray) -> tuple[list, float]:
    """Return the faces that dlib's detector finds in a picture.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`.

    Returns:
        dlib's rectangles, the largest first, in pixels of the picture shrunk by a scale; and that
        scale.

    Raises:
        UserError: If the detector is not installed.
    """
    from keras_faces.metrics.detection import frontal_detector

    height, width = pixels.shape[:2]
    scale = min(1.0, DETECTED_SIDE / max(height, width))
    image = Image.fromarray(
        np.ascontiguousarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    )
    image = image.convert("RGB")
    if scale < 1:
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    enlarged = max(image.size) < DETECTED_SIDE // 2
    faces = frontal_detector()(np.asarray(image), int(enlarged))
    return sorted(faces, key=lambda face: -face.area()), scale


def boxes_in(pixels: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the faces found in a picture, the largest first: middle (x, y) and width in pixels."""
    faces, scale = faces_in(pixels)
    return [
        (
            (face.left() + face.right() + 1) / 2 / scale,
            (face.top() + face.bottom() + 1) / 2 / scale,
            face.width() / scale,
        )
        for face in faces
    ]


def measured_frame(faces: np.ndarray) -> Frame | None:
    """Return the frame of training faces, or None where the detector finds too few of them.

    Args:
        faces: uint8 faces of shape `(count, size, size, 1 or 3)`; 64 are enough.
    """
    found = []
    for face in faces:
        image = Image.fromarray(face[..., 0] if face.shape[-1] == 1 else face).convert("RGB")
        side = max(LOOKED_AT, image.width)
        image = image.resize((side, side), Image.Resampling.BICUBIC)
        boxes = boxes_in(np.asarray(image))
        if boxes:
            found.append([value / side for value in boxes[0]])
    return Frame(*map(float, np.median(found, axis=0))) if len(found) >= ENOUGH else None


def cut(pixels: np.ndarray, box: Sequence[float], frame: Frame) -> np.ndarray:
    """Return the square around a face in which its box lies as the frame says.

    Where the square leaves the picture, the pixels at the picture's edge are repeated, as
    `keras_faces.data.alignment.align` does and for its reasons.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`.
        box: A face of `boxes_in`.
        frame: Where its box is to lie.

    Returns:
        uint8 of shape `(side, side, 1 or 3)`.
    """
    x, y, width = box
    side = max(1, round(width / frame.width))
    left, top = round(x - frame.across * side), round(y - frame.down * side)
    rows = np.clip(np.arange(top, top + side), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, pixels.shape[1] - 1)
    return pixels[np.ix_(rows, columns)]
