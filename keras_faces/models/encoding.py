"""What models with an encoder share: reconstructing, blending, and drawing from what they encoded.

Latents can be drawn in two ways. `"prior"` is N(0, I), which a variational model learns to decode
and a plain autoencoder does not. Encoded faces do not fill the prior evenly, and between them the
decoder has learnt little, so `"fitted"` draws from a kernel density around up to 1024 encoded
training faces: its faces are better and stay nearer to those it has seen. Every figure says which
one it used.
"""

import contextlib

import numpy as np
from keras import ops

from keras_faces.errors import UserError
from keras_faces.models.base import FaceModel, map_batches
from keras_faces.pictures import rows_grid

DENSITY_CODES = 1024


class EncodingModel(FaceModel):
    """Base class of models that turn faces into latents and back.

    A subclass sets `latent_dim` before it builds its networks, and says in `latents_from_faces`
    how a face is encoded.
    """

    samplers = ("prior", "fitted")

    @contextlib.contextmanager
    def building(self):
        with super().building():
            yield
        self.density_codes = self._density_weight("density_codes", DENSITY_CODES)
        self.density_kernel = self._density_weight("density_kernel", self.latent_dim)

    def _density_weight(self, name, rows):
        return self.add_weight(
            name=name, shape=(rows, self.latent_dim), initializer="zeros", trainable=False
        )

    def latents_from_faces(self, faces):
        """Return the latents of faces, as tensors."""
        raise NotImplementedError

    def faces_from_faces(self, faces):
        return self.faces_from_latents(self.latents_from_faces(faces))

    def encode(self, faces) -> np.ndarray:
        """Return the latents of faces in [-1, 1], of shape `(count, latent_dim)`."""
        return map_batches(self.latents_from_faces, self.check_faces(faces))

    def reconstruct(self, faces) -> np.ndarray:
        """Encode and decode faces in [-1, 1]."""
        return self.decode(self.encode(faces))

    def blend(self, a, b, percent: float = 50.0) -> np.ndarray:
        """Make faces between pairs of faces, by decoding the latents between theirs.

        Args:
            a: Faces in [-1, 1], of shape `(count, image_size, image_size, channels)`, or one face.
            b: As many faces.
            percent: How much of `b`, from 0 (reconstructions of `a`) to 100 (of `b`).

        Returns:
            Float32 faces of the shape of `a`.

        Raises:
            UserError: If the faces do not match or `percent` is out of range.
        """
        return self._blended(a, b, percent, self.encode, self.encode)

    def _blended(self, a, b, percent, encode_a, encode_b):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise UserError(
                f"blend needs as many faces on both sides. Received: shapes {a.shape} and "
                f"{b.shape}."
            )
        single = a.ndim == 3
        if single:
            a, b = a[None], b[None]
        blended = self.decode(self.between(encode_a(a), encode_b(b), percent))
        return blended[0] if single else blended

    @staticmethod
    def between(a, b, percent: float) -> np.ndarray:
        """Return the codes that lie `percent` of the way from codes `a` to codes `b`."""
        if not 0 <= percent <= 100:
            raise UserError(f"percent must lie in [0, 100]. Received: {percent}.")
        return (1 - percent / 100) * a + percent / 100 * b

    def faces_and_copies(self, count, seed, stream):
        originals = stream.sample(count, seed)
        return originals, self.reconstruct(originals)

    def pictures_of_faces(self, count, seed, stream):
        both = self.faces_and_copies(count, seed, stream)
        return {"reconstructions": rows_grid(*both)} if both else {}

    def signatures(self):
        faces = {"faces": self.image_shape}
        return {
            **super().signatures(),
            "encode": (faces, self.latents_from_faces),
            "reconstruct": (faces, self.faces_from_faces),
        }

    # The fitted density.

    @property
    def usable_samplers(self):
        fitted = np.any(ops.convert_to_numpy(self.density_kernel))
        return self.samplers if fitted else self.samplers[:1]

    def latents_from_noise(self, noise, sampler):
        if sampler == "prior":
            return noise
        # The kernel does not use the first coordinate, which chooses a code: it belongs to the
        # axis along which codes differ least.
        chosen = uniform_rows(noise[:, 0], DENSITY_CODES)
        spread = ops.matmul(noise[:, 1:], self.density_kernel[1:])
        return ops.take(self.density_codes, chosen, axis=0) + spread

    def fit_density(self, faces) -> None:
        """Fit the kernel density of the sampler `"fitted"` to the latents of faces.

        The kernel is Gaussian with the shape of all codes' covariance, and half as wide as codes
        are from their nearest neighbour. Codes are drawn towards their mean so that the density
        keeps their variance (Silverman, 1986, section 6.4).

        Args:
            faces: Iterable of batches of faces in [-1, 1], or of faces and labels, for example
                from `kf.data.load`.

        Raises:
            UserError: If there are fewer than two faces.
        """
        images = (batch[0] if isinstance(batch, tuple) else batch for batch in faces)
        self.fit_density_to(np.concatenate([self.encode(batch) for batch in images]))

    def fit_density_to(self, codes: np.ndarray) -> np.ndarray:
        """Fit the kernel density to latents of shape `(count, latent_dim)`; see `fit_density`.

        Returns:
            The numbers of the latents it is around, in the order in which it keeps them.
        """
        codes = np.asarray(codes, np.float64)
        if len(codes) < 2:
            raise UserError(
                f"Two faces or more are needed to fit a density. Received: {len(codes)}."
            )
        order = np.random.default_rng(self.seed).permutation(len(codes))[:DENSITY_CODES]
        codes = codes[order]
        mean = codes.mean(axis=0)
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(codes, rowvar=False)))
        variances = np.maximum(variances, 0.0)  # ascending
        width = min(1.0, 0.5 * np.sqrt(nearest_squares(codes).mean() / variances.sum()))
        shrunk = mean + np.sqrt(1.0 - width**2) * (codes - mean)
        self.density_codes.assign(shrunk[np.arange(DENSITY_CODES) % len(codes)])
        self.density_kernel.assign(width * np.sqrt(variances)[:, None] * axes.T)
        return order

    def forget_density(self):
        self.density_kernel.assign(np.zeros((self.latent_dim, self.latent_dim)))


def uniform_rows(noise, rows: int):
    """Map standard normal noise to row numbers, all equally likely: the distribution function."""
    share = 0.5 * (1.0 + ops.erf(noise / 2**0.5))
    return ops.clip(ops.cast(share * rows, "int32"), 0, rows - 1)


def nearest_squares(codes: np.ndarray) -> np.ndarray:
    """Return each code's squared distance to its nearest neighbour among the others."""
    squares = np.sum(codes**2, axis=1)
    distances = squares[:, None] - 2.0 * codes @ codes.T + squares
    np.fill_diagonal(distances, np.inf)
    return np.maximum(distances.min(axis=1), 0.0)
