"""Figures of latent spaces."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_faces.errors import UserError
from keras_faces.pictures import bar_chart, new_figure, save_figure
from keras_faces.pixels import to_uint8

WITH, WITHOUT = "tab:orange", "tab:blue"
THUMBNAIL = 34  # pixels
ROOM = (0.08, 0.1)  # of the axes' width and height, which a thumbnail and its frame take


def plot_latents(
    points,
    path: str | os.PathLike,
    title: str,
    axes_names: Sequence[str] = ("", ""),
    labels=None,
    label_name: str = "",
    faces=None,
    scale: int = 1,
) -> Path:
    """Draw latents in two dimensions, coloured by an attribute, with faces where there is room.

    Args:
        points: Array of shape `(count, 2)`, see `project`.
        path: The picture to write.
        title: Title of the figure.
        axes_names: What the two axes are called.
        labels: Whether each has the attribute, 0 or 1, of shape `(count,)`; or None.
        label_name: The attribute's name.
        faces: The face of each, float in [-1, 1], drawn instead of its point where it covers no
            other; or None.
        scale: How many times as many pixels the picture has.

    Raises:
        UserError: If there are not as many labels or faces as points.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise UserError(f"Expected points of shape (count, 2). Received: {points.shape}.")
    for name, given in (("labels", labels), ("faces", faces)):
        if given is not None and len(given) != len(points):
            raise UserError(
                f"Expected {len(points)} {name}, as many as points. Received: {len(given)}."
            )
    figure = new_figure(8, 7)
    axes = figure.add_subplot()
    groups = [(np.ones(len(points), bool), "0.5", f"{len(points)} faces")]
    if labels is not None:
        has = np.asarray(labels) > 0.5
        called = label_name.replace("_", " ")
        groups = [
            (~has, WITHOUT, f"without {called}: {(~has).sum()}"),
            (has, WITH, f"{called}: {has.sum()}"),
        ]
    for rows, colour, label in groups:
        axes.scatter(*points[rows].T, s=14, color=colour, alpha=0.7, linewidths=0, label=label)
    if faces is not None:
        colours = np.empty(len(points), object)
        for rows, colour, _ in groups:
            colours[rows] = colour
        _thumbnails(axes, points, to_uint8(faces), colours)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.set_xlabel(axes_names[0], fontsize=9)
    axes.set_ylabel(axes_names[1], fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    legend = axes.legend(
        fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save_figure(figure, path, scale)


def _thumbnails(axes, points, faces, colours):
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    low, high = points.min(axis=0), points.max(axis=0)
    places = (points - low) / np.where(high > low, high - low, 1)
    drawn: list[int] = []
    for number, place in enumerate(places):
        if (np.abs(places[drawn] - place) > ROOM).any(axis=1).all():
            drawn.append(number)
    for number in drawn:
        face = faces[number]
        face = np.repeat(face, 3, axis=-1) if face.shape[-1] == 1 else face
        zoom = THUMBNAIL / face.shape[0]
        axes.add_artist(
            AnnotationBbox(
                OffsetImage(face, zoom=zoom, interpolation="bilinear"),
                points[number],
                pad=0.15,
                bboxprops={"edgecolor": colours[number], "linewidth": 1.5},
            )
        )


def plot_separability(result: dict, path: str | os.PathLike, title: str, scale: int = 1) -> Path:
    """Draw how well each attribute is told apart in latent space, beside guessing.

    Args:
        result: What `separability` returned; of more than 40 attributes those told apart best.
        path: The picture to write.
        title: Title of the figure.
        scale: How many times as many pixels the picture has.
    """
    rows = sorted(result["attributes"].items(), key=lambda item: -item[1]["accuracy"])[:40]
    names = [f"{name.replace('_', ' ')[:24]}\n{row['share']:.0%}" for name, row in rows]
    figure, axes = bar_chart(names, height=4)
    places = np.arange(len(rows))
    axes.bar(places, [row["accuracy"] for _, row in rows], 0.6, color=WITHOUT, label="latents")
    guessing = np.array([[row["guessing"], row["guessing_high"]] for _, row in rows])
    axes.errorbar(
        places,
        guessing[:, 0],
        yerr=[np.zeros(len(rows)), np.maximum(guessing[:, 1] - guessing[:, 0], 0)],
        fmt="o",
        color="black",
        markersize=4,
        capsize=4,
        label="guessing: mean and upper twentieth",
    )
    axes.axhline(0.5, color="black", linestyle="--", linewidth=1, label="chance: 50 %")
    axes.set_ylabel(
        "balanced accuracy on people not seen before"
        if result["protocol"]["held_out"] == "whole people"
        else "balanced accuracy on faces not seen before",
        fontsize=8,
    )
    figure.suptitle(title, fontsize=10, parse_math=False)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return save_figure(figure, path, scale)
