"""What the speed of training is measured against."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_faces as kf

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def torch_models(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module("torch_models")


@pytest.mark.parametrize("name", kf.list_models())
def test_pytorch_has_the_networks_of_each_model_and_trains_all_of_them(name, torch_models):
    ours = kf.create_model(name, image_size=32, channels=3)
    made = torch_models.Torch(image_size=32)
    step = torch_models.MODELS[name](made)
    theirs = [parameter for network in made.trained for parameter in network.parameters()]
    expected = sorted(math.prod(v.shape) for v in ours.trainable_variables)
    assert sorted(parameter.numel() for parameter in theirs) == expected
    before = [torch.cat([p.detach().ravel() for p in n.parameters()]) for n in made.trained]
    count = 2 * ours.batch_multiple
    faces = np.random.default_rng(0).uniform(-1, 1, (count, 3, 32, 32)).astype("float32")
    step(torch.tensor(faces))
    for network, values in zip(made.trained, before, strict=True):
        now = torch.cat([parameter.detach().ravel() for parameter in network.parameters()])
        assert not torch.equal(now, values)
