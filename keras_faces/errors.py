"""The error that a user can mend."""

import difflib
import math
import numbers
import signal
from collections.abc import Iterable

MANY = 50  # names, and more are only counted: CelebA has 40 attributes, TFDS hundreds of data sets


class UserError(ValueError):
    """A mistake in what the user gave: says what was given, expected, and what to do.

    The command line prints it as one line; every other exception keeps its stack.
    """


class NotComputed(UserError):
    """A score cannot be computed here, for want of something to install or fetch; says what to do.

    Where other scores stand beside it, it is shown as not computed, never as a number.
    """


class Interrupted(KeyboardInterrupt):
    """Work was stopped by Ctrl-C or SIGTERM; the message says what is kept."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


def number_of(stop: KeyboardInterrupt) -> int:
    """Return the number of the signal by which the process was stopped."""
    return getattr(stop, "signal_number", signal.SIGINT)


def status_of(error: BaseException) -> int:
    """Return the exit status of a process that an error ends."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + number_of(error)
    return 2 if isinstance(error, UserError) else 1


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that nothing has, with the nearest names that exist.

    Args:
        kind: What is being named, for example `"model"`.
        given: The name the user gave.
        known: The names that exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = f"Known: {', '.join(known)}." if len(known) <= MANY else f"{len(known):,} are known."
    return UserError(f"There is no {kind} named {given!r}. {hint} {listed}".replace("  ", " "))


def require_at_least(minimum: float, **given: float) -> None:
    """Check arguments against their least value.

    Raises:
        UserError: If one is below it, infinite, or not a number.
    """
    for name, value in given.items():
        if not isinstance(value, (int, float)) or not value >= minimum:
            raise UserError(f"{name} must be {minimum} or more. Received: {value!r}.")
        _require_finite(name, value)


def require_scale(scale: int) -> None:
    """Check by how much pictures are enlarged.

    Raises:
        UserError: If it is no whole number from 1 to 16; of more a grid is too large to hold.
    """
    require_whole(1, scale=scale)
    require_at_most(16, scale=scale)


def require_at_most(maximum: float, **given: float) -> None:
    """Check arguments, numbers that are not too small, against their greatest value.

    Raises:
        UserError: If one is above it.
    """
    for name, value in given.items():
        if value > maximum:
            raise UserError(f"{name} must be {maximum} or less. Received: {value!r}.")


def require_whole(minimum: int = 1, **given: int) -> None:
    """Check arguments that must be whole numbers against their least value.

    Raises:
        UserError: If one is below it, or not a whole number.
    """
    for name, value in given.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < minimum:
            raise UserError(
                f"{name} must be a whole number of {minimum} or more. Received: {value!r}."
            )


def require_decay(**given: float) -> None:
    """Check decays of moving averages, which lie in [0, 1).

    Raises:
        UserError: If one does not, or is not a number.
    """
    for name, value in given.items():
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise UserError(f"{name} must lie in [0, 1). Received: {value!r}.")


def require_above(limit: float, **given: float) -> None:
    """Check arguments that must be greater than a limit.

    Raises:
        UserError: If one is not, is infinite, or is not a number.
    """
    for name, value in given.items():
        if not isinstance(value, (int, float)) or not value > limit:
            raise UserError(f"{name} must be above {limit}. Received: {value!r}.")
        _require_finite(name, value)


def _require_finite(name, value):
    if value == math.inf:
        raise UserError(f"{name} must be finite. Received: {value!r}.")
