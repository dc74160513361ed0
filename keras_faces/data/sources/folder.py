"""Pictures in a folder."""

import hashlib
import json
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
    """

    credit = ""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self.title = str(path)
        self.address = os.path.abspath(self.path)
        self._names = sorted(self._walk(), key=natural)
        if not self._names:
            raise UserError(no_picture(self.title, self._others))

    def _walk(self):
        self._others: dict[str, int] = {}
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
            for file in files:
                if is_picture(file):
                    yield Path(folder, file).relative_to(self.path).as_posix()
                elif not hidden(file):
                    suffix = Path(file).suffix or "no suffix"
                    self._others[suffix] = self._others.get(suffix, 0) + 1

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

    def listing(self) -> str:
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        for name in self._names:
            try:
                status = (self.path / name).stat()
                facts = (name, status.st_size, status.st_mtime_ns)
            except OSError:
                facts = (name, None, None)
            digest.update(json.dumps(facts).encode())
        return digest.hexdigest()

    def attributes(self) -> Attributes | None:
        return attributes_file(self.path / ATTRIBUTES_FILE)
