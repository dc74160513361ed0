"""The command line as a user types it."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small trained runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("vae", "dcgan"):
        kf.train(
            name,
            run=folder / name,
            image_size=32,
            filters=4,
            batch_size=40,
            steps=10,
            count=0,
            print_fn=lambda line: None,
        )
    return folder


def run(capsys, *words):
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def test_help_and_imports_load_nothing_heavy():
    script = (
        "import sys, keras_faces, keras_faces.cli\n"
        "keras_faces.cli.main(['--help'])\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'numpy', 'matplotlib', 'scipy', 'PIL'}\n"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["list", "models"], ["train", "vae", "--help"]])
def test_what_is_only_read_comes_without_the_backends_chatter(words):
    # In a process of its own: TensorFlow writes to the file descriptor, and only once.
    done = subprocess.run(
        [sys.executable, "-m", "keras_faces", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_says_a_default_once(capsys):
    _, out, _ = run(capsys, "train", "--help")
    assert "[default: paper]" in out
    assert "None" not in out


def test_help_lists_every_command(capsys):
    status, text, _ = run(capsys, "--help")
    assert status == 0
    words = "train resume generate reconstruct blend translate interpolate attribute latents"
    for command in f"{words} evaluate compare reproduce export data list".split():
        assert re.search(rf"^│ {command}\s", text, re.MULTILINE)


@pytest.mark.parametrize("name", kf.list_models())
def test_a_models_flags_are_its_constructors_parameters(capsys, name):
    status, out, _ = run(capsys, "train", name, "--help")
    assert status == 0
    for parameter in kf.models.hyperparameters(name):
        assert f"--{parameter.replace('_', '-')}" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("trian vae", "train"),
        ("train dcgam", "'dcgan'"),
        ("train vae --noise-scael 0.2", "--noise-scale"),
        ("train vae --image-size 65 --run {tmp}/x", "32, 64, 128"),
        ("train vae --image-size big", "--image-size must be a whole number"),
        ("train vae --channels 2 --run {tmp}/x", "1 (grey) or 3 (colour)"),
        ("train vae --data orrl", "'orl'"),
        ("train vae --data {tmp}/missing", "no folder or file"),
        ("train vae --data {tmp}", "No picture"),
        ("train vae --crop centre", '"center"'),
        ("train vae --split tset", '"test"'),
        ("train vae --epochs 1 --steps 2", "only one"),
        ("train vae --epochs 0", "above 0"),
        ("train vae --batch-size 0", "batch_size"),
        ("train vae --batch-size 4000", "too few"),
        ("resume {tmp}", "not a run folder"),
        ("generate {tmp}/missing", "not there"),
        ("generate {runs}/vae --count 0", "count"),
        ("generate {runs}/vae --out faces.xyz", ".png"),
        ("generate {runs}/vae --sampler fited", '"fitted"'),
        ("generate {runs}/vae --cuont 3", "--count"),
        ("reconstruct {runs}/dcgan {tmp}/a.jpg", "Cannot read"),
        ("reconstruct {runs}/vae {tmp}/a.jpg", "Cannot read"),
        ("reconstruct {runs}/vae {tmp}/text.jpg", "not a picture"),
        ("interpolate {runs}/vae --frames 1", "frames must be a whole number of 2 or more"),
        ("interpolate {runs}/vae --path round", "spherical"),
        ("interpolate {runs}/vae --out morph.avi", "morph.gif"),
        ("interpolate {runs}/vae --from -1", "seed must be a whole number of 0 or more"),
        ("interpolate {runs}/vae --from {tmp}/a.jpg", "Cannot read"),
        ("interpolate {runs}/vae --to {tmp}/text.jpg", "not a picture"),
        ("interpolate {runs}/vae --corners 1 2 3", "--corners requires 4"),
        ("interpolate {runs}/vae --corners 1 2 3 4 --out a.gif", "--out grid.png"),
        ("interpolate {runs}/vae --conditions glasses", "takes no conditions"),
        ("interpolate {runs}/dcgan --from {tmp}/a.jpg", "Cannot read"),
        ("interpolate {runs}/vae --columns 0", "columns must be a whole number"),
        ("interpolate {runs}/vae --columns 3 --out m.gif", "--out grid.png"),
        ("interpolate {runs}/vae --columns 3 --corners 1 2 3 4", "Leave --columns out"),
        ("interpolate {runs}/vae --starts 3", "searches for no latents"),
        ("attribute {runs}/vae glasses --by condition", "Leave --by out"),
        ("attribute {runs}/vae", "NAME"),
        ("attribute {runs}/vae glases", "Did you mean 'glasses'"),
        ("attribute {runs}/vae glasses --against beerd", "'beard'"),
        ("attribute {runs}/vae glasses --against glasses --count 40", "held at the same time"),
        ("attribute {runs}/vae glasses --frames 1", "frames"),
        ("attribute {runs}/vae glasses --out x.tiff", "strip.png"),
        ("attribute {runs}/vae glasses --image {tmp}/text.jpg", "not a picture"),
        ("attribute {runs}/vae glasses --data {tmp}", "No picture"),
        ("attribute {runs}/vae glasses --data {people}", "attributes.csv"),
        ("attribute {runs}/dcgan glases", "Did you mean 'glasses'"),
        ("latents {runs}/dcgan --starts 0", "starts must be"),
        ("latents {runs}/vae --by umap", "tsne"),
        ("latents {runs}/vae --attribute beerd", "'beard'"),
        ("latents {runs}/vae --out plot.gif", "Cannot write a picture"),
        ("latents {runs}/vae --manifold --separability", "not allowed with"),
        ("evaluate {runs}/vae --scores sharpness", "laplacian_variance"),
        ("evaluate {runs}/vae --count 1", "2 samples"),
        ("export {runs}/vae --out {tmp}", "not an export of format"),
        ("export {runs}/vae --format onx", "'onnx'"),
        ("export {runs}/vae --pixels uint16", '"uint8"'),
        ("export {tmp}/missing", "not there"),
        ("export {runs}/vae/model.keras", "--out DIR"),
        ("train --recipe report-vae", "keras-faces train vae --recipe report-vae"),
        ("train --latent-dim 64 vae", "Put the model first"),
        ("generate {runs}/vae --seed -1", "seed"),
        ("data check {tmp}", "No picture"),
        ("list modles", "models"),
    ],
)
def test_mistakes_get_a_line_that_helps(capsys, runs, tmp_path, orl_folder, words, expected):
    folder = tmp_path / "in"
    folder.mkdir()
    if "export" in words:
        (folder / "mine.txt").write_text("keep me")
    if "text.jpg" in words:
        (folder / "text.jpg").write_text("not a picture at all")
    status, _, err = run(capsys, *words.format(tmp=folder, runs=runs, people=orl_folder).split())
    assert status == 2
    assert err.startswith("keras-faces: ")
    assert expected in err


def test_generate_writes_a_grid_or_single_faces_and_the_same_ones_from_the_same_seed(
    capsys, runs, tmp_path
):
    for name in ("a.png", "b.png"):
        words = ("generate", runs / "vae", "--count", 6, "--seed", 3, "--sampler", "prior")
        status, out, _ = run(capsys, *words, "--out", tmp_path / name)
        assert status == 0
        assert "drawn from the prior density" in out
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (3 * 34 + 2, 2 * 34 + 2)
    status, _, _ = run(
        capsys, "generate", runs / "dcgan", "--count", 3, "--out", tmp_path / "faces"
    )
    assert status == 0
    files = sorted((tmp_path / "faces").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    assert Image.open(files[0]).size == (36 - 4, 36 - 4)
    model = kf.load_model(runs / "dcgan")
    expected = kf.data.to_uint8(model.generate(3, seed=0))
    for file, face in zip(files, expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), face[..., 0])


def test_reconstruct_lays_originals_over_copies(capsys, runs, orl_path, tmp_path):
    pictures = [orl_path / "s1" / f"{number}.pgm" for number in (1, 2)]
    out = tmp_path / "pairs.png"
    status, _, _ = run(capsys, "reconstruct", runs / "vae", *pictures, "--out", out)
    assert status == 0
    image = np.asarray(Image.open(out))
    assert image.shape == (2 * 34 + 2, 2 * 34 + 2)
    faces = kf.data.open_faces("orl", image_size=32, split="all", batch_size=2)
    images, _ = faces.read(0)
    assert np.array_equal(image[2:34, 2:34], images[0][..., 0])
    copies = kf.load_model(runs / "vae").reconstruct(kf.data.to_float(images))
    assert np.array_equal(image[36:68, 36:68], kf.data.to_uint8(copies)[1][..., 0])


def test_interpolation_goes_between_seeds_and_pictures(capsys, runs, orl_path, tmp_path):
    out, picture = tmp_path / "strip.png", orl_path / "s1" / "1.pgm"
    words = ("interpolate", runs / "vae", "--from", 3, "--to", picture, "--frames", 4)
    status, text, _ = run(capsys, *words, "--sampler", "prior", "--out", out)
    assert status == 0
    assert f"4 faces from seed 3 to {picture}, drawn from the prior" in text
    model = kf.load_model(runs / "vae")
    faces = kf.data.open_faces("orl", image_size=32, split="all", batch_size=1)
    last = model.reconstruct(kf.data.to_float(faces.read(0)[0]))
    strip = np.asarray(Image.open(out))
    assert strip.shape == (36, 4 * 34 + 2)
    first = model.generate(1, seed=3, sampler="prior")
    assert np.array_equal(strip[2:34, 2:34], kf.data.to_uint8(first)[0, ..., 0])
    assert np.array_equal(strip[2:34, -34:-2], kf.data.to_uint8(last)[0, ..., 0])
    corners = ("--corners", 1, 2, 3, 4, "--path", "spherical", "--frames", 3)
    status, text, _ = run(capsys, "interpolate", runs / "dcgan", *corners, "--out", out)
    assert status == 0
    assert "9 faces between seed 1, seed 2, seed 3, seed 4" in text
    corner = kf.load_model(runs / "dcgan").generate(1, seed=3)
    square = np.asarray(Image.open(out))
    assert np.array_equal(square[-34:-2, 2:34], kf.data.to_uint8(corner)[0, ..., 0])


def test_an_attribute_is_changed_by_its_direction_and_checked(capsys, runs, orl_path, tmp_path):
    out, picture = tmp_path / "strip.png", orl_path / "s2" / "1.pgm"
    given = ("glasses", "smiling", "--strength", 1, -2, "--against", "beard", "--image", picture)
    words = ("attribute", runs / "vae", *given, "--count", 60, "--out", out)
    status, text, _ = run(capsys, *words, "--check")
    assert status == 0
    assert "glasses +1, smiling -2, against beard" in text
    table = [line[:10].strip() for line in text.splitlines()]
    assert {"* glasses", "* smiling", "beard", "woman"} <= set(table)
    model = kf.load_model(runs / "vae")
    faces = kf.data.open_faces("orl", image_size=32, split="train", labels="attributes")
    encoded = kf.latent.encode_faces(model, faces, count=60)
    directions = kf.latent.attribute_directions(encoded, ["glasses", "smiling"], ["beard"])
    whole = kf.data.open_faces("orl", image_size=32, split="all", batch_size=400).read(0)[0]
    latent = model.encode(kf.data.to_float(whole[10:11]))
    changed = model.decode(kf.latent.apply(latent, directions, [1, -2]))
    shown = np.asarray(Image.open(out))
    assert shown.shape == (36, 3 * 34 + 2)
    assert np.array_equal(shown[2:34, 2:34], whole[10, ..., 0])
    difference = shown[2:34, -34:-2].astype(int) - kf.data.to_uint8(changed)[0, ..., 0]
    assert np.abs(difference).max() <= 1
    strip = ("--frames", 5, "--count", 60, "--out", tmp_path / "m.gif")
    status, text, _ = run(capsys, "attribute", runs / "vae", "smiling", *strip)
    assert status == 0
    assert "from smiling -1 to smiling +1" in text
    assert Image.open(tmp_path / "m.gif").n_frames == 8


@pytest.mark.parametrize(
    ("flags", "expected", "size"),
    [
        ("--attribute glasses --thumbnails --data orl", "60 faces of orl by pca", (800, 700)),
        ("--by first", "by first", (800, 700)),
        ("--manifold", "The plane along which", (15 * 34 + 2, 15 * 34 + 2)),
        ("--separability", "whole people", (640, 400)),
    ],
)
def test_a_latent_space_is_drawn(capsys, runs, tmp_path, flags, expected, size):
    out = tmp_path / "latents.png"
    words = ("latents", runs / "vae", *flags.split(), "--count", 60, "--out", out)
    status, text, _ = run(capsys, *words)
    assert status == 0
    assert expected in text
    assert str(out) in text
    assert Image.open(out).size == size


def test_evaluate_prints_real_faces_beside_every_sampler_and_writes_the_protocol(
    capsys, runs, tmp_path
):
    out = tmp_path / "scores.json"
    status, text, _ = run(
        capsys, "evaluate", runs / "vae", "--count", 12, "--split", "test", "--out", out
    )
    assert status == 0
    assert [line.split("  ")[0] for line in text.splitlines()[1:4]] == [
        "real",
        "generated (prior)",
        "generated (fitted)",
    ]
    result = json.loads(out.read_text())
    assert result["protocol"]["split"] == "test"
    assert result["protocol"]["generated"] == 12
    model = kf.load_model(runs / "vae")
    prior = model.generate(12, seed=0, sampler="prior")
    assert result["rows"]["prior"]["laplacian_variance"]["value"] == pytest.approx(
        kf.metrics.laplacian_variance(prior).mean()
    )
    real = kf.data.open_faces("orl", image_size=32, split="test", batch_size=1).sample(12)
    assert result["rows"]["real"]["mean_pair_difference"]["value"] == pytest.approx(
        kf.metrics.mean_pair_difference(real)
    )


def test_data_check_counts_the_good_and_names_the_bad(capsys, orl_folder):
    (orl_folder / "s1" / "broken.jpg").write_bytes(b"\xff\xd8\xff not whole")
    good = len(list(orl_folder.rglob("*.pgm")))
    status, out, _ = run(capsys, "data", "check", orl_folder)
    assert status == 0
    assert f"{good} good pictures" in out
    assert "bad: s1/broken.jpg" in out
    assert "1 bad pictures" in out


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("models", kf.list_models()),
        ("datasets", kf.list_datasets()),
        ("crops", list(kf.data.CROPS)),
    ],
)
def test_list_names_all_there_is(capsys, what, names):
    status, out, _ = run(capsys, "list", what)
    assert status == 0
    listed = [line.split()[0] for line in out.splitlines()]
    assert set(names) <= set(listed)


def test_training_says_what_was_made_and_what_to_try_next(capsys, tmp_path):
    words = "train vae --image-size 32 --filters 2 --batch-size 40 --steps 3 --count 20"
    status, out, _ = run(capsys, *words.split(), "--run", tmp_path / "run")
    assert status == 0
    for word in ("model.keras", "saved_model", "reconstructions.png", "Try next:", "real"):
        assert word in out
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert set(scores["rows"]) == {"real", "prior", "fitted"}


@pytest.mark.parametrize("model", ["vae", "cvae"])
def test_what_to_try_next_works_with_pictures_that_the_model_knows(
    capsys, tmp_path, orl_folder, model
):
    spaced = orl_folder.rename(tmp_path / "my photos")
    people = sorted(spaced.glob("*/*"))
    rows = "".join(f"{path.relative_to(spaced)},{n % 2}\n" for n, path in enumerate(people))
    (spaced / "attributes.csv").write_text("file,glasses\n" + rows)
    words = f"train {model} --image-size 32 --filters 2 --batch-size 2 --steps 1 --count 0"
    places = ["--data", spaced, "--run", tmp_path / "run"]
    status, out, _ = run(capsys, *words.split(), *places)
    assert status == 0
    lines = [shlex.split(line) for line in out.partition("Try next:")[2].splitlines()]
    tried = [words[1:] for words in lines if {"reconstruct", "blend"} & set(words)]
    assert len(tried) == 2
    for words in tried:
        status, out, _ = run(capsys, *words, "--out", tmp_path / "out.png")
        assert status == 0 and "It is one of the training pictures." in out


# ---------------------------------------------------------------------------------------------
# Conditions, blends, translations, recipes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of untrained small models: nobody looks at how good their faces are."""
    folder = tmp_path_factory.mktemp("models")
    small = {"image_size": 32, "channels": 1, "filters": 4}
    given = {
        "vae": {},
        "cvae": {"conditions": "glasses,smiling,beard,woman", "latent_dim": 8, "hidden_units": 16},
        "cyclegan": {"residual_blocks": 1},
        "vaegan": {"hidden_units": 16, "latent_dim": 2, "target": "sketch"},
    }
    for name, more in given.items():
        model = kf.create_model(name, **small, **more)
        model.compile()
        model.save(folder / f"{name}.keras")
    return folder


