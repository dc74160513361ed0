"""Latents of pictures, conditions and cycles as a user types them."""

import numpy as np
import pytest
from PIL import Image
from test_inversion import few_samples, varied  # noqa: F401

import keras_faces as kf
from keras_faces.cli import main

SEARCH = "--search-steps 60 --starts 3"
NAMES = "glasses,smiling,beard,woman"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small untrained models as files, twenty faces that the GAN drew, and one of noise."""
    folder = tmp_path_factory.mktemp("models")
    gan = varied("gan", 1.5, hidden_units=8)
    small = {"image_size": 32, "channels": 1, "filters": 2}
    made = {
        "gan": gan,
        "cvae": kf.create_model(
            "cvae", **small, latent_dim=3, hidden_units=8, conditions=NAMES, seed=1
        ),
        "people": kf.create_model(
            "cvae", **small, latent_dim=3, hidden_units=8, conditions=people()
        ),
        "vae": kf.create_model("vae", **small, latent_dim=3, hidden_units=8),
        "cyclegan": kf.create_model("cyclegan", **small, residual_blocks=1),
    }
    for name, model in made.items():
        model.compile()
        model.save(folder / f"{name}.keras")
    (folder / "faces").mkdir()
    rows = ["file,odd"]
    for number, face in enumerate(kf.data.to_uint8(gan.generate(20, seed=9))[..., 0]):
        Image.fromarray(face).save(folder / "faces" / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{number % 2}")
    (folder / "faces" / "attributes.csv").write_text("\n".join(rows))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


def people():
    return ",".join(kf.data.labels_of("orl", "identity")[1])


def run(capsys, words, folder, out):
    face = folder / "faces"
    words = words.format(m=folder, a=face / "00.png", b=face / "01.png", faces=face, out=out)
    status = main(words.split())
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def tiles(path, columns, rows):
    image = np.asarray(Image.open(path)).astype(int)
    assert image.shape == (rows * 34 + 2, columns * 34 + 2)
    starts = [(2 + 34 * row, 2 + 34 * column) for row in range(rows) for column in range(columns)]
    return [image[top : top + 32, left : left + 32] for top, left in starts]


def picture(folder, name="00"):
    return np.asarray(Image.open(folder / "faces" / f"{name}.png")).astype(int)


def test_pictures_are_reconstructed_and_blended_without_an_encoder(capsys, folder, tmp_path):
    out = tmp_path / "out.png"
    words = f"reconstruct {{m}}/gan.keras {{a}} {{b}} {SEARCH} --out {{out}}"
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    assert "A GAN has no encoder: the latents of 2 pictures are searched for." in text
    assert "grey levels (root mean square; the nearest of 100 random faces" in text
    shown = tiles(out, 2, 2)
    for original, copy, name in zip(shown[:2], shown[2:], ("00", "01"), strict=True):
        np.testing.assert_array_equal(original, picture(folder, name))
        assert np.abs(copy - original).mean() < 8
    words = f"blend {{m}}/gan.keras {{a}} {{b}} --percent 100 {SEARCH} --out {{out}}"
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    first, blended, second = tiles(out, 3, 1)
    assert np.abs(blended - second).mean() < 8 < np.abs(blended - first).mean()


def test_an_interpolation_between_pictures_is_laid_out_in_rows(capsys, folder, tmp_path):
    out = tmp_path / "out.png"
    words = f"interpolate {{m}}/gan.keras --from {{a}} --to 7 --frames 6 --columns 3 {SEARCH}"
    status, text, _ = run(capsys, words + " --out {out}", folder, out)
    assert status == 0
    assert "no encoder: the latents of" in text
    shown = tiles(out, 3, 2)
    assert np.abs(shown[0] - picture(folder)).mean() < 8
    last = kf.load_model(folder / "gan.keras").generate(1, seed=7)
    assert np.abs(shown[-1] - kf.data.to_uint8(last)[0, ..., 0]).max() <= 1


def test_attributes_and_plots_work_without_an_encoder(capsys, folder, tmp_path):
    out = tmp_path / "out.png"
    words = f"attribute {{m}}/gan.keras odd --data {{faces}} {SEARCH} --frames 3 --out {{out}}"
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    assert "the latents of 20 faces" in text
    assert "from odd -1 to odd +1" in text
    tiles(out, 3, 1)
    words = f"latents {{m}}/gan.keras --data {{faces}} --attribute odd {SEARCH} --out {{out}}"
    status, text, _ = run(capsys, words + " --by tsne", folder, out)
    assert status == 0
    assert "t-SNE is at work on 20 faces" in text
    assert Image.open(out).size == (800, 700)


def test_a_conditional_models_attribute_is_its_condition(capsys, folder, tmp_path):
    out = tmp_path / "out.png"
    given = "--seed 4 --conditions smiling=0.5 --sampler prior"
    words = "attribute {m}/cvae.keras glasses --frames 5 " + given + " --out {out}"
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    assert "from glasses 0 to glasses 1" in text
    model = kf.load_model(folder / "cvae.keras")
    codes = np.repeat(model.sample_latents(1, 4, conditions={"smiling": 0.5}), 5, axis=0)
    codes[:, 3] = np.linspace(0, 1, 5)
    expected = kf.data.to_uint8(model.decode(codes))[..., 0].astype(int)
    for tile, face in zip(tiles(out, 5, 1), expected, strict=True):
        assert np.abs(tile - face).max() <= 1


@pytest.mark.parametrize("by", ["condition", "latent", "both"])
def test_a_condition_and_a_direction_are_combined_and_checked(capsys, folder, tmp_path, by):
    out = tmp_path / "out.png"
    words = f"attribute {{m}}/cvae.keras glasses --by {by} --strength 0.8 --data orl --count 60"
    words += " --image {a} --conditions smiling --out {out}" + (" --check" * (by == "both"))
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    model = kf.load_model(folder / "cvae.keras")
    face = kf.data.to_float(picture(folder)[..., None].astype(np.uint8))
    code = model.encode(face[None], "smiling")
    expected = code.copy()
    if by in ("condition", "both"):
        expected[:, 3] = 0.8
    if by in ("latent", "both"):
        stream = kf.data.open_faces("orl", 32, split="all", channels=1, labels="attributes")
        encoded = kf.latent.encode_faces(model, stream, count=60)
        has = encoded.labels_of("glasses") > 0
        latents = encoded.latents[:, :3]
        expected[:, :3] += 0.8 * (latents[has].mean(axis=0) - latents[~has].mean(axis=0))
    shown = tiles(out, 3, 1)
    for tile, made in zip(shown[1:], model.decode(np.concatenate([code, expected])), strict=True):
        assert np.abs(tile - kf.data.to_uint8(made)[..., 0]).max() <= 1
    if by == "both":
        lines = text.splitlines()
        head = next(line for line in lines if line.startswith("seen in")).split()
        assert " ".join(head[2:]) == "right real copies 0 +0.5 +1 +1.5 nothing +1.5"
        assert any(line.startswith("* glasses") for line in lines)
        assert "the condition is set to it" in text


def test_an_attribute_that_is_no_condition_is_changed_in_the_latent(capsys, folder, tmp_path):
    out = tmp_path / "out.png"
    words = "attribute {m}/people.keras glasses --data orl --count 60 --conditions s3 --frames 3"
    status, text, _ = run(capsys, words + " --out {out}", folder, out)
    assert status == 0
    assert "from glasses -1 to glasses +1" in text
    middle = tiles(out, 3, 1)[1]
    model = kf.load_model(folder / "people.keras")
    drawn = kf.data.to_uint8(model.generate(1, 0, conditions="s3"))[0, ..., 0]
    assert np.abs(middle - drawn).max() <= 1


@pytest.mark.parametrize("to", ["photo", "sketch"])
def test_a_cycle_shows_the_picture_its_translation_and_the_way_back(capsys, folder, tmp_path, to):
    out = tmp_path / "out.png"
    words = f"translate {{m}}/cyclegan.keras {{a}} {{b}} --to {to} --cycle --out {{out}}"
    status, text, _ = run(capsys, words, folder, out)
    assert status == 0
    assert "grey levels" in text
    model = kf.load_model(folder / "cyclegan.keras")
    faces = np.stack([picture(folder, name) for name in ("00", "01")])[..., None]
    faces = kf.data.to_float(faces.astype(np.uint8))
    there = model.translate(faces, to)
    back = model.translate(there, {"photo": "sketch", "sketch": "photo"}[to])
    for tile, face in zip(tiles(out, 2, 3), [*faces, *there, *back], strict=True):
        assert np.abs(tile - kf.data.to_uint8(face)[..., 0]).max() <= 1
    for made, expected in zip(model.cycle(faces, to), (there, back), strict=True):
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("reconstruct {m}/gan.keras {m}/noise.png --starts 2", "--search-steps"),
        ("reconstruct {m}/gan.keras {a} --search-steps 3", "steps must be a whole number of 4"),
        ("reconstruct {m}/vae.keras {a} --search-steps 30", "searches for no latents"),
        ("blend {m}/gan.keras {a} {b} --percent 101", "[0, 100]"),
        ("blend {m}/cyclegan.keras {a} {b}", "has no latents"),
        ("attribute {m}/gan.keras od --data {faces}", "'odd'"),
        ("attribute {m}/gan.keras odd --data {m}/faces/00.png", "00.png"),
        ("attribute {m}/gan.keras odd --data {faces} --by both", "takes no conditions"),
        ("attribute {m}/gan.keras glasses", "--data SOURCE"),
        ("attribute {m}/cyclegan.keras glasses --data orl", "has no latents"),
        ("attribute {m}/cvae.keras glases --data orl", "'glasses'"),
        ("attribute {m}/cvae.keras glases --by condition", "'glasses'"),
        ("attribute {m}/cvae.keras glasses --by conditions", '"condition"'),
        ("attribute {m}/cvae.keras glasses --against beard", "changes nothing but itself"),
        ("attribute {m}/cvae.keras glasses --image {a}", "Give the conditions"),
        ("attribute {m}/cvae.keras glasses --conditions smiling=much", "smiling=0.5"),
        ("attribute {m}/cvae.keras glasses --conditions smilin=0.5", "'smiling'"),
        ("attribute {m}/cvae.keras glasses --strength 1 2", "one for each of 1"),
        ("latents {m}/cyclegan.keras --data orl", "has no latents"),
        ("translate {m}/vae.keras {a} --cycle", "does not translate"),
    ],
)
def test_mistakes_get_a_line_that_helps(capsys, folder, tmp_path, words, expected):
    status, _, err = run(capsys, words + " --out {out}", folder, tmp_path / "out.png")
    assert status == 2
    assert err.startswith("keras-faces: ")
    assert expected in err
    assert not (tmp_path / "out.png").exists()


def test_conditions_change_and_latents_stay(folder):
    model = kf.load_model(folder / "cvae.keras")
    codes = model.sample_latents(3, seed=2, conditions="glasses,woman=0.25")
    np.testing.assert_allclose(codes[:, 3:], [[1, 0, 0, 0.25]] * 3)
    changed = kf.latent.under_conditions(model, codes, {"glasses": 0, "beard": 0.5})
    np.testing.assert_allclose(changed[:, 3:], [[0, 0, 0.5, 0.25]] * 3)
    np.testing.assert_array_equal(changed[:, :3], codes[:, :3])
    np.testing.assert_array_equal(
        kf.latent.under_conditions(model, codes[0], {"glasses": 0, "beard": 0.5}), changed[0]
    )
    with pytest.raises(kf.UserError, match="'glasses'"):
        kf.latent.under_conditions(model, codes, {"glases": 1})
    with pytest.raises(kf.UserError, match="finite"):
        model.sample_latents(1, conditions={"glasses": np.nan})
    with pytest.raises(kf.UserError, match="takes no conditions"):
        kf.latent.under_conditions(kf.load_model(folder / "vae.keras"), codes, {"glasses": 1})
