"""What Keras's methods, callbacks and tools do with our models, on the backend that is running."""

import re

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from keras import callbacks, layers

import keras_faces as kf
from keras_faces.models.base import FaceModel
from keras_faces.pencil import sketches_of
from keras_faces.training.players import Player, PlayerOptimizers

SMALL = {"image_size": 32, "channels": 1}
MADE = {
    "cvae": {"filters": 2, "hidden_units": 4, "latent_dim": 2, "conditions": "glasses,beard"},
    "cyclegan": {"filters": 2, "residual_blocks": 1, "pool_size": 40},
    "dcgan": {"filters": 2},
    "dense_vae": {"hidden_units": 8, "latent_dim": 2},
}


def small(name="dense_vae", **given):
    model = kf.create_model(name, **SMALL, **{**MADE[name], **given})
    model.compile()
    return model


@keras.saving.register_keras_serializable(package="tests")
class Tiny(FaceModel):
    """A model of one number a player, which remembers what it has seen and in which order."""

    generating = ("a",)
    latent_dim = 1

    def __init__(self, names: str = "a", **kwargs):
        super().__init__(**{**SMALL, **kwargs})
        self.names = names
        with self.building():
            self.a, self.b = (keras.Sequential([keras.Input((1,)), layers.Dense(1)]) for _ in "ab")
        self.seen = self.add_weight(name="seen", shape=(), initializer="zeros", trainable=False)

    @property
    def players(self):
        return [Player(name, [getattr(self, name)], ("gap",)) for name in self.names]

    def default_optimizers(self):
        return {name: keras.optimizers.SGD(self.learning_rate_for(0.125)) for name in self.names}

    def turns(self, images, labels=None):
        self.seen.assign(0.5 * self.seen + keras.ops.mean(images))
        yield self.players, keras.random.normal(keras.ops.shape(images), 0.5, seed=self.noise)

    def losses(self, batch, training):
        ones = keras.ops.ones((1, 1))
        gap = keras.ops.mean(batch) - sum(getattr(self, name)(ones) for name in self.names)
        return {name: {"gap": keras.ops.mean(keras.ops.square(gap))} for name in self.names}


def tiny(names="a", optimizer=None, steps_per_execution=1, **given):
    model = Tiny(names, **given)
    model.compile(optimizer, steps_per_execution=steps_per_execution)
    return model


