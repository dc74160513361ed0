"""CycleGAN: the networks as printed, losses against NumPy, the pool, and the pencil filter."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.pencil import pencil_sketch


def cyclegan(**given):
    small = {"image_size": 32, "channels": 1, "filters": 4, "residual_blocks": 1, "pool_size": 4}
    model = kf.create_model("cyclegan", **{**small, **given})
    model.compile(run_eagerly=True)  # a step or two are over before they would be compiled
    return model


def noise_faces(count=3, channels=1, seed=0):
    shape = (count, 32, 32, channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def listing(network):
    """Kernels and outputs of all convolutions, with a mark for what follows each of them."""
    found = []
    for layer in network.layers:
        kind = type(layer).__name__
        if "Conv2D" in kind:
            found.append([*layer.kernel_size, layer.filters, layer.output.shape[1], ""])
        elif "Normalization" in kind:
            found[-1][-1] += "n"
        elif kind == "ReLU":
            found[-1][-1] += "r"
        elif kind == "Add":
            found[-1][-1] += "+"
        elif kind == "Activation":
            found[-1][-1] += layer.activation.__name__
    return [tuple(line) for line in found]


# The networks.


def test_the_resnet_has_the_parameters_of_the_papers_code():
    model = kf.create_model(
        "cyclegan", image_size=64, channels=3, architecture="resnet", residual_blocks=9, pool_size=0
    )
    for generator in (model.photo_to_sketch, model.sketch_to_photo):
        assert trainable(generator) == 11_378_179
    for discriminator in (model.photo_discriminator, model.sketch_discriminator):
        assert trainable(discriminator) == 2_764_737


def test_the_papers_discriminator_scores_patches_of_70x70():
    model = kf.create_model(
        "cyclegan", image_size=128, channels=3, architecture="resnet", filters=4, pool_size=0
    )
    for discriminator in (model.photo_discriminator, model.sketch_discriminator):
        convolutions = [layer for layer in discriminator.layers if "Conv2D" in type(layer).__name__]
        assert [layer.filters for layer in convolutions] == [4, 8, 16, 32, 1]
        side = 1  # of what a score sees, from the last layer to the picture
        for layer in reversed(convolutions):
            side = (side - 1) * layer.strides[0] + layer.kernel_size[0]
        assert side == 70
        assert discriminator.output_shape == (None, 14, 14, 1)


def test_the_slides_networks_stand_as_they_are_printed():
    model = kf.create_model("cyclegan", image_size=128, channels=3, pool_size=0)
    block = [(3, 3, 256, 16, "nr"), (3, 3, 256, 16, "n+")]
    for generator in (model.photo_to_sketch, model.sketch_to_photo):
        assert listing(generator) == [
            (4, 4, 64, 64, "nr"),  # conv1
            (4, 4, 128, 32, "nr"),
            (4, 4, 256, 16, "nr"),
            *block * 6,  # n_res_blocks=6
            (4, 4, 128, 32, "nr"),  # deconv1
            (4, 4, 64, 64, "nr"),
            (4, 4, 3, 128, "tanh"),  # no batch norm on last layer
        ]
    for discriminator in (model.photo_discriminator, model.sketch_discriminator):
        assert listing(discriminator) == [
            (4, 4, 64, 64, "r"),  # x, y = 64, depth 64
            (4, 4, 128, 32, "nr"),
            (4, 4, 256, 16, "nr"),
            (4, 4, 512, 8, "nr"),
            (4, 4, 1, 7, ""),  # stride 1 within a border of 1
        ]


def test_the_resnets_border_is_its_own_mirror_image():
    model = cyclegan(architecture="resnet")
    padding = model.photo_to_sketch.layers[1]
    picture = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
    expected = np.pad(picture[0, :, :, 0], 3, mode="reflect")
    assert np.array_equal(np.array(padding(picture))[0, :, :, 0], expected)


def test_the_resnet_treats_every_picture_by_itself():
    model = cyclegan(architecture="resnet")
    faces = noise_faces()
    for network in (model.photo_to_sketch, model.photo_discriminator):
        alone = np.array(network(faces[:1], training=True))
        together = np.array(network(faces, training=True))
        np.testing.assert_allclose(together[:1], alone, atol=1e-5)


def test_the_four_networks_begin_with_weights_of_their_own():
    model = cyclegan()
    for one, other in (
        (model.photo_to_sketch, model.sketch_to_photo),
        (model.photo_discriminator, model.sketch_discriminator),
    ):
        assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


# The losses.


def test_cyclegan_losses_follow_from_its_four_networks():
    model = cyclegan(cycle_weight=7.0, identity_weight=3.0, pool_size=0)
    for variable in model.trainable_variables:  # translations that differ, not all nearly 0
        if variable.name == "kernel":
            variable.assign(10 * variable)
    photos, sketches = noise_faces(seed=1), noise_faces(seed=2)
    terms = model.losses((photos, sketches, None, None), training=False)

    def run(network, images):
        return np.array(network(images, training=False))

    def judged(discriminator, images, label):
        return ((run(discriminator, images).astype("float64") - label) ** 2).mean()

    def difference(a, b):
        return np.abs(a.astype("float64") - b).mean()

    fake_sketches = run(model.photo_to_sketch, photos)
    fake_photos = run(model.sketch_to_photo, sketches)
    expected = {
        "generators": {
            "photo_gan": judged(model.photo_discriminator, fake_photos, 1),
            "sketch_gan": judged(model.sketch_discriminator, fake_sketches, 1),
            "photo_cycle": 7 * difference(run(model.sketch_to_photo, fake_sketches), photos),
            "sketch_cycle": 7 * difference(run(model.photo_to_sketch, fake_photos), sketches),
            "photo_identity": 3 * difference(run(model.sketch_to_photo, photos), photos),
            "sketch_identity": 3 * difference(run(model.photo_to_sketch, sketches), sketches),
        },
        "discriminators": {
            "photo_real": judged(model.photo_discriminator, photos, 1) / 2,
            "photo_fake": judged(model.photo_discriminator, fake_photos, 0) / 2,
            "sketch_real": judged(model.sketch_discriminator, sketches, 1) / 2,
            "sketch_fake": judged(model.sketch_discriminator, fake_sketches, 0) / 2,
        },
    }
    for player in model.players:
        assert terms[player.name].keys() == expected[player.name].keys() == set(player.terms)
        for term, value in expected[player.name].items():
            assert float(terms[player.name][term]) == pytest.approx(value, rel=1e-4), term


def test_running_statistics_learn_of_a_translators_own_inputs_alone():
    model = cyclegan()
    photos, sketches = noise_faces(seed=1), 0.5 + 0.5 * noise_faces(seed=2)
    expected = []
    for network, images in ((model.photo_to_sketch, photos), (model.sketch_to_photo, sketches)):
        first = next(layer for layer in network.layers if "Conv2D" in type(layer).__name__)
        outputs = np.array(first(images), "float64")
        # From 0 and 1 a tenth of the way to the batch's mean and variance.
        expected.append((0.1 * outputs.mean((0, 1, 2)), 0.9 + 0.1 * outputs.var((0, 1, 2))))
    model.fit(photos, sketches, batch_size=3, shuffle=False, verbose=0)
    for network, (mean, variance) in zip((model.photo_to_sketch, model.sketch_to_photo), expected):
        norm = next(layer for layer in network.layers if "Normalization" in type(layer).__name__)
        np.testing.assert_allclose(norm.moving_mean.numpy(), mean, atol=1e-6)
        np.testing.assert_allclose(norm.moving_variance.numpy(), variance, atol=1e-6)


def test_without_an_identity_weight_there_are_no_identity_terms():
    model = cyclegan(identity_weight=0.0)
    logs = model.fit(noise_faces(), batch_size=3, verbose=0).history
    assert not any("identity" in name for name in logs)


def test_the_optimizers_are_the_papers_constant_then_linear_to_zero():
    model = cyclegan(decay_after=100, decay_steps=100)
    rate = model.learning_rate_for(model.learning_rate)
    found = [float(rate(step)) for step in (0, 100, 150, 200, 300)]
    assert found == pytest.approx([2e-4, 2e-4, 1e-4, 0.0, 0.0])
    for optimizer in model.default_optimizers().values():
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert optimizer.beta_1 == 0.5


# The pool of generated pictures.


def pictures(*numbers):
    return np.stack([np.full((32, 32, 1), number, "float32") for number in numbers])


def numbers(images):
    return [int(image[0, 0, 0]) for image in np.array(images)]


class ByHand:
    """The paper's pool: a list."""

    def __init__(self, size):
        self.size, self.kept = size, []

    def exchange(self, images, coins, order):
        returned, places = [], iter(order)
        full = len(self.kept) == self.size
        for image, coin in zip(images, coins, strict=True):
            returned.append(image)
            if len(self.kept) < self.size:
                self.kept.append(image)
            elif full:
                place = next(places)
                if coin < 0.5:
                    returned[-1], self.kept[place] = self.kept[place], image
        return returned


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_pool_fills_and_then_gives_each_picture_or_an_older_one(count):
    model = cyclegan()
    by_hand = ByHand(4)
    rng = np.random.default_rng(count)
    given, older = 0, 0
    for _ in range(12):
        images = list(range(given + 1, given + count + 1))
        given += count
        coins, order = rng.uniform(size=count).astype("float32"), rng.permutation(4)
        was_full = len(by_hand.kept) == 4
        returned = numbers(model.exchange(model.photo_pool, pictures(*images), coins, order))
        model.pooled.assign(min(int(model.pooled.numpy()) + count, 4))
        assert returned == by_hand.exchange(images, coins, order)
        assert [n for n in numbers(model.photo_pool.numpy()) if n] == by_hand.kept
        assert set(returned) <= set(range(1, given + 1))  # only what it was given
        swapped = [new for new, old in zip(images, returned, strict=True) if new != old]
        assert set(swapped) <= set(by_hand.kept)  # and it keeps what it exchanged
        assert was_full or not swapped
        older += len(swapped)
    assert older > 0


