"""VAE/GAN: published counts, losses against NumPy, and whose gradients reach whom."""

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.pencil import pencil_sketch


def vaegan(**given):
    small = {"image_size": 32, "channels": 1, "filters": 4, "hidden_units": 16, "latent_dim": 3}
    return kf.create_model("vaegan", **{**small, **given})


def noise_faces(count=6, seed=0, size=32):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 1)).astype("float32")


def batch(count=6, seed=0, size=32, of_others=False):
    """Images, targets, the encoder's noise and the prior's latents, as `sample_noise` returns."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, count, 3)).astype("float32")
    images = noise_faces(count, seed, size)
    return images, noise_faces(count, seed + 1, size) if of_others else images, *noise


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def weights(model):
    return {
        player.name: [np.array(v.numpy()) for v in player.variables] for player in model.players
    }


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def larsens_losses(model, images, targets, epsilon, latents, training):
    """KL, similarity and the two sides of the game, from the networks' outputs by NumPy."""

    def run(network, inputs):
        outputs = network(inputs, training=training)
        if isinstance(outputs, (list, tuple)):
            return [np.array(output, "float64") for output in outputs]
        return np.array(outputs)

    mean, log_variance = np.split(run(model.encoder, images), 2, axis=-1)
    codes = mean + np.exp(log_variance / 2) * epsilon
    # Both go through the decoder together, where batches are normalised in training.
    copies, samples = np.split(run(model.decoder, np.concatenate([codes, latents])), 2)
    # As do all faces through the discriminator.
    logits, features = run(model.discriminator, np.concatenate([targets, copies, samples]))
    real, copy, fake = np.split(logits, 3)
    real_features, copy_features, _ = np.split(features, 3)

    def probability(logits):
        return 1 / (1 + np.exp(-logits))

    # -log N(features | copy's features, I), without its constant.
    squares = 0.5 * (real_features - copy_features) ** 2
    return {
        "kl": 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean(),
        "similarity": squares.sum((1, 2, 3)).mean(),
        "mean_similarity": squares.mean(),
        "real": np.log(probability(real)).mean(),
        "prior": np.log(1 - probability(fake)).mean(),
        "copies": np.log(1 - probability(copy)).mean(),
        "fooled by prior": -np.log(probability(fake)).mean(),
        "fooled by copies": -np.log(probability(copy)).mean(),
    }


def test_vaegan_has_the_parameters_of_larsens_code_and_of_his_paper():
    model = kf.create_model("vaegan", image_size=64, channels=3)
    assert trainable(model.encoder) == 18_071_360
    assert trainable(model.decoder) == 4_693_155
    assert trainable(model.discriminator) == 10_953_857
    model = kf.create_model("vaegan", image_size=64, channels=3, hidden_units=2048)
    assert trainable(model.encoder) == 35_112_768


def test_every_convolution_is_larsens():
    model = kf.create_model("vaegan", image_size=64, channels=3)

    def convolutions(network):
        found = [layer for layer in network.layers if "Conv2D" in type(layer).__name__]
        assert {layer.kernel_size for layer in found} == {(5, 5)}
        return [(layer.filters, layer.strides[0]) for layer in found]

    assert convolutions(model.encoder) == [(64, 2), (128, 2), (256, 2)]
    assert convolutions(model.decoder) == [(256, 2), (128, 2), (32, 2), (3, 1)]
    assert convolutions(model.discriminator) == [(32, 1), (128, 2), (256, 2), (256, 2)]
    for network in (model.encoder, model.decoder, model.discriminator):
        for layer in network.layers:
            if "Normalization" in type(layer).__name__:
                assert (layer.momentum, layer.epsilon) == (0.9, 1e-6)
    assert model.decoder.layers[-1].activation.__name__ == "tanh"


