"""CelebA, in the layouts in which people have it.

Z. Liu, P. Luo, X. Wang, X. Tang: Deep Learning Face Attributes in the Wild, ICCV 2015.
"""

import functools
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_faces.data.annotations import Table, read_table, stem
from keras_faces.data.labels import Attributes, Landmarks
from keras_faces.data.sources.base import LEFT_OUT, Entry
from keras_faces.data.sources.dataset import DatasetSource, one_of
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.layouts import deduplicate, glance, open_container
from keras_faces.data.sources.published import Annotation, Published, format_files
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.data.splits import SPLITS
from keras_faces.errors import UserError

COUNT = 202_599
PARTITIONS = ("official", "sfu", "identity")
POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
BOUNDARIES = (162_770, 182_637, COUNT)  # last numbers of the official sides
SFU_TRAIN, SFU_TEST = 9000, 1000

KAGGLE = "archive.zip"
FOLDERS = ("img_align_celeba", "img_align_celeba_png")
ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
IDENTITIES = ("identity_CelebA.txt", "identity_celeba.txt", "identity_CelebA.csv")
LANDMARKS = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
ANNOTATIONS = (ATTRIBUTES, IDENTITIES, PARTITION, LANDMARKS)


class Match(NamedTuple):
    """How an annotation file and the pictures fit together.

    Attributes:
        title: The file.
        rows: How many rows it has.
        pictures_without_row: Names of the pictures that it does not name.
        rows_without_picture: File names in it that are not there.
    """

    title: str
    rows: int
    pictures_without_row: list[str]
    rows_without_picture: list[str]


