"""A `.keras` file of what a model generates with, for keras_faces itself: small, and no run."""

import io
import zipfile
from pathlib import Path

import h5py
from keras import ops

from keras_faces import model_files
from keras_faces.export.signatures import Signature, largest_difference
from keras_faces.saving import load_model

FILE = "model.keras"


def keras_file(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float]:
    """Write `model.keras` without what only training needs, a third of a run's or less.

    Optimizers and `training_only` are left out, and where averages of the weights generate, these
    take the place of the weights. It generates, encodes, and can be scored, but training cannot go
    on from it.

    Returns:
        The largest difference between the reloaded file's output and the model's, by signature.
    """
    model.sync()
    small = type(model).from_config({**model.get_config(), **model.training_only})
    for variable, value in zip(small.variables, _kept(model, small), strict=True):
        variable.assign(value)
    small.save(folder / FILE)
    if weights == "float16":
        _halve(folder / FILE)
    served = load_model(folder / FILE).signatures()
    return {
        name: largest_difference(signature, _by_name(served[name][1]))
        for name, signature in signatures.items()
    }


def _kept(model, small) -> list:
    """Return the variables that a smaller model has too, averages in the place of the averaged."""
    averages = [model.averaged(name) for name in model.generating if model.ema]
    left_out = {id(variable) for network in averages for variable in network.variables}
    # Of the model's own, beside its networks'.
    there = {variable.path for variable in small.variables}
    own = (v for v in model.variables if v.path.startswith(f"{model.name}/"))
    left_out |= {id(variable) for variable in own if variable.path not in there}
    instead = {
        id(variable): average
        for name in model.generating
        for variable, average in zip(
            getattr(model, name).variables, model.averaged(name).variables, strict=True
        )
    }
    return [instead.get(id(v), v) for v in model.variables if id(v) not in left_out]


def _halve(path: Path) -> None:
    """Keep the weights of a `.keras` file as float16, which Keras reads as float32."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    halved = io.BytesIO()
    with (
        h5py.File(io.BytesIO(members[model_files.WEIGHTS])) as whole,
        h5py.File(halved, "w") as half,
    ):

        def copy(name, item):
            if not isinstance(item, h5py.Dataset):
                place = half.create_group(name)
            else:
                place = half.create_dataset(
                    name, data=item[()], dtype="float16" if item.dtype == "float32" else None
                )
            place.attrs.update(item.attrs)

        half.attrs.update(whole.attrs)
        whole.visititems(copy)
    members[model_files.WEIGHTS] = halved.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _by_name(function):
    def serve(given):
        tensors = [ops.convert_to_tensor(value) for value in given.values()]
        return ops.convert_to_numpy(function(*tensors))

    return serve
