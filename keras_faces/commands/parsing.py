"""Commands made of functions: flags of their signatures, help of their docstrings.

A parameter without a default is a word of its own on the command line, or a flag that must be given
where it is keyword-only; a positional-only one is a word that may be left out; all others are
flags. Underscores become dashes, and one at the end, which keeps clear of Python's own words, is
left out. A parameter whose type is a dataclass stands for its fields.
"""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from keras_faces.commands.arguments import Argument
from keras_faces.commands.configs import read_config, without_records
from keras_faces.errors import UserError, unknown_name
from keras_faces.introspection import documented, documented_class
from keras_faces.models import MODELS, documentation

# Hyper-parameters whose default depends on the faces, or is None for a value of its own.
OTHER_DEFAULTS = {"channels": "as the pictures", "conditions": "as the labels", "dtype": "float32"}

# Of these, one given on the command line takes the place of another in a config.
ALTERNATIVES = ({"epochs", "steps", "minutes"}, {"manifold", "separability"})


class Fields:
    """The fields of a dataclass that is not imported: annotates `**arguments` of a command.

    A field `hyperparameters` stands for those of the model that is given.

    Args:
        place: The dataclass as `module:NAME`.
        **kinds: Types of fields, instead of the dataclass's own.
    """

    def __init__(self, place: str, **kinds: Any):
        self.place = place
        self.kinds = kinds


