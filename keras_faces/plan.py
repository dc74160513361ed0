"""One training, described once: flags, `kf.train`, recipes and `config.json` all say a plan."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from keras_faces.data import FaceStream, crop_fits, guess_channels, labels_of, open_source
from keras_faces.data.sources.base import Source, SourceLike
from keras_faces.errors import UserError, require_scale
from keras_faces.metrics.scores import CHEAP_SCORES, as_list, resolve_scores
from keras_faces.models import MODELS, check_hyperparameters, create_model, hyperparameters
from keras_faces.models.base import FaceModel
from keras_faces.recipes import load_recipe
from keras_faces.runs import Config, recorded_arguments
from keras_faces.saving import describe
from keras_faces.schema import Scalar
from keras_faces.training.game import check_steps_at_once

LENGTHS = ("epochs", "steps", "minutes")
ABOVE_ZERO = (*LENGTHS, "grid_every", "score_every", "checkpoint_seconds")


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that defines one training.

    Args:
        model: One of `kf.list_models()`.
        data: Source of faces: `orl`, a folder, a zip or `scheme:PATH`, as in `kf.data.load`; or
            several.
        recipe: A recipe whose settings apply wherever you give none: one of
            `kf.list_recipes()`, or your own `FILE.toml`.
        budget: The recipe's settings to use: `"paper"`, as in the document, or `"quick"`, for
            minutes.
        batch_size: Faces in a batch. Defaults to the paper's, or fewer if the source is small.
        split: Faces to train on: `"train"` or `"all"`.
        test_fraction: Share of the people (or of the pictures, if people are not known) that
            `"train"` leaves out, if the source has no splits of its own.
        faces: How faces are taken from the pictures: `"as-is"`, each picture is a face; `"found"`,
            all faces in it are cut out; or `"aligned"`, also turned, scaled and placed by their
            eyes, as in CelebA. Defaults to the source's options, or as-is.
        per_photo: Which faces to take from each photo: `"all"` or the `"largest"`. Defaults to all.
        crop: How a picture becomes a square one, a key of `kf.data.CROPS`.
        mirror: Mirror every second picture, chosen anew in every epoch.
        people: What the folders of a folder or zip are: people (`"folders"`), labels
            (`"classes"`), or nothing (`"none"`). Defaults to a guess from their number, sizes and
            names.
        labels: What to learn as conditions: `"attributes"` or `"identity"`, or `"sketch"` for a
            model that translates sketches. Defaults to what the source has, attributes first.
        epochs: Epochs to train. Defaults to the paper's, unless `steps` or `minutes` is given.
        steps: Steps to train, instead of epochs.
        minutes: Minutes to train, instead of epochs.
        seed: Seed of all random choices.
        steps_per_execution: Steps in one call to the backend, during which nothing is shown or
            saved: a number, or `"auto"`, 16 on an accelerator and 1 on a CPU. Results do not
            change.
        grid_every: Epochs between sample grids. Defaults to steps 10, 20, 50, 100, ...
        grid_epochs: Epochs with an additional sample grid.
        scale: Enlarge the run's pictures of faces by this whole number, without smoothing.
        score_every: Epochs between scores during training, written to `scores.csv`. Defaults to
            no scores until the end.
        scores: Scores to compute, keys of `kf.metrics.SCORES`. Defaults to
            those that need only pixels and the face detector.
        best: Also keep the best model by this score, as `best.keras`. Defaults to keeping only
            the last model.
        checkpoint_seconds: Seconds between checkpoints.
        count: Samples to score at the end; 0 for none.
        init: Start from the weights of this run or model, which must have the same class. The
            optimizer and its learning-rate schedule start anew.
        strict: Stop at the first bad picture instead of skipping it with a warning.
        hyperparameters: The model's hyper-parameters, and from Python your own networks. By
            default, channels follow the pictures, conditions follow the labels, and a linear or
            cosine decay of the learning rate reaches 0 at the end of the training.

    Raises:
        UserError: If an argument is wrong, or two contradict each other.
    """

    model: str
    data: SourceLike = "orl"
    recipe: str | None = None
    budget: str = "paper"
    batch_size: int | None = None
    split: str = "train"
    test_fraction: float = 0.1
    faces: str | None = None
    per_photo: str | None = None
    crop: str = "center"
    mirror: bool = False
    people: str | None = None
    labels: str | None = None
    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    steps_per_execution: int | Literal["auto"] = "auto"
    grid_every: int | None = None
    grid_epochs: list[int] = field(default_factory=list)
    scale: int = 1
    score_every: int | None = None
    scores: list[str] | str | None = None
    best: str | None = None
    checkpoint_seconds: float = 60.0
    count: int = 1000
    init: str | None = None
    strict: bool = False
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self):
        if sum(getattr(self, name) is not None for name in LENGTHS) > 1:
            raise UserError("Give only one of epochs, steps and minutes.")
        for name in ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0. Received: {value}.")
        check_steps_at_once(self.steps_per_execution)
        require_scale(self.scale)
        if self.split == "all" and self.test_fraction != 0.1:
            raise UserError(
                "test_fraction sets how many faces the split 'train' leaves out; 'all' leaves out "
                "none. Give split='train', or leave test_fraction out."
            )
        if self.count != 0 and self.count < 2:
            raise UserError(f"count must be 0 (no scores) or 2 and more. Received: {self.count}.")
        if self.best is not None and self.score_every is None:
            raise UserError("best needs scores during training. Give score_every as well.")
        if self.recipe is None and self.budget != "paper":
            raise UserError("budget chooses among a recipe's settings. Give a recipe as well.")
        resolve_scores(self.scores or CHEAP_SCORES)
        check_hyperparameters(self.model, self.hyperparameters)

    @property
    def scoring(self) -> dict:
        """Arguments of `callbacks.Scores`, those that are given."""
        given = {"scores": as_list(self.scores), "best": self.best}
        return {name: value for name, value in given.items() if value}

    @property
    def has_length(self) -> bool:
        """Whether it says how long to train."""
        return any(getattr(self, name) is not None for name in LENGTHS)

    @property
    def length(self) -> str:
        """How long it trains, in words."""
        name = next(name for name in LENGTHS if getattr(self, name) is not None)
        value = getattr(self, name)
        return f"{value} {name[:-1] if value == 1 else name}"

    def length_in(self, steps_per_epoch: int) -> tuple[int, int | None]:
        """Return the epochs and steps that it trains, of which minutes do not limit the steps."""
        steps = self.steps if self.epochs is None else self.epochs * steps_per_epoch
        if steps is None:
            return sys.maxsize // steps_per_epoch, None
        return math.ceil(steps / steps_per_epoch), steps

    def open_source(self) -> Source:
        """Open the source of faces.

        Raises:
            UserError: If there is none.
        """
        return open_source(self.data, self.people, self.faces, self.per_photo)

    def with_source(self, source: Source) -> "TrainingPlan":
        """Return the plan with what it leaves to the pictures: channels, labels, conditions.

        A recipe's crop that is made for pictures of another size gives way to the default one.

        Args:
            source: What `open_source` returned.

        Raises:
            UserError: If the source has no such labels, or the model learns none.
        """
        given, labels, kind = dict(self.hyperparameters), self.labels, MODELS[self.model]
        if "channels" not in given:
            given["channels"] = guess_channels(source)
        if kind.conditional:
            there, names = labels_of(source, labels)
            labels = labels or there
            with_comma = [name for name in names if "," in name]
            if with_comma:
                raise UserError(
                    f"Conditions are separated by commas, so a name cannot hold one. Rename "
                    f"{with_comma[0]!r} in the labels of {source.title!r}."
                )
            given.setdefault("conditions", ",".join(names))
        elif (kind.translates_to or given.get("target") == "sketch") and labels in (None, "sketch"):
            labels = "sketch" if source.sketches() is not None else labels
        elif labels is not None:
            raise UserError(f"{kind.__name__} learns no conditions. Leave labels out.")
        crop = self.crop
        if crop == self._recipes.get("crop") and not crop_fits(source, crop):
            crop = TrainingPlan.crop
        return dataclasses.replace(self, crop=crop, labels=labels, hyperparameters=given)

    @property
    def _recipes(self) -> dict:
        """What the recipe says, nothing without one."""
        return load_recipe(self.recipe).arguments(self.budget, self.data) if self.recipe else {}

    def with_length(self, epochs: int, steps_per_epoch: int) -> "TrainingPlan":
        """Return the plan with a length, and a decay of the learning rate that ends with it.

        Args:
            epochs: Epochs to train where nothing else is said.
            steps_per_epoch: Steps in an epoch.
        """
        plan = self if self.has_length else dataclasses.replace(self, epochs=epochs)
        decay = _decay_over(plan, plan.length_in(steps_per_epoch)[1])
        return dataclasses.replace(plan, hyperparameters={**plan.hyperparameters, **decay})

    def build(self) -> FaceModel:
        """Return the untrained model, not compiled."""
        return create_model(self.model, seed=self.seed, **self.hyperparameters)

    def record(self, model: FaceModel, stream: FaceStream) -> dict:
        """Return what `config.json` says of this training, its model and its faces."""
        kept = (*LENGTHS, "grid_every", "grid_epochs", "scale", "score_every", "scoring", "recipe")
        return {
            **describe(model, stream),
            "steps_per_epoch": stream.steps_per_epoch,
            **{name: getattr(self, name) for name in kept},
            "budget": self.budget if self.recipe else None,
            **{
                name: getattr(self, name)
                for name in ("checkpoint_seconds", "count", "seed", "init")
            },
        }


