"""Packages that import their names when these are first used, so that importing them is quick."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def lazy(
    package: str, modules: Sequence[str], names: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return what a package defines as `__getattr__` and `__dir__` (PEP 562).

    Args:
        package: The package's name.
        modules: Its modules and packages that are found without being imported by name.
        names: The module, as a whole name, of each further name.
    """

    def find(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules, *names})

    return find, listed
