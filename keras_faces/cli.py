"""The `keras-faces` command: a thin door onto the package.

Everything heavy is imported by the command that needs it, so that `--help` answers at once.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence

from keras_faces.errors import Interrupted, NotComputed, UserError, number_of, unknown_name
from keras_faces.process import prepare_process

COMMANDS = (
    "train",
    "resume",
    "generate",
    "reconstruct",
    "blend",
    "interpolate",
    "attribute",
    "latents",
    "translate",
    "evaluate",
    "compare",
    "reproduce",
    "export",
    "data",
    "list",
)


def console() -> None:
    """Run as the `keras-faces` command, in a process of its own, and exit."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prepare_process()
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(own_process=True))


def _terminated(number, frame):
    raise Interrupted("", number)


def main(arguments: Sequence[str] | None = None, own_process: bool = False) -> int:
    """Run the command line; return the exit status.

    Args:
        arguments: The words after `keras-faces`; None takes those of this process.
        own_process: Whether settings of the whole process may be made: every operation
            deterministic, on accelerators too.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = None
    try:
        options, rest = build_parser().parse_known_args(arguments)
        if not hasattr(options, "function"):
            build_parser().print_help()
            return 2
        options.rest = rest
        if _needs_keras(options):
            _import_keras(own_process)
        options.function(options)
        return 0
    except UserError as error:
        print(f"keras-faces: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"keras-faces: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"keras-faces: {error.strerror or error}{where}", file=sys.stderr)
        if getattr(options, "command", "") in ("train", "resume"):
            print("A run that has begun goes on with: keras-faces resume RUN", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\nStopped.", file=sys.stderr)
        return 128 + number_of(error)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of everything but a model's own flags, which need the model's class."""
    from keras_faces import __version__

    parser = _Parser(
        prog="keras-faces",
        description="Train, score and use generators of faces.",
        epilog="A RUN is a run folder, a .keras file, or the name of a model in saved_models/.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name, function, help, **kwargs):
        added = commands.add_parser(
            name,
            help=help,
            description=help,
            allow_abbrev=False,
            formatter_class=_Help,
            **kwargs,
        )
        added.set_defaults(function=function, command=name)
        return added

    train = command("train", _train, "Train a model and leave a run folder.", add_help=False)
    train.add_argument("model", metavar="MODEL", nargs="?", help="see: keras-faces list models")
    train.add_argument("-h", "--help", action="store_true", help="show this, and MODEL's own flags")
    train.add_argument(
        "--recipe", help="a document's result, whose numbers stand; see: keras-faces list recipes"
    )
    train.add_argument(
        "--budget", default="paper", help="the recipe's numbers: paper, or quick for minutes"
    )
    train.add_argument(
        "--data", help="orl, a folder, a zip, or scheme:PATH; see: list datasets (default: orl)"
    )
    train.add_argument("--run", help="the run folder (default: a new one under runs/)")
    train.add_argument("--epochs", type=int, help="epochs to train (default: the paper's)")
    train.add_argument("--steps", type=int, help="steps to train, instead of epochs")
    train.add_argument("--minutes", type=float, help="minutes to train, instead of epochs")
    train.add_argument("--batch-size", type=int, help="faces in a batch (default: the paper's)")
    train.add_argument("--split", help="learn from: train or all (default: train)")
    train.add_argument("--crop", help="see: keras-faces list crops (default: center)")
    train.add_argument(
        "--labels", help="conditions to learn: attributes or identity (default: what there is)"
    )
    train.add_argument(
        "--steps-per-execution", type=int, default=1, help="steps in one backend call"
    )
    train.add_argument("--grid-every", type=int, help="epochs between grids (default: ever rarer)")
    train.add_argument(
        "--score-every", type=int, help="epochs between scores while it learns (default: none)"
    )
    train.add_argument("--scores", nargs="+", metavar="SCORE", help="only these (default: all)")
    train.add_argument("--best", metavar="SCORE", help="keep the model that was best by it")
    train.add_argument("--checkpoint-seconds", type=float, default=60.0, help="between checkpoints")
    train.add_argument(
        "--count", type=int, default=1000, help="samples to score at the end, 0: none"
    )
    train.add_argument("--strict", action="store_true", help="stop at a bad picture")

    resume = command("resume", _resume, "Go on with a run that was stopped or killed.")
    resume.add_argument("run", metavar="RUN")

    generate = command("generate", _generate, "Draw faces from a model.")
    generate.add_argument("run", metavar="RUN")
    generate.add_argument("--count", type=int, default=64, help="faces to draw")
    generate.add_argument("--seed", type=int, default=0, help="seed of the latents")
    generate.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    generate.add_argument(
        "--sampler", help="prior, or fitted where the model has it (default: the last)"
    )
    generate.add_argument(
        "--out", default="grid.png", help="a picture, or a folder for single faces"
    )

    reconstruct = command("reconstruct", _reconstruct, "Encode and decode pictures.")
    reconstruct.add_argument("run", metavar="RUN")
    reconstruct.add_argument("images", metavar="IMAGE", nargs="+")
    reconstruct.add_argument("--crop", help="how to make them square (default: as in training)")
    reconstruct.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    reconstruct.add_argument("--out", default="reconstructions.png", help="originals over copies")

    blend = command("blend", _blend, "Make a face between two pictures.")
    blend.add_argument("run", metavar="RUN")
    blend.add_argument("images", metavar="IMAGE", nargs=2)
    blend.add_argument("--percent", type=float, default=50.0, help="how much of the second")
    blend.add_argument("--crop", help="how to make them square (default: as in training)")
    blend.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    blend.add_argument("--out", default="blend.png", help="first, blend and second, side by side")

    _add_latent_commands(command)

    translate = command(
        "translate", _translate, "Turn sketches into photos, or photos to sketches."
    )
    translate.add_argument("run", metavar="RUN")
    translate.add_argument("images", metavar="IMAGE", nargs="+")
    translate.add_argument("--to", default="photo", choices=["photo", "sketch"])
    translate.add_argument("--crop", help="how to make them square (default: as in training)")
    translate.add_argument("--out", default="translated.png", help="pictures over translations")

    evaluate = command("evaluate", _evaluate, "Score a model's faces beside real ones.")
    evaluate.add_argument("run", metavar="RUN")
    evaluate.add_argument("--data", help="source of the real faces (default: the run's)")
    evaluate.add_argument("--split", help="split of the real faces (default: the run's)")
    evaluate.add_argument("--count", type=int, default=1000, help="faces to generate")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of the latents")
    evaluate.add_argument("--sampler", help="score only this one (default: all)")
    evaluate.add_argument(
        "--scores",
        nargs="+",
        metavar="SCORE",
        help="only these (default: all, those on Inception's features where its weights are here)",
    )
    evaluate.add_argument("--inception-weights", help="file of InceptionV3's weights")
    evaluate.add_argument(
        "--pairs",
        help="draw the samples nearest to real faces over these (needs the extra identity)",
    )
    evaluate.add_argument("--out", help="write the scores and their protocol as JSON")

    compare = command("compare", _compare, "Put the scores of several runs into one table.")
    compare.add_argument(
        "runs", metavar="RUN", nargs="+", help="a run folder, or what evaluate --out wrote"
    )

    reproduce = command(
        "reproduce", _reproduce, "Rebuild a document's table or figures beside its own numbers."
    )
    reproduce.add_argument("report", metavar="REPORT", help="see: keras-faces list reports")
    reproduce.add_argument("--data", help="source of faces (default: each recipe's own)")
    reproduce.add_argument("--budget", default="quick", help="the recipes' numbers: quick or paper")
    reproduce.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="train every model once for each"
    )
    reproduce.add_argument("--count", type=int, default=1000, help="samples to score")
    reproduce.add_argument("--out", help="the folder (default: reports/REPORT)")
    reproduce.add_argument(
        "--runs", help="folder of the runs, which reports share (default: reports/runs)"
    )
    reproduce.add_argument(
        "--score-every", type=int, help="epochs between looks for the best model (default: 10, 1)"
    )
    reproduce.add_argument(
        "--best", metavar="SCORE", help="what the best is best by (default: face_detection_rate)"
    )

    export = command("export", _export, "Write a model for use without keras_faces.")
    export.add_argument("run", metavar="RUN")
    export.add_argument(
        "--format", default="saved_model", help="kind of files: saved_model, onnx or litert"
    )
    export.add_argument(
        "--pixels", default="float32", help="type of faces in and out: float32 in [-1, 1] or uint8"
    )
    export.add_argument("--out", help="folder to write (default: one named after the format)")

    data = command("data", None, "Look at sources of faces, and prepare them.")
    actions = data.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)

    def action(name, function, help):
        added = actions.add_parser(name, help=help, description=help)
        added.set_defaults(function=function, command=f"data {name}")
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
    info.add_argument("--out", default="faces.png", help="contact sheet (default: faces.png)")
    info.add_argument("--count", type=int, default=64, help="pictures on it")
    info.add_argument("--seed", type=int, default=0)
    decoding("prepare", _data_prepare, "Decode all pictures now, so that training begins at once.")
    to_csv = action("attributes", _data_attributes, "Write attributes as .csv, of 1 and -1.")
    to_csv.add_argument("--out", default="list_attr_celeba.csv", help="the file to write")
    people = action("people", _data_people, "Make one folder for each person.")
    people.add_argument("--out", required=True, help="the folder to make")
    people.add_argument(
        "--link", default="none", choices=["none", "hard", "symbolic"], help="instead of copies"
    )

    sketches = actions.add_parser(
        "sketches",
        help="draw pencil sketches of photos by the filter, as files for pairs:DIR",
        formatter_class=_Help,
    )
    sketches.set_defaults(function=_data_sketches, command="data sketches")
    sketches.add_argument("source", metavar="SOURCE")
    sketches.add_argument("--out", required=True, help="folder for photos/ and sketches/")
    sketches.add_argument("--crop", default="center", help="see: keras-faces list crops")
    sketches.add_argument("--image-size", type=int, default=128)

    listing = command("list", _list, "List what there is.")
    listing.add_argument("what", choices=["models", "datasets", "recipes", "reports", "crops"])
    listing.add_argument("--picture", help="crops: write a picture that shows what each keeps")
    listing.add_argument("--image", help="crops: of which picture (default: an ORL face, 178x218)")
    return parser


