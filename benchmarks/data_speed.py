"""Reading speed of the tf.data pipeline from its cache, beside what training takes.

    python benchmarks/data_speed.py [--data SOURCE] [--image-size 64] [--seconds 10]

Prints images/s of one process that only reads, for whole epochs in shuffled order.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_faces as kf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="orl")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    began = time.perf_counter()
    stream = kf.data.open_faces(
        options.data, options.image_size, options.batch_size, split="all", drop_remainder=True,
        shuffle=True, channels=3,
    )  # fmt: skip
    batches = iter(stream.dataset(start=0))
    next(batches)
    print(f"time to first batch: {time.perf_counter() - began:.2f} s")
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds:
        count += len(next(batches))
    print(f"{count / (time.perf_counter() - started):.0f} images/s of {stream.count} pictures")


if __name__ == "__main__":
    main()
