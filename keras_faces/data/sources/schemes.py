"""What a source of faces is opened by: a name, a path, or `scheme:PATH`."""

import inspect
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from keras_faces.data.sources.base import Source, SourceLike, each
from keras_faces.data.sources.casia import CasiaSource
from keras_faces.data.sources.celeba import CelebaSource
from keras_faces.data.sources.ffhq import FfhqSource
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.layouts import how_to_unpack
from keras_faces.data.sources.lfw import LfwSource
from keras_faces.data.sources.orl import OrlSource
from keras_faces.data.sources.pairs import PairsSource
from keras_faces.data.sources.several import SeveralSource, addresses_of
from keras_faces.data.sources.tfds import TfdsSource
from keras_faces.data.sources.utkface import UtkFaceSource
from keras_faces.data.sources.video import VideoSource
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.errors import UserError, unknown_name

# Names that need no path.
DATASETS: dict[str, type[Source]] = {"orl": OrlSource}

# What `scheme:PATH` opens. Paths without a scheme go to the first class that recognises them.
SCHEMES: dict[str, type[Source]] = {
    "folder": FolderSource,
    "zip": ZipSource,
    "celeba": CelebaSource,
    "lfw": LfwSource,
    "utkface": UtkFaceSource,
    "ffhq": FfhqSource,
    "casia": CasiaSource,
    "pairs": PairsSource,
    "tfds": TfdsSource,
    "video": VideoSource,
}


ONE_OF = (
    "A source is a folder of pictures, a zip file of pictures, one of: "
    f"{', '.join(DATASETS)}, or scheme:PATH with one of: {', '.join(SCHEMES)}."
)


def open_source(source: SourceLike | Source, people: str | None = None) -> Source:
    """Open a source of faces by its name or path, or several as one.

    Args:
        source: A key of `DATASETS`; `scheme:PATH` with a key of `SCHEMES`, to which options may be
            added as in `video:clip.mp4?every=10`; a key of `SCHEMES` alone, for a data set in the
            folder that the environment variable `KERAS_FACES_DATA` names; a folder of pictures; or
            a zip file of pictures; or a source that is open already; or a list of these, for all
            their pictures: see `SeveralSource`.
        people: What the folders in a folder or a zip file are: `"folders"`, each is a person, who
            is held out whole; `"classes"`, labels, whose pictures are held out; `"none"`, nothing.
            None decides by their number, sizes and names, and says so in `source.remarks()`.

    Raises:
        UserError: If there is no such source, no such option, or no picture in it; or the list has
            one twice.
    """
    opened = _opened(source, {} if people is None else {"people": people})
    if people is None:
        return opened
    parts = getattr(opened, "parts", (opened,))
    folders = [part for part in parts if type(part) in (FolderSource, ZipSource)]  # of no data set
    if not folders:
        raise UserError(
            f"people says what the folders in a folder or zip of pictures are, and "
            f"{opened.title!r} knows its people by itself. Leave it out."
        )
    if all(part.reading.people != people for part in folders):
        raise UserError(
            f"people={people!r} needs two folders or more in {folders[0].title!r}, and every "
            "picture in one of them. Put each there, or leave people out."
        )
    return opened


