"""The guard: stops at the first loss that is not finite, and warns in words."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.callbacks import NonFiniteLoss, TrainingWarning
from keras_faces.callbacks.guard import Guard
from keras_faces.checkpoints import read_latest
from keras_faces.runs import Run


def model(name, **given):
    made = kf.create_model(name, image_size=32, channels=1, filters=4, **given)
    made.compile()
    return made


class PoisonAt(keras.callbacks.Callback):
    """Puts a NaN into a network before a step."""

    def __init__(self, network, step):
        super().__init__()
        self.network, self.step, self.seen = network, step, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step:
            variable = getattr(self.model, self.network).trainable_variables[-1]
            variable.assign(np.full(variable.shape, np.nan))


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("dcgan", "discriminator", ["'discriminator', term 'real'", "'generator', term 'fake'"]),
        ("vae", "encoder", ["'vae', term 'reconstruction'", "'vae', term 'kl'"]),
        ("vae", "decoder", ["'vae', term 'reconstruction'"]),
    ],
)
def test_the_first_loss_that_is_not_finite_stops_and_is_named(tmp_path, name, network, words):
    faces = kf.data.load("orl", image_size=32, batch_size=40)
    made = model(name)
    callbacks = [PoisonAt(network, 5), *kf.callbacks.standard(tmp_path / "run")]
    callbacks[-1].every_seconds = 0.0
    with pytest.raises(NonFiniteLoss) as caught:
        made.fit(faces, epochs=1, callbacks=callbacks, verbose=0)
    assert "step 5" in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    if network == "decoder":
        assert "'kl'" not in str(caught.value)
    position, arrays = read_latest(Run(tmp_path / "run").checkpoints)
    assert position["step"] == 4
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_learning_rate_that_explodes_stops_with_a_line_and_no_stack(tmp_path, capsys):
    from keras_faces.cli import main

    words = "train vae --image-size 32 --filters 4 --batch-size 40 --steps 60 --count 0"
    status = main([*words.split(), "--learning-rate", "1e12", "--run", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert status == 1
    assert "not finite at step" in error
    assert "Traceback" not in error


class Clock(keras.callbacks.Callback):
    """Ends training after some steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.seen = steps, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.model.stop_training = self.seen >= self.steps


def guarded(made, tmp_path, patience=100):
    faces = kf.data.load("orl", image_size=32, batch_size=4)
    made.fit(
        faces,
        epochs=9,
        callbacks=[Guard(tmp_path / "run", patience=patience), Clock(patience)],
        verbose=0,
    )


def test_a_generator_whose_samples_are_alike_is_called_collapsed(tmp_path):
    made = model("dcgan", learning_rate=1e-9)
    # Without its first layer's weights the generator draws one face, whatever the latent.
    made.generator.layers[0].kernel.assign(np.zeros(made.generator.layers[0].kernel.shape))
    with pytest.warns(TrainingWarning, match="Collapsed generator"):
        guarded(made, tmp_path)


def test_a_generator_of_black_and_white_patterns_is_called_saturated(tmp_path):
    made = model("dcgan", learning_rate=1e-9)
    last = [layer for layer in made.generator.layers if layer.weights][-1]
    last.kernel.assign(1000 * np.array(last.kernel))
    with pytest.warns(TrainingWarning, match=r"Saturated generator: \d\d% .*faces' \d%"):
        guarded(made, tmp_path)


def test_latents_that_nobody_reads_are_called_a_posterior_collapse(tmp_path):
    made = model("vae", noise_scale=100.0, learning_rate=0.02)
    with pytest.warns(TrainingWarning, match="Posterior collapse: only [01] of 128"):
        guarded(made, tmp_path)


def test_a_discriminator_that_always_wins_is_called_one_sided(tmp_path):
    made = model("dcgan")
    made.optimizer["generator"].learning_rate = 0.0
    made.optimizer["discriminator"].learning_rate = 0.005
    with pytest.warns(TrainingWarning, match="One-sided discriminator: it recognises"):
        guarded(made, tmp_path)


def test_a_healthy_vae_is_not_warned_of(tmp_path, recwarn):
    guarded(model("vae", learning_rate=2e-3, noise_scale=0.2), tmp_path, patience=500)
    assert [w for w in recwarn if isinstance(w.message, TrainingWarning)] == []


def test_active_units_are_counted_by_their_variance():
    from keras_faces.models.losses import active_units

    means = np.zeros((100, 4))
    means[:, 1] = np.random.default_rng(0).normal(0, 1, 100)
    means[:, 2] = np.random.default_rng(1).normal(0, 0.05, 100)  # variance 0.0025
    means[:, 3] = 7.0  # the same for every face
    assert active_units(means) == 1
