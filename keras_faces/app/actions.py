"""What the page asks for, as plain functions: from a served model and what a browser sent, to what
the browser shows.

Nothing is remembered of anybody: a face is its latent, which the page keeps and sends along. They
raise `UserError` for whatever the person can mend, and may be called by several threads.
"""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.app.served import MAX_PIXELS, ServedModel, decoding
from keras_faces.data.decode import BadPicture
from keras_faces.errors import UserError, unknown_name
from keras_faces.export.signatures import has_uniform_prior
from keras_faces.export.web import one_at_a_time
from keras_faces.latent import (
    Directions,
    animation,
    apply,
    between,
    encode_faces,
    latent_of,
    main_directions,
    named_directions,
    orthogonalise,
    under_conditions,
)
from keras_faces.metrics.evaluation import Evaluation
from keras_faces.metrics.reconstruction import psnr, ssim
from keras_faces.metrics.scores import SCORES
from keras_faces.metrics.tables import format_copies, format_matches, read_scores, shown
from keras_faces.models.encoding import EncodingModel
from keras_faces.pictures import grid
from keras_faces.screen import quoted
from keras_faces.trained.model import UNLIKE
from keras_faces.trained.pictures import decode_whole

MAX_COUNT = 100
MAX_FRAMES = 30
MAX_SCALE = 8  # of animations, which are 128 pixels wide at least
MAX_SEED = 2**32 - 1
MAX_LATENT = 1e4
REACH = 3.0  # a slider goes so far to each side
SLIDERS = 8  # for main directions
EXAMPLES = 6
PREVIEW = 320  # pixels of an upload as the page shows it
CARD_BYTES = 200_000

KINDS = {"png": "image/png", "gif": "image/gif", "mp4": "video/mp4"}


class File(NamedTuple):
    """What a browser gets instead of JSON.

    Attributes:
        data: The bytes.
        media_type: What they are.
    """

    data: bytes
    media_type: str


def about(served: ServedModel) -> dict:
    """Return what the page must know of a model, above all what it can do."""
    model = served.model
    found = {"about": served.describe(), "size": model.image_size, "makes": model.translates_to}
    found["latents"] = model.latent_dim is not None
    if model.latent_dim is None:
        return found
    names = list(model.condition_names) if model.conditional else []
    attributes, why = [], ""
    if not names:
        try:
            attributes = served.attribute_names
        except UserError as error:
            why = str(error)
    return found | {
        "samplers": model.usable_samplers,
        "sampler": model.default_sampler,
        "encoder": model.has_encoder,
        "conditions": names,
        "one_condition": bool(names) and one_at_a_time(model),
        "attributes": attributes,
        "no_attributes": why,
    }


# Faces: drawn, of pictures, changed.


def sample(
    served: ServedModel,
    seeds: Sequence[int],
    sampler: str | None = None,
    conditions: Sequence[str] | None = None,
) -> dict:
    """Draw a face for each seed.

    Args:
        served: The model.
        seeds: At most `MAX_COUNT`; a face is the first that `generate` draws of its seed.
        sampler: One of the model's samplers; None takes its default.
        conditions: Of a conditional model, the names of what holds of all faces; None draws
            conditions as they go together in the data.

    Returns:
        `latents`, and `sheet`, a picture of the faces in a row.

    Raises:
        UserError: If a value is out of range, or unknown.
    """
    model = served.model
    if not isinstance(seeds, list) or not 1 <= len(seeds) <= MAX_COUNT:
        raise UserError(f"Expected 1 to {MAX_COUNT} seeds.")
    seeds = [whole("seed", seed, 0, MAX_SEED) for seed in seeds]
    if not isinstance(sampler, str | None):
        raise unknown_name("sampler", str(sampler), model.samplers)
    named = _conditions(served, conditions)

    def draw():
        rows = [model.sample_latents(1, seed, sampler, **named) for seed in seeds]
        latents = np.concatenate(rows)
        return latents, model.decode(latents)

    latents, faces = served.use(draw)
    return {"latents": [_numbers(row) for row in latents], "sheet": _sheet(faces)}


