"""Pictures in a zip file."""

import contextlib
import copy
import functools
import hashlib
import json
import os
import re
import struct
import threading
import zipfile
from pathlib import Path
from typing import Any

from keras_faces.data.decode import HEAD_BYTES, MAX_FILE_BYTES, BadPicture, is_picture_file
from keras_faces.data.names import hidden, in_natural_order, is_picture, without_suffix
from keras_faces.data.remote import RangeReader, is_url
from keras_faces.data.sources.base import no_picture
from keras_faces.data.sources.files import PictureFiles, Reading, read_folders
from keras_faces.errors import UserError
from keras_faces.files import cache_folder, open_regular, remembered, write_checked
from keras_faces.screen import quoted, visible

ENCRYPTED = 1  # of a member's flags
SHOWN = 50  # pictures in an outline
END_BYTES = 22 + 2**16  # of a zip file, with a comment of the greatest length


class ZipSource(PictureFiles):
    """Pictures in a zip file, read in place; nothing is ever unpacked to disk.

    Args:
        path: The zip file, or its URL. Names inside it are only names: `../` leads nowhere.
        people: What folders are, as for `PictureFiles`.
        splits: Whether folders may be splits, as for `PictureFiles`.
    """

    kind = "zip"
    credit = ""

    def __init__(
        self, path: str | os.PathLike, people: str | None = None, splits: str | None = None
    ):
        super().__init__(path, people, splits)
        self._threads = threading.local()
        self._contents: tuple[dict, list[str], list[str]] | None = None
        self._remote: RangeReader | None = None
        if is_url(path):
            self.sequential = True
            self._remote = RangeReader(self.title)
            self._first = self._archive()
            return
        try:
            os.close(open_regular(self.path))
        except OSError as error:
            raise UserError(f"Cannot read {self.title!r}: {error.strerror}.") from error
        if not zipfile.is_zipfile(self.path):
            self._archive()

    def _listed(self) -> tuple[dict[str, zipfile.ZipInfo], list[str], list[str]]:
        """Return all members by name, the pictures' names, and the names of the others."""
        if self._contents is None:  # reading the directory of 200,000 takes a second
            files: dict[str, zipfile.ZipInfo] = {}
            pictures: list[str] = []
            others: list[str] = []
            for info in self._archive().infolist():
                name = visible(info.filename.replace("\\", "/"))  # which some programs write
                passed_over = info.is_dir() or any(map(hidden, name.split("/")))
                if (passed_over or not is_picture(name) or name in files) and self._is_renamed(
                    info
                ):
                    name = f"{name} ({len(files)})"  # it may be a picture, which `read` refuses
                    pictures.append(name)
                elif passed_over:
                    continue
                elif name not in files:
                    picture = is_picture(name) or (without_suffix(name) and self._is_picture(info))
                    (pictures if picture else others).append(name)
                files[name] = info  # of several of one name the last, as zip programs have it
            if not pictures:
                raise UserError(no_picture(self.title, others))
            if all(files[name].flag_bits & ENCRYPTED for name in pictures):
                raise UserError(
                    f"{self.title!r} is encrypted: a password protects it. Unpack it by hand, and "
                    "give the folder that this makes."
                )
            self._contents = files, in_natural_order(pictures), others
        return self._contents

    def _is_renamed(self, info: zipfile.ZipInfo) -> bool:
        """Return whether a member calls itself another name than the directory, which is damaged.

        Where it was a picture it would be passed over in silence. What a Mac adds to each picture
        is as many as these, and not worth the time.
        """
        if info.filename.startswith("__MACOSX/") or (info.is_dir() and not info.compress_size):
            return False
        try:
            self._archive().open(info).close()
        except zipfile.BadZipFile:
            return True
        except Exception:  # encrypted, or of another method
            return False
        return False

    def _is_picture(self, info: zipfile.ZipInfo) -> bool:
        try:
            with self._archive().open(info) as file:
                return is_picture_file(file.read(HEAD_BYTES))
        except Exception:  # encrypted, damaged
            return False

    @property
    def others(self) -> list[str]:
        """Names of the members that are no pictures; `read` takes them too."""
        return self._listed()[2] if self._contents else self.outline()["others"]

    def outline(self) -> dict[str, Any]:
        """Return names of `folders`, of all `others`, of some `pictures`, and a `reading`.

        The reading is what the folders mean where nobody says so.

        It is remembered on disk for as long as the zip file stays the same: with 200,000 pictures,
        reading the names takes longer than the start of a training from its cache.
        """
        note = cache_folder() / "zips" / f"{self._file_listing}.json"
        if (known := remembered(note)) is not None and "reading" in (outline := json.loads(known)):
            return outline  # those of earlier versions have none
        files, pictures, others = self._listed()
        folders = {part for name in files for part in name.split("/")[:-1]}
        outline = {
            "folders": sorted(folders),
            "others": others,
            "pictures": pictures[:SHOWN],
            "reading": read_folders(pictures)._asdict(),
        }
        with contextlib.suppress(OSError):  # no room: then it is read again
            write_checked(note, json.dumps(outline).encode())
        return outline

    def _archive(self) -> zipfile.ZipFile:
        # A ZipFile has one read position, so each thread has its own.
        if not hasattr(self._threads, "archive"):
            if hasattr(self, "_first"):  # a directory that need not be fetched again
                self._threads.archive = copy.copy(self._first)
                self._threads.archive.fp = self._remote.stream()
                return self._threads.archive
            try:
                archive = zipfile.ZipFile(
                    self.path if self._remote is None else self._remote.stream()
                )
                self._check_count(len(archive.filelist))
            except Exception as error:  # a damaged directory raises nearly every type
                raise UserError(no_zip_file(self.path, self.title, error)) from error
            self._threads.archive = archive
        return self._threads.archive

    def _check_count(self, listed: int) -> None:
        """Compare the number of members with what the file's end says, which `zipfile` does not.

        Raises:
            BadZipFile: If they differ: a damaged length has hidden one behind another.
        """
        end = self._tail(END_BYTES)
        [stated] = struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)
        if stated != listed % 2**16 and stated != 2**16 - 1:  # which says that it is told elsewhere
            raise zipfile.BadZipFile(f"it lists {listed:,} files, its end says {stated:,}")

    def _tail(self, count: int) -> bytes:
        """Return the last bytes of the file."""
        if self._remote is not None:
            start = max(0, self._remote.size - count)
            return self._remote.whole(start, self._remote.size - start)
        with open(self.path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.path) - count))
            return file.read()

    def check_still_there(self) -> None:
        if self._remote is None:
            super().check_still_there()
        else:
            self._remote.check_still_there()

    def names(self, in_order: bool = True) -> list[str]:
        return self._listed()[1]

    @functools.cached_property
    def suggested(self) -> Reading:
        return Reading(**self.outline()["reading"])

    def read(self, name: str) -> bytes:
        info = self._listed()[0][name]
        if info.flag_bits & ENCRYPTED:
            raise BadPicture("it is encrypted: a password protects it")
        if info.file_size > MAX_FILE_BYTES:
            raise BadPicture(
                f"it would unpack to {info.file_size:,} bytes, the limit is {MAX_FILE_BYTES:,}"
            )
        try:
            # Reading stops at the declared size, so a lying header cannot unpack without end.
            with self._archive().open(info) as file:
                return file.read(MAX_FILE_BYTES)
        except UserError:
            raise
        except Exception as error:
            # Damaged, encrypted and exotic members raise zlib.error, BadZipFile, RuntimeError, ...
            raise BadPicture(f"cannot be unpacked ({error})") from error

    def make_listing(self) -> str:
        if not self.listed_options:
            return self._file_listing
        return hashlib.sha256(f"{self._file_listing}{self.listed_options}".encode()).hexdigest()

    @functools.cached_property
    def _file_listing(self) -> str:
        if self._remote is not None:
            digest = hashlib.sha256(self._remote.stamp().encode())
        else:
            status = self.path.stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
            digest = hashlib.sha256(os.fsencode(self.path.resolve()))
            digest.update(json.dumps(stamp).encode())
        digest.update(self._tail(1 << 20))  # the directory, which has every picture's checksum
        return digest.hexdigest()


