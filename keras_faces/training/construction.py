"""Models made of plain hyper-parameters: checked, within the memory, equal for equal seeds."""

import contextlib
import inspect
import random
import re
from collections.abc import Iterator, Mapping
from typing import Literal, get_args, get_origin

import keras

from keras_faces.errors import UserError, unknown_name
from keras_faces.schema import Seed, mismatch
from keras_faces.training.memory import counting, require_memory, within_memory
from keras_faces.training.networks import OwnNetworks, is_network

Dtype = Literal["float32", "mixed_bfloat16"]
DTYPES = get_args(Dtype)


class SeededModel(keras.Model):
    """Base class of models whose constructor's arguments say all that they are made of.

    A subclass keeps each argument as an attribute of the same name, and builds its networks within
    `building()`.

    Args:
        seed: Seed of the initial weights.
        dtype: One of `Dtype`; None for Keras's own policy, which is `"float32"` unless set.
        name: Name of the Keras model.
        **networks: Networks of your own, by name, in the place of those that the model builds.
    """

    def __init__(
        self, seed: int = 0, dtype: Dtype | None = None, name: str | None = None, **networks
    ):
        for given, value in networks.items():
            if not is_network(value):
                raise unknown_name(
                    f"hyper-parameter of {type(self).__name__}", given, self.hyperparameters()
                )
        if wrong := mismatch(seed, Seed, "seed"):
            raise UserError(f"{wrong}.")
        hint = "" if dtype else " It is Keras's policy: keras.config.set_dtype_policy(...)."
        dtype = dtype or keras.config.dtype_policy()
        policy = getattr(dtype, "name", dtype)
        if policy not in DTYPES:
            raise UserError(
                f"dtype must be one of {', '.join(DTYPES)}. Received: {policy!r}.{hint}"
            )
        super().__init__(dtype=dtype, name=name)
        self.seed = seed
        # Not as an attribute, whose networks Keras would take for others than those in use.
        vars(self)["_own"] = OwnNetworks(type(self).__name__, networks)
        # Whether the seed and the configs of its networks say all that its first weights are.
        self.from_seed = all(isinstance(network, dict) for network in networks.values())

    def __setattr__(self, name, value):
        own = vars(self).get("_own")
        if own is not None and isinstance(value, keras.Model):
            value = own.placed(name, value)
        super().__setattr__(name, value)

    @property
    def named_networks(self) -> dict[str, keras.Model]:
        """The networks by name, averages among them."""
        return {name: getattr(self, name) for name in self._own.names}

    @property
    def own_networks(self) -> tuple[str, ...]:
        """Names of the networks that were given, rather than built by the model."""
        return tuple(self._own.given)

    def __new__(cls, *args, **kwargs):
        # Whichever door a value came through: a call, a flag, a config, a `.keras` file.
        known = cls.hyperparameters()
        given = dict(zip(list(inspect.signature(cls.__init__).parameters)[1:], args)) | kwargs
        for name in known.keys() & given.keys() - {"dtype"}:
            form = known[name].annotation
            wrong = form is not inspect.Parameter.empty and mismatch(given[name], form, name)
            if wrong and get_origin(form) is Literal and isinstance(given[name], str):
                raise unknown_name(name, given[name], get_args(form))
            if wrong:
                raise UserError(f"{wrong}.")
        # Counting takes as long as building, which models of a usual size are spared.
        sizes = {n: given[n] for n in given if n in known and known[n].annotation is int}
        if not counting() and any(size > 4 * max(known[n].default, 1) for n, size in sizes.items()):
            require_memory(lambda: cls(*args, **kwargs), *cls._memory_arguments(sizes))
        return super().__new__(cls, *args, **kwargs)

    @classmethod
    def hyperparameters(cls) -> dict[str, inspect.Parameter]:
        """Return the parameters of the constructor, the class's own first, without `name`."""
        parameters: dict[str, inspect.Parameter] = {}
        owners = cls.__mro__[: cls.__mro__.index(SeededModel) + 1]
        for owner in (owner for owner in owners if "__init__" in vars(owner)):
            for parameter in inspect.signature(owner.__init__).parameters.values():
                various = parameter.kind is inspect.Parameter.VAR_KEYWORD
                if not various and parameter.name not in ("self", "name"):
                    parameters.setdefault(parameter.name, parameter)
        return parameters

    def get_config(self):
        values = {name: getattr(self, name) for name in self.hyperparameters() if name != "dtype"}
        named = {"dtype": self.dtype_policy.name, "name": self.name}
        return {**values, **self._own.config(), **named}

    @contextlib.contextmanager
    def building(self):
        """Build networks in this model's precision, with initial weights from its seed."""
        state, policy = random.getstate(), keras.config.dtype_policy()
        random.seed(self.seed)  # where Keras's initializers take their seeds from
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            with within_memory(*self._memory_arguments(self._sizes)):
                self._own.building = True
                yield
            name_layers(self)
        finally:
            self._own.building = False
            random.setstate(state)
            keras.config.set_dtype_policy(policy)
        self.built = True

    @property
    def _sizes(self) -> dict[str, int]:
        known = self.hyperparameters()
        return {n: getattr(self, n, 0) for n in known if known[n].annotation is int}

    @classmethod
    def _memory_arguments(cls, sizes: Mapping[str, int], copies: int = 3) -> tuple[str, str, int]:
        """Return the arguments of `within_memory`."""
        usual = {name: known.default for name, known in cls.hyperparameters().items()}
        no_sizes = ("seed", "decay_steps", "decay_after")
        large = [
            f"{name}={size} (usually {usual[name]})"
            for name, size in sizes.items()
            if name not in no_sizes and size > usual[name]
        ]
        advice = f"Choose less than {', '.join(large)}." if large else "Free some of it."
        # Three, as most optimizers are Adam, which keeps two moments of every weight.
        return f"The variables of this {cls.__name__}", advice, copies


def name_layers(model: keras.Model) -> None:
    """Number a model's layers as if it were the first that this process builds.

    Keras numbers the layers of a process, and TensorFlow's graph optimizer sums gradients in the
    order of names, "conv2d_10" before "conv2d_9": the second of two equal models would round
    otherwise than the first.
    """
    layers = {id(layer): layer for layer in _layers_within(model)}.values()  # some are shared
    numbers: dict[str, set[int]] = {}
    for layer in layers:
        prefix, number = _parts_of_name(layer)
        numbers.setdefault(prefix, set()).add(number)
    for layer in layers:
        prefix, number = _parts_of_name(layer)
        index = sorted(numbers[prefix]).index(number)
        layer.name = f"{prefix}_{index}" if index else prefix


def _layers_within(model) -> Iterator[keras.Layer]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers_within(layer)


def _parts_of_name(layer: keras.Layer) -> tuple[str, int]:
    prefix, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name).groups()
    return prefix, int(number or 0)
