"""What a model's latents are good for: `interpolate`, `attribute`, `latents`."""

from keras_faces.commands import kinds
from keras_faces.commands.inputs import (
    Drawing,
    Framing,
    RealFaces,
    Search,
    conditions_for,
    trained_model,
)
from keras_faces.errors import UserError, require_whole, unknown_name


def interpolate(
    run: kinds.Run,
    /,
    *,
    framing: Framing = Framing(),
    search: Search = Search(),
    from_: str = "0",
    to: str = "1",
    corners: tuple[str, str, str, str] | None = None,
    frames: int = 10,
    path: kinds.PathKind = "linear",
    sampler: kinds.Sampler | None = None,
    conditions: str | None = None,
    columns: int | None = None,
    drawing: Drawing = Drawing(),
    out: str = "interpolation.png",
) -> None:
    """Draw the faces on the path between two, or in the square between four.

    Args:
        run: The model.
        from_: The first face: a seed or a picture.
        to: The last face: a seed or a picture.
        corners: Four seeds or pictures; draws a square of faces between them instead.
        frames: Number of faces, including both ends.
        path: `linear`, or `spherical`, which keeps the length of the latents.
        sampler: How latents of seeds are drawn. Defaults to fitted, if the model has it, else
            prior.
        conditions: For a conditional model, such as `glasses,smiling`.
        columns: Faces per row of a picture. Defaults to all in one row.
        out: The file to write: a picture, `morph.gif` or `morph.mp4`.
    """
    import numpy as np

    from keras_faces.latent import between, corner_grid, save_frames
    from keras_faces.latent.interpolation import frames_suffix

    suffix = frames_suffix(out)
    if suffix in (".gif", ".mp4") and (corners or columns is not None):
        raise UserError("--corners and --columns write a picture. Give --out grid.png.")
    if corners and columns is not None:
        raise UserError("A square between --corners has --frames columns. Leave --columns out.")
    require_whole(1, columns=1 if columns is None else columns)
    trained = trained_model(run)
    model = trained.model
    ends = corners or [from_, to]
    codes = _ends(trained, ends, framing, search, sampler, conditions)
    if corners:
        codes, columns = corner_grid(model, np.stack(codes), frames, path), frames
        what = f"{len(codes)} faces between {', '.join(_end_name(end) for end in ends)}"
    else:
        codes = between(model, *codes, frames, path)
        what = f"{len(codes)} faces from {_end_name(ends[0])} to {_end_name(ends[1])}"
    save_frames(model.decode(codes), out, columns=columns, scale=drawing.scale)
    drawn = f", drawn from the {sampler or model.default_sampler} density"
    seeds = drawn if any(_is_seed(end) for end in ends) else ""
    print(f"{what}{seeds}, {path} path: {out}")


def _is_seed(end: str) -> bool:
    return end.lstrip("-").isdecimal()


def _end_name(end: str) -> str:
    return f"seed {end}" if _is_seed(end) else end


def _ends(trained, ends, framing, search, sampler, conditions) -> list:
    """Return the latents of the ends of an interpolation: of seeds, or of pictures."""
    from keras_faces.latent import latent_of, latents_of
    from keras_faces.latent.encoding import require_latents

    model = trained.model
    pictures = [end for end in ends if not _is_seed(end)]
    given = conditions_for(model, conditions, needed=bool(pictures))
    found = {end: latent_of(model, int(end), sampler, **given) for end in ends if _is_seed(end)}
    if not pictures:
        search.arguments(model)
    else:
        require_latents(model, "say which latents pictures have")
        faces = framing.faces(trained, pictures)
        arguments = search.arguments(model, " and ".join(pictures))
        encoded = latents_of(model, faces, **given, **arguments)
        found.update(zip(pictures, encoded, strict=True))
    return [found[end] for end in ends]


