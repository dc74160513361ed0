import pathlib

import numpy as np

from . import cache as cache
from . import crops as crops
from . import decode as decode
from . import sources as sources
from . import stream as stream
from .cache import SkippedPictures as SkippedPictures
from .crops import CROPS as CROPS
from .crops import get_crop as get_crop
from .faces import crop_fits as crop_fits
from .faces import guess_channels as guess_channels
from .faces import labels_of as labels_of
from .faces import list_datasets as list_datasets
from .faces import load as load
from .faces import look_at_channels as look_at_channels
from .faces import open_faces as open_faces
from .sources import DATASETS as DATASETS
from .sources import open_source as open_source
from .stream import FaceStream as FaceStream

# Of keras_faces.files and keras_faces.pixels; lazy_loader takes only what lies within this package.
def cache_folder() -> pathlib.Path: ...
def to_float(images: np.ndarray) -> np.ndarray: ...
def to_uint8(images: np.ndarray) -> np.ndarray: ...
