"""Reports: the documents' tables and figures, rebuilt from runs and never from memory."""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.errors import Interrupted
from keras_faces.metrics import scores
from keras_faces.plan import resolve
from keras_faces.recipes import load_recipe
from keras_faces.reports import REPORTS, base, list_reports, page, reproduce, trainings
from keras_faces.reports.drawings import DRAWINGS
from keras_faces.reports.page import as_markdown
from keras_faces.reports.rows import Row
from keras_faces.reports.schema import OF, TRAINING, Column, Figure, Part, Report
from keras_faces.runs import Run

TINY = {"steps": 2, "batch_size": 200, "filters": 4, "image_size": 32, "score_every": 1}


@pytest.fixture(scope="module")
def table1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "table1"
    said = []
    runs = folder.parent / "runs"
    reproduce("zhang-table1", count=20, out=folder, runs=runs, print_fn=said.append, **TINY)
    return folder, said


def run_of(recipe, runs, **given):
    further = {**base.BEST, **TINY, **given}
    return base.run_of(Part("", recipe), 0, runs, None, "quick", further).folder


def test_every_report_trains_by_recipes_that_there_are_and_shows_scores_that_there_are():
    for name, report in REPORTS.items():
        assert report.parts, name
        for part in report.parts:
            assert part.recipe in kf.list_recipes()
            assert set(part.states) <= {column.title for column in report.columns}
        for column in report.columns:
            assert column.score in OF[column.of]
        parts = {part.name for part in report.parts}
        assert len(parts) == len(report.parts), name
        for figure in report.figures:
            assert (figure.part in parts) != bool(figure.plot), (name, figure)
            assert sum(map(bool, figure[2:6])) == 1, (name, figure)  # one of files, curves, ...
            assert figure.draw in {"", *DRAWINGS}
            assert set(figure.plot) <= {column.title for column in report.columns}
    assert set(list_reports()) == {
        "zhang-table1",
        "zhang-figures",
        "zhang-gamma",
        "zhang-training-data",
        "report-table41",
        "report-table42",
        "report-figures",
        "gruber-figure2",
        "slides-cyclegan",
        "sfu-figures",
        "sfu-figure6",
        "equal-protocol",
    }


@pytest.mark.parametrize("budget", ["quick", "paper"])
def test_all_models_under_one_protocol_see_the_same_part_of_a_picture(budget, tmp_path):
    crops = set()
    for part in REPORTS["equal-protocol"].parts:
        model = load_recipe(part.recipe).model
        plan = resolve(model, part.recipe, budget=budget, data="celeba:", **part.arguments)
        crops.add(plan.crop)
        if budget == "quick":  # whose recipes say none: other reports use the same run
            plain = base.run_of(Part("", part.recipe), 0, tmp_path, None, budget, {}).folder
            assert base.run_of(part, 0, tmp_path, None, budget, {}).folder == plain
    assert crops == {"center"}


def test_the_curves_of_a_documents_figures_are_logged_by_its_models():
    figures = [f for report in REPORTS.values() for f in report.figures if f.curves]
    assert {f.part for f in figures} >= {"report-vae", "report-gan", "report-vaegan", "zhang-64"}
    for recipe in {f.part for f in figures}:
        loaded = load_recipe(recipe)
        known = kf.models.hyperparameters(loaded.model)
        small = {"filters": 4, "hidden_units": 8, "image_size": 32}
        model = kf.create_model(loaded.model, **{k: v for k, v in small.items() if k in known})
        for figure in figures:
            assert figure.part != recipe or set(figure.curves) <= set(model.log_names), figure


