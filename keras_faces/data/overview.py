"""What is in a source: how many pictures, of which sizes, with which labels, and what is wrong."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from keras_faces.data.cache import FaceCache
from keras_faces.data.crops import CROPS, apply_crop
from keras_faces.data.decoding import SIDES
from keras_faces.data.faces import look_at_channels
from keras_faces.data.labels import Attributes, Landmarks
from keras_faces.data.names import suffix_counts
from keras_faces.data.sources import Source
from keras_faces.data.sources.several import DifferentLabels
from keras_faces.errors import UserError
from keras_faces.pictures import grid
from keras_faces.pixels import to_float

SHOWN = 10  # names in a list


def outline(source: Source, cache: FaceCache) -> list[str]:
    """Return lines of text on a source's pictures and people; arguments as of `describe`."""
    lines = [f"{cache.count:,} good pictures in {source.title!r}, {len(cache.bad):,} bad"]
    sizes, counts = np.unique(cache.raw_sizes, axis=0, return_counts=True)
    if len(sizes) == 1:
        lines.append("sizes: all {}x{} pixels".format(*sizes[0]))
    else:
        width, height = sizes[counts.argmax()]
        (narrow, low), (wide, high) = cache.raw_sizes.min(0), cache.raw_sizes.max(0)
        lines.append(
            f"sizes: {len(sizes):,} different ones, {narrow} to {wide} wide and {low} to {high} "
            f"high; most often {width}x{height} ({counts.max():,})"
        )
    channels, why = look_at_channels(source)
    lines.append(f"channels: {cache.image_shape[2]}")
    lines += [why] if channels == cache.image_shape[2] else []
    people = len(cache.people)
    if people:
        each = np.bincount(cache.people_numbers[cache.people_numbers >= 0])
        least, most = each.min(), each.max()
        count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        who = "people" if source.whole_people else "classes"
        lines.append(f"{who}: {people:,}, with {count} pictures each (labels='identity')")
    else:
        lines.append("people: not known")
    return lines


def describe(source: Source, cache: FaceCache) -> list[str]:
    """Return lines of text on a source and its labels.

    Args:
        source: What `open_source` returned.
        cache: Its prepared pictures.
    """
    lines = outline(source, cache) + _attributes(source, cache)
    counts = np.bincount(cache.sides, minlength=len(SIDES)).tolist()
    own = [f"{name} {count:,}" for name, count in zip(SIDES, counts, strict=True) if name and count]
    lines.append(f"splits of its own: {', '.join(own) if own else 'none'}")
    landmarks = _known(source.landmarks)
    if isinstance(landmarks, str):
        lines.append(f"landmarks: {landmarks}")
    elif landmarks is not None:
        points = dict.fromkeys(name.rpartition("_")[0] for name in landmarks.names)
        lines.append(f"landmarks: {', '.join(points)} (labels='landmarks')")
    if source.sketches() is not None:
        lines.append("sketches: one for each photo (labels='sketch')")
    lines += remarks(source)
    if source.credit:
        lines.append(f"credit: {source.credit}")
    return lines


def remarks(source: Source) -> list[str]:
    """Return lines of text on a copy of a source, and which of its files are passed over."""
    return [*source.remarks(), *passed_over(source)]


def passed_over(source: Source) -> list[str]:
    """Return a line of text on the files that a source passes over, if any."""
    counts = suffix_counts(source.passed_over())
    return [f"passed over: {counts}"] if counts else []


def _attributes(source: Source, cache: FaceCache) -> list[str]:
    attributes = _known(source.attributes)
    if not isinstance(attributes, Attributes):
        return [f"attributes: {attributes or 'none'}"]
    rows = [attributes.rows[name] for name in cache.names if name in attributes.rows]
    shares = attributes.values[rows].mean(axis=0) if rows else np.zeros(len(attributes.names))
    shown = [f"{name} {share:.0%}" for name, share in zip(attributes.names, shares, strict=True)]
    line = f"attributes: {len(shown)} (labels='attributes'): {', '.join(shown)}"
    return [line, *unmatched(source, cache)]


def _known(
    labels: Callable[[], Attributes | Landmarks | None],
) -> Attributes | Landmarks | str | None:
    """Return a source's attributes or landmarks, or why those of several cannot be used."""
    try:
        return labels()
    except DifferentLabels as error:
        return str(error)


def unmatched(source: Source, cache: FaceCache) -> list[str]:
    """Return lines of text on attributes and pictures that do not match, most likely none."""
    attributes = _known(source.attributes)
    if not isinstance(attributes, Attributes):
        return [f"attributes: {attributes}"] if attributes else []
    matched = sum(name in attributes.rows for name in cache.names)
    bare, other = cache.count - matched, len(attributes.rows) - matched
    lines = [f"unmatched: {bare:,} pictures have no attributes"] if bare else []
    if other > 0:
        lines.append(f"unmatched: {other:,} rows of attributes are of pictures not there")
    return lines


