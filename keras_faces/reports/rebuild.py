"""Rebuild a document's table or figures: train, score, and write a page."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_faces.data.sources.base import SourceLike
from keras_faces.errors import UserError
from keras_faces.files import write_whole
from keras_faces.reports.base import Work, train_parts
from keras_faces.reports.comparisons import find_report
from keras_faces.reports.page import as_dict, as_html, as_markdown, make_figures
from keras_faces.reports.rows import rows_of
from keras_faces.reports.schema import Report
from keras_faces.screen import quoted

DEFAULTS = {"budget": "quick", "seeds": (0,), "count": 1000}


def reproduce(
    name: str,
    data: SourceLike | None = None,
    budget: str | None = None,
    seeds: Sequence[int] | None = None,
    count: int | None = None,
    out: str | os.PathLike | None = None,
    runs: str | os.PathLike | None = None,
    print_fn: Callable[[str], None] = print,
    part: str | None = None,
    jobs: int = 1,
    **further,
) -> Path:
    """Rebuild a document's table or figures: train, score, and write a page.

    Trainings that another report has already done are reused, and interrupted runs are resumed. If
    a training fails, the page is made of the others.

    Args:
        name: One of `list_reports()`, or the path of your own `.toml` file that says what to
            compare.
        data: Source of faces, or several, as in `kf.data.load`; None uses each recipe's, which is
            ORL for quick.
        budget: `"quick"`, minutes for each model, or `"paper"`, the document's own settings. None
            uses the file's, or quick.
        seeds: One training of every model for each seed; with several, the table shows means and
            deviations. None uses the file's, or 0.
        count: Samples of each model to score; None uses the file's, or 1000.
        out: The folder; None uses `reports/NAME`.
        runs: The folder of the runs, which all reports share; None uses `reports/runs`.
        print_fn: Function that receives each line of output.
        part: `"I/N"`: train and score only every N-th training, beginning with the I-th, so that N
            such calls can run in parallel. The same call without it then makes the page of what
            exists, and says what is missing.
        jobs: Number of trainings at the same time, each on its share of the cores.
        **further: Arguments of `kf.train` that override every recipe's, such as `steps`. Without
            `score_every` and `best`, the model with the highest detection rate is kept beside the
            last one, measured every 10 epochs (quick) or every epoch (paper).

    Returns:
        The folder: `report.html`, which holds its pictures, `report.md` with `figures/`, and
        `results.json`.

    Raises:
        UserError: If there is no such report, the folder holds something else, or a training
            failed; the page then shows the others.
        Interrupted: If it was stopped; the same call resumes.
    """
    report = find_report(name)
    if data is None and report.data:
        raise UserError(f"Report {name!r} trains on {report.data}")
    given = {"data": data, "budget": budget, "seeds": seeds, "count": count}
    given = {key: value for key, value in given.items() if value is not None}
    arguments = {"data": None, **DEFAULTS, **report.defaults, **further, **given}
    called = Path(name).stem if name.endswith(".toml") else name
    folder = Path(out or Path("reports") / called).expanduser()
    runs = Path(runs or Path("reports") / "runs").expanduser()
    work = train_parts(
        report,
        folder,
        runs,
        print_fn=print_fn,
        part=part,
        jobs=jobs,
        name=Path(name).name,
        **arguments,
    )
    if part is None:
        _write(report, called, folder, work, arguments["budget"], print_fn)
    if work.failed:
        raise UserError(
            f"{len(work.failed)} of the trainings failed, see above: {'; '.join(work.failed)}. Run "
            "the same again to try again."
        )
    return folder


def _write(report: Report, name: str, folder: Path, work: Work, budget: str, print_fn) -> None:
    """Write the page of what is there."""
    missing = "; ".join(f"{what} ({why})" for what, why in work.missing.items())
    if not work.trained:
        raise UserError(f"Nothing is trained yet, so there is no page. Missing: {missing}.")
    rows = rows_of(report, work.trained)
    figures = make_figures(report, work.trained, rows, folder / "figures")
    shown = {figure.title for figure in figures}
    runs = {one.part.name: one.run for one in reversed(work.trained)}
    for figure in (f for f in report.figures if f.part in runs and f.title not in shown):
        run = runs[figure.part]
        print_fn(
            f"Not in the report: {figure.title}. {str(run.folder)!r} lacks "
            f"{figure.files or 'metrics.csv'}: too few steps, or trained by an earlier version. "
            f"In that case this draws it: keras-faces resume {quoted(run.folder)}"
        )
    content = as_dict(name, report, work.trained, rows, budget, work.missing)
    write_whole(folder / "results.json", json.dumps(content, indent=1) + "\n")
    write_whole(folder / "report.md", as_markdown(report, rows, figures, content))
    write_whole(folder / "report.html", as_html(report, rows, figures, content))
    print_fn(as_markdown(report, rows, [], content))
    print_fn(f"Report: {folder / 'report.html'}")
