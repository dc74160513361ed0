"""How any model learns: a game between players, whatever the backend and the pictures.

A round of the game is a step of training. In each of its `turns` the players who move see the same
weights: one forward pass gives the `losses` of all, and every player's optimizer follows the
gradient of its own loss by its own networks, unless `update_masks` makes it sit the turn out.
After the last turn `adjust` updates what nobody trains, and averages and logs are brought up to
date.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_faces.data.stream import FaceStream, stream_of
from keras_faces.errors import UserError, require_decay
from keras_faces.pixels import to_float
from keras_faces.training.backend import (
    Steps,
    apply_gradients,
    jit_by_default,
    losses_and_gradients,
)
from keras_faces.training.construction import Dtype, SeededModel
from keras_faces.training.memory import counting, within_memory
from keras_faces.training.players import Player, PlayerOptimizers
from keras_faces.training.schedules import Schedule, learning_rate_schedule


class FitPlan(NamedTuple):
    """What `fit` is doing, for callbacks to look at.

    Attributes:
        stream: The stream of images, or None where `fit` was given other data.
        steps_per_epoch: Steps in a whole epoch, or None where only Keras knows.
        first_step: The step within the first epoch at which training began.
    """

    stream: FaceStream | None
    steps_per_epoch: int | None
    first_step: int


class Game(Steps, SeededModel):
    """Base class of models whose networks learn as players of a game.

    A subclass builds its networks within `building()`, lists its `players`, and says in `losses`
    what each wants. It may refine the rules of a round: `sample_noise`, `turns`, `update_masks`,
    `adjust`, `measure`.

    Args:
        seed: Seed of the initial weights and of all noise in training.
        ema: Decay of an exponential moving average of the networks that generate, which then
            generate in their stead; 0 for none. The decay starts lower and rises to this value.
        schedule: Learning-rate schedule: `"constant"`; `"exponential"`, times `decay_rate` after
            every `decay_steps` steps; `"linear"` or `"cosine"`, down to `decay_rate` times the
            first rate within `decay_steps` steps.
        decay_steps: Steps of the schedule's decay.
        decay_rate: Factor of the schedule's decay.
        decay_after: Steps at the first rate before the decay begins.
        min_learning_rate: What the schedule's rate never falls below; 0 for no such floor.
        dtype: `"float32"`, or `"mixed_bfloat16"` to compute in bfloat16 with float32 weights.
        name: Name of the Keras model.
    """

    # Names of the networks that generate, of which `ema` keeps averages.
    generating: tuple[str, ...] = ()

    # Names of what `losses` returns under "measures": watched, but lowered by nobody.
    measures: tuple[str, ...] = ()

    def __init__(
        self,
        seed: int = 0,
        ema: float = 0.0,
        schedule: Schedule = "constant",
        decay_steps: int = 0,
        decay_rate: float = 0.0,
        decay_after: int = 0,
        min_learning_rate: float = 0.0,
        dtype: Dtype | None = None,
        name: str | None = None,
    ):
        require_decay(ema=ema)
        super().__init__(seed=seed, dtype=dtype, name=name)
        self.ema = ema
        self.schedule = schedule
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.decay_after = decay_after
        self.min_learning_rate = min_learning_rate
        self.noise = keras.random.SeedGenerator(seed)
        self.rounds = self.add_weight(
            name="rounds", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    @contextlib.contextmanager
    def building(self):
        with super().building():
            yield
            for name in self.generating if self.ema else ():
                average = keras.models.clone_model(getattr(self, name))
                if not counting():
                    average.set_weights(getattr(self, name).get_weights())
                average.trainable = False
                setattr(self, f"{name}_average", average)

    # The rules, which a subclass says.

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
            batch: What `sample_noise` returned.
            training: Whether networks run in training mode.

        Returns:
            Dict mapping each player's name to a dict of its named scalar terms; `"measures"`
            may map to a dict of further scalars that are only watched.
        """
        raise NotImplementedError

    def sample_noise(self, images, labels=None):
        """Turn a batch of images into what the losses need, such as noise beside them."""
        return images

    def turns(self, images, labels=None) -> Iterator[tuple[Sequence[Player], object]]:
        """Yield `(players, batch)` for every turn of a round.

        The players of one turn move at the same time, all seeing the same weights.
        """
        yield self.players, self.sample_noise(images, labels)

    def update_masks(self, terms: Mapping[str, Mapping]) -> Mapping:
        """Return by name, for players who may have to sit a turn out, whether each moves."""
        return {}

    def adjust(self, terms: Mapping[str, Mapping]) -> None:
        """Update what no player trains, given all loss terms of the round."""

    def measure(self, terms: Mapping[str, Mapping]) -> Mapping:
        """Return the scalars of `measures`, given all loss terms of the round."""
        return terms.get("measures", {})

    @property
    def batch_multiple(self) -> int:
        """A number that every batch must be a multiple of, for models that split theirs."""
        return 1

    def check_shape(self, shape) -> None:
        """Raise a `UserError` where images of this shape are not what the model can learn from."""

    def check_data(self, stream: FaceStream | None, labels, batch_size: int) -> None:
        """Raise a `UserError` where data are not what the model can learn from.

        Args:
            stream: The stream of images, or None where `fit` was given an array.
            labels: The labels that came with an array, or None.
            batch_size: Images in a batch.
        """

    def forget_density(self) -> None:
        """Forget what was fitted once training was done, as more of it makes that untrue.

        Here, nothing was.
        """

    # One round of the game.

    def train_round(self, data):
        """Let every player move as `turns` says; return the logs."""
        all_terms = {}
        for players, batch in self.turns(*_images_and_labels(data)):
            groups = {player.name: player.variables for player in players}
            moving = {id(variable) for group in groups.values() for variable in group}
            (losses, terms), gradients = losses_and_gradients(
                lambda batch=batch: self._losses_and_terms(batch, training=True),
                groups,
                state=[variable for variable in self.variables if id(variable) not in moving],
            )
            masks = self.update_masks(terms)
            for name, variables in groups.items():
                with self._masked(masks.get(name), variables, self.optimizer[name]):
                    apply_gradients(self.optimizer[name], gradients[name], variables)
            self._log_losses(players, losses)
            all_terms |= _terms_of(players, terms)
        self.adjust(all_terms)
        self._update_averages()
        self._log_terms(all_terms)
        return self.get_metrics_result()

    def test_round(self, data):
        """Compute the losses of every turn; return the logs.

        The noise is the same for every batch, and validation leaves the training's as it was.
        """
        noise = ops.copy(self.noise.state)
        all_terms = {}
        for players, batch in self.turns(*_images_and_labels(data)):
            losses, terms = self._losses_and_terms(batch, training=False)
            self._log_losses(players, losses)
            all_terms |= _terms_of(players, terms)
            self.noise.state.assign(noise)
        self._log_terms(all_terms)
        return self.get_metrics_result()

    def _losses_and_terms(self, batch, training):
        """Return every player's loss, and the terms that it is the sum of."""
        terms = self.losses(batch, training)
        # Stacked and summed, not added: TensorFlow's graph optimizer merges a chain of additions,
        # the logged mean's among them, in an order that differs from process to process.
        losses = {
            player.name: ops.sum(ops.stack(list(terms[player.name].values())))
            for player in self.players
        }
        return losses, terms

    def _log_losses(self, players, losses):
        for player in players:
            self.trackers[f"{player.name}_loss"].update_state(losses[player.name])

    @contextlib.contextmanager
    def _masked(self, mask, variables, optimizer):
        """Undo what happens within to variables and optimizer where `mask` is false."""
        if mask is None:
            yield
            return
        held = [*variables, *optimizer.variables]
        before = [ops.copy(ops.convert_to_tensor(variable)) for variable in held]
        yield
        for variable, value in zip(held, before, strict=True):
            variable.assign(ops.where(mask, ops.convert_to_tensor(variable), value))

    def _log_terms(self, terms):
        for player in self.players:
            if len(player.terms) > 1:
                for term in player.terms:
                    self.trackers[f"{player.name}_{term}"].update_state(terms[player.name][term])
        for name, value in self.measure(terms).items():
            self.trackers[name].update_state(value)

    def _update_averages(self):
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

    # What the rules are written with.

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
            self.min_learning_rate,
        )

    def averaged(self, name: str) -> keras.Model:
        """Return the averaged copy of a network where `ema` keeps one, else the network."""
        return getattr(self, f"{name}_average", None) or getattr(self, name)

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
        with within_memory(*self._memory_arguments(self._sizes, copies=1)):
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
        """Train on images.

        Args:
            x: What `kf.data.load` or `kf.data.open_faces` returned; any other data that Keras
                takes works too, without `initial_step`.
            y: Labels, which the model may use.
            batch_size: Images in a batch where `x` is an array.
            epochs: The epoch at which to stop.
            initial_epoch: The epoch at which to begin.
            initial_step: The step within `initial_epoch` at which to begin.
            steps_per_epoch: Steps in an epoch; None takes all of the data once.
            callbacks: Keras callbacks.
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
        stream = stream_of(x)
        if stream is not None:
            if y is not None or batch_size is not None:
                raise UserError(
                    "Faces from kf.data come in batches, with their labels: give labels= and "
                    "batch_size= to kf.data.load, not to fit."
                )
            return self._fit_stream(
                stream, epochs, initial_epoch, initial_step, steps_per_epoch, callbacks, kwargs
            )
        if initial_step:
            raise UserError("initial_step needs data from kf.data.load or kf.data.open_faces.")
        self.fit_plan = FitPlan(None, steps_per_epoch, 0)
        with _closing_unless_done(callbacks):
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

    def _fit_stream(
        self, stream, epochs, initial_epoch, initial_step, steps_per_epoch, callbacks, kwargs
    ):
        self.check_shape(stream.image_shape)
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
            with _closing_unless_done(callbacks):
                if initial_step and initial_epoch < epochs:
                    # Keras counts whole epochs: the rest of a broken one is a call of its own.
                    history = run(initial_epoch, initial_step, initial_epoch + 1)
                    initial_epoch += 1
                if history is None or (initial_epoch < epochs and not self.stop_training):
                    history = run(initial_epoch, 0, epochs)
        except Exception:
            if stream.failure is not None:
                raise stream.failure from None
            raise
        return history

    def check_stream(self, stream: FaceStream) -> None:
        """Raise a `UserError` where a stream is not what the model can learn from."""
        self.check_shape(stream.image_shape)
        self._check_batches(stream, None, None)

    def _check_batches(self, x, y, batch_size):
        stream = stream_of(x)
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


@contextlib.contextmanager
def _closing_unless_done(callbacks: Sequence | None) -> Iterator[None]:
    """Close callbacks where training breaks off, of which Keras does not tell them.

    Ours hold locks and signals.
    """
    try:
        yield
    except BaseException:
        for callback in callbacks or ():
            if hasattr(callback, "close"):
                callback.close()
        raise


def _images_and_labels(data):
    """Return the images of a batch, and its labels or None."""
    return keras.utils.unpack_x_y_sample_weight(data)[:2]


def _terms_of(players: Sequence[Player], terms: Mapping) -> dict:
    """Return the loss terms of some players, and what is only watched."""
    of_each = {player.name: terms[player.name] for player in players}
    return {**of_each, "measures": terms.get("measures", {})}


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
        images, labels = self.stream.read(self.start + index)
        return (to_float(images),) if labels is None else (to_float(images), labels)
