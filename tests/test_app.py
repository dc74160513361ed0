"""The web page without a browser: models, what can be asked of them as functions, the server."""

import base64
import functools
import io
import json
import socket
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from test_trained import as_bytes, bomb

import keras_faces as kf
from keras_faces.app import actions, served, server
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
def model_of(models, folder):
    return lambda name: models[str(folder / name)]


# ---------------------------------------------------------------------------------------------
# Pictures of strangers


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"What is a face?\n" * 20, "not a picture.*AVIF"),
        (bomb(9_000, 9_000), "9000x9000 pixels, more than the limit of 50,000,000"),
    ],
)
def test_what_is_wrong_with_a_picture_is_told(data, expected, model_of):
    for given in (actions.picture, actions.translate):
        name = "vae" if given is actions.picture else "cyclegan"
        with pytest.raises(UserError, match=expected):
            given(model_of(name), data)


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch, model_of):
    monkeypatch.setattr(served, "MAX_BYTES", 2_000_000)
    with pytest.raises(UserError, match=r"2\.5 MB, more than the limit of 2 MB"):
        actions.picture(model_of("vae"), bytes(2_500_000))


def test_where_no_face_is_found_the_page_speaks_of_its_own_box(model_of):
    blank = as_bytes(np.full((200, 200), 120, np.uint8))
    with pytest.raises(UserError, match=r"No face was found.*tick 'already cropped") as told:
        actions.picture(model_of("vae"), blank)
    assert "--already-cropped" not in str(told.value)


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
    pytest.importorskip("starlette")
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


