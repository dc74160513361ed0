"""Every picture is decoded once; afterwards training reads rows of one file.

A cache is a folder of `images.npy` (uint8 pictures of one size), `index.parquet` (what is known of
each: name, person, split, checksum, why it cannot be used, ...) and `meta.json` (what it was made
from). It is keyed by the pictures' content and by all that changes a pixel. It is made beside its
place and renamed at the end: a half made cache is never read, and what was interrupted goes on
where it was.
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
from collections.abc import Sequence
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from keras_faces.data import decode
from keras_faces.data.crops import get_crop
from keras_faces.data.decode import checksums, row_words
from keras_faces.data.decoding import (
    IMAGES,
    INDEX,
    SIDES,
    Making,
    bad_picture,
    header,
    read_columns,
    text,
)
from keras_faces.data.sources.base import Source
from keras_faces.errors import UserError
from keras_faces.files import (
    cache_folder,
    open_regular,
    read_checked,
    remembered,
    write_checked,
)
from keras_faces.optional import require

FORMAT = 4


class SkippedPictures(UserWarning):
    """Some pictures of a source could not be used; the message counts and names them."""


class FaceCache:
    """The decoded pictures of one source, crop, size and number of channels.

    Memory use hardly grows with the number of pictures: rows are read from disk when asked for, and
    so are the columns of the index; a checksum for each is kept.

    Args:
        folder: A folder that `prepare` made.

    Raises:
        OSError: If the index is not what was written. Pictures are checked as they are read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.meta = json.loads(read_checked(self.folder / "meta.json"))
        with open(open_regular(self.folder / INDEX), "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.meta["index"]:
                raise OSError(errno.EIO, "not what was written", str(self.folder / INDEX))
        self.count = self.meta["count"]
        self.image_shape = (self.meta["image_size"], self.meta["image_size"], self.meta["channels"])
        self._row_bytes = int(np.prod(self.image_shape))
        self._checksums = self._numbers("checksum")
        self._rows = None  # of the pictures that can be used, where these are not all
        if self.meta["skipped"]:
            good = self._index("reason")["reason"].is_null()
            self._rows = np.from_dlpack(pc.indices_nonzero(good)).astype(np.int64)
        self._lock = threading.Lock()
        rows = self.count + self.meta["skipped"]
        before = header(rows, self.image_shape)
        self._start = len(before)
        self._file = open_regular(self.folder / IMAGES)
        whole = len(before) + rows * self._row_bytes
        if os.read(self._file, len(before)) != before or os.fstat(self._file).st_size != whole:
            raise OSError(errno.EIO, "cut or overwritten", str(self.folder / IMAGES))

    def __del__(self):
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._file)

    def _index(self, *columns: str) -> pa.Table:
        return read_columns(self.folder / INDEX, *columns)

    def _column(self, name: str) -> pa.Array:
        """Return what the index says of the pictures that can be used."""
        if not self.meta["skipped"]:
            return self._index(name)[name].combine_chunks()
        table = self._index(name, "reason")
        return table.filter(table["reason"].is_null())[name].combine_chunks()

    def _numbers(self, name: str) -> np.ndarray:
        return _copied(self._column(name))

    def _codes(self, name: str) -> tuple[list[str | None], np.ndarray]:
        """Return the different texts of a column as they first appear, and the place of each."""
        column = self._column(name).dictionary_encode(null_encoding="encode")
        return list(map(text, column.dictionary.to_pylist())), _copied(column.indices)

    @property
    def names(self) -> list[str]:
        """Names of the pictures, in the order of their rows."""
        return list(map(text, self._column("name").to_pylist()))

    def name(self, position: int) -> str:
        """Return the name of one picture."""
        return text(self._column("name")[position].as_py())

    @property
    def people(self) -> list[str]:
        """Names of the people, in the order in which they first appear."""
        return [person for person in self._codes("identity")[0] if person is not None]

    @property
    def whole_people(self) -> bool:
        """Whether splits keep all pictures of a person together."""
        return self.meta.get("whole_people", True)  # of earlier versions, which kept all

    @property
    def people_numbers(self) -> np.ndarray:
        """For each picture the place of its person in `people`, or -1; int32."""
        people, codes = self._codes("identity")
        known = np.array([person is not None for person in people])
        return np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)[codes]

    @property
    def identities(self) -> list[str | None]:
        """The person on each picture, or None where the source does not know."""
        people, codes = self._codes("identity")
        return [people[code] for code in codes.tolist()]

    @property
    def split_hashes(self) -> np.ndarray:
        """What each picture's place in a split depends on, uint64; see `splits.split_hashes`."""
        return self._numbers("split_hash")

    @property
    def sides(self) -> np.ndarray:
        """For each picture the place of its own split in `SIDES`, int8."""
        splits, codes = self._codes("split")
        return np.array([SIDES.index(split) for split in splits], np.int8)[codes]

    @property
    def raw_sizes(self) -> np.ndarray:
        """Width and height of the raw pictures, int32 of shape `(count, 2)`."""
        return np.stack([self._numbers("width"), self._numbers("height")], axis=1)

    @property
    def contents(self) -> np.ndarray:
        """A number for each raw picture's content, uint64: equal for copies."""
        return self._numbers("content")

    @property
    def bad(self) -> list[list[str]]:
        """`[name, reason]` of each picture that could not be used."""
        table = self._index("name", "reason")
        rows = table.filter(table["reason"].is_valid()).to_pydict()
        return [[text(name), text(reason)] for name, reason in zip(rows["name"], rows["reason"])]

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read pictures.

        Args:
            indices: Positions of the wanted pictures.

        Returns:
            A uint8 array of shape `(len(indices), size, size, channels)`.

        Raises:
            UserError: If a picture is not what was written.
        """
        indices = np.asarray(indices, np.int64)
        wanted = self._checksums[indices]
        rows = indices if self._rows is None else self._rows[indices]
        words = row_words(len(rows), self._row_bytes)
        offsets = (self._start + rows * self._row_bytes).tolist()
        lengths = self._read_into(words[:, : self._row_bytes], offsets)
        whole = (checksums(words) == wanted) & (np.array(lengths) == self._row_bytes)
        if not whole.all():
            wrong = np.flatnonzero(~whole)
            raise UserError(
                f"The row of {self.name(int(indices[wrong[0]]))!r} in the cache {self.folder} is "
                "damaged. Delete that folder; the next run rebuilds it."
            )
        return words[:, : self._row_bytes].reshape(-1, *self.image_shape)

    def holds(self, image: np.ndarray) -> bool:
        """Return whether one of the rows has exactly the pixels of an image, uint8."""
        words = row_words(1, self._row_bytes)
        words[0, : self._row_bytes] = image.reshape(-1)
        alike = np.flatnonzero(self._checksums == checksums(words)[0])
        return any(np.array_equal(self.read([position])[0], image) for position in alike)

    def _read_into(self, rows: np.ndarray, offsets: list[int]) -> list[int]:
        """Fill rows from the file, and return how many bytes of each are there."""
        if hasattr(os, "preadv"):
            return [os.preadv(self._file, [row], offset) for row, offset in zip(rows, offsets)]
        lengths = []
        with self._lock:  # Windows reads only from the file's one position
            for row, offset in zip(rows, offsets):
                os.lseek(self._file, offset, os.SEEK_SET)
                data = os.read(self._file, len(row))
                row[: len(data)] = np.frombuffer(data, np.uint8)
                lengths.append(len(data))
        return lengths


def _copied(numbers: pa.Array) -> np.ndarray:
    copied = np.array(np.from_dlpack(numbers))
    del numbers
    pa.default_memory_pool().release_unused()  # Arrow keeps what it has read a file into
    return copied


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
        image_size: Width and height of the cached pictures in pixels.
        channels: 1 or 3.
        strict: Stop at the first bad picture instead of skipping, counting and naming it.
        progress: Show a progress bar where the work takes a while.

    Raises:
        UserError: If no picture can be used, the source vanishes, the disk is full, or `strict` and
            a picture is bad.
    """
    spec = {
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
    cache = _open(spec, known["content"]) if known else None
    if cache is not None:
        for message in known["told"]:
            if message not in source.mismatches:
                source.warn(message)
    else:
        with _disk_errors_explained(cache_folder()):
            cache = _make(source, listing, spec, strict, progress)
    if cache.meta["skipped"]:
        if strict:
            name, reason = cache.bad[0]
            raise UserError(bad_picture(source, name, reason))
        warnings.warn(_summary(source, cache), SkippedPictures, stacklevel=2)
    return cache


def _folder_of(spec: dict, content: str) -> Path:
    key = json.dumps({**spec, "content": content}, sort_keys=True)
    return cache_folder() / "images" / hashlib.sha256(key.encode()).hexdigest()[:24]


def _open(spec: dict, content: str) -> FaceCache | None:
    folder = _folder_of(spec, content)
    if not folder.is_dir():
        return None
    try:
        cache = FaceCache(folder)
        if not cache.meta.items() >= {**spec, "content": content}.items():
            raise OSError(errno.EIO, "of other pictures", str(folder))
        return cache
    except OSError as error:
        warnings.warn(f"The cache in {folder} is damaged ({error}); rebuilding it.", stacklevel=3)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _remembered(source: Source, listing: str) -> dict | None:
    """Return what was found when the source was read whole, if that was under this listing.

    Reading 200,000 files at every start would take longer than the start itself.
    """
    kept = remembered(_listing_file(listing))
    if kept is None:
        return None
    known = json.loads(kept)
    # They may be readable now. To look for one may take as long as all take that come before it.
    for name in known["unreadable"][: 1 if source.sequential else None]:
        with contextlib.suppress(decode.BadPicture):
            source.read(name)
            return None
    return known


def _listing_file(listing: str) -> Path:
    return cache_folder() / "contents" / f"{listing}.json"


def _make(source: Source, listing: str, spec: dict, strict: bool, progress: bool) -> FaceCache:
    key = hashlib.sha256(json.dumps([listing, spec], sort_keys=True).encode()).hexdigest()[:24]
    part = cache_folder() / "images" / f"{key}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    with only_one(part.with_suffix(".lock"), source, progress):
        known = _remembered(source, listing)
        if known and (cache := _open(spec, known["content"])):
            return cache  # another process has made it meanwhile
        _sweep(part)
        part.mkdir(exist_ok=True)
        making = Making(part, source, spec)
        making.decode(strict, progress)
        content, unreadable = making.finish()
        folder = _folder_of(spec, content)
        if _open(spec, content) is None:
            part.rename(folder)
        else:  # the same pictures, from another place
            shutil.rmtree(part)
        known = {"content": content, "unreadable": unreadable, "told": source.mismatches}
        write_checked(_listing_file(listing), json.dumps(known).encode())
    return FaceCache(folder)


@contextlib.contextmanager
def only_one(path: Path, source: Source, progress: bool):
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
    made, whose pictures are decoded in another way.
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
                "so far is kept there: the next run does the rest."
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
