"""Every kind of file that the package reads: a sample of it, a door through which it is read, and
what may be found when it is damaged.

Most files of our own have checksums, so that what is found of a damaged one must be what was
written, or an error. Pictures and people's texts have none: a flipped bit makes another picture or
another number, which nobody can tell from what was meant. Of these must hold what `agrees` says.
"""

import atexit
import contextlib
import functools
import io
import json
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import layouts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import keras_faces as kf
from keras_faces.data.decode import BadPicture, decode
from keras_faces.data.sources import open_source
from keras_faces.reports.comparisons import read_comparison
from keras_faces.schema import as_json

SIZE = 16  # of decoded faces
NO_ENCODER = {"has_encoder": False, "reconstructs": False, "conditional": False}
NO_ENCODER |= {"translates_to": (), "makes": "photo"}


class Seen(NamedTuple):
    """What became of one damaged file.

    Attributes:
        good: What was found when it was whole.
        found: What was found now.
        before: Its bytes when it was whole.
        after: Its bytes now.
        told: The text of all warnings.
    """

    good: object
    found: object
    before: bytes
    after: bytes
    told: str


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
        make: Callable that writes a sample, and all that is needed to read it, into a folder.
        files: Patterns of the files that are damaged, one a case.
        read: Callable that reads it from that folder, through a door that users have.
        agrees: Callable of a `Seen` whose `found` is another than `good`: whether it may be.
        share: Of all cases, as the weight of this kind.
        damage: Name of one of `fuzz.DAMAGES`.
        keras: Whether Keras is needed, which takes seconds to import.
    """

    make: Callable[[Path], object]
    files: Sequence[str]
    read: Callable[[Path], object]
    agrees: Callable[[Seen], bool] = lambda seen: False
    share: int = 4
    damage: str = "any"
    keras: bool = False


KINDS: dict[str, Kind] = {}


# ---------------------------------------------------------------------------------------------
# Pictures


def picture(format: str, mode: str = "RGB", size: tuple[int, int] = (46, 56), **options) -> bytes:
    with Image.open(io.BytesIO(layouts.face(0, *size, "PNG"))) as image:
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        elif mode != "RGBA":
            image = image.convert(mode)
        else:
            image.putalpha(image.convert("L"))
        data = io.BytesIO()
        image.save(data, format, **options)
        return data.getvalue()


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def _more_frames() -> dict:
    with Image.open(io.BytesIO(picture("PNG", "P"))) as image:
        return {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}


PICTURES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: picture("JPEG"),
    "jpeg grey": lambda: picture("JPEG", "L"),
    "jpeg progressive": lambda: picture("JPEG", progressive=True),
    "jpeg turned": lambda: picture("JPEG", exif=_exif(6)),
    "jpeg cmyk": lambda: picture("JPEG", "CMYK"),
    "jpeg with restarts": lambda: picture("JPEG", restart_marker_blocks=2),
    "png": lambda: picture("PNG"),
    "png palette": lambda: picture("PNG", "P"),
    "png 16 bits": lambda: picture("PNG", "I;16"),
    "png transparent": lambda: picture("PNG", "RGBA"),
    "pgm": lambda: picture("PPM", "L"),
    "ppm": lambda: picture("PPM"),
    "pbm": lambda: picture("PPM", "1"),
    "pgm text": lambda: b"P2\n12 12\n255\n" + b" ".join(b"%d" % n for n in range(144)) + b"\n",
    "bmp": lambda: picture("BMP"),
    "bmp palette": lambda: picture("BMP", "P"),
    "webp": lambda: picture("WEBP"),
    "webp lossless": lambda: picture("WEBP", "RGBA", lossless=True),
    "gif": lambda: picture("GIF", "P"),
    "gif animated": lambda: picture("GIF", "P", **_more_frames()),
}
UPLOADS: dict[str, Callable[[], bytes]] = {
    "jpeg": PICTURES["jpeg progressive"],
    "png": PICTURES["png transparent"],
    "tiff": lambda: picture("TIFF"),
    "tiff packed": lambda: picture("TIFF", compression="tiff_lzw"),
    "tiff jpeg": lambda: picture("TIFF", compression="jpeg"),
    "avif": lambda: picture("AVIF"),
    "jpeg 2000": lambda: picture("JPEG2000"),
    "mpo": lambda: picture("MPO"),
    "pcx": lambda: picture("PCX"),
    "qoi": lambda: picture("QOI"),
    "sgi": lambda: picture("SGI"),
    "tga": lambda: picture("TGA", compression="tga_rle"),
}


def _read_picture(folder: Path) -> dict:
    data = (folder / "a").read_bytes()
    found: dict[str, object] = {}
    for crop in ("center", "center-area"):
        try:
            pixels = decode(data, crop, SIZE, 3)
            found[crop] = (pixels.shape, pixels.dtype.name, pixels.tobytes())
        except BadPicture as error:
            found[crop] = error
    for result in found.values():
        if isinstance(result, BadPicture) and all(
            isinstance(r, BadPicture) for r in found.values()
        ):
            raise result
    return found


def _is_a_picture(seen: Seen) -> bool:
    """Both crops accept it, and each gives a whole picture."""
    return all(
        not isinstance(found, BadPicture) and found[:2] == ((SIZE, SIZE, 3), "uint8")
        for found in seen.found.values()
    )


def _read_upload(cropped: bool):
    def read(folder: Path) -> tuple:
        from keras_faces.trained import TrainedModel

        model = SimpleNamespace(image_size=SIZE, channels=1, **NO_ENCODER)
        face = TrainedModel(folder, model).face((folder / "a").read_bytes(), cropped).face
        return face.shape, face.dtype.name, face.tobytes()

    return read


def _is_a_face(seen: Seen) -> bool:
    shape, dtype, data = seen.found
    values = np.frombuffer(data, np.float32)
    return shape == (SIZE, SIZE, 1) and dtype == "float32" and bool((np.abs(values) <= 1).all())


def _put(make: Callable[[], bytes], name: str = "a") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(make())


for _name, _make in PICTURES.items():
    KINDS[_name] = Kind(_put(_make), ["a"], _read_picture, _is_a_picture)
for _name, _make in UPLOADS.items():
    KINDS[f"upload {_name}"] = Kind(_put(_make), ["a"], _read_upload(True), _is_a_face, keras=True)
KINDS["upload of a photo"] = Kind(
    _put(lambda: picture("JPEG", size=(92, 112))),
    ["a"],
    _read_upload(False),
    _is_a_face,
    share=1,
    keras=True,
)


# ---------------------------------------------------------------------------------------------
# Sources


def faces_of(source, labels: Sequence[str] = ()) -> dict:
    """Return all that training sees of a source: by name its side, its pixels and its labels."""
    found: dict[str, list] = {}
    names: list[str] = []
    for kind in ("name", *labels):
        stream = kf.data.open_faces(
            source,
            image_size=SIZE,
            batch_size=1,
            split="all",
            labels=kind,
            shuffle=False,
            drop_remainder=False,
            progress=False,
        )
        for step in range(len(stream)):
            images, values = stream.read(step)
            if kind == "name":
                names.append(values[0].decode("utf-8", "surrogatepass"))
                found[names[-1]] = [images.tobytes()]
            elif kind == "identity":
                found[names[step]].append(stream.label_names[int(values[0])])
            else:
                found[names[step]].append((tuple(stream.label_names), values.tobytes()))
    for split in ("train", "validation", "test"):
        with contextlib.suppress(kf.UserError):
            stream = kf.data.open_faces(
                source,
                image_size=SIZE,
                batch_size=1,
                split=split,
                labels="name",
                shuffle=False,
                drop_remainder=False,
                progress=False,
            )
            for step in range(len(stream)):
                name = stream.read(step)[1][0].decode("utf-8", "surrogatepass")
                found[name].append(split)
    return found


def _only_told_are_missing(seen: Seen) -> bool:
    """Pictures that are there are as they were; as many as are missing are told as skipped.

    Not by their names: these may be what is damaged.
    """
    missing = seen.good.keys() - seen.found.keys()
    same = all(seen.good.get(name, [None])[0] == row[0] for name, row in seen.found.items())
    told = re.search(r"Skipped (\d+) of", seen.told)
    return same and len(missing) <= (int(told[1]) if told else 0)


def _whole_ones_are_the_same(seen: Seen) -> bool:
    """What is still whole in the file is as it was, or something is told."""
    whole = [name for name, data in _people().items() if data in seen.after]
    return bool(seen.told) or all(seen.found.get(name) == seen.good[name] for name in whole)


def _others_are_the_same(seen: Seen) -> bool:
    """One picture may be another, or missing and named; all others are as they were."""
    pixels = {name: row[0] for name, row in seen.found.items()}  # the sides follow from all names
    differing = [name for name, row in seen.good.items() if pixels.get(name) != row[0]]
    missing = seen.good.keys() - seen.found.keys()
    return (
        len(differing) <= 1
        and seen.found.keys() <= seen.good.keys()
        and all(name in seen.told for name in missing)
    )


def _make_folder(folder: Path) -> None:
    names = ("a.jpg", "b.png", "c.pgm", "d.webp", "e.gif", "f.bmp")
    makes = ("jpeg", "png", "pgm", "webp", "gif", "bmp")
    for name, make in zip(names, makes):
        (folder / "faces").mkdir(exist_ok=True)
        (folder / "faces" / name).write_bytes(PICTURES[make]())


def _people(count: int = 6) -> dict[str, bytes]:
    return {f"s{n % 3}/{n}.png": layouts.face(n, 20, 24, "PNG") for n in range(count)}


def _attributes_csv(names: Sequence[str]) -> bytes:
    rows = [f"{name},{n % 2},{n // 2 % 2}" for n, name in enumerate(names)]
    return "\n".join(["file,glasses,smiling", *rows, ""]).encode()


def _local(seen: Seen) -> bool:
    """Of a text, what was found in lines that are as they were is as it was."""
    before, after = (set(data.splitlines()) for data in (seen.before, seen.after))
    gone = len(before - after) + len(after - before)
    differing = sum(seen.good.get(key) != seen.found.get(key) for key in {*seen.good, *seen.found})
    header = seen.before.splitlines()[:2] != seen.after.splitlines()[:2]
    return header or differing <= 2 * gone


def _array() -> np.ndarray:
    faces = [Image.open(io.BytesIO(layouts.face(n, 20, 24, "PNG"))) for n in range(6)]
    return np.stack([np.asarray(face) for face in faces])


def _make_parquet(folder: Path) -> None:
    rows = {
        "image": [{"bytes": data, "path": None} for data in _people().values()],
        "identity": [n % 3 for n in range(6)],
        "smiling": [n % 2 == 0 for n in range(6)],
    }
    pq.write_table(pa.table(rows), folder / "a.parquet", row_group_size=2)


KINDS["folder of pictures"] = Kind(
    _make_folder,
    ["faces/*"],
    lambda folder: faces_of(folder / "faces"),
    _others_are_the_same,
)
KINDS["zip of pictures"] = Kind(
    lambda folder: layouts.zipped(_people(), folder / "a.zip"),
    ["a.zip"],
    lambda folder: faces_of(folder / "a.zip", ["identity"]),
    _only_told_are_missing,
    share=12,
)
KINDS["tar of pictures"] = Kind(
    lambda folder: layouts.tarred(_people(), folder / "a.tar"),
    ["a.tar"],
    lambda folder: faces_of(folder / "a.tar", ["identity"]),
    _whole_ones_are_the_same,
    share=8,
)
KINDS["packed tar of pictures"] = Kind(
    lambda folder: layouts.tarred(_people(), folder / "a.tar.gz", "w:gz"),
    ["a.tar.gz"],
    lambda folder: faces_of(folder / "a.tar.gz", ["identity"]),
    lambda seen: bool(seen.told),
)
KINDS["array"] = Kind(
    lambda folder: np.save(folder / "a.npy", _array()),
    ["a.npy"],
    lambda folder: faces_of(folder / "a.npy"),
    lambda seen: seen.found.keys() == seen.good.keys(),  # pixels without a checksum
)
KINDS["packed array"] = Kind(
    lambda folder: np.savez_compressed(folder / "a.npz", images=_array(), identity=np.arange(6)),
    ["a.npz"],
    lambda folder: faces_of(folder / "a.npz", ["identity"]),
    lambda seen: bool(seen.told),
)
KINDS["parquet of pictures"] = Kind(
    _make_parquet,
    ["a.parquet"],
    lambda folder: faces_of(folder / "a.parquet", ["identity", "attributes"]),
    lambda seen: bool(seen.told),
    damage="cut",  # of other damage Arrow takes 2 GiB or ends the process, see docs/security.md
)
KINDS["attributes.csv"] = Kind(
    lambda folder: layouts.write(
        {**_people(), "attributes.csv": _attributes_csv(list(_people()))}, folder / "faces"
    ),
    ["faces/attributes.csv"],
    lambda folder: faces_of(folder / "faces", ["attributes"]),
    _local,
)


def _make_celeba(csvs: bool):
    def make(folder: Path) -> None:
        pictures = {
            f"img_align_celeba/{number:06d}.jpg": layouts.face(number, 18, 22)
            for number in layouts.CELEBA_NUMBERS
        }
        texts = layouts.celeba_csvs() if csvs else layouts.celeba_texts()
        layouts.write({**pictures, **texts}, folder / "celeba")

    return make


def _read_annotations(folder: Path) -> dict:
    """Return by picture its person, side, attributes and landmarks."""
    source = open_source(f"celeba:{folder / 'celeba'}")
    found: dict = {entry.name: [entry] for entry in source.entries()}
    for table in (source.attributes(), source.landmarks()):
        assert table is not None
        found[table.names] = True
        for name, row in table.rows.items():
            found[name].append(table.values[row].tolist())
    return found


KINDS["CelebA's texts"] = Kind(
    _make_celeba(False), ["celeba/*.txt"], _read_annotations, _local, share=12
)
KINDS["CelebA's csv"] = Kind(
    _make_celeba(True),
    ["celeba/list_[ael][!b]*.csv"],  # nothing reads the boxes
    _read_annotations,
    _local,
    share=12,
)


def _make_lfw(folder: Path) -> None:
    pictures = {
        f"lfw/{name}": layouts.face(place, 25, 25)
        for place, name in enumerate(layouts.lfw_pictures())
    }
    layouts.write({**pictures, **layouts.lfw_texts()}, folder / "lfw")


def _read_lfw(folder: Path) -> dict:
    source = open_source(f"lfw:{folder / 'lfw'}")
    found: dict = {entry.name: [entry] for entry in source.entries()}
    attributes = source.attributes()
    if attributes is not None:
        for name, row in attributes.rows.items():
            found[name].append(attributes.values[row].tolist())
    return found


KINDS["LFW's texts"] = Kind(_make_lfw, ["lfw/*.txt"], _read_lfw, _local)


def _make_records(folder: Path) -> None:
    """As insightface's copies: a record of the ends, the pictures, a record for each person."""
    import struct

    def record(labels: Sequence[float], picture: bytes = b"") -> bytes:
        many = struct.pack(f"<{len(labels)}f", *labels) if len(labels) > 1 else b""
        head = (len(labels), 0.0) if many else (0, labels[0])
        content = struct.pack("<IfQQ", *head, 0, 0) + many + picture
        padded = content + b"\0" * (-len(content) % 4)
        return struct.pack("<II", 0xCED7230A, len(content)) + padded

    faces = [layouts.face(number, 16, 16) for number in range(6)]
    records = [record([7, 10])]
    records += [record([number // 2], face) for number, face in enumerate(faces)]
    records += [record([1 + 2 * person, 3 + 2 * person]) for person in range(3)]
    ends = np.cumsum([0, *map(len, records)])
    index = "".join(f"{key}\t{start}\n" for key, start in enumerate(ends[:-1]))
    (folder / "train.rec").write_bytes(b"".join(records))
    (folder / "train.idx").write_text(index)


def _read_records(folder: Path) -> dict:
    source = open_source(f"casia:{folder}")
    found = {}
    for entry in source.entries():
        try:
            found[entry.name] = (entry.identity, source.read(entry.name))
        except BadPicture:
            found[entry.name] = (entry.identity, None)
    return found


def _records_of(data: bytes) -> list[bytes]:
    starts = [0]
    while starts[-1] < len(data):
        length = int.from_bytes(data[starts[-1] + 4 : starts[-1] + 8], "little")
        starts.append(starts[-1] + 8 + length + -length % 4)
    return [data[start:end] for start, end in pairwise(starts)]


def _records_by_themselves(seen: Seen) -> bool:
    """A picture may be another only where its own record is; where some are missing it is told."""
    starts = list(accumulate(map(len, _records_of(seen.before)), initial=0))
    changed = {
        str(number)
        for number, (start, end) in enumerate(pairwise(starts))
        if seen.before[start:end] != seen.after[start:end]
    }
    differing = {name for name in seen.good if seen.found.get(name) != seen.good[name]}
    return bool(seen.told) or len(seen.before) != len(seen.after) or differing <= changed


def _lines_by_themselves(seen: Seen) -> bool:
    """As many pictures may be others as lines are; where some are missing it is told."""
    changed = set(seen.before.splitlines()) ^ set(seen.after.splitlines())
    differing = {name for name in seen.good if seen.found.get(name) != seen.good[name]}
    return bool(seen.told) or len(differing) <= len(changed)


KINDS["train.rec"] = Kind(
    _make_records, ["train.rec"], _read_records, _records_by_themselves, share=8
)
KINDS["train.idx"] = Kind(
    _make_records, ["train.idx"], _read_records, _lines_by_themselves, share=8
)


def _make_video(folder: Path) -> None:
    import av

    with av.open(str(folder / "clip.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        for number in range(8):
            with Image.open(io.BytesIO(layouts.face(7 * number, 48, 48, "PNG"))) as image:
                frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _read_video(folder: Path) -> dict:
    source = open_source(f"video:{folder / 'clip.mp4'}")
    return {
        entry.name: (entry, None if isinstance(data, Exception) else data.tobytes())
        for entry, data in source.pictures()
    }


KINDS["video"] = Kind(
    _make_video, ["clip.mp4"], _read_video, lambda seen: bool(seen.found), share=2
)


# ---------------------------------------------------------------------------------------------
# What we keep ourselves: nothing but what was written may be found


def _make_cached(folder: Path) -> None:
    pictures = {
        f"img_align_celeba/{number:06d}.jpg": layouts.face(number, 18, 22)
        for number in layouts.CELEBA_NUMBERS
    }
    pictures["img_align_celeba/000001.jpg"] = b"no picture"
    layouts.zipped(pictures, folder / "celeba" / "img_align_celeba.zip")
    layouts.write(layouts.celeba_texts(), folder / "celeba")
    _read_cached(folder)


def _read_cached(folder: Path) -> dict:
    return faces_of(f"celeba:{folder / 'celeba'}", ["attributes", "identity", "landmarks"])


KINDS["cache"] = Kind(_make_cached, ["cache/**/*"], _read_cached, share=48)


class _Stopped(Exception):
    pass


def _make_unfinished(folder: Path) -> None:
    import joblib

    from keras_faces.data import cache, decoding
    from keras_faces.data.sources.folder import FolderSource

    layouts.write({f"{n}.png": layouts.face(n, 16, 16, "PNG") for n in range(12)}, folder / "faces")

    class Stopping(FolderSource):
        def file(self, name):
            if name == "9.png" and self.begun:
                raise _Stopped
            return super().file(name)

        def entries(self):
            self.begun = True
            return super().entries()

    source = Stopping(folder / "faces")
    source.begun = False
    small = {"NOTE_BYTES": 4 * 3 * SIZE**2, "CHUNK": 1}
    kept = {name: getattr(decoding, name) for name in small}
    vars(decoding).update(small)
    try:
        with contextlib.suppress(_Stopped), joblib.parallel_config(n_jobs=1):
            cache.prepare(source, image_size=SIZE, progress=False)
    finally:
        vars(decoding).update(kept)


KINDS["cache, unfinished"] = Kind(
    _make_unfinished, ["cache/**/*.part/*"], lambda folder: faces_of(folder / "faces"), share=16
)


class _Inception:
    """Stands for InceptionV3: some features, which are a function of the pictures."""

    protocol = {"network": "none"}

    def __call__(self, images):
        rows = images.reshape(len(images), -1)
        return rows[:, :64] * 2, np.abs(rows[:, :10])


def _read_features(folder: Path) -> list:
    from keras_faces.metrics.faces import Faces

    images = np.linspace(-1, 1, 4 * 16 * 16 * 3, dtype=np.float32).reshape(4, 16, 16, 3)
    faces = Faces(images, {"inception": _Inception()}, kept=True)
    return [array.tobytes() for array in faces.inception]


KINDS["cache of features"] = Kind(_read_features, ["cache/**/*"], _read_features, share=8)


def _read_video_memory(folder: Path) -> list:
    return open_source(f"video:{folder / 'clip.mp4'}").entries()


def _make_video_memory(folder: Path) -> None:
    _make_video(folder)
    _read_video_memory(folder)


KINDS["memory of a video"] = Kind(_make_video_memory, ["cache/**/*"], _read_video_memory, share=4)


def _make_statistics(folder: Path) -> None:
    from keras_faces.metrics.frechet import GaussianStatistics

    features = np.random.default_rng(0).normal(size=(20, 8))
    GaussianStatistics().update(features).save(folder / "a.npz")


def _read_statistics(folder: Path) -> tuple:
    from keras_faces.metrics.frechet import GaussianStatistics

    found = GaussianStatistics.load(folder / "a.npz")
    return found.count, found.mean.tobytes(), found.scatter.tobytes()


KINDS["statistics"] = Kind(_make_statistics, ["a.npz"], _read_statistics)


# ---------------------------------------------------------------------------------------------
# Runs and models


@functools.cache
def _trained() -> Path:
    """Train a model for three steps, once for all kinds that a run is a sample of."""
    folder = Path(tempfile.mkdtemp(prefix="keras_faces_fuzz_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    faces = {f"{n}.png": layouts.face(n, 32, 32, "PNG") for n in range(8)}
    layouts.write(faces, folder / "faces")

    def stop(line):
        if line.startswith("Scoring"):  # the rest takes seconds, and is not read here
            raise _Stopped

    with contextlib.suppress(_Stopped):
        kf.train(
            "dense_vae",
            data=folder / "faces",
            run=folder / "run",
            split="all",
            image_size=32,
            hidden_units=4,
            latent_dim=2,
            batch_size=4,
            steps=3,
            checkpoint_seconds=1e-6,
            count=2,
            print_fn=stop,
        )
    (folder / "run" / "model.keras").unlink()  # its checkpoints are read instead
    shutil.rmtree(folder / "run" / "tensorboard")
    _write_tables(folder / "run")
    return folder / "run"


def _make_run(folder: Path) -> None:
    shutil.copytree(_trained(), folder / "run")


def _write_tables(folder: Path) -> None:
    from keras_faces.runs import Run

    run = Run(folder)
    [row] = run.rows()[:1]
    run.metrics.write([{**row, "epoch": n, "step": 2 * n} for n in range(1, 7)])
    run.score_rows.write([{"epoch": n, "step": 2 * n, "sharpness": n / 7} for n in range(1, 4)])
    best = {"score": "laplacian_variance", "value": 3.5, "real": 4.0, "sampler": "prior"}
    best |= {"step": 2, "epoch": 1, "protocol": {"source": "orl"}}
    run.best_score_path.write_text(as_json(best))


def state_of(model) -> dict:
    """Return a model's configuration and all its weights."""
    return {
        "config": json.dumps({**model.get_config(), "name": ""}, sort_keys=True, default=str),
        "weights": [np.asarray(variable.numpy()).tobytes() for variable in model.variables],
        "shapes": [tuple(variable.shape) for variable in model.variables],
    }


def _read_run(folder: Path) -> dict:
    return _loaded(folder / "run")


def _loaded(path: Path) -> dict:
    import keras

    keras.utils.clear_session(free_memory=False)
    model = kf.load_model(path)
    if not np.isfinite(model.generate(2, seed=0)).all():
        raise ArithmeticError("faces that are no numbers")
    return state_of(model)


def _earlier_and_told(seen: Seen) -> bool:
    """The checkpoint before the damaged one, with a line that names that."""
    return "step-000000003" in seen.told and seen.found["shapes"] == seen.good["shapes"]


def _is_a_model(seen: Seen) -> bool:
    """Somebody made this file, and its checksums fit: what it says is what is meant."""
    return bool(seen.found["weights"])


def _read_keras(folder: Path) -> dict:
    return _loaded(folder / "a.keras")


def _make_keras(folder: Path) -> None:
    import keras

    from keras_faces.saving import save_model

    keras.utils.set_random_seed(0)
    model = kf.create_model("dense_vae", image_size=32, hidden_units=4, latent_dim=2, channels=1)
    model.compile()
    save_model(model, folder / "a.keras")


KINDS[".keras"] = Kind(_make_keras, ["a.keras"], _read_keras, share=12, keras=True)
KINDS[".keras, crafted"] = Kind(
    _make_keras, ["a.keras"], _read_keras, _is_a_model, 8, "members", keras=True
)
KINDS["checkpoint"] = Kind(
    _make_run, ["run/checkpoints/*"], _read_run, _earlier_and_told, share=16, keras=True
)
KINDS["checkpoint, crafted"] = Kind(
    _make_run, ["run/checkpoints/*"], _read_run, _is_a_model, 8, "members", keras=True
)


def _read_config(folder: Path) -> dict:
    """Look at a run in all ways that read its config."""
    from keras_faces.app.served import find_models
    from keras_faces.runs import Run
    from keras_faces.trained import TrainedModel

    run = folder / "run"
    found: dict = {"listed": find_models([folder]), "config": Run(run).config()}
    found["faces"] = TrainedModel(run).data_config
    found["model"] = _loaded(run)
    found["resumed"] = _resumed(run)
    return found


def _resumed(run: Path) -> str:
    """Resume a run up to where it goes on, which nothing may stand in the way of."""
    lines: list[str] = []

    def stop(line):
        lines.append(line)
        if line.startswith("Resuming"):
            raise _Stopped

    with contextlib.suppress(_Stopped):
        kf.resume(run, print_fn=stop)
    return "\n".join(lines)


def _without_checksum(seen: Seen) -> bool:
    """Whoever changes such a file by hand takes its checksum out; its form is looked at still."""
    return b'"sha256"' not in seen.after


KINDS["config.json"] = Kind(
    _make_run, ["run/config.json"], _read_config, _without_checksum, share=16, keras=True
)
KINDS["config.json, crafted"] = Kind(
    _make_run, ["run/config.json"], _read_config, lambda seen: True, 8, "crafted", keras=True
)


def _read_tables(folder: Path) -> dict:
    from keras_faces.runs import Run

    run = Run(folder / "run")
    rows = {("metrics", row["step"]): repr(row) for row in run.rows()}
    return rows | {("scores", row["step"]): repr(row) for row in run.score_rows.rows()}


def _some_rows(seen: Seen) -> bool:
    """Rows may be lost with their lines, as by a crash; none is another."""
    return seen.found.items() <= seen.good.items()


KINDS["metrics.csv, scores.csv"] = Kind(
    _make_run, ["run/metrics.csv", "run/scores.csv"], _read_tables, _some_rows, 16, keras=True
)


def _read_best(folder: Path) -> tuple:
    from keras_faces.runs import Run

    return _resumed(folder / "run"), Run(folder / "run").best_score()


KINDS["best.json"] = Kind(
    _make_run, ["run/best.json"], _read_best, _without_checksum, share=4, keras=True
)
KINDS["best.json, crafted"] = Kind(
    _make_run, ["run/best.json"], _read_best, lambda seen: True, 4, "crafted", keras=True
)


def command(*words: str) -> str:
    """Return what the command prints; its errors are raised."""
    from keras_faces.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    if code:
        told = err.getvalue().strip()
        if code != 2:
            raise RuntimeError(f"exit status {code}: {told}")
        raise kf.UserError(told)
    return out.getvalue()


def scores_json(value: float = 3.25) -> str:
    from keras_faces.metrics.scores import FORMAT

    record = {"value": value, "std": 0.5}
    names = ("laplacian_variance", "mean_pair_difference", "distinct_nearest")
    return as_json(
        {
            "format": FORMAT,
            "protocol": {"source": "orl", "fingerprint": "ab" * 32, "split": "all", "seed": 0},
            "needs": {"pixels": {}},
            "rows": {row: dict.fromkeys(names, record) for row in ("real", "prior")},
            "not_computed": {"inception_score": "no weights"},
        }
    )


def _make_scores(folder: Path) -> None:
    for name in ("a.json", "b.json"):
        (folder / name).write_text(scores_json())


def _read_scores(folder: Path) -> str:
    return command("compare", str(folder / "a.json"), str(folder / "b.json"))


KINDS["scores.json"] = Kind(_make_scores, ["a.json"], _read_scores, _without_checksum, share=8)
KINDS["scores.json, crafted"] = Kind(
    _make_scores, ["a.json"], _read_scores, lambda seen: bool(seen.found), 8, "crafted"
)


CONFIGS = {
    "a.yaml": "what: crops\nimage: photo.png\n",
    "a.toml": 'what = "crops"\nimage = "photo.png"\n',
    "a.json": '{"what": "crops", "image": "photo.png"}',
}


def _read_configs(folder: Path) -> list[str]:
    return [command("list", "--config", str(folder / name)) for name in CONFIGS]


def _make_recipe(folder: Path) -> None:
    shutil.copy(Path(kf.recipes.__file__).with_name("zhang-64.toml"), folder / "mine.toml")


# Texts of people's own: what they say after damage is another argument, or refused.
KINDS["config of a command"] = Kind(
    lambda folder: layouts.write({n: text.encode() for n, text in CONFIGS.items()}, folder),
    list(CONFIGS),
    _read_configs,
    lambda seen: bool(seen.found),
)
KINDS["recipe"] = Kind(
    _make_recipe,
    ["mine.toml"],
    lambda folder: kf.recipes.load_recipe(folder / "mine.toml")._replace(name=""),
    lambda seen: bool(seen.found),
)


COMPARISON = """
seeds = [0, 1]
scores = ["face_detection_rate", "psnr"]
[[trainings]]
recipe = "zhang-64"
gamma = [0.3, 1.0]
[[trainings]]
model = "vae"
steps = 30
"""
KINDS["comparison"] = Kind(
    lambda folder: layouts.write({"mine.toml": COMPARISON.encode()}, folder),
    ["mine.toml"],
    lambda folder: read_comparison(folder / "mine.toml")[2:],
    lambda seen: bool(seen.found),
)


def silence() -> None:
    """Keep TensorFlow's lines from the screen."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")


def members(data: bytes, damage: Callable[[str, bytes], tuple[bytes, str]], choose) -> tuple:
    """Damage one member of a zip file, and give it a checksum that fits."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as file, zipfile.ZipFile(out, "w") as made:
        names = file.namelist()
        chosen = choose(names)
        for name in names:
            content = file.read(name)
            if name == chosen:
                content, what = damage(name, content)
            made.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue(), f"in {chosen}: {what}"
