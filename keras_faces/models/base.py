"""What all face models share: shapes, sampling, what they show, checks, files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL.Image import Image

import keras_faces as kf  # for kf.export, which stands above the models: imported when used
from keras_faces import model_files
from keras_faces.errors import UserError, require_whole, unknown_name
from keras_faces.pictures import grid
from keras_faces.pixels import as_array
from keras_faces.training.backend import known_values
from keras_faces.training.game import Game, batches_of

IMAGE_SIZES = (32, 64, 128)
DOMAINS = ("photo", "sketch")

# No set of faces that has nothing darker than middle grey is darker than this, in [-1, 1]: only
# drawings with faint lines have nothing, and those are nearly white.
BRIGHTEST = 0.7
FEWEST = 4  # faces of which that holds: a single one may be pale

DIVERGED = "Its training diverged: take an earlier model, or train anew at a lower learning rate."


class FaceModel(Game):
    """Base class of models that generate faces.

    A subclass defines how it trains, like any `Game`, and how a latent becomes a face if that is
    more than its last `generating` network. Saving, generating and exporting are the same for all.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128.
        channels: 1 for grey, 3 for colour.
        **kwargs: Arguments of `Game`.
    """

    # Whether the model learns from labels that come with the faces.
    conditional = False

    # What the model turns pictures into, `"photo"` or `"sketch"`, the default first. One that does
    # learns from sketches, and so takes those of a source that has them.
    translates_to: tuple[str, ...] = ()

    # What its samples are, `"photo"` or `"sketch"`.
    makes = "photo"

    # How latents can be drawn; the first is the paper's.
    samplers: tuple[str, ...] = ("prior",)

    # What `keras-faces train` takes where the user says nothing.
    epochs: int = 20
    batch_size: int = 64

    # Size of the latent, or None for a model that makes faces from faces.
    latent_dim: int | None = None

    def __init__(self, image_size: int = 64, channels: int = 3, **kwargs):
        if image_size not in IMAGE_SIZES:
            raise UserError(
                f"image_size must be one of {', '.join(map(str, IMAGE_SIZES))}. "
                f"Received: {image_size!r}."
            )
        if channels not in (1, 3):
            raise UserError(f"channels must be 1 (grey) or 3 (colour). Received: {channels!r}.")
        super().__init__(**kwargs)
        self.image_size = image_size
        self.channels = channels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one face: `(image_size, image_size, channels)`."""
        return self.image_size, self.image_size, self.channels

    # Generating.

    def generate(self, count: int = 64, seed: int = 0, sampler: str | None = None) -> np.ndarray:
        """Generate faces.

        Args:
            count: How many.
            seed: Seed of the latents: the same seed gives the same faces.
            sampler: One of `samplers`; None takes the last usable one.

        Returns:
            A float32 array of shape `(count, image_size, image_size, channels)` in [-1, 1].
        """
        return self.decode(self.sample_latents(count, seed, sampler))

    def sample_latents(self, count: int, seed: int = 0, sampler: str | None = None) -> np.ndarray:
        """Sample latents to generate from, independent of the backend.

        Args:
            count: How many.
            seed: Seed of the latents.
            sampler: One of `samplers`; None takes the last usable one.

        Returns:
            A float32 array of shape `(count, code_dim)`.

        Raises:
            UserError: If the model has no latents or no such sampler, or a number cannot be.
        """
        self._require_latents()
        sampler = sampler or self.default_sampler
        if sampler not in self.samplers:
            raise unknown_name("sampler", sampler, self.samplers)
        if sampler not in self.usable_samplers:
            raise UserError(
                f"Sampler {sampler!r} is not ready: it is fitted when a run is finished, or by "
                f"model.fit_density(faces). Draw from {self.samplers[0]!r} until then."
            )
        require_whole(count=count)
        require_whole(0, seed=seed)
        noise = np.random.default_rng(seed).standard_normal((count, self.latent_dim), np.float32)
        return ops.convert_to_numpy(self.latents_from_noise(noise, sampler))

    def decode(self, latents) -> np.ndarray:
        """Turn latents of shape `(count, code_dim)` into faces in [-1, 1]."""
        self._require_latents()
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.code_dim:
            raise UserError(
                f"Expected latents of shape (count, {self.code_dim}). Received: {latents.shape}."
            )
        return map_batches(self.faces_from_latents, latents)

    def faces_from_latents(self, latents):
        """Turn latents into faces, as tensors."""
        return self.averaged(self.generating[-1])(latents, training=False)

    def faces_from_faces(self, faces):
        """Turn faces into what the model makes of them, as tensors: a copy, or a translation."""
        raise NotImplementedError

    def latents_from_noise(self, noise, sampler: str):
        """Map standard normal noise of shape `(count, latent_dim)` to latents of a sampler."""
        return noise

    def noise_from_latents(self, latents):
        """Map latents to the standard normal noise from which the prior's sampler makes them."""
        return latents

    @property
    def code_dim(self) -> int | None:
        """Width of what `decode` takes: the latent, and conditions where there are any."""
        return self.latent_dim

    @property
    def usable_samplers(self) -> tuple[str, ...]:
        """The samplers that can be drawn from now."""
        return self.samplers

    @property
    def default_sampler(self) -> str:
        """The sampler that `generate` takes when none is named: the last usable one."""
        return self.usable_samplers[-1]

    def fit_density(self, faces) -> None:
        """Fit to training faces what a sampler needs, once training is done: here, nothing."""

    @property
    def has_encoder(self) -> bool:
        """Whether the model can `encode` and `reconstruct`."""
        return hasattr(self, "latents_from_faces")

    @property
    def reconstructs(self) -> bool:
        """Whether what it decodes of a face's latent is a copy of the face."""
        return self.has_encoder and not self.translates_to

    def check_translation(self, to: str | None = None, back: bool = False) -> str:
        """Return what to turn pictures into: what is given, or the model's default.

        Args:
            to: `"photo"`, `"sketch"` or None.
            back: Whether what was made is to be turned back again.

        Raises:
            UserError: If the model does not do that.
        """
        kind, known = type(self).__name__, self.translates_to
        if not known:
            raise UserError(
                f"A {kind} does not translate between sketches and photos. A CycleGAN does, and a "
                "VAEGAN that was trained with target='sketch' turns photos into sketches."
            )
        if to not in (None, *DOMAINS):
            raise unknown_name("domain", to, DOMAINS)
        if to not in (None, *known) or (back and len(known) < 2):
            raise UserError(
                f"This {kind} turns photos into sketches alone, not sketches into photos. A "
                "CycleGAN does both."
            )
        return to or known[0]

    def _require_latents(self):
        if self.latent_dim is None:
            raise UserError(
                f"A {type(self).__name__} makes faces from faces and has no latents to draw. "
                "Use translate(faces), or on the command line: keras-faces translate RUN IMAGE"
            )

    # Keras's doors.

    def __call__(self, inputs, *args, training: bool | None = None, **kwargs):
        """Make faces, as tensors: of latents, as `decode`; of faces, as the model does with them.

        Args:
            inputs: Latents of shape `(count, code_dim)`, or faces in [-1, 1] where there is an
                encoder or the model translates.
            *args: Passed on to Keras.
            training: Without effect: while an outer model learns, too, faces are made as the
                trained model makes them.
            **kwargs: Passed on to Keras.

        Raises:
            UserError: If the model makes nothing of such inputs.
        """
        self.check_inputs(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs):
        inputs = keras.tree.flatten(inputs)
        make = self.faces_from_faces if len(inputs[0].shape) == 4 else self.faces_from_latents
        return make(*inputs)

    def check_inputs(self, inputs):
        shape = tuple(inputs.shape) if hasattr(inputs, "shape") else as_array(inputs).shape
        takes_faces = self.has_encoder or bool(self.translates_to)
        if len(shape) == 4 and takes_faces:
            values = known_values(inputs)
            if values is None:
                self._check_kind(inputs.dtype, shape[1:])
            else:
                self.check_faces(values)
        elif self.latent_dim is None or len(shape) != 2 or shape[1] != self.code_dim:
            count = "(count, {}, {}, {})".format(*self.image_shape)
            taken = [f"faces of shape {count}"] if takes_faces else []
            taken += (
                [] if self.latent_dim is None else [f"latents of shape (count, {self.code_dim})"]
            )
            hint = (
                "" if takes_faces or len(shape) != 4 else " kf.latent.invert finds a face's latent."
            )
            raise UserError(
                f"A {type(self).__name__} makes faces of {' or of '.join(taken)}. "
                f"Received: {shape}.{hint}"
            )

    def predict(self, x, *args, **kwargs) -> np.ndarray:
        """Make faces of many latents or faces; see `__call__`, and `keras.Model.predict`."""
        x = batches_of(x)
        with self.looking("predict", x):
            return super().predict(x, *args, **kwargs)

    def predict_on_batch(self, x) -> np.ndarray:
        """Make faces of one batch of latents or faces; see `__call__`."""
        self.check_inputs(x)
        return super().predict_on_batch(x)

    # What it shows, and what others do with it.

    def originals(self, count: int, seed: int, stream) -> np.ndarray:
        """Return real pictures of what its samples are, to compare these with.

        Args:
            count: How many, or fewer where there are no more.
            seed: Seed of the choice.
            stream: Real faces.
        """
        return stream.sample(count, seed)

    def samples(self, count: int, seed: int, sampler: str, stream) -> np.ndarray:
        """Return the faces by which the model is judged: `generate`'s, where it has latents.

        Args:
            count: How many, or fewer where the model makes one of each face of `stream`.
            seed: Seed of the choice.
            sampler: One of `samplers`.
            stream: Real faces, for models that make faces from faces.
        """
        return self.generate(count, seed, sampler)

    def faces_and_copies(self, count: int, seed: int, stream) -> tuple | None:
        """Return some real faces and what `reconstruct` makes of them, or None if it cannot."""
        return None

    def gallery(self, count: int, seed: int, sampler: str, stream) -> dict[str, Image]:
        """Return pictures by name: `"samples"`, and what the model does to real faces.

        Args:
            count: Faces in a picture; of `stream`'s 30 at most.
            seed: Seed of the choice.
            sampler: One of `samplers`.
            stream: Real faces, or None where there are none.
        """
        shown = {} if stream is None else self.pictures_of_faces(min(30, count), seed, stream)
        return {"samples": self.picture_of_samples(count, seed, sampler, stream), **shown}

    def picture_of_samples(self, count: int, seed: int, sampler: str, stream) -> Image:
        """Return the picture `"samples"` of `gallery`; arguments as there."""
        return grid(self.samples(count, seed, sampler, stream))

    def pictures_of_faces(self, count: int, seed: int, stream) -> dict[str, Image]:
        """Return pictures by name of what the model does to `count` faces of `stream`: here, none.

        They are the same whatever the sampler.
        """
        return {}

    def feature_network(self) -> keras.Model | None:
        """Return a network whose layers tell how alike two faces look, or None where none helps."""
        return None

    def warnings(self, faces: np.ndarray, logs: Mapping[str, float]) -> list[str]:
        """Return in words what is going wrong in training, most likely nothing.

        Args:
            faces: Some training faces, float32 in [-1, 1].
            logs: The means of the losses and measures since the last look.
        """
        return []

    # Files.

    def signatures(self) -> dict:
        """Return what an export serves: name to `(inputs, function)`.

        `inputs` maps the name of each argument to its shape without the batch; the function takes
        tensors of those and returns one. The first is what is served by default.
        """
        sampler = self.default_sampler
        latents = (self.latent_dim,)
        return {
            "generate": (
                {"noise": latents},
                lambda noise: self.faces_from_latents(self.latents_from_noise(noise, sampler)),
            ),
            "decode": ({"latents": (self.code_dim,)}, self.faces_from_latents),
        }

    def export(
        self,
        filepath,
        format: str = "saved_model",
        verbose: bool = True,
        pixels: str = "float32",
        run=None,
        weights: str = "float32",
        **kwargs,
    ):
        """Write the model for use without keras_faces; see `keras_faces.export.write`.

        Args:
            filepath: Folder to write.
            format: One of `keras_faces.export.FORMATS`, or another that Keras knows, which then
                writes it.
            verbose: Passed on to Keras.
            pixels: Type of faces, in and out: `"float32"` in [-1, 1] or `"uint8"`.
            run: The run that the model is of, for the model card.
            weights: Type in which weights are kept: `"float32"`, `"float16"` or `"int8"`.
            **kwargs: Passed on to Keras.

        Returns:
            The folder.
        """
        format = "saved_model" if format == "tf_saved_model" else format  # Keras's name
        if format not in {**kf.export.FORMATS, **kf.export.INSTEAD} or kwargs:
            return super().export(filepath, format=format, verbose=verbose, **kwargs)
        return kf.export.write(self, filepath, format, pixels, run, weights).folder

    def save(self, filepath, *args, **kwargs):
        """Write the whole model: its config, its weights and those of its optimizers.

        Args:
            filepath: A `.keras` file.
            *args: Passed on to Keras.
            **kwargs: Passed on to Keras.

        Raises:
            UserError: If the file is to have another form.
        """
        _require_ending(filepath, ".keras", "A model is saved whole")
        super().save(filepath, *args, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        """Write the weights alone, for `load_weights`.

        Args:
            filepath: A `.weights.h5` file.
            *args: Passed on to Keras.
            **kwargs: Passed on to Keras.

        Raises:
            UserError: If the file is to have another form.
        """
        _require_ending(filepath, ".weights.h5", "Weights are saved")
        super().save_weights(filepath, *args, **kwargs)

    def save_to_preset(self, preset_dir) -> None:
        """Write a folder that `kf.from_preset` loads: what the model generates with, and a card.

        Args:
            preset_dir: The folder.

        Raises:
            UserError: If it holds something else, or cannot be written.
        """
        kf.export.write(self, preset_dir, "keras")

    @classmethod
    def from_preset(cls, preset) -> "FaceModel":
        """Load a model of this class.

        Args:
            preset: What `kf.load_model` takes, such as `"vae-orl-64"` or `"hf://USER/MODEL"`.

        Raises:
            UserError: If there is no such model, or it is of another class.
        """
        model = kf.load_model(preset)
        if not isinstance(model, cls):
            raise UserError(
                f"{str(preset)!r} holds a {type(model).__name__}, not a {cls.__name__}. Use "
                "kf.from_preset for a model of any class."
            )
        return model

    def load_weights(self, filepath, *args, **kwargs):
        """Load weights that a model of the same class and hyper-parameters saved.

        Args:
            filepath: A `.keras` or `.weights.h5` file.
            *args: Passed on to Keras.
            **kwargs: Passed on to Keras.

        Raises:
            UserError: If the file is of another model, damaged, or holds what is not finite.
        """
        try:
            weights = model_files.read_weights(Path(filepath), 4 * self.count_params())
            super().load_weights(weights, *args, **kwargs)
            self.check_finite()
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{str(filepath)!r} does not hold the weights of this {type(self).__name__}: "
                f"{reason[:200]} Load the file that a model of the same class, image_size, "
                "channels and hyper-parameters saved, or the whole model with kf.load_model."
            ) from error

    def check_finite(self) -> None:
        """Look at the weights, and at one of each that an export of the model makes.

        Raises:
            UserError: If a number in them is not finite: pictures of such are black or white.
        """
        for variable in self.variables:
            if not np.isfinite(ops.convert_to_numpy(variable)).all():
                raise UserError(f"the weights of {variable.path!r} are not finite. {DIVERGED}")
        noise = np.random.default_rng(0)
        for name, (inputs, function) in self.signatures().items():
            given = [np.tanh(noise.standard_normal((1, *s), np.float32)) for s in inputs.values()]
            made = function(*map(ops.convert_to_tensor, given))
            if not np.isfinite(ops.convert_to_numpy(made)).all():
                raise UserError(f"what it makes for {name!r} is not finite. {DIVERGED}")

    # Checks.

    def check_data(self, stream, labels, batch_size):
        if stream is None and labels is not None and not self.conditional:
            raise UserError(
                f"A {type(self).__name__} learns from faces alone. Received: labels beside them "
                "(y). Leave them out; of a tf.data pipeline, by "
                "dataset.map(lambda faces, labels: faces)."
            )

    def check_faces(self, faces, drawn: bool = False) -> np.ndarray:
        """Return faces as float32 NHWC.

        Args:
            faces: What should be faces in [-1, 1].
            drawn: Whether they are known to be drawings, which may have nothing dark.

        Raises:
            UserError: If their type, shape or range is not this model's.
        """
        faces = as_array(faces)
        if faces.dtype.kind in "OUSMmc":
            raise UserError(f"Expected float faces in [-1, 1]. Received: {faces.dtype}.")
        self._check_kind(faces.dtype, faces.shape[1:])
        if not faces.size:
            return faces.astype(np.float32)
        low, high = float(faces.min()), float(faces.max())  # which are NaN where one value is
        given = f"Received values from {low:.3g} to {high:.3g}"
        if not -1.01 <= low <= high <= 1.01:
            raise UserError(f"Expected faces with values in [-1, 1]. {given}.")
        seems = len(faces) >= FEWEST and 0 <= low < high and faces.mean() < BRIGHTEST
        if seems and not drawn:
            raise UserError(
                f"Expected faces with values in [-1, 1]. {given}: nothing is darker than middle "
                "grey, so they seem to be in [0, 1]. Give 2 * faces - 1."
            )
        return faces.astype(np.float32, copy=False)

    def check_shape(self, shape):
        shape = tuple(shape)
        if shape == self.image_shape:
            return
        advice = f"Load them with image_size={self.image_size} and channels={self.channels}."
        if shape == (self.channels, self.image_size, self.image_size):
            advice = "Channels come last: give np.moveaxis(faces, 1, -1)."
        raise UserError(
            f"Expected images of shape {self.image_shape}, as the model was made for. "
            f"Received: {shape}. {advice}"
        )

    def _check_kind(self, dtype, shape):
        kind = keras.backend.standardize_dtype(dtype)
        if kind == "uint8":
            raise UserError(
                "Expected float faces in [-1, 1], received uint8. Convert them with "
                "kf.data.to_float(faces)."
            )
        self.check_shape(shape)


def _require_ending(filepath, ending: str, what: str) -> None:
    if not str(filepath).endswith(ending):
        raise UserError(
            f"{what} as a file that ends in {ending}. Received: {str(filepath)!r}. For other forms "
            "see model.export, for weights alone model.save_weights."
        )


def map_batches(function, *inputs: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Apply a function of tensors to arrays, batch by batch."""
    parts = [
        ops.convert_to_numpy(
            function(*(ops.convert_to_tensor(given[i : i + batch_size]) for given in inputs))
        )
        for i in range(0, len(inputs[0]), batch_size)
    ]
    return np.concatenate(parts) if parts else inputs[0][:0]
