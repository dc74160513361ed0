"""A run: the folder of one training, with all that is needed to repeat, resume and use it."""

import contextlib
import csv
import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from keras_faces import hub
from keras_faces.checkpoints import checkpoint_step, list_checkpoints
from keras_faces.errors import UserError
from keras_faces.files import remove_parts, require_utf8, write_whole
from keras_faces.introspection import PLAN, documented_class
from keras_faces.schema import Count, Positive, Range, Scalar, Seed, as_json, read_json
from keras_faces.screen import quoted

CONFIG_FORMAT = 1
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|nan|-?inf", re.ASCII)  # as Python writes one
LARGEST_TABLE = 2**26  # bytes
CHECK = "crc32"  # the last column of a table


class DataFacts(TypedDict):
    """What a run records of its faces."""

    source: str
    fingerprint: str
    crop: str
    image_size: Literal[32, 64, 128]
    channels: Literal[1, 3]
    split: str
    test_fraction: Annotated[float, Range(0, 1)]
    pictures: Positive
    batch_size: Positive
    seed: Count
    shuffle: bool
    drop_remainder: bool
    mirror: NotRequired[bool]
    labels: str | None
    labels_digest: NotRequired[str | None]
    credit: NotRequired[str | None]


class Versions(TypedDict):
    """The versions with which a run was made, by package; these are asked for."""

    backend: str


class Config(TypedDict):
    """`config.json`: the plan of a run."""

    format: Positive
    model: str
    hyperparameters: dict[str, Scalar | dict]  # of networks, what builds them
    optimizer: dict[str, Any]
    steps_per_execution: Positive
    data: DataFacts | None
    versions: Versions
    steps_per_epoch: NotRequired[Positive | None]
    command: NotRequired[list[str]]
    epochs: NotRequired[Positive | None]
    steps: NotRequired[Positive | None]
    minutes: NotRequired[Annotated[float, Range(0)] | None]
    grid_every: NotRequired[Positive | None]
    grid_epochs: NotRequired[list[int]]
    scale: NotRequired[Annotated[int, Range(1, 16)]]
    score_every: NotRequired[Positive | None]
    scoring: NotRequired[dict[Literal["scores", "best"], str | list[str]]]
    recipe: NotRequired[str | None]
    budget: NotRequired[str | None]
    checkpoint_seconds: NotRequired[Annotated[float, Range(0)]]
    count: NotRequired[Annotated[int, Range(0, 10**6)]]
    seed: NotRequired[Seed]
    init: NotRequired[str | None]


class Best(TypedDict):
    """`best.json`: when the best model was reached, and by which score."""

    score: str
    value: float
    real: float | None
    sampler: str
    step: Count
    epoch: Count
    protocol: dict[str, Any]