def test_curves_are_drawn_and_a_training_is_told_of(table1, tmp_path, monkeypatch):
    curves = {"generator_loss": "of the generator", "discriminator_real": "of real faces"}
    columns = [Column(TRAINING[name].title, name, form=".4f", of="training") for name in TRAINING]
    figures = [Figure("Losses", "zhang-dcgan", curves=curves)]
    figures.append(Figure("Blends", "zhang-dcgan", "blends.png"))  # which this run has not
    part, said = Part("GAN", "zhang-dcgan"), []
    monkeypatch.setitem(REPORTS, "mine", Report("t", "d", "s", [part], columns, figures))
    monkeypatch.setattr(trainings, "begin", lambda words, log: pytest.fail("it trained anew"))
    runs = table1[0].parent / "runs"
    out = tmp_path / "mine"
    reproduce("mine", count=20, out=out, runs=runs, print_fn=said.append, **TINY)
    [told] = [line for line in said if line.startswith("Not in the report: Blends.")]
    assert "lacks blends.png" in told and "keras-faces resume" in told
    with Image.open(out / "figures/zhang-dcgan-generator_loss-discriminator_real.png") as picture:
        assert picture.size == (800, 260)
    model = kf.load_model(run_of("zhang-dcgan", runs))
    learnt = sum(
        np.size(v)
        for network in (model.generator, model.discriminator)
        for v in network.trainable_weights
    )
    values = results(out)["rows"][0]["values"]
    assert values["parameters"] == [learnt]
    assert values["minutes of training"][0] > 0
    images = values[TRAINING["images_per_second"].title][0]
    assert images * 60 * values["minutes of training"][0] == pytest.approx(2 * 200)


@pytest.mark.parametrize(
    ("asked_for", "words"),
    [
        ("distinct_nearest", "--scores distinct_nearest"),
        (
            ("distinct_nearest", "laplacian_variance"),
            "--scores distinct_nearest laplacian_variance",
        ),
    ],
    ids=["one", "several"],
)
def test_the_scores_while_it_learns_are_those_that_are_named(
    asked_for, words, tmp_path, monkeypatch
):
    def stops(given, log):
        commands.append(" ".join(given))
        raise KeyboardInterrupt

    commands: list[str] = []
    monkeypatch.setattr(trainings, "begin", stops)
    given = {"scores": asked_for, "best": "distinct_nearest", "out": tmp_path / "r"}
    for _ in range(2):  # the second time the folder knows them as the same
        with pytest.raises(KeyboardInterrupt):
            reproduce("zhang-table1", runs=tmp_path / "x", print_fn=lambda line: None, **given)
    assert f" {words} --run " in f"{commands[0]} "


def test_what_the_figures_of_models_that_encode_show_is_drawn_by_their_runs():
    stream = kf.data.open_faces("orl", 32, batch_size=8)
    for name, files in (("sfu-figures", "blends.png"), ("gruber-figure2", "reconstructions.png")):
        [figure] = [figure for figure in REPORTS[name].figures if figure.files == files]
        small = {"image_size": 32, "channels": 1, "filters": 4, "hidden_units": 16}
        model = kf.create_model(load_recipe(figure.part).model, **small)
        assert files in {f"{shown}.png" for shown in model.pictures_of_faces(4, 0, stream)}


def test_the_documents_own_numbers_are_those_of_the_documents():
    table1, table41 = REPORTS["zhang-table1"], REPORTS["report-table41"]
    assert [list(part.states.values()) for part in table1.parts] == [[281, 0], [123, 0], [19, 0]]
    assert [list(part.states.values()) for part in table41.parts] == [
        [1.704, 251.79],
        [2.650, 2506.18],
        [1.231, 1360.62],
    ]
    assert list(table41.real.values()) == [4.239, 1073.71]


