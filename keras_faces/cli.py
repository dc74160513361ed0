"""The `keras-faces` command: a thin door onto the package.

Everything heavy is imported by the command that needs it, so that `--help` answers at once.
"""

import inspect
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from keras_faces.commands import parse
from keras_faces.errors import Interrupted, UserError, status_of
from keras_faces.process import prepare_process, quiet
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
    """Raise `Interrupted`, or do so once what is being imported or finalised is done.

    Libraries that try what they can import take an exception for an answer, and go on; those that
    are half imported crash later. Within `__del__` Python prints an exception and goes on.
    """
    within = frame
    while within is not None:
        code = within.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name == "__del__":
            again = threading.Timer(0.05, _signal_main_thread, [number])
            again.daemon = True
            again.start()
            return
        within = within.f_back
    raise Interrupted("", number)


def _signal_main_thread(number):
    # Raised in another thread, it would not end what the main one waits for.
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        signal.raise_signal(number)  # Windows


def main(arguments: Sequence[str] | None = None, own_process: bool = False) -> int:
    """Run the command line; return the exit status.

    Args:
        arguments: The words after `keras-faces`; None takes those of this process.
        own_process: Whether settings of the whole process may be made: every operation
            deterministic, on accelerators too.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command, given = parse(words)
        own = not inspect.ismethod(command)  # help and the version are cyclopts's
        needs_keras = getattr(command, "needs_keras", lambda *words, **flags: own)
        if needs_keras(*given.args, **given.kwargs):
            _import_keras(own_process)
        command(*given.args, **given.kwargs)
        unasked = command.__name__ == "help_print" and not {"-h", "--help"} & set(words)
        return 2 if unasked else 0
    except (UserError, FloatingPointError) as error:
        print(f"keras-faces: {error}", file=sys.stderr)
        return status_of(error)
    except BrokenPipeError as error:
        return status_of(error)
    except OSError as error:
        where = f": {visible(str(error.filename))}" if error.filename else ""
        print(f"keras-faces: {error.strerror or error}{where}", file=sys.stderr)
        if words[:1] in (["train"], ["resume"]):
            print("If a run was begun, resume it with: keras-faces resume RUN", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\nStopped.", file=sys.stderr)
        return status_of(error)


def _import_keras(own_process: bool):
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen not in BACKENDS:
        raise UserError(
            f"keras_faces runs on {' and '.join(BACKENDS)}. Received: KERAS_BACKEND={chosen}."
        )
    with quiet():
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
