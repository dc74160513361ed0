"""Recipes: each result of the documents as a file that `keras-faces train --recipe` runs.

A recipe has two budgets. `paper` holds the document's own numbers, on its own data, which the user
gives. `quick` shows faces within ten minutes on two cores, on the faces that come with the package;
what it changes for that stands in the file. `[quick.expected]` says what it gave.
"""

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

from keras_faces.errors import UserError, unknown_name
from keras_faces.files import read_regular
from keras_faces.introspection import constant
from keras_faces.models import MODELS, hyperparameters
from keras_faces.schema import Positive, Range, Scalar, mismatch

BUDGETS = ("paper", "quick")
FOLDER = Path(__file__).parent
NAMES = {
    "crop": "keras_faces.data.crops:CROPS",
    "split": "keras_faces.data.splits:SPLITS",
    "labels": "keras_faces.data.labels:LABELS",
    "people": "keras_faces.data.sources.files:PEOPLE",
    "faces": "keras_faces.detection.photographs:FACES",
    "per_photo": "keras_faces.detection.photographs:PER_PHOTO",
}


class Budget(TypedDict, total=False):
    """Arguments of `kf.train`, and what they gave."""

    data: str | list[str]
    epochs: Positive
    steps: Positive
    minutes: Annotated[float, Range(0)]
    batch_size: Positive
    split: str
    crop: str
    mirror: bool
    labels: str
    grid_epochs: list[Positive]
    hyperparameters: dict[str, Scalar]
    expected: dict[str, Any]


class RecipeFile(TypedDict):
    """What a recipe's file holds."""

    model: str
    document: NotRequired[str]
    result: NotRequired[str]
    states: NotRequired[str]
    data: NotRequired[str]
    paper: Budget
    quick: NotRequired[Budget]


class Recipe(NamedTuple):
    """One result of a document.

    Attributes:
        name: The recipe's name, that of its file.
        model: The model it trains.
        document: Whose result it is.
        result: Which of the document's figures and tables it remakes.
        states: What the document says of it.
        data: What the document trained on.
        paper: Arguments of `kf.train` with the document's own numbers.
        quick: Arguments of `kf.train` for a few minutes on two cores.
        expected: What `quick` gave, as measured.
    """

    name: str
    model: str
    document: str
    result: str
    states: str
    data: str
    paper: dict
    quick: dict
    expected: dict

    def arguments(self, budget: str, data=None) -> dict:
        """Return the arguments of `kf.train` for a budget.

        Args:
            budget: One of `BUDGETS`.
            data: The user's source of faces; None takes the budget's own.

        Raises:
            UserError: If there is no such budget, or its data are the user's to give.
        """
        if budget not in BUDGETS:
            raise unknown_name("budget", budget, BUDGETS)
        chosen = dict(self.paper if budget == "paper" else self.quick)
        if not chosen:
            raise UserError(f"Recipe {self.name!r} has no budget {budget!r}. Leave budget out.")
        if data is not None:
            chosen["data"] = data
        if "data" not in chosen:
            quick = (
                ", or add --budget quick to see it work in minutes on the faces that come with the "
                "package."
            )
            raise UserError(
                f"Recipe {self.name!r} trains on {self.data}. Give your copy with --data "
                f"PATH{quick if self.quick else '.'}"
            )
        return chosen


def list_recipes() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str | os.PathLike) -> Recipe:
    """Read a recipe.

    Args:
        name: One of `list_recipes()`, or the path of a file of your own that ends in `.toml`. Such
            needs no more than `model` and `[paper]`.

    Raises:
        UserError: If there is no recipe of that name, or the file is none.
    """
    name = os.fspath(name)
    own = name.endswith(".toml")
    if not own and name not in list_recipes():
        raise unknown_name("recipe", name, list_recipes())
    try:
        content = tomllib.loads(
            read_regular(Path(name).expanduser() if own else FOLDER / f"{name}.toml").decode()
        )
        _check(content)
    except OSError as error:
        raise UserError(f"Cannot read the recipe {name!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"Recipe {name!r}: {error}") from error
    silent = {"document": "", "result": "", "states": "", "data": "faces", "quick": {}}
    expected = content.get("quick", {}).pop("expected", {})
    return Recipe(name=name, expected=expected, **{**silent, **content})


def _check(content: dict) -> None:
    """Refuse what is no recipe."""
    if wrong := mismatch(content, RecipeFile):
        raise UserError(f"{wrong}.")
    require_known("key", content, RecipeFile.__annotations__)
    if content["model"] not in MODELS:
        raise unknown_name("model", content["model"], MODELS)
    known = hyperparameters(content["model"])
    for budget in BUDGETS:
        given = content.get(budget, {})
        require_known(f"key of {budget}", given, Budget.__annotations__)
        for key in NAMES.keys() & given.keys():
            if given[key] not in (names := constant(NAMES[key])):
                raise unknown_name(f"{budget}.{key}", given[key], filter(None, names))
        values = given.get("hyperparameters", {})
        require_known(f"hyper-parameter of {content['model']!r}", values, known)
        for key, value in values.items():
            field = f"{budget}.hyperparameters.{key}"
            if wrong := mismatch(value, known[key].annotation, field):
                raise UserError(f"{wrong}.")


def require_known(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check names.

    Args:
        kind: What they name.
        given: The names.
        known: Those that there are.

    Raises:
        UserError: If there is one that is not known.
    """
    for key in given:
        if key not in known:
            raise unknown_name(kind, key, known)
