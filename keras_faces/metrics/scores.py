"""The scores of a model's samples, beside the same scores of real faces, with their protocol.

A score is computed from what is known of a set of faces: pixels, what the detector finds, face
descriptors, Inception's features. Each of these is computed once a set, however many scores use it.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from keras_faces.data.stream import FaceStream
from keras_faces.errors import NotComputed, UserError, unknown_name
from keras_faces.metrics import identity, reconstruction
from keras_faces.metrics.backbone import HOW, BackboneFeatures
from keras_faces.metrics.distribution import bootstrap, inception_score
from keras_faces.metrics.diversity import effective_number, mean_pair_difference
from keras_faces.metrics.faces import FEATURES, Faces, feature_protocol, look, require
from keras_faces.metrics.frechet import frechet_distance
from keras_faces.metrics.kernel import kernel_distance
from keras_faces.metrics.neighbours import density_coverage, precision_recall

FORMAT = 2  # of what `score` returns
GROUPS = 10
FEW_FOUND = 10  # of fewer faces, halves are too few for neighbours


class Value(NamedTuple):
    """A score.

    Attributes:
        value: The score; None where it cannot be computed of these pictures.
        std: Its standard error, or the deviation over the splits that its definition asks for;
            None where neither is known.
    """

    value: float | None
    std: float | None = None


def _of_each(values: np.ndarray) -> Value:
    """The mean of what is measured on each face, with its standard error."""
    values = np.asarray(values, np.float64)
    return Value(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def _of_groups(function: Callable[[np.ndarray], float], images: np.ndarray) -> Value:
    """A score of a set, with the standard error of its mean over disjoint groups of the set."""
    value = function(images)
    if len(images) < 2 * GROUPS:
        return Value(value)
    parts = [function(images[start::GROUPS]) for start in range(GROUPS)]
    return Value(value, float(np.std(parts) / math.sqrt(GROUPS)))


def _distinct_nearest(faces: Faces, real: Faces) -> Value:
    return Value(len(np.unique(faces.nearest_of(real))))


def _effective_nearest(faces: Faces, real: Faces) -> Value:
    return Value(effective_number(faces.nearest_of(real)))


def _sharpness_ratio(faces: Faces, real: Faces) -> Value:
    mean, std = _of_each(faces.sharpness)
    reference = float(real.sharpness.mean())
    if not reference:
        raise UserError("The real faces are even pictures: their Laplacian variance is 0.")
    return Value(mean / reference, std / reference)


def _unidentified(faces: Faces, real: Faces) -> Value:
    counts = identity.identification(faces.descriptors, real.descriptors)
    return _of_each(np.arange(len(faces)) < counts.unidentified)


def _near_duplicates(faces: Faces, real: Faces) -> Value:
    return Value(identity.near_duplicates(faces.descriptors))


def _nearest_training(faces: Faces, real: Faces) -> Value:
    return _of_each(identity.nearest_training(faces.descriptors, real.descriptors).distances)


def _on_descriptors(function: Callable[..., float]) -> Callable[[Faces, Faces], Value]:
    """Return a score that compares descriptors of faces with those of real ones."""

    def compute(faces: Faces, real: Faces) -> Value:
        both = [real.descriptors.values, faces.descriptors.values]
        few = min(map(len, both))
        if few < FEW_FOUND:
            raise UserError(
                f"Distributions of descriptors need {FEW_FOUND} faces or more that are found. "
                f"Found: {few}."
            )
        return _compared(function, *both)

    return compute


def _compared(function: Callable[..., float], real: np.ndarray, faces: np.ndarray) -> Value:
    with warnings.catch_warnings():
        # That few faces are too few for a Frechet distance: how many they were stands in the
        # protocol.
        warnings.simplefilter("ignore", UserWarning)
        value, std = bootstrap(function, real, faces, resamples=10, replace=False)
    return Value(float(value), float(std))


def _inception_score(faces: Faces, real: Faces) -> Value:
    return Value(*inception_score(faces.inception[1]))


def _on_features(function: Callable[..., float], need: str) -> Callable[[Faces, Faces], Value]:
    """Return a score that compares a network's features of faces with those of real ones."""

    def compute(faces: Faces, real: Faces) -> Value:
        return _compared(function, getattr(real, need)[0], getattr(faces, need)[0])

    return compute


