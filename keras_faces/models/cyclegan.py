"""CycleGAN between sketches and photos: the last part of the slides on Zhang et al.'s paper.

The slides print both networks: a discriminator of five 4x4 convolutions, and a generator of three
4x4 convolutions with stride 2, six residual blocks and three transposed convolutions, with batch
normalisation, ReLU and tanh; the comments beside them show that pictures were 128x128. They print
neither losses nor training. Zhu, Park, Isola and Efros, 2017, https://arxiv.org/abs/1703.10593,
decide: least-squares losses, |F(G(x)) - x| times 10, the identity |G(y) - y| times 5, a pool of 50
generated pictures for the discriminators, whose losses are halved, Adam with learning rate 2e-4 and
beta1 0.5, constant for 100 epochs and linear to 0 within 100 more.

`architecture="resnet"` with `residual_blocks=9` is the paper's generator, against its 70x70
PatchGAN, with instance normalisation.

Data need no pairs. Without sketches of their own, photos are turned into some by the pencil filter
of every photo editor: the grey picture divided by its own blur ("colour dodge"). Sketches by hand
come from `pairs:PATH`; in training each lies beside the photo after its own, so that even of a set
of pairs the model sees none.
"""

import contextlib
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from keras_faces.errors import (
    UserError,
    require_at_least,
    require_at_most,
    require_decay,
)
from keras_faces.models.adversarial import AdversarialModel
from keras_faces.models.base import DOMAINS, map_batches
from keras_faces.models.layers import BatchNormalization, Conv2DTranspose, ReflectionPadding2D
from keras_faces.models.sketches import beside, check_sketches, pairs_of
from keras_faces.pencil import sketches_of
from keras_faces.pictures import rows_grid
from keras_faces.training.players import Player
from keras_faces.training.schedules import Schedule


