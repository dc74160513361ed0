"""Rules of the house that a reader would otherwise have to remember."""

import ast
import graphlib
import re
from pathlib import Path

import keras_faces as kf
from keras_faces.optional import LIBRARIES

PACKAGE = Path(kf.__file__).parent


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def test_backends_are_named_only_in_steps_data_detection_and_export():
    allowed = {
        "training/tensorflow_steps.py": {"tensorflow"},
        "training/devices.py": {"jax"},
        "training/jax_steps.py": {"jax"},
        "data/stream.py": {"tensorflow"},
        "data/sources/tfds.py": {"tensorflow"},
        "detection/mtcnn.py": {"tensorflow"},
        "export/litert.py": {"tensorflow"},
        "export/onnx.py": {"tensorflow"},
        "export/tensorflow.py": {"tensorflow"},
    }
    found = {
        str(path.relative_to(PACKAGE)): set(imports(path)) & {"tensorflow", "jax", "torch"}
        for path in PACKAGE.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == allowed


# From top to bottom; a room may import those below it, and those beside it.
ROOMS = """
    cli __main__
    commands
    app session
    trained reports callbacks export
    latent saving plan recipes
    models
    metrics training
    data
    detection pictures runs
    pixels hub optional parallel checkpoints model_files schema
    process errors files formats introspection pencil screen
"""
LEVELS = {room: level for level, line in enumerate(ROOMS.split("\n")) for room in line.split()}

# What may be imported within functions, since it is wanted by few and takes long, or is an extra.
HEAVY = {
    "absl": "comes with TensorFlow Datasets",
    "ai_edge_litert": "an extra",
    "cv2": "an extra",
    "fsspec": "for those who read URLs",
    "filelock": "for those who write",
    "h5py": "takes a fifth of a second, for files of weights",
    "importlib": "for those who ask",
    "jax": "another backend's user may lack it",
    "joblib": "takes a sixth of a second, for those who decode or score",
    "keras": "takes seconds, and runs are found and described without it",
    "matplotlib": "takes half a second, for figures",
    "onnx": "an extra",
    "onnxruntime": "an extra",
    "resource": "Windows has none",
    "simplejpeg": "an extra",
    "tensorboard": "takes seconds, and another backend's user may lack it",
    "tensorflow": "takes seconds, and another backend's user may lack it",
    "tensorflow_datasets": "takes seconds",
    "tf2onnx": "an extra",
    "uvicorn": "an extra",
}

# Of our own modules those that import something heavy, where it has to wait.
WAITING = {
    ("app.server", "app.served"): "Starlette, missing, is told before Keras is loaded",
    ("app.server", "app.site"): "needs Starlette",
    ("data.sources.tfds", "data.builders"): "needs TensorFlow Datasets",
    ("metrics.matching", "pencil"): "needs Keras",
    ("metrics.scores", "metrics.inception"): "needs Keras",
}


def modules():
    """Return the path of every module, by its name without the package's."""
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def lazily(package):
    """Return the modules behind the names that a package imports when they are first used."""
    stub = PACKAGE.joinpath(*package.split("."), "__init__.pyi")
    nodes = ast.parse(stub.read_text()).body if stub.exists() else []
    found = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]
    return {alias.name: node.module for node in found for alias in node.names if node.module}


def imported(node, known):
    """Yield the modules that an import names, our own without the package's name."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        module, _, last = name.rpartition(".")
        if not f"{name}.".startswith("keras_faces."):
            yield name if isinstance(node, ast.Import) else node.module
            continue
        name, module = (text.removeprefix("keras_faces").lstrip(".") for text in (name, module))
        behind = lazily(module).get(last, "")
        yield name if name in known else f"{module}.{behind}".strip(".")


def all_imports(known):
    """Return for each module what it imports: as it is imported itself, and within functions."""
    found = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inner = {id(node) for function in functions for node in ast.walk(function)}
        early, late = found[name] = set(), set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                (late if id(node) in inner else early).update(imported(node, known))
    return found


def with_packages(module):
    while module:
        yield module
        module = module.rpartition(".")[0]


def test_nothing_imports_itself_by_a_circle_or_what_lies_above_it():
    known = modules()
    needed, above = {}, set()
    for name, (early, late) in all_imports(known).items():
        own = {module for module in early | late if module in known}
        needed[name] = {package for module in own for package in with_packages(module)}
        needed[name] -= set(with_packages(name))
        rooms = ((name, module) for module in own if name and module)
        above |= {
            pair
            for pair in rooms
            if LEVELS[pair[0].partition(".")[0]] > LEVELS[pair[1].partition(".")[0]]
        }
    graphlib.TopologicalSorter(needed).prepare()  # raises CycleError, which names the circle
    assert not above


def test_imports_within_functions_are_of_what_is_heavy():
    # But for the command line, whose help waits for nothing.
    known = modules()
    found = {
        (name, module)
        for name, (_, late) in all_imports(known).items()
        for module in late
        if name.partition(".")[0] not in ("cli", "commands")
        if module and module.partition(".")[0] not in HEAVY
    }
    assert found == WAITING.keys()


def test_every_optional_library_is_brought_by_what_its_error_says():
    text = (PACKAGE.parent / "setup.py").read_text()
    for library in LIBRARIES.values():
        name = library.extra or "install_requires"
        brought = re.search(rf"\b{name} ?= ?\[(.*?)\]", text, re.DOTALL)
        assert re.search(rf'"{library.package}[>=]', brought[1]), library


def test_every_model_is_one_file_named_after_it_that_cites_its_paper():
    shared = {"__init__", "base", "encoding", "layers", "losses", "registry"}
    shared |= {"adversarial", "sketches"}
    files = {path.stem for path in (PACKAGE / "models").glob("*.py")} - shared
    assert files == set(kf.list_models())
    for name, model in kf.models.MODELS.items():
        assert model.__module__ == f"keras_faces.models.{name}"
        assert "https://" in __import__(model.__module__, fromlist=["x"]).__doc__


def test_every_hyperparameter_is_documented_where_it_is_taken():
    for name, model in kf.models.MODELS.items():
        documented = "".join(vars(owner).get("__doc__") or "" for owner in model.__mro__)
        for parameter in kf.models.hyperparameters(name):
            assert f"    {parameter}: " in documented, parameter


def test_public_functions_have_docstrings():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
