"""Latents of pictures, of seeds, and of the faces of a source with their attributes."""

from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
from keras import ops
from tqdm import tqdm

from keras_faces.data.stream import FaceStream, to_float
from keras_faces.errors import UserError, require_whole, unknown_name
from keras_faces.metrics.conditions import REAL_FACES, HeldOut, held_out_parts

Encode = Callable[[np.ndarray], np.ndarray]

BATCH = 64


class EncodedFaces(NamedTuple):
    """Faces of a source and their latents.

    Attributes:
        stream: Where the faces are.
        latents: Float32 array of shape `(count, code_dim)`.
        labels: Attributes of 0 and 1 of shape `(count, attributes)`, or None.
        held_out: Which faces they are, and in which part each is held out from classifiers.
    """

    stream: FaceStream
    latents: np.ndarray
    labels: np.ndarray | None
    held_out: HeldOut

    @property
    def names(self) -> list[str]:
        """Names of the attributes."""
        return [] if self.labels is None else self.stream.label_names

    def faces(self, chosen=slice(None)) -> np.ndarray:
        """Return the faces, or the chosen rows of them, as float32 in [-1, 1]."""
        return to_float(self.stream.cache.read(self.held_out.positions[chosen]))

    def number_of(self, name: str) -> int:
        """Return the column of an attribute.

        Raises:
            UserError: If there is none of that name, or no attributes at all.
        """
        if self.labels is None:
            raise UserError(
                f"Whether a face has {name!r} is not known: these faces come without attributes. "
                "Load them with labels='attributes'."
            )
        if name not in self.names:
            raise unknown_name("attribute", name, self.names)
        return self.names.index(name)

    def labels_of(self, name: str) -> np.ndarray:
        """Return whether each face has an attribute, 0 or 1, of shape `(count,)`."""
        return self.labels[:, self.number_of(name)]


def encode_faces(
    model,
    faces,
    count: int = REAL_FACES,
    seed: int = 0,
    encode: Encode | None = None,
    progress: bool = False,
) -> EncodedFaces:
    """Encode faces of a source.

    Args:
        model: A model with an encoder, or any model where `encode` is given.
        faces: What `kf.data.load` or `kf.data.open_faces` returned; with `labels="attributes"`
            their attributes are kept beside their latents. A conditional model needs the labels
            that are its conditions.
        count: Faces to encode, or fewer where there are no more.
        seed: Seed of the choice, and of what is held out.
        encode: Callable that turns faces of shape `(count, size, size, channels)` in [-1, 1] into
            latents, for models without an encoder; None takes the model's.
        progress: Whether to show a progress bar.

    Raises:
        UserError: If the model has no encoder, or the faces are none that it can encode.
    """
    stream = faces if isinstance(faces, FaceStream) else getattr(faces, "stream", None)
    if stream is None:
        raise UserError(
            "Expected faces from kf.data.load or kf.data.open_faces. Latents of an array are "
            f"model.encode(faces). Received: {type(faces).__name__}."
        )
    require_whole(2, count=count)
    require_whole(0, seed=seed)
    if encode is None:
        require_encoder(model, "say which latents faces have")
        model.check_stream(stream)
    held_out = held_out_parts(stream, seed, count)
    latents = []
    with tqdm(
        total=len(held_out.positions),
        desc="Encoding",
        unit=" faces",
        disable=None if progress else True,
    ) as bar:
        for start in range(0, len(held_out.positions), BATCH):
            positions = held_out.positions[start : start + BATCH]
            batch, labels = to_float(stream.cache.read(positions)), stream.labels_at(positions)
            if encode is not None:
                latents.append(np.asarray(encode(batch), np.float32))
            elif model.conditional:
                vectors = ops.convert_to_numpy(model.as_conditions(labels))
                latents.append(model.encode(batch, vectors))
            else:
                latents.append(model.encode(batch))
            bar.update(len(batch))
    labels = stream.labels_at(held_out.positions) if stream.labels == "attributes" else None
    return EncodedFaces(stream, np.concatenate(latents), labels, held_out)


def latent_of(model, given, sampler: str | None = None, conditions=None) -> np.ndarray:
    """Return one latent, of shape `(code_dim,)`.

    Args:
        model: The model whose latent it is.
        given: A seed, from which it is drawn; a face in [-1, 1] of shape
            `(image_size, image_size, channels)`, which is encoded; or the latent itself.
        sampler: How to draw it, one of the model's samplers; None takes its default.
        conditions: Of a conditional model, the conditions of the face or of the drawn latent.

    Raises:
        UserError: If it is nothing of these, or a face and the model has no encoder.
    """
    needed = {} if conditions is None else {"conditions": conditions}
    if isinstance(given, Integral):
        return model.draw_latents(1, int(given), sampler, **needed)[0]
    given = np.asarray(given)
    if given.ndim == 3:
        require_encoder(model, "say which latent a picture has")
        return model.encode(given[None], **needed)[0]
    if model.code_dim is None or given.shape != (model.code_dim,):
        raise UserError(
            f"Expected a seed, a face of shape (size, size, channels) or a latent of shape "
            f"({model.code_dim},). Received: an array of shape {given.shape}."
        )
    return given.astype(np.float32)


def require_encoder(model, purpose: str) -> None:
    """Check that a model can encode.

    Args:
        model: The model.
        purpose: What it cannot do without an encoder.

    Raises:
        UserError: If it has no encoder.
    """
    if model.has_encoder:
        return
    from keras_faces.models import MODELS

    able = [name for name, owner in sorted(MODELS.items()) if hasattr(owner, "latents_from_faces")]
    raise UserError(
        f"A {type(model).__name__} has no encoder, so it cannot {purpose}. Use a model that has "
        f"one: {', '.join(able)}."
    )