def _add_latent_commands(command):
    interpolate = command("interpolate", _interpolate, "Make the faces between two, or four.")
    interpolate.add_argument("run", metavar="RUN")
    interpolate.add_argument(
        "--from", dest="start", metavar="SEED|IMAGE", default="0", help="where to begin"
    )
    interpolate.add_argument("--to", metavar="SEED|IMAGE", default="1", help="where to end")
    interpolate.add_argument(
        "--corners", metavar="SEED|IMAGE", nargs=4, help="a square of faces between four instead"
    )
    interpolate.add_argument(
        "--frames", type=int, default=10, help="faces on the way, both ends among them"
    )
    interpolate.add_argument(
        "--path", default="linear", help="linear, or spherical: at the length of the ends"
    )
    interpolate.add_argument(
        "--sampler", help="of seeds: prior, or fitted where the model has it (default: the last)"
    )
    interpolate.add_argument("--crop", help="how to make pictures square (default: as in training)")
    interpolate.add_argument("--conditions", help="of a conditional model, such as glasses,smiling")
    interpolate.add_argument(
        "--out", default="interpolation.png", help="a strip, or morph.gif, or morph.mp4"
    )

    attribute = command(
        "attribute", _attribute, "Change attributes of a face by arithmetic on its latent."
    )
    attribute.add_argument("run", metavar="RUN")
    attribute.add_argument("names", metavar="NAME", nargs="+", help="such as smiling")
    attribute.add_argument(
        "--strength",
        type=float,
        nargs="+",
        help="of all, or one for each: 1 goes as far as those with it are from those without "
        "(default: 1)",
    )
    attribute.add_argument("--image", help="whose face (default: one drawn from the model)")
    attribute.add_argument("--seed", type=int, default=0, help="seed of the drawn face")
    attribute.add_argument(
        "--sampler", help="of the drawn face: prior, or fitted (default: the last usable one)"
    )
    attribute.add_argument("--crop", help="how to make IMAGE square (default: as in training)")
    attribute.add_argument(
        "--against", metavar="NAME", nargs="+", help="attributes to leave as they are"
    )
    attribute.add_argument(
        "--frames", type=int, help="a strip of so many, from -strength to +strength"
    )
    attribute.add_argument(
        "--check", action="store_true", help="say what a classifier of real faces sees in all faces"
    )
    _add_source_of_attributes(attribute)
    attribute.add_argument("--out", default="attribute.png", help="a picture, .gif or .mp4")

    latents = command("latents", _latents, "Draw a model's latent space.")
    latents.add_argument("run", metavar="RUN")
    latents.add_argument(
        "--by", default="pca", help="pca, tsne (needs the extra plots), or first: dimensions 1, 2"
    )
    latents.add_argument("--attribute", metavar="NAME", help="colour faces by it")
    latents.add_argument(
        "--thumbnails", action="store_true", help="draw faces, where there is room"
    )
    instead = latents.add_mutually_exclusive_group()
    instead.add_argument(
        "--manifold",
        action="store_true",
        help="instead draw the faces that a plane decodes to: two latents, or the two main axes",
    )
    instead.add_argument(
        "--separability",
        action="store_true",
        help="instead measure how well a straight cut tells each attribute apart",
    )
    latents.add_argument("--seed", type=int, default=0, help="seed of all that is chosen")
    _add_source_of_attributes(latents)
    latents.add_argument("--out", default="latents.png", help="the picture to write")