class CsvLog:
    """A .csv file of numbers to which a row is added now and then.

    Its last column is a checksum of the row, which readers of the numbers leave out.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> list[dict[str, float]]:
        """Return the rows, each with its epoch and step; one cut short by a crash is left out.

        Raises:
            UserError: If the file is damaged.
        """
        if not self.path.is_file():
            return []
        try:
            if self.path.stat().st_size > LARGEST_TABLE:
                raise ValueError(f"it has more than {LARGEST_TABLE:,} bytes")
            text = self.path.read_bytes().decode()
            # A crash cuts the last line, which may look whole without its last digits.
            *lines, cut = csv.reader(text.split("\n"), strict=True)
            names, *lines = lines or [[]]
            missing = {"epoch", "step"} - set(names)
            if text and (missing or len(set(names)) < len(names)):
                told = f"not without {' and '.join(sorted(missing))}" if missing else "each once"
                raise ValueError(f"its first line must name the columns, {told}")
            if cut and len(cut) == len(names) and len(cut[-1]) > len(_check([], [])):
                raise ValueError("its last line does not end")
            return [self._row(number, names, line) for number, line in enumerate(lines, 2)]
        except (ValueError, csv.Error) as error:
            raise UserError(
                f"{self.path} is damaged ({error}). Put back a copy of it, or delete it to go on "
                "without what it recorded."
            ) from error

    def _row(self, number: int, names: list[str], line: list[str]) -> dict[str, float]:
        if len(line) != len(names):
            raise ValueError(f"line {number} has {len(line)} values for {len(names)} columns")
        values = dict(zip(names, line, strict=True))
        check = values.pop(CHECK, None)  # tables of earlier versions have none
        if check is not None and check != _check(values.keys(), values.values()):
            raise ValueError(f"line {number} is not as it was written")
        for name, value in values.items():
            counts = name in ("epoch", "step")
            if not NUMBER.fullmatch(value) or (counts and not value.isdigit()):
                kind = "a whole number" if counts else "a number"
                raise ValueError(f"line {number}: {name} must be {kind}, not {ascii(value)[:60]}")
        row = {name: float(value) for name, value in values.items()}
        return {**row, "epoch": int(values["epoch"]), "step": int(values["step"])}

    def write(self, rows: list[dict[str, float]]) -> None:
        """Write the file anew; without rows none is made."""
        if not rows and not self.path.exists():
            return
        lines = [_line([*rows[0], CHECK])] if rows else []
        write_whole(self.path, "".join([*lines, *map(_checked, rows)]))

    def add(self, row: dict[str, float]) -> None:
        """Append a row; one with other columns than those before gets them NaN, and they its."""
        if not self.path.is_file() or not self.path.stat().st_size:
            self.write([row])
            return
        with open(self.path, newline="", encoding="utf-8", errors="replace") as file:
            known = next(csv.reader(file), [])
        before = [name for name in known if name != CHECK]
        row = {name: row.get(name, math.nan) for name in {**dict.fromkeys(before), **row}}
        if [*row, CHECK] != known:
            blank = dict.fromkeys(row, math.nan)
            self.write([*({**blank, **earlier} for earlier in self.rows()), row])
            return
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            file.write(_checked(row))
            file.flush()
            os.fsync(file.fileno())


def _line(cells: Iterable) -> str:
    return ",".join(map(str, cells)) + "\n"


def _checked(row: dict[str, float]) -> str:
    """Return a row's line, with a checksum by which `CsvLog` finds any change of it."""
    return _line([*row.values(), _check(row.keys(), row.values())])


def _check(names: Iterable[str], values: Iterable) -> str:
    return f"{zlib.crc32((_line(names) + _line(values)).encode()):08x}"


