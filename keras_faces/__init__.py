"""Face generation with Keras 3: five documents reproduced, trained, scored and exported.

Names are listed in `__init__.pyi`, where editors find them too, and imported when they are first
used, so that `import keras_faces` is quick.
"""

import lazy_loader

__version__ = "0.4.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
