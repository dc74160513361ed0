"""Data sets that TensorFlow Datasets has prepared on this machine."""

import bisect
import contextlib
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_faces.data.decode import BadPicture
from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.sources.shards import PEOPLE, SPLITS, NumberedEntries
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import cache_folder, remembered, write_checked
from keras_faces.screen import visible

# Features that name the person, where none is given.
IDENTITIES = ("identity", "person", "subject", "label")

BATCH = 256  # examples that come out of TensorFlow at once, three times as fast as one by one


class TfdsSource(Source):
    """An image data set that TensorFlow Datasets has prepared; nothing is ever downloaded.

    Pictures are read one after the other, as the files that were stored. Splits are the data set's
    own where it has several. Attributes are a dict of yes-or-no features, such as `attributes` of
    `celeb_a`.

    Args:
        path: `NAME`, `NAME/CONFIG`, `NAME:VERSION`, or the folder of a prepared version.
        data_dir: Folder of the prepared data sets; TFDS's own where none is given.
        image: The feature that holds the picture, where there are several.
        identity: The feature that names the person, or `"no"`. Where none is given: `identity`,
            `person` or `subject`; or `label`, where it is text or has 20 classes or more.

    Raises:
        UserError: If it is not prepared there, or has no such feature.
    """

    sequential = True

    def __init__(
        self, path: str | os.PathLike, data_dir: str = "", image: str = "", identity: str = ""
    ):
        self._builder = _prepared(os.fspath(path), data_dir)
        self.title = f"tfds:{os.fspath(path)}"
        self.path = Path(os.fspath(self._builder.data_dir))
        info = self._builder.info
        self.credit = ", ".join(filter(None, [info.full_name, info.homepage]))
        self._image = _image_feature(info.features, image, self.title)
        self._identity = _identity_feature(info.features, identity, self.title)
        query = "".join(
            f"{'&' if index else '?'}{name}={value}"
            for index, (name, value) in enumerate(
                (name, value) for name, value in (("image", image), ("identity", identity)) if value
            )
        )
        self.address = f"tfds:{self.path.resolve()}{query}"
        order = {"train": 0, "validation": 1, "test": 2}
        names = sorted(info.splits, key=lambda name: (order.get(SPLITS.get(name), 3), name))
        self._splits = [(name, info.splits[name]) for name in names]
        self._lock = threading.Lock()
        self._labels: tuple[np.ndarray, list[str], np.ndarray] | None = None

    def entries(self) -> Sequence[Entry]:
        counts = [split.num_examples for _, split in self._splits]
        names = [name for name, _ in self._splits]
        several = len({SPLITS[name] for name in names if name in SPLITS}) > 1
        splits = [SPLITS.get(name, LEFT_OUT) if several else None for name in names]
        people, known = None, []
        if self._identity:
            people, known, _ = self._looked_up()
        return NumberedEntries(names, splits, counts, people, known)

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, bytes | Exception]]:
        import tensorflow_datasets as tfds

        entries = self.entries()
        decoders = {self._image: tfds.decode.SkipDecoding()}
        wanted = tfds.decode.PartialDecoding({self._image: True}, decoders=decoders)
        for index, example in self._examples(wanted, start):
            if isinstance(example, Exception):
                yield entries[index], BadPicture(f"its file of records is damaged ({example})")
            else:
                yield entries[index], example[self._image]

    def _examples(self, decoders, start: int = 0) -> Iterator[tuple[int, dict | Exception]]:
        """Yield examples by their number. Damage costs the rest of its file of records alone."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        options = tf.data.Options()
        options.autotune.enabled = False  # TensorFlow 2.21 idles at the end of what it tunes
        config = tfds.ReadConfig(
            options=options,
            try_autocache=False,
            interleave_cycle_length=1,
            num_parallel_calls_for_decode=2,
            num_parallel_calls_for_interleave_files=1,
            assert_cardinality=False,
        )
        first = 0
        for name, split in self._splits:
            ends = np.cumsum(split.shard_lengths).tolist()
            done = max(0, start - first)
            size = BATCH
            while done < split.num_examples:
                shard_end = ends[bisect.bisect_right(ends, done)]
                end = shard_end if size == 1 else split.num_examples
                error: Exception = BadPicture("it has fewer records than it should")
                try:
                    with _silent_absl():
                        rest = self._builder.as_dataset(
                            split=f"{name}[{done}:{end}]",
                            shuffle_files=False,
                            decoders=decoders,
                            read_config=config,
                        )
                    for batch in rest.batch(size).as_numpy_iterator():
                        for example in _examples_of(batch):
                            yield first + done, example
                            done += 1
                except (tf.errors.OpError, OSError) as damage:
                    error = damage
                if done < end and size > 1:
                    size = 1  # up to the damaged record, which took its batch with it
                    continue
                for number in range(done, end):
                    yield first + number, BadPicture(str(error).splitlines()[0][:200])
                done, size = end, BATCH
            first += split.num_examples

    def attributes(self) -> Attributes | None:
        if not _attribute_features(self._builder.info.features)[1]:
            return None
        _, _, values = self._looked_up()
        names = _attribute_features(self._builder.info.features)[1]
        entries = self.entries()
        known = np.flatnonzero(values[:, 0] < 2)
        rows = {entries[int(index)].name: int(index) for index in known}
        return Attributes(tuple(names), rows, values)

    def _looked_up(self) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Return numbers of people (-1 unknown), their names, and attributes (2 unknown).

        A pass over all records, of which no picture is decoded; it is remembered.
        """
        with self._lock:
            if self._labels is None:
                self._labels = self._remembered()
            return self._labels

    def _remembered(self):
        note = cache_folder() / "tfds" / f"{self.listing()}.npz"
        if (known := remembered(note)) is not None:
            with np.load(io.BytesIO(known)) as kept:
                return kept["people"], json.loads(str(kept["names"])), kept["attributes"]
        people, names, attributes = self._pass()
        data = io.BytesIO()
        np.savez(data, people=people, names=json.dumps(names), attributes=attributes)
        with contextlib.suppress(OSError):  # then the next start looks them up again
            write_checked(note, data.getvalue())
        return people, names, attributes

    def _pass(self):
        import tensorflow_datasets as tfds

        features = self._builder.info.features
        group, attribute_names = _attribute_features(features)
        count = sum(split.num_examples for _, split in self._splits)
        people = np.full(count, -1, np.int32)
        attributes = np.full((count, len(attribute_names)), 2, np.uint8)
        numbers: dict[str, int] = {}
        wanted = {name: True for name in filter(None, (self._identity, group))}
        to_text = getattr(features[self._identity], "int2str", None) if self._identity else None
        bar = tqdm(
            self._examples(tfds.decode.PartialDecoding(wanted)),
            total=count,
            desc=f"Labels of {self.title}",
            unit=" pictures",
            disable=None,
        )
        for index, example in bar:
            if isinstance(example, Exception):
                continue
            if self._identity:
                person = example[self._identity]
                person = (
                    person.decode(errors="backslashreplace")
                    if isinstance(person, bytes)
                    else to_text(int(person))
                )
                people[index] = numbers.setdefault(visible(person), len(numbers))
            if group:
                attributes[index] = [example[group][name] for name in attribute_names]
        return people, list(numbers), attributes

    def make_listing(self) -> str:
        digest = hashlib.sha256(os.fsencode(self.path.resolve()))
        digest.update(f"{self._image} {self._identity}".encode())
        for file in sorted(self.path.iterdir()):
            status = file.stat()
            digest.update(json.dumps((file.name, status.st_size, status.st_mtime_ns)).encode())
        return digest.hexdigest()


