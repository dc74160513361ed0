"""The tabs of the page as plain functions: a served model and what a person gave, to pictures.

They raise `UserError` for whatever the person can mend, and may be called by several threads.
"""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.app.served import ServedModel
from keras_faces.errors import UserError, unknown_name
from keras_faces.latent import (
    apply,
    attribute_direction,
    between,
    encode_faces,
    latent_of,
    orthogonalise,
    save_frames,
)
from keras_faces.metrics.evaluation import Evaluation
from keras_faces.metrics.reconstruction import psnr, ssim
from keras_faces.metrics.scores import SCORES
from keras_faces.metrics.tables import format_copies, format_matches, read_scores, shown
from keras_faces.models.encoding import EncodingModel
from keras_faces.pictures import enlarged, grid
from keras_faces.screen import quoted

WIDTH = 1000  # pixels at least of rows of faces, as they are shown
SIDE = 500  # of squares of faces: writing a PNG takes longer than drawing what is on it
MAX_COUNT = 100
MAX_FRAMES = 30
MAX_SEED = 2**32 - 1
MAX_STRENGTH = 3.0
ATTRIBUTE_FACES = 4096  # to take directions from, at most

Progress = Callable[[float, str], None]


class Given(NamedTuple):
    """A face that a person named: an uploaded picture, or a seed to draw it from.

    Attributes:
        seed: The seed, where there is no picture.
        data: The bytes of the picture's file, or None.
        cropped: Whether the picture is cropped already.
        sampler: How to draw from the seed; None takes the model's default.
        conditions: Of a conditional model, the names of what holds of the face; None draws them.
    """

    seed: int = 0
    data: bytes | None = None
    cropped: bool = False
    sampler: str | None = None
    conditions: Sequence[str] | None = None


class Shown(NamedTuple):
    """What a tab shows.

    Attributes:
        picture: Faces side by side, large enough to be looked at.
        note: What they are.
        faces: The same faces, float32 of shape `(count, size, size, channels)` in [-1, 1].
    """

    picture: Image.Image
    note: str
    faces: np.ndarray


def reasons(served: ServedModel) -> dict[str, str]:
    """Return the tabs in which a model can do nothing, and why, in a sentence for people."""
    model = served.model
    kind = type(model).__name__
    found = {}
    if model.latent_dim is None:
        found |= dict.fromkeys(
            ("sample", "interpolate"),
            f"A {kind} makes faces from pictures and has no latents to draw from: see Translate.",
        )
        found |= dict.fromkeys(
            ("blend", "attributes", "reconstruct"),
            f"A {kind} has no latents between which a face could lie. Choose another model.",
        )
    if model.conditional:
        found["attributes"] = (
            f"A {kind} is told its conditions and needs no directions: choose them in the tab "
            "Sample, or beside a picture in Reconstruct."
        )
    elif "attributes" not in found:
        try:
            served.attribute_names  # noqa: B018
        except UserError as error:
            found["attributes"] = f"No attribute is known of the faces of this model. {error}"
    if model.translates_to:
        if model.latent_dim is not None:
            found["reconstruct"] = (
                f"This {kind} makes sketches of photos, not copies: see Translate."
            )
    else:
        try:
            model.check_translation()
        except UserError as error:
            found["translate"] = str(error)
    try:
        score_table(served)
    except UserError as error:
        found["scores"] = str(error)
    return found


# Latents of pictures: here and nowhere else.


def latent_of_picture(served: ServedModel, given: Given) -> np.ndarray:
    """Return the latent of a picture, of shape `(code_dim,)`: the encoder's, or searched for.

    A search takes seconds, so what is found is remembered: a slider does not search again.

    Raises:
        UserError: If there is no face, or no latent comes near it.
    """
    model, face = served.model, _face(served, given)
    named = _conditions(model, given.conditions or ())
    key = ("latent", given.data, given.cropped, tuple(given.conditions or ()))
    return served.remembered(key, lambda: served.use(latent_of, model, face, **named))