def picture(
    served: ServedModel,
    data: bytes,
    cropped: bool = False,
    conditions: Sequence[str] | None = None,
) -> dict:
    """Take the face of a picture to its latent: the encoder's, or searched for.

    Args:
        served: A model with latents.
        data: The bytes of the picture's file.
        cropped: Whether it is cropped already.
        conditions: Of a conditional model, the names of what holds of the face; None for nothing.

    Returns:
        `latent`; `preview`, the picture; `sheet`, the face as the model sees it and what the model
        makes of its latent; `note`, what was done; `unlike`, what is to be said where the face
        lies far from all that the model knows, else empty.

    Raises:
        UserError: If it is no picture, there is no face, or no latent comes near it.
    """
    model = served.model
    named = _conditions(served, conditions or [])
    preview, face, note, unlike = _seen(served, data, cropped)
    latent = served.use(latent_of, model, face, **named)
    copy = served.use(model.decode, latent[None])
    if model.translates_to:
        note += " Beside it is the sketch made from it."
    else:
        note += (
            f" The model's copy: PSNR {psnr(face[None], copy)[0]:.1f} dB, SSIM "
            f"{ssim(face[None], copy)[0]:.2f}."
        )
    if not model.has_encoder:
        note += f" A {type(model).__name__} has no encoder, so the latent was searched for."
    sheet = _sheet(np.concatenate([face[None], copy]))
    return {
        "latent": _numbers(latent),
        "preview": preview,
        "sheet": sheet,
        "note": note,
        "unlike": unlike,
    }


def face(
    served: ServedModel,
    latent: Sequence[float],
    change: dict | None = None,
    second: Sequence[float] | None = None,
    percent: float = 0,
) -> File:
    """Make one face: changed, and blended with a second.

    Args:
        served: A model with latents.
        latent: The face's latent.
        change: `attributes`, name to strength, and `hold`, whether those of strength 0 stay as they
            are: the others' directions are made orthogonal to theirs; `directions`, strengths of
            the main ones; `conditions`, name to how far each holds.
        second: Another face's latent.
        percent: How much of the second, 0 to 100.

    Raises:
        UserError: If a value is out of range, or something is unknown.
    """
    code = _changed(served, latent, change)
    if second is not None:
        share = number("percent", percent, 0, 100)
        code = EncodingModel.between(code, _latent(served, second), share)
    return File(_png(served.use(served.model.decode, code[None])), KINDS["png"])


def morph(
    served: ServedModel,
    latent: Sequence[float],
    second: Sequence[float],
    change: dict | None = None,
    frames: int = 8,
    path: str = "linear",
    kind: str = "png",
    scale: int = 1,
) -> File:
    """Make the faces on the way from one, changed as in `face`, to a second.

    Args:
        served: A model with latents.
        latent: Where to begin.
        second: Where to end.
        change: As in `face`.
        frames: Faces on the way, both ends among them.
        path: `"linear"` or `"spherical"`.
        kind: `"png"` for one row in the faces' own size, `"gif"` or `"mp4"`.
        scale: How many times as large as it is an animation is made.

    Raises:
        UserError: If a value is out of range, or a video cannot be written here.
    """
    frames, scale = whole("frames", frames, 2, MAX_FRAMES), whole("scale", scale, 1, MAX_SCALE)
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown_name("kind of file", str(kind), KINDS)
    model = served.model
    ends = _changed(served, latent, change), _latent(served, second)
    way = served.use(between, model, *ends, frames, path)
    faces = served.use(model.decode, way)
    data = _png(faces) if kind == "png" else animation(faces, f".{kind}", scale=scale)
    return File(data, KINDS[kind])


def _changed(served: ServedModel, latent, change: dict | None) -> np.ndarray:
    model, code = served.model, _latent(served, latent)
    change = {} if change is None else change
    if not isinstance(change, dict) or change.keys() - {
        *("attributes", "hold", "directions", "conditions")
    }:
        raise UserError("Expected as change: attributes, hold, directions, conditions.")
    vectors, strengths = [], []
    if named := _strengths(change, "attributes", REACH):
        known, left_out = _named(served)
        for name in named:
            if name not in known:
                raise UserError(left_out.get(name) or str(unknown_name("attribute", name, known)))
        moved = [name for name, value in named.items() if value]
        vectors = [known[name] for name in moved]
        strengths = [named[name] for name in moved]
        held = [known[name] for name in named if name not in moved]
        if change.get("hold") and held:
            vectors = [orthogonalise(vector, held) for vector in vectors]
    if given := change.get("directions"):
        steps = _main(served).steps
        if not isinstance(given, list) or len(given) > len(steps):
            raise UserError(f"Expected at most {len(steps)} directions.")
        wide = np.pad(steps, ((0, 0), (0, model.code_dim - model.latent_dim)))
        vectors += list(wide[: len(given)])
        strengths += [number("direction", value, -REACH, REACH) for value in given]
    code = apply(code, vectors, strengths) if vectors else code
    if served.cached("uniform", lambda: served.use(has_uniform_prior, model)):
        code[: model.latent_dim] = np.clip(code[: model.latent_dim], -1, 1)
    if conditions := _strengths(change, "conditions", 1.0):
        code = under_conditions(model, code, conditions)
    return code