def _add_source_of_attributes(parser):
    parser.add_argument("--data", help="source of faces with attributes (default: the run's)")
    parser.add_argument("--split", help="split of these (default: the run's)")
    parser.add_argument("--count", type=int, default=4096, help="faces of it to encode, at most")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        # Name the commands nearest to a misspelt one, which argparse only lists.
        if "invalid choice" in message and "COMMAND" in message:
            given = message.split("invalid choice: ")[1].split("'")[1]
            raise unknown_name("command", given, COMMANDS)
        raise UserError(f"{message}. See: {self.prog} --help")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action):
        # Where None stands for something, the help says for what.
        return action.help if action.default is None else super()._get_help_string(action)


def _needs_keras(options) -> bool:
    if options.command == "train":
        return options.model is not None
    if options.command == "list":
        return options.what in ("models", "reports")
    if options.command.startswith("data "):
        # These import TensorFlow, which is noisy.
        source = getattr(options, "source", "")
        return options.command == "data sketches" or source.startswith("tfds:")
    return not getattr(options, "help", False)


@contextlib.contextmanager
def _quiet():
    """Keep from the screen what TensorFlow's C++ side prints while it is imported.

    Its log level does not hold back these lines, which say nothing that a user could act on. They
    are shown where the import fails.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(screen, aside.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def _import_keras(own_process: bool):
    with _quiet():
        from keras_faces.training import backend

        backend.jit_by_default()  # looks for accelerators, and says so at length
        if own_process:
            backend.make_deterministic()


def _train(options):
    if options.model is None and options.recipe and not options.help:
        from keras_faces.recipes import load_recipe

        model = load_recipe(options.recipe).model
        raise UserError(f"Name its model: keras-faces train {model} --recipe {options.recipe}")
    if options.help:
        _train_help(options)
        return
    if options.model is None:
        from keras_faces.models import list_models

        raise UserError(
            "Name a model first: keras-faces train MODEL. See: keras-faces train --help. "
            f"Models: {', '.join(list_models())}."
        )
    from keras_faces.models import MODELS

    misplaced = [word for word in options.rest if word in MODELS]
    if options.model not in MODELS and misplaced:
        raise UserError(f"Put the model first: keras-faces train {misplaced[0]} [FLAGS]")
    given = _model_flags(options)
    from keras_faces.session import train

    train(
        options.model,
        data=options.data,
        run=options.run,
        recipe=options.recipe,
        budget=options.budget,
        batch_size=options.batch_size,
        split=options.split,
        crop=options.crop,
        labels=options.labels,
        epochs=options.epochs,
        steps=options.steps,
        minutes=options.minutes,
        steps_per_execution=options.steps_per_execution,
        grid_every=options.grid_every,
        score_every=options.score_every,
        scores=options.scores,
        best=options.best,
        checkpoint_seconds=options.checkpoint_seconds,
        count=options.count,
        strict=options.strict,
        **given,
    )


def _model_flags(options) -> dict:
    """Parse the flags that a model's constructor gives rise to."""
    from keras_faces.models import hyperparameters

    known = hyperparameters(options.model)
    own = _flag_parser(options.model)
    names = [f"--{name.replace('_', '-')}" for name in known]
    common = [flag for action in _train_parser()._actions for flag in action.option_strings]
    for word in options.rest:
        flag = word.split("=")[0]
        if flag.startswith("--") and flag not in names:
            raise unknown_name(f"flag of 'train {options.model}'", flag, [*names, *common])
    return {
        name: value
        for name, value in vars(own.parse_args(options.rest)).items()
        if value is not None
    }