def faces(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def learn(model, *watching, **given):
    given = {"batch_size": 4, "shuffle": False, "verbose": 0, **given}
    return model.fit(faces(8), callbacks=list(watching), **given).history


def arrays(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.weights]


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class Batches(keras.utils.PyDataset):
    def __init__(self, *given):
        super().__init__()
        self.given = given

    def __len__(self):
        return len(self.given[0]) // 4

    def __getitem__(self, index):
        return tuple(values[4 * index : 4 * index + 4] for values in self.given)


def dataset(*given):
    data = tf.data.Dataset.from_tensor_slices(given if len(given) > 1 else given[0])
    return data.batch(4)


def generator(*given):
    yield from (tuple(batch) for batch in Batches(*given))


# What is given.

GOOD = faces()
WRONG = {
    "bytes as floats": (GOOD + 1) * 127.5,
    "in [0, 1]": (GOOD + 1) / 2,
    "bytes": kf.data.to_uint8(GOOD),
    "channels first": np.moveaxis(GOOD, -1, 1),
    "colour": np.repeat(GOOD, 3, axis=-1),
    "another size": GOOD[:, :16, :16],
    "not finite": np.where(GOOD > 0.9, np.nan, GOOD).astype("float32"),
}
QUIET = {"verbose": 0}
DOORS = {
    "call": lambda model, x: model(x),
    "evaluate an array": lambda model, x: model.evaluate(x, **QUIET),
    "evaluate tf.data": lambda model, x: model.evaluate(dataset(x), **QUIET),
    "fit an array": lambda model, x: model.fit(x, **QUIET),
    "fit tf.data": lambda model, x: model.fit(dataset(x), **QUIET),
    "fit a tensor": lambda model, x: model.fit(keras.ops.convert_to_tensor(x), **QUIET),
    "fit a generator": lambda model, x: model.fit(generator(x), steps_per_epoch=1, **QUIET),
    "fit a PyDataset": lambda model, x: model.fit(Batches(x), **QUIET),
    "predict an array": lambda model, x: model.predict(x, **QUIET),
    "predict tf.data": lambda model, x: model.predict(dataset(x), **QUIET),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "test_on_batch": lambda model, x: model.test_on_batch(x),
    "train_on_batch": lambda model, x: model.train_on_batch(x),
    "validate": lambda model, x: model.fit(GOOD, validation_data=(x,), **QUIET),
}


@pytest.fixture(scope="module")
def vae():
    return small()


@pytest.mark.parametrize("door", DOORS)
def test_faces_that_are_not_the_models_are_refused_alike_at_every_door(door, vae):
    before = arrays(vae)
    for kind, wrong in WRONG.items():
        with pytest.raises(kf.UserError) as expected:
            vae.check_faces(wrong)
        with pytest.raises(kf.UserError) as found:
            DOORS[door](vae, wrong)
        assert str(found.value) == str(expected.value), kind
    assert equal(arrays(vae), before)  # which JAX had taken out of the model


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("bytes as floats", r"\[-1, 1\].*0\.\d+ to 255"),
        ("in [0, 1]", r"Give 2 \* faces - 1"),
        ("bytes", "kf.data.to_float"),
        ("channels first", r"np\.moveaxis\(faces, 1, -1\)"),
        ("colour", "channels=1"),
        ("another size", "image_size=32"),
        ("not finite", "nan"),
    ],
)
def test_a_refusal_says_what_to_do(kind, advice, vae):
    with pytest.raises(kf.UserError, match=advice):
        vae.check_faces(WRONG[kind])
    for nothing in (np.array(["face"]), np.array([None])):
        with pytest.raises(kf.UserError, match="Expected float faces"):
            vae.check_faces(nothing)


def test_real_faces_and_sketches_pass_and_those_in_0_to_1_do_not(vae):
    real = kf.data.open_faces("orl", image_size=32, split="all", progress=False).sample(100)
    sketches = sketches_of(real)
    for face, sketch in zip(real, sketches, strict=True):
        vae.check_faces(face[None])
        vae.check_faces(sketch[None])
        vae.check_faces(0.6 + 0.4 * sketch[None])  # in faint lines
        with pytest.raises(kf.UserError, match=r"\[0, 1\]"):
            vae.check_faces((np.repeat(face[None], 4, axis=0) + 1) / 2)
        vae.check_faces(0.2 + 0.1 * face[None])  # a single picture may be pale
    vae.check_faces(np.zeros((2, 32, 32, 1)))  # as models are tried with


def test_what_a_young_translator_makes_is_translated_back_whatever_it_looks_like():
    model = small("cyclegan")
    model.averaged = lambda name: lambda x, training: keras.ops.abs(x)  # as if in [0, 1]
    there, back = model.cycle(GOOD)
    np.testing.assert_array_equal(there, np.abs(GOOD))
    np.testing.assert_array_equal(back, there)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.floats(-1, 1), st.floats(-1, 1), st.floats(1.02, 300))
def test_only_values_beyond_the_range_and_scales_without_dark_are_refused(vae, low, high, factor):
    x = np.full((4, 32, 32, 1), low)
    x[0, 0] = high
    if 0 <= min(low, high) < max(low, high) and x.mean() < 0.7:
        with pytest.raises(kf.UserError, match=r"Give 2 \* faces - 1"):
            vae.check_faces(x)
    else:
        np.testing.assert_array_equal(vae.check_faces(x), x.astype("float32"))
    x[1, 5] = factor
    with pytest.raises(kf.UserError, match=r"values in \[-1, 1\]"):
        vae.check_faces(x)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_what_was_looked_at_is_learnt_from_as_well_and_the_step_compiled_once(at_once):
    shown = faces(16)
    expected = 0.0
    for batch in Batches(shown):
        expected = 0.5 * expected + batch[0].mean()
    for given in (dataset(shown), generator(shown), Batches(shown), shown):
        model = tiny(steps_per_execution=at_once)
        traced, train_round = [], model.train_round

        def counted(data, traced=traced, train_round=train_round):
            traced.append(data)
            return train_round(data)

        model.train_round = counted
        own = {"batch_size": 4} if given is shown else {}
        model.fit(given, steps_per_epoch=4, shuffle=False, verbose=0, **own)
        assert float(keras.ops.convert_to_numpy(model.seen)) == pytest.approx(expected)
        assert len(traced) == 1


