"""Work on many pictures in several processes.

A process of our own rather than one of multiprocessing's: those import the user's script again, or
are forked from TensorFlow's threads and hang.
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_faces.errors import require_whole
from keras_faces.process import python

Work = Callable[[np.ndarray], np.ndarray]


def in_processes(
    work: Work, module: str, images: np.ndarray, processes: int | None = None
) -> np.ndarray:
    """Return what `work` returns for pictures, whose order is kept.

    Args:
        work: Takes pictures, and returns an array of as many rows.
        module: Name of the module that does the same when it is run: it calls `serve(work)`.
        images: uint8 of shape `(count, height, width, channels)`.
        processes: Processes to work in; None takes one for each core where it pays.

    Raises:
        UserError: If `processes` is below 1.
    """
    if processes is not None:
        require_whole(processes=processes)
    else:
        processes = os.cpu_count() or 1 if len(images) > 100 else 1
    processes = min(processes, len(images))
    if processes == 1:
        return work(images)
    parts = [images[start::processes] for start in range(processes)]
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_started(module)) for _ in parts]
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(_kill, children)  # who is stopped must not wait until they have done
        done = list(pool.map(_answer, children, parts))
    results = np.empty((len(images), *done[0].shape[1:]), done[0].dtype)
    for start, part in enumerate(done):
        results[start::processes] = part
    return results


def serve(work: Work) -> None:
    """Do the work that `in_processes` hands to this process: from stdin, to stdout."""
    results = work(np.load(io.BytesIO(sys.stdin.buffer.read())))
    sys.stdout.buffer.write(_packed(results))  # NumPy itself would look for its place in the pipe


def _started(module: str) -> subprocess.Popen:
    return subprocess.Popen(
        **python("-m", module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _answer(child: subprocess.Popen, images: np.ndarray) -> np.ndarray:
    output, errors = child.communicate(_packed(images))
    if child.returncode:
        raise RuntimeError(
            f"The process of {child.args[-1]} failed:\n{errors.decode(errors='backslashreplace')}"
        )
    return np.load(io.BytesIO(output))


def _packed(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


def _kill(children: list[subprocess.Popen]) -> None:
    for child in children:
        child.kill()
