"""Real faces in parts, of which each is held out once.

With attributes a part holds whole people where they are known, because a classifier that recognises
somebody knows their beard without looking. With people it holds other pictures of them.
"""

from typing import NamedTuple

import numpy as np

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError

REAL_FACES = 4096  # at most, which bounds memory and time
PARTS = 5


class HeldOut(NamedTuple):
    """Real faces in parts, of which each is held out once.

    Attributes:
        positions: Where the faces are in their cache, of shape `(count,)`, in random order.
        parts: The part that each belongs to, of shape `(count,)`.
        units: A number for each person, of shape `(count,)`; for each face where people are not
            known.
        what: What a part holds, in words.
    """

    positions: np.ndarray
    parts: np.ndarray
    units: np.ndarray
    what: str


def held_out_parts(stream: FaceStream, seed: int, count: int = REAL_FACES) -> HeldOut:
    """Choose up to `count` real faces by seed, in parts for classifiers to be held out from.

    Raises:
        UserError: If there are too few faces or people.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(stream.indices)
    identities = stream.cache.identities
    people: dict = {}  # their pictures, all in random order
    if stream.labels == "identity" or all(identities[index] is not None for index in order):
        for index in order:
            people.setdefault(identities[index], []).append(index)
    if stream.labels == "identity":
        chosen, parts, units, named = [], [], [], 0
        for pictures in people.values():
            if len(pictures) < 2 or len(chosen) + len(pictures) > count:
                continue  # whom nothing is left to learn from, or no room for
            chosen += pictures
            parts += [(number + named) % PARTS for number in range(len(pictures))]
            units += [named] * len(pictures)
            named += 1
        if named < 2:
            raise UserError(
                "Whether people are recognised needs two pictures or more of two people or more. "
                f"Received: {len(order)} pictures of {len(people)} people."
            )
        what = "other pictures of the same people"
        return HeldOut(np.array(chosen), np.array(parts), np.array(units), what)
    chosen = order[:count]
    units, what = [str(index) for index in chosen], "pictures"
    known = len({identities[index] for index in chosen} - {None}) > 1 and people
    if known and stream.cache.whole_people:
        units, what = [identities[index] for index in chosen], "whole people"
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    if len(numbers) < 2:
        raise UserError(f"Some faces must be held out, but there is only {len(numbers)}.")
    units = np.array([numbers[unit] for unit in units])
    return HeldOut(chosen, units % PARTS, units, what)
