"""Commands made of functions: flags of their signatures, help of their docstrings.

A parameter without a default is a word of its own on the command line, or a flag that must be given
where it is keyword-only; a positional-only one is a word that may be left out; all others are
flags. A trailing underscore, by which a parameter keeps clear of Python's own words, is left out.
"""

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from keras_faces.commands.configs import as_arguments, read_config
from keras_faces.errors import UserError, unknown_name
from keras_faces.introspection import constant, documented, documented_class
from keras_faces.models import MODELS, documentation
from keras_faces.schema import mismatch

REQUIRED = inspect.Parameter.empty
PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "{true,false}"}
MANY = 3  # choices, and more are listed behind the description

# Hyper-parameters whose default depends on the faces, or is None for a value of its own.
OTHER_DEFAULTS = {"channels": "as the pictures", "conditions": "as the labels", "dtype": "float32"}

# Of these, one given on the command line takes the place of others in a config.
ALTERNATIVES = ({"epochs", "steps", "minutes"}, {"manifold", "separability"})


class Known(NamedTuple):
    """One of some names: annotates the type of an argument, to list and check what it can be.

    Attributes:
        kind: What errors call it.
        names: The place of the names as `introspection.constant` reads it, or a function that
            returns them.
        check: Called with a value to refuse it; None refuses what is none of the names.
    """

    kind: str
    names: str | Callable[[], Iterable[str]]
    check: Callable[[str], Any] | None = None

    def listed(self) -> list[str]:
        """Return the names that there are."""
        return list(constant(self.names) if isinstance(self.names, str) else self.names())

    def __call__(self, value: str) -> None:
        """Refuse what cannot be meant."""
        if self.check is not None:
            self.check(value)
        elif value not in (names := self.listed()):
            raise unknown_name(self.kind, value, names)


class Fields:
    """The fields of a dataclass as arguments: annotates `**arguments` of a command.

    A field `hyperparameters` stands for those of the model that is given.

    Args:
        place: The dataclass as `module:NAME`, which is not imported.
        **kinds: Types of fields, instead of the dataclass's own.
    """

    def __init__(self, place: str, **kinds: Any):
        self.place = place
        self.kinds = kinds

    def add_to(self, parameters: dict[str, inspect.Parameter], descriptions: dict[str, str]):
        """Add the fields to a command's parameters, and what the dataclass says of them."""
        _, fields, described = documented_class(self.place)
        for name, field in fields.items():
            if name not in parameters:
                kind = self.kinds.get(name, field.annotation)
                parameters[name] = field.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            descriptions.setdefault(name, described[name])


def without_keras(function: Callable, unless: Callable[..., bool] | None = None) -> Callable:
    """Mark a command that does without Keras, whose import takes seconds.

    Args:
        function: The command.
        unless: Called with its arguments, says whether Keras is needed all the same.
    """
    function.needs_keras = unless or (lambda *args, **kwargs: False)
    return function


