"""The net under a change that must change nothing: digests of short trainings of every model.

    python tests/digests.py --out before.json
    python tests/digests.py --compare before.json

Each model learns for 20 steps from the ORL faces at 32x32, on TensorFlow and on JAX, in a process
of its own. The digests are of weights, optimizer state, `metrics.csv`, pictures, scores and what
`config.json` says; they hold for one machine, so both sides are made on the same.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

BACKENDS = ("tensorflow", "jax")
# Of the hyper-parameters those that make a network small.
SMALL = {"filters": 8, "hidden_units": 32, "residual_blocks": 1}
# What differs from run to run, whatever the code does.
TIMELY = ("command", "versions")


def digests_of(name: str) -> dict[str, str]:
    """Train one model on the backend of this process; return a digest for each thing it left."""
    import h5py
    import numpy as np

    import keras_faces as kf
    from keras_faces.checkpoints import read_latest
    from keras_faces.models import hyperparameters

    small = {key: value for key, value in SMALL.items() if key in hyperparameters(name)}
    with tempfile.TemporaryDirectory() as folder:
        run = kf.train(
            name,
            run=Path(folder, "run"),
            steps=20,
            batch_size=10,
            image_size=32,
            count=24,
            score_every=1,
            ema=0.9,
            seed=3,
            print_fn=lambda line: None,
            **small,
        )
        position, arrays = read_latest(run.checkpoints)
        position.pop("seconds", None)
        found = {"position": json.dumps(position, sort_keys=True)}
        found["checkpoint"] = [(key, arrays[key]) for key in sorted(arrays)]
        weights = []
        with zipfile.ZipFile(run.model_path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content) as file:
            file.visititems(
                lambda path, item: (
                    weights.append((path, item[()])) if isinstance(item, h5py.Dataset) else None
                )
            )
        found["model.keras weights"] = sorted(weights, key=lambda pair: pair[0])
        config = run.config()
        found["config.json"] = json.dumps(
            {key: value for key, value in config.items() if key not in TIMELY}, sort_keys=True
        )
        model = kf.load_model(run.folder)
        if model.latent_dim is not None:
            found["generate"] = [("", model.generate(8, seed=1))]
        for path in sorted(run.folder.rglob("*")):
            if path.suffix in (".png", ".csv", ".gif") or path.name == "scores.json":
                found[str(path.relative_to(run.folder))] = path.read_bytes()

    def digest(value):
        if isinstance(value, list):
            value = b"".join(key.encode() + np.asarray(array).tobytes() for key, array in value)
        value = value.encode() if isinstance(value, str) else value
        return hashlib.sha256(value).hexdigest()[:16]

    return {key: digest(value) for key, value in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="a .json file to write the digests to")
    parser.add_argument("--compare", help="a .json file that --out wrote")
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(digests_of(options.one)))
        return 0
    from keras_faces.models import MODELS

    found: dict[str, dict] = {}
    for backend in options.backends:
        for name in options.models or MODELS:
            run = subprocess.run(
                [sys.executable, __file__, "--one", name],
                env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE,
                text=True,
            )
            lines = run.stdout.splitlines()
            found[f"{name} {backend}"] = (
                json.loads(lines[-1]) if run.returncode == 0 else {"failed": str(run.returncode)}
            )
            print(f"{name} on {backend}: {len(found[f'{name} {backend}'])} digests", flush=True)
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not options.compare:
        return 0
    before = json.loads(Path(options.compare).read_text(encoding="utf-8"))
    differing = [
        f"{key}: {part}"
        for key in found
        for part in sorted({*found[key], *before.get(key, {})})
        if found[key].get(part) != before.get(key, {}).get(part)
    ]
    print("\n".join(differing) or "All digests are equal.")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
