"""Where faces come from: a source lists its pictures and reads them.

Adding a source = a file here with a subclass of `Source`, and a line in `SCHEMES` of `schemes.py`:
then `scheme:PATH` opens it everywhere. A class that sets `recognises` also takes the paths it
knows. Names are listed in `__init__.pyi` and imported when they are first used: who needs one
source need not import all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
