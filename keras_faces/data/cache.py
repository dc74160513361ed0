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
import threading
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.crops import get_crop
from keras_faces.data.shards import FORMAT, Shards, bad_picture, checksum
from keras_faces.data.sources.base import Source
from keras_faces.errors import UserError
from keras_faces.files import cache_folder, read_checked, remembered, write_checked
from keras_faces.optional import require


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

    Raises:
        OSError: If a file of the index is not what was written. Records are checked as they are
            read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.meta = json.loads(read_checked(self.folder / "meta.json"))
        for name, written in self.meta["files"].items():
            if checksum(self.folder / name) != written:
                raise OSError(errno.EIO, "not what was written", str(self.folder / name))
        self.count = self.meta["count"]
        self.image_shape = (self.meta["image_size"], self.meta["image_size"], self.meta["channels"])
        self._record_bytes = int(np.prod(self.image_shape))
        self._ends = np.cumsum(self.meta["shards"], dtype=np.int64)
        self._files: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        self._checksums = self._mapped("checksums")
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
        return json.loads((self.folder / "people.json").read_bytes())

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
        """What each picture's place in a split depends on, uint64; see `splits.split_hashes`."""
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
        return json.loads((self.folder / "bad.json").read_bytes())

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

    def holds(self, image: np.ndarray) -> bool:
        """Return whether one of the records has exactly the pixels of an image, uint8."""
        alike = np.flatnonzero(self._checksums == zlib.crc32(image))
        return any(np.array_equal(self.read([position])[0], image) for position in alike)

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
        require(["simplejpeg", "cv2"], f"The crop {crop!r}", "take another crop")
    listing = source.listing()
    known = _remembered(source, listing)
    cache = _open(facts, known["content"]) if known else None
    if cache is not None:
        for message in known["told"]:
            if message not in source.mismatches:
                source.warn(message)
    else:
        with _disk_errors_explained(cache_folder()):
            cache = _make(source, listing, facts, strict, progress)
    if cache.meta["skipped"]:
        if strict:
            name, reason = cache.bad[0]
            raise UserError(bad_picture(source, name, reason))
        warnings.warn(_summary(source, cache), SkippedPictures, stacklevel=2)
    return cache


def _place(facts: dict, content: str) -> Path:
    key = json.dumps({**facts, "content": content}, sort_keys=True)
    return cache_folder() / "images" / hashlib.sha256(key.encode()).hexdigest()[:24]


def _open(facts: dict, content: str) -> FaceCache | None:
    folder = _place(facts, content)
    if not folder.is_dir():
        return None
    try:
        cache = FaceCache(folder)
        if not cache.meta.items() >= {**facts, "content": content}.items():
            raise OSError(errno.EIO, "of other pictures", str(folder))
        return cache
    except OSError as error:
        warnings.warn(f"The cache in {folder} is damaged ({error}); making it anew.", stacklevel=3)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _remembered(source: Source, listing: str) -> dict | None:
    """Return what was found when the source was read whole, if that was under this listing.

    Reading 200,000 files at every start would take longer than the start itself.
    """
    kept = remembered(_place_of(listing))
    if kept is None:
        return None
    known = json.loads(kept)
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
        if known and (cache := _open(facts, known["content"])):
            return cache  # another process has made it meanwhile
        _sweep(part)
        part.mkdir(exist_ok=True)
        shards = Shards(part, facts, source.entries())
        shards.write(source, strict, progress)
        content, unreadable = shards.finish(source)
        folder = _place(facts, content)
        if _open(facts, content) is None:
            part.rename(folder)
        else:  # the same pictures, from another place
            shutil.rmtree(part)
        found = {"content": content, "unreadable": unreadable, "told": source.mismatches}
        write_checked(_place_of(listing), json.dumps(found).encode())
    return FaceCache(folder)


@contextlib.contextmanager
def _only_one(path: Path, source: Source, progress: bool):
    """Let one process at a time prepare the same cache; the others wait and then read it."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if progress:
            tqdm.write(f"Another process is preparing {source.title!r}; waiting for it.")
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
        # Earlier formats wrote no checksum behind it.
        text = (folder / "meta.json").read_text(encoding="utf-8")
        meta, _ = json.JSONDecoder().raw_decode(text)
        return meta["format"] < FORMAT or meta["decoder"] < decode.VERSION
    except (OSError, ValueError, TypeError, KeyError):
        return False


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_USERS_DISK_ERRORS = (
    *_DISK_FULL,
    errno.ENOENT,
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
        if error.errno not in _USERS_DISK_ERRORS or not _concerns(place, error):
            raise
        what = f"Cannot write the cache of decoded pictures to {place}: {error.strerror}. "
        if error.errno in _DISK_FULL:
            what += (
                "Make room there, or set KERAS_FACES_CACHE to a folder with more. What is decoded "
                "so far is kept there: the next run goes on with the rest."
            )
        else:
            what += "Set KERAS_FACES_CACHE to a folder in which you may write."
        raise UserError(what) from error


def _concerns(place: Path, error: OSError) -> bool:
    """Whether an error is of a folder, what lies in it or around it, and not of the source."""
    if error.filename is None:  # a full disk names nothing
        return True
    path = Path(os.path.abspath(os.fsdecode(error.filename)))
    place = Path(os.path.abspath(place))
    return path.is_relative_to(place) or place.is_relative_to(path)


def _summary(source: Source, cache: FaceCache) -> str:
    bad = cache.bad
    shown = "".join(f"\n  {name}: {reason}" for name, reason in bad[:20])
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    total = cache.count + len(bad)
    return f"Skipped {len(bad)} of {total} pictures in {source.title!r}:{shown}{more}"
