"""Data sets of TensorFlow Datasets: read without a download, and builders of what it lacks."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import keras_faces as kf
import keras_faces.data.builders
from keras_faces.data.builders import casia as casia_builder
from keras_faces.data.decode import BadPicture
from keras_faces.data.sources import LEFT_OUT, open_source


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def numbered(number: int, size=(12, 10)) -> np.ndarray:
    return np.full((*size, 3), number, np.uint8)


class TinyFaces(tfds.core.GeneratorBasedBuilder):
    """Splits, attributes and people as `celeb_a` and others have them, a few pictures each."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="splits"),
        tfds.core.BuilderConfig(name="kinds"),
        tfds.core.BuilderConfig(name="two"),
        tfds.core.BuilderConfig(name="none"),
    ]

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        features = {
            "splits": {
                "image": image,
                "attributes": {"Smiling": np.bool_, "Bald": np.bool_},
                "label": tfds.features.Text(),
            },
            "kinds": {"image": image, "label": tfds.features.ClassLabel(names=["sad", "glad"])},
            "two": {
                "left": image,
                "right": image,
                "subject": tfds.features.ClassLabel(num_classes=3),
            },
            "none": {"text": tfds.features.Text()},
        }[self.builder_config.name]
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "splits":
            sizes = {"test": (6, 8), "train": (0, 4), "validation": (4, 6), "unlabeled": (8, 9)}
        else:
            sizes = {"train": (0, 6)}
        return {name: self._generate_examples(*ends) for name, ends in sizes.items()}

    def _generate_examples(self, first, end):
        for n in range(first, end):
            yield (
                n,
                {
                    "splits": {
                        "image": numbered(n),
                        "attributes": {"Smiling": bool(n & 1), "Bald": bool(n & 2)},
                        "label": f"person {n % 3}",
                    },
                    "kinds": {"image": numbered(n), "label": n % 2},
                    "two": {"left": numbered(n), "right": numbered(100 + n), "subject": n % 3},
                    "none": {"text": "words"},
                }[self.builder_config.name],
            )


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    for config in ("splits", "kinds", "two", "none"):
        tfds.builder(f"tiny_faces/{config}", data_dir=folder).download_and_prepare()
    tfds.builder("orl_faces", data_dir=folder).download_and_prepare()
    return folder


def opened(name: str, data_dir: Path, query: str = ""):
    return open_source(f"tfds:{name}?data_dir={data_dir}{query}")


def taken(source, start=0):
    return [(entry, int(pixels(data)[0, 0, 0])) for entry, data in source.pictures(start)]


# ---------------------------------------------------------------------------------------------
# ORL


def test_orl_is_built_and_loaded_by_tfds_pixel_by_pixel(data_dir, orl_path):
    loaded = tfds.load("orl_faces", split="train", data_dir=data_dir, download=False)
    seen = set()
    for example in loaded.as_numpy_iterator():
        name = example["name"].decode()
        assert np.array_equal(example["image"][..., 0], pixels((orl_path / name).read_bytes()))
        assert f"s{example['identity'] + 1}" == name.split("/")[0]
        seen.add(name)
    assert len(seen) == 400


def test_orl_through_tfds_is_orl(data_dir, orl_path):
    source = opened("orl_faces", data_dir)
    entries = source.entries()
    assert (len(entries), source.sequential) == (400, True)
    attributes, known = source.attributes(), open_source("orl").attributes()
    assert sorted(attributes.names) == sorted(known.names)
    own = {}
    for file in orl_path.glob("s*/*.pgm"):
        own[pixels(file.read_bytes()).tobytes()] = file.relative_to(orl_path).as_posix()
    columns = [attributes.names.index(name) for name in known.names]
    seen = set()
    for number, (entry, data) in enumerate(source.pictures()):
        name = own[pixels(data).tobytes()]
        seen.add(name)
        assert entry == entries[number] == (f"train/{number:06d}", name.split("/")[0], None)
        assert np.array_equal(attributes.table([entry.name])[:, columns], known.table([name]))
    assert len(seen) == len(own) == 400


# ---------------------------------------------------------------------------------------------
# Splits, labels, pictures


