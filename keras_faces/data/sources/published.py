"""What is published of a data set's files, and what a copy of one is beside it."""

import hashlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

from tqdm import tqdm

from keras_faces.data.decode import BadPicture, read_file
from keras_faces.data.names import file_name
from keras_faces.data.sources.base import Source
from keras_faces.errors import UserError

BAR_FROM = 100_000_000  # bytes; larger files take seconds


class Annotation(NamedTuple):
    """An annotation file beside the pictures, or among them.

    Attributes:
        title: What errors call it.
        container: The folder or zip file of the pictures, where the file lies in it.
        name: Its name there; else its path.
    """

    title: str
    container: Source | None
    name: str

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            return self.container.read(self.name) if self.container else read_file(self.name)
        except BadPicture as error:
            raise UserError(f"Cannot read {self.title}: {error}.") from error

    def stamp(self) -> tuple:
        """Return what changes with the file."""
        path = self.container.file(self.name) if self.container else self.name
        if path is None:  # in a zip file, whose own time tells
            return (self.title,)
        try:
            status = os.stat(path)
        except OSError:  # which reading it tells
            return (self.title,)
        return self.title, status.st_size, status.st_mtime_ns


class Published(NamedTuple):
    """What is published of a data set's file.

    Attributes:
        name: Its name, after the folder in which the data set's page has it.
        size: Its size in bytes, None where it is not published.
        sha256: Its SHA-256 in hexadecimal digits, likewise.
        md5: Its MD5, likewise.
        note: What is in it, or where it is.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    note: str = ""

    def compare_size(self, size: int) -> str | None:
        """Return what is wrong with a copy of `size` bytes, or None."""
        if self.size is None or size == self.size:
            return None
        what = (
            "the download is not whole (get it again), or the file was shortened since"
            if size < self.size
            else "another version, or the file was changed since"
        )
        return f"{size:,} bytes, published are {self.size:,}: {what}"


def format_files(files: Sequence[Published]) -> str:
    """Return what is published of files, as lines of the text on how to get them."""
    names = max(len(file.name) for file in files) + 2
    sizes = [f"{file.size:,} bytes" if file.size else "" for file in files]
    lines = []
    for file, size in zip(files, sizes, strict=True):
        lines.append(f"   {file.name:{names}}{size:>{max(map(len, sizes))}} {file.note}".rstrip())
        if file.sha256:
            lines.append(f"     SHA-256 {file.sha256}")
        if file.md5:
            lines.append(f"     MD5     {file.md5}")
    return "\n".join(lines)


def compare(file: Published, copy: Annotation) -> str:
    """Return in words whether a copy of a file is as published."""
    kind, digits = ("SHA-256", file.sha256) if file.sha256 else ("MD5", file.md5)
    try:
        content = copy.read() if copy.container else None
        size = len(content) if copy.container else os.path.getsize(copy.name)
        wrong = file.compare_size(size)
        if wrong:
            return wrong
        if not digits:
            return "of the published size"
        summed = hashlib.new(kind.replace("-", ""), usedforsecurity=False)
        with open(copy.name, "rb") if content is None else io.BytesIO(content) as data:
            bar = tqdm(
                desc=f"{kind} of {file_name(file.name)}",
                total=size,
                unit="B",
                unit_scale=True,
                disable=None if size > BAR_FROM else True,
            )
            with bar:
                while part := data.read(1 << 20):
                    summed.update(part)
                    bar.update(len(part))
    except (OSError, UserError) as error:
        return f"cannot be compared: {error}"
    if summed.hexdigest() == digits:
        return "as published"
    return f"{kind} differs from the published one: another version, or a damaged download"
