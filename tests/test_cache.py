"""The cache of decoded pictures: interruption, checksums, what is known of the pictures, crops."""

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data import cache as cache_module
from keras_faces.data import decode as decode_module
from keras_faces.data import decoding
from keras_faces.data.cache import FaceCache, prepare
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources import LEFT_OUT, Entry, Source
from keras_faces.data.splits import split_hashes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_notes(monkeypatch):
    """A note for every three rows of 8x8x1, and one picture at a time."""
    monkeypatch.setattr(decoding, "NOTE_BYTES", 3 * 64)
    monkeypatch.setattr(decoding, "CHUNK", 1)
    with joblib.parallel_config(n_jobs=1):
        yield


class Numbered(Source):
    """Picture n shows the grey level n; `bad` ones cannot be decoded, `missing` not be read."""

    title = address = "numbered"

    def __init__(self, count, bad=(), missing=(), splits=None, sequential=False, stop=None):
        self.count, self.bad, self.missing, self.stop = count, set(bad), set(missing), stop
        self.splits = splits or [None] * count
        self.sequential = sequential
        self.reads = []

    def entries(self):
        return [Entry(f"{n}.png", f"p{n % 4}", self.splits[n]) for n in range(self.count)]

    def read(self, name):
        number = int(name.removesuffix(".png"))
        self.reads.append(number)
        if number == self.stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # it is raised in the main thread, and another may be reading
        if number in self.missing:
            raise BadPicture("cannot be read (gone)")
        if number in self.bad:
            return b"no picture"
        return np.full((8, 8, 1), number % 256, np.uint8)

    def pictures(self, start=0):
        for entry in self.entries()[start:]:
            try:
                yield entry, self.read(entry.name)
            except BadPicture as error:
                yield entry, error

    def listing(self):
        return f"numbered-{self.count}-{sorted(self.bad)}"


def prepared(source, **given):
    return prepare(source, "center", **{"image_size": 8, "channels": 1, "progress": False, **given})


def levels(cache, positions=None):
    positions = range(cache.count) if positions is None else positions
    return cache.read(positions)[:, 0, 0, 0].tolist()


# ---------------------------------------------------------------------------------------------
# Rows


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("count", [1, 3, 4, 11])
def test_rows_are_read_in_any_order(small_notes, count, sequential):
    cache = prepared(Numbered(count, sequential=sequential))
    assert levels(cache) == list(range(count))
    order = np.random.default_rng(0).permutation(count)
    assert levels(cache, order) == order.tolist()
    assert cache.names == [f"{n}.png" for n in range(count)]
    assert [cache.name(n) for n in range(count)] == cache.names
    assert cache.identities == [f"p{n % 4}" for n in range(count)]


def test_others_can_read_the_files_too():
    import pyarrow.parquet as pq

    with pytest.warns(kf.data.SkippedPictures):
        cache = prepared(Numbered(5, bad=[3], splits=["train", None, "test", None, LEFT_OUT]))
    images = np.load(cache.folder / "images.npy")
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 4]
    index = pq.read_table(cache.folder / "index.parquet").to_pydict()
    assert index["name"] == [f"{n}.png".encode() for n in range(5)]
    assert [reason is None for reason in index["reason"]] == [True, True, True, False, True]
    assert index["split"] == [b"train", None, b"test", None, b"left out"]


@pytest.mark.parametrize("size, channels", [(9, 1), (11, 3), (12, 3)])
def test_rows_that_are_no_whole_words_are_checked_to_their_last_byte(size, channels):
    cache = prepared(Numbered(3), image_size=size, channels=channels)
    assert cache.read([2, 0]).shape == (2, size, size, channels)
    with open(cache.folder / "images.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x03")
    assert levels(cache, [0, 1]) == [0, 1]
    with pytest.raises(kf.UserError, match=r"'2\.png'.*damaged"):
        cache.read([2])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_any_flipped_bit_changes_the_checksum_of_its_row_alone(row_bytes, data):
    words = decode_module.row_words(3, row_bytes)
    words[:, :row_bytes] = np.frombuffer(
        data.draw(st.binary(min_size=3 * row_bytes, max_size=3 * row_bytes)), np.uint8
    ).reshape(3, -1)
    before = decode_module.checksums(words)
    row, bit = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 8 * row_bytes - 1))
    words[row, bit // 8] ^= 1 << bit % 8
    changed = decode_module.checksums(words) != before
    assert changed.tolist() == [number == row for number in range(3)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("gbm"), min_size=1, max_size=14), st.booleans())
