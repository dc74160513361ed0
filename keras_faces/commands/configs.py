"""What `--config FILE` says: arguments of a command by name."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_faces.errors import UserError
from keras_faces.files import read_regular


def _read_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": tomllib.loads,
    ".json": json.loads,
}


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return what a config file holds.

    Raises:
        UserError: If it cannot be read, or does not hold names and values.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise UserError(
            f"A config is a file such as {', '.join(READERS)}. Received: {str(path)!r}."
        )
    try:
        content = READERS[suffix](read_regular(Path(path).expanduser()).decode())
    except OSError as error:
        raise UserError(f"Cannot read the config {str(path)!r}: {error.strerror}.") from error
    except Exception as error:  # YAML, TOML, JSON and Unicode have each their own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{str(path)!r} cannot be read as {suffix[1:].upper()}: {reason}."
        ) from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{str(path)!r} must hold names and values, such as 'count: 12'.")
    return {key: value for key, value in content.items() if value is not None}


def without_records(content: dict[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """Return what a config says of a training as arguments of `train`.

    Of a run's `config.json` those are taken by which it trains the same again.

    Args:
        content: What the file holds.
        path: The file.

    Raises:
        UserError: If it is the config of a run, and damaged.
    """
    if {"format", "hyperparameters", "versions"} <= content.keys():
        from keras_faces.runs import read_run_config, recorded_arguments

        recorded = content.keys()
        content = recorded_arguments(read_run_config(Path(path)))
        if content.get("recipe", "").endswith(".toml"):  # the file may be gone or another by now
            content = {k: v for k, v in content.items() if k not in ("recipe", "budget")}
        taken = [name for name in content if name != "hyperparameters"]
        passed_over = sorted(recorded - content.keys() - {"scoring", "sha256"})
        print(
            f"{path}: {len(content['hyperparameters'])} hyper-parameters and {', '.join(taken)} "
            f"are taken; what the run only records is not: {', '.join(passed_over)}."
        )
    nested = content.pop("hyperparameters", {})
    if not isinstance(nested, dict):
        raise UserError(f"{path}: hyperparameters must be names and values. Received: {nested!r}.")
    return {**content, **nested}