def test_splits_people_and_attributes_are_the_data_sets_own(data_dir):
    source = opened("tiny_faces/splits", data_dir)
    found = taken(source)
    assert [entry for entry, _ in found] == list(source.entries())
    assert [entry.name for entry, _ in found] == [
        *(f"train/{n:06d}" for n in range(4)),
        *(f"validation/{n:06d}" for n in range(2)),
        *(f"test/{n:06d}" for n in range(2)),
        "unlabeled/000000",
    ]
    attributes = source.attributes()
    assert attributes.names == ("Bald", "Smiling")
    for entry, number in found:
        side = "train" if number < 4 else "validation" if number < 6 else "test"
        assert entry.split == (side if number < 8 else LEFT_OUT)
        assert entry.identity == f"person {number % 3}"
        (row,) = attributes.table([entry.name])
        assert row.tolist() == [number >> 1 & 1, number & 1]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 8, 9])
def test_pictures_go_on_from_any_entry(data_dir, start):
    source = opened("tiny_faces/splits", data_dir)
    assert taken(source, start) == taken(source)[start:]


def test_entries_are_a_sequence_that_is_made_when_asked_for(data_dir):
    entries = opened("tiny_faces/splits", data_dir).entries()
    assert [entry.name for entry in entries[3:7:2]] == ["train/000003", "validation/000001"]
    assert entries[-1].split == LEFT_OUT
    assert len(entries[2:][1:]) == 6
    with pytest.raises(IndexError):
        entries[9]


def test_one_split_alone_leaves_the_sides_open(data_dir):
    source = opened("tiny_faces/kinds", data_dir)
    assert {entry.split for entry in source.entries()} == {None}


def test_a_label_of_few_classes_names_no_people_unless_asked(data_dir):
    assert {entry.identity for entry in opened("tiny_faces/kinds", data_dir).entries()} == {None}
    asked = opened("tiny_faces/kinds", data_dir, "&identity=label")
    assert {entry.identity for entry in asked.entries()} == {"sad", "glad"}
    none = opened("tiny_faces/splits", data_dir, "&identity=no")
    assert {entry.identity for entry in none.entries()} == {None}
    assert asked.attributes() is None


def test_of_several_pictures_one_is_chosen(data_dir):
    with pytest.raises(kf.UserError, match=r"2 pictures .*left, right.*\?image=left"):
        opened("tiny_faces/two", data_dir)
    for side, first in (("left", 0), ("right", 100)):
        source = opened("tiny_faces/two", data_dir, f"&image={side}")
        assert sorted(number for _, number in taken(source)) == list(range(first, first + 6))
        assert all(entry.identity == str(number % 100 % 3) for entry, number in taken(source))
        assert taken(open_source(source.address)) == taken(source)


def test_the_folder_of_a_version_serves_as_well(data_dir):
    source = open_source(f"tfds:{data_dir / 'tiny_faces' / 'splits' / '1.2.0'}")
    named = opened("tiny_faces/splits:1.2.0", data_dir)
    assert taken(source) == taken(named)
    assert source.listing() == named.listing()
    assert source.address == named.address
    assert "tiny_faces/splits/1.2.0" in source.credit


def test_labels_are_looked_up_once(data_dir, own_cache, monkeypatch):
    before = opened("tiny_faces/splits", data_dir)
    rows = before.attributes().values

    def refuse(*arguments):
        raise AssertionError("the records were read again")

    monkeypatch.setattr(type(before), "_examples", refuse)
    after = opened("tiny_faces/splits", data_dir)
    assert list(after.entries()) == list(before.entries())
    assert np.array_equal(after.attributes().values, rows)
    (file,) = (own_cache / "tfds").iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(AssertionError):
        opened("tiny_faces/splits", data_dir).entries()


# ---------------------------------------------------------------------------------------------
# What goes wrong