@pytest.mark.parametrize("good", [0, 1])
def test_a_step_that_fails_leaves_the_model_as_it_was(good, vae):
    def broken():
        yield from ((GOOD,) for _ in range(1 + good))  # the first shows Keras the form
        raise OSError("the disk is gone")

    before = arrays(vae)
    for door in (vae.predict, vae.evaluate):
        with pytest.raises(Exception, match="the disk is gone"):
            door(broken(), steps=3 + good, verbose=0)
        assert equal(arrays(vae), before)
    model = tiny()
    with pytest.raises(Exception, match="the disk is gone"):
        model.fit(broken(), steps_per_epoch=3 + good, verbose=0)
    assert np.isfinite(learn(model)["loss"]).all()


# What has no effect.


@pytest.mark.parametrize("name", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_compile_takes_no_losses_and_no_metrics_of_others(name):
    model = small()
    for given in ({name: ["mse"]}, {"optimizer": "adam", name: ["mse"]}):
        with pytest.raises(kf.UserError, match=rf"takes no {name}=.*'mse'"):
            model.compile(**given)
    model.compile(**{name: None})
    with pytest.raises(kf.UserError, match="takes no loss="):
        model.compile("adam", "mse")


def test_a_model_that_is_not_compiled_says_so():
    model = kf.create_model("dense_vae", **SMALL)
    for door in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(kf.UserError, match=r"Call compile\(\) first"):
            door(GOOD)


LEARNING = {
    "fit": lambda model, x, **given: model.fit(x, **given, **QUIET),
    "train_on_batch": lambda model, x, **given: model.train_on_batch(x, **given),
}
LOOKING = {
    "evaluate": lambda model, x, **given: model.evaluate(x, **given, **QUIET),
    "test_on_batch": lambda model, x, **given: model.test_on_batch(x, **given),
}


@pytest.mark.parametrize("door", [*LEARNING, *LOOKING])
def test_labels_and_weights_that_nothing_would_come_of_are_refused(door, vae):
    call = {**LEARNING, **LOOKING}[door]
    with pytest.raises(kf.UserError, match="learns from faces alone"):
        call(vae, GOOD, y=np.zeros(4))
    with pytest.raises(kf.UserError, match="sample_weight cannot weigh"):
        call(vae, GOOD, sample_weight=np.ones(4))
    if door in LEARNING:
        with pytest.raises(kf.UserError, match="class_weight cannot weigh"):
            call(vae, GOOD, class_weight={0: 2.0})
    if door in ("fit", "evaluate"):
        for data in (dataset, Batches):
            with pytest.raises(kf.UserError, match="learns from faces alone"):
                call(vae, data(GOOD, np.zeros(4)))
            with pytest.raises(kf.UserError, match="sample_weight cannot weigh"):
                call(vae, data(GOOD, np.zeros(4), np.ones(4)))
    if door == "fit":
        with pytest.raises(kf.UserError, match="sample_weight cannot weigh"):
            vae.fit(GOOD, validation_data=(GOOD, None, np.ones(4)), **QUIET)


def test_labels_of_tf_data_are_looked_at_as_those_of_arrays():
    cvae, cyclegan = small("cvae"), small("cyclegan")
    for labels, word in (
        (np.zeros((4, 3)), "Expected 2 values"),
        (np.array([0, 1, 2, 0]), "0 to 1"),
    ):
        for door in (cvae.fit, cvae.evaluate):
            with pytest.raises(kf.UserError, match=word):
                door(dataset(GOOD, labels), **QUIET)
    with pytest.raises(kf.UserError, match="learns from labelled faces"):
        cvae.fit(dataset(GOOD), **QUIET)
    for sketches in (WRONG["bytes as floats"], WRONG["bytes"]):
        for given in ((GOOD, sketches), (dataset(GOOD, sketches),)):
            with pytest.raises(kf.UserError, match=r"\[-1, 1\]"):
                cyclegan.fit(*given, **QUIET)


def stream(**given):
    given = {"image_size": 32, "batch_size": 20, "split": "test", "progress": False, **given}
    return kf.data.open_faces("orl", **given)


def test_arrays_are_split_for_validation_and_faces_from_elsewhere_are_not(vae):
    assert "val_loss" in learn(vae, validation_split=0.5)
    with pytest.raises(kf.UserError, match=r"validation_data=kf\.data\.load"):
        vae.fit(stream(), validation_split=0.5, **QUIET)
    for given in (dataset(GOOD), Batches(GOOD)):
        with pytest.raises(kf.UserError, match="fit splits arrays alone"):
            vae.fit(given, validation_split=0.5, **QUIET)
    for own in ({"shuffle": True}, {"shuffle": False}):
        with pytest.raises(kf.UserError, match=r"shuffle= to kf\.data\.load"):
            vae.fit(stream(), **own, **QUIET)


def test_a_stream_is_validated_evaluated_and_predicted_with_as_its_arrays(vae):
    labelled = stream(labels="identity", shuffle=False)
    whole = np.concatenate([images for images, _ in labelled])
    losses = vae.evaluate(whole, batch_size=20, return_dict=True, **QUIET)
    assert vae.evaluate(labelled, return_dict=True, **QUIET) == pytest.approx(losses, rel=1e-5)
    np.testing.assert_allclose(
        vae.predict(labelled, **QUIET), vae.predict(whole, batch_size=20, **QUIET), atol=1e-6
    )
    history = learn(vae, validation_data=labelled)
    after = vae.evaluate(whole, batch_size=20, return_dict=True, **QUIET)
    assert history["val_loss"] == [pytest.approx(after["loss"], rel=1e-5)]
    with pytest.raises(kf.UserError, match="image_size=32"):
        vae.evaluate(stream(image_size=64), **QUIET)


class Gone:
    """A cache whose second picture cannot be read."""

    image_shape = (32, 32, 1)

    def read(self, positions):
        if 1 in positions:
            raise kf.UserError("the faces are gone")
        return np.zeros((len(positions), 32, 32, 1), np.uint8)


def test_faces_that_cannot_be_read_are_told_of_in_their_own_words(vae):
    gone = kf.data.FaceStream(Gone(), np.arange(3), 1, shuffle=False)
    for given in (gone, gone.dataset()):
        for door in (vae.evaluate, vae.predict):
            with pytest.raises(kf.UserError, match=r"^the faces are gone$"):
                door(given, **QUIET)
        with pytest.raises(kf.UserError, match=r"^the faces are gone$"):
            vae.fit(GOOD, validation_data=given, **QUIET)


def test_learning_on_batches_forgets_the_density_of_before():
    model = small()
    model.fit_density([faces(4)])
    assert model.default_sampler == "fitted"
    model.train_on_batch(GOOD)
    assert model.default_sampler == "prior"


# Callbacks.


def test_the_loss_of_a_single_player_is_logged_as_keras_has_it():
    model = tiny()
    history = learn(model, epochs=2)
    assert history["loss"] == history["a_loss"]
    logs = model.evaluate(GOOD, return_dict=True, **QUIET)
    assert logs["loss"] == logs["a_loss"]
    listed = dict(zip(model.metrics_names, model.evaluate(GOOD, **QUIET), strict=True))
    assert listed == pytest.approx(logs)
    assert set(logs) == set(model.log_names)
    assert "loss" not in tiny("ab").log_names


def names_are_listed(error, model):
    return all(re.search(rf"\b{name}\b", str(error.value)) for name in model.log_names)


def test_terminate_on_nan_stops_a_single_player_and_names_the_losses_of_several():
    model = tiny()
    model.a.layers[0].bias.assign([np.nan])
    assert len(learn(model, callbacks.TerminateOnNaN(), epochs=3)["loss"]) == 1
    game = tiny("ab")
    with pytest.raises(kf.UserError, match="Guard") as error:
        learn(game, callbacks.TerminateOnNaN())
    assert names_are_listed(error, game)


def test_early_stopping_stops():
    stopping = {"min_delta": 1e9, "patience": 1}
    history = learn(tiny(), callbacks.EarlyStopping("loss", **stopping), epochs=5)
    assert len(history["loss"]) == 2
    watching = callbacks.EarlyStopping("val_a_loss", mode="min", **stopping)
    history = learn(tiny("ab"), watching, epochs=5, validation_data=(GOOD,))
    assert len(history["a_loss"]) == 2


@pytest.mark.parametrize("kind", ["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_what_nothing_logs_is_not_waited_for(kind, tmp_path):
    game = tiny("ab")

    def watching(monitor, **given):
        if kind == "ModelCheckpoint":
            given |= {"filepath": tmp_path / "best.keras", "save_best_only": True}
        return getattr(callbacks, kind)(monitor=monitor, **given)

    for monitor in ("loss", "val_loss", "val_a_loss", "accuracy"):
        with pytest.raises(kf.UserError, match=f"{kind} monitors '{monitor}'") as error:
            learn(game, watching(monitor, mode="min"))
        assert names_are_listed(error, game)
        assert ("Give fit validation_data" in str(error.value)) == monitor.startswith("val_")
    with pytest.raises(kf.UserError, match="mode='min' or mode='max'"):
        learn(game, watching("a_loss"))

    class Scored(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["accuracy"] = 1.0

    assert "accuracy" in learn(game, Scored(), watching("accuracy", mode="max"))


def rates(model):
    return {name: float(one.learning_rate) for name, one in model.optimizer.by_player.items()}


def test_rates_fall_on_a_plateau_for_every_player():
    falling = {"factor": 0.5, "patience": 1, "min_delta": 1e9}
    for names, watching in (
        ("a", callbacks.ReduceLROnPlateau("loss", **falling)),
        ("ab", callbacks.ReduceLROnPlateau("a_loss", mode="min", **falling)),
    ):
        model = tiny(names)
        before = rates(model)
        history = learn(model, watching, epochs=3)
        for player, rate in rates(model).items():
            assert rate == pytest.approx(before[player] / 4)
            told = history[f"learning_rate_{player}"]
            assert told == pytest.approx([before[player], before[player], before[player] / 2])


def test_rates_follow_a_scheduler_for_every_player_or_the_models_own_schedule():
    for names in ("a", "ab"):
        model = tiny(names)
        before = rates(model)
        learn(model, callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5), epochs=2)
        assert rates(model) == pytest.approx({key: rate / 4 for key, rate in before.items()})
    scheduled = tiny("ab", schedule="linear", decay_steps=9)
    for watching in (
        callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        callbacks.ReduceLROnPlateau("a_loss", mode="min"),
    ):
        with pytest.raises(kf.UserError, match="a and b follow a schedule"):
            learn(scheduled, watching)


def test_the_optimizer_tells_and_sets_the_rates_of_the_players():
    model = tiny()
    assert float(model.optimizer.learning_rate) == pytest.approx(rates(model)["a"])
    model.optimizer.learning_rate = 0.5
    assert rates(model) == {"a": 0.5}
    game = tiny("ab")
    assert game.optimizer.learning_rate == rates(game)
    game.optimizer.learning_rate = 0.5
    assert rates(game) == {"a": 0.5, "b": 0.5}
    game.optimizer.learning_rate = {"a": 0.25}
    assert game.optimizer.learning_rate == {"a": 0.25, "b": 0.5}
    with pytest.raises(kf.UserError, match="a"):
        game.optimizer.learning_rate = {"c": 0.25}
    with pytest.raises(kf.UserError, match="follows a schedule"):
        tiny("ab", schedule="linear", decay_steps=9).optimizer.learning_rate = 0.5
    adam = keras.optimizers.Adam()
    with pytest.raises(kf.UserError, match="an optimizer of its own"):
        PlayerOptimizers({"a": adam, "b": adam})


class Stop(callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


@pytest.mark.parametrize("source", ["array", "stream"])
def test_a_backed_up_training_goes_on_where_it_broke_off(source, tmp_path):
    given = {"x": faces(8), "batch_size": 4, "shuffle": False}
    if source == "stream":
        given = {"x": stream(shuffle=True, drop_remainder=True)}
    given |= {"epochs": 4, "verbose": 0}
    unbroken = tiny()
    unbroken.fit(**given)
    broken = tiny()
    with pytest.raises(InterruptedError):
        broken.fit(**given, callbacks=[callbacks.BackupAndRestore(tmp_path / "backup"), Stop()])
    resumed = tiny()
    history = resumed.fit(**given, callbacks=[callbacks.BackupAndRestore(tmp_path / "backup")])
    assert history.epoch == [2, 3]
    assert equal(arrays(resumed), arrays(unbroken))
    assert resumed.fit(**{**given, "epochs": 1}).epoch == [0]  # the backup is gone


def test_model_checkpoints_hold_the_model_of_their_time(tmp_path):
    model = tiny()
    kept = {}

    class Keep(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch + 1] = arrays(self.model)

    each = callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    often = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=1)
    weights = callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", "loss", save_best_only=True)
    history = learn(model, Keep(), each, often, weights, best, epochs=2)
    for epoch in (1, 2):
        assert equal(arrays(kf.load_model(tmp_path / f"{epoch}.keras")), kept[epoch])
        assert equal(arrays(kf.load_model(tmp_path / f"{epoch}-2.keras")), kept[epoch])
        other = tiny(seed=1)
        other.load_weights(tmp_path / f"{epoch}.weights.h5")
        assert equal(arrays(other), kept[epoch])
    assert not equal(arrays(kf.load_model(tmp_path / "1-1.keras")), kept[1])
    chosen = 1 + int(np.argmin(history["loss"]))
    assert equal(arrays(kf.load_model(tmp_path / "best.keras")), kept[chosen])


def test_averages_of_optimizers_are_swapped_in_or_the_callback_says_what_it_lacks():
    def averaging():
        return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)

    model = tiny(optimizer=averaging())
    history = learn(model, callbacks.SwapEMAWeights(), validation_data=(GOOD,), epochs=2)
    plain = tiny(optimizer=averaging())
    without = learn(plain, validation_data=(GOOD,), epochs=2)
    assert history["loss"] == without["loss"]  # as swapped back
    assert history["val_loss"] != without["val_loss"]
    # At the end of fit Keras makes the averages the weights.
    assert model.evaluate(GOOD, return_dict=True, **QUIET)["loss"] == pytest.approx(
        history["val_loss"][-1], rel=1e-5
    )
    with pytest.raises(kf.UserError, match=r"use_ema=True.*ema=0\.999"):
        learn(tiny("ab"), callbacks.SwapEMAWeights())


def test_tensorboard_and_csv_hold_losses_and_rates(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    game = tiny("ab")
    board = callbacks.TensorBoard(tmp_path / "board", histogram_freq=1)
    table = callbacks.CSVLogger(tmp_path / "log.csv")
    history = learn(game, board, table, epochs=2, validation_data=(GOOD,))
    events = EventAccumulator(str(tmp_path / "board" / "train")).Reload()
    tags = events.Tags()["tensors"]
    assert {f"epoch_{name}" for name in game.log_names} <= set(tags)
    assert {"epoch_learning_rate_a", "epoch_learning_rate_b"} <= set(tags)
    assert any("a" in tag and "kernel" in tag for tag in tags)  # histograms
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().split()]
    named = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    assert set(named) == {"epoch", *history}
    assert [float(x) for x in named["a_loss"]] == pytest.approx(history["a_loss"])


# Calling a model.


def own(name, model, x):
    """What a model is called on beside latents, and what its own methods make of it."""
    if name == "cyclegan":
        return x, model.translate(x)
    if name == "cvae":
        conditions = np.eye(2, dtype="float32")[[0, 1, 1, 0]]
        return [x, conditions], model.reconstruct(x, conditions)
    return x, model.reconstruct(x)


@pytest.mark.parametrize("name", ["cvae", "cyclegan", "dense_vae"])
def test_a_model_called_on_faces_reconstructs_or_translates_them(name):
    model = small(name, ema=0.5)
    for average in model.averaged(model.generating[-1]).variables:
        average.assign(0.5 * average)  # by which it answers
    given, made = own(name, model, GOOD)
    for found in (model(given), model.predict(given, **QUIET), model.predict_on_batch(given)):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), made, atol=1e-5)


