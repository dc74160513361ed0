"""Scores while a model learns: what they record, what they keep, and that they change nothing."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.metrics import scores as scoring
from keras_faces.runs import Run, training_of

SMALL = {"image_size": 32, "filters": 4, "latent_dim": 3}
NAMES = ["laplacian_variance", "distinct_nearest"]


def train(folder, **arguments) -> Run:
    given = {"epochs": 4, "count": 0, "split": "test", "grid_every": 2, **SMALL, **arguments}
    return kf.train("dcgan", run=folder, batch_size=20, print_fn=lambda line: None, **given)


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("scored") / "run"
    return train(folder, score_every=1, scores=NAMES, best="laplacian_variance")


def test_scores_of_every_epoch_are_those_of_the_model_at_that_time(scored):
    rows = scored.score_rows.rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [row["step"] for row in scored.rows()]
    last = kf.load_model(scored.folder)
    stream = kf.data.open_faces("orl", 32, 20, "test", progress=False)
    samples = last.generate(256, seed=0)
    assert rows[-1]["laplacian_variance"] == pytest.approx(
        kf.metrics.laplacian_variance(samples).mean()
    )
    real = stream.sample(256, 0)
    assert rows[-1]["distinct_nearest"] == kf.metrics.distinct_nearest(samples, real)
    assert (scored.folder / "scores.png").is_file()


def test_scores_change_nothing_that_is_learnt(scored, tmp_path):
    plain = train(tmp_path / "plain")
    assert plain.metrics.path.read_bytes() == scored.metrics.path.read_bytes()
    ours, theirs = kf.load_model(plain.folder), kf.load_model(scored.folder)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        assert np.array_equal(one, other), one.path
    assert not plain.score_rows.path.exists()
    assert not plain.best_path.exists()


def test_the_best_model_is_kept_beside_the_last(scored):
    facts = json.loads(scored.best_score_path.read_text())
    rows = scored.score_rows.rows()
    gaps = [abs(row["laplacian_variance"] - facts["real"]) for row in rows]
    best = rows[int(np.argmin(gaps))]
    assert facts["score"] == "laplacian_variance"
    assert (facts["step"], facts["epoch"]) == (best["step"], best["epoch"])
    samples = kf.load_model(scored.best_path).generate(256, seed=0)
    assert kf.metrics.laplacian_variance(samples).mean() == pytest.approx(facts["value"])
    assert facts["value"] == pytest.approx(best["laplacian_variance"])


def test_a_resumed_run_ends_with_the_same_scores_and_the_same_best(scored, tmp_path):
    class Stop(Exception):
        pass

    stopped = tmp_path / "run"

    def stops(*arguments, **named):
        result = score(*arguments, **named)
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return result

    calls: list[int] = []
    score = scoring.score
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr("keras_faces.callbacks.scores.score", stops)
        train(
            stopped,
            score_every=1,
            scores=NAMES,
            best="laplacian_variance",
            checkpoint_seconds=1e-9,
        )
    run = kf.resume(stopped, print_fn=lambda line: None)
    assert run.score_rows.path.read_bytes() == scored.score_rows.path.read_bytes()
    assert run.best_score() == scored.best_score()
    ours, theirs = kf.load_model(run.best_path), kf.load_model(scored.best_path)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        assert np.array_equal(one, other), one.path


def test_scores_and_rate_and_pictures_are_told_to_tensorboard(scored):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = EventAccumulator(str(scored.tensorboard))
    told.Reload()
    assert len(list(scored.tensorboard.iterdir())) == 1  # it follows one file only
    tags = told.Tags()
    assert {"score_laplacian_variance", "images_per_second"} <= set(tags["scalars"])
    values = [event.value for event in told.Scalars("score_laplacian_variance")]
    expected = [row["laplacian_variance"] for row in scored.score_rows.rows()]
    assert values == pytest.approx(expected)
    assert all(event.value > 0 for event in told.Scalars("images_per_second"))
    drawn = sorted(scored.grids.glob("samples-step-*.png"))
    assert [event.step for event in told.Images("samples")] == [
        int(path.stem[-8:]) for path in drawn
    ]
    assert told.Images("samples")[-1].encoded_image_string.startswith(b"\x89PNG")


def test_training_is_shown_as_an_animation(scored):
    frames = sorted(scored.grids.glob("samples-step-*.png"))
    with Image.open(scored.folder / "training.gif") as animation:
        assert animation.n_frames == len(frames)
        animation.seek(animation.n_frames - 1)
        shown = np.asarray(animation.convert("L"), int)
    assert np.abs(shown - np.asarray(Image.open(frames[-1]).convert("L"), int)).max() <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_every": 0}, "score_every must be above 0"),
        ({"score_every": 1, "scores": ["sharpness"]}, "no score named 'sharpness'"),
        ({"score_every": 1, "scores": "sharpness"}, "no score named 'sharpness'"),
        ({"scores": "sharpness"}, "no score named 'sharpness'"),
        ({"score_every": 1, "scores": NAMES, "best": "face_detection_rate"}, "that is computed"),
        ({"best": "distinct_nearest"}, "Give score_every as well"),
        ({"score_every": 0.5}, r"every must be a whole number of 1 or more.*0\.5"),
    ],
)
def test_scoring_that_cannot_be_is_refused_before_a_run_is_made(arguments, message, tmp_path):
    with pytest.raises(kf.UserError, match=message):
        train(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [{"score_every": 0}, {"grid_every": 0}, {"score_every": 1, "count": 1}],
)
def test_callbacks_that_cannot_work_are_refused_when_they_are_made(arguments, tmp_path):
    with pytest.raises(kf.UserError, match=r"must be a whole number of"):
        kf.callbacks.standard(tmp_path / "run", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"best": "face_detection_rate"}, {"scores": ["face_detection_rate"]}],
)
def test_what_is_asked_for_must_be_installed(arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(kf.UserError, match="pip install dlib-bin"):
        train(tmp_path / "run", score_every=1, **arguments)
    assert not (tmp_path / "run").exists()


def test_a_model_without_the_score_is_not_the_best(tmp_path):
    nothing = {"value": None, "std": None}
    something = {"value": 0.5, "std": None}
    callback = kf.callbacks.Scores(Run(tmp_path), scores=["unidentified"], best="unidentified")
    for sampled, real in ((nothing, something), (something, nothing)):
        rows = {"prior": {"unidentified": sampled}, "real": {"unidentified": real}}
        callback._keep_if_best(None, {"rows": rows}, "prior", [])
    assert not list(tmp_path.iterdir())


def test_one_score_needs_no_list(tmp_path):
    callback = kf.callbacks.Scores(Run(tmp_path), scores=NAMES[0], best=NAMES[0])
    assert callback.names == NAMES[:1]


def test_scores_of_arrays_need_faces_to_compare_with(tmp_path):
    model = kf.create_model("dcgan", channels=1, **SMALL)
    model.compile()
    with pytest.raises(kf.UserError, match=r"Scores need the real faces.*kf\.data\.load"):
        model.fit(
            np.zeros((8, 32, 32, 1), np.float32),
            batch_size=4,
            verbose=0,
            callbacks=kf.callbacks.standard(tmp_path / "run", score_every=1, scores=NAMES),
        )


def test_the_scores_that_are_asked_for_are_those_at_the_end(tmp_path):
    run = train(tmp_path / "run", epochs=1, scores=NAMES[0], count=10)  # one needs no list
    rows = json.loads(run.scores_path.read_text())["rows"]
    assert list(rows["prior"]) == NAMES[:1]
    assert not run.score_rows.path.exists()


def test_how_to_score_without_how_often_is_refused(tmp_path):
    with pytest.raises(kf.UserError, match=r"how often: give score_every"):
        kf.callbacks.standard(tmp_path / "run", best="laplacian_variance")


def test_compare_puts_runs_side_by_side(scored, tmp_path, capsys):
    words = ["--count", "20", "--scores", *NAMES, "--out"]
    for name, seed in (("one", "0"), ("two", "0"), ("other", "1")):
        out = str(tmp_path / f"{name}.json")
        assert main(["evaluate", str(scored.folder), "--seed", seed, *words, out]) == 0
    capsys.readouterr()
    one, two, other = (str(tmp_path / f"{name}.json") for name in ("one", "two", "other"))
    assert json.loads(Path(one).read_text())["training"] == training_of(scored.config())
    assert main(["compare", one, two]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("real ")
    assert lines[2].split("  ")[0] == f"{one} (prior)"
    assert "generated 20" in lines[-1]
    assert main(["evaluate", str(scored.folder), *words, str(tmp_path)]) == 1  # a folder
    told = capsys.readouterr()
    assert "Is a directory" in told.err and "generated 20" in told.out
    assert main(["compare", one, other]) == 2
    assert "seed 0 and 1" in capsys.readouterr().err
    assert main(["compare", str(scored.folder)]) == 2  # trained with count=0
    assert "keras-faces evaluate" in capsys.readouterr().err
    (tmp_path / "text.json").write_text("no scores")
    assert main(["compare", str(tmp_path / "text.json")]) == 2
    assert "text.json is damaged" in capsys.readouterr().err


@pytest.fixture
def elsewhere(tmp_path, orl_path):
    """The pictures of the package's own source in a folder, without the 401st of the wheel."""
    return shutil.copytree(orl_path, tmp_path / "faces", ignore=shutil.ignore_patterns("*.jpg"))


