"""What `--config FILE` says: arguments of a command by name."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_faces.errors import UserError, unknown_name
from keras_faces.files import read_regular
from keras_faces.runs import CONFIG_FORMAT, Config
from keras_faces.schema import LARGEST_FILE, read_json


def _yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": tomllib.loads,
    ".json": json.loads,
}


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return what a config file holds.

    Raises:
        UserError: If it cannot be read, or is no table of names and values.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise unknown_name("kind of config", suffix or os.fspath(path), READERS)
    try:
        data = read_regular(Path(path).expanduser())
        if len(data) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE:,} bytes")
        content = READERS[suffix](data.decode())
    except OSError as error:
        raise UserError(f"Cannot read the config {str(path)!r}: {error.strerror}.") from error
    except Exception as error:  # each kind has errors of its own, over several lines
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{str(path)!r} is no {suffix[1:].upper()}: {reason}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{str(path)!r} must hold names and values, such as 'count: 12'.")
    return content


def as_arguments(content: dict[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """Return what a config says of a training as arguments of `train`.

    A run's `config.json` gives those by which the run was trained, all numbers spelt out.

    Args:
        content: What the file holds.
        path: The file.

    Raises:
        UserError: If it is the config of a run, and damaged.
    """
    if not {"format", "hyperparameters", "versions"} <= content.keys():
        return {**content, **_table(content.pop("hyperparameters", {}), path)}
    remedy = "Put back a copy of it, or write a config of your own."
    config: Config = read_json(Path(path), Config, remedy, newest=CONFIG_FORMAT)
    data, scoring = config["data"] or {}, config.get("scoring", {})
    plan = {
        **config["hyperparameters"],
        **{name: config.get(name) for name in PLAN},
        **{name: data.get(name) for name in ("crop", "split", "batch_size", "labels")},
        **{name: scoring.get(name) for name in ("scores", "best")},
        "data": data.get("source"),
    }
    return {name: value for name, value in plan.items() if value is not None}


# What a run's config says of its training by the name of `train`'s argument.
PLAN = (
    "model",
    "seed",
    "recipe",
    "budget",
    "epochs",
    "steps",
    "minutes",
    "steps_per_execution",
    "grid_every",
    "score_every",
    "checkpoint_seconds",
    "count",
)
