"""The models that the page serves, each loaded once and used by one thread at a time."""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from keras_faces.data import labels_of
from keras_faces.errors import UserError, unknown_name
from keras_faces.models import MODELS
from keras_faces.runs import Run
from keras_faces.trained import FramedFace, TrainedModel
from keras_faces.trained.pictures import WAY_OUT

FOLDERS = ("saved_models", "runs")
MAX_BYTES = 25_000_000
MAX_PIXELS = 50_000_000

TICK = "If it shows nothing but a face, tick 'already cropped to the face'."

# A picture of 50 megapixels takes 600 MB on its way, so only one is decoded at a time.
decoding = threading.Lock()


def find_models(folders: Sequence[str | os.PathLike] = FOLDERS) -> list[str]:
    """Return the models in folders: runs with a model or a checkpoint, and `.keras` files.

    Those known to have an encoder come first.

    Args:
        folders: Where to look, not deeper than one level.

    Raises:
        UserError: If there is none.
    """
    found = []
    for folder in map(Path, folders):
        if folder.is_dir():
            found += [str(path) for path in sorted(folder.iterdir()) if _holds_model(path)]
    if not found:
        raise UserError(
            f"There is no model in {' or '.join(f'{folder}/' for folder in folders)} of this "
            "folder. Name one: keras-faces serve RUN; or train one: keras-faces train vae"
        )
    # The page opens with the first: one that can do most.
    return sorted(found, key=lambda path: not _encodes(Path(path)))


def _encodes(path: Path) -> bool:
    with contextlib.suppress(UserError):  # a damaged run is told of where it is opened
        return hasattr(MODELS.get(Run(path).config()["model"]), "latents_from_faces")
    return False


def _holds_model(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        trained = (path / "model.keras").is_file() or any((path / "checkpoints").glob("*"))
        return trained and ((path / "config.json").is_file() or (path / "model.keras").is_file())
    return path.is_file() and path.suffix == ".keras"


class ServedModels:
    """The models that are served.

    Args:
        runs: Run folders, `.keras` files, or names of models in `saved_models/`.

    Raises:
        UserError: If one is not there.
    """

    def __init__(self, runs: Sequence[str | os.PathLike]):
        self.models = {name: ServedModel(name) for name in dict.fromkeys(map(os.fspath, runs))}
        if not self.models:
            raise UserError("Give one model or more to serve. Received: none.")

    @property
    def names(self) -> list[str]:
        """Names of the models, as they were given."""
        return list(self.models)

    def __getitem__(self, name: str) -> "ServedModel":
        if name not in self.models:
            raise unknown_name("model on this page", str(name), self.models)
        return self.models[name]


class ServedModel(TrainedModel):
    """A trained model that takes pictures from strangers, one at a time.

    Args:
        run: A run folder, a `.keras` file, or the name of a model in `saved_models/`.

    Raises:
        UserError: If it is not there.
    """

    max_pixels = MAX_PIXELS

    def __init__(self, run: str):
        super().__init__(run)
        if not _holds_model(self.path):
            what = "neither a run nor a model" if self.path.exists() else "not there"
            raise UserError(
                f"{run!r} is {what}. Give a run folder made by 'keras-faces train', a .keras file, "
                "or the name of a model in saved_models/."
            )

    def face(self, data: bytes, already_cropped: bool = False) -> FramedFace:
        """Return the face of an uploaded picture as `TrainedModel.face` does."""
        if not data:
            raise UserError("This file is empty (0 bytes). Upload a picture.")
        if len(data) > MAX_BYTES:
            raise UserError(
                f"This file has {len(data) / 1e6:.1f} MB, more than the limit of "
                f"{MAX_BYTES // 10**6} MB. Upload a smaller picture."
            )
        try:
            with decoding:
                return super().face(data, already_cropped)
        except UserError as error:
            raise UserError(str(error).replace(WAY_OUT, TICK)) from error

    @property
    def attribute_names(self) -> list[str]:
        """Names of the attributes of the faces it learnt from.

        Raises:
            UserError: If there are none, or the faces cannot be opened.
        """
        return self.cached("attributes", lambda: labels_of(self.source, "attributes")[1])

    def describe(self) -> str:
        """Return in a line what the model is."""
        model = self.model
        kind = "grey" if model.channels == 1 else "colour"
        source = self.data_config.get("source")
        name = Path(str(source).partition("?")[0]).name or source
        learnt = f", learnt from {name}" if source else ""
        return f"{type(model).__name__}, {model.image_size}x{model.image_size}, {kind}{learnt}"
