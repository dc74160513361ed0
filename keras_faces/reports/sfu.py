"""The course report of Simon Fraser University."""

from keras_faces.reports.schema import Figure, Part, Report

REPORTS = {
    "sfu-figures": Report(
        "Samples of the GAN and the VAE, pictures blended by the autoencoder, the GAN over epochs",
        "course report of Simon Fraser University on generative models",
        "Faces of GAN and VAE, pictures blended by the autoencoder, and the GAN as epochs go by; "
        "no numbers. Its skyline is a video of the user's: --data video:PATH.",
        [
            Part("GAN", "sfu-gan"),
            Part("VAE", "sfu-vae"),
            Part("Autoencoder", "sfu-autoencoder"),
        ],
        figures=[
            Figure("GAN", "sfu-gan", "samples-prior.png"),
            Figure("GAN, as training goes on", "sfu-gan", "grids/samples-step-*.png"),
            Figure("VAE", "sfu-vae", "samples-*.png"),
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
}