def _flag_parser(model: str) -> argparse.ArgumentParser:
    from keras_faces.models import hyperparameters

    parser = _Parser(prog=f"keras-faces train {model}", add_help=False, allow_abbrev=False)
    group = parser.add_argument_group(f"hyper-parameters of {model}")
    for name, parameter in hyperparameters(model).items():
        if name == "channels":
            kind, default = int, "as the pictures"
        elif name == "conditions":
            kind, default = str, "as the labels"
        else:
            default = parameter.default
            kind = str if default is None else type(default)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=_boolean if kind is bool else kind,
            metavar=kind.__name__.upper(),
            help=f"(default: {'float32' if name == 'dtype' else default})",
        )
    return parser


def _train_parser():
    return build_parser()._subparsers._group_actions[0].choices["train"]


def _train_help(options):
    print(_train_parser().format_help())
    if options.model is None:
        print("Each MODEL has flags of its own: keras-faces train MODEL --help")
    else:
        text = _flag_parser(options.model).format_help()
        print(text[text.index("hyper-parameters of") :])


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, received {text!r}")
    return text.lower() == "true"


def _resume(options):
    _no_more(options)
    from keras_faces.session import resume

    resume(options.run)


def _generate(options):
    _no_more(options)
    from pathlib import Path

    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.runs import load_model

    suffix = picture_suffix(options.out)
    model = load_model(options.run)
    sampler = options.sampler or model.default_sampler
    faces = model.generate(options.count, options.seed, sampler, **_conditions(options, model))
    if suffix:
        save_picture(grid(faces), options.out)
    else:
        for number, face in enumerate(faces):
            save_picture(grid(face[None], gap=0), Path(options.out, f"{number:05d}.png"))
    print(
        f"{options.count} faces drawn from the {sampler} density, seed {options.seed}: "
        f"{options.out}"
    )


