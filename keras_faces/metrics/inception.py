"""Features of pictures and class probabilities by Keras's InceptionV3, for IS, FID, KID and PRDC.

The published scores use another network: TensorFlow's Inception of 2015, with other weights,
another resizer and a pooling of its own. Numbers from this one compare only with each other, so
each is named with `(keras)`. Szegedy et al., 2016, https://arxiv.org/abs/1512.00567; Keras's
weights are trained on ImageNet.
"""

import hashlib
import os
import random
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_faces.errors import NotComputed, UserError, require_whole
from keras_faces.pixels import check, to_float, to_uint8

VARIABLE = "KERAS_FACES_INCEPTION"
FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{FILE}"
MD5 = "9a0d58056eeedaa3f26cb7ebd46da564"  # as keras.applications checks it
SIZE = 299
RESIZER = "8 bits, bilinear to 299x299, half-pixel centres, antialiased where it shrinks"
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class InceptionFeatures:
    """Keras's InceptionV3 with its ImageNet weights, from pictures to features and probabilities.

    Float faces are brought to 8 bits first, so that pictures score the same before and after they
    are saved. All are resized to 299x299 by bilinear interpolation (half-pixel centres, antialiased
    where it shrinks), grey ones repeated over three channels.

    The weights are the first of: the argument; the file that the environment variable
    `KERAS_FACES_INCEPTION` names; Keras's own cached file; Keras's download. They are never random.

    A training in progress is left as it is: the network lives in a thread of its own, where Keras
    and TensorFlow keep other global state (precision, names, seeds, distribution), and Python's
    random numbers, which Keras draws seeds from while it builds, are put back.

    Args:
        weights: Path of a weights file of `keras.applications.InceptionV3`, with its top; None
            looks as above.
        dtype: `"float32"`, or `"bfloat16"` to compute in it, all but the pooling and the classes.
        batch_size: Pictures at a time, which bounds memory.

    Attributes:
        weights_path: The file in use.
        weights_sha256: Its SHA-256, which belongs to the protocol of every score.
        published: Whether it is the very file that Keras publishes.

    Raises:
        NotComputed: If there are no weights and they cannot be downloaded.
        UserError: If the file given is missing, damaged, or of another network.
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        dtype: str = "float32",
        batch_size: int = 64,
    ):
        if dtype not in POLICIES:
            raise UserError(f"dtype must be 'float32' or 'bfloat16'. Received: {dtype!r}.")
        require_whole(batch_size=batch_size)
        self.dtype = dtype
        self.batch_size = batch_size
        self.weights_path = find_weights(weights)
        _require_hdf5(self.weights_path)
        with open(self.weights_path, "rb") as file:
            self.weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            self.published = hashlib.file_digest(file, "md5").hexdigest() == MD5
        self._thread = ThreadPoolExecutor(1, "inception")
        self._network = self._thread.submit(_build, self.weights_path, POLICIES[dtype]).result()

    @property
    def protocol(self) -> dict[str, str | bool]:
        """What makes two scores on these features comparable, in plain values."""
        return {
            "network": "keras.applications.InceptionV3, avg_pool",
            "weights_sha256": self.weights_sha256,
            "weights_published_by_keras": self.published,
            "resizer": RESIZER,
            "dtype": self.dtype,
        }

    def __call__(self, faces: np.ndarray | Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return features and class probabilities of faces.

        Args:
            faces: Faces of shape `(count, height, width, 1 or 3)`, float in [-1, 1] or uint8; or an
                iterable of such arrays.

        Returns:
            Float32 arrays of shapes `(count, 2048)`, 0 or more, and `(count, 1000)`, rows summing
            to 1.

        Raises:
            UserError: If they are no faces, or there are none.
        """
        parts = list(self.batches(faces))
        if not parts:
            raise UserError("Expected faces to compute features of. Received: none.")
        features, probabilities = (np.concatenate(arrays) for arrays in zip(*parts))
        return features, probabilities

    def batches(
        self, faces: np.ndarray | Iterable[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the same batch by batch, in memory that does not grow with their number."""
        for array in [faces] if hasattr(faces, "shape") else faces:
            if not getattr(array, "ndim", 0) or not len(array):
                check(array)  # says what was expected
            for start in range(0, len(array), self.batch_size):
                images = _as_images(array[start : start + self.batch_size])
                count = len(images)
                # A smaller batch at the end is filled up: one of another shape is compiled anew.
                if start and count < self.batch_size:
                    filling = np.repeat(images[-1:], self.batch_size - count, axis=0)
                    images = np.concatenate([images, filling])
                outputs = self._thread.submit(_run, self._network, images).result()
                features, probabilities = (
                    np.asarray(output[:count], np.float32) for output in outputs
                )
                if not np.isfinite(features).all() or not np.isfinite(probabilities).all():
                    raise UserError(
                        "Inception's features are not finite: its weights are not what they "
                        f"should be. Replace {self.weights_path}."
                    )
                yield features, probabilities


def local_weights() -> Path | None:
    """Return where Inception's weights are or are said to be, without downloading, or None."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    cached = _keras_home() / "models" / FILE
    return cached if cached.is_file() else None


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def find_weights(weights: str | os.PathLike | None = None) -> Path:
    """Return the file of Inception's weights, downloading Keras's where there is none.

    Args:
        weights: Path of the file; None looks in the environment variable `KERAS_FACES_INCEPTION`,
            then in Keras's cache (`KERAS_HOME`, else `~/.keras`), then downloads.

    Raises:
        NotComputed: If there is none and none can be downloaded.
        UserError: If the file named is missing, or the one in Keras's cache is not Keras's.
    """
    given, source = weights, "weights"
    if given is None and os.environ.get(VARIABLE):
        given, source = os.environ[VARIABLE], VARIABLE
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UserError(
                f"{source} names Inception's weights at {path}, where there is no file. "
                f"Give the path of {FILE}, or leave it out to let Keras download it."
            )
        return path
    home = _keras_home()
    cached = home / "models" / FILE
    if cached.is_file():
        # Checked here, because Keras deletes a file that differs and downloads it again.
        with open(cached, "rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != MD5:
                raise UserError(
                    f"{cached} is not the file that Keras publishes: its download was cut short, "
                    "or is still under way. Delete it to download it again; weights of your own "
                    f"are given by their path, or in {VARIABLE}."
                )
        return cached
    try:
        return Path(_download(home))
    except Exception as error:  # Keras raises a bare Exception where there is no network
        reason = str(error).split("--")[-1].strip() or type(error).__name__
        raise NotComputed(
            "Inception's weights are not here and could not be downloaded "
            f"({reason.rstrip('.')[:200]}). "
            f"Where there is a network, fetch {URL} and bring it here; then pass its path "
            f"(evaluate --inception-weights FILE), or set {VARIABLE} to it, or put it at {cached}."
        ) from error


def _download(home: Path) -> str:
    import keras

    home.mkdir(parents=True, exist_ok=True)
    tqdm.write(f"Downloading {URL}, once.", file=sys.stderr)
    return keras.utils.get_file(
        FILE, URL, cache_subdir="models", cache_dir=str(home), file_hash=MD5
    )


def _require_hdf5(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(512)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return
    text = start.lstrip().lower()
    if not start:
        what = "is empty"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        what = "is a web page, not weights: its address was of a page about the file"
    elif text.startswith(b"version https://git-lfs"):
        what = "is a pointer of Git LFS, not the file itself (git lfs pull fetches it)"
    elif start.startswith(b"PK\x03\x04"):
        what = "is a ZIP archive or a .keras model, not weights in HDF5"
    else:
        what = "is not a HDF5 file, or its start is damaged"
    raise UserError(f"{path} {what}. {_EXPECTED}")


_EXPECTED = (
    "Expected the weights of keras.applications.InceptionV3 with its top, "
    f"which Keras publishes as {URL}."
)


def _build(path: Path, policy: str):
    """Return the network with its weights; called in the thread where it will live."""
    import keras

    _require_layout(path)
    state = random.getstate()
    try:
        keras.config.set_dtype_policy(policy)  # of this thread alone
        # An input of its own kind, because its type and shape would follow the user's settings.
        whole = keras.applications.InceptionV3(
            weights=None, input_tensor=keras.Input((SIZE, SIZE, 3), dtype="float32")
        )
    finally:
        random.setstate(state)
    _require_shapes(path, whole)
    # Keras leaves what a file in its newer layout lacks as it was. Random numbers would pass.
    whole.set_weights([np.full(weight.shape, np.nan, np.float32) for weight in whole.weights])
    try:
        whole.load_weights(path)
    except Exception as error:  # h5py and Keras raise all kinds on what is not there
        reason = " ".join(str(error).split())[:300]
        hint = " It looks like the file without the top." if "notop" in path.name else ""
        raise UserError(
            f"{path} holds the weights of another network, or is damaged.{hint} {_EXPECTED} "
            f"Keras says: {reason}"
        ) from error
    if not all(np.isfinite(weight).all() for weight in whole.get_weights()):
        raise UserError(f"{path} holds weights that are not finite: it is damaged. {_EXPECTED}")
    # The mean over 64 places and the softmax keep all digits.
    for name in ("avg_pool", "predictions"):
        whole.get_layer(name).dtype_policy = "float32"
    return keras.Model(whole.input, [whole.get_layer("avg_pool").output, *whole.outputs])


def _require_layout(path: Path) -> None:
    """Check that Keras will read the file as what it is, which it tells by the name alone."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            legacy = "layer_names" in file.attrs or "model_weights" in file
            keras3 = "layers" in file or "_layer_checkpoint_dependencies" in file
    except OSError as error:
        raise UserError(f"{path} is damaged: it is cut short or unreadable. {_EXPECTED}") from error
    if not legacy and not keras3:
        raise UserError(f"{path} is a HDF5 file without the weights of a network. {_EXPECTED}")
    name = path.name
    if keras3 and not legacy and not name.endswith(".weights.h5"):
        raise UserError(
            f"{path} holds weights in the layout of Keras 3, which is read from names that end in "
            f".weights.h5. Rename it to {name.split('.')[0]}.weights.h5."
        )
    if legacy and (not name.endswith((".h5", ".hdf5")) or name.endswith(".weights.h5")):
        raise UserError(
            f"{path} holds weights in the layout of Keras 2, which is read from names that end in "
            f".h5. Rename it to {name.split('.')[0]}.h5."
        )


def _require_shapes(path: Path, network) -> None:
    """Check the arrays of a file in Keras 3's layout, of which Keras only warns at length."""
    if not path.name.endswith(".weights.h5"):
        return
    import h5py

    found = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            found.append(item.shape)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    expected = sorted(tuple(weight.shape) for weight in network.weights)
    if sorted(found) != expected:
        raise UserError(
            f"{path} holds the weights of another network: {len(found)} arrays, where "
            f"{len(expected)} of Inception's shapes were expected. {_EXPECTED}"
        )


def _as_images(faces: np.ndarray) -> np.ndarray:
    """Return faces as float32 of three channels in [-1, 1], on the levels that 8 bits have."""
    faces = np.asarray(faces)
    checked = check(faces)
    images = checked if faces.dtype == np.uint8 else to_float(to_uint8(checked))
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def _run(network, images: np.ndarray) -> list[np.ndarray]:
    import keras

    size = (SIZE, SIZE)
    images = keras.ops.image.resize(
        images, size, interpolation="bilinear", antialias=True, data_format="channels_last"
    )
    return network.predict_on_batch(images)
