"""What lies in a folder or a zip file of a data set, and how one is opened."""

import itertools
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from keras_faces.data.annotations import stem
from keras_faces.data.names import file_name, hidden, in_natural_order, is_picture, natural
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.zipped import ZipSource, how_to_join
from keras_faces.errors import UserError
from keras_faces.screen import quoted

UNPACK = {
    (".tar.gz", ".tgz"): "tar -xzf",
    (".tar", ".tar.bz2", ".tar.xz"): "tar -xf",
    (".7z", ".7z.001"): "7z x",
    (".rar",): "unrar x",
}


def open_container(path: Path, by_hand: str) -> FolderSource | ZipSource:
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
        return ZipSource(path, **EACH_FOLDER)
    try:
        return FolderSource(path, **EACH_FOLDER)
    except UserError as error:
        if isinstance(error.__cause__, OSError):  # it may not be read
            raise
        packed = (how_to_unpack(file) for file in sorted(path.iterdir()) if file.is_file())
        how = next(filter(None, packed), None)
        raise UserError(how or f"{error}\n\n{by_hand}") from error


def how_to_unpack(path: Path) -> str | None:
    """Return what to do with an archive whose pictures cannot be read in place, or None."""
    if (how := how_to_join(path)) is not None:
        return how
    for suffixes, command in UNPACK.items():
        if path.name.lower().endswith(suffixes):
            there = "" if path.parent == Path() else f"cd {quoted(path.parent)} && "
            return (
                f"{str(path)!r} must be unpacked first, since a data set's files cannot be read in "
                f"it one by one. Do: {there}{command} {quoted(path.name)} (and give the folder it "
                "makes)."
            )
    return None


def deduplicate(names: Iterable[str]) -> list[str]:
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
        folder: index
        for index, folder in enumerate(sorted(sizes, key=lambda f: (-sizes[f], natural(f))))
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
        frozenset(file_name(name) for name in files if not is_picture(name)),
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
        frozenset(map(file_name, seen["others"])),
        tuple(seen["pictures"][:looked_at]),
    )
