"""What is peculiar to each model: golden counts, losses against hand-worked values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_faces as kf
from keras_faces.models.encoding import nearest_squares
from keras_faces.models.layers import BatchNormalization, Conv2D
from keras_faces.models.losses import cross_entropy, kl_divergence, squared_error


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def test_dcgan_has_the_parameters_of_the_example_code_layer_by_layer():
    model = kf.create_model("dcgan", image_size=64, channels=3)
    assert trainable(model.generator) == 3_576_704
    assert trainable(model.discriminator) == 2_765_568
    kernels = [int(np.prod(v.shape)) for v in model.generator.trainable_variables if v.ndim > 1]
    assert kernels == [100 * 512 * 16, 512 * 256 * 16, 256 * 128 * 16, 128 * 64 * 16, 64 * 3 * 16]
    kernels = [int(np.prod(v.shape)) for v in model.discriminator.trainable_variables if v.ndim > 1]
    assert kernels == [3 * 64 * 16, 64 * 128 * 16, 128 * 256 * 16, 256 * 512 * 16, 512 * 16]


def test_dcgan_weights_begin_as_the_paper_says():
    model = kf.create_model("dcgan")
    for network in (model.generator, model.discriminator):
        for variable in network.trainable_variables:
            value = np.array(variable.numpy())
            if variable.name == "kernel" and value.size > 10_000:
                assert abs(value.mean()) < 1e-3
                assert value.std() == pytest.approx(0.02, rel=0.03)
            elif variable.name == "gamma":
                assert value.mean() == pytest.approx(1, abs=0.01)
            elif variable.name == "beta":
                assert not value.any()


def test_cross_entropy_of_logits_equals_hand_worked_values():
    logits = np.array([[0.0], [2.0], [-3.0]], "float32")
    probability = 1 / (1 + np.exp(-logits.astype("float64")))
    assert float(cross_entropy(logits, 1)) == pytest.approx(-np.log(probability).mean(), rel=1e-6)
    assert float(cross_entropy(logits, 0)) == pytest.approx(
        -np.log(1 - probability).mean(), rel=1e-6
    )
    assert float(cross_entropy(np.array([[-500.0]], "float32"), 1)) == pytest.approx(500)


def test_dcgan_losses_and_accuracies_follow_from_its_two_networks():
    model = kf.create_model("dcgan", image_size=32, channels=1, filters=4)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (5, 32, 32, 1)).astype("float32")
    latents = rng.standard_normal((5, 100)).astype("float32")
    terms = model.losses((images, latents), training=False)
    real = np.array(model.discriminator(images), "float64")
    fake = np.array(model.discriminator(model.generator(latents)), "float64")

    def entropy(logits, label):
        return np.log1p(np.exp(-logits if label else logits)).mean()

    assert float(terms["discriminator"]["real"]) == pytest.approx(entropy(real, 1), rel=1e-5)
    assert float(terms["discriminator"]["fake"]) == pytest.approx(entropy(fake, 0), rel=1e-5)
    assert float(terms["generator"]["fake"]) == pytest.approx(entropy(fake, 1), rel=1e-5)
    assert float(terms["measures"]["real_accuracy"]) == pytest.approx((real > 0).mean())
    assert float(terms["measures"]["fake_accuracy"]) == pytest.approx((fake < 0).mean())


def test_kl_divergence_equals_the_closed_form_and_a_sampled_estimate():
    mean = np.array([[0.0, 1.0], [2.0, -1.0]], "float32")
    log_variance = np.array([[0.0, 0.5], [-1.0, 0.0]], "float32")
    # Hand-worked: 0, (1 + e^0.5 - 1.5) / 2, (4 + e^-1 - 0) / 2 and (1 + 1 - 1) / 2.
    expected = (0 + (np.exp(0.5) - 0.5) / 2 + (4 + np.exp(-1.0)) / 2 + 0.5) / 2
    assert float(kl_divergence(mean, log_variance)) == pytest.approx(expected, rel=1e-6)
    rng = np.random.default_rng(0)
    deviation = np.exp(log_variance / 2)
    z = mean + deviation * rng.standard_normal((200_000, 2, 2))
    log_ratio = -((z - mean) ** 2) / (2 * deviation**2) - np.log(deviation) + z**2 / 2
    assert log_ratio.sum(-1).mean() == pytest.approx(expected, rel=0.01)


def test_squared_error_is_summed_over_values_and_averaged_over_images():
    images = np.zeros((2, 2, 2, 1), "float32")
    other = images.copy()
    other[0] = 1.0
    other[1, 0, 0] = 2.0
    assert float(squared_error(images, other)) == pytest.approx((4 + 4) / 2)


def test_the_vaes_loss_is_the_negative_bound_up_to_a_constant():
    model = kf.create_model(
        "vae", image_size=32, channels=1, filters=4, latent_dim=3, noise_scale=0.5, kl_weight=2.0
    )
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, 32, 32, 1)).astype("float32")
    epsilon = rng.standard_normal((4, 3)).astype("float32")
    terms = model.losses((images, epsilon), training=False)["vae"]
    moments = np.array(model.encoder(images))
    mean, log_variance = moments[:, :3], moments[:, 3:]
    decoded = np.array(model.decoder(mean + np.exp(log_variance / 2) * epsilon))
    error = ((images - decoded).astype("float64") ** 2).sum((1, 2, 3)).mean()
    assert float(terms["reconstruction"]) == pytest.approx(error / (2 * 0.5**2), rel=1e-4)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean()
    assert float(terms["kl"]) == pytest.approx(2.0 * kl, rel=1e-4)


def test_encode_gives_the_posterior_mean_whatever_the_batch():
    model = kf.create_model("vae", image_size=32, channels=1, filters=4, latent_dim=3)
    images = np.random.default_rng(0).uniform(-1, 1, (70, 32, 32, 1)).astype("float32")
    expected = np.array(model.encoder(images))[:, :3]
    np.testing.assert_allclose(model.encode(images), expected, atol=1e-5)


def test_the_fitted_density_keeps_the_codes_mean_and_covariance():
    model = kf.create_model("vae", image_size=32, channels=1, filters=4, latent_dim=3)
    rng = np.random.default_rng(0)
    faces = rng.uniform(-1, 1, (300, 32, 32, 1)).astype("float32")
    assert model.usable_samplers == ("prior",)
    with pytest.raises(kf.UserError, match="fit_density"):
        model.generate(2, sampler="fitted")
    with pytest.raises(kf.UserError, match="Two faces"):
        model.fit_density([faces[:1]])
    model.fit_density([faces[:100], faces[100:]])
    assert model.default_sampler == "fitted"
    codes = model.encode(faces)
    drawn = model.sample_latents(40_000, seed=0, sampler="fitted")
    assert np.isfinite(drawn).all()
    scale = codes.std(0)
    np.testing.assert_allclose(drawn.mean(0) / scale, codes.mean(0) / scale, atol=0.05)
    # All but the axis of least variance, which the kernel leaves to the choice of the code.
    _, axes = np.linalg.eigh(np.cov(codes.T))
    expected = np.var((codes - codes.mean(0)) @ axes, axis=0)
    found = np.var((drawn - codes.mean(0)) @ axes, axis=0)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0.08)
    assert 0.5 * expected[0] < found[0] < 1.1 * expected[0]
    prior = model.sample_latents(40_000, seed=0, sampler="prior")
    np.testing.assert_allclose(prior.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(prior.T), np.eye(3), atol=0.03)


def test_nearest_squares_equals_the_search_by_hand():
    codes = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert nearest_squares(codes) == pytest.approx([1.0, 18.0, 1.0])


@pytest.mark.parametrize("training", [True, False])
def test_fused_batch_normalisation_equals_keras(training):
    rng = np.random.default_rng(0)
    inputs = rng.normal(3, 2, (6, 5, 5, 4)).astype("float32")
    layers = [
        cls(momentum=0.9, epsilon=1e-5)
        for cls in (BatchNormalization, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        layer.build(inputs.shape)
        layer.gamma.assign([1.0, 2.0, 0.5, -1.0])
        layer.beta.assign([0.0, 1.0, -1.0, 2.0])
    ours, theirs = (np.array(layer(inputs, training=training)) for layer in layers)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for a, b in zip(layers[0].variables, layers[1].variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
    if training:
        np.testing.assert_allclose(
            layers[0].moving_mean.numpy(), 0.1 * inputs.mean((0, 1, 2)), atol=1e-5
        )
        np.testing.assert_allclose(
            layers[0].moving_variance.numpy(), 0.9 + 0.1 * inputs.var((0, 1, 2)), atol=1e-4
        )


def test_training_on_forgets_a_density_that_is_no_longer_true():
    model = kf.create_model("vae", image_size=32, channels=1, filters=4, latent_dim=3)
    model.compile()
    faces = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype("float32")
    model.fit_density([(faces, np.zeros(8))])  # with labels, as data may come
    assert model.default_sampler == "fitted"
    model.fit(faces, batch_size=4, verbose=0)
    assert model.default_sampler == "prior"


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_convolution_of_what_was_doubled_equals_keras_and_so_do_its_gradients(kernel, use_bias):
    rng = np.random.default_rng(0)
    small = rng.normal(size=(2, 5, 7, 3)).astype("float32")
    given = {"padding": "same", "activation": "elu", "use_bias": use_bias}
    ours = Conv2D(4, kernel, doubled=True, **given)
    theirs = keras.layers.Conv2D(4, kernel, **given)
    double = keras.layers.UpSampling2D(2)
    for layer in (ours, theirs):
        layer.build((2, 10, 14, 3))
    theirs.set_weights([rng.normal(size=w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    weights = rng.normal(size=(2, 10, 14, 4)).astype("float32")

    def results(layer, **mode):
        with tf.GradientTape() as tape:
            inputs = tf.Variable(small)
            outputs = layer(double(inputs), **mode)
            loss = tf.reduce_sum(weights * outputs)
        return outputs, *tape.gradient(
            loss, [inputs, *(v.value for v in layer.trainable_variables)]
        )

    expected = results(theirs)
    for mode in ({"training": True}, {"training": False}):
        for a, b in zip(results(ours, **mode), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gan", {}), ("began", {}), ("began", {"skip_connections": True})],
)
def test_generators_make_the_same_faces_by_the_short_way_as_by_the_long_one(name, options):
    """The short way holds only where nothing but a doubling stands before the convolution."""
    model = kf.create_model(name, image_size=32, channels=3, filters=4, latent_dim=3, **options)
    latents = model.sample_latents(4, seed=0)
    quick = [layer for layer in model.generator.layers if getattr(layer, "doubled", False)]
    assert len(quick) == 2  # 8, 16, 32
    short = np.array(model.generator(latents, training=True))
    for layer in quick:
        layer.doubled = False
    np.testing.assert_allclose(np.array(model.generator(latents, training=True)), short, atol=1e-5)
