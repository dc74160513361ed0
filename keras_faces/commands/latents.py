"""What a model's latents are good for: `interpolate`, `attribute`, `latents`."""

from keras_faces.commands.inputs import (
    add_framing,
    add_search,
    conditions_of,
    faces_of,
    open_stream,
    search_of,
)
from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import UserError, require_whole, unknown_name


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    interpolate = parser.command(
        "interpolate", _interpolate, "Make the faces between two, or four."
    )
    interpolate.add_argument("run", metavar="RUN")
    interpolate.add_argument(
        "--from", dest="start", metavar="SEED|IMAGE", default="0", help="where to begin"
    )
    interpolate.add_argument("--to", metavar="SEED|IMAGE", default="1", help="where to end")
    interpolate.add_argument(
        "--corners", metavar="SEED|IMAGE", nargs=4, help="a square of faces between four instead"
    )
    interpolate.add_argument(
        "--frames", type=int, default=10, help="faces on the way, both ends among them"
    )
    interpolate.add_argument(
        "--path", default="linear", help="linear, or spherical: at the length of the ends"
    )
    interpolate.add_argument(
        "--sampler", help="of seeds: prior, or fitted where the model has it (default: the last)"
    )
    add_framing(interpolate)
    interpolate.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    add_search(interpolate)
    interpolate.add_argument(
        "--columns", type=int, help="faces in a row of a picture (default: all in one row)"
    )
    interpolate.add_argument(
        "--out", default="interpolation.png", help="a strip or grid, or morph.gif, or morph.mp4"
    )

    attribute = parser.command(
        "attribute",
        _attribute,
        "Change attributes of a face: by arithmetic on its latent, or a model's conditions.",
    )
    attribute.add_argument("run", metavar="RUN")
    attribute.add_argument("names", metavar="NAME", nargs="+", help="such as smiling")
    attribute.add_argument(
        "--strength",
        type=float,
        nargs="+",
        help="of all, or one for each: 1 goes as far as those with it are from those without, "
        "or sets a condition to 1 (default: 1)",
    )
    attribute.add_argument(
        "--by",
        help="of a conditional model: condition, latent (conditions stay), or both (default: the "
        "condition of what is one, the latent for all else)",
    )
    attribute.add_argument("--image", help="whose face (default: one drawn from the model)")
    attribute.add_argument("--seed", type=int, default=0, help="seed of the drawn face")
    attribute.add_argument(
        "--sampler", help="of the drawn face: prior, or fitted (default: the last usable one)"
    )
    add_framing(attribute)
    attribute.add_argument(
        "--against", metavar="NAME", nargs="+", help="attributes to leave as they are"
    )
    attribute.add_argument(
        "--conditions", help="of a conditional model, what holds of the face, such as smiling=0.5"
    )
    attribute.add_argument(
        "--frames",
        type=int,
        help="a strip of so many, from -strength to +strength, of conditions from 0",
    )
    attribute.add_argument(
        "--check", action="store_true", help="say what a classifier of real faces sees in all faces"
    )
    _add_source_of_attributes(attribute)
    add_search(attribute)
    attribute.add_argument("--out", default="attribute.png", help="a picture, .gif or .mp4")

    latents = parser.command("latents", _latents, "Draw a model's latent space.")
    latents.add_argument("run", metavar="RUN")
    latents.add_argument(
        "--by", default="pca", help="pca, tsne (needs the extra plots), or first: dimensions 1, 2"
    )
    latents.add_argument("--attribute", metavar="NAME", help="colour faces by it")
    latents.add_argument(
        "--thumbnails", action="store_true", help="draw faces, where there is room"
    )
    instead = latents.add_mutually_exclusive_group()
    instead.add_argument(
        "--manifold",
        action="store_true",
        help="instead draw the faces that a plane decodes to: two latents, or the two main axes",
    )
    instead.add_argument(
        "--separability",
        action="store_true",
        help="instead measure how well a straight cut tells each attribute apart",
    )
    latents.add_argument("--seed", type=int, default=0, help="seed of all that is chosen")
    _add_source_of_attributes(latents)
    add_search(latents)
    latents.add_argument("--out", default="latents.png", help="the picture to write")


def _add_source_of_attributes(parser):
    parser.add_argument("--data", help="source of faces with attributes (default: the run's)")
    parser.add_argument("--split", help="split of these (default: the run's)")
    parser.add_argument(
        "--count",
        type=int,
        help="faces of it to encode, at most (default: 4096; 200 without an encoder)",
    )


