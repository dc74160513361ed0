"""Types of the commands' arguments, which list and check names before anything heavy is loaded."""

from pathlib import Path
from typing import Annotated

from keras_faces.commands.arguments import Known
from keras_faces.errors import unknown_name
from keras_faces.introspection import constant
from keras_faces.models import list_models, list_samplers
from keras_faces.recipes import list_recipes, load_recipe


def _require_model(model: str) -> None:
    from keras_faces.runs import model_path

    model_path(model)


def _require_run(run: str) -> None:
    from keras_faces.runs import Run

    Run(run).config()


def _require_source(source: str) -> None:
    scheme, colon, _ = source.partition(":")
    known = colon and scheme in constant("keras_faces.data.sources.schemes:SCHEMES")
    if not known and not Path(source).expanduser().exists():  # else opening it may take long
        from keras_faces.data import open_source

        open_source(source)


def _require_format(name: str) -> None:
    known = constant("keras_faces.export:FORMATS")
    if name not in known and name not in constant("keras_faces.export:INSTEAD"):
        raise unknown_name("format", name, known)


def _reports() -> list[str]:
    from keras_faces.reports import list_reports

    return list_reports()


def _conditions() -> list[str]:
    return [*filter(None, constant("keras_faces.data.labels:CONDITIONS")), "sketch"]


Model = Annotated[str, Known("model", list_models)]
Recipe = Annotated[str, Known("recipe", list_recipes, load_recipe)]
Budget = Annotated[str, Known("budget", "keras_faces.recipes:BUDGETS")]
Report = Annotated[str, Known("report", _reports)]
Run = Annotated[str, _require_model]
RunFolder = Annotated[str, _require_run]
Source = Annotated[str, _require_source]
Crop = Annotated[str, Known("crop", "keras_faces.data.crops:CROPS")]
Split = Annotated[str, Known("split", "keras_faces.data.splits:SPLITS")]
Labels = Annotated[str, Known("kind of labels", _conditions)]
Score = Annotated[str, Known("score", "keras_faces.metrics.scores:SCORES")]
Sampler = Annotated[str, Known("sampler", list_samplers)]
Format = Annotated[str, Known("format", "keras_faces.export:FORMATS", _require_format)]
Pixels = Annotated[str, Known("type of pixels", "keras_faces.export.signatures:PIXELS")]
PathKind = Annotated[str, Known("path", "keras_faces.latent.interpolation:PATHS")]
Projection = Annotated[str, Known("projection", "keras_faces.latent.projection:PROJECTIONS")]
By = Annotated[str, Known("way", "keras_faces.latent.attributes:BY")]
