"""BEGAN: golden parameter counts, losses against NumPy, and the balance of its two players."""

import keras
import numpy as np
import pytest

import keras_faces as kf


def began(**given):
    small = {"image_size": 32, "channels": 1, "filters": 4, "latent_dim": 8}
    return kf.create_model("began", **{**small, **given})


def noise_faces(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def some_latents(count=4, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8)).astype("float32")


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def error_of(model, images):
    """L(v) = mean |v - D(v)|, with NumPy's mean."""
    images = np.array(images)
    return np.abs(images - np.array(model.discriminator(images))).astype("float64").mean()


@pytest.mark.parametrize(
    ("filters", "image_size", "latent_dim", "generator", "discriminator"),
    [
        (64, 64, 64, 563_395, 4_011_651),
        (128, 64, 64, 1_716_611, 13_405_379),
        (128, 128, 64, 2_011_779, 23_221_443),
        (128, 128, 128, 2_536_067, 26_367_235),
    ],
)
def test_began_has_the_parameters_of_the_well_known_implementation(
    filters, image_size, latent_dim, generator, discriminator
):
    model = began(filters=filters, image_size=image_size, latent_dim=latent_dim, channels=3)
    assert trainable(model.generator) == generator
    assert trainable(model.discriminator) == discriminator


def test_the_encoders_filters_grow_linearly_and_the_decoders_stay():
    model = began(image_size=64, channels=3, filters=8)
    encoder, decoder = model.discriminator.layers

    def convolutions(network):
        found = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
        return [(layer.filters, layer.strides[0], layer.activation.__name__) for layer in found]

    elu = "elu"
    assert convolutions(encoder) == [
        (8, 1, elu),
        *[(8, 1, elu), (8, 1, elu), (8, 2, elu)],
        *[(16, 1, elu), (16, 1, elu), (16, 2, elu)],
        *[(24, 1, elu), (24, 1, elu), (24, 2, elu)],
        *[(32, 1, elu), (32, 1, elu)],
    ]
    assert encoder.layers[-1].units == 8
    assert encoder.layers[-1].activation.__name__ == "linear"
    assert convolutions(decoder) == [*[(8, 1, elu)] * 8, (3, 1, "linear")]
    # The generator is the decoder's architecture with its own weights.
    assert [type(a) for a in model.generator.layers] == [type(a) for a in decoder.layers]
    shapes = [v.shape for v in model.generator.variables]
    assert shapes == [v.shape for v in decoder.variables]
    assert not np.array_equal(model.generator.get_weights()[0], decoder.get_weights()[0])


def test_the_decoder_doubles_by_nearest_neighbours():
    [up] = [
        layer
        for layer in began(image_size=32).generator.layers
        if isinstance(layer, keras.layers.UpSampling2D)
    ][:1]
    block = np.array(up(np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]], "float32")))[0, :, :, 0]
    assert block.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_skip_connections_bring_the_first_tensor_to_every_size():
    """Each doubling feeds n channels more into the convolution behind it."""
    for size, doublings in ((32, 2), (64, 3)):
        plain = began(image_size=size)
        joined = began(image_size=size, skip_connections=True)
        more = doublings * 3 * 3 * 4 * 4  # 3x3 kernels from 4 more channels to 4
        assert trainable(joined.generator) - trainable(plain.generator) == more
        assert trainable(joined.discriminator) - trainable(plain.discriminator) == more
    # With the convolutions before the last doubling blind, latents still show.
    found = [layer for layer in joined.generator.layers if type(layer).__name__ == "Conv2D"]
    for layer in found[:-3]:
        layer.kernel.assign(np.zeros(layer.kernel.shape, "float32"))
    pictures = joined.decode(some_latents(2) * 3)
    assert np.abs(pictures[0] - pictures[1]).max() > 1e-4


def test_the_generators_rate_is_a_factor_of_the_learning_rate():
    model = began(generator_rate=0.25, learning_rate=2e-3, schedule="constant")
    rates = {
        name: float(optimizer.learning_rate)
        for name, optimizer in model.default_optimizers().items()
    }
    assert rates == pytest.approx({"discriminator": 2e-3, "generator": 5e-4})


