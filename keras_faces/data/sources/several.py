"""Several sources as one: all their pictures, one source after the other."""

import bisect
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np

from keras_faces.data.decode import BadPicture, FaceIn
from keras_faces.data.labels import Attributes, Landmarks
from keras_faces.data.sources.base import Entry, Source, held_out_by
from keras_faces.data.splits import split_indices
from keras_faces.errors import UserError
from keras_faces.schema import mismatch

SCHEME = "several"  # of addresses: a JSON list of the parts' own follows

Known = TypeVar("Known", Attributes, Landmarks)


def addresses_of(address: str) -> list[str]:
    """Return the parts' addresses where an address is that of several sources, else none.

    Raises:
        UserError: If it should be and is not.
    """
    scheme, colon, listed = address.partition(":")
    if not colon or scheme != SCHEME:
        return []
    try:
        addresses = json.loads(listed)
        if not addresses or mismatch(addresses, list[str]):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{SCHEME}: is followed by a JSON list of sources, such as "
            f'{SCHEME}:["orl", "/data/faces"]. Received: {address!r}.'
        ) from error
    return addresses


class DifferentLabels(UserError):
    """Sources that are used together do not say the same of their pictures."""


class SeveralSource(Source):
    """Several sources as one.

    What is of the first lies below `1/`, of the second below `2/`, and so on: pictures' names and
    people, so that nobody is on pictures of two sources. Each keeps its own splits. Of one without
    any, a tenth of the people is held out, or of the pictures where people are not known, whenever
    each source has to do so by itself.

    Args:
        parts: The sources.

    Attributes:
        parts: The sources.

    Raises:
        UserError: If there are none, or one is there twice.
    """

    def __init__(self, parts: Sequence[Source]):
        self.parts = tuple(parts)
        _check_distinct(self.parts)
        self.title = " and ".join(part.title for part in self.parts)
        self.address = f"{SCHEME}:{json.dumps([part.address for part in self.parts])}"
        self.credit = "; ".join(dict.fromkeys(part.credit for part in self.parts if part.credit))
        self.sequential = any(part.sequential for part in self.parts)
        self.examined = any(part.examined for part in self.parts)
        self._entries: _Entries | None = None

    def entries(self) -> Sequence[Entry]:
        if self._entries is None:
            listed = list(map(_Listed.of, self.parts))
            self.mismatches = tuple(chain(*(part.mismatches for part in self.parts)))
            self._entries = _Entries(listed)
        return self._entries

    def read(self, name: str) -> bytes | np.ndarray:
        part, name = self._own(name)
        return part.read(name)

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | np.ndarray | Exception]]:
        entries = self.entries()
        for part, first, end in zip(self.parts, entries.starts, entries.starts[1:]):
            if start < end:
                pictures = part.pictures(max(0, start - first))
                for number, (_, picture) in enumerate(pictures, max(start, first)):
                    yield entries[number], picture

    def file(self, name: str) -> str | None:
        part, name = self._own(name)
        return part.file(name)

    def undecoded(self, name: str) -> str | bytes | np.ndarray | FaceIn | BadPicture:
        part, name = self._own(name)
        return part.undecoded(name)

    def unit(self, name: str) -> str:
        part, own = self._own(name)
        return name.removesuffix(own) + part.unit(own)

    def passed_over(self) -> list[str]:
        return [name for part in self.parts for name in part.passed_over()]

    def _own(self, name: str) -> tuple[Source, str]:
        number, _, name = name.partition("/")
        return self.parts[int(number) - 1], name

    def check_still_there(self) -> None:
        for part in self.parts:
            part.check_still_there()

    def make_listing(self) -> str:
        listings = [part.listing() for part in self.parts]
        return hashlib.sha256(json.dumps(listings).encode()).hexdigest()

    @property
    def attributes_hint(self) -> str:
        return "; ".join(dict.fromkeys(part.attributes_hint for part in self.parts))

    def attributes(self) -> Attributes | None:
        return self._joined("attributes", [part.attributes() for part in self.parts])

    def landmarks(self) -> Landmarks | None:
        return self._joined("landmarks", [part.landmarks() for part in self.parts])

    def _joined(self, what: str, known: list[Known | None]) -> Known | None:
        """Return what is known of the pictures of all parts as one.

        Raises:
            DifferentLabels: If the parts do not say the same things.
        """
        if not any(known):
            return None
        named = [one.names if one else () for one in known]
        for part, names in zip(self.parts, named):
            if set(names) != set(named[0]):
                differ = sorted(set(names) ^ set(named[0]))
                shown = ", ".join(differ[:5]) + (", ..." if len(differ) > 5 else "")
                raise DifferentLabels(
                    f"{self.parts[0].title!r} has {len(named[0])} {what} and {part.title!r} "
                    f"{len(names)}, of which {len(differ)} are in one of them alone: {shown}. "
                    f"Sources that are used together must have the same {what}; or do without: "
                    "people (labels='identity') need not be the same."
                )
        rows = {}
        for number, one in enumerate(known, 1):
            first = len(rows)
            rows |= {f"{number}/{name}": first + row for name, row in one.rows.items()}
        columns = [[one.names.index(name) for name in named[0]] for one in known]
        values = np.concatenate([one.values[:, order] for one, order in zip(known, columns)])
        remedy = " ".join(dict.fromkeys(one.remedy for one in known))
        return type(known[0])(named[0], rows, values, remedy)

    @property
    def whole_people(self) -> bool:
        return all(part.whole_people for part in self.parts)

    def taken_for(self) -> list[str]:
        return [
            f"{n}/: {line}" for n, part in enumerate(self.parts, 1) for line in part.taken_for()
        ]

    def remarks(self) -> list[str]:
        lines = []
        for number, (part, listed) in enumerate(zip(self.parts, self.entries().listed), 1):
            line = f"{number}/: {len(listed.entries):,} pictures of {part.title!r}"
            if listed.held_out:
                line += f", a tenth of the {listed.held_out} held out: it has no splits of its own"
            lines += [line, *(f"{number}/: {remark}" for remark in part.remarks())]
        return lines

    def compare_with_published(self) -> list[str]:
        return [line for part in self.parts for line in part.compare_with_published()]

    @property
    def paired(self) -> bool:
        return all(part.paired for part in self.parts)

    def sketches(self) -> "SeveralSource | None":
        sketches = [part.sketches() for part in self.parts]
        without = [repr(part.title) for part, one in zip(self.parts, sketches) if one is None]
        if without and any(sketches):
            warnings.warn(
                f"The sketches are not used, since {' and '.join(without)} has none. Give sources "
                "with sketches alone.",
                stacklevel=3,
            )
        return None if without else SeveralSource(sketches)


