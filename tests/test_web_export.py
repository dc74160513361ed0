"""The page that makes faces in a browser: its folder, and what a real browser shows of it."""

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import tarfile
import urllib.error
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.export.web import MODEL, VARIABLE, runtime
from keras_faces.latent import main_directions

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports are made on TensorFlow"
)
SMALL = {"image_size": 32, "channels": 1, "filters": 4}
SCRIPTS = {"runtime.js", "model.js", "keras-faces.js", "widgets.js", "page.js"}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def small_vae(**given):
    return kf.create_model("vae", **{**SMALL, "hidden_units": 16, "latent_dim": 6, **given})


def small_cvae(conditions="hat,beard"):
    return kf.create_model("cvae", **SMALL, hidden_units=16, latent_dim=6, conditions=conditions)


def package(module="export const Tensor = 1;", wasm=b"wasm") -> bytes:
    """An npm package of the layout of onnxruntime-web."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as files:
        for name, data in {runtime.MODULE: module.encode(), runtime.WASM: wasm}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            files.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def integrity(data):
    return base64.b64encode(hashlib.sha512(data).digest()).decode()


@pytest.fixture
def registry(own_cache, monkeypatch):
    """What the npm registry answers: a small package, unless a test changes it."""
    answers = {"data": package(), "asked": []}

    class Answer(io.BytesIO):
        headers = {}

    def urlopen(address, **given):
        answers["asked"].append(address)
        if isinstance(answers["data"], Exception):
            raise answers["data"]
        return Answer(answers["data"])

    monkeypatch.setattr(runtime, "INTEGRITY", integrity(answers["data"]))
    monkeypatch.setattr(runtime.urllib.request, "urlopen", urlopen)
    return answers


@pytest.fixture
def able():
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(name)


def content(folder) -> dict:
    """What `model.js` holds."""
    return json.loads((folder / MODEL).read_text()[len(VARIABLE) : -len(";\n")])


def test_the_folder_holds_all_that_the_page_loads_and_the_card_says_how_to_use_it(
    able, registry, tmp_path
):
    folder, differences = kf.export.write(small_vae(), tmp_path / "out", "web")
    assert differences["encode"] is None and differences["reconstruct"] is None
    assert differences["generate"] < 1e-4 and differences["decode"] < 1e-4
    html = (folder / "index.html").read_text()
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', html)) - {"data:,"}
    assert loaded >= SCRIPTS
    assert {file.name for file in folder.iterdir()} == {"index.html", *loaded}
    texts = [html] + [(folder / name).read_text() for name in loaded if name.endswith(".css")]
    assert not any("http" in text for text in texts)
    card = (folder / "README.md").read_text()
    assert "Open `index.html`" in card and "```html" in card
    assert "| `encode` | `faces` float32 (count, 32, 32, 1) | not in this format |" in card
    about = content(folder)["about"]
    assert (about["model"], about["size"], about["channels"]) == ("vae", 32, 1)
    assert np.shape(about["directions"]) == (6, 6) and not about["uniform"]
    script = (folder / "runtime.js").read_text()
    held = json.loads(re.search(r"KERAS_FACES_RUNTIME = (.*);", script)[1])
    assert held["module"] == "export const Tensor = 1;"
    assert gzip.decompress(base64.b64decode(held["wasm"])) == b"wasm"


def test_what_the_runtime_is_made_of_is_downloaded_once(registry):
    first = runtime.runtime_script()
    assert runtime.runtime_script() == first
    assert registry["asked"] == [runtime.ADDRESS]


def test_without_a_network_it_says_which_file_to_put_where(able, registry, tmp_path):
    good = registry["data"]
    registry["data"] = urllib.error.URLError("no route")
    with pytest.raises(kf.UserError, match="no route") as refused:
        kf.export.write(small_vae(), tmp_path / "out", "web")
    assert runtime.ADDRESS in str(refused.value)
    assert not list(tmp_path.glob("*out*"))
    place = Path(str(refused.value).split("put it there: ")[1])
    place.parent.mkdir(parents=True)
    place.write_bytes(good)
    assert "KERAS_FACES_RUNTIME" in runtime.runtime_script()


def test_a_package_that_is_not_the_published_one_is_not_used(registry):
    good = registry["data"]
    registry["data"] = package(module="export const stolen = 1;")
    with pytest.raises(kf.UserError, match="not kept"):
        runtime.runtime_script()
    assert not runtime.package_place().exists()
    registry["data"] = good
    runtime.runtime_script()
    runtime.package_place().write_bytes(good[:-1])
    with pytest.raises(kf.UserError, match="Remove it"):
        runtime.runtime_script()


def test_tensorflow_js_is_refused_with_the_way_that_there_is(tmp_path, capsys):
    from keras_faces.cli import main

    model = small_vae()
    for ask in (model.export, lambda path, **given: kf.export.write(model, path, **given)):
        with pytest.raises(kf.UserError, match="Use format 'web'"):
            ask(tmp_path / "out", format="tfjs")
    assert main(["export", "vae-orl-64", "--format", "tfjs"]) == 2
    assert "Use format 'web'" in capsys.readouterr().err


def test_a_page_has_no_levels(tmp_path):
    with pytest.raises(kf.UserError, match="float32"):
        kf.export.write(small_vae(), tmp_path / "out", "web", "uint8")


def test_directions_are_those_that_change_faces_most():
    class Plane(kf.models.MODELS["vae"]):
        """Whose faces change with two mixtures of its latents, of which one counts most."""

        def decode(self, latents):
            ramp, flat = np.linspace(-1, 1, 32), np.ones(32)
            most = 0.3 * (latents[:, 0] + latents[:, 1]) / 2**0.5
            less = 0.1 * latents[:, 3]
            faces = most[:, None, None] * flat[:, None] + less[:, None, None] * ramp[:, None]
            return np.broadcast_to(faces[..., None], (len(latents), 32, 32, 1))

    model = Plane(**SMALL, hidden_units=8, latent_dim=4)
    found = main_directions(model, 2)
    np.testing.assert_allclose(found.steps[0], [0.5**0.5, 0.5**0.5, 0, 0], atol=0.1)
    np.testing.assert_allclose(np.abs(found.steps[1]), [0, 0, 0, 1], atol=0.15)
    assert found.shares[0] > 0.9 > 0.1 > found.shares[1] > 0.01
    np.testing.assert_allclose(found.mean, 0, atol=0.15)


def test_directions_are_as_long_as_the_latents_that_it_draws_spread():
    model = small_vae(latent_dim=2)
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((300, 2)) * [3.0, 0.2] + [5.0, -1.0]
    model.fit_density_to(codes)
    found = main_directions(model, 2, samples=2000)
    np.testing.assert_allclose(found.mean, [5.0, -1.0], atol=0.5)
    covariance = found.steps.T @ found.steps
    np.testing.assert_allclose(covariance, np.cov(codes, rowvar=False), atol=0.9)
    assert covariance[1, 1] < 0.1


@pytest.fixture
def learnt(tmp_path):
    """A model and its run, which learnt from faces whose attributes are known."""
    model = small_vae()
    model.compile()
    (tmp_path / "run").mkdir()
    run = kf.runs.Run(tmp_path / "run")
    model.save(run.model_path)
    run.write_config(kf.saving.describe(model, kf.data.open_faces("orl", 32, channels=1)))
    return model, tmp_path / "run"


def test_directions_have_names_where_attributes_are_known(able, registry, learnt, tmp_path):
    model, run = learnt
    folder, _ = kf.export.write(model, tmp_path / "out", "web", run=run)
    found = content(folder)["about"]["attributes"]
    assert list(found) == ["glasses", "smiling", "beard", "woman"]
    encoded = kf.latent.encode_faces(model, kf.TrainedModel(run, model).faces("attributes"))
    expected = kf.latent.attribute_directions(encoded, list(found))
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5, atol=1e-7)
    folder, _ = kf.export.write(model, tmp_path / "unknown", "web")
    assert content(folder)["about"]["attributes"] == {}


def test_conditions_are_one_of_many_only_where_all_faces_had_one(able, registry, tmp_path):
    model = small_cvae()
    for number, (seen, one) in enumerate({((0, 1), (1, 1)): False, ((0, 1), (1, 0)): True}.items()):
        model.seen_conditions.assign(np.resize(np.float32(seen), model.seen_conditions.shape))
        folder, differences = kf.export.write(model, tmp_path / str(number), "web")
        about = content(folder)["about"]
        assert (about["conditions"], about["one_condition"]) == (["hat", "beard"], one)
        assert differences["generate"] < 1e-4


# In a real browser.


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The cache with the real package: of KERAS_FACES_WEB_RUNTIME, a file, or downloaded."""
    folder = tmp_path_factory.mktemp("web-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_FACES_CACHE", str(folder))
        if given := os.environ.get("KERAS_FACES_WEB_RUNTIME"):
            runtime.package_place().parent.mkdir(parents=True)
            shutil.copy(given, runtime.package_place())
        try:
            runtime.runtime_script()
        except kf.UserError as error:
            if given:
                raise
            pytest.skip(str(error))
        yield


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """Open a file without a network, and wait until it is done; nothing may go wrong in it."""
    wrong, contexts = [], []

    def open_file(path, done="page.ready"):
        context = browser.new_context(offline=True, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: told.type == "error" and wrong.append(told.text))
        page.on("request", lambda asked: asked.url.startswith("http") and wrong.append(asked.url))
        page.goto(Path(path).as_uri())
        page.wait_for_function(done)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert not wrong


