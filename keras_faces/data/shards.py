"""How a cache of decoded pictures is made: shard after shard, from many threads.

A shard is uint8 records, one after the other; what is known of its pictures stands beside it as
JSON until all are whole, and then moves to one index. What was interrupted goes on with the first
shard that is missing.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.splits import ranks
from keras_faces.errors import UserError
from keras_faces.files import write_whole

FORMAT = 2
SHARD_BYTES = 64 << 20
SYNC_BYTES = 16 << 20  # records that go to the disk while the next ones are decoded
CHUNK = 64  # pictures that a thread takes at once
SWITCH_SECONDS = 1e-3  # for which a thread keeps the interpreter's lock while pictures are decoded
SIDES = (None, "train", "validation", "test", LEFT_OUT)


class Row(NamedTuple):
    """What the index keeps of one picture, good or bad.

    Attributes:
        name: Its path within the source.
        identity: Who is on it, or None.
        split: Its own side, or None.
        reason: Why it cannot be used; empty where it can.
        content: SHA-256 of the raw picture; empty where it could not even be read.
        size: Width and height of the raw picture.
        checksum: CRC-32 of the record, or 0.
    """

    name: str
    identity: str | None
    split: str | None
    reason: str
    content: str
    size: tuple[int, int]
    checksum: int


class Shards:
    """A cache that is being made.

    Args:
        folder: Where to; finished shards in it are kept.
        facts: Crop, size, channels.
        total: Pictures of the source.
    """

    def __init__(self, folder: Path, facts: dict, total: int):
        self.folder = folder
        self.facts = facts
        self.total = total
        self.record_bytes = facts["image_size"] ** 2 * facts["channels"]
        self.per_shard = max(1, SHARD_BYTES // self.record_bytes)
        self.count = -(-total // self.per_shard)
        self.index = Index()
        self.done = 0
        while self.done < self.count and (rows := self._rows_if_whole(self.done)) is not None:
            self.index.add(rows)
            self.index.end_shard()
            self.done += 1

    def _paths(self, number: int) -> tuple[Path, Path]:
        stem = self.folder / f"shard-{number:05d}"
        return stem.with_suffix(".bin"), stem.with_suffix(".json")

    def _rows_if_whole(self, number: int) -> list[Row] | None:
        records, index = self._paths(number)
        try:
            rows = [Row(*row) for row in json.loads(index.read_text())]
            expected = sum(not row.reason for row in rows) * self.record_bytes
            return rows if records.stat().st_size == expected else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, source: Source, entries: Sequence[Entry], strict: bool, progress: bool):
        """Decode the pictures of all shards that are missing."""
        start = min(self.done * self.per_shard, self.total)
        if start == self.total:
            return
        bar = tqdm(
            total=self.total,
            initial=start,
            desc=f"Decoding {source.title}",
            unit=" pictures",
            disable=None if progress else True,
        )
        with (
            bar,
            decode.silent_pillow(),
            # Another thread waits for the disk while the next shard is decoded.
            ThreadPoolExecutor(1) as sealer,
            contextlib.closing(
                decode_all(source, entries, start, self.facts, self.per_shard)
            ) as chunks,
        ):
            sealed = None
            for number in range(self.done, self.count):
                rows, syncs = self._write_records(number, chunks, source, strict, bar, sealer)
                if sealed is not None:
                    sealed.result()
                sealed = sealer.submit(self._seal, number, rows, syncs)
            if sealed is not None:
                sealed.result()

    def _write_records(
        self,
        number: int,
        chunks: Iterator[tuple[list[Row], bytes]],
        source: Source,
        strict: bool,
        bar: tqdm,
        sealer: ThreadPoolExecutor,
    ) -> tuple[list[Row], list[Future]]:
        rows: list[Row] = []
        syncs: list[Future] = []
        unsynced = 0
        path = self._paths(number)[0]
        wanted = min(self.per_shard, self.total - number * self.per_shard)
        with open(path, "wb") as file:
            while len(rows) < wanted:
                found, records = next(chunks)
                rows += found
                file.write(records)
                bar.update(len(found))
                if strict:
                    for row in found:
                        if row.reason:
                            raise UserError(bad_picture(source, row.name, row.reason))
                self.index.add(found)
                unsynced += len(records)
                if unsynced >= SYNC_BYTES:
                    file.flush()
                    syncs.append(sealer.submit(_sync, path))
                    unsynced = 0
        self.index.end_shard()
        return rows, syncs

    def _seal(self, number: int, rows: list[Row], syncs: list[Future]) -> None:
        """Write the index of a shard, once its records are on the disk."""
        records, index = self._paths(number)
        for sync in syncs:  # an error of the disk is told to one of them only
            sync.result()
        _sync(records)
        write_whole(index, json.dumps(rows).encode())

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
            "content": index.content,
            "count": len(index),
            "shards": index.shards,
            "skipped": len(index.bad),
            "source": source.title,
        }
        write_whole(self.folder / "meta.json", json.dumps(meta, indent=1).encode())
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
        self.columns = {
            "name_ends": array("q"),
            "people": array("i"),
            "sides": array("b"),
            "checksums": array("I"),
            "contents": array("Q"),
            "raw_sizes": array("i"),
        }
        self._digest = hashlib.sha256()

    @property
    def content(self) -> str:
        """The digest of all pictures' contents, good or bad."""
        return self._digest.hexdigest()

    def end_shard(self) -> None:
        self.shards.append(len(self) - sum(self.shards))

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            entry = [row.name, row.identity]
            self._digest.update(json.dumps(entry + [row.split] * bool(row.split)).encode())
            self._digest.update(bytes.fromhex(row.content) or row.reason.encode())
            if not row.reason:
                self._append(row)
                continue
            self.bad.append((row.name, row.reason))
            if not row.content:
                self.unreadable.append(row.name)

    def __len__(self) -> int:
        return len(self.columns["sides"])

    def _append(self, row: Row) -> None:
        self.names += row.name.encode("utf-8", "surrogatepass")
        person = row.identity
        number = -1 if person is None else self.people.setdefault(person, len(self.people))
        columns = self.columns
        columns["name_ends"].append(len(self.names))
        columns["people"].append(number)
        columns["sides"].append(SIDES.index(row.split))
        columns["checksums"].append(row.checksum)
        columns["contents"].append(int(row.content[:16], 16))
        columns["raw_sizes"].extend(row.size)

    def save(self, folder: Path) -> None:
        arrays = {name: np.asarray(column) for name, column in self.columns.items()}
        arrays["raw_sizes"] = arrays["raw_sizes"].reshape(-1, 2)
        people = arrays["people"]
        if len(self.people) > 1 and (people >= 0).all():
            arrays["ranks"] = ranks(self.people)[people]
        else:
            starts = [0, *arrays["name_ends"].tolist()]
            arrays["ranks"] = ranks(
                bytes(self.names[a:b]).decode("utf-8", "surrogatepass") for a, b in pairwise(starts)
            )
        for name, column in arrays.items():
            np.save(folder / f"{name}.npy", column)
        write_whole(folder / "people.json", json.dumps(list(self.people)).encode())
        write_whole(folder / "names.bin", bytes(self.names))
        write_whole(folder / "bad.json", json.dumps(self.bad).encode())


