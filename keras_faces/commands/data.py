"""Inspect sources of faces, and prepare them."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from keras_faces.commands import kinds
from keras_faces.commands.functions import plain_help, without_keras
from keras_faces.commands.inputs import Drawing
from keras_faces.errors import Interrupted, UserError, number_of
from keras_faces.screen import quoted

# TFDS imports TensorFlow, and that is noisy.
light = without_keras(unless=lambda *source, **_: any("tfds:" in s for s in source))


@plain_help
@Parameter(name="*")
@dataclass(frozen=True)
class Pictures:
    """How a source's pictures are decoded.

    Args:
        crop: How a picture becomes a square one; see: keras-faces list crops
        image_size: Width and height in pixels.
        channels: 1 for grey, 3 for colour. Defaults to what the pictures are.
        people: What the folders are: people, classes of pictures, or nothing. Defaults to a guess
            from their number, sizes and names.
        faces: How faces are taken from the pictures. Defaults to the source's options, or as-is.
        per_photo: Which faces to take from each photo. Defaults to all.
    """

    crop: kinds.Crop = "center"
    image_size: int = 64
    channels: Literal[1, 3] | None = None
    people: kinds.People | None = None
    faces: kinds.Faces | None = None
    per_photo: kinds.PerPhoto | None = None

    def prepare(self, sources: Sequence[str], strict: bool = False):
        """Return the sources as one, its prepared pictures and sketches, and what it warned of."""
        from keras_faces.data import SkippedPictures, cache, guess_channels, open_source

        if self.image_size < 1:
            raise UserError(f"--image-size must be 1 or more. Received: {self.image_size}.")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened = open_source(sources, self.people, self.faces, self.per_photo)
            given = self.crop, self.image_size, self.channels or guess_channels(opened), strict
            try:
                prepared = cache.prepare(opened, *given)
                drawn = opened.sketches()
                if drawn is not None:
                    drawn = cache.prepare(drawn, *given)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    "Stopped. Decoded pictures are kept. Run the same command again to resume.",
                    number_of(stop),
                ) from None
        warned = [
            str(warning.message)
            for warning in caught
            # What is bad is listed, all of it.
            if issubclass(warning.category, UserWarning) and warning.category is not SkippedPictures
        ]
        return opened, prepared, drawn, list(dict.fromkeys(warned))


@light
def check(
    *source: Annotated[kinds.Source, Parameter(required=True)],
    pictures: Pictures = Pictures(),
) -> None:
    """List pictures that are damaged, copied, too small, or not as published.

    Args:
        source: Source of faces; see: keras-faces list datasets
    """
    from keras_faces.data.looking import look
    from keras_faces.data.overview import outline, problems, remarks, unmatched

    opened, prepared, drawn, warned = pictures.prepare(source)
    print("\n".join([*outline(opened, prepared), *remarks(opened)]))
    for line in opened.compare_with_published():
        print(line)
    found = [*warned, *unmatched(opened, prepared), *problems(prepared)]
    if shown := look(opened):
        for line in shown.lines():
            print(line)
        found += shown.named()
    if drawn is not None:
        found += [f"sketches: {line}" for line in problems(drawn)]
    print("\n".join(found) if found else "nothing damaged, copied or suspiciously small")
    if prepared.bad:
        print(f"{len(prepared.bad)} bad pictures are skipped in training")


@light
def info(
    *source: Annotated[kinds.Source, Parameter(required=True)],
    pictures: Pictures = Pictures(),
    drawing: Drawing = Drawing(),
    out: kinds.Picture = "contact-sheet.png",
    count: int = 64,
    seed: int = 0,
) -> None:
    """Describe a source, and write a contact sheet of it.

    Args:
        source: Source of faces; see: keras-faces list datasets
        out: The picture to write.
        count: Number of pictures on it.
        seed: Seed that chooses them.
    """
    from keras_faces.data.looking import look, stacked
    from keras_faces.data.overview import contact_sheet, describe

    opened, prepared, drawn, warned = pictures.prepare(source)
    shown = look(opened)
    about_faces = shown.lines() if shown else []
    print("\n".join(describe(opened, prepared) + about_faces + warned))
    sheet = contact_sheet(prepared, count, seed, drawn)
    sheet = stacked(sheet, shown and shown.sheet())
    drawing.save(sheet, out)
    print(f"contact sheet: {out}")


@light
def prepare(
    *source: Annotated[kinds.Source, Parameter(required=True)],
    pictures: Pictures = Pictures(),
    strict: bool = False,
) -> None:
    """Decode all pictures now, so that training begins at once.

    Args:
        source: Source of faces; see: keras-faces list datasets
        strict: Stop at the first bad picture.
    """
    began = time.perf_counter()
    opened, prepared, drawn, warned = pictures.prepare(source, strict)
    seconds = time.perf_counter() - began
    folders = [made.folder for made in (prepared, drawn) if made is not None]
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    print(
        f"{prepared.count:,} pictures of {opened.title!r} at "
        f"{'x'.join(map(str, prepared.image_shape))}, crop {pictures.crop}: ready after "
        f"{seconds:.1f} s, {size / 2**20:,.1f} MiB in {' and '.join(map(str, folders))}"
    )
    for line in warned:
        print(line)
    bad = len(prepared.bad) + (len(drawn.bad) if drawn is not None else 0)
    if bad:
        print(f"{bad} bad pictures were left out; see: keras-faces data check")


@light
def attributes(source: kinds.Source, /, *, out: str = "list_attr_celeba.csv") -> None:
    """Write attributes to a .csv file, as 1 and -1.

    Args:
        source: Source of faces; see: keras-faces list datasets
        out: The file to write.
    """
    from keras_faces.data.preparation import attributes_csv

    rows, count = attributes_csv(source, out)
    print(f"{count} attributes of {rows:,} pictures: {out}")


@light
def people(
    source: kinds.Source, /, *, out: str, link: Literal["none", "hard", "symbolic"] = "none"
) -> None:
    """Make a folder of pictures for each person.

    Args:
        source: Source of faces; see: keras-faces list datasets
        out: The folder to make.
        link: Make links of this kind instead of copies.
    """
    from keras_faces.data.preparation import people_folders

    made = people_folders(source, out, link)
    print(f"{made.people:,} people on {made.pictures:,} pictures: {made.folder}")
    if made.nobody:
        print(
            f"left out, because their person is not known: {len(made.nobody):,}, "
            f"the first is {made.nobody[0]}"
        )
    for name, reason in made.bad:
        print(f"bad, left out: {name}: {reason}")


def sketches(
    source: kinds.Source, /, *, out: str, crop: kinds.Crop = "center", image_size: int = 128
) -> None:
    """Draw sketches of photos with the pencil filter, as a folder for pairs:DIR.

    Args:
        source: Source of photos; see: keras-faces list datasets
        out: Folder for `photos/` and `sketches/`.
        crop: How a picture becomes a square one; see: keras-faces list crops
        image_size: Width and height in pixels.
    """
    from keras_faces.data.sketches import write_sketches

    try:
        written = write_sketches(source, out, image_size, crop)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            "Stopped. Finished drawings are kept. Run the same command again to resume.",
            number_of(stop),
        ) from None
    print(f"{written} photos with their sketches. Use them as: {quoted(f'pairs:{out}')}")
