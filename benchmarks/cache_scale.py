"""Start-up time and memory of training data from caches of 400 to 1,000,000 records.

    python benchmarks/cache_scale.py [--counts 400 20000 1000000] [--image-size 64] [--steps 500]

The records are synthetic (black, in files with holes, so that a million of 64x64x3 need no 12 GB of
disk); index, order and reading are those of real ones. Each size runs in a process of its own, and
prints the time from opening the cache to the first batch, images/s of shuffled reading as the clock
and as one core would have it (by the processor time of all threads), and the resident memory at the
end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
from keras_faces.data.chunks import Found
from keras_faces.data.shards import INDEX, SHARD_BYTES, Index, checksum

import keras_faces as kf
from keras_faces.data.cache import FaceCache
from keras_faces.data.sources import Entry
from keras_faces.files import write_checked


def make(folder: Path, count: int, size: int) -> None:
    """Write a cache of `count` black records."""
    folder.mkdir()
    record = bytes(size * size * 3)
    per_shard = SHARD_BYTES // len(record)
    shards = [min(per_shard, count - start) for start in range(0, count, per_shard)]
    for number, records in enumerate(shards):
        with open(folder / f"shard-{number:05d}.bin", "wb") as file:
            file.truncate(records * len(record))
    index, crc = Index(), zlib.crc32(record)
    for number in range(count):
        found = Found([""], [number.to_bytes(32, "little")], [(178, 218)], [crc])
        index.add([Entry(f"{number:07d}.jpg")], found)
    index.save(folder)
    files = {name: checksum(folder / name) for name in INDEX}
    meta = {"image_size": size, "channels": 3, "count": count, "shards": shards, "content": ""}
    write_checked(folder / "meta.json", json.dumps({**meta, "files": files}).encode())


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
    stream = FaceStream(cache, split_indices(cache.ranks, cache.sides, "train"), 64)
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
        f"{cache.count:9,} records: first batch after {first:.2f} s, {rate:8,.0f} images/s "
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
