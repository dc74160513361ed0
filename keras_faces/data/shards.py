"""How a cache of decoded pictures is made: shard after shard.

A shard is uint8 records, one after the other; what is known of its pictures stands beside it as
JSON until all are whole, and then moves to one index. What was interrupted goes on with the first
shard that is missing.
"""

import contextlib
import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.decoders import Row, decode_all
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.splits import ranks
from keras_faces.errors import UserError
from keras_faces.files import write_whole

FORMAT = 2
SHARD_BYTES = 64 << 20
SYNC_BYTES = 16 << 20  # records that go to the disk while the next ones are decoded
_json = json.JSONEncoder().encode  # of a text ten times as fast as json.dumps
SIDES = (None, "train", "validation", "test", LEFT_OUT)


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
                decode_all(source, entries, start, self.facts, self.per_shard, self._records)
            ) as chunks,
        ):
            sealed = None
            for number in range(self.done, self.count):
                rows, syncs = self._gather(number, chunks, source, strict, bar, sealer)
                if sealed is not None:
                    sealed.result()
                sealed = sealer.submit(self._seal, number, rows, syncs)
            if sealed is not None:
                sealed.result()

    def _records(self, number: int) -> Path:
        return self._paths(number)[0]

    def _gather(
        self,
        number: int,
        chunks: Iterator[list[Row]],
        source: Source,
        strict: bool,
        bar: tqdm,
        sealer: ThreadPoolExecutor,
    ) -> tuple[list[Row], list[Future]]:
        """Return the rows of a shard, whose records are written when this returns."""
        rows: list[Row] = []
        syncs: list[Future] = []
        unsynced = 0
        path = self._records(number)
        wanted = min(self.per_shard, self.total - number * self.per_shard)
        while len(rows) < wanted:
            found = next(chunks)
            rows += found
            bar.update(len(found))
            if strict:
                for row in found:
                    if row.reason:
                        raise UserError(bad_picture(source, row.name, row.reason))
            self.index.add(found)
            unsynced += len(found) * self.record_bytes
            if unsynced >= SYNC_BYTES:
                syncs.append(sealer.submit(_sync, path))
                unsynced = 0
        self._close_gaps(path, rows)
        self.index.end_shard()
        return rows, syncs

    def _close_gaps(self, path: Path, rows: list[Row]) -> None:
        """Move the records of good pictures to where those before them are bad."""
        size = self.record_bytes
        good = at = 0
        with open(path, "r+b") as file:
            for bad, run in groupby(rows, key=lambda row: bool(row.reason)):
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
            entry = f"[{_json(row.name)}, {_json(row.identity)}"
            entry += f", {_json(row.split)}]" if row.split else "]"
            self._digest.update(entry.encode())
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


def bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."
