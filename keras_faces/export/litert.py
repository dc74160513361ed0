"""A LiteRT (TensorFlow Lite) file, for phones and small computers."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from keras import layers, ops

from keras_faces.errors import UserError
from keras_faces.export.signatures import Signature, largest_difference
from keras_faces.export.tensorflow import write_archive
from keras_faces.optional import require

FILE = "model.tflite"
LACKING = {"Erf"}


def litert_file(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float | None]:
    """Write `model.tflite`, with a signature for each thing the model does.

    LiteRT cannot compute the normal distribution function, so `generate` is left out where the
    model draws by it: where its prior is uniform, or a density was fitted. `decode` takes latents
    of any kind.

    Smaller weights are the converter's own: float16 ones become float32 again, and with int8 ones
    LiteRT computes in whole numbers what it can (dynamic range quantization).

    Returns:
        The largest difference between LiteRT's output and the model's, by signature; None for what
        is left out.

    Raises:
        UserError: If the package is missing, or LiteRT cannot compute the model.
    """
    require(["ai_edge_litert"], "A LiteRT file")
    names = [name for name in signatures if not LACKING & _operations(signatures[name])]
    chosen = {name: signatures[name] for name in names}
    (folder / FILE).write_bytes(_converted(model, chosen, weights))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / FILE))
    differences: dict[str, float | None] = dict.fromkeys(signatures)
    for name in names:
        serve = interpreter.get_signature_runner(name)
        differences[name] = largest_difference(
            signatures[name], lambda given, serve=serve: serve(**given)["output_0"]
        )
    return differences


def _specs(signature: Signature) -> list[keras.InputSpec]:
    return [
        keras.InputSpec(shape=(None, *shape), dtype=dtype, name=name)
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


@contextmanager
def _known_sizes() -> Iterator[None]:
    """Let Keras enlarge pictures by nearest neighbours in one operation while it is traced.

    Otherwise it repeats rows and columns, and where the count is free the converter loses sight of
    how many there are.
    """
    call = layers.UpSampling2D.call

    def enlarge(layer, inputs):
        if layer.interpolation != "nearest" or layer.data_format != "channels_last":
            return call(layer, inputs)
        _, height, width, _ = inputs.shape
        size = (height * layer.size[0], width * layer.size[1])
        return ops.image.resize(inputs, size, "nearest", data_format="channels_last")

    layers.UpSampling2D.call = enlarge
    try:
        yield
    finally:
        layers.UpSampling2D.call = call


def _converted(model, signatures: dict[str, Signature], weights: str) -> bytes:
    """Return the file's content."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    archive = keras.export.ExportArchive()
    archive.track(model)
    with tempfile.TemporaryDirectory() as saved:
        with _known_sizes():
            for name, signature in signatures.items():
                archive.add_endpoint(name, signature.function, _specs(signature))
            write_archive(archive, saved)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[*signatures])
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except ConverterError as error:
            lines = str(error).splitlines()
            told = next((line for line in lines if line.startswith("TF Select ops")), lines[0])
            raise UserError(
                f"LiteRT cannot compute this model ({told[:200]}). Choose another format: "
                "saved_model or onnx."
            ) from error
