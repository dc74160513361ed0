"""Models for others: a SavedModel that TensorFlow serves without keras_faces."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np

from keras_faces.errors import UserError


def saved_model(model, path: str | os.PathLike) -> Path:
    """Write a SavedModel with one named signature for each thing the model does.

    - `generate` (also the default): standard normal `noise` of shape `(count, latent_dim)` to
      faces, through the model's default sampler;
    - `decode`: `latents` of shape `(count, latent_dim)` to faces;
    - `encode` and `reconstruct`, where there is an encoder: `faces` to latents, or to faces;
    - what else the model's `signatures` lists: a conditional model takes `conditions` as well, one
      that translates serves that.

    Faces are float32 NHWC in [-1, 1], of any count. The written file is loaded again and compared
    with the model.

    Args:
        model: A `FaceModel`.
        path: Folder to write; one that exists is replaced when the new one is whole.

    Returns:
        The folder.

    Raises:
        UserError: If TensorFlow is not installed, or the served output is not the model's.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            "A SavedModel needs TensorFlow. Install it with: pip install tensorflow"
        ) from error
    path = Path(path)
    if path.exists() and not (path / "saved_model.pb").is_file() and not _is_empty(path):
        raise UserError(
            f"{str(path)!r} exists and is not a SavedModel, so it is not replaced. Choose another "
            "folder."
        )
    signatures = model.signatures()
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (inputs, function) in [
        *signatures.items(),
        ("serving_default", next(iter(signatures.values()))),
    ]:
        specs = [
            keras.InputSpec(shape=(None, *shape), dtype="float32", name=argument)
            for argument, shape in inputs.items()
        ]
        archive.add_endpoint(name, function, specs)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        archive.write_out(str(part), verbose=False)
        difference = _difference(tf.saved_model.load(str(part)), signatures)
        if not difference < 1e-4:
            raise UserError(
                f"The SavedModel's faces differ from the model's by {difference:.2g}, so it was "
                "not kept."
            )
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _difference(served, signatures: dict) -> float:
    """Return the largest difference between what is served by default and the model's own."""
    inputs, function = next(iter(signatures.values()))
    rng = np.random.default_rng(0)
    given = {
        name: np.clip(rng.standard_normal((4, *shape), np.float32), -1, 1)
        for name, shape in inputs.items()
    }
    ours = np.asarray(function(*(keras.ops.convert_to_tensor(value) for value in given.values())))
    theirs = np.asarray(served.signatures["serving_default"](**given)["output_0"])
    return float(np.abs(ours - theirs).max())
