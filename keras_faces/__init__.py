"""Face generation with Keras 3: five documents reproduced, trained, scored and exported.

Names are imported when they are first used, so that `import keras_faces` is quick.
"""

import importlib

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


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"keras_faces.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'keras_faces' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
