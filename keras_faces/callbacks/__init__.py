"""What happens while it learns: records, pictures, scores, guard, checkpoints."""

import os
from collections.abc import Sequence

from keras_faces.callbacks.checkpoint import Checkpoint, Claim
from keras_faces.callbacks.grids import Grids
from keras_faces.callbacks.guard import Guard, NonFiniteLoss, TrainingWarning
from keras_faces.callbacks.progress import Budget, Progress
from keras_faces.callbacks.records import Records
from keras_faces.callbacks.scores import Scores
from keras_faces.errors import UserError
from keras_faces.runs import Run
from keras_faces.training.devices import is_chief

__all__ = [
    "Budget",
    "Checkpoint",
    "Claim",
    "Grids",
    "Guard",
    "NonFiniteLoss",
    "Progress",
    "Records",
    "Scores",
    "TrainingWarning",
    "standard",
]


def standard(
    run: str | os.PathLike,
    grid_every: int | None = None,
    score_every: int | None = None,
    scale: int = 1,
    **scoring,
) -> list:
    """Return the callbacks that keep a run: everything `keras-faces train` records.

    Args:
        run: The run's folder, which must not hold a run yet.
        grid_every: Epochs between sample grids; None for steps 10, 20, 50, 100, ...
        score_every: Epochs between scores; None for none.
        scale: How many pixels wide and high each pixel of a grid is drawn.
        **scoring: Further arguments of `Scores`.

    Returns:
        A list for `model.fit(callbacks=...)`. The order matters: a row and its pictures are
        written before the checkpoint that counts them as done. Of several processes that train
        together, all stop together and the first alone writes.
    """
    run = Run(run)
    watching = recording(run, grid_every, score_every=score_every, scale=scale, **scoring)
    claim = [Claim(run, grid_every=grid_every, scale=scale)] if is_chief() else []
    return [*claim, *watching, Checkpoint(run)]


def recording(
    run: Run,
    grid_every: int | None = None,
    grid_epochs: Sequence[int] = (),
    score_every: int | None = None,
    scale: int = 1,
    **scoring,
) -> list:
    """Return the callbacks that watch and record, without those that keep the state.

    Of several processes the first does; the others stop where it does.
    """
    if not is_chief():
        return [Guard(run)]
    grids = Grids(run, every=grid_every, epochs=grid_epochs, scale=scale)
    found = [Guard(run), Records(run), grids]
    if score_every is not None:
        found.append(Scores(run, every=score_every, **scoring))
    elif scoring:
        raise UserError(
            f"How to score was given ({', '.join(scoring)}), but not how often: give score_every."
        )
    return found
