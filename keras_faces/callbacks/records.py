"""The numbers of a run: `metrics.csv`, TensorBoard and the loss plot."""

import time

from keras_faces.callbacks.base import RunCallback
from keras_faces.pictures import plot_losses


class Records(RunCallback):
    """Writes the means of every epoch to `metrics.csv` and TensorBoard, and plots them.

    `metrics.csv` holds no times, so that equal runs write equal files.
    """

    def on_train_begin(self, logs=None):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if getattr(self, "_writer", None) is None:
            self.run.tensorboard.mkdir(parents=True, exist_ok=True)
            self._writer = EventFileWriter(str(self.run.tensorboard))
        self._rows = self.run.rows()
        self._plotted = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        row = {"epoch": epoch + 1, "step": self.step}
        row |= {name: float(logs[name]) for name in self.model.log_names if name in logs}
        row |= {
            f"{name}_learning_rate": float(optimizer.learning_rate)
            for name, optimizer in self.model.optimizer.by_player.items()
        }
        self._rows.append(row)
        self.run.add_row(row)
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in ("epoch", "step")
        ]
        self._writer.add_event(
            Event(step=self.step, wall_time=time.time(), summary=Summary(value=values))
        )
        self._writer.flush()
        if time.monotonic() - self._plotted > 60:
            self.plot()

    def on_train_end(self, logs=None):
        self._writer.flush()
        self.plot()

    def plot(self):
        """Draw `losses.png`."""
        if self._rows:
            plot_losses(self._rows, self.run.folder / "losses.png", self.run.folder.name)
        self._plotted = time.monotonic()
