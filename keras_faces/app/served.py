"""The models that the page serves, each loaded once and used by one thread at a time."""

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_faces.app.uploads import Upload, face_of
from keras_faces.data import labels_of, open_faces, open_source
from keras_faces.detection.framing import ORL_FRAME, Frame, measured_frame
from keras_faces.errors import UserError, unknown_name
from keras_faces.models import MODELS
from keras_faces.pixels import to_uint8
from keras_faces.runs import Run, find, training_data_facts
from keras_faces.saving import load_model

FOLDERS = ("saved_models", "runs")
MEASURED_FACES = 64
UNKNOWN_FRAME = " (Where faces lay in training is not known here, so as in the ORL faces.)"
KEPT_FACES = 64  # and latents of uploads, so that moving a slider does not look for them again

# Keras keeps state of the whole process, and more threads than cores make nothing quicker.
keras_lock = threading.RLock()


def find_models(folders: Sequence[str | os.PathLike] = FOLDERS) -> list[str]:
    """Return the models in folders: runs with a model or a checkpoint, and `.keras` files.

    Those known to have an encoder come first.

    Args:
        folders: Where to look, not deeper than one level.

    Raises:
        UserError: If there is none.
    """
    found = []
    for folder in map(Path, folders):
        if folder.is_dir():
            found += [str(path) for path in sorted(folder.iterdir()) if _holds_model(path)]
    if not found:
        raise UserError(
            f"There is no model in {' or '.join(f'{folder}/' for folder in folders)} of this "
            "folder. Name one: keras-faces serve RUN; or train one: keras-faces train vae"
        )
    # The page opens with the first: one that can do most.
    return sorted(found, key=lambda path: not _encodes(Path(path)))


def _encodes(path: Path) -> bool:
    with contextlib.suppress(UserError):  # a damaged run is told of where it is opened
        return hasattr(MODELS.get(Run(path).config()["model"]), "latents_from_faces")
    return False


