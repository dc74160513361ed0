"""Inversion: the latent of a given picture, for models that have no encoder.

The latent is searched for whose face is nearest to the picture, by descent on the generator's
input: Creswell and Bharath, *Inverting the Generator of a Generative Adversarial Network*, 2016,
https://arxiv.org/abs/1611.05644, in batches of pictures. How near it comes depends on where the
descent begins, so it begins at several places and goes on from the best. Zhu et al., *Generative
Visual Manipulation on the Natural Image Manifold*, 2016, https://arxiv.org/abs/1609.03552, learn to
predict where to begin; here the generator's own samples that are nearest to the picture serve.

What is lowered is, with F_l what goes into the layers of a model's discriminator or critic, which
has learnt to look at faces (BEGAN's encoder helps neither to begin nor to compare, as measured in
docs/latent.md),

    mean (G(z) - x)^2 + features * mean_l |F_l(G(z)) - F_l(x)|^2 / |F_l(x)|^2 + pull * mean noise^2

as Zhu et al. compare pictures in pixels and in features. By pixels alone the face found is an even
blur. What moves is the standard normal noise that the prior's latents are made of, so that latents
of a cube stay in it; its own term, the log-likelihood of Creswell and Bharath's section III, keeps
it where the prior has its noise.

A search can end anywhere. Its result is therefore beside what no search gives: the nearest of 1000
samples drawn at random.
"""

import weakref
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from keras_faces.errors import UserError, require_at_least, require_whole
from keras_faces.training.backend import compiled_gradients

STEPS = 200
STARTS = 8
MANY = {"steps": 100, "starts": 2}  # where there are hundreds of faces
FEATURES = 4.0
PULL = 1e-3
SAMPLES = 1000  # drawn to begin from, and to compare with
ROWS = 64  # descents in one batch
RATE = 0.1  # of Adam, on noise whose standard deviation is 1
FOUND = 0.75  # of the nearest sample's squared error, below which a picture counts as found
SAME = 1e-3  # squared error, on pixels in [-1, 1], that nobody sees: four grey levels


class Inversion(NamedTuple):
    """What a search found.

    Attributes:
        latents: Float32 array of shape `(count, latent_dim)`, what `model.decode` takes.
        errors: Mean squared error of each face it decodes to, on pixels in [-1, 1].
        nearest: The same of the nearest of `SAMPLES` faces drawn at random.
        tried: What was tried, in words.
    """

    latents: np.ndarray
    errors: np.ndarray
    nearest: np.ndarray
    tried: str

    @property
    def found(self) -> np.ndarray:
        """Whether each picture was found: clearly nearer than any random face, or the same."""
        return (self.errors <= FOUND * self.nearest) | (self.errors <= SAME)

    def require_found(self) -> "Inversion":
        """Return this.

        Raises:
            UserError: If a picture was not found.
        """
        if self.found.all():
            return self
        number = int(np.argmin(self.found))
        which = f"Picture {number + 1} of {len(self.found)}" if len(self.found) > 1 else "It"
        raise UserError(
            f"The search for a latent did not come near the picture. {which} was missed by "
            f"{grey_levels(self.errors[number]):.1f} grey levels (root mean square) after "
            f"{self.tried}; the nearest of {SAMPLES} random faces misses it by "
            f"{grey_levels(self.nearest[number]):.1f}, and {FOUND**0.5:.0%} of that would count as "
            "found. The model may not be able to draw it: give a picture more like the faces "
            "it learnt from, cropped as they were (--crop); or search on with more steps "
            "(--search-steps) and starts (--starts)."
        )


def grey_levels(error):
    """Return a mean squared error on pixels in [-1, 1] as root mean square levels of 255."""
    return 127.5 * np.sqrt(error)


