"""CASIA-WebFace: folders of identities, and records as insightface's copy has them."""

import io
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources import open_source
from keras_faces.data.sources.recordio import RecordFile

# ---------------------------------------------------------------------------------------------
# A writer to the format's definition, https://mxnet.apache.org/api/architecture/note_data_loading
# and dmlc-core/include/dmlc/recordio.h.

MAGIC = bytes([0x0A, 0x23, 0xD7, 0xCE])


def recordio(data: bytes) -> bytes:
    """Return the parts that one record becomes."""
    cuts = [at for at in range(0, len(data) - 3, 4) if data[at : at + 4] == MAGIC]
    starts = [0, *(cut + 4 for cut in cuts)]
    parts = [data[a:b] for a, b in zip(starts, [*cuts, len(data)], strict=True)]
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    written = b""
    for flag, part in zip(flags, parts, strict=True):
        written += MAGIC + (flag * 2**29 + len(part)).to_bytes(4, "little") + part
        written += bytes((4 - len(part) % 4) % 4)
    return written


def header(label, number: int) -> bytes:
    if isinstance(label, (int, float)):
        return struct.pack("<IfQQ", 0, label, number, 0)
    return struct.pack("<IfQQ", len(label), 0, number, 0) + struct.pack(f"<{len(label)}f", *label)


def write(folder: Path, records: dict[int, bytes], name: str = "train") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data, index = b"", ""
    for key, record in records.items():
        index += f"{key}\t{len(data)}\n"
        data += recordio(record)
    (folder / f"{name}.rec").write_bytes(data)
    (folder / f"{name}.idx").write_text(index)
    return folder


def insightface(faces: list[tuple[int, bytes]], wide_labels: bool = False) -> dict[int, bytes]:
    """Return records of `(person, file)` as insightface's face2rec2.py writes them."""
    people = sorted({person for person, _ in faces})
    end = len(faces) + 1
    records = {0: header([end, end + len(people)], 0)}
    for key, (person, data) in enumerate(faces, 1):
        records[key] = header([person, 0.5] if wide_labels else person, key) + data
    for key, person in enumerate(people, end):
        keys = [number for number, (other, _) in enumerate(faces, 1) if other == person]
        records[key] = header([keys[0], keys[-1] + 1], key)
    return records


@pytest.fixture(scope="session")
def faces(orl_path) -> list[tuple[int, bytes]]:
    """Twelve faces of three people as 112x112 JPEGs, one of them with the magic number inside."""
    found = []
    for person in range(3):
        for number in range(1, 5):
            with Image.open(orl_path / f"s{person + 1}" / f"{number}.pgm") as image:
                data = io.BytesIO()
                image.resize((112, 112)).convert("RGB").save(data, "JPEG", quality=90)
            found.append((person, data.getvalue()))
    # A comment of 3 magic numbers, two side by side, at a multiple of four in the record.
    person, data = found[5]
    text = bytes(2) + 2 * MAGIC + b"abcd" + MAGIC
    found[5] = (person, data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text)
    found[5] = (person, found[5][1] + data[2:])
    assert found[5][1].index(MAGIC) % 4 == 0
    return found


@pytest.fixture
def folder(tmp_path, faces) -> Path:
    folder = write(tmp_path / "faces_webface_112x112", insightface(faces))
    (folder / "property").write_text("3,112,112")
    return folder


# ---------------------------------------------------------------------------------------------
# Records


@pytest.mark.parametrize("place", ["", "train.rec", "train.idx", ".."])
def test_records_come_with_their_identities_wherever_the_path_points(folder, faces, place):
    source = open_source(f"casia:{folder / place}")
    entries = source.entries()
    assert [entry.name for entry in entries] == [str(key) for key in range(1, 13)]
    assert [entry.identity for entry in entries] == [str(person) for person, _ in faces]
    assert [source.read(entry.name) for entry in entries] == [data for _, data in faces]
    assert (source.sequential, source.attributes(), source.sketches()) == (False, None, None)
    assert "CASIA" in source.credit
    again = open_source(source.address)
    assert again.listing() == source.listing()


