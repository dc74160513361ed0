"""Models for others: files that work without keras_faces, each checked against the model.

Every format is one file or folder here, and one line in `FORMATS`. What a model can be asked for
are its `signatures`, under the same names everywhere:

- `generate` (also the default): standard normal `noise` of shape `(count, latent_dim)` to faces,
  through the model's default sampler;
- `decode`: `latents` of shape `(count, latent_dim)` to faces;
- `encode` and `reconstruct`, where there is an encoder: `faces` to latents, or to faces;
- what else the model has: a conditional one takes `conditions` as well, one that translates
  serves that.

Faces are NHWC, of any count: float32 in [-1, 1], or uint8 in [0, 255] where that is asked for.
"""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keras_faces.errors import UserError, unknown_name
from keras_faces.export import other_backends
from keras_faces.export.card import CARD, card, folder_of
from keras_faces.export.keras import FILE as KERAS_FILE
from keras_faces.export.keras import keras_file
from keras_faces.export.litert import FILE as LITERT_FILE
from keras_faces.export.litert import litert_file
from keras_faces.export.onnx import onnx_files
from keras_faces.export.other_backends import on_tensorflow, written_on_tensorflow
from keras_faces.export.signatures import PIXELS, WEIGHTS, signatures_of
from keras_faces.export.tensorflow import saved_model
from keras_faces.export.web import MODEL as WEB_MODEL
from keras_faces.export.web import web_page
from keras_faces.files import remove_parts, require_utf8, write_whole
from keras_faces.saving import load_model


class Format(NamedTuple):
    """A format of files.

    Attributes:
        write: Callable `(model, signatures, folder, weights)` that fills a folder, and returns the
            largest difference from the model by signature, None for one that is left out.
        pattern: What a folder of this format holds.
        title: What it is, in a few words.
        pixels: The types of faces that it can take and give.
        weights: The types in which it can keep weights.
        carries: Names of the run's files that go with it.
        opened: The file that is opened by hand, where there is one.
        any_backend: Whether it can be written on every backend, and not only on TensorFlow.
    """

    write: Callable
    pattern: str
    title: str
    pixels: tuple[str, ...] = PIXELS
    weights: tuple[str, ...] = WEIGHTS[:1]
    carries: tuple[str, ...] = ()
    opened: str | None = None
    any_backend: bool = False


FORMATS = {
    "saved_model": Format(saved_model, "saved_model.pb", "for TensorFlow alone"),
    "onnx": Format(onnx_files, "*.onnx", "for onnxruntime and others", weights=WEIGHTS),
    "litert": Format(litert_file, LITERT_FILE, "for LiteRT", weights=WEIGHTS),
    "keras": Format(
        keras_file,
        KERAS_FILE,
        "for keras_faces, without what only training needs",
        pixels=("float32",),
        weights=("float32", "float16"),
        carries=("config.json", "scores.json"),
        any_backend=True,
    ),
    "web": Format(
        web_page,
        WEB_MODEL,
        "a page for browsers, without a server",
        pixels=("float32",),
        opened="index.html",
    ),
}

# Names that people look for, and why there is another.
INSTEAD = {
    "tfjs": "There is no format 'tfjs': the converter of TensorFlow.js was last released in 2024 "
    "and cannot be installed beside TensorFlow 2.20 and later. Use format 'web', which runs the "
    "model in a browser as well, by onnxruntime-web.",
}

TOLERANCE = 1e-4  # of float32 output; of uint8, a level where rounding tips over


class Exported(NamedTuple):
    """What `write` wrote.

    Attributes:
        folder: Where.
        differences: For each signature the largest difference of what is served from the
            model's own output on the same random input; None for what the format cannot do.
    """

    folder: Path
    differences: dict[str, float | None]


