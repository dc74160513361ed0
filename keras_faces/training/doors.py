"""What Keras's methods are given and a game cannot use: refused with the reason."""

from collections.abc import Sequence

import keras

from keras_faces.errors import UserError

COMPARISONS = ("loss", "loss_weights", "metrics", "weighted_metrics")
OWN = ("keras.", "keras_faces.")  # callbacks of theirs add nothing to the logs that is not known


def listed(callbacks) -> list[keras.callbacks.Callback]:
    """Return the callbacks of what `fit` takes: None, one, a list, or a `CallbackList`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks.callbacks
    return keras.tree.flatten(callbacks) if callbacks else []


def refuse_comparisons(model, **given) -> None:
    """Raise a `UserError` where `compile` is given what compares predictions with labels."""
    for name in [name for name in COMPARISONS if given.get(name)]:
        raise UserError(
            f"A {type(model).__name__} learns by its document's losses, and nothing it makes has a "
            f"right answer to compare with: compile takes no {name}=. Received: {given[name]!r}. "
            "Leave it out; give another loss by a subclass with `losses` of its own, and score "
            "faces by kf.callbacks.Scores or kf.metrics."
        )


def refuse_weights(model, **given) -> None:
    """Raise a `UserError` where some faces are to count more than others."""
    for name in [name for name, value in given.items() if value is not None]:
        raise UserError(
            f"The losses of a {type(model).__name__} are of a batch, not of each face, so "
            f"{name} cannot weigh them. Leave it out; to learn more from some faces, give them "
            "more often."
        )


def check_callbacks(model, callbacks: Sequence, validated: bool) -> None:
    """Check that Keras's callbacks can do with a model what they are for.

    Args:
        model: A compiled `Game`.
        callbacks: Callbacks, of which others than Keras's may be anything.
        validated: Whether there are faces to validate with.

    Raises:
        UserError: If one would wait for a name that nothing logs, set a rate that follows a
            schedule, or look for averages that no optimizer keeps.
    """
    kind, kinds = type(model).__name__, keras.callbacks
    names = [*model.log_names, *(f"val_{name}" for name in model.log_names if validated)]
    others = [type(c).__module__ for c in callbacks if not type(c).__module__.startswith(OWN)]
    for callback in callbacks:
        own = type(callback).__name__
        if isinstance(callback, kinds.TerminateOnNaN) and "loss" not in names:
            raise UserError(
                f"TerminateOnNaN looks at 'loss', and the players of a {kind} have one each: "
                f"{', '.join(names)}. Use kf.callbacks.Guard(run), which looks at all."
            )
        if hasattr(callback, "monitor"):
            _check_monitor(own, kind, callback, names, bool(others), validated)
        if isinstance(callback, (kinds.LearningRateScheduler, kinds.ReduceLROnPlateau)):
            scheduled = model.optimizer.scheduled
            if scheduled:
                raise UserError(
                    f"{own} sets learning rates, and those of {' and '.join(scheduled)} follow a "
                    "schedule. Make the model with schedule='constant', or compile it with "
                    "optimizers whose rates are numbers."
                )
        if isinstance(callback, kinds.SwapEMAWeights) and not any(
            optimizer.use_ema for optimizer in model.optimizer.optimizers
        ):
            raise UserError(
                "SwapEMAWeights takes the averages of optimizers with use_ema=True, and none of "
                f"this {kind} has it. Compile with such, or make the model with ema=0.999: then "
                "it generates with its averaged networks without any callback."
            )


def _check_monitor(own, kind, callback, names, others, validated):
    name = callback.monitor
    compares = getattr(callback, "save_best_only", True)  # a ModelCheckpoint may save in any case
    if name not in names and compares and not others:
        hint = ""
        if name.startswith("val_") and not validated:
            hint = " Give fit validation_data for those that begin with val_."
        raise UserError(
            f"{own} monitors {name!r}, which a {kind} does not log here. It logs: "
            f"{', '.join(names)}.{hint}"
        )
    if getattr(callback, "mode", None) == "auto" and name.removeprefix("val_") != "loss":
        raise UserError(
            f"{own} monitors {name!r}, of which Keras does not know whether less is better. Give "
            "mode='min' or mode='max'."
        )
