"""Train a model, and resume a run: `train`, `resume`."""

from keras_faces.commands import kinds
from keras_faces.errors import UserError, unknown_name
from keras_faces.models import MODELS, list_models
from keras_faces.screen import quoted


def train(
    model: str | None = None, /, *, run: str | None = None, all_devices: bool = False, **plan
) -> None:
    """Train a model and write a run folder.

    Args:
        model: The model. Each has its own flags: keras-faces train MODEL --help
        run: The run folder. Defaults to a new one under `runs/`.
        all_devices: Train on all devices of this machine or cluster (JAX only). Defaults to one.
    """
    if model is None and "recipe" in plan:
        from keras_faces.recipes import load_recipe

        recipe = plan["recipe"]
        named = load_recipe(recipe).model
        raise UserError(f"Name its model: keras-faces train {named} --recipe {quoted(recipe)}")
    if model is None:
        raise UserError(
            "Name a model first: keras-faces train MODEL. See: keras-faces train --help. "
            f"Models: {', '.join(list_models())}."
        )
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    from keras_faces import session

    session.train(model, run=run, all_devices=all_devices, **plan)


def resume(
    run: kinds.RunFolder,
    /,
    *,
    data: list[str] | None = None,
    all_devices: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
) -> None:
    """Resume an interrupted run, or train a finished one longer.

    Args:
        run: The run folder.
        data: Where the faces are now, if they have moved.
        all_devices: Train on all devices of this machine or cluster (JAX only). Defaults to one.
        epochs: Epochs to add to the run.
        steps: Steps to add, instead of epochs.
        minutes: Minutes to add, instead of epochs.
    """
    from keras_faces import session

    more = {"epochs": epochs, "steps": steps, "minutes": minutes}
    session.resume(run, data=data, all_devices=all_devices, **more)
