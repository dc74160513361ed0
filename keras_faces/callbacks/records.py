"""The numbers of a run: `metrics.csv`, TensorBoard and the loss plot."""

import time

from keras_faces.callbacks.base import RunCallback
from keras_faces.pictures import plot_losses


class Records(RunCallback):
    """Writes the means of every epoch to `metrics.csv` and TensorBoard, and plots them.

    `metrics.csv` holds no times, so that equal runs write equal files; how many images a second
    were learnt from is told to TensorBoard alone.
    """

    def on_train_begin(self, logs=None):
        self._rows = self.run.rows()
        self._plotted = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._began, self._from = time.monotonic(), self.step

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "step": self.step}
        row |= {name: float(logs[name]) for name in self.model.trackers if name in logs}
        with self.model.alone() as model:
            row |= {
                f"{name}_learning_rate": float(optimizer.learning_rate)
                for name, optimizer in model.optimizer.by_player.items()
            }
        self._rows.append(row)
        with self.writing():
            self.run.metrics.add(row)
        values = {name: value for name, value in row.items() if name not in ("epoch", "step")}
        stream = self.model.fit_plan.stream
        if stream is not None:
            images = (self.step - self._from) * stream.batch_size
            values["images_per_second"] = images / (time.monotonic() - self._began)
        with self.writing():
            self.board.scalars(self.step, values)
        if time.monotonic() - self._plotted > 60:
            self.plot()

    def on_train_end(self, logs=None):
        self.plot()

    def plot(self):
        """Draw `losses.png`."""
        if self._rows:
            with self.writing():
                plot_losses(self._rows, self.run.folder / "losses.png", self.run.folder.name)
        self._plotted = time.monotonic()
