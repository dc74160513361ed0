"""CASIA-WebFace: a folder for each identity, or the RecordIO pair train.rec and train.idx.

insightface's copies begin with a record that holds no picture: its two labels tell where the
pictures end, and where the records end that give each identity's range of pictures.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_faces.data.decode import BadPicture, read_file
from keras_faces.data.labels import Attributes
from keras_faces.data.names import is_picture
from keras_faces.data.sources.base import Entry, Source
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.recordio import RecordFile, unpack
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.errors import UserError

CREDIT = "CASIA-WebFace (Yi, Lei, Liao and Li, 2014), for research only"


class CasiaSource(Source):
    """CASIA-WebFace, as a folder for each identity, zipped or not, or as train.rec and train.idx.

    Args:
        path: The folder of people's folders, the zip file of it, the folder that holds
            `train.rec`, or that file or `train.idx` itself.

    Raises:
        UserError: If there is no such layout there, or the index is that of another file.
    """

    credit = CREDIT

    # Counts: the property file and the training settings of insightface's copy.
    by_hand = """\
CASIA-WebFace must be got by hand; it is for research that is not commercial.
1. Open https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_ and download
   CASIA-Webface (faces_webface_112x112.zip: 490,623 pictures of 10,572 people, 112x112 pixels).
2. Unpack it. The folder holds train.rec, train.idx and property: give casia:FOLDER; or set
   KERAS_FACES_DATA to the folder that holds casia/, and give just casia.
A copy with a folder for each person, as it was published first, serves as well."""

    def __init__(self, path: str | os.PathLike):
        location = Path(path).expanduser()
        if not location.exists():
            raise UserError(
                f"There is no folder or file {os.fspath(path)!r}. Check the path.\n\n{self.by_hand}"
            )
        records = find_records(location)
        if records is not None:
            self._inner = RecordSource(records)
        else:
            kind = FolderSource if location.is_dir() else ZipSource
            self._inner = kind(path, **EACH_FOLDER)
            if any(entry.identity is None for entry in self._inner.entries()):
                raise UserError(
                    f"casia: expects a folder of pictures for each identity, or train.rec with "
                    f"train.idx. The pictures in {os.fspath(path)!r} lie in no such folders. "
                    "Where identities do not matter, give the path without casia:."
                )
        self.path = self._inner.path
        self.title = os.fspath(path)
        self.address = f"casia:{os.path.abspath(location)}"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return (path / "train.rec").is_file()
        return path.suffix == ".rec" or (
            path.suffix == ".idx" and path.with_suffix(".rec").is_file()
        )

    def entries(self) -> Sequence[Entry]:
        entries = self._inner.entries()
        self.mismatches = self._inner.mismatches
        return entries

    def read(self, name: str) -> bytes:
        return self._inner.read(name)

    def make_listing(self) -> str:
        return self._inner.listing()

    def attributes(self) -> Attributes | None:
        return self._inner.attributes()


class RecordSource(Source):
    """Pictures in a RecordIO file. Their names are their keys.

    Args:
        path: The .rec file. The index is the .idx file beside it; without one the records are
            numbered in their order.

    Raises:
        UserError: If it is no such file, or the index is not its own.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.title = str(path)
        self.address = os.path.abspath(path)
        self._records = RecordFile(self.path)
        self._keys, self._identities = self._pictures()

    def _pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of the pictures, and each one's number of identity, -1 if unknown."""
        keys = self._records.keys
        ends = self._ends()
        if ends is None or not self._is_between(ends[0]):
            return keys, self._labels(keys)
        pictures = keys[(keys >= 1) & (keys < ends[0])]
        if not len(pictures):
            raise UserError(
                f"{self.title!r} has no picture: its first record says that pictures are records "
                f"1 to {ends[0] - 1}, the index has none of those."
            )
        if len(pictures) < ends[0] - 1:
            self.warn(
                f"{self.title!r} has {len(pictures):,} of the {ends[0] - 1:,} pictures that its "
                "first record counts. Look whether its .idx and .rec files are whole."
            )
        if keys[-1] >= ends[1]:
            self.warn(
                f"The index of {self.title!r} has {np.sum(keys >= ends[1]):,} records more than "
                "its first record counts, which are left out. Do the two files belong together?"
            )
        identities = self._ranges(pictures, *ends)
        self._check_property(ends[1] - ends[0])
        return pictures, self._labels(pictures) if identities is None else identities

    def _ends(self) -> tuple[int, int] | None:
        """Return where pictures and identities end, where the first record tells that."""
        try:
            labels, picture = unpack(self._records.read(0))
        except BadPicture:
            return None
        if len(labels) != 2 or picture or not 1 <= labels[0] <= labels[1] < 2**31:
            return None
        return int(labels[0]), int(labels[1])

    def _is_between(self, start: int) -> bool:
        """Return whether pictures end before a record, so that none is lost in silence."""
        try:
            return not unpack(self._records.read(start))[1]
        except BadPicture:  # a file that is cut ends sooner
            return True

    def _ranges(self, pictures: np.ndarray, start: int, end: int) -> np.ndarray | None:
        """Return identities by the records of their ranges.

        None unless these follow each other without a gap, cover the pictures, and say what the
        first and the last picture of each say.
        """
        identities = np.full(len(pictures), -1, np.int32)
        known = set()
        expected = 1
        try:
            for key in range(start, end):
                labels, _ = unpack(self._records.read(key))
                begin, expected, previous = *map(int, labels[:2]), expected
                first, last = np.searchsorted(pictures, [begin, expected])
                if begin != previous or first > last:
                    return None
                if first < last:
                    [label] = set(self._labels(pictures[[first, last - 1]]).tolist())
                    if label in known:
                        return None
                    known.add(label)
                    identities[first:last] = label
        except (BadPicture, ValueError, OverflowError):
            return None  # a file that is cut has lost them: they come last
        return identities if len(identities) and identities.min() >= 0 else None

    def _labels(self, keys: np.ndarray) -> np.ndarray:
        identities = np.full(len(keys), -1, np.int32)
        for index, key in enumerate(keys):
            with contextlib.suppress(BadPicture):
                label = float(unpack(self._records.read(int(key), limit=1024))[0][0])
                if 0 <= label < 2**31:
                    identities[index] = int(label)
        return identities

    def _check_property(self, people: int) -> None:
        with contextlib.suppress(BadPicture, ValueError):
            stated = int(read_file(self.path.parent / "property").split(b",")[0])
            if stated != people:
                self.warn(
                    f"The file 'property' beside {self.title!r} says {stated} identities, its "
                    f"records say {people}. The records are believed."
                )

    def entries(self) -> Sequence[Entry]:
        return _Entries(self._keys, self._identities)

    def read(self, name: str) -> bytes:
        _, picture = unpack(self._records.read(int(name)))
        if not picture:
            raise BadPicture("its record holds labels and no picture")
        return picture

    def make_listing(self) -> str:
        return self._records.listing()


