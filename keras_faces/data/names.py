"""Names of files: which are pictures, and the order in which people number them."""

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from keras_faces.data.decode import HEIF_SUFFIXES, SUFFIXES

# Kinds of files that are passed over, and what can be done.
_INSTEAD = {
    HEIF_SUFFIXES: "pip install 'keras-faces[heic]'",
    (".mp4", ".mov", ".webm", ".m4v", ".mkv", ".avi"): "a source of its own, as video:FILE",
    (".zip",): "a source of its own",
}


def is_picture(name: str) -> bool:
    return name.lower().endswith(_suffixes()) and not hidden(file_name(name))


@functools.cache
def _suffixes() -> tuple[str, ...]:
    # A picture for which a library is missing is passed over, which is told.
    heif = HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else ()
    return (*SUFFIXES, *heif)


def without_suffix(name: str) -> bool:
    """Return whether only its bytes say what a file is."""
    file = file_name(name)
    return "." not in file and not hidden(file)


def suffix_counts(names: Iterable[str]) -> str:
    """Return the kinds of files in words, the most frequent first: "10 .HEIC, 1 .mov"."""
    written: dict[str, Counter] = {}
    for name in names:
        suffix = PurePosixPath(name).suffix
        written.setdefault(suffix.lower(), Counter())[suffix] += 1
    lines = []
    for suffix, spellings in sorted(written.items(), key=lambda one: (-one[1].total(), one[0])):
        instead = next((told for known, told in _INSTEAD.items() if suffix in known), None)
        kind = spellings.most_common(1)[0][0] or "no suffix"
        lines.append(f"{spellings.total():,} {kind}" + (f" ({instead})" if instead else ""))
    return ", ".join(lines)


def file_name(name: str) -> str:
    """Return the name without its folders."""
    return name.rpartition("/")[2]


def hidden(name: str) -> bool:
    """Whether a file system's own litter: .DS_Store, ._copy.jpg, __MACOSX."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


_SAME_DIGIT = str.maketrans("123456789", "000000000")


def in_natural_order(names: list[str]) -> list[str]:
    """Return names sorted by `natural`."""
    shapes = (name.translate(_SAME_DIGIT) for name in names)
    if len(names) and all(map(next(shapes).__eq__, shapes)):
        return sorted(names)  # 000001.jpg, 000002.jpg, ...: the same order, three times as fast
    return sorted(names, key=natural)


def natural(name: str) -> str:
    """Return a key that sorts s2 before s10, the order in which people number folders."""
    return re.sub("[0-9]+", _number_key, name) + "\1"


def _number_key(match: re.Match) -> str:
    # As text, since int() refuses more than 4300 digits. No name holds a NUL, so numbers come
    # before all other characters, and shorter numbers before longer ones.
    digits = match.group()
    number = digits.lstrip("0")
    return f"\0{chr(len(number))}{number}{digits}\0"
