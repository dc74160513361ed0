"""Files on disks and behind URLs, read at any place: the one layer that knows fsspec."""

import contextlib
import functools
import hashlib
import io
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import open_regular

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z0-9+.-]+)*://")
ATTEMPTS = 3
AT_ONCE = 16  # pictures that are fetched at the same time
BUFFER = 1 << 16  # bytes that are fetched at once where few are asked for
# Of what fsspec knows of a file: other at every look, or no property of its content.
CHANGING = {"name", "url", "type", "mimetype", "partial", "atime", "time", "isLink", "islink"}

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_url(path: str | os.PathLike) -> bool:
    """Return whether a path is a URL, such as `s3://bucket/faces`."""
    return URL.match(os.fspath(path)) is not None


def without_query(url: str) -> str:
    """Return a URL without what stands behind a question mark, such as who may read it."""
    return url.partition("?")[0]


def file_system(url: str):
    """Return the fsspec file system of a URL, and what the URL is called there.

    Raises:
        UserError: If there is no such kind of URL, or it needs a library that is not installed, or
            it holds another URL: of these some run what a file says, and a run's config may be a
            stranger's.
    """
    import fsspec
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    if "::" in url:
        raise UserError(f"A URL within a URL is not read. Received: {url!r}. Give one alone.")
    try:
        return url_to_fs(url)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or getattr(error, "name", None)
        package = (package or str(error)).partition(".")[0].replace("_", "-")
        raise UserError(
            f"{scheme}:// needs {package}, which is not installed: pip install {package}"
        ) from error
    except ValueError as error:
        known = fsspec.available_protocols()
        if scheme not in known:
            raise unknown_name("kind of URL", scheme, known) from error
        raise cannot_reach(url, error) from error
    except Exception as error:  # each file system raises its own
        raise cannot_reach(url, error) from error


def reason(error: BaseException) -> str:
    """Return in few words why a file system failed: each raises its own types."""
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__  # which may be that there is no such server
        missing = cause is None or isinstance(cause, FileNotFoundError)
        missing = missing or getattr(cause, "status", None) == 404
        return "it is not there" if missing else reason(cause)
    text = " ".join(str(error).split())[:200]
    kind = type(error).__name__
    return text if isinstance(error, OSError) and text else f"{kind}: {text}" if text else kind


def cannot_reach(url: str, error: BaseException) -> UserError:
    """Return the error for a URL that cannot be opened."""
    return UserError(f"Cannot reach {url!r}: {reason(error)}. Check the URL, and who may read it.")


def persistent(call: Callable[[], Result]) -> Result:
    """Return what a call to a file system gives, which is made again where the network failed."""
    for attempt in range(1, ATTEMPTS):
        try:
            return call()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except Exception:  # each file system raises its own
            time.sleep(0.2 * attempt)
    return call()


def list_files(fs, root: str, url: str) -> dict[str, dict]:
    """Return what a file system knows of each file below a place, or of those a pattern means.

    Raises:
        UserError: If it cannot be listed.
    """
    # On the web, folders that cannot be listed would be passed over in silence.
    options = {"on_error": "raise"} if url.startswith("http") else {}
    is_pattern = "*" in root
    find = fs.glob if is_pattern else functools.partial(fs.find, **options)
    try:
        found = persistent(lambda: find(root, detail=True))
        if not found and not is_pattern:
            fs.info(root)
        return found
    except Exception as error:  # each file system raises its own
        raise cannot_reach(url, error) from error


def stamp(info: dict) -> str:
    """Return what tells a file's content from another: size, time, checksum, version."""
    kept = {key: str(value) for key, value in info.items() if key not in CHANGING}
    return repr(sorted(kept.items()))


