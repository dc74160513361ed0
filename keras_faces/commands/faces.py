"""Draw faces, and put pictures through a model: `generate`, `reconstruct`, `blend`, `translate`."""

from keras_faces.commands.inputs import conditions_of, model_and_faces
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

    reconstruct = parser.command("reconstruct", _reconstruct, "Encode and decode pictures.")
    reconstruct.add_argument("run", metavar="RUN")
    reconstruct.add_argument("images", metavar="IMAGE", nargs="+")
    reconstruct.add_argument("--crop", help="how to make them square (default: as in training)")
    reconstruct.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    reconstruct.add_argument("--out", default="reconstructions.png", help="originals over copies")

    blend = parser.command("blend", _blend, "Make a face between two pictures.")
    blend.add_argument("run", metavar="RUN")
    blend.add_argument("images", metavar="IMAGE", nargs=2)
    blend.add_argument("--percent", type=float, default=50.0, help="how much of the second")
    blend.add_argument("--crop", help="how to make them square (default: as in training)")
    blend.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    blend.add_argument("--out", default="blend.png", help="first, blend and second, side by side")

    translate = parser.command(
        "translate", _translate, "Turn sketches into photos, or photos to sketches."
    )
    translate.add_argument("run", metavar="RUN")
    translate.add_argument("images", metavar="IMAGE", nargs="+")
    translate.add_argument("--to", default="photo", choices=["photo", "sketch"])
    translate.add_argument("--crop", help="how to make them square (default: as in training)")
    translate.add_argument("--out", default="translated.png", help="pictures over translations")


def _generate(options):
    no_more(options)
    from pathlib import Path

    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.runs import load_model

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

    model, faces, crop = model_and_faces(options, to_encode="reconstruct pictures")
    given = conditions_of(options, model, needed=True)
    save_picture(rows_grid(faces, model.reconstruct(faces, **given)), options.out)
    print(f"{len(faces)} originals, crop {crop!r}, over their reconstructions: {options.out}")


def _blend(options):
    no_more(options)
    import numpy as np

    from keras_faces.pictures import grid, save_picture

    model, faces, _ = model_and_faces(options, to_encode="blend pictures")
    given = conditions_of(options, model, needed=True)
    if given:
        given["conditions"] = (given["conditions"],) * 2
    blended = model.blend(faces[:1], faces[1:], options.percent, **given)
    save_picture(grid(np.concatenate([faces[:1], blended, faces[1:]]), 3), options.out)
    print(f"{options.percent:g} % of the second picture, between the two: {options.out}")


def _translate(options):
    no_more(options)
    from keras_faces.pictures import rows_grid, save_picture

    model, faces, _ = model_and_faces(options)
    if not hasattr(model, "translate"):
        raise UserError(f"{type(model).__name__} does not translate. CycleGAN does.")
    save_picture(rows_grid(faces, model.translate(faces, options.to)), options.out)
    print(f"{len(faces)} pictures over the {options.to} made of each: {options.out}")
