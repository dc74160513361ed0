"""Rebuild a document's table or figures: train, score, and write a page."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_faces.data.sources.base import SourceLike
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import write_whole
from keras_faces.reports.base import train_parts
from keras_faces.reports.page import as_dict, as_html, as_markdown, make_figures
from keras_faces.reports.registry import REPORTS
from keras_faces.reports.rows import rows_of
from keras_faces.screen import quoted


def reproduce(
    name: str,
    data: SourceLike | None = None,
    budget: str = "quick",
    seeds: Sequence[int] = (0,),
    count: int = 1000,
    out: str | os.PathLike | None = None,
    runs: str | os.PathLike | None = None,
    print_fn: Callable[[str], None] = print,
    **further,
) -> Path:
    """Rebuild a table or figures of a document: train, score, and write a page.

    What is done already is not done again, whichever report did it, and a run that was stopped
    goes on.

    Args:
        name: One of `list_reports()`.
        data: Source of faces, or several, as in `kf.data.load`; None takes each recipe's own, ORL
            for quick.
        budget: `"quick"`, minutes for each model, or `"paper"`, the document's own numbers.
        seeds: One training of every model for each seed; of several, means and deviations stand in
            the table.
        count: Samples to score of each model.
        out: The folder; None takes `reports/NAME`.
        runs: The folder of the runs, which all reports share; None takes `reports/runs`.
        print_fn: Where to send lines for the user.
        **further: Arguments of `kf.train` that go before every recipe's, such as `steps`. Without
            `score_every` and `best` in them, the model with the most detected faces is kept beside
            the last, as seen every 10 epochs (quick) or every epoch (paper).

    Returns:
        The folder: `report.html`, which holds its pictures, `report.md` with `figures/`, and
        `results.json`.

    Raises:
        UserError: If there is no such report, or the folder holds something else.
        Interrupted: If it was stopped; the same call goes on.
    """
    if name not in REPORTS:
        raise unknown_name("report", name, REPORTS)
    report = REPORTS[name]
    if data is None and report.data:
        raise UserError(f"Report {name!r} trains on {report.data}")
    folder = Path(out or Path("reports") / name).expanduser()
    runs = Path(runs or Path("reports") / "runs").expanduser()
    trained = train_parts(report, folder, runs, data, budget, seeds, count, print_fn, **further)
    rows = rows_of(report, trained)
    figures = make_figures(report, trained, rows, folder / "figures")
    shown = {figure.title for figure in figures}
    for figure in (f for f in report.figures if f.part and f.title not in shown):
        run = next(one.run for one in trained if one.part.name == figure.part)
        print_fn(
            f"Not in the report: {figure.title}. {str(run.folder)!r} lacks "
            f"{figure.files or 'metrics.csv'}: too few steps, or trained by an earlier version. "
            f"In that case this draws it: keras-faces resume {quoted(run.folder)}"
        )
    content = as_dict(name, report, trained, rows, budget)
    write_whole(folder / "results.json", json.dumps(content, indent=1) + "\n")
    write_whole(folder / "report.md", as_markdown(report, rows, figures, content))
    write_whole(folder / "report.html", as_html(report, rows, figures, content))
    print_fn(as_markdown(report, rows, [], content))
    print_fn(f"Report: {folder / 'report.html'}")
    return folder