def _decoded(
    entry: Entry, data: bytes | np.ndarray | decode.BadPicture, facts: dict
) -> tuple[Row, np.ndarray | None]:
    """Return what the index keeps of a picture, and its uint8 record, or None."""
    if isinstance(data, decode.BadPicture):
        return Row(*entry, str(data), "", (0, 0), 0), None
    content = hashlib.sha256(data).hexdigest()
    try:
        image, size = decode.decode_with_size(
            data, facts["crop"], facts["image_size"], facts["channels"]
        )
    except decode.BadPicture as error:
        return Row(*entry, str(error), content, (0, 0), 0), None
    return Row(*entry, "", content, size, zlib.crc32(image)), image


def decode_all(
    source: Source, entries: Sequence[Entry], start: int, facts: dict, per_shard: int
) -> Iterator[tuple[list[Row], bytes]]:
    """Decode the pictures from number `start`, few at a time in memory.

    Yields:
        `(rows, records)` of some pictures at a time, in order and never of two shards: what the
        index keeps of each, and the records of the good ones, one after the other.
    """

    def read(entry: Entry):
        try:
            return source.read(entry.name)
        except decode.BadPicture as error:
            source.check_still_there()
            return error

    def work(chunk: list):
        rows, records = [], []
        for item in chunk:
            entry, data = item if source.sequential else (item, read(item))
            row, image = _decoded(entry, data, facts)
            rows.append(row)
            if image is not None:
                records.append(image)
        return rows, b"".join(records)

    # Threads: the decoders leave the interpreter lock.
    pool = ThreadPoolExecutor(os.cpu_count())
    # The lock is wanted for microseconds between them; who waits 5 ms for it idles.
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(min(SWITCH_SECONDS, switch_interval))
    pending: deque = deque()
    wanted = source.pictures(start) if source.sequential else iter(entries[start:])
    done = start
    try:
        while chunk := list(islice(wanted, min(CHUNK, per_shard - done % per_shard))):
            done += len(chunk)
            pending.append(pool.submit(work, chunk))
            if len(pending) >= 8:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        sys.setswitchinterval(switch_interval)
        pool.shutdown(cancel_futures=True)


def bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."
