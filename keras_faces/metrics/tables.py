"""Scores as text: tables, and the protocols that decide what may stand in one column."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from keras_faces.errors import UserError, unknown_name
from keras_faces.formats import FORMATS, as_text, with_notes
from keras_faces.metrics.matching import BRIDGES, MATCH_SCORES
from keras_faces.metrics.scores import COPY_SCORES, FORMAT, SCORES, shortfall
from keras_faces.metrics.seeds import OverSeeds, within_noise
from keras_faces.schema import Count, Positive, Scalar, mismatch, read_json
from keras_faces.screen import visible

REMEDY = "Score it again: keras-faces evaluate RUN --out FILE"
REAL = "real"
SIGNS = {"best": "*", "noise": "≈", "unknown": "?"}


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


class Training(TypedDict):
    """What was scored: `runs.training_of` of its run."""

    digest: str
    seed: Count


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
    training: NotRequired[Training | None]


# By the name of what was scored; trainings that differ by their seed alone in a list.
Results = Mapping[str, dict | Sequence[dict]]


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


def comparable(results: Results) -> list[str]:
    """Return the names of the scores that all of some results have.

    Args:
        results: What `score` returned, by the name of what was scored; of trainings that differ by
            their seed alone, all of them in a list.

    Raises:
        UserError: If one was not made by this version, none is in all of them, or a score's
            protocols differ: then with the fields in which they do.
    """
    each = dict(_each(results))
    if not each:
        raise UserError("Give the scores of one model or more. Received: none.")
    for title, result in each.items():
        require_scores(title, result)
    first, *others = each
    names = [
        name
        for name in each[first]["rows"]["real"]
        if name in SCORES and all(name in each[other]["rows"]["real"] for other in others)
    ]
    if not names:
        raise UserError(f"No score is there of all: {', '.join(each)}. Score them alike.")
    # Means over seeds are of no one seed.
    seedless = {"seed": None} if len(each) > len(results) else {}
    for name in names:
        for other in others:
            told = format_differences(
                {**protocol_of(each[first], name), **seedless},
                {**protocol_of(each[other], name), **seedless},
            )
            if told:
                raise UserError(
                    f"{name} of {first} and of {other} were made under different protocols, so "
                    f"they cannot stand in one column: {told}. Score both alike: keras-faces "
                    "evaluate RUN --out FILE, on the same pictures, with the same --split, "
                    "--count and --seed."
                )
    return names


def _each(results: Results) -> Iterator[tuple[str, dict]]:
    """Yield all results by a name of their own."""
    for title, some in results.items():
        if isinstance(some, dict):
            yield title, some
        else:
            yield from ((f"{title}, number {n}", one) for n, one in enumerate(some, 1))


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


def compare(results: Results, format: str = "text") -> str:
    """Return the scores of several models as one table; arguments and errors as `comparable`.

    In each column the best is marked, and what does not differ from it by more than noise. Below
    stands what that means, and which scores not all of them have; not below CSV.

    Args:
        results: As of `comparable`.
        format: One of `formats.FORMATS`; `"csv"` has the numbers as they are.
    """
    table, notes = compared(results, format)
    return with_notes(format, table, notes)


def compared(results: Results, format: str = "text") -> tuple[str, list[str]]:
    """Return the table that `compare` returns, and what is to be said below it."""
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    names = comparable(results)
    rows = _over_seeds(results, names)
    counts = {
        title: max(len(score.values) for score in row.values()) for title, row in rows.items()
    }
    marks = {name: _marks(name, rows) for name in names}
    if format == "csv":
        table = [["faces", "n", *(head for n in names for head in (n, f"{n}_std", f"{n}_mark"))]]
        for title, row in rows.items():
            numbers = (_numbers(row[n], marks[n].get(title, "")) for n in names)
            table.append([title, str(counts[title]), *itertools.chain(*numbers)])
    else:
        seeds = max(counts.values()) > 1
        marked = max(map(len, marks.values())) > 0
        table = [["faces", *["seeds"] * seeds, *(SCORES[name].title for name in names)]]
        for title, row in rows.items():
            count = [str(counts[title]) if title != REAL else ""] * seeds
            cells = [row[name].text(SCORES[name].form) for name in names]
            if marked:
                signs = [SIGNS.get(marks[name].get(title, ""), " ") for name in names]
                cells = [f"{cell} {sign}" for cell, sign in zip(cells, signs, strict=True)]
            table.append([title, *count, *cells])
        if format != "text":
            table = [[cell.strip() for cell in row] for row in table]
    known = {name for _, result in _each(results) for name in result["rows"]["real"]}
    left_out = [score.title for name, score in SCORES.items() if name in known - set(names)]
    notes = []
    if left_out:
        notes.append(f"Left out, since not all have them: {', '.join(left_out)}.")
    return FORMATS[format](table), notes + _told_of_marks(counts, marks)


def _over_seeds(results: Results, names: Sequence[str]) -> dict[str, dict[str, OverSeeds]]:
    """Return the rows of a table: of the real faces, and of each sampler of each entry."""
    rows = {}
    for title, some in results.items():
        each = [some] if isinstance(some, dict) else list(some)
        for sampler in dict.fromkeys(row for result in each for row in result["rows"]):
            if sampler == "real" and rows:
                continue
            records = {
                name: [one["rows"][sampler][name] for one in each if sampler in one["rows"]]
                for name in names
            }
            rows[REAL if sampler == "real" else f"{title} ({sampler})"] = {
                name: OverSeeds([r["value"] for r in of], [r["std"] for r in of], sampler != "real")
                for name, of in records.items()
            }
    return rows


def _marks(name: str, rows: dict[str, dict[str, OverSeeds]]) -> dict[str, str]:
    """Return which of several rows is the best in a column, and which lie within noise of it."""
    own = {t: row[name] for t, row in rows.items() if t != REAL and row[name].known}
    real = rows[REAL][name].mean()
    if len(own) < 2 or (real is None and SCORES[name].better == "real"):
        return {}
    best = min(own, key=lambda title: shortfall(name, own[title].mean()[0], real and real[0]))
    within = {title: within_noise(own[best], score) for title, score in own.items()}
    marks = {
        title: {True: "noise", False: "", None: "unknown"}[is_] for title, is_ in within.items()
    }
    return {**marks, best: "best"}


def _numbers(score: OverSeeds, mark: str) -> list[str]:
    return [
        *("" if number is None else repr(number) for number in score.mean() or (None, None)),
        mark,
    ]


def _told_of_marks(counts: dict[str, int], marks: dict[str, dict[str, str]]) -> list[str]:
    """Return what marks and errors mean."""
    found = {mark for column in marks.values() for mark in column.values()}
    own = {count for title, count in counts.items() if title != REAL}
    notes = []
    if max(own) > 1:
        notes.append(
            "± is the deviation over the seeds; of one training the error over the pictures."
        )
    if found:
        notes.append(
            f"{SIGNS['best']} the best of its column, {SIGNS['noise']} within noise of it: Welch's "
            "t-test finds no difference at the 5 % level."
        )
    if "unknown" in found:
        notes.append(f"{SIGNS['unknown']} may be noise or not: no error is known of one of them.")
    if found and 1 in own:
        notes.append(
            "Of one training, noise is what other samples would give, not what another seed would: "
            "a difference without a mark may still be chance. Several seeds tell."
        )
    return notes


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
    # The same pictures, and each place where they lay; and all seeds.
    for field, between in (("source", " and "), ("seed", ", ")):
        told[field] = between.join(
            dict.fromkeys(str(result["protocol"].get(field)) for result in results)
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
    return as_text(lines)


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
