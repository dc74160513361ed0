"""The demo's promise, checked by the demo's own command. Takes minutes: make test-slow."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"


@pytest.mark.slow
def test_the_demos_model_draws_faces_that_are_found_and_differ(tmp_path):
    recipe = MAKEFILE.read_text().replace("\\\n", " ")
    words = re.search(r"keras-faces (train .*)", recipe)[1].split()
    run = tmp_path / "demo"
    subprocess.run([sys.executable, "-m", "keras_faces.cli", *words, "--run", run], check=True)
    rows = json.loads((run / "scores.json").read_text())["rows"]
    scores = {row: {n: record["value"] for n, record in rows[row].items()} for row in rows}
    assert scores["real"]["face_detection_rate"] == pytest.approx(381 / 400)
    assert scores["fitted"]["face_detection_rate"] >= 0.9
    assert scores["fitted"]["distinct_nearest"] >= 150
    assert scores["fitted"]["mean_pair_difference"] > 30
