"""The whole process: what makes it train fast, and how it starts others of its kind."""

import contextlib
import ctypes
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from keras_faces import __version__
from keras_faces.screen import Screen

# Constants of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def prepare_process() -> None:
    """Make training faster on CPUs without AVX-512; call it before TensorFlow is imported.

    It changes two settings of the whole process, which a library should not do by itself. The
    `keras-faces` command makes them; your script can too:

    - TensorFlow uses oneDNN by default only on processors with AVX-512, but it helps on all. A
      value that the environment already sets is kept.
    - glibc returns every large array to the operating system and fetches it again, zeroed, at
      every step. Here it keeps its memory until `give_back_memory`. So TensorFlow needs no
      allocator of its own, which would never return memory.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 256 * 2**20)
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")


def give_back_memory() -> None:
    """Return to the operating system what is free, which `prepare_process` keeps."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep from the screen what TensorFlow's C++ side prints while it is imported.

    Its log level does not hold back these lines, which say nothing that a user could act on. They
    are shown where the import fails.
    """
    try:
        sys.stderr.flush()
        screen = os.dup(2)
    except (AttributeError, OSError, ValueError):  # there is no screen
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(screen, aside.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


# Hands on what C++ prints, and from the first word of a runtime that loses touch with another
# process holds back the rest: of an abort one line is all there is to say.
TELLER = """
import sys
held = []
for line in sys.stdin.buffer:
    if held or b"coordination_service" in line or b"client.h" in line:
        held.append(line)
    else:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
text = b"".join(held)
fatal = b"Terminating process because" in text
sys.stderr.buffer.write(sys.argv[1].encode() if fatal else text)
"""


@contextlib.contextmanager
def aborts_told(line: str) -> Iterator[None]:
    """Say in a line, not in a C++ stack, that JAX's runtime ends this process for another's death.

    It aborts, so that another process has to say it, which reads what C++ prints. What Python
    prints goes to the screen as ever.

    Args:
        line: What to say.
    """
    screen = os.dup(2)
    teller = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", TELLER, f"{line}\n"],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process
    )
    os.dup2(teller.stdin.fileno(), 2)
    teller.stdin.close()
    before = sys.stderr
    like = {name: getattr(before, name, None) for name in ("encoding", "errors")}
    text = os.fdopen(screen, "w", buffering=1, **like)
    sys.stderr = Screen(text) if isinstance(before, Screen) else text
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(screen, 2)
        text.close()


def versions() -> dict[str, str]:
    """Return the versions of all that can change a result."""
    import keras

    found = {
        "keras-faces": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in ("keras", "tensorflow", "jax", "numpy", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {**found, "backend": keras.backend.backend()}


def available_memory() -> int:
    """Return how many bytes of memory this process can still take; many where that is not told.

    What is free of the machine's, and of what the container allows.
    """
    with contextlib.suppress(OSError, AttributeError, IndexError):
        free = re.findall(
            r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8")
        )
        found = 1024 * int(free[0])
        with contextlib.suppress(OSError, ValueError, IndexError):  # no limit is "max"
            name = Path("/proc/self/cgroup").read_text(encoding="utf-8").split("::/")[1].strip()
            group = Path("/sys/fs/cgroup", name)
            limit = int((group / "memory.max").read_text(encoding="utf-8"))
            used = re.findall(
                r"^anon (\d+)", (group / "memory.stat").read_text(encoding="utf-8"), re.MULTILINE
            )
            found = min(found, limit - int(used[0]))
        return found
    with contextlib.suppress(AttributeError, ValueError):  # Windows has no `sysconf`
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize


def processor() -> str:
    """Return a name of this kind of processor, different where its instructions are."""
    told = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        told += re.findall(r"^(?:flags|Features)\s*:.*", text, re.MULTILINE)[:1]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def python(*words: str) -> dict:
    """Return arguments of `subprocess.Popen` for a Python that imports this very package.

    It finds it wherever the user's script has found it, and takes no file of the folder in which
    that was started for a library.

    Args:
        words: What stands behind `python` on the command line.
    """
    home = os.fspath(Path(__file__).parents[1])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        "args": [sys.executable, "-P", *words],
        "env": {**os.environ, "PYTHONPATH": path},
    }
