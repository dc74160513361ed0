"""dlib's network for face descriptors, computed by Keras with the weights of dlib's own file.

A ResNet of 29 convolutions (He et al., 2016, https://arxiv.org/abs/1512.03385), as dlib's
`examples/dnn_face_recognition_ex.cpp` defines it: https://github.com/davisking/dlib. dlib's wheels
multiply matrices without a BLAS, which takes 15 times as long as here. Descriptors are dlib's up to
rounding (5e-7).
"""

import math
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from keras_faces.errors import UserError

NUMBERS = 128  # in a descriptor
BATCH = 16  # faces at a time
MEAN = np.array([122.782, 117.001, 104.298], np.float32)  # of red, green and blue
# Filters and stride of each residual block, which has two convolutions.
BLOCKS = (
    *[(32, 1)] * 3,
    *[(64, 2), (64, 1), (64, 1), (64, 1)],
    *[(128, 2), (128, 1), (128, 1)],
    *[(256, 2), (256, 1), (256, 1)],
    (256, 2),
)
# How dlib's file names the layers that have weights. The last says its sizes, too: 128 and 256.
CONVOLUTION, AFFINE, DENSE = b"\x01\x05con_4", b"\x01\x07affine_", b"\x01\x04fc_2\x01\x80\x02\0\1"
VERSION = 2  # of the form in which it writes arrays


def describe_chips(chips: Iterable[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """Return descriptors of faces, float64 of shape `(count, 128)`.

    They are computed on the CPU, since accelerators round float32 to fewer digits, and use nothing
    of Keras's global state (precision, names, seeds, distribution), which may be a training's.

    Args:
        chips: Faces as `dlib.get_face_chip` cuts them: uint8 of shape `(150, 150, 3)`. They need
            not be in memory at once.
        weights: What `read_weights` returns.

    Raises:
        UserError: If JAX is kept from the CPU.
    """
    import keras

    try:
        on_cpu = keras.device("cpu:0")
    except RuntimeError as error:
        raise UserError(
            "Face descriptors are computed on the CPU, which JAX was told to leave out. Name it "
            "behind what else it shall use: JAX_PLATFORMS=cuda,cpu."
        ) from error
    chips, values = iter(chips), [np.empty((0, NUMBERS))]
    with on_cpu:
        weights = [keras.ops.convert_to_tensor(array) for array in weights]
        while batch := list(islice(chips, BATCH)):
            # Always as many, so that a descriptor does not depend on how many there are.
            filled = np.stack(batch + batch[-1:] * (BATCH - len(batch)))
            found = keras.ops.convert_to_numpy(_network(filled, weights))
            values.append(found[: len(batch)].astype(np.float64))
    return np.concatenate(values)


def _network(chips: np.ndarray, weights: list):
    from keras import ops

    unused = iter(weights)

    def convolve(x, stride):
        padding = "same" if stride == 1 else "valid"
        return ops.conv(x, next(unused), stride, padding, "channels_last") + next(unused)

    x = ops.convert_to_tensor((chips - MEAN) / 256)
    x = ops.max_pool(ops.relu(convolve(x, 2)), 3, 2, "valid", "channels_last")
    for _, stride in BLOCKS:
        y = convolve(ops.relu(convolve(x, stride)), 1)
        if stride == 2:
            x = ops.average_pool(x, 2, 2, "valid", "channels_last")
            # dlib adds arrays of different sizes as if the smaller one had zeros there.
            rows, channels = x.shape[1] - y.shape[1], y.shape[3] - x.shape[3]
            x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels)))
            y = ops.pad(y, ((0, 0), (0, rows), (0, rows), (0, 0)))
        x = ops.relu(x + y)
    return ops.matmul(ops.mean(x, (1, 2)), next(unused))


def read_weights(path: str) -> list[np.ndarray]:
    """Return the weights in dlib's file: kernel and bias of each convolution, then a matrix.

    Args:
        path: dlib's file, `dlib_face_recognition_resnet_model_v1.dat`.

    Raises:
        ValueError: If it does not hold this network's weights.
    """
    data, place = Path(path).read_bytes(), 0

    def read(layer: bytes, *shape: int) -> np.ndarray:
        """Return the next array of this shape, which stands behind the name of its layer."""
        nonlocal place
        sizes = (*shape, 1, 1, 1)[:4]
        start = layer + b"".join(map(_packed, (VERSION, *sizes)))
        place = data.index(start, place) + len(start)
        values = np.frombuffer(data, "<f4", math.prod(shape), place)
        place += values.nbytes
        if not np.isfinite(values).all():
            raise ValueError("weights are not finite")
        return values.astype(np.float32).reshape(shape)

    def convolution(channels: int, filters: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        values = read(CONVOLUTION, filters * (channels * size**2 + 1))
        kernel = values[:-filters].reshape(filters, channels, size, size).transpose(2, 3, 1, 0)
        # Batch normalisation with its averages is one with the convolution before it.
        scale, shift = read(AFFINE, 2 * filters).reshape(2, filters)
        return kernel * scale, values[-filters:] * scale + shift

    weights, channels = [*convolution(3, 32, 7)], 32
    for filters, _ in BLOCKS:
        weights += [*convolution(channels, filters, 3), *convolution(filters, filters, 3)]
        channels = filters
    return [*weights, read(DENSE, channels, NUMBERS)]


def _packed(number: int) -> bytes:
    """Return a positive integer as dlib writes it: how many bytes it has, then these."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "little")
