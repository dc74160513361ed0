"""Ledger of the dense VAE: SFU 2.1 and 3, on the example that came with Keras."""

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    activations_of,
    error_factor,
    initial_weights,
    layers_of,
    noise,
    optimizer,
)

ENTRIES = (
    Entry("image_size", "SFU 3", 64, states="64 x 64"),
    Entry("channels", "SFU 3", 3, states="original dimension 12288, 64 x 64 x 3"),
    Entry("latent_dim", "SFU 3", 2, states="latent dimension 2", reference="the Keras example: 2"),
    Entry(
        "hidden_units",
        "SFU 3",
        512,
        states="intermediate dimension 512",
        reference="the Keras example: 256",
    ),
    Entry(
        "epsilon_std",
        "SFU 3",
        1.0,
        states="epsilon_std = 1.0",
        reference="the Keras example: 1.0",
    ),
    Entry(
        "learning_rate",
        "SFU 3",
        SILENT,
        reference="the Keras example: RMSprop's default, 1e-3",
        decides=1e-3,
        why="SFU's names and numbers are those of the example, so the example decides.",
    ),
    Entry(
        "epochs", "SFU 3", 250, states="number of epoch = 250", reference="the Keras example: 50"
    ),
    Entry(
        "batch_size", "SFU 3", 100, states="batch size = 100", reference="the Keras example: 100"
    ),
    Entry(
        "encoder",
        "SFU 2.1, 3",
        ("dense 512 relu", "dense 4"),
        states="12288-512-2, with mean and variance of the latent; figure 1, which shows it, is "
        "lost. The ReLU is the Keras example's",
        probe=layers_of("encoder", "dense"),
    ),
    Entry(
        "decoder",
        "SFU 2.1, 3",
        ("dense 512 relu", "dense 12288 sigmoid"),
        states="2-512-12288; the activations are the Keras example's",
        probe=layers_of("decoder", "dense"),
    ),
    Entry(
        "activations of the decoder",
        "SFU 2.1",
        SILENT,
        reference="the Keras example: ReLU, and a sigmoid at the end",
        decides=("relu", "sigmoid"),
        why="The example's. The sigmoid's [0, 1] is stretched to the [-1, 1] of all models here.",
        probe=activations_of("decoder"),
    ),
    Entry(
        "squared error's factor",
        "SFU 2.1",
        OPEN,
        states='a latent loss and "a mean squared error for the generation loss term"; not what '
        "the mean is over",
        reference="the Keras example: mean times the number of values, of the cross-entropy, on "
        "pictures in [0, 1]; the divergence is a sum over latents, in its first versions a mean",
        decides=0.25,
        why="SFU's squared error with the example's weight: a sum over values in [0, 1] is "
        "a quarter of that in [-1, 1]. The divergence is a sum, as Kingma and Welling have it.",
        probe=error_factor,
    ),
    Entry(
        "noise",
        "SFU 2.1 (2)",
        "N(0, I)",
        states="z = mu + sigma * epsilon, epsilon from a unit Gaussian",
        probe=noise,
    ),
    Entry(
        "optimizer",
        "SFU 3",
        SILENT,
        reference="the Keras example: RMSprop with its defaults",
        decides="RMSprop, rho 0.9, momentum 0",
        why="The example decides.",
        probe=optimizer("rho", "momentum"),
    ),
    Entry(
        "initial weights",
        "SFU 3",
        SILENT,
        reference="the Keras example: Keras's default",
        decides="GlorotUniform",
        why="The example decides.",
        probe=initial_weights("encoder", "decoder"),
    ),
)
