"""Ledger of BEGAN: Zhang's model, on Berthelot et al. and the code BEGAN-tensorflow."""

import numpy as np

from keras_faces.ledger import GARBLED, OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    faces,
    initial_weights,
    layers_of,
    moves,
    noise,
    normalisation_of,
    optimizer,
    output_of,
    parameters,
)

CODE = "The code that most people refer to, BEGAN-tensorflow."


def _terms(model, k):
    """The loss terms of one batch at a given k_t, as numbers."""
    model.k.assign(k)
    terms = model.losses(model.draw(faces(model)), training=False)
    model.k.assign(0.0)
    return {
        player: {name: float(value) for name, value in found.items()}
        for player, found in terms.items()
    }


def _discriminator_loss(model):
    terms = _terms(model, 0.5)
    real, fake = terms["discriminator"]["real"], terms["discriminator"]["fake"]
    error = float(model.reconstruction_error(faces(model)))
    right = np.isclose(real, error) and np.isclose(fake, -0.5 * terms["generator"]["fake"])
    return "L(x) - k L(G(z))" if right else "something else"


def _error(model):
    images = faces(model)
    copies = np.array(model.discriminator(images, training=False))
    right = np.isclose(float(model.reconstruction_error(images)), np.abs(images - copies).mean())
    return "mean |v - D(v)|" if right else "something else"


def _k_rule(model):
    """Move k_t with made-up errors of real and generated faces."""
    found = []
    for k, real, fake in ((0.5, 1.0, 0.2), (0.0, 0.0, 0.9), (1.0, 0.9, 0.0)):
        model.k.assign(k)
        model.adjust({"discriminator": {"real": real}, "generator": {"fake": fake}})
        found.append(float(model.k))
    model.k.assign(0.0)
    step = 0.5 + model.k_gain * (model.gamma * 1.0 - 0.2)
    right = np.allclose(found, [step, 0.0, 1.0])
    return "k + lambda_k (gamma L(x) - L(G(z))), in [0, 1]" if right else "something else"


def _convergence(model):
    terms = {"discriminator": {"real": 0.9}, "generator": {"fake": 0.8}}
    found = float(model.measure(terms)["convergence"])
    right = np.isclose(found, 0.9 + abs(model.gamma * 0.9 - 0.8))
    return "L(x) + |gamma L(x) - L(G(z))|" if right else "something else"


def _deconvolution(model):
    """The layers of the other generator."""
    from keras_faces.models import create_model

    given = {"generator_architecture": "deconvolution", "filters": model.filters}
    return layers_of("generator")(create_model("began", **given))


DECODER = (
    "dense 8192",
    "reshape 8x8x128",
    "2 x conv 3x3 128 elu",
    "up 2 nearest",
    "2 x conv 3x3 128 elu",
    "up 2 nearest",
    "2 x conv 3x3 128 elu",
    "up 2 nearest",
    "2 x conv 3x3 128 elu",
    "conv 3x3 3",
)