def test_damaged_records_cost_the_rest_of_their_shard(data_dir, tmp_path, own_cache):
    import shutil

    folder = tmp_path / "1.2.0"
    shutil.copytree(data_dir / "tiny_faces" / "splits" / "1.2.0", folder)
    (file,) = folder.glob("*validation.tfrecord*")
    data = bytearray(file.read_bytes())
    data[-30:-20] = bytes(10)
    file.write_bytes(data)
    (gone,) = folder.glob("*test.tfrecord*")
    gone.unlink()
    source = open_source(f"tfds:{folder}")
    entries = source.entries()
    bad = {}
    good = []
    for entry, picture in source.pictures():
        if isinstance(picture, BadPicture):
            bad[entry.name] = str(picture)
        else:
            good.append(entry.name)
    assert len(good) + len(bad) == len(entries) == 9
    assert set(bad) == {"validation/000001", "test/000000", "test/000001"}
    assert all("file of records is damaged" in reason for reason in bad.values())
    missing = [entry.name for entry in entries if entry.identity is None]
    assert set(missing) == set(bad)
    with pytest.raises(kf.UserError, match="3 of 9 pictures have no attributes"):
        source.attributes().table([entry.name for entry in entries])


def test_shards_after_a_damaged_or_a_missing_one_are_read(tmp_path, own_cache):
    builder = tfds.builder("tiny_faces/kinds", data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    lengths = builder.info.splits["train"].shard_lengths
    assert len(lengths) == 3
    whole = taken(opened("tiny_faces/kinds", tmp_path))
    first, second, _ = sorted(Path(builder.data_dir).glob("*tfrecord*"))
    for start in range(6):
        source = opened("tiny_faces/kinds", tmp_path)
        assert taken(source, start) == whole[start:]
    data = bytearray(second.read_bytes())
    data[-30:-20] = bytes(10)  # in its last record
    second.write_bytes(data)
    found = list(opened("tiny_faces/kinds", tmp_path).pictures())
    bad = [place for place, (_, data) in enumerate(found) if isinstance(data, BadPicture)]
    assert bad == [sum(lengths[:2]) - 1]
    first.unlink()
    found = list(opened("tiny_faces/kinds", tmp_path).pictures())
    bad = [place for place, (_, data) in enumerate(found) if isinstance(data, BadPicture)]
    assert bad == [*range(lengths[0]), sum(lengths[:2]) - 1]
    assert [entry for entry, _ in found] == [entry for entry, _ in whole]


def test_what_is_not_prepared_is_never_downloaded(tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a download")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(kf.UserError) as error:
        open_source(f"tfds:celeb_a?data_dir={tmp_path}")
    told = str(error.value)
    assert "is not prepared in" in told
    assert f"tfds.builder('celeb_a', data_dir='{tmp_path}').download_and_prepare()" in told
    with pytest.raises(kf.UserError, match=r"import keras_faces\.data\.builders; import tensor"):
        open_source(f"tfds:orl_faces?data_dir={tmp_path}")
    with pytest.raises(kf.UserError, match=r"not prepared"):
        open_source(f"tfds:celeb_a/other:9.9.9?data_dir={tmp_path}")


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("tiny_faces/none", "", "has no pictures. Its features: text"),
        ("tiny_faces/splits", "&image=picture", "no picture in .* named 'picture'.*image"),
        ("tiny_faces/splits", "&identity=image", "names people.*label"),
        ("tiny_faces/splits", "&mode=fast", "does not know 'mode=fast'"),
    ],
)
def test_options_that_do_not_fit_are_refused(data_dir, name, query, message):
    with pytest.raises(kf.UserError, match=message):
        opened(name, data_dir, query)


