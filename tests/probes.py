"""What the ledger asks of models: `probe = "layers_of:generator,conv"` calls `layers_of`.

A probe takes a model (None in `shared.toml`) and the words behind the colon, and returns a plain
value. The first part fits every model, the second what is peculiar to one, the last needs none.
"""

import inspect
import itertools
import math

import numpy as np
from keras import ops

from keras_faces.data.sources.base import Entry, Source
from keras_faces.plan import resolve
from keras_faces.recipes import load_recipe
from keras_faces.reports.networks import flat_layers, layer_words

# Of every model.


def parameters(model, *networks):
    """The trainable parameters of networks."""
    return {
        name: sum(math.prod(v.shape) for v in getattr(model, name).trainable_variables)
        for name in networks
    }


def layers_of(model, network, *words):
    """The layers of a network in words, only those that begin with one of `words`."""
    texts = [layer_words(layer) for layer in flat_layers(getattr(model, network))]
    return _counted(text for text in texts if text.startswith(words or ("",)))


def activations_of(model, network):
    """The activations of a network's layers with weights, in order."""
    layers = flat_layers(getattr(model, network))
    return [layer.activation.__name__ for layer in layers if hasattr(layer, "kernel")]


def output_of(model, network, position="0"):
    """The shape of an output of a network, without the batch."""
    shape = getattr(model, network).outputs[int(position)].shape
    return "x".join(map(str, shape[1:]))


def normalisation_of(model, *networks):
    """How networks normalise."""
    found = {
        f"batch norm, momentum {layer.momentum:g}, epsilon {layer.epsilon:g}"
        for layer in itertools.chain(*(flat_layers(getattr(model, name)) for name in networks))
        if layer_words(layer) == "batch norm"
    }
    return ", ".join(sorted(found)) or "none"


def initial_weights(model, *networks):
    """The distributions that kernels are drawn from at the start."""
    found = set()
    for layer in itertools.chain(*(flat_layers(getattr(model, name)) for name in networks)):
        if hasattr(layer, "kernel"):
            drawn = layer.kernel_initializer
            normal = type(drawn).__name__ == "RandomNormal"
            spread = f"({drawn.mean:g}, {drawn.stddev:g})" if normal else ""
            found.add(type(drawn).__name__ + spread)
    return ", ".join(sorted(found))


def biases(model):
    """Whether any layer has a bias of its own."""
    return "some" if any(getattr(layer, "use_bias", False) for layer in _all(model)) else "none"


def weight_decay(model):
    """The penalty on weights, in the networks or in the optimizers."""
    regularised = any(getattr(layer, "kernel_regularizer", None) for layer in _all(model))
    decays = [optimizer.weight_decay for optimizer in model.default_optimizers().values()]
    return "some" if regularised or any(decays) else "none"


def optimizer(model, *settings):
    """The class of the players' optimizers and some of their settings."""
    found = set()
    for chosen in model.default_optimizers().values():
        values = [f"{name} {_number(getattr(chosen, name))}" for name in settings]
        found.add(", ".join([type(chosen).__name__, *values]))
    return "; ".join(sorted(found))


def networks_of_players(model):
    """The networks that every player trains."""
    return {player.name: [network.name for network in player.networks] for player in model.players}


def terms_of(model, player=None):
    """The names of the terms of a player's loss, or of every player's."""
    found = {each.name: list(each.terms) for each in model.players}
    return found[player] if player else found


def fakes_of(model, player):
    """The terms of a player's loss that are not of real faces."""
    return [term for term in terms_of(model, player) if term != "real"]


def moves(model):
    """Who moves in a round, in order; players of one turn move at the same time."""
    return _counted(" and ".join(player.name for player in players) for players, _ in _turns(model))


def first_move(model):
    """Who moves first, and how often."""
    return moves(model)[0]


def noise(model):
    """The distribution of the noise that training draws beside the images."""
    drawn = model.sample_noise(_faces(model, 512), _labels(model, 512))
    drawn = [np.array(part) for part in drawn if tuple(part.shape) == (512, model.latent_dim)][-1]
    if np.abs(drawn).max() <= 1:
        uniform = abs(drawn.mean()) < 0.05 and abs(drawn.std() - 3**-0.5) < 0.02
        return "uniform in [-1, 1]" if uniform else "something in [-1, 1]"
    normal = abs(drawn.mean()) < 0.1 and abs(drawn.std() - 1) < 0.1
    return "N(0, I)" if normal else "something else"


def value_of(model, name):
    """The value of a variable."""
    return float(getattr(model, name))


def shape_of(model, name):
    """The shape of a variable or of names."""
    return list(np.shape(getattr(model, name)))


def error_factor(model, noise_scale=None):
    """The factor of a face's squared error, summed over its values, in an encoder's loss.

    Times the square of a hyper-parameter, if one is named.
    """
    images, given = _faces(model), _labels(model)
    drawn = model.sample_noise(ops.convert_to_tensor(images), given)
    if isinstance(drawn, tuple):
        drawn = (*drawn[:-1], ops.zeros_like(drawn[-1]))
    copies = model.reconstruct(images, *(() if given is None else (given,)))
    squares = np.square(images - copies).sum((1, 2, 3)).mean()
    terms = model.losses(drawn, training=False)[model.players[0].name]
    factor = round(float(terms["reconstruction"]) / float(squares), 3)
    return round(factor * getattr(model, noise_scale) ** 2, 2) if noise_scale else factor


