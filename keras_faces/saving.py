"""Trained models to and from files, and what a run's config says of them."""

import os
import sys
from pathlib import Path

import keras

from keras_faces import model_files
from keras_faces.checkpoints import read_latest, restore
from keras_faces.errors import UserError
from keras_faces.models import MODELS, create_model, model_name
from keras_faces.models.base import FaceModel
from keras_faces.process import versions
from keras_faces.runs import Config, Run, model_path
from keras_faces.screen import first_line
from keras_faces.training.networks import AVERAGE


def load_model(model: str | os.PathLike):
    """Load a model that is ready to generate.

    Args:
        model: A run folder, a `.keras` file, the name of a model in `saved_models/`, or
            `hf://USER/MODEL` on the Hugging Face Hub. If a run is not finished, its last
            checkpoint is loaded.

    Raises:
        UserError: If there is no such model or the file is not one of ours.
    """
    path = model_path(model)
    return _load_file(path) if path.is_file() else _load_run(Run(path))


def from_preset(preset: str | os.PathLike):
    """Load a model that is ready to generate; the same as `load_model`, under Keras Hub's name.

    Args:
        preset: Anything that `load_model` accepts, such as `"vae-orl-64"`.

    Raises:
        UserError: If there is no such model or the file is not one of ours.
    """
    return load_model(preset)


def build_model(config: dict):
    """Make the untrained, compiled model that a run's config describes."""
    model = create_model(config["model"], **config["hyperparameters"])
    model.compile(_built(config["optimizer"]), steps_per_execution=config["steps_per_execution"])
    return model


def _load_run(run: Run):
    config = run.config()
    if run.model_path.is_file():
        return _load_file(run.model_path)
    model = untrained_model(run, config)
    latest = read_latest(run.checkpoints, model)
    if latest is None:
        raise UserError(f"The run {str(run.folder)!r} holds no model and no checkpoint yet.")
    restore(model, latest[1])
    model.check_finite()
    return model


def begin_with(model, source: str | os.PathLike) -> list[str]:
    """Put the weights of a trained model's networks into an untrained one's; return what to say.

    Args:
        model: The untrained model.
        source: A run or model of the same class, as for `load_model`.

    Raises:
        UserError: If there is no such model, it is of another class, or nothing of it fits.
    """
    other = load_model(source)
    if type(other) is not type(model):
        raise UserError(
            f"init must be a {type(model).__name__}, like the model to train. {str(source)!r} "
            f"holds a {type(other).__name__}."
        )
    taken, left = 0, []
    for name, network in model.named_networks.items():
        base = name.removesuffix(AVERAGE)
        there = other.named_networks[base] if name == base else other.averaged(base)
        mine, given = _numbers(network), _numbers(there)
        fits = [m.shape == g.shape for m, g in zip(mine, given)] if len(mine) == len(given) else []
        for variable, value, fit in zip(mine, given, fits):
            if fit:
                variable.assign(value)
        taken += sum(fits)
        if not fits:
            left.append(f"all of {name}, which has {len(mine)} arrays of weights, not {len(given)}")
        elif not all(fits):
            wrong = [
                f"{m.shape} is not {g.shape}" for m, g in zip(mine, given) if m.shape != g.shape
            ]
            left.append(f"{len(wrong)} of {name}'s {len(mine)} ({wrong[0]})")
    if not taken:
        raise UserError(f"Nothing of {str(source)!r} fits: {'; '.join(left)}.")
    model.from_seed = False
    said = f"begins with the weights of {source}"
    return [f"{said}, but for {'; '.join(left)}" if left else said]


def _numbers(network) -> list:
    """Return the variables of a network but for those of seeds."""
    return [v for v in network.variables if "float" in keras.backend.standardize_dtype(v.dtype)]


def untrained_model(run: Run, config: Config):
    """Make the untrained, compiled model of a run.

    Args:
        run: The run.
        config: Its config.

    Raises:
        UserError: If no model can be made of it.
    """
    try:
        return build_model(config)
    except Exception as error:
        # The hyper-parameters are checked, an optimizer's config raises anything within Keras.
        raise UserError(
            f"No model can be made of {run.config_path}: {first_line(error)}"
        ) from error


def _load_file(path: Path):
    if path.suffix != ".keras":
        raise UserError(f"{str(path)!r} is not a .keras file.")
    try:
        with model_files.opened(path) as archive:
            model = _built(model_files.read_config(archive))
            if not isinstance(model, FaceModel):
                raise UserError(f"it holds a {type(model).__name__}, not a keras_faces model.")
            weights = model_files.read_weights(archive, 4 * model.count_params())
            keras.Model.load_weights(model, weights)
            model.check_finite()
    except Exception as error:
        # A damaged file raises anything from BadZipFile to TypeError within Keras.
        reason = first_line(error)
        raise UserError(f"Cannot load {str(path)!r}: {reason[:500]}") from error
    return model


def _built(config):
    """Return what a config of Keras describes, which may be one of our models."""
    list(MODELS.values())  # imported and so registered with Keras
    return model_files.built_model(config, FaceModel)


def save_model(model, path: str | os.PathLike) -> Path:
    """Write a `.keras` file so that a crash never leaves half of it."""
    path = Path(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.keras")
    try:
        model.save(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def describe(model, stream=None) -> dict:
    """Return what a run's config says of a model, its data and the machine."""
    return {
        "model": model_name(model),
        "hyperparameters": {
            name: value for name, value in model.get_config().items() if name != "name"
        },
        "optimizer": keras.saving.serialize_keras_object(model.optimizer),
        "steps_per_execution": model.steps_per_execution,
        "data": stream.facts if stream is not None else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": versions(),
    }
