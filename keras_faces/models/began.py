"""BEGAN: the model of Zhang et al., *Realistic Face Image Generation Based on GAN*.

Zhang states: a discriminator that is an autoencoder, with two convolutions a layer, filters that
grow linearly at every sub-sampling, strides of two down and nearest neighbours up; a generator
with "the same architecture as the discriminator decoder, but with different weights"; the losses
of his eq. (2), a hyper-parameter gamma in [0, 1]; learning rate 1e-4, times 0.9 every 2000
iterations; models of 64x64 and 128x128.

Eq. (2) is damaged, and the text has the discriminator end in a sigmoid although its losses judge
reconstructions. That is BEGAN: Berthelot, Schumm and Metz, 2017,
https://arxiv.org/abs/1703.10717, which decides: L(v) = mean |v - D(v)| and

    L_D = L(x) - k_t L(G(z)),    L_G = L(G(z)),
    k_{t+1} = clip(k_t + lambda_k (gamma L(x) - L(G(z))), 0, 1),
    M = L(x) + |gamma L(x) - L(G(z))|.

Of the generator Zhang writes two things that exclude each other: the decoder's architecture, and a
dense layer followed by transposed convolutions with stride 2, ReLU, and tanh at the end.
`generator_architecture` chooses; the ledger says why `"decoder"` is the default.
"""

from typing import Literal

import keras
from keras import layers, ops

from keras_faces.errors import (
    UserError,
    require_above,
    require_at_least,
    require_at_most,
    require_decay,
)
from keras_faces.models.adversarial import AdversarialModel
from keras_faces.models.base import map_batches
from keras_faces.models.dcgan import normalisation
from keras_faces.models.layers import Conv2D, Conv2DTranspose
from keras_faces.pictures import rows_grid
from keras_faces.training.game import Multiple
from keras_faces.training.players import LEAST_EPSILON, Player
from keras_faces.training.schedules import Schedule

MEMORY = 0.98  # of the running mean of how far real faces are apart


