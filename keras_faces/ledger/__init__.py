"""The departure ledger: what each document states, what reference code does, what we do, and why.

`docs/departures.md` is made of it by `python -m keras_faces.ledger docs/departures.md`, and
`tests/test_ledger.py` holds it against the code. One file a model, named after it, has its entries;
`shared.py` has what holds for all models. What we do is read from the code: from the constructor's
defaults, from `epochs` and `batch_size`, or from a default-built model by an entry's `probe`.
"""

import argparse
import enum
import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_faces.errors import unknown_name

SHARED = "shared"


class Gap(enum.StrEnum):
    """Why a document gives no value of its own."""

    SILENT = "silent"
    OPEN = "open"
    GARBLED = "garbled"


SILENT, OPEN, GARBLED = Gap


class Entry(NamedTuple):
    """Where a document, the references and this package stand on one question.

    Attributes:
        field: A hyper-parameter of the model, `epochs`, `batch_size`, or a short name of something
            structural, which then has a probe.
        where: The document and the section.
        stated: The stated value in the code's own terms; or a gap: `SILENT`; `OPEN`, where the
            document speaks of it and several values would do; `GARBLED`, where it is damaged or
            contradicts itself.
        states: What the document states, in words. Not needed where it is silent.
        reference: What the paper it builds on does, or reference code, naming which.
        decides: The value of the reference that fills the gap, in the code's own terms; None where
            the choice is ours. Only for gaps.
        why: Why we do what we do. Required wherever it is not what the document states.
        probe: Callable that takes a default-built model (None in `shared.py`) and returns a plain
            value. Only for structural fields.
        ours: What the probe returns; None where that is `decides` or `stated`.
    """

    field: str
    where: str
    stated: object
    states: str = ""
    reference: str = ""
    decides: object = None
    why: str = ""
    probe: Callable | None = None
    ours: object = None


def names() -> list[str]:
    """Return the names of all parts of the ledger: `"shared"`, then the models."""
    from keras_faces.models import list_models

    return [SHARED, *list_models()]


def entries(name: str) -> tuple[Entry, ...]:
    """Return the entries of a model, or those of `"shared"`.

    Raises:
        UserError: If there is no such part of the ledger.
    """
    if name not in names():
        raise unknown_name("part of the ledger", name, names())
    return importlib.import_module(f"keras_faces.ledger.{name}").ENTRIES


def fields(name: str) -> dict:
    """Return the fields that need no probe, with what the code has for them."""
    found = {key: spec.default for key, spec in _owner(name).hyperparameters().items()}
    return found | {key: getattr(_owner(name), key) for key in ("epochs", "batch_size")}


def required(name: str) -> set[str]:
    """Return the fields that must have an entry."""
    if name == SHARED:
        return set(_owner(name).hyperparameters()) - {"image_size", "channels"}
    own = set(inspect.signature(_owner(name).__init__).parameters) - {"self", "kwargs"}
    return own | {"epochs", "batch_size"}


def _owner(name):
    from keras_faces.models import MODELS
    from keras_faces.training.base import FaceModel

    return FaceModel if name == SHARED else MODELS[name]


def ours(name: str, entry: Entry):
    """Return what we do: the code's value, or for a structural field what its probe returns."""
    if entry.probe is None:
        return fields(name)[entry.field]
    if entry.ours is not None:
        return entry.ours
    return entry.decides if isinstance(entry.stated, Gap) else entry.stated


def verdict(name: str, entry: Entry) -> str:
    """Return `"faithful"`, `"departs"`, or the kind of gap and who fills it."""
    if isinstance(entry.stated, Gap):
        return f"{entry.stated}: {'our choice' if entry.decides is None else 'reference'}"
    return "faithful" if entry.stated == ours(name, entry) else "departs"


def disagreements(name: str, found: Sequence[Entry], model=None) -> list[str]:
    """Return in words where entries disagree with the code, or leave something unsaid.

    Args:
        name: The model whose entries they are, or `"shared"`.
        found: The entries.
        model: A default-built model for the probes; None leaves the probes of a model out.
    """
    known, told = fields(name), [entry.field for entry in found]
    problems = [f"{field}: has no entry" for field in sorted(required(name) - set(told))]
    problems += [
        f"{field}: has two entries" for field in sorted(set(told)) if told.count(field) > 1
    ]
    for entry in found:
        structural = entry.probe is not None
        if structural == (entry.field in known):
            problems.append(
                f"{entry.field}: is a hyper-parameter, so its value is read and needs no probe"
                if structural
                else f"{entry.field}: is no hyper-parameter, so it needs a probe"
            )
            continue
        if entry.ours is not None and not structural:
            problems.append(f"{entry.field}: its value is read from the code, not typed")
        problems += [f"{entry.field}: {text}" for text in _unsaid(name, entry)]
        if structural and (model is not None or name == SHARED):
            value = entry.probe(model)
            if value != ours(name, entry):
                problems.append(
                    f"{entry.field}: the ledger says {ours(name, entry)!r}, the code {value!r}"
                )
    return problems