class Argument:
    """One argument of a command.

    Args:
        parameter: Its parameter.
        description: What it is.
        default: What help says that it is by default.
        switch: Whether a flag that is false by default is given without a value.
    """

    def __init__(
        self, parameter: inspect.Parameter, description: str, default: Any, switch: bool
    ):
        self.name = parameter.name
        self.description = description
        self.default = default
        self.required = parameter.default is REQUIRED
        self.several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        free = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        self.positional = self.required and free or (
            parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        )
        self.form, self.count, self.checks = _form(parameter.annotation)
        if self.several:
            self.required, self.count = False, "*"
        self.switch = switch and self.form is bool

    @property
    def spelling(self) -> str:
        """What it is called on the command line."""
        name = self.name.rstrip("_").replace("_", "-")
        return self.metavar if self.positional else f"--{name}"

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        if self.positional:
            return self.name.upper().removesuffix("S" if self.count else "")
        choices = self.choices
        if choices and len(choices) <= MANY:
            return f"{{{','.join(map(str, choices))}}}"
        return PLACEHOLDERS.get(self.form, self.name.rstrip("_").upper().replace("_", "-"))

    @property
    def choices(self) -> list:
        """All values that it can have, where these are names."""
        if typing.get_origin(self.form) is Literal:
            return list(typing.get_args(self.form))
        return [name for check in self.checks if isinstance(check, Known) for name in check.listed()]

    @property
    def help(self) -> str:
        """Its description with its choices and default."""
        notes = []
        if len(self.choices) > (0 if self.positional else MANY):
            notes.append(f"one of: {', '.join(map(str, self.choices))}")
        told = self.default not in (REQUIRED, None, "") and not self.switch
        if told and "(default:" not in self.description:
            value = self.default
            value = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            notes.append(f"default: {str(value).lower() if isinstance(value, bool) else value}")
        text = re.sub('`"?([^`"]*)"?`', r"\1", self.description).removesuffix(".")
        return (f"{text} ({'; '.join(notes)})" if notes else text).replace("%", "%%")

    def add_to(self, parser) -> None:
        """Add it to a parser, which only collects words: what is left out keeps its default."""
        about = {"default": argparse.SUPPRESS, "help": self.help}
        if self.positional:
            nargs = self.count or ("?" if not self.required else None)
            # Whatever is missing is asked for after a config was read.
            parser.add_argument(self.name, metavar=self.metavar, nargs=nargs, **about).required = False
        elif self.switch:
            parser.add_argument(self.spelling, dest=self.name, action="store_true", **about)
        else:
            about |= {"dest": self.name, "metavar": self.metavar, "nargs": self.count}
            parser.add_argument(self.spelling, **about)

    def value(self, given: Any, called: str) -> Any:
        """Return the checked value of words of the command line, or of what a config says.

        Args:
            given: A word, several, or a value of a config.
            called: What errors call the argument.
        """
        if given is None and not self.required:
            return None
        if not self.count:
            return self._one(given, called)
        given = given if isinstance(given, list) else [given]
        if isinstance(self.count, int) and len(given) != self.count:
            raise UserError(f"{called} must be {self.count} values. Received: {len(given)}.")
        return [self._one(one, called) for one in given]

    def _one(self, given: Any, called: str) -> Any:
        value = given
        if isinstance(given, str):
            value = _read_word(given, self.form)
            if typing.get_origin(self.form) is Literal and value not in self.choices:
                raise unknown_name(f"choice of {called}", given, map(str, self.choices))
        if wrong := mismatch(value, self.form, called):
            raise UserError(f"{wrong}.")
        for check in self.checks:
            check(value)
        return value


def _read_word(word: str, form: Any) -> Any:
    """Return the value that a word stands for, or the word itself where it stands for none."""
    if form is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    if form in (int, float):
        try:
            return form(word)
        except ValueError:
            return word
    return next((choice for choice in typing.get_args(form) if str(choice) == word), word)


