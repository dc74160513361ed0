"""Damaged and crafted files of a run: the same result or a `UserError` of one line, never else."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.checkpoints import read_latest, save_checkpoint
from keras_faces.runs import CsvLog, Run
from keras_faces.schema import as_json

SMALL = {"image_size": 32, "channels": 1, "filters": 2, "hidden_units": 4, "latent_dim": 2}
many = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def small_model(**given):
    model = kf.create_model("autoencoder", **{**SMALL, **given})
    model.compile()
    return model


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of two epochs, with two checkpoints and scores."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    given = {"batch_size": 100, "epochs": 3, "checkpoint_seconds": 1e-6, "count": 4}
    given |= {"score_every": 1, "scores": ["laplacian_variance"], "best": "laplacian_variance"}
    kf.train("autoencoder", run=folder, print_fn=str, **given, **SMALL)
    return folder


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def one_line(function, *arguments, **named):
    """Return what a function returns, or the one line of its `UserError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **named)
    except kf.UserError as error:
        assert "\n" not in str(error)
        return str(error)


def damaged(data: bytes, draw) -> bytes:
    """Flip a bit, cut, or put bytes in."""
    place = draw(st.integers(0, len(data) - 1))
    kind = draw(st.sampled_from(["flip", "flip", "flip", "cut", "insert"]))
    if kind == "flip":
        flipped = data[place] ^ 1 << draw(st.integers(0, 7))
        return data[:place] + bytes([flipped]) + data[place + 1 :]
    if kind == "cut":
        return data[:place]
    return data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]


# Checkpoints.


@pytest.fixture
def saved(tmp_path, model) -> Path:
    """A folder with checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save_checkpoint(tmp_path / "saved", model, {"step": step})
    return tmp_path / "saved"


@many
@given(data=st.data())
def test_whatever_is_damaged_of_a_checkpoint_the_one_before_serves(saved, model, data):
    last = saved / "step-000000002.npz"
    whole = last.read_bytes()
    last.write_bytes(damaged(whole, data.draw))
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            position, arrays = read_latest(saved, model)
    finally:
        last.write_bytes(whole)
    expected = read_latest(saved, model)[1]
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    passed_over = [str(w.message) for w in told if f"{last.name} is damaged" in str(w.message)]
    assert position["step"] == (1 if passed_over else 2)


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([print], object), allow_pickle=True)
    return file.getvalue()


def header(**given) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(json.dumps({"format": 1, "model": "Autoencoder", "step": 2, **given})))
    return file.getvalue()


def as_npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


CRAFTED = {
    "an object": {"model/0001.npy": pickled()},
    "a pickled header": {"header.npy": pickled()},
    "terabytes": {"model/0001.npy": npy("'<f4'", "(10000000000000,)")},
    "terabytes of nothing": {"model/0001.npy": npy("'|V0'", "(10000000000000,)")},
    "negative": {"model/0001.npy": npy("'<f4'", "(-1, -1)", bytes(4))},
    "nested": {"model/0001.npy": npy("'<f4'", "(" * 4000)},
    "a program": {"model/0001.npy": npy("'<f4'", "__import__('os').abort()")},
    "a structure": {"model/0001.npy": npy("[('a', '<f4')]", "(1,)", bytes(4))},
    "another shape": {"model/0001.npy": as_npy(np.zeros((1, 2, 3), np.float32))},
    "another type": {"model/0001.npy": as_npy(np.zeros((3, 3, 1, 2)))},
    "no number": {"model/0001.npy": as_npy(np.full((3, 3, 1, 2), np.nan, np.float32))},
    "empty": {"model/0001.npy": b""},
    "another name": {"model/0001.npy": None, "model/9001.npy": as_npy(np.float32(0))},
    "one more": {"model/../../evil.npy": as_npy(np.float32(0))},
    "one less": {"model/0001.npy": None},
    "no header": {"header.npy": None},
    "another step": {"header.npy": header(step=7)},
    "a step that is none": {"header.npy": header(step="2")},
    "a step of a list": {"header.npy": header(step=[2])},
    "seconds that are none": {"header.npy": header(seconds=float("nan"))},
    "a header that is a list": {"header.npy": as_npy(np.array("[1, 2]"))},
    "a header that nests": {"header.npy": as_npy(np.array("[" * 100_000))},
    "a header that is a number": {"header.npy": as_npy(np.array(3.0))},
}


def crafted(whole: bytes, changes: dict, compression=zipfile.ZIP_STORED, twice=None) -> bytes:
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        members = {name: file.read(name) for name in file.namelist()} | changes
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in [*members.items(), *([(twice, b"")] if twice else [])]:
            if content is not None:
                file.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize("what", [*CRAFTED, "compressed", "twice"])
def test_a_crafted_checkpoint_is_passed_over_and_takes_no_memory(saved, model, what):
    last = saved / "step-000000002.npz"
    given = {"changes": CRAFTED.get(what, {})}
    given |= {"compression": zipfile.ZIP_DEFLATED} if what == "compressed" else {}
    given |= {"twice": "model/0001.npy"} if what == "twice" else {}
    last.write_bytes(crafted(last.read_bytes(), **given))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged \(.+\); using the one before"):
        position, _ = read_latest(saved, model)
    assert position["step"] == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_checkpoints_of_another_model_are_refused_and_not_called_damaged(saved, tmp_path):
    with pytest.raises(kf.UserError, match=r"does not fit this Autoencoder.*hyper-parameters"):
        read_latest(saved, small_model(filters=3))


# What is JSON.


def replaced(content, draw):
    """Return a JSON value with something within it replaced, or gone."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    )
    if not isinstance(content, (dict, list)) or not content or draw(st.integers(0, 3)) == 0:
        return draw(values)
    names = list(content) if isinstance(content, dict) else range(len(content))
    name = draw(st.sampled_from(list(names)))
    content = content.copy()
    if draw(st.integers(0, 9)) == 0:
        del content[name]
    else:
        content[name] = replaced(content[name], draw)
    return content


READERS = {
    "config.json": lambda run: run.config(),
    "best.json": lambda run: run.best_score(),
    "scores.json": lambda run: kf.metrics.tables.read_scores(run.scores_path),
}


@pytest.mark.parametrize("name", READERS)
@many
@given(data=st.data())
def test_any_changed_byte_of_a_json_file_is_found(run, tmp_path, name, data):
    copy = tmp_path / "copy"
    copy.mkdir(exist_ok=True)
    whole = (run / name).read_bytes()
    (copy / name).write_bytes(damaged(whole, data.draw))
    found = one_line(READERS[name], Run(copy))
    assert found == READERS[name](Run(run)) or name in found


@pytest.mark.parametrize("name", READERS)
@many
@given(data=st.data())
def test_json_of_another_form_is_told_with_the_field(run, tmp_path, name, data):
    copy = tmp_path / "copy"
    copy.mkdir(exist_ok=True)
    content = json.loads((run / name).read_text())
    del content["sha256"]
    (copy / name).write_text(json.dumps(replaced(content, data.draw)))
    found = one_line(READERS[name], Run(copy))
    assert isinstance(found, dict) or name in found


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("steps_per_epoch", "4", 'steps_per_epoch must be a whole number, not "4"'),
        ("data.image_size", 10**6, "data.image_size must be one of 32, 64, 128, not 1000000"),
        ("data.source", ["orl"], "data.source must be text"),
        ("data", 3, "data must be an object"),
        ("seed", -1, "seed must be a whole number from 0"),
        ("scoring.best", {}, "scoring.best must be text or a list"),
        ("scoring.else", "a", "scoring.else must be one of 'scores', 'best'"),
        ("hyperparameters.filters", [2], "hyperparameters.filters must be"),
        ("hyperparameters.filters", 2.5, "filters must be a whole number, not 2.5"),
        ("hyperparameters.filters", 0, "filters must be 1 or more"),
        ("hyperparameters.else", 0, "no hyper-parameter of 'autoencoder' named 'else'"),
        ("hyperparameters.hidden_units", 10**10, "hidden_units=10000000000 (usually 512)"),
        ("hyperparameters.filters", 100_000, "larger than the memory"),
        ("hyperparameters.latent_dim", 10**12, "larger than the memory"),
        ("model", "painter", "no model named 'painter'"),
        ("optimizer.config", [], "config.json"),
        ("optimizer.config.optimizers", {}, "config.json"),
        ("versions", {}, "versions.backend is missing"),
    ],
)
def test_a_config_that_no_run_can_have_is_refused_by_all_that_read_it(copy, field, value, told):
    config = json.loads((copy / "config.json").read_text())
    del config["sha256"]
    *outer, last = field.split(".")
    within = config
    for name in outer:
        within = within[name]
    within[last] = value
    (copy / "config.json").write_text(as_json(config))
    (copy / "model.keras").unlink()  # so that the model is built from the config
    for use in (kf.load_model, kf.resume):
        assert told in one_line(use, copy), use


def test_a_config_that_does_not_say_how_long_to_train_is_not_resumed(copy):
    for name in ("epochs", "steps_per_epoch"):
        config = Run(copy).config()
        Run(copy).write_config({**config, name: None})
        assert "one of epochs, steps and minutes" in one_line(kf.resume, copy)
        Run(copy).write_config(config)


def test_flags_and_arguments_that_ask_for_more_than_the_memory_are_refused_at_once(tmp_path):
    for name, size in (("hidden_units", 10_000_000), ("latent_dim", 10**9), ("filters", 10**5)):
        with pytest.raises(kf.UserError, match=f"larger than the memory.*{name}={size}"):
            kf.create_model("vae", **{"image_size": 32, name: size})
    with pytest.raises(kf.UserError, match="larger than the memory"):
        kf.train("cyclegan", run=tmp_path / "run", image_size=32, pool_size=10**8)
    assert not (tmp_path / "run").exists()


def test_counting_what_a_model_needs_changes_nothing_of_it(monkeypatch):
    large = {"hidden_units": 4 * 512 + 1, "ema": 0.9}
    counted = small_model(**large).get_weights()
    with monkeypatch.context() as patch:
        patch.setattr("keras_faces.training.construction.require_memory", lambda *room: None)
        expected = small_model(**large).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(counted, expected, strict=True))


# What is a table.


@many
@given(data=st.data())
def test_any_changed_byte_of_a_table_is_found_or_cuts_the_last_row(tmp_path, data):
    rows = CsvLog(tmp_path / "metrics.csv")
    rows.path.unlink(missing_ok=True)
    for epoch in (1, 2, 3):
        rows.add({"epoch": epoch, "step": 9 * epoch, "vae_loss": 0.5 / epoch, "k": float("nan")})
    whole = rows.path.read_bytes()
    expected = repr(rows.rows())
    change = damaged(whole, data.draw)
    rows.path.write_bytes(change)
    found = one_line(rows.rows)
    if isinstance(found, str):
        assert found.startswith(f"{rows.path} is damaged (")
    elif whole.startswith(change):  # as a crash leaves it
        assert repr(found) == repr([r for r in eval(expected, {"nan": float("nan")})][: len(found)])
    else:
        assert repr(found) == expected


@pytest.mark.parametrize(
    "content, told",
    [
        (b"epoch,vae_loss\n1,2\n", "without step"),
        (b"epoch,step,step\n1,2,3\n", "each once"),
        (b"epoch,step,a\n1,2,\x00\n", "line 2: a must be a number"),
        (b"epoch,step,a\n1,2,b\xe4\n", "utf-8"),
        (b"epoch,step,a\n1,2.5,3\n", "step must be a whole number"),
        (b"epoch,step,a\n1,2\n", "line 2 has 2 values for 3 columns"),
        (b"epoch,step,a\n1,2,1_0\n", "line 2: a must be a number"),
    ],
)
def test_a_damaged_table_is_refused_by_resume_which_says_what_to_do(copy, content, told):
    (copy / "metrics.csv").write_bytes(content)
    found = one_line(kf.resume, copy, print_fn=str)
    assert told in found and "metrics.csv" in found and "delete it" in found


def test_tables_of_earlier_versions_are_read_and_go_on(tmp_path):
    rows = CsvLog(tmp_path / "metrics.csv")
    rows.path.write_text("epoch,step,a\n1,2,0.5\n2,4,0.2")  # the last one was cut
    assert rows.rows() == [{"epoch": 1, "step": 2, "a": 0.5}]
    rows.write(rows.rows())
    rows.add({"epoch": 2, "step": 4, "a": 0.25})
    assert [row["a"] for row in rows.rows()] == [0.5, 0.25]


# A folder that is lost, or closed.


class At(keras.callbacks.Callback):
    """Does something at the end of a batch of the first epoch."""

    def __init__(self, do):
        super().__init__()
        self.do = do

    def on_train_batch_end(self, batch, logs=None):
        if self.do:
            self.do()
            self.do = None


LOSSES = {
    "deleted": (shutil.rmtree, "it was deleted"),
    "replaced": (lambda f: (shutil.rmtree(f), f.write_text("")), "it is no folder any more"),
    "emptied": (lambda f: (shutil.rmtree(f), f.mkdir()), "its config.json is gone"),
    "another's": (lambda f: (f / "config.json").write_text("{}"), "its config.json is another's"),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_run_folder_that_is_lost_while_it_trains_ends_in_an_error(tmp_path, how):
    lose, told = LOSSES[how]
    folder = tmp_path / "run"
    faces = kf.data.load("orl", image_size=32, channels=1, batch_size=200, split="all")
    callbacks = [*kf.callbacks.standard(folder), At(lambda: lose(folder))]
    with pytest.raises(kf.UserError, match=f"{told}.*learnt up to step.*train anew"):
        small_model().fit(faces, epochs=2, callbacks=callbacks, verbose=0)


def test_a_run_folder_that_is_deleted_at_the_very_end_is_not_said_to_be_done(tmp_path):
    folder, told = tmp_path / "run", []

    def say(line):
        told.append(line)
        if line.startswith("Scoring"):
            shutil.rmtree(folder)

    given = {"batch_size": 100, "steps": 2, "print_fn": say, **SMALL}
    with pytest.raises(kf.UserError, match=r"is lost.*the finished model cannot be kept"):
        kf.train("autoencoder", run=folder, count=4, **given)
    assert not any("Done" in line for line in told)


@pytest.mark.parametrize(
    "number, told, file",
    [
        (28, "No space left", "metrics.csv"),
        (30, "Read-only", "losses.png"),
        (28, "No space left", "step-"),
    ],
)
def test_a_disk_that_is_full_or_closed_ends_training_in_a_line(
    tmp_path, monkeypatch, number, told, file
):
    rename = Path.replace

    def full(path, target):
        if Path(target).name.startswith(file):
            raise OSError(number, os.strerror(number), str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", full)
    given = {"batch_size": 100, "steps": 4, "print_fn": str, **SMALL}
    with pytest.raises(kf.UserError, match=told) as error:
        kf.train("autoencoder", run=tmp_path / "run", count=0, **given)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run").rglob(".*.part*"))


def test_the_command_says_that_its_run_folder_was_deleted_and_fails(tmp_path):
    folder = tmp_path / "run"
    words = "train autoencoder --image-size 32 --filters 2 --hidden-units 4 --batch-size 40"
    words += f" --count 0 --steps 100000 --run {folder}"
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_faces.cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("metrics.csv")) and process.poll() is None:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "is lost: " in errors and "Traceback" not in errors


# Exports.

FULL = f"""
import resource, signal, sys
import keras_faces as kf
from keras_faces.export import FORMATS, write
model = kf.create_model("autoencoder", **{SMALL | {"filters": 8}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # Python takes half a file for a whole one, and others would read it
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for format in FORMATS:
    try:
        write(model, "there/" + format, format)
    except kf.UserError as error:
        print(format, "told:", error)
"""


def test_a_disk_that_is_full_while_exporting_ends_in_a_line_and_leaves_nothing(tmp_path):
    (tmp_path / "there").mkdir()
    home = os.fspath(Path(kf.__file__).parents[1])
    environment = {**os.environ, "TMPDIR": os.fspath(tmp_path), "PYTHONPATH": home}
    words = [sys.executable, "-c", FULL]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if "told:" in line]
    assert [line.split()[0] for line in lines] == list(kf.export.FORMATS), done.stderr
    assert all("Cannot write" in line or "nstall" in line for line in lines), lines
    assert not list((tmp_path / "there").iterdir())


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_export_left_goes_with_the_next_one_and_with_resume(copy, tmp_path, model):
    dead, out = ended_process(), tmp_path / "out"
    for folder, name in ((tmp_path, "out"), (tmp_path, "other"), (copy, "saved_model")):
        (folder / f".{name}.{dead}.part" / "variables").mkdir(parents=True)
    alive = tmp_path / f".out.{os.getppid()}.part"
    alive.mkdir()
    kf.export.write(model, out, "keras")
    left = sorted(path.name for path in tmp_path.glob(".*"))
    assert left == sorted([f".other.{dead}.part", alive.name])
    kf.resume(copy, print_fn=str)
    assert not list(copy.glob(".*.part"))


def test_an_export_that_a_kill_took_away_is_put_back(tmp_path, model):
    out = tmp_path / "out"
    kf.export.write(model, out, "keras")
    out.rename(tmp_path / f".out.{ended_process()}.old")  # killed before the new one took its place
    kf.files.remove_parts(tmp_path, "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert kf.load_model(out)
