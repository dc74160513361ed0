"""Draw a stand-in for a time-lapse of a skyline, a video: `python docs/skyline.py skyline.mp4`.

The Simon Fraser University report trained on frames of a time-lapse of New York's skyline (its
figure 6), a video that it links to and that is not ours to give. This is a drawing and no city:
houses before a sky that goes from night to day and back to night, with clouds, and windows that are
lit in the dark. As the report says of its own frames, no sky in it is red.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from keras_faces.pictures import save_video

FRAMES = 1400  # of which 1200 and 125 are taken, and gaps between them are left out
SIZE = 128
SECONDS = 1 / 25

HOURS = (0.0, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0)
ABOVE = ((8, 10, 30), (15, 20, 60), (90, 110, 160), (70, 130, 210), (90, 110, 160), (15, 20, 60))
BELOW = (
    (16, 18, 40),
    (40, 50, 90),
    (200, 200, 190),
    (170, 205, 235),
    (205, 195, 170),
    (40, 50, 90),
)


def frames(count: int = FRAMES, size: int = SIZE, seed: int = 0):
    """Yield the pictures of a day, uint8 of shape `(size, size, 3)`.

    Args:
        count: How many.
        size: Height and width in pixels.
        seed: Seed of houses, windows and clouds.
    """
    rng = np.random.default_rng(seed)
    houses, tops = np.zeros((size, size), bool), []
    left = 0
    while left < size:
        width, top = rng.integers(size // 16, size // 6), rng.integers(size // 3, 3 * size // 4)
        houses[top:, left : left + width] = True
        tops.append((left, left + width, top))
        left += width
    # Windows are lit at hours of their own.
    lit = np.full((size, size), np.nan)
    for start, end, top in tops:
        rows, columns = np.mgrid[top + 3 : size : 4, start + 2 : min(end, size) - 1 : 3]
        lit[rows, columns] = rng.uniform(0.02, 0.3, rows.shape)
    clouds = np.cumsum(rng.normal(size=(size, 4 * size)), axis=1)
    clouds = (clouds - clouds.mean(1, keepdims=True)) / clouds.std(1, keepdims=True)
    height = np.linspace(0, 1, size)[:, None, None]
    for number in range(count):
        hour = number / count
        above, below = (
            np.array([np.interp(hour, HOURS, channel) for channel in zip(*colours, colours[0])])
            for colours in (ABOVE, BELOW)
        )
        sky = (1 - height) * above + height * below + np.zeros((size, size, 1))
        drift = int(3 * size * hour)
        cloud = np.clip(clouds[:, drift : drift + size, None] - 0.8, 0, 1)
        sky += 0.25 * cloud * (below + 30 - sky)
        light = np.interp(hour, (0.2, 0.5, 0.8), (0.1, 0.45, 0.1))
        picture = np.where(houses[..., None], light * np.array((120, 115, 110)), sky)
        dark = np.abs(hour - 0.5) > 0.5 - lit
        picture[dark & houses] = (230, 205, 130)
        yield np.clip(picture, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "skyline.mp4")
    print(save_video([Image.fromarray(frame) for frame in frames()], place, SECONDS))
