"""What a source of faces is opened by: a name, a path, or `scheme:PATH`."""

import inspect
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from keras_faces.data.photographs import OPTIONS, with_faces
from keras_faces.data.remote import is_url, without_query
from keras_faces.data.sources.arrays import ArraySource
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
from keras_faces.data.sources.parquet import ParquetSource
from keras_faces.data.sources.several import SeveralSource, addresses_of
from keras_faces.data.sources.shards import ShardSource, is_pattern
from keras_faces.data.sources.tars import TarSource
from keras_faces.data.sources.tfds import TfdsSource
from keras_faces.data.sources.urls import UrlSource
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
    "arrays": ArraySource,
    "tar": TarSource,
    "parquet": ParquetSource,
}

FOLDERS = (FolderSource, ZipSource, UrlSource)

# Files of many pictures, which patterns and URLs mean as well.
SHARDS = [kind for kind in SCHEMES.values() if issubclass(kind, ShardSource)]


ONE_OF = (
    "A source is a folder of pictures, a zip, tar, Parquet, .npy or .npz file of pictures, one of: "
    f"{', '.join(DATASETS)}, or scheme:PATH with one of: {', '.join(SCHEMES)}."
)


def open_source(
    source: SourceLike | Source,
    people: str | None = None,
    faces: str | None = None,
    per_photo: str | None = None,
) -> Source:
    """Open a source of faces by its name or path, or several as one.

    Args:
        source: A key of `DATASETS`; `scheme:PATH` with a key of `SCHEMES`, to which options may be
            added as in `video:clip.mp4?every=10`; a key of `SCHEMES` alone, for a data set in the
            folder that the environment variable `KERAS_FACES_DATA` names; a folder, or a zip, tar,
            Parquet, .npy or .npz file of pictures, or the URL of one; or a source that is open
            already; or a list of these, for all their pictures: see `SeveralSource`. To each the
            options `faces`, `per_photo`, `min_face`, `max_turn` and `min_sharpness` may be added,
            as in `photos?faces=aligned&min_face=80`.
        people: What the folders in a folder or a zip file are: `"folders"`, each is a person, who
            is held out whole; `"classes"`, labels, whose pictures are held out; `"none"`, nothing.
            None decides by their number, sizes and names, and says so in `source.remarks()`.
        faces: How faces are taken from photographs: `"as-is"`, each picture is a face; `"found"`,
            left upright; or `"aligned"`, turned, scaled and placed by their eyes as CelebA's
            aligned faces are. None takes them as the source's own options say.
        per_photo: Which faces of a photograph: `"all"` or the `"largest"`.

    Raises:
        UserError: If there is no such source, no such option, or no picture in it; or the list has
            one twice.
    """
    opened = _opened(source, {} if people is None else {"people": people}, faces, per_photo)
    if people is None:
        return opened
    parts = [getattr(part, "source", part) for part in getattr(opened, "parts", (opened,))]
    folders = [part for part in parts if type(part) in FOLDERS]  # of no data set
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
    told from people, and only such are recorded that way. Faces are taken as they were.

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
    address, taken = _faces_options(address)
    place = address
    if moved_to is not None:
        place, own = _faces_options(os.fspath(places[0]))
        taken = own or taken
    return _with_query(_folders_as_recorded(address, place, moved_to is not None), taken)


def _folders_as_recorded(address: str, place: str, moved: bool) -> str:
    scheme, colon, rest = address.partition(":")
    folders = colon and SCHEMES.get(scheme) in (FolderSource, ZipSource)
    if (folders and not moved) or (not folders and (colon and scheme in SCHEMES)):
        return place
    path = Path(place).expanduser()
    if address in DATASETS or not path.exists():
        return place
    query = rest.rpartition("?")[2] if folders else urlencode(EACH_FOLDER)
    return f"{'folder' if path.is_dir() else 'zip'}:{place}?{query}"


