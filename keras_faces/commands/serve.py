"""The web page: `serve`."""

import os
import signal
import sys

from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import Interrupted


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    serve = parser.command("serve", _serve, "Show what models can do on a web page.")
    serve.add_argument(
        "runs", metavar="RUN", nargs="*", help="models (default: all in saved_models/ and runs/)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=int, default=7860, help="port to listen on")


def _serve(options):
    no_more(options)
    import functools

    from keras_faces.app import serve

    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # What visitors uploaded does not stay when the terminal is closed.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        # Said at once to whoever reads along in a file.
        serve(options.runs, options.host, options.port, functools.partial(print, flush=True))
    except Interrupted as stop:
        # Python would wait for Keras to end what visitors asked for last, for minutes.
        print("\nStopped.", file=sys.stderr, flush=True)
        os._exit(128 + stop.signal_number)
