"""How faces come in: source, crop, cache, tf.data.

Names are listed in `__init__.pyi` and imported when they are first used: processes that decode
pictures need few of them.
"""

import lazy_loader

from keras_faces.files import cache_folder
from keras_faces.pixels import to_float, to_uint8

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["cache_folder", "to_float", "to_uint8"]


def __dir__() -> list[str]:
    return __all__
