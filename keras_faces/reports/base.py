"""A report: models trained by recipes, scored alike, in one table beside the document's numbers."""

import hashlib
import json
import math
import os
import shlex
import signal
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_faces.checkpoints import read_latest
from keras_faces.data import open_faces
from keras_faces.errors import UserError, number_of, require_whole, unknown_name
from keras_faces.files import write_whole
from keras_faces.metrics.scores import (
    CHEAP_SCORES,
    FORMAT,
    Value,
    as_list,
    resolve_scores,
    score,
    score_copies,
)
from keras_faces.metrics.tables import (
    Copies,
    differences,
    format_differences,
    protocol_of,
    read_scores,
)
from keras_faces.process import python
from keras_faces.recipes import BUDGETS, load_recipe
from keras_faces.reports.schema import Column, Part, Report
from keras_faces.runs import Run
from keras_faces.saving import load_model
from keras_faces.schema import as_json, mismatch, read_json
from keras_faces.trained import TrainedModel

REAL = "real faces"
BEST = {"best": "face_detection_rate"}  # the score by which a run's best step is chosen
SCORE_EVERY = {"quick": 10, "paper": 1}  # epochs


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        title: Model and sampler.
        states: The document's numbers by column.
        values: Ours by column, one for each seed; None where a score could not be computed.
        errors: Their standard errors.
        trained: Whether seeds differ by what was trained; those of real faces do not.
    """

    title: str
    states: dict[str, float]
    values: dict[str, list[float | None]]
    errors: dict[str, list[float | None]]
    trained: bool = True

    def cell(self, column: Column) -> str:
        """Return our value as text: over trainings mean and deviation, else value and its error."""
        known = [value for value in self.values.get(column.title, ()) if value is not None]
        if not known:
            return "none" if column.title in self.values else ""
        seeds = len(self.values[column.title])
        of = f" ({len(known)} of {seeds} seeds)" if len(known) < seeds else ""
        errors = [error for error in self.errors[column.title] if error is not None]
        error = statistics.mean(errors) if errors else None
        if len(known) > 1 and self.trained:
            spread = statistics.stdev(known)
            error = spread if spread or errors else None  # parameters are the same for all seeds
        text = f"{statistics.mean(known):{column.form}}"
        return f"{text}{of}" if error is None else f"{text} ± {error:{column.form}}{of}"


class Trained(NamedTuple):
    """A model of a report, trained with one seed.

    Attributes:
        part: Which.
        seed: Its seed.
        run: Its run.
        command: What trains the same.
        training: Values of `TRAINING`.
        result: What `score` returned of the model after its last step.
        best: The same of the one that was best while it learnt, with the first sampler, or None.
        copies: What `score_copies` returned, or None.
    """

    part: Part
    seed: int
    run: Run
    command: str
    training: dict[str, float]
    result: dict | None
    best: dict | None
    copies: dict | None


def train_parts(
    report: Report,
    folder: Path,
    runs: Path,
    data: str | os.PathLike | None,
    budget: str,
    seeds: Sequence[int],
    count: int,
    print_fn: Callable[[str], None],
    **further,
) -> list[Trained]:
    """Train and score what is not there yet; arguments as of `reproduce`.

    Raises:
        UserError: If what is in the folder was made with other arguments.
    """
    if budget not in BUDGETS:
        raise UserError(f"budget must be one of {', '.join(BUDGETS)}. Received: {budget!r}.")
    require_whole(minimum=2, count=count)
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"Give seeds, each once. Received: {list(seeds)}.")
    for seed in seeds:
        require_whole(minimum=0, seed=seed)
    further = {**BEST, "score_every": SCORE_EVERY[budget], **further}
    if further.get("scores") is not None:
        further["scores"] = as_list(further["scores"])
    require_whole(score_every=further["score_every"])
    computed = resolve_scores(further.get("scores", CHEAP_SCORES))
    if further["best"] not in computed:
        raise unknown_name("score computed while it learns", further["best"], computed)
    for part in report.parts:  # what is missing is told before hours of training
        load_recipe(part.recipe).arguments(budget, data)
    pictures = {p.recipe: _pictures(data, p.recipe, budget, further) for p in report.parts}
    given = {"data": None}
    if data is not None:
        given = {"data": str(data), "pictures": pictures}
    _claim(folder, {**given, "budget": budget, **further})
    planned = [(part, seed) for seed in seeds for part in report.parts]
    trained = []
    for number, (part, seed) in enumerate(planned, 1):
        print_fn(
            f"Part {number} of {len(planned)}: {part.title}, recipe {part.recipe}, seed {seed}"
        )
        run = run_of(part.recipe, seed, runs, pictures[part.recipe], budget, further)
        line = _train(part, seed, run, data, budget, further)
        results = _scored(report, run, data, seed, count, print_fn)
        trained.append(Trained(part, seed, run, line, _training(run), *results))
    return trained


def _claim(folder: Path, facts: dict) -> None:
    place = folder / "report.json"
    earlier = _read(place)
    if earlier is not None:
        if "pictures" in earlier and earlier["pictures"] == facts.get("pictures"):
            earlier["data"] = facts["data"]  # wherever they lie now
        found = differences(earlier, facts)
        if found:
            told = "; ".join(
                f"{key}: {was!r} then, {now!r} now" for key, (was, now) in found.items()
            )
            raise UserError(
                f"{str(folder)!r} was begun with other arguments ({told}). Give those to go on "
                "with it, or another folder with --out."
            )
    elif not place.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{str(folder)!r} holds something else. Give another folder with --out.")
    write_whole(place, as_json(facts))


def _pictures(
    data: str | os.PathLike | None, recipe: str, budget: str, further: dict
) -> str | None:
    """Return what tells a source's pictures and labels from others, wherever they are moved."""
    if data is None:
        return None
    arguments = load_recipe(recipe).arguments(budget, data)
    shape = {**arguments["hyperparameters"], **further}
    faces = open_faces(
        data,
        image_size=shape.get("image_size", 64),
        batch_size=1,
        split="all",
        crop=arguments.get("crop", "center"),
        channels=shape.get("channels"),
        labels=arguments.get("labels"),
    )
    return " ".join(filter(None, [faces.protocol["fingerprint"], faces.labels_digest]))


