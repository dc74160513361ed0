"""RecordIO files, as MXNet's tools write them, and their indexes.

They are read here by their definition: every part of a record is the magic number, a word with 3
bits that tell which part it is and 29 bits of its length, the bytes, and zeros up to a multiple of
four. A record is cut wherever it holds the magic number itself, which is then left out. Within it
comes a header (flag, label, two numbers; flag > 0 tells that as many float labels follow), then
the picture's file.
"""

import hashlib
import os
import struct
import warnings
from pathlib import Path

import numpy as np

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture, read_file
from keras_faces.data.remote import RangeReader
from keras_faces.errors import UserError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
WHOLE, FIRST, MIDDLE, LAST = range(4)


class RecordFile:
    """A RecordIO file and its index: records by key, from any thread.

    Args:
        path: The .rec file.

    Attributes:
        keys: The records' keys, int64, ascending.
        offsets: Where they begin in the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = RangeReader(path)
        self._at = self._file.read
        self.size = self._file.size
        if self._at(0, 4) != MAGIC_BYTES:
            raise UserError(
                f"{str(path)!r} is no RecordIO file: it begins with {self._at(0, 4).hex() or '-'} "
                f"instead of {MAGIC_BYTES.hex()}. If it was downloaded, look whether it is whole."
            )
        index = path.with_suffix(".idx")
        if os.path.lexists(index):
            keys, offsets = read_index(index)
            self._check_index(index, keys, offsets)
        else:
            warnings.warn(
                f"There is no {index.name} beside {str(path)!r}: the records are numbered in "
                "their order.",
                stacklevel=2,
            )
            offsets = self._scan()
            keys = np.arange(len(offsets))
        order = np.argsort(keys, kind="stable")
        self.keys, self.offsets = keys[order], offsets[order]

    def read(self, key: int, limit: int | None = None) -> bytes:
        """Return a record's bytes, all or about the first `limit`.

        Raises:
            BadPicture: If there is no whole record of that key.
        """
        index = int(np.searchsorted(self.keys, key))
        if index == len(self.keys) or self.keys[index] != key:
            raise BadPicture(f"the index has no record {key}")
        offset = int(self.offsets[index])
        parts = []
        while True:
            head = self._at(offset, 8)
            if len(head) < 8:
                raise BadPicture(
                    f"its record lies beyond the end of {self.path.name}, which is cut at "
                    f"{self.size:,} bytes"
                )
            magic, word = struct.unpack("<II", head)
            part, length = word >> 29, word & (1 << 29) - 1
            if magic != MAGIC or part not in ((FIRST, WHOLE) if not parts else (MIDDLE, LAST)):
                raise BadPicture(f"there is no record at byte {offset:,} of {self.path.name}")
            if length > MAX_FILE_BYTES:
                raise BadPicture(f"it has {length:,} bytes, the limit is {MAX_FILE_BYTES:,}")
            wanted = length if limit is None else min(length, limit)
            data = self._at(offset + 8, wanted)
            if len(data) < wanted:
                raise BadPicture(
                    f"its record is cut: {self.path.name} ends after {self.size:,} bytes"
                )
            parts.append(data)
            if part in (WHOLE, LAST):
                return MAGIC_BYTES.join(parts)
            offset += 8 + length + -length % 4

    def listing(self) -> str:
        """Return a digest of the file's place, size and time, and of the index."""
        digest = hashlib.sha256(self._file.stamp().encode("utf-8", "surrogatepass"))
        digest.update(self.keys.astype("<i8").tobytes())
        digest.update(self.offsets.astype("<i8").tobytes())
        return digest.hexdigest()

    def _check_index(self, index: Path, keys: np.ndarray, offsets: np.ndarray) -> None:
        within = offsets[(offsets >= 0) & (offsets < self.size)]
        looked_at = within[np.linspace(0, len(within) - 1, min(64, len(within))).astype(int)]
        wrong = [int(offset) for offset in looked_at if self._at(offset, 4) != MAGIC_BYTES]
        # Where a few are wrong the records are damaged, and are named one by one.
        if 2 * len(wrong) > len(looked_at) or not len(within):
            where = f"At byte {wrong[0]:,} it has a record begin, there is none." if wrong else ""
            raise UserError(
                f"{str(index)!r} is not the index of {self.path.name}, which has {self.size:,} "
                f"bytes. {where} Put the two files of one download together, or remove the .idx "
                "file: then the records are numbered in their order."
            )
        for column in (keys, offsets):
            values, counts = np.unique(column, return_counts=True)
            if counts.max() > 1:
                raise UserError(
                    f"{str(index)!r} is damaged: {values[counts.argmax()]} is there twice. Get it "
                    "anew, or remove it: then the records are numbered in their order."
                )

    def _scan(self) -> np.ndarray:
        offsets = []
        offset = 0
        while offset + 8 <= self.size:
            magic, word = struct.unpack("<II", self._at(offset, 8))
            if magic != MAGIC:
                warnings.warn(
                    f"{str(self.path)!r} is damaged at byte {offset:,} of {self.size:,}: the "
                    f"{len(offsets):,} records before it are used. An index would find the others.",
                    stacklevel=3,
                )
                break
            if word >> 29 in (WHOLE, FIRST):
                offsets.append(offset)
            length = word & (1 << 29) - 1
            offset += 8 + length + -length % 4
        return np.array(offsets, np.int64)


def unpack(record: bytes) -> tuple[np.ndarray, bytes]:
    """Return the labels and the picture of a record.

    Raises:
        BadPicture: If it is too short for its header.
    """
    if len(record) < 24:
        raise BadPicture(f"its record has {len(record)} bytes, fewer than a header")
    count, label = struct.unpack_from("<If", record)
    if not count:
        return np.array([label], np.float32), record[24:]
    if len(record) < 24 + 4 * count:
        raise BadPicture(f"its record has {len(record)} bytes, too few for its {count} labels")
    return np.frombuffer(record, "<f4", count, 24), record[24 + 4 * count :]


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys and offsets of an .idx file: lines of a key, a tabulator and an offset.

    Raises:
        UserError: If it holds anything else.
    """
    try:
        text = read_file(path).decode("ascii", errors="replace")
    except BadPicture as error:
        raise UserError(f"Cannot read {str(path)!r}: {error}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers = np.fromstring(text, np.int64, sep=" ")
            if len(numbers) % 2 or not len(numbers):
                raise ValueError
    except (ValueError, DeprecationWarning) as error:
        raise UserError(
            f"{str(path)!r} is no index of records: expected lines of a key and an offset, such "
            f"as '1\\t4096'. Received: {_first_bad_line(text)}."
        ) from error
    return numbers[0::2], numbers[1::2]


def _first_bad_line(text: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split()
        if cells and (len(cells) != 2 or not all(cell.isdigit() for cell in cells)):
            return f"line {number}, {line.strip()[:60]!r}"
    return "no line"
