"""The page attacked over HTTP: what it gives to whom, what it takes, and what is left of it.

A canary file lies beside the models. None of its bytes may come back by any request, whatever is
asked for, and Gradio may not copy it to where it could be asked for later.
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
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import CONDITIONS, META, Caller, serving
from serving import given_file as given

import keras_faces as kf
from keras_faces.app import visitors
from keras_faces.app.server import PageServer
from keras_faces.app.visitors import Visitors

gr = pytest.importorskip("gradio", reason="Gradio is not installed")

UserError = kf.UserError
CANARY = b"7h3-c4n4ry-0f-7h3-s3rv3r"
TURNS = int(os.environ.get("KERAS_FACES_FUZZ", "60"))
NEEDED = {
    ("GET", "/"),
    ("GET", "/favicon.ico"),
    ("GET", "/theme.css"),
    ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/queue/data"),
}


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
    (folder / "link.png").symlink_to(folder / "canary.png")
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
def unharmed(page, vae, capfd, folder):
    """At the end the page still answers, without a word on the console or a copy of the canary."""
    yield
    worked, answer = Caller(page.url).press("Draw", vae, 1, 3, "prior", CONDITIONS, [])
    assert worked and answer[1] == "1 faces, seed 3, sampler prior"
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err and "rror" not in told.err
    places = [folder_of_files(answer[0]["path"]), Path.cwd() / ".gradio"]
    kept = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert kept and not any(CANARY in path.read_bytes() for path in kept)


def folder_of_files(path):
    return Path(path).parents[1]


# ---------------------------------------------------------------------------------------------
# Files


def test_a_visitor_uses_and_gets_what_is_his(caller, vae, face, unharmed):
    status, paths = caller.upload(("face.pgm", face))
    assert status == 200
    worked, answer = caller.press("Reconstruct", vae, given(paths[0]), True, [])
    assert worked and "PSNR" in answer[1]
    assert caller.file(answer[0]["path"])[1].startswith(b"\x89PNG")
    assert caller.file(paths[0]) == (200, face)


def test_nobody_uses_or_gets_what_is_another_visitors(caller, page, vae, face, unharmed):
    _, paths = caller.upload(("face.pgm", face))
    _, answer = caller.press("Reconstruct", vae, given(paths[0]), True, [])
    other = Caller(page.url)
    for path in (paths[0], answer[0]["path"]):
        assert other.file(path)[0] == 404
        worked, told = other.press("Reconstruct", vae, given(path), True, [])
        assert not worked and "Only pictures that you uploaded" in told
    # Nor by listening to what another is told, nor without being anybody.
    assert other.ask("GET", f"/gradio_api/queue/data?session_hash={caller.session}")[0] == 404
    other.headers = {}
    assert other.file(paths[0])[0] == 403
    assert other.upload(("face.pgm", face))[0] == 403
    assert other.press("Draw", vae, 1, 3, "prior", CONDITIONS, [])[0] is False
    other.headers = {"cookie": "keras_faces_visitor=../../etc"}
    assert other.file(paths[0])[0] == 403


def disguises(folder, face_path):
    """Paths that would lead to the canary, and other files of the server."""
    canary = folder / "canary.png"
    inside = Path(face_path).parent
    relative = os.path.relpath(canary, inside)
    return [
        canary,
        folder / "link.png",
        f"{folder}/./canary.png",
        f"{folder}/vae/../canary.png",
        f"{inside}/{relative}",
        f"{face_path}/../{relative}",
        f"{face_path}\0.png",
        f"{face_path}/",
        f"/{face_path}",
        os.path.relpath(canary),
        f"file://{canary}",
        f"/proc/self/root{canary}",
        f"/proc/self/cwd/{os.path.relpath(canary)}",
        f"~/{os.path.relpath(canary, Path.home())}",
        folder / "vae" / "model.keras",
        "/etc/passwd",
        "/dev/zero",
        inside,
        "",
        "x" * 5000,
        "http://127.0.0.1/face.png",
        "https://example.org/face.png",
        "data:image/png;base64,AAAA",
    ]


def test_no_function_opens_a_file_that_was_not_uploaded(
    caller, page, folder, face, unharmed, monkeypatch
):
    asked = []
    resolve = socket.getaddrinfo
    address = tuple(caller.address.split(":"))

    def watched(host, port, *rest, **named):
        if (host, str(port)) != address:
            asked.append(host)
        return resolve(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    _, paths = caller.upload(("face.pgm", face))
    refused = 0
    for dependency in caller.config["dependencies"]:
        count = len(dependency["inputs"])
        if not count:
            continue
        for number, path in enumerate(disguises(folder, paths[0])):
            wrong = [
                given(path),
                given(paths[0], url=str(path)) | {"path": str(path)},
                {"url": str(path), "meta": META},
                {"path": str(path)},
                {"background": given(paths[0]), "layers": [given(path)], "composite": None},
                [[given(path, is_stream=True)]],
            ][number % 6]
            data = [None] * count
            data[number % count] = wrong
            body = {
                "fn_index": dependency["id"],
                "data": data,
                "session_hash": caller.session,
                "event_data": given(path),
            }
            status, _, answer = caller.ask_json("/gradio_api/queue/join", body)
            assert status == 403 and CANARY not in answer
            assert json.loads(answer)["detail"].startswith("Only pictures that you uploaded")
            refused += 1
    assert refused > 500 and not asked


def test_a_url_beside_an_own_file_is_not_asked_for(caller, vae, face, unharmed):
    _, paths = caller.upload(("face.pgm", face))
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        url = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/face.png"
        assert caller.press("Reconstruct", vae, given(paths[0], url=url), True, [])[0]
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_errors_do_not_tell_whether_a_file_is_there(caller, folder):
    answers = set()
    for path in (folder / "canary.png", folder / "nothing.png", folder, "/root/x", "/dev/zero"):
        body = {"fn_index": caller.number("Reconstruct"), "session_hash": caller.session}
        body["data"] = [str(folder / "vae"), given(path), True, []]
        answers.add(caller.ask_json("/gradio_api/queue/join", body)[::2])
        answers.add(caller.file(str(path)))
    assert len(answers) == 2


# ---------------------------------------------------------------------------------------------
# Requests


def all_routes():
    """The methods and paths of all routes of Gradio."""
    paths = gr.routes.App.create_app(gr.Blocks()).openapi()["paths"]
    return sorted((method.upper(), path) for path, methods in paths.items() for method in methods)


def test_of_all_that_gradio_offers_only_what_the_page_needs_is_there(page, folder, face, unharmed):
    routes = all_routes()
    assert len(routes) > 70
    caller = Caller(page.url)
    _, paths = caller.upload(("face.pgm", face))
    canary = str(folder / "canary.png")
    for method, route in routes:
        for value in disguises(folder, paths[0])[:12:4]:
            value = quote(str(value), safe="/")
            path = route.replace("{session_hash}", caller.session).replace("{component_id}", "1")
            path = "".join(
                part if number % 2 == 0 else value
                for number, part in enumerate(path.replace("}", "{").split("{"))
            )
            query = f"?deep_link={value}&session_hash={caller.session}&path={value}&url={value}"
            body = {
                "data": [given(canary)],
                "session_hash": caller.session,
                "fn_index": 0,
                "fn_name": "accept_blobs",
                "component_id": 1,
                "event_id": "0",
                "path": canary,
            }
            for asked in {method, "GET", "POST", "OPTIONS", "PUT"}:
                status, _, answer = caller.ask(
                    asked, path + query, json.dumps(body).encode(), content_type="application/json"
                )
                assert CANARY not in answer
                needed = (asked.replace("HEAD", "GET"), route) in NEEDED
                assert needed or status in (404, 405, 400), (asked, path, status)
    for path in ("/docs", "/redoc", "/openapi.json", "/gradio_api/openapi.json", "/mcp"):
        assert caller.ask("GET", path)[0] == 404


def test_the_page_names_no_function_to_programs(caller):
    assert not [d for d in caller.config["dependencies"] if d["api_visibility"] != "private"]


def test_assets_do_not_lead_elsewhere(caller, folder, unharmed):
    assert caller.ask("GET", "/static/js/iframeResizer.contentWindow.min.js")[0] == 200
    up = "../" * 20
    for start in ("/static/", "/assets/", "/static/js/", "/gradio_api/file="):
        for path in (f"{up}{folder}/canary.png", f"{up}etc/passwd", "../../../../__init__.py"):
            for shown in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
                for asked in (
                    shown,
                    shown.replace("/", "\\"),
                    shown.replace("/", "//"),
                    f"{shown}%00",
                ):
                    status, _, answer = caller.ask("GET", start + asked)
                    assert status in (404, 400) and CANARY not in answer


VALUES = [
    *(None, True, -1, 0, 1, 7.5, 1e308, -(10**30), "", "prior", "x" * 1000, "<b>", "\ud800", "\0"),
    *([], {}, [1, None], ["prior"], {"id": "x"}, {"composite": None}, {"a": {"b": {}}}, [[[[]]]]),
    *(["x"] * 20, ["woman"] * 20),
]


def test_hostile_values_are_told_and_harm_nothing(caller, vae, face, unharmed):
    rng = random.Random(0)
    _, paths = caller.upload(("face.pgm", face))
    usual = {c["id"]: c["props"].get("value") for c in caller.config["components"]}
    pictures = [c["id"] for c in caller.config["components"] if c["type"] == "image"]
    usual |= dict.fromkeys(pictures, given(paths[0]))
    kinds = set()
    for _ in range(TURNS):
        dependency = rng.choice(caller.config["dependencies"])
        data = [usual.get(component) for component in dependency["inputs"]]
        for _ in range(rng.choice((1, 1, 1, 3)) if data else 0):
            data[rng.randrange(len(data))] = rng.choice(VALUES)
        body = {"fn_index": dependency["id"], "data": data, "session_hash": caller.session}
        status, _, _ = caller.ask_json("/gradio_api/queue/join", body)
        kinds.add(status)
        if status == 200:
            path = f"/gradio_api/queue/data?session_hash={caller.session}"
            _, _, answer = caller.ask("GET", path)
            assert b"process_completed" in answer and CANARY not in answer
    assert kinds == {200, 400}


def test_requests_that_the_page_does_not_make_are_refused(caller, vae, unharmed):
    good = {
        "fn_index": caller.number("Draw"),
        "data": [vae, 1, 1, "prior", CONDITIONS, []],
        "session_hash": caller.session,
    }
    deep = [[]]
    for _ in range(20):
        deep = [deep]
    wrong = [
        *({**good, "fn_index": value} for value in (None, -1, 10**9, 1.0, "0", True, [0], {})),
        *({**good, "data": value} for value in (None, [], 5, "abcdef", {}, good["data"] * 2)),
        *({**good, "data": [deep, *good["data"][1:]]} for _ in (0,)),
        *(
            {**good, "session_hash": value}
            for value in (None, 1, "", "../x", "a" * 1000, "a-b", ["a"], "é", "a\n")
        ),
        *([], None, 1, "x"),
    ]
    for value in wrong:
        assert caller.ask_json("/gradio_api/queue/join", value)[0] == 400, value
    nested = b"[" * 40_000
    for body in (b"", b"{", b"\xff\xfe", nested, b'{"data": [NaN]}', b"9" * 9000):
        kind = {"content_type": "application/json"}
        assert caller.ask("POST", "/gradio_api/queue/join", body, **kind)[0] == 400
    assert caller.ask("POST", "/gradio_api/queue/join", bytes(1_000_000))[0] == 413
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/xml", "", "x"):
        body = json.dumps(good).encode()
        status = caller.ask("POST", "/gradio_api/queue/join", body, content_type=kind)[0]
        assert status in (400, 415, 422)
    for session in ("", "x", "..", "%00", "a" * 5000, caller.session + "1"):
        assert caller.ask("GET", f"/gradio_api/queue/data?session_hash={session}")[0] == 404


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
    start = f"Host: {caller.address}\r\nCookie: {caller.headers['cookie']}\r\n"
    form = "Content-Type: multipart/form-data; boundary=limit\r\n"
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        head = f"POST {path} HTTP/1.1\r\n{start}{form}"
        for length in ("", "Content-Length: 10\r\n"):
            sent = f"{head}{length}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 3
            assert raw(caller.address, sent).split()[1] in (b"411", b"400")
        sent = f"{head}Content-Length: 99999999999\r\n\r\n".encode() + chunk
        assert raw(caller.address, sent).split()[1] == b"413"
        # Somebody who leaves in the middle.
        with socket.create_connection(tuple(caller.address.split(":"))) as connection:
            connection.sendall(f"{head}Content-Length: 9000\r\n\r\n--limit".encode())
    for header in (
        "X-Forwarded-Host: a b",
        "X-Forwarded-Host: [",
        "X-Forwarded-Proto: javascript",
        "Range: bytes=9-1",
        "Cookie: keras_faces_visitor=" + "a" * 9000,
        "Cookie: \xff=;;;=",
        "Content-Encoding: gzip",
        "Accept-Encoding: br;q=x",
        "Referer: http://[",
        "Origin: null",
    ):
        for path in ("/", "/theme.css", "/gradio_api/file=/etc/passwd"):
            sent = f"GET {path} HTTP/1.1\r\nHost: {caller.address}\r\n{header}\r\n\r\n"
            answer = raw(caller.address, sent.encode("latin-1"))
            assert answer.startswith(b"HTTP/1.1") and b"500" not in answer.split(b"\r\n")[0]


# ---------------------------------------------------------------------------------------------
# Uploads


def test_uploads_of_a_visitor_have_a_limit_together(page, caller, monkeypatch, unharmed):
    monkeypatch.setattr(visitors, "UPLOAD_BYTES", 1_000_000)
    for _ in range(4):
        assert caller.upload(("face.png", bytes(200_000)))[0] == 200
    status, told = caller.upload(("face.png", bytes(200_000)))
    assert status == 413 and "more than 1 MB together" in told and "\n" not in told
    other = Caller(page.url)
    assert other.upload(("face.png", bytes(200_000)))[0] == 200
    # Many small ones count, too.
    sent = 0
    while other.upload(("x", b"x"))[0] == 200:
        sent += 1
    assert sent < 20
    monkeypatch.setattr(visitors, "ALL_UPLOAD_BYTES", 1_500_000)
    status, told = Caller(page.url).upload(("face.png", bytes(200_000)))
    assert status == 413 and "uploads of all its visitors" in told


def test_one_upload_has_a_limit(caller, unharmed):
    assert caller.upload(*[("x.png", b"x")] * 8)[0] == 200
    status, told = caller.upload(*[("x.png", b"x")] * 1000)
    assert status == 400 and "Too many files" in told
    status, told = caller.upload(("x.png", bytes(26_000_000)))
    assert status in (413, None) and "25010 kB" in told


def test_wrong_uploads_are_told(caller, unharmed):
    part = b'--limit\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\nx\r\n'
    end = b"--limit--\r\n"
    field = part.replace(b'; filename="x"', b"")
    form = "multipart/form-data; boundary=limit"
    for body, kind in (
        (part, "text/plain"),
        (part, "multipart/form-data"),
        (part, "multipart/form-data; boundary="),
        (field * 3 + end, form),
        (b"--limit\r\n" + b"X: y\r\n" * 3000 + b"\r\n" + end, form),
        (b"x" * 1000, form),
        (part.replace(b"name", b"nome") + end, form),
        (part.replace(b"files", b"other") + end, form),
        (part + end, "multipart/form-data; boundary=limit; charset=nothing"),
        (b"", form),
    ):
        status, _, answer = caller.ask("POST", "/gradio_api/upload", body, content_type=kind)
        assert status in (200, 400) and b"\n" not in answer
        assert status == 400 or not json.loads(answer) or b"charset" in kind.encode()


def test_no_name_of_an_upload_leads_elsewhere(caller, face, unharmed):
    for name in (
        "../../x.png",
        "/etc/x.png",
        "a/b.png",
        ".",
        "..",
        "x.p/g",
        "ä\u202e.png",
        "x" * 999,
    ):
        status, paths = caller.upload((name, face))
        assert status == 200
        assert Path(paths[0]).name in ("picture", "picture.png")
        assert caller.file(paths[0]) == (200, face)


def test_pages_of_uploads_are_not_shown_by_browsers(caller):
    for name in ("x.html", "x.svg", "x.js", "x"):
        _, paths = caller.upload((name, b"<script>alert(1)</script>"))
        _, headers, _ = caller.ask("GET", f"/gradio_api/file={paths[0]}")
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment")
        assert headers["x-content-type-options"] == "nosniff"


def test_what_was_made_gives_way_to_what_is_made(monkeypatch):
    monkeypatch.setattr(visitors, "MADE_BYTES", 200_000)
    files, paths = Visitors(), []
    with contextlib.closing(files):
        with files.writing("a", "up.png", uploaded=True) as path:
            path.write_bytes(b"x")
        kept = str(path)
        for _ in range(9):
            with files.writing("b", "made.png") as path:
                path.write_bytes(bytes(60_000))
            paths.append(str(path))
        assert [files.owns("b", path) for path in paths] == [False] * 6 + [True] * 3
        assert [Path(path).exists() for path in paths] == [False] * 6 + [True] * 3
        assert files.owns("a", kept) and not files.owns("b", kept)
        files.forget_old(3600)
        assert files.owns("a", kept)
        files.forget_old(0)
        assert not files.owns("a", kept) and not list(files.folder.iterdir())


def test_a_file_that_cannot_be_written_is_told_in_a_line(monkeypatch):
    files = Visitors()
    told = pytest.raises(UserError, match="cannot keep a file: No space left")
    with contextlib.closing(files):
        with told, files.writing("a", "x.png") as path:
            path.write_bytes(b"x")
            raise OSError(28, "No space left on device")
        assert not list(files.folder.iterdir()) and not files.owns("a", str(path))
    assert not files.folder.exists()
    with pytest.raises(UserError, match="being ended"), files.writing("a", "x.png"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "sent",
    ["SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP"))],
)
def test_a_page_that_is_ended_says_no_error_and_leaves_no_file(sent, folder, face, tmp_path):
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
        busy = threading.Barrier(5)

        def visit(number):
            caller = Caller(f"http://127.0.0.1:{port}")
            caller.upload(("face.pgm", face))
            busy.wait()
            with contextlib.suppress(Exception):  # the page ends meanwhile
                while True:
                    if number % 2:
                        caller.upload(("face.pgm", bytes(9_000_000)))
                    else:
                        name = str(folder / "vae")
                        caller.press("Draw", name, 100, number, "prior", CONDITIONS, [])

        for number in range(4):
            threading.Thread(target=visit, args=(number,), daemon=True).start()
        busy.wait()
        time.sleep(0.5)
        made = list(tmp_path.glob("keras_faces_page_*/*/*"))
        process.send_signal(sent)
        _, told = process.communicate(timeout=30)
    assert len(made) >= 4
    assert told == "\nStopped.\n"
    assert process.returncode == 128 + (signal.SIGINT if sent == signal.SIGINT else signal.SIGTERM)
    assert not list(tmp_path.glob("keras_faces_page_*"))


def test_what_the_server_says_on_a_terminal_is_without_colours(folder, monkeypatch):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    with PageServer([folder / "cyclegan"], port=0):
        [handler] = logging.getLogger("uvicorn").handlers
        said = handler.format(logging.LogRecord("", logging.WARNING, "", 0, "invalid", (), None))
    assert said == "WARNING:  invalid"
