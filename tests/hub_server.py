"""A small Hugging Face Hub for tests: what its client asks for to create, push and fetch."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """Serves repositories from memory.

    Attributes:
        files: Content by repository and path.
        asked: Method and path of every request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        writes = self.command == "POST"
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid user token."})
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            given = json.loads(body)
            name = "/".join(filter(None, (given.get("organization"), given["name"])))
            self.server.files.setdefault(name, {})
            return self._send(200, {"url": f"{self.server.address}/{name}"})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
            if name not in self.server.files:
                return self._send(404, {"error": "Repository not found"}, "RepoNotFound")
            return self._repository(name, rest, body)
        if len(parts) > 4 and parts[2] == "resolve":
            return self._file("/".join(parts[:2]), "/".join(parts[4:]))
        return self._send(404, {"error": f"no such address: {path}"})

    def _repository(self, name, rest, body):
        files = self.server.files[name]
        if rest[:1] == ["preupload"]:
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return self._send(200, {"files": modes})
        if rest[:1] == ["commit"]:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = line["value"]["content"]
                    files[line["value"]["path"]] = base64.b64decode(content)
            commit = {
                "commitOid": _commit(files),
                "commitUrl": f"{self.server.address}/{name}/commit/{_commit(files)}",
            }
            return self._send(200, {**commit, "success": True})
        if rest[:1] == ["tree"]:
            listed = [
                {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for p, c in files.items()
            ]
            return self._send(200, listed)
        found = {"id": name, "sha": _commit(files), "siblings": [{"rfilename": p} for p in files]}
        return self._send(200, found)

    def _file(self, name, path):
        content = self.server.files.get(name, {}).get(path)
        if content is None:
            return self._send(404, {"error": "Entry not found"}, "EntryNotFound")
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        headers["X-Repo-Commit"] = _commit(self.server.files[name])
        return self._send(200, content, **headers)

    def _send(self, status, content, code=None, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        for key, value in {**headers, **({"X-Error-Code": code} if code else {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _commit(files) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
