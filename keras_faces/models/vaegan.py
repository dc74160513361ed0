"""VAE/GAN: Gruber, *Generating Facial Images using VAEGAN*, and the three-models report.

Gruber states: encoder, decoder and discriminator of "pretty standard architecture", 64x64 pictures,
50 epochs, batches of 64, RMSProp with an initial learning rate of 3e-3. The report states: a latent
dimension of 128, and a weight gamma of 1.5 or 15 on the similarity term when the decoder is
updated. Both build on Larsen, Sonderby, Larochelle and Winther, 2016,
https://arxiv.org/abs/1512.09300, who decide the rest, with their code. With D_l the
discriminator's feature map, x' the reconstruction and x_p a face from the prior (algorithm 1):

    similarity  = -log N(D_l(x) | D_l(x'), I)
    L_GAN       = log D(x) + log(1 - D(x_p)) + log(1 - D(x'))
    encoder       lowers KL + similarity
    decoder       lowers gamma similarity + L_GAN
    discriminator lowers - L_GAN

One forward pass serves all three, and no loss reaches weights of another player.

`target="sketch"` is what Gruber would like to do next (4): "train VAEGAN to generate facial
sketches from facial images". The encoder sees the photo, and x above is its sketch. This is beyond
the documents, so it is off by default.
"""

from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from keras_faces.errors import UserError, require_above, require_at_least, require_decay
from keras_faces.models import dcgan
from keras_faces.models.adversarial import LogitModel
from keras_faces.models.encoding import EncodingModel
from keras_faces.models.layers import BatchNormalization, Conv2DTranspose
from keras_faces.models.losses import (
    accuracies,
    cross_entropy,
    kl_divergence,
    posterior_collapse,
    split,
)
from keras_faces.models.sketches import beside, check_sketches, pairs_of
from keras_faces.pictures import rows_grid
from keras_faces.training.players import LEAST_EPSILON, Player


