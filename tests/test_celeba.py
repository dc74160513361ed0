"""CelebA: every layout in which people have it, its annotation files, and what can be wrong."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import (
    CELEBA_ATTRIBUTES,
    CELEBA_NUMBERS,
    celeba_bits,
    celeba_csvs,
    celeba_drive,
    celeba_folder,
    celeba_kaggle,
    celeba_person,
    celeba_pictures,
    celeba_side,
    celeba_texts,
    under,
    write,
    zipped,
)
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.annotations import read_table, stem
from keras_faces.data.decode import decode
from keras_faces.data.preparation import attributes_csv, people_folders
from keras_faces.data.sources import LEFT_OUT, Entry, open_source
from keras_faces.data.sources.base import UnmatchedAnnotations
from keras_faces.data.sources.celeba import CelebaSource
from keras_faces.data.sources.published import Published

SIDES = ("train", "validation", "test")

# ---------------------------------------------------------------------------------------------
# Layouts


def official_folder(path: Path) -> Path:
    return celeba_folder(path / "celeba")


def drive_folder(path: Path) -> Path:
    pictures = under("Img/img_align_celeba", celeba_pictures())
    return write({**pictures, **celeba_drive()}, path / "CelebA")


def drive_folder_with_zip(path: Path) -> Path:
    zipped(under("img_align_celeba", celeba_pictures()), path / "CelebA/Img/img_align_celeba.zip")
    return write(celeba_drive(), path / "CelebA")


def folder_with_zip(path: Path) -> Path:
    zipped(under("img_align_celeba", celeba_pictures()), path / "celeba" / "img_align_celeba.zip")
    return write(celeba_texts(), path / "celeba")


def zip_with_texts_beside(path: Path) -> Path:
    return folder_with_zip(path) / "img_align_celeba.zip"


def zip_in_the_drives_folders(path: Path) -> Path:
    return drive_folder_with_zip(path) / "Img" / "img_align_celeba.zip"


def zip_of_everything(path: Path) -> Path:
    pictures = under("celeba/img_align_celeba", celeba_pictures())
    return zipped({**pictures, **under("celeba", celeba_texts())}, path / "celeba.zip")


def pictures_folder_itself(path: Path) -> Path:
    return official_folder(path) / "img_align_celeba"


def pictures_folder_of_the_drive(path: Path) -> Path:
    return drive_folder(path) / "Img" / "img_align_celeba"


def folder_with_both(path: Path) -> Path:
    """As torchvision leaves it: unpacked, and the zip still there."""
    folder = official_folder(path)
    zipped(under("img_align_celeba", celeba_pictures()), folder / "img_align_celeba.zip")
    return folder


def kaggle_zip(path: Path) -> Path:
    return zipped(celeba_kaggle(), path / "archive.zip")


def kaggle_folder(path: Path) -> Path:
    return write(celeba_kaggle(), path / "archive")


def folder_with_kaggle_zip(path: Path) -> Path:
    return kaggle_zip(path / "celeba").parent


OFFICIAL = [
    official_folder,
    drive_folder,
    drive_folder_with_zip,
    folder_with_zip,
    zip_with_texts_beside,
    zip_in_the_drives_folders,
    zip_of_everything,
    pictures_folder_itself,
    pictures_folder_of_the_drive,
    folder_with_both,
]
KAGGLE = [kaggle_zip, kaggle_folder, folder_with_kaggle_zip]


@pytest.mark.parametrize("layout", OFFICIAL + KAGGLE)
def test_every_layout_is_recognised_and_reads_the_same(layout, tmp_path):
    path = layout(tmp_path)
    source = open_source(path)
    assert isinstance(source, CelebaSource)
    assert source.address == f"celeba:{path}"
    entries = source.entries()
    assert [int(stem(entry.name)) for entry in entries] == list(CELEBA_NUMBERS)
    assert [entry.split for entry in entries] == [SIDES[celeba_side(n)] for n in CELEBA_NUMBERS]
    people = [str(celeba_person(n)) for n in CELEBA_NUMBERS]
    assert [entry.identity for entry in entries] == (
        people if layout in OFFICIAL else [None] * len(people)
    )
    attributes = source.attributes()
    assert list(attributes.names) == CELEBA_ATTRIBUTES
    table = attributes.table([entry.name for entry in entries])
    assert table.tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]
    pictures = celeba_pictures()
    for entry in entries:
        assert source.read(entry.name) == pictures[entry.name.rpartition("/")[2]]


def test_the_builders_pictures_are_celebas():
    picture = next(iter(celeba_pictures().values()))
    assert decode(picture, "closecrop140", 64, 3).shape == (64, 64, 3)
    # To the byte of the published file: 26,721,026 bytes, of which 22,516 rows begin with a 1.
    size = len(celeba_texts([1])["list_attr_celeba.txt"]) - len("1\r\n") + len("202599\r\n")
    row = 11 + 1 + 39 * 3 + 2
    assert celeba_bits(1)[0] == 1
    assert size - row + 202_599 * (row + 1) - 22_516 == 26_721_026
    assert len(celeba_texts([1])["list_eval_partition.txt"]) * 202_599 == 2_836_386
    one, two = (len(celeba_texts(n)["list_landmarks_align_celeba.txt"]) for n in ([1], [1, 2]))
    assert one - len("1") + len("202599") + 202_598 * (two - one) == 12_156_055


@pytest.mark.parametrize("layout", [official_folder, kaggle_zip])
def test_celeba_loads_through_the_front_door(layout, tmp_path):
    stream = kf.data.open_faces(
        f"celeba:{layout(tmp_path)}", 32, 4, split="all", labels="attributes", progress=False
    )
    assert stream.image_shape == (32, 32, 3)
    assert stream.label_names == CELEBA_ATTRIBUTES
    assert stream.labels_at(np.arange(12)).tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]
    assert "CelebA" in stream.facts["credit"]


LANDMARKS = "list_landmarks_align_celeba.txt"


def landmarks(path, crop: str, image_size: int):
    return kf.data.open_faces(
        f"celeba:{path}", image_size, 4, "all", crop=crop, labels="landmarks", progress=False
    )


@pytest.mark.parametrize("layout", [official_folder, drive_folder, kaggle_zip])
def test_landmarks_are_told_in_pixels_of_the_cropped_picture(layout, tmp_path, own_cache):
    path = layout(tmp_path)
    stream = landmarks(path, "closecrop140", 70)  # rows 39:179, columns 19:159, halved
    assert stream.label_names[:4] == ["lefteye_x", "lefteye_y", "righteye_x", "righteye_y"]
    told = stream.labels_at(np.arange(12))
    assert told.dtype == np.float32
    expected = [25, 35, 43.5, 37, 29, 51.5, 27, 56.5, 44.5, 57.5]
    np.testing.assert_array_equal(told, [expected] * 12)
    batch, labels = next(iter(stream.dataset()))
    assert batch.shape == (4, 70, 70, 3)
    np.testing.assert_array_equal(labels, [expected] * 4)


@pytest.mark.parametrize("crop", sorted(kf.data.CROPS))
def test_landmarks_follow_their_pixels_through_every_crop(crop, tmp_path, own_cache):
    places = (69, 109, 106, 113, 77, 142, 73, 152, 108, 154)
    # As `celeba_texts` places them, a block of 5x5 pixels for each point, in a picture by itself.
    pictures = {}
    for number, (x, y) in enumerate(zip(places[::2], places[1::2]), 1):
        pixels = np.zeros((218, 178, 3), np.uint8)
        pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures[f"{number:06d}.png"] = buffer.getvalue()
    folder = write(under("img_align_celeba", pictures), tmp_path / "celeba")
    write(celeba_texts(range(1, 6)), folder)
    stream = landmarks(folder, crop, 64)
    told = stream.labels_at(np.arange(5))
    for number, image in enumerate(stream.cache.read(np.arange(5)).astype(float)):
        weights = image.sum(axis=2)
        centre = [(weights.sum(axis) * np.arange(64)).sum() / weights.sum() for axis in (0, 1)]
        # The middle of pixel 3 lies at 3.5, and a point names a pixel by its corner.
        np.testing.assert_allclose(told[number, 2 * number :][:2], centre, atol=0.6)


def test_landmarks_that_are_cut_off_lie_outside(tmp_path, own_cache):
    def high(data):
        return change_row(data, 3, b" 69  109", b" -6   10")

    folder = edited(official_folder(tmp_path), LANDMARKS, high)
    assert landmarks(folder, "closecrop140", 70).labels_at(np.arange(1))[0, :2].tolist() == [
        -12.5,
        -14.5,
    ]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.replace(b"000003.jpg", b"000033.jpg"), r"1 of 12 pictures have no landmarks"),
        (lambda d: d.replace(b".jpg", b"_hq.jpg"), r"names none of the 12"),
        (lambda d: change_row(d, 5, b"109", b""), r"line 5: .*10 values.*Received 9"),
        (lambda d: change_row(d, 5, b"109", b"1.5"), r"line 5: .*a whole number"),
        (lambda d: change_row(d, 2, b"nose", b"nase"), r"columns lefteye_x.*Received: .*nase_x"),
    ],
)
def test_landmarks_that_do_not_match_are_refused(edit, message, tmp_path, own_cache):
    folder = edited(official_folder(tmp_path), LANDMARKS, edit)
    with pytest.raises(kf.UserError, match=message):
        landmarks(folder, "center", 32)


def test_landmarks_of_a_source_without_them_are_refused(tmp_path, own_cache):
    with pytest.raises(kf.UserError, match="says where eyes, nose and mouth are"):
        kf.data.load("orl", 16, 4, labels="landmarks", progress=False)


def test_a_cvae_takes_no_landmarks_for_conditions(tmp_path, own_cache):
    stream = landmarks(official_folder(tmp_path), "center", 32)
    conditions = ",".join(stream.label_names)
    model = kf.create_model("cvae", image_size=32, channels=3, conditions=conditions, filters=4)
    model.compile()
    with pytest.raises(kf.UserError, match="labels='attributes' or labels='identity'"):
        model.fit(stream.dataset(), epochs=1)


def test_a_folder_of_pictures_alone_is_enough(tmp_path):
    folder = write(under("img_align_celeba", celeba_pictures()), tmp_path / "celeba")
    source = open_source(folder)
    assert source.attributes() is None
    assert "list_attr_celeba.txt" in source.attributes_hint
    entries = source.entries()
    # By number, since the numbers are official ones.
    assert [entry.split for entry in entries] == [SIDES[celeba_side(n)] for n in CELEBA_NUMBERS]


def test_without_partition_file_and_official_numbers_the_source_says_nothing(tmp_path):
    pictures = {**celeba_pictures([1, 2]), "me.jpg": celeba_pictures([3])["000003.jpg"]}
    folder = write(under("img_align_celeba", pictures), tmp_path / "celeba")
    assert {entry.split for entry in open_source(folder).entries()} == {None}


def test_official_boundaries_are_those_of_the_papers(tmp_path):
    source = open_source(write(under("img_align_celeba", celeba_pictures([1])), tmp_path))
    source.files = [Entry(f"img_align_celeba/{n:06d}.jpg") for n in range(1, 202_600)]
    splits = Counter(entry.split for entry in source.entries())
    assert splits == {"train": 162_770, "validation": 19_867, "test": 19_962}


def test_pngs_match_the_rows_of_jpgs(tmp_path):
    folder = celeba_folder(tmp_path / "celeba")
    (folder / "img_align_celeba").rename(folder / "img_align_celeba_png")
    for file in (folder / "img_align_celeba_png").iterdir():
        file.rename(file.with_suffix(".png"))
    source = open_source(folder)
    assert [entry.split for entry in source.entries()][:2] == ["train"] * 2
    assert len(source.attributes().rows) == len(CELEBA_NUMBERS)


def test_pictures_unpacked_twice_count_once(tmp_path):
    folder = official_folder(tmp_path)
    write(under("img_align_celeba/img_align_celeba", celeba_pictures([1, 2, 3])), folder)
    names = [entry.name for entry in open_source(folder).entries()]
    assert names == [f"img_align_celeba/{n:06d}.jpg" for n in CELEBA_NUMBERS]


def test_other_pictures_of_the_drive_are_passed_over(tmp_path):
    folder = drive_folder(tmp_path)
    write(under("Img/img_celeba", celeba_pictures([1, 2])), folder)
    write({"overview.png": b"", "Img/.DS_Store": b"", "__MACOSX/x.jpg": b""}, folder)
    assert len(open_source(folder).entries()) == len(CELEBA_NUMBERS)


# ---------------------------------------------------------------------------------------------
# Options


def test_sfus_split_is_by_name(tmp_path):
    names = [f"img_align_celeba/{n:06d}.jpg" for n in range(20_000, 9_899, -1)]
    path = zipped(dict.fromkeys(names, b""), tmp_path / "img_align_celeba.zip")
    entries = open_source(f"celeba:{path}?partition=sfu").entries()
    assert [stem(entry.name) for entry in entries] == [f"{n:06d}" for n in range(9_900, 20_001)]
    assert [e.split for e in entries] == ["train"] * 9000 + ["test"] * 1000 + [LEFT_OUT] * 101


def test_sfus_split_needs_its_ten_thousand(tmp_path):
    with pytest.raises(kf.UserError, match=r"10,000 pictures.*has 12"):
        open_source(f"celeba:{official_folder(tmp_path)}?partition=sfu").entries()


def test_the_split_by_identity_leaves_it_to_the_people(tmp_path):
    folder = official_folder(tmp_path)
    source = open_source(f"celeba:{folder}?partition=identity")
    assert source.address == f"celeba:{folder}?partition=identity"
    assert {entry.split for entry in source.entries()} == {None}
    assert len({entry.identity for entry in source.entries()}) == 5
    (folder / "identity_CelebA.txt").unlink()
    with pytest.raises(kf.UserError, match=r"12 of 12.*identity_CelebA\.txt|identity_CelebA\.txt"):
        open_source(f"celeba:{folder}?partition=identity").entries()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partition=offical", "value of partition named 'offical'. Did you mean 'official'"),
        ("labelled=maybe", "value of labelled"),
        ("split=test", r"does not know 'split=test'.*partition, labelled"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, option, message):
    with pytest.raises(kf.UserError, match=message):
        open_source(f"celeba:{official_folder(tmp_path)}?{option}")


# ---------------------------------------------------------------------------------------------
# The listing


@pytest.mark.parametrize("layout", [official_folder, zip_with_texts_beside, drive_folder_with_zip])
@pytest.mark.parametrize(
    "file", ["list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"]
)
def test_the_listing_changes_with_the_annotation_files(layout, file, tmp_path):
    path = layout(tmp_path)
    before = open_source(path).listing()
    assert open_source(path).listing() == before
    changed = next(tmp_path.rglob(file))
    changed.write_bytes(changed.read_bytes() + b"\n")
    assert open_source(path).listing() != before
    changed.unlink()
    assert open_source(path).listing() != before


def test_the_listing_changes_with_options(tmp_path):
    path = official_folder(tmp_path)
    addresses = [f"celeba:{path}", f"celeba:{path}?partition=identity"]
    assert len({open_source(address).listing() for address in addresses}) == 2


# ---------------------------------------------------------------------------------------------
# Files that do not fit


def edited(folder: Path, file: str, edit) -> Path:
    path = folder / file
    path.write_bytes(edit(path.read_bytes()))
    return folder


def without_row(number: int):
    def edit(data: bytes) -> bytes:
        lines = [
            line for line in data.splitlines(True) if not line.startswith(b"%06d.jpg" % number)
        ]
        return b"".join(lines).replace(b"12\r\n", b"11\r\n", 1)

    return edit


def test_pictures_without_attributes_are_an_error_only_where_attributes_are_asked_for(tmp_path):
    folder = edited(official_folder(tmp_path), "list_attr_celeba.txt", without_row(3))
    source = open_source(folder)
    names = [entry.name for entry in source.entries()]
    assert len(names) == 12
    with pytest.raises(
        kf.UserError, match=r"1 of 12 pictures .*000003\.jpg.*list_attr_celeba\.txt.*labelled=yes"
    ):
        source.attributes().table(names)
    labelled = open_source(f"celeba:{folder}?labelled=yes")
    names = [entry.name for entry in labelled.entries()]
    assert len(names) == 11
    assert len(labelled.attributes().table(names)) == 11


@pytest.mark.parametrize(
    ("file", "what"),
    [("list_eval_partition.txt", "left out of every split"), ("identity_CelebA.txt", "nobody")],
)
def test_pictures_without_a_row_are_counted_and_named(tmp_path, file, what):
    folder = edited(official_folder(tmp_path), file, without_row(3))
    with pytest.warns(
        UnmatchedAnnotations, match=rf"1 of 12 pictures .*{file}.*{what}.*000003\.jpg"
    ):
        entry = open_source(folder).entries()[2]
    assert LEFT_OUT in entry or None in entry


def test_pictures_without_a_row_are_told_of_at_every_start(tmp_path):
    folder = edited(official_folder(tmp_path), "identity_CelebA.txt", without_row(3))
    for size in (32, 32, 64):  # made anew, from the cache, made anew with pictures that are known
        with pytest.warns(UnmatchedAnnotations, match=r"1 of 12 pictures .*000003\.jpg") as told:
            kf.data.open_faces(folder, size, 4, progress=False)
        assert len(told) == 1
    row = "000003.jpg 2880"
    path = folder / "identity_CelebA.txt"
    path.write_text(path.read_text().rstrip("\n") + f"\n{row}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kf.data.open_faces(folder, 32, 4, progress=False)


def test_rows_without_pictures_do_no_harm_and_are_counted(tmp_path):
    folder = official_folder(tmp_path)
    (folder / "img_align_celeba" / "000002.jpg").unlink()
    (folder / "img_align_celeba" / "190000.jpg").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_source(folder)
        assert len(source.entries()) == 10
    names = [entry.name for entry in source.entries()]
    numbers = [n for n in CELEBA_NUMBERS if n not in (2, 190000)]
    assert source.attributes().table(names).tolist() == [celeba_bits(n) for n in numbers]
    for match in source.matches():
        assert match.rows == 12
        assert match.pictures_without_row == []
        assert match.rows_without_picture == ["000002.jpg", "190000.jpg"]


@pytest.mark.parametrize(
    "file", ["identity_CelebA.txt", "list_eval_partition.txt", "list_attr_celeba.txt", LANDMARKS]
)
def test_the_file_of_another_data_set_is_refused(tmp_path, file):
    folder = edited(official_folder(tmp_path), file, lambda d: d.replace(b".jpg", b"_hq.jpg"))
    source = open_source(folder)
    with pytest.raises(kf.UserError, match=rf"{file} names none of the 12 .*'000001_hq\.jpg'"):
        source.entries()
        source.attributes()
        source.landmarks()


def change_row(data: bytes, number: int, old: bytes, new: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    return b"\r\n".join(lines)


BAD_ATTRIBUTES = {
    "a column too few": (lambda d: change_row(d, 5, b" -1", b""), r"line 5: .*40 values.*39"),
    "a column too many": (lambda d: change_row(d, 5, b" -1", b" -1 -1"), r"line 5: .*40.*41"),
    "a word": (lambda d: change_row(d, 5, b" -1", b" no"), r"line 5: .*1 or -1"),
    "a two": (lambda d: change_row(d, 5, b" -1", b"  2"), r"line 5: .*1 or -1"),
    "cut in a row": (lambda d: d[:-30], r"line 14: "),
    "no header": (lambda d: b"\r\n".join(d.split(b"\r\n")[2:]), r"line 1: .*names of the columns"),
    "count alone": (lambda d: b"12\r\n", "no rows"),
    "header alone": (lambda d: b"\r\n".join(d.split(b"\r\n")[:2]), "no rows"),
    "empty": (lambda d: b"", "no rows"),
    "blank": (lambda d: b"\r\n \r\n", "no rows"),
    "a quota page": (lambda d: b"<!DOCTYPE html><html>Quota exceeded", "web page"),
    "another encoding": (lambda d: d.replace(b"000003", b"00\xe9003", 1), "UTF-8"),
    "a picture": (lambda d: celeba_pictures()["000001.jpg"], "UTF-8"),
    "a header too short": (lambda d: d.replace(b" Young ", b""), r"line 3: .*39 values.*40"),
}


@pytest.mark.parametrize("name", BAD_ATTRIBUTES)
def test_an_attribute_file_that_is_not_whole_is_refused_with_file_and_line(tmp_path, name):
    edit, message = BAD_ATTRIBUTES[name]
    folder = edited(official_folder(tmp_path), "list_attr_celeba.txt", edit)
    source = open_source(folder)
    assert len(source.entries()) == 12  # the pictures are still there
    with pytest.raises(kf.UserError, match=rf"list_attr_celeba\.txt.*{message}"):
        source.attributes()


@pytest.mark.parametrize(
    ("edit", "count", "message"),
    [
        (lambda d: d[: d.rindex(b"200000.jpg")], 10, "12 rows, and has 10"),
        (lambda d: d.replace(b"12", b"202599", 1), 12, "202,599 rows, and has 12"),
    ],
    ids=["cut after a row", "a wrong count"],
)
def test_an_attribute_file_of_another_number_of_rows_is_used_with_a_warning(
    tmp_path, own_cache, edit, count, message
):
    folder = edited(official_folder(tmp_path), "list_attr_celeba.txt", edit)
    with pytest.warns(UserWarning, match=message):
        assert len(open_source(folder).attributes().rows) == count
    if count == 12:
        for _ in range(2):  # at every start, also of labels that are not read again
            with pytest.warns(UserWarning, match=message):
                kf.data.open_faces(folder, 8, 2, "all", labels="attributes", progress=False)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("identity_CelebA.txt", b"000003.jpg 2883", b"000003.jpg", r"line 3: .*a number"),
        ("identity_CelebA.txt", b"000003.jpg 2883", b"000003.jpg x", r"line 3: .*a number"),
        ("identity_CelebA.txt", b"000001.jpg 2881", b"000001.jpg x", r"line 1: .*a number|no rows"),
        ("identity_CelebA.txt", b" 2883", b" 1 2 3", r"line 3: .*Received 3"),
        ("identity_CelebA.txt", b" 2883", b" " + b"9" * 5000, "line 3: "),
        ("list_eval_partition.txt", b"000003.jpg 0", b"000003.jpg 3", r"line 3: .*0, 1 or 2"),
        ("list_eval_partition.txt", b"000003.jpg 0", b"000003.jpg -1", r"line 3: .*0, 1 or 2"),
    ],
)
def test_a_damaged_row_is_refused_with_file_and_line(tmp_path, file, old, new, message):
    folder = edited(official_folder(tmp_path), file, lambda d: d.replace(old, new, 1))
    with pytest.raises(kf.UserError, match=rf"{file}.*{message}"):
        open_source(folder).entries()


@pytest.mark.parametrize("suffix", [".zip", ".ZIP"])
def test_a_quota_page_saved_as_the_zip_is_recognised(tmp_path, suffix):
    path = tmp_path / f"img_align_celeba{suffix}"
    path.write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>")
    with pytest.raises(kf.UserError, match="web page that was saved"):
        open_source(f"celeba:{path}")
    with pytest.raises(kf.UserError, match="web page that was saved"):
        open_source(path)
    with pytest.raises(kf.UserError, match="web page that was saved"):
        open_source(f"celeba:{tmp_path}")


def test_a_zip_cut_in_half_is_refused(tmp_path):
    path = zip_with_texts_beside(tmp_path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(kf.UserError, match="look whether it is whole"):
        open_source(path)


@pytest.mark.parametrize("name", ["img_align_celeba_png.7z", "celeba.tar.gz", "celeba.rar"])
def test_an_archive_that_cannot_be_read_in_place_says_how_to_unpack_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"7z")
    for address in (path, f"celeba:{path}", f"celeba:{tmp_path}"):
        with pytest.raises(kf.UserError, match=rf"must be unpacked first.*{name}"):
            open_source(address)


def test_a_damaged_picture_is_skipped_and_shifts_nothing(tmp_path):
    folder = official_folder(tmp_path)
    (folder / "img_align_celeba" / "000003.jpg").write_bytes(b"no picture")
    with pytest.warns(kf.data.SkippedPictures, match=r"000003\.jpg"):
        stream = kf.data.open_faces(folder, 16, 4, split="all", labels="attributes", progress=False)
    numbers = [n for n in CELEBA_NUMBERS if n != 3]
    assert stream.labels_at(np.arange(11)).tolist() == [celeba_bits(n) for n in numbers]


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="needs a user with limits")
@pytest.mark.parametrize("scheme", ["", "celeba:"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, scheme):
    folder = official_folder(tmp_path)
    (folder / "img_align_celeba").chmod(0)
    try:
        with pytest.raises(kf.UserError, match=r"Cannot read folder.*img_align_celeba"):
            open_source(f"{scheme}{folder}")
    finally:
        (folder / "img_align_celeba").chmod(0o755)


def test_unlike_folders_are_not_taken_for_celeba(orl_folder, tmp_path):
    assert not CelebaSource.recognises(orl_folder)
    assert not CelebaSource.recognises(zipped({"a/1.jpg": b""}, tmp_path / "a.zip"))
    (tmp_path / "b.zip").write_bytes(b"no zip file")
    assert not CelebaSource.recognises(tmp_path / "b.zip")


# ---------------------------------------------------------------------------------------------
# Where the data are


def test_without_a_path_the_folder_of_all_data_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FACES_DATA", str(tmp_path))
    with pytest.raises(kf.UserError, match=r"There is no folder .*celeba'[\s\S]*46fb89443c57"):
        open_source("celeba")
    folder = official_folder(tmp_path)
    assert open_source("celeba").address == f"celeba:{folder}"
    assert open_source("celeba:?partition=identity").partition == "identity"
    shutil.rmtree(folder)
    path = zip_of_everything(tmp_path)
    assert open_source("celeba").address == f"celeba:{path}"


def test_without_data_it_says_what_to_do_by_hand(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("KERAS_FACES_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "celeba"]) == 2
    shown = capsys.readouterr().err
    for part in (
        "mmlab.ie.cuhk.edu.hk",
        "img_align_celeba.zip",
        "1,443,490,838",
        "KERAS_FACES",
    ):
        assert part in shown
    with pytest.raises(kf.UserError, match=r"no folder or file .*nowhere[\s\S]*mmlab"):
        open_source("celeba:nowhere")
    with pytest.raises(kf.UserError, match=r"No picture[\s\S]*mmlab"):
        open_source(f"celeba:{tmp_path}")


# ---------------------------------------------------------------------------------------------
# What is published of the files


def publish(monkeypatch, files: dict[str, bytes]) -> None:
    """Publish files of these contents; whoever looks at their MD5 finds another one."""
    facts = [
        Published(name, len(content), hashlib.sha256(content).hexdigest(), "0" * 32)
        for name, content in files.items()
    ]
    monkeypatch.setattr(CelebaSource, "published", facts)


def compared(path, capsys, status: int = 0) -> list[str]:
    """Return what `data check` says on published files."""
    assert main(["data", "check", f"celeba:{path}", "--image-size", "32"]) == status
    said = capsys.readouterr()
    return [line for line in (said.out + said.err).splitlines() if line.startswith("published")]


ATTRIBUTES = celeba_texts()["list_attr_celeba.txt"]


@pytest.mark.parametrize(
    "layout", [official_folder, drive_folder, drive_folder_with_zip, pictures_folder_itself]
)
@pytest.mark.parametrize(
    ("published", "line"),
    [
        (ATTRIBUTES, "as published"),
        (
            ATTRIBUTES + b"1",
            f"{len(ATTRIBUTES):,} bytes, published are {len(ATTRIBUTES) + 1:,}: the download is "
            "not whole (get it again), or the file was shortened since",
        ),
        (
            ATTRIBUTES[:-1],
            f"{len(ATTRIBUTES):,} bytes, published are {len(ATTRIBUTES) - 1:,}: another version, "
            "or the file was changed since",
        ),
        (
            ATTRIBUTES[:-1] + b" ",
            "SHA-256 differs from the published one: another version, or a damaged download",
        ),
    ],
    ids=["same", "longer", "shorter", "other"],
)
def test_files_are_compared_with_what_is_published(
    layout, published, line, tmp_path, monkeypatch, capsys, own_cache
):
    publish(monkeypatch, {"Anno/list_attr_celeba.txt": published})
    assert compared(layout(tmp_path), capsys) == [f"published: list_attr_celeba.txt: {line}"]
    # A copy that differs is as good as another.
    for file in tmp_path.rglob("list_attr_celeba.txt"):
        file.unlink()
    shutil.rmtree(own_cache)
    assert compared(next(tmp_path.glob("[cC]eleb*")), capsys) == []


@pytest.mark.parametrize(
    "layout", [folder_with_zip, zip_with_texts_beside, drive_folder_with_zip, folder_with_both]
)
def test_the_zip_of_the_pictures_is_compared(layout, tmp_path, monkeypatch, capsys, own_cache):
    path = layout(tmp_path)
    (file,) = tmp_path.rglob("img_align_celeba.zip")
    data = file.read_bytes()
    publish(monkeypatch, {"Img/img_align_celeba.zip": data})
    assert compared(path, capsys) == ["published: img_align_celeba.zip: as published"]
    changed = data.replace(b"000001.jpg", b"000006.jpg")
    assert len(changed) == len(data)
    file.write_bytes(changed)
    (line,) = compared(path, capsys)
    assert "img_align_celeba.zip: SHA-256 differs" in line


def test_files_within_a_zip_and_several_copies_are_compared(
    tmp_path, monkeypatch, capsys, own_cache
):
    publish(monkeypatch, {"Anno/list_attr_celeba.txt": ATTRIBUTES})
    path = zip_of_everything(tmp_path)
    assert compared(path, capsys) == ["published: list_attr_celeba.txt: as published"]
    write({"list_attr_celeba.txt": ATTRIBUTES[:-2]}, tmp_path)
    beside, within = compared(path, capsys)
    shorter = f"{len(ATTRIBUTES) - 2:,} bytes, published are {len(ATTRIBUTES):,}"
    assert beside.startswith(f"published: {tmp_path / 'list_attr_celeba.txt'}: {shorter}")
    assert within == f"published: celeba/list_attr_celeba.txt in {str(path)!r}: as published"


def test_a_file_of_several_names_is_compared_once(tmp_path, monkeypatch, capsys, own_cache):
    publish(monkeypatch, {"Anno/list_attr_celeba.txt": ATTRIBUTES})
    folder = official_folder(tmp_path)
    (folder / "Anno").mkdir()
    os.link(folder / "list_attr_celeba.txt", folder / "Anno" / "list_attr_celeba.txt")
    assert compared(folder, capsys) == ["published: list_attr_celeba.txt: as published"]


def test_a_file_that_cannot_be_read_is_told(tmp_path, monkeypatch, capsys, own_cache):
    publish(monkeypatch, {"Anno/list_attr_celeba.txt": ATTRIBUTES})
    folder = official_folder(tmp_path)
    source = open_source(folder)
    real = open

    def refuses(name, *arguments, **keywords):
        if str(name).endswith("list_attr_celeba.txt"):
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", refuses)
    (line,) = source.compare_with_published()
    assert re.match("published: list_attr_celeba.txt: cannot be compared: .*denied", line)


@pytest.mark.parametrize("given", ["celeba", "celeba/img_align_celeba.zip"])
def test_a_zip_that_was_cut_is_told_beside_its_published_size(
    given, tmp_path, monkeypatch, capsys, own_cache
):
    (file,) = folder_with_zip(tmp_path).rglob("*.zip")
    data = file.read_bytes()
    publish(monkeypatch, {"Img/img_align_celeba.zip": data, "Anno/list_attr_celeba.txt": b"short"})
    os.truncate(file, len(data) // 2)
    (line,) = compared(tmp_path / given, capsys, status=2)
    assert line.startswith(
        f"published: img_align_celeba.zip: {len(data) // 2:,} bytes, published are {len(data):,}: "
        "the download is not whole"
    )
    file.write_bytes(b"\0" * len(data))  # of the right size, so nothing is said of it
    assert compared(tmp_path / given, capsys, status=2) == []


# ---------------------------------------------------------------------------------------------
# Annotation files


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda t: t.replace("\r\n", "\n"),
        lambda t: t.replace("\r\n", "\r"),
        lambda t: "\ufeff" + t,
        lambda t: t.rstrip("\r\n"),
        lambda t: t.replace("\r\n", "\r\n\r\n"),
        lambda t: t.replace("  ", " "),
        lambda t: t.replace(" ", "\t"),
        lambda t: t.replace("-1", " 0"),
        lambda t: t.partition("\r\n")[2],
        lambda t: t.replace("5_o_Clock", "image_id 5_o_Clock"),
    ],
    ids=[
        "Unix",
        "old Mac",
        "byte order mark",
        "no last line end",
        "blank lines",
        "one space",
        "tabs",
        "zeros",
        "no count",
        "a name for the column of names",
    ],
)
def test_every_way_of_writing_the_same_table_reads_the_same(rewrite):
    text = celeba_texts()["list_attr_celeba.txt"]
    read = read_table(rewrite(text.decode()).encode(), "it", "1 or -1")
    assert list(read.columns) == CELEBA_ATTRIBUTES
    assert read.names == [f"{n:06d}.jpg" for n in CELEBA_NUMBERS]
    assert read.values.tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda t: t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: "\ufeff" + t,
        lambda t: t.replace(",", ", "),
        lambda t: t.replace("000001.jpg", '"000001.jpg"').replace("Young", '"Young"'),
    ],
    ids=["as it is", "Windows", "byte order mark", "spaces", "quotes"],
)
def test_kaggles_table_reads_the_same(rewrite):
    text = celeba_csvs()["list_attr_celeba.csv"]
    read = read_table(rewrite(text.decode()).encode(), "it", "1 or -1")
    assert list(read.columns) == CELEBA_ATTRIBUTES
    assert read.values.tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]


NAMES = st.text("abcdefghijklmnopqrstuvwxyzäß0123456789_-/", min_size=1, max_size=12)
COLUMNS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.lists(COLUMNS, min_size=1, max_size=6),
    names=st.lists(NAMES, min_size=1, max_size=6, unique=True),
    random=st.randoms(use_true_random=False),
    comma=st.booleans(),
    counted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
)
def test_a_table_that_was_written_reads_back(columns, names, random, comma, counted, end, mark):
    names = [f"{name}.jpg" for name in names]
    rows = [[random.randint(0, 1) for _ in columns] for _ in names]
    between = "," if comma else " "
    lines = [str(len(rows))] if counted else []
    lines.append(between.join((["image_id"] if comma else []) + columns))
    lines += [
        between.join([name, *("1" if bit else "-1" for bit in row)])
        for name, row in zip(names, rows)
    ]
    text = ("\ufeff" if mark else "") + end.join(lines) + end
    read = read_table(text.encode(), "it", "1 or -1")
    assert list(read.columns) == columns
    assert read.names == names
    assert read.values.tolist() == rows


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_changes_nothing_but_the_damaged_rows(data):
    """One changed byte, or a cut: an error or warning that names the file, or the same shape."""
    whole = celeba_texts([1, 2, 3])[
        data.draw(st.sampled_from(["list_attr_celeba.txt", "identity_CelebA.txt"]))
    ]
    header = whole.startswith(b"3\r\n")
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        changed = whole[:place]
    else:
        changed = whole[:place] + data.draw(st.binary(max_size=2)) + whole[place + 1 :]
    kind = "1 or -1" if header else "a number"
    try:
        read = read_table(changed, "it", kind, header)
    except kf.UserError as error:
        assert str(error).startswith("it")
        return
    first = read_table(whole, "it", kind, header)
    assert read.values.shape[1] == first.values.shape[1]
    if header and changed.startswith(b"3\r\n"):
        assert len(read.names) == 3 or "3 rows, and has" in read.warning
    same = [name for name in read.names if name in first.names]
    assert len(same) >= len(read.names) - 2


def test_reading_202599_rows_of_40_attributes_takes_seconds():
    text = celeba_texts([1])["list_attr_celeba.txt"].decode().split("\r\n")
    rows = "".join(f"{n:06d}{text[2][6:]}\r\n" for n in range(1, 202_600))
    data = f"202599\r\n{text[1]}\r\n{rows}".encode()
    start = time.process_time()
    read = read_table(data, "it", "1 or -1")
    taken = time.process_time() - start
    assert read.values.shape == (202_599, 40)
    assert taken < 6  # about 1.2 s on one core of 2020; a busy machine is slower


# ---------------------------------------------------------------------------------------------
# Zhang's preparation


@pytest.mark.parametrize("given", ["folder", "file"])
def test_the_attributes_become_kaggles_csv(tmp_path, given):
    folder = official_folder(tmp_path)
    source = folder if given == "folder" else folder / "list_attr_celeba.txt"
    out = tmp_path / "list_attr_celeba.csv"
    assert attributes_csv(source, out) == (12, 40)
    assert out.read_bytes() == celeba_csvs()["list_attr_celeba.csv"]
    (folder / "list_attr_celeba.txt").unlink()
    shutil.move(out, folder)
    table = open_source(folder).attributes()
    assert table.values.tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]


def test_the_command_writes_attributes_of_any_source(tmp_path, capsys):
    assert main(["data", "attributes", "orl", "--out", str(tmp_path / "orl.csv")]) == 0
    assert "4 attributes of 400 pictures" in capsys.readouterr().out
    lines = (tmp_path / "orl.csv").read_text().splitlines()
    assert lines[0] == "image_id,glasses,smiling,beard,woman"
    assert len(lines) == 401
    assert set(",".join(line.partition(",")[2] for line in lines[1:]).split(",")) == {"1", "-1"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_attributes_are_written_to_a_pipe_that_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        attributes_csv("orl", pipe)
        assert len(read.result().splitlines()) == 401
    assert pipe.is_fifo()


def test_attributes_of_a_source_without_any_say_where_to_put_them(tmp_path):
    folder = write(under("img_align_celeba", celeba_pictures([1])), tmp_path / "celeba")
    with pytest.raises(kf.UserError, match=r"no attributes.*list_attr_celeba\.txt"):
        attributes_csv(folder, tmp_path / "out.csv")
    with pytest.raises(kf.UserError, match=r"needs attributes.*list_attr_celeba\.txt"):
        open_source(f"celeba:{folder}?labelled=yes").entries()


def test_what_the_paper_prepared_is_a_source_of_people_and_attributes(tmp_path):
    folder, out = official_folder(tmp_path), tmp_path / "people"
    people_folders(folder, out, progress=False)
    attributes_csv(folder, out / "list_attr_celeba.csv")
    source = open_source(out)
    entries = sorted(source.entries(), key=lambda entry: stem(entry.name))
    assert [entry.identity for entry in entries] == [str(celeba_person(n)) for n in CELEBA_NUMBERS]
    table = source.attributes().table([entry.name for entry in entries])
    assert table.tolist() == [celeba_bits(n) for n in CELEBA_NUMBERS]


@pytest.mark.parametrize("link", ["none", "hard", "symbolic"])
def test_each_person_has_a_folder(tmp_path, link, capsys):
    folder = official_folder(tmp_path)
    out = tmp_path / "people"
    assert main(["data", "people", str(folder), "--out", str(out), "--link", link]) == 0
    assert "5 people on 12 pictures" in capsys.readouterr().out
    expected = {f"{celeba_person(n)}/{n:06d}.jpg" for n in CELEBA_NUMBERS}
    found = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert found == expected
    one = out / "2881" / "000001.jpg"
    assert one.read_bytes() == celeba_pictures()["000001.jpg"]
    assert one.is_symlink() is (link == "symbolic")
    assert (one.stat().st_nlink == 2) is (link == "hard")
    # What it made is a source with the same people.
    entries = open_source(out).entries()
    assert {entry.name: entry.identity for entry in entries} == {
        name: name.partition("/")[0] for name in expected
    }


def test_people_come_out_of_a_zip_and_no_file_lands_outside(tmp_path):
    path = zip_of_everything(tmp_path)
    made = people_folders(path, tmp_path / "people", progress=False)
    assert made[1:] == (5, 12, [], [])
    with pytest.raises(kf.UserError, match="no files of their own"):
        people_folders(path, tmp_path / "links", "hard", progress=False)
    assert not (tmp_path / "links").exists()
    evil = {f"{person}/1.jpg": celeba_pictures()["000001.jpg"] for person in ("../../x", "y")}
    people_folders(zipped(evil, tmp_path / "evil.zip"), tmp_path / "a" / "b", progress=False)
    assert sorted(p.name for p in (tmp_path / "a").rglob("*.jpg")) == ["1.jpg", "1.jpg"]
    assert not list(tmp_path.glob("x/*"))


def test_a_folder_that_holds_something_else_is_refused(tmp_path, orl_folder):
    folder = official_folder(tmp_path)
    with pytest.raises(kf.UserError, match="not empty"):
        people_folders(folder, orl_folder, progress=False)
    assert len(list(orl_folder.rglob("*.pgm"))) == 12
    (tmp_path / "file").write_text("")
    with pytest.raises(kf.UserError, match="is a file"):
        people_folders(folder, tmp_path / "file", progress=False)


def test_stopped_half_way_it_goes_on(tmp_path, monkeypatch):
    folder, out = official_folder(tmp_path), tmp_path / "people"
    read = CelebaSource.read
    asked = []

    def stops(self, name):
        asked.append(name)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return read(self, name)

    monkeypatch.setattr(CelebaSource, "read", stops)
    with pytest.raises(KeyboardInterrupt):
        people_folders(folder, out, progress=False)
    assert len(list(out.rglob("*.jpg"))) == 4
    other = write({"a/1.jpg": b"", "b/1.jpg": b""}, tmp_path / "other")
    with pytest.raises(kf.UserError, match="begun with another source"):
        people_folders(other, out, progress=False)
    assert people_folders(folder, out, progress=False).pictures == 12
    assert len(asked) == 5 + 8
    assert not list(out.rglob(".*"))
    with pytest.raises(kf.UserError, match="not empty"):
        people_folders(folder, out, progress=False)


def test_stopped_before_its_first_picture_it_begins_anew_with_any_source(tmp_path):
    folder, out = official_folder(tmp_path), tmp_path / "people"
    out.mkdir()
    (out / ".unfinished").write_text("of another source")
    assert people_folders(folder, out, progress=False).pictures == 12
    assert not list(out.rglob(".*"))


def test_pictures_of_nobody_and_bad_ones_are_named(tmp_path, capsys):
    folder = edited(official_folder(tmp_path), "identity_CelebA.txt", without_row(3))
    path = zipped(
        {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*.*")},
        tmp_path / "celeba.zip",
    )
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("img_align_celeba/000001.jpg").header_offset + 100
    data[place : place + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.warns(UnmatchedAnnotations):
        made = people_folders(path, tmp_path / "people", progress=False)
    assert (made.people, made.pictures) == (5, 10)
    assert [stem(name) for name in made.nobody] == ["000003"]
    assert [stem(name) for name, _ in made.bad] == ["000001"]
    assert "unpacked" in made.bad[0][1]


def test_a_source_that_knows_nobody_is_refused(tmp_path):
    with pytest.raises(kf.UserError, match=r"who is on its pictures.*identity_CelebA\.txt"):
        people_folders(kaggle_zip(tmp_path), tmp_path / "people", progress=False)


def test_sources_are_listed_without_tensorflow(tmp_path):
    code = (
        "import sys; from keras_faces.data.sources import open_source; "
        f"s = open_source({str(official_folder(tmp_path))!r}); s.entries(); s.attributes(); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
