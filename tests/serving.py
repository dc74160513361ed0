"""The web page, served from a thread for as long as a test needs it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
