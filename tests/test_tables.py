"""Tables of scores: seeds in a row, what is noise, formats, and the command that prints them."""

import csv
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces import formats
from keras_faces.cli import main
from keras_faces.metrics import scores, seeds, tables
from keras_faces.runs import Run, training_of


def numbers(rate, error=0.01, seed=0, **protocol) -> dict:
    """Scores as a file holds them: a rate, of which higher is better, and one without an error."""
    value = {"face_detection_rate": {"value": rate, "std": error}}
    value["distinct_nearest"] = {"value": 10, "std": None}
    real = {**value, "face_detection_rate": {"value": 0.9, "std": 0.01}}
    facts = {"source": "orl", "fingerprint": "f", "generated": 100, "seed": seed, **protocol}
    return {
        "format": scores.FORMAT,
        "protocol": facts,
        "needs": {"detector": {"detector": "dlib"}, "pixels": {}},
        "rows": {"real": real, "prior": value},
        "not_computed": {},
    }


def test_trainings_of_several_seeds_stand_in_a_row_with_mean_deviation_and_number():
    three = [numbers(rate, seed=seed) for seed, rate in enumerate((0.5, 0.6, 0.7))]
    lines = tables.compare({"vae": three, "gan": numbers(0.2)}).splitlines()
    assert lines[0].split()[:2] == ["faces", "seeds"]
    cells = {line.split("  ")[0]: line.split()[2:] for line in lines[1:4]}
    assert cells["vae (prior)"][:4] == ["3", "60.0%", "±", "10.0%"]  # statistics.stdev
    assert cells["gan (prior)"][:4] == ["1", "20.0%", "±", "1.0%"]
    assert lines[1].split()[:4] == ["real", "90.0%", "±", "1.0%"]
    assert "deviation over the seeds" in "\n".join(lines)
    with pytest.raises(kf.UserError, match=r"vae, number 1 and of vae, number 2 .*: crop a and b"):
        tables.compare({"vae": [numbers(0.5, crop="a"), numbers(0.5, seed=1, crop="b")]})


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
)
def test_noise_is_what_welchs_test_finds_no_difference_in(one, other):
    both = [seeds.OverSeeds(values, [0.1] * len(values)) for values in (one, other)]
    if min(map(np.std, (one, other))) < 1e-3:  # where scipy warns of lost precision
        return
    p = scipy.stats.ttest_ind(one, other, equal_var=False).pvalue
    if abs(p - 0.05) > 1e-9:
        assert seeds.within_noise(*both) is bool(p > 0.05)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (([0.5], [0.01]), ([0.52], [0.01]), True),  # 1.4 errors of the difference apart
        (([0.5], [0.01]), ([0.53], [0.01]), False),  # 2.1
        (([0.5], [None]), ([0.9], [0.01]), None),
        (([7, 7], [None, None]), ([7, 7], [None, None]), True),
        (([7, 7], [None, None]), ([8, 8], [None, None]), False),
        (([7, None], [0.1, None]), ([7.1], [0.1]), True),
    ],
)
def test_noise_of_single_trainings_is_that_of_their_samples(one, other, expected):
    assert seeds.within_noise(seeds.OverSeeds(*one), seeds.OverSeeds(*other)) is expected


def test_the_best_of_a_column_is_marked_and_what_lies_within_noise_of_it():
    results = {"a": numbers(0.5), "b": numbers(0.52), "c": numbers(0.1)}
    lines = tables.compare(results, "csv").splitlines()
    head, *rows = [line.split(",") for line in lines]
    assert head[:5] == ["faces", "n", *(f"face_detection_rate{e}" for e in ("", "_std", "_mark"))]
    marks = {row[0]: row[4] for row in rows}
    assert marks == {"real": "", "a (prior)": "noise", "b (prior)": "best", "c (prior)": ""}
    assert [row[7] for row in rows[1:]] == ["best", "unknown", "unknown"]  # has no error
    assert float(rows[1][2]) == 0.5 and float(rows[1][3]) == 0.01
    text = tables.compare(results)
    assert "50.0% ± 1.0% ≈" in text and "52.0% ± 1.0% *" in text and "10 ?" in text
    assert "Welch's" in text and "not what another seed would" in text
    assert "Several seeds tell" not in tables.compare({"a": [numbers(0.5), numbers(0.6, seed=1)]})


