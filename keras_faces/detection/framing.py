"""Faces of any picture, framed as those of a training set are.

A model knows faces of one size at one place: those that its training's crop left. A face found in
a picture of another kind is cut out so that its eyes lie where they lie in the training faces, by
their median. So it works for every source and every crop, without a word of how either frames a
face. Eyes are found by dlib's landmarks (extra `identity`); without these, the detector's box is
brought to the place of the training faces' boxes. Boxes come in sizes a fifth apart and do not turn
with the face, so that is right to about a tenth of the face.

Training faces do not all lie at one place, and a model that has learnt from few of them knows each
only where it lay. So of the framings within the spread of the training faces the one may be taken
that a model reconstructs best: with a VAE of the ORL faces that lifted the reconstructions of
twelve of these, pasted into larger pictures, from 19.8 to 24.2 dB.

Where no training set says how, `align` turns, scales and places faces by their eyes as those of
CelebA are, by a similarity transform of the two eyes alone (CelebA's README), which
left them at about (69, 111) and (108, 111) of 178x218 pixels (ALAE's align_faces.py). In the
central square of 178 pixels, which the crop `center` keeps, that is at 39% and 61% of the width and
51% of the height.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.detection.detector import frontal_detector, import_dlib
from keras_faces.errors import UserError
from keras_faces.optional import data_file

DETECTED_SIDE = (
    960  # pixels; larger pictures are shrunk for the detector, those below half enlarged
)
LOOKED_AT = 128  # pixels to which training faces are brought: twice 64, as scores look at them
MARGIN = 0.3  # around a frame, as a share of its side: room for `best_framing`
STEPS = (1.2, 0.4)  # by which it looks around, in standard deviations
NEARLY_ALL = 2.5  # standard deviations
ENOUGH = 8  # faces found, below which a median says little

EYES_APART = (108 - 69) / 178  # as shares of the square's side
EYES_DOWN = (111 + 0.5 - 20) / 178  # from the edge, half a pixel before the first one's middle

FIVE_POINTS = "shape_predictor_5_face_landmarks.dat"
CORNERS = ((2, 3), (0, 1))  # numbers of the points of the eye left in the picture, of the other

# Pixels to which a detected face is brought first: the predictor answers in whole pixels, half of
# which would turn a small face by a degree or more.
FACE_SIDE = 300


class Frame(NamedTuple):
    """Where a face lies in a square, all as shares of the square's side.

    Attributes:
        across: The middle of the detector's box, from the left edge.
        down: The same from the upper edge.
        width: The box's width.
        eyes: The point between the eyes, from the left and the upper edge, and how far they are
            apart; or None where that is not known.
        spread: Standard deviations of the first two, and of the third as a share of itself.
    """

    across: float
    down: float
    width: float
    eyes: tuple[float, float, float] | None = None
    spread: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def widened(self) -> "Frame":
        """Return the frame of the square that has a margin all around this one."""
        whole = 1 + 2 * MARGIN
        return self._replace(
            across=(self.across + MARGIN) / whole,
            down=(self.down + MARGIN) / whole,
            width=self.width / whole,
            eyes=self.eyes
            and (
                (self.eyes[0] + MARGIN) / whole,
                (self.eyes[1] + MARGIN) / whole,
                self.eyes[2] / whole,
            ),
        )

    def holds(self, box: Sequence[float], square: Sequence[float]) -> bool:
        """Return whether a face lies in a square as nearly all training faces lie in theirs.

        Args:
            box: The face, as `boxes_in` returns it.
            square: Left, top, right and bottom edges.
        """
        x, y, width = _middle(box)
        left, top, right, _ = square
        side = right - left
        away = (
            (x - left) / side - self.across,
            (y - top) / side - self.down,
            width / side / self.width - 1,
        )
        return bool(np.all(np.abs(away) <= NEARLY_ALL * np.array(self.spread)))


# Of the ORL faces under the crop `center`, as `measured_frame` finds it.
ORL_FRAME = Frame(0.48, 0.68, 0.84, (0.50, 0.48, 0.36), (0.08, 0.06, 0.09))


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
    height, width = pixels.shape[:2]
    scale = min(1.0, DETECTED_SIDE / max(height, width))
    image = _image(pixels).convert("RGB")
    if scale < 1:
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    enlarged = max(image.size) < DETECTED_SIDE // 2
    faces = frontal_detector()(np.asarray(image), int(enlarged))
    return sorted(faces, key=lambda face: -face.area()), scale


def boxes_in(pixels: np.ndarray) -> list[list[float]]:
    """Return the faces found in a picture, the largest first: left, top, right, bottom edges.

    Where none is found at once, it is looked for with room around the picture: the detector misses
    faces that fill it to the edge. Edges may then lie outside.
    """
    faces, scale = faces_in(pixels)
    room = 0
    if not faces:
        room = max(pixels.shape[:2]) // 4
        faces, scale = faces_in(np.pad(pixels, ((room, room), (room, room), (0, 0)), mode="edge"))
    edges = [(face.left(), face.top(), face.right() + 1, face.bottom() + 1) for face in faces]
    return [[edge / scale - room for edge in box] for box in edges]


def measured_frame(faces: np.ndarray) -> Frame | None:
    """Return the frame of training faces, or None where the detector finds too few of them.

    Args:
        faces: uint8 faces of shape `(count, size, size, 1 or 3)`; 64 are enough.
    """
    find = find_eyes()
    boxes, eyes = [], []
    for face in faces:
        side = max(LOOKED_AT, len(face))
        pixels = np.asarray(
            _image(face).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        )
        for box in boxes_in(pixels)[:1]:
            x, y, width = _middle(box)
            boxes.append((x / side, y / side, width / side))
            if find is not None:
                pair = np.reshape(find(pixels, box), (2, 2)) / side
                eyes.append((*pair.mean(axis=0), np.hypot(*(pair[1] - pair[0]))))
    if len(boxes) < ENOUGH:
        return None
    middle, spread = np.median(boxes, axis=0), np.std(boxes, axis=0)
    spread[2] /= middle[2]
    between = tuple(np.median(eyes, axis=0).tolist()) if eyes else None
    # More than a tenth is the detector's mistakes.
    return Frame(*middle.tolist(), between, tuple(np.minimum(spread, 0.1).tolist()))


@functools.cache
def find_eyes() -> Callable | None:
    """Return what `eye_finder` returns, made once, or None where dlib's landmarks are missing."""
    try:
        return eye_finder()
    except UserError:
        return None