def test_any_mix_gives_all_the_good_ones_in_order_and_names_all_the_bad(kinds, sequential):
    places = {kind: [n for n, k in enumerate(kinds) if k == kind] for kind in "gbm"}
    source = Numbered(len(kinds), places["b"], places["m"], sequential=sequential)
    source.listing = lambda: f"{kinds}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "NOTE_BYTES", 3 * 64)
        if not places["g"]:
            with pytest.raises(kf.UserError, match=f"None of the {len(kinds)} pictures"):
                prepared(source)
            return
        with pytest.warns(kf.data.SkippedPictures) if len(places["g"]) < len(kinds) else quiet():
            cache = prepared(source)
    assert levels(cache) == places["g"]
    assert cache.names == [f"{n}.png" for n in places["g"]]
    assert [name for name, _ in cache.bad] == [
        f"{n}.png" for n, kind in enumerate(kinds) if kind != "g"
    ]


def quiet():
    return contextlib.nullcontext()


# ---------------------------------------------------------------------------------------------
# Interrupted


@pytest.mark.parametrize("sequential", [False, True])
def test_what_was_interrupted_goes_on_where_it_was(small_notes, sequential):
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(12, sequential=sequential, stop=8))
    again = Numbered(12, sequential=sequential)
    cache = prepared(again)
    if not sequential:
        assert min(again.reads) == 8
    assert levels(cache) == list(range(12))


def test_ctrl_c_right_behind_a_note_tells_of_no_picture_twice(small_notes, monkeypatch):
    write = decoding.Making.write_note

    def stopped(making, found):
        write(making, found)
        if making.done == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding.Making, "write_note", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepared(Numbered(12))
    again = Numbered(12)
    assert levels(prepared(again)) == list(range(12))
    assert min(again.reads) == 6


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=30, deadline=None)
@given(
    bad=st.sets(st.integers(0, 13)),
    missing=st.sets(st.integers(0, 13)),
    stops=st.lists(st.integers(0, 13), max_size=3),
)
def test_interruptions_change_nothing_wherever_bad_pictures_are(bad, missing, stops):
    bad, missing = bad - {13}, missing - {13}
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "NOTE_BYTES", 5 * 64)
        patch.setattr(decoding, "CHUNK", 2)
        for cuts in ([], stops):
            with tempfile.TemporaryDirectory() as folder:
                patch.setenv("KERAS_FACES_CACHE", folder)
                for stop in cuts:
                    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        prepared(Numbered(14, bad, missing, stop=stop))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made.append(files(prepared(Numbered(14, bad, missing)).folder))
    assert made[0] == made[1]


def test_a_killed_process_loses_nothing_that_a_note_tells_of(tmp_path):
    script = """
        import joblib, os, sys
        sys.path.insert(0, sys.argv[1])
        from test_cache import Numbered, prepared, decoding
        class Killed(Numbered):
            def read(self, name):
                if name == "50.png":
                    os.kill(os.getpid(), 9)
                return super().read(name)
        decoding.NOTE_BYTES = 64
        decoding.CHUNK = 1
        with joblib.parallel_config(n_jobs=1):
            prepared(Killed(60))
    """
    home = os.path.dirname(__file__)
    given = [sys.executable, "-c", textwrap.dedent(script), home]
    path = os.pathsep.join([os.path.dirname(home), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(given, env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    source = Numbered(60)
    cache = prepared(source)
    assert min(source.reads) == 50
    assert levels(cache) == list(range(60))


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "file, damage, goes_on_at",
    [
        ("000000003.note", _cut, 3),
        ("000000003.note", _flip, 3),
        ("images.npy", _cut, 0),
        ("images.npy", lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:]), 0),
    ],
)
def test_what_is_damaged_of_half_a_cache_is_made_again(
    file, damage, goes_on_at, small_notes, own_cache
):
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(40, stop=39))
    [part] = (own_cache / "images").glob("*.part")
    damage(part / file)
    again = Numbered(40)
    cache = prepared(again)
    assert levels(cache) == list(range(40))
    assert cache.names == [entry.name for entry in again.entries()]
    assert min(again.reads) == goes_on_at


