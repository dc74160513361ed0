"""Ledger of the CycleGAN: the slides on Zhang's paper, on Zhu et al. and their code."""

import numpy as np
from keras import ops

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    faces,
    initial_weights,
    layers_of,
    moves,
    normalisation_of,
    optimizer,
    output_of,
    parameters,
)

PAPER = "The slides print no training, so the paper decides."
EXERCISE = "Udacity's exercise, whose networks the slides print"


def _biases(model):
    networks = [network for player in model.players for network in player.networks]
    biases = any(getattr(layer, "use_bias", False) for net in networks for layer in net.layers)
    return "some" if biases else "none"


def _paired(model):
    """Whether the sketch beside a photo is that photo's own."""
    from keras_faces.models.cyclegan import pencil_sketch

    photos = faces(model)
    sketches = [np.array(part) for part in (model.draw(photos)[1], pencil_sketch(photos))]
    return "of the next photo" if np.allclose(sketches[0], sketches[1][::-1]) else "something else"


def _terms(model):
    terms = model.losses(model.draw(faces(model)), training=False)
    return {player: {name: float(term) for name, term in terms[player].items()} for player in terms}


def _judgement(model):
    """What a discriminator's losses are of its outputs."""
    photos = faces(model)
    scores = np.array(model.photo_discriminator(photos, training=False))
    found = _terms(model)["discriminators"]["photo_real"]
    right = np.isclose(found, 0.5 * np.square(scores - 1).mean(), rtol=1e-3)
    return "half the mean of (D(x) - 1)^2" if right else "something else"


def _cycle(model):
    """What the cycle's loss is of a photo and its way there and back."""
    photos = faces(model)
    back = model.translate(np.clip(model.translate(photos, to="sketch"), -1, 1))
    found = _terms(model)["generators"]["photo_cycle"]
    right = np.isclose(found, model.cycle_weight * np.abs(back - photos).mean(), rtol=1e-3)
    return "cycle_weight times the mean of |F(G(x)) - x|" if right else "something else"


def _paper_networks(_):
    """The parameters of the networks of `architecture="resnet"`, which no size changes."""
    from keras_faces.models import create_model

    model = create_model("cyclegan", architecture="resnet", residual_blocks=9, image_size=32)
    return parameters("photo_to_sketch", "photo_discriminator")(model)


def _pool_when_empty(model):
    """What the discriminators see while the pool fills."""
    images = ops.convert_to_tensor(faces(model))
    pool, kept = model.photo_pool, ops.convert_to_numpy(model.photo_pool)
    shown = model.exchange(pool, images, np.zeros(2, "float32"), np.arange(model.pool_size))
    same = np.allclose(np.array(shown), images) and np.allclose(
        ops.convert_to_numpy(pool)[:2], images
    )
    pool.assign(kept)
    return "the new pictures" if same else "something else"