def searched(served: ServedModel, *given: Given) -> str:
    """Return what is to be said where a latent was searched for."""
    if served.model.has_encoder or all(face.data is None for face in given):
        return ""
    return (
        f"; a {type(served.model).__name__} has no encoder, so the latent was searched for whose "
        "face is nearest"
    )


def _conditions(model, names: Sequence[str] | None) -> dict:
    if not model.conditional or names is None:
        return {}
    for name in names:
        if name not in model.condition_names:
            raise unknown_name("condition", name, model.condition_names)
    return {"conditions": dict.fromkeys(names, 1.0)}


def _face(served: ServedModel, given: Given) -> np.ndarray:
    if given.data is None:
        raise UserError("Choose a picture first.")
    return served.face(given.data, given.cropped).face


def _latent(served: ServedModel, given: Given) -> np.ndarray:
    model = served.model
    if given.data is not None:
        return latent_of_picture(served, given)
    named = _conditions(model, given.conditions)
    return served.use(
        model.sample_latents, 1, whole("seed", given.seed, 0, MAX_SEED), given.sampler, **named
    )[0]


# The tabs.


def sample(
    served: ServedModel,
    count: int = 16,
    seed: int = 0,
    sampler: str | None = None,
    conditions: Sequence[str] | None = None,
) -> Shown:
    """Draw faces.

    Args:
        served: The model.
        count: How many, at most `MAX_COUNT`.
        seed: Seed of the latents.
        sampler: One of the model's samplers; None takes its default.
        conditions: Of a conditional model, the names of what holds of all faces; None draws
            conditions as they go together in the data.

    Raises:
        UserError: If a value is out of range, or unknown.
    """
    count, seed = whole("count", count, 1, MAX_COUNT), whole("seed", seed, 0, MAX_SEED)
    model = served.model
    named = _conditions(model, conditions)
    faces = served.use(model.generate, count, seed, sampler, **named)
    told = f", {', '.join(conditions) or 'no condition'}" if named else ""
    note = f"{count} faces, seed {seed}, sampler {sampler or model.default_sampler}{told}"
    return Shown(enlarged(grid(faces), SIDE), note, faces)


def blend(served: ServedModel, first: Given, second: Given, percent: float = 50.0) -> Shown:
    """Make the face between two pictures: the first's face, the blend, the second's face.

    Args:
        served: The model.
        first: A picture.
        second: Another.
        percent: How much of the second, 0 to 100.

    Raises:
        UserError: If there is no face, or no latent comes near one.
    """
    if first.data is None or second.data is None:
        raise UserError("Choose both pictures first.")
    model = served.model
    ends = [_face(served, given) for given in (first, second)]
    codes = [_latent(served, given) for given in (first, second)]
    blended = EncodingModel.between(*codes, percent)
    face = served.use(model.decode, blended[None])[0]
    faces = np.stack([ends[0], face, ends[1]])
    note = f"{percent:g} % of the second face; the first on the left, the second on the right"
    note += searched(served, first, second)
    return Shown(enlarged(grid(faces, 3), WIDTH), note, faces)


class Directions(NamedTuple):
    """Attributes as directions in a model's latent space.

    Attributes:
        vectors: Name to direction, of shape `(latent_dim,)`.
        left_out: Name of what has none to the reason.
        faces: Number of faces that they were taken from.
    """

    vectors: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]
    faces: int


