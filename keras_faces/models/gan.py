"""GAN: the adversarial network of the Simon Fraser University report, sections 2.2 and 3.

The report lists both networks layer by layer, as they stand here: dense layers, up-sampling, 5x5
convolutions and tanh in the generator; 5x5 convolutions, tanh and max-pooling in the discriminator,
whose closing sigmoid is part of the loss here, where it cannot overflow. It prints the algorithm of
Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661: a step of the discriminator, then, with
new noise, one of the generator (k = 1), which descends

    mean log(1 - D(G(z))).

"We used momentum": the rule is stated, neither its rate nor its momentum is. The layers are those
of a well-known Keras example of the time (keras-dcgan), which decides: learning rate 5e-4, Nesterov
momentum 0.9, noise uniform in [-1, 1], a tanh between the two dense layers. The last is listed
without, and so it is here; see `hidden_activation`.

"We tried various modifications": ReLU, dropout in the discriminator and batch normalisation in
it are options, off by default; where they stood is not said.
"""

from typing import Literal

import keras
from keras import layers, ops

from keras_faces.errors import require_at_least, require_decay
from keras_faces.models.adversarial import LogitModel
from keras_faces.models.layers import BatchNormalization, Conv2D
from keras_faces.models.losses import accuracies, cross_entropy, one_sided
from keras_faces.training.players import Player


@keras.saving.register_keras_serializable(package="keras_faces")
class GAN(LogitModel):
    """Generator of up-sampling and 5x5 convolutions against a max-pooling discriminator, in tanh.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (SFU 3).
        channels: 1 for grey, 3 for colour (SFU 3).
        latent_dim: Size of the latent z, which is uniform in [-1, 1] (SFU 3).
        filters: Filters of the generator's last and the discriminator's first hidden convolution;
            twice as many next to the dense layers (SFU 3).
        hidden_units: Units of the dense layer in either network (SFU 3).
        hidden_activation: `"linear"`, as the report lists it, or `"tanh"`, after the generator's
            first dense layer.
        activation: `"tanh"`, or `"relu"` in all hidden layers that have a tanh; the pictures keep
            theirs (SFU 3; ReLU was tried).
        dropout: Share of the discriminator's hidden units that are dropped in training; 0 for none
            (SFU 3; it was tried).
        discriminator_norm: `"none"`, or `"batch"` to normalise over batches before the activations
            of the discriminator's hidden layers but the first (SFU 3; it was tried).
        saturating: Whether the generator descends log(1 - D(G(z))), as the printed algorithm has
            it, or ascends log D(G(z)), as Goodfellow et al. advise where the discriminator wins.
        rule: `"momentum"`, as the report states, or `"adam"`. At 64x64 the gradient of the
            generator's last convolution, a sum over all pixels, is up to hundreds of times that
            of its dense layers, so no rate of plain descent suits both; Adam scales each alone.
        learning_rate: Learning rate of both players (keras-dcgan).
        momentum: Nesterov momentum of both players; with Adam, its beta1 (SFU 2.2; its value of
            keras-dcgan).
        **kwargs: Arguments of `LogitModel`.
    """

    generating = ("generator",)
    measures = ("real_accuracy", "fake_accuracy")
    epochs = 250  # the report's
    batch_size = 100  # the report's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 100,
        filters: int = 64,
        hidden_units: int = 1024,
        hidden_activation: Literal["linear", "tanh"] = "linear",
        activation: Literal["tanh", "relu"] = "tanh",
        dropout: float = 0.0,
        discriminator_norm: Literal["none", "batch"] = "none",
        saturating: bool = True,
        rule: Literal["momentum", "adam"] = "momentum",
        learning_rate: float = 5e-4,
        momentum: float = 0.9,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, filters=filters, hidden_units=hidden_units)
        require_decay(momentum=momentum, dropout=dropout)
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.hidden_activation = hidden_activation
        self.activation = activation
        self.dropout = dropout
        self.discriminator_norm = discriminator_norm
        self.saturating = saturating
        self.rule = rule
        self.learning_rate = learning_rate
        self.momentum = momentum
        with self.building():
            self.generator = build_generator(
                image_size,
                channels,
                latent_dim,
                filters,
                hidden_units,
                hidden_activation,
                activation,
            )
            self.discriminator = build_discriminator(
                image_size, channels, filters, hidden_units, activation, dropout, discriminator_norm
            )

    @property
    def players(self):
        return [
            Player("discriminator", [self.discriminator], terms=("real", "fake", *self.penalties)),
            Player("generator", [self.generator], terms=("fake",)),
        ]

    def default_optimizers(self):
        def optimizer():
            rate = self.learning_rate_for(self.learning_rate)
            if self.rule == "adam":
                return keras.optimizers.Adam(rate, beta_1=self.momentum)
            return keras.optimizers.SGD(rate, momentum=self.momentum, nesterov=self.momentum > 0)

        return {player.name: optimizer() for player in self.players}

    def sample_noise(self, images, labels=None):
        shape = (ops.shape(images)[0], self.latent_dim)
        return images, keras.random.uniform(shape, -1.0, 1.0, seed=self.noise)

    def turns(self, images, labels=None):
        discriminator, generator = self.players
        yield [discriminator], self.sample_noise(images)
        _, latents = self.sample_noise(images)
        yield [generator], (None, latents)  # who has no use for real faces

    def losses(self, batch, training):
        images, latents = batch
        images = None if images is None else self.seen(images)
        fakes = self.seen(self.generator(latents, training=training))
        real = None if images is None else self.discriminator(images, training=training)
        fake = self.discriminator(fakes, training=training)
        fooled = -cross_entropy(fake, 0) if self.saturating else cross_entropy(fake, 1)
        generator = {"generator": {"fake": fooled}}
        if images is None:
            return generator
        return generator | {
            "discriminator": {
                "real": cross_entropy(real, 1),
                "fake": cross_entropy(fake, 0),
                **self.penalty(lambda faces: self.discriminator(faces, training=training), images),
            },
            "measures": accuracies(real, fake),
        }

    def latents_from_noise(self, noise, sampler):
        # The distribution function of the normal makes it uniform in [-1, 1].
        return ops.erf(noise / 2**0.5)

    def noise_from_latents(self, latents):
        # The edge itself is infinitely far out.
        return 2**0.5 * ops.erfinv(ops.clip(latents, -1 + 1e-6, 1 - 1e-6))

    def feature_network(self):
        return self.discriminator

    def warnings(self, faces, logs):
        return super().warnings(faces, logs) + one_sided(logs)


