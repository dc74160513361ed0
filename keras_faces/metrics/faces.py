"""What is known of a set of faces, each computed once, and what that needs besides the pictures."""

import contextlib
import functools
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_faces.detection.detector import import_dlib, to_rgb
from keras_faces.files import cache_folder, remembered, write_checked
from keras_faces.metrics import identity
from keras_faces.metrics.detection import detected_in
from keras_faces.metrics.diversity import nearest
from keras_faces.metrics.sharpness import laplacian_variance
from keras_faces.pixels import to_uint8

# What scores need besides the pictures, as the protocol records it.
FEATURES = ("pixels", "detector", "descriptors", "inception", "backbone")
NETWORKS = ("inception", "backbone")  # those by which `Faces` are asked for, if given


class Faces:
    """A set of faces, and what scores need to know of them.

    Args:
        images: Float faces in [-1, 1] of shape `(count, height, width, channels)`.
        networks: By feature, an `InceptionFeatures` and a `BackboneFeatures`, where scores need
            them.
        kept: Whether what took long to compute is kept on disk, for the next time.
    """

    def __init__(self, images: np.ndarray, networks: Mapping | None = None, kept: bool = False):
        self.images = images
        self._networks = networks or {}
        self._kept = kept
        self._nearest: tuple[Faces | None, np.ndarray | None] = (None, None)

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def found(self) -> np.ndarray:
        """Whether the detector finds a face, for each."""
        look([self], "detector")
        return self.__dict__["found"]

    @functools.cached_property
    def descriptors(self) -> identity.Descriptors:
        """Descriptors of those in which a face is found."""
        look([self], "descriptors")
        return self.__dict__["descriptors"]

    @functools.cached_property
    def sharpness(self) -> np.ndarray:
        """The Laplacian variance of each."""
        return laplacian_variance(self.images)

    @functools.cached_property
    def inception(self) -> tuple[np.ndarray, np.ndarray]:
        """InceptionV3's features and class probabilities."""
        return self._seen_by("inception")

    @functools.cached_property
    def backbone(self) -> tuple[np.ndarray]:
        """The features of a backbone."""
        return self._seen_by("backbone")

    def _seen_by(self, name: str) -> tuple:
        network = self._networks[name]
        known = self.recall(network.protocol)
        return self.keep(network.protocol, network(self.images)) if known is None else known

    def recall(self, needs: dict) -> tuple | None:
        """Return arrays that depend on the pictures and on what `needs` says alone, if kept."""
        known = remembered(self._place(needs)) if self._kept else None
        if known is None:
            return None
        with np.load(io.BytesIO(known)) as arrays:
            return tuple(arrays[f"arr_{number}"] for number in range(len(arrays.files)))

    def keep(self, needs: dict, found: tuple) -> tuple:
        """Keep such arrays for the next time, and return them."""
        if self._kept:
            data = io.BytesIO()
            np.savez(data, *found)
            with contextlib.suppress(OSError):  # a full disk: then they are computed again
                write_checked(self._place(needs), data.getvalue())
        return found

    def _place(self, needs: dict) -> Path:
        """Return the file, named by a hash of the protocol.

        In it the pictures themselves, in their order, stand for all that chooses and makes them:
        source, split, crop, size, number, seed. So protocols that differ in anything that matters
        never share a file, and those that give the same pictures do.
        """
        digest = hashlib.sha256(json.dumps([self.images.shape, needs], sort_keys=True).encode())
        digest.update(to_uint8(self.images).tobytes())
        return cache_folder() / "features" / f"{digest.hexdigest()[:32]}.npz"

    def nearest_of(self, others: "Faces") -> np.ndarray:
        """Return, for each, the position of the nearest of others, and keep it for these."""
        if self._nearest[0] is not others:
            self._nearest = others, nearest(self.images, others.images)
        return self._nearest[1]

    def halves(self, need: str) -> tuple["Faces", "Faces"]:
        """Return every other face, and the rest, which know what `need` says of them."""
        parts = Faces(self.images[::2]), Faces(self.images[1::2])
        for start, part in enumerate(parts):
            if need in NETWORKS:
                part.__dict__[need] = tuple(array[start::2] for array in getattr(self, need))
            elif need == "descriptors":
                found, values = self.descriptors
                chosen = np.flatnonzero(found) % 2 == start
                half = found[start::2]
                part.__dict__ |= {need: identity.Descriptors(half, values[chosen]), "found": half}
        return parts


def look(sets: Sequence[Faces], need: str) -> None:
    """Let dlib look at several sets together, so that its processes start once.

    Args:
        sets: Faces of one size. What is known of them is not computed again.
        need: `"detector"`, or `"descriptors"`, which know whether a face is found as well.

    Raises:
        UserError: If dlib or its models are not installed, or a process is killed.
    """
    needs, found_out = feature_protocol(need), "found"
    if need == "descriptors":
        found_out = need
        for faces in (faces for faces in sets if need not in faces.__dict__):
            if (known := faces.recall(needs)) is not None:
                faces.__dict__ |= {need: identity.Descriptors(*known), "found": known[0]}
    unknown = [faces for faces in sets if found_out not in faces.__dict__]
    if not unknown:
        return
    images = np.concatenate([to_rgb(faces.images) for faces in unknown])
    ends = np.cumsum([len(faces) for faces in unknown])[:-1]
    if need == "detector":
        for faces, found in zip(unknown, np.split(detected_in(images), ends)):
            faces.__dict__["found"] = found
        return
    both = identity.describe(images)
    parts = np.split(both.found, ends)
    values = np.split(both.values, np.cumsum([part.sum() for part in parts])[:-1])
    for faces, part in zip(unknown, zip(parts, values)):
        faces.__dict__ |= {need: identity.Descriptors(*faces.keep(needs, part)), "found": part[0]}


def require(need: str) -> None:
    """Refuse to begin without what scores need of dlib.

    Raises:
        UserError: If it is not installed.
    """
    if need == "descriptors":
        identity.require()
    elif need == "detector":
        import_dlib()


def feature_protocol(need: str, networks: Mapping | None = None) -> dict:
    """Return what scores need besides the pictures, as the protocol records it."""
    if networks and need in NETWORKS:
        return networks[need].protocol
    if need == "descriptors":
        return {**feature_protocol("detector"), "descriptors": identity.protocol()}
    if need == "detector":
        return {"detector": f"dlib {_version_of_dlib()} HOG, upsampled once"}
    return {}


def _version_of_dlib() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dlib-bin")  # the package that is required
    except PackageNotFoundError:
        return import_dlib().__version__  # one that a user has built
