"""CVAE: the conditional variational autoencoder of the three-models report, section 5.

The report names it as the way to "generate images under specific conditions", next to arithmetic
on latents, with CelebA's 40 attributes at hand; it states nothing of its networks. Sohn, Lee and
Yan, 2015, https://papers.nips.cc/paper/5775, decide: the recognition network q(z | x, y) and the
generation network p(x | z, y) both see the conditions, and

    loss = - log p(x | z, y) + KL(q(z | x, y) || p(z)),

with a prior that does not depend on the conditions, as in their CVAE's simplest form. Around it are
the networks of the VAE here: conditions join the encoder at its hidden layer and the decoder at its
latent.

A code, what `decode` takes, is a latent followed by its conditions.
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers, ops

from keras_faces.errors import UserError, require_above, require_at_least, unknown_name
from keras_faces.models.base import map_batches
from keras_faces.models.encoding import DENSITY_CODES, EncodingModel, uniform_rows
from keras_faces.models.losses import kl_divergence, split, squared_error
from keras_faces.models.vae import build_decoder, build_encoder
from keras_faces.pictures import grid
from keras_faces.training.backend import known_values
from keras_faces.training.players import Player

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow,Arched_Eyebrows,Attractive,Bags_Under_Eyes,Bald,Bangs,Big_Lips,Big_Nose,"
    "Black_Hair,Blond_Hair,Blurry,Brown_Hair,Bushy_Eyebrows,Chubby,Double_Chin,Eyeglasses,Goatee,"
    "Gray_Hair,Heavy_Makeup,High_Cheekbones,Male,Mouth_Slightly_Open,Mustache,Narrow_Eyes,"
    "No_Beard,Oval_Face,Pale_Skin,Pointy_Nose,Receding_Hairline,Rosy_Cheeks,Sideburns,Smiling,"
    "Straight_Hair,Wavy_Hair,Wearing_Earrings,Wearing_Hat,Wearing_Lipstick,Wearing_Necklace,"
    "Wearing_Necktie,Young"
)


@keras.saving.register_keras_serializable(package="keras_faces")
class CVAE(EncodingModel):
    """Variational autoencoder whose faces obey given conditions, such as attributes or a person.

    It learns from faces with labels: `labels="attributes"` gives a vector of zeros and ones for
    each face, `labels="identity"` a number, of which one condition a person is made.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (Report 2.1).
        channels: 1 for grey, 3 for colour (Report 2.1).
        conditions: Names of the conditions, separated by commas (Report 2.1: CelebA's 40).
        latent_dim: Size of the latent z (as the VAE's).
        filters: Filters of the encoder's first layer; they double with every halving of the size
            (as the VAE's).
        hidden_units: Units of the dense layers next to the latent (as the VAE's).
        noise_scale: Standard deviation of the Gaussian likelihood, on images in [-1, 1]. Where it
            is small, latents hold so much of a face that the decoder need not listen to conditions
            (our choice).
        kl_weight: Factor of the KL divergence; 1 is the variational bound (Sohn et al.).
        learning_rate: Learning rate of Adam (as the VAE's).
        **kwargs: Arguments of `FaceModel`.
    """

    conditional = True
    generating = ("encoder", "decoder")
    epochs = 20  # the report's VAE's
    batch_size = 100

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        conditions: str = CELEBA_ATTRIBUTES,
        latent_dim: int = 128,
        filters: int = 32,
        hidden_units: int = 512,
        noise_scale: float = 1.0,
        kl_weight: float = 1.0,
        learning_rate: float = 1e-3,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, filters=filters, hidden_units=hidden_units)
        require_above(0, noise_scale=noise_scale)
        require_at_least(0, kl_weight=kl_weight)
        self.conditions = conditions
        names = self.condition_names
        if not all(names) or len(set(names)) < len(names):
            raise UserError(
                "conditions must be different names separated by commas, such as "
                f"'glasses,smiling'. Received: {conditions!r}."
            )
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.noise_scale = noise_scale
        self.kl_weight = kl_weight
        self.learning_rate = learning_rate
        with self.building():
            self.encoder = build_conditional_encoder(
                image_size, channels, len(names), latent_dim, filters, hidden_units
            )
            self.decoder = build_decoder(image_size, channels, self.code_dim, filters, hidden_units)
        # Which conditions go together, to draw from: those of up to 1024 training faces.
        self.seen_conditions = self.add_weight(
            name="seen_conditions",
            shape=(DENSITY_CODES, len(names)),
            initializer="zeros",
            trainable=False,
        )

    @property
    def condition_names(self) -> list[str]:
        """Names of the conditions, in the order of a condition vector."""
        return [name.strip() for name in self.conditions.split(",")]

    @property
    def code_dim(self):
        return self.latent_dim + len(self.condition_names)

    @property
    def players(self):
        return [Player("cvae", [self.encoder, self.decoder], terms=("reconstruction", "kl"))]

    def default_optimizers(self):
        return {"cvae": keras.optimizers.Adam(self.learning_rate_for(self.learning_rate))}

    def sample_noise(self, images, labels=None):
        epsilon = keras.random.normal((ops.shape(images)[0], self.latent_dim), seed=self.noise)
        return images, self.as_conditions(labels), epsilon

    def as_conditions(self, labels):
        """Return labels of a batch as condition vectors: numbers become one condition each."""
        if labels is None:
            raise UserError(NEEDS_LABELS)
        labels = ops.convert_to_tensor(labels)
        if len(labels.shape) == 1:
            return ops.one_hot(ops.cast(labels, "int32"), len(self.condition_names))
        return ops.cast(labels, "float32")

    def losses(self, batch, training):
        images, conditions, epsilon = batch
        mean, log_variance = split(self.encoder([images, conditions], training=training))
        latents = mean + ops.exp(0.5 * log_variance) * epsilon
        codes = ops.concatenate([latents, conditions], axis=-1)
        reconstructions = self.decoder(codes, training=training)
        return {
            "cvae": {
                "reconstruction": squared_error(images, reconstructions)
                / (2 * self.noise_scale**2),
                "kl": self.kl_weight * kl_divergence(mean, log_variance),
            }
        }

    def check_data(self, stream, labels, batch_size):
        if stream is None:
            if labels is None:
                raise UserError(NEEDS_LABELS)
            self._check_labels(labels)
            return
        if stream.labels not in ("attributes", "identity"):
            raise UserError(NEEDS_LABELS)
        if list(stream.label_names) != self.condition_names:
            raise UserError(
                f"The model has the conditions {_some(self.condition_names)}, the faces have "
                f"{_some(stream.label_names)}. Make the model with conditions="
                f"{','.join(stream.label_names[:3])!r}... as the faces have them."
            )

    def _check_labels(self, labels):
        expected = len(self.condition_names)
        values = known_values(labels)
        shape = tuple(labels.shape if values is None else values.shape)
        numbers = len(shape) == 1 and values is not None and values.size
        if numbers and not 0 <= values.min() <= values.max() < expected:
            raise UserError(
                f"Labels must be numbers from 0 to {expected - 1}, one for each of the "
                f"{expected} conditions. Received: {values.min()} to {values.max()}."
            )
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != expected):
            raise UserError(
                f"Expected {expected} values a face, for the conditions "
                f"{_some(self.condition_names)}. Received: labels of shape {shape}."
            )

    # Codes.

    def condition_vectors(self, conditions, count: int) -> np.ndarray:
        """Return conditions as an array of shape `(count, number of conditions)`.

        Args:
            conditions: Names of those that hold, separated by commas (`"glasses,smiling"`; all
                others do not), or how far they hold (`"glasses=0.5"`); a dict of names to the
                same, 0 for not at all and 1 for wholly; or an array of one vector for all, or one
                for each.
            count: How many vectors.

        Raises:
            UserError: If a name is unknown, a strength is no number, or the shape does not fit.
        """
        names = self.condition_names
        if isinstance(conditions, str):
            conditions = _strengths(conditions, names)
        if isinstance(conditions, Mapping):
            vector = np.zeros(len(names), np.float32)
            for name, strength in conditions.items():
                if name not in names:
                    raise unknown_name("condition", name, names)
                vector[names.index(name)] = strength
            conditions = vector
        vectors = np.asarray(conditions, np.float32)
        if not np.isfinite(vectors).all():
            raise UserError("Conditions must be finite numbers, 0 for not at all and 1 for wholly.")
        if vectors.shape not in ((len(names),), (count, len(names))):
            raise UserError(
                f"Expected conditions of shape ({len(names)},) or ({count}, {len(names)}). "
                f"Received: {vectors.shape}."
            )
        return np.broadcast_to(vectors, (count, len(names)))

    def join(self, latents, conditions) -> np.ndarray:
        """Return codes for `decode`: latents of shape `(count, latent_dim)` and conditions."""
        latents = np.asarray(latents, np.float32)
        return np.concatenate([latents, self.condition_vectors(conditions, len(latents))], axis=1)

    def sample_latents(self, count, seed=0, sampler=None, conditions=None):
        """Sample codes; conditions that are not given are drawn as they go together in the data."""
        codes = super().sample_latents(count, seed, sampler)
        if conditions is None:
            return codes
        return self.join(codes[:, : self.latent_dim], conditions)

    def generate(self, count=64, seed=0, sampler=None, conditions=None):
        """Generate faces under conditions; see `condition_vectors` for their forms."""
        return self.decode(self.sample_latents(count, seed, sampler, conditions))

    def latents_from_noise(self, noise, sampler):
        latents = super().latents_from_noise(noise, sampler)
        if sampler == "prior":
            # A digit far behind the point is uniform and tells next to nothing of the latent.
            rows = ops.cast(ops.floor(ops.mod(noise[:, 0] * 1024.0, 1.0) * DENSITY_CODES), "int32")
        else:
            rows = uniform_rows(noise[:, 0], DENSITY_CODES)
        return ops.concatenate([latents, ops.take(self.seen_conditions, rows, axis=0)], axis=-1)

    def encode(self, faces, conditions) -> np.ndarray:
        """Return codes of faces in [-1, 1] under their conditions."""
        faces = self.check_faces(faces)
        vectors = self.condition_vectors(conditions, len(faces))
        latents = map_batches(self.latents_from_faces, faces, vectors)
        return np.concatenate([latents, vectors], axis=1)

    def reconstruct(self, faces, conditions) -> np.ndarray:
        """Encode and decode faces in [-1, 1] under their conditions."""
        return self.decode(self.encode(faces, conditions))

    def blend(self, a, b, percent=50.0, conditions=None):
        """Make faces between pairs of faces; see `EncodingModel.blend`.

        Args:
            a: Faces in [-1, 1].
            b: As many faces.
            percent: How much of `b`, from 0 to 100.
            conditions: A pair of conditions, of `a` and of `b`.
        """
        if conditions is None:
            raise UserError("A CVAE blends faces under conditions: give conditions=(of_a, of_b).")
        of_a, of_b = conditions
        return self._blended(
            a,
            b,
            percent,
            lambda faces: self.encode(faces, of_a),
            lambda faces: self.encode(faces, of_b),
        )

    def latents_from_faces(self, faces, conditions):
        """Return the posterior means of faces under conditions, as tensors."""
        return split(self.averaged("encoder")([faces, conditions], training=False))[0]

    def faces_from_faces(self, faces, conditions):
        conditions = self.as_conditions(conditions)
        latents = self.latents_from_faces(faces, conditions)
        return self.faces_from_latents(ops.concatenate([latents, conditions], axis=-1))

    def check_inputs(self, inputs):
        pair = isinstance(inputs, (list, tuple)) and len(inputs) == 2
        if pair and len(np.shape(inputs[0])) == 4:
            faces, conditions = inputs
            super().check_inputs(faces)
            self._check_labels(conditions)
        elif len(getattr(inputs, "shape", ())) == 4:
            raise UserError(
                "A CVAE makes faces of faces and their conditions. Call it on both: "
                "[faces, conditions]."
            )
        else:
            super().check_inputs(inputs)

    def fit_density(self, faces):
        batches = list(faces)
        if not all(isinstance(batch, tuple) for batch in batches):
            raise UserError(NEEDS_LABELS)
        vectors = [ops.convert_to_numpy(self.as_conditions(batch[1])) for batch in batches]
        codes = [self.encode(batch[0], v) for batch, v in zip(batches, vectors, strict=True)]
        order = self.fit_density_to(np.concatenate(codes)[:, : self.latent_dim])
        seen = np.concatenate(vectors)[order]
        self.seen_conditions.assign(seen[np.arange(DENSITY_CODES) % len(seen)])

    # What it shows.

    def picture_of_samples(self, count, seed, sampler, stream):
        # The same latents in every row, one condition a row; the first row has none.
        names = self.condition_names[:9]
        columns = max(1, count // (len(names) + 1))
        latents = super().sample_latents(columns, seed, sampler)[:, : self.latent_dim]
        rows = [self.decode(self.join(latents, given)) for given in ("", *names)]
        return grid(np.concatenate(rows), columns)

    def faces_and_copies(self, count, seed, stream):
        if not stream.labels:
            return None
        originals, labels = stream.sample(count, seed, labelled=True)
        conditions = ops.convert_to_numpy(self.as_conditions(labels))
        return originals, self.reconstruct(originals, conditions)

    def signatures(self):
        given = (len(self.condition_names),)
        faces = {"faces": self.image_shape, "conditions": given}
        sampler = self.default_sampler

        def joined(latents, conditions):
            return self.faces_from_latents(ops.concatenate([latents, conditions], axis=-1))

        def generate(noise, conditions):
            latents = EncodingModel.latents_from_noise(self, noise, sampler)
            return joined(latents, conditions)

        return {
            "generate": ({"noise": (self.latent_dim,), "conditions": given}, generate),
            "decode": ({"latents": (self.latent_dim,), "conditions": given}, joined),
            "encode": (faces, self.latents_from_faces),
            "reconstruct": (faces, self.faces_from_faces),
        }


NEEDS_LABELS = (
    "A CVAE learns from labelled faces. Load them with labels='attributes' or labels='identity' "
    "(on the command line: --labels), or give the labels of an array as y."
)


def _strengths(text: str, names: list[str]) -> dict[str, float]:
    """Return how far each condition of a text such as `"glasses,smiling=0.5"` holds."""
    strengths = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, strength = (
            (part, "", "") if part in names else map(str.strip, part.rpartition("="))
        )
        try:
            strengths[name if equals else part] = float(strength) if equals else 1.0
        except ValueError as error:
            raise UserError(
                f"How far {name!r} holds must be a number, such as {name}=0.5. "
                f"Received: {strength!r}."
            ) from error
    return strengths


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def build_conditional_encoder(image_size, channels, conditions, latent_dim, filters, hidden_units):
    """The VAE's convolutions; conditions join at the hidden layer, then mean and log-variance."""
    plain = build_encoder(image_size, channels, 2 * latent_dim, filters, hidden_units)
    images = keras.Input((image_size, image_size, channels), name="faces")
    given = keras.Input((conditions,), name="conditions")
    x = images
    for layer in plain.layers[:-3]:
        x = layer(x)
    x = layers.Concatenate()([x, given])
    x = layers.LeakyReLU(0.2)(layers.Dense(hidden_units)(x))
    moments = layers.Dense(2 * latent_dim, dtype="float32")(x)
    return keras.Model([images, given], moments, name="encoder")
