"""Runs: what a folder holds, and that nothing is lost however training ends."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces import session
from keras_faces.checkpoints import list_checkpoints, read_latest, save_checkpoint
from keras_faces.cli import main
from keras_faces.errors import Interrupted
from keras_faces.plan import plan_of
from keras_faces.runs import CsvLog, Run

TRAIN = "train vae --image-size 32 --filters 4 --batch-size 40 --steps 40 --ema 0.9 --count 0 "
TRAIN += "--schedule cosine --decay-steps 40 --checkpoint-seconds 0.2 --grid-every 1 "
TRAIN += "--steps-per-execution 5"  # of 9 an epoch: the rests are smaller calls


def command(*words, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", "keras_faces.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for(condition, process):
    for _ in range(6000):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    code, output = finish(command(*TRAIN.split(), "--run", str(folder)))
    assert code == 0, output
    return folder


def assert_same_run(first, second):
    """Compare everything but times: weights, optimizers, seeds, metrics and pictures."""
    (position, arrays), (other_position, other_arrays) = (
        read_latest(Run(folder).checkpoints) for folder in (first, second)
    )
    assert {**position, "seconds": 0} == {**other_position, "seconds": 0}
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, other_arrays[name]), name
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    pictures = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert pictures == sorted(path.relative_to(second) for path in second.rglob("*.png"))
    for picture in pictures:
        if picture.name != "losses.png":  # its title is the folder's name
            assert (first / picture).read_bytes() == (second / picture).read_bytes(), picture


def test_a_finished_run_holds_what_repeats_and_uses_it(unbroken):
    config = json.loads((unbroken / "config.json").read_text())
    assert config["model"] == "vae"
    assert config["hyperparameters"]["filters"] == 4
    assert config["data"]["source"] == "orl"
    assert config["data"]["crop"] == "center"
    assert len(config["data"]["fingerprint"]) == 64
    assert config["seed"] == 0
    assert config["steps"] == 40
    assert {"python", "keras", "numpy", "backend", "keras-faces"} <= set(config["versions"])
    assert "train" in config["command"]
    rows = Run(unbroken).rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows] == [9, 18, 27, 36, 40]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert rows[-1]["vae_loss"] < rows[0]["vae_loss"]
    for name in ("model.keras", "losses.png", "samples-prior.png", "samples-fitted.png"):
        assert (unbroken / name).stat().st_size > 0
    assert (unbroken / "saved_model" / "saved_model.pb").is_file()
    assert list((unbroken / "tensorboard").iterdir())
    assert len(list((unbroken / "grids").glob("samples-step-*.png"))) == 5
    assert list_checkpoints(unbroken / "checkpoints")[-1].name == "step-000000040.npz"
    assert not list(unbroken.rglob("*.part*"))


def test_the_learning_rate_of_every_epoch_is_recorded(unbroken):
    rows = Run(unbroken).rows()
    for row in rows:
        expected = 1e-3 * 0.5 * (1 + np.cos(np.pi * row["step"] / 40))
        assert row["vae_learning_rate"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_a_random_moment_a_run_resumes_to_the_same_end(unbroken, tmp_path, number):
    folder = tmp_path / "killed"
    moment = random.Random()
    words = TRAIN.split()
    for attempt in range(2 if number == signal.SIGKILL else 1):
        process = command(
            *(words if not attempt else ["resume"]),
            *(["--run", str(folder)] if not attempt else [str(folder)]),
        )
        before = list_checkpoints(folder / "checkpoints")
        wait_for(lambda before=before: list_checkpoints(folder / "checkpoints") != before, process)
        time.sleep(moment.uniform(0, 0.5))
        process.send_signal(number)
        code, output = finish(process)
        if code == 0 or (code == -number and "Try next" in output):
            break  # it was quicker than the signal, which met Python on its way out
        if number != signal.SIGKILL:
            assert code == 128 + number, output
            assert f"keras-faces resume {folder}" in output
    code, output = finish(command("resume", str(folder)))
    assert code == 0, output
    assert_same_run(unbroken, folder)


def test_resuming_a_finished_run_changes_nothing(unbroken, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    code, output = finish(command("resume", str(copy)))
    assert code == 0, output
    assert_same_run(unbroken, copy)


def test_a_checkpoint_cut_in_half_is_passed_over_for_the_one_before(unbroken, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    older, last = list_checkpoints(copy / "checkpoints")
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    code, output = finish(command("resume", str(copy)))
    assert code == 0, output
    assert f"{last.name} is damaged" in output
    assert f"from step {int(older.stem.split('-')[1])}" in output
    assert_same_run(unbroken, copy)


def test_a_run_without_any_whole_checkpoint_begins_anew_only_if_they_are_deleted(
    unbroken, tmp_path
):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    for path in list_checkpoints(copy / "checkpoints"):
        path.write_bytes(path.read_bytes()[:100])
    (copy / "model.keras").unlink()
    for use in (kf.load_model, kf.resume):
        with pytest.raises(kf.UserError, match=r"no whole checkpoint.*delete that folder"):
            use(copy)
    shutil.rmtree(copy / "checkpoints")
    code, output = finish(command("resume", str(copy)))
    assert code == 0, output
    assert_same_run(unbroken, copy)


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    folder = tmp_path / "run"
    endless = TRAIN.replace("--steps 40", "--steps 1000000").split()
    first = command(*endless, "--run", str(folder))
    wait_for(lambda: (folder / "config.json").is_file(), first)
    for words in ((*TRAIN.split(), "--run"), ("resume",)):
        code, output = finish(command(*words, str(folder)))
        assert code == 2, output
        assert "Another process is training" in output
        assert "Traceback" not in output
    first.kill()
    finish(first)
    Run(folder).lock()  # a killed process leaves no lock behind


def test_a_folder_that_holds_a_run_is_not_trained_over(unbroken):
    code, output = finish(command(*TRAIN.split(), "--run", str(unbroken)))
    assert code == 2
    assert f"keras-faces resume {unbroken}" in output


def test_resume_says_that_the_pictures_have_changed(tmp_path, orl_folder):
    folder = tmp_path / "run"
    words = TRAIN.replace("--batch-size 40 --steps 40", "--batch-size 8 --steps 4").split()
    code, output = finish(command(*words, "--data", str(orl_folder), "--run", str(folder)))
    assert code == 0, output
    next(orl_folder.rglob("*.pgm")).unlink()
    with pytest.raises(kf.UserError, match="have changed since the run began"):
        kf.resume(folder)


def test_a_run_goes_on_with_its_pictures_where_they_lie_now_and_with_no_others(
    tmp_path, orl_folder
):
    folder, moved = tmp_path / "run", tmp_path / "moved"
    small = {"image_size": 32, "channels": 1, "filters": 2, "hidden_units": 4}
    kf.train(
        "autoencoder", orl_folder, folder, steps=2, batch_size=8, count=0, print_fn=str, **small
    )
    orl_folder.rename(moved)
    with pytest.raises(kf.UserError, match="--data SOURCE"):
        kf.resume(folder, print_fn=str)
    kf.resume(folder, print_fn=str, data=moved)
    source = kf.runs.Run(folder).config()["data"]["source"]
    assert source == f"folder:{moved}?people=classes&splits=none"
    with pytest.raises(kf.UserError, match="have changed since the run began"):
        kf.resume(folder, print_fn=str, data="orl")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 99}'])
def test_what_is_not_a_run_is_said_so(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(kf.UserError, match=r"not a run folder|damaged|Update keras_faces"):
        kf.resume(tmp_path)


def test_a_run_that_learnt_from_a_part_of_the_pictures_is_not_resumed_on_all(unbroken, tmp_path):
    # As runs of an earlier version did, in which several processes shared the pictures.
    shutil.copytree(unbroken, tmp_path / "part")
    run = Run(tmp_path / "part")
    config = run.config()
    config["data"] |= {"worker": 1, "workers": 2, "pictures": config["data"]["pictures"] // 2}
    run.write_config(config)
    with pytest.raises(kf.UserError, match="have changed since the run began"):
        kf.resume(run.folder)


def test_load_model_says_what_it_wanted(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04 not a model")
    for given, word in (
        (tmp_path / "missing", "not there"),
        (tmp_path, "neither a run nor a model"),
        (tmp_path / "notes.txt", "not a .keras file"),
        (tmp_path / "broken.keras", "Cannot load"),
    ):
        with pytest.raises(kf.UserError, match=word):
            kf.load_model(given)


def test_weights_of_another_model_are_refused(tmp_path):
    small = {"image_size": 32, "channels": 1, "filters": 4}
    path = tmp_path / "vae.weights.h5"
    kf.create_model("vae", **small).save_weights(path)
    for name, given in (("dcgan", small), ("vae", {**small, "filters": 8})):
        with pytest.raises(kf.UserError, match="does not hold the weights of this"):
            kf.create_model(name, **given).load_weights(path)


def test_a_keras_file_of_another_model_is_refused(tmp_path):
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(kf.UserError, match="Sequential"):
        kf.load_model(tmp_path / "other.keras")


def tiny_model(**given):
    model = kf.create_model("vae", image_size=32, channels=1, filters=2, latent_dim=4, **given)
    model.compile()
    return model


def test_no_space_for_a_checkpoint_keeps_the_last_good_one_and_says_so(tmp_path, monkeypatch):
    model = tiny_model()
    good = save_checkpoint(tmp_path, model, {"step": 1})
    whole = good.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(kf.UserError, match=r"No space left.*step-000000001"):
            save_checkpoint(tmp_path, model, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert good.read_bytes() == whole
    assert read_latest(tmp_path)[0]["step"] == 1


def test_a_checkpoint_never_keeps_values_that_are_not_finite(tmp_path):
    model = tiny_model()
    save_checkpoint(tmp_path, model, {"step": 1})
    variable = model.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(FloatingPointError, match="not finite"):
        save_checkpoint(tmp_path, model, {"step": 2})
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000000001.npz"]


def test_only_the_last_checkpoints_are_kept(tmp_path):
    model = tiny_model()
    for step in range(5):
        save_checkpoint(tmp_path, model, {"step": step})
    assert [path.stem for path in list_checkpoints(tmp_path)] == [
        "step-000000003",
        "step-000000004",
    ]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    from keras_faces.checkpoints import restore

    save_checkpoint(tmp_path, tiny_model(), {"step": 1})
    other = kf.create_model("vae", image_size=32, channels=1, filters=3, latent_dim=4)
    other.compile()
    with pytest.raises(kf.UserError, match="does not fit"):
        restore(other, read_latest(tmp_path)[1])


def test_standard_callbacks_keep_a_run_that_resume_goes_on_with(tmp_path):
    faces = kf.data.load("orl", image_size=32, batch_size=40)
    model = tiny_model()
    model.fit(faces, epochs=2, callbacks=kf.callbacks.standard(tmp_path / "run"), verbose=0)
    run = Run(tmp_path / "run")
    assert [row["epoch"] for row in run.rows()] == [1, 2]
    assert run.config()["epochs"] == 2
    again = tiny_model()
    with pytest.raises(kf.UserError, match="holds a run already"):
        again.fit(faces, epochs=2, callbacks=kf.callbacks.standard(tmp_path / "run"), verbose=0)
    kf.resume(tmp_path / "run", print_fn=lambda line: None)
    loaded = kf.load_model(tmp_path / "run")
    weights = zip(model.trainable_variables, loaded.trainable_variables, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in weights)


def test_callbacks_do_not_change_what_is_learnt(tmp_path):
    trained = []
    for callbacks in (None, kf.callbacks.standard(tmp_path / "run", grid_every=1)):
        model = tiny_model(ema=0.5)
        faces = kf.data.load("orl", image_size=32, batch_size=40)
        model.fit(faces, epochs=2, callbacks=callbacks, verbose=0)
        trained.append([np.array(v.numpy()) for v in model.variables])
    assert all(np.array_equal(a, b) for a, b in zip(*trained, strict=True))


def test_minutes_and_steps_bound_training(tmp_path):
    given = {"data": "orl", "image_size": 32, "batch_size": 40, "filters": 2, "count": 0}
    silent = {"print_fn": lambda line: None}
    run = kf.train("vae", run=tmp_path / "steps", steps=3, **given, **silent)
    assert read_latest(run.checkpoints)[0]["step"] == 3
    run = kf.train("vae", run=tmp_path / "minutes", minutes=0.01, **given, **silent)
    position = read_latest(run.checkpoints)[0]
    assert position["seconds"] >= 0.6
    with pytest.raises(kf.UserError, match="only one"):
        kf.train("vae", run=tmp_path / "both", steps=3, epochs=1, **given)
    with pytest.raises(kf.UserError, match="above 0"):
        kf.train("vae", run=tmp_path / "none", steps=0, **given)


class SignalAt(keras.callbacks.Callback):
    """Sends a signal to this very process while a step runs."""

    def __init__(self, step, number=signal.SIGINT):
        super().__init__()
        self.step, self.number, self.seen = step, number, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step:
            os.kill(os.getpid(), self.number)


def python_run(folder, *before, **given):
    """Train from Python: 3 epochs of 4 steps, in the source's order, by an optimizer of its own."""
    faces = kf.data.load(
        "orl", image_size=32, batch_size=100, split="all", channels=1, drop_remainder=False
    )
    model = kf.create_model("vae", image_size=32, channels=1, filters=2, latent_dim=4)
    model.compile({"vae": keras.optimizers.Adam(3e-3, beta_1=0.3)})
    callbacks = [*before, *kf.callbacks.standard(folder, grid_every=1)]
    model.fit(faces, epochs=3, callbacks=callbacks, verbose=0, **given)
    return model


