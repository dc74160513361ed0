"""Photos with sketches: CUFS, two folders, side by side, and training a CycleGAN on them."""

import errno
import io
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces import session
from keras_faces.cli import main
from keras_faces.data.decode import BadPicture
from keras_faces.data.sketches import write_sketches
from keras_faces.data.sources import open_source
from keras_faces.data.sources.pairs import match
from keras_faces.pencil import pencil_sketch
from keras_faces.pictures import rows_grid, save_picture
from keras_faces.plan import TrainingPlan


def level(value: int, size=(10, 8)) -> np.ndarray:
    """A picture whose only grey level tells which one it is."""
    return np.full(size, value, np.uint8)


def shown(picture) -> int:
    """The grey level of a picture, given as a file or as pixels."""
    if isinstance(picture, bytes):
        with Image.open(io.BytesIO(picture)) as image:
            picture = np.asarray(image)
    return round(float(np.mean(picture)))


def levels(source) -> list[tuple[int, int]]:
    """The levels of each photo and of its sketch."""
    sketches = source.sketches()
    assert list(sketches.entries()) == list(source.entries())
    return [
        (shown(source.read(entry.name)), shown(sketches.read(entry.name)))
        for entry in source.entries()
    ]


# ---------------------------------------------------------------------------------------------
# Two folders

CUHK = {
    "photos": ["f-005-01.jpg", "f1-001-01.jpg", "f1-005-01.jpg", "m-008-01.jpg", "m1-008-01.jpg"],
    "sketches": [
        "F2-005-01-sz1.jpg",
        "f1-001-01-sz1.jpg",
        "f1-005-01-sz1.jpg",
        "M2-008-01-sz1.jpg",
        "m1-008-01-sz1.jpg",
    ],
}
LAYOUTS = {
    "CUHK": CUHK,
    "AR": {
        "photo": ["m-001-1.png", "m-002-1.png", "w-001-1.png"],
        "sketch": ["m-001-1-sz1.png", "m-002-1-sz1.png", "w-001-1-sz1.png"],
    },
    "XM2VTS": {"photo": ["000_1_1.png", "003_1_1.png"], "sketch": ["000.png", "003.png"]},
    "A and B": {"A": ["1.png", "2.png"], "B": ["1.png", "2.png"]},
    "trainA": {"trainA": ["1.png", "2.png"], "trainB": ["1.jpg", "2.jpg"]},
    "the download's folders": {
        "CUHK_testing_photo/photo": ["f-005-01.png", "m-008-01.png"],
        "CUHK_testing_sketch/sketch": ["F2-005-01-sz1.png", "M2-008-01-sz1.png"],
    },
    "words in names": {
        "Photographs": ["photo_1.png", "Anna-photo.png"],
        "Drawings": ["sketch_1.png", "anna-SKETCH.png"],
    },
    "people's folders": {
        "photos/anna": ["1.png"],
        "photos/berta": ["1.png"],
        "sketches/anna": ["1.png"],
        "sketches/berta": ["1.png"],
    },
}


