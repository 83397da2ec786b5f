"""Read a plugin's Python source without running it."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Any

from rechub_cli.plugins.registry import Plugin

Definition = ast.ClassDef | ast.FunctionDef
MOST_IMPORTS_FOLLOWED = 4


class Unreadable(Exception):
    """The source does not say; only running it would."""


def definition(plugin: Plugin) -> tuple[Definition, Path]:
    """The class or function of a plugin, and the file it stands in.

    Raises:
        Unreadable: no source, a syntax error, or the name is made at run time.
    """
    path = plugin.file or module_file(plugin.module)
    found, path = resolve(path, plugin.attribute)
    if not isinstance(found, ast.ClassDef | ast.FunctionDef):
        raise Unreadable(f"{plugin.attribute} is not a class or a function")
    return found, path


def module_file(module: str) -> Path:
    """The source file of a module, found without importing its packages."""
    top, *rest = module.split(".")
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError) as error:
        raise Unreadable(str(error)) from error
    if found is None:
        raise Unreadable(f"there is no module named '{top}'")
    places = [Path(place) for place in found.submodule_search_locations or ()]
    file = Path(found.origin) if found.origin else None
    for part in rest:
        candidates = [place / part for place in places]
        packages = [place for place in candidates if place.is_dir()]
        files = [place / "__init__.py" for place in packages] + [place.with_suffix(".py") for place in candidates]
        file = next((one for one in files if one.is_file()), None)
        places = packages
    if file is None or file.suffix != ".py":
        raise Unreadable(f"module '{module}' has no source file")
    return file


def resolve(path: Path, name: str, follow: int = MOST_IMPORTS_FOLLOWED) -> tuple[ast.AST, Path]:
    """What ``name`` means at the top level of a file: a class, a function or an expression, and its file.

    Names that the file imports are followed into their own files.
    """
    first, _, rest = name.partition(".")
    if rest:
        raise Unreadable(f"{name} is an attribute of an attribute")
    for node in reversed(_tree(path).body):  # the last definition is the one that holds
        match node:
            case ast.ClassDef() | ast.FunctionDef() if node.name == first:
                return node, path
            case ast.Assign(targets=[ast.Name(id=target)]) if target == first:
                return node.value, path
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == first:
                return value, path
            case ast.ImportFrom(module=str(module), level=0) if follow:
                for alias in node.names:
                    if (alias.asname or alias.name) == first:
                        return resolve(module_file(module), alias.name, follow - 1)
            case ast.ImportFrom(level=level) if level and follow:
                for alias in node.names:
                    if (alias.asname or alias.name) == first:
                        return resolve(_sibling(path, level, node.module), alias.name, follow - 1)
    raise Unreadable(f"{path} does not define {name}")


def class_body(found: ast.ClassDef, path: Path) -> list[tuple[list[ast.stmt], Path]]:
    """The bodies of a class and of those of its bases that can be read, nearest first."""
    bodies, queue = [], [(found, path)]
    while queue:
        node, file = queue.pop(0)
        bodies.append((node.body, file))
        for base in node.bases:
            if isinstance(base, ast.Name):
                try:
                    parent, where = resolve(file, base.id)
                except Unreadable:
                    continue
                if isinstance(parent, ast.ClassDef) and len(bodies) < 16:
                    queue.append((parent, where))
    return bodies


def attribute(found: ast.ClassDef, path: Path, name: str) -> Any:
    """The plain value that a class body gives to ``name``.

    Raises:
        Unreadable: it gives none, or one that is not a literal.
    """
    for body, _ in class_body(found, path):
        for node in body:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    return literal(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    return literal(value)
    raise Unreadable(f"{found.name} has no plain value for {name}")


def literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise Unreadable(ast.unparse(node)) from error


def _sibling(path: Path, level: int, module: str | None) -> Path:
    folder = path.parents[level - 1]
    place = folder.joinpath(*module.split(".")) if module else folder
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    raise Unreadable(f"{place} is not there")


def _tree(path: Path) -> ast.Module:
    try:
        status = path.stat()
        return _parsed(path, status.st_mtime_ns, status.st_size)
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Unreadable(f"{path}: {error}") from error


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed: int, size: int) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))
