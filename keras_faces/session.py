"""Training from beginning to end, and going on where it stopped."""

import contextlib
import hashlib
import importlib.util
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from keras_faces.callbacks import Budget, Checkpoint, Progress, recording
from keras_faces.checkpoints import list_checkpoints, read_latest, restore
from keras_faces.data import FaceStream, look_at_channels, open_faces, open_source
from keras_faces.data.looking import look
from keras_faces.data.overview import passed_over
from keras_faces.data.sources import as_recorded
from keras_faces.data.sources.base import Source, SourceLike, each, named
from keras_faces.errors import Interrupted, UserError, number_of, require_above
from keras_faces.files import write_whole
from keras_faces.metrics.detection import detected
from keras_faces.metrics.evaluation import evaluate
from keras_faces.metrics.scores import CHEAP_SCORES
from keras_faces.pictures import plot_condition_accuracy, plot_losses, save_gif, save_picture
from keras_faces.plan import LENGTHS, TrainingPlan, plan_of, resolve
from keras_faces.process import give_back_memory, versions
from keras_faces.runs import Config, Run
from keras_faces.saving import begin_with, save_model, untrained_model
from keras_faces.schema import as_json
from keras_faces.screen import quoted, visible
from keras_faces.training.devices import (
    device_count,
    distribute,
    gathered,
    is_chief,
    part_ways,
    require_same,
)
from keras_faces.training.networks import is_network

LATE = 30  # seconds by which a network's file system may show a file late
LOOKED_AT = 64  # training pictures
FEW_FACES = 0.5  # of them, below which the user should know


