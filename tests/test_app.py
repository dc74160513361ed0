"""The web page without a browser: uploads, models, tabs as functions, and the server."""

import io
import json
import socket
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from serving import CONDITIONS, Caller, given_file, serving
from test_trained import as_bytes, bomb

import keras_faces as kf
from keras_faces.app import actions, server, uploads
from keras_faces.app.actions import Given
from keras_faces.app.served import ServedModels, find_models
from keras_faces.cli import main

UserError = kf.UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder of an untrained VAE of the ORL faces, with scores, and models without runs."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "vae": {"latent_dim": 4, "filters": 2, "hidden_units": 8},
        "gan": {"latent_dim": 8, "filters": 2, "hidden_units": 4},
        "cvae": {"latent_dim": 4, "filters": 2, "hidden_units": 8, "conditions": "glasses,beard"},
        "cyclegan": {"filters": 2, "residual_blocks": 1, "pool_size": 2},
    }
    for name, given in models.items():
        model = kf.create_model(name, image_size=32, channels=1, **given)
        model.compile()
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
        if name == "vae":
            stream = kf.data.open_faces("orl", 32, split="all", channels=1)
            run = kf.runs.Run(folder / name)
            run.write_config(kf.saving.describe(model, stream))
            result = kf.metrics.score(model, stream, 20, scores=["laplacian_variance"])
            run.scores_path.write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return ServedModels([folder / name for name in ("vae", "gan", "cvae", "cyclegan")])


@pytest.fixture
def served(models, folder):
    return lambda name: models[str(folder / name)]


# ---------------------------------------------------------------------------------------------
# Uploads


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"What is a face?\n" * 20, "not a picture.*AVIF"),
        (bomb(9_000, 9_000), "9000x9000 pixels, more than the limit of 50,000,000"),
    ],
)
def test_what_is_wrong_with_an_upload_is_told(data, expected, served):
    with pytest.raises(UserError, match=expected):
        served("vae").face(data)


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch, served):
    monkeypatch.setattr(uploads, "MAX_BYTES", 2_000_000)
    with pytest.raises(UserError, match=r"2\.5 MB, more than the limit of 2 MB"):
        served("vae").face(bytes(2_500_000))


# ---------------------------------------------------------------------------------------------
# The models that are served


