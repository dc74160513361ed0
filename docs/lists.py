"""Make `docs/lists.md`, what there is, of the registries: `python docs/lists.py`."""

from pathlib import Path

import keras_faces as kf
from keras_faces.data import CROPS
from keras_faces.data.sources import DATASETS, SCHEMES
from keras_faces.export import FORMATS
from keras_faces.metrics.scores import COPY_SCORES, SCORES
from keras_faces.models import MODELS
from keras_faces.recipes import load_recipe
from keras_faces.reports import REPORTS

PAGE = Path(__file__).with_name("lists.md")
HEAD = """# What there is

Models, recipes, reports, sources, crops, scores and formats: `python docs/lists.py` makes this
page of the code, and a test holds it to that. `keras-faces list models` and the like say the same
on the command line.
"""


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a section with a table; the first cell of each row is a name."""
    cells = [head, ("---",) * len(head), *((f"`{name}`", *rest) for name, *rest in rows)]
    lines = [f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in cells]
    return "\n".join([f"\n## {title}\n", *lines, ""])


def summary(documented) -> str:
    """Return the first sentence of a class's docstring."""
    return documented.__doc__.strip().split("\n")[0]


def page() -> str:
    """Return the page."""
    recipes = [load_recipe(name) for name in kf.list_recipes()]
    schemes = {f"{n}:{'NAME' if n == 'tfds' else 'PATH'}": one for n, one in SCHEMES.items()}
    better = {"real": "as real"}
    scores = [
        (name, one.title, one.features, better.get(one.better, one.better))
        for name, one in SCORES.items()
    ]
    copies = [(name, one.title, one.features) for name, one in COPY_SCORES.items()]
    models = [(name, summary(one)) for name, one in MODELS.items()]
    tables = [
        table("Models", ("model", "what it is"), sorted(models)),
        table(
            "Recipes",
            ("recipe", "model", "document", "result"),
            [(one.name, f"`{one.model}`", one.document, one.result) for one in recipes],
        ),
        table(
            "Reports",
            ("report", "document", "what is rebuilt"),
            [(name, REPORTS[name].document, REPORTS[name].title) for name in kf.list_reports()],
        ),
        table(
            "Sources",
            ("source", "what it is"),
            [(name, summary(one)) for name, one in {**DATASETS, **schemes}.items()],
        ),
        table("Crops", ("crop", "what it does"), [(n, c.description) for n, c in CROPS.items()]),
        table("Scores of samples", ("score", "title", "computed from", "better"), scores),
        table("Scores of reconstructions", ("score", "title", "computed from"), copies),
    ]
    formats = ", ".join(f"`{name}`" for name in FORMATS)
    return (
        HEAD + "".join(tables) + f"\n## Formats of exports\n\n{formats}: [exports](exports.md).\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