def test_a_table_holds_the_scores_of_the_trained_models_beside_the_documents(table1):
    folder, _ = table1
    rows = {row["title"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}
    undetected = "Can't detect face, of 1000"
    assert rows["DCGAN (prior)"]["states"][undetected] == 281
    run = run_of("zhang-dcgan", folder.parent / "runs")
    samples = kf.load_model(run / "model.keras").generate(20, seed=0)
    values = rows["DCGAN (prior)"]["values"]
    expected = 1000 * (1 - kf.metrics.face_detection_rate(samples))
    assert values[undetected] == [pytest.approx(expected)]
    difference = kf.metrics.mean_pair_difference(samples)
    assert values["mean pair difference"] == [pytest.approx(difference)]
    text = (folder / "report.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| DCGAN (prior)"))
    assert f"| {difference:.1f} ± " in line
    samples = kf.load_model(run / "best.keras").generate(20, seed=0)
    assert rows["DCGAN (prior), best step"]["values"]["mean pair difference"] == [
        pytest.approx(kf.metrics.mean_pair_difference(samples))
    ]
    assert rows["DCGAN (prior), best step"]["states"] == {}
    assert "| 281 |" in line
    assert "Protocol: source orl" in text


def test_of_several_seeds_mean_and_deviation_are_shown():
    column = Column("sharpness", "laplacian_variance", form=".1f")
    row = Row("VAE", {}, {"sharpness": [10.0, 13.0, None]}, {"sharpness": [1.0, 2.0, None]})
    assert row.cell(column) == "11.5 ± 2.1 (2 of 3 seeds)"
    row = Row("VAE", {}, {"sharpness": [None, 13.0]}, {"sharpness": [None, 2.0]})
    assert row.cell(column) == "13.0 ± 2.0 (1 of 2 seeds)"
    row = Row("VAE", {}, {"sharpness": [7.0, 7.0]}, {"sharpness": [1.0, 1.0]})
    assert row.cell(column) == "7.0 ± 0.0"
    parameters = Row("VAE", {}, {"sharpness": [7.0, 7.0]}, {"sharpness": [None, None]})
    assert parameters.cell(column) == "7.0"
    alone = Row("VAE", {}, {"sharpness": [10.0]}, {"sharpness": [1.0]})
    assert alone.cell(column) == "10.0 ± 1.0"
    assert Row("VAE", {}, {"sharpness": [None]}, {"sharpness": [None]}).cell(column) == "none"
    assert Row("VAE", {}, {}, {}).cell(column) == ""


def test_real_faces_are_not_trained_so_their_errors_are_those_of_the_pictures():
    column = Column("sharpness", "laplacian_variance", form=".1f")
    real = Row("real faces", {}, {"sharpness": [10.0, 12.0]}, {"sharpness": [1.0, 2.0]}, False)
    assert real.cell(column) == "11.0 ± 1.5"


def test_a_score_that_no_row_has_is_told_as_not_computed_and_titles_say_whose_they_are():
    columns = [
        Column("Inception Score", "inception_score", same_measure=False),
        Column("Laplacian variance", "laplacian_variance", form=".1f"),
    ]
    report = Report("t", "d", "s", [Part("VAE", "report-vae")], columns)
    states = {"Inception Score": 1.7, "Laplacian variance": 251.79}
    values = {"Laplacian variance": [10.0]}
    rows = [Row("VAE", states, values, {"Laplacian variance": [1.0]})]
    lines = as_markdown(report, rows, [], {"parts": [], "claims": []}).splitlines()
    assert lines[4] == (
        "| faces | Inception Score: document (*) | Inception Score [Inception Score (keras)]: here "
        "| Laplacian variance: document | Laplacian variance: here |"
    )
    assert lines[6] == "| VAE | 1.7 | not computed | 251.79 | 10.0 ± 1.0 |"


def test_a_column_that_nobody_could_compute_and_no_document_states_is_left_out():
    columns = [
        Column("FID", "frechet_inception_distance"),
        Column("found", "face_detection_rate", form=".1%"),
    ]
    report = Report("t", "d", "s", [Part("VAE", "report-vae")], columns)
    rows = [Row("VAE", {}, {"found": [0.5]}, {"found": [0.1]})]
    missing = {"title": "VAE", "seed": 0, "command": "c", "minutes": 1, "steps": 2, "best": None}
    missing |= {
        "protocol": None,
        "needs": None,
        "not_computed": {"frechet_inception_distance": "No weights."},
    }
    page = as_markdown(report, rows, [], {"parts": [missing], "claims": []})
    assert page.splitlines()[4:7] == [
        "| faces | found [face detection rate] |",
        "| --- | --- |",
        "| VAE | 50.0% ± 10.0% |",
    ]
    assert "Not computed: FID" in page and "No weights." in page