# Where sliders lead.


def directions(served: ServedModel, named: bool = False) -> dict:
    """Return what sliders are for: the main directions, or the attributes.

    They are computed once for each model; attributes are taken from up to 4096 faces that it learnt
    from, or from 200 whose latents are searched for.

    Args:
        served: A model with latents.
        named: Whether attributes are asked for.

    Returns:
        `names` of attributes, or `shares` of the pixels' variance that go with main directions;
        `ends`, a picture of the mean face at both ends of each in turn; `left_out`, attributes
        without a direction to the reason.

    Raises:
        UserError: If the model has no latents, its faces have no attributes, or most latents are
            not found by a search.
    """
    main = _main(served)
    vectors, left_out = _named(served) if named else ({}, {})
    steps = list(vectors.values()) if named else list(main.steps)
    found = {"names": list(vectors), "shares": _numbers(main.shares), "left_out": left_out}
    key = ("ends", bool(named))
    return found | {"ends": served.cached(key, lambda: _sheet(_ends(served, main.mean, steps)))}


def _ends(served: ServedModel, mean, steps) -> np.ndarray:
    model = served.model

    def decode():
        code = model.sample_latents(1)[0]  # whose conditions, if any, go together
        code[: model.latent_dim] = mean
        codes = np.repeat(code[None], 2 * len(steps), axis=0)
        for number, step in enumerate(steps):
            codes[2 * number : 2 * number + 2, : len(step)] += np.outer([-REACH, REACH], step)
        return model.decode(np.clip(codes, -1, 1) if has_uniform_prior(model) else codes)

    return served.use(decode) if len(steps) else np.zeros((1, *model.image_shape), np.float32)


def _main(served: ServedModel) -> Directions:
    model = served.model
    if model.latent_dim is None:
        raise UserError(f"A {type(model).__name__} has no latents to move.")

    def compute():
        # Others' faces are made between its batches.
        decode = lambda codes: served.use(model.decode, codes)  # noqa: E731
        return main_directions(model, min(SLIDERS, model.latent_dim), decode=decode)

    return served.cached("main directions", compute)


def _named(served: ServedModel) -> tuple[dict, dict]:
    model = served.model
    if model.conditional or model.latent_dim is None:
        raise UserError(f"A {type(model).__name__} has no attributes as directions.")

    def compute():
        stream = served.faces("attributes")
        if not model.has_encoder:
            return named_directions(served.use(encode_faces, model, stream))
        encode = lambda faces: served.use(model.encode, faces)  # noqa: E731
        return named_directions(encode_faces(model, stream, encode=encode))

    return served.cached("named directions", compute)


# Sketches and photos.


def translate(
    served: ServedModel, data: bytes, to: str | None = None, cropped: bool = False
) -> dict:
    """Turn a sketch into a photo or a photo into a sketch, and back again where there is a way.

    Args:
        served: A model that translates.
        data: The bytes of a picture's file.
        to: `"photo"` or `"sketch"`.
        cropped: Whether the picture is cropped already.

    Returns:
        `preview`, the picture; `sheet`, the face as the model sees it, what is made of it, and what
        is made of that; `note` and `unlike` as in `picture`.

    Raises:
        UserError: If the model does not translate, or there is no face.
    """
    model = served.model
    to = model.check_translation(to if to is None else str(to))
    preview, face, note, unlike = _seen(served, data, cropped)
    if len(model.translates_to) < 2:
        made = [served.use(model.translate, face[None], to)]
    else:
        made = served.use(model.cycle, face[None], to)
    sheet = _sheet(np.concatenate([face[None], *made]))
    return {"preview": preview, "sheet": sheet, "note": note, "unlike": unlike}


