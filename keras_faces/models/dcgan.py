"""DCGAN: Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434.

The baseline of Zhang et al., *Realistic Face Image Generation Based on GAN*, and the GAN of the
three-models report. Both name it and state neither networks nor optimizer, so the paper decides:
strided convolutions, batch normalisation except at the generator's output and the discriminator's
input, ReLU in the generator and tanh at its end, LeakyReLU 0.2 in the discriminator, weights from
N(0, 0.02), Adam with learning rate 2e-4 and beta1 0.5. Widths, the 4x4 kernels and the normal
prior are those of the example code that most comparisons use (64 filters, 100 latents): 3,576,704
and 2,765,568 trainable parameters at 64x64x3.

Both players move at once, seeing the same weights, so that one forward pass serves both losses;
Goodfellow's algorithm 1 lets the discriminator move first.
"""

import keras
from keras import layers, ops

from keras_faces.errors import require_at_least, require_decay
from keras_faces.models.adversarial import LogitModel
from keras_faces.models.layers import BatchNormalization, Conv2DTranspose
from keras_faces.models.losses import accuracies, cross_entropy, one_sided
from keras_faces.training.players import Player


@keras.saving.register_keras_serializable(package="keras_faces")
class DCGAN(LogitModel):
    """Convolutional generator against convolutional discriminator.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (Report 2.1).
        channels: 1 for grey, 3 for colour (Report 2.1).
        latent_dim: Size of the latent z, which is drawn from N(0, I) (the authors' code).
        filters: Filters of the generator's last and the discriminator's first hidden layer; they
            double with every halving of the size (PyTorch's example).
        learning_rate: Learning rate of both players' Adam (Radford et al.).
        beta_1: Adam's decay of the gradient's mean, for both players (Radford et al.).
        **kwargs: Arguments of `LogitModel`.
    """

    generating = ("generator",)
    measures = ("real_accuracy", "fake_accuracy")
    epochs = 300  # the report's
    batch_size = 128  # Radford et al.'s

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 100,
        filters: int = 64,
        learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, filters=filters)
        require_decay(beta_1=beta_1)
        self.latent_dim = latent_dim
        self.filters = filters
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        with self.building():
            self.generator = build_generator(image_size, channels, latent_dim, filters)
            self.discriminator = build_discriminator(image_size, channels, filters)

    @property
    def players(self):
        return [
            Player("discriminator", [self.discriminator], terms=("real", "fake", *self.penalties)),
            Player("generator", [self.generator], terms=("fake",)),
        ]

    def default_optimizers(self):
        return {
            player.name: keras.optimizers.Adam(
                self.learning_rate_for(self.learning_rate), beta_1=self.beta_1
            )
            for player in self.players
        }

    def sample_noise(self, images, labels=None):
        return images, keras.random.normal((ops.shape(images)[0], self.latent_dim), seed=self.noise)

    def losses(self, batch, training):
        images, latents = batch
        images, fakes = self.seen(images), self.seen(self.generator(latents, training=training))
        real = self.discriminator(images, training=training)
        fake = self.discriminator(fakes, training=training)
        return {
            "discriminator": {
                "real": cross_entropy(real, 1),
                "fake": cross_entropy(fake, 0),
                **self.penalty(lambda faces: self.discriminator(faces, training=training), images),
            },
            "generator": {"fake": cross_entropy(fake, 1)},
            "measures": accuracies(real, fake),
        }

    def feature_network(self):
        return self.discriminator

    def warnings(self, faces, logs):
        return super().warnings(faces, logs) + one_sided(logs)


def build_generator(image_size, channels, latent_dim, filters):
    """Project a latent to 4x4 and double the size until the image's."""
    doublings = (image_size // 4).bit_length() - 1
    width = filters * 2 ** (doublings - 1)
    network = keras.Sequential([keras.Input((latent_dim,))], name="generator")
    # A transposed 4x4 convolution of a 1x1 map, written as the dense layer it is.
    network.add(layers.Dense(4 * 4 * width, use_bias=False, kernel_initializer=normal()))
    network.add(layers.Reshape((4, 4, width)))
    for _ in range(doublings - 1):
        network.add(normalisation())
        network.add(layers.ReLU())
        width //= 2
        network.add(up(width))
    network.add(normalisation())
    network.add(layers.ReLU())
    network.add(up(channels))
    network.add(layers.Activation("tanh", dtype="float32"))
    return network


def build_discriminator(image_size, channels, filters, normalised=True):
    """Halve the size down to 4x4, then a logit."""
    halvings = (image_size // 4).bit_length() - 1
    network = keras.Sequential(
        [keras.Input((image_size, image_size, channels))], name="discriminator"
    )
    for halving in range(halvings):
        network.add(down(filters * 2**halving))
        if halving and normalised:
            network.add(normalisation())
        network.add(layers.LeakyReLU(0.2))
    network.add(layers.Conv2D(1, 4, use_bias=False, kernel_initializer=normal(), dtype="float32"))
    network.add(layers.Flatten(dtype="float32"))
    return network


def up(filters):
    return Conv2DTranspose(
        filters, 4, strides=2, padding="same", use_bias=False, kernel_initializer=normal()
    )


def down(filters):
    return layers.Conv2D(
        filters, 4, strides=2, padding="same", use_bias=False, kernel_initializer=normal()
    )


def normalisation():
    return BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=normal(mean=1.0))


def normal(mean: float = 0.0):
    return keras.initializers.RandomNormal(mean, 0.02)