@pytest.mark.parametrize("name", ["cvae", "dcgan", "dense_vae"])
def test_a_model_called_on_latents_decodes_them(name):
    model = small(name)
    latents = model.sample_latents(3, seed=1)
    made = model.decode(latents)
    for found in (model(latents, training=False), model.predict(latents, **QUIET)):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), made, atol=1e-5)
    with pytest.raises(kf.UserError, match=rf"latents of shape \(count, {model.code_dim}\)"):
        model(latents[:, :-1])


def test_predict_takes_faces_and_latents_in_turn(vae):
    latents = vae.sample_latents(3)
    for _ in range(2):
        np.testing.assert_allclose(vae.predict(GOOD, **QUIET), vae.reconstruct(GOOD), atol=1e-5)
        np.testing.assert_allclose(vae.predict(latents, **QUIET), vae.decode(latents), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("dcgan", GOOD, r"latents of shape \(count, 100\).*kf\.latent\.invert"),
        ("cyclegan", np.zeros((2, 9), "float32"), r"faces of shape \(count, 32, 32, 1\)"),
        ("cvae", GOOD, r"\[faces, conditions\]"),
        ("cvae", [GOOD, np.zeros((4, 3), "float32")], "Expected 2 values"),
        ("dense_vae", GOOD[0], r"or of latents.*Received: \(32, 32, 1\)"),
        ("dense_vae", np.zeros(2, "float32"), r"Received: \(2,\)"),
    ],
)
def test_what_a_model_makes_nothing_of_is_refused(name, given, told):
    model = small(name)
    for door in (model, model.predict_on_batch, lambda x: model.predict(x, **QUIET)):
        with pytest.raises(kf.UserError, match=told):
            door(given)


