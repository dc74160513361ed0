"""Say what there is: `list`."""

from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import UserError


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    listing = parser.command(
        "list", _list, "List what there is.", keras=lambda o: o.what in ("models", "reports")
    )
    listing.add_argument("what", choices=["models", "datasets", "recipes", "reports", "crops"])
    listing.add_argument("--picture", help="crops: write a picture that shows what each keeps")
    listing.add_argument("--image", help="crops: of which picture (default: an ORL face, 178x218)")


def _list(options):
    no_more(options)
    if options.what == "models":
        from keras_faces.models import MODELS

        lines = {name: model.__doc__.splitlines()[0] for name, model in MODELS.items()}
    elif options.what == "datasets":
        from keras_faces.data.sources import DATASETS, SCHEMES

        known = {
            **DATASETS,
            **{
                f"{name}:{'NAME' if name == 'tfds' else 'PATH'}": source
                for name, source in SCHEMES.items()
            },
        }
        lines = {name: source.__doc__.splitlines()[0] for name, source in known.items()}
        lines["FOLDER"] = "Pictures in a folder: flat, one folder a person, or nested deeper."
        lines["FILE.zip"] = "Pictures in a zip file, read in place."
    elif options.what == "reports":
        from keras_faces.reports import REPORTS

        lines = {name: f"{r.document}: {r.title}" for name, r in REPORTS.items()}
    elif options.what == "recipes":
        from keras_faces.recipes import list_recipes, load_recipe

        recipes = [load_recipe(name) for name in list_recipes()]
        lines = {r.name: f"{r.model}: {r.document}, {r.result}" for r in recipes}
    else:
        from keras_faces.data import CROPS

        lines = {name: crop.description for name, crop in CROPS.items()}
        if options.picture:
            _picture_of_crops(options)
    width = max(map(len, lines))
    for name, line in sorted(lines.items(), key=lambda item: (item[0][0].isupper(), item[0])):
        print(f"{name:{width}}  {line}")


def _picture_of_crops(options):
    import io

    from PIL import Image

    from keras_faces.data import open_source
    from keras_faces.data.decode import FORMATS, MAX_PIXELS, BadPicture, open_upright
    from keras_faces.data.overview import crops_picture
    from keras_faces.files import read_regular
    from keras_faces.pictures import save_picture

    if options.image:
        try:
            data = read_regular(options.image)
            image = Image.fromarray(open_upright(data, 3, FORMATS, MAX_PIXELS))
        except (OSError, BadPicture) as error:
            raise UserError(f"Cannot read {options.image!r} as a picture: {error}.") from error
    else:
        image = Image.open(io.BytesIO(open_source("orl").read("s1/1.pgm"))).resize((178, 218))
    save_picture(crops_picture(image), options.picture)
    print(f"What each keeps of {options.image or 'an ORL face'}: {options.picture}\n")
