"""LFW, UTKFace and FFHQ in the layouts in which people have them, whole and damaged."""

import hashlib
import re
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import (
    FFHQ_NUMBERS,
    LFW_ATTRIBUTES,
    LFW_PEOPLE,
    LFW_TRAIN,
    UTKFACE_LACKING,
    UTKFACE_NAMES,
    face,
    ffhq_pictures,
    lfw_pictures,
    lfw_texts,
    lfw_values,
    under,
    utkface_pictures,
    write,
    zipped,
)

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.annotations import stem
from keras_faces.data.sources import LEFT_OUT, SCHEMES, open_source
from keras_faces.data.sources.base import UnmatchedAnnotations
from keras_faces.data.sources.ffhq import FfhqSource
from keras_faces.data.sources.layouts import deduplicate, how_to_unpack
from keras_faces.data.sources.lfw import LfwSource
from keras_faces.data.sources.published import Published
from keras_faces.data.sources.utkface import UtkFaceSource

# ---------------------------------------------------------------------------------------------
# LFW


def lfw_plain(path: Path) -> Path:
    return write({**lfw_pictures(), **lfw_texts()}, path / "lfw")


def lfw_files_beside(path: Path) -> Path:
    write(lfw_texts(), path)
    return write(lfw_pictures(), path / "lfw_funneled")


def lfw_home(path: Path) -> Path:
    """As scikit-learn leaves it."""
    return write({**under("lfw_funneled", lfw_pictures()), **lfw_texts()}, path / "lfw_home")


def lfw_kaggle(path: Path) -> Path:
    files = under("lfw-deepfunneled/lfw-deepfunneled", lfw_pictures())
    for name, text in lfw_texts().items():
        if name.startswith("people"):
            rows = text.decode().replace("\t", ",").split("\n")
            files[name.replace(".txt", ".csv")] = "\n".join(["name,images", *rows[1:]]).encode()
        else:
            files[name] = text
    return write(files, path / "archive")


def lfw_zip(path: Path) -> Path:
    return zipped({**under("lfw", lfw_pictures()), **lfw_texts()}, path / "lfw.zip")


def lfw_zip_with_files_beside(path: Path) -> Path:
    write(lfw_texts(), path)
    return zipped(under("lfw", lfw_pictures()), path / "lfw.zip")


LFW = [lfw_plain, lfw_files_beside, lfw_home, lfw_kaggle, lfw_zip, lfw_zip_with_files_beside]


@pytest.mark.parametrize("layout", LFW)
def test_every_layout_of_lfw_reads_the_same(layout, tmp_path):
    source = open_source(layout(tmp_path))
    assert isinstance(source, LfwSource)
    entries = source.entries()
    assert sorted(f"{e.identity}/{e.name.rpartition('/')[2]}" for e in entries) == sorted(
        lfw_pictures()
    )
    for entry in entries:
        assert entry.split == ("train" if entry.identity in LFW_TRAIN else "test")
        name = f"{entry.identity}/{entry.name.rpartition('/')[2]}"
        assert source.read(entry.name) == lfw_pictures()[name]
    attributes = source.attributes()
    assert attributes.names == LFW_ATTRIBUTES
    assert len(attributes.rows) == len(entries) - 1
    for name, row in attributes.rows.items():
        person, number = re.fullmatch(r"(.+)_(\d{4})", stem(name)).groups()
        signs = [float(value) > 0 for value in lfw_values(person, int(number))]
        assert attributes.values[row].tolist() == signs


def test_lfw_without_files_has_people_alone(tmp_path):
    source = open_source(write(lfw_pictures(), tmp_path / "lfw"))
    assert source.attributes() is None
    assert {entry.split for entry in source.entries()} == {None}
    assert {entry.identity for entry in source.entries()} == set(LFW_PEOPLE)
    assert "lfw_attributes.txt" in source.attributes_hint


@pytest.mark.parametrize("missing", ["peopleDevTrain.txt", "peopleDevTest.txt"])
def test_one_file_of_people_tells_both_sides(tmp_path, missing):
    folder = lfw_plain(tmp_path)
    (folder / missing).unlink()
    for entry in open_source(folder).entries():
        assert entry.split == ("train" if entry.identity in LFW_TRAIN else "test")


def test_people_in_neither_file_are_left_out(tmp_path):
    folder = lfw_plain(tmp_path)
    (folder / "peopleDevTest.txt").write_text("1\nAaron_Eckhart\t1\n")
    splits = {entry.identity: entry.split for entry in open_source(folder).entries()}
    assert splits["Aaron_Eckhart"] == "test"
    assert splits["Abdullah_al-Attiyah"] == LEFT_OUT


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("peopleDevTest.txt", "1\nZydrunas\t2\n", "Zydrunas is in peopleDevTrain and in people"),
        ("peopleDevTest.txt", "2\nAaron_Eckhart\t1\n", r"peopleDevTest.txt says .* 2 rows"),
        ("peopleDevTest.txt", "1\nAaron_Eckhart\tone\n", "peopleDevTest.txt"),
        ("peopleDevTest.txt", "<html>404</html>", r"peopleDevTest.txt is a web page"),
        ("peopleDevTest.txt", "", r"peopleDevTest.txt holds no rows"),
        ("lfw_attributes.txt", "", r"lfw_attributes.txt holds no rows"),
        ("lfw_attributes.txt", "Aaron Eckhart\t1\t0.5\n", r"lfw_attributes.txt, line 1: .*header"),
        (
            "lfw_attributes.txt",
            "#\tperson\timagenum\tMale\tAsian\nAaron Eckhart\t1\t0.5\n",
            r"lfw_attributes.txt, line 2: .*2 values.*Received 3 cells",
        ),
        (
            "lfw_attributes.txt",
            "#\tperson\timagenum\tMale\nAaron Eckhart\t1\tyes\n",
            r"lfw_attributes.txt, line 2: ",
        ),
        (
            "lfw_attributes.txt",
            "#\tperson\timagenum\tMale\nNobody Known\t1\t0.5\n",
            r"lfw_attributes.txt names none",
        ),
    ],
)
def test_a_file_of_lfw_that_is_not_whole_is_refused(tmp_path, file, content, message):
    folder = lfw_plain(tmp_path)
    (folder / file).write_text(content)
    source = open_source(folder)
    with pytest.raises(kf.UserError, match=message):
        source.entries()
        source.attributes()


def test_the_people_files_of_another_data_set_are_refused(tmp_path):
    folder = lfw_plain(tmp_path)
    for name in ("peopleDevTrain.txt", "peopleDevTest.txt"):
        (folder / name).write_text(f"1\nNobody_{name[9:-4]}\t1\n")
    with pytest.raises(kf.UserError, match="name none of the people"):
        open_source(folder).entries()


def test_windows_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    folder = lfw_plain(tmp_path)
    before = open_source(folder)
    listing, entries, table = before.listing(), before.entries(), before.attributes()
    for name, text in lfw_texts().items():
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    source = open_source(folder)
    assert source.listing() != listing
    assert source.entries() == entries
    assert source.attributes()[:2] == table[:2]
    assert np.array_equal(source.attributes().values, table.values)


def test_the_picture_that_lfw_has_no_attributes_of_can_be_left_out(tmp_path):
    folder = lfw_plain(tmp_path)
    source = open_source(folder)
    names = [entry.name for entry in source.entries()]
    with pytest.raises(kf.UserError, match=r"1 of 7 pictures.*Zydrunas_0002.*labelled=yes"):
        source.attributes().table(names)
    labelled = open_source(f"lfw:{folder}?labelled=yes")
    names = [entry.name for entry in labelled.entries()]
    assert len(labelled.attributes().table(names)) == 6


def test_lfw_packed_says_how_to_unpack_it(tmp_path):
    folder = write(lfw_pictures(), tmp_path / "lfw")
    path = tmp_path / "data" / "lfw.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "lfw")
    for address in (path, f"lfw:{path}", f"lfw:{path.parent}"):
        with pytest.raises(kf.UserError, match=r"must be unpacked first.*tar -xzf lfw\.tgz"):
            open_source(address)


def test_two_versions_of_lfw_in_one_folder_are_refused(tmp_path):
    for version in ("lfw", "lfw_funneled"):
        write(lfw_pictures(), tmp_path / "data" / version)
    with pytest.raises(kf.UserError, match=r"more than once, in lfw, lfw_funneled"):
        open_source(f"lfw:{tmp_path / 'data'}").entries()


def test_pictures_that_are_not_lfws_are_passed_over_and_counted(tmp_path, orl_folder):
    folder = lfw_plain(tmp_path)
    write({"Aaron_Eckhart/holiday.jpg": b"", "poster.png": b""}, folder)
    with pytest.warns(UnmatchedAnnotations, match=r"2 of 9 pictures .*holiday\.jpg"):
        assert len(open_source(f"lfw:{folder}").entries()) == 7
    with pytest.raises(kf.UserError, match=r"named as LFW's are.*s1/1\.pgm"):
        open_source(f"lfw:{orl_folder}").entries()
    assert not LfwSource.recognises(orl_folder)


