"""The scores of a model's samples, beside the same scores of real faces, with their protocol."""

from collections.abc import Sequence

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, unknown_name
from keras_faces.metrics.detection import detected
from keras_faces.metrics.diversity import distinct_nearest, mean_pair_difference
from keras_faces.metrics.sharpness import laplacian_variance

# Each takes the faces to score and the real ones to compare with.
SCORES = {
    "face_detection_rate": lambda faces, real: float(detected(faces).mean()),
    "laplacian_variance": lambda faces, real: float(laplacian_variance(faces).mean()),
    "mean_pair_difference": lambda faces, real: mean_pair_difference(faces),
    "distinct_nearest": lambda faces, real: distinct_nearest(faces, real),
}


def score(
    model,
    stream: FaceStream,
    count: int = 1000,
    seed: int = 0,
    samplers: Sequence[str] | None = None,
    scores: Sequence[str] | None = None,
) -> dict:
    """Score a model's samples beside real faces.

    Args:
        model: A `FaceModel`.
        stream: The real faces to compare with.
        count: Samples to generate, and at most that many real faces.
        seed: Seed of the samples and of the choice of real faces.
        samplers: The model's samplers to score; None scores all that can be used.
        scores: Keys of `SCORES`; None computes all.

    Returns:
        Dict with `"protocol"`, all that makes two scores comparable, and `"rows"`: a dict of
        scores for `"real"` and for each sampler.

    Raises:
        UserError: If a name is unknown or there are too few faces.
    """
    scores = list(SCORES) if scores is None else list(scores)
    for name in scores:
        if name not in SCORES:
            raise unknown_name("score", name, SCORES)
    if count < 2:
        raise UserError(f"Scores need 2 samples or more. Received: count={count}.")
    real = stream.sample(count, seed)
    sets = {"real": real}
    for sampler in samplers or model.usable_samplers:
        sets[sampler] = model.samples(count, seed, sampler, stream)
    facts = stream.facts
    return {
        "protocol": {
            "source": facts.get("source"),
            "fingerprint": facts.get("fingerprint"),
            "split": facts.get("split"),
            "crop": facts.get("crop"),
            "image_size": stream.image_shape[0],
            "channels": stream.image_shape[2],
            "real": len(real),
            "generated": max(len(faces) for name, faces in sets.items() if name != "real"),
            "seed": seed,
            "detector": f"dlib {_version('dlib-bin')} HOG, upsampled once",
        },
        "rows": {
            name: {key: SCORES[key](faces, real) for key in scores} for name, faces in sets.items()
        },
    }


def table(result: dict) -> str:
    """Return the scores as text, one row each for real faces and every sampler."""
    names = list(next(iter(result["rows"].values())))
    head = ["faces", *(name.replace("_", " ") for name in names)]
    lines = [head]
    for row, values in result["rows"].items():
        label = "real" if row == "real" else f"generated ({row})"
        lines.append([label, *(_shown(name, values[name]) for name in names)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )


def _shown(name: str, value: float) -> str:
    if isinstance(value, (int, np.integer)):
        return str(value)
    return f"{value:.1%}" if name.endswith("_rate") else f"{value:.1f}"


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