def directions(served: ServedModel, progress: Progress | None = None) -> Directions:
    """Return the directions of all attributes of the faces that a model learnt from.

    They are computed once for each model.

    Args:
        served: The model.
        progress: Called with the share that is done and what is being done.

    Raises:
        UserError: If its faces have no attributes, or most latents are not found by a search.
    """

    def compute():
        stream = served.faces("attributes")
        total, done = min(ATTRIBUTE_FACES, stream.count), 0

        def encode(faces):
            nonlocal done
            latents = served.use(served.model.encode, faces)
            done += len(faces)
            if progress is not None:
                progress(done / total, "Encoding the faces it learnt from")
            return latents

        if served.model.has_encoder:
            encoded = encode_faces(served.model, stream, ATTRIBUTE_FACES, encode=encode)
        else:
            if progress is not None:
                progress(0.0, "Searching the latents of faces it learnt from, for minutes, once")
            encoded = served.use(encode_faces, served.model, stream)
        vectors, left_out = {}, {}
        for name in encoded.names:
            try:
                vectors[name] = attribute_direction(encoded.latents, encoded.labels_of(name))
            except UserError as error:
                left_out[name] = str(error)
        return Directions(vectors, left_out, len(encoded.latents))

    return served.cached("directions", compute)


def attributes(
    served: ServedModel,
    given: Given,
    strengths: Mapping[str, float],
    hold: bool = False,
    progress: Progress | None = None,
) -> Shown:
    """Change attributes of a face.

    Args:
        served: The model.
        given: The face.
        strengths: Name to strength: 1 goes as far as faces with it are from those without.
        hold: Whether to leave those of strength 0 as they are: the others' directions are made
            orthogonal to theirs.
        progress: As in `directions`.

    Returns:
        The face, as the model sees a picture; its reconstruction, if it is a picture; and with the
        attributes.

    Raises:
        UserError: If an attribute is unknown or has no direction.
    """
    model = served.model
    known = directions(served, progress)
    for name in strengths:
        if name in known.left_out:
            raise UserError(f"{name}: {known.left_out[name]}")
        if name not in known.vectors:
            raise unknown_name("attribute", name, known.vectors)
    changed = {name: value for name, value in strengths.items() if value}
    held = [known.vectors[name] for name in strengths if name not in changed] if hold else []
    vectors = [known.vectors[name] for name in changed]
    if held:
        vectors = [orthogonalise(vector, held) for vector in vectors]
    latent = _latent(served, given)
    moved = apply(latent, vectors, list(changed.values())) if changed else latent
    faces = served.use(served.model.decode, np.stack([latent, moved]))
    told = ", ".join(f"{name} {value:+g}" for name, value in changed.items()) or "nothing changed"
    if given.data is None:
        what = "the face as drawn"
    else:
        faces = np.concatenate([_face(served, given)[None], faces])
        made = "the sketch made of it" if model.translates_to else "its reconstruction"
        what = f"the picture, {made}"
    note = f"{what}, and with {told}; directions of {known.faces:,} faces"
    return Shown(enlarged(grid(faces, len(faces)), WIDTH), note, faces)


def interpolate(
    served: ServedModel, first: Given, last: Given, frames: int = 8, path: str = "linear"
) -> Shown:
    """Make the faces on the way from one to another.

    Args:
        served: The model.
        first: Where to begin.
        last: Where to end.
        frames: Faces on the way, both ends among them.
        path: `"linear"` or `"spherical"`.

    Raises:
        UserError: If a value is out of range, or no latent comes near a picture.
    """
    frames = whole("frames", frames, 2, MAX_FRAMES)
    model = served.model
    codes = [_latent(served, given) for given in (first, last)]
    way = served.use(between, model, *codes, frames, path)
    faces = served.use(model.decode, way)
    ends = ["the picture" if g.data is not None else f"seed {g.seed}" for g in (first, last)]
    note = f"{frames} faces from {ends[0]} to {ends[1]}, {path} path{searched(served, first, last)}"
    return Shown(enlarged(grid(faces, len(faces)), WIDTH), note, faces)