class RangeReader:
    """Reads a file at any place, from any thread.

    Args:
        path: A file, or a URL.
        kept_open: Whether it is kept open between reads, as a process may keep some hundreds.

    Attributes:
        path: The path, or the URL as text.
        name: Its name without folders.
        size: Its size in bytes.

    Raises:
        UserError: If it cannot be read.
    """

    def __init__(self, path: str | os.PathLike, kept_open: bool = True):
        self.path = os.fspath(path)
        self.name = Path(without_query(self.path) if is_url(path) else path).name
        self._lock = threading.Lock()
        self._file = self._fs = None
        if is_url(self.path):
            self._open_url()
            return
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise UserError(f"Cannot read {self.path!r}: {error.strerror}.") from error
        status = os.fstat(self._file)
        if not kept_open:
            os.close(self._file)
            self._file = None
        self.size = status.st_size
        self._stamp = f"{os.path.realpath(self.path)} {self.size} {status.st_mtime_ns}"

    def _open_url(self) -> None:
        self._fs, self._root = file_system(self.path)
        try:
            info = persistent(lambda: self._fs.info(self._root))
            web = self.path.startswith("http") and info.get("size")
            start = self._fetch(0, 4) if web else b""
        except Exception as error:  # each file system raises its own
            raise cannot_reach(self.path, error) from error
        self.size = info.get("size")
        if info.get("type") == "directory" or not self.size:
            raise UserError(f"{self.path!r} is empty, or its server does not say how large it is.")
        if len(start) > 4:
            raise UserError(
                f"The server of {self.path!r} sends whole files alone, no parts of them. Download "
                "it, and give the file."
            )
        self._stamp = f"{self.path} {stamp(info)}"

    def __del__(self):
        if getattr(self, "_file", None) is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)

    def _fetch(self, offset: int, count: int) -> bytes:
        return persistent(lambda: self._fs.cat_file(self._root, start=offset, end=offset + count))

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes at a place; fewer where the file ends.

        Raises:
            BadPicture: If they cannot be read.
        """
        try:
            if self._fs is not None:
                count = min(count, self.size - offset)
                return self._fetch(offset, count) if count > 0 else b""
            if self._file is None:
                with open(open_regular(self.path), "rb", 0) as file:
                    file.seek(offset)
                    return file.read(count)
            if hasattr(os, "pread"):
                return os.pread(self._file, count, offset)
            with self._lock:  # Windows reads only from the file's one position
                os.lseek(self._file, offset, os.SEEK_SET)
                return os.read(self._file, count)
        except Exception as error:  # a disk that has gone, a place before the beginning, a network
            why = getattr(error, "strerror", None) or reason(error)
            raise BadPicture(f"byte {offset:,} of {self.name}: {why}") from error

    def whole(self, offset: int, count: int) -> bytes:
        """Return as many bytes as are asked for, as `read`.

        Raises:
            BadPicture: If they cannot be read, are not all there, or too many.
        """
        if count > MAX_FILE_BYTES:
            raise BadPicture(f"it has {count:,} bytes, the limit is {MAX_FILE_BYTES:,}")
        data = self.read(offset, count)
        while 0 < len(data) < count and (rest := self.read(offset + len(data), count - len(data))):
            data += rest  # it came in pieces
        if len(data) < count:
            raise BadPicture(f"it is cut: {self.name} ends after {self.size:,} bytes")
        return data

    def stream(self, buffer: int = BUFFER) -> io.BufferedReader:
        """Return it as a file that is open for reading, for one thread."""
        return io.BufferedReader(_Raw(self), buffer)

    def stamp(self) -> str:
        """Return its place, size and time, and what else tells whether it has changed."""
        return self._stamp

    def check_still_there(self) -> None:
        """Refuse to go on where it has vanished, or cannot be reached.

        Raises:
            UserError: If so.
        """
        if self._fs is None:
            there, why = os.path.exists(self.path), "it has vanished"
        else:
            try:
                self._fs.invalidate_cache()
                there, why = self._fs.info(self._root) is not None, ""
            except Exception as error:  # each file system raises its own
                there, why = False, reason(error)
        if not there:
            raise UserError(
                f"{self.path!r} cannot be read any more: {why}. What was read so far is kept: run "
                "the same again when it is back."
            )


class Unreachable(OSError):
    """A file cannot be read now, which says nothing of what it holds."""


class _Raw(io.RawIOBase):
    """A `RangeReader` with a position. What cannot be read raises `Unreachable`."""

    def __init__(self, reader: RangeReader):
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, self._reader.size)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        try:
            data = self._reader.read(self._at, len(buffer))
        except BadPicture as error:
            raise Unreachable(str(error)) from error
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def read_all(
    read: Callable[[Item], Result], items: Sequence[Item], at_once: int = AT_ONCE
) -> Iterator[Result | BadPicture]:
    """Yield what is read of items in their order, of which so many are read at the same time."""

    def fetch(item: Item) -> Result | BadPicture:
        try:
            return read(item)
        except BadPicture as error:
            return error

    if at_once == 1:
        yield from map(fetch, items)
        return
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(fetch, item))
                if len(waiting) > at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def digest(*parts: str) -> str:
    """Return a digest of texts in their order."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
