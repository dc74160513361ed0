"""What is known of each face besides its pixels: attributes, a person, a name, a sketch."""

import csv
import hashlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.errors import UserError
from keras_faces.pixels import to_float
from keras_faces.screen import visible

ATTRIBUTES_FILE = "attributes.csv"

LABELS = (None, "attributes", "identity", "landmarks", "name", "sketch")
CONDITIONS = (None, "attributes", "identity")  # those that a face can be made after


class Attributes(NamedTuple):
    """The attributes of a source's pictures.

    Attributes:
        names: Names of the attributes.
        rows: Dict mapping each picture's name to its row in `values`.
        values: uint8 array of shape `(pictures, attributes)`, of 0 and 1.
        remedy: What to do about a picture that has none.
    """

    names: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray
    remedy: str = "Give each a row, with the picture's path as its first column."

    def table(self, pictures: Sequence[str]) -> np.ndarray:
        """Return the values of pictures, uint8 of shape `(pictures, attributes)`.

        Raises:
            UserError: If a picture has none.
        """
        return self.values[_rows(self, pictures, "attributes")]


class Landmarks(NamedTuple):
    """Points of a source's faces.

    Attributes:
        names: Names of the coordinates, each x followed by its y: `lefteye_x`, `lefteye_y`, ...
        rows: Dict mapping each picture's name to its row in `values`.
        values: int32 array of shape `(pictures, coordinates)`, in pixels of the raw picture.
        remedy: What to do about a picture that has none.
    """

    names: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray
    remedy: str

    def table(self, pictures: Sequence[str], raw_sizes: np.ndarray, box, size: int) -> np.ndarray:
        """Return where the points of pictures lie once these are cropped and resized.

        Args:
            pictures: Their names.
            raw_sizes: Width and height of each raw picture, of shape `(pictures, 2)`.
            box: The crop's `box(width, height)`, which returns the edges of what is kept.
            size: Width and height of the cropped pictures in pixels.

        Returns:
            float32 array of shape `(pictures, coordinates)`, in pixels of the cropped picture from
            its upper left corner; outside of [0, size] where a point was cut off.

        Raises:
            UserError: If a picture has none.
        """
        points = self.values[_rows(self, pictures, "landmarks")]
        points = points.reshape(len(pictures), -1, 2).astype(np.float64)
        sizes, which = np.unique(raw_sizes, axis=0, return_inverse=True)
        boxes = np.array([box(*map(int, raw)) for raw in sizes], float)[which.reshape(-1), None]
        moved = (points - boxes[..., :2]) * size / (boxes[..., 2:] - boxes[..., :2])
        return moved.reshape(len(pictures), -1).astype(np.float32)


def _rows(known: Attributes | Landmarks, pictures: Sequence[str], what: str) -> list[int]:
    missing = [name for name in pictures if name not in known.rows]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(pictures)} pictures have no {what}, the first is "
            f"{missing[0]!r}. {known.remedy}"
        )
    return [known.rows[name] for name in pictures]


class Labels:
    """The labels of all pictures of a cache, in the order of its rows.

    Args:
        kind: One of `LABELS`.
        names: Names of the attributes, people or coordinates; none for the other kinds.
        values: One row for each picture.
        dtype: What batches of labels come as.
    """

    def __init__(self, kind: str, names: Sequence[str], values, dtype: str):
        self.kind = kind
        self.names = list(names)
        self.dtype = dtype
        self._values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one picture's label."""
        return tuple(self._values.shape[1:])

    @property
    def digest(self) -> str:
        """A digest of all labels and their names: different after any change."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for start in range(0, len(self._values), 65536):
            digest.update(
                self.at(np.arange(start, min(start + 65536, len(self._values)))).tobytes()
            )
        return digest.hexdigest()

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the labels of pictures, given their positions in the cache."""
        return self._values[positions].astype(self.dtype)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the same as batches hold it: sketches as uint8."""
        return self.at(positions)


class NameLabels(Labels):
    """The pictures' names, as bytes, which is how TensorFlow has strings."""

    shape = ()

    def __init__(self, names: Sequence[str]):
        super().__init__("name", (), names, "object")

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for name in self._values:
            digest.update(name.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    def at(self, positions: np.ndarray) -> np.ndarray:
        chosen = [self._values[int(p)].encode("utf-8", "surrogatepass") for p in positions]
        return np.array(chosen, object)


class SketchLabels(Labels):
    """A sketch for each photograph: its own, or where they are not paired some other's.

    Args:
        cache: The decoded sketches.
        partners: For each photograph the position of its sketch in that cache.
        paired: Whether these are their own.
    """

    def __init__(self, cache, partners: np.ndarray, paired: bool = True):
        super().__init__("sketch", (), cache, "float32")
        self.paired = paired
        self._partners = partners

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.image_shape

    @property
    def digest(self) -> str:
        digest = hashlib.sha256(self._values.meta["content"].encode())
        digest.update(np.asarray(self._partners, "<i8").tobytes())
        return digest.hexdigest()

    def at(self, positions: np.ndarray) -> np.ndarray:
        return to_float(self.read(positions))

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self._values.read(self._partners[positions])


def read_attributes(text: str, title: str) -> Attributes:
    """Read attributes from CSV: a header, then a picture's path and its values in each row.

    Values are 0 and 1, or -1 and 1 as CelebA has them. Lines that begin with `#` are comments.
    Commas, semicolons or tabs separate them.

    Args:
        text: The file's content.
        title: What errors call the file.

    Raises:
        UserError: If a row has another number of columns than the header, or an unknown value.
    """
    known = {"0": 0, "-1": 0, "1": 1}
    lines = [
        (number, line)
        for number, line in enumerate(io.StringIO(text.lstrip("\ufeff"), newline=None), 1)
        if line.strip() and not line.startswith("#")
    ]
    separator = _separator([line for _, line in lines[:2]])
    # Each by itself, so that a quote left open ends with its line.
    rows = [next(csv.reader([line], delimiter=separator)) for _, line in lines]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(
            f"{title} must have a header such as 'file,glasses,smiling' and a row for each picture."
        )
    names = tuple(visible(name.strip()) for name in rows[0][1:])
    pictures: dict[str, int] = {}
    values = bytearray()
    for (number, _), row in zip(lines[1:], rows[1:]):
        cells = [cell.strip() for cell in row[1:]]
        if len(cells) != len(names) or any(cell not in known for cell in cells):
            raise UserError(
                f"{title}, line {number}: expected a path and {len(names)} values of 0 or 1 "
                f"({', '.join(names[:5])}). Received: {','.join(row)[:80]!r}."
            )
        # A picture that is named twice has the values of its last row.
        pictures[visible(row[0].strip())] = len(values) // len(names)
        values += bytes(known[cell] for cell in cells)
    return Attributes(names, pictures, np.frombuffer(values, np.uint8).reshape(-1, len(names)))


def _separator(lines: list[str]) -> str:
    """Return what separates the cells of a table, given its first lines."""
    for separator in ",;\t":
        counts = {line.count(separator) for line in lines}
        if len(counts) == 1 and counts != {0}:
            return separator
    return ","
