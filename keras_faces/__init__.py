"""Face generation with Keras 3: five documents reproduced, trained, scored and exported.

Names are imported when they are first used, so that `import keras_faces` is quick.
"""

from keras_faces.lazy import lazy

__version__ = "0.3.0"

_MODULES = (
    "callbacks",
    "checkpoints",
    "data",
    "export",
    "latent",
    "metrics",
    "models",
    "pictures",
    "recipes",
    "reports",
    "runs",
    "training",
)
_NAMES = {
    "UserError": "keras_faces.errors",
    "prepare_process": "keras_faces.process",
    "create_model": "keras_faces.models",
    "list_datasets": "keras_faces.data",
    "list_models": "keras_faces.models",
    "list_recipes": "keras_faces.recipes",
    "list_reports": "keras_faces.reports",
    "load_model": "keras_faces.runs",
    "reproduce": "keras_faces.reports",
    "resume": "keras_faces.session",
    "train": "keras_faces.session",
}

__all__ = [*_MODULES, *_NAMES]

__getattr__, __dir__ = lazy(__name__, _MODULES, _NAMES)
