"""Whether translated pictures are matched to the right person: the bridge of Gruber's future work.

Heterogeneous face recognition looks for the person of a sketch among photos. A translator is a
bridge between the two: either the photos become sketches, or the sketch becomes a photo, and then
like is compared with like. The gallery has one picture of each person, the probes are sketches of
other pictures of theirs, or of the same ones where there are no others. Rank-k is the share of
probes whose person is among the k nearest in the gallery; k of as many people as there are would be
right by chance.

Dlib's descriptors compare faces, and find few in sketches; a probe or a person of the gallery in
whom no face is found is not matched. Beside them stand pixels, each picture less its mean and
divided by its deviation, which need no face to be found and know nothing of faces.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from keras_faces.data.stream import FaceStream
from keras_faces.errors import UserError, require_whole
from keras_faces.metrics import identity
from keras_faces.metrics.faces import Faces, feature_protocol, look
from keras_faces.metrics.scores import FORMAT, Value, sketches_in
from keras_faces.pixels import to_float

SIDE = 32  # of the pictures whose pixels are compared
BRIDGES = {
    "none": "sketches among photos, without a bridge",
    "sketch": "sketches among photos turned into sketches",
    "photo": "sketches turned into photos among photos",
    "same": "the sketches' own photos among photos, as if no bridge were needed",
}


class Rank(NamedTuple):
    """How often a person is among the nearest.

    Attributes:
        title: What tables call it.
        features: What of the pictures is compared, one of `FEATURES`.
        k: Among how many.
        form: Format of the value.
    """

    title: str
    features: str
    k: int
    form: str = ".1%"


MATCH_SCORES = {
    "rank_1": Rank("rank-1 (dlib)", "descriptors", 1),
    "rank_5": Rank("rank-5 (dlib)", "descriptors", 5),
    "rank_1_pixels": Rank("rank-1 (pixels)", "pixels", 1),
    "rank_5_pixels": Rank("rank-5 (pixels)", "pixels", 5),
}


class Probes(NamedTuple):
    """Who is looked for, and among whom.

    Attributes:
        gallery: Position of one picture of each person in the stream's cache.
        pictures: Positions of those whose sketches are looked for.
        people: For each of these the place of its person in the gallery.
        known: What tells people, in words.
    """

    gallery: np.ndarray
    pictures: np.ndarray
    people: np.ndarray
    known: str


def score_matches(
    model, stream: FaceStream, count: int = 1000, seed: int = 0, quick: bool = False
) -> dict | None:
    """Score whether translated pictures are matched to the right person.

    Args:
        model: A model that translates.
        stream: Photos, with their sketches where the source has them.
        count: Sketches to look for, and people to look among, at most.
        seed: Seed of the choice of gallery and sketches.
        quick: Whether to leave out what takes long: descriptors.

    Returns:
        Dict with `"protocol"`; `"needs"`; `"chance"`, what guessing gives, by score; `"rows"`, a
        dict of `{"value", "std"}` for every score and row of `BRIDGES` (`"none"`, what the model
        translates to, `"same"` where probes are of other pictures), with standard errors over
        people; and `"found"`, in which share of each row's probes and of its gallery a face is
        found, where descriptors are compared. None where the model does not translate.

    Raises:
        UserError: If there are too few people, or the sketches are of others than the photos.
    """
    if not model.translates_to:
        return None
    require_whole(2, count=count)
    if stream.labels == "sketch" and not stream.label_table.paired:
        raise UserError(
            "Sketches that are not of the photos beside them (paired=no) cannot be matched to them."
        )
    chosen = probes_of(stream, count, seed)
    described = not quick and identity.is_installed()
    wanted = [n for n, s in MATCH_SCORES.items() if described or s.features == "pixels"]
    of_gallery, of_probes = (
        tuple(Faces(one, kept=True) for one in _photos_and_sketches(stream, rows))
        for rows in (chosen.gallery, chosen.pictures)
    )
    (gallery, _), (own, probes) = of_gallery, of_probes
    rows = {"none": (probes, gallery)}
    if "sketch" in model.translates_to:
        rows["sketch"] = (probes, Faces(model.translate(gallery.images, "sketch")))
    if "photo" in model.translates_to:
        rows["photo"] = (Faces(model.translate(probes.images, "photo")), gallery)
    others = not set(chosen.gallery) & set(chosen.pictures)
    if others:
        rows["same"] = (own, gallery)
    if described:
        look(list(dict.fromkeys(side for pair in rows.values() for side in pair)), "descriptors")
    scores, found = {}, {}
    for row, pair in rows.items():
        ranks = {
            features: ranks_of(*(_features(side, features) for side in pair), chosen.people)
            for features in dict.fromkeys(MATCH_SCORES[name].features for name in wanted)
        }
        scores[row] = {
            name: rank_k(ranks[s.features], chosen.people, s.k)._asdict()
            for name, s in MATCH_SCORES.items()
            if name in wanted
        }
        if described:
            found[row] = [float(side.found.mean()) for side in pair]
    people = len(chosen.gallery)
    return {
        "format": FORMAT,
        "protocol": {
            **stream.protocol,
            "sketches": sketches_in(stream),
            "people": people,
            "known by": chosen.known,
            "gallery": "one picture of each",
            "probes": len(chosen.pictures),
            "of": "other pictures of theirs" if others else "the same pictures",
            "pixels": f"{SIDE}x{SIDE}, mean 0, deviation 1, Euclidean distance",
            "seed": seed,
        },
        "needs": {"descriptors": feature_protocol("descriptors", None)} if described else {},
        "chance": {name: min(1.0, MATCH_SCORES[name].k / people) for name in wanted},
        "rows": scores,
        "found": found,
    }


def probes_of(stream: FaceStream, count: int, seed: int) -> Probes:
    """Choose one picture of each person by seed, and whose sketches are looked for.

    Where people are not known, each photo is taken for a person of its own, as in CUFS.

    Raises:
        UserError: If there are fewer than two people.
    """
    order = np.random.default_rng(seed).permutation(stream.indices)
    identities = stream.cache.identities
    known = all(identities[index] is not None for index in order)
    people: dict = {}
    for index in order:
        people.setdefault(identities[index] if known else index, []).append(index)
    if len(people) < 2:
        raise UserError(
            f"Who is meant can only be asked among two people or more. Received: {len(order)} "
            f"pictures of {len(people)}."
        )
    shown = list(people.values())[:count]
    gallery = [pictures[0] for pictures in shown]
    probes = [(place, index) for place, pictures in enumerate(shown) for index in pictures[1:]]
    if not probes:
        probes = list(enumerate(gallery))
    kept = np.random.default_rng([seed, 1]).permutation(len(probes))[:count]
    places, pictures = np.array(probes)[np.sort(kept)].T
    how = "identities" if known else "pictures, each taken for a person"
    return Probes(np.array(gallery), pictures, places, how)


def ranks_of(probes: np.ndarray, gallery: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return at which rank each probe's person comes, from 1; infinity where it is not found.

    Args:
        probes: Features of shape `(count, features)`; NaN where there are none.
        gallery: The same of each person.
        people: For each probe its person's place in the gallery.
    """
    distances = np.nan_to_num(cdist(probes, gallery), nan=np.inf)
    own = distances[np.arange(len(probes)), people]
    # Others as near count as nearer: nobody is found by their place in the gallery.
    ranks = (distances <= own[:, None]).sum(axis=1).astype(float)
    return np.where(np.isfinite(own), ranks, np.inf)


