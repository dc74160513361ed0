"""Several sources as one: names, people, splits, labels, addresses, flags."""

import itertools
import json
import warnings

import layouts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data import everything, numbered, open_quietly

import keras_faces as kf
from keras_faces import session
from keras_faces.cli import main
from keras_faces.commands import parse
from keras_faces.data.cache import prepare
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources import Entry, Source, open_source


@pytest.fixture
def people(picture_folder):
    """Two people with two pictures each."""
    pictures = [f"{name}/{number}.png" for name in ("ann", "bob") for number in (1, 2)]
    shades = [np.full((8, 8), 20 * number, np.uint8) for number in range(4)]
    return picture_folder(dict(zip(pictures, shades)), "people")


@pytest.fixture
def faces(picture_folder):
    return picture_folder(numbered(10))


def test_all_pictures_of_all_sources_are_there_in_their_order(people, faces):
    together = open_quietly([people, faces], image_size=8, batch_size=1, split="all")
    alone = [open_quietly(p, image_size=8, batch_size=1, split="all") for p in (people, faces)]
    expected = [f"{n}/{name}" for n, one in enumerate(alone, 1) for name in one.cache.names]
    assert together.cache.names == expected
    assert np.array_equal(everything(together), np.concatenate([everything(a) for a in alone]))


def test_a_list_of_one_is_that_one(people):
    assert open_source([people]).address == open_source(people).address
    assert open_source([open_source(people)]).entries() == open_source(people).entries()


def test_nobody_is_on_pictures_of_two_sources(picture_folder):
    shade = np.zeros((8, 8), np.uint8)
    folders = [picture_folder({"ann/1.png": shade, "bob/1.png": shade}, name) for name in "ab"]
    stream = open_quietly(folders, image_size=8, batch_size=1, split="all", labels="identity")
    assert stream.label_names == ["1/ann", "1/bob", "2/ann", "2/bob"]


def test_the_recorded_address_opens_the_same_from_any_folder(people, faces, monkeypatch, tmp_path):
    monkeypatch.chdir(people.parent)
    source = open_source([people.name, faces.name])
    monkeypatch.chdir(tmp_path)
    again = open_source(source.address)
    assert list(again.entries()) == list(source.entries())
    assert (again.address, again.listing()) == (source.address, source.listing())


def test_a_source_within_several_is_one_among_them(people, faces):
    nested = open_source([open_source([people, faces]).address, "orl"])
    assert nested.address == open_source([people, faces, "orl"]).address


class Listed(Source):
    """Entries alone."""

    numbers = itertools.count()

    def __init__(self, entries):
        self._entries = entries
        self.title = self.address = f"listed {next(self.numbers)}"

    def entries(self):
        return self._entries


@st.composite
def listings(draw):
    """The entries of a source: with or without people, with or without splits of its own."""
    count = draw(st.integers(2, 30))
    people = draw(st.sampled_from([None, 1, 2, 7]))
    split = draw(st.booleans())
    sides = draw(st.lists(st.sampled_from(["train", "validation", "test"]), min_size=30))
    return [
        Entry(f"{n}.png", people and f"p{n % people}", sides[n] if split else None)
        for n in range(count)
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(listings(), min_size=2, max_size=4))
def test_every_source_keeps_its_splits_or_holds_some_of_its_own_out(parts):
    source = open_source([Listed(entries) for entries in parts])
    entries = list(source.entries())
    assert len(set(entry.name for entry in entries)) == len(entries)
    assert list(source.entries()[3:]) == entries[3:]
    for number, own in enumerate(parts, 1):
        found = [e for e in entries if e.name.startswith(f"{number}/")]
        assert [e.name.partition("/")[2] for e in found] == [e.name for e in own]
        if own[0].split:
            assert [e.split for e in found] == [e.split for e in own]
            continue
        assert {e.split for e in found} == {"train", "test"}
        sides = {side: {e.identity for e in found if e.split == side} for side in ("train", "test")}
        assert sum(e.split == "test" for e in found) <= len(found) / 2 + 1
        if len({e.identity for e in own}) > 1:
            assert not sides["train"] & sides["test"]


