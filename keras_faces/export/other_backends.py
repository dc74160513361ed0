"""Exports of models that live on another backend: a process on TensorFlow makes them.

What JAX hands to TensorFlow itself TensorFlow can read only while both are of about one age.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import keras

from keras_faces.errors import UserError
from keras_faces.optional import require
from keras_faces.process import python
from keras_faces.saving import save_model

MODEL, ORDER, DONE = "model.keras", "order.json", "done.json"


def on_tensorflow() -> bool:
    """Whether this process runs Keras on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


def written_on_tensorflow(model, **order) -> dict[str, float | None]:
    """Let a process that runs Keras on TensorFlow call `keras_faces.export.write`.

    Args:
        model: A `FaceModel`.
        **order: The other arguments of `write`, as JSON takes them.

    Returns:
        The largest difference from the model by signature.

    Raises:
        UserError: If TensorFlow is not installed, or as `write` raises it.
    """
    require(["tensorflow"], f"Format {order['format']}")
    code = "import sys; from keras_faces.export import write_order; write_order(sys.argv[1])"
    start = python("-c", code)
    # The accelerator's memory belongs to this process.
    start["env"] |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(model, folder / MODEL)
        (folder / ORDER).write_text(json.dumps(order), encoding="utf-8")
        start["args"].append(name)
        done = subprocess.run(**start, capture_output=True, text=True, errors="backslashreplace")
        if not (folder / DONE).is_file():
            raise RuntimeError(f"The export on TensorFlow failed:\n{done.stderr}")
        answer = json.loads((folder / DONE).read_text(encoding="utf-8"))
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["differences"]
