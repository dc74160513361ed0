"""A trained model with its faces, the same for commands, page, reports and notebooks."""

from keras_faces.trained.model import TrainedModel
from keras_faces.trained.pictures import FramedFace

__all__ = ["FramedFace", "TrainedModel"]