@pytest.mark.parametrize("place", ["", "train.rec", "train.idx"])
def test_records_are_recognised_without_a_scheme(folder, place):
    assert len(open_source(folder / place).entries()) == 12


def test_entries_are_a_sequence_that_is_made_when_asked_for(folder):
    entries = open_source(folder).entries()
    assert len(entries) == 12
    assert [entry.name for entry in entries[10:]] == ["11", "12"]
    assert entries[-1] == ("12", "2", None)
    assert len(list(entries)) == 12


def test_labels_may_be_several_numbers_the_first_is_the_identity(tmp_path, faces):
    source = open_source(write(tmp_path / "wide", insightface(faces, wide_labels=True)))
    assert [entry.identity for entry in source.entries()] == [str(person) for person, _ in faces]
    assert source.read("6") == faces[5][1]


def test_plain_records_of_mxnets_own_tool_begin_with_a_picture(tmp_path, faces):
    records = {key: header(person, key) + data for key, (person, data) in enumerate(faces)}
    source = open_source(write(tmp_path / "plain", records))
    assert [entry.name for entry in source.entries()] == [str(key) for key in range(12)]
    assert [entry.identity for entry in source.entries()] == [str(person) for person, _ in faces]
    assert source.read("5") == faces[5][1]


def test_without_an_index_the_records_are_found_one_after_the_other(folder, faces):
    (folder / "train.idx").unlink()
    with pytest.warns(UserWarning, match=r"no train\.idx .*numbered in their order"):
        source = open_source(folder)
    assert [source.read(entry.name) for entry in source.entries()] == [data for _, data in faces]
    assert [entry.identity for entry in source.entries()] == [str(person) for person, _ in faces]


def test_an_index_with_windows_line_ends_in_any_order_is_the_same(folder):
    before = open_source(folder)
    index = folder / "train.idx"
    lines = index.read_text().splitlines()
    index.write_bytes("\r\n".join(reversed(lines)).encode())
    after = open_source(folder)
    assert after.listing() == before.listing()
    assert list(after.entries()) == list(before.entries())


def test_many_threads_read_at_once(folder, faces):
    source = open_source(folder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.read, [str(1 + n % 12) for n in range(400)]))
    assert found == [faces[n % 12][1] for n in range(400)]


def test_the_listing_changes_with_the_files(folder, faces):
    listings = {open_source(folder).listing()}
    os.utime(folder / "train.rec", ns=(1, 1))
    listings.add(open_source(folder).listing())
    write(folder, insightface(faces[:-1]))
    (folder / "property").unlink()
    listings.add(open_source(folder).listing())
    assert len(listings) == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([MAGIC, b"abcd", b"\0", b"\x0a\x23"]), max_size=9).map(b"".join),
        min_size=1,
        max_size=6,
    )
)
@example([MAGIC, MAGIC * 3, b"", b"x" + MAGIC])
def test_every_record_reads_back_whatever_it_holds(tmp_path_factory, records):
    folder = write(tmp_path_factory.mktemp("records"), dict(enumerate(records)))
    file = RecordFile(folder / "train.rec")
    assert [file.read(key) for key in range(len(records))] == records
    (folder / "train.idx").unlink()
    with pytest.warns(UserWarning, match="numbered"):
        scanned = RecordFile(folder / "train.rec")
    assert scanned.offsets.tolist() == file.offsets.tolist()


# ---------------------------------------------------------------------------------------------
# Records that are damaged