def test_pictures_from_another_place_share_the_records(own_cache):
    first = prepared(Numbered(5))
    other = Numbered(5)
    other.listing = lambda: "elsewhere"
    assert prepared(other).folder == first.folder
    assert len(list((own_cache / "images").glob("*/meta.json"))) == 1
    assert not list((own_cache / "images").glob("*.part"))


# ---------------------------------------------------------------------------------------------
# Damage


def test_a_damaged_row_is_found_when_it_is_read_and_named():
    cache = prepared(Numbered(7))
    with open(cache.folder / "images.npy", "r+b") as file:
        file.seek(-3 * 64 + 5, os.SEEK_END)
        file.write(b"\xff")
    again = FaceCache(cache.folder)
    assert levels(again, [0, 3, 5, 6]) == [0, 3, 5, 6]
    with pytest.raises(kf.UserError, match=r"'4\.png'.*damaged.*Delete"):
        again.read([0, 4])


def test_training_that_meets_a_damaged_row_says_so_in_a_line(orl_folder, own_cache, capsys):
    stream = kf.data.open_faces(orl_folder, 32, 4, split="all", progress=False)
    with open(stream.cache.folder / "images.npy", "r+b") as file:
        file.seek(-1024, os.SEEK_END)
        file.write(b"\xff\x00\xff")
    words = "--image-size 32 --batch-size 4 --filters 2 --latent-dim 2 --hidden-units 4 --steps 6"
    run = own_cache / "run"
    given = ["train", "vae", "--data", orl_folder, "--split", "all", *words.split(), "--run", run]
    assert main([*map(str, given), "--count", "0"]) == 2
    told = capsys.readouterr().err
    assert "damaged. Delete that folder" in told
    assert "Traceback" not in told and "numpy_function" not in told


@pytest.mark.parametrize("within", [False, True])
def test_a_file_that_is_gone_is_the_caches_only_within_it(own_cache, tmp_path, within):
    path = (own_cache / "images" if within else tmp_path / "source") / "gone"

    class Gone(Numbered):
        def entries(self):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    with pytest.raises(kf.UserError if within else FileNotFoundError) as told:
        prepared(Gone(3))
    assert ("KERAS_FACES_CACHE" in str(told.value)) == within


def test_a_cache_of_an_older_version_is_not_used(tmp_path, own_cache, picture_folder):
    folder = picture_folder({"a.png": np.full((8, 8), 9, np.uint8)})
    stream = kf.data.open_faces(folder, 8, 1, split="all", progress=False)
    meta = {**stream.cache.meta}
    assert meta["format"] == cache_module.FORMAT
    # As version 0.2 wrote it: one file of records, one of names.
    old = stream.cache.folder
    for file in old.iterdir():
        file.unlink()
    (old / "images.bin").write_bytes(bytes(64))
    (old / "index.json").write_text('{"names": ["a.png"], "identities": [null], "bad": []}')
    (old / "meta.json").write_text(json.dumps({**meta, "format": 1}))
    with pytest.warns(UserWarning, match="damaged"):
        anew = kf.data.open_faces(folder, 8, 1, split="all", progress=False)
    assert levels(anew.cache) == [9]


def test_a_source_that_vanishes_while_it_is_read_is_told_from_bad_pictures(
    tmp_path, orl_folder, monkeypatch
):
    source = kf.data.open_source(orl_folder)
    file = source.file

    def vanishing(name):
        if name == "s2/1.pgm":
            shutil.rmtree(orl_folder, ignore_errors=True)
        return file(name)

    monkeypatch.setattr(source, "file", vanishing)
    with pytest.raises(kf.UserError, match="vanished while it was read"):
        prepare(source, image_size=16, channels=1, progress=False)


def test_training_goes_on_when_the_source_has_vanished(orl_folder):
    stream = kf.data.open_faces(orl_folder, 16, 4, split="all", shuffle=True, progress=False)
    before = stream.read(5)[0]
    shutil.rmtree(orl_folder)
    np.testing.assert_array_equal(stream.read(5)[0], before)


# ---------------------------------------------------------------------------------------------
# What is known of the pictures