def _kernel_distance(need: str) -> Callable[[Faces, Faces], Value]:
    def compute(faces: Faces, real: Faces) -> Value:
        # Subsets of 1000 as published, or of half of what there is.
        size = min(1000, max(2, min(len(real), len(faces)) // 2))
        both = getattr(real, need)[0], getattr(faces, need)[0]
        return Value(*kernel_distance(*both, subset_size=size))

    return compute


class Score(NamedTuple):
    """How one score is computed and shown.

    Attributes:
        title: What tables call it.
        features: What of the faces it is computed from, one of `FEATURES`.
        compute: Callable of the faces to score and the real ones, returning a `Value`; in
            `COPY_SCORES`, of real faces and their reconstructions.
        form: Format of the value in tables.
        better: `"higher"`, `"lower"`, or `"real"` for the nearer to the real faces' own.
        compares: Whether it compares with the real faces. Of these, one half is then compared with
            the other.
    """

    title: str
    features: str
    compute: Callable[[Faces, Faces], Value]
    form: str = ".1f"
    better: str = "higher"
    compares: bool = False


def _share(title: str, need: str, name: str) -> Score:
    """Return precision, recall, density or coverage on features as a score."""
    both = name in ("precision", "recall")
    function = precision_recall if both else density_coverage
    share = lambda real, faces: getattr(function(real, faces), name)  # noqa: E731
    compute = _on_descriptors(share) if need == "descriptors" else _on_features(share, need)
    return Score(title, need, compute, ".2f", compares=True)


SHARES = ("precision", "recall", "density", "coverage")

SCORES = {
    "face_detection_rate": Score(
        "face detection rate", "detector", lambda faces, real: _of_each(faces.found), ".1%"
    ),
    "laplacian_variance": Score(
        "laplacian variance", "pixels", lambda faces, real: _of_each(faces.sharpness), better="real"
    ),
    "laplacian_variance_ratio": Score(
        "its ratio to real", "pixels", _sharpness_ratio, ".2f", "real"
    ),
    "mean_pair_difference": Score(
        "mean pair difference",
        "pixels",
        lambda faces, real: _of_groups(mean_pair_difference, faces.images),
        better="real",
    ),
    "distinct_nearest": Score("distinct nearest", "pixels", _distinct_nearest, ".0f"),
    "effective_nearest": Score("effective nearest", "pixels", _effective_nearest, ".0f"),
    "unidentified": Score(
        "detected, not identified", "descriptors", _unidentified, ".1%", "real", compares=True
    ),
    "near_duplicates": Score(
        "near duplicates", "descriptors", _near_duplicates, ".1%", better="lower"
    ),
    "nearest_distance": Score(
        "distance to nearest", "descriptors", _nearest_training, ".3f", "real", compares=True
    ),
    "frechet_descriptor_distance": Score(
        "Frechet distance (dlib)",
        "descriptors",
        _on_descriptors(frechet_distance),
        ".3f",
        "lower",
        compares=True,
    ),
    "descriptor_precision": _share("precision (dlib)", "descriptors", "precision"),
    "descriptor_recall": _share("recall (dlib)", "descriptors", "recall"),
    "inception_score": Score("Inception Score (keras)", "inception", _inception_score, ".3f"),
    "frechet_inception_distance": Score(
        "FID (keras)",
        "inception",
        _on_features(frechet_distance, "inception"),
        better="lower",
        compares=True,
    ),
    "kernel_inception_distance": Score(
        "KID (keras)", "inception", _kernel_distance("inception"), ".4f", "lower", compares=True
    ),
    **{name: _share(f"{name} (keras)", "inception", name) for name in SHARES},
    "frechet_backbone_distance": Score(
        "Frechet distance (backbone)",
        "backbone",
        _on_features(frechet_distance, "backbone"),
        ".2f",
        "lower",
        compares=True,
    ),
    "kernel_backbone_distance": Score(
        "KID (backbone)", "backbone", _kernel_distance("backbone"), ".4f", "lower", compares=True
    ),
    **{f"backbone_{name}": _share(f"{name} (backbone)", "backbone", name) for name in SHARES},
}

# What is scored at the end of training and while it lasts: a thousand samples in a few seconds.
CHEAP_SCORES = [name for name, score in SCORES.items() if score.features in ("pixels", "detector")]


def score(
    model,
    stream: FaceStream,
    count: int = 1000,
    seed: int = 0,
    samplers: str | Sequence[str] | None = None,
    scores: str | Sequence[str] | None = None,
    inception=None,
    progress: bool = False,
    backbone=None,
) -> dict:
    """Score a model's samples beside real faces.

    Args:
        model: A `FaceModel`.
        stream: The real faces to compare with.
        count: Samples to generate, and at most that many real faces.
        seed: Seed of the samples and of the choice of real faces.
        samplers: The model's samplers to score, or one; None scores all that can be used.
        scores: Keys of `SCORES`, or one; None computes all for which nothing is missing: those on
            face descriptors need the extra `identity`, those on Inception's features its weights.
        inception: An `InceptionFeatures` to use again, or a path of weights; None makes one.
        progress: Show a progress bar.
        backbone: A `BackboneFeatures`, or its place: `clip:FILE.onnx` or `dinov2:FILE.onnx`. None
            leaves the scores on it out.

    Returns:
        Dict with `"protocol"`, all that makes two scores comparable; `"needs"`, what some scores
        need besides; `"rows"`, a dict of `{"value", "std"}` for every score, for `"real"` and for
        each sampler; and `"not_computed"`, scores that are not there, or not in some row, and why.
        The standard error is None where none is known. Where a score compares with real faces,
        `"real"` compares one half of them with the other.

    Raises:
        UserError: If a name is unknown or there are too few faces.
    """
    wanted = resolve_scores(scores)
    if count < 2:
        raise UserError(f"Scores need 2 samples or more. Received: count={count}.")
    if not isinstance(stream, FaceStream):
        raise UserError(
            "Expected the real faces as kf.data.open_faces gives them. "
            f"Received: {type(stream).__name__}."
        )
    networks, not_computed = _without_what_is_missing(wanted, inception, backbone)
    wanted = [name for name in wanted if name not in not_computed]
    needed = {SCORES[name].features for name in wanted}
    real = Faces(model.originals(count, seed, stream), networks, kept=True)
    sets = {"real": real}
    for sampler in as_list(samplers) or model.usable_samplers:
        samples = model.samples(count, seed, sampler, stream)
        if samples.shape[1:] != real.images.shape[1:]:
            raise UserError(
                "Only faces of one size can be scored beside each other. Received: samples of "
                f"{samples.shape[1:]}, real faces of {real.images.shape[1:]}."
            )
        sets[sampler] = Faces(samples, networks)
    rows: dict[str, dict] = {row: {} for row in sets}
    bar = tqdm(
        [(name, row) for name in wanted for row in sets],
        desc="Scoring",
        unit=" scores",
        disable=None if progress else True,
    )
    seen = "descriptors" if "descriptors" in needed else "detector"
    for name, row in bar:
        bar.set_postfix_str(f"{SCORES[name].title}, {row}")
        try:
            _look_once(SCORES[name], list(sets.values()), seen)
            value = _computed(SCORES[name], row, sets[row], real)
        except UserError as error:  # of these pictures; others may have it
            value = Value(None)
            reasons = [not_computed[name]] if name in not_computed else []
            not_computed[name] = " ".join([*reasons, f"{row}: {error}"])
        rows[row][name] = value._asdict()
    return {
        "format": FORMAT,
        "protocol": _protocol(
            model, stream, len(real), max(len(sets[row]) for row in sets if row != "real"), seed
        ),
        "needs": {need: feature_protocol(need, networks) for need in FEATURES if need in needed},
        "rows": rows,
        "not_computed": not_computed,
    }


def _look_once(chosen: Score, sets: list[Faces], need: str) -> None:
    """Let dlib look at all sets at once, for this score and those that follow."""
    if chosen.features in ("detector", "descriptors"):
        with contextlib.suppress(UserError):  # which the score itself raises, if it needs it
            look(sets, need)


def _without_what_is_missing(wanted: Sequence[str], inception, backbone) -> tuple[dict, dict]:
    """Return networks that are needed and here, and why which scores cannot be computed."""
    from keras_faces.metrics.inception import InceptionFeatures

    needed = {SCORES[name].features for name in wanted}
    networks, reasons = {"inception": inception, "backbone": backbone}, {}
    if "inception" in needed and not callable(inception):
        try:
            networks["inception"] = InceptionFeatures(inception)
        except NotComputed as error:
            reasons["inception"] = str(error)
    if "backbone" in needed and backbone is None:
        reasons["backbone"] = f"No backbone was given (evaluate --backbone FILE). {HOW}"
    elif "backbone" in needed and not callable(backbone):
        networks["backbone"] = BackboneFeatures(backbone)
    for need in needed & {"detector", "descriptors"}:
        try:
            require(need)
        except UserError as error:
            reasons[need] = str(error)
    needs = {name: SCORES[name].features for name in wanted}
    return networks, {name: reasons[need] for name, need in needs.items() if need in reasons}


def _of_pairs(function: Callable) -> Callable[[Faces, Faces], Value]:
    return lambda faces, copies: _of_each(function(faces.images, copies.images))


def _psnr(faces: Faces, copies: Faces) -> Value:
    values = reconstruction.psnr(faces.images, copies.images)
    if np.isinf(values).any():
        raise UserError(
            f"{np.isinf(values).sum()} copies are their faces, so their PSNR is infinite."
        )
    return _of_each(values)


def _descriptor_distance(faces: Faces, copies: Faces) -> Value:
    return _of_each(reconstruction.distances_of(faces.descriptors, copies.descriptors).values)


COPY_SCORES = {
    "mean_squared_error": Score(
        "mean squared error", "pixels", _of_pairs(reconstruction.mean_squared_error), ".1f"
    ),
    "psnr": Score("PSNR (dB)", "pixels", _psnr, ".2f"),
    "ssim": Score("SSIM", "pixels", _of_pairs(reconstruction.ssim), ".3f"),
    "face_detection_rate": Score(
        "face detection rate", "detector", lambda faces, copies: _of_each(copies.found), ".1%"
    ),
    "descriptor_distance": Score("descriptor distance", "descriptors", _descriptor_distance, ".3f"),
}


def score_copies(
    model, stream: FaceStream, count: int = 1000, seed: int = 0, quick: bool = False
) -> dict | None:
    """Score a model's reconstructions of real faces.

    Args:
        model: A `FaceModel`.
        stream: The real faces.
        count: How many to reconstruct, at most.
        seed: Seed of their choice.
        quick: Whether to leave out what takes long: descriptors.

    Returns:
        Dict with `"protocol"`, `"needs"`, `"scores"`, a dict of `{"value", "std"}` for every score,
        and `"not_computed"`, why one has no value; or None where the model reconstructs nothing.
    """
    found = model.faces_and_copies(count, seed, stream)
    if found is None:
        return None
    usable = ["pixels", "detector"]
    if not quick and identity.is_installed():
        usable.append("descriptors")
    wanted = [name for name, chosen in COPY_SCORES.items() if chosen.features in usable]
    if min(stream.image_shape[:2]) < reconstruction.WINDOW:
        wanted.remove("ssim")
    originals, copies = Faces(found[0], kept=True), Faces(found[1])
    records, not_computed = {}, {}
    for name in wanted:
        try:
            _look_once(COPY_SCORES[name], [originals, copies], usable[-1])
            records[name] = COPY_SCORES[name].compute(originals, copies)
        except UserError as error:
            records[name] = Value(None)
            not_computed[name] = str(error)
    return {
        "format": FORMAT,
        "protocol": _protocol(model, stream, len(originals), len(copies), seed),
        "needs": {need: feature_protocol(need) for need in usable},
        "scores": {name: record._asdict() for name, record in records.items()},
        "not_computed": not_computed,
    }


def sketches_in(stream: FaceStream) -> str:
    """Return whose the sketches of a stream's photos are, as a protocol records it."""
    return "sketches of its own" if stream.labels == "sketch" else "sketches by the pencil filter"


def _protocol(model, stream: FaceStream, real: int, generated: int, seed: int) -> dict:
    # Of what is no photo, where its sketches came from is a part of what was compared.
    drawn = {} if model.makes == "photo" else {"pictures": sketches_in(stream)}
    return {**stream.protocol, **drawn, "real": real, "generated": generated, "seed": seed}


def _computed(chosen: Score, row: str, faces: Faces, real: Faces) -> Value:
    if row == "real" and chosen.compares:
        faces, real = real.halves(chosen.features)
    return chosen.compute(faces, real)


def as_list(names: str | Sequence[str] | None) -> list[str]:
    """Return names as a list, of which a single one may be given by itself; None gives none."""
    return [names] if isinstance(names, str) else list(names or ())


def resolve_scores(scores: str | Sequence[str] | None) -> list[str]:
    """Return the names of scores to compute, each once.

    Args:
        scores: Keys of `SCORES`, or one; None for all for which nothing is missing.

    Raises:
        UserError: If a name is unknown.
    """
    if scores is None:
        from keras_faces.metrics.inception import local_weights

        left_out = ["backbone"] if local_weights() else ["backbone", "inception"]
        if not identity.is_installed():
            left_out.append("descriptors")
        return [name for name, score in SCORES.items() if score.features not in left_out]
    for name in as_list(scores):
        if name not in SCORES:
            raise unknown_name("score", name, SCORES)
    return list(dict.fromkeys(as_list(scores)))


def better(name: str, value: float | None, other: float | None, real: float) -> bool:
    """Return whether a score is better than another; any is better than none.

    Args:
        name: A key of `SCORES`.
        value: One score, or None where there was none.
        other: The other.
        real: The same score of real faces.
    """
    if value is None or other is None:
        return value is not None
    return shortfall(name, value, real) < shortfall(name, other, real)


def shortfall(name: str, value: float, real: float | None) -> float:
    """Return a number that is lower the better a score is, in the score's own unit.

    Args:
        name: A key of `SCORES`.
        value: The score.
        real: The same score of real faces.
    """
    direction = SCORES[name].better
    if direction == "real":
        return abs(value - real)
    return -value if direction == "higher" else value