def read_all(source) -> tuple[dict, dict]:
    good, bad = {}, {}
    for entry in source.entries():
        try:
            good[entry.name] = (entry.identity, source.read(entry.name))
        except BadPicture as error:
            bad[entry.name] = str(error)
    return good, bad


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.999))
def test_of_a_cut_file_all_whole_records_are_used_and_the_others_named(
    tmp_path_factory, faces, share
):
    folder = write(tmp_path_factory.mktemp("cut"), insightface(faces))
    path = folder / "train.rec"
    kept = int(path.stat().st_size * share)
    ends = [int(line.split()[1]) for line in (folder / "train.idx").read_text().splitlines()][2:14]
    os.truncate(path, kept)
    good, bad = read_all(open_source(folder))
    whole = [key for key, end in enumerate(ends, 1) if end <= kept]
    # Zeros that fill up the last record may be missing.
    assert set(good) - {str(key) for key in whole} <= {str(len(whole) + 1)}
    assert list(good) == [str(key) for key in range(1, len(good) + 1)]
    assert all(good[str(key)] == (str(faces[key - 1][0]), faces[key - 1][1]) for key in whole)
    assert len(good) + len(bad) == 12
    assert all("cut" in reason or "ends after" in reason for reason in bad.values())


def test_a_damaged_record_is_named_and_the_others_are_used(folder, faces):
    offset = int((folder / "train.idx").read_text().splitlines()[3].split()[1])
    with open(folder / "train.rec", "r+b") as file:
        file.seek(offset)
        file.write(b"damage")
    good, bad = read_all(open_source(folder))
    assert bad == {"3": f"there is no record at byte {offset:,} of train.rec"}
    assert [good[str(key)][1] for key in (1, 2, 4, 12)] == [faces[n][1] for n in (0, 1, 3, 11)]


def test_a_length_beyond_the_end_and_a_record_of_labels_alone_are_bad_pictures(tmp_path, faces):
    records = {key: header(person, key) + data for key, (person, data) in enumerate(faces)}
    records[3] = header(1, 3)
    records[4] = b"short"
    records[5] = struct.pack("<IfQQ", 2**31, 0, 5, 0) + b"few"
    folder = write(tmp_path / "odd", records)
    last = int((folder / "train.idx").read_text().splitlines()[-1].split()[1])
    with open(folder / "train.rec", "r+b") as file:
        file.seek(last + 4)
        file.write(struct.pack("<I", 2**27))
    good, bad = read_all(open_source(folder))
    assert list(bad) == ["3", "4", "5", "11"]
    assert "labels and no" in bad["3"]
    assert "5 bytes" in bad["4"]
    assert "2147483648 labels" in bad["5"]
    assert "cut" in bad["11"]
    assert len(good) == 8


def test_places_outside_of_the_file_are_bad_pictures(folder):
    index = folder / "train.idx"
    lines = index.read_text().splitlines()
    lines[2], lines[3] = "2\t-4096", f"3\t{2**62}"
    index.write_text("\n".join(lines))
    good, bad = read_all(open_source(folder))
    assert set(bad) == {"2", "3"}
    assert len(good) == 10


def test_a_file_that_shrinks_while_it_is_read_gives_bad_pictures(folder):
    source = open_source(folder)
    os.truncate(folder / "train.rec", 20_000)
    good, bad = read_all(source)
    assert good and bad
    assert all("cut" in reason for reason in bad.values())


def test_the_index_of_another_file_is_refused(folder, tmp_path, faces):
    other = write(tmp_path / "other", insightface([(n, data[:-9]) for n, data in faces]))
    for copied in ((other / "train.idx").read_bytes(), b"0\t999999999\n1\t999999999\n"):
        (folder / "train.idx").write_bytes(copied)
        with pytest.raises(kf.UserError, match=r"is not the index of train\.rec.*one download"):
            open_source(folder)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no line"),
        (b"0\t0\n1\n", "line 2, '1'"),
        (b"0\t0\nfile.jpg\t9\n", r"line 2, 'file\.jpg"),
        (b"<html>quota</html>", "line 1, '<html>"),
        (b"\xff\xfe\0", "line 1"),
    ],
)
def test_an_index_that_is_none_is_refused_with_its_line(folder, content, found):
    (folder / "train.idx").write_bytes(content)
    with pytest.raises(kf.UserError, match=rf"train\.idx' is no index.*{found}"):
        open_source(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"<html>", b"\0" * 64])
def test_a_file_that_is_no_recordio_is_refused(folder, content):
    (folder / "train.rec").write_bytes(content)
    with pytest.raises(kf.UserError, match=r"is no RecordIO file.*instead of 0a23d7ce"):
        open_source(folder)


