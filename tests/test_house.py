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


def test_backends_are_named_only_in_steps_in_data_and_in_export():
    allowed = {
        "training/tensorflow_steps.py": {"tensorflow"},
        "training/jax_steps.py": {"jax"},
        "data/stream.py": {"tensorflow"},
        "data/sources/tfds.py": {"tensorflow"},
        "export/litert.py": {"tensorflow"},
        "export/onnx.py": {"tensorflow"},
        "export/tensorflow.py": {"tensorflow"},
    }
    found = {
        str(path.relative_to(PACKAGE)): set(imports(path)) & {"tensorflow", "jax", "torch"}
        for path in PACKAGE.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == allowed


def with_packages(module):
    while module:
        yield module
        module = module.rpartition(".")[0]


def imported_with(name, path, known):
    """Return the modules that have to be imported before this one is, but for its own packages."""
    needed = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            needed |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    whole = {package for module in needed for package in with_packages(module)}
    return whole & known - set(with_packages(name))


def test_every_module_can_be_imported_first():
    # What imports each other works in one order of imports, and fails in another.
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    needed = {name: imported_with(name, path, paths.keys()) for name, path in paths.items()}
    graphlib.TopologicalSorter(needed).prepare()  # raises CycleError, which names the circle


def test_every_optional_library_is_brought_by_what_its_error_says():
    text = (PACKAGE.parent / "setup.py").read_text()
    for library in LIBRARIES.values():
        name = library.extra or "install_requires"
        brought = re.search(rf"\b{name} ?= ?\[(.*?)\]", text, re.DOTALL)
        assert re.search(rf'"{library.package}[>=]', brought[1]), library


def test_every_model_is_one_file_named_after_it_that_cites_its_paper():
    files = {path.stem for path in (PACKAGE / "models").glob("*.py")} - {"__init__"}
    assert files == set(kf.list_models())
    for name, model in kf.models.MODELS.items():
        assert model.__module__ == f"keras_faces.models.{name}"
        assert "https://" in __import__(model.__module__, fromlist=["x"]).__doc__


def test_every_hyperparameter_is_documented_where_it_is_taken():
    for name, model in kf.models.MODELS.items():
        told = model.__doc__ + kf.training.base.FaceModel.__doc__
        for parameter in kf.models.hyperparameters(name):
            assert f"\n        {parameter}: " in told or f"    {parameter}: " in told, parameter


def test_public_functions_have_docstrings():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
