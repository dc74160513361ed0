"""Autoencoder, dense VAE and conditional VAE: losses, blends, codes and conditions."""

import keras
import numpy as np
import pytest

import keras_faces as kf

NAMES = "glasses,smiling,beard,woman"  # those of the ORL faces


def small(name, **given):
    settings = {"image_size": 32, "channels": 1, "filters": 4, "hidden_units": 16, "latent_dim": 3}
    known = kf.models.hyperparameters(name)
    settings = {key: value for key, value in settings.items() if key in known}
    return kf.create_model(name, **{**settings, **given})


def cvae(**given):
    return small("cvae", **{"conditions": "a,b,c", **given})


def noise_faces(count=5, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 1)).astype("float32")


def conditions(count=5, width=3, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, width)).astype("float32")


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def kl(mean, log_variance):
    return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean()


# Autoencoder.


def test_the_autoencoders_loss_is_the_squared_error_of_a_picture():
    model = small("autoencoder")
    faces = noise_faces()
    copies = np.array(model.decoder(model.encoder(faces)))
    error = ((faces.astype("float64") - copies) ** 2).sum((1, 2, 3)).mean()
    terms = model.losses(faces, training=False)
    assert terms.keys() == {"autoencoder"}
    assert float(terms["autoencoder"]["reconstruction"]) == pytest.approx(error, rel=1e-4)


def test_the_autoencoder_differs_from_the_vae_by_its_posterior_alone():
    model, vae = small("autoencoder"), small("vae")
    assert trainable(vae.encoder) - trainable(model.encoder) == 3 * 16 + 3  # the log-variances
    assert trainable(vae.decoder) == trainable(model.decoder)


def test_the_autoencoder_learns_to_reproduce_faces():
    model = small("autoencoder", latent_dim=16, filters=8, hidden_units=64)
    model.compile()
    faces = kf.data.open_faces("orl", image_size=32, batch_size=8).sample(8, 0)
    logs = model.fit(faces, batch_size=8, epochs=60, verbose=0).history["autoencoder_loss"]
    assert logs[-1] < 0.5 * logs[0]


def test_a_blend_goes_from_one_face_to_the_other():
    model = small("autoencoder")
    a, b = noise_faces(seed=1), noise_faces(seed=2)
    np.testing.assert_allclose(model.blend(a, b, 0), model.reconstruct(a), atol=1e-6)
    np.testing.assert_allclose(model.blend(a, b, 100), model.reconstruct(b), atol=1e-6)
    half = model.decode((model.encode(a) + model.encode(b)) / 2)
    np.testing.assert_allclose(model.blend(a, b), half, atol=1e-6)
    quarter = model.decode(0.75 * model.encode(a) + 0.25 * model.encode(b))
    np.testing.assert_allclose(model.blend(a, b, 25), quarter, atol=1e-6)
    assert not np.allclose(model.blend(a, b, 25), half, atol=1e-6)


def test_single_faces_blend_to_a_single_face():
    model = small("autoencoder")
    a, b = noise_faces(seed=1), noise_faces(seed=2)
    single = model.blend(a[0], b[0], 30)
    assert single.shape == (32, 32, 1)
    np.testing.assert_allclose(single, model.blend(a, b, 30)[0], atol=1e-6)


def test_blends_that_cannot_be_are_refused():
    model = small("autoencoder")
    a, b = noise_faces(2), noise_faces(3)
    for percent in (-1, 100.5, float("nan")):
        with pytest.raises(kf.UserError, match=r"\[0, 100\]"):
            model.blend(a, a, percent)
    for one, other in ((a, b), (a[0], b), (a, a[:, :16])):
        with pytest.raises(kf.UserError, match="as many faces on both sides"):
            model.blend(one, other)
    with pytest.raises(kf.UserError, match="image_size=32"):
        model.blend(a[:, :16], a[:, :16])
    with pytest.raises(kf.UserError, match="to_float"):
        model.blend(np.zeros((1, 32, 32, 1), "uint8"), np.zeros((1, 32, 32, 1), "uint8"))


