"""What a report is made of: models, columns, figures, claims, and what was trained."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from keras_faces.data.sources.base import SourceLike
from keras_faces.metrics.scores import COPY_SCORES, SCORES
from keras_faces.metrics.training_data import TRAINING_DATA
from keras_faces.recipes import load_recipe
from keras_faces.runs import Run
from keras_faces.schema import Scalar


class Fact(NamedTuple):
    """What a table tells of a training.

    Attributes:
        title: What tables call it.
        form: Format of the value.
    """

    title: str
    form: str


TRAINING = {
    "parameters": Fact("parameters", ",.0f"),
    "minutes": Fact("minutes of training", ".1f"),
    "images_per_second": Fact("images/s, its scores and pictures included", ".0f"),
    "epochs": Fact("epochs", ".0f"),
    "best_epoch": Fact("epochs to the best", ".0f"),
}


OF: dict[str, Mapping] = {
    "samples": SCORES,
    "copies": COPY_SCORES,
    "training": TRAINING,
    "classifiers": TRAINING_DATA,
}


class Column(NamedTuple):
    """One column of a report's table.

    Attributes:
        title: What the document calls it, or the score's own title.
        score: A key of `OF[of]`.
        convert: What makes the document's quantity of the score, such as a count of a rate.
        form: Format of the value.
        of: What it is of: `"samples"`, `"copies"` (reconstructions), `"training"`, or
            `"classifiers"` that learn from the model's faces.
        same_measure: Whether the document's number was measured in the same way, so that the two
            may be compared.
    """

    title: str
    score: str
    convert: Callable[[float], float] = float
    form: str = ".3f"
    of: str = "samples"
    same_measure: bool = True


class Part(NamedTuple):
    """One model of a report.

    Attributes:
        title: What the document calls it.
        recipe: The recipe that trains it; None where `arguments` say all.
        states: The document's numbers by the title of their column.
        arguments: Arguments of `kf.train` that go before the recipe's, such as a hyper-parameter.
        model: The model; None is the recipe's.
        swept: Those of `arguments` in which it differs from others of its sweep.
        sweep: What it shares a title with.
    """

    title: str
    recipe: str | None
    states: dict[str, float] = {}
    arguments: dict[str, Any] = {}
    model: str | None = None
    swept: tuple[str, ...] = ()
    sweep: str = ""

    @property
    def trains(self) -> str:
        """The model that it trains."""
        return self.model or load_recipe(self.recipe).model

    @property
    def name(self) -> str:
        """Recipe or model, and what goes before its own, as a file's name: `zhang-64-gamma-0.3`."""
        changed = (f"{key}-{value}" for key, value in self.arguments.items())
        told = "-".join([self.recipe or self.trains, *changed])
        name = re.sub(r"[^\w.+-]+", "-", told, flags=re.ASCII)[:60]
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return name if name == told else f"{name}-{digest}"

    def along(self, name: str) -> str:
        """Return what those are called that differ from it in one swept argument alone."""
        others = (key for key in self.swept if key != name)
        return _told(self.sweep, {key: self.arguments[key] for key in others})


def sweep(
    title: str,
    recipe: str | None,
    swept: Mapping[str, Sequence[Scalar]],
    arguments: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> Iterator[Part]:
    """Yield a part for each combination of values.

    Args:
        title: What all of them are called; may be empty.
        recipe: As of a `Part`.
        swept: Values by the argument of `kf.train`.
        arguments: Arguments that all of them share.
        model: As of a `Part`.
    """
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        given = {**(arguments or {}), **chosen}
        called = _told(title, chosen)
        yield Part(called, recipe, {}, given, model, tuple(swept), title)


def _told(title: str, arguments: Mapping[str, Scalar]) -> str:
    changed = (f"{key.replace('_', ' ')} {value}" for key, value in arguments.items())
    return ", ".join(filter(None, [title, *changed]))


class Figure(NamedTuple):
    """A picture of a report, taken from the run of its first seed; one of what is named below.

    Attributes:
        title: What it shows, and which of the document's figures it stands beside.
        part: Name of the part whose run it is, or empty for a plot.
        files: Pattern of the files in the run's folder; of several, all are shown.
        curves: Curves to draw over the epochs: columns of the run's `metrics.csv`, and what the
            document calls each.
        draw: What draws it of the model and its faces: a key of `reports.drawings.DRAWINGS`.
        plot: Titles of columns of the table to plot over the parts.
        count: How many faces of a grid are shown; None shows all.
        over: The swept argument to plot them over, instead of over all parts.
    """

    title: str
    part: str = ""
    files: str = ""
    curves: dict[str, str] = {}
    draw: str = ""
    plot: Sequence[str] = ()
    count: int | None = None
    over: str = ""


# From the titles of a part and a column to its mean and error, or None where there is none.
Lookup = Callable[[str, str], tuple[float, float | None] | None]


class Claim(NamedTuple):
    """What a document says of its numbers.

    Attributes:
        says: The claim.
        check: Callable of a `Lookup` that returns the verdict in words.
    """

    says: str
    check: Callable[[Lookup], str]


class Report(NamedTuple):
    """What of a document is rebuilt.

    Attributes:
        title: Title.
        document: The document.
        states: What the document says of it.
        parts: The models.
        columns: The columns of the table; none for a report of figures alone.
        figures: The pictures.
        real: The document's numbers of real faces by the title of their column.
        claims: What the document says of its numbers, to be checked on ours.
        data: What the user has to give with `--data`, where no recipe's own faces will do.
        verdict: What says in words what came out, of what `training_data` returned for each seed.
        defaults: Arguments of `reproduce`, where none are given.
    """

    title: str
    document: str
    states: str
    parts: Sequence[Part]
    columns: Sequence[Column] = ()
    figures: Sequence[Figure] = ()
    real: dict[str, float] = {}
    claims: Sequence[Claim] = ()
    data: str = ""
    verdict: Callable[[Sequence[dict]], str] | None = None
    defaults: dict[str, Any] = {}


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
        classifiers: What `training_data` returned, or None.
        data: Where its faces lie, if not where it learnt from.
    """

    part: Part
    seed: int
    run: Run
    command: str
    training: dict[str, float]
    result: dict | None
    best: dict | None
    copies: dict | None
    classifiers: dict | None = None
    data: SourceLike | None = None


def title_of(column: Column) -> str:
    """Return a column's title, with the score's own where the document calls it otherwise."""
    known = OF[column.of][column.score].title
    return column.title if column.title.lower() == known.lower() else f"{column.title} [{known}]"