def test_models_are_found_where_they_lie(folder, tmp_path, monkeypatch):
    (tmp_path / "saved_models").symlink_to(folder)
    (tmp_path / "runs" / "just-begun").mkdir(parents=True)
    (tmp_path / "runs" / "just-begun" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = find_models()
    assert found == [f"saved_models/{name}" for name in ("vae", "cvae", "cyclegan", "gan")]
    assert ServedModels(["vae"])["vae"].describe() == "VAE, 32x32, grey, learnt from orl"


def test_without_any_model_it_is_said_what_to_do(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    monkeypatch.chdir(tmp_path)
    assert main(["serve"]) == 2
    told = capsys.readouterr().err
    assert "no model in saved_models/ or runs/" in told and "keras-faces train" in told


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="'nothing' is not there"):
        ServedModels(["nothing"])
    with pytest.raises(UserError, match="neither a run nor a model"):
        ServedModels([tmp_path])


def test_a_model_that_is_not_on_the_page_is_told(models):
    with pytest.raises(UserError, match="no model on this page named 'other'"):
        models["other"]


def test_what_takes_long_is_done_once_and_again_only_after_it_failed(served):
    calls = []

    def compute():
        calls.append(len(calls))
        if len(calls) == 1:
            raise UserError("not yet")
        return "done"

    with pytest.raises(UserError, match="not yet"):
        served("vae").cached("test", compute)
    threads = [
        threading.Thread(target=served("vae").cached, args=("test", compute)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served("vae").cached("test", compute) == "done" and len(calls) == 2


def test_one_thread_at_a_time_uses_keras(served, monkeypatch):
    inside, most, barrier = [0], [0], threading.Event()
    model = served("vae").model
    generate = model.generate

    def watched(*arguments, **named):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        barrier.wait(0.05)
        faces = generate(*arguments, **named)
        inside[0] -= 1
        return faces

    monkeypatch.setattr(model, "generate", watched)
    results = {}

    def draw(seed):
        results[seed] = actions.sample(served("vae"), 2, seed).faces

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    for seed in range(6):
        np.testing.assert_array_equal(results[seed], generate(2, seed))


# ---------------------------------------------------------------------------------------------
# Tabs


def test_each_model_has_the_tabs_that_make_sense_and_says_why_not_the_others(served):
    found = {name: actions.reasons(served(name)) for name in ("vae", "gan", "cvae", "cyclegan")}
    assert set(found["vae"]) == {"translate"}
    assert set(found["gan"]) == {"attributes", "translate", "scores"}
    assert set(found["cvae"]) == {"attributes", "translate", "scores"}
    without_latents = {"sample", "blend", "attributes", "interpolate", "reconstruct"}
    assert set(found["cyclegan"]) == {*without_latents, "scores"}
    assert "not recorded" in found["gan"]["attributes"]
    assert "has no latents" in found["cyclegan"]["blend"]
    assert "is told its conditions" in found["cvae"]["attributes"]
    assert "keras-faces evaluate" in found["gan"]["scores"]
    assert "see Translate" in found["cyclegan"]["sample"]


def test_samples_are_the_models(served):
    shown = actions.sample(served("vae"), 5, 3)
    np.testing.assert_array_equal(shown.faces, served("vae").model.generate(5, 3))
    assert "seed 3" in shown.note and max(shown.picture.size) >= 500


def test_samples_are_saved_in_their_own_size(served, tmp_path):
    import zipfile

    path = tmp_path / "faces.zip"
    actions.save_faces(actions.sample(served("vae"), 2), path)
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == ["00000.png", "00001.png", "grid.png"]
        assert Image.open(io.BytesIO(file.read("00001.png"))).size == (32, 32)


def test_conditions_of_samples_are_obeyed(served):
    shown = actions.sample(served("cvae"), 3, 1, conditions=["beard"])
    model = served("cvae").model
    np.testing.assert_array_equal(shown.faces, model.generate(3, 1, conditions="beard"))
    assert np.abs(shown.faces - actions.sample(served("cvae"), 3, 1).faces).max() > 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"count": 0}, "count must lie between 1 and 100"),
        ({"count": 101}, "count must lie"),
        ({"count": 2.5}, "whole number"),
        ({"seed": -1}, "seed must lie"),
        ({"seed": None}, "seed must be a whole number"),
        ({"sampler": "priro"}, "'prior'"),
    ],
)
def test_mistakes_of_sampling_are_told(given, expected, served):
    with pytest.raises(UserError, match=expected):
        actions.sample(served("vae"), **{"count": 2, **given})


def test_a_condition_that_does_not_exist_is_told(served):
    with pytest.raises(UserError, match=r"no condition named 'bread'.*'beard'"):
        actions.sample(served("cvae"), 1, conditions=["bread"])


@pytest.fixture(scope="module")
def pictures(orl_path):
    return [
        Given(data=(orl_path / f"s{person}" / "1.pgm").read_bytes(), cropped=True, conditions=())
        for person in (1, 2)
    ]


def test_a_blend_lies_between_its_pictures(served, pictures):
    vae = served("vae")
    faces = actions.blend(vae, *pictures, 30).faces
    np.testing.assert_allclose(faces[1], vae.model.blend(faces[0], faces[2], 30), atol=1e-5)
    for percent, given in ((0, pictures[0]), (100, pictures[1])):
        copy = actions.reconstruct(vae, given).faces[1]
        np.testing.assert_allclose(actions.blend(vae, *pictures, percent).faces[1], copy, atol=1e-5)


def test_a_blend_needs_both_pictures(served, pictures):
    with pytest.raises(UserError, match="both pictures"):
        actions.blend(served("vae"), pictures[0], Given())


def test_pictures_of_a_conditional_model_have_conditions(served, pictures):
    cvae = served("cvae")
    first, second = (
        actions.reconstruct(cvae, pictures[0]._replace(conditions=held)).faces
        for held in ((), ("beard",))
    )
    expected = cvae.model.reconstruct(second[:1], "beard")
    np.testing.assert_allclose(second[1:], expected, atol=1e-6)
    assert np.abs(first[1] - second[1]).max() > 0


