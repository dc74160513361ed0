"""The AT&T / ORL faces for TensorFlow Datasets."""

import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from keras_faces.data.sources.orl import OrlSource

ATTRIBUTES = ("glasses", "smiling", "beard", "woman")
PEOPLE = 40


class OrlFaces(tfds.core.GeneratorBasedBuilder):
    """400 photographs of 40 people, which come with the package: nothing is downloaded."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "All pictures, with people and four attributes."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The Database of Faces: 400 photographs of 40 people, 92x112, grey.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(112, 92, 1), encoding_format="png"),
                    "identity": tfds.features.ClassLabel(
                        names=[f"s{number}" for number in range(1, PEOPLE + 1)]
                    ),
                    "name": tfds.features.Text(),
                    "attributes": {name: np.bool_ for name in ATTRIBUTES},
                }
            ),
            supervised_keys=("image", "identity"),
            homepage="https://cam-orl.co.uk/facedatabase.html",
            citation=(
                "@inproceedings{samaria1994, title={Parameterisation of a stochastic model for "
                "human face identification}, author={Samaria, Ferdinando S. and Harter, Andy C.}, "
                "booktitle={IEEE Workshop on Applications of Computer Vision}, year={1994}}"
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict]]:
        source = OrlSource()
        known = source.attributes()
        for name, identity, _ in source.entries():
            with Image.open(io.BytesIO(source.read(name))) as image:
                pixels = np.asarray(image)[..., None]
            (row,) = known.table([name])
            values = dict(zip(known.names, row.astype(bool), strict=True))
            yield (
                name,
                {
                    "image": pixels,
                    "identity": identity,
                    "name": name,
                    "attributes": {key: values[key] for key in ATTRIBUTES},
                },
            )
