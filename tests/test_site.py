"""The page attacked over HTTP: what it answers, what it takes, and what is left of it.

A canary file lies beside the models. None of its bytes may come back by any request, whatever is
asked for.
"""

import contextlib
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import Caller, serving

import keras_faces as kf

pytest.importorskip("starlette", reason="Starlette is not installed")

from keras_faces.app import actions, site
from keras_faces.app.server import PageServer

CANARY = b"7h3-c4n4ry-0f-7h3-s3rv3r"
TURNS = int(os.environ.get("KERAS_FACES_FUZZ", "150"))
JSON = {"content_type": "application/json"}
BYTES = {"content_type": "application/octet-stream"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("vae", "cyclegan"):
        small = {"filters": 2, "latent_dim": 4, "hidden_units": 8}
        if name == "cyclegan":
            small = {"filters": 2, "residual_blocks": 1, "pool_size": 2}
        model = kf.create_model(name, image_size=32, channels=1, **small)
        model.compile()
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
        if name == "vae":  # whose faces have attributes
            stream = kf.data.open_faces("orl", 32, split="all", channels=1)
            kf.runs.Run(folder / name).write_config(kf.saving.describe(model, stream))
    (folder / "canary.png").write_bytes(CANARY)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    with serving([folder / "vae", folder / "cyclegan"]) as page:
        yield page


@pytest.fixture(scope="module")
def face(orl_path):
    return (orl_path / "s5" / "2.pgm").read_bytes()


@pytest.fixture
def caller(page):
    return Caller(page.url)


@pytest.fixture
def vae(folder):
    return str(folder / "vae")


@pytest.fixture
def unharmed(page, vae, capfd):
    """At the end the page still answers, without a word on the console."""
    yield
    status, answer = Caller(page.url).post("sample", model=vae, seeds=[3])
    assert status == 200 and len(answer["latents"][0]) == 4
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err and "rror" not in told.err


def test_the_page_asks_no_other_server(page, caller):
    for path in site.FILES:
        status, headers, data = caller.ask("GET", path)
        assert status == 200 and b"://" not in data
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers


def test_what_the_page_does_is_answered(caller, vae, face, unharmed):
    assert vae in json.loads(caller.ask("GET", "/api/models")[2])["models"]
    status, about = caller.post("about", model=vae)
    assert status == 200 and about["latents"]
    status, found = caller.post("picture", face, model=vae, cropped=True)
    assert status == 200 and "PSNR" in found["note"]
    status, png = caller.post("face", model=vae, latent=found["latent"])
    assert status == 200 and png.startswith(b"\x89PNG")


def test_mistakes_are_told_as_json_in_a_line(caller, vae, unharmed):
    for status, answer in (
        caller.post("sample", model=vae, seeds=[-1]),
        caller.post("picture", b"What is a face?\n" * 20, model=vae),
        caller.post("scores", model=vae),
        caller.post("about", model="other"),
        caller.post("about", model=["vae"]),
    ):
        assert status == 400 and answer.keys() == {"error"} and "\n" not in answer["error"]


def test_another_host_name_is_refused_on_loopback(page):
    asked = urllib.request.Request(page.url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "[::1]:7860"])
def test_this_machine_is_known_by_all_its_names(page, name):
    asked = urllib.request.Request(page.url, headers={"Host": name})
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200


