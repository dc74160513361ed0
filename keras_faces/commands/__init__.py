"""The commands of `keras-faces`: every public function of these files is one, named after it.

Its signature makes its flags and its docstring their help. What is heavy it imports itself, so that
help answers at once. Those of `data.py` are called as `keras-faces data NAME`.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

from cyclopts import (
    App,
    CycloptsError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from keras_faces import __version__
from keras_faces.commands import data, exports, faces, latents, listing, scores, serve, training
from keras_faces.commands.configs import add_config, read_config
from keras_faces.commands.functions import plain_help, without_keras
from keras_faces.commands.models import train_app
from keras_faces.errors import UserError, unknown_name
from keras_faces.models import MODELS, list_models

MODULES = (training, faces, latents, scores, exports, serve, data, listing)
HELP = """Train, score and use generators of faces.

A RUN is a run folder, a .keras file, or the name of a model in saved_models/.

To begin: keras-faces train vae --minutes 5

Help for one command: keras-faces generate --help
"""


def build_app(models: Iterable[str] = ()) -> App:
    """Return all commands as one app, whose `meta` takes what all of them take: `--config`.

    Args:
        models: Those whose hyper-parameters `train` is to know, which are read from their source.
    """
    app = App(
        name="keras-faces",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(allow_repeating=True, consume_multiple=1, negative_iterable=()),
        exit_on_error=False,
        print_error=False,
    )
    for module in MODULES:
        group = App(name="data", help=data.__doc__) if module is data else app
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.startswith("_"):
                app_or_function = train_app(models) if name == "train" else plain_help(function)
                group.command(app_or_function)
        if group is not app:
            app.command(group)

    @app.command(name="--print-completion")
    @without_keras()
    def print_completion(shell: Literal["bash", "zsh", "fish", "powershell"], /) -> None:
        """Print a script that completes commands and flags in a shell."""
        print(app.generate_completion(shell=shell))

    @app.meta.default
    def read(
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[str | None, Parameter(metavar="FILE")] = None,
    ) -> tuple[Callable, inspect.BoundArguments, dict]:
        """Return the command that is given, and with what.

        Args:
            words: The words.
            config: Take arguments from this YAML, TOML or JSON file; flags given here override it.
        """
        app.config = functools.partial(add_config, config)
        flags_first = all(word.startswith("-") for word in words[1:2])
        if config and words[:1] == ("train",) and flags_first:
            model = read_config(config).get("model")
            if model is not None and str(model) not in MODELS:
                raise UserError(f"{config}: {unknown_name('model', str(model), MODELS)}")
            words = words if model is None else ("train", model, *words[1:])
        try:
            return app.parse_args(words)
        except UnknownOptionError as error:
            misplaced = [word for word in words if word in MODELS]
            if words[:1] == ("train",) and flags_first and misplaced:
                raise UserError(
                    f"Put the model first: keras-faces train {misplaced[0]} [FLAGS]"
                ) from error
            raise

    return app


def parse(words: Sequence[str]) -> tuple[Callable, inspect.BoundArguments]:
    """Return the command that words give, and what it is to be called with.

    Raises:
        UserError: If a word, or what a config says, cannot be meant.
    """
    models = [word for word in words[1:2] if words[0] == "train" and word in MODELS]
    if not models and {"train", "--print-completion"} & set(words):
        models = list_models()
    app = build_app(models)
    try:
        command, given, _ = app.meta.parse_args(words)
        if command is app.meta.default_command:
            command, given, _ = command(*given.args, **given.kwargs)
    except UnusedCliTokensError as error:
        raise UserError(f"There is no argument for {error.unused_tokens[0]!r}.") from error
    except CycloptsError as error:
        if isinstance(error.__cause__, UserError):  # says what to do
            given = getattr(error.argument, "value", None)
            if isinstance(error, ValidationError) and isinstance(given, (list, tuple)):
                error.value = " ".join(map(str, given))  # as it was written
            raise UserError(str(error)) from error
        see = " ".join(["keras-faces", *(error.command_chain or ()), "--help"])
        raise UserError(f"{' '.join(str(error).splitlines())} See: {see}") from error
    if "console" in given.arguments:  # help, without the colours that no screen of ours shows
        from rich.console import Console

        given.arguments["console"] = Console(color_system=None)
    return command, given
