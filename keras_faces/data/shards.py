"""How a cache of decoded pictures is made: shard after shard.

A shard is uint8 records, one after the other; what is known of its pictures stands beside it as
JSON until all are whole, and then moves to one index. What was interrupted goes on where it was,
and what was killed with the first shard that is missing.
"""

import contextlib
import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, chain, compress, groupby, islice, pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.chunks import Found
from keras_faces.data.decoders import decode_all
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.splits import split_hashes
from keras_faces.errors import UserError
from keras_faces.files import open_regular, read_checked, write_checked, write_whole

FORMAT = 3
SHARD_BYTES = 64 << 20
SYNC_BYTES = 16 << 20  # records that go to the disk while the next ones are decoded
_json = json.JSONEncoder().encode  # of a text ten times as fast as json.dumps
COLUMNS = {
    "name_ends": "q",
    "people": "i",
    "sides": "b",
    "checksums": "I",
    "contents": "Q",
    "raw_sizes": "i",
}
INDEX = (*(f"{name}.npy" for name in (*COLUMNS, "ranks")), "names.bin", "people.json", "bad.json")
SIDES = (None, "train", "validation", "test", LEFT_OUT)


class Shards:
    """A cache that is being made.

    Args:
        folder: Where to; finished shards in it are kept.
        facts: Crop, size, channels.
        entries: All pictures of the source.
    """

    def __init__(self, folder: Path, facts: dict, entries: Sequence[Entry]):
        self.folder = folder
        self.facts = facts
        self.entries = entries
        self.record_bytes = facts["image_size"] ** 2 * facts["channels"]
        self.per_shard = max(1, SHARD_BYTES // self.record_bytes)
        self.count = -(-len(entries) // self.per_shard)
        self.index = Index()
        self.done = 0
        self.begun = Found([], [], [], [])  # what was found so far in the shard after those
        while self.done < self.count and (found := self._found(self.done)) is not None:
            entries = self._entries_of(self.done)
            self.index.add(entries[: len(found.reasons)], found)
            if len(found.reasons) < len(entries):
                self.begun = found
                break
            self.index.end_shard()
            self.done += 1

    def _entries_of(self, number: int) -> Sequence[Entry]:
        return self.entries[number * self.per_shard : (number + 1) * self.per_shard]

    def _paths(self, number: int) -> tuple[Path, Path]:
        stem = self.folder / f"shard-{number:05d}"
        return stem.with_suffix(".bin"), stem.with_suffix(".json")

    def _found(self, number: int) -> Found | None:
        """Return what was found in a shard or its beginning, if the records are there."""
        records, index = self._paths(number)
        try:
            kept = json.loads(read_checked(index))
            size = records.stat().st_size
        except OSError:
            return None
        found = Found(**{**kept, "contents": list(map(bytes.fromhex, kept["contents"]))})
        count = len(found.reasons)
        wanted = len(self._entries_of(number))
        if count == wanted:  # bad pictures have no records any more
            return found if size == found.reasons.count("") * self.record_bytes else None
        return found if count < wanted and size >= count * self.record_bytes else None

    def write(self, source: Source, strict: bool, progress: bool):
        """Decode the pictures of all shards that are missing."""
        total = len(self.entries)
        if self.done == self.count:
            return
        start = self.done * self.per_shard + len(self.begun.reasons)
        bar = tqdm(
            total=total,
            initial=start,
            desc=f"Decoding {source.title}",
            unit=" pictures",
            disable=None if progress else True,
        )
        try:
            with (
                bar,
                decode.silent_pillow(),
                # Another thread waits for the disk while the next shard is decoded.
                ThreadPoolExecutor(1) as sealer,
                contextlib.closing(
                    decode_all(
                        source, self.entries, start, self.facts, self.per_shard, self._records
                    )
                ) as chunks,
            ):
                sealed = None
                while self.done < self.count:
                    syncs = self._gather(chunks, source, strict, bar, sealer)
                    if sealed is not None:
                        sealed.result()
                    sealed = sealer.submit(self._seal, self.done, self.begun, syncs)
                    self.done += 1
                    self.begun = Found([], [], [], [])
                if sealed is not None:
                    sealed.result()
        except BaseException:
            if self.begun.reasons:
                with contextlib.suppress(OSError):  # a full disk
                    self._seal(self.done, self.begun, [])
            raise

    def _records(self, number: int) -> Path:
        return self._paths(number)[0]

    def _gather(
        self,
        chunks: Iterator[Found],
        source: Source,
        strict: bool,
        bar: tqdm,
        sealer: ThreadPoolExecutor,
    ) -> list[Future]:
        """Gather what was found in a shard, whose records are written when this returns."""
        syncs: list[Future] = []
        unsynced = 0
        path = self._records(self.done)
        wanted = self._entries_of(self.done)
        while (at := len(self.begun.reasons)) < len(wanted):
            found = next(chunks)
            count = len(found.reasons)
            entries = wanted[at : at + count]
            bar.update(count)
            if strict:
                for entry, reason in zip(entries, found.reasons):
                    if reason:
                        raise UserError(bad_picture(source, entry.name, reason))
            for column, more in zip(self.begun, found):
                column.extend(more)
            self.index.add(entries, found)
            unsynced += count * self.record_bytes
            if unsynced >= SYNC_BYTES:
                syncs.append(sealer.submit(_sync, path))
                unsynced = 0
        self._close_gaps(self.done, self.begun.reasons)
        self.index.end_shard()
        return syncs

    def _close_gaps(self, number: int, reasons: list[str]) -> None:
        """Move the records of good pictures to where those before them are bad."""
        path, index = self._paths(number)
        index.unlink(missing_ok=True)  # of an earlier attempt: its records are about to move
        size = self.record_bytes
        good = at = 0
        with open(path, "r+b") as file:
            for bad, run in groupby(reasons, key=bool):
                length = len(list(run))
                if not bad and good < at:
                    for record in range(length):
                        file.seek((at + record) * size)
                        data = file.read(size)
                        file.seek((good + record) * size)
                        file.write(data)
                at += length
                good += 0 if bad else length
            file.truncate(good * size)  # and what an earlier attempt left behind

    def _seal(self, number: int, found: Found, syncs: list[Future]) -> None:
        """Write the index of a shard, once its records are on the disk."""
        records, index = self._paths(number)
        for sync in syncs:  # an error of the disk is told to one of them only
            sync.result()
        _sync(records)
        kept = {**found._asdict(), "contents": [content.hex() for content in found.contents]}
        write_checked(index, json.dumps(kept).encode())

    def finish(self, source: Source) -> tuple[str, list[str]]:
        """Write the index of all shards.

        Returns:
            The digest of all pictures' contents, and the names of those that could not be read.
        """
        index = self.index
        if not len(index):
            shutil.rmtree(self.folder, ignore_errors=True)
            named: dict[str, list[str]] = {}
            for name, reason in index.bad[:5]:
                named.setdefault(reason, []).append(name)
            raise UserError(
                f"None of the {len(index.bad)} pictures in {source.title!r} can be used. "
                + "; ".join(f"{', '.join(names)}: {reason}" for reason, names in named.items())
            )
        index.save(self.folder)
        meta = {
            **self.facts,
            "files": {name: checksum(self.folder / name) for name in INDEX},
            "content": index.content,
            "count": len(index),
            "shards": index.shards,
            "skipped": len(index.bad),
            "source": source.title,
        }
        write_checked(self.folder / "meta.json", json.dumps(meta, indent=1).encode())
        for number in range(self.count):
            self._paths(number)[1].unlink()
        return index.content, index.unreadable


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


class Index:
    """What a cache knows of its pictures, gathered in arrays while they are decoded.

    Attributes:
        shards: Records of each shard.
        bad: Name and reason of each picture that cannot be used.
        unreadable: Names of those of them whose bytes could not even be read.
    """

    def __init__(self):
        self.shards: list[int] = []
        self.bad: list[tuple[str, str]] = []
        self.unreadable: list[str] = []
        self.names = bytearray()
        self.people: dict[str, int] = {}
        self.columns = {name: array(kind) for name, kind in COLUMNS.items()}
        self._digest = hashlib.sha256()

    @property
    def content(self) -> str:
        """The digest of all pictures' contents, good or bad."""
        return self._digest.hexdigest()

    def end_shard(self) -> None:
        self.shards.append(len(self) - sum(self.shards))

    def add(self, entries: Sequence[Entry], found: Found) -> None:
        """Add the next pictures."""
        told = []
        for entry, reason, content in zip(entries, found.reasons, found.contents):
            own = f", {_json(entry.split)}" if entry.split else ""
            told.append(f"[{_json(entry.name)}, {_json(entry.identity)}{own}]".encode())
            told.append(content or reason.encode())
        self._digest.update(b"".join(told))
        contents, sizes, checksums = found.contents, found.sizes, found.checksums
        if any(found.reasons):
            for entry, reason, content in zip(entries, found.reasons, found.contents):
                if reason:
                    self.bad.append((entry.name, reason))
                    if not content:
                        self.unreadable.append(entry.name)
            good = [not reason for reason in found.reasons]
            entries, contents, sizes, checksums = (
                list(compress(column, good)) for column in (entries, contents, sizes, checksums)
            )
        names = [entry.name.encode("utf-8", "surrogatepass") for entry in entries]
        columns = self.columns
        columns["name_ends"].extend(
            islice(accumulate(map(len, names), initial=len(self.names)), 1, None)
        )
        self.names += b"".join(names)
        columns["people"].extend(self._number(entry.identity) for entry in entries)
        columns["sides"].extend(SIDES.index(entry.split) for entry in entries)
        columns["checksums"].extend(checksums)
        digests = np.frombuffer(b"".join(contents), ">u8").reshape(-1, 4)
        columns["contents"].extend(digests[:, 0].tolist())
        columns["raw_sizes"].extend(chain.from_iterable(sizes))

    def _number(self, person: str | None) -> int:
        return -1 if person is None else self.people.setdefault(person, len(self.people))

    def __len__(self) -> int:
        return len(self.columns["sides"])

    def save(self, folder: Path) -> None:
        arrays = {name: np.asarray(column) for name, column in self.columns.items()}
        arrays["raw_sizes"] = arrays["raw_sizes"].reshape(-1, 2)
        people = arrays["people"]
        if len(self.people) > 1 and (people >= 0).all():
            arrays["ranks"] = split_hashes(self.people)[people]
        else:
            starts = [0, *arrays["name_ends"].tolist()]
            arrays["ranks"] = split_hashes(
                bytes(self.names[a:b]).decode("utf-8", "surrogatepass") for a, b in pairwise(starts)
            )
        for name, column in arrays.items():
            np.save(folder / f"{name}.npy", column)
        write_whole(folder / "people.json", json.dumps(list(self.people)).encode())
        write_whole(folder / "names.bin", bytes(self.names))
        write_whole(folder / "bad.json", json.dumps(self.bad).encode())


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file of the index."""
    with open(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."
