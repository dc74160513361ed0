"""From a picture to a face as a model was trained to see it, or to a reason why not."""

import io
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from keras_faces.data.crops import get_crop, resize_square
from keras_faces.data.decode import FORMATS, MAX_PIXELS, BadPicture, decode, open_upright
from keras_faces.detection.framing import Frame, best_framing
from keras_faces.detection.photographs import align, find_faces
from keras_faces.errors import UserError
from keras_faces.files import read_regular
from keras_faces.pixels import check, to_float, to_uint8

Picture = str | os.PathLike | bytes | Image.Image | np.ndarray

# What Pillow reads without another program, and people have. Others of its formats are vectors,
# containers of foreign pictures, or so rare that their decoders are seldom looked at.
READ_FORMATS = (*FORMATS, "JPEG2000", "MPO", "PCX", "QOI", "SGI", "TGA")
TOLD_FORMATS = (
    "JPEG, PNG, WebP, HEIC, AVIF, GIF (first frame), TIFF, BMP, JPEG 2000, PGM/PPM/PBM, TGA, PCX, "
    "QOI or SGI"
)
PNG_MODES = ("1", "L", "LA", "P", "I", "I;16", "RGB", "RGBA")

LANCZOS = Image.Resampling.LANCZOS
SHORTER_SIDE = 1920  # pixels, of which more show no face better
ENOUGH = 8  # times a face's size, of which more pixels make it no better

WAY_OUT = (
    "A picture that shows nothing but a face needs no search: say that it is already cropped, by "
    "--already-cropped, already_cropped=True, or the box on the page."
)


class FramedFace(NamedTuple):
    """A face of a picture.

    Attributes:
        face: Float32 face of shape `(size, size, channels)` in [-1, 1].
        note: What was done to get it, for people.
    """

    face: np.ndarray
    note: str


def read_picture(picture: Picture) -> tuple[str, bytes]:
    """Return what to call a picture, and the bytes of its file.

    Args:
        picture: A path, the bytes of a file, a Pillow image, or an array: uint8, or floats in
            [-1, 1], of shape `(height, width)` or `(height, width, 1 or 3)`.

    Raises:
        UserError: If it is something else, or cannot be read.
    """
    if isinstance(picture, (str, os.PathLike)):
        name = repr(os.fspath(picture))
        try:
            return name, read_regular(picture)
        except OSError as error:
            raise UserError(f"Cannot read {name}: {error.strerror}.") from error
    if isinstance(picture, bytes):
        return "this picture", picture
    if isinstance(picture, np.ndarray):
        pixels = to_uint8(check(picture[None, ..., None] if picture.ndim == 2 else picture[None]))
        picture = Image.fromarray(pixels[0, ..., 0] if pixels.shape[-1] == 1 else pixels[0])
    if not isinstance(picture, Image.Image):
        raise UserError(
            "Expected a picture: a path, bytes, a Pillow image or an array. "
            f"Received: {type(picture).__name__}."
        )
    upright, data = ImageOps.exif_transpose(picture), io.BytesIO()
    upright = upright if upright.mode in PNG_MODES else upright.convert("RGB")
    upright.save(data, "PNG", compress_level=0)
    return "this picture", data.getvalue()


def decode_whole(data: bytes, channels: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture, upright, as uint8 of shape `(height, width, channels)`.

    Raises:
        BadPicture: If it is empty, too large, not a picture, or damaged.
    """
    if not data:
        raise BadPicture("the file is empty (0 bytes)")
    try:
        return open_upright(data, channels, READ_FORMATS, max_pixels, least=SHORTER_SIDE)
    except BadPicture as error:
        raise BadPicture(f"{error}. Pictures may be {TOLD_FORMATS}") from error


def decode_cropped(data: bytes, pixels: np.ndarray, crop: str, size: int) -> np.ndarray:
    """Decode and crop a picture to the last bit as training does; `pixels` are the whole picture.

    Raises:
        BadPicture: If it is too small for the crop.
    """
    channels = pixels.shape[-1]
    try:
        return decode(data, crop, size, channels)
    except BadPicture:  # of a format that training does not read
        return decode(pixels, crop, size, channels)


def find_face(
    pixels: np.ndarray,
    size: int,
    crop: str,
    frame: Frame,
    as_trained: np.ndarray | None = None,
    error: Callable[[np.ndarray], np.ndarray] | None = None,
) -> FramedFace | None:
    """Find the largest face of a picture and frame it as training faces are.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`.
        size: Width and height of the model's faces.
        crop: The crop that the model was trained with.
        frame: Where faces lie in its training faces, see `keras_faces.detection.framing`.
        as_trained: The picture as training would crop it, uint8: it is taken where the face in it
            lies as in training faces, unless the model knows another framing better.
        error: Callable that returns how badly a model knows each of several faces: then the
            framing is taken that it knows best.

    Returns:
        The face, or None where there is none.

    Raises:
        UserError: If the detector is not installed.
    """
    try:
        faces = find_faces(pixels)
    except UserError as missing:
        raise UserError(f"{missing} {WAY_OUT}") from missing
    if not faces:
        return None
    eyes = faces[0].eyes
    height, width, channels = pixels.shape
    same = None
    if as_trained is not None and frame.holds(eyes, get_crop(crop).box(width, height)):
        same = FramedFace(to_float(as_trained), "It shows a face as the training pictures do.")
        if error is None:
            return same
    note = "A face was found and framed as in training."
    if len(faces) > 1:
        note = f"{len(faces)} faces were found. The largest is framed as in training."

    def shrink(square, to=None):
        image = Image.fromarray(square[..., 0] if channels == 1 else square)
        small = resize_square(image, crop, size) if to is None else image.resize((to, to), LANCZOS)
        return np.asarray(small).reshape(*small.size, channels)

    if error is None:
        return FramedFace(to_float(shrink(align(pixels, eyes, *frame[:3]))), note)
    wide = align(pixels, eyes, *frame.widened()[:3])
    if len(wide) > ENOUGH * size:
        wide = shrink(wide, ENOUGH * size)
    face, least = best_framing(wide, frame.spread, lambda square: to_float(shrink(square)), error)
    if same is not None and error(same.face[None])[0] <= least:
        return same
    return FramedFace(face, note)
