"""Write a model for use without the package: `export`."""

from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import UserError


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    export = parser.command("export", _export, "Write a model for use without keras_faces.")
    export.add_argument("run", metavar="RUN")
    export.add_argument(
        "--format",
        default="saved_model",
        help="kind of files: saved_model, onnx, litert, keras or web",
    )
    export.add_argument(
        "--pixels", default="float32", help="type of faces in and out: float32 in [-1, 1] or uint8"
    )
    export.add_argument("--out", help="folder to write (default: one named after the format)")


def _export(options):
    no_more(options)
    from keras_faces.export import format_named, write
    from keras_faces.runs import Run, find
    from keras_faces.saving import load_model

    chosen = format_named(options.format)
    run, model = Run(find(options.run)), load_model(options.run)
    if options.out is None and not run.exists:
        raise UserError("Say where to write with --out DIR.")
    out = options.out or run.folder / options.format
    folder, differences = write(model, out, options.format, options.pixels, find(options.run))
    print(f"{folder}: {chosen.title}, as {options.pixels}")
    for name, difference in differences.items():
        if difference is None:
            print(f"  {name:16} not in this format")
        else:
            print(f"  {name:16} largest difference from the model: {difference:.1g}")
    if chosen.opened:
        print(f"  {chosen.opened:16} open it in a browser; no server is needed")
    print("  README.md        the model card, with a few lines that use it")
