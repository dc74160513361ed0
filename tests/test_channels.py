"""Grey or colour: what a set of pictures is taken for, and what is said of it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data import guess_channels, look_at_channels, open_source
from keras_faces.data.sources.base import Source

GREY, COLOUR = np.full((8, 8), 90, np.uint8), np.full((8, 8, 3), (90, 20, 30), np.uint8)
GREY_PIXELS = np.full((8, 8, 3), 90, np.uint8)


class Shown(Source):
    """So many arrays, of which only those that are asked for are made."""

    def __init__(self, pictures):
        self.pictures_, self.title, self.asked = list(pictures), "shown", []

    def entries(self):
        return [kf.data.sources.Entry(str(number)) for number in range(len(self.pictures_))]

    def read(self, name):
        self.asked.append(int(name))
        picture = self.pictures_[int(name)]
        return picture[..., None] if picture.ndim == 2 else picture

    def make_listing(self):
        return f"shown-{np.random.default_rng().integers(2**60)}"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize(
    ("pictures", "channels", "told"),
    [
        ([GREY] * 5, 1, "grey: all 5 pictures looked at are grey"),
        ([COLOUR] * 5, 3, "colour: all 5 pictures looked at are in colour"),
        ([GREY] * 4 + [COLOUR], 3, "colour, although 4 of 5 .* are grey: --channels 1"),
        ([GREY_PIXELS] * 3, 3, "colour, although 3 of 3 .* are grey: --channels 1"),
        ([GREY, GREY_PIXELS], 3, "colour, although 2 of 2 .* are grey: --channels 1"),
    ],
    ids=["grey", "colour", "one in colour", "grey in colour files", "grey in some colour files"],
)
def test_pictures_are_grey_where_all_files_are(picture_folder, kind, pictures, channels, told):
    if kind == "webp" and channels == 1:
        pytest.skip("WebP has no grey")
    source = open_source(picture_folder({f"{n}.{kind}": p for n, p in enumerate(pictures)}))
    found, words = look_at_channels(source)
    assert found == guess_channels(source) == channels
    if kind != "webp":
        assert kf.data.open_faces(source, 8, 1, progress=False).image_shape[2] == channels
        assert re.match(told, words)


def test_palettes_transparency_and_16_bits_are_grey_or_not_as_their_files_say(picture_folder):
    for name, image, channels in (
        ("deep", Image.fromarray(np.full((8, 8), 40_000, np.uint16)), 1),
        ("clear", Image.fromarray(GREY).convert("LA"), 1),
        ("bits", Image.fromarray(GREY).convert("1"), 1),
        ("palette", Image.fromarray(COLOUR).convert("P"), 3),
        ("clear colours", Image.fromarray(COLOUR).convert("RGBA"), 3),
    ):
        assert guess_channels(open_source(picture_folder({"a.png": image}, name))) == channels


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1))
def test_pictures_of_the_whole_set_are_looked_at(count, share):
    source = Shown([GREY] * count)
    assert guess_channels(source) == 1
    assert len(source.asked) == min(count, 64) and source.asked == sorted(source.asked)
    assert max(np.diff([0, *source.asked, count - 1])) <= count // 63 + 1
    mixed = round(share * count)
    source = Shown([GREY] * mixed + [COLOUR] * (count - mixed))
    assert guess_channels(source) == (3 if mixed < count else 1)


def test_colour_behind_a_hundred_grey_pictures_is_seen():
    assert guess_channels(Shown([GREY] * 100 + [COLOUR] * 20)) == 3


def test_pictures_that_cannot_be_read_decide_nothing(picture_folder):
    folder = picture_folder({"a.png": b"no picture", "b.png": GREY, "c.png": b""})
    assert look_at_channels(open_source(folder)) == (
        1,
        "grey: all 1 pictures looked at are grey",
    )
    folder = picture_folder({"a.png": b"no picture"}, "bad")
    channels, told = look_at_channels(open_source(folder))
    assert channels == 3 and "none of the pictures" in told


def test_info_and_training_say_what_pictures_are_taken_for(picture_folder, tmp_path, capsys):
    faces = picture_folder({f"{n}.png": COLOUR if n else GREY for n in range(6)})
    told = "colour, although 1 of 6 pictures looked at are grey: --channels 1 makes all grey\n"
    assert main(["data", "info", str(faces), "--out", str(tmp_path / "c.png")]) == 0
    assert f"channels: 3\n{told}" in capsys.readouterr().out
    assert main(["data", "check", str(faces), "--channels", "1"]) == 0
    assert "although" not in capsys.readouterr().out
    small = "--image-size 32 --filters 2 --latent-dim 4 --hidden-units 8 --batch-size 4 --steps 1"
    words = ["train", "vae", "--data", str(faces), "--count", "0", *small.split()]
    assert main([*words, "--run", str(tmp_path / "run")]) == 0
    assert told in capsys.readouterr().out
    assert main([*words, "--run", str(tmp_path / "grey"), "--channels", "1"]) == 0
    assert "although" not in capsys.readouterr().out
