"""Builders for TensorFlow Datasets of what it lacks; importing this makes `tfds.load` know them.

>>> import keras_faces.data.builders
>>> import tensorflow_datasets as tfds
>>> faces = tfds.load("orl_faces", split="train")
"""

from keras_faces.data.builders.casia import CasiaWebface
from keras_faces.data.builders.orl import OrlFaces

BUILDERS = {builder.name: builder for builder in (CasiaWebface, OrlFaces)}

__all__ = ["BUILDERS", "CasiaWebface", "OrlFaces"]