def test_a_name_that_nothing_has_gets_the_nearest(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(kf.UserError, match=r"no data set of TFDS named 'celeba'.*'celeb_a'"):
        open_source("tfds:celeba")


def test_sources_do_not_import_tfds_before_one_is_opened():
    code = "import sys, keras_faces.data; print([m for m in sys.modules if 'tensorflow' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------
# CASIA-WebFace


@pytest.fixture
def casia(tmp_path, orl_path) -> Path:
    folder = tmp_path / "manual" / "CASIA-WebFace"
    for person in (1, 2, 3):
        (folder / f"{44 + person:07d}").mkdir(parents=True)
        for number in (1, 2):
            with Image.open(orl_path / f"s{person}" / f"{number}.pgm") as image:
                image.convert("RGB").save(folder / f"{44 + person:07d}" / f"{number:03d}.jpg")
    return folder


def test_casia_is_built_from_ones_own_copy(casia, tmp_path):
    builder = tfds.builder("casia_webface", data_dir=tmp_path / "data")
    manual = tfds.download.DownloadConfig(manual_dir=casia.parent)
    builder.download_and_prepare(download_config=manual)
    source = opened("casia_webface", tmp_path / "data")
    own = open_source(f"casia:{casia}")
    files = {own.read(entry.name): entry.identity for entry in own.entries()}
    found = list(source.pictures())
    assert len(found) == len(files) == 6
    assert all(files[data] == entry.identity for entry, data in found)


def test_beam_is_given_the_same_examples(casia, monkeypatch, tmp_path):
    path = casia_builder.find_casia(os.fspath(casia.parent))
    assert path == os.fspath(casia)
    made = [example for n in range(6) for example in casia_builder.examples(n, path)]
    assert [name for name, _ in made[1:3]] == ["0000045/002.jpg", "0000046/001.jpg"]
    assert all(example["image"] == (casia / name).read_bytes() for name, example in made)
    (casia / "0000045" / "002.jpg").unlink()
    assert list(casia_builder.examples(1, path)) == []
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    builder = tfds.builder("casia_webface/beam", data_dir=tmp_path / "data")
    with pytest.raises(kf.UserError, match=r"keras-faces\[beam\]"):
        builder._generate_examples(os.fspath(casia.parent))


def test_casia_prepared_through_beam_is_the_same(casia, tmp_path):
    beam = pytest.importorskip("apache_beam")
    builder = tfds.builder("casia_webface/beam", data_dir=tmp_path / "data")
    config = tfds.download.DownloadConfig(
        manual_dir=casia.parent, beam_options=beam.options.pipeline_options.PipelineOptions()
    )
    builder.download_and_prepare(download_config=config)
    own = open_source(f"casia:{casia}")
    found = opened("casia_webface/beam", tmp_path / "data").pictures()
    assert {data for _, data in found} == {own.read(entry.name) for entry in own.entries()}


def test_builders_are_those_that_are_registered():
    assert sorted(keras_faces.data.builders.BUILDERS) == ["casia_webface", "orl_faces"]
    for name, builder in keras_faces.data.builders.BUILDERS.items():
        assert tfds.builder_cls(name) is builder


# ---------------------------------------------------------------------------------------------
# As training sees them


def test_pictures_and_labels_are_loaded_as_any_faces(data_dir):
    through, own = (
        kf.data.open_faces(source, 32, 10, "all", labels="attributes", progress=False)
        for source in (f"tfds:orl_faces?data_dir={data_dir}", "orl")
    )
    columns = [through.label_names.index(name) for name in own.label_names]
    labels = {}
    for stream, order in ((own, range(4)), (through, columns)):
        pictures = stream.cache.read(range(400))
        table = stream.labels_at(np.arange(400))[:, list(order)]
        found = {picture.tobytes(): row.tolist() for picture, row in zip(pictures, table)}
        labels = labels or found
        assert found == labels
    sides = {
        split: kf.data.open_faces(
            f"tfds:tiny_faces/splits?data_dir={data_dir}", 8, 1, split, progress=False
        ).count
        for split in ("train", "validation", "test", "all")
    }
    assert sides == {"train": 4, "validation": 2, "test": 2, "all": 9}


def test_the_command_line_shows_nothing_of_what_tensorflow_says_of_itself(data_dir, tmp_path):
    words = ["data", "info", f"tfds:tiny_faces/splits?data_dir={data_dir}", "--out", "sheet.png"]
    done = subprocess.run(
        [sys.executable, "-m", "keras_faces", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("9 good pictures")
    assert done.stderr == ""


def test_the_hundreds_of_data_sets_that_tfds_knows_are_counted_and_not_listed():
    with pytest.raises(kf.UserError, match="'celeb_a'") as told:
        open_source("tfds:celeba")
    assert len(str(told.value)) < 200
