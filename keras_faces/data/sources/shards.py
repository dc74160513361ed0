"""Files that hold many pictures each: arrays, tar files, Parquet; on a disk or behind a URL."""

import bisect
import functools
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_faces.data.names import file_name, hidden, in_natural_order
from keras_faces.data.remote import (
    RangeReader,
    digest,
    file_system,
    is_url,
    list_files,
    read_all,
    without_query,
)
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.sources.layouts import glance
from keras_faces.errors import UserError
from keras_faces.screen import visible

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

# A `label` of fewer classes tells expressions or other kinds of pictures, not people.
PEOPLE = 20

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")  # as in shard-{000..012}.tar
KEPT_OPEN = 100  # files, of which a process may open some hundreds
MOST = 100_000  # files that braces may stand for


class ShardSource(Source):
    """A source of one or several files that hold many pictures each.

    Subclasses set `scheme` and `suffixes`, and call `find`.

    Attributes:
        scheme: What `open_source` takes before the path.
        suffixes: How the files' names end.
        query: The options that are given, as behind a question mark.
        files: The files, in natural order.
        sides: The split that each file's name or folder tells, where these tell several.
    """

    examined = True
    scheme: str
    suffixes: tuple[str, ...]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and path.name.lower().endswith(cls.suffixes)

    @classmethod
    def lie_in(cls, folder: Path) -> bool:
        """Return whether there are such files in a folder without pictures, or in its folders."""
        return any(name.lower().endswith(cls.suffixes) for name in glance(folder).others)

    def find(self, path: str | os.PathLike, **options: str) -> None:
        """Find the files: a file, those of a folder and its folders, or what a pattern stands for.

        Args:
            path: The file, folder, pattern or URL.
            **options: The source's options, empty where they are not given.

        Raises:
            UserError: If there are no files.
        """
        self.query = "&".join(f"{name}={value}" for name, value in options.items() if value)
        self.title = os.fspath(path)
        self.path = self.title if is_url(path) else os.path.abspath(Path(path).expanduser())
        self.address = f"{self.scheme}:{self.path}" + (self.query and f"?{self.query}")
        found = [file for pattern in _without_braces(self.path) for file in self._matching(pattern)]
        if not found:
            raise UserError(
                f"There is no file {', '.join(f'*{suffix}' for suffix in self.suffixes)} in "
                f"{self.title!r}. Check the path."
            )
        paths = in_natural_order(list(dict.fromkeys(found)))
        opened = functools.partial(RangeReader, kept_open=len(paths) <= KEPT_OPEN)
        self.files = list(read_all(opened, paths))
        top = _common_folder([file.path for file in self.files])
        self._names = [visible(file.path.removeprefix(top).lstrip("/")) for file in self.files]
        if len(self.files) == 1:
            self._names = [""]  # so that its pictures are the same under any name
        sides = [split_of(name) for name in self._names]
        several = len({side for side in sides if side}) > 1
        self.sides = [side or LEFT_OUT if several else None for side in sides]

    def _matching(self, pattern: str) -> Iterator[str]:
        """Yield the files that a path or a pattern means."""
        if not is_url(pattern):
            paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
            for path in [pattern] if os.path.exists(pattern) else paths:
                path = path.replace(os.sep, "/")
                if not os.path.isdir(path):
                    yield path
                    continue
                for folder, folders, files in os.walk(path, onerror=_refuse):
                    folders[:] = sorted(name for name in folders if not hidden(name))
                    within = folder.replace(os.sep, "/")
                    yield from (f"{within}/{name}" for name in files if self._is_wanted(name))
            return
        place = without_query(pattern)
        if "*" not in place and self._is_wanted(place):
            yield pattern
            return
        fs, root = file_system(pattern)
        paths = list_files(fs, root, pattern)
        yield from (fs.unstrip_protocol(path) for path in paths if self._is_wanted(path))

    def _is_wanted(self, path: str) -> bool:
        return path.lower().endswith(self.suffixes) and not hidden(file_name(path))

    def check_still_there(self) -> None:
        self.files[0].check_still_there()

    def make_listing(self) -> str:
        return digest(self.query, *(file.stamp() for file in self.files))

    def numbered(
        self, counts: Sequence[int], people: np.ndarray | None, known: Sequence[str]
    ) -> "NumberedEntries":
        """Return entries that are called by their file and their number.

        Args:
            counts: Pictures in each file.
            people: For each picture the number of its person, -1 where nobody is known; or None.
            known: The people's names.
        """
        return NumberedEntries(self._names, self.sides, counts, people, known)


class NumberedEntries(Sequence):
    """Entries by groups, made when asked for: `train/000000`, `train/000001`, ...

    Args:
        groups: Names of the groups; empty for what is called by its number alone.
        splits: The split of each.
        counts: How many pictures each has.
        people: For each picture the number of its person, -1 where nobody is known; or None.
        known: The people's names.
        chosen: Numbers of those that are listed; None for all.
    """

    def __init__(self, groups, splits, counts, people, known, chosen: range | None = None):
        self._all = (groups, splits, counts, people, known)
        self._starts = np.cumsum([0, *counts]).tolist()
        self._chosen = range(self._starts[-1]) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return NumberedEntries(*self._all, self._chosen[index])
        index = self._chosen[index]
        groups, splits, _, people, known = self._all
        group = bisect.bisect_right(self._starts, index) - 1
        person = None
        if people is not None and people[index] >= 0:
            person = known[people[index]]
        prefix = groups[group] and f"{groups[group]}/"
        return Entry(f"{prefix}{index - self._starts[group]:06d}", person, splits[group])

    def place(self, name: str) -> tuple[int, int]:
        """Return the group of a picture, and its number within it."""
        group, _, number = name.rpartition("/")
        return self._all[0].index(group), int(number)


def _refuse(error: OSError) -> None:
    raise UserError(
        f"Cannot read folder {error.filename!r}: {error.strerror}. Check its permissions."
    ) from error


def is_pattern(path: str) -> bool:
    """Return whether a path stands for several: shard-{000..012}.tar, shard-*.tar."""
    return not os.path.exists(path) and bool(glob.has_magic(path) or BRACES.search(path))


def split_of(name: str) -> str | None:
    """Return the split that a path tells: `train-00000-of-00009.parquet`, `valid/faces.tar`."""
    for part in reversed(name.lower().split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in SPLITS:
                return SPLITS[word]
    return None


def are_people(codes: np.ndarray) -> bool:
    """Return whether numbers called labels are people, not one of a few kinds of pictures."""
    return len(np.unique(codes)) >= PEOPLE


def _common_folder(paths: list[str]) -> str:
    folders = [path.split("/")[:-1] for path in paths]
    different = (n for n, parts in enumerate(zip(*folders)) if len(set(parts)) > 1)
    return "/".join(folders[0][: next(different, min(map(len, folders)))])


def _without_braces(path: str) -> list[str]:
    match = BRACES.search(path)
    if match is None or os.path.exists(path):
        return [path]
    first, last = map(int, match.groups())
    if not 0 <= last - first < MOST:
        raise UserError(
            f"{match[0]} in {path!r} must count up, to {MOST:,} files or fewer, as in "
            "shard-{000..012}.tar."
        )
    numbers = (f"{number:0{len(match[1])}d}" for number in range(first, last + 1))
    return [
        one
        for number in numbers
        for one in _without_braces(path[: match.start()] + number + path[match.end() :])
    ]