def pixels(page, canvas):
    """The levels that a canvas shows, of shape `(height, width, 3)`."""
    levels, height, width = page.evaluate(
        """(id) => {
            const c = document.getElementById(id);
            const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            return [Array.from(data), c.height, c.width];
        }""",
        canvas,
    )
    return np.array(levels).reshape(height, width, 4)[..., :3]


def levels(face):
    return np.broadcast_to(np.round((face + 1) * 127.5), (*face.shape[:2], 3))


def shown_latents(page):
    """Wait until nothing is being computed, and return the latents of the face on the page."""
    page.wait_for_timeout(300)
    page.evaluate("page.model.last")
    page.wait_for_timeout(300)
    return np.array(page.evaluate("Array.from(page.latents)"), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "dcgan", "gan", "cvae"])
def test_a_browser_shows_the_models_own_faces(able, published, opened, tmp_path, name):
    known = kf.models.hyperparameters(name)
    small = {
        **SMALL,
        "channels": 3,
        "latent_dim": 10,
        "hidden_units": 16,
        "conditions": "hat,beard",
    }
    model = kf.create_model(name, **{key: small[key] for key in small if key in known})
    if name == "vae":
        model.fit_density_to(np.random.default_rng(0).standard_normal((50, 10)))
    folder, _ = kf.export.write(model, tmp_path / "out", "web")
    page = opened(folder / "index.html")

    def check(conditions=(0, 0)):
        latents = shown_latents(page)
        code = np.concatenate([latents, conditions]) if model.conditional else latents
        assert np.abs(pixels(page, "face") - levels(model.decode(code[None])[0])).max() <= 1
        return latents

    first = check()
    page.get_by_label("Direction 1 ").fill("2")
    moved = check()
    step = main_directions(model, 1).steps[0]
    expected = first + 2 * step
    np.testing.assert_allclose(
        moved, np.clip(expected, -1, 1) if name == "gan" else expected, atol=1e-4
    )
    page.get_by_role("button", name="Sliders to the middle").click()
    np.testing.assert_allclose(check(), first, atol=1e-6)
    page.get_by_label("Seed", exact=True).fill("7")
    other = check()
    assert not np.allclose(other, first)
    page.get_by_role("button", name="New face").click()
    check()
    page.get_by_label("Seed", exact=True).fill("1")
    np.testing.assert_allclose(check(), first, atol=1e-6)
    if model.conditional:
        page.get_by_label("beard").check()
        np.testing.assert_allclose(check((0, 1)), first, atol=1e-6)
        page.get_by_label("beard").uncheck()
        check()
    page.get_by_label("to seed").fill("7")
    shown_latents(page)
    strip = pixels(page, "strip")
    np.testing.assert_array_equal(strip[:, :32], pixels(page, "face"))
    ends = [np.pad(end, (0, 2)) if model.conditional else end for end in (first, other)]
    for k in (3, 7):
        between = ends[0] + k / 7 * (ends[1] - ends[0])
        own = levels(model.decode(between[None])[0])
        assert np.abs(strip[:, 32 * k : 32 * (k + 1)] - own).max() <= 1
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").first.click()
    from PIL import Image

    picture = np.asarray(Image.open(saved.value.path()).convert("RGB"))
    np.testing.assert_array_equal(picture, pixels(page, "face"))


