"""The trainer that all models share: optimizers, schedules, averages, turns."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.training.players import Player, PlayerOptimizers
from keras_faces.training.schedules import learning_rate_schedule

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


def test_optimizers_follow_the_schedule_in_training():
    model = dcgan(schedule="exponential", decay_steps=2, decay_rate=0.5, learning_rate=0.01)
    model.compile()
    model.fit(faces(), batch_size=2, epochs=1, verbose=0)  # four steps
    for optimizer in model.optimizer.optimizers:
        assert int(optimizer.iterations.numpy()) == 4
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * 0.25)


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


def test_steps_per_execution_that_does_not_divide_an_epoch_is_refused():
    model = dcgan()
    model.compile(steps_per_execution=2)
    with pytest.raises(kf.UserError, match="1, 3, 9"):
        model.fit(kf.data.open_faces("orl", image_size=32, batch_size=40), verbose=0)


def test_players_of_one_turn_see_the_same_weights_and_turns_follow_each_other():
    """Two players pulling one number each towards the other's: a game worked by hand."""

    @keras.saving.register_keras_serializable(package="tests")
    class Chase(kf.training.base.FaceModel):
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

        def turns(self, images):
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


def test_a_jax_model_and_a_tensorflow_model_learn_the_same(tmp_path):
    """Same start and same latents on both backends, so only rounding may differ."""
    import os
    import subprocess
    import sys

    script = """
import sys, numpy as np, keras, keras_faces as kf
for name in ("dcgan", "vae"):
    model = kf.create_model(name, image_size=32, channels=1, filters=4)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.05, variable.shape))
    latents = rng.standard_normal((4, 8, model.latent_dim)).astype("float32")
    faces = rng.uniform(-1, 1, (4, 8, 32, 32, 1)).astype("float32")
    # The latents come with the images, as a second channel.
    model.draw = lambda batch: (
        batch[..., :1],
        keras.ops.reshape(batch[..., 1], (8, -1))[:, : model.latent_dim],
    )
    model.compile()
    for images, noise in zip(faces, latents):
        beside = np.zeros((8, 1024), "float32")
        beside[:, : model.latent_dim] = noise
        batch = np.concatenate([images, beside.reshape(8, 32, 32, 1)], axis=-1)
        model.fit(batch, batch_size=8, epochs=1, shuffle=False, verbose=0)
    np.savez(sys.argv[1] + name, *[v.numpy() for v in model.trainable_variables])
"""
    for backend in ("tensorflow", "jax"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / backend)],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in ("dcgan", "vae"):
        one = np.load(tmp_path / f"tensorflow{name}.npz")
        other = np.load(tmp_path / f"jax{name}.npz")
        assert len(one.files) == len(other.files) > 0
        for key in one.files:
            np.testing.assert_allclose(one[key], other[key], atol=1e-5)
