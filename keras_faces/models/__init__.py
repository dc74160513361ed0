"""The models, one document's system a file.

Adding a model = one file here and one line in `MODELS`; the command line, the docs and the
contract test find it there.
"""

import inspect
from collections.abc import Mapping

from keras_faces.errors import UserError, unknown_name
from keras_faces.models.autoencoder import Autoencoder
from keras_faces.models.base import FaceModel
from keras_faces.models.began import BEGAN
from keras_faces.models.cvae import CVAE
from keras_faces.models.cyclegan import CycleGAN
from keras_faces.models.dcgan import DCGAN
from keras_faces.models.dense_vae import DenseVAE
from keras_faces.models.gan import GAN
from keras_faces.models.vae import VAE
from keras_faces.models.vaegan import VAEGAN
from keras_faces.models.wgan import WGAN

MODELS = {
    "autoencoder": Autoencoder,
    "began": BEGAN,
    "cvae": CVAE,
    "cyclegan": CycleGAN,
    "dcgan": DCGAN,
    "dense_vae": DenseVAE,
    "gan": GAN,
    "vae": VAE,
    "vaegan": VAEGAN,
    "wgan": WGAN,
}

__all__ = [
    "BEGAN",
    "CVAE",
    "DCGAN",
    "GAN",
    "MODELS",
    "VAE",
    "VAEGAN",
    "WGAN",
    "Autoencoder",
    "CycleGAN",
    "DenseVAE",
    "create_model",
    "hyperparameters",
    "list_models",
]


def list_models() -> list[str]:
    """Return the names of all models."""
    return sorted(MODELS)


def create_model(name: str, **hyperparameters_given) -> FaceModel:
    """Create a model by name.

    Args:
        name: One of `list_models()`.
        **hyperparameters_given: Arguments of the model's class.

    Raises:
        UserError: If there is no such model, or it has no such hyper-parameter.
    """
    known = hyperparameters(name)
    for given in hyperparameters_given:
        if given not in known and given != "name":
            raise unknown_name(f"hyper-parameter of {name!r}", given, known)
    return MODELS[name](**hyperparameters_given)


def hyperparameters(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a model's constructor, its own first, then those of every model.

    Raises:
        UserError: If there is no such model.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name].hyperparameters()


def model_name(model: FaceModel) -> str:
    """Return the name under which a model is registered."""
    for name, owner in MODELS.items():
        if type(model) is owner:
            return name
    raise UserError(
        f"{type(model).__name__} is not one of: {', '.join(list_models())}. To keep runs of a "
        "model of your own, add it to keras_faces.models.MODELS."
    )
