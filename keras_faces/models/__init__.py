"""The models, one document's system a file.

Names are listed in `__init__.pyi` and in `MODELS`, and imported when they are first used: which
models there are, and what they are made of, is known without Keras.
"""

import lazy_loader

from keras_faces.models.registry import MODELS

_load, _, _others = lazy_loader.attach_stub(__name__, __file__)
_of_classes = {model: name for name, model in MODELS.class_names().items()}
__all__ = [*_others, *_of_classes]


def __getattr__(name: str):
    return MODELS[_of_classes[name]] if name in _of_classes else _load(name)


def __dir__() -> list[str]:
    return __all__