def problems(cache: FaceCache) -> list[str]:
    """Return lines of text on damaged, copied and suspiciously small pictures, most likely none."""
    lines = [f"bad: {name}: {reason}" for name, reason in cache.bad]
    lines += _copies(cache)
    shorter = cache.raw_sizes.min(axis=1)
    least = cache.image_shape[0]
    small = np.flatnonzero((shorter < least) & (shorter < 0.5 * np.median(shorter)))
    lines += _some(
        small,
        lambda p: (
            f"small: {cache.name(p)}: {cache.raw_sizes[p][0]}x{cache.raw_sizes[p][1]} pixels, less "
            "than half of what is usual here"
        ),
        "small",
    )
    blank = []
    for start in range(0, cache.count, 1024):
        images = cache.read(range(start, min(start + 1024, cache.count))).astype(np.int16)
        spread = images.max((1, 2, 3)) - images.min((1, 2, 3))
        blank += (start + np.flatnonzero(spread <= 2)).tolist()
    lines += _some(blank, lambda p: f"blank: {cache.name(p)}: a single grey or colour", "blank")
    return lines


def _copies(cache: FaceCache) -> list[str]:
    contents = np.asarray(cache.contents)
    _, first, counts = np.unique(contents, return_index=True, return_counts=True)
    lines = []
    repeated = first[counts > 1]
    for position in sorted(repeated.tolist()):
        copies = np.flatnonzero(contents == contents[position])[1:]
        if len(lines) == SHOWN:
            lines.append(f"copies: and of {len(repeated) - SHOWN:,} pictures more")
            break
        names = ", ".join(cache.name(copy) for copy in copies[:3])
        more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
        lines.append(f"copies: {cache.name(position)} is the same file as {names}{more}")
    return lines


def _some(positions, line: Callable[[int], str], what: str) -> list[str]:
    lines = [line(int(position)) for position in positions[:SHOWN]]
    if len(positions) > SHOWN:
        lines.append(f"{what}: and {len(positions) - SHOWN:,} more")
    return lines


def contact_sheet(
    cache: FaceCache, count: int = 64, seed: int = 0, sketches: FaceCache | None = None
) -> Image.Image:
    """Return a grid of pictures, chosen by seed, in the source's order.

    Args:
        cache: The pictures.
        count: How many are shown.
        seed: Seed of the choice.
        sketches: Sketches of the same names: half as many photos are shown, each with its own to
            the right of it.
    """
    positions = np.random.default_rng(seed).permutation(cache.count)
    if sketches is None:
        return grid(to_float(cache.read(np.sort(positions[:count]))))
    indices = {name: index for index, name in enumerate(sketches.names)}
    names = cache.names
    chosen = [index for index in positions.tolist() if names[index] in indices]
    chosen = sorted(chosen[: max(1, count // 2)])
    if not chosen:  # every pair lacks one side
        return contact_sheet(cache, count, seed)
    photos = cache.read(chosen)
    drawn = sketches.read([indices[names[index]] for index in chosen])
    both = np.stack([photos, drawn], axis=1).reshape(-1, *photos.shape[1:])
    return grid(to_float(both), columns=2 * math.ceil(math.sqrt(len(chosen) / 2)))


def crops_picture(image: Image.Image, size: int = 64) -> Image.Image:
    """Show what each crop keeps of a picture: its box on the whole, and what comes out.

    Args:
        image: A picture of the size that the crops are meant for, such as 178x218 pixels.
        size: Width and height of what comes out.
    """
    image = image.convert("RGB")
    width, height = max(image.width, 130), image.height
    tiles = []
    for name, crop in CROPS.items():
        tile = Image.new("RGB", (width + 8, height + size + 34), "white")
        draw = ImageDraw.Draw(tile)
        draw.text((4, 2), name, fill="black")
        tile.paste(image, (4, 18))
        try:
            kept = apply_crop(image, name, size)
        except UserError:
            draw.text((4, height + 22), "not of its size", fill="black")
        else:
            left, top, right, bottom = crop.box(image.width, image.height)
            draw.rectangle((4 + left, 18 + top, 3 + right, 17 + bottom), outline="red", width=2)
            tile.paste(kept, (4, height + 22))
        tiles.append(tile)
    columns = 4
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * tiles[0].width, rows * tiles[0].height), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * tile.width, row * tile.height))
    return sheet
