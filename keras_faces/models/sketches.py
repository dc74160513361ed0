"""Sketches beside photos, for models that learn from both: drawn ones, or the pencil filter's."""

import numpy as np

from keras_faces.errors import UserError
from keras_faces.pencil import pencil_sketch, sketches_of


def beside(photos, sketches):
    """Return the sketches of a batch of photos: those that came with it, else the filter's."""
    return pencil_sketch(photos) if sketches is None else sketches


def pairs_of(stream, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some photos of a stream and their sketches: its own, else those of the filter."""
    if stream.labels == "sketch":
        return stream.sample(count, seed, labelled=True)
    photos = stream.sample(count, seed)
    return photos, sketches_of(photos)


def check_sketches(model, stream, labels, paired: bool = False) -> None:
    """Check that what comes beside photos are sketches.

    Args:
        model: A `FaceModel`.
        stream: The stream of photos, or None where `fit` was given an array.
        labels: What came beside an array, or None.
        paired: Whether they have to be the photos' own.

    Raises:
        UserError: If it is something else.
    """
    shape = None if labels is None else tuple(np.shape(labels)[1:])
    kind = None if stream is None else stream.labels
    if kind in (None, "sketch") and shape in (None, model.image_shape):
        if paired and kind == "sketch" and not stream.label_table.paired:
            raise UserError(
                f"A {type(model).__name__} learns the sketch of each photo, and these are of "
                "others (paired=no). Give sketches of the same faces, or train a CycleGAN."
            )
        return
    raise UserError(
        f"What comes beside photos for a {type(model).__name__} that translates are sketches, "
        f"pictures of shape {model.image_shape} as well, or nothing: then it makes them by the "
        "pencil filter. Received: "
        + (
            f"labels of kind {kind!r}. Load the faces without them."
            if kind is not None
            else f"an array of shape {np.shape(labels)}."
        )
    )