def test_each_part_says_how_to_train_the_same(table1, tmp_path):
    folder, _ = table1
    parts = json.loads((folder / "results.json").read_text())["parts"]
    assert [part["title"] for part in parts] == ["DCGAN", "WGAN", "Our model (BEGAN)"]
    words = parts[0]["command"].split()
    assert parts[0]["steps"] == 2
    assert main([*words[1:], "--run", str(tmp_path / "again"), "--count", "0"]) == 0
    there = run_of("zhang-dcgan", folder.parent / "runs")
    first, again = (kf.load_model(path) for path in (there, tmp_path / "again"))
    for one, other in zip(first.weights, again.weights, strict=True):
        assert np.array_equal(one, other)


def test_the_page_needs_no_other_file_and_shows_every_figure(table1):
    folder, _ = table1
    page = (folder / "report.html").read_text()
    assert page.count("src='data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert "281" in page
    assert "zhang-wgan" in page
    for name in ("zhang-dcgan", "zhang-wgan", "zhang-64"):
        with Image.open(folder / "figures" / f"{name}-samples-prior.png") as picture:
            assert picture.size == (8 * 34 + 2, 8 * 34 + 2)
        linked = re.search(rf"!\[.*\]\((figures/{name}-samples-prior.png)\)", page_text(folder))
        assert (folder / linked[1]).is_file()


def page_text(folder) -> str:
    return (folder / "report.md").read_text()


def test_what_is_done_is_not_done_again_and_what_was_stopped_goes_on(table1, tmp_path, monkeypatch):
    shutil.copytree(table1[0].parent, tmp_path / "all")
    folder, runs = tmp_path / "all" / table1[0].name, tmp_path / "all" / "runs"
    shutil.rmtree(run_of("zhang-64", runs))
    (run_of("zhang-wgan", runs) / "model.keras").unlink()  # stopped before its end
    given = {"count": 20, "out": folder, "runs": runs, "print_fn": lambda line: None, **TINY}
    done = []

    def stops(words, log):
        done.append(words[0])
        if words[0] == "train":
            raise KeyboardInterrupt
        return run(words)

    run = trainings.begin
    monkeypatch.setattr(trainings, "begin", stops)
    with pytest.raises(KeyboardInterrupt):
        reproduce("zhang-table1", **given)
    assert done == ["resume", "train"]
    monkeypatch.setattr(trainings, "begin", run)
    reproduce("zhang-table1", **given)
    assert results(folder)["rows"] == results(table1[0])["rows"]
    monkeypatch.setattr(trainings, "begin", stops)
    reproduce("zhang-table1", **given)
    assert done == ["resume", "train"]


def test_pictures_that_were_moved_train_nothing_anew_and_other_pictures_do(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    first = tmp_path / "first"
    first.mkdir()
    for number in range(24):
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(first / f"{number}.png")
    parts = [Part("GAN", "report-gan")]
    columns = [Column("sharp", "laplacian_variance")]
    monkeypatch.setitem(REPORTS, "mine", Report("t", "d", "s", parts, columns))
    given = {"count": 4, "out": tmp_path / "out", "runs": tmp_path / "runs", **TINY}
    given |= {"batch_size": 8, "best": "laplacian_variance", "scores": "laplacian_variance"}
    given["print_fn"] = lambda line: None
    done = []

    def told(words, log):
        done.append(words)
        return run(words)

    run = trainings.begin
    monkeypatch.setattr(trainings, "begin", told)
    reproduce("mine", data=first, **given)
    rows = results(tmp_path / "out")["rows"]
    second = first.rename(tmp_path / "second")
    next((tmp_path / "runs").glob("*/scores-model-4.json")).unlink()  # so that they are read again
    reproduce("mine", data=second, **given)
    assert [words[0] for words in done] == ["train"]
    assert results(tmp_path / "out")["rows"] == rows
    next((tmp_path / "runs").glob("*/model.keras")).unlink()  # as if stopped before its end
    reproduce("mine", data=second, **given)
    assert done[-1][0] == "resume" and str(second) in done[-1]
    (second / "0.png").unlink()
    with pytest.raises(kf.UserError, match="begun with other arguments"):
        reproduce("mine", data=second, **given)
    reproduce("mine", data=second, **given | {"out": tmp_path / "other"})
    assert [words[0] for words in done] == ["train", "resume", "train"]


def test_reports_share_the_runs_of_recipes_that_say_the_same_and_score_only_what_is_missing(
    table1, tmp_path, monkeypatch
):
    shutil.copytree(table1[0].parent, tmp_path / "all")
    runs = tmp_path / "all" / "runs"
    assert run_of("report-gan", runs) == run_of("zhang-dcgan", runs)
    others = {"steps": 3}, {"score_every": 2}, {"best": "laplacian_variance"}
    assert len({run_of("zhang-dcgan", runs, **given) for given in ({}, *others)}) == 4
    parts = [Part("GAN", "report-gan")]
    columns = [
        Column("found", "face_detection_rate"),
        Column("sharp", "laplacian_variance"),
    ]
    monkeypatch.setitem(REPORTS, "mine", Report("t", "d", "s", parts, columns))
    asked = []

    def scoring(*given, **named):
        asked.append(given[5])
        return scores.score(*given, **named)

    monkeypatch.setattr(base, "score", scoring)
    monkeypatch.setattr(trainings, "begin", lambda words, log: pytest.fail("it trained anew"))
    given = {"count": 20, "runs": runs, "print_fn": lambda line: None, **TINY}
    reproduce("mine", out=tmp_path / "mine", **given)
    assert asked == [["laplacian_variance"]] * 2  # the last model and the best
    row = results(tmp_path / "mine")["rows"][1]
    samples = kf.load_model(run_of("report-gan", runs)).generate(20, seed=0)
    assert row["values"]["found"] == [pytest.approx(kf.metrics.face_detection_rate(samples))]
    sharp = kf.metrics.laplacian_variance(samples).mean()
    assert row["values"]["sharp"] == [pytest.approx(sharp)]


def test_kept_scores_that_are_damaged_or_of_another_protocol_are_made_anew(
    table1, tmp_path, monkeypatch
):
    shutil.copytree(table1[0].parent, tmp_path / "all")
    folder, runs = tmp_path / "all" / table1[0].name, tmp_path / "all" / "runs"
    places = [run_of(name, runs) for name in ("zhang-dcgan", "zhang-wgan", "zhang-64")]
    damaged, older, other = (place / "scores-model-20.json" for place in places)
    damaged.write_text("{")
    older.write_text(json.dumps({**json.loads(older.read_text()), "format": 1}))
    # Another report's, on the descriptors of another network.
    kept = json.loads(other.read_text())
    del kept["sha256"]  # which holds for what was written
    kept["needs"]["descriptors"] = {"descriptors": "another"}
    kept["rows"]["prior"]["face_detection_rate"]["value"] = 0.123
    for records in kept["rows"].values():
        records["near_duplicates"] = records.pop("unidentified")
    other.write_text(json.dumps(kept))
    (folder / "report.json").write_text("")
    monkeypatch.setattr(trainings, "begin", lambda words, log: pytest.fail("it trained anew"))
    said = []
    reproduce("zhang-table1", count=20, out=folder, runs=runs, print_fn=said.append, **TINY)
    assert results(folder)["rows"] == results(table1[0])["rows"]
    assert any(line.endswith(f"another version: {older}") for line in said)
    monkeypatch.setattr(base, "score", lambda *given, **named: pytest.fail("it scored anew"))
    reproduce("zhang-table1", count=20, out=folder, runs=runs, print_fn=said.append, **TINY)


def test_the_notes_say_under_which_protocol_what_is_missing_and_what_the_errors_are():
    columns = [
        Column("score", "inception_score"),
        Column("precision", "precision"),
        Column("found", "face_detection_rate"),
    ]
    report = Report("t", "d", "s", [], columns)
    part = {
        "title": "GAN",
        "seed": 0,
        "protocol": {"source": "orl", "generated": 1000, "seed": 0},
        "needs": {"detector": {"detector": "dlib"}, "descriptors": {"descriptors": "unasked"}},
        "not_computed": dict.fromkeys(("inception_score", "precision"), "No weights."),
    }
    few = {**part, "title": "CycleGAN", "protocol": {**part["protocol"], "generated": 360}}
    protocol, errors, missing = page._notes(report, {"parts": [part, few]})
    assert protocol == (
        "Protocol: source orl, generated 1000 (CycleGAN 360), seed 0, detector dlib"
    )
    assert errors.startswith("± is the standard error")
    assert missing == (
        "Not computed: score [Inception Score (keras)], precision [precision (keras)]. No weights."
    )
    _, errors, _ = page._notes(report, {"parts": [part, {**part, "seed": 1}]})
    assert "deviation over the seeds" in errors


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


class Process:
    """A training that ends when it is looked at for so many times."""

    def __init__(self, looks=1, code=0, stop=None):
        self.looks, self.code, self.stop, self.done = looks, code, stop, []

    def poll(self):
        self.looks -= 1
        if self.stop and self.looks == 0:
            raise self.stop
        return self.code if self.looks <= 0 else None

    def wait(self):
        self.done.append("wait")

    def terminate(self):
        self.done.append("terminate")

    kill = None  # would lose what was learnt since the last checkpoint


def plan_of(folder, *names) -> list:
    part = Part("GAN", "report-gan")
    return [
        trainings.Planned(part._replace(title=name), 0, Run(folder / name), ["train", name], None)
        for name in names
    ]


def processes(monkeypatch, **by_name):
    """Let these be what is begun, and return the names in the order in which they are."""
    begun = []

    def begin(words, log):
        begun.append(words[1])
        return by_name[words[1]]

    monkeypatch.setattr(trainings, "begin", begin)
    monkeypatch.setattr(trainings, "POLLED", 0)
    return begun


def test_a_training_that_fails_says_so_and_the_others_are_trained(tmp_path, monkeypatch, capfd):
    process = trainings.begin(["list", "nothing"])
    assert process.wait() == 2
    assert "nothing" in capfd.readouterr().err
    begun = processes(monkeypatch, a=Process(code=2), b=Process(), c=Process(code=-9))
    done, said = [], []
    failed = trainings.train(plan_of(tmp_path, "a", "b", "c"), 1, done.append, said.append)
    assert begun == ["a", "b", "c"]
    assert [one.told for one in done] == ["b, seed 0"]
    assert list(failed) == ["a, seed 0", "c, seed 0"]
    assert failed["a, seed 0"].startswith("failed: keras-faces train a --run ")
    assert said[0] == "Training 1 of 3: a, seed 0, recipe report-gan"
    assert said[1].startswith("This failed, see above: keras-faces train a --run ")


def test_so_many_train_at_the_same_time_and_each_end_lets_the_next_begin(tmp_path, monkeypatch):
    names = "abcd"
    counts = dict(zip(names, (5, 2, 2, 9)))
    begun = processes(monkeypatch, **{name: Process(looks) for name, looks in counts.items()})
    seen, said = [], []
    chosen = plan_of(tmp_path, *names)
    failed = trainings.train(
        chosen, 2, lambda one: seen.append((one.part.title, "".join(begun))), said.append
    )
    assert not failed
    assert seen == [("b", "ab"), ("c", "abc"), ("a", "abcd"), ("d", "abcd")]
    assert f"; what it says: {tmp_path / 'a.log'}" in said[0]


def test_what_a_training_says_beside_others_stands_in_a_file_of_its_own(tmp_path):
    log = tmp_path / "runs" / "a.log"
    assert trainings.begin(["list", "nothing"], log).wait() == 2
    assert "nothing" in log.read_text()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system shares no cores out")
@pytest.mark.parametrize(
    ("slot", "jobs", "cores", "expected"),
    [(0, 1, 4, 4), (0, 2, 4, [0, 2]), (1, 2, 3, [1]), (2, 3, 2, [0]), (1, 2, 1, [0])],
)
def test_trainings_side_by_side_share_the_cores(slot, jobs, cores, expected, monkeypatch):
    asked, own = [], set(range(cores))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: own)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, given: asked.append(given))
    with trainings._share_of_cores(slot, jobs):
        assert asked == ([] if jobs == 1 else [expected])
    assert asked[1:] == ([] if jobs == 1 else [own])


