"""Picture files in folders, on disk or in a zip file, and what their folders mean."""

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from keras_faces.data.decode import BadPicture
from keras_faces.data.labels import ATTRIBUTES_FILE, Attributes
from keras_faces.data.names import file_name, natural
from keras_faces.data.remote import is_url
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source, attributes_in
from keras_faces.data.splits import split_of_folder
from keras_faces.errors import UserError, unknown_name
from keras_faces.screen import visible

PEOPLE = ("folders", "classes", "none")
SPLIT_FOLDERS = ("folders", "none")
# Every folder is a person. So the layouts of data sets are read, and so was every folder before
# splits and classes were told from people.
EACH_FOLDER = {"people": "folders", "splits": "none"}

MANY_FOLDERS = 10  # of fewer, a whole one would be more than the tenth that is held out
LARGEST_SHARE = 0.2  # of the pictures in one folder, which may be the one that is held out
ALBUM = 1000  # pictures that few people have of one person
SHARD = 100  # pictures in a folder that has a number for a name, where it is no person
SHOWN = 5  # folders in a remark
CLASSES = "dataset.json"
COMPANIONS = (ATTRIBUTES_FILE, "attributes.tsv", CLASSES)  # in the order in which they are believed
TOLD = re.compile(r"(attr|label|annotation)[^/]*\.(txt|dat)$")
MOST_CLASSES = 100


class Reading(NamedTuple):
    """What is taken for what.

    Attributes:
        people: One of `PEOPLE`.
        depth: Where in a picture's path the folder of its split is; None where there are none.
        plain: Whether `EACH_FOLDER` says the same.
        remarks: What a user should know of it, where it was decided here.
        left_out: What to warn of; empty where all pictures are in a split.
    """

    people: str
    depth: int | None = None
    plain: bool = True
    remarks: Sequence[str] = ()
    left_out: str = ""