def test_pages_elsewhere_cannot_ask_it(caller, vae, unharmed):
    """Browsers send these types elsewhere only if that agrees, and it never does."""
    body = json.dumps({"model": vae}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert caller.ask("POST", "/api/about", body, content_type=kind)[0] == 415
        path = f"/api/picture?asked={quote(body)}"
        assert caller.ask("POST", path, b"x", content_type=kind)[0] == 415
    headers = {"origin": "https://elsewhere.example", "access_control_request_method": "POST"}
    status, answered, _ = caller.ask("OPTIONS", "/api/about", **headers)
    assert status == 405 and not [name for name in answered if name.startswith("access-control")]


def test_nothing_but_what_the_page_needs_is_there_and_no_path_leads_elsewhere(
    caller, folder, unharmed
):
    for path in ("/docs", "/openapi.json", "/api", "/api/", "/api/whole", "/api/_latent", "/app/"):
        assert caller.ask("GET", path)[0] == 404
        assert caller.ask("POST", path, b"{}", **JSON)[0] == 404
    for function in (*site.ASKED, *site.OF_PICTURES):
        assert caller.ask("GET", f"/api/{function.__name__}")[0] == 405
    up = "../" * 20
    for start in ("/", "/page.css/", "/api/", "//", "/static/", "/file="):
        for path in (f"{up}{folder}/canary.png", f"{up}etc/passwd", "../server.py"):
            for shown in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
                for asked in (shown, shown.replace("/", "\\"), f"{shown}%00"):
                    status, _, answer = caller.ask("GET", start + asked)
                    assert status in (404, 400) and CANARY not in answer


def test_a_file_of_the_server_cannot_be_named(caller, vae, folder, unharmed):
    canary = str(folder / "canary.png")
    for name in (canary, f"file://{canary}", f"{vae}/../canary.png", f"{vae}/", str(folder)):
        for action in ("about", "card", "scores", "examples"):
            status, answer = caller.post(action, model=name)
            assert status == 400 and "There is no model on this page named" in answer["error"]
    for data in (canary.encode(), f"file://{canary}".encode(), b"http://127.0.0.1:9/x.png"):
        status, answer = caller.post("picture", data, model=vae)
        assert status == 400 and CANARY.decode() not in answer["error"]


VALUES = [
    *(None, True, -1, 0, 1, 7.5, 1e308, -(10**30), "", "prior", "x" * 1000, "<b>", "\ud800", "\0"),
    *([], {}, [1, None], ["prior"], {"beard": "x"}, {"attributes": {"beard": []}}, [[[[]]]]),
    *(["x"] * 20, [0, 0, 0, 0], [1e9] * 4, {"attributes": {"\0": 1}}, {"directions": [[]]}),
    *({"conditions": {"beard": 1}}, {"attributes": {}, "hold": [1]}, float("nan"), float("inf")),
]


def test_hostile_values_are_told_and_harm_nothing(caller, folder, face, unharmed):
    rng = random.Random(0)
    usual = {
        "sample": {"seeds": [1]},
        "face": {"latent": [0, 0, 0, 0], "second": [1, 1, 1, 1], "percent": 5},
        "morph": {"latent": [0, 0, 0, 0], "second": [1, 1, 1, 1], "frames": 3},
        "directions": {},
        "examples": {},
        "picture": {"cropped": True},
        "translate": {"cropped": True},
    }
    names = {
        "sample": ("seeds", "sampler", "conditions"),
        "face": ("latent", "change", "second", "percent"),
        "morph": ("latent", "second", "change", "frames", "path", "kind", "scale"),
        "directions": ("named",),
        "examples": ("to",),
        "picture": ("cropped", "conditions"),
        "translate": ("to", "cropped"),
    }
    found = set()
    for _ in range(TURNS):
        action = rng.choice(list(usual))
        fields = {"model": str(folder / rng.choice(("vae", "vae", "cyclegan"))), **usual[action]}
        for _ in range(rng.choice((1, 1, 1, 3))):
            fields[rng.choice(names[action])] = rng.choice(VALUES)
        data = face if action in ("picture", "translate") else None
        status, answer = caller.post(action, data, **fields)
        assert status in (200, 400), (action, fields)
        if status == 400:
            assert "\n" not in answer["error"] and len(answer["error"]) < 2000
        found.add(status)
    assert found == {200, 400}


def test_requests_that_the_page_does_not_make_are_refused(caller, vae, unharmed):
    for fields in (
        {},
        {"seeds": [1]},
        {"model": vae},
        {"model": vae, "seeds": [1], "more": 1},
        {"model": vae, "seeds": [1], "served": 1},
        {"model": vae, "seeds": [1], "func": 1},
    ):
        assert caller.post("sample", **fields)[0] == 400
    assert caller.post("picture", b"x", model=vae, data="y")[0] == 400
    for body in (b"", b"{", b"\xff\xfe", b"[" * 40_000, b"[]", b"1", b"null", b'"x"', b"9" * 9000):
        assert caller.ask("POST", "/api/about", body, **JSON)[0] == 400
        assert (
            caller.ask("POST", f"/api/picture?asked={quote(body[:900])}", b"x", **BYTES)[0] == 400
        )
    assert caller.ask("POST", "/api/picture", b"x", **BYTES)[0] == 400


def test_bodies_have_a_limit(caller, vae, unharmed):
    for path, kind, most in (("/api/about", JSON, "0.1 MB"), ("/api/picture", BYTES, "25 MB")):
        length = {"content_length": str(26_000_000)}
        status, _, answer = caller.ask("POST", path, b"x", **kind, **length)
        assert status == 413 and most in json.loads(answer)["error"]


def raw(address, data):
    """Send bytes and return what is answered."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        answer = b""
        with contextlib.suppress(OSError):
            while not answer.partition(b"\r\n\r\n")[2]:
                more = connection.recv(65536)
                if not more:
                    break
                answer += more
        return answer


def test_hostile_headers_and_bodies_without_a_length_harm_nothing(caller, unharmed):
    for path, kind in (("/api/picture", "octet-stream"), ("/api/about", "json")):
        head = f"POST {path} HTTP/1.1\r\nHost: {caller.address}\r\n"
        head += f"Content-Type: application/{kind}\r\n"
        for length in ("", "Content-Length: 10\r\n"):
            sent = f"{head}{length}Transfer-Encoding: chunked\r\n\r\n".encode()
            sent += b"100000\r\n" + bytes(0x100000) + b"\r\n"
            assert raw(caller.address, sent).split()[1] in (b"411", b"400")
        sent = f"{head}Content-Length: 99999999999\r\n\r\n".encode()
        assert raw(caller.address, sent).split()[1] == b"413"
        # Somebody who leaves in the middle.
        with socket.create_connection(tuple(caller.address.split(":"))) as connection:
            connection.sendall(f"{head}Content-Length: 9000\r\n\r\nx".encode())
    for header in (
        "X-Forwarded-Host: a b",
        "Range: bytes=9-1",
        "Cookie: \xff=;;;=",
        "Content-Encoding: gzip",
        "Referer: http://[",
        "Origin: null",
    ):
        sent = f"GET / HTTP/1.1\r\nHost: {caller.address}\r\n{header}\r\n\r\n"
        answer = raw(caller.address, sent.encode("latin-1"))
        assert answer.startswith(b"HTTP/1.1") and b"500" not in answer.split(b"\r\n")[0]


def test_who_comes_when_too_many_wait_is_told_and_served_later(caller, vae, monkeypatch, folder):
    began, go_on = threading.Event(), threading.Event()

    def slow(served):
        began.set()
        assert go_on.wait(20)
        return {}

    slow.__name__ = "about"
    monkeypatch.setattr(site, "ASKED", (slow,))
    monkeypatch.setattr(site, "WAITING", 1)
    with serving([folder / "cyclegan"]) as page:
        name, other = str(folder / "cyclegan"), Caller(page.url)
        answers = []
        first = threading.Thread(target=lambda: answers.append(other.post("about", model=name)))
        first.start()
        assert began.wait(20)
        status, answer = other.post("about", model=name)
        assert status == 503 and "Try again" in answer["error"]
        go_on.set()
        first.join()
        assert answers == [(200, {})]
        assert other.post("about", model=name) == (200, {})


def test_nothing_that_visitors_send_is_kept(page, vae, face, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    caller = Caller(page.url)
    assert caller.post("picture", face, model=vae)[0] == 200
    latents = caller.post("sample", model=vae, seeds=[1, 2])[1]["latents"]
    fields = {"latent": latents[0], "second": latents[1]}
    assert caller.post("morph", model=vae, kind="gif", **fields)[0] == 200
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "sent",
    ["SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP"))],
)
def test_a_page_that_is_ended_says_no_error_leaves_no_file_and_gives_its_port_back(
    sent, folder, face, tmp_path
):
    sent = getattr(signal, sent)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["-m", "keras_faces.cli", "serve", str(folder / "vae"), "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, sent)],
    ) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        assert str(port) in lines[1]
        busy = threading.Barrier(3)

        def visit(number):
            caller, name = Caller(f"http://127.0.0.1:{port}"), str(folder / "vae")
            caller.post("sample", model=name, seeds=[number])
            busy.wait()
            with contextlib.suppress(Exception):  # the page ends meanwhile
                while True:
                    if number % 2:
                        caller.post("picture", face, model=name)
                    else:
                        caller.post("sample", model=name, seeds=list(range(100)))

        for number in range(2):
            threading.Thread(target=visit, args=(number,), daemon=True).start()
        busy.wait()
        time.sleep(0.3)
        process.send_signal(sent)
        _, told = process.communicate(timeout=30)
    assert told == "\nStopped.\n"
    assert process.returncode == 128 + (signal.SIGINT if sent == signal.SIGINT else signal.SIGTERM)
    assert not [path for path in tmp_path.iterdir() if "keras" in path.name]
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_what_the_server_says_on_a_terminal_is_without_colours(folder, monkeypatch):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    with PageServer([folder / "cyclegan"], port=0):
        [handler] = logging.getLogger("uvicorn").handlers
        said = handler.format(logging.LogRecord("", logging.WARNING, "", 0, "invalid", (), None))
    assert said == "WARNING:  invalid"


def test_the_page_is_in_the_wheel():
    text = (Path(kf.__file__).parents[1] / "setup.py").read_text()
    assert '"app/page/*"' in text and '"export/web/page/*"' in text
    assert actions.KINDS.keys() == {"png", "gif", "mp4"}
