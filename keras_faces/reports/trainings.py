"""A report's trainings, each in a process of its own, several at a time."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_faces.data.sources.base import SourceLike, each
from keras_faces.errors import Interrupted, number_of
from keras_faces.process import python
from keras_faces.reports.schema import Part
from keras_faces.runs import Run
from keras_faces.screen import shell_line

POLLED = 0.1  # seconds between looks whether a training has ended


class Planned(NamedTuple):
    """A training of a report.

    Attributes:
        part: Which model.
        seed: Its seed.
        run: Its run.
        words: The command that trains it, without its folder.
        data: Where its faces lie, if not where its plan says.
    """

    part: Part
    seed: int
    run: Run
    words: list[str]
    data: SourceLike | None

    @property
    def told(self) -> str:
        """What it is called."""
        return f"{self.part.title}, seed {self.seed}"

    @property
    def finished(self) -> bool:
        """Whether its model is there."""
        return self.run.model_path.is_file()

    @property
    def log(self) -> Path:
        """Where its output goes, where others train at the same time."""
        return self.run.folder.with_name(f"{self.run.folder.name}.log")

    @property
    def command(self) -> list[str]:
        """The words behind `keras-faces` that train what is not finished."""
        if self.run.exists:
            return ["resume", str(self.run.folder), *source_words(self.data)]
        return [*self.words, "--run", str(self.run.folder), "--count", "0"]


def source_words(data: SourceLike | None) -> list[str]:
    """Return the words of a command that name a source of faces, none for None."""
    return [] if data is None else [word for one in each(data) for word in ("--data", str(one))]


def train(
    chosen: Sequence[Planned],
    jobs: int,
    then: Callable[[Planned], object],
    print_fn: Callable[[str], None],
) -> dict[str, str]:
    """Train what is not finished, several at a time.

    Args:
        chosen: What to train.
        jobs: How many at a time, each on its share of the cores.
        then: Called with each once it is trained.
        print_fn: Where to send lines for the user.

    Returns:
        What failed, and what did.

    Raises:
        Interrupted: If one was stopped.
    """
    waiting, failed = list(enumerate(chosen, 1)), {}
    running: dict[int, tuple[Planned, subprocess.Popen | None]] = {}
    with _ending(running):
        while waiting or running:
            for slot in [slot for slot in range(jobs) if slot not in running][: len(waiting)]:
                number, one = waiting.pop(0)
                recipe = f", recipe {one.part.recipe}" if one.part.recipe else ""
                log = one.log if jobs > 1 and not one.finished else None
                told = f"; what it says: {log}" if log else ""
                print_fn(f"Training {number} of {len(chosen)}: {one.told}{recipe}{told}")
                running[slot] = one, None
                if not one.finished:
                    with _share_of_cores(slot, jobs):
                        running[slot] = one, begin(one.command, log)
            ended = [slot for slot, (_, process) in running.items() if _code(process) is not None]
            if not ended:
                time.sleep(POLLED)
                continue
            one, process = running.pop(ended[0])
            code = _code(process)
            if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
                raise Interrupted("", signal.SIGTERM)  # by which the others are stopped as well
            if code:
                line = shell_line(["keras-faces", *one.command])
                failed[one.told] = f"failed: {line}"
                print_fn(f"This failed, see {one.log if jobs > 1 else 'above'}: {line}")
            else:
                then(one)
    return failed


def _code(process: subprocess.Popen | None) -> int | None:
    return 0 if process is None else process.poll()


def begin(words: Sequence[str], log: Path | None = None) -> subprocess.Popen:
    """Start `keras-faces` in a process of its own, as a user would who repeats a report's command.

    Args:
        words: What stands behind it.
        log: The file for its output; None is the screen.
    """
    given = python("-m", "keras_faces.cli", *words)
    if log is None:
        return subprocess.Popen(**given)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(**given, stdout=output, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def _share_of_cores(slot: int, jobs: int) -> Iterator[None]:
    """Start processes on one of so many shares of the cores, where the system has such."""
    if jobs == 1 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = sorted(before := os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[slot::jobs] or [cores[slot % len(cores)]])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _ending(running: dict[int, tuple[Planned, subprocess.Popen | None]]) -> Iterator[None]:
    """Where this process is stopped, stop those it has started; they have time to save."""
    try:
        yield
    except BaseException as stop:
        processes = [process for _, process in running.values() if process is not None]
        # Ctrl-C has reached all of them, SIGTERM this process alone.
        reached = isinstance(stop, KeyboardInterrupt) and number_of(stop) == signal.SIGINT
        for process in processes if not reached else ():
            process.terminate()
        for process in processes:
            _await(process)
        raise


def _await(process: subprocess.Popen) -> None:
    while True:
        try:
            process.wait()
            return
        except KeyboardInterrupt as again:
            if number_of(again) == signal.SIGTERM:
                process.terminate()
