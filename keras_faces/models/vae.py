"""VAE: the convolutional variational autoencoder of the three-models report.

The report states: CelebA centre-cropped and resized to 64x64; a latent dimension of 128; a loss
that is the sum of the squared error and the KL divergence (its 3.7); 20 epochs. It is silent on
the networks, the optimizer, the batch size and the weight of the error against the divergence.

Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114, decide what it leaves open: a Gaussian
likelihood N(x; decoder(z), noise_scale^2 I), whose variance is that weight, one latent for each
image, the reparameterisation z = mu + sigma * epsilon, and a hidden layer next to the latent on
both sides, as their networks have. Around it are DCGAN's convolutions without batch normalisation,
which made reconstructions and samples of this model worse; without the hidden layer, faces drawn
from the prior fall apart.

Latents can be drawn in two ways. `"prior"` is the model's own N(0, I). Encoded faces do not fill
the prior evenly, and between them the decoder has learnt little, so `"fitted"` draws from a kernel
density around up to 1024 encoded training faces: its faces are better and stay nearer to those it
has seen. Every figure says which one it used.
"""

import keras
import numpy as np
from keras import layers, ops

from keras_faces.errors import UserError
from keras_faces.training.base import FaceModel
from keras_faces.training.players import Player

DENSITY_CODES = 1024


