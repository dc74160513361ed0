"""The faces of whole photographs as a source of their own.

Every face is found once: a table of all faces of a source is kept among the caches, and what was
interrupted goes on where it was. Limits say which of them are taken. They are cut out when the
pictures are decoded, from the photograph at the size that the wanted face needs.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from keras_faces.data.cache import only_one
from keras_faces.data.decode import BadPicture, FaceIn, open_photograph, silent_pillow
from keras_faces.data.decoding import as_parquet, chunks, numbers, read_columns, text, texts
from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import Entry, Source
from keras_faces.detection.mtcnn import LONGER_SIDE, require_detector
from keras_faces.detection.photographs import (
    FACES,
    MAX_TURN,
    MIN_FACE,
    MIN_SHARPNESS,
    PER_PHOTO,
    VERSION,
    FoundFace,
    find_faces,
)
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import cache_folder, read_checked, remembered, write_checked
from keras_faces.parallel import in_parallel

OPTIONS = ("faces", "per_photo", "min_face", "max_turn", "min_sharpness")

# Of a table of faces; a photograph without any has one row, of NaN.
NUMBERS = ("left", "top", "right", "bottom", "x1", "y1", "x2", "y2", "sharpness")
AT_ONCE = 8  # photographs that a worker looks at
PART = 256  # photographs that are looked at again, at most, when the process is killed


class Limits(NamedTuple):
    """Which faces are taken of photographs.

    Attributes:
        min_face: Least width of a face in pixels.
        max_turn: Degrees by which the line of the eyes may be turned to either side.
        min_sharpness: Least sharpness, see `keras_faces.detection.photographs.sharpness`.
    """

    min_face: float = MIN_FACE
    max_turn: float = MAX_TURN
    min_sharpness: float = MIN_SHARPNESS

    def refuse(self, face: FoundFace) -> str | None:
        """Return why a face is not taken: it is small, turned or blurred; or None."""
        if face.width < self.min_face:
            return "small"
        if abs(face.turn) > self.max_turn:
            return "turned"
        return "blurred" if face.sharpness < self.min_sharpness else None


def with_faces(
    source: Source, faces: str = "as-is", per_photo: str | None = None, **limits: str | float
) -> Source:
    """Return the faces of a source's photographs as a source, or the source as it is.

    Args:
        source: The photographs.
        faces: One of `FACES`.
        per_photo: One of `PER_PHOTO`; None takes all.
        **limits: Fields of `Limits`.

    Raises:
        UserError: If an argument is none of these, or has no effect, or faces cannot be found.
    """
    if faces not in FACES:
        raise unknown_name("way to take faces", faces, FACES)
    if per_photo not in (None, *PER_PHOTO):
        raise unknown_name("choice per photo", per_photo, PER_PHOTO)
    if faces == "as-is":
        without_effect = [*(["per_photo"] if per_photo else []), *limits]
        if without_effect:
            raise UserError(
                f"{', '.join(without_effect)} without effect: pictures are taken as they are. Give "
                "faces=aligned (--faces aligned) or found as well."
            )
        return source
    if isinstance(source, PhotographsSource):
        raise UserError(f"{source.address!r} says already how faces are taken. Say it once.")
    if source.sketches() is not None:
        raise UserError(
            f"{source.title!r} has pairs of photos and sketches: take them as they are."
        )
    require_detector()
    return PhotographsSource(source, faces, per_photo or "all", _limits(limits))


def _limits(given: dict[str, str | float]) -> Limits:
    limits = {}
    for name, value in given.items():
        try:
            limits[name] = float(value)
            if not 0 <= limits[name] < 10**6:
                raise ValueError
        except ValueError as error:
            raise UserError(
                f"{name} must be a number of 0 or more. Received: {value!r}."
            ) from error
    return Limits(**limits)


USUAL = Limits()


class PhotographsSource(Source):
    """The faces that the photographs of a source show.

    Each keeps the name of its photograph, the second of one with `#2` behind it, and so on from the
    largest to the smallest; and the photograph's person and split. All faces of one photograph are
    on the same side of a split.

    Args:
        source: The photographs.
        faces: `"found"` or `"aligned"`, see `keras_faces.detection.photographs.cut_out`.
        per_photo: `"all"` faces of a photograph, or the `"largest"`.
        limits: Which faces are taken.
    """

    examined = True

    def __init__(self, source: Source, faces: str, per_photo: str = "all", limits: Limits = USUAL):
        self.source = source
        self.faces, self.per_photo, self.limits = faces, per_photo, limits
        self.title, self.credit, self.sequential = source.title, source.credit, source.sequential
        self.whole_people = source.whole_people
        changed = {"faces": faces, "per_photo": per_photo, **limits._asdict()}
        usual = {"per_photo": "all", **USUAL._asdict()}
        query = "&".join(
            f"{name}={value if isinstance(value, str) else format(value, '.12g')}"
            for name, value in changed.items()
            if value != usual.get(name)
        )
        self.address = f"{source.address}{'&' if '?' in source.address else '?'}{query}"
        self._query = query

    @property
    def mismatches(self) -> tuple[str, ...]:
        return self.source.mismatches

    def warn(self, message: str) -> None:
        self.source.warn(message)

    def check_still_there(self) -> None:
        self.source.check_still_there()

    def taken_for(self) -> list[str]:
        return [*self.source.taken_for(), self.summary()]

    def passed_over(self) -> list[str]:
        return self.source.passed_over()

    def compare_with_published(self) -> list[str]:
        return self.source.compare_with_published()

    def make_listing(self) -> str:
        stamp = [self.source.listing(), self._query, VERSION]
        return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()

    def attributes(self) -> Attributes | None:
        attributes = self.source.attributes()
        return attributes and attributes._replace(
            remedy="They are of whole pictures: take of each its largest face alone (per_photo="
            f"largest), and those that have attributes. {attributes.remedy}"
        )

    @functools.cached_property
    def found(self) -> "FoundFaces":
        """All faces of the photographs, found when they are first asked for."""
        return find_all(self.source)

    @functools.cached_property
    def _taken(self) -> list[tuple[int, int, int]]:
        """For each face that is taken the number of its photograph, its rank there, and its row.

        What cannot be read has one too, of rank 0, so that the reason is told.
        """
        taken = []
        for number, rows in self.found.by_photograph():
            if self.found.reasons[number] is not None:
                taken.append((number, 0, -1))
            for rank, row in enumerate(rows, 1):
                if self._refused(row, rank) is None:
                    taken.append((number, rank, row))
        return taken

    def _refused(self, row: int, rank: int) -> str | None:
        """Return why a face is not taken, or None."""
        beside = "beside a larger one" if rank > 1 and self.per_photo == "largest" else None
        return self.limits.refuse(self.found.face(row)) or beside

    @functools.cached_property
    def _entries(self) -> list[Entry]:
        photographs = self.source.entries()
        entries = [
            photographs[number]._replace(
                name=photographs[number].name + (f"#{rank}" if rank > 1 else "")
            )
            for number, rank, _ in self._taken
        ]
        if not any(rank for _, rank, _ in self._taken):
            raise UserError(
                f"None of the {len(photographs):,} pictures of {self.title!r} shows a face that "
                f"can be used ({self.summary()}). To take the pictures as they are, leave "
                f"faces={self.faces} out."
            )
        return entries

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {entry.name: place for place, entry in enumerate(self._entries)}

    def entries(self) -> list[Entry]:
        return self._entries

    def remarks(self) -> list[str]:
        return [*self.source.remarks(), self.summary()]

    def summary(self) -> str:
        """Return what was found, and what is left out, in words."""
        refused, several, without = Counter(), 0, 0
        for number, rows in self.found.by_photograph():
            refused.update(self._refused(row, rank) for rank, row in enumerate(rows, 1))
            several += len(rows) > 1
            without += not rows and self.found.reasons[number] is None
        taken = refused.pop(None, 0)
        limits = {
            "small": f"small (below {self.limits.min_face:g} pixels)",
            "turned": f"turned (by more than {self.limits.max_turn:g} degrees)",
        }
        parts = [f"{taken:,} of {len(self.found):,} pictures, {self.faces}"]
        parts += [f"several in {several:,}"] if several else []
        out = [f"{count:,} {limits.get(why, why)}" for why, count in refused.items()]
        parts += [f"left out: {', '.join(out)}"] if out else []
        parts += [f"none in {without:,}"] if without else []
        return f"faces: {'; '.join(parts)}"

    def undecoded(self, name: str) -> FaceIn | BadPicture:
        place = self._places[name]
        return self._face_in(self._taken[place][2], self.source.undecoded(self.unit(name)))

    def unit(self, name: str) -> str:
        _, rank, _ = self._taken[self._places[name]]
        return name.removesuffix(f"#{rank}") if rank > 1 else name

    def _face_in(self, row: int, picture) -> FaceIn | BadPicture:
        if row < 0 or isinstance(picture, BadPicture):
            return picture
        if isinstance(picture, str):
            picture = os.path.abspath(picture)
        return FaceIn(picture, self.found.face(row), self.faces)

    def read(self, name: str) -> np.ndarray:
        picture = self.undecoded(name)
        if isinstance(picture, FaceIn):
            return picture.cut_out()[0]
        return self.source.read(name)  # which says what is wrong with it

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, FaceIn | Exception]]:
        entries = self.entries()
        first = self._taken[start][0] if start < len(self._taken) else 0
        index = start
        for number, (_, picture) in enumerate(self.source.pictures(first), first):
            while index < len(entries) and self._taken[index][0] == number:
                yield entries[index], self._face_in(self._taken[index][2], picture)
                index += 1
            if index == len(entries):
                return


class FoundFaces:
    """All faces of the photographs of a source.

    Args:
        parts: Tables of `look_at`, in the photographs' order.

    Attributes:
        reasons: For each photograph why it cannot be used, or None.
        sizes: Width and height of each photograph, int32 of shape `(photographs, 2)`.
    """

    def __init__(self, parts: list[pa.Table]):
        self.reasons: list[str | None] = []
        columns: dict[str, list] = {name: [] for name in ("number", "width", "height", *NUMBERS)}
        for part in parts:
            first = len(self.reasons)
            numbers = np.from_dlpack(part["number"].combine_chunks())
            columns["number"].append(numbers + first)
            for name in ("width", "height", *NUMBERS):
                columns[name].append(np.from_dlpack(part[name].combine_chunks()))
            begins = np.flatnonzero(np.diff(numbers, prepend=-1))
            reasons = part["reason"].to_pylist()
            self.reasons += [text(reasons[row]) for row in begins]
        whole = {name: np.concatenate(column or [[]]) for name, column in columns.items()}
        self._numbers = whole["number"].astype(np.int64)
        begins = np.flatnonzero(np.diff(self._numbers, prepend=-1))
        self.sizes = np.stack([whole["width"], whole["height"]], 1)[begins].astype(np.int32)
        self._values = np.stack([whole[name] for name in NUMBERS], 1)

    def __len__(self) -> int:
        return len(self.reasons)

    def by_photograph(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each photograph and the rows of its faces, the largest first."""
        ends = np.append(np.flatnonzero(np.diff(self._numbers)) + 1, len(self._numbers))
        begin = 0
        for number, end in enumerate(ends.tolist() if len(self) else []):
            there = not np.isnan(self._values[begin, 0])
            yield number, list(range(begin, end)) if there else []
            begin = end

    def face(self, row: int) -> FoundFace:
        """Return the face of a row."""
        *edges, sharp = self._values[row].tolist()
        return FoundFace(tuple(edges[:4]), tuple(edges[4:]), sharp)