ENTRIES = (
    Entry(
        "image_size",
        "Slides, Discriminator",
        128,
        states='"x, y = 64, depth 64" after the first convolution, which halves the size',
        reference=f"{EXERCISE}: 128; Zhu et al.: 256",
    ),
    Entry("channels", "Slides, both networks", 3, states="three channels in and out"),
    Entry(
        "architecture",
        "Slides, both networks",
        "slides",
        states="both networks are printed",
        reference="Zhu et al.: a ResNet generator with 9 blocks, a 70x70 PatchGAN, instance "
        "normalisation",
        why="'resnet' builds the paper's.",
    ),
    Entry(
        "filters",
        "Slides, both networks",
        64,
        states="conv_dim=64",
        reference="Zhu et al.: 64",
    ),
    Entry(
        "residual_blocks",
        "Slides, CycleGenerator",
        6,
        states="n_res_blocks=6",
        reference="Zhu et al.: 9 at 256x256",
    ),
    Entry("cycle_weight", "Slides", SILENT, reference="Zhu et al.: 10", decides=10.0, why=PAPER),
    Entry(
        "identity_weight",
        "Slides",
        SILENT,
        reference="Zhu et al.'s code: 0.5 times the cycle's 10; the exercise: none",
        decides=5.0,
        why=PAPER,
    ),
    Entry(
        "pool_size",
        "Slides",
        SILENT,
        reference="Zhu et al.: 50; the exercise and keras-io: none",
        decides=50,
        why=PAPER,
    ),
    Entry("learning_rate", "Slides", SILENT, reference="Zhu et al.: 2e-4", decides=2e-4, why=PAPER),
    Entry("beta_1", "Slides", SILENT, reference="Zhu et al.: 0.5", decides=0.5, why=PAPER),
    Entry(
        "schedule",
        "Slides",
        SILENT,
        reference="Zhu et al.: constant for 100 epochs, then linear to 0 within 100",
        decides="linear",
        why=PAPER,
    ),
    Entry(
        "decay_after",
        "Slides",
        SILENT,
        reference="Zhu et al.: 100 epochs",
        why="An epoch's steps depend on the data. `train` stretches this and decay_steps so that "
        "each is half of the run; the numbers are those of 1,000 pictures one by one.",
    ),
    Entry(
        "decay_steps",
        "Slides",
        SILENT,
        reference="Zhu et al.: 100 epochs",
        why="As decay_after: half of the run.",
    ),
    Entry("decay_rate", "Slides", SILENT, reference="Zhu et al.: to 0", decides=0.0, why=PAPER),
    Entry(
        "epochs",
        "Slides",
        SILENT,
        reference="Zhu et al.: 200; the exercise: 1,000 or more batches",
        decides=200,
        why=PAPER,
    ),
    Entry(
        "batch_size",
        "Slides",
        SILENT,
        reference=f"{EXERCISE}: 16; Zhu et al.: 1",
        decides=16,
        why="The printed networks normalise over batches, which one picture does not make. The "
        "paper's normalise every picture by itself.",
    ),
    Entry(
        "generator",
        "Slides, CycleGenerator",
        (
            "conv 4x4 64 stride 2",
            "conv 4x4 128 stride 2",
            "conv 4x4 256 stride 2",
            "12 x conv 3x3 256",
            "deconv 4x4 128 stride 2",
            "deconv 4x4 64 stride 2",
            "deconv 4x4 3 stride 2",
            "tanh",
        ),
        states="three convolutions, six residual blocks, three transposed convolutions, tanh; the "
        "class of the blocks is not printed",
        reference=f"{EXERCISE}: two 3x3 convolutions a block",
        probe=layers_of("photo_to_sketch", "conv", "deconv", "tanh"),
    ),
    Entry(
        "discriminator",
        "Slides, Discriminator",
        (
            "conv 4x4 64 stride 2",
            "relu",
            "conv 4x4 128 stride 2",
            "batch norm",
            "relu",
            "conv 4x4 256 stride 2",
            "batch norm",
            "relu",
            "conv 4x4 512 stride 2",
            "batch norm",
            "relu",
            "conv 4x4 1 valid",
        ),
        states="five 4x4 convolutions, batch normalisation but in the first and the last, ReLU",
        reference="Zhu et al.: leaky ReLU, a fourth convolution without a stride",
        probe=layers_of("photo_discriminator", "conv", "batch norm", "relu"),
    ),
    Entry(
        "discriminator's output",
        "Slides, Discriminator",
        OPEN,
        states="from (8, 8, 512) by a 4x4 convolution with stride 1; the function `conv`, and so "
        "the padding, is not printed",
        reference=f"{EXERCISE}: padding 1",
        decides="7x7x1",
        why="The exercise's padding, of 1 on all sides: a score for each of 49 patches.",
        probe=output_of("photo_discriminator"),
    ),
    Entry(
        "batch normalisation",
        "Slides, both networks",
        OPEN,
        states="batch_norm=False where there is none",
        reference=f"{EXERCISE}: PyTorch's defaults",
        decides="batch norm, momentum 0.9, epsilon 1e-05",
        why="PyTorch's momentum 0.1 is Keras's 0.9. Running statistics are those of translating "
        "alone, not of the cycle and identity terms: with both kinds of pictures in them, "
        "photos came out pale.",
        probe=normalisation_of("photo_to_sketch", "photo_discriminator"),
    ),
    Entry(
        "biases",
        "Slides, both networks",
        OPEN,
        states="the functions `conv` and `deconv` are not printed",
        reference=f"{EXERCISE}: none",
        decides="none",
        why="The exercise's.",
        probe=_biases,
    ),
    Entry(
        "parameters of the paper's networks",
        "Slides",
        SILENT,
        reference="Zhu et al.'s code: 11,378,179 and 2,764,737",
        decides={"photo_to_sketch": 11_378_179, "photo_discriminator": 2_764_737},
        why="What architecture='resnet' with residual_blocks=9 builds.",
        probe=_paper_networks,
    ),
    Entry(
        "discriminators' loss",
        "Slides",
        SILENT,
        reference="Zhu et al.: least squares, halved for the discriminators; the exercise: not "
        "halved",
        decides="half the mean of (D(x) - 1)^2",
        why=PAPER,
        probe=_judgement,
    ),
    Entry(
        "cycle's loss",
        "Slides",
        SILENT,
        reference="Zhu et al.: lambda times the mean absolute difference",
        decides="cycle_weight times the mean of |F(G(x)) - x|",
        why=PAPER,
        probe=_cycle,
    ),
    Entry(
        "update order",
        "Slides",
        SILENT,
        reference="Zhu et al.'s code: the generators, then the discriminators on the pictures of "
        "the same forward pass, which is the same as both at once; the exercise: the "
        "discriminators first",
        decides=("generators and discriminators",),
        why=PAPER,
        probe=moves,
    ),
    Entry(
        "pool while it fills",
        "Slides",
        SILENT,
        reference="Zhu et al.'s code: new pictures are kept and shown",
        decides="the new pictures",
        why=PAPER + " Once it is full, every picture is exchanged for an older one half of the "
        "time.",
        probe=_pool_when_empty,
    ),
    Entry(
        "sketches",
        "Slides, Further Implements",
        OPEN,
        states='"work it on Sketch data, and tried to convert sketch images to real images"; which '
        "data is not said",
        why="Photos are turned into sketches by the pencil filter of photo editors, since no "
        "sketches can be shipped. The sketch beside a photo is another photo's: pairs would not "
        "need a CycleGAN.",
        probe=_paired,
        ours="of the next photo",
    ),
    Entry(
        "optimizer",
        "Slides",
        SILENT,
        reference="Zhu et al.'s code: Adam, beta2 0.999, one for both generators and one for both "
        "discriminators",
        decides="Adam, beta_2 0.999",
        why=PAPER,
        probe=optimizer("beta_2"),
    ),
    Entry(
        "initial weights",
        "Slides, both networks",
        OPEN,
        states="no initialisation is printed",
        reference="Zhu et al.: N(0, 0.02); the exercise: PyTorch's default",
        decides="RandomNormal(0, 0.02)",
        why=PAPER,
        probe=initial_weights("photo_to_sketch", "photo_discriminator"),
    ),
)