@keras.saving.register_keras_serializable(package="keras_faces")
class VAE(FaceModel):
    """Encoder and decoder trained together to lower reconstruction error plus KL divergence.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128.
        channels: 1 for grey, 3 for colour.
        latent_dim: Size of the latent z.
        filters: Filters of the encoder's first layer; they double with every halving of the size.
        hidden_units: Units of the dense layers next to the latent.
        noise_scale: Standard deviation of the Gaussian likelihood, on images in [-1, 1]: smaller
            gives sharper reconstructions, larger a latent space closer to the prior.
        kl_weight: Factor of the KL divergence; 1 is the variational bound.
        learning_rate: Learning rate of Adam.
        **kwargs: Arguments of `FaceModel`.
    """

    generating = ("encoder", "decoder")
    samplers = ("prior", "fitted")
    epochs = 20  # the report's
    batch_size = 100  # Kingma and Welling's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 128,
        filters: int = 32,
        hidden_units: int = 512,
        noise_scale: float = 0.3,
        kl_weight: float = 1.0,
        learning_rate: float = 1e-3,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        if min(latent_dim, filters, hidden_units) < 1:
            raise UserError(
                "latent_dim, filters and hidden_units must be 1 or more. "
                f"Received: {latent_dim}, {filters}, {hidden_units}."
            )
        if noise_scale <= 0 or kl_weight < 0:
            raise UserError(
                "noise_scale must be above 0 and kl_weight 0 or more. "
                f"Received: {noise_scale}, {kl_weight}."
            )
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.noise_scale = noise_scale
        self.kl_weight = kl_weight
        self.learning_rate = learning_rate
        with self.building():
            shape = (image_size, channels, latent_dim, filters, hidden_units)
            self.encoder = build_encoder(*shape)
            self.decoder = build_decoder(*shape)
        self.density_codes = self._density_weight("density_codes", DENSITY_CODES, latent_dim)
        self.density_kernel = self._density_weight("density_kernel", latent_dim, latent_dim)

    def _density_weight(self, name, rows, columns):
        return self.add_weight(
            name=name, shape=(rows, columns), initializer="zeros", trainable=False
        )

    @property
    def players(self):
        return [Player("vae", [self.encoder, self.decoder], terms=("reconstruction", "kl"))]

    def default_optimizers(self):
        return {"vae": keras.optimizers.Adam(self.learning_rate_for(self.learning_rate))}

    def draw(self, images):
        epsilon = keras.random.normal((ops.shape(images)[0], self.latent_dim), seed=self.noise)
        return images, epsilon

    def losses(self, batch, training):
        images, epsilon = batch
        mean, log_variance = split(self.encoder(images, training=training))
        latents = mean + ops.exp(0.5 * log_variance) * epsilon
        reconstructions = self.decoder(latents, training=training)
        return {
            "vae": {
                "reconstruction": squared_error(images, reconstructions)
                / (2 * self.noise_scale**2),
                "kl": self.kl_weight * kl_divergence(mean, log_variance),
            }
        }

    def encode(self, faces) -> np.ndarray:
        """Return the posterior means of faces in [-1, 1], of shape `(count, latent_dim)`."""
        return self._mapped(self.latents_from_faces, self.check_faces(faces))

    def reconstruct(self, faces) -> np.ndarray:
        """Encode and decode faces in [-1, 1]."""
        return self.decode(self.encode(faces))

    def latents_from_faces(self, faces):
        """Return the posterior means of faces, as tensors."""
        return split(self.averaged("encoder")(faces, training=False))[0]

    @property
    def usable_samplers(self):
        fitted = np.any(ops.convert_to_numpy(self.density_kernel))
        return self.samplers if fitted else self.samplers[:1]

    def latents_from_noise(self, noise, sampler):
        if sampler == "prior":
            return noise
        # The first coordinate chooses a code, through the normal distribution function; the kernel
        # does not use it: it belongs to the axis along which codes differ least.
        share = 0.5 * (1.0 + ops.erf(noise[:, 0] / 2**0.5))
        chosen = ops.clip(ops.cast(share * DENSITY_CODES, "int32"), 0, DENSITY_CODES - 1)
        spread = ops.matmul(noise[:, 1:], self.density_kernel[1:])
        return ops.take(self.density_codes, chosen, axis=0) + spread

    def fit_density(self, faces) -> None:
        """Fit the kernel density of the sampler `"fitted"` to the posterior means of faces.

        The kernel is Gaussian with the shape of all codes' covariance, and half as wide as codes
        are from their nearest neighbour. Codes are drawn towards their mean so that the density
        keeps their variance (Silverman, 1986, section 6.4).

        Args:
            faces: Iterable of batches of faces in [-1, 1], for example from `kf.data.load`.

        Raises:
            UserError: If there are fewer than two faces.
        """
        images = (batch[0] if isinstance(batch, tuple) else batch for batch in faces)
        codes = np.concatenate([self.encode(batch) for batch in images]).astype(np.float64)
        if len(codes) < 2:
            raise UserError(
                f"Two faces or more are needed to fit a density. Received: {len(codes)}."
            )
        codes = np.random.default_rng(self.seed).permutation(codes)[:DENSITY_CODES]
        mean = codes.mean(axis=0)
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(codes, rowvar=False)))
        variances = np.maximum(variances, 0.0)  # ascending
        width = min(1.0, 0.5 * np.sqrt(nearest_squares(codes).mean() / variances.sum()))
        shrunk = mean + np.sqrt(1.0 - width**2) * (codes - mean)
        self.density_codes.assign(shrunk[np.arange(DENSITY_CODES) % len(codes)])
        self.density_kernel.assign(width * np.sqrt(variances)[:, None] * axes.T)

    def forget_density(self):
        self.density_kernel.assign(np.zeros((self.latent_dim, self.latent_dim)))

    def warnings(self, faces, logs):
        found = super().warnings(faces, logs)
        active = active_units(self.encode(faces))
        if active < min(self.latent_dim, max(2, self.latent_dim // 32)):
            found.append(
                f"Posterior collapse: only {active} of {self.latent_dim} latent units tell faces "
                "apart. Try a smaller noise_scale or kl_weight."
            )
        return found


def squared_error(images, reconstructions):
    """Return the squared error, summed over an image's values, mean over the batch."""
    return ops.mean(ops.sum(ops.square(images - reconstructions), axis=(1, 2, 3)))


def kl_divergence(mean, log_variance):
    """Return KL(N(mean, variance) || N(0, I)), summed over units, mean over the batch.

    Kingma and Welling, appendix B.
    """
    terms = ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance
    return ops.mean(ops.sum(0.5 * terms, axis=-1))


def active_units(means: np.ndarray, threshold: float = 0.01) -> int:
    """Count latent units whose posterior mean varies with the image.

    Burda et al., 2016, https://arxiv.org/abs/1509.00519: variance over images above 0.01.

    Args:
        means: Posterior means of different images, of shape `(count, latent_dim)`.
        threshold: The least variance of an active unit.
    """
    return int((np.var(means, axis=0) > threshold).sum())


def nearest_squares(codes: np.ndarray) -> np.ndarray:
    """Return each code's squared distance to its nearest neighbour among the others."""
    squares = np.sum(codes**2, axis=1)
    distances = squares[:, None] - 2.0 * codes @ codes.T + squares
    np.fill_diagonal(distances, np.inf)
    return np.maximum(distances.min(axis=1), 0.0)


def split(moments):
    """Return mean and log-variance; the latter is clipped, or one outlier overflows exp."""
    mean, log_variance = ops.split(moments, 2, axis=-1)
    return mean, ops.clip(log_variance, -10.0, 10.0)


def build_encoder(image_size, channels, latent_dim, filters, hidden_units):
    """Halve the size down to 4x4, then mean and log-variance of the posterior."""
    halvings = (image_size // 4).bit_length() - 1
    network = keras.Sequential([keras.Input((image_size, image_size, channels))], name="encoder")
    for halving in range(halvings):
        network.add(layers.Conv2D(filters * 2**halving, 4, strides=2, padding="same"))
        network.add(layers.LeakyReLU(0.2))
    network.add(layers.Flatten())
    network.add(layers.Dense(hidden_units))
    network.add(layers.LeakyReLU(0.2))
    network.add(layers.Dense(2 * latent_dim, dtype="float32"))
    return network


def build_decoder(image_size, channels, latent_dim, filters, hidden_units):
    """Project a latent to 4x4 and double the size until the image's."""
    doublings = (image_size // 4).bit_length() - 1
    width = filters * 2 ** (doublings - 1)
    network = keras.Sequential([keras.Input((latent_dim,))], name="decoder")
    network.add(layers.Dense(hidden_units))
    network.add(layers.LeakyReLU(0.2))
    network.add(layers.Dense(4 * 4 * width))
    network.add(layers.Reshape((4, 4, width)))
    for _ in range(doublings - 1):
        network.add(layers.LeakyReLU(0.2))
        width //= 2
        network.add(layers.Conv2DTranspose(width, 4, strides=2, padding="same"))
    network.add(layers.LeakyReLU(0.2))
    network.add(layers.Conv2DTranspose(channels, 4, strides=2, padding="same"))
    network.add(layers.Activation("tanh", dtype="float32"))
    return network
