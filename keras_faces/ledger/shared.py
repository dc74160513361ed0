"""What holds for all models: faces, pixels, latents, and the arguments that every model has."""

import numpy as np

from keras_faces.ledger import OPEN, SILENT, Entry
from keras_faces.ledger.probes import default_of


def _resizer(_):
    from keras_faces.data import CROPS

    return CROPS["center"].resampler.name


def _range(_):
    from keras_faces.data import to_float

    return tuple(float(value) for value in to_float(np.array([0, 255], np.uint8)))


def _augmentation(_):
    """Compare the pictures of two epochs, which come in different orders."""
    from keras_faces.data import open_faces

    stream = open_faces("orl", image_size=32, batch_size=100, split="all", progress=False)
    epochs = [[stream.read(step)[0] for step in range(first, first + 4)] for first in (0, 4)]
    first, second = (sorted(map(bytes, np.concatenate(batches))) for batches in epochs)
    return "none" if first == second else "some"


def _samplers(_):
    from keras_faces.training.encoding import EncodingModel

    return EncodingModel.samplers


def _bound(_):
    from keras_faces.models.vae import split

    return float(np.array(split(np.array([[0.0, 99.0]], np.float32))[1])[0, 0])


ENTRIES = (
    Entry(
        "data",
        "Zhang 4.1, Slides, Report 2.1, SFU 3, Gruber 3",
        "CelebA",
        states="CelebA; Gruber: CASIA-WebFace too; SFU: 10,000 pictures of it, and 1,325 frames of "
        "a skyline video whose address is printed as CelebA's",
        why="CelebA and CASIA-WebFace are the user's to get: give them with --data. The 400 ORL "
        "faces come with the package, so that everything runs at once. The video is lost.",
        probe=default_of("source"),
        ours="orl",
    ),
    Entry(
        "crop",
        "Gruber 3, Report 2.1",
        "center",
        states='Gruber: "resize all images to the same size and then cropped the area of size '
        '64 x 64 pixels around the center"; the Report: "center-cropped and resized"; Zhang, the '
        "Slides and SFU: silent",
        reference="on CelebA's 178x218: BEGAN-tensorflow rows 50:178, columns 25:153; Larsen's "
        "code rows 40:188, columns 15:163; PyTorch-VAE centre 148; DCGAN-tensorflow centre 108; "
        "keras-io none, squashed",
        why="The shorter side and then the centre square: cutting before or after resizing keeps "
        "the same region. Gruber does not say to which size he resized; a larger one cuts closer. "
        "The others' crops have names too, see kf.data.CROPS.",
        probe=default_of("crop"),
    ),
    Entry(
        "resizer",
        "all",
        SILENT,
        reference="BEGAN-tensorflow: nearest neighbour; Larsen's code: blur, then bicubic; "
        "PyTorch-VAE: Pillow's bilinear",
        why="An antialiased one: nearest neighbour aliases, and spoils comparisons. Crops named "
        "after a reference have its resizer.",
        probe=_resizer,
        ours="LANCZOS",
    ),
    Entry(
        "range of pixels",
        "Zhang 3.1, Slides, SFU 3",
        OPEN,
        states="generators end in tanh",
        reference="BEGAN-tensorflow: [-1, 1]",
        decides=(-1.0, 1.0),
        why="The range of tanh, in which all models take and give pictures.",
        probe=_range,
    ),
    Entry(
        "augmentation",
        "Gruber 3",
        "none",
        states='"I did not make any augmentations"; the others: silent',
        reference="Larsen's code: 600,000 augmented pictures made before training",
        probe=_augmentation,
    ),
    Entry(
        "test share",
        "SFU 3",
        0.1,
        states="9,000 faces for training, 1,000 for testing; the others: silent",
        reference="CelebA's official split: 162,770 / 19,867 / 19,962",
        why="Where it is known who is who, nobody is on both sides. SFU does not say which 10,000 "
        "pictures it took: celeba:PATH?partition=sfu takes the first by name. A source that has "
        "splits of its own, as CelebA, keeps them.",
        probe=default_of("test_fraction"),
    ),
    Entry(
        "samplers of encoding models",
        "Report 3.1, SFU 2.1",
        ("prior",),
        states="latents of new faces come from the prior, a unit Gaussian",
        reference="Larsen's code: the prior",
        why="Encoded faces do not fill the prior evenly, so that some draws from it are no faces. "
        "When a run is finished, a density around encoded training faces is fitted as well, and is "
        "then what generate() draws from. Grids and scores are made for both, side by side, and "
        "say which; sampler='prior' is the documents' own.",
        probe=_samplers,
        ours=("prior", "fitted"),
    ),
    Entry(
        "bound of the log-variance",
        "Report 3.1, SFU 2.1, Gruber 2",
        SILENT,
        why="Clipped to [-10, 10], or one outlier makes its exponential overflow. Posteriors are "
        "far from both ends in a working training.",
        probe=_bound,
        ours=10.0,
    ),
    Entry(
        "seed",
        "all",
        SILENT,
        reference="PyTorch-VAE: 1265",
        why="One seed for weights, noise and order is kept with every run, so that it can be "
        "repeated.",
    ),
    Entry(
        "ema",
        "all",
        SILENT,
        why="No document averages weights, so it is off. The demo turns it on.",
    ),
    Entry(
        "schedule",
        "Report, SFU, Gruber",
        SILENT,
        why="One rate throughout, where neither the document nor its paper has a schedule.",
    ),
    Entry("decay_steps", "Report, SFU, Gruber", SILENT, why="A constant rate does not use it."),
    Entry("decay_rate", "Report, SFU, Gruber", SILENT, why="A constant rate does not use it."),
    Entry("decay_after", "Report, SFU, Gruber", SILENT, why="A constant rate does not use it."),
    Entry(
        "dtype",
        "all",
        SILENT,
        why="None is float32; bfloat16 can be asked for.",
    ),
)
