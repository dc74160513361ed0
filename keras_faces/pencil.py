"""The pencil filter of every photo editor ("colour dodge"): a sketch made of a photo."""

import numpy as np
from keras import ops

REACH = 0.06  # standard deviation of the blur, as a share of the size


def sketches_of(photos: np.ndarray) -> np.ndarray:
    """Return pencil sketches of photos in [-1, 1], as an array."""
    parts = [
        ops.convert_to_numpy(pencil_sketch(photos[start : start + 64]))
        for start in range(0, len(photos), 64)
    ]
    return np.concatenate(parts) if parts else photos


def pencil_sketch(images):
    """Return pencil sketches of images in [-1, 1]: the grey image divided by its own blur.

    Args:
        images: Tensor of shape `(count, size, size, channels)`.
    """
    size, channels = images.shape[1], images.shape[3]
    grey = 0.5 * (ops.convert_to_tensor(images) + 1.0)
    if channels == 3:
        grey = ops.sum(grey * ops.convert_to_tensor([0.299, 0.587, 0.114]), -1, keepdims=True)
    offsets = np.arange(size)[:, None] - np.arange(size)[None, :]
    kernel = np.exp(-0.5 * np.square(offsets / (REACH * size)))
    # Rows that sum to one near the edges too, so that a blank border stays blank.
    kernel = ops.convert_to_tensor((kernel / kernel.sum(1, keepdims=True)).astype("float32"))
    blurred = ops.einsum("ij,bjkc->bikc", kernel, grey)
    blurred = ops.einsum("ij,bkjc->bkic", kernel, blurred)
    sketch = ops.minimum(grey / ops.maximum(blurred, 1e-3), 1.0)
    return ops.repeat(2.0 * sketch - 1.0, channels, axis=-1)
