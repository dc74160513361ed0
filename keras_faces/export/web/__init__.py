"""A page that makes faces in a browser, without a server and without the internet.

The model's ONNX graphs are run by onnxruntime-web. All that the page needs lies beside it in
classic scripts, because a page that was opened from a disk may fetch nothing:

- `index.html`, `page.css`, `widgets.js`, `page.js`: what is seen; `keras-faces serve` shares the
  second and the third;
- `keras-faces.js`: the model as functions, also for pages of one's own;
- `model.js`: the graphs, gzipped, in base64, and what the page must know of the model;
- `runtime.js`: onnxruntime-web.

TF.js would be the other way, but its converter, `tensorflowjs`, was last released in 2024 and
cannot be installed beside the TensorFlow that Keras needs.
"""

import base64
import contextlib
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
from keras import ops

from keras_faces.errors import UserError
from keras_faces.export.onnx import NEEDS, onnx_graph, served_by_onnx
from keras_faces.export.signatures import Signature, has_uniform_prior, largest_difference
from keras_faces.export.web.runtime import packed, runtime_script
from keras_faces.latent import encode_faces, main_directions, named_directions
from keras_faces.models import model_name
from keras_faces.optional import require
from keras_faces.trained import TrainedModel

PAGE = Path(__file__).parent / "page"
MODEL = "model.js"
SLIDERS = 8
VARIABLE = "const KERAS_FACES_MODEL = "


def web_page(
    model,
    signatures: dict[str, Signature],
    folder: Path,
    weights: str,
    run: str | os.PathLike | None = None,
) -> dict[str, float | None]:
    """Write a page that makes faces in a browser: of latents, or of a drawing by a translator.

    Where the faces that the run learnt from can be opened, have attributes, and the model has an
    encoder, the page has a slider for each attribute as well.

    Returns:
        The largest difference from the model by signature, of the graphs as the page holds them
        when onnxruntime runs them; None for what the page does not do.

    Raises:
        UserError: If a package is missing, or onnxruntime-web is not to be had.
    """
    require(NEEDS, "Writing a web page")
    script = runtime_script()
    about = {
        "model": model_name(model),
        "size": model.image_size,
        "channels": model.channels,
    }
    if model.latent_dim is None:
        served = next(iter(signatures))
        parts = {"translate": signatures[served]}
        [about["takes"]] = signatures[served].inputs
    else:
        parts = {"draw": _draw(model), "decode": signatures["decode"]}
        about |= _latents(model, run)
    graphs = {name: packed(onnx_graph(part).SerializeToString()) for name, part in parts.items()}
    content = json.dumps({"about": about, "graphs": graphs})
    (folder / MODEL).write_text(f"{VARIABLE}{content};\n", encoding="utf-8")
    (folder / "runtime.js").write_text(script, encoding="utf-8")
    for file in PAGE.iterdir():
        shutil.copyfile(file, folder / file.name)
    return _differences(folder, signatures)


def _draw(model) -> Signature:
    """Return noise to latents, through the model's default sampler, as a signature."""
    sampler, width = model.default_sampler, model.latent_dim

    def draw(noise):  # a conditional model's latents are followed by conditions
        return ops.convert_to_tensor(model.latents_from_noise(noise, sampler))[:, :width]

    return Signature({"noise": ((width,), "float32")}, draw)


def _latents(model, run) -> dict:
    """Return what a page must know of a model's latents."""
    found = main_directions(model, min(SLIDERS, model.latent_dim))
    conditions = list(model.condition_names) if model.conditional else []
    return {
        "latents": model.latent_dim,
        "sampler": model.default_sampler,
        "uniform": has_uniform_prior(model),
        "mean": _rounded(found.mean),
        "attributes": {name: _rounded(step) for name, step in _attributes(model, run).items()},
        "directions": _rounded(found.steps),
        "shares": _rounded(found.shares),
        "conditions": conditions,
        "one_condition": bool(conditions) and one_at_a_time(model),
    }


def _attributes(model, run) -> dict[str, np.ndarray]:
    """Return the directions of what is known of the faces that a model learnt from, by name."""
    if run is None or not model.has_encoder or model.conditional:
        return {}
    with contextlib.suppress(UserError):  # its faces are not here, or nothing is known of them
        faces = TrainedModel(run, model).faces("attributes")
        return named_directions(encode_faces(model, faces))[0]
    return {}


def one_at_a_time(model) -> bool:
    """Whether every face that a conditional model learnt from had exactly one condition."""
    seen = ops.convert_to_numpy(model.seen_conditions)
    return seen.shape[1] > 1 and bool((seen.sum(axis=1) == 1).all())


def _rounded(values: np.ndarray) -> list:
    """Return an array as lists, with as many digits as float32 has."""
    return [float(f"{v:.7g}") if np.ndim(v) == 0 else _rounded(v) for v in values]


def _differences(folder: Path, signatures: dict[str, Signature]) -> dict[str, float | None]:
    content = json.loads((folder / MODEL).read_text(encoding="utf-8")[len(VARIABLE) : -len(";\n")])
    serve = {
        name: served_by_onnx(gzip.decompress(base64.b64decode(graph)))
        for name, graph in content["graphs"].items()
    }
    if "translate" in serve:
        done = {next(iter(signatures)): serve["translate"]}
    else:

        def generate(given):
            rest = {name: value for name, value in given.items() if name != "noise"}
            return serve["decode"]({"latents": serve["draw"]({"noise": given["noise"]}), **rest})

        done = {"generate": generate, "decode": serve["decode"]}
    return {
        name: largest_difference(signature, done[name]) if name in done else None
        for name, signature in signatures.items()
    }
