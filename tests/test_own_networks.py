"""Networks of a user's own in a model: trained, kept and found again, or refused at once."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_faces as kf
from keras_faces import session
from keras_faces.cli import main
from keras_faces.runs import Run

SMALL = {"image_size": 32, "channels": 1, "filters": 2}
LATENTS = 5


@keras.saving.register_keras_serializable(package="mine")
class Doubled(layers.Layer):
    def call(self, x):
        return 2.0 * x


def own_generator(*more):
    return keras.Sequential(
        [
            keras.Input((LATENTS,)),
            layers.Dense(64, activation="relu", kernel_initializer=keras.initializers.HeNormal()),
            layers.Reshape((8, 8, 1)),
            layers.UpSampling2D(4),
            layers.Dropout(0.2),
            *more,
            layers.Conv2D(1, 3, padding="same", activation="tanh", name="last_3"),
        ]
    )


def own_discriminator():
    faces = keras.Input((32, 32, 1))
    features = layers.Conv2D(3, 4, strides=4, activation="leaky_relu")(faces)
    both = layers.concatenate([layers.Flatten()(features), layers.Flatten()(features * 2 + 1)])
    return keras.Model(faces, layers.Dense(1)(both[:, 2:]), name="mine")


def own_dcgan(**given):
    networks = {"generator": own_generator(Doubled()), "discriminator": own_discriminator()}
    return kf.create_model("dcgan", **{**SMALL, "latent_dim": LATENTS, **networks, **given})


def faces(count=16):
    return np.random.default_rng(0).uniform(-1, 1, (count, 32, 32, 1)).astype(np.float32)


def fit(model, epochs=1):
    model.fit(faces(), batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def assert_equal(one, other):
    for mine, others in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_own_networks_are_the_models_and_learn():
    generator = own_generator()
    model = own_dcgan(generator=generator, ema=0.9)
    model.compile()
    before = [model.generator.get_weights(), model.generator_average.get_weights()]
    fit(model)
    assert model.generator is generator
    for weights, network in zip(before, (model.generator, model.generator_average)):
        assert any(np.any(a != b) for a, b in zip(weights, network.get_weights()))
    made = model.generate(3)
    expected = model.generator_average(model.sample_latents(3))
    np.testing.assert_allclose(made, keras.ops.convert_to_numpy(expected), atol=1e-6)


def test_a_saved_model_has_them_again_and_goes_on_bit_for_bit(tmp_path):
    model = own_dcgan(ema=0.9)
    model.compile()
    fit(model)
    model.save(tmp_path / "model.keras")
    again = kf.load_model(tmp_path / "model.keras")
    assert again.own_networks == ("generator", "discriminator")
    for one in (model, again):
        fit(one)
    assert_equal(model, again)


def test_a_run_of_them_is_resumed_extended_and_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_export", lambda run, model: [])
    plan = {"data": "orl", "count": 0, "batch_size": 40, "grid_every": 100, "run": tmp_path / "one"}

    def own():
        keras.utils.set_random_seed(0)
        networks = {"generator": own_generator(), "discriminator": own_discriminator()}
        return {**SMALL, "latent_dim": LATENTS, **networks, "print_fn": lambda line: None}

    kf.train("dcgan", steps=6, **own(), **plan)
    kf.train("dcgan", steps=4, **own(), **{**plan, "run": tmp_path / "two"})
    assert main(["resume", str(tmp_path / "two"), "--steps", "2"]) == 0
    one, two = kf.load_model(tmp_path / "one"), kf.load_model(tmp_path / "two")
    np.testing.assert_array_equal(one.generate(4), two.generate(4))
    kf.export.write(two, tmp_path / "small", "keras")
    small = kf.load_model(tmp_path / "small" / "model.keras")
    np.testing.assert_array_equal(small.generate(4), two.generate(4))

    # Killed before its first step: the weights it began with are in no seed.
    for checkpoint in (tmp_path / "two" / "checkpoints").iterdir():
        checkpoint.unlink()
    (tmp_path / "two" / "model.keras").unlink()
    with pytest.raises(kf.UserError, match="weights that it began with"):
        kf.resume(tmp_path / "two")


def test_the_weights_that_a_run_began_with_are_kept_before_its_first_step(tmp_path):
    generator = own_generator()
    before = generator.get_weights()

    def stop(batch, logs):
        raise KeyboardInterrupt

    stopping = keras.callbacks.LambdaCallback(on_train_batch_begin=stop)
    model = own_dcgan(generator=generator)
    model.compile()
    stream = kf.data.open_faces("orl", image_size=32, channels=1, batch_size=40)
    run = Run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        model.fit(stream, callbacks=[*kf.callbacks.standard(run.folder), stopping], verbose=0)
    again = kf.load_model(run.folder)
    for kept, first in zip(again.generator.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, first)


def subclassed():
    class Own(keras.Model):
        def call(self, x):
            return x

    return Own()


def unregistered():
    class Unregistered(layers.Layer):
        def call(self, x):
            return x

    return own_generator(Unregistered())


@keras.saving.register_keras_serializable(package="mine")
class Forgetful(layers.Layer):
    """Its config leaves out how many weights it has."""

    def __init__(self, units=1, **kwargs):
        super().__init__(**kwargs)
        self.scale = self.add_weight(shape=(units,))

    def call(self, x):
        return x * keras.ops.sum(self.scale)

    def get_config(self):
        return {}


REFUSED = {
    "misspelt": ({"genrator": own_generator}, "Did you mean 'generator'"),
    "another's": ({"encoder": own_generator}, "Known: discriminator, generator"),
    "an average": ({"generator_average": own_generator, "ema": lambda: 0.9}, "no network"),
    "no network": ({"generator": lambda: 3}, "generator"),
    "a layer": ({"generator": lambda: layers.Dense(3)}, "generator"),
    "other shapes": ({"generator": own_discriminator}, r"\(5,\) to \(32, 32, 1\)"),
    "subclassed": ({"generator": subclassed}, "keras.Sequential that begins with keras.Input"),
    "not built": ({"generator": lambda: keras.Sequential([layers.Dense(3)])}, "keras.Input"),
    "a lambda": ({"generator": lambda: own_generator(layers.Lambda(abs))}, "Lambda"),
    "unregistered": ({"generator": unregistered}, "register_keras_serializable"),
    "forgetful": ({"generator": lambda: own_generator(Forgetful(3))}, "other weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_kept_is_refused_at_once(name):
    given, words = REFUSED[name]
    with pytest.raises(kf.UserError, match=words):
        own_dcgan(**{key: make() for key, make in given.items()})


@pytest.mark.parametrize("name", ["generator", "discriminator", "generator_average"])
def test_assigned_networks_are_refused_at_once(name):
    model = own_dcgan(ema=0.9)
    with pytest.raises(kf.UserError, match="cannot be assigned"):
        setattr(model, name, own_generator())


@pytest.mark.parametrize("layer", ["Lambda", "TFSMLayer", "StringLookup", "JaxLayer", "Pipeline"])
def test_a_file_whose_network_would_run_code_or_read_files_is_refused(layer):
    config = own_dcgan().get_config()
    network = config["generator"]["config"]["layers"][1]
    network |= {"class_name": layer, "module": "keras.layers", "registered_name": None}
    with pytest.raises(kf.UserError, match=layer):
        kf.models.DCGAN.from_config(config)


def test_a_file_whose_network_is_larger_than_the_memory_is_refused():
    config = own_dcgan().get_config()
    config["generator"]["config"]["layers"][1]["config"]["units"] = 10**12
    with pytest.raises(kf.UserError, match="memory"):
        kf.models.DCGAN.from_config(config)


@pytest.mark.parametrize("name", kf.list_models())
def test_every_model_takes_copies_of_all_its_networks_and_says_what_they_are(name):
    small = {"image_size": 32, "channels": 1}
    sizes = {"filters": 4, "hidden_units": 8, "latent_dim": 3, "residual_blocks": 1}
    known = kf.models.hyperparameters(name)
    given = {**small, **{key: value for key, value in sizes.items() if key in known}}
    model = kf.create_model(name, **given)
    again = kf.create_model(
        name,
        **given,
        **{key: keras.models.clone_model(network) for key, network in model.named_networks.items()},
    )
    assert again.own_networks == tuple(model.named_networks)
    again.set_weights(model.get_weights())
    rebuilt = type(again).from_config(again.get_config())
    rebuilt.set_weights(model.get_weights())
    assert_equal(again, rebuilt)
    assert [v.shape for v in model.variables] == [v.shape for v in rebuilt.variables]
