"""Where the time of a training step goes, on TensorFlow and a CPU.

    taskset -c 0 python benchmarks/step_profile.py --models dcgan vae

Every convolution and matrix multiplication of the traced step is run by itself, and so are the
optimizers; the rest (normalisation, activations, losses, means) is what is left of the step. All
by processor time, the least of several runs, so that other work beside matters little; on one core
it is the time that the step takes. The peak is that of a large matrix multiplication.
"""

import argparse
import collections
import math
import os
import time

from keras_faces.process import prepare_process

COLUMNS = (
    "| model | dtype | batch | GFLOP | ms | of the peak | products, of the peak | products | "
    "optimizers | rest | slowest product |"
)
KINDS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul")


def seconds(function, *arguments, runs: int = 10) -> float:
    """Return the least processor time of a call, that of calling from Python included."""
    found = []
    for _ in range(runs + 1):  # the first compiles
        started = time.process_time()
        function(*arguments)
        found.append(time.process_time() - started)
    return min(found[1:])


def live_operations(graph) -> list:
    """Return the operations of a traced function that its results or its effects need."""
    wanted = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    seen = {}
    while wanted:
        operation = wanted.pop()
        if operation.name not in seen:
            seen[operation.name] = operation
            wanted += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return list(seen.values())


def described(operation):
    """Return all that an operation's time depends on: kind, shapes, attributes, sizes."""
    import tensorflow as tf

    attributes = {name: operation.get_attr(name) for name in operation.node_def.attr}
    kept = ("strides", "padding", "explicit_paddings", "transpose_a", "transpose_b")
    given = tuple((name, str(attributes[name])) for name in kept if name in attributes)
    shapes = tuple(tuple(tensor.shape) for tensor in operation.inputs)
    sizes = ()
    for tensor in operation.inputs:
        if tensor.dtype == tf.int32:  # a constant, or another tensor's shape
            values = tf.get_static_value(tensor)
            if values is None:
                values = tensor.op.inputs[tensor.value_index].shape
            sizes = tuple(map(int, values))
    return operation.type, shapes, operation.inputs[-1].dtype.name, given, sizes


def multiply_adds(operation, sizes) -> int:
    """Return how many multiply-adds an operation makes, those with padding included."""
    first, second = (tuple(tensor.shape) for tensor in operation.inputs[:2])
    if operation.type == "MatMul":
        rows, inner = first[::-1] if operation.get_attr("transpose_a") else first
        return rows * inner * second[0 if operation.get_attr("transpose_b") else 1]
    if operation.type == "Conv2D":
        return math.prod(operation.outputs[0].shape) * math.prod(second[:3])
    kernel = sizes if operation.type == "Conv2DBackpropFilter" else second
    return math.prod(operation.inputs[2].shape) * math.prod(kernel[:3])


def run_alone(operation, sizes) -> float:
    """Return the seconds that an operation takes by itself."""
    import numpy as np
    import tensorflow as tf

    chance = np.random.default_rng(0)
    floats = [
        tf.cast(tf.constant(chance.standard_normal(tensor.shape, np.float32)), tensor.dtype)
        for tensor in operation.inputs
        if tensor.dtype != tf.int32
    ]
    raw = getattr(tf.raw_ops, operation.type)
    if operation.type == "MatMul":
        names, kept = ("a", "b"), ("transpose_a", "transpose_b")
    else:
        kept = ("strides", "padding", "explicit_paddings")
        names = {
            "Conv2D": ("input", "filter"),
            "Conv2DBackpropInput": ("filter", "out_backprop"),
            "Conv2DBackpropFilter": ("input", "out_backprop"),
        }[operation.type]
    given = {name: operation.get_attr(name) for name in kept}
    if "padding" in given:
        given["padding"] = given["padding"].decode()
    if sizes:
        key = "filter_sizes" if operation.type == "Conv2DBackpropFilter" else "input_sizes"
        given[key] = sizes

    @tf.function(autograph=False)
    def call(*values):
        return raw(**dict(zip(names, values, strict=True)), **given)

    return seconds(call, *floats) - seconds(tf.function(lambda *values: values[0][:1]), *floats)


def profile(name: str, dtype: str, batch: int, peak: float) -> str:
    """Return a row of the table."""
    import numpy as np
    import tensorflow as tf

    import keras_faces as kf
    from keras_faces.training.backend import apply_gradients

    model = kf.create_model(name, image_size=64, channels=3, dtype=dtype)
    model.compile()
    batch *= model.batch_multiple
    chance = np.random.default_rng(0)
    faces = tf.constant(chance.uniform(-1, 1, (batch, 64, 64, 3)).astype("float32"))
    data = (faces,)
    if model.conditional:
        data += (tf.ones((batch, len(model.condition_names))),)
    elif model.translates_to:
        data += (faces,)
    step = tf.function(model.train_step, autograph=False).get_concrete_function(data)
    whole = seconds(step, data, runs=5)
    found = collections.Counter(), {}
    for operation in live_operations(step.graph):
        if operation.type in KINDS and None not in operation.inputs[0].shape:
            key = described(operation)
            found[0][key] += 1
            found[1][key] = operation
    times = {key: run_alone(o, key[-1]) * found[0][key] for key, o in found[1].items()}
    flops = 2 * sum(multiply_adds(o, key[-1]) * found[0][key] for key, o in found[1].items())

    @tf.function(autograph=False)
    def optimize(gradients):
        for player in model.players:
            given = gradients[player.name]
            apply_gradients(model.optimizer[player.name], given, player.variables)

    ones = {p.name: [tf.ones(v.shape) for v in p.variables] for p in model.players}
    turns = sum(len(players) for players, _ in model.turns(*data)) / len(model.players)
    optimizers = turns * seconds(optimize, ones)
    slow = max(times, key=times.get)
    products = sum(times.values())
    return (
        f"| `{name}` | {dtype} | {batch} | {flops / 1e9:.4g} | {whole * 1e3:.4g} | "
        f"{flops / whole / peak:.0%} | {flops / products / peak:.0%} | {products / whole:.0%} | "
        f"{optimizers / whole:.0%} | {max(1 - (products + optimizers) / whole, 0):.0%} | "
        f"{slow[0]} {slow[1][-1]} {times[slow] / whole:.0%} |"
    )


def main():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prepare_process()
    import tensorflow as tf

    from keras_faces.models.registry import list_models

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list_models(), metavar="MODEL")
    parser.add_argument("--dtype", choices=["float32", "mixed_bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    square = tf.random.normal((2048, 2048))
    if options.dtype != "float32":
        square = tf.cast(square, tf.bfloat16)
    peak = 2 * 2048**3 / seconds(tf.function(tf.matmul), square, square)
    print(f"Matrix multiplication of 2048x2048: {peak / 1e9:.0f} GFLOP/s")
    print(COLUMNS + "\n" + "| --- " * COLUMNS.count(" |") + "|")
    for name in options.models:
        print(profile(name, options.dtype, options.batch, peak), flush=True)


if __name__ == "__main__":
    main()