def attribute(
    run: kinds.Run,
    /,
    *names: kinds.Needed,
    framing: Framing = Framing(),
    real: RealFaces = RealFaces(),
    search: Search = Search(),
    strength: list[float] | None = None,
    by: kinds.By | None = None,
    image: str | None = None,
    seed: int = 0,
    sampler: kinds.Sampler | None = None,
    against: list[str] | None = None,
    conditions: str | None = None,
    frames: int | None = None,
    check: bool = False,
    count: int | None = None,
    drawing: Drawing = Drawing(),
    out: str = "attribute.png",
) -> None:
    """Change attributes of a face, such as glasses or smiling.

    Args:
        run: The model.
        names: The attributes, such as smiling.
        strength: One value for all attributes, or one for each. 1 is the distance between faces
            with and without the attribute; for a condition, the value that it is set to.
            Defaults to 1.
        by: For a conditional model: change the `condition`, the `latent`, or `both`. Defaults to
            the condition if the attribute is one, else the latent.
        image: The picture to change. Defaults to a face drawn from the model.
        seed: Seed of the drawn face.
        sampler: How the drawn face's latent is drawn. Defaults to fitted, if the model has it,
            else prior.
        against: Attributes to keep unchanged.
        conditions: For a conditional model, the face's conditions, such as `smiling=0.5`.
        frames: Draw a strip of this many faces, from -strength (for conditions, from 0) to
            +strength.
        check: Measure the change: ask a classifier trained on real faces.
        count: Real faces to encode, at most. Defaults to 4096; without an encoder, to 200.
        out: The file to write: a picture, `.gif` or `.mp4`.
    """
    import numpy as np

    from keras_faces.latent import (
        attribute_change,
        attribute_check,
        check_table,
        latent_of,
        save_frames,
    )
    from keras_faces.latent.attributes import ways_by
    from keras_faces.latent.interpolation import frames_suffix

    frames_suffix(out)
    strength, against = strength or [1.0], against or []
    if frames is not None:
        require_whole(2, frames=frames)
    trained = trained_model(run, latents_for="change attributes in them")
    model = trained.model
    given = conditions_for(model, conditions, needed=bool(image))
    if by is not None and not model.conditional:
        raise UserError(
            f"A {type(model).__name__} takes no conditions, so its attributes are changed in its "
            "latent alone. Leave --by out."
        )
    moved, told = ways_by(model, names, by)
    encoded, face = None, framing.faces(trained, [image])[0] if image else seed
    # What needs no search comes first, so that a mistake is told before one.
    if moved or check:
        stream = under = real.open(trained, "attribute", "attributes")
        for name in [*(names if check else moved), *against]:
            if name not in stream.label_names:
                raise unknown_name("attribute", name, stream.label_names)
        if model.conditional and stream.label_names != model.condition_names:
            under = real.open(trained, "attribute")
    arguments = search.arguments(model, "the picture") if image else {}
    latent = latent_of(model, face, sampler, **given, **arguments)
    if moved or check:
        encoded = _encode(search, model, stream, under, count)
    change = attribute_change(model, encoded, names, strength, against, by)
    factors = np.array([1.0])
    if frames is not None:
        factors = np.linspace(0.0 if told else -1.0, 1.0, frames)
    codes = [change.applied(latent, factor) for factor in factors]
    faces = model.decode(np.stack(codes if frames else [latent, *codes]))
    if image and frames is None:
        faces = np.concatenate([face[None], faces])
    save_frames(faces, out, scale=drawing.scale)
    whose = image or f"seed {seed} ({sampler or model.default_sampler})"
    behind = f", against {', '.join(against)}: {out}" if against else f": {out}"
    if frames is not None:
        ends = [_changed(names, strength, factor, factors[0] < 0) for factor in (factors[0], 1)]
        print(f"{frames} faces of {whose}, from {ends[0]} to {ends[1]}{behind}")
    else:
        before = "the picture, its reconstruction" if image else "the face as drawn"
        print(f"{whose}: {before}, and with {_changed(names, strength, 1)}{behind}")
    if check:
        asked = names, strength, against
        print(check_table(attribute_check(model, encoded, *asked, progress=True, by=by)))