def _with_query(place: str, options: dict[str, str]) -> str:
    query = urlencode(options)
    return f"{place}{'&' if '?' in place else '?'}{query}" if query else place


def _faces_options(name: str) -> tuple[str, dict[str, str]]:
    """Return the name of a source, and the options in it that say how faces are taken."""
    if os.path.lexists(name):
        return name, {}
    address, mark, query = name.rpartition("?")
    if not mark:
        return name, {}
    own, options = [], {}
    for part in query.split("&"):
        option, _, value = part.partition("=")
        if option in OPTIONS:
            options[option] = value
        else:
            own.append(part)
    return address + ("?" + "&".join(own) if own else ""), options


def _opened(
    source: SourceLike | Source, how: dict[str, str], faces: str | None, per_photo: str | None
) -> Source:
    listed = source if isinstance(source, (list, tuple)) else None
    if isinstance(source, (str, os.PathLike)):
        listed = addresses_of(os.fspath(source)) or None
    if listed is not None:
        return _several([_opened(one, how, faces, per_photo) for one in listed])
    taken = {"faces": faces, "per_photo": per_photo}
    taken = {name: value for name, value in taken.items() if value is not None}
    if isinstance(source, (str, os.PathLike)):
        source, options = _faces_options(os.fspath(source))
        taken = {**options, **taken}
    return with_faces(_opened_alone(source, how), **taken)


def _opened_alone(source: object, how: dict[str, str]) -> Source:
    if isinstance(source, Source):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            "A source of faces is orl, a folder, a zip or scheme:PATH. "
            f"Received: {source!r}, of type {type(source).__name__}."
        )
    name = os.fspath(source)
    if not name:  # which a path takes for the current folder
        raise UserError("The source of faces is empty. Give orl, a folder, a zip or scheme:PATH.")
    if name in DATASETS:
        return DATASETS[name]()
    if is_url(name):
        return _open_url(name, how)
    scheme, colon, rest = name.partition(":")
    if colon and scheme in SCHEMES:
        path, query = rest, ""
        if "?" in rest:
            path, _, query = rest.rpartition("?")
        return _with_options(scheme, path, query, how)
    if is_pattern(name):
        for known in SHARDS:
            if name.lower().endswith(known.suffixes):
                return known(name)
    path = Path(name).expanduser()
    for known in SCHEMES.values():
        if path.exists() and known.recognises(path):
            return known(path)
    if path.is_dir():
        try:
            return FolderSource(path, **how)
        except UserError as error:
            if error.__cause__ is None:  # it may be read, and has no picture
                for known in SHARDS:
                    if known.lie_in(path):
                        return known(path)
            raise
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


def _several(opened: Sequence[Source]) -> Source:
    parts = [part for one in opened for part in getattr(one, "parts", (one,))]
    return parts[0] if len(parts) == 1 else SeveralSource(parts)


def _open_url(url: str, how: dict[str, str]) -> Source:
    end = without_query(url).lower()
    for kind in SHARDS:
        if end.endswith(kind.suffixes):
            return kind(url)
    if end.endswith(".zip"):
        return ZipSource(url, **how)
    folder = UrlSource(url, **how)
    for kind in () if folder.has_pictures else SHARDS:
        if any(name.lower().endswith(kind.suffixes) for name in folder.others):
            return kind(url)
    folder.names()
    return folder


def _with_options(scheme: str, path: str, query: str, how: dict[str, str]) -> Source:
    kind = SCHEMES[scheme]
    if is_url(path) and kind is FolderSource:
        kind = UrlSource
    if is_url(path) and kind not in (*SHARDS, UrlSource, ZipSource):
        raise UserError(
            f"{scheme}: reads what lies on this machine. Received: {path!r}. Copy it here first; "
            f"or give the URL without {scheme}:, as a folder or a zip, tar, Parquet, .npy or .npz "
            "file of pictures."
        )
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
