"""The departure ledger says of the code what the code says of itself."""

import dataclasses

import ledger
import pytest
from ledger import Entry

import keras_faces as kf

EVERY_PART = pytest.mark.parametrize("name", ledger.names())


def test_every_model_has_a_part_of_the_ledger_and_nothing_else_has():
    assert {path.stem for path in ledger.FOLDER.iterdir()} == set(ledger.names())


@EVERY_PART
def test_every_hyperparameter_has_one_entry_and_every_gap_and_departure_a_reason(name):
    assert ledger.disagreements(name, ledger.entries(name)) == []


@EVERY_PART
def test_a_default_built_model_is_what_the_ledger_says(name):
    assert ledger.disagreements(name, ledger.entries(name), ask=True) == []


def test_the_file_is_what_the_code_makes():
    assert ledger.FILE.read_text(encoding="utf-8") == ledger.as_markdown(), (
        "docs/departures.md is not what the code makes. Look at what changed, see that the reasons "
        "still hold, and make it anew: python tests/ledger.py"
    )


def entry(field="beta_1", where="here", **given):
    return Entry(field, where, row=field, **given)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (entry(stated=0.9, states="0.9"), "departs from 0.9 to 0.5"),
        (entry(), "silent, and the entry does not say why"),
        (entry(gap="open", states="momentum"), "open, and the entry"),
        (entry(gap="garbled", states="b", decides=0.9, why="x"), "decide for 0.9"),
        (entry(gap="garbld", states="b", decides=0.5, why="x"), "one of silent, open, garbled"),
        (entry(gap="open", stated=0.5, states="0.5"), "so it is not open"),
        (entry(stated=0.5, states="0.5", decides=0.5), "no reference decides"),
        (entry(stated=0.5), "says in words"),
        (entry(states="nothing", why="x"), "says in words"),
        (entry(where="", stated=0.5, states="0.5"), "does not say where"),
        (entry(stated=0.5, states="0.5", ours=0.5), "not typed"),
        (entry(stated=0.5, states="0.5", probe="noise"), "needs no probe"),
        (entry("beta_7", stated=0.5, states="0.5"), "beta_7: is no hyper-parameter"),
        (entry("nets", stated="two", states="two", probe="nose"), "no probe named 'nose'"),
        (entry("nets", stated="two", states="two", probe="noise"), "the code 'N(0, I)'"),
        (entry("nets", why="x", decides=2, probe="noise"), "says 2, the code 'N(0, I)'"),
    ],
)
def test_a_wrong_entry_is_found(wrong, problem):
    right = [e for e in ledger.entries("dcgan") if not e.probe and e.field != wrong.field]
    found = ledger.disagreements("dcgan", [*right, wrong], ask=True)
    assert any(problem in text for text in found), found
    assert all(text.startswith(f"{wrong.field}: ") for text in found)


def test_a_missing_and_a_double_entry_are_found():
    one, *rest = (entry for entry in ledger.entries("dcgan") if not entry.probe)
    assert ledger.disagreements("dcgan", rest) == [f"{one.field}: has no entry"]
    assert ledger.disagreements("dcgan", [one, one, *rest]) == [f"{one.field}: has two entries"]


def test_a_row_of_several_silent_fields_is_an_entry_for_each():
    table = {"where": "here", "why": "The\npaper's.", "decides": [2e-4, 0.5]}
    first, second = ledger.parsed("learning_rate, beta_1", table)
    assert (first.field, first.decides) == ("learning_rate", 2e-4)
    assert dataclasses.replace(first, field="beta_1", decides=0.5) == second
    assert second.why == "The paper's."
    with pytest.raises(ValueError, match="zip"):
        ledger.parsed("learning_rate, beta_1", table | {"decides": [2e-4]})
    with pytest.raises(ValueError, match="is silent and has no \\['states'\\]"):
        ledger.parsed("learning_rate, beta_1", table | {"states": "2e-4"})
    with pytest.raises(TypeError, match="reason"):
        ledger.parsed("learning_rate", {"where": "here", "reason": "x"})


def test_a_changed_default_is_found_and_changes_the_file(monkeypatch):
    before, defaults = ledger.as_markdown(), ledger.defaults
    changed = {"learning_rate": 7e-4, "epochs": 3}
    monkeypatch.setattr(ledger, "defaults", lambda name: defaults(name) | changed)
    found = ledger.disagreements("dcgan", ledger.entries("dcgan"))
    assert [text.split(":")[0] for text in found] == ["learning_rate", "epochs"]
    assert "decide for 0.0002, the code has 0.0007" in found[0]
    assert "departs from 300 to 3" in found[1]
    assert ledger.as_markdown() != before


def test_a_changed_network_is_found(monkeypatch):
    changed = kf.create_model("dcgan", filters=8)
    monkeypatch.setattr(ledger, "default_model", lambda name: changed)
    found = ledger.disagreements("dcgan", ledger.entries("dcgan"), ask=True)
    assert [text.split(":")[0] for text in found] == ["parameters", "generator", "discriminator"]


def test_verdicts_and_values_as_a_reader_sees_them():
    entries = {entry.field: entry for entry in ledger.entries("dcgan")}
    assert ledger.verdict("dcgan", entries["image_size"]) == "faithful"
    assert ledger.verdict("dcgan", entries["generator's loss"]) == "departs"
    assert ledger.verdict("dcgan", entries["beta_1"]) == "silent: reference"
    assert ledger.verdict("dcgan", entries["update order"]) == "silent: our choice"
    assert ledger.ours("dcgan", entries["beta_1"]) == 0.5
    text = ledger.as_markdown()
    assert "| learning_rate, beta_1 | Zhang 4.3, Report 3.2: silent |" in text
    assert "| learning_rate: 0.0002; beta_1: 0.5 |" in text
    assert "generator: 3,576,704; discriminator: 2,765,568" in text
    found = [(name, entry) for name in ledger.names() for entry in ledger.entries(name)]
    assert f"| **all** | {len(found)} |" in text
    assert all(f"\n| {entry.row} | {entry.where}: " in text for _, entry in found)
