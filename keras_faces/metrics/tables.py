"""Scores as text: tables, and the protocols that decide what may stand in one column."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from keras_faces.errors import UserError
from keras_faces.metrics.matching import BRIDGES, MATCH_SCORES
from keras_faces.metrics.scores import COPY_SCORES, FORMAT, SCORES
from keras_faces.schema import Positive, Scalar, mismatch, read_json
from keras_faces.screen import visible

REMEDY = "Score it anew: keras-faces evaluate RUN --out FILE"


class Record(TypedDict):
    """A score."""

    value: float | None
    std: float | None


class Copies(TypedDict):
    """What `score_copies` returns."""

    format: Positive
    protocol: dict[str, Scalar]
    needs: dict[str, dict[str, Any]]
    scores: dict[str, Record]
    not_computed: dict[str, str]


class Matches(TypedDict):
    """What `score_matches` returns."""

    format: Positive
    protocol: dict[str, Scalar]
    needs: dict[str, dict[str, Any]]
    chance: dict[str, float]
    rows: dict[str, dict[str, Record]]
    found: dict[str, list[float]]


class Classifiers(TypedDict):
    """What `training_data` returns."""

    protocol: dict[str, Scalar]
    scores: dict[str, Record]
    left_out: dict[str, str]


class Obeyed(TypedDict):
    """What `condition_accuracy` returns."""

    protocol: dict[str, Scalar]
    real: float
    real_std: float
    generated: float
    generated_std: float
    chance: float
    left_out: dict[str, str]


class Result(TypedDict):
    """What `score` returns, with what is measured besides."""

    format: Positive
    protocol: dict[str, Scalar]
    needs: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Record]]
    not_computed: dict[str, str]
    reconstructions: NotRequired[Copies | None]
    conditions: NotRequired[Obeyed | None]
    matches: NotRequired[Matches | None]


def read_scores(path: Path) -> Result:
    """Return the scores that a file holds.

    Raises:
        UserError: If it cannot be read, is damaged, or of another version.
    """
    result = read_json(path, dict, f"{REMEDY}.", newest=FORMAT)
    require_scores(str(path), result)
    return result


def any_computed(result: dict) -> bool:
    """Return whether one score or more of what `score` returned has a value."""
    records = (record for row in result["rows"].values() for record in row.values())
    return any(record["value"] is not None for record in records)


def protocol_of(result: dict, name: str) -> dict:
    """Return the protocol of one score of what `score` returned."""
    return {**result["protocol"], **result["needs"][SCORES[name].features]}


def differences(one: dict, other: dict) -> dict[str, tuple]:
    """Return in which fields two protocols differ, with both values.

    Where the pictures lay is none of them: the fingerprint says whether they are the same.
    """
    return {
        field: (one.get(field), other.get(field))
        for field in sorted({*one, *other} - {"source"})
        if one.get(field) != other.get(field)
    }


def format_differences(one: dict, other: dict) -> str:
    """Return in which fields two protocols differ as text, which is empty where in none."""
    found = differences(one, other)
    parts = [visible(f"{field} {a} and {b}") for field, (a, b) in found.items()]
    if "fingerprint" in found:
        places = dict.fromkeys(visible(str(facts.get("source"))) for facts in (one, other))
        what = "are not the same" if len(places) > 1 else "changed in between"
        parts.append(f"so the pictures in {' and in '.join(places)} {what}")
    return "; ".join(parts)


def comparable(results: dict[str, dict]) -> list[str]:
    """Return the names of the scores that all of some results have.

    Args:
        results: What `score` returned, by the name of what was scored.

    Raises:
        UserError: If one was not made by this version, none is in all of them, or a score's
            protocols differ: then with the fields in which they do.
    """
    if not results:
        raise UserError("Give the scores of one model or more. Received: none.")
    for title, result in results.items():
        require_scores(title, result)
    first, *others = results
    names = [
        name
        for name in results[first]["rows"]["real"]
        if name in SCORES and all(name in results[other]["rows"]["real"] for other in others)
    ]
    if not names:
        raise UserError(f"No score is there of all: {', '.join(results)}. Score them alike.")
    for name in names:
        for other in others:
            told = format_differences(
                protocol_of(results[first], name), protocol_of(results[other], name)
            )
            if told:
                raise UserError(
                    f"{name} of {first} and of {other} were made under different protocols, so "
                    f"they cannot stand in one column: {told}. Score both alike: keras-faces "
                    "evaluate RUN --out FILE, on the same pictures, with the same --split, "
                    "--count and --seed."
                )
    return names


def require_scores(title: str, result: dict) -> None:
    """Check that what was read from a file is what `score` returned.

    Raises:
        UserError: If it is of another version, or damaged.
    """
    made = result.get("format", 1) if isinstance(result, dict) else None
    if made != FORMAT:
        raise UserError(
            f"{title} holds no scores of format {FORMAT}, which this version compares "
            f"(found: {made!r:.60}). {REMEDY}"
        )
    wrong = mismatch(result, Result)
    if wrong is None:
        rows = result["rows"]
        known = [name for name in rows.get("real", ()) if name in SCORES]
        missing = [
            f"needs.{SCORES[n].features}"
            for n in known
            if SCORES[n].features not in result["needs"]
        ]
        missing += [f"rows.{visible(row)}.{n}" for row in rows for n in known if n not in rows[row]]
        missing += [] if "real" in rows else ["rows.real"]
        # Without it two sources cannot be told apart.
        missing += [] if result["protocol"].get("fingerprint") else ["protocol.fingerprint"]
        wrong = f"{missing[0]} is missing" if missing else None
    if wrong is not None:
        raise UserError(f"{title} holds damaged scores ({wrong}). {REMEDY}")


def compare(results: dict[str, dict]) -> str:
    """Return the scores of several models as one table; arguments and errors as `comparable`.

    Below it stand the scores that not all of them have.
    """
    names = comparable(results)
    rows = {"real": next(iter(results.values()))["rows"]["real"]}
    for title, result in results.items():
        for sampler, values in result["rows"].items():
            if sampler != "real":
                rows[f"{title} ({sampler})"] = values
    known = {name for result in results.values() for name in result["rows"]["real"]}
    left_out = [score.title for name, score in SCORES.items() if name in known - set(names)]
    return _text(rows, names) + (
        f"\nLeft out, since not all have them: {', '.join(left_out)}." if left_out else ""
    )


def protocol_line(*results: dict, names: Sequence[str] | None = None) -> str:
    """Return under which protocol scores were made, with all that they need, as a line of text.

    Args:
        *results: What `score` returned, under one protocol.
        names: Which of their scores; None for all of the first.
    """
    first = results[0]
    told = dict(first["protocol"])
    for name in filter(SCORES.get, first["rows"]["real"]) if names is None else names:
        told |= protocol_of(first, name)
    # The same pictures, and each place where they lay.
    told["source"] = " and ".join(
        dict.fromkeys(str(result["protocol"].get("source")) for result in results)
    )
    return format_protocol(told)


def format_protocol(protocol: dict, of: str = "") -> str:
    """Return a protocol as a line of text, which says of what it is."""
    fields = ", ".join(visible(f"{field} {value}") for field, value in protocol.items())
    return f"Protocol{of and ' of '}{of}: {fields}"


def table(result: dict) -> str:
    """Return the scores as text, one row each for real faces and every sampler."""
    rows = {
        "real" if row == "real" else f"generated ({row})": values
        for row, values in result["rows"].items()
    }
    names = [name for name in rows["real"] if name in SCORES]
    lines = [_text(rows, names)] if names else []
    reasons: dict[str, list[str]] = {}
    for name, why in result["not_computed"].items():
        reasons.setdefault(why, []).append(SCORES[name].title if name in SCORES else name)
    lines += [f"Not computed: {', '.join(names)}. {why}" for why, names in reasons.items()]
    return "\n".join(lines)


def _text(rows: dict[str, dict], names: Sequence[str]) -> str:
    lines = [["faces", *(SCORES[name].title for name in names)]]
    lines += [[title, *(shown(name, row[name]) for name in names)] for title, row in rows.items()]
    widths = [max(len(line[place]) for line in lines) for place in range(len(names) + 1)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )


def format_copies(result: dict) -> str:
    """Return what `score_copies` returned as a line of text."""
    nowhere = "not computed (of no pair a face was found in both)"
    told = [
        f"{COPY_SCORES[name].title} "
        + (nowhere if record["value"] is None else shown(name, record, COPY_SCORES))
        for name, record in result["scores"].items()
        if name in COPY_SCORES
    ]
    what = "Reconstructions of {} faces"
    if result["protocol"].get("pictures"):
        what = "Sketches made of {} photos, beside real ones"
    return f"{what.format(result['protocol']['real'])}: {', '.join(told)}"


def format_matches(result: dict) -> str:
    """Return what `score_matches` returned as lines of text."""
    names = [name for name in MATCH_SCORES if name in result["chance"]]
    lines = [
        f"Matching {result['protocol']['probes']} sketches to {result['protocol']['people']} "
        "people, chance "
        + ", ".join(f"{MATCH_SCORES[n].title} {result['chance'][n]:.1%}" for n in names)
    ]
    for row, values in result["rows"].items():
        told = ", ".join(
            f"{MATCH_SCORES[n].title} {values[n]['value']:.1%} ± {values[n]['std']:.1%}"
            for n in names
        )
        if row in result["found"]:
            probes, gallery = result["found"][row]
            told += (
                f" (a face is found in {probes:.0%} of the probes, {gallery:.0%} of the gallery)"
            )
        lines.append(f"  {BRIDGES.get(row, row)}: {told}")
    return "\n".join(lines)


def format_condition_accuracy(result: dict) -> str:
    """Return what `condition_accuracy` returned in words."""
    line = (
        f"Conditions: a classifier of real faces sees what was asked for in "
        f"{result['generated']:.1%} ± {result['generated_std']:.1%} of generated faces (real "
        f"faces it had not seen: {result['real']:.1%} ± {result['real_std']:.1%}, chance "
        f"{result['chance']:.1%})."
    )
    if result["left_out"]:
        line += f"\nConditions that could not be measured: {', '.join(result['left_out'])}."
    return line


def shown(name: str, record: dict, scores: dict = SCORES) -> str:
    """Return a score as text, with its standard error where that is known."""
    form = scores[name].form
    if record["value"] is None:
        return "none"
    value, std = format(record["value"], form), record["std"]
    return value if std is None else f"{value} ± {format(std, form)}"