def _interpolate(options):
    no_more(options)
    import numpy as np

    from keras_faces.latent import between, corner_grid, save_frames
    from keras_faces.latent.interpolation import PATHS, frames_suffix
    from keras_faces.trained import TrainedModel

    suffix = frames_suffix(options.out)
    if options.path not in PATHS:
        raise unknown_name("path", options.path, PATHS)
    if suffix in (".gif", ".mp4") and (options.corners or options.columns is not None):
        raise UserError("Faces in rows are a picture: give --out grid.png.")
    if options.corners and options.columns is not None:
        raise UserError("A square between --corners has --frames columns. Leave --columns out.")
    require_whole(1, columns=1 if options.columns is None else options.columns)
    trained = TrainedModel(options.run)
    model = trained.model
    ends = options.corners or [options.start, options.to]
    latents = _ends(options, trained, ends)
    columns = options.columns
    if options.corners:
        codes, columns = (
            corner_grid(model, np.stack(latents), options.frames, options.path),
            options.frames,
        )
        what = f"{len(codes)} faces between {', '.join(_end_name(end) for end in ends)}"
    else:
        codes = between(model, *latents, options.frames, options.path)
        what = f"{len(codes)} faces from {_end_name(ends[0])} to {_end_name(ends[1])}"
    save_frames(model.decode(codes), options.out, columns=columns)
    drawn = f", drawn from the {options.sampler or model.default_sampler} density"
    seeds = drawn if any(_is_seed(end) for end in ends) else ""
    print(f"{what}{seeds}, {options.path} path: {options.out}")


def _is_seed(end: str) -> bool:
    return end.lstrip("-").isdecimal()


def _end_name(end: str) -> str:
    return f"seed {end}" if _is_seed(end) else end


def _ends(options, trained, ends: list[str]) -> list:
    """Return the latents of the ends of an interpolation: of seeds, or of pictures."""
    from keras_faces.latent import latent_of, latents_of
    from keras_faces.latent.encoding import require_latents

    model = trained.model
    pictures = [end for end in ends if not _is_seed(end)]
    given = conditions_of(options, model, needed=bool(pictures))
    latents = {
        end: latent_of(model, int(end), options.sampler, **given) for end in ends if _is_seed(end)
    }
    if not pictures:
        search_of(options, model)
    else:
        require_latents(model, "say which latents pictures have")
        faces = faces_of(options, trained, pictures)
        search = search_of(options, model, " and ".join(pictures))
        encoded = latents_of(model, faces, **given, **search)
        latents.update(zip(pictures, encoded, strict=True))
    return [latents[end] for end in ends]


def _attribute(options):
    no_more(options)
    import numpy as np

    from keras_faces.latent import attribute_change, latent_of, save_frames
    from keras_faces.latent.attributes import ways_by
    from keras_faces.latent.encoding import require_latents
    from keras_faces.latent.interpolation import frames_suffix
    from keras_faces.trained import TrainedModel

    frames_suffix(options.out)
    options.strength, options.against = options.strength or [1.0], options.against or []
    if options.frames is not None:
        require_whole(2, frames=options.frames)
    trained = TrainedModel(options.run)
    model = trained.model
    require_latents(model, "change attributes in them")
    given = conditions_of(options, model, needed=bool(options.image))
    if options.by is not None and not model.conditional:
        raise UserError(
            f"A {type(model).__name__} takes no conditions, so its attributes are changed in its "
            "latent alone. Leave --by out."
        )
    moved, told = ways_by(model, options.names, options.by)
    encoded = None
    # What needs no search comes first, so that a mistake is told before one.
    if moved or options.check:
        stream, under = _streams(options, model, moved)
    face = options.seed
    if options.image:
        face = faces_of(options, trained, [options.image])[0]
    search = search_of(options, model, "the picture") if options.image else {}
    latent = latent_of(model, face, options.sampler, **given, **search)
    if moved or options.check:
        encoded = _encode(options, model, stream, under)
    change = attribute_change(
        model, encoded, options.names, options.strength, options.against, options.by
    )
    factors = np.array([1.0])
    if options.frames is not None:
        factors = np.linspace(0.0 if told else -1.0, 1.0, options.frames)
    codes = [change.applied(latent, factor) for factor in factors]
    faces = model.decode(np.stack(codes if options.frames else [latent, *codes]))
    if options.image and options.frames is None:
        faces = np.concatenate([face[None], faces])
    save_frames(faces, options.out)
    print(_attribute_line(options, model, factors[0]))
    if options.check:
        from keras_faces.latent import attribute_check, check_table

        asked = (options.names, options.strength, options.against)
        result = attribute_check(model, encoded, *asked, progress=True, by=options.by)
        print(check_table(result))


