"""The models of a report, trained by recipes and scored alike."""

import hashlib
import json
import math
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_faces.checkpoints import read_latest
from keras_faces.data import open_faces
from keras_faces.data.sources.base import SourceLike, each, named
from keras_faces.errors import UserError, number_of, require_whole, unknown_name
from keras_faces.files import write_whole
from keras_faces.metrics.scores import (
    CHEAP_SCORES,
    FORMAT,
    as_list,
    resolve_scores,
    score,
    score_copies,
    shortfall,
)
from keras_faces.metrics.tables import Classifiers, Copies, differences, read_scores
from keras_faces.metrics.training_data import training_data
from keras_faces.plan import TrainingPlan, resolve
from keras_faces.process import python
from keras_faces.recipes import BUDGETS, Budget, load_recipe
from keras_faces.reports.schema import Part, Report, Trained
from keras_faces.runs import Run
from keras_faces.saving import load_model
from keras_faces.schema import as_json, mismatch, read_json
from keras_faces.screen import shell_line
from keras_faces.trained import TrainedModel

BEST = {"best": "face_detection_rate"}  # the score by which a run's best step is chosen
SCORE_EVERY = {"quick": 10, "paper": 1}  # epochs


def train_parts(
    report: Report,
    folder: Path,
    runs: Path,
    data: SourceLike | None,
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
    # What is wrong or missing is told before hours of training.
    given = {"budget": budget, "data": data, **further}
    plans = {
        part.name: resolve(load_recipe(part.recipe).model, part.recipe, **_over(given, part))
        for part in report.parts
    }
    pictures = {name: _pictures(data, plan) for name, plan in plans.items()}
    claim = {"data": None}
    if data is not None:
        claim = {"data": named(data), "pictures": pictures}
    _claim(folder, {**claim, "budget": budget, **further})
    planned = [(part, seed) for seed in seeds for part in report.parts]
    trained = []
    for number, (part, seed) in enumerate(planned, 1):
        print_fn(
            f"Part {number} of {len(planned)}: {part.title}, recipe {part.recipe}, seed {seed}"
        )
        run = run_of(part, seed, runs, pictures[part.name], budget, further)
        line = _train(part, seed, run, data, budget, _over(further, part))
        results = _scored(report, run, data, seed, count, print_fn)
        facts = _training(run, further["best"])
        trained.append(Trained(part, seed, run, line, facts, *results, data))
    return trained


def _over(given: dict, part: Part) -> dict:
    """Return arguments of a training, those of a part before others."""
    return {**given, **part.arguments}


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


def _pictures(data: SourceLike | None, plan: TrainingPlan) -> str | None:
    """Return what tells a source's pictures and labels from others, wherever they are moved."""
    if data is None:
        return None
    source = plan.open_source()
    faces = open_faces(
        source,
        image_size=plan.hyperparameters.get("image_size", 64),
        batch_size=1,
        split="all",
        crop=plan.with_source(source).crop,
        channels=plan.hyperparameters.get("channels"),
        labels=plan.labels,
    )
    return " ".join(filter(None, [faces.protocol["fingerprint"], faces.labels_digest]))


def run_of(
    part: Part, seed: int, runs: Path, pictures: str | None, budget: str, further: dict
) -> Run:
    """Return the run that trains a part: another for all that changes what comes of it.

    Two parts that say the same share one, and a recipe that has changed begins another. So do
    other pictures, for which stands what `_pictures` returns; None for the recipe's own source.
    """
    loaded = load_recipe(part.recipe)
    facts = {**loaded.arguments(budget, pictures), "further": further}
    for name, value in part.arguments.items():
        if name in Budget.__annotations__:
            facts[name] = value
        else:
            facts["hyperparameters"] = {**facts.get("hyperparameters", {}), name: value}
    if facts.get("crop") == TrainingPlan.crop:
        del facts["crop"]  # said or not, the same run
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Run(runs / f"{loaded.model}-{budget}-{digest[:8]}-seed-{seed}")


def _train(part, seed, run, data, budget, further) -> str:
    """Train where that is not done; return the command that does the same."""
    model = load_recipe(part.recipe).model
    words = ["train", model, "--recipe", part.recipe, "--budget", budget]
    source = [] if data is None else [w for one in each(data) for w in ("--data", str(one))]
    words += [*source, "--seed", str(seed)]
    for name, value in further.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    if not run.exists:
        command([*words, "--run", str(run.folder), "--count", "0"])
    elif not run.model_path.is_file():
        command(["resume", str(run.folder), *source])
    return shell_line(["keras-faces", *words])


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
        raise UserError(f"This failed, see above: {shell_line(['keras-faces', *words])}")


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


def _training(run: Run, best: str) -> dict[str, float | None]:
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
    config = run.config()
    images = position["step"] * config["data"]["batch_size"]
    model = load_model(run.model_path)
    learnt = {id(v): v for player in model.players for v in player.variables}.values()
    return {
        "parameters": sum(math.prod(variable.shape) for variable in learnt),
        "minutes": position["seconds"] / 60,
        "images_per_second": images / position["seconds"],
        "steps": position["step"],
        "epochs": position["step"] / config["steps_per_epoch"],
        "best_epoch": epochs_to_best(run, best),
    }


def epochs_to_best(run: Run, name: str) -> int | None:
    """Return the epoch by which a run was as good as it became, by `scores.csv`.

    The first whose score lies within the standard error of the best one's: of two samples that
    close, neither is better.

    Args:
        run: The run.
        name: The score.
    """
    best = run.best_score()
    rows = [row for row in run.score_rows.rows() if not math.isnan(row.get(name, math.nan))]
    if best is None or not rows:
        return None
    missing = [shortfall(name, row[name], best["real"]) for row in rows]
    least = min(missing)
    error = rows[missing.index(least)].get(f"{name}_std", math.nan)
    limit = least if math.isnan(error) else least + error
    return next(row["epoch"] for row, by in zip(rows, missing, strict=True) if by <= limit)


def _scored(report, run, data, seed, count, print_fn) -> tuple[dict | None, ...]:
    """Return the scores of the last model, the best one, reconstructions, and classifiers."""
    names = list(dict.fromkeys(c.score for c in report.columns if c.of == "samples"))
    result = best = copies = classifiers = None
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
    if any(column.of == "classifiers" for column in report.columns):
        place = run.folder / f"scores-classifiers-{count}.json"
        classifiers = _read(place)
        if mismatch(classifiers, Classifiers):
            trained = TrainedModel(run.model_path)
            learnt, asked = trained.faces(data=data), trained.faces(data=data, split="test")
            classifiers = training_data(trained.model, learnt, asked, count, seed)
            write_whole(place, as_json(classifiers))
    return result, best, copies, classifiers


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