class PictureFiles(Source):
    """Pictures in folders. Subclasses implement `names`, `others`, and what `Source` asks for.

    Args:
        path: Where they are.
        people: What folders are: `"folders"`, each is a person; `"classes"`, labels of pictures;
            `"none"`, nothing. None decides by their number, sizes and names.
        splits: Whether folders such as `train` and `test` are splits: `"folders"`, which is what
            None stands for, or `"none"`.

    Attributes:
        kind: What `open_source` takes before the path: `folder` or `zip`.
        others: Names of the files that are no pictures; `read` takes them too.
    """

    examined = True
    kind: str
    others: list[str]

    def __init__(
        self, path: str | os.PathLike, people: str | None = None, splits: str | None = None
    ):
        for option, given, known in (("people", people, PEOPLE), ("splits", splits, SPLIT_FOLDERS)):
            if given is not None and given not in known:
                raise unknown_name(f"value of {option}", given, known)
        self.title = str(path)
        self.path = self.title if is_url(path) else Path(path).expanduser()
        self.people, self.splits = people, splits

    def names(self, in_order: bool = True) -> list[str]:
        """Return the pictures' paths within the folder, in the order in which people count."""
        raise NotImplementedError

    @functools.cached_property
    def suggested(self) -> Reading:
        """What folders mean where nobody says so."""
        return read_folders(self.names(in_order=False))

    @functools.cached_property
    def reading(self) -> Reading:
        """What folders mean."""
        if self.people is None and self.splits is None:
            return self.suggested
        return read_folders(self.names(in_order=False), self.people, self.splits)

    @functools.cached_property
    def address(self) -> str:
        path = self.title if is_url(self.title) else os.path.abspath(self.path)
        if self.reading.plain and self.suggested.plain:
            return path
        return f"{self.kind}:{path}?{self._options}"

    @property
    def _options(self) -> str:
        """The options that read the same again."""
        splits = "none" if self.reading.depth is None else "folders"
        return f"people={self.reading.people}&splits={splits}"

    @property
    def listed_options(self) -> str:
        """What a listing says of how folders are read: nothing where each is a person."""
        plain = {"people": self.people, "splits": self.splits} == EACH_FOLDER or self.reading.plain
        return "" if plain else self._options

    @property
    def whole_people(self) -> bool:
        return (self.people or self.reading.people) != "classes"

    def entries(self) -> list[Entry]:
        if self.reading.left_out and self.reading.left_out not in self.mismatches:
            self.warn(self.reading.left_out)
        return entries_of(self.names(), self.reading)

    def taken_for(self) -> list[str]:
        return list(self.reading.remarks)

    def remarks(self) -> list[str]:
        return self.taken_for()

    def passed_over(self) -> list[str]:
        used = set(self.companions())
        return [name for name in self.others if name not in used]

    def companions(self) -> list[str]:
        """Return the files that may say something of all pictures, the outermost first."""
        return sorted(
            (
                name
                for name in self.others
                if self._is_beside_all(name) and _file(name) in COMPANIONS
            ),
            key=lambda name: (COMPANIONS.index(_file(name)), name.count("/"), name),
        )

    def _is_beside_all(self, name: str) -> bool:
        folder = name.rpartition("/")[0]
        return not folder or f"{self._around}/".startswith(f"{folder}/")

    @functools.cached_property
    def _around(self) -> str:
        """The innermost folder that holds all pictures."""
        names = self.names(in_order=False)
        folders = (_parts(_folder(name)) for name in (min(names), max(names)))
        return "/".join(one for one, _ in takewhile(lambda both: both[0] == both[1], zip(*folders)))

    def attributes(self) -> Attributes | None:
        for name in self.companions():
            found = self._read_companion(name)
            if isinstance(found, Attributes):
                rows = match_names(list(found.rows), self.names(), name.rpartition("/")[0])
                return found._replace(
                    rows={picture: found.rows[row] for picture, row in rows.items()},
                    remedy=(
                        f"Give each a row in {self._title(name)}, with the picture's path in its "
                        f"first column. Its first row is {next(iter(found.rows))!r}."
                    ),
                )
        return None

    def _read_companion(self, name: str) -> Attributes | str:
        """Return attributes, or why they are not used."""
        title = self._title(name)
        try:
            data = self.read(name)
        except BadPicture as error:
            raise UserError(f"Cannot read {title}: {error}.") from error
        return class_labels(data) if _file(name) == CLASSES else attributes_in(data, title)

    def _title(self, name: str) -> str:
        return visible(self.file(name) or f"{name} in {self.title!r}")

    @property
    def attributes_hint(self) -> str:
        seen = [f"{name} ({why})" for name in self.others if (why := self._why_not(name))]
        more = ", ..." if len(seen) > SHOWN else ""
        told = f" Seen and not used: {', '.join(seen[:SHOWN])}{more}." if seen else ""
        return super().attributes_hint + told

    def _why_not(self, name: str) -> str | None:
        """Return why a file gives no attributes, or None where nobody would think so."""
        file = _file(name)
        if file in COMPANIONS:
            if not self._is_beside_all(name):
                return "it lies beside some of the pictures only"
            return str(self._read_companion(name))
        if file.endswith((".xlsx", ".xls", ".ods", ".numbers")):
            return f"no text: save it as {ATTRIBUTES_FILE}"
        if file.endswith((".csv", ".tsv", ".json")) or TOLD.search(file):
            return f"not named {ATTRIBUTES_FILE}"
        return None


def entries_of(names: list[str], reading: Reading) -> list[Entry]:
    """Return the entries of pictures, given their names."""
    if reading.depth is None:
        if reading.people == "none":
            return [Entry(name) for name in names]
        return [Entry(name, _folder(name)) for name in names]
    known = reading.people != "none"
    meant = {}
    for folder in set(map(_folder, names)):
        side, rest = _without_split(folder, reading.depth)
        meant[folder] = rest if known and side else None, side or LEFT_OUT
    return [Entry(name, *meant[_folder(name)]) for name in names]


