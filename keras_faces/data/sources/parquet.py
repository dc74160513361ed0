"""Pictures in Parquet files, as Hugging Face's data sets have them."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture
from keras_faces.data.labels import Attributes
from keras_faces.data.remote import RangeReader, read_all
from keras_faces.data.sources.base import Entry
from keras_faces.data.sources.shards import ShardSource, are_people
from keras_faces.errors import UserError, unknown_name
from keras_faces.screen import visible

IMAGES = ("image", "img", "picture", "photo", "face")
IDENTITIES = ("celeb_id", "identity", "person", "subject", "person_id", "label")
BATCH = 64  # rows that are held at once
BUFFER = 1 << 20  # bytes of a column that are read at once


class Columns(NamedTuple):
    """Which columns of Parquet are used.

    Attributes:
        image: That of the pictures' files.
        identity: That of the people, or None.
    """

    image: str
    identity: str | None


class ParquetSource(ShardSource):
    """Pictures in Parquet as Hugging Face has them: a file, a folder, or hf://datasets/USER/NAME.

    Rows are read a few at a time, never a whole file. Attributes are the columns that are true or
    false, or whole numbers of -1, 0 and 1. Splits are those that the files' names
    tell: `train-00000-of-00009.parquet`, `valid-...`, `test-...`.

    Args:
        path: The file, folder, pattern or URL.
        image: The column of pictures. Where none is given: `image`, `img`, or the only one of its
            kind.
        identity: The column of people, numbers or texts, or `"no"`. Where none is given:
            `celeb_id`, `identity`, `person` or `subject`; or `label` where it has 20 values or
            more.

    Raises:
        UserError: If there is no such file or column, or files have other columns than others.
    """

    scheme = "parquet"
    suffixes = (".parquet",)
    sequential = True
    attributes_hint = "the columns of a Parquet file that are true or false are its attributes."

    def __init__(self, path: str | os.PathLike, image: str = "", identity: str = ""):
        self.find(path, image=image, identity=identity)
        self._metadata = list(read_all(lambda file: _opened(file).metadata, self.files))
        schemas = [metadata.schema.to_arrow_schema() for metadata in self._metadata]
        for file, schema in zip(self.files, schemas):
            kinds = [{field.name: field.type for field in one} for one in (schemas[0], schema)]
            names = {name for kind in kinds for name in kind}
            if other := sorted(n for n in names if kinds[0].get(n) != kinds[1].get(n)):
                raise UserError(
                    f"{self.title!r} is of several kinds: {file.name} and {self.files[0].name} "
                    f"differ in {', '.join(other[:10])}. Give those of one kind alone."
                )
        self._columns = _columns(schemas[0], image, identity, self.title)
        for file, metadata in zip(self.files, self._metadata):
            _check_rows(file, metadata, self._columns.image)
        if not any(metadata.num_rows for metadata in self._metadata):
            raise UserError(f"{self.title!r} has columns and no row. Give a file with pictures.")
        self._attributes = [
            field.name
            for field in schemas[0]
            if field.name not in (self._columns.identity, *IDENTITIES)
            if pa.types.is_boolean(field.type)
            or (
                pa.types.is_integer(field.type)
                and all(_are_signs(metadata, field.name) for metadata in self._metadata)
            )
        ]

    def entries(self) -> Sequence[Entry]:
        codes, names = self._people
        return self.numbered([one.num_rows for one in self._metadata], codes, names)

    @functools.cached_property
    def _people(self) -> tuple[np.ndarray | None, list[str]]:
        """For each picture the number of its person, -1 where nobody is known; and the people."""
        column = self._columns.identity
        if column is None:
            return None, []
        values = pa.chunked_array(
            [chunk for number in range(len(self.files)) for chunk in self._read(number, column)]
        )
        encoded = values.cast(pa.string()).combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int32)
        if column == "label" and "identity=" not in self.query and not are_people(codes):
            return None, []
        return codes, [visible(name) for name in encoded.dictionary.to_pylist()]

    def _read(self, number: int, column: str) -> list[pa.Array]:
        """Return a small column of a file.

        Raises:
            UserError: If it cannot be read.
        """
        file = self.files[number]
        try:
            values = _opened(file).read([column], use_threads=False)[column]
            if len(values) != self._metadata[number].num_rows:
                raise ValueError(f"{column} has {len(values):,} rows")
            return values.chunks
        except Exception as error:  # damage raises ArrowInvalid, OSError, ...
            raise _damaged(file, error) from error

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | Exception]]:
        entries, first = self.entries(), 0
        for number, metadata in enumerate(self._metadata):
            for group in range(metadata.num_row_groups):
                end = first + metadata.row_group(group).num_rows
                if start < end:
                    rows = max(0, start - first), end - first
                    own = entries[first + rows[0] : end]
                    yield from zip(own, self._group(number, group, *rows))
                first = end

    def _group(self, number: int, group: int, start: int, end: int) -> Iterator[bytes | BadPicture]:
        """Yield pictures of one group of rows, from a number within it on."""
        done = 0
        try:
            for batch in _opened(self.files[number]).iter_batches(
                BATCH, row_groups=[group], columns=[self._columns.image], use_threads=False
            ):
                for value in batch.column(0)[max(0, start - done) :]:
                    yield _picture(value.as_py())
                done += len(batch)
            if done < end:
                raise ValueError("there are fewer than it says")
        except Exception as error:  # damage raises ArrowInvalid, OSError, ...
            self.check_still_there()
            told = BadPicture(f"its rows are damaged ({' '.join(str(error).split())[:200]})")
            for _ in range(max(start, done), end):
                yield told

    def read(self, name: str) -> bytes:
        number, row = self.entries().place(name)
        metadata = self._metadata[number]
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if row < rows:
                picture = next(self._group(number, group, row, rows))
                if isinstance(picture, BadPicture):
                    raise picture
                return picture
            row -= rows
        raise BadPicture("there is no such row")

    def attributes(self) -> Attributes | None:
        names = self._attributes
        if not names:
            return None
        entries = self.entries()
        values = np.empty((len(entries), len(names)), np.uint8)
        known = np.ones(len(entries), bool)
        for place, name in enumerate(names):
            first = 0
            for number in range(len(self.files)):
                for chunk in self._read(number, name):
                    own = slice(first, first + len(chunk))
                    known[own] &= chunk.is_valid().to_numpy(zero_copy_only=False)
                    bits = pc.greater(chunk.cast(pa.int8()), 0).fill_null(False)
                    values[own, place] = bits.to_numpy(zero_copy_only=False)
                    first = own.stop
        rows = {entries[n].name: n for n in np.flatnonzero(known).tolist()}
        return Attributes(tuple(map(visible, names)), rows, values, self.attributes_hint)


def _opened(file: RangeReader) -> pq.ParquetFile:
    try:
        # Not `pre_buffer`, which would fetch whole groups of rows.
        return pq.ParquetFile(
            pa.PythonFile(file.stream(), "r"),
            buffer_size=BUFFER,
            pre_buffer=False,
            page_checksum_verification=True,
        )
    except Exception as error:  # a damaged file raises ArrowInvalid, OSError, ...
        raise _damaged(file, error) from error


def _check_rows(file: RangeReader, metadata: pq.FileMetaData, image: str) -> None:
    """Compare what a file says in several places of how many rows it has, before it is believed.

    Raises:
        UserError: If they differ.
    """
    told = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in told]
    index = next(
        n
        for n in range(metadata.num_columns)
        if metadata.schema.column(n).path in (image, f"{image}.bytes")
    )
    if sum(rows) != metadata.num_rows or rows != [one.column(index).num_values for one in told]:
        raise _damaged(file, ValueError("its numbers of rows contradict each other"))


def _damaged(file: RangeReader, error: Exception) -> UserError:
    return UserError(
        f"Cannot read {file.path!r} as a Parquet file: {' '.join(str(error).split())[:200]}. If it "
        "was downloaded, look whether it is whole."
    )


def _picture(value) -> bytes | BadPicture:
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        path = value.get("path") if isinstance(value, dict) else None
        return BadPicture(f"the row has no bytes{f', only the path {path!r}' if path else ''}")
    if len(data) > MAX_FILE_BYTES:
        return BadPicture(f"it has {len(data):,} bytes, the limit is {MAX_FILE_BYTES:,}")
    return data


def _columns(schema: pa.Schema, image: str, identity: str, title: str) -> Columns:
    able = [field.name for field in schema if _holds_files(field.type)]
    if image and image not in able:
        raise unknown_name(f"column of pictures in {title}", image, able)
    usual = [name for name in IMAGES if name in able]
    if not able or not (image or usual or len(able) == 1):
        raise UserError(
            f"{title!r} has {len(able)} columns that may be pictures ({', '.join(able) or 'none'})"
            f"{', say which: parquet:PATH?image=NAME' if able else ''}. Its columns: "
            f"{', '.join(f'{field.name} ({field.type})' for field in schema)}."
        )
    named = [field.name for field in schema if _names_people(field.type)]
    if identity not in ("", "no", *named):
        raise unknown_name(f"column of people in {title}", identity, named)
    known = [name for name in IDENTITIES if name in named]
    people = identity or next(iter(known), "no")
    return Columns(
        image or usual[0] if image or usual else able[0],
        None if people == "no" else people,
    )


def _holds_files(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_files(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _names_people(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _are_signs(metadata: pq.FileMetaData, name: str) -> bool:
    """Return whether a column of whole numbers holds none but -1, 0 and 1, as far as is told."""
    index = next(n for n in range(metadata.num_columns) if metadata.schema.column(n).path == name)
    told = [metadata.row_group(n).column(index).statistics for n in range(metadata.num_row_groups)]
    return all(one and one.has_min_max and -1 <= one.min <= one.max <= 1 for one in told)
