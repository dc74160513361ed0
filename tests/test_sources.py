"""Files that hold many pictures each: arrays, tar files, Parquet; on disks and behind URLs."""

import functools
import http.server
import io
import json
import os
import re
import sys
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path

import fsspec
import fsspec.implementations.memory
import layouts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data import open_quietly

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.commands import parse
from keras_faces.data import remote
from keras_faces.data.decode import BadPicture
from keras_faces.data.preparation import people_folders
from keras_faces.data.sources import open_source, shards
from keras_faces.data.sources.shards import split_of


def photos(count: int, height: int = 9, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (count, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def read_all(source) -> dict[str, bytes]:
    """Every picture of a source, by both ways to it."""
    found = {entry.name: picture for entry, picture in source.pictures()}
    assert list(found) == [entry.name for entry in source.entries()]
    for name in list(found)[::3]:
        assert source.read(name) == found[name]
    return found


def is_refused(path, *words: str) -> None:
    with pytest.raises(kf.UserError) as error:
        open_source(path).entries()
    for word in words:
        assert word in str(error.value)


# ---------------------------------------------------------------------------------------------
# What all of them share


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00009.parquet", "train"),
        ("data/valid-00000-of-00001.parquet", "validation"),
        ("test/0.tar", "test"),
        ("x_train.npy", "train"),
        ("celeba-validation-003.tar", "validation"),
        ("latest.tar", None),
        ("trainers/0001.npy", None),
    ],
)
def test_a_files_name_tells_its_split(name, split):
    assert split_of(name) == split


def test_a_folder_of_pictures_stays_one_whatever_lies_beside_them(tmp_path):
    layouts.write(faces(2, folder="a/b/c/"), tmp_path)
    np.save(tmp_path / "features.npy", np.zeros((2, 8)))
    source = open_source(tmp_path)
    assert source.address == str(tmp_path) and len(source.entries()) == 2


def test_more_files_than_a_process_may_open_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "KEPT_OPEN", 3)
    for number in range(5):
        np.save(tmp_path / f"{number}.npy", photos(2))
    before = len(os.listdir("/dev/fd"))
    source = open_source(tmp_path)
    assert len(read_all(source)) == 10
    assert len(os.listdir("/dev/fd")) == before


def test_a_zip_file_is_opened_by_one_thread_alone(tmp_path, monkeypatch):
    path = layouts.zipped(faces(40), tmp_path / "a.zip")
    source = open_source(path)
    opened = []
    make = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or make(path))
    assert len(list(source.pictures())) == 40
    assert len(opened) == 1


# ---------------------------------------------------------------------------------------------
# Arrays


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(8, 12), st.integers(8, 12)),
    channels=st.sampled_from([None, 1, 3]),
    kind=st.sampled_from(["npy", "npz", "packed"]),
    seed=st.integers(0, 99),
)
def test_every_picture_of_an_array_is_read_as_it_is(tmp_path, shape, channels, kind, seed):
    images = np.random.default_rng(seed).integers(0, 256, (*shape, channels or 1), np.uint8)
    images = images if channels else images[..., 0]
    path = tmp_path / f"a.{'npy' if kind == 'npy' else 'npz'}"
    save = {"npy": np.save, "npz": np.savez, "packed": np.savez_compressed}[kind]
    save(path, images)
    found = read_all(open_source(path))
    assert list(found) == [f"{number:06d}" for number in range(len(images))]
    for image, data in zip(images, found.values()):
        assert np.array_equal(pixels(data), image[..., 0] if channels == 1 else image)


def test_the_same_numbers_in_another_shape_are_other_pictures(tmp_path):
    images = photos(4, 8, 16)
    np.save(tmp_path / "a.npy", images)
    np.save(tmp_path / "b.npy", images.reshape(4, 16, 8, 3))
    prints = {
        open_quietly(tmp_path / name, image_size=8, batch_size=1).facts["fingerprint"]
        for name in ("a.npy", "b.npy")
    }
    assert len(prints) == 2


