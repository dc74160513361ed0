"""Commands made of functions: flags of their signatures, help of their docstrings.

A parameter without a default is a word of its own on the command line, or a flag that must be given
where it is keyword-only; a positional-only one is a word that may be left out; all others are
flags. Underscores become dashes, and one at the end, which keeps clear of Python's own words, is
left out. A parameter whose type is a dataclass stands for its fields.
"""

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from keras_faces.commands.configs import read_config, without_records
from keras_faces.errors import UserError, unknown_name
from keras_faces.introspection import constant, documented, documented_class
from keras_faces.models import MODELS, documentation
from keras_faces.schema import mismatch

REQUIRED = inspect.Parameter.empty
PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "{true,false}"}
SHORT = 3  # choices that stand for a value; more are listed behind the description

# Hyper-parameters whose default depends on the faces, or is None for a value of its own.
OTHER_DEFAULTS = {"channels": "as the pictures", "conditions": "as the labels", "dtype": "float32"}

# Of these, one given on the command line takes the place of another in a config.
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


class Argument:
    """One argument of a command.

    Args:
        parameter: Its parameter.
        description: What it is.
        of_model: Whether it is a model's hyper-parameter: those that are true or false are given
            with a value.
    """

    def __init__(self, parameter: inspect.Parameter, description: str, of_model: bool = False):
        kind = parameter.kind
        self.name = parameter.name
        self.description = description
        self.default = parameter.default
        self.form, self.count, self.checks, optional = _form(parameter.annotation)
        self.required = self.default is REQUIRED and kind is not inspect.Parameter.VAR_POSITIONAL
        self.positional = kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.VAR_POSITIONAL,
        ) or (self.required and kind is not inspect.Parameter.KEYWORD_ONLY)
        if kind is inspect.Parameter.VAR_POSITIONAL:
            self.count = "*"
        elif kind is inspect.Parameter.POSITIONAL_ONLY and not self.required:
            self.count = "?"
        self.action = None
        if self.form is bool and not of_model:
            self.action = argparse.BooleanOptionalAction if optional else "store_true"

    @property
    def called(self) -> str:
        """What it is called on the command line."""
        return self.metavar if self.positional else f"--{self.key.replace('_', '-')}"

    @property
    def key(self) -> str:
        """What it is called in a config."""
        return self.name.rstrip("_")

    @property
    def many(self) -> bool:
        """Whether it has several values."""
        return self.count not in (None, "?")

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        if self.positional:
            return self.key.upper().removesuffix("S" if self.many else "")
        if 0 < len(choices := self.choices) <= SHORT:
            return f"{{{','.join(map(str, choices))}}}"
        return PLACEHOLDERS.get(self.form, self.key.upper().replace("_", "-"))

    @property
    def choices(self) -> list:
        """All values that it can have, where these are names."""
        if typing.get_origin(self.form) is Literal:
            return list(typing.get_args(self.form))
        return [
            name for check in self.checks if isinstance(check, Known) for name in check.listed()
        ]

    def help(self, listed: dict[tuple, str]) -> str:
        """Return its description with its choices and default.

        Args:
            listed: Which argument has listed which choices already.
        """
        notes, choices = [], tuple(self.choices)
        if len(choices) > (0 if self.positional else SHORT):
            where = listed.setdefault(choices, self.called)
            names = ", ".join(map(str, choices)) if where == self.called else f"those of {where}"
            notes.append(f"one of: {names}")
        told = self.default not in (REQUIRED, None, "", []) and self.action is None
        if told and "(default:" not in self.description:
            value = self.default
            value = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            notes.append(f"default: {str(value).lower() if isinstance(value, bool) else value}")
        text = re.sub('`"?([^`"]*)"?`|(?<!\\.)\\.$', r"\1", self.description)
        if notes and text.endswith(")"):  # a source
            text = f"{text[:-1]}; {'; '.join(notes)})"
        elif notes:
            text = f"{text} ({'; '.join(notes)})"
        return text.replace("%", "%%")

    def add_to(self, parser, listed: dict[tuple, str]) -> argparse.Action:
        """Add it to a parser, which only collects words: what is left out keeps its default."""
        about = {"default": argparse.SUPPRESS, "help": self.help(listed)}
        if self.positional:
            about |= {"metavar": self.metavar, "nargs": self.count}
            added = parser.add_argument(self.name, **about)
            added.required = False  # a config may say it
            return added
        about["dest"] = self.name
        if self.action:
            return parser.add_argument(self.called, action=self.action, **about)
        return parser.add_argument(self.called, metavar=self.metavar, nargs=self.count, **about)

    def value(self, given: Any, called: str) -> Any:
        """Return the checked value of words of the command line, or of what a config says.

        Args:
            given: A word, several, or a value of a config.
            called: What errors call the argument.
        """
        if not self.many:
            return self._one(given, called)
        given = given if isinstance(given, list) else [given]
        if isinstance(self.count, int) and len(given) != self.count:
            raise UserError(f"{called} must be {self.count} values. Received: {len(given)}.")
        return [self._one(one, called) for one in given]

    def _one(self, given: Any, called: str) -> Any:
        value = _read_word(given, self.form) if isinstance(given, str) else given
        if self.form is str and type(given) is int:  # a seed or a name, in a config
            value = str(given)
        if typing.get_origin(self.form) is Literal and value not in self.choices:
            raise unknown_name(f"choice of {called}", str(given), map(str, self.choices))
        if wrong := mismatch(value, self.form, called):
            raise UserError(f"{wrong}.")
        for check in self.checks:
            check(value)
        return float(value) if self.form is float else value


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


def _form(annotation: Any) -> tuple[Any, int | str | None, list[Callable], bool]:
    """Return the type of a value, how many there are, what each must pass, and if None is one."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        form, count, checks, optional = _form(parts[0])
        return form, count, [*checks, *parts[1:]], optional
    if origin in (typing.Union, types.UnionType):
        form, count, checks, _ = _form(next(part for part in parts if part is not type(None)))
        return form, count, checks, type(None) in parts
    if origin in (list, tuple):
        form, _, checks, _ = _form(parts[0])
        return form, "+" if origin is list or ... in parts else len(parts), checks, False
    return annotation, None, [], False


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
                found[name] = Argument(told, descriptions[name], of_model=True)
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
            help="arguments by name, in YAML, TOML or JSON; those on the command line go before",
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