def as_folder(picture_folder, layout: dict[str, list[str]]) -> Path:
    """Write the layout; a photo has level 10, 20, ..., its sketch 101, 102, ... by its place."""
    pictures = {}
    counts = [0, 0]
    for folder, names in layout.items():
        side = int("sketch" in folder.lower() or folder[-1] == "B" or folder == "Drawings")
        for name in names:
            counts[side] += 1
            pictures[f"{folder}/{name}"] = level(((10, 1)[side] * counts[side] + 100 * side) % 256)
    return picture_folder(pictures)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_photos_find_their_sketches(name, zipped, picture_folder, tmp_path):
    layout = LAYOUTS[name]
    path = as_folder(picture_folder, layout)
    if zipped:
        with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
            for file in path.rglob("*.*"):
                archive.write(file, f"pairs/{file.relative_to(path).as_posix()}")
        path = tmp_path / "pairs.zip"
    source = open_source(f"pairs:{path}")
    count = sum(map(len, layout.values())) // 2
    assert sorted(levels(source)) == [(10 * n, 100 + n) for n in range(1, count + 1)]
    assert [entry.identity for entry in source.entries()] == [None] * count
    again = open_source(source.address)
    assert again.listing() == source.listing() != source.sketches().listing()
    sketches = open_source(source.sketches().address)
    assert [shown(sketches.read(entry.name)) for entry in sketches.entries()] == [
        sketch for _, sketch in levels(source)
    ]
    assert sketches.sketches() is None


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "layout, known",
    [
        (CUHK, True),
        (LAYOUTS["words in names"], True),
        (LAYOUTS["trainA"], False),  # which may be horses and zebras
        ({"photos": ["1.png", "2.png"], "paintings": ["1.png", "2.png"]}, False),
        ({**CUHK, "others": ["1.png"]}, False),
        (LAYOUTS["the download's folders"], True),
        (LAYOUTS["people's folders"], True),
        ({side: [f"{n}.png" for n in range(60)] for side in ("photos", "sketches")}, True),
    ],
)
def test_photos_beside_sketches_are_recognised_without_a_scheme(
    layout, known, zipped, picture_folder, tmp_path
):
    path = as_folder(picture_folder, layout)
    if zipped:
        path = shutil.make_archive(tmp_path / "pairs", "zip", path)
    assert (open_source(path).sketches() is not None) == known


def test_the_contact_sheet_shows_each_photo_beside_its_sketch(picture_folder, tmp_path, capsys):
    folder = as_folder(
        picture_folder, {"photos": ["1.png", "2.png"], "sketches": ["1.png", "2.png"]}
    )
    sheet = tmp_path / "sheet.png"
    words = ["--image-size", "8", "--count", "4", "--out", str(sheet)]
    assert main(["data", "info", str(folder), *words]) == 0
    assert "sketches: one for each photo" in capsys.readouterr().out
    with Image.open(sheet) as image:
        tiles = np.asarray(image)[[6, 16]][:, [6, 16]]
    assert tiles.tolist() == [[10, 101], [20, 102]]


def test_folders_are_people_where_that_is_said(picture_folder):
    layout = {
        "train/photos/anna": ["1.png", "2.png"],
        "train/sketches/anna": ["1.png", "2.png"],
        "train/photos/berta": ["1.png"],
        "train/sketches/berta": ["1.png"],
    }
    path = as_folder(picture_folder, layout)
    source = open_source(f"pairs:{path}?people=folders")
    assert [entry.identity for entry in source.entries()] == ["anna", "anna", "berta"]
    assert source.sketches().entries() == source.entries()
    assert open_source(source.address).entries() == source.entries()
    plain = open_source(f"pairs:{path}")
    assert {entry.identity for entry in plain.entries()} == {None}
    assert plain.listing() != source.listing()
    with pytest.raises(kf.UserError, match="value of people"):
        open_source(f"pairs:{path}?people=classes")


def test_people_without_folders_are_refused_by_name(picture_folder):
    path = as_folder(picture_folder, {"photos": ["1.png"], "sketches": ["1.png"]})
    with pytest.raises(kf.UserError, match=r"'photos/1\.png' is in none"):
        open_source(f"pairs:{path}?people=folders")


def test_bad_sketches_are_checked_and_named_too(picture_folder, capsys):
    folder = as_folder(
        picture_folder, {"photos": ["1.png", "2.png"], "sketches": ["1.png", "2.png"]}
    )
    (folder / "sketches" / "2.png").write_bytes(b"no picture")
    assert main(["data", "check", str(folder), "--image-size", "8"]) == 0
    assert "sketches: bad: 2.png" in capsys.readouterr().out.replace("photos/", "")


