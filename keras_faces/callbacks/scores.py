"""Scores while it learns, and the best model by one of them."""

import math
from collections.abc import Sequence

from keras_faces.callbacks.base import RunCallback
from keras_faces.errors import UserError, require_whole
from keras_faces.files import write_whole
from keras_faces.metrics.faces import require
from keras_faces.metrics.inception import InceptionFeatures
from keras_faces.metrics.scores import CHEAP_SCORES, SCORES, as_list, better, resolve_scores, score
from keras_faces.saving import save_model
from keras_faces.schema import as_json
from keras_faces.training.devices import apart


class Scores(RunCallback):
    """Scores samples every few epochs: `scores.csv`, TensorBoard, and the best model so far.

    Samples come from the prior, always from the same latents, and nothing is taken from the
    model's own randomness, so training is the same with and without scores. `best.keras` is the
    model that had the best score, `best.json` says when; `model.keras` is always the last.

    Args:
        run: The run's folder.
        every: Epochs between scores.
        scores: Keys of `kf.metrics.SCORES`, or one; None takes those that are quick.
        count: Samples to score.
        seed: Seed of the samples.
        best: The score by which `best.keras` is chosen, or None to keep none.

    Raises:
        UserError: If a score is unknown, the one to choose by is not computed, a number is too
            small, or what is asked for by name needs what is not installed; when training begins,
            if Inception's weights are needed and are not here.
    """

    def __init__(
        self,
        run,
        every: int = 1,
        scores: str | Sequence[str] | None = None,
        count: int = 256,
        seed: int = 0,
        best: str | None = None,
    ):
        super().__init__(run)
        require_whole(every=every)
        require_whole(minimum=2, count=count)
        require_whole(minimum=0, seed=seed)
        self.every, self.count, self.seed, self.best = every, count, seed, best
        self.names = resolve_scores(CHEAP_SCORES if scores is None else scores)
        self._inception = None
        if best is not None and best not in self.names:
            raise UserError(
                f"The best model is chosen by a score that is computed. Received: {best!r}; "
                f"computed are: {', '.join(self.names)}."
            )
        asked_for = [*as_list(scores), *as_list(best)]
        for need in {SCORES[name].features for name in asked_for}:
            require(need)

    def on_train_begin(self, logs=None):
        if self._inception is None and any(SCORES[n].features == "inception" for n in self.names):
            with apart():
                self._inception = InceptionFeatures()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self.measure()

    def measure(self) -> None:
        """Score now."""
        stream = self.model.fit_plan.stream
        if stream is None:
            raise UserError("Scores need the real faces: train on faces from kf.data.load.")
        with self.model.alone() as model:
            self._measure(model, stream)

    def _measure(self, model, stream) -> None:
        sampler = model.samplers[0]
        result = score(model, stream, self.count, self.seed, [sampler], self.names, self._inception)
        records = result["rows"][sampler]
        values = {}
        for name in self.names:
            record = records.get(name, {"value": None, "std": None})
            # A float, as it is read from the file.
            values[name] = math.nan if record["value"] is None else float(record["value"])
            if record["std"] is not None:
                values[f"{name}_std"] = record["std"]
        earlier = self.run.score_rows.rows()
        with self.writing():
            self.run.score_rows.add({"epoch": self.epoch + 1, "step": self.step, **values})
            self.board.scalars(self.step, {f"score_{name}": v for name, v in values.items()})
            if self.best is not None:
                self._keep_if_best(model, result, sampler, earlier)

    def _keep_if_best(self, model, result: dict, sampler: str, earlier: list[dict]) -> None:
        value = result["rows"][sampler][self.best]["value"]
        real = result["rows"]["real"][self.best]["value"]
        if value is None or (real is None and SCORES[self.best].better == "real"):
            return  # nothing to choose by
        # All earlier ones, not the kept one: that is gone where a killed run goes on from before.
        known = [None if math.isnan(row[self.best]) else row[self.best] for row in earlier]
        if not all(better(self.best, value, other, real) for other in known):
            return
        save_model(model, self.run.best_path)
        facts = {
            "score": self.best,
            "value": value,
            "real": real,
            "sampler": sampler,
            "step": self.step,
            "epoch": self.epoch + 1,
            "protocol": result["protocol"],
        }
        write_whole(self.run.best_score_path, as_json(facts))
