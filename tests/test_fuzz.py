"""Damaged files of every kind give the same result or an error of one line; see fuzz.py."""

import os
import random

import fuzz
import pytest
from fuzz_kinds import KINDS


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
    data = bytes(range(200))
    for way in fuzz.DAMAGES.values():
        if way is not fuzz.members:
            first, second = (way("a.json", data, random.Random("jpeg/0/1")) for _ in range(2))
            assert first == second
