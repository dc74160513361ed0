"""The models, one document's system a file.

Names are listed in `__init__.pyi` and imported when they are first used: which models there are,
and what they are made of, is known without Keras.
"""

import lazy_loader

from keras_faces.models.registry import MODELS

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    found = _load(name)
    if isinstance(found, type):
        list(MODELS.values())  # Keras finds only classes that are imported in the files it loads
    return found
