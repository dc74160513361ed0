"""Pictures while it learns."""

import numpy as np

from keras_faces.callbacks.base import RunCallback
from keras_faces.pictures import grid, pairs_grid, save_picture


class Grids(RunCallback):
    """Saves faces from the same latents as training goes on, and reconstructions.

    Pictures are made at steps 10, 20, 50, 100, 200, 500, ... or after every `every` epochs. They
    take nothing from the model's own randomness, so training is the same with and without them.

    Args:
        run: The run's folder.
        count: Faces in a grid.
        seed: Seed of the latents.
        every: Epochs between grids; None for steps 10, 20, 50, 100, ...
    """

    def __init__(self, run, count: int = 64, seed: int = 0, every: int | None = None):
        super().__init__(run)
        self.count, self.seed, self.every = count, seed, every

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.every is None and self.at_milestone:
            self.draw()

    def on_epoch_end(self, epoch, logs=None):
        if self.every is not None and (epoch + 1) % self.every == 0:
            self.draw()

    def draw(self) -> None:
        """Write one grid, and one of reconstructions where the model can encode."""
        self.model.sync()
        name = f"step-{self.step:08d}.png"
        # The prior: a density is fitted to the latents only after training.
        latents = self.model.draw_latents(self.count, self.seed, self.model.samplers[0])
        save_picture(grid(self.model.decode(latents)), self.run.grids / f"samples-{name}")
        stream = self.model.fit_plan.stream
        if self.model.has_encoder and stream is not None:
            originals = stream.sample(min(30, self.count), self.seed)
            copies = self.model.reconstruct(originals)
            save_picture(
                pairs_grid(originals, np.asarray(copies)),
                self.run.grids / f"reconstructions-{name}",
            )