@pytest.mark.parametrize(
    ("stop", "passed_on"),
    [(KeyboardInterrupt(), False), (Interrupted("", signal.SIGTERM), True)],
    ids=["Ctrl-C, which reaches all", "SIGTERM"],
)
@pytest.mark.parametrize("scoring", [False, True])
def test_trainings_that_are_stopped_have_time_to_save(
    scoring, stop, passed_on, tmp_path, monkeypatch
):
    def then(one):
        raise stop

    a, b = Process(99), Process(1, stop=None if scoring else stop)
    processes(monkeypatch, a=a, b=b)
    with pytest.raises(KeyboardInterrupt) as raised:
        trainings.train(plan_of(tmp_path, "a", "b"), 2, then, lambda line: None)
    assert raised.value is stop
    ended = [*["terminate"] * passed_on, "wait"]
    assert a.done == ended
    assert b.done == ([] if scoring else ended)


def test_who_is_stopped_a_second_time_still_waits_for_what_is_saved():
    class Slow(Process):
        def wait(self):
            super().wait()
            if self.done.count("wait") == 1:
                raise Interrupted("", signal.SIGTERM)

    process = Slow()
    trainings._await(process)
    assert process.done == ["wait", "terminate", "wait"]


@pytest.mark.parametrize("code", [130, 143])
def test_a_training_that_is_stopped_stops_the_others(code, tmp_path, monkeypatch):
    a, b = Process(99), Process(code=code)
    processes(monkeypatch, a=a, b=b)
    with pytest.raises(KeyboardInterrupt):
        trainings.train(plan_of(tmp_path, "a", "b"), 2, pytest.fail, lambda line: None)
    assert a.done == ["terminate", "wait"]