def test_the_sources_own_splits_decide():
    splits = ["train"] * 5 + ["validation"] * 2 + ["test"] + [LEFT_OUT, None]
    source = Numbered(10, splits=splits)
    streams = {
        split: kf.data.open_faces(source, 8, 1, split, channels=1, progress=False).indices
        for split in ("train", "validation", "test", "all")
    }
    source.splits = [None] * 10
    source.listing = lambda: "without"
    with pytest.raises(kf.UserError, match="validation"):
        kf.data.open_faces(source, 8, 1, "validation", channels=1, progress=False)
    source.splits = ["train"] * 10
    source.listing = lambda: "train alone"
    with pytest.raises(kf.UserError, match="no pictures in the split 'test'; it has train"):
        kf.data.open_faces(source, 8, 1, "test", channels=1, progress=False)
    assert {split: found.tolist() for split, found in streams.items()} == {
        "train": [0, 1, 2, 3, 4],
        "validation": [5, 6],
        "test": [7],
        "all": list(range(10)),
    }


def test_split_hashes_are_the_beginning_of_sha256():
    import hashlib

    names = ["s1", "ä", "\udcff"]
    found = split_hashes(names)
    assert found.dtype == np.uint64
    for name, rank in zip(names, found, strict=True):
        whole = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        assert int(rank) == int(whole[:16], 16)


def test_raw_sizes_and_copies_are_known(picture_folder):
    same = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    folder = picture_folder({"a.png": same, "b.png": same, "c.png": np.full((9, 12), 3, np.uint8)})
    Image.fromarray(same).save(folder / "d.jpg", exif=exif)
    cache = kf.data.open_faces(folder, 8, 1, split="all", progress=False).cache
    assert cache.raw_sizes.tolist() == [[30, 20], [30, 20], [12, 9], [20, 30]]
    first, second, third, fourth = cache.contents.tolist()
    assert first == second
    assert len({first, third, fourth}) == 3


# ---------------------------------------------------------------------------------------------
# Fast decoding


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def photo(height, width, channels=3):
    """A smooth picture: waves, in colours that differ little from place to place."""
    rows, columns = np.mgrid[:height, :width] / min(height, width)
    wave = np.sin(2 * np.pi * (rows + 2 * columns)) + np.sin(2 * np.pi * (3 * rows - columns))
    pixels = 128 + 50 * wave[..., None] * [1.0, 0.9, 0.8] + [10, 0, -10]
    return (pixels if channels == 3 else pixels[..., 0]).round().astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(218, 178), (100, 130), (64, 64), (40, 50), (1024, 1024)])
def test_averaged_crops_equal_the_averages_of_areas(shape, channels):
    from keras_faces.data.decode import decode

    pixels = photo(*shape)
    found = decode(jpeg(pixels), "center-area", 32, channels)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    if channels == 1:
        square = square.convert("L")
    # Each of 32 areas takes of every row and column the share that lies in it.
    edges = np.arange(33)[:, None] * side / 32
    share = np.diff(np.clip(edges, np.arange(side), np.arange(1, side + 1)), axis=0) * 32 / side
    whole = np.asarray(square, float).reshape(side, side, -1)
    means = np.einsum("ai,bj,ijc->abc", share, share, whole, optimize=True)
    assert np.abs(found - means).mean() < 1
    assert np.abs(found - means).max() < 12


def test_interpolating_a_halved_jpeg_of_a_face_is_as_near_to_the_whole_one_as_averaging_it():
    import cv2

    from keras_faces.data import open_source
    from keras_faces.data.decode import decode

    orl = open_source("orl")
    averaged, interpolated = np.zeros(2), np.zeros(2)
    for entry in orl.entries()[::10]:
        face = Image.open(io.BytesIO(orl.read(entry.name))).convert("RGB").crop((0, 10, 92, 102))
        data = jpeg(np.asarray(face))
        whole, half = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data))
        half.draft(None, (46, 46))
        halves = cv2.resize(np.asarray(half), (32, 32), interpolation=cv2.INTER_AREA)
        found = decode(data, "center-area", 32, 3)
        assert not np.array_equal(found, halves)
        wanted = [
            np.asarray(whole.resize((32, 32), Image.Resampling.LANCZOS), float),
            cv2.resize(np.asarray(whole), (32, 32), interpolation=cv2.INTER_AREA).astype(float),
        ]
        averaged += [np.square(halves - one).mean() for one in wanted]
        interpolated += [np.square(found - one).mean() for one in wanted]
    assert (interpolated < 1.15 * averaged).all()


