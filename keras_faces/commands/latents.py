"""What a model's latents are good for: `interpolate`, `attribute`, `latents`."""

from keras_faces.commands.inputs import conditions_of, face_of, open_stream
from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import UserError, unknown_name


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
    interpolate.add_argument("--crop", help="how to make pictures square (default: as in training)")
    interpolate.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    interpolate.add_argument(
        "--out", default="interpolation.png", help="a strip, or morph.gif, or morph.mp4"
    )

    attribute = parser.command(
        "attribute", _attribute, "Change attributes of a face by arithmetic on its latent."
    )
    attribute.add_argument("run", metavar="RUN")
    attribute.add_argument("names", metavar="NAME", nargs="+", help="such as smiling")
    attribute.add_argument(
        "--strength",
        type=float,
        nargs="+",
        help="of all, or one for each: 1 goes as far as those with it are from those without "
        "(default: 1)",
    )
    attribute.add_argument("--image", help="whose face (default: one drawn from the model)")
    attribute.add_argument("--seed", type=int, default=0, help="seed of the drawn face")
    attribute.add_argument(
        "--sampler", help="of the drawn face: prior, or fitted (default: the last usable one)"
    )
    attribute.add_argument("--crop", help="how to make IMAGE square (default: as in training)")
    attribute.add_argument(
        "--against", metavar="NAME", nargs="+", help="attributes to leave as they are"
    )
    attribute.add_argument(
        "--frames", type=int, help="a strip of so many, from -strength to +strength"
    )
    attribute.add_argument(
        "--check", action="store_true", help="say what a classifier of real faces sees in all faces"
    )
    _add_source_of_attributes(attribute)
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
    latents.add_argument("--out", default="latents.png", help="the picture to write")


def _add_source_of_attributes(parser):
    parser.add_argument("--data", help="source of faces with attributes (default: the run's)")
    parser.add_argument("--split", help="split of these (default: the run's)")
    parser.add_argument("--count", type=int, default=4096, help="faces of it to encode, at most")


def _interpolate(options):
    no_more(options)
    import numpy as np

    from keras_faces.latent import between, corner_grid, save_frames
    from keras_faces.latent.interpolation import PATHS, frames_suffix
    from keras_faces.runs import load_model

    suffix = frames_suffix(options.out)
    if options.path not in PATHS:
        raise unknown_name("path", options.path, PATHS)
    if options.corners and suffix in (".gif", ".mp4"):
        raise UserError("A square of faces is a picture: give --out grid.png.")
    model = load_model(options.run)
    ends = options.corners or [options.start, options.to]
    latents = [_end(options, model, end) for end in ends]
    columns = None
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


def _end(options, model, end: str):
    """Return the latent of an end of an interpolation: of a seed, or of a picture."""
    from keras_faces.latent import latent_of
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.runs import training_crop

    seed = _is_seed(end)
    if not seed:
        require_encoder(model, "start from pictures, only from seeds")
    given = conditions_of(options, model, needed=not seed)
    face = int(end) if seed else face_of(end, options.crop or training_crop(options.run), model)
    return latent_of(model, face, options.sampler, **given)


def _attribute(options):
    no_more(options)
    import numpy as np

    from keras_faces.errors import require_whole
    from keras_faces.latent import (
        apply,
        attribute_directions,
        combined,
        encode_faces,
        latent_of,
        save_frames,
    )
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.latent.interpolation import frames_suffix
    from keras_faces.runs import load_model, training_crop

    frames_suffix(options.out)
    options.strength, options.against = options.strength or [1.0], options.against or []
    if options.frames is not None:
        require_whole(2, frames=options.frames)
    model = load_model(options.run)
    require_encoder(model, "say which latents faces with an attribute have")
    if model.conditional:
        raise UserError(
            f"A {type(model).__name__} is told its conditions: keras-faces generate RUN "
            f"--conditions {','.join(options.names)}"
        )
    face = options.seed
    if options.image:
        face = face_of(options.image, options.crop or training_crop(options.run), model)
    latent = latent_of(model, face, options.sampler)
    stream = open_stream(options, model, "attributes")
    for name in [*options.names, *options.against]:
        if name not in stream.label_names:
            raise unknown_name("attribute", name, stream.label_names)
    encoded = encode_faces(model, stream, options.count, progress=True)
    directions = attribute_directions(encoded, options.names, options.against)
    change = combined(directions, options.strength)
    factors = np.array([0.0, 1.0])
    if options.frames is not None:
        factors = np.linspace(-1.0, 1.0, options.frames)
    faces = model.decode(np.stack([apply(latent, change, factor) for factor in factors]))
    if options.image and options.frames is None:
        faces = np.concatenate([face[None], faces])
    save_frames(faces, options.out)
    print(_attribute_line(options, model))
    if options.check:
        from keras_faces.latent import attribute_check, check_table

        given = (options.names, options.strength, options.against)
        print(check_table(attribute_check(model, encoded, *given, progress=True)))


def _attribute_line(options, model) -> str:
    strengths = options.strength * (len(options.names) // len(options.strength))

    def changed(factor):
        pairs = zip(options.names, strengths, strict=True)
        return ", ".join(f"{name} {factor * strength:+g}" for name, strength in pairs)

    whose = options.image or f"seed {options.seed} ({options.sampler or model.default_sampler})"
    against = f", against {', '.join(options.against)}" if options.against else ""
    if options.frames is not None:
        ends = f"from {changed(-1)} to {changed(1)}"
        return f"{options.frames} faces of {whose}, {ends}{against}: {options.out}"
    first = "the picture, its reconstruction" if options.image else "the face as drawn"
    return f"{whose}: {first}, and with {changed(1)}{against}: {options.out}"


def _latents(options):
    no_more(options)
    from keras_faces.latent import PROJECTIONS, encode_faces, manifold, plot_latents, project
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.runs import load_model

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as plot.png. Received: {options.out!r}.")
    if options.by not in PROJECTIONS:
        raise unknown_name("projection", options.by, PROJECTIONS)
    model = load_model(options.run)
    if options.manifold and model.code_dim == 2:
        save_picture(grid(manifold(model), 15), options.out)
        print(f"The map of the two latents, at equally likely values of the prior: {options.out}")
        return
    require_encoder(model, "say where faces are in its latent space")
    labels = "attributes" if options.attribute or options.separability else None
    stream = open_stream(options, model, labels)
    if options.attribute and options.attribute not in stream.label_names:
        raise unknown_name("attribute", options.attribute, stream.label_names)
    encoded = encode_faces(model, stream, options.count, options.seed, progress=True)
    source = f"{len(encoded.latents):,} faces of {stream.facts['source']}"
    if options.separability:
        _separability(options, model, encoded)
    elif options.manifold:
        save_picture(grid(manifold(model, encoded.latents), 15), options.out)
        print(f"The plane along which the latents of {source} vary most: {options.out}")
    else:
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
