"""The report that compares VAE, GAN and VAE+GAN on CelebA."""

from keras_faces.reports.schema import Column, Figure, Part, Report

DOCUMENT = "report comparing VAE, GAN and VAE+GAN on CelebA"

SCORE = "Inception Score"
SHARPNESS = "Laplacian variance"

# What metrics.csv calls the curves of the report's figures, which shows each by itself.
BOTH_LOSSES = {"generator_loss": "generator loss", "discriminator_loss": "discriminator loss"}
ALL_LOSSES = {
    "decoder_gan": "generator loss",
    "discriminator_loss": "discriminator loss",
    "encoder_kl": "KL loss",
    "encoder_similarity": "reconstruction loss",
}

REPORTS = {
    "report-table41": Report(
        "Table 4.1: Inception Score and Laplacian variance",
        DOCUMENT,
        "The GAN is ahead of VAE and VAE+GAN in both; GAN and VAE+GAN have a higher Laplacian "
        "variance than the real faces (4.2.1). Its Inception Score is of another network than "
        "Keras's, so the two cannot be compared.",
        [
            Part("VAE", "report-vae", {SCORE: 1.704, SHARPNESS: 251.79}),
            Part("GAN", "report-gan", {SCORE: 2.650, SHARPNESS: 2506.18}),
            Part("VAE+GAN", "report-vaegan", {SCORE: 1.231, SHARPNESS: 1360.62}),
        ],
        [
            Column(SCORE, "inception_score", same_measure=False),
            Column(SHARPNESS, "laplacian_variance", form=".1f"),
            Column("its ratio to real", "laplacian_variance_ratio", form=".2f"),
            Column("face detection rate", "face_detection_rate", form=".1%"),
            Column("distinct nearest", "distinct_nearest", form=".0f"),
        ],
        [
            Figure("VAE", "report-vae", "samples-*.png"),
            Figure("GAN", "report-gan", "samples-prior.png"),
            Figure("VAE+GAN", "report-vaegan", "samples-*.png"),
        ],
        real={SCORE: 4.239, SHARPNESS: 1073.71},
    ),
    "report-figures": Report(
        "Figures 4.1 to 4.16: losses, and faces as training goes on; gamma 1.5 against 15",
        DOCUMENT,
        "VAE after 1, 10 and 20 epochs, GAN after 5, 300 and 500, VAE+GAN after 5, 100 and 150; "
        "with gamma 1.5 the VAE+GAN's faces are worse than with 15.",
        [
            Part("VAE", "report-vae"),
            Part("GAN", "report-gan"),
            Part("VAE+GAN, gamma 15", "report-vaegan"),
            Part("VAE+GAN, gamma 1.5", "report-vaegan-low-gamma"),
        ],
        figures=[
            Figure("Figure 4.1: loss of the VAE", "report-vae", curves={"vae_loss": "loss"}),
            Figure(
                "Figures 4.2 to 4.4 (there after 1, 10 and 20 epochs): the VAE",
                "report-vae",
                "grids/samples-step-*.png",
            ),
            Figure("Figures 4.5 and 4.6: losses of the GAN", "report-gan", curves=BOTH_LOSSES),
            Figure(
                "Figures 4.7 to 4.9 (there after 5, 300 and 500 epochs): the GAN",
                "report-gan",
                "grids/samples-step-*.png",
            ),
            Figure(
                "Figures 4.10 to 4.13: losses of the VAE+GAN, gamma 15",
                "report-vaegan",
                curves=ALL_LOSSES,
            ),
            Figure(
                "Figures 4.14 to 4.16 (there after 5, 100 and 150 epochs): the VAE+GAN, gamma 15",
                "report-vaegan",
                "grids/samples-step-*.png",
            ),
            Figure(
                "No figure of its own: losses of the VAE+GAN, gamma 1.5",
                "report-vaegan-low-gamma",
                curves=ALL_LOSSES,
            ),
            Figure(
                "No figure of its own: the VAE+GAN with gamma 1.5",
                "report-vaegan-low-gamma",
                "grids/samples-step-*.png",
            ),
        ],
    ),
}
