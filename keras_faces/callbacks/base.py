"""What our callbacks share: where training stands, and the run they write to."""

import io
import time
from collections.abc import Mapping

import keras
from PIL import Image

from keras_faces.runs import Run


class RunCallback(keras.callbacks.Callback):
    """A callback that knows the run's folder and counts steps from the beginning of training.

    Args:
        run: The run's folder.
    """

    def __init__(self, run):
        super().__init__()
        self.run = run if isinstance(run, Run) else Run(run)
        self.epoch = 0  # whole epochs done before this one
        self.step = 0  # steps done since the beginning of training

    @property
    def board(self) -> "TensorBoardWriter":
        """Where TensorBoard's logs go."""
        if self.run.board is None:
            self.run.board = TensorBoardWriter(self.run)
        return self.run.board

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        plan = self.model.fit_plan
        self._first = plan.first_step
        self.steps_per_epoch = plan.steps_per_epoch or self.params.get("steps")
        # Where only Keras knows the length of an epoch, its first is counted.
        if self.steps_per_epoch:
            self.step = epoch * self.steps_per_epoch + self._first

    def on_train_batch_end(self, batch, logs=None):
        self.previous_step = self.step
        if self.model.fit_plan.step is not None:
            self.step = self.model.fit_plan.step
        elif self.steps_per_epoch:
            self.step = self.epoch * self.steps_per_epoch + self._first + batch + 1
        else:
            self.step += 1

    def writing(self):
        """Say what is lost where the run's folder is gone or cannot be written; a `with` block."""
        return self.run.writing(f"what was learnt up to step {self.step}")

    @property
    def at_milestone(self) -> bool:
        """Whether this step is one at which to look closely."""
        return milestone(self.previous_step, self.step)


class TensorBoardWriter:
    """Writes numbers and pictures to a run's TensorBoard logs.

    Args:
        run: The run.
    """

    def __init__(self, run: Run):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        run.tensorboard.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(run.tensorboard))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by name."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, [Summary.Value(tag=n, simple_value=v) for n, v in values.items()])

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """Write a picture."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        data = io.BytesIO()
        image.save(data, "PNG")
        channels = len(image.getbands())
        shown = Summary.Image(
            height=image.height,
            width=image.width,
            colorspace=channels,
            encoded_image_string=data.getvalue(),
        )
        self._add(step, [Summary.Value(tag=name, image=shown)])

    def _add(self, step: int, values: list) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._writer.add_event(
            Event(step=step, wall_time=time.time(), summary=Summary(value=values))
        )
        self._writer.flush()


def milestone(before: int, now: int) -> bool:
    """Whether one of the steps 10, 20, 50, 100, 200, 500, ... was passed on the way to `now`."""
    unit = 10
    while unit <= now:
        if any(before < unit * factor <= now for factor in (1, 2, 5)):
            return True
        unit *= 10
    return False
