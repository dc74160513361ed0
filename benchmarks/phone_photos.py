"""Make 150 pictures as a phone holds them of known faces, and say which of these are found.

    python benchmarks/phone_photos.py --faces FACES.zip --out photos/
    python benchmarks/phone_photos.py --faces FACES.zip --out many/ --large 20000

FACES holds pictures of about 200x200 pixels that show one face each, in their middle. Of the 150
pictures 60 are such crops; 40 show one face in 1600x1200 pixels, 12 more are turned by their EXIF
tag and 10 more are HEIC; 8 show two faces, 6 none, 4 are crops of 40x40 pixels, and 10 show a face
of 60 to 120 pixels. Faces are 60 to 700 pixels wide and turned by up to 20 degrees. A file of
another kind lies among them. `--large` makes so many photographs of 4000x3000 pixels instead, all
but 40 of them links, and reports pictures/s and memory.
"""

import argparse
import io
import itertools
import os
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pillow_heif
import psutil
from PIL import Image, ImageDraw, ImageFilter

import keras_faces as kf

pillow_heif.register_heif_opener()

FACE = 0.62  # of a crop's width is the face's
TURNS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


class Placed(NamedTuple):
    """A face in a photograph: its middle and width in pixels, and degrees counterclockwise."""

    x: float
    y: float
    width: float
    turn: float


class Album:
    """Pictures that are made, and the faces in them, by the names of their files."""

    def __init__(self, faces: Path, folder: Path, seed: int):
        self.rng = np.random.default_rng(seed)
        self.folder = folder
        folder.mkdir(parents=True)
        self.archive = zipfile.ZipFile(faces)
        names = sorted(name for name in self.archive.namelist() if name.endswith((".jpg", ".png")))
        self.names = itertools.cycle(self.rng.permutation(names))
        self.placed: dict[str, list[Placed]] = {}

    def crop(self, side: int | None = None) -> Image.Image:
        """Return the next face."""
        face = Image.open(io.BytesIO(self.archive.read(next(self.names)))).convert("RGB")
        return face.resize((side, side), Image.Resampling.LANCZOS) if side else face

    def background(self, width: int, height: int) -> Image.Image:
        """Return a picture of soft colours, shapes and noise."""
        soft = self.rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(soft).resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(25):
            x, y = self.rng.integers(0, width), self.rng.integers(0, height)
            across, down = self.rng.integers(20, width // 4, 2)
            shape = draw.rectangle if self.rng.random() < 0.5 else draw.ellipse
            colour = tuple(self.rng.integers(0, 255, 3).tolist())
            shape((x, y, x + across, y + down), fill=colour)
        noise = self.rng.normal(0, 4, (height, width, 3))
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(2))) + noise
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def photograph(self, widths: list[float], size: tuple[int, int] = (1600, 1200)):
        """Return a photograph of faces of these widths beside each other, and where they are."""
        image, placed = self.background(*size), []
        part = size[0] / max(1, len(widths))
        for number, width in enumerate(widths):
            side = min(round(width / FACE), int(0.68 * min(part, size[1])))
            face = self.crop()
            mask = Image.new("L", face.size, 0)
            edges = (4, -30, face.width - 4, face.height + 30)
            ImageDraw.Draw(mask).ellipse(edges, fill=255)
            face.putalpha(mask.filter(ImageFilter.GaussianBlur(4)))
            turn = self.rng.uniform(-20, 20)
            face = face.resize((side, side), Image.Resampling.LANCZOS)
            face = face.rotate(turn, Image.Resampling.BICUBIC, expand=True)
            x = number * part + self.rng.uniform(face.width / 2, part - face.width / 2)
            y = self.rng.uniform(face.height / 2, size[1] - face.height / 2)
            image.paste(face, (round(x - face.width / 2), round(y - face.height / 2)), face)
            placed.append(Placed(x, y, FACE * side, turn))
        return image, placed

    def save(self, image: Image.Image, placed: list[Placed], suffix: str, **options) -> Path:
        """Write a picture."""
        name = f"IMG_{len(self.placed) + 1:04d}.{suffix}"
        image.save(self.folder / name, **{"quality": 90, **options})
        self.placed[name] = placed
        return self.folder / name


