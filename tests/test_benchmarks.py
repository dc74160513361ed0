"""What the speed of training is measured against, and where its time goes."""

import gzip
import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_faces as kf

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


@pytest.fixture
def torch_models(benchmark):
    pytest.importorskip("torch")
    return benchmark("torch_models")


@pytest.mark.parametrize("name", kf.list_models())
def test_pytorch_has_the_networks_of_each_model_and_trains_all_of_them(name, torch_models):
    ours = kf.create_model(name, image_size=32, channels=3)
    made = torch_models.Torch(image_size=32)
    step = torch_models.MODELS[name](made)
    theirs = [parameter for network in made.trained for parameter in network.parameters()]
    expected = sorted(math.prod(v.shape) for v in ours.trainable_variables)
    assert sorted(parameter.numel() for parameter in theirs) == expected
    torch = torch_models.torch
    before = [torch.cat([p.detach().ravel() for p in n.parameters()]) for n in made.trained]
    count = 2 * ours.batch_multiple
    faces = np.random.default_rng(0).uniform(-1, 1, (count, 3, 32, 32)).astype("float32")
    step(torch.tensor(faces))
    for network, values in zip(made.trained, before, strict=True):
        now = torch.cat([parameter.detach().ravel() for parameter in network.parameters()])
        assert not torch.equal(now, values)


def test_a_trace_s_kernels_are_counted_by_what_they_do(benchmark, tmp_path):
    gpu_profile = benchmark("gpu_profile")
    events = [
        {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
        for pid, name in ((1, "/device:GPU:0"), (2, "/host:CPU"))
    ]
    for pid in (1, 2):
        for tid, name in ((5, "Stream #5(Compute)"), (9, "XLA Ops")):
            told = {"pid": pid, "tid": tid, "args": {"name": name}}
            events.append({"ph": "M", "name": "thread_name", **told})
    for pid, tid, name, start, length in (
        (1, 5, "sm90_xmma_dgrad_implicit_gemm_nhwckrsc_nhwc", 10, 50),
        (1, 5, "nchwToNhwcKernel", 60, 10),
        (1, 5, "input_multiply_reduce_fusion", 80, 20),
        (1, 5, "loop_add_fusion", 100, 10),
        (1, 9, "loop_add_fusion", 0, 1000),  # the same, told a second time
        (2, 5, "TfrtCpuExecutable::Execute", 0, 1000),
    ):
        told = {"name": name, "ts": start, "dur": length}
        events.append({"ph": "X", "pid": pid, "tid": tid, **told})
    (tmp_path / "vm.trace.json.gz").write_bytes(
        gzip.compress(json.dumps({"traceEvents": events}).encode())
    )
    found, whole = gpu_profile.kernels(tmp_path)
    assert whole == 100 and sum(found.values()) == 90
    kinds = ["convolutions, products", "copies, layouts", "reductions", "elementwise"]
    assert [gpu_profile.kind(name) for name in found] == kinds
