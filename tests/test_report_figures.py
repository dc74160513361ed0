"""What reports draw of models and faces, and the claims that they check."""

import importlib.util
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.files import write_whole
from keras_faces.pictures import first_faces, grid
from keras_faces.recipes import load_recipe
from keras_faces.reports import REPORTS, base, page, reproduce, trainings
from keras_faces.reports.claims import best_at, rises
from keras_faces.reports.networks import flow, layer_lines, plot_networks
from keras_faces.reports.rows import Row
from keras_faces.reports.schema import TRAINING, Claim, Column, Figure, Part, Report, Trained
from keras_faces.runs import Run
from keras_faces.schema import as_json

ROOT = Path(__file__).parent.parent

# Claims


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([(1.0, 0.1), (2.0, 0.1), (3.0, 0.1)], "holds"),
        ([(1.0, 0.1), (1.1, 0.1), (3.0, 0.1)], "holds"),  # the first step is within the errors
        ([(1.0, 0.1), (3.0, 0.1), (2.0, 0.1)], "does not hold"),
        ([(3.0, 0.1), (2.0, 0.1), (1.0, 0.1)], "does not hold"),
        ([(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)], "undecided"),
        ([(20, None), (150, None), (300, None)], "holds"),
        ([(20, None), (20, None), (20, None)], "undecided"),
        ([(1.0, 0.1), None, (3.0, 0.1)], "not checked: there is no height of B"),
    ],
)
def test_an_order_holds_where_values_rise_by_more_than_their_errors(values, verdict):
    found = dict(zip("ABC", values, strict=True))
    told = rises("height", *"ABC")(lambda part, column: found[part] if column == "height" else 1)
    assert re.match(rf"{verdict}\b", told), told
    if None not in values:
        texts = [
            f"{part} {value:.3g}" + ("" if error is None else f" ± {error:.2g}")
            for part, (value, error) in found.items()
        ]
        assert f"height of {', '.join(texts)}" in told
        assert ("errors are not known" in told) == (values[0][1] is None)


@pytest.mark.parametrize(
    ("best", "length", "verdict"),
    [
        (20, 20, "holds"),
        (10, 30, "holds"),
        (9, 30, "does not hold, it was sooner"),
        (21, 30, "does not hold: as good as it became by epoch 21 of 30"),
        (5, 12, r"undecided: .* ended before epoch 20"),
        (None, 30, "not checked"),
    ],
)
def test_a_best_epoch_holds_in_the_second_half_of_the_documents(best, length, verdict):
    found = {
        TRAINING["best_epoch"].title: None if best is None else (best, None),
        TRAINING["epochs"].title: (length, None),
    }
    assert re.match(verdict, best_at("VAE", 20)(lambda part, column: found[column]))


@pytest.mark.parametrize(
    ("score", "values", "errors", "epoch"),
    [
        ("face_detection_rate", [0.1, 0.5, 0.8, 0.85, 0.84], [0.01, 0.02, 0.02, 0.02, 0.02], 4),
        ("face_detection_rate", [0.1, 0.5, 0.84, 0.85, 0.80], [0.01, 0.02, 0.02, 0.02, 0.02], 3),
        ("face_detection_rate", [0.1, np.nan, 0.1, 0.1, np.nan], None, 1),
        ("nearest_distance", [0.9, 0.2, 0.55, 0.5, 0.45], [0.01] * 5, 4),  # as real: 0.5
        ("nearest_distance", [0.9, 0.2, 0.46, 0.5, 0.45], [0.01, 0.01, 0.01, 0.05, 0.01], 3),
        ("frechet_descriptor_distance", [9.0, 5.0, 3.0, 2.9, 8.0], [1, 1, 1, 0.2, 1], 3),  # lower
    ],
)
def test_the_epoch_of_the_best_is_the_first_within_its_error(
    score, values, errors, epoch, tmp_path
):
    run = Run(tmp_path)
    for number, value in enumerate(values):
        error = {} if errors is None else {f"{score}_std": errors[number]}
        run.score_rows.add({"epoch": number + 1, "step": 10 * number, score: value, **error})
    assert base.epochs_to_best(run, score) is None  # no best model was kept
    best = {"score": score, "value": 0.85, "real": 0.5, "sampler": "prior", "step": 30, "epoch": 4}
    write_whole(run.best_score_path, as_json({**best, "protocol": {}}))
    assert base.epochs_to_best(run, score) == epoch
    assert base.epochs_to_best(run, "coverage") is None


