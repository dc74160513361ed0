"""Grids of faces, as people look at them."""

import io
import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_faces.errors import UserError
from keras_faces.files import write_whole
from keras_faces.optional import import_av
from keras_faces.pixels import to_float, to_uint8
from keras_faces.schema import Scalar


def grid(faces: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """Lay faces out in rows.

    Args:
        faces: Float faces of shape `(count, height, width, channels)` in [-1, 1].
        columns: Faces in a row; None makes the grid about square.
        gap: White pixels between faces.
    """
    faces = to_uint8(faces)
    count, height, width, channels = faces.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8
    )
    for number, face in enumerate(faces):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        canvas[top : top + height, left : left + width] = face
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def first_faces(picture: Image.Image, size: int, count: int, gap: int = 2) -> Image.Image:
    """Return the first faces of a grid that `grid` made, as a grid of their own.

    Args:
        picture: The grid.
        size: Height and width of its faces in pixels.
        count: Faces to keep; of a grid of fewer, all are.
        gap: Pixels between its faces.
    """
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    cell = size + gap
    rows, columns = (height - gap) // cell, (width - gap) // cell
    cells = pixels[gap:, gap:][: rows * cell, : columns * cell]
    cells = cells.reshape(rows, cell, columns, cell, channels).swapaxes(1, 2)[:, :, :size, :size]
    return grid(to_float(cells.reshape(-1, size, size, channels)[:count]), gap=gap)


def rows_grid(*sets: np.ndarray, columns: int = 10) -> Image.Image:
    """Lay sets of as many faces out in rows, one below the other: originals over copies."""
    columns = min(columns, len(sets[0]))
    rows: list[np.ndarray] = []
    blank = np.ones_like(sets[0][:1])
    for start in range(0, len(sets[0]), columns):
        for faces in sets:
            part = faces[start : start + columns]
            rows += [part, np.repeat(blank, columns - len(part), axis=0)]
    return grid(np.concatenate(rows), columns)


def enlarged(picture: Image.Image, least: int) -> Image.Image:
    """Return a picture that is at least so wide or high, enlarged by a whole number."""
    times = max(1, math.ceil(least / max(picture.size)))
    size = (times * picture.width, times * picture.height)
    return picture.resize(size, Image.Resampling.BICUBIC) if times > 1 else picture


def picture_suffix(path: str | os.PathLike) -> str:
    """Return the suffix of a picture's path, or an empty one for a folder's.

    Raises:
        UserError: If the suffix is of no picture format that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in (".png", ".jpg", ".jpeg", ".webp", ".bmp"):
        raise UserError(f"Cannot write a picture as {suffix!r}. Use .png, .jpg, .webp or .bmp.")
    return suffix


def scaled(picture: Image.Image, scale: int) -> Image.Image:
    """Return a picture in which each pixel is a square of so many."""
    return picture.resize([scale * side for side in picture.size], Image.Resampling.NEAREST)


def save_picture(image: Image.Image, path: str | os.PathLike, scale: int = 1) -> Path:
    """Write a picture so that a crash never leaves half of it.

    Args:
        image: A Pillow image.
        path: The file.
        scale: How many pixels wide and high each pixel is drawn.
    """
    path = Path(path)
    image = scaled(image, scale) if scale > 1 else image
    data = io.BytesIO()
    image.save(data, format=Image.registered_extensions()[picture_suffix(path) or ".png"])
    return write_whole(path, data.getvalue())


def save_gif(
    pictures: Sequence[Image.Image],
    path: str | os.PathLike,
    seconds: float = 0.5,
    hold: float = 4,
) -> Path:
    """Write pictures of one size as an animation that holds the last one for longer.

    Args:
        pictures: Pillow images.
        path: The .gif file.
        seconds: How long each is shown.
        hold: How many times as long the last one is shown.
    """
    return write_whole(path, gif(pictures, seconds, hold))


def gif(pictures: Sequence[Image.Image], seconds: float = 0.5, hold: float = 4) -> bytes:
    """Return the bytes of the animation that `save_gif` writes."""
    data = io.BytesIO()
    frames = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]
    shown = round(1000 * seconds)
    durations = [shown] * (len(frames) - 1) + [round(hold * shown)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return data.getvalue()


def save_video(pictures: Sequence[Image.Image], path: str | os.PathLike, seconds: float) -> Path:
    """Write pictures of one size, an even number of pixels high and wide, as H.264 in an .mp4.

    Args:
        pictures: Pillow images.
        path: The .mp4 file.
        seconds: How long each is shown.

    Raises:
        UserError: If PyAV is not installed.
    """
    return write_whole(path, video(pictures, seconds))


def video(pictures: Sequence[Image.Image], seconds: float) -> bytes:
    """Return the bytes of the video that `save_video` writes."""
    av = import_av()
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as file:
        rate = 1 / Fraction(seconds).limit_denominator(1000)
        stream = file.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"  # what every player knows
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return data.getvalue()


def plot_losses(
    rows: Sequence[dict[str, float]],
    path: str | os.PathLike,
    title: str,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Draw logged scalars over the epochs, each on axes of its own.

    Args:
        rows: One dict for each epoch, with `"epoch"` and the scalars. One named like another, with
            `_std` behind it, is drawn as that one's error.
        path: Where to write the PNG.
        title: Title of the figure.
        names: The scalars to draw, and what to call each; None draws all.
    """
    if names is None:
        scalars = [n for n in rows[0] if n not in ("epoch", "step")]
        errors = {f"{n}_std" for n in scalars}
        names = {n: n.replace("_", " ") for n in scalars if n not in errors}
    columns = min(3, len(names))
    figure = new_figure(4 * columns, 2.6 * math.ceil(len(names) / columns))
    epochs = [row["epoch"] for row in rows]
    for number, (name, called) in enumerate(names.items()):
        axes = figure.add_subplot(math.ceil(len(names) / columns), columns, number + 1)
        values = np.array([row[name] for row in rows], float)
        axes.plot(epochs, values, linewidth=1, marker="." if len(rows) < 20 else "")
        if f"{name}_std" in rows[0]:
            error = np.array([row[f"{name}_std"] for row in rows], float)
            axes.fill_between(epochs, values - error, values + error, alpha=0.25, linewidth=0)
        axes.set_title(called, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path)


