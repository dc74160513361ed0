"""Labeled Faces in the Wild.

G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller: Labeled Faces in the Wild, UMass 07-49, 2007.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_faces.data.annotations import read_table, stem, text_of
from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import LEFT_OUT, Entry
from keras_faces.data.sources.dataset import DatasetSource
from keras_faces.data.sources.layouts import glance
from keras_faces.data.sources.published import Annotation, Published, format_files
from keras_faces.errors import UserError
from keras_faces.screen import visible

VERSIONS = ("lfw", "lfw_funneled", "lfw-funneled", "lfw-deepfunneled", "lfw_deepfunneled", "lfwa")
TRAIN = ("peopleDevTrain.txt", "peopleDevTrain.csv")
TEST = ("peopleDevTest.txt", "peopleDevTest.csv")
ATTRIBUTES = ("lfw_attributes.txt",)
NAMED = re.compile(r"(.+)_\d{4}")


class LfwSource(DatasetSource):
    """LFW: 13,233 photographs of 5,749 people, 250x250 pixels, colour.

    The split is that of View 1 (`peopleDevTrain.txt`, `peopleDevTest.txt`) where one of the files
    is there. Attributes are the signs of the 73 values in `lfw_attributes.txt`.

    Args:
        path: A folder or zip file of folders such as `Aaron_Eckhart/Aaron_Eckhart_0001.jpg`, in
            `lfw`, `lfw_funneled` or `lfw-deepfunneled` or not, with the files beside or in it.
        labelled: `"yes"` lists only pictures that have attributes, `"no"` all of them.
    """

    scheme = "lfw"
    credit = "LFW: Huang, Ramesh, Berg and Learned-Miller, Labeled Faces in the Wild, 2007"
    attributes_hint = (
        "put lfw_attributes.txt beside the folders of the people. It is at "
        "http://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt."
    )
    # SHA-256: tensorflow_datasets 4.9, datasets/lfw/checksums.tsv; scikit-learn, datasets/_lfw.py.
    # MD5: torchvision, datasets/lfw.py.
    published = (
        Published(
            "lfw.tgz",
            180_566_744,
            "055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0",
            "a17d05bd522c52d84eca14327a23d494",
            "https://ndownloader.figshare.com/files/5976018",
        ),
        Published(
            "lfw-funneled.tgz",
            sha256="b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
            md5="1b42dfed7d15c9b2dd63d5e5840c86ad",
            note="https://ndownloader.figshare.com/files/5976015",
        ),
        Published(
            "lfw-deepfunneled.tgz",
            md5="68331da3eb755a505a502b5aacb3c201",
            note="http://vis-www.cs.umass.edu/lfw/",
        ),
        Published("peopleDevTrain.txt", md5="54eaac34beb6d042ed3a7d883e247a21"),
        Published("peopleDevTest.txt", md5="e4bf5be0a43b5dcd9dc5ccfcb8fb19c5"),
    )
    by_hand = f"""\