def train(
    model: str,
    data: SourceLike | None = None,
    run: str | os.PathLike | None = None,
    print_fn: Callable[[str], None] = print,
    all_devices: bool = False,
    **arguments,
) -> Run:
    """Train a model and write a run folder with its losses, pictures, scores and weights.

    Args:
        model: One of `kf.list_models()`.
        data: Source of faces, as in `kf.data.load`, or a list of several; None uses the recipe's,
            or ORL.
        run: The run's folder; None creates one under `runs/`.
        print_fn: Function that receives each line of output.
        all_devices: Whether to train on all devices, as in `kf.distribute`, instead of one.
            Samples, scores and exports are always computed on one.
        **arguments: Other fields of `kf.TrainingPlan`, such as `recipe`, `epochs` and `crop`, and
            the model's hyper-parameters.

    Returns:
        The finished run.

    Raises:
        UserError: If an argument is wrong.
        Interrupted: If training was stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    plan = resolve(model, data=data, **arguments)
    with _together(all_devices):
        return _train(model, plan, None if run is None else Run(run), _chiefs(print_fn))


def _train(model: str, plan: TrainingPlan, run: Run | None, print_fn) -> Run:
    if run is not None and is_chief():
        _refuse_to_overwrite(run)
    _watching(run or Run("runs"), plan)  # mistakes in scores should not wait either
    source = plan.open_source()
    said = [] if "channels" in plan.hyperparameters else [look_at_channels(source)[1]]
    planned, plan = plan, plan.with_source(source)
    plain = {k: v for k, v in plan.hyperparameters.items() if not is_network(v)}
    require_same({"plan": {**vars(plan), "data": None, "hyperparameters": plain}})
    if plan.crop != planned.crop:
        said.append(
            f"crop {plan.crop!r}, as these pictures are not those of aligned CelebA, for which "
            f"the recipe's {planned.crop!r} is made"
        )
    shown = look(source)
    said += [*source.taken_for(), *passed_over(source), *(shown.lines() if shown else [])]
    for line in said:
        print_fn(line)
    # The model before the pictures: its mistakes should not wait until all are decoded.
    built = plan.build()
    stream = _open(plan, source, built)
    if plan.test_fraction != 0.1 and stream.cache.sides.any():
        print_fn(
            f"test_fraction {plan.test_fraction:g} has no effect: {source.title!r} has splits of "
            "its own."
        )
    sized = plan.with_length(built.epochs, stream.steps_per_epoch)
    if sized.hyperparameters != plan.hyperparameters:
        built = sized.build()
    if plan.init is not None:
        for line in begin_with(built, plan.init):
            print_fn(line)
    built.compile(steps_per_execution=plan.steps_per_execution)
    built.check_stream(stream)  # before there is a run folder that would only be in the way
    if run is None:
        run = Run(gathered(os.fspath(_new_run(plan).folder) if is_chief() else None)[0])
    with _held(run):
        if is_chief():
            _refuse_to_overwrite(run)
            run.write_config(sized.record(built, stream))
            _say_if_few_faces(source, stream, print_fn)
        _require_seen(run)
        print_fn(
            f"Training {model} on {stream.count} faces of {stream.facts['source']} at "
            f"{'x'.join(map(str, stream.image_shape))}, batch {stream.batch_size}"
            f"{_on_devices()}, {sized.length}; run folder {run.folder}"
        )
        _run_training(run, sized, built, stream, {}, None, print_fn)
    return run


def resume(
    run: str | os.PathLike,
    print_fn: Callable[[str], None] = print,
    data: SourceLike | None = None,
    all_devices: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
) -> Run:
    """Resume an interrupted run, or train a finished one longer.

    The result is the same as if the run had not been interrupted.

    Args:
        run: The run's folder.
        print_fn: Function that receives each line of output.
        data: Where the pictures are now, if they have moved; the run remembers it.
        all_devices: Whether to train on all devices, as in `kf.distribute`; the number of devices
            may differ from before.
        epochs: Epochs to add to the run, which may be finished.
        steps: Steps to add, instead of epochs.
        minutes: Minutes to add, instead of epochs.

    Returns:
        The finished run.

    Raises:
        UserError: If the folder is not a run, is in use, or its faces have changed.
        Interrupted: If training was stopped again.
    """
    more = {"epochs": epochs, "steps": steps, "minutes": minutes}
    more = {name: value for name, value in more.items() if value is not None}
    if len(more) > 1:
        raise UserError("Give only one of epochs, steps and minutes.")
    require_above(0, **more)
    with _together(all_devices):
        return _resume(Run(run), _chiefs(print_fn), data, more)


def _resume(run: Run, print_fn, data: SourceLike | None, more: dict[str, float]) -> Run:
    _require_seen(run)
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
    with _held(run):
        if run.model_path.is_file() and not list_checkpoints(run.checkpoints):
            raise UserError(
                f"The run {str(run.folder)!r} is finished and its checkpoints are gone, so there "
                "is nothing to go on from. Its model.keras is there to use."
            )
        stream = _reopen(run, config, data)
        model = untrained_model(run, config)
        latest = read_latest(run.checkpoints, model)
        position, arrays = latest or ({}, None)
        if arrays is None and (config.get("init") or model.own_networks):
            raise UserError(
                f"The run {str(run.folder)!r} has no checkpoint, and nothing else knows the "
                "weights that it began with. Train anew in another folder."
            )
        require_same({"position": position})  # and all have read it before the chief writes
        if arrays is not None:
            restore(model, arrays)
        if more:
            config |= _longer(plan_of(config), more, config["steps_per_epoch"], position)
        if is_chief():
            run.rewind(position.get("step", 0))
            if more:
                run.write_config(config)
        if more and model.schedule != "constant":
            print_fn(_rates_beyond(model))
        print_fn(f"Resuming {run.folder} from step {position.get('step', 0)}{_on_devices()}")
        _run_training(run, plan_of(config), model, stream, position, arrays, print_fn)
    return run


def _longer(plan: TrainingPlan, more: dict, per_epoch: int, position: dict) -> dict:
    """Return what a config says of a length that is so much more than that of a plan."""
    [(unit, added)] = more.items()
    done = {"steps": position.get("step", 0), "minutes": position.get("seconds", 0.0) / 60}
    if unit == "epochs" and plan.epochs is None:
        unit, added = "steps", added * per_epoch
    if unit == "steps" and plan.epochs is not None:
        before = plan.epochs * per_epoch
    else:
        before = getattr(plan, unit)  # in another unit, from where it stands
    return {**dict.fromkeys(LENGTHS), unit: (done[unit] if before is None else before) + added}


def _rates_beyond(model) -> str:
    """Return in words what a model's schedule does with steps that are added to it."""
    optimizers = model.optimizer.by_player.items()
    rates = ", ".join(
        f"{float(optimizer.learning_rate):.3g} ({name})" for name, optimizer in optimizers
    )
    return (
        f"Its learning rate keeps to the schedule {model.schedule!r} of the run as it was planned, "
        f"and stands at {rates}: a run planned so long would have had others. For a new schedule: "
        "keras-faces train MODEL --init RUN"
    )


