"""The whole state of training in one file that is either whole or not there.

A checkpoint is an uncompressed .npz of every variable: weights, batch statistics, averages,
random seeds, optimizers and running means, and a JSON text of the position in training. Its zip
directory stands at the end and every member has a checksum, so a file cut short or damaged is
recognised, and the one before it serves.
"""

import errno
import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_faces.errors import UserError
from keras_faces.files import write_whole

FORMAT = 1
KEEP = 2
NAME = re.compile(r"step-(\d{9})\.npz")


def save_checkpoint(folder: str | os.PathLike, model, position: Mapping) -> Path:
    """Write a checkpoint and remove all but the last `KEEP`.

    Args:
        folder: Folder of the checkpoints.
        model: A compiled `FaceModel`.
        position: Plain values that say where training stands; `"step"` names the file.

    Raises:
        UserError: If the disk is full or closed to us; earlier checkpoints stay.
        FloatingPointError: If a variable is not finite, which no checkpoint may keep.
    """
    model.sync()
    arrays = {name: np.asarray(variable.numpy()) for name, variable in _variables(model).items()}
    for name, array in arrays.items():
        if not np.isfinite(array.astype(np.float64)).all():
            raise FloatingPointError(
                f"A weight is not finite at step {position['step']} (variable {name}), so no "
                "checkpoint was written; the one before is kept. Try a lower learning rate."
            )
    header = {"format": FORMAT, "model": type(model).__name__, **position}
    arrays["header"] = np.array(json.dumps(header))
    data = io.BytesIO()
    np.savez(data, **arrays)
    path = Path(folder, f"step-{position['step']:09d}.npz")
    try:
        write_whole(path, data.getbuffer())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        kept = list_checkpoints(folder)
        raise UserError(
            f"Cannot write checkpoint {path}: {error.strerror} ({data.tell():,} bytes are needed). "
            + (f"The last good one is {kept[-1].name}. " if kept else "There is no earlier one. ")
            + "Make room and resume the run."
        ) from error
    for old in list_checkpoints(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    return sorted(path for path in Path(folder).glob("step-*.npz") if NAME.fullmatch(path.name))


def checkpoint_step(path: Path) -> int:
    """Return the step at which a checkpoint was written, from its name."""
    return int(NAME.fullmatch(path.name)[1])


def read_latest(folder: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]] | None:
    """Return position and variables of the last checkpoint that is whole, or None.

    A damaged one is passed over with a warning that names it.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            position = json.loads(str(arrays.pop("header")))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(
                f"Checkpoint {path.name} is damaged ({error}); using the one before it.",
                stacklevel=2,
            )
            continue
        if position["format"] > FORMAT:
            raise UserError(
                f"Checkpoint {path} has format {position['format']}, this version reads up to "
                f"{FORMAT}. Update keras_faces."
            )
        return position, arrays
    return None


def restore(model, arrays: Mapping[str, np.ndarray], metrics_too: bool = True) -> None:
    """Put a checkpoint's values into a compiled model.

    Args:
        model: A compiled `FaceModel` made like the one that was saved.
        arrays: What `read_latest` returned.
        metrics_too: Whether to restore running means as well.

    Raises:
        UserError: If the checkpoint belongs to another model.
    """
    variables = _variables(model)
    given = {name: array.shape for name, array in arrays.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    if given != expected:
        differing = sorted(set(given.items()) ^ set(expected.items()))
        raise UserError(
            f"The checkpoint does not fit this {type(model).__name__}: {len(differing)} variables "
            f"differ, the first is {differing[0][0]!r}. Was it made with other hyper-parameters "
            "or another version?"
        )
    for name, variable in variables.items():
        if metrics_too or not name.startswith("metric"):
            variable.assign(arrays[name])


def restore_metrics(model, arrays: Mapping[str, np.ndarray]) -> None:
    """Put back the running means of a broken epoch, which Keras resets when it begins one."""
    for name, variable in _variables(model).items():
        if name.startswith("metric"):
            variable.assign(arrays[name])


def _variables(model) -> dict:
    """Name every variable of training by its place: Keras's paths count layers of the process."""
    groups = {
        "model": model.variables,
        "optimizer": model.optimizer.variables,
        "metric": model.metrics_variables,
    }
    return {
        f"{group}/{number:04d}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }
