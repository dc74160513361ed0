"""Model files from anybody: checked before Keras acts on what they say.

A `.keras` file is a zip archive of a text that says which classes to build, and of their weights as
HDF5. Keras trusts both further than we do: it finds most classes that it knows, a few of which read
or write files; and it reads through `zipfile`, which forgets its checksums as soon as one seeks.
"""

import contextlib
import copy
import functools
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from keras_faces.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = [CONFIG, "metadata.json", WEIGHTS]

# Where Keras has what networks are made of that computes with numbers alone; its other layers load
# Python, programs or files.
LAYERS = tuple(
    f"keras.src.{place}."
    for place in (
        "constraints",
        "dtype_policies.dtype_policy",
        "initializers",
        "layers.activations",
        "layers.attention",
        "layers.convolutional",
        "layers.core.dense",
        "layers.core.einsum_dense",
        "layers.core.embedding",
        "layers.core.identity",
        "layers.core.input_layer",
        "layers.core.masking",
        "layers.merging",
        "layers.normalization",
        "layers.pooling",
        "layers.preprocessing.image_preprocessing",
        "layers.preprocessing.normalization",
        "layers.preprocessing.rescaling",
        "layers.regularization",
        "layers.reshaping",
        "models.functional",
        "models.sequential",
        "ops",
        "regularizers",
    )
)
OPTIMIZERS = ("keras.src.optimizers.",)
# What Keras writes of values that are no objects of a class.
PLAIN = ("__keras_tensor__", "__slice__", "__ellipsis__")
NETWORKS = ("Sequential", "Functional")

# The texts of our models have 2 kB; the weights come with two or three moments of each.
LARGEST_TEXT = 1 << 20
WEIGHTS_FACTOR, WEIGHTS_MARGIN = 8, 1 << 24


class CheckedWeights(io.BytesIO):
    """The bytes of a file of weights, which Keras knows as such by its name alone."""

    def __str__(self) -> str:
        return WEIGHTS


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a `.keras` file whose members are those of every model, as large as they claim to be.

    Raises:
        UserError: If they are not.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = sorted(member.filename for member in members)
        if names != MEMBERS:
            raise UserError(
                f"it holds {', '.join(map(repr, names))[:200] or 'nothing'}, a model's file holds "
                f"{', '.join(MEMBERS)}."
            )
        for member in members:
            # Keras compresses nothing, so whatever unpacks to more than is there is no model.
            if member.compress_type != zipfile.ZIP_STORED or (
                member.file_size != member.compress_size
            ):
                raise UserError(f"its {member.filename} is compressed, which no model's is.")
        yield archive


def read_config(archive: zipfile.ZipFile) -> dict:
    """Return the text that says what to build, with the other text's checksum checked as well."""
    texts = {name: _read(archive, name, LARGEST_TEXT) for name in MEMBERS if name != WEIGHTS}
    return json.loads(texts[CONFIG])


def read_weights(source: zipfile.ZipFile | Path, expected: int) -> CheckedWeights:
    """Return weights that are whole and lie within their file.

    Args:
        source: A `.keras` file, also one that was opened, or a `.weights.h5` file, which has no
            checksums.
        expected: Size in bytes of the weights that they are for.

    Raises:
        UserError: If they are much larger, or are links or lie elsewhere.
    """
    if isinstance(source, Path) and source.suffix == ".keras":
        with opened(source) as archive:
            return read_weights(archive, expected)
    most = WEIGHTS_FACTOR * expected + WEIGHTS_MARGIN
    if isinstance(source, zipfile.ZipFile):
        weights = CheckedWeights(_read(source, WEIGHTS, most))
    elif not source.name.endswith(".weights.h5"):
        raise UserError("its name ends neither in .keras nor in .weights.h5.")
    else:
        _require_size(source.name, source.stat().st_size, most)
        weights = CheckedWeights(source.read_bytes())
    _check_hdf5(weights)
    weights.seek(0)
    return weights


