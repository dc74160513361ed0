"""What reaches a terminal: text whose names, of files or people, cannot steer it or break off."""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable

# What steers a terminal or shows text in another order than it is in: controls, ends of lines,
# marks and overrides of direction, what has no width. Joiners stay: scripts and emoji need them.
_ENDS = "\t\n"
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_IN_NAMES = re.compile(f"[{_ENDS}{_UNSEEN}]")
_IN_TEXT = re.compile(f"[{_UNSEEN}\ud800-\udfff]")
_IN_BARS = re.compile(f"[{_ENDS}{_UNSEEN}\ud800-\udfff]")
_MOVES = re.compile(r"(?:\n|\r|\x1b\[A)*")  # all that tqdm does besides writing lines


def visible(name: str) -> str:
    r"""Return a name with what cannot be seen in it as escapes, such as `\x1b` or `\n`.

    Bytes that are no UTF-8, which Python holds as surrogates, stay: they are needed to open a file.
    """
    return name if name.isprintable() else _IN_NAMES.sub(_escape, name)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, which a stranger's file may have written."""
    lines = str(error).splitlines() or [type(error).__name__]
    return visible(lines[0])[:500]


def _escape(match: re.Match) -> str:
    return match[0].encode("unicode_escape").decode()


def shell_line(words: Iterable[str]) -> str:
    """Return words as this machine's shell takes them, for a user to copy."""
    if os.name != "nt":
        return shlex.join(words)
    plain = re.compile(r"[\w\\/.:~+-]+")
    return " ".join(word if plain.fullmatch(word) else f'"{word}"' for word in words)


def quoted(path: str | os.PathLike) -> str:
    """Return a path as a word of a command: one that begins with `-` is no flag."""
    path = os.fspath(path)
    return shell_line([os.path.join(os.curdir, path) if path.startswith("-") else path])


class Screen:
    """A stream of text that shows as escapes what would steer a terminal.

    Args:
        stream: The stream behind it.
    """

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; progress bars may move the cursor to the beginning of their line."""
        if not text.isprintable() and not _MOVES.fullmatch(text):
            if text.startswith("\r"):
                text = "\r" + _IN_BARS.sub(_escape, text[1:])
            else:
                text = _IN_TEXT.sub(_escape, text)
        self._stream.write(text)
        return len(text)

    def writelines(self, lines) -> None:
        """Write texts, one after the other."""
        for line in lines:
            self.write(line)


def guard_screen() -> None:
    """Make all that this process prints harmless, and printable whatever the console's encoding."""
    os.environ.setdefault("PYTHON_COLORS", "0")  # of stacks, which Python 3.13 colours
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Screen):
            continue
        with contextlib.suppress(AttributeError):  # a stream of another kind
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Screen(stream))
