"""Who decodes: the threads of this process, and where pictures are many, processes beside it.

Between libjpeg's calls threads wait for each other's hold on the interpreter, which costs a tenth
to a seventh of the time on two cores. Processes do not, but must be started, and meanwhile the
threads begin. These are processes of our own rather than multiprocessing's, which import
the user's script again, or are forked from TensorFlow's threads and hang.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from keras_faces.data import chunks
from keras_faces.data.chunks import Found, Picture, Place
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources.base import Entry, Source
from keras_faces.process import python

CHUNK = 64  # pictures that are decoded at once
FOR_EACH = 4000  # pictures for which a process is worth its start
SWITCH_SECONDS = 1e-3  # for which a thread keeps the interpreter while pictures are decoded


def decode_all(
    source: Source,
    entries: Sequence[Entry],
    start: int,
    facts: dict,
    per_shard: int,
    shard: Callable[[int], Path],
) -> Iterator[Found]:
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
    if source.sequential:
        wanted = (picture for _, picture in source.pictures(start))
    else:
        wanted = (entry.name for entry in entries[start:])
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

    def _work(self, chunk: list, place: Place) -> Found:
        try:
            process = self.free.get_nowait()
        except queue.Empty:
            return chunks.decode_chunk(self._read(chunk), place)
        try:
            found = process.decode(self._read(chunk, here=False), place)
        finally:
            self.free.put(process)
        if not all(found.contents):
            self.source.check_still_there()
        return found

    def _read(self, chunk: list, here: bool = True) -> Iterable[Picture | str]:
        """Yield pictures by their names, or the paths of their files for another process."""
        if self.source.sequential:  # it has pictures instead of names already
            yield from chunk
            return
        for name in chunk:
            path = None if here else self.source.file(name)
            if path is not None:
                yield path
                continue
            try:
                yield self.source.read(name)
            except BadPicture as error:
                self.source.check_still_there()
                yield error


class _Process:
    """A process that decodes; it joins the queue when it has started."""

    def __init__(self, free: queue.SimpleQueue):
        # NumPy would start threads of its own for linear algebra: a third of its import.
        code = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; "
        code += f"from {chunks.__name__} import serve; serve()"
        self.process = subprocess.Popen(
            **python("-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._start, args=(free,), daemon=True).start()

    def _start(self, free: queue.SimpleQueue) -> None:
        self.process.stdout.read(1)
        free.put(self)  # also where it has failed, which its first answer tells

    def decode(self, pictures: Iterable[Picture | str], place: Place) -> Found:
        try:
            # Plain tuples take a fifth of the time of named ones.
            pickle.dump((list(pictures), tuple(place)), self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise RuntimeError(
                f"A process that decodes pictures ended with status {self.process.wait()}; what it "
                "said is above."
            ) from error
        if isinstance(answer, OSError):
            raise answer
        return Found(*answer)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(OSError):  # it may not have read all
            self.process.stdin.close()