@keras.saving.register_keras_serializable(package="keras_faces")
class BEGAN(AdversarialModel):
    """Generator against an autoencoder, kept in balance by k_t.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (Zhang 4.2).
        channels: 1 for grey, 3 for colour (Zhang 3.1).
        latent_dim: Size of the latent z, which is uniform in [-1, 1], and of the autoencoder's
            (BEGAN-tensorflow).
        filters: Filters n of the first layer: the encoder's grow by n at every sub-sampling, the
            decoders have n throughout (BEGAN-tensorflow).
        gamma: Diversity ratio, the target of L(G(z)) / L(x): lower is less diverse (Zhang 3.2; its
            value of BEGAN-tensorflow).
        k_gain: lambda_k, the learning rate of k_t (Zhang 3.3, eq. 2; its value of
            BEGAN-tensorflow).
        k_floor: What k_t never falls below, 0 in BEGAN. An autoencoder that knows few faces by
            heart copies generated ones as well, whereupon k_t falls to 0 and nothing keeps these
            apart.
        generator_architecture: `"decoder"`, as BEGAN's and as Zhang's first sentence has it, or
            `"deconvolution"`, as Zhang's second: a dense layer, then transposed 4x4 convolutions
            with stride 2, batch normalisation, ReLU, and tanh at the end (Zhang 3.1).
        skip_connections: Whether the decoders' first 8x8 tensor is joined to every tensor that has
            been brought to twice the size (BEGAN, section 3.5), which speeds learning up.
        learning_rate: Learning rate of both players' Adam (Zhang 4.2).
        generator_rate: Factor of the generator's learning rate. Below 1 the autoencoder gets to
            know how faces differ before the generator settles on one (two time scales: Heusel et
            al., 2017).
        beta_1: Adam's decay of the gradient's mean, for both players (as BEGAN-tensorflow was
            trained).
        epsilon: Adam's floor under the root of the gradient's mean square (BEGAN-tensorflow).
        spread: Weight of a term of the generator's loss that BEGAN lacks, 0 for none: by how much
            its faces differ less from each other than `spread_target` times as much as real ones.
        spread_target: See `spread`; differences are mean absolute ones between neighbours in a
            batch.
        schedule: Learning-rate schedule (Zhang 4.2).
        decay_steps: Steps between two decays (Zhang 4.2).
        decay_rate: Factor of one decay (Zhang 4.2).
        **kwargs: Arguments of `AdversarialModel`.
    """

    generating = ("generator",)
    measures = ("real_error", "generated_error", "k", "convergence")
    epochs = 10  # of CelebA: 100,000 steps, after which Zhang's decay leaves 0.5 % of the rate
    batch_size = 16  # BEGAN's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 64,
        filters: int = 128,
        gamma: float = 0.5,
        k_gain: float = 0.001,
        k_floor: float = 0.0,
        generator_architecture: Literal["decoder", "deconvolution"] = "decoder",
        skip_connections: bool = False,
        learning_rate: float = 1e-4,
        generator_rate: float = 1.0,
        beta_1: float = 0.9,
        epsilon: float = 1e-8,
        spread: float = 0.0,
        spread_target: float = 0.75,
        schedule: Schedule = "exponential",
        decay_steps: int = 2000,
        decay_rate: float = 0.9,
        **kwargs,
    ):
        super().__init__(
            image_size=image_size,
            channels=channels,
            schedule=schedule,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            **kwargs,
        )
        require_at_least(1, latent_dim=latent_dim, filters=filters)
        require_at_least(0, k_gain=k_gain, k_floor=k_floor, spread=spread)
        require_at_most(1, k_floor=k_floor)
        require_above(0, generator_rate=generator_rate, spread_target=spread_target)
        require_decay(beta_1=beta_1)
        require_at_least(LEAST_EPSILON, epsilon=epsilon)
        if not 0 < gamma <= 1:
            raise UserError(f"gamma must lie in (0, 1]. Received: {gamma!r}.")
        self.latent_dim = latent_dim
        self.filters = filters
        self.gamma = gamma
        self.k_gain = k_gain
        self.k_floor = k_floor
        self.generator_architecture = generator_architecture
        self.skip_connections = skip_connections
        self.learning_rate = learning_rate
        self.generator_rate = generator_rate
        self.beta_1 = beta_1
        self.epsilon = epsilon
        self.spread = spread
        self.spread_target = spread_target
        with self.building():
            sizes = (image_size, channels, latent_dim, filters)
            if generator_architecture == "decoder":
                self.generator = build_decoder(*sizes, skip_connections, name="generator")
            else:
                self.generator = build_deconvolution(*sizes, name="generator")
            decoder = build_decoder(*sizes, skip_connections, name="decoder")
            self.discriminator = keras.Sequential(
                [build_encoder(*sizes), decoder], name="discriminator"
            )
            self.discriminator.build((None, image_size, image_size, channels))
        self.k = self._scalar("k")
        if spread:
            self.real_distance = self._scalar("real_distance")

    def _scalar(self, name):
        return self.add_weight(
            name=name, shape=(), initializer="zeros", trainable=False, aggregation="mean"
        )

    @property
    def players(self):
        spread = ("spread",) if self.spread else ()
        return [
            Player("discriminator", [self.discriminator], terms=("real", "fake")),
            Player("generator", [self.generator], terms=("fake", *spread)),
        ]

    def default_optimizers(self):
        factors = {"discriminator": 1.0, "generator": self.generator_rate}
        return {
            name: keras.optimizers.Adam(
                self.learning_rate_for(self.learning_rate * factor),
                beta_1=self.beta_1,
                epsilon=self.epsilon,
            )
            for name, factor in factors.items()
        }

    def sample_noise(self, images, labels=None):
        shape = (ops.shape(images)[0], self.latent_dim)
        return images, keras.random.uniform(shape, -1.0, 1.0, seed=self.noise)

    def losses(self, batch, training):
        images, latents = batch
        faces = self.generator(latents, training=training)
        real = self.reconstruction_error(self.seen(images), training)
        fake = self.reconstruction_error(self.seen(faces), training)
        terms = {
            "discriminator": {"real": real, "fake": -self.k * fake},
            "generator": {"fake": fake},
        }
        if self.spread:
            missing = self.spread_target * self.real_distance - difference_to_next(faces)
            terms["generator"]["spread"] = self.spread * ops.relu(missing)
            terms["measures"] = {"real_distance": difference_to_next(images)}
        return terms

    def multiples(self):
        return {"discriminator": Multiple("fake", of="generator", factor=-self.k)}

    def reconstruction_error(self, images, training=False):
        """Return L(v) = mean |v - D(v)|, the discriminator's error on images."""
        return ops.mean(ops.abs(images - self.discriminator(images, training=training)))

    def balance(self, terms):
        """Return gamma L(x) - L(G(z))."""
        return self.gamma * terms["discriminator"]["real"] - terms["generator"]["fake"]

    def adjust(self, terms):
        k = self.k + self.k_gain * self.balance(terms)
        self.k.assign(ops.clip(k, self.k_floor, 1.0))
        if self.spread:
            # A running mean: one small batch says little of how far faces are apart.
            now = terms["measures"]["real_distance"]
            self.real_distance.assign(MEMORY * self.real_distance + (1 - MEMORY) * now)

    def measure(self, terms):
        real = terms["discriminator"]["real"]
        return {
            "real_error": real,
            "generated_error": terms["generator"]["fake"],
            "k": self.k,
            "convergence": real + ops.abs(self.balance(terms)),
        }

    def latents_from_noise(self, noise, sampler):
        # The distribution function of the normal makes it uniform in [-1, 1].
        return ops.erf(noise / 2**0.5)

    def noise_from_latents(self, latents):
        # The edge itself is infinitely far out.
        return 2**0.5 * ops.erfinv(ops.clip(latents, -1 + 1e-6, 1 - 1e-6))

    def faces_from_latents(self, latents):
        # BEGAN's decoder ends without tanh, and its pictures are clipped when they are shown.
        return ops.clip(super().faces_from_latents(latents), -1.0, 1.0)

    def pictures_of_faces(self, count, seed, stream):
        originals = stream.sample(count, seed)
        copies = map_batches(lambda faces: self.discriminator(faces, training=False), originals)
        return {"autoencoded": rows_grid(originals, copies)}

    def warnings(self, faces, logs):
        warnings = super().warnings(faces, logs)
        if logs["k"] > 0.99:
            warnings.append(
                "k_t is at its upper end, 1: the generator is far ahead of the autoencoder and "
                "may collapse. Try a lower learning rate or a smaller gamma."
            )
        return warnings