def test_what_was_held_out_is_said(people, faces):
    remarks = open_source([people, faces], people="folders").remarks()
    assert "4 pictures" in remarks[0] and "a tenth of the people held out" in remarks[0]
    assert "10 pictures" in remarks[1] and "a tenth of the pictures held out" in remarks[1]


def test_one_source_twice_is_refused(people, faces, tmp_path):
    (tmp_path / "link").symlink_to(people)
    for other in (people, tmp_path / "link", f"casia:{people}"):
        with pytest.raises(kf.UserError, match="the same folder or file"):
            open_source([people, faces, other])


def test_bad_lists_are_refused():
    for bad in ([], "several:", "several:[]", "several:{}", "several:[1]", "several:[[]]"):
        with pytest.raises(kf.UserError, match="list"):
            open_source(bad)
    with pytest.raises(kf.UserError, match="'nowhere'"):
        open_source(["orl", "nowhere"])


def test_channels_are_those_of_the_most_colourful(faces, picture_folder):
    colour = picture_folder({"a.png": np.zeros((8, 8, 3), np.uint8)}, "colour")
    assert kf.data.guess_channels(open_source([faces, colour])) == 3
    assert kf.data.guess_channels(open_source([faces, "orl"])) == 1


def test_attributes_of_the_same_names_are_joined_whatever_their_order(picture_folder):
    shade = np.zeros((8, 8), np.uint8)
    one = picture_folder({"a.png": shade, "attributes.csv": b"file,hat,old\na.png,1,0\n"}, "one")
    two = picture_folder({"a.png": shade, "attributes.csv": b"file,old,hat\na.png,1,0\n"}, "two")
    stream = open_quietly([one, two], image_size=8, batch_size=1, split="all", labels="attributes")
    assert stream.label_names == ["hat", "old"]
    assert stream.label_table.at(np.arange(2)).tolist() == [[1, 0], [0, 1]]


def test_attributes_that_differ_are_named_where_they_are_wanted(faces, capsys, tmp_path):
    with pytest.raises(kf.UserError, match=r"'orl' 4, of which 4 .* alone: beard, glasses"):
        open_quietly([faces, "orl"], image_size=8, batch_size=1, labels="attributes")
    with pytest.raises(kf.UserError, match="must have the same attributes"):
        kf.data.labels_of([faces, "orl"])
    sheet = ["--image-size", "8", "--out", str(tmp_path / "sheet.png")]
    assert main(["data", "info", str(faces), "orl", *sheet]) == 0
    assert "of which 4 are in one of them alone" in capsys.readouterr().out
    open_quietly([faces, "orl"], image_size=8, batch_size=1)  # without attributes it goes


def test_celeba_and_casia_train_together_each_by_its_own_rules(tmp_path, capsys):
    celeba = layouts.write(
        {**layouts.celeba_pictures(), **layouts.celeba_texts()}, tmp_path / "celeba"
    )
    people = {
        f"{p:07d}/{n}.jpg": layouts.face(10 * p + n, 112, 112) for p in range(3) for n in (1, 2)
    }
    casia = layouts.write(people, tmp_path / "casia")
    both = [f"casia:{casia}", f"celeba:{celeba}"]
    source = open_source(both)
    assert "CASIA-WebFace" in source.credit and "CelebA" in source.credit
    sides = [
        {e.name for e in open_source(both[1]).entries() if e.split == side}
        for side in ("validation", "test")
    ]
    for side, own in zip(("validation", "test"), sides):
        stream = open_quietly(both, image_size=8, batch_size=1, split=side)
        names = {stream.cache.name(int(n)) for n in stream.indices}
        assert {n for n in names if n.startswith("2/")} == {f"2/{name}" for name in own}
        assert any(n.startswith("1/") for n in names) == (side == "test")
    with pytest.raises(kf.UserError, match="landmarks"):
        open_quietly(both, image_size=8, batch_size=1, labels="landmarks")
    capsys.readouterr()
    assert main(["data", "info", *both, "--out", str(tmp_path / "sheet.png")]) == 0
    assert "of which 10 are in one of them alone: lefteye_x" in capsys.readouterr().out