def _check_distinct(parts: Sequence[Source]) -> None:
    places: dict[str, Source] = {}
    for part in parts:
        path = getattr(part, "path", None)
        place = part.address if path is None else os.path.realpath(path)
        if place in places:
            raise UserError(
                f"{part.title!r} and {places[place].title!r} are the same folder or file, whose "
                "pictures would be there twice. Give each source once."
            )
        places[place] = part
    if not places:
        raise UserError("The list of sources is empty. Give one or more.")


class _Listed(NamedTuple):
    """The entries of one source, and how they are split.

    Attributes:
        entries: Its entries.
        held_out: `"people"` or `"pictures"`, of which a tenth is held out; None where the source
            has splits of its own.
        tested: For each entry whether it is held out.
    """

    entries: Sequence[Entry]
    held_out: str | None
    tested: np.ndarray | None

    @classmethod
    def of(cls, source: Source) -> "_Listed":
        entries = source.entries()
        if any(entry.split for entry in entries):
            return cls(entries, None, None)
        hashes, held_out = held_out_by(source, entries)
        tested = np.zeros(len(entries), bool)
        if len(entries) > 1:
            tested[split_indices(hashes, np.zeros(len(entries), np.int8), "test")] = True
        return cls(entries, held_out, tested)


class _Entries(Sequence):
    """The entries of several sources, made when asked for."""

    def __init__(self, listed: list[_Listed], chosen: range | None = None):
        self.listed = listed
        self.starts = np.cumsum([0, *(len(one.entries) for one in listed)]).tolist()
        self._chosen = range(self.starts[-1]) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return _Entries(self.listed, self._chosen[index])
        index = self._chosen[index]
        part = bisect.bisect_right(self.starts, index) - 1
        entries, held_out, tested = self.listed[part]
        index -= self.starts[part]
        name, person, split = entries[index]
        if held_out:
            split = "test" if tested[index] else "train"
        prefix = f"{part + 1}/"
        return Entry(prefix + name, None if person is None else prefix + person, split)
