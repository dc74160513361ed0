"""Pictures in NumPy's files: .npy, and .npz with labels beside them."""

import contextlib
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.data.decode import MAX_PIXELS, MIN_SIDE, BadPicture
from keras_faces.data.remote import RangeReader, is_url
from keras_faces.data.sources.base import Entry
from keras_faces.data.sources.shards import ShardSource, are_people
from keras_faces.errors import UserError, unknown_name
from keras_faces.screen import visible

# What arrays of an .npz file are usually called, where none is named.
IMAGES = ("images", "image", "faces", "x", "data", "arr_0")
LABELS = ("labels", "label", "y", "target")
PEOPLE = ("identity", "identities", "person", "people", "subject", *LABELS)
OPTION = "arrays:PATH?images=NAME"


class Array(NamedTuple):
    """An array of pictures within a file.

    Attributes:
        file: The file.
        title: What messages call it.
        offset: Where its numbers begin in the file; None where they are compressed.
        member: Its name within an .npz file.
        shape: Its shape, `(pictures, height, width)` and perhaps channels.
    """

    file: RangeReader
    title: str
    offset: int | None
    member: str | None
    shape: tuple[int, ...]

    @property
    def picture(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return (*self.shape[1:], 1)[:3]

    @property
    def header(self) -> bytes:
        """What makes a PGM or PPM file of a picture's numbers: its shape is part of the content."""
        height, width, channels = self.picture
        return b"P%d\n%d %d\n255\n" % (6 if channels == 3 else 5, width, height)

    @property
    def bytes(self) -> int:
        """Bytes of a picture."""
        return math.prod(self.picture)


class ArraySource(ShardSource):
    """Pictures in arrays, .npy or .npz, a file or a folder of them: uint8, (N, H, W[, 1 or 3]).

    They are read one by one, never a whole file. Those of an .npz file that is compressed come one
    after the other.

    Args:
        path: The file, the folder, or a URL of one.
        images: The array of an .npz file that holds the pictures. Where none is given: the only one
            that can, or `images`, `faces`, `x`, `data`.
        identity: Its array of people, numbers or texts, or `"no"`. Where none is given: `identity`,
            `person` or `subject`; or `labels`, `y` or `target` where these are 20 people or more.

    Raises:
        UserError: If there is none, or it holds other numbers.
    """

    scheme = "arrays"
    suffixes = (".npy", ".npz")
    attributes_hint = "arrays have none; a folder with attributes.csv, a tar or Parquet file may."

    def __init__(self, path: str | os.PathLike, images: str = "", identity: str = ""):
        self.find(path, images=images, identity=identity)
        self._arrays, people = [], []
        for file in self.files:
            array, own = _opened(file, images, identity)
            self._arrays.append(array)
            people.append(own)
        self._compressed = any(array.offset is None for array in self._arrays)
        self.sequential = self._compressed or is_url(self.path)
        self._people = None
        if all(own is not None for own in people):
            names, codes = np.unique(np.concatenate(people), return_inverse=True)
            self._people = codes.astype(np.int32), [visible(str(name)) for name in names]

    def entries(self) -> Sequence[Entry]:
        codes, names = self._people or (None, ())
        return self.numbered([array.shape[0] for array in self._arrays], codes, names)

    def read(self, name: str) -> bytes:
        group, number = self.entries().place(name)
        array = self._arrays[group]
        if array.offset is None:
            return super().read(name)
        return array.header + array.file.whole(array.offset + number * array.bytes, array.bytes)

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | Exception]]:
        if not self._compressed:
            yield from super().pictures(start)
            return
        entries = self.entries()
        for array in self._arrays:
            count = array.shape[0]
            if start < count:
                yield from zip(entries[start:count], _pictures(array, start))
            entries, start = entries[count:], max(0, start - count)


def _opened(file: RangeReader, images: str, identity: str) -> tuple[Array, np.ndarray | None]:
    """Return the pictures of a file, and the people on them."""
    title = repr(file.path)
    try:
        if file.name.lower().endswith(".npy"):
            with file.stream() as stream:
                shape = _check(stream, title, file.size)
                return Array(file, title, stream.tell(), None, shape), None
        with file.stream() as stream, zipfile.ZipFile(stream) as archive:
            return _of_archive(file, archive, images, identity)
    except UserError:
        raise
    except Exception as error:  # a damaged header raises nearly every type
        raise UserError(
            f"Cannot read {title} as an array of NumPy: {error}. If it was downloaded, look "
            "whether it is whole."
        ) from error


