"""What every model must do, on the backend that is running: the contract of all of MODELS."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.checkpoints import read_latest, restore, save_checkpoint

TENSORFLOW = keras.backend.backend() == "tensorflow"
SMALL = {"image_size": 32, "channels": 1, "filters": 4}
EVERY_MODEL = pytest.mark.parametrize("name", kf.list_models())


def noise_faces(count=12, image_size=32, channels=1, seed=0):
    shape = (count, image_size, image_size, channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def small(name, **given):
    model = kf.create_model(name, **{**SMALL, **given})
    model.compile()
    return model


def values(model):
    return [np.array(variable.numpy()) for variable in model.variables]


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


@EVERY_MODEL
@pytest.mark.parametrize("image_size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_builds_and_trains_at_every_size_and_channel_count(name, image_size, channels):
    model = small(name, image_size=image_size, channels=channels)
    faces = noise_faces(4, image_size, channels)
    history = model.fit(faces, batch_size=2, epochs=1, verbose=0).history
    assert set(history) == set(model.log_names)
    assert all(np.isfinite(history[key]).all() for key in history)
    drawn = model.generate(3, seed=0)
    assert drawn.shape == (3, image_size, image_size, channels)
    assert drawn.dtype == np.float32
    assert np.abs(drawn).max() <= 1


@EVERY_MODEL
def test_generates_the_same_faces_from_the_same_seed_and_others_from_another(name):
    model = small(name)
    assert np.array_equal(model.generate(4, seed=3), model.generate(4, seed=3))
    assert not np.array_equal(model.generate(4, seed=3), model.generate(4, seed=4))


@EVERY_MODEL
def test_equal_seeds_begin_and_train_alike_and_other_seeds_do_not(name):
    faces = noise_faces()
    trained = []
    for seed in (1, 1, 2):
        model = small(name, seed=seed)
        model.fit(faces, batch_size=4, epochs=1, shuffle=False, verbose=0)
        trained.append(values(model))
    assert equal(trained[0], trained[1])
    assert not equal(trained[0], trained[2])


@EVERY_MODEL
def test_building_a_model_leaves_the_users_random_state_and_precision_alone(name):
    import random

    random.seed(5)
    expected = random.Random(5).random()
    policy = keras.config.dtype_policy().name
    kf.create_model(name, **SMALL, dtype="mixed_bfloat16")
    assert random.random() == expected
    assert keras.config.dtype_policy().name == policy


@EVERY_MODEL
def test_a_player_changes_its_own_weights_and_nobody_elses(name):
    for moving in [player.name for player in small(name).players]:
        model = small(name)
        # With a learning rate of zero, every other player stands still.
        for player, optimizer in model.optimizer.by_player.items():
            optimizer.learning_rate = 1e-2 if player == moving else 0.0
        before = {
            player.name: [np.array(v.numpy()) for v in player.variables] for player in model.players
        }
        model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0)
        for player in model.players:
            after = [np.array(v.numpy()) for v in player.variables]
            if player.name == moving:
                assert not equal(before[player.name], after)
            else:
                assert equal(before[player.name], after)


@EVERY_MODEL
def test_saves_and_reloads_equal_and_trains_on_alike(name, tmp_path):
    model = small(name, ema=0.9, schedule="cosine", decay_steps=50)
    faces = noise_faces()
    model.fit(faces, batch_size=4, epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = kf.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert np.array_equal(loaded.generate(4, seed=0), model.generate(4, seed=0))
    weights = zip(model.weights, loaded.weights, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in weights)
    optimizers = zip(model.optimizer.variables, loaded.optimizer.variables, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in optimizers)


@EVERY_MODEL
def test_resumes_bit_for_bit_from_a_checkpoint_in_the_middle_of_an_epoch(name, tmp_path):
    faces = kf.data.open_faces("orl", image_size=32, batch_size=40)  # 9 steps an epoch
    given = {"ema": 0.9, "schedule": "exponential", "decay_steps": 3, "decay_rate": 0.5}

    unbroken = small(name, **given)
    unbroken.fit(faces, epochs=2, verbose=0)

    class StopAt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                save_checkpoint(tmp_path, self.model, {"step": 5})
                self.model.stop_training = True

    small(name, **given).fit(faces, epochs=2, callbacks=[StopAt()], verbose=0)

    position, arrays = read_latest(tmp_path)
    resumed = small(name, **given, seed=0)
    restore(resumed, arrays)
    resumed.fit(faces, epochs=2, initial_step=position["step"], verbose=0)
    assert equal(values(unbroken), values(resumed))
    assert equal(
        [np.array(v.numpy()) for v in unbroken.optimizer.variables],
        [np.array(v.numpy()) for v in resumed.optimizer.variables],
    )


@EVERY_MODEL
def test_training_takes_numpy_arrays_labelled_data_and_tf_data_alike(name):
    model = small(name)
    faces = noise_faces()
    assert model.fit(faces, np.zeros(len(faces)), batch_size=4, verbose=0).history
    loaded = kf.data.load("orl", image_size=32, batch_size=100, labels="identity")
    assert model.fit(loaded, epochs=1, verbose=0).history
    assert model.evaluate(faces, batch_size=4, verbose=0, return_dict=True).keys() == set(
        model.log_names
    )


@EVERY_MODEL
def test_bfloat16_by_one_argument_keeps_weights_and_output_in_float32(name):
    model = small(name, dtype="mixed_bfloat16")
    history = model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0).history
    assert all(np.isfinite(history[key]).all() for key in history)
    hidden = [layer.compute_dtype for layer in model._flatten_layers() if layer.count_params()]
    assert "bfloat16" in hidden
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.trainable_variables} == {
        "float32"
    }
    assert model.generate(2).dtype == np.float32


@EVERY_MODEL
def test_every_hyperparameter_changes_what_is_computed(name):
    changed = {
        "image_size": 64,
        "channels": 3,
        "seed": 1,
        "ema": 0.5,
        "schedule": "cosine",
        "decay_steps": 7,
        "decay_rate": 0.25,
        "dtype": "mixed_bfloat16",
    }
    # A decay's length and factor say something only together with a schedule.
    ground = {"schedule": "exponential", "decay_steps": 1, "decay_rate": 0.5}
    faces = noise_faces(4)

    def outcome(given):
        model = small(name, **given)
        if (model.image_size, model.channels) != (32, 1):
            return model.generate(2)
        model.fit(faces, batch_size=2, epochs=2, shuffle=False, verbose=0)
        return model.generate(2, sampler=model.samplers[0])

    reference = outcome(ground)
    assert np.array_equal(reference, outcome(ground))
    for parameter, spec in kf.models.hyperparameters(name).items():
        value = changed.get(parameter, SMALL.get(parameter, spec.default))
        if parameter not in changed:
            value = value * 2 if isinstance(value, int) else value * 0.5
        drawn = outcome({**ground, parameter: value})
        assert drawn.shape != reference.shape or not np.array_equal(drawn, reference), parameter


@EVERY_MODEL
def test_encodes_and_reconstructs_where_there_is_an_encoder(name):
    model = small(name)
    if not model.has_encoder:
        assert not hasattr(model, "encode")
        return
    faces = noise_faces(3)
    latents = model.encode(faces)
    assert latents.shape == (3, model.latent_dim)
    assert np.array_equal(model.reconstruct(faces), model.decode(latents))


@pytest.mark.skipif(not TENSORFLOW, reason="SavedModels are written by TensorFlow")
@EVERY_MODEL
def test_exports_signatures_that_serve_the_same_output(name, tmp_path):
    import tensorflow as tf

    model = small(name)
    model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0)
    model.export(tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures

    def call(signature, value):
        argument = next(iter(served[signature].structured_input_signature[1]))
        return next(iter(served[signature](**{argument: tf.constant(value)}).values())).numpy()

    for count in (1, 5):
        latents = model.draw_latents(count, seed=1, sampler="prior")
        np.testing.assert_allclose(call("decode", latents), model.decode(latents), atol=1e-5)
        np.testing.assert_allclose(
            call("serving_default", latents), call("generate", latents), atol=0
        )
    if model.has_encoder:
        faces = noise_faces(3)
        np.testing.assert_allclose(call("encode", faces), model.encode(faces), atol=1e-4)
        np.testing.assert_allclose(call("reconstruct", faces), model.reconstruct(faces), atol=1e-4)
    else:
        assert "encode" not in served


@EVERY_MODEL
def test_refuses_sizes_channels_and_precisions_that_it_cannot_make(name):
    for given, word in (
        ({"image_size": 65}, "32, 64, 128"),
        ({"channels": 2}, "1 \\(grey\\) or 3"),
        ({"dtype": "float16"}, "mixed_bfloat16"),
        ({"ema": 1.0}, "ema"),
        ({"filters": 0}, "filters"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"schedule": "cosin"}, "cosine"),
        ({"schedule": "linear"}, "decay_steps"),
        ({"filterz": 3}, "filters"),
    ):
        with pytest.raises(kf.UserError, match=word):
            small(name, **given)


@EVERY_MODEL
def test_refuses_faces_of_another_shape_or_range(name):
    model = small(name)
    with pytest.raises(kf.UserError, match="image_size=32"):
        model.fit(kf.data.open_faces("orl", image_size=64, batch_size=16), verbose=0)
    with pytest.raises(kf.UserError, match="latents of shape"):
        model.decode(np.zeros((2, 3), "float32"))
    with pytest.raises(kf.UserError, match="count"):
        model.generate(0)
    with pytest.raises(kf.UserError, match="prior"):
        model.generate(1, sampler="priro")
    if model.has_encoder:
        with pytest.raises(kf.UserError, match="to_float"):
            model.encode(np.zeros((1, 32, 32, 1), "uint8"))
        with pytest.raises(kf.UserError, match="-1, 1"):
            model.encode(np.full((1, 32, 32, 1), 200.0))


@EVERY_MODEL
def test_evaluating_leaves_training_as_it_was(name):
    faces = noise_faces()
    trained = []
    for validation in (None, noise_faces(8, seed=1)):
        model = small(name)
        model.fit(
            faces,
            batch_size=4,
            epochs=2,
            shuffle=False,
            validation_data=None if validation is None else (validation,),
            validation_batch_size=4,
            verbose=0,
        )
        trained.append(values(model))
    assert equal(*trained)


@EVERY_MODEL
def test_compiling_twice_changes_nothing(name):
    model = small(name)
    count = len(model.metrics_variables)
    model.compile()
    assert len(model.metrics_variables) == count
    assert model.fit(noise_faces(), batch_size=4, verbose=0).history


@EVERY_MODEL
def test_the_smallest_latent_works(name):
    model = small(name, latent_dim=1)
    model.fit(noise_faces(), batch_size=4, verbose=0)
    model.fit_density([noise_faces()])
    for sampler in model.usable_samplers:
        assert np.isfinite(model.generate(3, sampler=sampler)).all()
