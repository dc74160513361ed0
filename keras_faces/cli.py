"""The `keras-faces` command: a thin door onto the package.

Everything heavy is imported by the command that needs it, so that `--help` answers at once.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence

from keras_faces.commands import GROUPS, all_commands
from keras_faces.commands.parsing import Command, Parser
from keras_faces.errors import Interrupted, UserError, number_of, unknown_name
from keras_faces.process import prepare_process
from keras_faces.screen import guard_screen, visible

BACKENDS = ("tensorflow", "jax")


def console() -> None:
    """Run as the `keras-faces` command, in a process of its own, and exit."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    guard_screen()
    prepare_process()
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # the background ignores it
        signal.signal(signal.SIGINT, _stop)
    sys.exit(main(own_process=True))


def _stop(number, frame):
    """Raise `Interrupted`, or do so once what is being imported is there.

    Libraries that try what they can import take an exception for an answer, and go on; those that
    are half imported crash later.
    """
    within = frame
    while within is not None:
        if within.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(0.05, signal.raise_signal, [number])
            again.daemon = True
            again.start()
            return
        within = within.f_back
    raise Interrupted("", number)


def main(arguments: Sequence[str] | None = None, own_process: bool = False) -> int:
    """Run the command line; return the exit status.

    Args:
        arguments: The words after `keras-faces`; None takes those of this process.
        own_process: Whether settings of the whole process may be made: every operation
            deterministic, on accelerators too.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = None
    try:
        command, words = _find_command(words)
        if command is None:
            build_parser().print_help()
            return 2
        positional, named = command.parse(words)
        if command.needs_keras(positional, named):
            _import_keras(own_process)
        command.function(*positional, **named)
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
        where = f": {visible(str(error.filename))}" if error.filename else ""
        print(f"keras-faces: {error.strerror or error}{where}", file=sys.stderr)
        if command is not None and command.name in ("train", "resume"):
            print("A run that has begun goes on with: keras-faces resume RUN", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\nStopped.", file=sys.stderr)
        return 128 + number_of(error)


def _find_command(words: list[str]) -> tuple[Command | None, list[str]]:
    """Return the command that the first words name, if any, and the words behind them."""
    commands = all_commands()
    if not words or words[0].startswith("-"):
        build_parser().parse_args(words)  # answers what it knows, and refuses all else
        return None, words
    group = words[0] if words[0] in GROUPS else None
    if group and (len(words) == 1 or words[1].startswith("-")):
        build_parser().parse_args(words)
    name = f"{group} {words[1]}" if group else words[0]
    if name not in commands:
        kind = f"action of 'keras-faces {group}'" if group else "command"
        known = [key.removeprefix(f"{group} ") for key in commands if not group or group in key]
        known = [key for key in known if group or " " not in key] + ([] if group else list(GROUPS))
        raise unknown_name(kind, words[1] if group else words[0], known)
    return commands[name], words[2 if group else 1 :]


def build_parser(with_flags: bool = False) -> Parser:
    """Return the parser of all commands, for help and completion.

    Args:
        with_flags: Whether the commands have their flags, which takes longer.
    """
    from keras_faces import __version__

    parser = Parser(
        prog="keras-faces",
        description="Train, score and use generators of faces.",
        epilog="A RUN is a run folder, a .keras file, or the name of a model in saved_models/.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        metavar="SHELL",
        help="print what completes commands and flags in bash, zsh or tcsh",
    )
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    groups = {}
    for name, command in all_commands().items():
        group, _, action = name.rpartition(" ")
        if group and group not in groups:
            summary = GROUPS[group].__doc__.splitlines()[0]
            about = commands.add_parser(group, help=summary, description=summary)
            groups[group] = about.add_subparsers(
                metavar="ACTION", required=True, parser_class=Parser
            )
        within = groups[group] if group else commands
        added = within.add_parser(action, help=command.summary, description=command.summary)
        if with_flags:
            command.parser(into=added)
    return parser


class _PrintCompletion(argparse.Action):
    """Print a script by which a shell completes commands and flags, and exit."""

    def __call__(self, parser, namespace, values, option_string=None):
        import shtab

        if values not in shtab.SUPPORTED_SHELLS:
            raise unknown_name("shell", values, shtab.SUPPORTED_SHELLS)
        print(shtab.complete(build_parser(with_flags=True), values))
        parser.exit()


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
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen not in BACKENDS:
        raise UserError(
            f"keras_faces runs on {' and '.join(BACKENDS)}. Received: KERAS_BACKEND={chosen}."
        )
    with _quiet():
        from keras_faces.training import backend

        backend.jit_by_default()  # looks for accelerators, and says so at length
        if own_process:
            backend.make_deterministic()
            import keras

            keras.config.disable_interactive_logging()  # bars that steer the terminal themselves


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if category is UserWarning or issubclass(category, UserWarning):
        from tqdm import tqdm

        tqdm.write(f"Warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    console()