def test_the_feature_map_is_the_third_strided_convolution_before_its_norm():
    model = kf.create_model("vaegan", image_size=64, channels=3, hidden_units=16)
    assert model.discriminator.outputs[1].shape[1:] == (8, 8, 256)  # 16,384 values
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    last = [layer for layer in model.discriminator.layers if "Conv2D" in type(layer).__name__][-1]
    plain = keras.Model(model.discriminator.inputs[0], last.output)
    expected = np.array(plain(images, training=False))
    features = np.array(model.discriminator(images, training=False)[1])
    assert np.array_equal(features, expected)
    assert features.min() < 0  # nor has it passed the ReLU


@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("layer", True)])
def test_a_discriminator_that_normalises_over_layers_judges_each_face_by_itself(norm, alone):
    discriminator = vaegan(discriminator_norm=norm).discriminator
    faces = noise_faces(4)
    among_others = faces.copy()
    among_others[2:] = np.sign(among_others[2:])  # black and white
    first, second = (discriminator(given, training=True) for given in (faces, among_others))
    for one, other in zip(first, second, strict=True):
        assert np.allclose(one[:2], other[:2], atol=1e-5) == alone


def test_a_layers_values_are_normalised_over_the_whole_face():
    network = vaegan(discriminator_norm="layer").discriminator
    norms = [layer for layer in network.layers if "Normalization" in type(layer).__name__]
    assert len(norms) == 3  # two convolutions and the dense layer, but not the first convolution
    values = np.random.default_rng(0).normal(3, 5, norms[0].input.shape[1:])[None]
    found = np.array(norms[0](values.astype("float32")))
    assert np.allclose(found, (values - values.mean()) / values.std(), atol=1e-4)


@pytest.mark.parametrize("saturating", [True, False])
@pytest.mark.parametrize(("networks", "weight"), [("larsen", 1.0), ("larsen", 0.5), ("dcgan", 0.0)])
def test_vaegan_losses_follow_from_its_three_networks(saturating, networks, weight):
    options = {"saturating": saturating, "networks": networks, "copies_weight": weight}
    model = vaegan(gamma=1.5, kl_weight=2.0, **options)
    given = batch(of_others=saturating)
    terms = model.losses(given, training=False)
    found = larsens_losses(model, *given, training=False)
    found["copies"] *= weight
    kind = "" if saturating else "fooled by "
    gan = found[f"{kind}prior"] + (1 if saturating else weight) * found[f"{kind}copies"]
    expected = {
        "encoder": {"kl": 2 * found["kl"], "similarity": found["similarity"]},
        "decoder": {"similarity": 1.5 * found["mean_similarity"], "gan": gan},
        "discriminator": {name: -found[name] for name in ("real", "prior", "copies")},
    }
    for player, values in expected.items():
        assert terms[player].keys() == values.keys()
        for term, value in values.items():
            assert float(terms[player][term]) == pytest.approx(value, rel=1e-4), (player, term)
    assert 0 <= float(terms["measures"]["real_accuracy"]) <= 1


@pytest.mark.parametrize("player", ["encoder", "decoder", "discriminator"])
def test_each_player_descends_the_slope_of_its_own_loss_alone(player):
    """The step of plain descent, against the slope of the loss that NumPy works out."""
    model = vaegan(gamma=1.5)
    given = batch()
    model.sample_noise = lambda images, labels=None: given
    model.compile({name: keras.optimizers.SGD(1e-3) for name in weights(model)}, run_eagerly=True)
    before = weights(model)
    model.fit(given[0], batch_size=6, epochs=1, shuffle=False, verbose=0)
    after = weights(model)
    gradient = [(a - b) / 1e-3 for a, b in zip(before[player], after[player], strict=True)]
    norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradient))

    def loss(step):
        for other in model.players:
            for variable, value in zip(other.variables, before[other.name], strict=True):
                variable.assign(value)
        [own] = [other for other in model.players if other.name == player]
        for variable, value, slope in zip(own.variables, before[player], gradient, strict=True):
            variable.assign(value + step * slope / norm)
        found = larsens_losses(model, *given, training=True)
        return {
            "encoder": found["kl"] + found["similarity"],
            "decoder": 1.5 * found["mean_similarity"] + found["prior"] + found["copies"],
            "discriminator": -found["real"] - found["prior"] - found["copies"],
        }[player]

    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
    assert norm > 0.1
    assert slope == pytest.approx(norm, rel=0.02)


