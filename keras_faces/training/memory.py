"""Models that are larger than the memory, refused before they are built."""

import contextlib
import math
import re
import threading
from collections.abc import Callable

import keras

from keras_faces.errors import UserError
from keras_faces.process import available_memory

_one_at_a_time = threading.RLock()
_this_thread = threading.local()


def counting() -> bool:
    """Return whether this thread builds only to count, so that variables have no values."""
    return getattr(_this_thread, "counts", False)


def require_memory(build: Callable, *room) -> None:
    """Raise a `UserError` where what would be built does not fit into the memory.

    Args:
        build: Callable that builds it.
        *room: As for `within_memory`.
    """
    refused = []

    def count():
        _this_thread.counts = True
        # A scope in which variables get no values. Leaving it would give them some, but it is
        # known in this thread alone, and is gone with it.
        keras.StatelessScope().__enter__()
        try:
            with within_memory(*room):
                build()
        except UserError as error:
            refused.append(error)
        except Exception:  # which building itself will raise again
            pass

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    if refused:
        raise refused[0]


@contextlib.contextmanager
def within_memory(what: str, advice: str, copies: int = 1):
    """Refuse variables that do not fit into the memory before they take it, in a `with` block.

    Args:
        what: What they are of, such as `"The variables of this VAE"`.
        advice: What to do instead, as a sentence.
        copies: How often they will be there, such as thrice with the moments of an optimizer.

    Raises:
        UserError: If they do not fit.
    """
    thread, room, taken = threading.get_ident(), None, 0

    def checked(variable, initializer, shape=None, dtype=None, *args, **kwargs):
        nonlocal room, taken
        if shape is not None and thread == threading.get_ident():
            room = available_memory() if room is None else room
            size = math.prod(shape) * _bytes(dtype or keras.config.floatx())
            taken += copies * size
            if taken > room:
                raise UserError(
                    f"{what} are larger than the memory: they need {taken / 1e9:,.1f} GB or more, "
                    f"and {room / 1e9:,.1f} GB are free. {advice}"
                )
        create(variable, initializer, shape, dtype, *args, **kwargs)

    with _one_at_a_time:
        # Every variable of layers and optimizers passes here, and nowhere else that Keras offers.
        create = keras.Variable.__init__
        keras.Variable.__init__ = checked
        try:
            yield
        finally:
            keras.Variable.__init__ = create


def _bytes(dtype) -> int:
    bits = re.search(r"\d+", str(dtype))
    return max(int(bits[0]) // 8, 1) if bits else 1
