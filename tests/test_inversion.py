"""Latents of pictures, for models without an encoder: searched for, and used as any other."""

import numpy as np
import pytest

import keras_faces as kf

UserError = kf.UserError


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Draw fewer to begin from, which is most of the time that small models take."""
    monkeypatch.setattr("keras_faces.latent.inversion.SAMPLES", 100)


def varied(name, factor, **given):
    """A small untrained model whose faces differ as much as a trained one's do."""
    model = kf.create_model(name, image_size=32, channels=1, latent_dim=4, filters=2, **given)
    for variable in model.generator.trainable_variables:
        if variable.ndim > 1:
            variable.assign(factor * variable)
    return model


MODELS = {
    "dcgan": (20, {}),
    "gan": (1.5, {"hidden_units": 8}),
    "began": (1.3, {}),
}
QUICK = {"steps": 60, "starts": 4, "pull": 0}


@pytest.fixture(scope="module")
def models():
    return {name: varied(name, factor, **given) for name, (factor, given) in MODELS.items()}


@pytest.fixture(scope="module")
def orl():
    return kf.data.open_faces("orl", 32, split="all", channels=1, labels="attributes")


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_faces_that_a_model_drew_are_found_again(models, name):
    model = models[name]
    faces = model.generate(3, seed=9)
    result = kf.latent.invert(model, faces, **QUICK)
    assert result.found.all()
    assert result.latents.shape == (3, 4)
    missed = np.mean(np.square(model.decode(result.latents) - faces), axis=(1, 2, 3))
    np.testing.assert_allclose(result.errors, missed, rtol=1e-3, atol=1e-9)
    assert (result.nearest > 1e-3).all()
    assert (result.errors < 0.05 * result.nearest).all()
    if name in ("gan", "began"):
        assert np.abs(result.latents).max() <= 1  # the cube that their latents are drawn from


def test_a_search_is_decided_by_its_seed_and_each_face_is_alone(models):
    model = models["gan"]
    faces = model.generate(5, seed=9)
    search = {"steps": 4, "starts": 30}  # three chunks of starts
    first, again, other = (kf.latent.invert(model, faces, **search, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.latents, again.latents)
    assert not np.array_equal(first.latents, other.latents)
    alone = kf.latent.invert(model, faces[3:4], **search, seed=1)
    np.testing.assert_allclose(alone.errors, first.errors[3:4], rtol=1e-2)
    np.testing.assert_allclose(alone.nearest, first.nearest[3:4], rtol=1e-4)


def test_more_starts_and_more_steps_miss_by_less(models):
    model = models["gan"]
    faces = model.generate(8, seed=9)
    few, starts, steps = (
        kf.latent.invert(model, faces, steps, starts, pull=0).errors.mean()
        for steps, starts in ((12, 1), (12, 16), (60, 1))
    )
    assert few > starts
    assert few > 2 * steps


def test_a_pull_keeps_latents_where_the_prior_has_its_own(models):
    model = models["gan"]
    faces = model.generate(2, seed=9)
    loose, held = (
        np.abs(kf.latent.invert(model, faces, 40, 1, features=0, pull=pull).latents).mean()
        for pull in (0, 10)
    )
    assert held < 0.3 * loose


def test_what_is_not_found_is_told_with_what_was_reached(models, noise):
    model = models["gan"]
    face = model.generate(1, seed=9)
    result = kf.latent.invert(model, np.concatenate([face, noise]), **QUICK)
    assert result.found.tolist() == [True, False, False, False]
    told = (
        r"Picture 2 of 4 was missed by [\d.]+ grey levels.*60 steps from 4 starts.*--search-steps"
    )
    with pytest.raises(UserError, match=told):
        result.require_found()
    with pytest.raises(UserError, match="It was missed"):
        kf.latent.latents_of(model, noise[:1], **QUICK)
    found = kf.latent.latents_of(model, face, **QUICK)
    np.testing.assert_allclose(found, result.latents[:1], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("gan", {"steps": 3}, "steps must be a whole number of 4 or more"),
        ("gan", {"starts": 0}, "starts"),
        ("gan", {"starts": 101}, "100 or fewer"),
        ("gan", {"pull": -1}, "pull"),
        ("gan", {"seed": -1}, "seed"),
        ("gan", {"faces": np.zeros((1, 64, 64, 1), np.float32)}, r"shape \(32, 32, 1\)"),
        ("cvae", {}, "takes conditions and has an encoder"),
        ("cyclegan", {}, "has no latents"),
    ],
)
def test_mistakes_of_a_search_are_told(models, noise, name, given, expected):
    own = {"cvae": {"latent_dim": 3, "hidden_units": 4}, "cyclegan": {"residual_blocks": 1}}
    model = models.get(name) or kf.create_model(
        name, image_size=32, channels=1, filters=2, **own[name]
    )
    with pytest.raises(UserError, match=expected):
        kf.latent.invert(model, **{"faces": noise, **given})