@keras.saving.register_keras_serializable(package="keras_faces")
class VAEGAN(EncodingModel, LogitModel):
    """Variational autoencoder that is judged by a discriminator's features instead of pixels.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (Gruber 3).
        channels: 1 for grey, 3 for colour (Larsen's code).
        latent_dim: Size of the latent z (Larsen's code).
        filters: Filters of the encoder's first layer; all other widths follow in Larsen's
            proportions (Larsen's code).
        hidden_units: Units of the encoder's dense layer; the discriminator's has half as many
            (Larsen's code).
        discriminator_norm: What the discriminator normalises over: `"batch"`, as Larsen's, or
            `"layer"`, each face by itself. In a batch of 16 the first lets faces from the prior
            change what real ones look like, and may never make faces of them.
        networks: `"larsen"`, or `"dcgan"` for a decoder and a discriminator of the DCGAN, of twice
            `filters`: half the work of a step. Its discriminator normalises faces from the prior
            apart from others, lest a batch's statistics tell it which they are.
        gamma: Weight of the similarity against the GAN's term in the decoder's loss; there the
            similarity is a mean over features, so that gamma does not depend on their number
            (Report 4.1.3).
        kl_weight: Factor of the KL divergence in the encoder's loss; 1 in all documents.
        copies_weight: Weight of reconstructions as fakes in the GAN's terms: 1 in Larsen's
            algorithm, 0 for faces from the prior alone.
        fake_weight: Weight of each kind of fakes, copies and faces from the prior, in the
            discriminator's loss, where real faces have 1. With 0.5 both kinds together weigh as
            much as real faces, as in Larsen's code (Larsen et al., algorithm 1).
        saturating: Whether the decoder descends log(1 - D), as Larsen's algorithm has it, or
            ascends log D (Report, eq. 3.16).
        equilibrium: The equilibrium rule's target of the discriminator's two losses (0.68 in
            Larsen's code); 0 for none. A player who is too far ahead sits turns out.
        margin: How far from `equilibrium` a loss may be before a player has to sit out (Larsen's
            code).
        learning_rate: Learning rate of all players' RMSProp, or Adam (Gruber 3).
        rho: RMSProp's decay of the gradient's mean square (Larsen's code).
        epsilon: RMSProp's floor under the gradient's mean square, whose root the gradient is
            divided by (Larsen's code: 1e-8 under the root itself).
        beta_1: Adam's decay of the gradient's mean; 0 for Gruber's RMSProp.
        target: What the decoder makes of a face's latent: `"itself"`, a copy of the face, or its
            `"sketch"`: the one that lies beside it, as in `pairs:PATH`, else the pencil filter's
            (beyond the documents; Gruber 4 would like to).
        **kwargs: Arguments of `LogitModel`.
    """

    generating = ("encoder", "decoder")
    measures = ("real_accuracy", "fake_accuracy")
    epochs = 50  # Gruber's
    batch_size = 64  # Gruber's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 128,
        filters: int = 64,
        hidden_units: int = 1024,
        discriminator_norm: Literal["batch", "layer"] = "batch",
        networks: Literal["larsen", "dcgan"] = "larsen",
        gamma: float = 15.0,
        kl_weight: float = 1.0,
        copies_weight: float = 1.0,
        fake_weight: float = 1.0,
        saturating: bool = True,
        equilibrium: float = 0.0,
        margin: float = 0.35,
        learning_rate: float = 3e-3,
        rho: float = 0.9,
        epsilon: float = 1e-16,
        beta_1: float = 0.0,
        target: Literal["itself", "sketch"] = "itself",
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim)
        require_at_least(2, filters=filters, hidden_units=hidden_units)
        require_above(0, gamma=gamma, fake_weight=fake_weight)
        require_at_least(0, kl_weight=kl_weight, copies_weight=copies_weight)
        require_at_least(0, equilibrium=equilibrium, margin=margin)
        require_decay(rho=rho, beta_1=beta_1)
        require_at_least(LEAST_EPSILON, epsilon=epsilon)
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.discriminator_norm = discriminator_norm
        self.networks = networks
        self.gamma = gamma
        self.kl_weight = kl_weight
        self.copies_weight = copies_weight
        self.fake_weight = fake_weight
        self.saturating = saturating
        self.equilibrium = equilibrium
        self.margin = margin
        self.learning_rate = learning_rate
        self.rho = rho
        self.epsilon = epsilon
        self.beta_1 = beta_1
        self.target = target
        if target == "sketch":
            self.translates_to, self.makes = ("sketch",), "sketch"
        with self.building():
            self.encoder = build_encoder(image_size, channels, latent_dim, filters, hidden_units)
            if networks == "dcgan":
                self.decoder = build_dcgan_decoder(image_size, channels, latent_dim, 2 * filters)
                self.discriminator = build_dcgan_discriminator(image_size, channels, 2 * filters)
            else:
                self.decoder = build_decoder(image_size, channels, latent_dim, filters)
                self.discriminator = build_discriminator(
                    image_size, channels, filters, hidden_units, discriminator_norm
                )

    @property
    def players(self):
        return [
            Player("encoder", [self.encoder], terms=("kl", "similarity")),
            Player("decoder", [self.decoder], terms=("similarity", "gan")),
            Player(
                "discriminator",
                [self.discriminator],
                terms=("real", "prior", "copies", *self.penalties),
            ),
        ]

    def default_optimizers(self):
        def optimizer():
            rate = self.learning_rate_for(self.learning_rate)
            if self.beta_1:
                return keras.optimizers.Adam(rate, beta_1=self.beta_1, beta_2=0.99)
            # Keras adds epsilon within the root, Larsen's code its own behind it.
            return keras.optimizers.RMSprop(rate, rho=self.rho, epsilon=self.epsilon)

        return {player.name: optimizer() for player in self.players}

    def check_data(self, stream, labels, batch_size):
        if self.translates_to:
            check_sketches(self, stream, labels, paired=True)
        else:
            super().check_data(stream, labels, batch_size)

    def sample_noise(self, images, labels=None):
        targets = beside(images, labels) if self.translates_to else images
        shape = (ops.shape(images)[0], self.latent_dim)
        epsilon = keras.random.normal(shape, seed=self.noise)
        return images, targets, epsilon, keras.random.normal(shape, seed=self.noise)

    def losses(self, batch, training):
        images, targets, epsilon, latents = batch
        mean, log_variance = split(self.encoder(images, training=training))
        codes = mean + ops.exp(0.5 * log_variance) * epsilon
        # All in one pass, so that batch normalisation takes nothing away: with statistics of their
        # own, reconstructions of another contrast would have the very features of their originals,
        # and faces would be made by a running mean that neither codes nor priors were decoded by.
        both = self.decoder(ops.concatenate([codes, latents]), training=training)
        reconstructions, samples = ops.split(both, 2)
        change = self.draw_change(ops.shape(images)[0])  # a face and its copy alike
        targets = change(targets)
        judged = [targets, change(reconstructions), self.seen(samples)]
        if self.networks == "dcgan":
            logits, features = self.discriminator(ops.concatenate(judged[:2]), training=training)
            real, copy = ops.split(logits, 2)
            fake, _ = self.discriminator(judged[2], training=training)
        else:
            logits, features = self.discriminator(ops.concatenate(judged), training=training)
            real, copy, fake = ops.split(logits, 3)
        count = ops.shape(images)[0]
        real_features, copy_features = features[:count, ...], features[count : 2 * count, ...]
        squares = 0.5 * ops.square(real_features - copy_features)
        if self.saturating:
            gan = -cross_entropy(fake, 0) - self.copies_weight * cross_entropy(copy, 0)
        else:
            gan = cross_entropy(fake, 1) + self.copies_weight * cross_entropy(copy, 1)
        return {
            "encoder": {
                "kl": self.kl_weight * kl_divergence(mean, log_variance),
                "similarity": ops.mean(ops.sum(squares, axis=(1, 2, 3))),
            },
            "decoder": {"similarity": self.gamma * ops.mean(squares), "gan": gan},
            "discriminator": {
                "real": cross_entropy(real, 1),
                "prior": self.fake_weight * cross_entropy(fake, 0),
                "copies": self.fake_weight * self.copies_weight * cross_entropy(copy, 0),
                **self.penalty(
                    lambda faces: self.discriminator(faces, training=training)[0], targets
                ),
            },
            "measures": accuracies(real, fake),
        }

    def update_masks(self, terms):
        """Larsen's equilibrium rule: whoever is too far ahead waits; if both are, both move."""
        if not self.equilibrium:
            return {}
        costs = terms["discriminator"]
        real, fakes = costs["real"], costs["prior"] + costs["copies"]
        fake = fakes / (self.fake_weight * (1.0 + self.copies_weight))
        low, high = self.equilibrium - self.margin, self.equilibrium + self.margin
        strong = ops.logical_or(real < low, fake < low)
        weak = ops.logical_or(real > high, fake > high)
        both = ops.logical_and(strong, weak)
        return {
            "discriminator": ops.logical_or(ops.logical_not(strong), both),
            "decoder": ops.logical_or(ops.logical_not(weak), both),
        }

    def latents_from_faces(self, faces):
        return split(self.averaged("encoder")(faces, training=False))[0]

    # With a target other than the face itself.

    def translate(self, faces, to: str = "sketch") -> np.ndarray:
        """Turn photos into sketches, where the model has learnt these.

        Args:
            faces: Photos in [-1, 1], of shape `(count, image_size, image_size, channels)`.
            to: `"sketch"`.

        Returns:
            Float32 pictures of the same shape in [-1, 1].

        Raises:
            UserError: If the pictures do not fit, or the model does not translate to this.
        """
        self.check_translation(to)
        return self.decode(self.encode(faces))

    def reconstruct(self, faces):
        if self.translates_to:
            raise UserError(
                "This VAEGAN has learnt to make sketches of photos, not copies of them. Use "
                "translate(faces), or on the command line: keras-faces translate RUN IMAGE"
            )
        return super().reconstruct(faces)

    def originals(self, count, seed, stream):
        if self.translates_to:
            return pairs_of(stream, count, seed)[1]
        return super().originals(count, seed, stream)

    def faces_and_copies(self, count, seed, stream):
        if self.translates_to:
            photos, drawn = pairs_of(stream, count, seed)
            return drawn, self.translate(photos)
        return super().faces_and_copies(count, seed, stream)

    def pictures_of_faces(self, count, seed, stream):
        if self.translates_to:
            photos, drawn = pairs_of(stream, count, seed)
            return {"sketches": rows_grid(photos, drawn, self.translate(photos))}
        return super().pictures_of_faces(count, seed, stream)

    def signatures(self):
        found = super().signatures()
        if self.translates_to:
            _, made = found.pop("reconstruct")
            found["photo_to_sketch"] = ({"photos": self.image_shape}, made)
        return found

    def warnings(self, faces, logs):
        return super().warnings(faces, logs) + posterior_collapse(self.encode(faces))