def test_two_photos_of_one_stem_stay_two(picture_folder):
    folder = picture_folder(
        {"A/1.png": level(1), "A/1.jpg": level(9), "B/1.png": level(101), "B/1.jpg": level(109)}
    )
    with pytest.warns(UserWarning, match="1 of 2 photos and 1 of 2 sketches"):
        assert len(open_source(f"pairs:{folder}").entries()) == 1


def test_photos_and_sketches_without_a_partner_are_counted_and_named(picture_folder):
    folder = picture_folder(
        {
            "photos/anna.png": level(10),
            "photos/berta.png": level(20),
            "photos/carla.png": level(30),
            "sketches/berta.png": level(102),
            "sketches/dora.png": level(104),
        }
    )
    with pytest.warns(UserWarning, match="2 of 3 photos and 1 of 2 sketches") as warned:
        source = open_source(f"pairs:{folder}")
    for name in ("photos/anna.png", "photos/carla.png", "sketches/dora.png"):
        assert f"\n  {name}" in str(warned[0].message)
    assert levels(source) == [(20, 102)]
    for entry in source.entries():
        assert entry.name == "photos/berta.png"


def test_where_no_name_fits_unpaired_use_is_offered(picture_folder):
    folder = picture_folder({"A/anna.png": level(10), "B/berta.png": level(101)})
    with pytest.raises(kf.UserError, match=r"None of the 1 photos.*paired=no"):
        open_source(f"pairs:{folder}")
    assert levels(open_source(f"pairs:{folder}?paired=no")) == [(10, 101)]


def test_folders_of_other_names_are_given(picture_folder):
    folder = picture_folder(
        {
            "people/1.png": level(10),
            "people/2.png": level(20),
            "cropped_sketch/1.png": level(101),
            "cropped_sketch/2.png": level(102),
            "original_sketch/1.png": level(201),
            "original_sketch/2.png": level(202),
        }
    )
    with pytest.raises(kf.UserError, match=r"no layout.*photos=FOLDER&sketches=FOLDER"):
        open_source(f"pairs:{folder}")
    source = open_source(f"pairs:{folder}?photos=people&sketches=cropped_sketch")
    assert levels(source) == [(10, 101), (20, 102)]
    assert levels(open_source(source.address)) == levels(source)


@pytest.mark.parametrize("form", ["{split}/photos {split}/sketches", "{split}A {split}B"])
def test_folders_of_splits_are_kept(form, picture_folder):
    photos, sketches = form.split()
    pictures = {}
    for number, split in enumerate(["train", "train", "test", "val"], 1):
        pictures[f"{photos.format(split=split)}/{number}.png"] = level(10 * number)
        pictures[f"{sketches.format(split=split)}/{number}.png"] = level(100 + number)
    source = open_source(f"pairs:{picture_folder(pictures)}")
    found = {shown(source.read(entry.name)): entry.split for entry in source.entries()}
    assert found == {10: "train", 20: "train", 30: "test", 40: "validation"}
    assert sorted(levels(source)) == [(10, 101), (20, 102), (30, 103), (40, 104)]


def test_one_split_alone_is_none(picture_folder):
    folder = picture_folder({"trainA/1.png": level(10), "trainB/1.png": level(101)})
    assert [entry.split for entry in open_source(f"pairs:{folder}").entries()] == [None]


# ---------------------------------------------------------------------------------------------
# No pairs


@pytest.mark.parametrize(("photos", "sketches"), [(5, 2), (2, 5), (3, 3)])
def test_unpaired_sketches_are_dealt_out_in_turn(photos, sketches, picture_folder):
    pictures = {f"trainA/p{n}.png": level(n) for n in range(photos)}
    pictures |= {f"trainB/s{n}.png": level(100 + n) for n in range(sketches)}
    source = open_source(f"pairs:{picture_folder(pictures)}?paired=no")
    assert levels(source) == [(n, 100 + n % sketches) for n in range(photos)]
    assert source.address.endswith("?paired=no")


