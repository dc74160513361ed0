"""Gruber, *Generating Facial Images using VAEGAN*."""

from keras_faces.reports.schema import Column, Figure, Part, Report

REPORTS = {
    "gruber-figure2": Report(
        "Figure 2: faces and their reconstructions",
        "Gruber, Generating Facial Images using VAEGAN",
        "Originals above, reconstructions of the VAEGAN below; no numbers.",
        [Part("VAEGAN", "gruber-figure2")],
        [
            Column("mean squared error", "mean_squared_error", form=".1f", of="copies"),
            Column("PSNR (dB)", "psnr", form=".2f", of="copies"),
            Column("SSIM", "ssim", of="copies"),
            Column("face detection rate", "face_detection_rate", form=".1%", of="copies"),
        ],
        [Figure("Figure 2", "gruber-figure2", "reconstructions.png")],
    ),
}
