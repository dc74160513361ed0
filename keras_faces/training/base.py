"""The base of all face models: a game between players, whatever the backend."""

import contextlib
import inspect
import random
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_faces import model_files
from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, require_decay, unknown_name
from keras_faces.pictures import grid
from keras_faces.schema import Seed, mismatch
from keras_faces.training.backend import Steps, jit_by_default, losses_and_gradients
from keras_faces.training.memory import counting, require_memory, within_memory
from keras_faces.training.players import Player, PlayerOptimizers
from keras_faces.training.schedules import learning_rate_schedule

IMAGE_SIZES = (32, 64, 128)
DTYPES = ("float32", "mixed_bfloat16")

DIVERGED = "Its training diverged: take an earlier model, or train anew at a lower learning rate."


class FitPlan(NamedTuple):
    """What `fit` is doing, for callbacks to look at.

    Attributes:
        stream: The faces, or None where `fit` was given other data.
        steps_per_epoch: Steps in a whole epoch, or None where only Keras knows.
        first_step: The step within the first epoch at which training began.
    """

    stream: FaceStream | None
    steps_per_epoch: int | None
    first_step: int


class FaceModel(Steps, keras.Model):
    """Base class of models that generate faces.

    A subclass builds its networks within `building()`, lists its `players`, and says in `losses`
    what each wants. It may refine the rules of a round: `draw`, `turns`, `gates`, `adjust`,
    `measure`. Training, saving, averaging, generating and exporting are the same for all.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128.
        channels: 1 for grey, 3 for colour.
        seed: Seed of the initial weights and of all noise in training.
        ema: Decay of an exponential moving average of the networks that generate, which then
            generate in their stead; 0 for none. The decay starts lower and rises to this value.
        schedule: Learning-rate schedule, see `learning_rate_schedule`.
        decay_steps: Steps of the schedule's decay.
        decay_rate: Factor of the schedule's decay.
        decay_after: Steps at the first rate before the decay begins.
        dtype: `"float32"`, or `"mixed_bfloat16"` to compute in bfloat16 with float32 weights.
        name: Name of the Keras model.
    """

    # Names of the networks that make a face from a latent (or from another face).
    generating: tuple[str, ...] = ()

    # Names of what `losses` returns under "measures": watched, but lowered by nobody.
    measures: tuple[str, ...] = ()

    # Whether the model learns from labels that come with the faces.
    conditional = False

    # Whether the model learns from sketches, and so takes those of a source that has them.
    takes_sketches = False

    # How latents can be drawn; the first is the paper's.
    samplers: tuple[str, ...] = ("prior",)

    # What `keras-faces train` takes where the user says nothing.
    epochs: int = 20
    batch_size: int = 64

    # Size of the latent, or None for a model that makes faces from faces.
    latent_dim: int | None = None

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        seed: int = 0,
        ema: float = 0.0,
        schedule: str = "constant",
        decay_steps: int = 0,
        decay_rate: float = 0.0,
        decay_after: int = 0,
        dtype: str | None = None,
        name: str | None = None,
    ):
        if image_size not in IMAGE_SIZES:
            raise UserError(
                f"image_size must be one of {', '.join(map(str, IMAGE_SIZES))}. "
                f"Received: {image_size!r}."
            )
        if channels not in (1, 3):
            raise UserError(f"channels must be 1 (grey) or 3 (colour). Received: {channels!r}.")
        require_decay(ema=ema)
        if wrong := mismatch(seed, Seed, "seed"):
            raise UserError(f"{wrong}.")
        dtype = dtype or "float32"
        if getattr(dtype, "name", dtype) not in DTYPES:
            raise UserError(f"dtype must be one of {', '.join(DTYPES)}. Received: {dtype!r}.")
        super().__init__(dtype=dtype, name=name)
        self.image_size = image_size
        self.channels = channels
        self.seed = seed
        self.ema = ema
        self.schedule = schedule
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.decay_after = decay_after
        self.noise = keras.random.SeedGenerator(seed)
        self.rounds = self.add_weight(
            name="rounds", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def __new__(cls, *args, **kwargs):
        # Whichever door a value came through: a call, a flag, a config, a `.keras` file.
        known = cls.hyperparameters()
        given = dict(zip(list(inspect.signature(cls.__init__).parameters)[1:], args)) | kwargs
        for name in known.keys() & given.keys() - {"dtype"}:
            form = known[name].annotation
            wrong = form is not inspect.Parameter.empty and mismatch(given[name], form, name)
            if wrong:
                raise UserError(f"{wrong}.")
        # Counting takes as long as building, which models of a usual size are spared.
        sizes = {n: given[n] for n in given if n in known and known[n].annotation is int}
        if not counting() and any(size > 4 * max(known[n].default, 1) for n, size in sizes.items()):
            require_memory(lambda: cls(*args, **kwargs), *cls._of_memory(sizes))
        return super().__new__(cls, *args, **kwargs)

    @classmethod
    def hyperparameters(cls) -> dict[str, inspect.Parameter]:
        """Return the parameters of the constructor, the class's own first, without `name`."""
        found = {}
        for owner in cls.__mro__[: cls.__mro__.index(FaceModel) + 1]:
            for parameter in inspect.signature(owner.__init__).parameters.values():
                if parameter.name not in ("self", "name", "kwargs"):
                    found.setdefault(parameter.name, parameter)
        return found

    def get_config(self):
        values = {name: getattr(self, name) for name in self.hyperparameters() if name != "dtype"}
        return {**values, "dtype": self.dtype_policy.name, "name": self.name}

    # What a subclass builds and says.

    @contextlib.contextmanager
    def building(self):
        """Build networks in this model's precision, with initial weights from its seed."""
        state, policy = random.getstate(), keras.config.dtype_policy()
        random.seed(self.seed)  # where Keras's initializers take their seeds from
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            with within_memory(*self._of_memory(self._sizes)):
                yield
                for name in self.generating if self.ema else ():
                    average = keras.models.clone_model(getattr(self, name))
                    if not counting():
                        average.set_weights(getattr(self, name).get_weights())
                    average.trainable = False
                    setattr(self, f"{name}_average", average)
            name_layers(self)
        finally:
            random.setstate(state)
            keras.config.set_dtype_policy(policy)
        self.built = True

    @property
    def _sizes(self) -> dict[str, int]:
        known = self.hyperparameters()
        return {n: getattr(self, n, 0) for n in known if known[n].annotation is int}

    @classmethod
    def _of_memory(cls, sizes: Mapping[str, int], copies: int = 3) -> tuple[str, str, int]:
        """Return the arguments of `within_memory`."""
        usual = {name: known.default for name, known in cls.hyperparameters().items()}
        no_sizes = ("seed", "decay_steps", "decay_after")
        large = [
            f"{name}={size} (usually {usual[name]})"
            for name, size in sizes.items()
            if name not in no_sizes and size > usual[name]
        ]
        advice = f"Choose less than {', '.join(large)}." if large else "Free some of it."
        # Three, as most optimizers are Adam, which keeps two moments of every weight.
        return f"The variables of this {cls.__name__}", advice, copies

    @property
    def players(self) -> list[Player]:
        """The sides of the game, in the order in which they move."""
        raise NotImplementedError

    def default_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """Return the paper's optimizer for each player."""
        raise NotImplementedError

    def losses(self, batch, training: bool) -> dict[str, dict]:
        """Return the terms of every player's loss, from one shared forward pass.

        Args:
            batch: What `draw` returned.
            training: Whether networks run in training mode.

        Returns:
            Dict mapping each player's name to a dict of its named scalar terms; `"measures"`
            may map to a dict of further scalars that are only watched.
        """
        raise NotImplementedError

    def draw(self, images, labels=None):
        """Turn a batch of images into what the losses need, such as noise beside them."""
        return images

    def turns(self, images, labels=None) -> Iterator[tuple[Sequence[Player], object]]:
        """Yield `(players, batch)` for every turn of a round.

        The players of one turn move at the same time, all seeing the same weights.
        """
        yield self.players, self.draw(images, labels)

    def gates(self, terms: Mapping[str, Mapping]) -> Mapping:
        """Return for players who may have to sit a turn out whether each moves, as tensors."""
        return {}

    def adjust(self, terms: Mapping[str, Mapping]) -> None:
        """Update what no player trains, given all loss terms of the round."""

    def measure(self, terms: Mapping[str, Mapping]) -> Mapping:
        """Return the scalars of `measures`, given all loss terms of the round."""
        return terms.get("measures", {})

    def learning_rate_for(self, learning_rate: float, moves: int = 1):
        """Return a player's learning rate under this model's schedule.

        Args:
            learning_rate: The rate at the first step.
            moves: How often the player moves in a step of training.
        """
        return learning_rate_schedule(
            learning_rate,
            self.schedule,
            self.decay_steps * moves,
            self.decay_rate,
            self.decay_after * moves,
        )

    @property
    def batch_multiple(self) -> int:
        """A number that every batch must be a multiple of, for models that split theirs."""
        return 1

    # Keras's doors.

    def compile(
        self,
        optimizer=None,
        steps_per_execution: int = 1,
        jit_compile: bool | str | None = None,
        run_eagerly: bool = False,
        **kwargs,
    ):
        """Prepare for training.

        Args:
            optimizer: Dict of one optimizer for each player; None takes the paper's.
            steps_per_execution: Steps in one call to the backend.
            jit_compile: Whether to compile with XLA; None does so where it pays.
            run_eagerly: Whether to run without compilation, to debug.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            UserError: If the optimizers do not match the players.
        """
        names = [player.name for player in self.players]
        if optimizer is None:
            optimizer = self.default_optimizers()
        if not isinstance(optimizer, (Mapping, PlayerOptimizers)):
            if len(names) > 1:
                raise UserError(
                    f"{type(self).__name__} has {len(names)} players. Give a dict with an "
                    f"optimizer for each of {', '.join(names)}, or nothing to use the paper's. "
                    f"Received: {optimizer!r}."
                )
            optimizer = {names[0]: optimizer}
        if isinstance(optimizer, Mapping):
            if set(optimizer) != set(names):
                raise UserError(
                    f"Expected one optimizer for each of: {', '.join(names)}. "
                    f"Received: {', '.join(map(str, optimizer)) or 'none'}."
                )
            optimizer = PlayerOptimizers(optimizer)
        super().compile(
            optimizer=optimizer,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_by_default() if jit_compile is None else jit_compile,
            run_eagerly=run_eagerly,
            auto_scale_loss=False,
            **{key: value for key, value in kwargs.items() if key != "auto_scale_loss"},
        )
        # Metrics must exist before the first step; those of an earlier `compile` stay.
        if not hasattr(self, "trackers"):
            self.trackers = {name: keras.metrics.Mean(name=name) for name in self.log_names}
        with within_memory(*self._of_memory(self._sizes, copies=1)):
            optimizer.build_players(self.players)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def log_names(self) -> list[str]:
        """Names of all logged scalars: each player's loss, its terms, and the measures."""
        names = []
        for player in self.players:
            names.append(f"{player.name}_loss")
            if len(player.terms) > 1:
                names += [f"{player.name}_{term}" for term in player.terms]
        return names + list(self.measures)

    @property
    def metrics(self) -> list:
        return [metric for metric in super().metrics if metric.name != "loss"]

    def fit(
        self,
        x=None,
        y=None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        initial_epoch: int = 0,
        initial_step: int = 0,
        steps_per_epoch: int | None = None,
        callbacks: Sequence | None = None,
        **kwargs,
    ):
        """Train on faces.

        Args:
            x: What `kf.data.load` or `kf.data.open_faces` returned; any other data that Keras
                takes works too, without `initial_step`.
            epochs: The epoch at which to stop.
            initial_epoch: The epoch at which to begin.
            initial_step: The step within `initial_epoch` at which to begin.
            steps_per_epoch: Steps in an epoch; None takes all of the data once.
            callbacks: Keras callbacks.
            y: Labels, which the model may use.
            batch_size: Images in a batch where `x` is an array.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            UserError: If images do not have this model's shape, steps do not divide, or the
                backend cannot train on as many devices.
        """
        self.check_replicas()
        self.forget_density()
        self._check_batches(x, y, batch_size)
        stream = x if isinstance(x, FaceStream) else getattr(x, "stream", None)
        if stream is None:
            if initial_step:
                raise UserError("initial_step needs data from kf.data.load or kf.data.open_faces.")
            self.fit_plan = FitPlan(None, steps_per_epoch, 0)
            return super().fit(
                x,
                y,
                batch_size,
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                callbacks=callbacks,
                **kwargs,
            )
        if y is not None or batch_size is not None:
            raise UserError(
                "Faces from kf.data come in batches, with their labels: give labels= and "
                "batch_size= to kf.data.load, not to fit."
            )
        self._check_shape(stream.image_shape)
        steps = steps_per_epoch or stream.steps_per_epoch
        if steps % self.steps_per_execution or initial_step % self.steps_per_execution:
            divisors = [n for n in range(1, steps + 1) if steps % n == 0]
            raise UserError(
                f"steps_per_execution={self.steps_per_execution} does not divide the {steps} steps "
                f"of an epoch. Choose one of: {', '.join(map(str, divisors))}."
            )

        def run(first_epoch, first_step, last_epoch):
            count = (last_epoch - first_epoch) * steps - first_step
            self.fit_plan = FitPlan(stream, steps, first_step)
            return keras.Model.fit(
                self,
                training_data(stream, first_epoch * steps + first_step, count),
                epochs=last_epoch,
                initial_epoch=first_epoch,
                steps_per_epoch=steps - first_step,
                callbacks=callbacks,
                **{**kwargs, "shuffle": False},
            )

        history = None
        stream.failure = None
        try:
            if initial_step and initial_epoch < epochs:
                # Keras counts whole epochs: the rest of a broken one is a call of its own.
                history = run(initial_epoch, initial_step, initial_epoch + 1)
                initial_epoch += 1
            if history is None or (initial_epoch < epochs and not self.stop_training):
                history = run(initial_epoch, 0, epochs)
        except BaseException as error:
            # Keras does not tell callbacks that training broke off; ours hold locks and signals.
            for callback in callbacks or ():
                if hasattr(callback, "close"):
                    callback.close()
            if stream.failure is not None and not isinstance(error, KeyboardInterrupt):
                raise stream.failure from None
            raise
        return history

    def check_stream(self, stream: FaceStream) -> None:
        """Raise a `UserError` where faces are not what the model can learn from."""
        self._check_shape(stream.image_shape)
        self._check_batches(stream, None, None)

    def _check_batches(self, x, y, batch_size):
        stream = x if isinstance(x, FaceStream) else getattr(x, "stream", None)
        if stream is not None:
            sizes = [stream.batch_size, stream.count % stream.batch_size]
            sizes = sizes[:1] if stream.drop_remainder else sizes
        elif isinstance(x, np.ndarray):
            sizes = [batch_size or 32, len(x) % (batch_size or 32)]
        else:
            return
        bad = [size for size in sizes if size % self.batch_multiple]
        if bad:
            raise UserError(
                f"{type(self).__name__} splits every batch into {self.batch_multiple} parts, so "
                f"its size must be a multiple of that. Received: a batch of {bad[0]}."
            )
        self.check_data(stream, y, sizes[0])

    def check_data(self, stream: FaceStream | None, labels, batch_size: int) -> None:
        """Raise a `UserError` where data are not what the model can learn from.

        Args:
            stream: The faces, or None where `fit` was given an array.
            labels: The labels that came with an array, or None.
            batch_size: Faces in a batch.
        """

    # One round of the game.

    def train_round(self, data):
        """Let every player move as `turns` says; return the logs."""
        all_terms = {}
        for players, batch in self.turns(*_images_and_labels(data)):
            groups = {player.name: player.variables for player in players}
            moving = {id(variable) for group in groups.values() for variable in group}
            (losses, terms), gradients = losses_and_gradients(
                lambda batch=batch: self._summed(batch, training=True),
                groups,
                state=[variable for variable in self.variables if id(variable) not in moving],
            )
            gates = self.gates(terms)
            for player in players:
                name = player.name
                with self._held_unless(gates.get(name), groups[name], self.optimizer[name]):
                    self.optimizer[name].apply(gradients[name], groups[name])
                self.trackers[f"{player.name}_loss"].update_state(losses[player.name])
                all_terms[player.name] = terms[player.name]
            all_terms["measures"] = terms.get("measures", {})
        self.adjust(all_terms)
        self._average()
        self._track(all_terms)
        return self.get_metrics_result()

    def test_round(self, data):
        """Compute the losses of every turn; return the logs.

        The noise is the same for every batch, and validation leaves the training's as it was.
        """
        noise = ops.copy(self.noise.state)
        all_terms = {}
        for players, batch in self.turns(*_images_and_labels(data)):
            losses, terms = self._summed(batch, training=False)
            for player in players:
                self.trackers[f"{player.name}_loss"].update_state(losses[player.name])
                all_terms[player.name] = terms[player.name]
            all_terms["measures"] = terms.get("measures", {})
            self.noise.state.assign(noise)
        self._track(all_terms)
        return self.get_metrics_result()

    def _summed(self, batch, training):
        terms = self.losses(batch, training)
        # Stacked and summed, not added: TensorFlow's graph optimizer merges a chain of additions,
        # the logged mean's among them, in an order that differs from process to process.
        losses = {
            player.name: ops.sum(ops.stack(list(terms[player.name].values())))
            for player in self.players
        }
        return losses, terms

    @contextlib.contextmanager
    def _held_unless(self, gate, variables, optimizer):
        """Undo what happens within to variables and optimizer where `gate` is false."""
        if gate is None:
            yield
            return
        held = [*variables, *optimizer.variables]
        before = [ops.copy(ops.convert_to_tensor(variable)) for variable in held]
        yield
        for variable, value in zip(held, before, strict=True):
            variable.assign(ops.where(gate, ops.convert_to_tensor(variable), value))

    def _track(self, terms):
        for player in self.players:
            if len(player.terms) > 1:
                for term in player.terms:
                    self.trackers[f"{player.name}_{term}"].update_state(terms[player.name][term])
        for name, value in self.measure(terms).items():
            self.trackers[name].update_state(value)

    def _average(self):
        self.rounds.assign(self.rounds + 1)
        if not self.ema:
            return
        # Early averages would otherwise hold on to the random initial weights.
        rounds = ops.cast(self.rounds, "float32")
        decay = ops.minimum(self.ema, (1.0 + rounds) / (10.0 + rounds))
        for name in self.generating:
            pairs = zip(self.averaged(name).variables, getattr(self, name).variables, strict=True)
            for average, variable in pairs:
                average.assign(decay * average + (1.0 - decay) * variable)

    # Generating.

    def averaged(self, name: str) -> keras.Model:
        """Return the averaged copy of a network where `ema` keeps one, else the network."""
        return getattr(self, f"{name}_average", None) or getattr(self, name)

    def draw_latents(self, count: int, seed: int = 0, sampler: str | None = None) -> np.ndarray:
        """Draw latents to generate from, independent of the backend.

        Args:
            count: How many.
            seed: Seed of the draw.
            sampler: One of `samplers`; None takes the last usable one.

        Returns:
            A float32 array of shape `(count, code_dim)`.

        Raises:
            UserError: If the model has no latents or no such sampler.
        """
        self._needs_latents()
        sampler = sampler or self.default_sampler
        if sampler not in self.samplers:
            raise unknown_name("sampler", sampler, self.samplers)
        if sampler not in self.usable_samplers:
            raise UserError(
                f"Sampler {sampler!r} is not ready: it is fitted when a run is finished, or by "
                f"model.fit_density(faces). Draw from {self.samplers[0]!r} until then."
            )
        if count < 1:
            raise UserError(f"count must be 1 or more. Received: {count}.")
        if seed < 0:
            raise UserError(f"seed must be 0 or more. Received: {seed}.")
        noise = np.random.default_rng(seed).standard_normal((count, self.latent_dim), np.float32)
        return ops.convert_to_numpy(self.latents_from_noise(noise, sampler))

    @property
    def code_dim(self) -> int | None:
        """Width of what `decode` takes: the latent, and conditions where there are any."""
        return self.latent_dim

    def _needs_latents(self):
        if self.latent_dim is None:
            raise UserError(
                f"A {type(self).__name__} makes faces from faces and has no latents to draw. "
                "Use translate(faces), or on the command line: keras-faces translate RUN IMAGE"
            )

    def latents_from_noise(self, noise, sampler: str):
        """Map standard normal noise of shape `(count, latent_dim)` to latents of a sampler."""
        return noise

    def noise_from_latents(self, latents):
        """Map latents to the standard normal noise from which the prior's sampler makes them."""
        return latents

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

    def forget_density(self) -> None:
        """Forget what `fit_density` fitted, which training makes untrue: here, nothing."""

    def generate(self, count: int = 64, seed: int = 0, sampler: str | None = None) -> np.ndarray:
        """Generate faces.

        Args:
            count: How many.
            seed: Seed of the latents: the same seed gives the same faces.
            sampler: One of `samplers`; None takes the last usable one.

        Returns:
            A float32 array of shape `(count, image_size, image_size, channels)` in [-1, 1].
        """
        return self.decode(self.draw_latents(count, seed, sampler))

    def decode(self, latents) -> np.ndarray:
        """Turn latents of shape `(count, code_dim)` into faces in [-1, 1]."""
        self._needs_latents()
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.code_dim:
            raise UserError(
                f"Expected latents of shape (count, {self.code_dim}). Received: {latents.shape}."
            )
        return self._mapped(self.faces_from_latents, latents)

    def faces_from_latents(self, latents):
        """Turn latents into faces, as tensors."""
        return self.averaged(self.generating[-1])(latents, training=False)

    def call(self, latents, training=False):
        return self.faces_from_latents(latents)

    def judge(self) -> keras.Model | None:
        """Return a network whose layers tell how alike two faces look, or None where none helps."""
        return None

    @property
    def has_encoder(self) -> bool:
        """Whether the model can `encode` and `reconstruct`."""
        return hasattr(self, "latents_from_faces")

    def samples(self, count: int, seed: int, sampler: str, stream) -> np.ndarray:
        """Return the faces by which the model is judged: `generate`'s, where it has latents.

        Args:
            count: How many, or fewer where the model makes one of each face of `stream`.
            seed: Seed of the choice.
            sampler: One of `samplers`.
            stream: Real faces, for models that make faces from faces.
        """
        return self.generate(count, seed, sampler)

    def show_samples(self, count: int, seed: int, sampler: str, stream):
        """Return `samples` as one picture."""
        return grid(self.samples(count, seed, sampler, stream))

    def faces_and_copies(self, count: int, seed: int, stream) -> tuple | None:
        """Return some real faces and what `reconstruct` makes of them, or None if it cannot."""
        return None

    def show_more(self, count: int, seed: int, stream) -> dict:
        """Return further pictures by name that show what the model does to real faces."""
        return {}

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

    def export(
        self,
        filepath,
        format: str = "saved_model",
        verbose: bool = True,
        pixels: str = "float32",
        run=None,
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
            **kwargs: Passed on to Keras.

        Returns:
            The folder.
        """
        from keras_faces.export import FORMATS, INSTEAD, write

        format = "saved_model" if format == "tf_saved_model" else format  # Keras's name
        if format not in {**FORMATS, **INSTEAD} or kwargs:
            return super().export(filepath, format=format, verbose=verbose, **kwargs)
        return write(self, filepath, format, pixels, run).folder

    def warnings(self, faces: np.ndarray, logs: Mapping[str, float]) -> list[str]:
        """Return in words what is going wrong in training, most likely nothing.

        Args:
            faces: Some training faces, float32 in [-1, 1].
            logs: The means of the losses and measures since the last look.
        """
        return []

    def check_faces(self, faces) -> np.ndarray:
        """Return faces as float32 NHWC.

        Raises:
            UserError: If their shape or range is not this model's.
        """
        faces = np.asarray(faces)
        if faces.dtype == np.uint8:
            raise UserError(
                "Expected float faces in [-1, 1], received uint8. Convert them with "
                "kf.data.to_float(faces)."
            )
        self._check_shape(faces.shape[1:])
        if faces.size and (not np.isfinite(faces).all() or np.abs(faces).max() > 1.01):
            raise UserError(
                "Expected faces with values in [-1, 1]. "
                f"Received values from {faces.min():.3g} to {faces.max():.3g}."
            )
        return faces.astype(np.float32)

    def _check_shape(self, shape):
        expected = (self.image_size, self.image_size, self.channels)
        if tuple(shape) != expected:
            raise UserError(
                f"Expected images of shape {expected}, as the model was made for. "
                f"Received: {tuple(shape)}. Load them with image_size={self.image_size} and "
                f"channels={self.channels}."
            )

    def _mapped(self, function, *inputs: np.ndarray, batch_size: int = 64):
        """Apply a function of tensors batch by batch; return a NumPy array."""
        parts = [
            ops.convert_to_numpy(
                function(*(ops.convert_to_tensor(given[i : i + batch_size]) for given in inputs))
            )
            for i in range(0, len(inputs[0]), batch_size)
        ]
        return np.concatenate(parts) if parts else inputs[0][:0]


def name_layers(model: keras.Model) -> None:
    """Number a model's layers as if it were the first that this process builds.

    Keras numbers the layers of a process, and TensorFlow's graph optimizer sums gradients in the
    order of names, "conv2d_10" before "conv2d_9": the second of two equal models would round
    otherwise than the first.
    """
    layers = {id(layer): layer for layer in _layers_within(model)}.values()  # some are shared
    numbers: dict[str, set[int]] = {}
    for layer in layers:
        prefix, number = _parts_of_name(layer)
        numbers.setdefault(prefix, set()).add(number)
    for layer in layers:
        prefix, number = _parts_of_name(layer)
        place = sorted(numbers[prefix]).index(number)
        layer.name = f"{prefix}_{place}" if place else prefix


def _layers_within(model) -> Iterator[keras.Layer]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers_within(layer)


def _parts_of_name(layer: keras.Layer) -> tuple[str, int]:
    prefix, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name).groups()
    return prefix, int(number or 0)


def _images_and_labels(data):
    """Return the images of a batch, and its labels or None."""
    return keras.utils.unpack_x_y_sample_weight(data)[:2]


def training_data(stream: FaceStream, start: int, count: int):
    """Return batches `start` to `start + count` of a stream in the form the backend takes."""
    if keras.backend.backend() == "tensorflow":
        return stream.dataset(start)
    return _Batches(stream, start, count)


class _Batches(keras.utils.PyDataset):
    """Batches for backends other than TensorFlow, which then need not be installed."""

    def __init__(self, stream: FaceStream, start: int, count: int):
        super().__init__()
        self.stream, self.start, self.count = stream, start, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        from keras_faces.pixels import to_float

        images, labels = self.stream.read(self.start + index)
        return (to_float(images),) if labels is None else (to_float(images), labels)