def test_the_claims_of_table_42_are_its_numbers():
    report = REPORTS["report-table42"]
    epochs = TRAINING["best_epoch"].title
    stated = {part.title: part.states[epochs] for part in report.parts}
    assert stated == {"VAE": 20, "GAN": 300, "VAE+GAN": 150}
    lengths = {"VAE": 20, "GAN": 500, "VAE+GAN": 200}

    def of(part, column):
        known = {epochs: stated, TRAINING["epochs"].title: lengths}
        return (known[column][part], None) if column in known else None

    told = [claim.check(of) for claim in report.claims]
    assert [text.split(":")[0] for text in told[:4]] == ["holds"] * 4
    assert told[4].startswith("not checked: there is no its ratio to real of VAE")


def test_claims_and_what_cannot_be_drawn_stand_on_the_page():
    column = Column("height", "laplacian_variance", form=".1f")
    claims = [Claim("A is <lower>", rises("height", "A", "B"))]
    parts = [Part("A", "report-vae"), Part("B", "report-gan")]
    report = Report("t", "d", "s", parts, [column], claims=claims)
    rows = [
        Row(f"{part} (prior)", {}, {"height": [value]}, {"height": [0.5]}, part=part)
        for part, value in (("A", 1.0), ("B", 5.0))
    ]
    content = page.as_dict("mine", report, [], rows, "quick")
    assert content["claims"] == [
        {"says": "A is <lower>", "here": "holds: height of A 1 ± 0.5, B 5 ± 0.5"}
    ]
    drawn = [page.Drawn("Figure 7", [], "Not drawn: no <faces>.")]
    text = page.as_markdown(report, rows, drawn, content)
    assert "| A is <lower> | holds: height of A 1 ± 0.5, B 5 ± 0.5 |" in text.splitlines()
    assert "Not drawn: no <faces>." in text
    html = page.as_html(report, rows, drawn, content)
    assert "<td>A is &lt;lower&gt;</td><td>holds: height of A 1 ± 0.5, B 5 ± 0.5</td>" in html
    assert "<p>Not drawn: no &lt;faces&gt;.</p>" in html


# The sweep over gamma


def test_parts_of_one_recipe_are_trained_apart_by_what_goes_before_it(tmp_path, monkeypatch):
    parts = REPORTS["zhang-gamma"].parts
    assert [part.arguments for part in parts] == [{"gamma": g} for g in (0.3, 0.5, 0.7, 1.0)]
    assert {part.recipe for part in parts} == {"zhang-64"}
    commands: list[str] = []

    def stops(words, log):
        commands.append(" ".join(words))
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings, "begin", stops)
    with pytest.raises(KeyboardInterrupt):
        reproduce(
            "zhang-gamma", out=tmp_path / "r", runs=tmp_path / "x", print_fn=lambda line: None
        )
    assert "train began --recipe zhang-64 --budget quick --seed 0 " in commands[0]
    assert " --gamma 0.3 " in f"{commands[0]} "
    runs = [base.run_of(part, 0, tmp_path, None, "quick", {}).folder for part in parts]
    assert len(set(runs)) == 4
    as_it_is = Part("", "zhang-64")
    quick = load_recipe("zhang-64").quick
    same = as_it_is._replace(arguments={**quick["hyperparameters"], "split": quick["split"]})
    folders = {base.run_of(p, 0, tmp_path, None, "quick", {}).folder for p in (as_it_is, same)}
    assert len(folders) == 1


def test_columns_are_plotted_over_the_parts_beside_real_faces(tmp_path):
    rows = [
        Row("real faces", {}, {"found": [0.9]}, {"found": [0.1]}, False),
        Row("A (prior)", {}, {"found": [0.1, 0.3]}, {"found": [0.1, 0.1]}, part="A"),
        Row("A (prior), best step", {}, {"found": [0.7]}, {"found": [0.1]}),
        Row("B (prior)", {}, {"found": [None]}, {"found": [None]}, part="B"),
    ]
    parts = [Part("A", "zhang-64"), Part("B", "zhang-64")]
    figures = [Figure("Both", plot=["found", "absent"]), Figure("x", plot=["y"])]
    plotted = page._plotted(figures[0], parts, rows)
    assert list(plotted) == ["found"]
    expected = {"A": (pytest.approx(0.2), pytest.approx(0.02**0.5))}
    assert plotted["found"].lines == {"": expected}
    assert plotted["found"].real == 0.9
    report = Report("t", "d", "s", parts, figures=figures)
    (drawn,) = page.make_figures(report, [], rows, tmp_path)
    with Image.open(drawn.pictures[0].path) as picture:
        assert picture.size == (400, 300)


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "kept"), [(64, 25), (10, 25), (26, 25)])
def test_the_first_faces_of_a_grid_are_a_grid_of_their_own(count, kept, channels):
    faces = np.random.default_rng(0).uniform(-1, 1, (count, 8, 8, channels)).astype("float32")
    made = first_faces(grid(faces), 8, kept)
    wanted = grid(faces[:kept])
    assert made.mode == wanted.mode
    assert np.array_equal(made, wanted)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    run = kf.train(
        "vae",
        data="orl",
        split="all",
        steps=80,
        batch_size=50,
        image_size=32,
        filters=4,
        hidden_units=16,
        latent_dim=8,
        learning_rate=1e-2,
        kl_weight=0.1,
        count=0,
        run=tmp_path_factory.mktemp("runs") / "vae",
        print_fn=lambda line: None,
    )
    return Trained(Part("VAE", "report-vae"), 0, run, "", {}, None, None, None)


