"""The parser of all commands: what each declares, and errors that name what was meant."""

import argparse
from collections.abc import Callable

from keras_faces.errors import UserError, unknown_name


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`s, and whose commands know what they need.

    Args:
        prefix: What stands before the names of its commands, such as `"data "`.
    """

    def __init__(self, *args, prefix: str = "", **kwargs):
        super().__init__(*args, **kwargs)
        self.prefix = prefix
        self._commands = None

    @property
    def command_names(self) -> list[str]:
        """The names of its commands, in the order of the help."""
        return list(self._commands.choices) if self._commands else []

    def command(
        self,
        name: str,
        function: Callable | None,
        help: str,
        keras: bool | Callable[[argparse.Namespace], bool] = True,
        **kwargs,
    ) -> "Parser":
        """Add a command and return its parser.

        Args:
            name: What it is called by.
            function: Called with the parsed options; None for a command that has actions.
            help: A sentence that says what it does.
            keras: Whether Keras is to be imported before the function is called, which takes
                seconds; or a function of the parsed options that says so.
            **kwargs: As for `argparse.ArgumentParser`.
        """
        if self._commands is None:
            kind = "ACTION" if self.prefix else "COMMAND"
            self._commands = self.add_subparsers(
                metavar=kind, required=bool(self.prefix), parser_class=Parser
            )
        added = self._commands.add_parser(
            name,
            help=help,
            description=help,
            allow_abbrev=False,
            formatter_class=Help,
            **kwargs,
        )
        needs_keras = keras if callable(keras) else lambda options: keras
        added.set_defaults(
            function=function, command=self.prefix + name, parser=added, needs_keras=needs_keras
        )
        return added

    def error(self, message: str):
        """Raise what argparse has to say, with the commands nearest to a misspelt one."""
        if "invalid choice" in message and "COMMAND" in message:
            given = message.split("invalid choice: ")[1].split("'")[1]
            raise unknown_name("command", given, self.command_names)
        raise UserError(f"{message}. See: {self.prog} --help")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that says each default, but no None: where it stands for something, the text says it."""

    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the flags that a parser knows."""
    return [flag for action in parser._actions for flag in action.option_strings]


def no_more(options):
    """Refuse the words that no flag of the command took."""
    if options.rest:
        known = flags_of(options.parser)
        raise unknown_name(f"argument of '{options.command}'", options.rest[0], known)
