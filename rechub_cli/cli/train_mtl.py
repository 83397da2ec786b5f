"""``rechub train-mtl SPEC``"""

from __future__ import annotations

from rechub_cli.cli.training import train_command

train_mtl = train_command(
    "rechub_cli.workflows.train:train_mtl",
    "Train a model of several labels; print its run directory.",
    next_step="rechub evaluate {run} --data FILE",
)
