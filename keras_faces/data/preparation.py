"""What Zhang et al. did to CelebA before training: attributes as .csv, one folder for each person.

"We convert the txt file into a csv file, and distinguish the face image according to the csv file.
Each folder represents a person" (section 4.1).
"""

import errno
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.annotations import Table, read_table
from keras_faces.data.decode import BadPicture, FaceIn
from keras_faces.data.names import is_picture
from keras_faces.data.sources import Entry, Source, open_source
from keras_faces.data.sources.base import UnmatchedAnnotations
from keras_faces.data.sources.celeba import ATTRIBUTES, CelebaSource
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import write_whole

LINKS = ("none", "hard", "symbolic")
UNFINISHED = ".unfinished"  # in a folder of people while it is being made: the source's address


class People(NamedTuple):
    """What `people_folders` did.

    Attributes:
        folder: Where the people are.
        people: How many there are.
        pictures: How many pictures.
        nobody: Names of pictures left out, since nobody is known on them.
        bad: Name and reason of each picture left out, since it cannot be read.
    """

    folder: Path
    people: int
    pictures: int
    nobody: list[str]
    bad: list[tuple[str, str]]


def attributes_csv(source: str | os.PathLike, out: str | os.PathLike) -> tuple[int, int]:
    """Write a source's attributes as .csv, of 1 and -1, as Kaggle's copy of CelebA has them.

    Args:
        source: A source with attributes, as `open_source` takes it, or `list_attr_celeba.txt`
            itself. From CelebA all rows are written, those without a picture too.
        out: The .csv file, which is replaced.

    Returns:
        How many rows and how many attributes were written.

    Raises:
        UserError: If the source has no attributes, or `out` cannot be written.
    """
    table = _attribute_table(source)
    signs = np.where(table.values > 0, "1", "-1").tolist()
    lines = [",".join(["image_id", *map(_cell, table.columns)])]
    lines += [",".join([_cell(name), *row]) for name, row in zip(table.names, signs)]
    write_whole(out, "\n".join(lines) + "\n")
    return len(table.names), len(table.columns)


def _attribute_table(source: str | os.PathLike) -> Table:
    path = Path(source).expanduser()
    if path.suffix.lower() in (".txt", ".csv") and path.is_file():
        table = read_table(path.read_bytes(), str(path), "1 or -1")
        if table.warning:
            warnings.warn(table.warning, UnmatchedAnnotations, stacklevel=3)
        return table
    opened = open_source(source)
    table = opened.table(ATTRIBUTES) if isinstance(opened, CelebaSource) else None
    if table is not None:
        return table
    attributes = opened.attributes()
    if attributes is None:
        raise UserError(f"{opened.title!r} has no attributes to write: {opened.attributes_hint}")
    names = [entry.name for entry in opened.entries() if entry.name in attributes.rows]
    return Table(opened.title, attributes.names, names, attributes.table(names))