def _together(all_devices: bool) -> contextlib.AbstractContextManager:
    """Train on all devices, or not, until `part_ways` or the end of a `with` block."""
    if not all_devices and device_count() > 1:
        raise UserError("kf.train and kf.resume take all_devices=True instead of kf.distribute().")
    return distribute() if all_devices else contextlib.nullcontext()


def _chiefs(print_fn: Callable[[str], None]) -> Callable[[str], None]:
    """Return what sends lines to the user from the chief alone."""
    return print_fn if is_chief() else lambda line: None


def _on_devices() -> str:
    return f" on {device_count()} devices" if device_count() > 1 else ""


def _require_seen(run: Run) -> None:
    """Raise a `UserError` where a process does not see the run's folder, as all must to resume."""

    def seen() -> str | None:
        with contextlib.suppress(OSError):
            return hashlib.sha256(run.config_path.read_bytes()).hexdigest()

    chiefs, end = gathered(seen())[0], time.monotonic() + LATE
    while (now := seen()) != chiefs and time.monotonic() < end:
        time.sleep(0.5)
    blind = [number for number, each in enumerate(gathered(now)) if each != chiefs]
    if blind:
        raise UserError(
            f"Process {blind[0]} does not see the run folder {str(run.folder)!r} of process 0. All "
            "processes need it, to resume the run: choose one on a file system that they share."
        )


@contextlib.contextmanager
def _held(run: Run) -> Iterator[None]:
    """Keep other processes out of a run, and say at an interruption how to go on with it."""
    with run.locked() if is_chief() else contextlib.nullcontext():
        try:
            yield
        except KeyboardInterrupt as error:
            if str(error) or not run.exists:
                raise
            raise Interrupted(
                f"Stopped. Resume with: keras-faces resume {quoted(run.folder)}", number_of(error)
            ) from error


def _reopen(run: Run, config: Config, data: SourceLike | None) -> FaceStream:
    """Open the faces of a run again, which may have moved, once they are known to be the same."""
    recorded = config["data"]
    kept = ("source", "image_size", "channels", "split", "crop", "seed", "test_fraction", "labels")
    options = {name: recorded[name] for name in (*kept, "shuffle", "drop_remainder")}
    options["mirror"] = recorded.get("mirror", False)
    options["source"] = as_recorded(recorded["source"], data)
    try:
        now = open_faces(batch_size=1, **options).facts
    except UserError as error:
        if data is not None:
            raise
        raise UserError(
            f"The faces of {str(run.folder)!r} cannot be opened. {error} If they have moved, "
            f"say where they are now: keras-faces resume {quoted(run.folder)} --data SOURCE"
        ) from error
    same = ("fingerprint", "labels_digest", "pictures")
    if any(now[name] != recorded.get(name) for name in same):
        raise UserError(
            f"The pictures or labels in {named(options['source'])!r} have changed since the "
            "run began, so it cannot be resumed. Restore them, or start a new run in another "
            "folder."
        )
    if now["source"] != recorded["source"] and is_chief():
        recorded["source"] = now["source"]
        run.write_config(config)
    return open_faces(batch_size=recorded["batch_size"], **options)