def test_one_person_of_lfw_is_a_source_too(tmp_path):
    folder = lfw_plain(tmp_path)
    entries = open_source(f"lfw:{folder / 'George_W_Bush'}").entries()
    assert {entry.identity for entry in entries} == {"George_W_Bush"}
    assert len(entries) == 3


# ---------------------------------------------------------------------------------------------
# UTKFace


def utkface_folder(path: Path) -> Path:
    return write(utkface_pictures(), path / "UTKFace")


def utkface_zip(path: Path) -> Path:
    return zipped(under("UTKFace", utkface_pictures()), path / "utkface.zip")


def utkface_kaggle(path: Path) -> Path:
    pictures = utkface_pictures()
    some = dict(list(pictures.items())[:3])
    return zipped(
        {
            **under("UTKFace", pictures),
            **under("crop_part1", some),
            **under("utkface_aligned_cropped/UTKFace", pictures),
            **under("utkface_aligned_cropped/crop_part1", some),
        },
        path / "archive.zip",
    )


@pytest.mark.parametrize("layout", [utkface_folder, utkface_zip, utkface_kaggle])
def test_utkfaces_labels_are_in_its_names(layout, tmp_path):
    source = open_source(layout(tmp_path))
    assert isinstance(source, UtkFaceSource)
    entries = source.entries()
    files = [entry.name.rpartition("/")[2] for entry in entries]
    assert sorted(files) == sorted((*UTKFACE_NAMES, *UTKFACE_LACKING))
    assert {(entry.identity, entry.split) for entry in entries} == {(None, None)}
    attributes = source.attributes()
    assert attributes.names == ("woman", "white", "black", "asian", "indian", "child", "over_60")
    found = {
        entry.name.rpartition("/")[2]: attributes.values[attributes.rows[entry.name]].tolist()
        for entry in entries
        if entry.name in attributes.rows
    }
    # Age 1, man, white; 12, woman, black; 13, man, Asian; 60, woman, Indian; 61, man, others; ...
    rows = [
        [0, 1, 0, 0, 0, 1, 0],
        [1, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 0, 1],
    ]
    assert found == dict(zip(UTKFACE_NAMES, rows))


def test_pictures_whose_names_lack_a_field_are_usable_but_not_labelled(tmp_path):
    folder = utkface_folder(tmp_path)
    stream = kf.data.open_faces(folder, 16, 4, split="all", progress=False)
    assert stream.count == 8
    with pytest.raises(kf.UserError, match=r"2 of 8 pictures .*lack the age.*labelled=yes"):
        kf.data.open_faces(folder, 16, 4, split="all", labels="attributes", progress=False)
    stream = kf.data.open_faces(
        f"utkface:{folder}?labelled=yes", 16, 4, split="all", labels="attributes", progress=False
    )
    assert stream.count == 6
    names = list(stream.cache.names)
    assert stream.labels_at(np.arange(6))[:, 0].tolist() == [
        float(name.split("_")[1]) for name in names
    ]


@pytest.mark.parametrize(
    ("name", "labelled"),
    [
        ("25_1_0_20170116174525125.jpg", True),
        ("24_0_1_20170116220224657 .jpg.chip.jpg", True),
        ("25_2_0_20170116174525125.jpg.chip.jpg", False),
        ("25_1_5_20170116174525125.jpg.chip.jpg", False),
        ("_1_0_20170116174525125.jpg.chip.jpg", False),
        ("25_1_0.jpg.chip.jpg", False),
        ("25_1_0_2017_5.jpg.chip.jpg", False),
        ("-5_1_0_20170116174525125.jpg.chip.jpg", False),
        ("portrait.jpg", False),
    ],
)
def test_only_whole_names_are_labels(tmp_path, name, labelled):
    folder = write({name: b"", UTKFACE_NAMES[0]: b""}, tmp_path / "UTKFace")
    source = open_source(f"utkface:{folder}")
    assert (name in source.attributes().rows) is labelled
    assert len(source.entries()) == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("0123456789_", min_size=1, max_size=25), min_size=1, max_size=4))
def test_any_name_is_a_picture_and_no_name_an_accident(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("utk")
    write({f"{name}.jpg": b"" for name in [*names, "1_0_0_20161219140623097"]}, folder)
    source = open_source(f"utkface:{folder}")
    assert len(source.entries()) == len({*names, "1_0_0_20161219140623097"})
    for name in source.attributes().rows:
        age, gender, race, _ = name.removesuffix(".jpg").split("_")
        assert 0 <= int(age) <= 999 and gender in "01" and race in "01234"


def test_other_pictures_are_not_utkface(orl_folder, tmp_path):
    assert not UtkFaceSource.recognises(orl_folder)
    with pytest.raises(kf.UserError, match=r"named as UTKFace's are.*s1/1\.pgm"):
        open_source(f"utkface:{orl_folder}").entries()
    (tmp_path / "UTKFace.tar.gz").write_bytes(b"")
    with pytest.raises(kf.UserError, match=r"tar -xzf UTKFace\.tar\.gz"):
        open_source(tmp_path / "UTKFace.tar.gz")


# ---------------------------------------------------------------------------------------------
# FFHQ


def ffhq_thumbnails(path: Path) -> Path:
    return write(ffhq_pictures(), path / "thumbnails128x128")


def ffhq_images(path: Path) -> Path:
    return write(ffhq_pictures(256), path / "images1024x1024")


def ffhq_above(path: Path) -> Path:
    files = {**under("thumbnails128x128", ffhq_pictures()), "ffhq-dataset-v2.json": b"{}"}
    return write({**files, "ffhq-teaser.png": b""}, path / "ffhq-dataset")


def ffhq_zip(path: Path) -> Path:
    return zipped(under("thumbnails128x128", ffhq_pictures()), path / "thumbnails128x128.zip")


def ffhq_folders_alone(path: Path) -> Path:
    return write(ffhq_pictures(), path / "faces")


def ffhq_folders_alone_zipped(path: Path) -> Path:
    return zipped(under("faces", ffhq_pictures()), path / "faces.zip")


@pytest.mark.parametrize(
    "layout",
    [
        ffhq_thumbnails,
        ffhq_images,
        ffhq_above,
        ffhq_zip,
        ffhq_folders_alone,
        ffhq_folders_alone_zipped,
    ],
)
def test_every_layout_of_ffhq_reads_the_same(layout, tmp_path):
    source = open_source(layout(tmp_path))
    assert isinstance(source, FfhqSource)
    entries = source.entries()
    assert [int(stem(entry.name)) for entry in entries] == list(FFHQ_NUMBERS)
    assert [entry.split for entry in entries] == ["train"] * 5 + ["validation"] * 2
    assert {entry.identity for entry in entries} == {None}  # folders of 1000 are nobody
    assert source.attributes() is None
    assert source.read(entries[0].name).startswith(b"\x89PNG")
    assert "CC BY-NC-SA" in source.credit


def test_ffhq_in_one_flat_folder_needs_its_scheme(tmp_path):
    pictures = {name.rpartition("/")[2]: data for name, data in ffhq_pictures().items()}
    folder = write({**pictures, "teaser.png": b""}, tmp_path / "ffhq128")
    assert not FfhqSource.recognises(folder)
    entries = open_source(f"ffhq:{folder}").entries()
    assert [int(stem(entry.name)) for entry in entries] == list(FFHQ_NUMBERS)


def test_two_sizes_of_ffhq_in_one_folder_are_refused_and_photographs_passed_over(tmp_path):
    folder = ffhq_above(tmp_path)
    write(under("in-the-wild-images", ffhq_pictures()), folder)
    assert len(open_source(folder).entries()) == len(FFHQ_NUMBERS)
    write(under("images1024x1024", ffhq_pictures()), folder)
    with pytest.raises(kf.UserError, match=r"two sizes.*ffhq:.*thumbnails128x128 or ffhq:"):
        open_source(folder).entries()


def test_other_pictures_are_not_ffhq(orl_folder, tmp_path):
    numbered = {f"{n:05d}/{n:05d}.png": face(n, 8, 8, "PNG") for n in (1, 2, 3)}
    assert not FfhqSource.recognises(write(numbered, tmp_path / "a folder for each person"))
    with pytest.raises(kf.UserError, match=r"named as FFHQ's are.*s1/1\.pgm"):
        open_source(f"ffhq:{orl_folder}").entries()
    with pytest.raises(kf.UserError, match="does not know 'labelled=yes'"):
        open_source(f"ffhq:{ffhq_thumbnails(tmp_path)}?labelled=yes")


# ---------------------------------------------------------------------------------------------
# All of them

EACH = {
    "lfw": lfw_plain,
    "utkface": utkface_folder,
    "ffhq": ffhq_thumbnails,
}


@pytest.mark.parametrize("scheme", EACH)
def test_the_address_opens_the_same_source_from_anywhere(scheme, tmp_path, monkeypatch):
    path = EACH[scheme](tmp_path)
    monkeypatch.chdir(tmp_path)
    source = open_source(f"{scheme}:{path.name}")
    monkeypatch.chdir("/")
    again = open_source(source.address)
    assert again.listing() == source.listing()
    assert again.entries() == source.entries()
    assert again.credit


@pytest.mark.parametrize("scheme", EACH)
def test_the_listing_changes_with_the_pictures(scheme, tmp_path):
    path = EACH[scheme](tmp_path)
    before = open_source(path)
    listing = before.listing()
    picture = Path(before.file(before.entries()[0].name))
    picture.write_bytes(picture.read_bytes() + b"\n")
    assert open_source(path).listing() != listing


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if hasattr(SCHEMES[name], "by_hand")])
def test_without_data_each_says_what_to_do_by_hand(scheme, tmp_path, monkeypatch, capsys):
    text = SCHEMES[scheme].by_hand
    assert "https://" in text and f"give just {scheme}" in text
    assert max(map(len, text.splitlines())) <= 100
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERAS_FACES_DATA", raising=False)
    assert main(["data", "check", scheme]) == 2
    assert text in capsys.readouterr().err
    monkeypatch.setenv("KERAS_FACES_DATA", str(tmp_path))
    for address in (scheme, f"{scheme}:nowhere"):
        with pytest.raises(kf.UserError, match="There is no folder") as error:
            open_source(address)
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("scheme", "file"),
    [(name, file) for name, kind in SCHEMES.items() for file in getattr(kind, "published", ())],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_published_of_a_file_is_in_the_text(scheme, file):
    assert file.size or file.sha256 or file.md5
    assert {len(file.sha256 or "0" * 64), len(file.md5 or "0" * 32)} == {64, 32}
    entry = rf"(?m)^   {re.escape(file.name)}(?: .*)?$(?:\n {{5}}.*)*"
    (own,) = re.findall(entry, SCHEMES[scheme].by_hand)
    for fact in (file.sha256, file.md5, file.note, file.size and f" {file.size:,} bytes"):
        assert not fact or fact in own