def test_training_fills_the_pools_with_what_the_generators_made():
    model = cyclegan()
    photos, sketches = noise_faces(seed=1), noise_faces(seed=2)
    made = {
        "photo_pool": np.array(model.sketch_to_photo(sketches[[2, 0, 1]], training=True)),
        "sketch_pool": np.array(model.photo_to_sketch(photos, training=True)),
    }
    model.fit(photos, sketches, batch_size=3, shuffle=False, verbose=0)
    assert int(model.pooled.numpy()) == 3
    for name, pictures_made in made.items():
        kept = np.array(getattr(model, name).numpy())
        np.testing.assert_allclose(kept[:3], pictures_made, atol=1e-5)
        assert not kept[3:].any()


def test_evaluating_does_not_touch_the_pool():
    model = cyclegan()
    model.evaluate(noise_faces(), batch_size=3, verbose=0)
    assert int(model.pooled.numpy()) == 0
    assert not np.any(model.photo_pool.numpy())


def test_a_batch_larger_than_the_pool_is_refused():
    model = cyclegan()
    with pytest.raises(kf.UserError, match="pool_size=4"):
        model.fit(noise_faces(6), batch_size=5, verbose=0)
    with pytest.raises(kf.UserError, match="larger than the pool"):
        model.fit(kf.data.open_faces("orl", image_size=32, batch_size=40), verbose=0)
    without = cyclegan(pool_size=0)
    assert without.fit(noise_faces(6), batch_size=5, verbose=0).history


