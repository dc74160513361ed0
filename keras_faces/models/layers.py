"""What Keras lacks, or has slower: layers, and a constraint of weights."""

import keras
from keras import layers, ops

from keras_faces.training.backend import conv_transpose, fused_batch_normalization


@keras.saving.register_keras_serializable(package="keras_faces")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation of the last axis, trained with TensorFlow's fused operation.

    Keras 3 composes it from a dozen passes over the activations, a tenth of a DCGAN's step on a
    CPU. The values are the same up to rounding. On JAX it is Keras's own.
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
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, quicker to train where nearest neighbours have doubled its inputs.

    Such inputs are blocks of four equal values, so that taps which fall on one block are summed
    beforehand: a transposed convolution of what was doubled, with 9 multiply-adds in place of 25
    for a 5x5 kernel and 4 in place of 9 for a 3x3 one. The values are the same up to rounding.

    Args:
        filters: As of `keras.layers.Conv2D`.
        kernel_size: As of `keras.layers.Conv2D`; odd.
        doubled: Whether its inputs come from `UpSampling2D(2)`. Then strides are 1 and the padding
            is `"same"`.
        **kwargs: Arguments of `keras.layers.Conv2D`.
    """

    def __init__(self, filters, kernel_size, doubled: bool = False, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.doubled = doubled

    def call(self, inputs, training=None):
        # Exports and other inference keep the plain convolution.
        if not (training and self.doubled):
            return super().call(inputs)
        # A transposed convolution goes through its kernel backwards, from outputs to inputs.
        kernel = ops.transpose(ops.flip(self.kernel, (0, 1)), (0, 1, 3, 2))
        # Taps that fall on one pixel of what was doubled are added up: k x k become k + 1 x k + 1.
        kernel = sum(
            ops.pad(kernel, ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0)))
            for row in (0, 1)
            for column in (0, 1)
        )
        outputs = conv_transpose(inputs[:, ::2, ::2], kernel, (2, 2), "same")
        return self.activation(outputs + self.bias if self.use_bias else outputs)

    def get_config(self):
        return {**super().get_config(), "doubled": self.doubled}


@keras.saving.register_keras_serializable(package="keras_faces")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's transposed convolution, quicker to train on JAX.

    Dilated ones, those with an output padding and those of channels-first images are as Keras's.
    """

    def call(self, inputs):
        usual = self.data_format == "channels_last" and set(self.dilation_rate) == {1}
        if not usual or self.output_padding is not None:
            return super().call(inputs)
        kernel = ops.convert_to_tensor(self.kernel)
        outputs = conv_transpose(inputs, kernel, self.strides, self.padding)
        if self.use_bias:
            outputs = ops.add(outputs, ops.reshape(self.bias, (1, 1, 1, -1)))
        return self.activation(outputs)


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
