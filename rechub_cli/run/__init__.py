"""A run directory: create, open, lock, record; what a trained model leaves behind and needs again."""

from rechub_cli.run.checkpoints import Checkpoints
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Event, Events, Listener, Progress
from rechub_cli.run.reading import read_checkpoint
from rechub_cli.run.record import Record
from rechub_cli.run.signals import Stop
from rechub_cli.run.watch import RunWatcher

__all__ = [
    "Checkpoints",
    "Event",
    "Events",
    "Listener",
    "Progress",
    "Record",
    "Run",
    "RunWatcher",
    "Stop",
    "read_checkpoint",
]