@pytest.mark.slow
def test_a_browser_moves_faces_along_attributes(able, published, opened, learnt, tmp_path):
    model, run = learnt
    folder, _ = kf.export.write(model, tmp_path / "out", "web", run=run)
    page = opened(folder / "index.html")
    first = shown_latents(page)
    page.get_by_label("beard").fill("2")
    step = content(folder)["about"]["attributes"]["beard"]
    moved = shown_latents(page)
    np.testing.assert_allclose(moved, first + 2 * np.float32(step), atol=1e-5)
    assert np.abs(pixels(page, "face") - levels(model.decode(moved[None])[0])).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "cvae", "cyclegan"])
def test_the_cards_own_page_works_in_a_browser(able, published, opened, tmp_path, name):
    model = {
        "vae": small_vae,
        "cvae": small_cvae,
        "cyclegan": lambda: kf.create_model("cyclegan", **SMALL, residual_blocks=1),
    }[name]()
    folder, _ = kf.export.write(model, tmp_path / "out", "web")
    [html] = re.findall(r"```html\n(.*?)```", (folder / "README.md").read_text(), re.S)
    (folder / "own.html").write_text(html)
    page = opened(folder / "own.html", "document.getElementById('face').width === 32")
    made = pixels(page, "face")
    if name == "cyclegan":
        own = model.translate(np.ones((1, 32, 32, 1), np.float32))
        assert np.abs(made - levels(own[0])).max() <= 1
    else:
        assert made.std() > 0