def test_an_array_is_the_same_pictures_under_another_name(tmp_path):
    np.save(tmp_path / "a.npy", photos(12))
    before = open_quietly(tmp_path / "a.npy", image_size=8, batch_size=1).facts
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    after = open_quietly(tmp_path / "b.npy", image_size=8, batch_size=1).facts
    assert before["fingerprint"] == after["fingerprint"]
    assert after["source"] == f"arrays:{tmp_path / 'b.npy'}"


def test_a_folder_of_arrays_has_the_splits_that_its_files_tell(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "train.npy", photos(5))
    np.save(folder / "test.npy", photos(2))
    entries = open_source(folder).entries()
    assert [(e.name, e.split) for e in entries][1:3] == [
        ("test.npy/000001", "test"),
        ("train.npy/000000", "train"),
    ]
    assert open_quietly(folder, image_size=8, batch_size=1, split="test").count == 2


@pytest.mark.parametrize(
    ("arrays", "query", "people"),
    [
        ({"images": photos(3), "identity": np.array(["b", "a", "b"])}, "", ["b", "a", "b"]),
        ({"x": photos(3), "y": np.arange(3)}, "", [None] * 3),  # kinds of pictures, not people
        ({"x": photos(3), "y": np.arange(3)}, "?identity=y", ["0", "1", "2"]),
        ({"x": photos(30), "y": np.arange(30) % 20}, "", [str(n % 20) for n in range(30)]),
        ({"x": photos(3), "identity": np.arange(3)}, "?identity=no", [None] * 3),
        ({"x": photos(3), "identity": np.arange(2)}, "", [None] * 3),
        ({"a": photos(3), "b": photos(2)}, "?images=a", [None] * 3),
    ],
)
def test_people_come_from_the_arrays_that_name_them(tmp_path, arrays, query, people):
    np.savez(tmp_path / "a.npz", **arrays)
    source = open_source(f"arrays:{tmp_path / 'a.npz'}{query}")
    assert [entry.identity for entry in source.entries()] == people
    assert [e.identity for e in open_source(source.address).entries()] == people


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (photos(3) / 255, ("float64", "np.round(x * 255)", "(x + 1) * 127.5")),
        (photos(3).astype(int), ("int64", "np.uint8(x)")),
        (photos(3).transpose(0, 3, 1, 2), ("transpose(0, 2, 3, 1)",)),
        (photos(3)[0], ("a single picture", "x[None]")),
        (np.asfortranarray(photos(3)), ("np.ascontiguousarray",)),
        (np.zeros((3, 9, 9, 4), np.uint8), ("expected uint8 of shape",)),
        (np.zeros((0, 9, 9), np.uint8), ("expected uint8 of shape",)),
        (np.zeros((3, 81), np.uint8), ("expected uint8 of shape",)),
        (np.array([{}, None], object), ("object",)),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_with_how_to_convert_them(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    is_refused(tmp_path / "a.npy", *words)


def test_damaged_arrays_are_said(tmp_path):
    np.save(tmp_path / "a.npy", photos(3))
    whole = (tmp_path / "a.npy").read_bytes()
    for name, data in {"cut": whole[:-5], "junk": b"hello", "empty": b""}.items():
        (tmp_path / f"{name}.npy").write_bytes(data)
    is_refused(tmp_path / "cut.npy", "is it cut?")
    is_refused(tmp_path / "junk.npy", "Cannot read")
    is_refused(tmp_path / "empty.npy", "Cannot read")
    is_refused(f"arrays:{tmp_path / 'none.npy'}", "No such file")
    np.savez(tmp_path / "two.npz", a=photos(3), b=photos(3))
    is_refused(tmp_path / "two.npz", "Say which: arrays:PATH?images=NAME", "a (3, 9, 8, 3)")
    is_refused(f"arrays:{tmp_path / 'two.npz'}?images=c", "'c'")
    is_refused(f"arrays:{tmp_path / 'two.npz'}?images=a&identity=b", "a number or a text")
    packed = tmp_path / "c.npz"
    np.savez_compressed(packed, images=photos(30))
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 255
    packed.write_bytes(data)
    pictures = [picture for _, picture in open_source(packed).pictures()]
    assert len(pictures) == 30 and isinstance(pictures[-1], BadPicture)


# ---------------------------------------------------------------------------------------------
# Tar files


def faces(count: int, suffix: str = "jpg", folder: str = "") -> dict[str, bytes]:
    return {f"{folder}{n:04d}.{suffix}": layouts.face(n, 16, 16) for n in range(count)}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_picture_of_a_tar_file_is_read_as_it_is(tmp_path, mode, format):
    files = faces(7, folder="a/" * 60 if format != tarfile.USTAR_FORMAT else "a/")
    others = {"readme.txt": b"hello", "._0000.jpg": b"a Mac's", "sub/.DS_Store": b""}
    path = layouts.tarred({**others, **files}, tmp_path / "a.tar", mode, format=format)
    source = open_source(path)
    assert source.sequential == (mode != "w")
    for _ in range(2):  # the second time from what is remembered
        assert read_all(open_source(path)) == files
    assert [p for _, p in source.pictures(5)] == list(files.values())[5:]


def test_people_of_a_tar_file_are_its_folders(tmp_path):
    files = {**faces(2, folder="./ann/"), **faces(2, folder="./bob/")}
    entries = open_source(layouts.tarred(files, tmp_path / "a.tar")).entries()
    assert [(e.name, e.identity) for e in entries][::2] == [
        ("ann/0000.jpg", "ann"),
        ("bob/0000.jpg", "bob"),
    ]


def webdataset(count: int, classes: int) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        told = {"smiling": number % 2 == 0, "hat": -1, "width": 16, "caption": "a face"}
        files[f"{number:06d}.jpg"] = layouts.face(number, 16, 16)
        files[f"{number:06d}.json"] = json.dumps(told).encode()
        files[f"{number:06d}.cls"] = b"%d\n" % (number % classes)
        files[f"{number:06d}.txt"] = b"a face"
    return files


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_labels_of_a_webdataset_are_read(tmp_path, mode):
    path = layouts.tarred(webdataset(24, 20), tmp_path / "a.tar", mode)
    source = open_source(path)
    assert [entry.identity for entry in source.entries()] == [str(n % 20) for n in range(24)]
    attributes = source.attributes()
    assert attributes.names == ("smiling", "hat")
    assert attributes.table(["000000.jpg", "000001.jpg"]).tolist() == [[1, 0], [0, 0]]
    few = layouts.tarred(webdataset(24, 5), tmp_path / "few.tar", mode)
    assert {entry.identity for entry in open_source(few).entries()} == {None}
    told = open_source(f"tar:{few}?identity=cls")
    assert len({entry.identity for entry in told.entries()}) == 5
    assert list(open_source(told.address).entries()) == list(told.entries())
    stream = open_quietly(path, image_size=8, batch_size=1, labels="attributes", split="all")
    assert stream.label_names == ["smiling", "hat"]


def test_people_may_be_named_in_json(tmp_path):
    files = {f"{n}.jpg": layouts.face(n, 16, 16) for n in range(4)}
    files |= {
        f"{n}.json": json.dumps({"who": f"p{n % 2}", "identity": n}).encode() for n in range(4)
    }
    path = layouts.tarred(files, tmp_path / "a.tar")
    assert [e.identity for e in open_source(path).entries()] == ["0", "1", "2", "3"]
    named = open_source(f"tar:{path}?identity=who")
    assert [e.identity for e in named.entries()] == ["p0", "p1", "p0", "p1"]
    assert {e.identity for e in open_source(f"tar:{path}?identity=no").entries()} == {None}
    is_refused(f"tar:{path}?identity=nobody", "'nobody'", "identity=cls")
    is_refused(f"tar:{path}?identity=cls", "There is no .cls")


def test_a_plain_tar_file_may_hold_attributes(tmp_path):
    files = {**faces(2), "attributes.csv": b"file,hat\n0000.jpg,1\n0001.jpg,0\n"}
    attributes = open_source(layouts.tarred(files, tmp_path / "a.tar")).attributes()
    assert attributes.table(["0000.jpg", "0001.jpg"]).tolist() == [[1], [0]]


@pytest.mark.parametrize("given", ["", "*.tar", "train-{000..001}.tar", "t*-{000..001}.tar"])
def test_shards_are_found_as_a_folder_and_by_patterns(tmp_path, given):
    for number in range(2):
        layouts.tarred(faces(2), tmp_path / f"train-{number:03d}.tar")
    source = open_source(f"{tmp_path}/{given}")
    assert [(e.name, e.identity, e.split) for e in source.entries()] == [
        (f"train-{shard:03d}.tar/{picture:04d}.jpg", None, None)
        for shard in range(2)
        for picture in range(2)
    ]
    assert list(open_source(source.address).entries()) == list(source.entries())


def test_shards_have_the_splits_that_their_names_tell(tmp_path):
    for name in ("train-0.tar", "valid-0.tar", "test-0.tar"):
        layouts.tarred(faces(1), tmp_path / name)
    splits = {
        entry.name.partition("-")[0]: entry.split for entry in open_source(tmp_path).entries()
    }
    assert splits == {"train": "train", "valid": "validation", "test": "test"}


def test_a_shard_that_is_missing_is_named(tmp_path):
    layouts.tarred(faces(2), tmp_path / "a-0.tar")
    is_refused(tmp_path / "a-{0..1}.tar", "a-1.tar", "No such file")
    is_refused(tmp_path / "b-*.tar", "There is no file")
    is_refused(tmp_path / "a-{9..0}.tar", "must count up")


def test_several_pictures_of_a_key_are_said_and_can_be_chosen(tmp_path):
    files = {}
    for number in range(2):
        files |= {f"{number}.face.jpg": layouts.face(number, 16, 16), f"{number}.mask.jpg": b"m"}
    path = layouts.tarred(files, tmp_path / "a.tar")
    with pytest.warns(UserWarning, match=r"2 pictures \(\.face\.jpg, \.mask\.jpg\)"):
        assert len(open_source(path).entries()) == 4
    chosen = open_source(f"tar:{path}?image=face.jpg")
    assert [entry.name for entry in chosen.entries()] == ["0.face.jpg", "1.face.jpg"]
    is_refused(f"tar:{path}?image=png", "No picture")


def test_of_two_files_of_one_name_the_last_is_used_and_that_is_said(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for content in (layouts.face(0, 16, 16), layouts.face(1, 16, 16)):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    source = open_source(tmp_path / "a.tar")
    with pytest.warns(UserWarning, match="several times"):
        assert [entry.name for entry in source.entries()] == ["a.jpg"]
    assert source.read("a.jpg") == layouts.face(1, 16, 16)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_links_in_tar_files_are_followed_or_said(tmp_path, mode):
    path = layouts.tarred(faces(1), tmp_path / "a.tar", mode)
    with tarfile.open(path, mode) as archive:
        for name, content in faces(1, folder="x/").items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind, target in (
            ("y/hard.jpg", tarfile.LNKTYPE, "x/0000.jpg"),
            ("y/soft.jpg", tarfile.SYMTYPE, "../x/0000.jpg"),
            ("y/lost.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    found = {entry.name: picture for entry, picture in open_source(path).pictures()}
    followed = [name for name, data in found.items() if data == layouts.face(0, 16, 16)]
    assert followed == ["x/0000.jpg"] + (["y/hard.jpg", "y/soft.jpg"] if mode == "w" else [])
    assert "a link" in str(found["y/lost.jpg"])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), cut=st.booleans(), mode=st.sampled_from(["w", "w:gz"]))
def test_damage_to_a_tar_file_is_said_or_changes_nothing(tmp_path, place, cut, mode):
    files = faces(5)
    path = layouts.tarred(files, tmp_path / "a.tar", mode)
    data = bytearray(path.read_bytes())
    at = min(int(place * len(data)), len(data) - 1)
    if cut:
        del data[at:]
    else:
        data[at] ^= 0xFF
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = {e.name: picture for e, picture in open_source(path).pictures()}
        except kf.UserError:
            return
    if found != files and not told:
        # A flipped byte within a picture, or within a header beside what its checksum is of.
        assert not cut and mode == "w"
        assert sum(found.get(name) != content for name, content in files.items()) <= 1


def test_what_is_no_tar_file_or_holds_no_picture_is_refused(tmp_path):
    for name, data in {"a.tar": b"x" * 2000, "b.tar": b"", "c.tgz": b"\x1f\x8b\x08junk"}.items():
        (tmp_path / name).write_bytes(data)
        is_refused(tmp_path / name, "A tar file was expected")
    is_refused(layouts.tarred({"a.txt": b"x"}, tmp_path / "d.tar"), "No picture", "1 .txt")
    cut = (layouts.tarred(faces(3), tmp_path / "e.tar")).read_bytes()[:1000]
    (tmp_path / "e.tar").write_bytes(cut)
    source = open_source(tmp_path / "e.tar")
    with pytest.warns(UserWarning, match="damaged"):
        source.entries()
    pictures = [picture for _, picture in source.pictures()]
    assert "cut" in str(pictures[-1])
    assert source.mismatches


def test_other_archives_and_those_of_data_sets_are_still_to_be_unpacked(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z")
    is_refused(tmp_path / "a.7z", "7z x")
    for name in ("lfw.tgz", "UTKFace.tar.gz", "img_align_celeba.tar.bz2"):
        path = layouts.tarred(faces(2, folder="lfw/Ann/"), tmp_path / name, "w:gz")
        is_refused(path, "must be unpacked first")
        assert len(open_source(f"tar:{path}").entries()) == 2
    assert len(open_source(layouts.tarred(faces(2), tmp_path / "celeba-000.tar")).entries()) == 2


# ---------------------------------------------------------------------------------------------
# Parquet


def mirror(count: int, **columns) -> pa.Table:
    """Rows as Hugging Face's mirror of CelebA has them."""
    pictures = [{"bytes": layouts.face(n, 16, 16), "path": f"{n}.jpg"} for n in range(count)]
    return pa.table({"image": pictures, "celeb_id": [n // 3 for n in range(count)], **columns})


def parquet(table: pa.Table, path, rows: int = 4):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.mark.parametrize("start", range(0, 12, 3))
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_every_picture_of_parquet_is_read_from_every_start(tmp_path, start, rows):
    table = mirror(11)
    source = open_source(parquet(table, tmp_path / "a.parquet", rows))
    expected = [value["bytes"] for value in table["image"].to_pylist()]
    assert [picture for _, picture in source.pictures(start)] == expected[start:]
    assert list(read_all(source).values()) == expected


def test_a_mirror_of_celeba_has_splits_people_and_attributes(tmp_path):
    told = {"Smiling": [n % 2 == 0 for n in range(6)], "Male": [1, -1, -1, 1, 1, -1]}
    for name in ("train-00000-of-00002", "train-00001-of-00002", "valid-00000-of-00001"):
        parquet(mirror(6, **told), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("a card")
    source = open_source(tmp_path)
    assert source.address == f"parquet:{tmp_path}"
    entries = list(source.entries())
    assert [e.split for e in entries] == ["train"] * 12 + ["validation"] * 6
    assert [e.identity for e in entries] == ["0", "0", "0", "1", "1", "1"] * 3
    attributes = source.attributes()
    assert attributes.names == ("Smiling", "Male")
    table = attributes.table([e.name for e in entries])
    assert table[:6].tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]]
    assert open_quietly(tmp_path, image_size=8, batch_size=1, labels="attributes").count == 12


@pytest.mark.parametrize(
    ("columns", "query", "people"),
    [
        ({"label": [0, 1, 2]}, "?identity=label", ["0", "1", "2"]),
        ({"who": ["a", None, "b"]}, "?identity=who", ["a", None, "b"]),
        ({}, "?identity=no", [None] * 3),
        ({}, "", ["0", "0", "0"]),
    ],
)
def test_people_are_those_of_the_column_that_is_named(tmp_path, columns, query, people):
    path = parquet(mirror(3, **columns), tmp_path / "a.parquet")
    source = open_source(f"parquet:{path}{query}")
    assert [entry.identity for entry in source.entries()] == people
    assert list(open_source(source.address).entries()) == list(source.entries())


def test_a_label_is_people_where_it_has_many_values(tmp_path):
    for count, known in ((19, False), (20, True)):
        table = (
            mirror(40).drop(["celeb_id"]).append_column("label", [[n % count for n in range(40)]])
        )
        entries = open_source(parquet(table, tmp_path / f"{count}.parquet")).entries()
        assert all((entry.identity is not None) == known for entry in entries)


def test_the_column_of_pictures_is_found_or_asked_for(tmp_path):
    data = [layouts.face(n, 16, 16) for n in range(2)]
    alone = parquet(pa.table({"jpg": data, "n": [1, 5]}), tmp_path / "a.parquet")
    assert list(read_all(open_source(alone)).values()) == data
    two = parquet(pa.table({"a": data, "b": data[::-1]}), tmp_path / "b.parquet")
    is_refused(two, "2 columns that may be pictures (a, b)", "parquet:PATH?image=NAME")
    assert list(read_all(open_source(f"parquet:{two}?image=b")).values()) == data[::-1]
    is_refused(f"parquet:{two}?image=c", "'c'", "Known: a, b")
    is_refused(f"parquet:{two}?image=a&identity=c", "'c'")
    is_refused(parquet(pa.table({"n": [1]}), tmp_path / "c.parquet"), "0 columns", "n (int64)")


def test_files_of_other_columns_are_refused_together(tmp_path):
    parquet(mirror(2), tmp_path / "a.parquet")
    parquet(mirror(2, hat=[True, False]), tmp_path / "b.parquet")
    is_refused(tmp_path, "a.parquet", "b.parquet", "hat")


def test_rows_without_a_picture_and_rows_without_attributes_are_said(tmp_path):
    pictures = [{"bytes": None, "path": "a.jpg"}, {"bytes": layouts.face(1, 16, 16), "path": None}]
    table = pa.table({"image": pictures, "hat": [True, None]})
    source = open_source(parquet(table, tmp_path / "a.parquet"))
    pictures = [picture for _, picture in source.pictures()]
    assert "only the path 'a.jpg'" in str(pictures[0]) and isinstance(pictures[1], bytes)
    assert list(source.attributes().rows) == ["000000"]


def test_damaged_parquet_is_said(tmp_path):
    path = parquet(mirror(12), tmp_path / "a.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    is_refused(path, "Cannot read", "as a Parquet file")
    data = bytearray(whole)
    data[4 : len(whole) // 2] = bytes(len(whole) // 2 - 4)
    path.write_bytes(data)
    pictures = [picture for _, picture in open_source(f"parquet:{path}?identity=no").pictures()]
    assert len(pictures) == 12 and "damaged" in str(pictures[0])


@pytest.mark.parametrize("kind", ["a.parquet", "a.tar.gz", "a.npz"])
def test_people_get_folders_out_of_files_that_are_read_one_after_the_other(tmp_path, kind):
    path = tmp_path / kind
    if kind == "a.parquet":
        parquet(mirror(5), path)
    elif kind == "a.npz":
        np.savez_compressed(path, images=photos(5), identity=np.arange(5) // 3)
    else:
        people = {f"{n // 3}/{n}.jpg": layouts.face(n, 16, 16) for n in range(5)}
        layouts.tarred(people, path, "w:gz")
    source = open_source(path)
    made = people_folders(path, tmp_path / "out", progress=False)
    assert (made.people, made.pictures) == (2, 5)
    again = open_source(tmp_path / "out")
    pictures = [picture for _, picture in source.pictures()]
    assert [again.read(name) for name in again.names()] == pictures
    assert [e.identity for e in again.entries()] == ["0", "0", "0", "1", "1"]


# ---------------------------------------------------------------------------------------------
# URLs


@pytest.fixture
def memory():
    """fsspec's file system in memory, which is emptied afterwards."""
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def zip_bytes(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def kinds_of_files(folder) -> dict[str, bytes]:
    """The same pictures in every kind of file."""
    people = {**faces(12, folder="ann/"), **faces(3, folder="bob/")}
    images = photos(5)
    np.save(folder / "a.npy", images)
    np.savez_compressed(folder / "a.npz", images=images)
    return {
        "a.zip": zip_bytes(people),
        "a.tar": layouts.tarred(people, folder / "a.tar").read_bytes(),
        "a.tar.gz": layouts.tarred(people, folder / "a.tar.gz", "w:gz").read_bytes(),
        "a.parquet": parquet(mirror(7), folder / "a.parquet").read_bytes(),
        "a.npy": (folder / "a.npy").read_bytes(),
        "a.npz": (folder / "a.npz").read_bytes(),
    }


KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.parquet", "a.npy", "a.npz")


def assert_is_as_on_a_disk(url: str, path) -> None:
    there, here = open_source(url), open_source(path)
    assert list(there.entries()) == list(here.entries())
    assert dict(there.pictures()) == dict(here.pictures())
    assert read_all(there) == {entry.name: picture for entry, picture in here.pictures()}
    assert list(open_source(there.address).entries()) == list(there.entries())
    prints = [
        open_quietly(source, image_size=8, batch_size=1, split="all").facts["fingerprint"]
        for source in (there, here)
    ]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", KINDS)
def test_what_lies_behind_a_url_is_read_as_on_a_disk(memory, tmp_path, name):
    data = kinds_of_files(tmp_path)[name]
    (tmp_path / name).write_bytes(data)
    memory.pipe(f"/bucket/{name}", data)
    assert_is_as_on_a_disk(f"memory://bucket/{name}", tmp_path / name)


def test_a_folder_behind_a_url_is_read_as_on_a_disk(memory, tmp_path):
    files = {
        **faces(12, folder="s2/"),
        **faces(3, folder="s10/"),
        ".hidden/x.jpg": b"",
        "a.txt": b"",
    }
    for name, data in files.items():
        memory.pipe(f"/people/{name}", data)
    assert_is_as_on_a_disk("memory://people", layouts.write(files, tmp_path / "people"))
    memory.pipe("/people/attributes.csv", b"file,hat\ns2/0000.jpg,1\n")
    assert open_source("memory://people").attributes().names == ("hat",)


def test_shards_behind_urls_are_found_as_a_folder_and_by_patterns(memory, tmp_path):
    for number in range(2):
        data = layouts.tarred(faces(2), tmp_path / f"train-{number}.tar").read_bytes()
        memory.pipe(f"/shards/train-{number}.tar", data)
    expected = list(open_source(tmp_path).entries())
    for pattern in ("", "/", "/*.tar", "/train-{0..1}.tar"):
        assert list(open_source(f"memory://shards{pattern}").entries()) == expected
    is_refused("memory://shards/train-{0..2}.tar", "train-2.tar", "it is not there")


def test_a_change_behind_a_url_is_noticed(memory):
    data = faces(3)
    memory.pipe("/a.zip", zip_bytes(data))
    memory.pipe("/folder/a.jpg", data["0000.jpg"])
    before = [open_source(url).listing() for url in ("memory://a.zip", "memory://folder")]
    assert before == [open_source(url).listing() for url in ("memory://a.zip", "memory://folder")]
    memory.pipe("/a.zip", zip_bytes(faces(4)))
    memory.pipe("/folder/a.jpg", data["0001.jpg"])
    after = [open_source(url).listing() for url in ("memory://a.zip", "memory://folder")]
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://nothing", ("Cannot reach", "not there")),
        ("memory://nothing.zip", ("Cannot reach", "not there")),
        ("memory://nothing.tar", ("Cannot reach", "not there")),
        ("memory://a/*.tar", ("There is no file",)),
        ("nosuch://bucket/a", ("no kind of URL named 'nosuch'",)),
        ("reference::memory://a.json", ("A URL within a URL",)),
        ("tar:memory://a.tar::reference://", ("A URL within a URL",)),
        ("celeba:memory://bucket", ("reads what lies on this machine",)),
        ("parquet:memory://bucket", ("Cannot reach", "not there")),
    ],
)
def test_urls_that_cannot_be_read_are_refused(url, words):
    is_refused(url, *words)


@pytest.mark.parametrize(
    ("scheme", "package"),
    [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs"), ("sftp", "paramiko")],
)
def test_what_a_kind_of_url_needs_installed_is_said(scheme, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in fsspec.registry if scheme in name]:
        monkeypatch.delitem(fsspec.registry.target, module)
    monkeypatch.delitem(sys.modules, f"fsspec.implementations.{scheme}", raising=False)
    is_refused(f"{scheme}://bucket/faces.zip", f"{scheme}:// needs {package}", "pip install")


class Line:
    """A network that fails so many times."""

    fails = 0

    def call(self, function):
        def called(*arguments, **options):
            if self.fails:
                self.fails -= 1
                raise ConnectionError("the line is dead")
            return function(*arguments, **options)

        return called


@pytest.fixture
def line(memory, monkeypatch):
    line = Line()
    for name in ("cat_file", "info"):
        files = fsspec.implementations.memory.MemoryFileSystem
        monkeypatch.setattr(files, name, line.call(getattr(files, name)))
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    memory.pipe("/faces/a.jpg", layouts.face(0, 16, 16))
    memory.pipe("/a.zip", zip_bytes(faces(2)))
    return line


def test_a_network_that_fails_for_a_moment_is_asked_again(line):
    source = open_source("memory://faces")
    line.fails = 2
    assert source.read("a.jpg") == layouts.face(0, 16, 16)
    line.fails = 3
    with pytest.raises(BadPicture, match="the line is dead"):
        source.read("a.jpg")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_network_that_fails_in_a_tar_file_is_not_remembered_as_damage(
    line, memory, tmp_path, name
):
    path = layouts.tarred(faces(6), tmp_path / name, "w:gz" if name.endswith("gz") else "w")
    memory.pipe(f"/{name}", path.read_bytes())
    source = open_source(f"memory://{name}")
    line.fails = 10**6
    with pytest.raises(kf.UserError, match=r"the line is dead.*Run the same again"):
        source.entries()
    line.fails = 0
    assert len(open_source(f"memory://{name}").entries()) == 6


@pytest.mark.parametrize("url", ["memory://faces", "memory://a.zip"])
def test_a_network_that_is_gone_stops_the_reading(line, url):
    source = open_source(url)
    source.entries()
    line.fails = 10**6
    with pytest.raises(kf.UserError, match=r"cannot be read any more: the line is dead.* is kept"):
        list(source.pictures())
    line.fails = 10**6
    is_refused("memory://a.zip", "Cannot reach", "the line is dead")


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; parts of files where `ranges` is set."""

    ranges = True

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path.partition("?")[0]))
        if not asked or not self.ranges or not path.is_file():
            super().do_GET()
            return
        first, last = map(int, asked.groups())
        whole = path.read_bytes()
        part = whole[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *words):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder, and the URL under which it is served."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(Server, directory=os.fspath(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", KINDS)
def test_what_lies_on_the_web_is_read_by_parts(web, name):
    folder, url = web
    kinds_of_files(folder)
    (folder / name).write_bytes(kinds_of_files(folder)[name])
    assert_is_as_on_a_disk(f"{url}/{name}", folder / name)
    signed = open_source(f"{url}/{name}?token=a*b")
    assert len(signed.entries()) == len(open_source(folder / name).entries())


def test_a_folder_on_the_web_is_read_by_its_page_of_links(web):
    folder, url = web
    layouts.write({**faces(2, folder="ann/"), **faces(2, folder="bob/")}, folder / "people")
    assert_is_as_on_a_disk(f"{url}/people/", folder / "people")
    (folder / "people" / "index.html").write_text("<p>nothing to list</p>")
    is_refused(f"{url}/people/", "needs a page that lists its files")


def test_a_server_that_sends_whole_files_alone_is_said(web, monkeypatch):
    folder, url = web
    monkeypatch.setattr(Server, "ranges", False)
    (folder / "a.zip").write_bytes(zip_bytes(faces(2)))
    is_refused(f"{url}/a.zip", "sends whole files alone", "Download it")
    is_refused(f"{url}/b.zip", "Cannot reach", "it is not there")
    is_refused(f"{url}/b/", "Cannot reach", "it is not there")
    is_refused("http://127.0.0.1:9/a.zip", "Cannot reach", "Connect")
    is_refused("http://127.0.0.1:9/a/", "Cannot reach", "Connect")


def test_training_data_may_lie_behind_urls(memory, tmp_path, capsys):
    memory.pipe("/a.zip", zip_bytes(faces(6)))
    sheet = ["--image-size", "8", "--out", str(tmp_path / "sheet.png")]
    assert main(["data", "info", "memory://a.zip", "orl", *sheet]) == 0
    assert "406 good pictures in 'memory://a.zip and orl'" in capsys.readouterr().out
    _, given = parse(["train", "vae", "--data", "s3://bucket/faces"])  # which is not asked yet
    assert given.kwargs["data"] == ["s3://bucket/faces"]
