"""Exports: what they serve without keras_faces, and the card that goes with them."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.export import FORMATS

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports are made on TensorFlow"
)
NEEDS = {
    "saved_model": (),
    "litert": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
}
SMALL = {"image_size": 32, "channels": 1, "filters": 4}
SERVING = Path(__file__).parents[1] / "docs" / "serving.md"


def able(format):
    for package in NEEDS[format]:
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a small VAE."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    given = {"hidden_units": 16, "latent_dim": 6, "split": "all"}
    kf.train("vae", "orl", folder, steps=2, count=20, print_fn=str, **SMALL, **given)
    return folder


@pytest.fixture(scope="module")
def conditional():
    return kf.create_model("cvae", **SMALL, hidden_units=16, latent_dim=6, conditions="hat,beard")


def tf_served(folder, signature, **given):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    given = {name: tf.constant(value) for name, value in given.items()}
    return loaded.signatures[signature](**given)["output_0"].numpy()


@pytest.fixture
def quick_files(monkeypatch):
    """SavedModels without content, where the files are not what a test is about."""

    def touch(model, signatures, folder, weights):
        (folder / "saved_model.pb").touch()
        return {"generate": 0.0}

    quick = FORMATS["saved_model"]._replace(write=touch)
    monkeypatch.setitem(FORMATS, "saved_model", quick)


def session(folder, name):
    return pytest.importorskip("onnxruntime").InferenceSession(folder / f"{name}.onnx")


def lite_served(folder, signature, **given):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    return interpreter.get_signature_runner(signature)(**given)["output_0"]


def bytes_of(folder):
    return sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")


@pytest.mark.parametrize(
    ("format", "pixels"), [("saved_model", "uint8"), ("onnx", "float32"), ("litert", "uint8")]
)
def test_the_cards_own_lines_use_the_export_without_keras_faces(run, tmp_path, format, pixels):
    able(format)
    model = kf.load_model(run)
    folder, differences = kf.export.write(model, tmp_path / "out", format, pixels, run)
    assert set(differences) == {"generate", "decode", "encode", "reconstruct"}
    # The VAE's default sampler is its fitted density, which LiteRT cannot draw from.
    left_out = {name for name, difference in differences.items() if difference is None}
    assert left_out == ({"generate"} if format == "litert" else set())
    [script] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    script += "\nnp.save('made.npy', made)\nimport sys"
    noise = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    if format == "saved_model":
        script += f"\nsys.path.append({str(Path(__file__).parent)!r}); import tf_serving"
        [seeds] = re.findall(r"-d '(.*generate_from_seeds.*)'", SERVING.read_text())
        rows = [{"noise": row} for row in noise.tolist()]
        given = [
            json.loads(seeds),
            {"signature_name": "generate", "instances": rows},
            {"signature_name": "generate", "inputs": {"noise": noise.tolist()}},
        ]
        (folder / "requests.json").write_text(json.dumps(given))
    script += "\nassert 'keras_faces' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    latents = noise if format == "litert" else model.latents_from_noise(noise, "fitted")
    own = model.decode(latents)
    made = np.load(folder / "made.npy")
    assert made.dtype == pixels
    if pixels == "uint8":
        assert np.abs(made.astype(int) - np.round((own + 1) * 127.5)).max() <= 1
    else:
        np.testing.assert_allclose(made, own, atol=1e-5)
    if format == "saved_model":
        by_seeds, by_rows, by_columns = json.loads((folder / "answers.json").read_text())
        assert np.shape(by_seeds["predictions"]) == (3, 32, 32, 1)
        assert by_rows["predictions"] == by_columns["outputs"] == made.tolist()


def test_a_keras_export_is_a_small_run_that_generates_the_same(tmp_path):
    folder = tmp_path / "runs" / "vae"
    given = {"hidden_units": 16, "latent_dim": 6, "split": "all", "ema": 0.9}
    kf.train("vae", "orl", folder, steps=4, count=20, print_fn=str, **SMALL, **given)
    model = kf.load_model(folder)
    small, differences = kf.export.write(model, tmp_path / "small", "keras", run=folder)
    assert set(differences) == set(model.signatures())
    loaded = kf.load_model(small)
    for sampler in ("prior", "fitted"):
        made = loaded.generate(5, seed=1, sampler=sampler)
        np.testing.assert_array_equal(made, model.generate(5, seed=1, sampler=sampler))
    faces = model.generate(3)
    np.testing.assert_array_equal(loaded.reconstruct(faces), model.reconstruct(faces))
    sizes = [(place / "model.keras").stat().st_size for place in (small, folder)]
    assert sizes[0] < sizes[1] / 2  # two more numbers a weight for Adam, one for the average
    assert (small / "scores.json").read_bytes() == (folder / "scores.json").read_bytes()
    assert {file.name for file in small.iterdir()} == {
        "README.md",
        "config.json",
        "model.keras",
        "scores.json",
    }
    [script] = re.findall(r"```python\n(.*?)```", (small / "README.md").read_text(), re.S)
    done = subprocess.run([sys.executable, "-c", script], cwd=small, capture_output=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(kf.UserError, match="nothing to go on from"):
        kf.resume(small)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_keras_export_of_a_cyclegan_is_without_the_pool_of_pictures(ema, tmp_path):
    given = {"image_size": 32, "channels": 1, "filters": 2, "residual_blocks": 1, "ema": ema}
    model = kf.create_model("cyclegan", pool_size=8, **given)
    model.compile()
    faces = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype("float32")
    model.fit(faces, batch_size=4, epochs=1, verbose=0)
    loaded = kf.load_model(kf.export.write(model, tmp_path / "small", "keras").folder)
    assert (model.pool_size, loaded.pool_size) == (8, 0)
    for to in ("photo", "sketch"):
        np.testing.assert_array_equal(loaded.translate(faces, to=to), model.translate(faces, to=to))


def test_a_keras_export_has_no_levels(run, tmp_path):
    with pytest.raises(kf.UserError, match="float32"):
        kf.export.write(kf.load_model(run), tmp_path / "out", "keras", "uint8")


@pytest.mark.parametrize(  # the others' layers are the VAE's
    ("name", "format"),
    [("began", "onnx"), ("cyclegan", "onnx"), ("gan", "onnx"), ("gan", "litert")],
)
def test_files_of_other_architectures_are_the_models(tmp_path, name, format):
    able(format)
    known = kf.models.hyperparameters(name)
    small = {**SMALL, "hidden_units": 8, "residual_blocks": 1}
    model = kf.create_model(name, **{key: small[key] for key in small if key in known})
    folder, differences = kf.export.write(model, tmp_path / "out", format)
    assert set(differences) == set(model.signatures())
    if format == "onnx":
        assert {path.stem for path in folder.glob("*.onnx")} == set(differences)
    else:
        assert differences.pop("generate") is None  # its prior is uniform
        card = (folder / "README.md").read_text()
        assert "not in this format" in card
        assert "'latents': np.random.default_rng(0).uniform(-1, 1" in card
    assert 0 <= max(differences.values()) < 1e-4


def test_conditions_and_faces_go_in_by_name_and_faces_come_out_in_levels(conditional, tmp_path):
    able("onnx")
    folder, _ = kf.export.write(conditional, tmp_path / "out", "onnx", "uint8")
    served = session(folder, "reconstruct")
    assert {i.name: i.type for i in served.get_inputs()} == {
        "faces": "tensor(uint8)",
        "conditions": "tensor(float)",
    }
    levels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), np.uint8)
    conditions = np.eye(2, dtype="float32")[[0, 1, 0, 1, 0]]
    [made] = served.run(["output_0"], {"faces": levels, "conditions": conditions})
    own = conditional.reconstruct(kf.data.to_float(levels), conditions)
    assert np.abs(made.astype(int) - np.round((own + 1) * 127.5)).max() <= 1


def test_onnx_files_share_their_weights_and_take_any_count_by_name(run, tmp_path, monkeypatch):
    able("onnx")
    model = kf.load_model(run)
    folder = kf.export.write(model, tmp_path / "my-model", "onnx").folder
    whole = 4 * (model.encoder.count_params() + model.decoder.count_params())
    shared = (folder / "weights.bin").stat().st_size
    assert 0.8 * whole < shared < 1.5 * whole  # of four graphs, and the fitted latents
    served = session(folder, "reconstruct")
    assert served.get_inputs()[0].shape == ["count", 32, 32, 1]
    assert served.get_outputs()[0].shape == ["count", 32, 32, 1]
    for count in (1, 7):
        faces = model.generate(count, seed=count)
        [made] = served.run(None, {"faces": faces})
        np.testing.assert_allclose(made, model.reconstruct(faces), atol=1e-5)
    # And the page's own lines.
    monkeypatch.chdir(tmp_path)
    plain, service = re.findall(r"```python\n(import numpy.*?)```", SERVING.read_text(), re.S)
    exec(plain, alone := {})
    assert alone["faces"].shape == (16, 32, 32, 1)
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    exec(service, served := {})
    client = TestClient(served["app"])
    noise = np.random.default_rng(0).standard_normal((2, 6), np.float32)
    made = client.post("/generate", json=noise.tolist())
    own = model.decode(model.latents_from_noise(noise, "fitted"))
    np.testing.assert_allclose(made.json(), own, atol=1e-5)
    refused = client.post("/generate", json=[[1.0]])
    assert (refused.status_code, "6 numbers" in refused.text) == (422, True)


@pytest.mark.parametrize(("weights", "share"), [("float16", 0.6), ("int8", 0.4)])
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_smaller_weights_make_nearly_the_same_faces(tmp_path, format, weights, share):
    able(format)
    model = kf.create_model("dcgan", image_size=32, channels=1, filters=8)
    for variable in model.generator.trainable_variables:  # faces beyond a uniform grey
        variable.assign(3 * variable)
    folder, differences = kf.export.write(model, tmp_path / "out", format, weights=weights)
    assert bytes_of(folder) < share * 4 * model.generator.count_params()
    serve = {
        "onnx": lambda given: session(folder, "decode").run(None, {"latents": given})[0],
        "litert": lambda given: lite_served(folder, "decode", latents=given),
    }[format]
    for count in (1, 3, 7):
        latents = np.random.default_rng(count).standard_normal((count, 100), np.float32)
        own = model.decode(latents)
        assert 0 < np.abs(serve(latents) - own).max() < 0.2 * own.std()
    assert 0 < differences["decode"] < 0.2 * own.std()
    assert f"Weights are kept as {weights}" in (folder / "README.md").read_text()


def test_a_seed_gives_the_same_face_whatever_is_asked_for_beside_it(run, tmp_path):
    import tensorflow as tf

    folder = kf.load_model(run).export(tmp_path / "out")
    serve = tf.saved_model.load(str(folder)).signatures["generate_from_seeds"]
    several = serve(seeds=tf.constant([3, 1, 3, 7]))["output_0"].numpy()
    alone = serve(seeds=tf.constant([1]))["output_0"].numpy()
    np.testing.assert_array_equal(several[0], several[2])
    np.testing.assert_allclose(several[1], alone[0], atol=1e-5)
    assert not np.array_equal(several[0], several[3])


def test_a_card_tells_document_data_command_scores_and_misuse(run, tmp_path, quick_files):
    card = (run / "saved_model" / "README.md").read_text()
    for word in ("# vae, 32x32, grey", "400 pictures of `orl`", "AT&T", "face detection rate"):
        assert word in card
    for word in ("latent_dim 6", "Protocol: source orl", "consented", "deceive"):
        assert word in card
    alone = kf.load_model(run / "model.keras").export(tmp_path / "alone") / "README.md"
    assert "Not recorded" in alone.read_text()


def test_a_training_on_jax_leaves_what_tensorflow_serves(tmp_path):
    pytest.importorskip("jax")
    script = f"""
        import keras_faces as kf
        given = dict(hidden_units=8, latent_dim=4, split="all")
        run = kf.train("vae", "orl", "run", steps=2, count=0, **{SMALL}, **given)
        model = kf.load_model(run.folder)
        open("text.txt", "w").close()
        for path, format in ("graphs", "onnx"), (".", "onnx"):
            try:
                print(sorted(kf.export.write(model, path, format).differences))
            except kf.UserError as error:
                print(error)
    """
    able("onnx")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(kf.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    graphs, refused = done.stdout.splitlines()[-2:]
    assert graphs == "['decode', 'encode', 'generate', 'reconstruct']"
    assert "is not an export of format onnx" in refused
    model = kf.load_model(tmp_path / "run")
    noise = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    served = tf_served(tmp_path / "run" / "saved_model", "decode", latents=noise)
    np.testing.assert_allclose(served, model.decode(noise), atol=1e-4)


def test_an_export_replaces_its_like_and_nothing_else(run, tmp_path, quick_files):
    model = kf.load_model(run)
    first = kf.export.write(model, tmp_path / "out").folder
    (first / "README.md").write_text("old")
    kf.export.write(model, first)
    assert (first / "README.md").read_text() != "old"
    with pytest.raises(kf.UserError, match="not an export of format onnx"):
        able("onnx")
        kf.export.write(model, first, "onnx")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(kf.UserError, match="is a file"):
        kf.export.write(model, tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "file"}


def test_output_that_is_not_the_models_is_not_kept(run, tmp_path, monkeypatch):
    model = kf.load_model(run)
    wrong = FORMATS["saved_model"]._replace(write=lambda *given: {"decode": float("nan")})
    monkeypatch.setitem(FORMATS, "saved_model", wrong)
    with pytest.raises(kf.UserError, match="'decode'"):
        kf.export.write(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_without_its_packages_a_format_says_what_to_install(run, tmp_path, monkeypatch, format):
    import importlib.util

    model = kf.load_model(run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(kf.UserError, match=rf"keras-faces\[{format}\]"):
        kf.export.write(model, tmp_path / "out", format)


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_half_the_weights_make_the_same_faces_but_for_a_fraction_of_a_level(tmp_path, name):
    model = kf.create_model(name, image_size=32, channels=1, filters=8, ema=0.9)
    whole = kf.export.write(model, tmp_path / "whole", "keras")
    half = kf.export.write(model, tmp_path / "half", "keras", weights="float16")
    sizes = [(each.folder / "model.keras").stat().st_size for each in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    assert 0 < max(half.differences.values()) < 1e-2
    made = kf.load_model(half.folder / "model.keras").generate(4)
    assert 0 < np.abs(made - model.generate(4)).max() < 1e-2
    assert "Weights are kept as float16" in (half.folder / "README.md").read_text()


def test_a_model_of_bfloat16_is_served_in_float32(tmp_path):
    able("onnx")
    small = {**SMALL, "filters": 2, "latent_dim": 6}
    model = kf.create_model("dcgan", **small, dtype="mixed_bfloat16", ema=0.9)
    exact = kf.create_model("dcgan", **small, ema=0.9)
    for variable, value in zip(exact.variables, model.variables, strict=True):
        variable.assign(value)
    noise = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    folder = kf.export.write(model, tmp_path / "out", "onnx").folder
    [made] = session(folder, "decode").run(None, {"latents": noise})
    np.testing.assert_allclose(made, exact.decode(noise), atol=1e-6)
    assert np.abs(made - model.decode(noise)).max() < 0.01


def test_what_onnxruntime_cannot_compute_is_said_and_not_kept(tmp_path):
    able("onnx")
    own = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(32 * 32, dtype="mixed_bfloat16"),
            keras.layers.Reshape((32, 32, 1), dtype="float32"),
        ]
    )
    model = kf.create_model("dcgan", **SMALL, latent_dim=6, generator=own)
    with pytest.raises(kf.UserError, match=r"bfloat16.*Choose another format: saved_model"):
        kf.export.write(model, tmp_path / "out", "onnx")
    assert not list(tmp_path.iterdir())


def test_a_format_that_cannot_keep_half_weights_says_which_it_can(tmp_path):
    model = kf.create_model("vae", image_size=32, channels=1, filters=2)
    with pytest.raises(kf.UserError, match="Known: float32"):
        kf.export.write(model, tmp_path / "out", "saved_model", weights="float16")