def examples(served: ServedModel, to: str | None = None) -> dict:
    """Return faces to try a model with, in its own size: some that it learnt from, or ORL's.

    Args:
        served: The model.
        to: What they are to be translated to: to a photo, sketches are returned.

    Returns:
        `sheet`, and `learnt`, whether the model learnt from them.
    """
    model = served.model

    def drawn(stream):
        if to == "photo":
            return served.use(model.pairs, EXAMPLES, 0, stream)[1]
        return stream.sample(EXAMPLES, 0)

    def compute():
        try:
            return drawn(served.faces()), True
        except UserError:
            return drawn(served.faces(data="orl")), False

    faces, learnt = served.cached(("examples", to == "photo"), compute)
    return {"sheet": _sheet(faces), "learnt": learnt}


# What is known of a model.


def scores(served: ServedModel) -> dict:
    """Return the scores that a run recorded, for people.

    Returns:
        `headers`; `rows`, one for real faces and one for each sampler; `notes`, what else is to be
        said, and under which protocol.

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
    headers = ["faces", *(SCORES[name].title for name in names)]
    return {"headers": headers, "rows": rows, "notes": notes}


def card(served: ServedModel) -> dict:
    """Return the `text` of a model's card, as Markdown without what the Hub reads.

    Raises:
        UserError: If it has none.
    """
    path = served.path / "README.md"
    if not served.path.is_dir() or not path.is_file():
        raise UserError(
            "This model has no card. An export has one: keras-faces export "
            f"{quoted(served.name)} --format keras"
        )
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(CARD_BYTES)
    _, mark, rest = text.removeprefix("---\n").partition("\n---\n")
    return {"text": rest if mark and text.startswith("---\n") else text}


# What a browser sent, checked.


def whole(name: str, value: object, least: int, most: int) -> int:
    """Return a whole number that a person gave.

    Raises:
        UserError: If it is none, or out of range.
    """
    found = number(name, value, least, most)
    if found != int(found):
        raise UserError(f"{name} must be a whole number. Received: {value!r}.")
    return int(found)


def number(name: str, value: object, least: float, most: float) -> float:
    """Return a number that a person gave.

    Raises:
        UserError: If it is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{name} must be a number. Received: {str(value)[:40]!r}.")
    if not least <= value <= most:
        raise UserError(
            f"{name} must lie between {least:.10g} and {most:.10g}. Received: {str(value)[:40]}."
        )
    return value


def _strengths(change: dict, key: str, most: float) -> dict[str, float]:
    given = change.get(key) or {}
    if not isinstance(given, dict):
        raise UserError(f"Expected {key} as names with strengths.")
    return {name: number(name, value, -most, most) for name, value in given.items()}


def _latent(served: ServedModel, given) -> np.ndarray:
    width = served.model.code_dim
    if width is None:
        raise UserError(f"A {type(served.model).__name__} has no latents. Choose another model.")
    if not isinstance(given, list) or len(given) != width:
        raise UserError(f"This face is of another model, draw a new one. Expected {width} numbers.")
    values = [number("latent", value, -MAX_LATENT, MAX_LATENT) for value in given]
    return np.array(values, np.float32)


def _conditions(served: ServedModel, names) -> dict:
    model = served.model
    if not model.conditional or names is None:
        return {}
    names = names if isinstance(names, list) else [names]
    for name in names:
        if not isinstance(name, str) or name not in model.condition_names:
            raise unknown_name("condition", str(name), model.condition_names)
    return {"conditions": dict.fromkeys(names, 1.0)}


# What it gets back.


def _seen(served: ServedModel, data: bytes, cropped: bool) -> tuple[str, np.ndarray, str, str]:
    """Return a picture as the page shows it, its face, what was done, and if that is unlike."""
    framed = served.face(data, bool(cropped))
    try:
        with decoding:
            preview = Image.fromarray(decode_whole(data, 3, MAX_PIXELS))
    except BadPicture as error:  # which `face` would have told
        raise UserError(str(error)) from error
    preview.thumbnail((PREVIEW, PREVIEW))
    note, unlike, why = framed.note.partition(UNLIKE)
    return _url(preview), framed.face, note.strip(), unlike + why


def _numbers(values) -> list[float]:
    """Return float32 with as many digits as tell it from its neighbours."""
    return [float(f"{value:.9g}") for value in values]


def _png(faces: np.ndarray) -> bytes:
    data = io.BytesIO()
    grid(faces, len(faces), gap=0).save(data, "PNG", compress_level=1)
    return data.getvalue()


def _sheet(faces: np.ndarray) -> str:
    return _data_url(_png(faces))


def _url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return _data_url(data.getvalue())


def _data_url(png: bytes) -> str:
    return f"data:{KINDS['png']};base64,{base64.b64encode(png).decode()}"
