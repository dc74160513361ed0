"""Work on many pictures in several processes.

A process of our own rather than one of multiprocessing's: those import the user's script again, or
are forked from TensorFlow's threads and hang.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_faces.errors import require_whole

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
    with ThreadPoolExecutor(processes) as pool:
        done = list(pool.map(lambda part: _in_process(module, part), parts))
    results = np.empty((len(images), *done[0].shape[1:]), done[0].dtype)
    for start, part in enumerate(done):
        results[start::processes] = part
    return results


def serve(work: Work) -> None:
    """Do the work that `in_processes` hands to this process: from stdin, to stdout."""
    np.save(sys.stdout.buffer, work(np.load(io.BytesIO(sys.stdin.buffer.read()))))


def _in_process(module: str, images: np.ndarray) -> np.ndarray:
    data = io.BytesIO()
    np.save(data, images)
    # It finds this very package, wherever the user's script found it.
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=data.getvalue(),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise RuntimeError(f"The process of {module} failed:\n{done.stderr.decode()}")
    return np.load(io.BytesIO(done.stdout))
