"""Photos with sketches of them: two folders, or both side by side in each picture."""

import contextlib
import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from keras_faces.data.decode import BadPicture, opened, silent_pillow
from keras_faces.data.names import hidden, is_picture
from keras_faces.data.sources.base import Entry, Source
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.layouts import glance
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.data.splits import SPLIT_WORDS
from keras_faces.errors import UserError, unknown_name

LAYOUTS = ("auto", "folders", "side-by-side")
HALVES = ("left", "right")

PHOTO_WORDS = r"photos?|photographs?"
SKETCH_WORDS = r"sketch(?:es)?|drawings?"
DOMAINS = [re.compile(rf"(?<![a-z])(?:{words})(?![a-z])") for words in (PHOTO_WORDS, SKETCH_WORDS)]
EXPECTED = (
    "Expected two folders, photos/ and sketches/ (or A/ and B/, trainA/ and trainB/), or pictures "
    "twice as wide as high with both side by side."
)


class PairsSource(Source):
    """Photos with their sketches: CUFS, two folders, or side by side; a folder or a zip of them.

    Photos and sketches belong together where their names do: equal but for their suffix, for
    `-sz1`, `_sketch` and the like, for CUHK's number behind the first letter (`f-005-01.jpg` and
    `F2-005-01-sz1.jpg`), or for XM2VTS's numbers behind the first (`000_1_1.jpg` and `000.jpg`),
    each only where no other fits as well.

    Args:
        path: The folder or zip file.
        layout: `"folders"`, `"side-by-side"`, or `"auto"` to find out.
        photo: Where photos are: the `"left"` or `"right"` half of pictures side by side.
        photos: Folder of the photos, where its name does not tell.
        sketches: Folder of the sketches, where its name does not tell.
        paired: `"yes"`; or `"no"` for sketches of other people or of another number. Each photo
            then has some sketch beside it: they are dealt out in turn, split by split, and where
            there are more sketches than photos the last ones are not used.
        only: `"sketches"` for the sketches as pictures of their own.
        people: `"folders"` where the folder of each photo is its person, as in
            `photos/anna/1.jpg`; whole people are then held out.

    Raises:
        UserError: If no photo has a sketch, or an option is unknown.
    """

    @classmethod
    def recognises(cls, path: Path) -> bool:
        seen = glance(path)
        words = [any(map(domain.search, map(str.lower, seen.folders))) for domain in DOMAINS]
        return all(words) and not any(map(_elsewhere, _top_folders(path, seen.pictures)))

    def __init__(
        self,
        path: str | os.PathLike,
        layout: str = "auto",
        photo: str = "left",
        photos: str = "",
        sketches: str = "",
        paired: str = "yes",
        only: str = "",
        people: str = "",
    ):
        for kind, given, known in (
            ("layout", layout, LAYOUTS),
            ("half", photo, HALVES),
            ("answer to 'paired'", paired, ("yes", "no")),
            ("side", only or "photos", ("photos", "sketches")),
            ("value of people", people or "none", ("folders", "none")),
        ):
            if given not in known:
                raise unknown_name(kind, given, known)
        location = Path(path).expanduser()
        if not location.exists():
            raise UserError(f"There is no folder or file {os.fspath(path)!r}. Check the path.")
        kind = FolderSource if location.is_dir() else ZipSource
        self._inner = kind(path, **EACH_FOLDER)
        self.path = self._inner.path
        self.title = os.fspath(path)
        self.paired = paired == "yes"
        self.options = {
            "layout": layout,
            "photo": photo,
            "photos": photos,
            "sketches": sketches,
            "paired": paired,
            "only": only,
            "people": people,
        }
        chosen = {
            key: value
            for key, value in self.options.items()
            if value not in ("", "auto", "left", "yes", "none")
        }
        query = "&".join(f"{key}={value}" for key, value in chosen.items())
        self.address = f"pairs:{os.path.abspath(location)}" + (f"?{query}" if query else "")
        names = [entry.name for entry in self._inner.entries()]
        self._halves = layout == "side-by-side"
        domains = _by_domain(names, photos, sketches)
        if layout == "auto" and not (domains[0] and domains[1]):
            self._halves = self._side_by_side(names)
        pairs = [(name, name) for name in names] if self._halves else self._matched(*domains)
        self._entries = _with_splits(pairs)
        if people == "folders":
            self._entries = [entry._replace(identity=_person(entry)) for entry in self._entries]
        self._sketch_of = {photo: sketch for photo, sketch in pairs}

    def _side_by_side(self, names: Sequence[str], looked_at: int = 16) -> bool:
        sizes = []
        for name in names[:looked_at]:
            try:
                with silent_pillow(), _opened(self._inner.read(name)) as image:
                    sizes.append(image.size)
            except BadPicture:
                continue  # it will be named when it is used
        if sizes and all(width == 2 * height for width, height in sizes):
            self._check_domains(names[:looked_at])
            return True
        folders = Counter(name.rpartition("/")[0] or "." for name in names)
        seen = ", ".join(f"{folder} ({count})" for folder, count in folders.most_common(5))
        raise UserError(
            f"{self.title!r} shows no layout of photos with sketches. {EXPECTED} Found: {seen}"
            + (f", pictures of {sizes[0][0]}x{sizes[0][1]} pixels" if sizes else "")
            + ". Where the folders have other names, say so: "
            "pairs:PATH?photos=FOLDER&sketches=FOLDER. Halves of another shape: "
            "pairs:PATH?layout=side-by-side."
        )

    def _check_domains(self, names: Sequence[str]) -> None:
        """Warn where what should be photos has more of blank paper than what should be sketches."""
        blank = {half: [] for half in HALVES}
        for name in names:
            with contextlib.suppress(BadPicture):
                for half in HALVES:
                    blank[half].append(np.mean(self._half(name, half).min(-1) > 230))
        photo = self.options["photo"]
        other = HALVES[1 - HALVES.index(photo)]
        if blank[photo] and np.mean(blank[photo]) > np.mean(blank[other]) + 0.3:
            warnings.warn(
                f"In {self.title!r} the {photo} halves look like sketches on paper, the {other} "
                f"halves like photos. If so, give: pairs:PATH?photo={other}",
                stacklevel=4,
            )

    def _matched(self, photos: dict[str, str], sketches: dict[str, str]) -> list[tuple[str, str]]:
        for kind, names in (("photos", photos), ("sketches", sketches)):
            if not names:
                raise UserError(f"{self.title!r} has no folder of {kind}. {EXPECTED}")
        if self.options["paired"] == "no":
            return _dealt_out(photos, sketches)
        partners = match(list(photos), list(sketches))
        pairs = [(name, sketches[partners[key]]) for key, name in photos.items() if key in partners]
        if not pairs:
            raise UserError(
                f"None of the {len(photos)} photos in {self.title!r} belongs to one of the "
                f"{len(sketches)} sketches by its name: {next(iter(photos.values()))!r}, "
                f"{next(iter(sketches.values()))!r}. Name them alike; or, where they are no "
                "pairs, give pairs:PATH?paired=no."
            )
        left = [name for key, name in photos.items() if key not in partners]
        used = set(partners.values())
        lonely = [name for key, name in sketches.items() if key not in used]
        if left or lonely:
            warnings.warn(
                f"{len(left)} of {len(photos)} photos and {len(lonely)} of {len(sketches)} "
                f"sketches in {self.title!r} have no partner and are left out:"
                + "".join(f"\n  {name}" for name in (left + lonely)[:20])
                + (f"\n  and {len(left + lonely) - 20} more" if len(left + lonely) > 20 else ""),
                stacklevel=4,
            )
        return pairs

    def entries(self) -> list[Entry]:
        return self._entries

    def read(self, name: str) -> bytes | np.ndarray:
        if self.options["only"] == "sketches":
            return self._sketch(name)
        return self._half(name, self.options["photo"]) if self._halves else self._inner.read(name)

    def _sketch(self, name: str) -> bytes | np.ndarray:
        if not self._halves:
            return self._inner.read(self._sketch_of[name])
        return self._half(name, HALVES[1 - HALVES.index(self.options["photo"])])

    def _half(self, name: str, half: str) -> np.ndarray:
        with _opened(self._inner.read(name)) as image:
            width, height = image.size
            try:
                left = 0 if half == "left" else width - width // 2
                image = image.crop((left, 0, left + width // 2, height))
                grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
                if image.has_transparency_data:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                if image.mode.startswith("I"):
                    pixels = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
                else:
                    pixels = np.asarray(image.convert("L" if grey else "RGB"))
            except Exception as error:  # as many types as Pillow has decoders
                raise BadPicture(f"damaged or truncated ({error})") from error
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def sketches(self) -> Source | None:
        if self.options["only"] == "sketches":
            return None
        return _Sketches(self)

    def make_listing(self) -> str:
        return _digest(self._inner.listing(), self.address.partition("?")[2])


class _Sketches(Source):
    """The sketches of a `PairsSource`, by their photos' names."""

    def __init__(self, pairs: PairsSource):
        self._pairs = pairs
        self.path = pairs.path
        self.title = f"{pairs.title}, sketches"
        self.address = pairs.address + ("&" if "?" in pairs.address else "?") + "only=sketches"
        self.credit = pairs.credit

    def entries(self) -> list[Entry]:
        return self._pairs.entries()

    def read(self, name: str) -> bytes | np.ndarray:
        return self._pairs._sketch(name)

    def make_listing(self) -> str:
        return _digest(self._pairs.listing(), "only=sketches")


def match(photos: Sequence[str], sketches: Sequence[str]) -> dict[str, str]:
    """Return the sketch of each photo that has one, by their names without suffixes.

    Ever looser keys are tried. At each, those belong together whose key nothing else that is left
    on either side has.
    """
    partners = {}
    for key in KEYS:
        left = _unique(key, [name for name in photos if name not in partners])
        used = set(partners.values())
        right = _unique(key, [name for name in sketches if name not in used])
        partners |= {name: right[key] for key, name in left.items() if key in right}
    return partners


def _unique(key: Callable[[str], object], names: Sequence[str]) -> dict:
    keys = [key(name) for name in names]
    counts = Counter(keys)
    return {key: name for key, name in zip(keys, names) if key and counts[key] == 1}


def _plain(name: str) -> str:
    """The name without the words that tell photo from sketch."""
    folder, _, stem = name.lower().rpartition("/")
    stem = re.sub(rf"(?<![a-z])(sz\d*|{PHOTO_WORDS}|{SKETCH_WORDS})(?![a-z])", "", stem)
    return f"{folder}/{re.sub(r'[^a-z0-9]+', '-', stem).strip('-')}"


def _without_first_number(name: str) -> str:
    folder, _, stem = _plain(name).rpartition("/")
    return folder + "/" + re.sub(r"^([fm])[0-9]-", r"\1-", stem)


def _numbers(name: str, first: bool = False) -> tuple:
    folder, _, stem = _without_first_number(name).rpartition("/")
    words = tuple(re.findall(r"[a-z]+", stem))
    numbers = [digits.lstrip("0") for digits in re.findall(r"[0-9]+", stem)]
    return (folder, words, *numbers[: 1 if first else None]) if numbers else ()


KEYS = (
    lambda name: name,
    _plain,
    _without_first_number,
    _numbers,
    lambda name: _numbers(name, first=True),
)


def _by_domain(names: Sequence[str], photos: str, sketches: str) -> tuple[dict, dict]:
    """Return photos and sketches, each `{name without suffix and words of its domain: name}`."""
    domains: tuple[dict, dict] = ({}, {})
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        domain = _domain_of(name, folders, photos.strip("/"), sketches.strip("/"))
        if domain is None:
            continue
        given = (photos, sketches)[domain].strip("/")
        rest = name.removeprefix(f"{given}/") if given else name
        kept = [_neutral(folder) for folder in PurePosixPath(rest).parts[:-1]]
        key = "/".join([*filter(None, kept), PurePosixPath(name).stem])
        # Two files of one stem, such as a.jpg and a.png, stay two.
        domains[domain][name if key in domains[domain] else key] = name
    return domains


def _top_folders(path: Path, pictures: Sequence[str]) -> Iterator[str]:
    """Yield the folders in a folder, or those of some pictures in a zip but for one around all."""
    if path.is_dir():
        with os.scandir(path) as entries:
            for entry in entries:
                if not hidden(entry.name) and (entry.is_dir() or is_picture(entry.name)):
                    yield entry.name
        return
    parts = [PurePosixPath(name).parts for name in pictures]
    tops = {names[0] for names in parts}
    around = len(tops) == 1 and all(map(_elsewhere, tops))
    yield from (names[min(int(around), len(names) - 1)] for names in parts)


def _elsewhere(folder: str) -> bool:
    return not any(domain.search(folder.lower()) for domain in DOMAINS)


def _domain_of(name: str, folders: Sequence[str], photos: str, sketches: str) -> int | None:
    for domain, given in ((0, photos), (1, sketches)):
        if given and name.startswith(f"{given}/"):
            return domain
    for folder in reversed(folders):
        for domain, word in enumerate(DOMAINS):
            given = (photos, sketches)[domain]
            letter = rf"^(?:{'|'.join(SPLIT_WORDS)})?[-_ ]?{'ab'[domain]}$"
            if not given and (word.search(folder.lower()) or re.search(letter, folder.lower())):
                return domain
    return None


def _neutral(folder: str) -> str:
    """A folder's name without what tells photos from sketches."""
    words = f"{PHOTO_WORDS}|{SKETCH_WORDS}"
    folder = re.sub(rf"(?<![a-z])(?:{words})(?![a-z])", "", folder.lower())
    folder = re.sub(rf"^({'|'.join(SPLIT_WORDS)})?[-_ ]?[ab]$", lambda m: m[1] or "", folder)
    return re.sub(r"[-_ ]+", "-", folder).strip("-")


def _split_of(name: str) -> str | None:
    for folder in reversed(PurePosixPath(name).parts[:-1]):
        for word in _neutral(folder).split("-"):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def _with_splits(pairs: Sequence[tuple[str, str]]) -> list[Entry]:
    splits = [_split_of(photo) for photo, _ in pairs]
    if None in splits or len(set(splits)) < 2:
        return [Entry(photo) for photo, _ in pairs]
    return [Entry(photo, None, split) for (photo, _), split in zip(pairs, splits)]


def _person(entry: Entry) -> str:
    """Return the name of the person whose folder a photo is in."""
    folders = map(_neutral, PurePosixPath(entry.name).parts[:-1])
    person = "/".join(part for part in folders if part and part not in SPLIT_WORDS)
    if not person:
        raise UserError(
            f"people=folders needs a folder of its person around each photo, as in "
            f"photos/anna/1.jpg. {entry.name!r} is in none."
        )
    return person


def _dealt_out(photos: dict[str, str], sketches: dict[str, str]) -> list[tuple[str, str]]:
    by_split: dict[str | None, list[str]] = {}
    for sketch in sketches.values():
        by_split.setdefault(_split_of(sketch), []).append(sketch)
    pairs, dealt = [], Counter()
    for photo in photos.values():
        split = _split_of(photo)
        own = by_split.get(split) or list(sketches.values())
        pairs.append((photo, own[dealt[split] % len(own)]))
        dealt[split] += 1
    return pairs


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _opened(data: bytes) -> Image.Image:
    try:
        return opened(data)[0]
    except BadPicture:
        raise
    except Exception as error:  # as many types as Pillow has decoders
        raise BadPicture("not a picture in a format that is read here") from error
