"""UTKFace, whose labels are in the file names.

Z. Zhang, Y. Song, H. Qi: Age Progression/Regression by Conditional Adversarial Autoencoder, CVPR
2017.
"""

import os
import re
from pathlib import Path

import numpy as np

from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import Entry
from keras_faces.data.sources.dataset import DatasetSource
from keras_faces.data.sources.layouts import deduplicate, glance
from keras_faces.errors import UserError

NAMED = re.compile(r"(\d{1,3})_([01])_([0-4])_[^/_]*")
LIKE = re.compile(r"\d{1,3}_\d?_(\d?_)?\d{8,17}\D.*")
NAMES = ("woman", "white", "black", "asian", "indian", "child", "over_60")


class UtkFaceSource(DatasetSource):
    """UTKFace: more than 20,000 aligned faces, 200x200 pixels, colour, by age, gender and race.

    Attributes: `woman`; `white`, `black`, `asian`, `indian` (none of them: others, as the data set
    has it); `child`, under 13 years; `over_60`. People are not known. A picture whose name lacks a
    field has no attributes; it is listed all the same, but for `labelled=yes`.

    Args:
        path: A folder or zip file of pictures named `<age>_<gender>_<race>_<time>.jpg.chip.jpg`.
            One that lies in several folders, as in Kaggle's copy, counts once.
        labelled: `"yes"` lists only pictures whose names have all fields, `"no"` all of them.
    """

    scheme = "utkface"
    credit = (
        "UTKFace: Zhang, Song and Qi, Age Progression/Regression by Conditional Adversarial "
        "Autoencoder, CVPR 2017"
    )
    by_hand = """\
UTKFace must be downloaded by hand; it is for research that is not commercial.
1. Open https://susanqq.github.io/UTKFace/, "Aligned&Cropped Faces" (Google Drive): UTKFace.tar.gz,
   23,708 pictures. No checksum is published. Where Drive refuses, Kaggle has a copy that needs no
   unpacking: https://www.kaggle.com/datasets/jangedoo/utkface-new, archive.zip.
2. Unpack it: tar -xzf UTKFace.tar.gz
3. Give utkface:FOLDER or utkface:FILE.zip; or set KERAS_FACES_DATA to the folder that holds
   utkface/, and give just utkface."""

    def __init__(self, path: str | os.PathLike, labelled: str = "no"):
        super().__init__(path, labelled)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        pictures = glance(path).pictures
        return bool(pictures) and all(LIKE.fullmatch(_file(name)) for name in pictures)

    def list_entries(self) -> list[Entry]:
        names = [entry.name for entry in self.files]
        if not any(map(_fields, names)):
            raise UserError(
                f"No picture in {self.title!r} is named as UTKFace's are, "
                f"25_1_0_20170116174525125.jpg.chip.jpg; the first is {names[0]!r}. Give the "
                "folder or zip file without utkface: in front."
            )
        return [Entry(name) for name in deduplicate(names)]

    def attributes(self) -> Attributes:
        known = [(entry.name, _fields(entry.name)) for entry in self.files]
        known = [(name, fields) for name, fields in known if fields]
        values = [
            (gender, race == 0, race == 1, race == 2, race == 3, age < 13, age > 60)
            for _, (age, gender, race) in known
        ]
        return Attributes(
            NAMES,
            {name: row for row, (name, _) in enumerate(known)},
            np.array(values, np.uint8).reshape(-1, len(NAMES)),
            "Their names lack the age, the gender or the race; utkface:PATH?labelled=yes leaves "
            "them out.",
        )


def _fields(name: str) -> tuple[int, int, int] | None:
    """Return age, gender and race, or None where a field is missing."""
    match = NAMED.fullmatch(_file(name).partition(".")[0])
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _file(name: str) -> str:
    return name.rpartition("/")[2]