def rank_k(ranks: np.ndarray, people: np.ndarray, k: int) -> Value:
    """Return the share of probes within rank k, with its standard error over people."""
    right = ranks <= k
    share = right.mean()
    added = np.bincount(people, weights=right - share)
    return Value(float(share), float(math.sqrt(np.square(added).sum()) / len(right)))


def _photos_and_sketches(stream: FaceStream, positions: np.ndarray) -> tuple:
    photos = to_float(stream.cache.read(positions))
    if stream.labels == "sketch":
        return photos, stream.labels_at(positions)
    from keras_faces.pencil import sketches_of

    return photos, sketches_of(photos)


def _features(faces: Faces, kind: str) -> np.ndarray:
    if kind == "pixels":
        return normalised_pixels(faces.images)
    found, values = faces.descriptors
    rows = np.full((len(found), identity.NUMBERS), np.nan)
    rows[found] = values
    return rows


def normalised_pixels(images: np.ndarray) -> np.ndarray:
    """Return grey pixels of pictures at 32x32, each with mean 0 and deviation 1, as rows."""
    grey = images.mean(axis=-1)
    cell = max(1, grey.shape[1] // SIDE)
    count, side = len(grey), grey.shape[1] // cell
    rows = grey.reshape(count, side, cell, side, cell).mean(axis=(2, 4)).reshape(count, -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-6)