def evaluate(run, out, *words) -> int:
    words = list(map(str, words))
    if "--scores" not in words:
        words += ["--scores", "laplacian_variance"]
    words += ["--count", "20", "--out", str(out)]
    return main(["evaluate", str(run.folder), *map(str, words)])


def test_the_same_pictures_elsewhere_compare_and_others_under_the_same_path_do_not(
    scored, elsewhere, tmp_path, capsys
):
    here, there, others = (str(tmp_path / f"{name}.json") for name in ("here", "there", "others"))
    assert evaluate(scored, here) == 0
    assert evaluate(scored, there, "--data", elsewhere) == 0
    capsys.readouterr()
    assert main(["compare", here, there]) == 0
    told = capsys.readouterr().out
    assert f"Protocol: source orl and {elsewhere}, fingerprint " in told
    held_out = kf.data.open_faces("orl", 32, 1, "test", progress=False)
    pictures = [held_out.cache.name(index) for index in held_out.indices[:2]]
    shutil.copy(elsewhere / pictures[0], elsewhere / pictures[1])
    assert evaluate(scored, others, "--data", elsewhere) == 0
    capsys.readouterr()
    assert main(["compare", there, others]) == 2
    told = capsys.readouterr().err
    assert "fingerprint " in told and f"the pictures in {elsewhere} changed in between" in told
    assert main(["compare", here, others]) == 2
    assert f"the pictures in orl and in {elsewhere} are not the same" in capsys.readouterr().err


