"""Learning-rate schedules by name and plain numbers."""

import math
from typing import Literal, get_args

import keras
from keras import ops

from keras_faces.errors import UserError, unknown_name

Schedule = Literal["constant", "exponential", "linear", "cosine"]
SCHEDULES = get_args(Schedule)


@keras.saving.register_keras_serializable(package="keras_faces")
class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that stays for a while and then decays.

    Keras has all three decays, but none that begins later.

    Args:
        learning_rate: The rate before the decay.
        schedule: `"exponential"`, `"linear"` or `"cosine"`.
        decay_steps: Steps of the decay.
        decay_rate: Factor after each `decay_steps` (exponential) or at the end (the others).
        decay_after: Steps before the decay begins.
        min_learning_rate: What the rate never falls below.
    """

    def __init__(
        self,
        learning_rate,
        schedule,
        decay_steps,
        decay_rate,
        decay_after,
        min_learning_rate=0.0,  # of files that know none
    ):
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.decay_after = decay_after
        self.min_learning_rate = min_learning_rate

    def __call__(self, step):
        return ops.maximum(self.learning_rate * self.share_left(step), self.min_learning_rate)

    def share_left(self, step):
        """Return which share of the first rate the decay has left."""
        done = ops.maximum(ops.cast(step, "float32") - self.decay_after, 0.0) / self.decay_steps
        if self.schedule == "exponential":
            return ops.power(float(self.decay_rate), ops.floor(done))
        left = 1.0 - ops.minimum(done, 1.0)
        if self.schedule == "cosine":
            left = 0.5 * (1.0 - ops.cos(left * 3.141592653589793))
        return self.decay_rate + (1.0 - self.decay_rate) * left

    def get_config(self):
        return dict(vars(self))


def learning_rate_schedule(
    learning_rate: float,
    schedule: Schedule = "constant",
    decay_steps: int = 0,
    decay_rate: float = 0.0,
    decay_after: int = 0,
    min_learning_rate: float = 0.0,
):
    """Return what a Keras optimizer takes as its learning rate.

    Args:
        learning_rate: The rate at the first step.
        schedule: `"constant"`; `"exponential"`: times `decay_rate` after every `decay_steps`
            steps, in stairs; `"linear"` or `"cosine"`: down to `decay_rate` times the first rate
            within `decay_steps` steps, and constant from there.
        decay_steps: Steps of the optimizer.
        decay_rate: A factor, see `schedule`.
        decay_after: Steps at the first rate before the decay begins.
        min_learning_rate: What the rate never falls below; 0 for no such floor.

    Raises:
        UserError: If the schedule is unknown or its numbers are out of range.
    """
    if schedule not in SCHEDULES:
        raise unknown_name("learning-rate schedule", schedule, SCHEDULES)
    if not 0 < learning_rate < math.inf:
        raise UserError(
            f"learning_rate must be a finite number above 0. Received: {learning_rate}."
        )
    if decay_after < 0:
        raise UserError(f"decay_after must be 0 or more steps. Received: {decay_after}.")
    if not 0 <= min_learning_rate <= learning_rate:
        raise UserError(
            f"min_learning_rate must lie between 0 and the first rate, {learning_rate:g}. "
            f"Received: {min_learning_rate}."
        )
    if schedule == "constant":
        if min_learning_rate:
            raise UserError(
                "Schedule 'constant' never reaches min_learning_rate. Choose a schedule that "
                f"decays, or leave it out. Received: {min_learning_rate}."
            )
        return learning_rate
    if decay_steps < 1:
        raise UserError(
            f"Schedule {schedule!r} needs decay_steps, the number of steps of its decay, of 1 or "
            f"more. Received: decay_steps={decay_steps}."
        )
    if not 0 <= decay_rate <= 1 or (schedule == "exponential" and decay_rate == 0):
        raise UserError(f"decay_rate must lie in (0, 1]. Received: {decay_rate} for {schedule!r}.")
    return Decay(learning_rate, schedule, decay_steps, decay_rate, decay_after, min_learning_rate)