def _changed(names, strength, factor: float, signed: bool = True) -> str:
    strengths = strength * (len(names) // len(strength))
    sign = "+g" if signed else "g"
    pairs = zip(names, strengths, strict=True)
    return ", ".join(f"{name} {factor * by:{sign}}" for name, by in pairs)


def _encode(search, model, stream, under, count, seed: int = 0):
    from keras_faces.latent import encode_faces
    from keras_faces.latent.encoding import SEARCHED

    searched = min(count or SEARCHED, stream.count)
    arguments = search.arguments(model, f"{searched:,} faces of {stream.facts['source']}")
    return encode_faces(
        model, stream, count, seed, conditions=under, **{"progress": True, **arguments}
    )


def latents(
    run: kinds.Run,
    /,
    *,
    real: RealFaces = RealFaces(),
    search: Search = Search(),
    by: kinds.Projection = "pca",
    attribute: str | None = None,
    thumbnails: bool = False,
    manifold: bool = False,
    separability: bool = False,
    seed: int = 0,
    count: int | None = None,
    drawing: Drawing = Drawing(),
    out: kinds.Picture = "latents.png",
) -> None:
    """Plot a model's latent space.

    Args:
        run: The model.
        by: `pca`, `tsne` (extra plots), or `first`, the first two dimensions.
        attribute: Colour the points by this attribute.
        thumbnails: Show faces where there is room.
        manifold: Draw instead the faces decoded on a plane: the two latents, or the two main axes.
        separability: Measure instead how well a linear classifier separates each attribute.
        seed: Seed of all random choices.
        count: Real faces to encode, at most. Defaults to 4096; without an encoder, to 200.
        out: The picture to write.
    """
    from keras_faces import latent
    from keras_faces.latent.encoding import require_latents
    from keras_faces.pictures import grid

    if manifold and separability:
        raise UserError("--manifold is not allowed with --separability. Give one of them.")
    trained = trained_model(run)
    model = trained.model
    if manifold and model.code_dim == 2:
        search.arguments(model)
        drawing.save(grid(latent.manifold(model), 15), out)
        print(f"The map of the two latents, at equally likely values of the prior: {out}")
        return
    require_latents(model, "say where faces are in them")
    labels = "attributes" if attribute or separability else None
    stream = real.open(trained, "latents", labels)
    if attribute and attribute not in stream.label_names:
        raise unknown_name("attribute", attribute, stream.label_names)
    under = None
    if model.conditional and labels and stream.label_names != model.condition_names:
        under = real.open(trained, "latents")
    encoded = _encode(search, model, stream, under, count, seed)
    source = f"{len(encoded.latents):,} faces of {stream.facts['source']}"
    kind = type(model).__name__
    if separability:
        result = latent.separability(encoded, seed=seed)
        title = f"How well a straight cut through the latents of a {kind} tells apart"
        latent.plot_separability(result, out, title, drawing.scale)
        print(latent.separability_table(result))
        print(f"Drawn: {out}")
    elif manifold:
        drawing.save(grid(latent.manifold(model, encoded.latents), 15), out)
        print(f"The plane along which the latents of {source} vary most: {out}")
    else:
        if by == "tsne":
            print(f"t-SNE is at work on {source}; 4,000 take about a minute.", flush=True)
        points, axes = latent.project(encoded.latents[:, : model.latent_dim], by, seed)
        latent.plot_latents(
            points,
            out,
            f"Latents of {source}, {kind}",
            axes,
            encoded.labels_of(attribute) if attribute else None,
            attribute or "",
            encoded.faces() if thumbnails else None,
            drawing.scale,
        )
        print(f"Latents of {source} by {by}: {out}")