def phone_photos(album: Album) -> dict[str, list[str]]:
    """Make the 150 pictures, and return their names by kind."""
    kinds: dict[str, list[str]] = {}

    def put(kind, image, placed, suffix="jpg", **options):
        path = album.save(image, placed, suffix, **options)
        kinds.setdefault(kind, []).append(path.name)

    def width(least=90, most=440):
        return float(album.rng.uniform(least, most))

    for _ in range(60):
        face = album.crop()
        middle = face.width / 2
        put("crops", face, [Placed(middle, middle, FACE * face.width, 0)])
    for _ in range(40):
        put("one face", *album.photograph([width()]))
    for number in range(12):
        image, placed = album.photograph([width()])
        tag = list(TURNS)[number % 3]
        exif = Image.Exif()
        exif[0x0112] = tag
        put("turned by EXIF", image.transpose(TURNS[tag]), placed, exif=exif)
    for _ in range(10):
        put("HEIC", *album.photograph([width()]), suffix="HEIC", format="HEIF")
    for _ in range(10):
        put("60 to 120 pixels", *album.photograph([width(60, 120)]))
    for _ in range(8):
        put("two faces", *album.photograph([width(60, 300), width(60, 300)]))
    for _ in range(6):
        put("none", *album.photograph([]))
    for _ in range(4):
        put("small", album.crop(40), [Placed(20, 20, FACE * 40, 0)])
    (album.folder / "MOV_0001.mov").write_bytes(b"a film")
    return kinds


def report(album: Album, kinds: dict[str, list[str]]) -> None:
    """Say which of the known faces are found, and what else is."""
    source = kf.data.open_source(album.folder, faces="aligned")
    entries = source.source.entries()
    found = {name: [] for name in album.placed}
    for number, rows in source.found.by_photograph():
        found[entries[number].name] = [source.found.face(row) for row in rows]
    print(f"{'kind':18} {'pictures':>8} {'faces':>6} {'found':>6} {'false':>6}")
    for kind, names in kinds.items():
        known = sum(len(album.placed[name]) for name in names)
        hits = sum(_hits(album.placed[name], found[name]) for name in names)
        false = sum(len(found[name]) - _hits(album.placed[name], found[name]) for name in names)
        print(f"{kind:18} {len(names):8} {known:6} {hits:6} {false:6}")
    print("\n".join(source.remarks()))


def _hits(placed: list[Placed], found: list) -> int:
    left, hits = list(found), 0
    for face in placed:
        for one in left:
            x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
            if np.hypot(x - face.x, y - face.y) < 0.5 * face.width:
                left.remove(one)
                hits += 1
                break
    return hits


def large_photos(album: Album, count: int) -> None:
    """Make photographs of 12 megapixels and prepare their faces; print rate and memory."""
    for _ in range(min(count, 40)):
        width = float(album.rng.uniform(200, 1200))
        image, placed = album.photograph([width], (4000, 3000))
        album.save(image, placed, "jpg")
    originals = sorted(album.placed)
    for number in range(len(originals), count):
        link = album.folder / f"IMG_{number + 1:05d}.jpg"
        os.symlink(album.folder.resolve() / originals[number % len(originals)], link)
    process = psutil.Process()
    began = time.perf_counter()
    source = kf.data.open_source(album.folder, faces="aligned")
    entries = len(source.entries())
    seconds = time.perf_counter() - began
    own = process.memory_info().rss >> 20
    rate = count / seconds
    print(f"found {entries:,} faces in {count:,} photographs: {rate:.1f} pictures/s, {own} MiB")
    began = time.perf_counter()
    cache = kf.data.cache.prepare(source)
    seconds = time.perf_counter() - began
    print(f"decoded {cache.count:,}: {cache.count / seconds:.1f} faces/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faces", type=Path, required=True, help="zip of single faces")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--large", type=int, metavar="N", help="make N photos of 12 megapixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    album = Album(options.faces, options.out, options.seed)
    if options.large:
        large_photos(album, options.large)
    else:
        report(album, phone_photos(album))


if __name__ == "__main__":
    main()
