"""What is known of faces besides their pixels: attributes, and who it is."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.data import labels_of
from keras_faces.data.labels import ATTRIBUTES_FILE, read_attributes
from keras_faces.data.sources import base as sources_module

# ---------------------------------------------------------------------------------------------
# Helpers


def shade(number: int) -> np.ndarray:
    """A picture whose only grey level tells which one it is."""
    return np.full((8, 8), 10 * number, np.uint8)


def which(images) -> list[int]:
    """Which of the `shade` pictures are in a batch, of floats in [-1, 1] or uint8."""
    images = np.asarray(images)
    levels = images[:, 0, 0, 0] if images.dtype == np.uint8 else (images[:, 0, 0, 0] + 1) * 127.5
    return [round(float(level) / 10) for level in levels]


def bits(number: int) -> list[int]:
    """The attributes of picture `number`: its binary digits."""
    return [number & 1, number >> 1 & 1, number >> 2 & 1]


TABLE = "file,one,two,four\n" + "".join(
    f"p{n % 3}/{n}.png,{','.join(map(str, bits(n)))}\n" for n in range(12)
)


@pytest.fixture
def folder(picture_folder) -> Path:
    """Twelve pictures of three people, with attributes."""
    faces = picture_folder({f"p{n % 3}/{n}.png": shade(n) for n in range(12)})
    (faces / ATTRIBUTES_FILE).write_text(TABLE)
    return faces


@pytest.fixture
def archive(folder, tmp_path) -> Path:
    """The same as a zip file."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(folder.rglob("*")):
            file.write(member, member.relative_to(folder))
    return path


def open_faces(source, labels, **given):
    given = {"image_size": 8, "batch_size": 4, "split": "all", **given}
    return kf.data.open_faces(source, labels=labels, progress=False, **given)


# ---------------------------------------------------------------------------------------------
# The file


def test_attributes_are_read_by_name_and_picture():
    read = read_attributes("file,glasses,smiling\na.png,1,0\ndeep/b.png,0,1\n", "it")
    assert read.names == ("glasses", "smiling")
    assert list(read.rows) == ["a.png", "deep/b.png"]
    table = read.table(["deep/b.png", "a.png"])
    assert table.tolist() == [[0, 1], [1, 0]]


PLAIN = "file,glasses,smiling\na.png,1,0\nb.png,0,1\n"


@pytest.mark.parametrize(
    "text",
    [
        "# made by hand\n# by one person\n" + PLAIN,
        PLAIN.replace("b.png", "# in between\nb.png"),
        "\ufeff" + PLAIN,
        "\ufeff# comment\n" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        "\n\n" + PLAIN.replace("\n", "\n\n"),
        PLAIN.replace("0", "-1"),
        PLAIN.replace(",", " , "),
        PLAIN.replace("a.png", '"a.png"'),
    ],
    ids=[
        "comments",
        "comment between",
        "byte order mark",
        "byte order mark, comment",
        "Windows",
        "old Mac",
        "Windows, byte order mark",
        "no last line end",
        "blank lines",
        "CelebA's -1",
        "spaces",
        "quotes",
    ],
)
def test_every_way_of_writing_the_same_table_reads_the_same(text):
    read, plain = read_attributes(text, "it"), read_attributes(PLAIN, "it")
    assert read[:2] == plain[:2]
    assert np.array_equal(read.values, plain.values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header"),
        ("# only a comment\n", "header"),
        ("file,glasses\n", "header"),
        ("file\na.png\n", "header"),
        ("file,glasses\na.png,1\nb.png\n", r"it, line 3: .*1 values.*'b\.png'"),
        ("file,glasses\na.png,1\nb.png,1,0\n", r"it, line 3: .*1 values.*'b\.png,1,0'"),
        ("# note\n\nfile,glasses\na.png,1\nb.png,yes\n", r"it, line 5: .*'b\.png,yes'"),
        ("file,glasses\na.png,0.5\n", r"it, line 2: .*0 or 1"),
        ("file,glasses\na.png,\n", "it, line 2"),
        ("file,glasses\na.png,2\n", "it, line 2"),
        ('file,glasses\n"a.png,1\nb.png,1\n', "it, line 2"),
    ],
    ids=[
        "empty",
        "comment alone",
        "header alone",
        "no attribute",
        "too few columns",
        "too many columns",
        "a word",
        "a share",
        "nothing",
        "two",
        "a quote left open",
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_line(text, message):
    with pytest.raises(kf.UserError, match=message):
        read_attributes(text, "it")


def test_pictures_without_a_row_are_counted_and_the_first_is_named():
    read = read_attributes(PLAIN, "it")
    with pytest.raises(kf.UserError, match=r"2 of 3 pictures have no attributes.*'c\.png'"):
        read.table(["a.png", "c.png", "d.png"])


# Names that a comma-separated file can hold without quotes, and that are no comment.
WORDS = st.text("abcdefghijklmnopqrstuvwxyzäß0123456789_/.- ", min_size=1, max_size=12).map(
    str.strip
)
NAMES = st.lists(WORDS.filter(bool), min_size=1, max_size=5, unique=True)


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES, st.randoms(use_true_random=False), st.sampled_from(["0", "-1"]), st.booleans())
def test_a_table_that_was_written_reads_back(names, pictures, random, zero, windows):
    values = {picture: [random.randint(0, 1) for _ in names] for picture in pictures}
    lines = [",".join(["file", *names])]
    for picture, row in values.items():
        lines.append(",".join([picture, *("1" if value else zero for value in row)]))
    end = "\r\n" if windows else "\n"
    read = read_attributes(end.join(lines) + end, "it")
    assert read.names == tuple(names)
    assert read.table(pictures).tolist() == [values[picture] for picture in pictures]


