"""Named ways from a raw picture to a square one.

Published scores differ by more through the crop than through the model, so a crop has a name, and
every run and score records it. The name fixes the box and the resizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from keras_faces.data import fast_jpeg
from keras_faces.errors import UserError, unknown_name

ALIGNED_CELEBA = (178, 218)  # width and height of its pictures

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the raw picture


class Crop(NamedTuple):
    """A named crop.

    Attributes:
        description: Who uses it, and what it does.
        box: Callable `box(width, height)` returning the region that is kept.
        resampler: Pillow's resampling filter that brings the region to the wanted size.
        blur: Whether to blur first with sigma = sqrt(scale) / 2, as Larsen et al. do.
        cut_first: Whether the region is cut out before it is resized, so that pixels outside of it
            change nothing; else the whole picture is resized and then cut.
        scaled_decoding: Whether JPEGs of more than twice the wanted size are decoded no larger.
        averaged: Whether OpenCV averages areas instead, see `keras_faces.data.fast_jpeg`.
        made_for: Width and height of the only pictures that it is made for; None for any.
    """

    description: str
    box: Callable[[int, int], Box]
    resampler: Image.Resampling = Image.Resampling.LANCZOS
    blur: bool = False
    cut_first: bool = True
    scaled_decoding: bool = False
    averaged: bool = False
    made_for: tuple[int, int] | None = None


def _largest_square(width: int, height: int) -> Box:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _whole(width: int, height: int) -> Box:
    return 0, 0, width, height


def _central_square(side: int) -> Callable[[int, int], Box]:
    def box(width: int, height: int) -> Box:
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    return box


def _fixed(left: int, top: int, side: int) -> Callable[[int, int], Box]:
    return lambda width, height: (left, top, left + side, top + side)


BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
LANCZOS, NEAREST = Image.Resampling.LANCZOS, Image.Resampling.NEAREST

CROPS = {
    "center": Crop(
        "The default, for pictures of any size: shorter side to the wanted size, then the centre "
        "square (Gruber; the three-models report). Lanczos, antialiased.",
        _largest_square,
        cut_first=False,
        scaled_decoding=True,
    ),
    "center-area": Crop(
        "As center, but faster: JPEGs are decoded at half their size or less where that "
        "is enough, and OpenCV averages areas or, where less than a factor of 1.5 is left, "
        "interpolates (needs the extra 'fast').",
        _largest_square,
        averaged=True,
    ),
    "squash": Crop(
        "Nothing cut off, squashed to a square (keras-io, Generative Deep Learning). Bilinear.",
        _whole,
        BILINEAR,
    ),
    "began": Crop(
        "Aligned CelebA, rows 50:178, columns 25:153, nearest neighbour (BEGAN-tensorflow).",
        _fixed(25, 50, 128),
        NEAREST,
        made_for=ALIGNED_CELEBA,
    ),
    "larsen": Crop(
        "Aligned CelebA, rows 40:188, columns 15:163, blur then bicubic (VAE/GAN's authors).",
        _fixed(15, 40, 148),
        BICUBIC,
        blur=True,
        made_for=ALIGNED_CELEBA,
    ),
    "closecrop140": Crop(
        "Aligned CelebA, rows 39:179, columns 19:159, bilinear (WAE, RAE, TwoStageVAE).",
        _fixed(19, 39, 140),
        BILINEAR,
        made_for=ALIGNED_CELEBA,
    ),
    "twostage128": Crop(
        "Aligned CelebA, rows 45:173, columns 25:153, bilinear (TwoStageVAE).",
        _fixed(25, 45, 128),
        BILINEAR,
        made_for=ALIGNED_CELEBA,
    ),
    "center108": Crop(
        "Centre 108 pixels, bicubic (DCGAN-tensorflow).", _central_square(108), BICUBIC
    ),
    "center148": Crop("Centre 148 pixels, bilinear (PyTorch-VAE).", _central_square(148), BILINEAR),
    "center160": Crop("Centre 160 pixels, bilinear (compare_gan).", _central_square(160), BILINEAR),
    "center178": Crop("Centre 178 pixels, Lanczos (mimicry).", _central_square(178), LANCZOS),
}


def get_crop(name: str) -> Crop:
    """Return the crop of that name.

    Raises:
        UserError: If there is none.
    """
    if name not in CROPS:
        raise unknown_name("crop", name, CROPS)
    return CROPS[name]


def apply_crop(
    image: Image.Image, name: str, size: int, raw_size: tuple[int, int] | None = None
) -> Image.Image:
    """Crop a picture and resize it to a square.

    Args:
        image: A Pillow image with 8-bit channels.
        name: A key of `CROPS`.
        size: Wanted width and height in pixels.
        raw_size: Width and height of the raw picture, where `image` was decoded smaller.

    Raises:
        UserError: If the picture does not hold the crop's region, or the crop is made for others.
    """
    crop = get_crop(name)
    width, height = raw_size or image.size
    left, top, right, bottom = box = crop.box(width, height)
    if left < 0 or top < 0 or right > width or bottom > height:
        kept = f"columns {left}:{right} and rows {top}:{bottom}"
        if min(left, top) < 0:
            kept = f"{right - left}x{bottom - top}"
        raise UserError(
            f"{width}x{height} pixels are too few for crop {name!r}, which keeps {kept}; "
            "crop 'center' takes any size"
        )
    if crop.made_for not in (None, (width, height)):
        raise UserError(
            f"{width}x{height} pixels are not the {'x'.join(map(str, crop.made_for))} of aligned "
            f"CelebA, for which alone crop {name!r} is made; crop 'center' takes any size"
        )
    if crop.averaged:
        return Image.fromarray(fast_jpeg.resize(np.asarray(image), box, size))
    reduction = round(width / image.width)  # by which libjpeg divides, rounding up
    if reduction > 1:
        box = tuple(edge / reduction for edge in box)
    if crop.cut_first:
        image, box = image.crop(box), None
    return _resized(image, crop, size, box, right - left)


def resize_square(image: Image.Image, name: str, size: int) -> Image.Image:
    """Resize a square that is cut out already as a crop resizes those that it cuts out."""
    crop = get_crop(name)
    if crop.averaged:
        return Image.fromarray(fast_jpeg.resize(np.asarray(image), (0, 0, *image.size), size))
    return _resized(image, crop, size, None, image.width)


def _resized(image, crop, size, box, side):
    if crop.blur:
        image = image.filter(ImageFilter.GaussianBlur((side / size) ** 0.5 / 2))
    return image.resize((size, size), crop.resampler, box=box)
