"""rechub: recommender models from raw files, on the command line and in Python."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Where each public name lives; importing the package itself stays free of torch.
_PUBLIC = {
    "CTRTrainer": "rechub_cli.trainers.ctr",
    "MTLTrainer": "rechub_cli.trainers.mtl",
    "MatchTrainer": "rechub_cli.trainers.match",
    "load": "rechub_cli.workflows.load",
}
__all__ = ["CTRTrainer", "MTLTrainer", "MatchTrainer", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
