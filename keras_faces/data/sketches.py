"""Pencil sketches of photos, written as files that `pairs:PATH` reads."""

import os
from pathlib import Path, PurePosixPath

import numpy as np

from keras_faces.data import open_faces
from keras_faces.errors import UserError
from keras_faces.pictures import grid, save_picture


def write_sketches(
    source: str | os.PathLike,
    out: str | os.PathLike,
    image_size: int = 128,
    crop: str = "center",
    progress: bool = True,
) -> int:
    """Write photos and pencil sketches of them as files that `pairs:OUT` reads.

    Args:
        source: As in `kf.data.load`.
        out: Folder in which to write `photos/NAME.png` and `sketches/NAME.png`.
        image_size: Width and height of the pictures in pixels.
        crop: A key of `kf.data.CROPS`.
        progress: Show a progress bar while pictures are decoded for the first time.

    Returns:
        Number of photos.

    Raises:
        UserError: If the source has no usable picture, or `out` has such folders already.
    """
    from keras_faces.models.cyclegan import pencil_sketch

    folders = [Path(out, side) for side in ("photos", "sketches")]
    taken = next((folder for folder in folders if folder.exists()), None)
    if taken is not None:
        raise UserError(f"There is {str(taken)!r} already. Give another folder, or remove it.")
    stream = open_faces(
        source, image_size, 64, "all", crop=crop, labels="name", shuffle=False, progress=progress
    )
    used = set()
    for photos, names in stream:
        for photo, sketch, name in zip(photos, np.array(pencil_sketch(photos)), names):
            # Names within a zip file may lead anywhere, those in a folder differ in suffix alone.
            parts = PurePosixPath(name.decode("utf-8", "surrogatepass")).parts
            kept = PurePosixPath(*(part for part in parts if part.strip("./\\")))
            file = kept.with_suffix(".png")
            if file in used:
                file = kept.with_name(f"{kept.name}.png")
            used.add(file)
            for folder, picture in zip(folders, (photo, sketch)):
                save_picture(grid(picture[None], gap=0), folder / file)
    return stream.count