def adversarial_loss(model, player, term, *judged):
    """What a generator descends, given the discriminator's terms on the same pictures."""
    terms = model.losses(model.sample_noise(_faces(model, 1)), training=False)
    costs = [float(terms["discriminator"][name]) for name in judged]
    logits = [math.log(math.expm1(cost)) for cost in costs]
    loss = float(terms[player][term])
    if math.isclose(loss, -sum(costs), rel_tol=1e-3):
        return "log(1 - D(G(z)))"
    rest = sum(cost - logit for cost, logit in zip(costs, logits, strict=True))
    return "-log D(G(z))" if math.isclose(loss, rest, rel_tol=1e-3) else "neither"


# Of one kind of model.


def blending(model):
    """How far between two sets of features 0, 25 and 100 percent are."""
    return [float(model.between(np.zeros(1), np.ones(1), share)[0]) for share in (0, 25, 100)]


def autoencoder_error(model):
    """L(v) of BEGAN."""
    images = _faces(model)
    copies = np.array(model.discriminator(images, training=False))
    right = np.isclose(float(model.reconstruction_error(images)), np.abs(images - copies).mean())
    return "mean |v - D(v)|" if right else "something else"


def equilibrium_loss(model):
    """The loss of BEGAN's discriminator, at k = 0.5."""
    model.k.assign(0.5)
    terms = _terms(model)
    model.k.assign(0.0)
    real, fake = terms["discriminator"]["real"], terms["discriminator"]["fake"]
    error = float(model.reconstruction_error(_faces(model)))
    right = np.isclose(real, error) and np.isclose(fake, -0.5 * terms["generator"]["fake"])
    return "L(x) - k L(G(z))" if right else "something else"


def equilibrium_rule(model):
    """How BEGAN moves k, by made-up errors of real and generated faces."""
    found = []
    for k, real, fake in ((0.5, 1.0, 0.2), (0.0, 0.0, 0.9), (1.0, 0.9, 0.0)):
        model.k.assign(k)
        model.adjust({"discriminator": {"real": real}, "generator": {"fake": fake}})
        found.append(float(model.k))
    model.k.assign(0.0)
    step = 0.5 + model.k_gain * (model.gamma * 1.0 - 0.2)
    right = np.allclose(found, [step, 0.0, 1.0])
    return "k + lambda_k (gamma L(x) - L(G(z))), in [0, 1]" if right else "something else"


def convergence(model):
    """BEGAN's measure of convergence."""
    terms = {"discriminator": {"real": 0.9}, "generator": {"fake": 0.8}}
    found = float(model.measure(terms)["convergence"])
    right = np.isclose(found, 0.9 + abs(model.gamma * 0.9 - 0.8))
    return "L(x) + |gamma L(x) - L(G(z))|" if right else "something else"


def condition_inputs(model):
    """Values that reach the layers where conditions enter."""
    hidden = next(layer for layer in model.encoder.layers if hasattr(layer, "units"))
    return {
        "encoder's hidden layer": hidden.kernel.shape[0],
        "decoder": model.decoder.input_shape[-1],
    }


def condition_count(model):
    """How many conditions there are."""
    return len(model.condition_names)


def sketch_pairing(model):
    """Whose sketch lies beside a photo."""
    from keras_faces.pencil import pencil_sketch

    photos = _faces(model)
    sketches = [np.array(part) for part in (model.sample_noise(photos)[1], pencil_sketch(photos))]
    return "of the next photo" if np.allclose(sketches[0], sketches[1][::-1]) else "something else"


def least_squares(model):
    """What the losses of CycleGAN's discriminators are of their outputs."""
    scores = np.array(model.photo_discriminator(_faces(model), training=False))
    found = _terms(model)["discriminators"]["photo_real"]
    right = np.isclose(found, 0.5 * np.square(scores - 1).mean(), rtol=1e-3)
    return "half the mean of (D(x) - 1)^2" if right else "something else"


def cycle_loss(model):
    """What the cycle's loss is of a photo and its way there and back."""
    photos = _faces(model)
    back = model.translate(np.clip(model.translate(photos, to="sketch"), -1, 1))
    found = _terms(model)["generators"]["photo_cycle"]
    right = np.isclose(found, model.cycle_weight * np.abs(back - photos).mean(), rtol=1e-3)
    return "cycle_weight times the mean of |F(G(x)) - x|" if right else "something else"


def pool_while_it_fills(model):
    """What the discriminators see while the pool fills."""
    images = ops.convert_to_tensor(_faces(model))
    pool, kept = model.photo_pool, ops.convert_to_numpy(model.photo_pool)
    shown = model.exchange(pool, images, np.zeros(2, "float32"), np.arange(model.pool_size))
    same = np.allclose(np.array(shown), images) and np.allclose(
        ops.convert_to_numpy(pool)[:2], images
    )
    pool.assign(kept)
    return "the new pictures" if same else "something else"


