"""Models on the Hugging Face Hub: fetched by address, and pushed."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from keras_faces import optional
from keras_faces.errors import UserError

ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
FILES = ("model.keras", "config.json", "scores.json", "README.md")
HOW = "Give hf://USER/MODEL, or hf://USER/MODEL@REVISION."


def is_address(model: str | os.PathLike) -> bool:
    """Return whether a user's word for a model is an address of the Hub."""
    return str(model).startswith("hf://")


def fetch(address: str) -> Path:
    """Return the folder of a model on the Hub, fetched once and kept in its cache.

    Args:
        address: `hf://USER/MODEL`, or with `@` and a branch, tag or commit behind it.

    Raises:
        UserError: If it cannot be fetched, or is not a model of keras_faces.
    """
    repository, revision = _parsed(address)
    hub = optional.load("huggingface_hub", f"{address!r}, a model on the Hugging Face Hub,")
    with _told(f"fetch {address!r}"):
        # Of somebody else's repository, only what a model of ours is made of.
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=list(FILES))
    if not Path(folder, FILES[0]).is_file():
        raise UserError(
            f"{address!r} holds no {FILES[0]}, so it is not a model of keras_faces. One is pushed "
            "by: keras-faces export RUN --push hf://USER/MODEL"
        )
    return Path(folder)


def push(folder: Path, address: str) -> str:
    """Send the files of an export to a repository on the Hub, which is made where it is new.

    Who may write there is known by the token of `hf auth login`, or by `HF_TOKEN`.

    Args:
        folder: The export.
        address: `hf://USER/MODEL`, or with `@` and a branch behind it.

    Returns:
        The address of the repository for browsers.

    Raises:
        UserError: If it cannot be reached or written.
    """
    repository, revision = _parsed(address)
    hub = optional.load("huggingface_hub", "Pushing to the Hugging Face Hub")
    with _told(f"push to {address!r}"):
        made = hub.HfApi().create_repo(repository, exist_ok=True)
        hub.HfApi().upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message="Export of keras_faces",
        )
    return str(made)


def require_address(address: str) -> None:
    """Raise a `UserError` where an address is none, or the library is missing."""
    _parsed(address)
    optional.require(["huggingface_hub"], "Pushing to the Hugging Face Hub")


def _parsed(address: str) -> tuple[str, str | None]:
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise UserError(f"{address!r} is no model on the Hugging Face Hub. {HOW}")
    return found[1], found[2]


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say in a line why the Hub did not do what was asked for, in a `with` block."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # it raises its own, those of its HTTP client, and OSErrors
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = {
            401: "There is no such model, or you may not see it: log in with 'hf auth login'.",
            403: "You may not write there: log in with 'hf auth login', with a token that may.",
            404: f"There is no such model or revision. {HOW}",
        }.get(status, "Is the network there?")
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"Cannot {what}: {reason or type(error).__name__}. {hint}") from error