# Dense VAE.


def test_the_dense_vae_is_the_reports_12288_512_2():
    model = kf.create_model("dense_vae", image_size=64, channels=3)

    def listing(network):
        return [
            (layer.units, layer.activation.__name__)
            for layer in network.layers
            if isinstance(layer, keras.layers.Dense)
        ]

    assert model.encoder.layers[0].output.shape[1] == 12288
    assert listing(model.encoder) == [(512, "relu"), (2 + 2, "linear")]  # mean and log-variance
    assert listing(model.decoder) == [(512, "relu"), (12288, "sigmoid")]
    assert trainable(model.encoder) == (12288 + 1) * 512 + (512 + 1) * 4
    assert trainable(model.decoder) == (2 + 1) * 512 + (512 + 1) * 12288
    assert model.sample_latents(3).shape == (3, 2)


def test_the_dense_vaes_loss_is_on_values_between_0_and_1():
    model = small("dense_vae")
    faces = noise_faces()
    epsilon = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
    terms = model.losses((faces, epsilon), training=False)["vae"]
    mean, log_variance = np.split(np.array(model.encoder(faces)), 2, axis=1)
    copies = np.array(model.decoder(mean + np.exp(log_variance / 2) * epsilon))
    zero_to_one = [(pictures.astype("float64") + 1) / 2 for pictures in (faces, copies)]
    # The example's: the number of values times their mean squared error.
    error = 1024 * ((zero_to_one[0] - zero_to_one[1]) ** 2).mean()
    assert float(terms["reconstruction"]) == pytest.approx(error, rel=1e-4)
    assert float(terms["kl"]) == pytest.approx(kl(mean, log_variance), rel=1e-4)
    assert -1 <= copies.min() < copies.max() <= 1


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_epsilon_std_is_the_standard_deviation_of_trainings_noise(scale):
    model = small("dense_vae", epsilon_std=scale)
    epsilon = np.array(model.sample_noise(np.zeros((10_000, 1, 1, 1), "float32"))[1])
    assert epsilon.shape == (10_000, 3)
    assert epsilon.mean() == pytest.approx(0, abs=0.03 * scale)
    assert epsilon.std() == pytest.approx(scale, rel=0.03)


def test_the_dense_vae_is_trained_by_the_examples_rmsprop():
    [optimizer] = small("dense_vae").default_optimizers().values()
    assert isinstance(optimizer, keras.optimizers.RMSprop)
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    with pytest.raises(kf.UserError, match="epsilon_std"):
        small("dense_vae", epsilon_std=0.0)


# Conditional VAE.


def test_the_cvaes_loss_is_the_negative_bound_under_its_conditions():
    model = cvae(noise_scale=0.5, kl_weight=2.0)
    faces, given = noise_faces(), conditions()
    epsilon = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
    terms = model.losses((faces, given, epsilon), training=False)["cvae"]
    mean, log_variance = np.split(np.array(model.encoder([faces, given])), 2, axis=1)
    latents = mean + np.exp(log_variance / 2) * epsilon
    copies = np.array(model.decoder(np.concatenate([latents, given], axis=1)))
    error = ((faces.astype("float64") - copies) ** 2).sum((1, 2, 3)).mean()
    assert float(terms["reconstruction"]) == pytest.approx(error / (2 * 0.5**2), rel=1e-4)
    assert float(terms["kl"]) == pytest.approx(2 * kl(mean, log_variance), rel=1e-4)


def test_encoder_and_decoder_both_see_the_conditions():
    model = cvae()
    faces = noise_faces()
    without, held = (model.encode(faces, given) for given in ("", "b"))
    assert not np.array_equal(without[:, :3], held[:, :3])
    latents = without[:, :3]
    drawn = [model.decode(model.join(latents, given)) for given in ("", "b")]
    assert not np.array_equal(*drawn)