def build_generator(
    image_size, channels, latent_dim, filters, hidden_units, hidden_activation, activation
):
    """The report's generator: dense, dense, two doublings with 5x5 convolutions, tanh."""
    base = image_size // 4
    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            layers.Dense(hidden_units, activation=hidden_activation),
            layers.Dense(2 * filters * base * base, use_bias=False),
            BatchNormalization(),
            layers.Activation(activation),
            layers.Reshape((base, base, 2 * filters)),
            layers.UpSampling2D(2),
            Conv2D(filters, 5, padding="same", doubled=True),
            layers.Activation(activation),
            layers.UpSampling2D(2),
            Conv2D(channels, 5, padding="same", doubled=True),
            layers.Activation("tanh", dtype="float32"),
        ],
        name="generator",
    )


def build_discriminator(image_size, channels, filters, hidden_units, activation, dropout, norm):
    """The report's discriminator up to its sigmoid, which the loss holds.

    Dropout stands behind each hidden layer. The first layer has no norm, as in the DCGAN, and those
    with one have no bias.
    """
    normed = norm == "batch"

    def active(normed):
        return [
            *([BatchNormalization()] if normed else []),
            layers.Activation(activation),
            *([layers.Dropout(dropout)] if dropout else []),
        ]

    return keras.Sequential(
        [
            keras.Input((image_size, image_size, channels)),
            layers.Conv2D(filters, 5, padding="same"),
            *active(normed=False),
            layers.MaxPooling2D(2),
            layers.Conv2D(2 * filters, 5, use_bias=not normed),
            *active(normed),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(hidden_units, use_bias=not normed),
            *active(normed),
            layers.Dense(1, dtype="float32"),
        ],
        name="discriminator",
    )
