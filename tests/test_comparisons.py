"""Comparisons of one's own: the file, what is refused in it, parts, and going on."""

import json
import re
import shutil
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

import keras_faces as kf
from keras_faces import session
from keras_faces.cli import main
from keras_faces.commands import parse
from keras_faces.pictures import PlottedValues, plot_values
from keras_faces.plan import TrainingPlan
from keras_faces.reports import base, page, reproduce, trainings
from keras_faces.reports.comparisons import read_comparison
from keras_faces.reports.rows import Row
from keras_faces.reports.schema import Figure, Part, Report, sweep

DOCS = Path(__file__).parent.parent / "docs" / "comparisons.md"
TINY = """steps = 2
batch_size = 200
image_size = 32
filters = 4
hidden_units = 16
latent_dim = 4
"""
SWEEP = """
scores = "laplacian_variance"
[[trainings]]
title = "VAE"
recipe = "report-vae"
image_size = 32
filters = 2
hidden_units = 4
kl_weight = [0.3, 0.5, 1.0]
"""


def written(folder, text) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def trained_in_this_process(monkeypatch):
    """Processes take seconds to start; `test_reports.py` has some."""
    commands = []
    monkeypatch.setattr(session, "_export", lambda run, model: [])  # takes as long again

    def begin(words, log):
        commands.append(words)
        assert main(words) == 0

    monkeypatch.setattr(trainings, "begin", begin)
    return commands


def test_the_example_of_the_docs_makes_a_report(tmp_path, trained_in_this_process):
    [text] = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), flags=re.S)
    whole = read_comparison(written(tmp_path, text))
    assert whole.defaults["seeds"] == [0, 1, 2]
    assert len(whole.parts) == 5  # the array of the docs has three times as many
    assert "--array=1-15" in DOCS.read_text()
    text = text.replace("batch_size = 32\n", "").replace("steps = 1200\n", TINY)
    text = text.replace("kl_weight = [0.1, 0.3, 1.0, 3.0]", "kl_weight = [0.1, 3.0]")
    given = {"out": tmp_path / "out", "runs": tmp_path / "runs", "print_fn": lambda line: None}
    reproduce(written(tmp_path, text), seeds=[0], count=20, **given)
    told = [" ".join(words) for words in trained_in_this_process]
    assert [re.findall("train [a-z]+|--kl-weight [0-9.]+", one) for one in told] == [
        ["train vae", "--kl-weight 0.1"],
        ["train vae", "--kl-weight 3.0"],
        ["train autoencoder"],
    ]
    found = results(tmp_path / "out")
    assert [part["title"] for part in found["parts"]] == [
        "VAE, kl weight 0.1",
        "VAE, kl weight 3.0",
        "Autoencoder",
    ]
    rows = {row["title"]: row["values"] for row in found["rows"]}
    columns = ["face detection rate", "mean pair difference", "distinct nearest", "PSNR (dB)"]
    assert list(rows["Autoencoder (prior)"]) == columns
    run = next((tmp_path / "runs").glob("autoencoder-plan-*-seed-0"))
    samples = kf.load_model(run).generate(20, seed=0, sampler="prior")
    expected = kf.metrics.mean_pair_difference(samples)
    assert rows["Autoencoder (prior)"]["mean pair difference"] == [pytest.approx(expected)]
    with Image.open(tmp_path / "out" / "figures" / "kl_weight.png") as picture:
        assert picture.size == (1200, 600)  # four plots, three in a row
    html = (tmp_path / "out" / "report.html").read_text()
    assert "The weight of the KL term" in html and "<h2>Scores over kl weight</h2>" in html
    # 8 faces of 32 pixels beside each other, twice as large.
    assert (
        html.count(f"class='pixels' width='{2 * (8 * 34 + 2)}'") == 6
    )  # of three models, two samplers
    assert "image-rendering: pixelated" in html


