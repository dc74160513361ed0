"""Diagrams of models: their networks layer by layer, and what flows from one to the other.

Nothing of it is drawn by hand. A model's losses are computed of symbolic inputs, and the graph that
Keras keeps of them says which network sees what and which loss comes of it. So losses are made of
what Keras can compute of symbols: it slices by `x[:n, ...]`, and not by `x[:n]`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_faces.pictures import new_figure, save_figure

COLOURS = {"input": "0.92", "network": "#d9e8f6", "loss": "#fbe6cf"}
LINE, PADDING, GAP = 0.16, 0.12, 0.3  # inches
LETTER = 0.068  # inches, of a line's font
LANE = 0.22  # inches between arrows that pass boxes by
# Gradients of inputs, which a graph of symbols has not.
PENALTIES = ("gradient_penalty", "r1")


class Box(NamedTuple):
    """One box of a diagram.

    Attributes:
        kind: `"input"`, `"network"` or `"loss"`.
        title: Its first line.
        lines: The lines below.
    """

    kind: str
    title: str
    lines: tuple[str, ...] = ()


def plot_networks(model, path: str | os.PathLike, title: str) -> Path:
    """Draw a model's networks, what each is given, and the losses that come of it.

    Penalties of gradients are left out.

    Args:
        model: A model of `keras_faces`.
        path: The PNG to write.
        title: Title of the figure.
    """
    arrows = flow(model)
    columns = _columns(arrows)
    width = [max(_width(box) for box in column) for column in columns]
    left = np.cumsum([GAP, *(w + 2 * GAP for w in width)])
    stacks = [sum(_height(box) for box in column) + GAP * (len(column) - 1) for column in columns]
    place = {box: number for number, column in enumerate(columns) for box in column}
    passing = [pair for pair in arrows if place[pair[1]] - place[pair[0]] != 1]
    bottom = GAP + LANE * len(passing)  # each has a lane of its own below all boxes
    height = max(stacks) + bottom + 2 * GAP
    figure = new_figure(left[-1] + GAP, height)
    axes = figure.add_subplot()
    axes.set(xlim=(0, left[-1] + GAP), ylim=(0, height))
    axes.axis("off")
    axes.text(GAP, height - GAP, title, fontsize=12, va="center", parse_math=False)
    edges = {}  # of each box: left, right, middle
    for number, column in enumerate(columns):
        top = bottom + (max(stacks) + stacks[number]) / 2
        for box in column:
            # An input stands next to who sees it.
            right = left[number] + width[number]
            start = right - _width(box) if box.kind == "input" else left[number]
            _draw_box(axes, box, start, top, right - start)
            edges[box] = start, right, top - _height(box) / 2
            top -= _height(box) + GAP
    for source, target in arrows:
        _, start, middle = edges[source]
        end, arriving = edges[target][0], [pair for pair in arrows if pair[1] == target]
        # From above to below as they come, those that pass boxes by from below them all.
        arriving.sort(key=lambda pair: (pair in passing, -edges[pair[0]][2]))
        order = arriving.index((source, target)) - (len(arriving) - 1) / 2
        goal = edges[target][2] - 0.12 * order
        way = [(start, middle)]
        if (source, target) in passing:
            which = 1 + passing.index((source, target))
            down, up, lane = start + 0.08 * which, end - 0.15 - 0.08 * which, bottom - LANE * which
            way += [(down, middle), (down, lane), (up, lane), (up, goal)]
        axes.plot(*zip(*way, strict=True), color="0.4", linewidth=1)
        arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end, goal), way[-1], arrowprops=arrow)
    return save_figure(figure, path)


def flow(model) -> list[tuple[Box, Box]]:
    """Return what flows from where to where in a model's losses: pairs of boxes, each once.

    Args:
        model: A model of `keras_faces`.
    """
    config = model.get_config()
    if any(config.get(name) for name in PENALTIES):
        model = type(model).from_config({**config, **dict.fromkeys(PENALTIES & config.keys(), 0.0)})
    networks = {id(n): (name, n) for name, n in _networks(model).items()}
    boxes = {key: _network_box(name, network) for key, (name, network) in networks.items()}
    inputs, terms = _symbolic_losses(model)
    arrows: dict[tuple[Box, Box], None] = {}

    def sources(tensor) -> list[Box]:
        """Return the boxes of which a tensor is made, noting all arrows on the way to them."""
        if id(tensor) in inputs:
            return [inputs[id(tensor)]]
        operation, node, _ = tensor._keras_history
        found = [
            box for given in operation._inbound_nodes[node].input_tensors for box in sources(given)
        ]
        if id(operation) not in boxes:
            return found
        own = boxes[id(operation)]
        arrows.update(dict.fromkeys((box, own) for box in found))
        return [own]

    for player in model.players:
        box = Box("loss", f"loss: {player.name}", tuple(player.terms))
        for name in player.terms:
            for source in sources(terms[player.name][name]):
                if source.kind == "network":
                    arrows[source, box] = None
    return list(arrows)


def _symbolic_losses(model) -> tuple[dict[int, Box], dict]:
    """Return the boxes of symbolic inputs by their ids, and the losses that are made of them."""
    count = model.batch_multiple
    faces = np.zeros((count, *model.image_shape), np.float32)
    labels = np.zeros((count, len(model.condition_names))) if model.conditional else None
    drawn = keras.tree.flatten(model.sample_noise(faces, labels))
    different = {id(tensor): tensor for tensor in drawn}  # a face may be what is made of it, too
    named = [_input_name(model, tensor.shape[1:]) for tensor in different.values()]
    boxes, symbols = {}, {}
    for number, (name, (key, tensor)) in enumerate(zip(named, different.items(), strict=True)):
        symbols[key] = keras.KerasTensor(tuple(tensor.shape), dtype="float32")
        which = f" {1 + named[:number].count(name)}" if named.count(name) > 1 else ""
        boxes[id(symbols[key])] = Box("input", name + which, (_shape(tensor.shape[1:]),))
    given = [symbols[id(tensor)] for tensor in drawn]
    batch = keras.tree.pack_sequence_as(model.sample_noise(faces, labels), given)
    # Kept, as what they are known by is their id.
    return boxes, model.losses(batch, training=False) | {"inputs": given}


def _input_name(model, shape) -> str:
    if tuple(shape) == model.image_shape:
        return "faces"
    return "noise" if tuple(shape) == (model.latent_dim,) else "conditions"


def _networks(model) -> dict[str, keras.Model]:
    """Return the networks that learn, by name."""
    return {network.name: network for player in model.players for network in player.networks}


def _network_box(name: str, network) -> Box:
    parameters = sum(int(ops.size(weight)) for weight in network.trainable_weights)
    return Box("network", f"{name}: {parameters:,} parameters", tuple(layer_lines(network)))


def layer_lines(network) -> Iterator[str]:
    """Yield what a network is made of, a line for each layer with what follows it.

    Args:
        network: A Keras model.
    """
    words, shape = [], None
    for layer in flat_layers(network):
        if layer_words(layer) == "linear":
            continue  # which is there for the type of its output alone
        begins = hasattr(layer, "kernel") or type(layer).__name__ in ("UpSampling2D", "Reshape")
        if begins and words:
            yield f"{', '.join(words)}: {_shape(shape)}"
            words = []
        words.append(layer_words(layer))
        shape = layer.output.shape[1:]
    yield f"{', '.join(words)}: {_shape(shape)}"


def flat_layers(network) -> Iterator:
    """Yield the layers of a network and of the networks within it, but for its inputs."""
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from flat_layers(layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def layer_words(layer) -> str:
    """Return what a layer is, in words."""
    kind = type(layer).__name__
    active = getattr(getattr(layer, "activation", None), "__name__", "linear")
    after = "" if active == "linear" else f" {active}"
    if kind in ("Conv2D", "Conv2DTranspose"):
        side, stride = layer.kernel_size[0], layer.strides[0]
        text = f"{'conv' if kind == 'Conv2D' else 'deconv'} {side}x{side} {layer.filters}"
        text += f" stride {stride}" if stride > 1 else ""
        return text + (" valid" if layer.padding == "valid" else "") + after
    if kind == "Dense":
        return f"dense {layer.units}{after}"
    if kind == "Reshape":
        return f"reshape {_shape(layer.target_shape)}"
    if kind == "UpSampling2D":
        return f"up {layer.size[0]} {layer.interpolation}"
    if kind == "MaxPooling2D":
        return f"max-pool {layer.pool_size[0]}"
    if kind == "LeakyReLU":
        return f"leaky relu {layer.negative_slope:g}"
    if kind == "Activation":
        return active
    return {"BatchNormalization": "batch norm", "ReLU": "relu"}.get(kind, kind.lower())


def _shape(shape) -> str:
    return "x".join(map(str, shape))


# On paper.


def _columns(arrows) -> list[list[Box]]:
    """Return the boxes in columns: networks behind what they are given, losses last.

    An input stands in the column before the first network that sees it. Where networks see each
    other's pictures, as translators do, an arrow goes back.
    """
    boxes = list(dict.fromkeys(box for pair in arrows for box in pair))
    depth: dict[Box, int] = {}

    def depth_of(box) -> int:
        if box not in depth:
            depth[box] = -1  # until it is known: who comes here again has gone in a circle
            given = [source for source, target in arrows if target == box]
            depth[box] = 1 + max(map(depth_of, given), default=-1)
        return depth[box]

    for box in boxes:
        depth_of(box)
    for box in boxes:
        if box.kind == "input":
            depth[box] = min(depth[target] for source, target in arrows if source == box) - 1
        elif box.kind == "loss":
            depth[box] = 1 + max(depth[box] for box in boxes if box.kind == "network")
    return [
        [box for box in boxes if depth[box] == number] for number in range(1 + max(depth.values()))
    ]


def _height(box: Box) -> float:
    return 2 * PADDING + LINE * (1 + len(box.lines))


def _width(box: Box) -> float:
    return 2 * PADDING + LETTER * max(map(len, (box.title, *box.lines)))


def _draw_box(axes, box: Box, left: float, top: float, width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    height = _height(box)
    axes.add_patch(
        FancyBboxPatch(
            (left, top - height),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=COLOURS[box.kind],
            edgecolor="0.4",
        )
    )
    for number, line in enumerate((box.title, *box.lines)):
        axes.text(
            left + PADDING,
            top - PADDING - LINE * (number + 0.5),
            line,
            fontsize=8,
            weight="bold" if number == 0 else "normal",
            va="center",
            parse_math=False,
        )