def cut(pixels: np.ndarray, box: Sequence[float], frame: Frame) -> np.ndarray:
    """Return the square around a face in which it lies as the frame says.

    Where the square leaves the picture, the pixels at the picture's edge are repeated.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`.
        box: A face of `boxes_in`.
        frame: Where it is to lie.

    Returns:
        uint8 of shape `(side, side, 1 or 3)`.
    """
    find = find_eyes() if frame.eyes else None
    if find is not None:
        return align(pixels, find(pixels, box), *frame.eyes)
    x, y, width = _middle(box)
    side = max(1, round(width / frame.width))
    left, top = round(x - frame.across * side), round(y - frame.down * side)
    rows = np.clip(np.arange(top, top + side), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, pixels.shape[1] - 1)
    return pixels[np.ix_(rows, columns)]


def best_framing(
    wide: np.ndarray,
    spread: Sequence[float],
    shrink: Callable[[np.ndarray], np.ndarray],
    error: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, float]:
    """Return the framing of a face that has the least error, within the spread of training faces.

    Args:
        wide: What `cut` returned for a widened frame, uint8.
        spread: The frame's.
        shrink: Callable that turns a square, uint8 of shape `(side, side, 1 or 3)`, into a face.
        error: Callable that returns an error for each of several faces.

    Returns:
        The face, and its error.
    """
    offsets = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    middle = np.zeros(3)
    for step in STEPS:
        tried = middle + step * offsets * np.array(spread)
        faces = np.stack([shrink(_window(wide, *offset)) for offset in tried])
        errors = error(faces)
        best = int(np.argmin(errors))
        middle = tried[best]
    return faces[best], float(errors[best])


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
        return [float(edge) for eye in eyes for edge in (eye + 0.5) / scale + (x, y)]

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


def _window(wide, across, down, zoom):
    whole = len(wide)
    side = whole / (1 + 2 * MARGIN)
    kept = max(1, round(side * (1 + zoom)))
    left, top = (round(whole / 2 + shift * side - kept / 2) for shift in (across, down))
    left, top = (min(max(0, edge), whole - kept) for edge in (left, top))
    return wide[top : top + kept, left : left + kept]


def _middle(box):
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, right - left


def _image(pixels):
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )
