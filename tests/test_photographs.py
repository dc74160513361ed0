"""Faces of whole photographs, `--faces found|aligned`, and what a look at pictures says."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data import open_source, photographs
from keras_faces.data.looking import look
from keras_faces.detection.photographs import find_faces
from keras_faces.runs import Run

pillow_heif.register_heif_opener()

ORIENTATION = 0x0112  # of the EXIF standard
TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def photo(orl_path):
    """Make a photograph of people of ORL: `photo([(person, width, x, y), ...], size)`."""

    def make(people=(), size=(480, 360), shade=90) -> Image.Image:
        image = Image.linear_gradient("L").resize(size).point(lambda grey: shade + grey // 4)
        image = image.convert("RGB")
        for person, width, x, y in people:
            with Image.open(orl_path / f"s{person}" / "1.pgm") as face:
                face = face.resize((width, width * 112 // 92), Image.Resampling.LANCZOS)
            image.paste(face.convert("RGB"), (x, y))
        return image

    return make


def said(capsys, *arguments) -> str:
    assert main([str(argument) for argument in arguments]) in (0, None)
    return capsys.readouterr().out


def faces_of(source, **options) -> np.ndarray:
    stream = kf.data.open_faces(source, 64, 1, "all", channels=1, progress=False, **options)
    return stream.cache.read(range(stream.count))[..., 0].astype(float)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    inner = slice(12, 52), slice(16, 48)
    return float(np.corrcoef(one[inner].ravel(), other[inner].ravel())[0, 1])


@pytest.fixture
def album(photo, tmp_path) -> Path:
    """One person, two of whom the right one is larger, nobody, and a face of 30 pixels."""
    folder = tmp_path / "my album"
    folder.mkdir()
    photo([(1, 180, 150, 60)]).save(folder / "one.jpg", quality=95)
    photo([(2, 120, 30, 90), (4, 180, 260, 60)]).save(folder / "two.jpg", quality=95)
    photo().save(folder / "nobody.jpg")
    photo([(6, 44, 200, 150)]).save(folder / "small.png")
    return folder


@pytest.mark.parametrize("faces", ["found", "aligned"])
def test_every_face_is_taken_and_the_second_of_a_photo_has_a_name_of_its_own(album, faces):
    source = open_source(album, faces=faces)
    assert [entry.name for entry in source.entries()] == ["one.jpg", "two.jpg", "two.jpg#2"]
    largest, second = source.read("two.jpg"), source.read("two.jpg#2")
    assert 1.3 < len(largest) / len(second) < 1.7  # 180 pixels by 120
    [line] = [line for line in source.remarks() if line.startswith("faces:")]
    assert line == (
        f"faces: 3 of 4 pictures, {faces}; several in 1; left out: 1 small (below 40 pixels); "
        "none in 1"
    )


def test_per_photo_largest_takes_one_face_of_each(album):
    source = open_source(album, faces="aligned", per_photo="largest")
    assert [entry.name for entry in source.entries()] == ["one.jpg", "two.jpg"]
    assert "1 beside a larger one" in source.summary()


def test_the_address_opens_the_same_faces_again(album):
    one = open_source(album, faces="aligned", per_photo="largest")
    again = open_source(one.address)
    assert again.entries() == one.entries()
    assert again.listing() == one.listing() != open_source(album).listing()
    limited = open_source(f"{album}?faces=aligned&min_face=30")
    assert "small.png" in [entry.name for entry in limited.entries()]
    assert open_source(limited.address).listing() == limited.listing() != one.listing()


def test_a_folder_whose_name_looks_like_options_is_a_folder(album):
    odd = album.with_name("photos?faces=aligned")
    album.rename(odd)
    assert len(open_source(odd).entries()) == 4
    assert len(open_source(f"{odd}?faces=aligned").entries()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"faces": "alinged"}, "Did you mean 'aligned'"),
        ({"per_photo": "largest"}, "per_photo without effect.*faces=aligned"),
        ({"faces": "as-is", "per_photo": "all"}, "per_photo without effect"),
        ({"faces": "found", "per_photo": "biggest"}, "choice per photo named 'biggest'"),
    ],
)
def test_what_cannot_be_or_has_no_effect_is_refused(album, options, message):
    with pytest.raises(kf.UserError, match=message):
        kf.data.load(album, **options)


@pytest.mark.parametrize("query", ["faces=aligned&min_face=-1", "faces=found&max_turn=level"])
def test_limits_that_are_no_numbers_are_refused(album, query):
    with pytest.raises(kf.UserError, match="must be a number of 0 or more"):
        open_source(f"{album}?{query}")


def test_limits_alone_are_refused(album):
    with pytest.raises(kf.UserError, match=r"min_face without effect.*--faces aligned"):
        open_source(f"{album}?min_face=80")


def test_nothing_is_printed_where_there_is_no_face(photo, capfd):
    find_faces(np.asarray(photo([(1, 180, 150, 60)])))  # what TensorFlow says when it starts
    capfd.readouterr()
    assert find_faces(np.full((300, 300, 3), 99, np.uint8)) == []
    assert find_faces(np.asarray(photo())) == []
    assert capfd.readouterr() == ("", "")


def test_photos_without_a_face_say_what_to_do(photo, tmp_path):
    photo().save(tmp_path / "nobody.png")
    with pytest.raises(kf.UserError, match=r"None of the 1 pictures.*leave faces=found out"):
        kf.data.load(tmp_path, faces="found")


def test_turned_heic_and_large_photos_give_the_same_face(photo, tmp_path):
    image = photo([(5, 184, 150, 60)])
    image.save(tmp_path / "0.png")
    for tag, turn in TURNS.items():
        exif = Image.Exif()
        exif[ORIENTATION] = tag
        image.transpose(turn).save(tmp_path / f"{tag}.jpg", exif=exif, quality=95)
    image.save(tmp_path / "phone.HEIC", format="HEIF", quality=95)
    image.resize((1920, 1440)).save(tmp_path / "large.jpg", quality=95)
    faces = faces_of(tmp_path, faces="aligned")
    assert len(faces) == 6
    assert min(alike(faces[0], face) for face in faces[1:]) > 0.98


def test_a_turned_head_is_levelled_by_aligned_and_left_by_found(photo, tmp_path):
    image = photo([(5, 184, 148, 68)])
    image.save(tmp_path / "0.png")
    image.rotate(20, Image.Resampling.BICUBIC).save(tmp_path / "1.png")
    level, turned = faces_of(tmp_path, faces="aligned")
    assert alike(level, turned) > 0.95
    level, turned = faces_of(tmp_path, faces="found")
    assert alike(level, turned) < 0.8


def test_faces_are_found_once_whatever_is_made_of_them(album, monkeypatch):
    open_source(album, faces="aligned").entries()
    monkeypatch.setattr(photographs, "find_faces", None)
    for size, faces in ((32, "aligned"), (64, "found")):
        stream = kf.data.open_faces(album, size, 1, "all", faces=faces, progress=False)
        assert stream.count == 3
    album.joinpath("one.jpg").unlink()  # other pictures are looked at anew
    with pytest.raises(TypeError):
        open_source(album, faces="aligned").entries()


def test_ctrl_c_keeps_what_was_found(photo, tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        photo(shade=number).resize((96, 72)).save(folder / f"{number}.png")
    photo([(1, 180, 150, 60)]).save(folder / "last.png")
    real, looked_at = photographs.find_faces, []

    def stopping(pixels):
        looked_at.append(pixels)
        if len(looked_at) == 20:
            raise KeyboardInterrupt
        return real(pixels)

    monkeypatch.setattr(photographs, "PART", 8)
    monkeypatch.setattr(photographs, "find_faces", stopping)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    with pytest.raises(KeyboardInterrupt):
        open_source(folder, faces="aligned").entries()
    looked_at[:] = [None] * 100
    source = open_source(folder, faces="aligned")
    assert [entry.name for entry in source.entries()] == ["last.png"]
    assert len(looked_at) - 100 < 41


def test_a_cut_note_of_what_was_found_is_made_anew(album):
    names = [entry.name for entry in open_source(album, faces="found").entries()]
    [part] = (kf.data.cache_folder() / "faces").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-40])
    assert [entry.name for entry in open_source(album, faces="found").entries()] == names


def test_damaged_photos_are_named_and_the_others_used(album):
    album.joinpath("cut.jpg").write_bytes(album.joinpath("one.jpg").read_bytes()[:2000])
    with pytest.warns(kf.data.SkippedPictures, match=r"Skipped 1 of 4 .*\n.*cut\.jpg: damaged"):
        stream = kf.data.open_faces(album, 32, 1, "all", faces="aligned", progress=False)
    assert stream.cache.names == ["one.jpg", "two.jpg", "two.jpg#2"]


def test_faces_of_grey_photos_are_grey(photo, tmp_path):
    photo([(1, 180, 150, 60)]).convert("L").save(tmp_path / "a.png")
    stream = kf.data.open_faces(tmp_path, 32, 1, "all", faces="aligned", progress=False)
    assert stream.cache.image_shape == (32, 32, 1)


def test_a_zip_serves_as_a_folder_does(album, tmp_path):
    packed = tmp_path / "album.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in album.iterdir():
            archive.write(file, file.name)
    assert np.array_equal(faces_of(album, faces="aligned"), faces_of(packed, faces="aligned"))


def test_faces_of_one_photo_are_on_the_same_side(photo, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(6):
        people = [(2 * number + 1, 100, 40, 100), (2 * number + 2, 110, 280, 100)]
        photo(people).save(folder / f"{number}.png")
    options = {"faces": "aligned", "test_fraction": 0.5, "progress": False}
    names = {}
    for split in ("train", "test"):
        stream = kf.data.open_faces(folder, 32, 1, split, **options)
        names[split] = {stream.cache.name(i).partition("#")[0] for i in stream.indices}
    assert not names["train"] & names["test"]
    assert len(names["test"]) == 3


def test_people_and_attributes_of_photos_hold_for_their_faces(photo, tmp_path):
    for person in (1, 5):
        tmp_path.joinpath(f"p/{person}").mkdir(parents=True)
        photo([(person, 180, 150, 60)]).save(tmp_path / f"p/{person}/a.png")
    rows = "file,glasses\n1/a.png,0\n5/a.png,1\n"
    tmp_path.joinpath("p/attributes.csv").write_text(rows)
    stream = kf.data.open_faces(tmp_path / "p", 32, 1, "all", labels="attributes", faces="found")
    assert stream.labels_at(stream.indices).tolist() == [[0], [1]]
    people = kf.data.open_faces(tmp_path / "p", 32, 1, "all", labels="identity", faces="found")
    assert people.label_names == ["1", "5"]


def test_attributes_of_photos_of_several_people_are_refused_with_the_way_out(album):
    album.joinpath("attributes.csv").write_text("file,glasses\none.jpg,0\ntwo.jpg,1\n")
    with pytest.raises(kf.UserError, match=r"two\.jpg#2.*per_photo=largest"):
        kf.data.load(album, labels="attributes", faces="aligned")
    open_source(album, faces="aligned", per_photo="largest").attributes().table(["two.jpg"])


# ---------------------------------------------------------------------------------------------
# A look at pictures


def test_info_and_check_name_whole_photos_and_show_them(album, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = said(capsys, "data", "check", album)
    assert (
        "1 of 4 pictures looked at are whole photographs (the face fills less than a third): use "
        "--faces aligned" in text
    )
    assert "without a face: nobody.jpg" in text
    assert "with several faces: two.jpg" in text
    assert "with a small face: small.png" in text
    text = said(capsys, "data", "info", album, "--count", "4")
    assert "1 without a face" in text
    assert "1 with several faces" in text
    with Image.open("contact-sheet.png") as sheet:
        assert sheet.height > 4 * 66  # the photographs stand below
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(2**24)}
    assert {(0, 170, 60), (220, 30, 30)} <= colours


def test_nothing_but_faces_is_said_too(orl_path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "crops"
    folder.mkdir()
    for person in range(1, 5):
        with Image.open(orl_path / f"s{person}" / "1.pgm") as face:
            face.resize((184, 224)).save(folder / f"{person}.png")
    assert "looked at 4 pictures for faces: each shows one" in said(capsys, "data", "check", folder)
    assert "pictures for faces" not in said(capsys, "data", "check", "orl")


def test_without_the_detector_pictures_are_learnt_as_they_are(album, monkeypatch):
    real = importlib.util.find_spec
    lacks = lambda name, *rest: None if name == "tensorflow" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", lacks)
    with pytest.warns(UserWarning, match="not looked at for faces.*needs TensorFlow"):
        assert look(open_source(album)) is None
    with pytest.raises(kf.UserError, match="needs TensorFlow"):
        open_source(album, faces="aligned")


def test_training_says_that_photos_are_whole_and_aligns_them_when_asked(
    photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        photo([(number + 1, 110, 40 * number, 90)]).save(folder / f"{number}.png")
    flags = ("--epochs", 1, "--batch-size", 4, "--image-size", 32, "--count", 0)
    text = said(capsys, "train", "autoencoder", "--data", folder, "--run", "whole", *flags)
    assert "8 of 8 pictures looked at are whole photographs" in text
    aligned = ("--data", folder, "--faces", "aligned")
    text = said(capsys, "train", "autoencoder", *aligned, "--run", "faces", *flags)
    assert "faces: 8 of 8 pictures, aligned" in text
    assert "use --faces" not in text
    recorded = Run("faces").config()["data"]
    assert recorded["source"] == f"{folder}?faces=aligned"
    # The run opens the same faces again, for whatever is asked of it.
    assert kf.TrainedModel("faces").faces().count == recorded["pictures"]


# ---------------------------------------------------------------------------------------------
# Whatever else takes sources


def test_a_run_on_faces_of_photos_that_moved_goes_on(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        photo([(number + 1, 150, 40 * number, 90)]).save(folder / f"{number}.png")
    given = {"image_size": 32, "batch_size": 2, "count": 0, "run": tmp_path / "run"}
    kf.train("autoencoder", folder, faces="aligned", per_photo="largest", steps=2, **given)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(kf.UserError, match=r"cannot be opened.*--data SOURCE"):
        kf.resume(tmp_path / "run")
    kf.resume(tmp_path / "run", data=moved)
    recorded = Run(tmp_path / "run").config()["data"]["source"]
    assert recorded == f"{moved}?faces=aligned&per_photo=largest"


def test_several_sources_give_their_faces(album, photo, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    photo([(8, 180, 150, 60)]).save(other / "a.png")
    source = open_source([album, other], faces="aligned")
    names = ["1/one.jpg", "1/two.jpg", "1/two.jpg#2", "2/a.png"]
    assert [entry.name for entry in source.entries()] == names
    assert list(map(open_source(source.address).unit, names))[2] == "1/two.jpg"
    assert len(faces_of([album, other], faces="found")) == 4


def test_people_folders_hold_every_face_of_a_photo(photo, tmp_path):
    for person in (1, 5):
        tmp_path.joinpath(f"p/{person}").mkdir(parents=True)
        people = [(person, 180, 30, 60), (person + 1, 150, 260, 60)]
        photo(people).save(tmp_path / f"p/{person}/a.jpg", quality=95)
    address = f"{tmp_path / 'p'}?faces=aligned"
    assert main(["data", "people", address, "--out", str(tmp_path / "made")]) in (0, None)
    made = sorted(str(file.relative_to(tmp_path / "made")) for file in tmp_path.rglob("made/*/*"))
    assert made == ["1/a.jpg#2.png", "1/a.png", "5/a.jpg#2.png", "5/a.png"]


def test_pairs_of_photos_and_sketches_are_taken_as_they_are(photo, tmp_path):
    for side in ("photos", "sketches"):
        tmp_path.joinpath(side).mkdir()
        photo([(1, 180, 150, 60)]).save(tmp_path / side / "a.png")
    with pytest.raises(kf.UserError, match="pairs of photos and sketches"):
        open_source(f"pairs:{tmp_path}", faces="aligned")


def test_flags_on_faces_need_data_where_a_run_has_its_own(tmp_path, capsys, trained_run):
    assert main(["evaluate", str(trained_run), "--faces", "aligned"]) == 2
    assert "--faces describes --data. Give --data as well" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    model = kf.create_model("autoencoder", image_size=32, channels=1)
    model.compile()
    folder.mkdir()
    kf.saving.save_model(model, folder / "model.keras")
    return folder
