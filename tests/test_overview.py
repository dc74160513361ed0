"""`keras-faces data info|check|prepare` and the picture of the crops, as a user sees them."""

import re

import numpy as np
import pytest
from layouts import celeba_folder, celeba_texts, write
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data import decode, names
from keras_faces.data.overview import crops_picture


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FACES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def said(capsys, *arguments) -> list[str]:
    assert main([str(argument) for argument in arguments]) in (0, None)
    return capsys.readouterr().out.splitlines()


def noise(seed, shape=(40, 40)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_info_says_what_orl_holds_and_shows_it(capsys, tmp_path):
    lines = said(capsys, "data", "info", "orl", "--out", "sheet.png", "--count", 20)
    assert lines[0] == "400 good pictures in 'orl', 0 bad"
    assert "sizes: all 92x112 pixels" in lines
    assert "people: 40, with 10 pictures each (labels='identity')" in lines
    [attributes] = [line for line in lines if line.startswith("attributes")]
    # Of the shipped table: 119, 179, 100 and 40 of 400.
    assert attributes.endswith("glasses 30%, smiling 45%, beard 25%, woman 10%")
    assert any("AT&T" in line for line in lines)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * 66 + 2, 4 * 66 + 2)  # 20 faces in about a square


def test_info_tells_celebas_splits_people_and_what_does_not_match(capsys, tmp_path):
    folder = celeba_folder(tmp_path / "celeba")
    lines = said(capsys, "data", "info", f"celeba:{folder}")
    assert any(line.startswith("people: ") for line in lines)
    assert "splits of its own: train 6, validation 2, test 4" in lines
    assert any(line.startswith("attributes: 40 ") for line in lines)
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    lines = said(capsys, "data", "info", f"celeba:{folder}")
    assert "splits of its own: train 5, validation 2, test 4" in lines
    [line] = [line for line in lines if "list_attr_celeba" in line]
    assert "12 rows; 1 rows without a picture, such as 000003.jpg" in line


def test_check_names_bad_copied_small_and_blank_pictures(capsys, picture_folder):
    good = {f"{n}.png": noise(n, (100, 90)) for n in range(6)}
    folder = picture_folder(
        {
            **good,
            "copy.png": good["3.png"],
            "again.png": good["3.png"],
            "grey.png": np.full((90, 100), 77, np.uint8),
            "tiny.png": noise(9, (20, 30)),
            "broken.jpg": b"\xff\xd8\xff not a picture",
        }
    )
    lines = said(capsys, "data", "check", folder)
    assert lines[0] == f"10 good pictures in {str(folder)!r}, 1 bad"
    assert any(re.match(r"bad: broken\.jpg: ", line) for line in lines)
    assert "copies: 3.png is the same file as again.png, copy.png" in lines
    assert any(line.startswith("small: tiny.png: 30x20 pixels") for line in lines)
    assert "blank: grey.png: a single grey or colour" in lines
    assert len([line for line in lines if line.split(":")[0] in ("bad", "copies", "small")]) == 3


def test_check_names_what_the_source_warns_of_however_often_it_is_asked(capsys, picture_folder):
    folder = picture_folder(
        {f"{side}/{n}.png": noise(n) for side in ("photos", "sketches") for n in range(4)}
    )
    (folder / "sketches" / "2.png").unlink()
    for _ in range(2):
        for action in ("check", "info", "prepare"):
            lines = said(capsys, "data", action, f"pairs:{folder}")
            assert any(line.startswith("1 of 4 photos and 0 of 3 sketches") for line in lines)
            assert "  photos/2.png" in lines
            assert not any(line.startswith("nothing damaged") for line in lines)


def test_check_tells_which_annotations_and_pictures_do_not_match(capsys, tmp_path):
    folder = celeba_folder(tmp_path / "celeba")
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    partition = folder / "list_eval_partition.txt"
    partition.write_bytes(b"".join(partition.read_bytes().splitlines(keepends=True)[:-1]))
    for _ in range(2):
        lines = said(capsys, "data", "check", f"celeba:{folder}")
        [line] = [line for line in lines if "list_attr_celeba.txt: 12 rows" in line]
        assert line.endswith("1 rows without a picture, such as 000003.jpg")
        [line] = [line for line in lines if line.endswith("'img_align_celeba/202599.jpg'.")]
        assert line.startswith("1 of 11 pictures have no row in ")


