"""What a discriminator sees, changed at random; and pictures mirrored before they are learnt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_faces as kf
from keras_faces.models.adversarial import CHANGES

MODELS = {
    "gan": {"hidden_units": 8},
    "dcgan": {},
    "wgan": {"critic_steps": 2},
    "began": {},
    "vaegan": {"hidden_units": 8, "latent_dim": 4},
    "cyclegan": {"residual_blocks": 1, "pool_size": 0},
}
ALL = ",".join(CHANGES)


def small(name="dcgan", **given):
    given = {"image_size": 32, "channels": 1, "filters": 2, **MODELS[name], **given}
    return kf.create_model(name, **given)


@pytest.fixture(scope="module")
def faces():
    return kf.data.open_faces("orl", 32, 8, channels=1).sample(8)


def changed(augment, faces, seed=0):
    return ops.convert_to_numpy(small(augment=augment, seed=seed).seen(faces))


def moved(face, down, right):
    """Return a face moved by whole pixels, grey where it was not."""
    size = len(face)
    wide = np.pad(face, ((size, size), (size, size), (0, 0)))
    return wide[size - down : 2 * size - down, size - right : 2 * size - right]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mirrored_face_is_itself_or_its_mirror_image(faces, seed):
    seen = changed("mirror", faces, seed)
    turned = [np.array_equal(a, b[:, ::-1]) for a, b in zip(seen, faces, strict=True)]
    assert 0 < sum(turned) < 8
    same = [np.array_equal(a, b) for a, b in zip(seen, faces, strict=True)]
    assert np.logical_xor(turned, same).all()


def test_a_shifted_face_moves_by_up_to_an_eighth_with_grey_where_it_was_not(faces):
    places = set()
    for face, seen in zip(faces, changed("shift", faces), strict=True):
        found = [
            (down, right)
            for down in range(-4, 5)
            for right in range(-4, 5)
            if np.array_equal(seen, moved(face, down, right))
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 4


def test_a_cut_face_has_one_grey_square_of_half_its_size(faces):
    for face, seen in zip(faces, changed("cutout", faces), strict=True):
        rows, columns = np.nonzero((seen != face).any(axis=-1))
        box = seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not box.any()
        assert min(box.shape[:2]) >= 8 and max(box.shape[:2]) <= 16  # less across an edge
        seen[rows, columns] = face[rows, columns]
        assert np.array_equal(seen, face)


def test_light_is_added_and_contrast_spreads_about_the_mean(faces):
    added = changed("light", faces) - faces
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-6
    assert np.abs(added).max() <= 0.5 and np.ptp(added) > 0.2
    mean = faces.mean(axis=(1, 2, 3), keepdims=True)
    factors = (changed("contrast", faces) - mean) / (faces - mean)
    factor = np.median(factors, axis=(1, 2, 3), keepdims=True)
    assert ((factor >= 0.5) & (factor <= 1.5)).all() and np.ptp(factor) > 0.2
    np.testing.assert_allclose(
        changed("contrast", faces), mean + factor * (faces - mean), atol=1e-5
    )


def test_without_a_change_faces_are_seen_as_they_are_and_no_noise_is_drawn(faces):
    model = small()
    before = ops.convert_to_numpy(model.noise.state)
    assert np.array_equal(model.seen(faces), faces)
    assert np.array_equal(ops.convert_to_numpy(model.noise.state), before)


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(st.sampled_from(CHANGES), min_size=1, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_change_changes_equal_faces_alike_and_the_next_is_another(faces, names, seed):
    model = small(augment=", ".join(names), seed=seed)
    change = model.draw_change(len(faces))
    once, again = (ops.convert_to_numpy(change(faces)) for _ in range(2))
    assert np.array_equal(once, again)
    if names != ["mirror"]:
        assert not np.array_equal(once, ops.convert_to_numpy(model.seen(faces)))


def test_the_gradient_of_what_is_seen_reaches_the_face_that_was_made(faces):
    """By differences: the sum of what is seen, weighed, is linear in the face without contrast."""
    from keras_faces.training.backend import input_gradients

    model = small(augment="mirror,shift,cutout,light")
    change = model.draw_change(len(faces))
    weights = np.random.default_rng(0).normal(size=faces.shape).astype("float32")
    gradient = ops.convert_to_numpy(
        input_gradients(lambda x: ops.sum(change(x) * weights), ops.convert_to_tensor(faces))
    )
    step = np.random.default_rng(1).normal(size=faces.shape).astype("float32")
    seen = [ops.convert_to_numpy(change(x)) for x in (faces + step, faces)]
    assert np.sum(gradient * step) == pytest.approx(
        np.sum((seen[0] - seen[1]).astype("float64") * weights), rel=1e-3
    )
    assert np.abs(gradient).sum(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_with_a_discriminator_learns_from_changed_faces(name):
    learnt = {}
    for augment in (ALL, "none"):
        model = small(name, augment=augment)
        model.compile(run_eagerly=True)
        model.fit(kf.data.open_faces("orl", 32, 4, channels=1), steps_per_epoch=1, verbose=0)
        weights = [ops.convert_to_numpy(w).ravel() for w in model.trainable_variables]
        learnt[augment] = np.concatenate(weights)
    assert np.isfinite(learnt[ALL]).all()
    assert not np.array_equal(learnt[ALL], learnt["none"])


def test_changes_are_the_same_for_the_same_seed():
    learnt = []
    for _ in range(2):
        model = small(augment=ALL, seed=5)
        model.compile()
        model.fit(kf.data.open_faces("orl", 32, 4, channels=1), steps_per_epoch=3, verbose=0)
        learnt.append(model.generate(2))
    assert np.array_equal(*learnt)


def test_what_changes_faces_is_saved_with_the_model(tmp_path):
    model = small(augment="mirror, shift", r1=0.5)
    model.save(tmp_path / "m.keras")
    loaded = kf.load_model(tmp_path / "m.keras")
    assert (loaded.augment, loaded.r1) == ("mirror, shift", 0.5)


@pytest.mark.parametrize("augment", ["flip", "mirror,none", "", "mirror;shift"])
def test_unknown_changes_are_named(augment):
    with pytest.raises(kf.UserError, match="change of augment"):
        small(augment=augment)


@pytest.mark.parametrize("name", ["gan", "dcgan", "vaegan"])
def test_r1_is_half_its_weight_times_the_squared_gradient_at_real_faces(name, faces):
    model = small(name, r1=3.0)
    judge = model.discriminator

    def logits(x):
        found = judge(x, training=True)
        return found[0] if isinstance(found, list | tuple) else found

    term = float(model.penalty(logits, ops.convert_to_tensor(faces))["r1"])
    # By differences along the gradient's own direction, in which it is steepest.
    from keras_faces.training.backend import input_gradients

    gradient = ops.convert_to_numpy(input_gradients(logits, ops.convert_to_tensor(faces)))
    assert term == pytest.approx(1.5 * np.square(gradient).sum(axis=(1, 2, 3)).mean(), rel=1e-4)
    assert "discriminator_r1" in model.log_names
    with pytest.raises(kf.UserError, match="r1 must be"):
        small(name, r1=-1.0)


# ---------------------------------------------------------------------------------------------
# Mirrored data


def batches(source="orl", **given):
    stream = kf.data.open_faces(source, 32, 16, channels=1, **given)
    return stream, [stream.read(step)[0] for step in range(2 * stream.steps_per_epoch)]


def test_mirrored_data_are_the_same_pictures_every_second_turned_anew_in_every_epoch():
    stream, plain = batches()
    _, mirrored = batches(mirror=True)
    turned = [
        [np.array_equal(a, b[:, ::-1]) for a, b in zip(*pair, strict=True)]
        for pair in zip(mirrored, plain, strict=True)
    ]
    for seen, usual, over in zip(mirrored, plain, turned, strict=True):
        for a, b, flipped in zip(seen, usual, over, strict=True):
            assert np.array_equal(a, b[:, ::-1] if flipped else b)
    assert 0.4 < np.mean(turned) < 0.6
    half = stream.steps_per_epoch
    assert turned[:half] != turned[half:]


def test_a_sketch_is_mirrored_with_its_photo(tmp_path):
    from keras_faces.data.sketches import write_sketches

    write_sketches("orl", tmp_path / "pairs", 32, progress=False)
    given = {"labels": "sketch", "split": "all", "seed": 3}
    usual = kf.data.open_faces(f"pairs:{tmp_path / 'pairs'}", 32, 16, shuffle=True, **given)
    mirrored = kf.data.open_faces(
        f"pairs:{tmp_path / 'pairs'}", 32, 16, shuffle=True, mirror=True, **given
    )
    (photos, sketches), (turned, with_them) = usual.read(0), mirrored.read(0)
    for photo, sketch, a, b in zip(photos, sketches, turned, with_them, strict=True):
        flipped = not np.array_equal(photo, a)
        assert np.array_equal(a, photo[:, ::-1] if flipped else photo)
        assert np.array_equal(b, sketch[:, ::-1] if flipped else sketch)


def test_landmarks_of_mirrored_pictures_are_refused():
    with pytest.raises(kf.UserError, match="Mirrored pictures do not have the landmarks"):
        kf.data.open_faces("orl", 32, labels="landmarks", mirror=True)


def test_a_mirrored_training_is_recorded_and_resumed_with_the_same_pictures(tmp_path, monkeypatch):
    given = {"image_size": 32, "channels": 1, "filters": 2, "latent_dim": 4, "batch_size": 100}
    seen = []

    def stopped(run, plan, model, stream, *args):
        seen.append(stream.read(1)[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_faces.session._run_training", stopped)
    for call in (
        lambda: kf.train("vae", "orl", tmp_path / "run", mirror=True, steps=4, **given),
        lambda: kf.resume(tmp_path / "run"),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
    assert kf.runs.Run(tmp_path / "run").config()["data"]["mirror"] is True
    assert np.array_equal(*seen)
    plain = kf.data.open_faces("orl", 32, 100, channels=1, drop_remainder=True).read(1)[0]
    assert not np.array_equal(seen[0], plain)