def _reconstruct(options):
    _no_more(options)
    from keras_faces.pictures import rows_grid, save_picture

    model, faces, crop = _model_and_faces(options, to_encode="reconstruct pictures")
    given = _conditions(options, model, needed=True)
    save_picture(rows_grid(faces, model.reconstruct(faces, **given)), options.out)
    print(f"{len(faces)} originals, crop {crop!r}, over their reconstructions: {options.out}")


def _blend(options):
    _no_more(options)
    import numpy as np

    from keras_faces.pictures import grid, save_picture

    model, faces, _ = _model_and_faces(options, to_encode="blend pictures")
    given = _conditions(options, model, needed=True)
    if given:
        given["conditions"] = (given["conditions"],) * 2
    blended = model.blend(faces[:1], faces[1:], options.percent, **given)
    save_picture(grid(np.concatenate([faces[:1], blended, faces[1:]]), 3), options.out)
    print(f"{options.percent:g} % of the second picture, between the two: {options.out}")


def _translate(options):
    _no_more(options)
    from keras_faces.pictures import rows_grid, save_picture

    model, faces, _ = _model_and_faces(options)
    if not hasattr(model, "translate"):
        raise UserError(f"{type(model).__name__} does not translate. CycleGAN does.")
    save_picture(rows_grid(faces, model.translate(faces, options.to)), options.out)
    print(f"{len(faces)} pictures over the {options.to} made of each: {options.out}")


def _model_and_faces(options, to_encode: str | None = None):
    """Return the model, the given pictures as it was trained to see them, and their crop.

    With `to_encode`, what the encoder is needed for, a model without one is refused at once.
    """
    import numpy as np

    from keras_faces.pictures import picture_suffix
    from keras_faces.runs import load_model, training_crop

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as faces.png. Received: {options.out!r}.")
    model = load_model(options.run)
    if to_encode:
        from keras_faces.latent.encoding import require_encoder

        require_encoder(model, to_encode)
    crop = options.crop or training_crop(options.run)
    return model, np.stack([_face(image, crop, model) for image in options.images]), crop


def _face(image: str, crop: str, model):
    """Return a picture file's face as a model was trained to see it."""
    from pathlib import Path

    from keras_faces.data import to_float
    from keras_faces.data.decode import BadPicture, decode

    try:
        data = Path(image).read_bytes()
        return to_float(decode(data, crop, model.image_size, model.channels))
    except OSError as error:
        raise UserError(f"Cannot read {image!r}: {error.strerror}.") from error
    except BadPicture as error:
        raise UserError(f"Cannot use {image!r}: {error}.") from error


def _interpolate(options):
    _no_more(options)
    import numpy as np

    from keras_faces.latent import between, corner_grid, save_frames
    from keras_faces.latent.interpolation import PATHS, frames_suffix
    from keras_faces.runs import load_model

    suffix = frames_suffix(options.out)
    if options.path not in PATHS:
        raise unknown_name("path", options.path, PATHS)
    if options.corners and suffix in (".gif", ".mp4"):
        raise UserError("A square of faces is a picture: give --out grid.png.")
    model = load_model(options.run)
    ends = options.corners or [options.start, options.to]
    latents = [_end(options, model, end) for end in ends]
    columns = None
    if options.corners:
        codes, columns = (
            corner_grid(model, np.stack(latents), options.frames, options.path),
            options.frames,
        )
        what = f"{len(codes)} faces between {', '.join(_end_name(end) for end in ends)}"
    else:
        codes = between(model, *latents, options.frames, options.path)
        what = f"{len(codes)} faces from {_end_name(ends[0])} to {_end_name(ends[1])}"
    save_frames(model.decode(codes), options.out, columns=columns)
    drawn = f", drawn from the {options.sampler or model.default_sampler} density"
    seeds = drawn if any(_is_seed(end) for end in ends) else ""
    print(f"{what}{seeds}, {options.path} path: {options.out}")


def _is_seed(end: str) -> bool:
    return end.lstrip("-").isdecimal()


def _end_name(end: str) -> str:
    return f"seed {end}" if _is_seed(end) else end


def _end(options, model, end: str):
    """Return the latent of an end of an interpolation: of a seed, or of a picture."""
    from keras_faces.latent import latent_of
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.runs import training_crop

    seed = _is_seed(end)
    if not seed:
        require_encoder(model, "start from pictures, only from seeds")
    given = _conditions(options, model, needed=not seed)
    face = int(end) if seed else _face(end, options.crop or training_crop(options.run), model)
    return latent_of(model, face, options.sampler, **given)


