"""The report that compares VAE, GAN and VAE+GAN on CelebA."""

from keras_faces.reports.claims import best_at, rises
from keras_faces.reports.schema import TRAINING, Claim, Column, Figure, Part, Report

DOCUMENT = "report comparing VAE, GAN and VAE+GAN on CelebA"

SCORE = "Inception Score"
SHARPNESS = "Laplacian variance"
RATIO, DIFFERENCE = "its ratio to real", "mean pair difference"
EPOCHS, LENGTH = TRAINING["best_epoch"].title, TRAINING["epochs"].title

FACES = 25  # "in the 25 images" (4.1.3)

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
            Column(RATIO, "laplacian_variance_ratio", form=".2f"),
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
        "Figures 2.1 to 5.2: training faces, networks, losses, faces as training goes on, latents",
        DOCUMENT,
        "VAE after 1, 10 and 20 epochs, GAN after 5, 300 and 500, VAE+GAN after 5, 100 and 150; "
        "with gamma 1.5 the VAE+GAN's faces are worse than with 15. Of the VAE's latents the first "
        "two spread evenly, in clusters (figure 5.1), and faces can be made to smile (figure 5.2).",
        [
            Part("VAE", "report-vae"),
            Part("GAN", "report-gan"),
            Part("VAE+GAN, gamma 15", "report-vaegan"),
            Part("VAE+GAN, gamma 1.5", "report-vaegan-low-gamma"),
        ],
        figures=[
            Figure("Figures 2.1 to 2.3: training faces", "report-vae", draw="training_faces"),
            Figure("Figure 3.1: the networks of the VAE", "report-vae", draw="networks"),
            Figure("Figure 3.2: the networks of the GAN", "report-gan", draw="networks"),
            Figure("Figure 3.3: the networks of the VAE+GAN", "report-vaegan", draw="networks"),
            Figure("Figure 4.1: loss of the VAE", "report-vae", curves={"vae_loss": "loss"}),
            Figure(
                "Figures 4.2 to 4.4 (there after 1, 10 and 20 epochs): the VAE",
                "report-vae",
                "grids/samples-step-*.png",
                count=FACES,
            ),
            Figure("Figures 4.5 and 4.6: losses of the GAN", "report-gan", curves=BOTH_LOSSES),
            Figure(
                "Figures 4.7 to 4.9 (there after 5, 300 and 500 epochs): the GAN",
                "report-gan",
                "grids/samples-step-*.png",
                count=FACES,
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
                count=FACES,
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
                count=FACES,
            ),
            Figure(
                "Figure 5.1: the first two latents of the faces by the VAE",
                "report-vae",
                draw="latents",
            ),
            Figure(
                "Figure 5.2: from unsmiling to smiling, by the VAE, twice as far as the means",
                "report-vae",
                draw="smiles",
            ),
        ],
    ),
    "report-table42": Report(
        "Table 4.2: epochs to the best, and what each model is good at",
        DOCUMENT,
        "VAE: fast convergence, poor image quality. GAN: high image quality, unstable and "
        "time-consuming. VAE+GAN: hybrid benefits, eigenfaces. The epochs were judged there by eye "
        "and by the losses; here by the score that --best names: the first epoch by which it lies "
        "within the standard error of its best, as scores.csv has it.",
        [
            Part("VAE", "report-vae", {EPOCHS: 20}),
            Part("GAN", "report-gan", {EPOCHS: 300}),
            Part("VAE+GAN", "report-vaegan", {EPOCHS: 150}),
        ],
        [
            Column(EPOCHS, "best_epoch", form=".0f", of="training"),
            Column(LENGTH, "epochs", form=".0f", of="training"),
            Column(TRAINING["minutes"].title, "minutes", form=".1f", of="training"),
            Column("face detection rate", "face_detection_rate", form=".1%"),
            Column(RATIO, "laplacian_variance_ratio", form=".2f"),
            Column(DIFFERENCE, "mean_pair_difference", form=".1f"),
        ],
        [
            Figure(f"Scores of the {title} over the epochs", recipe, "scores.png")
            for title, recipe in (
                ("VAE", "report-vae"),
                ("GAN", "report-gan"),
                ("VAE+GAN", "report-vaegan"),
            )
        ],
        claims=[
            *(
                Claim(f"{part}: {epoch} epochs to optimal", best_at(part, epoch))
                for part, epoch in (("VAE", 20), ("GAN", 300), ("VAE+GAN", 150))
            ),
            Claim("the VAE converges fast, the GAN last", rises(EPOCHS, "VAE", "VAE+GAN", "GAN")),
            Claim("the VAE's faces are not sharp, the GAN's are", rises(RATIO, "VAE", "GAN")),
            Claim("the VAE+GAN's faces are alike", rises(DIFFERENCE, "VAE+GAN", "GAN")),
        ],
    ),
}
