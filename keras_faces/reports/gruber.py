"""Gruber, *Generating Facial Images using VAEGAN*."""

from keras_faces.reports.schema import Column, Figure, Part, Report

REPORTS = {
    "gruber-figure2": Report(
        "Figures 1 and 2: the networks; faces and their reconstructions",
        "Gruber, Generating Facial Images using VAEGAN",
        "Encoder, decoder and discriminator (figure 1); originals above, reconstructions of "
        "the VAEGAN below (figure 2); no numbers.",
        [Part("VAEGAN", "gruber-figure2")],
        [
            Column("mean squared error", "mean_squared_error", form=".1f", of="copies"),
            Column("PSNR (dB)", "psnr", form=".2f", of="copies"),
            Column("SSIM", "ssim", of="copies"),
            Column("face detection rate", "face_detection_rate", form=".1%", of="copies"),
        ],
        [
            Figure("Figure 1: the networks of the VAEGAN", "gruber-figure2", draw="networks"),
            Figure("Figure 2", "gruber-figure2", "reconstructions.png"),
        ],
    ),
}
