"""How any model learns: a game between players, whatever the backend and the pictures.

A round of the game is a step of training. In each of its `turns` the players who move see the same
weights: one forward pass gives the `losses` of all, and every player's optimizer follows the
gradient of its own loss by its own networks, unless `update_masks` makes it sit the turn out.
After the last turn `adjust` updates what nobody trains, and averages and logs are brought up to
date.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_faces.data.stream import FaceStream, stream_of
from keras_faces.errors import UserError, require_decay
from keras_faces.pixels import to_float
from keras_faces.schema import Scalar
from keras_faces.training.backend import (
    Steps,
    apply_gradients,
    jit_by_default,
    keep_compiled,
    known_values,
    losses_and_gradients,
    on_accelerator,
)
from keras_faces.training.construction import Dtype, SeededModel
from keras_faces.training.devices import device_count, part, require_same
from keras_faces.training.doors import (
    COMPARISONS,
    check_callbacks,
    listed,
    refuse_comparisons,
    refuse_weights,
)
from keras_faces.training.memory import counting, within_memory
from keras_faces.training.networks import AVERAGE
from keras_faces.training.players import Player, PlayerOptimizers
from keras_faces.training.schedules import Schedule, learning_rate_schedule

NOISE = "noise_"  # begins the names of seed generators' states in files
STEPS_AT_ONCE = 16  # on accelerators: seldom a second, after which Ctrl-C is heard


def check_steps_at_once(given: int | Literal["auto"]) -> None:
    """Raise a `UserError` where `steps_per_execution` is neither `"auto"` nor a number of steps."""
    if given != "auto" and not (isinstance(given, int) and given is not True and given > 0):
        raise UserError(
            "steps_per_execution must be 'auto' or a whole number of 1 or more. "
            f"Received: {given!r}."
        )


@dataclasses.dataclass
class FitPlan:
    """What `fit` is doing, for callbacks to look at.

    Attributes:
        stream: The stream of images, or None where `fit` was given other data.
        steps_per_epoch: Steps in a whole epoch, or None where only Keras knows.
        first_step: The step within the first epoch at which training began.
        step: Steps done since the beginning of training, or None where only Keras knows.
        last_step: The step at which training will end, if a callback has said so: no call goes
            beyond it.
        validated: Whether what it validates with has been looked at.
    """

    stream: FaceStream | None
    steps_per_epoch: int | None
    first_step: int
    step: int | None = None
    last_step: int | None = None
    validated: bool = False

    def next_steps(self, most: int) -> int:
        """Return how many steps the next call takes: no more than an epoch and training have."""
        rest = self.steps_per_epoch - self.step % self.steps_per_epoch
        if self.last_step is not None:
            rest = min(rest, max(1, self.last_step - self.step))
        return min(most, rest)


class Multiple(NamedTuple):
    """A term of a player's loss that has, by its own variables, another loss's gradient.

    Attributes:
        term: Name of the term.
        of: The player whose whole loss it is a multiple of, but for what the first player's
            variables have no part in.
        factor: What that loss is multiplied by, a scalar.
    """

    term: str
    of: str
    factor: object


class Game(Steps, SeededModel):
    """Base class of models whose networks train as players of a game.

    A subclass builds its networks inside `building()`, lists its `players`, and returns each
    player's loss from `losses`. It may override the rules of a round: `sample_noise`, `turns`,
    `update_masks`, `adjust`, `measure`.

    Args:
        seed: Seed of the initial weights and of all noise in training.
        ema: Decay of an exponential moving average of the generating networks' weights; faces
            are then drawn with the averaged weights. 0 for none. The decay starts lower and rises
            to this value.
        schedule: Learning-rate schedule: `"constant"`; `"exponential"`, times `decay_rate` after
            every `decay_steps` steps; `"linear"` or `"cosine"`, down to `decay_rate` times the
            initial rate within `decay_steps` steps.
        decay_steps: Steps of the schedule's decay.
        decay_rate: Factor of the schedule's decay.
        decay_after: Steps at the initial rate before the decay begins.
        min_learning_rate: Lower bound of the scheduled rate; 0 for none.
        dtype: `"float32"`, or `"mixed_bfloat16"` to compute in bfloat16 with float32 weights.
        name: Name of the Keras model.
        **networks: Your own networks in place of the model's, by the names of its attributes,
            such as `generator`, with the same input and output shapes.
    """

    # Names of the networks that generate, of which `ema` keeps averages.
    generating: tuple[str, ...] = ()

    # Hyper-parameters of what nothing but training needs, with values that leave it out.
    training_only: Mapping[str, Scalar] = {"ema": 0.0}

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
        **networks: keras.Model,
    ):
        require_decay(ema=ema)
        super().__init__(seed=seed, dtype=dtype, name=name, **networks)
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
            self._own.require_used()
            for name in self.generating if self.ema else ():
                average = keras.models.clone_model(getattr(self, name))
                if not counting():
                    average.set_weights(getattr(self, name).get_weights())
                average.trainable = False
                average.name = name + AVERAGE
                setattr(self, name + AVERAGE, average)

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
            Dict mapping each player's name to a dict of its named scalar terms, at least those of
            the turn; `"measures"` may map to a dict of further scalars that are only watched.
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

    def multiples(self) -> Mapping[str, Multiple]:
        """Return by player a term of its loss whose gradient comes with another player's.

        One backward pass then serves both. It changes no number but by rounding.
        """
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

    def check_faces(self, faces, drawn: bool = False) -> np.ndarray:
        """Return images as the networks take them, or raise a `UserError` where they cannot be."""
        return faces

    def check_data(self, stream: FaceStream | None, labels, batch_size: int) -> None:
        """Raise a `UserError` where data are not what the model can learn from.

        Args:
            stream: The stream of images, or None where these came as anything else.
            labels: The labels that came beside them then, an array, or None.
            batch_size: Images in a batch that is learnt from; 0 where nothing is.
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
            (losses, terms), gradients = self._gradients(players, batch)
            masks = self.update_masks(terms)
            for name, variables in ((player.name, player.variables) for player in players):
                with self._masked(masks.get(name), variables, self.optimizer[name]):
                    apply_gradients(self.optimizer[name], gradients[name], variables)
            self._log_losses(players, losses)
            all_terms |= _terms_of(players, terms)
        self.adjust(all_terms)
        self._update_averages()
        self._log_terms(all_terms)
        return self.get_metrics_result()

    def _gradients(self, players, batch):
        """Return every player's loss, its terms, and by name each player's gradients."""
        own = {player.name: player.variables for player in players}
        multiples = {name: m for name, m in self.multiples().items() if {name, m.of} <= set(own)}
        asked = dict(own)
        for name, multiple in multiples.items():
            asked[multiple.of] = [*asked[multiple.of], *own[name]]

        def forward():
            losses, terms = self._losses_and_terms(players, batch, training=True)
            lowered = dict(losses)
            for name, multiple in multiples.items():
                lowered[name] = _sum(v for term, v in terms[name].items() if term != multiple.term)
            return lowered, (losses, terms)

        moving = {id(variable) for group in own.values() for variable in group}
        (_, (losses, terms)), gradients = losses_and_gradients(
            forward,
            asked,
            state=[variable for variable in self.variables if id(variable) not in moving],
        )
        for name, multiple in multiples.items():
            count = len(own[multiple.of])
            both, rest = gradients[multiple.of], gradients[name]
            gradients[multiple.of] = both[:count]
            gradients[name] = [
                one + multiple.factor * two for one, two in zip(rest, both[count:], strict=True)
            ]
        return (losses, terms), gradients

    def test_round(self, data):
        """Compute the losses of every turn; return the logs.

        The noise is the same for every batch, and validation leaves the training's as it was.
        """
        noise = ops.copy(self.noise.state)
        all_terms = {}
        for players, batch in self.turns(*_images_and_labels(data)):
            losses, terms = self._losses_and_terms(players, batch, training=False)
            self._log_losses(players, losses)
            all_terms |= _terms_of(players, terms)
            self.noise.state.assign(noise)
        self._log_terms(all_terms)
        return self.get_metrics_result()

    def _losses_and_terms(self, players, batch, training):
        """Return the losses of the players of a turn, and the terms that they are the sums of."""
        terms = self.losses(batch, training)
        losses = {player.name: _sum(terms[player.name].values()) for player in players}
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
        return getattr(self, name + AVERAGE, None) or getattr(self, name)

    # Keras's doors.

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras leaves out where the noise stands, by which training goes on as if it never ended.
        for number, state in enumerate(self._noise_states):
            store[f"{NOISE}{number}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        values = {name: store[name] for name in list(store.keys())}
        super().load_own_variables({n: v for n, v in values.items() if not n.startswith(NOISE)})
        for number, state in enumerate(self._noise_states):
            if f"{NOISE}{number}" in values:  # files of earlier versions have none
                state.assign(np.asarray(values[f"{NOISE}{number}"]).astype(state.dtype))

    @property
    def _noise_states(self) -> list:
        return [v for v in self.variables if v.path.endswith("seed_generator_state")]

    def compile(
        self,
        optimizer=None,
        loss=None,
        *,
        steps_per_execution: int | Literal["auto"] = 1,
        jit_compile: bool | str | None = None,
        run_eagerly: bool = False,
        **kwargs,
    ):
        """Prepare for training.

        Args:
            optimizer: Dict of one optimizer for each player; None takes the paper's. They are
                named as their players.
            loss: None: the losses are the paper's.
            steps_per_execution: Steps in one call to the backend, which callbacks see as one;
                `"auto"` takes 16 on an accelerator, 1 on a CPU. What is learnt is the same.
            jit_compile: Whether to compile with XLA; None does so where it pays.
            run_eagerly: Whether to run without compilation, to debug.
            **kwargs: Further arguments of `keras.Model.compile`, but for `metrics` and its like.

        Raises:
            UserError: If the optimizers do not match the players, steps are not a number of
                them, or there is a loss or metric.
        """
        refuse_comparisons(self, loss=loss, **kwargs)
        keep_compiled()
        names = [player.name for player in self.players]
        check_steps_at_once(steps_per_execution)
        if steps_per_execution == "auto":
            steps_per_execution = STEPS_AT_ONCE if on_accelerator() else 1
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
            **{key: value for key, value in kwargs.items() if key not in COMPARISONS},
        )
        # Metrics must exist before the first step; those of an earlier `compile` stay.
        if not hasattr(self, "trackers"):
            logged = [name for name in self.log_names if name != "loss"]
            self.trackers = {name: keras.metrics.Mean(name=name) for name in logged}
        with within_memory(*self._memory_arguments(self._sizes, copies=1)):
            optimizer.build_players(self.players)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def log_names(self) -> list[str]:
        """Names of all logged scalars: each player's loss, its terms, and the measures.

        Where there is one player, its loss is logged as `"loss"` as well, where Keras's callbacks
        look for it.
        """
        players = self.players
        names = ["loss"] if len(players) == 1 else []
        for player in players:
            names.append(f"{player.name}_loss")
            if len(player.terms) > 1:
                names += [f"{player.name}_{term}" for term in player.terms]
        return names + list(self.measures)

    @property
    def metrics(self) -> list:
        return [metric for metric in super().metrics if metric.name != "loss"]

    @property
    def metrics_names(self) -> list[str]:
        names = super().metrics_names
        return [*names, "loss"] if "loss" in self.log_names else names  # as `evaluate` has them

    def get_metrics_result(self) -> dict[str, Any]:
        logs = super().get_metrics_result()
        if "loss" in self.log_names:
            return {"loss": logs[f"{self.players[0].name}_loss"], **logs}
        return logs

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
        validation_data=None,
        sample_weight=None,
        class_weight=None,
        **kwargs,
    ):
        """Train on images.

        Args:
            x: What `kf.data.load` or `kf.data.open_faces` returned; any other data that Keras
                takes works too, float images in [-1, 1], without `initial_step`.
            y: Labels, for models that learn from them.
            batch_size: Images in a batch where `x` is an array.
            epochs: The epoch at which to stop.
            initial_epoch: The epoch at which to begin.
            initial_step: The step within `initial_epoch` at which to begin.
            steps_per_epoch: Steps in an epoch; None takes all of the data once.
            callbacks: Keras callbacks.
            validation_data: What `x` may be, or a tuple of `x` and `y`.
            sample_weight: None: a loss is that of the batch.
            class_weight: None, as `sample_weight`.
            **kwargs: Further arguments of `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            UserError: If images or labels are not what this model learns from, a callback or an
                argument cannot do what it is for, or the backend cannot train on as many devices.
        """
        stream = stream_of(x)
        self._check_learning(stream, sample_weight, class_weight)
        validated = validation_data is not None or bool(kwargs.get("validation_split"))
        check_callbacks(self, listed(callbacks), validated)
        self._check_batches(x, y, batch_size)
        self._initial_epoch = None  # of an earlier call, which Keras would begin this one with
        kwargs["callbacks"] = callbacks
        if validation_data is not None:
            kwargs["validation_data"] = self._checked_validation(validation_data)
        if stream is not None:
            if y is not None or batch_size is not None:
                raise UserError(
                    "Faces from kf.data come in batches, with their labels: give labels= and "
                    "batch_size= to kf.data.load, not to fit."
                )
            if "shuffle" in kwargs:
                raise UserError(
                    "Faces from kf.data come in an order of their own: give shuffle= to "
                    "kf.data.load, not to fit."
                )
            if kwargs.get("validation_split"):
                raise UserError(
                    "Faces from kf.data are split by person where they are loaded, not by fit: "
                    "give validation_data=kf.data.load(..., split='test')."
                )
            self.forget_density()
            return self._fit_stream(
                stream, epochs, initial_epoch, initial_step, steps_per_epoch, kwargs
            )
        if initial_step:
            raise UserError("initial_step needs data from kf.data.load or kf.data.open_faces.")
        if kwargs.get("validation_split") and not _is_array(x):
            raise UserError(
                "fit splits arrays alone. Give validation_data instead of validation_split."
            )
        self.forget_density()
        self.fit_plan = FitPlan(None, steps_per_epoch, 0)
        with _closing_unless_done(callbacks), self.looking("train", x, y):
            return super().fit(
                x,
                y,
                batch_size,
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                **kwargs,
            )

    def _fit_stream(self, stream, epochs, initial_epoch, initial_step, steps_per_epoch, kwargs):
        self.check_shape(stream.image_shape)
        steps = steps_per_epoch or stream.steps_per_epoch
        callbacks = kwargs["callbacks"]

        if part()[1] > 1:
            length = {
                "steps_per_epoch": steps,
                "epochs": epochs,
                "begin": [initial_epoch, initial_step],
            }
            require_same({"model": self.get_config(), "faces": stream.facts, **length})

        for callback in listed(callbacks):
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                # Which sets where Keras begins after the data have been told theirs.
                callback.set_model(self)
                callback.on_train_begin()
                if self._initial_epoch:
                    initial_epoch, initial_step = self._initial_epoch, 0

        def run(first_epoch, first_step, last_epoch):
            first = first_epoch * steps + first_step
            self.fit_plan = FitPlan(stream, steps, first_step, first)
            with training_data(stream, first) as data, self._counting_steps():
                return keras.Model.fit(
                    self,
                    data,
                    epochs=last_epoch,
                    initial_epoch=first_epoch,
                    steps_per_epoch=steps - first_step,
                    shuffle=False,
                    **kwargs,
                )

        history = None
        with _closing_unless_done(callbacks), _in_its_own_words(stream):
            if initial_step and initial_epoch < epochs:
                # Keras counts whole epochs: the rest of a broken one is a call of its own.
                history = run(initial_epoch, initial_step, initial_epoch + 1)
                initial_epoch += 1
            if history is None or (initial_epoch < epochs and not self.stop_training):
                history = run(initial_epoch, 0, epochs)
        return history

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size: int | None = None,
        verbose="auto",
        sample_weight=None,
        **kwargs,
    ):
        """Compute the losses of images, learning nothing.

        Args:
            x: What `fit` takes.
            y: Labels, for models that learn from them.
            batch_size: Images in a batch where `x` is an array.
            verbose: As Keras's.
            sample_weight: None: a loss is that of the batch.
            **kwargs: Further arguments of `keras.Model.evaluate`.

        Returns:
            The means of `metrics_names`, or of `log_names` by name with `return_dict=True`.

        Raises:
            UserError: If images or labels are not what this model learns from.
        """
        self._require_compiled()
        refuse_weights(self, sample_weight=sample_weight)
        x = batches_of(x)
        within_fit = kwargs.get("_use_cached_eval_dataset", False)
        known = within_fit and self.fit_plan.validated
        with _in_its_own_words(stream_of(x)) if known else self.looking("test", x, y):
            logs = super().evaluate(x, y, batch_size, verbose, **kwargs)
        if within_fit:
            self.fit_plan.validated = True
        return logs

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict: bool = False
    ):
        """Learn from one batch of images; arguments as those of `fit`."""
        self._check_learning(None, sample_weight, class_weight)
        self.look((x, y), learning=True)
        self.forget_density()
        return super().train_on_batch(x, y, return_dict=return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict: bool = False):
        """Compute the losses of one batch of images; arguments as those of `evaluate`."""
        self._require_compiled()
        refuse_weights(self, sample_weight=sample_weight)
        self.look((x, y))
        return super().test_on_batch(x, y, return_dict=return_dict)

    def look(self, batch, stream: FaceStream | None = None, learning: bool = False) -> None:
        """Look at a batch of what a user gave.

        Args:
            batch: Images, or a tuple with labels and weights.
            stream: The stream they come from, or None.
            learning: Whether they are to be learnt from.

        Raises:
            UserError: If images or labels are not what this model learns from.
        """
        given = keras.utils.unpack_x_y_sample_weight(batch)
        images, labels, weights = (None if v is None else known_values(v) for v in given)
        refuse_weights(self, sample_weight=weights)
        if images is None:
            return  # of which this process has a part
        self.check_faces(images)
        if stream is not None:
            labels = None
        self.check_data(stream, labels, len(images) if learning else 0)
        if learning:
            self._check_multiple(len(images))
        if labels is not None and labels.ndim == images.ndim:
            self.check_faces(labels, drawn=True)

    def _check_learning(self, stream, sample_weight, class_weight):
        self._require_compiled()
        self.check_replicas()
        refuse_weights(self, sample_weight=sample_weight, class_weight=class_weight)
        if stream is None and part()[1] > 1:
            raise UserError(
                "Several processes train on faces of which each reads its part: give fit what "
                "kf.data.load or kf.data.open_faces returned."
            )

    def _require_compiled(self):
        if not self.compiled:
            raise UserError(
                f"This {type(self).__name__} is not compiled. Call compile() first, without "
                "arguments for the paper's optimizers."
            )

    def _checked_validation(self, data):
        data = batches_of(data)
        if isinstance(data, (tuple, list)):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
            refuse_weights(self, sample_weight=weights)
            if isinstance(x, np.ndarray):
                self.look((x, y))
        return data

    @contextlib.contextmanager
    def looking(self, kind: Literal["train", "test", "predict"], x, y=None) -> Iterator[None]:
        """Look at arrays now, and within at the first batch of what else Keras is given.

        Args:
            kind: What it is given for, and so by which of its functions it is met.
            x: Images, or for `"predict"` latents, in whatever form.
            y: Labels in the form of an array, or None.
        """

        def look(batch):
            if kind == "predict":
                self.check_inputs(keras.utils.unpack_x_y_sample_weight(batch)[0])
            else:
                self.look(batch, stream_of(x), learning=kind == "train")

        if isinstance(x, np.ndarray):
            self.check_inputs(x) if kind == "predict" else self.look((x, y))
            yield
            return
        name = f"{kind}_function"
        getattr(self, f"make_{name}")()
        function = getattr(self, name)
        setattr(self, name, self.showing_first(function, look))
        try:
            with _in_its_own_words(stream_of(x)):
                yield
        finally:
            setattr(self, name, function)

    def check_inputs(self, inputs) -> None:
        """Raise a `UserError` where the model cannot be called on these."""

    @contextlib.contextmanager
    def _counting_steps(self) -> Iterator[None]:
        """Let no call take more steps than an epoch has left, as Keras does where data go on.

        Its function takes fewer where its iterator ends before.
        """
        self.make_train_function()
        function = self.train_function

        def limited(*state_and_iterator):
            *state, iterator = state_and_iterator
            count = self.fit_plan.next_steps(self.steps_per_execution)
            if count < self.steps_per_execution:
                iterator = itertools.islice(iterator, count)
            result = function(*state, iterator)
            self.fit_plan.step += count
            return result

        self.train_function = limited
        try:
            yield
        finally:
            self.train_function = function

    def check_stream(self, stream: FaceStream) -> None:
        """Raise a `UserError` where a stream is not what the model can learn from."""
        self.check_shape(stream.image_shape)
        self._check_batches(stream, None, None)
        if part()[1] > 1:
            require_same({"faces": stream.facts})

    def _check_batches(self, x, y, batch_size):
        stream = stream_of(x)
        if stream is not None:
            sizes = [stream.batch_size, stream.count % stream.batch_size]
            sizes = sizes[:1] if stream.drop_remainder else sizes
        elif isinstance(x, np.ndarray):
            sizes = [batch_size or 32, len(x) % (batch_size or 32)]
        else:
            return
        devices = device_count()
        bad = [size for size in sizes if size % devices]
        if bad:
            less = bad[0] // devices * devices
            choose = " or ".join(str(size) for size in (less, less + devices) if size)
            raise UserError(
                f"{devices} devices cannot share a batch of {bad[0]} evenly. "
                + (
                    f"Choose a batch size such as {choose}."
                    if bad[0] == sizes[0]
                    else "It is what is left at the end of an epoch: leave it out "
                    "(drop_remainder=True of kf.data.load), or give so many faces that nothing is."
                )
            )
        for size in sizes:
            self._check_multiple(size)
        self.check_data(stream, y, sizes[0])

    def _check_multiple(self, size: int):
        if size % self.batch_multiple:
            raise UserError(
                f"{type(self).__name__} splits every batch into {self.batch_multiple} parts, so "
                f"its size must be a multiple of that. Received: a batch of {size}."
            )


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