def test_scores_that_do_not_say_of_which_pictures_they_are_are_not_compared(
    scored, tmp_path, capsys
):
    assert evaluate(scored, tmp_path / "one.json") == 0
    result = json.loads((tmp_path / "one.json").read_text())
    del result["sha256"]  # which holds for what was written
    result["protocol"]["fingerprint"] = None
    (tmp_path / "one.json").write_text(json.dumps(result))
    assert main(["compare", str(tmp_path / "one.json")]) == 2
    assert "protocol.fingerprint is missing" in capsys.readouterr().err


def test_a_run_whose_source_has_vanished_says_how_to_name_another(
    scored, elsewhere, tmp_path, capsys
):
    run = Run(tmp_path / "run")  # as if trained on that folder
    run.folder.mkdir()
    shutil.copy(scored.model_path, run.model_path)
    config = scored.config()
    run.write_config({**config, "data": {**config["data"], "source": str(elsewhere)}})
    moved = elsewhere.rename(tmp_path / "moved")
    assert evaluate(run, tmp_path / "scores.json") == 2
    told = capsys.readouterr().err
    assert str(elsewhere) in told
    assert f"keras-faces evaluate {run.folder} --data SOURCE" in told
    assert evaluate(run, tmp_path / "scores.json", "--data", moved) == 0
    assert evaluate(run, tmp_path / "scores.json", "--data", elsewhere) == 2
    assert "--data SOURCE" not in capsys.readouterr().err  # they know the flag


@pytest.fixture
def without_weights(tmp_path, monkeypatch):
    """As where Inception's weights are not here and there is no network."""

    def no_network(home):
        raise OSError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_FACES_INCEPTION", raising=False)
    monkeypatch.setattr("keras_faces.metrics.inception._download", no_network)


def test_where_nothing_that_was_asked_for_can_be_computed_evaluate_fails_and_writes_nothing(
    scored, tmp_path, capsys, without_weights
):
    out = tmp_path / "scores.json"
    out.write_text("earlier ones")
    assert evaluate(scored, out, "--scores", "inception_score", "precision") == 2
    told = capsys.readouterr()
    (line,) = told.out.splitlines()  # and no table without columns
    assert line.startswith("Not computed: Inception Score (keras), precision (keras). Inception's")
    assert "no route to host" in line and "--inception-weights FILE" in line
    assert "No score that was asked for could be computed" in told.err
    assert out.read_text() == "earlier ones"
    assert evaluate(scored, out, "--scores", "inception_score", "laplacian_variance") == 0
    assert "Not computed: Inception Score (keras). " in capsys.readouterr().out
    assert list(json.loads(out.read_text())["rows"]["prior"]) == ["laplacian_variance"]


def test_weights_that_no_score_needs_are_refused_and_not_left_unused(scored, tmp_path, capsys):
    weights = ["--inception-weights", tmp_path / "weights.h5"]
    assert evaluate(scored, tmp_path / "scores.json", *weights) == 2
    told = capsys.readouterr().err
    assert "none of --scores needs it: laplacian_variance" in told
    assert "add one or more of: inception_score, " in told
    assert evaluate(scored, tmp_path / "scores.json", *weights, "--scores", "precision") == 2
    assert "there is no file" in capsys.readouterr().err
