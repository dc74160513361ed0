"""What commands are given: pictures, conditions, sources of real faces, the size of pictures."""

from dataclasses import dataclass

from cyclopts import Parameter

from keras_faces.commands import kinds
from keras_faces.commands.functions import plain_help
from keras_faces.errors import UserError
from keras_faces.screen import quoted, visible


@plain_help
@Parameter(name="*")
@dataclass(frozen=True)
class Framing:
    """How faces are taken from pictures.

    Args:
        already_cropped: The pictures show only a face. A square one is resized, others are
            cropped as in training. Otherwise the face is found and framed like the training
            faces. Defaults to no; for models that take sketches, to yes.
        crop: Make the pictures square with this crop instead.
    """

    already_cropped: bool | None = None
    crop: kinds.Crop | None = None

    def faces(self, trained, pictures: list[str]):
        """Return pictures' faces as the model was trained to see them, and say what was done."""
        import numpy as np

        faces = []
        for picture in pictures:
            face, note = trained.face(picture, self.already_cropped, self.crop)
            print(f"{visible(picture)}: {note}")
            faces.append(face)
        return np.stack(faces)


@plain_help
@Parameter(name="*")
@dataclass(frozen=True)
class Search:
    """The search for latents of pictures, where a model has no encoder.

    Args:
        search_steps: For a model without an encoder: steps of the search for each picture's
            latent. Defaults to 200; for a source, 100.
        starts: Starting points of each search. Defaults to 8; for a source, 2.
    """

    search_steps: int | None = None
    starts: int | None = None

    def arguments(self, model, what: str | None = None) -> dict:
        """Return the arguments of a search, and say on the screen that there is one.

        Args:
            model: The model.
            what: Whose latents; None where there may be nothing to search for.
        """
        flags = {"steps": self.search_steps, "starts": self.starts}
        given = {name: value for name, value in flags.items() if value is not None}
        if model.has_encoder or model.latent_dim is None:
            if given:
                raise UserError(
                    f"A {type(model).__name__} searches for no latents. Leave --search-steps and "
                    "--starts out."
                )
            return {}
        if what:
            print(
                f"A {type(model).__name__} has no encoder: the latents of {what} are searched for."
            )
        return {**given, "progress": True}


@plain_help
@Parameter(name="*")
@dataclass(frozen=True)
class RealFaces:
    """Real faces, as a model was trained to see them.

    Args:
        data: Source of real faces; give it several times to use several. Defaults to the run's.
        people: What the source's folders are: people, classes of pictures, or nothing. Defaults
            to a guess from their number, sizes and names.
        split: The source's split to use. Defaults to the run's.
        faces: How faces are taken from the pictures. Defaults to the source's options.
        per_photo: Which faces to take from each photo. Defaults to all.
    """

    data: kinds.Sources | None = None
    people: kinds.People | None = None
    split: kinds.Split | None = None
    faces: kinds.Faces | None = None
    per_photo: kinds.PerPhoto | None = None

    def open(self, trained, command: str, labels: str | None = None):
        """Return the faces as a stream.

        Args:
            trained: The trained model.
            command: The command that needs them.
            labels: Kind of their labels; None takes those that the model learns from.
        """
        chosen = {"people": self.people, "faces": self.faces, "per-photo": self.per_photo}
        for flag, given in chosen.items():
            if given is not None and self.data is None:
                raise UserError(
                    f"--{flag} describes --data. Give --data as well, or leave --{flag} out: the "
                    "run's own faces are what they were in training."
                )
        if self.data is None:
            try:
                trained.source  # noqa: B018
            except UserError as error:
                raise UserError(
                    f"{error} Give their present place, or other faces: keras-faces "
                    f"{command} {quoted(trained.name)} --data SOURCE"
                ) from error
        return trained.faces(labels, self.data, self.split, *chosen.values())


@plain_help
@Parameter(name="*")
@dataclass(frozen=True)
class Drawing:
    """How pictures are written.

    Args:
        scale: Enlarge pictures by this whole number, without smoothing.
    """

    scale: kinds.Scale = 1

    def save(self, picture, path) -> None:
        """Write a picture."""
        from keras_faces.pictures import save_picture

        save_picture(picture, path, self.scale)

    def require(self, picture: str | None, flag: str) -> None:
        """Refuse a scale without a picture, which another flag asks for."""
        if picture is None and self.scale != 1:
            raise UserError(f"--scale enlarges the picture of {flag}. Give {flag} as well.")


def trained_model(run: str, latents_for: str | None = None):
    """Return a trained model.

    With `latents_for`, what latents are needed for, a model without any is refused at once.
    """
    from keras_faces.latent.encoding import require_latents
    from keras_faces.trained import TrainedModel

    trained = TrainedModel(run)
    if latents_for:
        require_latents(trained.model, latents_for)
    return trained


def conditions_for(model, conditions: str | None, needed: bool = False) -> dict:
    """Return the argument of a conditional model that the flag stands for."""
    if not model.conditional:
        if conditions is not None:
            raise UserError(f"{type(model).__name__} takes no conditions. Leave them out.")
        return {}
    if conditions is None and needed:
        raise UserError(
            "Give the conditions of the pictures with --conditions, or an empty text for none. "
            f"Known: {', '.join(model.condition_names)}."
        )
    return {"conditions": conditions}
