"""A score over the trainings of several seeds, and whether two such differ by more than noise."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit

LEVEL = 0.05


class OverSeeds(NamedTuple):
    """A score, once for each seed.

    Attributes:
        values: The values; None where it could not be computed.
        errors: Their standard errors over the pictures; None where they are not known.
        trained: Whether seeds differ by what was trained; those of real faces do not.
    """

    values: Sequence[float | None]
    errors: Sequence[float | None]
    trained: bool = True

    @property
    def known(self) -> list[float]:
        """The values that could be computed."""
        return [value for value in self.values if value is not None]

    def mean(self) -> tuple[float, float | None] | None:
        """Return the mean and its error, over trainings the deviation; None without values."""
        if not self.known:
            return None
        errors = [error for error in self.errors if error is not None]
        error = statistics.mean(errors) if errors else None
        if len(self.known) > 1 and self.trained:
            spread = statistics.stdev(self.known)
            error = spread if spread or errors else None  # parameters are the same for all seeds
        return statistics.mean(self.known), error

    def text(self, form: str) -> str:
        """Return mean and error in a format."""
        found = self.mean()
        if found is None:
            return "none"
        mean, error = found
        known, count = len(self.known), len(self.values)
        of = f" ({known} of {count} seeds)" if known < count else ""
        text = f"{mean:{form}}"
        return f"{text}{of}" if error is None else f"{text} ± {error:{form}}{of}"

    def uncertainty(self) -> tuple[float, float] | None:
        """Return the variance of the mean and its degrees of freedom; None where not known.

        Of one training it is that over the pictures, as if another seed gave the same.
        """
        if len(self.known) > 1:
            return statistics.variance(self.known) / len(self.known), len(self.known) - 1
        errors = [error for error in self.errors if error is not None]
        return (errors[0] ** 2, math.inf) if self.known and errors else None


def within_noise(one: OverSeeds, other: OverSeeds) -> bool | None:
    """Return whether two means differ by no more than chance may explain: Welch's t-test.

    Returns:
        Whether the test finds no difference at the level of 5 percent; None where it cannot tell,
        since the uncertainty of one of them is not known.
    """
    both = [one.uncertainty(), other.uncertainty()]
    if None in both:
        return None
    difference = abs(statistics.mean(one.known) - statistics.mean(other.known))
    total = sum(variance for variance, _ in both)
    if not total:
        return not difference
    parts = sum(variance**2 / freedom for variance, freedom in both)
    freedom = total**2 / parts if parts else math.inf
    return bool(difference <= stdtrit(freedom, 1 - LEVEL / 2) * math.sqrt(total))
