"""A trained model and pictures as it was trained to see them, at every door."""

import base64
import io
import re
import shutil
import struct
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import keras_faces as kf
from keras_faces.app import actions
from keras_faces.app.served import ServedModels
from keras_faces.cli import main
from keras_faces.detection import framing, mtcnn
from keras_faces.detection.photographs import find_faces
from keras_faces.metrics.identity import Descriptors
from keras_faces.trained.pictures import READ_FORMATS, decode_whole, read_picture

UserError = kf.UserError
NO_ENCODER = {"has_encoder": False, "reconstructs": False, "conditional": False}
NO_ENCODER |= {"translates_to": (), "makes": "photo"}


def as_bytes(picture, kind="PNG", **given):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    data = io.BytesIO()
    picture.save(data, kind, **given)
    return data.getvalue()


def bomb(width, height):
    """A PNG of few bytes that says it is large."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def alike(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.fixture(scope="module")
def portrait(orl_path):
    """A face, and the same in a large picture."""
    face = (orl_path / "s5" / "2.pgm").read_bytes()
    image = Image.open(io.BytesIO(face))
    wide = Image.new("L", (900, 700), 120)
    wide.paste(image.resize((276, 336)), (400, 250))
    return face, wide


@pytest.fixture
def unknown(tmp_path):
    """A model of which nothing is recorded, so that faces are framed as the ORL faces are."""

    def make(size):
        model = SimpleNamespace(image_size=size, channels=1, **NO_ENCODER)
        return kf.TrainedModel(tmp_path, model)

    return make


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of untrained models of the ORL faces."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"image_size": 32, "channels": 1, "filters": 2}
    models = {
        "vae": {"latent_dim": 4, "hidden_units": 8},
        "gan": {"latent_dim": 8, "hidden_units": 4},
        "cvae": {"latent_dim": 4, "hidden_units": 8, "conditions": "glasses,smiling,beard,woman"},
        "cyclegan": {"residual_blocks": 1, "pool_size": 2},
    }
    for name, hyperparameters in models.items():
        model = kf.create_model(name, **small, **hyperparameters)
        model.compile()
        labels = "attributes" if name == "cvae" else None
        write_run(folder / name, model, "orl", labels=labels)
    return folder


def write_run(folder, model, source, split="all", **data):
    stream = kf.data.open_faces(
        source, model.image_size, batch_size=2, split=split, channels=model.channels, **data
    )
    run = kf.runs.Run(folder)
    run.write_config(kf.saving.describe(model, stream))
    model.save(run.model_path)


@pytest.fixture(scope="module")
def trained(runs):
    models = {path.name: kf.TrainedModel(path) for path in runs.iterdir()}
    return models.__getitem__


# ---------------------------------------------------------------------------------------------
# One face at every door


@pytest.fixture(scope="module")
def photo(orl_path, tmp_path_factory):
    """A face in the corner of a photo of 12 megapixels, and where it lies."""
    wide = Image.effect_noise((4000, 3000), 20)
    face = Image.open(orl_path / "s5" / "2.pgm").resize((736, 896), Image.Resampling.BICUBIC)
    wide.paste(face, (2900, 300))
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    wide.save(path, quality=92)
    return path


def test_the_same_photo_gives_the_same_face_on_the_command_line_the_page_and_in_python(
    runs, photo, tmp_path, capsys
):
    out = tmp_path / "out.png"
    assert main(["reconstruct", str(runs / "vae"), str(photo), "--out", str(out)]) == 0
    assert f"{photo}: A face was found and framed as in training." in capsys.readouterr().out
    shown = np.asarray(Image.open(out))[2:34, 2:34]
    served = ServedModels([runs / "vae"])[str(runs / "vae")]
    on_page = actions.picture(served, photo.read_bytes())["sheet"]
    on_page = np.asarray(Image.open(io.BytesIO(base64.b64decode(on_page.partition(",")[2]))))
    trained = kf.TrainedModel(runs / "vae")
    face, note = trained.face(photo)
    assert face.shape == (32, 32, 1) and face.dtype == np.float32
    assert note == "A face was found and framed as in training."
    np.testing.assert_array_equal(kf.data.to_uint8(face)[..., 0], shown)
    np.testing.assert_array_equal(on_page[:, :32], shown)
    opened = Image.open(photo)
    for picture in (str(photo), photo.read_bytes(), opened, np.asarray(opened)):
        np.testing.assert_array_equal(trained.face(picture).face, face)


@pytest.mark.parametrize(
    ("words", "tile"),
    [
        ("blend {run} {photo} {photo}", 0),
        ("interpolate {run} --from 1 --to {photo} --frames 3", None),
        ("attribute {run} smiling --image {photo} --count 60", 0),
    ],
)
def test_every_command_finds_the_face_of_a_photo(
    words, tile, runs, trained, photo, tmp_path, capsys
):
    out = tmp_path / "out.png"
    words = words.format(run=runs / "vae", photo=photo)
    assert main([*words.split(), "--out", str(out)]) == 0
    assert f"{photo}: A face was found and framed as in training." in capsys.readouterr().out
    if tile is not None:
        face = kf.data.to_uint8(trained("vae").face(photo).face)
        np.testing.assert_array_equal(np.asarray(Image.open(out))[2:34, 2:34], face[..., 0])


def test_the_face_of_a_photo_lies_as_in_training(trained, photo, orl_path):
    gan = trained("gan")
    known = gan.face(orl_path / "s5" / "2.pgm").face
    assert alike(gan.face(photo).face, known) > 0.8
    assert alike(gan.face(photo, crop="center").face, known) < 0.5


@pytest.mark.parametrize("flags", [["--already-cropped"], ["--crop", "center"]])
def test_no_face_is_looked_for_where_a_user_says_how_to_crop(flags, runs, photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert main(["reconstruct", str(runs / "vae"), str(photo), *flags, "--out", str(out)]) == 0
    crop = kf.data.decode.decode(photo.read_bytes(), "center", 32, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(out))[2:34, 2:34], crop[..., 0])
    told = capsys.readouterr().out
    assert "already cropped" in told or "'center'" in told


def test_a_model_that_translates_takes_pictures_as_they_are_unless_told_otherwise(
    runs, trained, photo, tmp_path, capsys
):
    cyclegan, out = trained("cyclegan"), tmp_path / "out.png"
    shown = {}
    for flag in ("", "--already-cropped", "--no-already-cropped"):
        words = ["translate", str(runs / "cyclegan"), str(photo), "--out", str(out)]
        assert main([*words, *flag.split()]) == 0
        shown[flag] = np.asarray(Image.open(out))[2:34, 2:34]
    np.testing.assert_array_equal(shown[""], shown["--already-cropped"])
    for flag, already in (("", None), ("--no-already-cropped", False)):
        face = kf.data.to_uint8(cyclegan.face(photo, already).face)
        np.testing.assert_array_equal(shown[flag], face[..., 0])
    assert "face was found" in capsys.readouterr().out.splitlines()[-2]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 399), st.sampled_from(["vae", "gan", "cvae"]), st.booleans())
def test_a_training_picture_comes_as_training_saw_it(orl_path, trained, number, name, converted):
    person, picture = divmod(number, 10)
    data = (orl_path / f"s{person + 1}" / f"{picture + 1}.pgm").read_bytes()
    if converted:  # as browsers show it
        data = as_bytes(Image.open(io.BytesIO(data)).convert("RGB"))
    face, note = trained(name).face(data)
    seen = kf.data.open_faces("orl", 32, split="all", channels=1).cache.read([number])
    np.testing.assert_array_equal(kf.data.to_uint8(face), seen[0])
    assert note == "It is one of the training pictures."


def test_a_training_picture_of_another_crop_comes_as_training_saw_it(portrait, tmp_path):
    source = tmp_path / "aligned"
    source.mkdir()
    rng = np.random.default_rng(0)
    portrait[1].crop((360, 200, 760, 690)).resize((178, 218)).save(source / "a.jpg")
    for name in "bcd":
        noise = rng.integers(0, 256, (218, 178), np.uint8)
        Image.fromarray(noise).save(source / f"{name}.png")
    model = kf.create_model("vae", image_size=32, channels=1, filters=2, latent_dim=3)
    model.compile()
    write_run(tmp_path / "run", model, source, crop="larsen")
    trained = kf.TrainedModel(tmp_path / "run")
    seen = kf.data.to_float(trained.faces().cache.read(range(4)))
    for name, face in zip(("a.jpg", "b.png", "c.png", "d.png"), seen, strict=True):
        np.testing.assert_array_equal(trained.face(source / name).face, face)
    shutil.rmtree(source)  # then it is a photo like any other
    with pytest.raises(UserError, match=r"'.*run' was trained on cannot be opened here"):
        kf.TrainedModel(tmp_path / "run").faces()
    note = kf.TrainedModel(tmp_path / "run").face(as_bytes(portrait[1])).note
    assert note.endswith("(Where faces lay in training is not known here, so as in the ORL faces.)")


def test_a_face_that_was_drawn_goes_back_as_it_is(trained):
    vae = trained("vae")
    face = kf.data.to_uint8(vae.model.generate(1, 0))[0]
    for picture in (as_bytes(face[..., 0]), face, face[..., 0], kf.data.to_float(face)):
        np.testing.assert_array_equal(kf.data.to_uint8(vae.face(picture).face), face)


def test_a_picture_framed_as_in_training_is_left_so(trained, portrait):
    image = Image.open(io.BytesIO(portrait[0]))
    brighter = as_bytes(image.point(lambda value: min(255, value + 9)))  # none that it learnt from
    cropped = trained("gan").face(brighter, already_cropped=True).face
    found = trained("gan").face(brighter)
    assert found.note == "It shows a face as the training pictures do."
    np.testing.assert_array_equal(found.face, cropped)
    model, found = trained("vae").model, trained("vae").face(brighter)
    if found.note == "It shows a face as the training pictures do.":
        np.testing.assert_array_equal(found.face, cropped)
    else:  # then the model knows another framing better
        errors = [
            np.square(model.reconstruct(face[None]) - face).mean() for face in (found.face, cropped)
        ]
        assert errors[0] < errors[1]


# ---------------------------------------------------------------------------------------------
# Faces are found and framed


def test_a_found_face_is_framed_as_training_faces_are(portrait, unknown):
    face, wide = portrait
    found = unknown(64).face(as_bytes(wide))
    trained = unknown(64).face(face, already_cropped=True)
    assert found.face.shape == (64, 64, 1) and found.face.dtype == np.float32
    assert alike(found.face, trained.face) > 0.8
    assert "face was found" in found.note and "already cropped" in trained.note
    squashed = wide.resize((64, 64))
    assert alike(np.asarray(squashed), trained.face) < 0.5


@pytest.mark.parametrize("tilt", [0, 10])
def test_eyes_come_to_the_place_where_they_are_in_training(tilt, portrait, unknown):
    tilted = portrait[1].rotate(tilt, Image.Resampling.BICUBIC, fillcolor=120)
    found = unknown(128).face(as_bytes(tilted)).face
    pixels = kf.data.to_uint8(found)
    left, right = np.reshape(find_faces(pixels)[0].eyes, (2, 2)) / 128
    across, down, apart, _ = framing.ORL_FRAME
    np.testing.assert_allclose(left, (across - apart / 2, down), atol=0.03)
    np.testing.assert_allclose(right, (across + apart / 2, down), atol=0.03)


def test_the_frame_of_the_orl_faces_is_the_one_that_is_measured():
    faces = kf.data.open_faces("orl", 64, split="all", channels=1).sample(64)
    measured = framing.measured_frame(kf.data.to_uint8(faces))
    np.testing.assert_allclose(measured[:3], framing.ORL_FRAME[:3], atol=0.03)
    np.testing.assert_allclose(measured.spread, framing.ORL_FRAME.spread, atol=0.01)
    assert framing.measured_frame(np.zeros((20, 32, 32, 1), np.uint8)) is None


def test_the_framing_with_the_least_error_is_found():
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (10, 10), np.uint8))
    wide = np.asarray(rough.resize((160, 160), Image.Resampling.BICUBIC))[..., None]

    def shrink(square):
        return np.asarray(Image.fromarray(square[..., 0]).resize((50, 50)), float)

    # As a frame of 100 pixels, 10 further to the right, 6 further up and a tenth smaller.
    target = shrink(wide[80 + -6 - 45 : 80 - 6 + 45, 80 + 10 - 45 : 80 + 10 + 45])

    def error(faces):
        return np.square(faces - target).mean(axis=(1, 2))

    face, least = framing.best_framing(wide, (0.08, 0.06, 0.09), shrink, error)
    assert least == error(face[None])[0]
    at_first = error(shrink(wide[30:130, 30:130])[None])[0]
    assert least < at_first / 10


def test_a_picture_is_turned_as_its_camera_says(portrait, unknown):
    _, wide = portrait
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = as_bytes(wide.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    upright = unknown(32).face(as_bytes(wide))
    turned = unknown(32).face(sideways)
    assert alike(turned.face, upright.face) > 0.98


def test_of_several_faces_the_largest_is_taken_and_it_is_said(portrait, orl_path, unknown):
    _, wide = portrait
    both = wide.copy()
    both.paste(Image.open(orl_path / "s2" / "1.pgm").resize((184, 224)), (60, 60))
    found = unknown(32).face(as_bytes(both))
    alone = unknown(32).face(as_bytes(wide))
    assert found.note.startswith("2 faces were found. The largest")
    assert alike(found.face, alone.face) > 0.95


pillow_heif.register_heif_opener()
LOSSY = ("JPEG", "WEBP", "AVIF", "HEIF")


@pytest.mark.parametrize("kind", [k for k in READ_FORMATS if k != "MPO"])
def test_every_format_that_is_told_is_read(kind, portrait, unknown):
    image = portrait[1].resize((90, 70)).convert("RGB")
    image = image.convert("P") if kind in ("GIF", "PCX") else image
    pixels = decode_whole(as_bytes(image, kind), 3)
    expected = np.asarray(image.convert("RGB"), float)
    assert np.abs(pixels - expected).max() <= (40 if kind in LOSSY else 0)
    face = unknown(32).face(as_bytes(image, kind), crop="squash").face
    assert face.shape == (32, 32, 1)


BAD = {
    "empty": (b"", "empty"),
    "text": (b"What is a face?\n" * 20, "not a picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    "cut off": (as_bytes(np.zeros((90, 90, 3), np.uint8), "JPEG")[:300], "damaged or truncated"),
    "bomb": (bomb(12_000, 9_000), "12000x9000 pixels, more than the limit of 100,000,000"),
    "larger bomb": (bomb(60_000, 60_000), "more pixels than the limit of 100,000,000"),
    "tiny": (as_bytes(np.zeros((4, 4), np.uint8)), "smaller than 8x8"),
    "no face": (as_bytes(np.full((200, 200), 90, np.uint8)), "No face was found.*upright"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_picture_is_told_in_a_line_that_names_it(what, unknown, tmp_path):
    data, expected = BAD[what]
    for picture, name in ((data, "this picture"), (tmp_path / "a.png", repr(str(tmp_path)[:-1]))):
        if picture is not data:
            picture.write_bytes(data)
        with pytest.raises(UserError, match=expected) as told:
            unknown(32).face(picture)
        assert name.rstrip("'") in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("missing.jpg", "Cannot read 'missing.jpg': No such file"),
        (".", "Cannot read '.': .*folder"),
        (3, "Expected a picture: a path, bytes, a Pillow image or an array. Received: int"),
        (np.zeros((4, 4, 4, 4)), "shape"),
        (np.full((90, 90), 7.0), r"values in \[-1, 1\]"),
    ],
)
def test_what_is_no_picture_is_told(picture, expected, unknown):
    with pytest.raises(UserError, match=expected):
        unknown(32).face(picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pillow_images_of_every_mode_are_taken(mode, portrait):
    image = Image.fromarray(np.full((20, 30), 40000, np.uint16)) if mode == "I;16" else None
    image = image or portrait[1].resize((30, 20)).convert("RGB").convert(mode)
    grey = image.convert("RGB").convert("L") if mode != "I;16" else np.full((20, 30), 156)
    read = decode_whole(read_picture(image)[1], 1)[..., 0]
    assert np.abs(read.astype(int) - np.asarray(grey)).max() <= 1


def test_a_way_to_crop_is_told_from_pictures_that_are_cropped_already(runs, photo, capsys):
    words = ["reconstruct", str(runs / "vae"), str(photo), "--crop", "squash"]
    for flag in ("--already-cropped", "--no-already-cropped"):
        assert main([*words, flag]) == 2
        told = capsys.readouterr().err
        assert "crop 'squash'" in told and "not both" in told and told.count("\n") == 1
    assert main([*words[:-1], "squahs"]) == 2
    assert '"squash"' in capsys.readouterr().err


def test_without_the_detector_a_picture_has_to_be_cropped_already(portrait, unknown, monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    monkeypatch.setattr(mtcnn, "_detector", mtcnn._detector.__wrapped__)  # which is kept once made
    with pytest.raises(UserError, match=r"pip install mtcnn.*--already-cropped"):
        unknown(32).face(portrait[0])
    assert unknown(32).face(portrait[0], already_cropped=True).face.shape == (32, 32, 1)


def test_a_cropped_picture_that_is_square_is_only_resized(portrait, tmp_path):
    source = tmp_path / "aligned"
    source.mkdir()
    for number in range(2):
        Image.new("L", (178, 218), number).save(source / f"{number}.png")
    model = kf.create_model("vae", image_size=64, channels=1, filters=2, latent_dim=3)
    model.compile()
    write_run(tmp_path / "run", model, source, crop="began")
    trained = kf.TrainedModel(tmp_path / "run")
    pixels = np.arange(128 * 128, dtype=np.uint8).reshape(128, 128)
    found = trained.face(pixels, already_cropped=True)
    expected = Image.fromarray(pixels).resize((64, 64), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(kf.data.to_uint8(found.face)[..., 0], np.asarray(expected))
    # A crop of aligned CelebA looks for 178x218 pixels.
    with pytest.raises(UserError, match="too few for crop 'began'"):
        trained.face(portrait[0], already_cropped=True)


# ---------------------------------------------------------------------------------------------
# The faces that it learnt from


def test_faces_come_as_the_model_learnt_from_them(trained, runs):
    stream = trained("cvae").faces()
    config = kf.runs.Run(runs / "cvae").config()["data"]
    assert stream.labels == "attributes" and stream.count == 400
    assert {name: stream.facts[name] for name in ("source", "crop", "split", "fingerprint")} == {
        name: config[name] for name in ("source", "crop", "split", "fingerprint")
    }
    assert trained("vae").faces().labels is None
    assert trained("vae").faces("identity", split="test").label_names
    assert trained("cvae").crop == "center" and trained("cvae").data_config == config


def test_other_faces_come_with_the_labels_that_are_a_models_conditions(trained, orl_folder):
    people = trained("cvae").faces(data=orl_folder)
    assert people.labels == "identity" and people.count == 12
    assert trained("cvae").faces(data="orl").labels == "attributes"
    assert trained("vae").faces(data=orl_folder).labels is None


def test_a_runs_model_file_knows_its_faces_and_another_in_the_folder_does_not(runs, tmp_path):
    folder = tmp_path / "vae"
    shutil.copytree(runs / "vae", folder)
    shutil.copy(folder / "model.keras", folder / "other.keras")
    assert kf.TrainedModel(folder / "model.keras").faces().count == 400
    other = kf.TrainedModel(folder / "other.keras")
    assert other.data_config == {} and other.crop == "center"
    with pytest.raises(UserError, match=r"'.*other\.keras' was trained on are not recorded"):
        other.faces()
    assert other.faces(data="orl").count == 400


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"is not there\. Give a run folder"):
        kf.TrainedModel(tmp_path / "nothing").face(np.zeros((32, 32)))


# ---------------------------------------------------------------------------------------------
# Pictures far outside what a model has learnt


@pytest.fixture(scope="module")
def vae():
    """A VAE that has learnt a little from the training split of the ORL faces."""
    small = {"image_size": 32, "channels": 1, "filters": 8, "hidden_units": 96, "latent_dim": 32}
    model = kf.create_model("vae", **small, learning_rate=0.003, seed=0)
    model.compile()
    model.fit(kf.data.load("orl", image_size=32, channels=1, batch_size=32), epochs=14, verbose=0)
    return model


@pytest.fixture(scope="module")
def learnt(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt") / "vae"
    write_run(folder, vae, "orl", split="train")
    return kf.TrainedModel(folder)


def landscape(side=300):
    image = Image.new("RGB", (side, side), "lightblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, side * 0.6, side, side), fill="darkgreen")
    draw.polygon([(0, side * 0.6), (side * 0.3, side * 0.2), (side * 0.6, side * 0.6)], fill="grey")
    draw.ellipse((side * 0.7, side * 0.1, side * 0.9, side * 0.3), fill="yellow")
    return image


def is_unlike(note):
    return "This picture is unlike the model's training faces" in note


def test_a_picture_unlike_all_that_a_model_has_learnt_is_said_to_be(learnt):
    note = learnt.face(landscape(), already_cropped=True).note
    assert re.fullmatch(
        r"Taken as already cropped\. This picture is unlike the model's training faces: "
        r"its reconstruction error is \d\.\d times that of the worst of 40 "
        r"held-out faces\.",
        note,
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), mean=st.floats(-0.5, 0.5), deviation=st.floats(0, 0.5))
def test_noise_of_any_brightness_and_contrast_is_unlike_faces(learnt, seed, mean, deviation):
    noise = np.random.default_rng(seed).normal(mean, deviation, (32, 32, 1)).clip(-1, 1)
    assert is_unlike(learnt.face(noise.astype("float32")).note)


def test_a_face_far_from_all_descriptors_is_unlike_also_to_a_model_that_copies_none(
    trained, tmp_path, monkeypatch, own_cache
):
    """Descriptors are stood in for by mean brightness, along one of their dimensions."""
    run = tmp_path / "run"
    write_run(run, trained("cvae").model, "orl", split="train")

    def brightness(images, processes=None):
        values = kf.data.to_float(images).mean(axis=(1, 2, 3))[:, None]
        found = values[:, 0] < 0.9
        return Descriptors(found, values[found])

    monkeypatch.setattr("keras_faces.metrics.identity.describe", brightness)
    model = kf.TrainedModel(run)
    size = model.model.image_size
    note = model.face(np.full((size, size, 1), 0.8, "float32")).note
    assert re.search(
        r"unlike .* training faces: its face descriptor lies 0\.\d\d from the nearest of", note
    )
    assert not is_unlike(model.face(np.full((size, size, 1), 1, "float32")).note)  # none is found
    assert not is_unlike(model.face(model.faces().sample(1)[0]).note)


def test_most_faces_are_unlike_faces_when_they_stand_on_their_heads(learnt):
    faces = learnt.faces(split="test").sample(40)
    assert np.mean([is_unlike(learnt.face(face[::-1]).note) for face in faces]) > 0.6


def test_faces_that_a_model_has_not_seen_are_like_those_it_has(learnt, monkeypatch):
    monkeypatch.setattr("keras_faces.trained.model.MEASURED_FACES", 20)
    trained = kf.TrainedModel(learnt.path, learnt.model)
    faces = trained.faces(split="test").sample(40)  # of which 20 set the measure
    assert np.mean([is_unlike(trained.face(face).note) for face in faces]) <= 0.05


def test_the_command_line_and_the_page_say_what_is_unlike_faces(learnt, tmp_path, capsys):
    path = tmp_path / "landscape.png"
    landscape().save(path)
    words = [str(learnt.path), str(path), "--already-cropped", "--out", str(tmp_path / "out.png")]
    assert main(["reconstruct", *words]) == 0
    assert is_unlike(capsys.readouterr().out)
    served = ServedModels([learnt.path])[str(learnt.path)]
    assert is_unlike(actions.picture(served, path.read_bytes(), True)["unlike"])


def test_a_model_that_held_out_no_faces_is_measured_by_those_it_learnt_from(vae, tmp_path):
    write_run(tmp_path / "vae", vae, "orl", split="all")
    note = kf.TrainedModel(tmp_path / "vae").face(landscape(), already_cropped=True).note
    assert note.endswith("that of the worst of 64 training faces.")


def test_a_model_whose_faces_are_not_here_says_nothing_of_what_is_unlike_them(vae, tmp_path):
    alone = tmp_path / "alone.keras"
    vae.save(alone)
    note = kf.TrainedModel(alone).face(landscape(), already_cropped=True).note
    assert note == "Taken as already cropped."


@pytest.mark.parametrize("name", ["gan", "cvae", "cyclegan"])
def test_a_model_that_cannot_copy_a_face_by_itself_says_nothing_of_what_is_unlike(trained, name):
    note = trained(name).face(landscape(), already_cropped=True).note
    assert note == "Taken as already cropped."
