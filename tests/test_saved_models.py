"""The models that come with the clone: each loads, makes what it made, and says what it is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import keras_faces as kf
from keras_faces.cli import main

FOLDER = Path(__file__).parent.parent / "saved_models"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
EVERY_MODEL = pytest.mark.parametrize("name", NAMES)
ALLOWED = 20e6  # bytes, of all together


def test_there_is_one_of_each_kind_and_together_they_are_small():
    kinds = {json.loads((FOLDER / name / "config.json").read_text())["model"] for name in NAMES}
    assert kinds == set(kf.list_models())
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < ALLOWED


@EVERY_MODEL
def test_it_makes_faces_as_good_as_its_card_says(name):
    model = kf.load_model(FOLDER / name)
    told = json.loads((FOLDER / name / "scores.json").read_text())["rows"][model.default_sampler]
    count = 200
    stream = kf.data.open_faces(
        "orl", image_size=model.image_size, batch_size=1, channels=model.channels, split="all"
    )
    faces = model.samples(count, 1, model.default_sampler, stream)
    assert faces.shape == (count, model.image_size, model.image_size, model.channels)
    told = told["face_detection_rate"]
    # Five standard errors of both: with another seed, and on another processor.
    spread = np.hypot(told["std"], np.sqrt(told["value"] * (1 - told["value"]) / count))
    assert abs(kf.metrics.face_detection_rate(faces) - told["value"]) < 5 * spread


@EVERY_MODEL
def test_its_card_tells_data_command_and_scores(name):
    card = (FOLDER / name / "README.md").read_text()
    config = json.loads((FOLDER / name / "config.json").read_text())
    assert f"keras-faces train {config['model']} --recipe {config['recipe']}" in card
    for word in ("400 pictures of `orl`", "AT&T", "face detection rate", "consented"):
        assert word in card


@EVERY_MODEL
def test_it_is_found_by_its_name_from_anywhere(name, orl_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.startswith("cyclegan"):
        words = ["translate", name, str(orl_path / "s1" / "1.pgm")]
    else:
        words = ["generate", f"saved_models/{name}", "--count", "4", "--columns", "4"]
    assert main([*words, "--out", "made.png"]) == 0
    assert os.listdir(tmp_path) == ["made.png"]
