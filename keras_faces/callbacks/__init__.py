"""What happens while it learns: records, pictures, guard, checkpoints."""

import os
from collections.abc import Sequence

from keras_faces.callbacks.checkpoint import Checkpoint, Claim
from keras_faces.callbacks.grids import Grids
from keras_faces.callbacks.guard import Guard, NonFiniteLoss, TrainingWarning
from keras_faces.callbacks.progress import Budget, Progress
from keras_faces.callbacks.records import Records

__all__ = [
    "Budget",
    "Checkpoint",
    "Claim",
    "Grids",
    "Guard",
    "NonFiniteLoss",
    "Progress",
    "Records",
    "TrainingWarning",
    "standard",
]


def standard(run: str | os.PathLike, grid_every: int | None = None) -> list:
    """Return the callbacks that keep a run: everything `keras-faces train` records.

    Args:
        run: The run's folder, which must not hold a run yet.
        grid_every: Epochs between sample grids; None for steps 10, 20, 50, 100, ...

    Returns:
        A list for `model.fit(callbacks=...)`. The order matters: a row and its pictures are
        written before the checkpoint that counts them as done.
    """
    return [Claim(run, grid_every=grid_every), *recording(run, grid_every), Checkpoint(run)]


def recording(
    run: str | os.PathLike, grid_every: int | None = None, grid_epochs: Sequence[int] = ()
) -> list:
    """Return the callbacks that watch and record, without those that keep the state."""
    return [Guard(run), Records(run), Grids(run, every=grid_every, epochs=grid_epochs)]
