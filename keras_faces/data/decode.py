"""From the bytes of one picture file to a square uint8 array, or to a reason why not."""

import contextlib
import hashlib
import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from keras_faces.data import fast_jpeg
from keras_faces.data.crops import Crop, apply_crop, get_crop
from keras_faces.detection.photographs import FoundFace, cut_out, side_of
from keras_faces.errors import UserError
from keras_faces.files import open_regular
from keras_faces.optional import load

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif"),
    *(".pgm", ".ppm", ".pbm", ".pnm"),
)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # which phones write
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "WEBP", "GIF", "TIFF", "AVIF", "HEIF")
HEAD_BYTES = 16  # of a file, which say what it is

# Part of every cache's key: raise it when the same bytes would give other pixels.
VERSION = 5

ORIENTATION = 0x0112  # of the EXIF standard

MIN_SIDE = 8  # pixels; below it a picture holds no face
MAX_PIXELS = 100_000_000  # a 100 megapixel photo decodes to 300 MB, more is a mistake or an attack
MAX_FILE_BYTES = 200_000_000
MAX_SCANS = 500  # libjpeg-turbo's own limit; each costs the time of all pixels, and a few bytes
FREE_SCANS = 10**10  # pixels times bytes, of which not even all that fit take half a second


class BadPicture(ValueError):
    """A picture that cannot be used; the message is the reason, without the name."""


def read_file(path: str | os.PathLike) -> bytes:
    """Return the bytes of a file that belongs to a source: a picture, or what is said of some.

    Raises:
        BadPicture: If it cannot be read, or is too large.
    """
    try:
        file = open_regular(path)  # of a file object's 19 us, 12 are its own
        try:
            size = os.fstat(file).st_size
            if size > MAX_FILE_BYTES:
                raise BadPicture(f"the file has {size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
            data = os.read(file, size + 1)
            while len(data) < size and (rest := os.read(file, size)):  # it came in pieces
                data += rest
            return data
        finally:
            os.close(file)
    except OSError as error:
        raise BadPicture(f"cannot be read ({error.strerror})") from error


def decode(data: bytes | np.ndarray, crop: str, size: int, channels: int) -> np.ndarray:
    """Decode, turn upright, crop and resize one picture.

    Args:
        data: The file's bytes: JPEG, PNG, PGM/PPM, BMP, WebP, GIF, TIFF, AVIF or, with the extra
            `heic`, HEIC; grey, colour, palette, CMYK, with transparency (laid on white) or with 16
            bits a channel (the upper 8 are kept); of an animation the first frame. Or pixels, uint8
            of shape `(height, width, 1 or 3)`.
        crop: A key of `CROPS`.
        size: Wanted width and height in pixels.
        channels: 1 for grey (ITU-R 601 luma of colour pictures) or 3 for colour.

    Returns:
        A uint8 array of shape `(size, size, channels)`.

    Raises:
        BadPicture: If the bytes are not a whole picture, or one of absurd size.
    """
    return decode_with_size(data, crop, size, channels)[0]


def decode_with_size(
    data: bytes | np.ndarray, crop: str, size: int, channels: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return what `decode` returns, and the upright raw picture's width and height in pixels."""
    _check_bytes(data)
    rule = get_crop(crop)
    try:
        if isinstance(data, bytes):
            if rule.averaged and (record := _averaged(data, rule, size, channels)):
                return record
            least = 2 * size if rule.scaled_decoding else None
            image, upright = _whole(data, least=least)
        else:
            image = Image.fromarray(data[..., 0] if data.shape[-1] == 1 else data)
            upright = image.size
            _check_size(*upright)
        image = _as_8_bit(image, channels)
        pixels = np.asarray(apply_crop(image, crop, size, upright), dtype=np.uint8)
    except BadPicture:
        raise
    except Exception as error:
        raise _reason(error, data) from error
    return pixels.reshape(size, size, channels), upright


def _check_bytes(data: bytes | np.ndarray) -> None:
    if not len(data):
        raise BadPicture("the file is empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise BadPicture(f"the file has {len(data):,} bytes, the limit is {MAX_FILE_BYTES:,}")


class Rows(NamedTuple):
    """Where decoded pictures go: rows of one size in a file, and of what kind they are."""

    path: str
    start: int  # of the first row, in bytes
    crop: str
    size: int
    channels: int

    @property
    def bytes(self) -> int:
        """Size of a row."""
        return self.size**2 * self.channels


def row_words(rows: int, row_bytes: int) -> np.ndarray:
    """Return an array for so many rows, uint8: each ends with zeros where it is no whole word."""
    words = np.empty((rows, -(-row_bytes // 8) * 8), np.uint8)
    words[:, row_bytes:] = 0
    return words


def checksums(words: np.ndarray) -> np.ndarray:
    """Return a checksum of each row: the sum of its words, each times an odd number of its own.

    Whatever bit of a row is flipped, the sum is another. It takes a fifth of CRC-32's time.
    """
    words = words.view("<u8")
    odd = np.arange(1, 2 * words.shape[1], 2, dtype=np.uint64)
    return np.einsum("rw,w->r", words, odd)  # half the time of `@`, which knows no BLAS for these


def decode_rows(
    rows: Rows, chunk: tuple[int, Sequence["str | bytes | np.ndarray | FaceIn | BadPicture"]]
) -> tuple[list, ...]:
    """Decode some pictures, and write them to rows that follow one another.

    Args:
        rows: Where they go.
        chunk: Number of the first row, and the pictures: each as its source returns it, or the
            path of its file, or a face of one. The row of one that cannot be used is black.

    Returns:
        Five columns: why a picture cannot be used, or None; SHA-256 of its bytes, or None where
        even they could not be read; its width and height; the checksum of its row.

    Raises:
        OSError: If the rows cannot be written.
    """
    first, pictures = chunk
    reasons, contents, sizes = [], [], []
    words = row_words(len(pictures), rows.bytes)
    for row, picture in zip(words, pictures):
        reason, content, size = None, None, (0, 0)
        try:
            if isinstance(picture, FaceIn):
                square, size, content = picture.cut_out(rows.channels, rows.size)
                pixels = decode(square, rows.crop, rows.size, rows.channels)
            else:
                data = read_file(picture) if isinstance(picture, str) else picture
                if isinstance(data, BadPicture):
                    raise data
                content = hashlib.sha256(data).digest()
                pixels, size = decode_with_size(data, rows.crop, rows.size, rows.channels)
            row[: rows.bytes] = pixels.reshape(-1)
        except BadPicture as error:
            reason = str(error).encode("utf-8", "surrogatepass")
            row[:] = 0
        reasons.append(reason)
        contents.append(content)
        sizes.append(size)
    # Not created: where there is none, this is another machine, which does not see the folder.
    with open(os.open(rows.path, os.O_WRONLY | getattr(os, "O_BINARY", 0)), "wb", 0) as file:
        file.seek(rows.start + first * rows.bytes)
        left = memoryview(words[:, : rows.bytes].tobytes())
        while left:
            left = left[file.write(left) :]
    widths, heights = zip(*sizes)
    return reasons, contents, list(widths), list(heights), checksums(words).tolist()


def open_upright(
    data: bytes, channels: int, formats: Sequence[str], max_pixels: int, least: int | None = None
) -> np.ndarray:
    """Decode a whole picture and turn it upright.

    Args:
        data: The file's bytes.
        channels: 1 for grey or 3 for colour.
        formats: Pillow's names of the formats it may have.
        max_pixels: Pixels beyond which it is refused before it is decoded.
        least: Pixels that are enough of the shorter side: a larger JPEG may be decoded smaller.

    Returns:
        A uint8 array of shape `(height, width, channels)`.

    Raises:
        BadPicture: As `decode`.
    """
    return _upright(data, channels, formats, max_pixels, least)[0]


def _upright(
    data: bytes,
    channels: int,
    formats: Sequence[str],
    max_pixels: int,
    least: int | None = None,
    scale: float | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    try:
        image, size = _whole(data, formats, max_pixels, least, scale)
        image = _as_8_bit(image, channels)
        pixels = np.asarray(image, dtype=np.uint8)
    except BadPicture:
        raise
    except Exception as error:
        raise _reason(error, data, formats, max_pixels) from error
    return pixels.reshape(*pixels.shape[:2], channels), size


def open_photograph(
    picture: "str | bytes | np.ndarray | BadPicture",
    channels: int,
    least: int | None = None,
    scale: float | None = None,
) -> tuple[np.ndarray, tuple[int, int], bytes]:
    """Decode a whole picture, turned upright.

    Args:
        picture: As its source returns it, or the path of its file.
        channels: 1 for grey or 3 for colour.
        least: Pixels that are enough of the shorter side.
        scale: Share of the whole picture's size that is enough.

    Returns:
        Pixels, uint8 of shape `(height, width, channels)`; the width and height that the whole
        picture has, of which the pixels may be a smaller version; SHA-256 of its bytes.

    Raises:
        BadPicture: As `decode`.
    """
    data = read_file(picture) if isinstance(picture, str) else picture
    if isinstance(data, BadPicture):
        raise data
    digest = hashlib.sha256(data).digest()
    if isinstance(data, np.ndarray):
        height, width = data.shape[:2]
        _check_size(width, height)
        image = _as_8_bit(Image.fromarray(data[..., 0] if data.shape[-1] == 1 else data), channels)
        return np.asarray(image).reshape(height, width, channels), (width, height), digest
    _check_bytes(data)
    return *_upright(data, channels, FORMATS, MAX_PIXELS, least, scale), digest


class FaceIn(NamedTuple):
    """A face of a photograph that is not decoded yet.

    Attributes:
        picture: The photograph, as its source returns it, or the path of its file.
        face: The face.
        faces: How it is cut out, one of `FACES`.
    """

    picture: "str | bytes | np.ndarray"
    face: FoundFace
    faces: str

    def cut_out(
        self, channels: int = 3, size: int | None = None
    ) -> tuple[np.ndarray, tuple[int, int], bytes]:
        """Decode the photograph and return the square around the face.

        Args:
            channels: 1 for grey or 3 for colour.
            size: Width and height that are wanted in the end: the photograph is decoded at a size
                that leaves twice as many pixels.

        Returns:
            uint8 of shape `(side, side, channels)`; the square's width and height in the whole
            photograph; a digest of both, the photograph and where the face lies.

        Raises:
            BadPicture: As `decode`.
        """
        side = side_of(self.face, self.faces)
        scale = 2 * size / side if size else None
        pixels, (width, _), digest = open_photograph(self.picture, channels, scale=scale)
        square = cut_out(pixels, self.face.scaled(pixels.shape[1] / width), self.faces)
        digest = hashlib.sha256(digest + repr((self.face, self.faces)).encode()).digest()
        return square, (round(side), round(side)), digest


def _reason(
    error: Exception,
    data: bytes | np.ndarray,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> BadPicture:
    """Turn whatever a damaged or strange picture raises into a reason."""
    if isinstance(error, UserError):
        return BadPicture(str(error))
    if isinstance(error, Image.DecompressionBombError):  # far more than our limit
        return BadPicture(f"more pixels than the limit of {max_pixels:,}")
    if isinstance(error, Image.UnidentifiedImageError):
        name = next((name for name, begins in _PICTURES.items() if begins.match(data)), None)
        if name in formats:
            return BadPicture(f"damaged: it begins as a {name} picture, but its header is broken")
        others = (what for what, begins in _OTHERS.items() if begins.match(data))
        what = f"a {name} picture" if name else next(others, None)
        return BadPicture(
            f"not a picture in a format that is read here{(what and f', but {what}') or ''}"
        )
    # Damaged files make Pillow's decoders raise nearly every type: OSError, SyntaxError,
    # ValueError, struct.error, DecompressionBombError. All mean the same to the user.
    return BadPicture(f"damaged or truncated ({error})")


# How the bytes of files begin, which may have another suffix.
_PICTURES = {
    name: re.compile(begins, re.DOTALL)
    for name, begins in {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n",
        "GIF": rb"GIF8[79]a",
        "WEBP": rb"RIFF....WEBP",
        "BMP": rb"BM.{4}\0{4}",
        "TIFF": rb"II\*\0|MM\0\*",
        "AVIF": rb"....ftypavi[fs]",
        "HEIF": rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
        "PPM": rb"P[1-6]\s",
        "JPEG2000": rb"\0\0\0\x0cjP  |\xffO\xffQ",
        "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    }.items()
}
_OTHERS = {
    what: re.compile(begins, re.DOTALL)
    for what, begins in {
        "a web page": rb"(?i:(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body))",
        "an SVG drawing or other XML": rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg)",
        "a PDF": rb"%PDF-",
        "a zip file": rb"PK(?:\x03\x04|\x05\x06|\x07\x08)",
        "another archive": rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ",
        "a video": rb"....(?:ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01[\xba\xb3]",
        "a Photoshop file": rb"8BPS",
        "a pointer of Git LFS (git lfs pull fetches the picture)": rb"version https://git-lfs",
        "nothing except zeros": rb"\0+\Z",
    }.items()
}


def is_picture_file(head: bytes) -> bool:
    """Return whether a file is a picture that is read here, by its first `HEAD_BYTES` bytes."""
    return any(_PICTURES[name].match(head) for name in FORMATS)


def _register_heif() -> None:
    try:
        load("pillow_heif", "A HEIC picture").register_heif_opener()
    except UserError as error:
        raise BadPicture(str(error).rstrip(".")) from error


def opened(
    data: bytes, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, tuple[int, int]]:
    """Return a picture of which only the header is read, and its upright size.

    Raises:
        BadPicture: If it is of absurd size. What is no picture raises nearly any exception.
    """
    if _PICTURES["HEIF"].match(data):
        _register_heif()
    # Pillow knows no format before its plugins are there, and not all builds have all.
    if not Image.OPEN.keys() >= set(formats):
        Image.init()
    there = [name for name in formats if name in Image.OPEN]
    try:
        return _opened(data, there, max_pixels)
    except BadPicture:
        raise
    except Exception:  # as many types as its chunks have kinds
        if (pixels := _without_notes(data)) is None:
            raise
        return _opened(pixels, there, max_pixels)


def _opened(
    data: bytes, formats: Sequence[str], max_pixels: int
) -> tuple[Image.Image, tuple[int, int]]:
    image = Image.open(io.BytesIO(data), formats=formats)
    width, height = image.size
    _check_header(data, width, height, max_pixels)
    sideways = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return image, (height, width) if sideways else (width, height)


# The chunks of a PNG that decide about no pixel here. Others stay: a damaged name may be theirs.
_NOTES = (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"sBIT")


def _without_notes(data: bytes) -> bytes | None:
    """Return a PNG without its texts, times and the like, or None where it is none, or has none."""
    if not _PICTURES["PNG"].match(data):
        return None
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in _NOTES:
            kept.append(data[at:end])
        at = end
    without = b"".join(kept)
    return None if len(without) >= len(data) else without


def _averaged(
    data: bytes, rule: Crop, size: int, channels: int
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Return what `decode_with_size` returns where `fast_jpeg` can decode it, else None.

    What is damaged or too large is left to Pillow, which says for all crops what can be used.
    """
    raw = fast_jpeg.plain_size(data)
    if raw is not None and raw[0] * raw[1] <= MAX_PIXELS:
        _check_header(data, *raw)
    else:
        image, raw = opened(data)
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or image.getexif():
            return None
    record = fast_jpeg.decode_jpeg(data, raw, rule.box, size, channels)
    return None if record is None else (record, raw)


def _check_header(data: bytes, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a picture by its header, before anything else of it is decoded."""
    _check_size(width, height, max_pixels)
    # Counting would take a tenth of the time of small pictures, of which many scans cost nothing.
    if width * height * len(data) > FREE_SCANS and _has_too_many_scans(data):
        raise BadPicture(f"a JPEG of more than {MAX_SCANS} scans")


def _whole(
    data: bytes,
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    least: int | None = None,
    scale: float | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Return a picture decoded and turned upright, and the upright size of all of it."""
    image, size = opened(data, formats, max_pixels)
    scale = least / min(size) if least else scale
    try:
        return _loaded(image, scale), size
    except Exception:  # of notes behind the pixels too
        if (pixels := _without_notes(data)) is None:
            raise
        return _loaded(opened(pixels, formats, max_pixels)[0], scale), size


def _loaded(image: Image.Image, scale: float | None) -> Image.Image:
    """Return a picture decoded and turned upright.

    Given a scale that is enough, a JPEG is decoded at an eighth, a quarter or half of its size, so
    long as that leaves as much.
    """
    if scale is not None and image.format in ("JPEG", "MPO"):
        width, height = image.size
        image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # a copy of the largest picture has 400 MB
    return image


# Of JPEG files: the marker that begins a scan, that which ends the picture, and any but those that
# stand within a scan.
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")


def _has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG has too many, and not what else is in the file: a video, a thumbnail."""
    if not data.startswith(b"\xff\xd8") or data.count(_SCAN) <= MAX_SCANS:
        return False
    at = scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, at)) and marker[0] != _END:
        scans += marker[0] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans > MAX_SCANS


@contextlib.contextmanager
def silent_pillow() -> Iterator[None]:
    """Silence Pillow, which warns of large pictures by a limit of its own.

    Only for the thread that hands out the work: the filters of warnings are global, and threads
    that save and restore them side by side leave them changed for good.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    if min(width, height) < MIN_SIDE:
        raise BadPicture(f"{width}x{height} pixels, smaller than {MIN_SIDE}x{MIN_SIDE}")
    if width * height > max_pixels:
        raise BadPicture(f"{width}x{height} pixels, more than the limit of {max_pixels:,}")


def _as_8_bit(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips 16-bit values to 255 instead of scaling them.
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray((np.minimum(values, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)