def invert(
    model,
    faces,
    steps: int = STEPS,
    starts: int = STARTS,
    features: float = FEATURES,
    pull: float = PULL,
    seed: int = 0,
    progress: bool = False,
) -> Inversion:
    """Search for the latents whose faces are nearest to given ones.

    Every start descends for a quarter of the steps, and the best of each face for the rest.

    Args:
        model: A model with latents and without conditions; it need not have an encoder.
        faces: Faces in [-1, 1], of shape `(count, image_size, image_size, channels)`.
        steps: Steps of descent, 4 or more.
        starts: Places to begin from, 1 to `SAMPLES`: the samples nearest to each face.
        features: How much it counts how a discriminator sees faces, beside pixels; 0 or more.
        pull: How strongly latents are pulled to the prior, 0 or more.
        seed: Seed of the samples.
        progress: Whether to show a progress bar.

    Returns:
        An `Inversion`; whether each face was found says its `found`, and `require_found` insists.

    Raises:
        UserError: If the model has no latents or is conditional, or faces are not as it takes them.
    """
    require_whole(4, steps=steps)
    require_whole(1, starts=starts)
    require_whole(0, seed=seed)
    require_at_least(0, features=features, pull=pull)
    if starts > SAMPLES:
        raise UserError(f"starts must be {SAMPLES} or fewer. Received: {starts}.")
    if model.latent_dim is None or model.conditional:
        why = "takes conditions and has an encoder" if model.conditional else "has no latents"
        raise UserError(f"A {type(model).__name__} {why}: there is no latent to search for.")
    faces = model.check_faces(faces)
    noise, samples = _drawn(model, seed)
    graded = _graded(model, features, pull)
    first = steps // 4
    together = max(1, ROWS // starts)
    chunks = [
        range(start, min(start + together, len(faces))) for start in range(0, len(faces), together)
    ]
    begun = np.empty((len(faces), model.latent_dim), np.float32)
    nearest = np.empty(len(faces))
    ends = range(0, len(faces), ROWS)
    with tqdm(
        total=len(chunks) * first + len(ends) * (steps - first),
        desc="Searching latents",
        unit=" steps",
        disable=None if progress else True,
    ) as bar:
        for chunk in chunks:
            own = faces[chunk.start : chunk.stop]
            distances = _squares(own, samples)
            order = np.argsort(distances, axis=1, kind="stable")[:, :starts]
            nearest[chunk.start : chunk.stop] = distances.min(axis=1)
            repeated = np.repeat(own, starts, axis=0)
            found, losses = _descend(graded, noise[order.ravel()], repeated, first, bar)
            best = losses.reshape(-1, starts).argmin(axis=1) + starts * np.arange(len(own))
            begun[chunk.start : chunk.stop] = found[best]
        for start in ends:
            rows = slice(start, start + ROWS)
            begun[rows], _ = _descend(graded, begun[rows], faces[rows], steps - first, bar)
    latents = _latents(model, begun)
    errors = np.mean(np.square(model.decode(latents) - faces), axis=(1, 2, 3))
    return Inversion(latents, errors, nearest, f"{steps} steps from {starts} starts")


def _drawn(model, seed):
    # Not the noise of `generate`'s seeds, whose faces would then be among the samples.
    rng = np.random.default_rng([seed, SAMPLES])
    noise = rng.standard_normal((SAMPLES, model.latent_dim), np.float32)
    return noise, model.decode(_latents(model, noise))


def _latents(model, noise) -> np.ndarray:
    return ops.convert_to_numpy(model.latents_from_noise(noise, model.samplers[0]))


_compiled = weakref.WeakKeyDictionary()  # by model, as compiling takes longer than a few steps


def _graded(model, features, pull):
    """Return a compiled function of noise and faces: losses, and their gradients by the noise."""
    if model not in _compiled:
        owner = weakref.ref(model)  # what is kept for a model must not keep the model
        seen = _features(model)

        def loss(noise, faces, features, pull):
            model = owner()
            made = model.faces_from_latents(model.latents_from_noise(noise, model.samplers[0]))
            missed = ops.mean(ops.square(made - faces), axis=(1, 2, 3))
            apart = [
                _mean_square(one - other) / (_mean_square(other) + 1e-12)
                for one, other in zip(seen(made), seen(faces), strict=True)
            ]
            apart = sum(apart) / max(1, len(apart))
            return missed + features * apart + pull * ops.mean(ops.square(noise), axis=1)

        _compiled[model] = compiled_gradients(loss, model.variables)
    weights = [ops.convert_to_tensor(np.float32(weight)) for weight in (features, pull)]
    return lambda noise, faces: _compiled[model](noise, faces, *weights)


def _features(model):
    """Return a function of faces: what goes into each layer, but the first, that tells of them."""
    network = model.feature_network()
    if network is None:
        return lambda faces: []
    inputs = [layer.input for layer in network.layers if hasattr(layer, "kernel")][1:]
    network = keras.Model(network.inputs, inputs)
    return lambda faces: network(faces, training=False)


def _mean_square(features):
    features = ops.cast(features, "float32")
    return ops.mean(ops.square(features), axis=tuple(range(1, len(features.shape))))


def _squares(faces, samples) -> np.ndarray:
    """Return the mean squared error of every face to every sample, of shape `(faces, samples)`."""
    return np.stack([np.mean(np.square(samples - face), axis=(1, 2, 3)) for face in faces])


def _descend(graded, noise, faces, steps, bar):
    """Lower the loss by Adam, its rate falling to 0; return the best noise, and its losses."""
    faces, best = ops.convert_to_tensor(faces), noise.copy()
    lowest = np.full(len(noise), np.inf)
    mean, square = np.zeros_like(noise), np.zeros_like(noise)
    for step in range(steps):
        losses, gradients = map(ops.convert_to_numpy, graded(ops.convert_to_tensor(noise), faces))
        better = losses < lowest
        best[better], lowest = noise[better], np.where(better, losses, lowest)
        mean = 0.9 * mean + 0.1 * gradients
        square = 0.99 * square + 0.01 * gradients**2
        size = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        unbiased = mean / (1 - 0.9 ** (step + 1))
        scale = np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-12
        noise = (noise - size * unbiased / scale).astype(np.float32)
        bar.update()
    return best, lowest
