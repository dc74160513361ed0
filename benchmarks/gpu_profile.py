"""Where the time of a training step goes, on JAX and a GPU.

    python benchmarks/gpu_profile.py --models dcgan began

Some calls of `fit` are traced with JAX's profiler; the kernels that ran on the GPU are grouped by
what their names say: convolutions and matrix multiplications, fused elementwise operations,
reductions (batch statistics, sums of gradients), copies and changes of layout, and others. What is
left of the time from the first kernel to the last is idle. Operations are not deterministic here,
unlike those of `keras-faces train`.
"""

import argparse
import collections
import contextlib
import gzip
import json
import os
import re
import tempfile
from pathlib import Path

from training_speed import WARM_UP, ours

# The first that matches says what a kernel does.
KINDS = {
    "convolutions, products": r"cutlass|xmma|gemm|nvjet|implicit|wgrad|dgrad|fprop",
    "copies, layouts": r"transpose|copy|memcpy|memset|nchw|convert|pad",
    "reductions": r"reduce",
    "elementwise": r"fusion",
}
CALLS = 3  # traced


class Done(Exception):
    """The trace is written."""


def kernels(folder: Path) -> tuple[collections.Counter, float]:
    """Return the microseconds of each kernel on the GPU, and from the first to the last."""
    (file,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    devices, lines = set(), {}
    for event in events:
        if event.get("ph") == "M" and event["name"] == "process_name":
            if "/device:GPU" in event["args"]["name"]:
                devices.add(event["pid"])
        elif event.get("ph") == "M" and event["name"] == "thread_name":
            lines[event["pid"], event.get("tid")] = event["args"]["name"]
    found, first, last = collections.Counter(), float("inf"), 0.0
    for event in events:
        if event.get("ph") != "X" or event["pid"] not in devices:
            continue
        if not lines.get((event["pid"], event["tid"]), "").startswith("Stream"):
            continue
        found[event["name"]] += event["dur"]
        first, last = min(first, event["ts"]), max(last, event["ts"] + event["dur"])
    return found, max(last - first, 0.0)


def kind(name: str) -> str:
    for found, pattern in KINDS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return found
    return "other"


def profile(name: str, dtype: str, batch: int, per_call: int, keep: Path | None) -> None:
    """Print where the time of a model's step goes."""
    import jax

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(keep or scratch) / f"{name}-{dtype}"
        calls = 0

        def pause(count):
            nonlocal calls
            calls += 1
            if calls == WARM_UP:
                jax.profiler.start_trace(str(folder))
            elif calls == WARM_UP + CALLS:
                jax.profiler.stop_trace()
                raise Done

        with contextlib.suppress(Done):
            ours(name, dtype, batch, per_call, False, pause)
        found, whole = kernels(folder)
    if not found:
        raise SystemExit("Nothing ran on a GPU. Is there one, and a JAX for it?")
    times = collections.Counter()
    for kernel, spent in found.items():
        times[kind(kernel)] += spent
    steps = CALLS * per_call
    print(f"\n{name} {dtype}, batch {batch}: {whole / steps / 1e3:.3f} ms a step")
    for what, spent in [*times.most_common(), ("idle", max(whole - sum(times.values()), 0))]:
        print(f"  {what:25} {spent / whole:6.1%}")
    for kernel, spent in found.most_common(12):
        print(f"    {spent / whole:6.1%} {kernel[:100]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["dcgan"], metavar="MODEL")
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--per-call", type=int, default=32)
    parser.add_argument("--keep", type=Path, help="folder for the traces")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    for name in options.models:
        for dtype in options.dtypes:
            batch = options.batch * (5 if name == "wgan" else 1)
            profile(name, dtype, batch, options.per_call, options.keep)


if __name__ == "__main__":
    main()