def read_folders(
    names: Sequence[str], people: str | None = None, splits: str | None = None
) -> Reading:
    """Return what the folders of pictures mean; arguments as of `PictureFiles`."""
    folders = Counter(map(_folder, names))
    depth = None if splits == "none" else _depth_of_splits(folders)
    sides, groups = Counter(), Counter()
    outside = []
    for folder, count in folders.items():
        side, rest = (None, folder) if depth is None else _without_split(folder, depth)
        if depth is None or side:
            groups[rest] += count
        if side:
            sides[_parts(folder)[depth]] += count
        elif depth is not None:
            outside.append(folder)
    top = "." if "." in groups else min(groups, key=len, default=".")
    alone = top == "." or (depth is not None and _above(top, groups))
    has_people = len(groups) > 1 and not alone
    remarks, left_out = [], ""
    if depth is not None and splits is None:
        remarks.append(f"splits: {_listed(sides)} are taken for splits")
    if outside:
        count = sum(folders[folder] for folder in outside)
        left_out = (
            f"{count:,} pictures lie in none of the folders of the splits, {_listed(sides)}, and "
            "are left out of all of them"
        )
    if people is None:
        people, remark = _judged(groups) if has_people else ("none", "")
        if alone and len(groups) > 1:
            remark = (
                "people: not known, since every picture would have to be in a folder "
                f"({groups[top]:,} of {groups.total():,} are in none)"
            )
        remarks += [remark] if remark else []
    elif not has_people:
        people = "none"
    plain = depth is None and (people == "folders" or not has_people)
    return Reading(people, depth, plain, remarks, left_out)