def test_what_takes_long_is_done_once_and_again_only_after_it_failed(model_of):
    calls = []

    def compute():
        calls.append(len(calls))
        if len(calls) == 1:
            raise UserError("not yet")
        return "done"

    with pytest.raises(UserError, match="not yet"):
        model_of("vae").cached("test", compute)
    threads = [
        threading.Thread(target=model_of("vae").cached, args=("test", compute)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model_of("vae").cached("test", compute) == "done" and len(calls) == 2


# ---------------------------------------------------------------------------------------------
# What can be asked


def faces_of(given) -> np.ndarray:
    """The faces of a picture in which they stand in a row: a data URL, or a file."""
    if isinstance(given, str):
        kind, _, text = given.partition(";base64,")
        assert kind == "data:image/png"
        given = base64.b64decode(text)
    else:
        assert given.media_type == "image/png"
        given = given.data
    pixels = np.asarray(Image.open(io.BytesIO(given)))
    faces = np.stack(np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1))
    return kf.data.to_float(faces[..., None] if faces.ndim == 3 else faces)


def alike(given, faces):
    """Whether a picture shows faces, but for the rounding to levels."""
    return np.abs(faces_of(given) - np.clip(faces, -1, 1)).max() < 1.01 / 127.5


def drawn(model, *seeds, **named):
    found = actions.sample(model, list(seeds), **named)
    return found["latents"]


@pytest.fixture(scope="module")
def pictures(orl_path):
    return [(orl_path / f"s{person}" / "1.pgm").read_bytes() for person in (1, 2)]


def test_the_page_is_told_what_each_model_can_do(model_of):
    found = {name: actions.about(model_of(name)) for name in ("vae", "gan", "cvae", "cyclegan")}
    assert found["vae"]["about"] == "VAE, 32x32, grey, learnt from orl"
    assert found["vae"]["attributes"] == ["glasses", "smiling", "beard", "woman"]
    assert [found[name]["latents"] for name in found] == [True, True, True, False]
    assert [found[name].get("encoder") for name in found] == [True, False, True, None]
    assert found["cvae"]["conditions"] == ["glasses", "beard"] and not found["cvae"]["attributes"]
    assert set(found["cyclegan"]["makes"]) == {"photo", "sketch"} and not found["vae"]["makes"]
    assert "are not recorded beside it" in found["gan"]["no_attributes"]
    json.dumps(found)


def test_faces_of_seeds_are_the_models(model_of):
    vae = model_of("vae")
    found = actions.sample(vae, [3, 7], "prior")
    expected = [vae.model.generate(1, seed, "prior")[0] for seed in (3, 7)]
    assert alike(found["sheet"], np.stack(expected))
    # A latent on its way through JSON is the same to the last bit.
    latent = json.loads(json.dumps(found["latents"][0]))
    np.testing.assert_array_equal(np.float32(latent), vae.model.sample_latents(1, 3, "prior")[0])
    assert alike(actions.face(vae, latent), expected[:1])


def test_conditions_of_faces_are_obeyed(model_of):
    cvae = model_of("cvae")
    found = actions.sample(cvae, [1], conditions=["beard"])
    assert alike(found["sheet"], cvae.model.generate(1, 1, conditions="beard"))
    change = {"conditions": {"glasses": 1, "beard": 0}}
    moved = actions.face(cvae, found["latents"][0], change)
    assert alike(moved, cvae.model.generate(1, 1, conditions="glasses"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seeds": []}, "1 to 100 seeds"),
        ({"seeds": [0] * 101}, "1 to 100 seeds"),
        ({"seeds": 5}, "1 to 100 seeds"),
        ({"seeds": [2.5]}, "whole number"),
        ({"seeds": [-1]}, "seed must lie between 0 and 4294967295"),
        ({"seeds": [10**400]}, "seed must lie"),
        ({"seeds": [float("nan")]}, "seed must lie"),
        ({"seeds": [None]}, "seed must be a number"),
        ({"seeds": [True]}, "seed must be a number"),
        ({"sampler": "priro"}, "'prior'"),
        ({"sampler": ["prior"]}, "no sampler named"),
    ],
)
def test_mistakes_of_drawing_are_told(given, expected, model_of):
    with pytest.raises(UserError, match=expected):
        actions.sample(model_of("vae"), **{"seeds": [0], **given})


@pytest.mark.parametrize("names", [["bread"], "bread", [5], 5])
def test_a_condition_that_does_not_exist_is_told(names, model_of):
    with pytest.raises(UserError, match="no condition named"):
        actions.sample(model_of("cvae"), [0], conditions=names)


def test_a_picture_becomes_a_latent_and_what_was_done_is_shown(model_of, pictures):
    vae = model_of("vae")
    found = actions.picture(vae, pictures[0], cropped=True)
    face, copy = faces_of(found["sheet"])
    exact = vae.face(pictures[0], True).face
    assert np.abs(face - exact).max() < 0.01
    assert np.abs(copy - vae.model.reconstruct(exact[None])[0]).max() < 0.01
    np.testing.assert_allclose(found["latent"], vae.model.encode(exact[None])[0], atol=1e-5)
    assert "PSNR" in found["note"] and not found["unlike"]
    preview = Image.open(io.BytesIO(base64.b64decode(found["preview"].split(",")[1])))
    assert preview.size == (92, 112)


def test_a_picture_far_from_what_the_model_knows_is_said_to_be_so(model_of, pictures, monkeypatch):
    # Else this model, which has learnt nothing, finds nothing strange.
    monkeypatch.setattr("keras_faces.trained.model.CLEARLY", 0)
    found = actions.picture(model_of("vae"), pictures[0], cropped=True)
    assert found["unlike"].startswith("This picture is unlike the model's training faces:")
    assert found["note"].startswith("Taken as already cropped. The model's copy")


def test_a_large_picture_is_shown_small(model_of):
    pixels = np.random.default_rng(0).integers(0, 256, (700, 1400, 3), np.uint8)
    found = actions.picture(model_of("vae"), as_bytes(pixels), cropped=True)
    preview = Image.open(io.BytesIO(base64.b64decode(found["preview"].split(",")[1])))
    assert preview.size == (320, 160)


def test_pictures_of_a_conditional_model_have_conditions(model_of, pictures):
    cvae = model_of("cvae")
    found = actions.picture(cvae, pictures[0], True, ["beard"])
    exact = cvae.face(pictures[0], True).face[None]
    assert (
        np.abs(faces_of(found["sheet"])[1:] - cvae.model.reconstruct(exact, "beard")).max() < 0.01
    )
    assert found["latent"][-2:] == [0, 1]


def test_without_an_encoder_latents_are_searched_for(model_of, monkeypatch):
    search = functools.partial(kf.latent.invert, steps=40, starts=4)
    monkeypatch.setattr("keras_faces.latent.encoding.invert", search)
    gan = model_of("gan")
    faces = gan.model.generate(2, seed=5)
    levels = np.uint8(np.round((faces[0, ..., 0] + 1) * 127.5))
    found = actions.picture(gan, as_bytes(levels), cropped=True)
    assert "searched for" in found["note"]
    copy = faces_of(found["sheet"])[1]
    assert np.abs(copy - faces[0]).mean() < 0.5 * np.abs(faces[1] - faces[0]).mean()


def test_a_blend_lies_between_its_faces(model_of):
    vae = model_of("vae")
    first, second = drawn(vae, 1, 2)
    expected = vae.model.decode(0.7 * np.float32([first]) + 0.3 * np.float32([second]))
    assert alike(actions.face(vae, first, second=second, percent=30), expected)
    assert alike(actions.face(vae, first, second=second, percent=100), vae.model.generate(1, 2))
    with pytest.raises(UserError, match="percent must lie between 0 and 100"):
        actions.face(vae, first, second=second, percent=101)


def test_attributes_move_a_latent_along_their_directions(model_of):
    vae = model_of("vae")
    [latent] = drawn(vae, 2)
    change = {"attributes": {"beard": 1.5, "woman": 0}}
    encoded = kf.latent.encode_faces(vae.model, vae.faces("attributes"))
    beard, woman = kf.latent.attribute_directions(encoded, ["beard", "woman"])
    expected = vae.model.decode(np.float32([latent]) + 1.5 * beard)
    assert alike(actions.face(vae, latent, change), expected)
    left = kf.latent.orthogonalise(beard, woman)
    expected = vae.model.decode(np.float32([latent]) + 1.5 * left)
    assert alike(actions.face(vae, latent, {**change, "hold": True}), expected)


def test_sliders_show_at_their_ends_where_they_lead(model_of):
    vae = model_of("vae")
    main = kf.latent.main_directions(vae.model, 4)
    found = actions.directions(vae)
    np.testing.assert_allclose(found["shares"], main.shares, rtol=1e-3)
    expected = vae.model.decode(main.mean + np.float32([[-3], [3]]) * main.steps[1])
    assert np.abs(faces_of(found["ends"])[2:4] - expected).max() < 0.02
    [latent] = drawn(vae, 2)
    moved = actions.face(vae, latent, {"directions": [0, 2]})
    expected = vae.model.decode(np.float32([latent]) + 2 * main.steps[1])
    assert np.abs(faces_of(moved) - expected).max() < 0.02
    named = actions.directions(vae, named=True)
    assert named["names"] == ["glasses", "smiling", "beard", "woman"]
    assert len(faces_of(named["ends"])) == 8


def test_uniform_latents_stay_where_the_model_knows_them(model_of):
    gan = model_of("gan")
    [latent] = drawn(gan, 0)
    steps = kf.latent.main_directions(gan.model, 8).steps
    expected = gan.model.decode(np.clip(np.float32([latent]) + 3 * steps.sum(axis=0), -1, 1))
    assert (
        np.abs(faces_of(actions.face(gan, latent, {"directions": [3] * 8})) - expected).max() < 0.02
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"attributes": {"glases": 1.0}}, r"no attribute named 'glases'.*'glasses'"),
        ({"attributes": {"glasses": 4}}, "glasses must lie between -3 and 3"),
        ({"attributes": {"glasses": "1"}}, "glasses must be a number"),
        ({"attributes": [1]}, "names with strengths"),
        ({"directions": [0] * 9}, "at most 4 directions"),
        ({"directions": [float("inf")]}, "direction must lie"),
        ({"conditions": {"beard": 1}}, "takes no conditions"),
        ({"smile": 1}, "Expected as change"),
        ([], "Expected as change"),
    ],
)
def test_mistakes_of_changing_are_told(change, expected, model_of):
    vae = model_of("vae")
    with pytest.raises(UserError, match=expected):
        actions.face(vae, drawn(vae, 0)[0], change)