def drawn_of(one, folder, *figures):
    report = Report("t", "d", "s", [one.part], figures=figures)
    return page.make_figures(report, [one], [], folder)


def test_figures_are_drawn_of_a_trained_model_and_its_faces(vae, tmp_path):
    draws = ("training_faces", "latents", "smiles", "networks")
    figures = [Figure(name, "report-vae", draw=name) for name in draws]
    grids = Figure("grids", "report-vae", "samples-prior.png", count=25)
    drawn = drawn_of(vae, tmp_path, *figures, grids)
    assert [(one.title, one.reason) for one in drawn] == [(n, "") for n in (*draws, "grids")]
    pictures = {one.title: np.asarray(Image.open(one.pictures[0].path)) for one in drawn}
    faces = kf.TrainedModel(vae.run.folder).faces().sample(3, 0)
    small = Image.fromarray(np.asarray(grid(faces, 3)))
    assert pictures["training_faces"].shape == (4 * small.height, 4 * small.width)
    smiles = pictures["smiles"]
    assert smiles.shape == (4 * 34 + 2, 9 * 34 + 2)
    first, last = smiles[2:34, 2:34].astype(int), smiles[2:34, -34:-2].astype(int)
    assert np.abs(first - last).max() > 0
    with Image.open(vae.run.folder / "samples-prior.png") as whole:
        assert np.array_equal(pictures["grids"], first_faces(whole, 32, 25))


def test_the_strip_of_smiles_begins_with_faces_that_do_not_smile(vae, tmp_path):
    (drawn,) = drawn_of(vae, tmp_path, Figure("5.2", "report-vae", draw="smiles"))
    picture = np.asarray(Image.open(drawn.pictures[0].path))
    model = kf.load_model(vae.run.folder)
    stream = kf.TrainedModel(vae.run.folder).faces("attributes")
    faces, labels = stream.sample(400, 0, labelled=True)
    column = stream.label_names.index("smiling")
    copies = np.round((model.reconstruct(faces) + 1) * 127.5)[..., 0]
    smiling = labels[:, column] > 0.5
    for row in range(4):
        begun = picture[2 + 34 * row : 34 + 34 * row, 2:34].astype(float)
        distances = np.abs(copies - begun).mean(axis=(1, 2))
        assert not smiling[distances.argmin()]
        assert distances.min() < 1


def test_what_faces_do_not_tell_is_not_drawn_and_said(vae, tmp_path, orl_folder):
    (drawn,) = drawn_of(
        vae._replace(data=orl_folder), tmp_path, Figure("5.2", "report-vae", draw="smiles")
    )
    assert drawn.pictures == []
    assert drawn.reason.startswith("Not drawn: ") and "attributes" in drawn.reason


def test_a_report_that_needs_the_users_own_pictures_says_which_and_trains_on_their_training_side(
    tmp_path, orl_folder, monkeypatch
):
    with pytest.raises(
        kf.UserError, match=r"a time-lapse of a skyline.*--data 'video:FILE\?train="
    ):
        reproduce("sfu-figure6", out=tmp_path / "r", runs=tmp_path / "x")
    assert not (tmp_path / "r").exists()
    commands: list[str] = []

    def stops(words, log):
        commands.append(" ".join(words))
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings, "begin", stops)
    given = {"out": tmp_path / "r", "runs": tmp_path / "x", "print_fn": lambda line: None}
    with pytest.raises(KeyboardInterrupt):
        reproduce("sfu-figure6", data=orl_folder, **given)
    assert " --split train " in commands[0]


# Networks


