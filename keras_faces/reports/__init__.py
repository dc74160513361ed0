"""Reports: each table and figure of the documents, rebuilt from runs beside their own numbers.

Names are listed in `__init__.pyi` and imported when they are first used: which reports there are is
known without Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