class Run:
    """The files of one run.

    Args:
        folder: The run's folder; it need not exist yet.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self.config_path = self.folder / "config.json"
        self.metrics = CsvLog(self.folder / "metrics.csv")
        self.score_rows = CsvLog(self.folder / "scores.csv")
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
        self._claimed = None  # the config.json by which this process knows its folder

    def __repr__(self) -> str:
        return f"Run({os.fspath(self.folder)!r})"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_path.is_file()

    def config(self) -> Config:
        """Return `config.json`.

        Raises:
            UserError: If the folder is not a run, damaged, or of a newer version.
        """
        if not self.exists:
            what = "holds no config.json" if self.folder.is_dir() else "does not exist"
            raise UserError(
                f"{str(self.folder)!r} is not a run folder: it {what}. A run is made by "
                "'keras-faces train'."
            )
        return read_run_config(self.config_path)

    def write_config(self, config: dict) -> None:
        """Write `config.json`."""
        text = as_json({"format": CONFIG_FORMAT, **config})
        write_whole(self.config_path, text)
        self._claimed = text.encode()

    def best_score(self) -> Best | None:
        """Return `best.json`: step, epoch and score of `best.keras`, or None.

        Raises:
            UserError: If it is damaged.
        """
        if not self.best_score_path.is_file():
            return None
        remedy = "Put back a copy of it, or delete it and best.keras."
        return read_json(self.best_score_path, Best, remedy)

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
        if self.exists:
            self._claimed = self.config_path.read_bytes()

    def unlock(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @contextlib.contextmanager
    def writing(self, what: str):
        """Say what is lost where something cannot be written, within a `with` block.

        What is written makes the folders it needs, so a folder that was deleted would be there
        again, with what was written since.

        Args:
            what: What is written.

        Raises:
            UserError: If the folder is not the one in which training began, or cannot be written.
        """
        self._require_there(what)
        try:
            yield
        except BrokenPipeError:  # of what is told meanwhile
            raise
        except OSError as error:
            self._require_there(what)
            place = Path(os.fsdecode(error.filename or self.folder))
            if not place.is_relative_to(self.folder):  # of the faces, say
                raise
            raise UserError(
                f"Cannot write {what} of the run {str(self.folder)!r}: {error.strerror or error} "
                f"({place.name}). {self._left()}"
            ) from error

    def _require_there(self, what: str) -> None:
        if self._claimed is None:
            return
        try:
            found = self.config_path.read_bytes()
        except OSError:
            found = None
        if found == self._claimed:
            return
        if self.config_path.is_file():
            how = "its config.json is another's now"
        elif self.folder.is_dir():
            how = "its config.json is gone"
        else:
            how = "it is no folder any more" if self.folder.exists() else "it was deleted"
        raise UserError(
            f"The run folder {str(self.folder)!r} is lost: {how}. So {what} cannot be kept. "
            f"{self._left()}"
        )

    def _left(self) -> str:
        """Return what is kept, in words."""
        kept = list_checkpoints(self.checkpoints) if self.exists else []
        if kept:
            return (
                f"Checkpoint {kept[-1].name} is kept: mend that, then go on with: keras-faces "
                f"resume {quoted(self.folder)}"
            )
        return "No checkpoint is kept, so all that was learnt is lost: train anew."

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
            remove_parts(folder, alone=True)
        for table in (self.metrics, self.score_rows):
            table.write([row for row in table.rows() if row["step"] <= step])
        best = self.best_score()
        if best is not None and best["step"] > step:
            self.best_path.unlink(missing_ok=True)
            self.best_score_path.unlink()
        for path in self.grids.glob("*-step-*.png"):
            number = path.stem.rsplit("-", 1)[1]
            if number.isdecimal() and int(number) > step:
                path.unlink()


def read_run_config(path: Path) -> Config:
    """Return what a run's `config.json` holds.

    Raises:
        UserError: If it cannot be read, is damaged, or of a newer version.
    """
    remedy = "Put back a copy of it, or train anew in another folder."
    return read_json(path, Config, remedy, newest=CONFIG_FORMAT)


def recorded_arguments(config: Config) -> dict[str, Any]:
    """Return the arguments of the training that a run's config records, as `kf.train` takes them.

    All that was left to the model, its recipe or its pictures is spelt out.
    """
    data = config["data"] or {}
    given = {
        **{name: config.get(name) for name in documented_class(PLAN).parameters},
        **{
            name: data.get(name)
            for name in ("batch_size", "split", "test_fraction", "crop", "mirror", "labels")
        },
        "data": data.get("source"),
        "hyperparameters": {k: v for k, v in config["hyperparameters"].items() if k != "seed"},
        **config.get("scoring", {}),
    }
    return {name: value for name, value in given.items() if value is not None}


def training_of(config: Config) -> dict[str, str | int]:
    """Return what tells a run's training from others, however they were recorded, and its seed.

    Trainings of one digest learnt alike from the same faces.
    """
    given = recorded_arguments(config)
    facts = {name: given.get(name) for name in ("model", "epochs", "steps", "minutes", "init")}
    data = config["data"] or {}
    names = set(DataFacts.__annotations__) - {"source", "seed", "credit"}
    facts |= {"hyperparameters": given["hyperparameters"], "data": {n: data.get(n) for n in names}}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {"digest": digest, "seed": config.get("seed", data.get("seed", 0))}


def model_path(model: str | os.PathLike) -> Path:
    """Return the folder of a run, or the file of a model, that a user's word stands for.

    Args:
        model: A run folder, a `.keras` file, the name of a model in `saved_models/`, or
            `hf://USER/MODEL`.

    Raises:
        UserError: If there is no such model.
    """
    path = find(model)
    if (path / "config.json").is_file() or path.is_file():
        return path
    if (path / "model.keras").is_file():
        return path / "model.keras"
    what = "neither a run nor a model" if path.is_dir() else "not there"
    raise UserError(
        f"{str(model)!r} is {what}. Give a run folder made by 'keras-faces train', a .keras file, "
        "the name of a model in saved_models/, or hf://USER/MODEL."
    )


def find(model: str | os.PathLike) -> Path:
    """Return the path that a user's word for a run or a model stands for.

    A path stands for itself. Else a name is looked for in `saved_models/`: of the folder one is in,
    then of the clone that the package is run from.

    Args:
        model: A path, a name such as `"vae-orl-64"`, or `hf://USER/MODEL`, which is fetched.
    """
    if hub.is_address(model):
        return hub.fetch(str(model))
    path = Path(model).expanduser()
    clone = Path(__file__).parent.parent
    if not path.exists() and not path.is_absolute():
        for folder in (Path("saved_models"), clone, clone / "saved_models"):
            if (folder / path / "config.json").is_file():
                return folder / path
    return path
