"""Who decodes: the threads of this process, and where pictures are many, processes beside it.

Between libjpeg's calls threads wait for each other's hold on the interpreter, which costs a tenth
to a seventh of the time on two cores. Processes do not, but take half a second to start, in which
the threads begin. These are processes of our own rather than multiprocessing's, which import
the user's script again, or are forked from TensorFlow's threads and hang.
"""

import contextlib
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_faces.data import decode
from keras_faces.data.sources.base import Entry, Source
from keras_faces.data.sources.folder import read_file
from keras_faces.process import prepare_process, python

CHUNK = 64  # pictures that are decoded at once
FOR_EACH = 2500  # pictures for which a process is worth its start
SWITCH_SECONDS = 1e-3  # for which a thread keeps the interpreter while pictures are decoded

Picture = bytes | np.ndarray | decode.BadPicture


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


class Place(NamedTuple):
    """Where the records of a chunk go, and of what kind they are.

    Attributes:
        path: The shard's file.
        start: The first one's place in it, counted in records as if all before it were good.
        facts: Crop, size, channels.
    """

    path: str
    start: int
    facts: dict


def decode_all(
    source: Source,
    entries: Sequence[Entry],
    start: int,
    facts: dict,
    per_shard: int,
    shard: Callable[[int], Path],
) -> Iterator[list[Row]]:
    """Decode the pictures from number `start`, few at a time in memory.

    Each record is written to its shard at the place that it has if all pictures are good.

    Args:
        source: Where they come from.
        entries: All its pictures.
        start: The number of the first one to decode.
        facts: Crop, size, channels.
        per_shard: Pictures of each shard.
        shard: Callable that returns the file of a shard by its number.

    Yields:
        What the index keeps of some pictures at a time, in order and never of two shards.
    """
    wanted = source.pictures(start) if source.sequential else iter(entries[start:])
    done = start
    pending: deque = deque()
    with _Decoders(source, len(entries) - start) as decoders:
        while chunk := list(islice(wanted, min(CHUNK, per_shard - done % per_shard))):
            number, place = divmod(done, per_shard)
            done += len(chunk)
            pending.append(decoders.submit(chunk, Place(os.fspath(shard(number)), place, facts)))
            if len(pending) >= 4 * decoders.count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Decoders:
    """As many threads as cores; each hands its chunk to a process, as soon as one is free."""

    def __init__(self, source: Source, total: int):
        self.source = source
        self.count = os.cpu_count() or 1
        worth = min(self.count, total // FOR_EACH)
        self.wanted = worth if worth > 1 else 0  # a single one would only take the work away
        self.free: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def __enter__(self) -> "_Decoders":
        self.threads = ThreadPoolExecutor(self.count)
        self.processes = [_Process(self.free) for _ in range(self.wanted)]
        # Threads want the interpreter for microseconds; who waits 5 ms for it idles.
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_SECONDS, self.interval))
        return self

    def __exit__(self, *_) -> None:
        sys.setswitchinterval(self.interval)
        for process in self.processes:  # whoever is stopped must not wait until they have done
            process.end()
        self.threads.shutdown(cancel_futures=True)

    def submit(self, chunk: list, place: Place):
        return self.threads.submit(self._work, chunk, place)

    def _work(self, chunk: list, place: Place) -> list[Row]:
        try:
            process = self.free.get_nowait()
        except queue.Empty:
            return decode_chunk(self._read(chunk), place)
        try:
            rows = process.decode(self._read(chunk, here=False), place)
        finally:
            self.free.put(process)
        if any(row.reason and not row.content for row in rows):
            self.source.check_still_there()
        return rows

    def _read(self, chunk: list, here: bool = True) -> Iterable[tuple[Entry, Picture | str]]:
        """Yield entries with their pictures, or with the paths of these for another process."""
        if self.source.sequential:
            yield from chunk
            return
        for entry in chunk:
            path = None if here else self.source.file(entry.name)
            if path is not None:
                yield entry, path
                continue
            try:
                yield entry, self.source.read(entry.name)
            except decode.BadPicture as error:
                self.source.check_still_there()
                yield entry, error


class _Process:
    """A process that decodes; it joins the queue when it has started."""

    def __init__(self, free: queue.SimpleQueue):
        self.process = subprocess.Popen(
            **python("-c", f"from {__name__} import serve; serve()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._start, args=(free,), daemon=True).start()

    def _start(self, free: queue.SimpleQueue) -> None:
        self.process.stdout.read(1)
        free.put(self)  # also where it has failed, which its first answer tells

    def decode(self, pictures: Iterable[tuple[Entry, Picture | str]], place: Place) -> list[Row]:
        # Plain tuples take a fifth of the time of named ones.
        plain = [(tuple(entry), picture) for entry, picture in pictures]
        try:
            pickle.dump((plain, place), self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise RuntimeError(
                f"A process that decodes pictures ended with status {self.process.wait()}; what it "
                "said is above."
            ) from error
        if isinstance(answer, OSError):
            raise answer
        return list(map(Row._make, answer))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):  # it may not have read all
            self.process.stdin.close()


def decode_chunk(pictures: Iterable[tuple[tuple, Picture | str]], place: Place) -> list[Row]:
    """Decode some pictures, and write the good ones' records to their places.

    Args:
        pictures: Entries or tuples of the same, each with its picture or the path of its file.
        place: Where to.

    Returns:
        What the index keeps of each.

    Raises:
        OSError: If the records cannot be written.
    """
    rows, records = [], []
    for entry, picture in pictures:
        row, record = _decoded(entry, picture, place.facts)
        rows.append(row)
        records.append(record)
    blank = bytes(place.facts["image_size"] ** 2 * place.facts["channels"])
    file = os.open(place.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with open(file, "wb", buffering=0) as shard:
        shard.seek(place.start * len(blank))
        data = memoryview(b"".join(blank if record is None else record for record in records))
        while data:
            data = data[shard.write(data) :]
    return rows


def _decoded(entry: tuple, picture: Picture | str, facts: dict) -> tuple[Row, np.ndarray | None]:
    """Return what the index keeps of a picture, and its uint8 record, or None."""
    content = ""
    try:
        data = read_file(picture) if isinstance(picture, str) else picture
        if isinstance(data, decode.BadPicture):
            raise data
        content = hashlib.sha256(data).hexdigest()
        record, size = decode.decode_with_size(
            data, facts["crop"], facts["image_size"], facts["channels"]
        )
    except decode.BadPicture as error:
        return Row(*entry, str(error), content, (0, 0), 0), None
    return Row(*entry, "", content, size, zlib.crc32(record)), record


def serve() -> None:
    """Decode what `_Process` hands to this process: from stdin, to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started it
    prepare_process()  # memory of pictures is not returned, to be fetched again for the next ones
    with open(os.dup(1), "wb") as answers, decode.silent_pillow():
        os.dup2(2, 1)  # whatever a library prints
        answers.write(b"\0")
        answers.flush()
        while True:
            try:
                pictures, place = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = list(map(tuple, decode_chunk(pictures, place)))
            except OSError as error:
                answer = error
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
