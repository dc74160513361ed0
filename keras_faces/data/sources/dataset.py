"""What the published data sets have in common: a layout, annotation files, a page to get them."""

import functools
import hashlib
import itertools
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_faces.data.annotations import stem
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources.base import Entry, Source, hidden, is_picture, natural
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.errors import UserError, unknown_name

UNPACK = {
    (".tar.gz", ".tgz"): "tar -xzf",
    (".tar", ".tar.bz2", ".tar.xz"): "tar -xf",
    (".7z", ".7z.001"): "7z x",
    (".rar",): "unrar x",
}


class Annotation(NamedTuple):
    """An annotation file beside the pictures, or among them.

    Attributes:
        title: What errors call it.
        place: The folder or zip file of the pictures, where the file lies in it.
        name: Its name there; else its path.
    """

    title: str
    place: Source | None
    name: str

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            return self.place.read(self.name) if self.place else Path(self.name).read_bytes()
        except (BadPicture, OSError) as error:
            raise UserError(f"Cannot read {self.title}: {error}.") from error

    def stamp(self) -> tuple:
        """Return facts that change with the file."""
        path = self.place.file(self.name) if self.place else Path(self.name)
        if path is None:  # in a zip file, whose own time tells
            return (self.title,)
        status = path.stat()
        return self.title, status.st_size, status.st_mtime_ns


