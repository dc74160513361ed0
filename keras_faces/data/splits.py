"""Which pictures are for training and which for testing."""

import hashlib
from collections.abc import Sequence

import numpy as np

from keras_faces.errors import unknown_name

SPLITS = ("train", "validation", "test", "all")


def split_indices(
    names: Sequence[str],
    identities: Sequence[str | None],
    split: str,
    test_fraction: float = 0.1,
) -> np.ndarray:
    """Return the positions of the pictures in a split.

    Where identities are known, no person is on both sides. The choice depends on names alone (the
    test side takes those whose SHA-256 is lowest), neither on a seed nor on the platform.

    Args:
        names: Names of all pictures.
        identities: The person on each, or None.
        split: `"train"`, `"test"` or `"all"`.
        test_fraction: Share of the people (else of the pictures) on the test side, at least one.

    Returns:
        An int64 array, ascending.

    Raises:
        UserError: If there is no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if split == "all":
        return np.arange(len(names))
    known = None not in identities and len(set(identities)) > 1
    units = list(identities if known else names)
    ranked = sorted(set(units), key=_rank)
    held_out = set(ranked[: max(1, round(test_fraction * len(ranked)))])
    return np.flatnonzero([(unit in held_out) == (split == "test") for unit in units])


def _rank(unit: str) -> bytes:
    # Names of files need not be UTF-8; Python holds their other bytes as surrogates.
    return hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()