# Sketches.


@pytest.mark.parametrize("size", [32, 64])
def test_the_pencil_filter_divides_by_a_gaussian_blur(size):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, size, size, 1)).astype("float32")
    images[:, 5:20, 5:20] = 0.9
    sketches = np.array(pencil_sketch(images))
    grey = (images[..., 0].astype("float64") + 1) / 2
    for picture, sketch in zip(grey, sketches, strict=True):
        # Beyond the border there is nothing: what the kernel misses is given to the rest.
        blurred = gaussian_filter(picture, 0.06 * size, mode="constant", truncate=30)
        blurred /= gaussian_filter(np.ones_like(picture), 0.06 * size, mode="constant", truncate=30)
        expected = 2 * np.minimum(picture / blurred, 1) - 1
        np.testing.assert_allclose(sketch[..., 0], expected, atol=1e-4)


def test_sketches_of_colours_are_grey_by_the_eyes_weights():
    images = noise_faces(channels=3)
    sketches = np.array(pencil_sketch(images))
    assert sketches.shape == images.shape
    assert np.array_equal(sketches[..., 0], sketches[..., 1])
    assert np.array_equal(sketches[..., 0], sketches[..., 2])
    grey = images @ np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601
    np.testing.assert_allclose(
        sketches[..., :1], np.array(pencil_sketch(grey[..., None])), atol=1e-4
    )


@pytest.mark.parametrize("value", [-0.8, 0.0, 1.0])
def test_a_blank_picture_becomes_a_blank_sheet(value):
    sketch = np.array(pencil_sketch(np.full((1, 32, 32, 1), value, "float32")))
    np.testing.assert_allclose(sketch, 1.0, atol=1e-5)


