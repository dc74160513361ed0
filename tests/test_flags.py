"""Flags from signatures: what help says, what a config may say, and all of it without Keras."""

import inspect
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.commands import build_app, parse
from keras_faces.introspection import constant, documented_class

EVERY_MODEL = pytest.mark.parametrize("name", kf.list_models())


def commands(app, before=""):
    """Return an app's commands by name, those within others too."""
    found = {}
    for name in app:
        if not name.startswith("-"):
            found |= {before + name: app[name], **commands(app[name], f"{before}{name} ")}
    return found


COMMANDS = commands(build_app(kf.list_models()))
EVERY_COMMAND = pytest.mark.parametrize("name", COMMANDS)


def run(capsys, *words):
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def refused(capsys, *words):
    """Return the one line with which words are refused."""
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.startswith("keras-faces: ")
    assert err.count("\n") == 1
    return err


# What is read without importing.


@EVERY_MODEL
def test_what_is_read_of_a_models_source_is_what_its_class_says(name):
    model = kf.models.MODELS[name]
    found = documented_class(f"{model.__module__}:{model.__name__}")
    own = {key: value for key, value in found.parameters.items() if key != "name"}
    assert own == model.hyperparameters()
    assert list(own) == list(model.hyperparameters())
    assert found.summary == inspect.getdoc(model).splitlines()[0]
    for owner in model.__mro__:
        for key in {**vars(owner).get("__annotations__", {}), **own}:
            init = vars(owner).get("__init__")
            if init is None or key not in inspect.signature(init).parameters:
                continue
            text = " ".join(inspect.getdoc(owner).split())
            if found.descriptions[key] in text:
                break
        else:
            continue
        break
    else:
        pytest.fail("no description is one of the class's docstrings")


@EVERY_MODEL
def test_every_hyperparameter_has_help_of_its_own(name):
    found = kf.models.documentation(name)
    texts = [found.descriptions[key] for key in found.parameters]
    assert all(texts)
    assert max(Counter(texts).values()) == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("keras_faces.data.crops:CROPS", kf.data.CROPS),
        ("keras_faces.metrics.scores:SCORES", kf.metrics.SCORES),
        ("keras_faces.latent.projection:PROJECTIONS", kf.latent.PROJECTIONS),
        ("keras_faces.export:FORMATS", kf.export.FORMATS),
    ],
)
def test_names_are_read_of_the_source_as_they_are(place, value):
    code = f"from keras_faces.introspection import constant; print(*constant({place!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(value)
    assert list(constant(place)) == list(value)


LIGHT = """
import contextlib, io, sys
from keras_faces.cli import main
for words in {words!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(words)
    if "keras" in sys.modules or "tensorflow" in sys.modules:
        sys.exit(f"Keras was imported for: {{words}}")
"""


def test_help_lists_and_mistyped_names_come_without_keras(tmp_path):
    words = [[*name.split(), "--help"] for name in commands(build_app(kf.list_models()))]
    words += [["list", what] for what in ("models", "datasets", "recipes", "reports", "crops")]
    mistyped = """
        trian
        data chek orl
        list modles
        train vea
        train began --no-such-flag 1
        train began --gamma much
        train began --generator-architecture decodr
        train began --crop centre
        train began --scores sharpness
        train began --best sharpness
        train began --recipe zhang-65
        train began --data orrl
        train cvae --labels attribute
        resume
        resume runs/vae-orl-001
        serve vae-orl-65
        compare vae-orl-65
        generate vae-orl-65
        generate vae-orl-64 --sampler fited
        generate vae-orl-64 --cuont 3
        interpolate vae-orl-64 --path round
        latents vae-orl-64 --by umap
        export vae-orl-64 --format onx
        evaluate vae-orl-64 --scores sharpness
        reproduce zhang-table2
        reproduce nowhere.toml
        compare --format latx
        generate vae-orl-64 --scale 0
        train --config nowhere.toml
    """
    words += [line.split() for line in mistyped.strip().splitlines()]
    script = LIGHT.format(words=words)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_model_of_ones_own_has_flags_though_its_docstring_is_of_another_form(capsys, monkeypatch):
    class Mine(kf.models.DenseVAE):
        """Mine.

        Args:

        :param width: How wide.
        """

        def __init__(self, width: int = 3, **kwargs):
            super().__init__(**kwargs)
            self.width = width

    monkeypatch.setitem(kf.models.MODELS, "mine", Mine)
    assert kf.create_model("mine", width=4, image_size=32).width == 4
    assert "'mine'" in refused(capsys, "train", "mien")
    status, out, _ = run(capsys, "train", "mine", "--help")
    assert status == 0
    assert "--width INT" in out
    assert "--epsilon-std FLOAT" in out


