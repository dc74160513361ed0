"""How far it is, and when to stop."""

import time

from tqdm import tqdm

from keras_faces.callbacks.base import RunCallback


class Progress(RunCallback):
    """One progress bar over the whole training, with rate, time left and losses.

    Args:
        run: The run's folder.
        steps: Steps at which training will end, or None where minutes decide.
        minutes: Minutes after which training will end, or None.
        spent: Seconds of training already done by earlier parts of this run.
    """

    def __init__(self, run, steps: int | None, minutes: float | None = None, spent: float = 0.0):
        super().__init__(run)
        self.steps, self.minutes, self.spent = steps, minutes, spent
        self._bar = None

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._bar is None:
            self._started, self._shown = time.monotonic(), 0.0
            timed = self.minutes is not None
            self._bar = tqdm(
                total=round(self.minutes * 60) if timed else self.steps,
                initial=round(self.spent) if timed else self.step,
                unit="s" if timed else "step",
                desc="Training",
                dynamic_ncols=True,
                mininterval=0.5,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
                if timed
                else None,
            )
            self._from = self.step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        now = time.monotonic()
        if now - self._shown < 0.5:
            return
        self._shown = now
        elapsed = self._move()
        plan = self.model.fit_plan
        rate = (self.step - self._from) * (plan.stream.batch_size if plan.stream else 1) / elapsed
        losses = ", ".join(
            f"{player.name} {logs[f'{player.name}_loss']:.4g}" for player in self.model.players
        )
        self._bar.set_postfix_str(
            f"epoch {self.epoch + 1}, {rate:.0f} {'images' if plan.stream else 'steps'}/s, {losses}"
        )

    def close(self):
        """End the bar where training stands."""
        if self._bar is not None:
            self._move()
            self._bar.close()
            self._bar = None

    def on_train_end(self, logs=None):
        if self.model.stop_training or (self.steps is not None and self.step >= self.steps):
            self.close()

    def _move(self):
        elapsed = time.monotonic() - self._started
        self._bar.n = (
            min(self._bar.total, round(self.spent + elapsed)) if self.minutes else self.step
        )
        return elapsed


class Budget(RunCallback):
    """Stops training after a number of steps or minutes.

    Args:
        run: The run's folder.
        steps: Steps since the beginning of training, or None.
        minutes: Minutes of training, or None.
        spent: Seconds of training already done by earlier parts of this run.
    """

    def __init__(
        self, run, steps: int | None = None, minutes: float | None = None, spent: float = 0.0
    ):
        super().__init__(run)
        self.steps, self.minutes, self.spent = steps, minutes, spent
        self._started = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier parts of the run included."""
        return self.spent + (time.monotonic() - self._started if self._started else 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.model.fit_plan.last_step = self.steps

    def on_train_batch_begin(self, batch, logs=None):
        if self._started is None:
            self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if (self.steps is not None and self.step >= self.steps) or (
            self.minutes is not None and self.seconds >= 60 * self.minutes
        ):
            self.model.stop_training = True
