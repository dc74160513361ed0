"""Look at sources of faces, and prepare them: `data ACTION`."""

import warnings

from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import Interrupted, UserError, number_of


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    data = parser.command(
        "data", None, "Look at sources of faces, and prepare them.", prefix="data "
    )

    def action(name, function, help, keras=_is_of_tfds):
        added = data.command(name, function, help, keras)
        added.add_argument("source", metavar="SOURCE")
        return added

    def decoding(name, function, help):
        added = action(name, function, help)
        added.add_argument("--crop", default="center", help="see: keras-faces list crops")
        added.add_argument("--image-size", type=int, default=64)
        added.add_argument("--channels", type=int, choices=[1, 3], help="default: the pictures'")
        return added

    decoding("check", _data_check, "Name what is damaged, copied, too small, or not as published.")
    info = decoding("info", _data_info, "Say what a source holds, and show some of it.")
    info.add_argument("--out", default="contact-sheet.png", help="the picture to write")
    info.add_argument("--count", type=int, default=64, help="pictures on it")
    info.add_argument("--seed", type=int, default=0)
    ready = decoding(
        "prepare", _data_prepare, "Decode all pictures now, so that training begins at once."
    )
    ready.add_argument("--strict", action="store_true", help="stop at a bad picture")
    to_csv = action("attributes", _data_attributes, "Write attributes as .csv, of 1 and -1.")
    to_csv.add_argument("--out", default="list_attr_celeba.csv", help="the file to write")
    people = action("people", _data_people, "Make one folder for each person.")
    people.add_argument("--out", required=True, help="the folder to make")
    people.add_argument(
        "--link", default="none", choices=["none", "hard", "symbolic"], help="instead of copies"
    )

    sketches = action(
        "sketches",
        _data_sketches,
        "Draw pencil sketches of photos by the filter, as files for pairs:DIR.",
        keras=True,
    )
    sketches.add_argument("--out", required=True, help="folder for photos/ and sketches/")
    sketches.add_argument("--crop", default="center", help="see: keras-faces list crops")
    sketches.add_argument("--image-size", type=int, default=128)


def _is_of_tfds(options) -> bool:
    return options.source.startswith("tfds:")  # which imports TensorFlow, and that is noisy


def _prepared(options):
    """Return the source, its prepared pictures, and what it warned of."""
    no_more(options)
    from keras_faces.data import SkippedPictures, cache, get_crop, guess_channels, open_source

    get_crop(options.crop)
    if options.image_size < 1:
        raise UserError(f"--image-size must be 1 or more. Received: {options.image_size}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = open_source(options.source)
        channels = options.channels or guess_channels(source)
        try:
            given = options.crop, options.image_size, channels, getattr(options, "strict", False)
            prepared = cache.prepare(source, *given)
            drawn = source.sketches()
            if drawn is not None:
                drawn = cache.prepare(drawn, *given)
        except KeyboardInterrupt as stop:
            raise Interrupted(
                "Stopped. What is decoded so far is kept: give the same command again to go on.",
                number_of(stop),
            ) from None
    warned = [
        str(warning.message)
        for warning in caught
        # What is bad is listed, all of it.
        if issubclass(warning.category, UserWarning) and warning.category is not SkippedPictures
    ]
    return source, prepared, drawn, list(dict.fromkeys(warned))


def _data_check(options):
    from keras_faces.data.overview import outline, problems, unmatched

    source, prepared, sketches, warned = _prepared(options)
    print("\n".join([*outline(source, prepared), *source.remarks()]))
    for line in source.compare_with_published():
        print(line)
    found = [*warned, *unmatched(source.attributes(), prepared), *problems(prepared)]
    if sketches is not None:
        found += [f"sketches: {line}" for line in problems(sketches)]
    print("\n".join(found) if found else "nothing damaged, copied or suspiciously small")
    if prepared.bad:
        print(f"{len(prepared.bad)} bad pictures are skipped in training")


def _data_info(options):
    from keras_faces.data.overview import contact_sheet, describe
    from keras_faces.pictures import picture_suffix, save_picture

    if not picture_suffix(options.out):
        raise UserError(f"--out must name a picture, such as faces.png. Received: {options.out!r}.")
    source, prepared, sketches, warned = _prepared(options)
    print("\n".join(describe(source, prepared) + warned))
    sheet = contact_sheet(prepared, options.count, options.seed, sketches)
    print(f"contact sheet: {save_picture(sheet, options.out)}")


def _data_prepare(options):
    import time

    began = time.perf_counter()
    source, prepared, sketches, warned = _prepared(options)
    seconds = time.perf_counter() - began
    folders = [made.folder for made in (prepared, sketches) if made is not None]
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    print(
        f"{prepared.count:,} pictures of {source.title!r} at "
        f"{'x'.join(map(str, prepared.image_shape))}, crop {options.crop}: ready after "
        f"{seconds:.1f} s, {size / 2**20:,.1f} MiB in {' and '.join(map(str, folders))}"
    )
    for line in warned:
        print(line)
    bad = len(prepared.bad) + (len(sketches.bad) if sketches is not None else 0)
    if bad:
        print(f"{bad} bad pictures were left out; see: keras-faces data check")


def _data_attributes(options):
    no_more(options)
    from keras_faces.data.preparation import attributes_csv

    rows, attributes = attributes_csv(options.source, options.out)
    print(f"{attributes} attributes of {rows:,} pictures: {options.out}")


def _data_people(options):
    no_more(options)
    from keras_faces.data.preparation import people_folders

    made = people_folders(options.source, options.out, options.link)
    print(f"{made.people:,} people on {made.pictures:,} pictures: {made.folder}")
    if made.nobody:
        print(
            f"left out, since nobody is known on them: {len(made.nobody):,}, "
            f"the first is {made.nobody[0]}"
        )
    for name, reason in made.bad:
        print(f"bad, left out: {name}: {reason}")


def _data_sketches(options):
    no_more(options)
    from keras_faces.data.sketches import write_sketches

    try:
        written = write_sketches(options.source, options.out, options.image_size, options.crop)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            "Stopped. What is drawn so far is kept: give the same command again to go on.",
            number_of(stop),
        ) from None
    print(f"{written} photos with their sketches. Use them as: pairs:{options.out}")
