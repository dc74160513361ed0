"""What an exported model can be asked for, whatever the format."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

PIXELS = ("float32", "uint8")
WEIGHTS = ("float32", "float16", "int8")


class Signature(NamedTuple):
    """One thing that an exported model does.

    Attributes:
        inputs: Name of each input to its shape without the count, and its dtype.
        function: Takes tensors of those, in this order, and returns one.
    """

    inputs: dict[str, tuple[tuple[int, ...], str]]
    function: Callable


def signatures_of(model, pixels: str) -> dict[str, Signature]:
    """Return a model's signatures by name, the default one first.

    Args:
        model: A `FaceModel`.
        pixels: `"float32"` or `"uint8"`: what faces are given as and returned as.
    """
    found = {}
    for name, (shapes, function) in model.signatures().items():
        dtypes = [pixels if shape == model.image_shape else "float32" for shape in shapes.values()]
        if pixels == "uint8":
            function = _in_levels(function, dtypes)
        inputs = dict(zip(shapes, zip(shapes.values(), dtypes)))
        found[name] = Signature(inputs, function)
    return found


def _in_levels(function: Callable, dtypes: list[str]) -> Callable:
    """Return a function of faces in [-1, 1] as one of uint8 levels."""

    def levels(*inputs):
        floats = [
            ops.cast(given, "float32") / 127.5 - 1.0 if dtype == "uint8" else given
            for given, dtype in zip(inputs, dtypes)
        ]
        made = function(*floats)
        if len(made.shape) != 4:  # latents
            return made
        return ops.cast(ops.clip(ops.round((made + 1.0) * 127.5), 0.0, 255.0), "uint8")

    return levels


def examples(signature: Signature, count: int) -> dict[str, np.ndarray]:
    """Return random inputs of a signature by name."""
    rng = np.random.default_rng(count)
    found = {}
    for name, (shape, dtype) in signature.inputs.items():
        drawn = np.clip(rng.standard_normal((count, *shape), np.float32), -1, 1)
        found[name] = np.uint8(127.5 * (drawn + 1)) if dtype == "uint8" else drawn
    return found


def largest_difference(
    signature: Signature, serve: Callable, counts: Sequence[int] = (1, 3)
) -> float:
    """Compare what is served with the model's own output.

    Args:
        signature: What is compared.
        serve: Callable that takes arrays by name and returns an array.
        counts: How many at a time.

    Returns:
        The largest absolute difference; of values above 1 (latents), relative to the largest.
    """
    largest = 0.0
    for count in counts:
        given = examples(signature, count)
        tensors = [ops.convert_to_tensor(value) for value in given.values()]
        own = ops.convert_to_numpy(signature.function(*tensors))
        difference = np.abs(np.asarray(serve(given), np.float64) - own).max()
        scale = 1.0 if own.dtype == np.uint8 else max(1.0, float(np.abs(own).max()))
        largest = np.fmax(largest, difference / scale) if np.isfinite(difference) else np.nan
    return float(largest)


def has_uniform_prior(model) -> bool:
    """Whether a model's prior is uniform in [-1, 1] instead of normal."""
    return bool(np.abs(model.sample_latents(1000, sampler="prior")).max() <= 1)