def without_keras(unless: Callable[..., bool] | None = None) -> Callable:
    """Mark a command that does without Keras, whose import takes seconds.

    Args:
        unless: Called with the command's arguments, says whether it needs Keras all the same.
    """

    def mark(function: Callable) -> Callable:
        function.needs_keras = unless or (lambda *args, **kwargs: False)
        return function

    return mark


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`s."""

    def error(self, message: str):
        """Raise what argparse has to say."""
        raise UserError(f"{message}. See: {self.prog} --help")


class Command:
    """A function as a command.

    Args:
        name: What it is called by, such as `"data check"`.
        function: The function.
    """

    def __init__(self, name: str, function: Callable):
        self.name = name
        self.function = function
        self.summary, given, self.descriptions = documented(function)
        self.parameters: dict[str, inspect.Parameter] = {}
        self.groups: dict[str, tuple[type, Iterable[str]]] = {}
        for parameter in given.values():
            self._take(parameter)
        self.takes_hyperparameters = self.parameters.pop("hyperparameters", None) is not None

    def _take(self, parameter: inspect.Parameter) -> None:
        kinds, owner = {}, parameter.annotation
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            fields = owner.__metadata__[0]
            kinds, owner = fields.kinds, fields.place
        elif not dataclasses.is_dataclass(owner):
            self.parameters[parameter.name] = parameter
            return
        _, fields, descriptions = documented_class(owner)
        for name, field in fields.items():
            annotation = kinds.get(name, field.annotation)
            flag = field.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY)
            self.parameters.setdefault(name, flag)
        self.descriptions = {**descriptions, **self.descriptions}
        if isinstance(owner, type):
            self.groups[parameter.name] = owner, fields

    def needs_keras(self, positional: Sequence, named: Mapping[str, Any]) -> bool:
        """Return whether Keras is to be imported before it is called."""
        needs = getattr(self.function, "needs_keras", None)
        return needs is None or needs(*positional, **named)

    def arguments(self, model: str | None = None) -> dict[str, Argument]:
        """Return the arguments by their names, those of a model behind the function's own."""
        said = self.descriptions
        own = {name: Argument(p, said.get(name, "")) for name, p in self.parameters.items()}
        return own | self._of_model(model) if model else own

    def _of_model(self, model: str) -> dict[str, Argument]:
        _, parameters, descriptions = documentation(model)
        found = {}
        for name, parameter in parameters.items():
            if name not in self.parameters:
                told = parameter.replace(default=OTHER_DEFAULTS.get(name, parameter.default))
                found[name] = Argument(told, descriptions.get(name, ""), of_model=True)
        return found

    def parser(self, model: str | None = None, into: Parser | None = None) -> Parser:
        """Return a parser of the words behind the command's name.

        Args:
            model: The model whose hyper-parameters are flags as well.
            into: A parser to add them to, for completion in shells, instead of a new one.
        """
        name = f"{self.name} {model}" if model else self.name
        parser = into or Parser(
            prog=f"keras-faces {name}", description=self.summary, allow_abbrev=False
        )
        if self.takes_hyperparameters and not model:
            parser.epilog = f"Each MODEL has flags of its own: keras-faces {self.name} MODEL --help"
        group, listed = parser, {}
        for key, argument in self.arguments(model).items():
            if key not in self.parameters and group is parser:
                group = parser.add_argument_group(f"hyper-parameters of {model}")
            added = argument.add_to(group, listed)
            if into:
                added.choices = argument.choices or None
        parser.add_argument(
            "--config",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="take arguments from this YAML, TOML or JSON file; flags given here override it",
        )
        return parser

    def parse(self, words: Sequence[str]) -> tuple[list, dict[str, Any]]:
        """Return what the function is called with, by position and by name.

        Args:
            words: The words behind the command's name.

        Raises:
            UserError: If a word, or what a config says, cannot be meant.
        """
        model = self._model(words) if self.takes_hyperparameters else None
        known = self.arguments(model)
        parser = self.parser(model)
        name = parser.prog.removeprefix("keras-faces ")
        found, unknown = parser.parse_known_args(words)
        for word in unknown:
            if word.startswith("--"):
                flags = {flag for action in parser._actions for flag in action.option_strings}
                raise unknown_name(f"flag of '{name}'", word.split("=")[0], flags - {"-h"})
        given = vars(found)
        config = given.pop("config", None)
        values = {name: known[name].value(word, known[name].called) for name, word in given.items()}
        if config is not None:
            left_out = set(values).union(*(some for some in ALTERNATIVES if some & values.keys()))
            taken = self._from_config(config, known)
            values |= {name: value for name, value in taken.items() if name not in left_out}
        missing = [one.called for name, one in known.items() if one.required and name not in values]
        if missing:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
        if unknown:
            parser.error(f"there is no argument for {unknown[0]!r}")
        return self._call(values)

    def _call(self, values: dict[str, Any]) -> tuple[list, dict[str, Any]]:
        positional: list = []
        for name, parameter in self.parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(values.pop(name, parameter.default))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                positional += values.pop(name, [])
        for name, (owner, fields) in self.groups.items():
            values[name] = owner(**{key: values.pop(key) for key in fields if key in values})
        return positional, values

    def _model(self, words: Sequence[str]) -> str | None:
        """Return the model that is named, whose hyper-parameters are flags."""
        asked = [word for word in words if word not in ("-h", "--help")]
        first = vars(self.parser().parse_known_args(asked)[0])
        model, argument = first.get("model"), self.arguments()["model"]
        if model not in MODELS and "config" in first:
            content = read_config(first["config"])
            if "model" in content:
                return _of_config(first["config"], argument, content["model"])
        misplaced = [word for word in asked if word in MODELS]
        if model and model not in MODELS and misplaced:
            raise UserError(f"Put the model first: keras-faces {self.name} {misplaced[0]} [FLAGS]")
        return None if model is None else argument.value(model, argument.called)

    def _from_config(self, path: str, known: Mapping[str, Argument]) -> dict[str, Any]:
        by_key = {argument.key: argument for argument in known.values()}
        content, values = read_config(path), {}
        if self.takes_hyperparameters:
            content = without_records(content, path)
        for key, given in content.items():
            if (argument := by_key.get(key.replace("-", "_"))) is None:
                unknown = unknown_name(f"argument of '{self.name}'", key, by_key)
                raise UserError(f"{path}: {unknown}")
            values[argument.name] = _of_config(path, argument, given)
        return values


def _of_config(path: str, argument: Argument, given: Any) -> Any:
    """Return the checked value of an argument that a config gives."""
    try:
        return argument.value(given, argument.key)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