def test_unpaired_sketches_stay_on_their_side_of_the_split(picture_folder):
    pictures = {f"trainA/{n}.png": level(n) for n in range(3)}
    pictures |= {f"testA/{n}.png": level(50 + n) for n in range(2)}
    pictures |= {"trainB/x.png": level(101), "testB/y.png": level(201)}
    source = open_source(f"pairs:{picture_folder(pictures)}?paired=no")
    assert {(photo < 50, sketch < 200) for photo, sketch in levels(source)} == {
        (True, True),
        (False, False),
    }


# ---------------------------------------------------------------------------------------------
# Side by side


def side_by_side(left: int, right: int, size: int = 8) -> np.ndarray:
    return np.concatenate([level(left, (size, size)), level(right, (size, size))], 1)


@pytest.mark.parametrize(("query", "swapped"), [("", False), ("?photo=right", True)])
def test_halves_of_a_picture_are_photo_and_sketch(query, swapped, picture_folder):
    folder = picture_folder(
        {
            "train/1.png": side_by_side(10, 101),
            "train/2.png": np.stack([side_by_side(20, 102)] * 3, -1),
            "test/1.png": side_by_side(30, 103),
        }
    )
    source = open_source(f"pairs:{folder}{query}")
    found = levels(source)
    expected = [(30, 103), (10, 101), (20, 102)]
    assert found == [pair[::-1] if swapped else pair for pair in expected]
    assert [entry.split for entry in source.entries()] == ["test", "train", "train"]
    assert source.read("train/1.png").shape == (8, 8, 1)
    assert source.sketches().read("train/2.png").shape == (8, 8, 3)
    assert levels(open_source(source.address)) == found


def test_halves_that_look_swapped_are_told(picture_folder):
    folder = picture_folder({f"{n}.png": side_by_side(250, 90 + n) for n in range(5)})
    with pytest.warns(UserWarning, match=r"left halves look like sketches.*\?photo=right"):
        open_source(f"pairs:{folder}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert levels(open_source(f"pairs:{folder}?photo=right"))[1] == (91, 250)


def test_halves_of_every_kind_of_picture_are_8_bit_grey_or_colour(picture_folder):
    left, right = level(10, (8, 8)), level(200, (8, 8))
    both = np.concatenate([left, right], 1)
    clear = np.stack([both, both, both, np.concatenate([left * 0, right * 0 + 255], 1)], -1)
    folder = picture_folder(
        {
            "16bit.png": Image.fromarray(both.astype(np.uint16) * 256),
            "cmyk.jpg": Image.fromarray(np.stack([255 - both] * 3, -1)).convert("CMYK"),
            "palette.png": Image.fromarray(both).convert("P"),
            "clear.png": Image.fromarray(clear),
            "odd.png": np.concatenate([left, level(99, (8, 1)), right], 1),
        }
    )
    source = open_source(f"pairs:{folder}?layout=side-by-side")
    for entry in source.entries():
        photo, sketch = source.read(entry.name), source.sketches().read(entry.name)
        assert photo.dtype == sketch.dtype == np.uint8
        assert photo.shape[:2] == sketch.shape[:2] == (8, 8)
    assert shown(source.read("16bit.png")) == 10
    assert shown(source.read("clear.png")) == 255  # transparent is white
    assert (shown(source.read("odd.png")), shown(source.sketches().read("odd.png"))) == (10, 200)


def test_a_damaged_picture_side_by_side_is_a_bad_one(picture_folder):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 32), np.uint8)).save(data, "PNG")
    folder = picture_folder(
        {
            "1.png": side_by_side(1, 2),
            "2.png": b"none",
            "3.png": data.getvalue()[:-300],
            "4.png": b"",
        }
    )
    source = open_source(f"pairs:{folder}")
    assert shown(source.read("1.png")) == 1
    for name in ("2.png", "3.png", "4.png"):
        for side in (source, source.sketches()):
            with pytest.raises(BadPicture):
                side.read(name)


