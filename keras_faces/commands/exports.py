"""Write a model for use without the package: `export`."""

from keras_faces.commands import kinds
from keras_faces.errors import UserError


def export(
    run: kinds.Run,
    /,
    *,
    format: kinds.Format | None = None,
    pixels: kinds.Pixels = "float32",
    weights: kinds.Weights = "float32",
    out: str | None = None,
    push: str | None = None,
) -> None:
    """Export a model for use without keras_faces.

    Args:
        run: The model.
        format: The format. Defaults to saved_model; with --push, to keras.
        pixels: Type of input and output faces: `float32` in [-1, 1], or `uint8`.
        weights: Type of the stored weights: `float32`, `float16` for half the size, or `int8` for
            a quarter.
        out: Folder to write. Defaults to one inside the run, named after the format.
        push: Also upload it to the Hugging Face Hub, as `hf://USER/MODEL` (extra hub).
    """
    from keras_faces import hub
    from keras_faces.export import format_named, write
    from keras_faces.runs import Run, find
    from keras_faces.saving import load_model

    format = format or ("keras" if push else "saved_model")
    chosen = format_named(format)
    if push is not None:
        hub.require_address(push)  # before the work
    place, model = Run(find(run)), load_model(run)
    if out is None and not place.exists:
        raise UserError("Say where to write with --out DIR.")
    folder, differences = write(
        model, out or place.folder / format, format, pixels, find(run), weights
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {chosen.title}, as {pixels}, weights as {weights}, {size / 1e6:.1f} MB")
    for name, difference in differences.items():
        if difference is None:
            print(f"  {name:16} not in this format")
        else:
            print(f"  {name:16} largest difference from the model: {difference:.1g}")
    if chosen.opened:
        print(f"  {chosen.opened:16} open it in a browser; no server is needed")
    print("  README.md        the model card, with a few lines that use it")
    if push is not None:
        print(f"Pushed to {hub.push(folder, push)}")
