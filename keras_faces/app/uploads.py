"""From an uploaded file to a face as a model was trained to see it, or to a reason why not."""

import contextlib
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.data.crops import get_crop, resize_square
from keras_faces.data.decode import FORMATS, BadPicture, decode, open_upright
from keras_faces.detection.framing import (
    DETECTED_SIDE,
    ORL_FRAME,
    Frame,
    best_framing,
    boxes_in,
    cut,
)
from keras_faces.errors import UserError
from keras_faces.pixels import to_float

MAX_BYTES = 25_000_000
MAX_PIXELS = 50_000_000

# What Pillow reads without another program, and people have. Others of its formats are vectors,
# containers of foreign pictures, or so rare that their decoders are seldom looked at.
UPLOAD_FORMATS = (*FORMATS, "AVIF", "JPEG2000", "MPO", "PCX", "QOI", "SGI", "TGA", "TIFF")
TOLD_FORMATS = (
    "JPEG, PNG, WebP, AVIF, GIF (first frame), TIFF, BMP, JPEG 2000, PGM/PPM/PBM, TGA, PCX, QOI "
    "or SGI"
)

# What browsers show; other pictures are shown as PNG once they are uploaded.
SHOWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif")

ENOUGH = 8  # times a face's size, of which more pixels make it no better

# A picture of 50 megapixels takes 600 MB on its way, so only one is decoded at a time.
_decoding = threading.Lock()


class Upload(NamedTuple):
    """A face of an uploaded picture.

    Attributes:
        face: Float32 face of shape `(size, size, channels)` in [-1, 1].
        note: What was done to get it, for people.
    """

    face: np.ndarray
    note: str


def face_of(
    data: bytes,
    size: int,
    channels: int,
    crop: str = "center",
    frame: Frame = ORL_FRAME,
    cropped: bool = False,
    error: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Upload:
    """Return the face of an uploaded picture.

    Args:
        data: The file's bytes, in one of `UPLOAD_FORMATS`.
        size: Width and height of the model's faces.
        channels: Channels of the model's faces.
        crop: The crop that the model was trained with.
        frame: Where faces lie in its training faces, see `keras_faces.detection.framing`.
        cropped: Whether the picture shows a face as the training pictures do: then it is cropped
            as these, or only resized where it is square, and no face is looked for.
        error: Callable that returns how badly a model knows each of several faces: then the
            framing is taken that it knows best.

    Raises:
        UserError: If it is too large, not a picture, damaged, or no face is found.
    """
    pixels = picture_of(data, channels)
    if cropped:
        return Upload(_as_training(pixels, size, channels, crop), "Taken as already cropped.")
    boxes = boxes_in(pixels)
    if not boxes:
        raise UserError(
            "No face was found in this picture. Take one in which a face looks at the camera, "
            "upright and well lit; or, if the picture already shows nothing but a face, tick "
            "'already cropped'."
        )
    note = "A face was found and framed as in training."
    if len(boxes) > 1:
        note = f"{len(boxes)} faces were found. The largest is framed as in training."

    def shrink(square):
        image = Image.fromarray(square[..., 0] if channels == 1 else square)
        small = np.asarray(resize_square(image, crop, size)).reshape(size, size, channels)
        return to_float(small)

    if error is None:
        return Upload(shrink(cut(pixels, boxes[0], frame)), note)
    wide = cut(pixels, boxes[0], frame.widened())
    if len(wide) > ENOUGH * size:
        image = Image.fromarray(wide[..., 0] if channels == 1 else wide)
        wide = np.asarray(image.resize((ENOUGH * size,) * 2, Image.Resampling.LANCZOS))
        wide = wide.reshape(ENOUGH * size, ENOUGH * size, channels)
    face, least = best_framing(wide, frame.spread, shrink, error)
    square = get_crop(crop).box(pixels.shape[1], pixels.shape[0])
    if frame.holds(boxes[0], square):
        # It may be one of the training pictures, or one taken just so.
        with contextlib.suppress(UserError):
            whole = _as_training(pixels, size, channels, crop)
            if error(whole[None])[0] <= least:
                return Upload(whole, "It shows a face as the training pictures do.")
    return Upload(face, note)


def picture_of(data: bytes, channels: int) -> np.ndarray:
    """Decode an uploaded picture, upright, as uint8 of shape `(height, width, channels)`.

    Raises:
        UserError: If it is too large, not a picture, or damaged.
    """
    check_bytes(len(data))
    # Pillow knows no format before its plugins are there, and not all builds have all.
    Image.init()
    formats = [name for name in UPLOAD_FORMATS if name in Image.OPEN]
    try:
        with _decoding:
            return open_upright(data, channels, formats, MAX_PIXELS, least=2 * DETECTED_SIDE)
    except BadPicture as error:
        raise UserError(
            f"This file cannot be used: {error}. Upload a picture as {TOLD_FORMATS}, of at most "
            f"{MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} megapixels."
        ) from error


def check_bytes(count: int) -> None:
    """Check the size of an uploaded file.

    Raises:
        UserError: If it is empty or too large.
    """
    if not count:
        raise UserError("This file is empty (0 bytes). Upload a picture.")
    if count > MAX_BYTES:
        raise UserError(
            f"This file has {count / 1e6:.1f} MB, more than the limit of {MAX_BYTES // 10**6} MB. "
            "Upload a smaller picture."
        )


def _as_training(pixels, size, channels, crop) -> np.ndarray:
    height, width = pixels.shape[:2]
    try:
        # A square one went through the crop before; some crops would look for a larger picture.
        return to_float(decode(pixels, "center" if height == width else crop, size, channels))
    except BadPicture as error:
        raise UserError(f"This picture cannot be cropped as in training: {error}.") from error