# ---------------------------------------------------------------------------------------------
# What is refused


def test_what_shows_no_layout_is_refused_with_what_was_found(picture_folder, tmp_path):
    folder = picture_folder({"x/1.png": level(1), "x/2.png": level(2), "y/1.png": level(3)})
    with pytest.raises(kf.UserError, match=r"x \(2\), y \(1\), pictures of 8x10 .*side-by-side"):
        open_source(f"pairs:{folder}")
    with pytest.raises(kf.UserError, match="has no folder of photos"):
        open_source(f"pairs:{folder}?layout=folders")
    with pytest.raises(kf.UserError, match="Check the path"):
        open_source(f"pairs:{tmp_path / 'nowhere'}")
    for query, message in (
        ("layout=side", "no layout named 'side'.*'side-by-side'"),
        ("photo=middle", "no half named"),
        ("paired=maybe", "answer to 'paired'"),
        ("only=drawings", "no side named"),
        ("color=1", "does not know 'color=1'.*layout, photo"),
    ):
        with pytest.raises(kf.UserError, match=message):
            open_source(f"pairs:{folder}?{query}")


def test_photos_alone_have_no_sketches():
    assert open_source("orl").sketches() is None


# ---------------------------------------------------------------------------------------------
# Matching


NAMES = st.text("abfm0123-_", min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, unique=True), st.lists(NAMES, unique=True))
def test_matching_gives_each_at_most_one_partner_and_equal_names_each_other(photos, sketches):
    partners = match(photos, sketches)
    assert len(set(partners.values())) == len(partners)
    assert set(partners) <= set(photos)
    assert set(partners.values()) <= set(sketches)
    assert all(partners[name] == name for name in set(photos) & set(sketches))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("fm"), st.integers(0, 99), st.integers(1, 2)), unique=True),
    st.randoms(use_true_random=False),
)
def test_cuhk_names_match_in_any_order(people, random):
    photos = [f"{sex}-{number:03d}-{shot:02d}" for sex, number, shot in people]
    sketches = [f"{sex.upper()}2-{number:03d}-{shot:02d}-sz1" for sex, number, shot in people]
    shuffled = random.sample(sketches, len(sketches))
    assert match(photos, shuffled) == dict(zip(photos, sketches))


# ---------------------------------------------------------------------------------------------
# Training


@pytest.fixture
def pairs(orl_path, tmp_path) -> Path:
    """Ten people of ORL with sketches of them by the filter, the sketches marked by a corner."""
    folder = tmp_path / "people"
    folder.mkdir()
    for person in range(1, 11):
        with Image.open(orl_path / f"s{person}" / "1.pgm") as image:
            image.save(folder / f"m-{person:03d}-01.png")
    write_sketches(folder, tmp_path / "pairs", 32, progress=False)
    for file in (tmp_path / "pairs" / "sketches").iterdir():
        file.rename(file.with_name(f"M2{file.stem[1:]}-sz1.png"))
    return tmp_path / "pairs"


def loaded(pairs, **arguments):
    arguments = {"batch_size": 5, "labels": "sketch", "progress": False, **arguments}
    return kf.data.open_faces(f"pairs:{pairs}", 32, **arguments)


def test_load_yields_photos_with_their_own_sketches(pairs):
    dataset = kf.data.load(f"pairs:{pairs}", 32, 3, labels="sketch", progress=False)
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(3, 32, 32, 1)] * 2
    for photos, sketches in dataset.as_numpy_iterator():
        assert photos.dtype == sketches.dtype == np.float32
        np.testing.assert_allclose(sketches, np.array(pencil_sketch(photos)), atol=0.02)


def test_a_cyclegan_never_sees_a_sketch_beside_its_own_photo(pairs):
    model = kf.create_model("cyclegan", image_size=32, channels=1, filters=2, pool_size=0)
    for photos, sketches in loaded(pairs):
        drawn = np.array(model.sample_noise(photos, sketches)[1])
        assert np.array_equal(drawn, np.roll(sketches, 1, 0))
        assert (np.abs(drawn - sketches).max((1, 2, 3)) > 0.1).all()


