"""Every picture is decoded once; afterwards training reads fixed-size records from disk.

A cache is a folder of `images.bin` (uint8 records, one after the other), `index.json` (names,
identities, bad pictures) and `meta.json` (what the folder was made from). It is keyed by the
pictures' content and by all that changes a pixel, written beside its place and renamed, so a half
written one is never read.
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
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.sources.base import Entry, Source
from keras_faces.errors import UserError

FORMAT = 1


class SkippedPictures(UserWarning):
    """Some pictures of a source could not be used; the message counts and names them."""


class FaceCache:
    """The decoded pictures of one source, crop, size and number of channels.

    Memory use does not grow with the number of pictures: records are read from disk when asked
    for, and what the operating system keeps of the file counts as its own cache, not as ours.

    Args:
        folder: A folder that `prepare` made.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.count = self.meta["count"]
        self.image_shape = (self.meta["image_size"], self.meta["image_size"], self.meta["channels"])
        self._record_bytes = int(np.prod(self.image_shape))
        self._file = os.open(self.folder / "images.bin", os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        self._index = json.loads((self.folder / "index.json").read_text())
        if os.fstat(self._file).st_size != self.count * self._record_bytes:
            raise OSError(errno.EIO, "wrong size", str(self.folder / "images.bin"))

    def __del__(self):
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._file)

    @property
    def names(self) -> list[str]:
        """Names of the pictures, in the order of their records."""
        return self._index["names"]

    @property
    def identities(self) -> list[str | None]:
        """The person on each picture, or None where the source does not know."""
        return self._index["identities"]

    @property
    def bad(self) -> list[list[str]]:
        """`[name, reason]` of each picture that could not be used."""
        return self._index["bad"]

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read records.

        Args:
            indices: Positions of the wanted pictures.

        Returns:
            A uint8 array of shape `(len(indices), size, size, channels)`.
        """
        images = np.empty((len(indices), *self.image_shape), np.uint8)
        for image, index in zip(images, indices):
            if self._read_into(image.data, int(index) * self._record_bytes) < image.nbytes:
                raise OSError(errno.EIO, "record is incomplete", str(self.folder / "images.bin"))
        return images

    def _read_into(self, buffer: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file, [buffer], offset)
        with self._lock:  # Windows reads only from the file's one position
            os.lseek(self._file, offset, os.SEEK_SET)
            data = os.read(self._file, buffer.nbytes)
        buffer.cast("B")[: len(data)] = data
        return len(data)


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
        UserError: If no picture can be used, the disk is full, or `strict` and a picture is bad.
    """
    content = _content(source)
    facts = {
        "format": FORMAT,
        "decoder": decode.VERSION,
        "content": content,
        "crop": crop,
        "image_size": image_size,
        "channels": channels,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / "images" / key
    cache = _open(folder)
    if cache is None:
        with _disk_errors_explained(folder):
            _write(folder, source, facts, strict, progress)
        cache = FaceCache(folder)
    if cache.bad:
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


def _open(folder: Path) -> FaceCache | None:
    if not folder.is_dir():
        return None
    try:
        return FaceCache(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"The cache in {folder} is damaged ({error}); making it anew.", stacklevel=3)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _content(source: Source) -> str:
    """Return a digest of all pictures' contents.

    Hashing 200,000 files at every start would take longer than the start itself, so the digest is
    remembered under the source's listing (names, sizes, times) and made anew when that changes.
    """
    remembered = cache_folder() / "contents" / source.listing()
    if remembered.is_file() and remembered.stat().st_size == 64:
        return remembered.read_text()
    digest = hashlib.sha256()
    all_read = True
    for entry in source.entries():
        digest.update(json.dumps([entry.name, entry.identity]).encode())
        try:
            digest.update(hashlib.sha256(source.read(entry.name)).digest())
        except decode.BadPicture as error:
            digest.update(str(error).encode())
            all_read = False
    content = digest.hexdigest()
    if not all_read:  # it may be readable the next time
        return content
    with _disk_errors_explained(remembered):
        _write_whole(remembered, content.encode())
    return content


def _write(folder: Path, source: Source, facts: dict, strict: bool, progress: bool) -> None:
    entries = source.entries()
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.{threading.get_ident()}.part")
    beside.mkdir(parents=True)
    _sweep(folder.parent)
    try:
        good, bad = [], []
        with open(beside / "images.bin", "wb") as file, decode.silent_pillow():
            bar = tqdm(
                _decode_all(source, entries, facts),
                total=len(entries),
                desc=f"Decoding {source.title}",
                unit=" pictures",
                disable=None if progress else True,
            )
            for entry, image, reason in bar:
                if image is not None:
                    good.append(entry)
                    file.write(image.data)
                elif strict:
                    raise UserError(_bad_picture(source, entry.name, reason))
                else:
                    bad.append((entry.name, reason))
            file.flush()
            os.fsync(file.fileno())
        if not good:
            raise UserError(
                f"None of the {len(bad)} pictures in {source.title!r} can be used. "
                + "; ".join(f"{name}: {reason}" for name, reason in bad[:5])
            )
        index = {
            "names": [entry.name for entry in good],
            "identities": [entry.identity for entry in good],
            "bad": bad,
        }
        _write_whole(beside / "index.json", json.dumps(index).encode())
        meta = {**facts, "count": len(good), "skipped": len(bad), "source": source.title}
        _write_whole(beside / "meta.json", json.dumps(meta, indent=1).encode())
        with contextlib.suppress(OSError):  # another process has made the same cache meanwhile
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _decode_all(
    source: Source, entries: Sequence[Entry], facts: dict
) -> Iterator[tuple[Entry, np.ndarray | None, str]]:
    """Yield `(entry, image or None, reason)` in order, with a bounded number in memory."""

    def work(entry: Entry):
        try:
            data = source.read(entry.name)
            image = decode.decode(data, facts["crop"], facts["image_size"], facts["channels"])
            return entry, image, ""
        except decode.BadPicture as error:
            return entry, None, str(error)

    # Threads: Pillow leaves the interpreter lock while it decodes and resizes.
    pool = ThreadPoolExecutor(os.cpu_count())
    pending = deque()
    try:
        for entry in entries:
            pending.append(pool.submit(work, entry))
            if len(pending) >= 256:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind more than a day ago."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 86_400:
                shutil.rmtree(part, ignore_errors=True)


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
            f"Cannot write the cache of decoded pictures to {place.parent}: {error.strerror}. "
            "Make room there, or set KERAS_FACES_CACHE to a folder with more."
        ) from error


def _bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."


def _summary(source: Source, cache: FaceCache) -> str:
    shown = "".join(f"\n  {name}: {reason}" for name, reason in cache.bad[:20])
    more = f"\n  and {len(cache.bad) - 20} more" if len(cache.bad) > 20 else ""
    total = cache.count + len(cache.bad)
    return f"Skipped {len(cache.bad)} of {total} pictures in {source.title!r}:{shown}{more}"