LFW must be downloaded by hand. Its page is http://vis-www.cs.umass.edu/lfw/; where that does not
answer, figshare has copies.
1. Download one of
{format_files(published[:3])}
2. Unpack it: tar -xzf lfw.tgz
3. For the official split put these beside the folder that this makes (from LFW's page):
{format_files(published[3:])}
   and for attributes lfw_attributes.txt, from
   http://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt
4. Give lfw:FOLDER; or set KERAS_FACES_DATA to the folder that holds lfw/, and give just lfw.
(SHA-256 from tensorflow_datasets and scikit-learn, MD5 from torchvision.)"""

    def __init__(self, path: str | os.PathLike, labelled: str = "no"):
        super().__init__(path, labelled)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        for _ in range(2 * path.is_dir()):  # lfw_home/lfw_funneled, lfw-deepfunneled twice
            path = next((path / name for name in VERSIONS if os.path.isdir(path / name)), path)
        pictures = glance(path).pictures
        return bool(pictures) and all(map(_person, pictures))

    def folders_beside(self) -> Iterable[Path]:
        beside = [*super().folders_beside()]
        return [*beside, self.path.parent] if self.path.name in VERSIONS else beside

    def annotations(self) -> list[Annotation]:
        annotations = (self.annotation(*names) for names in (TRAIN, TEST, ATTRIBUTES))
        return [annotation for annotation in annotations if annotation]

    def list_entries(self) -> list[Entry]:
        names = [entry.name for entry in self.files]
        people = {name: _person(f"{self.container.path.name}/{name}") for name in names}
        named = [name for name in names if people[name]]
        if not named:
            raise UserError(
                f"No picture in {self.title!r} is named as LFW's are, Aaron_Eckhart/"
                f"Aaron_Eckhart_0001.jpg; the first is {names[0]!r}. Give the folder without lfw: "
                "in front."
            )
        versions = sorted({name.rpartition("/")[0].rpartition("/")[0] for name in named})
        if len(versions) > 1:
            raise UserError(
                f"{self.title!r} holds LFW more than once, in {', '.join(versions)}. Give one of "
                f"them alone, such as lfw:{self.path / versions[0]}."
            )
        if len(named) < len(names):
            first = next(name for name in names if not people[name])
            self.warn(
                f"{len(names) - len(named)} of {len(names)} pictures in {self.title!r} are not "
                f"named as LFW's are and are passed over; the first is {first!r}."
            )
        shown = [people[name] for name in named]
        return list(map(Entry, named, shown, self._splits(shown)))

    def _splits(self, people: list[str]) -> list[str | None]:
        train, test = self._side(TRAIN), self._side(TEST)
        if train is None and test is None:
            return [None] * len(people)
        if train and test and not train.isdisjoint(test):
            raise UserError(
                f"{min(train & test)} is in peopleDevTrain and in peopleDevTest of "
                f"{self.title!r}. Get both files anew."
            )
        # Together they name everybody; with one alone, all others are on the other side.
        if test is None:
            splits = ["train" if person in train else "test" for person in people]
        elif train is None:
            splits = ["test" if person in test else "train" for person in people]
        else:
            splits = [
                "train" if person in train else "test" if person in test else LEFT_OUT
                for person in people
            ]
        if not ((train or set()) | (test or set())).intersection(people):
            raise UserError(
                f"peopleDevTrain and peopleDevTest name none of the people in {self.title!r}, "
                f"such as {people[0]!r}. Put LFW's own files there."
            )
        return splits

    def _side(self, names: tuple[str, ...]) -> set[str] | None:
        annotation = self.annotation(*names)
        if annotation is None:
            return None
        table = read_table(annotation.read(), annotation.title, "a number", header=False)
        return set(table.names)

    def attributes(self) -> Attributes | None:
        annotation = self.annotation(*ATTRIBUTES)
        if annotation is None:
            return None
        columns, rows, values = _read_signs(annotation)
        names = {stem(entry.name): entry.name for entry in self.files}
        rows = {names[key]: row for key, row in rows.items() if key in names}
        if not rows:
            raise UserError(
                f"{annotation.title} names none of the pictures in {self.title!r}. Put LFW's own "
                "file there."
            )
        return Attributes(
            columns,
            rows,
            values,
            f"{annotation.title} does not name them (LFW's own lacks some 90 pictures); "
            "lfw:PATH?labelled=yes leaves them out.",
        )


def _person(name: str) -> str | None:
    """Return who is on a picture such as `Aaron_Eckhart/Aaron_Eckhart_0001.jpg`, or None."""
    match = NAMED.fullmatch(stem(name))
    return match[1] if match and name.split("/")[-2:-1] == [match[1]] else None


def _read_signs(annotation: Annotation) -> tuple[tuple[str, ...], dict[str, int], np.ndarray]:
    columns: tuple[str, ...] = ()
    rows: dict[str, int] = {}
    values = []
    for number, line in enumerate(text_of(annotation.read(), annotation.title).splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("\r\n").split("\t")]
        if not line.strip():
            continue
        if line.startswith("#"):
            cells = [cell for cell in cells if cell != "#"]
            if [cell.lower() for cell in cells[:2]] == ["person", "imagenum"]:
                columns = tuple(map(visible, cells[2:]))
            continue
        if not columns:
            raise UserError(
                f"{annotation.title}, line {number}: expected a header first, '#', 'person', "
                "'imagenum' and the attributes, separated by tabs."
            )
        try:
            if len(cells) != len(columns) + 2:
                raise ValueError
            key = f"{cells[0].replace(' ', '_')}_{int(cells[1]):04d}"
            signs = [float(cell) > 0 for cell in cells[2:]]
        except ValueError as error:
            raise UserError(
                f"{annotation.title}, line {number}: expected a person, a number and "
                f"{len(columns)} values, separated by tabs. Received {len(cells)} cells: "
                f"{line[:80]!r}."
            ) from error
        rows[key] = len(values)
        values.append(signs)
    if not values:
        raise UserError(f"{annotation.title} holds no rows. Put the whole file there.")
    return columns, rows, np.array(values, np.uint8)