def find_all(source: Source) -> FoundFaces:
    """Find the faces of all photographs of a source, or return what was found before.

    Raises:
        UserError: If a detector is missing, or the source vanishes.
    """
    folder = cache_folder() / "faces" / f"{source.listing()[:24]}-{VERSION}"
    count = len(source.entries())
    parts = _kept(folder)
    if sum(map(_photographs_in, parts)) < count:
        require_detector()
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder.with_suffix(".lock"), source, True):
            parts = _kept(folder)
            _look_at_rest(source, folder, parts, count)
    return FoundFaces(parts)


def find_in_sample(source: Source, count: int) -> tuple[list[Entry], FoundFaces]:
    """Find the faces of some pictures of a source, or return what was found before.

    They are spread evenly; where pictures come one after the other they are the first.
    """
    entries = source.entries()
    if source.sequential:
        chosen = list(range(min(count, len(entries))))
        pictures = (picture for _, picture in itertools.islice(source.pictures(), count))
    else:
        chosen = np.unique(np.linspace(0, len(entries) - 1, count).round().astype(int)).tolist()
        pictures = (source.undecoded(entries[number].name) for number in chosen)
    note = cache_folder() / "faces" / f"{source.listing()[:24]}-{VERSION}-{count}.parquet"
    if (known := remembered(note)) is not None:
        table = read_columns(pa.BufferReader(known))
    else:
        with silent_pillow():
            found = in_parallel(look_at, chunks(pictures, AT_ONCE), prefer="threads")
            table = _joined(list(found))
        with contextlib.suppress(OSError):  # a full disk: then they are looked at again
            write_checked(note, as_parquet(table))
    return [entries[number] for number in chosen], FoundFaces([table])


def _kept(folder: Path) -> list[pa.Table]:
    parts: list[pa.Table] = []
    with contextlib.suppress(OSError):
        while True:
            file = read_checked(_part(folder, sum(map(_photographs_in, parts))))
            parts.append(read_columns(pa.BufferReader(file)))
    return parts


def _part(folder: Path, first: int) -> Path:
    return folder / f"{first:09d}.parquet"


def _photographs_in(part: pa.Table) -> int:
    return part["number"][-1].as_py() + 1


def _look_at_rest(source: Source, folder: Path, parts: list[pa.Table], count: int) -> None:
    done = sum(map(_photographs_in, parts))
    found: list[pa.Table] = []

    def keep():
        if found:
            part = _joined(found)
            write_checked(_part(folder, sum(map(_photographs_in, parts))), as_parquet(part))
            parts.append(part)
            found.clear()

    pictures = (
        (picture for _, picture in source.pictures(done))
        if source.sequential
        else (source.undecoded(entry.name) for entry in source.entries()[done:])
    )
    few = chunks(pictures, AT_ONCE)
    bar = tqdm(
        total=count,
        initial=done,
        desc=f"Looking for faces in {source.title}",
        unit=" pictures",
        disable=None,
    )
    try:
        with (
            bar,
            silent_pillow(),
            contextlib.closing(in_parallel(look_at, few, prefer="threads")) as tables,
        ):
            for table in tables:
                if pc.any(table["reason"].is_valid()).as_py():
                    source.check_still_there()
                found.append(table)
                bar.update(_photographs_in(table))
                if sum(map(_photographs_in, found)) >= PART:
                    keep()
    finally:
        keep()


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return tables as one, in which the photographs are counted on."""
    first, joined = 0, []
    for table in tables:
        column = pc.add(table["number"], pa.scalar(first, pa.int32()))
        joined.append(table.set_column(0, "number", column))
        first += _photographs_in(table)
    return pa.concat_tables(joined)


def look_at(pictures: list) -> pa.Table:
    """Find the faces of photographs.

    Args:
        pictures: Each as `Source.undecoded` returns it.

    Returns:
        A table of a row for each face, and one for each photograph without any.
    """
    rows = []
    for number, picture in enumerate(pictures):
        reason, size, faces = None, (0, 0), []
        try:
            pixels, size, _ = open_photograph(picture, 3, LONGER_SIDE)
            scale = size[0] / pixels.shape[1]
            faces = [face.scaled(scale) for face in find_faces(pixels)]
        except BadPicture as error:
            reason = str(error).encode("utf-8", "surrogatepass")
        values = [(*face.box, *face.eyes, face.sharpness) for face in faces]
        rows += [(number, reason, *size, *row) for row in values or [(np.nan,) * len(NUMBERS)]]
    numbers_, reasons, *columns = zip(*rows)
    return pa.table(
        {
            "number": numbers(np.array(numbers_, np.int32)),
            "reason": texts(list(reasons)),
            **{
                name: numbers(np.array(column, np.float32))
                for name, column in zip(("width", "height", *NUMBERS), columns)
            },
        }
    )
