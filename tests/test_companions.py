"""Files that say something of pictures, wherever people leave them and however they write them."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.sources import open_source
from keras_faces.data.sources.files import match_names

NAMES = [f"{person}/{n}.png" for person in ("anna", "bert", "carl") for n in range(4)]


def bits(name: str) -> list[int]:
    """The attributes of a picture: whose, and the lower binary digit of its number."""
    person, _, number = name.removesuffix(".png").rpartition("/")
    return [int(person.endswith("anna")), int(number) & 1]


def table(names=NAMES, separator=",", written=str) -> str:
    rows = [separator.join([written(name), *map(str, bits(name))]) for name in names]
    return "\n".join([separator.join(["file", "anna", "odd"]), *rows, ""])


@pytest.fixture
def place(tmp_path):
    """Make a folder or a zip of the pictures in a folder within it, and of companions."""

    def make(packed: bool, within: str, companions: dict[str, bytes | str]) -> Path:
        from PIL import Image

        top = tmp_path / "made"
        for number, name in enumerate(NAMES):
            path = top / within / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
        for name, content in companions.items():
            content = content.encode() if isinstance(content, str) else content
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).write_bytes(content)
        if not packed:
            return top
        with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
            for file in sorted(top.rglob("*.*")):
                archive.write(file, file.relative_to(top))
        return tmp_path / "made.zip"

    return make


def check(source) -> None:
    """Every picture has its own attributes."""
    stream = kf.data.open_faces(source, 8, 1, "all", labels="attributes", progress=False)
    assert stream.label_names == ["anna", "odd"] and stream.count == len(NAMES)
    expected = [bits(name) for name in stream.cache.names]
    assert stream.labels_at(np.arange(stream.count)).tolist() == expected


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("within", "name"),
    [
        ("", "attributes.csv"),
        ("", "Attributes.CSV"),
        ("", "ATTRIBUTES.tsv"),
        ("photos", "attributes.csv"),
        ("photos", "photos/attributes.csv"),
        ("photos", "photos/Attributes.Csv"),
        ("my/photos", "my/attributes.csv"),
    ],
)
def test_attributes_are_found_at_the_top_or_around_all_pictures(place, packed, within, name):
    check(place(packed, within, {name: table()}))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark", "Windows"]
)
def test_tables_are_read_as_spreadsheets_write_them(place, separator, encoding):
    text = table(separator=separator)
    content = {
        "utf-16-be with mark": lambda: ("\ufeff" + text).encode("utf-16-be"),
        "Windows": lambda: text.replace("\n", "\r\n").encode("utf-8-sig"),
    }.get(encoding, lambda: text.encode(encoding))()
    check(place(False, "", {"attributes.csv": content}))


WAYS = {
    "backslashes": lambda name: name.replace("/", "\\"),
    "./": lambda name: f"./{name}",
    ".\\": lambda name: ".\\" + name.replace("/", "\\"),
    "no suffix": lambda name: name.removesuffix(".png"),
    "another suffix": lambda name: name.replace(".png", ".jpg"),
    "capitals": str.upper,
    "a path": lambda name: f"C:\\Users\\me\\photos\\{name}".replace("/", "\\"),
    "the folder within": lambda name: f"photos/{name}",
    "no folder within": str,
    "all of it": lambda name: f".\\made\\photos\\{name.removesuffix('.png')}".upper(),
}


@pytest.mark.parametrize(
    ("way", "within"),
    [*((way, within) for way in WAYS for within in ("", "photos")), ("the folder in front", "")],
)
def test_names_are_known_however_they_are_written(place, way, within):
    check(place(True, within, {"attributes.csv": table(written=WAYS.get(way, "made/{}".format))}))


def test_a_name_that_several_pictures_have_is_no_ones(place):
    rows = ["file,anna,odd", "0.png,1,0", *(f"{name},0,1" for name in NAMES if "0" not in name)]
    source = open_source(place(False, "", {"attributes.csv": "\n".join(rows)}))
    assert set(source.attributes().rows) == {*NAMES, "0.png"} - {
        f"{p}/0.png" for p in ("anna", "bert", "carl")
    }
    with pytest.raises(
        kf.UserError,
        match=r"3 of 12 pictures have no attributes.*anna/0\.png.*Its first row is '0\.png'",
    ):
        kf.data.open_faces(source, 8, 1, labels="attributes", progress=False)


FOLDERS = st.sampled_from(["", "a/", "b/", "a/b/", "B/"])
FILES = st.sampled_from(["1.jpg", "1.png", "2.jpg", "IMG_1.JPG", "img_1.jpg", "1"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(FOLDERS, FILES).map("".join), unique=True, min_size=1, max_size=8),
    st.lists(st.tuples(FOLDERS, FILES).map("".join), unique=True, max_size=8),
    st.sampled_from(["", "a", "a/b"]),
)
def test_a_row_is_given_to_one_picture_that_can_be_meant(pictures, rows, folder):
    found = match_names(rows, pictures, folder)
    given = [row for picture, row in found.items() if picture in pictures]
    assert len(set(given)) == len(given) and set(given) <= set(rows)
    for picture in pictures:
        if picture in rows:
            assert found[picture] == picture
        elif picture in found:  # one ends as the other does, but for the suffix and capitals
            one, other = (f"/{n.partition('.')[0].casefold()}" for n in (picture, found[picture]))
            below = f"/{folder.casefold()}{other}"
            assert one.endswith(other) or other.endswith(one) or below == one


# ---------------------------------------------------------------------------------------------
# dataset.json


def stylegan(labels) -> str:
    return json.dumps({"labels": labels})


@pytest.mark.parametrize("within", ["", "data"])
def test_class_labels_of_stylegan_are_attributes(place, within):
    labels = [[name, 3 if "anna" in name else 7] for name in NAMES]
    name = f"{within}/dataset.json".lstrip("/")
    source = place(True, within, {name: stylegan(labels)})
    assert kf.data.labels_of(source) == ("attributes", ["class_3", "class_7"])
    stream = kf.data.open_faces(source, 8, 1, "all", labels="attributes", progress=False)
    expected = [[int("anna" in name), int("anna" not in name)] for name in stream.cache.names]
    assert stream.labels_at(np.arange(12)).tolist() == expected


def test_attributes_are_believed_before_class_labels(place):
    labels = [[name, 3] for name in NAMES]
    check(place(False, "", {"attributes.csv": table(), "dataset.json": stylegan(labels)}))


def test_labels_of_a_number_for_each_class_are_attributes(place):
    labels = [[name, [*bits(name), 0]] for name in NAMES]
    source = place(False, "", {"dataset.json": stylegan(labels)})
    assert kf.data.labels_of(source)[1] == ["class_0", "class_1", "class_2"]
    stream = kf.data.open_faces(source, 8, 1, "all", labels="attributes", progress=False)
    expected = [[*bits(name), 0] for name in stream.cache.names]
    assert stream.labels_at(np.arange(12)).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([["anna/0.png", "x"]], "no class labels"),
        ([["anna/0.png", 0.5]], "no class labels"),
        ([["anna/0.png", True]], "no class labels"),
        ([["anna/0.png", [0, 0.5]]], "no class labels"),
        ([["anna/0.png", float("inf")]], "no class labels"),
        ([["anna/0.png", [0, 1]], ["anna/1.png", [0, 1, 0]]], "several lengths"),
        ([[3, 3]], "no class labels"),
        (["ab"], "no class labels"),
        (7, "no class labels"),
        ([[f"{n}.png", n] for n in range(101)], "101 classes, more than 100"),
    ],
)
def test_labels_that_are_no_classes_are_told_where_labels_are_wanted(place, labels, why):
    source = open_source(place(False, "", {"dataset.json": stylegan(labels)}))
    assert source.attributes() is None
    with pytest.raises(kf.UserError, match=rf"dataset\.json \(it.*{why}"):
        kf.data.labels_of(source, "attributes")


# ---------------------------------------------------------------------------------------------
# What is seen and does not serve


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("labels.csv", table(), r"labels\.csv \(not named attributes\.csv\)"),
        ("list_attr_faces.txt", table(), r"list_attr_faces\.txt \(not named"),
        ("Attributes.xlsx", b"PK", r"Attributes\.xlsx \(no text: save it as attributes\.csv\)"),
        ("anna/attributes.csv", table(), r"anna/attributes\.csv \(it lies beside some of"),
        ("anna/dataset.json", "{}", r"anna/dataset\.json \(it lies beside some of"),
        ("dataset.json", stylegan(None), r"dataset\.json \(it has no class labels such as"),
        ("dataset.json", "{", r"dataset\.json \(it has no class labels such as"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_file_that_gives_no_attributes_is_named_with_why(place, name, content, why, packed):
    source = place(packed, "", {name: content, "README.txt": "hello"})
    for call in (
        lambda: kf.data.open_faces(source, 8, 1, labels="attributes", progress=False),
        lambda: kf.data.labels_of(source, "attributes"),
    ):
        with pytest.raises(kf.UserError, match=why) as told:
            call()
        assert "README" not in str(told.value) and "file,glasses,smiling" in str(told.value)


def test_why_folders_are_nobody_is_told_where_people_are_asked_for(place):
    source = place(False, "", {})
    (source / "stray.png").write_bytes((source / NAMES[0]).read_bytes())
    for call in (kf.data.labels_of, lambda s, kind: kf.data.open_faces(s, 8, 1, labels=kind)):
        with pytest.raises(kf.UserError, match=r"people: not known.*1 of 13 are in none"):
            call(source, "identity")


def test_a_change_of_a_companion_is_seen(place, own_cache):
    source = place(False, "photos", {"photos/attributes.csv": table()})
    check(source)
    path = source / "photos" / "attributes.csv"
    path.write_text(table().replace("anna/0.png,1,0", "anna/0.png,0,0"))
    with pytest.raises(AssertionError):
        check(source)


def test_info_shows_the_attributes_of_a_zip_that_holds_one_folder(place, capsys, tmp_path):
    source = place(True, "photos", {"photos/Attributes.CSV": table(separator=";")})
    assert main(["data", "info", str(source), "--out", str(tmp_path / "c.png")]) == 0
    assert "attributes: 2 (labels='attributes'): anna 33%, odd 50%" in capsys.readouterr().out