def test_what_the_decoder_wants_reaches_neither_encoder_nor_discriminator():
    trained = []
    for given in ({}, {"gamma": 0.01}, {"saturating": False}):
        model = vaegan(**given)
        model.compile(run_eagerly=True)
        model.fit(noise_faces(), batch_size=6, epochs=1, shuffle=False, verbose=0)
        trained.append(weights(model))
    for other in trained[1:]:
        assert equal(trained[0]["encoder"], other["encoder"])
        assert equal(trained[0]["discriminator"], other["discriminator"])
        assert not equal(trained[0]["decoder"], other["decoder"])


@pytest.mark.parametrize(
    ("real", "prior", "copies", "discriminator", "decoder"),
    [
        (0.6, 0.6, 0.6, True, True),
        (0.3, 0.6, 0.6, False, True),  # it knows the real ones too well
        (0.6, 0.2, 0.4, False, True),  # or the generated ones, in the mean
        (0.6, 0.1, 0.9, True, True),  # whose mean is 0.5 here
        (1.1, 0.6, 0.6, True, False),  # the decoder is too far ahead
        (0.6, 1.4, 0.8, True, False),
        (0.3, 1.1, 1.1, True, True),  # both would wait: both move
        (1.1, 0.2, 0.2, True, True),
    ],
)
def test_the_equilibrium_rule_on_hand_made_costs(real, prior, copies, discriminator, decoder):
    model = vaegan(equilibrium=0.68, margin=0.35)  # from 0.33 to 1.03
    masks = model.update_masks({"discriminator": {"real": real, "prior": prior, "copies": copies}})
    assert {name: bool(mask) for name, mask in masks.items()} == {
        "discriminator": discriminator,
        "decoder": decoder,
    }


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_fakes_weigh_in_the_discriminators_loss_alone(weight):
    plain, weighted = vaegan(equilibrium=0.68), vaegan(equilibrium=0.68, fake_weight=weight)
    first, second = (model.losses(batch(), training=False) for model in (plain, weighted))
    for player, terms in first.items():
        for name, term in terms.items():
            factor = weight if name in ("prior", "copies") else 1
            assert float(second[player][name]) == pytest.approx(factor * float(term), rel=1e-5)
    # The rule looks at costs, not at how much of them is learnt from.
    for costs in (
        {"real": 0.6, "prior": 0.6, "copies": 0.6},
        {"real": 1.1, "prior": 2, "copies": 2},
    ):
        given = {name: cost * (1 if name == "real" else weight) for name, cost in costs.items()}
        masks = [
            {name: bool(mask) for name, mask in model.update_masks({"discriminator": own}).items()}
            for model, own in ((plain, costs), (weighted, given))
        ]
        assert masks[0] == masks[1]


def test_a_discriminator_that_cannot_tell_is_in_balance_only_if_real_and_fake_weigh_the_same():
    # Its best answer to faces that look alike, where fakes of two kinds weigh w each.
    for weight, moves in ((1.0, False), (0.5, True)):
        real = 1 / (1 + 2 * weight)
        fake = -weight * np.log(1 - real)
        model = vaegan(equilibrium=0.68, fake_weight=weight)
        costs = {"real": -np.log(real), "prior": fake, "copies": fake}
        assert bool(model.update_masks({"discriminator": costs})["decoder"]) == moves


def test_without_an_equilibrium_nobody_waits():
    costs = {"discriminator": {"real": 0.0, "prior": 0.0, "copies": 0.0}}
    assert not vaegan().update_masks(costs)


