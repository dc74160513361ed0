"""A trained model, the faces it learnt from, and pictures as it was trained to see them."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from keras_faces.data import labels_of, open_faces, open_source
from keras_faces.data.crops import get_crop
from keras_faces.data.decode import MAX_PIXELS, BadPicture
from keras_faces.data.sources import as_recorded
from keras_faces.data.sources.base import SourceLike, each
from keras_faces.detection.framing import ORL_FRAME, Frame, measured_frame
from keras_faces.errors import UserError
from keras_faces.metrics import identity
from keras_faces.metrics.faces import Faces
from keras_faces.pixels import to_float, to_uint8
from keras_faces.runs import Run, find
from keras_faces.saving import load_model
from keras_faces.trained.pictures import (
    WAY_OUT,
    FramedFace,
    Picture,
    decode_cropped,
    decode_whole,
    find_face,
    read_picture,
)

MEASURED_FACES = 64
FEWEST_DESCRIPTORS = 20  # that say how far faces lie from each other
LEAST_CONTRAST = 0.05  # standard deviation, six grey levels: even pictures have none
CLEARLY = 1.05  # times the worst error of faces that are known to be some
UNLIKE = "This picture is unlike the model's training faces"
UNKNOWN_FRAME = " (Where faces lay in training is not known here, so as in the ORL faces.)"

# Keras keeps state of the whole process, and more threads than cores make nothing quicker.
keras_lock = threading.RLock()


class TrainedModel:
    """A trained model together with its training faces, which can also frame any photo for it.

    A model only knows faces framed like its training faces. `face` therefore finds the face in a
    photo and frames it in the same way, see `keras_faces.detection.framing`. The command line and
    the web page use it too. Everything is loaded on first use, by one thread at a time.

    Args:
        run: A run folder, a `.keras` file, or the name of a model in `saved_models/`.
        model: The model, if it is already loaded.

    Attributes:
        name: The name that was given.
        path: The path of the run or file.
        run: The run that the path belongs to; a `.keras` file may have none.
        max_pixels: Pictures with more pixels are refused before they are decoded.

    Example:

    ```python
    trained = kf.TrainedModel("vae-orl-64")
    face, note = trained.face("photo.jpg")      # float32 of shape (64, 64, 1) in [-1, 1]
    copy = trained.model.reconstruct(face[None])
    glasses = trained.faces("attributes")       # its training faces, with attributes
    ```
    """

    max_pixels = MAX_PIXELS

    def __init__(self, run: str | os.PathLike, model=None):
        self.name = os.fspath(run)
        self.path = find(run)
        self.run = Run(self.path if self.path.is_dir() else self.path.parent)
        self._guard = threading.Lock()
        self._locks: dict = {}
        self._cached: dict = {} if model is None else {"model": model}

    def cached(self, key, compute: Callable):
        """Return what `compute` gives, computed by the first who asks while others wait."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.RLock())
        with lock:
            if key not in self._cached:
                self._cached[key] = compute()
            return self._cached[key]

    def use(self, function: Callable, *arguments, **named):
        """Call a function that uses Keras while no other thread does."""
        with keras_lock:
            return function(*arguments, **named)

    @property
    def model(self):
        """The model, ready to generate."""
        return self.cached("model", lambda: self.use(load_model, self.path))

    # The faces it learnt from.

    @property
    def data_config(self) -> dict:
        """What the run recorded of its faces; empty where there is no run."""
        own = self.path.is_dir() or self.path in (self.run.model_path, self.run.best_path)
        if not own or not self.run.exists:
            return {}
        return self.cached("data_config", lambda: self.run.config()["data"] or {})

    @property
    def crop(self) -> str:
        """The crop that the model was trained with, or the default one where that is not known."""
        return self.data_config.get("crop", "center")

    @property
    def source(self):
        """The source that the model learnt from.

        Raises:
            UserError: If it is not known or cannot be opened.
        """
        if "source" not in self.data_config:
            raise UserError(
                f"The faces that {self.name!r} was trained on are not recorded beside it."
            )
        try:
            return open_source(as_recorded(self.data_config["source"]))
        except UserError as error:
            raise UserError(
                f"The faces that {self.name!r} was trained on cannot be opened here: {error}"
            ) from error

    def faces(
        self,
        labels: str | None = None,
        data: SourceLike | None = None,
        split: str | None = None,
        people: str | None = None,
        faces: str | None = None,
        per_photo: str | None = None,
    ):
        """Return the faces that the model learnt from, or others, as it was trained to see them.

        Args:
            labels: Kind of their labels, as in `kf.data.load`; None takes those that the model
                learnt from or, of other faces, those that are its conditions.
            data: Another source of faces, or several.
            split: Another split of them.
            people: What the folders of other faces are, as in `kf.data.load`.
            faces: How they are taken from photographs, as in `kf.data.load`.
            per_photo: Which of a photograph's faces, as in `kf.data.load`.

        Returns:
            A `kf.data.FaceStream`.

        Raises:
            UserError: If they are not known or cannot be opened.
        """

        def opened():
            model, config = self.model, self.data_config
            where = self.source if data is None else data
            source = open_source(where, people, faces, per_photo)
            kind = labels
            if kind is None:
                kind = config.get("labels") if data is None else _labels_for(model, source)
            return open_faces(
                source,
                image_size=model.image_size,
                batch_size=1,
                split=split or config.get("split", "all"),
                crop=self.crop,
                channels=model.channels,
                test_fraction=config.get("test_fraction", 0.1),
                labels=kind,
            )

        key = data if data is None else tuple(each(data))
        chosen = (people, faces, per_photo)
        return self.cached(("faces", labels, key, split, *chosen), opened)

    # Pictures.

    def face(
        self, picture: Picture, already_cropped: bool | None = None, crop: str | None = None
    ) -> FramedFace:
        """Return the face of a picture as the model was trained to see it.

        Of several faces the largest is found, and framed as the training faces were. A picture that
        is one of these, or shows a face just as they do, comes as training saw it; one of the size
        of the model's faces is left as it is.

        Args:
            picture: A path, the bytes of a file, a Pillow image, or an array: uint8, or floats in
                [-1, 1], of shape `(height, width)` or `(height, width, 1 or 3)`.
            already_cropped: Whether the picture shows nothing but a face: then none is looked for,
                a square picture is only resized, and another is cropped as in training. None
                means so of models that take sketches, since these show no face to be found.
            crop: One of `kf.data.CROPS` to be used instead of looking for a face.

        Returns:
            A `FramedFace`: the face, float32 of shape `(image_size, image_size, channels)` in
            [-1, 1], and a note that says what was done. Where the faces it learnt from can be
            opened, the note also says whether the face lies far outside of them, by 64 that
            training held out or, where it held out none, 64 that it learnt from: whether it is
            reconstructed worse (of models with an encoder and without conditions), and whether its
            descriptor is farther from those that it learnt from (where dlib is installed).

        Raises:
            UserError: If it is no picture that can be used, or no face is found.
        """
        if crop is not None and already_cropped is not None:
            raise UserError(
                f"Say how pictures are to be cropped (crop {crop!r}), or whether they are already "
                "cropped, not both."
            )
        model, size = self.model, self.model.image_size
        if already_cropped is None:
            already_cropped = crop is None and "photo" in model.translates_to
        get_crop(crop or self.crop)
        name, data = read_picture(picture)
        note = "Taken as already cropped." if already_cropped else f"Cropped by {crop!r}."
        try:
            pixels = decode_whole(data, model.channels, self.max_pixels)
            height, width = pixels.shape[:2]
            if already_cropped:
                # A square one went through the crop before; some would look for a larger picture.
                crop = "center" if height == width else self.crop
            if crop is not None:
                return self._judged(to_float(decode_cropped(data, pixels, crop, size)), note)
        except BadPicture as error:
            raise UserError(f"Cannot use {name}: {error}.") from error
        if height == width == size:
            return self._judged(to_float(pixels), "It has the size of the model's faces already.")
        cropped = None
        with contextlib.suppress(BadPicture):
            cropped = decode_cropped(data, pixels, self.crop, size)
            if self._learnt_from(cropped):
                return FramedFace(to_float(cropped), "It is one of the training pictures.")
        frame, note = self.frame
        framed = find_face(pixels, size, self.crop, frame, cropped, self._reconstruction_error())
        if framed is None:
            raise UserError(
                f"No face was found in {name}. Use a picture of a face that looks at the camera, "
                f"upright and well lit. {WAY_OUT}"
            )
        return self._judged(framed.face, framed.note + note)

    def _judged(self, face, note) -> FramedFace:
        return FramedFace(face, " ".join([note, *self._unlike_the_known(face)]))

    def _unlike_the_known(self, face) -> list[str]:
        """Return what is to be said where a face lies far outside of what the model has learnt."""
        reasons = [*self._badly_copied(face), *self._like_nobody(face)]
        if not reasons:
            return []
        told = "; ".join(reasons)
        return [f"{UNLIKE}: {told}."]

    def _badly_copied(self, face) -> Iterator[str]:
        """Say if a face's reconstruction is worse than those of faces that the model knows."""
        error = self._reconstruction_error()
        if error is None or (known := self.known) is None:
            return
        worst = self.cached("worst error", lambda: _to_contrast(error, known.others).max(axis=0))
        times = (_to_contrast(error, face[None]) / worst).max()
        if times >= CLEARLY:
            yield (
                f"its reconstruction error is {times:.1f} times that of the worst of "
                f"{len(known.others)} {known.told}"
            )

    def _like_nobody(self, face) -> Iterator[str]:
        """Say if a face's descriptor is far from all that the model learnt from."""
        if not identity.is_installed() or (known := self.known) is None:
            return
        described = identity.face_descriptors(face[None])
        if not described.found.all():
            return
        learnt, others = self.cached("descriptors", lambda: _descriptors(known))
        if min(len(learnt), len(others)) < FEWEST_DESCRIPTORS:
            return
        distance = cdist(described.values, learnt).min()
        worst = cdist(others, learnt).min(axis=1).max()
        if distance >= CLEARLY * worst:
            yield (
                f"its face descriptor lies {distance:.2f} from the nearest of {len(learnt)} "
                f"training faces (for {len(others)} {known.told}, that is {worst:.2f} at most)"
            )

    @property
    def known(self) -> "KnownFaces | None":
        """Faces that the model should know; None where they are not here."""

        def sampled():
            held_out = {"train": "test", "test": "train"}.get(self.data_config.get("split", "all"))
            with contextlib.suppress(UserError):
                first, rest = np.split(self.faces().sample(2 * MEASURED_FACES), [MEASURED_FACES])
                if held_out is None:
                    return KnownFaces(rest, first, "training faces")
                others = self.faces(split=held_out).sample(MEASURED_FACES)
                return KnownFaces(first, others, "held-out faces")
            return None

        return self.cached("known", sampled)

    def _learnt_from(self, face) -> bool:
        with contextlib.suppress(UserError):  # the faces are not here
            return self.faces().cache.holds(face)
        return False

    @property
    def frame(self) -> tuple[Frame, str]:
        """Where faces lie in its training faces, and what to say where that is not known."""
        return self.cached("frame", self._measured)

    def _measured(self):
        if self.data_config.get("source") == "orl" and self.crop == "center":
            return ORL_FRAME, ""
        frame = None
        with contextlib.suppress(UserError):
            frame = measured_frame(to_uint8(self.faces().sample(MEASURED_FACES)))
        return (ORL_FRAME, UNKNOWN_FRAME) if frame is None else (frame, "")

    def _reconstruction_error(self) -> Callable | None:
        model = self.model
        # Of a conditional model it depends on what holds of the face, which is said elsewhere.
        if not model.reconstructs or model.conditional:
            return None

        def error(faces):
            copies = self.use(model.reconstruct, faces)
            return np.square(copies - faces).mean(axis=(1, 2, 3))

        return error


