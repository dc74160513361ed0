"""Pencil sketches of photos, written as files that `pairs:PATH` reads."""

import os
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from keras_faces.data import open_faces, open_source
from keras_faces.data.preparation import begin, cannot_write
from keras_faces.pencil import pencil_sketch
from keras_faces.pictures import grid, save_picture


def write_sketches(
    source: str | os.PathLike,
    out: str | os.PathLike,
    image_size: int = 128,
    crop: str = "center",
    progress: bool = True,
) -> int:
    """Write photos and pencil sketches of them as files that `pairs:OUT` reads.

    Stopped half-way, the same call goes on where it was.

    Args:
        source: As in `kf.data.load`.
        out: Folder in which to write `photos/NAME.png` and `sketches/NAME.png`.
        image_size: Width and height of the pictures in pixels.
        crop: A key of `kf.data.CROPS`.
        progress: Show a progress bar.

    Returns:
        Number of photos.

    Raises:
        UserError: If the source has no usable picture, `out` has such folders already, or cannot
            be written.
    """
    out = Path(out).expanduser()
    folders = [out / side for side in ("photos", "sketches")]
    opened = open_source(source)
    mark = begin(out, f"{opened.address} (crop {crop}, {image_size} pixels)", folders)
    stream = open_faces(
        opened, image_size, 64, "all", crop=crop, labels="name", shuffle=False, progress=progress
    )
    used = set()
    bar = tqdm(
        stream,
        desc=f"Sketches of {opened.title}",
        unit=" batches of 64",
        disable=None if progress else True,
    )
    for photos, names in bar:
        for photo, sketch, name in zip(photos, np.array(pencil_sketch(photos)), names):
            # Names within a zip file may lead anywhere, those in a folder differ in suffix alone.
            parts = PurePosixPath(name.decode("utf-8", "surrogatepass")).parts
            kept = PurePosixPath(*(part for part in parts if part.strip("./\\")))
            file = kept.with_suffix(".png")
            if file in used:
                file = kept.with_name(f"{kept.name}.png")
            used.add(file)
            for folder, picture in zip(folders, (photo, sketch)):
                target = folder / file
                if target.exists():  # of an earlier call
                    continue
                try:
                    save_picture(grid(picture[None], gap=0), target)
                except OSError as error:
                    raise cannot_write(target, error) from error
    mark.unlink()
    return stream.count
