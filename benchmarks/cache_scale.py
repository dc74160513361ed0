"""Start-up time and memory of training data from caches of 400 to 1,000,000 pictures.

    python benchmarks/cache_scale.py [--counts 400 20000 1000000] [--image-size 64] [--steps 500]

The rows are synthetic (black, in a file with holes, so that a million of 64x64x3 need no 12 GB of
disk); index, order and reading are those of real ones. Each size runs in a process of its own, and
prints the time from opening the cache to the first batch, images/s of shuffled reading as the clock
and as one core would have it (by the processor time of all threads), and the resident memory at the
end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil

import keras_faces as kf
from keras_faces.data.cache import FaceCache
from keras_faces.data.decoding import Making
from keras_faces.data.sources import Entry, Source


class Black(Source):
    """So many black pictures, of which none is ever read."""

    title = "black"

    def __init__(self, count: int):
        self.count = count

    def entries(self) -> list[Entry]:
        return [Entry(f"{number:07d}.jpg") for number in range(self.count)]


def make(folder: Path, count: int, size: int) -> None:
    """Write a cache of `count` black rows."""
    folder.mkdir()
    making = Making(folder, Black(count), {"crop": "center", "image_size": size, "channels": 3})
    for start in range(0, count, 1 << 16):
        numbers = range(start, min(start + (1 << 16), count))
        contents = [number.to_bytes(32, "little") for number in numbers]
        each = len(numbers)
        making.write_note([([None] * each, contents, [178] * each, [218] * each, [0] * each)])
    making.finish()


def measure(folder: str, steps: int) -> None:
    """Read shuffled batches of a cache, and print what it took."""
    kf.prepare_process()
    import tensorflow as tf

    from keras_faces.data import FaceStream
    from keras_faces.data.splits import split_indices

    tf.constant(0)  # TensorFlow starts now, so that its memory is not counted as the data's
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    cache = FaceCache(folder)
    stream = FaceStream(cache, split_indices(cache.split_hashes, cache.sides, "train"), 64)
    batches = iter(stream.dataset(start=0))
    next(batches)
    first = time.perf_counter() - began
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    rate = 64 * steps / (time.perf_counter() - began)
    a_core = 64 * steps / (time.process_time() - worked)
    after = process.memory_info().rss
    print(
        f"{cache.count:9,} pictures: first batch after {first:.2f} s, {rate:8,.0f} images/s "
        f"({a_core:,.0f} a core), memory {after / 2**20:6,.0f} MiB, "
        f"of which data {(after - before) / 2**20:5,.0f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[400, 20_000, 1_000_000])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.steps)
        return
    with tempfile.TemporaryDirectory() as home:
        for count in options.counts:
            folder = Path(home) / str(count)
            make(folder, count, options.image_size)
            given = ["--measure", str(folder), "--steps", str(options.steps)]
            subprocess.run([sys.executable, __file__, *given], check=True)


if __name__ == "__main__":
    main()
