"""Files that are there whole or not at all."""

import os
import threading
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