def difference_to_next(faces):
    """Return the mean absolute difference between each face of a batch and the next."""
    return ops.mean(ops.abs(faces - ops.roll(faces, 1, axis=0)))


def build_decoder(image_size, channels, latent_dim, filters, skip_connections, name):
    """Project a latent to 8x8; two convolutions a size, nearest neighbours up. No batch norm."""
    latents = keras.Input((latent_dim,))
    first = layers.Reshape((8, 8, filters))(layers.Dense(8 * 8 * filters)(latents))
    x, size = first, 8
    while True:
        x = Conv2D(filters, 3, padding="same", activation="elu", doubled=size > 8)(x)
        x = layers.Conv2D(filters, 3, padding="same", activation="elu")(x)
        if size == image_size:
            break
        x, size = layers.UpSampling2D(2, interpolation="nearest")(x), 2 * size
        if skip_connections:
            enlarged = layers.UpSampling2D(size // 8, interpolation="nearest")(first)
            x = layers.Concatenate()([x, enlarged])
    x = layers.Conv2D(channels, 3, padding="same", dtype="float32")(x)
    return keras.Model(latents, x, name=name)


def build_encoder(image_size, channels, latent_dim, filters):
    """Two convolutions a size, filters growing linearly, strides of two down to 8x8, a latent."""
    network = keras.Sequential([keras.Input((image_size, image_size, channels))], name="encoder")
    network.add(layers.Conv2D(filters, 3, padding="same", activation="elu"))
    size, width = image_size, filters
    while True:
        for _ in range(2):
            network.add(layers.Conv2D(width, 3, padding="same", activation="elu"))
        if size == 8:
            break
        network.add(layers.Conv2D(width, 3, strides=2, padding="same", activation="elu"))
        size //= 2
        width += filters
    network.add(layers.Flatten())
    network.add(layers.Dense(latent_dim))
    return network


def build_deconvolution(image_size, channels, latent_dim, filters, name):
    """Project a latent to 8x8; transposed convolutions with stride 2, ReLU, tanh at the end."""
    doublings = (image_size // 8).bit_length() - 1
    width = filters * doublings
    network = keras.Sequential([keras.Input((latent_dim,))], name=name)
    network.add(layers.Dense(8 * 8 * width, use_bias=False))
    network.add(layers.Reshape((8, 8, width)))
    for _ in range(doublings - 1):
        network.add(normalisation())
        network.add(layers.ReLU())
        width -= filters
        network.add(Conv2DTranspose(width, 4, strides=2, padding="same", use_bias=False))
    network.add(normalisation())
    network.add(layers.ReLU())
    network.add(Conv2DTranspose(channels, 4, strides=2, padding="same"))
    network.add(layers.Activation("tanh", dtype="float32"))
    return network