def test_scores_of_different_protocols_do_not_stand_in_one_column(table1):
    folder, _ = table1
    runs = folder.parent / "runs"
    place = run_of("zhang-wgan", runs) / "scores-model-20.json"
    before = place.read_text()
    kept = json.loads(before)
    del kept["sha256"]  # which holds for what was written
    kept["protocol"]["crop"] = "squash"
    place.write_text(json.dumps(kept))
    try:
        with pytest.raises(kf.UserError, match=r"DCGAN and of WGAN .* crop center and squash"):
            reproduce("zhang-table1", count=20, out=folder, runs=runs, print_fn=print, **TINY)
    finally:
        place.write_text(before)


def test_reconstructions_are_scored_where_a_report_is_about_them(tmp_path, capsys):
    tiny = {"hidden_units": 16}
    given = {"count": 12, "out": tmp_path / "g", "runs": tmp_path, **TINY, **tiny}
    reproduce("gruber-figure2", print_fn=lambda line: None, **given)
    rows = json.loads((tmp_path / "g" / "results.json").read_text())["rows"]
    (ours,) = rows  # reconstructions have no row of real faces beside them
    assert ours["title"] == "VAEGAN"
    model = kf.load_model(run_of("gruber-figure2", tmp_path, **tiny))
    faces = kf.data.open_faces("orl", 32, 1, "all", progress=False).sample(12, 0)
    expected = kf.metrics.ssim(faces, model.reconstruct(faces)).mean()
    assert ours["values"]["SSIM"] == [pytest.approx(expected)]
    assert (tmp_path / "g" / "figures" / "gruber-figure2-reconstructions.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "zhang-table2"}, "no report named 'zhang-table2'.*'zhang-table1'"),
        ({"budget": "cheap"}, "budget must be one of paper, quick"),
        ({"budget": "paper"}, "CelebA. Give your copy"),
        ({"count": 1}, "count must be a whole number of 2 or more"),
        ({"seeds": []}, "Give seeds"),
        ({"seeds": [1, 1]}, "Give seeds, each once"),
        ({"seeds": [-1]}, "seed must be a whole number of 0 or more"),
        ({"score_every": 0}, "score_every must be a whole number of 1 or more"),
        ({"best": "face_detecton"}, "while it learns named 'face_detecton'.*'face_detection_rate'"),
        ({"data": "nowhere"}, "no source of faces .*named 'nowhere'"),
    ],
)
def test_reports_that_cannot_be_made_are_refused_before_anything_is_trained(
    arguments, message, tmp_path
):
    given = {"name": "zhang-table1", "out": tmp_path / "r", "runs": tmp_path / "x", **arguments}
    with pytest.raises(kf.UserError, match=message):
        reproduce(**given)
    assert not (tmp_path / "r").exists()


