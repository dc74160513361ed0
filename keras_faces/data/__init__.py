"""How faces come in: source, crop, cache, tf.data.

Names are imported when they are first used: processes that decode pictures need few of them.
"""

from keras_faces.lazy import lazy

_MODULES = ("cache", "crops", "decode", "sources", "stream")
_NAMES = {
    "CROPS": "keras_faces.data.crops",
    "get_crop": "keras_faces.data.crops",
    "DATASETS": "keras_faces.data.sources",
    "open_source": "keras_faces.data.sources",
    "FaceStream": "keras_faces.data.stream",
    "to_float": "keras_faces.data.stream",
    "to_uint8": "keras_faces.data.stream",
    "SkippedPictures": "keras_faces.data.cache",
    "cache_folder": "keras_faces.data.cache",
    "guess_channels": "keras_faces.data.faces",
    "labels_of": "keras_faces.data.faces",
    "list_datasets": "keras_faces.data.faces",
    "load": "keras_faces.data.faces",
    "open_faces": "keras_faces.data.faces",
}

__all__ = [*_NAMES]

__getattr__, __dir__ = lazy(__name__, _MODULES, _NAMES)