def _cell(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def people_folders(
    source: str | os.PathLike,
    out: str | os.PathLike,
    link: str = "none",
    progress: bool = True,
) -> People:
    """Make a folder with one folder for each person in it.

    Stopped half-way, the same call goes on where it was: a picture is either there or not.

    Args:
        source: A source that knows who is on its pictures, as `open_source` takes it.
        out: The folder to make; it must be empty, or what an earlier call left unfinished.
        link: `"none"` copies the pictures. `"hard"` and `"symbolic"` only link to them, which takes
            no room, and needs a source of plain files: a folder, and no zip file.
        progress: Show a progress bar.

    Raises:
        UserError: If the source does not know anybody, `out` holds something else, or links cannot
            be made.
    """
    if link not in LINKS:
        raise unknown_name("kind of link", link, LINKS)
    opened = open_source(source)
    entries = opened.entries()
    known = [entry for entry in entries if entry.identity is not None]
    if not known:
        raise UserError(
            f"{opened.title!r} does not say who is on its pictures. CelebA needs "
            "identity_CelebA.txt beside them; other folders one folder for each person."
        )
    if link != "none" and opened.file(known[0].name) is None:
        raise UserError(
            f"The pictures in {opened.title!r} are no files of their own, so there is nothing to "
            "link to. Leave --link out to copy them."
        )
    folder = Path(out).expanduser()
    mark = begin(folder, opened.address, [folder])
    bad = []
    read = _reader(opened)
    bar = tqdm(
        _with_paths(known),
        total=len(known),
        desc=f"People of {opened.title}",
        unit=" pictures",
        disable=None if progress else True,
    )
    for entry, path in bar:
        target = folder / path
        if os.path.lexists(target):  # of an earlier call
            continue
        try:
            if link == "none":
                _copy(read(entry), target)
            else:
                _link(opened.file(entry.name), target, link)
        except BadPicture as error:
            bad.append((entry.name, str(error)))
    mark.unlink()
    return People(
        folder,
        len({entry.identity for entry in known}),
        len(known) - len(bad),
        [entry.name for entry in entries if entry.identity is None],
        bad,
    )


def begin(folder: Path, made_from: str, taken: Sequence[Path]) -> Path:
    """Begin to make a folder, or go on with it.

    Args:
        folder: The folder.
        made_from: What it is made from.
        taken: What must not be there, or be an empty folder, unless an earlier call left it.

    Returns:
        A file that says that the folder is unfinished, to be removed when it is finished.

    Raises:
        UserError: If something else is there, or something that was made from something else.
    """
    mark = folder / UNFINISHED
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file. Give a folder that is empty or not there yet.")
    others = [path for path in folder.iterdir() if path != mark] if folder.is_dir() else []
    if mark.is_file() and others:
        earlier = mark.read_text(encoding="utf-8", errors="surrogateescape")
        if earlier != made_from:
            raise UserError(
                f"The folder {str(folder)!r} was begun with another source, {earlier}. Give that "
                "one to go on with it, or another folder."
            )
        return mark
    for path in taken:
        if path.exists() and not (path.is_dir() and set(path.iterdir()) <= {mark}):
            raise UserError(
                f"The folder {str(path)!r} is not empty. Give one that is empty or not there yet."
            )
    return write_whole(mark, os.fsencode(made_from))


def cannot_write(target: Path, error: OSError, otherwise: str = "") -> UserError:
    """Return the error for a file that cannot be written half-way through many."""
    free = shutil.disk_usage(next(p for p in target.absolute().parents if p.exists())).free
    return UserError(
        f"Cannot write {str(target)!r}: {error.strerror}; {free:,} bytes are free there. "
        f"Make room and call again, which goes on from here{otherwise}."
    )


def _with_paths(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Path]]:
    """Yield each picture with its path, `person/file`; no two have the same."""
    taken = set()
    for entry in entries:
        # A zip file may hold any name, and nothing may be written outside of the folder.
        person = [part for part in entry.identity.split("/") if part not in ("", ".", "..")]
        file = entry.name.rpartition("/")[2]
        path = Path(*person, file)
        if path in taken:
            path = Path(*person, entry.name.replace("/", "_"))
        taken.add(path)
        yield entry, path


def _reader(source: Source) -> Callable[[Entry], bytes | np.ndarray]:
    """Return what reads pictures that are asked for in the source's order."""
    if not source.sequential:
        return lambda entry: source.read(entry.name)
    following = source.pictures()

    def read(entry: Entry) -> bytes | np.ndarray:
        picture = next(picture for one, picture in following if one.name == entry.name)
        if isinstance(picture, Exception):
            raise picture
        return picture.cut_out()[0] if isinstance(picture, FaceIn) else picture

    return read


def _copy(data: bytes | np.ndarray, target: Path) -> None:
    if isinstance(data, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(data.squeeze()).save(buffer, "PNG")
        data = buffer.getvalue()
        target = target.with_suffix(".png") if is_picture(target.name) else target
    if not is_picture(target.name):  # rows and records are numbers
        target = target.with_name(target.name + _suffix(data))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")  # hidden, so never taken for a picture
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(target, error, "; or link with --link") from error


def _suffix(data: bytes) -> str:
    """Return how the name of a picture's file ends.

    Raises:
        BadPicture: If it is none.
    """
    try:
        kind = decode.opened(data)[0].format.lower()
    except Exception as error:  # as many types as formats
        raise BadPicture("not a picture in a format that is read here") from error
    return {"jpeg": ".jpg"}.get(kind, f".{kind}")


def _link(path: str, target: Path, link: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    file = Path(path).resolve()
    try:
        if link == "hard":
            os.link(file, target)
        else:
            os.symlink(file, target)
    except OSError as error:
        other = "symbolic" if link == "hard" else "hard"
        why = "it is on another disk" if error.errno == errno.EXDEV else error.strerror
        raise UserError(
            f"Cannot link {str(target)!r} to {str(file)!r}: {why}. Try --link {other}, or leave "
            "it out to copy."
        ) from error
