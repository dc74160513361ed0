"""Training from beginning to end, and going on where it stopped."""

import importlib.util
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from keras_faces.callbacks import Budget, Checkpoint, Progress, recording
from keras_faces.checkpoints import list_checkpoints, read_latest, restore
from keras_faces.data import FaceStream, guess_channels, labels_of, open_faces, open_source
from keras_faces.errors import Interrupted, UserError, number_of, unknown_name
from keras_faces.files import write_whole
from keras_faces.metrics.conditions import measured_or_why_not
from keras_faces.metrics.scores import QUICK, listed, names_of, score, score_copies
from keras_faces.metrics.tables import copies_line, table
from keras_faces.models import MODELS, create_model, hyperparameters
from keras_faces.pictures import plot_condition_accuracy, plot_losses, save_gif, save_picture
from keras_faces.recipes import load_recipe
from keras_faces.runs import Run
from keras_faces.saving import describe, save_model, untrained_model, versions
from keras_faces.schema import as_json


def train(
    model: str,
    data: str | os.PathLike | None = None,
    run: str | os.PathLike | None = None,
    recipe: str | None = None,
    budget: str = "paper",
    batch_size: int | None = None,
    split: str | None = None,
    crop: str | None = None,
    labels: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    steps_per_execution: int = 1,
    grid_every: int | None = None,
    score_every: int | None = None,
    scores: str | Sequence[str] | None = None,
    best: str | None = None,
    checkpoint_seconds: float = 60.0,
    count: int = 1000,
    strict: bool = False,
    say: Callable[[str], None] = print,
    **hyperparameters_given,
) -> Run:
    """Train a model on faces and leave a run folder with everything that came of it.

    Args:
        model: One of `kf.list_models()`.
        data: Source of faces, as in `kf.data.load`; None takes the recipe's, or ORL.
        run: The run's folder; None makes one under `runs/`.
        recipe: One of `kf.list_recipes()`, whose numbers stand wherever none are given here.
        budget: `"paper"` for the recipe's numbers as the document has them, `"quick"` for minutes.
        batch_size: Faces in a batch; None takes the paper's, or fewer where the source is small.
        split: Which faces to learn from: `"train"` (where None is given) or `"all"`.
        crop: A key of `kf.data.CROPS`; None takes `"center"`.
        labels: `"attributes"` or `"identity"`, for a model that learns conditions; None takes the
            attributes of a source that has them, else the identities. A model that translates
            sketches takes those of a source that has them: `"sketch"`.
        epochs: Epochs to train; None takes the paper's unless `steps` or `minutes` is given.
        steps: Steps to train.
        minutes: Minutes to train.
        seed: Seed of everything random.
        steps_per_execution: Steps in one call to the backend.
        grid_every: Epochs between sample grids; None for steps 10, 20, 50, 100, ...
        score_every: Epochs between scores while it learns, which are written to `scores.csv`; None
            for none.
        scores: Keys of `kf.metrics.SCORES`, or one, to compute then and at the end; None for those
            that are quick.
        best: The score by which the best model is kept as `best.keras`; None keeps the last alone.
        checkpoint_seconds: Seconds between checkpoints.
        count: Samples to score at the end; 0 for none.
        strict: Stop at a bad picture instead of skipping it with a warning.
        say: Where to send lines for the user.
        **hyperparameters_given: The model's hyper-parameters. Where they are not given, channels
            are those of the pictures, conditions those of the labels, and a linear or cosine decay
            of the learning rate ends with the run, at 0.

    Returns:
        The finished run.

    Raises:
        UserError: If what was given cannot be used.
        Interrupted: If training was stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    if sum(limit is not None for limit in (epochs, steps, minutes)) > 1:
        raise UserError("Give only one of epochs, steps and minutes.")
    given = {**hyperparameters_given}
    grid_epochs = []
    if recipe is not None:
        chosen = load_recipe(recipe)
        if model != chosen.model:
            raise UserError(
                f"Recipe {recipe!r} is one of model {chosen.model!r}. Received: {model!r}."
            )
        planned = chosen.arguments(budget, data)
        if epochs is None and steps is None and minutes is None:
            epochs, steps, minutes = (planned.get(k) for k in ("epochs", "steps", "minutes"))
        data = planned.pop("data")
        batch_size = batch_size or planned.get("batch_size")
        split, crop = split or planned.get("split"), crop or planned.get("crop")
        labels = labels or planned.get("labels")
        grid_epochs = planned.get("grid_epochs", [])
        given = {**planned.get("hyperparameters", {}), **given}
    elif budget != "paper":
        raise UserError("budget says which numbers of a recipe to take: give a recipe as well.")
    data, split, crop = data or "orl", split or "train", crop or "center"
    for name, value in (
        ("epochs", epochs),
        ("steps", steps),
        ("minutes", minutes),
        ("steps_per_execution", steps_per_execution),
        ("grid_every", grid_every),
        ("score_every", score_every),
        ("checkpoint_seconds", checkpoint_seconds),
    ):
        if value is not None and not value > 0:
            raise UserError(f"{name} must be above 0. Received: {value}.")
    if count != 0 and count < 2:
        raise UserError(f"count must be 0 (no scores) or 2 and more. Received: {count}.")
    scores = listed(scores)
    scoring = {key: value for key, value in (("scores", scores), ("best", best)) if value}
    run = Run(run or _free_folder(model, data))
    if best is not None and score_every is None:
        raise UserError("best says how to choose among scores: give score_every as well.")
    names_of(scores or QUICK)  # mistakes in these should not wait either
    _watching(run, {"score_every": score_every, "scoring": scoring})
    _refuse_to_overwrite(run)
    # The model before the pictures: its mistakes should not wait until all are decoded.
    known = hyperparameters(model)
    for name in given:
        if name not in known:
            raise unknown_name(f"hyper-parameter of {model!r}", name, known)
    source = open_source(data)
    if "channels" not in given:
        given["channels"] = guess_channels(source)
    if MODELS[model].conditional:
        best, names = labels_of(source, labels)
        labels = labels or best
        with_comma = [name for name in names if "," in name]
        if with_comma:
            raise UserError(
                f"Conditions are separated by commas, so a name cannot hold one. Rename "
                f"{with_comma[0]!r} in the labels of {str(data)!r}."
            )
        given.setdefault("conditions", ",".join(names))
    elif MODELS[model].takes_sketches and labels in (None, "sketch"):
        labels = "sketch" if source.sketches() is not None else labels
    elif labels is not None:
        raise UserError(f"{MODELS[model].__name__} learns no conditions. Leave labels out.")
    built = create_model(model, seed=seed, **given)
    options = {
        "source": source,
        "image_size": built.image_size,
        "channels": built.channels,
        "labels": labels,
        "split": split,
        "crop": crop,
        "seed": seed,
        "strict": strict,
        "shuffle": True,
        "drop_remainder": True,
    }
    stream = _open(options, batch_size, built.batch_size, built.batch_multiple)
    if stream.count < 2:
        raise UserError(f"Training needs two pictures or more. {data!r} has {stream.count}.")
    if epochs is None and steps is None and minutes is None:
        epochs = built.epochs
    per_epoch = stream.steps_per_epoch
    for total in (per_epoch, steps or per_epoch):
        if total % steps_per_execution:
            raise UserError(
                f"steps_per_execution={steps_per_execution} does not divide "
                f"{per_epoch} steps an epoch" + (f" and {steps} steps." if steps else ".")
            )
    total = steps or (epochs * per_epoch if epochs else None)
    stretched = _stretched_decay(given, known, total)
    if stretched:
        built = create_model(model, seed=seed, **{**given, **stretched})
    built.compile(steps_per_execution=steps_per_execution)
    built.check_stream(stream)  # before there is a run folder that would only be in the way
    with run.locked():
        _refuse_to_overwrite(run)
        config = {
            **describe(built, stream),
            "steps_per_epoch": per_epoch,
            "epochs": epochs,
            "steps": steps,
            "minutes": minutes,
            "grid_every": grid_every,
            "grid_epochs": grid_epochs,
            "score_every": score_every,
            "scoring": scoring,
            "recipe": recipe,
            "budget": budget if recipe else None,
            "checkpoint_seconds": checkpoint_seconds,
            "count": count,
            "seed": seed,
        }
        run.write_config(config)
        say(
            f"Training {model} on {stream.count} faces of {stream.facts['source']} at "
            f"{'x'.join(map(str, stream.image_shape))}, batch {stream.batch_size}, "
            f"{_budget(config)}; run folder {run.folder}"
        )
        _go_on(run, built, stream, {}, None, say)
    return run


def resume(
    run: str | os.PathLike,
    say: Callable[[str], None] = print,
    data: str | os.PathLike | None = None,
) -> Run:
    """Go on with a run that was stopped or killed, as if it had never been.

    Args:
        run: The run's folder.
        say: Where to send lines for the user.
        data: Where the same pictures lie now, if they have moved; the run remembers it.

    Returns:
        The finished run.

    Raises:
        UserError: If the folder is not a run, is in use, or its faces have changed.
        Interrupted: If training was stopped again.
    """
    run = Run(run)
    config = run.config()
    if config["data"] is None:
        raise UserError(
            f"The run {str(run.folder)!r} was trained on data that keras_faces did not load, so it "
            "cannot load it again. Go on from Python with the model of the last checkpoint."
        )
    lengths = [config.get(name) for name in ("epochs", "steps", "minutes")]
    if config.get("steps_per_epoch") is None or all(length is None for length in lengths):
        raise UserError(
            f"{run.config_path} does not say how long to train: steps_per_epoch and one of epochs, "
            "steps and minutes must be numbers. Put back a copy of it, or train anew."
        )
    _check_versions(config)
    with run.locked():
        if run.model_path.is_file() and not list_checkpoints(run.checkpoints):
            raise UserError(
                f"The run {str(run.folder)!r} is finished and its checkpoints are gone, so there "
                "is nothing to go on from. Its model.keras is there to use."
            )
        facts = config["data"]
        options = {
            name: facts[name]
            for name in (
                "source",
                "image_size",
                "channels",
                "split",
                "crop",
                "seed",
                "test_fraction",
                "shuffle",
                "drop_remainder",
                "labels",
            )
        }
        if data is not None:
            options["source"] = str(data)
        try:
            now = _open(options, batch_size=1).facts
        except UserError as error:
            if data is not None:
                raise
            raise UserError(
                f"The faces of {str(run.folder)!r} cannot be opened. {error} If they have moved, "
                f"say where they lie now: keras-faces resume {run.folder} --data SOURCE"
            ) from error
        if any(
            now[name] != facts.get(name) for name in ("fingerprint", "labels_digest", "pictures")
        ):
            raise UserError(
                f"The pictures or labels in {options['source']!r} are not those with which the "
                "run began: they have changed, or are others. So it cannot go on as it was. "
                "Restore them, or train anew in another folder."
            )
        if now["source"] != facts["source"]:
            facts["source"] = now["source"]
            run.write_config(config)
        stream = _open(options, facts["batch_size"])
        model = untrained_model(run, config)
        latest = read_latest(run.checkpoints, model)
        position, arrays = latest or ({}, None)
        if arrays is not None:
            restore(model, arrays)
        run.rewind(position.get("step", 0))
        say(f"Resuming {run.folder} from step {position.get('step', 0)}")
        _go_on(run, model, stream, position, arrays, say)
    return run


def _go_on(run: Run, model, stream: FaceStream, position: dict, arrays, say) -> None:
    config = run.config()
    per_epoch = config["steps_per_epoch"]
    steps, minutes = config.get("steps"), config.get("minutes")
    if config.get("epochs") is not None:
        steps = config["epochs"] * per_epoch
    epochs = math.ceil(steps / per_epoch) if steps is not None else sys.maxsize // per_epoch
    done = position.get("step", 0)
    budget = Budget(run, steps, minutes, position.get("seconds", 0.0))
    checkpoint = Checkpoint(
        run,
        config.get("checkpoint_seconds", 60.0),
        position=lambda: {"seconds": budget.seconds},
        resumed=arrays,
    )
    timed_out = minutes is not None and budget.spent >= 60 * minutes
    if (steps is None or done < steps) and not timed_out:
        progress = Progress(run, steps, minutes, budget.spent)
        model.fit(
            stream,
            epochs=epochs,
            initial_epoch=done // per_epoch,
            initial_step=done % per_epoch,
            steps_per_epoch=per_epoch,
            callbacks=[
                budget,
                *_watching(run, config),
                progress,
                checkpoint,
            ],
            verbose=0,
        )
    try:
        _finish(run, model, stream, config, say)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "Training is done and saved. Make its pictures and scores with: "
            f"keras-faces resume {run.folder}",
            number_of(error),
        ) from error


def _watching(run: Run, config: dict) -> list:
    every = config.get("score_every")
    return recording(
        run,
        config.get("grid_every"),
        config.get("grid_epochs", ()),
        every,
        **(config.get("scoring", {}) if every is not None else {}),
    )


def _finish(run: Run, model, stream: FaceStream, config: dict, say) -> None:
    """Make what a finished run leaves; doing it twice does no harm."""
    model.fit_density([stream.sample(1024, config.get("seed", 0), labelled=True)])
    made = []
    for make in (_drawn, _scored, _exported):
        with run.writing("the finished model"):
            made += make(run, model, stream, config, say)
    with run.writing("the finished model"):  # nor may it be gone since
        say(_summary(run, model, made))


def _drawn(run: Run, model, stream: FaceStream, config: dict, say) -> list[Path]:
    seed = config.get("seed", 0)
    made = [save_model(model, run.model_path)]
    for sampler in model.usable_samplers:
        pictures = model.gallery(64, seed, sampler, stream)
        made.append(save_picture(pictures.pop("samples"), run.folder / f"samples-{sampler}.png"))
    for name, picture in pictures.items():  # of real faces, whatever the sampler
        made.append(save_picture(picture, run.folder / f"{name}.png"))
    if rows := run.rows():
        made.append(plot_losses(rows, run.folder / "losses.png", run.folder.name))
    if rows := run.score_rows.rows():
        made.append(plot_losses(rows, run.folder / "scores.png", run.folder.name))
    if run.best_path.is_file():
        made.append(run.best_path)
    if frames := sorted(run.grids.glob("samples-step-*.png")):
        made.append(save_gif(list(map(_frame, frames)), run.folder / "training.gif"))
    return made


def _frame(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except Exception as error:  # a damaged picture raises anything
        raise UserError(f"{path} is damaged ({error}). Delete it, then resume the run.") from error


def _scored(run: Run, model, stream: FaceStream, config: dict, say) -> list[Path]:
    made, seed = [], config.get("seed", 0)
    if config.get("count"):
        say(f"Scoring {config['count']} samples ...")
        names = config.get("scoring", {}).get("scores", QUICK)
        result = score(model, stream, config["count"], seed, scores=names)
        lines = table(result)
        copies = score_copies(model, stream, config["count"], seed, quick=True)
        if copies is not None:
            result["reconstructions"] = copies
            lines += "\n" + copies_line(copies)
        if model.conditional:
            obeyed, line = measured_or_why_not(model, stream, config["count"], seed)
            lines += "\n" + line
            if obeyed is not None:
                result["conditions"] = obeyed
                made.append(plot_condition_accuracy(obeyed, run.folder / "conditions.png"))
        made.append(write_whole(run.scores_path, as_json(result)))
        say(lines)
    return made


def _exported(run: Run, model, stream: FaceStream, config: dict, say) -> list[Path]:
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [model.export(run.saved_model, run=run.folder)]


def _check_versions(config: dict) -> None:
    """Refuse another backend than the run's, and warn of other versions."""
    now, then = versions(), config["versions"]
    if now["backend"] != then["backend"]:
        raise UserError(
            f"The run was trained on {then['backend']}, this is {now['backend']}, which draws "
            f"other random numbers. Set KERAS_BACKEND={then['backend']}."
        )
    other = {
        name: (then.get(name), now.get(name))
        for name in ("keras-faces", "keras", "tensorflow", "jax", "numpy")
        if then.get(name) != now.get(name)
    }
    if other:
        told = ", ".join(f"{name} {was} then, {now} now" for name, (was, now) in other.items())
        warnings.warn(f"The run may not end bit for bit as it would have: {told}.", stacklevel=3)


