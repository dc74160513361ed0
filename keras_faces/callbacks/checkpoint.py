"""Keeps the state of training safe against everything but the loss of the disk."""

import signal
import sys
import threading
import time

from tqdm import tqdm

from keras_faces.callbacks.base import RunCallback
from keras_faces.checkpoints import restore_metrics, save_checkpoint
from keras_faces.errors import Interrupted, UserError
from keras_faces.saving import describe
from keras_faces.screen import quoted
from keras_faces.training.devices import is_chief, largest, part_ways


class Checkpoint(RunCallback):
    """Saves the whole state every minute, at the end, and before an interruption.

    A run that is resumed from any of its checkpoints ends like one that never stopped, bit for bit
    on a CPU. When checkpoints are written does not change what is learnt.

    Args:
        run: The run's folder.
        every_seconds: Seconds of training between checkpoints.
        position: Callable that returns further values to store with the position.
        resumed: Variables of the checkpoint that training goes on from, or None.
    """

    def __init__(self, run, every_seconds: float = 60.0, position=None, resumed=None):
        super().__init__(run)
        self.every_seconds = every_seconds
        self.position = position or dict
        self._resumed = resumed
        self._asked = None  # to stop: the number of the signal, of this process
        self._agreed = None  # of any process
        self._handlers = {}

    def on_train_begin(self, logs=None):
        self._saved_at = time.monotonic()
        self._saved_step = None
        if threading.current_thread() is threading.main_thread() and not self._handlers:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._ask)

    def _ask(self, number, frame):
        if self._asked is not None:  # asked twice: do not make an impatient user wait
            self.close()
            raise KeyboardInterrupt
        self._asked = number
        tqdm.write("Stopping after this step ...", file=sys.stderr)

    def close(self):
        """Give signals back to whom they belonged before training."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._resumed is not None:
            # Keras has just reset the running means of the epoch that goes on here.
            if self._first:
                restore_metrics(self.model, self._resumed)
            self._resumed = None
        elif self.step == 0 and not self.model.from_seed:
            self.save()  # nothing else knows what it began with

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self._agree()
        ends = self.steps_per_epoch and self.step % self.steps_per_epoch == 0
        if not ends and not self.model.stop_training:
            self._save_if_due()

    def on_epoch_end(self, epoch, logs=None):
        # A step that ends an epoch counts as done only now that its row and pictures are written.
        self._agree()
        self._save_if_due()

    def on_train_end(self, logs=None):
        self.close()
        self._agree()
        self.save()
        self._stop_if_asked()

    def _agree(self):
        """Let all processes stop after the same step: one that goes on would wait for the rest."""
        stop, asked = largest(bool(self.model.stop_training), self._asked or 0)
        self.model.stop_training, self._agreed = bool(stop), asked or None

    def _save_if_due(self):
        if self._agreed is not None or time.monotonic() - self._saved_at >= self.every_seconds:
            self.save()
        self._stop_if_asked()

    def _stop_if_asked(self):
        if self._agreed is not None:
            number, self._asked = self._agreed, None
            part_ways()
            raise Interrupted(
                f"Stopped at step {self.step}; everything is saved. Resume with: "
                f"keras-faces resume {quoted(self.run.folder)}",
                number,
            )

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        if self._saved_step == self.step or not self.steps_per_epoch or not is_chief():
            return
        epoch, step_in_epoch = divmod(self.step, self.steps_per_epoch)
        position = {"step": self.step, "epoch": epoch, "step_in_epoch": step_in_epoch}
        with self.writing():
            save_checkpoint(self.run.checkpoints, self.model, {**position, **self.position()})
        self._saved_step, self._saved_at = self.step, time.monotonic()


class Claim(RunCallback):
    """Takes an empty folder for a run: locks it and writes its `config.json`.

    Args:
        run: The run's folder.
        **config: What else the run is to remember.
    """

    def __init__(self, run, **config):
        super().__init__(run)
        self.config = config
        self._claimed = False

    def on_train_begin(self, logs=None):
        plan = self.model.fit_plan
        config = describe(self.model, plan.stream)
        self.run.lock()
        if self.run.exists and not self._claimed:
            raise UserError(
                f"{str(self.run.folder)!r} holds a run already. Resume it (keras-faces resume "
                f"{quoted(self.run.folder)}), or choose another folder."
            )
        epochs, steps = self.params["epochs"], plan.steps_per_epoch
        config |= {**self.config, "epochs": epochs, "steps_per_epoch": steps}
        self.run.write_config(config)
        self._claimed = True

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Let other processes in."""
        self.run.unlock()
