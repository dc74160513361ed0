"""Figures of documents that are drawn of a trained model and its faces."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_faces.errors import UserError
from keras_faces.latent import attribute_change, encode_faces, plot_latents, project
from keras_faces.pictures import enlarged, grid, save_picture
from keras_faces.reports.networks import plot_networks
from keras_faces.reports.schema import Trained
from keras_faces.trained import TrainedModel

SMILING = "smiling"
STRENGTH = 2.0  # times the way from the mean of unsmiling faces to that of smiling ones
FACES, FRAMES = 4, 9
SHOWN = 384  # pixels at least, of a few faces


def draw_training_faces(one: Trained, path: Path) -> Path:
    """Draw three faces as training sees them."""
    return save_picture(enlarged(grid(_faces(one).sample(3, one.seed), columns=3), SHOWN), path)


def draw_latents(one: Trained, path: Path) -> Path:
    """Draw the first two latent dimensions of the faces."""
    model = TrainedModel(one.run.model_path).model
    points, axes = project(encode_faces(model, _faces(one), seed=one.seed).latents, "first")
    return plot_latents(points, path, "Latent space", axes)


def draw_smiles(one: Trained, path: Path) -> Path:
    """Draw unsmiling faces on their way to smiling, each in a row.

    Raises:
        UserError: If it is not known which faces smile.
    """
    model, stream = TrainedModel(one.run.model_path).model, _faces(one, "attributes")
    names = [name for name in stream.label_names if name.lower() == SMILING]
    if not names:
        raise UserError(
            f"Which faces smile is not known: there is no attribute {SMILING!r} among "
            f"{', '.join(stream.label_names)}. Give faces with it by --data, such as CelebA."
        )
    encoded = encode_faces(model, stream, seed=one.seed)
    change = attribute_change(model, encoded, names)
    latents = encoded.latents[encoded.labels_of(names[0]) == 0][:FACES]
    codes = [change.applied(latents, factor) for factor in np.linspace(0, STRENGTH, FRAMES)]
    rows = np.stack(codes, axis=1).reshape(-1, latents.shape[1])
    return save_picture(grid(model.decode(rows), FRAMES), path)


def draw_networks(one: Trained, path: Path) -> Path:
    """Draw the model's networks and what flows through them."""
    return plot_networks(TrainedModel(one.run.model_path).model, path, one.part.title)


DRAWINGS: dict[str, Callable[[Trained, Path], Path]] = {
    "training_faces": draw_training_faces,
    "latents": draw_latents,
    "smiles": draw_smiles,
    "networks": draw_networks,
}


def _faces(one: Trained, labels: str | None = None):
    return TrainedModel(one.run.model_path).faces(labels, one.data)
