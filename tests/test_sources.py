"""Files that hold many pictures each: arrays, tar files, Parquet; on disks and behind URLs."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data import open_quietly

import keras_faces as kf
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources import open_source
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