def _attribute(options):
    _no_more(options)
    import numpy as np

    from keras_faces.errors import require_whole
    from keras_faces.latent import (
        apply,
        attribute_directions,
        combined,
        encode_faces,
        latent_of,
        save_frames,
    )
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.latent.interpolation import frames_suffix
    from keras_faces.runs import load_model, training_crop

    frames_suffix(options.out)
    options.strength, options.against = options.strength or [1.0], options.against or []
    if options.frames is not None:
        require_whole(2, frames=options.frames)
    model = load_model(options.run)
    require_encoder(model, "say which latents faces with an attribute have")
    if model.conditional:
        raise UserError(
            f"A {type(model).__name__} is told its conditions: keras-faces generate RUN "
            f"--conditions {','.join(options.names)}"
        )
    face = options.seed
    if options.image:
        face = _face(options.image, options.crop or training_crop(options.run), model)
    latent = latent_of(model, face, options.sampler)
    stream = _open_stream(options, model, "attributes")
    for name in [*options.names, *options.against]:
        if name not in stream.label_names:
            raise unknown_name("attribute", name, stream.label_names)
    encoded = encode_faces(model, stream, options.count, progress=True)
    directions = attribute_directions(encoded, options.names, options.against)
    change = combined(directions, options.strength)
    factors = np.array([0.0, 1.0])
    if options.frames is not None:
        factors = np.linspace(-1.0, 1.0, options.frames)
    faces = model.decode(np.stack([apply(latent, change, factor) for factor in factors]))
    if options.image and options.frames is None:
        faces = np.concatenate([face[None], faces])
    save_frames(faces, options.out)
    print(_attribute_line(options, model))
    if options.check:
        from keras_faces.latent import attribute_check, check_table

        given = (options.names, options.strength, options.against)
        print(check_table(attribute_check(model, encoded, *given, progress=True)))


