"""Latents: interpolation, attributes as directions, pictures of the space."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import stats
from scipy.spatial import geometric_slerp

import keras_faces as kf
from keras_faces.latent.separability import dealt_anew

UserError = kf.UserError

rows = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-10, 10)
)


def small(name, **given):
    return kf.create_model(name, image_size=32, channels=1, **given)


@pytest.fixture(scope="module")
def vae():
    return small("vae", latent_dim=4, filters=2, hidden_units=8)


@pytest.fixture(scope="module")
def gan():
    return small("gan", latent_dim=64, filters=2, hidden_units=4)


@pytest.fixture(scope="module")
def orl():
    return kf.data.open_faces("orl", 32, split="all", channels=1, labels="attributes")


# ---------------------------------------------------------------------------------------------
# Interpolation


@settings(deadline=None)
@given(rows, st.integers(0, 2**32), st.integers(2, 7), st.sampled_from(kf.latent.PATHS))
def test_every_path_begins_and_ends_at_its_ends(a, seed, frames, path):
    b = np.random.default_rng(seed).normal(size=a.shape)
    way = kf.latent.interpolate(a, b, frames, path)
    assert way.shape == (frames, *a.shape)
    assert way.dtype == np.float32
    np.testing.assert_allclose(way[[0, -1]], [a, b], rtol=1e-6, atol=1e-6)


def test_the_linear_path_is_worked_by_hand():
    way = kf.latent.interpolate([0.0, 4.0], [2.0, 0.0], 5)
    assert way.tolist() == [[0, 4], [0.5, 3], [1, 2], [1.5, 1], [2, 0]]


@pytest.mark.parametrize("dim", [2, 3, 50])
def test_the_spherical_path_is_scipys_on_the_unit_sphere(dim):
    a, b = np.random.default_rng(dim).normal(size=(2, 6, dim))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    way = kf.latent.interpolate(a, b, 9, "spherical")
    for row in range(6):
        expected = geometric_slerp(a[row], b[row], np.linspace(0, 1, 9))
        np.testing.assert_allclose(way[:, row], expected, atol=1e-6)


def test_the_spherical_path_keeps_the_length_that_the_straight_one_loses():
    a, b = np.random.default_rng(0).normal(size=(2, 200, 128))
    halfway = {
        path: np.linalg.norm(kf.latent.interpolate(a, b, 3, path)[1], axis=1).mean()
        for path in kf.latent.PATHS
    }
    assert halfway["spherical"] == pytest.approx(128**0.5, rel=0.02)
    assert halfway["linear"] == pytest.approx(64**0.5, rel=0.02)


@pytest.mark.parametrize("factor", [1.0, 3.0, 1 + 1e-9, -2.0, 0.0])
def test_where_there_is_no_one_arc_the_way_is_straight(factor):
    a = np.array([[1.0, 2.0, -3.0], [1.0, 0.0, 0.0]])
    way = kf.latent.interpolate(a, factor * a, 5, "spherical")
    np.testing.assert_allclose(way, kf.latent.interpolate(a, factor * a, 5), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (([1, 2], [1, 2, 3]), r"\(2,\) and \(3,\)"),
        ((1.0, 2.0), r"\(latent_dim,\)"),
        (([], []), "Received"),
        (([1, 2], [3, 4], 1), "frames must be a whole number of 2 or more"),
        (([1, 2], [3, 4], 2.5), "frames"),
        (([1, 2], [3, 4], 3, "sperical"), "'spherical'"),
    ],
)
def test_mistakes_of_interpolation_are_told(arguments, expected):
    with pytest.raises(UserError, match=expected):
        kf.latent.interpolate(*arguments)


def test_latents_of_a_cube_stay_in_it_and_spread_as_the_prior_on_the_spherical_path(gan):
    a, b = gan.sample_latents(300, seed=1), gan.sample_latents(300, seed=2)
    halfway = {path: kf.latent.between(gan, a, b, 3, path) for path in kf.latent.PATHS}
    np.testing.assert_allclose(halfway["spherical"][[0, 2]], [a, b], atol=1e-3)
    assert np.abs(halfway["spherical"]).max() <= 1
    # Uniform in [-1, 1] has a variance of 1/3, the mean of two such values of 1/6.
    assert halfway["linear"][1].var() == pytest.approx(1 / 6, rel=0.02)
    assert halfway["spherical"][1].var() == pytest.approx(1 / 3, rel=0.02)
    test = stats.kstest(halfway["spherical"][1].ravel(), stats.uniform(-1, 2).cdf)
    assert test.statistic < 0.01


def test_latents_on_the_very_edge_of_a_cube_have_a_way_too(gan):
    edge = np.ones(64, np.float32)
    way = kf.latent.between(gan, edge, -edge, 5, "spherical")
    assert np.isfinite(way).all()
    np.testing.assert_allclose(way[0], edge, atol=1e-3)


def test_gaussian_latents_go_as_interpolate_and_conditions_go_straight(vae):
    a, b = vae.sample_latents(2, seed=3)
    way = kf.latent.between(vae, a, b, 6, "spherical")
    np.testing.assert_array_equal(way, kf.latent.interpolate(a, b, 6, "spherical"))
    cvae = small("cvae", latent_dim=4, filters=2, hidden_units=8, conditions="glasses,smiling")
    ends = cvae.join(np.stack([a, b]), np.array([[0, 1], [1, 1]]))
    codes = kf.latent.between(cvae, *ends, 6, "spherical")
    np.testing.assert_allclose(codes[:, :4], way, atol=1e-6)
    np.testing.assert_allclose(codes[:, 4], np.linspace(0, 1, 6), atol=1e-6)
    assert (codes[:, 5] == 1).all()


def test_a_square_has_its_four_corners_and_is_bilinear_between_them(vae):
    corners = np.array([[0, 0], [4, 0], [0, 8], [4, 8]], np.float32) @ np.eye(2, 4)
    square = kf.latent.corner_grid(vae, corners, 5).reshape(5, 5, 4)
    np.testing.assert_allclose(square[0, :, 0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(square[:, 2, :2], [[2, 0], [2, 2], [2, 4], [2, 6], [2, 8]])
    with pytest.raises(UserError, match="four latents"):
        kf.latent.corner_grid(vae, corners[:3])


def test_a_latent_is_a_seeds_a_pictures_or_itself(vae, gan, orl):
    face = orl.sample(1)[0]
    latent_of = kf.latent.latent_of
    np.testing.assert_array_equal(latent_of(vae, 5), vae.sample_latents(1, 5)[0])
    np.testing.assert_array_equal(latent_of(vae, face), vae.encode(face[None])[0])
    np.testing.assert_array_equal(latent_of(vae, [1, 2, 3, 4]), [1, 2, 3, 4])
    with pytest.raises(UserError, match="did not come near"):
        latent_of(gan, face, steps=4, starts=1)  # which has learnt nothing yet
    with pytest.raises(UserError, match=r"of shape \(4,\)"):
        latent_of(vae, [1, 2, 3])
    with pytest.raises(UserError, match="translate"):
        latent_of(small("cyclegan", filters=2), 0)


def test_frames_become_a_strip_or_an_animation_that_can_be_repeated(tmp_path):
    faces = np.linspace(-1, 1, 4, dtype=np.float32)[:, None, None, None] * np.ones((4, 16, 16, 1))
    kf.latent.save_frames(faces, tmp_path / "strip.png")
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (20, 4 * 18 + 2)
    assert strip[10, 10::18].tolist() == [0, 85, 170, 255]
    kf.latent.save_frames(faces, tmp_path / "morph.gif", seconds=0.2)
    with Image.open(tmp_path / "morph.gif") as morph:
        shown = []
        for number in range(morph.n_frames):
            morph.seek(number)
            assert morph.info["duration"] == 200
            shown.append(morph.convert("L").getpixel((64, 64)))
    assert shown == [0, 85, 170, 255, 170, 85]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_video_has_each_frame_once(tmp_path, channels):
    av = pytest.importorskip("av")
    grey = np.linspace(-0.8, 0.8, 5, dtype=np.float32)[:, None, None, None]
    kf.latent.save_frames(grey * np.ones((5, 50, 50, channels)), tmp_path / "m.mp4", seconds=0.1)
    with av.open(str(tmp_path / "m.mp4")) as file:
        assert file.streams.video[0].average_rate == 10
        frames = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    assert [frame.shape for frame in frames] == [(150, 150)] * 5
    levels = [frame.mean() for frame in frames]
    assert levels == pytest.approx(np.linspace(25.5, 229.5, 5).tolist(), abs=4)


def test_without_pyav_a_video_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"keras-faces\[video\]"):
        kf.latent.save_frames(np.zeros((2, 8, 8, 1)), tmp_path / "m.mp4")
    for bad in ("m.avi", "m"):
        with pytest.raises(UserError, match=r"\.png"):
            kf.latent.save_frames(np.zeros((2, 8, 8, 1)), tmp_path / bad)


# ---------------------------------------------------------------------------------------------
# Directions


def test_a_direction_is_the_mean_with_minus_the_mean_without():
    latents = np.array([[1, 0], [3, 2], [0, 0], [0, 4], [3, 2]])
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 1], [0, 1]])
    of_both = kf.latent.attribute_direction(latents, labels)
    np.testing.assert_allclose(of_both, [[2 - 1, 1 - 2], [1.5 - 4 / 3, 3 - 2 / 3]], rtol=1e-6)
    of_first = kf.latent.attribute_direction(latents, labels[:, 0] > 0)
    np.testing.assert_array_equal(of_first, of_both[0])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 1, 1], "3 of 3 faces"),
        ([0, 0, 0], "0 of 3 faces"),
        ([1, 0], r"\(2,\)"),
        ([1, 0, 0.5], "0 or 1. Received: 0, 0.5, 1"),
        ([1, -1, 1], "0 or 1"),
    ],
)
def test_labels_that_give_no_direction_are_told(labels, expected):
    with pytest.raises(UserError, match=expected):
        kf.latent.attribute_direction(np.eye(3), labels)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 8), st.integers(1, 2))
def test_an_orthogonalised_direction_shares_nothing_with_the_others(seed, dim, count):
    rng = np.random.default_rng(seed)
    direction, others = rng.normal(size=dim), rng.normal(size=(count, dim))
    left = kf.latent.orthogonalise(direction, others)
    np.testing.assert_allclose(others @ left, 0, atol=1e-4)
    # What was taken away lies in what the others span, to which the second adds nothing.
    taken = np.linalg.lstsq(others.T, direction - left, rcond=None)[0]
    np.testing.assert_allclose(others.T @ taken, direction - left, atol=1e-4)
    twice = kf.latent.orthogonalise(direction, [*others, 2 * others[0], 0 * others[0]])
    np.testing.assert_allclose(twice, left, atol=1e-5)


def test_a_direction_within_the_others_leaves_nothing():
    with pytest.raises(UserError, match="Nothing is left"):
        kf.latent.orthogonalise([1, 2, 0], [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(UserError, match=r"\(2,\) and \(1, 3\)"):
        kf.latent.orthogonalise([1, 2], [1, 0, 0])


def test_directions_are_added_each_at_its_strength():
    latents, directions = np.zeros((2, 3)), np.array([[1, 0, 0], [0, 2, 0]])
    moved = kf.latent.apply(latents, directions, [2, -1])
    assert moved.tolist() == [[2, -2, 0]] * 2
    assert kf.latent.apply(latents[0], directions[1], 0.5).tolist() == [0, 1, 0]
    assert kf.latent.apply(latents[0], directions, -1).tolist() == [-1, -2, 0]
    for strengths, expected in (([1, 2, 3], "each of 2 attributes"), (np.nan, "finite")):
        with pytest.raises(UserError, match=expected):
            kf.latent.apply(latents, directions, strengths)
    with pytest.raises(UserError, match="equally wide"):
        kf.latent.apply(np.zeros((2, 4)), directions)


# ---------------------------------------------------------------------------------------------
# Faces of a source and what is measured on them


def test_faces_are_encoded_beside_their_attributes(vae, orl):
    encoded = kf.latent.encode_faces(vae, orl, count=70)
    assert encoded.names == ["glasses", "smiling", "beard", "woman"]
    np.testing.assert_allclose(encoded.latents, vae.encode(encoded.faces()), atol=1e-5)
    positions = encoded.held_out.positions
    np.testing.assert_array_equal(encoded.labels, orl.labels_at(positions))
    people = np.array(orl.cache.identities)[positions]
    for part in range(5):  # nobody is on both sides
        held_out = encoded.held_out.parts == part
        assert not set(people[held_out]) & set(people[~held_out])
    directions = kf.latent.attribute_directions(encoded, ["smiling", "beard"], ["glasses"])
    glasses = kf.latent.attribute_direction(encoded.latents, encoded.labels_of("glasses"))
    np.testing.assert_allclose(directions @ glasses, 0, atol=1e-5)
    with pytest.raises(UserError, match="'smiling'"):
        encoded.labels_of("smilling")
    with pytest.raises(UserError, match="changed and held"):
        kf.latent.attribute_directions(encoded, ["beard"], ["beard"])


def test_latents_may_come_from_elsewhere_than_an_encoder(gan, orl):
    encoded = kf.latent.encode_faces(
        gan, orl, count=20, encode=lambda faces: faces.mean(axis=(1, 2))
    )
    np.testing.assert_allclose(encoded.latents, encoded.faces().mean(axis=(1, 2)))


def test_a_conditional_model_encodes_faces_under_their_labels(orl):
    model = small(
        "cvae", latent_dim=3, filters=2, hidden_units=4, conditions=",".join(orl.label_names)
    )
    encoded = kf.latent.encode_faces(model, orl, count=10)
    np.testing.assert_array_equal(encoded.latents[:, 3:], encoded.labels)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"faces": np.zeros((2, 32, 32, 1))}, "kf.data.load"),
        ({"count": 1}, "count"),
        ({"seed": -1}, "seed"),
        ({"size": 64}, r"Expected images of shape \(32, 32, 1\)"),
    ],
)
def test_faces_that_cannot_be_encoded_are_told(vae, orl, given, expected):
    if "size" in given:
        given = {"faces": kf.data.open_faces("orl", given["size"], channels=1)}
    with pytest.raises(UserError, match=expected):
        kf.latent.encode_faces(vae, **{"faces": orl, **given})


class Pixels:
    """A model whose latents are the pixels themselves."""

    has_encoder, conditional, makes, size, latent_dim = True, False, "photo", 16, 256

    def check_stream(self, stream):
        assert stream.image_shape == (self.size, self.size, 1)

    def encode(self, faces):
        return faces.reshape(len(faces), -1)

    def decode(self, latents):
        return np.clip(latents, -1, 1).reshape(-1, self.size, self.size, 1)


@pytest.fixture
def bars(picture_folder):
    """Pictures with and without a level bar and an upright one, independent of each other."""
    rng = np.random.default_rng(0)
    pictures, lines = {}, ["file,level,upright,all"]
    for number in range(60):
        level, upright = number % 2, number // 2 % 2
        pixels = rng.normal(100, 4, (16, 16))
        pixels[3:6] += 80 * level
        pixels[:, 8:10] += 60 * upright
        pictures[f"{number}.png"] = pixels.clip(0, 255).astype(np.uint8)
        lines.append(f"{number}.png,{level},{upright},1")
    pictures["attributes.csv"] = "\n".join(lines).encode()
    folder = picture_folder(pictures)
    return kf.data.open_faces(folder, 16, split="all", channels=1, labels="attributes")


def test_a_classifier_of_real_faces_sees_what_is_changed_and_the_rest_stay(bars):
    model = Pixels()
    encoded = kf.latent.encode_faces(model, bars)
    result = kf.latent.attribute_check(model, encoded, ["level"], factors=[0, 1])
    level, upright = result["attributes"]["level"], result["attributes"]["upright"]
    assert level["accuracy"] == upright["accuracy"] == 1
    assert level["real"] == level["seen"][0] == 0.5  # decoding changes nothing here
    # Half have it, and one strength gives it to the others.
    assert level["seen"][1] == 1
    assert upright["seen"] == pytest.approx([0.5] * 2, abs=0.1)
    assert abs(level["nothing"] - 0.5) < 0.3
    assert result["left_out"] == {"all": "the same in all real faces"}
    assert result["detected"]["real"] == 0  # bars are no faces
    table = kf.latent.check_table(result)
    assert "* level" in table
    assert "  upright" in table
    assert "all: not measured, the same in all real faces." in table


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"names": ["levle"]}, "'level'"),
        ({"names": ["all"]}, "the same in all"),
        ({"names": ["level"], "against": ["levels"]}, "'level'"),
        ({"names": ["level"], "factors": []}, "factors"),
        ({"names": ["level"], "factors": [1, 2]}, "one of them 0"),
        ({"names": ["level"], "strengths": [1, 2]}, "one for each of 1"),
    ],
)
def test_what_cannot_be_checked_is_told(bars, given, expected):
    model = Pixels()
    with pytest.raises(UserError, match=expected):
        kf.latent.attribute_check(model, kf.latent.encode_faces(model, bars), **given)


def test_separability_is_sure_where_a_cut_parts_them_and_guesses_where_none_does(bars, tmp_path):
    def encode(faces):
        across, nowhere = faces[:, 4, :7].mean(axis=1), faces[:, 12, :3, 0]
        return np.concatenate([across, nowhere], axis=1)  # on the level bar, and on neither

    encoded = kf.latent.encode_faces(Pixels(), bars, encode=encode)
    result = kf.latent.separability(encoded, shuffles=10)
    level, upright = result["attributes"]["level"], result["attributes"]["upright"]
    assert level["accuracy"] == 1
    assert level["share"] == 0.5
    assert abs(upright["accuracy"] - 0.5) < 0.25
    for row in (level, upright):
        assert abs(row["guessing"] - 0.5) < 0.15
        assert row["guessing"] <= row["guessing_high"] < 0.9
    text = kf.latent.separability_table(result)
    assert text.index("level") < text.index("upright")
    kf.latent.plot_separability(result, tmp_path / "cuts.png", "cuts of $100")
    assert Image.open(tmp_path / "cuts.png").width >= 640


def test_separability_without_attributes_is_refused(vae):
    faces = kf.data.open_faces("orl", 32, split="all", channels=1)
    encoded = kf.latent.encode_faces(vae, faces, count=10)
    for function in (kf.latent.separability, lambda e: e.labels_of("glasses")):
        with pytest.raises(UserError, match="labels='attributes'"):
            function(encoded)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 2**32))
def test_labels_are_dealt_out_by_person(units, seed):
    units = np.array(units)
    labels = units[:, None] * 10.0  # each person's own
    dealt = dealt_anew(labels, units, np.random.default_rng(seed))
    given = {unit: set(dealt[units == unit, 0]) for unit in np.unique(units)}
    assert all(len(values) == 1 for values in given.values())
    assert set.union(*given.values()) == set(labels[:, 0])


# ---------------------------------------------------------------------------------------------
# Pictures of the space


def test_principal_axes_are_numpys_and_say_their_share():
    latents = np.random.default_rng(0).normal(size=(50, 6)) * [1, 5, 1, 3, 1, 1]
    points, names = kf.latent.project(latents, "pca")
    centred = latents - latents.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ axes[:2].T), atol=1e-6)
    share = sizes[0] ** 2 / np.sum(sizes**2)
    assert names[0] == f"axis 1 ({share:.0%} of the variance)"
    first, names = kf.latent.project(latents, "first")
    np.testing.assert_array_equal(first, latents[:, :2])
    assert names == ("latent dimension 1", "latent dimension 2")


def test_tsne_keeps_groups_together():
    groups = np.repeat(np.eye(3, 8) * 50, 10, axis=0)
    latents = groups + np.random.default_rng(0).normal(size=groups.shape)
    points, _ = kf.latent.project(latents, "tsne", seed=1)
    centres = points.reshape(3, 10, 2).mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    assert nearest.tolist() == np.repeat([0, 1, 2], 10).tolist()


def test_without_scikit_learn_tsne_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match=r"keras-faces\[plots\]"):
        kf.latent.project(np.eye(5), "tsne")


@pytest.mark.parametrize(
    ("latents", "by", "expected"),
    [
        (np.eye(5), "umap", "pca"),
        (np.eye(2), "pca", "three latents"),
        (np.ones((5, 1)), "first", "two or more"),
        (np.ones((5, 4)), "pca", "fewer than two axes"),
    ],
)
def test_what_has_no_two_dimensions_is_told(latents, by, expected):
    with pytest.raises(UserError, match=expected):
        kf.latent.project(latents, by)


def test_the_map_of_two_latents_decodes_equally_likely_values():
    model = small("dense_vae", hidden_units=4)
    faces = kf.latent.manifold(model, columns=4)
    quantiles = stats.norm.ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    upper_right = model.decode([[quantiles[3], quantiles[3]]])[0]
    lower_second = model.decode([[quantiles[1], quantiles[0]]])[0]
    np.testing.assert_allclose(faces[3], upper_right, atol=1e-5)
    np.testing.assert_allclose(faces[13], lower_second, atol=1e-5)


def test_the_plane_of_more_latents_is_that_along_which_they_vary_most(vae):
    latents = np.random.default_rng(0).normal(size=(100, 4)) * [0.1, 3, 0.1, 1] + 1
    latents -= latents.mean(axis=0) - 1
    faces = kf.latent.manifold(vae, latents, columns=3)
    np.testing.assert_allclose(faces[4], vae.decode(np.ones((1, 4)))[0], atol=1e-5)
    widest = np.linalg.eigh(np.cov(latents, rowvar=False, bias=True))
    step = stats.norm.ppf(5 / 6) * np.sqrt(widest.eigenvalues[-1]) * widest.eigenvectors[:, -1]
    step *= np.sign(step[1])
    np.testing.assert_allclose(faces[5], vae.decode([1 + step])[0], atol=1e-4)
    with pytest.raises(UserError, match="VAE has 4 latents"):
        kf.latent.manifold(vae)


def test_latents_are_drawn_with_their_attribute_and_faces(tmp_path, orl):
    faces = orl.sample(30)
    points = np.random.default_rng(0).normal(size=(30, 2))
    labels = np.arange(30) % 2
    for name, extra in {
        "points.png": {},
        "coloured.jpg": {"labels": labels, "label_name": "a_$b"},
        "faces.png": {"labels": labels, "label_name": "beard", "faces": faces},
    }.items():
        kf.latent.plot_latents(points, tmp_path / name, "title $", ("x", "y"), **extra)
        assert Image.open(tmp_path / name).size == (800, 700)
    plain, with_faces = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("points", "faces"))
    assert (plain != with_faces).mean() > 0.05
    for extra in ({"labels": labels[:3]}, {"faces": faces[:3]}):
        with pytest.raises(UserError, match="Expected 30"):
            kf.latent.plot_latents(points, tmp_path / "x.png", "", **extra)
