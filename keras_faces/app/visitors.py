"""What visitors uploaded and what was made for them: the only files that the page opens or sends.

A file is known by the path that it was given here, and belongs to the visitor it was written for.
Nothing that a visitor says is ever looked for on the disk.
"""

import contextlib
import hashlib
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_faces.errors import UserError

KEPT_SECONDS = 3600
UPLOAD_BYTES = 100_000_000  # of one visitor
ALL_UPLOAD_BYTES = 1_000_000_000  # of all visitors
MADE_BYTES = 500_000_000  # of what was made for all visitors, of which the oldest goes first
LEAST_BYTES = 50_000  # that a file counts for, so that small ones do not become too many


def session_of(visitor: str, given: object) -> str:
    """Return the session of a visitor that a browser calls so.

    Raises:
        ValueError: If it is no name of a session.
    """
    if not isinstance(given, str) or not re.fullmatch(r"[0-9A-Za-z]{1,64}", given):
        raise ValueError("no session")
    return f"{visitor}-{given}"


def visitor_of(session: str) -> str:
    """Return the visitor whose session it is."""
    return session.partition("-")[0]


class _Kept(NamedTuple):
    visitor: str
    size: int
    since: float
    uploaded: bool


class Visitors:
    """The files of all visitors, each in a folder whose name nobody can guess.

    Attributes:
        folder: Where they lie until `close`.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(
            prefix="keras_faces_page_", ignore_cleanup_errors=True
        )
        # As Gradio would write it.
        self.folder = Path(self._folder.name).resolve()
        self._secret = secrets.token_bytes()
        self._kept: dict[str, _Kept] = {}
        self._coming: list[_Kept] = []
        self._guard = threading.Condition()
        self._writing = 0
        self._closed = False

    def name(self, cookie: str) -> str:
        """Return what a visitor is called here, which does not tell the cookie."""
        return hashlib.blake2b(cookie.encode(), key=self._secret, digest_size=16).hexdigest()

    def owns(self, visitor: str, path: object) -> bool:
        """Return whether a path is that of a file of this visitor."""
        with self._guard:
            kept = self._kept.get(path) if isinstance(path, str) else None
        return kept is not None and kept.visitor == visitor

    @contextlib.contextmanager
    def receiving(self, visitor: str, size: int) -> Iterator[None]:
        """Hold room for uploads of so many bytes while they come in.

        Raises:
            UserError: If the visitor, or all of them together, uploaded too much.
        """
        coming = _Kept(visitor, max(size, LEAST_BYTES), time.monotonic(), uploaded=True)
        with self._guard:
            uploads = [kept for kept in self._kept.values() if kept.uploaded]
            uploads += [*self._coming, coming]
            if sum(kept.size for kept in uploads if kept.visitor == visitor) > UPLOAD_BYTES:
                raise UserError(
                    f"What you uploaded has more than {UPLOAD_BYTES // 10**6} MB together, the "
                    f"limit of one visitor. It is deleted {KEPT_SECONDS // 60} minutes after it "
                    "came: upload more then."
                )
            if sum(kept.size for kept in uploads) > ALL_UPLOAD_BYTES:
                raise UserError(
                    "This page holds as many uploads of all its visitors as it may. They are "
                    f"deleted {KEPT_SECONDS // 60} minutes after they came: try again later."
                )
            self._coming.append(coming)
        try:
            yield
        finally:
            with self._guard:
                self._coming.remove(coming)

    @contextlib.contextmanager
    def writing(self, visitor: str, name: str, uploaded: bool = False) -> Iterator[Path]:
        """Give the path of a new file of a visitor, which is his once it is written.

        Raises:
            UserError: If it cannot be written.
        """
        path = self.folder / secrets.token_hex(16) / name
        with self._guard:
            if self._closed:
                raise UserError("This page is being ended.")
            self._writing += 1
        try:
            path.parent.mkdir()
            yield path
            size = max(path.stat().st_size, LEAST_BYTES)
            with self._guard:
                self._kept[str(path)] = _Kept(visitor, size, time.monotonic(), uploaded)
                self._make_room()
        except BaseException as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            if isinstance(error, OSError):
                raise UserError(f"This page cannot keep a file: {error.strerror}.") from error
            raise
        finally:
            with self._guard:
                self._writing -= 1
                self._guard.notify_all()

    def _make_room(self):
        made = {path: kept for path, kept in self._kept.items() if not kept.uploaded}
        total = sum(kept.size for kept in made.values())
        for path, kept in list(made.items())[:-1]:
            if total <= MADE_BYTES:
                return
            total -= kept.size
            self._forget(path)

    def _forget(self, path: str):
        del self._kept[path]
        shutil.rmtree(Path(path).parent, ignore_errors=True)

    def forget_old(self, seconds: float = KEPT_SECONDS) -> None:
        """Delete what was written so long ago."""
        with self._guard:
            for path, kept in list(self._kept.items()):
                if time.monotonic() - kept.since >= seconds:
                    self._forget(path)

    def close(self) -> None:
        """Delete everything, once what is being written is there."""
        with self._guard:
            self._closed = True
            self._guard.wait_for(lambda: not self._writing, timeout=10)
            self._kept.clear()
        self._folder.cleanup()
