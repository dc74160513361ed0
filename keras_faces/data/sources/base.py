"""What every source of faces offers: a list of its pictures, and their bytes."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_faces.data.annotations import text_of
from keras_faces.data.decode import SUFFIXES, BadPicture, FaceIn
from keras_faces.data.labels import Attributes, Landmarks, read_attributes
from keras_faces.data.names import suffix_counts
from keras_faces.data.remote import AT_ONCE, read_all
from keras_faces.data.splits import split_hashes
from keras_faces.errors import UserError

LEFT_OUT = "left out"


# What `open_source` takes: a name, a path or `scheme:PATH`; several of them for all their pictures.
SourceLike = str | os.PathLike | Sequence[str | os.PathLike]


def each(source: "SourceLike | Source") -> list:
    """Return the sources that are given, one or several, as a list."""
    return list(source) if isinstance(source, (list, tuple)) else [source]


def named(source: "SourceLike | Source") -> str:
    """Return the sources that are given in words."""
    return " and ".join(getattr(one, "address", str(one)) for one in each(source))


class UnmatchedAnnotations(UserWarning):
    """Pictures and what a source says of them do not match; the message counts and names."""


class Entry(NamedTuple):
    """One picture of a source.

    Attributes:
        name: Its path within the source, with `/`.
        identity: Name of the person it shows, or None where the source does not know.
        split: The side on which the source itself puts it: `"train"`, `"validation"` or `"test"`;
            `LEFT_OUT` where it belongs to none of them; None where the source does not say.
    """

    name: str
    identity: str | None = None
    split: str | None = None


class Source:
    """A place where faces come from.

    Subclasses implement `entries`, `read` and `make_listing`. One whose pictures come only one by
    one sets `sequential` and implements `pictures` instead of `read`; one behind a network sets it
    so that several are fetched at the same time.

    Attributes:
        title: What messages call it.
        address: What `open_source` takes from any folder to open it again.
        credit: Whom to name beside the pictures.
        sequential: Whether `pictures` is the quickest way to them, or the only one.
        examined: Whether its pictures may be anything, and are looked at for faces.
        whole_people: Whether splits keep all pictures of a person, an entry's `identity`, together.
        attributes_hint: What to do where `attributes` are wanted and there are none.
        mismatches: What does not match so far, see `warn`.
    """

    title: str
    address: str
    credit: str = ""
    sequential: bool = False
    examined: bool = False
    whole_people: bool = True
    attributes_hint: str = (
        "put a file attributes.csv into the folder or zip, with a header such as "
        "'file,glasses,smiling' and a row of 0 and 1 for each picture."
    )

    mismatches: tuple[str, ...] = ()
    _listing: str | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether an existing path without a scheme belongs to this kind of source."""
        return False

    def entries(self) -> Sequence[Entry]:
        """List the pictures, always in the same order."""
        raise NotImplementedError

    def read(self, name: str) -> bytes | np.ndarray:
        """Return one picture: its file's bytes, or pixels as uint8 of shape `(h, w, 1 or 3)`.

        Several threads call it. Where pictures come only one by one, it goes through those before.

        Raises:
            BadPicture: If it cannot be read.
        """
        found = (picture for entry, picture in self.pictures() if entry.name == name)
        picture = next(found, BadPicture("it is not there any more"))
        if isinstance(picture, Exception):
            raise picture
        return picture

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | np.ndarray | Exception]]:
        """Yield the entries from number `start` with their pictures, or with a `BadPicture`."""
        entries = self.entries()[start:]
        at_once = AT_ONCE if self.sequential else 1
        for entry, picture in zip(entries, read_all(lambda e: self.read(e.name), entries, at_once)):
            if isinstance(picture, BadPicture):
                self.check_still_there()
            yield entry, picture

    def warn(self, message: str) -> None:
        """Warn that pictures and annotations do not match, now and at every later start."""
        self.mismatches = (*self.mismatches, message)
        warnings.warn(message, UnmatchedAnnotations, stacklevel=3)

    def file(self, name: str) -> str | None:
        """Return the path of the file whose bytes `read` returns, or None where there is none."""
        return None

    def undecoded(self, name: str) -> str | bytes | np.ndarray | FaceIn | BadPicture:
        """Return one picture as those who decode it take it, or the path of its file."""
        if (path := self.file(name)) is not None:
            return path
        try:
            return self.read(name)
        except BadPicture as error:
            return error

    def unit(self, name: str) -> str:
        """Return what a split keeps together: the picture alone, or the photograph it is from."""
        return name

    def check_still_there(self) -> None:
        """Refuse to go on when the whole source has vanished, and not one picture of it.

        Raises:
            UserError: If it has.
        """
        path = getattr(self, "path", None)
        if path is not None and not Path(path).exists():
            raise UserError(
                f"{self.title!r} has vanished while it was read. Was a disk unplugged or a folder "
                "moved? What was read so far is kept: run the same again when it is back."
            )

    def listing(self) -> str:
        """Return a digest of names, sizes and times, made once: different after any change."""
        if self._listing is None:
            self._listing = self.make_listing()
        return self._listing

    def make_listing(self) -> str:
        """Return a digest of names, sizes and times as they are now."""
        raise NotImplementedError

    def attributes(self) -> Attributes | None:
        """Return what is known of the faces, or None."""
        return None

    def landmarks(self) -> Landmarks | None:
        """Return where eyes, nose and mouth are, or None."""
        return None

    def taken_for(self) -> list[str]:
        """Return lines on what folders were taken for, where nobody said what they are."""
        return []

    def remarks(self) -> list[str]:
        """Return lines on what a user should know of this copy: files that do not match, ..."""
        return []

    def passed_over(self) -> list[str]:
        """Return the names of files that lie among the pictures and are of no use here."""
        return []

    def compare_with_published(self) -> list[str]:
        """Return a line for each file of this copy whose size or checksum is published."""
        return []

    # Whether a picture's sketch shows the same face, where there are sketches.
    paired = True

    def sketches(self) -> "Source | None":
        """Return a source of the sketches of these faces, with the same entries, or None."""
        return None


def held_out_by(source: Source, entries: Sequence[Entry]) -> tuple[np.ndarray, str]:
    """Return what each picture's place in a split depends on, and whether that is people.

    Args:
        source: The source.
        entries: Its entries, or some.

    Returns:
        uint64 array of hashes, see `splits.split_hashes`; and `"people"` or `"pictures"`.
    """
    people: dict[str | None, int] = {}
    codes = [people.setdefault(entry.identity, len(people)) for entry in entries]
    if source.whole_people and len(people) > 1 and None not in people:
        return split_hashes(people)[codes], "people"
    return split_hashes(source.unit(entry.name) for entry in entries), "pictures"


def attributes_in(data: bytes, title: str) -> Attributes:
    return read_attributes(text_of(data, title), title)


def no_picture(title: str, others: list[str]) -> str:
    return (
        f"No picture in {title!r}: expected files ending in {', '.join(SUFFIXES)}, "
        f"found {suffix_counts(others) or 'nothing'}."
    )