def test_a_scan_stops_where_the_file_is_damaged(folder):
    offset = int((folder / "train.idx").read_text().splitlines()[6].split()[1])
    (folder / "train.idx").unlink()
    with open(folder / "train.rec", "r+b") as file:
        file.seek(offset)
        file.write(b"damage")
    with pytest.warns(UserWarning) as warned:
        source = open_source(folder)
    assert f"damaged at byte {offset:,}" in str(warned[1].message)
    good, bad = read_all(source)
    assert (list(good), bad) == (["1", "2", "3", "4", "5"], {})
    assert good["5"][0] == "1"


def test_a_cut_index_is_told_with_how_many_pictures_it_lacks(folder, faces):
    index = folder / "train.idx"
    index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.warns(UserWarning, match=f"has 2 of the {len(faces)} pictures"):
        assert len(open_source(folder).entries()) == 2


def test_records_beyond_those_that_are_counted_are_told(folder, faces):
    with open(folder / "train.idx", "a") as index:
        index.write("99\t999999\n")
    with pytest.warns(UserWarning, match="1 records more than its first record counts"):
        assert len(open_source(folder).entries()) == len(faces)


def test_a_property_that_says_otherwise_is_told(folder):
    (folder / "property").write_text("10572,112,112\n")
    with pytest.warns(UserWarning, match="says 10572 identities, its records say 3"):
        open_source(folder)


def test_records_that_miss_or_are_too_many_are_asked_for(folder, tmp_path):
    (folder / "train.rec").rename(folder / "val.rec")
    with pytest.raises(kf.UserError, match="index without its records"):
        open_source(f"casia:{folder / 'train.idx'}")
    (folder / "other.rec").write_bytes(b"")
    with pytest.raises(kf.UserError, match=r"2 \.rec files: other\.rec, val\.rec"):
        open_source(f"casia:{folder}")
    (folder / "other.rec").unlink()
    (folder / "val.rec").unlink()
    with pytest.raises(kf.UserError, match=r"Put train\.rec beside it"):
        open_source(f"casia:{folder}")
    with pytest.raises(kf.UserError, match="Check the path"):
        open_source(f"casia:{tmp_path / 'nowhere'}")


# ---------------------------------------------------------------------------------------------
# A folder for each identity


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_of_identities_zipped_or_not(tmp_path, faces, zipped):
    path = tmp_path / "CASIA-WebFace"
    for number, (person, data) in enumerate(faces):
        file = path / f"{45 + person:07d}" / f"{number % 4 + 1:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    if zipped:
        with zipfile.ZipFile(tmp_path / "CASIA-WebFace.zip", "w") as archive:
            for file in path.rglob("*.jpg"):
                archive.write(file, file.relative_to(path))
        path = tmp_path / "CASIA-WebFace.zip"
    source = open_source(f"casia:{path}")
    entries = source.entries()
    assert [entry.name for entry in entries[:5]] == [
        *(f"0000045/{n:03d}.jpg" for n in range(1, 5)),
        "0000046/001.jpg",
    ]
    assert [entry.identity for entry in entries] == [f"{45 + person:07d}" for person, _ in faces]
    assert [source.read(entry.name) for entry in entries] == [data for _, data in faces]
    assert source.listing() == open_source(source.address).listing()


def test_pictures_without_folders_of_identities_are_no_casia(tmp_path, faces):
    (tmp_path / "1.jpg").write_bytes(faces[0][1])
    with pytest.raises(kf.UserError, match=r"folder of pictures for each identity, or train\.rec"):
        open_source(f"casia:{tmp_path}")


# ---------------------------------------------------------------------------------------------
# As training sees them


def test_records_are_loaded_as_any_faces(folder, faces):
    stream = kf.data.open_faces(
        folder, 112, 12, split="all", labels="identity", channels=3, progress=False
    )
    people = [stream.label_names[n] for n in stream.labels_at(np.arange(12))]
    assert people == [str(person) for person, _ in faces]
    for picture, (_, data) in zip(stream.cache.read(range(12)), faces, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(picture, np.asarray(image))
