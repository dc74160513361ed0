"""The web page as people use it, in headless Chromium, and under load.

Screenshots are left in the folder that KERAS_FACES_SCREENSHOTS names, or in the test's own.
"""

import io
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from serving import CONDITIONS, Caller, serving

import keras_faces as kf

pytest.importorskip("gradio", reason="Gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CLIENTS, REQUESTS = 8, 5

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a VAE and one of a CycleGAN, hardly trained, a CVAE and a GAN without runs."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"image_size": 64, "channels": 1, "split": "all", "checkpoint_seconds": 1e6}
    kf.train("vae", run=folder / "vae", steps=60, filters=8, count=60, **small)
    kf.train(
        "cyclegan", run=folder / "cyclegan", steps=4, filters=8, residual_blocks=1, count=0, **small
    )
    cvae = kf.create_model("cvae", image_size=64, channels=1, filters=2, conditions="glasses,beard")
    cvae.save(folder / "cvae.keras")
    kf.create_model("dcgan", image_size=64, channels=1, filters=8).save(folder / "dcgan.keras")
    return {name: str(folder / name) for name in ("vae", "cyclegan", "cvae.keras", "dcgan.keras")}


@pytest.fixture(scope="module")
def page_server(runs):
    with serving(runs.values()) as server:
        yield server


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody who looks at the page."""

    def __init__(self, browser, url, folder):
        self.page = browser.new_page(viewport={"width": 1200, "height": 1100})
        self.page.set_default_timeout(60_000)
        self.folder = folder
        self.asked, self.failures = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.goto(url)
        self.page.locator("#about").get_by_text("64x64").wait_for()

    def choose(self, name, kind):
        self.page.locator("#model input").click()
        self.page.get_by_role("option", name=name).click()
        self.page.locator("#about").get_by_text(kind).wait_for()

    def open(self, tab):
        self.page.get_by_role("tab", name=tab).click()
        self.body = self.page.locator(f"#body-{tab.lower()}")

    def press(self, name):
        self.body.get_by_role("button", name=name, exact=True).click()

    def upload(self, key, data, name="face.png"):
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.locator(f"#upload-{key} input[type=file]").set_input_files(file)

    def seen(self, key):
        picture = self.page.locator(f"#seen-{key} img")
        picture.wait_for()
        assert self.page.request.get(picture.get_attribute("src")).ok

    def result(self, tab, told):
        """Wait for what a tab tells and return the picture that it shows."""
        self.page.locator(f"#told-{tab}").get_by_text(told).wait_for()
        picture = self.page.locator(f"#result-{tab} img")
        picture.wait_for()
        answer = self.page.request.get(picture.get_attribute("src"))
        return np.asarray(Image.open(io.BytesIO(answer.body())).convert("L"), float)

    def look(self, name):
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=self.folder / f"{name}.png", full_page=True)


@pytest.fixture
def visitor(chromium, page_server, tmp_path):
    folder = Path(os.environ.get("KERAS_FACES_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    visitor = Visitor(chromium, page_server.url, folder)
    yield visitor
    visitor.page.close()
    assert not visitor.failures
    elsewhere = [
        url
        for url in visitor.asked
        if not url.startswith(("data:", "blob:"))
        and urlsplit(url).netloc != urlsplit(page_server.url).netloc
    ]
    assert not elsewhere, "the page asked other servers"


@pytest.fixture(scope="module")
def portraits(orl_path):
    """Two faces, each in a large picture."""
    data = []
    for person in (5, 9):
        wide = Image.new("L", (900, 700), 120)
        wide.paste(Image.open(orl_path / f"s{person}" / "2.pgm").resize((276, 336)), (300, 250))
        file = io.BytesIO()
        wide.save(file, "PNG")
        data.append(file.getvalue())
    return data


def test_faces_are_sampled_and_downloaded(visitor):
    visitor.open("Sample")
    visitor.press("Draw")
    first = visitor.result("sample", "16 faces, seed 0")
    assert first.std() > 1
    with visitor.page.expect_download() as download:
        visitor.press("Download as single pictures (zip)")
    assert download.value.suggested_filename.endswith(".zip")
    visitor.press("Another seed")
    visitor.page.locator("#told-sample").get_by_text("seed 0,").wait_for(state="detached")
    visitor.look("sample")


def test_two_pictures_are_blended_by_a_slider(visitor, portraits):
    visitor.open("Blend")
    for key, data in zip(("blend-first", "blend-second"), portraits):
        visitor.upload(key, data)
        visitor.seen(key)
    visitor.press("Blend")
    half = visitor.result("blend", "50 % of the second")
    slider = visitor.page.locator("#percent input[type=range]")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    further = visitor.result("blend", "60 % of the second")
    assert np.abs(half - further).max() > 0
    visitor.look("blend")


def test_attributes_are_changed_by_sliders(visitor):
    visitor.open("Attributes")
    visitor.press("Show")
    visitor.result("attributes", "nothing changed")
    box = visitor.page.locator("#strength-1 input[type=number]")
    box.fill("2")
    box.press("Enter")
    visitor.press("Show")
    changed = visitor.result("attributes", "smiling +2")
    left, right = np.split(changed[:, : changed.shape[1] // 2 * 2], 2, axis=1)
    assert np.abs(left - right).max() > 0
    visitor.look("attributes")


def test_a_seed_is_interpolated_to_a_picture(visitor, portraits):
    visitor.open("Interpolate")
    visitor.page.locator("#kind-to").get_by_label("a picture").check()
    visitor.upload("to", portraits[0])
    visitor.seen("to")
    visitor.press("Interpolate")
    visitor.result("interpolate", "10 faces from seed 0 to the picture, linear path")
    morph = visitor.page.locator("#morph img")
    morph.wait_for()
    answer = visitor.page.request.get(morph.get_attribute("src"))
    assert Image.open(io.BytesIO(answer.body())).n_frames == 18
    visitor.look("interpolate")


def test_a_picture_is_reconstructed_and_bad_ones_are_told(visitor, portraits):
    visitor.open("Reconstruct")
    note = visitor.page.locator("#note-reconstruct")
    blank = io.BytesIO()
    Image.new("RGB", (300, 300), (90, 140, 90)).save(blank, "PNG")
    visitor.upload("reconstruct", blank.getvalue())
    note.get_by_text("No face was found").wait_for()
    visitor.look("no-face")
    visitor.press("Reconstruct")
    visitor.page.locator(".toast-wrap").get_by_text("No face was found").first.wait_for()
    visitor.look("told")
    visitor.page.locator("#upload-reconstruct").get_by_label("Remove Image").click()
    visitor.upload("reconstruct", b"What is a face?\n" * 20)
    note.get_by_text("not a picture in a format that is read here").wait_for()
    visitor.page.locator("#upload-reconstruct").get_by_label("Remove Image").click()
    visitor.upload("reconstruct", portraits[1])
    visitor.seen("reconstruct")
    visitor.press("Reconstruct")
    visitor.result("reconstruct", "PSNR")
    visitor.look("reconstruct")


def test_a_face_that_the_model_learnt_from_is_one_click_away(visitor):
    visitor.open("Reconstruct")
    visitor.press("a face it learnt from")
    visitor.page.locator("#note-reconstruct").get_by_text("already cropped").wait_for()
    visitor.press("Reconstruct")
    visitor.result("reconstruct", "PSNR")


def test_a_sketch_is_drawn_and_made_a_photo_and_a_photo_a_sketch(visitor, runs, portraits):
    visitor.open("Translate")
    visitor.page.locator("#why-translate").get_by_text("does not translate").wait_for()
    visitor.choose(runs["cyclegan"], "CycleGAN")
    visitor.press("Make a photo of the drawing")
    visitor.page.locator(".toast-wrap").get_by_text("Draw something first").wait_for()
    visitor.page.locator("#drawing").get_by_role("button", name="Brush").click()
    canvas = visitor.page.locator("#drawing canvas").first
    canvas.scroll_into_view_if_needed()
    visitor.page.wait_for_timeout(1000)
    place = canvas.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    mouse = visitor.page.mouse
    angles = np.linspace(0, 2 * np.pi, 40)
    strokes = [(70 * np.cos(angles), 90 * np.sin(angles))]
    strokes += [(side + 10 * np.cos(angles), -20 + 6 * np.sin(angles)) for side in (-28, 28)]
    strokes += [(25 * np.cos(angles[:20]), 40 + 8 * np.sin(angles[:20]))]
    for across, down in strokes:
        mouse.move(x + across[0], y + down[0])
        mouse.down()
        for point in zip(across, down):
            mouse.move(x + point[0], y + point[1])
        mouse.up()
    visitor.page.wait_for_timeout(1000)
    visitor.press("Make a photo of the drawing")
    cycle = visitor.result("translate", "the sketch, the photo made of it")
    drawn = cycle[:, : cycle.shape[1] // 3]
    assert (drawn > 200).mean() > 0.5 and (drawn < 100).mean() > 0.01  # lines on white
    visitor.look("translate-drawing")
    visitor.page.locator("#translate-to").get_by_label("a sketch of a photo").check()
    visitor.body.get_by_label("already cropped").uncheck()
    visitor.upload("translate", portraits[0])
    visitor.seen("translate")
    visitor.press("Translate the picture")
    visitor.result("translate", "the photo, the sketch made of it")
    visitor.look("translate-picture")


def test_scores_stand_with_their_protocol(visitor):
    visitor.open("Scores")
    visitor.page.locator("#scores").get_by_text("generated (prior)").first.wait_for()
    visitor.page.locator("#protocol").get_by_text("Protocol: source orl").wait_for()
    visitor.look("scores")


def test_models_without_an_encoder_and_conditional_ones_show_what_they_can(visitor, runs):
    visitor.choose(runs["dcgan.keras"], "DCGAN")
    visitor.open("Translate")
    visitor.page.locator("#why-translate").get_by_text("does not translate").wait_for()
    visitor.look("no-translation")
    visitor.open("Interpolate")
    visitor.press("Interpolate")
    visitor.result("interpolate", "from seed 0 to seed 1")
    visitor.choose(runs["cvae.keras"], "CVAE")
    visitor.open("Sample")
    visitor.body.get_by_label("those chosen here").check()
    visitor.body.get_by_label("what holds of the faces").click()
    visitor.page.get_by_role("option", name="beard").click()
    visitor.press("Draw")
    visitor.result("sample", "beard")
    visitor.look("conditions")


def test_eight_visitors_at_once_are_answered_without_errors(page_server, runs):
    seconds, errors = [], []

    def visit(number):
        caller = Caller(page_server.url)
        for request in range(REQUESTS):
            seed = 100 * number + request
            began = time.perf_counter()
            worked, answer = caller.press("Draw", runs["vae"], 16, seed, "prior", CONDITIONS, [])
            if worked and f"seed {seed}," in answer[1]:
                seconds.append(time.perf_counter() - began)
            else:
                errors.append(answer)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(visit, range(CLIENTS)))
    assert not errors
    assert len(seconds) == CLIENTS * REQUESTS
    print(
        f"\n{CLIENTS} visitors, {len(seconds)} requests for 16 faces of 64x64: median "
        f"{statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s"
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_it_and_gives_the_port_back(runs, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = [sys.executable, "-m", "keras_faces.cli", "serve", runs["vae"], "--port", str(port)]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        assert f"http://127.0.0.1:{port}" in lines[1]
        with socket.create_connection(("127.0.0.1", port)):  # somebody who looks
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert told.strip().endswith("Stopped.") and "Traceback" not in told
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