def _run_training(
    run: Run, plan: TrainingPlan, model, stream: FaceStream, position: dict, arrays, print_fn
) -> None:
    per_epoch, done = stream.steps_per_epoch, position.get("step", 0)
    epochs, steps = plan.length_in(per_epoch)
    budget = Budget(run, steps, plan.minutes, position.get("seconds", 0.0))
    checkpoint = Checkpoint(
        run,
        plan.checkpoint_seconds,
        position=lambda: {"seconds": budget.seconds},
        resumed=arrays,
    )
    timed_out = plan.minutes is not None and budget.spent >= 60 * plan.minutes
    if (steps is None or done < steps) and not timed_out:
        progress = [Progress(run, steps, plan.minutes, budget.spent)] if is_chief() else []
        model.fit(
            stream,
            epochs=epochs,
            initial_epoch=done // per_epoch,
            initial_step=done % per_epoch,
            steps_per_epoch=per_epoch,
            callbacks=[budget, *_watching(run, plan), *progress, checkpoint],
            verbose=0,
        )
    chief = is_chief()
    part_ways()
    if chief:
        with model.alone() as model:
            _write_results(run, plan, model, stream, print_fn)


def _watching(run: Run, plan: TrainingPlan) -> list:
    scoring = plan.scoring if plan.score_every is not None else {}
    return recording(
        run, plan.grid_every, plan.grid_epochs, plan.score_every, plan.scale, **scoring
    )


def _write_results(run: Run, plan: TrainingPlan, model, stream: FaceStream, print_fn) -> None:
    """Make what a finished run leaves; doing it twice does no harm."""
    give_back_memory()  # that of training, which nothing after it needs
    model.fit_density([stream.sample(1024, plan.seed, labelled=True)])
    # Each by itself: the folder may be gone since.
    with run.writing("the finished model"):
        made = [save_model(model, run.model_path), *_draw(run, plan, model, stream)]
    if plan.count:
        with run.writing("the finished model"):
            made += _evaluate(run, plan, model, stream, print_fn)
    with run.writing("the finished model"):
        made += _export(run, model)
    with run.writing("the finished model"):  # nor may it be gone since
        print_fn(_summary(run, model, made, _two_known(stream)))


def _draw(run: Run, plan: TrainingPlan, model, stream: FaceStream) -> list[Path]:
    made = []
    for sampler in model.usable_samplers:
        picture = model.picture_of_samples(64, plan.seed, sampler, stream)
        made.append(save_picture(picture, run.folder / f"samples-{sampler}.png", plan.scale))
    for name, picture in model.pictures_of_faces(30, plan.seed, stream).items():
        made.append(save_picture(picture, run.folder / f"{name}.png", plan.scale))
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


def _evaluate(run: Run, plan: TrainingPlan, model, stream: FaceStream, print_fn) -> list[Path]:
    print_fn(f"Scoring {plan.count} samples ...")
    scores = plan.scores or CHEAP_SCORES
    evaluation = evaluate(model, stream, plan.count, plan.seed, scores=scores)
    made = []
    if conditions := evaluation.result.get("conditions"):
        made.append(plot_condition_accuracy(conditions, run.folder / "conditions.png"))
    made.append(write_whole(run.scores_path, as_json(evaluation.result)))
    print_fn(evaluation.table())
    return made


def _export(run: Run, model) -> list[Path]:
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [model.export(run.saved_model, run=run.folder)]


def _check_versions(config: dict) -> None:
    """Refuse another backend than the run's, and warn of other versions."""
    now = versions()
    then = {name: text and visible(str(text)) for name, text in config["versions"].items()}
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
        warnings.warn(f"The run may not end bit for bit as it would have: {told}.", stacklevel=4)


def _refuse_to_overwrite(run: Run) -> None:
    if run.exists:
        with run.locked():  # if another process trains there, that is what to say
            raise UserError(
                f"{str(run.folder)!r} holds a run already. Resume it (keras-faces resume "
                f"{quoted(run.folder)}), or choose another folder with --run."
            )


