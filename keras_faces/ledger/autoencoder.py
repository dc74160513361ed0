"""Ledger of the autoencoder: SFU 2."""

import numpy as np

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import error_factor, initial_weights, layers_of, optimizer

AS_THE_VAE = "The VAE's, so that the two differ only in what SFU says sets them apart."
ONLY_NUMBER = "The only number that SFU gives."


def _learning(model):
    """Who trains which networks."""
    return {
        player.name: tuple(network.name for network in player.networks) for player in model.players
    }


ENTRIES = (
    Entry("image_size", "SFU 3", 64, states="colour pictures of 64 x 64"),
    Entry("channels", "SFU 3", 3, states="colour pictures, 64 x 64 x 3"),
    Entry(
        "latent_dim",
        "SFU 2, 3",
        OPEN,
        states='"a reduced set of features", "a small set of features"; section 3 lists a latent '
        "dimension of 2 for its experiments with VAE and GAN",
        why="Two values are too few to reproduce a face; 128, the VAE's, are few beside 12,288.",
    ),
    Entry("filters", "SFU 2", SILENT, why=AS_THE_VAE),
    Entry("hidden_units", "SFU 2", SILENT, why=AS_THE_VAE),
    Entry("learning_rate", "SFU 2", SILENT, why=AS_THE_VAE),
    Entry(
        "epochs",
        "SFU 3",
        OPEN,
        states="250 for the experiments with VAE and GAN; silent on the autoencoder's",
        why=ONLY_NUMBER,
    ),
    Entry(
        "batch_size",
        "SFU 3",
        OPEN,
        states="100 for the experiments with VAE and GAN; silent on the autoencoder's",
        why=ONLY_NUMBER,
    ),
    Entry(
        "who trains what",
        "SFU 2",
        {"encoder": ("encoder",), "decoder": ("decoder",)},
        states='"first we train an encoder neural network to encode our images and with the '
        'encoded data we train a decoder neural network"',
        reference="Hinton and Salakhutdinov: both together",
        why="No loss could train an encoder first: alone, it has nothing to be judged by. Both are "
        "trained together to reproduce the picture.",
        probe=_learning,
        ours={"autoencoder": ("encoder", "decoder")},
    ),
    Entry(
        "squared error's factor",
        "SFU 2",
        SILENT,
        why="The squared error, which SFU names for its VAE, summed over a face's values.",
        probe=error_factor,
        ours=1.0,
    ),
    Entry(
        "blending",
        "SFU 2",
        OPEN,
        states='a picture "similar to two given picture from our dataset with defined percentage", '
        "from a new set of features made of both",
        why="The straight line between both sets of features, at that percentage.",
        probe=lambda model: tuple(
            float(model.between(np.zeros(1), np.ones(1), percent)[0]) for percent in (0, 25, 100)
        ),
        ours=(0.0, 0.25, 1.0),
    ),
    Entry(
        "encoder",
        "SFU 2",
        SILENT,
        why=AS_THE_VAE,
        probe=layers_of("encoder", "conv", "dense"),
        ours=(
            "conv 4x4 32 stride 2",
            "conv 4x4 64 stride 2",
            "conv 4x4 128 stride 2",
            "conv 4x4 256 stride 2",
            "dense 512",
            "dense 128",
        ),
    ),
    Entry(
        "decoder",
        "SFU 2",
        SILENT,
        why=AS_THE_VAE,
        probe=layers_of("decoder", "conv", "deconv", "dense", "tanh"),
        ours=(
            "dense 512",
            "dense 4096",
            "deconv 4x4 128 stride 2",
            "deconv 4x4 64 stride 2",
            "deconv 4x4 32 stride 2",
            "deconv 4x4 3 stride 2",
            "tanh",
        ),
    ),
    Entry(
        "optimizer",
        "SFU 2",
        SILENT,
        why=AS_THE_VAE,
        probe=optimizer("beta_1", "beta_2"),
        ours="Adam, beta_1 0.9, beta_2 0.999",
    ),
    Entry(
        "initial weights",
        "SFU 2",
        SILENT,
        why="Keras's default, as the VAE's.",
        probe=initial_weights("encoder", "decoder"),
        ours="GlorotUniform",
    ),
)