class PlottedValues(NamedTuple):
    """What `plot_values` draws on one pair of axes.

    Attributes:
        lines: By the name of each line its values and their errors, or None, by where they stand:
            at numbers, or at names.
        real: The value of real faces, or None.
    """

    lines: Mapping[str, Mapping[Scalar, tuple[float, float | None]]]
    real: float | None = None


def plot_values(
    plotted: Mapping[str, PlottedValues], path: str | os.PathLike, title: str, over: str = ""
) -> Path:
    """Draw values along lines, each kind on axes of its own.

    Args:
        plotted: What to draw, by its title.
        path: Where to write the PNG.
        title: Title of the figure.
        over: What they are drawn over.
    """
    columns = min(3, len(plotted))
    rows = math.ceil(len(plotted) / columns)
    figure = new_figure(4 * columns, 3 * rows)
    for number, (called, (lines, real)) in enumerate(plotted.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        places = [place for values in lines.values() for place in values]
        are_numbers = all(isinstance(p, (int, float)) and not isinstance(p, bool) for p in places)
        for name, values in lines.items():
            at = sorted(values) if are_numbers else list(values)
            means = [values[place][0] for place in at]
            errors = [values[place][1] or 0.0 for place in at]
            at = at if are_numbers else list(map(str, at))
            style = {"marker": "o", "markersize": 4, "capsize": 4}
            axes.errorbar(at, means, yerr=errors, label=name or None, **style)
        if are_numbers and min(places) > 0 and max(places) >= 100 * min(places):
            axes.set_xscale("log")  # as rates of learning are tried
        if real is not None:
            axes.axhline(real, color="black", linestyle="--", linewidth=1, label="real faces")
        if real is not None or any(lines):
            axes.legend(fontsize=7)
        axes.set_title(called, fontsize=9)
        axes.set_xlabel(over, fontsize=8, parse_math=False)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path)


def plot_condition_accuracy(result: dict, path: str | os.PathLike) -> Path:
    """Draw for each condition how often it is seen in generated faces, beside real ones.

    Args:
        result: What `keras_faces.metrics.condition_accuracy` returned; of more than 40 conditions
            the first 40 are drawn.
        path: Where to write the PNG.
    """
    names = list(result["conditions"])[:40]
    figure, axes = bar_chart([name.replace("_", " ")[:24] for name in names], height=3.6)
    for number, (kind, colour) in enumerate((("real", "0.7"), ("generated", "tab:blue"))):
        rows = [result["conditions"][name][kind] for name in names]
        drawn = [(place, row) for place, row in enumerate(rows) if row is not None]
        axes.bar(
            [place + 0.4 * number - 0.2 for place, _ in drawn],
            [row for _, row in drawn],
            width=0.4,
            color=colour,
            label=f"{kind} faces: {result[kind]:.1%}",
        )
    axes.axhline(
        result["chance"],
        color="black",
        linestyle="--",
        linewidth=1,
        label=f"chance: {result['chance']:.1%}",
    )
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(result["protocol"]["score"], fontsize=9)
    more = len(result["conditions"]) - len(names)
    title = "How often a classifier of real faces sees the condition asked for"
    figure.suptitle(title + (f" (the first 40 of {more + 40})" if more else ""), fontsize=10)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return save_figure(figure, path)


def new_figure(width: float, height: float):
    """Return a Matplotlib figure of so many inches, at 100 pixels an inch."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100)


def bar_chart(names: Sequence[str], height: float):
    """Return a figure of this height in inches, and its axes for bars from 0 to 1, one a name."""
    figure = new_figure(max(6.4, 1.5 + 0.32 * len(names)), height)
    axes = figure.add_subplot()
    axes.set_ylim(0, 1)
    rotation = 90 if len(names) > 6 else 0
    # A name is text, not mathematics, whatever signs are in it.
    axes.set_xticks(range(len(names)), names, rotation=rotation, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def save_figure(figure, path: str | os.PathLike, scale: int = 1) -> Path:
    """Write a Matplotlib figure as PNG, or as the picture that the path's suffix says.

    Args:
        figure: The figure.
        path: The file.
        scale: How many times as many pixels it has, of the same drawing.
    """
    figure.tight_layout()
    data = io.BytesIO()
    # Without the version that wrote it in the file, equal curves give equal bytes.
    figure.savefig(data, format="png", dpi=scale * figure.dpi, metadata={"Software": None})
    if picture_suffix(path) in ("", ".png"):
        return write_whole(path, data.getvalue())
    return save_picture(Image.open(data).convert("RGB"), path)
