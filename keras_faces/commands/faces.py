"""Draw faces, and put pictures through a model: `generate`, `reconstruct`, `blend`, `translate`."""

from typing import Literal

from keras_faces.commands import kinds
from keras_faces.commands.inputs import (
    Drawing,
    Framing,
    Search,
    conditions_for,
    trained_model,
)
from keras_faces.errors import UserError, require_at_least


def generate(
    run: kinds.Run,
    /,
    *,
    count: int = 64,
    seed: int = 0,
    conditions: str | None = None,
    sampler: kinds.Sampler | None = None,
    columns: int | None = None,
    drawing: Drawing = Drawing(),
    out: str = "grid.png",
) -> None:
    """Draw faces from a model.

    Args:
        run: The model.
        count: Faces to draw.
        seed: Seed of the latents.
        conditions: For a conditional model, such as `glasses,smiling`.
        sampler: How latents are drawn. Defaults to fitted, if the model has it, else prior.
        columns: Faces per row. Defaults to a square grid.
        out: The picture to write, or a folder for one file per face.
    """
    from pathlib import Path

    from keras_faces.pictures import grid, picture_suffix
    from keras_faces.saving import load_model

    suffix = picture_suffix(out)
    if columns is not None:
        require_at_least(1, columns=columns)
    model = load_model(run)
    sampler = sampler or model.default_sampler
    faces = model.generate(count, seed, sampler, **conditions_for(model, conditions))
    if suffix:
        drawing.save(grid(faces, columns), out)
    else:
        for number, face in enumerate(faces):
            drawing.save(grid(face[None], gap=0), Path(out, f"{number:05d}.png"))
    print(f"{count} faces drawn from the {sampler} density, seed {seed}: {out}")


def reconstruct(
    run: kinds.Run,
    /,
    *images: kinds.Needed,
    framing: Framing = Framing(),
    search: Search = Search(),
    conditions: str | None = None,
    drawing: Drawing = Drawing(),
    out: kinds.Picture = "reconstructions.png",
) -> None:
    """Show what a model makes of your pictures: encoded, then decoded.

    Args:
        run: The model.
        images: The pictures.
        conditions: For a conditional model, such as `glasses,smiling`.
        out: The picture to write: originals above reconstructions.
    """
    from keras_faces.pictures import rows_grid

    trained = trained_model(run, latents_for="reconstruct pictures")
    model = trained.model
    given = conditions_for(model, conditions, needed=True)
    count = len(images)
    arguments = search.arguments(model, "the picture" if count == 1 else f"{count} pictures")
    faces = framing.faces(trained, images)
    if model.has_encoder:
        copies, how = model.reconstruct(faces, **given), "their reconstructions"
    else:
        copies, how = _searched(model, faces, arguments)
    drawing.save(rows_grid(faces, copies), out)
    print(f"{count} originals over {how}: {out}")


def _searched(model, faces, arguments):
    """Return what a search finds to be nearest to faces, and in words how near that is."""
    from keras_faces.latent import invert
    from keras_faces.latent.inversion import SAMPLES, grey_levels

    inversion = invert(model, faces, **arguments).require_found()
    missed = ", ".join(f"{grey_levels(error):.1f}" for error in inversion.errors)
    nearest = ", ".join(f"{grey_levels(error):.1f}" for error in inversion.nearest)
    return model.decode(inversion.latents), (
        f"the faces found, which miss them by {missed} grey levels (root mean square; the "
        f"nearest of {SAMPLES} random faces: {nearest})"
    )


def blend(
    run: kinds.Run,
    images: tuple[str, str],
    /,
    *,
    framing: Framing = Framing(),
    search: Search = Search(),
    percent: float = 50.0,
    conditions: str | None = None,
    drawing: Drawing = Drawing(),
    out: kinds.Picture = "blend.png",
) -> None:
    """Blend the faces in two pictures.

    Args:
        run: The model.
        images: The two pictures.
        percent: Share of the second face.
        conditions: For a conditional model, such as `glasses,smiling`.
        out: The picture to write: first face, blend, second face.
    """
    import numpy as np

    from keras_faces import latent
    from keras_faces.pictures import grid

    trained = trained_model(run, latents_for="blend pictures")
    model = trained.model
    given = conditions_for(model, conditions, needed=True)
    if given:
        given["conditions"] = (given["conditions"],) * 2
    if not 0 <= percent <= 100:  # told before a search, not after it
        raise UserError(f"--percent must lie in [0, 100]. Received: {percent:g}.")
    faces = framing.faces(trained, images)
    arguments = search.arguments(model, "both pictures")
    blended = latent.blend(model, faces[:1], faces[1:], percent, **given, **arguments)
    drawing.save(grid(np.concatenate([faces[:1], blended, faces[1:]]), 3), out)
    print(f"{percent:g} % of the second picture, between the two: {out}")


def translate(
    run: kinds.Run,
    /,
    *images: kinds.Needed,
    framing: Framing = Framing(),
    to: Literal["photo", "sketch"] | None = None,
    cycle: bool = False,
    drawing: Drawing = Drawing(),
    out: kinds.Picture = "translated.png",
) -> None:
    """Turn sketches into photos, or photos into sketches.

    Args:
        run: The model.
        images: The pictures.
        to: What to turn them into. Defaults to photos, if the model can make them.
        cycle: Also translate back: sketch, photo, sketch, or the reverse.
        out: The picture to write: pictures above their translations.
    """
    from keras_faces.pictures import rows_grid

    trained = trained_model(run)
    model = trained.model
    to = model.check_translation(to, back=cycle)
    faces = framing.faces(trained, images)
    if not cycle:
        drawing.save(rows_grid(faces, model.translate(faces, to)), out)
        print(f"{len(faces)} pictures over the {to} made of each: {out}")
        return
    there, back = model.cycle(faces, to)
    drawing.save(rows_grid(faces, there, back), out)
    missed = ", ".join(
        f"{127.5 * abs(one - other).mean():.1f}" for one, other in zip(faces, back, strict=True)
    )
    print(
        f"{len(faces)} pictures over the {to} made of each and what is made of that again, which "
        f"differs by {missed} grey levels (mean): {out}"
    )
