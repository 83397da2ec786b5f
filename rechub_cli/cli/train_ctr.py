"""``rechub train-ctr SPEC``"""

from __future__ import annotations

from rechub_cli.cli.training import train_command

train_ctr = train_command(
    "rechub_cli.workflows.train:train_ctr",
    "Train a CTR model; print its run directory.",
    next_step="rechub evaluate {run} --data FILE",
)
