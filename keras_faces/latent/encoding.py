"""Latents of pictures, of seeds, and of the faces of a source with their attributes.

A model's encoder says which latent a picture has; for a model without one it is searched for, as
`keras_faces.latent.inversion` does. Nothing else needs to know which of the two it was.
"""

import warnings
from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
from keras import ops
from tqdm import tqdm

from keras_faces.data.stream import FaceStream, stream_of
from keras_faces.errors import UserError, require_whole, unknown_name
from keras_faces.latent.inversion import MANY, Inversion, invert
from keras_faces.metrics.held_out import REAL_FACES, HeldOut, held_out_parts
from keras_faces.models import MODELS
from keras_faces.pixels import to_float

Encode = Callable[[np.ndarray], np.ndarray]

BATCH = 64
SEARCHED = 200  # faces that are enough for most directions, where each has to be searched for


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
    count: int | None = None,
    seed: int = 0,
    encode: Encode | None = None,
    progress: bool = False,
    conditions=None,
    **search,
) -> EncodedFaces:
    """Return faces of a source with their latents: encoded, or searched for without an encoder.

    A search does not find every face. Those that it does not are left out, with a warning.

    Args:
        model: A model with latents.
        faces: What `kf.data.load` or `kf.data.open_faces` returned; with `labels="attributes"`
            their attributes are kept beside their latents. A conditional model needs the labels
            that are its conditions.
        count: Faces to encode, or fewer where there are no more; None takes 4096, or 200 where
            latents have to be searched for.
        seed: Seed of the choice, of what is held out, and of a search.
        encode: Callable that turns faces of shape `(count, size, size, channels)` in [-1, 1] into
            latents; None takes the model's encoder, or searches.
        progress: Whether to show a progress bar.
        conditions: The same faces with the labels that are a conditional model's conditions, where
            `faces` come with others.
        **search: Arguments of `invert`, for models without an encoder; by default `MANY`.

    Raises:
        UserError: If the model has no latents, the faces are none that it can encode, or a search
            finds fewer than half of them.
    """
    stream, under = _stream(faces), _stream(faces if conditions is None else conditions)
    searched = encode is None and not model.has_encoder
    if count is None:
        count = SEARCHED if searched else REAL_FACES
    require_whole(2, count=count)
    require_whole(0, seed=seed)
    if encode is None:
        require_latents(model, "say which latents faces have")
        model.check_stream(under)
    held_out = held_out_parts(stream, seed, count)
    if searched:
        pictures = to_float(stream.cache.read(held_out.positions))
        result = invert(model, pictures, seed=seed, progress=progress, **{**MANY, **search})
        held_out, latents = _those_found(result, held_out), result.latents[result.found]
    else:
        latents = _encoded(model, stream, under, held_out.positions, encode, progress)
    labels = stream.labels_at(held_out.positions) if stream.labels == "attributes" else None
    return EncodedFaces(stream, latents, labels, held_out)


def _stream(faces) -> FaceStream:
    stream = stream_of(faces)
    if stream is None:
        raise UserError(
            "Expected faces from kf.data.load or kf.data.open_faces. Latents of an array are "
            f"kf.latent.latents_of(model, faces). Received: {type(faces).__name__}."
        )
    return stream


def _encoded(model, stream, under, positions, encode, progress) -> np.ndarray:
    latents = []
    with tqdm(
        total=len(positions),
        desc="Encoding",
        unit=" faces",
        disable=None if progress else True,
    ) as bar:
        for start in range(0, len(positions), BATCH):
            chosen = positions[start : start + BATCH]
            batch = to_float(stream.cache.read(chosen))
            if encode is not None:
                latents.append(np.asarray(encode(batch), np.float32))
            elif model.conditional:
                vectors = ops.convert_to_numpy(model.as_conditions(under.labels_at(chosen)))
                latents.append(model.encode(batch, vectors))
            else:
                latents.append(model.encode(batch))
            bar.update(len(batch))
    return np.concatenate(latents)


