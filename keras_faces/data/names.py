"""Names of files: which are pictures, and the order in which people number them."""

import re

from keras_faces.data.decode import SUFFIXES


def is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not hidden(file_name(name))


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
