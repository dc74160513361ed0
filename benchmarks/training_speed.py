"""Training speed of our models with `fit`, beside the same networks in PyTorch, eager and compiled.

    python benchmarks/training_speed.py --models dcgan vae --sides ours torch compiled

Every side of a model runs in a process of its own. They are started together, then train one at a
time in bursts of a few seconds that take turns, so that a noisy machine is noisy for all. Compare
the ratios. Faces of 64x64x3 come from memory. A batch is of `--batch` faces, of five times as many
for `wgan`, one of whose steps is five steps of the critic.

PyTorch is optional (pip install torch). It runs channels-last and, on a CPU, with glibc's
allocator told not to return memory, as `keras-faces` tells it; `compiled` is with `torch.compile`
and fused optimizers. `torch_models.py` holds its networks and steps. On a GPU both sides' float32
convolutions round to TF32, and `--per-call` puts steps of ours into one call.

`--at-once` starts the sides of all models together, so that they compile side by side: for a GPU
machine with many cores. `deterministic` is ours with operations that give the same bits each time,
as `keras-faces train` has them.

Beside other work PyTorch's threads, which wait for each other, lose more than TensorFlow's. Then
measure on one core and by processor time:

    taskset -c 0 python benchmarks/training_speed.py --clock processor

Prints images/s, the median over rounds, and the median ratio of ours to each other side.
"""

import argparse
import importlib.util
import itertools
import json
import operator
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from keras_faces.models.registry import list_models

DTYPES = ("float32", "bfloat16")
SIDES = ("ours", "deterministic", "torch", "compiled")
OURS = SIDES[:2]
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}
SHARE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several processes share a GPU's memory
WARM_UP = 3  # calls that trace, compile and fill the caches
PICTURES = 10  # batches of them