def test_the_encoder_moves_whoever_waits():
    for given in ({"equilibrium": 100.0, "margin": 1.0}, {"equilibrium": 0.001, "margin": 0.0}):
        model = vaegan(**given)
        model.compile(run_eagerly=True)
        before = weights(model)
        model.fit(noise_faces(), batch_size=6, epochs=1, verbose=0)
        after = weights(model)
        assert not equal(before["encoder"], after["encoder"])
        waiting = "discriminator" if given["equilibrium"] == 100 else "decoder"
        for name in ("decoder", "discriminator"):
            assert equal(before[name], after[name]) == (name == waiting)


def test_a_training_step_draws_two_independent_noises():
    *_, epsilon, latents = vaegan().sample_noise(np.zeros((5000, 1, 1, 1), "float32"))
    for noise in (np.array(epsilon), np.array(latents)):
        assert noise.shape == (5000, 3)
        assert noise.mean() == pytest.approx(0, abs=0.04)
        assert noise.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(np.ravel(epsilon), np.ravel(latents))[0, 1]) < 0.04


def test_the_optimizers_are_grubers_with_larsens_constants():
    for optimizer in vaegan().default_optimizers().values():
        assert isinstance(optimizer, keras.optimizers.RMSprop)
        assert float(optimizer.learning_rate) == pytest.approx(3e-3)
        assert (optimizer.rho, optimizer.epsilon, optimizer.momentum) == (0.9, 1e-16, 0.0)


def test_encode_gives_the_posterior_mean():
    model = vaegan()
    faces = noise_faces()
    expected = np.array(model.encoder(faces, training=False))[:, :3]
    np.testing.assert_allclose(model.encode(faces), expected, atol=1e-6)


def test_a_dcgans_discriminator_judges_faces_from_the_prior_apart():
    """By the statistics of their batch it could tell them, or normalise them into real ones."""
    model = vaegan(image_size=64, networks="dcgan")
    images, _, epsilon, latents = batch(size=64)
    terms = [
        model.losses((images, images, epsilon, factor * latents), training=True)["discriminator"]
        for factor in (1.0, 0.0)
    ]
    assert float(terms[0]["prior"]) != float(terms[1]["prior"])
    for layer in model.discriminator.layers:
        if layer.output.shape[1:3] == (8, 8) and isinstance(layer, keras.layers.Conv2D):
            break
    assert model.discriminator.outputs[1].shape == layer.output.shape
    dcgan = kf.create_model("dcgan", image_size=64, channels=1, filters=2 * model.filters)
    assert trainable(model.discriminator) == trainable(dcgan.discriminator)
    found = [w.shape for w in model.decoder.trainable_variables[1:]]
    assert found == [w.shape for w in dcgan.generator.trainable_variables[1:]]


def test_with_beta_1_all_players_have_adam():
    optimizers = vaegan(beta_1=0.5, learning_rate=1e-3).default_optimizers()
    assert {type(o).__name__ for o in optimizers.values()} == {"Adam"}
    assert {(o.beta_1, o.beta_2) for o in optimizers.values()} == {(0.5, 0.99)}


def test_values_out_of_range_are_refused():
    for given, word in (
        ({"filters": 1}, "filters must be 2 or more"),
        ({"hidden_units": 1}, "hidden_units must be 2 or more"),
        ({"gamma": 0.0}, "gamma"),
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"fake_weight": 0.0}, "fake_weight"),
        ({"equilibrium": -0.1}, "equilibrium"),
        ({"margin": -0.1}, "margin"),
        ({"rho": 1.0}, "rho"),
        ({"discriminator_norm": "instance"}, "batch, layer"),
        ({"target": "photo"}, "itself, sketch"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ):
        with pytest.raises(kf.UserError, match=word):
            vaegan(**given).compile()


# Sketches as the target.


