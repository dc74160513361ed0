"""One argument of a command: what its parameter says, as a flag, in help, and of a value."""

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NamedTuple

from keras_faces.errors import UserError, unknown_name
from keras_faces.introspection import constant
from keras_faces.schema import mismatch

REQUIRED = inspect.Parameter.empty
PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "{true,false}"}
SHORT = 3  # choices that stand for a value; more are listed behind the description


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
