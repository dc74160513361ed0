"""Types of the commands' arguments, which list and check names before anything heavy is loaded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from keras_faces.errors import UserError, require_scale, unknown_name
from keras_faces.introspection import constant
from keras_faces.models import list_samplers
from keras_faces.recipes import list_recipes, load_recipe


def _checked(check):
    """Return the annotation of what passes a check, unless it is left out."""
    return Parameter(validator=lambda kind, value: value is None or check(value))


def _require_model(model: str) -> None:
    from keras_faces.runs import model_path

    model_path(model)


def _require_run(run: str) -> None:
    from keras_faces.runs import Run

    Run(run).config()


def _require_source(source: str) -> None:
    places = "keras_faces.data.sources.schemes"
    if "://" in source:  # the network is asked once, by the command itself
        return
    scheme, colon, _ = source.partition(":")
    known = constant(f"{places}:SCHEMES") if colon else constant(f"{places}:DATASETS")
    if scheme not in known and not Path(source).expanduser().exists():  # else opening may take long
        from keras_faces.data import open_source

        open_source(source)


def _require_sources(sources: str | Iterable[str] | None) -> None:
    for source in [sources] if isinstance(sources, str) else sources or ():
        _require_source(source)


def _require_picture(path: str) -> None:
    from keras_faces.pictures import picture_suffix

    if not picture_suffix(path):
        raise UserError(f"Expected a picture such as faces.png. Received: {path!r}.")


def _require_report(name: str) -> None:
    if name not in constant("keras_faces.reports.registry:REPORTS"):
        from keras_faces.reports.comparisons import find_report

        find_report(name)


def _require_format(name: str) -> None:
    known = constant("keras_faces.export:FORMATS")
    if name not in known and name not in constant("keras_faces.export:INSTEAD"):
        raise unknown_name("format", name, known)


Needed = Annotated[str, Parameter(required=True)]
Run = Annotated[str, _checked(_require_model)]
RunFolder = Annotated[str, _checked(_require_run)]
Source = Annotated[str, _checked(_require_source)]
# One after each flag: a list would swallow the words behind it.
Sources = Annotated[
    list[str] | str,  # as a default is written
    Parameter(
        consume_multiple=False,
        validator=lambda kind, given: _require_sources(given),
    ),
]
Picture = Annotated[str, _checked(_require_picture)]
Scale = Annotated[int, _checked(require_scale)]
# Not only the names that help lists: a file of one's own, and formats that are refused with what
# is there instead.
Recipe = Annotated[Literal[tuple(list_recipes())] | str, _checked(load_recipe)]
Format = Annotated[Literal[constant("keras_faces.export:FORMATS")] | str, _checked(_require_format)]
Report = Annotated[
    Literal[tuple(sorted(constant("keras_faces.reports.registry:REPORTS")))] | str,
    _checked(_require_report),
]
Budget = Literal[constant("keras_faces.recipes:BUDGETS")]
Crop = Literal[constant("keras_faces.data.crops:CROPS")]
Faces = Literal[constant("keras_faces.detection.photographs:FACES")]
PerPhoto = Literal[constant("keras_faces.detection.photographs:PER_PHOTO")]
Split = Literal[constant("keras_faces.data.splits:SPLITS")]
People = Literal[constant("keras_faces.data.sources.files:PEOPLE")]
Labels = Literal[(*filter(None, constant("keras_faces.data.labels:CONDITIONS")), "sketch")]
Score = Literal[constant("keras_faces.metrics.scores:SCORES")]
Sampler = Literal[tuple(list_samplers())]
Pixels = Literal[constant("keras_faces.export.signatures:PIXELS")]
Weights = Literal[constant("keras_faces.export.signatures:WEIGHTS")]
PathKind = Literal[constant("keras_faces.latent.interpolation:PATHS")]
Projection = Literal[constant("keras_faces.latent.projection:PROJECTIONS")]
By = Literal[constant("keras_faces.latent.attributes:BY")]
TableFormat = Literal[constant("keras_faces.formats:FORMATS")]