def test_files_of_lfw_are_compared_by_md5_where_nothing_else_is_published(
    tmp_path, monkeypatch, capsys, own_cache
):
    path = lfw_files_beside(tmp_path)
    train = (tmp_path / "peopleDevTrain.txt").read_bytes()
    monkeypatch.setattr(
        LfwSource,
        "published",
        (
            Published("lfw-funneled.tgz", md5="0" * 32),
            Published("peopleDevTrain.txt", md5=hashlib.md5(train).hexdigest()),
            Published("peopleDevTest.txt", md5=hashlib.md5(train).hexdigest()),
        ),
    )
    assert main(["data", "check", f"lfw:{path}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "published" in line]
    assert lines[0] == "published: peopleDevTrain.txt: as published"
    assert re.match(r"published: peopleDevTest\.txt: MD5 differs from the published", lines[1])
    assert len(lines) == 2


@pytest.mark.parametrize("scheme", ["utkface", "ffhq"])
def test_where_nothing_is_published_nothing_is_compared(scheme, tmp_path):
    assert open_source(EACH[scheme](tmp_path)).compare_with_published() == []


@pytest.mark.parametrize("scheme", EACH)
def test_the_folder_of_all_data_is_asked(scheme, tmp_path, monkeypatch):
    path = EACH[scheme](tmp_path / "made")
    (tmp_path / "data").mkdir()
    shutil.move(path, tmp_path / "data" / scheme)
    monkeypatch.setenv("KERAS_FACES_DATA", str(tmp_path / "data"))
    assert open_source(scheme).address == f"{scheme}:{tmp_path / 'data' / scheme}"


def test_no_source_takes_another_ones_data(tmp_path, orl_folder):
    paths = {scheme: EACH[scheme](tmp_path / scheme) for scheme in EACH}
    for scheme, path in paths.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert open_source(path).scheme == scheme
    assert not hasattr(open_source(orl_folder), "scheme")


@pytest.mark.parametrize("name", ["a.tgz", "a.tar.gz", "a.TAR", "a.7z", "a.rar", "a.tar.xz"])
def test_archives_are_known_by_their_suffix(name):
    assert name in how_to_unpack(Path("/data", name))
    assert how_to_unpack(Path("/data", f"{name}.zip")) is None


def test_once_takes_each_picture_from_the_fullest_folder():
    assert deduplicate(["a/1.jpg", "b/1.jpg", "b/2.png", "c/3.jpg"]) == [
        "b/1.jpg",
        "b/2.png",
        "c/3.jpg",
    ]
    assert deduplicate(["10.jpg", "9.jpg"]) == ["10.jpg", "9.jpg"]
    assert deduplicate([]) == []
