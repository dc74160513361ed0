"""The course report of Simon Fraser University."""

from keras_faces.reports.schema import Figure, Part, Report

DOCUMENT = "course report of Simon Fraser University on generative models"

# The quick recipe learns from all faces, this one from 1200 frames alone.
SKYLINE = Part("VAE", "sfu-vae", arguments={"split": "train"})

REPORTS = {
    "sfu-figures": Report(
        "Figures 1, 2, 4 and 5: networks and samples of VAE and GAN, pictures blended by the "
        "autoencoder",
        DOCUMENT,
        "Faces of GAN and VAE, pictures blended by the autoencoder, and the GAN as epochs go by; "
        "no numbers. Figure 6, of a skyline, is the report sfu-figure6.",
        [
            Part("GAN", "sfu-gan"),
            Part("VAE", "sfu-vae"),
            Part("Autoencoder", "sfu-autoencoder"),
        ],
        figures=[
            Figure("Figure 1: the networks of the VAE", "sfu-vae", draw="networks"),
            Figure("Figure 2: the networks of the GAN", "sfu-gan", draw="networks"),
            Figure("Figure 4: the GAN", "sfu-gan", "samples-prior.png"),
            Figure("Figure 4: the GAN as training goes on", "sfu-gan", "grids/samples-step-*.png"),
            Figure("Figure 5: the VAE", "sfu-vae", "samples-*.png"),
            Figure(
                "Autoencoder: two faces in a row, between them pictures with 0, 25, 50, 75 and 100 "
                "percent of the second (section 2)",
                "sfu-autoencoder",
                "blends.png",
            ),
            Figure(
                "Autoencoder: faces and reconstructions", "sfu-autoencoder", "reconstructions.png"
            ),
        ],
    ),
    "sfu-figure6": Report(
        "Figure 6: skylines of the dense VAE",
        DOCUMENT,
        '"VAE on skyline dataset generated most interesting results, with colorful sky in images. '
        "It should be noted that the original dataset didn't contain sky with red color, but VAE "
        'generated it" (4). Of a time-lapse of New York 1200 frames are to learn from, 125 to test '
        "(3).",
        [SKYLINE],
        figures=[
            Figure("Three of the frames that it learnt from", SKYLINE.name, draw="training_faces"),
            Figure("Figure 6: the VAE", SKYLINE.name, "samples-*.png"),
            Figure("Frames and their reconstructions", SKYLINE.name, "reconstructions.png"),
        ],
        data=(
            "a time-lapse of a skyline, which is yours to give: "
            "--data 'video:FILE?train=1200&test=125'. A stand-in for it is drawn by "
            "docs/skyline.py of the sources."
        ),
    ),
}