@pytest.mark.parametrize("latent", [None, [], [0] * 5, [0, 0, 0, "1"], [0, 0, 0, 1e9], {}, "0000"])
def test_what_is_no_latent_of_the_model_is_told(latent, model_of):
    with pytest.raises(UserError, match=r"of another model|latent must"):
        actions.face(model_of("vae"), latent)
    with pytest.raises(UserError, match="has no latents"):
        actions.face(model_of("cyclegan"), latent)


def test_a_morph_goes_from_one_face_to_the_other(model_of):
    vae = model_of("vae")
    first, second = drawn(vae, 1, 2)
    strip = actions.morph(vae, first, second, frames=5, path="spherical")
    codes = kf.latent.between(vae.model, np.float32(first), np.float32(second), 5, "spherical")
    assert alike(strip, vae.model.decode(codes))
    gif = actions.morph(vae, first, second, frames=5, kind="gif", scale=2)
    with Image.open(io.BytesIO(gif.data)) as morph:
        assert morph.n_frames == 8 and morph.size == (256, 256)  # there and back
    for given, expected in (
        ({"frames": 31}, "frames must lie between 2 and 30"),
        ({"path": "curved"}, "no path named 'curved'"),
        ({"path": ["linear"]}, "no path named"),
        ({"kind": "exe"}, "no kind of file named 'exe'"),
        ({"kind": ["gif"]}, "no kind of file"),
        ({"scale": 9}, "scale must lie between 1 and 8"),
    ):
        with pytest.raises(UserError, match=expected):
            actions.morph(vae, first, second, **given)


def test_a_video_is_written_where_it_can_be_and_else_told(model_of, monkeypatch):
    vae = model_of("vae")
    latents = drawn(vae, 1, 2)
    if kf.optional.importlib.util.find_spec("av"):
        assert actions.morph(vae, *latents, kind="mp4").data[4:8] == b"ftyp"
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"keras-faces\[video\]"):
        actions.morph(vae, *latents, kind="mp4")