def translate(served: ServedModel, given: Given, to: str = "photo") -> Shown:
    """Turn a sketch into a photo or a photo into a sketch, and back again.

    Args:
        served: A model that translates; one that knows no way back shows none.
        given: The picture.
        to: `"photo"` or `"sketch"`.

    Raises:
        UserError: If the model does not translate, or there is no picture.
    """
    model = served.model
    to = model.check_translation(to)
    face = _face(served, given)[None]
    if len(model.translates_to) < 2:
        faces = np.concatenate([face, served.use(model.translate, face, to)])
        return Shown(enlarged(grid(faces, 2), WIDTH), f"the face, and the {to} made of it", faces)
    there, back = served.use(model.cycle, face, to)
    faces = np.concatenate([face, there, back])
    origin = "sketch" if to == "photo" else "photo"
    note = f"the {origin}, the {to} made of it, and the {origin} made of that"
    return Shown(enlarged(grid(faces, 3), WIDTH), note, faces)


def reconstruct(served: ServedModel, given: Given) -> Shown:
    """Encode and decode a picture: the face as the model sees it, and what it makes of it.

    Args:
        served: A model with an encoder.
        given: The picture.

    Raises:
        UserError: If there is no face, or no latent comes near it.
    """
    if served.model.translates_to:
        raise UserError(reasons(served)["reconstruct"])
    face = _face(served, given)[None]
    copy = served.use(served.model.decode, _latent(served, given)[None])
    note = (
        f"the face as the model sees it, and its reconstruction: PSNR {psnr(face, copy)[0]:.1f} "
        f"dB, SSIM {ssim(face, copy)[0]:.2f}{searched(served, given)}"
    )
    faces = np.concatenate([face, copy])
    return Shown(enlarged(grid(faces, 2), WIDTH), note, faces)


class ScoreTable(NamedTuple):
    """Scores of a run, for people.

    Attributes:
        headers: What the columns are.
        rows: One for real faces, one for each sampler; text.
        notes: What else is to be said, and under which protocol.
    """

    headers: list[str]
    rows: list[list[str]]
    notes: list[str]


def score_table(served: ServedModel) -> ScoreTable:
    """Return the scores that a run recorded.

    Raises:
        UserError: If there are none, or they are damaged.
    """
    path = served.run.scores_path
    if not path.is_file():
        raise UserError(
            f"This model has no scores: {path} is not there. Make them with: keras-faces evaluate "
            f"{quoted(served.name)} --out {quoted(path)}"
        )
    result = read_scores(path)
    names = [name for name in result["rows"]["real"] if name in SCORES]
    rows = [
        [
            "real" if row == "real" else f"generated ({row})",
            *(shown(name, records[name]) for name in names),
        ]
        for row, records in result["rows"].items()
    ]
    notes = []
    if result.get("reconstructions"):
        notes.append(format_copies(result["reconstructions"]))
    if result.get("matches"):
        notes += format_matches(result["matches"]).splitlines()
    for name, why in result.get("not_computed", {}).items():
        notes.append(f"Not computed: {SCORES[name].title if name in SCORES else name}. {why}")
    notes += Evaluation(result).protocol().splitlines()
    return ScoreTable(["faces", *(SCORES[name].title for name in names)], rows, notes)


# Files to take away.


def save_faces(shown: Shown, path: str | Path) -> None:
    """Write a zip of single faces as PNG, in their own size, and of all side by side."""
    with zipfile.ZipFile(path, "w") as file:
        pictures = {"grid": grid(shown.faces)}
        pictures |= {
            f"{number:05d}": grid(face[None], gap=0) for number, face in enumerate(shown.faces)
        }
        for name, picture in pictures.items():
            data = io.BytesIO()
            picture.save(data, "PNG")
            file.writestr(f"{name}.png", data.getvalue())


def save_gif(shown: Shown, path: str | Path) -> None:
    """Write faces as an animation that goes there and back again."""
    save_frames(shown.faces, path)


def whole(name: str, value, least: int, most: int) -> int:
    """Return a whole number that a person gave.

    Raises:
        UserError: If it is none, or out of range.
    """
    if value is None or isinstance(value, bool) or not float(value).is_integer():
        raise UserError(f"{name} must be a whole number. Received: {value!r}.")
    if not least <= value <= most:
        raise UserError(f"{name} must lie between {least} and {most}. Received: {value:g}.")
    return int(value)
