"""What the pictures of a source show: faces, whole photographs, or none."""

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from PIL import Image, ImageDraw

from keras_faces.data.decode import BadPicture, open_photograph
from keras_faces.data.photographs import (
    USUAL,
    FoundFaces,
    Limits,
    PhotographsSource,
    find_in_sample,
)
from keras_faces.data.sources.base import Entry, Source
from keras_faces.detection.mtcnn import require_detector
from keras_faces.errors import UserError

LOOKED_AT = 100  # pictures of a source whose pictures are taken as they are
WHOLE = 1 / 3  # of a picture's shorter side: a narrower face makes it a whole photograph
TOO_SMALL = 48  # pixels of the shorter side, below which no face is found
SHOWN = 50  # names of a kind
TILE = 160  # pixels of a photograph on the sheet
GOOD, LEFT_OUT, TEXT = (0, 170, 60), (220, 30, 30), (40, 40, 40)

WHOLE_PHOTOGRAPHS = "whole photographs"
WITHOUT = "without a face"


class Look(NamedTuple):
    """What pictures of a source show.

    Attributes:
        source: The source.
        entries: The pictures.
        found: Their faces.
        limits: Which faces are large, level and sharp enough.
    """

    source: Source
    entries: Sequence[Entry]
    found: FoundFaces
    limits: Limits = USUAL

    def kinds(self) -> dict[str, list[int]]:
        """Return the numbers of the pictures of each kind of which there are some."""
        kinds: dict[str, list[int]] = {}
        for number, rows in self.found.by_photograph():
            shorter = int(self.found.sizes[number].min())
            own = []
            if self.found.reasons[number] is None and not rows:
                own.append(WITHOUT if shorter >= TOO_SMALL else "too small to look at")
            elif rows:
                largest = self.found.face(rows[0])
                own += [WHOLE_PHOTOGRAPHS] if largest.width < WHOLE * shorter else []
                own += ["with several faces"] if len(rows) > 1 else []
                if why := self.limits.refuse(largest):
                    own.append(f"with a {why} face")
            for kind in own:
                kinds.setdefault(kind, []).append(number)
        return kinds

    def lines(self) -> list[str]:
        """Return lines of text on what they show."""
        if isinstance(self.source, PhotographsSource):  # whose remark says all
            return []
        kinds = self.kinds()
        whole, count = len(kinds.pop(WHOLE_PHOTOGRAPHS, [])), len(self.entries)
        lines = []
        if whole:
            lines.append(
                f"{whole} of {count} pictures looked at are whole photographs (the face fills less "
                "than a third): use --faces aligned"
            )
        if kinds:
            told = ", ".join(f"{len(numbers)} {kind}" for kind, numbers in kinds.items())
            lines.append(f"looked at {count} pictures for faces: {told}")
        return lines or [f"looked at {count} pictures for faces: each shows one"]

    def named(self) -> list[str]:
        """Return a line for each picture that does not show one good face."""
        lines = []
        for kind, numbers in self.kinds().items():
            if kind == WHOLE_PHOTOGRAPHS:
                continue
            lines += [f"{kind}: {self.entries[number].name}" for number in numbers[:SHOWN]]
            if len(numbers) > SHOWN:
                lines.append(f"{kind}: and {len(numbers) - SHOWN:,} more")
        return lines

    def sheet(self, count: int = 24) -> Image.Image | None:
        """Return whole photographs with a box around each face, red where it is not good enough.

        Pictures without a good face come first. None where every picture is nothing but a face.

        Args:
            count: How many at most.
        """
        kinds = self.kinds()
        whole = kinds.pop(WHOLE_PHOTOGRAPHS, [])
        chosen = list(dict.fromkeys(chain(*kinds.values(), whole)))[:count]
        if not chosen:
            return None
        rows = dict(self.found.by_photograph())
        columns = min(len(chosen), 6)
        lines = -(-len(chosen) // columns)
        sheet = Image.new("RGB", (columns * (TILE + 6), lines * (TILE + 20)), "white")
        pictures = self._pictures(chosen)
        for place, number in enumerate(chosen):
            row, column = divmod(place, columns)
            tile = self._tile(pictures[number], number, rows[number])
            sheet.paste(tile, (column * (TILE + 6) + 3, row * (TILE + 20) + 3))
        return sheet

    def _pictures(self, chosen: list[int]) -> dict[int, object]:
        source = self.source.source if isinstance(self.source, PhotographsSource) else self.source
        if not source.sequential:
            return {number: source.undecoded(self.entries[number].name) for number in chosen}
        names = {self.entries[number].name: number for number in chosen}
        wanted = {}
        for entry, picture in source.pictures():
            if entry.name in names:
                wanted[names[entry.name]] = picture
            if len(wanted) == len(names):
                break
        return wanted

    def _tile(self, picture, number: int, rows: list[int]) -> Image.Image:
        tile = Image.new("RGB", (TILE, TILE + 14), "white")
        draw = ImageDraw.Draw(tile)
        try:
            pixels, (width, _), _ = open_photograph(picture, 3, 2 * TILE)
        except BadPicture:  # which is named elsewhere
            draw.text((2, TILE // 2), "cannot be read", fill=LEFT_OUT)
        else:
            image = Image.fromarray(pixels)
            image.thumbnail((TILE, TILE))
            left, top = (TILE - image.width) // 2, TILE - image.height
            tile.paste(image, (left, top))
            scale = image.width / width
            for rank, row in enumerate(rows, 1):
                face = self.found.face(row).scaled(scale)
                colour = LEFT_OUT if self.limits.refuse(self.found.face(row)) else GOOD
                x, y, right, bottom = face.box
                draw.rectangle((left + x, top + y, left + right, top + bottom), outline=colour)
                if len(rows) > 1:
                    draw.text((left + x + 4, top + y + 2), f"#{rank}", fill=colour)
        name = self.entries[number].name.rpartition("/")[2]
        draw.text((1, TILE), name if rows else f"{name}: no face", fill=TEXT if rows else LEFT_OUT)
        return tile


def look(source: Source) -> Look | None:
    """Look for faces in pictures of a source: in all where they are searched anyway, or in some.

    Returns:
        What they show, or None of a source that is known to hold faces alone, and where the
        detector is missing, which is warned of.
    """
    if isinstance(source, PhotographsSource):
        return Look(source, source.source.entries(), source.found, source.limits)
    if not source.examined:
        return None
    try:
        require_detector()
    except UserError as missing:  # pictures can be learnt without a look at them
        warnings.warn(f"Pictures are not looked at for faces. {missing}", stacklevel=2)
        return None
    return Look(source, *find_in_sample(source, LOOKED_AT))


def stacked(*pictures: Image.Image | None) -> Image.Image:
    """Return pictures one below the other."""
    there = [picture for picture in pictures if picture is not None]
    if len(there) == 1:
        return there[0]
    width, height = max(p.width for p in there), sum(p.height for p in there)
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for picture in there:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole
