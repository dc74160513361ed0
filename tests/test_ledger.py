"""The departure ledger says of the code what the code says of itself."""

from pathlib import Path

import pytest

import keras_faces as kf
from keras_faces import ledger
from keras_faces.ledger import GARBLED, OPEN, SILENT, Entry

FILE = Path(__file__).parents[1] / "docs" / "departures.md"
EVERY_PART = pytest.mark.parametrize("name", ledger.names())


def test_every_model_has_a_part_of_the_ledger_and_nothing_else_has():
    files = {path.stem for path in Path(ledger.__file__).parent.glob("*.py")}
    assert files - {"__init__", "__main__", "probes"} == set(ledger.names())
    assert ledger.names() == ["shared", *kf.list_models()]
    with pytest.raises(kf.UserError, match="dcgan"):
        ledger.entries("dcgen")


@EVERY_PART
def test_every_hyperparameter_has_one_entry_and_every_gap_and_departure_a_reason(name):
    assert ledger.disagreements(name, ledger.entries(name)) == []


@EVERY_PART
def test_a_default_built_model_is_what_the_ledger_says(name):
    model = None if name == ledger.SHARED else kf.create_model(name)
    assert ledger.disagreements(name, ledger.entries(name), model) == []


def test_the_file_is_what_the_code_makes(tmp_path):
    ledger.main([str(tmp_path / "departures.md")])
    made = (tmp_path / "departures.md").read_text(encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == made, (
        "docs/departures.md is not what the code makes. Look at what changed, see that the reasons "
        "still hold, and make it anew: python -m keras_faces.ledger docs/departures.md"
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Entry("beta_1", "here", 0.9, states="0.9"), "departs from 0.9 to 0.5"),
        (Entry("beta_1", "here", SILENT), "silent, and the entry does not say why"),
        (Entry("beta_1", "here", OPEN, states="momentum"), "open, and the entry"),
        (Entry("beta_1", "here", GARBLED, states="b", decides=0.9, why="x"), "decide for 0.9"),
        (Entry("beta_1", "here", 0.5, states="0.5", decides=0.5), "no reference decides"),
        (Entry("beta_1", "here", 0.5), "says in words"),
        (Entry("beta_1", "here", SILENT, states="nothing", why="x"), "says in words"),
        (Entry("beta_1", "", 0.5, states="0.5"), "does not say where"),
        (Entry("beta_1", "here", 0.5, states="0.5", ours=0.5), "not typed"),
        (Entry("beta_1", "here", 0.5, states="0.5", probe=lambda _: 0.5), "needs no probe"),
        (Entry("beta_7", "here", 0.5, states="0.5"), "beta_7: is no hyper-parameter"),
        (Entry("nets", "here", "two", states="two", probe=lambda _: "one"), "the code 'one'"),
        (
            Entry("nets", "here", SILENT, why="x", decides=2, probe=lambda _: 1),
            "says 2, the code 1",
        ),
    ],
)
def test_a_wrong_entry_is_found(entry, problem):
    right = [e for e in ledger.entries("dcgan") if e.probe is None and e.field != entry.field]
    found = ledger.disagreements("dcgan", [*right, entry], model=object())
    assert any(problem in text for text in found), found
    assert all(text.startswith(f"{entry.field}: ") for text in found)


def test_a_missing_and_a_double_entry_are_found():
    one, *rest = (entry for entry in ledger.entries("dcgan") if entry.probe is None)
    assert ledger.disagreements("dcgan", rest) == [f"{one.field}: has no entry"]
    assert ledger.disagreements("dcgan", [one, one, *rest]) == [f"{one.field}: has two entries"]


def test_a_changed_default_is_found_and_changes_the_file(monkeypatch):
    before, fields = ledger.as_markdown(), ledger.fields
    changed = {"learning_rate": 7e-4, "epochs": 3}
    monkeypatch.setattr(ledger, "fields", lambda name: fields(name) | changed)
    found = ledger.disagreements("dcgan", ledger.entries("dcgan"))
    assert [text.split(":")[0] for text in found] == ["learning_rate", "epochs"]
    assert "decide for 0.0002, the code has 0.0007" in found[0]
    assert "departs from 300 to 3" in found[1]
    assert ledger.as_markdown() != before


def test_verdicts_and_values_as_a_reader_sees_them():
    entries = {entry.field: entry for entry in ledger.entries("dcgan")}
    assert ledger.verdict("dcgan", entries["image_size"]) == "faithful"
    assert ledger.verdict("dcgan", entries["generator's loss"]) == "departs"
    assert ledger.verdict("dcgan", entries["beta_1"]) == "silent: reference"
    assert ledger.verdict("dcgan", entries["update order"]) == "silent: our choice"
    assert ledger.ours("dcgan", entries["beta_1"]) == 0.5
    text = ledger.as_markdown()
    assert "| learning_rate | Zhang 4.3, Report 3.2: silent |" in text
    assert "generator: 3,576,704; discriminator: 2,765,568" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    total = sum(len(ledger.entries(name)) for name in ledger.names())
    assert f"| **all** | {total} |" in text
    assert len(rows) > total
