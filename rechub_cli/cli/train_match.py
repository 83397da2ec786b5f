"""``rechub train-match SPEC``"""

from __future__ import annotations

from rechub_cli.cli import options
from rechub_cli.cli.training import train_command

train_match = train_command(
    "rechub_cli.workflows.train_match:train_match",
    "Train a retrieval model; print its run directory.",
    more={"items": (options.Items, None)},
    next_step="rechub recommend {run} --users FILE -k 50 -o FILE",
)