class CelebaSource(DatasetSource):
    """CelebA: 202,599 aligned faces of 10,177 people, 178x218 pixels, colour, 40 attributes.

    Args:
        path: A folder or zip file that holds `img_align_celeba`, or that folder itself. Annotation
            files may lie in it, beside it, or in `Anno` and `Eval` there, as .txt (official) or as
            .csv (Kaggle). A folder may also hold `img_align_celeba.zip` instead, or, as Zhang et
            al. prepared it, one folder for each person.
        partition: `"official"` splits as `list_eval_partition` says, or by number where that file
            is missing; `"sfu"` takes the first 9000 pictures by name for training and the next
            1000 for testing, which are the SFU report's sizes; `"identity"` holds out people.
        labelled: `"yes"` lists only pictures that have attributes, `"no"` all of them.
    """

    scheme = "celeba"
    credit = "CelebA: Liu, Luo, Wang and Tang, Deep Learning Face Attributes in the Wild, ICCV 2015"
    attributes_hint = (
        "put list_attr_celeba.txt (or Kaggle's list_attr_celeba.csv) beside the folder or zip file "
        "of the pictures, or into it."
    )
    # Sizes and SHA-256: tensorflow_datasets 4.9, datasets/celeb_a/checksums.tsv. MD5: torchvision,
    # datasets/celeba.py.
    published = (
        Published(
            "Img/img_align_celeba.zip",
            1_443_490_838,
            "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
            "00d2c5bc6d35e252742224ab0c1e8fcb",
        ),
        Published(
            "Anno/list_attr_celeba.txt",
            26_721_026,
            "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0",
            "75e246fa4810816ffd6ee81facbd244c",
            "(attributes)",
        ),
        Published(
            "Anno/identity_CelebA.txt",
            3_424_458,
            "c6143857c3e2630ac2da9f782e9c1232e5e59be993a9d44e8a7916c78a6158c0",
            "32bd1bd63d3c78cd57e08160ec5ed1e2",
            "(people)",
        ),
        Published(
            "Eval/list_eval_partition.txt",
            2_836_386,
            "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
            "d32c9cbf5e040fd4025c592c306e6668",
            "(splits)",
        ),
        Published(
            "Anno/list_landmarks_align_celeba.txt",
            12_156_055,
            "6c02a87569907f6db2ba99019085697596730e8129f67a3d61659f198c48d43b",
            "cc24ecafdb5b50baae59b03474781f8c",
            "(eyes, nose, mouth)",
        ),
    )
    by_hand = f"""\
CelebA must be downloaded by hand; it is for research that is not commercial.
1. Open https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, "Align&Cropped Images" (Google Drive).
2. Download into one folder, named celeba for example; the first file is enough for pictures alone:
{format_files(published)}
   Or Kaggle's copy, https://www.kaggle.com/datasets/jessicali9530/celeba-dataset, archive.zip,
   which lacks the people.
3. Nothing needs to be unpacked. Give celeba:FOLDER or celeba:FILE.zip; or set KERAS_FACES_DATA to
   the folder that holds celeba/, and give just celeba.
(Sizes and SHA-256 from tensorflow_datasets, MD5 from torchvision.)"""

    def __init__(self, path: str | os.PathLike, partition: str = "official", labelled: str = "no"):
        self.partition = one_of("partition", partition, PARTITIONS)
        options = {} if partition == "official" else {"partition": partition}
        super().__init__(path, labelled, **options)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            known = [*FOLDERS, *(f"{name}.zip" for name in FOLDERS), *ATTRIBUTES]
            below = [path / name for name in known] + [path / "Img" / name for name in known]
            if path.name in FOLDERS or any(map(os.path.exists, below)):
                return True
            path = path / KAGGLE
        elif path.stem in FOLDERS and path.is_file() and zipfile.is_zipfile(path):
            return True
        seen = glance(path)
        return not seen.folders.isdisjoint(FOLDERS) or not seen.others.isdisjoint(ATTRIBUTES)

    def open_container(self) -> FolderSource | ZipSource:
        if self.path.is_dir() and not _unpacked(self.path):
            for file in sorted([*self.path.glob("*.*"), *self.path.glob("Img/*.*")]):
                if file.suffix.lower() == ".zip" and (
                    file.stem in FOLDERS or not glance(file).folders.isdisjoint(FOLDERS)
                ):
                    return ZipSource(file, **EACH_FOLDER)
        return open_container(self.path, self.by_hand)

    def folders_beside(self) -> Iterable[Path]:
        base = self.container.path
        if base.is_file() or base.name in FOLDERS:
            base = base.parent
        tops = [self.path] if self.path.is_dir() else []
        tops += [base, base.parent] if base.name in ("Img", *FOLDERS) else [base]
        for top in dict.fromkeys(tops):
            yield from (top, top / "Anno", top / "Eval", top / "Img")

    def annotations(self) -> list[Annotation]:
        annotations = (
            self.annotation(*names) for names in (ATTRIBUTES, IDENTITIES, PARTITION, LANDMARKS)
        )
        return [annotation for annotation in annotations if annotation]

    @functools.cached_property
    def _aligned(self) -> list[str]:
        """Names of the pictures in `img_align_celeba`, none where there is no such folder."""
        inside = self.container.path.name
        for folder in FOLDERS:
            here = [e.name for e in self.files if f"{inside}/{e.name}".split("/")[-2] == folder]
            if here:
                return deduplicate(here)
        return []

    @functools.cached_property
    def _names(self) -> list[str]:
        return self._aligned or [entry.name for entry in self.files]

    @functools.cached_property
    def _stems(self) -> list[str]:
        return [stem(name) for name in self._names]

    def table(self, which: Sequence[str]) -> Table | None:
        """Read an annotation file.

        Args:
            which: One of `ANNOTATIONS`.

        Returns:
            Its rows, or None where the file is not there.
        """
        annotation = self.annotation(*which)
        if annotation is None:
            return None
        kind, header = {
            ATTRIBUTES: ("1 or -1", True),
            IDENTITIES: ("a number", False),
            PARTITION: ("0, 1 or 2", False),
            LANDMARKS: ("a whole number", True),
        }[which]
        table = read_table(annotation.read(), annotation.title, kind, header)
        if table.warning and table.warning not in self.mismatches:
            self.warn(table.warning)
        return table

    def list_entries(self) -> list[Entry]:
        people = self._people()
        if self.partition == "sfu":
            splits = self._sfu_splits()
        elif self.partition == "identity":
            if None in people:
                raise UserError(
                    "partition=identity holds out people, for which each picture needs a row in "
                    f"identity_CelebA.txt; {people.count(None):,} of {len(people):,} in "
                    f"{self.title!r} have none. Put the file beside the pictures."
                )
            splits = [None] * len(people)
        else:
            splits = self._official_splits()
        return list(map(Entry, self._names, people, splits))

    def _people(self) -> list[str | None]:
        table = self.table(IDENTITIES)
        if table is None and self._aligned:
            return [None] * len(self._aligned)
        if table is None:  # as Zhang et al. prepared it, with a folder for each person
            return [entry.identity for entry in self.files]
        values = [str(person) for person in table.values[:, 0].tolist()]
        rows = table.match(self._stems)
        self._warn(table, rows, "show nobody that is known")
        return [None if row is None else values[row] for row in rows]

    def _official_splits(self) -> list[str | None]:
        table = self.table(PARTITION)
        if table is None:
            numbers = [
                int(name) if len(name) == 6 and name.isascii() and name.isdigit() else 0
                for name in self._stems
            ]
            if not all(1 <= number <= COUNT for number in numbers):
                return [None] * len(numbers)
            return [SPLITS[sum(number > last for last in BOUNDARIES)] for number in numbers]
        splits = [SPLITS[number] for number in table.values[:, 0].tolist()]
        rows = table.match(self._stems)
        self._warn(table, rows, "are left out of every split")
        return [LEFT_OUT if row is None else splits[row] for row in rows]

    def _sfu_splits(self) -> list[str]:
        count, used = len(self._names), SFU_TRAIN + SFU_TEST
        if count < used:
            raise UserError(
                f"partition=sfu takes the first {used:,} pictures by name; {self.title!r} has "
                f"{count:,}. Give a copy of CelebA with more, or leave partition out."
            )
        return ["train"] * SFU_TRAIN + ["test"] * SFU_TEST + [LEFT_OUT] * (count - used)

    def _warn(self, table: Table, rows: list[int | None], what: str) -> None:
        missing = rows.count(None)
        if missing:
            self.warn(
                f"{missing:,} of {len(rows):,} pictures have no row in {table.title}, so they "
                f"{what}; the first is {self._names[rows.index(None)]!r}."
            )

    def attributes(self) -> Attributes | None:
        table = self.table(ATTRIBUTES)
        if table is None:
            return None
        rows = zip(self._names, table.match(self._stems))
        return Attributes(
            table.columns,
            {name: row for name, row in rows if row is not None},
            table.values.astype("uint8"),
            f"Each needs a row in {table.title}; {self.scheme}:PATH?labelled=yes leaves those "
            "without one out.",
        )

    def landmarks(self) -> Landmarks | None:
        table = self.table(LANDMARKS)
        if table is None:
            return None
        expected = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
        if table.columns != expected:
            raise UserError(
                f"{table.title} must have the columns {', '.join(expected)}. "
                f"Received: {', '.join(table.columns)}."
            )
        rows = zip(self._names, table.match(self._stems))
        return Landmarks(
            table.columns,
            {name: row for name, row in rows if row is not None},
            table.values,
            f"Each needs a row in {table.title}; get the whole file.",
        )

    def remarks(self) -> list[str]:
        lines = []
        for title, rows, without_row, without_picture in self.matches():
            line = f"{title}: {rows:,} rows"
            for missing, what in ((without_row, "pictures"), (without_picture, "rows")):
                other = "row" if what == "pictures" else "picture"
                if missing:
                    line += f"; {len(missing):,} {what} without a {other}, such as {missing[0]}"
            lines.append(line)
        return lines

    def matches(self) -> list[Match]:
        """Compare each annotation file that is there with the pictures."""
        matches = []
        for which in ANNOTATIONS:
            table = self.table(which)
            if table is not None:
                rows, stems = {stem(name) for name in table.names}, set(self._stems)
                matches.append(
                    Match(
                        table.title,
                        len(table.names),
                        [name for name in self._names if stem(name) not in rows],
                        [name for name in table.names if stem(name) not in stems],
                    )
                )
        return matches


def _unpacked(path: Path) -> bool:
    """Whether a folder holds the unpacked pictures, at the depths at which people have them."""
    if path.name in FOLDERS:
        return True
    pictures = [top / folder for top in (path, path / "Img") for folder in FOLDERS]
    try:
        return any(folder.is_dir() and any(folder.iterdir()) for folder in pictures)
    except OSError:  # which `FolderSource` explains
        return True
