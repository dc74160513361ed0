"""Files from strangers: pictures that lie, pipes, names that steer terminals, damaged caches."""

import ast
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data import encoded, noise

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.crops import CROPS
from keras_faces.data.decode import MAX_SCANS, BadPicture, decode
from keras_faces.screen import Screen, visible

PACKAGE = Path(kf.__file__).parent


def command(*words, **environment):
    """Run `keras-faces` in a process of its own, where a hang is a failure."""
    done = subprocess.run(
        [sys.executable, "-m", "keras_faces", *map(os.fspath, words)],
        env={**os.environ, **environment, "PYTHONPATH": os.fspath(PACKAGE.parent)},
        capture_output=True,
        timeout=120,
    )
    told = done.stdout + done.stderr
    assert b"Traceback" not in told, told.decode(errors="replace")
    return done.returncode, told


@pytest.fixture
def no_hang():
    """Whatever waits for ever fails."""

    def late(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)  # an import of TensorFlow is within
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------------------------------------
# Pictures


def answer(data: bytes, crop: str) -> str:
    try:
        decode(data, crop, 16, 3)
    except BadPicture as error:
        return str(error)
    return "decoded"


def claiming(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header tells another size."""
    place = re.search(rb"\xff[\xc0-\xc2]\x00[\x0b\x11]\x08", data).start()
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


FACE = np.repeat(np.repeat(noise(31, 28, 3), 8, 0), 8, 1)  # 248x224, which every crop takes
PICTURES = [
    encoded(FACE, "JPEG"),
    encoded(FACE, "JPEG", progressive=True),
    encoded(FACE[..., 0], "JPEG"),
    encoded(FACE, "PNG"),
    encoded(FACE, "WEBP"),
    encoded(FACE[..., 0], "GIF"),
]


@st.composite
def damaged_pictures(draw):
    data = bytearray(draw(st.sampled_from(PICTURES)))
    if data[:2] == b"\xff\xd8" and draw(st.booleans()):
        sides = st.sampled_from([1, 7, 8, 224, 1000, 9999, 10001, 65500])
        data = bytearray(claiming(bytes(data), draw(sides), draw(sides)))
    for _ in range(draw(st.integers(0, 3))):
        near = st.integers(0, 700) | st.integers(0, len(data) - 1)
        data[draw(near) % len(data)] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=60, deadline=None)
@given(damaged_pictures())
def test_all_crops_take_and_refuse_the_same_files_for_the_same_reason(data):
    answers = {crop: answer(data, crop) for crop in CROPS}
    others = ("too few for crop", "of aligned CelebA")
    sized = {c: told for c, told in answers.items() if not any(word in told for word in others)}
    assert {"center", "center-area", "squash"} <= sized.keys()
    assert len(set(sized.values())) == 1, answers


@pytest.mark.parametrize("crop", ["center", "center-area"])
@pytest.mark.parametrize(
    ("size", "reason"), [((65500, 65500), "limit of 100,000,000"), ((4, 4), "smaller than 8x8")]
)
def test_a_jpeg_is_refused_by_the_size_that_it_claims(crop, size, reason):
    small = encoded(np.zeros((16, 16, 3), np.uint8), "JPEG", progressive=True)
    assert reason in answer(claiming(small, *size), crop)


@pytest.mark.parametrize("crop", ["center", "center-area"])
def test_a_jpeg_of_scans_without_end_is_refused_and_what_follows_a_picture_is_none(crop):
    whole = encoded(np.zeros((1600, 1600, 3), np.uint8), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert "scans" in answer(whole[:-2] + MAX_SCANS * last + b"\xff\xd9", crop)
    assert answer(whole[:-2] + 9 * last + b"\xff\xd9", crop) == "decoded"
    # As phones append a video to a picture.
    assert answer(whole + 2 * MAX_SCANS * last, crop) == "decoded"


# ---------------------------------------------------------------------------------------------
# What is no file


@pytest.fixture
def strange(orl_folder):
    """A folder with pictures, and with what is called a picture and is none."""
    os.mkfifo(orl_folder / "pipe.jpg")
    os.symlink("/dev/zero", orl_folder / "device.png")
    os.symlink("loop.png", orl_folder / "loop.png")
    os.symlink("nowhere.png", orl_folder / "dangling.png")
    (orl_folder / "folder.jpg").mkdir()
    with contextlib.chdir(orl_folder), socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.jpg")  # whose path may have 108 bytes
    return orl_folder


@pytest.mark.parametrize("action", ["check", "info", "prepare"])
def test_what_is_no_file_is_named_and_not_waited_for(
    strange, own_cache, tmp_path, capsys, no_hang, action
):
    words = ["data", action, strange, "--image-size", 16, "--channels", 1]
    words += ["--out", tmp_path / "sheet.png"] if action == "info" else []
    assert main(list(map(str, words))) == 0
    told = capsys.readouterr().out
    if action == "check":
        for name, reason in {
            "pipe.jpg": "a named pipe instead of a file",
            "device.png": "a device instead of a file",
            "socket.jpg": "a socket instead of a file",
            "loop.png": "symbolic links",
            "dangling.png": "No such file",
        }.items():
            assert re.search(f"bad: {name}: .*{reason}", told), told
    assert re.search(r"12 (good )?pictures", told)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("faces.zip", "{path}"),
        ("faces.zip", "casia:{path}"),
        ("faces.zip", "pairs:{path}"),
        ("faces.zip", "utkface:{path}"),
        ("img_align_celeba", "{path}"),
        ("img_align_celeba.zip", "celeba:{path}"),
        ("img_align_celeba.zip", "celeba:{folder}"),
        ("train.rec", "casia:{path}"),
        ("train.rec", "casia:{folder}"),
        ("train.rec", "{path}"),
        ("train.idx", "casia:{folder}"),
        ("property", "casia:{folder}"),
        ("faces.tar", "{path}"),
        ("faces.tar.gz", "tar:{folder}"),
        ("faces.npy", "{path}"),
        ("faces.npz", "arrays:{folder}"),
        ("faces.parquet", "{path}"),
        ("clip.mp4", "{path}"),
        ("clip.mp4", "video:{path}"),
        ("clip.mp4", "video:{folder}"),
        ("attributes.csv", "{folder}"),
        ("list_attr_celeba.txt", "celeba:{folder}"),
        ("identity_CelebA.txt", "celeba:{folder}"),
        ("peopleDevTrain.txt", "lfw:{folder}"),
        ("features.json", "tfds:{folder}"),
    ],
)
def test_no_file_of_a_source_is_waited_for(
    tmp_path, orl_path, own_cache, capsys, no_hang, name, address
):
    folder = tmp_path / "source"
    shutil.copytree(orl_path / "s1", folder / "s1")
    if name in ("train.idx", "property"):
        header = struct.pack("<IfQQ", 0, 3, 0, 0) + (orl_path / "s1" / "1.pgm").read_bytes()
        record = struct.pack("<II", 0xCED7230A, len(header)) + header
        (folder / "train.rec").write_bytes(record + bytes(-len(record) % 4))
    os.mkfifo(folder / name)
    words = ["data", "info", address.format(path=folder / name, folder=folder)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = main([*words, "--out", str(tmp_path / "sheet.png")])
    out, told = capsys.readouterr()
    assert status in (0, 2)
    if status == 2:
        assert told.startswith("keras-faces: ")
    if name != "property":  # whose number is only compared
        assert status == 2 or "pipe" in told or "attributes: Cannot read" in out


def test_no_picture_of_the_command_line_is_waited_for(tmp_path, capsys, no_hang):
    os.mkfifo(tmp_path / "photo.jpg")
    words = ["list", "crops", "--image", str(tmp_path / "photo.jpg")]
    assert main([*words, "--picture", str(tmp_path / "out.png")]) == 2
    assert "a named pipe" in capsys.readouterr().err
    run = [str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "out.png")]
    assert main(["reconstruct", "vae-orl-64", *run]) == 2
    assert "a named pipe" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------
# Names

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
HOSTILE = ("a\x1b[2Jb", "c\nbad: forged", "d\u202egnp", "e\rf", "g\x9b31mh", "i\u2028j", "k\x07")


def texts(folder):
    """Make a folder and a zip file of pictures, people and attributes of hostile names."""
    names = [f"{name}/{name}.png" for name in HOSTILE]
    rows = [f"{name},1" for name in names if "\n" not in name and "\r" not in name]
    lines = "\n".join(["file,gl\x1b[31masses", *rows])
    faces = folder / "faces"
    with zipfile.ZipFile(folder / "faces.zip", "w") as packed:
        for number, name in enumerate(names):
            data = encoded(np.full((8, 8), 20 * number, np.uint8), "PNG")
            (faces / name).parent.mkdir(parents=True)
            (faces / name).write_bytes(data)
            packed.writestr(name, data)
        for name in HOSTILE:
            (faces / f"bad {name}.jpg").write_bytes(b"no picture")
            packed.writestr(f"bad {name}.jpg", b"no picture")
        (faces / "attributes.csv").write_text(lines, encoding="utf-8")
        packed.writestr("attributes.csv", lines)
    return faces, folder / "faces.zip"


def test_names_that_would_steer_a_terminal_are_shown_as_escapes(tmp_path, own_cache):
    for place in texts(tmp_path):
        told = ""
        for action in ("check", "info"):
            words = ["--out", tmp_path / "x.png"] if action == "info" else []
            status, out = command("data", action, place, "--image-size", "8", *words)
            assert status == 0
            told += out.decode()
        assert not STEERING.search(told)
        assert "bad: bad c\\nbad: forged.jpg: not a picture" in told
        assert "bad: bad a\\x1b[2Jb.jpg" in told
        assert "bad: bad d\\u202egnp.jpg" in told
        assert "gl\\x1b[31masses" in told
        assert "\nbad: forged" not in told


def test_pictures_of_hostile_names_are_read_and_labelled(tmp_path, own_cache):
    for place in texts(tmp_path):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stream = kf.data.open_faces(place, 8, 1, "all", channels=1, progress=False)
        assert not STEERING.search("".join(str(warning.message) for warning in caught))
        levels = stream.cache.read(range(7))[:, 0, 0, 0].tolist()
        wanted = {visible(f"{name}/{name}.png"): 20 * n for n, name in enumerate(HOSTILE)}
        assert dict(zip(stream.cache.names, levels, strict=True)) == wanted
        attributes = kf.data.open_source(place).attributes()
        assert set(attributes.rows) <= set(stream.cache.names)
        assert len(attributes.rows) == 5


@given(st.text(), st.text())
def test_nothing_that_is_printed_steers_a_terminal_or_fails(before, name):
    with open(os.devnull, "w", encoding="ascii", errors="backslashreplace") as sink:
        written = []
        sink_of = type("Stream", (), {"write": lambda self, text: written.append(text)})()
        Screen(sink_of).write(f"x{before}{name}")
        Screen(sink).write(before + name)
    assert not STEERING.search("".join(written))
    assert not STEERING.search(visible(name)) and "\n" not in visible(name)
    kept = "".join(c for c in name if c.isprintable())
    assert visible(kept) == kept


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_console_can_show_any_path(tmp_path, orl_folder, own_cache, encoding):
    source = tmp_path / os.fsdecode("Gesichter ä😀".encode() + b"\xff")
    orl_folder.rename(source)
    out = tmp_path / "ä😀.png"
    words = ["data", "info", source, "--image-size", "16", "--out", out]
    status, told = command(*words, PYTHONIOENCODING=encoding)
    assert status == 0
    assert out.exists()
    assert b"\\udcff" in told
    assert ("ä😀".encode() if encoding == "utf-8" else b"\\U0001f600") in told


SMALL = "--image-size 32 --batch-size 2 --filters 2 --latent-dim 2 --hidden-units 4 --steps 1"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_training_ends_whole_on_any_console(tmp_path, orl_folder, own_cache, encoding):
    source = tmp_path / "ä😀"
    orl_folder.rename(source)
    words = ["train", "vae", "--data", source, *SMALL.split(), "--split", "all", "--count", "0"]
    run = tmp_path / "run ä😀"
    status, told = command(*words, "--run", run, PYTHONIOENCODING=encoding)
    assert status == 0, told
    assert kf.load_model(run).image_size == 32


def test_a_run_that_tensorflow_could_not_write_is_refused_before_it_is_made(
    tmp_path, orl_folder, capsys
):
    run = tmp_path / os.fsdecode(b"run \xff")
    words = ["train", "vae", "--data", orl_folder, *SMALL.split(), "--split", "all", "--run", run]
    assert main(list(map(os.fspath, words))) == 2
    assert "TensorFlow opens no folder of the name" in capsys.readouterr().err
    assert not run.exists()


def test_text_files_have_one_encoding_whatever_the_locale():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {keyword.arg for keyword in node.keywords}
            binary = any(
                isinstance(word, ast.Constant) and "b" in str(word.value) for word in node.args[1:]
            )
            text = called in ("read_text", "write_text") or (
                called == "open" and isinstance(node.func, ast.Name) and not binary
            )
            assert not text or "encoding" in given, f"{path}, line {node.lineno}"


# ---------------------------------------------------------------------------------------------
# The cache


def everything(folder):
    """Return all that training and scoring would take from a cache."""
    found = []
    for labels in ("attributes", "identity", "name"):
        stream = kf.data.open_faces(folder, 8, 2, "train", labels=labels, progress=False)
        cache = stream.cache
        found += [stream.indices, cache.read(range(cache.count)), cache.names, cache.identities]
        found += [stream.labels_at(np.arange(cache.count)).tolist(), stream.label_names]
        found += [cache.bad, np.array(cache.raw_sizes), np.array(cache.contents), cache.image_shape]
        found += [{name: fact for name, fact in stream.facts.items()}]
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in found]


@pytest.fixture(scope="module")
def cached(tmp_path_factory, orl_path):
    """A source, its cache, and what is in it."""
    home = tmp_path_factory.mktemp("cached")
    folder = home / "faces"
    for person in ("s1", "s2", "s10"):
        (folder / person).mkdir(parents=True)
        for number in range(1, 4):
            shutil.copy(orl_path / person / f"{number}.pgm", folder / person)
    names = [f"{path.parent.name}/{path.name}" for path in sorted(folder.rglob("*.pgm"))]
    rows = [f"{name},{number % 2}" for number, name in enumerate(names)]
    (folder / "attributes.csv").write_text("\n".join(["file,odd", *rows]))
    (folder / "s1" / "bad.jpg").write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_FACES_CACHE", str(home / "cache"))
        whole = everything(folder)
    files = [file for file in sorted((home / "cache").rglob("*")) if file.is_file()]
    return folder, home / "cache", [file for file in files if file.suffix != ".lock"], whole


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_damage_of_any_file_of_the_cache_is_found_and_told(cached, data):
    folder, home, files, whole = cached
    file = data.draw(st.sampled_from(files).map(lambda file: file.relative_to(home)))
    content = bytearray((home / file).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.sampled_from(["bit", "bit", "bit", "cut", "longer", "gone", "pipe"]))
    with tempfile.TemporaryDirectory() as other, pytest.MonkeyPatch.context() as patch:
        shutil.copytree(home, other, dirs_exist_ok=True)
        patch.setenv("KERAS_FACES_CACHE", other)
        broken = Path(other, file)
        broken.unlink()
        if damage == "pipe":
            os.mkfifo(broken)
        elif damage != "gone":
            content[place] ^= (damage == "bit") << data.draw(st.integers(0, 7))
            content = content[:place] if damage == "cut" else content
            broken.write_bytes(content + b"\0" * (damage == "longer"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = everything(folder)
            except kf.UserError as error:
                assert "damaged. Delete that folder" in str(error) and file.suffix == ".npy"
                return
            told = [str(warning.message) for warning in caught if "anew" in str(warning.message)]
            assert found == whole
            assert len(told) <= 1, told
            assert all("\n" not in line and "damaged" in line for line in told)
            caught.clear()
            assert everything(folder) == whole
            assert not [warning for warning in caught if "anew" in str(warning.message)]


def test_a_flipped_bit_in_what_channels_were_guessed_changes_nothing(cached, monkeypatch, tmp_path):
    folder, home, *_ = cached
    shutil.copytree(home, tmp_path / "cache")
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "cache"))
    [note] = (tmp_path / "cache" / "channels").iterdir()
    content = note.read_bytes()
    assert content[:1] == b"1"
    note.write_bytes(b"3" + content[1:])
    with pytest.warns(UserWarning, match="damaged.*rebuilding it"):
        assert kf.data.guess_channels(kf.data.open_source(folder)) == 1


def test_a_cache_in_anothers_place_is_not_taken_for_it(cached, monkeypatch, tmp_path):
    folder, *_, whole = cached
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = kf.data.open_faces(folder, 8, 1, "all", progress=False).cache.folder
        other = kf.data.open_faces(folder, 16, 1, "all", progress=False).cache.folder
        shutil.rmtree(place)
        other.rename(place)
        stream = kf.data.open_faces(folder, 8, 1, "all", progress=False)
    assert stream.image_shape == (8, 8, 1)
    assert stream.cache.read(range(9)).tolist() == whole[1]