def _unsaid(name, entry):
    value, gap = ours(name, entry), isinstance(entry.stated, Gap)
    if not entry.where:
        yield "does not say where the document states it"
    if (entry.stated is SILENT) == bool(entry.states):
        yield "says in words what the document states, unless it is silent, and only then not"
    if gap and not entry.why:
        yield f"the document is {entry.stated}, and the entry does not say why we do {value!r}"
    if not gap and entry.stated != value and not entry.why:
        yield f"departs from {entry.stated!r} to {value!r}, and the entry does not say why"
    if not gap and entry.decides is not None:
        yield "the document states a value, so no reference decides"
    if gap and entry.decides is not None and entry.decides != value:
        yield f"the reference is said to decide for {entry.decides!r}, the code has {value!r}"


VERDICTS = ("faithful", "departs", "reference", "our choice")

OPENING = """# Departures

What the documents state, what reference code does, what this package does, and why.

Made from the code by `python -m keras_faces.ledger docs/departures.md`; do not edit it by hand. The
entries are in `keras_faces/ledger/`, one file a model. The values under *ours* are read from the
code, or from a model built with its defaults; `tests/test_ledger.py` fails when they and the
ledger disagree.

How to read it:

- **faithful**: the document states it, and we do it. **departs**: we do something else.
- **silent**: the document does not speak of it. **open**: it does, but several values would do.
  **garbled**: it is damaged, or contradicts itself. Behind the colon stands who fills the gap:
  the *reference*, the paper that the document builds on or its code, or *our choice*.

The documents: **Zhang**, *Realistic Face Image Generation Based on GAN*; the **Slides** on it, with
a CycleGAN; the three-models **Report** on VAE, GAN and VAE+GAN; **SFU**, *Generative Models for
Image Generation* of Simon Fraser University; **Gruber**, *Generating Facial Images using VAEGAN*.
"""


def as_markdown() -> str:
    """Return the whole ledger as Markdown."""
    parts, counts, departures, choices = [], [], [], []
    for name in names():
        found = entries(name)
        verdicts = [verdict(name, entry) for entry in found]
        counts.append([name, len(found), *(_ending(verdicts, word) for word in VERDICTS)])
        for entry, word in zip(found, verdicts, strict=True):
            value = _shown(ours(name, entry))
            if word == "departs":
                departures.append([name, entry.field, _shown(entry.stated), value])
            elif word.endswith("our choice") and entry.reference:
                choices.append([name, entry.field, entry.reference, value])
        rows = [_row(name, entry) for entry in found]
        head = ["field", "the document states", "reference code", "ours", "verdict", "why"]
        parts.append(f"## {name}\n\n{_title(name)}\n\n{_table(head, rows)}")
    head = ["model", "entries", "faithful", "departs", "reference decides", "our choice"]
    total = ["**all**", *(sum(row[i] for row in counts) for i in range(1, len(head)))]
    summary = f"## Summary\n\n{_table(head, [*counts, total])}"
    departures = _table(["model", "field", "stated", "ours"], departures)
    choices = _table(["model", "field", "references", "ours"], choices)
    return "\n".join(
        [
            OPENING,
            summary,
            f"## Where we depart from what is stated\n\n{departures}",
            f"## Where nothing is stated, and the choice among references is ours\n\n{choices}",
            *parts,
        ]
    )


def _ending(verdicts, word):
    return sum(verdict.endswith(word) for verdict in verdicts)


def _title(name):
    """Return the first sentence of the docstring of a model's file."""
    if name == SHARED:
        return "What holds for all models, unless a model's own table says otherwise."
    lines = inspect.getmodule(_owner(name)).__doc__.split("\n\n")[0].splitlines()
    return " ".join(lines)


def _row(name, entry):
    states = f"{entry.where}: {entry.states or entry.stated}"
    shown = _shown(ours(name, entry))
    return [entry.field, states, entry.reference, shown, verdict(name, entry), entry.why]


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") or "-" for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _shown(value) -> str:
    """Return a value as a reader wants to see it."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, str) and len(value) > 100 and " " not in value:
        return f"{', '.join(value.split(',')[:3])} and {value.count(',') - 2} more"
    return str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the ledger to a file."""
    parser = argparse.ArgumentParser(prog="python -m keras_faces.ledger", description=main.__doc__)
    parser.add_argument("file", type=Path, help="the Markdown file to write")
    parser.parse_args(arguments).file.write_text(as_markdown(), encoding="utf-8")
