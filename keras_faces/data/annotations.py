"""Tables of annotations as the data sets of faces have them: a file name, then numbers."""

import codecs
import csv
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_faces.data.names import is_picture
from keras_faces.errors import UserError
from keras_faces.screen import visible


class Table(NamedTuple):
    """The rows of an annotation file.

    Attributes:
        title: What errors call the file.
        columns: Names of the columns of `values`; none where the file has no header.
        names: The file name in each row.
        values: int32 array of shape `(rows, columns)`.
        warning: What to warn of; empty where the file has the rows that it says it has.
    """

    title: str
    columns: tuple[str, ...]
    names: list[str]
    values: np.ndarray
    warning: str = ""

    def match(self, stems: Sequence[str]) -> list[int | None]:
        """Return the row of each picture, given file names without suffix, or None.

        A picture that is named twice has its last row.

        Raises:
            UserError: If not one picture has a row.
        """
        rows = {stem(name): row for row, name in enumerate(self.names)}
        matched = [rows.get(name) for name in stems]
        if stems and all(row is None for row in matched):
            raise UserError(
                f"{self.title} names none of the {len(stems):,} pictures: its first is "
                f"{self.names[0]!r}, theirs is {stems[0]!r}. It belongs to another data set; put "
                "the right file there, or move this one away."
            )
        return matched


def stem(name: str) -> str:
    """Return a file's name without its folders and its last suffix."""
    file = name.rpartition("/")[2]
    return file.rpartition(".")[0] or file


# What `read_table` takes in the columns after the name, by the word that errors use.
VALUES: dict[str, Callable[[str], int]] = {
    "1 or -1": {"1": 1, "-1": 0, "0": 0}.__getitem__,
    "0, 1 or 2": {"0": 0, "1": 1, "2": 2}.__getitem__,
    "a number": lambda cell: int(cell if cell.isascii() and cell.isdigit() else "no"),
    "a whole number": lambda cell: int(cell if cell.isascii() and "_" not in cell else "no"),
}


def read_table(data: bytes, title: str, kind: str, header: bool = True) -> Table:
    """Read an annotation file, separated by spaces or commas.

    A first line of one number is the count of rows. The header may name the column of file names
    (as in .csv files) or leave it out (as in CelebA's .txt files).

    Args:
        data: The file's content, UTF-8, with any line ends.
        title: What errors call the file.
        kind: A key of `VALUES`.
        header: Whether the columns must have names; else one column, whose header may be missing.

    Raises:
        UserError: If the file is no such table, or a row is cut short.
    """
    lines = text_of(data, title).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [(number, line) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    count = None
    first = lines[0][1].strip() if lines else ""
    if first.isascii() and first.isdigit() and len(first) < 19:
        count = int(first)
        del lines[0]
    if not lines:
        raise UserError(f"{title} holds no rows. Put the whole file there.")
    cells_of = _cells_of_csv if "," in lines[0][1] else str.split
    value = VALUES[kind]
    columns = cells_of(lines[0][1])
    if header or not (_is_value(columns[-1], value) or is_picture(columns[0])):
        if header and len(columns) > 1 and all(_is_value(cell, value) for cell in columns[1:]):
            raise UserError(
                f"{title}, line {lines[0][0]}: expected the names of the columns. "
                f"Received: {lines[0][1][:80]!r}."
            )
        del lines[0]
        if lines and len(cells_of(lines[0][1])) == len(columns):
            del columns[0]
        if not lines or not columns:
            raise UserError(f"{title} holds no rows. Put the whole file there.")
    else:
        columns = []
    width = len(columns) or 1
    names, values = [], array("i")
    for number, line in lines:
        cells = cells_of(line)
        try:
            if len(cells) != width + 1:
                raise ValueError
            values.extend(map(value, cells[1:]))
        except (KeyError, ValueError, OverflowError) as error:
            many = f"{width} values, each {kind}" if width > 1 else kind
            more = "" if len(cells) == width + 1 else f" {len(cells) - 1} after the name"
            raise UserError(
                f"{title}, line {number}: expected a file name and {many}. Received{more}: "
                f"{line[:80]!r}."
            ) from error
        names.append(cells[0])
    warning = ""
    if count not in (None, len(names)):
        if len(names) == 1:  # which may be cut, so that the header seems to name its first column
            raise UserError(
                f"{title} says in its first line that it has {count:,} rows, and has one. Get the "
                "whole file."
            )
        warning = (
            f"{title} says in its first line that it has {count:,} rows, and has {len(names):,}, "
            "which are used. If you left none out yourself, get the whole file."
        )
    names, columns = (list(map(visible, texts)) for texts in (names, columns))
    numbers = np.array(values, np.int32).reshape(-1, width)
    return Table(title, tuple(columns), names, numbers, warning)


def text_of(data: bytes, title: str) -> str:
    """Decode an annotation file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        UserError: If it is no text, or a web page that was saved under its name.
    """
    try:
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{title} is no text in UTF-8 ({error}). Save it as UTF-8, or download it again."
        ) from error
    if text[:512].lstrip().lower().startswith(("<!doctype", "<html")):
        raise UserError(
            f"{title} is a web page that was saved under that name. Open the download's page in a "
            "browser, confirm there, and save the file itself."
        )
    return text


def _is_value(cell: str, value: Callable[[str], int]) -> bool:
    try:
        value(cell)
    except (KeyError, ValueError):
        return False
    return True


def _cells_of_csv(line: str) -> list[str]:
    if '"' in line:
        return [cell.strip() for cell in next(csv.reader([line]))]
    return line.replace(" ", "").replace("\t", "").split(",")