def test_check_and_info_count_pictures_without_attributes_and_rows_without_pictures(
    capsys, picture_folder
):
    folder = picture_folder({f"{n}.png": noise(n) for n in range(3)})
    write({"attributes.csv": b"file,glasses\r\n0.png,1\r\n8.png,0\r\n9.png,0\r\n"}, folder)
    for action in ("check", "info"):
        lines = said(capsys, "data", action, folder)
        assert "unmatched: 2 pictures have no attributes" in lines
        assert "unmatched: 2 rows of attributes are of pictures not there" in lines
        assert not any(line.startswith("nothing damaged") for line in lines)


def test_check_of_faultless_pictures_says_so(capsys):
    assert said(capsys, "data", "check", "orl")[-1].startswith("nothing damaged")


def test_what_is_prepared_is_not_decoded_by_training(capsys, orl_folder, monkeypatch):
    [line] = said(capsys, "data", "prepare", orl_folder, "--image-size", 24, "--crop", "squash")
    assert line.startswith("12 pictures of ")
    assert "at 24x24x1, crop squash" in line

    def refuse(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(kf.data.cache.decode, "decode_with_size", refuse)
    assert kf.data.open_faces(orl_folder, 24, 4, "all", crop="squash", progress=False).count == 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "orl", "--out", "sheet"], "for --out. Expected a picture"),
        (["prepare", "orl", "--image-size", "0"], "--image-size must be 1 or more"),
        (["prepare", "orl", "--crop", "centre"], '"centre" for --crop.*"center"'),
        (["info", "celebb:here"], "no kind of source named 'celebb'.*'celeba'"),
        (["check", "celeba"], "(?s)KERAS_FACES_DATA.*mmlab.*SHA-256"),
        (["check", "video:clip.mp4?evry=2"], "does not know 'evry=2'.*every"),
        (["info", "orl", "--sise", "3"], "--sise"),
    ],
)
def test_mistakes_are_told_with_what_to_do(capsys, arguments, says, monkeypatch):
    monkeypatch.delenv("KERAS_FACES_DATA", raising=False)
    assert main(["data", *arguments])
    assert re.search(says, capsys.readouterr().err)


def test_the_picture_of_the_crops_shows_every_one(capsys, tmp_path):
    lines = said(capsys, "list", "crops", "--picture", "crops.png")
    assert {line.split()[0] for line in lines if line} >= set(kf.data.CROPS)
    with Image.open(tmp_path / "crops.png") as picture:
        columns, rows = 4, -(-len(kf.data.CROPS) // 4)
        assert picture.size == (columns * (178 + 8), rows * (218 + 64 + 34))
    face = Image.fromarray(noise(0, (218, 178)))
    whole = np.asarray(crops_picture(face))
    red = (whole == [255, 0, 0]).all(-1)
    assert red.any()
    # A picture that some crops cannot take still shows the others.
    assert crops_picture(Image.fromarray(noise(1, (70, 60)))).size[0] > 0


def test_an_unreadable_picture_for_the_crops_is_explained(capsys, tmp_path):
    write(celeba_texts(), tmp_path)
    assert main(["list", "crops", "--picture", "x.png", "--image", "list_attr_celeba.txt"])
    assert "Cannot read 'list_attr_celeba.txt' as a picture" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_what_is_passed_over_is_counted_by_kind(capsys, picture_folder, monkeypatch):
    monkeypatch.setattr(names, "_suffixes", lambda: decode.SUFFIXES)  # as without pillow-heif
    folder = picture_folder(
        {
            **{f"IMG_{n}.HEIC": b"0000ftypheic" for n in range(10)},
            "a.png": noise(1),
            "b.jpg": noise(2),
            "clip.mov": b"a film",
            "LICENSE": b"Py words",
            ".DS_Store": b"litter",
            "attributes.csv": b"file,glasses\na.png,1\nb.jpg,0\n",
        }
    )
    expected = (
        "passed over: 10 .HEIC (pip install 'keras-faces[heic]'), "
        "1 no suffix, 1 .mov (a source of its own, as video:FILE)"
    )
    for command in ("info", "check"):
        lines = said(capsys, "data", command, folder)
        assert [line for line in lines if line.startswith("passed over")] == [expected]
