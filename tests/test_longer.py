"""Training a run longer, and beginning with the weights of another."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces import session
from keras_faces.cli import main

SMALL = {"image_size": 32, "channels": 1, "filters": 2, "latent_dim": 4, "hidden_units": 8}


@pytest.fixture(autouse=True)
def no_exports(monkeypatch):
    """What a run leaves for others takes longer than these trainings."""
    monkeypatch.setattr(session, "_export", lambda run, model: [])


def train(run, model="vae", **given):
    plan = {"data": "orl", "count": 0, "batch_size": 40, "grid_every": 100, **SMALL, **given}
    if model == "dcgan":
        del plan["hidden_units"]
    lines = []
    kf.train(model, run=run, print_fn=lines.append, **plan)
    return lines


def resume(run, **more):
    lines = []
    kf.resume(run, print_fn=lines.append, **more)
    return lines


def weights(run):
    return kf.load_model(run).get_weights()


def assert_equal(one, other):
    for mine, others in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, others)


@pytest.mark.parametrize(
    ("planned", "more", "length"),
    [
        ({"steps": 5}, {"epochs": 1}, {"steps": 14}),
        ({"epochs": 1}, {"steps": 3}, {"steps": 12}),
    ],
)
def test_a_finished_run_trained_longer_equals_one_of_that_length(tmp_path, planned, more, length):
    train(tmp_path / "one", **planned)
    assert not any("learning rate" in line for line in resume(tmp_path / "one", **more))
    train(tmp_path / "whole", **length)
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "whole"))
    config = kf.callbacks.Checkpoint(tmp_path / "one").run.config()
    kept = {name: config[name] for name in ("epochs", "steps", "minutes")}
    assert kept == {"epochs": None, "steps": None, "minutes": None, **length}


def test_minutes_are_added_to_those_of_a_run(tmp_path):
    train(tmp_path / "run", minutes=0.001)
    resume(tmp_path / "run", minutes=0.002)
    config = kf.callbacks.Checkpoint(tmp_path / "run").run.config()
    assert config["minutes"] == pytest.approx(0.003)
    resume(tmp_path / "run", steps=1)
    assert kf.callbacks.Checkpoint(tmp_path / "run").run.config()["minutes"] is None


def test_a_schedule_that_has_ended_is_told(tmp_path):
    train(tmp_path / "run", steps=4, schedule="cosine")
    [told] = [line for line in resume(tmp_path / "run", steps=2) if "learning rate" in line]
    assert "'cosine'" in told and "0 (vae)" in told and "--init" in told


@pytest.mark.parametrize("more", [{"steps": 0}, {"epochs": -1}, {"steps": 1, "epochs": 1}])
def test_no_length_and_two_lengths_are_refused(tmp_path, more):
    with pytest.raises(kf.UserError, match=r"above 0|only one"):
        kf.resume(tmp_path, **more)


def test_a_training_begins_with_the_weights_of_another_and_a_new_optimizer(tmp_path):
    train(tmp_path / "first", steps=4, ema=0.5)
    lines = train(tmp_path / "second", steps=1, init=str(tmp_path / "first"), learning_rate=1e-12)
    assert any("begins with the weights of" in line for line in lines)
    first, second = kf.load_model(tmp_path / "first"), kf.load_model(tmp_path / "second")
    for name in ("encoder", "decoder"):
        mine = getattr(second, name).get_weights()
        for one, other in zip(mine, getattr(first, name).get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
    assert int(second.optimizer["vae"].iterations) == 1
    # It is resumed from what it began with, whatever has become of the other since.
    assert (tmp_path / "second" / "checkpoints").is_dir()


def test_what_does_not_fit_is_said_and_the_rest_is_taken(tmp_path):
    train(tmp_path / "first", steps=1)
    wider = {"hidden_units": 6, "init": str(tmp_path / "first"), "learning_rate": 1e-12}
    [told] = [line for line in train(tmp_path / "second", steps=1, **wider) if "begins" in line]
    assert "but for 3 of encoder's 10" in told
    first, second = kf.load_model(tmp_path / "first"), kf.load_model(tmp_path / "second")
    np.testing.assert_allclose(
        first.encoder.get_weights()[0], second.encoder.get_weights()[0], atol=1e-9
    )


def test_averages_begin_with_the_others_averages_or_its_weights(tmp_path):
    train(tmp_path / "plain", steps=2)
    train(tmp_path / "averaged", steps=1, ema=0.9, init=str(tmp_path / "plain"))
    model = kf.create_model("vae", **SMALL, ema=0.9)
    assert kf.saving.begin_with(model, tmp_path / "averaged") != []
    other = kf.load_model(tmp_path / "averaged")
    assert_equal(model.decoder_average.get_weights(), other.decoder_average.get_weights())
    kf.saving.begin_with(model, tmp_path / "plain")
    plain = kf.load_model(tmp_path / "plain")
    assert_equal(model.decoder_average.get_weights(), plain.decoder.get_weights())


def test_a_model_of_another_class_or_none_is_refused_before_there_is_a_run(tmp_path):
    train(tmp_path / "vae", steps=1)
    for init, words in ((tmp_path / "vae", "must be a DCGAN"), (tmp_path / "none", "not there")):
        with pytest.raises(kf.UserError, match=words):
            train(tmp_path / "run", "dcgan", steps=1, init=str(init))
    assert not (tmp_path / "run").exists()


def test_both_are_flags(tmp_path, capsys):
    train(tmp_path / "run", steps=1)
    assert main(["resume", str(tmp_path / "run"), "--steps", "1"]) == 0
    assert "from step 1" in capsys.readouterr().out
    assert main(["train", "vae", "--init", str(tmp_path / "nothing"), "--steps", "1"]) == 2
    assert "nothing" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------
# Files of Keras


def test_a_file_keeps_where_the_noise_stands(tmp_path):
    faces = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype(np.float32)
    model = kf.create_model("vae", **SMALL)
    model.compile()
    model.fit(faces, batch_size=4, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = kf.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(faces, batch_size=4, shuffle=False, verbose=0)
    assert_equal(model.get_weights(), again.get_weights())


@pytest.mark.parametrize("name", kf.list_models())
@pytest.mark.parametrize("ending", [".h5", ".weights.h5", ".tf", ""])
def test_all_models_are_saved_as_the_same_kinds_of_files(tmp_path, name, ending):
    known = kf.models.hyperparameters(name)
    small = {"image_size": 32, "channels": 1, "filters": 4, "hidden_units": 8}
    model = kf.create_model(name, **{key: small[key] for key in small if key in known})
    with pytest.raises(kf.UserError, match="saved whole"):
        model.save(tmp_path / f"model{ending}")
    if ending == ".weights.h5":
        model.save_weights(tmp_path / "model.weights.h5")
        again = type(model).from_config({**model.get_config(), "seed": 1})
        again.load_weights(tmp_path / "model.weights.h5")
        assert_equal(model.get_weights(), again.get_weights())
        return
    with pytest.raises(kf.UserError, match="Weights are saved"):
        model.save_weights(tmp_path / f"model{ending}")


def test_the_global_precision_is_taken_or_refused():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = kf.create_model("vae", **SMALL)
        assert model.encoder.layers[0].compute_dtype == "bfloat16"
        assert kf.create_model("vae", **SMALL, dtype="float32").dtype_policy.name == "float32"
        keras.config.set_dtype_policy("mixed_float16")
        with pytest.raises(kf.UserError, match="set_dtype_policy"):
            kf.create_model("vae", **SMALL)
    finally:
        keras.config.set_dtype_policy(before)
