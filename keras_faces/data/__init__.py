"""How faces come in: source, crop, cache, tf.data.

Names are listed in `__init__.pyi` and imported when they are first used: processes that decode
pictures need few of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