def ours(
    name: str, dtype: str, batch: int, per_call: int, deterministic: bool, pause: Callable
) -> None:
    """Train with `fit` on random faces that come as they do from a cache."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_faces.process import prepare_process

    prepare_process()  # as the command does
    if deterministic:
        from keras_faces.training import backend

        backend.make_deterministic()
    import keras
    import numpy as np

    import keras_faces as kf
    from keras_faces.data.labels import Labels, SketchLabels

    chance = np.random.default_rng(0)

    class Faces:
        image_shape = (64, 64, 3)
        pictures = chance.integers(0, 256, (PICTURES * batch * per_call, 64, 64, 3), np.uint8)

        def read(self, indices):
            return self.pictures[indices]

    class Watch(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, step, logs=None):
            list(map(float, (logs or {}).values()))  # waits until the steps have ended
            self.steps += 1
            if self.steps >= WARM_UP:
                pause(batch * per_call)

    model = kf.create_model(
        name,
        image_size=64,
        channels=3,
        dtype="float32" if dtype == "float32" else "mixed_bfloat16",
    )
    model.compile(steps_per_execution=per_call)
    faces, labels = Faces(), None
    everybody = np.arange(len(faces.pictures))
    if model.conditional:
        values = chance.integers(0, 2, (len(everybody), len(model.condition_names)), np.uint8)
        labels = Labels("attributes", model.condition_names, values, "float32")
    elif model.translates_to:
        labels = SketchLabels(faces, everybody)
    stream = kf.data.FaceStream(faces, everybody, batch, labels=labels)
    model.fit(stream, epochs=10**6, callbacks=[Watch()], verbose=0)


def pytorch(name: str, dtype: str, batch: int, compiled: bool, pause: Callable) -> None:
    """Train the same networks in PyTorch."""
    import torch
    from torch_models import MODELS, Torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX's are
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = MODELS[name](Torch(device, dtype, compiled))
    faces = torch.rand(PICTURES, batch, 3, 64, 64, device=device).mul(2).sub(1)
    faces = [part.contiguous(memory_format=torch.channels_last) for part in faces]
    steps = 0
    while True:
        step(faces[steps % PICTURES])
        steps += 1
        # A GPU is left to run ahead, as it is in training, and waited for now and then.
        if steps >= WARM_UP and (device == "cpu" or steps % 20 == 0):
            if device == "cuda":
                torch.cuda.synchronize()
            pause(batch * (1 if device == "cpu" else 20))


def work(options) -> None:
    """Train in bursts: read how many seconds, train, print how many images/s."""
    (name,), (dtype,), (side,) = options.models, options.dtypes, options.sides
    batch = options.batch * (5 if name == "wgan" else 1)
    clock = time.process_time if options.clock == "processor" else time.perf_counter
    started, until, images = 0.0, 0.0, 0

    def pause(count):
        nonlocal started, until, images
        images += count
        if time.perf_counter() < until:
            return
        rate = images / (clock() - started) if until else 0.0
        print(json.dumps(rate), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        started, until, images = clock(), time.perf_counter() + float(line), 0

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print, too
    if side in OURS:
        ours(name, dtype, batch, options.per_call, side == "deterministic", pause)
    else:
        pytorch(name, dtype, batch, side == "compiled", pause)


class Side:
    """A process that trains when it is told to."""

    def __init__(self, name: str, words: list[str], environment: dict):
        self.name, self.rates = name, []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", "--sides", name, *words],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self, until: float) -> bool:
        """Whether it has compiled by then, instead of ending."""
        wait = max(until - time.monotonic(), 0)
        answers, _, _ = select.select([self.process.stdout], [], [], wait)
        return bool(answers) and bool(self.process.stdout.readline())

    def burst(self, seconds: float) -> None:
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.rates.append(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measured(cases: list[tuple[str, str]], options) -> dict[tuple[str, str], list[Side]]:
    """Return the sides of each model and dtype, with the images/s of each round."""
    sides = {}
    try:
        for name, dtype in cases:
            words = ["--models", name, "--dtypes", dtype]
            words += ["--batch", str(options.batch), "--per-call", str(options.per_call)]
            words += ["--clock", options.clock]
            for side in options.sides:
                environment = (
                    {"KERAS_BACKEND": options.backend, **SHARE} if side in OURS else MALLOC
                )
                sides.setdefault((name, dtype), []).append(Side(side, words, environment))
        until = time.monotonic() + options.patience
        for (name, dtype), started in sides.items():
            for side in list(started):
                if not side.ready(until):
                    print(f"{name} {dtype}: {side.name} failed, or took too long", flush=True)
                    started.remove(side)
                    side.end()
        for _ in range(options.rounds):
            for side in itertools.chain(*sides.values()):
                side.burst(options.seconds)
    finally:
        for side in itertools.chain(*sides.values()):
            side.end()
    return sides


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list_models(), metavar="MODEL")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "torch", "compiled"])
    parser.add_argument("--backend", choices=["tensorflow", "jax"], default="tensorflow")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--per-call", type=int, default=1, help="steps_per_execution of ours")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--seconds", type=float, default=5, help="of a burst")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", action="store_true", help="start all models together")
    parser.add_argument("--patience", type=float, default=3600, help="seconds to compile in")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: only our side runs.")
        options.sides = [side for side in options.sides if side in OURS]
    cases = list(itertools.product(options.models, options.dtypes))
    for some in [cases] if options.at_once else [[case] for case in cases]:
        for (name, dtype), sides in measured(some, options).items():
            rates = {side.name: side.rates for side in sides}
            words = [f"{side} {statistics.median(found):.4g}" for side, found in rates.items()]
            for side in [side for side in rates if side != "ours"] if "ours" in rates else ():
                ratio = statistics.median(map(operator.truediv, rates["ours"], rates[side]))
                words.append(f"ours/{side} {ratio:.2f}")
            print(f"{name} {dtype}, images/s:", ", ".join(words), flush=True)


if __name__ == "__main__":
    main()
