"""How good the faces are."""

from keras_faces.metrics.conditions import condition_accuracy
from keras_faces.metrics.detection import detected, face_detection_rate
from keras_faces.metrics.diversity import distinct_nearest, mean_pair_difference, nearest
from keras_faces.metrics.scores import SCORES, score
from keras_faces.metrics.sharpness import laplacian_variance

__all__ = [
    "SCORES",
    "condition_accuracy",
    "detected",
    "distinct_nearest",
    "face_detection_rate",
    "laplacian_variance",
    "mean_pair_difference",
    "nearest",
    "score",
]