class _Entries(Sequence):
    """The entries of half a million pictures, made when asked for."""

    def __init__(self, keys: np.ndarray, identities: np.ndarray):
        self._keys, self._identities = keys, identities

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return _Entries(self._keys[index], self._identities[index])
        person = int(self._identities[index])
        return Entry(str(self._keys[index]), str(person) if person >= 0 else None)


def find_records(path: Path) -> Path | None:
    """Return the .rec file that a path means: itself, its .idx file, or the folder it lies in.

    Raises:
        UserError: If an .idx file has no .rec file beside it, or a folder has several.
    """
    if not path.is_dir():
        if path.suffix not in (".rec", ".idx"):
            return None
        records = path.with_suffix(".rec")
        if not records.exists():
            raise UserError(
                f"{str(path)!r} is an index without its records. Put {records.name} beside it."
            )
        return records
    files = sorted(path.glob("*.rec")) or sorted(path.glob("*/*.rec"))
    named = [file for file in files if file.name == "train.rec"]
    if len(named or files) > 1:
        names = ", ".join(file.relative_to(path).as_posix() for file in files[:5])
        raise UserError(
            f"{str(path)!r} has {len(files)} .rec files: {names}. Give the path of the one you "
            "want."
        )
    if not files and (path / "train.idx").is_file() and not any(map(is_picture, os.listdir(path))):
        raise UserError(
            f"{str(path)!r} has train.idx, an index without its records. Put train.rec beside it."
        )
    return (named or files or [None])[0]
