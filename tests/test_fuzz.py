"""Damaged files of every kind give the same result or an error of one line; see fuzz.py."""

import os
import random

import fuzz
import pytest
from fuzz_kinds import KINDS, Kind

from keras_faces.errors import UserError


def test_a_damaged_file_of_any_kind_gives_the_same_result_or_an_error_of_one_line():
    found = fuzz.fuzz(list(KINDS), 150, seed=1)
    assert {case.kind for case in found} == set(KINDS)
    assert not fuzz.told_faults(found, seed=1), fuzz.table(found)


@pytest.mark.slow
def test_ten_thousand_damaged_files_give_the_same_result_or_an_error_of_one_line():
    seed = random.SystemRandom().randrange(1000)
    found = fuzz.fuzz(list(KINDS), 10_000, seed, jobs=os.cpu_count() or 1)
    print(fuzz.table(found))
    assert not fuzz.told_faults(found, seed), fuzz.table(found)


def test_the_same_seed_and_number_do_the_same_damage():
    data = b'{"a": [1, 2, 3]}\n' * 20
    first, second = (fuzz.any_damage("a.csv", data, random.Random("a/0/1")) for _ in range(2))
    assert first == second
    assert first[0] != data


def _read(path):
    return (path / "a").read_bytes()


def _refuse(path, message="No."):
    if _read(path) != b"whole":
        raise UserError(message)


@pytest.mark.parametrize(
    ("read", "agrees", "outcome"),
    [
        (lambda path: len(_read(path)) < 0, False, "same"),
        (_read, True, "other"),
        (_read, False, "silent"),
        (_refuse, False, "refused"),
        (lambda path: _refuse(path, "No.\nAnd no."), False, "stack"),
        (lambda path: {b"whole": 1}[_read(path)], False, "stack"),
    ],
)
def test_what_becomes_of_a_damaged_file_is_told_apart(read, agrees, outcome, monkeypatch):
    made = Kind(lambda path: (path / "a").write_bytes(b"whole"), ["a"], read, lambda seen: agrees)
    monkeypatch.setitem(KINDS, "mine", made)
    monkeypatch.setenv("KERAS_FACES_CACHE", os.environ["KERAS_FACES_CACHE"])
    sample = fuzz.Sample("mine")
    try:
        assert [sample.case(0, number)[0] for number in range(5)] == [outcome] * 5
        assert read is _refuse or sample.good == read(sample.folder)  # it is whole again
    finally:
        sample.remove()
