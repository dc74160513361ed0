"""Training from beginning to end, and going on where it stopped."""

import math
import os
import sys
from collections.abc import Callable

from keras_faces.callbacks import Budget, Checkpoint, Interrupted, Progress, recording
from keras_faces.checkpoints import read_latest, restore
from keras_faces.data import FaceStream, open_faces
from keras_faces.errors import UserError
from keras_faces.metrics.scores import score, table
from keras_faces.models import MODELS, create_model, hyperparameters
from keras_faces.pictures import grid, pairs_grid, save_picture, write_whole
from keras_faces.runs import Run, build_model, describe, save_model
from keras_faces.training.backend import make_deterministic


def train(
    model: str,
    data: str | os.PathLike = "orl",
    run: str | os.PathLike | None = None,
    image_size: int = 64,
    channels: int | None = None,
    batch_size: int | None = None,
    split: str = "train",
    crop: str = "center",
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    steps_per_execution: int = 1,
    grid_every: int | None = None,
    checkpoint_seconds: float = 60.0,
    count: int = 1000,
    strict: bool = False,
    say: Callable[[str], None] = print,
    **hyperparameters_given,
) -> Run:
    """Train a model on faces and leave a run folder with everything that came of it.

    Args:
        model: One of `kf.list_models()`.
        data: Source of faces, as in `kf.data.load`.
        run: The run's folder; None makes one under `runs/`.
        image_size: Width and height of the faces in pixels.
        channels: 1 or 3; None takes what the pictures have.
        batch_size: Faces in a batch; None takes the paper's, or fewer where the source is small.
        split: Which faces to learn from: `"train"` or `"all"`.
        crop: A key of `kf.data.CROPS`.
        epochs: Epochs to train; None takes the paper's unless `steps` or `minutes` is given.
        steps: Steps to train.
        minutes: Minutes to train.
        seed: Seed of everything random.
        steps_per_execution: Steps in one call to the backend.
        grid_every: Epochs between sample grids; None for steps 10, 20, 50, 100, ...
        checkpoint_seconds: Seconds between checkpoints.
        count: Samples to score at the end; 0 for none.
        strict: Stop at a bad picture instead of skipping it with a warning.
        say: Where to send lines for the user.
        **hyperparameters_given: The model's hyper-parameters.

    Returns:
        The finished run.

    Raises:
        UserError: If what was given cannot be used.
        Interrupted: If training was stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    for given in hyperparameters_given:
        known = hyperparameters(model)
        if given not in known:
            from keras_faces.errors import unknown_name

            raise unknown_name(f"hyper-parameter of {model!r}", given, known)
    if sum(limit is not None for limit in (epochs, steps, minutes)) > 1:
        raise UserError("Give only one of epochs, steps and minutes.")
    for name, limit in (("epochs", epochs), ("steps", steps), ("minutes", minutes)):
        if limit is not None and not limit > 0:
            raise UserError(f"{name} must be above 0. Received: {limit}.")
    run = Run(run or _free_folder(model, data))
    with run.locked():
        if run.exists:
            raise UserError(
                f"{str(run.folder)!r} holds a run already. Resume it with 'keras-faces resume "
                f"{run.folder}', or choose another folder with --run."
            )
        options = {
            "source": data,
            "image_size": image_size,
            "channels": channels,
            "split": split,
            "crop": crop,
            "seed": seed,
            "strict": strict,
        }
        make_deterministic()
        stream = _open(options, batch_size, MODELS[_known(model)].batch_size)
        built = create_model(
            model,
            image_size=image_size,
            channels=stream.image_shape[2],
            seed=seed,
            **hyperparameters_given,
        )
        built.compile(steps_per_execution=steps_per_execution)
        if epochs is None and steps is None and minutes is None:
            epochs = built.epochs
        run.write_config(
            {
                **describe(built, stream),
                "epochs": epochs,
                "steps": steps,
                "minutes": minutes,
                "grid_every": grid_every,
                "checkpoint_seconds": checkpoint_seconds,
                "count": count,
                "seed": seed,
            }
        )
        say(
            f"Training {model} on {stream.count} faces of {stream.facts['source']} at "
            f"{image_size}x{image_size}x{stream.image_shape[2]}, batch {stream.batch_size}, "
            f"{_budget(run.config())}; run folder {run.folder}"
        )
        _go_on(run, built, stream, {}, None, say)
    return run


def resume(run: str | os.PathLike, say: Callable[[str], None] = print) -> Run:
    """Go on with a run that was stopped or killed, as if it had never been.

    Args:
        run: The run's folder.
        say: Where to send lines for the user.

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
    with run.locked():
        facts = config["data"]
        make_deterministic()
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
            )
        }
        if _open(options, batch_size=1).facts["fingerprint"] != facts["fingerprint"]:
            raise UserError(
                f"The pictures in {facts['source']!r} have changed since the run began, so it "
                "cannot go on as it was. Restore them, or train anew in another folder."
            )
        stream = _open(options, facts["batch_size"])
        model = build_model(config)
        latest = read_latest(run.checkpoints)
        position, arrays = latest or ({}, None)
        if arrays is not None:
            restore(model, arrays)
        run.rewind(position.get("step", 0))
        say(f"Resuming {run.folder} from step {position.get('step', 0)}")
        _go_on(run, model, stream, position, arrays, say)
    return run