@contextlib.contextmanager
def _in_its_own_words(stream: FaceStream | None) -> Iterator[None]:
    """Raise what kept a stream from reading a batch, not what TensorFlow makes of it."""
    if stream is None:
        yield
        return
    stream.failure = None
    try:
        yield
    except Exception:
        if stream.failure is not None:
            raise stream.failure from None
        raise


def _sum(terms):
    """Return the sum of scalars.

    Stacked and summed, not added: TensorFlow's graph optimizer merges a chain of additions, the
    logged mean's among them, in an order that differs from process to process.
    """
    return ops.sum(ops.stack(list(terms)))


def _images_and_labels(data):
    """Return the images of a batch, and its labels or None; pictures as floats."""
    images, labels = keras.utils.unpack_x_y_sample_weight(data)[:2]
    return _as_float(images), labels if labels is None else _as_float(labels)


def _as_float(values):
    """Return pictures that came as uint8 as float32 in [-1, 1], and all else as it is.

    Looked up, since compilers round a division otherwise than numpy does.
    """
    if keras.backend.standardize_dtype(values.dtype) != "uint8" or len(values.shape) != 4:
        return values
    levels = ops.convert_to_tensor(to_float(np.arange(256, dtype=np.uint8)))
    return ops.take(levels, ops.cast(values, "int32"), axis=0)


