"""What commands are given: pictures, conditions, and sources of real faces."""

import contextlib

from keras_faces.errors import UserError


def model_and_faces(options, latents_for: str | None = None):
    """Return the model, the given pictures as it was trained to see them, and their crop.

    With `latents_for`, what latents are needed for, a model without any is refused at once.
    """
    import numpy as np

    from keras_faces.pictures import picture_suffix
    from keras_faces.runs import training_crop
    from keras_faces.saving import load_model

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as faces.png. Received: {options.out!r}.")
    model = load_model(options.run)
    if latents_for:
        from keras_faces.latent.encoding import require_latents

        require_latents(model, latents_for)
    crop = options.crop or training_crop(options.run)
    return model, np.stack([face_of(image, crop, model) for image in options.images]), crop


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


def face_of(image: str, crop: str, model):
    """Return a picture file's face as a model was trained to see it."""
    from keras_faces.data import to_float
    from keras_faces.data.decode import BadPicture, decode
    from keras_faces.files import read_regular

    try:
        return to_float(decode(read_regular(image), crop, model.image_size, model.channels))
    except OSError as error:
        raise UserError(f"Cannot read {image!r}: {error.strerror}.") from error
    except BadPicture as error:
        raise UserError(f"Cannot use {image!r}: {error}.") from error


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
    from keras_faces.data import open_faces, open_source
    from keras_faces.runs import training_data_facts

    facts = training_data_facts(options.run)
    if options.data is None and facts is None:
        raise UserError(f"{options.run!r} does not say which faces it is of. Give --data.")
    facts = facts or {}
    try:
        source = open_source(facts["source"] if options.data is None else options.data)
    except UserError as error:
        if options.data is not None:
            raise
        raise UserError(
            f"The faces that {options.run!r} learnt from cannot be opened. {error} Where they lie "
            "now, or which others to take, say with: keras-faces "
            f"{options.command} {options.run} --data SOURCE"
        ) from error
    if labels is None:
        labels = facts.get("labels") if options.data is None else _labels_for(model, source)
    return open_faces(
        source,
        image_size=model.image_size,
        batch_size=1,
        split=options.split or facts.get("split", "all"),
        crop=facts.get("crop", "center"),
        channels=model.channels,
        test_fraction=facts.get("test_fraction", 0.1),
        labels=labels,
    )


def _labels_for(model, source) -> str | None:
    """Return the kind of labels of a source that are a model's conditions, or any it has."""
    from keras_faces.data import labels_of, open_source

    found = None
    if model.takes_sketches and open_source(source).sketches() is not None:
        return "sketch"
    for kind in ("attributes", "identity") if model.conditional else ():
        with contextlib.suppress(UserError):
            _, names = labels_of(source, kind)
            if found is None or names == model.condition_names:
                found = kind
    return found
