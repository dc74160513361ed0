"""Files that are something else than they seem: good pictures are used, all others are told."""

import io
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from test_data import encoded, noise

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.decode import BadPicture, decode
from keras_faces.data.sources import open_source
from keras_faces.screen import quoted, shell_line

JPEG, PNG = (encoded(noise(32, 32, 3), kind) for kind in ("JPEG", "PNG"))


def zip_bytes(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


# ---------------------------------------------------------------------------------------------
# What bytes are

OTHERS = {
    "a web page": [b"<!DOCTYPE html><html>", b"\n <HTML><body>", b"\xef\xbb\xbf<html>"],
    "an SVG drawing or other XML": [b"<?xml version='1.0'?><svg>", b"<svg xmlns=''>"],
    "a PDF": [b"%PDF-1.7\n"],
    "a zip file": [zip_bytes({"a": b"b"}), zip_bytes({})],
    "another archive": [b"\x1f\x8b\x08\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"],
    "a video": [b"\0\0\0\x18ftypmp42", b"\0\0\0\x14ftypqt  ", b"\x1aE\xdf\xa3", b"RIFF1234AVI "],
    "a Photoshop file": [b"8BPS\0\1"],
    "a pointer of Git LFS": [b"version https://git-lfs.github.com/spec/v1\noid sha256:1"],
    "nothing except zeros": [bytes(500)],
    "a JPEG2000 picture": [b"\0\0\0\x0cjP  \r\n\x87\n"],
    "a JPEG XL picture": [b"\xff\x0a\1\2", b"\0\0\0\x0cJXL \r\n"],
}


@pytest.mark.parametrize(("what", "data"), [(w, d) for w, many in OTHERS.items() for d in many])
def test_the_reason_says_what_bytes_are_that_are_no_picture(what, data):
    for content in (data, data + b"and more" * (what != "nothing except zeros")):
        with pytest.raises(BadPicture, match=f"not a picture .*, but {what}"):
            decode(content, "center", 16, 3)


def test_bytes_of_no_known_kind_are_no_picture():
    with pytest.raises(BadPicture, match=r"not a picture in a format that is read here$"):
        decode(b"some words", "center", 16, 3)


@pytest.mark.parametrize(
    "begins", [b"....ftypheic", b"....ftypmif1", b"....ftypavif", b"II*\0", b"MM\0*"]
)
def test_broken_pictures_of_other_formats_are_called_by_their_names(begins):
    with pytest.raises(BadPicture, match=r"HEI[CF]|AVIF|TIFF"):
        decode(begins + bytes(20), "center", 16, 3)


def marker(data: bytes, code: int) -> int:
    return data.index(bytes([0xFF, code]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG[: marker(JPEG, 0xDB) + 3] + b"\5" + JPEG[marker(JPEG, 0xDB) + 4 :], "as a JPEG"),
        (JPEG[: marker(JPEG, 0xC0) + 3] + b"\5" + JPEG[marker(JPEG, 0xC0) + 4 :], "as a JPEG"),
        (JPEG[: marker(JPEG, 0xC4) + 5] + b"\xff" + JPEG[marker(JPEG, 0xC4) + 6 :], "broken data"),
        (PNG[:17] + b"\xff" + PNG[18:], "as a PNG"),
        (JPEG[:-200], "truncated"),
        (PNG[:-200], "truncated"),
    ],
    ids=["quantization", "frame", "Huffman", "PNG's header", "JPEG cut", "PNG cut"],
)
def test_a_picture_with_a_broken_table_or_end_is_called_damaged(data, reason):
    with pytest.raises(BadPicture, match=f"^damaged.*{reason}"):
        decode(data, "center", 16, 3)


def chunk(kind: bytes, data: bytes, damage: int = 0) -> bytes:
    check = zlib.crc32(kind + data) ^ damage
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


NOTES = [
    chunk(b"tEXt", b"who\0me", damage=1),
    chunk(b"zTXt", b"who\0\0not packed"),
    chunk(b"zTXt", b"who\0\0" + zlib.compress(bytes(5_000_000))),
    chunk(b"iTXt", b"who", damage=7),
    chunk(b"tIME", b"\0", damage=1),
    chunk(b"iCCP", b"short"),
    chunk(b"pHYs", b"short"),
]


def noted(png: bytes, before: list[bytes], after: list[bytes]) -> bytes:
    """A PNG with chunks behind its header and before its end."""
    end = png.rindex(b"IEND") - 4
    return png[:33] + b"".join(before) + png[33:end] + b"".join(after) + png[end:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(NOTES), min_size=1, max_size=4),
    st.lists(st.sampled_from(NOTES), max_size=2),
    st.sampled_from(["L", "RGB", "P", "LA", "RGBA", "I;16"]),
)
def test_a_png_whose_pixels_are_whole_is_read_whatever_its_texts_are(before, after, mode):
    image = Image.fromarray(noise(16, 16, 3))
    deep = Image.fromarray(noise(16, 16).astype(np.uint16) * 257)
    data = encoded(deep if mode == "I;16" else image.convert(mode), "PNG")
    expected = decode(data, "center", 16, 3)
    assert np.array_equal(decode(noted(data, before, after), "center", 16, 3), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(8, 900), st.integers(0, 255), st.sampled_from(["L", "P", "LA", "RGBA"]))