def test_without_an_encoder_latents_are_searched_for_once(served, monkeypatch):
    gan = served("gan")
    faces = gan.model.generate(2, seed=5)
    drawn = [
        Given(data=as_bytes(np.uint8(np.round((face[..., 0] + 1) * 127.5))), cropped=True)
        for face in faces
    ]
    shown = actions.reconstruct(gan, drawn[0])
    assert "searched for" in shown.note
    assert np.abs(shown.faces[1] - faces[0]).mean() < 0.5 * np.abs(faces[1] - faces[0]).mean()
    actions.blend(gan, *drawn, 25)

    def again(*given, **named):
        pytest.fail("it searched again")

    monkeypatch.setattr("keras_faces.latent.encoding.invert", again)
    blended = actions.blend(gan, *drawn, 0)
    np.testing.assert_allclose(blended.faces[1], shown.faces[1], atol=1e-5)
    assert len(actions.interpolate(gan, Given(), drawn[0], frames=3).faces) == 3
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    monkeypatch.undo()
    with pytest.raises(UserError, match="did not come near"):
        actions.reconstruct(gan, Given(data=as_bytes(noise), cropped=True))


def test_attributes_move_a_latent_along_their_directions(served):
    vae, told = served("vae"), []
    shown = actions.attributes(
        vae, Given(seed=2), {"beard": 1.5, "woman": 0.0}, progress=lambda *done: told.append(done)
    )
    encoded = kf.latent.encode_faces(vae.model, vae.faces("attributes"))
    direction = kf.latent.attribute_directions(encoded, ["beard"])[0]
    latent = vae.model.sample_latents(1, 2)[0]
    expected = vae.model.decode(np.stack([latent, latent + 1.5 * direction]))
    np.testing.assert_allclose(shown.faces, expected, atol=1e-4)
    assert "beard +1.5" in shown.note
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0
    # Once is enough.
    actions.attributes(vae, Given(seed=3), {"beard": 1.0}, progress=lambda *done: told.append(done))
    assert len(told) == len(shares)


def test_attributes_that_are_held_take_their_part_out_of_others(served):
    vae = served("vae")
    known = actions.directions(vae).vectors
    held = actions.attributes(vae, Given(), {"beard": 1.0, "woman": 0.0}, hold=True)
    left = kf.latent.orthogonalise(known["beard"], known["woman"])
    expected = vae.model.decode(vae.model.sample_latents(1, 0) + left)
    np.testing.assert_allclose(held.faces[1:], expected, atol=1e-5)


def test_an_attribute_that_does_not_exist_is_told(served):
    with pytest.raises(UserError, match=r"no attribute named 'glases'.*'glasses'"):
        actions.attributes(served("vae"), Given(), {"glases": 1.0})


def test_an_interpolation_goes_from_one_end_to_the_other(served, pictures, tmp_path):
    vae = served("vae")
    shown = actions.interpolate(vae, Given(seed=1), pictures[0], 5, "spherical")
    np.testing.assert_allclose(shown.faces[0], vae.model.generate(1, 1)[0], atol=1e-4)
    np.testing.assert_allclose(
        shown.faces[-1], actions.reconstruct(vae, pictures[0]).faces[1], atol=1e-4
    )
    actions.save_gif(shown, tmp_path / "morph.gif")
    with Image.open(tmp_path / "morph.gif") as morph:
        assert morph.n_frames == 8  # there and back
    with pytest.raises(UserError, match="frames must lie between 2 and 30"):
        actions.interpolate(vae, Given(), Given(), 31)


@pytest.mark.parametrize("to", ["photo", "sketch"])
def test_a_translation_is_shown_with_its_way_back(to, served, pictures):
    faces = actions.translate(served("cyclegan"), pictures[0], to).faces
    model = served("cyclegan").model
    back = "sketch" if to == "photo" else "photo"
    np.testing.assert_allclose(faces[1:2], model.translate(faces[:1], to), atol=1e-5)
    np.testing.assert_allclose(faces[2:], model.translate(faces[1:2], back), atol=1e-5)