# ---------------------------------------------------------------------------------------------
# Sources


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_folder_and_a_zip_hold_attributes_at_their_top(kind, request):
    source = request.getfixturevalue(kind)
    stream = open_faces(source, "attributes")
    assert stream.label_names == ["one", "two", "four"]
    images, labels = stream.sample(12, labelled=True)
    assert labels.dtype == np.float32
    assert labels.tolist() == [bits(number) for number in which(images)]
    assert labels_of(source) == ("attributes", ["one", "two", "four"])


def test_an_attributes_file_deeper_down_is_not_taken_for_the_sources(folder):
    (folder / ATTRIBUTES_FILE).rename(folder / "p0" / ATTRIBUTES_FILE)
    with pytest.raises(kf.UserError, match=ATTRIBUTES_FILE):
        open_faces(folder, "attributes")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00not text", b"file,one\np0/0.png,maybe\n"])
def test_an_attributes_file_that_cannot_be_read_is_named(folder, tmp_path, content):
    (folder / ATTRIBUTES_FILE).write_bytes(content)
    with pytest.raises(kf.UserError, match=r"faces/attributes\.csv"):
        open_faces(folder, "attributes")
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(folder / "p0" / "0.png", "p0/0.png")
        file.writestr(ATTRIBUTES_FILE, content)
    with pytest.raises(kf.UserError, match=r"attributes\.csv in .*faces\.zip"):
        open_faces(path, "attributes", batch_size=1)


def test_a_source_without_attributes_says_what_to_put_there(picture_folder):
    folder = picture_folder({f"{n}.png": shade(n) for n in range(4)})
    with pytest.raises(kf.UserError, match=r"attributes\.csv.*file,glasses,smiling"):
        open_faces(folder, "attributes")


def test_a_picture_without_a_row_is_named(folder):
    Image.fromarray(shade(20)).save(folder / "p0" / "new.png")
    with pytest.raises(kf.UserError, match=r"1 of 13 pictures .*'p0/new\.png'"):
        open_faces(folder, "attributes")


def test_rows_without_a_picture_do_no_harm(folder):
    (folder / "p1" / "4.png").unlink()
    images, labels = open_faces(folder, "attributes").sample(12, labelled=True)
    assert len(labels) == 11
    assert labels.tolist() == [bits(number) for number in which(images)]


def test_a_bad_picture_shifts_no_labels(folder):
    (folder / "p1" / "4.png").write_bytes(b"no picture")
    with pytest.warns(kf.data.SkippedPictures, match=r"4\.png"):
        stream = open_faces(folder, "attributes")
    images, labels = stream.sample(12, labelled=True)
    assert len(labels) == 11
    assert labels.tolist() == [bits(number) for number in which(images)]


def test_orl_has_four_attributes_of_each_of_its_400_pictures(orl_path):
    attributes = kf.data.open_source("orl").attributes()
    assert attributes.names == ("glasses", "smiling", "beard", "woman")
    names = {f"s{person}/{number}.pgm" for person in range(1, 41) for number in range(1, 11)}
    assert set(attributes.rows) == names
    assert all((orl_path / name).is_file() for name in names)
    for number in range(4):
        share = attributes.values[:, number].mean()
        assert 0.05 < share < 0.6
    for person in range(1, 41):
        ten = attributes.table([f"s{person}/{number}.pgm" for number in range(1, 11)])
        assert len(set(ten[:, 3])) == 1  # the same in all ten pictures


