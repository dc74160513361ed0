"""Stops training that has gone wrong, and says in words what looks wrong."""

import math
import warnings

import numpy as np

from keras_faces.callbacks.base import RunCallback
from keras_faces.metrics.diversity import mean_pair_difference
from keras_faces.training.devices import is_chief


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite; the message names step, player and term."""


class TrainingWarning(UserWarning):
    """Training runs, but something looks wrong."""


class Guard(RunCallback):
    """Stops at the first loss that is not finite and warns of collapse.

    At steps 500, 1000, 2000, 5000, ... it looks at a few generated faces and at the means of the
    losses and measures, and warns in words: of samples that are all alike, and of whatever the
    model's own `warnings` knows. Looking changes nothing in training.

    Args:
        run: The run's folder.
        alike: Samples whose mean pixel difference is below this share of the training faces' are
            called alike.
        patience: Steps before it looks for the first time: samples of a young model are alike.
    """

    def __init__(self, run, alike: float = 0.15, patience: int = 500):
        super().__init__(run)
        self.alike, self.patience = alike, patience

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        # Logs are means since the epoch began: one bad step makes them bad from there on.
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLoss(self._explain(bad))
        if self.at_milestone and self.step >= self.patience and is_chief():
            self.look(logs or {})

    def _explain(self, bad: list[str]) -> str:
        terms = [
            f"player {player.name!r}, term {term!r}"
            for player in self.model.players
            for term in player.terms
            if f"{player.name}_{term}" in bad
            or (len(player.terms) == 1 and f"{player.name}_loss" in bad)
        ]
        return (
            f"The loss is not finite at step {self.step} (epoch {self.epoch + 1}): "
            f"{'; '.join(terms) or ', '.join(bad)}. Training stopped; the last good checkpoint is "
            "kept. Try a lower learning rate, or float32 if this was bfloat16."
        )

    def look(self, logs) -> None:
        """Warn of what looks wrong now."""
        stream = self.model.fit_plan.stream
        if stream is None:
            return
        with self.model.alone() as model:
            faces, real = stream.sample(100), model.originals(100, 0, stream)
            found = model.warnings(faces, logs)
            samples = model.samples(64, 0, model.samplers[0], stream)
        if not np.isfinite(samples).all():
            found.append("The generated faces hold values that are not finite.")
        elif saturated(samples) > saturated(real) + 0.25:
            found.append(
                f"Saturated generator: {saturated(samples):.0%} of its samples' values are black "
                f"or white, of the training faces' {saturated(real):.0%}, and from there a tanh "
                "lets no gradient back. Start again with a lower learning rate or another seed; "
                "a vaegan with discriminator_norm='layer'."
            )
        elif len(real) > 1:
            share = mean_pair_difference(samples) / max(mean_pair_difference(real), 1e-9)
            if share < self.alike:
                found.append(
                    f"Collapsed generator: its samples differ from each other only {share:.0%} as "
                    "much as the training faces do. Try a lower learning rate, more faces, or an "
                    "earlier checkpoint."
                )
        for text in found:
            warnings.warn(f"Step {self.step}: {text}", TrainingWarning, stacklevel=2)


def saturated(faces: np.ndarray) -> float:
    """Return the share of values that are as good as black or white, of faces in [-1, 1]."""
    return float((np.abs(faces) > 0.95).mean())
