"""Train a model, and go on with a run: `train`, `resume`."""

import argparse

from keras_faces.commands.parsing import Parser, flags_of, no_more
from keras_faces.errors import UserError, unknown_name


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    train = parser.command(
        "train",
        _train,
        "Train a model and leave a run folder.",
        keras=lambda options: options.model is not None,
        add_help=False,
    )
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

    resume = parser.command("resume", _resume, "Go on with a run that was stopped or killed.")
    resume.add_argument("run", metavar="RUN")
    resume.add_argument("--data", help="where the same faces lie now, if they have moved")


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
    common = flags_of(options.parser)
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

    parser = Parser(prog=f"keras-faces train {model}", add_help=False, allow_abbrev=False)
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


def _train_help(options):
    print(options.parser.format_help())
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
    no_more(options)
    from keras_faces.session import resume

    resume(options.run, data=options.data)
