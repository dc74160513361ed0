"""What a function says as a command: whether it needs Keras, and its docstring as help."""

import inspect
import re
from collections.abc import Callable


def without_keras(unless: Callable[..., bool] | None = None) -> Callable:
    """Mark a command that does without Keras, whose import takes seconds.

    Args:
        unless: Called with the command's arguments, says whether it needs Keras all the same.
    """

    def mark(function: Callable) -> Callable:
        function.needs_keras = unless or (lambda *args, **kwargs: False)
        return function

    return mark


def plain_help(owner: Callable) -> Callable:
    """Make a docstring one that help can show as it is."""
    owner.__doc__ = plain(owner.__doc__)
    return owner


def plain(docstring: str) -> str:
    """Return a docstring without marks of code, and with each description in one line."""
    joined = re.sub(r"\n {8,}", " ", inspect.cleandoc(docstring))
    return re.sub('`"?([^`"]*)"?`', r"\1", joined)
