"""All models under one protocol."""

from keras_faces.metrics.scores import SCORES
from keras_faces.reports.schema import TRAINING, Column, Figure, Part, Report

PARTS = [
    Part("VAE", "report-vae"),
    Part("CVAE", "report-cvae"),
    Part("Dense VAE", "sfu-vae"),
    Part("Autoencoder", "sfu-autoencoder"),
    Part("DCGAN", "zhang-dcgan"),
    Part("GAN of the SFU report", "sfu-gan"),
    Part("WGAN", "zhang-wgan"),
    Part("BEGAN", "zhang-64"),
    Part("VAE+GAN", "report-vaegan"),
    Part("CycleGAN", "slides-cyclegan"),
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
        [Figure(part.title, part.recipe, "samples-*.png") for part in PARTS],
    ),
}
