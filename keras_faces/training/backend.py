"""The steps of the backend that Keras runs on."""

import keras

from keras_faces.errors import UserError

if keras.backend.backend() == "tensorflow":
    from keras_faces.training.tensorflow_steps import (
        Steps,
        compiled_gradients,
        fused_batch_normalization,
        input_gradients,
        jit_by_default,
        losses_and_gradients,
        make_deterministic,
    )
elif keras.backend.backend() == "jax":
    from keras_faces.training.jax_steps import (
        Steps,
        compiled_gradients,
        fused_batch_normalization,
        input_gradients,
        jit_by_default,
        losses_and_gradients,
        make_deterministic,
    )
else:
    raise UserError(
        f"keras_faces trains on TensorFlow and JAX. Received: {keras.backend.backend()}. "
        "Set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax before Keras is imported."
    )

__all__ = [
    "Steps",
    "compiled_gradients",
    "fused_batch_normalization",
    "input_gradients",
    "jit_by_default",
    "losses_and_gradients",
    "make_deterministic",
]
