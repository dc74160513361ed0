"""Who faces resemble: dlib's face descriptors, Zhang et al.'s table 1, duplicates, memorisation.

A descriptor is 128 numbers that dlib's network computes of a face, so that those of one person's
photographs lie near each other (http://dlib.net/face_recognition.py.html). It is computed as the
Face_recognition project does (https://github.com/ageitgey/face_recognition, `face_encodings` with
its defaults): HOG detector on the picture doubled in size once, five landmarks, no jitter. Where
the detector finds several faces, the first counts, of which it is most certain.

What a match means depends on how many faces one compares with. Among the 40 people of the ORL
faces, photographs of two different people lie within the project's tolerance of 0.6 in one pair of
40, and still more than half of these people have a stranger so near: a sample that is "identified"
among thousands of training faces need not resemble anybody. Read it beside real faces of people who
are not in the training set.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist

from keras_faces.detection.detector import UPSAMPLED, frontal_detector, import_dlib, to_rgb
from keras_faces.errors import UserError, require_at_least
from keras_faces.metrics.detection import FEW_PIXELS
from keras_faces.metrics.dlib_network import NUMBERS, describe_chips, read_weights
from keras_faces.optional import data_file
from keras_faces.parallel import over_pictures
from keras_faces.pictures import rows_grid
from keras_faces.pixels import check

FIVE_POINTS = "shape_predictor_5_face_landmarks.dat"
DESCRIPTOR_NET = "dlib_face_recognition_resnet_model_v1.dat"
TOLERANCE = 0.6  # the Face_recognition project's: up to it, two faces are one person's
DUPLICATE_TOLERANCE = 0.12  # see `near_duplicates`
CHUNK = 2**22  # distances at a time, 32 MB
LANDMARKS = 5  # of a face, by which it is turned upright and cut out

# The columns of Zhang et al.'s table 1, as it words them, and the one that it leaves out.
COLUMNS = {
    "undetected": "Can't detect face",
    "unidentified": "Can detect faces but can't identify who",
    "identified": "Identified",
}

# SHA-256 of the files that come with face_recognition_models 0.3.
PUBLISHED = {
    DESCRIPTOR_NET: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    FIVE_POINTS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
}


def model_file(name: str) -> Path:
    """Return where a model of dlib's lies that comes with the package `face_recognition_models`.

    The package is found without being imported, since it needs `pkg_resources`, which setuptools
    no longer has.

    Raises:
        UserError: If the package is not installed.
    """
    return data_file(
        "face_recognition_models", "models", name, purpose=f"{name}, a model of dlib's,"
    )


def protocol() -> str:
    """Return how descriptors are computed, and by which files, as a protocol records it.

    Raises:
        UserError: If the files are not installed.
    """
    sums = {name: _sha256(model_file(name)) for name in PUBLISHED}
    if sums == PUBLISHED:
        return f"face_recognition_models 0.3: {', '.join(sums)}, first face, no jitter"
    told = ", ".join(f"{name} (SHA-256 {digest})" for name, digest in sums.items())
    return f"{told}, first face, no jitter"


@functools.lru_cache(maxsize=2)
def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require() -> None:
    """Refuse to begin without dlib and its models.

    Raises:
        UserError: If one is not installed.
    """
    import_dlib()
    for name in (FIVE_POINTS, DESCRIPTOR_NET):
        model_file(name)


def is_installed() -> bool:
    """Return whether dlib and its models are here."""
    try:
        require()
    except UserError:
        return False
    return True


class Descriptors(NamedTuple):
    """Face descriptors of pictures.

    Attributes:
        found: Whether a face was found, of shape `(count,)`.
        values: The descriptors of those pictures, in their order: float64 of shape `(found, 128)`.
    """

    found: np.ndarray
    values: np.ndarray


class Identification(NamedTuple):
    """How many samples were identified; `COLUMNS` says what tables call the counts.

    Attributes:
        undetected: Samples in which no face is found.
        unidentified: Samples with a face that is near no training face.
        identified: Samples with a face that is near one.
    """

    undetected: int
    unidentified: int
    identified: int


class NearestTraining(NamedTuple):
    """The nearest training face of each sample in which a face is found.

    Attributes:
        samples: Positions of these samples among all, of shape `(found,)`.
        training: Position of the nearest among all training faces, of shape `(found,)`.
        distances: Distance of the two descriptors, float64 of shape `(found,)`.
    """

    samples: np.ndarray
    training: np.ndarray
    distances: np.ndarray


def face_descriptors(faces: np.ndarray, processes: int | None = None) -> Descriptors:
    """Return dlib's descriptor of each face in which the detector finds one.

    The pictures in which it finds one are those of `detected`, so whoever needs both has both.

    Args:
        faces: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.
        processes: Processes to work in; None takes one for each core where it pays.

    Returns:
        `Descriptors`; without rows where no face is found at all.

    Raises:
        UserError: If faces are not such an array, or dlib or its models are not installed.
    """
    return describe(to_rgb(faces), processes)


def describe(images: np.ndarray, processes: int | None = None) -> Descriptors:
    """Return the same of uint8 pictures of three channels."""
    _load_landmarks()  # what is missing or damaged is told now, and not by a process
    weights = _load(read_weights, model_file(DESCRIPTOR_NET))
    landmarks = over_pictures(_find, images, processes, FEW_PIXELS // images[0, ..., 0].size)
    found = ~np.isnan(landmarks[:, 0, 0])
    chips = (_chip(images[face], landmarks[face]) for face in np.flatnonzero(found))
    return Descriptors(found, describe_chips(chips, weights))


def identification(
    samples: Descriptors, training: Descriptors, tolerance: float = TOLERANCE
) -> Identification:
    """Count samples as Zhang et al.'s table 1 does.

    A sample is identified where its descriptor lies within `tolerance` of that of any training
    face, as the Face_recognition project's `compare_faces` decides. The paper does not say with
    whom it compared.

    Args:
        samples: Descriptors of the samples.
        training: Descriptors of the training faces.
        tolerance: Greatest distance of one person's faces.

    Returns:
        `Identification`, whose counts sum to the number of samples. Samples without any face are a
        result: all are undetected.

    Raises:
        UserError: If no face was found in the training faces, or the tolerance is below 0.
    """
    require_at_least(0, tolerance=tolerance)
    _require_faces("training faces", training)
    found, count = len(_checked(samples).values), len(samples.found)
    identified = 0
    if found:
        _, distances = _nearest(samples.values, training.values)
        identified = int((distances <= tolerance).sum())
    return Identification(count - found, found - identified, identified)


def near_duplicates(descriptors: Descriptors, tolerance: float = DUPLICATE_TOLERANCE) -> float:
    """Return the share of samples that nearly repeat another one: a sign of collapse.

    Of the samples in which a face is found, those count whose descriptor lies within `tolerance` of
    another sample's. The more samples, the more have a neighbour so near: compare equal numbers.

    The tolerance of 0.12 comes from the ORL faces, 10 photographs each of 40 people, their middle
    square (rows 10 to 101) resized by Lanczos to 64 (128) pixels. Every 16th face found was changed
    so that people take it for the same picture: Gaussian noise with a deviation of one grey level,
    5 levels brighter, or moved by one pixel. Within 0.12 of the original lie 100%, 100% and 96%
    (92%, 96% and 100%). Of the photographs themselves 2.6% (3.5%) have another one so near, always
    of the same person; different people are 0.45 (0.44) apart or more. So a set that repeats
    nothing scores a few per cent. Noise of three levels is beyond it at 64 pixels.

    Args:
        descriptors: Descriptors of samples.
        tolerance: Greatest distance of near-duplicates.

    Returns:
        A share between 0 and 1.

    Raises:
        UserError: If a face was found in fewer than two samples, or the tolerance is below 0.
    """
    require_at_least(0, tolerance=tolerance)
    values = _checked(descriptors).values
    if len(values) < 2:
        raise UserError(
            "Near-duplicates need two samples or more in which a face is found. "
            f"Found: {len(values)} of {len(descriptors.found)}."
        )
    _, distances = _nearest(values, values, but_itself=True)
    return float((distances <= tolerance).mean())


def nearest_training(samples: Descriptors, training: Descriptors) -> NearestTraining:
    """Return the training face that each sample resembles most: a look for memorised ones.

    Args:
        samples: Descriptors of the samples.
        training: Descriptors of the training faces.

    Returns:
        `NearestTraining`, for the samples in which a face is found.

    Raises:
        UserError: If no face was found in the samples or in the training faces.
    """
    _require_faces("samples", samples)
    _require_faces("training faces", training)
    nearest, distances = _nearest(samples.values, training.values)
    return NearestTraining(
        np.flatnonzero(samples.found), np.flatnonzero(training.found)[nearest], distances
    )


def pairs_picture(
    samples: np.ndarray,
    training: np.ndarray,
    count: int = 20,
    nearest: NearestTraining | None = None,
) -> Image.Image:
    """Draw samples over the training faces that they resemble most, the closest pairs first.

    Args:
        samples: Faces of shape `(count, height, width, channels)`, float in [-1, 1] or uint8.
        training: Training faces of the same size.
        count: Pairs to draw, at most.
        nearest: What `nearest_training` returned of these; None computes it.

    Raises:
        UserError: If these are not such faces, their sizes differ, `nearest` is of others, no face
            is found in them, or dlib or its models are not installed.
    """
    samples, training = check(samples), check(training)
    if samples.shape[1:] != training.shape[1:]:
        raise UserError(
            "Only faces of one size can be shown beside each other. "
            f"Received: samples of {samples.shape[1:]}, training faces of {training.shape[1:]}."
        )
    require_at_least(1, count=count)
    if nearest is None:
        nearest = nearest_training(face_descriptors(samples), face_descriptors(training))
    elif nearest.samples.max() >= len(samples) or nearest.training.max() >= len(training):
        raise UserError(
            f"These are not the faces that were compared: {len(samples)} samples and "
            f"{len(training)} training faces, of which others are the nearest than there are."
        )
    shown = np.argsort(nearest.distances, kind="stable")[:count]
    return rows_grid(samples[nearest.samples[shown]], training[nearest.training[shown]])


def _nearest(
    values: np.ndarray, others: np.ndarray, but_itself: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each descriptor the position of the nearest of others, and its distance."""
    rows = max(1, CHUNK // len(others))
    positions, nearest = [], []
    for start in range(0, len(values), rows):
        # Differences rather than inner products, which would hide small distances.
        distances = cdist(values[start : start + rows], others)
        if but_itself:
            numbers = np.arange(len(distances))
            distances[numbers, start + numbers] = np.inf
        positions.append(distances.argmin(axis=1))
        nearest.append(distances.min(axis=1))
    return np.concatenate(positions), np.concatenate(nearest)


def _require_faces(what: str, descriptors: Descriptors) -> None:
    if not len(_checked(descriptors).values):
        raise UserError(
            f"No face was found in any of the {len(descriptors.found)} {what}, so they cannot be "
            "compared. The detector overlooks faces that are small, turned or not yet like faces."
        )


def _checked(descriptors: Descriptors) -> Descriptors:
    if not isinstance(descriptors, Descriptors):
        raise UserError(
            "Expected what face_descriptors returns of faces. "
            f"Received: {type(descriptors).__name__}."
        )
    if descriptors.values.shape != (int(descriptors.found.sum()), NUMBERS):
        raise UserError(
            f"Expected a descriptor of {NUMBERS} numbers for each face found. Received: "
            f"{int(descriptors.found.sum())} found, descriptors of {descriptors.values.shape}."
        )
    # A distance to NaN is within no tolerance, so that it would count as a face unlike all.
    if not np.isfinite(descriptors.values).all():
        raise UserError("Expected what face_descriptors returns: some values are not finite.")
    return descriptors


def _find(images: np.ndarray) -> np.ndarray:
    """Return five landmarks for each picture, NaN where no face is found."""
    detect, predict = frontal_detector(), _load_landmarks()
    found = np.full((len(images), LANDMARKS, 2), np.nan)
    for landmarks, image in zip(found, images):
        image = np.ascontiguousarray(image)
        boxes = detect(image, UPSAMPLED)
        if len(boxes):
            landmarks[:] = [(point.x, point.y) for point in predict(image, boxes[0]).parts()]
    return found


def _chip(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the face upright, as dlib's network wants it: uint8 of shape `(150, 150, 3)`."""
    dlib = import_dlib()
    points = [dlib.point(int(x), int(y)) for x, y in landmarks]
    face = dlib.full_object_detection(dlib.rectangle(), points)
    return dlib.get_face_chip(np.ascontiguousarray(image), face, size=150, padding=0.25)


def _load_landmarks():
    """Return dlib's predictor of five landmarks."""
    return _load(import_dlib().shape_predictor, model_file(FIVE_POINTS))


@functools.lru_cache(maxsize=2)
def _load(read: Callable, path: Path):
    try:
        return read(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged, or not dlib's model of that name. Install it again: "
            "pip install --force-reinstall --no-deps face_recognition_models"
        ) from error