def test_no_changed_byte_of_a_png_gives_other_pixels(place, value, mode):
    info = PngImagePlugin.PngInfo()
    info.add_text("who", "me" * 40)
    image = Image.fromarray(noise(8, 8, 4)).convert(mode)
    clear = {"transparency": 3} if mode == "P" else {}
    data = encoded(image, "PNG", pnginfo=info, **clear)
    place %= len(data)
    try:
        pixels = decode(data[:place] + bytes([value]) + data[place + 1 :], "center", 8, 3)
    except BadPicture:
        return
    assert np.array_equal(pixels, decode(data, "center", 8, 3))


# ---------------------------------------------------------------------------------------------
# Zip files


@pytest.mark.parametrize("name", ["faces.z01", "Faces.Z12", "faces.zip.001", "faces.ZIP.0023"])
def test_a_part_of_a_split_zip_says_how_to_join_the_parts(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\3\4 and more")
    with pytest.raises(kf.UserError, match=r"part of a zip file that was split.*(zip -s 0|cat) "):
        open_source(tmp_path / name)


def test_the_last_part_of_a_split_zip_says_so_too(tmp_path):
    (tmp_path / "faces.zip").write_bytes(zip_bytes({"a.png": PNG})[40:-10])
    (tmp_path / "faces.z01").write_bytes(b"PK")
    with pytest.raises(kf.UserError, match=r"zip -s 0 faces\.zip --out whole-faces\.zip"):
        open_source(tmp_path / "faces.zip").entries()


def locked(data: bytes, names: list[str]) -> bytes:
    """A zip whose members say that they are encrypted."""
    data = bytearray(data)
    for signature, at, name_at in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        place = data.find(signature)
        while place >= 0:
            if any(data[place + name_at :].startswith(name.encode()) for name in names):
                data[place + at] |= 1
            place = data.find(signature, place + 4)
    return bytes(data)


def test_a_zip_with_a_password_is_told(tmp_path):
    path = tmp_path / "faces.zip"
    path.write_bytes(locked(zip_bytes({"a.png": PNG, "b.png": PNG}), ["a.png", "b.png"]))
    with pytest.raises(kf.UserError, match=r"faces\.zip' is encrypted.*Unpack it"):
        open_source(path).entries()
    path.write_bytes(locked(zip_bytes({"a.png": PNG, "b.png": PNG, "c.png": PNG}), ["b.png"]))
    with pytest.warns(kf.data.SkippedPictures, match=r"b\.png: it is encrypted: a password"):
        assert kf.data.open_faces(path, 8, 1, "all", progress=False).count == 2


def test_names_with_backslashes_are_paths(tmp_path):
    people = [f"p{n}" for n in range(10)]
    names = [f"faces\\{person}\\{n}.png" for person in people for n in range(2)]
    path = tmp_path / "faces.zip"
    path.write_bytes(zip_bytes({name: encoded(noise(8, 8), "PNG") for name in names}))
    entries = open_source(path).entries()
    assert {entry.name for entry in entries} == {name.replace("\\", "/") for name in names}
    assert {entry.identity for entry in entries} == {f"faces/{person}" for person in people}
    assert kf.data.open_faces(path, 8, 1, "all", progress=False).count == 20


# ---------------------------------------------------------------------------------------------
# Any mix of files


def level(number: int) -> int:
    return 20 + 9 * number


def odd_picture(kind: str, number: int) -> tuple[str, bytes]:
    """A picture that is grey of one level, and the suffix of its file."""
    grey = Image.fromarray(np.full((12, 10), level(number), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "grey": lambda: (".png", encoded(grey, "PNG")),
        "colour": lambda: (".jpg", encoded(grey.convert("RGB"), "JPEG", quality=95)),
        "capitals": lambda: (".JPEG", encoded(grey, "JPEG", quality=95)),
        "palette": lambda: (".png", encoded(grey.convert("P"), "PNG")),
        "gif": lambda: (".gif", encoded(grey, "GIF")),
        "CMYK": lambda: (".jpg", encoded(grey.convert("RGB").convert("CMYK"), "JPEG", quality=95)),
        "16 bit": lambda: (
            ".png",
            encoded(Image.fromarray(np.full((12, 10), 257 * level(number), np.uint16)), "PNG"),
        ),
        "clear": lambda: (".png", encoded(grey.convert("LA"), "PNG")),
        "turned": lambda: (".jpg", encoded(grey, "JPEG", quality=95, exif=turned)),
        "another's suffix": lambda: (".bmp", encoded(grey, "PNG")),
        "bad text": lambda: (".png", noted(encoded(grey, "PNG"), NOTES[:2], [])),
    }[kind]()


KINDS = ("grey", "colour", "capitals", "palette", "gif", "CMYK", "16 bit", "clear", "turned")
GOOD = st.sampled_from([*KINDS, "another's suffix", "bad text"])
BAD = st.sampled_from(
    [
        (".jpg", b"<html>"),
        (".png", b""),
        (".jpg", JPEG[:300]),
        (".png", encoded(noise(4, 4), "PNG")),
        (".jpeg", zip_bytes({"a": b"b"})),
        (".webp", b"words"),
    ]
)
FOREIGN = st.sampled_from([(".txt", b"words"), (".mp4", b"\0"), (".CSV", b"a,b"), (".xyz", JPEG)])
FOLDERS = st.sampled_from(["", "a/", "a b/", "a/ä/", "c'$;/"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(FOLDERS, GOOD), min_size=1, max_size=8),
    st.lists(st.tuples(FOLDERS, BAD), max_size=5),
    st.lists(st.tuples(FOLDERS, FOREIGN), max_size=5),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_any_mix_of_files_the_good_are_used_and_all_others_accounted_for(
    good, bad, foreign, packed
):
    files, levels = {}, {}
    for number, (folder, kind) in enumerate(good):
        suffix, data = odd_picture(kind, number)
        files[f"{folder}good{number}{suffix}"] = data
        levels[f"{folder}good{number}{suffix}"] = level(number)
    wrong = {f"{folder}bad{n}{kind[0]}": kind[1] for n, (folder, kind) in enumerate(bad)}
    other = {f"{folder}other{n}{kind[0]}": kind[1] for n, (folder, kind) in enumerate(foreign)}
    files |= wrong | other
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "faces.zip" if packed else "faces")
        if packed:
            source.write_bytes(zip_bytes(files))
        for name, data in {} if packed else files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
        opened = open_source(source)
        cache = kf.data.open_faces(opened, 8, 1, "all", channels=1, progress=False).cache
        assert set(cache.names) == set(levels)
        means = cache.read(range(cache.count)).mean((1, 2, 3))
        assert np.abs(means - [levels[name] for name in cache.names]).max() < 4
        assert {name for name, _ in cache.bad} == set(wrong)
        assert all(reason for _, reason in cache.bad)
        assert set(opened.others) == set(other)


# ---------------------------------------------------------------------------------------------
# Commands that are shown


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@pytest.mark.skipif(os.name == "nt", reason="of a POSIX shell")
def test_a_shown_path_is_one_word_of_a_shell_and_no_flag(path):
    [word] = shlex.split(quoted(path))
    assert word in (path, f"./{path}") and not word.startswith("-")
    assert shlex.split(shell_line(["keras-faces", path])) == ["keras-faces", path]


def test_on_windows_words_are_quoted_as_its_shell_wants_it(monkeypatch):
    monkeypatch.setattr("keras_faces.screen.os.name", "nt")
    assert shell_line(["resume", r"C:\runs\a", r"C:\my runs\b", "c&d"]) == (
        r'resume C:\runs\a "C:\my runs\b" "c&d"'
    )


SMALL = "--image-size 32 --filters 2 --latent-dim 4 --hidden-units 8 --steps 1 --count 0"


@pytest.mark.skipif(os.name == "nt", reason="of a POSIX shell")
@pytest.mark.parametrize("name", ["it's $HOME; ls", "-run"])
def test_the_commands_that_training_shows_work_as_they_stand(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "vae", f"--run={name}", *SMALL.split()]) == 0
    told = capsys.readouterr().out
    shown = [line.strip() for line in told.partition("Try next:")[2].splitlines() if line.strip()]
    assert len(shown) == 4
    for line in shown:
        assert any(Path(word).is_dir() for word in shlex.split(line)[1:])
    [generate] = [line for line in shown if "generate" in line]
    assert main(shlex.split(generate)[1:]) == 0
    assert (tmp_path / "faces.png").is_file()
    assert main(["train", "vae", f"--run={name}", *SMALL.split()]) == 2
    again = capsys.readouterr().err.partition("(keras-faces ")[2].partition("), or")[0]
    assert main(shlex.split(again)) == 0


def test_two_trainings_that_begin_together_take_two_folders(tmp_path):
    words = [sys.executable, "-m", "keras_faces", "train", "vae", *SMALL.split()]
    environment = {**os.environ, "PYTHONPATH": str(Path(kf.__file__).parents[1])}
    both = [
        subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    for number in (1, 2):
        assert (tmp_path / "runs" / f"vae-orl-00{number}" / "model.keras").is_file()
    assert {number for number in "12" for text in told if f"vae-orl-00{number} holds:" in text} == {
        *"12"
    }


def test_a_place_where_no_run_folder_can_be_made_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    assert main(["train", "vae", *SMALL.split()]) == 2
    assert "Cannot make a run folder in" in capsys.readouterr().err