def _terms_of(players: Sequence[Player], terms: Mapping) -> dict:
    """Return the loss terms of some players, and what is only watched."""
    kept = {"measures", *(player.name for player in players)}
    return {name: of_each for name, of_each in terms.items() if name in kept}


def _is_array(x) -> bool:
    return hasattr(x, "shape") and hasattr(x, "__getitem__")


def batches_of(x):
    """Return one epoch of a `FaceStream` in a form that Keras takes, and all else as it is."""
    return _Epoch(x) if isinstance(x, FaceStream) else x


class _Epoch(keras.utils.PyDataset):
    """The batches of a stream's first epoch, as floats."""

    def __init__(self, stream: FaceStream):
        super().__init__()
        self.stream, self._part = stream, part()

    def __len__(self):
        return self.stream.steps_per_epoch

    def __getitem__(self, index):
        try:
            images, labels = self.stream.read(index, *self._part)
        except Exception as error:
            self.stream.failure = error  # as `FaceStream.dataset` keeps it, and for the same reason
            raise
        if labels is None:
            return (to_float(images),)
        return to_float(images), to_float(labels) if self.stream.labels == "sketch" else labels


@contextlib.contextmanager
def training_data(stream: FaceStream, start: int) -> Iterator:
    """Give the batches of a stream from `start` on in the form the backend takes."""
    if keras.backend.backend() == "tensorflow":
        yield stream.dataset(start)
        return
    with ThreadPoolExecutor(1, "batches") as thread:
        yield _Batches(stream, start, thread)


class _Batches(keras.utils.PyDataset):
    """Batches for backends other than TensorFlow, which then need not be installed.

    While one is learnt from, a thread reads the next. Keras's own workers would wait a tenth of a
    second at the end of every `fit`, and start with the batches after the one they broke off at.
    """

    # Without end: Keras counts whole calls, and would begin anew before the last one.
    num_batches = None

    def __init__(self, stream: FaceStream, start: int, thread: ThreadPoolExecutor):
        super().__init__()
        self.stream, self.start, self._thread = stream, start, thread
        self._part = part()  # Keras knows of its devices in this thread alone
        self._ahead = {}

    def __getitem__(self, index):
        reading = self._ahead.pop(index, None) or self._read(index)
        batch = reading.result()
        self._ahead = {index + 1: self._read(index + 1)}
        images, labels = batch
        return (images,) if labels is None else (images, labels)

    def _read(self, index):
        return self._thread.submit(self.stream.read, self.start + index, *self._part)