class KnownFaces(NamedTuple):
    """Faces by which is judged what lies far outside of what a model has learnt.

    Attributes:
        learnt: Faces that it learnt from.
        others: Faces that training held out or, where it held out none, others that it learnt from.
        told: What the others are.
    """

    learnt: np.ndarray
    others: np.ndarray
    told: str


def _descriptors(known: KnownFaces) -> list[np.ndarray]:
    # They take seconds, so they are kept for the next time.
    return [Faces(faces, kept=True).descriptors.values for faces in (known.learnt, known.others)]


def _to_contrast(error: Callable, faces: np.ndarray) -> np.ndarray:
    """Return the reconstruction errors of faces over their standard deviations and variances.

    The error alone is small of pictures with little contrast, as a share of the variance it is
    small of those with much. Noise stands out by the second, a face on its head by the first.

    Returns:
        An array of shape `(count, 2)`.
    """
    contrast = np.maximum(faces.std(axis=(1, 2, 3)), LEAST_CONTRAST)
    return (error(faces) / np.stack([contrast, contrast**2])).T


def _labels_for(model, source) -> str | None:
    """Return the kind of labels of a source that are a model's conditions, or any it has."""
    if model.translates_to and source.sketches() is not None:
        return "sketch"
    found = None
    for kind in ("attributes", "identity") if model.conditional else ():
        with contextlib.suppress(UserError):
            _, names = labels_of(source, kind)
            if found is None or names == model.condition_names:
                found = kind
    return found