@pytest.mark.slow
def test_a_drawing_and_an_upload_are_translated_in_a_browser(
    able, published, opened, tmp_path, orl_path
):
    from PIL import Image

    model = kf.create_model("cyclegan", **SMALL, residual_blocks=1)
    folder, _ = kf.export.write(model, tmp_path / "out", "web")
    page = opened(folder / "index.html")

    def check():
        page.wait_for_timeout(300)
        page.evaluate("page.model.last")
        page.wait_for_timeout(300)
        given = page.evaluate("Array.from(page.model.pictureOf(document.getElementById('drawn')))")
        given = np.array(given, np.float32).reshape(1, 32, 32, 1)
        own = levels(model.translate(given)[0])
        assert np.abs(pixels(page, "made") - own).max() <= 1
        return given

    assert check().min() == 1  # white paper
    box = page.locator("#drawn").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    drawn = check()
    assert drawn[0, 15:17, 9:23].mean() < 0.9 and drawn[0, 24:].min() == 1
    page.get_by_role("button", name="Undo").click()
    assert check().min() == 1
    Image.open(orl_path / "s1" / "1.pgm").save(tmp_path / "face.png")
    page.get_by_label("Or take a picture").set_input_files(tmp_path / "face.png")
    assert check().std() > 0.1
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.get_by_label("Or take a picture").set_input_files(tmp_path / "broken.png")
    page.wait_for_function("document.getElementById('status').textContent.includes('broken.png')")


@pytest.mark.slow
def test_a_page_whose_files_are_missing_says_so(able, published, browser, tmp_path):
    folder, _ = kf.export.write(small_vae(), tmp_path / "out", "web")
    (folder / "runtime.js").unlink()
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.wait_for_function("document.getElementById('status').textContent.includes('missing')")
