"""Pictures below a URL, each a file of its own."""

from keras_faces.data.decode import MAX_FILE_BYTES, BadPicture
from keras_faces.data.names import hidden, in_natural_order, is_picture
from keras_faces.data.remote import digest, file_system, list_files, persistent, reason, stamp
from keras_faces.data.sources.base import no_picture
from keras_faces.data.sources.files import PictureFiles
from keras_faces.errors import UserError
from keras_faces.screen import visible


class UrlSource(PictureFiles):
    """Pictures below a URL: flat, one folder a person, or nested deeper, as in a folder.

    They are fetched while they are decoded, several at the same time, and nothing else is stored.

    Args:
        url: The URL of a folder that fsspec can list. On the web that needs a page of links.
        people: What folders are, as for `PictureFiles`.
        splits: Whether folders may be splits, as for `PictureFiles`.

    Attributes:
        others: Names of the files that are no pictures.

    Raises:
        UserError: If it cannot be listed.
    """

    kind = "folder"
    sequential = True

    def __init__(self, url: str, people: str | None = None, splits: str | None = None):
        super().__init__(url, people, splits)
        self._fs, self._root = file_system(url)
        found = list_files(self._fs, self._root, url)
        top = self._root.rstrip("/")
        self._files = {}
        for path, info in found.items():
            name = path.removeprefix(top).lstrip("/")
            if name and not any(map(hidden, name.split("/"))):
                self._files[visible(name)] = (path, info)
        self._names = in_natural_order(list(filter(is_picture, self._files)))
        self.others = [name for name in self._files if not is_picture(name)]

    @property
    def has_pictures(self) -> bool:
        """Whether there is any."""
        return bool(self._names)

    def names(self, in_order: bool = True) -> list[str]:
        """Return the pictures' paths below the URL.

        Raises:
            UserError: If there are none.
        """
        if not self._names:
            needs = ""
            if self.path.startswith("http"):
                needs = (
                    " A folder on the web needs a page that lists its files. Without one give a "
                    "zip, tar, Parquet, .npy or .npz file of pictures."
                )
            raise UserError(no_picture(self.title, self.others) + needs)
        return self._names

    def read(self, name: str) -> bytes:
        path, info = self._files[name]
        if (size := info.get("size") or 0) > MAX_FILE_BYTES:
            raise BadPicture(f"the file has {size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
        try:
            return persistent(lambda: self._fs.cat_file(path))
        except Exception as error:  # each file system raises its own
            raise BadPicture(f"cannot be read ({reason(error)})") from error

    def check_still_there(self) -> None:
        try:
            self._fs.invalidate_cache()
            self._fs.info(self._root)
        except Exception as error:  # each file system raises its own
            raise UserError(
                f"{self.title!r} cannot be read any more: {reason(error)}. What was read so far is "
                "kept: run the same again when it is back."
            ) from error

    def make_listing(self) -> str:
        return digest(
            self.path,
            self.listed_options,
            *(f"{name} {stamp(info)}" for name, (_, info) in sorted(self._files.items())),
        )