@contextlib.contextmanager
def _silent_absl() -> Iterator[None]:
    """Silence TFDS, which warns of its own use of what it calls deprecated."""
    from absl import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _examples_of(batch: dict) -> Iterator[dict]:
    columns = {
        name: list(_examples_of(values)) if isinstance(values, dict) else values
        for name, values in batch.items()
    }
    for row in zip(*columns.values()):
        yield dict(zip(columns, row))


def _prepared(name: str, data_dir: str):
    """Return the read-only builder of a prepared data set."""
    folder = Path(name).expanduser()
    strange = [file for file in folder.glob("*") if file.exists() and not _file_or_folder(file)]
    if strange:  # which TensorFlow would wait for
        raise UserError(f"{str(strange[0])!r} is neither a file nor a folder. Take it away.")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    from keras_faces.data.builders import BUILDERS

    try:
        if folder.is_dir() and (folder / "dataset_info.json").is_file():
            return tfds.builder_from_directory(os.fspath(folder))
        where = {"data_dir": os.path.expanduser(data_dir)} if data_dir else {}
        return read_only_builder.builder_from_files(name, **where)
    except tfds.core.DatasetNotFoundError as error:
        base = name.partition(":")[0].partition("/")[0]
        option = f", data_dir={data_dir!r}" if data_dir else ""
        ours = "import keras_faces.data.builders; " if base in BUILDERS else ""
        known = {*BUILDERS, *tfds.list_builders(with_community_datasets=False)}
        if base not in known and not data_dir:
            raise unknown_name("data set of TFDS", base, known) from error
        raise UserError(
            f"The data set {name!r} is not prepared in "
            f"{data_dir or tfds.core.constants.DATA_DIR!r}. Prepare it once, which may download "
            f'much: python -c "{ours}import tensorflow_datasets as tfds; '
            f'tfds.builder({name!r}{option}).download_and_prepare()". Where it is prepared '
            f"elsewhere, say so: tfds:{name}?data_dir=FOLDER."
        ) from error
    except (ValueError, OSError, AssertionError) as error:
        raise UserError(f"Cannot open the TFDS data set {name!r}: {error}") from error