def test_of_what_should_be_as_real_the_nearest_to_real_is_the_best():
    results = {name: numbers(0.5) for name in "abc"}
    for result, value in zip(results.values(), (80.0, 101.0, 130.0), strict=True):
        for row in result["rows"].values():
            row["laplacian_variance"] = {"value": value, "std": 1.0}
        result["rows"]["real"]["laplacian_variance"]["value"] = 100.0
    head, *rows = (line.split(",") for line in tables.compare(results, "csv").splitlines())
    place = head.index("laplacian_variance_mark")
    assert [row[place] for row in rows] == ["", "", "best", ""]


def test_a_table_is_written_in_the_format_that_is_asked_for():
    results = {"a_b|<1>": numbers(0.5), "c": numbers(0.5)}
    markdown, latex, html = (tables.compare(results, f) for f in ("markdown", "latex", "html"))
    assert markdown.splitlines()[3] == "| a_b\\|<1> (prior) | 50.0% ± 1.0% * | 10 * |"
    assert r"a\_b|<1> (prior) & 50.0\% $\pm$ 1.0\% * & 10 * \\" in latex.splitlines()
    assert latex.startswith(r"\begin{tabular}{lrr}") and "\n% * the best" in latex
    assert "<td>a_b|&lt;1&gt; (prior)</td><td>50.0% ± 1.0% *</td>" in html
    with pytest.raises(kf.UserError, match=r"no format named 'latx'.*'latex'"):
        tables.compare(results, "latx")


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=2, max_size=4))
def test_no_cell_breaks_a_table_apart(rows):
    read = list(csv.reader(io.StringIO(formats.as_csv(rows))))
    assert read == rows
    for line in formats.as_markdown(rows).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert len(re.findall(r"(?<!\\)&", formats.as_latex(rows))) == 2 * len(rows)
    assert len(re.findall("<t[hd]>", formats.as_html(rows))) == 3 * len(rows)


# The command


CONFIG = {
    "format": 1,
    "model": "dcgan",
    "hyperparameters": {"filters": 4, "seed": 0},
    "optimizer": {},
    "steps_per_execution": 1,
    "data": None,
    "versions": {"backend": "tensorflow"},
    "steps": 3,
}


def run_of(folder, seed, rate, **config) -> str:
    run = Run(folder)
    run.folder.mkdir(parents=True)
    given = {**CONFIG, "seed": seed, **config}
    run.write_config({**given, "hyperparameters": {**given["hyperparameters"], "seed": seed}})
    run.scores_path.write_text(json.dumps(numbers(rate, seed=seed)))
    return str(folder)


def test_runs_that_differ_by_their_seed_alone_are_gathered(tmp_path, capsys):
    runs = [run_of(tmp_path / f"gan-{seed}", seed, 0.5 + seed / 10) for seed in range(3)]
    other = run_of(tmp_path / "longer", 3, 0.9, steps=4)
    assert main(["compare", *runs, other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:5] == [f"{tmp_path}/gan-*", "(prior)", "3", "60.0%", "±"]
    assert lines[3].split()[:4] == [other, "(prior)", "1", "90.0%"]
    assert f"{tmp_path}/gan-*: seeds 0, 1, 2, of {', '.join(runs)}." in lines
    assert "seed 0, 1, 2, 3" in lines[-1]
    # A training counts once.
    again = tmp_path / "again.json"
    result = {**numbers(0.5), "training": training_of(Run(runs[0]).config())}
    again.write_text(json.dumps(result))
    assert main(["compare", runs[0], str(again)]) == 0
    out = capsys.readouterr().out
    assert f"Of one training and seed, so not gathered: {runs[0]}, {again}." in out
    # What `evaluate --out` wrote knows whose scores they are, wherever it lies.
    assert main(["compare", runs[1], str(again), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].startswith(f'"{runs[1]}, {again} (prior)",2,0.55,')
    assert "seeds 1, 0" in err and "Protocol: " in err


@pytest.mark.parametrize(
    "change",
    [
        {"model": "wgan"},
        {"hyperparameters": {"filters": 8}},
        {"steps": 4},
        {"steps": None, "epochs": 3},
    ],
)
def test_trainings_that_learn_otherwise_are_others(change, tmp_path):
    plain = training_of({**CONFIG, "seed": 1})
    assert plain["seed"] == 1
    assert training_of({**CONFIG, "seed": 2})["digest"] == plain["digest"]
    assert training_of({**CONFIG, "versions": {}, "count": 3})["digest"] == plain["digest"]
    assert training_of({**CONFIG, **change})["digest"] != plain["digest"]


def test_scores_are_compared_without_keras(tmp_path):
    runs = [run_of(tmp_path / f"gan-{seed}", seed, 0.5) for seed in range(2)]
    code = (
        "import sys; from keras_faces.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(status or bool({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, "compare", *runs], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
