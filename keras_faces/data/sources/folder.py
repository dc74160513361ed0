"""Pictures in a folder."""

import hashlib
import os
from pathlib import Path

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture
from keras_faces.data.labels import ATTRIBUTES_FILE, Attributes
from keras_faces.data.sources.base import (
    Entry,
    Source,
    attributes_file,
    hidden,
    is_picture,
    natural,
    no_picture,
    with_identities,
)
from keras_faces.errors import UserError


class FolderSource(Source):
    """Pictures in a folder: flat, one folder a person, or nested deeper.

    A picture's identity is the folder it lies in, unless pictures lie in the top folder itself or
    all of them in one single folder.

    Args:
        path: The folder. Hidden files are passed over, links are followed, loops through links end.

    Attributes:
        others: Names of the files that are no pictures; `read` takes them too.
    """

    credit = ""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self.title = str(path)
        self.address = os.path.abspath(self.path)
        self.others: list[str] = []
        self._names = sorted(self._walk(), key=natural)
        if not self._names:
            raise UserError(no_picture(self.title, self.others))

    def _walk(self):
        seen = set()

        def refuse(error: OSError):
            raise UserError(
                f"Cannot read folder {error.filename!r}: {error.strerror}. Check its permissions."
            ) from error

        for folder, folders, files in os.walk(self.path, onerror=refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back up
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not hidden(name))
            inside = Path(folder).relative_to(self.path).as_posix()
            prefix = "" if inside == "." else f"{inside}/"
            for file in files:
                if is_picture(file):
                    yield prefix + file
                elif not hidden(file):
                    self.others.append(prefix + file)

    def entries(self) -> list[Entry]:
        return with_identities(self._names)

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BadPicture(
                    f"the file has {path.stat().st_size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
                )
            return path.read_bytes()
        except OSError as error:
            raise BadPicture(f"cannot be read ({error.strerror})") from error

    def file(self, name: str) -> Path:
        return self.path / name

    def listing(self) -> str:
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        for name in self._names:
            try:
                status = os.stat(os.path.join(self.path, name))
                facts = (name, status.st_size, status.st_mtime_ns)
            except OSError:
                facts = (name, None, None)
            digest.update(repr(facts).encode())  # json takes three times as long
        return digest.hexdigest()

    def attributes(self) -> Attributes | None:
        return attributes_file(self.path / ATTRIBUTES_FILE)