def test_by_default_the_conditions_are_celebas_forty_attributes():
    model = kf.create_model("cvae", image_size=32, channels=1, filters=4, hidden_units=16)
    names = model.condition_names
    assert len(names) == len(set(names)) == 40
    assert (names[0], names[20], names[31], names[-1]) == (
        "5_o_Clock_Shadow",
        "Male",
        "Smiling",
        "Young",
    )
    assert names == sorted(names, key=str.lower)  # as list_attr_celeba.txt has them


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", [[0, 0, 0], [0, 0, 0]]),
        ("b", [[0, 1, 0], [0, 1, 0]]),
        (" c , a", [[1, 0, 1], [1, 0, 1]]),
        ({"a": 0.5, "c": 1}, [[0.5, 0, 1], [0.5, 0, 1]]),
        ({}, [[0, 0, 0], [0, 0, 0]]),
        ([0.1, 0.2, 0.3], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]),
        (np.array([[1, 0, 0], [0, 0, 1]]), [[1, 0, 0], [0, 0, 1]]),
    ],
)
def test_conditions_are_names_strengths_or_vectors(given, expected):
    vectors = cvae().condition_vectors(given, 2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected)


def test_conditions_that_do_not_exist_or_fit_are_refused():
    model = cvae(conditions=NAMES)
    for given in ("smilling", {"smilling": 1.0}):
        with pytest.raises(kf.UserError, match="Did you mean 'smiling'"):
            model.condition_vectors(given, 2)
    for given in ([1.0, 0.0], np.zeros((3, 4)), np.zeros((2, 3)), 1.0):
        with pytest.raises(kf.UserError, match=r"\(4,\) or \(2, 4\)"):
            model.condition_vectors(given, 2)
    for names in ("", "a,,b", "a,b,a", "a, a"):
        with pytest.raises(kf.UserError, match="separated by commas"):
            cvae(conditions=names)


def test_codes_are_latents_with_their_conditions_behind():
    model = cvae(conditions=" a, b ,c")
    faces, given = noise_faces(), conditions()
    assert (model.latent_dim, model.code_dim) == (3, 6)
    codes = model.encode(faces, given)
    assert codes.shape == (5, 6)
    assert np.array_equal(codes[:, 3:], given)
    mean = np.array(model.encoder([faces, given]))[:, :3]
    np.testing.assert_allclose(codes[:, :3], mean, atol=1e-6)
    assert np.array_equal(model.join(codes[:, :3], given), codes)
    expected = np.array(model.decoder(codes))
    np.testing.assert_allclose(model.reconstruct(faces, given), expected, atol=1e-6)
    np.testing.assert_allclose(model.decode(codes), expected, atol=1e-6)
    with pytest.raises(kf.UserError, match=r"\(count, 6\)"):
        model.decode(codes[:, :3])


def test_blends_are_made_under_conditions():
    model = cvae()
    a, b = noise_faces(seed=1), noise_faces(seed=2)
    between = (model.encode(a, "a") + model.encode(b, "c")) / 2
    assert between[0, 3:].tolist() == [0.5, 0, 0.5]
    blended = model.blend(a, b, 50, conditions=("a", "c"))
    np.testing.assert_allclose(blended, model.decode(between), atol=1e-6)
    with pytest.raises(kf.UserError, match="conditions="):
        model.blend(a, b)


def test_single_faces_blend_under_conditions_to_a_single_face():
    model = cvae()
    a, b = noise_faces(seed=1), noise_faces(seed=2)
    single = model.blend(a[0], b[0], 30, conditions=("a", "c"))
    assert single.shape == (32, 32, 1)
    expected = model.blend(a, b, 30, conditions=("a", "c"))[0]
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_blends_under_conditions_that_cannot_be_are_refused():
    model = cvae()
    a, b = noise_faces(2), noise_faces(3)
    with pytest.raises(kf.UserError, match="as many faces on both sides"):
        model.blend(a, b, conditions=("a", "c"))
    with pytest.raises(kf.UserError, match=r"\[0, 100\]"):
        model.blend(a, a, 101, conditions=("a", "c"))