def pair(orl_path):
    """Two pictures of different people, and how the models see them."""
    paths = [orl_path / "s1" / "1.pgm", orl_path / "s2" / "1.pgm"]
    stream = kf.data.open_faces("orl", image_size=32, split="all", batch_size=2, progress=False)
    positions = [stream.cache.names.index(name) for name in ("s1/1.pgm", "s2/1.pgm")]
    return paths, kf.data.to_float(stream.cache.read(positions))


def tiles(path, columns, rows):
    """Cut a grid of 32x32 faces apart, row by row."""
    image = np.asarray(Image.open(path))
    assert image.shape == (rows * 34 + 2, columns * 34 + 2)
    starts = [(2 + 34 * row, 2 + 34 * column) for row in range(rows) for column in range(columns)]
    return [image[top : top + 32, left : left + 32] for top, left in starts]


def assert_shows(tile, face):
    """Compare a tile with a float face; models may differ in the last bit from load to load."""
    expected = kf.data.to_uint8(face)[..., 0].astype(int)
    assert np.abs(tile.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("percent", [0, 30, 100])
def test_blend_lays_the_face_between_two_pictures_between_them(
    capsys, models, orl_path, tmp_path, percent
):
    paths, faces = pair(orl_path)
    out = tmp_path / "blend.png"
    words = ("blend", models / "vae.keras", *paths, "--percent", percent, "--out", out)
    status, text, _ = run(capsys, *words, "--already-cropped")
    assert status == 0
    assert f"{percent} %" in text
    first, between, second = tiles(out, 3, 1)
    assert_shows(first, faces[0])
    assert_shows(second, faces[1])
    model = kf.load_model(models / "vae.keras")
    latents = model.encode(faces)
    wanted = model.decode(latents[:1] + percent / 100 * (latents[1:] - latents[:1]))
    assert_shows(between, wanted[0])


def test_blend_of_a_conditional_model_takes_its_conditions(capsys, models, orl_path, tmp_path):
    paths, faces = pair(orl_path)
    out = tmp_path / "blend.png"
    words = ("blend", models / "cvae.keras", *paths, "--conditions", "glasses", "--out", out)
    assert run(capsys, *words)[0] == 0
    model = kf.load_model(models / "cvae.keras")
    codes = model.encode(faces, "glasses")
    assert_shows(tiles(out, 3, 1)[1], model.decode(codes.mean(axis=0, keepdims=True))[0])


@pytest.mark.parametrize("to", ["photo", "sketch"])
def test_translate_lays_pictures_over_their_translations(capsys, models, orl_path, tmp_path, to):
    paths, faces = pair(orl_path)
    out = tmp_path / "translated.png"
    words = ("translate", models / "cyclegan.keras", *paths, "--to", to, "--out", out)
    status, text, _ = run(capsys, *words)
    assert status == 0
    assert f"the {to} made of each" in text
    shown = tiles(out, 2, 2)
    made = kf.load_model(models / "cyclegan.keras").translate(faces, to)
    for tile, face in zip(shown, [*faces, *made], strict=True):
        assert_shows(tile, face)


def test_translate_makes_what_the_model_makes_where_nothing_is_said(
    capsys, models, orl_path, tmp_path
):
    paths, faces = pair(orl_path)
    for name, to in (("cyclegan", "photo"), ("vaegan", "sketch")):
        out = tmp_path / f"{name}.png"
        model = models / f"{name}.keras"
        status, text, _ = run(capsys, "translate", model, *paths, "--already-cropped", "--out", out)
        assert status == 0
        assert f"the {to} made of each" in text
        for tile, face in zip(tiles(out, 2, 2)[2:], kf.load_model(model).translate(faces, to)):
            assert_shows(tile, face)


def test_generate_obeys_conditions_and_draws_others_without(capsys, models, tmp_path):
    model = kf.load_model(models / "cvae.keras")
    shown = {}
    for conditions in ("glasses,smiling", "", None):
        out = tmp_path / "faces.png"
        words = ["generate", models / "cvae.keras", "--count", 4, "--seed", 3, "--out", out]
        words += [] if conditions is None else ["--conditions", conditions]
        assert run(capsys, *words)[0] == 0
        shown[conditions] = np.stack(tiles(out, 2, 2))
    latents = model.sample_latents(4, seed=3)[:, : model.latent_dim]
    vectors = {"glasses,smiling": [1, 1, 0, 0], "": [0, 0, 0, 0]}
    for conditions, vector in vectors.items():
        wanted = model.decode(np.concatenate([latents, [vector] * 4], axis=1))
        for tile, face in zip(shown[conditions], wanted, strict=True):
            assert_shows(tile, face)
    assert not np.array_equal(shown["glasses,smiling"], shown[""])


def test_reconstruct_of_a_conditional_model_takes_conditions(capsys, models, orl_path, tmp_path):
    paths, faces = pair(orl_path)
    out = tmp_path / "pairs.png"
    words = ("reconstruct", models / "cvae.keras", *paths, "--conditions", "beard", "--out", out)
    assert run(capsys, *words)[0] == 0
    copies = kf.load_model(models / "cvae.keras").reconstruct(faces, {"beard": 1})
    for tile, face in zip(tiles(out, 2, 2), [*faces, *copies], strict=True):
        assert_shows(tile, face)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("reconstruct {models}/cvae.keras {face}", "conditions of the pictures with --conditions"),
        ("reconstruct {models}/cvae.keras {face}", "glasses, smiling, beard, woman"),
        ("blend {models}/cvae.keras {face} {face}", "conditions of the pictures with --conditions"),
        ("reconstruct {models}/cvae.keras {face} --conditions glases", "'glasses'"),
        ("generate {models}/cvae.keras --conditions smiling,glases", "'glasses'"),
        ("generate {models}/vae.keras --conditions glasses", "takes no conditions"),
        ("reconstruct {models}/vae.keras {face} --conditions glasses", "takes no conditions"),
        ("blend {models}/vae.keras {face}", "IMAGE"),
        ("blend {models}/vae.keras {face} {face} --percent 101", "[0, 100]"),
        ("blend {models}/vae.keras {face} {face} --percent half", "half"),
        ("blend {models}/vae.keras {face} {face} --precent 3", "--percent"),
        ("blend {models}/cyclegan.keras {face} {face}", "no latents"),
        ("translate {models}/vae.keras {face}", "does not translate"),
        ("translate {models}/cyclegan.keras {face} --to drawing", "sketch"),
        ("translate {models}/vaegan.keras {face} --to photo", "into sketches alone"),
        ("translate {models}/vaegan.keras {face} --cycle", "into sketches alone"),
        ("reconstruct {models}/vaegan.keras {face}", "keras-faces translate"),
        ("translate {models}/cyclegan.keras {tmp}/missing.jpg", "Cannot read"),
        ("translate {models}/cyclegan.keras {face} --out {tmp}/folder", "picture such as"),
        ("generate {models}/cyclegan.keras", "keras-faces translate"),
        ("train vae --labels identity", "learns no conditions"),
        ("train cvae --labels identities", '"identity"'),
        ("train cvae --conditions glasses --image-size 32 --run {tmp}/x", "conditions"),
        ("train vae --budget quick", "Give a recipe"),
    ],
)
def test_mistakes_with_conditions_blends_and_translations_get_a_line_that_helps(
    capsys, models, orl_path, tmp_path, words, expected
):
    face = orl_path / "s1" / "1.pgm"
    words = words.format(models=models, face=face, tmp=tmp_path).split()
    if "--out" not in words and words[0] != "train":
        words += ["--out", str(tmp_path / "out.png")]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.startswith("keras-faces: ")
    assert expected in err