def test_a_sweep_trains_every_combination_of_its_values(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('model = "vae"\n[paper]\ndata = "orl"\n')
    text = f"""
    [[trainings]]
    model = ["dcgan", "wgan"]
    learning_rate = [1e-4, 1e-3]
    grid_epochs = [1, 2]
    filters = [8, 16, 32]
    [[trainings]]
    title = "mine"
    recipe = {json.dumps(str(own))}
    mirror = [true, false]
    """
    report = read_comparison(written(tmp_path, text))
    gans = [part for part in report.parts if part.recipe is None]
    assert [(p.model, p.arguments["learning_rate"], p.arguments["filters"]) for p in gans] == list(
        product(["dcgan", "wgan"], [1e-4, 1e-3], [8, 16, 32])
    )
    assert all(part.arguments["grid_epochs"] == [1, 2] for part in gans)  # is a list itself
    assert gans[0].title == "dcgan, learning rate 0.0001, filters 8"
    assert [p.title for p in report.parts[-2:]] == ["mine, mirror True", "mine, mirror False"]
    assert [part.trains for part in report.parts[-2:]] == ["vae", "vae"]
    assert len({part.name for part in report.parts}) == len(report.parts)
    assert all(re.fullmatch(r"[\w.+-]{1,70}", part.name) for part in report.parts)
    plots = [figure.over for figure in report.figures if figure.plot]
    assert plots == ["learning_rate", "filters", "mirror"]
    assert report.title == "mine"
    named = {column.score for column in report.columns}
    assert named == set(kf.metrics.scores.CHEAP_SCORES)


GOOD = '[[trainings]]\nrecipe = "zhang-64"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"trainings is missing \(a list\)"),
        ("trainings = []", "trainings is an empty list"),
        ("trainings = 3", "trainings must be a list"),
        ("trainings = [3]", "trainings.0 must be an object"),
        (f"sedes = [1]\n{GOOD}", "no key named 'sedes'.*'seeds'"),
        (f"seeds = []\n{GOOD}", "seeds is an empty list"),
        (f"seeds = 1\n{GOOD}", "seeds must be a list"),
        (f"seeds = [-1]\n{GOOD}", "seeds.0 must be a whole number from 0"),
        (f"scores = []\n{GOOD}", "scores is an empty list"),
        (f'scores = ["psrn"]\n{GOOD}', "no score named 'psrn'.*'psnr'"),
        (f'best = "psnr"\n{GOOD}', "no score named 'psnr'"),
        (f'budget = "cheap"\n{GOOD}', "no budget named 'cheap'"),
        (f"count = 0\n{GOOD}", "count must be a whole number of 1 or more"),
        ("[[trainings]]\ngamma = 1.0", "number 1 must have a recipe or a model.*neither"),
        (f'{GOOD}model = "began"', "not both. Received: recipe and model"),
        ('[[trainings]]\nrecipe = "zhang-65"', "no recipe named 'zhang-65'.*'zhang-64'"),
        ('[[trainings]]\nrecipe = "nowhere.toml"', "Cannot read the recipe 'nowhere.toml'"),
        ('[[trainings]]\nmodel = "vea"', "no model named 'vea'.*'vae'"),
        ("[[trainings]]\nmodel = 3", "number 1: model must be text"),
        ("[[trainings]]\nmodel = []", "number 1: model is an empty list"),
        (f"{GOOD}title = 3", "number 1: title must be text"),
        (f"{GOOD}gama = [0.1, 1]", "number 1: There is no argument of 'began' named 'gama'.*gamma"),
        (f"{GOOD}gama = [1]\nfliters = [2]", "no argument of 'began' named 'gama'"),
        (f"{GOOD}gamma = []", "number 1: gamma is an empty list"),
        (f'{GOOD}gamma = "much"', "number 1: gamma must be a finite number"),
        (f'{GOOD}gamma = [0.1, "much"]', "number 1: gamma must be a finite number"),
        (f"{GOOD}filters = [8, 1.5]", "number 1: filters must be a whole number"),
        (f"{GOOD}mirror = 1", "number 1: mirror must be true or false"),
        (f"{GOOD}grid_epochs = [[1], [2]]", "number 1: grid_epochs.0 must be a whole number"),
        (f'{GOOD}crop = ["centre"]', "number 1: There is no crop named 'centre'.*'center'"),
        (f'{GOOD}generator_architecture = "x"', "generator_architecture must be one of"),
        (f"{GOOD}seed = 3", "seed holds for all trainings.* Give seeds at the top"),
        (f'{GOOD}data = "orl"', "data holds for all trainings.* Give data at the top"),
        (f"{GOOD}{GOOD}", "trained twice: zhang-64 and zhang-64"),
        (f"{GOOD}gamma = [0.5, 0.5]", "trained twice: zhang-64, gamma 0.5 and zhang-64, gamma 0.5"),
        (f"{GOOD}gamma = 1.0\n{GOOD}gamma = 0.5", "Two trainings are called 'zhang-64'"),
        (
            f"{GOOD}gamma = {[float(n) for n in range(99)]}\nfilters = {[*range(1, 99)]}",
            "9,702 trainings, one for each combination of gamma, filters",
        ),
        ("[[trainings]\n", "Expected"),
        ("\x00", "mine.toml"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text, message, tmp_path):
    with pytest.raises(kf.UserError, match=message) as error:
        read_comparison(written(tmp_path, text))
    assert "mine.toml'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("image_size = [32, 64]", "image size 64' see other pictures.*: image_size 32 and 64"),
        ('crop = ["center", "squash"]', "crop center and squash"),
        ('split = ["train", "all"]', "split train and all"),
        ("channels = [1, 3]", "channels 1 and 3"),
        ("filters = [8, -3]", "vae, filters -3: filters must be 1 or more"),
        ("steps = 0", "steps must be above 0"),
        ("steps = 3\nepochs = 1", "only one of epochs, steps and minutes"),
        ('labels = "attributes"', "VAE learns no conditions"),
    ],
)
def test_trainings_that_cannot_be_compared_or_made_are_refused_before_any(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainings, "begin", lambda words, log: pytest.fail("it trained"))
    path = written(tmp_path, f'[[trainings]]\nmodel = "vae"\n{arguments}')
    with pytest.raises(kf.UserError, match=message):
        reproduce(path, out=tmp_path / "out", runs=tmp_path / "runs")
    assert not (tmp_path / "out").exists()


