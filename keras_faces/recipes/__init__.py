"""Recipes: each result of the documents as a file that `keras-faces train --recipe` runs.

A recipe has two budgets. `paper` holds the document's own numbers, on its own data, which the user
gives. `quick` shows faces within ten minutes on two cores, on the faces that come with the package;
what it changes for that stands in the file. `[quick.expected]` says what it gave.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

from keras_faces.errors import UserError, unknown_name

BUDGETS = ("paper", "quick")
FOLDER = Path(__file__).parent


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
        if data is not None:
            chosen["data"] = data
        if "data" not in chosen:
            raise UserError(
                f"Recipe {self.name!r} trains on {self.data}, which is yours to give with --data "
                "PATH. Or see it work in minutes, on the faces that come with the package: "
                "--budget quick"
            )
        return chosen


def list_recipes() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        UserError: If there is no recipe of that name.
    """
    if name not in list_recipes():
        raise unknown_name("recipe", name, list_recipes())
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    expected = content["quick"].pop("expected", {})
    return Recipe(name=name, expected=expected, **content)
