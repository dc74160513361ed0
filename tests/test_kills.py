"""Killed at any moment, a command that is given again ends as if it had never been killed.

Trainings are killed in test_runs.py. Here every moment at which a file is flushed or gets its name
is one to be killed at, and others are chosen by the clock: TensorFlow writes files of its own.
"""

import fnmatch
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from keras_faces.process import python

# Where what is written lies, in a command.
PLACE = "PLACE"
TRAIN = "train vae --image-size 32 --filters 2 --latent-dim 2 --batch-size 100 --steps 4 --count 0"
REPORT = f"""
from keras_faces.reports import REPORTS, reproduce
from keras_faces.reports.schema import Column, Part, Report
column = Column("sharpness", "laplacian_variance")
REPORTS["mine"] = Report("t", "d", "s", [Part("GAN", "zhang-dcgan")], [column], [])
tiny = dict(steps=4, batch_size=100, filters=2, image_size=32, score_every=1)
reproduce("mine", count=20, out="{PLACE}/report", runs="{PLACE}/runs", **tiny)
"""
# Every Python imports it at its start. Whoever is killed takes the processes it has started along.
KILLER = """
import atexit, os, signal

count, at = 0, int(os.environ["KILL_AT"])

def counted(function):
    def counting(*arguments, **keywords):
        global count
        count += 1
        if count == at:
            os.killpg(0, signal.SIGKILL)
        return function(*arguments, **keywords)
    return counting

for name in ("fsync", "rename", "replace"):
    setattr(os, name, counted(getattr(os, name)))
atexit.register(lambda: open(os.environ["KILL_COUNT"], "w").write(str(count)))
"""


class Command(NamedTuple):
    """A command that is killed.

    Attributes:
        words: What stands behind `python`.
        differ: Patterns of the files that are others each time, such as those that hold times.
        tell: Callable of a folder that returns what must be the same of those.
    """

    words: list[str]
    differ: tuple[str, ...] = ()
    tell: Callable[[Path], object] = lambda folder: None


def _values(folder: Path) -> list:
    rows = json.loads((folder / "report" / "results.json").read_text())["rows"]
    return [row["values"] for row in rows]


def faces(*words: str) -> list[str]:
    return ["-m", "keras_faces.cli", *words]


COMMANDS = {
    "data prepare": Command(faces("data", "prepare", "orl", "--image-size", "32")),
    "evaluate": Command(faces("evaluate", "RUN", "--count", "30", "--out", f"{PLACE}/scores.json")),
    "export": Command(faces("export", "RUN", "--out", f"{PLACE}/out"), ("out/*",)),
    "export to the web": Command(
        faces("export", "RUN", "--format", "web", "--out", f"{PLACE}/out"), ("out/*",)
    ),
    "reproduce": Command(
        ["-c", REPORT],
        ("*.keras", "*/config.json", "*.npz", "*/saved_model/*", "report/*", "*/tensorboard/*"),
        _values,
    ),
}


class Attempts:
    """Attempts of one command, each in a folder of its own with a cache of its own."""

    def __init__(self, command: Command, home: Path, run: Path | None = None):
        self.command, self.home, self.run = command, home, run
        (home / "sitecustomize.py").write_text(KILLER)

    def start(self, name: str, at: int = 0) -> subprocess.Popen:
        place = self.home / name
        place.mkdir(exist_ok=True)
        words = [word.replace(PLACE, str(place)) for word in self.command.words]
        given = python(*(str(self.run) if word == "RUN" else word for word in words))
        given["env"] |= {
            "KERAS_FACES_CACHE": str(place / "cache"),
            "KILL_AT": str(at),
            "KILL_COUNT": str(self.home / "count"),
            "PYTHONPATH": f"{self.home}{os.pathsep}{given['env']['PYTHONPATH']}",
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(**given, **pipes, start_new_session=True)

    def finish(self, name: str) -> tuple[int, float]:
        """Run to the end; return how often it wrote, and the seconds it took."""
        begin = time.monotonic()
        process = self.start(name)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert "Traceback" not in output
        return int((self.home / "count").read_text()), time.monotonic() - begin

    def kill(self, name: str, at: int) -> None:
        """Kill it as it writes for the time `at`."""
        process = self.start(name, at)
        output, _ = process.communicate(timeout=600)
        assert process.returncode in (-signal.SIGKILL, 0), output  # 0: it wrote less often

    def kill_after(self, name: str, seconds: float) -> None:
        process = self.start(name)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def left(self, name: str) -> dict[str, str]:
        """Return the files that there are: a digest of each, or nothing where it may differ."""
        place = self.home / name
        found = {}
        for path in place.rglob("*"):
            within = str(path.relative_to(place))
            varies = any(fnmatch.fnmatchcase(within, p) for p in self.command.differ)
            if path.is_file() and "tfevents" not in path.name:  # one for each process
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[within] = "" if varies else digest
        return found


def check(attempts: Attempts, kills: int, by_the_clock: int = 0) -> None:
    writes, seconds = attempts.finish("unbroken")
    expected = attempts.left("unbroken"), attempts.command.tell(attempts.home / "unbroken")
    chance = random.Random()
    moments = chance.sample(range(1, writes + 1), min(kills, writes))
    clock = [chance.uniform(0.3, 1.0) * seconds for _ in range(by_the_clock)]
    for number, moment in enumerate([*moments, *clock]):
        name = f"killed-{number}"
        if isinstance(moment, int):
            attempts.kill(name, moment)
        else:
            attempts.kill_after(name, moment)
        attempts.finish(name)
        found = attempts.left(name), attempts.command.tell(attempts.home / name)
        assert found == expected, f"killed at {moment} of {writes} writes or {seconds:.1f} s"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    Attempts(Command(faces(*TRAIN.split(), "--run", PLACE)), home).finish("run")
    return home / "run"


def test_a_killed_data_prepare_is_finished_by_the_next_and_leaves_nothing_behind(tmp_path):
    check(Attempts(COMMANDS["data prepare"], tmp_path), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_is_finished_by_the_next_and_leaves_nothing_behind(name, run, tmp_path):
    check(Attempts(COMMANDS[name], tmp_path, run), 4, by_the_clock=1)
