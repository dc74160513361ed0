"""The departure ledger: what each document states, what reference code does, what we do, and why.

    python tests/ledger.py

makes `docs/departures.md` of `docs/ledger/*.toml` and of the code, and says where they disagree;
`tests/test_ledger.py` fails where they do. One file a model, named after it, has its entries, each
a table named after its field; `shared.toml` has what holds for all models. Where the document is
silent, and the same holds for several fields, one table may name them all,
`["filters, hidden_units"]`, with `decides` as a list.

What we do is read from the code: from the constructor's defaults, from `epochs` and `batch_size`,
or for what is structural from a default-built model by an entry's `probe`, a function in
`probes.py`.
"""

import dataclasses
import functools
import inspect
import itertools
import sys
import tomllib
from pathlib import Path

import probes

import keras_faces as kf
from keras_faces.models.base import FaceModel

FOLDER = Path(__file__).parents[1] / "docs" / "ledger"
FILE = FOLDER.parent / "departures.md"
SHARED = "shared"
SILENT = "silent"
GAPS = (SILENT, "open", "garbled")


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a document, the references and this package stand on one question.

    Attributes:
        field: A hyper-parameter of the model, `epochs`, `batch_size`, or a short name of something
            structural, which then has a probe.
        where: The document and the section.
        stated: The stated value in the code's own terms.
        gap: Why there is no such value: the document is `"silent"`; it is `"open"`, where it speaks
            of it and several values would do; it is `"garbled"`, where it is damaged or contradicts
            itself.
        states: What the document states, in words. Not needed where it is silent.
        reference: What the paper it builds on does, or reference code, naming which.
        decides: The value of the reference that fills the gap, in the code's own terms; None where
            the choice is ours. Only for gaps.
        why: Why we do what we do. Required wherever it is not what the document states.
        probe: `"NAME:WORD,WORD"`, a function in `probes.py` and what it takes behind the model.
            Only for what is structural.
        model: Hyper-parameters of the model that is asked, where it is not the default one.
        ours: What the probe returns; None where that is `decides` or `stated`.
        row: The name of its table: all the fields that share one row.
    """

    field: str
    where: str = ""
    stated: object = None
    gap: str = SILENT
    states: str = ""
    reference: str = ""
    decides: object = None
    why: str = ""
    probe: str = ""
    model: dict = dataclasses.field(default_factory=dict)
    ours: object = None
    row: str = ""


def names() -> list[str]:
    """Return the names of all parts of the ledger: `"shared"`, then the models."""
    return [SHARED, *kf.list_models()]


def entries(name: str) -> list[Entry]:
    """Return the entries of a model, or those of `"shared"`."""
    tables = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return [entry for row, table in tables.items() for entry in parsed(row, table)]


def parsed(row: str, table: dict) -> list[Entry]:
    """Return the entries of one table, one for each field that it names.

    Raises:
        TypeError: If the table has a key that no entry has.
        ValueError: If it names several fields, and more is said of them than of one silence.
    """
    # Texts are wrapped in the file, and one line in the table.
    table = {k: " ".join(v.split()) if isinstance(v, str) else v for k, v in table.items()}
    fields = [row] if "probe" in table else row.split(", ")
    if len(fields) == 1:
        return [Entry(row, row=row, **table)]
    if extra := table.keys() - {"where", "reference", "decides", "why"}:
        raise ValueError(f"{row}: a row of several fields is silent and has no {sorted(extra)}")
    decided = table.pop("decides", [None] * len(fields))
    pairs = zip(fields, decided, strict=True)
    return [Entry(field, row=row, decides=value, **table) for field, value in pairs]


def defaults(name: str) -> dict:
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
    return FaceModel if name == SHARED else kf.models.MODELS[name]


@functools.lru_cache(maxsize=1)
def default_model(name: str):
    """Return a model built with its defaults; nothing for what holds for all."""
    return None if name == SHARED else kf.create_model(name)


def asked(name: str, entry: Entry):
    """Return what a model answers to an entry's probe."""
    probe, _, words = entry.probe.partition(":")
    model = kf.create_model(name, **entry.model) if entry.model else default_model(name)
    return _plain(getattr(probes, probe)(model, *(words.split(",") if words else ())))


def _plain(value):
    """Return a value as TOML has it: lists, no tuples."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def ours(name: str, entry: Entry):
    """Return what we do: the code's value, or for a structural field what its probe returns."""
    if not entry.probe:
        return defaults(name)[entry.field]
    if entry.ours is not None:
        return entry.ours
    return entry.decides if entry.stated is None else entry.stated


def verdict(name: str, entry: Entry) -> str:
    """Return `"faithful"`, `"departs"`, or the kind of gap and who fills it."""
    if entry.stated is None:
        return f"{entry.gap}: {'our choice' if entry.decides is None else 'reference'}"
    return "faithful" if entry.stated == ours(name, entry) else "departs"


