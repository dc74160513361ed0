"""What Keras lacks, or has slower: layers, and a constraint of weights."""

import keras
from keras import layers, ops

from keras_faces.training.backend import fused_batch_normalization


@keras.saving.register_keras_serializable(package="keras_faces")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation of the last axis, trained with TensorFlow's fused operation.

    Keras 3 composes it from a dozen passes over the activations, a tenth of a DCGAN's step on a
    CPU. The values are the same up to rounding.
    """

    def call(self, inputs, training=None, mask=None):
        usual = len(inputs.shape) == 4 and self.axis in (-1, 3) and self.scale and self.center
        if (
            fused_batch_normalization is None
            or not (training and self.trainable)
            or not usual
            or mask is not None
        ):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = fused_batch_normalization(
            inputs, self.gamma, self.beta, self.epsilon
        )
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(
                moving * self.momentum + ops.cast(value, moving.dtype) * (1 - self.momentum)
            )
        return outputs


@keras.saving.register_keras_serializable(package="keras_faces")
class ReflectionPadding2D(layers.Layer):
    """Pads images by their own mirror image.

    Args:
        width: Pixels on each side.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def call(self, inputs):
        side = (self.width, self.width)
        return ops.pad(inputs, ((0, 0), side, side, (0, 0)), mode="reflect")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height + 2 * self.width, width + 2 * self.width, channels

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="keras_faces")
class Clip(keras.constraints.Constraint):
    """Keeps weights within [-limit, limit] after every step.

    Args:
        limit: The largest absolute weight.
    """

    def __init__(self, limit: float):
        self.limit = limit

    def __call__(self, value):
        return ops.clip(value, -self.limit, self.limit)

    def get_config(self):
        return {"limit": self.limit}
