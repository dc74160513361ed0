"""A run: the folder of one training, with all that is needed to repeat, resume and use it."""

import contextlib
import csv
import io
import json
import math
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from keras_faces.checkpoints import checkpoint_step, list_checkpoints, read_latest, restore
from keras_faces.errors import UserError
from keras_faces.files import require_utf8, write_whole

CONFIG_FORMAT = 1


class Rows:
    """A .csv file of numbers to which a row is added now and then.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> list[dict[str, float]]:
        """Return the rows, each with its epoch and step; one cut short by a crash is left out."""
        if not self.path.is_file():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        good = []
        for row in rows:
            with contextlib.suppress(ValueError, TypeError):
                values = {name: float(value) for name, value in row.items()}
                good.append({**values, "epoch": int(values["epoch"]), "step": int(values["step"])})
        return good

    def write(self, rows: list[dict[str, float]]) -> None:
        """Write the file anew; without rows none is made."""
        if not rows and not self.path.exists():
            return
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_whole(self.path, text.getvalue())

    def add(self, row: dict[str, float]) -> None:
        """Append a row; one with other columns than those before gets them NaN, and they its."""
        new = not self.path.is_file() or not self.path.stat().st_size
        if not new:
            with open(self.path, newline="", encoding="utf-8") as file:
                known = next(csv.reader(file), [])
            row = {name: row.get(name, math.nan) for name in {**dict.fromkeys(known), **row}}
            if list(row) != known:
                blank = dict.fromkeys(row, math.nan)
                self.write([*({**blank, **earlier} for earlier in self.rows()), row])
                return
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row.keys(), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())


class Run:
    """The files of one run.

    Args:
        folder: The run's folder; it need not exist yet.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self.config_path = self.folder / "config.json"
        self.metrics = Rows(self.folder / "metrics.csv")
        self.score_rows = Rows(self.folder / "scores.csv")
        self.best_path = self.folder / "best.keras"
        self.best_score_path = self.folder / "best.json"
        self.model_path = self.folder / "model.keras"
        self.checkpoints = self.folder / "checkpoints"
        self.tensorboard = self.folder / "tensorboard"
        self.grids = self.folder / "grids"
        self.saved_model = self.folder / "saved_model"
        self.scores_path = self.folder / "scores.json"
        self.board = None  # writes TensorBoard's logs; one for all, as it follows one file only
        self._lock = None

    def __repr__(self) -> str:
        return f"Run({os.fspath(self.folder)!r})"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_path.is_file()

    def config(self) -> dict:
        """Return `config.json`.

        Raises:
            UserError: If the folder is not a run, or of a newer version.
        """
        if not self.exists:
            what = "holds no config.json" if self.folder.is_dir() else "does not exist"
            raise UserError(
                f"{str(self.folder)!r} is not a run folder: it {what}. A run is made by "
                "'keras-faces train'."
            )
        try:
            config = json.loads(self.config_path.read_text(encoding="utf-8"))
            version = config["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.config_path} is damaged: {error}.") from error
        if version > CONFIG_FORMAT:
            raise UserError(
                f"{self.config_path} has format {version}, this version reads up to "
                f"{CONFIG_FORMAT}. Update keras_faces."
            )
        return config

    def write_config(self, config: dict) -> None:
        """Write `config.json`."""
        config = {"format": CONFIG_FORMAT, **config}
        write_whole(self.config_path, json.dumps(config, indent=2) + "\n")

    def best_score(self) -> dict | None:
        """Return `best.json`: step, epoch and score of `best.keras`, or None."""
        try:
            return json.loads(self.best_score_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def lock(self) -> None:
        """Keep other processes out until `unlock` or the end of this process.

        Raises:
            UserError: If another process trains in this folder, or it cannot be written.
        """
        from filelock import FileLock, Timeout

        if self._lock is not None:
            return
        require_utf8(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"Another process is training in {str(self.folder)!r}. Wait for it, or choose "
                "another folder with --run."
            ) from error
        except OSError as error:
            raise UserError(
                f"Cannot write to the run folder {str(self.folder)!r}: {error.strerror}."
            ) from error
        self._lock = lock

    def unlock(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @contextlib.contextmanager
    def locked(self):
        """Hold the lock within a `with` block."""
        self.lock()
        try:
            yield self
        finally:
            self.unlock()

    def rows(self) -> list[dict[str, float]]:
        """Return `metrics.csv`, one dict a whole epoch; a row cut short by a crash is left out."""
        return self.metrics.rows()

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step: going on from there records it again.

        What killed processes left half written goes too, and checkpoints that cannot be read.
        """
        for path in list_checkpoints(self.checkpoints):
            if checkpoint_step(path) > step:
                path.unlink()
        for folder in (self.folder, self.checkpoints, self.grids):
            for path in folder.glob(".*.part*"):
                if path.is_file():
                    path.unlink()
        for table in (self.metrics, self.score_rows):
            table.write([row for row in table.rows() if row["step"] <= step])
        best = self.best_score()
        if best is not None and best["step"] > step:
            self.best_path.unlink(missing_ok=True)
            self.best_score_path.unlink()
        for path in self.grids.glob("*-step-*.png"):
            if int(path.stem.rsplit("-", 1)[1]) > step:
                path.unlink()


def find(model: str | os.PathLike) -> Path:
    """Return the path that a user's word for a run or a model stands for.

    A path stands for itself. Else a name is looked for in `saved_models/`: of the folder one is in,
    then of the clone that the package is run from.

    Args:
        model: A path, or a name such as `"vae-orl-64"`.
    """
    path = Path(model).expanduser()
    clone = Path(__file__).parent.parent
    if not path.exists() and not path.is_absolute():
        for folder in (Path("saved_models"), clone, clone / "saved_models"):
            if (folder / path / "config.json").is_file():
                return folder / path
    return path


def load_model(model: str | os.PathLike):
    """Load a model that is ready to generate.

    Args:
        model: A run folder, a `.keras` file, or the name of a model in `saved_models/`. Of a run
            that is not finished, the last checkpoint is taken.

    Raises:
        UserError: If there is no such model or the file is not one of ours.
    """
    path = find(model)
    if (path / "config.json").is_file():
        return _load_run(Run(path))
    if (path / "model.keras").is_file():
        return _load_file(path / "model.keras")
    if path.is_file():
        return _load_file(path)
    what = "neither a run nor a model" if path.is_dir() else "not there"
    raise UserError(
        f"{str(model)!r} is {what}. Give a run folder made by 'keras-faces train', a .keras file, "
        "or the name of a model in saved_models/."
    )


def training_data_facts(model: str | os.PathLike) -> dict | None:
    """Return what a run recorded about its faces, or None where there is no run."""
    run = Run(find(model))
    return run.config()["data"] if run.exists else None


def training_crop(model: str | os.PathLike) -> str:
    """Return the crop that a run was trained with, or the default one where there is no run."""
    return (training_data_facts(model) or {}).get("crop", "center")


def build_model(config: dict):
    """Make the untrained, compiled model that a run's config describes."""
    import keras

    from keras_faces.models import create_model

    model = create_model(config["model"], **config["hyperparameters"])
    optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
    model.compile(optimizer, steps_per_execution=config["steps_per_execution"])
    return model


def _load_run(run: Run):
    config = run.config()
    if run.model_path.is_file():
        return _load_file(run.model_path)
    latest = read_latest(run.checkpoints)
    if latest is None:
        raise UserError(
            f"The run {str(run.folder)!r} holds no model and no whole checkpoint yet "
            f"({len(list_checkpoints(run.checkpoints))} damaged)."
        )
    model = build_model(config)
    restore(model, latest[1])
    return model


def _load_file(path: Path):
    import keras

    from keras_faces.training.base import FaceModel

    if path.suffix != ".keras":
        raise UserError(f"{str(path)!r} is not a .keras file.")
    import keras_faces.models  # noqa: F401  registers the classes with Keras

    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        # A damaged file raises anything from BadZipFile to TypeError within Keras.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"Cannot load {str(path)!r}: {reason[:300]}") from error
    if not isinstance(model, FaceModel):
        raise UserError(f"{str(path)!r} holds a {type(model).__name__}, not a keras_faces model.")
    return model


def save_model(model, path: str | os.PathLike) -> Path:
    """Write a `.keras` file so that a crash never leaves half of it."""
    path = Path(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.keras")
    try:
        model.save(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def describe(model, stream=None) -> dict:
    """Return what a run's config says of a model, its data and the machine."""
    import keras

    from keras_faces.models import model_name

    return {
        "model": model_name(model),
        "hyperparameters": {
            name: value for name, value in model.get_config().items() if name != "name"
        },
        "optimizer": keras.saving.serialize_keras_object(model.optimizer),
        "steps_per_execution": model.steps_per_execution,
        "data": stream.facts if stream is not None else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of all that can change a result."""
    import keras

    from keras_faces import __version__

    found = {
        "keras-faces": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in ("keras", "tensorflow", "jax", "numpy", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {**found, "backend": keras.backend.backend()}