def second_noise(model):
    """Whether the second turn of a round draws noise of its own."""
    first, second = (np.array(batch[1]) for _, batch in _turns(model))
    return "the same" if np.array_equal(first, second) else "new"


def similarity_mean(model):
    """How the similarity of the encoder's loss and that of the decoder's differ, but for gamma."""
    terms = _terms(model)
    return round(terms["encoder"]["similarity"] / terms["decoder"]["similarity"] * model.gamma)


def clipped_share(model, network):
    """The share of a network's trainable variables that are clipped."""
    variables = getattr(model, network).trainable_variables
    return sum(v.constraint is not None for v in variables) / len(variables)


def faces_in_a_move(model):
    """How many faces the first move of a round sees."""
    return _turns(model, model.batch_size)[0][1][0].shape[0]


def faces_of_moves(model):
    """Whether no two moves before the last see the same faces."""
    parts = [np.array(batch[0]).tobytes() for _, batch in _turns(model)][:-1]
    return "new faces" if len(set(parts)) == len(parts) else "the same faces"


def penalty_place(model):
    """Where between a real and a generated face the gradient is penalised."""
    mix = np.array(model.sample_noise(_faces(model, 512))[2])
    spread = abs(mix.mean() - 0.5) < 0.1 and 0 <= mix.min() < 0.1 < 0.9 < mix.max() < 1
    return "uniform, one a face" if spread and mix.shape == (512, 1, 1, 1) else "elsewhere"


def cost_of_certainty(model):
    """What a real face costs VAE/GAN's discriminator that calls it generated, ever more surely."""
    logit = next(
        layer for layer in flat_layers(model.discriminator) if layer_words(layer) == "dense 1"
    )
    bias, found = logit.bias.numpy(), []
    for sureness in (10.0, 100.0):
        logit.bias.assign([-sureness])
        found.append(_terms(model)["discriminator"]["real"])
    logit.bias.assign(bias)
    return "unbounded" if np.allclose(found, [10, 100], atol=3) else "bounded"


# Of no model.


def paper_recipes(_, field, *recipes):
    """A hyper-parameter of recipes in their paper's budget."""
    return [load_recipe(name).paper["hyperparameters"][field] for name in recipes]


def crops_of_recipes(_, size, *recipes):
    """The crop with which recipes train in their paper's budget, on pictures of a size."""
    width, height = map(int, size.split("x"))

    class Pictures(Source):
        entries = staticmethod(lambda: [Entry("one")])
        read = staticmethod(lambda name: np.zeros((height, width, 3), np.uint8))

    plans = [resolve(load_recipe(name).model, name, data="faces") for name in recipes]
    return [plan.with_source(Pictures()).crop for plan in plans]


def default_of(_, parameter):
    """A default of `keras_faces.data.load`."""
    from keras_faces.data import load

    return inspect.signature(load).parameters[parameter].default


def resizer(_):
    """Who resizes faces, by default."""
    from keras_faces.data import CROPS

    return CROPS["center"].resampler.name


def pixel_range(_):
    """What black and white become."""
    from keras_faces.data import to_float

    return [float(value) for value in to_float(np.array([0, 255], np.uint8))]


def augmentation(_):
    """Whether two epochs, which come in different orders, have the same pictures."""
    from keras_faces.data import open_faces

    stream = open_faces("orl", image_size=32, batch_size=100, split="all", progress=False)
    epochs = [[stream.read(step)[0] for step in range(first, first + 4)] for first in (0, 4)]
    first, second = (sorted(map(bytes, np.concatenate(batches))) for batches in epochs)
    return "none" if first == second else "some"


def samplers(_):
    """What models that encode draw new latents from."""
    from keras_faces.models.encoding import EncodingModel

    return EncodingModel.samplers


def log_variance_bound(_):
    """What a log-variance is clipped to."""
    from keras_faces.models.losses import split

    return float(np.array(split(np.array([[0.0, 99.0]], np.float32))[1])[0, 0])


# What they are made of.


def _faces(model, count=2):
    """Return noise of a model's shape and range, the same each time."""
    shape = (count, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def _labels(model, count=2):
    """Return labels where a model needs them: no condition holds."""
    return np.zeros((count, len(model.condition_names)), "float32") if model.conditional else None


def _turns(model, count=None):
    count = count or model.batch_multiple
    return list(model.turns(_faces(model, count), _labels(model, count)))


def _terms(model):
    """Return the terms of every player's loss of one batch, as numbers."""
    terms = model.losses(model.sample_noise(_faces(model)), training=False)
    return {
        player: {name: float(term) for name, term in found.items()}
        for player, found in terms.items()
    }


def _counted(texts):
    """Return texts with neighbours that are alike given once, and how often."""
    runs = [(text, len(list(run))) for text, run in itertools.groupby(texts)]
    return [f"{count} x {text}" if count > 1 else text for text, count in runs]


def _number(value):
    return value if isinstance(value, bool) else f"{value:g}"


def _all(model):
    networks = [network for player in model.players for network in player.networks]
    return itertools.chain(*(flat_layers(network) for network in networks))
