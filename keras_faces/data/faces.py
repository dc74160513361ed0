"""Faces of a source as batches: for TensorFlow, or as NumPy arrays."""

import contextlib
import io
from collections.abc import Iterator
from itertools import islice

import numpy as np

from keras_faces.data import decode
from keras_faces.data.cache import prepare
from keras_faces.data.crops import get_crop
from keras_faces.data.labels import CONDITIONS, LABELS, Labels, NameLabels, SketchLabels
from keras_faces.data.photographs import PhotographsSource
from keras_faces.data.sources import DATASETS, open_source
from keras_faces.data.sources.base import Source, SourceLike
from keras_faces.data.sources.several import SeveralSource
from keras_faces.data.splits import SPLITS, split_indices
from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, unknown_name
from keras_faces.files import cache_folder, remembered, write_checked

LARGE = 2**22  # pixels


def list_datasets() -> list[str]:
    """Return the names of the sources that need no path."""
    return sorted(DATASETS)


def load(
    source: SourceLike = "orl",
    image_size: int = 64,
    batch_size: int = 64,
    split: str = "train",
    seed: int = 0,
    crop: str = "center",
    channels: int | None = None,
    labels: str | None = None,
    test_fraction: float = 0.1,
    strict: bool = False,
    progress: bool = True,
    shuffle: bool | None = None,
    drop_remainder: bool | None = None,
    people: str | None = None,
    faces: str | None = None,
    per_photo: str | None = None,
    mirror: bool = False,
):
    """Load faces as a tf.data pipeline of batches.

    The training split is shuffled by `seed`, anew in every epoch, and its last, smaller batch is
    dropped; other splits keep the source's order and all their pictures.

    Args:
        source: A name from `kf.list_datasets()`, a folder of pictures (flat, or one folder for
            each person, nested), a zip, tar, Parquet, .npy or .npz file of pictures, which is read
            in place, the URL of any of these, or `scheme:PATH?option=value` of a published data
            set, sketches, a video or TFDS; see `kf.data.open_source`. Or a list of these for all
            their pictures.
        image_size: Width and height in pixels.
        batch_size: Pictures in a batch.
        split: `"train"`, `"validation"` (where the source has one of its own), `"test"` or
            `"all"`. Where identities are known, nobody is on both sides, unless the source's own
            splits say so.
        seed: Seed of the order.
        crop: A key of `CROPS`: how a raw picture becomes a square one.
        channels: 1 for grey or 3 for colour. None takes grey where all looked-at pictures are grey.
        labels: None; or to yield `(images, labels)`: `"attributes"`, float32 of shape
            `(batch, attributes)`; `"identity"`, int32 numbers of people of shape `(batch,)`;
            `"landmarks"`, float32 of shape `(batch, 10)`, x and y of eyes, nose and mouth in pixels
            of the cropped picture; `"name"`, the pictures' names, strings of shape `(batch,)`;
            `"sketch"`, the photos' sketches, as float32 images.
        test_fraction: Share of the people, or else of the pictures, on the test side, where a
            single source has no splits of its own.
        strict: Stop at a bad picture instead of skipping it with a warning.
        progress: Show a progress bar while pictures are decoded for the first time.
        shuffle: Whether to permute in every epoch. None permutes the training split alone.
        drop_remainder: Whether to drop a last, smaller batch. None drops that of the training
            split alone.
        people: What the folders in a folder or zip are: `"folders"`, each a person; `"classes"`;
            `"none"`; see `kf.data.open_source`. None decides.
        faces: How faces are taken from the pictures: `"as-is"`, each is one; `"found"`, all faces
            in them, framed; or `"aligned"`, turned, scaled and placed by their eyes as well. None
            takes them as the source's own options say, or else as they are; see
            `kf.data.open_source`.
        per_photo: Which faces of a photograph: `"all"` or the `"largest"`.
        mirror: Whether to mirror every second picture, chosen by seed anew in every epoch; its
            sketch with it.

    Returns:
        A `tf.data.Dataset` of float32 images of shape `(batch, image_size, image_size, channels)`
        with values in [-1, 1].

    Raises:
        UserError: If the source has no usable picture or too few for a batch, or an argument is
            unknown.
    """
    return open_faces(
        source,
        image_size,
        batch_size,
        split,
        seed,
        crop,
        channels,
        labels,
        test_fraction,
        strict,
        progress,
        shuffle,
        drop_remainder,
        people,
        faces,
        per_photo,
        mirror,
    ).dataset()


