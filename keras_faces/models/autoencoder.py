"""Autoencoder: the conventional autoencoder of the Simon Fraser University report, section 2.

The report states: an encoder network reduces a picture to a small set of features and a decoder
network makes a picture from them; a picture "similar to two given pictures ... with defined
percentage" is decoded from a mix of their features; pictures of 64x64x3, batches of 100. It says
"first we train an encoder ... and with the encoded data we train a decoder", which no loss could
do: an encoder alone has nothing to be judged by. Both are trained together here, as autoencoders
have been since Hinton and Salakhutdinov, 2006, https://doi.org/10.1126/science.1127647.

It is silent on the networks; they are the convolutional ones of the VAE here, so that the two
differ only in what the report says sets them apart. Nothing shapes the latents: those drawn from
the sampler `"prior"`, N(0, I), decode to no faces, which is the report's reason to go on to VAEs.
"""

import keras
import numpy as np

from keras_faces.errors import require_at_least
from keras_faces.models.encoding import EncodingModel
from keras_faces.models.losses import squared_error
from keras_faces.models.vae import build_decoder, build_encoder
from keras_faces.pictures import grid
from keras_faces.training.players import Player

PERCENTAGES = (0, 25, 50, 75, 100)  # of the second face, in a picture of blends
PAIRS = 8  # at most


@keras.saving.register_keras_serializable(package="keras_faces")
class Autoencoder(EncodingModel):
    """Encoder and decoder trained to reproduce faces, to blend two of them by a percentage.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (SFU 3).
        channels: 1 for grey, 3 for colour (SFU 3).
        latent_dim: Size of the latent, the report's set of features (our choice).
        filters: Filters of the encoder's first layer; they double with every halving of the size
            (as the VAE's).
        hidden_units: Units of the dense layers next to the latent (as the VAE's).
        learning_rate: Learning rate of Adam (as the VAE's).
        **kwargs: Arguments of `FaceModel`.
    """

    generating = ("encoder", "decoder")
    epochs = 250  # the report's
    batch_size = 100  # the report's

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 128,
        filters: int = 32,
        hidden_units: int = 512,
        learning_rate: float = 1e-3,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, filters=filters, hidden_units=hidden_units)
        self.latent_dim = latent_dim
        self.filters = filters
        self.hidden_units = hidden_units
        self.learning_rate = learning_rate
        with self.building():
            sizes = (image_size, channels, latent_dim, filters, hidden_units)
            self.encoder = build_encoder(*sizes)
            self.decoder = build_decoder(*sizes)

    @property
    def players(self):
        return [Player("autoencoder", [self.encoder, self.decoder], terms=("reconstruction",))]

    def default_optimizers(self):
        return {"autoencoder": keras.optimizers.Adam(self.learning_rate_for(self.learning_rate))}

    def losses(self, batch, training):
        latents = self.encoder(batch, training=training)
        reconstructions = self.decoder(latents, training=training)
        return {"autoencoder": {"reconstruction": squared_error(batch, reconstructions)}}

    def latents_from_faces(self, faces):
        return self.averaged("encoder")(faces, training=False)

    def pictures_of_faces(self, count, seed, stream):
        pictures = super().pictures_of_faces(count, seed, stream)
        faces = stream.sample(count, seed)
        if pairs := min(PAIRS, len(faces) // 2):
            first, second = faces[:pairs], faces[pairs : 2 * pairs]
            blends = [self.blend(first, second, percent) for percent in PERCENTAGES]
            rows = np.stack([first, *blends, second], axis=1)
            pictures["blends"] = grid(rows.reshape(-1, *self.image_shape), columns=rows.shape[1])
        return pictures
