"""Faces of any picture, framed as those of a training set are.

A model knows faces of one size at one place: those that its training's crop left. A face found in
a picture of another kind is turned, scaled and placed so that its eyes lie where they lie in the
training faces, by their median. So it works for every source and every crop, without a word of how
either frames a face.

Training faces do not all lie at one place, and a model that has learnt from few of them knows each
only where it lay. So of the framings within the spread of the training faces the one may be taken
that a model reconstructs best: with a VAE of the ORL faces that lifted the reconstructions of
twelve of these, pasted into larger pictures, from 19.9 to 24.5 dB.

Where no training set says how, `align` turns, scales and places faces by their eyes as those of
CelebA are, by a similarity transform of the two eyes alone (CelebA's README), which
left them at about (69, 111) and (108, 111) of 178x218 pixels (ALAE's align_faces.py). In the
central square of 178 pixels, which the crop `center` keeps, that is at 39% and 61% of the width and
51% of the height.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.detection.photographs import as_image, find_faces

LOOKED_AT = 128  # pixels to which training faces are brought: twice 64, as scores look at them
MARGIN = 0.3  # around a frame, as a share of its side: room for `best_framing`
STEPS = (1.2, 0.4)  # by which it looks around, in standard deviations
NEARLY_ALL = 2.5  # standard deviations
ENOUGH = 8  # faces found, below which a median says little


class Frame(NamedTuple):
    """Where a face's eyes lie in a square, all as shares of the square's side.

    Attributes:
        across: The point between the eyes, from the left edge.
        down: The same from the upper edge.
        apart: How far the eyes are apart.
        spread: Standard deviations of the first two, and of the third as a share of itself.
    """

    across: float
    down: float
    apart: float
    spread: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def widened(self) -> "Frame":
        """Return the frame of the square that has a margin all around this one."""
        whole = 1 + 2 * MARGIN
        return self._replace(
            across=(self.across + MARGIN) / whole,
            down=(self.down + MARGIN) / whole,
            apart=self.apart / whole,
        )

    def holds(self, eyes: Sequence[float], square: Sequence[float]) -> bool:
        """Return whether a face lies in a square as nearly all training faces lie in theirs.

        Args:
            eyes: The face's, as `FoundFace` has them.
            square: Left, top, right and bottom edges.
        """
        left, top, right, _ = square
        side = right - left
        x, y, apart = _between((np.asarray(eyes) - (left, top, left, top)) / side)
        away = (x - self.across, y - self.down, apart / self.apart - 1)
        return bool(np.all(np.abs(away) <= NEARLY_ALL * np.array(self.spread)))


# Of the ORL faces under the crop `center`, as `measured_frame` finds it.
ORL_FRAME = Frame(0.50, 0.48, 0.36, (0.07, 0.05, 0.07))


def measured_frame(faces: np.ndarray) -> Frame | None:
    """Return the frame of training faces, or None where the detector finds too few of them.

    Args:
        faces: uint8 faces of shape `(count, size, size, 1 or 3)`; 64 are enough.

    Raises:
        UserError: If the detector is not installed.
    """
    eyes = []
    for face in faces:
        side = max(LOOKED_AT, len(face))
        image = as_image(face).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        for found in find_faces(np.asarray(image))[:1]:
            eyes.append(_between(np.array(found.eyes) / side))
    if len(eyes) < ENOUGH:
        return None
    middle, spread = np.median(eyes, axis=0), np.std(eyes, axis=0)
    spread[2] /= middle[2]
    # More than a tenth is the detector's mistakes.
    return Frame(*middle.tolist(), tuple(np.minimum(spread, 0.1).tolist()))


def _between(eyes: np.ndarray) -> tuple[float, float, float]:
    """Return the point between two eyes, and how far they are apart."""
    one, two = np.reshape(eyes, (2, 2))
    return *((one + two) / 2).tolist(), float(np.hypot(*(two - one)))


def best_framing(
    wide: np.ndarray,
    spread: Sequence[float],
    shrink: Callable[[np.ndarray], np.ndarray],
    error: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, float]:
    """Return the framing of a face that has the least error, within the spread of training faces.

    Args:
        wide: What `align` returned for a widened frame, uint8.
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


def _window(wide, across, down, zoom):
    whole = len(wide)
    side = whole / (1 + 2 * MARGIN)
    kept = max(1, round(side * (1 + zoom)))
    left, top = (round(whole / 2 + shift * side - kept / 2) for shift in (across, down))
    left, top = (min(max(0, edge), whole - kept) for edge in (left, top))
    return wide[top : top + kept, left : left + kept]