def _streams(options, model, moved):
    """Return faces with attributes, and the same with a model's conditions where these differ."""
    stream = under = open_stream(options, model, "attributes")
    for name in [*(options.names if options.check else moved), *options.against]:
        if name not in stream.label_names:
            raise unknown_name("attribute", name, stream.label_names)
    if model.conditional and stream.label_names != model.condition_names:
        under = open_stream(options, model)
    return stream, under


def _encode(options, model, stream, under=None, seed: int = 0):
    from keras_faces.latent import encode_faces
    from keras_faces.latent.encoding import SEARCHED

    count = min(options.count or SEARCHED, stream.count)
    search = search_of(options, model, f"{count:,} faces of {stream.facts['source']}")
    return encode_faces(
        model, stream, options.count, seed, conditions=under, **{"progress": True, **search}
    )


def _attribute_line(options, model, first: float) -> str:
    strengths = options.strength * (len(options.names) // len(options.strength))

    def changed(factor):
        pairs = zip(options.names, strengths, strict=True)
        sign = "+g" if first < 0 or options.frames is None else "g"
        return ", ".join(f"{name} {factor * strength:{sign}}" for name, strength in pairs)

    whose = options.image or f"seed {options.seed} ({options.sampler or model.default_sampler})"
    against = f", against {', '.join(options.against)}" if options.against else ""
    if options.frames is not None:
        ends = f"from {changed(first)} to {changed(1)}"
        return f"{options.frames} faces of {whose}, {ends}{against}: {options.out}"
    before = "the picture, its reconstruction" if options.image else "the face as drawn"
    return f"{whose}: {before}, and with {changed(1)}{against}: {options.out}"


def _latents(options):
    no_more(options)
    from keras_faces.latent import PROJECTIONS, manifold, plot_latents, project
    from keras_faces.latent.encoding import require_latents
    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.saving import load_model

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as plot.png. Received: {options.out!r}.")
    if options.by not in PROJECTIONS:
        raise unknown_name("projection", options.by, PROJECTIONS)
    model = load_model(options.run)
    if options.manifold and model.code_dim == 2:
        search_of(options, model)
        save_picture(grid(manifold(model), 15), options.out)
        print(f"The map of the two latents, at equally likely values of the prior: {options.out}")
        return
    require_latents(model, "say where faces are in them")
    labels = "attributes" if options.attribute or options.separability else None
    stream = open_stream(options, model, labels)
    if options.attribute and options.attribute not in stream.label_names:
        raise unknown_name("attribute", options.attribute, stream.label_names)
    under = None
    if model.conditional and labels and stream.label_names != model.condition_names:
        under = open_stream(options, model)
    encoded = _encode(options, model, stream, under, options.seed)
    source = f"{len(encoded.latents):,} faces of {stream.facts['source']}"
    if options.separability:
        _separability(options, model, encoded)
    elif options.manifold:
        save_picture(grid(manifold(model, encoded.latents), 15), options.out)
        print(f"The plane along which the latents of {source} vary most: {options.out}")
    else:
        if options.by == "tsne":
            print(f"t-SNE is at work on {source}; 4,000 take about a minute.", flush=True)
        points, axes = project(encoded.latents[:, : model.latent_dim], options.by, options.seed)
        plot_latents(
            points,
            options.out,
            f"Latents of {source}, {type(model).__name__}",
            axes,
            encoded.labels_of(options.attribute) if options.attribute else None,
            options.attribute or "",
            encoded.faces() if options.thumbnails else None,
        )
        print(f"Latents of {source} by {options.by}: {options.out}")


def _separability(options, model, encoded):
    from keras_faces.latent import plot_separability, separability, separability_table

    result = separability(encoded, seed=options.seed)
    title = f"How well a straight cut through the latents of a {type(model).__name__} tells apart"
    plot_separability(result, options.out, title)
    print(separability_table(result))
    print(f"Drawn: {options.out}")