@keras.saving.register_keras_serializable(package="keras_faces")
class CycleGAN(AdversarialModel):
    """Translators from sketch to photo and from photo to sketch, learnt from unpaired pictures.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (the slides).
        channels: 1 for grey, 3 for colour (the slides).
        architecture: `"slides"`, the networks that the slides print, or `"resnet"`, the paper's.
        filters: Filters of the first layers (the slides).
        residual_blocks: Residual blocks of a generator (the slides).
        cycle_weight: lambda, the factor of the cycle terms (Zhu et al.).
        identity_weight: Factor of the identity terms; 0 for none (Zhu et al.'s code).
        pool_size: Generated pictures kept for the discriminators to look at; 0 for none (Zhu et
            al.).
        learning_rate: Learning rate of both players' Adam (Zhu et al.).
        beta_1: Adam's decay of the gradient's mean, for both players (Zhu et al.).
        schedule: Learning-rate schedule (Zhu et al.).
        decay_after: Steps at the first rate before the decay begins (Zhu et al.: half of the
            training).
        decay_steps: Steps of the decay (Zhu et al.: half of the training).
        **kwargs: Arguments of `AdversarialModel`.
    """

    generating = ("photo_to_sketch", "sketch_to_photo")
    samplers = ("sketches",)
    translates_to = DOMAINS
    training_only = {**AdversarialModel.training_only, "pool_size": 0}
    epochs = 200  # the paper's
    batch_size = 16  # the slides' networks normalise over batches; the paper's take one picture

    def __init__(
        self,
        image_size: int = 128,
        channels: int = 3,
        architecture: Literal["slides", "resnet"] = "slides",
        filters: int = 64,
        residual_blocks: int = 6,
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
        pool_size: int = 50,
        learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        schedule: Schedule = "linear",
        decay_after: int = 100_000,
        decay_steps: int = 100_000,
        **kwargs,
    ):
        super().__init__(
            image_size=image_size,
            channels=channels,
            schedule=schedule,
            decay_after=decay_after,
            decay_steps=decay_steps,
            **kwargs,
        )
        require_at_least(1, filters=filters)
        require_at_least(
            0,
            residual_blocks=residual_blocks,
            cycle_weight=cycle_weight,
            identity_weight=identity_weight,
            pool_size=pool_size,
        )
        require_at_most(100, residual_blocks=residual_blocks)
        require_decay(beta_1=beta_1)
        self.architecture = architecture
        self.filters = filters
        self.residual_blocks = residual_blocks
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight
        self.pool_size = pool_size
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        slides = architecture == "slides"
        with self.building():
            build = build_generator if slides else build_resnet_generator
            sizes = (image_size, channels, filters)
            self.photo_to_sketch = build(*sizes, residual_blocks, name="photo_to_sketch")
            self.sketch_to_photo = build(*sizes, residual_blocks, name="sketch_to_photo")
            build = build_discriminator if slides else build_patch_discriminator
            self.photo_discriminator = build(*sizes, name="photo_discriminator")
            self.sketch_discriminator = build(*sizes, name="sketch_discriminator")
        if pool_size:
            picture = (pool_size, image_size, image_size, channels)
            self.photo_pool = self._pool("photo_pool", picture)
            self.sketch_pool = self._pool("sketch_pool", picture)
            self.pooled = self._pool("pooled", (), "int32")

    def _pool(self, name, shape, dtype="float32"):
        return self.add_weight(
            name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False
        )

    @property
    def players(self):
        terms = ["photo_gan", "sketch_gan", "photo_cycle", "sketch_cycle"]
        if self.identity_weight:
            terms += ["photo_identity", "sketch_identity"]
        judges = [self.photo_discriminator, self.sketch_discriminator]
        return [
            Player("generators", [self.photo_to_sketch, self.sketch_to_photo], terms=terms),
            Player(
                "discriminators",
                judges,
                terms=("photo_real", "photo_fake", "sketch_real", "sketch_fake"),
            ),
        ]

    def default_optimizers(self):
        return {
            player.name: keras.optimizers.Adam(
                self.learning_rate_for(self.learning_rate), beta_1=self.beta_1
            )
            for player in self.players
        }

    def check_data(self, stream, labels, batch_size):
        check_sketches(self, stream, labels)
        if self.pool_size and batch_size > self.pool_size:
            raise UserError(
                f"A batch must not be larger than the pool of generated pictures. Received: a "
                f"batch of {batch_size} and pool_size={self.pool_size}. Give a smaller batch, a "
                "larger pool, or pool_size=0."
            )

    def sample_noise(self, images, labels=None):
        # A sketch of a face beside its own photo would make pairs; the neighbour's makes none.
        sketches = ops.roll(beside(images, labels), 1, axis=0)
        if not self.pool_size:
            return images, sketches, None, None
        coins = keras.random.uniform((2, ops.shape(images)[0]), seed=self.noise)
        order = keras.random.shuffle(ops.arange(self.pool_size), seed=self.noise)
        return images, sketches, coins, order

    def losses(self, batch, training):
        photos, sketches, coins, order = batch
        fake_sketches = self.photo_to_sketch(photos, training=training)
        fake_photos = self.sketch_to_photo(sketches, training=training)
        with self.statistics_kept():
            photo_cycle = self.sketch_to_photo(fake_sketches, training=training)
            sketch_cycle = self.photo_to_sketch(fake_photos, training=training)
            if self.identity_weight:
                same_photos = self.sketch_to_photo(photos, training=training)
                same_sketches = self.photo_to_sketch(sketches, training=training)
        generators = {
            "photo_gan": self.least_squares("photo", fake_photos, 1, training),
            "sketch_gan": self.least_squares("sketch", fake_sketches, 1, training),
            "photo_cycle": self.cycle_weight * difference(photo_cycle, photos),
            "sketch_cycle": self.cycle_weight * difference(sketch_cycle, sketches),
        }
        if self.identity_weight:
            generators |= {
                "photo_identity": self.identity_weight * difference(same_photos, photos),
                "sketch_identity": self.identity_weight * difference(same_sketches, sketches),
            }
        if self.pool_size and training:
            fake_photos = self.exchange(self.photo_pool, fake_photos, coins[0], order)
            fake_sketches = self.exchange(self.sketch_pool, fake_sketches, coins[1], order)
            self.pooled.assign(ops.minimum(self.pooled + ops.shape(photos)[0], self.pool_size))
        return {
            "generators": generators,
            "discriminators": {
                "photo_real": 0.5 * self.least_squares("photo", photos, 1, training),
                "photo_fake": 0.5 * self.least_squares("photo", fake_photos, 0, training),
                "sketch_real": 0.5 * self.least_squares("sketch", sketches, 1, training),
                "sketch_fake": 0.5 * self.least_squares("sketch", fake_sketches, 0, training),
            },
        }

    @contextlib.contextmanager
    def statistics_kept(self):
        """Let running statistics learn nothing within.

        A translator of sketches sees photos as well, in its identity term. With those in its
        running statistics, which it translates by later, photos would come out pale.
        """
        networks = (self.photo_to_sketch, self.sketch_to_photo)
        held = [variable for network in networks for variable in network.non_trainable_variables]
        before = [ops.copy(ops.convert_to_tensor(variable)) for variable in held]
        yield
        for variable, value in zip(held, before, strict=True):
            variable.assign(value)

    def least_squares(self, domain, images, label, training):
        """Return the mean squared distance of a discriminator's outputs to a label, 0 or 1."""
        judge = getattr(self, f"{domain}_discriminator")
        return ops.mean(ops.square(judge(self.seen(images), training=training) - label))

    def exchange(self, pool, images, coins, order):
        """Return images, half of them exchanged for older ones of the pool, once it is full.

        Args:
            pool: Variable of shape `(pool_size, height, width, channels)`.
            images: Generated images.
            coins: Uniform noise in [0, 1), one number for each image.
            order: The pool's indices in random order.
        """
        images = ops.stop_gradient(images)
        count = ops.shape(images)[0]
        indices = self.pooled + ops.arange(count)
        full = self.pooled >= self.pool_size
        filling = indices < self.pool_size
        swapped = ops.logical_and(full, coins < 0.5)
        indices = ops.where(full, order[:count], ops.mod(indices, self.pool_size))
        old = ops.take(pool, indices, axis=0)

        def choose(mask, yes, no):
            return ops.where(ops.reshape(mask, (-1, 1, 1, 1)), yes, no)

        kept = choose(ops.logical_or(filling, swapped), images, old)
        pool.assign(ops.scatter_update(pool, ops.expand_dims(indices, -1), kept))
        return choose(swapped, old, images)

    # Translating, instead of generating from latents.

    def translate(self, faces, to: str = "photo") -> np.ndarray:
        """Turn sketches into photos, or photos into sketches.

        Args:
            faces: Pictures in [-1, 1], of shape `(count, image_size, image_size, channels)`.
            to: `"photo"` or `"sketch"`.

        Returns:
            Float32 pictures of the same shape in [-1, 1].

        Raises:
            UserError: If the pictures do not fit or there is no such domain.
        """
        return self._translated(self.check_faces(faces), self.check_translation(to))

    def _translated(self, faces, to):
        network = self.averaged("sketch_to_photo" if to == "photo" else "photo_to_sketch")
        # Few at a time: Keras keeps what all layers made until the last is done, of the paper's
        # networks at 128x128 an eighth of a gigabyte a picture.
        return map_batches(lambda x: network(x, training=False), faces, batch_size=4)

    def faces_from_faces(self, faces):
        return self.averaged("sketch_to_photo")(faces, training=False)

    def cycle(self, faces, to: str = "photo") -> tuple[np.ndarray, np.ndarray]:
        """Translate there and back: sketch to photo to sketch, or photo to sketch to photo.

        Args:
            faces: Pictures in [-1, 1], of shape `(count, image_size, image_size, channels)`.
            to: What they are translated to first, `"photo"` or `"sketch"`.

        Returns:
            The translations, and what these are translated back to.
        """
        there = self.translate(faces, to)
        # Unchecked: a young network may make what no picture looks like.
        return there, self._translated(there, "sketch" if to == "photo" else "photo")

    def sketch(self, photos) -> np.ndarray:
        """Return pencil sketches of photos in [-1, 1], made by the filter, not by a network."""
        return sketches_of(self.check_faces(photos))

    def samples(self, count, seed, sampler, stream):
        if stream is None:
            self._require_latents()
        return self.translate(self.pairs(count, seed, stream)[1])

    def picture_of_samples(self, count, seed, sampler, stream):
        photos, drawn = self.pairs(min(30, count), seed, stream)
        return rows_grid(drawn, self.translate(drawn), photos)

    def pictures_of_faces(self, count, seed, stream):
        photos, drawn = self.pairs(count, seed, stream)
        sketches, again = self.cycle(photos, "sketch")
        pictures = {"cycles": rows_grid(photos, sketches, again)}
        if stream.labels == "sketch":
            pictures["sketches"] = rows_grid(photos, drawn, sketches)
        return pictures

    def pairs(self, count, seed, stream):
        """Return photos of a stream and their sketches: its own, else those of the filter."""
        return pairs_of(stream, count, seed)

    def signatures(self):
        photo, sketch = self.averaged("sketch_to_photo"), self.averaged("photo_to_sketch")
        return {
            "sketch_to_photo": ({"sketches": self.image_shape}, lambda x: photo(x, training=False)),
            "photo_to_sketch": ({"photos": self.image_shape}, lambda x: sketch(x, training=False)),
        }


