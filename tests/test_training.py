"""The trainer that all models share: optimizers, schedules, averages, turns."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.callbacks import Budget
from keras_faces.data.labels import SketchLabels
from keras_faces.models.layers import Clip, Conv2DTranspose
from keras_faces.training.backend import losses_and_gradients
from keras_faces.training.players import Player, PlayerOptimizers
from keras_faces.training.schedules import Decay, learning_rate_schedule

TENSORFLOW = keras.backend.backend() == "tensorflow"


def faces(count=8, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def dcgan(**given):
    return kf.create_model("dcgan", image_size=32, channels=1, filters=4, **given)


@pytest.mark.parametrize(
    ("schedule", "steps", "rate", "expected"),
    [
        ("constant", 0, 0.0, {0: 1.0, 100: 1.0}),
        ("exponential", 10, 0.9, {0: 1.0, 9: 1.0, 10: 0.9, 25: 0.81}),
        ("linear", 10, 0.0, {0: 1.0, 5: 0.5, 10: 0.0, 20: 0.0}),
        ("linear", 10, 0.2, {5: 0.6, 10: 0.2, 11: 0.2}),
        ("cosine", 10, 0.0, {0: 1.0, 5: 0.5, 10: 0.0, 15: 0.0}),
    ],
)
def test_schedules_follow_their_closed_forms(schedule, steps, rate, expected):
    made = learning_rate_schedule(0.002, schedule, steps, rate)
    for step, share in expected.items():
        value = made if isinstance(made, float) else float(made(step))
        assert value == pytest.approx(0.002 * share, abs=1e-9)


@pytest.mark.parametrize(
    ("schedule", "rate", "expected"),
    [
        ("linear", 0.0, {0: 1.0, 4: 1.0, 5: 1.0, 7: 0.8, 10: 0.5, 15: 0.0, 40: 0.0}),
        ("linear", 0.2, {5: 1.0, 10: 0.6, 15: 0.2, 16: 0.2}),
        ("cosine", 0.0, {0: 1.0, 5: 1.0, 8: 0.5 + 0.5 * np.cos(0.3 * np.pi), 10: 0.5, 15: 0.0}),
        ("cosine", 0.4, {5: 1.0, 10: 0.7, 15: 0.4, 99: 0.4}),
        ("exponential", 0.5, {0: 1.0, 5: 1.0, 14: 1.0, 15: 0.5, 24: 0.5, 25: 0.25}),
    ],
)
def test_a_decay_begins_after_as_many_steps_as_it_is_told(schedule, rate, expected):
    made = learning_rate_schedule(0.002, schedule, 10, rate, decay_after=5)
    for step, share in expected.items():
        assert float(made(step)) == pytest.approx(0.002 * share, abs=1e-9), step


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    st.sampled_from(["linear", "cosine", "exponential"]), st.floats(0.01, 1), st.floats(0, 0.002)
)
def test_a_rate_that_would_fall_below_its_floor_stays_there(schedule, rate, floor):
    free, held = (
        learning_rate_schedule(0.002, schedule, 3, rate, 2, least) for least in (0.0, floor)
    )
    for step in (0, 2, 5, 9, 40):
        assert float(held(step)) == pytest.approx(max(float(free(step)), floor), rel=1e-6)


def test_zhangs_decay_stops_where_it_is_told():
    # 1e-4, times 0.9 every 2000 steps: below 2e-5 from the sixteenth time on.
    made = learning_rate_schedule(1e-4, "exponential", 2000, 0.9, min_learning_rate=2e-5)
    expected = {29_999: 1e-4 * 0.9**14, 31_999: 1e-4 * 0.9**15, 32_000: 2e-5, 100_000: 2e-5}
    for step, rate in expected.items():
        assert float(made(step)) == pytest.approx(rate, rel=1e-4), step


def test_a_decay_of_a_file_that_knows_no_floor_has_none():
    config = learning_rate_schedule(0.002, "exponential", 1, 0.5).get_config()
    del config["min_learning_rate"]
    assert float(Decay.from_config(config)(10)) == pytest.approx(0.002 * 0.5**10)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential"])
def test_a_decay_survives_its_config_within_an_optimizer(schedule):
    made = learning_rate_schedule(0.002, schedule, 10, 0.6, 5, min_learning_rate=0.001)
    saved = keras.optimizers.serialize(keras.optimizers.Adam(made))
    again = keras.optimizers.deserialize(saved).get_config()["learning_rate"]
    again = keras.saving.deserialize_keras_object(again)
    assert [float(again(step)) for step in range(30)] == [float(made(step)) for step in range(30)]
    assert len({float(again(step)) for step in range(30)}) > 2


def test_a_constant_rate_needs_no_numbers_and_bad_ones_are_refused():
    assert learning_rate_schedule(0.002) == 0.002
    for given, word in (
        ({"schedule": "linear", "decay_steps": 10, "decay_after": -1}, "decay_after"),
        ({"schedule": "linear", "decay_steps": 0}, "decay_steps"),
        ({"schedule": "exponential", "decay_steps": 10, "decay_rate": 0.0}, "decay_rate"),
        ({"schedule": "cosine", "decay_steps": 10, "decay_rate": 1.1}, "decay_rate"),
        ({"schedule": "consine", "decay_steps": 10}, "Did you mean 'cosine'"),
        ({"schedule": "linear", "decay_steps": 1, "min_learning_rate": 0.003}, "between 0 and"),
        ({"schedule": "linear", "decay_steps": 1, "min_learning_rate": -1e-5}, "between 0 and"),
        ({"min_learning_rate": 1e-5}, "'constant' never reaches min_learning_rate"),
    ):
        with pytest.raises(kf.UserError, match=word):
            learning_rate_schedule(0.002, **given)


def test_optimizers_follow_the_schedule_in_training():
    model = dcgan(schedule="exponential", decay_steps=2, decay_rate=0.5, learning_rate=0.01)
    model.compile()
    model.fit(faces(), batch_size=2, epochs=1, verbose=0)  # four steps
    for optimizer in model.optimizer.optimizers:
        assert int(optimizer.iterations.numpy()) == 4
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * 0.25)


# The decay of the mean square in the code that these models follow.
RMSPROPS = {"wgan": 0.99, "vaegan": 0.9, "dense_vae": 0.9}
SIZES = 10.0 ** np.arange(-8, 2)  # of gradients, one a column


def gradients_of_all_sizes():
    return (np.random.default_rng(0).uniform(0.5, 1, (5, len(SIZES))) * SIZES).astype("float32")


def steps_of(model, gradients):
    """What every player's optimizer adds to a variable of zeros, gradient by gradient."""
    for optimizer in model.default_optimizers().values():
        variable = keras.Variable(np.zeros(gradients.shape[1:], "float32"))
        optimizer.build([variable])
        places = [np.zeros(gradients.shape[1:])]
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)])
            places.append(keras.ops.convert_to_numpy(variable).astype("float64"))
        yield np.diff(places, axis=0)


