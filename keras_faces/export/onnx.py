"""ONNX files, which onnxruntime and many others run."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_faces.errors import UserError
from keras_faces.export.signatures import Signature, largest_difference
from keras_faces.optional import require

OPSET = 18  # which onnxruntime reads since 1.14
OUTPUT = "output_0"  # as a SavedModel calls it
COUNT = "count"  # the one dimension that is free
SHARED = "weights.bin"
PAGE = 4096  # bytes; what is shorter stays within its graph, and what is shared begins on a page
CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gather": 0}  # axis of the channels; else the last
NEEDS = ("tf2onnx", "onnx", "onnxruntime")


def onnx_files(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float]:
    """Write a file for each signature, `generate.onnx`, ..., and `weights.bin`, which all share.

    Inputs have the names of the signature's, the output is `output_0`; the first dimension of each
    is named `count`.

    Returns:
        The largest difference between onnxruntime's output and the model's, by signature.

    Raises:
        UserError: If a package is missing, or onnxruntime cannot compute the model.
    """
    require(NEEDS, "Writing ONNX files")
    shared, places = bytearray(), {}
    for name in signatures:
        graph = onnx_graph(signatures[name], weights)
        _share(graph, shared, places)
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    if shared:
        (folder / SHARED).write_bytes(shared)
    return {
        name: largest_difference(signature, served_by_onnx(folder / f"{name}.onnx"))
        for name, signature in signatures.items()
    }


def served_by_onnx(graph: bytes | os.PathLike) -> Callable[[dict], np.ndarray]:
    """Return a callable that takes arrays by name and returns what onnxruntime makes of them.

    Args:
        graph: An ONNX file, or the content of one that shares nothing.

    Raises:
        UserError: If onnxruntime cannot compute it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
        told = str(error).splitlines()[0].rpartition("failed:")[2][:200]
        raise UserError(
            f"onnxruntime cannot compute this model ({told}). Choose another format: saved_model."
        ) from error
    return lambda given: session.run(None, given)[0]


def onnx_graph(signature: Signature, weights: str = "float32") -> Any:
    """Return a signature as an `onnx.ModelProto`; its output is `output_0`.

    Args:
        signature: What is converted.
        weights: Type in which weights of more than a page are kept: `"float32"`, `"float16"`, or
            `"int8"` with a scale for each channel. They become float32 before they are used.
    """
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
    for value in (*made.graph.input, output):
        value.type.tensor_type.shape.dim[0].dim_param = COUNT
    if weights != "float32":
        _keep_as(weights, made.graph)
    return made


def _keep_as(weights: str, graph) -> None:
    """Keep the large weights of a graph in a smaller type, of which it makes float32 first.

    By `Cast` and `Mul`, which onnxruntime does once, on loading; it does `DequantizeLinear` at each
    call, which takes up to twice as long in all.
    """
    from onnx import TensorProto, helper, numpy_helper

    first = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.nbytes < PAGE:
            continue
        name, kept, scale = tensor.name, f"{tensor.name}:{weights}", f"{tensor.name}:scale"
        if weights == "float16":
            smaller, cast = values.astype(np.float16), name
        else:
            smaller, scales = _levels(values, _channels(name, graph))
            cast = f"{kept}:cast"
            graph.initializer.append(numpy_helper.from_array(scales, scale))
            first.append(helper.make_node("Mul", [cast, scale], [name]))
        first.insert(0, helper.make_node("Cast", [kept], [cast], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(smaller, kept))
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _channels(name: str, graph) -> int:
    """Return the axis along which each entry of a weight has a scale of its own."""
    user = next((node.op_type for node in graph.node if name in node.input), None)
    return CHANNELS.get(user, -1)


def _levels(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values as int8 and the scales, along an axis, that make values of them again."""
    others = tuple(np.delete(np.arange(values.ndim), axis))
    scales = np.abs(values).max(others, keepdims=True) / np.float32(127)
    return np.rint(values / np.where(scales > 0, scales, 1)).astype(np.int8), scales


def _share(graph, shared: bytearray, places: dict[bytes, int]) -> None:
    """Move the weights of a graph to what several share, each only once."""
    from onnx import external_data_helper, numpy_helper

    for tensor in graph.graph.initializer:
        data = numpy_helper.to_array(tensor).tobytes()
        if len(data) < PAGE:
            continue
        if data not in places:
            shared += bytes(-len(shared) % PAGE)
            places[data] = len(shared)
            shared += data
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        external_data_helper.set_external_data(tensor, SHARED, places[data], length=len(data))
        tensor.ClearField("raw_data")