# What help says.


@EVERY_COMMAND
def test_every_argument_of_a_command_is_explained(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "1000")
    command = COMMANDS[name]
    assert command.help.splitlines()[0].endswith(".")
    status, out, _ = run(capsys, *name.split(), "--help")
    assert status == 0
    assert "`" not in out
    if command.default_command is None:  # a group
        return
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show:
            assert argument.parameter.help
            assert f"{argument.name} " in out
            assert argument.parameter.help in out
        default = argument.field_info.default
        if argument.show_default is True and isinstance(default, int | float | str):
            assert f"[default: {default}]" in out


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("train", list(kf.data.CROPS)),
        ("train", list(kf.metrics.SCORES)),
        ("train", kf.list_recipes()),
        ("train began", ["decoder", "deconvolution"]),
        ("train vae", ["constant", "exponential", "linear", "cosine"]),
        ("train vae", ["float32", "mixed_bfloat16"]),
        ("generate", ["prior", "fitted", "sketches"]),
        ("evaluate", ["train", "validation", "test", "all"]),
        ("export", list(kf.export.FORMATS)),
        ("reproduce", kf.list_reports()),
        ("data check", list(kf.data.CROPS)),
    ],
)
def test_help_lists_what_can_be_chosen(capsys, monkeypatch, words, choices):
    monkeypatch.setenv("COLUMNS", "1000")
    _, out, _ = run(capsys, *words.split(), "--help")
    assert f"[choices: {', '.join(choices)}]" in out


def test_a_flag_of_true_or_false_says_which_it_is(capsys):
    assert "True, False" in refused(capsys, "train", "began", "--skip-connections", "maybe")
    assert '"adam"' in refused(capsys, "train", "gan", "--rule", "adma")


# What words mean.


def meant(words):
    """Return what a command is called with."""
    return parse(words.split())[1].arguments


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("interpolate vae-orl-64 --from -3 --to=-4", "from_", "-3"),
        ("interpolate vae-orl-64 --from -3 --to=-4", "to", "-4"),
        ("attribute vae-orl-64 a b --strength -1 1.5", "strength", [-1.0, 1.5]),
        ("attribute vae-orl-64 --seed 3 a b --check", "names", ("a", "b")),
        ("generate --count 3 vae-orl-64 --seed 7 --count 5", "count", 5),
        ("generate vae-orl-64 --out=-x.png", "out", "-x.png"),
        ("reconstruct vae-orl-64 -- --a.png -b.png", "images", ("--a.png", "-b.png")),
        ("attribute vae-orl-64 a --against b c --against d", "against", ["b", "c", "d"]),
        ("train --epochs 3 vae", "model", "vae"),
        ("train began --skip-connections true", "skip_connections", True),
        ("train began --skip-connections false", "skip_connections", False),
        ("train began --strict --no-strict", "strict", False),
        ("train began --minutes 1e-1", "minutes", 0.1),
        ("reproduce zhang-table1 --seeds 1 2", "seeds", (1, 2)),
    ],
)
def test_words_are_taken_as_meant(words, name, value):
    assert meant(words)[name] == value