class DatasetSource(Source):
    """A published data set, in a folder or a zip file.

    Subclasses set `scheme` and `by_hand` and implement `list_entries`.

    Args:
        path: The folder or the zip file.
        labelled: `"yes"` lists only pictures that have attributes, `"no"` all of them.
        options: What else goes into the address.

    Attributes:
        scheme: What `open_source` takes before the path.
        by_hand: How to get the data set, for the user who does not have it.
        place: The pictures, as plain files of a folder or a zip file.
    """

    scheme: str
    by_hand: str

    def __init__(self, path: str | os.PathLike, labelled: str = "no", **options: str):
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        self.title = str(path)
        self.labelled = one_of("labelled", labelled, ("no", "yes"))
        if labelled != "no":
            options["labelled"] = labelled
        query = "&".join(f"{option}={value}" for option, value in options.items())
        self.address = f"{self.scheme}:{self.path}" + (query and f"?{query}")
        self.place = self.open_place()

    @functools.cached_property
    def files(self) -> list[Entry]:
        """The pictures as they lie in the place, with the folders' names for people."""
        return self.place.entries()

    def open_place(self) -> FolderSource | ZipSource:
        """Open the folder or the zip file that holds the pictures."""
        return open_place(self.path, self.by_hand)

    def list_entries(self) -> list[Entry]:
        """List all pictures of the data set."""
        raise NotImplementedError

    def annotations(self) -> Iterable[Annotation]:
        """Return the annotation files that are there."""
        return ()

    def folders_beside(self) -> Iterable[Path]:
        """Return folders outside of the place where annotation files may lie."""
        return (self.path.parent,) if self.path.is_file() else ()

    def annotation(self, *names: str) -> Annotation | None:
        """Return the annotation file of one of these names, the first that is there, or None."""
        wanted = [name.lower() for name in names]
        inside = [name for name in self.place.others if _file(name).lower() in wanted]
        if inside:
            name = min(
                inside, key=lambda n: (wanted.index(_file(n).lower()), n.count("/"), natural(n))
            )
            path = self.place.file(name)
            return Annotation(str(path or f"{name} in {self.place.title!r}"), self.place, name)
        for folder in self.folders_beside():
            for name in names:
                if (folder / name).is_file():
                    return Annotation(str(folder / name), None, str(folder / name))
        return None

    @functools.cached_property
    def _entries(self) -> list[Entry]:
        entries = self.list_entries()
        if self.labelled == "yes":
            attributes = self.attributes()
            if attributes is None:
                raise UserError(
                    f"labelled=yes needs attributes, and {self.title!r} has none: "
                    f"{self.attributes_hint}"
                )
            entries = [entry for entry in entries if entry.name in attributes.rows]
        return entries

    def entries(self) -> list[Entry]:
        return self._entries

    def read(self, name: str) -> bytes:
        return self.place.read(name)

    def file(self, name: str) -> Path | None:
        return self.place.file(name)

    def make_listing(self) -> str:
        facts = [self.address, self.place.listing(), *(a.stamp() for a in self.annotations())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def open_place(path: Path, by_hand: str) -> FolderSource | ZipSource:
    """Open a data set's folder or zip file.

    Raises:
        UserError: If there is none, or it must be unpacked, or it holds no picture.
    """
    if not path.exists():
        raise UserError(f"There is no folder or file {str(path)!r}.\n\n{by_hand}")
    if path.is_file():
        how = how_to_unpack(path)
        if how:
            raise UserError(how)
        return ZipSource(path)
    try:
        return FolderSource(path)
    except UserError as error:
        if isinstance(error.__cause__, OSError):  # it may not be read
            raise
        packed = (how_to_unpack(file) for file in sorted(path.iterdir()) if file.is_file())
        how = next(filter(None, packed), None)
        raise UserError(how or f"{error}\n\n{by_hand}") from error


def how_to_unpack(path: Path) -> str | None:
    """Return what to do with an archive whose pictures cannot be read in place, or None."""
    for suffixes, command in UNPACK.items():
        if path.name.lower().endswith(suffixes):
            return (
                f"{str(path)!r} must be unpacked first, since its pictures cannot be read one by "
                f"one. Do: cd {str(path.parent)!r} && {command} {path.name!r}, and give the folder "
                "that this makes."
            )
    return None


def one_of(option: str, given: str, known: Sequence[str]) -> str:
    """Return the value of an option.

    Raises:
        UserError: If it is none of those known.
    """
    if given not in known:
        raise unknown_name(f"value of {option}", given, known)
    return given


def once(names: Iterable[str]) -> list[str]:
    """Return each file once where several folders hold it: in the folder that holds the most.

    Args:
        names: Names of the files; those with equal stems are the same picture.

    Returns:
        The names that are kept, in natural order.
    """
    names = list(names)
    sizes = Counter(name.rpartition("/")[0] for name in names)
    if len(sizes) == 1:
        return names
    rank = {
        folder: place
        for place, folder in enumerate(sorted(sizes, key=lambda f: (-sizes[f], natural(f))))
    }
    kept: dict[str, str] = {}
    for name in sorted(names, key=lambda name: rank[name.rpartition("/")[0]]):
        kept.setdefault(stem(name), name)
    return sorted(kept.values(), key=natural)


class Glance(NamedTuple):
    """What a path holds, seen without reading pictures.

    Attributes:
        folders: Names of folders.
        others: Names of files that are no pictures, without their folders.
        pictures: The first names of pictures, with folders.
    """

    folders: frozenset[str]
    others: frozenset[str]
    pictures: tuple[str, ...]


def glance(path: Path, looked_at: int = 50) -> Glance:
    """Look at the names in a zip file, or at some of those in a folder and its folders."""
    try:
        if path.is_file():
            return _glance_at_zip(path, looked_at)
        top, folders, files = path.name, {path.name}, []
        with os.scandir(path) as entries:
            for entry in itertools.islice(entries, 1000):
                if hidden(entry.name):
                    continue
                if not entry.is_dir():
                    files.append(f"{top}/{entry.name}")
                    continue
                folders.add(entry.name)
                if len(folders) <= 10:
                    with os.scandir(entry) as inside:
                        for below in itertools.islice(inside, 20):
                            if below.is_dir():
                                folders.add(below.name)
                            else:
                                files.append(f"{entry.name}/{below.name}")
    except (OSError, zipfile.BadZipFile):
        return Glance(frozenset(), frozenset(), ())
    return Glance(
        frozenset(folders),
        frozenset(_file(name) for name in files if not is_picture(name)),
        tuple(filter(is_picture, files))[:looked_at],
    )


def _glance_at_zip(path: Path, looked_at: int) -> Glance:
    if not zipfile.is_zipfile(path):
        return Glance(frozenset(), frozenset(), ())
    try:
        seen = ZipSource(path).outline()
    except UserError:  # no picture in it, or damaged: whoever opens it will say so
        return Glance(frozenset(), frozenset(), ())
    return Glance(
        frozenset(seen["folders"]),
        frozenset(map(_file, seen["others"])),
        tuple(seen["pictures"][:looked_at]),
    )


def _file(name: str) -> str:
    return name.rpartition("/")[2]
