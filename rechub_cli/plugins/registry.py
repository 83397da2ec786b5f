"""Names of plugins, and the one that is asked for, loaded."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rechub_cli.errors import RechubError, SpecError, Unavailable

# The last part of the entry-point group -> the word for one of them.
KINDS = {
    "models": "model",
    "losses": "loss",
    "retrieval_losses": "retrieval loss",
    "metrics": "metric",
    "retrieval_metrics": "retrieval metric",
    "weightings": "weighting",
    "samplers": "sampler",
    "readers": "reader",
    "trackers": "tracker",
}
_GROUP_OF = {word: kind for kind, word in KINDS.items()} | {kind: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where a plugin's code is."""

    kind: str
    name: str
    module: str  # dotted; empty for a local file
    attribute: str
    file: Path | None = None  # local files only
    distribution: str = ""  # "rechub-cli 0.1.0"; empty where nothing registered it

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return self.distribution or (str(self.file) if self.file else self.module)


def names(kind: str) -> list[str]:
    """The registered names of a kind, sorted; imports none of them."""
    return sorted(_registered(kind))


def find(kind: str, name: str, base: Path | None = None) -> Plugin:
    """The plugin that ``name`` stands for; imports nothing.

    Args:
        kind: one of KINDS, or its singular.
        name: a registered name in any case, ``pkg.mod:Attr``, or ``file.py:Attr`` relative to ``base``.

    Raises:
        SpecError: nobody registered this name, two packages did, or the file is not there.
    """
    kind = _GROUP_OF[kind]
    if ":" in name:
        return _named_in_place(kind, name, base or Path())
    registered = _registered(kind)
    entries = registered.get(name.lower())
    if entries is None:
        raise SpecError(unknown(KINDS[kind], name, list(registered)))
    if len(entries) > 1:
        owners = " and ".join(sorted({_distribution(entry) for entry in entries}))
        raise SpecError(f"{KINDS[kind]} '{name}' is registered by {owners}: uninstall one, or name it as pkg.mod:Class")
    entry = entries[0]
    return Plugin(kind, entry.name, entry.module, entry.attr, None, _distribution(entry))


def load(kind: str, name: str, base: Path | None = None) -> Any:
    """Import the plugin ``name`` and return it: a class or a function.

    Raises:
        SpecError: see ``find``.
        Unavailable: its code cannot be imported, or has no such attribute.
    """
    plugin = find(kind, name, base)
    what = f"{KINDS[plugin.kind]} '{name}'"
    if plugin.distribution:
        what += f" of {plugin.distribution} (entry point rechub.{plugin.kind}: {plugin.module}:{plugin.attribute})"
    try:
        module = _import_file(plugin.file) if plugin.file else importlib.import_module(plugin.module)
        loaded = module
        for part in plugin.attribute.split("."):
            loaded = getattr(loaded, part)
    except RechubError:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        raise Unavailable(
            f"{what} cannot be loaded: {type(error).__name__}: {error}{_remedy(plugin, error)}"
        ) from error
    if not callable(loaded):
        raise Unavailable(f"{what} is not a class or a function")
    return loaded


def load_metric(name: str, base: Path | None = None, kind: str = "metrics") -> Callable[..., float]:
    """An instance of the metric ``name``, or of the retrieval metric; ``ndcg@10`` is NDCG(k=10)."""
    plain, k = split_k(name)
    metric = load(kind, plain, base)
    if isinstance(metric, type):
        return metric(k=k) if k is not None else metric()
    return metric


def split_k(name: str) -> tuple[str, int | None]:
    """``ndcg@10`` -> ("ndcg", 10); ``auc`` -> ("auc", None).

    Raises:
        SpecError: what follows the @ is not a positive whole number.
    """
    plain, at, k = name.rpartition("@")
    if not at:
        return name, None
    if not (k.isascii() and k.isdigit() and 0 < len(k) < 10 and int(k) > 0):
        raise SpecError(f"'{name}': after @ comes a whole number above 0, as in {plain or 'ndcg'}@10")
    return plain, int(k)


def unknown(word: str, name: str, known: list[str]) -> str:
    """The message for a name that is not one of those known."""
    guess = difflib.get_close_matches(name.lower(), [one.lower() for one in known], 1, 0.6)
    hint = f"; did you mean '{guess[0]}'?" if guess else ""
    return f"unknown {word} '{name}'{hint} (known: {', '.join(sorted(known)) or 'none'})"


def _registered(kind: str) -> dict[str, list[EntryPoint]]:
    """Lower-case name -> its entry points; more than one only where packages disagree."""
    return _installed(f"rechub.{_GROUP_OF[kind]}", tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _installed(group: str, path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Every package on ``path`` is asked: tens of milliseconds, and a spec names dozens of plugins."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        same_name = found.setdefault(entry.name.lower(), [])
        if all(other.value != entry.value for other in same_name):
            same_name.append(entry)
    return found


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def _named_in_place(kind: str, name: str, base: Path) -> Plugin:
    place, _, attribute = name.rpartition(":")
    if not all(part.isidentifier() for part in attribute.split(".")):
        raise SpecError(
            f"'{name}': after the colon comes the name of a class or function, as in {place or 'pkg.mod'}:Class"
        )
    if not place.endswith(".py"):
        if not all(part.isidentifier() for part in place.split(".")):
            raise SpecError(f"'{name}' is neither pkg.mod:Class nor ./file.py:Class")
        return Plugin(kind, name, place, attribute)
    file = base / Path(place).expanduser()
    if not file.is_file():
        raise SpecError(f"there is no file {file} (for {KINDS[kind]} '{name}')")
    return Plugin(kind, name, "", attribute, file)


def _import_file(file: Path) -> Any:
    """Run one Python file as a module of its own; the same content is run once."""
    code = file.read_bytes()
    name = f"rechub_local_{file.stem}_{hashlib.sha256(str(file.resolve()).encode() + code).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None  # the name ends in .py
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickling look their module up there
    try:
        exec(compile(code, file, "exec"), module.__dict__)  # these bytes: no older ones that Python keeps beside them
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _remedy(plugin: Plugin, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"; install the package that has '{error.name}' (pip install ...)"
    if plugin.distribution and not plugin.distribution.startswith("rechub-cli "):
        return f"; reinstall or remove it (pip uninstall {plugin.distribution.split()[0]})"
    return ""
