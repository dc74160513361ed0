"""The web page, served from a thread for as long as a test needs it, and somebody who asks it."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from keras_faces.app.server import PageServer


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
    """Somebody who asks whatever he likes."""

    def __init__(self, url: str):
        self.address = urlsplit(url).netloc

    def ask(self, method, path, body=None, **headers):
        """Return status, headers and body of an answer, whatever it is."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, action, picture: bytes | None = None, **fields):
        """Ask as the page does; return the status, and the answer, of JSON what it says."""
        asked = json.dumps(fields)
        if picture is None:
            kind, body, path = "application/json", asked.encode(), f"/api/{action}"
        else:
            kind, body = "application/octet-stream", picture
            path = f"/api/{action}?asked={quote(asked)}"
        status, headers, data = self.ask("POST", path, body, content_type=kind)
        as_json = headers["content-type"].startswith("application/json")
        return status, json.loads(data) if as_json else data
