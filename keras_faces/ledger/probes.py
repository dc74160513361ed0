"""Questions to ask of a model: what the probes of the ledger are made of.

A function named after what it looks at returns a probe, which takes a default-built model and
returns a plain value; `moves`, `error_factor` and `noise` are probes themselves.
"""

import inspect
import itertools
import math

import numpy as np


def parameters(*networks: str):
    """Probe the trainable parameters of networks."""
    return lambda model: {
        name: sum(math.prod(v.shape) for v in getattr(model, name).trainable_variables)
        for name in networks
    }


def layers_of(network: str, *words: str):
    """Probe the layers of a network in words, only those that begin with one of `words`."""

    def probe(model):
        told = [_told(layer) for layer in _flat(getattr(model, network))]
        return counted(text for text in told if text.startswith(words or ("",)))

    return probe


def activations_of(network: str):
    """Probe the activations of a network's layers with weights, in order."""
    return lambda model: tuple(
        layer.activation.__name__
        for layer in _flat(getattr(model, network))
        if hasattr(layer, "kernel")
    )


def output_of(network: str, position: int = 0):
    """Probe the shape of an output of a network, without the batch."""

    def probe(model):
        outputs = getattr(model, network).outputs
        return "x".join(map(str, outputs[position].shape[1:]))

    return probe


def normalisation_of(*networks: str):
    """Probe how networks normalise."""

    def probe(model):
        layers = itertools.chain(*(_flat(getattr(model, name)) for name in networks))
        found = {
            f"{_told(layer)}, momentum {layer.momentum:g}, epsilon {layer.epsilon:g}"
            for layer in layers
            if _told(layer) == "batch norm"
        }
        return ", ".join(sorted(found)) or "none"

    return probe


def initial_weights(*networks: str):
    """Probe the distributions that kernels are drawn from at the start."""

    def probe(model):
        found = set()
        for layer in itertools.chain(*(_flat(getattr(model, name)) for name in networks)):
            if hasattr(layer, "kernel"):
                drawn = layer.kernel_initializer
                normal = type(drawn).__name__ == "RandomNormal"
                spread = f"({drawn.mean:g}, {drawn.stddev:g})" if normal else ""
                found.add(type(drawn).__name__ + spread)
        return ", ".join(sorted(found))

    return probe


def weight_decay(model):
    """Probe the penalty on weights, in the networks or in the optimizers."""
    networks = [network for player in model.players for network in player.networks]
    layers = itertools.chain(*(_flat(network) for network in networks))
    regularised = any(getattr(layer, "kernel_regularizer", None) for layer in layers)
    decays = [optimizer.weight_decay for optimizer in model.default_optimizers().values()]
    return "some" if regularised or any(decays) else "none"


def optimizer(*settings: str):
    """Probe the class of the players' optimizers and some of their settings."""

    def probe(model):
        told = set()
        for chosen in model.default_optimizers().values():
            values = [f"{name} {_number(getattr(chosen, name))}" for name in settings]
            told.add(", ".join([type(chosen).__name__, *values]))
        return "; ".join(sorted(told))

    return probe


def moves(model):
    """Who moves in a round, in order; players of one turn move at the same time."""
    found = model.turns(faces(model, model.batch_multiple), labels(model, model.batch_multiple))
    return counted(" and ".join(player.name for player in players) for players, _ in found)


def noise(model):
    """The distribution of the noise that training draws beside the images."""
    drawn = model.draw(faces(model, 512), labels(model, 512))
    drawn = [np.array(part) for part in drawn if tuple(part.shape) == (512, model.latent_dim)][-1]
    if np.abs(drawn).max() <= 1:
        uniform = abs(drawn.mean()) < 0.05 and abs(drawn.std() - 3**-0.5) < 0.02
        return "uniform in [-1, 1]" if uniform else "something in [-1, 1]"
    normal = abs(drawn.mean()) < 0.1 and abs(drawn.std() - 1) < 0.1
    return "N(0, I)" if normal else "something else"


def error_factor(model) -> float:
    """The factor of a face's squared error, summed over its values, in an encoder's loss."""
    from keras import ops

    images, given = faces(model), labels(model)
    drawn = model.draw(ops.convert_to_tensor(images), given)
    if isinstance(drawn, tuple):
        drawn = (*drawn[:-1], ops.zeros_like(drawn[-1]))
    copies = model.reconstruct(images, *(() if given is None else (given,)))
    squares = np.square(images - copies).sum((1, 2, 3)).mean()
    terms = model.losses(drawn, training=False)[model.players[0].name]
    return round(float(terms["reconstruction"]) / float(squares), 3)


def adversarial_loss(player: str, term: str, *judged: str):
    """Probe what a generator descends, given the discriminator's terms on the same pictures."""

    def probe(model):
        terms = model.losses(model.draw(faces(model, 1)), training=False)
        costs = [float(terms["discriminator"][name]) for name in judged]
        logits = [math.log(math.expm1(cost)) for cost in costs]
        loss = float(terms[player][term])
        if math.isclose(loss, -sum(costs), rel_tol=1e-3):
            return "log(1 - D(G(z)))"
        rest = sum(cost - logit for cost, logit in zip(costs, logits, strict=True))
        return "-log D(G(z))" if math.isclose(loss, rest, rel_tol=1e-3) else "neither"

    return probe


def terms_of(model):
    """The names of the terms of every player's loss."""
    return {player.name: tuple(player.terms) for player in model.players}


def default_of(parameter: str):
    """Probe a default of `keras_faces.data.load`."""

    def probe(_):
        from keras_faces.data import load

        return inspect.signature(load).parameters[parameter].default

    return probe


def faces(model, count: int = 2) -> np.ndarray:
    """Return noise of a model's shape and range, the same each time."""
    shape = (count, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def labels(model, count: int = 2):
    """Return labels where a model needs them: no condition holds."""
    if not model.conditional:
        return None
    return np.zeros((count, len(model.condition_names)), "float32")


def counted(texts) -> tuple[str, ...]:
    """Return texts with neighbours that are alike told once, and how often."""
    runs = [(text, len(list(run))) for text, run in itertools.groupby(texts)]
    return tuple(f"{count} x {text}" if count > 1 else text for text, count in runs)


def _number(value):
    return value if isinstance(value, bool) else f"{value:g}"


def _flat(network):
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def _told(layer) -> str:
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
        return f"reshape {'x'.join(map(str, layer.target_shape))}"
    if kind == "UpSampling2D":
        return f"up {layer.size[0]} {layer.interpolation}"
    if kind == "MaxPooling2D":
        return f"max-pool {layer.pool_size[0]}"
    if kind == "LeakyReLU":
        return f"leaky relu {layer.negative_slope:g}"
    if kind == "Activation":
        return active
    return {"BatchNormalization": "batch norm", "ReLU": "relu"}.get(kind, kind.lower())
