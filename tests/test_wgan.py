"""WGAN: clipped weights, the critic's turns, and the gradient penalty of hand-worked critics."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_faces as kf


def wgan(**given):
    small = {"image_size": 32, "channels": 1, "filters": 4, "latent_dim": 8, "critic_steps": 2}
    return kf.create_model("wgan", **{**small, **given})


def noise_faces(count=8, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def batch(count=4, seed=0):
    """Images, latents and shares, as `sample_noise` returns them."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((count, 8)).astype("float32")
    return noise_faces(count, seed), latents, rng.uniform(size=(count, 1, 1, 1)).astype("float32")


def largest(network):
    return max(np.abs(np.array(v.numpy())).max() for v in network.trainable_variables)


class Watch(keras.callbacks.Callback):
    """Keeps what a function of the model returns after every step."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    def on_train_batch_end(self, step, logs=None):
        self.model.sync()
        self.seen.append(self.look(self.model))


def test_all_the_critics_weights_are_within_the_clip_after_every_step():
    model = wgan(clip=0.02, learning_rate=0.05)
    names = {variable.name for variable in model.critic.trainable_variables}
    assert {"kernel", "gamma", "beta"} <= names  # those of batch normalisation too
    assert largest(model.critic) > 0.5
    model.compile()
    watch = Watch(lambda model: largest(model.critic))
    model.fit(noise_faces(12), batch_size=4, epochs=1, callbacks=[watch], verbose=0)
    assert len(watch.seen) == 3
    assert watch.seen == [pytest.approx(0.02)] * 3  # so large a step drives some to the limit
    assert largest(model.generator) > 0.5


def test_the_critic_is_clipped_before_the_generator_moves():
    model = wgan(clip=0.02, learning_rate=0.05)
    model.compile(run_eagerly=True)
    sample_noise, seen = model.sample_noise, []

    def looking(images, labels=None):
        weights = [ops.convert_to_numpy(v.value) for v in model.critic.trainable_variables]
        seen.append(max(np.abs(weight).max() for weight in weights))
        return sample_noise(images, labels)

    model.sample_noise = looking
    model.fit(noise_faces(4), batch_size=4, epochs=1, verbose=0)
    assert seen[0] > 0.5
    assert seen[1:] == [pytest.approx(0.02)] * 2


def test_a_reloaded_model_still_clips(tmp_path):
    model = wgan(clip=0.02, learning_rate=0.05)
    model.compile(run_eagerly=True)
    model.save(tmp_path / "model.keras")
    loaded = kf.load_model(tmp_path / "model.keras")
    loaded.fit(noise_faces(4), batch_size=4, epochs=1, verbose=0)
    assert largest(loaded.critic) == pytest.approx(0.02)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_critic_moves_that_often_a_round_each_time_on_its_own_part(critic_steps):
    model = wgan(critic_steps=critic_steps)
    model.compile(run_eagerly=True)
    sample_noise, parts, latents = model.sample_noise, [], []

    def recording(images, labels=None):
        drawn = sample_noise(images, labels)
        parts.append(ops.convert_to_numpy(drawn[0]))
        latents.append(ops.convert_to_numpy(drawn[1]))
        return drawn

    model.sample_noise = recording
    faces = noise_faces(12)
    model.fit(faces, batch_size=6, epochs=1, shuffle=False, verbose=0)
    assert int(model.optimizer["critic"].iterations.numpy()) == 2 * critic_steps
    assert int(model.optimizer["generator"].iterations.numpy()) == 2
    assert len(parts) == 2 * (critic_steps + 1)
    for number in range(2):
        first = number * (critic_steps + 1)
        seen = np.concatenate(parts[first : first + critic_steps])
        assert np.array_equal(seen, faces[6 * number : 6 * number + 6])
    # Every turn has noise of its own.
    assert len({noise.tobytes() for noise in latents}) == len(latents)


def test_wgan_losses_follow_from_its_two_networks():
    model = wgan()
    images, latents, mix = batch()
    terms = model.losses((images, latents, mix), training=False)
    real = np.array(model.critic(images), "float64").mean()
    fake = np.array(model.critic(model.generator(latents)), "float64").mean()
    assert terms["critic"].keys() == {"real", "fake"}
    assert float(terms["critic"]["real"]) == pytest.approx(-real, rel=1e-4)
    assert float(terms["critic"]["fake"]) == pytest.approx(fake, rel=1e-4)
    assert float(terms["generator"]["fake"]) == pytest.approx(-fake, rel=1e-4)
    assert float(terms["measures"]["wasserstein"]) == pytest.approx(real - fake, rel=1e-4)


def test_the_critic_has_no_sigmoid_and_the_networks_are_dcgans():
    model = kf.create_model("wgan", image_size=64, channels=3)
    dcgan = kf.create_model("dcgan", image_size=64, channels=3)
    for ours, theirs in ((model.generator, dcgan.generator), (model.critic, dcgan.discriminator)):
        assert [v.shape for v in ours.variables] == [v.shape for v in theirs.variables]
    kernel = model.critic.trainable_variables[-1]
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    first = np.array(model.critic(images))
    kernel.assign(100 * kernel)
    np.testing.assert_allclose(np.array(model.critic(images)), 100 * first, rtol=1e-4)


def test_the_penalty_of_a_linear_critic_depends_on_its_slope_alone():
    linear = keras.Sequential(
        [keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model = wgan(gradient_penalty=10.0, critic=linear)
    slope = np.random.default_rng(0).standard_normal((1024, 1)).astype("float32")
    for norm in (0.25, 1.0, 3.0):
        model.critic.set_weights([norm * slope / np.linalg.norm(slope), np.array([5.0])])
        terms = model.losses(batch(), training=False)
        assert float(terms["critic"]["penalty"]) == pytest.approx(10 * (norm - 1) ** 2, abs=1e-4)


def test_the_penalty_is_taken_at_points_between_real_and_generated_faces():
    model = wgan(gradient_penalty=10.0)
    images, latents, mix = batch()

    @keras.saving.register_keras_serializable(package="tests")
    class HalfSquare(keras.layers.Layer):
        """x -> |x|^2 / 2, whose gradient at x is x."""

        def call(self, inputs, training=False):
            return 0.5 * ops.sum(ops.square(inputs), axis=(1, 2, 3))

    model.critic = HalfSquare()
    between = mix * images + (1 - mix) * np.array(model.generator(latents))
    norms = np.sqrt((between.astype("float64") ** 2).sum((1, 2, 3)))
    terms = model.losses((images, latents, mix), training=False)
    expected = 10 * ((norms - 1) ** 2).mean()
    assert float(terms["critic"]["penalty"]) == pytest.approx(expected, rel=1e-4)


def test_points_between_are_spread_evenly_and_each_face_has_its_own():
    _, _, mix = wgan().sample_noise(np.zeros((4000, 1, 1, 1), "float32"))
    mix = np.array(mix)
    assert mix.shape == (4000, 1, 1, 1)
    assert 0 <= mix.min() < 0.01 < 0.99 < mix.max() <= 1
    assert np.histogram(mix, bins=10, range=(0, 1))[0] == pytest.approx(400, abs=90)


def test_a_critic_that_is_flat_learns_without_becoming_nan():
    model = wgan(gradient_penalty=10.0)
    for variable in model.critic.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    model.compile(run_eagerly=True)
    logs = model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0).history
    assert logs["critic_penalty"] == [pytest.approx(10.0, rel=1e-3)]  # (0 - 1)^2
    assert np.isfinite(largest(model.critic))


def test_with_the_penalty_nothing_is_normalised_over_the_batch_or_clipped():
    model = wgan(gradient_penalty=10.0, clip=0.001)
    assert not any("Normalization" in type(layer).__name__ for layer in model.critic.layers)
    images = noise_faces(3)
    alone = np.array(model.critic(images[:1], training=True))
    together = np.array(model.critic(images, training=True))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    model.compile(run_eagerly=True)
    model.fit(noise_faces(), batch_size=4, epochs=1, verbose=0)
    assert largest(model.critic) > 0.01


def test_training_lowers_the_penalty():
    model = wgan(gradient_penalty=10.0, learning_rate=1e-3, critic_steps=4)
    model.compile()
    logs = model.fit(noise_faces(16), batch_size=16, epochs=20, verbose=0).history
    assert logs["critic_penalty"][-1] < 0.5 * logs["critic_penalty"][0]


def test_optimizers_are_the_papers():
    plain, penalised = (wgan(gradient_penalty=g).default_optimizers() for g in (0.0, 10.0))
    for player in ("critic", "generator"):
        assert isinstance(plain[player], keras.optimizers.RMSprop)
        assert isinstance(penalised[player], keras.optimizers.Adam)
        assert (penalised[player].beta_1, penalised[player].beta_2) == (0.0, 0.9)
        assert float(plain[player].learning_rate) == pytest.approx(5e-5)
        assert (plain[player].rho, plain[player].epsilon) == (0.99, 1e-16)  # of the authors' code


def test_the_critics_learning_rate_decays_by_rounds_not_by_its_own_steps():
    model = wgan(
        schedule="exponential", decay_steps=2, decay_rate=0.5, decay_after=1, learning_rate=0.01
    )
    model.compile(run_eagerly=True)
    rates = Watch(lambda model: [float(o.learning_rate) for o in model.optimizer.optimizers])
    model.fit(noise_faces(20), batch_size=4, epochs=1, callbacks=[rates], verbose=0)
    # The rate of the next step: one round at the first, then half after every two.
    expected = [0.01, 0.01, 0.005, 0.005, 0.0025]
    for player in (0, 1):
        assert [seen[player] for seen in rates.seen] == pytest.approx(expected)


def test_evaluates_batches_of_any_size():
    model = wgan()
    model.compile(run_eagerly=True)
    logs = model.evaluate(noise_faces(5), batch_size=5, verbose=0, return_dict=True)
    assert logs.keys() == set(model.log_names)
    assert all(np.isfinite(value) for value in logs.values())


def test_values_and_batches_that_do_not_fit_are_refused():
    for given, word in (
        ({"clip": 0.0}, "clip"),
        ({"clip": -0.01}, "clip"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"gradient_penalty": -1.0}, "gradient_penalty"),
        ({"learning_rate": -1e-4}, "learning_rate"),
    ):
        with pytest.raises(kf.UserError, match=word):
            wgan(**given).compile()
    model = wgan(critic_steps=3)
    model.compile()
    for faces, size in ((noise_faces(8), 8), (noise_faces(8), 6), (noise_faces(8), None)):
        with pytest.raises(kf.UserError, match="multiple"):
            model.fit(faces, batch_size=size, verbose=0)
    with pytest.raises(kf.UserError, match="3 parts"):
        model.fit(kf.data.open_faces("orl", image_size=32, batch_size=40), verbose=0)
