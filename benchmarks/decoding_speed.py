"""How fast JPEGs of 178x218 pixels become 64x64 records: libraries side by side, and `prepare`.

    python benchmarks/decoding_speed.py [--count 4000] [--rounds 3] [--image-size 64]

Pictures are ORL faces, enlarged and tinted, with noise, as JPEG files of about 10 kB on disk. Every
contestant reads the files, keeps the centre square and resizes it, on all cores, in threads where
nothing else is said. `prepare` also lists the files, takes SHA-256 and a checksum of every picture,
and writes the rows and their index; from 8,000 pictures on it works in processes. Prints the median
images/s of the rounds, and its share of the fastest.
"""

import argparse
import functools
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from keras_faces.data import open_source
from keras_faces.data.cache import prepare
from keras_faces.data.decoding import CHUNK

WIDTH, HEIGHT = 178, 218
TOP = (HEIGHT - WIDTH) // 2
CORES = os.cpu_count()


def make_files(folder: Path, count: int) -> list[str]:
    """Write `count` different JPEG files."""
    faces, rng = open_source("orl"), np.random.default_rng(0)
    entries = faces.entries()
    for number in range(count):
        face = Image.open(io.BytesIO(faces.read(entries[number % len(entries)].name)))
        grey = np.asarray(face.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float)
        noise = rng.normal(0, 4, (HEIGHT, WIDTH, 3))
        pixels = np.clip(grey[..., None] * [1.0, 0.9, 0.8] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=90)
    return [str(path) for path in sorted(folder.iterdir())]


def pillow(data, size, resampling=Image.Resampling.LANCZOS, draft=False):
    image = Image.open(io.BytesIO(data))
    box = (0, TOP, WIDTH, TOP + WIDTH)
    if draft:
        image.draft("RGB", (WIDTH // 2, HEIGHT // 2))
        box = tuple(edge / 2 for edge in box)
    return np.asarray(image.resize((size, size), resampling, box=box))


def opencv(data, size, half=False, kind=cv2.INTER_AREA):
    mode = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    top, side = (TOP // 2, WIDTH // 2) if half else (TOP, WIDTH)
    part = cv2.resize(image[top : top + side], (size, size), interpolation=kind)
    return cv2.cvtColor(part, cv2.COLOR_BGR2RGB)


def simple(data, size, half=False, kind=cv2.INTER_AREA):
    least = (HEIGHT // 2, WIDTH // 2) if half else (0, 0)
    image = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1])
    top, side = (TOP // 2, WIDTH // 2) if half else (TOP, WIDTH)
    return cv2.resize(image[top : top + side], (size, size), interpolation=kind)


def half_bilinear(data, size):
    return simple(data, size, half=True, kind=cv2.INTER_LINEAR)


def made_of(function, size, chunk):
    return len([function(Path(file).read_bytes(), size) for file in chunk])


def chunks_of(files):
    return [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]


def with_threads(function):
    """Return a contestant that applies a function to every file, on all cores."""

    def contestant(files, size):
        with ThreadPoolExecutor(CORES) as pool:
            return sum(pool.map(functools.partial(made_of, function, size), chunks_of(files)))

    return contestant


def with_processes(function):
    """Return a contestant that does the same in processes, which keep nothing of what they made."""

    def contestant(files, size):
        work = functools.partial(made_of, function, size)
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            return sum(pool.imap_unordered(work, chunks_of(files)))

    return contestant


def with_tensorflow(method, antialias):
    def contestant(files, size):
        import tensorflow as tf

        def work(file):
            image = tf.io.decode_jpeg(tf.io.read_file(file), 3)[TOP : TOP + WIDTH]
            return tf.image.resize(image, (size, size), method, antialias=antialias)

        dataset = tf.data.Dataset.from_tensor_slices(files).map(work, num_parallel_calls=CORES)
        return sum(len(batch) for batch in dataset.batch(256))

    return contestant


def ours(crop):
    def contestant(files, size):
        # Beside the pictures, and removed with them: deleting it is no part of the work.
        folder = Path(files[0]).parent
        os.environ["KERAS_FACES_CACHE"] = tempfile.mkdtemp(dir=folder.parent)
        return prepare(open_source(folder), crop, size, 3, progress=False).count

    return contestant


CONTESTANTS = {
    "Pillow, Lanczos": with_threads(pillow),
    "Pillow, half-size decoding, Lanczos": with_threads(lambda d, s: pillow(d, s, draft=True)),
    "OpenCV, areas": with_threads(opencv),
    "OpenCV, half-size decoding, areas": with_threads(lambda d, s: opencv(d, s, half=True)),
    "OpenCV, half-size decoding, bilinear": with_threads(
        lambda d, s: opencv(d, s, half=True, kind=cv2.INTER_LINEAR)
    ),
    "simplejpeg, areas": with_threads(simple),
    "simplejpeg, half-size decoding, areas": with_threads(lambda d, s: simple(d, s, half=True)),
    "simplejpeg, half-size decoding, bilinear": with_threads(half_bilinear),
    "simplejpeg, the same, in processes": with_processes(half_bilinear),
    "tf.image, areas": with_tensorflow("area", False),
    "tf.image, bilinear, antialiased": with_tensorflow("bilinear", True),
    "tf.image, bilinear, aliased": with_tensorflow("bilinear", False),
    "keras_faces prepare, crop center": ours("center"),
    "keras_faces prepare, crop center-area": ours("center-area"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        files = make_files(pictures, options.count)
        size = sum(map(os.path.getsize, files)) / len(files)
        print(f"{len(files)} files of {size:,.0f} bytes on average, {CORES} cores", flush=True)
        for contestant in CONTESTANTS.values():  # imports, page cache
            contestant(files[:64], options.image_size)
        for _ in range(options.rounds):
            for name, contestant in CONTESTANTS.items():
                began = time.perf_counter()
                assert contestant(files, options.image_size) == len(files)
                rates[name].append(len(files) / (time.perf_counter() - began))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    fastest = max(medians.values())
    for name, rate in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{name:40} {rate:8,.0f} images/s {rate / fastest:6.0%}")


if __name__ == "__main__":
    main()
