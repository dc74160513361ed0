"""Training steps on JAX, where state comes in and goes out as plain arrays."""

import jax
import jax.numpy as jnp
import keras


def jit_by_default() -> bool:
    """Whether to compile steps: on JAX, always."""
    return True


def make_deterministic() -> None:
    """Make every operation give the same bits for the same input: on a CPU, JAX's do."""


def losses_and_gradients(function, groups, state):
    """Call `function` once and differentiate each loss by its own variables.

    Args:
        function: Callable without arguments, returning `(losses, extras)`, where `losses` has the
            keys of `groups`.
        groups: Dict mapping the name of each loss to the variables to differentiate it by.
        state: Every other variable that `function` may read or update.

    Returns:
        `(losses, extras), gradients`, the last a dict of lists like `groups`.
    """

    def stateless(values):
        mapping = [
            pair for name, group in groups.items() for pair in zip(group, values[name], strict=True)
        ]
        mapping += [(variable, variable.value) for variable in state]
        with keras.StatelessScope(mapping) as scope:
            losses, extras = function()
        updates = [scope.get_current_value(variable) for variable in state]
        return {name: losses[name] for name in groups}, (losses, extras, updates)

    values = {name: [variable.value for variable in group] for name, group in groups.items()}
    shares, pull_back, (losses, extras, updates) = jax.vjp(stateless, values, has_aux=True)
    # Batch statistics and random seeds moved during the forward pass.
    for variable, value in zip(state, updates, strict=True):
        variable.assign(value)
    gradients = {}
    for name in groups:
        # One forward pass, pulled back once for each loss.
        seed = {other: jnp.full_like(loss, other == name) for other, loss in shares.items()}
        gradients[name] = pull_back(seed)[0][name]
    return (losses, extras), gradients


def apply_gradients(optimizer, gradients, variables):
    """Let an optimizer move variables."""
    optimizer.apply(gradients, variables)


def input_gradients(function, inputs):
    """Return the gradient of the sum of `function(inputs)` by its inputs, itself differentiable."""
    return jax.grad(lambda values: jnp.sum(function(values)))(inputs)


def compiled_gradients(function, state):
    """Return a compiled function that gives losses and their gradients by its first input.

    Args:
        function: Callable of tensors that returns one loss for each row of the first.
        state: Variables that `function` reads.

    Returns:
        Callable of the same tensors that returns `(losses, gradients)`.
    """

    def total(inputs, values, *others):
        # As arguments: as constants, XLA would spend its time on folding the weights.
        with keras.StatelessScope(list(zip(state, values, strict=True))):
            losses = function(inputs, *others)
        return jnp.sum(losses), losses

    graded = jax.jit(jax.value_and_grad(total, has_aux=True))

    def compiled(inputs, *others):
        values = [variable.value for variable in state]
        (_, losses), gradients = graded(inputs, values, *others)
        return losses, gradients

    return compiled


# XLA fuses what Keras composes by itself.
fused_batch_normalization = None


class Steps:
    """Gives a model the stateless step methods that JAX's `fit()` calls."""

    def check_replicas(self):
        """Accept any number of devices: they share one batch and one draw of latents."""

    def train_step(self, values, data):
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        return _run_stateless(self.train_round, data, groups, values)

    def test_step(self, values, data):
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.metrics_variables,
        )
        return _run_stateless(self.test_round, data, groups, values)

    def sync(self):
        """Bring the model's variables up to date within `fit()`, which keeps them elsewhere."""
        self.jax_state_sync()


def _run_stateless(step, data, groups, values):
    """Run `step` on variables holding `values`; return logs and new values."""
    mapping = [pair for pairs in zip(groups, values) for pair in zip(*pairs)]
    with keras.StatelessScope(mapping) as scope:
        logs = step(data)
    return logs, tuple(
        [scope.get_current_value(variable) for variable in group] for group in groups
    )
