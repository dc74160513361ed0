"""Training steps on JAX, where state comes in and goes out as plain arrays."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_faces.checkpoints import variables_of
from keras_faces.files import cache_folder
from keras_faces.pixels import as_array
from keras_faces.process import processor
from keras_faces.training.devices import apart


def on_accelerator() -> bool:
    """Whether steps run on something faster than a CPU."""
    return jax.default_backend() != "cpu"


def jit_by_default() -> bool:
    """Whether to compile steps: on JAX, always."""
    return True


def keep_compiled() -> None:
    """Keep what is compiled for the next run, in JAX's own cache, unless the user has chosen one.

    JAX tells its versions, backends and options apart, but not processors, whose instructions the
    code is made of.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = cache_folder() / "jax" / processor()
        with contextlib.suppress(OSError):  # then it is compiled anew
            folder.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(folder))


def make_deterministic() -> None:
    """Make every operation give the same bits for the same input; on a CPU, JAX's do.

    XLA reads its options once, when JAX first computes. One that the user has chosen is kept.
    """
    chosen = os.environ.get("XLA_FLAGS", "")
    if "--xla_gpu_deterministic_ops" not in chosen:
        os.environ["XLA_FLAGS"] = f"{chosen} --xla_gpu_deterministic_ops=true".lstrip()


def known_values(values) -> np.ndarray | None:
    """Return tensors or other values as an array, or None where they are not known, or not here."""
    if isinstance(values, (keras.KerasTensor, jax.core.Tracer)):
        return None
    elsewhere = isinstance(values, jax.Array) and not values.is_fully_addressable
    return None if elsewhere else as_array(values)


def losses_and_gradients(function, groups, state):
    """Call `function` once and differentiate each loss by its own variables.

    Args:
        function: Callable without arguments, returning `(losses, extras)`, where `losses` has the
            keys of `groups`.
        groups: Dict mapping the name of each loss to the variables to differentiate it by; a
            variable may stand in several.
        state: Every other variable that `function` may read or update.

    Returns:
        `(losses, extras), gradients`, the last a dict of lists like `groups`.
    """

    variables = list({id(v): v for group in groups.values() for v in group}.values())

    def stateless(values):
        mapping = [*zip(variables, values, strict=True)]
        mapping += [(variable, variable.value) for variable in state]
        with keras.StatelessScope(mapping) as scope:
            losses, extras = function()
        updates = [scope.get_current_value(variable) for variable in state]
        return {name: losses[name] for name in groups}, (losses, extras, updates)

    values = [variable.value for variable in variables]
    shares, pull_back, (losses, extras, updates) = jax.vjp(stateless, values, has_aux=True)
    # Batch statistics and random seeds moved during the forward pass.
    for variable, value in zip(state, updates, strict=True):
        variable.assign(value)
    gradients = {}
    for name, group in groups.items():
        # One forward pass, pulled back once for each loss; XLA drops what nobody asks for.
        seed = {other: jnp.full_like(loss, other == name) for other, loss in shares.items()}
        by = dict(zip(map(id, variables), pull_back(seed)[0], strict=True))
        gradients[name] = [by[id(variable)] for variable in group]
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_transpose(inputs, kernel, strides, padding):
    """Keras's transposed convolution of NHWC inputs, with a faster gradient.

    To differentiate it by its kernel, JAX runs a convolution whose kernel is as large as the
    images; on an H200 these took 39 % of a DCGAN's step. A transposed convolution is the transpose
    of an ordinary one, C, with the same kernel. So its gradient by the inputs is C of the incoming
    gradient, and its gradient by the kernel is C's, with inputs and incoming gradient swapped.
    """
    return keras.ops.conv_transpose(inputs, kernel, strides, padding)


def _conv_transpose_forward(inputs, kernel, strides, padding):
    return conv_transpose(inputs, kernel, strides, padding), (inputs, kernel)


def _conv_transpose_backward(strides, padding, kept, gradient):
    inputs, kernel = kept

    def transposed(kernel):
        return keras.ops.conv(gradient, kernel, strides, padding)

    of_inputs, of_kernel = jax.vjp(transposed, kernel)
    return of_inputs, *of_kernel(inputs)


conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


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

    def _make_function(self, *args, **kwargs):
        function = super()._make_function(*args, **kwargs)

        def keeping(state, batches):
            with self._kept(state):
                return function(state, batches)

        return keeping

    @contextlib.contextmanager
    def _kept(self, state) -> Iterator[None]:
        """Give the variables back their values where a step fails.

        Keras takes these from them for the time of its loops, and would leave a model without.
        """
        try:
            yield
        except BaseException:
            groups = [self.trainable_variables, self.non_trainable_variables]
            groups += [self.optimizer.variables] if len(state) == 4 else []
            groups += [self.metrics_variables] if len(state) > 2 else []
            for variables, values in zip(groups, state, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    if not value.is_deleted():
                        variable.assign(value)
            self._jax_state = None
            raise

    def showing_first(self, function: Callable, look: Callable) -> Callable:
        """Return a function of Keras's loops that first shows `look` the first batch it is given.

        Args:
            function: `train_function`, `test_function` or `predict_function`.
            look: Callable of a batch, which may refuse it.
        """
        shown = False

        def showing(state, batches):
            nonlocal shown
            if not shown:
                with self._kept(state):
                    first = next(batches)
                    look(first)
                batches = itertools.chain([first], batches)
                shown = True
            return function(state, batches)

        return showing

    def sync(self):
        """Bring the model's variables up to date within `fit()`, which keeps them elsewhere."""
        self.jax_state_sync()

    @contextlib.contextmanager
    def alone(self) -> Iterator[keras.Model]:
        """Yield the model as it is now on one device, of which no other need know.

        It is this one, unless that is on several: what is computed with it all processes compute.
        """
        self.sync()
        own = variables_of(self)
        if all(len(variable.value.devices()) == 1 for variable in own.values()):
            yield self
            return
        with apart():
            if "_copy" not in vars(self):
                copy = type(self).from_config(self.get_config())
                copy.compile_from_config(self.get_compile_config())
                vars(self)["_copy"] = copy  # past Keras, which would count it among the layers
            for name, variable in variables_of(self._copy).items():
                variable.assign(own[name].value.addressable_data(0))
            yield self._copy


def _run_stateless(step, data, groups, values):
    """Run `step` on variables holding `values`; return logs and new values."""
    mapping = [pair for pairs in zip(groups, values) for pair in zip(*pairs)]
    with keras.StatelessScope(mapping) as scope:
        logs = step(data)
    return logs, tuple(
        [scope.get_current_value(variable) for variable in group] for group in groups
    )
