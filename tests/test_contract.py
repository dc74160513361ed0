"""What every model must do, on the backend that is running: the contract of all of MODELS."""

from typing import Literal, get_args, get_origin

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.checkpoints import read_latest, restore, save_checkpoint
from keras_faces.models.layers import BatchNormalization

TENSORFLOW = keras.backend.backend() == "tensorflow"
# What makes a model small, each where the model has it.
SMALL = {
    "image_size": 32,
    "channels": 1,
    "filters": 4,
    "hidden_units": 16,
    "residual_blocks": 1,
    "critic_steps": 2,
    "pool_size": 40,
    "conditions": "glasses,smiling,beard,woman",  # those of the ORL faces
}
EVERY_MODEL = pytest.mark.parametrize("name", kf.list_models())
WITH_LATENTS = pytest.mark.parametrize(
    "name", [name for name in kf.list_models() if "latent_dim" in kf.models.hyperparameters(name)]
)


def noise_faces(count=12, image_size=32, channels=1, seed=0):
    shape = (count, image_size, image_size, channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def of(name, table):
    """The entries of a table that are hyper-parameters of a model."""
    known = kf.models.hyperparameters(name)
    return {parameter: value for parameter, value in table.items() if parameter in known}


def small(name, run_eagerly=False, **given):
    """A small model; `run_eagerly` where a few steps are over before they would be compiled."""
    model = kf.create_model(name, **{**of(name, SMALL), **given})
    model.compile(run_eagerly=run_eagerly)
    return model


def known(model, count):
    """What a model is told of faces beside their pixels: `()`, or `(labels,)`."""
    if not model.conditional:
        return ()
    shape = (count, len(model.condition_names))
    return (np.random.default_rng(count).integers(0, 2, shape).astype("float32"),)


def learn(model, faces, **given):
    """Train on an array, with labels where the model needs them; return the logs."""
    given = {"batch_size": 4, "epochs": 1, "verbose": 0, **given}
    return model.fit(faces, *known(model, len(faces)), **given).history


def orl(model, **given):
    """The ORL faces, with labels where the model needs them."""
    labels = "attributes" if model.conditional else None
    return kf.data.open_faces("orl", **{"image_size": 32, "labels": labels, **given})


def made(model, count=4, seed=0, **given):
    """Faces that a model makes: from latents, or else from faces."""
    if model.latent_dim is not None:
        return model.generate(count, seed=seed, **given)
    return model.translate(noise_faces(count, model.image_size, model.channels, seed))


def names_of_layers(model):
    return [
        name
        for layer in getattr(model, "layers", ())
        for name in (layer.name, *names_of_layers(layer))
    ]


def values(model):
    return [np.array(variable.numpy()) for variable in model.variables]


def equal(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


@EVERY_MODEL
@pytest.mark.parametrize(("image_size", "channels"), [(32, 3), (64, 1), (128, 3)])
def test_builds_and_trains_at_every_size_and_channel_count(name, image_size, channels):
    model = small(name, run_eagerly=True, image_size=image_size, channels=channels)
    history = learn(model, noise_faces(4, image_size, channels), batch_size=2)
    assert set(history) == set(model.log_names)
    assert ("loss" in history) == (len(model.players) == 1)
    assert all(np.isfinite(history[key]).all() for key in history)
    faces = made(model, 3)
    assert faces.shape == (3, image_size, image_size, channels)
    assert faces.dtype == np.float32
    assert np.abs(faces).max() <= 1


@EVERY_MODEL
def test_makes_the_same_faces_from_the_same_seed_and_others_from_another(name):
    model = small(name)
    assert np.array_equal(made(model, seed=3), made(model, seed=3))
    assert not np.array_equal(made(model, seed=3), made(model, seed=4))


@EVERY_MODEL
def test_equal_seeds_begin_and_train_alike_and_other_seeds_do_not(name):
    faces = noise_faces()
    trained = []
    for seed in (1, 1, 2):
        model = small(name, run_eagerly=True, seed=seed)
        learn(model, faces, shuffle=False)
        trained.append(values(model))
    assert equal(trained[0], trained[1])
    assert not equal(trained[0], trained[2])


@EVERY_MODEL
def test_layers_are_named_alike_whatever_was_built_before(name):
    # TensorFlow rounds sums by the names of their terms.
    first = names_of_layers(small(name))
    small(name)
    for _ in range(7):  # what "conv2d_9" would follow is then called "conv2d_10"
        keras.layers.Conv2D(1, 1), keras.layers.Dense(1), keras.layers.LeakyReLU()
    assert names_of_layers(small(name)) == first
    assert len(first) > 3


@EVERY_MODEL
def test_building_a_model_leaves_the_users_random_state_and_precision_alone(name):
    import random

    random.seed(5)
    expected = random.Random(5).random()
    policy = keras.config.dtype_policy().name
    kf.create_model(name, **of(name, SMALL), dtype="mixed_bfloat16")
    assert random.random() == expected
    assert keras.config.dtype_policy().name == policy


def learn_at(model, rates):
    """Train with learning rates by player, 0 where none is given; return everybody's weights."""
    for player, optimizer in model.optimizer.by_player.items():
        optimizer.learning_rate = rates.get(player, 0.0)
    learn(model, noise_faces(4))
    return {
        player.name: [np.array(v.numpy()) for v in player.variables] for player in model.players
    }


@EVERY_MODEL
def test_a_player_changes_its_own_weights_and_nobody_elses(name):
    for moving in [player.name for player in small(name).players]:
        model = small(name, run_eagerly=True, schedule="constant")
        # With learning rates of zero, weights may be clipped once; then they stand still.
        before = learn_at(model, {})
        after = learn_at(model, {moving: 1e-2})
        for player in before:
            assert equal(before[player], after[player]) == (player != moving), (moving, player)


@EVERY_MODEL
def test_saves_and_reloads_equal_and_trains_on_alike(name, tmp_path):
    model = small(name, ema=0.9, schedule="cosine", decay_steps=50)
    learn(model, noise_faces(), shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = kf.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert np.array_equal(made(loaded), made(model))
    weights = zip(model.weights, loaded.weights, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in weights)
    optimizers = zip(model.optimizer.variables, loaded.optimizer.variables, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in optimizers)


@EVERY_MODEL
def test_resumes_bit_for_bit_from_a_checkpoint_in_the_middle_of_an_epoch(name, tmp_path):
    given = {"ema": 0.9, "schedule": "exponential", "decay_steps": 3, "decay_rate": 0.5}
    given["decay_after"] = 2

    unbroken = small(name, **given)
    # 40 faces, so 5 steps an epoch.
    faces = orl(unbroken, split="test", batch_size=8, shuffle=True, drop_remainder=True)
    unbroken.fit(faces, epochs=2, verbose=0)

    class StopAt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                save_checkpoint(tmp_path, self.model, {"step": 3})
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
    assert learn(model, faces)
    labels = "attributes" if model.conditional else None if model.translates_to else "identity"
    loaded = kf.data.load("orl", image_size=32, batch_size=20, split="test", labels=labels)
    assert model.fit(loaded, epochs=1, verbose=0).history
    logs = model.evaluate(faces, *known(model, 12), batch_size=4, verbose=0, return_dict=True)
    assert logs.keys() == set(model.log_names)


@EVERY_MODEL
def test_bfloat16_by_one_argument_keeps_weights_and_output_in_float32(name):
    model = small(name, dtype="mixed_bfloat16")
    history = learn(model, noise_faces())
    assert all(np.isfinite(history[key]).all() for key in history)
    hidden = [layer.compute_dtype for layer in model._flatten_layers() if layer.count_params()]
    assert "bfloat16" in hidden
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.trainable_variables} == {
        "float32"
    }
    assert made(model, 2).dtype == np.float32


# Beside these every hyper-parameter says something within two steps: a decay needs a schedule, a
# floor a rate that falls, a margin an equilibrium (the losses are within it here), k a gain that is
# felt, a pool to be full.
GROUND = {
    "schedule": "exponential",
    "decay_steps": 1,
    "decay_rate": 0.5,
    "decay_after": 0,
    "learning_rate": 1e-3,
    "k_gain": 0.5,
    "spread": 1.0,
    "spread_target": 1000.0,  # which two steps fall short of
    "equilibrium": 100.0,
    "margin": 1000.0,
    "pool_size": 2,
}
# Other values, where not simply twice as much, half as much, or the opposite.
OTHER = {
    "image_size": 64,
    "channels": 3,
    "seed": 1,
    "ema": 0.5,
    "schedule": "constant",
    "decay_steps": 7,
    "decay_rate": 0.25,
    "decay_after": 2,
    "min_learning_rate": 1e-3,
    "augment": "mirror",
    "r1": 1.0,
    "k_floor": 0.5,
    "spread_target": 1e-6,
    "dropout": 0.5,
    "beta_1": 0.3,
    "epsilon": 0.01,
    "dtype": "mixed_bfloat16",
    "conditions": "smiling,glasses",
    "critic_steps": 1,
    "gradient_penalty": 1.0,
    "equilibrium": 2000.0,
    "margin": 1.0,
    "pool_size": 4,
}


def other(parameter, value, form):
    if parameter in OTHER:
        return OTHER[parameter]
    if get_origin(form) is Literal:
        return next(choice for choice in get_args(form) if choice != value)
    if isinstance(value, bool):
        return not value
    return value * 2 if isinstance(value, int) else value * 0.5


@EVERY_MODEL
def test_every_hyperparameter_changes_what_is_computed(name):
    ground = {**of(name, SMALL), **of(name, GROUND)}
    faces = noise_faces(4)

    def shapes(model):
        return [tuple(v.shape) for v in model.trainable_variables]

    def outcome(given, model=None):
        model = model or small(name, run_eagerly=True, **given)
        if (model.image_size, model.channels) == (32, 1):
            learn(model, faces, batch_size=2, shuffle=False)
        return [made(model, 2), *(np.array(v.numpy()) for v in model.trainable_variables)]

    reference_shapes = shapes(small(name, **ground))
    reference = outcome(ground)
    assert equal(reference, outcome(ground))
    for parameter, spec in kf.models.hyperparameters(name).items():
        value = other(parameter, ground.get(parameter, spec.default), spec.annotation)
        changed = {**ground, parameter: value}
        model = small(name, run_eagerly=True, **changed)
        if shapes(model) == reference_shapes:  # other networks compute something else anyway
            assert not equal(reference, outcome(changed, model)), parameter


@EVERY_MODEL
def test_encodes_and_reconstructs_where_there_is_an_encoder(name):
    model = small(name)
    if not model.has_encoder:
        assert not hasattr(model, "encode")
        return
    faces = noise_faces(3)
    codes = model.encode(faces, *known(model, 3))
    assert codes.shape == (3, model.code_dim)
    assert np.array_equal(model.reconstruct(faces, *known(model, 3)), model.decode(codes))


def served_and_own(model, count):
    """For each signature its inputs by name, and what the model itself makes of them."""
    faces = noise_faces(count)
    if model.latent_dim is None:
        return {
            "sketch_to_photo": ({"sketches": faces}, model.translate(faces)),
            "photo_to_sketch": ({"photos": faces}, model.translate(faces, to="sketch")),
        }
    labels = known(model, count)
    given = {"conditions": labels[0]} if labels else {}
    noise = np.random.default_rng(1).standard_normal((count, model.latent_dim), np.float32)
    codes = model.sample_latents(count, seed=1, **given)
    found = {
        "generate": ({"noise": noise, **given}, model.generate(count, seed=1, **given)),
        "decode": ({"latents": codes[:, : model.latent_dim], **given}, model.decode(codes)),
    }
    if model.has_encoder:
        latents = model.encode(faces, *labels)[:, : model.latent_dim]
        found["encode"] = ({"faces": faces, **given}, latents)
        found["reconstruct"] = ({"faces": faces, **given}, model.reconstruct(faces, *labels))
    return found


@pytest.mark.skipif(not TENSORFLOW, reason="SavedModels are written by TensorFlow")
@EVERY_MODEL
def test_exports_signatures_that_serve_the_same_output(name, tmp_path):
    import tensorflow as tf

    model = small(name, run_eagerly=True)
    learn(model, noise_faces())
    model.export(tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures
    for count in (1, 5):
        expected = served_and_own(model, count)
        seeds = {"generate_from_seeds"} if model.latent_dim is not None else set()
        assert set(served) == {"serving_default", *seeds, *expected}
        expected["serving_default"] = next(iter(expected.values()))
        for signature, (inputs, own) in expected.items():
            tensors = {argument: tf.constant(value) for argument, value in inputs.items()}
            [output] = served[signature](**tensors).values()
            np.testing.assert_allclose(output.numpy(), own, atol=1e-4)


# What no value may be, each where the model has it.
OUT_OF_RANGE = {
    "beta_1": (-0.1, 1.0, 1.5, float("nan")),
    "clip": (float("nan"), float("inf")),
    "epsilon": (0.0, -1e-8, 1e-40, float("nan"), float("inf")),
    "min_learning_rate": (-1e-5, 1.0, float("nan")),
    "gamma": (float("nan"), float("inf")),
    "learning_rate": (float("nan"), float("inf")),
    "momentum": (-0.1, 1.0, float("nan")),
    "rho": (-0.1, 1.0, float("nan")),
}


@EVERY_MODEL
def test_refuses_values_that_no_training_survives(name):
    for parameter, refused in of(name, OUT_OF_RANGE).items():
        for value in refused:
            with pytest.raises(kf.UserError, match=parameter):
                small(name, **{parameter: value})


NEVER_ZERO = {"filters": 0, "hidden_units": 0, "latent_dim": 0, "learning_rate": 0.0}


@EVERY_MODEL
def test_refuses_sizes_channels_and_precisions_that_it_cannot_make(name):
    for given, word in (
        ({"image_size": 65}, "32, 64, 128"),
        ({"channels": 2}, "1 \\(grey\\) or 3"),
        ({"dtype": "float16"}, "mixed_bfloat16"),
        ({"ema": 1.0}, "ema"),
        ({"schedule": "cosin"}, "cosine"),
        ({"schedule": "linear", "decay_steps": 0}, "decay_steps"),
        ({"schedule": "linear", "decay_steps": 9, "decay_after": -1}, "decay_after"),
        ({"image_sise": 32}, "image_size"),
        *(({parameter: zero}, parameter) for parameter, zero in of(name, NEVER_ZERO).items()),
    ):
        with pytest.raises(kf.UserError, match=word):
            small(name, **given)


@EVERY_MODEL
def test_refuses_faces_of_another_shape_or_range(name):
    model = small(name)
    with pytest.raises(kf.UserError, match="image_size=32"):
        model.fit(orl(model, image_size=64, batch_size=16), verbose=0)
    takes_faces = {
        "encode": lambda faces: model.encode(faces, *known(model, 1)),
        "translate": lambda faces: model.translate(faces),
    }
    for door, call in takes_faces.items():
        if not hasattr(model, door) or (door == "translate" and not model.translates_to):
            continue
        with pytest.raises(kf.UserError, match="to_float"):
            call(np.zeros((1, 32, 32, 1), "uint8"))
        with pytest.raises(kf.UserError, match="-1, 1"):
            call(np.full((1, 32, 32, 1), 200.0))
        with pytest.raises(kf.UserError, match="channels=1"):
            call(np.zeros((1, 32, 32, 3), "float32"))


@WITH_LATENTS
def test_refuses_latents_and_samplers_that_it_does_not_have(name):
    model = small(name)
    with pytest.raises(kf.UserError, match="latents of shape"):
        model.decode(np.zeros((2, 3), "float32"))
    for count in (0, 2.5, "3"):
        with pytest.raises(kf.UserError, match="count"):
            model.generate(count)
    for seed in (-1, 0.5):
        with pytest.raises(kf.UserError, match="seed"):
            model.generate(1, seed=seed)
    with pytest.raises(kf.UserError, match="prior"):
        model.generate(1, sampler="priro")


@EVERY_MODEL
def test_every_network_normalises_by_its_batch_in_training_and_never_else(name, monkeypatch):
    model = small(name, run_eagerly=True)
    call, modes = BatchNormalization.call, []

    def watched(layer, inputs, training=None, mask=None):
        modes.append(bool(training))
        return call(layer, inputs, training=training, mask=mask)

    monkeypatch.setattr(BatchNormalization, "call", watched)
    learn(model, noise_faces(4))
    assert all(modes)
    trained_by = len(modes)
    model.evaluate(noise_faces(4), *known(model, 4), batch_size=4, verbose=0)
    made(model, 2)
    assert not any(modes[trained_by:])
    assert bool(modes) == any(
        isinstance(layer, BatchNormalization) for layer in model._flatten_layers()
    )


@EVERY_MODEL
def test_evaluating_leaves_training_as_it_was(name):
    trained = []
    for validation in (None, noise_faces(8, seed=1)):
        model = small(name, run_eagerly=True)
        given = {} if validation is None else {"validation_batch_size": 4}
        if validation is not None:
            given["validation_data"] = (validation, *known(model, 8))
        learn(model, noise_faces(), epochs=2, shuffle=False, **given)
        trained.append(values(model))
    assert equal(*trained)


@EVERY_MODEL
def test_compiling_twice_changes_nothing(name):
    model = small(name)
    count = len(model.metrics_variables)
    model.compile(run_eagerly=True)
    assert len(model.metrics_variables) == count
    assert learn(model, noise_faces())


@WITH_LATENTS
def test_the_smallest_latent_works(name):
    model = small(name, run_eagerly=True, latent_dim=1)
    faces = noise_faces()
    learn(model, faces)
    model.fit_density([(faces, *known(model, len(faces)))])
    for sampler in model.usable_samplers:
        assert np.isfinite(model.generate(3, sampler=sampler)).all()