def _judged(groups: Counter) -> tuple[str, str]:
    """Return which of `PEOPLE` folders are most likely, and what to tell a user."""
    counts = sorted(groups.values())
    median, largest = counts[len(counts) // 2], counts[-1] / sum(counts)
    last = [folder.rpartition("/")[2] for folder in groups]
    many = f"{len(groups):,} folders"
    if_people = "; if each is a person: --people folders"
    numbered = all(name.isascii() and name.isdigit() for name in last)
    if numbered and len(set(map(len, last))) == 1 < len(last[0]) and median >= SHARD:
        return "none", f"people: not known, since the {many} are only numbered{if_people}"
    if len(groups) < MANY_FOLDERS:
        why = "so few folders"
    elif largest > LARGEST_SHARE:
        why = f"folders of which one holds {largest:.0%} of all"
    elif median >= ALBUM:
        why = f"folders of {median:,} pictures and more"
    else:
        return "folders", f"people: {many}, each taken for one person; if not: --people none"
    return "classes", (
        f"classes: {_listed(groups)}: {why} are probably no people; pictures are held out one by "
        f"one{if_people}"
    )


def _depth_of_splits(folders: Counter) -> int | None:
    """Return at which place in their paths folders are named as splits, or None.

    There must be a folder for training and one for something else, no more folders beside them than
    they are, and most pictures within them.
    """
    parts = {folder: _parts(folder) for folder in folders}
    for depth in range(max(map(len, parts.values()), default=0)):
        counts = Counter()
        for folder, count in folders.items():
            if len(parts[folder]) > depth:
                counts[parts[folder][depth]] += count
        sides = {name: side for name in counts if (side := split_of_folder(name))}
        if (
            {"train"} < set(sides.values())
            and 2 * len(sides) >= len(counts)
            and 2 * counts.total() >= folders.total()
        ):
            return depth
    return None


def _parts(folder: str) -> list[str]:
    return [] if folder == "." else folder.split("/")


def _without_split(folder: str, depth: int) -> tuple[str | None, str]:
    """Return the split that a folder is in, or None, and its path without the split's name."""
    parts = _parts(folder)
    side = split_of_folder(parts[depth]) if len(parts) > depth else None
    return side, "/".join(parts[:depth] + parts[depth + 1 :]) or "."


def _above(folder: str, others: Counter) -> bool:
    return all(other == folder or other.startswith(f"{folder}/") for other in others)


def _listed(counts: Counter) -> str:
    shown = [f"{name} ({counts[name]:,})" for name in sorted(counts, key=natural)[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(counts) > SHOWN else "")


def class_labels(data: bytes) -> Attributes | str:
    """Read the class labels of `dataset.json`, as StyleGAN has them, as one attribute a class.

    Args:
        data: The file's content.

    Returns:
        The attributes `class_0`, `class_1` and so on; or why there are none.
    """
    try:
        labels = json.loads(data)["labels"]
        known = {visible(name): _as_classes(label) for name, label in labels or ()}
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError):
        known = None
    if not known:
        return "it has no class labels such as ['00000/img00000000.png', 3]"
    width = len(next(label for label in known.values()))
    if any(len(label) != width for label in known.values()):
        return "its labels have several lengths"
    values = np.array(list(known.values()))
    if width == 1:  # a number
        numbers = np.unique(values).tolist()
        values = values == numbers
    else:
        numbers = list(range(width))
    if len(numbers) > MOST_CLASSES:
        return f"it has {len(numbers):,} classes, more than {MOST_CLASSES}"
    names = tuple(f"class_{number}" for number in numbers)
    return Attributes(names, {name: row for row, name in enumerate(known)}, values.astype(np.uint8))


def _as_classes(label: int | list[int]) -> list[int]:
    """Return a label as a list: of one number, or of 0 and 1 for each class.

    Raises:
        ValueError: If it is neither.
    """
    many = isinstance(label, list)
    label = label if many else [label]
    if not label or any(type(one) not in (int, float) or one != int(one) for one in label):
        raise ValueError(label)
    if many and (len(label) == 1 or not {*label} <= {0, 1}):
        raise ValueError(label)
    return [int(one) for one in label]


def match_names(rows: Sequence[str], pictures: Sequence[str], folder: str = "") -> dict[str, str]:
    r"""Return the row of each picture, where people wrote its name in another way.

    A row's name may have `\\` or `./`, lack folders or have more around, lack the suffix or have
    another, and have other capitals, so long as only one picture and one row can be meant.

    Args:
        rows: Names in a table.
        pictures: Names of the pictures.
        folder: The folder in which the table lies.

    Returns:
        Dict of the row of each picture that has one. A row of no picture is there by its own name.
    """
    found = {name: name for name in set(rows).intersection(pictures)}
    cleaned = {
        str(PurePosixPath(row.replace("\\", "/"))).lstrip("/"): row
        for row in rows
        if row not in found
    }
    for form in (str, _without_suffix, lambda name: _without_suffix(name).casefold()):
        missing = [name for name in pictures if name not in found]
        if not missing or not cleaned:
            break
        ends: dict[str, set[str]] = {}  # pictures by the ends of their names, from any folder on
        whole: dict[str, set[str]] = {}
        for name in missing:
            *_, full = ways = list(_ends(form(name)))
            whole.setdefault(full, set()).add(name)
            for way in ways:
                ends.setdefault(way, set()).add(name)
        meant: dict[str, list[str]] = {}
        for row in cleaned:
            *parts, full = _ends(form(row))
            known = (whole.get(full), whole.get(f"{form(folder)}/{full}"), ends.get(full))
            known += tuple(map(whole.get, reversed(parts)))
            fits = next(filter(None, known), set())
            if len(fits) == 1:
                meant.setdefault(*fits, []).append(row)
        for name, given in meant.items():
            if len(given) == 1:
                found[name] = cleaned.pop(given[0])
    return found | {row: row for row in cleaned.values() if row not in found}


def _ends(name: str) -> Iterator[str]:
    """Yield the ends of a path, the shortest first."""
    parts = name.split("/")
    return ("/".join(parts[first:]) for first in reversed(range(len(parts))))


def _without_suffix(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _file(name: str) -> str:
    return file_name(name).lower()


def _folder(name: str) -> str:
    if "//" in name or "./" in name:
        return str(PurePosixPath(name).parent)
    return name.rpartition("/")[0] or "."  # the same, twenty times as fast
