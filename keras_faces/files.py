"""Files that are there whole or not at all."""

import glob
import os
import re
import shutil
import threading
import time
from pathlib import Path


def write_whole(path: str | os.PathLike, data: bytes | str) -> Path:
    """Write a file beside its place, flush it to disk and rename it there.

    A device or a pipe, such as `/dev/stdout`, is written to instead of being replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    replaceable = path.parent != Path("/dev") and (path.is_file() or path.is_dir())
    if path.exists() and not replaceable:
        path.write_bytes(data)
        return path
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
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
    """Return whether another process may still be writing something.

    What stands under this process's number is of an earlier one, as in a container every time.
    """
    if process == os.getpid():
        return False
    if os.name != "posix":  # there the question would kill it
        return time.time() - part.stat().st_mtime < 24 * 3600
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
