"""Training speed on JAX's devices, with `fit`, beside PyTorch's DCGAN and BEGAN.

    python benchmarks/accelerator_speed.py --models dcgan vae --torch

Faces of 64x64x3 come from memory, so that nothing but training is measured. Every configuration
runs in a process of its own, one after the other, and is looked at once it has compiled. PyTorch
(optional: pip install torch) runs channels-last with fused Adam and the convolutions' fastest
algorithms; like JAX's, its float32 convolutions round to TF32 where the card does.
"""

import argparse
import os
import subprocess
import sys
import time

DTYPES = ("float32", "mixed_bfloat16")


def ours(name: str, dtype: str, batch: int, per_call: int, seconds: float) -> float:
    """Return images/s of a model of this package."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras
    import numpy as np

    import keras_faces as kf

    class Faces:
        image_shape = (64, 64, 3)
        pictures = np.random.default_rng(0).integers(0, 256, (64 * batch, 64, 64, 3), np.uint8)

        def read(self, indices):
            return self.pictures[indices]

    class Watch(keras.callbacks.Callback):
        marks = []

        def on_train_batch_end(self, step, logs=None):
            jax.block_until_ready(list((logs or {}).values()))
            self.marks.append(time.perf_counter())
            if len(self.marks) > 4 and self.marks[-1] - self.marks[4] > seconds:
                self.model.stop_training = True

    model = kf.create_model(name, image_size=64, channels=3, dtype=dtype)
    model.compile(steps_per_execution=per_call)
    stream = kf.data.FaceStream(Faces(), np.arange(64 * batch), batch)
    watch = Watch()
    model.fit(stream, epochs=10**6, callbacks=[watch], verbose=0)
    marks = watch.marks[4:]  # before it compiles and warms up
    return batch * per_call * (len(marks) - 1) / (marks[-1] - marks[0])


def pytorch(name: str, dtype: str, batch: int, per_call: int, seconds: float) -> float:
    """Return images/s of the same networks in PyTorch, eagerly."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def on_device(network):
        return network.to(device).to(memory_format=torch.channels_last)

    def adam(network, rate, beta_1):
        fused = device == "cuda"
        return torch.optim.Adam(network.parameters(), rate, (beta_1, 0.999), fused=fused)

    def half():
        return torch.autocast(device, torch.bfloat16, enabled=dtype != "float32")

    if name == "dcgan":
        up, down = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False)], []
        for width in (512, 256, 128):
            up += [nn.BatchNorm2d(width), nn.ReLU(True)]
            up += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
        up += [nn.BatchNorm2d(64), nn.ReLU(True), nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False)]
        down += [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for width in (128, 256, 512):
            down += [nn.Conv2d(width // 2, width, 4, 2, 1, bias=False)]
            down += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2, True)]
        down += [nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten()]
        g, d = on_device(nn.Sequential(*up, nn.Tanh())), on_device(nn.Sequential(*down))
        g_optimizer, d_optimizer = adam(g, 2e-4, 0.5), adam(d, 2e-4, 0.5)
        loss = nn.BCEWithLogitsLoss()
        one, zero = torch.ones(batch, 1, device=device), torch.zeros(batch, 1, device=device)

        def d_loss(real, fake):
            return loss(d(real).float(), one) + loss(d(fake).float(), zero)

        def g_loss(fake):
            return loss(d(fake).float(), one)

        def latents():
            return torch.randn(batch, 100, 1, 1, device=device)

        def adjust():
            pass
    else:
        width, latent = 128, 64

        class Decoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.dense = nn.Linear(latent, 64 * width)
                self.body = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(8))
                self.last = nn.Conv2d(width, 3, 3, 1, 1)

            def forward(self, x):
                x = self.dense(x).view(-1, width, 8, 8)
                x = x.contiguous(memory_format=torch.channels_last)
                for number, layer in enumerate(self.body):
                    x = functional.elu(layer(x))
                    if number in (1, 3, 5):
                        x = functional.interpolate(x, scale_factor=2)
                return self.last(x).float()

        parts, before = [nn.Conv2d(3, width, 3, 1, 1), nn.ELU()], width
        for number in range(1, 5):
            for _ in range(2):
                parts += [nn.Conv2d(before, number * width, 3, 1, 1), nn.ELU()]
                before = number * width
            if number < 4:
                parts += [nn.Conv2d(before, before, 3, 2, 1), nn.ELU()]
        encoder = nn.Sequential(*parts, nn.Flatten(), nn.Linear(before * 64, latent))
        g, d = on_device(Decoder()), on_device(nn.Sequential(encoder, Decoder()))
        g_optimizer, d_optimizer = adam(g, 1e-4, 0.9), adam(d, 1e-4, 0.9)
        k, seen = torch.zeros((), device=device), {}

        def g_loss(fake):
            return (fake - d(fake)).abs().mean()

        def d_loss(real, fake):
            seen["real"], seen["fake"] = g_loss(real), g_loss(fake)
            return seen["real"] - k * seen["fake"]

        def latents():
            return torch.rand(batch, latent, device=device) * 2 - 1

        @torch.no_grad()
        def adjust():
            k.add_(1e-3 * (0.5 * seen["real"] - seen["fake"])).clamp_(0, 1)

    def step(real):
        real = real.contiguous(memory_format=torch.channels_last)
        with half():
            fake = g(latents())
            loss = d_loss(real, fake.detach())
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()
        with half():
            loss = g_loss(fake)
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
        adjust()

    def finished():
        if device == "cuda":
            torch.cuda.synchronize()

    faces = torch.rand(16, batch, 3, 64, 64, device=device).mul(2).sub(1)
    for number in range(10):
        step(faces[number])
    finished()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            step(faces[steps % 16])
            steps += 1
        finished()
    return steps * batch / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["dcgan", "vae", "began"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--per-call", type=int, default=32, help="steps_per_execution")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--torch", action="store_true", help="PyTorch's DCGAN and BEGAN, too")
    parser.add_argument("--side", choices=["ours", "pytorch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run = {"ours": ours, "pytorch": pytorch}[options.side]
        (name,), (dtype,) = options.models, options.dtypes
        rate = run(name, dtype, options.batch, options.per_call, options.seconds)
        print(f"{options.side:8s} {name:8s} {dtype:14s} batch {options.batch}: {rate:.0f} images/s")
        return
    numbers = ("batch", "per_call", "seconds")
    rest = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in numbers]
    for name in options.models:
        for dtype in options.dtypes:
            for side in ("ours", "pytorch")[
                : 2 if options.torch and name in ("dcgan", "began") else 1
            ]:
                words = ["--side", side, "--models", name, "--dtypes", dtype, *rest]
                subprocess.run([sys.executable, __file__, *words], check=False)


if __name__ == "__main__":
    main()