def _form(annotation: Any) -> tuple[Any, int | str | None, list[Callable]]:
    """Return what an annotation says: the type of a value, how many, and what it must pass."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        form, count, checks = _form(parts[0])
        return form, count, [*checks, *parts[1:]]
    if origin in (typing.Union, types.UnionType):
        return _form(next(part for part in parts if part is not type(None)))
    if origin in (list, tuple):
        form, _, checks = _form(parts[0])
        return form, "+" if origin is list else len(parts), checks
    return annotation, None, []


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
        self.summary, self.parameters, self.descriptions = documented(function)
        for name, parameter in list(self.parameters.items()):
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                del self.parameters[name]
                for fields in parameter.annotation.__metadata__:
                    fields.add_to(self.parameters, self.descriptions)
        self.takes_hyperparameters = self.parameters.pop("hyperparameters", None) is not None

    def arguments(self, model: str | None = None) -> dict[str, Argument]:
        """Return the arguments by their names, those of a model behind the function's own."""
        own = {
            name: Argument(p, self.descriptions.get(name, ""), p.default, switch=True)
            for name, p in self.parameters.items()
        }
        return own | self._of_model(model) if model else own

    def _of_model(self, model: str) -> dict[str, Argument]:
        _, parameters, descriptions = documentation(model)
        return {
            name: Argument(p, descriptions[name], OTHER_DEFAULTS.get(name, p.default), switch=False)
            for name, p in parameters.items()
            if name not in self.parameters
        }

    def parser(self, model: str | None = None, into: Parser | None = None) -> Parser:
        """Return a parser of the words behind the command's name.

        Args:
            model: The model whose hyper-parameters are flags as well.
            into: The parser to complete, instead of a new one.
        """
        about = {"prog": f"keras-faces {self.name}", "description": self.summary}
        parser = into or Parser(allow_abbrev=False, **about)
        if self.takes_hyperparameters and not model:
            parser.epilog = f"Each MODEL has flags of its own: keras-faces {self.name} MODEL --help"
        group = parser
        for name, argument in self.arguments(model).items():
            if name not in self.parameters and group is parser:
                group = parser.add_argument_group(f"hyper-parameters of {model}")
            argument.add_to(group)
        parser.add_argument(
            "--config",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="arguments by name as YAML, TOML or JSON; those on the command line go before",
        )
        return parser

    def parse(self, words: Sequence[str]) -> tuple[list, dict[str, Any]]:
        """Return what the function is called with, by position and by name.

        Raises:
            UserError: If a word, or what a config says, cannot be meant.
        """
        model = self._model(words) if self.takes_hyperparameters else None
        known = self.arguments(model)
        found, unknown = self.parser(model).parse_known_args(words)
        given = vars(found)
        config = given.pop("config", None)
        name = f"{self.name} {model}" if model else self.name
        for word in unknown:
            if word.startswith("--"):
                flags = [argument.spelling for argument in known.values()]
                raise unknown_name(f"flag of '{name}'", word.split("=")[0], flags)
        values = {n: known[n].value(word, known[n].spelling) for n, word in given.items()}
        if config is not None:
            taken = self._from_config(config, known)
            instead = [others for others in ALTERNATIVES if others & values.keys()]
            left_out = values.keys() | {n for others in instead for n in others}
            values |= {n: value for n, value in taken.items() if n not in left_out}
        missing = [a.spelling for n, a in known.items() if a.required and n not in values]
        if missing:
            raise UserError(
                f"the following arguments are required: {', '.join(missing)}. See: keras-faces "
                f"{self.name} --help"
            )
        if unknown:
            raise UserError(
                f"'{name}' cannot use {unknown[0]!r}. See: keras-faces {self.name} --help"
            )
        positional = []
        for n, parameter in self.parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(values.pop(n, parameter.default))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                positional += values.pop(n, [])
        return positional, values

    def _model(self, words: Sequence[str]) -> str | None:
        """Return the model that is named, whose hyper-parameters are flags."""
        asked = [word for word in words if word not in ("-h", "--help")]
        first = vars(self.parser().parse_known_args(asked)[0])
        model = first.get("model")
        misplaced = [word for word in asked if word in MODELS]
        if model and model not in MODELS and misplaced:
            raise UserError(
                f"Put the model first: keras-faces {self.name} {misplaced[0]} [FLAGS]"
            )
        if model is None and "config" in first:
            model = self._read_config(first["config"]).get("model")
        return None if model is None else self.arguments()["model"].value(model, "MODEL")

    def _read_config(self, path: str) -> dict[str, Any]:
        content = read_config(path)
        return as_arguments(content, path) if self.takes_hyperparameters else content

    def _from_config(self, path: str, known: Mapping[str, Argument]) -> dict[str, Any]:
        spelt = {name.rstrip("_"): argument for name, argument in known.items()}
        values = {}
        for key, given in self._read_config(path).items():
            try:
                if (argument := spelt.get(key.replace("-", "_"))) is None:
                    raise unknown_name(f"argument of '{self.name}'", key, spelt)
                values[argument.name] = argument.value(given, key)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        return values