def _two_known(stream: FaceStream) -> tuple[str, str]:
    """Return two pictures that the model learnt from, or what stands for any two.

    Not all sources keep pictures in files.
    """
    files: list = [None]
    with contextlib.suppress(UserError):  # it may be gone since
        source = open_source(stream.facts["source"])
        files = [source.file(stream.cache.name(row)) for row in stream.indices[[0, -1]]]
    if not all(files):
        return "photo.jpg", "other.jpg"
    return files[0], files[1]


def _summary(run: Run, model, made, pictures: tuple[str, str]) -> str:
    width = max(len(path.name) for path in made) + 1
    notes = {
        "model.keras": "the trained model, for keras_faces",
        "saved_model": "the trained model, for TensorFlow alone",
        "reconstructions.png": "training faces above, their reconstructions below",
        "blends.png": "two training faces in a row, and between them blends of 0 to 100 percent",
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
    folder = quoted(run.folder)
    if "photo" in model.translates_to:
        lines.append(f"  keras-faces translate {folder} sketch.jpg")
    elif model.translates_to:
        lines.append(f"  keras-faces translate {folder} {quoted(pictures[0])}")
    if model.latent_dim is not None:
        lines.append(f"  keras-faces generate {folder} --count 100 --seed 1 --out faces.png")
    if model.reconstructs:
        given = f" --conditions {quoted(model.condition_names[0])}" if model.conditional else ""
        shown = " ".join(map(quoted, pictures))
        lines.append(f"  keras-faces reconstruct {folder} {quoted(pictures[0])}{given}")
        lines.append(f"  keras-faces blend {folder} {shown} --percent 30{given}")
    lines.append(f"  tensorboard --logdir {quoted(run.tensorboard)}")
    return "\n".join(lines)


def _open(plan: TrainingPlan, source, model) -> FaceStream:
    options = {
        "source": source,
        "image_size": model.image_size,
        "channels": model.channels,
        "labels": plan.labels,
        "split": plan.split,
        "test_fraction": plan.test_fraction,
        "crop": plan.crop,
        "seed": plan.seed,
        "mirror": plan.mirror,
        "strict": plan.strict,
        "shuffle": True,
        "drop_remainder": True,
    }
    size, multiple = plan.batch_size, model.batch_multiple
    if size is None:
        # The paper's batch where the source fills it, else parts of the largest power of two that
        # it fills.
        count = open_faces(batch_size=1, **options).count // multiple
        if count < 1:
            raise UserError(f"Too few faces: the model splits every batch into {multiple} parts.")
        size = multiple * min(model.batch_size // multiple, 2 ** (count.bit_length() - 1))
    stream = open_faces(batch_size=size, **options)
    if stream.count < 2:
        raise UserError(
            f"Training needs two pictures or more. {source.title!r} has {stream.count}."
        )
    return stream


def _say_if_few_faces(source: Source, stream: FaceStream, print_fn) -> None:
    """Say it where the detector finds few of the faces, of a source that may show anything."""
    if not source.examined:
        return
    pictures = stream.sample(LOOKED_AT)
    size, rate = stream.cache.image_shape[0], detected(pictures).mean()
    if rate < FEW_FACES:
        print_fn(
            f"A face is found in {rate:.0%} of {len(pictures)} training pictures at {size}x{size}"
            + (
                ", which says little: so small faces are seldom found."
                if size < 64
                else ". A model learns what they show: look at them with keras-faces data info."
            )
        )


def _new_run(plan: TrainingPlan) -> Run:
    """Return a run in a folder that no other training has."""
    names = (str(data).partition("?")[0].rstrip("/") for data in each(plan.data))
    name = "-".join(map(os.path.basename, names))
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "data"
    folders = (Path("runs", f"{plan.model}-{stem}-{n:03d}") for n in itertools.count(1))
    try:
        Path("runs").mkdir(exist_ok=True)
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                folder.mkdir()  # of two that began together, one finds it there
                return Run(folder)
    except OSError as error:
        raise UserError(
            f"Cannot make a run folder in {os.path.abspath('runs')!r}: {error.strerror}. Give "
            "another folder with --run."
        ) from error


__all__ = ["Interrupted", "resume", "train"]