def _refuse_to_overwrite(run: Run) -> None:
    if run.exists:
        with run.locked():  # if another process trains there, that is what to say
            raise UserError(
                f"{str(run.folder)!r} holds a run already. Resume it with 'keras-faces resume "
                f"{run.folder}', or choose another folder with --run."
            )


def _summary(run: Run, model, made) -> str:
    width = max(len(path.name) for path in made) + 1
    notes = {
        "model.keras": "the trained model, for keras_faces",
        "saved_model": "the trained model, for TensorFlow alone",
        "reconstructions.png": "training faces above, their reconstructions below",
        "autoencoded.png": "training faces above, what the discriminator makes of them below",
        "samples-sketches.png": "sketches, the photos made of them, the real photos",
        "cycles.png": "photos, the sketches made of them, the photos made of those",
        "sketches.png": "photos, the sketches drawn of them, the sketches made of them",
        "conditions.png": "how often a classifier sees the condition that was asked for",
        "scores.json": "the scores above, with their protocol",
        "losses.png": "losses over the epochs",
        "scores.png": "scores over the epochs, as in scores.csv",
        "best.keras": "the model that scored best, see best.json",
        "training.gif": "how the samples changed while it learnt",
    }
    lines = [f"Done. {run.folder} holds:"]
    for path in made:
        note = notes.get(path.name) or f"64 faces drawn from the {path.stem.split('-')[-1]} density"
        lines.append(f"  {path.name:{width}} {note}")
    rest = ("grids", "metrics.csv", "tensorboard", "config.json")
    there = [name for name in rest if (run.folder / name).exists()]
    lines.append(f"  {', '.join(there)}: how it got there")
    lines.append("Try next:")
    if model.latent_dim is None:
        lines.append(f"  keras-faces translate {run.folder} sketch.jpg")
    else:
        lines.append(f"  keras-faces generate {run.folder} --count 100 --seed 1 --out faces.png")
    if model.has_encoder:
        lines.append(f"  keras-faces reconstruct {run.folder} photo.jpg")
        lines.append(f"  keras-faces blend {run.folder} photo.jpg other.jpg --percent 30")
    lines.append(f"  tensorboard --logdir {run.folder}/tensorboard")
    return "\n".join(lines)


