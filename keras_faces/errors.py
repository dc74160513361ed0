"""The error that a user can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: says what was given, expected, and what to do.

    The command line prints it as one line; every other exception keeps its stack.
    """


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that nothing has, with the nearest names that exist.

    Args:
        kind: What is being named, for example `"model"`.
        given: The name the user gave.
        known: The names that exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UserError(
        f"There is no {kind} named {given!r}. {hint} Known: {', '.join(known)}.".replace("  ", " ")
    )
