"""CASIA-WebFace for TensorFlow Datasets, on one machine or, through Apache Beam, on many."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import tensorflow_datasets as tfds

from keras_faces.data.decode import BadPicture
from keras_faces.data.sources.casia import CREDIT, CasiaSource
from keras_faces.optional import load


class CasiaWebface(tfds.core.GeneratorBasedBuilder):
    """CASIA-WebFace from one's own copy in TFDS's folder of manual downloads.

    The configuration `casia_webface/beam` gives the same examples through Apache Beam.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Pictures as their files, with people."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="default", description="Prepared by one process."),
        tfds.core.BuilderConfig(name="beam", description="Prepared through Apache Beam."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put into manual_dir (where none is given: downloads/manual in the folder of data sets) "
        "CASIA-WebFace as a folder of people's folders, as a zip file of it, or as insightface's "
        "train.rec with train.idx. Its licence allows research only."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="About half a million faces of 10,575 people, collected from the web.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "identity": tfds.features.Text(),
                    "name": tfds.features.Text(),
                }
            ),
            homepage="https://arxiv.org/abs/1411.7923",
            citation=(
                "@article{yi2014, title={Learning Face Representation from Scratch}, author={Yi, "
                "Dong and Lei, Zhen and Liao, Shengcai and Li, Stan Z.}, journal={arXiv preprint "
                "arXiv:1411.7923}, year={2014}}"
            ),
            license=CREDIT,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(os.fspath(dl_manager.manual_dir))}

    def _generate_examples(self, folder: str):
        path = find_casia(folder)
        count = len(opened(path).entries())
        if self.builder_config.name == "beam":
            beam = load("apache_beam", "casia_webface/beam", "prepare casia_webface without it")
            return beam.Create(range(count)) | beam.FlatMap(examples, path)
        return (example for number in range(count) for example in examples(number, path))


def examples(number: int, path: str) -> Iterator[tuple[str, dict]]:
    """Yield the example of entry `number`, or none where its picture cannot be read."""
    source = opened(path)
    entry = source.entries()[number]
    try:
        data = source.read(entry.name)
    except BadPicture:
        return
    yield entry.name, {"image": data, "identity": entry.identity or "", "name": entry.name}


@lru_cache(maxsize=2)
def opened(path: str) -> CasiaSource:
    """Return the source of a path, opened once in each process."""
    return CasiaSource(path)


def find_casia(folder: str) -> str:
    """Return what CASIA-WebFace is in a folder of manual downloads: that itself, or a zip in it."""
    path = Path(folder)
    zips = sorted(file for file in path.glob("*.zip") if "casia" in file.name.lower())
    if zips and not any(part.is_dir() for part in path.iterdir()):
        return os.fspath(zips[0])
    folders = sorted(part for part in path.iterdir() if part.is_dir())
    named = [part for part in folders if "casia" in part.name.lower()]
    return os.fspath(named[0] if named else path)
