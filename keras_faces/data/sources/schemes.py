"""What a source of faces is opened by: a name, a path, or `scheme:PATH`."""

import inspect
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from keras_faces.data.remote import is_url, without_query
from keras_faces.data.sources.arrays import ArraySource
from keras_faces.data.sources.base import Source, SourceLike
from keras_faces.data.sources.casia import CasiaSource
from keras_faces.data.sources.celeba import CelebaSource
from keras_faces.data.sources.ffhq import FfhqSource
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

# Files of many pictures, which patterns and URLs mean as well.
SHARDS = [kind for kind in SCHEMES.values() if issubclass(kind, ShardSource)]


ONE_OF = (
    "A source is a folder of pictures, a zip, tar, Parquet, .npy or .npz file of pictures, one of: "
    f"{', '.join(DATASETS)}, or scheme:PATH with one of: {', '.join(SCHEMES)}."
)


def open_source(source: SourceLike | Source) -> Source:
    """Open a source of faces by its name or path, or several as one.

    Args:
        source: A key of `DATASETS`; `scheme:PATH` with a key of `SCHEMES`, to which options may be
            added as in `video:clip.mp4?every=10`; a key of `SCHEMES` alone, for a data set in the
            folder that the environment variable `KERAS_FACES_DATA` names; a folder, or a zip, tar,
            Parquet, .npy or .npz file of pictures, or the URL of one; or a source that is open
            already; or a list of these, for all their pictures: see `SeveralSource`.

    Raises:
        UserError: If there is no such source, no such option, or no picture in it; or the list has
            one twice.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (list, tuple)):
        return _several(source)
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            "A source of faces is orl, a folder, a zip or scheme:PATH. "
            f"Received: {source!r}, of type {type(source).__name__}."
        )
    name = os.fspath(source)
    if addresses := addresses_of(name):
        return _several(addresses)
    if not name:  # which a path takes for the current folder
        raise UserError("The source of faces is empty. Give orl, a folder, a zip or scheme:PATH.")
    if name in DATASETS:
        return DATASETS[name]()
    if is_url(name):
        return _open_url(name)
    scheme, colon, rest = name.partition(":")
    if colon and scheme in SCHEMES:
        path, _, query = rest.partition("?")
        return _with_options(scheme, path, query)
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
            return FolderSource(path)
        except UserError as error:
            if error.__cause__ is None:  # it may be read, and has no picture
                for known in SHARDS:
                    if known.lie_in(path):
                        return known(path)
            raise
    if path.is_file():
        if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            return ZipSource(path)
        raise UserError(how_to_unpack(path) or f"{name!r} is a single file. {ONE_OF}")
    if path.exists():
        raise UserError(f"{name!r} is neither a folder nor a file. {ONE_OF}")
    if name in SCHEMES:
        return _with_options(name, "", "")
    if re.match(r"[A-Za-z_]{2,}:", name):
        raise unknown_name("kind of source", scheme, SCHEMES)
    if os.sep in name or "/" in name or path.suffix:
        raise UserError(f"There is no folder or file {name!r}. Check the path.")
    usual = [scheme for scheme, kind in SCHEMES.items() if hasattr(kind, "by_hand")]
    known = [*DATASETS, *usual]
    raise unknown_name("source of faces (nor a folder or zip file of that name)", name, known)


def _several(sources: Sequence[str | os.PathLike | Source]) -> Source:
    opened = [open_source(source) for source in sources]
    parts = [part for one in opened for part in getattr(one, "parts", (one,))]
    return parts[0] if len(parts) == 1 else SeveralSource(parts)


def _open_url(url: str) -> Source:
    end = without_query(url).lower()
    for kind in SHARDS:
        if end.endswith(kind.suffixes):
            return kind(url)
    if end.endswith(".zip"):
        return ZipSource(url)
    folder = UrlSource(url)
    for kind in () if folder.has_pictures else SHARDS:
        if any(name.lower().endswith(kind.suffixes) for name in folder.others):
            return kind(url)
    folder.names()
    return folder


def _with_options(scheme: str, path: str, query: str) -> Source:
    kind = SCHEMES[scheme]
    if is_url(path) and kind not in SHARDS:
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
    return kind(path, **options)


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