def photos(count=6, seed=0):
    """Smooth pictures, of which sketches differ."""
    return np.cumsum(noise_faces(count, seed), axis=1).clip(-1, 1)


def test_the_target_is_the_face_or_the_sketch_that_lies_beside_it_or_the_filters():
    faces, drawn = photos(), noise_faces(seed=5)
    model = vaegan(target="sketch")
    for target, labels, expected in (
        ("itself", None, faces),
        ("itself", drawn, faces),
        ("sketch", drawn, drawn),
        ("sketch", None, np.array(pencil_sketch(faces))),
    ):
        images, targets, *_ = vaegan(target=target).sample_noise(faces, labels)
        assert np.array_equal(images, faces)
        np.testing.assert_allclose(targets, expected, atol=1e-6)
    assert model.get_config()["target"] == "sketch"


def test_a_model_of_sketches_learns_the_sketches_that_are_given():
    trained = []
    for drawn in (noise_faces(seed=5), noise_faces(seed=6), None):
        model = vaegan(target="sketch")
        model.compile(run_eagerly=True)
        model.fit(photos(), drawn, batch_size=6, epochs=1, shuffle=False, verbose=0)
        trained.append(weights(model))
    for other in trained[1:]:
        assert not equal(trained[0]["encoder"], other["encoder"])
        assert not equal(trained[0]["discriminator"], other["discriminator"])


def test_translating_decodes_the_latent_of_a_photo():
    model, faces = vaegan(target="sketch"), photos()
    made = model.translate(faces)
    assert np.array_equal(made, model.decode(model.encode(faces)))
    assert np.array_equal(made, model.translate(faces, to="sketch"))
    assert not model.reconstructs
    signatures = model.signatures()
    assert list(signatures) == ["generate", "decode", "encode", "photo_to_sketch"]
    np.testing.assert_allclose(signatures["photo_to_sketch"][1](faces), made, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "call", "message"),
    [
        ("itself", lambda model: model.translate(photos()), "CycleGAN does, and a VAEGAN .*target"),
        ("sketch", lambda model: model.translate(photos(), "photo"), "into sketches alone"),
        ("sketch", lambda model: model.translate(photos(), "drawing"), "photo, sketch"),
        ("sketch", lambda model: model.check_translation(back=True), "into sketches alone"),
        ("sketch", lambda model: model.reconstruct(photos()), "keras-faces translate RUN"),
        ("sketch", lambda model: model.fit(photos(), np.zeros(6)), "are sketches.*\\(6,\\)"),
        (
            "sketch",
            lambda model: model.fit(kf.data.open_faces("orl", 32, 8, labels="identity")),
            "kind 'identity'",
        ),
    ],
)
def test_what_a_model_of_sketches_cannot_do_is_refused(target, call, message):
    model = vaegan(target=target)
    model.compile()
    with pytest.raises(kf.UserError, match=message):
        call(model)


def test_sketches_are_scored_beside_sketches():
    model = vaegan(target="sketch")
    stream = kf.data.open_faces("orl", 32, 8, "test")
    result = kf.metrics.score(model, stream, count=20, scores="laplacian_variance")
    real = pencil_sketch(stream.sample(20, 0))
    expected = kf.metrics.laplacian_variance(np.array(real)).mean()
    assert result["rows"]["real"]["laplacian_variance"]["value"] == pytest.approx(expected)
    assert result["protocol"]["pictures"] == "sketches by the pencil filter"
    drawn, made = model.faces_and_copies(4, 0, stream)
    np.testing.assert_allclose(drawn, pencil_sketch(stream.sample(4, 0)), atol=1e-6)
    assert np.array_equal(made, model.translate(stream.sample(4, 0)))
    assert set(model.pictures_of_faces(4, 0, stream)) == {"sketches"}
    assert (
        "pictures"
        not in kf.metrics.score(vaegan(), stream, 20, scores="laplacian_variance")["protocol"]
    )
