"""ONNX files, which onnxruntime and many others run."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_faces.export.signatures import Signature, largest_difference
from keras_faces.optional import require

OPSET = 18  # which onnxruntime reads since 1.14
OUTPUT = "output_0"  # as a SavedModel calls it
NEEDS = ("tf2onnx", "onnx", "onnxruntime")


def onnx_files(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float]:
    """Write a file for each signature: `generate.onnx`, `decode.onnx`, ...

    Inputs have the names of the signature's, the output is `output_0`.

    Returns:
        The largest difference between onnxruntime's output and the model's, by signature.

    Raises:
        UserError: If a package is missing.
    """
    require(NEEDS, "Writing ONNX files")
    differences = {}
    for name, signature in signatures.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx_graph(signature))
        differences[name] = largest_difference(signature, served_by_onnx(path.read_bytes()))
    return differences


def served_by_onnx(graph: bytes) -> Callable[[dict], np.ndarray]:
    """Return a callable that takes arrays by name and returns what onnxruntime makes of them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, given)[0]


def onnx_graph(signature: Signature) -> bytes:
    """Return a signature as an ONNX file's content; its output is `output_0`."""
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    specs = [
        tf.TensorSpec((None, *shape), dtype, name=name)
        for name, (shape, dtype) in signature.inputs.items()
    ]

    @tf.function(input_signature=specs)
    def function(*inputs):
        return signature.function(*inputs)

    made, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
    [output] = made.graph.output
    for node in made.graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT if name == output.name else name for name in names]
    output.name = OUTPUT
    return made.SerializeToString()
