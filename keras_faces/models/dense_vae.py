"""Dense VAE: the variational autoencoder of the Simon Fraser University report, sections 2.1 and 3.

The report states: 12288 values (64x64x3), one hidden layer of 512 nodes, a latent dimension of 2,
batches of 100, 250 epochs, epsilon_std 1.0, a KL divergence and a mean squared error, and the
reparameterisation z = mu + sigma * epsilon (its eq. 2). It is silent on activations, optimizer and
the weight of error against divergence.

Its names and numbers are those of the example *variational_autoencoder* that came with Keras in
those days (Chollet, 2016, https://blog.keras.io/building-autoencoders-in-keras.html), which decides
the rest: ReLU in the hidden layers, a sigmoid at the end, RMSprop with learning rate 1e-3, and an
error of mean times the number of values, on pictures in [0, 1], plus the divergence. The paper is
Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114.
"""

import keras
from keras import layers, ops

from keras_faces.errors import require_above, require_at_least
from keras_faces.models.encoding import EncodingModel
from keras_faces.models.losses import kl_divergence, posterior_collapse, split, squared_error
from keras_faces.training.players import LEAST_EPSILON, Player


@keras.saving.register_keras_serializable(package="keras_faces")
class DenseVAE(EncodingModel):
    """Variational autoencoder of dense layers, whose two latents make a map of faces.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (SFU 3).
        channels: 1 for grey, 3 for colour (SFU 3).
        latent_dim: Size of the latent z (SFU 3).
        hidden_units: Units of the hidden layer, in the encoder and in the decoder (SFU 3).
        epsilon_std: Standard deviation of the noise in training's z = mu + sigma * epsilon (SFU 3).
        learning_rate: Learning rate of RMSprop (the Keras example).
        epsilon: RMSprop's floor under the gradient's mean square, whose root the gradient is
            divided by (the Keras example: 1e-8 under the root itself).
        **kwargs: Arguments of `FaceModel`.
    """

    generating = ("encoder", "decoder")
    epochs = 250  # the report's
    batch_size = 100  # the report's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 2,
        hidden_units: int = 512,
        epsilon_std: float = 1.0,
        learning_rate: float = 1e-3,
        epsilon: float = 1e-16,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, hidden_units=hidden_units)
        require_above(0, epsilon_std=epsilon_std)
        require_at_least(LEAST_EPSILON, epsilon=epsilon)
        self.latent_dim = latent_dim
        self.hidden_units = hidden_units
        self.epsilon_std = epsilon_std
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        with self.building():
            self.encoder = build_encoder(image_size, channels, latent_dim, hidden_units)
            self.decoder = build_decoder(image_size, channels, latent_dim, hidden_units)

    @property
    def players(self):
        return [Player("vae", [self.encoder, self.decoder], terms=("reconstruction", "kl"))]

    def default_optimizers(self):
        # Keras adds epsilon within the root, in those days its own behind it.
        rate = self.learning_rate_for(self.learning_rate)
        return {"vae": keras.optimizers.RMSprop(rate, epsilon=self.epsilon)}

    def sample_noise(self, images, labels=None):
        shape = (ops.shape(images)[0], self.latent_dim)
        return images, keras.random.normal(shape, stddev=self.epsilon_std, seed=self.noise)

    def losses(self, batch, training):
        images, epsilon = batch
        mean, log_variance = split(self.encoder(images, training=training))
        latents = mean + ops.exp(0.5 * log_variance) * epsilon
        reconstructions = self.decoder(latents, training=training)
        return {
            "vae": {
                # A quarter: on values in [0, 1], as the example has them, ours span [-1, 1].
                "reconstruction": squared_error(images, reconstructions) / 4,
                "kl": kl_divergence(mean, log_variance),
            }
        }

    def latents_from_faces(self, faces):
        return split(self.averaged("encoder")(faces, training=False))[0]

    def warnings(self, faces, logs):
        return super().warnings(faces, logs) + posterior_collapse(self.encode(faces))


def build_encoder(image_size, channels, latent_dim, hidden_units):
    """All values, a hidden layer, then mean and log-variance of the posterior."""
    return keras.Sequential(
        [
            keras.Input((image_size, image_size, channels)),
            layers.Flatten(),
            layers.Dense(hidden_units, activation="relu"),
            layers.Dense(2 * latent_dim, dtype="float32"),
        ],
        name="encoder",
    )


def build_decoder(image_size, channels, latent_dim, hidden_units):
    """A latent, a hidden layer, then all values: a sigmoid's [0, 1] stretched to [-1, 1]."""
    shape = (image_size, image_size, channels)
    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            layers.Dense(hidden_units, activation="relu"),
            layers.Dense(image_size * image_size * channels, activation="sigmoid", dtype="float32"),
            layers.Rescaling(2.0, offset=-1.0, dtype="float32"),
            layers.Reshape(shape, dtype="float32"),
        ],
        name="decoder",
    )