def _open(
    options: dict, batch_size: int | None, paper_batch: int = 64, multiple: int = 1
) -> FaceStream:
    if batch_size is not None:
        return open_faces(batch_size=batch_size, **options)
    # The paper's batch where the source fills it, else parts of the largest power of two that it
    # fills.
    count = open_faces(batch_size=1, **options).count // multiple
    if count < 1:
        raise UserError(f"Too few faces: the model splits every batch into {multiple} parts.")
    part = min(paper_batch // multiple, 2 ** (count.bit_length() - 1))
    return open_faces(batch_size=part * multiple, **options)


def _stretched_decay(given: dict, known: dict, steps: int | None) -> dict:
    """Return the decay that ends with the run, where none was asked for and its length is known.

    How the steps before the decay and those of the decay relate is kept. A default rate belongs to
    the default schedule: a tenth less after every so many steps is no end of a cosine.
    """
    schedule = given.get("schedule", known["schedule"].default)
    if schedule not in ("linear", "cosine"):
        return {}
    found = {}
    if schedule != known["schedule"].default and "decay_rate" not in given:
        found["decay_rate"] = 0.0
    if steps is not None and not {"decay_steps", "decay_after"} & set(given):
        after, decay = known["decay_after"].default, known["decay_steps"].default
        waiting = round(steps * after / (after + decay)) if after else 0
        found |= {"decay_after": waiting, "decay_steps": max(1, steps - waiting)}
    return found


def _free_folder(model: str, data) -> str:
    stem = "".join(
        c if c.isalnum() or c in "-_" else "-" for c in os.path.basename(str(data).rstrip("/"))
    )
    number = 1
    while os.path.exists(folder := os.path.join("runs", f"{model}-{stem or 'data'}-{number:03d}")):
        number += 1
    return folder


def _budget(config: dict) -> str:
    name = next(name for name in ("epochs", "steps", "minutes") if config[name] is not None)
    value = config[name]
    return f"{value} {name[:-1] if value == 1 else name}"


__all__ = ["Interrupted", "resume", "train"]
