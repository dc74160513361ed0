"""Comparisons of one's own: a report whose trainings, seeds and scores a file lists.

A list of values, where one value is expected, is a sweep: one training for each.
"""

import math
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from keras_faces.errors import UserError, unknown_name
from keras_faces.files import read_regular
from keras_faces.introspection import PLAN, constant, documented_class
from keras_faces.metrics.scores import CHEAP_SCORES, as_list
from keras_faces.models import MODELS, hyperparameters
from keras_faces.recipes import BUDGETS, NAMES, load_recipe, require_known
from keras_faces.reports.registry import REPORTS
from keras_faces.reports.schema import OF, Column, Figure, Part, Report, sweep
from keras_faces.schema import Positive, Seed, mismatch

# Whatever of these is first has a score; classifiers are a report's own matter.
SCORED = ("samples", "copies", "training")
MOST = 1000  # trainings of an entry
DEFAULTS = ("data", "budget", "seeds", "count", "score_every", "best")


class Comparison(TypedDict):
    """What the file of a comparison holds."""

    trainings: list[dict[str, Any]]
    title: NotRequired[str]
    scores: NotRequired[str | list[str]]
    data: NotRequired[str | list[str]]
    budget: NotRequired[str]
    seeds: NotRequired[list[Seed]]
    count: NotRequired[Positive]
    score_every: NotRequired[Positive]
    best: NotRequired[str]


def find_report(name: str) -> Report:
    """Return a report.

    Args:
        name: One of `list_reports()`, or the path of a comparison's file, which ends in `.toml`.

    Raises:
        UserError: If there is no such report, or the file is none.
    """
    if name.endswith(".toml"):
        return read_comparison(name)
    if name not in REPORTS:
        raise unknown_name("report", name, REPORTS)
    return REPORTS[name]


def read_comparison(path: str | os.PathLike) -> Report:
    """Return the report that a file describes.

    Raises:
        UserError: If it cannot be read, or holds what cannot be meant.
    """
    path = Path(path)
    try:
        content = tomllib.loads(read_regular(path.expanduser()).decode())
        return _report(content, path)
    except OSError as error:
        raise UserError(f"Cannot read the comparison {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"Comparison {str(path)!r}: {error}") from error


def _report(content: dict, path: Path) -> Report:
    _require(content, Comparison, "")
    require_known("key", content, Comparison.__annotations__)
    for name in ("trainings", "scores", "seeds", "data"):
        if content.get(name) == []:
            raise UserError(f"{name} is an empty list. Give one or more.")
    if content.get("budget", BUDGETS[0]) not in BUDGETS:
        raise unknown_name("budget", content["budget"], BUDGETS)
    if "best" in content:
        require_known("score", [content["best"]], OF["samples"])
    columns = list(_columns(as_list(content.get("scores", CHEAP_SCORES))))
    parts = [
        part
        for number, training in enumerate(content["trainings"], 1)
        for part in _parts(training, f"trainings, number {number}")
    ]
    _require_different(parts)
    swept = dict.fromkeys(name for part in parts for name in part.swept)
    titles = [column.title for column in columns]
    return Report(
        content.get("title", path.stem),
        f"Trainings of {path.name}",
        "",
        parts,
        columns,
        [
            *(
                Figure(f"Scores over {name.replace('_', ' ')}", plot=titles, over=name)
                for name in swept
            ),
            *(Figure(part.title, part.name, "samples-*.png") for part in parts),
        ],
        defaults={name: content[name] for name in DEFAULTS if name in content},
    )


def _columns(scores: list[str]) -> Iterator[Column]:
    kinds = {name: kind for kind in reversed(SCORED) for name in OF[kind]}
    require_known("score", scores, kinds)
    for name in dict.fromkeys(scores):
        score = OF[kinds[name]][name]
        yield Column(score.title, name, form=score.form, of=kinds[name])


def _parts(training: dict, field: str) -> Iterator[Part]:
    """Yield the models that an entry of `trainings` stands for."""
    title = training.get("title", "")
    _require(title, str, f"{field}: title")
    of = [name for name in ("recipe", "model") if name in training]
    if len(of) != 1:
        raise UserError(
            f"{field} must have a recipe or a model, and not both. Received: "
            f"{' and '.join(of) or 'neither'}."
        )
    given = {name: value for name, value in training.items() if name not in ("title", *of)}
    chosen = training[of[0]] if isinstance(training[of[0]], list) else [training[of[0]]]
    if not chosen:
        raise UserError(f"{field}: {of[0]} is an empty list. Give one or more.")
    for one in chosen:
        _require(one, str, f"{field}: {of[0]}")
        recipe, model = (one, None) if of == ["recipe"] else (None, one)
        if model is not None and model not in MODELS:
            raise unknown_name("model", model, MODELS)
        swept = _swept(given, model or load_recipe(recipe).model, field)
        if (many := math.prod(map(len, swept.values()))) > MOST:
            raise UserError(
                f"{field} stands for {many:,} trainings, one for each combination of "
                f"{', '.join(swept)}. Give {MOST} or fewer."
            )
        fixed = {name: value for name, value in given.items() if name not in swept}
        called = Path(one).stem if recipe and recipe.endswith(".toml") else one
        names = [title] if title and len(chosen) == 1 else filter(None, [title, called])
        yield from sweep(", ".join(names), recipe, swept, fixed, model)


def _swept(given: dict, model: str, field: str) -> dict[str, list]:
    """Check the arguments of a training, and return the values of those that are swept."""
    of_all = {*Comparison.__annotations__, "seed"} - {"title"}
    others = {*of_all, "model", "recipe", "hyperparameters"}
    known = {**hyperparameters(model), **documented_class(PLAN).parameters}
    known = {name: parameter for name, parameter in known.items() if name not in others}
    swept = {}
    for name, value in given.items():
        if name in of_all:
            raise UserError(
                f"{field}: {name} holds for all trainings, which share a table. Give "
                f"{'seeds' if name == 'seed' else name} at the top of the file, before the first "
                "[[trainings]]."
            )
        if name not in known:
            raise UserError(f"{field}: {unknown_name(f'argument of {model!r}', name, known)}")
        form = known[name].annotation
        # Of what takes lists itself, a list is one value.
        if isinstance(value, list) and mismatch([], form) is not None:
            if not value:
                raise UserError(f"{field}: {name} is an empty list. Give one or more values.")
            swept[name] = value
        for one in swept.get(name, [value]):
            _require(one, form, f"{field}: {name}")
            if name in NAMES and one not in (names := constant(NAMES[name])):
                raise UserError(f"{field}: {unknown_name(name, one, filter(None, names))}")
    return swept


def _require_different(parts: list[Part]) -> None:
    titles, names = {}, {}
    for part in parts:
        if part.name in names:
            raise UserError(
                f"The same is trained twice: {names[part.name]} and {part.title}. Leave one out; "
                "to train it with several seeds, give seeds."
            )
        if part.title in titles:
            raise UserError(
                f"Two trainings are called {part.title!r}. Give each a title: title = ..."
            )
        names[part.name], titles[part.title] = part.title, part


def _require(value: Any, form: Any, field: str) -> None:
    if wrong := mismatch(value, form, field):
        raise UserError(f"{wrong}.")
