"""Training on several devices, of one machine or of many: Keras's data parallelism, on JAX.

Every device holds all variables and a part of every batch; XLA computes means, batch statistics
and noise of the whole batch. So what is learnt does not depend on the number of devices, up to
rounding. Of several processes the first, the chief, writes and speaks.
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_faces.errors import UserError, status_of
from keras_faces.process import aborts_told, versions
from keras_faces.screen import first_line

NAMES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)
HEARTBEAT = 25  # seconds without a word from a process until it counts as dead
ADVICE = (
    f"Set {', '.join(NAMES)} for each process, or start them by Slurm, Open MPI or Kubernetes as "
    "docs/scaling.md says."
)
GONE = (
    "keras-faces: Another process of this training has ended or cannot be reached, so this one "
    "ends too: see what that one said. The last checkpoint is whole; start all processes again "
    "with: keras-faces resume RUN --all-devices"
)
# What may differ from process to process.
OWN = ("platform", "source")


def distribute() -> contextlib.ExitStack:
    """Train on all devices of this machine, or of all processes of a cluster.

    Call it before anything is computed; models created earlier stay on one device. Processes
    find each other through Keras's variables `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `_NUM_PROCESSES`
    and `_PROCESS_ID`, or through JAX under Slurm, Open MPI, Kubernetes and on TPUs. All of them
    run the same program.

        with kf.distribute():
            model = kf.create_model("dcgan")
            model.compile()
            model.fit(faces, epochs=5, callbacks=kf.callbacks.standard("runs/dcgan"))

    Returns:
        A context manager. When it ends, the processes separate, and what follows runs on one
        device.

    Raises:
        UserError: If the backend is not JAX, the cluster is not as its variables say, or its
            processes have other versions.
    """
    if keras.backend.backend() != "jax":
        raise UserError(
            "Training on several devices needs JAX: set KERAS_BACKEND=jax before Keras is "
            f"imported. Received: {keras.backend.backend()}."
        )
    if keras.distribution.distribution() is not None:
        raise UserError("Training is on all devices already: call kf.distribute once.")
    import jax

    global _parting, _status
    _status = 0
    with contextlib.ExitStack() as parting:
        connected = _connect(parting)
        parting.push(_part_at)
        # In the order of their processes, each of which reads consecutive rows of a batch.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        names = [f"{device.platform}:{device.id}" for device in devices]
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        )
        if connected:
            require_same({"versions": versions()})
        _parting = parting.pop_all()
    return _parting


# What `distribute` returned, which its caller may not keep; the status of a process that fails.
_parting = contextlib.ExitStack()
_status = 0


def _connect(parting: contextlib.ExitStack) -> bool:
    """Join the processes of a cluster; return whether there are others."""
    import jax

    given = [os.environ.get(name) or None for name in NAMES]
    address, count, number = given
    stop = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as joining:
        joining.enter_context(aborts_told(GONE))
        try:
            if not jax.distributed.is_initialized():
                jax.distributed.initialize(
                    address and address.split(",")[0],
                    count and int(count),
                    number and int(number),
                    heartbeat_timeout_seconds=HEARTBEAT,
                )
        except (RuntimeError, ValueError) as error:
            # Of a cluster that JAX would find, the second process is refused the first one's run.
            late = "before any JAX" in str(error)
            if not any(given) and (late or "coordinator_address" in str(error)):
                return False
            reason = "JAX has computed already; begin with it." if late else first_line(error)
            raise UserError(
                f"Cannot join the processes of this training: {reason} {ADVICE}"
            ) from error
        if stop is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stop)  # which JAX has taken
        if jax.process_count() == 1:
            return False
        parting.push(joining.pop_all())
    atexit.register(_leave_if_failed, jax.process_index() == 0)
    return True


def _part_at(kind, error, trace) -> None:
    """End training together, where all have come to its end or an error ends this process."""
    global _status
    if error is None:
        part_ways()
        return
    keras.distribution.set_distribution(None)
    _status = status_of(error)
    import jax

    if jax.distributed.is_initialized() and not isinstance(
        error, (UserError, FloatingPointError, KeyboardInterrupt)
    ):
        # Where another process has died, what fails here says nothing, and JAX ends this one.
        time.sleep(HEARTBEAT + 5)


def part_ways() -> None:
    """End training together, once all processes have come here; each goes on by itself."""
    if keras.distribution.distribution() is None:
        return
    import jax

    largest(0)  # JAX gives those who are late five minutes; the chief may write for longer
    keras.distribution.set_distribution(None)
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def _leave_if_failed(chief: bool) -> None:
    """Leave alone, where all else is said; JAX would wait for the others for five minutes."""
    import jax

    failed = _status or getattr(sys, "last_value", None) is not None
    if jax.distributed.is_initialized() and failed:
        with contextlib.suppress(OSError, ValueError):  # a pipe that nobody reads
            sys.stdout.flush()
            sys.stderr.flush()
        if chief:  # without whom the others abort at once, and they may have something to say
            time.sleep(3)
        os._exit(_status or 1)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Keep what is made within on one device of this process."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def part() -> tuple[int, int]:
    """Return the number of this process, and how many train together."""
    if keras.distribution.distribution() is None or keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_chief() -> bool:
    """Whether this process is the one that writes and speaks."""
    return part()[0] == 0


def device_count() -> int:
    """Return how many devices share a batch."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def largest(*values: int) -> list[int]:
    """Return for each value the largest that any process gives; all processes must ask."""
    if part()[1] == 1:
        return list(values)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(values)).max(axis=0).tolist()


def gathered(value: Any) -> list:
    """Return what each process gives, plain values, in their order; all processes must ask."""
    if part()[1] == 1:
        return [value]
    from jax.experimental import multihost_utils

    data = np.frombuffer(json.dumps(value, default=str).encode(), np.uint8)
    padded = np.zeros(largest(len(data))[0], np.uint8)
    padded[: len(data)] = data
    sizes = multihost_utils.process_allgather(np.array(len(data)))
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes, strict=True)]


def require_same(facts: dict) -> None:
    """Compare facts of all processes, which must all ask.

    Raises:
        UserError: If one has others than the first, but for where it is and where it reads from.
    """
    first, *others = (dict(_flat(each)) for each in gathered(facts))
    for number, other in enumerate(others, 1):
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"Process {number} differs from process 0 in {name}: {other.get(name)!r}, not "
                    f"{first.get(name)!r}. All processes need the same versions of packages, the "
                    "same pictures and the same arguments."
                )


def _flat(facts: dict, within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name}.")
        elif name not in OWN:
            yield f"{within}{name}", value
