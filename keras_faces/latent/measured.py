"""A measured check of attribute arithmetic: what a classifier of real faces sees as strength grows.

Faces are decoded from their latents plus the attribute's direction at several strengths. Whether
they have the attribute says the classifier of `keras_faces.metrics.classifier`, which has learnt
from pixels of real faces alone, and it is asked about all attributes: the rest should stay.

Nobody is looked at by what has learnt from them: every face belongs to a part, and the direction
and the classifier for it come from the faces of the other parts, which are other people where
people are known. The column to compare with is strength 0, plain reconstructions, which may hide an
attribute or show it where it is not. Beside the longest way stands one of the same length in a
direction that means nothing, that of labels dealt out anew among the people: what moves as much
along that has not moved for the attribute's sake. And a face detector says how many still are
faces.

A condition of a conditional model is not added to what a face has but set, for all faces alike:
from 0, where none has it, over fractions to 1, where all have it. The column to compare with is
then plain reconstructions under the conditions that hold.
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from keras_faces.errors import UserError
from keras_faces.latent.attributes import (
    Change,
    attribute_change,
    attribute_direction,
    combined,
    ways_by,
)
from keras_faces.latent.encoding import EncodedFaces
from keras_faces.latent.separability import dealt_anew
from keras_faces.metrics.classifier import (
    FACE_CLASSIFIER,
    balanced_accuracy,
    face_features,
    features_at,
    fit_probe,
)
from keras_faces.metrics.conditions import unmeasurable
from keras_faces.metrics.detection import detected

FACTORS = (-1.0, 0.0, 1.0, 2.0)
TOLD_FACTORS = (0.0, 0.5, 1.0, 1.5)  # of conditions


def attribute_check(
    model,
    encoded: EncodedFaces,
    names: Sequence[str],
    strengths=1.0,
    against: Sequence[str] = (),
    factors: Sequence[float] | None = None,
    seed: int = 0,
    progress: bool = False,
    by: str | None = None,
) -> dict:
    """Return in which share of faces a classifier sees each attribute, as some are changed.

    Args:
        model: The model that decodes.
        encoded: What `encode_faces` returned, of faces with attributes.
        names: The attributes to change, all at once.
        strengths: One for all of them, or one for each.
        against: Attributes to whose directions theirs are made orthogonal.
        factors: Multiples of the strengths to look at; None takes -1, 0, 1 and 2, or where
            conditions are set 0, 0.5, 1 and 1.5.
        seed: Seed of the direction that means nothing.
        progress: Whether to show a progress bar.
        by: What changes attributes of a conditional model, see `ways_by`.

    Returns:
        Dict of plain values. `"attributes"` maps every attribute to `"accuracy"`, the classifier's
        balanced accuracy on real faces held out; `"real"`, the share of those in which it sees it;
        `"seen"`, the share at each factor; `"nothing"`, the share at the farthest factor along a
        direction that means nothing, None where only conditions are set; and `"copies"`, the share
        in plain reconstructions, where conditions are set. `"detected"` has the same shares of
        faces in which a face is found. `"left_out"` says why others could not be measured.

    Raises:
        UserError: If an attribute is unknown or cannot be measured, or there are no factors.
    """
    if model.makes != "photo":
        raise UserError(
            f"A classifier of photos says nothing of sketches, which this {type(model).__name__} "
            "makes. Take a model that makes photos."
        )
    names = list(names)
    moved, told = ways_by(model, names, by)
    if factors is None:
        factors = TOLD_FACTORS if told else FACTORS
    factors = [float(factor) for factor in factors]
    if not factors or not np.isfinite(factors).all() or 0.0 not in factors:
        raise UserError(f"factors must be numbers, one of them 0. Received: {factors}.")
    left_out = _left_out(encoded, [*names, *against])
    parts, labels = encoded.held_out.parts, encoded.labels
    real = features_at(encoded.stream, encoded.held_out.positions)
    ways = ["real", *(["copies"] if told else []), *factors, *(["nothing"] if moved else [])]
    seen = {way: np.zeros_like(labels) for way in ways}
    found = {way: np.zeros(len(labels), bool) for way in ways}
    with tqdm(
        total=len(np.unique(parts)) * len(ways),
        desc="Checking",
        unit=" looks",
        disable=None if progress else True,
    ) as bar:
        for part in np.unique(parts):
            own = parts == part
            probe = fit_probe(real[~own], labels[~own])
            change = attribute_change(model, encoded, names, strengths, against, by, ~own)
            farthest = max(factors, key=abs)
            if moved:
                given = np.broadcast_to(strengths, len(names))[[names.index(n) for n in moved]]
                empty = _empty(model, encoded, moved, given, ~own, [seed, int(part)])
                empty *= farthest * np.linalg.norm(change.direction)
            for way in ways:
                codes = encoded.latents[own]
                if way == "real":
                    faces, features = encoded.faces(own), real[own]
                else:
                    if way == "nothing":
                        codes = Change(empty, {}).applied(codes)
                    elif way != "copies":
                        codes = change.applied(codes, way)
                    faces = model.decode(codes)
                    features = face_features(faces)
                seen[way][own] = probe.sees(features)
                found[way][own] = detected(faces, processes=1)
                bar.update()
    accuracy = balanced_accuracy(labels, seen["real"])

    def shares(values) -> dict:
        share = {way: float(np.mean(values[way])) for way in ways}
        return {
            "real": share["real"],
            "copies": share.get("copies"),
            "seen": [share[factor] for factor in factors],
            "nothing": share.get("nothing"),
        }

    return {
        "protocol": {
            "classifier": FACE_CLASSIFIER,
            **encoded.stream.protocol,
            "labels_digest": encoded.stream.labels_digest,
            "faces": len(labels),
            "parts": len(np.unique(parts)),
            "held_out": encoded.held_out.what,
            "changed": list(names),
            "by_condition": told,
            "by_latent": moved,
            "strengths": np.broadcast_to(strengths, len(names)).astype(float).tolist(),
            "against": list(against),
            "factors": factors,
            "seed": seed,
        },
        "detected": shares(found),
        "attributes": {
            name: {
                "accuracy": float(accuracy[number]),
                **shares({way: values[:, number] for way, values in seen.items()}),
            }
            for number, name in enumerate(encoded.names)
            if name not in left_out
        },
        "left_out": left_out,
    }


def _left_out(encoded: EncodedFaces, wanted: Sequence[str]) -> dict[str, str]:
    """Return why attributes cannot be measured, none of the wanted ones among them."""
    for name in wanted:
        encoded.number_of(name)
    parts, labels = encoded.held_out.parts, encoded.labels
    left_out = unmeasurable(encoded.names, labels, parts, labels)
    for name in wanted:
        if name in left_out:
            raise UserError(f"{name!r} cannot be measured on these faces: {left_out[name]}.")
    return left_out


def _empty(model, encoded, names, strengths, chosen, seed) -> np.ndarray:
    """Return a direction of length 1 from labels dealt out anew, which means nothing."""
    dealt = dealt_anew(
        np.stack([encoded.labels_of(name)[chosen] for name in names], axis=1),
        encoded.held_out.units[chosen],
        np.random.default_rng(seed),
    )
    empty = combined(attribute_direction(encoded.latents[chosen], dealt), strengths)
    if model.conditional:
        empty[model.latent_dim :] = 0
    return empty / max(np.linalg.norm(empty), 1e-30)


def check_table(result: dict) -> str:
    """Return what `attribute_check` found as lines of text."""
    protocol, attributes = result["protocol"], result["attributes"]
    factors = protocol["factors"]
    farthest = max(factors, key=abs)
    rows = {
        **{f"* {n}" if n in protocol["changed"] else f"  {n}": r for n, r in attributes.items()},
        "  a face at all": result["detected"],
    }
    width = max(map(len, rows))
    told = bool(protocol["by_condition"])
    moved = bool(protocol["by_latent"])
    heads = [
        *(["copies"] if told else []),
        *(f"{factor:+g}" if factor else "0" for factor in factors),
        *([f"nothing {farthest:+g}"] if moved else []),
    ]
    lines = [f"{'seen in':{width}}  right    real  " + "  ".join(f"{head:>6}" for head in heads)]
    for name, row in rows.items():
        right = f"{row['accuracy']:.1%}" if "accuracy" in row else ""
        shares = [
            share for share in (row["copies"], *row["seen"], row["nothing"]) if share is not None
        ]
        cells = zip(heads, shares, strict=True)
        lines.append(
            f"{name:{width}}  {right:>5}  {row['real']:6.1%}  "
            + "  ".join(f"{share:>{max(6, len(head))}.1%}" for head, share in cells)
        )
    given = zip(protocol["changed"], protocol["strengths"], strict=True)
    changed = ", ".join(f"{name} {strength:g}" for name, strength in given)
    against = f", against {', '.join(protocol['against'])}" if protocol["against"] else ""
    if told:
        which = (
            ""
            if protocol["by_condition"] == protocol["changed"]
            else (f" of {', '.join(protocol['by_condition'])}")
        )
        against += f"; the condition{which} is set to it, 'copies' are under those that hold"
    if moved:
        against += "; 'nothing' goes as far along labels dealt out anew"
    lines.append(
        f"Columns: the strength, times {changed}{against}. Right: the classifier's balanced "
        f"accuracy on real faces. {protocol['faces']} faces of {protocol['source']!r}, held out: "
        f"{protocol['held_out']}."
    )
    lines += [f"{name}: not measured, {reason}." for name, reason in result["left_out"].items()]
    return "\n".join(lines)