ENTRIES = (
    Entry(
        "image_size",
        "Zhang 4.2",
        64,
        states="two models, of 64 x 64 and 128 x 128",
        reference="BEGAN-tensorflow: 64, and 128",
    ),
    Entry("channels", "Zhang 3.1", 3, states="a three-channel image, in and out"),
    Entry(
        "latent_dim",
        "Zhang 3.1",
        OPEN,
        states='"the random noise signal vector"',
        reference="BEGAN-tensorflow: 64",
        decides=64,
        why=CODE,
    ),
    Entry(
        "filters",
        "Zhang 3.1",
        OPEN,
        states="filters increase linearly; from what is not said",
        reference="BEGAN-tensorflow: 128, or 64",
        decides=128,
        why=CODE,
    ),
    Entry(
        "gamma",
        "Zhang 3.2",
        OPEN,
        states='"the best value of gamma is between [0, 1]"; a low one gives poor diversity',
        reference="BEGAN-tensorflow: 0.5; Berthelot et al.: 0.3, 0.5 and 0.7 (not verified)",
        decides=0.5,
        why=CODE,
    ),
    Entry(
        "k_gain",
        "Zhang 3.3 (2)",
        GARBLED,
        states="k_{t+1} = gamma [L(x) x L_G] + k_t: gamma stands where lambda_k belongs",
        reference="BEGAN-tensorflow: 0.001",
        decides=0.001,
        why="With gamma as the gain, k_t would soon be at its end.",
    ),
    Entry(
        "generator_architecture",
        "Zhang 3.1, abstract",
        GARBLED,
        states='"the same architecture as the discriminator decoder, but with different weights", '
        "which has nearest neighbours and two convolutions a size; in the same paragraph a dense "
        "layer, then only deconvolutions with 2 x 2 strides, ReLU, and tanh at the end",
        reference="Berthelot et al. and BEGAN-tensorflow: the decoder",
        decides="decoder",
        why="Both cannot hold. The first is BEGAN's own sentence and network, it is what the "
        "discriminator beside it looks like, and the known parameter counts of BEGAN-tensorflow "
        "belong to it. The second is DCGAN's generator; 'deconvolution' builds it, with the batch "
        "normalisation that the abstract names and no other part of the model could have.",
    ),
    Entry(
        "skip_connections",
        "Zhang 3.1",
        OPEN,
        states="nothing",
        reference="Berthelot et al. describe them as an extension; BEGAN-tensorflow has them in a "
        "file that its models do not use",
        decides=False,
        why="Off, as in the networks whose parameter counts are known. Faces come sooner with "
        "them, so the quick recipes turn them on.",
    ),
    Entry(
        "learning_rate",
        "Zhang 4.2",
        1e-4,
        states="initial learning rate 1e-4 for both sizes; the Slides: 0.0001",
        reference="BEGAN-tensorflow: 8e-5; Berthelot et al.: 1e-4 (not verified)",
    ),
    Entry(
        "generator_rate",
        "Zhang 4.2",
        OPEN,
        states="one learning rate, no word on whose",
        reference="BEGAN-tensorflow: g_lr and d_lr, both 8e-5",
        decides=1.0,
        why="The same for both. With a few thousand steps the generator settles on one face before "
        "the autoencoder knows others, so the quick recipes slow it down.",
    ),
    Entry(
        "beta_1",
        "Zhang 4.2",
        SILENT,
        reference="BEGAN-tensorflow reads beta1 = 0.5 and never uses it, so that TensorFlow's 0.9 "
        "trained its pictures; khanrc: 0.5",
        decides=0.9,
        why="What trained the pictures that people know.",
    ),
    Entry(
        "schedule",
        "Zhang 4.2",
        "exponential",
        states="decay in steps by a factor",
        reference="BEGAN-tensorflow: halved every 100,000 steps; Berthelot et al.: halved when M "
        "stalls (not verified)",
    ),
    Entry(
        "decay_steps",
        "Zhang 4.2",
        2000,
        states='"every 2000 iter"; the Slides make of it "performed on 2000 iterations"',
        reference="BEGAN-tensorflow: 100,000; khanrc: 3,000; Heumi: 2,000",
    ),
    Entry(
        "decay_rate",
        "Zhang 4.2",
        0.9,
        states="learning rate decay 0.9",
        reference="BEGAN-tensorflow: 0.5, not below 2e-5; khanrc and Heumi: 0.95, khanrc not below "
        "2e-5",
        why="As stated, and without a floor, since none is: the rate is below 2e-5 after "
        "32,000 steps and below 1e-6 after 88,000.",
    ),
    Entry(
        "epochs",
        "Zhang 4",
        SILENT,
        reference="BEGAN-tensorflow: 500,000 steps of 16, its pictures at 300,000 and 200,000",
        why="10 epochs of CelebA's 162,770 training faces are 100,000 steps of 16, after which "
        "Zhang's decay has left 0.5 % of the rate.",
    ),
    Entry(
        "batch_size",
        "Zhang 4.2",
        SILENT,
        reference="BEGAN-tensorflow: 16",
        decides=16,
        why=CODE,
    ),
    Entry(
        "parameters",
        "Zhang 3.1",
        SILENT,
        reference="BEGAN-tensorflow: generator 1,716,611, discriminator 13,405,379",
        decides={"generator": 1_716_611, "discriminator": 13_405_379},
        why=CODE,
        probe=parameters("generator", "discriminator"),
    ),
    Entry(
        "discriminator",
        "Zhang 3.1",
        (
            "3 x conv 3x3 128 elu",
            "conv 3x3 128 stride 2 elu",
            "2 x conv 3x3 256 elu",
            "conv 3x3 256 stride 2 elu",
            "2 x conv 3x3 384 elu",
            "conv 3x3 384 stride 2 elu",
            "2 x conv 3x3 512 elu",
            "flatten",
            "dense 64",
            *DECODER,
        ),
        states="an autoencoder, two convolutions a layer, filters that grow linearly, stride 2 "
        "down, nearest neighbours up; ELU, widths and 3x3 kernels are BEGAN-tensorflow's",
        reference="BEGAN-tensorflow: the same",
        probe=layers_of("discriminator"),
    ),
    Entry(
        "discriminator's output",
        "Zhang 3.1, 3.3",
        GARBLED,
        states='an autoencoder of images; but also "maps it to a scalar value ... and uses the '
        'Sigmoid function to determine the loss"',
        reference="Berthelot et al.: an image, judged by its error",
        decides="64x64x3",
        why="The losses, (2) and figure 6, are of reconstruction errors; nothing uses a scalar.",
        probe=output_of("discriminator"),
    ),
    Entry(
        "fully connected layers",
        "Zhang abstract, 3.1",
        GARBLED,
        states='"eliminating the fully connected layer"; but the generator\'s first layer is "the '
        'fully connected layer"',
        reference="BEGAN-tensorflow: one before each decoder, one after the encoder",
        decides=("dense 64", "dense 8192"),
        why="Without one, a noise vector does not become a map of features.",
        probe=layers_of("discriminator", "dense"),
    ),
    Entry(
        "generator",
        "Zhang 3.1",
        GARBLED,
        states="see generator_architecture",
        reference="BEGAN-tensorflow: the decoder's layers",
        decides=DECODER,
        why="The reading 'decoder', with ELU where the other sentence has ReLU, and no tanh: "
        "pictures are clipped to [-1, 1] when they are shown.",
        probe=layers_of("generator"),
    ),
    Entry(
        "the other generator",
        "Zhang 3.1, abstract",
        OPEN,
        states="a dense layer, deconvolutions with 2 x 2 strides, ReLU, tanh; batch normalisation",
        reference="Radford et al.: 4x4 or 5x5 kernels, batch norm except at the output",
        why="What generator_architecture='deconvolution' builds, with the kernels of DCGAN's "
        "example code and filters that fall linearly, as the encoder's rise.",
        probe=_deconvolution,
        ours=(
            "dense 24576",
            "reshape 8x8x384",
            "batch norm",
            "relu",
            "deconv 4x4 256 stride 2",
            "batch norm",
            "relu",
            "deconv 4x4 128 stride 2",
            "batch norm",
            "relu",
            "deconv 4x4 3 stride 2",
            "tanh",
        ),
    ),
    Entry(
        "normalisation",
        "Zhang abstract",
        OPEN,
        states='"applying batch normalization and deconvolution operations"; section 3.1, which '
        "describes the networks, has none",
        reference="BEGAN-tensorflow: none",
        decides="none",
        why="It goes with the deconvolutions, see generator_architecture. A discriminator that "
        "normalises over a batch would mix the errors of its faces.",
        probe=normalisation_of("generator", "discriminator"),
    ),
    Entry(
        "L(v)",
        "Zhang 3.3",
        OPEN,
        states="the loss of the self-encoder; which norm is not said",
        reference="BEGAN-tensorflow: the mean absolute error",
        decides="mean |v - D(v)|",
        why=CODE,
        probe=_error,
    ),
    Entry(
        "discriminator's loss",
        "Zhang 3.3 (2)",
        GARBLED,
        states="L_D = k_t x L(G(z_D)): L(x) and the minus sign are lost",
        reference="Berthelot et al.: L_D = L(x) - k_t L(G(z))",
        decides="L(x) - k L(G(z))",
        why="As it stands, the discriminator would learn to reproduce generated faces alone.",
        probe=_discriminator_loss,
    ),
    Entry(
        "generator's loss",
        "Zhang 3.3 (2)",
        ("fake",),
        states="L_G = L(G(z_G))",
        reference="Berthelot et al.: the same",
        probe=lambda model: tuple(model.players[1].terms),
    ),
    Entry(
        "rule of k",
        "Zhang 3.3 (2)",
        GARBLED,
        states="k_{t+1} = gamma [L(x) x L_G] + k_t",
        reference="Berthelot et al.: k_t + lambda_k (gamma L(x) - L(G(z))), clipped to [0, 1]",
        decides="k + lambda_k (gamma L(x) - L(G(z))), in [0, 1]",
        why="A product of two errors is never negative, so that k_t could only grow.",
        probe=_k_rule,
    ),
    Entry(
        "k at the start",
        "Zhang 3.3",
        SILENT,
        reference="BEGAN-tensorflow: 0",
        decides=0.0,
        why=CODE,
        probe=lambda model: float(model.k),
    ),
    Entry(
        "convergence",
        "Zhang 4.3",
        SILENT,
        reference="Berthelot et al.: M = L(x) + |gamma L(x) - L(G(z))|",
        decides="L(x) + |gamma L(x) - L(G(z))|",
        why="Only watched; Zhang watches L(x) and L(G(z)), which are watched too.",
        probe=_convergence,
    ),
    Entry(
        "update order",
        "Zhang 3.3 (2)",
        OPEN,
        states="z_D and z_G have different names",
        reference="BEGAN-tensorflow: one noise, one picture and one call for both; k_t after them",
        decides=("discriminator and generator",),
        why=CODE,
        probe=moves,
    ),
    Entry(
        "noise",
        "Zhang 3",
        OPEN,
        states='"uniform distribution, Gaussian distribution, etc."',
        reference="BEGAN-tensorflow: uniform in [-1, 1]",
        decides="uniform in [-1, 1]",
        why=CODE,
        probe=noise,
    ),
    Entry(
        "optimizer",
        "Zhang 4.2",
        SILENT,
        reference="BEGAN-tensorflow: Adam, TensorFlow's beta2 0.999",
        decides="Adam, beta_2 0.999",
        why=CODE,
        probe=optimizer("beta_2"),
    ),
    Entry(
        "initial weights",
        "Zhang 4.2",
        SILENT,
        why="Keras's default.",
        probe=initial_weights("generator", "discriminator"),
        ours="GlorotUniform",
    ),
)
