"""The model card that goes with every export: where a model comes from, what it is not for."""

import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from keras_faces.errors import UserError
from keras_faces.export.signatures import Signature, has_uniform_prior
from keras_faces.metrics.tables import read_scores, table
from keras_faces.models import model_name
from keras_faces.runs import Run
from keras_faces.screen import shell_line

CARD = "README.md"

CONSUMERS = {
    "saved_model": """import numpy as np
import tensorflow as tf

model = tf.saved_model.load(".")
{inputs}
made = model.signatures[{name!r}](**given)["output_0"].numpy()
print(made.shape, made.dtype)""",
    "litert": """import numpy as np
from ai_edge_litert.interpreter import Interpreter

serve = Interpreter(model_path="model.tflite").get_signature_runner({name!r})
{inputs}
made = serve(**given)["output_0"]
print(made.shape, made.dtype)""",
    "onnx": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{name}.onnx")
{inputs}
[made] = session.run(None, given)
print(made.shape, made.dtype)""",
    "keras": """import numpy as np
import keras_faces as kf

model = kf.load_model(".")
{inputs}
served = model.signatures()[{name!r}][1]
made = np.asarray(served(*given.values()))
print(made.shape, made.dtype)""",
}

# By kind of model: with latents, or making faces from faces.
PAGE_OF_ONES_OWN = """<!doctype html>
<canvas id="face"></canvas>
<script src="runtime.js"></script>
<script src="model.js"></script>
<script src="keras-faces.js"></script>
<script>
  KerasFaces.open().then(async (model) => {
    {call}
    model.paint(document.getElementById("face"), made);
  });
</script>"""
CALLS = {
    "generate": "const made = await model.decode(await model.draw(model.noise(1)){conditions});",
    "sketch_to_photo": "const made = await model.translate(new Float32Array({numbers}).fill(1));",
}


def card(
    model,
    format: str,
    pixels: str,
    signatures: Mapping[str, Signature],
    differences: Mapping[str, float | None],
    run: str | os.PathLike | None,
    weights: str,
    size: int,
) -> str:
    """Return the card of an exported model, as Markdown.

    Args:
        model: The `FaceModel`.
        format: A key of `FORMATS`.
        pixels: `"float32"` or `"uint8"`.
        signatures: What it can be asked for.
        differences: By signature, what `write` measured.
        run: The run it is of; None where there is none to tell of.
        weights: Type in which its weights are kept.
        size: Bytes of its files.
    """
    name = model_name(model)
    kind = f"{model.image_size}x{model.image_size}, {_colours(model)}"
    shown = next(key for key, found in differences.items() if found is not None)
    lines = [
        *_header(model, name, format, run),
        f"# {name}, {kind}",
        "",
        _document(model),
        "",
        "## How to use it",
        "",
        *_opened(format),
        "Faces are NHWC, "
        + ("float32 in [-1, 1]" if pixels == "float32" else "uint8 in [0, 255]")
        + "; the count is free."
        " The largest difference from the Keras model was measured during the export. "
        f"Weights are kept as {weights}; the files have {size / 1e6:.1f} MB.",
        "",
        "| signature | inputs | largest difference |",
        "| --- | --- | --- |",
        *(_row(key, signatures[key], found) for key, found in differences.items()),
        "",
        "```html" if format == "web" else "```python",
        _consumer(model, format, shown, signatures[shown]),
        "```",
        "",
        *_training(model, run),
        *_scores(run),
        *_use(run),
    ]
    return "\n".join(lines)


def _header(model, name: str, format: str, run) -> list[str]:
    """Return what the Hugging Face Hub reads of a card: YAML, of which JSON is a part."""
    task = "image-to-image" if model.translates_to else "unconditional-image-generation"
    kinds = {"keras": "keras", "saved_model": "tf-keras", "onnx": "onnx", "litert": "tflite"}
    told = {
        "license": "other",
        "license_name": "see-this-card",
        "license_link": CARD,
        "library_name": kinds.get(format, "onnx"),
        "pipeline_tag": task,
        "tags": ["keras", "keras_faces", "faces", name],
    }
    if metrics := _metrics(run):
        data = (_config(run) or {}).get("data") or {}
        dataset = Path(data.get("source") or "unknown").name
        result = {"task": {"type": task}, "dataset": {"name": dataset, "type": dataset}}
        told["model-index"] = [{"name": name, "results": [{**result, "metrics": metrics}]}]
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in told.items()), "---", ""]


def _metrics(run) -> list[dict]:
    try:
        rows = read_scores(folder_of(run) / "scores.json")["rows"]
    except UserError:  # which the card's text tells
        return []
    return [
        {"type": score, "name": f"{score.replace('_', ' ')} ({row})", "value": value["value"]}
        for row, scores in rows.items()
        if row != "real"
        for score, value in scores.items()
        if isinstance(value, dict) and isinstance(value.get("value"), (int, float))
    ]


def _consumer(model, format: str, name: str, signature: Signature) -> str:
    """Return a few lines that ask an export for what a signature makes."""
    if format == "web":
        return _page_of_ones_own(model, name)
    rng = "np.random.default_rng(0)"
    draws = {
        "float32": f"{rng}.standard_normal({{shape}}, np.float32)",
        "uint8": f"{rng}.integers(0, 256, {{shape}}, np.uint8)",
    }
    uniform = f"{rng}.uniform(-1, 1, {{shape}}).astype(np.float32)"
    given = []
    for key, (shape, dtype) in signature.inputs.items():
        draw = uniform if key == "latents" and has_uniform_prior(model) else draws[dtype]
        given.append(f"    {key!r}: {draw.format(shape=(4, *shape))},")
    inputs = "\n".join(["given = {", *given, "}"])
    if format == "saved_model":
        inputs += "\ngiven = {name: tf.constant(value) for name, value in given.items()}"
    return CONSUMERS[format].format(name=name, inputs=inputs)


def _page_of_ones_own(model, name: str) -> str:
    conditions = f", {[1] + [0] * (len(model.condition_names) - 1)}" if model.conditional else ""
    numbers = model.image_size**2 * model.channels
    call = CALLS[name].replace("{conditions}", conditions).replace("{numbers}", str(numbers))
    return PAGE_OF_ONES_OWN.replace("{call}", call)


def _opened(format: str) -> list[str]:
    """Return what is said of a format that is opened by hand."""
    if format != "web":
        return []
    return [
        "Open `index.html` in a browser, from this folder or from any web server. Everything runs "
        "in the page: it needs no internet and sends nothing. The browser must be from "
        "2023 or later. To build your own page in this folder, start from the lines below.",
        "",
    ]


def _colours(model) -> str:
    return "grey" if model.channels == 1 else "colour"


def _document(model) -> str:
    """Return the first paragraph of the model's file, which names its document."""
    module = sys.modules.get(type(model).__module__)  # None for a class that `exec` made
    text = (module and inspect.getdoc(module)) or type(model).__name__
    return " ".join(text.split("\n\n")[0].split())


def _row(name: str, signature: Signature, difference: float | None) -> str:
    takes = ", ".join(
        f"`{key}` {dtype} {('count', *shape)}".replace("'", "")
        for key, (shape, dtype) in signature.inputs.items()
    )
    told = "not in this format" if difference is None else f"{difference:.1g}"
    return f"| `{name}` | {takes} | {told} |"


def _training(model, run) -> list[str]:
    lines = ["## How it was trained", ""]
    config = _config(run)
    if config is None:
        return [*lines, "Not recorded: it was exported without its run.", ""]
    data, command = config["data"], config.get("command") or []
    if data is None:
        lines.append("- Data: not loaded by keras_faces, so not recorded")
    else:
        lines.append(
            f"- Data: {data['pictures']} pictures of `{data['source']}`, split "
            f"{data['split']}, crop `{data['crop']}`, SHA-256 of all {data['fingerprint'][:16]}..."
        )
        lines.append(
            f"- Credit: {data.get('credit') or 'none recorded'}. The pictures' licence is set by "
            "their owner, and may also apply to what is made from them"
        )
    if command[1:2] == ["train"] or command[1:2] == ["resume"]:
        lines.append(f"- Command: `keras-faces {shell_line(command[1:])}`")
    if config.get("recipe"):
        lines.append(f"- Recipe: `{config['recipe']}`, budget {config['budget']}")
    versions = ", ".join(f"{key} {value}" for key, value in config["versions"].items())
    hyper = ", ".join(
        f"{key} {'a custom network' if isinstance(value, dict) else value}"
        for key, value in config["hyperparameters"].items()
    )
    return [*lines, f"- Hyper-parameters: {hyper}", f"- Versions: {versions}", ""]


def _scores(run) -> list[str]:
    lines = ["## Scores", ""]
    path = folder_of(run) / "scores.json"
    if not path.is_file():
        return [
            *lines,
            "None recorded. To record them: `keras-faces evaluate RUN --out RUN/scores.json`.",
            "",
        ]
    try:
        result = read_scores(path)
    except UserError as error:
        return [*lines, f"Not available: {error}", ""]
    told, protocol = table(result), result["protocol"]
    stated = ", ".join(f"{key} {value}" for key, value in protocol.items())
    return [*lines, "```", told, "```", "", f"Protocol: {stated}.", ""]


def _use(run) -> list[str]:
    config = _config(run)
    people = ((config or {}).get("data") or {}).get("pictures")
    of_them = f"the {people} pictures" if people else "the pictures"
    return [
        "## Intended use",
        "",
        "This model is for research and teaching: to see, compare and measure how such models "
        f"generate faces. Its faces resemble {of_them} it was trained on, in the people shown and "
        "in the light. It says nothing about anyone else. Do not use it to make decisions about "
        "people.",
        "",
        "It can reproduce faces that it was trained on, and those people may not have agreed to "
        "that. Before you publish faces, compare them with the training pictures (`keras-faces "
        "evaluate RUN --pairs pairs.png`). Train on pictures of people who have consented. "
        "Do not present its faces as photographs of someone, and do not use it to deceive, to "
        "harass, or to make a likeness of a person who has not agreed.",
        "",
    ]


def folder_of(run) -> Path:
    """Return the folder of a run, or of its `.keras` file."""
    path = Path(run if run is not None else os.devnull).expanduser()
    return path.parent if path.suffix == ".keras" else path


def _config(run) -> dict | None:
    found = Run(folder_of(run))
    return found.config() if found.exists else None