def test_a_model_is_a_layer_of_another_and_gradients_pass_through_it(tmp_path):
    inner = small()
    before = arrays(inner)
    inner.trainable = False
    noise = keras.Input((3,))
    images = inner(layers.Dense(2, name="before")(noise))
    outer = keras.Model(noise, layers.Flatten()(inner(images)))
    outer.compile("sgd", "mse")
    given, wanted = np.ones((4, 3), "float32"), np.full((4, 1024), 0.5, "float32")
    first = outer.get_layer("before").get_weights()[0]
    outer.fit(given, wanted, **QUIET)
    assert np.abs(outer.get_layer("before").get_weights()[0] - first).max() > 0
    assert equal(arrays(inner), before)
    made = outer.predict(given, **QUIET)
    expected = inner.reconstruct(inner.decode(given @ outer.get_layer("before").get_weights()[0]))
    np.testing.assert_allclose(made, expected.reshape(4, -1), atol=1e-5)
    outer.save(tmp_path / "outer.keras")
    again = keras.models.load_model(tmp_path / "outer.keras")
    np.testing.assert_allclose(again.predict(given, **QUIET), made, atol=1e-6)
    for wrong in (keras.Input((64, 64, 1)), keras.Input((32, 32, 1), dtype="uint8")):
        with pytest.raises(kf.UserError):
            inner(wrong)


def test_summary_shows_the_networks_with_their_sizes():
    lines = []
    model = small("dcgan", ema=0.5)
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    for name in ("generator", "discriminator", "generator_average"):
        size = getattr(model, name).count_params()
        assert re.search(rf"{name}.*\D{size:,}\D", text)
    model.summary(print_fn=lines.append, expand_nested=True)
    assert "Conv2D" in "\n".join(lines)
