"""Work on all cores by joblib, or wherever `joblib.parallel_config` sends it: Dask, Ray."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from keras_faces.errors import UserError, require_whole
from keras_faces.process import prepare_process

PART = 16  # pictures for a worker at a time
WINDOW = 256  # tasks at a time, where a backend returns nothing before all are done


def in_parallel(
    function: Callable[[Any], Any],
    tasks: Iterable,
    n_jobs: int | None = None,
    prefer: str = "processes",
) -> Iterator:
    """Yield what a function returns for each task, in their order.

    Args:
        function: One of a module, which workers import.
        tasks: What it takes. They are fetched as workers become free.
        n_jobs: Workers; None takes as many as `joblib.parallel_config` says, or one for each core.
        prefer: `"processes"` or `"threads"`, where `joblib.parallel_config` names no backend.

    Raises:
        UserError: If a worker is killed.
    """
    import joblib

    # What the caller configured, if anything: asked with a preference, joblib answers 1.
    n_jobs = n_jobs or joblib.parallel.get_active_backend()[1] or -1
    backend = joblib.parallel.get_active_backend(prefer=prefer)[0]
    loky = isinstance(backend, joblib.parallel.BACKENDS.get("loky", ()))
    n_jobs = backend.effective_n_jobs(n_jobs) if loky else n_jobs
    streams = backend.supports_return_generator or n_jobs == 1
    parallel = joblib.Parallel(
        n_jobs,
        return_as="generator" if streams else "list",
        batch_size=1,
        max_nbytes=None,  # a task's arrays go through a pipe, not through files in memory
        prefer=prefer,
        **({"initializer": _prepare_worker, "initargs": (os.getpid(),)} if loky else {}),
    )
    calls = map(joblib.delayed(function), tasks)
    try:
        if not streams:
            with parallel:
                while window := list(islice(calls, WINDOW)):
                    yield from parallel(window)
            return
        with _starting() if loky else contextlib.nullcontext():
            results = parallel(calls)
        try:
            # Not from `results` itself, which this would close before the filter.
            yield from (result for result in results)
        finally:
            with warnings.catch_warnings():  # of results that nobody wants any more
                warnings.simplefilter("ignore")
                results.close()
    except BrokenExecutor as error:
        raise UserError(
            "A process that worked beside this one was killed, most likely for want of memory. "
            "Close other programs or ask for fewer processes (LOKY_MAX_CPU_COUNT=1), and run the "
            "same again."
        ) from error
    finally:
        # They would wait for more for five minutes, each with its memory: also behind an error of
        # whoever takes the results, which joblib lets pass when all tasks are done.
        if loky and n_jobs != 1:
            joblib.externals.loky.get_reusable_executor(reuse=True).shutdown(wait=False)


def over_pictures(
    function: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    n_jobs: int | None = None,
    few: int = 100,
) -> np.ndarray:
    """Return what a function returns for pictures: an array of as many rows, in their order.

    Args:
        function: One of a module, which workers import.
        images: The pictures.
        n_jobs: As in `in_parallel`; None works in this process alone where pictures are few.
        few: How many are few: those that take no longer than processes take to start.

    Raises:
        UserError: If `n_jobs` is below 1, or a worker is killed.
    """
    if n_jobs is not None:
        require_whole(processes=n_jobs)
    elif len(images) <= few:
        n_jobs = 1
    parts = (images[start : start + PART] for start in range(0, len(images), PART))
    return np.concatenate(list(in_parallel(function, parts, n_jobs)))


def _prepare_worker(parent: int) -> None:
    prepare_process()  # memory of pictures is not returned, to be fetched again for the next ones
    os.dup2(2, 1)  # whatever a library prints
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has: loky's workers wait for five minutes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


# Of workers and of those who clean up behind them: no file of the folder in which they start is
# taken for a library, and nothing is said where all are killed.
ENVIRONMENT = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore"}


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: this one ends them."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    if os.name == "posix":
        from joblib.externals.loky.backend import resource_tracker as loky_tracker

        resource_tracker.ensure_running()  # whichever is started later lets it through again
        loky_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        if os.name == "posix":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
