"""The web page, served from a thread for as long as a test needs it, and somebody who asks it."""

import http.client
import json
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from keras_faces.app.server import PageServer

META = {"_type": "gradio.FileData"}
CONDITIONS = "as they go together in the data"


def given_file(path, **more) -> dict:
    """Return how a browser names a file that it has uploaded."""
    return {"path": str(path), "meta": META, **more}


@contextmanager
def serving(runs: Sequence) -> Iterator[PageServer]:
    """Serve models on a free port of this machine; the thread must end with the server."""
    with PageServer(list(runs), port=0) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(20)
        assert not thread.is_alive()


class Caller:
    """Somebody with a browser's cookie, but who asks whatever he likes.

    Attributes:
        config: What Gradio tells a browser of the page.
    """

    def __init__(self, url: str):
        self.address = urlsplit(url).netloc
        self.session = uuid.uuid4().hex
        self.headers = {}
        _, headers, page = self.ask("GET", "/")
        self.headers = {"cookie": headers["set-cookie"].partition(";")[0]}
        found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page.decode(), re.S)
        self.config = json.loads(found[1])

    def ask(self, method, path, body=None, **headers):
        """Return status, headers and body of an answer, whatever it is."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            headers = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask_json(self, path, value, **headers):
        body = json.dumps(value).encode()
        return self.ask("POST", path, body, content_type="application/json", **headers)

    def upload(self, *files: tuple[str, bytes]):
        """Return the status and what is answered to an upload."""
        body = b""
        for name, data in files:
            body += b'--limit\r\nContent-Disposition: form-data; name="files"; filename="'
            body += name.encode() + b'"\r\n\r\n' + data + b"\r\n"
        status, _, answer = self.ask(
            "POST",
            "/gradio_api/upload",
            body + b"--limit--\r\n",
            content_type="multipart/form-data; boundary=limit",
        )
        return status, json.loads(answer) if status == 200 else answer.decode()

    def number(self, button: str) -> int:
        """Return Gradio's number of what a button does."""
        ids = [c["id"] for c in self.config["components"] if c["props"].get("value") == button]
        found = [d["id"] for d in self.config["dependencies"] if [ids[0], "click"] in d["targets"]]
        return found[0]

    def press(self, button: str, *values):
        """Press a button and return whether it worked, and what was made or told."""
        given = {"fn_index": self.number(button), "data": values, "session_hash": self.session}
        status, _, answer = self.ask_json("/gradio_api/queue/join", given)
        if status != 200:
            return False, json.loads(answer)["detail"]
        _, _, stream = self.ask("GET", f"/gradio_api/queue/data?session_hash={self.session}")
        messages = [json.loads(part[5:]) for part in stream.decode().split("\n\n") if part]
        done = next(m for m in messages if m["msg"] == "process_completed")
        return done["success"], done["output"].get("data") or done["output"].get("error")

    def file(self, path: str):
        """Return status and bytes of a file."""
        status, _, data = self.ask("GET", f"/gradio_api/file={quote(path)}")
        return status, data