def test_numbers_train_as_one_condition_each():
    faces = noise_faces(6)
    numbers = np.array([0, 1, 2, 2, 1, 0])
    trained = []
    for labels in (numbers, numbers.astype("int64"), np.eye(3, dtype="float32")[numbers]):
        model = cvae()
        model.compile(run_eagerly=True)
        model.fit(faces, labels, batch_size=3, epochs=1, shuffle=False, verbose=0)
        trained.append([np.array(v.numpy()) for v in model.trainable_variables])
    for other in trained[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(trained[0], other, strict=True))


def test_faces_without_labels_are_refused_with_what_to_do():
    model = cvae(conditions=NAMES)
    model.compile()
    with pytest.raises(kf.UserError, match="give the labels of an array as y"):
        model.fit(noise_faces(), batch_size=5, verbose=0)
    with pytest.raises(kf.UserError, match="--labels"):
        model.fit(kf.data.open_faces("orl", image_size=32, batch_size=40), verbose=0)
    with pytest.raises(kf.UserError, match="labels="):
        model.fit_density([noise_faces()])
    with pytest.raises(kf.UserError, match="labels="):
        model.evaluate(noise_faces(), batch_size=5, verbose=0)


def test_labels_that_do_not_match_the_conditions_are_refused():
    model = cvae()
    model.compile()
    faces = noise_faces()
    for labels, words in (
        (np.zeros((5, 4)), "Expected 3 values a face"),
        (np.array([0, 1, 2, 3, 0]), "from 0 to 2"),
        (np.array([0, 1, -1, 2, 0]), "from 0 to 2"),
    ):
        with pytest.raises(kf.UserError, match=words):
            model.fit(faces, labels, batch_size=5, verbose=0)
    stream = kf.data.open_faces("orl", image_size=32, batch_size=40, labels="attributes")
    for names in ("a,b,c", "smiling,glasses,beard,woman"):
        model = cvae(conditions=names)
        model.compile()
        with pytest.raises(kf.UserError, match="glasses, smiling, beard, woman"):
            model.fit(stream, verbose=0)


def test_people_are_conditions_where_labels_are_identities():
    stream = kf.data.open_faces("orl", image_size=32, batch_size=40, labels="identity")
    model = cvae(conditions=",".join(stream.label_names))
    model.compile()
    assert model.fit(stream, epochs=1, steps_per_epoch=2, verbose=0).history
    person = model.encode(noise_faces(1), stream.label_names[3])
    assert np.flatnonzero(person[0, 3:]).tolist() == [3]


def test_faces_are_generated_under_exactly_the_given_conditions():
    model = cvae()
    model.fit_density([(noise_faces(20), conditions(20))])
    for sampler in ("prior", "fitted"):
        codes = model.sample_latents(6, seed=1, sampler=sampler, conditions="a,c")
        assert (codes[:, 3:] == [1, 0, 1]).all()
        free = model.sample_latents(6, seed=1, sampler=sampler)
        assert np.array_equal(codes[:, :3], free[:, :3])  # the same latents
        faces = model.generate(6, seed=1, sampler=sampler, conditions="a,c")
        np.testing.assert_allclose(faces, model.decode(codes), atol=1e-6)
    with pytest.raises(kf.UserError, match="condition"):
        model.generate(2, conditions="d")