def begun(monkeypatch, tmp_path, data):
    """Return the model and the stream with which `train` begins."""
    found = []
    monkeypatch.setattr(
        session, "_run_training", lambda run, plan, model, stream, *_: found.extend((model, stream))
    )
    small = {"image_size": 32, "filters": 2, "residual_blocks": 1, "batch_size": 4, "steps": 2}
    kf.train("cyclegan", data=data, run=tmp_path / "run", print_fn=lambda line: None, **small)
    return found


def test_a_cyclegan_takes_the_sketches_of_pairs_by_itself(pairs, tmp_path, monkeypatch, orl_folder):
    model, stream = begun(monkeypatch, tmp_path, f"pairs:{pairs}")
    assert stream.labels == stream.facts["labels"] == "sketch"
    model.compile(run_eagerly=True)
    logs = model.fit(stream, verbose=0).history
    assert np.isfinite([value for values in logs.values() for value in values]).all()
    assert begun(monkeypatch, tmp_path / "photos", orl_folder)[1].labels is None


def test_what_a_cyclegan_shows_are_the_real_sketches(pairs):
    model = kf.create_model("cyclegan", image_size=32, channels=1, filters=2, residual_blocks=1)
    stream = loaded(pairs)
    photos, drawn = stream.sample(5, 3, labelled=True)
    shown = model.gallery(5, 3, "sketches", stream)
    expected = np.asarray(rows_grid(drawn, model.translate(drawn), photos))
    assert np.array_equal(np.asarray(shown["samples"]), expected)
    assert np.array_equal(model.samples(5, 3, "sketches", stream), model.translate(drawn))
    made = model.translate(photos, to="sketch")
    assert set(shown) == {"samples", "cycles", "sketches"}
    expected = np.asarray(rows_grid(photos, drawn, made))
    assert np.array_equal(np.asarray(shown["sketches"]), expected)
    alone = model.gallery(5, 3, "sketches", loaded(pairs, labels=None))
    assert set(alone) == {"samples", "cycles"}


@pytest.mark.slow
def test_a_cyclegan_trains_on_pairs_and_goes_on(pairs, tmp_path):
    said = []
    small = {"image_size": 32, "filters": 2, "residual_blocks": 1, "batch_size": 4, "steps": 2}
    data, folder = f"pairs:{pairs}", tmp_path / "run"
    run = kf.train("cyclegan", data=data, run=folder, count=0, print_fn=said.append, **small)
    assert run.config()["data"]["labels"] == "sketch"
    assert "sketches.png" in said[-1]
    assert kf.resume(run.folder, print_fn=said.append).rows()[-1]["step"] == 2


def test_a_vaegan_learns_each_photos_own_sketch(pairs):
    model = kf.create_model("vaegan", image_size=32, channels=1, filters=2, target="sketch")
    for photos, sketches in loaded(pairs):
        images, targets, *_ = model.sample_noise(photos, sketches)
        assert np.array_equal(images, photos) and np.array_equal(targets, sketches)
    with pytest.raises(kf.UserError, match=r"are of others.*CycleGAN"):
        model.check_stream(loaded(f"{pairs}?paired=no"))


def test_a_training_on_pairs_takes_their_sketches_where_these_are_the_target(pairs):
    source = open_source(f"pairs:{pairs}")
    for chosen, labels in (({}, None), ({"target": "sketch"}, "sketch")):
        plan = TrainingPlan("vaegan", data=f"pairs:{pairs}", hyperparameters=chosen)
        assert plan.with_source(source).labels == labels