def _of_archive(file, archive, images, identity) -> tuple[Array, np.ndarray | None]:
    known = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    shapes = {}
    for name, info in known.items():
        with archive.open(info) as stream:
            shapes[name] = _header(stream)[0]
    able = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    if images and images not in known:
        raise unknown_name(f"array in {file.path}", images, known)
    usual = [name for name in IMAGES if name in able]
    chosen = images or (able[0] if len(able) == 1 else usual[0] if len(usual) == 1 else None)
    if chosen is None:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UserError(
            f"{file.path!r} has {len(able)} arrays that may be pictures. Say which: {OPTION}. It "
            f"holds: {listed or 'nothing'}."
        )
    info = known[chosen]
    title = f"{chosen!r} in {file.path!r}"
    with archive.open(info) as stream:
        shape = _check(stream, title, info.file_size)
        start = stream.tell()
    offset = None
    if info.compress_type == zipfile.ZIP_STORED:
        name, extra = struct.unpack("<HH", file.whole(info.header_offset + 26, 4))
        offset = info.header_offset + 30 + name + extra + start
    return (
        Array(file, title, offset, info.filename, shape),
        _people(archive, known, shape[0], identity, file.path),
    )


def _people(archive, known, count: int, identity: str, title: str) -> np.ndarray | None:
    if identity == "no":
        return None
    if identity and identity not in known:
        raise unknown_name(f"array in {title}", identity, known)
    for name in [identity] if identity else [name for name in PEOPLE if name in known]:
        with archive.open(known[name]) as stream:
            shape, _, dtype = _header(stream)
        if shape not in ((count,), (count, 1)) or dtype.kind not in "iuUS":
            if not identity:
                continue
            raise UserError(
                f"{identity!r} in {title!r} must hold a number or a text for each of the {count:,} "
                f"pictures. Received: {dtype} of shape {shape}."
            )
        with archive.open(known[name]) as stream:
            people = np.lib.format.read_array(stream, allow_pickle=False).ravel()
        if identity or name not in LABELS or are_people(people):
            return np.char.decode(people) if dtype.kind == "S" else people
    return None


def _header(stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"version {version} of the format")
    return read[version](stream)


def _check(stream, title: str, size: int) -> tuple[int, ...]:
    """Return the shape of an array of pictures, whose header is read from a file of some size.

    Raises:
        UserError: If it is none.
    """
    shape, fortran, dtype = _header(stream)
    found = f"{title} holds {dtype} of shape {shape}"
    wanted = (
        "expected uint8 of shape (pictures, height, width) or (pictures, height, width, 1 or 3)"
    )
    if dtype.kind == "f":
        raise UserError(
            f"{found}, {wanted}. Convert it: np.save('faces.npy', np.uint8(np.round(x * 255))) "
            "where it is in [0, 1], np.uint8(np.round((x + 1) * 127.5)) where in [-1, 1], or "
            "np.uint8(x) where in [0, 255]."
        )
    if dtype != np.uint8:
        raise UserError(f"{found}, {wanted}. Convert it: np.save('faces.npy', np.uint8(x)).")
    if len(shape) == 4 and shape[3] not in (1, 3):
        how = ": channels come last, x.transpose(0, 2, 3, 1)" if shape[1] in (1, 3) else ""
        raise UserError(f"{found}, {wanted}{how}.")
    if len(shape) not in (3, 4) or not shape[0]:
        raise UserError(f"{found}, {wanted}.")
    if min(shape[1:3]) < MIN_SIDE or shape[1] * shape[2] > MAX_PIXELS:
        single = " Is it a single picture? Then give it as x[None]." if len(shape) == 3 else ""
        raise UserError(
            f"{found}: pictures of {shape[2]}x{shape[1]} pixels, of which {MIN_SIDE}x{MIN_SIDE} to "
            f"{MAX_PIXELS:,} can be used.{single}"
        )
    if fortran and shape[0] > 1:
        raise UserError(
            f"{title} is in Fortran's order, in which no picture can be read alone. Save it anew: "
            "np.save('faces.npy', np.ascontiguousarray(x))."
        )
    expected = stream.tell() + math.prod(shape)
    if size != expected:
        raise UserError(
            f"{found}, which is {expected:,} bytes. It has {size:,}: is it cut? Get it anew."
        )
    return shape


def _pictures(array: Array, start: int) -> Iterator[bytes | BadPicture]:
    """Yield the pictures of an array from number `start`, one after the other."""
    number = start
    try:
        with _from(array, start) as stream:
            while number < array.shape[0]:
                data = stream.read(array.bytes)
                if len(data) < array.bytes:
                    raise EOFError("it ends before its last picture")
                yield array.header + data
                number += 1
    except Exception as error:  # damage raises zlib.error, BadZipFile, EOFError, ...
        for _ in range(number, array.shape[0]):
            yield BadPicture(f"{array.title} is damaged ({error})")


@contextlib.contextmanager
def _from(array: Array, start: int) -> Iterator:
    """Open an array for reading from picture number `start`."""
    with array.file.stream() as file:
        if array.offset is not None:
            file.seek(array.offset + start * array.bytes)
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(array.member) as stream:
            _header(stream)
            stream.seek(start * array.bytes, os.SEEK_CUR)
            yield stream
