"""All models under one protocol."""

from keras_faces.metrics.scores import SCORES
from keras_faces.reports.schema import TRAINING, Column, Figure, Part, Report

# Zhang's recipes cut CelebA's pictures otherwise than all others.
CROP = {"crop": "center"}

PARTS = [
    Part(title, recipe, arguments=CROP)
    for title, recipe in (
        ("VAE", "report-vae"),
        ("CVAE", "report-cvae"),
        ("Dense VAE", "sfu-vae"),
        ("Autoencoder", "sfu-autoencoder"),
        ("DCGAN", "zhang-dcgan"),
        ("GAN of the SFU report", "sfu-gan"),
        ("WGAN", "zhang-wgan"),
        ("BEGAN", "zhang-64"),
        ("VAE+GAN", "report-vaegan"),
        ("CycleGAN", "slides-cyclegan"),
    )
]

REPORTS = {
    "equal-protocol": Report(
        "All models under one protocol",
        "no document: what all of them leave out",
        "No document compares all models, and none says under which protocol it scored.",
        PARTS,
        [
            *(Column(score.title, name, form=score.form) for name, score in SCORES.items()),
            *(
                Column(TRAINING[name].title, name, form=TRAINING[name].form, of="training")
                for name in ("parameters", "minutes", "images_per_second")
            ),
        ],
        [Figure(part.title, part.name, "samples-*.png") for part in PARTS],
    ),
}
