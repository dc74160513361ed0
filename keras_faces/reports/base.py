"""The models of a report, trained by recipes and scored alike."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_faces.checkpoints import read_latest
from keras_faces.data import open_faces
from keras_faces.data.sources.base import SourceLike, named
from keras_faces.errors import UserError, require_whole, unknown_name
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
from keras_faces.metrics.tables import (
    Classifiers,
    Copies,
    differences,
    format_differences,
    read_scores,
)
from keras_faces.metrics.training_data import training_data
from keras_faces.models import hyperparameters
from keras_faces.plan import FIELDS, TrainingPlan, resolve
from keras_faces.recipes import BUDGETS, Budget, load_recipe
from keras_faces.reports.schema import Part, Report, Trained
from keras_faces.reports.trainings import Planned, source_words, train
from keras_faces.runs import Run
from keras_faces.saving import load_model
from keras_faces.schema import as_json, mismatch, read_json
from keras_faces.screen import shell_line
from keras_faces.trained import TrainedModel

BEST = {"best": "face_detection_rate"}  # the score by which a run's best step is chosen
SCORE_EVERY = {"quick": 10, "paper": 1}  # epochs
# Fields of a plan that decide which pictures a model sees.
SEEN = ("split", "test_fraction", "people", "faces", "per_photo", "crop")


class Work(NamedTuple):
    """What became of a report's trainings.

    Attributes:
        trained: What is trained and scored.
        missing: What is not there, and why.
        failed: What failed now, and the command that did.
    """

    trained: list[Trained]
    missing: dict[str, str]
    failed: dict[str, str]


def train_parts(
    report: Report,
    folder: Path,
    runs: Path,
    data: SourceLike | None,
    budget: str,
    seeds: Sequence[int],
    count: int,
    print_fn: Callable[[str], None],
    part: str | None = None,
    jobs: int = 1,
    name: str = "",
    **further,
) -> Work:
    """Train and score what is not there yet; arguments as of `reproduce`.

    A training that fails does not keep the others from being trained.

    Raises:
        UserError: If what is in the folder was made with other arguments.
    """
    if budget not in BUDGETS:
        raise UserError(f"budget must be one of {', '.join(BUDGETS)}. Received: {budget!r}.")
    require_whole(minimum=2, count=count)
    require_whole(jobs=jobs)
    share = None if part is None else _share(part)
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
    plans, seen = {}, {}
    for one in report.parts:
        try:
            plan = plans[one.name] = _plan(one, budget, data, further)
            seen[one.title] = _seen(one, plan)
        except UserError as error:
            if not one.arguments:  # then it is not of this part alone
                raise
            raise UserError(f"{one.title}: {error}") from error
    if any(column.of in ("samples", "copies") for column in report.columns):
        _require_alike(seen)
    pictures = {name: _pictures(data, plan) for name, plan in plans.items()}
    claim = {"data": None}
    if data is not None:
        claim = {"data": named(data), "pictures": pictures}
    facts = {**claim, "budget": budget, **further, "report": name}
    parts = _claim(folder, facts, share and share[1])
    planned = []
    for seed in seeds:
        for one in report.parts:
            run = run_of(one, seed, runs, pictures[one.name], budget, further)
            words = _words(one, seed, data, budget, _over(further, one))
            planned.append(Planned(one, seed, run, words, data))
    # Two that say the same share a run.
    single = list({one.run.folder: one for one in reversed(planned)}.values())[::-1]
    chosen = single
    if share is not None:
        chosen = single[share[0] - 1 :: share[1]]
    elif parts is not None:
        chosen = []
    if share is not None and not chosen:
        print_fn(f"Nothing to train: part {part} of {len(single)} trainings holds none.")
    scored: dict[Path, tuple[dict | None, ...]] = {}

    def results(one: Planned) -> tuple[dict | None, ...]:
        if one.run.folder not in scored:
            scored[one.run.folder] = _scored(report, one.run, data, one.seed, count, print_fn)
        return scored[one.run.folder]

    failed = train(chosen, jobs, results, print_fn)
    if share is not None:
        return Work([], {}, failed)
    there = [one for one in planned if one.run.folder in scored or one.finished]
    trained = [
        Trained(
            one.part,
            one.seed,
            one.run,
            shell_line(["keras-faces", *one.words]),
            _training(one.run, further["best"]),
            *results(one),
            data,
        )
        for one in there
    ]
    missing = {
        one.told: failed.get(one.told) or f"of --part {number % (parts or 1) + 1}/{parts or 1}"
        for number, one in enumerate(single)
        if one not in there
    }
    return Work(trained, missing, failed)


def _share(part: str) -> tuple[int, int]:
    """Return which part of how many `I/N` is."""
    match = re.fullmatch(r"(\d+)/(\d+)", str(part), re.ASCII)
    number, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= parts:
        raise UserError(f"part must be I/N, such as 1/4 for the first of four. Received: {part!r}.")
    return number, parts


def _plan(part: Part, budget: str, data: SourceLike | None, further: dict) -> TrainingPlan:
    given = {"data": data, "budget": budget if part.recipe else None, **further}
    return resolve(part.trains, part.recipe, **_over(given, part))


def _seen(part: Part, plan: TrainingPlan) -> dict:
    """Return what decides which pictures a model sees, and how; look whether it can be built."""
    plan = plan.with_source(plan.open_source())
    if part.arguments:  # a recipe by itself is known to be right
        plan.build()
    known = hyperparameters(plan.model)
    return {
        "data": named(plan.data),
        **{name: getattr(plan, name) for name in SEEN},
        **{n: plan.hyperparameters.get(n, known[n].default) for n in ("image_size", "channels")},
    }


def _require_alike(seen: dict[str, dict]) -> None:
    """Refuse trainings whose scores could not stand in one column."""
    first = next(iter(seen))
    for title, facts in seen.items():
        if told := format_differences(seen[first], facts):
            raise UserError(
                f"{first!r} and {title!r} see other pictures, so their scores cannot stand in "
                f"one column: {told}. Give all of them the same."
            )


def _over(given: dict, part: Part) -> dict:
    """Return arguments of a training, those of a part before others."""
    return {**given, **part.arguments}


def _claim(folder: Path, facts: dict, parts: int | None) -> int | None:
    """Record with what a folder is made; return in how many parts it is, if in any."""
    place = folder / "report.json"
    earlier = _read(place)
    if earlier is not None:
        parts = parts or earlier.get("parts")
        earlier = {"report": facts["report"], **earlier, "parts": parts}
        before, now = earlier.get("pictures", {}), facts.get("pictures", {})
        if before and now and all(before[name] == now[name] for name in before.keys() & now):
            # Wherever they lie now, and for whichever other models they are wanted.
            earlier |= {"data": facts["data"], "pictures": now}
        found = differences(earlier, {**facts, "parts": parts})
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
    write_whole(place, as_json({**facts, "parts": parts}))
    return parts


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
    facts: dict[str, Any] = {"data": pictures or TrainingPlan.data}
    if part.recipe is not None:
        facts = load_recipe(part.recipe).arguments(budget, pictures)
    facts = {**facts, "further": further}
    for name, value in part.arguments.items():
        if name in Budget.__annotations__:
            facts[name] = value
        else:
            facts["hyperparameters"] = {**facts.get("hyperparameters", {}), name: value}
    if facts.get("crop") == TrainingPlan.crop:
        del facts["crop"]  # said or not, the same run
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    of = "plan" if part.recipe is None else budget
    return Run(runs / f"{part.trains}-{of}-{digest[:8]}-seed-{seed}")


def _words(part: Part, seed: int, data, budget: str, further: dict) -> list[str]:
    """Return the words of the command that trains a part, without its folder."""
    words = ["train", part.trains]
    if part.recipe is not None:
        words += ["--recipe", part.recipe, "--budget", budget]
    words += [*source_words(data), "--seed", str(seed)]
    for name, value in further.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool) and name in FIELDS:  # else a hyper-parameter's, which is a word
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            # A text that begins with a dash, or is empty, is no flag.
            alone = isinstance(value, str) and (not value or value.startswith("-"))
            words += [f"{flag}={value}"] if alone else [flag, str(value)]
    return words


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
            if copies is not None:  # a model that encodes nothing has none
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
            print_fn(f"Scored again, because it is damaged or from another version: {place}")
    missing = [name for name in names if kept is None or name not in kept["rows"]["real"]]
    if not missing:
        return kept
    trained = TrainedModel(path)
    model, stream = trained.model, trained.faces(data=data)
    if kept is None:
        print_fn(f"Scoring {count} samples of {path.name} ...")
    result = score(model, stream, count, seed, samplers, missing, progress=True)
    if kept is not None and not _joined(result, kept, missing):
        print_fn(f"Scored again, because its protocol has changed: {place}")
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
