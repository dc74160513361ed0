"""Draw faces, and put pictures through a model: `generate`, `reconstruct`, `blend`, `translate`."""

from keras_faces.commands.inputs import (
    add_framing,
    add_search,
    conditions_of,
    faces_of,
    search_of,
    trained_model,
)
from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import UserError, require_at_least


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    generate = parser.command("generate", _generate, "Draw faces from a model.")
    generate.add_argument("run", metavar="RUN")
    generate.add_argument("--count", type=int, default=64, help="faces to draw")
    generate.add_argument("--seed", type=int, default=0, help="seed of the latents")
    generate.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    generate.add_argument(
        "--sampler", help="prior, or fitted where the model has it (default: the last)"
    )
    generate.add_argument("--columns", type=int, help="faces in a row (default: a square)")
    generate.add_argument(
        "--out", default="grid.png", help="a picture, or a folder for single faces"
    )

    reconstruct = parser.command(
        "reconstruct", _reconstruct, "Encode pictures, or search for their latents, and decode."
    )
    reconstruct.add_argument("run", metavar="RUN")
    reconstruct.add_argument("images", metavar="IMAGE", nargs="+")
    add_framing(reconstruct)
    reconstruct.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    add_search(reconstruct)
    reconstruct.add_argument("--out", default="reconstructions.png", help="originals over copies")

    blend = parser.command("blend", _blend, "Make a face between two pictures.")
    blend.add_argument("run", metavar="RUN")
    blend.add_argument("images", metavar="IMAGE", nargs=2)
    blend.add_argument("--percent", type=float, default=50.0, help="how much of the second")
    add_framing(blend)
    blend.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    add_search(blend)
    blend.add_argument("--out", default="blend.png", help="first, blend and second, side by side")

    translate = parser.command(
        "translate", _translate, "Turn sketches into photos, or photos to sketches."
    )
    translate.add_argument("run", metavar="RUN")
    translate.add_argument("images", metavar="IMAGE", nargs="+")
    translate.add_argument("--to", default="photo", choices=["photo", "sketch"])
    translate.add_argument(
        "--cycle", action="store_true", help="and back again: sketch, photo, sketch, or the reverse"
    )
    add_framing(translate, translates=True)
    translate.add_argument("--out", default="translated.png", help="pictures over translations")


def _generate(options):
    no_more(options)
    from pathlib import Path

    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.saving import load_model

    suffix = picture_suffix(options.out)
    if options.columns is not None:
        require_at_least(1, columns=options.columns)
    model = load_model(options.run)
    sampler = options.sampler or model.default_sampler
    faces = model.generate(options.count, options.seed, sampler, **conditions_of(options, model))
    if suffix:
        save_picture(grid(faces, options.columns), options.out)
    else:
        for number, face in enumerate(faces):
            save_picture(grid(face[None], gap=0), Path(options.out, f"{number:05d}.png"))
    print(
        f"{options.count} faces drawn from the {sampler} density, seed {options.seed}: "
        f"{options.out}"
    )


def _reconstruct(options):
    no_more(options)
    from keras_faces.pictures import rows_grid, save_picture

    trained = trained_model(options, latents_for="reconstruct pictures")
    model = trained.model
    given = conditions_of(options, model, needed=True)
    if model.has_encoder:
        search_of(options, model)
    faces = faces_of(options, trained, options.images)
    if model.has_encoder:
        copies, how = model.reconstruct(faces, **given), "their reconstructions"
    else:
        copies, how = _searched(options, model, faces)
    save_picture(rows_grid(faces, copies), options.out)
    print(f"{len(faces)} originals over {how}: {options.out}")


def _searched(options, model, faces):
    """Return what a search finds to be nearest to faces, and in words how near that is."""
    from keras_faces.latent import invert
    from keras_faces.latent.inversion import SAMPLES, grey_levels

    what = "the picture" if len(faces) == 1 else f"{len(faces)} pictures"
    found = invert(model, faces, **search_of(options, model, what)).require_found()
    missed = ", ".join(f"{grey_levels(error):.1f}" for error in found.errors)
    nearest = ", ".join(f"{grey_levels(error):.1f}" for error in found.nearest)
    return model.decode(found.latents), (
        f"the faces found, which miss them by {missed} grey levels (root mean square; the "
        f"nearest of {SAMPLES} random faces: {nearest})"
    )


def _blend(options):
    no_more(options)
    import numpy as np

    from keras_faces.latent import blend
    from keras_faces.pictures import grid, save_picture

    trained = trained_model(options, latents_for="blend pictures")
    model = trained.model
    given = conditions_of(options, model, needed=True)
    if given:
        given["conditions"] = (given["conditions"],) * 2
    if not 0 <= options.percent <= 100:  # told before a search, not after it
        raise UserError(f"--percent must lie in [0, 100]. Received: {options.percent:g}.")
    faces = faces_of(options, trained, options.images)
    search = search_of(options, model, "both pictures")
    blended = blend(model, faces[:1], faces[1:], options.percent, **given, **search)
    save_picture(grid(np.concatenate([faces[:1], blended, faces[1:]]), 3), options.out)
    print(f"{options.percent:g} % of the second picture, between the two: {options.out}")


def _translate(options):
    no_more(options)
    from keras_faces.pictures import rows_grid, save_picture

    trained = trained_model(options)
    model = trained.model
    if not hasattr(model, "translate"):
        raise UserError(f"{type(model).__name__} does not translate. CycleGAN does.")
    faces = faces_of(options, trained, options.images)
    if not options.cycle:
        save_picture(rows_grid(faces, model.translate(faces, options.to)), options.out)
        print(f"{len(faces)} pictures over the {options.to} made of each: {options.out}")
        return
    there, back = model.cycle(faces, options.to)
    save_picture(rows_grid(faces, there, back), options.out)
    missed = ", ".join(
        f"{127.5 * abs(one - other).mean():.1f}" for one, other in zip(faces, back, strict=True)
    )
    print(
        f"{len(faces)} pictures over the {options.to} made of each and what is made of that "
        f"again, which differs by {missed} grey levels (mean): {options.out}"
    )
