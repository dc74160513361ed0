"""Pictures as large as somebody wants to see them: `--scale`."""

import inspect
import json

import numpy as np
import pytest
from PIL import Image
from test_flags import COMMANDS, meant, refused

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.commands import kinds
from keras_faces.commands.inputs import Drawing
from keras_faces.latent import save_frames
from keras_faces.pictures import new_figure, save_figure, save_picture

FACES = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype("float32")


def squares(pixels, scale):
    return np.kron(pixels, np.ones((scale, scale, *(1,) * (pixels.ndim - 2)), np.uint8))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_each_pixel_becomes_a_square(shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for scale in (1, 3):
        written = Image.open(save_picture(Image.fromarray(pixels), tmp_path / "x.png", scale))
        assert np.array_equal(written, squares(pixels, scale))


def test_animations_and_plots_are_scaled_as_well(tmp_path):
    sizes = [Image.open(save_frames(FACES, tmp_path / "x.gif", scale=s)).size for s in (1, 2)]
    assert sizes == [(128, 128), (256, 256)]
    rows = [np.asarray(Image.open(save_frames(FACES, tmp_path / "x.png", scale=s))) for s in (1, 2)]
    assert np.array_equal(squares(rows[0], 2), rows[1])
    figure = new_figure(2, 1)
    assert Image.open(save_figure(figure, tmp_path / "x.png", 3)).size == (600, 300)


def test_every_command_that_draws_has_a_scale():
    drawing = {"evaluate", "list"}  # where one of their flags asks for it
    for name, app in COMMANDS.items():
        if app.default_command is None:  # a group of others
            continue
        parameters = inspect.signature(app.default_command).parameters.values()
        pictures = [p for p in parameters if str(p.default).endswith(".png")]
        pictures += [p for p in parameters if p.annotation is kinds.Picture]
        if pictures:
            drawing.add(name)
    for name in drawing:
        parameters = inspect.signature(COMMANDS[name].default_command).parameters
        assert any(p.annotation is Drawing for p in parameters.values()), name
    assert {"generate", "blend", "latents", "attribute", "translate", "data info"} <= drawing


def test_a_training_draws_its_faces_at_a_scale_and_so_it_goes_on(tmp_path):
    runs = {scale: tmp_path / str(scale) for scale in (1, 2)}
    plan = {"data": "orl", "batch_size": 180, "epochs": 1, "grid_every": 1, "count": 0}
    for scale, run in runs.items():
        kf.train("vae", image_size=32, filters=2, scale=scale, run=run, print_fn=print, **plan)
        kf.resume(run, epochs=1)
    once, twice = (
        {file.relative_to(run): Image.open(file) for file in sorted(run.rglob("*.png"))}
        for run in runs.values()
    )
    faces = {name for name in once if name.name != "losses.png"}
    assert len(faces) == 7 and once.keys() == twice.keys()
    for name in faces:
        assert np.array_equal(squares(np.asarray(once[name]), 2), twice[name]), name
    small, large = (Image.open(run / "training.gif") for run in runs.values())
    assert [2 * side for side in small.size] == list(large.size) and large.n_frames == 2


def test_callbacks_of_fit_draw_at_a_scale_and_the_run_remembers_it(tmp_path):
    model = kf.create_model("vae", image_size=32, channels=1, filters=2)
    model.compile()
    faces = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype("float32")
    callbacks = kf.callbacks.standard(tmp_path / "run", grid_every=1, scale=3)
    model.fit(faces, epochs=1, callbacks=callbacks, verbose=0)
    (picture,) = (tmp_path / "run" / "grids").glob("samples-*.png")
    assert Image.open(picture).size == (3 * (8 * 34 + 2),) * 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["scale"] == 3


@pytest.mark.parametrize("scale", [0, 17, 1.5, "2", True])
def test_a_training_refuses_a_scale_that_is_none(scale, tmp_path):
    with pytest.raises(kf.UserError, match="scale"):
        kf.train("vae", scale=scale, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_faces_of_a_model_are_drawn_at_a_scale(tmp_path):
    written = {}
    for scale in (1, 2):
        words = ["--count", "3", "--scale", str(scale)]
        for out in (f"grid{scale}.png", f"single{scale}"):
            assert main(["generate", "dcgan-orl-64", *words, "--out", str(tmp_path / out)]) == 0
        places = [tmp_path / f"grid{scale}.png", *sorted((tmp_path / f"single{scale}").iterdir())]
        written[scale] = [np.asarray(Image.open(place)) for place in places]
    assert written[1][0].shape == (134, 134)
    for small, large in zip(*written.values(), strict=True):
        assert np.array_equal(squares(small, 2), large)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("generate vae-orl-64 --scale 0", "must be a whole number of 1 or more"),
        ("generate vae-orl-64 --scale 17", "must be 16 or less"),
        ("generate vae-orl-64 --scale 1.5", "must be a whole number"),
        ("evaluate vae-orl-64 --scale 2", "--scale enlarges the picture of --pairs. Give --pairs"),
        ("list crops --scale 2", "Give --picture as well"),
    ],
)
def test_a_scale_that_cannot_be_meant_or_has_no_effect_is_refused(words, expected, capsys):
    assert expected in refused(capsys, *words.split())


def test_a_scale_is_taken_as_meant():
    assert meant("generate vae-orl-64 --scale 3")["drawing"].scale == 3
    assert "drawing" not in meant("generate vae-orl-64")