def test_a_command_says_what_is_wrong_in_a_line(tmp_path, capsys):
    assert main(["reproduce", written(tmp_path, GOOD + "gama = 1.0")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "'gamma'" in err
    assert main(["reproduce", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml': No such file" in capsys.readouterr().err


def test_the_command_of_a_training_says_its_arguments(tmp_path):
    text = """
    [[trainings]]
    model = "began"
    mirror = true
    strict = false
    skip_connections = true
    augment = ""
    learning_rate = 1e-5
    grid_epochs = [3, 4]
    minutes = 0.5
    """
    [part] = read_comparison(written(tmp_path, text)).parts
    words = base._words(part, 7, ["orl", "orl"], "quick", part.arguments)
    meant = parse(words)[1].arguments
    assert {name: meant[name] for name in part.arguments} == part.arguments
    assert (meant["seed"], list(meant["data"])) == (7, ["orl", "orl"])


# Parts


@pytest.fixture
def imagined(tmp_path, monkeypatch):
    """Trainings and scores that take no time; returns the names of runs that were trained."""
    trained = []

    def begin(words, log):
        name = Path(words[words.index("--run") + 1])
        trained.append((words[words.index("--kl-weight") + 1], words[words.index("--seed") + 1]))
        name.mkdir(parents=True)
        (name / "model.keras").touch()

    def scored(report, run, data, seed, count, print_fn):
        record = {"value": 10.0 + seed, "std": 1.0}
        rows = {row: {"laplacian_variance": record} for row in ("real", "prior")}
        protocol = {"fingerprint": "f", "generated": count, "seed": seed}
        needs = {"pixels": {}}
        return {"rows": rows, "protocol": protocol, "needs": needs}, None, None, None

    monkeypatch.setattr(trainings, "begin", begin)
    monkeypatch.setattr(TrainingPlan, "build", lambda plan: None)
    monkeypatch.setattr(base, "_training", lambda *given: {"minutes": 1.0, "steps": 2})
    monkeypatch.setattr(base, "_scored", scored)
    return trained


def test_parts_train_all_there_is_once_and_the_page_is_made_of_what_is_there(tmp_path, imagined):
    said = []
    path = written(tmp_path, SWEEP)
    given = {"seeds": [0, 1], "out": tmp_path / "out", "runs": tmp_path / "runs"}
    given["print_fn"] = said.append
    reproduce(path, part="4/7", **given)  # of six trainings one
    assert imagined == [("0.3", "1")]
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(
        kf.UserError, match=r"Nothing is trained yet.*kl weight 0.3, seed 0 \(of --part"
    ):
        reproduce(path, **given)
    reproduce(path, part="1/4", **given)
    reproduce(path, part="2/4", **given)
    assert not (tmp_path / "out" / "results.json").exists()
    count = len(imagined)
    reproduce(path, **given)
    assert len(imagined) == count  # not trained
    found = results(tmp_path / "out")
    assert found["missing"] == {
        "VAE, kl weight 1.0, seed 0": "of --part 3/4",
        "VAE, kl weight 0.3, seed 1": "of --part 4/4",
    }
    rows = {row["title"]: row["values"]["laplacian variance"] for row in found["rows"]}
    assert rows["VAE, kl weight 0.3 (prior), 1 of 2 seeds"] == [10.0]
    assert rows["VAE, kl weight 0.5 (prior)"] == [10.0, 11.0]
    assert any("Missing: VAE, kl weight 1.0, seed 0 (of --part 3/4); " in line for line in said)
    assert "Missing: " in (tmp_path / "out" / "report.html").read_text()
    reproduce(path, part="1/1", **given)
    assert sorted(set(imagined)) == sorted(product(("0.3", "0.5", "1.0"), "01"))
    assert len(imagined) == 7  # one was made away with
    reproduce(path, **given)
    found = results(tmp_path / "out")
    assert not found["missing"]
    assert len(found["parts"]) == 6
    reproduce(path, part="8/9", **given)
    assert "Nothing to train: part 8/9 of 6 trainings holds none." in said


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_part_that_is_none_is_refused(part, tmp_path):
    with pytest.raises(kf.UserError, match=r"part must be I/N, such as 1/4"):
        reproduce("zhang-gamma", part=part, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_value_that_is_added_is_trained_alone_and_another_report_needs_another_folder(
    tmp_path, imagined, orl_folder
):
    given = {"out": tmp_path / "out", "runs": tmp_path / "runs", "print_fn": lambda line: None}
    given["data"] = orl_folder
    reproduce(written(tmp_path, SWEEP), **given)
    reproduce(written(tmp_path, SWEEP.replace("0.5", "0.5, 0.7")), **given)
    assert imagined == [("0.3", "0"), ("0.5", "0"), ("1.0", "0"), ("0.7", "0")]
    other = shutil.copy(tmp_path / "mine.toml", tmp_path / "other.toml")
    with pytest.raises(kf.UserError, match=r"report: 'mine.toml' then, 'other.toml' now"):
        reproduce(str(other), **given)


def test_the_page_is_of_what_did_not_fail(tmp_path, imagined, monkeypatch):
    class Failed:
        returncode = 1

        def poll(self):
            return 1

    succeed = trainings.begin
    monkeypatch.setattr(
        trainings, "begin", lambda words, log: Failed() if "0.5" in words else succeed(words, log)
    )
    given = {"out": tmp_path / "out", "runs": tmp_path / "runs", "print_fn": lambda line: None}
    with pytest.raises(kf.UserError, match=r"1 of the trainings failed.*VAE, kl weight 0.5, seed"):
        reproduce(written(tmp_path, SWEEP), **given)
    found = results(tmp_path / "out")
    assert [part["title"] for part in found["parts"]] == [
        "VAE, kl weight 0.3",
        "VAE, kl weight 1.0",
    ]
    assert found["missing"]["VAE, kl weight 0.5, seed 0"].startswith("failed: keras-faces train")
    monkeypatch.setattr(trainings, "begin", lambda words, log: Failed())
    given["out"] = tmp_path / "none"
    with pytest.raises(kf.UserError, match=r"Nothing is trained yet.*failed: keras-faces train"):
        reproduce(written(tmp_path, SWEEP), **{**given, "runs": tmp_path / "others"})


# The plot


def test_scores_are_plotted_over_what_is_swept_with_a_line_for_each_of_the_rest(tmp_path):
    parts = [*sweep("A", None, {"gamma": [2, 1], "filters": [8, 9]}, model="began")]
    parts += [Part("B", "zhang-64")]
    rows = [Row("real faces", {}, {"found": [0.9]}, {"found": [0.1]}, False)]
    for number, part in enumerate(parts):
        values = {"found": [float(number)]}
        rows.append(Row(part.title, {}, values, {"found": [0.1]}, part=part.title))
    figure = Figure("t", plot=["found"], over="gamma")
    plotted = page._plotted(figure, parts, rows)["found"]
    assert plotted.lines == {
        "A, filters 8": {2: (0.0, 0.1), 1: (2.0, 0.1)},
        "A, filters 9": {2: (1.0, 0.1), 1: (3.0, 0.1)},
    }
    assert plotted.real == 0.9
    report = Report("t", "d", "s", parts, figures=[figure])
    (drawn,) = page.make_figures(report, [], rows, tmp_path)
    assert drawn.pictures[0].path == tmp_path / "gamma.png"


@pytest.mark.parametrize(
    ("places", "scale", "expected"),
    [
        ([2.0, 1.0, 10.0], "linear", [1.0, 2.0, 10.0]),
        ([1e-2, 1e-4, 1e-3], "log", [1e-4, 1e-3, 1e-2]),
        ([0, 100], "linear", [0, 100]),
        ([True, False], "linear", [0, 1]),  # words, in their order
        (["cosine", "auto"], "linear", [0, 1]),
        ([1, "auto"], "linear", [0, 1]),
    ],
)
def test_numbers_stand_where_they_are_and_words_in_their_order(
    places, scale, expected, tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(
        "keras_faces.pictures.save_figure", lambda figure, path: figures.append(figure)
    )
    lines = {"": {place: (1.0, None) for place in places}}
    plot_values({"score": PlottedValues(lines)}, tmp_path / "x.png", "t", "rate")
    [axes] = figures[0].axes
    assert axes.get_xscale() == scale
    assert axes.get_xlabel() == "rate"
    assert list(axes.lines[0].get_xdata(orig=False)) == expected