def built_model(config: dict, model: type):
    """Return the model, or the optimizers, that a config of Keras describes.

    The configs of its networks, if some are given, are left to the model, which refuses those that
    do not fit into the memory.

    Args:
        config: What `keras.saving.serialize_keras_object` returned.
        model: Base class of models.

    Raises:
        UserError: If another class is named, or a function.
    """
    from keras import optimizers

    kinds = (model, optimizers.Optimizer, optimizers.schedules.LearningRateSchedule)
    checked = config
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        plain = {k: v for k, v in config["config"].items() if k == "dtype" or not is_network(v)}
        checked = {**config, "config": plain}
    _check_classes(checked, kinds, OPTIMIZERS)
    return _built(config)


def built_network(config: dict):
    """Return the network that a config of Keras describes.

    Args:
        config: What `keras.saving.serialize_keras_object` returned.

    Raises:
        UserError: If it has parts that do more than compute with numbers, or of an unknown class.
    """
    from keras import constraints, initializers, layers, regularizers

    kinds = (layers.Layer, initializers.Initializer, regularizers.Regularizer)
    _check_classes(config, (*kinds, constraints.Constraint), LAYERS)
    return _built(config)


def is_network(config) -> bool:
    """Return whether a part of a config is that of a network."""
    return isinstance(config, dict) and config.get("class_name") in NETWORKS


def _built(config: dict):
    """Build what was checked: the only place where the package builds of a config."""
    import keras

    # Keras puts what it builds into the config that it is given.
    return keras.saving.deserialize_keras_object(copy.deepcopy(config))


def _check_classes(config, kinds: tuple[type, ...], places: tuple[str, ...]):
    """Check every class that a config names before anything is made of it."""
    if isinstance(config, dict):
        if "class_name" in config and not _is_one_of(config, kinds, places):
            names = [config.get(key) for key in ("registered_name", "module", "class_name")]
            told = " / ".join(ascii(name)[:80] for name in names if name is not None)
            raise UserError(
                f"its config names {told or 'no class'}, and only models of keras_faces with "
                "optimizers of Keras, and in networks layers of Keras that neither run code nor "
                "read files, are loaded. (For a class of your own, import the file that registers "
                "it first.)"
            )
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for value in config:
            _check_classes(value, kinds, places)


def _is_one_of(config: dict, kinds: tuple[type, ...], places: tuple[str, ...]) -> bool:
    import keras

    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name", name)
    if not all(isinstance(text, str | None) for text in (name, module, registered)):
        return False
    if name in PLAIN:
        return places is LAYERS
    # In the order in which Keras looks for it.
    found = keras.saving.get_registered_object(registered)
    if found is None and name and registered in (None, name):
        found = _in_keras(module, name)
        fits = f"{getattr(found, '__module__', None)}.".startswith(places)
    else:
        fits = isinstance(found, type) and issubclass(found, kinds)
    # Keras takes some names, such as "__lambda__", for something else, whatever is registered.
    return fits and isinstance(found, type) and found.__name__ == name


def _in_keras(module: str | None, name: str):
    """Return what Keras has under a name of its own, or None."""
    import keras

    first, *rest = (module or "").split(".")
    if first != "keras":
        return None
    try:
        place = sys.modules.get(module) or functools.reduce(getattr, rest, keras)
    except AttributeError:
        return None
    return getattr(place, name, None)


def _read(archive, name, most):
    _require_size(name, archive.getinfo(name).file_size, most)
    with archive.open(name) as member:
        return member.read()  # whole, or zipfile does not check it


def _require_size(name, size, most):
    if size > most:
        raise UserError(f"its {name} has {size:,} bytes, and at most {most:,} are expected.")


def _check_hdf5(data: io.BytesIO) -> None:
    import h5py

    size = data.getbuffer().nbytes

    def elsewhere(name, item):
        if not isinstance(item, h5py.Dataset):
            return None
        created = item.id.get_create_plist()
        within = created.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        within = within and not created.get_external_count() and not item.dtype.hasobject
        return None if within and item.nbytes == item.id.get_storage_size() <= size else name

    with h5py.File(data, "r") as file:
        # Links first: these alone are met without being followed.
        found = file.id.links.visit(
            lambda name, info: None if info.type == h5py.h5l.TYPE_HARD else os.fsdecode(name),
            info=True,
        )
        found = found or file.visititems(elsewhere)
    if found:
        raise UserError(f"its weights {found[:100]!r} are not numbers that lie within the file.")
