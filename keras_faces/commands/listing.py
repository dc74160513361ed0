"""Say what there is: `list`."""

from typing import Literal

from keras_faces.commands.functions import without_keras
from keras_faces.commands.inputs import Drawing
from keras_faces.errors import UserError


@without_keras()
def list_(
    what: Literal["models", "datasets", "recipes", "reports", "crops"],
    /,
    *,
    picture: str | None = None,
    image: str | None = None,
    drawing: Drawing = Drawing(),
) -> None:
    """List models, datasets, recipes, reports or crops.

    Args:
        what: What to list.
        picture: For crops: write a picture that shows what each keeps.
        image: For crops: the picture to use. Defaults to an ORL face, 178x218.
    """
    drawing.require(picture, "--picture")
    if what == "models":
        from keras_faces.models import documentation, list_models

        lines = {name: documentation(name).summary for name in list_models()}
    elif what == "datasets":
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
        lines["URL"] = (
            "A folder or a zip, tar, Parquet or array file at s3://, https://, hf://, ..."
        )
    elif what == "reports":
        from keras_faces.reports import REPORTS

        lines = {name: f"{r.document}: {r.title}" for name, r in REPORTS.items()}
    elif what == "recipes":
        from keras_faces.recipes import list_recipes, load_recipe

        recipes = [load_recipe(name) for name in list_recipes()]
        lines = {r.name: f"{r.model}: {r.document}, {r.result}" for r in recipes}
    else:
        from keras_faces.data import CROPS

        lines = {name: crop.description for name, crop in CROPS.items()}
        if picture:
            _picture_of_crops(picture, image, drawing)
    width = max(map(len, lines))
    for name, line in sorted(lines.items(), key=lambda item: (item[0][0].isupper(), item[0])):
        print(f"{name:{width}}  {line}")


def _picture_of_crops(picture: str, of: str | None, drawing: Drawing) -> None:
    import io

    from PIL import Image

    from keras_faces.data import open_source
    from keras_faces.data.decode import FORMATS, MAX_PIXELS, BadPicture, open_upright
    from keras_faces.data.overview import crops_picture
    from keras_faces.files import read_regular

    if of:
        try:
            data = read_regular(of)
            image = Image.fromarray(open_upright(data, 3, FORMATS, MAX_PIXELS))
        except (OSError, BadPicture) as error:
            raise UserError(f"Cannot read {of!r} as a picture: {error}.") from error
    else:
        image = Image.open(io.BytesIO(open_source("orl").read("s1/1.pgm"))).resize((178, 218))
    drawing.save(crops_picture(image), picture)
    print(f"What each keeps of {of or 'an ORL face'}: {picture}\n")
