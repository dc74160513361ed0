"""Ledger of the GAN: SFU 2.2 and 3, on Goodfellow et al. and the Keras example keras-dcgan."""

import numpy as np

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    adversarial_loss,
    faces,
    initial_weights,
    layers_of,
    moves,
    noise,
    normalisation_of,
    optimizer,
)


def _new_noise(model):
    """Whether the second turn of a round draws noise of its own."""
    first, second = (np.array(batch[1]) for _, batch in model.turns(faces(model)))
    return "the same" if np.array_equal(first, second) else "new"


GENERATOR = (
    "dense 1024",
    "dense 32768",
    "batch norm",
    "tanh",
    "reshape 16x16x128",
    "up 2 nearest",
    "conv 5x5 64",
    "tanh",
    "up 2 nearest",
    "conv 5x5 3",
    "tanh",
)
DISCRIMINATOR = (
    "conv 5x5 64",
    "tanh",
    "max-pool 2",
    "conv 5x5 128 valid",
    "tanh",
    "max-pool 2",
    "flatten",
    "dense 1024",
    "tanh",
    "dense 1",
)

ENTRIES = (
    Entry("image_size", "SFU 3", 64, states="64 x 64; 16 x 16, doubled twice"),
    Entry("channels", "SFU 3", 3, states="three filters in the generator's last convolution"),
    Entry("latent_dim", "SFU 3", 100, states="input dimension = 100", reference="keras-dcgan: 100"),
    Entry(
        "filters",
        "SFU 3",
        64,
        states="64 in the generator's hidden convolution and the discriminator's first, 128 next "
        "to the dense layers",
        reference="keras-dcgan: 64",
    ),
    Entry(
        "hidden_units", "SFU 3", 1024, states="dense(1024) in both", reference="keras-dcgan: 1024"
    ),
    Entry(
        "hidden_activation",
        "SFU 3",
        "linear",
        states="dense(1024) -> dense(128*16*16), with nothing between",
        reference="keras-dcgan: tanh between them",
        why="As it is listed. 'tanh' gives the example's.",
    ),
    Entry(
        "saturating",
        "SFU 2.2, figure 3",
        True,
        states="the generator descends log(1 - D(G(z)))",
        reference="Goodfellow et al. print the same and advise log D(G(z)) where the discriminator "
        "wins; keras-dcgan does that",
        why="As it is printed. False gives the advice.",
    ),
    Entry(
        "learning_rate",
        "SFU 2.2",
        SILENT,
        reference="keras-dcgan: 5e-4",
        decides=5e-4,
        why="The layers are keras-dcgan's, so its training decides.",
    ),
    Entry(
        "momentum",
        "SFU 2.2, figure 3",
        OPEN,
        states='"We used momentum"; how much is not said',
        reference="keras-dcgan: 0.9",
        decides=0.9,
        why="keras-dcgan's.",
    ),
    Entry(
        "rule",
        "SFU 2.2, figure 3",
        "momentum",
        states='"We used momentum in our experiments"',
        reference="keras-dcgan: the same; Radford et al.: Adam",
    ),
    Entry(
        "epochs",
        "SFU 3, 4",
        250,
        states='number of epoch = 250; and of the GAN: "irregularities ... could be attributed to '
        'less number of epochs"',
        reference="keras-dcgan: 100",
    ),
    Entry("batch_size", "SFU 3", 100, states="batch size = 100", reference="keras-dcgan: 128"),
    Entry(
        "generator",
        "SFU 3",
        GENERATOR,
        states="listed layer by layer",
        reference="keras-dcgan: the same at 28x28, with a tanh after the first layer",
        probe=layers_of("generator"),
    ),
    Entry(
        "discriminator",
        "SFU 3",
        (*DISCRIMINATOR, "sigmoid"),
        states="listed layer by layer",
        reference="keras-dcgan: the same",
        why="The closing sigmoid is part of the loss here, where it cannot overflow.",
        probe=layers_of("discriminator"),
        ours=DISCRIMINATOR,
    ),
    Entry(
        "generator's loss",
        "SFU 2.2, figure 3",
        "log(1 - D(G(z)))",
        states="descending mean log(1 - D(G(z)))",
        probe=adversarial_loss("generator", "fake", "fake"),
    ),
    Entry(
        "update order",
        "SFU 2.2, figure 3",
        ("discriminator", "generator"),
        states="k = 1 step of the discriminator, then one of the generator",
        reference="Goodfellow et al., algorithm 1: the same",
        probe=moves,
    ),
    Entry(
        "noise of the generator's step",
        "SFU 2.2, figure 3",
        "new",
        states="every step samples its own noise",
        reference="Goodfellow et al., algorithm 1: the same",
        probe=_new_noise,
    ),
    Entry(
        "noise",
        "SFU 2.2",
        OPEN,
        states="a noise prior p(z)",
        reference="keras-dcgan: uniform in [-1, 1]",
        decides="uniform in [-1, 1]",
        why="keras-dcgan's.",
        probe=noise,
    ),
    Entry(
        "optimizer",
        "SFU 2.2, figure 3",
        OPEN,
        states="momentum",
        reference="keras-dcgan: SGD with Nesterov momentum",
        decides="SGD, nesterov True",
        why="keras-dcgan's.",
        probe=optimizer("nesterov"),
    ),
    Entry(
        "batch normalisation",
        "SFU 3",
        OPEN,
        states="BatchNormalization() in the generator",
        reference="keras-dcgan: with Keras's defaults",
        decides="batch norm, momentum 0.99, epsilon 0.001",
        why="Keras's defaults, then as now.",
        probe=normalisation_of("generator", "discriminator"),
    ),
    Entry(
        "initial weights",
        "SFU 3",
        SILENT,
        reference="keras-dcgan: Keras's default",
        decides="GlorotUniform",
        why="keras-dcgan's.",
        probe=initial_weights("generator", "discriminator"),
    ),
)
