"""What `--config FILE` says: arguments of a command by name; and numbers and text, checked."""

import json
import os
import tomllib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, Token

from keras_faces.errors import UserError, unknown_name
from keras_faces.files import read_regular
from keras_faces.schema import mismatch


def _read_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": tomllib.loads,
    ".json": json.loads,
}


# Of these, one given on the command line takes the place of another in a config.
ALTERNATIVES = ({"epochs", "steps", "minutes"}, {"manifold", "separability"})


def add_config(
    path: str | None, app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Give arguments that no word gives what a config says, and check all, as cyclopts lets one.

    Raises:
        UserError: If something cannot be meant.
    """
    content = {} if path is None else read_config(path)
    if commands[:1] == ("train",):
        content = without_records(content, path)
        content.pop("model", None)  # of which the command is made
    known = {one.field_info.name.rstrip("_"): one for one in arguments if not one.children}
    left_out = {key for key, argument in known.items() if argument.tokens}
    left_out = left_out.union(*(some for some in ALTERNATIVES if some & left_out))
    for key, value in content.items():
        if (name := key.replace("-", "_")) not in known:
            unknown = unknown_name(f"argument of '{' '.join(commands)}'", key, known)
            raise UserError(f"{path}: {unknown}")
        if name not in left_out:
            _give(known[name], key, value, path)
    for argument in arguments:
        _check(argument)


def _give(argument: Argument, key: str, value: Any, path: str) -> None:
    """Give an argument a config's value in the words that the command line would have."""
    count, more = argument.token_count()
    values = value if isinstance(value, list) and (more or count > 1) else [value]
    if not more and len(values) != max(count, 1):
        raise UserError(f"{path}: {key} must be {count} values. Received: {len(values)}.")
    for index, one in enumerate(values):
        wrong = mismatch(one, str, key)
        if wrong and _scalar(argument) is str and type(one) is not int:
            raise UserError(f"{path}: {wrong}.")
        argument.append(Token(keyword=key, value=str(one), source=path, index=index))


def _check(argument: Argument) -> None:
    """Refuse numbers and text that cyclopts takes for others: 2.5 for 2, NaN, a name with a NUL."""
    kind = _scalar(argument)
    for token in argument.tokens if kind else []:
        try:
            value = kind(token.value)
        except ValueError:
            value = token.value
        if wrong := mismatch(value, kind, token.keyword or argument.name):
            raise UserError(f"{wrong}." if token.source == "cli" else f"{token.source}: {wrong}.")


def _scalar(argument: Argument) -> type | None:
    """Return which of numbers and text an argument's values are; None for all else."""
    parts = [argument.hint]
    for part in parts:
        parts += typing.get_args(part)
    return next((kind for kind in (int, float, str) if kind in parts), None)


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
        from keras_faces.data.sources import as_recorded
        from keras_faces.runs import read_run_config, recorded_arguments

        recorded = content.keys()
        content = recorded_arguments(read_run_config(Path(path)))
        if "data" in content:
            content["data"] = as_recorded(content["data"])
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