def _go_on(run: Run, model, stream: FaceStream, position: dict, arrays, say) -> None:
    config = run.config()
    per_epoch = stream.steps_per_epoch
    steps, minutes = config.get("steps"), config.get("minutes")
    if config.get("epochs") is not None:
        steps = config["epochs"] * per_epoch
    if steps is not None and steps % model.steps_per_execution:
        raise UserError(
            f"steps={steps} is not a multiple of steps_per_execution={model.steps_per_execution}."
        )
    epochs = math.ceil(steps / per_epoch) if steps is not None else sys.maxsize // per_epoch
    done = position.get("step", 0)
    budget = Budget(run, steps, minutes, position.get("seconds", 0.0))
    progress = Progress(run, steps, minutes, budget.spent)
    checkpoint = Checkpoint(
        run,
        config.get("checkpoint_seconds", 60.0),
        position=lambda: {"seconds": budget.seconds},
        resumed=arrays,
    )
    timed_out = minutes is not None and budget.spent >= 60 * minutes
    if (steps is None or done < steps) and not timed_out:
        try:
            model.fit(
                stream,
                epochs=epochs,
                initial_epoch=done // per_epoch,
                initial_step=done % per_epoch,
                callbacks=[budget, *recording(run, config.get("grid_every")), progress, checkpoint],
                verbose=0,
            )
        finally:
            progress.close()
            checkpoint.restore_handlers()
    _finish(run, model, stream, config, say)


def _finish(run: Run, model, stream: FaceStream, config: dict, say) -> None:
    """Make what a finished run leaves; doing it twice does no harm."""
    model.fit_density(stream)
    save_model(model, run.model_path)
    seed = config.get("seed", 0)
    made = [run.model_path]
    for sampler in model.usable_samplers:
        path = run.folder / f"samples-{sampler}.png"
        save_picture(grid(model.generate(64, seed, sampler)), path)
        made.append(path)
    if model.has_encoder:
        originals = stream.sample(30, seed)
        path = run.folder / "reconstructions.png"
        save_picture(pairs_grid(originals, model.reconstruct(originals)), path)
        made.append(path)
    if config.get("count"):
        say(f"Scoring {config['count']} samples ...")
        result = score(model, stream, config["count"], seed)
        write_whole(run.scores_path, _json(result))
        say(table(result))
        made.append(run.scores_path)
    if _can_export():
        model.export(run.saved_model)
        made.append(run.saved_model)
    say(_summary(run, model, made))


def _summary(run: Run, model, made) -> str:
    width = max(len(path.name) for path in made) + 1
    notes = {
        "model.keras": "the trained model, for keras_faces",
        "saved_model": "the trained model, for TensorFlow alone",
        "reconstructions.png": "training faces above, their reconstructions below",
        "scores.json": "the scores above, with their protocol",
        "losses.png": "losses over the epochs",
    }
    lines = [f"Done. {run.folder} holds:"]
    for path in [*made, run.folder / "losses.png"]:
        note = notes.get(path.name) or f"64 faces drawn from the {path.stem.split('-')[-1]} density"
        lines.append(f"  {path.name:{width}} {note}")
    lines.append("  grids/, metrics.csv, tensorboard/, config.json: how it got there")
    lines.append("Try next:")
    lines.append(f"  keras-faces generate {run.folder} --count 100 --seed 1 --out faces.png")
    if model.has_encoder:
        lines.append(f"  keras-faces reconstruct {run.folder} photo.jpg")
    lines.append(f"  tensorboard --logdir {run.folder}/tensorboard")
    return "\n".join(lines)


def _open(options: dict, batch_size: int | None, paper_batch: int = 64) -> FaceStream:
    shared = {**options, "shuffle": True, "drop_remainder": True}
    if batch_size is not None:
        return open_faces(batch_size=batch_size, **shared)
    # The paper's batch where the source fills it, else the largest power of two that it fills.
    count = open_faces(batch_size=1, **shared).count
    batch_size = min(paper_batch, 2 ** (count.bit_length() - 1))
    return open_faces(batch_size=batch_size, **shared)


def _known(model: str) -> str:
    hyperparameters(model)  # raises the error that names the nearest model
    return model


def _free_folder(model: str, data) -> str:
    stem = "".join(
        c if c.isalnum() or c in "-_" else "-" for c in os.path.basename(str(data).rstrip("/"))
    )
    number = 1
    while os.path.exists(folder := os.path.join("runs", f"{model}-{stem or 'data'}-{number:03d}")):
        number += 1
    return folder


def _budget(config: dict) -> str:
    for name in ("epochs", "steps", "minutes"):
        if config[name] is not None:
            return f"{config[name]:g} {name}"
    raise AssertionError("a run has a budget")


def _can_export() -> bool:
    import importlib.util

    return importlib.util.find_spec("tensorflow") is not None


def _json(value) -> str:
    import json

    return json.dumps(value, indent=2) + "\n"


__all__ = ["Interrupted", "resume", "train"]
