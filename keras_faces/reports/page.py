"""A report as a page that holds its pictures, as Markdown, and as numbers."""

import base64
import html
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from keras_faces import formats
from keras_faces.errors import UserError
from keras_faces.metrics.scores import SCORES
from keras_faces.metrics.tables import format_protocol
from keras_faces.pictures import (
    PlottedValues,
    first_faces,
    plot_losses,
    plot_values,
    save_picture,
)
from keras_faces.process import versions
from keras_faces.reports.drawings import DRAWINGS
from keras_faces.reports.rows import REAL, Row
from keras_faces.reports.schema import OF, Figure, Part, Report, Trained, title_of
from keras_faces.runs import Run


class Picture(NamedTuple):
    """One picture of a figure.

    Attributes:
        caption: What tells it from the others.
        path: Its file.
        pixels: Whether it shows faces pixel by pixel, which on a screen are small.
    """

    caption: str
    path: Path
    pixels: bool = False


class Drawn(NamedTuple):
    """A figure whose pictures are there.

    Attributes:
        title: What it shows.
        pictures: Its pictures.
        reason: Why there are none.
    """

    title: str
    pictures: list[Picture]
    reason: str = ""


PLOTS = ("losses.png", "scores.png")  # of the pictures in a run
WIDTH = 1088  # pixels of a page, in which eight faces of 64 pixels stand beside each other, doubled
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { background: #f4f4f4; }
figure { display: inline-block; margin: 0 .75rem .75rem 0; vertical-align: top; }
figcaption { color: #555; font-size: .85rem; }
img { max-width: 100%; }
img.pixels { image-rendering: pixelated; }
code, pre { background: #f4f4f4; padding: .1rem .3rem; overflow-x: auto; }
"""


def make_figures(
    report: Report, trained: Sequence[Trained], rows: Sequence[Row], folder: Path
) -> list[Drawn]:
    """Copy or draw the pictures of a report out of its runs and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for figure in report.figures:
        if figure.plot:
            if values := _plotted(figure, report.parts, rows):
                name = figure.over or "-".join(figure.plot).replace(" ", "_")
                target = folder / f"{name}.png"
                plot_values(values, target, figure.title, figure.over.replace("_", " "))
                drawn.append(Drawn(figure.title, [Picture("", target)]))
            continue
        one = next((t for t in trained if t.part.name == figure.part), None)
        if one is None:  # it is missing, which the notes say
            continue
        try:
            pictures = list(_pictures(figure, one, folder))
        except UserError as error:
            drawn.append(Drawn(figure.title, [], f"Not drawn: {error}"))
            continue
        if pictures:
            drawn.append(Drawn(figure.title, pictures))
    return drawn


def _pictures(figure: Figure, one: Trained, folder: Path) -> Iterator[Picture]:
    """Make the pictures of a figure of one run."""
    run, name = one.run, figure.part
    for place in sorted(run.folder.glob(figure.files)) if figure.files else ():
        target = folder / f"{name}-{place.name}"
        if figure.count is None:
            shutil.copyfile(place, target)
        else:
            with Image.open(place) as picture:
                config = run.config()
                size, scale = config["data"]["image_size"], config.get("scale", 1)
                save_picture(first_faces(picture.reduce(scale), size, figure.count), target)
        yield Picture(_caption(place, run), target, place.name not in PLOTS)
    rows = run.rows()
    if figure.curves and rows:
        target = folder / f"{name}-{'-'.join(figure.curves)}.png"
        plot_losses(rows, target, run.folder.name, figure.curves)
        yield Picture("", target)
    if figure.draw:
        target = folder / f"{name}-{figure.draw}.png"
        DRAWINGS[figure.draw](one, target)
        yield Picture("", target, figure.draw == "smiles")


def _plotted(
    figure: Figure, parts: Sequence[Part], rows: Sequence[Row]
) -> dict[str, PlottedValues]:
    """Return what is plotted of each column: the parts' values, and that of real faces."""
    plotted = {}
    real = next((row for row in rows if row.title == REAL), None)
    for title in figure.plot:
        means = {row.part: row.mean(title) for row in rows if row.part}
        lines: dict[str, dict] = {}
        for part in parts:
            found = means.get(part.title)
            if found is None or (figure.over and figure.over not in part.swept):
                continue
            place = part.arguments[figure.over] if figure.over else part.title
            lines.setdefault(part.along(figure.over) if figure.over else "", {})[place] = found
        line = real.mean(title) if real else None
        if lines:
            plotted[title] = PlottedValues(lines, line and line[0])
    return plotted


def _caption(place: Path, run: Run) -> str:
    """Say what a picture of a run is: its step, or its sampler."""
    what = place.stem.split("-", 1)[-1]
    if not what.startswith("step-"):
        return what
    step = int(what.removeprefix("step-"))
    return f"step {step}, epoch {step / run.config()['steps_per_epoch']:.3g}"


def as_dict(
    name: str,
    report: Report,
    trained: Sequence[Trained],
    rows: Sequence[Row],
    budget: str,
    missing: Mapping[str, str] | None = None,
) -> dict:
    """Return a report's numbers, what each was made with, and what is missing and why."""
    names = {column.score for column in report.columns}

    def of(part: str, title: str):
        return next((row.mean(title) for row in rows if row.part == part), None)

    return {
        "report": name,
        "document": report.document,
        "states": report.states,
        "verdict": report.verdict([t.classifiers for t in trained]) if report.verdict else None,
        "budget": budget,
        "missing": dict(missing or {}),
        "versions": versions(),
        "rows": [row._asdict() for row in rows],
        "claims": [{"says": c.says, "here": c.check(of)} for c in report.claims],
        "parts": [
            {
                "title": t.part.title,
                "seed": t.seed,
                "command": t.command,
                "minutes": round(t.training["minutes"], 2),
                "steps": t.training["steps"],
                "best": t.run.best_score(),
                "protocol": (t.result or t.copies or t.classifiers or {}).get("protocol"),
                "needs": (t.result or t.copies or {}).get("needs"),
                "not_computed": {
                    name: reason
                    for name, reason in (t.result or {}).get("not_computed", {}).items()
                    if name in names
                },
            }
            for t in trained
        ],
    }


def as_markdown(
    report: Report, rows: Sequence[Row], figures: Sequence[Drawn], content: dict
) -> str:
    """Return a report as Markdown; pictures are linked from beside it."""
    lines = [f"# {report.title}", "", f"*{report.document}*. {report.states}".strip(), ""]
    if rows:
        lines += [formats.as_markdown(_table(report, rows)), ""]
    lines += [f"{note}\n" for note in _notes(report, content)]
    if content["claims"]:
        lines += [formats.as_markdown(_claims(content)), ""]
    lines += [
        f"- {part['title']}, seed {part['seed']}: `{part['command']}`, {_took(part)}"
        for part in content["parts"]
    ]
    for title, pictures, reason in figures:
        lines += ["", f"**{title}**", "", *([reason] if reason else [])]
        lines += [
            f"![{title}, {caption}](figures/{path.name})"
            if caption
            else f"![{title}](figures/{path.name})"
            for caption, path, _ in pictures
        ]
    return "\n".join(lines) + "\n"


def as_html(report: Report, rows: Sequence[Row], figures: Sequence[Drawn], content: dict) -> str:
    """Return a report as one page that needs no other file."""
    say = html.escape
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{say(report.title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{say(report.title)}</h1><p><em>{say(report.document)}</em>. {say(report.states)}</p>",
    ]
    if rows:
        parts.append(formats.as_html(_table(report, rows)))
    parts += [f"<p>{say(note)}</p>" for note in _notes(report, content)]
    if content["claims"]:
        parts.append(formats.as_html(_claims(content)))
    for title, pictures, reason in figures:
        parts.append(f"<section><h2>{say(title)}</h2>")
        parts += [f"<p>{say(reason)}</p>"] if reason else []
        for caption, path, pixels in pictures:
            data = base64.b64encode(path.read_bytes()).decode()
            told = f"<figcaption>{say(caption)}</figcaption>" if caption and pictures[1:] else ""
            size = _size_of(path) if pixels else ""
            image = f"<img alt='{say(title)}'{size} src='data:image/png;base64,{data}'>"
            parts.append(f"<figure>{image}{told}</figure>")
        parts.append("</section>")
    parts.append("<h2>How it was made</h2><ul>")
    parts += [
        f"<li>{say(part['title'])}, seed {part['seed']}: <code>{say(part['command'])}</code>, "
        f"{say(_took(part))}</li>"
        for part in content["parts"]
    ]
    told = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    parts.append(f"</ul><p>{say(told)}</p></body></html>")
    return "\n".join(parts)


def _size_of(path: Path) -> str:
    """Return how large a page shows a picture of faces: twice as large where it has room."""
    with Image.open(path) as picture:
        width = picture.width
    return f" class='pixels' width='{2 * width if 2 * width <= WIDTH else width}'"


def _claims(content: dict) -> list[list[str]]:
    claims = [[one["says"], one["here"]] for one in content["claims"]]
    return [["the document's claim", "here"], *claims]


def _table(report: Report, rows: Sequence[Row]) -> list[list[str]]:
    """Return the table: for each column the document's value, where it has one, and ours.

    What could not be computed keeps a column only beside the document's value; the notes name it.
    """
    stated = {title for row in rows for title in row.states}
    computed = {title for row in rows for title in row.values}
    columns = [column for column in report.columns if column.title in stated | computed]
    head = ["faces"]
    for column in columns:
        if column.title in stated:
            head.append(f"{column.title}: document" + ("" if column.same_measure else " (*)"))
        head.append(f"{title_of(column)}: here" if column.title in stated else title_of(column))
    table = [head]
    for row in rows:
        cells = [row.title]
        for column in columns:
            if column.title in stated:
                value = row.states.get(column.title)
                cells.append("" if value is None else f"{value:g}")
            cells.append(row.cell(column) if column.title in computed else "not computed")
        table.append(cells)
    return table


def _notes(report: Report, content: dict) -> list[str]:
    notes = [content["verdict"]] if content.get("verdict") else []
    if content.get("missing"):
        told = "; ".join(f"{what} ({why})" for what, why in content["missing"].items())
        notes.append(f"Missing: {told}.")
    if any(not column.same_measure for column in report.columns):
        notes.append("(*) Measured in another way than here: the two must not be compared.")
    protocols = [part["protocol"] for part in content["parts"] if part["protocol"]]
    if protocols:
        seeds = sorted({part["seed"] for part in content["parts"]})
        told = {**protocols[0], "seed": ", ".join(map(str, seeds))}
        needed = {OF[c.of][c.score].features for c in report.columns if c.of != "training"}
        for part in content["parts"]:
            for need in needed & (part["needs"] or {}).keys():
                told |= part["needs"][need]
        others = {
            part["title"]: part["protocol"]["generated"]
            for part in content["parts"]
            if part["protocol"] and part["protocol"]["generated"] != told["generated"]
        }
        if others:
            listed = ", ".join(f"{title} {count}" for title, count in others.items())
            told["generated"] = f"{told['generated']} ({listed})"
        notes.append(format_protocol(told))
        notes.append(
            "Of several seeds: mean ± deviation over the seeds; of one, and of real faces, which "
            "are the same for all, ± is the standard error over the pictures."
            if len(seeds) > 1
            else "± is the standard error over the pictures, of Inception Score and KID the "
            "deviation over their parts; what another training would give is not in it."
        )
    reasons: dict[str, list[str]] = {}
    for part in content["parts"]:
        for name, reason in part["not_computed"].items():
            reasons.setdefault(reason, []).append(_told_of(report, name))
    notes += [
        f"Not computed: {', '.join(dict.fromkeys(names))}. {reason}"
        for reason, names in reasons.items()
    ]
    return notes


def _told_of(report: Report, score: str) -> str:
    """Return what a report's table calls a score."""
    return next((title_of(c) for c in report.columns if c.score == score), score)


def _took(part: dict) -> str:
    text = f"{part['steps']} steps, {part['minutes']} min"
    if part["best"] is None:
        return text
    best = part["best"]
    of = best["protocol"]["generated"]
    return f"{text}, best of {of} samples at step {best['step']} ({SCORES[best['score']].title})"
