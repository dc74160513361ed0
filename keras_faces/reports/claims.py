"""What a document claims of its numbers, checked on ours."""

import math
from collections.abc import Callable
from itertools import pairwise

from keras_faces.reports.schema import TRAINING, Lookup

UNKNOWN = " (errors are not known: another training may say otherwise)"
BEST, LENGTH = TRAINING["best_epoch"].title, TRAINING["epochs"].title


def rises(column: str, *parts: str) -> Callable[[Lookup], str]:
    """Return the check that a column's value rises from part to part.

    It holds where the last lies above the first, and nothing falls, by more than twice the errors.

    Args:
        column: Title of the column.
        *parts: Titles of the parts, the lowest first.
    """

    def check(of: Lookup) -> str:
        found = [of(part, column) for part in parts]
        if None in found:
            missing = parts[found.index(None)]
            return f"not checked: there is no {column} of {missing}"
        steps = [_apart(*pair) for pair in pairwise(found)]
        verdict = "undecided, within twice the errors"
        if -1 in steps:
            verdict = "does not hold"
        elif _apart(found[0], found[-1]) > 0:
            verdict = "holds"
        told = ", ".join(f"{p} {_told(value)}" for p, value in zip(parts, found, strict=True))
        unknown = "" if all(error is not None for _, error in found) else UNKNOWN
        return f"{verdict}: {column} of {told}{unknown}"

    return check


def best_at(part: str, epoch: int) -> Callable[[Lookup], str]:
    """Return the check that a model is as good as it becomes by an epoch, and not long before.

    It holds where that is in the second half of as many epochs.

    Args:
        part: Title of the part.
        epoch: The document's number.
    """

    def check(of: Lookup) -> str:
        best, length = of(part, BEST), of(part, LENGTH)
        if best is None or length is None:
            return f"not checked: no score of {part} while it learnt"
        told = f"as good as it became by epoch {best[0]:.0f} of {length[0]:.0f}"
        if best[0] > epoch:
            return f"does not hold: {told}"
        if length[0] < epoch:
            return f"undecided: {told}, and its training ended before epoch {epoch}"
        return f"{'holds' if 2 * best[0] >= epoch else 'does not hold, it was sooner'}: {told}"

    return check


def _apart(low, high) -> int:
    """Return 1 where a value lies above another by more than twice the errors, -1 below, else 0."""
    margin = 2 * math.hypot(low[1] or 0.0, high[1] or 0.0)
    difference = high[0] - low[0]
    return int(difference > margin) - int(-difference > margin)


def _told(value) -> str:
    mean, error = value
    return f"{mean:.3g}" if error is None else f"{mean:.3g} ± {error:.2g}"
