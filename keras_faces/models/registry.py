"""Which models there are, and what each is made of, without importing Keras.

Adding a model = one file named after it and one line in `MODELS`; the command line, the docs and
the contract test find it there.
"""

import importlib
import inspect
from collections import UserDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_faces.errors import UserError, unknown_name
from keras_faces.introspection import Documented, class_attribute, documented_class
from keras_faces.schema import Scalar

if TYPE_CHECKING:
    from keras_faces.models.base import FaceModel


class Models(UserDict):
    """The models' classes by name, imported when one is first asked for.

    All of them at once: Keras finds only classes that are imported in the files it loads. Until
    then `data` holds their names; each is in the file of the model's name.
    """

    def __getitem__(self, name: str) -> "type[FaceModel]":
        if isinstance(self.data[name], str):
            for known, found in self.data.items():
                if isinstance(found, str):
                    module = importlib.import_module(f"{__package__}.{known}")
                    self.data[known] = getattr(module, found)
        return self.data[name]

    def class_names(self) -> dict[str, str]:
        """Return the names of the classes by those of the models."""
        found = self.data.items()
        return {name: c if isinstance(c, str) else c.__name__ for name, c in found}

    def unloaded(self, name: str) -> "str | type[FaceModel]":
        """Return a class, or where it is not imported yet, its place as `module:NAME`."""
        found = self.data[name]
        return f"{__package__}.{name}:{found}" if isinstance(found, str) else found


MODELS = Models(
    {
        "autoencoder": "Autoencoder",
        "began": "BEGAN",
        "cvae": "CVAE",
        "cyclegan": "CycleGAN",
        "dcgan": "DCGAN",
        "dense_vae": "DenseVAE",
        "gan": "GAN",
        "vae": "VAE",
        "vaegan": "VAEGAN",
        "wgan": "WGAN",
    }
)


def list_models() -> list[str]:
    """Return the names of all models."""
    return sorted(MODELS)


def create_model(name: str, **hyperparameters_given) -> "FaceModel":
    """Create a model by name.

    Args:
        name: One of `list_models()`.
        **hyperparameters_given: Arguments of the model's class; also networks of your own in the
            place of the model's, such as `generator=network`.

    Raises:
        UserError: If there is no such model, or it has no such hyper-parameter or network.
    """
    check_hyperparameters(name, {k: v for k, v in hyperparameters_given.items() if k != "name"})
    return MODELS[name](**hyperparameters_given)


def documentation(name: str) -> Documented:
    """Return what a model is and what it says of its constructor's arguments, without `name`.

    Raises:
        UserError: If there is no such model.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    found = documented_class(MODELS.unloaded(name))
    parameters = {key: value for key, value in found.parameters.items() if key != "name"}
    return found._replace(parameters=parameters)


def hyperparameters(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a model's constructor, its own first, then those of every model.

    Raises:
        UserError: If there is no such model.
    """
    return documentation(name).parameters


def check_hyperparameters(name: str, given: Mapping[str, Any]) -> None:
    """Raise a `UserError` where a model has no such hyper-parameter.

    Args:
        name: One of `list_models()`.
        given: Hyper-parameters; what is no plain value is left to the model, which knows the names
            of its networks.
    """
    known = hyperparameters(name)
    for key, value in given.items():
        if key not in known and isinstance(value, Scalar):
            raise unknown_name(f"hyper-parameter of {name!r}", key, known)


def list_samplers() -> list[str]:
    """Return the names of all ways in which some model draws its latents."""
    places = [MODELS.unloaded(name) for name in MODELS]
    of_each = [
        class_attribute(place, "samplers") if isinstance(place, str) else place.samplers
        for place in places
    ]
    return list(dict.fromkeys(sampler for samplers in of_each for sampler in samplers))


def model_name(model: "FaceModel") -> str:
    """Return the name under which a model is registered."""
    for name, owner in MODELS.items():
        if type(model) is owner:
            return name
    raise UserError(
        f"{type(model).__name__} is not one of: {', '.join(list_models())}. To keep runs of a "
        "model of your own, add it to keras_faces.models.MODELS."
    )