def _holds_model(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        trained = (path / "model.keras").is_file() or any((path / "checkpoints").glob("*"))
        return trained and ((path / "config.json").is_file() or (path / "model.keras").is_file())
    return path.is_file() and path.suffix == ".keras"


class ServedModels:
    """The models that are served.

    Args:
        runs: Run folders, `.keras` files, or names of models in `saved_models/`.

    Raises:
        UserError: If one is not there.
    """

    def __init__(self, runs: Sequence[str | os.PathLike]):
        self.models = {name: Served(name) for name in dict.fromkeys(map(os.fspath, runs))}
        if not self.models:
            raise UserError("Give one model or more to serve. Received: none.")

    @property
    def names(self) -> list[str]:
        """Names of the models, as they were given."""
        return list(self.models)

    def __getitem__(self, name: str) -> "Served":
        if name not in self.models:
            raise unknown_name("model on this page", str(name), self.models)
        return self.models[name]


class Served:
    """One model, loaded when it is first asked for.

    Args:
        run: A run folder, a `.keras` file, or the name of a model in `saved_models/`.

    Raises:
        UserError: If it is not there.
    """

    def __init__(self, run: str):
        self.name = run
        self.path = find(run)
        if not _holds_model(self.path):
            what = "neither a run nor a model" if self.path.exists() else "not there"
            raise UserError(
                f"{run!r} is {what}. Give a run folder made by 'keras-faces train', a .keras file, "
                "or the name of a model in saved_models/."
            )
        # Beside a model's file lies what its run recorded.
        self.run = self.path if self.path.is_dir() else self.path.parent
        self._known: dict = {}
        self._remembered: OrderedDict = OrderedDict()
        self._guard = threading.Lock()

    @property
    def model(self):
        """The model, ready to generate."""
        return self.once("model", self._load)

    def _load(self):
        with keras_lock:
            return load_model(self.path)

    def once(self, key, compute: Callable):
        """Return what `compute` gives, computed by the first who asks while others wait."""
        with self._guard:
            place = self._known.setdefault(key, _Place())
        with place.lock:
            if not place.filled:
                place.value, place.filled = compute(), True
            return place.value

    def remembered(self, key: tuple, compute: Callable):
        """Return what `compute` gives; of what was last asked for `KEPT_FACES` are kept.

        Args:
            key: What it is of; bytes in it are kept as their SHA-256.
            compute: Called where it is not kept.
        """
        key = tuple(hashlib.sha256(k).digest() if isinstance(k, bytes) else k for k in key)
        with self._guard:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
        found = compute()
        with self._guard:
            self._remembered[key] = found
            while len(self._remembered) > KEPT_FACES:
                self._remembered.popitem(last=False)
        return found

    def use(self, function: Callable, *arguments, **named):
        """Call a function that uses Keras while no other thread does."""
        with keras_lock:
            return function(*arguments, **named)

    # What its run recorded.

    @property
    def facts(self) -> dict:
        """What the run recorded of its faces; empty where there is no run."""
        return training_data_facts(self.run) or {}

    @property
    def crop(self) -> str:
        """The crop that the model was trained with."""
        return self.facts.get("crop", "center")

    def source(self):
        """Return the source that the model learnt from.

        Raises:
            UserError: If it is not known or cannot be opened.
        """
        if "source" not in self.facts:
            raise UserError("Which faces this model learnt from is not recorded beside it.")
        try:
            return open_source(self.facts["source"])
        except UserError as error:
            raise UserError(f"The faces it learnt from cannot be opened here: {error}") from error

    def faces(self, labels: str | None = None):
        """Return the faces that the model learnt from, as a stream.

        Raises:
            UserError: If they are not known or cannot be opened.
        """
        facts, model = self.facts, self.model

        def opened():
            return open_faces(
                self.source(),
                image_size=model.image_size,
                batch_size=1,
                split=facts.get("split", "all"),
                crop=self.crop,
                channels=model.channels,
                test_fraction=facts.get("test_fraction", 0.1),
                labels=labels,
            )

        return self.once(("faces", labels), opened)

    @property
    def attribute_names(self) -> list[str]:
        """Names of the attributes of the faces it learnt from.

        Raises:
            UserError: If there are none, or the faces cannot be opened.
        """
        return self.once("attributes", lambda: labels_of(self.source(), "attributes")[1])

    @property
    def frame(self) -> Frame:
        """Where faces lie in its training faces; as in the ORL faces where that is not known."""
        return self._frame_and_note[0]

    @property
    def _frame_and_note(self):
        return self.once("frame", self._measured)

    def _measured(self):
        if self.facts.get("source") == "orl" and self.crop == "center":
            return ORL_FRAME, ""
        frame = None
        with contextlib.suppress(UserError):
            frame = measured_frame(to_uint8(self.faces().sample(MEASURED_FACES)))
        if frame is None:
            return ORL_FRAME, UNKNOWN_FRAME
        return frame, ""

    def face(self, data: bytes, cropped: bool = False) -> Upload:
        """Return the face of an uploaded picture as the model was trained to see it.

        Args:
            data: The file's bytes.
            cropped: Whether the picture is cropped already; else a face is looked for.

        Raises:
            UserError: If the file is no picture that can be used, or no face is found.
        """
        return self.remembered(("face", data, cropped), lambda: self._framed(data, cropped))

    def _framed(self, data: bytes, cropped: bool) -> Upload:
        model = self.model
        given = {"cropped": True}
        if not cropped:
            given = {"frame": self.frame, "error": self._reconstruction_error()}
        found = face_of(data, model.image_size, model.channels, self.crop, **given)
        if not cropped:
            found = found._replace(note=found.note + self._frame_and_note[1])
        return found

    def _reconstruction_error(self) -> Callable | None:
        model = self.model
        # Of a conditional model it depends on what holds of the face, which is said elsewhere.
        if not model.has_encoder or model.conditional:
            return None

        def error(faces):
            copies = self.use(model.reconstruct, faces)
            return np.square(copies - faces).mean(axis=(1, 2, 3))

        return error

    def describe(self) -> str:
        """Return in a line what the model is."""
        model = self.model
        kind = "grey" if model.channels == 1 else "colour"
        source = self.facts.get("source")
        learnt = f", learnt from {Path(str(source)).name or source}" if source else ""
        return f"{type(model).__name__}, {model.image_size}x{model.image_size}, {kind}{learnt}"


class _Place:
    def __init__(self):
        self.lock = threading.RLock()
        self.filled = False
        self.value: object = None
