"""Features of pictures by CLIP's or DINOv2's image encoder, from an ONNX file that a user has.

Inception's features follow the classes of ImageNet, which holds few faces; Kynkäänniemi et al.,
2023, https://arxiv.org/abs/2203.06026, find that FID then follows what is beside the face, and
recommend CLIP, and Stein et al., 2023, https://arxiv.org/abs/2306.04675, DINOv2. Either is a matter
of its file: sizes of these networks differ, so scores name the file by its SHA-256.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.errors import UserError, require_whole, unknown_name
from keras_faces.optional import load
from keras_faces.pixels import check, to_uint8

SIZE = 224  # of pictures, where the file leaves it open
HOW = "Give clip:FILE.onnx or dinov2:FILE.onnx."


class Preparation(NamedTuple):
    """Means and deviations of red, green and blue in [0, 1], by which pictures are normalised."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


BACKBONES = {
    "clip": Preparation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "dinov2": Preparation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class BackboneFeatures:
    """An image encoder in an ONNX file, from pictures to features.

    Pictures are brought to 8 bits and three channels, resized by Pillow's bicubic filter to what
    the file takes (224x224 where it leaves that open), and normalised as the encoder's authors do.
    Its features are the first output of one row a picture, or else the first token's of the first
    output of tokens.

    Args:
        place: `clip:FILE.onnx` or `dinov2:FILE.onnx`.
        batch_size: Pictures at a time, which bounds memory.

    Raises:
        UserError: If it is not such a place, there is no such file, it is no encoder of pictures,
            or onnxruntime is not installed.
    """

    def __init__(self, place: str, batch_size: int = 32):
        require_whole(batch_size=batch_size)
        kind, colon, file = os.fspath(place).partition(":")
        if not colon:
            raise UserError(f"{place!r} does not say of which kind it is. {HOW}")
        if kind not in BACKBONES:
            raise unknown_name("kind of backbone", kind, BACKBONES)
        self.kind, self.path, self.batch_size = kind, Path(file).expanduser(), batch_size
        if not self.path.is_file():
            raise UserError(f"There is no file {str(self.path)!r}. {HOW}")
        runtime = load("onnxruntime", "Scores on a backbone")
        try:
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            self._session = runtime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of a damaged file, it raises its own
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"{str(self.path)!r} is no ONNX file that runs: {reason}") from error
        self._input, self._size = self._entry()
        self._output, self._tokens = self._exit()
        with open(self.path, "rb") as opened:
            self._sha256 = hashlib.file_digest(opened, "sha256").hexdigest()

    def _entry(self) -> tuple[str, int]:
        given = self._session.get_inputs()
        shape = given[0].shape if len(given) == 1 else []
        sides = {side for side in shape[2:] if isinstance(side, int)}
        if len(shape) != 4 or shape[1] not in (3, None) or len(sides) > 1:
            told = ", ".join(f"{each.name} {each.shape}" for each in given)
            raise UserError(
                f"{str(self.path)!r} does not take pictures of shape (count, 3, size, size) and "
                f"nothing else, but {told}. Export the image encoder alone."
            )
        return given[0].name, sides.pop() if sides else SIZE

    def _exit(self) -> tuple[str, bool]:
        for rank in (2, 3):
            for made in self._session.get_outputs():
                if len(made.shape) == rank:
                    return made.name, rank == 3
        told = ", ".join(f"{each.name} {each.shape}" for each in self._session.get_outputs())
        raise UserError(
            f"{str(self.path)!r} gives neither one row a picture nor rows of tokens, but {told}."
        )

    @property
    def protocol(self) -> dict[str, str]:
        """What makes two scores on these features comparable, in plain values."""
        output = f"{self._output}, first token" if self._tokens else self._output
        return {
            "backbone": self.kind,
            "backbone_sha256": self._sha256,
            "output": output,
            "resizer": f"8 bits, Pillow bicubic to {self._size}x{self._size}",
        }

    def __call__(self, faces: np.ndarray | Iterable[np.ndarray]) -> tuple[np.ndarray]:
        """Return features of faces, float32 of shape `(count, width)`, as a tuple of one.

        Args:
            faces: Faces of shape `(count, height, width, 1 or 3)`, float in [-1, 1] or uint8.

        Raises:
            UserError: If they are no faces, or features are not finite.
        """
        faces = check(faces)
        starts = range(0, len(faces), self.batch_size)
        parts = [self._features(faces[start : start + self.batch_size]) for start in starts]
        features = np.concatenate(parts)
        if not np.isfinite(features).all():
            raise UserError(f"Features are not finite: {str(self.path)!r} is damaged.")
        return (features,)

    def _features(self, faces: np.ndarray) -> np.ndarray:
        mean, deviation = BACKBONES[self.kind]
        pictures = np.stack([self._resized(face) for face in to_uint8(faces)])
        normal = (pictures / np.float32(255) - np.float32(mean)) / np.float32(deviation)
        given = {self._input: np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)}
        try:
            [made] = self._session.run([self._output], given)
        except Exception as error:  # of a network for other sizes or counts, it raises its own
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"{str(self.path)!r} did not run: {reason}") from error
        made = np.asarray(made, np.float32)
        return made[:, 0] if self._tokens else made

    def _resized(self, face: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.repeat(face, 3 // face.shape[-1], axis=-1))
        return np.asarray(picture.resize((self._size, self._size), Image.Resampling.BICUBIC))
