"""What the published data sets have in common: a layout, annotation files, a page to get them."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_faces.data.names import file_name, natural
from keras_faces.data.sources.base import Entry, Source
from keras_faces.data.sources.folder import FolderSource
from keras_faces.data.sources.layouts import open_container
from keras_faces.data.sources.published import Annotation, Published, compare
from keras_faces.data.sources.zipped import ZipSource
from keras_faces.errors import UserError, unknown_name
from keras_faces.screen import visible

# What lies beside the pictures of a published data set and says something of them.
NOTES = (".txt", ".csv", ".tsv", ".json", ".lst", ".md", ".pdf", ".html")


class DatasetSource(Source):
    """A published data set, in a folder or a zip file.

    Subclasses set `scheme` and `by_hand` and implement `list_entries`.

    Args:
        path: The folder or the zip file.
        labelled: `"yes"` lists only pictures that have attributes, `"no"` all of them.
        options: What else goes into the address.

    Attributes:
        scheme: What `open_source` takes before the path.
        by_hand: How to get the data set, for the user who does not have it.
        published: Files of it of which a size or a checksum is published.
        container: The pictures, as plain files of a folder or a zip file.
    """

    scheme: str
    by_hand: str
    published: Sequence[Published] = ()

    def __init__(self, path: str | os.PathLike, labelled: str = "no", **options: str):
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        self.title = str(path)
        self.labelled = one_of("labelled", labelled, ("no", "yes"))
        if labelled != "no":
            options["labelled"] = labelled
        query = "&".join(f"{option}={value}" for option, value in options.items())
        self.address = f"{self.scheme}:{self.path}" + (query and f"?{query}")
        try:
            self.container = self.open_container()
        except UserError as error:
            lines = self._archives_of_another_size()
            if not lines:
                raise
            raise UserError("\n".join([str(error), *lines])) from error

    @functools.cached_property
    def files(self) -> list[Entry]:
        """The pictures as they lie in the container, with the folders' names for people."""
        return self.container.entries()

    def open_container(self) -> FolderSource | ZipSource:
        """Open the folder or the zip file that holds the pictures."""
        return open_container(self.path, self.by_hand)

    def list_entries(self) -> list[Entry]:
        """List all pictures of the data set."""
        raise NotImplementedError

    def annotations(self) -> Iterable[Annotation]:
        """Return the annotation files that are there."""
        return ()

    def folders_beside(self) -> Iterable[Path]:
        """Return folders outside of the container where annotation files may lie."""
        return (self.path.parent,) if self.path.is_file() else ()

    def annotation(self, *names: str) -> Annotation | None:
        """Return the annotation file of one of these names, the first that is there, or None."""
        wanted = [name.lower() for name in names]
        inside = [name for name in self.container.others if file_name(name).lower() in wanted]
        if inside:
            name = min(
                inside, key=lambda n: (wanted.index(file_name(n).lower()), n.count("/"), natural(n))
            )
            path = self.container.file(name)
            return Annotation(
                visible(path or f"{name} in {self.container.title!r}"), self.container, name
            )
        for folder in self.folders_beside():
            for name in names:
                if os.path.lexists(folder / name) and not (folder / name).is_dir():
                    return Annotation(visible(str(folder / name)), None, str(folder / name))
        return None

    @functools.cached_property
    def _entries(self) -> list[Entry]:
        entries = self.list_entries()
        if self.labelled == "yes":
            attributes = self.attributes()
            if attributes is None:
                raise UserError(
                    f"labelled=yes needs attributes, and {self.title!r} has none: "
                    f"{self.attributes_hint}"
                )
            entries = [entry for entry in entries if entry.name in attributes.rows]
        return entries

    def entries(self) -> list[Entry]:
        return self._entries

    def read(self, name: str) -> bytes:
        return self.container.read(name)

    def file(self, name: str) -> str | None:
        return self.container.file(name)

    def passed_over(self) -> list[str]:
        notes = (*NOTES, *(Path(file.name).suffix for file in self.published))
        return [name for name in self.container.passed_over() if not name.endswith(notes)]

    def compare_with_published(self) -> list[str]:
        lines = []
        for file in self.published:
            copies = self._copies(file)
            for copy in copies:
                title = file_name(file.name) if len(copies) == 1 else copy.title
                lines.append(f"published: {title}: {compare(file, copy)}")
        return lines

    def _copies(self, file: Published) -> list[Annotation]:
        """Return the copies of a published file beside the pictures and among them."""
        wanted = file_name(file.name).lower()
        inside = [name for name in self.container.others if file_name(name).lower() == wanted]
        files = filter(None, map(self.container.file, inside))
        paths = [self.path, self.container.path, *map(Path, files)]
        top = self.path if self.path.is_dir() else self.path.parent
        paths += [
            folder / name
            for folder in (top, *self.folders_beside())
            for name in (file_name(file.name), file.name)
        ]
        copies = {}
        for path in paths:
            if path.name.lower() == wanted and os.path.isfile(path):
                status = path.stat()  # one file may have several paths
                copies.setdefault((status.st_dev, status.st_ino), str(path))
        return [Annotation(visible(path), None, path) for path in copies.values()] + [
            Annotation(f"{name} in {self.container.title!r}", self.container, name)
            for name in inside
            if self.container.file(name) is None
        ]

    def _archives_of_another_size(self) -> list[str]:
        """Return lines on archives that explain why a copy cannot be opened."""
        lines = []
        for file in self.published:
            name = file_name(file.name)
            for path in (self.path, self.path / name, self.path / file.name):
                if path.name == name and path.suffix in (".zip", ".tgz") and path.is_file():
                    what = file.compare_size(path.stat().st_size)
                    lines += [f"published: {name}: {what}"] if what else []
        return lines

    def make_listing(self) -> str:
        stamp = [self.address, self.container.listing(), *(a.stamp() for a in self.annotations())]
        return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()


def one_of(option: str, given: str, known: Sequence[str]) -> str:
    """Return the value of an option.

    Raises:
        UserError: If it is none of those known.
    """
    if given not in known:
        raise unknown_name(f"value of {option}", given, known)
    return given