def write(
    model,
    path: str | os.PathLike,
    format: str = "saved_model",
    pixels: str = "float32",
    run: str | os.PathLike | None = None,
    weights: str = "float32",
) -> Exported:
    """Write a model for use without keras_faces, and compare it with the model.

    On another backend than TensorFlow a process on TensorFlow writes all formats but `keras`. What
    these serve is computed in float32, whatever the model's dtype, and compared with that.
    Beside the files lies a model card, `README.md`: document, data and its licence, command of the
    training, scores with their protocol, and what the model is not for.

    Args:
        model: A `FaceModel`.
        path: Folder to write; an earlier export of this format is replaced when the new one is
            whole.
        format: A key of `FORMATS`.
        pixels: Type of faces, in and out: `"float32"` in [-1, 1], or `"uint8"` in [0, 255].
        run: The run or `.keras` file that the model is of, whose training the card tells.
        weights: Type in which weights are kept: `"float32"`, `"float16"` for half the size, or
            `"int8"` for a quarter. They become float32 again to be computed with, but for int8 in
            LiteRT.

    Raises:
        UserError: If there is no such format, what it needs is not installed, the folder holds
            something else, or the served output is not the model's.
    """
    path, chosen = Path(path).expanduser(), format_named(format)
    require_utf8(path)
    if pixels not in chosen.pixels:
        raise unknown_name(f"type of pixels of format {format}", pixels, chosen.pixels)
    if weights not in chosen.weights:
        raise unknown_name(f"type of weights of format {format}", weights, chosen.weights)
    if path.is_file():
        raise UserError(f"{str(path)!r} is a file. Give a folder to write.")
    if path.is_dir() and any(path.iterdir()) and not any(path.glob(chosen.pattern)):
        raise UserError(
            f"{str(path)!r} exists and is not an export of format {format}, so it is not "
            "replaced. Choose another folder."
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        remove_parts(path.parent, path.name)
        if not (chosen.any_backend or on_tensorflow()):
            differences = written_on_tensorflow(
                model,
                path=str(path),
                format=format,
                pixels=pixels,
                run=run and os.fspath(run),
                weights=weights,
            )
            return Exported(path, differences)
        part.mkdir(parents=True)
        model = model if chosen.any_backend else _in_float32(model)
        signatures = signatures_of(model, pixels)
        differences = chosen.write(model, signatures, part, weights)
        allowed = 1 if pixels == "uint8" else TOLERANCE
        if weights != "float32":
            allowed = math.inf  # how much it costs is told, and is the user's to judge
        for name, difference in differences.items():
            if difference is not None and not difference <= allowed:  # NaN neither
                raise UserError(
                    f"The output of {name!r} in the {format} export differs from the model's by "
                    f"{difference:.2g}, so it was not kept."
                )
        for name in chosen.carries if run is not None else ():
            if (source := folder_of(run) / name).is_file():
                shutil.copy(source, part / name)
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        told = card(model, format, pixels, signatures, differences, run, weights, size)
        write_whole(part / CARD, told)
        _replace(path, part)
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        place = Path(os.fsdecode(error.filename or path))
        place = path if place.is_relative_to(part) else place  # else what is only for a while
        raise UserError(f"Cannot write {str(place)!r}: {reason}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(path, differences)


def format_named(name: str) -> Format:
    """Return a format of `FORMATS`.

    Raises:
        UserError: If there is none of that name.
    """
    if name in INSTEAD:
        raise UserError(INSTEAD[name])
    if name not in FORMATS:
        raise unknown_name("format of an export", name, FORMATS)
    return FORMATS[name]


def _in_float32(model):
    """Return a model that computes in float32, since bfloat16 is rounded otherwise everywhere."""
    if model.dtype_policy.name == "float32":
        return model
    exact = type(model).from_config({**model.get_config(), "dtype": "float32"})
    for variable, value in zip(exact.variables, model.variables, strict=True):
        variable.assign(value)
    return exact


def _replace(path: Path, new: Path) -> None:
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def write_order(folder: str) -> None:
    """Do what `written_on_tensorflow` left in a folder."""
    order = json.loads(Path(folder, other_backends.ORDER).read_text(encoding="utf-8"))
    try:
        answer = {
            "differences": write(
                load_model(Path(folder, other_backends.MODEL)), **order
            ).differences
        }
    except UserError as error:
        answer = {"error": str(error)}
    Path(folder, other_backends.DONE).write_text(json.dumps(answer), encoding="utf-8")
