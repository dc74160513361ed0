"""Flickr-Faces-HQ.

T. Karras, S. Laine, T. Aila: A Style-Based Generator Architecture for Generative Adversarial
Networks, CVPR 2019.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from keras_faces.data.annotations import stem
from keras_faces.data.sources.base import Entry
from keras_faces.data.sources.dataset import DatasetSource
from keras_faces.data.sources.layouts import deduplicate, glance
from keras_faces.errors import UserError

COUNT, TRAIN = 70_000, 60_000
FOLDERS = ("thumbnails128x128", "images1024x1024")
UNALIGNED = "in-the-wild-images"


class FfhqSource(DatasetSource):
    """FFHQ: 70,000 aligned faces, 1024x1024 pixels or thumbnails of 128x128, colour.

    The first 60,000 are for training and the other 10,000 for validation, as its authors appointed.
    People are not known: the folders of 1000 pictures are no identities.

    Args:
        path: A folder or zip file of pictures numbered `00000.png` to `69999.png`, all in one
            folder or in folders of 1000.
    """

    scheme = "ffhq"
    credit = (
        "FFHQ: Karras, Laine and Aila, A Style-Based Generator Architecture for Generative "
        "Adversarial Networks, CVPR 2019 (CC BY-NC-SA 4.0; each photo under its author's licence)"
    )
    # From the README of github.com/NVlabs/ffhq-dataset.
    by_hand = """\
FFHQ must be downloaded by hand, with its authors' script or from their Google Drive.
1. Open https://github.com/NVlabs/ffhq-dataset.
2. Thumbnails, which are enough up to 128 pixels:
     python download_ffhq.py --thumbs     thumbnails128x128/, 70,000 files, 1.95 GB
   or the whole pictures:
     python download_ffhq.py --images     images1024x1024/, 70,000 files, 89.1 GB
   or the zip file of the same folder. The script checks the MD5 of each file.
3. Give ffhq:FOLDER or ffhq:FILE.zip; or set KERAS_FACES_DATA to the folder that holds ffhq/, and
   give just ffhq."""

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir() and (
            path.name in FOLDERS or any(os.path.isdir(path / name) for name in FOLDERS)
        ):
            return True
        seen = glance(path)
        if not seen.folders.isdisjoint(FOLDERS):
            return True
        return bool(seen.pictures) and all(map(_in_folder_of_1000, seen.pictures))

    def list_entries(self) -> list[Entry]:
        names = [name for name in self._numbered() if UNALIGNED not in name.split("/")]
        if not names:
            raise UserError(
                f"No picture in {self.title!r} is named as FFHQ's are, 00000.png to 69999.png; "
                f"the first is {self.files[0].name!r}. Give the folder or zip file without ffhq: "
                "in front."
            )
        held = [folder for folder in FOLDERS if any(folder in n.split("/") for n in names)]
        if len(held) > 1:
            raise UserError(
                f"{self.title!r} holds the same faces in two sizes. Give the one to use: "
                f"ffhq:{self.path / held[0]} or ffhq:{self.path / held[1]}."
            )
        splits = ("train", "validation")
        return [Entry(name, None, splits[int(stem(name)) >= TRAIN]) for name in deduplicate(names)]

    def _numbered(self) -> Iterator[str]:
        for entry in self.files:
            number = stem(entry.name)
            if len(number) == 5 and number.isascii() and number.isdigit() and int(number) < COUNT:
                yield entry.name


def _in_folder_of_1000(name: str) -> bool:
    """Whether a picture lies as `01000/01234.png` does."""
    return re.fullmatch(r"(?:.*/)?(\d\d)000/\1\d{3}\.\w+", name, re.ASCII) is not None
