"""Networks of a user's own in the place of those that a model would build."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_faces import model_files
from keras_faces.errors import UserError, unknown_name

AVERAGE = "_average"  # ends the name of a network's average


class OwnNetworks:
    """The networks that a model is given, and the names of all that it builds.

    A model assigns what it builds by default, and gets in its place what was given, so that
    order and names, on which checkpoints and files depend, are the same.

    Args:
        owner: Name of the model's class.
        given: Networks by name, or their configs.
    """

    def __init__(self, owner: str, given: Mapping[str, Any]):
        self.owner = owner
        self.given = dict(given)
        self.names: list[str] = []
        self.building = False

    def placed(self, name: str, network: keras.Model) -> keras.Model:
        """Return what stands where a model assigns a network.

        Raises:
            UserError: If a network is assigned that the model would not know again, or what was
                given in its place does not fit.
        """
        if not self.building:
            if name not in self.names:
                return network
            raise UserError(
                f"A {self.owner} is built of its networks, so {name!r} cannot be assigned. Give "
                f"it when you make the model: kf.create_model(..., {name}=network)"
            )
        self.names.append(name)
        if name not in self.given:
            return network
        own = self.given[name]
        is_config = isinstance(own, dict)
        if is_config:
            own = self.given[name] = _built(name, own)
        _require_like(name, own, network)
        if not is_config:
            _require_reloadable(name, own)
        return own

    def require_used(self) -> None:
        """Raise a `UserError` where a network was given that the model does not have."""
        for name in self.given:
            if name not in self.names:
                raise unknown_name(f"network of {self.owner}", name, self.names)

    def config(self) -> dict[str, dict]:
        """Return what rebuilds the networks that were given, without their weights."""
        return {name: _config(network) for name, network in self.given.items()}


def is_network(value) -> bool:
    """Return whether a value is a network, or the config of one."""
    return isinstance(value, keras.Model) or model_files.is_network(value)


def _config(network: keras.Model) -> dict:
    config = keras.saving.serialize_keras_object(network)
    config.pop("compile_config", None)  # it learns as a part of the model, not by itself
    return config


def _built(name: str, config: dict) -> keras.Model:
    network = model_files.built_network(config)
    if not isinstance(network, keras.Model):
        raise UserError(f"{name} must be a network. Received: a {type(network).__name__}.")
    return network


def _require_like(name: str, own: keras.Model, default: keras.Model) -> None:
    """Raise a `UserError` where a network cannot stand in the place of a model's."""
    if not getattr(own, "inputs", None):
        raise UserError(
            f"{name} must say what it takes: be a keras.Sequential that begins with keras.Input("
            f"{tuple(default.inputs[0].shape[1:])}), or a functional keras.Model. Received: "
            f"{type(own).__name__}."
        )
    expected, received = _shapes(default), _shapes(own)
    if expected != received:
        raise UserError(
            f"{name} must map {_told(*expected)}, as this model's own does. Received one that maps "
            f"{_told(*received)}."
        )


def _require_reloadable(name: str, own: keras.Model) -> None:
    """Raise a `UserError` where a network would be lost, or another, once it is saved."""
    try:
        config = _config(own)
        again = [tuple(variable.shape) for variable in model_files.built_network(config).variables]
    except Exception as error:  # a layer that cannot be made again raises anything
        raise UserError(
            f"{name} could not be loaded again once it is saved: {str(error).splitlines()[0]} "
            "Register layers of your own by @keras.saving.register_keras_serializable(), and give "
            "them a get_config."
        ) from error
    if again != [tuple(variable.shape) for variable in own.variables]:
        raise UserError(
            f"{name} would have other weights once it is saved and loaded: the get_config of one "
            "of its layers does not say all that it was made with."
        )


def _shapes(network: keras.Model) -> tuple[list, list]:
    """Return the shapes of what goes in and comes out, of features beside it the rank alone."""
    first, *features = (tensor.shape[1:] for tensor in network.outputs)
    outputs = [tuple(first), *((None,) * len(shape) for shape in features)]
    return [tuple(tensor.shape[1:]) for tensor in network.inputs], outputs


def _told(inputs: list, outputs: list) -> str:
    return f"{' and '.join(map(str, inputs))} to {' and '.join(map(str, outputs))}"
