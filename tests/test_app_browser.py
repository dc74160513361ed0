"""The web page as people use it, in headless Chromium on a desktop and a phone, and under load.

Screenshots are left in the folder that KERAS_FACES_SCREENSHOTS names, or in the test's own.
"""

import io
import os
import re
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from serving import Caller, serving

pytest.importorskip("starlette", reason="Starlette is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CLIENTS, REQUESTS = 8, 10
SAVED = Path(__file__).parent.parent / "saved_models"
MODELS = {kind: str(SAVED / f"{kind}-orl-64") for kind in ("vae", "cvae", "cyclegan", "dcgan")}
SCREENS = {
    "desktop": {"viewport": {"width": 1200, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page_server():
    with serving(MODELS.values()) as server:
        yield server


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


class Visitor:
    """Somebody who looks at the page."""

    def __init__(self, browser, url, screen, folder, scheme):
        self.url, self.screen, self.folder = url, screen, folder
        permissions = ["camera", "clipboard-read", "clipboard-write"]
        self.context = browser.new_context(
            **SCREENS[screen], color_scheme=scheme, permissions=permissions
        )
        self.context.set_default_timeout(60_000)
        self.asked, self.failures = [], []
        self.page = self.open(url)

    def open(self, url):
        page = self.context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("console", lambda told: told.type == "error" and self.failed(told.text))
        page.goto(url)
        page.locator("main[aria-busy=false]").wait_for()
        return page

    def failed(self, told):
        if "400 (Bad Request)" not in told:  # what the page tells
            self.failures.append(told)

    def choose(self, kind):
        self.page.get_by_label("Model", exact=True).select_option(MODELS[kind])
        self.page.locator("#about").get_by_text(kind, exact=False).wait_for()
        self.page.locator("main[aria-busy=false]").wait_for()

    def press(self, name):
        button = self.page.get_by_role("button", name=name, exact=True)
        button.tap() if self.screen == "phone" else button.click()

    def shown(self, canvas="face"):
        """Return the pixels of a canvas, grey."""
        height, width, data = self.page.evaluate(
            """(id) => {
                const c = document.getElementById(id);
                const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
                return [c.height, c.width, Array.from(data)];
            }""",
            canvas,
        )
        return np.array(data, float).reshape(height, width, 4)[..., 0]

    def told(self, text):
        self.page.locator("#told").get_by_text(text).wait_for()
        return self.shown()

    def upload(self, key, data, name="face.png"):
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.locator(f"#upload-{key}").set_input_files(file)

    def look(self, name, whole=False):
        self.page.wait_for_timeout(500)
        path = self.folder / f"{name}-{self.screen}.png"
        self.page.screenshot(path=path, full_page=whole)

    def nothing_is_cut(self):
        return self.page.evaluate(
            """() => {
                const wide = document.documentElement.scrollWidth <= innerWidth;
                const all = [...document.querySelectorAll("button, input, select, a, summary")];
                const cut = all.filter((e) => {
                    const { left, right, width } = e.getBoundingClientRect();
                    return width > 0 && e.closest(".wide") === null
                        && (left < 0 || right > innerWidth + 1);
                });
                return wide && !cut.length;
            }"""
        )


@pytest.fixture
def visit(chromium, page_server, tmp_path):
    folder = Path(os.environ.get("KERAS_FACES_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    visitors = []

    def come(screen="desktop", scheme="light"):
        visitors.append(Visitor(chromium, page_server.url, screen, folder, scheme))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()
        assert not visitor.failures
        elsewhere = [
            url
            for url in visitor.asked
            if not url.startswith(("data:", "blob:"))
            and urlsplit(url).netloc != urlsplit(page_server.url).netloc
        ]
        assert not elsewhere, "the page asked other servers"


@pytest.fixture(params=SCREENS)
def visitor(visit, request):
    return visit(request.param)


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_on_faces_of_which_one_is_chosen_by_a_click(visit, scheme):
    for screen in SCREENS:
        began = time.perf_counter()
        visitor = visit(screen, scheme)
        print(f"\n{screen}, {scheme}: faces after {time.perf_counter() - began:.2f} s")
        first = visitor.told("Seed 0")
        assert first.std() > 10
        grid = visitor.page.locator("#samples-first button")
        assert grid.count() == 12
        grid.nth(4).click()
        assert np.abs(visitor.told("Seed 4") - first).max() > 10
        visitor.page.locator("#examples-second button").nth(5).wait_for()
        assert visitor.nothing_is_cut()
        visitor.look(f"opened-{scheme}")
        visitor.look(f"whole-{scheme}", whole=True)
        visitor.press("New face")
        visitor.page.locator("#told").get_by_text(re.compile("^Seed 4$")).wait_for(state="detached")


def test_sliders_act_at_once_and_by_keys(visitor):
    before = visitor.told("Seed 0")
    glasses = visitor.page.get_by_label("glasses")
    glasses.fill("2")
    moved = visitor.told("Seed 0, changed")
    assert np.abs(moved - before).mean() > 1
    assert glasses.get_attribute("aria-valuetext") == "2.00"
    direction = visitor.page.get_by_label("Direction 1 ")
    direction.focus()
    for _ in range(10):
        direction.press("ArrowRight")
    visitor.page.wait_for_timeout(500)
    further = visitor.shown()
    assert np.abs(further - moved).mean() > 1
    visitor.look("changed")
    visitor.page.locator("#samples-first button").first.click()
    np.testing.assert_array_equal(visitor.told(re.compile("^Seed 0$")), before)


def test_what_is_done_to_an_upload_is_seen_and_what_is_wrong_with_it_told(visitor, portraits):
    visitor.upload("first", portraits[0])
    visitor.told("Your picture")
    note = visitor.page.locator("#note-first")
    note.get_by_text("A face was found and framed as in training. The model's copy").wait_for()
    seen = visitor.page.locator("#seen-first figure")
    assert [figure.inner_text() for figure in seen.all()] == [
        "the picture",
        "found and framed",
        "the model's copy",
    ]
    seen.first.scroll_into_view_if_needed()
    visitor.look("upload")
    warning = visitor.page.locator("#warning-first")
    blank = io.BytesIO()
    Image.new("RGB", (300, 300), (90, 140, 90)).save(blank, "PNG")
    visitor.upload("first", blank.getvalue())
    warning.get_by_text("No face was found").wait_for()
    visitor.upload("first", b"What is a face?\n" * 20)
    warning.get_by_text("not a picture in a format that is read here").wait_for()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    strange = io.BytesIO()
    Image.fromarray(noise).save(strange, "PNG")
    visitor.upload("first", strange.getvalue())
    warning.get_by_text("unlike the model's training faces").wait_for()
    assert visitor.nothing_is_cut()
    visitor.look("unlike")


def test_photos_of_iphones_and_of_the_camera_are_taken(visitor, portraits):
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.open(io.BytesIO(portraits[0])).convert("RGB")).save(file)
    visitor.upload("first", file.getvalue(), "IMG_0001.HEIC")
    visitor.told("Your picture")
    picture = visitor.page.locator("#seen-first img")
    assert picture.evaluate("image => image.naturalWidth") > 100
    visitor.page.get_by_role("button", name="Camera").first.click()
    visitor.page.get_by_role("button", name="Take the picture").first.click()
    # Chromium's camera shows a pattern without a face.
    visitor.page.locator("#warning-first").get_by_text("No face was found").wait_for()


def test_an_example_is_blended_with_a_second_and_morphed_into_it(visitor):
    visitor.page.locator("#examples-first button").first.click()
    first = visitor.told("An example")
    visitor.page.locator("#examples-second button").nth(2).click()
    visitor.page.locator("#seen-second figure").nth(2).wait_for()
    visitor.page.get_by_label("Share of the second face").fill("50")
    half = visitor.told("50 % of the second")
    visitor.page.get_by_label("Share of the second face").fill("100")
    whole = visitor.told("100 % of the second")
    assert np.abs(half - first).mean() > 1 < np.abs(whole - half).mean()
    strip = visitor.shown("strip")
    assert strip.shape == (64, 8 * 64)
    np.testing.assert_allclose(strip[:, -64:], whole, atol=1)
    visitor.page.get_by_label("Faces", exact=True).fill("12")
    visitor.page.locator(f"#strip[width='{12 * 64}']").wait_for()
    visitor.page.locator("#percent").scroll_into_view_if_needed()
    visitor.look("blend")


def saved(visitor, kind):
    visitor.page.get_by_label("As", exact=True).select_option(kind)
    with visitor.page.expect_download() as download:
        visitor.press("Save")
    path = download.value.path()
    return download.value.suggested_filename, path.read_bytes()


def test_faces_and_morphs_are_saved(visitor):
    visitor.page.locator("#strip[width='512']").wait_for()
    name, data = saved(visitor, "face")
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"), float)
    assert name == "vae-orl-64-seed-0.png"
    np.testing.assert_array_equal(picture, visitor.shown().repeat(4, 0).repeat(4, 1))
    visitor.page.get_by_label("Enlarged").fill("1")
    _, data = saved(visitor, "strip")
    assert Image.open(io.BytesIO(data)).size == (512, 64)
    name, data = saved(visitor, "gif")
    assert Image.open(io.BytesIO(data)).n_frames == 14 and name.endswith(".gif")
    name, data = saved(visitor, "mp4")
    assert data[4:8] == b"ftyp" and name.endswith(".mp4")


def test_a_shared_link_opens_the_same_face(visitor, portraits):
    visitor.page.get_by_label("Seed", exact=True).fill("7")
    visitor.told("Seed 7")
    visitor.page.get_by_label("smiling").fill("1.5")
    visitor.page.get_by_label("Share of the second face").fill("20")
    face = visitor.told("Seed 7, changed, 20 % of the second")
    visitor.press("Share this")
    visitor.page.locator("#status").get_by_text("Link copied").wait_for()
    link = visitor.page.url
    assert "seed=7" in link and "a.smiling=1.5" in link
    visitor.page = visitor.open(link)
    np.testing.assert_array_equal(visitor.told("Seed 7, changed, 20 % of the second"), face)
    # Of a picture the link holds the latent.
    visitor.upload("first", portraits[0])
    face = visitor.told(re.compile("^Your picture$"))
    visitor.press("Share this")
    visitor.page.locator("#status").get_by_text("Link copied").wait_for()
    visitor.page = visitor.open(visitor.page.url)
    np.testing.assert_allclose(visitor.told("Face from the link"), face, atol=1)


def test_a_sketch_is_drawn_and_made_a_photo_and_a_photo_a_sketch(visitor, portraits):
    visitor.choose("cyclegan")
    visitor.page.locator("#seen-picture figure").nth(3).wait_for()
    example = visitor.told("the photo made from it")
    sheet = visitor.page.locator("#drawn")
    sheet.scroll_into_view_if_needed()
    place = sheet.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    mouse = visitor.page.mouse
    angles = np.linspace(0, 2 * np.pi, 30)
    strokes = [(70 * np.cos(angles), 90 * np.sin(angles))]
    strokes += [(side + 10 * np.cos(angles), -20 + 6 * np.sin(angles)) for side in (-28, 28)]
    for across, down in strokes:
        mouse.move(x + across[0], y + down[0])
        mouse.down()
        for point in zip(across, down):
            mouse.move(x + point[0], y + point[1])
        mouse.up()
    visitor.page.wait_for_timeout(1500)
    assert np.abs(visitor.shown() - example).mean() > 1
    visitor.look("drawing")
    visitor.page.get_by_label("photo to sketch").check()
    visitor.told("the sketch made from it")
    visitor.upload("picture", portraits[0])
    visitor.page.locator("#note-picture").get_by_text("A face was found").wait_for()
    assert visitor.nothing_is_cut()
    visitor.look("sketch")


def test_models_stand_side_by_side_with_scores_and_card(visitor):
    visitor.page.get_by_text("Compare models").click()
    visitor.page.locator("#compare .thumb").nth(2).wait_for()
    visitor.page.locator("#compare").get_by_text("cannot draw faces").wait_for()
    visitor.page.get_by_text("Scores", exact=True).click()
    visitor.page.locator("#scores").get_by_text("generated (fitted)").wait_for()
    visitor.page.locator("#scores").get_by_text("Protocol: source orl").wait_for()
    visitor.page.get_by_text("Model card").click()
    visitor.page.locator("#card").get_by_text("How it was trained").wait_for()
    assert "license_name" not in visitor.page.locator("#card").inner_text()
    assert visitor.nothing_is_cut()
    visitor.look("known", whole=True)
    visitor.page.locator("#compare .thumb").nth(1).click()
    visitor.page.locator("#about").get_by_text("CVAE").wait_for()


def test_conditional_models_and_those_without_an_encoder_show_what_they_can(visitor, portraits):
    visitor.choose("cvae")
    before = visitor.told("Seed 0")
    box = visitor.page.locator("#conditions").get_by_label("beard")
    box.set_checked(not box.is_checked())
    assert np.abs(visitor.told("Seed 0, changed") - before).mean() > 0.5
    visitor.page.locator("#chooser-first").get_by_label("glasses").check()
    visitor.upload("first", portraits[0])
    visitor.told("Your picture")
    assert visitor.page.locator("#conditions").get_by_label("glasses").is_checked()
    visitor.look("conditions")
    visitor.choose("dcgan")
    visitor.page.locator("#examples-first button").first.click()
    visitor.told("An example")
    visitor.page.locator("#note-first").get_by_text("was searched for").wait_for()
    assert visitor.page.get_by_text("Find attributes").is_visible()


def test_everything_is_named_for_screen_readers_and_reached_by_keys(visitor):
    visitor.page.emulate_media(reduced_motion="reduce")
    visitor.page.locator("#examples-second button").nth(5).wait_for()
    unnamed = visitor.page.evaluate(
        """() => [
            ...document.querySelectorAll("button, input, select, canvas, img")
        ].filter((e) => {
            if (e.getAttribute("aria-hidden") || e.getAttribute("aria-label")) return false;
            if (e.closest("[hidden]")) return false;
            return !(e.labels?.length || e.textContent.trim() || e.alt);
        }).map((e) => e.outerHTML)"""
    )
    assert not unnamed
    reached = set()
    for _ in range(70):
        visitor.page.keyboard.press("Tab")
        told = visitor.page.evaluate(
            """() => {
                const e = document.activeElement;
                const box = e.getBoundingClientRect();
                const top = document.elementFromPoint(
                    Math.min(innerWidth - 1, Math.max(0, box.left + box.width / 2)),
                    Math.min(innerHeight - 1, Math.max(0, box.top + box.height / 2)));
                const seen = e.type === "file" || e.contains(top) || top?.contains(e);
                return [e.id || e.textContent.trim(), seen];
            }"""
        )
        assert told[1], f"{told[0]} has the focus and is hidden"
        reached.add(told[0])
    assert {"model", "new", "save", "share", "seed", "upload-first", "percent", "kind"} <= reached
    assert {"attributes-0", "directions-0"} <= reached


def test_eight_visitors_at_once_are_answered_without_errors(page_server):
    seconds, errors = {"move of a slider": [], "twelve faces": []}, []

    def visit(number):
        caller = Caller(page_server.url)
        for request in range(REQUESTS):
            began = time.perf_counter()
            seeds = list(range(100 * number + request, 100 * number + request + 12))
            status, drawn = caller.post("sample", model=MODELS["vae"], seeds=seeds)
            seconds["twelve faces"].append(time.perf_counter() - began)
            began = time.perf_counter()
            change = {"attributes": {"smiling": request / 10}}
            latent = drawn["latents"][0]
            face = caller.post("face", model=MODELS["vae"], latent=latent, change=change)
            seconds["move of a slider"].append(time.perf_counter() - began)
            if status != 200 or face[0] != 200:
                errors.append((drawn, face))

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(visit, range(CLIENTS)))
    assert not errors
    for what, taken in seconds.items():
        print(
            f"\n{CLIENTS} visitors, {len(taken)} requests for a {what}: median "
            f"{statistics.median(taken):.2f} s, longest {max(taken):.2f} s"
        )
