"""Ledger of the WGAN: Zhang's second baseline, on Arjovsky et al. and their code."""

import numpy as np

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    faces,
    initial_weights,
    moves,
    noise,
    normalisation_of,
    optimizer,
    parameters,
)

PAPER = "Zhang names the model and states nothing else, so its paper decides."
CODE = "Zhang names the model and states nothing else; the authors' code decides."


def _clipped(model):
    """The share of the critic's trainable variables that are clipped."""
    variables = model.critic.trainable_variables
    return sum(v.constraint is not None for v in variables) / len(variables)


def _penalised(probe):
    """Ask a WGAN with a gradient penalty instead of the default one."""

    def ask(_):
        from keras_faces.models import create_model

        return probe(create_model("wgan", image_size=32, filters=4, gradient_penalty=10.0))

    return ask


def _mix(model):
    """Where between a real and a generated face the penalty looks."""
    images = faces(model, 512)
    mix = np.array(model.draw(images)[2])
    spread = abs(mix.mean() - 0.5) < 0.1 and 0 <= mix.min() < 0.1 < 0.9 < mix.max() < 1
    return "uniform, one a face" if spread and mix.shape == (512, 1, 1, 1) else "elsewhere"


def _sees_its_own_part(model):
    """Whether no two steps of the critic see the same faces."""
    images = faces(model, model.batch_multiple)
    parts = [np.array(batch[0]).tobytes() for _, batch in model.turns(images)][:-1]
    return "new faces" if len(set(parts)) == len(parts) else "the same faces"


ENTRIES = (
    Entry(
        "image_size",
        "Zhang 4",
        OPEN,
        states="64 and 128 for his own model; silent on the baseline's",
        reference="the authors' code: 64",
        decides=64,
        why=CODE,
    ),
    Entry("channels", "Zhang 4.3", SILENT, reference="the authors' code: 3", decides=3, why=CODE),
    Entry(
        "latent_dim", "Zhang 4.3", SILENT, reference="the authors' code: 100", decides=100, why=CODE
    ),
    Entry("filters", "Zhang 4.3", SILENT, reference="the authors' code: 64", decides=64, why=CODE),
    Entry(
        "critic_steps",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: 5",
        decides=5,
        why=PAPER,
    ),
    Entry(
        "clip",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: 0.01",
        decides=0.01,
        why=PAPER,
    ),
    Entry(
        "gradient_penalty",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al.: none; Gulrajani et al.: 10",
        decides=0.0,
        why=PAPER,
    ),
    Entry(
        "learning_rate",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: 5e-5; Gulrajani et al., with a penalty: 1e-4 (not "
        "verified)",
        decides=5e-5,
        why=PAPER + " With a gradient penalty it does not change by itself.",
    ),
    Entry("epochs", "Zhang 4.3", SILENT, reference="the authors' code: 25", decides=25, why=CODE),
    Entry(
        "batch_size",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: 64 for every step",
        why="A training step here is a whole round: five steps of the critic on five parts of a "
        "batch, then one of the generator. Five of the paper's batches are one of 320.",
    ),
    Entry(
        "faces in a step of the critic",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: 64",
        decides=64.0,
        why=PAPER,
        probe=lambda model: model.batch_size / model.critic_steps,
    ),
    Entry(
        "faces of the critic's steps",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: new ones in every step; keras-io's WGAN-GP: the "
        "same in all",
        decides="new faces",
        why=PAPER,
        probe=_sees_its_own_part,
    ),
    Entry(
        "update order",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al., algorithm 1: the critic five times, then the generator",
        decides=("5 x critic", "generator"),
        why=PAPER,
        probe=moves,
    ),
    Entry(
        "critic's first steps",
        "Zhang 4.3",
        SILENT,
        reference="the authors' code: 100 of the critic for each of the generator's first 25 "
        "steps, and for every 500th; Arjovsky et al., algorithm 1: 5 from the beginning",
        why="The paper's. A round of 100 steps would be a batch of 6,400 faces.",
        probe=lambda model: moves(model)[0],
        ours="5 x critic",
    ),
    Entry(
        "parameters",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al.: DCGAN's networks without the sigmoid; PyTorch's DCGAN: "
        "3,576,704 and 2,765,568",
        decides={"generator": 3_576_704, "critic": 2_765_568},
        why=PAPER,
        probe=parameters("generator", "critic"),
    ),
    Entry(
        "share of the critic's weights that are clipped",
        "Zhang 4.3",
        SILENT,
        reference="the authors' code: all, batch normalisation's scales and shifts too; khanrc: "
        '"without gamma: does not work"',
        decides=1.0,
        why=CODE + " Clipping comes after a step, as in the paper; in the code before.",
        probe=_clipped,
    ),
    Entry(
        "terms of the losses",
        "Zhang 3.3 (1)",
        OPEN,
        states="the Wasserstein distance, for his own model",
        reference="Arjovsky et al.: the critic ascends f(x) - f(g(z)), the generator f(g(z))",
        decides={"critic": ("real", "fake"), "generator": ("fake",)},
        why=PAPER,
        probe=lambda model: {player.name: tuple(player.terms) for player in model.players},
    ),
    Entry(
        "noise",
        "Zhang 3",
        OPEN,
        states='"uniform distribution, Gaussian distribution, etc."',
        reference="the authors' code: normal",
        decides="N(0, I)",
        why=CODE,
        probe=noise,
    ),
    Entry(
        "optimizer",
        "Zhang 4.3",
        SILENT,
        reference="Arjovsky et al.: RMSProp, with no word on its decay; the authors' code: "
        "PyTorch's defaults, decay 0.99, epsilon 1e-8",
        decides="RMSprop, rho 0.99, epsilon 1e-08",
        why=CODE,
        probe=optimizer("rho", "epsilon"),
    ),
    Entry(
        "initial weights",
        "Zhang 4.3",
        SILENT,
        reference="the authors' code: N(0, 0.02)",
        decides="RandomNormal(0, 0.02)",
        why=CODE,
        probe=initial_weights("generator", "critic"),
    ),
    Entry(
        "optimizer with a gradient penalty",
        "Zhang 4.3",
        SILENT,
        reference="Gulrajani et al.: Adam, beta1 0, beta2 0.9; PyTorch-GAN: 0.5 and 0.999",
        decides="Adam, beta_1 0, beta_2 0.9",
        why="That paper's.",
        probe=_penalised(optimizer("beta_1", "beta_2")),
    ),
    Entry(
        "critic's normalisation with a gradient penalty",
        "Zhang 4.3",
        SILENT,
        reference="Gulrajani et al.: no batch normalisation, since the penalty is on each face by "
        "itself; Keras-GAN: batch normalisation",
        decides="none",
        why="That paper's.",
        probe=_penalised(normalisation_of("critic")),
    ),
    Entry(
        "where the gradient is penalised",
        "Zhang 4.3",
        SILENT,
        reference="Gulrajani et al.: uniform between a real and a generated face; keras-io until "
        "2023 and GDL: a normal share, which often lies outside",
        decides="uniform, one a face",
        why="That paper's.",
        probe=_penalised(_mix),
    ),
)
