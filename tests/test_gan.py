"""GAN: both networks against the report's listing, its turns and its loss."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_faces as kf


def gan(**given):
    small = {"image_size": 32, "channels": 1, "filters": 4, "hidden_units": 16, "latent_dim": 8}
    return kf.create_model("gan", **{**small, **given})


def noise_faces(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def listing(network):
    """Every layer's name, activation where it has one, and the shape of its output."""
    found = []
    for layer in network.layers:
        activation = getattr(layer, "activation", None)
        name = type(layer).__name__ + (f" {activation.__name__}" if activation else "")
        found.append((name, *layer.output.shape[1:]))
    return found


def test_both_networks_are_the_reports_layer_by_layer():
    model = kf.create_model("gan", image_size=64, channels=3)
    assert model.generator.input_shape == (None, 100)
    assert listing(model.generator) == [
        ("Dense linear", 1024),
        ("Dense linear", 128 * 16 * 16),
        ("BatchNormalization", 128 * 16 * 16),
        ("Activation tanh", 128 * 16 * 16),
        ("Reshape", 16, 16, 128),
        ("UpSampling2D", 32, 32, 128),
        ("Conv2D linear", 32, 32, 64),
        ("Activation tanh", 32, 32, 64),
        ("UpSampling2D", 64, 64, 64),
        ("Conv2D linear", 64, 64, 3),
        ("Activation tanh", 64, 64, 3),
    ]
    assert listing(model.discriminator) == [
        ("Conv2D linear", 64, 64, 64),
        ("Activation tanh", 64, 64, 64),
        ("MaxPooling2D", 32, 32, 64),
        ("Conv2D linear", 28, 28, 128),  # no border mode, which was "valid" then
        ("Activation tanh", 28, 28, 128),
        ("MaxPooling2D", 14, 14, 128),
        ("Flatten", 14 * 14 * 128),
        ("Dense linear", 1024),
        ("Activation tanh", 1024),
        ("Dense linear", 1),  # its sigmoid is in the loss
    ]
    for network in (model.generator, model.discriminator):
        kernels = [layer.kernel_size for layer in network.layers if "Conv" in type(layer).__name__]
        assert kernels == [(5, 5), (5, 5)]


def test_the_hidden_activation_is_tanh_where_it_is_asked_for():
    layers = listing(gan(hidden_activation="tanh").generator)
    assert layers[0] == ("Dense tanh", 16)
    assert layers[1:] == listing(gan().generator)[1:]


def kinds(network):
    return [entry[0] for entry in listing(network)]


def test_relu_stands_where_tanh_does_but_the_pictures_keep_theirs():
    plain, tried = gan(), gan(activation="relu")
    for network in ("generator", "discriminator"):
        expected = [kind.replace("tanh", "relu") for kind in kinds(getattr(plain, network))]
        if network == "generator":
            expected[-1] = "Activation tanh"
        assert kinds(getattr(tried, network)) == expected


def test_dropout_stands_in_the_discriminator_alone_and_drops_in_training_alone():
    model = gan(dropout=0.5)
    assert kinds(model.generator) == kinds(gan().generator)
    without = [kind for kind in kinds(model.discriminator) if kind != "Dropout"]
    assert without == kinds(gan().discriminator)
    assert kinds(model.discriminator).count("Dropout") == 3
    faces = noise_faces()
    plain = gan().discriminator(faces, training=True)
    model.discriminator.set_weights(gan().discriminator.get_weights())
    assert np.allclose(model.discriminator(faces, training=False), plain, atol=1e-6)
    # What the next are drawn from is a variable, so that a checkpoint holds it.
    assert len(model.variables) == len(gan().variables) + 3
    first, second = (np.array(model.discriminator(faces, training=True)) for _ in range(2))
    assert not np.allclose(first, plain) and not np.allclose(first, second)


def test_the_discriminator_normalises_its_hidden_layers_over_batches_where_that_is_asked_for():
    model = gan(discriminator_norm="batch")
    assert kinds(model.discriminator) == [
        "Conv2D linear",
        "Activation tanh",
        "MaxPooling2D",
        "Conv2D linear",
        "BatchNormalization",
        "Activation tanh",
        "MaxPooling2D",
        "Flatten",
        "Dense linear",
        "BatchNormalization",
        "Activation tanh",
        "Dense linear",
    ]
    biases = [layer.use_bias for layer in model.discriminator.layers if hasattr(layer, "use_bias")]
    assert biases == [True, False, False, True]


def test_the_variants_train_and_are_refused_where_they_make_no_sense():
    model = gan(activation="relu", dropout=0.3, discriminator_norm="batch")
    model.compile()
    logs = model.fit(noise_faces(8), batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(logs["discriminator_loss"]).all()
    for wrong, told in (
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\). Received: 1.0"),
        ({"activation": "elu"}, "activation named 'elu'"),
        ({"discriminator_norm": "layer"}, "discriminator_norm named 'layer'"),
    ):
        with pytest.raises(kf.UserError, match=told):
            gan(**wrong)


