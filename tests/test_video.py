"""Frames of videos: which are kept, on which side, upright, and what becomes of damaged files."""

import importlib.util
import os
import struct
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import keras_faces as kf
from keras_faces.data import photographs
from keras_faces.data.decode import BadPicture, FaceIn
from keras_faces.data.sources import LEFT_OUT, open_source
from keras_faces.data.sources import video as video_module
from keras_faces.data.sources.video import split_by_time
from keras_faces.data.sources.video_reader import Video
from keras_faces.detection.photographs import align
from keras_faces.metrics.identity import FIVE_POINTS

av = pytest.importorskip("av")

CODECS = {
    "mp4": ("libx264", {"crf": "18"}, {"movflags": "faststart"}),
    "mov": ("mpeg4", {"b": "4M"}, {}),
    "webm": ("libvpx", {"b": "2M", "deadline": "realtime"}, {}),
}


def write(path: Path, frames, times=None, kind=None) -> Path:
    """Write frames, 25 a second or at `times` in hundredths of a second."""
    codec, options, container = CODECS[kind or path.suffix[1:]]
    with av.open(str(path), "w", options=container) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def colour(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, -1)


@pytest.fixture(scope="session")
def faces(orl_path) -> list[np.ndarray]:
    """Forty different people, 112x96 pixels."""
    found = []
    for person in range(1, 41):
        with Image.open(orl_path / f"s{person}" / "1.pgm") as image:
            found.append(colour(np.asarray(image.resize((96, 112)))))
    return found


@pytest.fixture(scope="session")
def clip(faces, tmp_path_factory) -> Path:
    """Forty frames, each of another person."""
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4", faces)


def taken(source, start=0) -> dict[str, np.ndarray]:
    return {
        entry.name: picture.cut_out()[0] if isinstance(picture, FaceIn) else picture
        for entry, picture in source.pictures(start)
    }


def differs(one, other) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


# ---------------------------------------------------------------------------------------------
# Which frames


@pytest.mark.parametrize("kind", CODECS)
def test_frames_of_every_kind_of_video_are_those_that_went_in(kind, faces, tmp_path, own_cache):
    source = open_source(f"video:{write(tmp_path / f'clip.{kind}', faces)}")
    assert source.sequential
    entries = source.entries()
    assert [entry.name for entry in entries] == [f"{n:06d}" for n in range(40)]
    frames = list(source.pictures())
    assert [entry for entry, _ in frames] == list(entries)
    for (_, pixels), face in zip(frames, faces, strict=True):
        assert (pixels.shape, pixels.dtype) == ((112, 96, 3), np.uint8)
        assert differs(pixels, face) < 6
    assert (source.attributes(), source.sketches()) == (None, None)
    assert source.counts == {"frames": 40, "similar": 0, "kept": 40}


def test_videos_are_recognised_without_a_scheme(clip):
    assert len(open_source(clip).entries()) == 40


@pytest.mark.parametrize("every", [1, 3, 7, 100])
def test_every_nth_frame_is_looked_at(clip, faces, every):
    source = open_source(f"video:{clip}?every={every}")
    numbers = list(range(0, 40, every))
    assert [int(entry.name) for entry in source.entries()] == numbers
    for name, pixels in taken(source).items():
        assert differs(pixels, faces[int(name)]) < 6


@pytest.mark.parametrize("start", [0, 1, 17, 39, 40])
def test_pictures_go_on_from_any_entry(clip, start):
    source = open_source(f"video:{clip}")
    whole = taken(source)
    part = taken(source, start)
    assert list(part) == list(whole)[start:]
    assert all(np.array_equal(part[name], whole[name]) for name in part)


def test_frames_like_the_one_kept_before_are_dropped(faces, tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for face in faces[:6]:  # each for ten frames, with the noise of a camera
        noise = rng.normal(0, 4, (10, *face.shape))
        frames += list(np.clip(face + noise, 0, 255).astype(np.uint8))
    path = write(tmp_path / "still.mp4", frames)
    source = open_source(f"video:{path}")
    assert [int(entry.name) for entry in source.entries()] == [0, 10, 20, 30, 40, 50]
    assert source.counts == {"frames": 60, "similar": 54, "kept": 6}
    assert len(open_source(f"video:{path}?similar=0").entries()) == 60
    assert len(open_source(f"video:{path}?similar=255").entries()) == 1


def test_slow_change_is_measured_from_the_frame_kept_before(tmp_path):
    # Half a level a frame: no two neighbours differ enough, the third differs.
    frames = [np.full((64, 64, 3), 60 + n // 2, np.uint8) for n in range(60)]
    source = open_source(f"video:{write(tmp_path / 'dusk.mp4', frames)}?similar=2.9")
    kept = [int(entry.name) for entry in source.entries()]
    assert {after - before for before, after in pairwise(kept)} <= {5, 6, 7, 8}
    assert len(kept) > 6


def test_a_thumbnail_is_the_mean_of_each_part():
    pixels = np.random.default_rng(0).integers(0, 256, (160, 320), np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="gray")
    expected = pixels.reshape(16, 10, 16, 20).mean((1, 3))
    thumbnail = Video(Path("none")).thumbnail(frame)
    assert np.abs(thumbnail - expected).max() < 1.5


def test_frames_at_uneven_times_are_counted_by_number(faces, tmp_path):
    times = np.cumsum([1, 50, 3, 200, 2, 7, 120, 1, 30, 4]).tolist()
    path = write(tmp_path / "uneven.webm", faces[:10], times)
    with av.open(str(path)) as file:
        gaps = np.diff([frame.time for frame in file.decode(video=0)])
    assert gaps.max() > 50 * gaps.min()
    frames = taken(open_source(f"video:{path}?every=2"))
    assert list(frames) == ["000000", "000002", "000004", "000006", "000008"]
    assert all(differs(pixels, faces[int(name)]) < 8 for name, pixels in frames.items())


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_frames_are_turned_upright(faces, tmp_path, turns):
    path = write(tmp_path / "turned.mp4", faces[:3])
    # The matrix of the track's header turns by quarters, clockwise.
    a, b = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    assert data[matrix : matrix + 4] == b"\0\1\0\0"
    data[matrix : matrix + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)
    for (_, pixels), face in zip(open_source(path).pictures(), faces[:3], strict=True):
        assert differs(pixels, np.rot90(face, -turns)) < 6


def test_pixels_that_are_no_squares_are_stretched(faces, tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 112, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        file.mux(stream.encode(av.VideoFrame.from_ndarray(faces[0], format="rgb24")))
        file.mux(stream.encode(None))
    ((_, pixels),) = open_source(path).pictures()
    assert pixels.shape == (112, 192, 3)


# ---------------------------------------------------------------------------------------------
# Sides


def test_the_sizes_of_the_sfu_document_are_1200_and_125():
    sides = split_by_time(1325, 125, 0)
    assert (sides.count("train"), sides.count("test")) == (1200, 125)
    sides = split_by_time(1346, 125, 3)
    assert (sides.count("train"), sides.count("test")) == (1200, 125)
    runs = 1 + sum(a != b for a, b in pairwise(sides))
    assert runs == 4 * 3 + 3  # train, gap, test, and a gap before the next


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 12))
def test_neighbouring_frames_are_never_on_both_sides(count, test, gap):
    sides = split_by_time(count, test, gap)
    assert len(sides) == count
    assert set(sides) <= {"train", "test", LEFT_OUT}
    for pair in pairwise(sides):
        assert set(pair) != {"train", "test"}
    if count >= 3:
        assert sides.count("test") == min(test, count // 2)
        assert sides.count("train") >= 1
    else:
        assert sides == ["train"] * count


@pytest.mark.parametrize(
    ("query", "test", "left_out"),
    [("", 4, 3), ("?test=0.25", 10, 3), ("?test=12&gap=5", 12, 5), ("?test=0", 0, 0)],
)
def test_entries_say_their_side(clip, query, test, left_out):
    splits = [entry.split for entry in open_source(f"video:{clip}{query}").entries()]
    assert (splits.count("test"), splits.count(LEFT_OUT)) == (test, left_out)
    assert splits.count("train") == 40 - test - left_out


@pytest.mark.parametrize("train", [1, 7, 33])
def test_as_many_frames_as_are_asked_for_are_trained_on_evenly_spread(clip, train):
    whole = open_source(f"video:{clip}?test=4").entries()
    entries = open_source(f"video:{clip}?test=4&train={train}").entries()
    assert [entry.name for entry in entries] == [entry.name for entry in whole]
    chosen = [number for number, entry in enumerate(entries) if entry.split == "train"]
    assert len(chosen) == train
    assert [e.name for e in entries if e.split == "test"] == [
        e.name for e in whole if e.split == "test"
    ]
    assert all(whole[number].split == "train" for number in chosen)
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_more_frames_than_a_video_has_are_refused(clip):
    source = open_source(f"video:{clip}?test=4&train=34")
    told = r"33 frames to train on, and 34 were asked for\. 4 more are to test; .* 3 as gaps"
    with pytest.raises(kf.UserError, match=told):
        source.entries()


def test_of_a_folder_of_videos_exactly_as_many_frames_are_taken(faces, tmp_path):
    for name, count in (("a.mp4", 11), ("b.mp4", 13), ("c.mp4", 17)):
        write(tmp_path / name, faces[:count])
    splits = [e.split for e in open_source(f"video:{tmp_path}?test=4&train=20&gap=1").entries()]
    assert (splits.count("train"), splits.count("test"), len(splits)) == (20, 4, 41)


# ---------------------------------------------------------------------------------------------
# What is remembered


def test_the_pass_over_a_video_is_remembered(clip, own_cache, monkeypatch):
    before = open_source(f"video:{clip}?every=2")
    entries = before.entries()
    assert len(list((own_cache / "videos").iterdir())) == 1

    def refuse(*arguments):
        raise AssertionError("the video was decoded again")

    monkeypatch.setattr(Video, "frames", refuse)
    after = open_source(before.address)
    assert (after.entries(), after.counts) == (entries, before.counts)
    assert after.listing() == before.listing()
    other = open_source(f"video:{clip}?every=2&test=0.5")  # the same frames, other sides
    assert len(other.entries()) == len(entries)
    assert other.listing() != before.listing()
    with pytest.raises(AssertionError):
        open_source(f"video:{clip}?every=4").entries()


def test_a_video_that_changed_is_looked_through_again(faces, tmp_path):
    path = write(tmp_path / "clip.mp4", faces[:5])
    before = open_source(path)
    assert len(before.entries()) == 5
    listing = before.listing()
    write(path, faces[:8])
    after = open_source(path)
    assert len(after.entries()) == 8
    assert after.listing() != listing


def test_what_is_remembered_may_be_damaged_or_impossible_to_write(clip, own_cache):
    open_source(clip).entries()
    (file,) = (own_cache / "videos").iterdir()
    for content in (b"", b"{}", b"[1, 2]", b"\xff"):
        file.write_bytes(content)
        assert len(open_source(clip).entries()) == 40
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("in the way")
    assert len(open_source(clip).entries()) == 40


# ---------------------------------------------------------------------------------------------
# Damaged videos


@pytest.mark.parametrize(
    ("kind", "told"),
    [("mp4", r"\d+ of its 80 frames"), ("webm", "it ends after 2 of its 3")],
)
def test_of_a_cut_video_the_good_frames_are_used(kind, told, faces, tmp_path, own_cache):
    path = write(tmp_path / f"cut.{kind}", faces * 2)
    os.truncate(path, int(path.stat().st_size * 0.6))
    source = open_source(path)
    with pytest.warns(UserWarning, match=f"not whole: {told}.*good frames are used"):
        entries = source.entries()
    assert 30 < len(entries) < 60
    frames = taken(source)
    assert list(frames) == [entry.name for entry in entries]
    good = list(frames.items())[:-2]
    assert all(differs(pixels, faces[int(name) % 40]) < 8 for name, pixels in good)


def test_a_damaged_stretch_costs_only_its_frames(faces, tmp_path, own_cache):
    path = write(tmp_path / "hurt.mp4", faces)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    source = open_source(path)
    names = [entry.name for entry in source.entries()]
    assert len(names) > 20
    assert list(taken(source)) == names


def test_an_mp4_without_its_table_is_refused(faces, tmp_path):
    path = write(tmp_path / "cut.mov", faces)  # the table of mov is at the end
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(kf.UserError, match=r"Cannot read .*cut\.mov.*table at its end"):
        open_source(path).entries()


@pytest.mark.parametrize("content", [b"", b"<html>quota</html>", b"\0" * 5000])
def test_what_is_no_video_is_refused(content, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(kf.UserError, match=r"Cannot read .*clip\.mp4' as a video"):
        open_source(path).entries()


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(kf.UserError, match="has no video in it"):
        open_source(path).entries()


def test_a_video_without_frames_is_refused(faces, tmp_path):
    path = write(tmp_path / "none.mp4", faces[:3])
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(kf.UserError, match="holds no frame"):
        open_source(path).entries()


def test_frames_that_have_gone_are_bad_pictures(faces, tmp_path):
    path = write(tmp_path / "clip.mp4", faces[:8])
    source = open_source(path)
    assert len(source.entries()) == 8
    write(path, faces[:5])
    found = list(source.pictures())
    assert [isinstance(pixels, BadPicture) for _, pixels in found] == [False] * 5 + [True] * 3


def test_without_pyav_it_says_what_to_install(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(kf.UserError, match=r"pip install 'keras-faces\[video\]'"):
        open_source(f"video:{clip}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("every=0", "every must be a whole number of 1 or more. Received: '0'"),
        ("every=1.5", "every"),
        ("every=often", "'often'"),
        ("similar=-1", "similar must be a number of 0"),
        ("similar=nan", "similar"),
        ("test=1.5", "share below 1 or a whole number"),
        ("test=inf", "test"),
        ("gap=-1", "gap"),
        ("train=1.5", "train must be a whole number of 0 or more"),
        ("faces=some", "way to take faces named 'some'"),
        ("fps=3", "does not know 'fps=3'"),
    ],
)
def test_options_that_make_no_sense_are_refused(clip, query, message):
    with pytest.raises(kf.UserError, match=message):
        open_source(f"video:{clip}?{query}")


# ---------------------------------------------------------------------------------------------
# Folders of videos


def test_a_folder_of_videos_is_one_source(faces, tmp_path):
    for name, first in (("b2.mp4", 0), ("b10.webm", 10), ("a.mov", 20)):
        write(tmp_path / name, faces[first : first + 10])
    (tmp_path / "broken.mp4").write_bytes(b"none")
    (tmp_path / "notes.txt").write_text("none")
    source = open_source(f"video:{tmp_path}")
    with pytest.warns(UserWarning, match=r"broken\.mp4"):
        names = [entry.name for entry in source.entries()]
    assert names == [
        f"{file}/{n:06d}" for file in ("a.mov", "b2.mp4", "b10.webm") for n in range(10)
    ]
    splits = [entry.split for entry in source.entries()]
    assert splits.count("test") == 3  # one of each
    frames = taken(source, 25)
    assert list(frames) == names[25:]
    assert all(differs(p, faces[10 + int(n[-6:])]) < 8 for n, p in frames.items())


def test_folders_without_a_usable_video_are_refused(tmp_path):
    with pytest.raises(kf.UserError, match=r"No video in .*\.mp4"):
        open_source(f"video:{tmp_path}")
    (tmp_path / "broken.mp4").write_bytes(b"none")
    with pytest.raises(kf.UserError, match=r"No video in .* can be used.*broken\.mp4"):
        open_source(f"video:{tmp_path}").entries()
    with pytest.raises(kf.UserError, match="Check the path"):
        open_source(f"video:{tmp_path / 'nowhere'}")


# ---------------------------------------------------------------------------------------------
# Faces


LANDMARKS = importlib.util.find_spec("face_recognition_models")
needs_landmarks = pytest.mark.skipif(not LANDMARKS, reason="needs the extra identity")


@pytest.fixture(scope="session")
def people(orl_path, tmp_path_factory) -> Path:
    """Ten frames of 480x360 pixels, every second one with a face in another place."""
    frames = []
    for number in range(10):
        frame = np.full((360, 480, 3), 90 + 10 * number, np.uint8)
        if number % 2:
            with Image.open(orl_path / f"s{number}" / "1.pgm") as image:
                face = colour(np.asarray(image.resize((184, 224))))
            left = 20 + 25 * number
            frame[60:284, left : left + 184] = face
        frames.append(frame)
    return write(tmp_path_factory.mktemp("people") / "people.mp4", frames)


@needs_landmarks
def test_faces_are_cut_out_of_frames_that_show_one(people):
    source = open_source(f"video:{people}?faces=found")
    assert [entry.name for entry in source.entries()] == [f"{n:06d}" for n in (1, 3, 5, 7, 9)]
    assert "faces: 5 of 10 pictures, found; none in 5" in source.remarks()
    frames = taken(open_source(f"video:{people}"))
    for entry, picture in source.pictures():
        pixels = picture.cut_out()[0]
        assert pixels.shape[0] == pixels.shape[1]
        number = int(entry.name)
        left, _, right, _ = picture.face.box
        assert abs((left + right) / 2 - (20 + 25 * number + 92)) < 45
        x, y = np.round(np.reshape(picture.face.eyes, (2, 2)).mean(0)).astype(int)
        at = len(pixels) // 2, round(EYES[0][1] * len(pixels))
        near = frames[entry.name][y - 2 : y + 3, x - 2 : x + 3].astype(int)
        assert np.abs(near - pixels[at[1], at[0]]).min() < 20
    again = taken(open_source(source.address))
    assert list(again) == [entry.name for entry in source.entries()]


@needs_landmarks
def test_a_video_without_faces_is_refused_where_faces_are_asked_for(tmp_path):
    frames = [np.full((120, 160, 3), 10 * n, np.uint8) for n in range(10)]
    path = write(tmp_path / "sky.mp4", frames)
    with pytest.raises(kf.UserError, match=r"None of the 10 pictures .*shows a face.*faces=found"):
        open_source(f"video:{path}?faces=found").entries()


# ---------------------------------------------------------------------------------------------
# Aligned faces

# Degrees counterclockwise, pixels across and down, and how much larger than 184x224.
POSES = [
    (-25, -70, -25, 0.9),
    (-15, 60, 20, 1.0),
    (-8, -90, 10, 1.1),
    (0, 0, 0, 1.0),
    (8, 95, -30, 0.8),
    (15, -50, 25, 1.1),
    (25, 65, 10, 0.9),
]
EYES = ((0.39, 0.514), (0.61, 0.514))  # of CelebA's central square


def posed(face: Image.Image, degrees: float, across: int, down: int, scale: float) -> np.ndarray:
    """A frame of 640x480 pixels with a face in it."""
    face = face.convert("RGBA").resize((round(184 * scale), round(224 * scale)))
    face = face.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    frame = Image.new("RGB", (640, 480), (70, 90, 110))
    frame.paste(face, (320 + across - face.width // 2, 240 + down - face.height // 2), face)
    return np.asarray(frame)


def posing(person, orl_path, path) -> Path:
    """A video of a person in each pose, `person(number)`, and of an empty frame after each."""
    frames = []
    for number, pose in enumerate(POSES):
        with Image.open(orl_path / f"s{person(number)}" / "1.pgm") as face:
            frames.append(posed(face, *pose))
        frames.append(np.full((480, 640, 3), 60 + 10 * number, np.uint8))
    return write(path, frames)


@pytest.fixture(scope="session")
def posers(orl_path, tmp_path_factory) -> Path:
    """Seven people, each in another pose."""
    return posing(lambda n: n + 1, orl_path, tmp_path_factory.mktemp("posers") / "posers.mp4")


def eyes_in(pictures: np.ndarray) -> np.ndarray:
    """Find the eyes in pictures anew: `(count, 2 eyes, 2)`, in shares of their side."""
    dlib = pytest.importorskip("dlib")
    folder = LANDMARKS.submodule_search_locations[0]
    predict = dlib.shape_predictor(os.path.join(folder, "models", FIVE_POINTS))
    detect = dlib.get_frontal_face_detector()
    found = []
    for pixels in pictures:
        large = np.asarray(Image.fromarray(pixels).resize((512, 512)))
        (face,) = detect(large, 0)
        corners = [(point.x, point.y) for point in predict(large, face).parts()]
        found.append([np.mean(corners[2:4], 0), np.mean(corners[0:2], 0)])
    return np.array(found) / 512


@needs_landmarks
@pytest.mark.parametrize("size", [64, 128])
def test_aligned_faces_have_level_eyes_at_celebas_place(posers, size):
    turned = {}
    for faces in ("found", "aligned"):
        address = f"video:{posers}?faces={faces}"
        stream = kf.data.open_faces(address, size, 4, "all", progress=False)
        eyes = eyes_in(stream.cache.read(range(len(POSES))))
        across, down = (eyes[:, 1] - eyes[:, 0]).T
        turned[faces] = np.degrees(np.arctan2(down, across)), eyes * size
    degrees, places = turned["aligned"]
    # How many threads encode the video moves what dlib finds by some tenths of a degree.
    assert np.abs(degrees).max() < 4
    assert np.abs(places / size - EYES).max() < 1.6 / 64  # dlib's eyes are others' middles
    degrees, places = turned["found"]
    assert np.abs(degrees).max() > 20
    assert np.ptp(places, axis=0).max() > size / 12


@needs_landmarks
def test_the_same_face_in_any_pose_gives_the_same_picture(orl_path, tmp_path):
    path = posing(lambda n: 4, orl_path, tmp_path / "one.mp4")
    alike = {}
    for faces in ("found", "aligned"):
        stream = kf.data.open_faces(f"video:{path}?faces={faces}", 64, 4, "all", progress=False)
        inner = stream.cache.read(range(len(POSES)))[:, 22:48, 22:42].reshape(len(POSES), -1)
        alike[faces] = np.corrcoef(inner).min()
    assert alike["aligned"] > 0.95
    assert alike["found"] < 0.5
    # Each is as large as in its frame: nothing is lost before the crop shrinks it.
    sides = stream.cache.raw_sizes[:, 0] / [scale for *_, scale in POSES]
    assert sides.max() / sides.min() < 1.03


@needs_landmarks
def test_aligned_faces_come_from_frames_that_show_one_and_are_remembered(
    posers, own_cache, monkeypatch
):
    source = open_source(f"video:{posers}?faces=aligned")
    names = [entry.name for entry in source.entries()]
    assert names == [f"{2 * n:06d}" for n in range(len(POSES))]
    assert f"none in {len(POSES)}" in source.summary()
    assert source.address.endswith("?faces=aligned")
    pictures = taken(source)
    assert all(pixels.shape[0] == pixels.shape[1] for pixels in pictures.values())
    monkeypatch.setattr(photographs, "find_faces", None)  # it is not asked again
    again = taken(open_source(source.address), 3)
    assert list(again) == names[3:]
    assert all(np.array_equal(again[name], pictures[name]) for name in again)
    listings = {open_source(f"video:{posers}?faces={f}").listing() for f in ("found", "aligned")}
    assert len(listings) == 2


@needs_landmarks
def test_a_video_without_faces_to_align_is_refused(tmp_path):
    path = write(tmp_path / "sky.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 2)
    with pytest.raises(kf.UserError, match=r"None of the 1 pictures .*leave faces=aligned out"):
        open_source(f"video:{path}?faces=aligned").entries()


@needs_landmarks
def test_faces_of_large_and_of_small_frames_are_aligned(orl_path, tmp_path):
    with Image.open(orl_path / "s5" / "1.pgm") as face:
        frame = Image.fromarray(posed(face, 17, 30, 10, 1.0))
    for factor in (0.35, 3):  # for the detector the one is enlarged, the other shrunk
        pixels = np.asarray(frame.resize((round(320 * factor) * 2, round(240 * factor) * 2)))
        path = write(tmp_path / f"{factor}.mp4", [pixels])
        stream = kf.data.open_faces(f"video:{path}?faces=aligned", 96, 1, "all", progress=False)
        assert np.abs(eyes_in(stream.cache.read([0])) - EYES).max() * 96 < 2


@needs_landmarks
@pytest.mark.parametrize(("across", "down"), [(-215, -115), (215, 115)])
def test_faces_in_the_corners_of_frames_are_aligned(across, down, orl_path, tmp_path):
    with Image.open(orl_path / "s5" / "1.pgm") as face:
        path = write(tmp_path / "corner.mp4", [posed(face, 10, across, down, 1.0)])
    stream = kf.data.open_faces(f"video:{path}?faces=aligned", 96, 1, "all", progress=False)
    assert np.abs(eyes_in(stream.cache.read([0])) - EYES).max() * 96 < 2


def celeba_like(channels: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, channels))
    return noise.astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_eyes_where_celebas_are_leave_its_central_square_as_it_is(channels):
    pixels = celeba_like(channels)
    eyes = (69.5, 111.5, 108.5, 111.5)  # the middles of the pixels (69, 111) and (108, 111)
    assert np.array_equal(align(pixels, eyes), pixels[20:198])


def test_a_turned_picture_is_turned_back():
    pixels = celeba_like(3)
    turned = np.rot90(pixels)  # counterclockwise: (x, y) goes to (y, 178 - x)
    eyes = (111.5, 178 - 69.5, 111.5, 178 - 108.5)
    assert np.array_equal(align(turned, eyes), pixels[20:198])


def test_faces_at_the_edge_are_filled_up_with_its_pixels():
    pixels = celeba_like(3)
    left, down = 60, 40  # cut off, so that the square begins outside
    cut = pixels[down:, left:]
    eyes = (69.5 - left, 111.5 - down, 108.5 - left, 111.5 - down)
    square = align(cut, eyes)
    assert np.array_equal(square[20:, 60:], pixels[40:198, 60:])
    assert (square[20:, :60] == pixels[40:198, 60:61]).all()
    assert (square[:20, 60:] == pixels[40:41, 60:]).all()
    assert (square[:20, :60] == pixels[40, 60]).all()


def test_without_the_detector_it_says_what_to_install_before_decoding(clip, monkeypatch):
    real = importlib.util.find_spec
    without = lambda name, *rest: None if name == "mtcnn" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    monkeypatch.setattr(video_module, "Video", None)
    with pytest.raises(kf.UserError, match=r"needs MTCNN.*pip install mtcnn"):
        open_source(f"video:{clip}?faces=aligned")


# ---------------------------------------------------------------------------------------------
# As training sees them


def test_frames_are_loaded_as_any_faces(clip, faces):
    streams = {
        split: kf.data.open_faces(f"video:{clip}?test=10", 96, 5, split, progress=False)
        for split in ("train", "test", "all")
    }
    assert {split: stream.count for split, stream in streams.items()} == {
        "train": 27,
        "test": 10,
        "all": 40,
    }
    # The frames are 96x112: the centre crop takes the middle 96 rows.
    for picture, face in zip(streams["all"].cache.read(range(40)), faces, strict=True):
        assert differs(picture, face[8:104]) < 6