def as_recorded(address: str, moved_to: SourceLike | None = None) -> SourceLike:
    """Return what opens a run's source again, with its folders taken for what they were.

    In a path alone every folder is a person: so all were recorded before splits and classes were
    told from people, and only such are recorded that way.

    Args:
        address: What the run recorded.
        moved_to: Where the pictures lie now.
    """
    places = [None] if moved_to is None else each(moved_to)
    if addresses := addresses_of(address):
        if len(places) != len(addresses) and moved_to is not None:
            return moved_to
        return [
            as_recorded(*both) for both in zip(addresses, places * (len(addresses) // len(places)))
        ]
    if len(places) != 1:
        return moved_to
    scheme, colon, rest = address.partition(":")
    folders = colon and SCHEMES.get(scheme) in (FolderSource, ZipSource)
    place = address if moved_to is None else os.fspath(places[0])
    if (folders and moved_to is None) or (not folders and (colon and scheme in SCHEMES)):
        return place
    path = Path(place).expanduser()
    if address in DATASETS or not path.exists():
        return place
    query = rest.rpartition("?")[2] if folders else urlencode(EACH_FOLDER)
    return f"{'folder' if path.is_dir() else 'zip'}:{place}?{query}"


def _opened(source: SourceLike | Source, how: dict[str, str]) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, (list, tuple)):
        return _several(source, how)
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            "A source of faces is orl, a folder, a zip or scheme:PATH. "
            f"Received: {source!r}, of type {type(source).__name__}."
        )
    name = os.fspath(source)
    if addresses := addresses_of(name):
        return _several(addresses, how)
    if not name:  # which a path takes for the current folder
        raise UserError("The source of faces is empty. Give orl, a folder, a zip or scheme:PATH.")
    if name in DATASETS:
        return DATASETS[name]()
    scheme, colon, rest = name.partition(":")
    if colon and scheme in SCHEMES:
        path, query = rest, ""
        if "?" in rest:
            path, _, query = rest.rpartition("?")
        return _with_options(scheme, path, query, how)
    path = Path(name).expanduser()
    for known in SCHEMES.values():
        if path.exists() and known.recognises(path):
            return known(path)
    if path.is_dir():
        return FolderSource(path, **how)
    if path.is_file():
        if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            return ZipSource(path, **how)
        raise UserError(how_to_unpack(path) or f"{name!r} is a single file. {ONE_OF}")
    if path.exists():
        raise UserError(f"{name!r} is neither a folder nor a file. {ONE_OF}")
    if name in SCHEMES:
        return _with_options(name, "", "", how)
    if re.match(r"[A-Za-z_]{2,}:", name):
        raise unknown_name("kind of source", scheme, SCHEMES)
    if os.sep in name or "/" in name or path.suffix:
        raise UserError(f"There is no folder or file {name!r}. Check the path.")
    usual = [scheme for scheme, kind in SCHEMES.items() if hasattr(kind, "by_hand")]
    known = [*DATASETS, *usual]
    raise unknown_name("source of faces (nor a folder or zip file of that name)", name, known)


def _several(sources: Sequence[str | os.PathLike | Source], how: dict[str, str]) -> Source:
    opened = [_opened(source, how) for source in sources]
    parts = [part for one in opened for part in getattr(one, "parts", (one,))]
    return parts[0] if len(parts) == 1 else SeveralSource(parts)


def _with_options(scheme: str, path: str, query: str, how: dict[str, str]) -> Source:
    kind = SCHEMES[scheme]
    if not path:
        path = _usual_path(scheme)
    known = list(inspect.signature(kind).parameters)[1:]
    options = {}
    for part in filter(None, query.split("&")):
        option, equals, value = part.partition("=")
        if not equals or option not in known:
            raise UserError(
                f"{scheme}: does not know {part!r}. Options are given as "
                f"{scheme}:PATH?option=value; known: {', '.join(known) or 'none'}."
            )
        options[option] = value
    return kind(path, **{**options, **{name: how[name] for name in how if name in known}})


def _usual_path(scheme: str) -> Path:
    by_hand = getattr(SCHEMES[scheme], "by_hand", None)
    if by_hand is None:
        raise UserError(f"{scheme!r} needs a path: give {scheme}:PATH.")
    folder = os.environ.get("KERAS_FACES_DATA")
    if not folder:
        raise UserError(
            f"{scheme!r} needs a path, {scheme}:PATH, or KERAS_FACES_DATA set to the folder that "
            f"holds {scheme}/.\n\n{by_hand}"
        )
    path = Path(folder).expanduser() / scheme
    packed = path.with_name(f"{scheme}.zip")
    if not path.exists() and not packed.exists():
        raise UserError(
            f"There is no folder {str(path)!r}, where KERAS_FACES_DATA={folder} says that "
            f"{scheme!r} is.\n\n{by_hand}"
        )
    return path if path.exists() else packed
