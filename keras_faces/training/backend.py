"""The steps of the backend that Keras runs on."""

import keras

from keras_faces.errors import UserError

if keras.backend.backend() == "tensorflow":
    from keras_faces.training import tensorflow_steps as steps
elif keras.backend.backend() == "jax":
    from keras_faces.training import jax_steps as steps
else:
    raise UserError(
        f"keras_faces trains on TensorFlow and JAX. Received: {keras.backend.backend()}. "
        "Set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax before Keras is imported."
    )

Steps = steps.Steps
apply_gradients = steps.apply_gradients
compiled_gradients = steps.compiled_gradients
conv_transpose = steps.conv_transpose
fused_batch_normalization = steps.fused_batch_normalization
input_gradients = steps.input_gradients
jit_by_default = steps.jit_by_default
keep_compiled = steps.keep_compiled
known_values = steps.known_values
losses_and_gradients = steps.losses_and_gradients
make_deterministic = steps.make_deterministic
on_accelerator = steps.on_accelerator
