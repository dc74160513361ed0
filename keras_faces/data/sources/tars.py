"""Pictures in tar files: plain ones, and WebDataset's shards with labels beside the pictures.

A pass over the headers finds where each picture lies, and is remembered. A tar file that is not
compressed is then read in place; a compressed one from its beginning.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture
from keras_faces.data.labels import ATTRIBUTES_FILE, Attributes, read_attributes
from keras_faces.data.names import file_name, hidden, is_picture
from keras_faces.data.remote import RangeReader, Unreachable, is_url, read_all
from keras_faces.data.sources.base import Entry, no_picture
from keras_faces.data.sources.files import Reading, entries_of, read_folders
from keras_faces.data.sources.shards import ShardSource, are_people
from keras_faces.errors import UserError
from keras_faces.files import cache_folder, remembered, write_checked
from keras_faces.screen import visible

VERSION = 1  # of what is remembered of a pass
UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
AHEAD = 1 << 20  # bytes of a URL that the pass fetches at once
LABELS = (".cls", ".json")
PUBLISHED = re.compile(r"(celeba|img_align|lfw|utkface|ffhq).*\.(tar\.\w+|t[gbx]z2?)$")
MOST_LABEL_BYTES = 1 << 20
IDENTITIES = ("identity", "person", "subject", "celeb_id")
BITS = {1: 1, 0: 0, -1: 0}  # True and False are 1 and 0
NOWHERE = -1  # the place of what is listed and cannot be read


class Found(NamedTuple):
    """What a pass over tar files found.

    Attributes:
        names: Names of the pictures.
        shards: Number of each one's file.
        offsets: Where each begins in it, unpacked.
        sizes: Bytes of each.
        labels: What `.cls` and `.json` members say of each: `{"cls": text, "json": ...}`.
        others: Names of members that are neither pictures nor labels.
        attributes: The text of `attributes.csv`, or None.
        problems: What is wrong, in sentences.
    """

    names: list[str]
    shards: list[int]
    offsets: list[int]
    sizes: list[int]
    labels: list[dict[str, Any]]
    others: list[str]
    attributes: str | None
    problems: list[str]


class TarSource(ShardSource):
    """Pictures in tar files, compressed or not: a file, a folder of shards, shard-{000..012}.tar.

    Of WebDataset's members, `KEY.jpg` is a picture, `KEY.cls` its class or person, `KEY.json` its
    attributes: what is true or false, or 0 or 1, for every picture. Other text is passed over. In a
    plain tar file people are folders, and attributes a file attributes.csv.

    Args:
        path: The file, folder, pattern or URL.
        image: Which pictures to take where a key has several: the end of their names, such as
            `jpg` or `face.png`. Where none is given: all.
        identity: Who a picture shows: `"cls"`, `"folder"`, a name within `.json`, or `"no"`. Where
            none is given: `identity`, `person`, `subject` or `celeb_id` of `.json`; `.cls` where
            there are 20 classes or more; or the folder.

    Raises:
        UserError: If there is no tar file, or no picture in it.
    """

    scheme = "tar"
    suffixes = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
    attributes_hint = (
        "put KEY.json with true and false beside each KEY.jpg of the tar file, or a file "
        "attributes.csv into it."
    )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        # Of these only the layout tells splits and attributes, which is known once they are
        # unpacked.
        return super().recognises(path) and not PUBLISHED.match(path.name.lower())

    def __init__(self, path: str | os.PathLike, image: str = "", identity: str = ""):
        self.find(path, image=image, identity=identity)
        self._image, self._identity = image, identity
        self._openers = list(read_all(_opener, self.files))
        self.sequential = any(self._openers) or is_url(self.path)
        self._found: Found | None = None
        self._reading = Reading("none")

    def found(self) -> Found:
        """Return what is in the files."""
        if self._found is None:
            note = cache_folder() / "tars" / f"{self.listing()}-{VERSION}.json"
            if (known := remembered(note)) is not None:
                self._found = Found(*json.loads(known))
            else:
                self._found = _chosen(self._pass(), self._image, self.title)
                with contextlib.suppress(OSError):  # no room: then it is looked through again
                    write_checked(note, json.dumps(self._found).encode())
            for problem in self._found.problems:
                self.warn(problem)
            self._entries = self._list()
            self._places = {entry.name: n for n, entry in enumerate(self._entries)}
        return self._found

    def _pass(self) -> Found:
        found = Found([], [], [], [], [], [], None, [])
        labels: dict[tuple[int, str, str], Any] = {}
        links: dict[int, str] = {}
        bar = tqdm(desc=f"Looking through {self.title}", unit=" files", disable=None)
        with bar:
            for number in range(len(self.files)):
                for name, tar, member in self._members(number, found.problems):
                    bar.update()
                    place = file_name(name)
                    if any(map(hidden, name.split("/"))) or member.isdir():
                        continue
                    suffix = posixpath.splitext(place)[1].lower()
                    if is_picture(name):
                        readable = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                        if not readable and member.linkname:
                            links[len(found.names)] = _target(name, member)
                        found.names.append(name)
                        found.shards.append(number)
                        found.offsets.append(member.offset_data if readable else NOWHERE)
                        found.sizes.append(member.size)
                    elif suffix in LABELS and member.isreg():
                        key = (number, name.removesuffix(suffix), suffix)
                        labels[key] = _label(tar, member, suffix, self._identity)
                    elif name == ATTRIBUTES_FILE and member.isreg():
                        text = tar.extractfile(member).read(MAX_FILE_BYTES)
                        found = found._replace(attributes=text.decode("utf-8", "surrogateescape"))
                    else:
                        found.others.append(name)
        self._follow(found, links)
        for name, shard in zip(found.names, found.shards):
            found.labels.append(
                {
                    suffix[1:]: labels[key]
                    for suffix in LABELS
                    for stem in (posixpath.splitext(name)[0], _key(name))
                    if (key := (shard, stem, suffix)) in labels
                }
            )
        return found

    def _members(self, number: int, problems: list[str]) -> Iterator:
        """Yield name, file and header of the members of a file; add to `problems` what is wrong."""
        file, count = self.files[number], 0
        try:
            with _opened(file, self._openers[number]) as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # which would keep all
                    count += 1
                    name = member.name
                    while name.startswith("./"):
                        name = name[2:]
                    yield visible(name), tar, member
                problem = _ending(file, tar) if self._openers[number] is None else None
                if self._openers[number] is not None:
                    while tar.fileobj.fileobj.read(1 << 20):  # the checksum is behind all
                        pass
        except Unreachable as error:  # which is not to be remembered as damage
            raise UserError(
                f"Cannot read {file.path!r}: {error}. Run the same again when it is back."
            ) from error
        except UserError:
            raise
        except Exception as error:  # damage raises ReadError, EOFError, zlib.error, OSError, ...
            problem = f"is damaged ({' '.join(str(error).split())})"
        if problem and not count:
            raise UserError(
                f"{file.path!r} {problem}. A tar file was expected. If it was downloaded, look "
                "whether it is whole."
            )
        if problem:
            problems.append(f"{file.path!r} {problem}; the {count:,} files before that are used.")

    def _follow(self, found: Found, links: dict[int, str]) -> None:
        """Let links be what they lead to, where that can be read in place."""
        places = {(s, n): i for i, (s, n) in enumerate(zip(found.shards, found.names))}
        for number, target in links.items():
            place = places.get((found.shards[number], target))
            if place is not None and self._openers[found.shards[number]] is None:
                found.offsets[number] = found.offsets[place]
                found.sizes[number] = found.sizes[place]

    def _list(self) -> list[Entry]:
        found = self._found
        people = self._people()
        if people is None:  # folders say it
            self._reading = read_folders(found.names)
            told = entries_of(found.names, self._reading)
        else:
            told = map(Entry, found.names, people)
        entries = []
        for (name, person, split), shard in zip(told, found.shards):
            prefix = self._names[shard] and f"{self._names[shard]}/"
            entries.append(Entry(prefix + name, person, self.sides[shard] or split))
        return entries

    @property
    def whole_people(self) -> bool:
        self.found()
        return self._reading.people != "classes"

    def taken_for(self) -> list[str]:
        self.found()
        return list(self._reading.remarks)

    def remarks(self) -> list[str]:
        return self.taken_for()

    def _people(self) -> list[str | None] | None:
        """Return who is on each picture, or None where folders say it."""
        found, wanted = self._found, self._identity
        told = [one.get("json") for one in found.labels]
        told = [one if isinstance(one, dict) else {} for one in told]
        classes = [one.get("cls") for one in found.labels]
        by_class = not wanted and any(classes) and are_people(np.array([str(c) for c in classes]))
        if wanted == "no":
            return [None] * len(found.names)
        if by_class or (wanted == "cls" and any(classes)):
            return classes
        if wanted != "folder":
            for key in [wanted] if wanted else IDENTITIES:
                people = [_person(one.get(key)) for one in told]
                if any(people):
                    return people
        if wanted not in ("", "folder"):
            what = "There is no .cls" if wanted == "cls" else f"No .json has {wanted!r}"
            raise UserError(
                f"{what} in {self.title!r}. Give identity=cls, folder, no, or what a .json has as "
                "text or a number."
            )
        return None

    def entries(self) -> list[Entry]:
        self.found()
        return self._entries

    def read(self, name: str) -> bytes:
        found = self.found()
        number = self._places[name]
        shard = found.shards[number]
        if self._openers[shard] is not None:
            return super().read(name)
        if found.offsets[number] == NOWHERE:
            raise _unreadable()
        return self.files[shard].whole(found.offsets[number], found.sizes[number])

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | Exception]]:
        found = self.found()
        if not any(self._openers):
            yield from super().pictures(start)
            return
        for shard in range(len(self.files)):
            first, end = np.searchsorted(found.shards, [shard, shard + 1]).tolist()
            first = max(first, start)
            if first < end:
                yield from zip(self._entries[first:end], self._stream(shard, first, end))

    def _stream(self, shard: int, first: int, end: int) -> Iterator[bytes | BadPicture]:
        """Yield pictures of a file, one after the other."""
        found = self.found()
        wanted = iter(range(first, end))
        number = next(wanted, None)
        members = ((tar, member) for _, tar, member in self._members(shard, []))
        for tar, member in members:
            while number is not None and found.offsets[number] == NOWHERE:
                yield _unreadable()
                number = next(wanted, None)
            if number is None:
                return
            if member.offset_data != found.offsets[number]:
                continue
            try:
                if member.size > MAX_FILE_BYTES:
                    raise BadPicture(
                        f"it has {member.size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
                    )
                yield tar.extractfile(member).read()
            except Exception as error:  # damage raises ReadError, EOFError, zlib.error, ...
                yield (
                    error
                    if isinstance(error, BadPicture)
                    else BadPicture(f"cannot be unpacked ({error})")
                )
            number = next(wanted, None)
        while number is not None:
            yield BadPicture("the file is damaged before it")
            number = next(wanted, None)

    def passed_over(self) -> list[str]:
        return self.found().others

    def attributes(self) -> Attributes | None:
        found = self.found()
        rows = [_bits(one.get("json")) for one in found.labels]
        known = [number for number, row in enumerate(rows) if row]
        names = set.intersection(*(set(rows[number]) for number in known)) if known else set()
        if names:
            columns = [name for name in rows[known[0]] if name in names]
            values = [[rows[number][name] for name in columns] for number in known]
            places = {self._entries[number].name: row for row, number in enumerate(known)}
            shown = tuple(map(visible, columns))
            return Attributes(shown, places, np.array(values, np.uint8), self.attributes_hint)
        if found.attributes is not None:
            return read_attributes(found.attributes, f"{ATTRIBUTES_FILE} in {self.title!r}")
        return None


def _opener(file: RangeReader):
    """Return what unpacks a file; None for one that is not compressed."""
    try:
        start = file.read(0, 8)
    except BadPicture as error:
        raise UserError(f"Cannot read {file.path!r}: {error}.") from error
    return next((open_ for magic, open_ in UNPACKERS.items() if start.startswith(magic)), None)


@contextlib.contextmanager
def _opened(file: RangeReader, opener) -> Iterator[tarfile.TarFile]:
    with contextlib.ExitStack() as stack:
        buffer = AHEAD if is_url(file.path) else io.DEFAULT_BUFFER_SIZE
        stream = stack.enter_context(file.stream(buffer))
        if opener is None:
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
            return
        unpacked = stack.enter_context(opener(stream))
        yield stack.enter_context(tarfile.open(fileobj=unpacked, mode="r|"))


def _ending(file: RangeReader, tar: tarfile.TarFile) -> str | None:
    """Return what is wrong with the end of a file, which `tarfile` passes over in silence."""
    end = file.read(tar.offset, 21 * tarfile.BLOCKSIZE)
    if not end:
        return "has no end: it may be cut"
    if end[: tarfile.BLOCKSIZE].strip(b"\0"):
        return f"is damaged at byte {tar.offset:,} of {file.size:,}"
    if end.strip(b"\0") and file.size > tar.offset + len(end):
        return f"goes on behind its end at byte {tar.offset:,}, as several in one do"
    return None


def _chosen(found: Found, image: str, title: str) -> Found:
    """Return the pictures that are to be used: of a name the last, of a key those chosen."""
    problems, last = list(found.problems), {}
    for number, place in enumerate(zip(found.shards, found.names)):
        last[place] = number
    twice = [name for name, count in Counter(zip(found.shards, found.names)).items() if count > 1]
    if twice:
        problems.append(
            f"{len(twice):,} names are there several times in {title!r}, such as {twice[0][1]!r}: "
            "of each the last is used."
        )
    kept = sorted(last.values())
    if image:
        end = f".{image.lower().lstrip('.')}"
        kept = [n for n in kept if _end(found.names[n]) == end]
    else:
        ends: dict[tuple[int, str], list[str]] = {}
        for number in kept:
            name = found.names[number]
            ends.setdefault((found.shards[number], _key(name)), []).append(_end(name))
        several = {tuple(one) for one in ends.values() if len(one) > 1}
        if len(several) == 1 and len(ends) > 1:
            [one] = several
            problems.append(
                f"Every key in {title!r} has {len(one)} pictures ({', '.join(one)}), which are all "
                f"used. Take some alone with tar:PATH?image={one[0][1:]}."
            )
    if not kept:
        raise UserError(no_picture(title, [*found.names, *found.others]))
    columns = [[column[n] for n in kept] for column in found[:5]]
    return Found(*columns, found.others, found.attributes, problems)


def _key(name: str) -> str:
    """Return what the members of one sample share: all up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _end(name: str) -> str:
    return name[len(_key(name)) :].lower()


def _target(name: str, member: tarfile.TarInfo) -> str:
    if member.islnk():
        return visible(member.linkname.removeprefix("./"))
    return visible(posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, identity: str) -> Any:
    text = tar.extractfile(member).read(MOST_LABEL_BYTES).decode("utf-8", "replace").strip()
    if suffix == ".cls":
        return visible(text[:200]) or None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    nested = told.get("attributes")
    flat = {**told, **nested} if isinstance(nested, dict) else told
    # Captions and the like are of no use here, and many.
    return {key: v for key, v in flat.items() if _is_bit(v) or key in (identity, *IDENTITIES)}


def _is_bit(value: Any) -> bool:
    return isinstance(value, (bool, int)) and value in BITS


def _bits(told: Any) -> dict[str, int]:
    told = told if isinstance(told, dict) else {}
    return {k: BITS[v] for k, v in told.items() if _is_bit(v) and k not in IDENTITIES}


def _person(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return visible(str(value)) if len(str(value)) <= 200 and str(value) else None


def _unreadable() -> BadPicture:
    return BadPicture("it is a link or a device, not a file in the tar file")
