"""A measured check of attribute arithmetic: what a classifier of real faces sees as strength grows.

Faces are decoded from their latents plus the attribute's direction at several strengths. Whether
they have the attribute says the classifier of `keras_faces.metrics.conditions`, which has learnt
from pixels of real faces alone, and it is asked about all attributes: the rest should stay.

Nobody is looked at by what has learnt from them: every face belongs to a part, and the direction
and the classifier for it come from the faces of the other parts, which are other people where
people are known. The column to compare with is strength 0, plain reconstructions, which may hide an
attribute or show it where it is not. Beside the longest way stands one of the same length in a
direction that means nothing, that of labels dealt out anew among the people: what moves as much
along that has not moved for the attribute's sake. And a face detector says how many still are
faces.
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from keras_faces.errors import UserError
from keras_faces.latent.attributes import (
    apply,
    attribute_direction,
    attribute_directions,
    combined,
)
from keras_faces.latent.encoding import EncodedFaces
from keras_faces.latent.separability import dealt_anew
from keras_faces.metrics.conditions import (
    balanced_accuracy,
    face_features,
    features_at,
    fit_probe,
    unmeasurable,
)
from keras_faces.metrics.detection import detected

FACTORS = (-1.0, 0.0, 1.0, 2.0)


def attribute_check(
    model,
    encoded: EncodedFaces,
    names: Sequence[str],
    strengths=1.0,
    against: Sequence[str] = (),
    factors: Sequence[float] = FACTORS,
    seed: int = 0,
    progress: bool = False,
) -> dict:
    """Return in which share of faces a classifier sees each attribute, as some are changed.

    Args:
        model: The model that decodes.
        encoded: What `encode_faces` returned, of faces with attributes.
        names: The attributes to change, all at once.
        strengths: One for all of them, or one for each.
        against: Attributes to whose directions theirs are made orthogonal.
        factors: Multiples of the strengths to look at.
        seed: Seed of the direction that means nothing.
        progress: Whether to show a progress bar.

    Returns:
        Dict of plain values. `"attributes"` maps every attribute to `"accuracy"`, the classifier's
        balanced accuracy on real faces held out; `"real"`, the share of those in which it sees it;
        `"seen"`, the share at each factor; and `"nothing"`, the share at the farthest factor along
        a direction that means nothing. `"detected"` has the same shares of faces in which a face is
        found. `"left_out"` says why others could not be measured.

    Raises:
        UserError: If an attribute is unknown or cannot be measured, or there are no factors.
    """
    factors = [float(factor) for factor in factors]
    if not factors or not np.isfinite(factors).all() or 0.0 not in factors:
        raise UserError(f"factors must be numbers, one of them 0. Received: {factors}.")
    left_out = _left_out(encoded, [*names, *against])
    parts, labels = encoded.held_out.parts, encoded.labels
    real = features_at(encoded.stream, encoded.held_out.positions)
    ways = ["real", *factors, "nothing"]
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
            changes = _changes(encoded, names, strengths, against, factors, ~own, [seed, int(part)])
            for way in ways:
                if way == "real":
                    faces, features = encoded.faces(own), real[own]
                else:
                    faces = model.decode(apply(encoded.latents[own], changes[way]))
                    features = face_features(faces)
                seen[way][own] = probe.sees(features)
                found[way][own] = detected(faces, processes=1)
                bar.update()
    accuracy = balanced_accuracy(labels, seen["real"])

    def shares(values) -> dict:
        share = {way: float(np.mean(values[way])) for way in ways}
        return {
            "real": share["real"],
            "seen": [share[factor] for factor in factors],
            "nothing": share["nothing"],
        }

    return {
        "protocol": {
            "classifier": "ridge regression on principal components of gradient histograms and "
            "mean colours",
            **encoded.stream.protocol,
            "labels_digest": encoded.stream.labels_digest,
            "faces": len(labels),
            "parts": len(np.unique(parts)),
            "held_out": encoded.held_out.what,
            "changed": list(names),
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


def _changes(encoded, names, strengths, against, factors, chosen, seed) -> dict:
    """Return what to add to latents, by factor, learnt from the chosen faces."""
    change = combined(attribute_directions(encoded, names, against, chosen), strengths)
    dealt = dealt_anew(
        np.stack([encoded.labels_of(name)[chosen] for name in names], axis=1),
        encoded.held_out.units[chosen],
        np.random.default_rng(seed),
    )
    empty = combined(attribute_direction(encoded.latents[chosen], dealt), strengths)
    length = np.linalg.norm(change) / max(np.linalg.norm(empty), 1e-30)
    return {
        **{factor: factor * change for factor in factors},
        "nothing": max(factors, key=abs) * length * empty,
    }


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
    heads = [*(f"{factor:+g}" if factor else "0" for factor in factors), f"nothing {farthest:+g}"]
    lines = [f"{'seen in':{width}}  right    real  " + "  ".join(f"{head:>6}" for head in heads)]
    for name, row in rows.items():
        right = f"{row['accuracy']:.1%}" if "accuracy" in row else ""
        cells = zip(heads, [*row["seen"], row["nothing"]], strict=True)
        lines.append(
            f"{name:{width}}  {right:>5}  {row['real']:6.1%}  "
            + "  ".join(f"{share:>{max(6, len(head))}.1%}" for head, share in cells)
        )
    given = zip(protocol["changed"], protocol["strengths"], strict=True)
    changed = ", ".join(f"{name} {strength:g}" for name, strength in given)
    against = f", against {', '.join(protocol['against'])}" if protocol["against"] else ""
    lines.append(
        f"Columns: the strength, times {changed}{against}; 'nothing' goes as far along labels "
        f"dealt out anew. Right: the classifier's balanced accuracy on real faces. "
        f"{protocol['faces']} faces of {protocol['source']!r}, held out: {protocol['held_out']}."
    )
    lines += [f"{name}: not measured, {reason}." for name, reason in result["left_out"].items()]
    return "\n".join(lines)