def build_encoder(image_size, channels, latent_dim, filters, hidden_units):
    """Larsen's encoder: 5x5 convolutions with stride 2 down to 8x8, dense, mean, log-variance."""
    network = keras.Sequential([keras.Input((image_size, image_size, channels))], name="encoder")
    for halving in range(halvings(image_size)):
        network.add(down(min(filters * 2**halving, 4 * filters)))
        network.add(normalisation())
        network.add(layers.ReLU())
    network.add(layers.Flatten())
    network.add(layers.Dense(hidden_units, use_bias=False))
    network.add(normalisation())
    network.add(layers.ReLU())
    network.add(layers.Dense(2 * latent_dim, dtype="float32"))
    return network


def build_decoder(image_size, channels, latent_dim, filters):
    """Larsen's decoder: dense to 8x8, 5x5 transposed convolutions with stride 2, 5x5, tanh."""
    network = keras.Sequential([keras.Input((latent_dim,))], name="decoder")
    network.add(layers.Dense(8 * 8 * 4 * filters, use_bias=False))
    network.add(normalisation())
    network.add(layers.ReLU())
    network.add(layers.Reshape((8, 8, 4 * filters)))
    for width in widths(image_size, 4 * filters, 2 * filters, filters // 2):
        network.add(Conv2DTranspose(width, 5, strides=2, padding="same", use_bias=False))
        network.add(normalisation())
        network.add(layers.ReLU())
    network.add(layers.Conv2D(channels, 5, padding="same", dtype="float32"))
    network.add(layers.Activation("tanh", dtype="float32"))
    return network


def build_discriminator(image_size, channels, filters, hidden_units, norm):
    """Larsen's discriminator: a logit, and D_l, its last convolution before the norm."""
    normalised = {"batch": normalisation, "layer": layer_normalisation}[norm]
    images = keras.Input((image_size, image_size, channels))
    x = layers.ReLU()(layers.Conv2D(filters // 2, 5, padding="same")(images))
    for width in widths(image_size, 2 * filters, 4 * filters, 4 * filters):
        features = down(width)(x)
        x = layers.ReLU()(normalised()(features))
    x = layers.Dense(hidden_units // 2, use_bias=False)(layers.Flatten()(x))
    x = layers.ReLU()(normalised()(x))
    logit = layers.Dense(1, dtype="float32")(x)
    features = layers.Activation("linear", dtype="float32")(features)
    return keras.Model(images, [logit, features], name="discriminator")


def build_dcgan_decoder(image_size, channels, latent_dim, filters):
    """The DCGAN's generator."""
    network = dcgan.build_generator(image_size, channels, latent_dim, filters)
    network.name = "decoder"
    return network


def build_dcgan_discriminator(image_size, channels, filters):
    """The DCGAN's discriminator: a logit, and D_l, its last 8x8 convolution after the norm.

    Before the norm, features that weights from N(0, 0.02) make are too small for the similarity to
    outweigh the divergence, and the posterior collapses.
    """
    network = dcgan.build_discriminator(image_size, channels, filters)
    tensors = [layer.output for layer in network.layers]
    last = [n for n, x in enumerate(tensors) if len(x.shape) == 4 and x.shape[1] == 8][-2]
    features = layers.Activation("linear", dtype="float32")(tensors[last])
    return keras.Model(network.inputs[0], [network.outputs[0], features], name="discriminator")


def halvings(image_size: int) -> int:
    """Return how often the size halves down to 8."""
    return (image_size // 8).bit_length() - 1


def widths(image_size, first, middle, last) -> list[int]:
    """Return the filters of as many layers as the size doubles from 8: Larsen's three at 64."""
    return [first, *[middle] * (halvings(image_size) - 2), last]


def down(filters):
    return layers.Conv2D(filters, 5, strides=2, padding="same", use_bias=False)


def normalisation():
    return BatchNormalization(momentum=0.9, epsilon=1e-6)


def layer_normalisation():
    return layers.GroupNormalization(groups=1, epsilon=1e-6)
