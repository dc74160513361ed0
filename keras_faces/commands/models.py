"""`train` for each model: the fields of a plan as flags, and the model's hyper-parameters."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from keras_faces.commands import kinds
from keras_faces.commands.functions import plain, plain_help, without_keras
from keras_faces.commands.training import train
from keras_faces.introspection import PLAN, Documented, documented_class
from keras_faces.models import MODELS, documentation

# Types of the plan's fields, instead of the plan's own.
KINDS = {
    "data": kinds.Sources,
    "recipe": kinds.Recipe | None,
    "budget": kinds.Budget,
    "split": kinds.Split,
    "faces": kinds.Faces | None,
    "per_photo": kinds.PerPhoto | None,
    "crop": kinds.Crop,
    "people": kinds.People | None,
    "labels": kinds.Labels | None,
    "scores": list[kinds.Score] | None,
    "best": kinds.Score | None,
}
# Hyper-parameters whose default depends on the faces, or is None for a value of its own.
OTHER_DEFAULTS = {"channels": "as the pictures", "conditions": "as the labels", "dtype": "float32"}


def train_app(models: Iterable[str]) -> App:
    """Return `train`, within which each model is a command with flags of its own."""
    app = App(name="train", default_command=_train())
    for model in models:
        app.command(_train(model), name=model, help=documentation(model).summary)
    return app


def _train(model: str | None = None) -> Callable:
    """Return `train` with the fields of a plan as flags, and the hyper-parameters of a model."""
    given = () if model is None else (model,)

    @plain_help
    @without_keras(unless=lambda *words, **flags: (*given, *words, None)[0] in MODELS)
    @functools.wraps(train)
    def command(*words, **flags):
        return train(*given, *words, **flags)

    own, plan = inspect.signature(train).parameters, documented_class(PLAN)
    parameters = [own["run"], own["all_devices"], *_flags(plan, {"model", "hyperparameters"})]
    if model is None:
        parameters.insert(0, own["model"])
    else:
        group = Group(f"Hyper-parameters of {model}", sort_key=1)
        parameters += _flags(documentation(model), plan.parameters, group)
    command.__signature__ = inspect.Signature(parameters)
    return command


def _flags(
    owner: Documented, left_out: Collection[str], group: Group | None = None
) -> Iterator[inspect.Parameter]:
    for name, parameter in owner.parameters.items():
        if name not in left_out:
            kind = KINDS.get(name, parameter.annotation)
            kind = Literal[True, False] if group and kind is bool else kind  # given with a value
            shown = OTHER_DEFAULTS.get(name) if group else None
            about = Parameter(
                help=plain(owner.descriptions.get(name, "")),
                group=group or "Parameters",
                show_default=shown,
            )
            yield parameter.replace(
                kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, about]
            )
