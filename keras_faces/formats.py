"""Tables as text, Markdown, LaTeX, HTML or CSV."""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence

from keras_faces.screen import visible

Cells = Sequence[Sequence[str]]

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def as_text(rows: Cells) -> str:
    """Return a table in columns of spaces, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_markdown(rows: Cells) -> str:
    """Return a table in Markdown."""
    head, *body = ([visible(cell).replace("|", "\\|") for cell in row] for row in rows)
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in body)])


def as_latex(rows: Cells) -> str:
    """Return a table as a `tabular` of LaTeX, which needs no package."""
    signs = re.compile("|".join(map(re.escape, _LATEX)))
    lines = [
        " & ".join(signs.sub(lambda sign: _LATEX[sign[0]], visible(cell)) for cell in row) + r" \\"
        for row in rows
    ]
    begin = f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
    rule = r"\hline"
    return "\n".join([begin, rule, lines[0], rule, *lines[1:], rule, r"\end{tabular}"])


def as_html(rows: Cells) -> str:
    """Return a table in HTML."""

    def line(kind: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    head, *body = rows
    return f"<table>{line('th', head)}{''.join(line('td', cells) for cells in body)}</table>"


def as_csv(rows: Cells) -> str:
    """Return a table as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Cells], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "html": as_html,
}


def with_notes(format: str, table: str, notes: Sequence[str]) -> str:
    """Return a table with what is to be said of it below; CSV has no place for that."""
    if format == "csv":
        return table
    if format == "latex":
        return "\n".join([table, *(f"% {line}" for note in notes for line in note.splitlines())])
    if format == "html":
        return "\n".join([table, *(f"<p>{html.escape(note)}</p>" for note in notes)])
    return ("\n\n" if format == "markdown" else "\n").join([table, *notes])