def disagreements(name: str, found: list[Entry], ask: bool = False) -> list[str]:
    """Return in words where entries disagree with the code, or leave something unsaid.

    Args:
        name: The model whose entries they are, or `"shared"`.
        found: The entries.
        ask: Whether to build the model and ask it what the entries' probes want to know.
    """
    known, fields = defaults(name), [entry.field for entry in found]
    problems = [f"{field}: has no entry" for field in sorted(required(name) - set(fields))]
    problems += [
        f"{field}: has two entries" for field in sorted(set(fields)) if fields.count(field) > 1
    ]
    for entry in found:
        if wrong := _impossible(entry, known):
            problems.append(f"{entry.field}: {wrong}")
            continue
        problems += [f"{entry.field}: {text}" for text in _unsaid(name, entry)]
        if entry.probe and ask and (value := asked(name, entry)) != ours(name, entry):
            problems.append(
                f"{entry.field}: the ledger says {ours(name, entry)!r}, the code {value!r}"
            )
    return problems


def _impossible(entry, known):
    """Return why no value can be found for an entry, if none can."""
    if entry.gap not in GAPS:
        return f"a gap is one of {', '.join(GAPS)}, not {entry.gap!r}"
    if entry.probe and entry.field in known:
        return "is a hyper-parameter, so its value is read and needs no probe"
    if not entry.probe and entry.field not in known:
        return "is no hyper-parameter, so it needs a probe"
    probe = entry.probe.partition(":")[0]
    return f"there is no probe named {probe!r}" if probe and not hasattr(probes, probe) else ""


def _unsaid(name, entry):
    value, gap = ours(name, entry), entry.stated is None
    if entry.ours is not None and not entry.probe:
        yield "its value is read from the code, not typed"
    if not entry.where:
        yield "does not say where the document states it"
    if not gap and entry.gap != SILENT:
        yield f"the document states a value, so it is not {entry.gap}"
    if (gap and entry.gap == SILENT) == bool(entry.states):
        yield "says in words what the document states, unless it is silent, and only then not"
    if gap and not entry.why:
        yield f"the document is {entry.gap}, and the entry does not say why we do {value!r}"
    if not gap and entry.stated != value and not entry.why:
        yield f"departs from {entry.stated!r} to {value!r}, and the entry does not say why"
    if not gap and entry.decides is not None:
        yield "the document states a value, so no reference decides"
    if gap and entry.decides is not None and entry.decides != value:
        yield f"the reference is said to decide for {entry.decides!r}, the code has {value!r}"


VERDICTS = ("faithful", "departs", "reference", "our choice")

OPENING = """# Departures

What the documents state, what reference code does, what this package does, and why.

`python tests/ledger.py` generates this page; do not edit it by hand. The entries are in
`docs/ledger/`, one file for each model. The values under *ours* are read from the code, or from a
model built with its defaults. `tests/test_ledger.py` fails if they disagree with the ledger.

The verdicts:

- **faithful**: we do what the document states. **departs**: we do something else.
- **silent**: the document does not mention it. **open**: the document mentions it, but allows
  several values. **garbled**: the document is damaged or contradicts itself.
- After the colon: who fills the gap. *reference*: the paper that the document builds on, or code
  for it. *our choice*: this package.

The documents: **Zhang**, *Realistic Face Image Generation Based on GAN*; the **Slides** on that
paper, with a CycleGAN; the three-models **Report** on VAE, GAN and VAE+GAN; **SFU**, *Generative
Models for Image Generation*, from Simon Fraser University; **Gruber**, *Generating Facial Images
using VAEGAN*.
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
        rows = [_row(name, list(row)) for _, row in itertools.groupby(found, lambda e: e.row)]
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
            f"## Gaps where references exist and the choice is ours\n\n{choices}",
            *parts,
        ]
    )


def _ending(verdicts, word):
    return sum(verdict.endswith(word) for verdict in verdicts)


def _title(name):
    """Return the first sentence of the docstring of a model's file."""
    if name == SHARED:
        return "Settings of all models, unless a model's own table overrides them."
    lines = inspect.getmodule(_owner(name)).__doc__.split("\n\n")[0].splitlines()
    return " ".join(lines)


def _row(name, found):
    """Return the row of entries that one table names."""
    entry, values = found[0], {each.field: ours(name, each) for each in found}
    states = f"{entry.where}: {entry.states or entry.gap}"
    shown = _shown(values if len(found) > 1 else values[entry.field])
    return [entry.row, states, entry.reference, shown, verdict(name, entry), entry.why]


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") or "-" for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _shown(value) -> str:
    """Return a value as a reader wants to see it."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, str) and len(value) > 100 and " " not in value:
        return f"{', '.join(value.split(',')[:3])} and {value.count(',') - 2} more"
    return str(value)


def main() -> None:
    """Write `docs/departures.md`, and say where the entries and the code disagree."""
    if missing := [name for name in names() if not (FOLDER / f"{name}.toml").is_file()]:
        sys.exit(f"Write what documents state: docs/ledger/{missing[0]}.toml is not there.")
    FILE.write_text(as_markdown(), encoding="utf-8")
    # Asked after it is written: what changed in the file shows which reasons to look at.
    problems = [
        f"{name}: {problem}"
        for name in names()
        for problem in disagreements(name, entries(name), ask=True)
    ]
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main()
