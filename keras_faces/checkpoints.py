"""The whole state of training in one file that is either whole or not there.

A checkpoint is an uncompressed .npz of every variable: weights, batch statistics, averages,
random seeds, optimizers and running means, and a JSON text of the position in training. Its zip
directory stands at the end and every member has a checksum, so a file cut short or damaged is
recognised, and the one before it serves. What somebody has crafted is never more than numbers: no
object is made of it, and no memory taken that the file itself does not fill.
"""

import errno
import io
import json
import math
import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import numpy as np

from keras_faces.errors import UserError
from keras_faces.files import write_whole
from keras_faces.schema import Count, Positive, Range, mismatch
from keras_faces.screen import first_line

FORMAT = 1
KEEP = 2
NAME = re.compile(r"step-(\d{9,18})\.npz", re.ASCII)
GROUPS = ("model", "optimizer", "metric")
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Position(TypedDict):
    """Where training stands."""

    format: Positive
    model: str
    step: Count
    epoch: NotRequired[Count]
    step_in_epoch: NotRequired[Count]
    seconds: NotRequired[Annotated[float, Range(0)]]


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
    arrays = {name: np.asarray(variable.numpy()) for name, variable in variables_of(model).items()}
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
    found = Path(folder).glob("step-*.npz")
    named = [path for path in found if NAME.fullmatch(path.name) and path.is_file()]
    return sorted(named, key=checkpoint_step)


def checkpoint_step(path: Path) -> int:
    """Return the step at which a checkpoint was written, from its name."""
    return int(NAME.fullmatch(path.name)[1])


def read_latest(
    folder: str | os.PathLike, model=None
) -> tuple[Position, dict[str, np.ndarray]] | None:
    """Return position and variables of the last checkpoint that is whole; None where none is.

    A damaged one is passed over with a warning that names it.

    Args:
        folder: Folder of the checkpoints.
        model: The compiled `FaceModel` that goes on from it, or None for any.

    Raises:
        UserError: If all are damaged, of a newer version, or of another model.
    """
    damaged, misfit = {}, None
    for path in reversed(list_checkpoints(folder)):
        try:
            position, arrays = _read(path)
        except UserError:
            raise
        except Exception as error:  # of a damaged zip: anything
            damaged[path.name] = first_line(error)
            continue
        wrong = None if model is None else _misfit(model, arrays)
        if wrong is None:
            for name, reason in damaged.items():
                warnings.warn(
                    f"Checkpoint {name} is damaged ({reason}); using the one before it.",
                    stacklevel=2,
                )
            return position, arrays
        damaged[path.name] = misfit = wrong  # unless none fits
    if misfit is not None:
        raise UserError(misfit)
    if damaged:
        told = "; ".join(f"{name} is damaged ({reason})" for name, reason in damaged.items())
        raise UserError(
            f"There is no whole checkpoint in {str(folder)!r}: {told}. Put back a copy of one, or "
            "delete that folder to begin anew."
        )
    return None


def _read(path: Path) -> tuple[Position, dict[str, np.ndarray]]:
    """Return what a checkpoint holds; raise anything where it is damaged.

    Nothing is believed before it is checked: no size that a header claims, and no member that was
    not read to its end, since only there `zipfile` compares its checksum.
    """
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a member is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members are larger than the file")
        arrays = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name} twice")
            arrays[name] = _array(name, file.read(member))
    position = json.loads(str(arrays.pop("header")))
    if wrong := mismatch(position, Position, "header"):
        raise ValueError(wrong)
    if position["format"] > FORMAT:
        raise UserError(
            f"Checkpoint {path} has format {position['format']}, this version reads up to "
            f"{FORMAT}. Update keras_faces."
        )
    if position["step"] != checkpoint_step(path):
        raise ValueError(f"it is of step {position['step']}")
    counts = Counter(name.partition("/")[0] for name in arrays)
    if arrays.keys() != {f"{group}/{n:04d}" for group in GROUPS for n in range(counts[group])}:
        raise ValueError("its variables are not numbered through")
    return position, arrays


def _array(name: str, data: bytes) -> np.ndarray:
    """Return the array of an .npy file's content, which it goes on living in."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in ("U" if name == "header" else "biuf"):
        raise ValueError(f"{name} holds {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{name} is not of shape {shape}")
    array = np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    return array


def restore(model, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a checkpoint's values into a compiled model.

    Args:
        model: A compiled `FaceModel` made like the one that was saved.
        arrays: What `read_latest` returned.

    Raises:
        UserError: If the checkpoint belongs to another model.
    """
    if wrong := _misfit(model, arrays):
        raise UserError(wrong)
    for name, variable in variables_of(model).items():
        variable.assign(arrays[name])


def _misfit(model, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return in words why variables are not those of a model; None where they are."""
    given = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    expected = {
        name: (tuple(variable.shape), str(variable.dtype))
        for name, variable in variables_of(model).items()
    }
    if given == expected:
        return None
    differing = sorted({name for name, _ in given.items() ^ expected.items()})
    return (
        f"The checkpoint does not fit this {type(model).__name__}: {len(differing)} variables "
        f"differ, the first is {differing[0]!r}. Was it made with other hyper-parameters "
        "or another version?"
    )


def restore_metrics(model, arrays: Mapping[str, np.ndarray]) -> None:
    """Put back the running means of a broken epoch, which Keras resets when it begins one."""
    for name, variable in variables_of(model).items():
        if name.startswith("metric"):
            variable.assign(arrays[name])


def variables_of(model) -> dict:
    """Name every variable of training by its place: Keras's paths count layers of the process."""
    groups = (model.variables, model.optimizer.variables, model.metrics_variables)
    return {
        f"{group}/{number:04d}": variable
        for group, variables in zip(GROUPS, groups, strict=True)
        for number, variable in enumerate(variables)
    }