def test_the_deconvolution_generator_is_zhangs_second_sentence():
    model = began(image_size=64, channels=3, filters=8, generator_architecture="deconvolution")
    ups = [layer for layer in model.generator.layers if "Transpose" in type(layer).__name__]
    assert [(up.filters, up.kernel_size, up.strides) for up in ups] == [
        (width, (4, 4), (2, 2)) for width in (16, 8, 3)
    ]
    assert isinstance(model.generator.layers[0], keras.layers.Dense)
    assert model.generator.layers[-1].activation.__name__ == "tanh"
    assert sum(isinstance(layer, keras.layers.ReLU) for layer in model.generator.layers) == 3
    # The discriminator does not depend on it.
    assert trainable(model.discriminator) == trainable(
        began(image_size=64, channels=3, filters=8).discriminator
    )


def test_began_losses_follow_from_its_two_networks():
    model = began()
    model.k.assign(0.3)
    images, latents = noise_faces(), some_latents()
    terms = model.losses((images, latents), training=False)
    real = error_of(model, images)
    fake = error_of(model, model.generator(latents))
    assert float(terms["discriminator"]["real"]) == pytest.approx(real, rel=1e-5)
    assert float(terms["discriminator"]["fake"]) == pytest.approx(-0.3 * fake, rel=1e-5)
    assert float(terms["generator"]["fake"]) == pytest.approx(fake, rel=1e-5)


def test_k_and_convergence_follow_the_recurrence_step_by_step():
    model = began(gamma=0.7, k_gain=0.4, learning_rate=1e-3)
    latents = some_latents()
    model.sample_noise = lambda images, labels=None: (images, latents)
    model.compile()
    k, moved = 0.0, set()
    for step in range(6):
        # Errors before the step, of faces that get easier and then harder to reproduce.
        images = noise_faces(seed=step) * (0.1 if step in (2, 3) else 1.0)
        real = error_of(model, images)
        fake = error_of(model, model.generator(latents))
        logs = model.fit(images, batch_size=4, epochs=1, verbose=0).history
        balance = 0.7 * real - fake
        before, k = k, min(max(k + 0.4 * balance, 0.0), 1.0)
        moved.add(np.sign(k - before))
        assert logs["k"] == [pytest.approx(k, abs=1e-5)]
        assert logs["convergence"] == [pytest.approx(real + abs(balance), rel=1e-4)]
        assert logs["real_error"] == [pytest.approx(real, rel=1e-4)]
        assert logs["generated_error"] == [pytest.approx(fake, rel=1e-4)]
        assert logs["discriminator_loss"] == [pytest.approx(real - before * fake, rel=1e-4)]
        assert logs["generator_loss"] == [pytest.approx(fake, rel=1e-4)]
    assert {1.0, -1.0} <= moved  # it went both ways
    assert float(model.k.numpy()) == pytest.approx(k, abs=1e-5)


def test_k_moves_by_hand_worked_steps_and_stays_between_0_and_1():
    model = began(gamma=0.5, k_gain=0.001)

    def adjusted(real, fake):
        model.adjust({"discriminator": {"real": real}, "generator": {"fake": fake}})
        return float(model.k.numpy())

    assert adjusted(0.4, 0.1) == pytest.approx(0.0001, rel=1e-4)
    assert adjusted(0.4, 0.5) == 0.0  # -0.0002 is below the range
    model.k.assign(0.9999)
    assert adjusted(1.0, 0.3) == 1.0  # and 1.0001 above it
    assert adjusted(0.4, 0.3) == pytest.approx(0.9999, rel=1e-6)
    measures = model.measure({"discriminator": {"real": 0.4}, "generator": {"fake": 0.3}})
    assert float(measures["convergence"]) == pytest.approx(0.4 + 0.1)