def test_a_line_stays_and_slow_shading_goes():
    shaded = np.tile(np.linspace(0.2, 0.6, 64, dtype="float32"), (1, 64, 1))[..., None]
    drawn = shaded.copy()
    drawn[:, :, 32] = -1.0
    sketch = np.array(pencil_sketch(drawn))
    np.testing.assert_allclose(sketch[:, :, 32], -1.0, atol=1e-5)
    assert np.array(pencil_sketch(shaded)).min() > 0.8


def test_sketches_stay_within_the_range_of_faces():
    extremes = np.random.default_rng(0).choice([-1.0, 1.0], (2, 32, 32, 1)).astype("float32")
    for images in (extremes, -np.ones((1, 32, 32, 1), "float32")):
        sketches = np.array(pencil_sketch(images))
        assert np.isfinite(sketches).all()
        assert -1 <= sketches.min() <= sketches.max() <= 1
    assert np.array_equal(cyclegan().sketch(extremes), np.array(pencil_sketch(extremes)))


def test_training_never_sees_a_sketch_beside_its_own_photo():
    model = cyclegan()
    photos = noise_faces(4)
    same, sketches, _, _ = model.sample_noise(photos)
    assert np.array_equal(np.array(same), photos)
    of_photos = np.array(pencil_sketch(photos))
    np.testing.assert_allclose(np.array(sketches), of_photos[[3, 0, 1, 2]], atol=1e-6)


def test_sketches_of_ones_own_are_given_as_labels():
    model = cyclegan()
    sketches = noise_faces(seed=5)
    drawn = np.array(model.sample_noise(noise_faces(), sketches)[1])
    assert np.array_equal(drawn, sketches[[2, 0, 1]])  # each beside the photo after its own


def test_labels_that_are_no_sketches_are_refused():
    model = cyclegan(pool_size=40)
    for labels in (np.zeros(3, "int32"), np.zeros((3, 16, 16, 1), "float32")):
        with pytest.raises(kf.UserError, match="sketches"):
            model.fit(noise_faces(), labels, batch_size=3, verbose=0)
    people = kf.data.open_faces("orl", image_size=32, batch_size=40, labels="identity")
    with pytest.raises(kf.UserError, match="sketches"):
        model.fit(people, verbose=0)


# Translating.


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_translates_both_ways(ema):
    model = cyclegan(ema=ema)
    model.fit(noise_faces(), batch_size=3, verbose=0)
    faces = noise_faces(70)
    for to, name in (("photo", "sketch_to_photo"), ("sketch", "photo_to_sketch")):
        made = model.translate(faces, to=to)
        network = model.averaged(name)
        assert (network is getattr(model, name)) == (ema == 0)
        np.testing.assert_allclose(made, np.array(network(faces, training=False)), atol=1e-5)
    assert np.array_equal(model.translate(faces), model.translate(faces, to="photo"))
    assert not np.array_equal(model.translate(faces), model.translate(faces, to="sketch"))


def test_a_model_without_latents_says_what_it_does_instead():
    model = cyclegan()
    assert model.latent_dim is None
    for call in (
        lambda: model.generate(2),
        lambda: model.decode(np.zeros((2, 4), "float32")),
        lambda: model.sample_latents(2),
        lambda: model.samples(2, 0, "sketches", None),
    ):
        with pytest.raises(kf.UserError, match="translate"):
            call()


def test_its_samples_are_photos_made_of_pencil_sketches():
    model = cyclegan()
    stream = kf.data.open_faces("orl", image_size=32, batch_size=8)
    made = model.samples(3, 0, "sketches", stream)
    expected = model.translate(np.array(pencil_sketch(stream.sample(3, 0))))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_faces_and_values_that_do_not_fit_are_refused():
    model = cyclegan()
    with pytest.raises(kf.UserError, match="Did you mean 'sketch'"):
        model.translate(noise_faces(), to="sketches")
    for call in (model.translate, model.sketch):
        with pytest.raises(kf.UserError, match="image_size=32"):
            call(np.zeros((1, 64, 64, 1), "float32"))
        with pytest.raises(kf.UserError, match="to_float"):
            call(np.zeros((1, 32, 32, 1), "uint8"))
    for given, word in (
        ({"architecture": "resnets"}, "Did you mean 'resnet'"),
        ({"residual_blocks": -1}, "residual_blocks"),
        ({"cycle_weight": -1.0}, "cycle_weight"),
        ({"identity_weight": -1.0}, "identity_weight"),
        ({"pool_size": -1}, "pool_size"),
        ({"decay_after": -1}, "decay_after"),
    ):
        with pytest.raises(kf.UserError, match=word):
            cyclegan(**given)