@pytest.fixture(scope="module")
def unbroken_from_python(tmp_path_factory):
    """A run from Python that nobody stopped, without the pictures that `resume` alone makes."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    python_run(folder)
    return folder


@pytest.mark.parametrize("step", [1, 4, 11, 12])  # four an epoch, three of them
def test_asked_to_stop_at_any_step_of_an_epoch_a_run_from_python_loses_nothing(
    unbroken_from_python, tmp_path, step
):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"Stopped at step {step}; everything is saved"):
        python_run(tmp_path / "broken", SignalAt(step))
    assert signal.getsignal(signal.SIGINT) is handler
    kf.resume(tmp_path / "broken", print_fn=lambda line: None)
    for name in ("samples-prior.png", "samples-fitted.png", "reconstructions.png"):
        (tmp_path / "broken" / name).unlink(missing_ok=True)
    assert_same_run(unbroken_from_python, tmp_path / "broken")


@pytest.mark.parametrize("moment", ["_say_if_few_faces", "Budget.on_train_end", "_draw"])
def test_stopped_before_the_first_step_or_after_the_last_a_run_says_how_to_go_on(
    tmp_path, monkeypatch, moment
):
    given = {"image_size": 32, "channels": 1, "filters": 2, "latent_dim": 4, "batch_size": 100}
    given |= {"run": tmp_path / "run", "steps": 2, "count": 0, "print_fn": lambda line: None}

    def stopped(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(f"keras_faces.session.{moment}", stopped)
    with pytest.raises(Interrupted, match=r"Resume with: keras-faces resume \S*run") as raised:
        kf.train("vae", "orl", **given)
    assert raised.value.signal_number == signal.SIGINT
    monkeypatch.undo()
    run = kf.resume(tmp_path / "run", print_fn=lambda line: None)
    assert run.rows()[-1]["step"] == 2
    assert run.model_path.is_file()


def test_a_broken_fit_gives_the_folder_and_the_signals_back(tmp_path):
    class Boom(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("boom")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="boom"):
        python_run(tmp_path / "run", Boom())
    assert signal.getsignal(signal.SIGINT) is handler
    other = Run(tmp_path / "run")
    other.lock()
    other.unlock()


def test_resume_on_another_backend_is_refused_and_other_versions_are_told(unbroken, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    config = json.loads((copy / "config.json").read_text())
    del config["sha256"]  # which holds for what was written
    config["versions"]["numpy"] = "1.0"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"numpy 1\.0 then"):
        kf.resume(copy, print_fn=lambda line: None)
    config["versions"]["backend"] = "abacus"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(kf.UserError, match="KERAS_BACKEND=abacus"):
        kf.resume(copy)


@pytest.mark.parametrize("where", ["backend", "optimizer"])
def test_escapes_in_a_runs_config_reach_no_screen(unbroken, tmp_path, where):
    copy = shutil.copytree(unbroken, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    del config["sha256"]
    optimizers = config["optimizer"]["config"]["optimizers"]
    part, name = {
        "backend": (config["versions"], "backend"),
        "optimizer": (optimizers, next(iter(optimizers))),
    }[where]
    part[name] = "\x1b[31m\n"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(kf.UserError) as caught:
        kf.resume(copy, print_fn=lambda line: None)
    assert str(caught.value).isprintable()


def test_resume_clears_away_what_a_kill_left_half_written(unbroken, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    left = [copy / "checkpoints" / ".step-000000041.npz.77.part", copy / ".model.77.part.keras"]
    for path in left:
        path.write_bytes(b"half")
    kf.resume(copy, print_fn=lambda line: None)
    assert not any(path.exists() for path in left)
    assert_same_run(unbroken, copy)


def test_a_finished_run_without_checkpoints_is_not_trained_anew(unbroken, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(kf.UserError, match="finished"):
        kf.resume(copy)
    assert Run(copy).rows()


def test_a_mistake_leaves_no_run_behind(tmp_path):
    for given in (
        {"image_size": 65},
        {"grid_every": 0},
        {"steps_per_execution": 0},
        {"steps_per_execution": "many"},
        {"count": 1},
        {"data": tmp_path / "missing"},
        {"schedule": "staircase"},
        {"schedule": "cosine", "decay_steps": 0},
    ):
        with pytest.raises(kf.UserError):
            kf.train("vae", run=tmp_path / "run", **{"image_size": 32, "filters": 2, **given})
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"schedule": "cosine"}, (3, 0.0)),  # BEGAN's own are 2000 steps and a factor of 0.9
        ({"schedule": "linear", "decay_rate": 0.25}, (3, 0.25)),
        ({"schedule": "linear", "decay_steps": 2}, (2, 0.0)),
        ({}, (2000, 0.9)),
    ],
)
def test_a_decay_that_is_chosen_ends_with_the_run_and_at_zero(tmp_path, given, expected):
    class Begun(Exception):
        pass

    def stop(line):
        if line.startswith("Training"):
            raise Begun

    run = tmp_path / "run"
    with pytest.raises(Begun):
        kf.train("began", run=run, print_fn=stop, image_size=32, filters=2, steps=3, **given)
    kept = Run(run).config()["hyperparameters"]
    assert (kept["decay_steps"], kept["decay_rate"]) == expected


def test_one_picture_is_too_few(tmp_path, picture_folder):
    folder = picture_folder({"a.png": np.full((40, 40), 99, np.uint8)})
    with pytest.raises(kf.UserError, match="two pictures"):
        kf.train("vae", data=folder, split="all", run=tmp_path / "run", image_size=32)


def test_a_row_that_knows_more_or_less_than_those_before_keeps_its_columns(tmp_path):
    # A score that has no value yet has no standard error either.
    rows = CsvLog(tmp_path / "scores.csv")
    first = {"epoch": 1, "step": 3, "a": 0.5, "b": 2.0}
    second = {"epoch": 2, "step": 6, "a": 0.1, "a_std": 0.25, "b": 3.0}
    for row in (first, second, {"epoch": 3, "step": 9, "b": 4.0}):
        rows.add(row)
    nan = float("nan")
    expected = [
        {**first, "a_std": nan},
        second,
        {"epoch": 3, "step": 9, "a": nan, "a_std": nan, "b": 4.0},
    ]
    for row, known in zip(rows.rows(), expected, strict=True):
        assert row == pytest.approx(known, nan_ok=True)


def test_how_many_people_a_training_leaves_out_is_chosen_recorded_and_kept(
    orl_folder, tmp_path, monkeypatch, capsys
):
    trained = []
    monkeypatch.setattr(session, "_run_training", lambda *words: trained.append(words[3]))
    words = ["--data", str(orl_folder), "--image-size", "32", "--batch-size", "2", "--steps", "1"]
    words += ["--people", "folders", "--run", str(tmp_path / "r")]
    assert main(["train", "dense_vae", *words, "--test-fraction", "0.7"]) == 0
    assert trained[0].count == 4  # of one person of three
    run = Run(tmp_path / "r")
    assert plan_of(run.config()).test_fraction == 0.7
    assert main(["resume", str(run.folder)]) == 0
    assert np.array_equal(trained[1].indices, trained[0].indices)
    assert main(["train", "dense_vae", *words, "--split", "all", "--test-fraction", "0.7"]) == 2
    assert "leaves out none" in capsys.readouterr().err


def test_a_share_without_effect_is_told(picture_folder, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    names = [f"{split}/{n}.png" for split in ("train", "test") for n in range(4)]
    folder = picture_folder({name: rng.integers(0, 256, (32, 32), "uint8") for name in names})
    monkeypatch.setattr(session, "_run_training", lambda *words: None)
    words = ["--data", str(folder), "--image-size", "32", "--batch-size", "2", "--steps", "1"]
    words += ["--run", str(tmp_path / "r"), "--test-fraction", "0.5"]
    assert main(["train", "dense_vae", *words]) == 0
    assert "test_fraction 0.5 has no effect" in capsys.readouterr().out