@pytest.mark.parametrize("labels", ["attributes", "identity"])
def test_a_conditional_model_learns_the_labels_that_are_named(capsys, tmp_path, labels):
    words = "train cvae --image-size 32 --filters 2 --latent-dim 4 --hidden-units 8"
    words += f" --batch-size 40 --steps 2 --count 0 --labels {labels}"
    status, _, _ = run(capsys, *words.split(), "--run", tmp_path / "run")
    assert status == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["labels"] == labels
    names = kf.load_model(tmp_path / "run").condition_names
    assert names == kf.data.labels_of("orl", labels)[1]
    assert len(names) == {"attributes": 4, "identity": 40}[labels]


def test_recipe_mistakes_get_a_line_that_helps(capsys, tmp_path):
    where = ("--run", tmp_path / "run")
    for name in kf.list_recipes():
        recipe = kf.recipes.load_recipe(name)
        model = recipe.model
        other = next(known for known in kf.list_models() if known != model)
        cases = [
            (("train", model, "--recipe", name + "x"), repr(name)),
            (("train", other, "--recipe", name), f"is one of model {model!r}"),
            (("train", model, "--recipe", name, "--budget", "quik"), '"quick"'),
        ]
        if "data" not in recipe.paper:
            cases += [
                (("train", model, "--recipe", name), "--data"),
                (("train", model, "--recipe", name), "--budget quick"),
            ]
        for words, expected in cases:
            status, _, err = run(capsys, *words, *where)
            assert status == 2
            assert expected in err
    assert not (tmp_path / "run").exists()


