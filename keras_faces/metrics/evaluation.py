"""All that can be said of how good a model's faces are: samples, copies, conditions, matches."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError
from keras_faces.metrics.conditions import condition_accuracy
from keras_faces.metrics.matching import score_matches
from keras_faces.metrics.scores import SCORES, resolve_scores, score, score_copies
from keras_faces.metrics.tables import (
    format_condition_accuracy,
    format_copies,
    format_matches,
    format_protocol,
    protocol_line,
    table,
)


class Evaluation(NamedTuple):
    """What was measured of a model's faces.

    Attributes:
        result: Plain values, as `scores.json` holds them: those of `score`; with
            `"reconstructions"`, those of `score_copies`, `"conditions"`, those of
            `condition_accuracy`, and `"matches"`, those of `score_matches`, where a model has them.
        unmeasured: What could not be measured and why; empty where there is nothing to say.
    """

    result: dict
    unmeasured: str = ""

    def table(self) -> str:
        """Return the scores as text, a row for the real faces and for each sampler."""
        lines = [table(self.result)]
        if copies := self.result.get("reconstructions"):
            lines.append(format_copies(copies))
        if conditions := self.result.get("conditions"):
            lines.append(format_condition_accuracy(conditions))
        if matches := self.result.get("matches"):
            lines.append(format_matches(matches))
        if self.unmeasured:
            lines.append(self.unmeasured)
        return "\n".join(lines)

    def protocol(self) -> str:
        """Return under which protocols it was measured, as text."""
        lines = [protocol_line(self.result)]
        if conditions := self.result.get("conditions"):
            lines.append(format_protocol(conditions["protocol"], "conditions"))
        if matches := self.result.get("matches"):
            needed = matches["needs"].get("descriptors", {})
            lines.append(format_protocol({**matches["protocol"], **needed}, "matching"))
        return "\n".join(lines)


def evaluate(
    model,
    stream: FaceStream,
    count: int = 1000,
    seed: int = 0,
    sampler: str | None = None,
    scores: str | Sequence[str] | None = None,
    inception=None,
    samples_alone: bool = False,
    progress: bool = False,
    backbone=None,
) -> Evaluation:
    """Measure how good a model's faces are.

    Args:
        model: A `FaceModel`.
        stream: The real faces to compare with, with their labels where conditions are measured.
        count: Samples to generate, and at most that many real faces.
        seed: Seed of the samples and of the choice of real faces.
        sampler: The model's sampler to score; None scores all that can be used.
        scores: Keys of `SCORES`, or one; None computes all for which nothing is missing.
        inception: An `InceptionFeatures` to use again, or a path of weights; None makes one where
            `scores` need it.
        samples_alone: Whether to leave reconstructions and conditions out. Reconstructions are
            compared by face descriptors where samples are.
        progress: Show a progress bar.
        backbone: As in `score`.

    Returns:
        An `Evaluation`.

    Raises:
        UserError: If a name is unknown or there are too few faces.
    """
    scores = resolve_scores(scores)
    samplers = None if sampler is None else [sampler]
    result = score(model, stream, count, seed, samplers, scores, inception, progress, backbone)
    if samples_alone:
        return Evaluation(result)
    described = any(SCORES[name].features == "descriptors" for name in scores)
    copies = score_copies(model, stream, count, seed, quick=not described)
    if copies is not None:
        result["reconstructions"] = copies
    # Where other scores stand, too few faces are no reason to stop.
    if model.translates_to:
        try:
            result["matches"] = score_matches(model, stream, count, seed, quick=not described)
        except UserError as error:
            return Evaluation(result, f"Matching: not measured. {error}")
    if model.conditional:
        try:
            result["conditions"] = condition_accuracy(model, stream, count, seed, sampler)
        except UserError as error:
            return Evaluation(result, f"Conditions: not measured. {error}")
    return Evaluation(result)
