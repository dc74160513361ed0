"""Zhang et al., *Realistic Face Image Generation Based on GAN*."""

from keras_faces.metrics.identity import COLUMNS
from keras_faces.metrics.training_data import TRAINING_DATA, verdict
from keras_faces.reports.claims import rises
from keras_faces.reports.schema import Claim, Column, Figure, Part, Report, sweep

DOCUMENT = "Zhang et al., Realistic Face Image Generation Based on GAN"

UNDETECTED = f"{COLUMNS['undetected']}, of 1000"
UNIDENTIFIED = f"{COLUMNS['unidentified']}, of 1000"

# Figure 6: on the left "the generated data's loss value through the self-encoder", on the right the
# real data's.
THROUGH_THE_AUTOENCODER = {
    "generated_error": "loss of generated faces",
    "real_error": "loss of real faces",
}

GAMMAS = list(sweep("", "zhang-64", {"gamma": [0.3, 0.5, 0.7, 1.0]}))
FOUND, DIFFERENCE = "face detection rate", "mean pair difference"
DISTINCT, EFFECTIVE = "distinct nearest", "effective nearest"

# Half of the people are kept from the model and from the classifiers, to be asked about.
CLASSIFIED = Part("CVAE", "report-cvae", arguments={"split": "train", "test_fraction": 0.5})

REPORTS = {
    "zhang-table1": Report(
        "Table 1: how many of 1000 generated faces a recogniser finds",
        DOCUMENT,
        "Of 1000 faces 281 of the DCGAN's, 123 of the WGAN's and 19 of the paper's model are not "
        "detected, and all others are identified.",
        [
            Part("DCGAN", "zhang-dcgan", {UNDETECTED: 281, UNIDENTIFIED: 0}),
            Part("WGAN", "zhang-wgan", {UNDETECTED: 123, UNIDENTIFIED: 0}),
            Part("Our model (BEGAN)", "zhang-64", {UNDETECTED: 19, UNIDENTIFIED: 0}),
        ],
        [
            Column(UNDETECTED, "face_detection_rate", lambda rate: 1000 * (1 - rate), ".0f"),
            Column(UNIDENTIFIED, "unidentified", lambda share: 1000 * share, ".0f"),
            Column("distinct nearest", "distinct_nearest", form=".0f"),
            Column("mean pair difference", "mean_pair_difference", form=".1f"),
        ],
        [
            Figure("DCGAN", "zhang-dcgan", "samples-prior.png"),
            Figure("WGAN", "zhang-wgan", "samples-prior.png"),
            Figure("Our model (BEGAN)", "zhang-64", "samples-prior.png"),
        ],
    ),
    "zhang-training-data": Report(
        "Generated faces as training data of a classifier",
        DOCUMENT,
        "High-quality generated images can be used to augment the training image data, which can "
        "alleviate the need for a large number of training samples (4.4); not tried there.",
        [CLASSIFIED],
        [
            Column(learnt.title, name, form=learnt.form, of="classifiers")
            for name, learnt in TRAINING_DATA.items()
        ],
        [Figure("Faces of the CVAE", CLASSIFIED.name, "samples-*.png")],
        verdict=verdict,
    ),
    "zhang-figures": Report(
        "Figures 3 to 6: faces at 64x64 and 128x128, beside the baselines', and the loss curves",
        DOCUMENT,
        'Faces of 128x128 show more: "we can see set of teeth" (4.3). The reconstruction errors of '
        "real and of generated faces fall together (figure 6).",
        [
            Part("Our model, 64x64", "zhang-64"),
            Part("Our model, 128x128", "zhang-128"),
            Part("DCGAN", "zhang-dcgan"),
            Part("WGAN", "zhang-wgan"),
        ],
        figures=[
            Figure("Figure 3: 64x64", "zhang-64", "samples-prior.png"),
            Figure("Figure 4: 128x128", "zhang-128", "samples-prior.png"),
            Figure("Figure 5: the DCGAN", "zhang-dcgan", "samples-prior.png"),
            Figure("Figure 5: the WGAN", "zhang-wgan", "samples-prior.png"),
            Figure("Figure 6: losses, 64x64", "zhang-64", curves=THROUGH_THE_AUTOENCODER),
            Figure("Figure 6: losses, 128x128", "zhang-128", curves=THROUGH_THE_AUTOENCODER),
        ],
    ),
    "zhang-gamma": Report(
        "Section 3.2: quality and variety over gamma",
        DOCUMENT,
        'Gamma measures "the diversity and quality of the generated image" (abstract): "The low '
        "gamma value will result in poor image diversity, because the discriminator is too "
        "concerned about self-encoding the real image, so the best value of gamma is between "
        '[0, 1]" (3.2). No numbers, and which value it took is not said.',
        GAMMAS,
        [
            Column(FOUND, "face_detection_rate", form=".1%"),
            Column("its ratio to real", "laplacian_variance_ratio", form=".2f"),
            Column(DIFFERENCE, "mean_pair_difference", form=".1f"),
            Column(DISTINCT, "distinct_nearest", form=".0f"),
            Column(EFFECTIVE, "effective_nearest", form=".0f"),
        ],
        [
            Figure(
                "Quality and variety; the document: a low gamma results in poor diversity",
                plot=(FOUND, DIFFERENCE, DISTINCT, EFFECTIVE),
                over="gamma",
            ),
            *(Figure(part.title, part.name, "samples-prior.png") for part in GAMMAS),
        ],
        claims=[
            Claim(
                f"a low gamma results in poor diversity: {title} rises with gamma",
                rises(title, *(part.title for part in GAMMAS)),
            )
            for title in (DIFFERENCE, DISTINCT, EFFECTIVE)
        ],
    ),
}
