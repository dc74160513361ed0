"""Which pictures are for training and which for testing."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np

from keras_faces.errors import UserError, unknown_name

SPLITS = ("train", "validation", "test", "all")

# Words by which folders are named, and the split that is meant.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_BESIDE = "my|sets?|splits?|data|images?|imgs?|pictures?|pics?|photos?|faces?|samples?|partition"
_NAMED = re.compile(rf"(?:{_BESIDE})*({'|'.join(SPLIT_WORDS)})(?:{_BESIDE})*")


def split_of_folder(name: str) -> str | None:
    """Return the split that a folder's name means: `Train`, `test_set`, `val2017`; or None."""
    named = _NAMED.fullmatch(re.sub(r"[\W\d_]+", "", name.lower()))
    return SPLIT_WORDS[named[1]] if named else None


def split_hashes(units: Iterable[str]) -> np.ndarray:
    """Return numbers that put people, or else pictures, into an order that only names decide.

    Args:
        units: Names of the people, or of the pictures.

    Returns:
        uint64 array, the beginning of each name's SHA-256.
    """
    # Names of files need not be UTF-8; Python holds their other bytes as surrogates.
    digests = b"".join(
        hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()[:8] for unit in units
    )
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def split_indices(
    hashes: np.ndarray, own: np.ndarray, split: str, test_fraction: float = 0.1
) -> np.ndarray:
    """Return the positions of the pictures in a split.

    Where the source has splits of its own, they decide. Elsewhere the test side takes those people
    (or pictures, where people are not known) whose names' SHA-256 is lowest: nobody is on both
    sides, and the choice depends neither on a seed nor on the platform.

    Args:
        hashes: What `split_hashes` returned for each picture's person, or its name.
        own: For each picture the index of its own split in `(None, *SPLITS[:3], LEFT_OUT)`.
        split: One of `SPLITS`.
        test_fraction: Share of the people (else of the pictures) on the test side, at least one.

    Returns:
        An int64 array, ascending.

    Raises:
        UserError: If there is no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if split == "all":
        return np.arange(len(hashes))
    if np.any(own):
        wanted = 1 + SPLITS.index(split)
        chosen = np.flatnonzero(own == wanted)
        if not len(chosen):
            has = [name for index, name in enumerate(SPLITS[:3], 1) if np.any(own == index)]
            raise UserError(
                f"The source has no pictures in the split {split!r}; it has {', '.join(has)}, all."
            )
        return chosen
    if split == "validation":
        raise UserError(
            "Only a source with splits of its own has a validation split. Take train, test or all."
        )
    ordered = np.sort(hashes)  # np.unique takes more memory than all else of a million pictures
    ranked = ordered[np.diff(ordered, prepend=~ordered[:1]) != 0]
    held_out = ranked[: max(1, round(test_fraction * len(ranked)))]
    in_test = hashes <= held_out[-1] if len(ranked) else np.zeros(0, bool)
    return np.flatnonzero(in_test == (split == "test"))