def open_faces(
    source: SourceLike = "orl",
    image_size: int = 64,
    batch_size: int = 64,
    split: str = "train",
    seed: int = 0,
    crop: str = "center",
    channels: int | None = None,
    labels: str | None = None,
    test_fraction: float = 0.1,
    strict: bool = False,
    progress: bool = True,
    shuffle: bool | None = None,
    drop_remainder: bool | None = None,
    people: str | None = None,
    faces: str | None = None,
    per_photo: str | None = None,
    mirror: bool = False,
) -> FaceStream:
    """Open faces as a stream of NumPy batches; arguments as in `load`. Needs no TensorFlow."""
    # All of this before the first picture is decoded, which may take minutes.
    for name, value in (("image_size", image_size), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name} must be a positive integer. Received: {value!r}.")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed must be an integer, 0 or more. Received: {seed!r}.")
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if labels not in LABELS:
        raise unknown_name("kind of labels", str(labels), [kind for kind in LABELS if kind])
    if channels not in (None, 1, 3):
        raise UserError(f"channels must be 1 (grey) or 3 (colour). Received: {channels!r}.")
    if not isinstance(test_fraction, (int, float)) or not 0 < test_fraction < 1:
        raise UserError(f"test_fraction must lie between 0 and 1. Received: {test_fraction!r}.")
    if mirror and labels == "landmarks":
        raise UserError(
            "Mirrored pictures do not have the landmarks of their originals. Leave out mirror=True "
            "or labels='landmarks'."
        )
    get_crop(crop)
    opened = open_source(source, people, faces, per_photo)
    if channels is None:
        channels = guess_channels(opened)
    shuffle = split == "train" if shuffle is None else shuffle
    drop_remainder = split == "train" if drop_remainder is None else drop_remainder
    cache = prepare(opened, crop, image_size, channels, strict, progress)
    table = None
    if labels == "attributes":
        table = _attributes(opened, cache)
    elif labels == "identity":
        table = _people(opened, cache)
    elif labels == "landmarks":
        table = _landmarks(opened, cache, crop)
    elif labels == "name":
        table = NameLabels(cache.names)
    elif labels == "sketch":
        table = _sketches(opened, cache, crop, strict, progress)
    indices = split_indices(cache.split_hashes, cache.sides, split, test_fraction)
    if not len(indices):
        raise UserError(
            f"The {split} split of {opened.title!r} is empty: its {cache.count} pictures show too "
            "few people to hold some out. Use split='all'."
        )
    facts = {
        "source": opened.address,
        "fingerprint": cache.meta["content"],
        "crop": crop,
        "image_size": image_size,
        "channels": channels,
        "split": split,
        "test_fraction": test_fraction,
        "pictures": len(indices),
        "skipped": cache.meta["skipped"],
        "batch_size": batch_size,
        "seed": seed,
        "shuffle": shuffle,
        "drop_remainder": drop_remainder,
        "mirror": mirror,
        "labels": labels,
        "labels_digest": None,
        "credit": opened.credit,
    }
    order = (seed, shuffle, drop_remainder, mirror)
    stream = FaceStream(cache, indices, batch_size, *order, labels=table, facts=facts)
    facts["labels_digest"] = stream.labels_digest
    return stream


def _attributes(source, cache) -> Labels:
    def look_up():
        attributes = source.attributes()
        if attributes is None:
            raise UserError(
                f"labels='attributes' needs a source with attributes: {source.attributes_hint}"
            )
        return attributes.names, attributes.table(cache.names)

    return Labels("attributes", *_kept_beside(cache, "attributes", source, look_up), "float32")


