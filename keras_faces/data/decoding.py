"""How a cache is made: pictures become rows of one file, and notes say which are whole.

A note is written when the rows that it speaks of are on the disk. What was interrupted goes on
behind the last one.
"""

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from keras_faces.data.decode import (
    BadPicture,
    FaceIn,
    Rows,
    checksums,
    decode_rows,
    row_words,
    silent_pillow,
)
from keras_faces.data.sources.base import LEFT_OUT, Source, held_out_by
from keras_faces.errors import UserError
from keras_faces.files import read_checked, write_checked, write_whole
from keras_faces.parallel import in_parallel

IMAGES, INDEX = "images.npy", "index.parquet"
SIDES = (None, "train", "validation", "test", LEFT_OUT)
CHUNK, CHUNK_BYTES = 128, 8 << 20  # pictures that a worker decodes at once, and what they may hold
FOR_PROCESSES = 8000  # pictures from which processes are worth their start
NOTE_BYTES = 16 << 20  # rows that are decoded again, at most, when the process is killed
# What a note says of each picture.
NOTE = {"reason": None, "content": None, "width": "i4", "height": "i4", "checksum": "u8"}
_json = json.JSONEncoder().encode  # of a text ten times as fast as json.dumps


def chunks(pictures: Iterable, few: int) -> Iterator[list]:
    """Yield pictures in lists of a few, of fewer where these hold much.

    Args:
        pictures: Each as `Source.undecoded` returns it.
        few: How many at most; of whole photographs a quarter, since each takes longer.
    """
    chunk, size, weight = [], 0, 0
    for picture in pictures:
        chunk.append(picture)
        weight += 4 if isinstance(picture, FaceIn) else 1
        data = picture.picture if isinstance(picture, FaceIn) else picture
        size += 0 if isinstance(data, (str, BadPicture)) else memoryview(data).nbytes
        if weight >= few or size > CHUNK_BYTES:
            yield chunk
            chunk, size, weight = [], 0, 0
    if chunk:
        yield chunk


