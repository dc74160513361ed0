"""What is known of each face besides its pixels: attributes, and who it is."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.errors import UserError

ATTRIBUTES_FILE = "attributes.csv"


class Attributes(NamedTuple):
    """The attributes of a source's pictures.

    Attributes:
        names: Names of the attributes.
        values: Dict mapping each picture's name to its values, 1.0 or 0.0.
    """

    names: tuple[str, ...]
    values: dict[str, tuple[float, ...]]

    def table(self, pictures: Sequence[str]) -> np.ndarray:
        """Return the values of pictures, float32 of shape `(pictures, attributes)`.

        Raises:
            UserError: If a picture has none.
        """
        missing = [name for name in pictures if name not in self.values]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(pictures)} pictures have no attributes, the first is "
                f"{missing[0]!r}. Give each a row, with the picture's path as its first column."
            )
        return np.array([self.values[name] for name in pictures], np.float32)


def read_attributes(text: str, title: str) -> Attributes:
    """Read attributes from CSV: a header, then a picture's path and its values in each row.

    Values are 0 and 1, or -1 and 1 as CelebA has them. Lines that begin with `#` are comments.

    Args:
        text: The file's content.
        title: What errors call the file.

    Raises:
        UserError: If a row has another number of columns than the header, or an unknown value.
    """
    known = {"0": 0.0, "-1": 0.0, "1": 1.0}
    lines = [
        (number, line)
        for number, line in enumerate(io.StringIO(text.lstrip("\ufeff"), newline=None), 1)
        if line.strip() and not line.startswith("#")
    ]
    # Each by itself, so that a quote left open ends with its line.
    rows = [next(csv.reader([line])) for _, line in lines]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(
            f"{title} must have a header such as 'file,glasses,smiling' and a row for each picture."
        )
    names = tuple(name.strip() for name in rows[0][1:])
    values = {}
    for (number, _), row in zip(lines[1:], rows[1:]):
        cells = [cell.strip() for cell in row[1:]]
        if len(cells) != len(names) or any(cell not in known for cell in cells):
            raise UserError(
                f"{title}, line {number}: expected a path and {len(names)} values of 0 or 1 "
                f"({', '.join(names[:5])}). Received: {','.join(row)[:80]!r}."
            )
        values[row[0].strip()] = tuple(known[cell] for cell in cells)
    return Attributes(names, values)
