"""Models on a Hub: pushed and fetched through its own client, from a server that is here."""

import json

import huggingface_hub
import numpy as np
import pytest
from hub_server import TOKEN, Hub
from huggingface_hub import constants as hub_constants

import keras_faces as kf
from keras_faces.cli import main

SMALL = {"image_size": 32, "channels": 1, "filters": 2, "latent_dim": 4, "hidden_units": 8}


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Hub()
    constants = hub_constants
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        server.address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def model():
    return kf.create_model("vae", **SMALL)


def push(model, tmp_path, *more):
    model.save(tmp_path / "mine.keras")
    out = ["--out", str(tmp_path / "out")]
    return main(["export", str(tmp_path / "mine.keras"), "--push", "hf://me/vae", *out, *more])


def test_a_pushed_model_is_loaded_by_its_address_and_fetched_once(server, model, tmp_path, capsys):
    assert push(model, tmp_path) == 0
    assert f"Pushed to {server.address}/me/vae" in capsys.readouterr().out
    assert {"model.keras", "README.md"} <= server.files["me/vae"].keys()
    for load in (kf.load_model, kf.from_preset, kf.models.VAE.from_preset):
        np.testing.assert_array_equal(load("hf://me/vae").generate(2), model.generate(2))
    sent = [line for line in server.asked if line.startswith("GET") and "model.keras" in line]
    assert len(sent) == 1


def test_commands_take_an_address_where_they_take_a_run(server, model, tmp_path, capsys):
    push(model, tmp_path)
    assert main(["generate", "hf://me/vae", "--count", "2", "--out", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").is_file()


def test_of_a_strangers_repository_nothing_but_a_models_files_is_fetched(server, model, tmp_path):
    push(model, tmp_path)
    server.files["me/vae"]["code.py"] = b"raise SystemExit"
    kf.load_model("hf://me/vae")
    assert not [line for line in server.asked if "code.py" in line]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://me/nothing", "no such model"),
        ("hf://me/empty", "holds no model.keras"),
        ("hf://me", "no model on the Hugging Face Hub"),
        ("hf://me/../../etc", "no model on the Hugging Face Hub"),
        ("hf://", "no model on the Hugging Face Hub"),
        ("hf://datasets/me/faces", "no model on the Hugging Face Hub"),
    ],
)
def test_an_address_without_a_model_is_refused_in_a_line(server, address, words, capsys):
    server.files["me/empty"] = {"README.md": b"# nothing"}
    with pytest.raises(kf.UserError, match=words):
        kf.load_model(address)
    assert main(["generate", address]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_without_a_token_it_is_said_how_to_log_in(server, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert push(model, tmp_path) == 2
    assert "hf auth login" in capsys.readouterr().err


def test_without_a_network_it_is_said(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(kf.UserError, match="Cannot fetch"):
        kf.load_model("hf://me/vae")


def test_a_wrong_address_is_told_before_anything_is_written(model, tmp_path):
    model.save(tmp_path / "mine.keras")
    out = tmp_path / "out"
    words = ["export", str(tmp_path / "mine.keras"), "--push", "me/vae", "--out", str(out)]
    assert main(words) == 2
    assert not out.exists()


def test_a_preset_is_a_folder_that_comes_back(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    again = kf.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(again.generate(2), model.generate(2))
    with pytest.raises(kf.UserError, match="holds a VAE, not a DCGAN"):
        kf.models.DCGAN.from_preset(tmp_path / "preset")
    assert isinstance(kf.from_preset("vae-orl-64"), kf.models.VAE)


def test_the_hub_reads_license_library_tags_and_scores_from_a_card(tmp_path):
    folder = "vae-orl-64"
    kf.export.write(kf.load_model(folder), tmp_path / "out", "keras", run=kf.runs.find(folder))
    card = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md")
    data = card.data
    assert (data.license, data.library_name) == ("other", "keras")
    assert data.pipeline_tag == "unconditional-image-generation" and "vae" in data.tags
    told = {result.metric_name: result.metric_value for result in data.eval_results}
    scores = json.loads((kf.runs.find(folder) / "scores.json").read_text())["rows"]
    assert told["face detection rate (prior)"] == scores["prior"]["face_detection_rate"]["value"]
    assert data.eval_results[0].dataset_name == "orl"
