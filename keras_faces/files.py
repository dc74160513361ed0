"""Files that are there whole or not at all, and files that strangers have put there."""

import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import threading
import time
import warnings
from pathlib import Path

from keras_faces.errors import UserError

# Neither waits: for who writes to a pipe, for a device to be ready.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_FLAGS |= getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)

_STARTED = time.time()

_SEAL = b"\nsha256 "  # ends the content of a file that `write_checked` wrote
_SEAL_BYTES = len(_SEAL) + 64


def write_whole(path: str | os.PathLike, data: bytes | str) -> Path:
    """Write a file beside its place, flush it to disk and rename it there.

    A device or a pipe, such as `/dev/stdout`, is written to instead of being replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Bytes of names that are no UTF-8 would make the whole text unreadable.
    data = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    replaceable = path.parent != Path("/dev") and (path.is_file() or path.is_dir())
    if path.exists() and not replaceable:
        path.write_bytes(data)
        return path
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    with contextlib.suppress(OSError):  # another user's
        remove_parts(path.parent, path.name)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        if os.name == "posix":  # the new name itself outlives a power cut only in a synced folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        error.filename = os.fspath(path)  # a full disk names nothing, others the part
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def remove_parts(folder: Path, name: str = "*", alone: bool = False) -> None:
    """Remove what processes that are dead left half written in a folder, or half replaced.

    Args:
        folder: Where the files and folders themselves were to be.
        name: Whose parts; the default is all.
        alone: Whether a lock keeps other processes from writing files there. Folders are exports,
            which no lock keeps out.
    """
    pattern = "*" if name == "*" else f"{glob.escape(name)}.*"
    for path in Path(folder).glob(f".{pattern}"):
        found = re.fullmatch(r"\.(.+?)\.(\d+)(\.\d+)?\.(part(\.\w+)?|old)", path.name)
        if found is None or (_writing(path, int(found[2])) and not (alone and path.is_file())):
            continue
        place = path.with_name(found[1])
        if found[4] == "old" and not place.exists():  # killed before the new one took its place
            path.rename(place)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _writing(part: Path, process: int) -> bool:
    """Return whether a process may still be writing something.

    What stands under this process's number and is older is of an earlier one, as in a container
    every time.
    """
    if process == os.getpid():
        return part.stat().st_mtime > _STARTED
    if os.name != "posix":  # there the question would kill it
        return time.time() - part.stat().st_mtime < 24 * 3600
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def require_utf8(path: str | os.PathLike) -> None:
    """Refuse to begin a folder whose name TensorFlow cannot open.

    Raises:
        UserError: If its name holds bytes that are no UTF-8, or that Python did not take for it.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"TensorFlow opens no folder of the name {os.fspath(path)!r}, which is no UTF-8 here. "
            "Give another; or where it is UTF-8, set PYTHONUTF8=1."
        ) from error


def open_regular(path: str | os.PathLike) -> int:
    """Open a file for reading, and return its descriptor.

    Raises:
        OSError: If it cannot be opened, or is none: a pipe or a terminal would be waited for, and
            other devices never end.
    """
    try:
        file = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _not_regular(path)
    return file


def read_regular(path: str | os.PathLike) -> bytes:
    """Return the content of a file; raises as `open_regular`."""
    with open(open_regular(path), "rb") as file:
        return file.read()


def _not_regular(path: str | os.PathLike) -> OSError:
    kind = "something that is no file"
    with contextlib.suppress(OSError, StopIteration):
        mode = os.stat(path).st_mode
        kind = next(name for test, name in _KINDS.items() if test(mode))
    return OSError(errno.EINVAL, f"{kind} instead of a file", os.fspath(path))


_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def cache_folder() -> Path:
    """Return the folder of all caches: `KERAS_FACES_CACHE`, or one in the user's cache folder."""
    if "KERAS_FACES_CACHE" in os.environ:
        return Path(os.environ["KERAS_FACES_CACHE"]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keras_faces"


def write_checked(path: str | os.PathLike, data: bytes) -> Path:
    """Write a file with a checksum of its content behind it, for `read_checked`."""
    return write_whole(path, data + _SEAL + hashlib.sha256(data).hexdigest().encode())


def read_checked(path: str | os.PathLike) -> bytes:
    """Return what `write_checked` wrote.

    Raises:
        OSError: If there is no such file, or it is not what was written.
    """
    whole = read_regular(path)
    data, seal = whole[:-_SEAL_BYTES], whole[-_SEAL_BYTES:]
    if not seal.startswith(_SEAL):  # cut, or of a version that wrote no checksum
        raise FileNotFoundError(errno.ENOENT, "no checksum at its end", os.fspath(path))
    if seal != _SEAL + hashlib.sha256(data).hexdigest().encode():
        raise OSError(errno.EIO, "not what was written", os.fspath(path))
    return data


def remembered(path: str | os.PathLike) -> bytes | None:
    """Return what `write_checked` wrote to save time, or None where that is to be made anew."""
    try:
        return read_checked(path)
    except OSError as error:
        if error.errno in (errno.EIO, errno.EINVAL):
            warnings.warn(
                f"{os.fspath(path)} is damaged ({error.strerror}); rebuilding it.", stacklevel=3
            )
            with contextlib.suppress(OSError):
                os.unlink(path)
        return None
