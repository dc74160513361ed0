"""A LiteRT (TensorFlow Lite) file, for phones and small computers."""

import tempfile
from pathlib import Path

import keras

from keras_faces.errors import UserError
from keras_faces.export.signatures import Signature, largest_difference
from keras_faces.export.tensorflow import write_archive
from keras_faces.optional import require

FILE = "model.tflite"
LACKING = {"Erf"}


def litert_file(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float | None]:
    """Write `model.tflite`, with a signature for each thing the model does, one face at a time.

    LiteRT cannot compute the normal distribution function, so `generate` is left out where the
    model draws by it: where its prior is uniform, or a density was fitted. `decode` takes latents
    of any kind.

    Returns:
        The largest difference between LiteRT's output and the model's, by signature; None for what
        is left out.

    Raises:
        UserError: If the package is missing, or LiteRT cannot compute the model.
    """
    require(["ai_edge_litert"], "A LiteRT file")
    names = [name for name in signatures if not LACKING & _operations(signatures[name])]
    (folder / FILE).write_bytes(_converted(model, {name: signatures[name] for name in names}))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / FILE))
    differences: dict[str, float | None] = dict.fromkeys(signatures)
    for name in names:
        serve = interpreter.get_signature_runner(name)
        differences[name] = largest_difference(
            signatures[name], lambda given, serve=serve: serve(**given)["output_0"], counts=(1,)
        )
    return differences


def _specs(signature: Signature) -> list[keras.InputSpec]:
    # One at a time: a free count keeps LiteRT from knowing the sizes of what is doubled.
    return [
        keras.InputSpec(shape=(1, *shape), dtype=dtype, name=name)
        for name, (shape, dtype) in signature.inputs.items()
    ]


def _operations(signature: Signature) -> set[str]:
    """Return the names of the TensorFlow operations that a signature computes with."""
    import tensorflow as tf

    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in _specs(signature)]
    traced = tf.function(lambda *given: signature.function(*given)).get_concrete_function(*specs)
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return {node.op for node in nodes}


def _converted(model, signatures: dict[str, Signature]) -> bytes:
    """Return the file's content."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, signature in signatures.items():
        archive.add_endpoint(name, signature.function, _specs(signature))
    with tempfile.TemporaryDirectory() as saved:
        write_archive(archive, saved)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[*signatures])
        try:
            return converter.convert()
        except ConverterError as error:
            lines = str(error).splitlines()
            told = next((line for line in lines if line.startswith("TF Select ops")), lines[0])
            raise UserError(
                f"LiteRT cannot compute this model ({told[:200]}). Choose another format: "
                "saved_model or onnx."
            ) from error
