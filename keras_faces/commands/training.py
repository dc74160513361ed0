"""Train a model, and go on with a run: `train`, `resume`."""

from typing import Annotated, Any

from keras_faces.commands import kinds
from keras_faces.commands.parsing import Fields, without_keras
from keras_faces.errors import UserError

PLAN = Fields(
    "keras_faces.plan:TrainingPlan",
    data=kinds.Source,
    recipe=kinds.Recipe,
    budget=kinds.Budget,
    split=kinds.Split,
    crop=kinds.Crop,
    labels=kinds.Labels,
    scores=list[kinds.Score],
    best=kinds.Score,
)


@without_keras(unless=lambda model, **plan: model is not None)
def train(
    model: kinds.Model | None = None,
    /,
    *,
    run: str | None = None,
    **plan: Annotated[Any, PLAN],
) -> None:
    """Train a model and leave a run folder.

    Args:
        model: What to train.
        run: The run folder. Defaults to a new one under `runs/`.
    """
    if model is None and "recipe" in plan:
        from keras_faces.recipes import load_recipe

        recipe = plan["recipe"]
        named = load_recipe(recipe).model
        raise UserError(f"Name its model: keras-faces train {named} --recipe {recipe}")
    if model is None:
        from keras_faces.models import list_models

        raise UserError(
            "Name a model first: keras-faces train MODEL. See: keras-faces train --help. "
            f"Models: {', '.join(list_models())}."
        )
    from keras_faces import session

    session.train(model, run=run, **plan)


def resume(run: kinds.RunFolder, data: str | None = None) -> None:
    """Go on with a run that was stopped or killed.

    Args:
        run: The run folder.
        data: Where the same faces lie now, if they have moved.
    """
    from keras_faces import session

    session.resume(run, data=data)
