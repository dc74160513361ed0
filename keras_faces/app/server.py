"""The page on a port of this machine."""

import errno
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from keras_faces.errors import UserError
from keras_faces.optional import load

HOST, PORT = "127.0.0.1", 7860


def serve(
    runs: Sequence[str | os.PathLike] = (),
    host: str = HOST,
    port: int = PORT,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the web page until Ctrl-C.

    Args:
        runs: Run folders, `.keras` files, or names of models in `saved_models/`; none takes all
            that lie in `saved_models/` and `runs/`.
        host: The address to listen on. Nobody is asked for a password: only this machine reaches
            the default.
        port: The port to listen on.
        tell: Called with what is to be said.

    Raises:
        UserError: If Starlette or Uvicorn is not installed, there is no such model, or the address
            is not to be had.
    """
    with PageServer(runs, host, port) as server:
        tell(f"Serving {', '.join(server.models.names)}")
        if not is_loopback(host):
            tell(
                f"Whoever reaches {host} can use these models, without a password. Leave --host "
                "out to keep them to this machine."
            )
        tell(f"Open {server.url} in a browser; Ctrl-C ends it.")
        server.run()


class PageServer:
    """The page, ready to be run: the port is taken, and the first model loaded and warm.

    Args:
        runs: As in `serve`.
        host: As in `serve`.
        port: As in `serve`; 0 takes a free one.

    Attributes:
        url: Where the page is.
        models: The models that are served.
    """

    def __init__(self, runs: Sequence[str | os.PathLike] = (), host: str = HOST, port: int = PORT):
        for module in ("starlette", "uvicorn"):
            load(module, "The web page")
        from keras_faces.app.served import ServedModels, find_models

        self.models = ServedModels(runs or find_models())
        self._socket = listen(host, port)
        try:
            self._server = self._make(host)
            shown = "localhost" if host in ("0.0.0.0", "::") else host
            shown = f"[{shown}]" if ":" in shown else shown
            self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        except BaseException:
            self.close()
            raise

    def _make(self, host: str):
        import uvicorn

        from keras_faces.app.site import site, warm_up

        warm_up(self.models)
        hosts = ["localhost", "127.0.0.1", "[::1]", host] if is_loopback(host) else []

        class Server(uvicorn.Server):
            async def shutdown(self, sockets=None):
                # Browsers keep a connection open, whose end is no error to be shown.
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                await super().shutdown(sockets)

        return Server(
            uvicorn.Config(
                site(self.models, hosts),
                log_level="warning",
                use_colors=False,  # which `screen` would show as escapes
                timeout_graceful_shutdown=1,
                ws="none",
                lifespan="off",
                server_header=False,
            )
        )

    def run(self) -> None:
        """Answer until Ctrl-C or `stop`."""
        # While the first visitor looks around; whoever uploads a picture before waits for it.
        threading.Thread(target=self._measure, daemon=True).start()
        self._server.run(sockets=[self._socket])

    def _measure(self):
        first = self.models[self.models.names[0]]
        if first.model.latent_dim is not None or first.model.translates_to:
            first.frame  # noqa: B018

    def stop(self) -> None:
        """Let `run`, in another thread, come to its end."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: A name or address of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: If there is no such address here, or the port is taken or forbidden.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise UserError(f"--port must be a whole number from 0 to 65535. Received: {port!r}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host {host!r} is no name or address that is known here. Leave it out for this "
            "machine alone, or give 0.0.0.0 for all its networks."
        ) from error
    opened = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # else a port is not to be had for a minute after it was used
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise _not_to_be_had(host, port, error) from error
    return opened


def _not_to_be_had(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(
            f"Port {port} of {host} is in use, perhaps by another keras-faces serve. Free is, for "
            f"example: --port {free_port(host, port)}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(
            f"--host {host!r} is no address of this machine. Leave it out for this machine alone, "
            "or give 0.0.0.0 for all its networks."
        )
    if error.errno == errno.EACCES:
        return UserError(
            f"Port {port} may not be used by you; those below 1024 are for the administrator. "
            f"Free is, for example: --port {free_port(host, PORT)}"
        )
    return UserError(f"Cannot listen on {host}, port {port}: {error.strerror}.")


def free_port(host: str, port: int) -> int:
    """Return a port that is free now: one soon after a given one, or else any."""
    for candidate in (*range(port + 1, min(port + 20, 65536)), 0):
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
                tried.bind((host, candidate))
                return tried.getsockname()[1]
        except OSError:
            continue
    return 0


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