def test_a_cyclegan_may_be_asked_for_sketches_that_a_source_has_not(tmp_path):
    with pytest.raises(kf.UserError, match="pairs:PATH"):
        kf.train("cyclegan", labels="sketch", image_size=32, filters=2, run=tmp_path / "run")
    with pytest.raises(kf.UserError, match="learns no conditions"):
        kf.train("cyclegan", labels="attributes", image_size=32, filters=2, run=tmp_path / "run")


# ---------------------------------------------------------------------------------------------
# Sketches by the filter, as files


def test_sketches_of_any_source_are_written_as_pairs(orl_folder, tmp_path, capsys):
    out = tmp_path / "made"
    words = ["data", "sketches", str(orl_folder), "--out", str(out), "--image-size", "48"]
    assert main(words) == 0
    assert f"12 photos with their sketches. Use them as: pairs:{out}" in capsys.readouterr().out
    source = open_source(f"pairs:{out}")
    names = [entry.name for entry in source.entries()]
    assert names[0] == "photos/s1/1.png"
    assert len(names) == 12
    faces = kf.data.open_faces(orl_folder, 48, 12, "all", progress=False)
    photos = next(iter(faces))
    for name, photo, sketch in zip(names, photos, np.array(pencil_sketch(photos))):
        for read, expected in ((source, photo), (source.sketches(), sketch)):
            with Image.open(io.BytesIO(read.read(name))) as image:
                assert np.array_equal(np.asarray(image), kf.data.to_uint8(expected)[..., 0])
    assert main(words) == 2
    assert "not empty" in capsys.readouterr().err


def test_sketches_stopped_by_a_full_disk_go_on_where_they_were(orl_folder, tmp_path, capsys):
    out = tmp_path / "made"
    words = ["data", "sketches", str(orl_folder), "--out", str(out), "--image-size", "48"]
    written = []

    def full(image, path):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return save_picture(image, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_faces.data.sketches.save_picture", full)
        assert main(words) == 2
    said = capsys.readouterr().err
    assert re.search(r"sketches/s1/3.png': No space left on device; [\d,]+ bytes are free", said)
    assert len(list(out.rglob("*.png"))) == 5
    before = {path: path.stat().st_mtime_ns for path in written}
    other = ["data", "sketches", "orl", "--out", str(out), "--image-size", "48"]
    assert main(other) == 2  # another source, whose pictures would be mixed with these
    assert "begun with another source" in capsys.readouterr().err
    assert main(words) == 0
    assert "12 photos" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert len(list(out.rglob("*.png"))) == 24
    assert not list(out.rglob(".*"))


def test_sketches_that_were_interrupted_say_how_to_go_on(orl_folder, tmp_path, capsys, monkeypatch):
    def stops(image, path):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_faces.data.sketches.save_picture", stops)
    assert main(["data", "sketches", str(orl_folder), "--out", str(tmp_path / "made")]) == 130
    assert "Run the same command again to resume" in capsys.readouterr().err


def test_names_that_lead_elsewhere_or_differ_in_suffix_alone_are_written_within(tmp_path):
    path = tmp_path / "faces.zip"
    data = io.BytesIO()
    Image.fromarray(level(10)).save(data, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../up.png", "/top.png", "a/x.png", "a/x.webp"):
            archive.writestr(name, data.getvalue())
    write_sketches(path, tmp_path / "deep" / "out", 32, progress=False)
    written = sorted(
        file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("photos/**/*.png")
    )
    assert written == [f"deep/out/photos/{n}.png" for n in ("a/x", "a/x.webp", "top", "up")]
    assert {file.name for file in tmp_path.iterdir()} == {"faces.zip", "deep"}


def test_halves_are_loaded_as_photos_with_sketches(picture_folder):
    folder = picture_folder({f"{n}.png": side_by_side(10 * n, 100 + n) for n in range(6)})
    stream = kf.data.open_faces(
        f"pairs:{folder}", 8, 6, "all", labels="sketch", channels=1, progress=False
    )
    photos, sketches = stream.read(0)
    assert photos[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert sketches[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 104, 105]