def tiny(name, **given):
    small = {"filters": 4, "hidden_units": 8, "image_size": 32, "channels": 1, "conditions": "a,b"}
    known = kf.models.hyperparameters(name)
    return kf.create_model(name, **{k: v for k, v in {**small, **given}.items() if k in known})


def arrows(model):
    return {(short(source), short(target)) for source, target in flow(model)}


def short(box):
    return box.title.split(":")[0] if box.kind == "network" else box.title


ENCODES = {("faces", "encoder"), ("encoder", "decoder")}
JUDGES = {("noise", "generator"), ("generator", "discriminator"), ("faces", "discriminator")}


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        (
            "vae",
            {},
            ENCODES | {("noise", "decoder"), ("encoder", "loss: vae"), ("decoder", "loss: vae")},
        ),
        ("autoencoder", {}, ENCODES | {("decoder", "loss: autoencoder")}),
        (
            "gan",
            {},
            JUDGES
            | {("discriminator", "loss: discriminator"), ("discriminator", "loss: generator")},
        ),
        (
            "wgan",
            {"gradient_penalty": 10.0},
            JUDGES | {("discriminator", "loss: critic"), ("discriminator", "loss: generator")},
        ),
        (
            "vaegan",
            {},
            ENCODES
            | {("noise 1", "decoder"), ("noise 2", "decoder")}
            | {
                ("faces", "discriminator"),
                ("decoder", "discriminator"),
                ("encoder", "loss: encoder"),
            }
            | {
                ("discriminator", f"loss: {player}")
                for player in ("encoder", "decoder", "discriminator")
            },
        ),
    ],
)
def test_what_flows_through_a_model_is_what_its_document_draws(name, given, wanted):
    assert arrows(tiny(name, **given)) == wanted


@pytest.mark.parametrize("name", kf.list_models())
def test_every_models_networks_can_be_drawn(name, tmp_path):
    model = tiny(name)
    networks = {box for pair in flow(model) for box in pair if box.kind == "network"}
    counts = [
        int(re.search(r"([\d,]+) parameters", box.title)[1].replace(",", "")) for box in networks
    ]
    learnt = {id(v): v for player in model.players for v in player.variables}.values()
    assert sum(counts) == sum(int(np.prod(v.shape)) for v in learnt)
    with Image.open(plot_networks(model, tmp_path / "networks.png", name)) as picture:
        assert min(picture.size) > 100


def test_a_networks_lines_are_the_documents_listing():
    model = kf.create_model("dense_vae")
    assert list(layer_lines(model.encoder)) == [
        "flatten: 12288",
        "dense 512 relu: 512",
        "dense 4: 4",
    ]
    lines = list(layer_lines(kf.create_model("gan", channels=1, image_size=32).discriminator))
    assert lines == [
        "conv 5x5 64, tanh, max-pool 2: 16x16x64",
        "conv 5x5 128 valid, tanh, max-pool 2, flatten: 4608",
        "dense 1024, tanh: 1024",
        "dense 1: 1",
    ]


def test_the_stand_in_for_the_skyline_is_no_still_and_has_no_red_sky():
    spec = importlib.util.spec_from_file_location("skyline", ROOT / "docs" / "skyline.py")
    skyline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(skyline)
    frames = list(skyline.frames(count=12, size=32))
    assert {frame.shape for frame in frames} == {(32, 32, 3)}
    assert all((one != other).any() for one, other in pairwise(frames))
    sky = np.stack(frames)[:, :8].astype(int)  # above all houses
    assert (sky[..., 0] <= sky[..., 2] + 10).all()
    again = list(skyline.frames(count=12, size=32))
    assert all(np.array_equal(one, other) for one, other in zip(frames, again, strict=True))


@pytest.mark.slow
def test_figure_6_is_made_of_exactly_as_many_frames_of_the_drawn_skyline(tmp_path):
    pytest.importorskip("av")
    video = tmp_path / "skyline.mp4"
    subprocess.run([sys.executable, ROOT / "docs" / "skyline.py", video], check=True)
    data = f"video:{video}?similar=0&train=1200&test=125"
    runs, out = tmp_path / "runs", tmp_path / "report"
    reproduce("sfu-figure6", data=data, out=out, runs=runs, print_fn=lambda line: None)
    (run,) = map(Run, runs.iterdir())
    assert (run.config()["data"]["pictures"], run.config()["data"]["split"]) == (1200, "train")
    assert kf.TrainedModel(run.folder).faces(split="test").count == 125
    assert "Not drawn" not in (out / "report.md").read_text()
    assert len(list((out / "figures").iterdir())) == 4
