"""What a report is made of: models, columns, figures, and what was trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from keras_faces.metrics.scores import COPY_SCORES, SCORES
from keras_faces.metrics.training_data import TRAINING_DATA
from keras_faces.runs import Run


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
        recipe: The recipe that trains it.
        states: The document's numbers by the title of their column.
    """

    title: str
    recipe: str
    states: dict[str, float] = {}


class Figure(NamedTuple):
    """A picture of a report, taken from the run of its first seed.

    Attributes:
        title: What it shows, and which of the document's figures it stands beside.
        recipe: Whose run.
        files: Pattern of the files in the run's folder; of several, all are shown.
        curves: Or else curves to draw over the epochs: columns of the run's `metrics.csv`, and what
            the document calls each.
    """

    title: str
    recipe: str
    files: str = ""
    curves: dict[str, str] = {}


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
        given: Arguments of `kf.train` that go before every recipe's.
        verdict: What says in words what came out, of what `training_data` returned for each seed.
    """

    title: str
    document: str
    states: str
    parts: Sequence[Part]
    columns: Sequence[Column] = ()
    figures: Sequence[Figure] = ()
    real: dict[str, float] = {}
    given: dict = {}
    verdict: Callable[[Sequence[dict]], str] | None = None


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
    """

    part: Part
    seed: int
    run: Run
    command: str
    training: dict[str, float]
    result: dict | None
    best: dict | None
    copies: dict | None
    classifiers: dict | None


def title_of(column: Column) -> str:
    """Return a column's title, with the score's own where the document calls it otherwise."""
    known = OF[column.of][column.score].title
    return column.title if column.title.lower() == known.lower() else f"{column.title} [{known}]"
