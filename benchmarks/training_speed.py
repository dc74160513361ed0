"""Training speed of DCGAN at 64x64x3 with `fit`, and PyTorch's eager step on the same networks.

    python benchmarks/training_speed.py [--seconds 20] [--rounds 3]

Both sides run in turn, each time in a process of its own, so that a noisy machine is noisy for
both: compare the ratio. PyTorch is optional (pip install torch); it runs channels-last, with
glibc's allocator told not to return memory, which is its fastest setting on a CPU. Its step is the
usual alternating one: discriminator on real and detached fake faces, then generator.

Prints images/s: the median over rounds, and what was lost between epochs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

BATCH = 64
DTYPES = ("float32", "bfloat16")
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def ours(dtype: str, seconds: float) -> dict:
    """Train with `fit` on random faces that come from an array through tf.data."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_faces.process import prepare_process

    prepare_process()  # as the command does; PyTorch's side has the like in MALLOC
    import keras
    import numpy as np

    import keras_faces as kf

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.steps, self.idle, self.started = 0, 0.0, None

        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0 and self.started:
                self.idle += time.perf_counter() - self.ended

        def on_train_batch_end(self, batch, logs=None):
            self.ended = time.perf_counter()
            self.steps += 1
            if self.steps == 5:  # the first steps trace and warm up
                self.started = self.ended
            if self.started and self.ended - self.started > seconds:
                self.model.stop_training = True

    model = kf.create_model("dcgan", dtype="float32" if dtype == "float32" else "mixed_bfloat16")
    model.compile()

    class Faces:
        """A cache of random faces in memory: this measures training, not reading."""

        image_shape = (64, 64, 3)
        pictures = np.random.default_rng(0).integers(0, 256, (640, 64, 64, 3), np.uint8)

        def read(self, indices):
            return self.pictures[indices]

    faces = kf.data.FaceStream(Faces(), np.arange(640), BATCH)
    watch = Watch()
    model.fit(faces, epochs=10_000, callbacks=[watch], verbose=0)
    spent = watch.ended - watch.started
    return {
        "images/s": (watch.steps - 5) * BATCH / spent,
        "idle between epochs": watch.idle / spent,
    }


def pytorch(dtype: str, seconds: float) -> dict:
    """Train the same networks with PyTorch's eager step."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def generator():
        parts = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False)]
        width = 512
        while width > 64:
            parts += [nn.BatchNorm2d(width), nn.ReLU(True)]
            parts += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
            width //= 2
        parts += [nn.BatchNorm2d(64), nn.ReLU(True)]
        return nn.Sequential(*parts, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())

    def discriminator():
        parts = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for width in (128, 256, 512):
            parts += [nn.Conv2d(width // 2, width, 4, 2, 1, bias=False)]
            parts += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2, True)]
        return nn.Sequential(*parts, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten())

    g = generator().to(memory_format=torch.channels_last)
    d = discriminator().to(memory_format=torch.channels_last)
    g_optimizer, d_optimizer = (
        torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.999)) for net in (g, d)
    )
    loss = nn.BCEWithLogitsLoss()
    faces = torch.rand(10, BATCH, 3, 64, 64).mul(2).sub(1)
    one, zero = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step(real):
        real = real.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            fake = g(torch.randn(BATCH, 100, 1, 1))
            d_loss = loss(d(real).float(), one) + loss(d(fake.detach()).float(), zero)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        d.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            g_loss = loss(d(fake).float(), one)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        d.requires_grad_(True)

    for number in range(5):
        step(faces[number % 10])
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step(faces[steps % 10])
        steps += 1
    return {"images/s": steps * BATCH / (time.perf_counter() - started)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "pytorch"], help=argparse.SUPPRESS)
    parser.add_argument("--dtype", choices=DTYPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run = {"ours": ours, "pytorch": pytorch}[options.side]
        print(json.dumps(run(options.dtype, options.seconds)))
        return
    found: dict = {}
    for _ in range(options.rounds):
        for dtype in DTYPES:
            for side in ("ours", "pytorch"):
                arguments = f"--side {side} --dtype {dtype} --seconds {options.seconds}"
                done = subprocess.run(
                    [sys.executable, __file__, *arguments.split()],
                    env={**os.environ, **(MALLOC if side == "pytorch" else {})},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    missing = "No module named 'torch'" in done.stderr
                    print(f"{side} {dtype}: " + ("not installed" if missing else done.stderr))
                    continue
                result = json.loads(done.stdout.splitlines()[-1])
                found.setdefault((dtype, side), []).append(result)
                print(side, dtype, {key: round(value, 3) for key, value in result.items()})
    for dtype in DTYPES:
        medians = {
            side: statistics.median(r["images/s"] for r in found[dtype, side])
            for side in ("ours", "pytorch")
            if (dtype, side) in found
        }
        print(dtype, {side: f"{value:.0f} images/s" for side, value in medians.items()}, end=" ")
        if len(medians) == 2:
            print(f"ratio ours/pytorch {medians['ours'] / medians['pytorch']:.2f}", end="")
        print()


if __name__ == "__main__":
    main()
