"""Whether Inception's features in bfloat16 give the scores of float32 within their own error.

    python benchmarks/feature_precision.py --data orl --weights inception_v3_weights.h5

One half of the faces is scored against the other in both precisions. bfloat16 pays on processors
that compute in it (AVX-512 BF16, AMX, GPUs) and nowhere else.
"""

import argparse
import time

import keras_faces as kf
from keras_faces.metrics.distribution import bootstrap

kf.prepare_process()


def scores(real, made):
    """Return IS, FID and KID, each with its standard error."""
    distance = kf.metrics.frechet_distance
    size = min(1000, len(real[0]) // 2, len(made[0]) // 2)
    return {
        "Inception Score (keras)": kf.metrics.inception_score(made[1]),
        "FID (keras)": bootstrap(distance, real[0], made[0], resamples=10, replace=False),
        "KID (keras)": kf.metrics.kernel_distance(real[0], made[0], subset_size=size),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="orl", help="source of faces")
    parser.add_argument("--count", type=int, default=2000, help="faces, at most")
    parser.add_argument(
        "--weights", help="InceptionV3's weights (default: as the package finds them)"
    )
    options = parser.parse_args()
    stream = kf.data.open_faces(options.data, image_size=64, batch_size=1, split="all")
    faces = stream.sample(options.count, seed=0)
    found = {}
    for dtype in ("float32", "bfloat16"):
        features = kf.metrics.InceptionFeatures(options.weights, dtype=dtype)
        features(faces[:64])  # compiles
        began = time.perf_counter()
        halves = features(faces[::2]), features(faces[1::2])
        rate = len(faces) / (time.perf_counter() - began)
        print(f"{dtype}: {rate:.1f} images/s")
        found[dtype] = scores(*halves)
    print(f"{len(faces)} faces of {options.data}, one half against the other")
    for name, (value, error) in found["float32"].items():
        other = found["bfloat16"][name][0]
        print(
            f"{name}: float32 {value:.5g} ± {error:.2g}, bfloat16 {other:.5g}, difference "
            f"{abs(other - value):.2g}, {abs(other - value) / error:.3f} of the error"
        )


if __name__ == "__main__":
    try:
        main()
    except kf.UserError as error:
        raise SystemExit(str(error)) from None