@pytest.mark.parametrize("name", RMSPROPS)
def test_rmsprop_steps_as_the_models_references_on_tiny_gradients_too(name):
    # Theirs divide by sqrt(v) + 1e-8, Keras by sqrt(v + epsilon).
    gradients, expected, square = gradients_of_all_sizes(), [], 0.0
    for gradient in gradients.astype("float64"):
        square = RMSPROPS[name] * square + (1 - RMSPROPS[name]) * gradient**2
        expected.append(-1e-3 * gradient / (np.sqrt(square) + 1e-8))
    for steps in steps_of(kf.create_model(name, image_size=32, learning_rate=1e-3), gradients):
        share = steps / expected
        # Both floors are 1e-8, the one beside a root and the other's square within it.
        assert ((share > 0.999) & (share < 2**0.5)).all()
        np.testing.assert_allclose(share[:, SIZES >= 1e-5], 1, atol=0.025)


def test_began_steps_as_tensorflows_adam_on_tiny_gradients_too():
    gradients, expected, mean, square = gradients_of_all_sizes(), [], 0.0, 0.0
    for t, gradient in enumerate(gradients.astype("float64"), 1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        expected.append(-rate * mean / (np.sqrt(square) + 1e-8))
    model = kf.create_model("began", image_size=32, filters=2, learning_rate=1e-3)
    for steps in steps_of(model, gradients):
        np.testing.assert_allclose(steps, expected, rtol=1e-3)


def test_compile_alone_takes_the_papers_optimizers():
    model = kf.create_model("dcgan", filters=4)
    model.compile()
    for name in ("discriminator", "generator"):
        optimizer = model.optimizer[name]
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(2e-4)
        assert optimizer.beta_1 == 0.5


def test_own_optimizers_are_taken_by_player_and_mismatches_explained():
    model = dcgan()
    model.compile({"discriminator": "sgd", "generator": keras.optimizers.RMSprop(1e-3)})
    assert isinstance(model.optimizer["discriminator"], keras.optimizers.SGD)
    with pytest.raises(kf.UserError, match="discriminator, generator"):
        dcgan().compile("adam")
    with pytest.raises(kf.UserError, match="discriminator, generator"):
        dcgan().compile({"generator": "adam"})
    vae = kf.create_model("vae", image_size=32, channels=1, filters=4)
    vae.compile("sgd")
    assert isinstance(vae.optimizer["vae"], keras.optimizers.SGD)


def test_the_average_starts_at_the_network_and_follows_the_recurrence():
    model = dcgan(ema=0.9)
    model.compile()
    expected = [np.array(v.numpy()) for v in model.generator.variables]
    for rounds in range(1, 4):
        model.fit(faces(2, seed=rounds), batch_size=2, epochs=1, verbose=0)
        decay = min(0.9, (1 + rounds) / (10 + rounds))
        expected = [
            decay * average + (1 - decay) * np.array(variable.numpy())
            for average, variable in zip(expected, model.generator.variables, strict=True)
        ]
    for average, variable in zip(expected, model.averaged("generator").variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), average, atol=1e-5)