def test_a_folder_of_something_else_or_of_other_arguments_is_refused(table1, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(kf.UserError, match="holds something else"):
        reproduce("zhang-table1", out=tmp_path)
    with pytest.raises(kf.UserError, match="steps: 2 then, 3 now"):
        reproduce("zhang-table1", out=table1[0], runs=tmp_path / "x", **{**TINY, "steps": 3})
    assert main(["reproduce", "zhang-tabel1"]) == 2
    assert "zhang-table1" in capsys.readouterr().err
    assert main(["list", "reports"]) == 0
    assert "Table 4.1" in capsys.readouterr().out


def test_a_classifiers_gain_stands_in_a_table_with_what_it_says_in_words(tmp_path, monkeypatch):
    commands = []
    gains = iter([0.04, 0.06])

    def scored(report, run, data, seed, count, print_fn):
        values = {"real": 0.7, "generated": 0.6, "both": 0.75, "gain": next(gains)}
        scores = {name: {"value": value, "std": 0.01} for name, value in values.items()}
        protocol = {"classifier": "ridge", "generated": count}
        return None, None, None, {"protocol": protocol, "scores": scores, "left_out": {}}

    monkeypatch.setattr(trainings, "begin", lambda words, *given: commands.append(" ".join(words)))
    monkeypatch.setattr(base, "_training", lambda *given: {"minutes": 1.0, "steps": 2})
    monkeypatch.setattr(base, "_scored", scored)
    out = reproduce(
        "zhang-training-data",
        seeds=[0, 1],
        count=30,
        out=tmp_path / "out",
        runs=tmp_path / "runs",
        print_fn=lambda line: None,
    )
    assert all("--split train --test-fraction 0.5" in words for words in commands)
    text = (out / "report.md").read_text()
    assert "| CVAE | 70.0% ± 0.0% | 60.0% ± 0.0% | 75.0% ± 0.0% | 5.0% ± 1.4% |" in text
    assert "Generated faces help: with them" in text and "+5.0% ± 1.4%" in text
    assert "classifier ridge" in text and "generated 30" in text
    assert "Generated faces help" in (out / "report.html").read_text()
    assert results(out)["verdict"].startswith("Generated faces help")
