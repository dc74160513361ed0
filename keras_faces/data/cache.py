"""Every picture is decoded once; afterwards training reads fixed-size records from disk.

A cache is a folder of shards (`shard-00000.bin`: uint8 records, one after the other), an index in
files that are mapped into memory rather than read (names, people, splits, checksums, raw sizes),
and `meta.json` (what the folder was made from). It is keyed by the pictures' content and by all
that changes a pixel. Preparing writes shard after shard beside the cache's place and renames the
whole at the end: a half written cache is never read, and what was interrupted goes on with the
first shard that is missing.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
import warnings
import zlib
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
from tqdm import tqdm

from keras_faces.data import area, decode
from keras_faces.data.crops import get_crop
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


def _files_to_keep_open() -> int:
    """Return a quarter of the files that the process may have open, at most 256."""
    try:
        import resource
    except ImportError:  # Windows, where the C library allows 512
        return 64
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 256 if allowed == resource.RLIM_INFINITY else max(16, min(256, allowed // 4))


# More shards than this are opened anew whenever they are read, which takes twice as long.
OPEN_SHARDS = _files_to_keep_open()


class SkippedPictures(UserWarning):
    """Some pictures of a source could not be used; the message counts and names them."""


class FaceCache:
    """The decoded pictures of one source, crop, size and number of channels.

    Memory use hardly grows with the number of pictures: records and index are read from disk when
    asked for, and what the operating system keeps of the files counts as its own cache, not ours.

    Args:
        folder: A folder that `prepare` made.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.count = self.meta["count"]
        self.image_shape = (self.meta["image_size"], self.meta["image_size"], self.meta["channels"])
        self._record_bytes = int(np.prod(self.image_shape))
        self._ends = np.cumsum(self.meta["shards"], dtype=np.int64)
        self._files: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        self._checksums = self._mapped("checksums")
        if self._ends[-1] != self.count or len(self._checksums) != self.count:
            raise OSError(errno.EIO, "index and records differ in number", str(self.folder))
        for number, records in enumerate(self.meta["shards"]):
            path = self._shard(number)
            if path.stat().st_size != records * self._record_bytes:
                raise OSError(errno.EIO, "wrong size", str(path))

    def __del__(self):
        for file in getattr(self, "_files", {}).values():
            with contextlib.suppress(OSError):
                os.close(file)

    @property
    def names(self) -> list[str]:
        """Names of the pictures, in the order of their records."""
        data = (self.folder / "names.bin").read_bytes()
        ends = self._mapped("name_ends").tolist()
        return [
            data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise([0, *ends])
        ]

    def name(self, position: int) -> str:
        """Return the name of one picture."""
        ends = self._mapped("name_ends")
        start = ends[position - 1] if position else 0
        with open(self.folder / "names.bin", "rb") as file:
            file.seek(start)
            return file.read(ends[position] - start).decode("utf-8", "surrogatepass")

    @property
    def people(self) -> list[str]:
        """Names of the people, in the order in which they first appear."""
        return json.loads((self.folder / "people.json").read_text())

    @property
    def people_numbers(self) -> np.ndarray:
        """For each picture the place of its person in `people`, or -1; int32."""
        return self._mapped("people")

    @property
    def identities(self) -> list[str | None]:
        """The person on each picture, or None where the source does not know."""
        people = [*self.people, None]
        return [people[number] for number in self.people_numbers]

    @property
    def ranks(self) -> np.ndarray:
        """What each picture's place in a split depends on, uint64; see `splits.ranks`."""
        return self._mapped("ranks")

    @property
    def sides(self) -> np.ndarray:
        """For each picture the place of its own split in `SIDES`, int8."""
        return self._mapped("sides")

    @property
    def raw_sizes(self) -> np.ndarray:
        """Width and height of the raw pictures, int32 of shape `(count, 2)`."""
        return self._mapped("raw_sizes")

    @property
    def contents(self) -> np.ndarray:
        """A number for each raw picture's content, uint64: equal for copies."""
        return self._mapped("contents")

    @property
    def bad(self) -> list[list[str]]:
        """`[name, reason]` of each picture that could not be used."""
        return json.loads((self.folder / "bad.json").read_text())

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read records.

        Args:
            indices: Positions of the wanted pictures.

        Returns:
            A uint8 array of shape `(len(indices), size, size, channels)`.

        Raises:
            UserError: If a record is not what was written.
        """
        indices = np.asarray(indices, np.int64)
        images = np.empty((len(indices), *self.image_shape), np.uint8)
        shards = np.searchsorted(self._ends, indices, "right")
        starts = self._ends - self.meta["shards"]
        offsets = (indices - starts[shards]) * self._record_bytes
        flat = images.reshape(len(indices), -1)
        found = np.empty(len(indices), np.uint32)
        for row, (shard, offset) in enumerate(zip(shards.tolist(), offsets.tolist())):
            if self._read_into(flat[row].data, shard, offset) < self._record_bytes:
                raise UserError(self._damaged(indices[row]))
            found[row] = zlib.crc32(flat[row])
        wrong = np.flatnonzero(found != self._checksums[indices])
        if len(wrong):
            raise UserError(self._damaged(indices[wrong[0]]))
        return images

    def _damaged(self, position: int) -> str:
        return (
            f"The record of {self.name(int(position))!r} in the cache {self.folder} is damaged. "
            "Delete that folder; the next run makes it anew."
        )

    def _read_into(self, buffer: memoryview, shard: int, offset: int) -> int:
        if hasattr(os, "preadv"):
            # Under the lock only as long as it takes to look the file up: another thread could
            # close it in between.
            with self._lock:
                file = os.dup(self._open(shard)) if len(self._ends) > OPEN_SHARDS else None
                kept = self._open(shard) if file is None else file
            try:
                return os.preadv(kept, [buffer], offset)
            finally:
                if file is not None:
                    os.close(file)
        with self._lock:  # Windows reads only from the file's one position
            file = self._open(shard)
            os.lseek(file, offset, os.SEEK_SET)
            data = os.read(file, buffer.nbytes)
        buffer.cast("B")[: len(data)] = data
        return len(data)

    def _open(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if len(self._files) >= OPEN_SHARDS:
            os.close(self._files.popitem(last=False)[1])
        file = os.open(self._shard(shard), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._files[shard] = file
        return file

    def _shard(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.bin"

    def _mapped(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def prepare(
    source: Source,
    crop: str = "center",
    image_size: int = 64,
    channels: int = 3,
    strict: bool = False,
    progress: bool = True,
) -> FaceCache:
    """Return the cache of a source, decoding its pictures if that was not done before.

    Args:
        source: What `open_source` returned.
        crop: A key of `CROPS`.
        image_size: Width and height of the records in pixels.
        channels: 1 or 3.
        strict: Stop at the first bad picture instead of skipping, counting and naming it.
        progress: Show a progress bar where the work takes a while.

    Raises:
        UserError: If no picture can be used, the source vanishes, the disk is full, or `strict` and
            a picture is bad.
    """
    facts = {
        "format": FORMAT,
        "decoder": decode.VERSION,
        "crop": crop,
        "image_size": image_size,
        "channels": channels,
    }
    if get_crop(crop).averaged:
        area.require()
    listing = source.listing()
    known = _remembered(source, listing)
    cache = _open(_place(facts, known["content"])) if known else None
    if cache is not None:
        for message in known["told"]:
            if message not in source.told:
                source.tell(message)
    else:
        with _disk_errors_explained(cache_folder()):
            cache = _make(source, listing, facts, strict, progress)
    if cache.meta["skipped"]:
        if strict:
            name, reason = cache.bad[0]
            raise UserError(_bad_picture(source, name, reason))
        warnings.warn(_summary(source, cache), SkippedPictures, stacklevel=2)
    return cache


def cache_folder() -> Path:
    """Return the folder of all caches: `KERAS_FACES_CACHE`, or one in the user's cache folder."""
    if "KERAS_FACES_CACHE" in os.environ:
        return Path(os.environ["KERAS_FACES_CACHE"]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keras_faces"


def _place(facts: dict, content: str) -> Path:
    key = json.dumps({**facts, "content": content}, sort_keys=True)
    return cache_folder() / "images" / hashlib.sha256(key.encode()).hexdigest()[:24]


def _open(folder: Path) -> FaceCache | None:
    if not folder.is_dir():
        return None
    try:
        return FaceCache(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        warnings.warn(f"The cache in {folder} is damaged ({error}); making it anew.", stacklevel=3)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _remembered(source: Source, listing: str) -> dict | None:
    """Return what was found when the source was read whole, if that was under this listing.

    Reading 200,000 files at every start would take longer than the start itself.
    """
    try:
        kept = json.loads(_place_of(listing).read_text())
        known = {name: kept[name] for name in ("content", "unreadable")}
        known["told"] = kept.get("told", [])  # which earlier versions did not keep
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    for name in known["unreadable"]:  # it may be readable now
        with contextlib.suppress(decode.BadPicture):
            source.read(name)
            return None
    return known


def _place_of(listing: str) -> Path:
    return cache_folder() / "contents" / f"{listing}.json"


def _make(source: Source, listing: str, facts: dict, strict: bool, progress: bool) -> FaceCache:
    key = hashlib.sha256(json.dumps([listing, facts], sort_keys=True).encode()).hexdigest()[:24]
    part = cache_folder() / "images" / f"{key}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(part.with_suffix(".lock"), source, progress):
        known = _remembered(source, listing)
        if known and (cache := _open(_place(facts, known["content"]))):
            return cache  # another process has made it meanwhile
        _sweep(part)
        part.mkdir(exist_ok=True)
        entries = source.entries()
        shards = Shards(part, facts, len(entries))
        shards.write(source, entries, strict, progress)
        content, unreadable = shards.finish(source)
        folder = _place(facts, content)
        if _open(folder) is None:
            part.rename(folder)
        else:  # the same pictures, from another place
            shutil.rmtree(part)
        found = {"content": content, "unreadable": unreadable, "told": source.told}
        write_whole(_place_of(listing), json.dumps(found).encode())
    return FaceCache(folder)


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
                            raise UserError(_bad_picture(source, row.name, row.reason))
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


@contextlib.contextmanager
def _only_one(path: Path, source: Source, progress: bool):
    """Let one process at a time prepare the same cache; the others wait and then read it."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if progress:
            tqdm.write(f"Another process is preparing {source.title}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(mine: Path) -> None:
    """Remove what nobody will read, a week after it was made.

    That is what was begun and never finished, and caches that an older version of this package
    made, whose records are decoded in another way.
    """
    for folder in mine.parent.iterdir():
        with contextlib.suppress(OSError):
            useless = folder.suffix == ".part" or _is_older(folder)
            if useless and folder != mine and time.time() - folder.stat().st_mtime > 7 * 86_400:
                shutil.rmtree(folder, ignore_errors=True)


def _is_older(folder: Path) -> bool:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return meta["format"] < FORMAT or meta["decoder"] < decode.VERSION
    except (OSError, ValueError, TypeError, KeyError):
        return False


_USERS_DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
)


@contextlib.contextmanager
def _disk_errors_explained(place: Path):
    try:
        yield
    except OSError as error:
        if error.errno not in _USERS_DISK_ERRORS:
            raise
        raise UserError(
            f"Cannot write the cache of decoded pictures to {place}: {error.strerror}. Make room "
            "there, or set KERAS_FACES_CACHE to a folder with more. What is decoded so far is kept "
            "there: the next run goes on with the rest."
        ) from error


def _bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."


def _summary(source: Source, cache: FaceCache) -> str:
    bad = cache.bad
    shown = "".join(f"\n  {name}: {reason}" for name, reason in bad[:20])
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    total = cache.count + len(bad)
    return f"Skipped {len(bad)} of {total} pictures in {source.title!r}:{shown}{more}"