def test_a_model_without_latents_says_which_have_them(noise):
    model = kf.create_model("cyclegan", image_size=32, channels=1, filters=2, residual_blocks=1)
    for function in (kf.latent.latents_of, lambda m, f: kf.latent.blend(m, f, f)):
        with pytest.raises(UserError, match=r"has no latents.*began.*vaegan"):
            function(model, noise)


def test_an_encoder_goes_before_a_search(orl):
    model = kf.create_model("vae", image_size=32, channels=1, latent_dim=4, filters=2)
    faces = orl.sample(4)
    np.testing.assert_array_equal(kf.latent.latents_of(model, faces), model.encode(faces))
    np.testing.assert_array_equal(
        kf.latent.blend(model, faces[:2], faces[2:], 30), model.blend(faces[:2], faces[2:], 30)
    )


def test_pictures_are_blended_through_a_model_without_an_encoder(models):
    model = models["gan"]
    faces = model.generate(2, seed=9)
    latents = kf.latent.invert(model, faces, **QUICK).latents
    expected = model.decode((0.7 * latents[:1] + 0.3 * latents[1:]).astype(np.float32))
    made = kf.latent.blend(model, faces[0], faces[1], 30, **QUICK)
    np.testing.assert_allclose(made, expected[0], atol=0.02)
    with pytest.raises(UserError, match="percent"):
        kf.latent.blend(model, faces[0], faces[1], 101)
    with pytest.raises(UserError, match="both sides"):
        kf.latent.blend(model, faces, faces[:1])


@pytest.fixture
def drawn(models, noise, picture_folder):
    """A source of 20 faces that a model drew, half of them marked, and some of noise."""

    def make(noisy):
        pictures = kf.data.to_uint8(models["gan"].generate(20, seed=9))[..., 0]
        pictures = [*pictures, *kf.data.to_uint8(noise)[:noisy, ..., 0]]
        rows = [f"{number:02d}.png,{number % 2}" for number in range(len(pictures))]
        files = {f"{number:02d}.png": picture for number, picture in enumerate(pictures)}
        csv = "\n".join(["file,odd", *rows]).encode()
        folder = picture_folder({**files, "attributes.csv": csv}, name=f"drawn{noisy}")
        return kf.data.open_faces(folder, 32, split="all", channels=1, labels="attributes")

    return make


def test_faces_of_a_source_are_searched_for_and_those_not_found_left_out(models, drawn):
    model, stream = models["gan"], drawn(3)
    with pytest.warns(UserWarning, match="3 of 23 faces were not found"):
        encoded = kf.latent.encode_faces(model, stream, **QUICK)
    assert len(encoded.latents) == len(encoded.labels) == len(encoded.faces()) == 20
    np.testing.assert_array_equal(encoded.labels, stream.labels_at(encoded.held_out.positions))
    assert np.abs(model.decode(encoded.latents) - encoded.faces()).mean() < 0.05
    direction = kf.latent.attribute_directions(encoded, ["odd"])
    assert direction.shape == (1, 4)
    table = kf.latent.separability_table(kf.latent.separability(encoded, shuffles=2))
    assert "20 faces" in table


def test_where_most_faces_are_not_found_nothing_is_made_of_the_rest(models, orl):
    with pytest.raises(UserError, match="did not come near"):
        kf.latent.encode_faces(models["gan"], orl, count=4, steps=4, starts=1)
