"""How good the faces are."""

from keras_faces.metrics.backbone import BackboneFeatures
from keras_faces.metrics.conditions import condition_accuracy
from keras_faces.metrics.detection import detected, face_detection_rate
from keras_faces.metrics.distribution import inception_score
from keras_faces.metrics.diversity import (
    distinct_nearest,
    effective_nearest,
    mean_pair_difference,
    nearest,
)
from keras_faces.metrics.evaluation import Evaluation, evaluate
from keras_faces.metrics.frechet import GaussianStatistics, frechet_distance, frechet_distance_of
from keras_faces.metrics.identity import (
    face_descriptors,
    identification,
    near_duplicates,
    nearest_training,
    pairs_picture,
)
from keras_faces.metrics.inception import InceptionFeatures
from keras_faces.metrics.kernel import kernel_distance
from keras_faces.metrics.matching import score_matches
from keras_faces.metrics.neighbours import density_coverage, precision_recall
from keras_faces.metrics.reconstruction import descriptor_distance, mean_squared_error, psnr, ssim
from keras_faces.metrics.scores import SCORES, score
from keras_faces.metrics.sharpness import laplacian_variance
from keras_faces.metrics.tables import compare
from keras_faces.metrics.training_data import training_data

__all__ = [
    "SCORES",
    "BackboneFeatures",
    "Evaluation",
    "GaussianStatistics",
    "InceptionFeatures",
    "compare",
    "condition_accuracy",
    "density_coverage",
    "descriptor_distance",
    "detected",
    "distinct_nearest",
    "effective_nearest",
    "evaluate",
    "face_descriptors",
    "face_detection_rate",
    "frechet_distance",
    "frechet_distance_of",
    "identification",
    "inception_score",
    "kernel_distance",
    "laplacian_variance",
    "mean_pair_difference",
    "mean_squared_error",
    "near_duplicates",
    "nearest",
    "nearest_training",
    "pairs_picture",
    "precision_recall",
    "psnr",
    "score",
    "score_matches",
    "ssim",
    "training_data",
]