def resolve(model: str, recipe: str | None = None, **arguments) -> TrainingPlan:
    """Return the plan of what was given, with the numbers of a recipe where none were.

    Args:
        model: One of `kf.list_models()`.
        recipe: One of `kf.list_recipes()`, or None.
        **arguments: Fields of `TrainingPlan`, and hyper-parameters of the model; None stands for
            what is not given.

    Raises:
        UserError: If it cannot be a plan.
    """
    own = {name for name in FIELDS if name != "hyperparameters"}
    given = {name: value for name, value in arguments.items() if name in own and value is not None}
    hyper = {name: value for name, value in arguments.items() if name not in own}
    hyper |= hyper.pop("hyperparameters", {})
    if recipe is not None:
        chosen = load_recipe(recipe)
        if model != chosen.model:
            raise UserError(
                f"Recipe {recipe!r} is one of model {chosen.model!r}. Received: {model!r}."
            )
        planned = chosen.arguments(given.get("budget", "paper"), given.get("data"))
        if any(name in given for name in LENGTHS):
            planned = {name: value for name, value in planned.items() if name not in LENGTHS}
        hyper = {**planned.pop("hyperparameters", {}), **hyper}
        given = {**planned, **given}
    return TrainingPlan(model, recipe=recipe, hyperparameters=hyper, **given)


def plan_of(config: Config) -> TrainingPlan:
    """Return the plan that a run's `config.json` records."""
    return TrainingPlan(**recorded_arguments(config))


def _decay_over(plan: TrainingPlan, steps: int | None) -> dict[str, Scalar]:
    """Return the decay that ends with the training, where none was asked for.

    How the steps before the decay and those of the decay relate is kept. A default rate belongs to
    the default schedule: a tenth less after every so many steps is no end of a cosine.
    """
    given, known = plan.hyperparameters, hyperparameters(plan.model)
    schedule = given.get("schedule", known["schedule"].default)
    if schedule not in ("linear", "cosine"):
        return {}
    decay: dict[str, Scalar] = {}
    if schedule != known["schedule"].default and "decay_rate" not in given:
        decay["decay_rate"] = 0.0
    if steps is not None and not {"decay_steps", "decay_after"} & set(given):
        after, over = known["decay_after"].default, known["decay_steps"].default
        waiting = round(steps * after / (after + over)) if after else 0
        decay |= {"decay_after": waiting, "decay_steps": max(1, steps - waiting)}
    return decay


FIELDS = [one.name for one in dataclasses.fields(TrainingPlan)]