def run_of(
    recipe: str, seed: int, runs: Path, pictures: str | None, budget: str, further: dict
) -> Run:
    """Return the run that trains a recipe: another for all that changes what comes of it.

    Two recipes that say the same share one, and a recipe that has changed begins another. So do
    other pictures, for which stands what `_pictures` returns; None for the recipe's own source.
    """
    loaded = load_recipe(recipe)
    facts = {**loaded.arguments(budget, pictures), "further": further}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Run(runs / f"{loaded.model}-{budget}-{digest[:8]}-seed-{seed}")


def _train(part, seed, run, data, budget, further) -> str:
    """Train where that is not done; return the command that does the same."""
    model = load_recipe(part.recipe).model
    words = ["train", model, "--recipe", part.recipe, "--budget", budget]
    source = [] if data is None else ["--data", str(data)]
    words += [*source, "--seed", str(seed)]
    for name, value in further.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    if not run.exists:
        command([*words, "--run", str(run.folder), "--count", "0"])
    elif not run.model_path.is_file():
        command(["resume", str(run.folder), *source])
    return shlex.join(["keras-faces", *words])


def command(words: Sequence[str]) -> None:
    """Run `keras-faces` in a process of its own: as a user would who repeats a report's command.

    Raises:
        UserError: If it fails, which has said why.
        KeyboardInterrupt: If it was stopped.
    """
    process = subprocess.Popen(**python("-m", "keras_faces.cli", *words))
    code = _ended(process)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt
    if code:
        raise UserError(f"This failed, see above: {shlex.join(['keras-faces', *words])}")


def _ended(process: subprocess.Popen) -> int:
    """Return a process's exit status; where this one is stopped, that one has time to save.

    `subprocess.run` would kill it after a quarter of a second.
    """
    stopped = None
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt as stop:
            # Ctrl-C has reached both, SIGTERM this process alone.
            if number_of(stop) == signal.SIGTERM:
                process.terminate()
            stopped = stopped or stop
            continue
        if stopped is not None:
            raise stopped
        return code


