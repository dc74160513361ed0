"""What the page answers on the network: its own files, and `actions`.

Nothing is kept of a request once it is answered: no file, no cookie, no session. A request is one
of a few, with fields of known names and a length that is told beforehand.
"""

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keras_faces.app import actions
from keras_faces.app.served import MAX_BYTES, ServedModels
from keras_faces.errors import UserError
from keras_faces.export.web import PAGE as SHARED
from keras_faces.optional import require

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": (PAGE / "index.html", "text/html"),
    "/app.css": (PAGE / "app.css", "text/css"),
    "/app.js": (PAGE / "app.js", "text/javascript"),
    "/page.css": (SHARED / "page.css", "text/css"),
    "/widgets.js": (SHARED / "widgets.js", "text/javascript"),
}

ASKED = (
    actions.about,
    actions.sample,
    actions.face,
    actions.morph,
    actions.directions,
    actions.examples,
    actions.scores,
    actions.card,
)
OF_PICTURES = (actions.picture, actions.translate)  # whose body is a picture's file

WAITING = 64  # requests, beyond which more are told to come back
RECEIVING = 8  # pictures, which are held in memory while they come in
MAX_REQUEST = 100_000
BODY_SECONDS = 60

# The page asks nobody but this server, whatever is in a model's files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'"
)

NOT_OURS = "The page does not make such a request. Reload it."
BUSY = "Too many people are using this page. Try again in a few seconds."


def site(models: ServedModels, hosts: Sequence[str] = ()) -> Starlette:
    """Return the application.

    Args:
        models: The models that are served.
        hosts: The names by which the server may be called; none allows all.
    """
    queue = _Queue(WAITING), _Queue(RECEIVING)
    routes = [Route(path, _file(*found)) for path, found in FILES.items()]
    routes += [Route("/api/models", _models(models))]
    for functions, of_pictures in ((ASKED, False), (OF_PICTURES, True)):
        for function in functions:
            answer = _answer(models, function, of_pictures, *queue)
            routes.append(Route(f"/api/{function.__name__}", answer, methods=["POST"]))
    middleware = [Middleware(_Headers)]
    if hosts:
        # Else a page elsewhere, whose name is made to lead here, could use this one.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            HTTPException: lambda _, error: _told(error.detail, error.status_code),
            UserError: lambda _, error: _told(str(error), 400),
            ClientDisconnect: lambda *_: Response(status_code=400),
            TimeoutError: lambda *_: _told("The upload took too long.", 408),
        },
    )
    app.router.redirect_slashes = False
    return app


def warm_up(models: ServedModels) -> None:
    """Load the first model and use it once, so that the first visitor does not wait.

    Raises:
        UserError: If it cannot be loaded.
    """
    first = models[models.names[0]]
    if actions.about(first)["latents"]:
        drawn = actions.sample(first, [0])["latents"][0]
        actions.face(first, drawn)


def _told(text: str, status: int) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _file(path: Path, media_type: str) -> Callable:
    data = path.read_bytes()

    async def answer(_: Request):
        return Response(data, media_type=media_type, headers={"cache-control": "no-cache"})

    return answer


def _models(models: ServedModels) -> Callable:
    video = ""
    try:
        require(["av"], "A video")
    except UserError as error:
        video = str(error)

    async def answer(_: Request):
        limits = {"bytes": MAX_BYTES, "reach": actions.REACH}
        return JSONResponse({"models": models.names, "no_video": video, **limits})

    return answer


def _answer(models, function: Callable, of_pictures: bool, waiting, receiving) -> Callable:
    signature = inspect.signature(function)

    async def answer(request: Request):
        # Neither type is one that a page elsewhere may send here unasked.
        if request.headers.get("content-type") != (
            "application/octet-stream" if of_pictures else "application/json"
        ):
            raise HTTPException(415, NOT_OURS)
        with contextlib.ExitStack() as held:
            held.enter_context(waiting)
            if of_pictures:
                held.enter_context(receiving)
            body = await _body(request, MAX_BYTES if of_pictures else MAX_REQUEST)
            try:
                fields = json.loads(request.query_params["asked"] if of_pictures else body)
                name = fields.pop("model")
                data = {"data": body} if of_pictures else {}
                signature.bind(name, **fields, **data)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise HTTPException(400, NOT_OURS) from error
            made = await run_in_threadpool(function, models[str(name)], **fields, **data)
        if isinstance(made, actions.File):
            return Response(made.data, media_type=made.media_type)
        return JSONResponse(made)

    return answer


async def _body(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (told.isascii() and told.isdigit()):
        raise HTTPException(411, "The request must state its length (Content-Length).")
    if len(told) > 18 or int(told) > most:
        raise HTTPException(413, f"The request is larger than the limit of {most / 1e6:g} MB.")
    async with asyncio.timeout(BODY_SECONDS):
        return await request.body()


class _Queue:
    """Room for so many requests at once, which are all handled by one event loop."""

    def __init__(self, room: int):
        self.room = room

    def __enter__(self):
        if not self.room:
            raise HTTPException(503, BUSY)
        self.room -= 1

    def __exit__(self, *_):
        self.room += 1


class _Headers:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_more(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, send_more if scope["type"] == "http" else send)
