"""Folders that are splits, classes or shards, and not people."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.data.sources import LEFT_OUT, as_recorded, open_source
from keras_faces.data.sources.files import entries_of, read_folders
from keras_faces.data.splits import split_of_folder
from keras_faces.metrics.held_out import held_out_parts
from keras_faces.runs import Run


def names_in(counts: dict[str, int]) -> list[str]:
    """Names of pictures, so many in each folder."""
    return [f"{folder}/{n}.png".lstrip("/") for folder in counts for n in range(counts[folder])]


@pytest.fixture
def made(picture_folder):
    """Make a folder with so many pictures in each of its folders, each another."""

    def make(counts: dict[str, int], name: str = "faces") -> Path:
        rng = np.random.default_rng(0)
        names = names_in(counts)
        return picture_folder({n: rng.integers(0, 256, (8, 8), np.uint8) for n in names}, name)

    return make


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def opened(source, split="train", **arguments):
    return kf.data.open_faces(source, 8, 1, split, progress=False, **arguments)


def in_split(source, split, **arguments) -> list[str]:
    stream = opened(source, split, **arguments)
    return [stream.cache.name(index) for index in stream.indices]


# ---------------------------------------------------------------------------------------------
# Splits

SPELLINGS = {
    "train": "train Train TRAIN training trn train_set train-images trainset train2017",
    "validation": "val Valid VALIDATION dev val_set valid-images dev2",
    "test": "test Testing TEST tst eval Evaluation test_set test-images TestImages my.test",
}


@pytest.mark.parametrize(
    ("split", "name"), [(split, n) for split in SPELLINGS for n in SPELLINGS[split].split()]
)
def test_folders_are_known_as_splits_in_any_usual_spelling(split, name):
    assert split_of_folder(name) == split


@pytest.mark.parametrize(
    "name", ["", "anna", "trained", "trains", "testa", "Valerie", "devil", "s1", "2017", "female"]
)
def test_other_folders_are_no_splits(name):
    assert split_of_folder(name) is None


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("top", ["", "photos/", "data/photos/"])
def test_a_folder_of_20_for_training_and_4_for_testing_trains_on_the_20(made, top, packed):
    folder = made({f"{top}train": 20, f"{top}test": 4})
    source = zipped(folder) if packed else folder
    assert len(in_split(source, "train")) == 20
    assert all("/test/" in f"/{name}" for name in in_split(source, "test"))
    assert {entry.identity for entry in open_source(source).entries()} == {None}
    [remark] = open_source(source).remarks()
    assert "train (20)" in remark and "test (4)" in remark and "splits" in remark


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([(s, n) for s in SPELLINGS for n in SPELLINGS[s].split()[:8]]),
            st.integers(1, 9),
        ),
        max_size=4,
        unique_by=lambda one: one[0][1].lower(),
    ),
    st.sampled_from(["", "photos/", "a/b/"]),
    st.sampled_from(["", "/anna", "/old/bert"]),
)
def test_every_picture_is_in_the_split_its_folder_says(others, top, below):
    folders = [(("train", "my train"), 3), (("test", "my test"), 2), *others]
    counts, expected = {}, {}
    for (split, name), count in folders:
        counts[f"{top}{name}{below}"] = count
        expected |= dict.fromkeys(names_in({f"{top}{name}{below}": count}), split)
    names = names_in(counts)
    reading = read_folders(names)
    assert {entry.name: entry.split for entry in entries_of(names, reading)} == expected
    assert not reading.left_out


def test_people_within_splits_are_both(made):
    folder = made({"train/anna": 3, "train/bert": 2, "test/anna": 2, "test/carl": 1})
    entries = {entry.name: entry for entry in open_source(folder).entries()}
    assert entries["train/anna/0.png"][1:] == ("anna", "train")
    assert entries["test/anna/1.png"][1:] == ("anna", "test")
    assert kf.data.labels_of(folder) == ("identity", ["anna", "carl", "bert"])
    assert len(in_split(folder, "train", people="folders")) == 5


def test_splits_within_people_are_both():
    names = names_in({f"p{n}/{split}": 2 for n in range(3) for split in ("train", "test")})
    entries = entries_of(names, read_folders(names))
    assert {(e.identity, e.split) for e in entries} == {
        (f"p{n}", split) for n in range(3) for split in ("train", "test")
    }


def test_pictures_beside_the_splits_are_left_out_and_counted(made):
    folder = made({"train": 8, "test": 3, "": 1, "unlabelled": 2})
    with pytest.warns(
        UserWarning, match=r"^3 pictures lie in none of the folders .*test .3., train .8."
    ):
        entries = open_source(folder).entries()
    assert [e.name for e in entries if e.split == LEFT_OUT] == [
        "0.png",
        "unlabelled/0.png",
        "unlabelled/1.png",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(in_split(folder, "train")) == 8 and len(in_split(folder, "all")) == 14


@pytest.mark.parametrize(
    "counts",
    [
        {"train": 5},
        {"train": 5, "training": 3},
        {"val": 5, "test": 5},
        {"train": 2, "test": 2, **{f"p{n}": 2 for n in range(12)}},
        {"p/train": 1, "p/test": 1, "a": 4, "b": 4},
    ],
    ids=["train alone", "one split twice", "nothing to train on", "people", "within one person"],
)
def test_what_hardly_is_a_split_is_none(counts):
    names = names_in(counts)
    assert {entry.split for entry in entries_of(names, read_folders(names))} == {None}


# ---------------------------------------------------------------------------------------------
# People, classes, shards


@pytest.mark.parametrize(
    "classes",
    [("female", "male"), ("real", "fake"), ("smiling", "not_smiling"), tuple("abcdefghi")],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_few_classes_are_in_both_splits(made, classes, packed):
    folder = made(dict.fromkeys(classes, 30))
    source = zipped(folder) if packed else folder
    learnt = {name.rpartition("/")[0].rpartition("/")[2] for name in in_split(source, "train")}
    assert learnt == set(classes)
    assert len(in_split(source, "test")) == 3 * len(classes)
    _, labels = kf.data.labels_of(source)
    assert {label.rpartition("/")[2] for label in labels} == set(classes)
    [remark] = open_source(source).remarks()
    assert "probably no people" in remark and "--people folders" in remark and classes[0] in remark


def test_people_are_held_out_whole_where_they_are_many(made):
    folder = made({f"person {n}": 3 for n in range(20)})
    train, test = in_split(folder, "train"), in_split(folder, "test")
    assert (len(train), len(test)) == (54, 6)
    assert not {n.split("/")[0] for n in train} & {n.split("/")[0] for n in test}
    [remark] = open_source(folder).remarks()
    assert "20 folders, each taken for one person" in remark and "--people none" in remark


@pytest.mark.parametrize(
    ("counts", "people"),
    [
        ({f"{n:05d}": 1000 for n in range(12)}, "none"),  # shards
        ({f"{n:02d}": 100 for n in range(3)}, "none"),
        ({f"top/{1000 * n:05d}": 500 for n in range(70)}, "none"),
        ({f"{n:07d}": 46 for n in range(100)}, "folders"),  # as CASIA-WebFace numbers people
        ({f"{n}": 10 for n in range(1, 41)}, "folders"),
        ({"0": 500, "1": 500}, "classes"),
        ({f"album {n}": 1500 for n in range(12)}, "classes"),
        ({"anna": 100, **{f"p{n}": 5 for n in range(20)}}, "classes"),
        ({f"p{n}": 4 for n in range(9)}, "classes"),
        ({f"p{n}": 4 for n in range(10)}, "folders"),
        ({"": 30}, "none"),
        ({"all": 30}, "none"),
        ({"": 1, **{f"p{n}": 4 for n in range(10)}}, "none"),
    ],
)
def test_folders_are_taken_for_what_their_number_sizes_and_names_suggest(counts, people):
    names = names_in(counts)
    reading = read_folders(names)
    assert reading.people == people
    known = {entry.identity for entry in entries_of(names, reading)} - {None}
    assert known == (set() if people == "none" else set(counts))


def test_a_picture_beside_the_folders_of_people_is_told(made):
    folder = made({"": 1, **{f"p{n}": 2 for n in range(12)}})
    [remark] = open_source(folder).remarks()
    assert "people: not known" in remark and "1 of 25 are in none" in remark


@pytest.mark.parametrize(
    ("people", "known", "in_both"),
    [("folders", True, False), ("classes", True, True), ("none", False, True)],
)
def test_people_says_what_folders_are(made, people, known, in_both):
    for counts in ({"a": 20, "b": 20}, {f"p{n}": 20 for n in range(12)}):
        folder = made(counts, f"faces-{len(counts)}")
        source = open_source(folder, people)
        assert all((entry.identity is not None) == known for entry in source.entries())
        sides = ({n.split("/")[0] for n in in_split(source, s)} for s in ("train", "test"))
        assert bool(set.intersection(*sides)) == in_both
        assert not source.remarks()
        assert in_split(source.address, "test") == in_split(source, "test")


@pytest.mark.parametrize(("people", "what"), [("folders", "whole people"), (None, "pictures")])
def test_classifiers_hold_out_what_splits_hold_out(made, people, what):
    stream = opened(made({"female": 20, "male": 20}), "all", people=people)
    assert held_out_parts(stream, 0).what == what


@pytest.mark.parametrize("people", ["folders", "classes"])
def test_people_without_folders_is_refused(made, people):
    with pytest.raises(kf.UserError, match=f"people='{people}' needs two folders or more"):
        open_source(made({"": 4}), people)


def test_people_is_refused_where_it_means_nothing(made):
    with pytest.raises(kf.UserError, match=r"'orl' knows its people by itself"):
        open_source("orl", "none")
    with pytest.raises(kf.UserError, match=r"no value of people named 'folder'.*'folders'"):
        open_source(made({"a": 2, "b": 2}), "folder")


# ---------------------------------------------------------------------------------------------
# What is recorded opens the same again


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["train", "test", "train/a", "test/a", "a", "b", "01", "02", "x/val", ""]),
        st.integers(1, 30),
        min_size=1,
    ),
    st.sampled_from([None, "folders", "classes", "none"]),
    st.sampled_from([None, "folders", "none"]),
)
def test_the_options_in_an_address_read_the_same_again(counts, people, splits):
    names = names_in(counts)
    reading = read_folders(names, people, splits)
    depth = "none" if reading.depth is None else "folders"
    again = read_folders(names, reading.people, depth)
    assert entries_of(names, again) == entries_of(names, reading)
    if reading.plain:
        plain = read_folders(names, "folders", "none")
        assert entries_of(names, plain) == entries_of(names, reading)


def test_the_address_of_a_folder_whose_name_has_a_question_mark_opens_it(made):
    folder = made({"a": 3, "b": 3}, "who?")
    address = open_source(folder).address
    assert address.startswith(f"folder:{folder}?") and open_source(address).path == folder


def train(data, run, **arguments):
    lines = []
    small = {"image_size": 32, "filters": 2, "latent_dim": 4, "hidden_units": 8, "batch_size": 4}
    kf.train("vae", data, run, lines.append, count=0, **{**small, "epochs": 2, **arguments})
    return "\n".join(lines)


def test_a_resumed_run_learns_from_the_pictures_with_which_it_began(made, tmp_path):
    folder = made({"female": 12, "male": 10, "other": 8})
    said = train(folder, tmp_path / "run")
    assert "probably no people" in said
    config = Run(tmp_path / "run").config()
    assert config["data"]["source"] == f"folder:{folder}?people=classes&splits=none"
    assert config["data"]["pictures"] == 27
    kf.resume(tmp_path / "run", print_fn=lambda line: None)
    moved = folder.rename(tmp_path / "moved")
    kf.resume(tmp_path / "run", print_fn=lambda line: None, data=moved)
    assert Run(tmp_path / "run").config()["data"]["source"].startswith(f"folder:{moved}?")
    assert kf.TrainedModel(tmp_path / "run").faces().count == 27


def test_in_a_run_of_before_every_folder_is_a_person(made, tmp_path):
    folder = made({"train": 20, "test": 4})
    train(f"folder:{folder}?people=folders&splits=none", tmp_path / "run")
    config = Run(tmp_path / "run").config()
    assert config["data"]["pictures"] == 4
    config["data"]["source"] = str(folder)  # as all were recorded
    Run(tmp_path / "run").write_config(config)
    kf.resume(tmp_path / "run", print_fn=lambda line: None)
    assert kf.TrainedModel(tmp_path / "run").faces().count == 4
    train_again = ["train", "vae", "--config", str(tmp_path / "run" / "config.json")]
    assert main([*train_again, "--run", str(tmp_path / "again")]) == 0
    again = Run(tmp_path / "again").config()["data"]
    assert again["fingerprint"] == config["data"]["fingerprint"] and again["pictures"] == 4
    moved = folder.rename(tmp_path / "moved")
    kf.resume(tmp_path / "run", print_fn=lambda line: None, data=moved)


def test_of_several_sources_each_has_folders_of_its_own(made):
    classes = made({"female": 20, "male": 20}, "a")
    people = made({f"p{n}": 2 for n in range(12)}, "b")
    split = made({"train": 5, "test": 3}, "c")
    source = open_source([classes, people, split])
    assert [line[:12] for line in source.taken_for()] == [
        "1/: classes:",
        "2/: people: ",
        "3/: splits: ",
    ]
    for again in (open_source(source.address), open_source(as_recorded(source.address))):
        assert list(again.entries()) == list(source.entries())
    sides = ({n.rpartition("/")[0] for n in in_split(source, s)} for s in ("train", "test"))
    assert set.intersection(*sides) == {"1/female", "1/male"}
    whole = open_source([classes, "orl"], "folders")
    sides = ({n.rpartition("/")[0] for n in in_split(whole, s)} for s in ("train", "test"))
    assert not set.intersection(*sides)
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in (classes, people, split)]
    again = open_source(as_recorded(source.address, moved))
    assert list(again.entries()) == list(source.entries())
    assert as_recorded(source.address, moved[:1]) == moved[:1]
    with pytest.raises(kf.UserError, match="knows its people by itself"):
        open_source(["orl", "orl"][:1], "none")


@pytest.mark.parametrize("address", ["orl", "celeba:/data/celeba?labelled=yes", "/not/there"])
def test_what_has_no_folders_to_read_is_opened_as_it_was_recorded(address):
    assert as_recorded(address) == address
    assert as_recorded(address, "/there/now") == "/there/now"


def test_the_commands_take_people(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = str(made({"female": 10, "male": 10}))
    assert main(["data", "info", folder]) == 0
    told = capsys.readouterr().out
    assert "classes: 2, with 10 pictures each" in told and "--people folders" in told
    assert main(["data", "check", folder, "--people", "folders"]) == 0
    assert "people: 2, with 10 pictures each" in capsys.readouterr().out
    assert main(["data", "prepare", folder, "--people", "person"]) == 2
    assert "folders" in capsys.readouterr().err
    assert main(["data", "info", "orl", "--people", "none"]) == 2
    assert "knows its people by itself" in capsys.readouterr().err
    small = "--image-size 32 --filters 2 --latent-dim 4 --hidden-units 8 --batch-size 4 --steps 1"
    words = ["train", "vae", "--data", folder, "--people", "none", "--run", "run", "--count", "0"]
    assert main([*words, *small.split()]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["source"] == f"folder:{folder}?people=none&splits=none"
    capsys.readouterr()
    assert main(["evaluate", "run", "--people", "none"]) == 2
    assert "Give --data as well" in capsys.readouterr().err