def test_the_discriminator_moves_first_and_each_turn_has_new_noise():
    model = gan()
    model.compile({name: keras.optimizers.SGD(0.1) for name in ("discriminator", "generator")})
    model.run_eagerly = True
    sample_noise, seen = model.sample_noise, []

    def looking(images, labels=None):
        drawn = sample_noise(images, labels)
        noise = ops.convert_to_numpy(drawn[1])
        judge, maker = (
            ops.convert_to_numpy(network.trainable_variables[0].value)
            for network in (model.discriminator, model.generator)
        )
        seen.append((noise, judge, maker))
        return drawn

    model.sample_noise = looking
    model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0)
    (first_noise, judge, maker), (second_noise, later_judge, later_maker) = seen
    assert not np.array_equal(first_noise, second_noise)
    assert not np.array_equal(judge, later_judge)
    assert np.array_equal(maker, later_maker)
    assert not np.array_equal(maker, model.generator.trainable_variables[0].numpy())


@pytest.mark.parametrize("saturating", [True, False])
def test_gan_losses_follow_from_its_two_networks(saturating):
    model = gan(saturating=saturating)
    images = noise_faces(5)
    latents = np.random.default_rng(1).uniform(-1, 1, (5, 8)).astype("float32")
    terms = model.losses((images, latents), training=False)

    def probability(pictures):
        logits = np.array(model.discriminator(pictures, training=False), "float64")
        return 1 / (1 + np.exp(-logits))

    real = probability(images)
    fake = probability(model.generator(latents, training=False))
    # The printed algorithm, whose discriminator ascends.
    assert float(terms["discriminator"]["real"]) == pytest.approx(-np.log(real).mean(), rel=1e-4)
    assert float(terms["discriminator"]["fake"]) == pytest.approx(
        -np.log(1 - fake).mean(), rel=1e-4
    )
    wanted = np.log(1 - fake).mean() if saturating else -np.log(fake).mean()
    assert float(terms["generator"]["fake"]) == pytest.approx(wanted, rel=1e-4)
    assert float(terms["measures"]["real_accuracy"]) == pytest.approx((real > 0.5).mean())
    assert float(terms["measures"]["fake_accuracy"]) == pytest.approx((fake < 0.5).mean())


def test_a_discriminator_that_is_sure_gives_finite_losses():
    model = gan()
    last = model.discriminator.layers[-1]
    last.bias.assign([-300.0])
    latents = np.zeros((2, 8), "float32")
    terms = model.losses((noise_faces(2), latents), training=False)
    assert float(terms["discriminator"]["real"]) == pytest.approx(300, rel=0.05)
    assert float(terms["generator"]["fake"]) == pytest.approx(0, abs=1e-6)


def test_the_optimizers_follow_nesterovs_momentum():
    for optimizer in gan().default_optimizers().values():
        assert isinstance(optimizer, keras.optimizers.SGD)
        assert float(optimizer.learning_rate) == pytest.approx(5e-4)
        assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    for optimizer in gan(momentum=0.0).default_optimizers().values():
        assert (optimizer.momentum, optimizer.nesterov) == (0.0, False)


def test_adam_takes_the_momentum_as_its_beta_1():
    for optimizer in gan(rule="adam", momentum=0.5).default_optimizers().values():
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(5e-4)
        assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.999)


def test_latents_are_uniform_between_minus_one_and_one():
    from scipy import stats

    model = gan()
    trained_on = np.array(model.sample_noise(np.zeros((2000, 32, 32, 1), "float32"))[1])
    for latents in (model.sample_latents(2000, seed=0), trained_on):
        assert np.abs(latents).max() <= 1
        uniform = stats.uniform(-1, 2)
        assert stats.kstest(latents.ravel().astype("float64"), uniform.cdf).pvalue > 1e-3


def test_a_one_sided_discriminator_is_called_out():
    model = gan()
    assert not model.warnings(noise_faces(), {"real_accuracy": 0.8, "fake_accuracy": 0.7})
    for real, fake in ((1.0, 1.0), (0.2, 0.3)):
        [warning] = model.warnings(noise_faces(), {"real_accuracy": real, "fake_accuracy": fake})
        assert "One-sided discriminator" in warning


def test_values_out_of_range_are_refused():
    for given, word in (
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"hidden_units": 0}, "hidden_units"),
        ({"hidden_activation": "tahn"}, "Did you mean 'tanh'"),
        ({"rule": "adams"}, "Did you mean 'adam'"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ):
        with pytest.raises(kf.UserError, match=word):
            gan(**given).compile()
