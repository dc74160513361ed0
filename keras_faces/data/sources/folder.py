"""Pictures in a folder."""

import hashlib
import os

from keras_faces.data.decode import HEAD_BYTES, is_picture_file, read_file
from keras_faces.data.labels import ATTRIBUTES_FILE
from keras_faces.data.names import hidden, in_natural_order, is_picture, without_suffix
from keras_faces.data.sources.base import (
    no_picture,
)
from keras_faces.data.sources.files import PictureFiles
from keras_faces.errors import UserError
from keras_faces.files import open_regular
from keras_faces.screen import visible


class FolderSource(PictureFiles):
    """Pictures in a folder: flat, one folder a person, or nested deeper.

    Args:
        path: The folder. Hidden files are passed over, links are followed, loops through links end.
            What cannot be seen in names, such as ends of lines, stands in them as escapes.
        people: What folders are, as for `PictureFiles`.
        splits: Whether folders may be splits, as for `PictureFiles`.
    """

    kind = "folder"
    credit = ""

    def __init__(
        self, path: str | os.PathLike, people: str | None = None, splits: str | None = None
    ):
        super().__init__(path, people, splits)
        self._top = os.fspath(self.path)
        self.others: list[str] = []
        self._called: dict[str, str] = {}  # files by their names, where these are others
        self._names = list(map(self._name, self._walk()))
        self.others = list(map(self._name, self.others))
        self._sorted = False
        if not self._names:
            raise UserError(no_picture(self.title, self.others))

    def _walk(self):
        seen = set()

        def refuse(error: OSError):
            raise UserError(
                f"Cannot read folder {error.filename!r}: {error.strerror}. Check its permissions."
            ) from error

        for folder, folders, files in os.walk(self._top, onerror=refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back up
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not hidden(name))
            within = os.path.relpath(folder, self._top).replace(os.sep, "/")
            prefix = "" if within == "." else f"{within}/"
            for file in files:
                if is_picture(file) or (without_suffix(file) and self._is_picture(prefix + file)):
                    yield prefix + file
                elif not hidden(file):
                    self.others.append(prefix + file)

    def _is_picture(self, file: str) -> bool:
        try:
            with open(open_regular(self._path(file)), "rb") as opened:
                return is_picture_file(opened.read(HEAD_BYTES))
        except OSError:
            return False

    def _name(self, file: str) -> str:
        name = visible(file)
        if name != file:
            self._called[name] = file
            if os.path.lexists(self._path(name)):
                raise UserError(
                    f"{self.title!r} has two files that would be shown as {name}. Rename one."
                )
        return name

    def names(self, in_order: bool = True) -> list[str]:
        if in_order and not self._sorted:  # which takes seconds where there are 200,000
            self._names = in_natural_order(self._names)
            self._sorted = True
        return self._names

    def read(self, name: str) -> bytes:
        return read_file(self.file(name))

    def file(self, name: str) -> str:
        return self._path(self._called.get(name, name))

    def _path(self, file: str) -> str:
        return f"{self._top}/{file}"

    def make_listing(self) -> str:
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        companions = dict.fromkeys((ATTRIBUTES_FILE, *self.companions()))
        for name in (*companions, *sorted(self._names)):
            try:
                status = os.stat(self.file(name))
                stamp = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            except OSError:
                stamp = f"{name}\0gone\n"
            digest.update(os.fsencode(stamp))
        digest.update(self.listed_options.encode())
        return digest.hexdigest()