def _attribute_line(options, model) -> str:
    strengths = options.strength * (len(options.names) // len(options.strength))

    def changed(factor):
        pairs = zip(options.names, strengths, strict=True)
        return ", ".join(f"{name} {factor * strength:+g}" for name, strength in pairs)

    whose = options.image or f"seed {options.seed} ({options.sampler or model.default_sampler})"
    against = f", against {', '.join(options.against)}" if options.against else ""
    if options.frames is not None:
        ends = f"from {changed(-1)} to {changed(1)}"
        return f"{options.frames} faces of {whose}, {ends}{against}: {options.out}"
    first = "the picture, its reconstruction" if options.image else "the face as drawn"
    return f"{whose}: {first}, and with {changed(1)}{against}: {options.out}"


def _latents(options):
    _no_more(options)
    from keras_faces.latent import PROJECTIONS, encode_faces, manifold, plot_latents, project
    from keras_faces.latent.encoding import require_encoder
    from keras_faces.pictures import grid, picture_suffix, save_picture
    from keras_faces.runs import load_model

    if not picture_suffix(options.out):
        raise UserError(f"--out must be a picture such as plot.png. Received: {options.out!r}.")
    if options.by not in PROJECTIONS:
        raise unknown_name("projection", options.by, PROJECTIONS)
    model = load_model(options.run)
    if options.manifold and model.code_dim == 2:
        save_picture(grid(manifold(model), 15), options.out)
        print(f"The map of the two latents, at equally likely values of the prior: {options.out}")
        return
    require_encoder(model, "say where faces are in its latent space")
    labels = "attributes" if options.attribute or options.separability else None
    stream = _open_stream(options, model, labels)
    if options.attribute and options.attribute not in stream.label_names:
        raise unknown_name("attribute", options.attribute, stream.label_names)
    encoded = encode_faces(model, stream, options.count, options.seed, progress=True)
    source = f"{len(encoded.latents):,} faces of {stream.facts['source']}"
    if options.separability:
        _separability(options, model, encoded)
    elif options.manifold:
        save_picture(grid(manifold(model, encoded.latents), 15), options.out)
        print(f"The plane along which the latents of {source} vary most: {options.out}")
    else:
        points, axes = project(encoded.latents[:, : model.latent_dim], options.by, options.seed)
        plot_latents(
            points,
            options.out,
            f"Latents of {source}, {type(model).__name__}",
            axes,
            encoded.labels_of(options.attribute) if options.attribute else None,
            options.attribute or "",
            encoded.faces() if options.thumbnails else None,
        )
        print(f"Latents of {source} by {options.by}: {options.out}")


def _separability(options, model, encoded):
    from keras_faces.latent import plot_separability, separability, separability_table

    result = separability(encoded, seed=options.seed)
    title = f"How well a straight cut through the latents of a {type(model).__name__} tells apart"
    plot_separability(result, options.out, title)
    print(separability_table(result))
    print(f"Drawn: {options.out}")


def _conditions(options, model, needed: bool = False) -> dict:
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


def _evaluate(options):
    _no_more(options)
    from keras_faces.pictures import picture_suffix

    if options.pairs and not picture_suffix(options.pairs):
        raise UserError(f"--pairs must name a picture, such as p.png. Received: {options.pairs!r}.")
    import json

    from keras_faces.files import write_whole
    from keras_faces.metrics.scores import SCORES, names_of
    from keras_faces.metrics.tables import any_computed, protocol_line, told_protocol
    from keras_faces.runs import load_model

    if options.scores and options.inception_weights:
        needed = [n for n, chosen in SCORES.items() if chosen.needs == "inception"]
        if not set(needed) & set(names_of(options.scores)):
            raise UserError(
                "--inception-weights is given, but none of --scores needs them: "
                f"{', '.join(options.scores)}. Leave it out, or add one or more of: "
                f"{', '.join(needed)}."
            )
    model = load_model(options.run)
    stream = _open_stream(options, model)
    result, lines = _scored(options, model, stream)
    # First of all, so that a place that cannot be written does not cost the scores.
    print(lines)
    if not any_computed(result):
        raise NotComputed(
            "No score that was asked for could be computed, for the reasons above. Nothing was "
            "written."
        )
    print(protocol_line(result))
    if "conditions" in result:
        print(told_protocol(result["conditions"]["protocol"], "conditions"))
    if options.out:
        write_whole(options.out, json.dumps(result, indent=2) + "\n")
    if options.pairs:
        _draw_pairs(options, model, stream)


def _scored(options, model, stream) -> tuple[dict, str]:
    """Return all scores that are asked for, and the same as text."""
    from keras_faces.metrics.conditions import measured_or_why_not
    from keras_faces.metrics.scores import SCORES, score, score_copies
    from keras_faces.metrics.tables import copies_line, table

    samplers = [options.sampler] if options.sampler else None
    asked, weights = options.scores, options.inception_weights
    wanted = list(SCORES) if weights and not asked else asked
    result = score(
        model, stream, options.count, options.seed, samplers, wanted, weights, progress=True
    )
    lines = [table(result)]
    if not asked:
        copies = score_copies(model, stream, options.count, options.seed)
        if copies is not None:
            result["reconstructions"] = copies
            lines.append(copies_line(copies))
    if model.conditional and not asked:
        given = (options.count, options.seed, options.sampler)
        obeyed, line = measured_or_why_not(model, stream, *given)
        lines.append(line)
        if obeyed is not None:
            result["conditions"] = obeyed
    return result, "\n".join(lines)


def _draw_pairs(options, model, stream):
    from keras_faces.metrics.faces import Faces
    from keras_faces.metrics.identity import nearest_training, pairs_picture
    from keras_faces.pictures import save_picture

    count = min(options.count, 200)  # a tenth of a second each
    real = Faces(stream.sample(options.count, options.seed), kept=True)
    sampler = options.sampler or model.default_sampler
    samples = Faces(model.samples(count, options.seed, sampler, stream))
    nearest = nearest_training(samples.descriptors, real.descriptors)
    drawn = pairs_picture(samples.images, real.images, nearest=nearest)
    save_picture(drawn, options.pairs)
    print(
        f"Of {count} samples ({sampler}) the 20 nearest to real faces, over these; descriptors "
        f"{nearest.distances.min():.2f} apart or more: {options.pairs}"
    )


def _compare(options):
    _no_more(options)
    import json
    from pathlib import Path

    from keras_faces.metrics.tables import comparable, compare, protocol_line
    from keras_faces.runs import Run

    results = {}
    for name in options.runs:
        path = Path(name).expanduser()
        if path.is_dir():
            path = Run(path).scores_path
        try:
            results[name] = json.loads(path.read_text())
        except OSError as error:
            raise UserError(
                f"There are no scores of {name!r}: {path} cannot be read ({error.strerror}). Make "
                f"them with: keras-faces evaluate {name} --out FILE"
            ) from error
        except ValueError as error:
            raise UserError(f"{str(path)!r} holds no scores: {error}.") from error
    print(compare(results))
    print(protocol_line(*results.values(), names=comparable(results)))


def _reproduce(options):
    _no_more(options)
    from keras_faces.reports import reproduce

    out = options.out or os.path.join("reports", options.report)
    further = {"score_every": options.score_every, "best": options.best}
    try:
        reproduce(
            options.report,
            data=options.data,
            budget=options.budget,
            seeds=options.seeds,
            count=options.count,
            out=out,
            runs=options.runs,
            **{name: value for name, value in further.items() if value is not None},
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped. What is done in {out} is kept: give the same command again to go on.",
            number_of(stop),
        ) from None


def _open_stream(options, model, labels: str | None = None):
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


def _export(options):
    _no_more(options)
    from keras_faces.export import FORMATS, write
    from keras_faces.runs import Run, load_model

    if options.format not in FORMATS:
        raise unknown_name("format of an export", options.format, FORMATS)
    run, model = Run(options.run), load_model(options.run)
    if options.out is None and not run.exists:
        raise UserError("Say where to write with --out DIR.")
    out = options.out or run.folder / options.format
    folder, differences = write(model, out, options.format, options.pixels, options.run)
    print(f"{folder}: {FORMATS[options.format].title}, as {options.pixels}")
    for name, difference in differences.items():
        if difference is None:
            print(f"  {name:16} not in this format")
        else:
            print(f"  {name:16} largest difference from the model: {difference:.1g}")
    print("  README.md        the model card, with lines of Python that use it")


def _prepared(options):
    """Return the source, its prepared pictures, and what it warned of."""
    _no_more(options)
    from keras_faces.data import SkippedPictures, cache, get_crop, guess_channels, open_source

    get_crop(options.crop)
    if options.image_size < 1:
        raise UserError(f"--image-size must be 1 or more. Received: {options.image_size}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = open_source(options.source)
        channels = options.channels or guess_channels(source)
        try:
            prepared = cache.prepare(source, options.crop, options.image_size, channels)
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
    return source, prepared, list(dict.fromkeys(warned))


def _data_check(options):
    from keras_faces.data.overview import outline, problems, unmatched

    source, prepared, warned = _prepared(options)
    print("\n".join([*outline(source, prepared), *source.remarks()]))
    for line in source.compare_with_published():
        print(line)
    found = [*warned, *unmatched(source.attributes(), prepared), *problems(prepared)]
    print("\n".join(found) if found else "nothing damaged, copied or suspiciously small")
    if prepared.bad:
        print(f"{len(prepared.bad)} bad pictures are skipped in training")


def _data_info(options):
    from keras_faces.data.overview import contact_sheet, describe
    from keras_faces.pictures import picture_suffix, save_picture

    if not picture_suffix(options.out):
        raise UserError(f"--out must name a picture, such as faces.png. Received: {options.out!r}.")
    source, prepared, warned = _prepared(options)
    print("\n".join(describe(source, prepared) + warned))
    sheet = contact_sheet(prepared, options.count, options.seed)
    print(f"contact sheet: {save_picture(sheet, options.out)}")


def _data_prepare(options):
    import time

    began = time.perf_counter()
    source, prepared, warned = _prepared(options)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in prepared.folder.iterdir())
    print(
        f"{prepared.count:,} pictures of {source.title!r} at "
        f"{'x'.join(map(str, prepared.image_shape))}, crop {options.crop}: ready after "
        f"{seconds:.1f} s, {size / 2**20:,.1f} MiB in {prepared.folder}"
    )
    for line in warned:
        print(line)
    if prepared.bad:
        print(f"{len(prepared.bad)} bad pictures were left out; see: keras-faces data check")


def _data_attributes(options):
    _no_more(options)
    from keras_faces.data.preparation import attributes_csv

    rows, attributes = attributes_csv(options.source, options.out)
    print(f"{attributes} attributes of {rows:,} pictures: {options.out}")


def _data_people(options):
    _no_more(options)
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
    _no_more(options)
    from keras_faces.data.sketches import write_sketches

    try:
        written = write_sketches(options.source, options.out, options.image_size, options.crop)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            "Stopped. What is drawn so far is kept: give the same command again to go on.",
            number_of(stop),
        ) from None
    print(f"{written} photos with their sketches. Use them as: pairs:{options.out}")


def _list(options):
    _no_more(options)
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
    from keras_faces.data.overview import crops_picture
    from keras_faces.pictures import save_picture

    if options.image:
        try:
            image = Image.open(options.image)
            image.load()
        except OSError as error:
            raise UserError(f"Cannot read {options.image!r} as a picture: {error}.") from error
    else:
        image = Image.open(io.BytesIO(open_source("orl").read("s1/1.pgm"))).resize((178, 218))
    save_picture(crops_picture(image), options.picture)
    print(f"What each keeps of {options.image or 'an ORL face'}: {options.picture}\n")


def _no_more(options):
    if options.rest:
        parser = build_parser()._subparsers._group_actions[0].choices[options.command.split()[0]]
        known = [flag for action in parser._actions for flag in action.option_strings]
        raise unknown_name(f"argument of '{options.command}'", options.rest[0], known)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if category is UserWarning or issubclass(category, UserWarning):
        from tqdm import tqdm

        tqdm.write(f"Warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    console()