@pytest.mark.parametrize("to", ["photo", "sketch"])
def test_a_translation_is_shown_with_its_way_back(to, model_of, pictures):
    cyclegan = model_of("cyclegan")
    found = actions.translate(cyclegan, pictures[0], to, cropped=True)
    exact = cyclegan.face(pictures[0], True).face[None]
    there, back = cyclegan.model.cycle(exact, to)
    assert alike(found["sheet"], np.concatenate([exact, there, back]))
    with pytest.raises(UserError, match="no domain named"):
        actions.translate(cyclegan, pictures[0], ["photo"])
    with pytest.raises(UserError, match="does not translate"):
        actions.translate(model_of("vae"), pictures[0])


def test_a_model_of_sketches_translates_photos_alone(tmp_path, pictures):
    small = {"image_size": 32, "channels": 1, "filters": 2, "hidden_units": 4, "latent_dim": 2}
    model = kf.create_model("vaegan", **small, target="sketch")
    model.save(tmp_path / "model.keras")
    found = ServedModels([tmp_path])[str(tmp_path)]
    shown = actions.translate(found, pictures[0], "sketch", True)
    exact = found.face(pictures[0], True).face[None]
    assert alike(shown["sheet"], np.concatenate([exact, model.translate(exact)]))
    assert "sketch" in actions.picture(found, pictures[0], True)["note"]
    with pytest.raises(UserError, match="into sketches alone"):
        actions.translate(found, pictures[0], "photo", True)


def test_examples_are_faces_that_the_model_learnt_from_or_others(model_of):
    vae = model_of("vae")
    found = actions.examples(vae)
    assert found["learnt"] and len(faces_of(found["sheet"])) == 6
    for face in faces_of(found["sheet"]):
        assert vae.faces().cache.holds(kf.data.to_uint8(face))
    assert not actions.examples(model_of("gan"))["learnt"]
    sketches = faces_of(actions.examples(model_of("cyclegan"), "photo")["sheet"])
    photos = faces_of(actions.examples(model_of("cyclegan"))["sheet"])
    assert np.abs(sketches - model_of("cyclegan").model.sketch(photos)).mean() < 0.02


def test_scores_stand_with_their_protocol(model_of):
    found = actions.scores(model_of("vae"))
    assert found["headers"] == ["faces", "laplacian variance"]
    assert [row[0] for row in found["rows"]][:2] == ["real", "generated (prior)"]
    assert all("±" in row[1] for row in found["rows"])
    assert found["notes"][-1].startswith("Protocol: source orl")


def test_damaged_and_missing_scores_are_told(model_of, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="keras-faces evaluate"):
        actions.scores(model_of("gan"))
    monkeypatch.setattr(model_of("vae"), "run", kf.runs.Run(tmp_path))
    (tmp_path / "scores.json").write_text('{"format": 1')
    with pytest.raises(UserError, match="is damaged"):
        actions.scores(model_of("vae"))
    (tmp_path / "scores.json").write_text('{"format": 0}')
    with pytest.raises(UserError, match="Score it again"):
        actions.scores(model_of("vae"))


def test_the_card_is_shown_without_what_machines_read(model_of, folder):
    with pytest.raises(UserError, match=r"has no card.*keras-faces export"):
        actions.card(model_of("gan"))
    (folder / "cvae" / "README.md").write_text("---\nlicense: other\n---\n\n# cvae\n\n---\nEnd")
    assert actions.card(model_of("cvae"))["text"] == "\n# cvae\n\n---\nEnd"


def test_one_thread_at_a_time_uses_keras(model_of, monkeypatch):
    inside, most, barrier = [0], [0], threading.Event()
    model = model_of("vae").model
    decode = model.decode

    def watched(*arguments):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        barrier.wait(0.02)
        faces = decode(*arguments)
        inside[0] -= 1
        return faces

    monkeypatch.setattr(model, "decode", watched)
    results = {}

    def draw(seed):
        results[seed] = actions.sample(model_of("vae"), [seed])["sheet"]

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    for seed in range(6):
        assert alike(results[seed], model.generate(1, seed))


# ---------------------------------------------------------------------------------------------
# The server


def test_a_port_in_use_is_told_with_a_free_one(folder, capsys):
    pytest.importorskip("starlette")
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


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_what_it_needs_it_is_said_how_to_install_it(missing, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["serve", str(folder / "vae")]) == 2
    told = capsys.readouterr().err
    assert "pip install 'keras-faces[web]'" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_it_is_known_who_reaches_a_host(host, alone):
    assert server.is_loopback(host) is alone
