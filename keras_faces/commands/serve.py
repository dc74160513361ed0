"""The web page: `serve`."""

import functools
import os
import signal
import sys

from keras_faces.commands import kinds
from keras_faces.errors import Interrupted


def serve(*runs: kinds.Run, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Open a web page for trained models on this machine.

    Args:
        runs: The models. Defaults to all in `saved_models/` and `runs/`.
        host: Address to listen on.
        port: Port to listen on.
    """
    from keras_faces.app import serve

    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # What visitors uploaded does not stay when the terminal is closed.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        # Said at once to whoever reads along in a file.
        serve(list(runs), host, port, functools.partial(print, flush=True))
    except Interrupted as stop:
        # Python would wait for Keras to end what visitors asked for last, for minutes.
        print("\nStopped.", file=sys.stderr, flush=True)
        os._exit(128 + stop.signal_number)