def test_orls_attributes_are_of_that_file_row_by_row():
    # Read with the csv module alone, into a table of the stream's order.
    path = Path(kf.data.__file__).with_name("orl_attributes.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    rows = {line.split(",")[0]: [float(v) for v in line.split(",")[1:]] for line in lines[1:]}
    stream = kf.data.open_faces("orl", 16, split="all", labels="attributes", progress=False)
    found = stream.labels_at(np.arange(400))
    assert found.tolist() == [rows[name] for name in stream.cache.names]


# ---------------------------------------------------------------------------------------------
# Batches


@pytest.mark.parametrize(
    ("labels", "shape", "dtype"), [("attributes", (5, 3), "float32"), ("identity", (5,), "int32")]
)
def test_load_yields_images_with_labels_of_their_shape_and_type(folder, labels, shape, dtype):
    dataset = kf.data.load(folder, 8, 5, labels=labels, split="all", progress=False)
    images_spec, labels_spec = dataset.element_spec
    assert images_spec.shape[1:] == (8, 8, 1)
    assert labels_spec.shape[1:] == shape[1:]
    assert labels_spec.dtype.name == dtype
    batches = list(dataset.as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [5, 5, 2]
    images, found = batches[0]
    assert (images.dtype, found.shape, found.dtype) == (np.float32, shape, np.dtype(dtype))


@pytest.mark.parametrize("shuffle", [False, True])
def test_attributes_are_those_of_the_very_pictures_in_any_order(folder, shuffle):
    dataset = kf.data.load(
        folder, 8, 5, labels="attributes", split="all", shuffle=shuffle, progress=False
    )
    seen = []
    for images, labels in dataset.as_numpy_iterator():
        assert labels.tolist() == [bits(number) for number in which(images)]
        seen += which(images)
    assert sorted(seen) == list(range(12))
    # The source's order: people one after the other, p0 with pictures 0, 3, 6, 9.
    assert (seen == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]) is not shuffle


def test_identities_of_orl_are_the_folders_of_the_very_pictures(orl_path):
    stream = kf.data.open_faces("orl", 32, 40, labels="identity", progress=False)
    images, people = stream.read(3)
    shown = {}
    for person in range(1, 41):
        for number in range(1, 11):
            with Image.open(orl_path / f"s{person}" / f"{number}.pgm") as image:
                face = image.resize((32, 32), Image.Resampling.LANCZOS, box=(0, 10, 92, 102))
            shown[np.asarray(face).tobytes()] = f"s{person}"
    names = [stream.label_names[person] for person in people]
    assert names == [shown[image.tobytes()] for image in images]
    assert len(set(names)) > 10


def test_attributes_of_orl_are_those_of_the_very_pictures(orl_path):
    attributes = kf.data.open_source("orl").attributes()
    stream = kf.data.open_faces("orl", 32, 40, labels="attributes", progress=False)
    images, labels = stream.read(5)
    shown = {}
    for name in attributes.rows:
        with Image.open(orl_path / name) as image:
            face = image.resize((32, 32), Image.Resampling.LANCZOS, box=(0, 10, 92, 102))
        shown[np.asarray(face).tobytes()] = attributes.table([name])[0]
    assert labels.tolist() == [list(shown[image.tobytes()]) for image in images]


@pytest.mark.parametrize("labels", ["attributes", "identity"])
def test_a_sample_comes_with_its_labels_only_where_they_are_asked_for(folder, labels):
    stream = open_faces(folder, labels)
    faces, found = stream.sample(7, seed=2, labelled=True)
    assert np.array_equal(stream.sample(7, seed=2), faces)
    numbers = which(faces)
    if labels == "attributes":
        assert found.tolist() == [bits(number) for number in numbers]
    else:
        assert [stream.label_names[person] for person in found] == [f"p{n % 3}" for n in numbers]
    assert np.array_equal(open_faces(folder, None).sample(7, seed=2, labelled=True), faces)


def test_labels_at_positions_are_those_of_the_pictures_there(folder):
    stream = open_faces(folder, "attributes")
    positions = np.array([11, 0, 5])
    assert stream.labels_at(positions).tolist() == [
        bits(number) for number in which(stream.cache.read(positions))
    ]
    assert open_faces(folder, None).labels_at(positions) is None


def test_without_labels_nothing_is_read_of_them(folder, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("attributes were read that nobody asked for")

    monkeypatch.setattr(sources_module, "read_attributes", refuse)
    (folder / ATTRIBUTES_FILE).write_text("not a table")
    for labels in (None, "identity"):
        assert open_faces(folder, labels).count == 12
    images = next(iter(open_faces(folder, None)))
    assert isinstance(images, np.ndarray)
    with pytest.raises(AssertionError, match="nobody asked"):
        open_faces(folder, "attributes")


def test_labels_change_nothing_about_the_pictures(folder):
    plain, labelled = (open_faces(folder, labels, shuffle=True) for labels in (None, "identity"))
    assert plain.facts["fingerprint"] == labelled.facts["fingerprint"]
    for step in range(4):
        assert np.array_equal(plain.read(step)[0], labelled.read(step)[0])


@pytest.mark.parametrize(("given", "nearest"), [("identities", "identity"), ("atributes", "attr")])
def test_an_unknown_kind_of_labels_gets_the_nearest(folder, given, nearest):
    for call in (lambda: open_faces(folder, given), lambda: labels_of(folder, given)):
        with pytest.raises(kf.UserError, match=f"no kind of labels named '{given}'.*'{nearest}"):
            call()


# ---------------------------------------------------------------------------------------------
# Which labels there are


def test_labels_of_a_source_are_its_attributes_else_its_people(folder):
    people = ["p0", "p1", "p2"]
    assert labels_of(folder) == ("attributes", ["one", "two", "four"])
    assert labels_of(folder, "identity") == ("identity", people)
    (folder / ATTRIBUTES_FILE).unlink()
    assert labels_of(folder) == ("identity", people)
    with pytest.raises(kf.UserError, match=r"no such labels.*attributes\.csv"):
        labels_of(folder, "attributes")


def test_labels_of_orl_are_those_of_its_streams():
    for kind in ("attributes", "identity"):
        stream = kf.data.open_faces("orl", 16, labels=kind, progress=False)
        assert labels_of("orl", kind) == (kind, list(stream.label_names))
    assert labels_of("orl", "identity")[1] == [f"s{person}" for person in range(1, 41)]


def test_a_source_with_neither_says_what_labels_are(picture_folder):
    folder = picture_folder({f"{n}.png": shade(n) for n in range(4)})
    for kind in (None, "identity", "attributes"):
        with pytest.raises(kf.UserError, match=r"attributes\.csv.*one folder for each person"):
            labels_of(folder, kind)


# ---------------------------------------------------------------------------------------------
# Labels that change


def test_the_digest_of_labels_is_different_after_any_change(folder):
    digests = {open_faces(folder, None).labels_digest: "none"}
    for change in (
        TABLE,
        TABLE.replace("p1/4.png,0", "p1/4.png,1"),
        TABLE.replace("two", "zwei"),
        TABLE.replace("file,one,two,four", "file,two,one,four"),
    ):
        (folder / ATTRIBUTES_FILE).write_text(change)
        stream = open_faces(folder, "attributes")
        assert stream.facts["labels_digest"] == stream.labels_digest
        assert digests.setdefault(stream.labels_digest, change) == change
    digests[open_faces(folder, "identity").labels_digest] = "identity"
    assert len(digests) == 6
    (folder / ATTRIBUTES_FILE).write_text("# another comment\n" + TABLE.replace(",0", ",-1"))
    assert digests[open_faces(folder, "attributes").labels_digest] == TABLE


def test_a_run_whose_labels_have_changed_is_not_gone_on_with(orl_folder, tmp_path):
    names = [path.relative_to(orl_folder).as_posix() for path in orl_folder.rglob("*.pgm")]
    rows = [f"{name},{number % 2}" for number, name in enumerate(sorted(names))]
    (orl_folder / ATTRIBUTES_FILE).write_text("\n".join(["file,odd", *rows]))
    run = kf.train(
        "cvae",
        data=orl_folder,
        run=tmp_path / "run",
        image_size=32,
        filters=2,
        latent_dim=4,
        hidden_units=8,
        batch_size=4,
        steps=2,
        count=0,
        print_fn=lambda line: None,
    )
    facts = run.config()["data"]
    assert facts["labels"] == "attributes"
    assert run.config()["hyperparameters"]["conditions"] == "odd"
    rows[3] = rows[3][:-1] + str(1 - int(rows[3][-1]))
    (orl_folder / ATTRIBUTES_FILE).write_text("\n".join(["file,odd", *rows]))
    with pytest.raises(kf.UserError, match="have changed since the run began"):
        kf.resume(run.folder, print_fn=lambda line: None)
