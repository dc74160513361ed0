"""What is known of a set of faces, each computed once, and what that needs besides the pictures."""

import contextlib
import functools
import hashlib
import io
import json
from collections.abc import Callable

import numpy as np

from keras_faces.detection.detector import import_dlib
from keras_faces.files import cache_folder, remembered, write_checked
from keras_faces.metrics import identity
from keras_faces.metrics.detection import detected
from keras_faces.metrics.diversity import nearest
from keras_faces.metrics.sharpness import laplacian_variance
from keras_faces.pixels import to_uint8

# What scores need besides the pictures, as the protocol records it.
FEATURES = ("pixels", "detector", "descriptors", "inception")


class Faces:
    """A set of faces, and what scores need to know of them.

    Args:
        images: Float faces in [-1, 1] of shape `(count, height, width, channels)`.
        inception: An `InceptionFeatures`, where scores need it.
        kept: Whether what took long to compute is kept on disk, for the next time.
    """

    def __init__(self, images: np.ndarray, inception=None, kept: bool = False):
        self.images = images
        self._inception = inception
        self._kept = kept
        self._nearest: tuple[Faces | None, np.ndarray | None] = (None, None)

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def found(self) -> np.ndarray:
        """Whether the detector finds a face, for each."""
        if "descriptors" in self.__dict__:  # which it was asked for already
            return self.descriptors.found
        return detected(self.images)

    @functools.cached_property
    def descriptors(self) -> identity.Descriptors:
        """Descriptors of those in which a face is found."""
        needs = feature_protocol("descriptors", None)
        found = self._remembered(needs, lambda: identity.face_descriptors(self.images))
        return identity.Descriptors(*found)

    @functools.cached_property
    def sharpness(self) -> np.ndarray:
        """The Laplacian variance of each."""
        return laplacian_variance(self.images)

    @functools.cached_property
    def inception(self) -> tuple[np.ndarray, np.ndarray]:
        """InceptionV3's features and class probabilities."""
        return self._remembered(self._inception.protocol, lambda: self._inception(self.images))

    def _remembered(self, needs: dict, compute: Callable[[], tuple]) -> tuple:
        """Return arrays that depend on the pictures and on what `needs` says alone.

        They are kept under a hash of the protocol, in which the pictures themselves, in their
        order, stand for all that chooses and makes them: source, split, crop, size, number, seed.
        So protocols that differ in anything that matters never share them, and those that give the
        same pictures do.
        """
        if not self._kept:
            return compute()
        digest = hashlib.sha256(json.dumps([self.images.shape, needs], sort_keys=True).encode())
        digest.update(to_uint8(self.images).tobytes())
        place = cache_folder() / "features" / f"{digest.hexdigest()[:32]}.npz"
        if (known := remembered(place)) is not None:
            with np.load(io.BytesIO(known)) as arrays:
                return tuple(arrays[f"arr_{number}"] for number in range(len(arrays.files)))
        found = compute()
        data = io.BytesIO()
        np.savez(data, *found)
        with contextlib.suppress(OSError):  # a full disk: then they are computed again
            write_checked(place, data.getvalue())
        return found

    def nearest_of(self, others: "Faces") -> np.ndarray:
        """Return, for each, the position of the nearest of others, and keep it for these."""
        if self._nearest[0] is not others:
            self._nearest = others, nearest(self.images, others.images)
        return self._nearest[1]

    def halves(self, need: str) -> tuple["Faces", "Faces"]:
        """Return every other face, and the rest, which know what `need` says of them."""
        parts = Faces(self.images[::2]), Faces(self.images[1::2])
        for start, part in enumerate(parts):
            if need == "inception":
                part.__dict__[need] = tuple(array[start::2] for array in self.inception)
            elif need == "descriptors":
                found, values = self.descriptors
                chosen = np.flatnonzero(found) % 2 == start
                part.__dict__[need] = identity.Descriptors(found[start::2], values[chosen])
        return parts


def require(need: str) -> None:
    """Refuse to begin without what scores need of dlib.

    Raises:
        UserError: If it is not installed.
    """
    if need == "descriptors":
        identity.require()
    elif need == "detector":
        import_dlib()


def feature_protocol(need: str, inception) -> dict:
    """Return what scores need besides the pictures, as the protocol records it."""
    if need == "inception":
        return inception.protocol
    if need == "descriptors":
        return {**feature_protocol("detector", None), "descriptors": identity.protocol()}
    if need == "detector":
        return {"detector": f"dlib {_version_of_dlib()} HOG, upsampled once"}
    return {}


def _version_of_dlib() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dlib-bin")  # the package that is required
    except PackageNotFoundError:
        return import_dlib().__version__  # one that a user has built
