"""What functions and classes say of their arguments; of heavy modules without importing them.

The models' modules import Keras, which takes seconds. Their signatures and docstrings are read from
the source instead, so that help and misspelt names are answered at once.
"""

import ast
import functools
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser

PACKAGE = Path(__file__).parent
PLAN = "keras_faces.plan:TrainingPlan"  # whose fields are flags, and keys of configs
Parameters = dict[str, inspect.Parameter]


class Documented(NamedTuple):
    """What a signature and a docstring say.

    Attributes:
        summary: The docstring's first sentence.
        parameters: The parameters by name, in order.
        descriptions: What `Args:` says of each, in one line.
    """

    summary: str
    parameters: Parameters
    descriptions: dict[str, str]


def documented_class(owner: str | type) -> Documented:
    """Return what a class and those it inherits from say of their constructors, its own first.

    Args:
        owner: A class; or one of this package as `module:NAME`, which is not imported. Such ends
            where it inherits from what is not of this package.
    """
    read = _read_from_source(owner) if isinstance(owner, str) else _read(owner)
    summary, parameters, descriptions = "", {}, {}
    for docstring, own in read:
        own_summary, own_descriptions = _parse(docstring)
        summary = summary or own_summary
        for name, parameter in own.items():
            parameters.setdefault(name, parameter)
        for name, text in own_descriptions.items():
            descriptions.setdefault(name, text)
    return Documented(summary, parameters, descriptions)


def class_attribute(owner: str, name: str) -> Any:
    """Return an attribute of a class of this package, its own or one that it inherits.

    Args:
        owner: The class as `module:NAME`, which is not imported.
        name: The attribute, a plain value.
    """
    for module, node in _lineage(*owner.split(":")):
        if name in (values := _assignments(node.body)):
            return _evaluate(values[name], module)
    raise AttributeError(f"{owner} has no attribute {name!r}.")


def constant(path: str) -> Any:
    """Return what a module of this package calls by a name: a plain value, or a dict's keys.

    Args:
        path: The name as `module:NAME`. The module is not imported, unless it is already.
    """
    module, _, name = path.partition(":")
    if module in sys.modules:  # where somebody may have added to it
        value = getattr(sys.modules[module], name)
        return tuple(value) if isinstance(value, Mapping) else value
    return _Names(module)[name]


def _parse(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the first sentence and the arguments' descriptions of a docstring."""
    docstring = docstring or ""
    try:
        parsed = docstring_parser.parse(docstring, docstring_parser.DocstringStyle.GOOGLE)
    except docstring_parser.ParseError:  # somebody's own, in another form
        return docstring.partition("\n")[0], {}
    described = {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    return parsed.short_description or "", described


def _read(owner: type) -> Iterator[tuple[str | None, Parameters]]:
    """Yield docstring and constructor's parameters of a class and its ancestors, up to Keras's."""
    for ancestor in owner.__mro__:
        if ancestor.__module__.partition(".")[0] in ("keras", "builtins"):
            return
        init = vars(ancestor).get("__init__")
        own = dict(inspect.signature(init).parameters) if init else {}
        yield inspect.cleandoc(vars(ancestor).get("__doc__") or ""), _named(own.values())


def _read_from_source(owner: str) -> Iterator[tuple[str | None, Parameters]]:
    for module, node in _lineage(*owner.split(":")):
        inits = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        given = [(init.args.args, init.args.defaults) for init in inits] or [_fields(node)]
        yield ast.get_docstring(node), _named(_parameters(*given[0], module))


def _named(parameters: Iterable[inspect.Parameter]) -> Parameters:
    various = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return {p.name: p for p in parameters if p.name != "self" and p.kind not in various}


def _fields(node: ast.ClassDef) -> tuple[list[ast.arg], list[ast.expr]]:
    """Return the fields of a dataclass, and the defaults of the last of them."""
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and node.decorator_list]
    given = [ast.arg(field.target.id, field.annotation) for field in fields]
    return given, [field.value for field in fields if field.value]


def _parameters(given, defaults, module: str) -> Iterator[inspect.Parameter]:
    missing = [None] * (len(given) - len(defaults))
    for argument, default in zip(given, missing + defaults, strict=True):
        kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
        annotation = argument.annotation
        yield inspect.Parameter(
            argument.arg,
            kind,
            default=_evaluate(default, module) if default else empty,
            annotation=_evaluate(annotation, module) if annotation else empty,
        )


def _lineage(module: str, name: str) -> list[tuple[str, ast.ClassDef]]:
    """Return a class and its ancestors in the order of its MRO, as far as of this package."""
    found = list(_ancestry(module, name))
    # A common ancestor comes after all that inherit from it.
    return list(dict.fromkeys(reversed(found)))[::-1]


def _ancestry(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    node = _definitions(module).get(name)
    if isinstance(node, ast.ImportFrom):
        yield from _ancestry(node.module, name)
    elif isinstance(node, ast.ClassDef):
        yield module, node
        for base in node.bases:
            if isinstance(base, ast.Name):
                yield from _ancestry(module, base.id)


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """Return what defines each name of a module: a class, the value of a constant, an import."""
    if module.partition(".")[0] != PACKAGE.name:
        return {}
    body = ast.parse(_file(module).read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {alias.asname or alias.name: node for node in imports for alias in node.names}
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    return imported | classes | _assignments(body)


def _assignments(body: list[ast.stmt]) -> dict[str, ast.expr]:
    pairs = [(t, n.value) for n in body if isinstance(n, ast.Assign) for t in n.targets]
    pairs += [(n.target, n.value) for n in body if isinstance(n, ast.AnnAssign) and n.value]
    return {target.id: value for target, value in pairs if isinstance(target, ast.Name)}


def _evaluate(node: ast.expr, module: str) -> Any:
    """Return a plain value, a type, or the keys of a dict."""
    if isinstance(node, ast.DictComp):
        node = ast.ListComp(node.key, node.generators)
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        keys = [[_evaluate(k, module)] if k else _evaluate(v, module) for k, v in pairs]
        return tuple(key for some in keys for key in some)
    # Of our own source, which importing it would run just so.
    code = compile(ast.fix_missing_locations(ast.Expression(node)), module, "eval")
    return eval(code, {}, _Names(module))


class _Names(dict):
    """The names that a module's defaults and annotations use, read as they are looked up."""

    def __init__(self, module: str):
        super().__init__(field=lambda default_factory: default_factory())  # of dataclasses
        self.module = module

    def __missing__(self, name: str) -> Any:
        node = _definitions(self.module).get(name)
        if node is None:
            raise KeyError(name)  # Python looks among its own
        if isinstance(node, ast.Import):
            return importlib.import_module(name)
        if isinstance(node, ast.ImportFrom):
            if node.module.partition(".")[0] == PACKAGE.name:
                within = f"{node.module}.{name}"
                is_module = _file(within).is_file()
                return _Module(within) if is_module else constant(f"{node.module}:{name}")
            return getattr(importlib.import_module(node.module), name)
        return _evaluate(node, self.module)


class _Module:
    """A module of this package whose names are read as they are looked up."""

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return constant(f"{self._module}:{name}")
