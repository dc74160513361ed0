"""Learning-rate schedules by name and plain numbers."""

import keras

from keras_faces.errors import UserError, unknown_name

SCHEDULES = ("constant", "exponential", "linear", "cosine")


def learning_rate_schedule(
    learning_rate: float,
    schedule: str = "constant",
    decay_steps: int = 0,
    decay_rate: float = 0.0,
):
    """Return what a Keras optimizer takes as its learning rate.

    Args:
        learning_rate: The rate at the first step.
        schedule: `"constant"`; `"exponential"`: times `decay_rate` after every `decay_steps`
            steps, in stairs; `"linear"` or `"cosine"`: down to `decay_rate` times the first rate at
            step `decay_steps`, and constant from there.
        decay_steps: Steps of the optimizer.
        decay_rate: A factor, see `schedule`.

    Raises:
        UserError: If the schedule is unknown or its numbers are out of range.
    """
    if schedule not in SCHEDULES:
        raise unknown_name("learning-rate schedule", schedule, SCHEDULES)
    if learning_rate <= 0:
        raise UserError(f"learning_rate must be above 0. Received: {learning_rate}.")
    if schedule == "constant":
        return learning_rate
    if decay_steps < 1:
        raise UserError(
            f"Schedule {schedule!r} needs decay_steps, the number of steps of its decay, of 1 or "
            f"more. Received: decay_steps={decay_steps}."
        )
    if not 0 <= decay_rate <= 1 or (schedule == "exponential" and decay_rate == 0):
        raise UserError(f"decay_rate must lie in (0, 1]. Received: {decay_rate} for {schedule!r}.")
    if schedule == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(
            learning_rate, decay_steps, decay_rate, staircase=True
        )
    if schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(
            learning_rate, decay_steps, learning_rate * decay_rate
        )
    return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps, alpha=decay_rate)
