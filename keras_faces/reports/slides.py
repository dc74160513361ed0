"""The slides on Zhang et al. and on sketches."""

from keras_faces.reports.schema import Column, Figure, Part, Report

REPORTS = {
    "slides-cyclegan": Report(
        "Sketches to photos, and the losses",
        "slides on Zhang et al.: sketches to photos",
        "Photos made of sketches by a CycleGAN, and a graph of its losses; no numbers.",
        [Part("CycleGAN", "slides-cyclegan")],
        [
            Column("face detection rate", "face_detection_rate", form=".1%"),
            Column("laplacian variance", "laplacian_variance", form=".1f"),
        ],
        [
            Figure(
                "Sketches, photos made of them, real photos",
                "slides-cyclegan",
                "samples-sketches.png",
            ),
            Figure(
                "Photos, sketches made of them, photos made of those",
                "slides-cyclegan",
                "cycles.png",
            ),
            Figure("Losses", "slides-cyclegan", "losses.png"),
        ],
    ),
}