def _landmarks(source, cache, crop: str) -> Labels:
    def look_up():
        landmarks = source.landmarks()
        if landmarks is None:
            raise UserError(
                f"labels='landmarks' needs a source that says where eyes, nose and mouth are: "
                f"CelebA with list_landmarks_align_celeba beside it. {source.title!r} does not."
            )
        box, size = get_crop(crop).box, cache.meta["image_size"]
        return landmarks.names, landmarks.table(cache.names, cache.raw_sizes, box, size)

    return Labels("landmarks", *_kept_beside(cache, "landmarks", source, look_up), "float32")


def _kept_beside(cache, kind: str, source, look_up) -> tuple[list[str], np.ndarray]:
    """Return names and values of labels, kept beside the pictures: CelebA's text takes seconds."""
    kept = cache.folder / f"{kind}-{source.listing()[:24]}.npz"
    if (known := remembered(kept)) is not None:
        with np.load(io.BytesIO(known)) as found:
            for message in found["told"].tolist() if "told" in found else ():
                if message not in source.mismatches:
                    source.warn(message)
            return found["names"].tolist(), found["values"]
    before = len(source.mismatches)
    names, values = look_up()
    data = io.BytesIO()
    told = np.array(source.mismatches[before:], str)
    np.savez(data, names=np.array(names), values=values, told=told)
    with contextlib.suppress(OSError):  # a full disk: then it is read again
        write_checked(kept, data.getvalue())
    return list(names), values


def _people(source, cache) -> Labels:
    identities = cache.identities
    if None in identities:
        raise UserError(
            "labels='identity' needs a source with one folder for each person; "
            f"{source.title!r} has no identities.{_nobody(source)}"
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(identities))}
    rows = np.array([numbers[name] for name in identities], np.int32)
    return Labels("identity", list(numbers), rows, "int32")


def _sketches(source, cache, crop, strict, progress) -> Labels:
    sketches = source.sketches()
    if sketches is None:
        raise UserError(
            f"labels='sketch' needs a source of photos and sketches, pairs:PATH. {source.title!r} "
            "has photos alone; a CycleGAN then makes sketches of them by itself."
        )
    made = prepare(sketches, crop, *cache.image_shape[1:], strict, progress)
    indices = {name: index for index, name in enumerate(made.names)}
    missing = [name for name in cache.names if name not in indices]
    if missing:
        raise UserError(
            f"{len(missing)} of {cache.count} photos have no usable sketch, the first is "
            f"{missing[0]!r}."
        )
    return SketchLabels(made, np.array([indices[name] for name in cache.names]), source.paired)


def labels_of(source: SourceLike | Source, kind: str | None = None) -> tuple[str, list[str]]:
    """Return the kind of conditions that a source has, and their names.

    Args:
        source: As in `load`.
        kind: `"attributes"` or `"identity"`; None takes attributes where there are any.

    Raises:
        UserError: If it has none of them.
    """
    if kind not in CONDITIONS:
        raise unknown_name("kind of labels", str(kind), [kind for kind in CONDITIONS if kind])
    opened = open_source(source)
    attributes = opened.attributes() if kind != "identity" else None
    if attributes is not None:
        return "attributes", list(attributes.names)
    people = list(dict.fromkeys(entry.identity for entry in opened.entries()))
    if None in people or kind == "attributes":
        raise UserError(
            f"{opened.title!r} has no {'such ' if kind else ''}labels. For attributes "
            f"{opened.attributes_hint} Identities are one folder for each person.{_nobody(opened)}"
        )
    return "identity", people


def _nobody(source) -> str:
    """Return why folders are taken for nobody, in words, where they are."""
    return "".join(
        f" {line}." for line in source.taken_for() if line.startswith("people: not known")
    )


def guess_channels(source: Source) -> int:
    """Return 1 where the pictures of a source are all grey, else 3; see `look_at_channels`."""
    return look_at_channels(source)[0]