@pytest.mark.parametrize("sampler", ["prior", "fitted"])
def test_conditions_that_are_not_given_are_drawn_as_they_go_together(sampler):
    model = cvae()
    # Two combinations, one three times as frequent as the other.
    pairs = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 0], [1, 0, 1]] * 8, "float32")
    faces = noise_faces(32)
    model.fit_density([(faces[:10], pairs[:10]), (faces[10:], pairs[10:])])
    codes = model.sample_latents(4000, seed=0, sampler=sampler)
    combinations, counts = np.unique(codes[:, 3:], axis=0, return_counts=True)
    assert combinations.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert counts / 4000 == pytest.approx([0.25, 0.75], abs=0.03)
    if sampler == "prior":
        # Latents of the prior know nothing of the conditions.
        means = [codes[codes[:, 3] == held, :3].mean(0) for held in (0, 1)]
        np.testing.assert_allclose(means, 0, atol=0.1)


def test_the_fitted_density_keeps_each_face_with_its_own_conditions():
    model = cvae()
    faces = np.concatenate([noise_faces(8, seed=1) * 0.05 + 0.9, noise_faces(8, seed=2) * 0.05])
    held = np.array([[1, 0, 0]] * 8 + [[0, 0, 1]] * 8, "float32")
    model.fit_density([(faces, held)])
    codes = model.sample_latents(400, seed=0, sampler="fitted")
    real = model.encode(faces, held)
    nearest = np.argmin(((codes[:, None, :3] - real[None, :, :3]) ** 2).sum(-1), axis=1)
    assert np.array_equal(codes[:, 3:], held[nearest])


def test_samples_show_a_row_without_and_a_row_for_each_condition():
    model = cvae(conditions=NAMES)
    stream = kf.data.open_faces("orl", image_size=32, batch_size=8, labels="attributes")
    picture = np.array(model.gallery(15, 0, "prior", stream)["samples"])
    assert picture.shape == (2 + 5 * 34, 2 + 3 * 34)  # five rows of three faces
    copies = model.gallery(6, 0, "prior", stream)["reconstructions"]
    assert np.array(copies).shape == (2 + 2 * 34, 2 + 6 * 34)


def test_an_autoencoder_shows_what_lies_between_two_faces_by_percentages():
    model = small("autoencoder")
    stream = kf.data.open_faces("orl", image_size=32, batch_size=8)
    faces = stream.sample(7, 0)
    picture = np.array(model.gallery(7, 0, "prior", stream)["blends"])
    assert picture.shape == (2 + 3 * 34, 2 + 7 * 34)  # three pairs, a row each
    for pair in range(3):
        first, second = faces[pair], faces[3 + pair]
        ends = [model.encode(face[None]) for face in (first, second)]
        shares = [(1 - share) * ends[0] + share * ends[1] for share in (0, 0.25, 0.5, 0.75, 1)]
        row = [first, *(model.decode(latents)[0] for latents in shares), second]
        for column, face in enumerate(row):
            top, left = 2 + 34 * pair, 2 + 34 * column
            shown = picture[top : top + 32, left : left + 32].astype(int)
            assert np.abs(shown - kf.data.to_uint8(face)[..., 0]).max() <= 1


def test_one_face_is_blended_with_none():
    stream = kf.data.open_faces("orl", image_size=32, batch_size=8)
    assert set(small("autoencoder").gallery(1, 0, "prior", stream)) == {
        "samples",
        "reconstructions",
    }


def test_no_samples_are_made_but_those_that_are_shown(monkeypatch):
    model, decoded = cvae(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda codes: decoded.append(len(codes)) or decode(codes))
    model.gallery(12, 0, "prior", None)
    assert sum(decoded) == 12


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="SavedModels are written by TensorFlow"
)
def test_the_fitted_sampler_is_served_under_given_conditions(tmp_path):
    import tensorflow as tf

    model = cvae()
    model.fit_density([(noise_faces(20), conditions(20))])
    model.export(tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["generate"]
    noise = np.random.default_rng(4).standard_normal((5, 3), np.float32)
    found = served(noise=tf.constant(noise), conditions=tf.constant(conditions()))["output_0"]
    expected = model.generate(5, seed=4, sampler="fitted", conditions=conditions())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