class OneByOne(Listed):
    """Pictures that come only one after the other, of which one is bad."""

    sequential = True

    def pictures(self, start=0):
        for number in range(start, len(self._entries)):
            picture = np.full((8, 8, 1), 10 * number, np.uint8)
            yield self._entries[number], BadPicture("torn") if number == 1 else picture

    def make_listing(self):
        return self.title.replace(" ", "-")


@pytest.mark.parametrize("start", range(14))
def test_pictures_that_come_one_by_one_join_others_at_every_start(faces, start):
    stream = OneByOne([Entry(f"{number}") for number in range(4)])
    source = open_source([faces, stream])
    assert source.sequential
    pictures = list(source.pictures(start))
    assert [entry for entry, _ in pictures] == list(source.entries())[start:]
    assert [type(p) for _, p in pictures] == (
        [bytes] * 10 + [np.ndarray, BadPicture, np.ndarray, np.ndarray]
    )[start:]
    if start == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = prepare(source, "center", 8, 1, progress=False)
        assert cache.bad == [["2/1", "torn"]]
        assert cache.read(range(cache.count))[:, 0, 0, 0].tolist()[-3:] == [0, 20, 30]


def test_sketches_are_used_where_all_sources_have_some(tmp_path):
    def pairs(name):
        files = layouts.write(
            {f"{side}/a.png": layouts.face(1, 16, 16, "PNG") for side in ("photos", "sketches")},
            tmp_path / name,
        )
        return f"pairs:{files}"

    both = [pairs("one"), pairs("two")]
    stream = open_quietly(both, image_size=8, batch_size=1, split="all", labels="sketch")
    assert stream.cache.names == ["1/photos/a.png", "2/photos/a.png"]
    with pytest.warns(UserWarning, match="'orl' has none"):
        assert open_source([both[0], "orl"]).sketches() is None


def test_flags_given_several_times_and_lists_of_configs_are_several_sources(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"data": ["orl", str(tmp_path)]}))
    for words in (["--data", "orl", "--data", str(tmp_path)], ["--config", str(config)]):
        _, given = parse(["train", "vae", *words])
        assert given.kwargs["data"] == ["orl", str(tmp_path)]
    # One source after each flag, so that what stands behind it is not taken for another.
    _, given = parse(["evaluate", "--data", "orl", "vae-orl-64"])
    assert given.args == ("vae-orl-64",) and given.kwargs["real"].data == ["orl"]
    _, given = parse(["train", "vae", "--config", str(config), "--data", "orl"])
    assert given.kwargs["data"] == ["orl"]
    config.write_text(json.dumps({"data": ["orl", 3.5]}))
    for command in (["train", "vae"], ["evaluate", "vae-orl-64"]):
        with pytest.raises(kf.UserError, match="data must be text"):
            parse([*command, "--config", str(config)])


def test_a_recipe_may_name_several_sources(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('model = "vae"\n[paper]\ndata = ["orl", "x"]\n')
    assert kf.recipes.load_recipe(recipe).arguments("paper")["data"] == ["orl", "x"]


def test_a_run_on_several_sources_finds_them_where_they_lie_now(
    tmp_path, people, faces, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    trained = []
    monkeypatch.setattr(session, "_run_training", lambda *words: trained.append(words[3]))
    small = ["--image-size", "32", "--batch-size", "4", "--steps", "2", "--run", "r"]
    sources = ["--data", str(people), "--data", str(faces), "--people", "folders"]
    assert main(["train", "dense_vae", *sources, *small]) == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["data"]["source"] == open_source([people, faces], "folders").address
    assert config["data"]["pictures"] == 11
    moved = faces.rename(tmp_path / "moved")
    assert main(["resume", "r"]) == 2
    assert main(["resume", "r", "--data", str(people), "--data", str(moved)]) == 0
    assert main(["resume", "r"]) == 0
    assert [stream.count for stream in trained] == [11, 11, 11]
    capsys.readouterr()
    assert main(["resume", "r", "--data", str(moved), "--data", str(people)]) == 2
    assert "have changed since the run began" in capsys.readouterr().err
