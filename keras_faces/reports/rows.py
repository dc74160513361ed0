"""The rows of a report's table, of what was trained and scored."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_faces.errors import UserError
from keras_faces.metrics.scores import Value
from keras_faces.metrics.seeds import OverSeeds
from keras_faces.metrics.tables import format_differences, protocol_of
from keras_faces.reports.schema import Column, Report, Trained

REAL = "real faces"


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        title: Model and sampler.
        states: The document's numbers by column.
        values: Ours by column, one for each seed; None where a score could not be computed.
        errors: Their standard errors.
        trained: Whether seeds differ by what was trained; those of real faces do not.
        part: Of the row beside the document's numbers, its part's title.
    """

    title: str
    states: dict[str, float]
    values: dict[str, list[float | None]]
    errors: dict[str, list[float | None]]
    trained: bool = True
    part: str = ""

    def cell(self, column: Column) -> str:
        """Return our value as text: over trainings mean and deviation, else value and its error."""
        return self._of(column.title).text(column.form) if column.title in self.values else ""

    def mean(self, title: str) -> tuple[float, float | None] | None:
        """Return our mean in a column and its error, over trainings the deviation; None without."""
        return self._of(title).mean() if title in self.values else None

    def _of(self, title: str) -> OverSeeds:
        return OverSeeds(self.values[title], self.errors[title], self.trained)


def rows_of(report: Report, trained: Sequence[Trained]) -> list[Row]:
    """Return the rows of a report's table: the real faces first.

    Raises:
        UserError: If parts were scored under different protocols.
    """
    if not report.columns:
        return []
    for column in report.columns:
        _require_one_protocol(column, trained)
    rows = []
    if trained[0].result is not None:
        sources = [{"samples": _of(t.result, "real")} for t in trained if t.part is trained[0].part]
        rows.append(_row(REAL, report.real, report, sources)._replace(trained=False))
    most = len({t.seed for t in trained})
    for part in report.parts:
        ours = [t for t in trained if t.part == part]
        if not ours:
            continue
        samplers = [s for s in (ours[0].result or {"rows": {}})["rows"] if s != "real"] or [""]
        for place, sampler in enumerate(samplers):
            title = f"{part.title} ({sampler})" if sampler else part.title
            title += f", {len(ours)} of {most} seeds" if len(ours) < most else ""
            sources = [{"samples": _of(t.result, sampler)} for t in ours]
            if place:
                rows.append(_row(title, {}, report, sources))
                continue
            # The document's numbers stand beside the prior, which it sampled from; copies and
            # training know no sampler.
            for t, source in zip(ours, sources, strict=True):
                source["copies"] = (t.copies or {"scores": {}})["scores"]
                source["classifiers"] = (t.classifiers or {"scores": {}})["scores"]
                source["training"] = {k: Value(v)._asdict() for k, v in t.training.items()}
            row = _row(title, part.states, report, sources)
            rows.append(row._replace(part=part.title))
            if all(t.best for t in ours):
                sources = [{"samples": _of(t.best, sampler)} for t in ours]
                rows.append(_row(f"{title}, best step", {}, report, sources))
    return rows


def _of(result: dict | None, row: str) -> dict:
    return (result or {"rows": {}})["rows"].get(row, {})


def _row(title: str, states: dict, report: Report, sources: Sequence[dict]) -> Row:
    values: dict[str, list] = {}
    errors: dict[str, list] = {}
    for column in report.columns:
        for source in sources:
            record = source.get(column.of, {}).get(column.score)
            if record is None:
                continue
            value, error = record["value"], record["std"]
            known = value is not None
            values.setdefault(column.title, []).append(column.convert(value) if known else None)
            # What converts is linear, so an error is a difference of what it converts to.
            scaled = None if error is None else abs(column.convert(error) - column.convert(0.0))
            errors.setdefault(column.title, []).append(scaled)
    return Row(title, states, values, errors)


def _require_one_protocol(column: Column, trained: Sequence[Trained]) -> None:
    known = [
        (t, {**protocol_of(result, column.score), "seed": None, "generated": None})
        for t in trained
        for result in (t.result, t.best)
        if column.of == "samples" and result and column.score in result["rows"]["real"]
    ]
    for one, protocol in known[1:]:
        told = format_differences(known[0][1], protocol)
        if told:
            raise UserError(
                f"{column.title!r} of {known[0][0].part.title} and of {one.part.title} were made "
                f"under different protocols, so they cannot stand in one column: {told}. To score "
                f"anew, delete scores-*.json in {one.run.folder}."
            )