def _training(run: Run) -> dict[str, float]:
    """Return what a finished run says of its training: see `TRAINING`."""
    latest = read_latest(run.checkpoints)
    if latest is None:
        raise UserError(
            f"The run {str(run.folder)!r} is finished and its checkpoints are gone, which say how "
            "long it took. Delete the folder to train it again."
        )
    position = latest[0]
    if not position.get("seconds"):
        raise UserError(f"The checkpoints of {str(run.folder)!r} do not say how long it took.")
    images = position["step"] * run.config()["data"]["batch_size"]
    model = load_model(run.model_path)
    learnt = {id(v): v for player in model.players for v in player.variables}.values()
    return {
        "parameters": sum(math.prod(variable.shape) for variable in learnt),
        "minutes": position["seconds"] / 60,
        "images_per_second": images / position["seconds"],
        "steps": position["step"],
    }


def _scored(
    report, run, data, seed, count, print_fn
) -> tuple[dict | None, dict | None, dict | None]:
    """Return the scores of the last model, of the best one, and of reconstructions."""
    names = list(dict.fromkeys(c.score for c in report.columns if c.of == "samples"))
    result = best = copies = None
    if names:
        result = _result(run, run.model_path, names, data, seed, count, None, print_fn)
        if run.best_path.is_file() and run.best_score() is not None:
            sampler = [run.best_score()["sampler"]]
            best = _result(run, run.best_path, names, data, seed, count, sampler, print_fn)
    if any(column.of == "copies" for column in report.columns):
        place = run.folder / f"scores-copies-{count}.json"
        copies = _read(place)
        if mismatch(copies, Copies) or copies["format"] != FORMAT or copies["not_computed"]:
            trained = TrainedModel(run.model_path)
            copies = score_copies(trained.model, trained.faces(data=data), count, seed)
            write_whole(place, as_json(copies))
    return result, best, copies


def _result(run, path, names, data, seed, count, samplers, print_fn) -> dict:
    """Return a model's scores: those that were computed for any report are kept in its run."""
    place = run.folder / f"scores-{path.stem}-{count}.json"
    kept = None
    if place.is_file():
        try:
            kept = read_scores(place)
        except UserError:
            print_fn(f"Scored anew, since it is damaged or of another version: {place}")
    missing = [name for name in names if kept is None or name not in kept["rows"]["real"]]
    if not missing:
        return kept
    trained = TrainedModel(path)
    model, stream = trained.model, trained.faces(data=data)
    if kept is None:
        print_fn(f"Scoring {count} samples of {path.name} ...")
    result = score(model, stream, count, seed, samplers, missing, progress=True)
    if kept is not None and not _joined(result, kept, missing):
        print_fn(f"Scored anew, since its protocol is another now: {place}")
        result = score(model, stream, count, seed, samplers, names, progress=True)
    write_whole(place, as_json(result))
    return result


def _joined(result: dict, kept: dict, missing: Sequence[str]) -> bool:
    """Add to scores those that were kept, and return whether that can be."""
    shared = result["needs"].keys() & kept["needs"]
    if (
        differences(kept["protocol"], result["protocol"])
        or any(kept["needs"][need] != result["needs"][need] for need in shared)
        or kept["rows"].keys() != result["rows"].keys()
    ):
        return False
    for row, records in result["rows"].items():
        records |= {**kept["rows"][row], **records}
    result["needs"] = {**kept["needs"], **result["needs"]}
    earlier = {n: why for n, why in kept["not_computed"].items() if n not in missing}
    result["not_computed"] = {**earlier, **result["not_computed"]}
    return True


def _read(place: Path) -> dict | None:
    """Return what a file holds; None where it is not there, or damaged."""
    try:
        return read_json(place, dict, "")
    except UserError:
        return None


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
    for part in report.parts:
        ours = [t for t in trained if t.part == part]
        samplers = [s for s in (ours[0].result or {"rows": {}})["rows"] if s != "real"] or [""]
        for place, sampler in enumerate(samplers):
            title = f"{part.title} ({sampler})" if sampler else part.title
            sources = [{"samples": _of(t.result, sampler)} for t in ours]
            if place:
                rows.append(_row(title, {}, report, sources))
                continue
            # The document's numbers stand beside the prior, which it sampled from; copies and
            # training know no sampler.
            for t, source in zip(ours, sources, strict=True):
                source["copies"] = (t.copies or {"scores": {}})["scores"]
                source["training"] = {k: Value(v)._asdict() for k, v in t.training.items()}
            rows.append(_row(title, part.states, report, sources))
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