def test_list_recipes_names_each_with_its_model_and_document(capsys):
    status, out, _ = run(capsys, "list", "recipes")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert sorted(lines) == kf.list_recipes()
    for name, line in lines.items():
        recipe = kf.recipes.load_recipe(name)
        assert f"{recipe.model}: {recipe.document}" in line


def test_train_without_a_model_is_refused_and_names_them(capsys):
    for words in ([], ["--epochs", "3"]):
        status, out, err = run(capsys, "train", *words)
        assert (status, out) == (2, "")
        assert err.startswith("keras-faces: Name a model first")
        assert all(model in err for model in kf.list_models())


def test_data_prepare_that_is_terminated_says_how_to_go_on_and_does(orl_folder, own_cache):
    script = """
        import os, signal, time
        from keras_faces import cli
        from keras_faces.data import decode
        read = decode.read_file
        def killed(path):
            if str(path).endswith("1.pgm"):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)
            return read(path)
        decode.read_file = killed
        cli.console()
    """
    words = ["data", "prepare", str(orl_folder), "--channels", "1"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words], capture_output=True, text=True
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "Decoded pictures are kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert main(words) == 0


def signalled(work, folder):
    """Run a command that does some work of `folder` and then waits, until a signal ends it."""
    script = f"""
        import signal, time
        from keras_faces import cli
        def begin(own_process):
            {work}
            time.sleep(300)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli._import_keras = begin
        cli.console()
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), "generate", "vae-orl-64"],
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path(kf.__file__).parents[1]}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_import_is_done(tmp_path, number):
    # TensorFlow and Matplotlib swallow what is raised while they are imported, or crash of it.
    (tmp_path / "greedy.py").write_text(
        textwrap.dedent(f"""
        import os, time
        try:
            os.kill(os.getpid(), {int(number)})
            time.sleep(0.3)
        except BaseException:
            pass
        print("whole", flush=True)
        """)
    )
    done = signalled("import greedy", tmp_path)
    assert (done.returncode, done.stdout) == (128 + number, "whole\n"), done.stderr
    assert done.stderr == "\nStopped.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_object_is_finalised(tmp_path, number):
    # Python prints what is raised in `__del__`, as of TensorFlow's functions, and goes on.
    (tmp_path / "fleeting.py").write_text(
        textwrap.dedent(f"""
        import os, time
        class Fleeting:
            def __del__(self):
                os.kill(os.getpid(), {int(number)})
                time.sleep(0.3)
        """)
    )
    done = signalled("from fleeting import Fleeting; Fleeting()", tmp_path)
    assert (done.returncode, done.stderr) == (128 + number, "\nStopped.\n")


def test_another_backend_of_keras_is_refused_in_a_line(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert main(["generate", "vae-orl-64"]) == 2
    assert "runs on tensorflow and jax. Received: KERAS_BACKEND=torch" in capsys.readouterr().err


def test_data_prepare_may_stop_at_a_bad_picture(orl_folder, own_cache, capsys):
    (orl_folder / "s1" / "bad.jpg").write_bytes(b"no picture")
    assert main(["data", "prepare", str(orl_folder), "--image-size", "16", "--strict"]) == 2
    assert "s1/bad.jpg" in capsys.readouterr().err
    assert main(["data", "prepare", str(orl_folder), "--image-size", "16"]) == 0


def test_a_full_disk_names_the_file_that_has_no_room(capsys, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    picture = tmp_path / "crops.png"
    status, _, err = run(capsys, "list", "crops", "--picture", picture)
    assert status == 1
    assert err == f"keras-faces: No space left on device: {picture}\n"
    assert not list(tmp_path.iterdir())
