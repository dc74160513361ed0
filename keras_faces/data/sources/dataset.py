"""What the published data sets have in common: a layout, annotation files, a page to get them."""

import functools
import hashlib
import io
import itertools
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from keras_faces.data.annotations import stem
from keras_faces.data.decode import BadPicture, read_file
from keras_faces.data.names import hidden, in_natural_order, is_picture, natural
from keras_faces.data.sources.base import Entry, Source
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.errors import UserError, unknown_name
from keras_faces.screen import visible

BAR_FROM = 100_000_000  # bytes; larger files take seconds

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
            return self.place.read(self.name) if self.place else read_file(self.name)
        except BadPicture as error:
            raise UserError(f"Cannot read {self.title}: {error}.") from error

    def stamp(self) -> tuple:
        """Return facts that change with the file."""
        path = self.place.file(self.name) if self.place else self.name
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


def listed(files: Sequence[Published]) -> str:
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
        published: Files of it of which a size or a checksum is published.
        place: The pictures, as plain files of a folder or a zip file.
    """

    scheme: str
    by_hand: str
    published: Sequence[Published] = ()

    def __init__(self, path: str | os.PathLike, labelled: str = "no", **options: str):
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        self.title = str(path)
        self.labelled = one_of("labelled", labelled, ("no", "yes"))
        if labelled != "no":
            options["labelled"] = labelled
        query = "&".join(f"{option}={value}" for option, value in options.items())
        self.address = f"{self.scheme}:{self.path}" + (query and f"?{query}")
        try:
            self.place = self.open_place()
        except UserError as error:
            lines = self._archives_of_another_size()
            if not lines:
                raise
            raise UserError("\n".join([str(error), *lines])) from error

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
            return Annotation(visible(path or f"{name} in {self.place.title!r}"), self.place, name)
        for folder in self.folders_beside():
            for name in names:
                if os.path.lexists(folder / name) and not (folder / name).is_dir():
                    return Annotation(visible(str(folder / name)), None, str(folder / name))
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

    def file(self, name: str) -> str | None:
        return self.place.file(name)

    def compare_with_published(self) -> list[str]:
        lines = []
        for file in self.published:
            copies = self._copies(file)
            for copy in copies:
                title = _file(file.name) if len(copies) == 1 else copy.title
                lines.append(f"published: {title}: {_compare(file, copy)}")
        return lines

    def _copies(self, file: Published) -> list[Annotation]:
        """Return the copies of a published file beside the pictures and among them."""
        wanted = _file(file.name).lower()
        inside = [name for name in self.place.others if _file(name).lower() == wanted]
        files = filter(None, map(self.place.file, inside))
        paths = [self.path, self.place.path, *map(Path, files)]
        top = self.path if self.path.is_dir() else self.path.parent
        paths += [
            folder / name
            for folder in (top, *self.folders_beside())
            for name in (_file(file.name), file.name)
        ]
        found = {}
        for path in paths:
            if path.name.lower() == wanted and os.path.isfile(path):
                status = path.stat()  # one file may have several paths
                found.setdefault((status.st_dev, status.st_ino), str(path))
        return [Annotation(visible(path), None, path) for path in found.values()] + [
            Annotation(f"{name} in {self.place.title!r}", self.place, name)
            for name in inside
            if self.place.file(name) is None
        ]

    def _archives_of_another_size(self) -> list[str]:
        """Return lines on archives that explain why a copy cannot be opened."""
        lines = []
        for file in self.published:
            name = _file(file.name)
            for path in (self.path, self.path / name, self.path / file.name):
                if path.name == name and path.suffix in (".zip", ".tgz") and path.is_file():
                    what = file.compare_size(path.stat().st_size)
                    lines += [f"published: {name}: {what}"] if what else []
        return lines

    def make_listing(self) -> str:
        facts = [self.address, self.place.listing(), *(a.stamp() for a in self.annotations())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _compare(file: Published, copy: Annotation) -> str:
    kind, digits = ("SHA-256", file.sha256) if file.sha256 else ("MD5", file.md5)
    try:
        content = copy.read() if copy.place else None
        size = len(content) if copy.place else os.path.getsize(copy.name)
        wrong = file.compare_size(size)
        if wrong:
            return wrong
        if not digits:
            return "of the published size"
        summed = hashlib.new(kind.replace("-", ""), usedforsecurity=False)
        with open(copy.name, "rb") if content is None else io.BytesIO(content) as data:
            bar = tqdm(
                desc=f"{kind} of {_file(file.name)}",
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


def open_place(path: Path, by_hand: str) -> FolderSource | ZipSource:
    """Open a data set's folder or zip file.

    Raises:
        UserError: If there is none, or it must be unpacked, or it holds no picture.
    """
    if not path.exists():
        raise UserError(f"There is no folder or file {str(path)!r}.\n\n{by_hand}")
    if not path.is_dir():
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
            there = "" if path.parent == Path() else f"cd {str(path.parent)!r} && "
            return (
                f"{str(path)!r} must be unpacked first, since its pictures cannot be read one by "
                f"one. Do: {there}{command} {path.name!r}, and give the folder that this makes."
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
    return in_natural_order(list(kept.values()))


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
