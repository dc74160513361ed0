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
"""

import keras
from keras import layers, ops

from keras_faces.errors import require_above, require_at_least
from keras_faces.models.encoding import EncodingModel
from keras_faces.models.layers import Conv2DTranspose
from keras_faces.models.losses import kl_divergence, posterior_collapse, split, squared_error
from keras_faces.training.players import Player


@keras.saving.register_keras_serializable(package="keras_faces")
class VAE(EncodingModel):
    """Encoder and decoder trained together to lower reconstruction error plus KL divergence.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (Report 2.1).
        channels: 1 for grey, 3 for colour (Report 2.1).
        latent_dim: Size of the latent z (Report 4.1.1).
        filters: Filters of the encoder's first layer; they double with every halving of the size
            (PyTorch-VAE).
        hidden_units: Units of the dense layers next to the latent (Kingma and Welling; their number
            is ours).
        noise_scale: Standard deviation of the Gaussian likelihood, on images in [-1, 1]: smaller
            gives sharper reconstructions, larger a latent space closer to the prior (our choice,
            which the Report's eq. 3.7 leaves open).
        kl_weight: Factor of the KL divergence; 1 is the variational bound (Report, eq. 3.7).
        learning_rate: Learning rate of Adam (Adam's own).
        **kwargs: Arguments of `FaceModel`.
    """

    generating = ("encoder", "decoder")
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
        require_at_least(1, latent_dim=latent_dim, filters=filters, hidden_units=hidden_units)
        require_above(0, noise_scale=noise_scale)
        require_at_least(0, kl_weight=kl_weight)
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.noise_scale = noise_scale
        self.kl_weight = kl_weight
        self.learning_rate = learning_rate
        with self.building():
            sizes = (filters, hidden_units)
            self.encoder = build_encoder(image_size, channels, 2 * latent_dim, *sizes)
            self.decoder = build_decoder(image_size, channels, latent_dim, *sizes)

    @property
    def players(self):
        return [Player("vae", [self.encoder, self.decoder], terms=("reconstruction", "kl"))]

    def default_optimizers(self):
        return {"vae": keras.optimizers.Adam(self.learning_rate_for(self.learning_rate))}

    def sample_noise(self, images, labels=None):
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

    def latents_from_faces(self, faces):
        """Return the posterior means of faces, as tensors."""
        return split(self.averaged("encoder")(faces, training=False))[0]

    def warnings(self, faces, logs):
        return super().warnings(faces, logs) + posterior_collapse(self.encode(faces))


def build_encoder(image_size, channels, outputs, filters, hidden_units):
    """Halve the size down to 4x4, then a hidden layer and the outputs."""
    halvings = (image_size // 4).bit_length() - 1
    network = keras.Sequential([keras.Input((image_size, image_size, channels))], name="encoder")
    for halving in range(halvings):
        network.add(layers.Conv2D(filters * 2**halving, 4, strides=2, padding="same"))
        network.add(layers.LeakyReLU(0.2))
    network.add(layers.Flatten())
    network.add(layers.Dense(hidden_units))
    network.add(layers.LeakyReLU(0.2))
    network.add(layers.Dense(outputs, dtype="float32"))
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
        network.add(Conv2DTranspose(width, 4, strides=2, padding="same"))
    network.add(layers.LeakyReLU(0.2))
    network.add(Conv2DTranspose(channels, 4, strides=2, padding="same"))
    network.add(layers.Activation("tanh", dtype="float32"))
    return network
