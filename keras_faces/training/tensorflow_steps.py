"""Training steps on TensorFlow, where variables change in place."""

import contextlib
import itertools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_faces.errors import UserError
from keras_faces.pixels import as_array

COMPILED_FROM = 10**6  # weights of a player


def on_accelerator() -> bool:
    """Whether steps run on something faster than a CPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def jit_by_default() -> bool:
    """Whether to compile steps with XLA: it pays on accelerators and costs a third on a CPU."""
    return on_accelerator()


def keep_compiled() -> None:
    """Keep what is compiled for the next run: TensorFlow keeps nothing."""


def make_deterministic() -> None:
    """Make every operation give the same bits for the same input."""
    tf.config.experimental.enable_op_determinism()


def known_values(values) -> np.ndarray | None:
    """Return tensors or other values as an array, or None where they are not known yet."""
    absent = isinstance(values, (keras.KerasTensor, tf.experimental.Optional))
    symbolic = tf.is_tensor(values) and not hasattr(values, "numpy")
    return None if absent or symbolic else as_array(values)


def losses_and_gradients(function, groups, state):
    """Call `function` once and differentiate each loss by its own variables.

    Args:
        function: Callable without arguments, returning `(losses, extras)`, where `losses` has the
            keys of `groups`.
        groups: Dict mapping the name of each loss to the variables to differentiate it by; a
            variable may stand in several.
        state: Every other variable that `function` may read or update. Unused here.

    Returns:
        `(losses, extras), gradients`, the last a dict of lists like `groups`.
    """
    with tf.GradientTape(persistent=len(groups) > 1, watch_accessed_variables=False) as tape:
        tape.watch([variable.value for group in groups.values() for variable in group])
        losses, extras = function()
    gradients = {name: tape.gradient(losses[name], group) for name, group in groups.items()}
    return (losses, extras), gradients


def apply_gradients(optimizer, gradients, variables):
    """Let an optimizer move variables.

    Where there are many, XLA compiles it: Keras composes Adam of a dozen operations, each of which
    goes through all of the memory, and XLA makes one of them. With few, it would be compiling for
    longer than it saves.
    """

    def apply(gradients):
        optimizer.apply(gradients, variables)

    many = sum(math.prod(variable.shape) for variable in variables) >= COMPILED_FROM
    if many and tf.inside_function() and not tf.distribute.has_strategy():
        apply = tf.function(apply, jit_compile=True, autograph=False)
    apply(gradients)


def input_gradients(function, inputs):
    """Return the gradient of the sum of `function(inputs)` by its inputs, itself differentiable."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(function(inputs))
    return tape.gradient(total, inputs)


def compiled_gradients(function, state):
    """Return a compiled function that gives losses and their gradients by its first input.

    Args:
        function: Callable of tensors that returns one loss for each row of the first.
        state: Variables that `function` reads. Unused here.

    Returns:
        Callable of the same tensors that returns `(losses, gradients)`.
    """

    @tf.function(reduce_retracing=True, jit_compile=jit_by_default())
    def compiled(inputs, *others):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            losses = function(inputs, *others)
        return losses, tape.gradient(losses, inputs)

    return compiled


def fused_batch_normalization(inputs, gamma, beta, epsilon):
    """Normalise NHWC inputs by their own statistics.

    Returns:
        `(outputs, mean, variance)`; the variance is that of the batch, not an estimate of the
        population's.
    """
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs,
        tf.cast(gamma, tf.float32),
        tf.cast(beta, tf.float32),
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
    return outputs, mean, variance * (count - 1) / count


# TensorFlow's own has a quick gradient.
conv_transpose = keras.ops.conv_transpose


class Steps:
    """Gives a model the step methods that TensorFlow's `fit()` calls."""

    def check_replicas(self):
        """Raise a `UserError` where more than one replica of the model would learn.

        Each would draw the same latents, because seeds are mirrored as weights are.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        if (distribution := keras.distribution.distribution()) is not None:
            replicas = max(replicas, distribution.device_mesh.devices.size)
        if replicas > 1:
            raise UserError(
                "On TensorFlow models train on one device, without a strategy or distribution of "
                f"more than one replica. Received: {replicas} replicas. For several devices, "
                "train on JAX: set KERAS_BACKEND=jax before Keras is imported."
            )

    def train_step(self, data):
        self.check_replicas()
        return self.train_round(data)

    def test_step(self, data):
        self.check_replicas()
        return self.test_round(data)

    def make_predict_function(self, force: bool = False):
        """Make one for faces and one for latents: TensorFlow would make one that knows no rank."""
        if self.predict_function is not None and not force:
            return
        functions = {}

        def by_rank(batches):
            rank = len(keras.tree.flatten(batches[0])[0].shape)
            if rank not in functions:
                now = self.predict_function
                super(Steps, self).make_predict_function(force=True)
                functions[rank], self.predict_function = self.predict_function, now
            return functions[rank](batches)

        self.predict_function = by_rank

    def showing_first(self, function: Callable, look: Callable) -> Callable:
        """Return a function of Keras's loops that first shows `look` the first batch it is given.

        Args:
            function: `train_function`, `test_function` or `predict_function`.
            look: Callable of a batch, which may refuse it.
        """
        shown = False

        def showing(batches):
            nonlocal shown
            if not shown:
                taken = list(itertools.islice(batches, self.steps_per_execution))
                if not taken:
                    raise StopIteration
                look(taken[0])
                batches = taken if isinstance(batches, list) else _iterator_like(batches, taken)
                shown = True
            return function(batches)

        return showing

    def sync(self):
        """Bring the model's variables up to date within `fit()`. They always are, here."""

    def alone(self):
        """Yield the model as it is now on one device, in a `with` block: here, this one."""
        return contextlib.nullcontext(self)


def _iterator_like(iterator, batches: list):
    """Return an iterator over batches for which a function made for another need not be retraced.

    Keras calls a function of data from elsewhere step by step, and would trace the step twice.
    """
    if not isinstance(iterator, tf.data.Iterator):
        return iter(batches)
    specs = keras.tree.flatten(iterator.element_spec)
    if any(isinstance(spec, tf.OptionalSpec) for spec in specs):
        return iter(batches)  # which no generator yields
    return iter(
        tf.data.Dataset.from_generator(lambda: batches, output_signature=iterator.element_spec)
    )