def header(count: int, image_shape: tuple[int, int, int]) -> bytes:
    """Return what stands before the rows in their file: 128 bytes, by NumPy's format 1.0."""
    about = str({"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)})
    return b"\x93NUMPY\1\0v\0" + about.ljust(117).encode() + b"\n"


def text(data: bytes | None) -> str | None:
    """Return a name as Python holds it: files' names need not be UTF-8."""
    return None if data is None else data.decode("utf-8", "surrogatepass")


def _bytes(name: str | None) -> bytes | None:
    return None if name is None else name.encode("utf-8", "surrogatepass")


class Making:
    """A cache that is being made.

    Args:
        folder: Where; what is whole in it is kept.
        source: Where the pictures come from.
        spec: What decides about the pixels: format, decoder, crop, image_size, channels.
    """

    def __init__(self, folder: Path, source: Source, spec: dict):
        self.folder = folder
        self.source = source
        self.spec = spec
        self.entries = source.entries()
        size, channels = spec["image_size"], spec["channels"]
        self.header = header(len(self.entries), (size, size, channels))
        path = os.path.abspath(folder / IMAGES)
        self.rows = Rows(path, len(self.header), spec["crop"], size, channels)
        if not self._has_rows():
            for note in folder.glob("*.note"):
                note.unlink()
            with open(path, "wb") as file:
                file.write(self.header)
                file.truncate(self._bytes)
        self.notes: list[pa.Table] = []
        with contextlib.suppress(OSError):
            while True:
                note = read_checked(self._note(self.done))
                self.notes.append(read_columns(pa.BufferReader(note)))

    @property
    def done(self) -> int:
        """Pictures whose rows are whole."""
        return sum(note.num_rows for note in self.notes)

    @property
    def _bytes(self) -> int:
        return len(self.header) + len(self.entries) * self.rows.bytes

    def _has_rows(self) -> bool:
        with contextlib.suppress(OSError), open(self.rows.path, "rb") as file:
            begins = file.read(len(self.header)) == self.header
            return begins and os.fstat(file.fileno()).st_size == self._bytes
        return False

    def _note(self, start: int) -> Path:
        return self.folder / f"{start:09d}.note"

    def decode(self, strict: bool, progress: bool) -> None:
        """Decode what is missing."""
        start, total = self.done, len(self.entries)
        if start == total:
            return
        bar = tqdm(
            total=total,
            initial=start,
            desc=f"Decoding {self.source.title}",
            unit=" pictures",
            disable=None if progress else True,
        )
        work = functools.partial(decode_rows, self.rows)
        prefer = "processes" if total - start >= FOR_PROCESSES else "threads"
        found: list[tuple] = []  # what is known of the pictures from number `start`
        try:
            with (
                bar,
                silent_pillow(),
                contextlib.closing(in_parallel(work, self._chunks(start), prefer=prefer)) as made,
            ):
                count = start
                for columns in made:
                    self._check(count, strict, *columns)
                    found.append(columns)
                    count += len(columns[0])
                    bar.update(len(columns[0]))
                    if (count - start) * self.rows.bytes >= NOTE_BYTES:
                        self.write_note(found)
                        found, start = [], self.done
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk
                if start == self.done:  # not where Ctrl-C came when the note was written
                    self.write_note(found)
            path = getattr(error, "filename", None)
            if isinstance(error, FileNotFoundError) and path == self.rows.path and self._has_rows():
                raise _unseen(f"A worker does not see {path}.") from error
            raise
        self.write_note(found)

    def _chunks(self, start: int) -> Iterator[tuple[int, list]]:
        """Yield the pictures from number `start`, few at a time, with the number of the first."""
        if self.source.sequential:
            pictures = (picture for _, picture in self.source.pictures(start))
        else:
            folder = os.getcwd()
            pictures = (self._picture(folder, entry.name) for entry in self.entries[start:])
        few = 1 + (len(self.entries) - start) // 64  # so that all workers have some
        for chunk in chunks(pictures, min(few, CHUNK, 1 + CHUNK_BYTES // self.rows.bytes)):
            yield start, chunk
            start += len(chunk)

    def _picture(self, folder: str, name: str) -> "str | bytes | np.ndarray | FaceIn | BadPicture":
        picture = self.source.undecoded(name)
        if isinstance(picture, str):
            return os.path.join(folder, picture)
        if isinstance(picture, BadPicture):
            self.source.check_still_there()
        return picture

    def _check(self, first: int, strict: bool, reasons, contents, widths, heights, sums) -> None:
        """Refuse bad pictures if `strict`, and what another machine did not see or write here."""
        for number, (reason, content) in enumerate(zip(reasons, contents), first):
            if reason is None:
                continue
            name, reason = self.entries[number].name, text(reason)
            if content is None:
                self.source.check_still_there()
                path = self.source.file(name)
                if path and os.strerror(errno.ENOENT) in reason and os.path.exists(path):
                    raise _unseen(f"A worker does not see {path}.")
            if strict:
                raise UserError(bad_picture(self.source, name, reason))
        words = row_words(1, self.rows.bytes)
        with open(self.rows.path, "rb") as file:
            file.seek(self.rows.start + first * self.rows.bytes)
            file.readinto(words[0, : self.rows.bytes])
        if checksums(words)[0] != sums[0]:
            raise _unseen(f"What a worker has written to {self.rows.path} is not there.")

    def write_note(self, found: list[tuple]) -> None:
        """Note that the rows behind those of the last note are whole, and what is known of them."""
        if not found:
            return
        with open(self.rows.path, "rb+") as file:
            os.fsync(file.fileno())
        columns = [list(chain.from_iterable(parts)) for parts in zip(*found)]
        arrays = [
            numbers(np.array(column, kind)) if kind else texts(column)
            for kind, column in zip(NOTE.values(), columns)
        ]
        note = pa.table(dict(zip(NOTE, arrays)))
        write_checked(self._note(self.done), as_parquet(note))
        self.notes.append(note)

    def finish(self) -> tuple[str, list[str]]:
        """Write the index of all pictures.

        Returns:
            The digest of all pictures' contents, and the names of those that could not be read.
        """
        digest, begins, following = hashlib.sha256(), [], iter(self.entries)
        for note in self.notes:
            contents = note["content"].to_pylist()
            for reason, content, entry in zip(note["reason"].to_pylist(), contents, following):
                own = f", {_json(entry.split)}" if entry.split else ""
                digest.update(f"[{_json(entry.name)}, {_json(entry.identity)}{own}]".encode())
                digest.update(content or reason)
            data = b"".join(content or bytes(32) for content in contents)
            begins.append(np.frombuffer(data, ">u8")[::4].astype(np.uint64))
        if not self.source.whole_people:
            digest.update(b"splits of pictures")
        rows = pa.concat_tables(self.notes)
        good = np.from_dlpack(pc.indices_nonzero(rows["reason"].is_null()))
        if not len(good):
            raise self._nothing(rows["reason"][:5].to_pylist())
        hashes = np.zeros(len(rows), np.uint64)
        kept = [self.entries[number] for number in good.tolist()]
        hashes[good], _ = held_out_by(self.source, kept)
        index = {
            "name": texts([_bytes(entry.name) for entry in self.entries]),
            "identity": texts([_bytes(entry.identity) for entry in self.entries]),
            "split": texts([_bytes(entry.split) for entry in self.entries]),
            **{name: rows[name] for name in ("reason", "width", "height", "checksum")},
            "content": numbers(np.concatenate(begins)),
            "split_hash": numbers(hashes),
        }
        data = as_parquet(pa.table(index))
        write_whole(self.folder / INDEX, data)
        meta = {
            **self.spec,
            "index": hashlib.sha256(data).hexdigest(),
            "content": digest.hexdigest(),
            "count": len(good),
            "skipped": len(rows) - len(good),
            "source": self.source.title,
            "whole_people": self.source.whole_people,
        }
        write_checked(self.folder / "meta.json", json.dumps(meta, indent=1).encode())
        for path in self.folder.glob("*.note"):
            path.unlink()
        unreadable = pc.indices_nonzero(rows["content"].is_null()).to_pylist()
        return meta["content"], [self.entries[number].name for number in unreadable]

    def _nothing(self, reasons: list[bytes]) -> UserError:
        """Return the error for pictures of which none can be used."""
        shutil.rmtree(self.folder, ignore_errors=True)
        named: dict[str, list[str]] = {}
        for entry, reason in zip(self.entries[:5], reasons):
            named.setdefault(text(reason), []).append(entry.name)
        return UserError(
            f"None of the {len(self.entries)} pictures in {self.source.title!r} can be used. "
            + "; ".join(f"{', '.join(names)}: {reason}" for reason, names in named.items())
        )


# Not by `pa.array`, `to_numpy` or `pq.read_table`: they import pandas where there is one, which
# takes longer than to open a cache.


def numbers(values: np.ndarray) -> pa.Array:
    """Return numbers as a column."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def texts(values: list[bytes | None]) -> pa.Array:
    """Return texts or None as a column."""
    known = np.packbits([value is not None for value in values], bitorder="little")
    ends = np.cumsum([0, *(len(value or b"") for value in values)], dtype=np.int32)
    data = b"".join(value or b"" for value in values)
    buffers = [pa.py_buffer(part) for part in (known, ends, data)]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def as_parquet(table: pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data)
    return data.getvalue()


def read_columns(file: Path | pa.BufferReader, *names: str) -> pa.Table:
    """Read columns of a Parquet file, or all."""
    return pq.ParquetFile(file).read(list(names) or None, use_threads=False)


def _unseen(what: str) -> UserError:
    """Return the error for a worker that sees other files than this process."""
    return UserError(
        f"{what} Workers on other machines must see the pictures and the folder of the cache under "
        "the same paths: put both on a shared file system, and set KERAS_FACES_CACHE. If there are "
        "no such workers, run the same again."
    )


def bad_picture(source: Source, name: str, reason: str) -> str:
    return f"Bad picture {name!r} in {source.title!r}: {reason}."