def _those_found(result: Inversion, held_out: HeldOut) -> HeldOut:
    missed = int(np.sum(~result.found))
    if missed > len(result.found) / 2:
        result.require_found()
    if missed:
        warnings.warn(
            f"The latents of {missed} of {len(result.found)} faces were not found by "
            f"{result.tried}; these faces are left out.",
            stacklevel=3,
        )
    rows = (held_out.positions, held_out.parts, held_out.units)
    return HeldOut(*(row[result.found] for row in rows), held_out.what)


def latents_of(model, faces, conditions=None, **search) -> np.ndarray:
    """Return the latents of pictures: the encoder's, or found by a search without an encoder.

    Args:
        model: A model with latents.
        faces: Faces in [-1, 1], of shape `(count, image_size, image_size, channels)`.
        conditions: Of a conditional model, the conditions of the faces.
        **search: Arguments of `invert`, for models without an encoder.

    Returns:
        A float32 array of shape `(count, code_dim)`, what `model.decode` takes.

    Raises:
        UserError: If the model has no latents, or a face's latent is not found.
    """
    require_latents(model, "say which latent a picture has")
    if model.has_encoder:
        return model.encode(faces, **({} if conditions is None else {"conditions": conditions}))
    return invert(model, faces, **search).require_found().latents


def blend(model, a, b, percent: float = 50.0, conditions=None, **search) -> np.ndarray:
    """Make faces between pairs of faces, through any model with latents.

    Args:
        model: A model with latents.
        a: Faces in [-1, 1], of shape `(count, image_size, image_size, channels)`, or one face.
        b: As many faces.
        percent: How much of `b`, from 0 to 100.
        conditions: Of a conditional model, a pair of conditions, of `a` and of `b`.
        **search: Arguments of `invert`, for models without an encoder.

    Returns:
        Float32 faces of the shape of `a`.

    Raises:
        UserError: If faces do not match, `percent` is out of range, the model has no latents, or a
            face's latent is not found.
    """
    require_latents(model, "blend pictures")
    if model.has_encoder:
        return model.blend(
            a, b, percent, **({} if conditions is None else {"conditions": conditions})
        )
    if not 0 <= percent <= 100:
        raise UserError(f"percent must lie in [0, 100]. Received: {percent}.")
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise UserError(f"Expected as many faces on both sides. Received: {a.shape} and {b.shape}.")
    both = np.stack([a, b]) if a.ndim == 3 else np.concatenate([a, b])
    of_a, of_b = np.split(latents_of(model, both, **search), 2)
    blended = model.decode((1 - percent / 100) * of_a + percent / 100 * of_b)
    return blended[0] if a.ndim == 3 else blended


def latent_of(model, given, sampler: str | None = None, conditions=None, **search) -> np.ndarray:
    """Return one latent, of shape `(code_dim,)`.

    Args:
        model: The model whose latent it is.
        given: A seed, from which it is drawn; a face in [-1, 1] of shape
            `(image_size, image_size, channels)`, whose latent it is; or the latent itself.
        sampler: How to draw it, one of the model's samplers; None takes its default.
        conditions: Of a conditional model, the conditions of the face or of the drawn latent.
        **search: Arguments of `invert`, for models without an encoder.

    Raises:
        UserError: If it is nothing of these, the model has no latents, or a face's is not found.
    """
    if isinstance(given, Integral):
        needed = {} if conditions is None else {"conditions": conditions}
        return model.sample_latents(1, int(given), sampler, **needed)[0]
    given = np.asarray(given)
    if given.ndim == 3:
        return latents_of(model, given[None], conditions, **search)[0]
    if model.code_dim is None or given.shape != (model.code_dim,):
        raise UserError(
            f"Expected a seed, a face of shape (size, size, channels) or a latent of shape "
            f"({model.code_dim},). Received: an array of shape {given.shape}."
        )
    return given.astype(np.float32)


def require_latents(model, purpose: str) -> None:
    """Check that a model has latents.

    Args:
        model: The model.
        purpose: What it cannot do without.

    Raises:
        UserError: If it has none.
    """
    if model.latent_dim is not None:
        return
    able = [name for name, owner in sorted(MODELS.items()) if not owner.translates_to]
    raise UserError(
        f"A {type(model).__name__} makes faces from faces and has no latents, so it cannot "
        f"{purpose}. Use a model that has them: {', '.join(able)}."
    )