def difference(first, second):
    """Return the mean absolute difference."""
    return ops.mean(ops.abs(first - second))


def build_generator(image_size, channels, filters, residual_blocks, name):
    """The slides' CycleGenerator: three convolutions, residual blocks, three transposed ones."""
    images = keras.Input((image_size, image_size, channels))
    x = images
    for width in (filters, 2 * filters, 4 * filters):
        x = convolution(width, 4, strides=2)(x)
        x = layers.ReLU()(BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    for _ in range(residual_blocks):
        y = convolution(4 * filters, 3)(x)
        y = layers.ReLU()(BatchNormalization(momentum=0.9, epsilon=1e-5)(y))
        y = convolution(4 * filters, 3)(y)
        x = layers.Add()([x, BatchNormalization(momentum=0.9, epsilon=1e-5)(y)])
    for width in (2 * filters, filters):
        x = deconvolution(width)(x)
        x = layers.ReLU()(BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    x = deconvolution(channels)(x)
    return keras.Model(images, layers.Activation("tanh", dtype="float32")(x), name=name)


def build_discriminator(image_size, channels, filters, name):
    """The slides' Discriminator: four convolutions with stride 2, then one score a patch."""
    images = keras.Input((image_size, image_size, channels))
    x = images
    for number in range(4):
        x = convolution(filters * 2**number, 4, strides=2)(x)
        if number:
            x = BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = layers.ReLU()(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(1, 4, use_bias=False, kernel_initializer=normal(), dtype="float32")(x)
    return keras.Model(images, x, name=name)


def convolution(filters, kernel, strides=1):
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=normal(),
    )


def deconvolution(filters):
    return Conv2DTranspose(
        filters, 4, strides=2, padding="same", use_bias=False, kernel_initializer=normal()
    )


def build_resnet_generator(image_size, channels, filters, residual_blocks, name):
    """Zhu et al.'s generator: c7s1-64, d128, d256, R256 blocks, u128, u64, c7s1-3."""
    images = keras.Input((image_size, image_size, channels))

    def convolve(x, width, kernel, strides=1, **kwargs):
        if strides == 1:
            x = ReflectionPadding2D(kernel // 2)(x)
        padding = "valid" if strides == 1 else "same"
        return layers.Conv2D(
            width, kernel, strides=strides, padding=padding, kernel_initializer=normal(), **kwargs
        )(x)

    x = layers.ReLU()(instance_normalisation()(convolve(images, filters, 7)))
    for width in (2 * filters, 4 * filters):
        x = layers.ReLU()(instance_normalisation()(convolve(x, width, 3, strides=2)))
    for _ in range(residual_blocks):
        y = layers.ReLU()(instance_normalisation()(convolve(x, 4 * filters, 3)))
        x = layers.Add()([x, instance_normalisation()(convolve(y, 4 * filters, 3))])
    for width in (2 * filters, filters):
        x = Conv2DTranspose(width, 3, strides=2, padding="same", kernel_initializer=normal())(x)
        x = layers.ReLU()(instance_normalisation()(x))
    x = convolve(x, channels, 7, dtype="float32")
    return keras.Model(images, layers.Activation("tanh", dtype="float32")(x), name=name)


def build_patch_discriminator(image_size, channels, filters, name):
    """Zhu et al.'s 70x70 PatchGAN: C64-C128-C256-C512, then one score a patch."""
    images = keras.Input((image_size, image_size, channels))
    x = images
    for number, strides in enumerate((2, 2, 2, 1)):
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(filters * 2**number, 4, strides=strides, kernel_initializer=normal())(x)
        if number:
            x = instance_normalisation()(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Conv2D(1, 4, kernel_initializer=normal(), dtype="float32")(
        layers.ZeroPadding2D(1)(x)
    )
    return keras.Model(images, x, name=name)


def instance_normalisation():
    return layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False)


def normal():
    return keras.initializers.RandomNormal(0.0, 0.02)