def test_the_average_generates_and_training_does_not_touch_it_otherwise():
    with_average, without = dcgan(ema=0.999), dcgan()
    for model in (with_average, without):
        model.compile()
        model.fit(faces(), batch_size=2, epochs=2, shuffle=False, verbose=0)
    # The average changes what is drawn, not what is learnt.
    for a, b in zip(with_average.generator.weights, without.generator.weights, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    assert not np.array_equal(with_average.generate(2), without.generate(2))


@pytest.mark.parametrize("name", ["dcgan", "vae"])
def test_eager_compiled_and_several_steps_in_one_call_agree(name):
    trained = []
    for given in ({"run_eagerly": True}, {}, {"steps_per_execution": 2}):
        model = kf.create_model(name, image_size=32, channels=1, filters=4)
        model.compile(**given)
        model.fit(faces(), batch_size=2, epochs=1, shuffle=False, verbose=0)
        trained.append([v.numpy() for v in model.trainable_variables])
    for other in trained[1:]:
        for a, b in zip(trained[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


class Steps(keras.callbacks.Callback):
    """At which steps a model calls back."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.model.fit_plan.step)


def trained_on(stream, steps_per_execution, *callbacks, **given):
    model = kf.create_model("dense_vae", image_size=32, channels=1, latent_dim=2, hidden_units=2)
    model.compile(steps_per_execution=steps_per_execution)
    history = model.fit(stream, callbacks=list(callbacks), verbose=0, **given).history
    state = [*model.variables, *model.optimizer.variables]
    return history, [keras.ops.convert_to_numpy(variable) for variable in state]


@pytest.mark.parametrize("at_once", [2, 4, 9, 16])
def test_a_call_of_several_steps_ends_with_the_epoch_and_what_is_learnt_is_the_same(at_once):
    stream = kf.data.open_faces("orl", image_size=32, channels=1, batch_size=40)
    assert stream.steps_per_epoch == 9
    # From within an epoch, whose rest is a call of `fit` of its own.
    span = {"initial_epoch": 1, "initial_step": 4, "epochs": 4}
    steps = Steps()
    history, state = trained_on(stream, at_once, steps, **span)
    expected_history, expected_state = trained_on(stream, 1, **span)
    assert history == expected_history
    for found, expected in zip(state, expected_state, strict=True):
        np.testing.assert_array_equal(found, expected)
    epochs = itertools.pairwise([18, 27, 36])  # of the second call of `fit`
    calls = [(begin, end) for first, end in epochs for begin in range(first, end, at_once)]
    assert steps.seen == [min(begin + at_once, end) for begin, end in calls]


@pytest.mark.parametrize("steps", [1, 11, 18])
def test_a_number_of_steps_is_kept_to_whatever_a_call_takes(steps, tmp_path):
    stream = kf.data.open_faces("orl", image_size=32, channels=1, batch_size=40)
    ended = []
    for at_once in (4, 1):
        seen = Steps()
        budget = Budget(tmp_path, steps=steps)
        _, state = trained_on(stream, at_once, budget, seen, epochs=5)
        assert budget.step == seen.seen[-1] == steps
        ended.append(state)
    for found, expected in zip(*ended, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_automatic_steps_are_several_on_accelerators_alone(monkeypatch):
    model = kf.create_model("dense_vae", image_size=32, channels=1, latent_dim=2, hidden_units=2)
    for there, expected in ((True, 16), (False, 1)):
        monkeypatch.setattr("keras_faces.training.game.on_accelerator", lambda there=there: there)
        model.compile(steps_per_execution="auto")
        assert model.steps_per_execution == expected
    for wrong in (0, -1, 2.0, True, "many", None):
        with pytest.raises(kf.UserError, match=r"'auto' or a whole number.*Received: "):
            model.compile(steps_per_execution=wrong)


class Looking(kf.models.base.FaceModel):
    """A model that keeps the last batch as its loss has it."""

    conditional = True  # its labels are sketches
    latent_dim = 1

    def __init__(self, batch, channels=1):
        super().__init__(image_size=32, channels=channels)
        with self.building():
            self.net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        shape = (batch, *self.image_shape)
        self.photos, self.sketches = (
            self.add_weight(name=name, shape=shape, trainable=False) for name in "ab"
        )

    @property
    def players(self):
        return [Player("a", [self.net], ("loss",))]

    def default_optimizers(self):
        return {"a": "sgd"}

    def turns(self, images, labels=None):
        self.photos.assign(images)
        self.sketches.assign(images if labels is None else labels)
        yield self.players, images

    def losses(self, batch, training):
        return {"a": {"loss": keras.ops.mean(self.net(keras.ops.ones((1, 1))))}}


class Levels:
    """A cache of two pictures that hold all 256 levels."""

    image_shape = (32, 32, 1)
    levels = np.arange(2048, dtype=np.uint8).reshape(2, 32, 32, 1)

    def read(self, positions):
        return self.levels[positions]


@pytest.mark.parametrize("jit", [False, True])
def test_every_level_of_a_picture_becomes_the_very_float_that_numpy_makes_of_it(jit):
    cache = Levels()
    sketches = SketchLabels(cache, np.array([1, 0]))
    stream = kf.data.FaceStream(cache, np.arange(2), 2, shuffle=False, labels=sketches)
    model = Looking(2)
    model.compile(jit_compile=jit)
    model.fit(stream, verbose=0)
    for found, pictures in ((model.photos, cache.levels), (model.sketches, cache.levels[::-1])):
        np.testing.assert_array_equal(found.numpy(), kf.data.to_float(pictures))


def test_the_next_batch_is_read_while_one_is_learnt_from():
    third = threading.Event()

    class Watched(Levels):
        def read(self, positions):
            if positions[0] == 2:
                third.set()
            return self.levels[positions % 2]

    class Wait(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:  # the third is asked for after this
                waited.append(third.wait(20))

    waited = []
    stream = kf.data.FaceStream(Watched(), np.arange(4), 1, shuffle=False)
    model = Looking(1)
    model.compile()
    model.fit(stream, callbacks=[Wait()], verbose=0)
    assert waited == [True]


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_batch_that_cannot_be_read_is_told_of_in_its_own_words_and_leaves_no_thread(at_once):
    class Gone(Levels):
        def read(self, positions):
            if positions[0] == 2:
                raise kf.UserError("the faces are gone")
            return self.levels[positions % 2]

    stream = kf.data.FaceStream(Gone(), np.arange(4), 1, shuffle=False)
    model = Looking(1)
    model.compile(steps_per_execution=at_once)
    with pytest.raises(kf.UserError, match=r"^the faces are gone$"):
        model.fit(stream, verbose=0)
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.skipif(TENSORFLOW, reason="TensorFlow keeps nothing of what it compiles")
def test_jax_keeps_what_it_compiles_in_our_cache_unless_told_where(own_cache, monkeypatch):
    import jax

    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        dcgan().compile()
        folder = Path(jax.config.jax_compilation_cache_dir)
        assert folder.parent == own_cache / "jax" and folder.is_dir()
        jax.config.update("jax_compilation_cache_dir", "/elsewhere")
        dcgan().compile()
        assert jax.config.jax_compilation_cache_dir == "/elsewhere"
        jax.config.update("jax_compilation_cache_dir", None)
        own_cache.joinpath("file").write_bytes(b"")
        monkeypatch.setenv("KERAS_FACES_CACHE", str(own_cache / "file"))  # no folder can be there
        dcgan().compile()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.skipif(not TENSORFLOW, reason="on JAX XLA compiles the whole step")
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(Decay(0.01, "linear", 4, 0.0, 1), beta_1=0.5),
        lambda: keras.optimizers.RMSprop(0.001, epsilon=1e-3, clipnorm=1.0),
        lambda: keras.optimizers.SGD(0.001, momentum=0.9, nesterov=True),
    ],
    ids=["adam", "rmsprop", "sgd"],
)
def test_an_optimizer_of_many_weights_is_compiled_and_moves_them_as_keras_does(
    optimizer, monkeypatch
):
    monkeypatch.setattr("keras_faces.training.tensorflow_steps.COMPILED_FROM", 10)
    learnt = []
    for eager in (True, False, False):
        model = kf.create_model("dense_vae", image_size=32, channels=1, hidden_units=4)
        for variable in model.encoder.trainable_variables:
            variable.constraint = Clip(0.03)
        model.compile({"vae": optimizer()}, run_eagerly=eager)
        model.fit(faces(), batch_size=4, epochs=2, shuffle=False, verbose=0)
        learnt.append([*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)])
    for plain, compiled, again in zip(*learnt, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-5, rtol=1e-4)
        np.testing.assert_array_equal(again, compiled)
    assert max(np.abs(weights).max() for weights in model.encoder.get_weights()) <= 0.030001


MEMORY = """
import numpy as np, psutil
from keras_faces.process import give_back_memory, prepare_process

prepare_process()
def held():
    return psutil.Process().memory_info().rss
before = held()
first, last = np.ones(50_000_000), np.ones(1)  # 400 MB, and what lies behind it
del first
kept = held() - before
give_back_memory()
assert kept > 3e8 > 1e8 > held() - before, (kept, held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_that_a_prepared_process_keeps_can_be_given_back():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


REPLICAS = """
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras
import numpy as np
import keras_faces as kf

faces = np.zeros((8, 32, 32, 1), "float32")
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def model():
    model = kf.create_model("dense_vae", image_size=32, channels=1, latent_dim=2, hidden_units=2)
    model.compile()
    return model

def refused(learn, *arguments, **named):
    try:
        learn(*arguments, **named)
    except kf.UserError as error:
        assert "replica" in str(error) and "JAX" in str(error) and "\\n" not in str(error)
    else:
        raise SystemExit(f"{learn} went through")

with mirrored.scope():
    within = model()
    refused(within.fit, kf.data.open_faces("orl", 32, 8), verbose=0)
refused(within.fit, faces, verbose=0)
refused(within.evaluate, faces, verbose=0)
refused(within.train_on_batch, faces)
outside = model()
outside.fit(faces, epochs=1, verbose=0)
with mirrored.scope():
    refused(outside.fit, faces, verbose=0)
refused(mirrored.run, outside.train_step, ((faces,),))
devices = keras.distribution.list_devices()
try:
    parallel = keras.distribution.DataParallel(devices=devices)
except AttributeError:  # Keras 3.14 has none for TensorFlow
    raise SystemExit
keras.distribution.set_distribution(parallel)
refused(model().fit, faces, verbose=0)
"""


def test_more_than_one_replica_on_tensorflow_is_refused():
    # In a process of its own: devices are counted once.
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", REPLICAS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_players_of_one_turn_see_the_same_weights_and_turns_follow_each_other():
    """Two players pulling one number each towards the other's: a game worked by hand."""

    @keras.saving.register_keras_serializable(package="tests")
    class Chase(kf.models.base.FaceModel):
        together = True
        latent_dim = 1

        def __init__(self, **kwargs):
            super().__init__(image_size=32, channels=1, **kwargs)
            with self.building():
                self.a = keras.Sequential(
                    [keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]
                )
                self.b = keras.Sequential(
                    [keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]
                )
            self.a.set_weights([np.array([[0.0]])])
            self.b.set_weights([np.array([[1.0]])])

        @property
        def players(self):
            return [Player("a", [self.a], ("near",)), Player("b", [self.b], ("near",))]

        def turns(self, images, labels=None):
            if self.together:
                yield self.players, images
            else:
                for player in self.players:
                    yield [player], images

        def losses(self, batch, training):
            one = keras.ops.ones((1, 1))
            gap = keras.ops.mean(keras.ops.square(self.a(one) - self.b(one)))
            return {"a": {"near": gap}, "b": {"near": gap}}

    for together, expected in ((True, (0.5, 0.5)), (False, (0.5, 0.75))):
        model = Chase()
        model.together = together
        # The gradient of (a - b)^2 by a is 2 (a - b): a rate of 1/4 halves the gap.
        model.compile({name: keras.optimizers.SGD(0.25) for name in "ab"})
        model.fit(faces(2), batch_size=2, epochs=1, verbose=0)
        found = [float(net.get_weights()[0][0, 0]) for net in (model.a, model.b)]
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_one_backward_pass_for_two_players_gives_what_a_pass_for_each_gives(spread, monkeypatch):
    def learnt():
        model = kf.create_model("began", image_size=32, channels=1, filters=4, spread=spread)
        model.k.assign(0.7)
        if spread:
            model.real_distance.assign(2.0)
        model.compile({player.name: keras.optimizers.SGD(0.5) for player in model.players})
        before = [variable.numpy() for variable in model.trainable_variables]
        model.fit(faces(4), batch_size=4, epochs=1, verbose=0)
        return [v.numpy() - old for v, old in zip(model.trainable_variables, before, strict=True)]

    together = learnt()
    monkeypatch.setattr(kf.models.BEGAN, "multiples", lambda self: {})
    for one, two in zip(together, learnt(), strict=True):
        assert np.abs(two).max() > 0
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4 * np.abs(two).max())


@pytest.mark.parametrize("name", ["gan", "wgan"])
def test_a_generator_that_moves_alone_is_shown_no_real_faces_and_loses_nothing(name):
    given = {"critic_steps": 1} if name == "wgan" else {"hidden_units": 8}
    model = kf.create_model(name, image_size=32, channels=1, filters=4, **given)
    (_, shown), ([moves], alone) = model.turns(keras.ops.convert_to_tensor(faces(4)))
    assert moves.name == "generator"
    assert shown[0] is not None and alone[0] is None
    losses = model.losses(alone, training=False)
    assert set(losses) == {"generator"}
    with_faces = model.losses((faces(4), *alone[1:]), training=False)["generator"]
    assert float(losses["generator"]["fake"]) == pytest.approx(float(with_faces["fake"]), rel=1e-5)


def test_player_optimizers_survive_their_config():
    group = PlayerOptimizers({"a": keras.optimizers.Adam(1e-3, beta_1=0.3), "b": "sgd"})
    again = PlayerOptimizers.from_config(group.get_config())
    assert again["a"].beta_1 == pytest.approx(0.3)
    assert isinstance(again["b"], keras.optimizers.SGD)


def test_fit_goes_on_in_the_middle_of_an_epoch_only_with_our_data():
    model = dcgan()
    model.compile()
    with pytest.raises(kf.UserError, match=r"kf\.data\.load"):
        model.fit(faces(), batch_size=2, initial_step=1, verbose=0)


@pytest.mark.parametrize(
    ("equilibrium", "margin", "waiting"),
    [
        (100.0, 1.0, "discriminator"),  # every loss is far below 100
        (0.001, 0.0, "decoder"),  # or above 0.001
        (100.0, 1000.0, None),  # or within 1000 of it
    ],
)
def test_a_player_who_has_to_wait_keeps_weights_and_optimizer_bit_for_bit(
    equilibrium, margin, waiting
):
    model = kf.create_model(
        "vaegan",
        image_size=32,
        channels=1,
        filters=4,
        hidden_units=16,
        equilibrium=equilibrium,
        margin=margin,
    )
    model.compile()

    def state(player):
        optimizer = model.optimizer[player.name]
        return [np.array(v.numpy()) for v in [*player.variables, *optimizer.variables]]

    before = {player.name: state(player) for player in model.players}
    model.fit(faces(), batch_size=4, epochs=1, verbose=0)
    for player in model.players:
        pairs = list(zip(before[player.name], state(player), strict=True))
        same = [np.array_equal(old, new) for old, new in pairs]
        if player.name == waiting:
            assert all(same)
        else:
            # All but the optimizer's learning rate, which is constant.
            assert same.count(True) == 1
            assert int(model.optimizer[player.name].iterations.numpy()) == 2


SCRIPT = """
import sys

import keras
import numpy as np
from keras import ops

import keras_faces as kf

STEPS, BATCH = 4, 8
SMALL = {
    "image_size": 32, "channels": 1, "filters": 4, "hidden_units": 16, "residual_blocks": 1,
    "critic_steps": 2, "pool_size": 8, "conditions": "a,b,c", "clip": 0.1,
}
FURTHER = {
    "vaegan": {"learning_rate": 1e-4},
    "vaegan_layer": {"learning_rate": 1e-4, "discriminator_norm": "layer"},
    "wgan_penalty": {"gradient_penalty": 10.0},
    "cyclegan_resnet": {"architecture": "resnet"},
}
# Adam and RMSprop divide a gradient by its own size. Where it is nothing but rounding, their tiny
# epsilon would make a whole step of it.
EPSILON = {"vaegan": 1e-3, "cyclegan": 1e-2}

rng = np.random.default_rng(0)
faces = rng.uniform(-1, 1, (STEPS * BATCH, 32, 32, 1)).astype("float32")
labels = rng.integers(0, 2, (STEPS * BATCH, 3)).astype("float32")
# A row of noise for every step, of which each draw takes the next part.
uniform = rng.uniform(size=(STEPS, 10_000)).astype("float32")
normal = rng.standard_normal((STEPS, 10_000)).astype("float32")


def part(table, shape):
    global taken
    count = 1
    for size in shape:
        count = count * size
    row = ops.take(ops.convert_to_tensor(table), model.rounds, axis=0)
    drawn = ops.reshape(row[taken : taken + count], shape)
    taken = taken + count
    return drawn


def shuffled(values, **kwargs):
    return ops.take(values, ops.argsort(part(uniform, values.shape)))


def uniformly(shape, minval=0.0, maxval=1.0, **kwargs):
    return minval + (maxval - minval) * part(uniform, shape)


def normally(shape, mean=0.0, stddev=1.0, **kwargs):
    return mean + stddev * part(normal, shape)


keras.random.shuffle, keras.random.uniform, keras.random.normal = shuffled, uniformly, normally

for case in sys.argv[2].split(","):
    name = next(name for name in (case, case.split("_")[0]) if name in kf.list_models())
    known = kf.models.hyperparameters(name)
    given = {**{key: SMALL[key] for key in SMALL if key in known}, **FURTHER.get(case, {})}
    model = kf.create_model(name, **given)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        scale = np.prod(variable.shape[:-1]) ** -0.5 if variable.ndim > 1 else 0.05
        variable.assign((variable.name == "gamma") + rng.normal(0, scale, variable.shape))
    turns = model.turns

    def from_the_row_s_beginning(images, labels=None):
        global taken
        taken = 0
        yield from turns(images, labels)

    model.turns = from_the_row_s_beginning
    model.compile()
    if name in EPSILON:
        for optimizer in model.optimizer.optimizers:
            optimizer.epsilon = EPSILON[name]
    begun = [np.array(v.numpy()) for v in model.trainable_variables]
    beside = (labels,) if model.conditional else ()
    model.fit(faces, *beside, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    assert int(model.rounds.numpy()) == STEPS
    learnt = [np.array(v.numpy()) for v in model.trainable_variables]
    np.savez(f"{sys.argv[1]}-{case}.npz", *learnt, *begun)
"""


BACKENDS = ("tensorflow", "jax")
CASES = [*kf.list_models(), "vaegan_layer", "wgan_penalty", "cyclegan_resnet"]
# Instance normalisation divides by the deviations of single pictures, of which some are small: on a
# processor with AVX-512 up to 1.5e-5 was seen, where weights move by 2.4e-4 or more.
ROUNDING = {"cyclegan_resnet": 4e-5}


def test_a_jax_model_and_a_tensorflow_model_learn_the_same(tmp_path):
    """Same start and same noise on both backends, so only rounding may differ."""
    for backend in BACKENDS:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / backend), ",".join(CASES)],
            env={"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for case in CASES:
        one, other = (np.load(tmp_path / f"{backend}-{case}.npz") for backend in BACKENDS)
        assert len(one.files) == len(other.files) > 0
        for key in one.files:
            allowed = ROUNDING.get(case, 1e-5)
            np.testing.assert_allclose(one[key], other[key], atol=allowed, rtol=0, err_msg=case)
        half = len(one.files) // 2
        moved = [np.abs(one[f"arr_{i}"] - one[f"arr_{half + i}"]).max() for i in range(half)]
        kernels = [i for i in range(half) if one[f"arr_{i}"].ndim > 1]
        assert min(moved[i] for i in kernels) > 5e-5, case  # far more than may differ


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    side=st.integers(1, 5),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    seed=st.integers(0, 99),
)
def test_a_transposed_convolution_has_keras_s_values_and_the_gradients_that_belong_to_them(
    side, kernel, stride, padding, seed
):
    hypothesis.assume(stride <= kernel)
    given = {"strides": stride, "padding": padding, "use_bias": False}
    ours, theirs = (
        kind(3, kernel, **given) for kind in (Conv2DTranspose, keras.layers.Conv2DTranspose)
    )
    rng = np.random.default_rng(seed)
    inputs, other = rng.normal(size=(2, 2, side, side, 4)).astype("float32")
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    kernels, others = rng.normal(size=(2, *ours.kernel.shape)).astype("float32")
    images = keras.Variable(inputs)
    ours.kernel.assign(kernels)

    def values(kernel, inputs):
        theirs.kernel.assign(kernel)
        return np.array(theirs(inputs))

    weights = rng.normal(size=values(kernels, inputs).shape).astype("float32")
    np.testing.assert_allclose(ours(inputs), values(kernels, inputs), atol=1e-4)

    def loss():
        return {"all": keras.ops.sum(ours(images) * weights)}, ()

    _, found = losses_and_gradients(loss, {"all": [images, ours.kernel]}, [])
    of_images, of_kernel = map(np.array, found["all"])
    # It is linear in the inputs and in the kernel: a change of one changes it by just so much.
    assert np.sum(of_images * other) == pytest.approx(
        np.sum(values(kernels, other) * weights), rel=1e-3, abs=1e-3
    )
    assert np.sum(of_kernel * others) == pytest.approx(
        np.sum(values(others, inputs) * weights), rel=1e-3, abs=1e-3
    )


@pytest.mark.parametrize("options", [{}, {"output_padding": 1}, {"dilation_rate": 2, "strides": 1}])
def test_a_transposed_convolution_takes_all_that_keras_s_takes(options):
    given = {"strides": 2, "padding": "same", "activation": "elu", **options}
    theirs = keras.layers.Conv2DTranspose(3, 3, **given)
    ours = Conv2DTranspose(3, 3, **given)
    inputs = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    bias = np.float32([1, 2, 3])
    ours.set_weights([theirs.get_weights()[0], bias])
    theirs.bias.assign(bias)
    np.testing.assert_array_equal(ours(inputs), theirs(inputs))
    assert Conv2DTranspose.from_config(ours.get_config()).get_config() == ours.get_config()
    half = Conv2DTranspose(3, 3, dtype="mixed_bfloat16", **given)
    assert keras.backend.standardize_dtype(half(inputs).dtype) == "bfloat16"


@pytest.mark.skipif(TENSORFLOW, reason="about XLA, for JAX")
@pytest.mark.parametrize(("chosen", "of_the_process"), [(None, "true"), ("false", "false")])
def test_operations_on_a_gpu_are_deterministic_unless_the_user_says_otherwise(
    chosen, of_the_process
):
    script = (
        "from keras_faces.training import backend; backend.make_deterministic()\n"
        "import os, jax; print(jax.numpy.arange(3).sum(), os.environ['XLA_FLAGS'])"
    )
    flags = "--xla_dump_max_hlo_modules=1"
    flags += f" --xla_gpu_deterministic_ops={chosen}" if chosen else ""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = f"--xla_dump_max_hlo_modules=1 --xla_gpu_deterministic_ops={of_the_process}"
    assert done.stdout.split(maxsplit=1) == ["3", expected + "\n"]