def _file_or_folder(path: Path) -> bool:
    return path.is_file() or path.is_dir()


def _image_feature(features, given: str, title: str) -> str:
    import tensorflow_datasets as tfds

    images = [
        name
        for name, feature in sorted(features.items())
        if isinstance(feature, tfds.features.Image) and feature.np_dtype != np.float32
    ]
    if given:
        if given not in images:
            raise unknown_name(f"picture in {title}", given, images)
        return given
    if len(images) > 1 and "image" not in images:
        raise UserError(
            f"{title!r} has {len(images)} pictures in each example: {', '.join(images)}. Choose "
            f"one: {title}?image={images[0]}."
        )
    if not images:
        raise UserError(f"{title!r} has no pictures. Its features: {', '.join(sorted(features))}.")
    return "image" if "image" in images else images[0]


def _identity_feature(features, given: str, title: str) -> str | None:
    import tensorflow_datasets as tfds

    if given == "no":
        return None
    kinds = (tfds.features.ClassLabel, tfds.features.Text)
    usable = [name for name, feature in features.items() if isinstance(feature, kinds)]
    if given:
        if given not in usable:
            raise unknown_name(f"feature of {title} that names people", given, usable)
        return given
    for name in IDENTITIES:
        if name in usable and not (
            name == "label" and (getattr(features[name], "num_classes", None) or PEOPLE) < PEOPLE
        ):
            return name
    return None


def _attribute_features(features) -> tuple[str | None, list[str]]:
    """Return the feature that is a dict of yes-or-no features, and their names in order.

    A read-only builder gives features in another order in every process.
    """
    import tensorflow_datasets as tfds

    for name, feature in sorted(features.items()):
        parts = feature if isinstance(feature, tfds.features.FeaturesDict) else {}
        if parts and all(part.np_dtype == np.bool_ and not part.shape for part in parts.values()):
            return name, sorted(parts)
    return None, []
