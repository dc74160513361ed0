"""Files that are read back, checked against the form that they must have.

A form is a type as annotations spell it: a `TypedDict`, `list[int]`, `float | None`, a `Literal`;
a `Range` in an `Annotated` bounds a number.
"""

import hashlib
import json
import math
import numbers
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypeVar

from keras_faces.errors import UserError
from keras_faces.screen import visible

LARGEST_FILE = 16 * 2**20  # which as Python objects takes tens of times as much
CHECKSUM = "sha256"
Form = TypeVar("Form")


class Range(NamedTuple):
    """Bounds of a number, both included."""

    least: float
    most: float = 2**63 - 1


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Scalar = str | int | float | bool | None

WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    dict: "an object",
    type(None): "null",
}


def read_json(path: Path, form: type[Form], remedy: str, newest: int | None = None) -> Form:
    """Return what a JSON file holds.

    Args:
        path: The file.
        form: The form that its content must have.
        remedy: What the user can do where it is damaged, as a sentence.
        newest: The newest `"format"` that this version reads; None where it has none.

    Raises:
        UserError: If it cannot be read, is no JSON, has another form, is not as it was written, or
            is of a newer version.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE:,} bytes")
        content = _loaded(path.read_text(encoding="utf-8"))
        if wrong := mismatch(content, dict):
            raise ValueError(wrong)
        checksum = content.pop(CHECKSUM, None)
        # Files of earlier versions have none; but a flipped bit may have hit its name.
        renamed = any(isinstance(v, str) and len(v) == 64 for v in content.values())
        if renamed or checksum not in (None, _checksum(content)):
            raise ValueError(
                f"it is not as it was written; if you changed it, delete its line {CHECKSUM!r}"
            )
        made = content.get("format")
        if newest is not None and _is(made, int, None, ()) and made > newest:
            raise UserError(
                f"{path} has format {made}, this version reads up to {newest}. Update keras_faces."
            )
        if wrong := mismatch(content, form):
            raise ValueError(wrong)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). {remedy}") from error
    except (ValueError, RecursionError) as error:  # text is decoded and nested as well
        raise UserError(f"{path} is damaged ({error}). {remedy}") from error
    return content


def as_json(content: dict) -> str:
    """Return what `read_json` reads, with a checksum by which it finds any change."""
    return json.dumps({**content, CHECKSUM: _checksum(content)}, indent=2) + "\n"


def _loaded(text: str):
    # JSON has no NaN. A number too large for a float would have the checksum of null.
    return json.loads(text, parse_constant=lambda name: None, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _checksum(content) -> str:
    as_read = _loaded(json.dumps(content))  # keys that are numbers are sorted as text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def mismatch(value, form: Any, field: str = "") -> str | None:
    """Return in words where a value is not of a form; None where it is.

    Args:
        value: Anything.
        form: A form, see the top of this file.
        field: What the value is called.
    """
    origin, parts = typing.get_origin(form), typing.get_args(form)
    if form is Any:
        return None
    if origin is NotRequired:
        return mismatch(value, parts[0], field)
    if origin is Annotated:
        low, high = parts[1]
        wrong = mismatch(value, parts[0], field)
        if wrong or low <= value <= high:
            return wrong
        bounds = f"of {low} or more" if high == Range(0).most else f"from {low} to {high}"
        return _told(field, value, f"{expected(form)} {bounds}")
    if parts and type(None) in parts and value is not None:
        others = [part for part in parts if part is not type(None)]
        if len(others) == 1:  # so that what is wrong within it is named
            return mismatch(value, others[0], field)
    if typing.is_typeddict(form) and isinstance(value, dict):
        hints = typing.get_type_hints(form, include_extras=True)
        for name in sorted(form.__required_keys__ - value.keys()):
            return f"{_joined(field, name)} is missing ({expected(hints[name])})"
        within = [(name, value[name], hints[name]) for name in hints if name in value]
    elif origin is dict and isinstance(value, dict):
        within = [(key, key, parts[0]) for key in value]
        within += [(key, part, parts[1]) for key, part in value.items()]
    elif origin is list and isinstance(value, list):
        within = [(number, part, parts[0]) for number, part in enumerate(value)]
    else:
        return None if _is(value, form, origin, parts) else _told(field, value, expected(form))
    wrong = (mismatch(part, its_form, _joined(field, name)) for name, part, its_form in within)
    return next(filter(None, wrong), None)


def _is(value, form, origin, parts) -> bool:
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if parts and origin not in (dict, list):  # a union
        return any(mismatch(value, part) is None for part in parts)
    if form is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and abs(value) < 2**63
    if form is float:
        return _is(value, int, None, ()) or (
            isinstance(value, numbers.Real)
            and not isinstance(value, numbers.Integral)
            and math.isfinite(value)
        )
    if form is str:
        return isinstance(value, str) and _can_be_a_path(value)
    return form in (bool, dict, type(None)) and isinstance(value, form)


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in text.encode(
            "utf-8", "surrogateescape"
        )  # as of names that are not UTF-8
    except UnicodeEncodeError:
        return False


def _joined(field: str, name) -> str:
    name = visible(str(name))[:60]
    return f"{field}.{name}" if field else name


def _told(field: str, value, wanted: str) -> str:
    shown = json.dumps(value, default=repr)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{field or 'the whole'} must be {wanted}, not {shown}"


def expected(form: Any) -> str:
    """Return in words what a form is."""
    origin, parts = typing.get_origin(form), typing.get_args(form)
    if origin in (Annotated, NotRequired):
        return expected(parts[0])
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin is list:
        return "a list"
    if origin is dict or typing.is_typeddict(form):
        return "an object"
    if parts:
        return " or ".join(expected(part) for part in parts)
    return WORDS.get(form, form)