def test_a_model_of_sketches_translates_photos_alone_and_copies_nothing(tmp_path, pictures):
    small = {"image_size": 32, "channels": 1, "filters": 2, "hidden_units": 4, "latent_dim": 2}
    model = kf.create_model("vaegan", **small, target="sketch")
    model.save(tmp_path / "model.keras")
    served = ServedModels([tmp_path])[str(tmp_path)]
    shown = actions.translate(served, pictures[0], "sketch")
    np.testing.assert_allclose(shown.faces[1:], model.translate(shown.faces[:1]), atol=1e-5)
    assert "sketch made of it" in shown.note
    with pytest.raises(UserError, match="into sketches alone"):
        actions.translate(served, pictures[0], "photo")
    assert "see Translate" in actions.reasons(served)["reconstruct"]
    with pytest.raises(UserError, match="see Translate"):
        actions.reconstruct(served, pictures[0])


def test_scores_stand_with_their_protocol(served):
    found = actions.score_table(served("vae"))
    assert found.headers == ["faces", "laplacian variance"]
    assert [row[0] for row in found.rows][:2] == ["real", "generated (prior)"]
    assert all("±" in row[1] for row in found.rows)
    assert found.notes[-1].startswith("Protocol: source orl") and "crop center" in found.notes[-1]


def test_damaged_scores_are_told(served, monkeypatch, tmp_path):
    monkeypatch.setattr(served("vae"), "run", kf.runs.Run(tmp_path))
    (tmp_path / "scores.json").write_text('{"format": 1')
    with pytest.raises(UserError, match="is damaged"):
        actions.score_table(served("vae"))
    (tmp_path / "scores.json").write_text('{"format": 0}')
    with pytest.raises(UserError, match="Score it again"):
        actions.score_table(served("vae"))


# ---------------------------------------------------------------------------------------------
# The server


def test_a_port_in_use_is_told_with_a_free_one(folder, capsys):
    pytest.importorskip("gradio")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", str(folder / "vae"), "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert f"Port {port} of 127.0.0.1 is in use" in told and "Traceback" not in told
    free = int(told.split("--port ")[1])
    server.listen("127.0.0.1", free).close()


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("no such host", 0, "no name or address"),
        ("203.0.113.7", 0, "no address of this machine"),
        ("127.0.0.1", 70000, "0 to 65535"),
        ("127.0.0.1", -1, "0 to 65535"),
    ],
)
def test_addresses_that_are_not_to_be_had_are_told(host, port, expected):
    with pytest.raises(UserError, match=expected):
        server.listen(host, port)


def test_without_gradio_it_is_said_how_to_install_it(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["serve", str(folder / "vae")]) == 2
    told = capsys.readouterr().err
    assert "pip install 'keras-faces[web]'" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_it_is_known_who_reaches_a_host(host, alone):
    assert server.is_loopback(host) is alone


@pytest.fixture(scope="module")
def running(folder):
    pytest.importorskip("gradio")
    with serving([folder / "vae", folder / "cyclegan"]) as page:
        yield page


def test_the_page_asks_no_other_server(running):
    with urllib.request.urlopen(running.url) as answer:
        html = answer.read().decode()
        policy = answer.headers["content-security-policy"]
    assert "keras_faces" in html
    assert "default-src 'self'" in policy and "http" not in policy
    for elsewhere in ("googleapis", "gstatic", "cdnjs", "jsdelivr", "unpkg"):
        assert elsewhere not in html


def test_another_host_name_is_refused_on_loopback(running):
    asked = urllib.request.Request(running.url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked)


def test_the_page_answers_and_tells_what_is_wrong(running, folder, pictures):
    caller, name = Caller(running.url), str(folder / "vae")
    worked, (picture, note, _) = caller.press("Draw", name, 4, 1, "prior", CONDITIONS, [])
    assert worked and note == "4 faces, seed 1, sampler prior"
    _, data = caller.file(picture["path"])
    assert Image.open(io.BytesIO(data)).size[0] > 500
    text = b"What is a face?\n" * 20
    _, (face, other) = caller.upload(("face.pgm", pictures[0].data), ("text.png", text))
    worked, (_, note) = caller.press("Reconstruct", name, given_file(face), True, [])
    assert worked and "PSNR" in note
    worked, told = caller.press("Reconstruct", name, given_file(other), True, [])
    assert not worked and "not a picture in a format that is read here" in told
