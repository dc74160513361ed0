"""The command line as a user types it."""

import json
import subprocess
import sys

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
            say=lambda line: None,
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
        "keras_faces.cli.build_parser().format_help()\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'numpy', 'matplotlib', 'scipy', 'PIL'}\n"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for command in ("train", "resume", "generate", "reconstruct", "evaluate", "export", "data"):
        assert command in text


@pytest.mark.parametrize("name", kf.list_models())
def test_a_models_flags_are_its_constructors_parameters(capsys, name):
    status, out, _ = run(capsys, "train", name, "--help")
    assert status == 0
    for parameter in kf.models.hyperparameters(name):
        assert f"--{parameter.replace('_', '-')}" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train", None),
        ("trian vae", "train"),
        ("train dcgam", "'dcgan'"),
        ("train vae --noise-scael 0.2", "--noise-scale"),
        ("train vae --image-size 65 --run {tmp}/x", "32, 64, 128"),
        ("train vae --image-size big", "invalid int value"),
        ("train vae --channels 2 --run {tmp}/x", "1 (grey) or 3 (colour)"),
        ("train vae --data orrl", "'orl'"),
        ("train vae --data {tmp}/missing", "no folder or file"),
        ("train vae --data {tmp}", "No picture"),
        ("train vae --crop centre", "'center'"),
        ("train vae --split tset", "'test'"),
        ("train vae --epochs 1 --steps 2", "only one"),
        ("train vae --epochs 0", "above 0"),
        ("train vae --batch-size 0", "batch_size"),
        ("train vae --batch-size 4000", "too few"),
        ("resume {tmp}", "not a run folder"),
        ("generate {tmp}/missing", "not there"),
        ("generate {runs}/vae --count 0", "count"),
        ("generate {runs}/vae --out faces.xyz", ".png"),
        ("generate {runs}/vae --sampler fited", "'fitted'"),
        ("generate {runs}/vae --cuont 3", "--count"),
        ("reconstruct {runs}/dcgan {tmp}/a.jpg", "no encoder"),
        ("reconstruct {runs}/vae {tmp}/a.jpg", "Cannot read"),
        ("reconstruct {runs}/vae {tmp}/text.jpg", "not a picture"),
        ("evaluate {runs}/vae --scores sharpness", "laplacian_variance"),
        ("evaluate {runs}/vae --count 1", "2 samples"),
        ("export {runs}/vae --out {tmp}", "not a SavedModel"),
        ("train --latent-dim 64 vae", "Put the model first"),
        ("generate {runs}/vae --seed -1", "seed"),
        ("data check {tmp}", "No picture"),
        ("list modles", "models"),
    ],
)
def test_mistakes_get_a_line_that_helps(capsys, runs, tmp_path, words, expected):
    folder = tmp_path / "in"
    folder.mkdir()
    if "export" in words:
        (folder / "mine.txt").write_text("keep me")
    if "text.jpg" in words:
        (folder / "text.jpg").write_text("not a picture at all")
    status, out, err = run(capsys, *words.format(tmp=folder, runs=runs).split())
    if expected is None:
        assert "MODEL" in out
        return
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


def test_evaluate_prints_real_faces_beside_every_sampler_and_writes_the_protocol(
    capsys, runs, tmp_path
):
    out = tmp_path / "scores.json"
    status, text, _ = run(
        capsys, "evaluate", runs / "vae", "--count", 30, "--split", "test", "--out", out
    )
    assert status == 0
    assert [line.split("  ")[0] for line in text.splitlines()[1:4]] == [
        "real",
        "generated (prior)",
        "generated (fitted)",
    ]
    result = json.loads(out.read_text())
    assert result["protocol"]["split"] == "test"
    assert result["protocol"]["generated"] == 30
    model = kf.load_model(runs / "vae")
    prior = model.generate(30, seed=0, sampler="prior")
    assert result["rows"]["prior"]["laplacian_variance"] == pytest.approx(
        kf.metrics.laplacian_variance(prior).mean()
    )
    real = kf.data.open_faces("orl", image_size=32, split="test", batch_size=1).sample(30)
    assert result["rows"]["real"]["mean_pair_difference"] == pytest.approx(
        kf.metrics.mean_pair_difference(real)
    )


def test_a_savedmodel_is_served_by_ten_lines_without_keras_faces(capsys, runs, tmp_path):
    status, _, _ = run(capsys, "export", runs / "vae", "--out", tmp_path / "saved")
    assert status == 0
    script = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
noise = tf.constant(np.random.default_rng(0).standard_normal((4, 128)), tf.float32)
faces = model.signatures["generate"](noise=noise)["output_0"].numpy()
np.save(sys.argv[2], faces)
assert "keras_faces" not in sys.modules
"""
    words = [sys.executable, "-c", script, tmp_path / "saved", tmp_path / "faces.npy"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = kf.load_model(runs / "vae")
    noise = np.random.default_rng(0).standard_normal((4, 128)).astype("float32")
    expected = model.decode(np.asarray(model.latents_from_noise(noise, "fitted")))
    np.testing.assert_allclose(np.load(tmp_path / "faces.npy"), expected, atol=1e-5)


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