def look_at_channels(source: Source, looked_at: int = 64) -> tuple[int, str]:
    """Return how many channels the pictures of a source have, and in words why.

    Pictures from the whole source are looked at, or the first of one that is read in its order.
    What a file says decides, so that none loses colours that only others lack; pictures in colour
    files whose pixels are grey are only counted.

    Args:
        source: What `open_source` returned.
        looked_at: How many pictures to look at, at most.

    Returns:
        1 where all are grey, else 3; and a line for the user.
    """
    if isinstance(source, SeveralSource):
        found = [look_at_channels(part, looked_at) for part in source.parts]
        told = (f"{part.title}: {why}" for part, (_, why) in zip(source.parts, found))
        return max(channels for channels, _ in found), "; ".join(told)
    if isinstance(source, PhotographsSource):
        return look_at_channels(source.source, looked_at)
    note = cache_folder() / "channels" / source.listing()
    if (known := remembered(note)) is not None:
        channels, space, why = known.decode().partition(" ")
        if space:  # earlier versions, which looked at the first 16, kept only the number
            return int(channels), why
    kinds = list(filter(None, map(_colours, _spread(source, looked_at))))
    channels = 1 if kinds and set(kinds) == {"grey"} else 3
    why = _why(len(kinds), len(kinds) - kinds.count("colour"), channels)
    with contextlib.suppress(OSError):  # it is quickly looked up again
        write_checked(note, f"{channels} {why}".encode())
    return channels, why


def _why(count: int, grey: int, channels: int) -> str:
    if not count:
        return "colour: none of the pictures looked at can be read"
    if channels == 1:
        return f"grey: all {count:,} pictures looked at are grey"
    if not grey:
        return f"colour: all {count:,} pictures looked at are in colour"
    return (
        f"colour, although {grey:,} of {count:,} pictures looked at are grey: --channels 1 makes "
        "all grey"
    )


def crop_fits(source: Source, crop: str, looked_at: int = 16) -> bool:
    """Return whether a crop is made for the pictures of a source, of which some are looked at.

    Args:
        source: What `open_source` returned.
        crop: A key of `CROPS`.
        looked_at: How many pictures to look at, at most.

    Raises:
        UserError: If there is no such crop.
    """
    size = get_crop(crop).made_for
    if size is None:
        return True
    if isinstance(source, SeveralSource):
        return all(crop_fits(part, crop, looked_at) for part in source.parts)
    if isinstance(source, PhotographsSource):  # which cuts faces out, each of a size of its own
        return False
    # What cannot be read says nothing, and is named when all pictures are.
    return not set(filter(None, map(_size, _spread(source, looked_at)))) - {size}


def _size(data: bytes | np.ndarray | Exception) -> tuple[int, int] | None:
    """Return a picture's upright width and height; None if it is unreadable."""
    with decode.silent_pillow(), contextlib.suppress(Exception):  # as many types as formats
        return decode.opened(data)[1] if isinstance(data, bytes) else (data.shape[1], data.shape[0])
    return None


def _spread(source, count: int) -> Iterator[bytes | np.ndarray | Exception]:
    """Yield pictures from the whole source, or the first few where others take all before them."""
    if source.sequential:
        yield from (data for _, data in islice(source.pictures(), count // 4))
        return
    entries = source.entries()
    for position in sorted({round(p) for p in np.linspace(0, len(entries) - 1, count)}):
        try:
            yield source.read(entries[position].name)
        except decode.BadPicture as error:
            yield error


def _colours(data: bytes | np.ndarray | Exception) -> str | None:
    """Return "grey", "colour", or "grey pixels" in a file for colours; None if it is unreadable."""
    with decode.silent_pillow(), contextlib.suppress(Exception):  # as many types as formats
        if isinstance(data, bytes):
            image, _ = decode.opened(data)
            if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
                return "grey"
            image.draft("RGB", (64, 64))  # of a JPEG
            if image.width * image.height > LARGE:  # which would take seconds
                return "colour"
            data = np.asarray(image.convert("RGB"))
        if data.shape[-1] == 1:
            return "grey"
        return "colour" if (data != data[..., :1]).any() else "grey pixels"
    return None
