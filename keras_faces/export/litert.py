"""A LiteRT (TensorFlow Lite) file, for phones and small computers."""

import importlib.util
import tempfile
from pathlib import Path

import keras

from keras_faces.errors import UserError
from keras_faces.export.signatures import Signature, largest_difference, require_tensorflow

FILE = "model.tflite"


def litert_file(model, signatures: dict[str, Signature], folder: Path) -> dict[str, float | None]:
    """Write `model.tflite`, with a signature for each thing the model does, one face at a time.

    LiteRT cannot compute the normal distribution function, so `generate` is left out where the
    model draws by it: where its prior is uniform, or a density was fitted. `decode` takes latents
    of any kind.

    Returns:
        The largest difference between LiteRT's output and the model's, by signature; None for what
        is left out.

    Raises:
        UserError: If the package is missing, the backend is not TensorFlow, or LiteRT cannot
            compute the model.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise UserError(
            "A LiteRT file needs ai-edge-litert. Install it with: pip install 'keras-faces[litert]'"
        )
    require_tensorflow("LiteRT files are")
    names = list(signatures)
    made = _converted(model, signatures, names)
    if made is None and len(names) > 1:
        names.remove(next(iter(signatures)))
        made = _converted(model, signatures, names)
    if made is None:
        raise UserError(
            "LiteRT cannot compute this model. Choose another format: saved_model or onnx."
        )
    (folder / FILE).write_bytes(made)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / FILE))
    differences: dict[str, float | None] = dict.fromkeys(signatures)
    for name in names:
        serve = interpreter.get_signature_runner(name)
        differences[name] = largest_difference(
            signatures[name], lambda given, serve=serve: serve(**given)["output_0"], counts=(1,)
        )
    return differences


def _converted(model, signatures: dict[str, Signature], names: list[str]) -> bytes | None:
    """Return the file's content, or None where LiteRT lacks what a signature computes."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name in names:
        specs = [
            keras.InputSpec(shape=(1, *shape), dtype=dtype, name=argument)
            for argument, (shape, dtype) in signatures[name].inputs.items()
        ]
        archive.add_endpoint(name, signatures[name].function, specs)
    with tempfile.TemporaryDirectory() as saved:
        archive.write_out(saved, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=names)
        try:
            return converter.convert()
        except ConverterError:
            return None