def test_fine_stripes_leave_no_more_aliases_where_a_halved_jpeg_is_interpolated():
    import cv2

    from keras_faces.data.decode import decode

    for period in (2, 3, 4, 5):
        wave = 128 + 100 * np.sin(2 * np.pi * np.arange(178) / period)
        pixels = np.broadcast_to(wave.round().astype(np.uint8)[None, :, None], (178, 178, 3))
        found = decode(jpeg(pixels), "center-area", 64, 3).astype(float)
        aliased = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR).astype(float)
        assert found.std() <= 0.65 * aliased.std() + 1


@pytest.mark.parametrize("size", [32, 64])
def test_large_photos_decoded_small_look_as_if_decoded_whole(size):
    from keras_faces.data.crops import apply_crop
    from keras_faces.data.decode import decode

    pixels = photo(900, 700)
    data = jpeg(pixels)
    whole = np.asarray(apply_crop(Image.open(io.BytesIO(data)), "center", size), float)
    assert np.abs(decode(data, "center", size, 3) - whole).mean() < 1.0


@pytest.mark.parametrize("crop", ["center", "center-area"])
@pytest.mark.parametrize(
    "kind", ["progressive", "CMYK", "grey", "turned", "animated WebP", "animated GIF", "cut"]
)
def test_every_kind_of_picture_goes_through_every_crop(crop, kind):
    from keras_faces.data.decode import decode, decode_with_size

    pixels = photo(60, 48)
    plain = decode(jpeg(pixels), crop, 32, 3).astype(float)
    if kind == "progressive":
        data = jpeg(pixels, progressive=True)
    elif kind == "CMYK":
        file = io.BytesIO()
        Image.fromarray(pixels).convert("CMYK").save(file, "JPEG", quality=95)
        data = file.getvalue()
    elif kind == "grey":
        data = jpeg(pixels[..., 0])
        plain = decode(jpeg(np.repeat(pixels[..., :1], 3, -1)), crop, 32, 3).astype(float)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        data = jpeg(np.ascontiguousarray(np.rot90(pixels)), exif=exif)
        assert decode_with_size(data, crop, 32, 3)[1] == (48, 60)
    elif kind in ("animated WebP", "animated GIF"):
        file = io.BytesIO()
        frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
        options = {"lossless": True} if kind.endswith("WebP") else {}
        form = kind.split()[1].upper()
        frames[0].save(file, form, save_all=True, append_images=frames[1:], **options)
        data = file.getvalue()
    else:
        data = jpeg(pixels)[: len(jpeg(pixels)) // 2]
        with pytest.raises(BadPicture, match="truncated"):
            decode(data, crop, 32, 3)
        return
    # GIF has 256 colours.
    assert np.abs(decode(data, crop, 32, 3) - plain).mean() < (9 if "GIF" in kind else 4)


def test_a_jpeg_is_turned_wherever_its_header_has_the_notes():
    pytest.importorskip("simplejpeg")
    from keras_faces.data.decode import decode, decode_with_size

    pixels, exif = photo(60, 48), Image.Exif()
    exif[0x0112] = 6
    data = jpeg(np.ascontiguousarray(np.rot90(pixels)), exif=exif)
    profile = b"\xff\xda a colour profile may hold the bytes of any marker"
    before = b"\xff\xe2" + (len(profile) + 2).to_bytes(2, "big") + profile
    late = data[:2] + before + b"\xff\xff" + data[2:]  # markers may be filled with 0xFF
    assert decode_with_size(late, "center-area", 32, 3)[1] == (48, 60)
    np.testing.assert_array_equal(
        decode(late, "center-area", 32, 3), decode(data, "center-area", 32, 3)
    )


def test_without_the_extra_the_averaged_crop_says_what_to_install(picture_folder, monkeypatch):
    folder = picture_folder({"a.png": np.full((8, 8), 9, np.uint8)})
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(kf.UserError, match=r"keras-faces\[fast\]"):
        kf.data.open_faces(folder, 8, crop="center-area", progress=False)