def how_to_join(path: Path) -> str | None:
    """Return what to do with a part of a zip file that was split, or None."""
    if re.search(r"\.zip\.\d{3,}$", path.name, re.IGNORECASE):
        whole = path.stem
        command = f"cat {quoted(whole)}.* > {quoted(f'whole-{whole}')}"
    elif re.search(r"\.z\d{2,}$", path.name, re.IGNORECASE) or path.with_suffix(".z01").exists():
        whole = path.with_suffix(".zip").name
        command = f"zip -s 0 {quoted(whole)} --out {quoted(f'whole-{whole}')}"
    else:
        return None
    return (
        f"{str(path)!r} is a part of a zip file that was split. Join all parts in their folder: "
        f"{command} (and give whole-{whole})."
    )


def no_zip_file(path: Path, title: str, error: Exception) -> str:
    """Return why a file is no zip file, and what to do."""
    if (how := how_to_join(path)) is not None:
        return how
    try:
        with open(path, "rb") as file:
            start = file.read(512).lstrip().lower()
        size = f", which has {os.path.getsize(path):,} bytes"
    except OSError:
        start, size = b"", ""
    if start.startswith((b"<!doctype", b"<html")):
        return (
            f"{title!r} is a web page that was saved under that name, most likely the one that "
            "says that too many have downloaded the file, or that asks to confirm. Open the "
            "download's page in a browser, confirm there, and save the file itself."
        )
    return (
        f"Cannot read {title!r}{size}, as a zip file: {error}. If it was downloaded, look whether "
        "it is whole."
    )