@pytest.mark.parametrize("flag", ["already-cropped", "no-already-cropped"])
def test_what_is_on_off_or_left_open_has_two_flags(flag):
    assert meant(f"blend vae-orl-64 a b --{flag}")["framing"].already_cropped == ("no" not in flag)
    assert "framing" not in meant("blend vae-orl-64 a b")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("generate vae-orl-64 --coun 3", "--count"),
        ("generate vae-orl-64 3", "no argument for '3'"),
        ("generate vae-orl-64 --out -x.png", "--out"),
        ("generate vae-orl-64 --count 2.5", "must be a whole number"),
        ("generate vae-orl-64 --count 99999999999999999999", "must be a whole number"),
        ("generate", "RUN"),
        ("evaluate vae-orl-64 --scores", "--scores"),
        ("train vae --kl-weight nan", "must be a finite number"),
        ("train vae --kl-weight inf", "must be a finite number"),
        ("data people orl", "--out"),
        ("data chek orl", "check"),
        ("--frobnicate", "--frobnicate"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_in_a_line(capsys, words, expected):
    assert expected in refused(capsys, *words.split())


@pytest.mark.parametrize("words", [[], ["data"]])
def test_without_a_command_help_is_shown_and_the_status_says_that_nothing_was_done(capsys, words):
    assert (run(capsys, *words)[0], run(capsys, *words, "-h")[0]) == (2, 0)
    assert run(capsys, *words)[1] == run(capsys, *words, "-h")[1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_help_is_plain_text_that_any_console_shows_in_80_columns(encoding):
    words = [sys.executable, "-m", "keras_faces", "train", "began", "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1", "COLUMNS": "80"}
    done = subprocess.run(words, capture_output=True, env=environment, check=True)
    assert b"\x1b" not in done.stdout
    text = done.stdout.decode(encoding)
    assert "\\u" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_of_commands_and_flags_is_printed(capsys, shell):
    status, out, _ = run(capsys, "--print-completion", shell)
    assert status == 0
    for word in ("generate", "prepare", "search-steps", "no-already-cropped", "saved_model"):
        assert word in out
    assert '"bash"' in refused(capsys, "--print-completion", "bahs")


# Configs.

FILES = {
    "yaml": "what: crops\n",
    "yml": "what: crops\n",
    "toml": 'what = "crops"\n',
    "json": '{"what": "crops"}',
}


@pytest.mark.parametrize("kind", FILES)
def test_a_config_of_any_kind_gives_arguments(capsys, tmp_path, kind):
    (tmp_path / f"c.{kind}").write_text(FILES[kind])
    _, wanted, _ = run(capsys, "list", "crops")
    status, out, _ = run(capsys, "list", "--config", tmp_path / f"c.{kind}")
    assert (status, out) == (0, wanted)


def test_flags_go_before_a_config_whose_keys_have_dashes_or_not(capsys, tmp_path, orl_folder):
    config = tmp_path / "c.yaml"
    for key in ("image-size", "image_size"):
        config.write_text(f"source: {orl_folder}\n{key}: 24\nchannels: 1\ncrop: squash\n")
        status, out, _ = run(capsys, "data", "prepare", "--config", config)
        assert status == 0
        assert "24x24x1, crop squash" in out
    status, out, _ = run(capsys, "data", "prepare", "--config", config, "--image-size", 16)
    assert "16x16x1, crop squash" in out


def test_a_mistyped_model_is_refused_though_a_config_names_one(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("model: vae")
    assert "'began'" in refused(capsys, "train", "begna", "--config", tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ("data info orl", "cuont: 3", "'count'"),
        ("data info orl", "count: many", 'count must be a whole number, not "many"'),
        ("data info orl", "count: 2.5", 'count must be a whole number, not "2.5"'),
        ("data info orl", "count: [1, 2]", "count must be a whole number"),
        ("data info orl", "crop: centre", '"center"'),
        ("data info orl", "channels: 2", "from: 1, 3"),
        ("data info orl", "out: [7]", "out must be text"),
        ("data info orl", "- 1\n- 2", "names and values"),
        ("data info orl", "count: [", "cannot be read as YAML"),
        ("data info orl", "1: 2", "names and values"),
        ("train vae", "hyperparameters: 3", "hyperparameters must be names and values"),
        ("train vae", "gama: 3", "no argument of 'train vae' named 'gama'"),
        ("train vae", "latent_dim: wide", "latent_dim must be a whole number"),
        ("train vae", "schedule: cosin", '"cosine"'),
        ("train vae", "scores: [face_detection_rate, sharpness]", "sharpness"),
        ("train", "model: vea", "'vae'"),
        ("train", "model: [vae]", "no model named"),
        ("train --filters 4", "model: vae\nfilterz: 4", "'filters'"),
        ("interpolate vae-orl-64", "corners: [1, 2, 3]", "corners must be 4 values"),
        ("interpolate vae-orl-64", "from: {a: 1}", "from must be text"),
    ],
)
def test_what_a_config_cannot_say_is_refused_with_its_file_and_key(
    capsys, tmp_path, words, text, expected
):
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    line = refused(capsys, *words.split(), "--config", config)
    assert expected in line
    assert str(config) in line


def test_a_config_that_cannot_be_read_is_refused(capsys, tmp_path):
    assert "No such file" in refused(capsys, "list", "crops", "--config", tmp_path / "no.yaml")
    (tmp_path / "c.ini").write_text("what = crops")
    assert ".toml" in refused(capsys, "list", "--config", tmp_path / "c.ini")
    (tmp_path / "c.json").write_bytes(b"\xff\xfe{")
    assert "cannot be read as JSON" in refused(capsys, "list", "--config", tmp_path / "c.json")
    assert "a folder" in refused(capsys, "list", "--config", _folder(tmp_path / "c.toml"))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "cannot be read as JSON" in refused(capsys, "list", "--config", tmp_path / "deep.json")


def _folder(path):
    path.mkdir()
    return path


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["what", "picture", "image"]) | st.text(max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.dictionaries(KEYS, VALUES, max_size=3).filter(lambda c: not c.get("picture")))
def test_any_config_is_obeyed_or_refused_in_a_line(capsys, tmp_path_factory, content):
    path = tmp_path_factory.mktemp("c") / "c.json"
    path.write_text(json.dumps(content))
    status, _, err = run(capsys, "list", "--config", path)
    assert status in (0, 2)
    assert err.count("\n") == (1 if status else 0)


def _weights(folder):
    return kf.load_model(folder).get_weights()


SMALL = "--image-size 32 --filters 2 --latent-dim 4 --hidden-units 8 --count 0"


def test_a_training_is_said_by_a_config_as_by_flags(capsys, tmp_path):
    (tmp_path / "c.toml").write_text(
        'model = "vae"\nsteps = 2\nbatch-size = 20\ncrop = "squash"\nseed = 3\ncount = 0\n'
        "[hyperparameters]\nimage_size = 32\nfilters = 3\nlatent_dim = 4\nhidden_units = 8\n"
        "learning_rate = 2e-3\n"
    )
    words = f"{SMALL} --steps 2 --batch-size 20 --crop squash --seed 3 --learning-rate 2e-3"
    by_config = ("train", "--config", tmp_path / "c.toml", "--filters", 2, "--run", tmp_path / "a")
    assert run(capsys, *by_config)[0] == 0
    assert run(capsys, "train", "vae", *words.split(), "--run", tmp_path / "b")[0] == 0
    for one, other in zip(_weights(tmp_path / "a"), _weights(tmp_path / "b"), strict=True):
        assert np.array_equal(one, other)


def test_a_runs_config_trains_the_same_again(capsys, tmp_path):
    words = f"{SMALL} --steps 3 --batch-size 20 --split all --seed 5 --schedule cosine --ema 0.9"
    assert run(capsys, "train", "vae", *words.split(), "--run", tmp_path / "a")[0] == 0
    again = ("train", "--config", tmp_path / "a" / "config.json", "--run", tmp_path / "b")
    status, out, _ = run(capsys, *again)
    assert status == 0
    assert "model, data, batch_size, split, test_fraction, crop, mirror, steps, seed" in out
    assert "versions" in out
    for one, other in zip(_weights(tmp_path / "a"), _weights(tmp_path / "b"), strict=True):
        assert np.array_equal(one, other)
    records = ("command", "versions", "optimizer")  # which is numbered within a process
    first, second = (
        {k: v for k, v in kf.runs.Run(tmp_path / name).config().items() if k not in records}
        for name in "ab"
    )
    assert first == second
    _, out, _ = run(capsys, *again[:3], "--run", tmp_path / "c", "--epochs", 1, "--seed", 6)
    config = kf.runs.Run(tmp_path / "c").config()
    assert (config["epochs"], config["steps"], config["seed"]) == (1, None, 6)
    damaged = tmp_path / "a" / "config.json"
    damaged.write_text(damaged.read_text().replace('"filters": 2', '"filters": 3', 1))
    assert "not as it was written" in refused(capsys, *again[:3], "--run", tmp_path / "d")


# Recipes of one's own.

RECIPE = """
model = "vae"

[paper]
data = "orl"
steps = 2
batch_size = 20
grid_epochs = [1]

[paper.hyperparameters]
image_size = 32
filters = 2
latent_dim = 4
"""


def test_a_recipe_of_ones_own_is_trained_and_its_run_can_be_repeated(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text(RECIPE)
    words = ("--recipe", tmp_path / "mine.toml", "--count", 0, "--latent-dim", 3)
    assert run(capsys, "train", "vae", *words, "--run", tmp_path / "run")[0] == 0
    config = kf.runs.Run(tmp_path / "run").config()
    taken = config["hyperparameters"]
    assert (taken["filters"], taken["latent_dim"], config["steps"]) == (2, 3, 2)
    assert config["recipe"] == str(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").unlink()
    again = ("--config", tmp_path / "run" / "config.json", "--run", tmp_path / "again")
    assert run(capsys, "train", *again)[0] == 0
    for one, other in zip(_weights(tmp_path / "run"), _weights(tmp_path / "again"), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('model = "vae"', 'model = "vea"', "'vae'"),
        ('model = "vae"', "", "model is missing"),
        ("[paper]", "[papers]", "'paper'"),
        ("[paper]", "[paper", "line 4"),
        ("steps = 2", 'steps = "two"', "paper.steps must be a whole number"),
        ("steps = 2", "stepz = 2", "'steps'"),
        ("filters = 2", "filterz = 2", "'filters'"),
        ("filters = 2", "filters = 2.5", "paper.hyperparameters.filters must be a whole number"),
        ('data = "orl"', 'data = "orl"\ncrop = "squish"', "'squash'"),
        ('data = "orl"', 'data = "orl"\nsplit = "al"', "'all'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_its_file_and_key(
    capsys, tmp_path, before, after, expected
):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.replace(before, after))
    line = refused(capsys, "train", "vae", "--recipe", path, "--run", tmp_path / "run")
    assert expected in line
    assert str(path) in line


def test_a_recipe_file_that_is_not_there_or_lacks_the_budget_is_refused(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    assert "No such file" in refused(capsys, "train", "vae", "--recipe", path)
    path.write_text(RECIPE)
    words = ("train", "vae", "--recipe", path, "--budget", "quick", "--run", tmp_path / "run")
    assert "has no budget 'quick'" in refused(capsys, *words)
