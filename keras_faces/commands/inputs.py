"""What commands are given: pictures, conditions, and sources of real faces."""

import argparse

from keras_faces.errors import UserError


def trained_model(options, latents_for: str | None = None):
    """Return the trained model that pictures go through, once --out is known to name a picture.

    With `latents_for`, what latents are needed for, a model without any is refused at once.
    """
    from keras_faces.latent.encoding import require_latents
    from keras_faces.pictures import picture_suffix
    from keras_faces.trained import TrainedModel

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as faces.png. Received: {options.out!r}.")
    trained = TrainedModel(options.run)
    if latents_for:
        require_latents(trained.model, latents_for)
    return trained


def add_framing(parser, translates: bool = False):
    """Add the flags that say how faces are taken from pictures."""
    parser.add_argument(
        "--already-cropped",
        action=argparse.BooleanOptionalAction,
        help="whether pictures show nothing but a face: a square one is only resized, another "
        "cropped as in training; else a face is found and framed as the training faces were "
        f"(default: {'they do, as sketches' if translates else 'they do not'})",
    )
    parser.add_argument("--crop", help="make pictures square by this crop instead")


def faces_of(options, trained, pictures: list[str]):
    """Return pictures' faces as the model was trained to see them, and say what was done."""
    import numpy as np

    faces = []
    for picture in pictures:
        face, note = trained.face(picture, options.already_cropped, options.crop)
        print(f"{picture}: {note}")
        faces.append(face)
    return np.stack(faces)


def add_search(parser):
    """Add the flags of a search for latents to a command that needs those of pictures."""
    parser.add_argument(
        "--search-steps",
        metavar="N",
        type=int,
        help="steps of the search for latents without an encoder (default: 200; for a source 100)",
    )
    parser.add_argument(
        "--starts",
        metavar="N",
        type=int,
        help="places where the search for each begins (default: 8; for a source 2)",
    )


def search_of(options, model, what: str | None = None) -> dict:
    """Return the arguments of a search for latents, and say on the screen that there is one.

    Args:
        options: What was given.
        model: The model.
        what: Whose latents; None where there may be nothing to search for.
    """
    flags = {"steps": options.search_steps, "starts": options.starts}
    given = {name: value for name, value in flags.items() if value is not None}
    if model.has_encoder or model.latent_dim is None:
        if given:
            raise UserError(
                f"A {type(model).__name__} searches for no latents. Leave --search-steps and "
                "--starts out."
            )
        return {}
    if what:
        print(f"A {type(model).__name__} has no encoder: the latents of {what} are searched for.")
    return {**given, "progress": True}


def conditions_of(options, model, needed: bool = False) -> dict:
    """Return the argument of a conditional model that the flag stands for."""
    if not model.conditional:
        if options.conditions is not None:
            raise UserError(f"{type(model).__name__} takes no conditions. Leave them out.")
        return {}
    if options.conditions is None and needed:
        raise UserError(
            "Say with --conditions what holds of the pictures, or give an empty text for nothing. "
            f"Known: {', '.join(model.condition_names)}."
        )
    return {"conditions": options.conditions}


def open_stream(options, model, labels: str | None = None):
    """Return the faces of --data, or those of the run, as the model was trained to see them.

    Their labels are the given ones, or None for those that the model learns from.
    """
    from keras_faces.trained import TrainedModel

    trained = TrainedModel(options.run, model)
    if options.data is None:
        try:
            trained.source  # noqa: B018
        except UserError as error:
            raise UserError(
                f"{error} Give --data: where they lie now, or others, as in: keras-faces "
                f"{options.command} {options.run} --data SOURCE"
            ) from error
    return trained.faces(labels, options.data, options.split)
