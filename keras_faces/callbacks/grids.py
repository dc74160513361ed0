"""Pictures while it learns."""

from collections.abc import Sequence

from keras_faces.callbacks.base import RunCallback
from keras_faces.errors import require_scale, require_whole
from keras_faces.pictures import save_picture


class Grids(RunCallback):
    """Saves faces from the same latents as training goes on, and reconstructions.

    Pictures are made at steps 10, 20, 50, 100, 200, 500, ... or after every `every` epochs. They
    take nothing from the model's own randomness, so training is the same with and without them.
    TensorBoard shows them too.

    Args:
        run: The run's folder.
        count: Faces in a grid.
        seed: Seed of the latents.
        every: Epochs between grids; None for steps 10, 20, 50, 100, ...
        epochs: Epochs after which to draw as well, such as a document's.
        scale: How many pixels wide and high each pixel is drawn.
    """

    def __init__(
        self,
        run,
        count: int = 64,
        seed: int = 0,
        every: int | None = None,
        epochs: Sequence[int] = (),
        scale: int = 1,
    ):
        super().__init__(run)
        if every is not None:
            require_whole(every=every)
        require_scale(scale)
        self.count, self.seed, self.every, self.epochs = count, seed, every, set(epochs)
        self.scale = scale

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.every is None and self.at_milestone:
            self.draw()

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.epochs or (self.every is not None and (epoch + 1) % self.every == 0):
            self.draw()

    def draw(self) -> None:
        """Write one grid, and one of reconstructions where the model can encode."""
        stream = self.model.fit_plan.stream
        if stream is None and self.model.latent_dim is None:
            return  # it makes faces from faces, and has none to show
        with self.model.alone() as model:
            # The prior: a density is fitted to the latents only after training.
            pictures = model.gallery(self.count, self.seed, model.samplers[0], stream)
        for kind, picture in pictures.items():
            with self.writing():
                place = self.run.grids / f"{kind}-step-{self.step:08d}.png"
                save_picture(picture, place, self.scale)
                self.board.picture(self.step, kind, picture)