def test_k_never_falls_below_its_floor():
    model = began(gamma=0.5, k_gain=0.1, k_floor=0.2)
    for fake in (0.9, 0.9, 0.1, 0.9):
        model.adjust({"discriminator": {"real": 0.4}, "generator": {"fake": fake}})
        assert 0.2 <= float(model.k.numpy()) <= 1
    with pytest.raises(kf.UserError, match="k_floor must be 1 or less"):
        began(k_floor=1.5)


def test_a_generator_pays_for_faces_that_differ_less_than_real_ones():
    model = began(spread=2.0, spread_target=0.5)
    images, latents = noise_faces(), some_latents()

    def apart(faces):
        faces = np.array(faces)
        return np.abs(faces - np.concatenate([faces[-1:], faces[:-1]])).mean()

    model.compile()
    remembered = 0.0
    for step in range(4):
        terms = model.losses((images, latents), training=False)
        missing = 0.5 * remembered - apart(model.generator(latents))
        assert float(terms["generator"]["spread"]) == pytest.approx(2 * max(0, missing), rel=1e-4)
        model.adjust(terms)
        remembered = 0.98 * remembered + 0.02 * apart(images)
        assert float(model.real_distance.numpy()) == pytest.approx(remembered, rel=1e-5)
        if step == 1:
            model.real_distance.assign(10.0)  # as if real faces lay far apart
            remembered = 10.0
    assert missing > 0
    assert "generator_spread" in model.log_names
    assert "generator_spread" not in began().log_names


def test_latents_are_uniform_between_minus_one_and_one():
    from scipy import stats

    model = began()
    drawn = model.sample_latents(2000, seed=0)
    trained_on = np.array(model.sample_noise(np.zeros((2000, 32, 32, 1), "float32"))[1])
    for latents in (drawn, trained_on):
        assert latents.shape == (2000, 8)
        assert np.abs(latents).max() <= 1
        uniform = stats.uniform(-1, 2)
        assert stats.kstest(latents.ravel().astype("float64"), uniform.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.08


def test_faces_are_clipped_when_shown_but_not_when_judged():
    model = began()
    last = model.generator.layers[-1]
    last.bias.assign([1.0])
    latents = some_latents()
    raw = np.array(model.generator(latents))
    assert raw.max() > 1.0 > raw.min()
    assert np.array_equal(model.decode(latents), np.clip(raw, -1, 1))
    terms = model.losses((noise_faces(), latents), training=False)
    assert float(terms["generator"]["fake"]) == pytest.approx(error_of(model, raw), rel=1e-5)


def test_the_learning_rate_falls_by_a_tenth_every_2000_steps():
    model = began()
    schedule = model.learning_rate_for(model.learning_rate)
    found = [float(schedule(step)) for step in (0, 1999, 2000, 3999, 4000)]
    assert found == pytest.approx([1e-4, 1e-4, 0.9e-4, 0.9e-4, 0.81e-4])
    for optimizer in model.default_optimizers().values():
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert optimizer.beta_1 == 0.9


def test_autoencoded_faces_stand_below_their_originals():
    model = began()
    stream = kf.data.open_faces("orl", image_size=32, batch_size=8)
    picture = np.array(model.gallery(3, 0, "prior", stream)["autoencoded"])
    assert picture.shape == (2 + 2 * 34, 2 + 3 * 34)
    originals = kf.data.to_uint8(stream.sample(3, 0))[..., 0]
    for column, face in enumerate(originals):
        left = 2 + 34 * column
        assert np.array_equal(picture[2:34, left : left + 32], face)


def test_a_k_at_its_upper_end_is_called_out():
    model = began()
    assert not model.warnings(noise_faces(), {"k": 0.5})
    [warning] = model.warnings(noise_faces(), {"k": 0.995})
    assert "k_t" in warning


def test_values_out_of_range_are_refused():
    for given, word in (
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 1.5}, "gamma"),
        ({"gamma": -0.5}, "gamma"),
        ({"k_gain": -0.1}, "k_gain"),
        ({"generator_architecture": "decodr"}, "Did you mean 'decoder'"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ):
        with pytest.raises(kf.UserError, match=word):
            began(**given).compile()
    began(gamma=1.0).compile()
