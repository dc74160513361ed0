"""What the page answers on the network: what it needs itself, and nothing else that Gradio offers.

Whoever opens the page gets a cookie that nobody else knows: a visitor. Of a request that passes on
to Gradio only the parts are left that the page uses, files named in it are the visitor's own, and
the session, by which Gradio tells pages that are open, carries the visitor's name.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from keras_faces.app.uploads import MAX_BYTES, SHOWN_SUFFIXES
from keras_faces.app.visitors import Visitors, session_of
from keras_faces.errors import UserError

COOKIE = "keras_faces_visitor"
COOKIE_RULES = "Path=/; HttpOnly; SameSite=Strict"
MAX_FILES = 8  # of one upload: a drawing comes as several pictures
MAX_UPLOAD = MAX_BYTES + 10_000  # what stands around a file on its way
MAX_REQUEST = 100_000
MAX_DEPTH = 8
BODY_SECONDS = 300

# The page asks nobody but this server, whatever is in a model's files.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:"
)

NO_VISITOR = "This page is out of date, or your browser takes no cookies from it: reload it."
NOT_OWN = "Only pictures that you uploaded here, less than an hour ago, can be used: upload it."
NOT_OURS = "This is no request that this page makes: reload it."


class Gate:
    """An ASGI application before Gradio's.

    Args:
        gradio: The application on which the page is mounted.
        blocks: The page.
        visitors: Their files.
        hosts: The names by which the server may be called; none allows all.
    """

    def __init__(self, gradio, blocks, visitors: Visitors, hosts: Sequence[str] = ()):
        self.gradio = gradio
        self.blocks = blocks
        self.visitors = visitors
        middleware = [Middleware(_Headers)]
        if hosts:
            # Else a page elsewhere, whose name is made to lead here, could use this one.
            middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)))
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/favicon.ico", self._page),
                Route("/theme.css", self._page),
                Route("/assets/{path:path}", self._asset),
                Route("/static/{path:path}", self._asset),
                Route("/gradio_api/upload", self._upload, methods=["POST"]),
                Route("/gradio_api/queue/join", self._join, methods=["POST"]),
                Route("/gradio_api/queue/data", self._data),
                Route("/gradio_api/file={path:path}", self._file),
            ],
            middleware=middleware,
            exception_handlers={
                HTTPException: _refuse,
                UserError: lambda request, error: PlainTextResponse(str(error), 413),
                ClientDisconnect: lambda request, error: PlainTextResponse("", 400),
                TimeoutError: lambda request, error: PlainTextResponse("Too slow.", 408),
            },
            lifespan=lambda _: gradio.router.lifespan_context(gradio),
        )
        self.app.router.redirect_slashes = False

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

    # What is Gradio's own, without anything that was asked of it besides.

    async def _page(self, request: Request):
        return self._passed_on(request)

    async def _asset(self, request: Request):
        # No file's name in there begins with a dot.
        if not re.fullmatch(r"(/\w[\w.-]*)+", request.url.path):
            raise HTTPException(404)
        return self._passed_on(request)

    def _passed_on(self, request: Request, body: bytes = b"", **query: str):
        async def answer(scope, receive, send):
            given = [{"type": "http.request", "body": body, "more_body": False}]

            async def replay():
                return given.pop() if given else await receive()

            headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            query_string = urlencode(query).encode()
            scope = {**scope, "headers": headers, "query_string": query_string}
            await self.gradio(scope, replay, send)

        return answer

    # What visitors send and get.

    async def _upload(self, request: Request):
        visitor = self._visitor(request)
        size = _length(request, MAX_UPLOAD)
        with contextlib.ExitStack() as held:
            async with asyncio.timeout(BODY_SECONDS):
                try:
                    held.enter_context(self.visitors.receiving(visitor, size))
                except UserError:
                    async for _ in request.stream():
                        pass  # a browser that is still sending would not see why
                    raise
                async with request.form(max_files=MAX_FILES, max_fields=0) as form:
                    files = [f for f in form.getlist("files") if isinstance(f, UploadFile)]
                    paths = [await run_in_threadpool(self._keep, visitor, file) for file in files]
        return JSONResponse(paths)

    def _keep(self, visitor: str, file: UploadFile) -> str:
        suffix = PurePath(file.filename or "").suffix
        suffix = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix) else ""
        with (
            self.visitors.writing(visitor, f"picture{suffix}", uploaded=True) as path,
            path.open("wb") as kept,
        ):
            shutil.copyfileobj(file.file, kept)
        return str(path)

    async def _join(self, request: Request):
        visitor = self._visitor(request)
        _length(request, MAX_REQUEST)
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.body()
        try:
            given = json.loads(body)
            number, data = given["fn_index"], given["data"]
            function = self.blocks.fns[number]
            if type(number) is not int or type(data) is not list:
                raise TypeError
            if len(data) != len(function.inputs):
                raise ValueError
            body = json.dumps(
                {
                    "fn_index": number,
                    "data": [self._own(visitor, value) for value in data],
                    "session_hash": session_of(visitor, given["session_hash"]),
                },
                ensure_ascii=False,
                allow_nan=False,
            ).encode()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise HTTPException(400, NOT_OURS) from error
        return self._passed_on(request, body)

    def _own(self, visitor: str, value, depth: int = 0):
        """Return a value of a component in which all files are the visitor's.

        What else a browser says of a file, above all a URL, is left out.
        """
        if depth > MAX_DEPTH:
            raise ValueError
        if isinstance(value, list):
            return [self._own(visitor, part, depth + 1) for part in value]
        if not isinstance(value, dict):
            return value
        if not {"path", "url", "meta"}.intersection(value):
            return {key: self._own(visitor, part, depth + 1) for key, part in value.items()}
        if not self.visitors.owns(visitor, value.get("path")):
            raise HTTPException(403, NOT_OWN)
        return {"path": value["path"], "meta": {"_type": "gradio.FileData"}}

    async def _data(self, request: Request):
        try:
            session = session_of(self._visitor(request), request.query_params.get("session_hash"))
        except ValueError as error:
            raise HTTPException(404) from error
        if session not in self.blocks._queue.pending_messages_per_session:
            raise HTTPException(404)
        return self._passed_on(request, session_hash=session)

    async def _file(self, request: Request):
        path = request.path_params["path"]
        if not self.visitors.owns(self._visitor(request), path) or not os.path.isfile(path):
            raise HTTPException(404)
        shown = PurePath(path).suffix.lower() in SHOWN_SUFFIXES
        return FileResponse(
            path,
            media_type=None if shown else "application/octet-stream",
            filename=PurePath(path).name,
            content_disposition_type="inline" if shown else "attachment",
            headers={"cache-control": "private"},
        )

    def _visitor(self, request: Request) -> str:
        cookie = _cookie(request)
        if cookie is None:
            raise HTTPException(403, NO_VISITOR)
        return self.visitors.name(cookie)


def _cookie(request: Request) -> str | None:
    cookie = request.cookies.get(COOKIE, "")
    return cookie if re.fullmatch(r"[0-9a-f]{32}", cookie) else None


def _length(request: Request, most: int) -> int:
    told = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not re.fullmatch(r"[0-9]{1,18}", told):
        raise HTTPException(411, "How long it is must be said beforehand.")
    if int(told) > most:
        raise HTTPException(413, f"More than {most // 1000} kB at once are not taken.")
    return int(told)


async def _refuse(request: Request, error: HTTPException):
    # Gradio's page reads JSON where it asked for a result, and shows what is told of an upload.
    if request.url.path.endswith("/join"):
        return JSONResponse({"detail": error.detail}, error.status_code)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


class _Headers:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_more(message):
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                if scope["path"] == "/":
                    headers.append((b"cache-control", b"no-store"))
                    if _cookie(Request(scope)) is None:
                        cookie = f"{COOKIE}={secrets.token_hex(16)}; {COOKIE_RULES}"
                        headers.append((b"set-cookie", cookie.encode()))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_more if scope["type"] == "http" else send)
